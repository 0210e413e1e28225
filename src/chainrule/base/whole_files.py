"""Files that appear under their name when they are whole, or not at all.

Everything that chainrule writes as one file goes through :func:`whole_file`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# What lies there is a device or another process's; it is written to and never replaced.
SPECIAL_FOLDERS = ("/dev/", "/proc/")


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write that appears under its name when it is whole and on the disk.

    It is written beside its place, under a name that no other writer has: not another thread,
    nor a process with the same number in another container. If anything fails before the end, a
    file that was there stays as it was. What a killed writer left is removed by the next one.

    Parameters
    ----------
    path : str or path
        A link is followed. A device, a pipe or a socket is written to as it is.

    Yields
    ------
    binary file

    Raises
    ------
    OSError
        The file cannot be written: the path is a folder or a disk, the folder is not there or
        must not be written, the disk is full, the name is too long.
    """
    if is_special(path):
        with open(path, "wb") as special:
            yield special
        return
    target = Path(os.path.realpath(path))
    _remove_abandoned(target)
    file, part = _new_part(target)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:  # an open file cannot be renamed on Windows
                file.close()
            os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(target.parent)


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill that takes its place when all is in it and on the disk, or never.

    Parameters
    ----------
    folder : Path
        Replaced if it exists, and not a link.

    Yields
    ------
    Path
        The folder to fill.

    Raises
    ------
    OSError
        As :func:`whole_file`.
    """
    restore_folder(folder)
    file, part = _new_part(folder)
    new, old = part.with_suffix(".new"), part.with_suffix(".old")
    try:
        new.mkdir()
        yield new
        sync_folder(new)
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
        file.close()
        part.unlink(missing_ok=True)


def restore_folder(folder: Path) -> None:
    """Put a folder back that a killed writer had moved aside, and remove what it left."""
    _remove_abandoned(folder)


def is_special(path: str | os.PathLike[str]) -> bool:
    """Whether a path leads to something that must not be replaced: a device, a pipe, a socket.

    Raises
    ------
    OSError
        It is a folder or a whole disk, to which no file can be written, or its name is too long.
    """
    name = os.path.abspath(os.fspath(path))
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", os.fspath(path))
    if stat.S_ISBLK(mode):
        raise OSError(errno.EINVAL, "it is a disk", os.fspath(path))
    return not stat.S_ISREG(mode) or name.startswith(SPECIAL_FOLDERS)


def would_replace(path: str | os.PathLike[str]) -> bool:
    """Whether writing to a path replaces a file that is there."""
    return os.path.exists(path) and not is_special(path)


def check_writable(path: str | os.PathLike[str]) -> None:
    """See, before time is spent, that :func:`whole_file` can write to a path.

    Raises
    ------
    OSError
        As :func:`whole_file`; nothing is left behind.
    """
    if is_special(path):
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return
    target = Path(os.path.realpath(path))
    with contextlib.suppress(FileNotFoundError):
        target.lstat()  # a name that is too long is found here
    file, part = _new_part(target)
    file.close()
    part.unlink()


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, too."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def part_prefix(target: Path) -> str:
    """How the names of a target's unfinished files begin; short, however long its name is."""
    return f".chainrule-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}-"


def _new_part(target: Path) -> tuple[IO[bytes], Path]:
    """A new file beside the target, locked as long as it is open."""
    while True:
        part = target.with_name(f"{part_prefix(target)}{secrets.token_hex(8)}.part")
        file = open(part, "xb")  # noqa: SIM115 - closed by the caller
        try:
            with contextlib.suppress(OSError):
                os.chmod(part, stat.S_IMODE(target.stat().st_mode))
            if _lock(file, wait=True) and not _is_at(file, part):
                file.close()  # taken for abandoned before it was locked
                continue
        except BaseException:
            file.close()
            part.unlink(missing_ok=True)
            raise
        return file, part


def _remove_abandoned(target: Path) -> None:
    """Remove unfinished files whose writers are dead: those that no process has locked."""
    if fcntl is None:
        return
    for part in target.parent.glob(f"{part_prefix(target)}*.part"):
        with contextlib.suppress(OSError), open(part, "rb") as file:
            if _lock(file, wait=False):
                new, old = part.with_suffix(".new"), part.with_suffix(".old")
                if old.exists() and not target.exists():
                    old.rename(target)
                shutil.rmtree(new, ignore_errors=True)
                shutil.rmtree(old, ignore_errors=True)
                part.unlink(missing_ok=True)


def _lock(file: IO[bytes], wait: bool) -> bool:
    """Lock an open file against all others; the system unlocks it when its process ends."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # it is locked, or this file system has no locks
        return False
    return True


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
