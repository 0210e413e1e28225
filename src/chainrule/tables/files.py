"""Files that hold tables: found, opened, unpacked, recognised by their content."""

from __future__ import annotations

import glob
import os
import re
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from chainrule.tables.types import TableError

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

# (bytes at the start, where they stand, the format)
_MAGIC = (
    (b"PAR1", 0, "parquet"),
    (b"ARROW1", 0, "arrow"),
    (b"\xff\xff\xff\xff", 0, "arrow stream"),
    (b"FEA1", 0, "old feather"),
    (b"SQLite format 3\x00", 0, "sqlite"),
    (b"DUCK", 8, "duckdb"),
    (b"PK\x03\x04", 0, "zip"),
    (b"\xd0\xcf\x11\xe0", 0, "old Office"),
    (b"%PDF", 0, "PDF"),
    (b"\x7fELF", 0, "program"),
    (b"\x89PNG", 0, "picture"),
    (b"\xff\xd8\xff", 0, "picture"),
    (b"\x89HDF", 0, "HDF5"),
    (b"\x80\x04\x95", 0, "pickle"),
)
_REFUSED = {
    "old feather": "is Feather of version 1; write it as version 2 or as Parquet",
    "zip": "is a zip archive or an Excel workbook; unpack it, or save the sheet as CSV",
    "old Office": "is an Office document; save the sheet as CSV",
    "pickle": "is a pickle, which can run code when read; write the table as CSV or Parquet",
}
_PACKED = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
)
_SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "arrow",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".jsonl": "json lines",
    ".ndjson": "json lines",
    ".json": "json lines",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
    ".db": "sqlite",
    ".duckdb": "duckdb",
}
_PART = re.compile(r"([^=]+)=(.*)")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
# Text hardly ever shrinks more than this; a small file made to fill a memory does.
_MOST_UNPACKED = 1 << 26
_MOST_RATIO = 200


@dataclass
class TableFile:
    """One file of a table.

    Attributes
    ----------
    name : str
        As the user wrote it; "standard input" for "-".
    path : Path
        Where its bytes can be read, again and again.
    format : str
        "csv", "json lines", "parquet", "arrow", "arrow stream", "sqlite" or "duckdb".
    packed : str or None
        "gzip", "zstd", "bz2" or "xz".
    parts : dict of str to (str or None)
        What the folders above it say of all its rows: of `year=2024/city=Rome/rows.parquet` the
        year and the city.
    """

    name: str
    path: Path
    format: str
    packed: str | None = None
    parts: dict[str, str | None] = field(default_factory=dict)

    def open(self) -> Any:
        """Its bytes, unpacked."""
        return _Unpacked(self) if self.packed else open(self.path, "rb")


class Files:
    """The files of a source, in order; a context manager, since what is piped in is kept meanwhile.

    Parameters
    ----------
    source : str, path, or a list of them
        A file, a folder (all its files, also in folders such as `year=2024`), a pattern such as
        `data/*.csv`, or "-".
    """

    def __init__(self, source: Source) -> None:
        self._kept: list[Path] = []
        try:
            self.files = [self._look(name, path) for name, path in _find(source)]
            first = self.files[0]
            for other in self.files[1:]:
                if other.format != first.format:
                    raise TableError(
                        f"{other.name} is {_a(other.format)} but {first.name} is "
                        f"{_a(first.format)}; the files of one table must be of one format"
                    )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> list[TableFile]:
        return self.files

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Delete what was kept."""
        for path in self._kept:
            path.unlink(missing_ok=True)

    def _look(self, name: str, path: Path | None) -> TableFile:
        if path is None:
            path, name = self._keep(sys.stdin.buffer, "standard input"), "standard input"
        else:
            try:
                mode = path.stat().st_mode
                if stat.S_ISFIFO(mode):
                    path = self._keep_pipe(path, name)
                elif not stat.S_ISREG(mode):
                    raise TableError(f"{name} is not a file that can be read")
            except OSError as error:
                raise unreadable(name, error) from error
        file = TableFile(name, path, "csv", parts=_parts(name))
        head = _head(file)
        if not head:
            raise TableError(f"{name} is empty; a table starts with a line of column names")
        for magic, packed in _PACKED:
            if head.startswith(magic):
                file.packed = packed
                head = _head(file)
                break
        file.format = _format(file, head)
        return file

    def _keep(self, stream: Any, name: str, start: bytes = b"") -> Path:
        """Copy what can be read only once to a file, which has no size limit but the disk's."""
        handle, kept = tempfile.mkstemp(prefix="chainrule-")
        self._kept.append(Path(kept))
        try:
            with open(handle, "wb") as file:
                file.write(start)
                shutil.copyfileobj(stream, file, 1 << 20)
        except OSError as error:
            raise unreadable(name, error) from error
        return Path(kept)

    def _keep_pipe(self, path: Path, name: str) -> Path:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # else it waits for a writer, for ever
        with open(handle, "rb", buffering=0) as pipe:
            start = b""
            try:
                start = os.read(handle, 1)
                if not start:
                    raise TableError(f"{name} is a pipe that nothing writes to; pipe the data to -")
            except BlockingIOError:
                pass  # another process will write
            os.set_blocking(handle, True)
            return self._keep(pipe, name, start)


def is_read_once(source: Source) -> bool:
    """Whether a source cannot be read a second time: standard input, or a pipe."""
    return any(path is None or path.is_fifo() for _, path in _find(source))


def _find(source: Source) -> list[tuple[str, Path | None]]:
    """(as written, where) of each file; (… , None) for standard input."""
    if not isinstance(source, str | os.PathLike):
        listed = [each for part in source for each in _find(part)]
        if not listed:
            raise TableError("there is no file in an empty list")
        return listed
    name = os.fspath(source)
    if "\0" in name:
        raise TableError(f"{name!r} is not the name of a file")
    if name == "-":
        return [(name, None)]
    path = Path(name)
    try:
        if path.is_dir():
            return _inside(path, name)
        os.stat(path)
    except FileNotFoundError as error:
        if glob.has_magic(name):
            matched = sorted((Path(each) for each in glob.glob(name, recursive=True)), key=_natural)
            found: list[tuple[str, Path | None]] = []
            for each in matched:
                if each.name.startswith("_") and not Path(name).name.startswith("_"):
                    continue  # such as _SUCCESS, as in a folder
                if not each.is_dir():
                    found.append((str(each), each))
                elif _PART.match(each.name):
                    found += _inside(each, str(each))
            if not found:
                raise TableError(f"no file matches {name}") from error
            return list(dict.fromkeys(found))
        raise TableError(f"{name} does not exist") from error
    except OSError as error:
        raise unreadable(name, error) from error
    return [(name, path)]


def _inside(folder: Path, name: str) -> list[tuple[str, Path | None]]:
    """The files in a folder, and those in its folders `year=2024`."""
    inside = sorted(folder.iterdir(), key=_natural)
    inside = [each for each in inside if not each.name.startswith((".", "_"))]
    if not inside:
        raise TableError(f"the folder {name} holds no file")
    found: list[tuple[str, Path | None]] = []
    for each in inside:
        if not each.is_dir():
            found.append((str(each), each))
        elif _PART.match(each.name):
            found += _inside(each, str(each))
        else:
            raise TableError(
                f"the folder {name} holds another folder, {each.name}; name the files with a "
                f"pattern such as '{name}/*/*'. (A folder whose name says what its rows have in "
                "common is named like year=2024)"
            )
    return found


def _parts(name: str) -> dict[str, str | None]:
    """What the folders right above a file say: name=value, as Spark, Dask and Arrow write them."""
    parts: dict[str, str | None] = {}
    for folder in reversed(Path(name).parts[:-1]):
        match = _PART.match(folder)
        if match is None:
            break
        key, value = unquote(match[1]), unquote(match[2])
        if key in parts:
            raise TableError(f"{name}: two of its folders give a value for {key!r}; rename one")
        parts[key] = None if value in ("", _NO_VALUE) else value
    return dict(reversed(parts.items()))


def _natural(path: Path) -> list[Any]:
    """Part 2 before part 10."""
    parts = re.split(r"(\d+)", str(path))
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def unreadable(name: str, error: OSError) -> TableError:
    """That the machine does not let the file be read, and why."""
    return TableError(f"{name} cannot be read: {error.strerror or error}")


def _head(file: TableFile) -> bytes:
    try:
        with file.open() as stream:
            return bytes(stream.read(4096))
    except OSError as error:
        raise unreadable(file.name, error) from error


def _a(format: str) -> str:
    return {"csv": "CSV", "json lines": "JSON lines", "sqlite": "an SQLite file"}.get(
        format, format.capitalize()
    )


def _format(file: TableFile, head: bytes) -> str:
    """By its first bytes; its suffix is only used in error messages."""
    for magic, where, found in _MAGIC:
        if head[where:].startswith(magic):
            if found in ("parquet", "arrow", "arrow stream", "sqlite", "duckdb"):
                if file.packed:
                    raise TableError(f"{file.name} is {found} packed with {file.packed}; unpack it")
                return found
            what = _REFUSED.get(found, f"is no table but a {found}")
            raise TableError(f"{file.name} {what}")
    suffixes = [each.lower() for each in Path(file.name).suffixes]
    claimed = next((_SUFFIXES[each] for each in reversed(suffixes) if each in _SUFFIXES), None)
    if claimed not in (None, "json lines"):
        raise TableError(
            f"{file.name} is named like {_a(str(claimed))} but does not hold it: it is damaged, or "
            "of another format"
        )
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"<") and re.match(rb"(?i)<(!doctype|html|\?xml)", start):
        raise TableError(f"{file.name} is a web page or XML, not a table; was the download right?")
    if start.startswith(b"["):
        if claimed or re.match(rb"\[\s*[\[{]", start):
            raise TableError(
                f"{file.name} holds one JSON array; write JSON lines, one object to a line"
            )
    elif claimed or re.match(rb"\{\s*(\"|\})", start):
        return "json lines"
    return "csv"


class _Unpacked:
    """A packed file's content; errors are ours, and a bomb does not go off."""

    def __init__(self, file: TableFile) -> None:
        self._name, self._packed = file.name, file.packed
        self._size = file.path.stat().st_size
        self._read = 0
        self._stream = self._open(file)

    def _open(self, file: TableFile) -> Any:
        if file.packed == "gzip":
            import gzip

            return gzip.open(file.path)
        if file.packed == "bz2":
            import bz2

            return bz2.open(file.path)
        if file.packed == "xz":
            import lzma

            return lzma.open(file.path)
        import pyarrow as pa

        return pa.CompressedInputStream(pa.OSFile(str(file.path), "rb"), "zstd")

    def read(self, size: int = -1) -> bytes:
        try:
            got: bytes = self._stream.read(size)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise unreadable(self._name, error) from error
            raise self._damaged() from error
        except Exception as error:
            if type(error).__name__ not in ("LZMAError", "ArrowInvalid"):
                raise
            raise self._damaged() from error
        self._read += len(got)
        if self._read > max(_MOST_UNPACKED, _MOST_RATIO * self._size):
            raise TableError(
                f"{self._name} unpacks to more than {_MOST_RATIO} times its size; if that is as it "
                "should be, unpack it first"
            )
        return got

    def _damaged(self) -> TableError:
        return TableError(
            f"{self._name} is damaged or cut short: its {self._packed} content breaks off; copy "
            "or download it again"
        )

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        self._stream.close()
