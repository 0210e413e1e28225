"""The type of a column: chosen by what a first pass sees, and its cells turned into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from chainrule.tables.plain import as_texts, is_clock, is_long, seconds
from chainrule.tables.types import ColumnType, Guess, Reading, arrow_type, convert


class ChosenType(NamedTuple):
    """The type of a column: cells of text get it by `kind`, others by a cast."""

    kind: ColumnType | None
    arrow: Any
    nullable: bool


class SeenColumn:
    """What the first pass saw of a column."""

    def __init__(
        self, wanted: str | None, spelled: bool, may_date: bool, name: str, reading: Reading
    ) -> None:
        self._wanted = wanted
        self._given = reading.formats.get(name)
        self._missing_given = reading.missing is not None
        self._spelled = spelled  # CSV: nothing but text, whatever it means
        # JSON lines, SQLite: a text may be a date
        self._may_date = may_date or reading.date_format is not None
        styles = None if spelled or wanted else ("iso", "zoned")
        self._guess = Guess(wanted, styles, reading.missing, reading.date_format)
        self._arrow: list[Any] = []
        self._missing = self._too_long = False

    def update(self, column: Any) -> None:
        """See some rows of the column."""
        import pyarrow as pa

        self._missing |= column.null_count > 0
        if column.null_count < len(column):
            self.update_type(column.type)
            self._too_long = self._too_long or (is_long(column.type) and _too_long(column))
        if column.type == pa.string() and self._given is None and not self._guess.settled:
            for chunk in column.chunks:
                self._guess.update(chunk)

    def merge(self, other: SeenColumn) -> None:
        """See what another saw of the same column, in the rows behind these."""
        self._missing |= other._missing
        self._too_long = self._too_long or other._too_long
        for arrow in other._arrow:
            self.update_type(arrow)
        self._guess.merge(other._guess)

    def update_type(self, arrow: Any) -> None:
        """See a type of Arrow that some rows have."""
        import pyarrow as pa

        if arrow not in self._arrow and arrow != pa.null():
            self._arrow.append(arrow)

    def chosen(self, comma_first: bool, comma_seen: bool = False) -> ChosenType:
        """The type; commas are decimal ones or not as they are in the table's other columns."""
        import pyarrow as pa

        if self._given is not None:
            return ChosenType(self._given, arrow_type(self._given), True)
        if self._wanted is not None:
            kind = self._guess.result(comma_first, comma_seen)
            return ChosenType(kind, arrow_type(kind), True)
        if self._spelled:
            kind = self._guess.result(comma_first, comma_seen)
            return ChosenType(kind, arrow_type(kind), self._missing or self._guess.missing)
        if not self._arrow:
            return ChosenType(None, pa.float64(), self._missing)
        if self._arrow == [pa.string()] and self._may_date:
            kind = self._guess.result(comma_first)
            if kind.type == "date":
                return ChosenType(kind, arrow_type(kind), self._missing)
        arrow = self._arrow[0]
        for other in self._arrow[1:]:
            arrow = _common(arrow, other)
        if is_long(arrow):
            arrow = pa.string() if self._too_long else pa.int64()
        return ChosenType(None, arrow, self._missing or self._missing_given)

    def marks(self, kind: ColumnType | None) -> Counter[str]:
        """The texts beside the usual ones that were taken for missing, and how often."""
        is_text = kind is None or kind.type == "text"
        return Counter() if is_text else self._guess.marks


def _too_long(decimals: Any) -> bool:
    """Whether some of these whole decimals do not fit into 64 bits."""
    import pyarrow.compute as pc

    ends = pc.min_max(decimals)
    return not -(2**63) <= ends["min"].as_py() <= ends["max"].as_py() < 2**63


def _common(one: Any, other: Any) -> Any:
    """The type that holds both."""
    import pyarrow as pa
    import pyarrow.types as is_

    if one == other:
        return one
    if is_.is_timestamp(one) and is_.is_timestamp(other) and one.tz == other.tz:
        return pa.timestamp("us", one.tz)
    if is_long(one) or is_long(other):
        one, other = (pa.int64() if is_long(each) else each for each in (one, other))
        return pa.decimal128(38, 0) if one == other else _common(one, other)
    if is_.is_integer(one) and is_.is_integer(other):
        return pa.int64()
    if all(is_.is_integer(each) or is_.is_floating(each) for each in (one, other)):
        return pa.float64()
    return pa.string()


def cells_as(
    column: Any, chosen: ChosenType, missing: Sequence[str] | None
) -> tuple[Any, list[int]]:
    """(the column as its type, places of cells that are not of it)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = chosen.kind
    if missing:
        column = _without(column, missing)
    if is_clock(column.type) and chosen.arrow != column.type and chosen.arrow != pa.string():
        column = seconds(column)
    if kind is not None and kind.type == "boolean" and column.type not in (pa.bool_(), pa.string()):
        column = _truths(column)
    if kind is None or _can_be(column.type, kind):
        try:
            if chosen.arrow == pa.string():
                return as_texts(column), []
            return pc.cast(column, chosen.arrow), []
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            if kind is None:
                raise
    if column.type != pa.string():
        column = as_texts(column)
    parts, bad, start = [], [], 0
    for chunk in column.chunks:
        part, wrong = convert(chunk, kind, missing)
        parts.append(part)
        bad += [start + i for i in wrong]
        start += len(chunk)
    return pa.chunked_array(parts, chosen.arrow), bad


def _without(column: Any, missing: Sequence[str]) -> Any:
    """The column without the cells that say that they are missing, such as "?" or -999."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as is_

    if column.type == pa.string():
        gone = pc.is_in(pc.utf8_trim_whitespace(column), value_set=pa.array([*missing]))
    elif is_.is_integer(column.type) or is_.is_floating(column.type):
        numbers = [number for text in missing if (number := _as_float(text)) is not None]
        gone = pc.is_in(pc.cast(column, pa.float64(), safe=False), pa.array(numbers, pa.float64()))
    else:
        return column
    return pc.if_else(gone, pa.scalar(None, column.type), column)


def _as_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _can_be(arrow: Any, kind: ColumnType) -> bool:
    """Whether cells of an Arrow type mean the same as this type; else their texts are read.

    Arrow would make dates of numbers and numbers of dates: the time since 1970.
    """
    import pyarrow.types as is_

    if kind.type in ("integer", "number"):
        plain = is_.is_integer(arrow) or is_.is_floating(arrow) or is_.is_decimal(arrow)
        return bool(plain or is_.is_boolean(arrow) or is_.is_null(arrow))
    if kind.type == "date":
        return bool(is_.is_timestamp(arrow) or is_.is_null(arrow))
    return kind.type == "boolean" and bool(is_.is_boolean(arrow) or is_.is_null(arrow))


def _truths(column: Any) -> Any:
    """1 and 0 as true and false; another number is none of them, and stays a text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = as_texts(column)
    known = pc.is_in(texts, value_set=pa.array(["0", "1"]))
    return pc.if_else(known, pc.if_else(pc.equal(texts, "1"), "true", "false"), texts)


def misfit(cell: Any, kind: ColumnType | None) -> str:
    """What to do with a cell that is not of its column's type."""
    assert kind is not None
    shown = str(cell)
    shown = repr(shown if len(shown) <= 40 else shown[:37] + "...")
    if kind.style == "ambiguous":
        return f"{shown} may start with the day or the month; write it as 2024-12-31"
    return f"{shown} is not {kind.in_words}; mend it, or leave the cell empty"
