"""One row through a blend, in as few operations as can be: what `predict` does, without blocks.

The first layers of all models stand side by side, so a row is multiplied once. It needs no columns
of bins: as in `chainrule.equations.columns`, a number between two nodes of the table takes its
share of both rows, (1 - f) P_b + f P_{b+1}; and a level takes one row.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chainrule.base.types import Array, Index
from chainrule.ensembles.blending import Blend, EnsemblePart, LinearPart, tempered
from chainrule.ensembles.encoding import BENT, LARGEST, Encoder
from chainrule.equations.activations import ACTIVATIONS

Row = tuple[Array, Index, Array, Index]  # dense; nodes and their shares; rows of levels


def one_row(blend: Blend, encoder: Encoder) -> Callable[[Array, Index], Array]:
    """A function of a row's numbers, (p,), and codes, (q,), that gives its outputs, (K,).

    Parameters
    ----------
    blend : Blend
    encoder : Encoder
    """
    encode = _encode(encoder)
    D, bins = len(encoder.kept), encoder.layout(True).bins
    # The first layers side by side: those with bins come first, so that one slice has them all.
    parts = [(blend.weights[name], part) for name, part in blend.parts.items()]
    parts = [(weight, part) for weight, part in parts if weight > 0]
    parts.sort(key=lambda each: not (isinstance(each[1], EnsemblePart) and each[1].with_bins))
    layers, nodes, above = [], [], []
    start = 0
    for weight, part in parts:
        first, of = _linear(part) if isinstance(part, LinearPart) else _networks(part)
        V, b = first
        with_bins = isinstance(part, EnsemblePart) and part.with_bins
        levels_at = D + (sum(bins) if with_bins else 0)
        if with_bins:
            nodes.append(_nodes(V[D:levels_at], bins))
        layers.append((V[:D], V[levels_at:], b))
        above.append((weight, slice(start, start + len(b)), of))
        start += len(b)
    dense, levels, bias = (
        np.concatenate([layer[i] for layer in layers], axis=-1).astype(np.float32) for i in range(3)
    )
    table = np.concatenate(nodes, axis=1) if nodes else np.empty((0, 0), np.float32)
    stepped = slice(0, table.shape[1])
    T = blend.temperature

    def outputs(numbers: Array, codes: Index) -> Array:
        x, at, shares, on = encode(numbers, codes)
        z = x.dot(dense)
        z += bias
        if len(table):
            z[stepped] += shares.dot(table.take(at, 0))
        if len(on):
            z += np.add.reduce(levels.take(on, 0), axis=0)
        mean = np.asarray(sum(weight * of(z[units]) for weight, units, of in above))
        return mean if T is None else tempered(mean, T)

    return outputs


def _encode(encoder: Encoder) -> Callable[[Array, Index], Row]:
    """What `Encoder.encode` gives for one row; bins as nodes, levels as rows of their table."""
    binned, blocks = np.array(encoder.binned, np.int64), encoder.blocks
    sizes = [len(encoder.edges[j]) - 1 for j in binned]
    inner = np.full((len(binned), max([1, *sizes])), np.inf)
    for i, j in enumerate(binned):
        inner[i, : sizes[i] - 1] = encoder.edges[j][1:-1]
    # By node: where its bin begins, and how wide it is; behind a number's last bin is no other.
    starts = np.cumsum([0, *(size + 1 for size in sizes)])[:-1].astype(np.int64)
    low = np.concatenate([np.empty(0), *(encoder.edges[j] for j in binned)])
    width = np.concatenate([np.empty(0), *(np.diff(encoder.edges[j], append=1) for j in binned)])
    widths = [int(encoder.columns_of[c].max()) + 1 for c in blocks]
    first = np.cumsum([0, *widths])[:-1]
    columns = [np.where(encoder.columns_of[c] >= 0, encoder.columns_of[c] + f, -1).tolist()
               for c, f in zip(blocks, first, strict=True)]  # fmt: skip
    means = [(c, m) for c, m in enumerate(encoder.level_means) if m.shape[1]]
    scaled = encoder.scaled if encoder.scaled.any() else None
    median, factor, marks, kept = encoder.median, encoder.factor, encoder.marks, encoder.kept
    dense_mean = encoder.dense_mean

    def encode(numbers: Array, codes: Index) -> Row:
        absent = np.isnan(numbers)
        filled = np.where(absent, median, numbers)
        r = (filled - median) * factor
        np.minimum(np.maximum(r, -LARGEST, out=r), LARGEST, out=r)
        r /= np.sqrt(1 + (r / BENT) ** 2)
        if scaled is not None:
            r = np.where(scaled, filled, r)
        dense = [r, absent[marks], *(m[codes[c]] for c, m in means)]
        x = (np.concatenate(dense).take(kept) - dense_mean).astype(np.float32)
        cells = filled.take(binned)
        at = np.add.reduce(cells[:, None] >= inner, axis=1)
        at += starts
        f = (cells - low.take(at)) / width.take(at)
        np.minimum(np.maximum(f, 0, out=f), 1, out=f)
        empty = absent.take(binned)
        at[empty], f[empty] = starts[empty], 0
        shares = np.concatenate([1 - f, f]).astype(np.float32)
        on = [column[codes[c]] for c, column in zip(blocks, columns, strict=True)]
        there = np.array([place for place in on if place >= 0], np.int64)
        return x, np.concatenate([at, at + 1]), shares, there

    return encode


def _nodes(of_bins: Array, bins: tuple[int, ...]) -> Array:
    """P_0 = 0 and the running sums of the rows of each number's bins."""
    ends = np.cumsum(bins)
    zero = np.zeros((1, of_bins.shape[1]), of_bins.dtype)
    each = [
        np.concatenate([zero, np.cumsum(of_bins[end - T : end], axis=0)])
        for end, T in zip(ends, bins, strict=True)
    ]
    return np.concatenate([zero[:0], *each])


def _networks(part: EnsemblePart) -> tuple[tuple[Array, Array], Callable[[Array], Array]]:
    """The members' first layers side by side, and the mean of what they make of its z."""
    fitted, k = part.fitted, part.fitted.members
    nets = [fitted.effective(i) for i in range(k)]
    V = np.concatenate([net[0][0] for net in nets], axis=1)
    bias = np.concatenate([net[0][1] for net in nets])
    above = [
        (np.stack([net[l][0] for net in nets]), np.stack([net[l][1] for net in nets])[:, None])
        for l in range(1, len(nets[0]))
    ]
    f = ACTIVATIONS[fitted.settings.activation].f
    softmax, low, high = fitted.loss == "softmax", fitted.low, fitted.high

    def mean(z: Array) -> Array:
        for W, b in above:
            z = z.reshape(1, -1)
            a = np.empty_like(z)
            f(z, a)
            z = a.reshape(k, 1, -1) @ W
            z += b
        out = z.reshape(k, -1)
        if softmax:
            out = np.exp(out - np.maximum.reduce(out, axis=1, keepdims=True))
            out /= np.add.reduce(out, axis=1, keepdims=True)
        else:
            out = np.minimum(np.maximum(out, low), high)
        return np.asarray(np.add.reduce(out, axis=0, dtype=np.float64) / k)

    return (V, bias), mean


def _linear(part: LinearPart) -> tuple[tuple[Array, Array], Callable[[Array], Array]]:
    """The linear model that was fitted to all rows: its layer, and what it makes of z."""
    layout, V = part.layout, part.W[-1].copy()
    bias = part.b[-1] - layout.mean @ V[layout.dense :]
    V[layout.dense :] *= layout.scale[:, None]

    def of(z: Array) -> Array:
        if part.loss == "softmax":
            z = np.exp(z - np.maximum.reduce(z))
            return np.asarray(z / np.add.reduce(z), np.float64)
        return np.asarray(np.minimum(np.maximum(z, part.low), part.high), np.float64)

    return (V, bias), of
