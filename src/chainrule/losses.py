"""Cost functions C, each beside its derivative.

The contract, with z, a, y and delta of shape (m, n_L), rows being samples, all of one dtype:

``cost(z, a, y, c)``
    writes each row's cost into c, of shape (m,).
``delta(z, a, y, delta)``
    writes ∂C/∂a, or ∂C/∂z for a loss that is fused with its output activation.

Only the last argument changes. The average over the batch is taken once, by the caller.

A loss can be *fused* with one output activation: where the product of the two derivatives is
simple and free of cancellation (softmax or logistic with cross-entropy give a - y), delta is
∂C/∂z straight away and the activation's pullback is skipped. :func:`fuse` picks that form; with
every other activation the plain form is used and the activation pulls it back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from chainrule.vecmath import Array, exp, row_max, row_sum, softplus


class Loss(NamedTuple):
    """A cost function and its derivative.

    Attributes
    ----------
    name : str
    cost : callable (z, a, y, c) -> None
        Writes the cost of each row, (m,).
    delta : callable (z, a, y, delta) -> None
        Writes ∂C/∂a, (m, n_L); if `fused` names an activation, ∂C/∂z.
    link : str
        The output activation that goes with it unless told otherwise.
    fused : str, default ""
        The output activation that delta already contains.
    """

    name: str
    cost: Callable[[Array, Array, Array, Array], None]
    delta: Callable[[Array, Array, Array, Array], None]
    link: str = "identity"
    fused: str = ""


def squared_error(z: Array, a: Array, y: Array, c: Array) -> None:
    """C = ½ Σ_j (a_j - y_j)²."""
    r = a - y
    c[:] = row_sum(r * r)[:, 0]
    c *= c.dtype.type(0.5)


def squared_error_delta(z: Array, a: Array, y: Array, delta: Array) -> None:
    """∂C/∂a = a - y."""
    np.subtract(a, y, delta)


def cross_entropy(z: Array, a: Array, y: Array, c: Array) -> None:
    """C = -Σ_j y_j log a_j; an a_j below the dtype's epsilon counts as epsilon."""
    c[:] = -row_sum(y * np.log(np.maximum(a, np.finfo(a.dtype).eps)))[:, 0]


def cross_entropy_delta(z: Array, a: Array, y: Array, delta: Array) -> None:
    """∂C/∂a = -y / a; 0 where the logarithm is cut off."""
    eps = np.finfo(a.dtype).eps
    np.divide(-y, np.maximum(a, eps), delta)
    delta *= a > eps


def softmax_cross_entropy(z: Array, a: Array, y: Array, c: Array) -> None:
    """C = -Σ_j y_j log softmax(z)_j = Σ_j y_j (log Σ_k e^{z_k} - z_j)."""
    shifted = z - row_max(z)
    e = np.empty_like(z)
    exp(shifted, e)
    c[:] = row_sum(y * (np.log(row_sum(e)) - shifted))[:, 0]


def softmax_cross_entropy_delta(z: Array, a: Array, y: Array, delta: Array) -> None:
    """∂C/∂z = a Σ_j y_j - y, which is a - y for a one-hot y."""
    np.multiply(a, row_sum(y), delta)
    delta -= y


def binary_cross_entropy(z: Array, a: Array, y: Array, c: Array) -> None:
    """C = -Σ_j (y_j log a_j + (1 - y_j) log(1 - a_j)), with a kept epsilon away from 0 and 1."""
    eps = np.finfo(a.dtype).eps
    p = np.minimum(np.maximum(a, eps), 1 - eps)
    c[:] = -row_sum(y * np.log(p) + (1 - y) * np.log(1 - p))[:, 0]


def binary_cross_entropy_delta(z: Array, a: Array, y: Array, delta: Array) -> None:
    """∂C/∂a = (a - y) / (a (1 - a)); 0 where the logarithm is cut off."""
    eps = np.finfo(a.dtype).eps
    p = np.minimum(np.maximum(a, eps), 1 - eps)
    np.divide(p - y, p * (1 - p), delta)
    delta *= (a > eps) & (a < 1 - eps)


def logistic_cross_entropy(z: Array, a: Array, y: Array, c: Array) -> None:
    """C = Σ_j (log(1 + e^{z_j}) - y_j z_j), binary cross-entropy of the logistic function."""
    s = np.empty_like(z)
    softplus(z, s)
    c[:] = row_sum(s - y * z)[:, 0]


LOSSES = {
    loss.name: loss
    for loss in (
        Loss("squared_error", squared_error, squared_error_delta),
        Loss("cross_entropy", cross_entropy, cross_entropy_delta, "softmax"),
        Loss(
            "binary_cross_entropy",
            binary_cross_entropy,
            binary_cross_entropy_delta,
            "logistic",
        ),
    )
}

FUSED = {
    (loss.name, loss.fused): loss
    for loss in (
        Loss(
            "cross_entropy",
            softmax_cross_entropy,
            softmax_cross_entropy_delta,
            "softmax",
            "softmax",
        ),
        Loss(
            "binary_cross_entropy",
            logistic_cross_entropy,
            squared_error_delta,  # ∂C/∂z = a - y here too
            "logistic",
            "logistic",
        ),
    )
}


def fuse(loss: Loss, activation: str) -> Loss:
    """The form of `loss` for an output activation: fused where there is one, else itself."""
    return FUSED.get((loss.name, activation), loss)
