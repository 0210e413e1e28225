"""One row at a time, or many blocks of rows, as fast as NumPy goes: nothing is built anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import add, divide, exp, maximum, subtract

from chainrule import activations
from chainrule.backprop import Batch, Layers
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
        W, b, n = network.W[l], network.b[l], network.sizes[l]
        if layer.forward is AFFINE.forward:
            steps.append(_affine(W, b))
        else:
            steps.append(_any_layer(layer.forward, W, b, s[l], network, l))
        if f is activations.relu:
            steps.append(_relu(n, network.dtype))
        elif f is activations.softmax:
            steps.append(_softmax(n, network.dtype))
        elif f is not activations.identity:
            steps.append(_any_activation(f))

    def predict_row(x: Array) -> Array:
        for step in steps:
            x = step(x)
        return x

    return predict_row


# Functions by names of this module are quicker here than operators, and two arrays of one length
# than an array and a number, which has to be converted first.


def _affine(W: Array, b: Array) -> Callable[[Array], Array]:
    def affine(a: Array) -> Array:
        z: Array = a.dot(W)
        add(z, b, z)
        return z

    return affine


def _relu(n: int, dtype: np.dtype[Any]) -> Callable[[Array], Array]:
    zeros = np.zeros(n, dtype)

    def relu(z: Array) -> Array:
        maximum(z, zeros, out=z)
        return z

    return relu


def _softmax(n: int, dtype: np.dtype[Any]) -> Callable[[Array], Array]:
    ones = np.ones((n, n) if n <= 32 else n, dtype)  # a small matrix gives the sum n times

    def softmax(z: Array) -> Array:
        subtract(z, z[z.argmax()], z)
        exp(z, z)
        divide(z, z.dot(ones), z)
        return z

    return softmax


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


def _any_activation(f: Callable[[Array, Array], None]) -> Callable[[Array], Array]:
    def activation(z: Array) -> Array:
        a = np.empty_like(z)
        f(z[np.newaxis], a[np.newaxis])
        return a

    return activation


def for_blocks(net: Layers, batch: Batch) -> tuple[Layers, Batch]:
    """The same layers, to the same bits, for many batches of that size.

    NumPy adds two matrices in half the time of a matrix and a narrow row, and takes the larger
    of two matrices in a third of the time of a matrix and a number.
    """
    b, f, a = list(net.b), list(net.f), list(batch.a)
    zeros = np.zeros(max(z.size for z in batch.z[1:]), batch.share.dtype)
    for l in range(1, net.L + 1):
        z = batch.z[l]
        if net.forward[l] is AFFINE.forward:
            b[l] = np.tile(b[l], (len(z), 1))
        if f[l] is activations.relu:
            f[l], a[l] = _larger(zeros[: z.size].reshape(z.shape)), z
    return net._replace(b=b, f=f), batch._replace(a=a)


def _larger(floor: Array) -> Callable[[Array, Array], None]:
    def relu(z: Array, a: Array) -> None:
        maximum(z, floor, out=a)

    return relu
