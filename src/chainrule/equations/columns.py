"""A first layer over encoded columns that are never formed.

A number x with bin edges e_0 < … < e_T is encoded, piecewise linearly, by T columns
(Gorishniy, Rubachev and Babenko, 2022): p_t = 1 for every bin t below the one that holds x, p_b =
x's place within its bin b, from 0 to 1, and 0 above. A category is encoded by a column for each of
its levels, of which one is 1. Written out, these columns would be nearly all of the first layer's
work, and nearly all of them are 0 or 1. With V the layer's weights, the sum over a number's
columns is

    Σ_t p_t V_t = P_b + f V_b = (1 - f) P_b + f P_{b+1},    P_b = V_0 + … + V_{b-1},  P_0 = 0,

so the layer interpolates linearly between two of T + 1 *nodes*, P_b and P_{b+1}; and a category
takes one row of V. The gradient goes the same way back: each row of the batch adds (1 - f) δ to
∂C/∂P_b and f δ to ∂C/∂P_{b+1}, and since V_t is in every node above t,

    ∂C/∂V_t = Σ_{u > t} ∂C/∂P_u.

A column counts by its scale c_t and is centred by its mean μ_t; in front of it stands a factor s_t
that is learned. Column t is then worth s_t (c_t p_t - μ_t), and with V_t = c_t s_t W_t the means
are one vector that is added to the bias:

    z = Σ_t s_t (c_t p_t - μ_t) W_t + b = Σ_t p_t V_t + (b - Σ_t μ_t s_t W_t).

The rows of the table E are what rows of the batch look up: first the dense columns' rows of s W,
which are multiplied by numbers, then the nodes of each number, then the rows of each category.
`docs/ensembles.md` derives all this.
"""

from __future__ import annotations

from typing import NamedTuple

from chainrule.base.types import Array, Index
from chainrule.equations.layers import affine
from chainrule.equations.lookups import (
    collect_rows,
    look_up_rows,
    table_of_rows,
    table_of_rows_pullback,
)
from chainrule.equations.vecmath import add, column_sum, dot, take_rows


class Encoded(NamedTuple):
    """Rows of a table, encoded, without the columns that the encoding stands for.

    Attributes
    ----------
    dense : (n, d)
        Columns that are there as they are.
    bins : (n, q) int32
        The bin b of each number.
    fractions : (n, q)
        Its place f within the bin, from 0 to 1.
    levels : (n, c) int32
        The level of each category, from 0; -1: none of them.
    nodes : (q + 1,) int64
        The row of E at which each number's nodes start, and at which the last ones end.
    first_levels : (c,) int64
        The row of E at which each category's rows start.
    scale, mean : (S,)
        c and μ of the columns that are not dense.
    """

    dense: Array
    bins: Array
    fractions: Array
    levels: Array
    nodes: Index
    first_levels: Index
    scale: Array
    mean: Array


def look_up_table(W: Array, s: Array, b: Array, x: Encoded, E: Array, shifted: Array) -> None:
    """E, whose rows are looked up, and shifted = b - Σ_t μ_t s_t W_t.

    W is (d + S, h), s is (d + S,), E is (d + S + q, h), b and shifted are (h,).
    """
    table_of_rows(W, s, b, x.nodes, x.scale, x.mean, E, shifted)


def first_layer(x: Encoded, rows: Index, E: Array, shifted: Array, dense: Array, z: Array) -> None:
    """z = Σ_t s_t (c_t p_t - μ_t) W_t + b, for the given rows of the table.

    The rows' dense columns are copied into `dense`, (m, d), for the way back.
    """
    take_rows(x.dense, rows, dense)
    affine(E[: x.nodes[0]], shifted, shifted, dense, z)  # which has no constants
    look_up_rows(x.bins, x.fractions, x.levels, rows, x.nodes, x.first_levels, E, z)


def first_layer_gradient(
    W: Array,
    s: Array,
    x: Encoded,
    rows: Index,
    dense: Array,
    delta: Array,
    G: Array,
    total: Array,
    nabla_W: Array,
    nabla_b: Array,
    nabla_s: Array,
) -> None:
    """Add ∂C/∂W and ∂C/∂b of the first layer to nabla_W and nabla_b; write ∂C/∂s into nabla_s.

    G = ∂C/∂E comes first. With γ = Σ_rows δ (BP3) and g_t = c_t ∂C/∂V_t - μ_t γ, the derivative by
    s_t W_t: ∂C/∂W_t = s_t g_t and ∂C/∂s_t = g_t · W_t.
    """
    d = x.nodes[0]
    G.fill(0)
    if d > 0:
        dot(dense.T, delta, G[:d])
    collect_rows(x.bins, x.fractions, x.levels, rows, x.nodes, x.first_levels, delta, G)
    column_sum(delta, total)
    add(total, nabla_b)
    table_of_rows_pullback(W, s, x.nodes, x.scale, x.mean, G, total, nabla_W, nabla_s)
