"""The four equations: forward pass, backward pass, gradient, and descent over mini-batches.

Layers are numbered as on paper, l = 1 … L; entry 0 of every list belongs to the input, so
``a[0]`` is the batch X. Rows are samples. ``z[l]``, ``a[l]`` and ``delta[l]`` are (m, n_l),
``W[l]`` is (n_{l-1}, n_l), ``b[l]`` is (n_l,), in a network of affine layers.

These functions run as they stand (``engine="numpy"``) and compiled (``engine="numba"``).
docs/derivation.md derives them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from chainrule.base.types import Array, Index
from chainrule.equations.vecmath import (
    ROW,
    add,
    announced,
    functions,
    matrices,
    scale_rows,
    shares,
    take,
    take_rows,
    vectors,
    weighted_sum,
)

ALL = 1 << 30  # layers

STATISTICS = ("collect", "pool", "collect_back", "pool_back")
BY_LAYER = ("forward", "pullback", "gradient", "f", "f_pullback", *STATISTICS)  # as in Layers


class Layers(NamedTuple):
    """What a network consists of, by layer: functions and parameters.

    asks is 1 for a layer that has statistics, whose four functions are then there.
    """

    L: int
    forward: Sequence[Callable[..., None]]
    pullback: Sequence[Callable[..., None]]
    gradient: Sequence[Callable[..., None]]
    f: Sequence[Callable[[Array, Array], None]]
    f_pullback: Sequence[Callable[[Array, Array, Array], None]]
    collect: Sequence[Callable[..., None]]
    pool: Sequence[Callable[..., None]]
    collect_back: Sequence[Callable[..., None]]
    pool_back: Sequence[Callable[..., None]]
    asks: Sequence[int] | Index
    W: Sequence[Array]
    b: Sequence[Array]


class Batch(NamedTuple):
    """What one pass over m rows computes, by layer.

    share, (m, 1), is what each row counts for in a mean: 1/m, or its weight over all weights; s
    are the layers' own numbers, which say the moment. part is what these rows tell of the batch to
    a layer that has statistics, and parts what all blocks of the batch's rows tell.
    """

    z: Sequence[Array]
    a: Sequence[Array]
    delta: Sequence[Array]
    share: Array
    s: Sequence[Array]
    part: Sequence[Array]
    parts: Sequence[Array]


def forward(net: Layers, batch: Batch, first: int = 0, last: int = ALL) -> None:
    """z^l = a^{l-1} W^l + b^l and a^l = σ^l(z^l), for l = 1 … L.

    Or from the first to the last of some layers; of the first, statistics are there to be pooled.
    """
    W, b, s, z, a = net.W, net.b, batch.s, batch.z, batch.a
    for l in range(max(first, 1), min(last, net.L) + 1):
        if net.asks[l] and s[l][0] > 0:
            if l > first:
                net.collect[l](s[l], batch.share, a[l - 1], batch.part[l])
            net.pool[l](batch.parts[l], s[l])
        net.forward[l](W[l], b[l], s[l], batch.share, a[l - 1], z[l])
        net.f[l](z[l], a[l])


def output_error(
    net: Layers, loss_delta: Callable[..., None], y: Array, batch: Batch, scale: float = 1.0
) -> None:
    """δ^L = ∂C/∂a^L ⊙ σ′(z^L)  (BP1), averaged here, once, over the rows of the batch.

    A fused loss writes ∂C/∂z^L; its layer's pullback is then the identity. `scale` is 1 but to
    imitate another's slip.
    """
    L, z, a, delta = net.L, batch.z, batch.a, batch.delta
    loss_delta(z[L], a[L], y, delta[L])
    net.f_pullback[L](z[L], a[L], delta[L])
    scale_rows(batch.share, scale, delta[L])


def backward(net: Layers, batch: Batch, lowest: int = 1, first: int = ALL) -> None:
    """δ^l = (δ^{l+1} W^{l+1}ᵀ) ⊙ σ′(z^l), for l = L-1 … 1  (BP2).

    Nothing below the lowest layer that learns needs a δ. Or from the first to the lowest of some
    layers; of the one above the first, statistics are there to be pooled.
    """
    W, b, s, z, a, delta = net.W, net.b, batch.s, batch.z, batch.a, batch.delta
    for l in range(min(first, net.L - 1), lowest - 1, -1):
        if net.asks[l + 1] and s[l + 1][0] > 0:
            if l < first:
                net.collect_back[l + 1](
                    s[l + 1], batch.share, a[l], delta[l + 1], batch.part[l + 1]
                )
            net.pool_back[l + 1](batch.parts[l + 1], s[l + 1])
        net.pullback[l + 1](W[l + 1], b[l + 1], s[l + 1], batch.share, a[l], delta[l + 1], delta[l])
        net.f_pullback[l](z[l], a[l], delta[l])


def gradient(net: Layers, batch: Batch, nabla_W: Sequence[Array], nabla_b: Sequence[Array]) -> None:
    """∂C/∂b^l = Σ_rows δ^l  (BP3) and ∂C/∂W^l = a^{l-1}ᵀ δ^l  (BP4), for l = 1 … L."""
    W, b, s, a, delta = net.W, net.b, batch.s, batch.a, batch.delta
    for l in range(1, net.L + 1):
        net.gradient[l](W[l], b[l], s[l], batch.share, a[l - 1], delta[l], nabla_W[l], nabla_b[l])


def descend(
    by_layer: Any,
    layer_descend: Any,
    cost: Any,
    loss_delta: Any,
    step: Any,
    rule: Any,
    theta: Array,
    nabla: Array,
    state: Array,
    average: Array,
    h: Array,
    rates: Array,
    times: Index,
    rules: Array,
    own: Array,
    statistics: Array,
    tables: Index,
    edges: Index,
    blocks: Index,
    starts: Index,
    parts: Index,
    slices: Index,
    owned: Index,
    bundles: Index,
    numbers: Index,
    W_blocks: Index,
    b_blocks: Index,
    statistics_blocks: Index,
    asks: Index,
    tellers: Index,
    weighs: Index,
    direct: Index,
    lowest: int,
    z_flat: Array,
    a_flat: Array,
    delta_flat: Array,
    y: Array,
    c: Array,
    penalties: Array,
    total: Array,
    X: Array,
    Y: Array,
    weight: Array,
    order: Index,
    m: int,
    share: Array,
    board: Index,
    k: int,
    steps: int,
) -> None:
    """Take steps, one for every m rows of `order`.

    Several workers may run this at once, on the same arrays. Each step has phases, whose items
    they share: blocks of rows, then parts of the parameters. Which worker takes an item makes no
    difference to what comes out. One announces steps and returns when they are taken; the others
    take part, and stay for more.

    Parameters
    ----------
    by_layer : L + 1 functions of each role in BY_LAYER
        In the compiled engine their int64 addresses.
    layer_descend : L + 1 functions
        Of the layers that are `direct`.
    cost, loss_delta, step : one function each, in a list of one
    rule : the functions in `regularizers.RULES`
    theta : (P,)
        Parameters, changed in place.
    nabla : (P,) or, if every block of rows has a gradient of its own, as many times P
        Room for the gradient; the first P are the last step's in the end.
    state : (slots P,)
        The optimiser's memory, slice by slice, changed in place.
    average : (P,) or empty
        Running average of theta, changed in place if rules.average > 0.
    h : float64
        The optimiser's numbers; of each worker its own.
    rates : (K,) float64
        The learning rate of step k, at k modulo K, as the next two.
    times : (K,) int64
        Its number t in the course of the fit, from 1.
    rules : float64
        A `regularizers.Rules`.
    own : float64
        s of all layers, flat, for each block of rows.
    statistics : float64
        Room for what each block of rows tells of the batch.
    tables, edges, blocks, … statistics_blocks : int64
        A `plan.Plan`.
    asks : (L + 1,) int64
        1 for a layer that has statistics.
    tellers : int64
        The layers that have numbers of their own, which say the moment.
    weighs : (L + 1,) int64
        1 for a layer whose W penalties, decay and the norm limit concern.
    direct : (L + 1,) int64
        1 for a layer that takes all steps but the last that is announced as it computes the
        gradient, with no room for it.
    lowest : int
        The lowest layer that has parameters.
    z_flat, a_flat, delta_flat, y, c
        Room for m rows of every layer, for their targets (m, n_L) and costs (m,).
    penalties : (G,) float64
        To it are added the batches' penalties, part by part.
    total : (1,) float64
        To it is added the weighted sum of the rows' costs, each at the parameters that its batch
        was met with.
    X, Y : (N, n_0), (N, n_L)
        Samples and targets.
    weight : (N,) or empty
        Weights of the samples; empty: all 1.
    order : (K m,) int64
        Which rows, in which order.
    m : int
        Rows in a batch.
    share : (m, 1)
        What each row counts for: 1 / m. If there are weights, of each worker its own.
    board : int64
        For `vecmath.take` and `vecmath.announced`.
    k : int
        The first step to take.
    steps : int
        As many are announced; 0: by another.
    """
    L = tables.shape[1] - 1
    net = Layers(
        L,
        functions("forward", by_layer[0], theta),
        functions("pullback", by_layer[1], theta),
        functions("gradient", by_layer[2], theta),
        functions("f", by_layer[3], theta),
        functions("f_pullback", by_layer[4], theta),
        functions("collect", by_layer[5], theta),
        functions("pool", by_layer[6], theta),
        functions("collect_back", by_layer[7], theta),
        functions("pool_back", by_layer[8], theta),
        asks,
        matrices(theta, tables[0]),
        vectors(theta, tables[1]),
    )
    s = vectors(own, numbers)
    part, all_parts = vectors(statistics, statistics_blocks), matrices(statistics, tables[3])
    z, a, delta = matrices(z_flat, blocks), matrices(a_flat, blocks), matrices(delta_flat, blocks)
    a_whole, delta_whole = matrices(a_flat, tables[2]), matrices(delta_flat, tables[2])
    W_part, b_part = matrices(theta, parts[1]), vectors(theta, parts[2])
    nabla_W, nabla_b = matrices(nabla, parts[1]), vectors(nabla, parts[2])
    nabla_W_block = matrices(nabla, W_blocks)
    nabla_b_block = vectors(nabla, b_blocks)
    by_block = len(W_blocks) > 0
    theta_slice, nabla_slice = vectors(theta, slices[0]), vectors(nabla, slices[0])
    state_slice = matrices(state, slices[1])
    average_slice = vectors(average, slices[0])
    row_cost = functions("cost", cost, theta)[0]
    output_delta = functions("delta", loss_delta, theta)[0]
    take_step = functions("step", step, theta)[0]
    descend_layer = functions("descend", layer_descend, theta)
    penalty = functions("penalty", rule, theta)[0]
    add_penalty_gradient = functions("add_penalty_gradient", rule, theta)[1]
    clip_values = functions("clip_values", rule, theta)[2]
    clip_norm = functions("clip_norm", rule, theta)[3]
    shrink = functions("shrink", rule, theta)[4]
    limit_norms = functions("limit_norms", rule, theta)[5]
    follow = functions("follow", rule, theta)[6]
    # In the order of Rules.
    cost_scale, error_scale, l2, l1 = rules[0], rules[1], rules[2], rules[3]
    value_bound, norm_bound, decay = rules[4], rules[5], rules[6]
    max_norm, newest = rules[7], rules[8]
    clips = value_bound > 0 or norm_bound > 0
    follows = newest > 0 and max_norm == 0
    turn = len(edges) - 2  # up to each layer that asks, to the output, and the same way back
    phases = 2 * turn + 2 + 2 * int(clips) + int(max_norm > 0)
    mass = float(m)
    my_blocks = my_bundles = 0  # taken last, a bit for each
    end = announced(board, k, steps)
    while k < end:
        last_step = k == end - 1  # whose gradient is asked for
        phase = k * phases
        at = k % len(rates)
        rows = order[at * m : (at + 1) * m]
        t, h[0] = times[at], rates[at]
        if len(weight) > 0:
            mass = shares(weight, rows, share)

        n = len(starts) - 1
        for way in range(2 * turn + 1):
            wanted, my_blocks = my_blocks, 0
            i = take(board, phase, n, -1, wanted)
            while i < n:
                first, last = starts[i], starts[i + 1]
                targets = y[first:last]
                batch = Batch(z[i], a[i], delta[i], share[first:last], s[i], part[i], all_parts)
                if way == 0:
                    for l in tellers:
                        batch.s[l][0] = t + first * ROW
                    chosen = rows[first:last]
                    take_rows(X, chosen, batch.a[0])
                    take_rows(Y, chosen, targets)
                if way <= turn:
                    forward(net, batch, edges[way], edges[way + 1] - 1)
                if way == turn:
                    row_cost(batch.z[L], batch.a[L], targets, c[first:last])
                    output_error(net, output_delta, targets, batch, error_scale)
                if way >= turn:
                    back = 2 * turn - way
                    backward(net, batch, max(edges[back], lowest), edges[back + 1] - 1)
                if way < turn:
                    l = edges[way + 1]
                    net.collect[l](batch.s[l], batch.share, batch.a[l - 1], batch.part[l])
                elif way < 2 * turn:
                    l = edges[back]
                    net.collect_back[l](
                        batch.s[l], batch.share, batch.a[l - 1], batch.delta[l], batch.part[l]
                    )
                elif by_block:
                    gradient(net, batch, nabla_W_block[i], nabla_b_block[i])
                my_blocks |= 1 << i
                i = take(board, phase, n, i, wanted)
            phase += 1

        n = len(bundles) - 1
        wanted, my_bundles = my_bundles, 0
        bundle = take(board, phase, n, -1, wanted)
        while bundle < n:
            for i in range(bundles[bundle], bundles[bundle + 1]):
                l, first, last = parts[0, i]
                if by_block:
                    for j in range(owned[i], owned[i + 1]):
                        for block in range(1, len(W_blocks)):
                            start = block * len(theta) + slices[0, j, 0]
                            add(nabla[start : start + slices[0, j, 2]], nabla_slice[j])
                elif direct[l] and not last_step:
                    descend_layer[l](
                        s[0][l],
                        share,
                        a_whole[l - 1][:, first:last],
                        delta_whole[l],
                        h[0],
                        W_part[i],
                        b_part[i],
                    )
                else:
                    net.gradient[l](
                        W_part[i],
                        b_part[i],
                        s[0][l],
                        share,
                        a_whole[l - 1][:, first:last],
                        delta_whole[l],
                        nabla_W[i],
                        nabla_b[i],
                    )
                if weighs[l] and (l2 > 0 or l1 > 0):
                    penalties[i] += penalty(W_part[i], l2, l1)
                    add_penalty_gradient(W_part[i], l2 / mass, l1 / mass, nabla_W[i])
                if i == 0:
                    total[0] += cost_scale * weighted_sum(c, weight, rows)
                if weighs[l] and decay > 0:
                    shrink(1 - h[0] * decay, W_part[i])
                if not clips:
                    for j in range(owned[i], owned[i + 1]):
                        if last_step or not direct[l]:
                            take_step(theta_slice[j], nabla_slice[j], state_slice[j], h, t)
                        if follows:
                            follow(newest, theta_slice[j], average_slice[j])
            my_bundles |= 1 << bundle
            bundle = take(board, phase, n, bundle, wanted)
        phase += 1

        if clips:
            i = take(board, phase, 1, -1, 0)
            while i < 1:
                if value_bound > 0:
                    clip_values(value_bound, nabla[: len(theta)])
                if norm_bound > 0:
                    clip_norm(norm_bound, nabla[: len(theta)])
                i = take(board, phase, 1, i, 0)
            phase += 1
            bundle = take(board, phase, n, -1, my_bundles)
            while bundle < n:
                for j in range(owned[bundles[bundle]], owned[bundles[bundle + 1]]):
                    take_step(theta_slice[j], nabla_slice[j], state_slice[j], h, t)
                    if follows:
                        follow(newest, theta_slice[j], average_slice[j])
                bundle = take(board, phase, n, bundle, my_bundles)
            phase += 1

        if max_norm > 0:
            i = take(board, phase, 1, -1, 0)
            while i < 1:
                for l in range(1, L + 1):
                    if weighs[l]:
                        limit_norms(max_norm, net.W[l])
                if newest > 0:
                    follow(newest, theta, average)
                i = take(board, phase, 1, i, 0)

        k += 1
        if k == end and steps == 0:
            end = announced(board, k, 0)
