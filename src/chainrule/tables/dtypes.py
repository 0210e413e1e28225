"""Columns of any type, in the few types that have a kind: numbers, truth values, dates, texts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

# What pandas calls cells of these types, and what they are called here.
_IN_WORDS = {
    "bytes": "bytes",
    "complex": "complex numbers",
    "interval": "intervals",
    "list": "lists",
    "tuple": "lists",
    "ndarray": "lists",
    "set": "sets",
    "dict": "structures",
    "Interval": "intervals",
    "memoryview": "bytes",
    "bytearray": "bytes",
}


def simple(column: pd.Series, exact: bool = False) -> pd.Series:
    """A column in a type that has a kind.

    Durations become seconds, times of day seconds since midnight, decimals float64, days and
    periods datetime64. Numbers, truth values, dates and texts stay as they are, and so do
    categories of these.

    Parameters
    ----------
    column : pandas.Series of shape (n,)
    exact : bool, default False
        Leave decimals as they are.

    Raises
    ------
    ValueError
        It holds bytes, lists, structures, intervals, complex numbers or other objects.
    """
    import pandas as pd
    from pandas.api import types as is_

    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        kept = simple(dtype.categories.to_series(name=column.name), exact=True)
        if kept.dtype == dtype.categories.dtype:
            return column
        return kept.reset_index(drop=True).reindex(column.cat.codes).set_axis(column.index)
    if isinstance(dtype, pd.SparseDtype):
        return simple(column.sparse.to_dense(), exact)
    if isinstance(dtype, pd.ArrowDtype):
        return _of_arrow(column, exact)
    if is_.is_timedelta64_dtype(dtype):
        return column.dt.total_seconds()
    if isinstance(dtype, pd.PeriodDtype):
        return column.dt.to_timestamp()
    if is_.is_complex_dtype(dtype):
        raise _no_kind(column, "complex numbers")
    if isinstance(dtype, pd.IntervalDtype):
        raise _no_kind(column, "intervals")
    return _of_objects(column, exact) if is_.is_object_dtype(dtype) else column


def _of_arrow(column: pd.Series, exact: bool) -> pd.Series:
    import pyarrow.types as is_

    kind: Any = column.dtype.pyarrow_dtype
    if is_.is_decimal(kind):
        return column.astype(object) if exact else column.astype("Float64")
    if is_.is_date(kind):
        return column.astype("datetime64[s]")
    if is_.is_dictionary(kind) or is_.is_time(kind) or is_.is_duration(kind):
        return simple(column.astype(object), exact)
    if is_.is_nested(kind) or is_.is_binary(kind) or is_.is_large_binary(kind):
        raise _no_kind(column, f"values of type {kind}")
    return column


def _of_objects(column: pd.Series, exact: bool) -> pd.Series:
    import pandas as pd
    from pandas.api.types import infer_dtype

    found = infer_dtype(column, skipna=True)
    if found in ("string", "empty", "boolean", "integer", "floating", "datetime", "datetime64"):
        return column
    if found in ("timedelta", "timedelta64"):
        return pd.to_timedelta(column).dt.total_seconds()
    if found == "time":
        return _mapped(column, _seconds)
    if found == "date":
        return pd.to_datetime(column)
    if found == "period":
        return column.map(lambda each: each.to_timestamp(), na_action="ignore")
    if found == "decimal":
        return column if exact else _mapped(column, float)
    if found in _IN_WORDS:
        raise _no_kind(column, _IN_WORDS[found])
    fine = (str, bool, int, float, np.number, np.bool_, np.datetime64, date, Decimal)
    for cell in column:
        if isinstance(cell, complex | np.complexfloating | timedelta | time):
            break
        if cell is not None and not isinstance(cell, fine) and cell is not pd.NA:
            break
    else:
        return column
    name = type(cell).__name__
    raise _no_kind(column, _IN_WORDS.get(name, f"values of type {name}"))


def _mapped(column: pd.Series, number: Callable[[Any], float]) -> pd.Series:
    import pandas as pd

    cells = [np.nan if pd.isna(cell) else number(cell) for cell in column]
    return pd.Series(cells, column.index, float, column.name)


def _seconds(clock: time) -> float:
    return clock.hour * 3600 + clock.minute * 60 + clock.second + clock.microsecond / 1e6


def _no_kind(column: pd.Series, what: str) -> ValueError:
    return ValueError(
        f"column {str(column.name)!r} holds {what}, from which nothing can be learnt as they are; "
        "make columns of numbers, texts, dates or truth values of it, or leave it out"
    )
