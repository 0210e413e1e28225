"""What is known of each row beside the table: its weight, its group, its time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.estimators.cleaning import LARGEST
from chainrule.tables.cells import CellError, as_dates, as_numbers, as_strings, spelling
from chainrule.tables.dtypes import simple

if TYPE_CHECKING:
    import pandas as pd

SMALLEST_WEIGHT = 1 / LARGEST


class RowFacts(NamedTuple):
    """What is known of each row; None: nothing.

    Attributes
    ----------
    weight : (n,) float64 array or None
    group : (n,) int64 array or None
        Equal numbers: the same group.
    time : (n,) float64 or datetime64 array or None
    """

    weight: NDArray[np.float64] | None = None
    group: NDArray[np.int64] | None = None
    time: NDArray[Any] | None = None

    def take(self, rows: NDArray[Any]) -> RowFacts:
        """Those of some rows."""
        return RowFacts(*(None if each is None else each[rows] for each in self))


class Called(NamedTuple):
    """How messages speak of a column.

    Attributes
    ----------
    name : str
        With which they begin, such as "--weight: 'counts'" or "sample_weight".
    numbers : (n,) array
        The number of each row.
    advice : str
        What to do about a cell that cannot be read.
    """

    name: str
    numbers: NDArray[Any]
    advice: str = ""

    def refuse(self, wrong: Any, what: str) -> None:
        """Raise ValueError for the first row that is wrong, if one is."""
        at = np.flatnonzero(wrong)
        if len(at):
            more = f", and in {len(at) - 1:,} more" if len(at) > 1 else ""
            raise ValueError(f"{self.name} {what} row {self.numbers[at[0]]:,}{more}")

    def unread(self, error: CellError, what: str) -> ValueError:
        """What to raise for a cell that cannot be read."""
        return ValueError(
            f"{self.name} holds {what} in row {self.numbers[error.row]:,}: {error.value!r}"
            + self.advice
        )


def facts_given(n: int, sample_weight: Any, groups: Any, times: Any) -> RowFacts:
    """Read what a function was given of the n rows of X.

    Parameters
    ----------
    n : int
    sample_weight, groups, times : array-like of shape (n,) or None

    Raises
    ------
    ValueError
        Groups and times are both given, one of them does not have n values, or one of these is
        refused by :func:`weights_in`, :func:`groups_in` or :func:`times_in`.
    """
    if groups is not None and times is not None:
        raise ValueError("groups and times hold out different rows; give one of them")
    numbers, advice = np.arange(n), "; give numbers or datetimes"
    return RowFacts(
        None
        if sample_weight is None
        else weights_in(
            _column("sample_weight", sample_weight, n), Called("sample_weight", numbers)
        ),
        None
        if groups is None
        else groups_in(_column("groups", groups, n), Called("groups", numbers)),
        None
        if times is None
        else times_in(_column("times", times, n), Called("times", numbers, advice)),
    )


def _column(name: str, values: Any, n: int) -> pd.Series:
    """An argument as a column with a value for each row."""
    import pandas as pd

    held = isinstance(values, pd.Series | pd.Index | pd.api.extensions.ExtensionArray)
    try:
        array = values if held else np.asarray(values)
    except ValueError:  # of lists of different lengths
        array = np.empty((0, 0))
    if array.ndim != 1:
        raise ValueError(f"{name} must be of one dimension, with a value for each row of X")
    if len(array) != n:
        raise ValueError(
            f"{name} has {len(array):,} values, and X has {n:,} rows; give a value for each row"
        )
    return pd.Series(array, name=name).reset_index(drop=True)


def weights_in(
    column: pd.Series, called: Called, missing_texts: Sequence[str] | None = None
) -> NDArray[np.float64]:
    """What each row counts for.

    Parameters
    ----------
    column : pandas.Series of shape (n,)
    called : Called
    missing_texts : sequence of str or None, default=None
        The texts that say that a value is missing.

    Raises
    ------
    ValueError
        A weight is no number, missing, negative, infinite or too large, or all are 0.
    """
    style = spelling(column, missing_texts=missing_texts)
    try:
        weights = as_numbers(column, style, missing_texts)
    except CellError as error:
        raise called.unread(error, "no number") from None
    called.refuse(np.isnan(weights), "is missing in")
    called.refuse(weights < 0, "is negative in")
    outside = (weights > LARGEST) | ((weights > 0) & (weights < SMALLEST_WEIGHT))
    called.refuse(outside, f"is not from {SMALLEST_WEIGHT:g} to {LARGEST:g} in")
    if not weights.any():
        raise ValueError(f"{called.name} is 0 in every row; there is nothing to learn from")
    return weights


def groups_in(
    column: pd.Series, called: Called, missing_texts: Sequence[str] | None = None
) -> NDArray[np.int64]:
    """A number for the group of each row.

    Parameters
    ----------
    column, called, missing_texts :
        As for :func:`weights_in`.

    Raises
    ------
    ValueError
        A group is missing, or all rows are of one.
    """
    called.refuse(column.isna(), "is missing in")
    names = as_strings(column, "")
    groups = np.unique(names.astype(str), return_inverse=True)[1].astype(np.int64)
    if groups.max() == 0:
        raise ValueError(f"{called.name} is {names[0]!r} in every row; it takes two groups or more")
    return groups


def times_in(
    column: pd.Series, called: Called, missing_texts: Sequence[str] | None = None
) -> NDArray[Any]:
    """The time of each row, as a number or a datetime64.

    Parameters
    ----------
    column, called, missing_texts :
        As for :func:`weights_in`.

    Raises
    ------
    ValueError
        A time is missing, or neither a number nor a date.
    """
    import pandas as pd
    from pandas.api import types

    times: NDArray[Any]
    if isinstance(column.dtype, pd.CategoricalDtype) and column.cat.ordered:
        column = column.cat.codes.where(column.notna())
    column = simple(column).infer_objects()
    if types.is_bool_dtype(column.dtype):
        raise ValueError(f"{called.name} holds truth values, which are in no order of time")
    if types.is_numeric_dtype(column.dtype) or types.is_timedelta64_dtype(column.dtype):
        numeric = types.is_numeric_dtype(column.dtype)
        seconds = column if numeric else column.dt.total_seconds()
        times = as_numbers(seconds, None, missing_texts)
        missing = np.isnan(times)
    else:
        try:
            times = as_dates(column, None, missing_texts).to_numpy()
        except CellError as error:
            raise called.unread(error, "neither a number nor a date") from None
        missing = np.isnat(times)
    called.refuse(missing, "is missing in")
    return times
