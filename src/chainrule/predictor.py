"""One row at a time, as fast as NumPy goes: no validation, nothing built anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import activations
from chainrule.layers import AFFINE
from chainrule.vecmath import Array, vectors

if TYPE_CHECKING:
    from chainrule.network import Network


def make_predictor(network: Network) -> Callable[[Array], Array]:
    """The output for one row, as a plain function; see :meth:`chainrule.Network.predictor`."""
    steps: list[Callable[[Array], Array]] = []
    s = vectors(network.own, network.parameter_tables[2])
    for l in range(1, network.L + 1):
        layer, f = network.layers[l], network.activations[l].f
        if layer.forward is AFFINE.forward:
            steps.append(_affine(network.W[l], network.b[l]))
        else:
            steps.append(_any_layer(layer.forward, network.W[l], network.b[l], s[l], network, l))
        if f is activations.relu:
            steps.append(_relu(np.zeros(network.sizes[l], network.dtype)))
        elif f is activations.softmax:
            steps.append(_softmax(np.ones(network.sizes[l], network.dtype)))
        elif f is not activations.identity:
            steps.append(_any_activation(f))
    return _chain(steps)


def _chain(steps: Sequence[Callable[[Array], Array]]) -> Callable[[Array], Array]:
    def predict_row(x: Array) -> Array:
        for step in steps:
            x = step(x)
        return x

    return predict_row


def _affine(W: Array, b: Array) -> Callable[[Array], Array]:
    def affine(a: Array) -> Array:
        z: Array = a.dot(W)
        z += b
        return z

    return affine


def _any_layer(
    forward: Callable[..., None], W: Array, b: Array, s: Any, network: Network, l: int
) -> Callable[[Array], Array]:
    n, dtype = network.sizes[l], network.dtype
    share = np.ones((1, 1), dtype)

    def layer(a: Array) -> Array:
        z: Array = np.empty((1, n), dtype)
        forward(W, b, s, share, a[np.newaxis], z)
        row: Array = z[0]
        return row

    return layer


def _relu(zeros: Array) -> Callable[[Array], Array]:
    def relu(z: Array) -> Array:
        np.maximum(z, zeros, out=z)  # an array is quicker than a number, which is looked at first
        return z

    return relu


def _softmax(ones: Array) -> Callable[[Array], Array]:
    def softmax(z: Array) -> Array:
        z -= z[z.argmax()]
        np.exp(z, z)
        z /= z.dot(ones)
        return z

    return softmax


def _any_activation(f: Callable[[Array, Array], None]) -> Callable[[Array], Array]:
    def activation(z: Array) -> Array:
        a = np.empty_like(z)
        f(z[np.newaxis], a[np.newaxis])
        return a

    return activation
