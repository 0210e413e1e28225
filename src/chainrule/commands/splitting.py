"""Which rows the command train learns from, stops by and judges on.

Every error that a user can cause is a ValueError with a message for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.commands.preparing import Table
from chainrule.ensembles.blending import deal_groups
from chainrule.tables.cells import listed

Rows = NDArray[np.int64]
FOLDS = 5  # of rows to train on, for thresholds and baselines
DEALS = 20  # ways to hold out groups that are tried


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
    every = np.arange(len(table.y))
    if folds is not None:
        plan = Plan(fold_parts(table, every, folds, seed), folds=True)
    elif test_fraction == 0:
        return all_rows(table)
    else:
        called = f"--test-fraction {test_fraction:g}"
        plan = Plan([_held_out(table, every, test_fraction, seed, called)], folds=False)
    check_classes(table, plan.parts)
    return plan


def fold_parts(table: Table, rows: Rows, folds: int, seed: int) -> list[tuple[Rows, Rows]]:
    """Some rows in folds: (rows to train on, rows to test on) of each.

    Parameters
    ----------
    table : Table
        With groups, each is in one fold; with times, the folds follow one another.
    rows : (n,) array
    folds : int
    seed : int

    Raises
    ------
    ValueError
        There are too few rows or groups.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    y, of = table.y[rows], table.of_rows
    if of.group is not None:
        n_groups = len(np.unique(of.group[rows]))
        if folds > n_groups:
            raise ValueError(f"--cv must be from 2 to {n_groups}, the groups; got {folds}")
        fold = deal_groups(of.group[rows], folds, np.random.RandomState(seed))
        return [(rows[fold != k], rows[fold == k]) for k in range(folds)]
    classes = table.task == "classification"
    fewest = int(np.unique(y, return_counts=True)[1].min()) if classes else len(rows)
    if not 2 <= folds <= fewest:
        of_what = "rows of the rarest class" if classes else "rows"
        raise ValueError(f"--cv must be from 2 to {fewest}, the {of_what}; got {folds}")
    if of.time is not None:
        order = rows[np.argsort(of.time[rows], kind="stable")]
        parts = np.array_split(order, folds)
        return [(np.setdiff1d(rows, part), np.sort(part)) for part in parts]
    how = (StratifiedKFold if classes else KFold)(folds, shuffle=True, random_state=seed)
    return [(rows[train], rows[test]) for train, test in how.split(rows, y)]


def search_parts(
    table: Table, rows: Rows, folds: int | None, seed: int
) -> list[tuple[Rows, Rows]] | None:
    """Rows of a search in folds, by groups or time; None: there is neither.

    Parameters
    ----------
    table : Table
    rows : (n,) array
    folds : int or None
        1: a part held out, as by time; None: as many as a search has, and not more than groups.
    seed : int
    """
    from chainrule.search.folds import HELD, usual_folds

    of = table.of_rows
    if of.group is None and of.time is None:
        return None
    if of.group is not None and folds is None:
        folds = min(usual_folds(len(rows)), len(np.unique(of.group[rows])))
    if of.group is not None and folds != 1:
        parts = fold_parts(table, rows, folds or 1, seed)
    else:
        parts = [_held_out(table, rows, HELD, seed, "--cv 1")]
    check_classes(table, parts)
    return parts


def inner_parts(table: Table, rows: Rows, seed: int) -> list[tuple[Rows, Rows]]:
    """Rows to train on in at most five folds, as :func:`fold_parts` makes them.

    Parameters
    ----------
    table : Table
    rows : (n,) array
    seed : int
    """
    most = len(rows)
    if table.of_rows.group is not None:
        most = len(np.unique(table.of_rows.group[rows]))
    elif table.task == "classification":
        most = int(np.unique(table.y[rows], return_counts=True)[1].min())
    return fold_parts(table, rows, min(FOLDS, most), seed)


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
    if table.of_rows.group is None and table.of_rows.time is None:
        return None
    try:
        part = _held_out(table, rows, fraction, seed, "--validation-fraction")
        check_classes(table, [part])
    except ValueError:  # no group or no time can be spared
        return None
    return part[1]


def _held_out(
    table: Table, rows: Rows, fraction: float, seed: int, called: str
) -> tuple[Rows, Rows]:
    """(rows to train on, rows held out)."""
    if table.of_rows.time is not None:
        held = _latest(table.of_rows.time[rows], fraction)
    elif table.of_rows.group is not None:
        held = _whole_groups(table, rows, fraction, seed)
    else:
        return _at_random(table, rows, fraction, seed, called)
    return rows[~held], rows[held]


def _at_random(
    table: Table, rows: Rows, fraction: float, seed: int, called: str
) -> tuple[Rows, Rows]:
    from sklearn.model_selection import train_test_split

    y = table.y[rows] if table.task == "classification" else None
    try:
        train, held = train_test_split(rows, test_size=fraction, random_state=seed, stratify=y)
    except ValueError as error:
        raise ValueError(f"{called} of {len(rows)} rows cannot be held out: {error}") from None
    return np.sort(train), np.sort(held)


def _latest(times: NDArray[Any], fraction: float) -> NDArray[np.bool_]:
    """Which rows are the latest; rows of the same time stay together."""
    n, ordered = len(times), np.sort(times)

    def after(time: Any) -> Any:
        place = int(np.searchsorted(ordered, time, "right"))
        return ordered[place] if place < n else None

    held: NDArray[np.bool_] = times >= first_of_latest(n, fraction, ordered.__getitem__, after)
    return held


def first_of_latest(
    n: int, fraction: float, at: Callable[[int], Any], after: Callable[[Any], Any]
) -> Any:
    """The time from which on rows are the latest ones.

    Parameters
    ----------
    n : int
        How many rows there are.
    fraction : float
        About which part of them the latest are.
    at : callable (k) -> time
        The time of which k rows are earlier, in an order of all rows.
    after : callable (time) -> time or None
        The next time that a row has.

    Raises
    ------
    ValueError
        All rows are of one time.
    """
    first = at(min(max(n - round(fraction * n), 1), n - 1))
    if first == at(0):
        first = after(first)
    if first is None:
        raise ValueError("--time: all rows are of the same time; none is the latest")
    return first


def _whole_groups(table: Table, rows: Rows, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Which rows to hold out: groups drawn at random, about that part of the rows.

    Of several ways to draw them the one is taken that keeps most classes to learn from, and whose
    part is nearest to the one asked for in all rows and in each class.
    """
    assert table.of_rows.group is not None
    groups, sizes = np.unique(table.of_rows.group[rows], return_counts=True)
    y = np.zeros(len(rows), np.int64)
    if table.task == "classification":
        y = np.unique(table.y[rows], return_inverse=True)[1]
    best: tuple[Any, ...] = ()
    for chosen in deals(sizes, fraction, seed):
        held = np.isin(table.of_rows.group[rows], groups[chosen])
        shares = np.bincount(y, held) / np.bincount(y)
        score = (int((shares == 1).sum()), abs(held.mean() - fraction) + np.ptp(shares))
        if not best or score < best[0]:
            best = (score, held)
    found: NDArray[np.bool_] = best[1]
    return found


def deals(sizes: NDArray[np.int64], fraction: float, seed: int) -> Iterator[Rows]:
    """Several ways to draw groups that have about a part of the rows.

    Parameters
    ----------
    sizes : (k,) int array
        Rows of each group.
    fraction : float
    seed : int

    Yields
    ------
    int array
        Which groups; at least one, and not all.

    Raises
    ------
    ValueError
        There are fewer than two.
    """
    if len(sizes) < 2:
        raise ValueError("--group: all rows are of one group; there is none to hold out")
    rng = np.random.default_rng(seed)
    for _ in range(DEALS):
        order = rng.permutation(len(sizes))
        ends = np.cumsum(sizes[order])[:-1]
        yield order[: 1 + int(np.abs(ends - fraction * sizes.sum()).argmin())]


def check_classes(table: Table, parts: list[tuple[Rows, Rows]]) -> None:
    """Refuse parts that leave nothing to learn of a class.

    Parameters
    ----------
    table : Table
    parts : list of (rows, rows)
        Rows to train on, and rows held out.

    Raises
    ------
    ValueError
    """
    if table.task != "classification":
        return
    for train, held in parts:
        lost = np.setdiff1d(table.y[held], table.y[train])
        if len(lost):
            raise lost_classes(lost.tolist(), "group" if table.of_rows.time is None else "time")


def lost_classes(lost: Iterable[Any], role: str) -> ValueError:
    """The error of classes of which all rows are held out, by "time" or by "group"."""
    where = "the latest rows" if role == "time" else "groups that are held out together"
    return ValueError(
        f"--{role}: all rows of {listed([str(one) for one in lost])} are in {where}, so that "
        "nothing could be learnt of that class; leave these rows out, or hold out fewer rows"
    )
