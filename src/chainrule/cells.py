"""Cells of a data frame: whatever types they come in, numbers, dates or strings go out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

NOTHING = {"", "-", "?", ".", "na", "n/a", "nan", "null", "none"}  # numbers that are not there


class CellError(ValueError):
    """A cell that is not of its column's kind.

    Attributes
    ----------
    column : str
    row : int
        From 0, in the frame at hand.
    value : str
    """

    def __init__(self, column: str, row: int, value: Any, expected: str) -> None:
        self.column, self.row, self.value = column, row, str(value)[:60]
        super().__init__(
            f"column {column!r}, row {row}: {self.value!r} is no {expected}, which the column "
            "holds elsewhere; correct the cell or leave it empty"
        )


def listed(names: list[str]) -> str:
    """Names for a message; of many the first twenty."""
    shown = ", ".join(map(repr, names[:20]))
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"


def as_frame(X: Any) -> pd.DataFrame:
    """A table as a pandas frame whose column names are strings, all different.

    Parameters
    ----------
    X : data frame (pandas, polars, pyarrow, ...) or array of shape (n_samples, n_features)

    Raises
    ------
    ValueError
        Two columns have the same name.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError('data frames need pandas: pip install "chainrule[tables]"') from error
    if hasattr(X, "collect") and not isinstance(X, pd.DataFrame):  # polars, lazy
        X = X.collect()
    if not isinstance(X, pd.DataFrame):
        if hasattr(X, "to_pandas"):
            X = X.to_pandas()
        else:
            X = pd.DataFrame(np.asarray(X))
            X.columns = [f"x{j}" for j in range(X.shape[1])]
    names = [str(name) for name in X.columns]
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise ValueError(f"columns of the same name: {listed(twice)}; rename them")
    frame: pd.DataFrame = X.set_axis(names, axis=1) if list(X.columns) != names else X
    return frame


def as_numbers(column: pd.Series) -> NDArray[np.float64]:
    """A column as float64, NaN where there is no number.

    Parameters
    ----------
    column : pandas.Series of shape (n,)

    Raises
    ------
    CellError
        Something in it is no number.
    """
    import pandas as pd
    from pandas.api import types

    if types.is_timedelta64_dtype(column.dtype):
        column = column.dt.total_seconds()
    if types.is_numeric_dtype(column.dtype):  # booleans too
        floats: NDArray[np.float64] = column.to_numpy(np.float64, na_value=np.nan)
        return floats
    values = column.astype(object).where(column.notna(), None)
    parsed = pd.to_numeric(values, errors="coerce")
    numbers: NDArray[np.float64] = parsed.to_numpy(np.float64, na_value=np.nan)
    for row in np.flatnonzero(np.isnan(numbers) & values.notna().to_numpy()):
        if str(values.iloc[row]).strip().lower() not in NOTHING:
            raise CellError(str(column.name), int(row), values.iloc[row], "number")
    return numbers


def as_dates(column: pd.Series, written: str | None = None) -> Any:
    """A column as datetime64 in UTC, NaT where there is no date.

    Parameters
    ----------
    column : pandas.Series of shape (n,)
    written : str, optional
        The format, as strptime's, of dates that come as strings; or "ISO8601" or "mixed".

    Raises
    ------
    CellError
        Something in it is no date.
    """
    import pandas as pd

    values = column
    if not pd.api.types.is_datetime64_any_dtype(column.dtype):
        values = column.astype(object).where(column.notna(), None)
        values = values.where(~values.astype(str).str.strip().str.lower().isin(NOTHING), None)
    dates = pd.to_datetime(values, utc=True, errors="coerce", format=written)
    bad = np.flatnonzero((dates.isna() & values.notna()).to_numpy())
    if len(bad):
        row = int(bad[0])
        like = "" if written in (None, "ISO8601", "mixed") else f" written like {written}"
        raise CellError(str(column.name), row, values.iloc[row], f"date{like}")
    return dates.dt.tz_localize(None)


def date_format(column: pd.Series) -> str | None:
    """How a column of strings writes its dates; None if it holds dates.

    Parameters
    ----------
    column : pandas.Series of shape (n,)

    Returns
    -------
    str or None
        A format as strptime's, "ISO8601", or "mixed" if there is no one format.
    """
    import pandas as pd
    from pandas.tseries.api import guess_datetime_format

    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return None
    first = next((str(v) for v in column.dropna() if str(v).strip().lower() not in NOTHING), "")
    for written in (
        "ISO8601",
        guess_datetime_format(first),
        guess_datetime_format(first, dayfirst=True),
    ):
        if written is None:
            continue
        try:
            as_dates(column, written)
        except (CellError, ValueError):
            continue
        return written
    return "mixed"


def as_strings(column: pd.Series, missing: str) -> NDArray[Any]:
    """A column as strings; equal values are equal strings, whatever type they came in.

    Parameters
    ----------
    column : pandas.Series of shape (n,)
    missing : str
        What stands for a missing or empty value.

    Returns
    -------
    (n,) object array of str
    """
    import pandas as pd

    try:
        codes, values = pd.factorize(column)
    except TypeError:  # lists and the like
        codes, values = pd.factorize(column.map(str, na_action="ignore"))
    labels = [_label(value) or missing for value in values]
    strings: NDArray[Any] = np.array([*labels, missing], dtype=object)[codes]
    return strings


def _label(value: Any) -> str:
    """A value as a string; whole numbers without a point, however they are stored."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)
