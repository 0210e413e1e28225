"""Descent over mini-batches: all that a run of steps needs.

It hands the steps of an epoch, or of several short ones, to `kernel.descend_epochs`, plain or
compiled, alone or with worker threads that stay from one run of steps to the next.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from chainrule.base.types import Array, Index
from chainrule.engine import threads
from chainrule.engine.config import threads_asked
from chainrule.engine.kept import Kept, check_kind
from chainrule.equations.optimizers import Optimizer
from chainrule.equations.regularizers import Rules
from chainrule.equations.vecmath import ALONE, ANNOUNCED, QUEUE
from chainrule.network.network import Network
from chainrule.training.arguments import (
    EPOCHS,
    FIXED,
    Buffers,
    Data,
    Fixed,
    Schedule,
    State,
    Traits,
    Worker,
)
from chainrule.training.augmentation import Augmentation
from chainrule.training.executable import executable, fused_layers, step_seconds, traits_of
from chainrule.training.plan import Plan, make_plan
from chainrule.training.state import RunState, StateKeeper

CHUNK = 0.2  # seconds between looks for Ctrl-C
FLUSHED = 1 << 16  # numbers looked at together, so that temporaries are small
FLUSHED_EVERY = 64  # steps, at most: in so many no number goes from kept to denormal
GRADIENTS = 1 << 20  # numbers in the gradients of epochs that are gone through at once
# Seconds of a step, by step_seconds, from which on its rows are cut, for workers or caches.
WORTH_CUTTING = {"numpy": 1e-3, "numba": 1.2e-4}


class Cut(NamedTuple):
    """How batches of so many rows are cut, for how many threads at most, and their buffers.

    `plan` and `traits` are as the engine takes them, `constants_at` is where the network's
    constants lie among those of a block.
    """

    plan: Plan
    traits: Traits
    most: int
    policy: threads.SharingPolicy
    constants: Array
    constants_at: Index | slice
    statistics: Array
    buffers: Buffers


class Bound(NamedTuple):
    """Steps of m rows bound to all arrays that they work on.

    `fixed` is as the engine takes it; `kept` keeps what lies at such an address.
    """

    shared: list[Array]
    m: int
    fixed: Fixed | int
    kept: Kept | None
    share: Array

    def suits(self, shared: list[Array]) -> bool:
        """Whether it is bound to these arrays."""
        return all(map(operator.is_, self.shared, shared))

    def worker(self, hyper: Array) -> Worker:
        """What a thread has of its own; steps write into its copies."""
        weighs = len(self.shared[-1]) > 0
        return Worker(hyper.copy(), self.share.copy() if weighs else self.share)


class ScheduledPool(NamedTuple):
    """Worker threads that stay, and the schedule in which they find the next steps."""

    worker_pool: threads.WorkerPool
    schedule: Schedule
    bound: Bound
    hyper: bytes

    def suits(self, bound: Bound, hyper: Array, workers: int, n: int) -> bool:
        """Whether all are there, do the same, and the schedule is long enough for n steps."""
        same = self.bound is bound and self.hyper == hyper.tobytes()
        enough = len(self.schedule.rates) >= n
        complete = self.worker_pool.complete and self.worker_pool.workers == workers
        return same and enough and complete

    def run(self, steps: Schedule) -> None:
        """Run these steps: they go on in the schedule behind the last ones, round and round."""
        n, length = len(steps.rates), len(self.schedule.rates)
        at = int(self.worker_pool.queue[ANNOUNCED]) % length
        first = min(n, length - at)
        for here, there in zip(self.schedule, steps, strict=True):
            each = len(there) // n
            here[at * each : (at + first) * each] = there[: first * each]
            here[: (n - first) * each] = there[first * each :]
        self.worker_pool.run(n)


class Descent(StateKeeper):
    """Everything that a run over mini-batches needs.

    Parameters
    ----------
    network : Network
        Its theta is changed in place.
    optimizer : Optimizer
    hyper : float64 array
        The optimiser's numbers, which may be changed between epochs.
    m : int
        Rows in a batch.
    engine : {"numpy", "numba"}
    rules : Rules, optional
        Penalties, clipping, decay, norms, averaging. Default: none of them.
    n_threads : int, optional
        At most so many threads. Default: as for :func:`train`.
    augmentation : Augmentation, optional
        Changes the rows of each step. Default: they are learned from as they are.

    Attributes
    ----------
    state : RunState
        What steps change.
    complete : bool
        Whether the epoch that began with :meth:`keep` was completed.
    """

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        hyper: Array,
        m: int,
        engine: str,
        rules: Rules | None = None,
        n_threads: int | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.network, self.optimizer, self.m = network, optimizer, m
        self.engine, self.n_threads = engine, n_threads
        self.rules = Rules._make(map(float, rules or Rules()))
        super().__init__(RunState(network, optimizer, hyper, averages=self.rules.average > 0))
        self._nabla = np.zeros_like(network.theta)
        fused = fused_layers(network, optimizer, self.rules) * (engine == "numba")
        self._traits = traits_of(network, fused)
        self._buffers = [np.zeros(m * sum(network.sizes), network.dtype) for _ in range(3)]
        self._no_weight = network.theta[:0]
        self._no_gradients = np.empty((0, network.theta.size), network.dtype)
        self._cuts: dict[int, Cut] = {}  # by rows
        self._bound: dict[int, Bound] = {}
        self._pools: dict[int, ScheduledPool] = {}
        self._components, self._run = executable(network, optimizer, engine, self.rules, fused)
        self._chunk = max(1, int(CHUNK / step_seconds(network, m)))
        self.augmentation = augmentation
        self._changed: tuple[Array, Array, Array] | None = None
        if augmentation is not None:
            self._chunk = min(self._chunk, augmentation.batches_at_once(m, network.sizes[0]))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """For several epochs: BLAS held to one thread and workers kept between them as well.

        Threads of BLAS's own, once woken, would keep a core busy for a while.
        """
        try:
            with threads.one_blas_thread():
                yield
        finally:
            for pool in self._pools.values():
                pool.worker_pool.stop()
            self._pools.clear()
            self._bound.clear()

    @property
    def nabla(self) -> Array:
        """The last step's gradient, (P,)."""
        return self._nabla[: self.network.theta.size]

    def resized(self, m: int) -> Descent:
        """A descent that goes on with the same state in batches of m rows."""
        state = self.state
        new = Descent(
            self.network,
            self.optimizer,
            state.hyper,
            m,
            self.engine,
            self.rules,
            self.n_threads,
            self.augmentation,
        )
        new.state = state
        return new

    def epoch(
        self,
        X: Array,
        Y: Array,
        order: Index,
        weight: Array | None = None,
        rates: Array | None = None,
    ) -> float:
        """Go once through X and Y in the given order.

        Parameters
        ----------
        X, Y : (N, n_0), (N, n_L)
        order : int64
            Row numbers.
        weight : (N,), optional
            Weights of the samples. Default: all 1.
        rates : float64, one a batch, optional
            Learning rates. Default: the optimiser's throughout.

        Returns
        -------
        float
            Weighted sum of the rows' costs and of the batches' penalties.
        """
        m, n = self.m, len(order)
        if rates is None:
            rates = np.full(-(-n // m), self.state.hyper[0])
        whole = n // m
        total = 0.0
        with threads.one_blas_thread():
            for k in range(0, whole, self._chunk):
                end = min(k + self._chunk, whole)
                total += self.descend(X, Y, weight, order[k * m : end * m], rates[k:end], m)
            if n % m:
                total += self.descend(X, Y, weight, order[whole * m :], rates[whole:], n % m)
        return total

    def epochs_at_once(self, Y: Array, n: int) -> int:
        """How many epochs of n rows :meth:`epochs` may go through from here; at least 1.

        More than one if the steps are alike, one thread takes them, and nothing has to be done
        between them: they are over before Ctrl-C has waited long, and before :meth:`_flush` is due.
        """
        m, every = self.m, min(self._chunk, FLUSHED_EVERY)
        # What a layer writes into its constants would have to go from one plan to the other.
        writes = any(x.statistics or not x.by_row for x in self.network.layers[1:])
        if self.augmentation is not None or n < m or (writes and n % m):
            return 1
        shared = any(self._cut(rows, Y).most > 1 for rows in (m, n % m or m))
        if shared and (threads_asked(self.n_threads) or threads.default_threads()) > 1:
            return 1
        before_flush = every - 1 - self.state.t % every
        in_memory = GRADIENTS // max(1, self.network.theta.size)
        return max(1, min(EPOCHS, in_memory, before_flush // -(-n // m)))

    def epochs(
        self,
        X: Array,
        Y: Array,
        orders: Index,
        weight: Array | None = None,
        rates: Array | None = None,
    ) -> tuple[Array, Array]:
        """Go through X and Y in one order after the other, in one call of the kernel.

        The result has the bits of as many calls of :meth:`epoch`.

        Parameters
        ----------
        X, Y : (N, n_0), (N, n_L)
        orders : (E, n) int64
            Row numbers; E is at most what :meth:`epochs_at_once` gave.
        weight : (N,), optional
        rates : (E, steps of an epoch) float64, optional

        Returns
        -------
        costs : (E,) float64
            What each call of :meth:`epoch` would give.
        gradients : (E, P)
            The gradient of each epoch's last step.
        """
        m, (E, n) = self.m, orders.shape
        if rates is None:
            rates = np.full((E, -(-n // m)), self.state.hyper[0])
        sizes = (m, n % m or m)
        cuts = [self._cut(rows, Y) for rows in sizes]
        weight = self._no_weight if weight is None else weight
        bound = [self._bind(rows, cut, X, Y, weight) for rows, cut in zip(sizes, cuts, strict=True)]
        for cut in cuts:
            cut.buffers.penalties.fill(0)
            cut.buffers.total.fill(0)
            self._put_constants(cut)
        gradients = np.empty((E, self.network.theta.size), self.network.dtype)
        times = np.arange(self.state.t + 1, self.state.t + 1 + rates.size)
        schedule = Schedule(rates.ravel(), times, orders.ravel())
        with threads.reserved(1), threads.one_blas_thread():
            self._call(bound, schedule, gradients, _alone(), 0, rates.size)
        self.state.t += rates.size
        self._take_constants(cuts[0])
        costs = np.zeros(E)
        for cut in cuts[: 2 if n % m else 1]:
            penalties = np.add.reduce(cut.buffers.penalties[:E], axis=1)
            costs += cut.buffers.total[:E] + penalties
        return costs, gradients

    def _flush(self) -> None:
        """Set to 0 what the optimiser remembers of units long dead.

        Left alone, it would shrink to where numbers lose digits, and there processors are slow.
        """
        small = np.finfo(self.network.dtype).tiny ** 0.75
        memory = self.state.memory
        for k in range(0, len(memory), FLUSHED):
            part = memory[k : k + FLUSHED]
            np.multiply(part, np.abs(part) >= small, part)

    def descend(
        self,
        X: Array,
        Y: Array,
        weight: Array | None,
        order: Index,
        rates: Array,
        m: int,
    ) -> float:
        """Take a step for every m rows of the order; returns the sum of costs and penalties."""
        if self.augmentation is not None:
            X, Y, weight = self._augmented(self.augmentation, X, Y, weight, order, m)
            order = np.arange(len(order))
        cut = self._cut(m, Y)
        cut.buffers.penalties[0].fill(0)
        cut.buffers.total[0] = 0
        self._put_constants(cut)
        state = self.state
        steps = Schedule(rates, np.arange(state.t + 1, state.t + 1 + len(rates)), order)
        weight = self._no_weight if weight is None else weight
        bound = self._bind(m, cut, X, Y, weight)
        most = cut.most if cut.policy.choose() else 1
        with threads.reserved(most, threads_asked(self.n_threads)) as workers:
            # Where others left no thread for workers, the time says nothing of them.
            is_noted = cut.most > 1 and (workers > 1) == (most > 1)
            if is_noted:
                began, worked = time.perf_counter(), time.thread_time()
            if workers > 1:
                self._pool(workers, m, bound, len(rates)).run(steps)
            else:
                self._call((bound, bound), steps, self._no_gradients, _alone(), 0, len(rates))
        every = min(self._chunk, FLUSHED_EVERY)
        passed = state.t // every
        state.t += len(rates)
        if state.t // every > passed:
            self._flush()
        if is_noted:
            seconds, worked = time.perf_counter() - began, time.thread_time() - worked
            cut.policy.note(workers > 1, seconds / len(rates), worked / seconds)
        self._take_constants(cut)
        return float(cut.buffers.total[0] + np.add.reduce(cut.buffers.penalties[0]))

    def _put_constants(self, cut: Cut) -> None:
        """The network's constants, into those of each block."""
        if self.network.constants.size:
            cut.constants[:, cut.constants_at] = self.network.constants

    def _take_constants(self, cut: Cut) -> None:
        """The constants that steps left, into the network, which predicts from here on."""
        network = self.network
        if network.constants.size:
            network.constants[:] = cut.constants[0, cut.constants_at]
            network.constants[network.steps_at] = 0

    def _augmented(
        self,
        augmentation: Augmentation,
        X: Array,
        Y: Array,
        weight: Array | None,
        order: Index,
        m: int,
    ) -> tuple[Array, Array, Array | None]:
        """The rows in this order, changed. Worker threads find them in the same arrays as before.

        The arrays hold more rows than are used: `order` says which are there.
        """
        n = len(order)
        found = self._changed
        if found is None or len(found[0]) < n or found[1].shape[1:] != Y.shape[1:]:
            sizes = [(n, X.shape[1]), (n, *Y.shape[1:]), (n,)]
            found = self._changed = tuple(np.zeros(size, X.dtype) for size in sizes)  # type: ignore[assignment]
        assert found is not None
        found[0][:n] = augmentation.changed(X[order], self.state.t + 1, m)
        found[1][:n] = Y[order]
        if weight is None:
            return found[0], found[1], None
        found[2][:n] = weight[order]
        return found

    def _cut(self, m: int, Y: Array) -> Cut:
        """How m rows are cut, and their buffers; targets may be fewer than outputs."""
        cut = self._cuts.get(m)
        if cut is None or cut.buffers.y.shape[1:] != Y.shape[1:]:
            worth = step_seconds(self.network, m) > WORTH_CUTTING[self.engine]
            plan = make_plan(self.network, m, self.optimizer.slots, worth)
            n_blocks = len(plan.blocks)
            shared = self.engine == "numba" and n_blocks > 1
            traits = self._traits
            if len(plan.W_blocks):  # each block of rows has a gradient, to be added up
                traits = traits._replace(is_fused=np.zeros_like(traits.is_fused))
            size = max(1, len(plan.W_blocks)) * self.network.theta.size
            if self.engine == "numpy":  # lists are quicker there
                plan, traits = Plan._make(map(_as_list, plan)), Traits._make(map(_as_list, traits))
            z, a, delta = self._buffers
            cut = self._cuts[m] = Cut(
                plan,
                traits,
                max(n_blocks, len(plan.chunks) - 1) if shared else 1,
                threads.SharingPolicy(),
                np.zeros((n_blocks, int(self.network.tables(m)[3, :, 2].sum()))),
                _as_slice(self.network.constants_at(m)),
                np.zeros(n_blocks * self.network.n_statistics),
                Buffers(
                    z,
                    a,
                    delta,
                    np.zeros((m, *Y.shape[1:]), Y.dtype),
                    np.zeros(m, self.network.dtype),
                    np.zeros((EPOCHS, len(plan.layer_of))),
                    np.zeros(EPOCHS),
                ),
            )
            if self._nabla.size < size:
                self._nabla = np.zeros(size, self.network.dtype)
        return cut

    def _pool(self, workers: int, m: int, bound: Bound, n: int) -> ScheduledPool:
        """The worker threads of before if they are there and do the same, else new ones."""
        pool = self._pools.get(m)
        if pool is not None:
            if pool.suits(bound, self.state.hyper, workers, n):
                return pool
            pool.worker_pool.stop()
        schedule = Schedule(np.zeros(n), np.zeros(n, np.int64), np.zeros(n * m, np.int64))
        queue = np.zeros(QUEUE, np.int64)
        run = partial(self._call, (bound, bound), schedule, self._no_gradients, queue)
        worker_pool = threads.WorkerPool(run, queue, workers)
        hyper = self.state.hyper.tobytes()
        pool = self._pools[m] = ScheduledPool(worker_pool, schedule, bound, hyper)
        return pool

    def _bind(self, m: int, cut: Cut, X: Array, Y: Array, weight: Array) -> Bound:
        """Steps of m rows bound to all that they work on, as before if it is the same."""
        state = self.state
        shared = [state.theta, state.memory, state.average, self._nabla, X, Y, weight]
        bound = self._bound.get(m)
        if bound is not None and bound.suits(shared):
            return bound
        theta, compiled = state.theta, self.engine == "numba"
        changed = State(
            theta,
            self._nabla,
            state.memory,
            state.average,
            cut.constants.ravel(),
            cut.statistics,
        )
        fixed = Fixed(
            self._components,
            changed,
            cut.plan,
            cut.traits,
            cut.buffers,
            Data(X, Y, weight),
            self.rules,
        )
        kept = Kept(fixed, FIXED, theta.dtype) if compiled else None
        share = np.full((m, 1), 1 / m, theta.dtype)
        bound = self._bound[m] = Bound(shared, m, kept.address if kept else fixed, kept, share)
        return bound

    def _call(
        self,
        bound: Sequence[Bound],
        schedule: Schedule,
        gradients: Array,
        queue: Index,
        first: int,
        steps: int,
    ) -> None:
        """Call the kernel on what is bound: batches of m rows, and the last of an epoch."""
        whole, rest = bound
        worker = whole.worker(self.state.hyper)
        rest_worker = worker if rest is whole else rest.worker(self.state.hyper)
        if whole.kept is None:
            schedule = Schedule._make([*map(_as_list, schedule[:2]), schedule.order])
        else:
            check_kind("rates", schedule.rates, "H", self.network.dtype)
            check_kind("order", schedule.order, "A", self.network.dtype)
        self._run(
            whole.fixed,
            rest.fixed,
            worker,
            rest_worker,
            schedule,
            gradients,
            whole.m,
            queue,
            first,
            steps,
        )


def _alone() -> Index:
    """A work queue for one thread alone."""
    queue = np.zeros(QUEUE, np.int64)
    queue[ALONE] = 1
    return queue


def _as_slice(places: Index) -> Index | slice:
    """Places as a slice, which is quicker, if they lie one after the other; else as they are."""
    n = len(places)
    together = n > 0 and bool((places == np.arange(places[0], places[0] + n)).all())
    return slice(int(places[0]), int(places[0]) + n) if together else places


def _as_list(x: Any) -> Any:
    """A vector as a list; anything else as it is."""
    return x.tolist() if isinstance(x, np.ndarray) and x.ndim == 1 else x
