"""How good predictions are: metrics with bootstrap intervals, tables by class, calibration.

A metric is a function of weights: with a weight of 1 for each row it is the metric, with the
counts of a bootstrap sample it is that sample's. Nothing is drawn or printed here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.base.validation import ShownAsText
from chainrule.commands.estimates import NAMES, Estimate, interval, metric
from chainrule.estimators.row_columns import numbered

if TYPE_CHECKING:
    from chainrule.commands.deciding import Decision

Numbers = NDArray[np.float64]
Labels = NDArray[np.int64]
Metric = Callable[[Numbers], Numbers]
Metrics = Callable[[Numbers], dict[str, Numbers]]

RESAMPLES = 1000
MOST_DRAWS = 20_000_000  # rows drawn in all: with more rows fewer resamples, but 100 at least
BLOCK = 2_000_000  # weights held at a time
SMALLEST = 1e-15  # probability that the log loss counts for one of 0


@dataclass
class Evaluation(ShownAsText):
    """What :func:`evaluate_classes` or :func:`evaluate_numbers` found.

    Attributes
    ----------
    task : {"classification", "regression"}
    n : int
        Rows.
    level : float
        Of the intervals.
    metrics : dict of str to Estimate
    classes : list of str
    confusion : list of list of int
        Rows: the class it is; columns: the class it was taken for.
    per_class : list of dict
        class, rows, predicted, precision, recall, f1.
    calibration : list of dict
        Of bins: rows, predicted (mean probability), observed (share that came true). With two
        classes of the second one's probability, with more of the likeliest class's.
    residuals : dict
        Quantiles of what is too much (+) or too little (-) in regression's predictions.
    """

    task: str
    n: int
    level: float
    metrics: dict[str, Estimate]
    classes: list[str] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)
    per_class: list[dict[str, Any]] = field(default_factory=list)
    calibration: list[dict[str, float]] = field(default_factory=list)
    residuals: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        rows = [
            (NAMES.get(name, (name, ""))[0], metric(name, each.value), interval(name, each))
            for name, each in self.metrics.items()
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            f"{label:<{widths[0]}}  {value:>{widths[1]}}  {around}" for label, value, around in rows
        ]
        return "\n".join([f"{self.task}, {self.n:,} rows, {self.level:.0%} intervals", *lines])

    def as_dict(self) -> dict[str, Any]:
        """All of it in dicts, lists and numbers; empty tables are left out."""
        found = asdict(self)
        found["metrics"] = {name: e._asdict() for name, e in self.metrics.items()}
        return {name: value for name, value in found.items() if value not in ([], {})}


def bootstrap(
    metrics: Metrics,
    n: int,
    *,
    groups: NDArray[Any] | None = None,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Estimate]:
    """Metrics of n rows with percentile intervals, from the same resamples for all of them.

    Parameters
    ----------
    metrics : callable ((b, n) weights) -> dict of str to (b,) values
    n : int
        Rows, at least 1.
    groups : (n,) array or None, default=None
        The group of each row. Whole groups are drawn then: rows of a group are alike, and drawn one
        by one they would make the intervals too narrow. Of a single group, its rows are drawn.
    level : float, default=0.95
    seed : int, default=0
    resamples : int, default=1000
        At most; of many rows fewer. 0: no intervals.

    Returns
    -------
    dict of str to Estimate
        Resamples in which a metric is not defined are left out of its interval.
    """
    rng = np.random.default_rng(seed)
    values = metrics(np.ones((1, n)))
    group_of = numbered(groups)
    units = n if group_of is None else int(group_of.max()) + 1
    resamples = min(resamples, max(100, MOST_DRAWS // n))
    step = max(1, BLOCK // n)
    found = []
    for start in range(0, resamples, step):
        b = min(step, resamples - start)
        drawn = rng.integers(0, units, (b, units)) + units * np.arange(b)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=b * units).reshape(b, units)
        of_rows = counts if group_of is None else counts[:, group_of]
        found.append(metrics(of_rows.astype(np.float64)))
    tails = [(1 - level) / 2, (1 + level) / 2]
    estimates = {}
    for name, value in values.items():
        samples = np.concatenate([np.empty(0), *(each[name] for each in found)])
        samples = samples[~np.isnan(samples)]
        low, high = np.quantile(samples, tails) if len(samples) else (np.nan, np.nan)
        estimates[name] = Estimate(float(value[0]), float(low), float(high))
    return estimates


def evaluate_classes(
    y: ArrayLike,
    predicted: ArrayLike,
    probabilities: ArrayLike | None,
    classes: ArrayLike,
    *,
    decision: Decision | None = None,
    groups: NDArray[Any] | None = None,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Evaluation:
    """Judge predicted classes.

    Parameters
    ----------
    y, predicted : (n,) array-like
        The class it is, and the class it was taken for.
    probabilities : (n, n_classes) array-like or None
        Columns in the order of `classes`. Without them there is no log loss, AUC or calibration.
    classes : (n_classes,) array-like
        The classes that the model knows. Others in `y` count as mistaken, with probability 0.
    decision : Decision or None, default=None
        Which of two classes precision, recall and costs are of.
    groups : (n,) array or None, default=None
        As for :func:`bootstrap`.
    level : float, default=0.95
    seed : int, default=0
    resamples : int, default=1000
        As for :func:`bootstrap`.

    Returns
    -------
    Evaluation
        Metrics: accuracy, balanced_accuracy, f1_macro; with a decision precision, recall and,
        where it has costs, mean_cost; with probabilities log_loss and roc_auc (with more than two
        classes the mean over the classes, each against the rest).

    Raises
    ------
    ValueError
        There are no rows, or lengths differ.
    """
    known = np.asarray(classes, dtype=object).tolist()
    at = None if decision is None else [str(name) for name in known].index(decision.positive)
    truth, said = np.asarray(y, dtype=object), np.asarray(predicted, dtype=object)
    n = _same_length(truth, said)
    others = sorted(set(truth.tolist()) - set(known), key=str)
    names = [*known, *others]
    index = {name: i for i, name in enumerate(names)}
    t = np.array([index[name] for name in truth.tolist()], np.int64)
    p = np.array([index[name] for name in said.tolist()], np.int64)
    k = len(names)
    cost: Metric | None = None
    areas: list[Metric] = []
    calibration: list[dict[str, float]] = []
    if probabilities is not None:
        P = np.zeros((n, k))
        P[:, : len(known)] = np.asarray(probabilities, np.float64)
        cost = _mean(-np.log(np.clip(P[np.arange(n), t], SMALLEST, 1)))
        against = [1] if len(known) == 2 else range(len(known))
        areas = [_auc(P[:, j], t == j) for j in against]
        if len(known) == 2:
            calibration = reliability(P[:, 1], t == 1)
        else:
            calibration = reliability(P.max(axis=1), t == P.argmax(axis=1))

    def metrics(w: Numbers) -> dict[str, Numbers]:
        confusion = _confusions(w, t, p, k)
        found = {
            "accuracy": np.trace(confusion, axis1=1, axis2=2) / w.sum(axis=1),
            "balanced_accuracy": _balanced(confusion),
            "f1_macro": _f1(confusion),
        }
        if decision is not None and at is not None:
            found |= _of_positive(confusion, at, decision.cost)
        if cost is not None:
            found["log_loss"] = cost(w)
            found["roc_auc"] = _mean_where_defined([area(w) for area in areas])
        return found

    confusion = _confusions(np.ones((1, n)), t, p, k)[0].astype(np.int64)
    return Evaluation(
        task="classification",
        n=n,
        level=level,
        metrics=bootstrap(metrics, n, groups=groups, level=level, seed=seed, resamples=resamples),
        classes=[str(name) for name in names],
        confusion=confusion.tolist(),
        per_class=_per_class(names, confusion),
        calibration=calibration,
    )


def evaluate_numbers(
    y: ArrayLike,
    predicted: ArrayLike,
    *,
    levels: tuple[float, ...] = (),
    groups: NDArray[Any] | None = None,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Evaluation:
    """Judge predicted numbers.

    Parameters
    ----------
    y : (n,) array-like
    predicted : (n,) or (n, q) array-like
        A column for each of `levels`; the middle one counts as the prediction.
    levels : tuple of float, default=()
        Levels of the quantiles that are predicted, increasing.
    groups : (n,) array or None, default=None
        As for :func:`bootstrap`.
    level : float, default=0.95
        Of the intervals around the metrics.
    seed : int, default=0
    resamples : int, default=1000
        As for :func:`bootstrap`.

    Returns
    -------
    Evaluation
        Metrics: rmse, mae, r2, median_error (median of the absolute errors), bias (mean of
        predicted - y); with levels also pinball, the mean over them of the pinball loss, and with
        several coverage, the share of rows between the lowest and the highest.

    Raises
    ------
    ValueError
        There are no rows, or lengths differ.
    """
    truth, values = np.asarray(y, np.float64), np.asarray(predicted, np.float64)
    n = _same_length(truth, values)
    middle = values if values.ndim == 1 else values[:, values.shape[1] // 2]
    error = middle - truth
    centred = truth - truth.mean()  # so that no digits are lost in R²
    parts: dict[str, Metric] = {
        "mae": _mean(np.abs(error)),
        "r2": _r2(centred, error),
        "median_error": _median(np.abs(error)),
        "bias": _mean(error),
    }
    if levels:
        parts["pinball"] = _mean(pinball_losses(truth, values, levels))
    if len(levels) > 1 and values.ndim == 2:
        parts["coverage"] = _mean((truth >= values[:, 0]) & (truth <= values[:, -1]))
    squared = _mean(error**2)

    def metrics(w: Numbers) -> dict[str, Numbers]:
        return {"rmse": np.sqrt(squared(w))} | {name: part(w) for name, part in parts.items()}

    quantiles = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
    return Evaluation(
        task="regression",
        n=n,
        level=level,
        metrics=bootstrap(metrics, n, groups=groups, level=level, seed=seed, resamples=resamples),
        residuals={
            f"{q:g}": float(r)
            for q, r in zip(quantiles, np.quantile(error, quantiles), strict=True)
        },
    )


def pinball_losses(
    truth: NDArray[Any], predicted: NDArray[Any], levels: tuple[float, ...]
) -> Numbers:
    """The mean over the levels τ of max(τ r, (τ - 1) r), r = y - prediction, of each row.

    Parameters
    ----------
    truth : (n,) array
    predicted : (n,) or (n, q) array
    levels : tuple of q floats
    """
    r = np.asarray(truth, np.float64)[:, None] - np.reshape(predicted, (len(truth), -1))
    tau = np.array(levels)
    losses: Numbers = np.maximum(tau * r, (tau - 1) * r).mean(axis=1)
    return losses


def reliability(probability: Numbers, came_true: Any, bins: int = 10) -> list[dict[str, float]]:
    """Predicted and observed frequency in bins of about as many rows each.

    Parameters
    ----------
    probability : (n,) float64
    came_true : (n,) bool
    bins : int, default=10
        At most; rows of the same probability stay together.

    Returns
    -------
    list of dict
        rows, predicted, observed; in increasing order of probability.
    """
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1]))
    at = np.searchsorted(edges, probability, side="left")
    found = []
    for j in range(len(edges) + 1):
        inside = at == j
        if inside.any():
            found.append(
                {
                    "rows": int(inside.sum()),
                    "predicted": float(probability[inside].mean()),
                    "observed": float(np.mean(came_true[inside])),
                }
            )
    return found


def _same_length(truth: NDArray[Any], said: NDArray[Any]) -> int:
    if len(truth) != len(said):
        raise ValueError(f"there are {len(truth)} rows to compare with {len(said)} predictions")
    if not len(truth):
        raise ValueError("there are no rows to evaluate on")
    return len(truth)


def _mean(values: ArrayLike) -> Metric:
    x = np.asarray(values, np.float64)

    def mean(w: Numbers) -> Numbers:
        total: Numbers = w.sum(axis=1)
        return (w @ x) / total

    return mean


def _median(values: Numbers) -> Metric:
    """The weighted median; of an even number, halfway between the two in the middle."""
    order = np.argsort(values, kind="stable")
    x = values[order]

    def median(w: Numbers) -> Numbers:
        below = np.cumsum(w[:, order], axis=1)
        half = below[:, -1:] / 2
        low = np.argmax(below >= half, axis=1)
        high = np.argmax(below > half, axis=1)
        middle: Numbers = (x[low] + x[high]) / 2
        return middle

    return median


def _r2(centred: Numbers, error: Numbers) -> Metric:
    squared = _mean(error**2)
    first, second = _mean(centred), _mean(centred**2)

    def r2(w: Numbers) -> Numbers:
        variance = second(w) - first(w) ** 2
        with np.errstate(all="ignore"):
            return np.where(variance > 1e-300, 1 - squared(w) / variance, np.nan)

    return r2


def _auc(score: Numbers, positive: NDArray[np.bool_]) -> Metric:
    """Area under the ROC curve: how often a positive row scores above a negative one."""
    order = np.argsort(score, kind="stable")
    yes = positive[order]
    last = np.r_[np.flatnonzero(np.diff(score[order])), len(score) - 1]  # of rows of one score

    def area(w: Numbers) -> Numbers:
        ordered = w[:, order]
        negative = np.cumsum(ordered * ~yes, axis=1)[:, last]
        right = np.diff(np.cumsum(ordered * yes, axis=1)[:, last], axis=1, prepend=0.0)
        below = negative - np.diff(negative, axis=1, prepend=0.0) / 2
        pairs = negative[:, -1] * right.sum(axis=1)
        with np.errstate(all="ignore"):
            return np.where(pairs > 0, (right * below).sum(axis=1) / pairs, np.nan)

    return area


def _mean_where_defined(columns: list[Numbers]) -> Numbers:
    values: Numbers = np.stack(columns, axis=1)
    defined = ~np.isnan(values)
    total = defined.sum(axis=1)
    sums = np.where(defined, values, 0).sum(axis=1)
    return np.where(total > 0, sums / np.maximum(total, 1), np.nan)


def _confusions(w: Numbers, t: Labels, p: Labels, k: int) -> Numbers:
    """(b, k, k) confusion matrices of b weightings."""
    cells, cell = np.unique(t * k + p, return_inverse=True)
    matrices = np.zeros((len(w), k * k))
    for j, at in enumerate(cells):
        matrices[:, at] = w @ (cell == j)
    return matrices.reshape(len(w), k, k)


def _balanced(confusion: Numbers) -> Numbers:
    """Mean recall over the classes that there are."""
    right, rows = np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2)
    there = rows > 0
    recall = np.where(there, right / np.maximum(rows, 1e-300), 0)
    mean: Numbers = recall.sum(axis=1) / there.sum(axis=1)
    return mean


def _of_positive(
    confusion: Numbers, at: int, cost: tuple[float, float] | None
) -> dict[str, Numbers]:
    """Precision and recall of a class, NaN where undefined, and the mean cost of a row."""
    right, said, there = (
        confusion[:, at, at],
        confusion[:, :, at].sum(axis=1),
        confusion[:, at].sum(axis=1),
    )
    with np.errstate(all="ignore"):
        found = {"precision": right / said, "recall": right / there}
    if cost is not None:
        total = cost[0] * (said - right) + cost[1] * (there - right)
        found["mean_cost"] = total / confusion.sum(axis=(1, 2))
    return found


def _f1(confusion: Numbers) -> Numbers:
    """Mean F1 over the classes that there are or that were said."""
    right = np.diagonal(confusion, axis1=1, axis2=2)
    both = confusion.sum(axis=2) + confusion.sum(axis=1)
    there = both > 0
    f1 = np.where(there, 2 * right / np.maximum(both, 1e-300), 0)
    mean: Numbers = f1.sum(axis=1) / there.sum(axis=1)
    return mean


def _per_class(names: list[Any], confusion: NDArray[np.int64]) -> list[dict[str, Any]]:
    rows, said, right = confusion.sum(axis=1), confusion.sum(axis=0), confusion.diagonal()
    return [
        {
            "class": str(name),
            "rows": int(rows[j]),
            "predicted": int(said[j]),
            "precision": float(right[j] / said[j]) if said[j] else None,
            "recall": float(right[j] / rows[j]) if rows[j] else None,
            "f1": float(2 * right[j] / (rows[j] + said[j])) if rows[j] + said[j] else None,
        }
        for j, name in enumerate(names)
    ]
