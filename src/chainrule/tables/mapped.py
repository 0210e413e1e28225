"""Tables larger than memory: read once, block by block, into files that are then memory-mapped.

Text and compressed columns have to be decoded wherever they are read, and a row of theirs cannot
be reached alone; the rows of a plain file can, so that an epoch in any order reads no more than
the numbers it trains on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.base.types import Array
from chainrule.base.validation import float_dtype
from chainrule.base.whole_files import restore_folder, whole_folder
from chainrule.tables.files import Files, Source, TableFile
from chainrule.tables.opening import OpenTable, raise_it
from chainrule.tables.reading import needs_extra
from chainrule.tables.stores import plain_tables
from chainrule.tables.types import TableError, column_error

FORMAT, VERSION = "chainrule memory-mapped table", 1
FEATURES, TARGET, ABOUT = "X.npy", "y.npy", "rows.json"
MOST_CLASSES = 1 << 16  # texts of a target; more are no classes
BLOCK = 1 << 16  # labels written together


class MappedTable(NamedTuple):
    """A table whose numbers lie in files and are read where they lie.

    Attributes
    ----------
    X : (n, columns) numpy.memmap
        Read-only.
    y : (n,) numpy.memmap or None
        The target in its own type: whole numbers, numbers, truth values or texts.
    feature_names : list of str
        Of X's columns.
    classes : (K,) array of str, or None
        The texts in y, sorted. None if it holds none.
    """

    X: np.memmap[Any, Any]
    y: np.memmap[Any, Any] | None
    feature_names: list[str]
    classes: NDArray[np.str_] | None


def memmap_table(
    source: Source | Iterable[Any] | None,
    folder: str | os.PathLike[str],
    *,
    target: str | None = None,
    columns: Sequence[str] | None = None,
    dtype: str = "float32",
    table: str | None = None,
    query: str | None = None,
    force: bool = False,
) -> MappedTable:
    r"""Make memory-mapped arrays of a table that may be larger than memory.

    The table is read block by block and written into a folder; what training then takes of it is
    in the system's disk cache, not in the process. A second call finds the folder and reads
    nothing.

    Parameters
    ----------
    source : str, path, a list of them, iterable of pyarrow tables or record batches, or None
        Files are found and read as by ``chainrule.tables.blocks``: CSV, Parquet, Arrow, JSON
        lines, a folder or a pattern of them, a database. None opens what is in the folder.
    folder : str or path
        Where ``X.npy``, ``y.npy`` and ``rows.json`` are kept; nothing else may be in it. It
        appears when all is on the disk. If anything fails, whatever was there stays.
    target : str, optional
        The column that becomes ``y``. A cell missing in it is an error. Texts stay texts: labels.
    columns : list of str, optional
        The columns of ``X``, in this order: numbers or truth values (0 and 1). Missing cells
        become NaN. Default: all but the target.
    dtype : {"float32", "float64"}, default "float32"
        Of X. Numbers are rounded to it; one too large for it is an error.
    table, query : str, optional
        Of a database: which table, or a SELECT.
    force : bool, default False
        Make the folder anew even if it is there.

    Returns
    -------
    MappedTable

    Raises
    ------
    TableError
        The table cannot be read or is not of numbers, or the folder not be written; or it was
        made from other files (by their names, sizes and times of change) or with other arguments,
        and ``force`` is False. Rows in messages count from 0, over all files.

    Notes
    -----
    Parquet, Arrow and batches are gone through once; CSV and JSON lines twice, as their columns'
    types are not known before. Arrays of up to 512 MB train as fast in any order; of larger ones
    ``shuffle="blocks"`` of the estimators and of ``chainrule.train`` reads each part once an epoch.

    Examples
    --------
    >>> import tempfile, chainrule
    >>> from pathlib import Path
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "boxes.csv"
    >>> _ = path.write_text("width,height,kind\n1,2,flat\n3,1,tall\n2,,flat\n")
    >>> rows = chainrule.memmap_table(path, path.with_suffix(".rows"), target="kind")
    >>> rows.X
    memmap([[ 1.,  2.],
            [ 3.,  1.],
            [ 2., nan]], dtype=float32)
    >>> rows.y.tolist(), rows.feature_names
    (['flat', 'tall', 'flat'], ['width', 'height'])
    >>> folder.cleanup()
    """
    needs_extra("pyarrow")
    folder = Path(folder).resolve()
    names = None if columns is None else list(columns)
    for name in names or []:
        if name == target or (names or []).count(name) > 1:
            raise ValueError(f"columns: {name!r} is the target, or comes twice; leave it out")
    if names == []:
        raise ValueError("columns is empty; name the columns of X, or leave it out for all")
    kind = float_dtype(dtype)
    asked = {"target": target, "columns": names, "dtype": kind.name, "table": table, "query": query}
    restore_folder(folder)
    about = _about(folder, force)
    if source is None:
        if about is None:
            raise TableError(f"{folder} holds no table; give the source that it is made from")
        return _mapped(folder, about)
    with _opened(source) as (origin_of, tables_of):
        made = {"format": FORMAT, "version": VERSION, "source": origin_of(), "asked": asked}
        if about is not None and not force:
            _compare(folder, about, made)
            return _mapped(folder, about)
        wanted = names if names is None or target is None else [*names, target]
        with _new_folder(folder) as unfinished:
            made |= _written(unfinished, tables_of(wanted, table, query), target, kind)
            if origin_of() != made["source"]:
                raise TableError("a file was changed while it was read; do it once more")
            with _writing(folder), open(unfinished / ABOUT, "w", encoding="utf-8") as file:
                json.dump(made, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
    return _mapped(folder, made)


@contextmanager
def _opened(source: Any) -> Iterator[tuple[Callable[[], Any], Callable[..., Iterator[Any]]]]:
    """(what can be compared of the source, if anything can; its tables)."""
    import pyarrow as pa

    paths = (str, os.PathLike)
    if isinstance(source, pa.Table | pa.RecordBatch):
        source = [source]
    if not isinstance(source, paths) and not (
        isinstance(source, Sequence) and all(isinstance(each, paths) for each in source)
    ):
        if not isinstance(source, Iterable):
            raise TypeError(
                "source must be files, or an iterable of pyarrow tables or record batches (such "
                f"as dataset.to_batches()); got {type(source).__name__}"
            )
        yield lambda: None, lambda wanted, *_: plain_tables(source, wanted)
        return
    with Files(source) as files:

        def tables(wanted: list[str] | None, table: str | None, query: str | None) -> Iterator[Any]:
            whole = OpenTable(files, table, query, wanted, None, None, nulls=False)
            return (typed for typed, _ in whole.tables(raise_it))

        yield lambda: _origin(files), tables


def _origin(files: list[TableFile]) -> list[list[Any]] | None:
    """Name, size and time of change of each file; None if one was piped in."""
    if any(file.path != Path(file.name) for file in files):
        return None
    stats = [(file.path.resolve(), file.path.stat()) for file in files]
    return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]


def _written(
    folder: Path, tables: Iterator[Any], target: str | None, kind: np.dtype[Any]
) -> dict[str, Any]:
    """Write a table's arrays into a folder; what is to be known of them."""
    names: list[str] = []
    X: _Array | None = None
    y = _Target(folder, str(target))
    for chunk in tables:
        if X is None:
            if target is not None and target not in chunk.column_names:
                raise column_error(target, chunk.column_names, "the source")
            names = [name for name in chunk.column_names if name != target]
            if not names:
                raise TableError("no column is left for X; name some with columns=")
            X = _Array(folder / FEATURES, kind, (len(names),))
        _check_numbers(chunk, names)
        block = np.empty((len(chunk), len(names)), kind)
        for j, name in enumerate(names):
            block[:, j] = _numbers(chunk[name], name, kind, X.n)
        if target is not None:
            y.append(chunk[target], X.n)
        X.append(block)
    if X is None or not X.n:
        raise TableError("the source has no rows")
    X.finish()
    return {"rows": X.n, "columns": names, "classes": None if target is None else y.finish()}


class _Array:
    """An array appended to an .npy file."""

    def __init__(self, path: Path, kind: np.dtype[Any], shape: tuple[int, ...] = ()) -> None:
        self.path, self.kind, self.shape, self.n = path, kind, shape, 0
        with _writing(path), open(path, "wb") as file:
            self._write_header(file)

    def _write_header(self, file: Any) -> None:
        # NumPy leaves space in it for any number of rows.
        about = {"descr": self.kind.str, "fortran_order": False, "shape": (self.n, *self.shape)}
        np.lib.format.write_array_header_1_0(file, about)

    def append(self, block: Array) -> None:
        self.n += len(block)
        with _writing(self.path), open(self.path, "ab") as file:
            file.write(np.ascontiguousarray(block, self.kind).data)

    def finish(self) -> None:
        with _writing(self.path), open(self.path, "r+b") as file:
            self._write_header(file)
            file.flush()
            os.fsync(file.fileno())


class _Target:
    """The target, appended; texts by the number of each, until all are known."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.type: Any = None
        self.codes: dict[str, int] = {}

    def append(self, column: Any, done: int) -> None:
        import pyarrow.compute as pc
        import pyarrow.types as is_

        text = is_.is_string(column.type)
        if column.null_count:
            self._missing("missing", done + pc.index(column.is_null(), True).as_py())
        if not text and not _is_number(column.type):
            what = f"holds {column.type}; it must hold numbers, truth values or texts"
            raise TableError(f"the target {self.name!r} {what}")
        if self.type is None:
            self.type = column.type
            kind = np.dtype(np.int32) if text else column[:0].to_numpy().dtype
            self.array = _Array(self.folder / ("codes.npy" if text else TARGET), kind)
        if column.type != self.type:
            raise TableError(
                f"the target {self.name!r} is {self.type} up to row {done:,} and then "
                f"{column.type}; make it one type"
            )
        if text:
            column = column.combine_chunks().dictionary_encode()
            known = [self._code(each) for each in column.dictionary.to_pylist()]
            values = np.array(known, np.int32)[column.indices.to_numpy()]
        else:
            values = column.to_numpy()
            if not np.isfinite(values).all():
                row = int(np.argmin(np.isfinite(values)))
                self._missing(str(values[row]), done + row)
        self.array.append(values)

    def _missing(self, what: str, row: int) -> None:
        raise TableError(f"the target {self.name!r} is {what} in row {row:,}; leave the row out")

    def _code(self, text: str) -> int:
        if len(self.codes) == MOST_CLASSES and text not in self.codes:
            raise TableError(
                f"the target {self.name!r} has more than {MOST_CLASSES:,} different texts, such "
                f"as {text[:40]!r}; is it a class?"
            )
        return self.codes.setdefault(text, len(self.codes))

    def finish(self) -> list[str] | None:
        """The classes, if the target is of texts."""
        self.array.finish()
        if not self.codes:
            return None
        labels = sorted(self.codes)
        classes = np.array(labels)
        if classes.tolist() != labels:
            raise TableError(f"the target {self.name!r} has texts that end in NUL; cut them off")
        place = np.empty(len(labels), np.int64)
        place[[self.codes[label] for label in labels]] = np.arange(len(labels))
        y = _Array(self.folder / TARGET, classes.dtype)
        codes = np.load(self.array.path, mmap_mode="r")
        for start in range(0, len(codes), BLOCK):
            y.append(classes[place[codes[start : start + BLOCK]]])
        y.finish()
        del codes
        self.array.path.unlink()
        return labels


def _is_number(kind: Any) -> bool:
    import pyarrow.types as is_

    return bool(is_.is_integer(kind) or is_.is_floating(kind) or is_.is_boolean(kind))


def _check_numbers(table: Any, names: list[str]) -> None:
    import pyarrow as pa

    kinds = {name: table.schema.field(name).type for name in names}
    wrong = [f"{n!r} ({k})" for n, k in kinds.items() if not _is_number(k) and k != pa.null()]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise TableError(
            f"not of numbers: {', '.join(wrong[:5])}{more}. Name the columns to keep with "
            "columns=, or turn these into numbers first"
        )


def _numbers(column: Any, name: str, kind: np.dtype[Any], done: int) -> Array:
    """A column in X's dtype."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(column.type) or pa.types.is_null(column.type):
        column = pc.cast(column, pa.uint8())
    values = column.to_numpy()  # NaN where there is none
    with np.errstate(over="ignore"):
        narrow: Array = values.astype(kind, copy=False)
    over = np.isinf(narrow)
    if over.any() and (over := over & np.isfinite(values)).any():
        row = int(np.argmax(over))
        raise TableError(
            f"column {name!r}, row {done + row:,}: {values[row]} does not fit into {kind}; scale "
            "the column, or pass dtype='float64'"
        )
    return narrow


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TableError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write, which takes its place when all is in it and on the disk, or never."""
    whole = whole_folder(folder)
    with _writing(folder):
        unfinished = whole.__enter__()
    try:
        yield unfinished
    except BaseException as error:
        whole.__exit__(type(error), error, error.__traceback__)
        raise
    with _writing(folder):
        whole.__exit__(None, None, None)


def _about(folder: Path, force: bool) -> dict[str, Any] | None:
    """What a folder says of itself; None if there is none, or nothing in it."""
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise TableError(f"{folder} is a file; name a new folder")
    inside = {each.name for each in folder.iterdir()}
    strange = sorted(inside - {FEATURES, TARGET, ABOUT})
    if strange:
        raise TableError(f"{folder} holds something else, such as {strange[0]}; name a new folder")
    if not inside:
        return None
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if (about["format"], about["version"]) == (FORMAT, VERSION):
            return dict(about)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if force:
        return None
    raise _damaged(folder, f"its {ABOUT} cannot be read")


def _damaged(folder: Path, what: str) -> TableError:
    return TableError(f"{folder} is damaged: {what}; force=True makes it anew")


def _compare(folder: Path, about: dict[str, Any], made: dict[str, Any]) -> None:
    """Raise unless what is there was made from the same files in the same way."""
    for name, value in made["asked"].items():
        if about["asked"].get(name) != value:
            was = about["asked"].get(name)
            raise TableError(
                f"{folder} was made with {name}={was!r}, not {value!r}; force=True makes it anew, "
                "or name another folder"
            )
    if made["source"] is None:
        raise TableError(
            f"{folder} is there, and what is handed over in chunks cannot be compared with it; "
            "force=True makes it anew, source=None opens it"
        )
    if about["source"] != made["source"]:
        was, now = ({tuple(file) for file in one["source"] or []} for one in (about, made))
        other = sorted(path for path, *_ in was ^ now) or ["the order of the files"]
        raise TableError(
            f"{folder} was made from other files: {other[0]} is new, gone or changed; force=True "
            "makes it anew, source=None opens it as it is"
        )


def _mapped(folder: Path, about: dict[str, Any]) -> MappedTable:
    try:
        X = np.load(folder / FEATURES, mmap_mode="r")
        y = None if about["asked"]["target"] is None else np.load(folder / TARGET, mmap_mode="r")
        shapes = X.shape, None if y is None else y.shape
        n, names, labels = about["rows"], about["columns"], about["classes"]
        if shapes != ((n, len(names)), None if y is None else (n,)):
            raise ValueError("its arrays are of another size")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, str(error)) from error
    return MappedTable(X, y, names, None if labels is None else np.array(labels))
