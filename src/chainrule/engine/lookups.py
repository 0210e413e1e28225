"""Second bodies for `equations.lookups`, and for what else ensembles need: loops over rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.engine.formulas import EXACT, HELPER, mix
from chainrule.engine.loops import overload
from chainrule.engine.rows import _row
from chainrule.equations import lookups, vecmath
from chainrule.equations.vecmath import GOLDEN

# Sums by row may be added in another order, so that they are vectorised.
SUMS: dict[str, Any] = HELPER | {
    "fastmath": {"nsz", "arcp", "contract", "reassoc"},
    "error_model": "numpy",
}


@overload(lookups.table_of_rows, SUMS)
def _table_of_rows(
    W: Any, s: Any, nodes: Any, scale: Any, mean: Any, E: Any, shift: Any
) -> Any:
    def body(W, s, nodes, scale, mean, E, shift):  # type: ignore[no-untyped-def]
        d, q = nodes[0], len(nodes) - 1
        for t in range(d):
            source, target, by = _row(W, t), _row(E, t), s[t]
            for k in range(len(target)):
                target[k] = by * source[k]
        shift.fill(0)
        for j in range(q):
            first, end = nodes[j], nodes[j + 1]
            _row(E, first).fill(0)
            for row in range(first + 1, end):
                t = row - j - 1
                source, below, target = _row(W, t), _row(E, row - 1), _row(E, row)
                by, off = scale[t - d] * s[t], -mean[t - d] * s[t]
                for k in range(len(target)):
                    target[k] = below[k] + by * source[k]
                for k in range(len(shift)):
                    shift[k] += off * source[k]
        for row in range(nodes[q], len(E)):
            t = row - q
            source, target = _row(W, t), _row(E, row)
            by, off = scale[t - d] * s[t], -mean[t - d] * s[t]
            for k in range(len(target)):
                target[k] = by * source[k]
            for k in range(len(shift)):
                shift[k] += off * source[k]

    return body


@overload(lookups.table_of_rows_pullback, SUMS)
def _table_of_rows_pullback(
    W: Any,
    s: Any,
    nodes: Any,
    scale: Any,
    mean: Any,
    G: Any,
    total: Any,
    nabla_W: Any,
    nabla_s: Any,
) -> Any:
    def body(W, s, nodes, scale, mean, G, total, nabla_W, nabla_s):  # type: ignore[no-untyped-def]
        d, q, j = nodes[0], len(nodes) - 1, len(nodes) - 1
        none = W.dtype.type(0)
        for row in range(len(G) - 1, -1, -1):
            while j > 0 and row < nodes[j]:
                j -= 1  # the number whose nodes these are
            g, t, c, mu = _row(G, row), row, W.dtype.type(1), none
            if row >= d:
                if row >= nodes[q]:
                    t = row - q
                else:
                    if row + 1 < nodes[j + 1]:  # what comes after this node counts for it too
                        after = _row(G, row + 1)
                        for k in range(len(g)):
                            g[k] += after[k]
                    if row == nodes[j]:
                        continue
                    t = row - j - 1
                c, mu = scale[t - d], mean[t - d]
            w, nabla, by, dot = _row(W, t), _row(nabla_W, t), s[t], none
            for k in range(len(g)):
                slope = c * g[k] - mu * total[k]
                dot += slope * w[k]
                nabla[k] += by * slope
            nabla_s[t] = dot

    return body


@overload(lookups.look_up_rows, SUMS)
def _look_up_rows(
    bins: Any,
    fractions: Any,
    levels: Any,
    rows: Any,
    nodes: Any,
    first_levels: Any,
    E: Any,
    z: Any,
) -> Any:
    def body(bins, fractions, levels, rows, nodes, first_levels, E, z):  # type: ignore[no-untyped-def]
        q, c = bins.shape[1], levels.shape[1]
        one = E.dtype.type(1)
        for i in range(len(rows)):
            target, row = _row(z, i), rows[i]
            b, f, level = _row(bins, row), _row(fractions, row), _row(levels, row)
            for j in range(q):
                at = nodes[j] + b[j]
                low, high, up = _row(E, at), _row(E, at + 1), f[j]
                down = one - up
                for k in range(len(target)):
                    target[k] += down * low[k] + up * high[k]
            for j in range(c):
                if level[j] >= 0:
                    taken = _row(E, first_levels[j] + level[j])
                    for k in range(len(target)):
                        target[k] += taken[k]

    return body


@overload(lookups.collect_rows, SUMS)
def _collect_rows(
    bins: Any,
    fractions: Any,
    levels: Any,
    rows: Any,
    nodes: Any,
    first_levels: Any,
    delta: Any,
    G: Any,
) -> Any:
    def body(bins, fractions, levels, rows, nodes, first_levels, delta, G):  # type: ignore[no-untyped-def]
        q, c = bins.shape[1], levels.shape[1]
        one = G.dtype.type(1)
        for i in range(len(rows)):
            source, row = _row(delta, i), rows[i]
            b, f, level = _row(bins, row), _row(fractions, row), _row(levels, row)
            for j in range(q):
                at = nodes[j] + b[j]
                low, high, up = _row(G, at), _row(G, at + 1), f[j]
                down = one - up
                for k in range(len(source)):
                    low[k] += down * source[k]
                    high[k] += up * source[k]
            for j in range(c):
                if level[j] >= 0:
                    target = _row(G, first_levels[j] + level[j])
                    for k in range(len(source)):
                        target[k] += source[k]

    return body


@overload(vecmath.random_bits, EXACT)
def _random_bits(key: Any, step: Any, stream: Any, out: Any) -> Any:
    def body(key, step, stream, out):  # type: ignore[no-untyped-def]
        start = mix(mix(np.uint64(key) + GOLDEN) + np.uint64(step))
        start = mix(start + np.uint64(stream) * GOLDEN)
        for i in range(len(out)):
            out[i] = mix(start + np.uint64(i + 1) * GOLDEN)

    return body


@overload(vecmath.drop_by_bits, EXACT)
def _drop_by_bits(bits: Any, rate: Any, out: Any) -> Any:
    def body(bits, rate, out):  # type: ignore[no-untyped-def]
        least = np.int64(np.rint(rate * 65536))
        factor, zero = out.dtype.type(65536 / (65536 - least)), out.dtype.type(0)
        parts, numbers, edge = bits.view(np.uint16), out.ravel(), np.int32(least)
        for i in range(len(numbers)):
            numbers[i] *= factor if np.int32(parts[i]) >= edge else zero

    return body


@overload(vecmath.adam_step)
def _adam_step(
    nabla: Any,
    new: Any,
    rate: Any,
    root: Any,
    eps: Any,
    kept: Any,
    part: Any,
    m: Any,
    v: Any,
    average: Any,
    theta: Any,
) -> Any:
    def body(nabla, new, rate, root, eps, kept, part, m, v, average, theta):  # type: ignore[no-untyped-def]
        number = theta.dtype.type
        p, q, rate, root = number(new[0]), number(new[1]), number(rate), number(root)
        eps, kept, part = number(eps), number(kept), number(part)
        for i in range(len(theta)):
            slope = nabla[i]
            mean = m[i] + p * (slope - m[i])
            square = v[i] + q * (slope * slope - v[i])
            m[i], v[i] = mean, square
            here = kept * theta[i] - rate * mean / (root * np.sqrt(square) + eps)
            theta[i] = here
            average[i] += part * (here - average[i])

    return body


@overload(vecmath.multiply)
def _multiply(x: Any, out: Any) -> Any:
    def body(x, out):  # type: ignore[no-untyped-def]
        x, out = x.ravel(), out.ravel()
        for i in range(len(out)):
            out[i] *= x[i]

    return body


@overload(vecmath.rows_outside)
def _rows_outside(
    order: Any, folds: Any, fold: Any, weight: Any, part: Any, rows: Any, share: Any
) -> Any:
    def body(order, folds, fold, weight, part, rows, share):  # type: ignore[no-untyped-def]
        m, factor = 0, share.dtype.type(part)
        for i in range(len(order)):
            row = order[i]
            if folds[row] != fold:
                rows[m], share[m, 0] = row, weight[row] * factor
                m += 1
        if m == 0:
            for i in range(len(order)):
                rows[i], share[i, 0] = order[i], share.dtype.type(0)
            m = len(order)
        return m

    return body


@overload(vecmath.add_clipped)
def _add_clipped(x: Any, low: Any, high: Any, part: Any, rows: Any, out: Any) -> Any:
    def body(x, low, high, part, rows, out):  # type: ignore[no-untyped-def]
        factor = out.dtype.type(part)
        for i in range(len(rows)):
            for k in range(x.shape[1]):
                value = x[i, k]
                value = low[k] if value < low[k] else value
                value = high[k] if value > high[k] else value
                out[rows[i], k] += factor * value

    return body
