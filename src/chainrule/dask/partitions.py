"""What is done once with each partition, on the workers: it is checked, described and encoded.

Every function here is pure: the same partition gives the same result on any worker, so that what a
lost worker held can be made again.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.multiclass import type_of_target

from chainrule.base.types import Array
from chainrule.base.validation import check_target
from chainrule.estimators.magnitudes import check_inputs, check_targets, check_weights


class PartitionError(ValueError):
    """A partition that cannot be learned from; the message names it."""


@contextmanager
def at_partition(p: int, name: str = "X") -> Iterator[None]:
    """Name the partition in errors about what it holds; `name` is what X is called."""
    try:
        yield
    except PartitionError:
        raise
    except (ValueError, TypeError) as error:
        of = "" if name == "X" else " of the validation set"
        raise PartitionError(f"partition {p}{of}: {error}") from None


class Expected(NamedTuple):
    """What a partition has to be like.

    Attributes
    ----------
    estimator : MLPClassifier or MLPRegressor
        Not fitted.
    names : list or None
        Of the columns, if they come in data frames.
    columns : int
    dtype : str
    name : str
        What X is called in messages: "X" or "X_val".
    """

    estimator: Any
    names: list[Any] | None
    columns: int
    dtype: str
    name: str


class Rows(NamedTuple):
    """A partition's rows, as the user has them."""

    X: Array
    y: Any
    weight: Array | None


class Ready(NamedTuple):
    """A partition's rows, as the network takes them.

    Attributes
    ----------
    X, Y : (n, n_0), (n, n_targets) arrays
    weight : (n,) array or None
        By which costs are multiplied.
    mass : float
        Sum of the weights; n without.
    y, y_weight :
        The target and the weights as the user has them, for scores; None where there is no
        scoring.
    """

    X: Array
    Y: Array
    weight: Array | None
    mass: float
    y: Any = None
    y_weight: Array | None = None


def load(expected: Expected, p: int, x: Any, y: Any, weight: Any) -> Rows:
    """Check a partition.

    Raises
    ------
    PartitionError
        It is not as the collection says, or holds what cannot be learned from.
    """
    with at_partition(p, expected.name):
        X = _numbers(expected, x)
        for name, other in (("y", y), ("sample_weight", weight)):
            if other is None:
                continue
            if len(other) != len(X):
                raise ValueError(
                    f"X has {len(X)} rows and {name} has {len(other)}; they have to be cut at "
                    "the same rows"
                )
            if hasattr(x, "index") and hasattr(other, "index") and not x.index.equals(other.index):
                raise ValueError(
                    f"the rows of X and of {name} have other indices; take both from one data frame"
                )
        _check_finite(expected, X)
        numeric = expected.estimator._numeric_target
        target = np.asarray(y)
        if target.ndim == 2 and target.shape[1] == 1:
            target = target[:, 0]
        if len(target):
            target = np.asarray(check_target(target, numeric))
            if numeric:
                target = target.astype(np.float64, copy=False)
        return Rows(X, target, None if weight is None else _weights(weight, X.dtype))


def _numbers(expected: Expected, x: Any) -> Array:
    """X of a partition as a matrix of the dtype that all partitions have."""
    if hasattr(x, "tocsr"):
        raise ValueError(
            "it is a sparse matrix; make it dense: X.map_blocks(lambda x: x.toarray())"
        )
    dtype = np.dtype(expected.dtype)
    if not hasattr(x, "columns"):
        X = np.asarray(x)
        if X.ndim != 2 or X.shape[1] != expected.columns:
            raise ValueError(
                f"it has the shape {X.shape}; by the array's description it has "
                f"{expected.columns} columns"
            )
        if X.dtype.kind not in "fiubO":
            raise ValueError(f"it holds {X.dtype}, not numbers")
        return np.ascontiguousarray(X, dtype)
    if list(x.columns) != expected.names:
        raise ValueError(
            f"it has the columns {_listed(x.columns)}; by the data frame's description (its meta) "
            f"they are {_listed(expected.names or [])}"
        )
    X = np.empty((len(x), expected.columns), dtype)
    for j, name in enumerate(x.columns):
        try:
            X[:, j] = x.iloc[:, j].to_numpy(dtype, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"column {name!r} is of the type {x.dtypes.iloc[j]}; by the data frame's "
                f"description (its meta) it holds numbers: {error}"
            ) from None
    return X


def _listed(names: Any) -> str:
    shown = [repr(name) for name in names]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")


def _check_finite(expected: Expected, X: Array) -> None:
    fills = expected.estimator.missing == "indicator"
    bad = np.isinf(X) if fills else ~np.isfinite(X)
    if not bad.any():
        return
    row, column = map(int, np.argwhere(bad)[0])
    name = repr(expected.names[column]) if expected.names else column
    more = int(bad.sum()) - 1
    hint = "" if fills else "; missing='indicator' lets the estimator fill NaN"
    raise ValueError(
        f"X holds {X[row, column]:g} in row {row} of the partition, column {name}"
        + (f", and {more} more like it" if more else "")
        + f". Fill such values first{hint}"
    )


def _weights(given: Any, dtype: Any) -> Array:
    weight: Array = np.asarray(given, dtype)
    if weight.ndim == 2 and weight.shape[1] == 1:
        weight = weight[:, 0]
    if weight.ndim != 1:
        raise ValueError(f"sample_weight has the shape {weight.shape}; it takes one number a row")
    bad = ~(np.isfinite(weight) & (weight >= 0))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"sample_weight is {weight[row]:g} in row {row} of the partition; weights are finite "
            "numbers of 0 or more"
        )
    return weight


def hold_out(rows: Rows, fraction: float, seed: int, p: int) -> tuple[Rows, Rows]:
    """A partition's rows to learn from, and those held out, by the seed and its number."""
    n = len(rows.X)
    order = np.random.default_rng([seed, p]).permutation(n)
    k = round(fraction * n)
    held, kept = np.sort(order[:k]), np.sort(order[k:])
    return _some(rows, kept), _some(rows, held)


def _some(rows: Rows, at: Any) -> Rows:
    return Rows(rows.X[at], rows.y[at], None if rows.weight is None else rows.weight[at])


class Survey(NamedTuple):
    """What a partition holds.

    Attributes
    ----------
    n : int
    kind : str
        Of the target, as scikit-learn calls it; "" of no rows.
    targets : int
        Columns of y.
    labels, counts : arrays
        The labels that there are, and how often; of a target of numbers empty.
    missing : (columns,) bool
        Which columns have values missing, in rows that count.
    """

    n: int
    kind: str
    targets: int
    labels: Any
    counts: Any
    missing: Any


def survey(expected: Expected, p: int, rows: Rows) -> Survey:
    """Say what a partition holds.

    Raises
    ------
    PartitionError
        Its target is none that the estimator takes.
    """
    est = copy.copy(expected.estimator)
    y = rows.y
    targets = 1 if y.ndim == 1 else y.shape[1]
    empty = np.zeros(0, np.int64)
    if not len(y):
        return Survey(0, "", targets, empty, empty, np.zeros(expected.columns, bool))
    with at_partition(p, expected.name):
        if est._numeric_target:
            kind, labels, counts = "numbers", empty, empty
            est._learn_target(y, True, False)
        else:
            kind = type_of_target(y)
            if kind == "multiclass-multioutput":
                raise ValueError(
                    "y has several columns of classes; fit an estimator for each of them"
                )
            est._learn_target(y, True, False)
            labels, counts = np.unique(y, return_counts=True)
            if kind == "multilabel-indicator":
                labels, counts = empty, empty
        counting = rows.X if rows.weight is None else rows.X[rows.weight > 0]
        missing = np.isnan(counting).any(axis=0)
        return Survey(len(y), kind, targets, labels, counts, missing)


class Moments(NamedTuple):
    """Sum of weights, mean, and weighted sum of squares about the mean, of several columns."""

    weight: Array
    mean: Array
    squares: Array


def merged(a: Moments, b: Moments) -> Moments:
    """Moments of both together (Chan, Golub and LeVeque 1983)."""
    weight = a.weight + b.weight
    part = b.weight / np.where(weight > 0, weight, 1)
    apart = b.mean - a.mean
    return Moments(
        weight,
        a.mean + part * apart,
        a.squares + b.squares + apart**2 * a.weight * part,
    )


def moments_of(values: Array, weight: Array | None) -> Moments:
    """Moments of the columns of a matrix, over what is not NaN, in float64."""
    n, k = values.shape
    totals = Moments(np.zeros(k), np.zeros(k), np.zeros(k))
    for start in range(0, n, 8192):
        block = values[start : start + 8192].astype(np.float64)
        there = (~np.isnan(block)).astype(np.float64)
        if weight is not None:
            there *= weight[start : start + 8192, np.newaxis]
        total = there.sum(axis=0)
        block = np.where(there > 0, block, 0)
        mean = (there * block).sum(axis=0) / np.where(total > 0, total, 1)
        squares = (there * np.where(there > 0, block - mean, 0) ** 2).sum(axis=0)
        totals = merged(totals, Moments(total, mean, squares))
    return totals


def moments(est: Any, p: int, rows: Rows) -> tuple[Moments, Moments | None]:
    """Moments of a partition's inputs and, if it is numbers, of its target."""
    with at_partition(p):
        weight = est._class_weighted(rows.y, rows.weight, False) if len(rows.y) else rows.weight
        of_y = None
        if est._numeric_target:
            of_y = moments_of(rows.y.reshape(len(rows.y), -1), weight)
        with np.errstate(all="ignore"):
            return moments_of(rows.X, weight), of_y


def encode(est: Any, p: int, rows: Rows, scores: bool = False) -> Ready:
    """A partition as the network takes it.

    Parameters
    ----------
    est : estimator
        It knows the classes and the scales.
    p : int
    rows : Rows
    scores : bool, default False
        Whether it is a validation set, whose target is kept as it is beside.

    Raises
    ------
    PartitionError
        A class is unknown, or a number too large to compute with.
    """
    X, y, weight = rows
    n_targets = 1 if y.ndim == 1 else y.shape[1]
    given = (y, weight) if scores else (None, None)
    with at_partition(p, "X_val" if scores else "X"):
        if len(y) and n_targets != _targets_of(est):
            raise ValueError(f"y has {n_targets} columns, elsewhere it has {_targets_of(est)}")
        if len(y) and not est._numeric_target and y.ndim == 1:
            strange = np.setdiff1d(y, est.classes_)
            if len(strange):
                raise ValueError(
                    f"y holds {strange.tolist()[0]!r}, which is not among the classes "
                    f"{_listed(np.asarray(est.classes_).tolist())}"
                )
        loss_weight = est._class_weighted(y, weight, False) if len(y) else None
        check_weights("the weight of class and row", loss_weight)
        if loss_weight is not None and not scores and not loss_weight.all():
            kept = np.flatnonzero(loss_weight > 0)  # a weight of 0 equals no row at all
            X, y, loss_weight = X[kept], y[kept], loss_weight[kept]
        X = est._fill(X)
        if not len(y):
            return Ready(X, np.zeros((0, est.n_outputs_), est._dtype), None, 0.0, *given)
        check_inputs(X, est._scaling, getattr(est, "feature_names_in_", None), None)
        Y = est._encode(y)
        if est._numeric_target:
            check_targets(y, Y, None, est._y_scale is not None)
        mass = float(len(y) if loss_weight is None else loss_weight.sum(dtype=np.float64))
        return Ready(X, Y, loss_weight, mass, *given)


def _targets_of(est: Any) -> int:
    """How many columns of y an estimator has been fitted to."""
    if est._numeric_target:
        return int(est.n_outputs_)
    several = est._label_binarizer.y_type_ == "multilabel-indicator"
    return int(est.n_outputs_) if several else 1


class Size(NamedTuple):
    """How many rows of a partition are learned from, what they weigh, and a sum over them."""

    n: int
    mass: float
    digest: str


def size_of(ready: Ready, with_digest: bool) -> Size:
    """The size of a partition and, if asked, a fingerprint of what it holds."""
    from chainrule.files.resuming import fingerprint

    held = (ready.X, ready.Y, *((ready.weight,) if ready.weight is not None else ()))
    return Size(len(ready.X), ready.mass, fingerprint(held) if with_digest else "")
