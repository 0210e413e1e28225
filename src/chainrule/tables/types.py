"""What the cells of a column are: numbers, dates or text. Guessed on all of them, then converted.

Nothing is lost in a guess: a column is of a type only if every cell fits it, and would be written
again with the same digits. So `007` is text, and so is an integer of thirty digits.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.tables import spellings
from chainrule.tables.spellings import MARKS, MISSING, MisfitError

if TYPE_CHECKING:
    import pyarrow as pa

TYPES = ("integer", "number", "boolean", "date", "text")

_STYLES = {
    "integer": ("integer",),
    "number": spellings.NUMBERS,
    "boolean": ("boolean",),
    "date": spellings.DATES,
    "text": (),
}
_NUMERIC = {"integer", *spellings.NUMBERS}
MOST_COLUMNS = 30_000


class TableError(ValueError):
    """A table cannot be read or written; the message names the file, the place and what to do."""


class ColumnType(NamedTuple):
    """What a column is read as; a model's file keeps it, so that new tables are read alike.

    Attributes
    ----------
    type : one of TYPES
    style : str
        How its cells are spelled, as :mod:`chainrule.tables.spellings` has it: "comma" for `3,5`,
        "comma €" for `3,5 €`, "day first" for `31.12.2024`, "%d.%m.%y" for `31.12.24`, ...
    """

    type: str
    style: str

    @property
    def in_words(self) -> str:
        """What a cell has to be, with an example."""
        return spellings.in_words(self.type, self.style)


class Reading(NamedTuple):
    """How cells are read: what is said of a table, or what was learnt of it in training.

    Attributes
    ----------
    formats : dict of str to ColumnType
        By column; the spelling of other columns is found out.
    missing : tuple of str or None
        The texts that say that a cell is missing, beside empty cells; None: NA, null and the like,
        as :mod:`chainrule.tables.spellings` lists them.
    date_format : str or None
        A format of ``strptime`` that dates of any column may have.
    """

    formats: Mapping[str, ColumnType] = MappingProxyType({})
    missing: tuple[str, ...] | None = None
    date_format: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same, as a file keeps it."""
        formats = {name: list(kind) for name, kind in self.formats.items()}
        return {"formats": formats, "missing": None if self.missing is None else [*self.missing]}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Reading:
        """What :meth:`as_dict` gave; of an older file, nothing."""
        formats = {
            str(name): ColumnType(str(kind[0]), str(kind[1]))
            for name, kind in (told.get("formats") or {}).items()
        }
        missing = told.get("missing")
        return cls(formats, None if missing is None else tuple(map(str, missing)))


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


class Chunk(NamedTuple):
    """Some rows of a file, in order.

    Attributes
    ----------
    table : pyarrow.Table
    where : callable (int) -> (int, str)
        A row's line in the file, and the row as it stands there.
    """

    table: Any
    where: Callable[[int], tuple[int, str]]


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
    check_width(len(names), file)
    place: dict[str, int] = {}
    for i, name in enumerate(names):
        if name in place:
            raise TableError(
                f"{file}: columns {place[name] + 1} and {i + 1} have the same name, {name!r}; "
                "rename one"
            )
        place[name] = i
    return names


def check_width(columns: int, file: str) -> None:
    """Raise for a table of more columns than a network can be given."""
    if columns > MOST_COLUMNS:
        raise TableError(
            f"{file} has {columns:,} columns, and at most {MOST_COLUMNS:,} are read; choose some "
            "of them, or write one value a row, in columns such as name and value"
        )


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
    marks : collections.Counter
        How often each of MARKS came; in a column of text, these are texts.

    Parameters
    ----------
    wanted : one of TYPES or None, default None
        None: whatever fits.
    styles : tuple of str or None, default None
        Only these; None: all of what is wanted.
    says_missing : sequence of str or None, default None
        The texts of cells that are missing; None: MISSING, and MARKS.
    format : str or None, default None
        A format of ``strptime`` that dates may have.
    """

    def __init__(
        self,
        wanted: str | None = None,
        styles: tuple[str, ...] | None = None,
        says_missing: Sequence[str] | None = None,
        format: str | None = None,
    ) -> None:
        self._wanted = wanted
        names = _STYLES if wanted is None else [wanted]
        self._alive = set(styles or (style for name in names for style in _STYLES[name]))
        if format is not None and wanted in (None, "date"):
            self._alive.add(format)
        self._format = format
        self._missing_texts = MISSING if says_missing is None else ("", *says_missing)
        self._may_mark = says_missing is None
        self._seen = self._huge = self._says_missing = False
        self._zeros = True  # of what has no unit; a share of 0 needs none
        self._unit: str | None = None
        self.missing = False
        self.marks: Counter[str] = Counter()

    @property
    def settled(self) -> bool:
        """Whether more cells cannot change it."""
        return not self._alive

    def update(self, cells: pa.StringArray) -> None:
        """See more cells."""
        if not self._alive:
            return
        there = cells.drop_null()
        cells = spellings.tidy(there, self._missing_texts).drop_null()
        if self._may_mark and len(cells):
            cells = self._unmarked(cells)
        self.missing |= len(there) > len(cells)
        if not len(cells):
            self._says_missing |= any(cell.as_py().strip() for cell in there.unique())
            return
        self._seen = True
        if self._format in self._alive:
            try:
                spellings.parser(str(self._format))(cells)
            except MisfitError:
                self._alive.discard(str(self._format))
        if self._alive & _NUMERIC and self._numbers(cells):
            self._alive &= {*_NUMERIC, self._format}
            return
        if not any(sign.isdigit() for sign in cells[0].as_py()):
            self._alive &= {"boolean"}  # the rest all have digits
        for style in self._alive - _NUMERIC - {self._format}:
            try:
                spellings.strict(style)(cells)
            except MisfitError:
                self._alive.discard(style)

    def merge(self, other: Guess) -> None:
        """See what another saw of the same column, in the cells behind these."""
        self.missing |= other.missing
        self.marks.update(other.marks)
        self._says_missing |= other._says_missing
        if not other._seen:
            return
        self._alive &= other._alive
        self._seen, self._huge = True, self._huge or other._huge
        units = {each.casefold() for each in (self._unit, other._unit) if each is not None}
        self._zeros &= other._zeros
        self._unit = other._unit if self._unit is None else self._unit
        if units:
            self._alive.discard("integer")
        if len(units) > 1 or self._mixes_shares():
            self._alive -= _NUMERIC

    def _unmarked(self, cells: pa.StringArray) -> pa.StringArray:
        """The cells that are none of MARKS; the others are counted."""
        import pyarrow as pa
        import pyarrow.compute as pc

        marked = pc.is_in(cells, value_set=pa.array(MARKS))
        if not pc.any(marked, min_count=0).as_py():
            return cells
        self.marks.update(cells.filter(marked).to_pylist())
        return cells.filter(pc.invert(marked))

    def _numbers(self, cells: pa.StringArray) -> bool:
        """Whether the cells are numbers; which ways of spelling them are left is kept."""
        alive = self._alive
        if self._unit is None:
            if "integer" in alive:
                try:
                    self._huge |= _is_huge(spellings.integer_exactly(cells))
                except MisfitError:
                    alive.discard("integer")
                else:
                    self._zeros = self._zeros and spellings.fits(cells, spellings.ZERO)
                    return True
            if "number" in alive:
                try:
                    spellings.number(cells)
                    if self._wanted is None:
                        spellings.keeps_digits(cells)
                except MisfitError:
                    pass
                else:
                    self._zeros = self._zeros and spellings.fits(cells, spellings.ZERO)
                    dotted = "comma" in alive and spellings.is_comma(cells)  # 1.234
                    alive -= {"integer"} if dotted else {"integer", "comma"}
                    return True
            self._unit = spellings.unit_of(cells)
        try:
            if self._mixes_shares():
                raise MisfitError
            cells = spellings.bare(cells, self._unit or "")
        except MisfitError:
            alive -= _NUMERIC
            return False
        alive.discard("integer")
        for style in alive & _NUMERIC:
            try:
                if self._wanted is None:
                    spellings.keeps_digits(cells)
                spellings.strict(style)(cells)
            except MisfitError:
                alive.discard(style)
        return bool(alive & _NUMERIC)

    def _mixes_shares(self) -> bool:
        """Whether some numbers are shares, and others, of no unit, are none."""
        return self._unit in spellings.SHARES and not self._zeros

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
        if not self._seen and (self._says_missing or self.marks) and self._wanted is None:
            return ColumnType("text", "")
        if not self._seen:
            return ColumnType(self._wanted or "number", {"date": "iso"}.get(self._wanted or "", ""))
        alive = self._alive
        if self._format in alive:
            return ColumnType("date", str(self._format))
        if {"day first", "month first"} <= alive:
            alive = alive - {"day first", "month first"}  # 03/04/2024 can be either
            if self._wanted == "date" and not alive:
                return ColumnType("date", "ambiguous")
        order = ["boolean", "integer", "number", "comma", "thousands", *spellings.DATES]
        if not spellings.prefers_comma(self._unit, comma_first):
            order[3], order[4] = order[4], order[3]
        if comma_seen and "comma" in alive and "integer" not in alive:
            order.remove("comma")
            order.insert(0, "comma")
        if self._huge and self._wanted is None and "integer" not in alive:
            alive = alive - _NUMERIC
        for style in order:
            if style in alive:
                name = next(name for name, styles in _STYLES.items() if style in styles)
                unit = f" {self._unit}" if self._unit and name == "number" else ""
                return ColumnType(name, style + unit)
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


def convert(
    cells: pa.StringArray, kind: ColumnType, missing: Sequence[str] | None = None
) -> tuple[pa.Array, list[int]]:
    """(cells as that type, places of those that are not of it: missing in the result).

    Parameters
    ----------
    cells : pyarrow.StringArray
    kind : ColumnType
    missing : sequence of str or None, default None
        The texts of cells that are missing; None: MISSING and MARKS, but no text says so in a
        column of text.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind.type == "text":
        if missing:
            gone = pc.is_in(pc.utf8_trim_whitespace(cells), value_set=pa.array([*missing]))
            cells = pc.if_else(gone, pa.scalar(None, pa.string()), cells)
        return pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells), []
    if kind.style == "" or cells.null_count == len(cells):
        kind = kind if kind.style else ColumnType(kind.type, kind.type)
    parse = spellings.parser(kind.style)
    if missing is None:
        try:
            return parse(cells), []
        except MisfitError:
            pass
    cells = spellings.tidy(cells, (*MISSING, *MARKS) if missing is None else ("", *missing))
    encoded = cells.dictionary_encode()  # each text is tried once, however often it comes
    wrong = _misfits(encoded.dictionary, parse)
    is_wrong = pc.is_in(encoded.indices, value_set=pa.array(wrong, pa.int32()))
    bad: list[int] = pc.indices_nonzero(is_wrong).to_pylist()
    if len(bad) == len(cells):
        return pa.nulls(len(cells), arrow_type(kind)), bad
    if bad:
        keep = [True] * len(cells)
        for i in bad:
            keep[i] = False
        cells = pc.if_else(pa.array(keep), cells, pa.scalar(None, pa.string()))
    return parse(cells), bad


def _misfits(cells: pa.StringArray, parse: Callable[[Any], Any]) -> list[int]:
    """Places of the cells that do not fit: those of which that is sure, and others by halving."""
    import pyarrow.compute as pc

    try:
        parse(cells)
    except MisfitError as error:
        if len(cells) < 2:
            return list(range(len(cells)))
        sure = [] if error.wrong is None else pc.indices_nonzero(error.wrong).to_pylist()
        if sure:
            others = pc.indices_nonzero(pc.invert(pc.fill_null(error.wrong, False)))
            places = others.to_pylist()
            return sorted(sure + [places[i] for i in _misfits(cells.take(others), parse)])
        half = len(cells) // 2
        return _misfits(cells[:half], parse) + [half + i for i in _misfits(cells[half:], parse)]
    return []


def _is_huge(whole: pa.Array) -> bool:
    """Whether a float would not hold all of their digits."""
    import pyarrow.compute as pc

    ends = pc.min_max(whole)
    return bool(ends["min"].as_py() < -(2**53) or ends["max"].as_py() > 2**53)
