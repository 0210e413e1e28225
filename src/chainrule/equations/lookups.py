"""The array functions of :mod:`chainrule.equations.columns`: look-ups instead of columns.

Here they are ordinary NumPy, by a matrix of what is taken of each row; for the compiled engine
:mod:`chainrule.engine.lookups` gives each a loop. Results go into the last argument.
"""

from __future__ import annotations

import numpy as np

from chainrule.base.types import Array, Index


def table_of_rows(
    W: Array,
    s: Array,
    b: Array,
    nodes: Index,
    scale: Array,
    mean: Array,
    E: Array,
    shifted: Array,
) -> None:
    """E, rows s W and nodes, which are running sums of c s W; and shifted = b - Σ_t μ_t s_t W_t.

    W is (d + S, h), s is (d + S,), scale and mean are (S,), E is (d + S + q, h), b is (h,).
    """
    d, q = int(nodes[0]), len(nodes) - 1
    V = s[:, np.newaxis] * W
    np.subtract(b, np.dot(mean, V[d:]), shifted)
    V[d:] *= scale[:, np.newaxis]
    E[:d] = V[:d]
    for j in range(q):
        first, end = nodes[j], nodes[j + 1]
        E[first] = 0
        np.cumsum(V[first - j : end - j - 1], 0, out=E[first + 1 : end])
    E[nodes[q] :] = V[nodes[q] - q :]


def table_of_rows_pullback(
    W: Array,
    s: Array,
    nodes: Index,
    scale: Array,
    mean: Array,
    G: Array,
    total: Array,
    nabla_W: Array,
    nabla_s: Array,
) -> None:
    """From G = ∂C/∂E and total = ∂C/∂b: add ∂C/∂W to nabla_W, write ∂C/∂s into nabla_s."""
    d, q = int(nodes[0]), len(nodes) - 1
    g = np.empty_like(W)
    g[:d] = G[:d]
    for j in range(q):
        first, end = nodes[j], nodes[j + 1]
        g[first - j : end - j - 1] = np.cumsum(G[end - 1 : first : -1], 0)[::-1]
    g[nodes[q] - q :] = G[nodes[q] :]
    g[d:] *= scale[:, np.newaxis]
    g[d:] -= mean[:, np.newaxis] * total
    np.add.reduce(g * W, axis=1, out=nabla_s)
    g *= s[:, np.newaxis]
    nabla_W += g


def look_up_rows(
    bins: Array,
    fractions: Array,
    levels: Array,
    rows: Index,
    nodes: Index,
    first_levels: Index,
    E: Array,
    z: Array,
) -> None:
    """z += for each number (1 - f) E_b + f E_{b+1} of its nodes, for each category its row of E.

    bins, fractions and levels are looked at in the given rows; z is (m, h).
    """
    z += np.dot(_places(bins, fractions, levels, rows, nodes, first_levels, E), E[nodes[0] :])


def collect_rows(
    bins: Array,
    fractions: Array,
    levels: Array,
    rows: Index,
    nodes: Index,
    first_levels: Index,
    delta: Array,
    G: Array,
) -> None:
    """The way back of `look_up_rows`: G_b += (1 - f) δ, G_{b+1} += f δ, and G += δ by level."""
    G[nodes[0] :] += np.dot(_places(bins, fractions, levels, rows, nodes, first_levels, G).T, delta)


def _places(
    bins: Array,
    fractions: Array,
    levels: Array,
    rows: Index,
    nodes: Index,
    first_levels: Index,
    E: Array,
) -> Array:
    """What the rows take of each row of E behind the dense ones, written out as a matrix."""
    taken = np.zeros((len(rows), len(E) - int(nodes[0])), E.dtype)
    at = np.arange(len(rows))
    for j in range(bins.shape[1]):
        b, f = bins[rows, j] + (nodes[j] - nodes[0]), fractions[rows, j]
        taken[at, b] = 1 - f
        taken[at, b + 1] = f
    for j in range(levels.shape[1]):
        level = levels[rows, j]
        there = level >= 0
        taken[at[there], level[there] + (first_levels[j] - nodes[0])] = 1
    return taken
