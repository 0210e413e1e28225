"""A source opened: what its columns are is seen in a first pass, its rows come in a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.tables.csv import Csv
from chainrule.tables.files import Files, Source, TableFile
from chainrule.tables.plain import (
    as_texts,
    check_kind,
    has_kind,
    is_clock,
    is_long,
    pandas_types,
    seconds,
)
from chainrule.tables.spellings import MISSING
from chainrule.tables.stores import Arrow, DuckDB, Parquet, Typed
from chainrule.tables.types import (
    Chunk,
    ColumnType,
    Guess,
    Reading,
    Reject,
    TableError,
    arrow_type,
    check_types,
    column_error,
    convert,
)
from chainrule.tables.values import JsonLines, Sqlite

if TYPE_CHECKING:
    import pandas as pd

Types = str | Mapping[str, str] | None


class _Target(NamedTuple):
    """What a column becomes: of cells of text by `kind`, of others by a cast."""

    kind: ColumnType | None
    arrow: Any
    nullable: bool


class _Seen:
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
        import pyarrow as pa

        self._missing |= column.null_count > 0
        if column.null_count < len(column):
            self.update_type(column.type)
            self._too_long = self._too_long or (is_long(column.type) and _too_long(column))
        if column.type == pa.string() and self._given is None and not self._guess.settled:
            for chunk in column.chunks:
                self._guess.update(chunk)

    def merge(self, other: _Seen) -> None:
        """See what another saw of the same column, in the rows behind these."""
        self._missing |= other._missing
        self._too_long = self._too_long or other._too_long
        for arrow in other._arrow:
            self.update_type(arrow)
        self._guess.merge(other._guess)

    def update_type(self, arrow: Any) -> None:
        import pyarrow as pa

        if arrow not in self._arrow and arrow != pa.null():
            self._arrow.append(arrow)

    def target(self, comma_first: bool, comma_seen: bool = False) -> _Target:
        import pyarrow as pa

        if self._given is not None:
            return _Target(self._given, arrow_type(self._given), True)
        if self._wanted is not None:
            kind = self._guess.result(comma_first, comma_seen)
            return _Target(kind, arrow_type(kind), True)
        if self._spelled:
            kind = self._guess.result(comma_first, comma_seen)
            return _Target(kind, arrow_type(kind), self._missing or self._guess.missing)
        if not self._arrow:
            return _Target(None, pa.float64(), self._missing)
        if self._arrow == [pa.string()] and self._may_date:
            kind = self._guess.result(comma_first)
            if kind.type == "date":
                return _Target(kind, arrow_type(kind), self._missing)
        arrow = self._arrow[0]
        for other in self._arrow[1:]:
            arrow = _common(arrow, other)
        if is_long(arrow):
            arrow = pa.string() if self._too_long else pa.int64()
        return _Target(None, arrow, self._missing or self._missing_given)

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


class Look(NamedTuple):
    """What the first pass saw of some files of a table; looks at all files can be merged.

    Attributes
    ----------
    file : str
        The first of them.
    names : list of str
        Of all columns that are there.
    seen : dict of str to _Seen
        Of the columns that are read.
    comma_first : bool
        Whether `1,234` is a little more than 1 rather than a thousand.
    rows : int
        How many rows were seen; columns that have types of their own need not be.
    """

    file: str
    names: list[str]
    seen: dict[str, _Seen]
    comma_first: bool
    rows: int


def merged_looks(looks: Sequence[Look]) -> Look:
    """What one look at all the files would have seen.

    Parameters
    ----------
    looks : sequence of Look
        In the order of the files; the first is changed.

    Raises
    ------
    TableError
        The files have different columns.
    """
    first = looks[0]
    for other in looks[1:]:
        _same_columns(first.names, first.file, other.names, other.file)
        for name, seen in first.seen.items():
            seen.merge(other.seen[name])
    return first._replace(rows=sum(look.rows for look in looks))


class OpenTable:
    """A source whose columns are known; see :func:`opened`.

    Without `nulls`, for whoever makes no data frame of it, nobody looks which columns of typed
    files have some, so that these are gone through once. With a `look` at all files of a table,
    some of them can be read as the whole table is.
    """

    def __init__(
        self,
        files: list[TableFile],
        table: str | None,
        query: str | None,
        columns: list[str] | None,
        types: Types,
        limit: int | None,
        strict: bool = True,
        nulls: bool = True,
        ignore: list[str] | None = None,
        reading: Reading | None = None,
        look: Look | None = None,
    ) -> None:
        self._reading = Reading() if reading is None else reading
        self._on_look = raise_it if strict else _ignore
        self._nulls = nulls
        self._stores = [_store(file, table, query, self._reading.missing) for file in files]
        first, names = self._stores[0], _all_names(self._stores[0])
        for other in self._stores[1:]:
            _same_columns(names, first.file.name, _all_names(other), other.file.name)
        for name in [*(columns or []), *(ignore or [])]:
            if name not in names:
                raise column_error(name, names, first.file.name)
        self._names: list[str] = _not_among(names, ignore or []) if columns is None else columns
        self._types = types
        self._limit = limit
        self.look = self._look() if look is None else look
        self._settle()

    def _wanted(self, name: str) -> str | None:
        if name in self._reading.formats:
            return self._reading.formats[name].type
        return self._types.get(name) if isinstance(self._types, Mapping) else self._types

    def _look(self) -> Look:
        """The first pass."""
        import pyarrow as pa

        first = self._stores[0]
        spelled = isinstance(first, Csv)
        may_date = not isinstance(first, Typed)
        seen = {
            name: _Seen(self._wanted(name), spelled, may_date, name, self._reading)
            for name in self._names
        }
        all_given = all(self._wanted(name) for name in self._names)
        for name in _parts_of(first):
            if name in seen:
                seen[name] = _Seen(self._wanted(name), True, True, name, self._reading)
                values = [_parts_of(store)[name] for store in self._stores]
                seen[name].update(pa.chunked_array([pa.array(values, pa.string())]))
        total = 0
        for store in self._stores:
            rows = 0
            names = self._names_in(store)
            if not names:
                continue
            if isinstance(store, Typed):
                for name in names:
                    if self._wanted(name) != "text":
                        check_kind(name, store.types[name], store.file.name)
                    seen[name].update_type(store.types[name])
                names = [name for name in names if self._must_look(store, name)]
                if not names or not self._nulls:
                    continue
            for chunk in store.chunks(_ignore if all_given else self._on_look, names):
                for name in names:
                    seen[name].update(chunk.table[name])
                rows += len(chunk.table)
                if (all_given and rows) or (self._limit is not None and rows >= self._limit):
                    break
            total += rows
        comma_first = spelled and first.delimiter != ","
        return Look(first.file.name, _all_names(first), seen, comma_first, total)

    def _names_in(self, store: Any) -> list[str]:
        """The columns that a store has itself."""
        there = set(store.names)
        return [name for name in self._names if name in there]

    def _settle(self) -> None:
        """Choose the columns' types by what was seen."""
        _, _, seen, comma_first, _ = self.look
        targets = {name: seen[name].target(comma_first) for name in self._names}
        if _has_comma(targets):
            targets = {name: seen[name].target(comma_first, True) for name in self._names}
        self._targets = targets
        marks = {name: seen[name].marks(targets[name].kind) for name in self._names}
        self.marks = {name: counts for name, counts in marks.items() if counts}

    def n_rows(self) -> int:
        """How many rows there are."""
        typed = [store for store in self._stores if isinstance(store, Typed)]
        return sum(store.n_rows() for store in typed) if typed else self.look.rows

    def _must_look(self, store: Typed, name: str) -> bool:
        if name in self._reading.formats:
            return False
        may_date = self._reading.date_format is not None and self._wanted(name) is None
        return store.must_look(name, "date" if may_date else self._wanted(name))

    @property
    def learnt(self) -> Reading:
        """How other tables like this one are to be read.

        Whole numbers are any numbers there; they have decimal commas where those of other columns
        have them.
        """
        commas = _has_comma(self._targets)
        found = {}
        for name, target in self._targets.items():
            kind = target.kind
            if kind is None or not kind.style:
                continue
            if kind.type == "integer":
                kind = ColumnType("number", "comma" if commas else "number")
            found[name] = kind
        return self._reading._replace(formats=found)

    def texts_of_missing(self, name: str) -> Counter[str]:
        """What the cells of a column say that are missing since they say so: "NA", "None", ..."""
        found: Counter[str] = Counter()
        for store in self._stores:
            if not isinstance(store, Csv) or self._reading.missing is not None:
                continue
            for sign, texts in ((-1, store.null_texts), (1, ("",))):
                store.null_texts, kept = texts, store.null_texts
                try:
                    for chunk in store.chunks(_ignore, [name]):
                        for cell in chunk.table[name].value_counts().to_pylist():
                            if cell["values"] in MISSING:
                                found[cell["values"]] += sign * cell["counts"]
                finally:
                    store.null_texts = kept
        return +found

    def tables(self, report: Callable[[Reject], None]) -> Iterator[tuple[Any, Any]]:
        """The second pass: (typed, as they came) tables of Arrow."""
        rows = 0
        reported: list[Reject] = []

        def pass_on() -> None:
            for reject in sorted(reported, key=lambda reject: reject.line):
                report(reject)
            reported.clear()

        def note(reject: Reject) -> None:
            reported.append(reject)
            if len(reported) > 10_000:
                pass_on()

        for store in self._stores:
            own = self._names_in(store) or store.names[:1]
            for chunk in store.chunks(note, own):
                whole = _with_parts(chunk, _parts_of(store), self._names)
                pair = self._typed(whole, store.file.name, note)
                pass_on()
                yield pair
                rows += len(chunk.table)
                if self._limit is not None and rows >= self._limit:
                    return
            pass_on()

    def _typed(self, chunk: Chunk, file: str, report: Callable[[Reject], None]) -> tuple[Any, Any]:
        import pyarrow as pa

        cells: dict[str, Any] = {}
        wrong: dict[int, tuple[str, str]] = {}
        for name in self._names:
            target, column = self._targets[name], chunk.table[name]
            try:
                cells[name], bad = _cells(column, target, self._reading.missing)
            except pa.ArrowException as error:
                raise TableError(f"{file}, column {name!r}: {error}") from error
            for i in bad:
                wrong.setdefault(i, (name, _misfit(column[i].as_py(), target.kind)))
        typed = pa.table(cells)
        text = pa.table(  # what no file can hold is as JSON
            {n: chunk.table[n] if has_kind(chunk.table[n].type) else cells[n] for n in cells}
        )
        if wrong:
            for i in sorted(wrong):
                line, row = chunk.where(i)
                report(Reject(file, line, *wrong[i], row))
            keep = pa.array([i not in wrong for i in range(len(typed))])
            typed, text = typed.filter(keep), text.filter(keep)
        return typed, text

    def empty(self) -> Any:
        """A table without rows."""
        import pyarrow as pa

        return pa.table({n: pa.array([], t.arrow) for n, t in self._targets.items()})

    def frame(self, table: Any, start: int) -> pd.DataFrame:
        """A data frame of a typed table; its index begins at `start`."""
        return _frame(table, start, [n for n in self._names if self._targets[n].nullable])

    def text_frame(self, table: Any, start: int) -> pd.DataFrame:
        """A data frame of a table as it came."""
        return _frame(table, start, self._names)


@contextmanager
def opened(
    source: Source,
    table: str | None,
    query: str | None,
    columns: list[str] | None,
    types: Types,
    limit: int | None,
    strict: bool = True,
    ignore: list[str] | None = None,
    reading: Reading | None = None,
) -> Iterator[OpenTable]:
    """Open a source; a context manager, since what is piped in is kept meanwhile.

    Parameters
    ----------
    source, table, query, columns, types, limit, ignore, reading
        See :func:`chainrule.tables.read`.
    strict : bool, default True
        Whether a row that cannot be read is an error in the first pass already.
    """
    check_types(types)
    with Files(source) as files:
        yield OpenTable(
            files, table, query, columns, types, limit, strict, ignore=ignore, reading=reading
        )


def _has_comma(targets: Mapping[str, _Target]) -> bool:
    """Whether some column has decimal commas."""
    kinds = [target.kind for target in targets.values() if target.kind is not None]
    return any(kind.type == "number" and kind.style.startswith("comma") for kind in kinds)


def _store(
    file: TableFile, table: str | None, query: str | None, missing: Sequence[str] | None
) -> Any:
    if file.format not in ("sqlite", "duckdb"):
        if table is not None or query is not None:
            raise TableError(
                f"{file.name} is no database; table and query are for DuckDB and SQLite files"
            )
        if file.format == "csv":
            return Csv(file, missing)
        return {"json lines": JsonLines, "parquet": Parquet}.get(file.format, Arrow)(file)
    if table is not None and query is not None:
        raise TableError(f"{file.name}: give a table or a query, not both")
    return (Sqlite if file.format == "sqlite" else DuckDB)(file, table, query)


def _parts_of(store: Any) -> dict[str, str | None]:
    """The values that the names of the folders above a file give, and the file does not."""
    parts = store.file.parts
    return {name: parts[name] for name in _not_among(parts, store.names)}


def _not_among(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """Those names, in their order, that are not among the others."""
    left_out = set(others)
    return [name for name in names if name not in left_out]


def _all_names(store: Any) -> list[str]:
    return [*store.names, *_parts_of(store)]


def _with_parts(chunk: Chunk, parts: Mapping[str, str | None], names: list[str]) -> Chunk:
    """The chunk with a column for each value in its folders' names, as texts."""
    import pyarrow as pa

    table = chunk.table
    for name in names:
        if name in parts:
            cells = pa.repeat(pa.scalar(parts[name], pa.string()), len(table))
            table = table.append_column(name, cells)
    return Chunk(table.select(names), chunk.where)


def _same_columns(there: list[str], file: str, others: list[str], other: str) -> None:
    lacks, more = _not_among(there, others), _not_among(others, there)
    if lacks or more:
        parts = [f"it lacks {_some(lacks)}"] if lacks else []
        parts += [f"it has {_some(more)} besides"] if more else []
        raise TableError(f"{other} has other columns than {file}: {' and '.join(parts)}")


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")


def _cells(column: Any, target: _Target, missing: Sequence[str] | None) -> tuple[Any, list[int]]:
    """(the column as its target's type, places of cells that are not of it)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = target.kind
    if missing:
        column = _without(column, missing)
    if is_clock(column.type) and target.arrow != column.type and target.arrow != pa.string():
        column = seconds(column)
    if kind is not None and kind.type == "boolean" and column.type not in (pa.bool_(), pa.string()):
        column = _truths(column)
    if kind is None or _can_be(column.type, kind):
        try:
            if target.arrow == pa.string():
                return as_texts(column), []
            return pc.cast(column, target.arrow), []
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
    return pa.chunked_array(parts, target.arrow), bad


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


def _misfit(cell: Any, kind: ColumnType | None) -> str:
    assert kind is not None
    shown = str(cell)
    shown = repr(shown if len(shown) <= 40 else shown[:37] + "...")
    if kind.style == "ambiguous":
        return f"{shown} may start with the day or the month; write it as 2024-12-31"
    return f"{shown} is not {kind.in_words}; mend it, or leave the cell empty"


def _frame(table: Any, start: int, nullable: list[str]) -> pd.DataFrame:
    """A data frame; integers and truth values of these columns are pandas' nullable ones."""
    import pandas as pd

    special = pandas_types()
    chosen = [name for name in nullable if table.schema.field(name).type in special]
    rest = _not_among(table.column_names, chosen)
    frame = table.select(rest).to_pandas()
    if chosen:
        other = table.select(chosen).to_pandas(types_mapper=special.get)
        frame = pd.concat([frame, other], axis=1)[table.column_names]
    frame.index = pd.RangeIndex(start, start + len(table))
    return frame


def raise_it(reject: Reject) -> None:
    """Make an error of a row that cannot be read."""
    raise reject.error()


def _ignore(reject: Reject) -> None:
    """Do nothing; the second pass reports the row."""
