"""Whether a search has paid: two models on the same rows, which neither has seen."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.estimators.row_columns import numbered
from chainrule.search.measures import Measure, Rows

RESAMPLES = 2000
BLOCK = 2_000_000  # rows drawn at a time
LEVEL = 0.95


class Interval(NamedTuple):
    """A number, and an interval of bootstrap percentiles around it."""

    value: float
    low: float
    high: float


class Comparison(NamedTuple):
    """A model compared with another one on the same rows.

    Attributes
    ----------
    first, second : Interval
        The measure of each.
    gain : Interval
        By how much the first is better (+) or worse (-): `second` - `first`.
    rows : int
    label : str
        The measure in print.
    """

    first: Interval
    second: Interval
    gain: Interval
    rows: int
    label: str

    @property
    def shown(self) -> bool:
        """Whether the whole interval of the gain is above 0."""
        return self.gain.low > 0


def compare(
    measure: Measure,
    first: Rows,
    second: Rows,
    *,
    weight: Rows | None = None,
    groups: NDArray[Any] | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare two models by the losses of the same rows.

    Rows are drawn anew, with replacement, and both models are measured on the same draw: what makes
    a row hard for both then adds nothing to the interval of the difference. Where rows come in
    groups, whole groups are drawn, since the losses of rows of a group are alike. That the models
    would be others with other rows to learn from, or other starting values, is not in it.

    Parameters
    ----------
    measure : Measure
    first, second : (n,) arrays
        The loss of each row.
    weight : (n,) array or None, default=None
        What each row counts for. Every row is as likely to be drawn.
    groups : (n,) array or None, default=None
        The group of each row. Every group is as likely to be drawn; of a single one, every row.
    seed : int, default=0

    References
    ----------
    B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13. Of
    groups: A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application (1997), section
    3.8.
    """
    n_rows = len(first)
    rng = np.random.default_rng(seed)
    losses = np.stack([first, second])
    group_of = numbered(groups)
    if group_of is not None:
        losses, weight = _of_groups(losses, weight, group_of)
    n = losses.shape[1]
    step = max(1, BLOCK // n)
    found = []
    for start in range(0, RESAMPLES, step):
        rows = rng.integers(0, n, (min(step, RESAMPLES - start), n))
        found.append(measure.of(losses[:, rows], None if weight is None else weight[rows]))
    drawn = np.concatenate(found, axis=1)
    value = measure.of(losses, weight)
    return Comparison(
        _interval(value[0], drawn[0]),
        _interval(value[1], drawn[1]),
        _interval(value[1] - value[0], drawn[1] - drawn[0]),
        n_rows,
        measure.label,
    )


def _of_groups(losses: Rows, weight: Rows | None, group_of: NDArray[np.int64]) -> tuple[Rows, Rows]:
    """The mean losses of each group, and what its rows count for together."""
    weight = np.ones(len(group_of)) if weight is None else weight
    together: Rows = np.bincount(group_of, weight).astype(np.float64)
    means = [np.bincount(group_of, weight * each) / together for each in losses]
    return np.stack(means), together


def _interval(value: float, drawn: Rows) -> Interval:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))
