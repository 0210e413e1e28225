"""From which probability of one of two classes a row is taken for that class.

Without a request it is the likelier class. Where a mistake of one kind costs more than one of the
other, or where the rows taken for the class must be right more often, another threshold is better.
It is chosen on predictions of rows that the model has not learnt from, and kept with the model.

Every error that a user can cause is a ValueError with a message for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.tables.cells import listed

FEWEST = 10  # rows taken for the class that a precision is measured on, or all there are of it


class Decision(NamedTuple):
    """How a row gets one of two classes.

    Attributes
    ----------
    positive : str
        The class that the threshold is of.
    threshold : float or None
        The least probability of it at which a row is taken for it; None: the likelier class.
    cost : (float, float) or None
        Of a row wrongly taken for it, and of one wrongly not taken for it: what the threshold was
        chosen for.
    precision : float or None
        The other thing that it can be chosen for.
    """

    positive: str
    threshold: float | None = None
    cost: tuple[float, float] | None = None
    precision: float | None = None

    @property
    def asks_for_threshold(self) -> bool:
        """Whether a threshold is to be chosen."""
        return self.cost is not None or self.precision is not None

    @property
    def in_words(self) -> str:
        """What is decided, in a line."""
        if self.threshold is None:
            return f"{self.positive!r} where it is the likelier class"
        aim = "" if self.precision is None else f", for a precision of {self.precision:g}"
        if self.cost is not None:
            aim = f", for costs of {self.cost[0]:g}:{self.cost[1]:g}"
        return f"{self.positive!r} from a probability of {self.threshold:.4g}{aim}"

    def as_dict(self) -> dict[str, Any]:
        """What a model's file keeps."""
        kept = self._asdict() | {"cost": None if self.cost is None else list(self.cost)}
        return {name: value for name, value in kept.items() if value is not None}


def requested(positive: str | None, cost: str | None, precision: float | None) -> Decision | None:
    """What --positive, --cost and --precision say.

    Parameters
    ----------
    positive : str or None
    cost : str or None
        "FP:FN", such as "1:5".
    precision : float or None

    Raises
    ------
    ValueError
    """
    if cost is not None and precision is not None:
        raise ValueError("--cost and --precision each choose a threshold; give one of them")
    if positive is None:
        for name, value in (("--cost", cost), ("--precision", precision)):
            if value is not None:
                raise ValueError(f"{name} needs --positive, the class that it is about")
        return None
    if precision is not None and not 0 < precision <= 1:
        raise ValueError(f"--precision is above 0 and at most 1, not {precision:g}")
    return Decision(positive, None, None if cost is None else _costs(cost), precision)


def _costs(text: str) -> tuple[float, float]:
    try:
        false_positive, false_negative = (float(part) for part in text.split(":"))
    except ValueError:
        false_positive = false_negative = np.nan
    if not (0 < false_positive <= 1e9 and 0 < false_negative <= 1e9):
        raise ValueError(
            f"--cost is two numbers above 0 and at most 1e9, such as 1:5: the cost of a row "
            f"wrongly taken for the class of --positive, and of one wrongly not; got {text!r}"
        )
    return false_positive, false_negative


def check_positive(decision: Decision, classes: Sequence[Any], target: str) -> None:
    """Refuse a class that is not one of two.

    Raises
    ------
    ValueError
    """
    names = [str(one) for one in classes]
    if not names:
        raise ValueError(f"--positive is for two classes; {target!r} is a number")
    if decision.positive not in names:
        raise ValueError(
            f"--positive: {target!r} has no class {decision.positive!r}; it has {listed(names)}"
        )
    if len(names) != 2:
        raise ValueError(
            f"--positive is for two classes; {target!r} has {len(names)}: {listed(names)}"
        )


def of_metadata(told: Any, classes: Sequence[Any]) -> Decision | None:
    """What a model's file says of it; None, if that is nothing or nothing that fits.

    Parameters
    ----------
    told : anything
        Nothing in it is trusted.
    classes : sequence
        Of the model.
    """
    if not isinstance(told, Mapping) or told.get("positive") not in [str(c) for c in classes]:
        return None
    numbers = {name: told.get(name) for name in ("threshold", "precision")}
    cost = told.get("cost")
    if not all(value is None or _is_share(value) for value in numbers.values()):
        return None
    if cost is not None:
        if not isinstance(cost, list) or len(cost) != 2 or not all(map(_is_number, cost)):
            return None
        cost = (float(cost[0]), float(cost[1]))
    return Decision(told["positive"], numbers["threshold"], cost, numbers["precision"])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(value > 0)


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def decided(
    chances: NDArray[Any], classes: NDArray[Any], decision: Decision | None
) -> NDArray[Any]:
    """The class of each row.

    Parameters
    ----------
    chances : (n, n_classes) array
    classes : (n_classes,) array
    decision : Decision or None
        None: the likelier class.
    """
    if decision is None or decision.threshold is None:
        likeliest: NDArray[Any] = classes[chances.argmax(axis=1)]
        return likeliest
    at = [str(one) for one in classes].index(decision.positive)
    said: NDArray[Any] = classes[np.where(chances[:, at] >= decision.threshold, at, 1 - at)]
    return said


class CannotReachError(ValueError):
    """A precision that no threshold gives."""


def choose_threshold(p: NDArray[Any], positive: NDArray[np.bool_], decision: Decision) -> float:
    """The threshold that serves best on some rows.

    For costs it is that of the least mean cost; for a precision the lowest that reaches it, which
    finds the most rows of the class.

    Parameters
    ----------
    p : (n,) array
        Probabilities of the class, of rows that the model has not learnt from.
    positive : (n,) bool array
        Which rows are of it.
    decision : Decision
        What to choose for.

    Returns
    -------
    float
        Between two probabilities that there are, or 0 or 1.

    Raises
    ------
    CannotReachError
        There is no threshold of that precision.

    Notes
    -----
    With the rows in falling order of p, the first k of them are taken for the class, for each k
    that does not part rows of one p. These are k rows with t_k of the class, so the precision is
    t_k / k, and the cost is FP (k - t_k) + FN (t_n - t_k).
    """
    order = np.argsort(-p, kind="stable")
    falling, right = p[order], np.cumsum(positive[order])
    ends = np.r_[np.flatnonzero(np.diff(falling)), len(p) - 1]  # of rows of one p
    k, t = ends + 1, right[ends]
    last, following = falling[ends], np.r_[falling[ends[1:]], 0.0]
    between = (last + following) / 2
    at = np.where(between > following, between, last)
    if decision.cost is not None:
        false_positive, false_negative = decision.cost
        costs = false_positive * (k - t) + false_negative * (t[-1] - t)
        if falling[0] < 1:  # none may be taken for it
            costs, at = np.r_[false_negative * t[-1], costs], np.r_[1.0, at]
        best = np.flatnonzero(costs == costs.min())
        return float(at[best[(len(best) - 1) // 2]])
    assert decision.precision is not None
    precision, enough = t / k, k >= min(FEWEST, max(int(t[-1]), 1))
    reached = np.flatnonzero(enough & (precision >= decision.precision))
    if not len(reached):
        best_k = int(np.where(enough, precision, -1).argmax())
        raise CannotReachError(
            f"--precision {decision.precision:g} cannot be reached: on rows that were not learnt "
            f"from it is {precision[best_k]:.3g} at most, from a probability of {at[best_k]:.3g}"
        )
    return float(at[reached[-1]])


def decided_out_of_fold(
    chances: NDArray[Any],
    classes: NDArray[Any],
    truth: NDArray[Any],
    folds: NDArray[Any],
    decision: Decision,
) -> tuple[Decision, NDArray[Any]]:
    """The threshold chosen on all rows, and each row's class by that of the other folds.

    So no row is judged by a threshold that it had a part in.

    Parameters
    ----------
    chances : (n, 2) array
        Out of fold.
    classes : (2,) array
    truth : (n,) array
    folds : (n,) array
        The fold of each row.
    decision : Decision

    Raises
    ------
    CannotReachError
        On all rows; where it is on those of the other folds, the threshold is that of all rows.
    """
    at = [str(one) for one in classes].index(decision.positive)
    p, positive = chances[:, at], truth == classes[at]
    chosen = decision._replace(threshold=choose_threshold(p, positive, decision))
    said = decided(chances, classes, chosen)
    for fold in np.unique(folds):
        here = folds == fold
        if here.all() or not positive[~here].any():
            continue
        try:
            threshold = choose_threshold(p[~here], positive[~here], decision)
        except CannotReachError:
            continue
        said[here] = decided(chances[here], classes, decision._replace(threshold=threshold))
    return chosen, said


def of_baseline(decision: Decision | None) -> Decision | None:
    """How a trivial or a linear model decides beside one with this decision.

    Its probabilities are as true as they get, so for costs FP and FN the threshold is
    FP / (FP + FN); for a precision it is the likelier class.
    """
    if decision is None or decision.cost is None:
        return None
    false_positive, false_negative = decision.cost
    return decision._replace(threshold=false_positive / (false_positive + false_negative))
