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
from chainrule.estimators.cleaning import LARGEST
from chainrule.tables.cells import CellError, as_numbers, as_strings
from chainrule.tables.columns import present
from chainrule.tables.files import Files, TableFile
from chainrule.tables.levels import as_levels
from chainrule.tables.opening import Look, OpenTable, merged_looks, raise_it
from chainrule.tables.plain import as_texts
from chainrule.tables.reading import regrouped
from chainrule.tables.summaries import ColumnSummary
from chainrule.tables.types import Reading

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


class Asked(NamedTuple):
    """What all tasks of a table know.

    Attributes
    ----------
    target : str
    ignore : list of str
        Columns that are not read.
    reading : Reading
    seed : int
    held : float
        Part of the rows that is held out to judge by: those whose draw is below it.
    most : int
        Of a column with more values than this, none is kept.
    """

    target: str
    ignore: list[str]
    reading: Reading
    seed: int
    held: float = 0.0
    most: int = 1000


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
def _at(file: str, first: int = 0, rows: Any = None) -> Iterator[None]:
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
        raise PartitionError(said if file in said else f"{file}: {said}") from None


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
    with _at(part.files[0].name):
        whole = _opened(part.files, asked)
        return whole.look._replace(rows=whole.n_rows())


def how_read(part: Part, seen: Look, asked: Asked) -> OpenTable:
    """A file opened as the whole table is: it knows how columns are spelled, and marks in them."""
    with _at(part.files[0].name):
        return _opened(part.files[:1], asked, seen)


def merge_looks(looks: Sequence[Look]) -> Look:
    """What one look would have seen; the looks are in the order of the partitions."""
    try:
        return merged_looks([copy.deepcopy(looks[0]), *looks[1:]])
    except ValueError as error:
        raise PartitionError(str(error)) from None


class Block(NamedTuple):
    """Some rows of a file.

    Attributes
    ----------
    file : str
    first : int
        How many rows of the file are before them.
    frame : pandas.DataFrame
        With an index from 0.
    written : pandas.Series or None
        The target as it stands in the file.
    """

    file: str
    first: int
    frame: Any
    written: Any


def blocks(part: Part, seen: Look, asked: Asked) -> Iterator[Block]:
    """The rows of a partition, in order, read as those of the whole table."""
    for file in part.files:
        with _at(file.name):
            whole = _opened([file], asked, seen)
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
        With the target.
    sizes : list of int
        Of each partition, the rows that are learned from.
    held, left_out : int
        Rows held out, and those without a target.
    first_left : str
        The first of the latter.
    frame : pandas.DataFrame
        A sample of the rows that are learned from, and those held out, in order.
    draw : (n,) array
        Their draws.
    labels : Counter or None
        How often a cell of the target comes in which spelling; None: too many for classes.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.columns: dict[str, ColumnSummary] = {}
        self.sizes, self.held, self.left_out, self.first_left = [0], 0, 0, ""
        self.frame: Any = None
        self.draw: Array = np.empty(0)
        self.labels: Counter[tuple[Any, str]] | None = Counter()

    def see(self, block: Block, draw: Array) -> None:
        """Add the rows of a block."""
        asked, target = self.asked, block.frame[self.asked.target]
        there = np.isin(target.index, present(target).index)
        if not there.all():
            self.left_out += int((~there).sum())
            row = block.first + 1 + int(np.argmin(there))
            self.first_left = self.first_left or f"{block.file}, row {row:,}"
        frame, draw = block.frame[there], draw[there]
        if not len(frame):
            return
        learnt = draw >= asked.held
        gone = asked.reading.missing
        one = Survey(asked)
        for name in frame:
            most = MOST_CLASSES if name == asked.target else asked.most
            one.columns[name] = ColumnSummary(frame[name], learnt, most, gone)
        one.sizes, one.held = [int(learnt.sum())], int((~learnt).sum())
        cells = zip(frame[asked.target].tolist(), block.written[there].tolist(), strict=True)
        one.labels = Counter((cell, str(text).strip()) for cell, text in cells)
        one.frame, one.draw = frame, draw
        self._add(one)
        self.sizes = [self.sizes[0] + one.sizes[0]]

    def merge(self, other: Survey) -> None:
        """Add other partitions, which come behind these."""
        self._add(other)
        self.sizes = self.sizes + other.sizes

    def _add(self, other: Survey) -> None:
        import pandas as pd

        self.held += other.held
        self.left_out += other.left_out
        self.first_left = self.first_left or other.first_left
        if self.labels is not None:
            self.labels = None if other.labels is None else self.labels + other.labels
        if self.labels is not None and len(self.labels) > 2 * MOST_CLASSES:
            self.labels = None
        if other.frame is None:
            return
        if self.frame is None:
            self.columns, self.frame, self.draw = other.columns, other.frame, other.draw
        else:
            for name, column in self.columns.items():
                column.merge(other.columns[name])
            self.frame = pd.concat([self.frame, other.frame], ignore_index=True)
            self.draw = np.concatenate([self.draw, other.draw])
        learnt = np.flatnonzero(self.draw >= self.asked.held)
        if len(learnt) > SAMPLE:  # the rows of the largest draws are a sample of all
            gone = learnt[np.argsort(self.draw[learnt], kind="stable")[: len(learnt) - SAMPLE]]
            kept = np.setdiff1d(np.arange(len(self.draw)), gone)
            self.frame, self.draw = self.frame.iloc[kept], self.draw[kept]


def survey(part: Part, seen: Look, asked: Asked) -> Survey:
    """Say what a partition holds.

    Raises
    ------
    PartitionError
        A row cannot be read.
    """
    found, rng = Survey(asked), draws(part, asked)
    for block in blocks(part, seen, asked):
        with _at(block.file, block.first):
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


def encode(part: Part, encoding: Encoding) -> tuple[Array, NDArray[Any]]:
    """The rows of a partition that are learned from.

    Returns
    -------
    X : (n, columns) float32 array
    y : (n,) array

    Raises
    ------
    PartitionError
        A cell cannot be read as its column was learned.
    """
    seen, asked, steps, target = encoding
    rng = draws(part, asked)
    inputs, targets = [], []
    for block in blocks(part, seen, asked):
        cells = block.frame[asked.target]
        learnt = rng.random(len(cells)) >= asked.held
        learnt &= np.isin(cells.index, present(cells).index)
        at = np.flatnonzero(learnt)
        if len(at):
            with _at(block.file, block.first, at):
                rows = block.frame[learnt]
                inputs.append(np.asarray(steps.transform(rows), np.float32))
                targets.append(target.values(rows[asked.target]))
    if not inputs:
        width = len(steps[-1].get_feature_names_out())
        return np.empty((0, width), np.float32), target.values(cells[:0])
    return np.concatenate(inputs), np.concatenate(targets)
