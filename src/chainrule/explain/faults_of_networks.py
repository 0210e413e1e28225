"""Faults that show in the network: its units, its errors, its weights, its outputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from chainrule.base.types import Array
from chainrule.explain.drawing import Picture
from chainrule.explain.evidence import Evidence
from chainrule.explain.findings import Finding, listed, percent, times

ALIKE = 1e-6  # units whose weights differ by less, relative to the largest, are the same
# Part of a layer's units. In networks that learn well, on inputs of two or three dimensions above
# all, up to two in five of a deeper layer's units go off.
DEAD = 0.45
DEAD_WHERE_POOR = 0.2
SATURATED = 0.05  # of the largest slope
# Part of a layer's activations, over units and rows. Where the rows are fitted well, units that
# have become switches are no fault.
MOSTLY = 0.85
MOSTLY_WHERE_POOR = 0.6
VANISHED = 1e-3  # of the output's error, what is left of it in the first layer
FADED = 0.02  # of layer 1's, how much the last hidden layer still varies
EXPLODED = 30.0  # times the output's error
LOST = 0.05  # part of a class's rows that are taken for it
SHUT = 0.05  # part of a class's rows on which its output is open
FEWEST_ROWS = 10  # fewer do not show that a unit is off or that an input is constant
FEW = 5  # classes with fewer rows are not judged


def rms(values: Array) -> float:
    """Return the root of the mean square."""
    with np.errstate(all="ignore"):
        return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def alike_units(W: Array) -> tuple[int, float]:
    """Return (how many units have the weights of another one, the largest difference among all)."""
    scale = max(float(np.abs(W).max()), ALIKE)
    spread = float(np.ptp(W, axis=1).max())
    rounded = np.round(W / (ALIKE * scale))
    distinct = len(np.unique(rounded, axis=1).T)
    return W.shape[1] - distinct, spread


def dead_units(a: Array, slope: Array) -> NDArray[np.bool_]:
    """Return units that are off on every row: no error passes back through them."""
    dead: NDArray[np.bool_] = (slope == 0).all(axis=0) & (np.ptp(a, axis=0) == 0)
    return dead


def shut_outputs(is_open: NDArray[np.bool_], labels: NDArray[np.int64]) -> list[int]:
    """Return outputs that are open on at most one in twenty of the rows of their own class."""
    return [j for j in np.unique(labels).tolist() if is_open[labels == j, j].mean() <= SHUT]


def code_of(seen: Evidence, **parameters: object) -> str:
    """Return the code that changes parameters: of an estimator, or of a network."""
    said = ", ".join(f"{name}={value!r}" for name, value in parameters.items())
    if seen.estimator is None:
        return f"net = chainrule.Network({tuple(seen.network.sizes)}, {said})"
    return f"model.set_params({said}).fit(X, y)"


def rate_code(seen: Evidence, rate: float) -> str:
    """Return the code that changes the learning rate."""
    if seen.estimator is None:
        return f"chainrule.train(net, X, Y, learning_rate={rate:.3g})"
    return f"model.set_params(learning_rate_init={rate:.3g}).fit(X, y)"


def symmetric_start(seen: Evidence) -> Iterator[Finding]:
    """Hidden units of one layer that are all the same."""
    network = seen.network
    for l in network.weight_layers()[:-1].tolist():
        units = network.W[l].shape[1]
        if units < 2:
            continue
        same, spread = alike_units(network.W[l])
        if same < 0.5 * units:
            continue
        alike = units - same
        seen.memory.setdefault("symmetric", set()).add(l)
        yield Finding(
            "symmetric-start",
            f"The {units} units of layer {l} have only {alike} different set"
            f"{'s' * (alike != 1)} of weights: units that start the same get the same "
            "gradient, and stay the same.",
            {"layer": l, "units": units, "distinct": alike, "largest_difference": spread},
            "Start with weights that differ: He's for ReLU, Glorot's for tanh and logistic.",
            code_of(seen, init=_init_for(seen)),
            0.95,
            Picture(
                "bars",
                f"Different units of layer {l}",
                "",
                "units",
                ["all", "different"],
                [units, alike],
            ),
        )
        return


def _init_for(seen: Evidence) -> str:
    names = {seen.network.activations[l].name for l in seen.hidden}
    return "glorot_uniform" if names & {"tanh", "logistic", "softmax"} else "he_normal"


def off_units(seen: Evidence) -> Iterator[Finding]:
    """Units that are off on every row."""
    if len(seen.X) < FEWEST_ROWS:
        return
    worst, found = 0.0, None
    shares = []
    for l in seen.hidden:
        dead = dead_units(seen.batch.a[l], seen.slope(l))
        shares.append(float(dead.mean()))
        if dead.mean() > worst and l not in seen.memory.get("symmetric", ()):
            worst, found = float(dead.mean()), (l, dead)
    limit = DEAD_WHERE_POOR if seen.is_poor else DEAD
    if found is None or worst < limit:
        return
    l, dead = found
    yield Finding(
        "dead-units",
        f"{int(dead.sum())} of the {len(dead)} units of layer {l} are off on every row: "
        f"{seen.network.activations[l].name}'s derivative is 0 there, so nothing that these rows "
        "teach reaches their weights.",
        {
            "layer": l,
            "dead": int(dead.sum()),
            "units": len(dead),
            "share": worst,
            "which": np.flatnonzero(dead).tolist(),
        },
        "Take smaller steps, He's starting values and standardised inputs, or an activation "
        "without a flat side.",
        code_of(seen, activation="leaky_relu", init="he_normal"),
        0.55 + 0.35 * worst,
        Picture(
            "bars",
            "Units that are off on every row",
            "layer",
            "part of the units",
            [str(one) for one in seen.hidden],
            shares,
            limit,
        ),
    )


def saturated_units(seen: Evidence) -> Iterator[Finding]:
    """Layers of tanh or the logistic function that are at their ends."""
    worst, found = 0.0, 0
    shares = []
    for l in seen.hidden:
        name = seen.network.activations[l].name
        share = 0.0
        if name in ("tanh", "logistic"):
            largest = 1.0 if name == "tanh" else 0.25
            share = float((seen.slope(l) < SATURATED * largest).mean())
        shares.append(share)
        if share > worst:
            worst, found = share, l
    limit = MOSTLY_WHERE_POOR if seen.is_poor else MOSTLY
    if worst < limit:
        return
    name = seen.network.activations[found].name
    yield Finding(
        "saturated-units",
        f"{percent(worst)} of the activations of layer {found} are where {name} is flat, with "
        "less than 5 % of its largest derivative: hardly any error gets through.",
        {"layer": found, "share": worst},
        "Start with smaller weights, standardise the inputs, and take smaller steps.",
        code_of(seen, init="glorot_uniform"),
        0.5 + 0.35 * worst,
        Picture(
            "bars",
            "Activations at the flat ends",
            "layer",
            "part of all",
            [str(one) for one in seen.hidden],
            shares,
            limit,
        ),
    )


def errors_by_layer(seen: Evidence) -> list[float]:
    """Return the root mean square of δ of each hidden layer, and of the last one."""
    return [rms(seen.batch.delta[l]) for l in [*seen.hidden, seen.network.L]]


def vanishing(seen: Evidence) -> Iterator[Finding]:
    """Errors, or activations, that fade from layer to layer."""
    if len(seen.hidden) < 2 or not seen.finite:
        return
    errors = errors_by_layer(seen)
    if not errors[-1] > 0:
        return
    left = errors[0] / errors[-1]
    varies = [float(seen.batch.a[l].std(axis=0).mean()) for l in seen.hidden]
    kept = varies[-1] / varies[0] if varies[0] > 0 else 1.0
    if "symmetric" in seen.memory:
        return
    all_dead = any(dead_units(seen.batch.a[l], seen.slope(l)).all() for l in seen.hidden)
    if all_dead:
        return
    faded = kept < FADED or (kept < 0.3 and seen.is_poor)
    if not (left < VANISHED or (left < 10 * VANISHED and seen.is_poor) or faded):
        return
    if left < 10 * VANISHED:
        said = (
            f"The error fades on its way back: in layer {seen.hidden[0]} it is {left:.1g} of what "
            f"it is at the output (root mean square of δ)."
        )
    else:
        said = (
            f"The signal fades from layer to layer: over the rows the units of layer "
            f"{seen.hidden[0]} vary by {varies[0]:.2g} (standard deviation), those of layer "
            f"{seen.hidden[-1]} by {varies[-1]:.2g}, and the error fades likewise on its way back."
        )
    yield Finding(
        "vanishing-gradient",
        said,
        {
            "layers": seen.hidden,
            "error_by_layer": errors,
            "left": left,
            "activations_vary_by": varies,
            "kept": kept,
        },
        "Take fewer layers, ReLU with He's starting values, or layer normalisation.",
        code_of(seen, activation="relu", init="he_normal"),
        0.8 if seen.is_poor else 0.6,
        _error_picture(seen, errors),
    )


def _error_picture(seen: Evidence, errors: list[float]) -> Picture:
    return Picture(
        "bars",
        "Error by layer",
        "layer",
        "root mean square of δ",
        [*(str(l) for l in seen.hidden), "output"],
        errors,
        logarithmic=True,
    )


def exploding(seen: Evidence) -> Iterator[Finding]:
    """Errors that grow from layer to layer, or numbers that overflow."""
    if not seen.finite:
        seen.memory["exploding"] = True
        yield Finding(
            "exploding-gradient",
            "Activations or errors overflow: they are no longer finite numbers.",
            {"finite": False},
            "Start with smaller weights, standardise the inputs, take smaller steps, and clip the "
            "gradient.",
            code_of(seen, init=_init_for(seen)),
            1.0,
            Picture("bars", "Weights", "layer", "root mean square", *_weights_by_layer(seen)),
        )
        return
    if not seen.hidden:
        return
    errors = errors_by_layer(seen)
    if not errors[-1] > 0 or not errors[0] / errors[-1] > EXPLODED:
        return
    grown = errors[0] / errors[-1]
    seen.memory["exploding"] = True
    yield Finding(
        "exploding-gradient",
        f"The error grows on its way back: in layer {seen.hidden[0]} it is {times(grown)} times "
        "what it is at the output (root mean square of δ).",
        {"layers": seen.hidden, "error_by_layer": errors, "grown": grown},
        "Start with weights that keep the scale, take smaller steps, and clip the gradient.",
        code_of(seen, init=_init_for(seen)),
        0.92,
        _error_picture(seen, errors),
    )


def _weights_by_layer(seen: Evidence) -> tuple[list[str], list[float]]:
    layers = seen.network.weight_layers().tolist()
    return [str(l) for l in layers], [rms(seen.network.W[l]) for l in layers]


def lost_class(seen: Evidence) -> Iterator[Finding]:
    """Classes for which hardly any of their rows are taken; outputs that are shut on them."""
    labels = seen.task.labels
    if labels is None or not seen.finite:
        return
    L = seen.network.L
    shut: list[int] = []
    if seen.network.activations[L].is_shut_below_0 and seen.outputs.shape[1] > 1:
        shut = shut_outputs(seen.outputs > 0, labels)
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        return
    recalls = [float((seen.predicted[labels == j] == j).mean()) for j in classes.tolist()]
    lost = [
        j
        for j, n, recall in zip(classes.tolist(), counts.tolist(), recalls, strict=True)
        if n >= FEW and (recall <= LOST or j in shut)
    ]
    if not lost:
        return
    names = [_class_name(seen, j) for j in classes.tolist()]
    which = [_class_name(seen, j) for j in lost]
    rows = int(np.isin(labels, lost).sum())
    s = "es" * (len(lost) > 1)
    because = ""
    if shut:
        because = (
            f" Output{'s' * (len(shut) > 1)} {listed(shut)} of ReLU "
            f"{'are' if len(shut) > 1 else 'is'} shut there: z ≤ 0, where its derivative is 0, so "
            "these rows teach nothing."
        )
        advice = "Take an output that cannot be shut: softmax with cross-entropy."
        change = code_of(seen, loss="cross_entropy")
    else:
        advice = (
            "Give the class more weight, train longer, and see whether its rows differ from the "
            "others at all."
        )
        change = (
            code_of(seen, class_weight="balanced")
            if seen.estimator is not None and hasattr(seen.estimator, "class_weight")
            else code_of(seen, loss="cross_entropy", init="he_normal")
        )
    yield Finding(
        "lost-class",
        f"Class{s} {listed(which)}: of {rows:,} rows hardly any is read right.{because}",
        {
            "classes": lost,
            "names": which,
            "rows": rows,
            "shut": shut,
            "recall": dict(zip(names, recalls, strict=True)),
        },
        advice,
        change,
        0.85 if shut else 0.7 if 2 * len(lost) < len(classes) else 0.4,
        Picture(
            "bars",
            "Rows of each class that are read right",
            "class",
            "part",
            names,
            recalls,
            LOST,
        ),
    )


def _class_name(seen: Evidence, j: int) -> str:
    last = seen.estimator
    if last is not None and hasattr(last, "classes_"):
        return str(np.asarray(last.classes_).tolist()[j])
    return str(j)


FAULTS = (symmetric_start, off_units, saturated_units, exploding, vanishing, lost_class)
