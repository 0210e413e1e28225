"""What a table's columns are: numbers, categories, dates, texts; which task a target asks for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.tables.dtypes import simple
from chainrule.tables.spellings import MARKS
from chainrule.tables.types import ColumnType, Guess, convert

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("numeric", "categorical", "date", "text", "constant", "identifier")

_FEW = 20  # rows; with fewer, that all values differ says nothing
_ID_NAME = re.compile(
    r"(?i)^(?:column_1|unnamed: ?0|index|rownames?|__index_level_0__)$"
    r"|(?:^|[_\s.-])(?:id|uuid|key)$"
)

# A date of any kind: 1-2-24; 24. December 2024; 2024-W05-1.
_LIKE_DATES = (
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"
    r"|\b\d{1,2}\b\W*[^\W\d]{3,}\W.*\b(?:19|20)\d{2}\b"
    r"|\b[^\W\d]{3,}\W+\d{1,2}\b.*\b(?:19|20)\d{2}\b"
    r"|\b(?:19|20)\d{2}-?W\d{2}"
)
_LIKE_CLOCKS = r"\b\d{1,3}:[0-5]\d\b"


class Column(NamedTuple):
    """A column of a table.

    Attributes
    ----------
    name : str
    kind : one of KINDS
        "constant" and "identifier" columns hold no information about new rows; they are left out.
    missing, distinct : int
        How many cells are missing; how many values there are besides.
    note : str
        Why, or what is odd about it; "" if nothing is.
    """

    name: str
    kind: str
    missing: int
    distinct: int
    note: str


def kinds_of(
    frame: pd.DataFrame, target: str | None = None, missing_texts: Sequence[str] | None = None
) -> list[Column]:
    """Find what each column is.

    Parameters
    ----------
    frame : pandas.DataFrame
    target : str or None, default None
        A column that is left out of the result.
    missing_texts : sequence of str or None, default None
        The texts that say that a cell is missing; None: NA, null, ? and the like.

    Returns
    -------
    list of Column
        In the frame's order.

    Raises
    ------
    ValueError
        A column is of a type that has no kind, such as lists.
    """
    return [
        _column(str(name), simple(frame.iloc[:, i]).infer_objects(), missing_texts)
        for i, name in enumerate(frame.columns)
        if target is None or name != target
    ]


class Facts(NamedTuple):
    """What decides on the kind of a column.

    Attributes
    ----------
    name : str
    n, missing, distinct : int
        Cells that are there, and others; how many values there are.
    type : {"boolean", "date", "number", "category", "text"}
    only : anything
        A cell, if there is one.
    whole : bool
        Of numbers that hardly ever come twice: whether all are whole.
    counting : float
        Of these, in which part of the rows a number is 1 more than the one before.
    spelled : ColumnType or None
        Of texts: what all of them spell.
    texts : pandas.Series or None
        Some of the texts.
    """

    name: str
    n: int
    missing: int
    distinct: int
    type: str
    only: Any = None
    whole: bool = False
    counting: float = 0.0
    spelled: ColumnType | None = None
    texts: Any = None


def _column(name: str, cells: pd.Series, missing_texts: Sequence[str] | None) -> Column:
    there = present(cells)
    n, distinct = len(there), int(there.nunique())
    facts = Facts(name, n, len(cells) - n, distinct, cell_type(cells.dtype))
    if distinct <= 1:
        return kind_of(facts._replace(only=there.iloc[0] if n else None))
    if facts.type == "number" and may_name_rows(n, distinct):
        numbers = there.astype(float)
        whole, steps = bool((numbers % 1 == 0).all()), numbers.diff().iloc[1:]
        facts = facts._replace(whole=whole, counting=float((steps == 1).mean()))
    elif facts.type == "text":
        spelled = spelled_as(there, missing_texts=missing_texts)
        facts = facts._replace(spelled=spelled, texts=there.astype(str))
    return kind_of(facts)


def cell_type(dtype: Any) -> str:
    """What cells of this type are, as :class:`Facts` has it."""
    import pandas.api.types as is_

    if is_.is_bool_dtype(dtype):
        return "boolean"
    if is_.is_datetime64_any_dtype(dtype):
        return "date"
    if is_.is_numeric_dtype(dtype):
        return "number"
    return "category" if str(dtype) == "category" else "text"


def kind_of(facts: Facts) -> Column:
    """The column that has these facts."""
    if facts.distinct <= 1:
        note = f"always {shown(facts.only)}" if facts.distinct else "all missing"
        return Column(facts.name, "constant", facts.missing, facts.distinct, note)
    kind, note = {"date": "date"}.get(facts.type, "categorical"), ""
    if facts.type == "number":
        kind, note = _number_kind(facts)
    elif facts.type == "text":
        kind, note = _text_kind(facts)
    return Column(facts.name, kind, facts.missing, facts.distinct, note)


def present(cells: pd.Series) -> pd.Series:
    """The cells that are there; blank texts are not."""
    import pandas.api.types as is_

    there = cells.dropna()
    if is_.is_object_dtype(there.dtype) or is_.is_string_dtype(there.dtype):
        blank = there.astype(str).str.strip() == ""
        there = there[~blank.to_numpy(bool)]
    return there


def may_name_rows(n: int, distinct: int) -> bool:
    """Whether so many of the values differ that they may only number or name the rows."""
    return n >= _FEW and distinct >= 0.95 * n


def _number_kind(facts: Facts) -> tuple[str, str]:
    if not may_name_rows(facts.n, facts.distinct) or not facts.whole:
        return "numeric", ""
    if facts.counting >= 0.95:
        return "identifier", "counts the rows"
    if _ID_NAME.search(facts.name):
        return "identifier", "another whole number in nearly every row"
    return "numeric", ""


def _text_kind(facts: Facts) -> tuple[str, str]:
    spelling, n, distinct, values = facts.spelled, facts.n, facts.distinct, facts.texts
    if spelling is not None and spelling.type == "date":
        return "date", "written as text"
    if spelling is not None and spelling.type in ("integer", "number"):
        return "numeric", "written as text"
    if are_numbers(values.iloc[:: max(len(values) // 1000, 1)]).mean() > 0.5:
        return "categorical", "not all of its cells are numbers" if spelling is None else ""
    if distinct > max(_FEW, 0.5 * n) or distinct > 200:
        sample = values.iloc[:: max(len(values) // 2000, 1)]
        words = float(sample.str.count(r"\S+").mean())
        if words >= 4:
            return "text", f"{words:.0f} words on average"
        if distinct >= 0.98 * n and n >= _FEW:
            return "identifier", f"another value in {'nearly ' * (distinct < n)}every row"
    if distinct > 0.5 * n and n >= _FEW:
        return "categorical", "hardly any value comes twice"
    return "categorical", ""


def spelled_as(
    there: pd.Series, comma_seen: bool = False, missing_texts: Sequence[str] | None = None
) -> ColumnType | None:
    """What texts spell, if all of them spell a number, a date or true and false; else None.

    Parameters
    ----------
    there : pandas.Series of shape (n,)
        Texts.
    comma_seen : bool, default False
        Whether other columns have decimal commas, so that `1.234` is a thousand.
    missing_texts : sequence of str or None, default None
        The texts that say that a cell is missing; None: NA, null, ? and the like.
    """
    import pyarrow as pa

    sample = there.iloc[:: max(len(there) // 1000, 1)]
    for cells in (sample, there):  # most are settled by a few
        guess = Guess(says_missing=missing_texts)
        guess.update(pa.array(cells.astype(str).tolist(), pa.string()))
        found = guess.result(comma_first=False, comma_seen=comma_seen)
        if found.type == "text":
            return None
    return found


def are_numbers(texts: pd.Series) -> pd.Series:
    """Which texts are numbers as one writes them: 12, -1.5, 3,5 or 1e6, but not 007."""
    number = texts.str.fullmatch(r"\s*[+-]?(?:[1-9]\d*|0)?(?:[.,]\d+)?(?:[eE][+-]?\d+)?\s*")
    return number & texts.str.contains(r"\d")


def marks_in(cells: pd.Series) -> Counter[str]:
    """How often each of MARKS comes among texts that spell numbers or dates."""
    import pandas.api.types as is_

    if not (is_.is_object_dtype(cells.dtype) or is_.is_string_dtype(cells.dtype)):
        return Counter()
    texts = present(cells).astype(str).str.strip()
    return Counter(texts[texts.isin(MARKS)].tolist())


def remarks(
    frame: pd.DataFrame, columns: Sequence[Column], marks: Mapping[str, Counter[str]]
) -> list[tuple[str, str, str]]:
    """(column, what, advice) where what was made of a column's cells could surprise.

    Parameters
    ----------
    frame : pandas.DataFrame
    columns : list of Column
        Of this frame.
    marks : dict of str to collections.Counter
        By column, the texts that the reader took for missing, and how often.
    """
    found = []
    for column in columns:
        cells = frame[column.name]
        counts = marks.get(column.name)
        if not counts and column.kind in ("numeric", "date"):
            counts = marks_in(cells)
        if counts:
            shown_marks = ", ".join(f"{text!r} ({n:,})" for text, n in counts.items())
            advice = "if they are none, list the texts that are missing with --missing"
            found.append((column.name, f"cells were taken for missing: {shown_marks}", advice))
        elif column.kind in ("categorical", "identifier", "text") and column.note != "as given":
            found += [(column.name, *each) for each in nearly_read(cells)]
    return found


def nearly_read(cells: pd.Series) -> list[tuple[str, str]]:
    """Why a column of texts is not read as numbers or dates, where that seems to be meant.

    Parameters
    ----------
    cells : pandas.Series of shape (n,)

    Returns
    -------
    list of (str, str)
        What, and advice; or nothing.
    """
    import pandas.api.types as is_

    if not (is_.is_object_dtype(cells.dtype) or is_.is_string_dtype(cells.dtype)):
        return []
    there = present(cells)
    texts = there.astype(str).str.strip()
    if not len(texts) or not texts.iloc[:100].str.contains(r"\d").any():
        return []
    if ambiguous_dates(there.iloc[:1000]) and ambiguous_dates(there):
        return [
            (
                f"its dates are written as text, such as {shown(texts.iloc[0])}, which may start "
                "with the day or the month",
                "say which with --date-format COLUMN=%d/%m/%Y or the like, or write 2024-12-31",
            )
        ]
    read, what = are_numbers(texts), "numbers"
    if not read.any():
        read, what = are_readable(texts), "numbers or dates"
    others = texts[~read]
    if 0 < len(others) < 0.5 * len(texts):
        place = others.index[0]
        row = f" in row {place + 1:,}" if isinstance(place, int) else ""
        return [
            (
                f"it is not read as {what}, since {len(others):,} of {len(texts):,} cells are "
                f"none, such as {shown(others.iloc[0])}{row}",
                "correct or empty these cells, or name them with --missing",
            )
        ]
    some = texts.iloc[:100]
    if some.str.contains(_LIKE_DATES).mean() > 0.9:
        return [
            (
                f"its cells, such as {shown(texts.iloc[0])}, look like dates of an unknown format",
                "say which with --date-format COLUMN=FORMAT, or write 2024-12-31",
            )
        ]
    if some.str.contains(_LIKE_CLOCKS).mean() > 0.9:
        return [
            (
                f"its cells, such as {shown(texts.iloc[0])}, look like times of day or durations, "
                "which are not read",
                "write them as numbers, of seconds for example",
            )
        ]
    amounts = some.str.fullmatch(r"[^\d\s]{0,4}\s?[\d.,'’_\s]*\d\s?[^\d]{0,6}").mean()
    if amounts > 0.9 and texts.nunique() > 0.5 * len(texts) > 10:
        return [
            (
                f"its cells, such as {shown((others if len(others) else texts).iloc[0])}, "
                "are not read as numbers",
                "write bare numbers if they are some",
            )
        ]
    return []


def are_readable(texts: pd.Series) -> pd.Series:
    """Which texts spell a number or a date as most of the first hundred do."""
    import pandas as pd
    import pyarrow as pa

    seen: Counter[ColumnType] = Counter()
    neither = 0
    for text in texts.iloc[:100]:
        guess = Guess()
        guess.update(pa.array([text], pa.string()))
        kind = guess.result(comma_first=False)
        seen[kind] += 1
        neither += kind.type not in ("number", "date")
        if neither > 50:
            break
    kind, times = seen.most_common(1)[0]
    if kind.type not in ("number", "date") or times < 50:
        return pd.Series(False, texts.index)
    _, wrong = convert(pa.array(texts.tolist(), pa.string()), kind)
    read = pd.Series(True, texts.index)
    read.iloc[wrong] = False
    return read


def ambiguous_dates(there: pd.Series) -> bool:
    """Whether all texts are dates, but 03/04/2024 may start with the day or the month."""
    import pyarrow as pa

    guess = Guess("date")
    guess.update(pa.array(there.astype(str).tolist(), pa.string()))
    return guess.result(comma_first=True).style == "ambiguous"


def task_of(target: pd.Series) -> str:
    """Which task a target asks for.

    Parameters
    ----------
    target : pandas.Series

    Returns
    -------
    "classification" or "regression"
    """
    return task_and_reason(target)[0]


def task_and_reason(target: pd.Series, n: int | None = None) -> tuple[str, str]:
    """Which task a target asks for, and why, in words.

    Texts, categories, truth values, two numbers, and at most ten whole numbers that come ten
    times each on average are classes; other numbers are numbers.

    Parameters
    ----------
    target : pandas.Series
    n : int or None, default None
        How many cells there are, if these are the different ones of a larger table.

    Returns
    -------
    (str, str)
        "classification" or "regression"; the reason.
    """
    import numpy as np
    import pandas.api.types as is_

    there = present(target)
    values = there.astype(str) if there.dtype == object else there
    distinct = int(values.nunique())
    if is_.is_bool_dtype(target.dtype):
        return "classification", "it is true or false"
    if is_.is_datetime64_any_dtype(target.dtype):
        return "classification", "it holds dates"
    if not is_.is_numeric_dtype(target.dtype):
        return "classification", f"it holds {distinct:,} different texts"
    if distinct <= 2:
        return "classification", f"it has {distinct} value{'s' * (distinct != 1)}"
    numbers = there.astype(float).to_numpy()
    whole = bool(np.all(np.isfinite(numbers) & (numbers == np.floor(numbers))))
    if not whole:
        return "regression", "it holds numbers that are not whole"
    if distinct <= 10 and distinct * 10 <= (len(there) if n is None else n):
        return "classification", f"it has only {distinct} whole numbers, each many times"
    return "regression", f"it holds {distinct:,} different whole numbers"


def check_target(target: pd.Series, task: str | None) -> None:
    """Refuse a target whose values are neither numbers nor names of classes.

    Parameters
    ----------
    target : pandas.Series
    task : "classification", "regression" or None
        As the user gave it. Dates are classes if they are called so.

    Raises
    ------
    ValueError
        It holds dates, durations or times of day, or values that have no kind.
    """
    import pandas.api.types as is_

    found = simple(target).infer_objects()
    name = f"the target {str(target.name)!r} holds"
    if is_.is_datetime64_any_dtype(found.dtype):
        if task != "classification":
            raise ValueError(
                f"{name} dates, which are neither numbers nor classes; make a number of it, such "
                "as the days since another date, or say that each date is a class with --task "
                "classification"
            )
    elif is_.is_float_dtype(found.dtype) and not is_.is_numeric_dtype(target.dtype):
        cell = next(iter(target.dropna()), None)
        if hasattr(cell, "total_seconds") or hasattr(cell, "hour"):
            what = "durations" if hasattr(cell, "total_seconds") else "times of day"
            raise ValueError(f"{name} {what}; make a number of it, such as seconds or hours")


def shown(value: Any) -> str:
    """A value as it is put into a sentence."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else text[:37] + "..."
