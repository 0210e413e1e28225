"""The container of a model file: a ZIP of stored members, laid out in one way only.

Any tool opens it, but it is read more strictly than a ZIP has to be: the names are known
beforehand, nothing is compressed, encrypted, doubled, appended or left between the members, so
that each byte of a file that is read has been checked: those of the members by the list of
SHA-256 sums that is the last of them, all others by laying the container out anew.
"""

from __future__ import annotations

import binascii
import errno
import hashlib
import json
import os
import stat
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from chainrule.base.whole_files import whole_file

SUMS = "SHA256SUMS"
MAX_BYTES = 1 << 31  # of a model file; more would need another kind of ZIP from 4 GiB on

LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s6H3L5H2L")
END = struct.Struct("<4s4H2LH")
LONGEST_NAME = 64
LONGEST = 1_000  # signs of an error message


class ModelFileError(ValueError):
    """A model cannot be written to a file, or a file holds no model that can be read.

    The message names the file or the part of the model at fault, and says what to do. What comes
    from a file is shown without signs that could control a terminal, and cut if it is long.
    """

    def __init__(self, message: str = "") -> None:
        shown = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in message)
        super().__init__(shown if len(shown) <= LONGEST else f"{shown[:LONGEST]} …")


def sums_of(members: Mapping[str, bytes]) -> bytes:
    """The members' SHA-256 sums, as ``sha256sum --check`` reads them."""
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in members.items()]
    return "".join(lines).encode("ascii")


def frame_of(
    entries: list[tuple[str, int, int]],
) -> tuple[list[bytes], list[int], bytes]:
    """All of a container but its members' content.

    Parameters
    ----------
    entries : list of (name, size, CRC-32)

    Returns
    -------
    heads : list of bytes
        What stands before each member.
    starts : list of int
        Where that begins.
    tail : bytes
        What stands after the last member.
    """
    heads, starts, central, at = [], [], b"", 0
    for name, size, crc in entries:
        raw = name.encode("ascii")
        # 20: ZIP 2.0. 0, 0x21: midnight on 1 January 1980, the earliest there is.
        known = (0, 0, 0, 0x21, crc, size, size, len(raw), 0)
        head = LOCAL.pack(b"PK\3\4", 20, *known) + raw
        rights = (stat.S_IFREG | 0o644) << 16
        central += CENTRAL.pack(b"PK\1\2", 3 << 8 | 20, 20, *known, 0, 0, 0, rights, at) + raw
        heads.append(head)
        starts.append(at)
        at += len(head) + size
    n = len(entries)
    return heads, starts, central + END.pack(b"PK\5\6", 0, 0, n, n, len(central), at, 0)


def write_container(file: IO[bytes], members: Mapping[str, bytes]) -> None:
    """Write members, in their order.

    Parameters
    ----------
    file : binary file
    members : dict of str to bytes
    """
    entries = [(name, len(data), binascii.crc32(data)) for name, data in members.items()]
    heads, starts, tail = frame_of(entries)
    if starts[-1] + entries[-1][1] + len(tail) > MAX_BYTES or len(entries) > 0xFFFE:
        raise ModelFileError(
            f"the model takes more than {MAX_BYTES >> 30} GiB or {0xFFFE:,} parts; a model file "
            "holds no more"
        )
    for head, data in zip(heads, members.values(), strict=True):
        file.write(head)
        file.write(data)
    file.write(tail)


def read_frame(file: IO[bytes], most: int) -> list[tuple[str, int, int, int]]:
    """The members of a container; every byte outside of their content is checked.

    Parameters
    ----------
    file : binary file that can seek
    most : int
        Members that there may be.

    Returns
    -------
    list of (name, size, CRC-32, start)

    Raises
    ------
    ModelFileError
        It is laid out otherwise than :func:`write_container` does.
    """
    size = file.seek(0, os.SEEK_END)
    if size > MAX_BYTES:
        raise ModelFileError(f"it has {size:,} bytes; more than {MAX_BYTES:,} are not read")
    if size < END.size:
        raise ModelFileError("it is cut short")
    file.seek(size - END.size)
    mark, _, _, n, _, central_size, central_at, _ = END.unpack(file.read(END.size))
    if mark != b"PK\5\6" or central_at + central_size + END.size != size:
        raise ModelFileError("it is cut short, or something was added to it")
    if not 0 < n <= most or central_size > n * (CENTRAL.size + LONGEST_NAME):
        raise ModelFileError(f"it lists {n} members in {central_size:,} bytes")
    file.seek(central_at)
    central = file.read(central_size)
    entries, at = [], 0
    for _ in range(n):
        if at + CENTRAL.size > len(central):
            raise ModelFileError("its list of members is cut short")
        fields = CENTRAL.unpack_from(central, at)
        crc, length, name_length = fields[7], fields[9], fields[10]
        at += CENTRAL.size
        raw = central[at : at + name_length]
        at += name_length
        if len(raw) != name_length or not raw.isascii() or not raw or name_length > LONGEST_NAME:
            raise ModelFileError("its list of members holds a name that cannot be one")
        if fields[4]:  # the method
            raise ModelFileError("its members are compressed, which those of model files never are")
        entries.append((raw.decode("ascii"), length, crc))
    names = [name for name, _, _ in entries]
    if len(set(names)) != n:
        raise ModelFileError("two of its members have one name")
    heads, starts, tail = frame_of_checked(entries)
    if starts[-1] + len(heads[-1]) + entries[-1][1] + len(tail) != size:
        raise ModelFileError("the sizes of its members do not add up")
    file.seek(central_at)
    if file.read(len(tail) + 1) != tail:
        raise ModelFileError(
            "its list of members is damaged, or it was not written by chainrule: members must "
            "be stored, without compression, encryption, dates or comments"
        )
    for (name, _, _), head, start in zip(entries, heads, starts, strict=True):
        file.seek(start)
        if file.read(len(head)) != head:
            raise ModelFileError(f"what stands before {name} in it is damaged")
    return [
        (name, length, crc, start + len(head))
        for (name, length, crc), head, start in zip(entries, heads, starts, strict=True)
    ]


def frame_of_checked(
    entries: list[tuple[str, int, int]],
) -> tuple[list[bytes], list[int], bytes]:
    """As :func:`frame_of`, for sizes that came from a file."""
    try:
        return frame_of(entries)
    except struct.error:
        raise ModelFileError("the sizes of its members are impossible") from None


def read_content(file: IO[bytes], length: int, crc: int, start: int, name: str) -> bytes:
    """A member's content, compared with its CRC-32."""
    file.seek(start)
    data = file.read(length)
    if len(data) != length or binascii.crc32(data) != crc:
        raise ModelFileError(f"its member {name} is damaged (its checksum differs)")
    return data


def pack(members: Mapping[str, bytes], path: Path) -> None:
    """Write a model file: the members, and their sums as the last of them.

    Parameters
    ----------
    members : dict of str to bytes
    path : Path
        Replaced, when all is on the disk.
    """
    with whole_file(path) as file:
        write_container(file, {**members, SUMS: sums_of(members)})


@contextmanager
def unpacked(
    path: str | os.PathLike[str], limits: Mapping[str, int]
) -> Iterator[tuple[list[str], Callable[[str], bytes]]]:
    """Open a model file.

    Parameters
    ----------
    path : str or path
    limits : dict of str to int
        Names of the members that there may be, in their order, and how large each may be.

    Yields
    ------
    names : list of str
        Of the members there are, the list of sums left out.
    read : callable (name) -> bytes
        Reads one and compares it with its sum.

    Raises
    ------
    ModelFileError
        It is no model file, or damaged; the message says which, and names the file.
    OSError
        It cannot be read.
    """
    name = os.fspath(path)
    with _opened(path) as file:
        try:
            found = {entry[0]: entry for entry in read_frame(file, len(limits) + 1)}
            allowed = [one for one in (*limits, SUMS) if one in found]
            if list(found) != allowed or SUMS not in found:
                raise ModelFileError(f"its members are {', '.join(map(repr, found))}")
            names = allowed[:-1]
            for one, most in {**limits, SUMS: 90 * len(allowed)}.items():
                if one in found and found[one][1] > most:
                    raise ModelFileError(
                        f"its member {one} has {found[one][1]:,} bytes; more than {most:,} are "
                        "not read"
                    )
            listed = read_content(file, *found[SUMS][1:], SUMS).splitlines(keepends=True)
            if len(listed) != len(names):
                raise ModelFileError(f"its {SUMS} lists other members than it has")
        except ModelFileError as error:
            raise ModelFileError(f"{name} cannot be read as a model file: {error}") from None

        def read(one: str) -> bytes:
            try:
                data = read_content(file, *found[one][1:], one)
                if sums_of({one: data}) != listed[names.index(one)]:
                    raise ModelFileError(f"its member {one} is damaged (its SHA-256 sum differs)")
            except ModelFileError as error:
                raise ModelFileError(f"{name} cannot be read as a model file: {error}") from None
            return data

        yield names, read


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """The file, if it looks like one that could be a model file."""
    name = os.fspath(path)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "there is no such model file", name) from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no ordinary file"
        raise ModelFileError(f"{name} is {kind}; give the path of a model file")
    with open(path, "rb") as file:
        begin = file.read(4096)
        if not begin.startswith(b"PK\3\4"):
            raise ModelFileError(f"{name} is no model file: {_what(begin)}")
        yield file


def _what(begin: bytes) -> str:
    """In a few words, what a file that is no model file may be."""
    if not begin:
        return "it is empty"
    if begin[0] == 0x80 and begin[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return (
            "it looks like a pickle, which is not opened, because that can run anything; load it "
            "with pickle or joblib if you trust it, and write it with chainrule.save"
        )
    if begin.startswith(b"PAR1"):
        return "it is a Parquet file, a table"
    if begin.startswith(b"\x1f\x8b"):
        return "it is compressed with gzip"
    try:
        text = begin.decode("utf-8", "strict" if len(begin) < 4096 else "ignore")
    except UnicodeDecodeError:
        return "it does not begin as one"
    if all(sign.isprintable() or sign in "\t\r\n\ufeff" for sign in text):
        return "it is a text, perhaps a table"
    return "it does not begin as one"


def parsed(data: bytes, parts: int, signs: int) -> dict[str, Any]:
    """A JSON object from its text, if it cannot take much memory.

    Parameters
    ----------
    data : bytes
    parts, signs : int
        Lists and objects that there may be, and commas and colons: each takes some memory before
        anything can be judged.

    Raises
    ------
    ModelFileError, ValueError, RecursionError
        It is no JSON object, or too large, or a name stands in it twice.
    """
    if (data.count(b"{") + data.count(b"[")) > parts or (
        data.count(b",") + data.count(b":")
    ) > signs:
        raise ModelFileError(f"it has more than {parts:,} parts or {signs:,} values")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ModelFileError("a name stands in it twice")
        return found

    def refuse(word: str) -> None:
        raise ModelFileError(f"{word} is no number in JSON")

    tree = json.loads(data.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse)
    if not isinstance(tree, dict):
        raise ModelFileError("it is no object")
    return tree


def sum_of_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 sum of a file, as ``sha256sum`` prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
