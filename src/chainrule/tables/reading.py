"""Tables from files, whole or in blocks, and back: CSV, Parquet, Arrow, JSON lines, databases.

A table goes through twice, once to see what its columns are and once to read it, so that every
block has the same types. No row is ever left out: one that cannot be read is an error that names
its line, or goes to the rejects.
"""

from __future__ import annotations

import csv
import importlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.base.whole_files import check_writable, whole_file, would_replace
from chainrule.tables.dtypes import simple
from chainrule.tables.files import Source
from chainrule.tables.opening import Types, opened, raise_it
from chainrule.tables.plain import as_texts
from chainrule.tables.types import Reading, Reject, TableError
from chainrule.tables.writing import Writer, writer

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Learnt",
    "Reading",
    "Reject",
    "TableError",
    "Writer",
    "blocks",
    "learn",
    "read",
    "types_of",
    "writer",
]


def read(
    source: Source,
    *,
    table: str | None = None,
    query: str | None = None,
    columns: list[str] | None = None,
    ignore: list[str] | None = None,
    types: Types = None,
    limit: int | None = None,
    reading: Reading | None = None,
) -> pd.DataFrame:
    """Read a table.

    Parameters
    ----------
    source : str, path, or a list of them
        A file, a folder, a pattern such as `"data/*.csv"`, or `"-"` for standard input. CSV
        (delimiter, encoding, decimal comma and packing are found out), Parquet, Arrow, JSON
        lines, or a DuckDB or SQLite file. Several files must have the same columns. Folders right
        above a file that are named like `year=2024` give it a column `year`.
    table, query : str or None, default None
        Of a database: which table, or a SELECT.
    columns : list of str or None, default None
        Only these, in this order; None: all.
    ignore : list of str or None, default None
        Columns that are not read, whatever they hold.
    types : str, dict or None, default None
        "integer", "number", "boolean", "date" or "text", for all columns or by name. A column
        without one gets the first of these that all its cells fit. Integers and truth values
        are pandas' nullable ones if some are missing or if the type was given.
    limit : int or None, default None
        At most so many rows.
    reading : Reading or None, default None
        How numbers and dates are spelled, and what says that a cell is missing; None: found out.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    TableError
        The table cannot be read. The message names the file, the place and what to do.
    """
    return learn(
        source,
        table=table,
        query=query,
        columns=columns,
        ignore=ignore,
        types=types,
        limit=limit,
        reading=reading,
    ).frame


class Learnt(NamedTuple):
    """A table, and how it was read.

    Attributes
    ----------
    frame : pandas.DataFrame
    reading : Reading
        What to read other tables by.
    marks : dict of str to collections.Counter
        By column, the texts beside the usual ones that were taken for missing, and how often.
    written : pandas.Series or None
        The target's cells as they stand in the table.
    missing_labels : collections.Counter
        What the target's cells say that are missing since they say so.
    """

    frame: pd.DataFrame
    reading: Reading
    marks: dict[str, Counter[str]]
    written: pd.Series | None
    missing_labels: Counter[str]


def learn(
    source: Source,
    target: str | None = None,
    *,
    table: str | None = None,
    query: str | None = None,
    columns: list[str] | None = None,
    ignore: list[str] | None = None,
    types: Types = None,
    limit: int | None = None,
    reading: Reading | None = None,
) -> Learnt:
    """Read a table, and keep how it was read.

    Parameters
    ----------
    source, table, query, columns, ignore, types, limit, reading
        As for :func:`read`.
    target : str or None, default None
        A column whose cells are kept as they are written.

    Raises
    ------
    TableError
        As for :func:`read`.
    """
    needs_extra("pandas", "pyarrow")
    import pyarrow as pa

    how = (source, table, query, columns, types, limit)
    with opened(*how, ignore=ignore, reading=reading) as whole_table:
        parts, texts = [], []
        for typed, text in whole_table.tables(raise_it):
            parts.append(typed)
            if target in text.column_names:
                texts.append(text.select([target]))
        whole = pa.concat_tables(parts) if parts else whole_table.empty()
        frame = whole_table.frame(whole if limit is None else whole.slice(0, limit), 0)
        written, labels = None, Counter[str]()
        if texts:
            cells = pa.concat_tables(texts, promote_options="permissive").slice(0, len(frame))
            written = as_texts(cells[target]).to_pandas()
            if frame[target].isna().any():
                labels = whole_table.texts_of_missing(str(target))
        return Learnt(frame, whole_table.learnt, whole_table.marks, written, labels)


def blocks(
    source: Source,
    *,
    rows: int = 65536,
    table: str | None = None,
    query: str | None = None,
    types: Types = None,
    rejects: str | os.PathLike[str] | Callable[[Reject], None] | None = None,
    with_text: bool = False,
    reading: Reading | None = None,
) -> Iterator[Any]:
    """Read a table in blocks of rows, in order, in bounded memory.

    Joined, the blocks are what :func:`read` returns; the index goes on from block to block. A
    table without rows gives one block without rows.

    Parameters
    ----------
    source, table, query, types, reading
        As for :func:`read`. With a type for every column the table is read only once.
    rows : int, default 65536
        In a block; the last may have fewer.
    rejects : path, callable (Reject) -> None, or None, default None
        Where rows go that cannot be read: a new CSV file with the columns file, line, column,
        message and row, which is there when the table has been read to its end. None: such a row
        is an error.
    with_text : bool, default False
        Yield pairs (block, the same rows with all cells as they came, those of CSV as text).

    Yields
    ------
    pandas.DataFrame

    Raises
    ------
    TableError
        As for :func:`read`; the file for the rejects exists.
    """
    if rows < 1:
        raise ValueError(f"rows must be at least 1; got {rows}")
    needs_extra("pandas", "pyarrow")
    how = (source, table, query, None, types, None, rejects is None)
    with opened(*how, reading=reading) as whole_table, _reporter(rejects) as report:
        done = 0
        for typed, text in regrouped(whole_table.tables(report), rows):
            frame = whole_table.frame(typed, done)
            yield (frame, whole_table.text_frame(text, done)) if with_text else frame
            done += len(typed)
        if not done:
            frame = whole_table.frame(whole_table.empty(), 0)
            yield (frame, frame) if with_text else frame


def types_of(frame: pd.DataFrame) -> dict[str, str]:
    """The types, as :func:`read` takes them, of a frame's columns."""
    import pandas.api.types as is_

    found = {}
    for name in frame.columns:
        dtype = simple(frame[name]).dtype
        if is_.is_bool_dtype(dtype):
            found[name] = "boolean"
        elif is_.is_integer_dtype(dtype):
            found[name] = "integer"
        elif is_.is_numeric_dtype(dtype):
            found[name] = "number"
        elif is_.is_datetime64_any_dtype(dtype):
            found[name] = "date"
        else:
            found[name] = "text"
    return found


def regrouped(tables: Iterator[tuple[Any, Any]], rows: int) -> Iterator[tuple[Any, Any]]:
    """The same rows in tables of `rows` rows, the last of fewer."""
    import pyarrow as pa

    kept: list[tuple[Any, Any]] = []
    count = 0
    for pair in tables:
        kept.append(pair)
        count += len(pair[0])
        if count < rows:
            continue
        typed = pa.concat_tables([each for each, _ in kept])
        text = pa.concat_tables([each for _, each in kept], promote_options="permissive")
        while len(typed) >= rows:
            yield typed[:rows], text[:rows]
            typed, text = typed[rows:], text[rows:]
        kept, count = [(typed, text)], len(typed)
    if count:
        typed = pa.concat_tables([each for each, _ in kept])
        yield typed, pa.concat_tables([each for _, each in kept], promote_options="permissive")


@contextmanager
def _reporter(rejects: Any) -> Iterator[Callable[[Reject], None]]:
    if rejects is None or callable(rejects):
        yield rejects or raise_it
        return
    with rejects_file(rejects) as report:
        yield report


@contextmanager
def rejects_file(path: str | os.PathLike[str]) -> Iterator[Callable[[Reject], None]]:
    """A new CSV file for rows that cannot be read, there when all went well, and what fills it.

    Parameters
    ----------
    path : str or path

    Raises
    ------
    TableError
        It exists, or cannot be written.
    """
    with ExitStack() as stack:
        try:
            if would_replace(path):
                raise TableError(f"{os.fspath(path)} exists; choose another file for the rejects")
            check_writable(path)
            file = stack.enter_context(whole_file(path))
        except OSError as error:
            raise _unwritable(path, error) from error

        def write(cells: Sequence[Any]) -> None:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerow(cells)
            try:
                file.write(text.getvalue().encode("utf-8", "backslashreplace"))
            except OSError as error:
                raise _unwritable(path, error) from error

        write(Reject._fields)
        yield write


def _unwritable(path: str | os.PathLike[str], error: OSError) -> TableError:
    return TableError(f"{os.fspath(path)} cannot be written: {error.strerror or error}")


def needs_extra(*modules: str) -> None:
    """Raise ImportError, with what to install, where a module of the extra is not there."""
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(f'tables need {name}: pip install "chainrule[tables]"') from error
