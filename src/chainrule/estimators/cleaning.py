"""TableCleaner: the columns of a raw data frame get one type for each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from chainrule.base.validation import nearest, warn_user
from chainrule.tables.cells import (
    CellError,
    as_dates,
    as_frame,
    as_numbers,
    as_strings,
    listed,
    spelling,
)
from chainrule.tables.columns import KINDS, kinds_of
from chainrule.tables.levels import (
    UnseenLevelWarning,
    as_category,
    as_levels,
    level_type,
    no_value,
    unseen,
    unseen_in_words,
)

if TYPE_CHECKING:
    import pandas as pd

USED = ("numeric", "categorical", "date", "text")
MAX_LEVELS = 40  # of a category that becomes a column each
MISSING = "missing"  # the level of a category that is not there
LARGEST = 1e100
TOLD = "chainrule: unseen levels were told"  # in a frame's attrs, for a second cleaner behind this


class ColumnCells(Protocol):
    """What a cleaner learns from the cells of a column."""

    def spelling(self, comma_seen: bool) -> str | None:
        """How texts spell numbers or dates, as `chainrule.tables.cells.spelling` has it."""

    def level_type(self) -> str:
        """What the values are, as `chainrule.tables.levels.level_type` has it."""

    def levels(self, type: str, missing: str) -> list[str] | None:
        """The levels of that type, sorted; None: there are too many."""


class WholeColumn:
    """A column that is in memory.

    Parameters
    ----------
    cells : pandas.Series of shape (n,)
    missing_texts : sequence of str or None
    """

    def __init__(self, cells: pd.Series, missing_texts: Sequence[str] | None) -> None:
        self._cells, self._gone = cells, missing_texts

    def spelling(self, comma_seen: bool) -> str | None:
        """How texts spell numbers or dates."""
        return spelling(self._cells, comma_seen, self._gone)

    def level_type(self) -> str:
        """What the values are."""
        return level_type(self._cells, self._gone)

    def levels(self, type: str, missing: str) -> list[str] | None:
        """The levels of that type, sorted."""
        return sorted(set(as_levels(self._cells, type, missing, None, self._gone)))


class TableCleaner(
    TransformerMixin,
    BaseEstimator,
    auto_wrap_output_keys=None,  # type: ignore[call-arg]
):
    """Give each column of a data frame the one type of its kind; drop what cannot be learnt from.

    Numbers become float64, categories strings with a level "missing", dates datetime64 without a
    time zone (UTC), free text strings. Values that are equal are one level of a category, whatever
    type they come in: see ``chainrule.tables.levels.level``. Durations and times of day are numbers
    of seconds. Bytes, lists, structures, intervals and complex numbers are refused. Constant
    columns and those that only identify rows are dropped. Columns are found by name: their order
    does not matter, and others are ignored.

    Parameters
    ----------
    kinds : dict of str to str, default=None
        Kinds of columns that you know better: one of ``chainrule.tables.columns.KINDS`` by name; a
        column of kind "constant" or "identifier" is dropped. Others are found by
        ``chainrule.tables.columns.kinds_of``.
    max_levels : int, default=40
        Categories of more levels are given as text.
    missing_texts : list of str, default=None
        The texts that say that a value is missing, in every column, and no others do. None: in
        columns of numbers, dates and truth values NA, null, ? and the like.

    Attributes
    ----------
    feature_names_in_ : ndarray of str
    n_features_in_ : int
    kinds_ : dict of str to str
        The kind of each column.
    spellings_ : dict of str to str
        How numbers and dates are spelled that come as text, as ``chainrule.tables.spellings``
        has it; texts in other frames are read the same way.
    many_levels_ : list of str
        Categories that are given as text.
    level_types_ : dict of str to str
        What the values of each category are, one of ``chainrule.tables.levels.LEVEL_TYPES``; and
        "boolean" for a numeric column of truth values.
    levels_ : dict of str to list of str
        The levels of each category that is not given as text, sorted; "missing" is one if a value
        was missing.
    """

    missing_texts: Sequence[str] | None = None  # of files from before there was the parameter

    def __init__(
        self,
        kinds: dict[str, str] | None = None,
        max_levels: int = MAX_LEVELS,
        missing_texts: Sequence[str] | None = None,
    ) -> None:
        self.kinds = kinds
        self.max_levels = max_levels
        self.missing_texts = missing_texts

    def fit(self, X: Any, y: Any = None) -> TableCleaner:
        """Find each column's kind.

        Parameters
        ----------
        X : data frame of shape (n_samples, n_features)
            pandas, polars, or anything with a ``to_pandas()``; an array is taken too.
        y : ignored
        """
        self.fit_transform(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> pd.DataFrame:
        """Find each column's kind, and give the cleaned frame.

        Parameters
        ----------
        X : data frame of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ValueError
            There are no rows or no columns to learn from, a kind is unknown, or a column holds
            so many infinite numbers that it has no scale.
        """
        frame = self._without_missing_texts(as_frame(X))
        if not len(frame):
            raise ValueError("the table has no rows to learn from")
        given = dict(self.kinds or {})
        for name, kind in given.items():
            if kind not in KINDS:
                raise ValueError(f"kinds[{name!r}] must be one of {', '.join(KINDS)}; got {kind!r}")
            if name not in frame:
                near = nearest(str(name), map(str, frame))
                raise ValueError(
                    f"kinds names column {name!r}, which is not in X; "
                    + (f"did you mean {near!r}? " if near else "")
                    + f"there are {listed(list(frame))}"
                )
        unknown = [name for name in frame if name not in given]
        gone = self.missing_texts
        found = {column.name: column.kind for column in kinds_of(frame[unknown], None, gone)}
        self.learn(
            {name: given.get(name) or found[name] for name in frame},
            {name: WholeColumn(frame[name], gone) for name in frame},
        )
        cleaned = self.transform(frame)
        check_infinite(cleaned)
        return cleaned

    def learn(self, kinds: Mapping[str, str], columns: Mapping[str, ColumnCells]) -> TableCleaner:
        """Learn from what is known of the columns, wherever their cells are.

        Parameters
        ----------
        kinds : dict of str to str
        columns : dict of str to ColumnCells
        """
        self.kinds_ = dict(kinds)
        self.feature_names_in_ = np.array(list(kinds), dtype=object)
        self.n_features_in_ = len(self.feature_names_in_)
        if not self._used():
            reasons = ", ".join(f"{name!r} ({kind})" for name, kind in self.kinds_.items())
            raise ValueError(
                f"there is no column left to learn from: {reasons or 'the table is empty'}"
            )
        self.spellings_ = self._spellings(columns)
        if any(style.startswith("comma") for style in self.spellings_.values()):
            self.spellings_ = self._spellings(columns, comma_seen=True)
        self._learn_levels(columns)
        return self

    def _spellings(
        self, columns: Mapping[str, ColumnCells], comma_seen: bool = False
    ) -> dict[str, str]:
        """How each column of text spells its numbers or dates."""
        found = {}
        for name, kind in self.kinds_.items():
            if kind not in ("numeric", "date"):
                continue
            style = columns[name].spelling(comma_seen)
            if style is not None:
                found[name] = style
        commas = any(style.startswith("comma") for style in found.values())
        return {
            name: ("comma" if commas else "number") if style == "integer" else style
            for name, style in found.items()
        }

    def _learn_levels(self, columns: Mapping[str, ColumnCells]) -> None:
        self.level_types_, self.levels_ = {}, {}
        self.many_levels_ = []
        for name, kind in self.kinds_.items():
            if kind not in ("categorical", "numeric"):
                continue
            type = columns[name].level_type()
            if kind == "numeric":
                if type == "boolean":
                    self.level_types_[name] = type
                continue
            self.level_types_[name] = type
            levels = columns[name].levels(type, MISSING)
            if levels is None or len(set(levels) - {MISSING}) > self.max_levels:
                self.many_levels_.append(name)
            else:
                self.levels_[name] = levels

    def transform(self, X: Any) -> pd.DataFrame:
        """Give the cleaned frame.

        Parameters
        ----------
        X : data frame of shape (n_samples, n_features)

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ValueError
            Columns are missing.
        CellError
            A number or a date is none.

        Warns
        -----
        UnseenLevelWarning
            Categories have levels that `fit` did not see: names the columns, the levels and the
            number of rows. They are none of the levels known.
        """
        check_is_fitted(self, "kinds_")
        import pandas as pd

        frame = self._without_missing_texts(as_frame(X))
        used = self._used()
        absent = [name for name in used if name not in frame]
        if absent:
            raise ValueError(
                f"{'columns are' if len(absent) > 1 else 'a column is'} missing that the model "
                f"needs: {listed(absent)}; there are {listed(list(frame))}"
            )
        cells = {name: self._cleaned(frame[name], kind) for name, kind in used.items()}
        cleaned = pd.DataFrame(cells, index=frame.index)
        said = [
            unseen_in_words(name, count, known, MISSING)
            for name, known in getattr(self, "levels_", {}).items()
            if (count := unseen(cells[name], known))
        ]
        if said and TOLD not in frame.attrs:
            warn_user("; ".join(said), UnseenLevelWarning)
        if said:
            cleaned.attrs[TOLD] = True
        return cleaned

    def _without_missing_texts(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame, texts that say that they are missing gone from columns of text."""
        from pandas.api import types

        gone = no_value("text", self.missing_texts)
        if not gone:
            return frame
        texts = [
            name
            for name in frame
            if types.is_object_dtype(frame[name].dtype) or types.is_string_dtype(frame[name].dtype)
        ]
        blank = {
            name: frame[name].map(lambda cell: isinstance(cell, str) and cell.strip() in gone)
            for name in texts
        }
        return frame.assign(**{name: frame[name].mask(found) for name, found in blank.items()})

    def _used(self) -> dict[str, str]:
        return {name: kind for name, kind in self.kinds_.items() if kind in USED}

    def unseen(self, X: Any) -> dict[str, Counter[str]]:
        """Count the rows of each level that was never seen in `fit`.

        Parameters
        ----------
        X : data frame of shape (n_samples, n_features)

        Returns
        -------
        dict of str to collections.Counter
            By column; the level "missing" stands for a missing value. Categories that are given as
            text have no levels that are known.
        """
        check_is_fitted(self, "kinds_")
        frame = self._without_missing_texts(as_frame(X))
        counts = {
            name: unseen(self._levels(frame[name]), known)
            for name, known in getattr(self, "levels_", {}).items()
        }
        return {name: count for name, count in counts.items() if count}

    def _levels(self, column: pd.Series) -> pd.Categorical:
        name = str(column.name)
        levels = self.levels_.get(name)
        known = None if levels is None else frozenset(levels)  # each level is looked up in it
        return as_category(column, self.level_types_[name], MISSING, known, self.missing_texts)

    def _cleaned(self, column: pd.Series, kind: str) -> Any:
        import pandas as pd

        name = str(column.name)
        types: dict[str, str] = getattr(self, "level_types_", {})
        if kind == "categorical" and name not in self.many_levels_:
            old = name not in types  # a file of before there were types
            return pd.Categorical(as_strings(column, MISSING)) if old else self._levels(column)
        if kind == "numeric" and types.get(name) == "boolean":
            return _truths(column, self.missing_texts)
        if kind == "numeric":
            numbers = as_numbers(column, self.spellings_.get(name), self.missing_texts)
            numbers[np.abs(numbers) > LARGEST] *= np.inf  # squashed to the same; no overflow
            return numbers
        if kind == "date":
            return as_dates(column, self.spellings_.get(name), self.missing_texts)
        return as_levels(column, types.get(name, "text"), "", None, self.missing_texts)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Names of the columns kept.

        Parameters
        ----------
        input_features : ignored
        """
        check_is_fitted(self, "kinds_")
        return np.array(list(self._used()), dtype=object)

    def set_output(self, *, transform: Any = None) -> TableCleaner:
        """Do nothing: what comes out is always a pandas frame.

        Parameters
        ----------
        transform : ignored
        """
        return self

    def __sklearn_tags__(self) -> Any:
        """scikit-learn's tags: strings, categories and missing values are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.categorical = tags.input_tags.allow_nan = True
        return tags


def check_infinite(frame: pd.DataFrame) -> None:
    """Refuse columns of which so many numbers are infinite that a quartile is.

    Parameters
    ----------
    frame : pandas.DataFrame
        Cleaned.

    Raises
    ------
    ValueError
    """
    for name, column in frame.items():
        if column.dtype.kind != "f":
            continue
        numbers = column.to_numpy()
        for sign in (-1, 1):
            infinite = numbers == sign * np.inf
            if 4 * infinite.sum() >= (~np.isnan(numbers)).sum() > 0:
                raise ValueError(
                    f"column {name!r} has no scale: {int(infinite.sum()):,} of {len(numbers):,} "
                    f"cells are {'above' if sign > 0 else 'below'} {sign * LARGEST:g}. Divide "
                    "the column by a power of ten, or leave such cells empty"
                )


def _truths(column: pd.Series, missing_texts: Sequence[str] | None) -> NDArray[np.float64]:
    """1 and 0 of a column that held truth values in training."""
    levels = as_levels(column, "boolean", "", None, missing_texts)
    known = {"true": 1.0, "false": 0.0, "": np.nan}
    for row, each in enumerate(levels):
        if each not in known:
            raise CellError(str(column.name), row, each, "truth value")
    return np.array([known[each] for each in levels], np.float64)
