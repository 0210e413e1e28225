"""Optimisers: how a step follows from the gradient.

The contract: ``step(theta, nabla, state, h, t)`` changes theta, of shape (P,), in place, given
the gradient nabla (P,); state is (slots, P), zeros before the first step, the optimiser's to
keep; h are its numbers in the order of `hyper`, float64, the learning rate first; t counts steps
from 1. Everything in it is elementwise, so that a step may be taken slice by slice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from chainrule.base.types import Array
from chainrule.equations.components import reduce_component, repr_of_component
from chainrule.equations.vecmath import add_scaled, step_by_moments


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
    parameters : tuple of str, default ()
        The names in `hyper` that the estimators' parameters of the same name set. The others are
        set by ``solver_options``.
    made_by : tuple, default ()
        The function that made it and its arguments, if one did; for pickling.
    """

    name: str
    step: Callable[[Array, Array, Array, Array, int], None]
    slots: int
    hyper: dict[str, float]
    parameters: tuple[str, ...] = ()
    made_by: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return repr_of_component(self)

    def __reduce__(self) -> Any:
        return reduce_component(self)

    def __deepcopy__(self, memo: Any) -> Optimizer:
        return self  # nothing in it changes


def sgd(theta: Array, nabla: Array, state: Array, h: Array, t: int) -> None:
    """θ ← θ - η ∇C."""
    add_scaled(-h[0], nabla, theta)


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
    root = 1 / np.sqrt(1 - h[2] ** t)
    ahead = h[0] / (1 - h[1] ** t)
    step_by_moments(nabla, (1 - h[1], 1 - h[2]), (ahead, 0.0), root, h[3], state, theta)


def nadam(theta: Array, nabla: Array, state: Array, h: Array, t: int) -> None:
    """Adam with Nesterov's look-ahead: θ ← θ - η (β₁ m̂ + (1-β₁) ∇C / (1-β₁ᵗ)) / (√v̂ + ε).

    m̂ = m / (1-β₁ᵗ⁺¹). Dozat (2016), algorithm 2 with a constant β₁.
    """
    root = 1 / np.sqrt(1 - h[2] ** t)
    ahead = h[0] * h[1] / (1 - h[1] ** (t + 1))
    here = h[0] * (1 - h[1]) / (1 - h[1] ** t)
    step_by_moments(nabla, (1 - h[1], 1 - h[2]), (ahead, here), root, h[3], state, theta)


def radam(theta: Array, nabla: Array, state: Array, h: Array, t: int) -> None:
    """Adam with the variance of its early steps rectified. Liu et al. (2020), algorithm 2.

    ρ = 2/(1-β₂) - 1 - 2 t β₂ᵗ/(1-β₂ᵗ); while ρ <= 5, θ ← θ - η m̂, after that Adam times r.
    """
    limit = 2 / (1 - h[2]) - 1
    rho = limit - 2 * t * h[2] ** t / (1 - h[2] ** t)
    ahead = h[0] / (1 - h[1] ** t)
    root, eps = 0.0, 1.0  # without the divisor
    if rho > 5:
        ahead *= np.sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho))
        root, eps = 1 / np.sqrt(1 - h[2] ** t), h[3]
    step_by_moments(nabla, (1 - h[1], 1 - h[2]), (ahead, 0.0), root, eps, state, theta)


def rmsprop(theta: Array, nabla: Array, state: Array, h: Array, t: int) -> None:
    """v ← ρ v + (1-ρ) ∇C²;  θ ← θ - η ∇C / (√v + ε).  Tieleman and Hinton (2012)."""
    number = theta.dtype.type
    eta, rho, eps = number(h[0]), number(h[1]), number(h[2])
    v = state[0]
    v += (number(1) - rho) * (nabla * nabla - v)
    theta -= eta * nabla / (np.sqrt(v) + eps)


def adagrad(theta: Array, nabla: Array, state: Array, h: Array, t: int) -> None:
    """v ← v + ∇C²;  θ ← θ - η ∇C / (√v + ε).  Duchi, Hazan and Singer (2011)."""
    number = theta.dtype.type
    eta, eps = number(h[0]), number(h[1])
    v = state[0]
    v += nabla * nabla
    theta -= eta * nabla / (np.sqrt(v) + eps)


def adadelta(theta: Array, nabla: Array, state: Array, h: Array, t: int) -> None:
    """v ← ρ v + (1-ρ) ∇C²;  d = √((u + ε)/(v + ε)) ∇C;  u ← ρ u + (1-ρ) d²;  θ ← θ - η d.

    Zeiler (2012), algorithm 1.
    """
    number = theta.dtype.type
    eta, rho, eps = number(h[0]), number(h[1]), number(h[2])
    v, u = state[0], state[1]
    v += (number(1) - rho) * (nabla * nabla - v)
    d = np.sqrt((u + eps) / (v + eps)) * nabla
    u += (number(1) - rho) * (d * d - u)
    theta -= eta * d


def lion(theta: Array, nabla: Array, state: Array, h: Array, t: int) -> None:
    """θ ← θ - η sign(β₁ m + (1-β₁) ∇C);  m ← β₂ m + (1-β₂) ∇C.  Chen et al. (2023)."""
    number = theta.dtype.type
    eta, beta1, beta2 = number(h[0]), number(h[1]), number(h[2])
    m = state[0]
    theta -= eta * np.sign(beta1 * m + (number(1) - beta1) * nabla)
    m += (number(1) - beta2) * (nabla - m)


# AdamW is Adam with `Rules.decay`.
_MOMENTUM = {"learning_rate": 0.01, "momentum": 0.9}
_ADAM_PARAMETERS = ("beta_1", "beta_2", "epsilon")
_ADAM = {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}

OPTIMIZERS = {
    optimizer.name: optimizer
    for optimizer in (
        Optimizer("sgd", sgd, 0, {"learning_rate": 0.01}),
        Optimizer("momentum", momentum, 1, _MOMENTUM, ("momentum",)),
        Optimizer("nesterov", nesterov, 1, _MOMENTUM, ("momentum",)),
        Optimizer("adam", adam, 2, _ADAM, _ADAM_PARAMETERS),
        Optimizer("nadam", nadam, 2, _ADAM, _ADAM_PARAMETERS),
        Optimizer("radam", radam, 2, _ADAM, _ADAM_PARAMETERS),
        Optimizer("rmsprop", rmsprop, 1, {"learning_rate": 0.001, "rho": 0.9, "epsilon": 1e-8}),
        Optimizer("adagrad", adagrad, 1, {"learning_rate": 0.01, "epsilon": 1e-10}),
        Optimizer("adadelta", adadelta, 2, {"learning_rate": 1.0, "rho": 0.9, "epsilon": 1e-6}),
        Optimizer(
            "lion", lion, 1, {"learning_rate": 0.0001, "beta_1": 0.9, "beta_2": 0.99}, ("beta_1",)
        ),
    )
}


def adam_as_in_sklearn(theta: Array, nabla: Array, state: Array, h: Array, t: int) -> None:
    """Adam with ε beside √v in place of √v̂: the closing remark of Kingma and Ba's section 2."""
    ahead = h[0] * np.sqrt(1 - h[2] ** t) / (1 - h[1] ** t)
    step_by_moments(nabla, (1 - h[1], 1 - h[2]), (ahead, 0.0), 1.0, h[3], state, theta)


ADAM_AS_IN_SKLEARN = Optimizer("adam", adam_as_in_sklearn, 2, _ADAM, _ADAM_PARAMETERS)
