"""Tables whose every cell has a type of its own: JSON lines and SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any
from urllib.parse import quote

from chainrule.tables.files import TableFile
from chainrule.tables.types import (
    MOST_COLUMNS,
    Chunk,
    Reject,
    Report,
    TableError,
    check_width,
    chosen,
    unique_names,
)

_ROWS = 8192  # rows in a chunk
_MOST_CELLS = 1 << 21  # in a chunk of JSON lines
# Of so many keys, each line has to have this part.
_MANY_KEYS, _LEAST_FILLED = 2000, 0.01
_LONGEST_LINE = 1 << 24


def _chunk(kept: list[Any], cells: dict[str, list[Any]]) -> Chunk:
    import pyarrow as pa

    table = pa.table({name: _column(values) for name, values in cells.items()})

    def where(i: int) -> tuple[int, str]:
        line, _, row = kept[i]
        return line, _shown(row) if isinstance(row, bytes) else row

    return Chunk(table, where)


def _column(cells: list[Any]) -> Any:
    """An Arrow column; of texts, if the cells are not all numbers or all truth values."""
    import pyarrow as pa

    kinds = set(map(type, cells)) - {type(None)}
    if kinds <= {str}:
        return pa.array(cells, pa.string() if kinds else pa.null())
    if kinds == {float}:
        return pa.array(cells, pa.float64(), from_pandas=True)  # NaN is missing
    if kinds <= {int, float}:
        most = 2**53 if float in kinds else 2**63 - 1  # what keeps its digits
        if all(-most <= cell <= most for cell in cells if type(cell) is int):
            if kinds == {int}:
                return pa.array(cells, pa.int64())
            numbers = [None if cell is None else float(cell) for cell in cells]
            return pa.array(numbers, pa.float64(), from_pandas=True)
    if kinds == {bool}:
        return pa.array(cells, pa.bool_())
    return pa.array([as_text(cell) for cell in cells], pa.string())


def as_text(cell: Any) -> str | None:
    """A value, spelled as Arrow does."""
    import pyarrow as pa

    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, float):
        return str(pa.scalar(cell, pa.float64()).cast(pa.string()))
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


class JsonLines:
    """JSON lines: one object to a line. Its columns are the keys of all lines.

    Attributes
    ----------
    file : TableFile
    names : list of str
    """

    def __init__(self, file: TableFile) -> None:
        self.file = file
        found: dict[str, None] = {}
        trouble: list[Reject] = []
        cells = lines = 0
        for batch in self._batches():
            keys = None
            for _, row, _ in self._rows(batch, trouble.append):
                if row.keys() != keys:
                    found.update(dict.fromkeys(row))
                    keys = row.keys()
                    if len(found) > MOST_COLUMNS:
                        check_width(len(found), file.name)
                cells += len(row)
                lines += 1
            if len(found) > _MANY_KEYS and cells < _LEAST_FILLED * lines * len(found):
                raise TableError(
                    f"{file.name}: its lines have {len(found):,} different keys, and each line "
                    "lacks nearly all of them; keys are the names of columns, so put what "
                    "differs from line to line into values"
                )
            del trouble[1:]
        if not found:
            if trouble:
                raise trouble[0].error()
            raise TableError(f"{file.name} holds no object; each line must be one, with values")
        self.names = list(found)

    def chunks(self, report: Report, columns: list[str] | None = None) -> Iterator[Chunk]:
        """The rows in order; a column holds texts if any cell of it in the chunk is one."""
        names = self.names if columns is None else columns
        most = max(_MOST_CELLS // max(len(names), 1), 1)
        for batch in self._batches():
            whole = self._rows(batch, report)
            for start in range(0, len(whole), most):
                rows = whole[start : start + most]
                yield _chunk(rows, {name: [row.get(name) for _, row, _ in rows] for name in names})

    def _batches(self) -> Iterator[list[tuple[int, bytes]]]:
        """(number, line) of lines that are not blank."""
        with self.file.open() as stream:
            batch: list[tuple[int, bytes]] = []
            size = 0
            for number, line in enumerate(_byte_lines(stream, self.file.name), 1):
                raw = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                raw = raw.strip()
                if not raw:
                    continue  # a line end that is doubled holds no row
                batch.append((number, raw))
                size += len(raw)
                if len(batch) == _ROWS or size > 1 << 22:
                    yield batch
                    batch, size = [], 0
            if batch:
                yield batch

    def _rows(
        self, batch: list[tuple[int, bytes]], report: Report
    ) -> list[tuple[int, dict[str, Any], bytes]]:
        rows = _at_once([line for _, line in batch])
        if rows is not None:
            return [(number, row, line) for (number, line), row in zip(batch, rows, strict=True)]
        found = []
        for number, line in batch:
            row = self._row(number, line, report)
            if row is not None:
                found.append((number, row, line))
        return found

    def _row(self, number: int, line: bytes, report: Report) -> dict[str, Any] | None:
        column = None
        try:
            row = json.loads(line.decode(), object_pairs_hook=_unique)
            if not isinstance(row, dict):
                raise _ProblemError("it is no object; each line must be one: {...}")
            for name, cell in row.items():
                column = name
                if isinstance(cell, dict | list):
                    what = "an object" if isinstance(cell, dict) else "a list"
                    raise _ProblemError(f"it holds {what}; write its parts as columns")
                if isinstance(cell, str):
                    cell.encode()  # fails for half of a surrogate pair
            return row
        except _ProblemError as problem:
            what = str(problem)
        except UnicodeError:
            what = "it is not UTF-8; save the file as UTF-8"
        except (ValueError, RecursionError) as error:
            at = getattr(error, "colno", None)
            what = f"it is not JSON{f' (at sign {at})' if at else ''}; mend or delete it"
        report(Reject(self.file.name, number, column, what, _shown(line)))
        return None


def _at_once(lines: list[bytes]) -> list[dict[str, Any]] | None:
    """The objects of many lines, if nothing is wrong with any: five times as fast.

    No text can reach over a line end, and lines that start and end with braces and hold nothing
    nested are objects of their own if there are as many objects as lines.
    """
    if not all(line[:1] == b"{" and line[-1:] == b"}" for line in lines):
        return None
    text = b"[" + b",\n".join(lines) + b"]"
    try:
        rows = json.loads(text.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError, _ProblemError):
        return None
    if len(rows) != len(lines) or b"\\u" in text:
        return None
    for row in rows:
        for cell in row.values():
            if cell.__class__ is dict or cell.__class__ is list:
                return None
    return list(rows)


class _ProblemError(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise _ProblemError("a key comes twice; rename one")
    return row


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace")


def _byte_lines(stream: Any, name: str) -> Iterator[bytes]:
    buffer, number = b"", 1
    while chunk := stream.read(1 << 20):
        lines = (buffer + chunk).split(b"\n")
        buffer = lines.pop()
        number += len(lines)
        if len(buffer) > _LONGEST_LINE:
            raise TableError(
                f"{name}, line {number:,}: the line is longer than {_LONGEST_LINE >> 20} MB; JSON "
                "lines hold one object to a line"
            )
        yield from lines
    if buffer:
        yield buffer


class Sqlite:
    """A table or a query of an SQLite file, opened for reading only.

    Attributes
    ----------
    file : TableFile
    names : list of str
    """

    def __init__(self, file: TableFile, table: str | None, query: str | None) -> None:
        self.file = file
        self._sql = query or ""
        with self._connection() as connection:
            if query is None:
                names = [
                    row[0]
                    for row in self._run(
                        connection,
                        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') "
                        "AND name NOT LIKE 'sqlite_%' ORDER BY name",
                    )
                ]
                name = chosen(table, names, file.name)
                self._sql = f'SELECT * FROM "{name.replace(chr(34), chr(34) * 2)}"'
            cursor = self._run(connection, self._sql)
            if cursor.description is None:
                raise TableError(f"{file.name}: the query gives no table; it must be one SELECT")
            self.names = unique_names([each[0] for each in cursor.description], file.name)

    def _connection(self) -> Any:
        # Immutable: no lock is needed, so that a folder may be one that cannot be written.
        uri = f"file:{quote(str(self.file.path.absolute()))}?mode=ro&immutable=1"
        if any(
            self.file.path.with_name(self.file.path.name + end).exists()
            for end in ("-wal", "-journal")
        ):
            uri = uri.replace("&immutable=1", "")
        connection = sqlite3.connect(uri, uri=True)
        connection.text_factory = _text
        allowed = {
            sqlite3.SQLITE_SELECT,
            sqlite3.SQLITE_READ,
            sqlite3.SQLITE_FUNCTION,
            sqlite3.SQLITE_RECURSIVE,
        }
        connection.set_authorizer(
            lambda action, *_: sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY
        )
        return closing(connection)

    def _run(self, connection: Any, sql: str) -> Any:
        try:
            cursor = connection.cursor()
            return cursor.execute(sql)
        except (sqlite3.Error, sqlite3.Warning, UnicodeDecodeError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> TableError:
        what = str(error)
        if "not authorized" in what or "prohibited" in what:
            what = "the query would change something; only SELECT is allowed"
        elif isinstance(error, sqlite3.Warning | sqlite3.ProgrammingError):
            what = f"{what.rstrip('.')} the query must be one SELECT".replace(
                "time the", "time: the"
            )
        elif "malformed" in what or "not a database" in what or "codec" in what:
            what += "; the file is damaged or not SQLite"
        return TableError(f"{self.file.name}: {what}")

    def chunks(self, report: Report, columns: list[str] | None = None) -> Iterator[Chunk]:
        """The rows in order; a column holds texts if any cell of it in the chunk is one."""
        names = self.names if columns is None else columns
        places = [self.names.index(name) for name in names]
        rows = self._rows(report)
        while kept := list(islice(rows, _ROWS)):
            yield _chunk(
                kept, {n: [row[1][i] for row in kept] for n, i in zip(names, places, strict=True)}
            )

    def _rows(self, report: Report) -> Iterator[tuple[int, tuple[Any, ...], str]]:
        """(row, values, the row in words) of each row."""
        with self._connection() as connection:
            cursor = self._run(connection, self._sql)
            number = 0
            while True:
                try:
                    row = next(cursor, None)
                except (sqlite3.Error, UnicodeDecodeError) as error:
                    raise self._failed(error) from error
                if row is None:
                    return
                number += 1
                shown = "|".join("" if cell is None else str(cell) for cell in row)
                blob = next((i for i, cell in enumerate(row) if isinstance(cell, bytes)), None)
                if blob is None:
                    yield number, row, shown
                else:
                    what = "it holds bytes; leave the column out with a query, or use hex(...)"
                    report(Reject(self.file.name, number, self.names[blob], what, shown))


def _text(cell: bytes) -> str | bytes:
    """A text, or bytes if it is not UTF-8."""
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return cell
