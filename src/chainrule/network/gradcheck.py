"""Is the gradient of a network right? Central differences say so, entry by entry, in float64.

D(h) = (C(θ_i + h) - C(θ_i - h)) / 2h misses ∂C/∂θ_i by h² C‴/6 + O(h⁴), so (4 D(h/2) - D(h)) / 3
misses it by O(h⁴) alone (Richardson's extrapolation), plus the rounding of C divided by h. At
h = 1e-4 both are near 1e-12, far below any slip in a formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from chainrule.base.validation import ShownAsText, check_pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.network.network import Network

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class GradientCheck(ShownAsText):
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
    rows = work.backpropagation(len(X))
    floor = max(1e-3 * float(np.abs(nabla).max()), 1e-4 * abs(cost), 1e-300)
    positions = np.arange(work.theta.size)
    if samples is not None and samples < positions.size:
        positions = np.random.default_rng(seed).choice(positions, samples, replace=False)

    def cost_at(i: int, value: float) -> float:
        kept, work.theta[i] = work.theta[i], value
        c = float(rows.forward(X, Y).mean())
        work.theta[i] = kept
        return c

    worst = (-1.0, 0, 0.0, 0.0)
    for i in positions.tolist():
        numeric, error = difference(
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


def difference(
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
