"""Columns that say something of the rows, such as their weights, rather than of what to predict.

They are named by options of the command line. Every error that a user can cause is a ValueError
with a message for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.estimators.cleaning import LARGEST
from chainrule.tables.cells import CellError, as_dates, as_numbers, as_strings, listed, spelling
from chainrule.tables.types import suggestion

if TYPE_CHECKING:
    import pandas as pd

ROLES = ("weight", "group", "time")
FEATURES = ("time",)  # roles of columns that are learnt from too


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
    """

    rows: NDArray[Any]
    file: str = ""

    def of(self, i: Any) -> str:
        """The place of one of the rows."""
        row = f"row {self.rows[i] + 1:,}"
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
    if found.weight is not None and not found.weight.any():
        raise no_weights(roles["weight"])
    if found.group is not None:
        names, groups = np.unique(found.group.astype(str), return_inverse=True)
        if len(names) < 2:
            raise one_group(roles["group"], f"is {str(names[0])!r} in every row")
        found = found._replace(group=groups.astype(np.int64))
    return found


def no_weights(name: str) -> ValueError:
    """The error of a column of weights that are all 0."""
    return ValueError(f"--weight: {name!r} is 0 in every row; there is nothing to learn from")


def one_group(name: str, what: str) -> ValueError:
    """The error of a column of one group."""
    return ValueError(f"--group: {name!r} {what}; it takes two groups or more")


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
        try:
            if role == "weight":
                found[role] = _weights(frame[name], place, missing_texts, largest_weight)
            else:
                read = _groups if role == "group" else _times
                found[role] = read(frame[name], place, missing_texts)
        except CellError as error:
            what = "no number" if role == "weight" else "neither a number nor a date"
            raise ValueError(
                f"--{role}: {name!r} holds {what} in {place.of(error.row)}: {error.value!r}"
                + ("; --date-format says how dates are written" if role == "time" else "")
            ) from None
        except ValueError as error:
            said = str(error)
            raise ValueError(said if said.startswith("--") else f"--{role}: {said}") from None
    return RowColumns(**found)


def _refuse(role: str, column: pd.Series, wrong: Any, place: Place, what: str) -> None:
    """An error for the first row that is wrong, if one is."""
    at = np.flatnonzero(wrong)
    if len(at):
        more = f", and in {len(at) - 1:,} more" if len(at) > 1 and not place.file else ""
        raise ValueError(f"--{role}: {str(column.name)!r} {what} {place.of(at[0])}{more}")


def _weights(
    column: pd.Series, place: Place, missing_texts: Sequence[str] | None, largest: float
) -> NDArray[np.float64]:
    style = spelling(column, missing_texts=missing_texts)
    weights = as_numbers(column, style, missing_texts)
    _refuse("weight", column, np.isnan(weights), place, "is missing in")
    _refuse("weight", column, weights < 0, place, "is negative in")
    outside = (weights > largest) | ((weights > 0) & (weights < 1 / largest))
    _refuse("weight", column, outside, place, f"is not from {1 / largest:g} to {largest:g} in")
    return weights


def _groups(column: pd.Series, place: Place, missing_texts: Sequence[str] | None) -> NDArray[Any]:
    _refuse("group", column, column.isna(), place, "is missing in")
    return as_strings(column, "")


def _times(column: pd.Series, place: Place, missing_texts: Sequence[str] | None) -> NDArray[Any]:
    from pandas.api import types

    times: NDArray[Any]
    if types.is_bool_dtype(column.dtype):
        raise ValueError(f"{str(column.name)!r} holds truth values, which are in no order of time")
    if types.is_numeric_dtype(column.dtype) or types.is_timedelta64_dtype(column.dtype):
        numeric = types.is_numeric_dtype(column.dtype)
        seconds = column if numeric else column.dt.total_seconds()
        times = as_numbers(seconds, None, missing_texts)
        missing = np.isnan(times)
    else:
        times = as_dates(column, None, missing_texts).to_numpy()
        missing = np.isnat(times)
    _refuse("time", column, missing, place, "is missing in")
    return times
