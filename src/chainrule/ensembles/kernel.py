"""The loop that trains k networks: the steps of an epoch, and the loss outside of the folds.

The members of an ensemble are cut into blocks. In a step, a block goes forward and backward
(:func:`propagate`), each member on rows outside of its fold. If members share layers, threads take
blocks, then parts of the parameters (:func:`update`), step by step; what the blocks' gradients of
the shared layers are is added up in their order. If they share nothing, a thread takes a member
through all steps by itself. So the bits do not depend on the number of threads.

These functions run as they stand (``engine="numpy"``) and compiled (``engine="numba"``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from chainrule.base.types import Array, Index
from chainrule.ensembles.parameters import Plan
from chainrule.equations.columns import Encoded, first_layer, first_layer_gradient, look_up_table
from chainrule.equations.layers import affine, affine_gradient, affine_pullback
from chainrule.equations.vecmath import (
    adam_step,
    add,
    add_clipped,
    borrowed,
    claim,
    drop_by_bits,
    functions,
    matrices,
    multiply,
    random_bits,
    rows_outside,
    scale_rows,
    take_rows,
    vectors,
)


class Components(NamedTuple):
    """The functions that training calls, one each in a list; compiled, their addresses.

    f, f_pullback are the hidden layers' activation, output is that of the output layer, and delta
    is the loss's ∂C/∂z.
    """

    f: Sequence[Any]
    f_pullback: Sequence[Any]
    output: Sequence[Any]
    delta: Sequence[Any]


class State(NamedTuple):
    """What steps change: the parameters, their gradient, Adam's moments, the running average."""

    theta: Array
    nabla: Array
    m: Array
    v: Array
    average: Array


class Data(NamedTuple):
    """Targets and folds.

    Attributes
    ----------
    Y : (n, K)
    weight : (n,)
        What each row counts for.
    folds : (n,) int64
    parts : (F,) float64
        What a row's weight is multiplied by in a batch of a member that leaves that fold out.
    fold_rows : (n,) int64
        The rows, fold by fold.
    fold_starts : (F + 1,) int64
        Where in `fold_rows` each fold starts.
    low, high : (K,)
        Predictions are clipped to these.
    outside : (n, K)
        The prediction of each row by the members that never learnt from it, on the average.
    """

    Y: Array
    weight: Array
    folds: Index
    parts: Array
    fold_rows: Index
    fold_starts: Index
    low: Array
    high: Array
    outside: Array


class Schedule(NamedTuple):
    """The numbers of each step of the fit, and the rows of each step of this epoch.

    Attributes
    ----------
    rates, dropout, decay, follows, roots, aheads : (T,) float64
        Of the step that is taken: learning rate, dropout, decay, the share of the average that is
        new, and Adam's 1 / √(1 - β₂ᵗ) and 1 / (1 - β₁ᵗ).
    order : (n,) int64
        The rows in the order of this epoch.
    windows : (steps + 1,) int64
        Where in `order` each step's rows start.
    """

    rates: Array
    dropout: Array
    decay: Array
    follows: Array
    roots: Array
    aheads: Array
    order: Index
    windows: Index


class Numbers(NamedTuple):
    """Adam's numbers, and the key of the random bits."""

    new_mean: float
    new_square: float
    epsilon: float
    key: int


class Worker(NamedTuple):
    """Buffers of one thread.

    Attributes
    ----------
    rows : (M,) int64
        The rows of a block, member after member.
    starts : int64
        Where in `rows` each member's start.
    share : (M, 1)
        What each row counts for.
    y : (M, K)
        Targets.
    z, a, slope, delta : (M (d + h_1 + … + K),)
        Weighted inputs, activations, σ′ with dropout, errors.
    places : (L + 1, 3) int64
        Where in these each layer's matrix is.
    E, G : (table_rows, h_1)
        The table that rows of the batch look up, and its gradient.
    shifted, total : (h_1,)
        The first layer's bias with the means of its columns in it, and Σ_rows δ^1.
    bits : uint64
    none : (0,) float64
        Affine layers have no constants.
    """

    rows: Index
    starts: Index
    share: Array
    y: Array
    z: Array
    a: Array
    slope: Array
    delta: Array
    places: Index
    E: Array
    G: Array
    shifted: Array
    total: Array
    bits: Any
    none: Array


# The kinds of `train_steps`'s arguments, as in `engine.roles`; of a NamedTuple those of its fields.
ARGUMENTS = (
    (Components, "AAAA"),
    (State, "VVVVV"),
    (Plan, "TTBTTBABBBAAHHAI"),
    (Encoded, "MJMJAAVV"),
    (Data, "MVAHAAVVM"),
    (Schedule, "HHHHHHAA"),
    (Numbers, "FFFI"),
    (Worker, "AAMMVVVVBMMVVUH"),
    "A",  # queue
    "I",  # epoch's first step in the fit
    "I",  # first
    "I",  # end
    "I",  # validates
)


class Calls(NamedTuple):
    """The functions of `Components`, to be called."""

    f: Any
    f_pullback: Any
    output: Any
    delta: Any


class Views(NamedTuple):
    """Parameters and gradients by member and layer."""

    W: Any
    b: Any
    s: Any
    nabla_W: Any
    nabla_b: Any
    nabla_s: Any


def train_steps(
    components: Components,
    state: State,
    plan: Plan,
    x: Encoded,
    data: Data,
    schedule: Schedule,
    numbers: Numbers,
    worker: Worker,
    queue: Index,
    before: int,
    first: int,
    end: int,
    validates: int,
) -> None:
    """Run steps of an epoch; then, if asked, predict each row by members not trained on it.

    Parameters
    ----------
    components : Components
    state : State
        Changed in place.
    plan : Plan
    x : Encoded
    data : Data
        `outside` is written if `validates` is 1.
    schedule : Schedule
    numbers : Numbers
    worker : Worker
        The buffers of this thread; no other thread uses them.
    queue : int64
        The work queue, for `vecmath.claim`.
    before : int
        Steps in the epochs before.
    first, end : int
        Steps of the epoch, from 0.
    validates : int
        1 to predict at the end.
    """
    components, state, plan = borrowed(components), borrowed(state), borrowed(plan)
    x, data, schedule = borrowed(x), borrowed(data), borrowed(schedule)
    worker, queue = borrowed(worker), borrowed(queue)
    calls = calls_of(components, state.theta)
    net = views_of(state.theta, state, plan)
    n_blocks, n_chunks, phase = len(plan.blocks) - 1, len(plan.chunks) - 1, 0
    # The blocks and chunks that this thread processed last, a bit for each.
    last_blocks = last_chunks = 0
    k = first
    while k < end:
        # Members that share nothing need not wait for each other: each runs all its steps at once.
        stop = k + 1 if plan.shares else end
        done = 0
        i = claim(queue, phase, n_blocks, -1, last_blocks)
        while i < n_blocks:
            for step in range(k, stop):
                propagate(calls, net, plan, x, data, schedule, numbers, worker, before, step, i)
                if not plan.shares:
                    update(state, plan, schedule, numbers, before + step, i)
            done |= 1 << i
            i = claim(queue, phase, n_blocks, i, last_blocks)
        last_blocks, done = done, 0
        phase += 1
        if plan.shares:
            i = claim(queue, phase, n_chunks, -1, last_chunks)
            while i < n_chunks:
                update(state, plan, schedule, numbers, before + k, i)
                done |= 1 << i
                i = claim(queue, phase, n_chunks, i, last_chunks)
            last_chunks = done
            phase += 1
        k = stop
    if validates:
        net = views_of(state.average, state, plan)
        folds = len(data.fold_starts) - 1
        i = claim(queue, phase, folds, -1, 0)
        while i < folds:
            predict_fold(calls, net, plan, x, data, worker, i)
            i = claim(queue, phase, folds, i, 0)


def calls_of(components: Components, like: Array) -> Calls:
    """The functions, to be called."""
    return Calls(
        functions("f", components.f, like),
        functions("f_pullback", components.f_pullback, like),
        functions("f", components.output, like),
        functions("delta", components.delta, like),
    )


def views_of(theta: Array, state: State, plan: Plan) -> Views:
    """Views of parameters and gradients."""
    return Views(
        matrices(theta, plan.W),
        vectors(theta, plan.b),
        vectors(theta, plan.s),
        matrices(state.nabla, plan.nabla_W),
        vectors(state.nabla, plan.nabla_b),
        vectors(state.nabla, plan.nabla_s),
    )


def place(worker: Worker, plan: Plan, m: int) -> None:
    """Let the buffers hold m rows of each layer."""
    offset = 0
    for l in range(len(plan.widths)):
        worker.places[l, 0] = offset
        worker.places[l, 1] = m
        worker.places[l, 2] = plan.widths[l]
        offset += len(worker.rows) * plan.widths[l]


def choose_rows(
    data: Data, schedule: Schedule, plan: Plan, worker: Worker, k: int, first: int, end: int
) -> int:
    """The rows of step k for the members of a block: of its window, those outside of their fold."""
    order = schedule.order[schedule.windows[k] : schedule.windows[k + 1]]
    m = 0
    for i in range(first, end):
        fold = i % len(data.parts)
        part, rows, share = data.parts[fold], worker.rows[m:], worker.share[m:]
        worker.starts[i - first] = m
        m += rows_outside(order, data.folds, fold, data.weight, part, rows, share)
    worker.starts[end - first] = m
    return m


def propagate(
    calls: Calls,
    net: Views,
    plan: Plan,
    x: Encoded,
    data: Data,
    schedule: Schedule,
    numbers: Numbers,
    worker: Worker,
    before: int,
    k: int,
    block: int,
) -> None:
    """Run the rows of a block of members forward and backward, up to the gradient.

    Layers that the members share process the rows of all of them in one matrix product.
    """
    first, end = plan.blocks[block], plan.blocks[block + 1]
    L = len(plan.widths) - 1
    m = choose_rows(data, schedule, plan, worker, k, first, end)
    place(worker, plan, m)
    z, a = matrices(worker.z, worker.places), matrices(worker.a, worker.places)
    slope, delta = matrices(worker.slope, worker.places), matrices(worker.delta, worker.places)
    starts, none, rate = worker.starts, worker.none, schedule.dropout[before + k]
    take_rows(data.Y, worker.rows[:m], worker.y[:m])
    for i in range(first, end):
        r, e = starts[i - first], starts[i - first + 1]
        look_up_table(net.W[i][1], net.s[i], net.b[i][1], x, worker.E, worker.shifted)
        first_layer(x, worker.rows[r:e], worker.E, worker.shifted, a[0][r:e], z[1][r:e])
    for l in range(1, L):
        calls.f[0](z[l], a[l])
        slope[l].fill(1)
        calls.f_pullback[0](z[l], a[l], slope[l])
        if rate > 0:
            for i in range(first, end):
                r, e = starts[i - first], starts[i - first + 1]
                words = (e - r) * plan.widths[l] // 4 + 1
                bits = worker.bits[:words]
                random_bits(numbers.key, before + k, i * L + l, bits)
                drop_by_bits(bits, rate, a[l][r:e])
                drop_by_bits(bits, rate, slope[l][r:e])
        if l + 1 < L:
            affine(net.W[first][l + 1], net.b[first][l + 1], none, a[l], z[l + 1])
    for i in range(first, end):
        r, e = starts[i - first], starts[i - first + 1]
        affine(net.W[i][L], net.b[i][L], none, a[L - 1][r:e], z[L][r:e])
    calls.output[0](z[L], a[L])
    calls.delta[0](z[L], a[L], worker.y[:m], delta[L])
    scale_rows(worker.share[:m], 1.0, delta[L])
    for i in range(first, end):
        r, e = starts[i - first], starts[i - first + 1]
        affine_gradient(
            net.W[i][L],
            net.b[i][L],
            none,
            a[L - 1][r:e],
            delta[L][r:e],
            net.nabla_W[i][L],
            net.nabla_b[i][L],
        )
        affine_pullback(
            net.W[i][L], net.b[i][L], none, a[L - 1][r:e], delta[L][r:e], delta[L - 1][r:e]
        )
    for l in range(L - 1, 0, -1):
        multiply(slope[l], delta[l])
        if l > 1:
            affine_gradient(
                net.W[first][l],
                net.b[first][l],
                none,
                a[l - 1],
                delta[l],
                net.nabla_W[first][l],
                net.nabla_b[first][l],
            )
            affine_pullback(
                net.W[first][l], net.b[first][l], none, a[l - 1], delta[l], delta[l - 1]
            )
    net.nabla_W[first][1].fill(0)
    net.nabla_b[first][1].fill(0)
    for i in range(first, end):
        r, e = starts[i - first], starts[i - first + 1]
        first_layer_gradient(
            net.W[i][1],
            net.s[i],
            x,
            worker.rows[r:e],
            a[0][r:e],
            delta[1][r:e],
            worker.G,
            worker.total,
            net.nabla_W[i][1],
            net.nabla_b[i][1],
            net.nabla_s[i],
        )


def update(
    state: State, plan: Plan, schedule: Schedule, numbers: Numbers, t: int, chunk: int
) -> None:
    """Add up the gradients of a chunk of the parameters, and take Adam's step on it."""
    nabla, theta = vectors(state.nabla, plan.nabla_slices), vectors(state.theta, plan.slices)
    m, v = vectors(state.m, plan.slices), vectors(state.v, plan.slices)
    average = vectors(state.average, plan.slices)
    new = (numbers.new_mean, numbers.new_square)
    for j in range(plan.chunks[chunk], plan.chunks[chunk + 1]):
        start, size = plan.nabla_slices[j, 0], plan.nabla_slices[j, 1]
        for _ in range(1, plan.copies[j, 0]):
            start += plan.copies[j, 1]
            add(state.nabla[start : start + size], nabla[j])
        group = plan.groups[j]
        rate = schedule.rates[t] * plan.rate_factors[group]
        kept = 1 - rate * schedule.decay[t] * plan.decay_factors[group]
        adam_step(
            nabla[j],
            new,
            rate * schedule.aheads[t],
            schedule.roots[t],
            numbers.epsilon,
            kept,
            schedule.follows[t],
            m[j],
            v[j],
            average[j],
            theta[j],
        )


def forward_of_member(
    calls: Calls, net: Views, plan: Plan, x: Encoded, worker: Worker, rows: Index, i: int
) -> None:
    """a^L of member i on some rows, without dropout."""
    L = len(plan.widths) - 1
    place(worker, plan, len(rows))
    z, a = matrices(worker.z, worker.places), matrices(worker.a, worker.places)
    first_layer(x, rows, worker.E, worker.shifted, a[0], z[1])
    for l in range(1, L):
        calls.f[0](z[l], a[l])
        affine(net.W[i][l + 1], net.b[i][l + 1], worker.none, a[l], z[l + 1])
    calls.output[0](z[L], a[L])


def predict_fold(
    calls: Calls, net: Views, plan: Plan, x: Encoded, data: Data, worker: Worker, fold: int
) -> None:
    """Predict the rows of a fold by the mean of the members that left it out."""
    L, k, F = len(plan.widths) - 1, len(plan.W), len(data.parts)
    start, end = data.fold_starts[fold], data.fold_starts[fold + 1]
    part = 1 / max(1, (k - fold + F - 1) // F)
    for i in range(fold, k, F):
        look_up_table(net.W[i][1], net.s[i], net.b[i][1], x, worker.E, worker.shifted)
        for r in range(start, end, len(worker.rows)):
            e = min(r + len(worker.rows), end)
            rows = data.fold_rows[r:e]
            forward_of_member(calls, net, plan, x, worker, rows, i)
            a = matrices(worker.a, worker.places)
            add_clipped(a[L], data.low, data.high, part, rows, data.outside)
