"""Tables in files, as partitions: the workers look at them, describe them and encode them.

Every function here is pure: it reads files, and gives the same on any worker. A partition is a
file, or several small ones. Three kinds of tasks go over all of them: a look says what the columns
are read as, a survey says what they hold, and then each partition becomes a matrix.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.base.types import Array
from chainrule.dask.partitions import PartitionError
from chainrule.dask.sides import HELD, LEARN, STOP, Asked, Block, usable
from chainrule.estimators.cleaning import LARGEST
from chainrule.tables.cells import CellError, as_numbers, as_strings
from chainrule.tables.files import Files, TableFile
from chainrule.tables.levels import as_levels
from chainrule.tables.opening import Look, OpenTable, merged_looks, raise_it
from chainrule.tables.plain import as_texts
from chainrule.tables.reading import regrouped
from chainrule.tables.summaries import ColumnSummary

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("csv", "json lines", "parquet", "arrow", "arrow stream")
MOST_BYTES = 64_000_000  # of small files that share a partition
SPREAD = 64  # partitions at least, of files that could be shared out so
BLOCK = 32_768  # rows that are worked on together
SAMPLE = 20_000  # rows for what is not exact
MOST_CLASSES = 10_000


class Part(NamedTuple):
    """A partition: its number, and its files."""

    number: int
    files: tuple[TableFile, ...]


def parts_of(source: str) -> list[Part]:
    """The partitions of a source, by its files and their sizes alone.

    Raises
    ------
    TableError, ValueError
        There are no files, or they cannot be read by several machines.
    """
    if source == "-":
        raise ValueError("--dask reads files, which the workers open; standard input is none")
    with Files(source) as files:
        for file in files:
            if file.format not in FORMATS or not file.path.is_file():
                raise ValueError(
                    f"--dask reads CSV, JSON lines, Parquet and Arrow files; {file.name} is none"
                )
            file.path = file.path.resolve()
        sizes = [file.path.stat().st_size for file in files]
        most = min(MOST_BYTES, sum(sizes) / SPREAD)
        groups: list[list[TableFile]] = []
        room = 0.0
        for file, size in zip(files, sizes, strict=True):
            if size > room:
                groups.append([])
                room = most
            groups[-1].append(file)
            room -= size
    return [Part(p, tuple(group)) for p, group in enumerate(groups)]


@contextmanager
def at_file(file: str, first: int = 0, rows: Any = None) -> Iterator[None]:
    """Name the file, and the row in it, in errors about a table.

    Parameters
    ----------
    file : str
    first : int, default 0
        How many rows of the file are before these.
    rows : array, optional
        Which rows of those behind these are meant, from 0.
    """
    try:
        yield
    except PartitionError:
        raise
    except CellError as error:
        row = first + 1 + (error.row if rows is None else int(rows[error.row]))
        what = str(error).partition(f", row {error.row}: ")[2] or str(error)
        raise PartitionError(f"{file}, row {row:,}, column {error.column!r}: {what}") from None
    except (OSError, ValueError) as error:
        said = str(error)
        if isinstance(error, OSError):
            said = f"{file} cannot be read: {error.strerror or error}"
        if "No such file" in said:
            said += "; every worker has to find the files at the same place"
        named = file in said or said.startswith("--")
        raise PartitionError(said if named else f"{file}: {said}") from None


def _opened(files: Sequence[Any], asked: Asked, seen: Look | None = None) -> OpenTable:
    """Files opened as one table, whose columns are read as `seen` says, or looked at now."""
    return OpenTable(
        list(files),
        table=None,
        query=None,
        columns=None,
        types=None,
        limit=None,
        ignore=asked.ignore,
        reading=asked.reading,
        look=seen,
    )


def look(part: Part, asked: Asked) -> Look:
    """See what the columns of a partition can be read as.

    Raises
    ------
    PartitionError
        A file cannot be read, or has other columns than the first.
    """
    with at_file(part.files[0].name):
        whole = _opened(part.files, asked)
        return whole.look._replace(rows=whole.n_rows())


def how_read(part: Part, seen: Look, asked: Asked) -> OpenTable:
    """A file opened as the whole table is: it knows how columns are spelled, and marks in them."""
    with at_file(part.files[0].name):
        return _opened(part.files[:1], asked, seen)


def merge_looks(looks: Sequence[Look]) -> Look:
    """What one look would have seen; the looks are in the order of the partitions."""
    try:
        return merged_looks([copy.deepcopy(looks[0]), *looks[1:]])
    except ValueError as error:
        raise PartitionError(str(error)) from None


def blocks(
    part: Part, seen: Look, asked: Asked, only: Sequence[str] | None = None
) -> Iterator[Block]:
    """The rows of a partition, in order, read as those of the whole table.

    Parameters
    ----------
    part : Part
    seen : Look
    asked : Asked
    only : sequence of str, optional
        The columns to read, the target among them; None: all.
    """
    for file in part.files:
        with at_file(file.name):
            whole = _opened([file], asked, seen)
            if only is not None:
                whole.narrow(only)
            first = 0
            for typed, text in regrouped(whole.tables(raise_it), BLOCK):
                frame = whole.frame(typed, 0)
                written = as_texts(text[asked.target]).to_pandas()
                yield Block(file.name, first, frame, written)
                first += len(frame)


def draws(part: Part, asked: Asked) -> Any:
    """The generator of a number from 0 to 1 for each row; by the seed and the partition alone."""
    return np.random.default_rng([asked.seed, part.number])


class Survey:
    """What some partitions hold; surveys of others that come behind can be merged.

    Attributes
    ----------
    columns : dict of str to ColumnSummary
        With the target, and without what is not learned from.
    sizes, stops : lists of int
        Of each partition, the rows that are learned from, and those that stop the training.
    held, left_out, weightless : int
        Rows held out, those without a target, and those of weight 0.
    first_left : str
        The first of those without a target.
    frame : pandas.DataFrame
        A sample of the rows that are learned from, and those held out, in order.
    rows : pandas.DataFrame
        Of each of these its "draw", its "side" and, if there are weights, its "weight".
    labels : Counter or None
        How often a cell of the target comes in which spelling, on which side; None: too many for
        classes.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.columns: dict[str, ColumnSummary] = {}
        self.sizes, self.stops, self.held = [0], [0], 0
        self.left_out, self.weightless, self.first_left = 0, 0, ""
        self.frame: Any = None
        self.rows: Any = None
        self.labels: Counter[tuple[int, Any, str]] | None = Counter()

    def see(self, block: Block, draw: Array) -> None:
        """Add the rows of a block."""
        import pandas as pd

        asked, found = self.asked, usable(block, draw, self.asked)
        self.weightless += found.weightless
        if len(found.without):
            self.left_out += len(found.without)
            row = block.first + 1 + int(found.without[0])
            self.first_left = self.first_left or f"{block.file}, row {row:,}"
        if not len(found.at):
            return
        frame, learnt = block.frame.iloc[found.at], found.side == LEARN
        gone = asked.reading.missing
        one = Survey(asked)
        for name in frame:
            if name not in asked.beside:
                most = MOST_CLASSES if name == asked.target else asked.most
                one.columns[name] = ColumnSummary(frame[name], learnt, most, gone)
        one.held = int((found.side == HELD).sum())
        texts = (str(text).strip() for text in block.written.iloc[found.at])
        labels = zip(found.side.tolist(), frame[asked.target].tolist(), texts, strict=True)
        one.labels = Counter(labels)
        beside = {"draw": draw[found.at], "side": found.side}
        if found.of_rows.weight is not None:
            beside["weight"] = found.of_rows.weight
        one.frame, one.rows = frame, pd.DataFrame(beside)
        self._add(one)
        self.sizes = [self.sizes[0] + int(learnt.sum())]
        self.stops = [self.stops[0] + int((found.side == STOP).sum())]

    def merge(self, other: Survey) -> None:
        """Add other partitions, which come behind these."""
        self._add(other)
        self.sizes, self.stops = self.sizes + other.sizes, self.stops + other.stops

    def _add(self, other: Survey) -> None:
        import pandas as pd

        self.held += other.held
        self.weightless += other.weightless
        self.left_out += other.left_out
        self.first_left = self.first_left or other.first_left
        if self.labels is not None:
            self.labels = None if other.labels is None else self.labels + other.labels
        if self.labels is not None and len(self.labels) > 6 * MOST_CLASSES:
            self.labels = None
        if other.frame is None:
            return
        if self.frame is None:
            self.columns, self.frame, self.rows = other.columns, other.frame, other.rows
        else:
            for name, column in self.columns.items():
                column.merge(other.columns[name])
            self.frame = pd.concat([self.frame, other.frame], ignore_index=True)
            self.rows = pd.concat([self.rows, other.rows], ignore_index=True)
        draw = self.rows["draw"].to_numpy()
        learnt = np.flatnonzero(self.rows["side"] != HELD)
        if len(learnt) > SAMPLE:  # the rows of the largest draws are a sample of all
            gone = learnt[np.argsort(draw[learnt], kind="stable")[: len(learnt) - SAMPLE]]
            kept = np.setdiff1d(np.arange(len(draw)), gone)
            self.frame, self.rows = self.frame.iloc[kept], self.rows.iloc[kept]


def survey(part: Part, seen: Look, asked: Asked) -> Survey:
    """Say what a partition holds.

    Raises
    ------
    PartitionError
        A row cannot be read.
    """
    found, rng = Survey(asked), draws(part, asked)
    for block in blocks(part, seen, asked):
        with at_file(block.file, block.first):
            found.see(block, rng.random(len(block.frame)))
    return found


def merge_surveys(surveys: Sequence[Survey]) -> Survey:
    """The survey of all; they are in the order of the partitions."""

    def merged(one: Survey, other: Survey) -> Survey:
        one.merge(other)
        return one

    return reduce(merged, surveys[1:], copy.deepcopy(surveys[0]))


class Target(NamedTuple):
    """How the target's cells become what is learned.

    Attributes
    ----------
    name : str
    classes : bool
    whole : bool
        Of classes: whether all are whole numbers.
    labels : dict
        Where labels come back as they were written; see `chainrule.commands.preparing.Table`.
    style : str or None
        How texts spell numbers.
    """

    name: str
    classes: bool
    whole: bool = False
    labels: dict[str, Any] = {}  # noqa: RUF012  # never changed
    style: str | None = None

    @property
    def dtype(self) -> Any:
        """Of the values."""
        if not self.classes:
            return np.dtype(np.float64)
        return np.dtype(np.int64) if self.whole else np.dtype(object)

    def values(self, cells: pd.Series) -> NDArray[Any]:
        """Labels or numbers.

        Raises
        ------
        CellError, ValueError
            A cell is no number, or too large.
        """
        if not self.classes:
            numbers = as_numbers(cells, self.style)
            usable = np.abs(numbers) <= LARGEST
            if not usable.all():
                row = int(np.argmin(usable))
                raise CellError(self.name, row, numbers[row], f"of a size up to {LARGEST:g}")
            return numbers
        if self.labels:
            written = self.labels["written"]
            levels = as_levels(cells, self.labels["type"], "")
            return np.array([written.get(each, each) for each in levels], dtype=object)
        return as_numbers(cells).astype(np.int64) if self.whole else as_strings(cells, "")


class Encoding(NamedTuple):
    """From the files to what a network is given.

    Attributes
    ----------
    seen : Look
    asked : Asked
    steps : Pipeline
        Fitted: they clean and encode.
    target : Target
    """

    seen: Look
    asked: Asked
    steps: Any
    target: Target


class Matrices(NamedTuple):
    """What an estimator is given of some rows.

    Attributes
    ----------
    X : (n, columns) float32 array
    y : (n,) array
    weight : (n,) float64 array or None
    """

    X: Any
    y: Any
    weight: Any = None


def encode(part: Part, encoding: Encoding) -> tuple[Matrices, Matrices]:
    """The rows of a partition that are learned from, and those that stop the training.

    Raises
    ------
    PartitionError
        A cell cannot be read as its column was learned.
    """
    seen, asked, steps, target = encoding
    rng = draws(part, asked)
    found: tuple[list[Matrices], list[Matrices]] = [], []
    for block in blocks(part, seen, asked):
        cells = block.frame[asked.target]
        with at_file(block.file, block.first):
            rows = usable(block, rng.random(len(cells)), asked)
        for side in (LEARN, STOP):
            of_side = rows.side == side
            at = rows.at[of_side]
            if len(at):
                with at_file(block.file, block.first, at):
                    frame = block.frame.iloc[at]
                    X = np.asarray(steps.transform(frame), np.float32)
                    weight = rows.of_rows.take(of_side).weight
                    found[side].append(Matrices(X, target.values(frame[asked.target]), weight))
    width = len(steps[-1].get_feature_names_out())
    weight = np.empty(0) if "weight" in asked.roles else None
    none = Matrices(np.empty((0, width), np.float32), target.values(cells[:0]), weight)
    return _joined(found[LEARN] or [none]), _joined(found[STOP] or [none])


def _joined(found: list[Matrices]) -> Matrices:
    """Matrices of some rows below one another."""
    columns = zip(*found, strict=True)
    return Matrices(*(None if each[0] is None else np.concatenate(each) for each in columns))


def piece(sides: tuple[Matrices, Matrices], side: int, i: int) -> Any:
    """One of the arrays that :func:`encode` gives."""
    return sides[side][i]
