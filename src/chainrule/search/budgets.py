"""Durations as people write them: "90s", "5m", "1h30m"."""

from __future__ import annotations

import math
import re

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(given: float | str) -> float:
    """The seconds of a duration.

    Parameters
    ----------
    given : float or str
        A number is seconds.

    Raises
    ------
    ValueError
        It is no duration, or not above 0.

    Examples
    --------
    >>> seconds_of("1h30m"), seconds_of("2.5 min"), seconds_of(40)
    (5400.0, 150.0, 40.0)
    """
    text = str(given).strip().lower()
    number = r"(\d+(?:\.\d*)?|\.\d+)"
    unit = r"(seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)"
    if re.fullmatch(number, text):
        found = float(text)
    elif re.fullmatch(rf"(?:{number}\s*{unit}\s*)+", text):
        parts = re.findall(rf"{number}\s*{unit}", text)
        found = sum(float(value) * UNITS[name[0]] for value, name in parts)
    else:
        found = 0.0
    if not 0 < found < math.inf:
        raise ValueError(
            f"the budget is a duration above 0, such as 90s, 5m or 1h30m; got {str(given)!r}"
        )
    return found


def in_words(seconds: float) -> str:
    """A duration in print, such as "4.2 s" or "3 min 20 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest if not hours else 0, "s")]
    return " ".join(f"{n} {unit}" for n, unit in parts if n)
