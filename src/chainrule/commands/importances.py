"""How much each column matters to a model: by how much it errs more where the column is shuffled.

That is permutation importance. It says what the model relies on, not what the target depends on:
of two columns that say the same, each can stand in for the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.commands.differences import (
    Score,
    losses_of_classes,
    losses_of_numbers,
    score_of,
)
from chainrule.commands.estimates import Estimate
from chainrule.commands.evaluation import bootstrap
from chainrule.commands.predicting import predict_frame

if TYPE_CHECKING:
    import pandas as pd

ROWS = 2000  # at most, drawn from those that are judged
BUDGET = 200_000  # rows predicted in all, by which the time is bounded
CALLS = 60  # of a pipeline's predict in all, unless there are more columns
MOST_REPEATS = 5
MOST_COLUMNS = 200


class Importance(NamedTuple):
    """How much a column matters.

    Attributes
    ----------
    column : str
    increase : Estimate
        Of the mean loss (log loss, absolute error, or pinball loss of a model of quantiles) over
        the rows, and its bootstrap interval.
    """

    column: str
    increase: Estimate


class RowSample:
    """At most `ROWS` rows, each as likely as any other, of blocks that come one after the other.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._parts: list[Any] = []
        self._keys: list[NDArray[Any]] = []

    def see(self, X: pd.DataFrame, *beside: NDArray[Any]) -> None:
        """Take rows of a block, those with the smallest of numbers drawn for all of them.

        Beside them their targets, and whatever else there is of each row.
        """
        self._parts.append((X, *map(np.asarray, beside)))
        self._keys.append(self._rng.random(len(X)))
        keys = np.concatenate(self._keys)
        if len(keys) > 4 * ROWS:
            kept = np.sort(np.argsort(keys, kind="stable")[:ROWS])
            self._parts, self._keys = [self._taken(kept)], [keys[kept]]

    def rows(self) -> tuple[Any, ...]:
        """The rows and what was beside them, in the order of the table."""
        keys = np.concatenate(self._keys)
        frame, *beside = self._taken(np.sort(np.argsort(keys, kind="stable")[:ROWS]))
        return frame.reset_index(drop=True), *beside

    def _taken(self, kept: NDArray[np.int64]) -> tuple[Any, ...]:
        import pandas as pd

        frames, *beside = zip(*self._parts, strict=True)
        return pd.concat(frames).iloc[kept], *(np.concatenate(each)[kept] for each in beside)


def importances(
    model: Any,
    X: pd.DataFrame,
    truth: NDArray[Any],
    columns: Iterable[str],
    *,
    groups: NDArray[Any] | None = None,
    seed: int = 0,
) -> list[Importance]:
    """Permutation importance of each column, the largest first.

    The same seed gives the same numbers. How often each column is shuffled follows from the
    numbers of rows and columns alone.

    Parameters
    ----------
    model : estimator or Pipeline
    X : pandas.DataFrame of shape (n, columns)
    truth : (n,) array
        Names of classes as texts, or numbers.
    columns : iterable of str
    groups : (n,) array or None, default=None
        As for :func:`~chainrule.commands.evaluation.bootstrap`.
    seed : int, default=0

    Returns
    -------
    list of Importance
        Empty for more than `MOST_COLUMNS` columns, which would take long.
    """
    names = list(columns)
    if not 0 < len(names) <= MOST_COLUMNS:
        return []
    affordable = min(BUDGET // (len(names) * len(X)), CALLS // len(names))
    repeats = int(np.clip(affordable, 1, MOST_REPEATS))
    before = _losses(model, X, truth)
    found = []
    for j, name in enumerate(names):
        rng = np.random.default_rng([seed, j])
        more = np.zeros(len(X))
        for _ in range(repeats):
            cells = X[name].take(rng.permutation(len(X))).set_axis(X.index)
            more += _losses(model, X.assign(**{name: cells}), truth) - before
        found.append(Importance(name, _mean(more / repeats, groups, seed)))
    return sorted(found, key=lambda each: -each.increase.value)


def out_of_fold_importances(
    model: Any, X: pd.DataFrame, truth: NDArray[Any], *, seed: int = 0
) -> list[Importance]:
    """Importance of each column to a cross-fitted ensemble, by rows it has not learnt from.

    Parameters
    ----------
    model : Pipeline
        Its last step has `oof_importances`.
    X : pandas.DataFrame of shape (n, columns)
        The rows that it was fitted to.
    truth : (n,) array
    seed : int, default=0

    Returns
    -------
    list of Importance
        The largest first, without intervals. The loss of numbers is the squared error of the
        standardised target.
    """
    if X.shape[1] > MOST_COLUMNS:
        return []
    cleaned = model[:-1].transform(X)
    found = model[-1].oof_importances(cleaned, truth, n_repeats=1, random_state=seed)
    return sorted(
        (
            Importance(str(name), Estimate(float(value), np.nan, np.nan))
            for name, value in zip(found["names"], found["mean"], strict=True)
        ),
        key=lambda each: -each.increase.value,
    )


def loss_of_importances(model: Any) -> str:
    """What the loss whose growth :func:`importances` finds is called in print.

    Parameters
    ----------
    model : estimator or Pipeline
    """
    if hasattr(model, "classes_"):
        return "log loss"
    return "pinball loss" if score_of(model).metric == "pinball" else "mean absolute error"


def _mean(values: NDArray[Any], groups: NDArray[Any] | None, seed: int) -> Estimate:
    def mean(weights: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return {"mean": weights @ values / weights.sum(axis=1)}

    return bootstrap(mean, len(values), groups=groups, seed=seed)["mean"]


def _losses(model: Any, X: pd.DataFrame, truth: NDArray[Any]) -> NDArray[np.float64]:
    """Each row's log loss, absolute error, or pinball loss of what predicts quantiles."""
    said, chances = predict_frame(model, X)
    if chances is None:
        score = score_of(model)
        of_quantiles = score.metric == "pinball"
        return losses_of_numbers(truth, said, score if of_quantiles else Score("mae")).losses
    return losses_of_classes(truth, chances, model.classes_).losses
