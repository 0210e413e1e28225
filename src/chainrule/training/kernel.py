"""The loop that trains: the steps of an epoch, each in phases that worker threads share.

A step has these phases. In each, worker threads claim items from a queue, and none goes on before
all items of the phase are done; which thread does an item makes no difference to the result.

1. Forward and backward (:func:`propagate`): the items are blocks of the batch's rows. It is one
   pass over the blocks, unless layers need statistics of the whole batch: then the passes end at
   these layers, where the blocks' statistics are pooled.
2. Gradient and step (:func:`update_parameters`): the items are chunks of the parameters. The step
   on a part of W follows on its gradient while that is still in the processor's cache.
3. Where gradients are clipped (:func:`clip` and :func:`step_after_clipping`), the step is a phase
   of its own.
4. Where norms are limited (:func:`limit_norms`), so is that.

Short epochs are gone through several at a time (:func:`descend_epochs`).

The equations are in :mod:`chainrule.equations.backprop`, what the functions here take is in
:mod:`chainrule.training.arguments`. They run as they stand (``engine="numpy"``) and compiled
(``engine="numba"``): then components are addresses, and arrays stand where lists do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from chainrule.base.types import Array, Index
from chainrule.equations.backprop import (
    Batch,
    Layers,
    backward,
    forward,
    gradient,
    layer_gradient,
    output_error,
)
from chainrule.equations.regularizers import Rules
from chainrule.equations.vecmath import (
    add,
    announced_steps,
    borrowed,
    claim,
    copy,
    row_total,
    shares,
    take_rows,
    weighted_sum,
)
from chainrule.training.arguments import (
    Blocks,
    Buffers,
    Data,
    Fixed,
    Functions,
    Parts,
    Schedule,
    State,
    Traits,
    Worker,
    blocks_of,
    functions_of,
    layers_of,
    parts_of,
)
from chainrule.training.plan import Plan


class Step(NamedTuple):
    """One step: its number, learning rate and rows, and the sum of the rows' weights.

    And whether it is the last of its run of steps, and in which epoch of the call it is.
    """

    t: int
    rate: float
    rows: Any
    weight: float
    is_last: bool
    epoch: int


def descend_epochs(
    whole: Fixed,
    rest: Fixed,
    worker: Worker,
    rest_worker: Worker,
    schedule: Schedule,
    gradients: Array,
    m: int,
    queue: Index,
    first: int,
    steps: int,
) -> None:
    """Take steps of m rows each; or go through several epochs, whose last batches have the rest.

    Parameters
    ----------
    whole, rest : Fixed
        For batches of m rows, and for the last of an epoch, if it has fewer rows. Their state is
        one, and changed in place.
    worker, rest_worker : Worker
        For the same.
    schedule : Schedule
    gradients : (E, P)
        Of each epoch it gets the last step's gradient. The schedule's rows and steps are then
        those of E epochs, of equal length, and one thread takes all of them. With E = 0 there is
        one run of steps, all of m rows, as `first` and `steps` say.
    m, queue, first, steps :
        As :func:`descend` has them.
    """
    worker, rest_worker = borrowed(worker), borrowed(rest_worker)
    schedule, gradients, queue = borrowed(schedule), borrowed(gradients), borrowed(queue)
    epochs = len(gradients)
    for run in range(max(1, 2 * epochs)):
        fixed, own, part, rows, n = whole, worker, schedule, m, steps
        if epochs > 0:
            part = run_of_epoch(schedule, epochs, m, run)
            n = len(part.rates)
            if run % 2 == 1:
                fixed, own, rows = rest, rest_worker, len(part.order)
        # It stands here once: compiled code would have a copy of it for each place.
        if n > 0 or epochs == 0:
            descend(fixed, own, part, rows, queue, first, n, run // 2)
        if run % 2 == 1:
            state = borrowed(whole).state
            copy(state.nabla[: len(state.theta)], gradients[run // 2])


def run_of_epoch(schedule: Schedule, epochs: int, m: int, run: int) -> Schedule:
    """Of each epoch there are two runs of steps: the batches of m rows, then the rest, if any."""
    n_rows, n_steps = len(schedule.order) // epochs, len(schedule.rates) // epochs
    row, step, whole, rest = run // 2 * n_rows, run // 2 * n_steps, n_rows // m, run % 2
    rows = (row, row + whole * m, row + n_rows)
    steps = (step, step + whole, step + n_steps)
    return Schedule(
        schedule.rates[steps[rest] : steps[rest + 1]],
        schedule.times[steps[rest] : steps[rest + 1]],
        schedule.order[rows[rest] : rows[rest + 1]],
    )


def descend(
    fixed: Fixed,
    worker: Worker,
    schedule: Schedule,
    m: int,
    queue: Index,
    first: int,
    steps: int,
    epoch: int,
) -> None:
    """Take steps, one for every m rows of the schedule's order.

    Several worker threads may run this at once, on the same arrays. One of them announces a number
    of steps and returns when they are done. The others help, and wait for more.

    Parameters
    ----------
    fixed : Fixed
        Its state is changed in place.
    worker : Worker
        Of each worker thread its own.
    schedule : Schedule
    m : int
        Rows in a batch.
    queue : int64
        The work queue, for `vecmath.claim` and `vecmath.announced_steps`.
    first : int
        The first step to take.
    steps : int
        Number of steps to run; 0 in the helping threads, which wait for work.
    epoch : int
        To which of the epochs' sums of costs and penalties these steps add theirs.
    """
    components, state, plan, traits, buffers, data, rules = borrowed(fixed)
    net, calls = layers_of(components, state, plan), functions_of(components, state.theta)
    blocks = blocks_of(state, plan, buffers, worker)
    parts = parts_of(state, plan, buffers)
    passes = 2 * len(plan.stages) - 3  # up through the stages, and back from the last
    clips = rules.clip_value > 0 or rules.clip_norm > 0
    phases = passes + 1 + 2 * int(clips) + int(rules.max_norm > 0)
    last_blocks = last_chunks = 0  # what this thread processed last, a bit for each
    k, end = first, announced_steps(queue, first, steps)
    while k < end:
        step = begin_step(schedule, data, worker, k, m, k == end - 1, epoch)
        phase = k * phases
        for number in range(passes):
            last_blocks = propagate(
                net,
                calls,
                blocks,
                plan,
                traits,
                buffers,
                worker,
                data,
                rules,
                step,
                number,
                queue,
                phase,
                last_blocks,
            )
            phase += 1
        last_chunks = update_parameters(
            net,
            calls,
            blocks,
            parts,
            state,
            plan,
            traits,
            buffers,
            worker,
            data,
            rules,
            step,
            clips,
            queue,
            phase,
            last_chunks,
        )
        phase += 1
        if clips:
            clip(calls, state, rules, queue, phase)
            step_after_clipping(
                calls, parts, plan, traits, worker, rules, step, queue, phase + 1, last_chunks
            )
            phase += 2
        if rules.max_norm > 0:
            limit_norms(net, calls, state, traits, rules, queue, phase)
        k += 1
        if k == end and steps == 0:
            end = announced_steps(queue, k, 0)


def begin_step(
    schedule: Schedule, data: Data, worker: Worker, k: int, m: int, is_last: bool, epoch: int
) -> Step:
    """The k-th step; what each row counts for is written into the worker's share."""
    at = k % len(schedule.rates)
    rows = schedule.order[at * m : (at + 1) * m]
    weight = float(m)
    if len(data.weight) > 0:
        weight = shares(data.weight, rows, worker.share)
    return Step(schedule.times[at], schedule.rates[at], rows, weight, is_last, epoch)


def propagate(
    net: Layers,
    calls: Functions,
    blocks: Blocks,
    plan: Plan,
    traits: Traits,
    buffers: Buffers,
    worker: Worker,
    data: Data,
    rules: Rules,
    step: Step,
    number: int,
    queue: Index,
    phase: int,
    preferred: int,
) -> int:
    """Take every block of rows through a pass: forward, and from the output on backward.

    Pass `number` goes through one stage of the layers; the last stage is gone through forward and
    backward in one pass, the others backward in the passes after it. Returns which blocks this
    thread did, a bit for each.
    """
    stages, top, n, done = plan.stages, len(plan.stages) - 2, len(plan.starts) - 1, 0
    stage = min(number, 2 * top - number)
    bottom, above = stages[stage], stages[stage + 1]  # layers
    i = claim(queue, phase, n, -1, preferred)
    while i < n:
        batch = Batch(blocks.z[i], blocks.a[i], blocks.delta[i], blocks.share[i], blocks.s[i])
        targets = blocks.targets[i]
        if number == 0:
            first = plan.starts[i]
            chosen = step.rows[first : plan.starts[i + 1]]
            take_rows(data.X, chosen, batch.a[0])
            take_rows(data.Y, chosen, targets)
            if len(traits.with_constants) > 0:
                describe_batch(traits, batch, step.t, first)
        if number <= top:
            if stage > 0:
                calls.pool[bottom](blocks.statistics_of_all[bottom], batch.s[bottom])
            forward(net, batch, bottom, above - 1)
            if stage < top:
                calls.collect[above](
                    batch.s[above], batch.a[above - 1], blocks.statistics[i][above]
                )
        if number >= top:
            if number == top:
                calls.cost[0](batch.z[net.L], batch.a[net.L], targets, blocks.costs[i])
                output_error(net, calls.delta[0], targets, batch, rules.error_scale)
            else:
                calls.pool_back[above](blocks.statistics_of_all[above], batch.s[above])
            backward(net, batch, max(bottom, traits.lowest), above - 1)
            if stage > 0:
                calls.collect_back[bottom](
                    batch.s[bottom],
                    batch.a[bottom - 1],
                    batch.delta[bottom],
                    blocks.statistics[i][bottom],
                )
            elif len(plan.W_blocks) > 0:
                gradient(net, batch, blocks.nabla_W[i], blocks.nabla_b[i])
        done |= 1 << i
        i = claim(queue, phase, n, i, preferred)
    return done


def describe_batch(traits: Traits, batch: Batch, t: int, first: int) -> None:
    """Write into the layers' constants what they need to know of the batch."""
    for l in traits.with_constants:
        batch.s[l][0] = t
    for l in traits.random:
        batch.s[l][len(batch.s[l]) - 1] = first
    for l in traits.with_statistics:
        # A row's only entry is its sum.
        row_total(batch.share, batch.s[l][len(batch.s[l]) - len(batch.share) :])


def update_parameters(
    net: Layers,
    calls: Functions,
    blocks: Blocks,
    parts: Parts,
    state: State,
    plan: Plan,
    traits: Traits,
    buffers: Buffers,
    worker: Worker,
    data: Data,
    rules: Rules,
    step: Step,
    clips: bool,
    queue: Index,
    phase: int,
    preferred: int,
) -> int:
    """Compute the gradient of every part of the parameters, and take the step on it.

    If gradients are clipped, the step waits for the whole gradient. Returns which chunks this
    thread did, a bit for each.
    """
    penalizes, decays = rules.l2 > 0 or rules.l1 > 0, rules.decay > 0
    n, done = len(plan.chunks) - 1, 0
    chunk = claim(queue, phase, n, -1, preferred)
    while chunk < n:
        for i in range(plan.chunks[chunk], plan.chunks[chunk + 1]):
            part_gradient(net, calls, blocks, parts, state, plan, traits, step, i)
            if penalizes and traits.is_weight[plan.layer_of[i]]:
                buffers.penalties[step.epoch, i] += calls.penalty[0](parts.W[i], rules.l2, rules.l1)
                calls.add_penalty_gradient[0](
                    parts.W[i], rules.l2 / step.weight, rules.l1 / step.weight, parts.nabla_W[i]
                )
            if i == 0:
                costs = weighted_sum(buffers.costs, data.weight, step.rows)
                buffers.total[step.epoch] += rules.cost_scale * costs
            if decays:
                decay(calls, parts, plan, traits, rules, step, i)
            if not clips:
                first, end = plan.part_slices[i], plan.part_slices[i + 1]
                update_slices(calls, parts, plan, traits, worker, rules, step, first, end)
        done |= 1 << chunk
        chunk = claim(queue, phase, n, chunk, preferred)
    return done


def part_gradient(
    net: Layers,
    calls: Functions,
    blocks: Blocks,
    parts: Parts,
    state: State,
    plan: Plan,
    traits: Traits,
    step: Step,
    i: int,
) -> None:
    """BP3 and BP4 for a part of the parameters, over all rows of the batch.

    Or the sum of the blocks' gradients, if each block has its own; or, in plain gradient descent,
    the step as well, in the same matrix product and without storing the gradient.
    """
    l = plan.layer_of[i]
    a = parts.a[l - 1][:, plan.first_of[i] : plan.end_of[i]]
    s, delta = blocks.s[0][l], parts.delta[l]
    if traits.is_fused[l] and not step.is_last:
        rate = step.rate * traits.rate_factors[2 * l]
        calls.descend[l](s, a, delta, rate, parts.W[i], parts.b[i])
    elif len(plan.W_blocks) == 0:
        layer_gradient(
            net, l, parts.W[i], parts.b[i], s, a, delta, parts.nabla_W[i], parts.nabla_b[i]
        )
    else:
        for j in range(plan.part_slices[i], plan.part_slices[i + 1]):
            for block in range(1, len(plan.W_blocks)):
                start = block * len(state.theta) + plan.slices[0, j, 0]
                add(state.nabla[start : start + plan.slices[0, j, 2]], parts.nabla[j])


def decay(
    calls: Functions,
    parts: Parts,
    plan: Plan,
    traits: Traits,
    rules: Rules,
    step: Step,
    i: int,
) -> None:
    """Decay the weights of a part, and its biases if they have a factor above 0."""
    group = 2 * plan.layer_of[i]
    by = rules.decay * traits.decay_factors[group]
    if by > 0:
        calls.shrink[0](1 - step.rate * traits.rate_factors[group] * by, parts.W[i])
    by = rules.decay * traits.decay_factors[group + 1]
    if by > 0:
        calls.shrink[0](1 - step.rate * traits.rate_factors[group + 1] * by, parts.b_row[i])


def update_slices(
    calls: Functions,
    parts: Parts,
    plan: Plan,
    traits: Traits,
    worker: Worker,
    rules: Rules,
    step: Step,
    first: int,
    end: int,
) -> None:
    """Take the optimiser's step on some slices, and let the running average follow.

    If norms are limited, the average waits for that.
    """
    hyper, follows = worker.hyper, rules.average > 0 and rules.max_norm == 0
    for j in range(first, end):
        group = plan.groups[j]
        if step.is_last or not traits.is_fused[group // 2]:
            hyper[0] = step.rate * traits.rate_factors[group]
            calls.step[0](parts.theta[j], parts.nabla[j], parts.memory[j], hyper, step.t)
        if follows:
            calls.follow[0](rules.average, parts.theta[j], parts.average[j])


def clip(calls: Functions, state: State, rules: Rules, queue: Index, phase: int) -> None:
    """Clip the gradient as a whole; one thread does it."""
    i = claim(queue, phase, 1, -1, 0)
    while i < 1:
        nabla = state.nabla[: len(state.theta)]
        if rules.clip_value > 0:
            calls.clip_values[0](rules.clip_value, nabla)
        if rules.clip_norm > 0:
            calls.clip_norm[0](rules.clip_norm, nabla)
        i = claim(queue, phase, 1, i, 0)


def step_after_clipping(
    calls: Functions,
    parts: Parts,
    plan: Plan,
    traits: Traits,
    worker: Worker,
    rules: Rules,
    step: Step,
    queue: Index,
    phase: int,
    preferred: int,
) -> None:
    """Take the optimiser's step on every part of the parameters."""
    n = len(plan.chunks) - 1
    chunk = claim(queue, phase, n, -1, preferred)
    while chunk < n:
        first, end = plan.part_slices[plan.chunks[chunk]], plan.part_slices[plan.chunks[chunk + 1]]
        update_slices(calls, parts, plan, traits, worker, rules, step, first, end)
        chunk = claim(queue, phase, n, chunk, preferred)


def limit_norms(
    net: Layers,
    calls: Functions,
    state: State,
    traits: Traits,
    rules: Rules,
    queue: Index,
    phase: int,
) -> None:
    """Limit the norms of the weights, and let the average follow; one thread does it."""
    i = claim(queue, phase, 1, -1, 0)
    while i < 1:
        for l in range(1, net.L + 1):
            if traits.is_weight[l]:
                calls.limit_norms[0](rules.max_norm, net.W[l])
        if rules.average > 0:
            calls.follow[0](rules.average, state.theta, state.average)
        i = claim(queue, phase, 1, i, 0)
