"""Tables whose every cell has a type of its own: JSON lines and SQLite."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

from chainrule.table_files import TableFile
from chainrule.table_types import Piece, Reject, Report, TableError, chosen, unique_names

_ROWS = 8192  # rows in a piece
_LONGEST_LINE = 1 << 24


class Values:
    """Rows of Python values: JSON lines and SQLite, where each cell has a type of its own."""

    def __init__(self, file: TableFile) -> None:
        self.file = file
        self.names: list[str] = []

    def rows(self, report: Report) -> Iterator[tuple[int, dict[str, Any] | tuple[Any, ...], str]]:
        """(line, values, the row as it stands) of each row."""
        raise NotImplementedError

    def pieces(self, report: Report, columns: list[str] | None = None) -> Iterator[Piece]:
        """The rows in order; a column holds texts if any cell of it in the piece is one."""
        import pyarrow as pa

        names = self.names if columns is None else columns
        kept: list[tuple[int, Any, str]] = []

        def piece(kept: list[tuple[int, Any, str]]) -> Piece:
            cells = {}
            for i, name in enumerate(self.names):
                if name in names:
                    at = name if kept and isinstance(kept[0][1], dict) else i
                    cells[name] = _column([_get(row, at) for _, row, _ in kept])
            return Piece(pa.table(cells), lambda i: (kept[i][0], kept[i][2]))

        size = 0
        for row in self.rows(report):
            kept.append(row)
            size += len(row[2])
            if len(kept) == _ROWS or size > 1 << 22:
                yield piece(kept)
                kept, size = [], 0
        if kept:
            yield piece(kept)


def _get(row: Any, at: Any) -> Any:
    return row.get(at) if isinstance(row, dict) else row[at]


def _column(cells: list[Any]) -> Any:
    """An Arrow column; of texts, if the cells are not all numbers or all truth values."""
    import pyarrow as pa

    kinds = {type(cell) for cell in cells} - {type(None)}
    if kinds <= {int, float}:
        whole = all(abs(cell) < 2**63 for cell in cells if type(cell) is int)
        exact = float not in kinds or all(abs(cell) <= 2**53 for cell in cells if type(cell) is int)
        if whole and exact:
            if float in kinds:
                return pa.array([None if c is None else float(c) for c in cells], pa.float64())
            return pa.array(cells, pa.int64() if kinds else pa.null())
    if kinds == {bool}:
        return pa.array(cells, pa.bool_())
    return pa.array([as_text(cell) for cell in cells], pa.string())


def as_text(cell: Any) -> str | None:
    """A value, spelled."""
    if cell is None or isinstance(cell, str):
        return cell
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


class JsonLines(Values):
    """JSON lines: one object to a line. Its columns are the keys of all lines."""

    def __init__(self, file: TableFile) -> None:
        super().__init__(file)
        found: dict[str, None] = {}
        trouble: list[Reject] = []
        for _, row, _ in self.rows(trouble.append):
            found.update(dict.fromkeys(row))
            del trouble[1:]
        if not found:
            if trouble:
                raise trouble[0].error()
            raise TableError(f"{file.name} holds no object; each line must be one, with values")
        self.names = list(found)

    def rows(self, report: Report) -> Iterator[tuple[int, dict[str, Any], str]]:
        """(line, values, the row as it stands) of each row."""
        with self.file.open() as stream:
            number = 0
            for line in _byte_lines(stream, self.file.name):
                number += 1
                raw = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if not raw.strip():
                    continue  # a line end that is doubled holds no row
                shown = raw.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
                column = None
                try:
                    row = json.loads(raw.decode(), object_pairs_hook=_unique)
                    if not isinstance(row, dict):
                        raise _ProblemError("it is no object; each line must be one: {...}")
                    for column, cell in row.items():
                        if isinstance(cell, dict | list):
                            what = "an object" if isinstance(cell, dict) else "a list"
                            raise _ProblemError(f"it holds {what}; write its parts as columns")
                        if isinstance(cell, float) and math.isnan(cell):
                            row[column] = None
                        if isinstance(cell, str) and "\\u" in shown:
                            cell.encode()  # half of a surrogate pair
                    column = None
                except _ProblemError as problem:
                    report(Reject(self.file.name, number, column, str(problem), shown))
                except UnicodeError:
                    what = "it is not UTF-8; save the file as UTF-8"
                    report(Reject(self.file.name, number, column, what, shown))
                except (ValueError, RecursionError) as error:
                    at = getattr(error, "colno", None)
                    what = f"it is not JSON{f' (at sign {at})' if at else ''}; mend or delete it"
                    report(Reject(self.file.name, number, None, what, shown))
                else:
                    yield number, row, shown


class _ProblemError(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise _ProblemError("a key comes twice; rename one")
    return row


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


class Sqlite(Values):
    """A table or a query of an SQLite file, opened for reading only."""

    def __init__(self, file: TableFile, table: str | None, query: str | None) -> None:
        super().__init__(file)
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
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> TableError:
        what = str(error)
        if "not authorized" in what or "prohibited" in what:
            what = "the query would change something; only SELECT is allowed"
        elif isinstance(error, sqlite3.Warning | sqlite3.ProgrammingError):
            what = f"{what.rstrip('.')} the query must be one SELECT".replace(
                "time the", "time: the"
            )
        elif "malformed" in what or "not a database" in what:
            what += "; the file is damaged or not SQLite"
        return TableError(f"{self.file.name}: {what}")

    def rows(self, report: Report) -> Iterator[tuple[int, tuple[Any, ...], str]]:
        """(row, values, the row in words) of each row."""
        with self._connection() as connection:
            cursor = self._run(connection, self._sql)
            number = 0
            while True:
                try:
                    row = next(cursor, None)
                except sqlite3.Error as error:
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
