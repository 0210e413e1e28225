"""Tables whose columns have types of their own: Parquet, Arrow, DuckDB."""

from __future__ import annotations

import re
import struct
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from chainrule.tables.files import TableFile, unreadable
from chainrule.tables.plain import check_kind, is_long, plain
from chainrule.tables.types import (
    Chunk,
    Report,
    TableError,
    chosen,
    column_error,
    unique_names,
)

_ROWS = 8192  # rows in a chunk
_BUFFER = 1 << 16  # bytes, for each column of a Parquet file


class Typed:
    """Parquet, Arrow or DuckDB: columns whose types are known before a row is read."""

    def __init__(self, file: TableFile, table: str | None = None, query: str | None = None) -> None:
        import pyarrow as pa

        self.file = file
        self._table, self._query = table, query
        self.names: list[str] = []
        self._read: list[str] = []  # the columns that are being read
        with self._guarded():
            schema = self._schema()
            names = list(schema.names)
        self.names = unique_names(names, file.name)
        with self._guarded():
            self.types = {f.name: plain(pa.chunked_array([], f.type)).type for f in schema}

    def must_look(self, name: str, wanted: str | None) -> bool:
        """Whether a first pass is needed: for missing integers, and for texts to be converted."""
        import pyarrow as pa
        import pyarrow.types as is_

        kind = self.types[name]
        if wanted is not None:
            return bool(kind == pa.string() and wanted != "text")
        return bool(is_.is_integer(kind) or is_.is_boolean(kind) or is_long(kind))

    def n_rows(self) -> int:
        """How many rows it has."""
        with self._guarded(), closing(self._batches(self.names[:1])) as batches:
            return sum(map(len, batches))

    def _guarded(self) -> Any:
        return _Guarded(self.file, self._read or self.names)

    def _schema(self) -> Any:
        raise NotImplementedError

    def _batches(self, columns: list[str] | None) -> Generator[Any]:
        raise NotImplementedError

    def chunks(self, report: Report, columns: list[str] | None = None) -> Iterator[Chunk]:
        """The rows in order."""
        import pyarrow as pa

        first = 1
        self._read = columns or []
        with closing(self._batches(columns)) as batches:  # in time, also after an error
            while True:
                with self._guarded():
                    batch = next(batches, None)
                    if batch is None:
                        return
                    batch.validate(full=True)
                    table = pa.Table.from_batches([batch])
                    names = self.names if columns is None else columns
                    table = pa.table({name: plain(table[name]) for name in names})
                yield Chunk(table, _placed(table, first))
                first += len(table)


class _Guarded:
    """Turns the engines' errors into ours."""

    def __init__(self, file: TableFile, names: list[str]) -> None:
        self._file, self._names = file, names

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if error is None or isinstance(error, TableError):
            return
        name = self._file.name
        what = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(name, error) from error  # the machine's fault, not the file's
        module = type(error).__module__.split(".")[0]
        if found := re.search(
            r"In column (\d+): Invalid: Decimal value (-?\d+) does not fit", what
        ):
            column = f"column {self._names[int(found[1])]!r}" if self._names else "a column"
            raise TableError(
                f"{name}, {column}: it holds {found[2]}, a whole number of more than 38 digits; "
                "make a text or a DOUBLE of it with CAST in a query, or leave the column out"
            ) from error
        if isinstance(error, NotImplementedError) and module == "pyarrow":
            raise TableError(f"{name}{_unknown(self._file, what)}") from error
        if module == "pyarrow" or isinstance(error, OSError | UnicodeDecodeError):
            what = f"it is damaged or cut short ({what}); copy it again"
        elif module not in ("_duckdb", "duckdb"):
            return
        raise TableError(f"{name}: {what}") from error


def _unknown(file: TableFile, what: str) -> str:
    """What to do about a type that Arrow cannot read."""
    if "64 bits" not in what:
        return f": Arrow cannot read it ({what}); write the table with other types or as CSV"
    names = _wide(file) if file.format == "parquet" else _wide_arrow(file)
    where = f", column {', '.join(map(repr, names))}" if names else ": a column"
    verb = "it holds" if names else "holds"
    return (
        f"{where}{':' if names else ''} {verb} integers of 128 bits, which Arrow cannot read; make "
        "them integers of 64 bits, or numbers, and write the file again"
    )


def _wide(file: TableFile) -> list[str]:
    """The columns of a Parquet file that hold 16 bytes of no known type."""
    import duckdb

    sql = (
        "SELECT name FROM parquet_schema(?) WHERE type = 'FIXED_LEN_BYTE_ARRAY' "
        "AND type_length = '16' AND logical_type IS NULL"
    )
    try:
        with duckdb.connect(config={"autoload_known_extensions": "false"}) as connection:
            return [row[0] for row in connection.execute(sql, [str(file.path)]).fetchall()]
    except duckdb.Error:
        return []


def _wide_arrow(file: TableFile) -> list[str]:
    """The columns of an Arrow file that hold integers of 128 bits, by its flatbuffer."""
    data = file.path.read_bytes()

    def number(at: int, kind: str = "<i") -> int:
        return int(struct.unpack_from(kind, data, at)[0])

    def part(table: int, k: int) -> int:
        """Where field k of a table stands; 0 if it is left out."""
        fields = table - number(table)
        offset = number(fields + 4 + 2 * k, "<H") if 4 + 2 * k < number(fields, "<H") else 0
        return table + offset if offset else 0

    def follow(at: int) -> int:
        return at + number(at, "<I")

    try:
        if file.format == "arrow stream":
            message = follow(8)  # a mark and a length stand before it
            schema = follow(part(message, 2))
        else:
            end = len(data) - 10  # the footer's length and six letters
            schema = follow(part(follow(end - number(end)), 1))
        fields = follow(part(schema, 1))
        found = []
        for k in range(number(fields)):
            field = follow(fields + 4 + 4 * k)
            is_integer = bool(part(field, 2)) and data[part(field, 2)] == 2
            if is_integer and number(part(follow(part(field, 3)), 0)) == 128:
                name = follow(part(field, 0))
                found.append(data[name + 4 : name + 4 + number(name)].decode())
    except (struct.error, IndexError, UnicodeDecodeError):
        return []
    return found


def plain_tables(source: Iterable[Any], columns: list[str] | None) -> Iterator[Any]:
    """Tables of at most 8,192 rows, in the types that we return, from those of another library.

    Parameters
    ----------
    source : iterable of pyarrow tables or record batches
    columns : list of str or None
        None: all of the first.
    """
    import pyarrow as pa

    names = columns
    for number, given in enumerate(source):
        what = f"table {number} of the source"
        if not isinstance(given, pa.Table | pa.RecordBatch):
            kind = type(given).__name__
            raise TableError(f"{what} is no pyarrow table or record batch but of type {kind}")
        whole = pa.Table.from_batches([given]) if isinstance(given, pa.RecordBatch) else given
        there = unique_names(whole.column_names, what)
        names = there if names is None else names
        for name in names if columns is not None else dict.fromkeys([*names, *there]):
            if name not in there:
                raise column_error(name, there, what)
            if name not in names:
                raise column_error(name, names, "the first table of the source")
            check_kind(name, whole.schema.field(name).type, what)
        for start in range(0, len(whole), _ROWS):
            chunk = whole.slice(start, _ROWS)
            yield pa.table({name: _short(plain(chunk[name])) for name in names})


def _short(column: Any) -> Any:
    """A column without decimals."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.cast(column, pa.float64()) if is_long(column.type) else column


def _placed(table: Any, first: int) -> Callable[[int], tuple[int, str]]:
    return lambda i: (first + i, _row(table, i))


def _row(table: Any, i: int) -> str:
    cells = [column[i].as_py() for column in table.columns]
    return "|".join("" if cell is None else str(cell) for cell in cells)


class Parquet(Typed):
    """A Parquet file, a few pages of it at a time."""

    def _file(self) -> Any:
        import pyarrow.parquet as pq

        return pq.ParquetFile(str(self.file.path), buffer_size=_BUFFER, pre_buffer=False)

    def _schema(self) -> Any:
        with self._file() as file:
            return file.schema_arrow

    def n_rows(self) -> int:
        """How many rows it has, as its metadata say."""
        with self._guarded(), self._file() as file:
            return int(file.metadata.num_rows)

    def _batches(self, columns: list[str] | None) -> Generator[Any]:
        with self._file() as file:
            yield from file.iter_batches(_ROWS, columns=columns, use_threads=False)


class Arrow(Typed):
    """An Arrow (Feather) file or stream."""

    def _open(self, columns: list[str] | None = None) -> Any:
        import pyarrow as pa

        source = pa.memory_map(str(self.file.path))
        open_it = pa.ipc.open_stream if self.file.format == "arrow stream" else pa.ipc.open_file
        places = [] if columns is None else sorted(map(self.names.index, columns))
        return open_it(source, options=pa.ipc.IpcReadOptions(included_fields=places))

    def _schema(self) -> Any:
        return self._open().schema

    def _batches(self, columns: list[str] | None) -> Generator[Any]:
        reader = self._open(columns)
        if self.file.format == "arrow stream":
            whole: Iterator[Any] = iter(reader)
        else:
            whole = (reader.get_batch(i) for i in range(reader.num_record_batches))
        for batch in whole:
            chosen = batch if columns is None else batch.select(columns)
            for start in range(0, len(batch), _ROWS):
                yield chosen.slice(start, _ROWS)


class DuckDB(Typed):
    """A table or a query of a DuckDB file, opened for reading only, without its extensions."""

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        import duckdb

        with tempfile.TemporaryDirectory(prefix="chainrule-") as folder:
            settings: Any = {
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "allow_community_extensions": "false",
                "enable_external_access": "false",  # but for the temporary directory
                "lock_configuration": "true",
                "threads": "1",
                "memory_limit": "300MB",
                "temp_directory": folder,
            }
            with duckdb.connect(str(self.file.path), read_only=True, config=settings) as connection:
                yield connection

    def _reader(self, connection: Any, rows: int, columns: list[str] | None = None) -> Any:
        import duckdb

        sql = self._query
        if sql is not None:
            statements = connection.extract_statements(sql)
            if [each.type for each in statements] != [duckdb.StatementType.SELECT]:
                raise TableError(f"{self.file.name}: the query must be one SELECT")
        else:
            found = connection.sql(
                "SELECT table_name FROM information_schema.tables "
                "WHERE table_schema = 'main' ORDER BY table_name"
            ).fetchall()
            name = chosen(self._table, [row[0] for row in found], self.file.name)
            sql = f'SELECT * FROM "{name.replace(chr(34), chr(34) * 2)}"'
        relation = connection.sql(sql)
        if relation is None:
            raise TableError(f"{self.file.name}: the query gives no table; it must be one SELECT")
        if columns is not None:
            relation = relation.select(*map(duckdb.ColumnExpression, columns))
        read = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
        return read(rows)

    def _schema(self) -> Any:
        with self._connection() as connection:
            return self._reader(connection, 1).schema

    def _batches(self, columns: list[str] | None) -> Generator[Any]:
        with self._connection() as connection:
            yield from self._reader(connection, _ROWS, columns)
