"""One row at a time, or many blocks of rows, as fast as NumPy goes: nothing is built anew."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import add, divide, exp, maximum, subtract
from numpy.typing import NDArray

from chainrule import activations
from chainrule.backprop import Batch, Layers
from chainrule.layers import AFFINE
from chainrule.vecmath import Array, dot, vectors

if TYPE_CHECKING:
    from chainrule.network import Network

TILE = 64  # rows
LEAST_KEPT, MOST_KEPT = 1 << 16, 1 << 22  # bytes of a room


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
    """The same layers, to the same bits, for many rows.

    NumPy takes a row at a time where a matrix meets a narrow row, and a number at a time where it
    meets a number; TILE rows at a time, with as many copies, take a third of that.
    """
    forward, f, a = list(net.forward), list(net.f), list(batch.a)
    for l in range(1, net.L + 1):
        z = batch.z[l]
        if net.forward[l] is AFFINE.forward:
            forward[l] = _affine_in_tiles(z, net.b[l])
        if f[l] is activations.relu:
            f[l], a[l] = _relu_in_tiles(z), z
    return net._replace(forward=forward, f=f), batch._replace(a=a)


def _in_tiles(z: Array) -> tuple[Array, Array]:
    """z as tiles, (k, TILE, n), and the rows left over."""
    end = len(z) // TILE * TILE
    return z[:end].reshape(-1, TILE, z.shape[1]), z[end:]


def _affine_in_tiles(z: Array, b: Array) -> Callable[..., None]:
    tiles, rest = _in_tiles(z)
    copies = np.tile(b, (TILE, 1))

    def affine(W: Array, b: Array, s: Any, share: Array, a: Array, z: Array) -> None:
        dot(a, W, z)
        add(tiles, copies, tiles)
        add(rest, b, rest)

    return affine


def _relu_in_tiles(z: Array) -> Callable[[Array, Array], None]:
    tiles, rest = _in_tiles(z)
    zeros = np.zeros_like(tiles[0])

    def relu(z: Array, a: Array) -> None:
        maximum(tiles, zeros, out=tiles)
        maximum(rest, 0, out=rest)

    return relu


_kept: deque[NDArray[np.uint8]] = deque(maxlen=8)  # of predictions that are over


def lend_room(size: int, dtype: np.dtype[Any]) -> Array:
    """Room for so many numbers, of an earlier prediction if there is enough.

    New memory comes in pages, each of which the system clears when it is first touched: for a
    thousand rows that would take longer than the products.
    """
    n = size * dtype.itemsize
    if n < LEAST_KEPT:
        return np.empty(size, dtype)
    try:
        room = _kept.pop()
    except IndexError:
        room = np.empty(0, np.uint8)
    if len(room) < n:
        room = np.empty(n, np.uint8)
    return room[:n].view(dtype)


def keep_room(room: Array) -> None:
    """Take it back."""
    if LEAST_KEPT <= room.nbytes <= MOST_KEPT and room.base is not None:
        _kept.append(room.base)
