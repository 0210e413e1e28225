"""Which rows of a table in files count, and what for; the same on any worker.

A row without a target, or of weight 0, does not count. The others are learned from, or training
is stopped by them, or the model is judged by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.base.types import Array
from chainrule.estimators.row_columns import Place, RowColumns, read_cells
from chainrule.tables.columns import present
from chainrule.tables.types import Reading

LEARN, STOP, HELD = 0, 1, 2  # what a row is for
LARGEST_WEIGHT = 1e25  # so that float32 holds the sum of a billion
GROUPS = 65_536  # that are told apart
Sides = NDArray[np.int8]


class AtRandom(NamedTuple):
    """Rows are judged by whose draw is below a number; the estimator chooses those to stop by.

    Attributes
    ----------
    held : float
    """

    held: float = 0.0

    @property
    def stops(self) -> bool:
        """Whether training is stopped by some of the rows."""
        return False

    def without_stop(self) -> AtRandom:
        """The same."""
        return self

    def sides(self, draw: Array, of_rows: RowColumns) -> Sides:
        """What each row is for."""
        return np.where(draw < self.held, HELD, LEARN).astype(np.int8)


class ByTime(NamedTuple):
    """The latest rows judge the model, and the latest of the others stop its training.

    Attributes
    ----------
    held, stop : int or None
        The first of their times, as :func:`time_keys` has it; None: there are no such rows.
    """

    held: int | None = None
    stop: int | None = None

    @property
    def stops(self) -> bool:
        """Whether training is stopped by some of the rows."""
        return self.stop is not None

    def without_stop(self) -> ByTime:
        """The same, with the rows that stop the training among those that are learned from."""
        return self._replace(stop=None)

    def sides(self, draw: Array, of_rows: RowColumns) -> Sides:
        """What each row is for."""
        keys = time_keys(of_rows.time)
        side = np.full(len(keys), LEARN, np.int8)
        for name, first in ((STOP, self.stop), (HELD, self.held)):
            if first is not None:
                side[keys >= first] = name
        return side


class ByGroup(NamedTuple):
    """Whole groups judge the model, and others stop its training.

    Attributes
    ----------
    held, stop : int64 arrays
        Their groups, as :func:`group_keys` has them.
    """

    held: NDArray[np.int64]
    stop: NDArray[np.int64]

    @property
    def stops(self) -> bool:
        """Whether training is stopped by some of the rows."""
        return len(self.stop) > 0

    def without_stop(self) -> ByGroup:
        """The same, with the rows that stop the training among those that are learned from."""
        return self._replace(stop=self.stop[:0])

    def sides(self, draw: Array, of_rows: RowColumns) -> Sides:
        """What each row is for."""
        keys = group_keys(of_rows.group)
        side = np.full(len(keys), LEARN, np.int8)
        side[np.isin(keys, self.stop)] = STOP
        side[np.isin(keys, self.held)] = HELD
        return side


Split = AtRandom | ByTime | ByGroup


def time_keys(times: Any) -> NDArray[np.int64]:
    """Whole numbers in the order of times; equal ones for equal times.

    Parameters
    ----------
    times : (n,) float64 or datetime64 array, or None
        Without NaN.
    """
    if times is None:  # there are no rows
        return np.empty(0, np.int64)
    if times.dtype.kind == "M":
        return np.ascontiguousarray(times).view(np.int64)
    bits = (times + 0.0).view(np.int64)  # -0.0 and 0.0 are the same time
    keys: NDArray[np.int64] = np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits)
    return keys


def group_keys(groups: Any) -> NDArray[np.int64]:
    """A number below `GROUPS` for each group, the same in every process.

    Parameters
    ----------
    groups : (n,) array of str, or None
        The names of the groups. Of very many, some share a number, and stay together.
    """
    import pandas as pd

    if groups is None:  # there are no rows
        return np.empty(0, np.int64)
    keys: NDArray[np.int64] = (pd.util.hash_array(groups) % GROUPS).astype(np.int64)
    return keys


class Asked(NamedTuple):
    """What all tasks of a table know.

    Attributes
    ----------
    target : str
    ignore : list of str
        Columns that are not read.
    reading : Reading
    seed : int
    most : int
        Of a column with more values than this, none is kept.
    roles : dict of str to str
        The column of each role of `chainrule.estimators.row_columns`.
    beside : list of str
        Columns that are read and not learned from, less the target.
    split : AtRandom, ByTime or ByGroup
        Says what each row is for.
    """

    target: str
    ignore: list[str]
    reading: Reading
    seed: int
    most: int = 1000
    roles: Mapping[str, str] = {}  # never changed
    beside: Sequence[str] = ()
    split: Split = AtRandom()


class Block(NamedTuple):
    """Some rows of a file.

    Attributes
    ----------
    file : str
    first : int
        How many rows of the file are before them.
    frame : pandas.DataFrame
        With an index from 0.
    written : pandas.Series or None
        The target as it stands in the file.
    """

    file: str
    first: int
    frame: Any
    written: Any


class Usable(NamedTuple):
    """The rows of a block that count.

    Attributes
    ----------
    at : (n,) int array
        Which of the block's rows they are.
    side : (n,) int8 array
        LEARN, STOP or HELD.
    of_rows : RowColumns
    without : (k,) int array
        The rows that have no target.
    weightless : int
        How many of the others have a weight of 0.
    """

    at: NDArray[Any]
    side: Sides
    of_rows: RowColumns
    without: NDArray[Any]
    weightless: int


def usable(block: Block, draw: Array, asked: Asked) -> Usable:
    """Find the rows that count.

    Parameters
    ----------
    block : Block
    draw : (n,) array
        A number from 0 to 1 for each row.
    asked : Asked

    Raises
    ------
    ValueError
        A weight, a group or a time is missing or wrong.
    """
    cells = block.frame[asked.target]
    there = np.isin(cells.index, present(cells).index)
    at, without = np.flatnonzero(there), np.flatnonzero(~there)
    of_rows, weightless = RowColumns(), 0
    if asked.roles and len(at):
        rows = block.frame.iloc[at]
        place = Place(block.first + at, block.file)
        of_rows = read_cells(rows, place, asked.roles, asked.reading.missing, LARGEST_WEIGHT)
        if of_rows.weight is not None:
            kept = of_rows.weight > 0
            weightless = int((~kept).sum())
            at, of_rows = at[kept], of_rows.take(kept)
    return Usable(at, asked.split.sides(draw[at], of_rows), of_rows, without, weightless)
