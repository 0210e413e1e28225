"""Columns that say something of the rows, such as their weights, rather than of what to predict.

They are named by options of the command line, or given as arrays. Every error that a user can cause
is a ValueError with a message for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.estimators.cleaning import LARGEST
from chainrule.tables.cells import CellError, as_dates, as_numbers, as_strings, listed, spelling
from chainrule.tables.dtypes import simple
from chainrule.tables.types import suggestion

if TYPE_CHECKING:
    import pandas as pd

ROLES = ("weight", "group", "time")
FEATURES = ("time",)  # roles of columns that are learnt from too


ONE_GROUP = (
    "all rows to judge on are of one group: intervals are about other rows of this group, not "
    "about other groups"
)


class RowColumns(NamedTuple):
    """What the columns say of each row; None: there is no such column.

    Attributes
    ----------
    weight : (n,) float64 array or None
    group : (n,) array or None
        Equal entries: the same group.
    time : (n,) float64 or datetime64 array or None
    """

    weight: NDArray[np.float64] | None = None
    group: NDArray[Any] | None = None
    time: NDArray[Any] | None = None

    def take(self, rows: NDArray[Any]) -> RowColumns:
        """Those of some rows."""
        return RowColumns(*(None if each is None else each[rows] for each in self))


def numbered(groups: NDArray[Any] | None) -> NDArray[np.int64] | None:
    """The number of each row's group, from 0; None if there are no groups, or one alone."""
    if groups is None:
        return None
    numbers: NDArray[np.int64] = np.unique(groups, return_inverse=True)[1]
    return numbers if numbers.any() else None


def check_names(roles: Mapping[str, str], names: Sequence[str], target: str) -> None:
    """Refuse a column that is not there, or that is the target.

    Parameters
    ----------
    roles : dict of str to str
        The column of each role.
    names : sequence of str
        The columns that there are.
    target : str

    Raises
    ------
    ValueError
    """
    for role, name in roles.items():
        if name == target:
            raise ValueError(f"--{role}: {name!r} is the target")
        if name not in names:
            hint = suggestion(name, list(names)) or f"; the columns are {listed(list(names))}"
            raise ValueError(f"--{role}: there is no column {name!r}{hint}")
    if "weight" in roles and roles["weight"] in (roles.get("group"), roles.get("time")):
        raise ValueError(f"--weight: {roles['weight']!r} cannot be a weight and something else too")


class Place(NamedTuple):
    """Where some rows are, for messages.

    Attributes
    ----------
    rows : (n,) array
        Which rows of the table these are, or of the file, from 0.
    file : str
        Empty: they are rows of the table, and all that it has.
    first : int
        The number of the first row.
    """

    rows: NDArray[Any]
    file: str = ""
    first: int = 1

    def of(self, i: Any) -> str:
        """The place of one of the rows."""
        row = f"row {self.rows[i] + self.first:,}"
        return f"{self.file}, {row}" if self.file else row


def read_row_columns(
    frame: pd.DataFrame,
    rows: NDArray[Any],
    roles: Mapping[str, str],
    missing_texts: Sequence[str] | None = None,
) -> RowColumns:
    """Read the columns of weights, groups and times of a whole table.

    Parameters
    ----------
    frame : pandas.DataFrame of n rows
    rows : (n,) array
        Which rows of the table these are, from 0, for messages.
    roles : dict of str to str
        The column of each role.
    missing_texts : sequence of str or None, default=None
        The texts that say that a value is missing.

    Returns
    -------
    RowColumns
        Groups are numbers from 0.

    Raises
    ------
    ValueError
        A weight is missing, negative or too large, all are 0, or there is one group; a time
        cannot be read.
    """
    found = read_cells(frame, Place(rows), roles, missing_texts)
    called = {role: f"--{role}: {name!r}" for role, name in roles.items()}
    return _of_table(found, called)


def _of_table(found: RowColumns, called: Mapping[str, str]) -> RowColumns:
    """The cells of a whole table, checked as a whole; groups as numbers from 0."""
    if found.weight is not None and not found.weight.any():
        raise no_weights(called["weight"])
    if found.group is not None:
        names, groups = np.unique(found.group.astype(str), return_inverse=True)
        if len(names) < 2:
            raise one_group(called["group"], f"is {str(names[0])!r} in every row")
        found = found._replace(group=groups.astype(np.int64))
    return found


def given_columns(n: int, *, sample_weight: Any, groups: Any, times: Any) -> RowColumns:
    """Read what a function was given of the n rows of X.

    Parameters
    ----------
    n : int
    sample_weight, groups, times : array-like of shape (n,) or None

    Returns
    -------
    RowColumns
        Groups are numbers from 0.

    Raises
    ------
    ValueError
        Groups and times are both given, one of them does not have n values, or
        :func:`read_row_columns` would refuse its values.
    """
    if groups is not None and times is not None:
        raise ValueError("groups and times hold out different rows; give one of them")
    place, found = Place(np.arange(n), first=0), RowColumns()
    if sample_weight is not None:
        column = _column("sample_weight", sample_weight, n)
        found = found._replace(weight=_weights(column, "sample_weight", place))
    if groups is not None:
        found = found._replace(group=_groups(_column("groups", groups, n), "groups", place))
    if times is not None:
        column = _column("times", times, n)
        advice = "; give numbers or datetimes"
        found = found._replace(time=_times(column, "times", place, advice=advice))
    return _of_table(found, {"weight": "sample_weight", "group": "groups"})


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


def no_weights(called: str) -> ValueError:
    """The error of weights that are all 0; `called` is what messages call them."""
    return ValueError(f"{called} is 0 in every row; there is nothing to learn from")


def one_group(called: str, what: str) -> ValueError:
    """The error of rows that are all of one group."""
    return ValueError(f"{called} {what}; it takes two groups or more")


def read_cells(
    frame: pd.DataFrame,
    place: Place,
    roles: Mapping[str, str],
    missing_texts: Sequence[str] | None = None,
    largest_weight: float = LARGEST,
) -> RowColumns:
    """Read the cells of weights, groups and times of some rows, each by itself.

    Parameters
    ----------
    frame : pandas.DataFrame of n rows
    place : Place
    roles : dict of str to str
        The column of each role.
    missing_texts : sequence of str or None, default=None
        The texts that say that a value is missing.
    largest_weight : float, default=1e100
        Weights are 0, or between its reciprocal and this.

    Returns
    -------
    RowColumns
        Groups are texts.

    Raises
    ------
    ValueError
        A weight is missing, negative or too large; a group is missing; a time cannot be read.
    """
    found: dict[str, Any] = {}
    for role, name in roles.items():
        called, column = f"--{role}: {name!r}", frame[name]
        try:
            if role == "weight":
                found[role] = _weights(column, called, place, missing_texts, largest_weight)
            elif role == "group":
                found[role] = _groups(column, called, place)
            else:
                advice = "; --date-format says how dates are written"
                found[role] = _times(column, called, place, missing_texts, advice)
        except ValueError as error:
            said = str(error)
            raise ValueError(said if said.startswith("--") else f"--{role}: {said}") from None
    return RowColumns(**found)


def _refuse(called: str, wrong: Any, place: Place, what: str) -> None:
    """An error for the first row that is wrong, if one is."""
    at = np.flatnonzero(wrong)
    if len(at):
        more = f", and in {len(at) - 1:,} more" if len(at) > 1 and not place.file else ""
        raise ValueError(f"{called} {what} {place.of(at[0])}{more}")


def _unread(called: str, error: CellError, place: Place, what: str) -> ValueError:
    """The error of a cell that cannot be read."""
    return ValueError(f"{called} holds {what} in {place.of(error.row)}: {error.value!r}")


def _weights(
    column: pd.Series,
    called: str,
    place: Place,
    missing_texts: Sequence[str] | None = None,
    largest: float = LARGEST,
) -> NDArray[np.float64]:
    style = spelling(column, missing_texts=missing_texts)
    try:
        weights = as_numbers(column, style, missing_texts)
    except CellError as error:
        raise _unread(called, error, place, "no number") from None
    _refuse(called, np.isnan(weights), place, "is missing in")
    _refuse(called, weights < 0, place, "is negative in")
    outside = (weights > largest) | ((weights > 0) & (weights < 1 / largest))
    _refuse(called, outside, place, f"is not from {1 / largest:g} to {largest:g} in")
    return weights


def _groups(column: pd.Series, called: str, place: Place) -> NDArray[Any]:
    _refuse(called, column.isna(), place, "is missing in")
    return as_strings(column, "")


def _times(
    column: pd.Series,
    called: str,
    place: Place,
    missing_texts: Sequence[str] | None = None,
    advice: str = "",
) -> NDArray[Any]:
    import pandas as pd
    from pandas.api import types

    times: NDArray[Any]
    if isinstance(column.dtype, pd.CategoricalDtype) and column.cat.ordered:
        column = column.cat.codes.where(column.notna())
    column = simple(column).infer_objects()
    if types.is_bool_dtype(column.dtype):
        raise ValueError(f"{called} holds truth values, which are in no order of time")
    if types.is_numeric_dtype(column.dtype) or types.is_timedelta64_dtype(column.dtype):
        numeric = types.is_numeric_dtype(column.dtype)
        seconds = column if numeric else column.dt.total_seconds()
        times = as_numbers(seconds, None, missing_texts)
        missing = np.isnan(times)
    else:
        try:
            times = as_dates(column, None, missing_texts).to_numpy()
        except CellError as error:
            said = str(_unread(called, error, place, "neither a number nor a date"))
            raise ValueError(said + advice) from None
        missing = np.isnat(times)
    _refuse(called, missing, place, "is missing in")
    return times
