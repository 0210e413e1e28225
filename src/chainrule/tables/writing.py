"""Tables written: CSV or Parquet, under another name until they are whole."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.base.whole_files import whole_file, would_replace
from chainrule.tables.spellings import MISSING
from chainrule.tables.types import TableError

if TYPE_CHECKING:
    import pandas as pd


def writer(
    path: str | os.PathLike[str], format: str | None = None, *, overwrite: bool = False
) -> Writer:
    """Write a table, a frame at a time.

    The file appears under its name when all is written and on the disk; if anything fails before,
    nothing is left behind. Numbers are written with all their digits.

    Parameters
    ----------
    path : str or path
        "-" is standard output.
    format : "csv", "parquet" or None, default None
        None: by the suffix; CSV for standard output.
    overwrite : bool, default False
        Whether a file of that name is replaced.

    Returns
    -------
    Writer
        A context manager with `write(frame)`.

    Raises
    ------
    TableError
        The file exists, or cannot be written; the format is unknown.

    Examples
    --------
    >>> with writer("predictions.parquet") as out:  # doctest: +SKIP
    ...     for block in blocks("data.csv"):
    ...         out.write(block)
    """
    return Writer(path, format, overwrite)


class Writer:
    """What :func:`writer` gives.

    Parameters
    ----------
    path, format, overwrite
        See :func:`writer`.
    """

    def __init__(self, path: str | os.PathLike[str], format: str | None, overwrite: bool) -> None:
        self.name = os.fspath(path)
        suffix = Path(self.name).suffix.lower()
        by_suffix = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}
        self.format = format or ("csv" if self.name == "-" else by_suffix.get(suffix))
        if self.format not in ("csv", "parquet"):
            got = format or suffix or self.name
            raise TableError(
                f"{self.name}: tables are written as CSV or Parquet; name the file .csv or "
                f".parquet, or give the format (got {got!r})"
            )
        self._overwrite = overwrite
        self._path = None if self.name == "-" else Path(self.name)
        self._whole: Any = None
        self._file: Any = None
        self._parquet: Any = None
        self._names: list[str] | None = None
        self._check_new()

    def _check_new(self) -> None:
        if self._path is None:
            return
        try:
            exists = would_replace(self._path)
        except OSError as error:
            raise self._cannot(error) from error
        if exists and not self._overwrite:
            raise TableError(f"{self.name} exists; choose another name, or overwrite it")

    def __enter__(self) -> Writer:
        if self._path is None:
            try:
                self._file = sys.stdout.buffer
            except (OSError, AttributeError):  # None, where standard output is closed
                raise TableError("standard output is closed; name a file") from None
            return self
        self._whole = whole_file(self._path)
        try:
            self._file = self._whole.__enter__()
        except OSError as error:
            raise self._cannot(error) from error
        return self

    def write(self, frame: pd.DataFrame) -> None:
        """Write rows.

        Parameters
        ----------
        frame : pandas.DataFrame
            With the same columns as the first; its index is not written.

        Raises
        ------
        TableError
            Other columns than the first's; a column that such a file cannot hold; a full disk.
        """
        import pyarrow as pa

        names = [str(name) for name in frame.columns]
        if self._names is not None and names != self._names:
            raise TableError(f"{self.name}: a block has other columns than the first")
        first, self._names = self._names is None, names
        if len(set(names)) < len(names):
            raise TableError(f"{self.name}: a column name comes twice; rename one")
        columns = {name: self._column(frame.iloc[:, i], name) for i, name in enumerate(names)}
        table = pa.table(columns)
        try:
            if self.format == "parquet":
                self._write_parquet(table, first)
            else:
                self._file.write(_csv(table, self.name, header=first))
        except OSError as error:
            raise self._cannot(error) from error

    def _column(self, column: pd.Series, name: str) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.types as is_

        try:
            cells = pa.array(column, from_pandas=True)
        except pa.ArrowException:
            texts = [None if _gone(cell) else str(cell) for cell in column]
            cells = pa.array(texts, pa.string())
        if isinstance(cells, pa.ChunkedArray):
            cells = cells.combine_chunks()
        if is_.is_dictionary(cells.type):
            cells = pc.cast(cells, cells.type.value_type)
        if is_.is_large_string(cells.type):
            cells = pc.cast(cells, pa.string())
        if is_.is_nested(cells.type) or is_.is_binary(cells.type):
            raise TableError(
                f"{self.name}, column {name!r}: {cells.type} cannot be written; write its parts "
                "as columns"
            )
        return cells

    def _write_parquet(self, table: Any, first: bool) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if first:
            self._parquet = pq.ParquetWriter(self._file, table.schema, compression="zstd")
        try:
            self._parquet.write_table(table.cast(self._parquet.schema))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise TableError(f"{self.name}: a block has other types than the first: {error}") from (
                error
            )

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        try:
            if self._parquet is not None and (kind is None or self._path is not None):
                self._parquet.close()
            if self._path is None:
                self._file.flush()
                return
            if kind is None:
                self._check_new()
        except BaseException as failed:
            if self._whole is not None:
                self._close(type(failed), failed, failed.__traceback__)
            if isinstance(failed, OSError):
                raise self._cannot(failed) from failed
            raise
        self._close(kind, *error)

    def _close(self, kind: type[BaseException] | None, *error: Any) -> None:
        """Keep the file, or with an error throw away what was written."""
        try:
            self._whole.__exit__(kind, *error)
        except OSError as failed:
            raise self._cannot(failed) from failed

    def _cannot(self, error: OSError) -> Exception:
        if isinstance(error, BrokenPipeError):
            return error
        name = "standard output" if self.name == "-" else self.name
        return TableError(f"{name} cannot be written: {error.strerror or error}")


def _gone(cell: Any) -> bool:
    return cell is None or cell != cell or str(cell) in ("<NA>", "NaT")


def _csv(table: Any, name: str, header: bool) -> bytes:
    """The rows as CSV; quotes stand only where another reader would go wrong without."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lines: list[str] = []
    if header:
        shown = _quoted(pa.array(table.column_names, pa.string())).to_pylist()
        lines.append(",".join(shown))
    if len(table):
        columns = []
        for title, column in zip(table.column_names, table.columns, strict=True):
            cells = _spelled(column)
            if pc.any(pc.match_substring(cells, "\x00")).as_py():
                raise TableError(
                    f"{name}, column {title!r}: a text holds a NUL, which CSV cannot; write Parquet"
                )
            columns.append(pc.fill_null(cells, '""' if table.num_columns == 1 else ""))
        rows = pc.binary_join_element_wise(*columns, ",") if len(columns) > 1 else columns[0]
        lines += rows.to_pylist()
    return "".join(line + "\n" for line in lines).encode()


def _spelled(column: Any) -> Any:
    """The cells as they stand in the file."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as is_

    kind = column.type
    if is_.is_timestamp(kind):
        clock = pc.cast(column, pa.timestamp(kind.unit))
        texts = pc.cast(clock, pa.string())
        texts = pc.replace_substring_regex(texts, r"\.0+$", "")
        if not pc.any(pc.match_substring_regex(texts, r" (?:0[1-9]|..?:?.*[1-9])")).as_py():
            texts = pc.replace_substring_regex(texts, r" 00:00:00$", "")
        return texts if kind.tz is None else pc.binary_join_element_wise(texts, "Z", "")
    if is_.is_string(kind):
        return _quoted(column)
    return pc.cast(column, pa.string())


def _quoted(cells: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    special = pc.match_substring_regex(cells, "[\",;\\t|\\r\\n']|^\\s|\\s$|^$")
    needed = pc.or_(special, pc.is_in(cells, value_set=pa.array(MISSING)))
    inside = pc.replace_substring(cells, '"', '""')
    return pc.if_else(needed, pc.binary_join_element_wise('"', inside, '"', ""), cells)
