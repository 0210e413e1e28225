"""Which rows are learnt from, stopped by and held out: at random, by groups, or by time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.base.validation import is_whole
from chainrule.ensembles.blending import deal_groups
from chainrule.estimators.row_columns import RowColumns
from chainrule.tables.cells import listed

Rows = NDArray[np.int64]
DEALS = 20  # ways to hold out groups that are tried
LEFT = 2  # groups or times to learn from, where there are more: one can be measured or stopped by


class SplitError(ValueError):
    """Rows cannot be split as an argument says.

    Parameters
    ----------
    argument : str
        The argument at fault, by its name in Python, with which the message begins.
    said : str
        The rest of the message.
    """

    def __init__(self, argument: str, said: str) -> None:
        super().__init__(argument, said)
        self.argument, self.said = argument, said

    def __str__(self) -> str:
        return self.argument + self.said


class Samples(NamedTuple):
    """What splits go by; with times the rows follow one another, with groups these stay whole.

    Attributes
    ----------
    y : (n,) array
    task : {"classification", "regression"}
        Of a classification, both sides of a split get as many of each class as can be.
    facts : RowColumns
        Not both groups and times.
    """

    y: NDArray[Any]
    task: str
    facts: RowColumns = RowColumns()

    def take(self, rows: NDArray[Any]) -> Samples:
        """Some of them."""
        return Samples(self.y[rows], self.task, self.facts.take(rows))


def held_out(
    samples: Samples, fraction: Any, seed: int, argument: str = "test_fraction"
) -> tuple[Rows, Rows]:
    """(rows to learn from, rows held out): the latest ones, whole groups, or at random.

    Parameters
    ----------
    samples : Samples
    fraction : float
        Of the rows.
    seed : int
    argument : str, default="test_fraction"
        Which one says so, for messages.

    Raises
    ------
    SplitError
        There are too few rows, groups or times, or a class would be in rows held out alone.
    """
    if not isinstance(fraction, float | int | np.floating) or not 0 < fraction < 1:
        raise SplitError(argument, f" must be between 0 and 1; got {fraction!r}")
    fraction = float(fraction)
    every = np.arange(len(samples.y))
    if samples.facts.time is not None:
        held = _latest(samples.facts.time, fraction)
    elif samples.facts.group is not None:
        held = _whole_groups(samples, fraction, seed)
    else:
        return _at_random(samples, fraction, seed, argument)
    parts = every[~held], every[held]
    check_classes(samples, [parts])
    return parts


def in_folds(samples: Samples, folds: int, seed: int) -> list[tuple[Rows, Rows]]:
    """(rows to learn from, rows held out) of each fold; those of all folds are all rows.

    Parameters
    ----------
    samples : Samples
        With groups, each is in one fold; with times, the folds follow one another.
    folds : int
        From 2 to the number of groups, of rows, or of rows of the rarest class.
    seed : int

    Raises
    ------
    SplitError
        `folds` is another number.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    check_folds(samples, folds, 2)
    y, n = samples.y, len(samples.y)
    every = np.arange(n)
    if samples.facts.group is not None:
        fold = deal_groups(samples.facts.group, folds, np.random.RandomState(seed))
        return [(every[fold != k], every[fold == k]) for k in range(folds)]
    if samples.facts.time is not None:
        parts = np.array_split(np.argsort(samples.facts.time, kind="stable"), folds)
        return [(np.setdiff1d(every, part), np.sort(part)) for part in parts]
    classes = samples.task == "classification"
    how = (StratifiedKFold if classes else KFold)(folds, shuffle=True, random_state=seed)
    return list(how.split(every, y))


def most_folds(samples: Samples) -> tuple[int, str]:
    """How many folds there can be, and of what there are so many.

    Parameters
    ----------
    samples : Samples
    """
    if samples.facts.group is not None:
        return len(np.unique(samples.facts.group)), "groups"
    if samples.task == "classification":
        names, counts = np.unique(samples.y, return_counts=True)
        return int(counts.min()), f"rows of the class {str(names[counts.argmin()])!r}"
    return len(samples.y), "rows"


def check_folds(samples: Samples, folds: Any, least: int, which: str = "") -> None:
    """Refuse a number of folds that there cannot be.

    Parameters
    ----------
    samples : Samples
    folds : int
    least : int
    which : str, default=""
        Which samples these are, for the message.

    Raises
    ------
    SplitError
    """
    most, of_what = most_folds(samples)
    if not is_whole(folds) or not least <= folds <= most:
        raise SplitError(
            "folds", f" must be from {least} to {most}, the {most} {of_what}{which}; got {folds!r}"
        )


def stopping_rows(samples: Samples, fraction: Any, seed: int) -> Rows | None:
    """Rows to stop a fit by, of those to learn from; None: the estimator chooses them.

    They are the latest ones, or whole groups, so that the loss on them is that of rows to come.

    Parameters
    ----------
    samples : Samples
    fraction : float
        Of the rows; what is no part of them is left to the estimator, which refuses it.
    seed : int
    """
    if samples.facts.group is None and samples.facts.time is None:
        return None
    if not isinstance(fraction, float) or not 0 < fraction < 1:
        return None
    try:
        return held_out(samples, fraction, seed)[1]
    except SplitError:  # no group or no time can be spared
        return None


def _at_random(samples: Samples, fraction: float, seed: int, argument: str) -> tuple[Rows, Rows]:
    from sklearn.model_selection import train_test_split

    n = len(samples.y)
    try:
        rows, held = train_test_split(
            np.arange(n),
            test_size=fraction,
            random_state=seed,
            stratify=samples.y if samples.task == "classification" else None,
        )
    except ValueError as error:
        raise SplitError(
            argument, f" {fraction:g} of {n} rows cannot be held out: {error}"
        ) from None
    return np.sort(rows), np.sort(held)


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
    """The time from which on rows are the latest ones; two times are left, if there are more.

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
    SplitError
        All rows are of one time.
    """
    earliest = at(0)
    for k in range(LEFT):
        later = after(earliest)
        if later is None and k == 0:
            raise SplitError("times", ": all rows are of the same time; none is the latest")
        earliest = earliest if later is None else later
    return max(earliest, at(min(n - round(fraction * n), n - 1)))


def _whole_groups(samples: Samples, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Which rows to hold out: groups drawn at random, about that part of the rows.

    Of several ways to draw them the one is taken that keeps most classes to learn from, and whose
    part is nearest to the one asked for in all rows and in each class.
    """
    of_row = samples.facts.group
    assert of_row is not None
    n = len(of_row)
    groups, sizes = np.unique(of_row, return_counts=True)
    y = np.zeros(n, np.int64)
    if samples.task == "classification":
        y = np.unique(samples.y, return_inverse=True)[1]
    best: tuple[Any, ...] = ()
    for chosen in deals(sizes, fraction, seed):
        held = np.isin(of_row, groups[chosen])
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
        Which groups; at least one, and two are left, if there are more.

    Raises
    ------
    SplitError
        There are fewer than two.
    """
    if len(sizes) < 2:
        raise SplitError("groups", ": all rows are of one group; there is none to hold out")
    rng = np.random.default_rng(seed)
    for _ in range(DEALS):
        order = rng.permutation(len(sizes))
        ends = np.cumsum(sizes[order])[: max(1, len(sizes) - LEFT)]
        yield order[: 1 + int(np.abs(ends - fraction * sizes.sum()).argmin())]


def check_classes(samples: Samples, parts: list[tuple[Rows, Rows]]) -> None:
    """Refuse parts that leave nothing to learn of a class.

    Parameters
    ----------
    samples : Samples
    parts : list of (rows, rows)
        Rows to learn from, and rows held out.

    Raises
    ------
    SplitError
    """
    if samples.task != "classification":
        return
    for learnt, held in parts:
        lost = np.setdiff1d(samples.y[held], samples.y[learnt])
        if len(lost):
            raise lost_classes(lost.tolist(), "groups" if samples.facts.time is None else "times")


def lost_classes(lost: Iterable[Any], argument: str) -> SplitError:
    """The error of classes of which all rows are held out, by "times" or by "groups"."""
    where = "the latest rows" if argument == "times" else "groups that are held out together"
    return SplitError(
        argument,
        f": all rows of {listed([str(one) for one in lost])} are in {where}, so that nothing could "
        "be learnt of that class; leave these rows out, or hold out fewer rows",
    )
