"""What the cells of a column are: numbers, dates or text. Guessed on all of them, then converted.

Nothing is lost in a guess: a column is of a type only if every cell fits it, and would be written
again with the same digits. So `007` is text, and so is an integer of thirty digits.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

TYPES = ("integer", "number", "boolean", "date", "text")

# A cell that says one of these is missing. (Quoted, it is text, if its column is text.)
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "None")

_TIME = r"(?:[T ](?P<t>\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?))?$"
_PATTERNS = {
    "iso": r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)?$",
    "zoned": r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:Z|[+-]\d{2}:?\d{2})$",
    "year first": r"^(?P<y>\d{4})[/.](?P<m>\d{1,2})[/.](?P<d>\d{1,2})" + _TIME,
    "day first": r"^(?P<d>\d{1,2})[/.-](?P<m>\d{1,2})[/.-](?P<y>\d{4})" + _TIME,
    "month first": r"^(?P<m>\d{1,2})[/.-](?P<d>\d{1,2})[/.-](?P<y>\d{4})" + _TIME,
    "comma": r"^[+-]?(?:[1-9]\d{0,2}(?:[. '\x{a0}\x{202f}]\d{3})+|\d+)?(?:,\d+)?$",
    "thousands": r"^[+-]?(?:[1-9]\d{0,2}(?:[, '\x{a0}\x{202f}]\d{3})+|\d+)(?:\.\d+)?$",
}
DATES = ("iso", "zoned", "year first", "day first", "month first")
_STYLES = {
    "integer": ("integer",),
    "number": ("number", "comma", "thousands"),
    "boolean": ("boolean",),
    "date": DATES,
    "text": (),
}
_NUMERIC = {"integer", "number", "comma", "thousands"}


class TableError(ValueError):
    """A table cannot be read or written; the message names the file, the place and what to do."""


class ColumnType(NamedTuple):
    """What a column is read as.

    Attributes
    ----------
    type : one of TYPES
    style : str
        How its cells are spelled: "comma" for `3,5`, "day first" for `31.12.2024`, ...
    """

    type: str
    style: str


class Reject(NamedTuple):
    """A row that cannot be read.

    Attributes
    ----------
    file : str
    line : int
        Where it starts, from 1; of Parquet, Arrow and databases: the row, from 1.
    column : str or None
        None: the row as a whole.
    message : str
        What is wrong.
    row : str
        As it stands in the file.
    """

    file: str
    line: int
    column: str | None
    message: str
    row: str

    def error(self) -> TableError:
        """The error that says so."""
        where = f", column {self.column!r}" if self.column is not None else ""
        return TableError(f"{self.file}, line {self.line:,}{where}: {self.message}")


Report = Callable[[Reject], None]


class Piece(NamedTuple):
    """Some rows of a file, in order.

    Attributes
    ----------
    table : pyarrow.Table
    where : callable (int) -> (int, str)
        A row's line in the file, and the row as it stands there.
    """

    table: Any
    where: Callable[[int], tuple[int, str]]


class MisfitError(Exception):
    """A cell is not of the type."""


def suggestion(name: str, names: Iterable[str]) -> str:
    """'; did you mean …?' for a name that is not among these, or ''."""
    known = {each.casefold(): each for each in reversed(list(names))}
    close = difflib.get_close_matches(name.casefold(), known, n=1, cutoff=0.6)
    return f"; did you mean {known[close[0]]!r}?" if close else ""


def column_error(name: str, names: list[str], file: str) -> TableError:
    """That there is no such column, and which may be meant."""
    return TableError(f"{file} has no column {name!r}{suggestion(name, names)}")


def chosen(table: str | None, names: list[str], file: str) -> str:
    """The table that is meant, of those that a database holds."""
    if not names:
        raise TableError(f"{file} holds no table")
    listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    if table is None:
        if len(names) > 1:
            raise TableError(f"{file} holds {len(names)} tables; choose one with table: {listed}")
        return names[0]
    if table not in names:
        raise TableError(
            f"{file} has no table {table!r}{suggestion(table, names)}. It holds {listed}"
        )
    return table


def unique_names(names: list[str], file: str) -> list[str]:
    """The names, if none comes twice."""
    for i, name in enumerate(names):
        if name in names[:i]:
            raise TableError(
                f"{file}: columns {names.index(name) + 1} and {i + 1} have the same name, "
                f"{name!r}; rename one"
            )
    return names


def check_types(types: Any) -> None:
    """Raise for `types` that is neither None, a type, nor a dict of them."""
    for each in types.values() if isinstance(types, dict) else [types]:
        if each is not None and each not in TYPES:
            raise ValueError(f"a type must be one of {', '.join(TYPES)}; got {each!r}")


class Guess:
    """What a column can still be, after the cells seen so far.

    Attributes
    ----------
    missing : bool
        Whether a cell says that it is missing.

    Parameters
    ----------
    wanted : one of TYPES or None, default None
        None: whatever fits.
    styles : tuple of str or None, default None
        Only these; None: all of what is wanted.
    """

    def __init__(self, wanted: str | None = None, styles: tuple[str, ...] | None = None) -> None:
        self._wanted = wanted
        names = _STYLES if wanted is None else [wanted]
        self._alive = set(styles or (style for name in names for style in _STYLES[name]))
        self._seen = self._huge = self._says_missing = False
        self.missing = False

    @property
    def settled(self) -> bool:
        """Whether more cells cannot change it."""
        return not self._alive

    def update(self, cells: pa.StringArray) -> None:
        """See more cells."""
        alive = self._alive
        if not alive:
            return
        there = cells.drop_null()
        cells = tidy(there).drop_null()
        self.missing |= len(there) > len(cells)
        if not len(cells):
            self._says_missing |= any(cell.as_py().strip() for cell in there.unique())
            return
        self._seen = True
        if "integer" in alive:
            try:
                self._huge |= _is_huge(_integer_exactly(cells))
            except MisfitError:
                alive.discard("integer")
            else:
                alive &= _NUMERIC
                return
        if "number" in alive:
            try:
                _number(cells)
                if self._wanted is None:
                    _keeps_digits(cells)
            except MisfitError:
                alive.discard("number")
            else:
                dotted = "comma" in alive and _fits(cells, _PATTERNS["comma"])  # 1.234
                alive &= {"number", "thousands", "comma"} if dotted else {"number", "thousands"}
                return
        if not any(sign.isdigit() for sign in cells[0].as_py()):
            alive &= {"boolean"}  # the rest all have digits
        for style in list(alive):
            try:
                if self._wanted is None and style in _NUMERIC:
                    _keeps_digits(cells)
                _PARSERS[style](cells)
            except MisfitError:
                alive.discard(style)

    def result(self, comma_first: bool, comma_seen: bool = False) -> ColumnType:
        """What it is.

        Parameters
        ----------
        comma_first : bool
            Whether `1,234` is a little more than 1 (as where cells are separated by semicolons)
            rather than a thousand.
        comma_seen : bool, default False
            Whether other columns have decimal commas, so that `1.234` is a thousand.
        """
        if not self._seen and self._says_missing and self._wanted is None:
            return ColumnType("text", "")
        if not self._seen:
            return ColumnType(self._wanted or "number", {"date": "iso"}.get(self._wanted or "", ""))
        alive = self._alive
        if {"day first", "month first"} <= alive:
            alive = alive - {"day first", "month first"}  # 03/04/2024 can be either
            if self._wanted == "date" and not alive:
                return ColumnType("date", "ambiguous")
        order = ["boolean", "integer", "number", "comma", "thousands", *DATES]
        if not comma_first:
            order[3], order[4] = order[4], order[3]
        if comma_seen and "comma" in alive and "integer" not in alive:
            order.remove("comma")
            order.insert(0, "comma")
        if self._huge and self._wanted is None and "integer" not in alive:
            alive = alive - _NUMERIC
        for style in order:
            if style in alive:
                name = next(name for name, styles in _STYLES.items() if style in styles)
                return ColumnType(name, style)
        fallback = {"number": "number", "date": "iso", "integer": "integer", "boolean": "boolean"}
        wanted = self._wanted or "text"
        return ColumnType(wanted, fallback.get(wanted, ""))


def arrow_type(kind: ColumnType) -> pa.DataType:
    """The Arrow type of a column of this type."""
    import pyarrow as pa

    if kind.type == "date":
        return pa.timestamp("us", "UTC") if kind.style == "zoned" else pa.timestamp("us")
    return {
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "text": pa.string(),
    }[kind.type]


def convert(cells: pa.StringArray, kind: ColumnType) -> tuple[pa.Array, list[int]]:
    """(cells as that type, places of those that are not of it: missing in the result)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind.type == "text":
        return pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells), []
    if kind.style == "" or cells.null_count == len(cells):
        kind = kind if kind.style else ColumnType(kind.type, kind.type)
    parse = _PARSERS[kind.style]
    try:
        return parse(cells), []
    except MisfitError:
        pass
    cells = tidy(cells)
    bad = _misfits(cells, parse, 0)
    if len(bad) == len(cells):
        return pa.nulls(len(cells), arrow_type(kind)), bad
    if bad:
        keep = [True] * len(cells)
        for i in bad:
            keep[i] = False
        cells = pc.if_else(pa.array(keep), cells, pa.scalar(None, pa.string()))
    return parse(cells), bad


def tidy(cells: pa.StringArray) -> pa.StringArray:
    """Cells without blanks around them; None for those that say that they are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = pc.utf8_trim_whitespace(cells)
    gone = pc.is_in(cells, value_set=pa.array(MISSING))
    return pc.if_else(gone, pa.scalar(None, pa.string()), cells)


def _misfits(cells: pa.StringArray, parse: Callable[[Any], Any], start: int) -> list[int]:
    """Places of the cells that do not fit, by halving."""
    try:
        parse(cells)
    except MisfitError:
        if len(cells) == 1:
            return [start]
        half = len(cells) // 2
        left = _misfits(cells[:half], parse, start)
        return left + _misfits(cells[half:], parse, start + half)
    return []


def _fits(cells: pa.StringArray, pattern: str) -> bool:
    import pyarrow.compute as pc

    return bool(pc.all(pc.match_substring_regex(cells, pattern), min_count=0).as_py() is not False)


def _cast(cells: pa.StringArray, to: pa.DataType) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.cast(cells, to)
    except pa.ArrowInvalid as error:
        raise MisfitError from error


def _integer_exactly(cells: pa.StringArray) -> pa.Array:
    """Integers that would be written with the same digits: not 007, +7 or -0."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = _cast(cells, pa.int64())
    if pc.all(pc.equal(pc.cast(whole, pa.string()), cells), min_count=0).as_py() is False:
        raise MisfitError
    return whole


def _is_huge(whole: pa.Array) -> bool:
    """Whether a float would not hold all of their digits."""
    import pyarrow.compute as pc

    ends = pc.min_max(whole)
    return bool(ends["min"].as_py() < -(2**53) or ends["max"].as_py() > 2**53)


def _integer(cells: pa.StringArray) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not _fits(cells, r"^[+-]?\d+$"):
        raise MisfitError
    return _cast(pc.replace_substring_regex(cells, r"^\+?(-?)0*(\d)", r"\1\2"), pa.int64())


def _number(cells: pa.StringArray) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = _cast(cells, pa.float64())
    infinite = pc.is_inf(numbers)
    if pc.any(infinite).as_py() and not _fits(cells.filter(infinite), r"(?i)^[+-]?inf(inity)?$"):
        raise MisfitError  # 1e999
    return numbers


def _keeps_digits(cells: pa.StringArray) -> None:
    import pyarrow.compute as pc

    if pc.any(pc.match_substring_regex(cells, r"^[+-]?(?:0\d|\d{16,}$)")).as_py():
        raise MisfitError


def _comma(cells: pa.StringArray) -> pa.Array:
    import pyarrow.compute as pc

    if not _fits(cells, _PATTERNS["comma"]):
        raise MisfitError
    plain = pc.replace_substring_regex(cells, r"[. '\x{a0}\x{202f}]", "")
    return _number(pc.replace_substring(plain, ",", "."))


def _thousands(cells: pa.StringArray) -> pa.Array:
    import pyarrow.compute as pc

    if not _fits(cells, _PATTERNS["thousands"]):
        return _number(cells)
    return _number(pc.replace_substring_regex(cells, r"[, '\x{a0}\x{202f}]", ""))


def _boolean(cells: pa.StringArray) -> pa.Array:
    import pyarrow as pa

    if not _fits(cells, r"^(?:true|false|True|False|TRUE|FALSE)$"):
        raise MisfitError
    return _cast(cells, pa.bool_())


def _iso(cells: pa.StringArray) -> pa.Array:
    import pyarrow as pa

    if not _fits(cells, _PATTERNS["iso"]):
        raise MisfitError
    return _cast(cells, pa.timestamp("us"))


def _zoned(cells: pa.StringArray) -> pa.Array:
    import pyarrow as pa

    if not _fits(cells, _PATTERNS["zoned"]):
        raise MisfitError
    return _cast(cells, pa.timestamp("us", "UTC"))


def _parts(style: str) -> Callable[[Any], Any]:
    """Reads dates whose parts stand in another order; 31.02. is none."""

    def parse(cells: pa.StringArray) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pc.extract_regex(cells, _PATTERNS[style])
        if found.null_count > cells.null_count:
            raise MisfitError
        year, month, day, clock = (found.field(name) for name in "ymdt")
        month, day = (pc.utf8_lpad(part, 2, padding="0") for part in (month, day))
        clock = pc.if_else(pc.equal(clock, ""), "00:00", clock)
        date = pc.binary_join_element_wise(year, month, day, "-")
        return _cast(
            pc.if_else(found.is_valid(), pc.binary_join_element_wise(date, clock, " "), None),
            pa.timestamp("us"),
        )

    return parse


def _ambiguous(cells: pa.StringArray) -> pa.Array:
    raise MisfitError


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "integer": _integer,
    "number": _number,
    "comma": _comma,
    "thousands": _thousands,
    "boolean": _boolean,
    "iso": _iso,
    "zoned": _zoned,
    "ambiguous": _ambiguous,
    **{style: _parts(style) for style in ("year first", "day first", "month first")},
}
