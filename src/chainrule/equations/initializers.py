"""Starting values: how W^l and b^l are drawn before the first step.

The contract: ``weights(rng, W)`` fills W, of shape (n_in, n_out), from the generator; ``biases``
does the same for b with the layer's widths, or is None for zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from chainrule.base.types import Array
from chainrule.equations.components import reduce_component, repr_of_component


class Initializer(NamedTuple):
    """A way to draw starting values.

    Attributes
    ----------
    name : str
    weights : callable (rng, W) -> None
        Fills W, (n_in, n_out).
    biases : callable (rng, b) -> None, optional
        Fills b, (n_out,). Default: None, zeros.
    made_by : tuple, default ()
        The function that made it and its arguments, if one did; for pickling.
    """

    name: str
    weights: Callable[[np.random.Generator, Array], None]
    biases: Callable[[np.random.Generator, Array], None] | None = None
    made_by: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return repr_of_component(self)

    def __reduce__(self) -> Any:
        return reduce_component(self)

    def __deepcopy__(self, memo: Any) -> Initializer:
        return self  # nothing in it changes


def uniform(rng: np.random.Generator, W: Array) -> None:
    """Every weight (and bias) from U(0, 0.1): the article's choice; all positive."""
    W[...] = rng.uniform(0, 0.1, W.shape)


def zeros(rng: np.random.Generator, W: Array) -> None:
    """Every weight 0: all units of a layer then stay alike."""
    W[...] = 0


def orthogonal(rng: np.random.Generator, W: Array) -> None:
    """Rows or columns orthonormal, whichever are fewer. Saxe, McClelland and Ganguli (2014)."""
    n_in, n_out = W.shape
    q, r = np.linalg.qr(rng.standard_normal((max(n_in, n_out), min(n_in, n_out))))
    q *= np.sign(np.diag(r))  # makes the draw uniform over the orthogonal matrices
    W[...] = q if n_in >= n_out else q.T


def _scaled(name: str, variance: Callable[[int, int], float], normal: bool) -> Initializer:
    """Zero mean and Var(W) = variance(n_in, n_out); normal, or uniform in ±√(3 Var)."""

    def weights(rng: np.random.Generator, W: Array) -> None:
        deviation = sqrt(variance(*W.shape))
        if normal:
            W[...] = rng.normal(0, deviation, W.shape)
        else:
            W[...] = rng.uniform(-sqrt(3) * deviation, sqrt(3) * deviation, W.shape)

    weights.__doc__ = f"{'Normal' if normal else 'Uniform'}, mean 0, Var(W) = {variance.__doc__}"
    return Initializer(name, weights, made_by=(_named, name))


def _named(name: str) -> Initializer:
    return INITIALIZERS[name]


def _glorot(n_in: int, n_out: int) -> float:
    """2 / (n_in + n_out). Glorot and Bengio (2010), equation 12."""
    return 2 / (n_in + n_out)


def _he(n_in: int, n_out: int) -> float:
    """2 / n_in. He et al. (2015), equation 10."""
    return 2 / n_in


def _lecun(n_in: int, n_out: int) -> float:
    """1 / n_in. LeCun et al. (1998), section 4.6."""
    return 1 / n_in


INITIALIZERS = {
    initializer.name: initializer
    for initializer in (
        Initializer("uniform", uniform, uniform),
        _scaled("glorot_uniform", _glorot, normal=False),
        _scaled("glorot_normal", _glorot, normal=True),
        _scaled("he_uniform", _he, normal=False),
        _scaled("he_normal", _he, normal=True),
        _scaled("lecun_uniform", _lecun, normal=False),
        _scaled("lecun_normal", _lecun, normal=True),
        Initializer("orthogonal", orthogonal),
        Initializer("zeros", zeros),
    )
}
