"""The four equations of backpropagation.

Layers are numbered as on paper, l = 1 … L; entry 0 of every list belongs to the input, so
``a[0]`` is the batch X. Rows are samples. ``z[l]``, ``a[l]`` and ``delta[l]`` are (m, n_l),
``W[l]`` is (n_{l-1}, n_l), ``b[l]`` is (n_l,), in a network of affine layers. The one letter that
is not on paper is ``s[l]``, the constants of a layer, of which affine layers have none.

These functions run as they stand (``engine="numpy"``) and compiled (``engine="numba"``).
docs/derivation.md derives them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from chainrule.base.types import Array
from chainrule.equations.vecmath import scale_rows

ALL = 1 << 30  # layers


class Layers(NamedTuple):
    """What a network consists of, by layer: functions and parameters."""

    L: int
    forward: Sequence[Callable[..., None]]
    pullback: Sequence[Callable[..., None]]
    gradient: Sequence[Callable[..., None]]
    f: Sequence[Callable[[Array, Array], None]]
    f_pullback: Sequence[Callable[[Array, Array, Array], None]]
    W: Sequence[Array]
    b: Sequence[Array]


class Batch(NamedTuple):
    """What one pass over m rows computes, by layer, and the layers' constants s.

    share, (m, 1), is what each row counts for in the cost: 1/m, or its weight over all weights.
    """

    z: Sequence[Array]
    a: Sequence[Array]
    delta: Sequence[Array]
    share: Array
    s: Sequence[Array]


def forward(net: Layers, batch: Batch, first: int = 1, last: int = ALL) -> None:
    """z^l = a^{l-1} W^l + b^l and a^l = σ^l(z^l), for l = 1 … L.

    Or for the layers from the first to the last that are named.
    """
    W, b, s, z, a = net.W, net.b, batch.s, batch.z, batch.a
    for l in range(first, min(last, net.L) + 1):
        net.forward[l](W[l], b[l], s[l], a[l - 1], z[l])
        net.f[l](z[l], a[l])


def output_error(
    net: Layers, loss_delta: Callable[..., None], y: Array, batch: Batch, scale: float = 1.0
) -> None:
    """δ^L = ∂C/∂a^L ⊙ σ′(z^L)  (BP1), averaged here, once, over the rows of the batch.

    A fused loss writes ∂C/∂z^L; its layer's pullback is then the identity. `scale` differs from 1
    only to reproduce the gradients of another library.
    """
    L, z, a, delta = net.L, batch.z, batch.a, batch.delta
    loss_delta(z[L], a[L], y, delta[L])
    net.f_pullback[L](z[L], a[L], delta[L])
    scale_rows(batch.share, scale, delta[L])


def backward(net: Layers, batch: Batch, lowest: int = 1, first: int = ALL) -> None:
    """δ^l = (δ^{l+1} W^{l+1}ᵀ) ⊙ σ′(z^l), for l = L-1 … 1  (BP2).

    Or for the layers from the first, which is the highest, down to the lowest that are named:
    nothing below the lowest layer that learns needs a δ.
    """
    W, b, s, z, a, delta = net.W, net.b, batch.s, batch.z, batch.a, batch.delta
    for l in range(min(first, net.L - 1), lowest - 1, -1):
        net.pullback[l + 1](W[l + 1], b[l + 1], s[l + 1], a[l], delta[l + 1], delta[l])
        net.f_pullback[l](z[l], a[l], delta[l])


def gradient(net: Layers, batch: Batch, nabla_W: Sequence[Array], nabla_b: Sequence[Array]) -> None:
    """∂C/∂b^l = Σ_rows δ^l  (BP3) and ∂C/∂W^l = a^{l-1}ᵀ δ^l  (BP4), for l = 1 … L."""
    W, b, s, a, delta = net.W, net.b, batch.s, batch.a, batch.delta
    for l in range(1, net.L + 1):
        layer_gradient(net, l, W[l], b[l], s[l], a[l - 1], delta[l], nabla_W[l], nabla_b[l])


def layer_gradient(
    net: Layers,
    l: int,
    W: Array,
    b: Array,
    s: Any,
    a: Array,
    delta: Array,
    nabla_W: Array,
    nabla_b: Array,
) -> None:
    """∂C/∂b^l = Σ_rows δ^l  (BP3) and ∂C/∂W^l = a^{l-1}ᵀ δ^l  (BP4), of one layer.

    Or of some rows of W^l, with those columns of a^{l-1}. Training takes every gradient here, with
    one exception: in plain gradient descent the compiled engine subtracts η times these from W and
    b within the matrix product itself (`affine_descend` in :mod:`chainrule.equations.layers`),
    except in the last step of an epoch, whose gradient is recorded.
    """
    net.gradient[l](W, b, s, a, delta, nabla_W, nabla_b)
