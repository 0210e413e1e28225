"""What the exported languages share: numbers in full, names that cannot be taken for code."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from chainrule.exports.steps import ExportError, plain

WIDTH = 96


def number(x: Any, dtype: str = "float64") -> str:
    """The shortest digits that give back the same number of that dtype."""
    text = repr(np.dtype(dtype).type(x).item() if dtype == "float64" else _short(x))
    return text


def _short(x: Any) -> float:
    return float(str(np.float32(x)))  # as many digits as a float32 has


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
