"""What is learned from: which rows, in which order, and how far they spread."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from math import lgamma
from typing import Any, NamedTuple

import numpy as np

from chainrule.base.types import Array, Index
from chainrule.base.validation import warn_user

CHUNK = 1 << 26  # bytes of X that lie together and are read together
LOOKED_AT = 10_000  # rows of X, to see whether X_val is like it
SURE = 1e-6  # chance that rows of one kind look like two
GROUP = 8  # chunks whose rows are mixed


class Samples(NamedTuple):
    """What is learned from.

    Attributes
    ----------
    X, Y : arrays of n rows, or X a sparse matrix
    weight : (n,) array or None
    rows : int64 array or None
        The rows that count, where the others are held out or weigh nothing: X, which may be a
        memory map, is not copied to leave them out. None: all.
    """

    X: Any
    Y: Array
    weight: Array | None
    rows: Index | None = None

    @property
    def n(self) -> int:
        """How many rows count."""
        return int(self.X.shape[0]) if self.rows is None else len(self.rows)

    def at(self, order: Index) -> Index:
        """Row numbers in X, from places among the rows that count."""
        return order if self.rows is None else self.rows[order]

    def mass(self) -> float:
        """Sum of the weights."""
        if self.weight is None:
            return float(self.n)
        return float((self.weight if self.rows is None else self.weight[self.rows]).sum())

    def counting(self) -> tuple[Any, Array, Array | None]:
        """X, Y and weight of the rows that count, copied if they are not all."""
        if self.rows is None:
            return self.X, self.Y, self.weight
        weight = None if self.weight is None else self.weight[self.rows]
        return self.X[self.rows], self.Y[self.rows], weight


def check_shuffle(shuffle: Any) -> None:
    """Raise ValueError for what is no way to shuffle."""
    if not isinstance(shuffle, bool | np.bool_) and not (
        isinstance(shuffle, str) and shuffle == "blocks"
    ):
        raise ValueError(f"shuffle must be True, False or 'blocks'; got {shuffle!r}")


def draw_order(shuffle: bool | str, n: int, row_bytes: int, m: int, rng: Any) -> Index:
    """The order of an epoch, by the seed and by shapes alone.

    Parameters
    ----------
    shuffle : bool or "blocks"
        False: as they come. True: a permutation. "blocks": the rows are cut into chunks of 64 MB,
        the chunks come in a drawn order, and the rows of each 8 of them are mixed; so whatever is
        read in a row lies in 512 MB. Fewer rows than that are all mixed, as by True.
    n : int
    row_bytes : int
        What a row of X takes.
    m : int
        Rows in a batch; no chunk has fewer.
    rng : numpy.random.Generator or RandomState

    Returns
    -------
    (n,) int64
    """
    if not shuffle:
        return np.arange(n)
    size = max(CHUNK // max(row_bytes, 1), m)
    if shuffle != "blocks" or n <= size * GROUP:
        return rng.permutation(n)  # type: ignore[no-any-return]
    chunks = rng.permutation(-(-n // size))
    order, done = np.empty(n, np.int64), 0
    for group in np.array_split(chunks, -(-len(chunks) // GROUP)):
        start = done
        for chunk in group:
            first = chunk * size
            last = min(first + size, n)
            order[done : done + last - first] = np.arange(first, last)
            done += last - first
        rng.shuffle(order[start:done])
    return order


def blocks_of(X: Array, rows: Index | None = None) -> Iterator[tuple[slice, Array]]:
    """(places, rows of X), 1024 rows at a time, so that sums over X need no copy of it."""
    n = len(X) if rows is None else len(rows)
    for start in range(0, n, 1024):
        at = slice(start, min(start + 1024, n))
        yield at, X[at] if rows is None else X[rows[at]]


def deviation_of(X: Array, mean: Array, weight: Array | None, rows: Index | None = None) -> Array:
    """Standard deviation of each column, in whatever units it is; 1 where it is constant.

    Parameters
    ----------
    X : array of rows
    mean : (columns,) float64
    weight : (n,) array, optional
        Of the rows that count.
    rows : (n,) int64, optional
        Which rows count. Default: all.
    """
    largest = np.zeros_like(mean)
    for _, block in blocks_of(X, rows):
        np.maximum(largest, np.abs(block - mean).max(axis=0), out=largest)
    largest[largest == 0] = 1
    n = len(X) if rows is None else len(rows)
    w = np.full(n, 1 / n) if weight is None else weight / weight.sum(dtype=np.float64)
    variance = np.zeros_like(mean)
    for at, block in blocks_of(X, rows):  # squares of numbers up to 1, so that none overflows
        variance += w[at] @ ((block - mean) / largest) ** 2
    deviation: Array = largest * np.sqrt(variance)
    deviation[~(deviation > 10 * np.finfo(X.dtype).eps * np.abs(mean))] = 1
    return deviation


def looks_standardized(mean: Array, deviation: Array) -> bool:
    """Whether columns seem to have been brought to mean 0 and deviation 1, by a few rows.

    Half of the columns have a deviation from 1/2 to 2 and a mean within 1/2 of 0, and none is so
    far from that (10) that it would outweigh the others.

    Parameters
    ----------
    mean, deviation : (columns,) arrays
        Of some rows.
    """
    middle = float(np.median(deviation)), float(np.median(np.abs(mean)))
    usual = 0.5 <= middle[0] <= 2 and middle[1] <= 0.5
    return usual and bool(np.abs(mean).max() <= 10 and deviation.max() <= 10)


def warn_if_far(X: Any, X_val: Any, names: Any) -> None:
    """Warn where a validation set lies outside of what is learned from.

    As it does where a pipeline scales X, but not X_val. A column counts where half of X_val lies on
    one side of all of X, and by half of X's range at least. The first is so unlikely for rows of
    one kind, however they are distributed, that even the most columns give no false alarm; the
    second lets a later part of a series pass.
    """
    if not (isinstance(X, np.ndarray) and isinstance(X_val, np.ndarray)):
        return  # sparse
    X, X_val = (one[:: -(-len(one) // LOOKED_AT)] for one in (X, X_val))
    n, k = len(X), -(-len(X_val) // 2)
    # The chance that the k outermost of all rows on one side are X_val's, by its logarithm.
    chance = _log_choose(len(X_val), k) - _log_choose(n + len(X_val), k)
    if chance + np.log(2 * X.shape[1]) > np.log(SURE):
        return
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # columns of nothing but NaN
        low, high = np.nanmin(X, axis=0), np.nanmax(X, axis=0)
        above = np.nanquantile(X_val, 0.5, axis=0, method="lower")
        below = np.nanquantile(X_val, 0.5, axis=0, method="higher")
        margin = (high - low) / 2
        far = (high > low) & ((above > high + margin) | (below < low - margin))
    if not far.any():
        return
    columns = [str(j if names is None else names[j]) for j in np.flatnonzero(far)]
    j = int(far.argmax())
    more = f" and {len(columns) - 5} more" if len(columns) > 5 else ""
    warn_user(
        f"X_val lies far from X in column {', '.join(columns[:5])}{more}: in column {columns[0]} X "
        f"goes from {low[j]:g} to {high[j]:g}, and the middle of X_val is {above[j]:g}. If X went "
        "through earlier steps of a pipeline, such as a scaler, X_val has to as well: make the "
        'pipeline with transform_input=["X_val"]'
    )


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
