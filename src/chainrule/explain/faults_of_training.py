"""Faults of the training: its steps, its width, its length, and overfitting."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from chainrule.explain.drawing import Picture
from chainrule.explain.evidence import Evidence, margin
from chainrule.explain.faults_of_networks import code_of, rate_code, rms
from chainrule.explain.findings import Finding
from chainrule.explain.trials import FEWEST, Task, cost_after, held_out_score, score_of
from chainrule.network.network import Network

LARGE_PENALTY = 0.1  # alpha
LEAP = 3.0  # times the cost of a constant output
ROUGH = 0.05  # of the first loss, by which the loss rises in a mean epoch
GAP = 0.1  # between the scores in training and on rows held out


def trivial_cost(seen: Evidence) -> float:
    """Return the mean cost of the mean target as the output for all rows; for comparison."""
    loss, dtype = seen.network.loss, seen.network.dtype
    a = seen.Y.mean(axis=0, keepdims=True).repeat(len(seen.Y), axis=0).astype(np.float64)
    z = a
    if loss.target != "numbers":  # z of softmax and of the logistic function
        p = np.clip(a, 1e-12, 1 - 1e-12)
        z = np.log(p) if loss.target == "classes" else np.log(p / (1 - p))
    costs = np.empty(len(seen.Y), dtype)
    loss.cost(z.astype(dtype), a.astype(dtype), seen.Y.astype(dtype), costs)
    return float(costs.mean())


def learning_rate(seen: Evidence) -> Iterator[Finding]:
    """Steps that are too large, or too small, for what they have to do."""
    yield from _rises(seen)
    if seen.rate is None or (seen.finite and not seen.is_poor):
        return
    if "rate" not in seen.memory:
        yield from _too_high(seen)
    if "rate" not in seen.memory and seen.finite:
        yield from _too_low(seen)


def _tried(seen: Evidence, network: Network, factors: tuple[float, ...]) -> dict[float, float]:
    """Return the cost after 200 steps from these parameters, by learning rate."""
    assert seen.rate is not None
    costs = {}
    for factor in factors:
        rate = seen.rate * factor
        costs[rate] = cost_after(
            network, seen.X, seen.Y, seen.optimizer, seen.hyper, rate, seen.batch_size
        )
    return costs


def _too_high(seen: Evidence) -> Iterator[Finding]:
    """At smaller rates the cost falls, from where the network is or from a new start."""
    assert seen.rate is not None
    starts = []  # (network, in words, whether its cost must fall below what it is)
    if seen.finite:
        starts.append((seen.network, "with it 200 more steps", True))
    new = seen.network.copy()
    again = Network(
        new.sizes,
        activation=new.activations[1:],
        loss=new.loss,
        layers=new.layers[1:],
        init="glorot_uniform",
        dtype=new.dtype,
        seed=0,
    )
    starts.append((again, "from a new start 200 steps with it", False))
    for network, how, is_trained in starts:
        before = network.cost(seen.X, seen.Y)
        tried = _tried(seen, network, (1.0, 0.1, 0.01, 0.001))
        best = min(tried, key=lambda rate: tried[rate])
        after = tried[seen.rate]
        limit = before if is_trained else math.inf
        if best < seen.rate and tried[best] < 0.7 * min(after, limit):
            seen.memory["rate"] = "high"
            yield Finding(
                "learning-rate-high",
                f"The learning rate {seen.rate:.3g} is too large: {how} take the cost from "
                f"{before:.3g} to {after:.3g}, with {best:.3g} to {tried[best]:.3g}.",
                {"learning_rate": seen.rate, "cost": before, "cost_after": tried, "better": best},
                f"Take smaller steps: a learning rate of about {best:.2g}.",
                rate_code(seen, best),
                0.9,
                _rate_picture(tried),
            )
            return


def _too_low(seen: Evidence) -> Iterator[Finding]:
    """At larger rates the cost falls far, at this one hardly."""
    assert seen.rate is not None
    now = seen.network.cost(seen.X, seen.Y)
    tried = _tried(seen, seen.network, (1.0, 10.0, 100.0, 1e3, 1e4))
    best = min(tried, key=lambda rate: tried[rate])
    same, larger = tried[seen.rate], tried[best]
    if not (larger < 0.75 * now and larger < 0.8 * same and same > 0.75 * now):
        return
    yield Finding(
        "learning-rate-low",
        f"The learning rate {seen.rate:.3g} is too small: 200 more steps with it take the cost "
        f"from {now:.3g} to {same:.3g}, with {best:.3g} to {larger:.3g}.",
        {"learning_rate": seen.rate, "cost": now, "cost_after": tried, "better": best},
        f"Take larger steps: a learning rate of about {best:.2g}.",
        rate_code(seen, best),
        0.78,
        _rate_picture(tried),
    )


def _rate_picture(tried: dict[float, float]) -> Picture:
    rates = sorted(tried)
    return Picture(
        "bars",
        "Cost after 200 more steps",
        "learning rate",
        "cost",
        [f"{rate:.2g}" for rate in rates],
        [tried[rate] for rate in rates],
    )


def _rises(seen: Evidence) -> Iterator[Finding]:
    """A loss that rises again and again, or that ends where it had been below."""
    losses = seen.losses
    if len(losses) < 4:
        return
    finite = bool(np.isfinite(losses).all())
    scale = float(losses[0])
    if finite and scale > 0:
        late = losses[len(losses) // 2 :]
        steps = np.diff(late)
        rises = float(np.maximum(steps, 0).mean()) if len(steps) else 0.0
        ended = float(losses[-3:].mean()) - float(losses.min())
        leapt = _leapt(seen)
        if not (rises > ROUGH * scale or ended > 0.5 * scale or leapt):
            return
        said = (
            f"The loss leapt to {losses.max():.3g}, where the best constant output has "
            f"{trivial_cost(seen):.3g}."
            if leapt
            else f"The loss rises again and again: from one epoch to the next by {rises:.3g} on "
            f"average, where it began at {losses[0]:.3g}; its least was {losses.min():.3g}, its "
            f"last {losses[-1]:.3g}."
        )
    else:
        rises = ended = float("inf")
        said = "The loss stopped being a finite number."
    seen.memory["rate"] = "high"
    rate = seen.rate
    yield Finding(
        "learning-rate-high",
        f"{said} Steps of this size go past the minimum.",
        {"learning_rate": rate, "mean_rise": rises, "losses": losses.tolist()},
        "Take smaller steps: a tenth of this learning rate, or what find_learning_rate suggests.",
        rate_code(seen, 0.1 * rate if rate else 1e-3),
        0.9,
        Picture("lines", "Loss by epoch", "epoch", "loss", ["loss"], [losses.tolist()]),
    )


def _leapt(seen: Evidence) -> bool:
    """Whether an epoch's loss was far above that of a constant output, with inputs of size 1.

    Where the first epoch has the largest loss, large starting weights may be the reason: steps are
    only if the estimator has chosen the starting values itself, by the widths of the layers.
    """
    start = "" if seen.estimator is None else getattr(seen.estimator, "init", "auto")
    if int(seen.losses.argmax()) == 0 and not (isinstance(start, str) and start == "auto"):
        return False
    penalty = float(getattr(seen.estimator, "alpha", 0) or 0)
    others = {"unscaled", "exploding"} & set(seen.memory)
    if seen.task.labels is None or others or penalty > LARGE_PENALTY:
        return False
    if len(np.unique(seen.task.labels)) < 2 or len(seen.task.labels) < FEWEST:
        return False
    size = max(1.0, rms(seen.batch.a[seen.first - 1]))  # a first cost grows with the inputs
    return bool(seen.losses.max() > LEAP * size * trivial_cost(seen))


def too_few(seen: Evidence) -> Iterator[Finding]:
    """A hidden layer so narrow that networks of its shape do not learn the rows."""
    widths = [seen.network.sizes[l] for l in seen.hidden]
    classes = max(seen.task.n_classes, 4)
    if not widths or min(widths) > max(8, classes) or not seen.is_poor:
        return
    own = held_out_score(seen.task, tuple(widths))
    better = seen.attainable - own
    if not better > margin(seen.task):
        return
    narrow = int(np.argmin(widths))
    units = "1 unit" if widths[narrow] == 1 else f"{widths[narrow]} units"
    what = _score_name(seen.task)
    yield Finding(
        "too-few-units",
        f"Layer {seen.hidden[narrow]} has {units}: a network of this shape comes to "
        f"{what} {own:.2f} on rows held out, one of 32 units to {seen.attainable:.2f}.",
        {
            "layer": seen.hidden[narrow],
            "units": widths[narrow],
            "score": seen.score,
            "score_of_this_shape": own,
            "score_of_32_units": seen.attainable,
        },
        "Give the hidden layers more units: 32 or more.",
        code_of(seen, hidden_layer_sizes=(32,))
        if seen.estimator is not None
        else f"net = chainrule.Network({(seen.network.sizes[0], 32, seen.network.sizes[-1])})",
        0.82,
        Picture(
            "bars",
            f"{what} on rows held out",
            "",
            what,
            ["this shape", "32 units"],
            [own, seen.attainable],
        ),
    )


def _score_name(task: Task) -> str:
    return "R²" if task.labels is None else "accuracy"


def underfitting(seen: Evidence) -> Iterator[Finding]:
    """Rows that are fitted worse than another network fits rows held out."""
    if not seen.is_poor or not seen.finite:
        return
    what, score = _score_name(seen.task), seen.score
    last = seen.estimator
    advice = "Train longer, with less regularisation, or with more units."
    change = code_of(seen, hidden_layer_sizes=(100,)) if last is not None else ""
    alpha = float(getattr(last, "alpha", 0) or 0)
    falls = len(seen.losses) > 2 and seen.losses[-1] < 0.99 * seen.losses[-2]
    if alpha > LARGE_PENALTY:
        advice = f"Take a smaller penalty than alpha={alpha:g}."
        change = code_of(seen, alpha=1e-4)
    elif not seen.hidden:
        advice = "Add a hidden layer: without one the network is linear."
    elif falls or (0 < len(seen.losses) < 20):
        advice = f"Train longer than {len(seen.losses)} epochs: the loss was still falling."
        if last is not None:
            change = code_of(seen, max_iter=max(200, 10 * len(seen.losses)))
    if not change:
        change = "chainrule.train(net, X, Y, epochs=200)"
    yield Finding(
        "underfitting",
        f"The network does not fit the rows that it has learned from: {what} {score:.2f} there, "
        f"where a plain network of 32 units comes to {seen.attainable:.2f} on rows held out.",
        {"score": seen.score, "attainable": seen.attainable, "alpha": alpha},
        advice,
        change,
        0.45,
        Picture(
            "bars",
            what,
            "",
            what,
            ["this network", "attainable"],
            [score, seen.attainable],
        ),
    )


def overfitting(seen: Evidence) -> Iterator[Finding]:
    """Overfitting: rows held out are predicted much worse than those of the training."""
    what, held, n = _score_name(seen.task), float("nan"), 0
    if seen.validation is not None:
        held, n = _score_on(seen, seen.validation), len(seen.validation.inputs)
    elif (
        seen.estimator is not None
        and (scores := getattr(seen.estimator, "validation_scores_", 0))
        and getattr(seen.estimator, "scoring", None) is None
    ):
        held = float(np.nanmax(scores))
        n = max(1, int(seen.n * float(seen.estimator.validation_fraction)))
    if not (np.isfinite(held) and np.isfinite(seen.score)):
        return
    noise = 0.3  # R² varies more
    if seen.task.labels is not None:
        noise = 1.5 * float(np.sqrt(max(held * (1 - held), 0.01) / n))
    gap = seen.score - held
    curve = seen.validation_losses
    risen = 0.0
    if len(curve) > 3 and np.isfinite(curve).all() and curve.min() > 0:
        risen = float(curve[-1] / curve.min())
    if not gap > GAP + noise:
        return
    said = f" Its loss there rose to {risen:.2g} times its least." if risen > 1.2 else ""
    curves = [seen.losses.tolist(), curve.tolist()] if len(curve) else []
    picture = Picture("bars", what, "", what, ["learned from", "held out"], [seen.score, held])
    if curves and len(curves[0]) == len(curves[1]):
        picture = Picture(
            "lines", "Loss by epoch", "epoch", "loss", ["learned from", "held out"], curves
        )
    yield Finding(
        "overfitting",
        f"The network knows its rows by heart: {what} {seen.score:.2f} on them, {held:.2f} on rows "
        f"held out.{said}",
        {"score": seen.score, "held_out": held, "gap": gap, "loss_rose": risen},
        "Stop early, take more rows, dropout, a larger alpha, or fewer units.",
        code_of(seen, early_stopping=True, alpha=0.1)
        if seen.estimator is not None
        else f"net = chainrule.Network({(seen.network.sizes[0], 16, seen.network.sizes[-1])})",
        min(0.85, 0.45 + gap),
        picture,
    )


def _score_on(seen: Evidence, held: Task) -> float:
    """Return accuracy or R² on rows held out, of what the network that predicts makes of them."""
    outputs = held.outputs
    assert outputs is not None
    if held.labels is None:
        levels = outputs.shape[1] // held.targets.shape[1]
        middle = outputs[:, levels // 2 :: levels] if seen.network.loss.levels else None
        k = held.targets.shape[1]
        return score_of(outputs[:, :k] if middle is None else middle, held)
    said: NDArray[np.int64] = (
        (outputs[:, 0] > 0.5).astype(np.int64)
        if outputs.shape[1] == 1
        else outputs.argmax(axis=1).astype(np.int64)
    )
    return float((said == held.labels).mean())


FAULTS = (learning_rate, too_few, underfitting, overfitting)
