"""Cells of a data frame: whatever types they come in, numbers, dates or strings go out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chainrule.tables.dtypes import simple
from chainrule.tables.spellings import NUMBERS, is_date

if TYPE_CHECKING:
    import pandas as pd


class CellError(ValueError):
    """A cell that is not of its column's kind.

    Attributes
    ----------
    column : str
    row : int
        From 0, in this frame.
    value : str
    """

    def __init__(self, column: str, row: int, value: Any, expected: str) -> None:
        self.column, self.row, self.value = column, row, str(value)[:60]
        super().__init__(
            f"column {column!r}, row {row}: {self.value!r} is not {expected}, as "
            "the column was learnt; correct the cell or leave it empty"
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
        Two columns have the same name, or it is no table.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError('data frames need pandas: pip install "chainrule[tables]"') from error
    if hasattr(X, "collect") and not isinstance(X, pd.DataFrame):  # polars, lazy
        X = X.collect()
    if not isinstance(X, pd.DataFrame):
        if hasattr(X, "to_arrow"):
            X = _of_other(X)
        elif type(X).__module__.startswith("pyarrow"):
            from chainrule.tables.plain import frame_of

            X = frame_of(X, exact=True)
        elif hasattr(X, "to_pandas"):
            X = X.to_pandas()
        else:
            array = np.asarray(X)
            if hasattr(X, "toarray"):
                raise ValueError("X is a sparse matrix, and a table is dense; give X.toarray()")
            if array.ndim not in (1, 2):
                raise ValueError(
                    f"X must be a table of rows and columns; it is an array of shape {array.shape}"
                )
            X = pd.DataFrame(array)
            X.columns = [f"x{j}" for j in range(X.shape[1])]
    names = [str(name) for name in X.columns]
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise ValueError(f"columns of the same name: {listed(twice)}; rename them")
    frame: pd.DataFrame = X.set_axis(names, axis=1) if list(X.columns) != names else X
    return frame


def _of_other(X: Any) -> pd.DataFrame:
    """A frame of polars or another library that can give Arrow's columns."""
    import pandas as pd
    import pyarrow as pa

    from chainrule.tables.plain import frame_of

    try:
        return frame_of(X.to_arrow(), exact=True)
    except pa.ArrowException:  # polars' integers of 128 bits
        cells = {name: X[name] for name in X.columns}
        return pd.DataFrame(
            {
                name: pd.Series(column.to_list())
                if "128" in str(column.dtype)
                else frame_of(X.select(name).to_arrow(), exact=True)[name]
                for name, column in cells.items()
            }
        )


def spelling(
    column: pd.Series, comma_seen: bool = False, missing_texts: Sequence[str] | None = None
) -> str | None:
    """How a column of text spells its numbers or dates, as in `chainrule.tables.spellings`.

    Parameters
    ----------
    column : pandas.Series of shape (n,)
    comma_seen : bool, default=False
        Whether other columns have decimal commas, so that `1.234` is a thousand.
    missing_texts : sequence of str or None, default=None
        The texts that say that a cell is missing; None: NA, null, ? and the like.

    Returns
    -------
    str or None
        Such as "comma" or "day first"; None if it is no text, or spells neither.
    """
    from chainrule.tables.columns import present, spelled_as

    if not _is_text(column):
        return None
    there = present(column)
    found = spelled_as(there, comma_seen, missing_texts) if len(there) else None
    return None if found is None else found.style


def _is_text(column: pd.Series) -> bool:
    from pandas.api import types

    return not (
        types.is_numeric_dtype(column.dtype)
        or types.is_datetime64_any_dtype(column.dtype)
        or types.is_timedelta64_dtype(column.dtype)
    )


def _parsed(column: pd.Series, type: str, style: str, missing_texts: Sequence[str] | None) -> Any:
    """Texts as an Arrow array of numbers or dates; CellError on the first that is none."""
    import pyarrow as pa

    from chainrule.tables.types import ColumnType, convert

    texts = [None if gone else str(cell) for cell, gone in zip(column, column.isna(), strict=True)]
    kind = ColumnType(type, style)
    parsed, wrong = convert(pa.array(texts, pa.string()), kind, missing_texts)
    if wrong:
        row = int(wrong[0])
        raise CellError(str(column.name), row, texts[row], kind.in_words)
    return parsed


def as_numbers(
    column: pd.Series, style: str | None = None, missing_texts: Sequence[str] | None = None
) -> NDArray[np.float64]:
    """A column as float64, NaN where there is no number.

    Parameters
    ----------
    column : pandas.Series of shape (n,)
    style : str or None, default=None
        How numbers are spelled that come as text; see :func:`spelling`.
    missing_texts : sequence of str or None, default=None
        The texts that say that a number is missing; see :func:`spelling`.

    Raises
    ------
    CellError
        Something in it is no number.
    ValueError
        It holds dates, or values that have no kind.
    """
    from pandas.api import types

    column = simple(column).infer_objects()
    if types.is_datetime64_any_dtype(column.dtype):
        raise ValueError(
            f"column {str(column.name)!r} holds dates, which are no numbers; take it as a date or "
            "a category, or make a number of it, such as the days since another date"
        )
    if _is_text(column):
        style = style if style and style.split(" ")[0] in NUMBERS else "number"
        parsed = _parsed(column, "number", style, missing_texts)
        texts: NDArray[np.float64] = np.array(parsed.to_numpy(zero_copy_only=False), np.float64)
        return texts
    numbers: NDArray[np.float64] = column.to_numpy(np.float64, copy=True, na_value=np.nan)
    return numbers


def as_dates(
    column: pd.Series, style: str | None = None, missing_texts: Sequence[str] | None = None
) -> Any:
    """A column as datetime64 in UTC, NaT where there is no date.

    Parameters
    ----------
    column : pandas.Series of shape (n,)
    style : str or None, default=None
        How dates are spelled that come as text; see :func:`spelling`.
    missing_texts : sequence of str or None, default=None
        The texts that say that a date is missing; see :func:`spelling`.

    Raises
    ------
    CellError
        Something in it is no date.
    ValueError
        It holds numbers, truth values or values that have no kind.
    """
    import pandas as pd

    column = values = simple(column).infer_objects()
    if pd.api.types.is_numeric_dtype(column.dtype):  # truth values too
        what = "truth values" if pd.api.types.is_bool_dtype(column.dtype) else "numbers"
        raise ValueError(
            f"column {str(column.name)!r} holds {what}, which are no dates; take it as numeric or "
            "categorical, or write dates as 2024-12-31"
        )
    if not pd.api.types.is_datetime64_any_dtype(column.dtype):
        style = style if is_date(style) else spelling(column, missing_texts=missing_texts)
        parsed = _parsed(column, "date", str(style) if is_date(style) else "iso", missing_texts)
        values = pd.Series(parsed.to_pandas().to_numpy(), index=column.index)
    return pd.to_datetime(values, utc=True).dt.tz_localize(None)


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
