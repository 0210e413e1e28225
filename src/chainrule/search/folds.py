"""Which rows a search learns from and which it measures on, and these as numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.search.results import Part, Question
from chainrule.search.trials import Fold

# Rows below which a search has five folds, or three; with more, one part is held out.
FIVE_FOLDS, THREE_FOLDS = 2000, 10_000
HELD = 0.2  # the part
FEWEST = 10  # rows to search on
Rows = NDArray[np.int64]
Parts = Sequence[Part]


def split(y: NDArray[Any], task: str, test_fraction: float, seed: int) -> tuple[Rows, Rows]:
    """(rows to search on, rows to judge on); of each class as many.

    Raises
    ------
    ValueError
        There are too few rows.
    """
    from sklearn.model_selection import train_test_split

    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must be between 0 and 1; got {test_fraction!r}")
    every = np.arange(len(y))
    try:
        rows, held = train_test_split(
            every,
            test_size=test_fraction,
            random_state=seed,
            stratify=y if task == "classification" else None,
        )
    except ValueError as error:
        raise ValueError(
            f"a part of {test_fraction:g} of {len(y)} rows cannot be held out: {error}"
        ) from None
    return np.sort(rows), np.sort(held)


def usual_folds(n: int) -> int:
    """How many folds a search on n rows has; 1: a part held out."""
    return 5 if n < FIVE_FOLDS else 3 if n < THREE_FOLDS else 1


def parts_of(y: NDArray[Any], task: str, folds: int | None, seed: int) -> Parts:
    """(rows to learn from, rows to measure on) of each fold.

    Parameters
    ----------
    y : (n,) array
    task : str
    folds : int or None
        None: by the number of rows, and not more than the rarest class has rows. 1: one part.
    seed : int

    Raises
    ------
    ValueError
        There are too few rows, or too few of a class.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    n, classes = len(y), task == "classification"
    if n < FEWEST:
        raise ValueError(f"{n} rows are too few to search on; there must be {FEWEST} or more")
    most, of_what = n, f"the {n} rows that are searched on"
    if classes:
        names, counts = np.unique(y, return_counts=True)
        if len(names) < 2:
            raise ValueError(
                f"all rows are of the class {str(names[0])!r}; there is nothing to learn"
            )
        most = int(counts.min())
        rarest = str(names[counts.argmin()])
        of_what = f"the {most} rows of the class {rarest!r} that are searched on"
        if most < 2:
            raise ValueError(
                f"a single row of the class {rarest!r} is left to search on, and each fold needs "
                "one to learn from; leave such rows out, or merge classes"
            )
    if folds is None:
        folds = min(usual_folds(n), most)
    whole = isinstance(folds, int) and not isinstance(folds, bool)
    if not whole or not 1 <= folds <= most:
        raise ValueError(f"folds must be from 1 to {most}, {of_what}; got {folds!r}")
    if folds == 1:
        return [Part(*split(y, task, HELD, seed))]
    how = (StratifiedKFold if classes else KFold)(folds, shuffle=True, random_state=seed)
    return [Part(*rows) for rows in how.split(np.empty(n), y)]


def too_few_to_stop(question: Question, parts: Parts) -> str | None:
    """Why no rows can be held out to stop a fit by; None if they can."""
    if all(part.stop is not None for part in parts):
        return None
    rows = min((part.learn for part in parts), key=len)
    needed = 2
    if question.task == "classification":
        counts = np.unique(question.y[rows], return_counts=True)[1]
        needed = max(2, len(counts)) if counts.min() >= 2 else len(rows) + 1
    fraction = question.fixed.get("validation_fraction", 0.1)
    if (
        isinstance(fraction, float)
        and 0 < fraction < 1
        and math.ceil(fraction * len(rows)) < needed
    ):
        return f"{len(rows):,} rows are too few to hold some of each out to stop by"
    return None


def encoded(question: Question, part: Part, stops: bool) -> Fold:
    """A fold as numbers: trials differ in the network alone, so columns are encoded once.

    Parameters
    ----------
    question : Question
    part : Part
    stops : bool
        Whether fits are stopped by rows held out.
    """
    steps, frame, y, weight = question.pipeline({})[:-1], question.X, question.y, question.weight
    stop = part.stop if stops else None
    learn = part.learn if stop is None else np.setdiff1d(part.learn, stop)
    beside: dict[str, Any] = {} if weight is None else {"sample_weight": weight[learn]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of levels that other folds have
        X = np.asarray(steps.fit_transform(frame.iloc[learn]))
        X_test = np.asarray(steps.transform(frame.iloc[part.held]))
        if stop is not None:
            beside |= {"X_val": np.asarray(steps.transform(frame.iloc[stop])), "y_val": y[stop]}
            if weight is not None:
                beside["sample_weight_val"] = weight[stop]
    return Fold(X, y[learn], X_test, y[part.held], beside)
