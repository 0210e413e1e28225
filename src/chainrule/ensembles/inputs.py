"""The rows of a table as networks take them, without the columns that their encoding stands for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from chainrule.base.types import Array, Index
from chainrule.equations.columns import Encoded


class Inputs(NamedTuple):
    """Encoded rows; :mod:`chainrule.equations.columns` says what the encoding is.

    Attributes
    ----------
    dense : (n, d) float32
        Columns that are there as they are, centred.
    bins : (n, q) int32
        The bin of each number, from 0 to T_j - 1; 0 where it is missing.
    fractions : (n, q) float32
        Its place within the bin, from 0 to 1; 0 where it is missing.
    levels : (n, c) int32
        The column of each category's block that is 1, from 0; -1: none.
    """

    dense: NDArray[np.float32]
    bins: NDArray[np.int32]
    fractions: NDArray[np.float32]
    levels: NDArray[np.int32]

    @property
    def n(self) -> int:
        """How many rows."""
        return len(self.dense)

    def take(self, rows: Index | slice) -> Inputs:
        """Some of the rows."""
        dense, bins, fractions, levels = self
        return Inputs(dense[rows], bins[rows], fractions[rows], levels[rows])


class InputLayout(NamedTuple):
    """What the columns are that rows stand for: dense, then by bin, then by level.

    Attributes
    ----------
    dense : int
        d, how many dense columns.
    bins : tuple of int
        T_j, the bins of each number, one or more.
    levels : tuple of int
        The columns of each category's block.
    scale, mean : (S,) float32
        Of the columns that are not dense, S = sum(bins) + sum(levels) of them: a column counts as
        scale p - mean, with p from 0 to 1.
    """

    dense: int
    bins: tuple[int, ...]
    levels: tuple[int, ...]
    scale: Array
    mean: Array

    @property
    def columns(self) -> int:
        """How many columns in all."""
        return self.dense + sum(self.bins) + sum(self.levels)

    @property
    def table_rows(self) -> int:
        """Rows of the table that is looked up: a number with T bins has T + 1 nodes."""
        return self.columns + len(self.bins)

    @property
    def nodes(self) -> Index:
        """The row at which each number's nodes start, and at which the last ones end."""
        return self.dense + np.cumsum([0, *(T + 1 for T in self.bins)], dtype=np.int64)

    @property
    def first_levels(self) -> Index:
        """The row at which each category's rows start."""
        starts = np.cumsum([0, *self.levels], dtype=np.int64)[:-1]
        return np.ascontiguousarray(self.nodes[-1] + starts)


def encoded(inputs: Inputs, layout: InputLayout, dtype: DTypeLike = np.float32) -> Encoded:
    """Rows and layout in the form that the equations use."""
    return Encoded(
        np.ascontiguousarray(inputs.dense, dtype),
        np.ascontiguousarray(inputs.bins, np.int32),
        np.ascontiguousarray(inputs.fractions, dtype),
        np.ascontiguousarray(inputs.levels, np.int32),
        layout.nodes,
        layout.first_levels,
        np.ascontiguousarray(layout.scale, dtype),
        np.ascontiguousarray(layout.mean, dtype),
    )


def unit_columns(inputs: Inputs, layout: InputLayout, dtype: DTypeLike = np.float32) -> Array:
    """The columns written out, (n, D), before scale and mean: p_t, and 0 or 1 by level."""
    out: Array = np.zeros((inputs.n, layout.columns), dtype)
    out[:, : layout.dense] = inputs.dense
    at, rows = layout.dense, np.arange(inputs.n)
    for j, T in enumerate(layout.bins):
        b = inputs.bins[:, j]
        block = out[:, at : at + T]
        np.less(np.arange(T), b[:, np.newaxis], out=block)
        block[rows, b] = inputs.fractions[:, j]
        at += T
    for j, width in enumerate(layout.levels):
        there = inputs.levels[:, j] >= 0
        out[rows[there], at + inputs.levels[there, j]] = 1
        at += width
    return out


def written_out(inputs: Inputs, layout: InputLayout, dtype: DTypeLike = np.float32) -> Array:
    """The columns written out, (n, D), scaled and centred: what the first layer multiplies."""
    out = unit_columns(inputs, layout, dtype)
    out[:, layout.dense :] *= layout.scale
    out[:, layout.dense :] -= layout.mean
    return out


def check_inputs(inputs: Inputs, layout: InputLayout) -> None:
    """Raise ValueError for rows that do not fit the layout: compiled code does not look."""
    n = inputs.n
    for name, array, width in (
        ("dense", inputs.dense, layout.dense),
        ("bins", inputs.bins, len(layout.bins)),
        ("fractions", inputs.fractions, len(layout.bins)),
        ("levels", inputs.levels, len(layout.levels)),
    ):
        if array.shape != (n, width):
            raise ValueError(f"{name} must have the shape {(n, width)}, not {array.shape}")
    for name in ("scale", "mean"):
        shape = (layout.columns - layout.dense,)
        if getattr(layout, name).shape != shape:
            raise ValueError(f"{name} must have the shape {shape}")
    if n == 0:
        return
    for name, array, least, widths in (
        ("bins", inputs.bins, 0, layout.bins),
        ("levels", inputs.levels, -1, layout.levels),
    ):
        if array.shape[1] and not (
            (array.min(axis=0) >= least).all() and (array.max(axis=0) < np.array(widths)).all()
        ):
            raise ValueError(f"{name} holds a number outside of what the layout says")
