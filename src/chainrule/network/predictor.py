"""One row at a time, or many in blocks, as fast as NumPy goes: nothing is built anew."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy import add, divide, exp, maximum, subtract
from numpy.typing import ArrayLike, NDArray

from chainrule.base.types import Array
from chainrule.base.validation import check_matrix
from chainrule.engine import threads
from chainrule.engine.config import threads_asked
from chainrule.equations import activations, backprop
from chainrule.equations.backprop import Batch, Layers
from chainrule.equations.layers import AFFINE
from chainrule.equations.vecmath import dot

# Gives the network's functions and views of a buffer for m rows: (m, buffer).
Bind: TypeAlias = Callable[[int, Array | None], tuple[Layers, Batch]]

TILE = 64  # rows
BLOCK_ROWS, BLOCK_NUMBERS = 2048, 1 << 18  # at most, in a block of predict: it stays in the cache
ALONE = 1 << 18  # multiplications in a product below which BLAS itself uses one thread
SHARED = 1 << 26  # multiplications, about a millisecond's, from which on threads share them
LEAST_KEPT, MOST_KEPT = 1 << 16, 1 << 22  # bytes of a buffer that is kept


class Row(NamedTuple):
    """A layer of a network, as prediction of one row needs it."""

    forward: Callable[..., None]
    f: Callable[[Array, Array], None]
    W: Array
    b: Array
    s: Any
    n: int


def make_predictor(layers: Iterable[Row], dtype: np.dtype[Any]) -> Callable[[Array], Array]:
    """The output for one row, as a plain function; see :meth:`chainrule.Network.predictor`."""
    steps: list[Callable[[Array], Array]] = []
    for forward, f, W, b, s, n in layers:
        if forward is AFFINE.forward:
            steps.append(_affine(W, b))
        else:
            steps.append(_any_layer(forward, W, b, s, n, dtype))
        if f is activations.relu:
            steps.append(_relu(n, dtype))
        elif f is activations.softmax:
            steps.append(_softmax(n, dtype))
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
    forward: Callable[..., None], W: Array, b: Array, s: Any, n: int, dtype: np.dtype[Any]
) -> Callable[[Array], Array]:
    def layer(a: Array) -> Array:
        z: Array = np.empty((1, n), dtype)
        forward(W, b, s, a[np.newaxis], z)
        row: Array = z[0]
        return row

    return layer


def _any_activation(f: Callable[[Array, Array], None]) -> Callable[[Array], Array]:
    def activation(z: Array) -> Array:
        a = np.empty_like(z)
        f(z[np.newaxis], a[np.newaxis])
        return a

    return activation


def predict_rows(
    bind: Bind, sizes: Sequence[int], W: Sequence[Array], X: ArrayLike, n_threads: int | None
) -> Array:
    """The output for each row; see :meth:`chainrule.Network.predict`.

    Parameters
    ----------
    bind : callable (m, buffer) -> (Layers, Batch)
        The network's functions, and views of the buffer for m rows of z and a.
    sizes : sequence of int
        Widths n_0 … n_L.
    W : sequence of arrays
        The weights, entry 0 a placeholder.
    X : (m, n_0) array-like
    n_threads : int, optional
    """
    dtype = W[1].dtype
    given = np.asarray(X)
    if given.dtype.kind not in "fiub" or given.ndim != 2 or len(given) == 0:
        given = check_matrix(given, sizes[0], "X", dtype)
    output: Array = np.empty((len(given), sizes[-1]), dtype)
    most = min(BLOCK_ROWS, max(TILE, BLOCK_NUMBERS // max(sizes))) // TILE * TILE
    rows = min(len(given), most)
    starts = deque(range(0, len(given), rows))
    products = rows * max(each.size for each in W[1:])
    if products <= ALONE and len(starts) == 1:
        _predict_blocks(bind, sizes, given, output, rows, starts)
        return output
    work_per_row = sum(each.size for each in W[1:])
    enough = len(starts) if len(given) * work_per_row > SHARED else 1
    asked = threads_asked(n_threads)
    with threads.one_blas_thread(), threads.reserved(enough, asked) as workers:

        def work(worker: int) -> None:
            _predict_blocks(bind, sizes, given, output, rows, starts)

        threads.side_by_side(work, workers, starts.clear)
    return output


def check_outputs(bind: Bind, X: Array, output: Array, first: int = 0) -> None:
    """See that outputs of rows that are finite are so too; `first` is the number of the first.

    Raises
    ------
    ValueError
        Names the first row that is not, the layer where that begins, and the row's largest input.
    """
    with np.errstate(all="ignore"):
        if np.isfinite(add.reduce(output, None)):  # one cheap pass before the exact one
            return
    bad = ~np.isfinite(output).all(axis=1)
    if not bad.any():
        return
    row = int(bad.argmax())
    x = np.asarray(X[row], output.dtype).reshape(1, -1)
    column = int(np.abs(x[0]).argmax())
    n = int(bad.sum())
    rows = f"row {first + row}" if n == 1 else f"{n} rows, first row {first + row}"
    raise ValueError(
        f"the output is not finite for {rows}: {first_overflow(bind, x)} too large for "
        f"{output.dtype}. The largest input in it is {x[0, column]:g}, in column {column}; inputs "
        "have to be of the size of those that were learned from"
    )


def first_overflow(bind: Bind, X: Array) -> str:
    """Where in a forward pass numbers begin that are not finite."""
    net, batch = bind(len(X), None)
    batch.a[0][:] = X
    with np.errstate(all="ignore"):
        backprop.forward(net, batch)
    for l in range(1, net.L + 1):
        for what, values in (("z", batch.z[l]), ("a", batch.a[l])):
            if not np.isfinite(values).all():
                return f"{what} of layer {l} is"
    return "what follows the network is"


def _predict_blocks(
    bind: Bind, sizes: Sequence[int], X: Array, output: Array, rows: int, starts: deque[int]
) -> None:
    """Claim a block and write its outputs until none is left; other threads may claim some too."""
    n_in, dtype = sizes[0], output.dtype
    buffer = _kept_buffer(2 * rows * sum(sizes), dtype)
    bound = 0  # rows
    while True:
        try:
            start = starts.popleft()
        except IndexError:
            _keep(buffer)
            return
        try:
            block = check_matrix(X[start : start + rows], n_in, "X", dtype)
        except ValueError:
            check_matrix(X, n_in, "X", dtype)  # says the row in all of X
            raise
        n = len(block)
        if n != bound:  # the first block, and one of fewer rows at the end
            net, batch = bind(n, buffer[: 2 * n * sum(sizes)])
            if n >= 8 * TILE:
                net, batch = _for_blocks(net, batch)
            a, bound = list(batch.a), n
            batch = batch._replace(a=a)
        a[0] = block
        with np.errstate(all="ignore"):
            backprop.forward(net, batch)
        output[start : start + n] = a[net.L]


def _for_blocks(net: Layers, batch: Batch) -> tuple[Layers, Batch]:
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

    def affine(W: Array, b: Array, s: Any, a: Array, z: Array) -> None:
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


_kept: deque[NDArray[np.uint8]] = deque(maxlen=8)  # buffers of predictions that are over


def _kept_buffer(size: int, dtype: np.dtype[Any]) -> Array:
    """A buffer for so many numbers, of an earlier prediction if that is large enough.

    New memory comes in pages, each of which the system clears when it is first touched: for a
    thousand rows that would take longer than the products.
    """
    n = size * dtype.itemsize
    if n < LEAST_KEPT:
        return np.empty(size, dtype)
    try:
        kept = _kept.pop()
    except IndexError:
        kept = np.empty(0, np.uint8)
    if len(kept) < n:
        kept = np.empty(n, np.uint8)
    return kept[:n].view(dtype)


def _keep(buffer: Array) -> None:
    """Keep a buffer for the next prediction."""
    if LEAST_KEPT <= buffer.nbytes <= MOST_KEPT and buffer.base is not None:
        _kept.append(buffer.base)
