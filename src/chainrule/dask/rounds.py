"""Rounds: every partition takes steps from the same parameters; then the results are averaged.

A task is a pure function of (parameters, partition, its number, which steps). So a task that is
run again, on whatever worker, gives the same bits, and so does the tree in which results are
averaged, in the order of the partitions.

An epoch has S steps. In each step, every partition takes its share of the batch: of its n rows
⌊n / S⌋ or one more. With ``strategy="local"`` a partition takes the steps of a round by itself, and

    θ ← Σ_p w_p θ_p / Σ_p w_p,    w_p the weights of the rows that partition p went through;

and the optimiser's memory, the running average and the statistics of layers that normalise are
averaged alike. With ``strategy="sync"`` a round is one step on the average of the partitions'
gradients.

A partition's gradient is of 1/P of the batch's rows, so its variance is P times that of the whole
batch's. An optimiser such as Adam divides by the root of the mean square, which is then √P times
as large where noise prevails, while the average of the partitions' steps has lost that noise: it
is √P times too short. So these optimisers take √P times the learning rate in partitions.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np

from chainrule.base.types import Array, Index
from chainrule.base.version import __version__
from chainrule.dask.partitions import Ready
from chainrule.equations import regularizers
from chainrule.equations.optimizers import OPTIMIZERS, Optimizer
from chainrule.equations.regularizers import Rules
from chainrule.network.network import Network
from chainrule.training.augmentation import Augmentation
from chainrule.training.descent import Descent
from chainrule.training.divergence import explain
from chainrule.training.samples import draw_order

FAN_IN = 8  # results averaged by one task
LEAST_ROWS = 8  # of a partition in a batch, for batch_size="auto"
FITS_KEPT = 2  # fits of which a worker keeps buffers


class Settings(NamedTuple):
    """What all tasks of a fit know.

    Attributes
    ----------
    token : str
        The fit's name.
    version : str
        Of chainrule, on the client.
    network : Network
        Its design; its parameters are not used.
    optimizer, hyper, rules :
        As a `Descent` takes them.
    engine : str
    n_threads : int
        Of each task.
    augment : callable or None
    shuffle : bool or "blocks"
    seed : int
        Of orders, dropout, noise and augmentation.
    steps : int
        S, of an epoch.
    mass : float
        Sum of the weights of all rows.
    sync : bool
        Whether every step is on the average gradient.
    """

    token: str
    version: str
    network: Network
    optimizer: Optimizer
    hyper: Array
    rules: Rules
    engine: str
    n_threads: int
    augment: Any
    shuffle: bool | str
    seed: int
    steps: int
    mass: float
    sync: bool
    rate_factor: float


class Held(NamedTuple):
    """What a round begins with and ends in.

    Attributes
    ----------
    theta, memory, average : arrays
        As in `RunState`.
    statistics : float64 array
        The constants of the layers that normalise.
    t : int
        Steps taken.
    cost : float
        Weighted sum of costs and penalties since the client last looked.
    seconds : float
        Time that the tasks have taken since then, on one core.
    nabla : array
        The last step's gradient; empty if nobody asks.
    fault : str
        What stopped being finite, and where; "" if all is well.
    """

    theta: Array
    memory: Array
    average: Array
    statistics: Array
    t: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    nabla: Array = np.zeros(0)
    fault: str = ""


class Outcome(NamedTuple):
    """What one partition, or several, made of a round.

    Attributes
    ----------
    weight : float
        Of the rows that were gone through.
    cost, seconds, fault :
        As in `Held`.
    arrays : list of arrays
        Their averages, in the order of `Held`: theta, memory, average, statistics, nabla; where
        every step is synchronous only the last two.
    """

    weight: float
    cost: float
    seconds: float
    fault: str
    arrays: list[Array]


class Round(NamedTuple):
    """Which steps: from `first` to before `last` of an epoch, and the learning rate of each."""

    epoch: int
    first: int
    last: int
    rates: Array
    with_gradient: bool


def statistics_at(network: Network) -> Index:
    """Where in a network's constants the statistics are that training changes."""
    found = [np.zeros(0, np.int64)]
    for l in range(1, network.L + 1):
        start, _, n = network.parameter_tables[2, l]
        if network.layers[l].statistics is not None:
            found.append(np.arange(start + 1, start + n))  # less the step
    return np.concatenate(found)


def batch_rows(asked: int | str, sizes: list[int]) -> int:
    """Rows of all partitions in a batch.

    Parameters
    ----------
    asked : int or "auto"
        "auto": 200, and at least 8 of each partition.
    sizes : list of int
        Rows of the partitions.
    """
    filled = sum(n > 0 for n in sizes)
    m = max(200, LEAST_ROWS * filled) if asked == "auto" else int(asked)
    return min(m, sum(sizes))


def batches(n: int, steps: int, first: int, last: int) -> list[tuple[int, int, int, int]]:
    """How n rows make the steps from `first` to before `last` of an epoch of so many.

    The first n mod S batches have one row more than the others; batches of no rows are left out.

    Returns
    -------
    list of (rows in a batch, first row, first step, last step)
        At most two stretches of steps, by places in the epoch's order.
    """
    q, more = divmod(n, steps)
    found = []
    for m, low, high in ((q + 1, 0, more), (q, more, steps)):
        begin, end = max(first, low), min(last, high)
        if begin < end and m:
            found.append((m, begin * q + min(begin, more), begin, end))
    return found


class _Pool:
    """Descents that are free to be used: of one only its buffers count, all else is set anew."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.free: OrderedDict[str, dict[int, list[Descent]]] = OrderedDict()

    def take(self, settings: Settings, m: int) -> Descent:
        """One with room for batches of m rows."""
        with self.lock:
            free = self.free.setdefault(settings.token, {}).setdefault(m, [])
            self.free.move_to_end(settings.token)
            while len(self.free) > FITS_KEPT:
                self.free.popitem(last=False)
            if free:
                return free.pop()
        optimizer, rules, hyper = settings.optimizer, settings.rules, settings.hyper
        if settings.sync:  # a step of rate 0 leaves its gradient behind, and nothing else
            optimizer, hyper = OPTIMIZERS["sgd"], np.zeros(1)
            rules = Rules(cost_scale=rules.cost_scale, error_scale=rules.error_scale)
        augmentation = None if settings.augment is None else Augmentation(settings.augment, 0)
        return Descent(
            settings.network.copy(),
            optimizer,
            hyper.copy(),
            m,
            settings.engine,
            rules,
            settings.n_threads,
            augmentation,
        )

    def give_back(self, settings: Settings, m: int, descent: Descent) -> None:
        """Let other tasks use it."""
        with self.lock:
            if settings.token in self.free:
                self.free[settings.token][m].append(descent)


_pool = _Pool()


def steps(settings: Settings, held: Held, ready: Ready, p: int, now: Round) -> Outcome:
    """Take a partition's steps of a round, or compute its gradient of one step.

    Parameters
    ----------
    settings : Settings
    held : Held
        What the round begins with; it is not changed.
    ready : Ready
        The partition.
    p : int
        Its number.
    now : Round
    """
    began = time.perf_counter()
    if settings.version != __version__:
        raise RuntimeError(
            f"a worker has chainrule {__version__}, the client has {settings.version}; install "
            "the same version everywhere"
        )
    n = len(ready.X)
    todo = batches(n, settings.steps, now.first, now.last)
    if held.fault or not todo:
        return Outcome(0.0, 0.0, 0.0, held.fault, [])
    order = _order(settings, ready, p, now.epoch)
    most = -(-n // settings.steps)
    descent = _pool.take(settings, most)
    _begin(settings, descent, held, ready, p)
    state, weight, cost, fault = descent.state, 0.0, 0.0, ""
    for m, row, first, last in todo:
        rows = order[row : row + m * (last - first)]
        rates = now.rates[first - now.first : last - now.first] * settings.rate_factor
        descent.m = m
        descent.keep()
        cost += descent.epoch(ready.X, ready.Y, rows, ready.weight, rates)
        finite = np.isfinite(cost) and all(
            bool(np.isfinite(each).all()) for each in (state.theta, state.memory, descent.nabla)
        )
        if not finite:
            error = explain(descent, ready.X, ready.Y, rows, now.epoch, ready.weight, rates)
            fault = f"partition {p}: {error}"
            break
        weight += float(len(rows) if ready.weight is None else ready.weight[rows].sum())
    nabla = descent.nabla.copy() if now.with_gradient or settings.sync else np.zeros(0)
    statistics = descent.network.constants[statistics_at(descent.network)]
    arrays = [statistics, nabla]
    if not settings.sync:
        arrays = [state.theta.copy(), state.memory.copy(), state.average.copy(), *arrays]
    _pool.give_back(settings, most, descent)
    return Outcome(weight, cost, time.perf_counter() - began, fault, arrays)


def _order(settings: Settings, ready: Ready, p: int, epoch: int) -> Index:
    """The order of a partition's rows in an epoch: by the seed, its number and the epoch alone."""
    rng = np.random.default_rng([settings.seed, epoch, p])
    n = len(ready.X)
    return draw_order(settings.shuffle, n, ready.X[0].nbytes, -(-n // settings.steps), rng)


def key_of(seed: int, p: int) -> int:
    """A seed for what is drawn in partition p."""
    return int(np.random.SeedSequence([seed, p]).generate_state(1)[0] >> 1)


def _begin(settings: Settings, descent: Descent, held: Held, ready: Ready, p: int) -> None:
    """Put a round's state into a descent, and what the partition has of its own."""
    network, state = descent.network, descent.state
    network.constants[:] = settings.network.constants
    network.constants[statistics_at(network)] = held.statistics
    for layer, l in zip(network.layers, range(network.L + 1), strict=True):
        if layer.is_random and layer.made_by:  # of ours the third constant is the key
            constants = network.constants_of(l)
            constants[2] = key_of(int(constants[2]), p)
    if descent.augmentation is not None:
        descent.augmentation.seed = key_of(settings.seed, p)
    state.theta[:] = held.theta
    state.t = held.t
    if settings.sync:
        return
    state.memory[:], state.average[:] = held.memory, held.average
    share = ready.mass / settings.mass  # of the batch, whose weight the penalties are over
    rules = settings.rules
    descent.rules = rules._replace(
        l2=rules.l2 * share, l1=rules.l1 * share, decay=rules.decay / settings.rate_factor
    )


def rate_factor(optimizer: Optimizer, hyper: Array, masses: Array) -> float:
    """By what partitions multiply the learning rate of their own steps; see the module.

    Parameters
    ----------
    optimizer : Optimizer
    hyper : float64 array
    masses : (P,) float64
        What the partitions weigh. P is taken for 1 / Σ_p share_p², which it is if they are equal.
    """
    shares = masses / masses.sum()
    return float(1 / np.sqrt((shares**2).sum())) if divides_by_size(optimizer, hyper) else 1.0


def divides_by_size(optimizer: Optimizer, hyper: Array) -> bool:
    """Whether twice the gradient does not make an optimiser's steps twice as long."""
    gone = []
    for size in (1.0, 2.0):
        theta, state = np.zeros(1), np.zeros((optimizer.slots, 1))
        with np.errstate(all="ignore"):
            for t in range(1, 21):
                optimizer.step(theta, np.full(1, size), state, hyper.copy(), t)
        gone.append(float(theta[0]))
    return not np.isclose(gone[1], 2 * gone[0], rtol=0.01)


def average(outcomes: list[Outcome]) -> Outcome:
    """The weighted average of several outcomes, one after the other.

    Equal numbers stay as they are, to the bit: a ← a + w (b - a).
    """
    total = Outcome(0.0, 0.0, 0.0, "", [])
    for one in outcomes:
        fault = total.fault or one.fault
        cost, seconds = total.cost + one.cost, total.seconds + one.seconds
        if not one.arrays or fault:
            total = total._replace(cost=cost, seconds=seconds, fault=fault)
            continue
        weight, arrays = total.weight + one.weight, one.arrays
        if total.arrays:
            part = one.weight / weight
            arrays = [
                a + a.dtype.type(part) * (b - a)
                for a, b in zip(total.arrays, one.arrays, strict=True)
            ]
        total = Outcome(weight, cost, seconds, fault, arrays)
    return total


def conclude(settings: Settings, held: Held, outcomes: list[Outcome], now: Round) -> Held:
    """What a round ends in."""
    began = time.perf_counter()
    found = average(outcomes)
    t = held.t + now.last - now.first
    cost, seconds = held.cost + found.cost, held.seconds + found.seconds
    fault = held.fault or found.fault
    if fault or not found.arrays:
        return held._replace(t=t, cost=cost, seconds=seconds, fault=fault)
    if not settings.sync:
        theta, memory, running, statistics, nabla = found.arrays
        return Held(theta, memory, running, statistics, t, cost, seconds, nabla)
    statistics, nabla = found.arrays
    held = held._replace(statistics=statistics, t=t)
    stepped, penalty = take_step(settings, held, nabla, float(now.rates[0]), found.weight)
    seconds += time.perf_counter() - began
    return stepped._replace(cost=cost + penalty, seconds=seconds)


def take_step(
    settings: Settings, held: Held, nabla: Array, rate: float, weight: float
) -> tuple[Held, float]:
    """A step on a gradient, with everything that `kernel.descend` does to one.

    Parameters
    ----------
    settings : Settings
    held : Held
        Its t is the step's number.
    nabla : (P,) array
    rate : float
    weight : float
        Of the rows of the batch.

    Returns
    -------
    held : Held
    penalty : float
    """
    network, rules, optimizer = settings.network, settings.rules, settings.optimizer
    theta, memory, running = held.theta.copy(), held.memory.copy(), held.average.copy()
    nabla, hyper = nabla.copy(), settings.hyper.copy()
    (W, b), (nabla_W, _) = network.views(theta), network.views(nabla)
    slots = memory.reshape(optimizer.slots, theta.size)
    weights, penalty = network.weight_layers(), 0.0
    with np.errstate(all="ignore"):
        for l in weights:
            penalty += regularizers.penalty(W[l], rules.l2, rules.l1)
            l2, l1 = rules.l2 / weight, rules.l1 / weight
            regularizers.add_penalty_gradient(W[l], l2, l1, nabla_W[l])
        if rules.decay:
            for l in range(1, network.L + 1):
                rates, decays = network.layers[l].rate_factors, network.layers[l].decay_factors
                if l in weights:
                    regularizers.shrink(1 - rate * rates[0] * rules.decay * decays[0], W[l])
                if decays[1]:
                    regularizers.shrink(1 - rate * rates[1] * rules.decay * decays[1], b[l])
        if rules.clip_value:
            regularizers.clip_values(rules.clip_value, nabla)
        if rules.clip_norm:
            regularizers.clip_norm(rules.clip_norm, nabla)
        for l in range(1, network.L + 1):
            for kind in (0, 1):
                start, rows, columns = network.parameter_tables[kind, l]
                at = slice(int(start), int(start + rows * columns))
                hyper[0] = rate * network.layers[l].rate_factors[kind]
                part = np.ascontiguousarray(slots[:, at])
                optimizer.step(theta[at], nabla[at], part, hyper, held.t)
                slots[:, at] = part
        if rules.max_norm:
            for l in weights:
                regularizers.limit_norms(rules.max_norm, W[l])
        if rules.average:
            regularizers.follow(rules.average, theta, running)
    return held._replace(theta=theta, memory=memory, average=running, nabla=nabla), penalty
