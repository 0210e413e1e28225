"""Which of the findings of :func:`chainrule.diagnose` holds a network back, and what to change.

The findings are those of any network. What is said here of one is what only a recipe knows: how
its settings came to it, and which of the command's options to change. The article's own outputs,
which ReLU shuts, the learning rate that is usual for an optimiser, and a training that was not at
its end have causes of their own. They are looked for in the order of :data:`CAUSES`; the first
that the numbers show is the one that is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from chainrule.explain.findings import Diagnosis, Finding

if TYPE_CHECKING:
    from chainrule.network.network import Network

GOOD = 0.85  # training rows read right; a network above that has no cause to look for
ENOUGH = 10  # epochs after which hardly any output opens again


class Settings(Protocol):
    """The part of a recipe from which the causes are found."""

    @property
    def init(self) -> str:
        """Name of the starting values."""

    @property
    def learning_rate(self) -> float:
        """η."""

    @property
    def activation(self) -> str:
        """Name of the hidden layers' activation."""


class Cause(NamedTuple):
    """What holds a network back.

    Attributes
    ----------
    name : str
        "symmetric start", "rate too large", "too few units", "vanishing gradients",
        "shut outputs" or "not trained enough".
    what : str
        What the numbers and the recipe say, in whole sentences.
    advice : str
        What to change, in one sentence.
    """

    name: str
    what: str
    advice: str


class Evidence(NamedTuple):
    """From what causes are found.

    Attributes
    ----------
    network : Network
    recipe : Settings
        Such as a `recipes.Recipe`.
    costs : sequence of float
        Mean cost of each epoch.
    findings : Diagnosis
        What :func:`chainrule.diagnose` finds.
    shut : list of int
        Outputs that are shut on their own digit.
    right : float
        Share of the training rows read right.
    usual_rate : float
        The learning rate that goes with the optimiser.
    """

    network: Network
    recipe: Settings
    costs: Sequence[float]
    findings: Diagnosis
    shut: list[int]
    right: float
    usual_rate: float

    def found(self, *codes: str) -> Finding | None:
        """The heaviest finding with one of these codes."""
        return next((each for each in self.findings if each.code in codes), None)


def cause(evidence: Evidence) -> Cause | None:
    """The first cause that the numbers show, or None if nothing is wrong.

    Parameters
    ----------
    evidence : Evidence

    Returns
    -------
    Cause or None
        None too if the network reads few digits for a reason that is not known here.
    """
    if evidence.right >= GOOD and not evidence.shut:
        return None
    return next((found for each in CAUSES if (found := each(evidence)) is not None), None)


def _symmetric_start(seen: Evidence) -> Cause | None:
    """Hidden units of one layer that are all the same; or outputs that are."""
    found = seen.found("symmetric-start")
    if found is not None and found.evidence["distinct"] == 1:
        return Cause(
            "symmetric start",
            f"All {found.evidence['units']} hidden units of layer {found.evidence['layer']} "
            f"started with the same weights (--init {seen.recipe.init}), so they stay one unit.",
            "Start with weights that differ: --init uniform, or --init he_normal with "
            "--loss cross_entropy.",
        )
    W = seen.network.W[1]
    if seen.network.L == 1 and len(seen.shut) == seen.network.sizes[1] and not np.ptp(W):
        return Cause(
            "symmetric start",
            f"All weights are {W.flat[0]:g}, as they started (--init {seen.recipe.init}): every "
            "output has z ≤ 0, where ReLU's derivative is 0, so nothing has changed.",
            "Start with weights that differ: --init uniform.",
        )
    return None


def _rate_too_large(seen: Evidence) -> Cause | None:
    """A learning rate far above the usual one."""
    rate, usual = seen.recipe.learning_rate, seen.usual_rate
    if rate <= 2 * usual:
        return None
    outputs = seen.network.sizes[seen.network.L]
    if seen.shut:
        every = len(seen.shut) == outputs
        which = f"all {outputs} outputs" if every else f"{len(seen.shut)} of {outputs} outputs"
        what = f"Steps of this size have shut {which}: z ≤ 0, where ReLU's derivative is 0."
    else:
        what = "The network does not fit its own training rows."
    return Cause(
        "rate too large",
        f"The learning rate {rate:g} is {_ratio(rate / usual)} times the usual one. {what}",
        f"Take smaller steps: --learning-rate {usual:g}.",
    )


def _ratio(times: float) -> str:
    """How many times, without an exponent."""
    return f"{times:,.0f}" if times >= 10 else f"{times:.2g}"


def _too_few_units(seen: Evidence) -> Cause | None:
    """A hidden layer so narrow that networks of its shape do not learn the digits."""
    found = seen.found("too-few-units")
    if found is None:
        return None
    units = found.evidence["units"]
    return Cause(
        "too few units",
        f"Layer {found.evidence['layer']} has {units} unit{'s' * (units != 1)}, through which "
        f"{seen.network.sizes[seen.network.L]} digits have to be distinguished. Even of the "
        f"training rows only {seen.right:.1%} are read right.",
        "Give the hidden layer more units: --hidden 100.",
    )


def _vanishing_gradients(seen: Evidence) -> Cause | None:
    """Errors that fade on their way back, or units that are at their ends, in a deep network."""
    hidden = seen.network.L - 1
    if hidden < 2 or seen.found("vanishing-gradient", "saturated-units") is None:
        return None
    return Cause(
        "vanishing gradients",
        f"Hardly any error gets back through {hidden} hidden layers of {seen.recipe.activation} "
        f"(--activation {seen.recipe.activation}, --init {seen.recipe.init}).",
        "Take one hidden layer (--hidden 100), or an activation and starting values that keep "
        "the scale (--activation relu --init he_normal --loss cross_entropy).",
    )


def _shut_outputs(seen: Evidence) -> Cause | None:
    """ReLU outputs that are shut on their own digit."""
    if not seen.shut:
        return None
    one = len(seen.shut) == 1
    outputs = seen.network.sizes[seen.network.L]
    if len(seen.shut) == outputs:
        who, them, weights = f"All {outputs} outputs have", "them", "their weights"
    elif one:
        who, them, weights = f"Output {seen.shut[0]} has", "it", "its weights"
    else:
        listed = ", ".join(map(str, seen.shut[:-1]))
        who = f"Outputs {listed} and {seen.shut[-1]} have"
        them, weights = "them", "their weights"
    own = "its own digit" if one else "their own digits"
    what = (
        f"{who} z ≤ 0 on at least 95 % of the training rows of {own}. ReLU's derivative is 0 "
        f"there, so no error from these rows reaches {weights}; only changes in the layers below "
        f"can open {them} again."
    )
    advice = "Take an output that cannot be shut (--loss cross_entropy, or --recipe modern)"
    if seen.network.L > 2:
        advice = (
            "Take one hidden layer (--hidden 100), or starting values that keep the scale with an "
            "output that cannot be shut (--init he_normal --loss cross_entropy)."
        )
    elif seen.recipe.init != "uniform":
        advice += ", or start as the article does (--init uniform)."
    elif len(seen.costs) < ENOUGH:
        advice = (
            "Train longer first: --epochs 20. Some outputs that are shut in the first epochs "
            "open again."
        )
    else:
        advice += (
            ", smaller steps for longer (--learning-rate 0.003 --epochs 40), or another --seed."
        )
    return Cause("shut outputs", what, advice)


def _not_trained_enough(seen: Evidence) -> Cause | None:
    """A cost that still falls, or that has hardly fallen."""
    if seen.right >= GOOD or not seen.costs:
        return None
    rate, usual = seen.recipe.learning_rate, seen.usual_rate
    if rate < 0.5 * usual:
        return Cause(
            "not trained enough",
            f"The learning rate {rate:g} is {_ratio(usual / rate)} times smaller than the usual "
            f"one, and {len(seen.costs)} epochs of such steps do not go far.",
            f"Take larger steps: --learning-rate {usual:g}, or more --epochs.",
        )
    before = seen.costs[-2] if len(seen.costs) > 1 else None
    if before is not None and seen.costs[-1] > 0.99 * before:
        return None
    fell = f", and fell by {1 - seen.costs[-1] / before:.0%} in the last epoch" if before else ""
    return Cause(
        "not trained enough",
        f"The cost is {seen.costs[-1]:.4g} after {len(seen.costs)} epoch"
        f"{'s' * (len(seen.costs) != 1)}{fell}: the training was not at its end.",
        f"Train longer: --epochs {max(20, 2 * len(seen.costs))}.",
    )


CAUSES = (
    _symmetric_start,
    _rate_too_large,
    _too_few_units,
    _vanishing_gradients,
    _shut_outputs,
    _not_trained_enough,
)
