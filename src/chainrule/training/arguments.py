"""What the kernel takes: components, arrays and numbers by subject, and its views into the arrays.

`kernel.descend_epochs` gets the arguments as they are listed here. Once for each run of steps the
kernel makes the views: the network as the equations take it, the blocks of the batch's rows, and
the parts of the parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from chainrule.base.types import Array, Index
from chainrule.equations.backprop import Layers
from chainrule.equations.regularizers import Rules
from chainrule.equations.vecmath import functions, matrices, row_blocks, vectors
from chainrule.training.plan import Plan

EPOCHS = 16  # that one call goes through at most


class Components(NamedTuple):
    """The functions that a training calls, by role; in the compiled engine their addresses.

    Attributes
    ----------
    forward, pullback, gradient : L + 1 functions each
        Of the layers, as in :mod:`chainrule.equations.layers`. Entry 0 is a placeholder.
    f, f_pullback : L + 1 functions each
        Of the activations.
    collect, pool, collect_back, pool_back : L + 1 functions each
        Of the layers that have statistics, as in :class:`chainrule.equations.layers.Statistics`.
    cost, delta : one function each, in a list of one
        Of the loss.
    step : one function
        Of the optimiser.
    descend : L + 1 functions
        Of the layers that take their step together with the gradient.
    penalty, add_penalty_gradient, clip_values, clip_norm, shrink, limit_norms, follow
        One function each, as in :mod:`chainrule.equations.regularizers`.
    """

    forward: Sequence[Any]
    pullback: Sequence[Any]
    gradient: Sequence[Any]
    f: Sequence[Any]
    f_pullback: Sequence[Any]
    collect: Sequence[Any]
    pool: Sequence[Any]
    collect_back: Sequence[Any]
    pool_back: Sequence[Any]
    cost: Sequence[Any]
    delta: Sequence[Any]
    step: Sequence[Any]
    descend: Sequence[Any]
    penalty: Sequence[Any]
    add_penalty_gradient: Sequence[Any]
    clip_values: Sequence[Any]
    clip_norm: Sequence[Any]
    shrink: Sequence[Any]
    limit_norms: Sequence[Any]
    follow: Sequence[Any]


class State(NamedTuple):
    """What steps change.

    Attributes
    ----------
    theta : (P,)
        The parameters.
    nabla : (P,) or, if every block of rows has a gradient of its own, as many times P
        Buffer for the gradient; the first P are the last step's in the end.
    memory : (slots P,)
        The optimiser's memory, slice by slice.
    average : (P,) or empty
        Running average of theta.
    constants : float64
        The constants s of all layers, for each block of rows.
    statistics : float64
        Buffer for the statistics of each block of rows.
    """

    theta: Array
    nabla: Array
    memory: Array
    average: Array
    constants: Array
    statistics: Array


class Traits(NamedTuple):
    """What is particular about some layers.

    Attributes
    ----------
    with_constants : int64
        Layers that have constants, and so see the step.
    random : int64
        Layers that draw random numbers, and so see the place of their rows in the batch.
    with_statistics : int64
        Layers that have statistics, and so see what each row counts for.
    is_weight : (L + 1,) int64
        1 for a layer whose W is a weight: penalties and the limit on norms concern it.
    is_fused : (L + 1,) int64
        1 for a layer that updates W and b during the matrix product, without storing the
        gradient, except in the last step (plain gradient descent).
    rate_factors, decay_factors : (2 (L + 1),) float64
        Factors on the learning rate and on the weight decay of each group of parameters: of layer
        l, W is group 2 l and b is group 2 l + 1.
    lowest : int
        The lowest layer that has parameters.
    """

    with_constants: Index
    random: Index
    with_statistics: Index
    is_weight: Index
    is_fused: Index
    rate_factors: Array
    decay_factors: Array
    lowest: int


class Buffers(NamedTuple):
    """Buffers for one batch of m rows, which all worker threads share.

    Attributes
    ----------
    z, a, delta : (m (n_0 + … + n_L),)
    y : (m, n_targets)
        Targets.
    costs : (m,)
    penalties : (EPOCHS, G) float64
        For each epoch the batches' penalties are added up here, part by part of the parameters.
    total : (EPOCHS,) float64
        And here the weighted rows' costs, each at the parameters before its step.
    """

    z: Array
    a: Array
    delta: Array
    y: Array
    costs: Array
    penalties: Array
    total: Array


class Worker(NamedTuple):
    """What each worker thread has of its own.

    Attributes
    ----------
    hyper : float64
        The optimiser's numbers.
    share : (m, 1)
        What each row of the batch counts for: 1 / m, or by weight.
    """

    hyper: Array
    share: Array


class Data(NamedTuple):
    """Samples.

    Attributes
    ----------
    X, Y : (N, n_0), (N, n_targets); only read
    weight : (N,) or empty
        Weights of the samples; empty: all 1.
    """

    X: Array
    Y: Array
    weight: Array


class Schedule(NamedTuple):
    """The steps to take; that of step k is at k modulo K.

    Attributes
    ----------
    rates : (K,) float64
        Learning rates.
    times : (K,) int64
        The number t of each step in the course of the fit, from 1.
    order : (K m,) int64
        Rows of each batch, one after the other.
    """

    rates: Array
    times: Index
    order: Index


class Fixed(NamedTuple):
    """What is the same in all runs of steps on the same arrays, and for all worker threads."""

    components: Components
    state: State
    plan: Plan
    traits: Traits
    buffers: Buffers
    data: Data
    rules: Rules


# The kinds of its arguments, as in `engine.roles`; of a NamedTuple those of its fields.
FIXED = (
    Fixed,
    (
        (Components, "A" * 20),
        (State, "VVVVHH"),
        (Plan, "TATAAAATTAAATTTT"),
        (Traits, "AAAAAHHI"),
        (Buffers, "VVVMVDH"),
        (Data, "RRV"),
        (Rules, "F" * 9),
    ),
)
ARGUMENTS = (
    FIXED,
    FIXED,
    (Worker, "HM"),
    (Worker, "HM"),
    (Schedule, "HAA"),
    "M",  # gradients
    "I",  # m
    "A",  # queue
    "I",  # first
    "I",  # steps
)


class Functions(NamedTuple):
    """Functions that are not in `Layers`; as in `Components`."""

    collect: Any
    pool: Any
    collect_back: Any
    pool_back: Any
    cost: Any
    delta: Any
    step: Any
    descend: Any
    penalty: Any
    add_penalty_gradient: Any
    clip_values: Any
    clip_norm: Any
    shrink: Any
    limit_norms: Any
    follow: Any


class Blocks(NamedTuple):
    """Views by block of rows; of each by layer, but for share, targets and costs."""

    z: Any
    a: Any
    delta: Any
    s: Any
    share: Any
    targets: Any
    costs: Any
    statistics: Any
    statistics_of_all: Any
    nabla_W: Any
    nabla_b: Any


class Parts(NamedTuple):
    """Views by part of the parameters (W to nabla_b), by layer (a, delta), by slice (the rest)."""

    W: Any
    b: Any
    b_row: Any
    nabla_W: Any
    nabla_b: Any
    a: Any
    delta: Any
    theta: Any
    nabla: Any
    memory: Any
    average: Any


def layers_of(components: Components, state: State, plan: Plan) -> Layers:
    """The network, as the equations take it."""
    theta = state.theta
    return Layers(
        plan.tables.shape[1] - 1,
        functions("forward", components.forward, theta),
        functions("pullback", components.pullback, theta),
        functions("gradient", components.gradient, theta),
        functions("f", components.f, theta),
        functions("f_pullback", components.f_pullback, theta),
        matrices(theta, plan.tables[0]),
        vectors(theta, plan.tables[1]),
    )


def functions_of(components: Components, like: Array) -> Functions:
    """The other functions."""
    return Functions(
        functions("collect", components.collect, like),
        functions("pool", components.pool, like),
        functions("collect_back", components.collect_back, like),
        functions("pool_back", components.pool_back, like),
        functions("cost", components.cost, like),
        functions("delta", components.delta, like),
        functions("step", components.step, like),
        functions("descend", components.descend, like),
        functions("penalty", components.penalty, like),
        functions("add_penalty_gradient", components.add_penalty_gradient, like),
        functions("clip_values", components.clip_values, like),
        functions("clip_norm", components.clip_norm, like),
        functions("shrink", components.shrink, like),
        functions("limit_norms", components.limit_norms, like),
        functions("follow", components.follow, like),
    )


def blocks_of(state: State, plan: Plan, buffers: Buffers, worker: Worker) -> Blocks:
    """Views for the blocks of rows."""
    return Blocks(
        matrices(buffers.z, plan.blocks),
        matrices(buffers.a, plan.blocks),
        matrices(buffers.delta, plan.blocks),
        vectors(state.constants, plan.constants),
        row_blocks(worker.share, plan.starts),
        row_blocks(buffers.y, plan.starts),
        row_blocks(buffers.costs, plan.starts),
        vectors(state.statistics, plan.statistics_blocks),
        matrices(state.statistics, plan.tables[3]),
        matrices(state.nabla, plan.W_blocks),
        vectors(state.nabla, plan.b_blocks),
    )


def parts_of(state: State, plan: Plan, buffers: Buffers) -> Parts:
    """Views for the parts of the parameters."""
    return Parts(
        matrices(state.theta, plan.parts[0]),
        vectors(state.theta, plan.parts[1]),
        matrices(state.theta, plan.parts[1]),
        matrices(state.nabla, plan.parts[0]),
        vectors(state.nabla, plan.parts[1]),
        matrices(buffers.a, plan.tables[2]),
        matrices(buffers.delta, plan.tables[2]),
        vectors(state.theta, plan.slices[0]),
        vectors(state.nabla, plan.slices[0]),
        matrices(state.memory, plan.slices[1]),
        vectors(state.average, plan.slices[0]),
    )
