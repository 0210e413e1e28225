"""Optimisers: how a step follows from the gradient.

The contract: ``step(theta, nabla, state, h, t)`` changes theta, of shape (P,), in place, given
the gradient nabla (P,); state is (slots, P), zeros before the first step, the optimiser's to
keep; h are its numbers in the order of `hyper`, float64, the learning rate first; t counts steps
from 1. Everything in it is elementwise, so that a step may be taken slice by slice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from chainrule.vecmath import Array


class Optimizer(NamedTuple):
    """An optimiser.

    Attributes
    ----------
    name : str
    step : callable (theta, nabla, state, h, t) -> None
        Changes theta and state in place.
    slots : int
        Rows of state, each as long as theta.
    hyper : dict of str to float
        Its numbers with their defaults; ``learning_rate`` comes first.
    """

    name: str
    step: Callable[[Array, Array, Array, Array, int], None]
    slots: int
    hyper: dict[str, float]


def sgd(theta: Array, nabla: Array, state: Array, h: Array, t: int) -> None:
    """θ ← θ - η ∇C."""
    eta = theta.dtype.type(h[0])
    theta -= eta * nabla


def momentum(theta: Array, nabla: Array, state: Array, h: Array, t: int) -> None:
    """v ← μ v - η ∇C;  θ ← θ + v.  Polyak (1964)."""
    eta, mu = theta.dtype.type(h[0]), theta.dtype.type(h[1])
    v = state[0]
    v *= mu
    v -= eta * nabla
    theta += v


def nesterov(theta: Array, nabla: Array, state: Array, h: Array, t: int) -> None:
    """v ← μ v - η ∇C;  θ ← θ + μ v - η ∇C.  Sutskever et al. (2013), in Bengio's form."""
    eta, mu = theta.dtype.type(h[0]), theta.dtype.type(h[1])
    v = state[0]
    v *= mu
    v -= eta * nabla
    theta += mu * v - eta * nabla


def adam(theta: Array, nabla: Array, state: Array, h: Array, t: int) -> None:
    """m ← β₁ m + (1-β₁) ∇C;  v ← β₂ v + (1-β₂) ∇C²;  θ ← θ - η m̂ / (√v̂ + ε).

    m̂ = m / (1-β₁ᵗ) and v̂ = v / (1-β₂ᵗ). Kingma and Ba (2015), algorithm 1.
    """
    number = theta.dtype.type
    beta1, beta2, eps = number(h[1]), number(h[2]), number(h[3])
    rate = number(h[0] / (1 - h[1] ** t))
    root = number(1 / np.sqrt(1 - h[2] ** t))
    m, v = state[0], state[1]
    m += (number(1) - beta1) * (nabla - m)
    v += (number(1) - beta2) * (nabla * nabla - v)
    theta -= rate * m / (np.sqrt(v) * root + eps)


OPTIMIZERS = {
    optimizer.name: optimizer
    for optimizer in (
        Optimizer("sgd", sgd, 0, {"learning_rate": 0.01}),
        Optimizer("momentum", momentum, 1, {"learning_rate": 0.01, "momentum": 0.9}),
        Optimizer("nesterov", nesterov, 1, {"learning_rate": 0.01, "momentum": 0.9}),
        Optimizer(
            "adam",
            adam,
            2,
            {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
        ),
    )
}
