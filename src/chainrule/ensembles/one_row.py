"""One row through a blend, in as few operations as can be: what `predict` does, without blocks.

A call of NumPy takes longer here than most of its arithmetic. So all that does not depend on the
row is computed beforehand, and the first layers of all models stand side by side, with all scales
and means in their weights. The row needs no columns of bins: as in `chainrule.equations.columns`, a
number between two nodes of the table takes its share of both, (1 - f) P_b + f P_{b+1}; and a level
takes one row. The buffers of a row are its own, so that threads may share the function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from chainrule.base.types import Array, Index
from chainrule.ensembles.blending import LEAST_PROBABILITY, Blend, EnsemblePart, LinearPart
from chainrule.ensembles.encoding import BENT, Encoder
from chainrule.equations import activations
from chainrule.equations.activations import ACTIVATIONS

Function = Callable[[Array], Array]
Row = tuple[Array, Index, Array, list[int], Array | None]


class Model(NamedTuple):
    """A part of a blend: k networks over the columns of the encoder, or a linear model, k = 1.

    Attributes
    ----------
    W, b : (D, units), (units,)
        The first layers of all, side by side: rows of dense columns, of bins, of levels.
    above : callable (units,) -> (k, K)
        From z of the first layers to z of the last.
    with_bins : bool
        Whether the rows of bins are not all 0.
    weight : (k,)
        The share of each in the weighted mean.
    low, high : (k, K)
        The range of predictions.
    """

    W: Array
    b: Array
    above: Function
    with_bins: bool
    weight: Array
    low: Array
    high: Array


def one_row(blend: Blend, encoder: Encoder) -> Callable[[Array, Sequence[int]], Array]:
    """A function of a row's numbers, (p,), and codes, (q,), that gives its outputs, (K,).

    Parameters
    ----------
    blend : Blend
    encoder : Encoder
    """
    B = sum(encoder.layout(True).bins)
    models = [
        _linear(part, weight, B) if isinstance(part, LinearPart) else _networks(part, weight, B)
        for weight, part in ((blend.weights[name], part) for name, part in blend.parts.items())
        if weight > 0
    ]
    models.sort(key=lambda model: not model.with_bins)  # so that one slice has all that see bins
    ends = np.cumsum([0, *(len(model.b) for model in models)]).tolist()
    above = [(model.above, slice(*ends[i : i + 2])) for i, model in enumerate(models)]
    with_bins = slice(0, ends[sum(model.with_bins for model in models)])
    dense, marks, nodes, levels, bias = _tables(models, with_bins, encoder)
    has_bins, has_levels, has_marks = nodes.size > 0, len(encoder.blocks) > 0, len(marks) > 0
    encode = _encode(encoder)
    mean = _mean(models, blend)

    def outputs(numbers: Array, codes: Sequence[int]) -> Array:
        x, at, shares, places, absent = encode(numbers, codes)
        z = x.dot(dense)
        z += np.add.reduce(levels.take(places, 0), 0) if has_levels else bias
        if has_bins:
            z[with_bins] += shares.dot(nodes.take(at, 0))
        if has_marks and absent is not None:
            z += absent.dot(marks)
        of_models = [of(z[units]) for of, units in above]
        return mean(of_models[0] if len(above) == 1 else np.concatenate(of_models))

    return outputs


def _networks(part: EnsemblePart, weight: float, B: int) -> Model:
    fitted, k = part.fitted, part.fitted.members
    nets = [fitted.effective(i) for i in range(k)]
    W = np.concatenate([net[0][0] for net in nets], axis=1)
    if not part.with_bins:
        d = fitted.layout.dense
        W = np.concatenate([W[:d], np.zeros((B, W.shape[1])), W[d:]])
    b = np.concatenate([net[0][1] for net in nets])
    f = ACTIVATIONS[fitted.settings.activation].f
    layers = []
    for l in range(1, len(nets[0])):
        each = [net[l][0] for net in nets]
        # A layer that all share is one product of matrices.
        shared = len({W.__array_interface__["data"][0] for W in each}) == 1
        by_member = each[0] if shared else np.stack(each)
        layers.append((_quick(f, (k, len(each[0]))), by_member, np.stack([n[l][1] for n in nets])))

    def above(z: Array) -> Array:
        z = z.reshape(k, -1)
        for activation, W, b in layers:
            a = activation(z)
            z = a.dot(W) if W.ndim == 2 else np.matmul(a[:, np.newaxis], W)[:, 0]
            z += b
        return z

    low, high = (np.tile(end, (k, 1)) for end in (fitted.low, fitted.high))
    return Model(W, b, above, part.with_bins, np.full(k, weight / k), low, high)


def _quick(f: Callable[[Array, Array], None], shape: tuple[int, int]) -> Function:
    """An activation f that allocates its result; the two usual ones with constants as arrays.

    NumPy takes longer to convert a number than to go through an array of this size.
    """
    zeros, ones, most = (np.full(shape, value, np.float32) for value in (0, 1, 40))

    def relu(z: Array) -> Array:
        return np.asarray(np.maximum(z, zeros))

    def silu(z: Array) -> Array:
        a = np.exp(np.minimum(z, most))
        a /= a + ones
        a *= z
        return np.asarray(a)

    def any_activation(z: Array) -> Array:
        a = np.empty_like(z)
        f(z, a)
        return a

    return relu if f is activations.relu else silu if f is activations.silu else any_activation


def _linear(part: LinearPart, weight: float, B: int) -> Model:
    """The linear model that was fitted to all rows."""
    layout, V, d = part.layout, part.W[-1].copy(), part.layout.dense
    b = part.b[-1] - layout.mean @ V[d:]
    V[d:] *= layout.scale[:, np.newaxis]
    W = np.concatenate([V[:d], np.zeros((B, V.shape[1])), V[d:]])
    low, high = part.low[np.newaxis], part.high[np.newaxis]
    return Model(W, b, lambda z: z[np.newaxis], False, np.array([weight]), low, high)


def _tables(
    models: list[Model], with_bins: slice, encoder: Encoder
) -> tuple[Array, Array, Array, Array, Array]:
    """Weights of dense columns and of marks, rows of nodes and of levels, and the bias."""
    W = np.concatenate([model.W for model in models], axis=1)
    D, p, n_marks = len(encoder.kept), len(encoder.median), len(encoder.marks)
    n_means = sum(means.shape[1] for means in encoder.level_means)
    dense = np.zeros((p + n_marks + n_means, W.shape[1]))
    dense[encoder.kept] = W[:D]
    bias = np.concatenate([model.b for model in models]) - encoder.dense_mean @ W[:D]
    dense[:p][~encoder.scaled] *= BENT
    nodes, at = [np.empty((0, with_bins.stop))], D
    for T in encoder.layout(True).bins:
        V = W[at : at + T, with_bins]
        nodes += [np.zeros((1, V.shape[1])), np.cumsum(V, axis=0)]
        at += T
    tables = (
        np.delete(dense, np.s_[p : p + n_marks], axis=0),
        dense[p : p + n_marks],
        np.concatenate(nodes),
        np.concatenate([W[at:], np.zeros((1, W.shape[1])), bias[np.newaxis]]),
        bias,
    )
    return tuple(each.astype(np.float32) for each in tables)  # type: ignore[return-value]


def _encode(encoder: Encoder) -> Callable[[Array, Sequence[int]], Row]:
    """What `Encoder.encode` gives for one row, as the tables above are looked up.

    Numbers divided by BENT, then means of targets by level; nodes and their shares; rows of levels,
    of which the one before the last is 0 and the last is the bias; which marked numbers are
    missing, None if no number is.
    """
    median, factor, marks = encoder.median, encoder.factor / BENT, encoder.marks
    scaled, ones = np.flatnonzero(encoder.scaled), np.ones(len(median))
    binned = np.array(encoder.binned, np.int64)
    edges = [encoder.edges[j] for j in binned]
    q, sizes = len(edges), [len(e) for e in edges]
    inner = np.full((max([1, *sizes]), q), np.inf)
    for i, e in enumerate(edges):
        inner[: sizes[i] - 2, i] = e[1:-1]
    # By node: where its bin begins, and how wide it is; behind a number's last bin is no other.
    first = np.cumsum([0, *sizes], dtype=np.int64)[:-1]
    low = np.concatenate([np.empty(0), *edges])
    width = np.concatenate([np.empty(0), *(np.diff(e, append=np.inf) for e in edges)])
    zeros = np.zeros(q)
    both, one_minus = np.zeros((2, q), np.int64), np.zeros((2, q), np.float32)
    both[1] = one_minus[0] = 1
    sign = np.array([[-1], [1]], np.float32) + np.zeros((2, q), np.float32)
    widths = [int(encoder.columns_of[c].max()) + 1 for c in encoder.blocks]
    columns = [
        (
            c,
            np.where(
                encoder.columns_of[c] >= 0, encoder.columns_of[c] + start, sum(widths)
            ).tolist(),
        )
        for c, start in zip(encoder.blocks, np.cumsum([0, *widths])[:-1], strict=True)
    ]
    means = [(c, m) for c, m in enumerate(encoder.level_means) if m.shape[1]]
    of_bias = sum(widths) + 1

    def encode(numbers: Array, codes: Sequence[int]) -> Row:
        absent = None
        total = numbers.dot(numbers)
        if total != total:  # the quickest way to see that a number is missing
            absent = np.isnan(numbers)
            numbers = np.where(absent, median, numbers)
        r = numbers - median
        r *= factor
        r /= np.hypot(r, ones)
        if len(scaled):
            r[scaled] = numbers[scaled]
        if means:
            r = np.concatenate([r, *[m[codes[c]] for c, m in means]])
        cells = numbers.take(binned)
        at = np.add.reduce(inner <= cells, 0)
        at += first
        f = cells - low.take(at)
        f /= width.take(at)
        np.minimum(np.maximum(f, zeros, out=f), ones[:q], out=f)
        if absent is not None:
            empty = absent.take(binned)
            at[empty], f[empty] = first[empty], 0
            absent = absent.take(marks).astype(np.float32)
        shares = one_minus + sign * f.astype(np.float32)
        places = [column[codes[c]] for c, column in columns]
        places.append(of_bias)
        return r.astype(np.float32), (at + both).ravel(), shares.ravel(), places, absent

    return encode


def _mean(models: list[Model], blend: Blend) -> Function:
    """A function of z of all last layers, (members, K), that gives the blend's outputs, (K,)."""
    weight = np.concatenate([model.weight for model in models]).astype(np.float32)
    if blend.temperature is None:
        low = np.concatenate([model.low for model in models]).astype(np.float32)
        high = np.concatenate([model.high for model in models]).astype(np.float32)

        def of_numbers(z: Array) -> Array:
            z = np.minimum(np.maximum(z, low), high)
            return np.asarray(weight.dot(z), np.float64)

        return of_numbers
    K = models[0].low.shape[1]
    ones, least = np.ones(K, np.float32), np.full(K, LEAST_PROBABILITY)
    exponent, sums = np.full(K, 1 / blend.temperature), np.ones((K, K))

    def of_classes(z: Array) -> Array:
        e = np.exp(z - np.maximum.reduce(z, axis=1, keepdims=True))
        p = np.maximum((weight / e.dot(ones)).dot(e), least)
        p **= exponent
        p /= p.dot(sums)  # a matrix of ones gives the sum K times, sooner than a reduction
        return np.asarray(p)

    return of_classes
