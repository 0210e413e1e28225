"""Checks of single functions: an activation, a loss, a layer, an optimiser, before their first use.

Each derivative is compared with central differences, entry by entry, in float64.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.base.validation import look_up
from chainrule.equations.activations import ACTIVATIONS, Activation
from chainrule.equations.layers import Layer
from chainrule.equations.losses import Loss
from chainrule.equations.optimizers import Optimizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.base.types import Array


class DerivativeError(ValueError):
    """A component of a network disagrees with its derivative or breaks its contract."""


# How to write what a component is made of.
CALLS = {
    "f": "write it as f(z, a), which writes the activation of z into a",
    "pullback": "write it as pullback(z, a, delta), which multiplies delta by the derivative",
    "cost": "write it as cost(z, a, y, c), which writes each row's cost into c",
    "delta": "write it as delta(z, a, y, out), which writes the derivative of the cost into out",
    "forward": "write it as forward(W, b, s, a, z), which writes z",
    "layer's pullback": "write it as pullback(W, b, s, a, delta, below), which writes below",
    "gradient": "write it as gradient(W, b, s, a, delta, nabla_W, nabla_b), which writes both",
    "step": "write it as step(theta, nabla, state, h, t), which changes theta in place",
}

MOST_ENTRIES = 100  # of each array of a layer's that are looked at

_checked: set[tuple[Any, ...]] = set()


def _written(name: str, what: str, call: Callable[[], Any], out: Array, kept: list[Array]) -> None:
    """Call a component and see that it wrote `out`, all of it, and left the rest alone."""
    before = [array.copy() for array in kept]
    try:
        result: Any = call()
    except TypeError as error:
        if "positional argument" not in str(error):
            raise
        raise DerivativeError(
            f"{name}: {what} does not take the arguments that it is given ({error}); "
            f"{CALLS.get(what, 'see the help of its class')}"
        ) from error
    if result is not None:
        raise DerivativeError(
            f"{name}: {what} returned {type(result).__name__}; write the result into the last "
            "argument (out[:] = …) and return nothing"
        )
    for array, copy in zip(kept, before, strict=True):
        if not np.array_equal(array, copy):
            raise DerivativeError(f"{name}: {what} changed an argument other than the last")
    if not np.isfinite(out).all():
        raise DerivativeError(
            f"{name}: {what} left {out[~np.isfinite(out)][0]} in its result; write every entry"
        )


def _compare(name: str, what: str, numeric: Array, analytic: Array, z: Array) -> None:
    """Raise, naming the worst entry, unless the two agree to 1e-5; z is what was moved."""
    error = np.abs(numeric - analytic) / np.maximum(1e-2, np.maximum(abs(numeric), abs(analytic)))
    if error.max() > 1e-5:
        i, j = np.unravel_index(int(error.argmax()), error.shape)
        raise DerivativeError(
            f"{name}: {what} is wrong. Worst at row {i}, column {j}, where z = {z[i, j]:.6g}: "
            f"it says {analytic[i, j]:.8g}, central differences say {numeric[i, j]:.8g}"
        )


def _points(rng: np.random.Generator, width: int) -> Array:
    """A few rows to check at; away from round numbers, where kinks like to be."""
    return rng.uniform(-3, 3, (6 if width <= 64 else 2, width)) + 0.0137


def _gradient_by_differences(
    cost: Callable[[Array], float], z: Array, analytic: Array | None = None
) -> Array:
    """∂cost/∂z; of a large z a part of the entries, the others being those of `analytic`."""
    numeric = np.empty_like(z) if analytic is None else analytic.copy()
    h = 1e-6
    indices = list(np.ndindex(z.shape))
    if analytic is not None and len(indices) > MOST_ENTRIES:
        drawn = np.random.default_rng(0).choice(len(indices), MOST_ENTRIES, replace=False)
        indices = [indices[k] for k in drawn]
    for index in indices:
        moved = z.copy()
        moved[index] += h
        above = cost(moved)
        moved[index] -= 2 * h
        numeric[index] = (above - cost(moved)) / (2 * h)
    return numeric


def check_activation(activation: Activation, width: int = 4) -> None:
    """See that an activation's pullback is its derivative; each activation is checked once.

    Parameters
    ----------
    activation : Activation
    width : int, default 4
        Columns of the z that it is checked with.

    Raises
    ------
    DerivativeError
        The pullback is wrong (the worst entry is named), or the contract is broken.
    """
    key = (activation.f, activation.pullback)
    if key in _checked:
        return
    rng = np.random.default_rng(0)
    name = f"activation {activation.name!r}"
    z = _points(rng, width)
    g = rng.uniform(0.5, 1.5, z.shape)
    a = np.full_like(z, np.nan)
    _written(name, "f", lambda: activation.f(z, a), a, [z])
    delta = g.copy()
    _written(name, "pullback", lambda: activation.pullback(z, a, delta), delta, [z, a])

    def weighted(at: Array) -> float:
        out = np.full_like(at, np.nan)
        activation.f(at, out)
        return float((g * out).sum())

    _compare(name, "pullback", _gradient_by_differences(weighted, z), delta, z)
    _checked.add(key)


def check_loss(loss: Loss, output: Activation | None = None, width: int = 4) -> None:
    """See that a loss's delta is its derivative; each pair of loss and output is checked once.

    Parameters
    ----------
    loss : Loss
    output : Activation, optional
        The output activation. Default: the loss's link.
    width : int, default 4
        Columns of the output that it is checked with.

    Raises
    ------
    DerivativeError
        The derivative is wrong (the worst entry is named), or the contract is broken.
    """
    output = look_up("output activation", output or loss.fused or loss.link, ACTIVATIONS)
    key = (loss.cost, loss.delta, loss.fused, output.f)
    if key in _checked:
        return
    rng = np.random.default_rng(0)
    name = f"loss {loss.name!r}"
    z = _points(rng, width)
    a, c = np.empty_like(z), np.full(len(z), np.nan)
    y = np.empty((len(z), width // loss.outputs))
    output.f(z, a)
    ACTIVATIONS["softmax"].f(rng.standard_normal(y.shape), y)
    y[...] = loss.domain.moved(y)
    delta = np.full_like(z, np.nan)
    _written(name, "cost", lambda: loss.cost(z, a, y, c), c, [z, a, y])
    _written(name, "delta", lambda: loss.delta(z, a, y, delta), delta, [z, a, y])

    def total(at: Array) -> float:
        out, costs = np.empty_like(at), np.empty(len(at))
        if loss.fused:
            output.f(at, out)
            loss.cost(at, out, y, costs)
        else:
            loss.cost(z, at, y, costs)
        return float(costs.sum())

    point = z if loss.fused else a
    _compare(name, "delta", _gradient_by_differences(total, point), delta, z)
    _checked.add(key)


def check_layer(layer: Layer, n_in: int, n_out: int) -> None:
    """See that a layer's pullback and gradient are the derivatives of its forward.

    Each layer is checked once, as it predicts, and as it trains if what it does then follows from
    its arguments alone: without random numbers and without sums over the batch.

    Parameters
    ----------
    layer : Layer
    n_in, n_out : int
        Its widths.

    Raises
    ------
    DerivativeError
        A derivative is wrong (the worst entry is named), or the contract is broken.
    """
    key = (layer.forward, layer.pullback, layer.gradient)
    if key in _checked:
        return
    rng = np.random.default_rng(0)
    name = f"layer {layer.name!r}"
    shape, n_b = layer.shape(n_in, n_out)
    a, W, b = _points(rng, n_in)[:2], rng.uniform(0.5, 1.5, shape), rng.uniform(-1, 1, n_b)
    s = np.array(layer.numbers(n_out), np.float64)
    g = rng.uniform(0.5, 1.5, (len(a), n_out))
    steps = [0.0] if layer.is_random or layer.statistics or not s.size else [0.0, 1.0]
    for step in steps:
        s[:1] = step
        z, below = np.full_like(g, np.nan), np.full_like(a, np.nan)
        nabla_W, nabla_b = np.full_like(W, np.nan), np.full_like(b, np.nan)
        kept = [W, b, s, a]
        _written(name, "forward", partial(layer.forward, W, b, s, a, z), z, kept)
        call = partial(layer.pullback, W, b, s, a, g, below)
        _written(name, "layer's pullback", call, below, [*kept, g])
        call = partial(layer.gradient, W, b, s, a, g, nabla_W, nabla_b)
        _written(name, "gradient", call, nabla_W, [*kept, g])
        if not np.isfinite(nabla_b).all():
            raise DerivativeError(f"{name}: gradient left gaps in nabla_b; write every entry")

        def weighted(W: Array, b: Array, a: Array, s: Array = s) -> float:
            out = np.full_like(g, np.nan)
            layer.forward(W, b, s, a, out)
            return float((g * out).sum())

        for what, x, found, cost in (
            ("pullback", a, below, lambda x: weighted(W, b, x)),
            ("gradient, ∂C/∂W,", W, nabla_W, lambda x: weighted(x, b, a)),
            ("gradient, ∂C/∂b,", b, nabla_b, lambda x: weighted(W, x, a)),
        ):
            if x.size:
                numeric = _gradient_by_differences(cost, x, found)
                _compare(name, what, np.atleast_2d(numeric), np.atleast_2d(found), np.atleast_2d(x))
    _checked.add(key)


def check_optimizer(optimizer: Optimizer) -> None:
    """See that an optimiser keeps its contract: it moves theta, in place, to finite values.

    Raises
    ------
    DerivativeError
        It does not move theta, changes the gradient, or leaves a non-finite number.
    """
    key = (optimizer.step, optimizer.slots, tuple(optimizer.hyper.items()))
    if key in _checked:
        return
    name = f"optimizer {optimizer.name!r}"
    if next(iter(optimizer.hyper), None) != "learning_rate":
        raise DerivativeError(f"{name}: hyper must start with 'learning_rate'")
    h = np.array(list(optimizer.hyper.values()), np.float64)
    for dtype in (np.float32, np.float64):
        theta: Array = np.linspace(-1, 1, 8, dtype=dtype)
        nabla: Array = np.linspace(0.5, -0.3, 8, dtype=dtype)
        state: Array = np.zeros((optimizer.slots, 8), dtype)
        start = theta.copy()
        for t in range(1, 4):
            step = partial(optimizer.step, theta, nabla, state, h, t)
            _written(name, "step", step, theta, [nabla, h])
        if np.array_equal(theta, start):
            raise DerivativeError(f"{name}: step did not change theta; write theta -= … in place")
    _checked.add(key)
