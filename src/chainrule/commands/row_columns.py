"""Columns that say something of the rows, such as their weights, rather than of what to predict.

Every error that a user can cause is a ValueError with a message for them.
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
SMALLEST_WEIGHT = 1 / LARGEST


class RowColumns(NamedTuple):
    """What the columns say of each row; None: there is no such column.

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


def read_row_columns(
    frame: pd.DataFrame,
    rows: NDArray[Any],
    roles: Mapping[str, str],
    missing_texts: Sequence[str] | None = None,
) -> RowColumns:
    """Read the columns of weights, groups and times.

    Parameters
    ----------
    frame : pandas.DataFrame of n rows
    rows : (n,) array
        Which rows of the table these are, from 0, for messages.
    roles : dict of str to str
        The column of each role.
    missing_texts : sequence of str or None, default=None
        The texts that say that a value is missing.

    Raises
    ------
    ValueError
        A weight is missing, negative or too large, all are 0, or there is one group; a time
        cannot be read.
    """
    found: dict[str, Any] = {}
    for role, name in roles.items():
        read = {"weight": _weights, "group": _groups, "time": _times}[role]
        try:
            found[role] = read(frame[name], rows, missing_texts)
        except CellError as error:
            what = "no number" if role == "weight" else "neither a number nor a date"
            raise ValueError(
                f"--{role}: {name!r} holds {what} in row {rows[error.row] + 1:,}: {error.value!r}"
                + ("; --date-format says how dates are written" if role == "time" else "")
            ) from None
        except ValueError as error:
            said = str(error)
            raise ValueError(said if said.startswith("--") else f"--{role}: {said}") from None
    return RowColumns(**found)


def _refuse(role: str, column: pd.Series, wrong: Any, rows: NDArray[Any], what: str) -> None:
    """An error for the first row that is wrong, if one is."""
    at = np.flatnonzero(wrong)
    if len(at):
        more = f", and in {len(at) - 1:,} more" if len(at) > 1 else ""
        raise ValueError(f"--{role}: {str(column.name)!r} {what} row {rows[at[0]] + 1:,}{more}")


def _weights(
    column: pd.Series, rows: NDArray[Any], missing_texts: Sequence[str] | None
) -> NDArray[np.float64]:
    style = spelling(column, missing_texts=missing_texts)
    weights = as_numbers(column, style, missing_texts)
    _refuse("weight", column, np.isnan(weights), rows, "is missing in")
    _refuse("weight", column, weights < 0, rows, "is negative in")
    outside = (weights > LARGEST) | ((weights > 0) & (weights < SMALLEST_WEIGHT))
    _refuse("weight", column, outside, rows, f"is not from {SMALLEST_WEIGHT:g} to {LARGEST:g} in")
    if not weights.any():
        raise ValueError(f"{str(column.name)!r} is 0 in every row; there is nothing to learn from")
    return weights


def _groups(
    column: pd.Series, rows: NDArray[Any], missing_texts: Sequence[str] | None
) -> NDArray[np.int64]:
    _refuse("group", column, column.isna(), rows, "is missing in")
    names = as_strings(column, "")
    groups = np.unique(names.astype(str), return_inverse=True)[1].astype(np.int64)
    if groups.max() == 0:
        raise ValueError(
            f"{str(column.name)!r} is {names[0]!r} in every row; it takes two groups or more"
        )
    return groups


def _times(
    column: pd.Series, rows: NDArray[Any], missing_texts: Sequence[str] | None
) -> NDArray[Any]:
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
    _refuse("time", column, missing, rows, "is missing in")
    return times
