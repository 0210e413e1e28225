"""Kinds of layers: how z^l comes from a^{l-1}, and how gradients go back through it.

The contract of a kind. W (r, c) and b (k,) are the layer's parameters, views of theta; s (any
length, float64) are numbers of its own that are not learned; a is its input (m, n_{l-1}), z its
output (m, n_l), delta = ∂C/∂z:

``forward(W, b, s, a, z)``
    writes z.
``pullback(W, b, s, a, delta, below)``
    writes ∂C/∂a into below, (m, n_{l-1}).
``gradient(W, b, s, a, delta, nabla_W, nabla_b)``
    writes ∂C/∂W and ∂C/∂b, the sums over the rows.
``shape(n_in, n_out)``
    gives ((r, c), k), and raises ValueError for widths that it cannot join.

The arithmetic keeps to NumPy that Numba compiles. Only the last arguments change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from chainrule.vecmath import Array, column_sum


class Layer(NamedTuple):
    """A kind of layer.

    Attributes
    ----------
    name : str
    forward, pullback, gradient : callable
        As in the module's contract.
    shape : callable (n_in, n_out) -> ((r, c), k)
        Shapes of W and b.
    numbers : tuple of float, default ()
        What s starts as.
    """

    name: str
    forward: Callable[..., None]
    pullback: Callable[..., None]
    gradient: Callable[..., None]
    shape: Callable[[int, int], tuple[tuple[int, int], int]]
    numbers: tuple[float, ...] = ()


def affine(W: Array, b: Array, s: Any, a: Array, z: Array) -> None:
    """z^l = a^{l-1} W^l + b^l."""
    np.dot(a, W, z)
    z += b


def affine_pullback(W: Array, b: Array, s: Any, a: Array, delta: Array, below: Array) -> None:
    """∂C/∂a^{l-1} = δ^l W^lᵀ: the matrix product in BP2."""
    np.dot(delta, W.T, below)


def affine_gradient(
    W: Array, b: Array, s: Any, a: Array, delta: Array, nabla_W: Array, nabla_b: Array
) -> None:
    """∂C/∂b^l = Σ_rows δ^l (BP3) and ∂C/∂W^l = a^{l-1}ᵀ δ^l (BP4)."""
    column_sum(delta, nabla_b)
    np.dot(a.T, delta, nabla_W)


def affine_shape(n_in: int, n_out: int) -> tuple[tuple[int, int], int]:
    """W is (n_in, n_out), b is (n_out,)."""
    return (n_in, n_out), n_out


AFFINE = Layer("affine", affine, affine_pullback, affine_gradient, affine_shape)
LAYERS = {AFFINE.name: AFFINE}
