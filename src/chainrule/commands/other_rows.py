"""Rows of another table than the one learnt from, to judge a model on.

Every error that a user can cause is a ValueError with a message for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.commands.judging import labels_of
from chainrule.commands.predicting import Counts, Stored, column_type, table_blocks
from chainrule.commands.preparing import Table
from chainrule.estimators.cleaning import LARGEST, USED
from chainrule.tables.cells import as_numbers, as_strings, listed
from chainrule.tables.columns import present
from chainrule.tables.types import Reading

if TYPE_CHECKING:
    import pandas as pd


class Tests(NamedTuple):
    """Rows of another table to judge on.

    Attributes
    ----------
    X : pandas.DataFrame of shape (n, columns)
    y : (n,) array
        Classes that are not known are texts.
    left_out : int
        Rows without a true value.
    notices : list of str
    groups : (n,) array of str or None
    """

    X: Any
    y: NDArray[Any]
    left_out: int
    notices: list[str]
    groups: NDArray[Any] | None = None


def read_tests(
    table: Table, source: str, frame: pd.DataFrame, group: str | None, ignored: Sequence[str] = ()
) -> Tests:
    """Read a table as the one that is learnt from was read.

    Parameters
    ----------
    table : Table
        What is learnt from.
    source : str
    frame : pandas.DataFrame
        The table that is learnt from, with the column of groups.
    group : str or None
        That column.
    ignored : sequence of str, default=()
        Columns that are not learnt from on purpose.

    Raises
    ------
    ValueError
        It cannot be read, a column is missing or of another type, no row has a target, or a group
        is on both sides.
    """
    import pandas as pd

    classes = table.task == "classification"
    stored = _as_stored(table, source)
    stored.known |= {*ignored, *frame}
    target, kind = table.target, "number"
    if classes:
        kind = str(table.labels["type"]) if table.labels else table.target_type
        kind = "text" if kind == "boolean" else kind
    wanted: dict[str, str | None] = {target: kind}
    if group is not None:
        wanted[group] = "text"
    counts, frames, truths, names, missing = Counts(), [], [], [], 0
    try:
        for typed, _ in table_blocks(stored, source, wanted, None, counts, None, None):
            there = typed.index.isin(present(typed[target]).index)
            missing += int((~there).sum())
            rows = typed[there]
            column = rows[target]
            frames.append(rows[list(stored.needed)])
            truths.append(labels_of(column, stored) if classes else as_numbers(column))
            if group is not None:
                names.append(as_strings(rows[group], ""))
    except OSError as error:
        raise ValueError(f"--test: {source}: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"--test: {error}") from None
    if not sum(map(len, frames)):
        raise ValueError(f"--test: {source} has no rows with a value of {target!r}")
    if group is not None:
        learnt = as_strings(frame[group].dropna(), "")
        both = sorted(set(np.concatenate(names).tolist()) & set(learnt.tolist()))
        if both:
            raise ValueError(f"--test: groups of {group!r} are in both tables: {listed(both)}")
    truth = np.concatenate(truths)
    notices: list[str] = []
    if classes:
        truth = _as_learnt(truth, table, source, notices)
    elif not (np.abs(truth) <= LARGEST).all():
        raise ValueError(f"--test: {source} has values of {target!r} too large to compute with")
    if missing:
        notices.append(f"{missing:,} rows of {source} left out, without a value of {target!r}")
    if counts.unknown:
        notices.append(f"columns of {source} that are not learnt from: {listed(counts.unknown)}")
    groups = None if group is None else np.concatenate(names)
    return Tests(pd.concat(frames, ignore_index=True), truth, missing, notices, groups)


def _as_stored(table: Table, source: str) -> Stored:
    """What a model of the table will say of its columns, for reading another."""
    needed = {
        column.name: column_type(table.types[column.name], column.kind)
        for column in table.columns
        if column.kind in USED
    }
    formats = {
        name: format
        for name, format in table.formats.items()
        if name == table.target or needed.get(name) == format.type
    }
    missing = None if table.missing_texts is None else tuple(table.missing_texts)
    return Stored(
        path=source,
        estimator=SimpleNamespace(classes_=table.classes),
        target=table.target,
        needed=needed,
        target_type=table.target_type,
        known=set(table.types),
        reading=Reading(formats, missing),
        labels=table.labels,
    )


def _as_learnt(texts: NDArray[Any], table: Table, source: str, notices: list[str]) -> NDArray[Any]:
    """Classes as they are learnt, from their texts; a notice of those that are not."""
    of_text = {str(name): name for name in table.classes.tolist()}
    unknown = sorted(set(texts.tolist()) - set(of_text))
    if unknown:
        n = int(np.isin(texts, unknown).sum())
        notices.append(
            f"{n:,} rows of {source} count as mistaken: no row that is learnt from has their "
            f"classes {listed(unknown)}"
        )
    return np.array([of_text.get(text, text) for text in texts.tolist()], dtype=object)
