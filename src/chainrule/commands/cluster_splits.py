"""Which rows of a table on a cluster judge the model, and which stop its training.

It is as in `row_splits`, which has all rows at hand. Every error that a user can cause is a
ValueError with a message for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chainrule.commands.splitting import as_options
from chainrule.estimators.row_splits import deals, first_of_latest, lost_classes

if TYPE_CHECKING:
    from chainrule.dask.files import Survey, Target
    from chainrule.dask.sides import Asked, ByGroup, ByTime, Split


def stopping_fraction(chosen: Mapping[str, Any]) -> float:
    """Which part of the rows stops the training, by the parameters that are given; 0: none."""
    fraction = chosen.get("validation_fraction", 0.1)
    if not chosen.get("early_stopping", True) or not isinstance(fraction, float):
        return 0.0
    return fraction if 0 < fraction < 1 else 0.0  # the estimator refuses it


def split_on(
    work: Any, parts: Sequence[Any], seen: Any, asked: Asked, held: float, stop: float
) -> Split:
    """Choose the rows that judge and the rows that stop the training.

    Parameters
    ----------
    work : chainrule.dask.work.Work
    parts : list of Part
    seen : Look
    asked : Asked
    held : float
        Part of all rows that judge.
    stop : float
        Part of the others that stop the training; 0: the estimator chooses some, if any.

    Raises
    ------
    ValueError
        All rows are of one time, or of one group; a row cannot be read.
    """
    from chainrule.dask.sides import AtRandom
    from chainrule.dask.splits import Times, groups_of

    def by_time() -> Split:
        times = Times(work, parts, seen, asked)
        return _latest(times, held, stop) if times.n else AtRandom()

    if "time" in asked.roles:
        with as_options():
            found: Split = work.persistently(by_time)
        return found
    if "group" in asked.roles:
        groups, sizes = work.persistently(lambda: groups_of(work, parts, seen, asked))
        return _whole_groups(groups, sizes, held, stop, asked) if len(groups) else AtRandom()
    return AtRandom(held)


def _latest(times: Any, held: float, stop: float) -> ByTime:
    """The latest rows, and the latest of the others."""
    from chainrule.dask.sides import ByTime

    first = first_of_latest(times.n, held, times.at, times.after)
    n = times.up_to(first - 1)

    def after(time: int) -> int | None:
        later = times.after(time)
        return later if later < first else None

    if not stop:
        return ByTime(first)
    try:
        return ByTime(first, first_of_latest(n, stop, times.at, after))
    except ValueError:  # no time can be spared
        return ByTime(first)


def _whole_groups(
    groups: NDArray[np.int64], sizes: NDArray[np.int64], held: float, stop: float, asked: Asked
) -> ByGroup:
    """Groups drawn at random, and some of the others."""
    from chainrule.dask.sides import ByGroup
    from chainrule.estimators.row_columns import one_group

    if len(groups) < 2:
        raise one_group(f"--group: {asked.roles['group']!r}", "is the same in every row")
    none = groups[:0]
    judge = _drawn(groups, sizes, held, asked.seed) if held else none
    others = ~np.isin(groups, judge)
    if not stop or others.sum() < 2:  # no group can be spared
        return ByGroup(judge, none)
    return ByGroup(judge, _drawn(groups[others], sizes[others], stop, asked.seed))


def _drawn(
    groups: NDArray[np.int64], sizes: NDArray[np.int64], fraction: float, seed: int
) -> NDArray[np.int64]:
    """Of several ways to draw groups, the one whose rows are nearest to a part of all."""

    def apart(chosen: NDArray[np.int64]) -> float:
        return abs(float(sizes[chosen].sum() / sizes.sum()) - fraction)

    return groups[min(deals(sizes, fraction, seed), key=apart)]


def is_learnt(survey: Survey, target: Target) -> bool:
    """Whether rows of every class are learned from, if rows stop the training.

    Parameters
    ----------
    survey : Survey
    target : Target

    Raises
    ------
    ValueError
        All rows of a class judge the model, and they are held out by time or by group.
    """
    import pandas as pd

    from chainrule.dask.sides import HELD, LEARN, STOP

    asked = survey.asked
    role = next((role for role in ("time", "group") if role in asked.roles), None)
    if role is None or not target.classes or survey.labels is None:
        return True
    of: dict[int, set[Any]] = {}
    for side in (LEARN, STOP, HELD):
        cells = [cell for where, cell, _ in survey.labels if where == side]
        dtype = survey.frame[target.name].dtype
        of[side] = set(target.values(pd.Series(cells, dtype=dtype, name=target.name)).tolist())
    lost = of[HELD] - of[LEARN] - of[STOP]
    if lost:
        with as_options():
            raise lost_classes(sorted(lost), f"{role}s")
    return not of[STOP] - of[LEARN]
