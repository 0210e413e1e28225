"""What is known of a column after some of its rows; summaries of different rows can be merged.

So a column can be described whose rows are nowhere together. Counts, levels, spellings and the
ends are exact. How many different values there are is exact up to some thousands; beyond, it is
found from a sample of the values, those of the smallest hashes (Bar-Yossef et al. 2002): each of
them is counted wherever it comes, so n over their mean count is the number of values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chainrule.tables.columns import Facts, cell_type, may_name_rows, present
from chainrule.tables.dtypes import simple
from chainrule.tables.levels import as_levels, level_type
from chainrule.tables.types import ColumnType, Guess

if TYPE_CHECKING:
    import pandas as pd

HASHES = 4096  # values that are counted for the number of different ones


class ColumnSummary:
    """What some rows hold in a column.

    Parameters
    ----------
    cells : pandas.Series of shape (n,)
    learnt : (n,) bool array
        Which of the rows are learned from. Levels are those of these rows, and so is whether a
        value is missing; what decides on the kind is of all rows.
    most : int
        Of more different values than this, none is kept.
    missing_texts : sequence of str or None
        The texts that say that a value is missing.

    Attributes
    ----------
    name : str
    n, missing : int
        Cells that are there, and others.
    missing_learnt : int
        Of the latter, those in rows that are learned from.
    values : Counter or None
        The different cells of the rows that are learned from; None: they are too many.
    low, high : float
        The ends of the finite numbers; inf and -inf where there are none.
    """

    def __init__(
        self,
        cells: pd.Series,
        learnt: NDArray[np.bool_],
        most: int,
        missing_texts: Sequence[str] | None,
    ) -> None:
        import pandas as pd

        self.name, self.most, self._gone = str(cells.name), most, missing_texts
        cells = simple(cells).infer_objects()
        there = present(cells)
        self._dtype, self._type = cells.dtype, cell_type(cells.dtype)
        self.n, self.missing = len(there), len(cells) - len(there)
        place = np.isin(cells.index, there.index)
        self.missing_learnt = int((~place & learnt).sum())
        self._only = there.iloc[0] if len(there) else None
        known = there[learnt[place]]
        counts = known.value_counts()
        self.values: Counter[Any] | None = None
        if len(counts) <= most:
            self.values = Counter(dict(zip(counts.index.tolist(), counts.tolist(), strict=True)))
        hashes = pd.util.hash_pandas_object(there, index=False).to_numpy(np.uint64)
        self._hashes, self._times = _smallest(hashes, np.ones(len(hashes), np.int64))
        self.low, self.high = np.inf, -np.inf
        self._whole, self._steps = True, 0
        self._ends: tuple[float, float] | None = None
        self._guess: Guess | None = None
        if self._type == "number":
            self._see_numbers(there.to_numpy(np.float64, na_value=np.nan))
        elif self._type == "text":
            import pyarrow as pa

            self._guess = Guess(says_missing=missing_texts)
            self._guess.update(pa.array(there.astype(str).tolist(), pa.string()))

    def _see_numbers(self, numbers: NDArray[np.float64]) -> None:
        if not len(numbers):
            return
        finite = numbers[np.isfinite(numbers)]
        self._whole = bool((finite == np.floor(finite)).all() and len(finite) == len(numbers))
        self._steps = int((np.diff(numbers) == 1).sum())
        self._ends = float(numbers[0]), float(numbers[-1])
        if len(finite):
            self.low, self.high = float(finite.min()), float(finite.max())

    def merge(self, other: ColumnSummary) -> None:
        """Add rows that come behind these."""
        if self._ends and other._ends:
            self._steps += other._ends[0] - self._ends[1] == 1
            self._ends = self._ends[0], other._ends[1]
        else:
            self._ends = self._ends or other._ends
        self._steps += other._steps
        if not self.n:
            self._only = other._only
            self._dtype, self._type = other._dtype, other._type
        self.n, self.missing = self.n + other.n, self.missing + other.missing
        self.missing_learnt += other.missing_learnt
        if self.values is not None:
            self.values = None if other.values is None else self.values + other.values
        if self.values is not None and len(self.values) > self.most:
            self.values = None
        self._hashes, self._times = _smallest(
            np.concatenate([self._hashes, other._hashes]),
            np.concatenate([self._times, other._times]),
        )
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self._whole = self._whole and other._whole
        if self._guess is None or other._guess is None:
            self._guess = self._guess or other._guess
        else:
            self._guess.merge(other._guess)

    @property
    def distinct(self) -> int:
        """How many different values there are; of very many, about."""
        if len(self._hashes) < HASHES:
            return len(self._hashes)
        return round(self.n / float(self._times.mean()))

    def facts(self, some: pd.Series) -> Facts:
        """What decides on the kind of the column.

        Parameters
        ----------
        some : pandas.Series
            Cells of a sample.
        """
        n, distinct = self.n, self.distinct
        facts = Facts(self.name, n, self.missing, distinct, self._type, self._only)
        if distinct > 1 and self._type == "number" and may_name_rows(n, distinct):
            return facts._replace(whole=self._whole, counting=self._steps / (n - 1))
        if distinct > 1 and self._type == "text":
            texts = present(some).astype(str)
            return facts._replace(spelled=self._spelled(False), texts=texts)
        return facts

    def _spelled(self, comma_seen: bool) -> ColumnType | None:
        if self._guess is None or not self.n:
            return None
        found = self._guess.result(comma_first=False, comma_seen=comma_seen)
        return None if found.type == "text" else found

    def spelling(self, comma_seen: bool) -> str | None:
        """How texts spell numbers or dates, as :func:`chainrule.tables.cells.spelling` has it."""
        found = self._spelled(comma_seen)
        return None if found is None else found.style

    def different(self) -> pd.Series:
        """The different cells of the rows that are learned from, in their type, sorted as texts.

        Raises
        ------
        ValueError
            They are too many, and were not kept.
        """
        import pandas as pd

        if self.values is None:
            raise ValueError(f"column {self.name!r} has more than {self.most:,} different values")
        cells = sorted(self.values, key=str)
        return pd.Series(cells, dtype=self._dtype, name=self.name)

    def level_type(self) -> str:
        """What the values are, as :func:`chainrule.tables.levels.level_type` has it."""
        if self._type == "text":
            spelled = self._spelled(False)
            return "boolean" if spelled is not None and spelled.type == "boolean" else "text"
        known = {"boolean": "boolean", "date": "date", "number": "number"}
        if self._type in known:
            return known[self._type]
        return level_type(self.different(), self._gone)

    def levels(self, type: str, missing: str) -> list[str] | None:
        """The levels of that type, sorted, `missing` among them; None: they are too many."""
        if self.values is None:
            return None
        found = set(as_levels(self.different(), type, missing, None, self._gone))
        return sorted(found | ({missing} if self.missing_learnt else set()))


def _smallest(
    hashes: NDArray[np.uint64], times: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The smallest different hashes, and how often each of them came."""
    found, place = np.unique(hashes, return_inverse=True)
    return found[:HASHES], np.bincount(place, times, len(found)).astype(np.int64)[:HASHES]
