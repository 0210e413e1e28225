"""Activation functions σ, each beside its pullback.

The contract of a pair, with z, a and delta of shape (m, n), rows being samples, all of one
dtype, float32 or float64:

``f(z, a)``
    writes a = σ(z).
``pullback(z, a, delta)``
    turns delta = ∂C/∂a into ∂C/∂z, in place. For an elementwise σ that is
    delta ⊙ σ′(z); softmax, whose outputs hang together, has a full Jacobian.

Only the last argument changes. The functions keep to NumPy that Numba compiles, so that the
same source runs in both engines; your own pair goes in like ours:
``Activation("square", f, pullback)``.

Beside each pair stands its formula, in the expressions of `chainrule.expressions`: exported
programs are written from it. An activation without one trains and predicts, but is not exported.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, pi, sqrt
from typing import Any, NamedTuple

import numpy as np

from chainrule.base.types import Array
from chainrule.equations import expressions as ex
from chainrule.equations.components import reduce_component, repr_of_component
from chainrule.equations.expressions import Expression, Formula
from chainrule.equations.vecmath import (
    copy,
    divide_rows,
    erf,
    exp,
    expm1,
    flat,
    gate,
    gate_silu,
    maximum,
    minimum,
    row_max,
    row_sum,
    shift_rows,
    softplus,
)
from chainrule.equations.vecmath import logistic as vec_logistic
from chainrule.equations.vecmath import tanh as vec_tanh

LEAK = 0.01  # slope of leaky_relu below 0: Maas, Hannun and Ng (2013)
SELU_SCALE = 1.0507009873554805  # Klambauer et al. (2017), equation 14
SELU_ALPHA = 1.6732632423543772


class Activation(NamedTuple):
    """An activation function and how a gradient passes back through it.

    Attributes
    ----------
    name : str
    f : callable (z, a) -> None
        Writes a = σ(z); both of shape (m, n).
    pullback : callable (z, a, delta) -> None
        Turns delta = ∂C/∂a into ∂C/∂z in place; all of shape (m, n).
    made_by : tuple, default ()
        The function that made it and its arguments, if one did; for pickling.
    formula : callable (Expression) -> Expression, optional
        σ(z) in the expressions of `chainrule.expressions`, for exported programs.
    rescaled : callable (shift, factor) -> (s, f) or None, optional
        What z is shifted by and multiplied with so that a is: σ(f z + s) = factor σ(z) + shift,
        unit by unit, factor > 0; None from it where there is no such s and f. With it, or with
        `is_rescaled_behind`, a regressor may standardise the target of an output layer.
    is_rescaled_behind : bool, default False
        Whether a change of scale is made behind σ, because z has no s and f for it.
    range : (float, float), default (-inf, inf)
        Between what its outputs are. The target of an output layer that gives nothing below 0 may
        be divided, but not shifted.
    is_shut_below_0 : bool, default False
        Whether σ and its derivative are 0 where z < 0, so that a unit can be shut on every row.
    probabilities : str, default ""
        "classes" if the outputs of a row are above 0 and sum to 1, "labels" if each is between
        0 and 1.
    glorot : float, default 6
        r² (n_in + n_out) of the starting values, uniform in ±r, that scikit-learn draws for it.
    """

    name: str
    f: Callable[[Array, Array], None]
    pullback: Callable[[Array, Array, Array], None]
    made_by: tuple[Any, ...] = ()
    formula: Formula | None = None
    rescaled: Callable[[Array, Array], tuple[Array, Array] | None] | None = None
    is_rescaled_behind: bool = False
    range: tuple[float, float] = (-inf, inf)
    is_shut_below_0: bool = False
    probabilities: str = ""
    glorot: float = 6.0

    def __repr__(self) -> str:
        return repr_of_component(self)

    def __reduce__(self) -> Any:
        return reduce_component(self)

    def __deepcopy__(self, memo: Any) -> Activation:
        return self  # nothing in it changes


def identity(z: Array, a: Array) -> None:
    """a = z."""
    copy(z, a)


def identity_pullback(z: Array, a: Array, delta: Array) -> None:
    """σ′ = 1."""


def identity_formula(z: Expression) -> Expression:
    """σ(z) for exported programs."""
    return z


def identity_rescaled(shift: Array, factor: Array) -> tuple[Array, Array]:
    """σ(f z + s) = f σ(z) + s."""
    return shift, factor


def relu(z: Array, a: Array) -> None:
    """a = max(z, 0)."""
    maximum(z, 0, a)


def relu_pullback(z: Array, a: Array, delta: Array) -> None:
    """σ′ = 1 where z > 0, else 0; at the kink, z = 0, we take 0."""
    gate(z, delta)


def relu_formula(z: Expression) -> Expression:
    """σ(z) for exported programs."""
    return ex.maximum(z, 0)


def leaky_relu(z: Array, a: Array) -> None:
    """a = z where z > 0, else 0.01 z."""
    np.multiply(z, z.dtype.type(LEAK), a)
    maximum(z, a, a)


def leaky_relu_pullback(z: Array, a: Array, delta: Array) -> None:
    """σ′ = 1 where z > 0, else 0.01."""
    delta *= (z > 0) * z.dtype.type(1 - LEAK) + z.dtype.type(LEAK)


def leaky_relu_formula(z: Expression) -> Expression:
    """σ(z) for exported programs."""
    return ex.where(z > 0, z, LEAK * z)


def elu(z: Array, a: Array) -> None:
    """a = z where z > 0, else e^z - 1."""
    minimum(z, 0, a)
    expm1(a, a)
    a += np.maximum(z, z.dtype.type(0))


def elu_pullback(z: Array, a: Array, delta: Array) -> None:
    """σ′ = 1 where z > 0, else e^z = a + 1."""
    delta *= np.minimum(a, a.dtype.type(0)) + a.dtype.type(1)


def elu_formula(z: Expression) -> Expression:
    """σ(z) for exported programs."""
    return ex.where(z > 0, z, ex.expm1(z))


def selu(z: Array, a: Array) -> None:
    """a = s z where z > 0, else s α (e^z - 1)."""
    minimum(z, 0, a)
    expm1(a, a)
    a *= z.dtype.type(SELU_SCALE * SELU_ALPHA)
    a += np.maximum(z, z.dtype.type(0)) * z.dtype.type(SELU_SCALE)


def selu_pullback(z: Array, a: Array, delta: Array) -> None:
    """σ′ = s where z > 0, else s α e^z = a + s α."""
    below = np.minimum(a, a.dtype.type(0)) + z.dtype.type(SELU_SCALE * SELU_ALPHA)
    above = z > 0
    delta *= above * z.dtype.type(SELU_SCALE) + (~above) * below


def selu_formula(z: Expression) -> Expression:
    """σ(z) for exported programs."""
    return SELU_SCALE * ex.where(z > 0, z, SELU_ALPHA * ex.expm1(z))


def gelu(z: Array, a: Array) -> None:
    """a = z Φ(z), Φ the normal distribution function, (1 + erf(z / √2)) / 2: no approximation."""
    np.multiply(z, z.dtype.type(1 / sqrt(2)), a)
    erf(a, a)
    a += a.dtype.type(1)
    a *= z * z.dtype.type(0.5)


def gelu_pullback(z: Array, a: Array, delta: Array) -> None:
    """σ′ = Φ(z) + z φ(z), Φ(z) = a / z, or 1/2 at z = 0, and φ(z) = exp(-z²/2) / √(2π)."""
    z, a, delta, number = flat(z), flat(a), flat(delta), z.dtype.type
    slope = z * z * number(-0.5)
    exp(slope, slope)
    slope *= z * number(1 / sqrt(2 * pi))
    at_0 = (z == 0) * number(1)
    slope += (a + at_0 * number(0.5)) / (z + at_0)
    delta *= slope


def gelu_formula(z: Expression) -> Expression:
    """σ(z) for exported programs."""
    return 0.5 * z * (1 + ex.erf(z * sqrt(0.5)))


def silu(z: Array, a: Array) -> None:
    """a = z s(z), s the logistic function."""
    vec_logistic(z, a)
    a *= z


def silu_pullback(z: Array, a: Array, delta: Array) -> None:
    """σ′ = s + z s (1 - s) = s + a (1 - s)."""
    gate_silu(z, a, delta)


def silu_formula(z: Expression) -> Expression:
    """σ(z) for exported programs."""
    return z * ex.logistic(z)


def mish(z: Array, a: Array) -> None:
    """a = z tanh(log(1 + e^z)) = z s (1 + q) / (1 + q²), s the logistic function, q = 1 - s."""
    z, a, one = flat(z), flat(a), z.dtype.type(1)
    vec_logistic(z, a)
    q = one - a
    a *= z * (one + q) / (one + q * q)


def mish_pullback(z: Array, a: Array, delta: Array) -> None:
    """σ′ = r s (1 + q + 4 z q² r) with r = 1 / (1 + q²)."""
    z, delta, one, four = flat(z), flat(delta), z.dtype.type(1), z.dtype.type(4)
    s = np.empty_like(z)
    vec_logistic(z, s)
    q = one - s
    r = one / (one + q * q)
    s *= r
    delta *= s
    r *= four * z * q * q
    delta *= one + q + r


def mish_formula(z: Expression) -> Expression:
    """σ(z) for exported programs."""
    return z * ex.tanh(ex.softplus(z))


def softplus_activation(z: Array, a: Array) -> None:
    """a = log(1 + e^z)."""
    softplus(z, a)


def softplus_pullback(z: Array, a: Array, delta: Array) -> None:
    """σ′ = s(z), the logistic function."""
    s = np.empty_like(z)
    vec_logistic(z, s)
    delta *= s


def softplus_formula(z: Expression) -> Expression:
    """σ(z) for exported programs."""
    return ex.softplus(z)


def tanh(z: Array, a: Array) -> None:
    """a = tanh z."""
    vec_tanh(z, a)


def tanh_pullback(z: Array, a: Array, delta: Array) -> None:
    """σ′ = 1 - a²."""
    delta *= a.dtype.type(1) - a * a


def tanh_formula(z: Expression) -> Expression:
    """σ(z) for exported programs."""
    return ex.tanh(z)


def logistic(z: Array, a: Array) -> None:
    """a = 1 / (1 + e^-z)."""
    vec_logistic(z, a)


def logistic_pullback(z: Array, a: Array, delta: Array) -> None:
    """σ′ = a (1 - a)."""
    delta *= a * (a.dtype.type(1) - a)


def logistic_formula(z: Expression) -> Expression:
    """σ(z) for exported programs."""
    return ex.logistic(z)


def exponential(z: Array, a: Array) -> None:
    """a = e^z."""
    exp(z, a)


def exponential_pullback(z: Array, a: Array, delta: Array) -> None:
    """σ′ = a."""
    delta *= a


def exponential_formula(z: Expression) -> Expression:
    """σ(z) for exported programs."""
    return ex.exp(z)


def exponential_rescaled(shift: Array, factor: Array) -> tuple[Array, Array] | None:
    """e^{z + log f} = f e^z."""
    return None if np.any(shift) else (np.log(factor), np.ones_like(factor))


def softmax(z: Array, a: Array) -> None:
    """a_j = e^{z_j} / Σ_k e^{z_k} in each row; the row's largest z is taken off first."""
    shift_rows(z, row_max(z), a)
    exp(a, a)
    divide_rows(row_sum(a), a)


def softmax_pullback(z: Array, a: Array, delta: Array) -> None:
    """∂C/∂z_j = Σ_k ∂C/∂a_k a_k (1[j=k] - a_j) = a_j (δ_j - Σ_k a_k δ_k), row by row."""
    x = a * delta
    shift_rows(delta, row_sum(x), x)
    np.multiply(x, a, delta)


def softmax_formula(z: Expression) -> Expression:
    """σ(z) for exported programs."""
    return ex.softmax(z)


def ordered(n: int) -> Activation:
    """Outputs in runs of n, each above the last: a_1 = z_1, a_j = a_{j-1} + softplus(z_j).

    For quantiles that never cross.
    """

    def f(z: Array, a: Array) -> None:
        softplus(z, a)
        for k in range(z.shape[1]):
            if k % n == 0:
                a[:, k] = z[:, k]
            else:
                a[:, k] += a[:, k - 1]

    def pullback(z: Array, a: Array, delta: Array) -> None:
        s = np.empty_like(z)
        vec_logistic(z, s)
        for k in range(z.shape[1] - 1, -1, -1):
            if k % n > 0:
                delta[:, k - 1] += delta[:, k]
                delta[:, k] *= s[:, k]

    return Activation("ordered", f, pullback, made_by=(ordered, n), is_rescaled_behind=True)


ACTIVATIONS = {
    activation.name: activation
    for activation in (
        Activation(
            "identity",
            identity,
            identity_pullback,
            formula=identity_formula,
            rescaled=identity_rescaled,
        ),
        Activation(
            "relu",
            relu,
            relu_pullback,
            formula=relu_formula,
            range=(0.0, inf),
            is_shut_below_0=True,
        ),
        Activation("leaky_relu", leaky_relu, leaky_relu_pullback, formula=leaky_relu_formula),
        Activation("elu", elu, elu_pullback, formula=elu_formula),
        Activation("selu", selu, selu_pullback, formula=selu_formula),
        Activation("gelu", gelu, gelu_pullback, formula=gelu_formula),
        Activation("silu", silu, silu_pullback, formula=silu_formula),
        Activation("mish", mish, mish_pullback, formula=mish_formula),
        Activation(
            "softplus",
            softplus_activation,
            softplus_pullback,
            formula=softplus_formula,
            range=(0.0, inf),
        ),
        Activation("tanh", tanh, tanh_pullback, formula=tanh_formula, range=(-1.0, 1.0)),
        Activation(
            "logistic",
            logistic,
            logistic_pullback,
            formula=logistic_formula,
            range=(0.0, 1.0),
            probabilities="labels",
            glorot=2.0,
        ),
        Activation(
            "exp",
            exponential,
            exponential_pullback,
            formula=exponential_formula,
            rescaled=exponential_rescaled,
            range=(0.0, inf),
        ),
        Activation(
            "softmax",
            softmax,
            softmax_pullback,
            formula=softmax_formula,
            range=(0.0, 1.0),
            probabilities="classes",
        ),
    )
}

# Functions that make others, by the name that files know them by.
MAKERS = {maker.__name__: maker for maker in (ordered,)}
