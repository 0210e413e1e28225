"""Losses and scores as sums over partitions."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from chainrule.base.types import Array
from chainrule.dask.partitions import Moments, Ready, at_partition, merged, moments_of
from chainrule.dask.rounds import Settings


class Sums(NamedTuple):
    """Of a partition.

    Attributes
    ----------
    loss, loss_weight : float
        Weighted sum of the rows' losses, and the sum of the weights; 0 where there is none.
    weight : float
        Sum of the weights of the score.
    wrong : (outputs,) array
        Weighted sum of squared errors; of classes, of the rows that are wrong.
    target : Moments or None
        Of a target of numbers.
    """

    loss: float
    loss_weight: float
    weight: float
    wrong: Array
    target: Moments | None


def of_predictions(est: Any, predicted: Any, y: Any, weight: Array | None) -> Sums:
    """Sums of a score: accuracy of classes, R² of numbers."""
    n = len(y)
    w = np.ones(n) if weight is None else np.asarray(weight, np.float64)
    if not est._numeric_target:
        bad = np.asarray(predicted) != np.asarray(y)
        bad = bad if bad.ndim == 1 else bad.any(axis=1)
        return Sums(0.0, 0.0, float(w.sum()), np.array([float(w @ bad)]), None)
    n_levels = len(est._levels())
    if n_levels > 1:
        predicted = predicted[..., n_levels // 2]
    y = np.asarray(y, np.float64).reshape(n, -1)
    with np.errstate(all="ignore"):
        wrong = w @ (y - np.asarray(predicted, np.float64).reshape(n, -1)) ** 2
    return Sums(0.0, 0.0, float(w.sum()), wrong, moments_of(y, w))


def of_validation(
    est: Any, settings: Settings, parameters: tuple[Array, Array], ready: Ready
) -> Sums | None:
    """Sums of a partition of the validation set, by the training network; None of no rows."""
    if not len(ready.X):
        return None
    network = settings.network.copy()
    network.theta[:], network.constants[:] = parameters
    costs, outputs = est._row_losses(ready.X, ready.Y, network)
    w = np.ones(len(costs)) if ready.weight is None else ready.weight.astype(np.float64)
    y = ready.y
    if not np.isfinite(outputs).all():
        wrong = np.full(1 if not est._numeric_target else est.n_outputs_, np.nan)
        target = moments_of(y.reshape(len(y), -1), None) if est._numeric_target else None
        return Sums(float(w @ costs), float(w.sum()), 1.0, wrong, target)
    predicted = est._scored(outputs) if est._numeric_target else est._labels(outputs)
    found = of_predictions(est, predicted, y, ready.y_weight)
    return found._replace(loss=float(w @ costs), loss_weight=float(w.sum()))


def of_partition(est: Any, p: int, x: Any, y: Any, weight: Any) -> Sums | None:
    """Sums of the score of a fitted estimator on a partition; None of no rows."""
    if not len(x):
        return None
    with at_partition(p, "X"):
        if len(y) != len(x):
            raise ValueError(f"X has {len(x)} rows and y has {len(y)}")
        y = np.asarray(y)
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        return of_predictions(est, est.predict(x), y, weight)


def total(found: list[Sums | None]) -> tuple[float, float]:
    """Mean loss, and accuracy or R², of all partitions together."""
    sums = [one for one in found if one is not None]
    if not sums:
        return math.nan, math.nan
    weight = math.fsum(one.weight for one in sums)
    loss_weight = math.fsum(one.loss_weight for one in sums)
    loss = math.fsum(one.loss for one in sums) / loss_weight if loss_weight else math.nan
    wrong = np.sum([one.wrong for one in sums], axis=0)
    target = sums[0].target
    if target is None:
        return loss, 1 - float(wrong[0]) / weight if weight else math.nan
    for one in sums[1:]:
        assert one.target is not None
        target = merged(target, one.target)
    if np.isnan(wrong).any():
        return loss, math.nan
    constant = target.squares == 0
    r2 = 1 - wrong / np.where(constant, 1, target.squares)
    r2[constant] = np.where(wrong[constant] == 0, 1.0, 0.0)  # as scikit-learn has it
    return loss, float(r2.mean())
