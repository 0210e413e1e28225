"""Is a hand-written derivative right? Central differences say so, entry by entry, in float64.

D(h) = (C(θ_i + h) - C(θ_i - h)) / 2h misses ∂C/∂θ_i by h² C‴/6 + O(h⁴), so (4 D(h/2) - D(h)) / 3
misses it by O(h⁴) alone (Richardson's extrapolation), plus the rounding of C divided by h. At
h = 1e-4 both are near 1e-12, far below any slip in a formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from chainrule.activations import ACTIVATIONS, Activation
from chainrule.data import check_pair
from chainrule.losses import Loss
from chainrule.optimizers import Optimizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.network import Network
    from chainrule.vecmath import Array


EPS = float(np.finfo(np.float64).eps)


class DerivativeError(ValueError):
    """A piece of a network disagrees with its derivative or breaks its contract."""


@dataclass(frozen=True)
class GradientCheck:
    """What :func:`gradcheck` found.

    Attributes
    ----------
    passed : bool
        Whether `error` is within `tolerance`.
    error : float
        Largest relative difference between the two gradients.
    layer, kind, index : int, "W" or "b", tuple of int
        The parameter where it is.
    numeric, analytic : float
        The two derivatives there: by central differences, by backpropagation.
    checked : int
        How many parameters were compared.
    tolerance : float
    """

    passed: bool
    error: float
    layer: int
    kind: str
    index: tuple[int, ...]
    numeric: float
    analytic: float
    checked: int
    tolerance: float

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        verdict = "right" if self.passed else "WRONG"
        where = f"{self.kind}[{', '.join(map(str, self.index))}] of layer {self.layer}"
        return (
            f"gradient {verdict}: {self.checked} parameters, largest relative error "
            f"{self.error:.1e} (tolerance {self.tolerance:.0e}) at {where}: "
            f"backpropagation {self.analytic:.9g}, central differences {self.numeric:.9g}"
        )


def gradcheck(
    network: Network,
    X: ArrayLike,
    Y: ArrayLike,
    *,
    step: float = 1e-4,
    tolerance: float = 1e-6,
    samples: int | None = None,
    seed: int | None = 0,
) -> GradientCheck:
    """Compare backpropagation with central differences, in float64.

    Parameters
    ----------
    network : Network
        Any; it is not changed. A float32 network is checked as a float64 copy.
    X : (m, n_0) array-like
    Y : (m, n_L) array-like
    step : float, default 1e-4
        h, relative to max(1, |θ_i|). Where the cost has a kink within h (as ReLU has), smaller
        steps are tried, and on the kink itself any slope between the two sides is right.
    tolerance : float, default 1e-6
        Largest relative error that passes. It is relative to the larger of the two derivatives,
        but at least to a thousandth of the largest entry of the gradient and 1e-4 C, below
        which differences of C drown in rounding.
    samples : int, optional
        Check that many parameters, drawn at random. Default: all.
    seed : int, default 0
        For that draw.

    Returns
    -------
    GradientCheck
        True in a condition if the gradient is right; str() says where the worst entry is.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import Network, gradcheck
    >>> net = Network((3, 4, 2), activation="tanh", seed=0)
    >>> bool(gradcheck(net, np.eye(3), np.ones((3, 2))))
    True
    """
    for name, value in (("step", step), ("tolerance", tolerance)):
        if not 0 < value < np.inf:
            raise ValueError(f"{name} must be above 0 and finite; got {value!r}")
    if samples is not None and samples < 1:
        raise ValueError(f"samples must be 1 or more; got {samples!r}")
    work = network.copy(np.float64)
    X, Y = check_pair(X, Y, work.sizes[0], work.n_targets, work.dtype)
    cost, nabla = work.gradient(X, Y)
    floor = max(1e-3 * float(np.abs(nabla).max()), 1e-4 * abs(cost), 1e-300)
    positions = np.arange(work.theta.size)
    if samples is not None and samples < positions.size:
        positions = np.random.default_rng(seed).choice(positions, samples, replace=False)

    def cost_at(i: int, value: float) -> float:
        kept, work.theta[i] = work.theta[i], value
        c = work.cost(X, Y)
        work.theta[i] = kept
        return c

    worst = (-1.0, 0, 0.0, 0.0)
    for i in positions.tolist():
        numeric, error = _difference(
            partial(cost_at, i), work.theta[i], cost, nabla[i], step, floor, tolerance
        )
        if error > worst[0] or not np.isfinite(error):
            worst = (error, i, numeric, float(nabla[i]))
            if not np.isfinite(error):
                break
    error, i, numeric, analytic = worst
    layer, kind, index = work.locate(i)
    return GradientCheck(
        bool(error <= tolerance),
        error,
        layer,
        kind,
        index,
        numeric,
        analytic,
        len(positions),
        tolerance,
    )


def _difference(
    cost_at: Callable[[float], float],
    x: float,
    cost: float,
    analytic: float,
    step: float,
    floor: float,
    tolerance: float,
) -> tuple[float, float]:
    """Derivative of cost_at at x by central differences, and the relative error of `analytic`.

    Smaller steps are tried where a kink, or a jump of the second derivative, may be to blame; a
    derivative that is wrong stays so at each of them.
    """
    for shrunk in (step, step / 30, step / 900):
        h = shrunk * max(1.0, abs(x))
        above, below = cost_at(x + h), cost_at(x - h)
        halfway = (cost_at(x + h / 2) - cost_at(x - h / 2)) / h
        numeric = float(4 * halfway - (above - below) / (2 * h)) / 3
        scale = max(abs(numeric), abs(analytic), floor)
        rounding = 0.0 if shrunk == step else 8 * EPS * abs(cost) / h
        right, left = (above - cost) / h, (cost - below) / h
        if not abs(right - left) > 1e-3 * scale + rounding:
            error = float(max(abs(numeric - analytic) - rounding, 0.0) / scale)
            if error <= tolerance or shrunk < step / 100:
                return numeric, error
    # Still two slopes: x is on a kink.
    nearest = min(max(analytic, min(left, right)), max(left, right))
    return float(nearest), float(max(abs(nearest - analytic) - rounding, 0.0) / scale)


CALLS = {
    "f": "write it as f(z, a), which writes the activation of z into a",
    "pullback": "write it as pullback(z, a, delta), which multiplies delta by the derivative",
    "cost": "write it as cost(z, a, y, c), which writes each row's cost into c",
    "delta": "write it as delta(z, a, y, out), which writes the derivative of the cost into out",
    "step": "write it as step(theta, nabla, state, h, t), which changes theta in place",
}
_checked: set[tuple[Any, ...]] = set()


def _written(name: str, what: str, call: Callable[[], Any], out: Array, kept: list[Array]) -> None:
    """Call a piece and see that it wrote `out`, all of it, and left the rest alone."""
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
    """Raise, naming the worst entry, unless the two agree to 1e-5."""
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


def _gradient_by_differences(cost: Callable[[Array], float], z: Array) -> Array:
    numeric = np.empty_like(z)
    h = 1e-6
    for index in np.ndindex(z.shape):
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
    output = ACTIVATIONS[loss.fused or loss.link] if output is None else output
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
