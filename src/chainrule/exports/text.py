"""What the exported languages share: numbers in full, names that cannot be taken for code."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from chainrule.exports.steps import ExportError, plain

WIDTH = 96
LITERAL = 2000  # Python takes long, and much memory, to read more numbers than this in one list


def numbers(values: Any, dtype: str = "float64") -> list[str]:
    """Of each number the shortest digits that give back the same number of that dtype."""
    if dtype == "float64":
        return list(map(repr, np.asarray(values, np.float64).ravel().tolist()))
    return list(map(str, np.asarray(values, np.float32).ravel()))


def number(x: Any, dtype: str = "float64") -> str:
    """The same of one number."""
    return numbers([x], dtype)[0]


def packed(values: Any, dtype: str) -> str:
    """Numbers, little-endian, in base 64 and in lines."""
    data = np.asarray(values).astype("<f4" if dtype == "float32" else "<f8").tobytes()
    return base64.encodebytes(data).decode()


def text_of_number(x: float) -> str:
    """A number in a formula: without a point if it is whole."""
    return str(int(x)) if x == int(x) and abs(x) < 2**31 else f"({x!r})" if x < 0 else repr(x)


def wrapped(items: Iterable[str], indent: str = "    ", width: int = WIDTH) -> str:
    """Items with commas between, in lines."""
    lines, line = [], ""
    for item in items:
        if line and len(indent) + len(line) + len(item) + 2 > width:
            lines.append(indent + line.rstrip())
            line = ""
        line += item + ", "
    lines.append(indent + line.rstrip(", "))
    return "\n".join(lines)


def identifier(text: str) -> str:
    """A name that C takes, from any text."""
    name = plain(text)
    return name if name and not name[0].isdigit() else f"model_{name}".rstrip("_")


def c_string(text: str) -> str:
    """A C string literal, UTF-8; whatever is no plain character is written in octal."""
    plain = set(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _.,:;-+()[]=/<>")
    data = _utf8(text)
    if 0 in data:
        raise ExportError(f"{text!r} holds a zero character, which a C string cannot")
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in data) + '"'


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise ExportError(f"{text!r} is no valid Unicode") from None


def js_value(value: Any) -> str:
    """A JavaScript literal; nothing in it can end a script element either."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def check_whole(labels: list[Any], bits: int, language: str) -> None:
    """Refuse whole numbers that the language's own cannot hold."""
    for label in labels:
        if isinstance(label, int) and abs(label) >= 2**bits:
            raise ExportError(
                f"the class label {label} is too large for {language}; use texts as labels"
            )
