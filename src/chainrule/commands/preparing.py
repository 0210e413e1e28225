"""From a table to rows to learn from: the target, the task, the kinds of columns.

Whatever is left out is reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chainrule.base.validation import suggest
from chainrule.estimators.cleaning import LARGEST, MAX_LEVELS, USED, TableCleaner
from chainrule.estimators.row_columns import FEATURES, RowColumns, check_names, read_row_columns
from chainrule.tables.cells import CellError, as_numbers, as_strings, listed, spelling
from chainrule.tables.columns import (
    Column,
    check_target,
    kinds_of,
    present,
    remarks,
    task_of,
)
from chainrule.tables.levels import as_levels, level_type
from chainrule.tables.types import ColumnType, suggestion

if TYPE_CHECKING:
    import pandas as pd

    from chainrule.tables.reading import Learnt

FEWEST = 3  # rows of a class: to learn from, to stop by, to test on


@dataclass
class Table:
    """Rows to learn from.

    Attributes
    ----------
    X : pandas.DataFrame
        Without the target and what is ignored.
    y : (n,) array
        Labels (str or int), or numbers.
    target, task : str
    columns : list of Column
    types, target_type : dict of str to str, str
        Types of X's columns, and of the target, as `chainrule.tables.read` takes them.
    notices : list of str
        What was left out, and why.
    formats : dict of str to ColumnType
        How columns of text spell their numbers and dates.
    labels : dict
        Where labels come back as they were written: "type", one of LEVEL_TYPES, and "written",
        the text of each level; else empty.
    max_levels : int
        Categories of more levels are encoded as text.
    missing_texts : sequence of str or None
        The texts that say that a cell is missing; None: the usual ones.
    rows : (n,) int64 array
        Which rows of the table these are, from 0.
    left_out : int
        How many other rows the table has.
    of_rows : RowColumns
        Weights, groups and times of the rows.
    """

    X: pd.DataFrame
    y: NDArray[Any]
    target: str
    task: str
    columns: list[Column]
    types: dict[str, str]
    target_type: str
    notices: list[str] = field(default_factory=list)
    max_levels: int = MAX_LEVELS
    formats: dict[str, ColumnType] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)
    missing_texts: Sequence[str] | None = None
    rows: NDArray[Any] = field(default_factory=lambda: np.empty(0, np.int64))
    left_out: int = 0
    of_rows: RowColumns = field(default_factory=RowColumns)

    @property
    def n(self) -> int:
        """How many rows there are to learn from and to judge by."""
        return len(self.y)

    @property
    def class_counts(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The classes, of a classification, and how many rows each has; else none."""
        if self.task == "regression":
            return np.empty(0, object), np.empty(0, np.int64)
        return np.unique(self.y, return_counts=True)

    @property
    def classes(self) -> NDArray[Any]:
        """The classes, of a classification; else none."""
        return self.class_counts[0]

    @property
    def kinds(self) -> dict[str, str]:
        """Kind of each column."""
        return {column.name: column.kind for column in self.columns}


def prepare(
    frame: pd.DataFrame,
    target: str,
    *,
    task: str | None = None,
    ignore: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    max_levels: int = MAX_LEVELS,
    learnt: Learnt | None = None,
    roles: Mapping[str, str] | None = None,
) -> Table:
    """Split a table in columns to learn from and a target; say what is left out.

    Parameters
    ----------
    frame : pandas.DataFrame
    target : str
        Name of the column to predict.
    task : {"classification", "regression"} or None, default=None
        None: by the target.
    ignore : sequence of str, default=()
        Columns to leave out; those that were not read need not be in the frame.
    kinds : dict of str to str, optional
        Kinds of columns that are known better.
    max_levels : int, default=40
        Categories of more levels are encoded as text.
    learnt : Learnt, optional
        How the table was read from a file.
    roles : dict of str to str, optional
        The columns of the rows' "weight", "group" and "time". The first two are not learnt from.

    Raises
    ------
    ValueError
        There is no such column, or nothing to learn; a weight, a group or a time is wrong.
    """
    from chainrule.tables.reading import types_of

    kinds = kinds or {}
    roles = roles or {}
    check_names(roles, list(frame), target)
    ignore = [*ignore, *(name for role, name in roles.items() if role not in FEATURES)]
    check_request(list(frame), target, task, ignore, kinds)
    check_target(frame[target], task)
    frame = frame.reset_index(drop=True)
    notices = []
    there = frame.index.isin(present(frame[target]).index)
    if not there.all():
        without = int((~there).sum())
        notices.append(
            f"{without:,} of {len(there):,} rows left out, without a value of {target!r} "
            f"(the first is row {int(np.argmin(there)) + 1:,}){_said(learnt)}"
        )
        frame = frame[there].reset_index(drop=True)
    rows = np.flatnonzero(there)
    if not len(frame):
        raise ValueError(f"there are no rows with a value of {target!r} to learn from")
    gone = None if learnt is None else learnt.reading.missing
    of_rows = read_row_columns(frame, rows, roles, gone)
    if of_rows.weight is not None and not of_rows.weight.all():
        kept = of_rows.weight > 0
        notices.append(f"{int((~kept).sum()):,} rows left out, of weight 0")
        there[rows[~kept]] = False
        frame, rows = frame[kept].reset_index(drop=True), rows[kept]
        of_rows = of_rows.take(kept)
    task = task or task_of(frame[target])
    named: dict[str, Any] = {}
    if task == "classification":
        y = labels(frame[target])
        if learnt is not None and learnt.written is not None:
            y, named = as_written(y, frame[target], learnt.written[there], notices)
    else:
        y = _numbers(frame[target], rows)
    if task == "classification":
        check_classes(*np.unique(y, return_counts=True), target)
    X = frame.drop(columns=[target, *(name for name in ignore if name in frame)])
    for name, kind in kinds.items():
        check_kind(X[[name]], name, kind, gone, rows)
    columns = as_asked(kinds_of(X, None, gone), kinds, max_levels)
    notices += notices_of(X, columns, target, max_levels, {} if learnt is None else learnt.marks)
    types = types_of(frame[[target, *X]])
    formats = {} if learnt is None else dict(learnt.reading.formats)
    styles = {
        column.name: spelling(X[column.name], missing_texts=gone)
        for column in columns
        if column.kind in ("numeric", "date") and types[column.name] == "text"
    }
    formats |= formats_of(columns, styles)
    return Table(
        X,
        y,
        target,
        task,
        columns,
        types,
        types.pop(target),
        notices,
        max_levels,
        formats,
        named,
        gone,
        rows,
        len(there) - len(rows),
        of_rows,
    )


def check_request(
    names: Sequence[str],
    target: str,
    task: str | None,
    ignore: Sequence[str],
    kinds: Mapping[str, str],
) -> None:
    """Refuse what is asked of columns that are not there, or have other uses.

    Parameters
    ----------
    names : sequence of str
        Of the columns that were read.
    target, task, ignore, kinds :
        As for :func:`prepare`.

    Raises
    ------
    ValueError
    """
    if target in ignore:
        raise ValueError(f"{target!r} is the target; it cannot be ignored")
    for name in kinds:
        if name in ignore:
            raise ValueError(f"{name!r} is ignored; its kind has no meaning")
    for name, what in (
        (target, "target"),
        *((name, "column to be of a kind") for name in kinds),
    ):
        if name not in names:
            raise ValueError(f"there is no {what} {name!r}{_meant(name, list(names))}")
    for name, kind in kinds.items():
        if kind not in USED:
            raise ValueError(f"{name!r} cannot be {kind!r}; {suggest(kind, USED)}")
        if name == target:
            raise ValueError(f"{name!r} is the target; its kind has no meaning")
    if task not in (None, "classification", "regression"):
        raise ValueError(f"the task is classification or regression, not {task!r}")


def as_asked(columns: Sequence[Column], kinds: Mapping[str, str], max_levels: int) -> list[Column]:
    """Columns, with the kinds that are known better, and a note of those with many levels."""
    columns = [
        column._replace(kind=kinds[column.name], note="as given")
        if column.name in kinds
        else column
        for column in columns
    ]
    return [
        column._replace(note=column.note or "many levels: encoded as text")
        if column.kind == "categorical" and column.distinct > max_levels
        else column
        for column in columns
    ]


def notices_of(
    X: pd.DataFrame,
    columns: Sequence[Column],
    target: str,
    max_levels: int,
    marks: Mapping[str, Counter[str]],
) -> list[str]:
    """What is to be said of the columns: which are not used, and what could surprise.

    Raises
    ------
    ValueError
        None is left to predict the target from.
    """
    notices = []
    for kind, why in (("constant", "the same in every row"), ("identifier", "only names rows")):
        names = [column.name for column in columns if column.kind == kind]
        if names:
            notices.append(f"not used, {why}: {listed(names)}")
    notices += _without_export(columns, max_levels)
    notices += [
        f"column {name!r}: {what}; {advice}" for name, what, advice in remarks(X, columns, marks)
    ]
    if all(column.kind in ("constant", "identifier") for column in columns):
        raise ValueError(f"there is no column left to predict {target!r} from")
    return notices


def formats_of(
    columns: Sequence[Column], styles: Mapping[str, str | None]
) -> dict[str, ColumnType]:
    """How columns of text spell their numbers and dates, by the styles of those that do."""
    kinds = {column.name: column.kind for column in columns}
    return {
        name: ColumnType(
            "date" if kinds[name] == "date" else "number",
            "number" if style == "integer" else style,
        )
        for name, style in styles.items()
        if style is not None
    }


def _without_export(columns: Sequence[Column], max_levels: int) -> list[str]:
    """Which columns keep the model from being exported, if any."""
    many = [c for c in columns if c.kind == "categorical" and c.distinct > max_levels]
    free = [c.name for c in columns if c.kind == "text"]
    found = []
    if many:
        most = max(column.distinct for column in many)
        found.append(
            f"{listed([c.name for c in many])}: of more than {max_levels:,} levels, so encoded as "
            "text, and the model cannot be exported to run without chainrule; with --max-levels "
            f"{most} it can"
        )
    if free:
        found.append(
            f"{listed(free)}: free text, so the model cannot be exported to run without "
            "chainrule; where that is needed, leave it out with --ignore"
        )
    return found


def _said(learnt: Learnt | None) -> str:
    """What the cells of the target that are missing say, if they say something."""
    texts = {} if learnt is None else {t: n for t, n in learnt.missing_labels.items() if t}
    if not texts:
        return ""
    shown = ", ".join(f"{text!r} ({n:,})" for text, n in texts.items())
    return (
        f"; cells of {shown} say that they are missing. To keep them as classes, say which texts "
        "are missing with --missing (--missing '': empty cells only)"
    )


def as_written(
    y: NDArray[Any],
    cells: pd.Series,
    written: pd.Series,
    notices: list[str],
    times: Sequence[int] | None = None,
) -> tuple[NDArray[Any], dict[str, Any]]:
    """The labels as the table spells them, and what says which label a cell is.

    Parameters
    ----------
    y : (n,) array
        The labels.
    cells, written : pandas.Series of shape (n,)
        The cells, and their texts in the table.
    notices : list of str
        Grows by what is to be said.
    times : sequence of int, optional
        How often each of the cells comes; None: once.
    """
    type = level_type(cells)
    if type == "text":
        return y, {}
    levels = as_levels(cells, type, "")
    counts: dict[str, Counter[str]] = {}
    for each, text, n in zip(levels, written, times or [1] * len(levels), strict=True):
        counts.setdefault(each, Counter())[str(text).strip()] += n
    texts = {each: count.most_common(1)[0][0] for each, count in counts.items()}
    for each, count in counts.items():
        if len(count) > 1:
            shown = ", ".join(map(repr, sorted(count)))
            notices.append(f"a class is spelled in several ways, {shown}: it is {texts[each]!r}")
    if y.dtype != object and all(each == text for each, text in texts.items()):
        return y, {}  # whole numbers
    return np.array([texts[each] for each in levels], dtype=object), {
        "type": type,
        "written": texts,
    }


def check_kind(
    cells: pd.DataFrame,
    name: str,
    kind: str,
    missing_texts: Sequence[str] | None,
    rows: NDArray[Any] | None = None,
) -> None:
    """Refuse a kind that the column's cells are not of.

    Parameters
    ----------
    cells : pandas.DataFrame of shape (n, 1)
    name, kind : str
    missing_texts : sequence of str or None
    rows : (n,) array, optional
        Which rows of the table these are, from 0, for the message.

    Raises
    ------
    ValueError
    """
    try:
        TableCleaner({name: kind}, missing_texts=missing_texts).fit(cells)
    except CellError as error:
        where = "it" if rows is None else f"row {rows[error.row] + 1:,}"
        raise ValueError(
            f"column {name!r} cannot be {kind}: {where} holds {error.value!r}; "
            "correct the cell, leave it empty, or take another kind"
        ) from None


def labels(column: pd.Series) -> NDArray[Any]:
    """A column's classes: integers where all are whole numbers, else strings.

    Parameters
    ----------
    column : pandas.Series of shape (n,)
    """
    import pandas as pd

    is_ = pd.api.types
    if is_.is_numeric_dtype(column.dtype) and not is_.is_bool_dtype(column.dtype):
        numbers = as_numbers(column)
        if np.all(np.isfinite(numbers) & (numbers == np.round(numbers)) & (abs(numbers) < 2**53)):
            return numbers.astype(np.int64)
    return as_strings(column, "")


def _numbers(column: pd.Series, rows: NDArray[Any]) -> NDArray[np.float64]:
    """The target as numbers; `rows` are the numbers of its rows in the table, from 0."""
    try:
        numbers = as_numbers(column, spelling(column))
    except CellError as error:
        raise ValueError(
            f"the target {error.column!r} is no number in row {rows[error.row] + 1:,}: "
            f"{error.value!r}. "
            "With --task classification its values are classes"
        ) from None
    usable = np.abs(numbers) <= LARGEST
    if not usable.all():
        row = int(np.argmin(usable))
        advice = "scale the target" if np.isfinite(numbers[row]) else "leave such rows out"
        raise ValueError(
            f"the target {column.name!r} is {numbers[row]:g} in row {rows[row] + 1:,}, too large "
            f"to compute with; {advice}"
        )
    if np.ptp(numbers) == 0:
        raise ValueError(
            f"the target {column.name!r} is {numbers[0]:g} in every row; there is nothing to learn"
        )
    return numbers


def check_classes(classes: NDArray[Any], counts: NDArray[Any], target: str) -> None:
    """Refuse classes of so few rows that nothing can be learned of them.

    Raises
    ------
    ValueError
    """
    if len(classes) == 1:
        raise ValueError(
            f"the target {target!r} is {str(classes[0])!r} in every row; there is nothing to learn"
        )
    rare = classes[counts < FEWEST]
    if len(rare) > len(classes) / 2:
        raise ValueError(
            f"the target {target!r} has {len(classes)} classes, and most of them fewer than "
            f"{FEWEST} rows; if it is a number, use --task regression"
        )
    if len(rare):
        raise ValueError(
            f"classes of {target!r} with fewer than {FEWEST} rows, too few to learn from and to "
            f"test on: {listed([str(name) for name in rare])}. Leave these rows out, or merge "
            "classes"
        )


def _meant(name: str, names: list[str]) -> str:
    return suggestion(name, names) or f"; the columns are {listed(names)}"
