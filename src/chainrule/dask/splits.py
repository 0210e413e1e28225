"""What decides on which side of a split the rows of a table in files are, found on the cluster.

An order of all rows by time is nowhere: each partition's times are sorted where they are, and the
client asks how many are below others until it knows the one that it looks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.dask.files import Part, at_file, blocks, draws
from chainrule.dask.sides import GROUPS, Asked, group_keys, time_keys, usable
from chainrule.dask.work import Work
from chainrule.estimators.row_columns import RowColumns
from chainrule.tables.opening import Look

Keys = NDArray[np.int64]
ASKED_AT_ONCE = 1023  # times of which the partitions are asked how many are below


def _keys(part: Part, seen: Look, asked: Asked, key: Callable[[RowColumns], Keys]) -> Keys:
    """The keys of the rows of a partition that count."""
    rng, found = draws(part, asked), [np.empty(0, np.int64)]
    for block in blocks(part, seen, asked, [asked.target, *asked.roles.values()]):
        with at_file(block.file, block.first):
            rows = usable(block, rng.random(len(block.frame)), asked)
        found.append(key(rows.of_rows))
    return np.concatenate(found)


def sorted_times(part: Part, seen: Look, asked: Asked) -> Keys:
    """The times of a partition in their order.

    Raises
    ------
    PartitionError
        A row cannot be read.
    """
    return np.sort(_keys(part, seen, asked, lambda of_rows: time_keys(of_rows.time)))


def sizes_of_groups(part: Part, seen: Look, asked: Asked) -> tuple[Keys, Keys]:
    """The groups of a partition, and how many rows each has.

    Raises
    ------
    PartitionError
        A row cannot be read.
    """
    keys = _keys(part, seen, asked, lambda of_rows: group_keys(of_rows.group))
    return np.unique(keys, return_counts=True)


def ends(times: Keys) -> tuple[int, int, int]:
    """How many times there are, the first and the last."""
    return (len(times), int(times[0]), int(times[-1])) if len(times) else (0, 0, 0)


def up_to(times: Keys, some: Keys) -> Keys:
    """How many times are not later than each of some."""
    return np.searchsorted(times, some, "right")


def next_after(times: Keys, one: int) -> int | None:
    """The first of the times that are later than one."""
    place = int(np.searchsorted(times, one, "right"))
    return int(times[place]) if place < len(times) else None


class Times:
    """The times of all rows of a table, sorted in each partition.

    Parameters
    ----------
    work : Work
    parts, seen, asked :
        As for :func:`chainrule.dask.passes.survey_of`.

    Attributes
    ----------
    n : int
    """

    def __init__(self, work: Work, parts: Sequence[Part], seen: Look, asked: Asked) -> None:
        self.work = work
        self.parts = _of_each(work, sorted_times, parts, seen, asked)
        found = [one for one in self._each(ends) if one[0]]
        self.n = sum(n for n, _, _ in found)
        self._first = min((first for _, first, _ in found), default=0)
        self._last = max((last for _, _, last in found), default=0)

    def _each(self, function: Callable[..., Any], *given: Any) -> list[Any]:
        columns = [[one] * len(self.parts) for one in given]
        return self.work.gather(self.work.each("times", function, self.parts, *columns))

    def up_to(self, one: int) -> int:
        """How many rows are not later than a time."""
        return int(np.sum(self._each(up_to, np.array([one]))))

    def at(self, k: int) -> int:
        """The time of the row that k rows are before, in an order of all."""
        low, high = self._first - 1, self._last  # of the time: above low, not above high
        while high - low > 1:
            m = min(ASKED_AT_ONCE, high - low - 1)
            some = [low + (high - low) * i // (m + 1) for i in range(1, m + 1)]
            counts = np.sum(self._each(up_to, np.array(some)), axis=0)
            place = int((counts <= k).sum())
            low, high = [low, *some, high][place : place + 2]
        return high

    def after(self, one: int) -> int | None:
        """The next time that a row has."""
        found = [time for time in self._each(next_after, one) if time is not None]
        return min(found, default=None)


def groups_of(work: Work, parts: Sequence[Part], seen: Look, asked: Asked) -> tuple[Keys, Keys]:
    """The groups of a table, as `chainrule.dask.sides.group_keys` has them, and their sizes.

    Raises
    ------
    PartitionError
        A row cannot be read.
    """
    found = work.gather(_of_each(work, sizes_of_groups, parts, seen, asked))
    sizes = np.zeros(GROUPS, np.int64)
    for groups, rows in found:
        sizes[groups] += rows
    groups = np.flatnonzero(sizes)
    return groups, sizes[groups]


def _of_each(
    work: Work, function: Callable[..., Any], parts: Sequence[Part], seen: Look, asked: Asked
) -> list[Any]:
    """Futures of a function of each partition, all of them computed."""
    n = len(parts)
    shared = [work.share("columns", seen)] * n
    found = work.each("split", function, parts, shared, [asked] * n)
    work.gather_errors(found)  # the first in the order of the files
    return found
