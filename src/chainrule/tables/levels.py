"""Levels of a category: one text for each value, whatever type the value comes in.

`1`, `1.0` and `Decimal("1.00")` are the same level; so are `True` and `"true"` in a column of truth
values. Training, predicting and exports all take a level from :func:`level`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chainrule.tables.dtypes import simple
from chainrule.tables.spellings import MARKS, MISSING

if TYPE_CHECKING:
    import pandas as pd

LEVEL_TYPES = ("boolean", "number", "date", "text")


class UnseenLevelWarning(UserWarning):
    """Categories have levels that training did not have; they count as none of those known."""


_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:Z|[+-]\d{2}:?\d{2})?)?",
    re.ASCII,
)
_TRUTHS = {"true": "true", "false": "false", "1": "true", "0": "false"}
_LONGEST = 400  # digits of a decimal; those of every float64 are fewer


def no_value(type: str, missing_texts: Sequence[str] | None = None) -> tuple[str, ...]:
    """The texts that say, beside an empty one, that there is no level.

    Parameters
    ----------
    type : one of LEVEL_TYPES
    missing_texts : sequence of str or None, default None
        What the user said; None: NA, null, ? and the like, but in a column of texts no text.
    """
    if missing_texts is not None:
        return tuple(text for text in missing_texts if text)
    return () if type == "text" else tuple(text for text in (*MISSING, *MARKS) if text)


def level(value: Any, type: str = "text", missing_texts: Sequence[str] | None = None) -> str | None:
    """The level that a value is.

    A text is taken without blanks around it and in Unicode's form NFC. A whole number is its
    decimal digits, whatever type holds it; another number is the shortest digits that read back
    the same, without an exponent; a decimal that no float64 holds keeps all of its digits. A date
    is `2024-01-31`, or `2024-01-31 13:05:07.25` in UTC if it has a time of day. A truth value is
    `true` or `false`.

    Parameters
    ----------
    value : anything
    type : one of LEVEL_TYPES, default "text"
        What the column held in training. Of a column of truth values, 1, 0 and their spellings are
        levels too; of numbers, texts that spell one; of dates, ISO texts.
    missing_texts : sequence of str or None, default None
        See :func:`no_value`.

    Returns
    -------
    str or None
        None: the value is missing.

    Examples
    --------
    >>> level(2.0), level(" Köln "), level("1.0", "boolean"), level("007", "number")
    ('2', 'Köln', 'true', '7')
    """
    if isinstance(value, str):
        text = unicodedata.normalize("NFC", value.strip())
        if not text or text in no_value(type, missing_texts):
            return None
    elif _is_missing(value):
        return None
    else:
        text = _plain(value)
    if type == "boolean":
        return _TRUTHS.get(_number(text.casefold()), text)
    if type == "number":
        number = {"true": "1", "false": "0"}.get(text)
        return number or (text if isinstance(value, Decimal) else _number(text))
    if type == "date" and _DATE.fullmatch(text):
        try:
            return _moment(datetime.fromisoformat(text))
        except ValueError:
            return text
    return text


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating | Decimal | np.datetime64) and value != value


def _plain(value: Any) -> str:
    """A value that is no text, as a text."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        if not np.isfinite(value):
            return str(float(value))
        return str(int(value)) if value == int(value) else _shortest(value)
    if isinstance(value, Decimal):
        if not value.is_finite() or (value and abs(value.adjusted()) > _LONGEST):
            return str(value)
        exact = f"{value:f}"
        if value == value.to_integral_value():
            return _digits(exact.partition(".")[0])
        shortest = _shortest(float(value))
        return shortest if Decimal(shortest) == value else _fraction(exact)
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, date):
        return value.isoformat()
    return str(value)


def _fraction(text: str) -> str:
    """The digits of a number with a decimal point, without needless zeros and signs."""
    whole, _, part = text.partition(".")
    part = part.rstrip("0")
    return f"{_digits(whole)}.{part}" if part else _digits(whole)


def _shortest(number: Any) -> str:
    return str(np.format_float_positional(number, trim="-"))


def _number(text: str) -> str:
    """The digits of the number that a text spells; the text, if it spells none."""
    if not _NUMBER.fullmatch(text):
        return text
    if text.lstrip("+-").isdigit():
        return _digits(text)
    number = float(text)  # a float64 is what was written with a point or an exponent
    return _plain(number) if np.isfinite(number) else text


def _digits(text: str) -> str:
    """A whole number without needless signs."""
    digits = text.lstrip("+-").lstrip("0") or "0"
    return f"-{digits}" if text.startswith("-") and digits != "0" else digits


def _moment(moment: datetime) -> str:
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    day, _, clock = moment.isoformat(sep=" ").partition(" ")
    if clock == "00:00:00":
        return day
    return f"{day} {clock.rstrip('0').rstrip('.') if '.' in clock else clock}"


def level_type(column: pd.Series, missing_texts: Sequence[str] | None = None) -> str:
    """What a category's values are, one of LEVEL_TYPES.

    Parameters
    ----------
    column : pandas.Series of shape (n,)
    missing_texts : sequence of str or None, default None
        See :func:`no_value`.
    """
    import pandas.api.types as is_

    from chainrule.tables.columns import present, spelled_as

    column = simple(column, exact=True)
    if str(column.dtype) == "category":
        column = column.cat.categories.to_series()
    column = column.infer_objects()
    if is_.is_bool_dtype(column.dtype):
        return "boolean"
    if is_.is_datetime64_any_dtype(column.dtype):
        return "date"
    there = present(column)
    kinds = set(map(type, there)) if is_.is_object_dtype(column.dtype) else set()
    if is_.is_numeric_dtype(column.dtype) or (kinds and kinds <= {int, float, Decimal}):
        return "number"
    spelled = spelled_as(there, missing_texts=missing_texts) if len(there) else None
    return "boolean" if spelled is not None and spelled.type == "boolean" else "text"


def as_levels(
    column: pd.Series,
    type: str,
    missing: str,
    known: Collection[str] | None = None,
    missing_texts: Sequence[str] | None = None,
) -> NDArray[Any]:
    """A column as levels.

    Parameters
    ----------
    column : pandas.Series of shape (n,)
    type : one of LEVEL_TYPES
        See :func:`level_type`.
    missing : str
        What stands for a missing or empty value.
    known : collection of str or None, default None
        The levels of training. A number, date or truth value that comes where these are texts is
        the one of them that spells it.
    missing_texts : sequence of str or None, default None
        See :func:`no_value`.

    Returns
    -------
    (n,) object array of str

    Raises
    ------
    ValueError
        The column is of a type that has no kind.
    """
    codes, found = _coded(column, type, missing, known, missing_texts)
    levels: NDArray[Any] = np.array([*found, missing], dtype=object)[codes]
    return levels


def as_category(
    column: pd.Series,
    type: str,
    missing: str,
    known: Collection[str] | None = None,
    missing_texts: Sequence[str] | None = None,
) -> pd.Categorical:
    """What :func:`as_levels` gives, as a category of the levels that are there, sorted."""
    import pandas as pd

    codes, found = _coded(column, type, missing, known, missing_texts)
    there = sorted({*found, missing} if (codes < 0).any() else set(found))
    place = {level: i for i, level in enumerate(there)}
    of_value = np.array([*(place[level] for level in found), place.get(missing, -1)])
    levels = pd.CategoricalDtype(pd.Index(there))
    return pd.Categorical.from_codes(of_value[codes], dtype=levels)


def _coded(
    column: pd.Series,
    type: str,
    missing: str,
    known: Collection[str] | None,
    missing_texts: Sequence[str] | None,
) -> tuple[NDArray[Any], list[str]]:
    """The number of each cell's value, -1 for none, and the level of each value."""
    import pandas as pd

    codes, values = pd.factorize(simple(column, exact=True))
    found = []
    for value in values:
        text = level(value, type, missing_texts)
        if type == "number" and known is not None and text is not None and text not in known:
            text = _exactly(value, known) or text
        if text is None:
            text = missing
        elif known is not None and type == "text" and text not in known:
            text = text if isinstance(value, str) else _spelled(text, known)
        found.append(text)
    return codes, found


def _exactly(value: Any, known: Collection[str]) -> str | None:
    """The known level that a text spells digit by digit, where a float64 holds fewer digits."""
    if not isinstance(value, str) or not re.fullmatch(r"[+-]?[0-9]+\.[0-9]+", value.strip()):
        return None
    text = _fraction(value.strip())
    return text if text in known else None


def _spelled(text: str, known: Collection[str]) -> str:
    """The one known text that spells this value, or the value's own."""
    same = [each for each in known if text in {level(each, t) for t in LEVEL_TYPES[:3]}]
    return same[0] if len(same) == 1 else text


def unseen(levels: pd.Categorical, known: Collection[str]) -> Counter[str]:
    """How many rows hold each level that training did not have, in the order in which they come.

    Parameters
    ----------
    levels : pandas.Categorical of length n
        Without missing values, as :func:`as_category` gives it.
    known : collection of str
    """
    counts = np.bincount(levels.codes, minlength=len(levels.categories)).tolist()
    categories = levels.categories.tolist()
    new = {code for code, n in enumerate(counts) if n and categories[code] not in known}
    if not new:
        return Counter()
    codes, first = np.unique(levels.codes, return_index=True)
    ordered = codes[np.argsort(first)].tolist()
    return Counter({categories[code]: counts[code] for code in ordered if code in new})


def unseen_in_words(column: str, counts: Counter[str], known: Collection[str], missing: str) -> str:
    """A message about levels of a column that training did not have.

    Parameters
    ----------
    column : str
    counts : collections.Counter
        As :func:`unseen` gives it.
    known : collection of str
    missing : str
        The level that stands for a missing value.
    """
    counts = counts.copy()
    empty = counts.pop(missing, 0)
    said = []
    if counts:
        shown = [_in_words(each, n, known) for each, n in counts.most_common(5)]
        more = f" and {len(counts) - 5:,} more" if len(counts) > 5 else ""
        said.append(
            f"{_rows(sum(counts.values()))} with levels never seen in training, which count as "
            f"none of those known: {', '.join(shown)}{more}"
        )
    if empty:
        said.append(f"{_rows(empty)} without a value, which no row in training was")
    return f"column {column!r}: {'; '.join(said)}"


def _in_words(level: str, rows: int, known: Collection[str]) -> str:
    near = nearly(level, known)
    but = "" if near is None else f", differs from {near[0]!r} only in {near[1]}"
    shown = re.sub(" {2,}", lambda blanks: "\u2423" * len(blanks[0]), level[:60])
    return f"{shown!r} ({rows:,}{but})"


def _rows(n: int) -> str:
    return f"{n:,} row{'s' * (n != 1)}"


def nearly(text: str, known: Collection[str]) -> tuple[str, str] | None:
    """The known level that a text is but for case, blanks or Unicode form; and in what they differ.

    Parameters
    ----------
    text : str
    known : collection of str

    Returns
    -------
    (str, str) or None
        The level, and such as "upper and lower case".
    """
    steps = (
        ("blanks", _without_blanks),
        ("upper and lower case", str.casefold),
        ("Unicode form", _compatible),
        ("case, blanks or Unicode form", lambda t: _without_blanks(_compatible(t).casefold())),
    )
    for what, fold in steps:
        for each in known:
            if fold(each) == fold(text):
                return each, what
    return None


def _without_blanks(text: str) -> str:
    """Without blanks, and without signs that take no space, such as soft hyphens."""
    return "".join(c for c in text if not c.isspace() and unicodedata.category(c) != "Cf")


def _compatible(text: str) -> str:
    return unicodedata.normalize("NFKC", text)
