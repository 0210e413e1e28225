"""Arrow's columns in the plain types that are handed on: no dictionaries, runs, views or days.

Durations and times of day stay as they are, in microseconds: what is learnt from is their number
of seconds. Whole decimals too long for 64 bits stay decimals, until all of them are seen.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.tables.types import TableError

if TYPE_CHECKING:
    import pandas as pd

_DIGITS = 18  # a whole number of so many fits into 64 bits
_SURE_DIGITS = 15  # of any number in a float64
_EXTENSIONS = ("arrow.json", "arrow.uuid", "arrow.bool8")


def bare_type(kind: Any) -> Any:
    """The type of a column's cells, whatever encoding they are stored in."""
    import pyarrow.types as is_

    while True:
        if is_.is_dictionary(kind) or is_.is_run_end_encoded(kind):
            kind = kind.value_type
        elif getattr(kind, "extension_name", None) in _EXTENSIONS:
            return kind
        else:
            return kind


def has_kind(kind: Any) -> bool:
    """Whether cells of this type are numbers, texts, dates or truth values."""
    import pyarrow.types as is_

    kind = bare_type(kind)
    return bool(
        getattr(kind, "extension_name", None) in _EXTENSIONS
        or is_.is_integer(kind)
        or is_.is_floating(kind)
        or is_.is_decimal(kind)
        or is_.is_boolean(kind)
        or is_.is_string(kind)
        or is_.is_large_string(kind)
        or is_.is_string_view(kind)
        or is_.is_timestamp(kind)
        or is_.is_date(kind)
        or is_.is_duration(kind)
        or is_.is_time(kind)
        or is_.is_null(kind)
    )


def check_kind(name: str, kind: Any, file: str) -> None:
    """Refuse a column whose cells have no kind."""
    if not has_kind(kind):
        raise TableError(
            f"{file}, column {name!r}: it holds values of type {bare_type(kind)}; a table has "
            "numbers, texts, dates and truth values, so leave the column out or write its parts as "
            "columns"
        )


def is_long(kind: Any) -> bool:
    """Whether it is of whole decimals that may have more digits than 64 bits hold."""
    import pyarrow.types as is_

    return bool(is_.is_decimal(kind) and kind.scale <= 0)


def _is_fine(kind: Any) -> bool:
    """Whether it is of decimals with a fraction, and more digits than a float64 surely holds."""
    import pyarrow.types as is_

    return bool(is_.is_decimal(kind) and kind.scale > 0 and kind.precision > _SURE_DIGITS)


def is_clock(kind: Any) -> bool:
    """Whether it is of durations or times of day."""
    import pyarrow.types as is_

    return bool(is_.is_duration(kind) or is_.is_time(kind))


def plain(column: Any) -> Any:
    """A chunked column in a plain type; as it is, if its cells have no kind."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as is_

    if not has_kind(column.type):
        return column
    bare = pa.chunked_array([_decoded(chunk) for chunk in column.chunks] or [_none(column.type)])
    kind = bare.type
    if is_.is_decimal(kind):
        if not is_long(kind):
            return pc.cast(bare, pa.float64())
        return pc.cast(bare, pa.int64()) if kind.precision <= _DIGITS else bare
    if is_.is_date(kind):
        return pc.cast(bare, pa.timestamp("us"))
    if is_.is_duration(kind):
        return pc.cast(bare, pa.duration("us"), safe=False)
    if is_.is_time(kind):
        return pc.cast(bare, pa.time64("us"), safe=False)
    return bare


def _none(kind: Any) -> Any:
    """No cells; Arrow cannot make an empty array of each encoding."""
    import pyarrow as pa

    kind = bare_type(kind)
    name = getattr(kind, "extension_name", None)
    if name is not None:
        kind = pa.bool_() if name == "arrow.bool8" else pa.string()
    return _decoded(pa.nulls(0, kind))


def _decoded(cells: Any) -> Any:
    """An array without dictionaries, runs, extensions, views and long offsets, however nested."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as is_

    kind = cells.type
    if is_.is_dictionary(kind):
        return _decoded(cells.dictionary).take(cells.indices)
    if is_.is_run_end_encoded(kind):
        ends = cells.run_ends.to_numpy(zero_copy_only=False)
        rows = np.arange(cells.offset, cells.offset + len(cells))
        return _decoded(cells.values).take(pa.array(np.searchsorted(ends, rows, side="right")))
    name = getattr(kind, "extension_name", None)
    if name == "arrow.uuid":
        texts = [
            None if cell is None else str(uuid.UUID(bytes=cell))
            for cell in cells.storage.to_pylist()
        ]
        return pa.array(texts, pa.string())
    if name == "arrow.bool8":
        return pc.not_equal(cells.storage, 0)
    if name == "arrow.json":
        return _decoded(cells.storage)
    if is_.is_large_string(kind) or is_.is_string_view(kind):
        return pc.cast(cells, pa.string())
    return cells


def seconds(column: Any) -> Any:
    """Durations or times of day in microseconds as seconds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.divide(pc.cast(pc.cast(column, pa.int64()), pa.float64()), 1e6)


def as_texts(column: Any) -> Any:
    """A chunked column of any type as texts; of cells without a kind as JSON, bytes in hex."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_clock(column.type):
        column = seconds(column)
    if has_kind(column.type):
        return pc.cast(plain(column), pa.string())
    texts = [_json(cell) for cell in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])


def _json(cell: Any) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bytes):
        return cell.hex()
    return json.dumps(
        cell,
        ensure_ascii=False,
        default=lambda part: part.hex() if isinstance(part, bytes) else str(part),
    )


def frame_of(table: Any, exact: bool = False) -> pd.DataFrame:
    """A pandas frame of an Arrow table or batch, in which whole numbers keep their digits.

    Columns whose cells have no kind are of Python objects.

    Parameters
    ----------
    table : pyarrow.Table or RecordBatch
    exact : bool, default False
        Leave decimals with a fraction as they are, if a float64 may not hold their digits.
    """
    import pandas as pd
    import pyarrow as pa

    if not isinstance(table, pa.Table):
        table = pa.table(table)
    columns = [
        column if exact and _is_fine(column.type) else plain(column) for column in table.columns
    ]
    nullable = pandas_types()
    cells = {
        i: column.to_pandas(types_mapper=nullable.get if column.null_count else None)
        for i, column in enumerate(columns)
    }
    frame = pd.DataFrame(cells) if cells else pd.DataFrame(index=range(len(table)))
    return frame.set_axis(table.column_names, axis=1)


def pandas_types() -> dict[Any, Any]:
    """pandas' types for integers and truth values of which some are missing, by Arrow's."""
    import pandas as pd
    import pyarrow as pa

    return {
        getattr(pa, name.lower())(): getattr(pd, name + "Dtype")()
        for name in ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
    } | {pa.bool_(): pd.BooleanDtype()}
