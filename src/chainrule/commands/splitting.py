"""Which rows the command train learns from, stops by and judges on.

Every error that a user can cause is a ValueError with a message for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.commands.preparing import Table
from chainrule.estimators import row_splits
from chainrule.estimators.row_splits import Samples, SplitError

Rows = NDArray[np.int64]
FOLDS = 5  # of rows to train on, for thresholds and baselines
OPTIONS = {  # of the arguments that a SplitError names
    "test_fraction": "--test-fraction",
    "folds": "--cv",
    "groups": "--group",
    "times": "--time",
}


class Plan(NamedTuple):
    """Which rows to train on, and which to test on.

    Attributes
    ----------
    parts : list of (rows, rows)
        Once, or for each fold.
    folds : bool
    out_of_fold : bool
        Test on the out-of-fold predictions that the estimator makes as it is fitted.
    """

    parts: list[tuple[Rows, Rows]]
    folds: bool
    out_of_fold: bool = False


def all_rows(table: Table, *, out_of_fold: bool = False) -> Plan:
    """Train on all rows.

    Parameters
    ----------
    table : Table
    out_of_fold : bool, default=False
        Test on out-of-fold predictions of them; else on none of them.
    """
    every = np.arange(len(table.y))
    return Plan([(every, every[:0])], folds=False, out_of_fold=out_of_fold)


def split(
    table: Table, *, test_fraction: float = 0.2, folds: int | None = None, seed: int = 0
) -> Plan:
    """Hold rows out, or make folds; of each class as many.

    Where the table has times, the latest rows are held out; where it has groups, whole ones.

    Parameters
    ----------
    table : Table
    test_fraction : float, default=0.2
        0: none, and no evaluation.
    folds : int or None, default=None
        Cross-validation instead.
    seed : int, default=0

    Raises
    ------
    ValueError
        There are too few rows, or a class would be in held-out rows alone.
    """
    samples = samples_of(table)
    if folds is None and test_fraction == 0:
        return all_rows(table)
    with as_options():
        if folds is None:
            return Plan([row_splits.held_out(samples, test_fraction, seed)], folds=False)
        parts = row_splits.in_folds(samples, folds, seed)
        row_splits.check_classes(samples, parts)
    return Plan(parts, folds=True)


def inner_parts(table: Table, rows: Rows, seed: int) -> list[tuple[Rows, Rows]]:
    """Rows to train on in at most five folds: (rows to train on, rows to test on) of each.

    Parameters
    ----------
    table : Table
        With groups, each is in one fold; with times, the folds follow one another.
    rows : (n,) array
    seed : int

    Raises
    ------
    ValueError
        There are too few rows or groups, or a class would be in one fold alone.
    """
    samples = samples_of(table).take(rows)
    with as_options():
        folds = min(FOLDS, row_splits.most_folds(samples)[0])
        parts = row_splits.in_folds(samples, folds, seed)
        row_splits.check_classes(samples, parts)
    return [(rows[train], rows[test]) for train, test in parts]


def stopping_rows(table: Table, rows: Rows, fraction: float, seed: int) -> Rows | None:
    """Rows to stop the training by, of those to train on; None: the estimator chooses them.

    They are the latest ones, or whole groups, so that the loss on them is that of rows to come.

    Parameters
    ----------
    table : Table
    rows : (n,) array
    fraction : float
        Of the rows.
    seed : int
    """
    found = row_splits.stopping_rows(samples_of(table).take(rows), fraction, seed)
    return None if found is None else rows[found]


def samples_of(table: Table) -> Samples:
    """What the rows of a table are split by.

    Parameters
    ----------
    table : Table
    """
    return Samples(table.y, table.task, table.of_rows)


@contextmanager
def as_options() -> Iterator[None]:
    """Name the option at fault where rows cannot be split, not the argument in Python."""
    try:
        yield
    except SplitError as error:
        raise ValueError(OPTIONS[error.argument] + error.said) from None
