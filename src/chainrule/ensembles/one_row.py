"""One row through a blend, in as few operations as can be: what `predict` does, without blocks.

A row's first layer needs no columns of bins: with W_t the weights of column t of a number, the row
in bin b with the fraction f has Σ_t p_t W_t = (W_1 + ... + W_b) + f W_{b+1}. These sums are made
once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chainrule.base.types import Array, Index
from chainrule.ensembles.blending import Blend, EnsemblePart, LinearPart, tempered
from chainrule.ensembles.encoding import BENT, LARGEST, Encoder
from chainrule.equations.activations import ACTIVATIONS

Row = tuple[Array, Index, Array, Index]  # dense, rows of bins, fractions, rows of levels


def one_row(blend: Blend, encoder: Encoder) -> Callable[[Array, Index], Array]:
    """A function of a row's numbers, (p,), and codes, (q,), that gives its outputs, (K,).

    Parameters
    ----------
    blend : Blend
    encoder : Encoder
    """
    encode = _encode(encoder)
    parts: list[tuple[float, Callable[[Row], Array]]] = []
    for name, part in blend.parts.items():
        if blend.weights[name] > 0:
            of = _linear(part) if isinstance(part, LinearPart) else _ensemble(part)
            parts.append((blend.weights[name], of))
    T = blend.temperature

    def outputs(numbers: Array, codes: Index) -> Array:
        row = encode(numbers, codes)
        mean = np.asarray(sum(weight * of(row) for weight, of in parts))
        return mean if T is None else tempered(mean, T)

    return outputs


def _encode(encoder: Encoder) -> Callable[[Array, Index], Row]:
    """What `Encoder.encode` gives for one row; bins and levels as rows of the tables of weights."""
    binned, blocks = encoder.binned, encoder.blocks
    sizes = [len(encoder.edges[j]) - 1 for j in binned]
    most = max([1, *sizes])
    inner = np.full((len(binned), most), np.inf)
    low, width = np.zeros((len(binned), most)), np.ones((len(binned), most))
    for i, j in enumerate(binned):
        edges = encoder.edges[j]
        inner[i, : sizes[i] - 1] = edges[1:-1]
        low[i, : sizes[i]], width[i, : sizes[i]] = edges[:-1], np.diff(edges)
    starts = np.cumsum([0, *sizes])[:-1].astype(np.int64)
    each = np.arange(len(binned))
    widths = [int(encoder.columns_of[c].max()) + 1 for c in blocks]
    first = np.cumsum([0, *widths])[:-1]
    columns = [np.where(encoder.columns_of[c] >= 0, encoder.columns_of[c] + f, -1)
               for c, f in zip(blocks, first, strict=True)]  # fmt: skip
    means = [(c, m) for c, m in enumerate(encoder.level_means) if m.shape[1]]
    scaled = encoder.scaled if encoder.scaled.any() else None

    def encode(numbers: Array, codes: Index) -> Row:
        absent = np.isnan(numbers)
        filled = np.where(absent, encoder.median, numbers)
        r = (filled - encoder.median) * encoder.factor
        np.minimum(np.maximum(r, -LARGEST, out=r), LARGEST, out=r)
        r /= np.sqrt(1 + (r / BENT) ** 2)
        if scaled is not None:
            r = np.where(scaled, filled, r)
        dense = [r, absent[encoder.marks], *(m[codes[c]] for c, m in means)]
        x = (np.concatenate(dense)[encoder.kept] - encoder.dense_mean).astype(np.float32)
        cells = numbers[binned]
        b = (cells[:, None] >= inner).sum(axis=1)
        f = np.minimum(np.maximum((cells - low[each, b]) / width[each, b], 0), 1)
        f[absent[binned]] = 0
        on = [int(column[codes[c]]) for c, column in zip(blocks, columns, strict=True)]
        levels = np.array([place for place in on if place >= 0], np.int64)
        return x, starts + b, f.astype(np.float32), levels

    return encode


def _ensemble(part: EnsemblePart) -> Callable[[Row], Array]:
    """The mean of the members of an ensemble."""
    fitted = part.fitted
    nets = [fitted.effective(i) for i in range(fitted.members)]
    V = np.concatenate([net[0][0] for net in nets], axis=1)
    bias = np.concatenate([net[0][1] for net in nets])
    above = [
        (np.stack([net[l][0] for net in nets]), np.stack([net[l][1] for net in nets])[:, None])
        for l in range(1, len(nets[0]))
    ]
    layout, k = fitted.layout, fitted.members
    D, n_bins = layout.dense, sum(layout.bins)
    dense, of_bins, of_levels = V[:D], V[D : D + n_bins], V[D + n_bins :]
    before = np.zeros_like(of_bins)
    at = 0
    for T in layout.bins:
        before[at + 1 : at + T] = np.cumsum(of_bins[at : at + T - 1], axis=0)
        at += T
    f = ACTIVATIONS[fitted.settings.activation].f
    softmax, low, high = fitted.loss == "softmax", fitted.low, fitted.high

    def mean(row: Row) -> Array:
        x, bins, fractions, levels = row
        z = x @ dense + bias
        if n_bins:
            z += before[bins].sum(axis=0)
            z += fractions @ of_bins[bins]
        if len(levels):
            z += of_levels[levels].sum(axis=0)
        z = z.reshape(k, 1, -1)
        for W, b in above:
            a = np.empty_like(z)
            f(z[:, 0], a[:, 0])
            z = a @ W
            z += b
        out = z[:, 0]
        if softmax:
            out = np.exp(out - out.max(axis=1, keepdims=True))
            out /= out.sum(axis=1, keepdims=True)
        else:
            out = np.minimum(np.maximum(out, low), high)
        return np.asarray(out.mean(axis=0, dtype=np.float64))

    return mean


def _linear(part: LinearPart) -> Callable[[Row], Array]:
    """The linear model that was fitted to all rows."""
    layout, D = part.layout, part.layout.dense
    W, n_levels = part.W[-1], sum(part.layout.levels)
    first = len(layout.scale) - n_levels
    of_levels = W[D:] * layout.scale[first:, None]
    bias = part.b[-1] - layout.mean[first:] @ W[D:]

    def of(row: Row) -> Array:
        x, _, _, levels = row
        z = x @ W[:D] + bias + of_levels[levels].sum(axis=0)
        if part.loss == "softmax":
            z = np.exp(z - z.max())
            return np.asarray(z / z.sum())
        return np.asarray(np.minimum(np.maximum(z, part.low), part.high))

    return of
