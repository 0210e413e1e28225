"""From columns of numbers and categories to what the networks take.

Numbers. With the median m and the interquartile range q of the training rows, x becomes

    r = (x - m) / q,    x' = r / √(1 + (r/3)²),

which is x on the scale of its column, bent smoothly into ±3. A missing number is the median, and
a column of its own marks it. Networks that can make steps also get the piecewise-linear code of
Gorishniy, Rubachev and Babenko (2022): with e_0 < e_1 < ... < e_T, quantiles of the column,

    p_t = clip((x - e_{t-1}) / (e_t - e_{t-1}), 0, 1),    t = 1, ..., T,

of which a row has at most one that is neither 0 nor 1: that one's number (`bins`) and its value
(`fractions`) are all that is stored.

Categories. The commonest levels, and missing cells, are a column of 0 and 1 each, of which at most
one is not 0 (`levels`). A category of many levels also gets, for each column y of the targets, the
mean of y over the rows of its level, drawn towards the mean of all rows (Micci-Barreca 2001):

    t = (Σ w y + a ȳ) / (Σ w + a),    2 (t - ȳ) / sd(y).

A training row takes Σ over rows of the other folds alone, so that its own target is not in it.

The means of all columns over the training rows are subtracted at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.ensembles.inputs import InputLayout, Inputs

Array = NDArray[Any]  # of floats, codes or truth values

MISSING, UNSEEN = -1, -2  # codes of cells that have no level
BENT = 3.0  # bound on a scaled number
LARGEST = 1e100  # of a number that is not infinite; the square of a scaled one must not overflow
MOST_LEVELS, FEWEST_ROWS = 32, 3  # levels with a column each; rows that such a level must have
COMMON = 0.25  # share of the rows from which on a level is common
COMMON_VALUE, RARE_VALUE, ONLY_VALUE, BIN_VALUE = 1.0, 1.664, 2.0, 2.0  # what stands for 1
MANY_LEVELS = 9  # from so many levels on, means of the target are taken by level
PRIOR_ROWS = 10.0  # a above: rows of the mean of all rows that are added to those of a level
NEAREST = 1e-12  # parts of q, or of their size, that edges of bins are apart at least
MOST_BINS = 20_000  # of all columns together
SAMPLE = 100_000  # rows from which medians and quantiles are taken
BLOCK = 1 << 16  # rows that are encoded at a time


class Columns(NamedTuple):
    """Cells of n rows, by column.

    Attributes
    ----------
    numbers : (n, p) float64 array
        NaN where a cell is missing.
    codes : (n, q) int32 array
        Which of its levels each category has: 0, 1, ..., or MISSING, or UNSEEN for a level that
        training did not have.
    """

    numbers: Array
    codes: Array

    def taken(self, rows: slice | Array) -> Columns:
        """Some of the rows."""
        return Columns(self.numbers[rows], self.codes[rows])


class Schema(NamedTuple):
    """What the columns are.

    Attributes
    ----------
    levels : tuple of int
        How many levels each category has.
    marked : (p,) bool array
        Which columns of numbers get a column that marks missing cells, if they have some.
    scaled : (p,) bool array
        Which columns of numbers are taken as they are: they have neither scale nor bins.
    """

    levels: tuple[int, ...]
    marked: Array
    scaled: Array


@dataclass(frozen=True)
class Encoder:
    """How columns are encoded, as learnt from the training rows by :func:`learn_encoder`.

    Attributes
    ----------
    median, factor : (p,) arrays
        m and 1/q of each column of numbers.
    scaled : (p,) bool array
        As in `Schema`.
    marks : int array
        Columns of numbers whose missing cells are marked.
    edges : list of arrays
        e_0, ..., e_T of each column of numbers; empty if it has no bins.
    columns_of : list of (L + 2,) int32 arrays
        For each category, the column of each level within its block, -1 for none. The last two
        entries are those of UNSEEN and MISSING, which NumPy's negative indices find.
    level_means : list of (L + 2, K) arrays
        For each category, the encoded means of the targets by level; (L + 2, 0) if it has few.
    kept : int array
        Which dense columns differ between rows; others are left out.
    dense_mean : (D,) array
    value, mean : (S,) arrays
        What stands for 1 in the columns of bins and levels, and what is subtracted.
    """

    median: Array
    factor: Array
    scaled: Array
    marks: Array
    edges: list[Array]
    columns_of: list[Array]
    level_means: list[Array]
    kept: Array
    dense_mean: Array
    value: Array
    mean: Array

    @property
    def binned(self) -> list[int]:
        """Which columns of numbers have bins."""
        return [j for j, e in enumerate(self.edges) if len(e)]

    @property
    def blocks(self) -> list[int]:
        """Which categories have columns of levels."""
        return [
            c for c, columns in enumerate(self.columns_of) if len(columns) and columns.max() >= 0
        ]

    def layout(self, with_bins: bool) -> InputLayout:
        """Widths of the inputs, with or without bins."""
        bins = tuple(len(self.edges[j]) - 1 for j in self.binned) if with_bins else ()
        levels = tuple(int(self.columns_of[c].max()) + 1 for c in self.blocks)
        first = 0 if with_bins else len(self.value) - sum(levels)
        return InputLayout(
            dense=len(self.kept),
            bins=bins,
            levels=levels,
            scale=self.value[first:].astype(np.float32),
            mean=self.mean[first:].astype(np.float32),
        )

    def encode(
        self,
        columns: Columns,
        fold_means: Sequence[Array] | None = None,
        folds: Array | None = None,
    ) -> Inputs:
        """The inputs of n rows.

        Parameters
        ----------
        columns : Columns
        fold_means : list of (F, L + 2, K) arrays, optional
            What stands in for `level_means` in rows of each fold: those of training rows.
        folds : (n,) int array, optional
            The fold of each row.
        """
        n = len(columns.numbers)
        inputs = Inputs(
            np.empty((n, len(self.kept)), np.float32),
            np.empty((n, len(self.binned)), np.int32),
            np.empty((n, len(self.binned)), np.float32),
            np.empty((n, len(self.blocks)), np.int32),
        )
        edges = [self.edges[j] for j in self.binned]
        for start in range(0, n, BLOCK):
            at = slice(start, min(start + BLOCK, n))
            block = columns.taken(at)
            dense = self._dense(block, fold_means, None if folds is None else folds[at])
            np.subtract(dense[:, self.kept], self.dense_mean, inputs.dense[at], casting="same_kind")
            cells = block.numbers[:, self.binned]
            inputs.bins[at], inputs.fractions[at] = piecewise_linear(cells, edges)
            for i, c in enumerate(self.blocks):
                inputs.levels[at, i] = self.columns_of[c][block.codes[:, c]]
        return inputs

    def state(self) -> dict[str, Array]:
        """What a model file keeps: arrays, those of several lengths end to end."""
        found = {
            name: getattr(self, name)
            for name in ("median", "factor", "scaled", "marks", "kept", "dense_mean")
        }
        found |= {"value": self.value, "mean": self.mean}
        found |= _joined("edges", self.edges) | _joined("columns_of", self.columns_of)
        found |= _joined("level_means", [means.ravel() for means in self.level_means])
        return found

    @classmethod
    def from_state(cls, state: dict[str, Array]) -> Encoder:
        """The encoder that :meth:`state` describes.

        Raises
        ------
        ValueError, TypeError, KeyError
            Its arrays do not fit each other.
        """
        flat = _parted(state, "level_means")
        columns_of = _parted(state, "columns_of")
        if len(flat) != len(columns_of):
            raise ValueError("means of levels do not fit the categories")
        means = [m.reshape(len(c), -1) for m, c in zip(flat, columns_of, strict=True)]
        names = ("median", "factor", "scaled", "marks", "kept", "dense_mean", "value", "mean")
        encoder = cls(
            **{name: state[name] for name in names},
            edges=_parted(state, "edges"),
            columns_of=columns_of,
            level_means=means,
        )
        encoder._check()
        return encoder

    def _check(self) -> None:
        """Refuse arrays that do not fit each other."""
        p = len(self.median)
        if any(a.shape != (p,) for a in (self.median, self.factor, self.scaled)):
            raise ValueError("scales do not fit the columns of numbers")
        if self.scaled.dtype != bool or len(self.edges) != p:
            raise ValueError("edges do not fit the columns of numbers")
        if any(len(e) and (len(e) < 3 or not (np.diff(e) > 0).all()) for e in self.edges):
            raise ValueError("edges of bins do not rise")
        width = p + len(self.marks) + sum(means.shape[1] for means in self.level_means)
        for index, n in ((self.marks, p), (self.kept, width)):
            if index.dtype.kind != "i" or index.ndim != 1 or ((index < 0) | (index >= n)).any():
                raise ValueError("a column is named that there is not")
        for columns in self.columns_of:
            if columns.dtype.kind != "i" or len(columns) < 2:
                raise ValueError("columns of levels are damaged")
            on = np.sort(columns[columns >= 0])
            if columns.min() < -1 or not np.array_equal(on, np.arange(len(on))):
                raise ValueError("columns of levels are damaged")
        S = sum(len(e) - 1 for e in self.edges if len(e)) + sum(
            int(self.columns_of[c].max()) + 1 for c in self.blocks
        )
        if self.value.shape != (S,) or self.mean.shape != (S,):
            raise ValueError("values do not fit the columns of bins and levels")
        if self.dense_mean.shape != self.kept.shape:
            raise ValueError("means do not fit the dense columns")

    def _dense(
        self, columns: Columns, fold_means: Sequence[Array] | None, folds: Array | None
    ) -> Array:
        """All dense columns: numbers, marks of missing ones, means of the targets by level."""
        absent = np.isnan(columns.numbers)
        filled = np.where(absent, self.median, columns.numbers)
        numbers = bent(filled, self.median, self.factor)
        if self.scaled.any():
            numbers = np.where(self.scaled, filled, numbers)
        parts = [numbers, absent[:, self.marks].astype(np.float64)]
        for c, means in enumerate(self.level_means):
            if means.shape[1]:
                codes = columns.codes[:, c]
                parts.append(means[codes] if fold_means is None else fold_means[c][folds, codes])
        return np.hstack(parts)


def _joined(name: str, arrays: Sequence[Array]) -> dict[str, Array]:
    """Arrays end to end, and how long each is."""
    kind = arrays[0].dtype if len(arrays) else np.float64
    return {
        name: np.concatenate([np.empty(0, kind), *arrays]),
        f"{name}_sizes": np.array([len(each) for each in arrays], np.int64),
    }


def _parted(state: dict[str, Array], name: str) -> list[Array]:
    """The arrays that :func:`_joined` put together."""
    whole, sizes = state[name], state[f"{name}_sizes"]
    if whole.ndim != 1 or (sizes < 0).any() or sizes.sum() != len(whole):
        raise ValueError(f"{name} have other sizes than they say")
    return np.split(whole, np.cumsum(sizes)[:-1]) if len(sizes) else []


def bent(x: Array, median: Array, factor: Array, bound: float = BENT) -> Array:
    """x' above, of finite numbers."""
    with np.errstate(over="ignore"):
        r = np.clip((x - median) * factor, -LARGEST, LARGEST)
    return np.asarray(r / np.sqrt(1 + (r / bound) ** 2))


def piecewise_linear(x: Array, edges: Sequence[Array]) -> tuple[Array, Array]:
    """The bin of each number, from 0, and how far into it the number is: 0 ... 1.

    All p_t before the bin are 1, its own is the fraction, those behind it are 0. A missing number
    has bin 0 and fraction 0, so that all are 0.

    Parameters
    ----------
    x : (n, q) array
    edges : list of q arrays, (T_j + 1,), increasing

    Returns
    -------
    bins : (n, q) int array
    fractions : (n, q) float32 array
    """
    cells = np.ascontiguousarray(x.T)
    bins = np.empty(cells.shape, np.int64)
    for of_number, e, found in zip(cells, edges, bins, strict=True):
        found[:] = e[1:-1].searchsorted(of_number, side="right")
    every = np.concatenate([np.empty(0), *edges])
    at = bins + np.cumsum([0, *map(len, edges)])[:-1, np.newaxis]
    low = every.take(at)
    with np.errstate(over="ignore", invalid="ignore"):
        fractions = (cells - low) / (every.take(at + 1) - low)
        np.clip(fractions, 0, 1, out=fractions)
    absent = np.isnan(cells)
    bins[absent], fractions[absent] = 0, 0
    return bins.T, fractions.T.astype(np.float32)


def learn_encoder(
    columns: Columns,
    schema: Schema,
    Y: Array,
    weights: Array,
    folds: Array,
    n_bins: int,
) -> tuple[Encoder, Inputs]:
    """An encoder, and the training rows as it encodes them, each without its own fold's targets.

    Parameters
    ----------
    columns : Columns
        Of n training rows. Numbers are finite or NaN.
    schema : Schema
    Y : (n, K) array
        Targets whose means are taken by level: standardised numbers, or 0 and 1 for classes.
    weights : (n,) array
        What each row counts for in these means; 1 on average.
    folds : (n,) int array
        From 0.
    n_bins : int
        T; less if there are many columns.
    """
    numbers, factors, edges = _learn_numbers(columns.numbers, schema.scaled, n_bins)
    columns_of, values = _learn_levels(columns.codes, schema.levels)
    fold_means = means_by_fold(columns.codes, schema.levels, Y, weights, folds)
    absent = np.isnan(columns.numbers).any(axis=0)
    encoder = Encoder(
        median=numbers,
        factor=factors,
        scaled=np.asarray(schema.scaled, bool),
        marks=np.flatnonzero(absent & schema.marked),
        edges=edges,
        columns_of=columns_of,
        level_means=[means[-1] for means in fold_means],
        kept=np.empty(0, np.int64),
        dense_mean=np.empty(0),
        value=np.concatenate(
            [np.full(sum(len(e) - 1 for e in edges if len(e)), BIN_VALUE), values]
        ),
        mean=np.empty(0),
    )
    encoder = _centred(encoder, columns, fold_means, folds)
    return encoder, encoder.encode(columns, fold_means, folds)


def _learn_numbers(numbers: Array, scaled: Array, n_bins: int) -> tuple[Array, Array, list[Array]]:
    """Medians, factors 1/q and edges of columns."""
    n, p = numbers.shape
    if n > SAMPLE:
        numbers = numbers[np.random.default_rng(0).choice(n, SAMPLE, replace=False)]
    median, factor = np.zeros(p), np.zeros(p)
    edges = [np.empty(0)] * p
    n_bins = min(n_bins, MOST_BINS // max(1, p - int(np.sum(scaled))))
    for j in range(p):
        x = numbers[:, j]
        there = x[~np.isnan(x)]
        if not len(there):
            continue
        median[j] = np.median(there)
        filled = np.where(np.isnan(x), median[j], x)
        low, high = np.percentile(filled, [25, 75])
        if high > low:
            factor[j] = 1 / max(high - low, 1e-30)
        elif filled.max() > filled.min():
            factor[j] = 2 / max(filled.max() - filled.min(), 1e-30)
        if not scaled[j] and n_bins >= 2:
            found = np.unique(np.quantile(there, np.linspace(0, 1, n_bins + 1)))
            size = np.maximum(np.abs(found[1:]), 1 / factor[j] if factor[j] else 0)
            apart = np.diff(found) > NEAREST * size
            found = found[np.concatenate([[True], apart])]
            if len(found) >= 3:
                edges[j] = found
    return median, factor, edges


def _learn_levels(codes: Array, levels: Sequence[int]) -> tuple[list[Array], Array]:
    """The column of each level of each category, and what stands for 1 in all columns."""
    columns_of, values = [], []
    for c, L in enumerate(levels):
        counts = np.bincount(codes[codes[:, c] >= 0, c], minlength=L)
        absent = int(np.sum(codes[:, c] == MISSING))
        present = int(np.sum(counts > 0))
        columns = np.full(L + 2, -1, np.int32)
        columns_of.append(columns)
        if present + (absent > 0) <= 1:
            continue
        order = np.argsort(-counts, kind="stable")[:MOST_LEVELS]
        kept = order[counts[order] >= FEWEST_ROWS]
        if present == 2 and not absent:
            kept = kept[:1]
        columns[kept] = np.arange(len(kept))
        common = counts[kept] / max(counts.sum(), 1) >= COMMON
        value = np.where(common, COMMON_VALUE, RARE_VALUE)
        values.append(np.full(1, ONLY_VALUE) if len(kept) == 1 else value)
        if absent >= FEWEST_ROWS:
            columns[MISSING] = len(kept)
            values.append(np.full(1, RARE_VALUE))
    return columns_of, np.concatenate([np.empty(0), *values])


def means_by_fold(
    codes: Array, levels: Sequence[int], Y: Array, weights: Array, folds: Array
) -> list[Array]:
    """For each category, the encoded means of the targets by level, without each fold in turn.

    Parameters
    ----------
    codes, levels, Y, weights, folds :
        As in :func:`learn_encoder`.

    Returns
    -------
    list of (F + 1, L + 2, K) arrays
        Entry f is taken over the rows outside of fold f; the last is over all rows. UNSEEN and
        MISSING have 0. K is 0 for a category of few levels.
    """
    F, K = int(folds.max()) + 1, Y.shape[1]
    deviation = np.maximum(Y.std(axis=0), 1e-9)
    weighted = Y * weights[:, None]
    found = []
    for c, L in enumerate(levels):
        of_row = codes[:, c]
        known = of_row >= 0
        if len(np.unique(of_row[known])) < MANY_LEVELS:
            found.append(np.zeros((F + 1, L + 2, 0)))
            continue
        means = np.zeros((F + 1, L + 2, K))
        for f in range(F + 1):
            rows = folds != f
            if not rows.any():
                continue
            prior = weighted[rows].sum(axis=0) / weights[rows].sum()
            rows &= known
            total = np.bincount(of_row[rows], weights[rows], L)[:, None]
            sums = [np.bincount(of_row[rows], weighted[rows, y], L) for y in range(K)]
            mean = (np.stack(sums, axis=1) + PRIOR_ROWS * prior) / (total + PRIOR_ROWS)
            means[f, :L] = 2 * (mean - prior) / deviation
        found.append(means)
    return found


def _centred(
    encoder: Encoder, columns: Columns, fold_means: Sequence[Array], folds: Array
) -> Encoder:
    """The encoder with the means of all columns, and without dense columns that are constant."""
    n = len(folds)
    sums, squares = 0.0, 0.0
    for at in _blocks(n):
        dense = encoder._dense(columns.taken(at), fold_means, folds[at])
        if not at.start:
            first = dense[0].copy()  # deviations from a row lose no digits
        dense -= first
        sums, squares = sums + dense.sum(axis=0), squares + (dense**2).sum(axis=0)
    mean = np.asarray(sums) / n
    variance = np.asarray(squares) / n - mean**2
    kept = np.flatnonzero(variance > 1e-18)
    bins = [_bin_means(columns.numbers[:, j], encoder.edges[j]) for j in encoder.binned]
    levels = [_level_means(columns.codes[:, c], encoder.columns_of[c]) for c in encoder.blocks]
    shares = np.concatenate([np.empty(0), *bins, *levels])
    return replace(encoder, kept=kept, dense_mean=(mean + first)[kept], mean=encoder.value * shares)


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK))


def _bin_means(x: Array, edges: Array) -> Array:
    """The mean of each p_t."""
    T = len(edges) - 1
    bins, fractions = (each[:, 0] for each in piecewise_linear(x[:, np.newaxis], [edges]))
    inside = np.bincount(bins, fractions, T)
    behind = len(x) - np.cumsum(np.bincount(bins, minlength=T))  # rows of later bins
    means: Array = (inside + behind) / len(x)
    return means


def _level_means(codes: Array, columns: Array) -> Array:
    """The share of each column of a category's levels."""
    of_row = columns[codes]
    counts: Array = np.bincount(of_row[of_row >= 0], minlength=columns.max() + 1) / len(codes)
    return counts
