"""Intervals and sets of classes that hold the truth with a given probability.

Every training row i has a score: how far its target is from the prediction of the models that were
fitted without its fold k(i). A new row takes the same place among the training rows, whatever the
models are worth, if all rows come independently from one distribution. So, with μ_{-k} the
prediction without fold k and α = 1 - coverage, the interval of CV+ (Barber, Candès, Ramdas and
Tibshirani 2021) is

    [ the ⌊α (n + 1)⌋-th smallest of μ_{-k(i)}(x) - R_i,
      the ⌈(1 - α)(n + 1)⌉-th smallest of μ_{-k(i)}(x) + R_i ],    R_i = |y_i - μ_{-k(i)}(x_i)|,

and the set of classes (Romano, Sesia and Candès 2020, section 3) has each class c of which

    Σ_i [ 1 - p_{-k(i)}(c | x) > S_i ] < (1 - α)(n + 1),    S_i = 1 - p_{-k(i)}(y_i | x_i).

What is guaranteed is a coverage of about 1 - 2 α; what is seen is about 1 - α.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # of floats, folds or truth values


def intervals(without: Array, scores: Array, folds: Array, coverage: float) -> tuple[Array, Array]:
    """The lower and upper ends for m rows.

    Parameters
    ----------
    without : (F, m) array
        μ_{-k} of each row.
    scores : (n,) array
        R_i.
    folds : (n,) int array
        k(i).
    coverage : float
        1 - α.

    Returns
    -------
    low, high : (m,) arrays
        Infinite where there are too few training rows for this coverage.
    """
    n, m = len(scores), without.shape[1]
    low, high = np.full(m, -np.inf), np.full(m, np.inf)
    # Rounded, so that 0.9 of 99 + 1 rows are 90 and not 91.
    upper = int(np.ceil(round(coverage * (n + 1), 9)))
    lower = int(np.floor(round((1 - coverage) * (n + 1), 9)))
    rows = max(1, (1 << 22) // n)
    for start in range(0, m, rows):
        at = slice(start, start + rows)
        of_fold = without[folds, at]
        if upper <= n:
            high[at] = np.partition(of_fold + scores[:, None], upper - 1, axis=0)[upper - 1]
        if lower >= 1:
            low[at] = np.partition(of_fold - scores[:, None], lower - 1, axis=0)[lower - 1]
    return low, high


def class_sets(without: Array, scores: Array, folds: Array, coverage: float) -> Array:
    """Which classes belong to the set of each of m rows.

    Parameters
    ----------
    without : (F, m, K) array
        p_{-k} of each row.
    scores, folds, coverage :
        As in :func:`intervals`, the scores S_i.

    Returns
    -------
    (m, K) bool array
    """
    n = len(scores)
    smaller = np.zeros(without.shape[1:], np.int64)
    for f in range(len(without)):
        of_fold = np.sort(scores[folds == f])
        smaller += np.searchsorted(of_fold, 1 - without[f], side="left")
    members: Array = smaller < round(coverage * (n + 1), 9)
    return members
