"""Which rows a search learns from and which it measures on, and these as numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.estimators.row_splits import (
    Samples,
    SplitError,
    check_classes,
    check_folds,
    held_out,
    in_folds,
    most_folds,
)
from chainrule.search.results import Part, Question
from chainrule.search.trials import Fold

# Rows below which a search has five folds, or three; with more, one part is held out.
FIVE_FOLDS, THREE_FOLDS = 2000, 10_000
HELD = 0.2  # the part
FEWEST = 10  # rows to search on


def usual_folds(n: int) -> int:
    """How many folds a search on n rows has; 1: a part held out."""
    return 5 if n < FIVE_FOLDS else 3 if n < THREE_FOLDS else 1


def parts_of(samples: Samples, folds: int | None, seed: int) -> list[Part]:
    """Rows to learn from and to measure on of each fold; none to stop by.

    Parameters
    ----------
    samples : Samples
        With groups, each is in one fold; with times, the latest rows are the one fold.
    folds : int or None
        None: by the number of rows, and not more than there are groups or rows of the rarest class.
        1: one part.
    seed : int

    Raises
    ------
    ValueError
        There are too few rows, or too few of a class, groups or times.
    """
    n = len(samples.y)
    if n < FEWEST:
        raise ValueError(f"{n} rows are too few to search on; there must be {FEWEST} or more")
    if samples.task == "classification":
        names, counts = np.unique(samples.y, return_counts=True)
        if len(names) < 2:
            raise ValueError(
                f"all rows are of the class {str(names[0])!r}; there is nothing to learn"
            )
        if counts.min() < 2:
            raise ValueError(
                f"a single row of the class {str(names[counts.argmin()])!r} is left to search on, "
                "and each fold needs one to learn from; leave such rows out, or merge classes"
            )
    facts = samples.facts
    for argument, one, of_row in (("groups", "group", facts.group), ("times", "time", facts.time)):
        if of_row is not None and len(np.unique(of_row)) < 2:
            raise SplitError(
                argument,
                f": a single {one} is left to search on, and each fold needs one to learn from and "
                f"one to measure on; with the one that is held out, there must be 3 {one}s or more",
            )
    if facts.time is not None:
        if folds not in (None, 1):
            raise SplitError(
                "folds", f" goes with times only if it is 1: the latest rows, once; got {folds!r}"
            )
        folds = 1
    elif folds is None:
        folds = min(usual_folds(n), most_folds(samples)[0])
    else:
        check_folds(samples, folds, 1, " that are searched on")
    if folds == 1:
        return [Part(*held_out(samples, HELD, seed, "folds"))]
    parts = in_folds(samples, folds, seed)
    check_classes(samples, parts)
    return [Part(*each) for each in parts]


def too_few_to_stop(question: Question, parts: Sequence[Part]) -> str | None:
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
    steps, frame, y = question.pipeline({})[:-1], question.X, question.y
    weight = question.facts.weight
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
    of_held = None if weight is None else weight[part.held]
    return Fold(X, y[learn], X_test, y[part.held], beside, of_held)
