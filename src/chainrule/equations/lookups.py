"""The array functions of :mod:`chainrule.equations.columns`: look-ups instead of columns.

Here they are products with a sparse matrix of what is taken of each row; for the compiled engine
:mod:`chainrule.engine.lookups` gives each a loop. Results go into the last argument.
"""

from __future__ import annotations

from typing import Any

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
    if len(E) > nodes[0]:
        taken = places(bins[rows], fractions[rows], levels[rows], nodes, first_levels, E)
        z += taken @ E[nodes[0] :]


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
    if len(G) > nodes[0]:
        taken = places(bins[rows], fractions[rows], levels[rows], nodes, first_levels, G)
        G[nodes[0] :] += taken.T @ delta


def places(
    bins: Array, fractions: Array, levels: Array, nodes: Index, first_levels: Index, E: Array
) -> Any:
    """What rows take of each row of E behind the dense ones, as a sparse matrix.

    A row takes 1 - f of node b and f of node b + 1 of each number, and 1 of the level of each
    category, or 0 of the first if it has no level.

    Parameters
    ----------
    bins, fractions : (m, q)
    levels : (m, c)
    nodes : (q + 1,)
    first_levels : (c,)
    E : (d + R, h)
        Of which the shape and the dtype matter.

    Returns
    -------
    (m, R) scipy.sparse.csr_array
    """
    from scipy.sparse import csr_array

    (m, q), c = bins.shape, levels.shape[1]
    at, taken = np.empty((m, 2 * q + c), np.int32), np.empty((m, 2 * q + c), E.dtype)
    below, above = slice(0, 2 * q, 2), slice(1, 2 * q, 2)  # in the order of the compiled loop
    np.add(bins, nodes[:-1] - nodes[0], at[:, below], casting="same_kind")
    np.add(at[:, below], 1, at[:, above])
    np.subtract(1, fractions, taken[:, below])
    taken[:, above] = fractions
    np.greater_equal(levels, 0, taken[:, 2 * q :], casting="unsafe")
    np.maximum(levels, 0, out=at[:, 2 * q :])
    at[:, 2 * q :] += (first_levels - nodes[0]).astype(np.int32)
    ends = np.arange(m + 1, dtype=np.int32) * np.int32(2 * q + c)
    return csr_array((taken.ravel(), at.ravel(), ends), shape=(m, len(E) - int(nodes[0])))
