"""A source opened: what its columns are is seen in a first pass, its rows come in a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.tables.column_types import ChosenType, SeenColumn, cells_as, misfit
from chainrule.tables.csv import Csv
from chainrule.tables.files import Files, Source, TableFile
from chainrule.tables.plain import (
    check_kind,
    has_kind,
    pandas_types,
)
from chainrule.tables.spellings import MISSING
from chainrule.tables.stores import Arrow, DuckDB, Parquet, Typed
from chainrule.tables.types import (
    Chunk,
    ColumnType,
    Reading,
    Reject,
    TableError,
    check_types,
    column_error,
)
from chainrule.tables.values import JsonLines, Sqlite

if TYPE_CHECKING:
    import pandas as pd

Types = str | Mapping[str, str] | None


class Look(NamedTuple):
    """What the first pass saw of some files of a table; looks at all files can be merged.

    Attributes
    ----------
    file : str
        The first of them.
    names : list of str
        Of all columns that are there.
    seen : dict of str to SeenColumn
        Of the columns that are read.
    comma_first : bool
        Whether `1,234` is a little more than 1 rather than a thousand.
    rows : int
        How many rows were seen; columns that have types of their own need not be.
    """

    file: str
    names: list[str]
    seen: dict[str, SeenColumn]
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
            name: SeenColumn(self._wanted(name), spelled, may_date, name, self._reading)
            for name in self._names
        }
        all_given = all(self._wanted(name) for name in self._names)
        for name in _parts_of(first):
            if name in seen:
                seen[name] = SeenColumn(self._wanted(name), True, True, name, self._reading)
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
        chosen = {name: seen[name].chosen(comma_first) for name in self._names}
        if _has_comma(chosen):
            chosen = {name: seen[name].chosen(comma_first, True) for name in self._names}
        self._chosen = chosen
        marks = {name: seen[name].marks(chosen[name].kind) for name in self._names}
        self.marks = {name: counts for name, counts in marks.items() if counts}

    def narrow(self, names: Sequence[str]) -> None:
        """Read only some of the columns, each as beside all others."""
        self._names = [name for name in self._names if name in names]

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
        commas = _has_comma(self._chosen)
        found = {}
        for name, chosen in self._chosen.items():
            kind = chosen.kind
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
            chosen, column = self._chosen[name], chunk.table[name]
            try:
                cells[name], bad = cells_as(column, chosen, self._reading.missing)
            except pa.ArrowException as error:
                raise TableError(f"{file}, column {name!r}: {error}") from error
            for i in bad:
                wrong.setdefault(i, (name, misfit(column[i].as_py(), chosen.kind)))
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

        return pa.table({n: pa.array([], t.arrow) for n, t in self._chosen.items()})

    def frame(self, table: Any, start: int) -> pd.DataFrame:
        """A data frame of a typed table; its index begins at `start`."""
        return _frame(table, start, [n for n in self._names if self._chosen[n].nullable])

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


def _has_comma(chosen: Mapping[str, ChosenType]) -> bool:
    """Whether some column has decimal commas."""
    kinds = [each.kind for each in chosen.values() if each.kind is not None]
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
