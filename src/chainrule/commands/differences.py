"""How much better one model predicts some rows than another does, and how sure that is.

Both are judged on the same resamples of the rows (a paired bootstrap): a row that is hard is hard
for both, and does not blur the difference.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.commands.estimates import NAMES, Estimate, metric
from chainrule.commands.evaluation import SMALLEST, bootstrap, pinball_losses


class Score(NamedTuple):
    """By what a model of numbers is compared with others.

    Attributes
    ----------
    metric : {"rmse", "mae", "pinball"}
    levels : tuple of float
        The quantiles that it predicts, for the pinball loss.
    """

    metric: str = "rmse"
    levels: tuple[float, ...] = ()

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The levels of what it predicts; empty for a mean."""
        return (0.5,) if self.metric == "mae" else self.levels

    @property
    def has_middle(self) -> bool:
        """Whether a mean, or a median, is among what it predicts, and in the middle."""
        return self.metric != "pinball" or self.levels[len(self.levels) // 2] == 0.5


def score_of(model: Any) -> Score:
    """By what a model of numbers is compared: what it was trained for.

    Parameters
    ----------
    model : estimator or Pipeline
        Fitted.
    """
    last = model[-1] if hasattr(model, "steps") else model
    if not hasattr(last, "_levels"):
        return Score()
    loss = last._loss()
    return Score(loss.compared_by, tuple(loss.levels))


class RowLosses(NamedTuple):
    """What each row costs a model, and the metric that is made of it.

    Attributes
    ----------
    metric : {"log_loss", "rmse", "mae", "pinball"}
    losses : (n,) float64 array
        -log of the probability of its class, the squared or the absolute error, or the mean pinball
        loss of the quantiles predicted.
    """

    metric: str
    losses: NDArray[np.float64]

    def mean(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The metric under weights of the rows, (b, n) to (b,)."""
        means: NDArray[np.float64] = weights @ self.losses / weights.sum(axis=1)
        return np.sqrt(means) if self.metric == "rmse" else means


def losses_of_classes(
    truth: NDArray[Any], chances: NDArray[Any], classes: NDArray[Any]
) -> RowLosses:
    """The log loss of each row.

    Parameters
    ----------
    truth : (n,) array
        Classes, or their names; of one that is not known the probability is 0.
    chances : (n, n_classes) array
    classes : (n_classes,) array
    """
    place = {str(name): j for j, name in enumerate(classes.tolist())}
    at = np.array([place.get(str(label), -1) for label in truth.tolist()], np.int64)
    right = np.where(at < 0, 0.0, chances[np.arange(len(at)), at])
    return RowLosses("log_loss", -np.log(np.clip(right, SMALLEST, 1)))


def losses_of_numbers(
    truth: NDArray[Any], predicted: NDArray[Any], score: Score | None = None
) -> RowLosses:
    """What each row costs by a score.

    Parameters
    ----------
    truth : (n,) array
    predicted : (n,) or (n, q) array
        Of several quantiles the middle one counts, but for the pinball loss.
    score : Score, default=Score("rmse")
    """
    score = score or Score()
    if score.metric == "pinball":
        return RowLosses("pinball", pinball_losses(truth, predicted, score.levels))
    middle = predicted if predicted.ndim == 1 else predicted[:, predicted.shape[1] // 2]
    error = np.asarray(middle - truth, np.float64)
    return RowLosses(score.metric, np.abs(error) if score.metric == "mae" else error**2)


def difference(
    one: RowLosses, other: RowLosses, seed: int = 0, groups: NDArray[Any] | None = None
) -> Estimate:
    """The metric of one model less that of another, with a 95% interval; below 0, one is better.

    Parameters
    ----------
    one, other : RowLosses
        Of the same rows.
    seed : int, default=0
    groups : (n,) array or None, default=None
        As for :func:`~chainrule.commands.evaluation.bootstrap`.
    """

    def less(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {"less": one.mean(weights) - other.mean(weights)}

    return bootstrap(less, len(one.losses), groups=groups, seed=seed)["less"]


class Against(NamedTuple):
    """A model beside a simpler one.

    Attributes
    ----------
    name : str
        Of the simpler one: "trivial" or "linear".
    metric : str
    model, other : float
        The metric of each.
    difference : Estimate
        Of the other less the model: above 0, the model is better.
    """

    name: str
    metric: str
    model: float
    other: float
    difference: Estimate

    @property
    def is_as_good(self) -> bool:
        """Whether the simpler one may be as good as the model, or better."""
        return not self.difference.low > 0

    def as_dict(self) -> dict[str, Any]:
        """All of it in dicts and numbers."""
        return {
            "metric": self.metric,
            "difference": self.difference._asdict(),
            "as_good_as_the_model": self.is_as_good,
        }


def against(
    name: str,
    model: RowLosses,
    other: RowLosses,
    seed: int = 0,
    groups: NDArray[Any] | None = None,
) -> Against:
    """Compare a model with a simpler one on the same rows.

    Parameters
    ----------
    name : str
    model, other : RowLosses
    seed : int, default=0
    groups : (n,) array or None, default=None
        As for :func:`difference`.
    """
    one = np.ones((1, len(model.losses)))
    return Against(
        name,
        model.metric,
        float(model.mean(one)[0]),
        float(other.mean(one)[0]),
        difference(other, model, seed, groups),
    )


def verdict_in_words(found: list[Against], n: int) -> str:
    """What a comparison with simpler models comes to: a sentence for each that is as good.

    Parameters
    ----------
    found : list of Against
        The simplest first.
    n : int
        Rows that were compared on.
    """
    said = [_in_words(each, n) for each in found if each.is_as_good]
    if said:
        return " ".join(said)
    each = found[-1]
    low, high = (metric(each.metric, end) for end in each.difference[1:])
    return (
        f"Better than the {each.name} model: its {NAMES[each.metric][0]} is higher by {low} to "
        f"{high}."
    )


def _in_words(each: Against, n: int) -> str:
    """What to say of a simpler model that is as good."""
    low, high = (metric(each.metric, end) for end in each.difference[1:])
    values = (
        f"its {NAMES[each.metric][0]} is {metric(each.metric, each.other)}, that of this model "
        f"{metric(each.metric, each.model)}; the difference is from {low} to {high}"
    )
    if each.difference.high < 0:
        return f"The {each.name} model is better ({values}): take it."
    if each.difference.value <= 0:
        return f"The {each.name} model is as good ({values}): take it, which is simpler."
    return (
        f"The {each.name} model may be as good: {n:,} rows are too few to tell ({values}). Judge "
        "on more rows, as --cv does, or take the simpler one."
    )
