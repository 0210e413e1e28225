"""The course of a fit on the client: it submits rounds, and keeps what each of them began with."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from dask import delayed
from distributed import Future
from sklearn.exceptions import ConvergenceWarning

from chainrule.base.types import Array, Index
from chainrule.base.validation import warn_user
from chainrule.dask import rounds, scores
from chainrule.dask.partitions import Size
from chainrule.dask.rounds import FAN_IN, Held, Round, Settings, statistics_at
from chainrule.dask.work import GONE, LOST, Work, as_is, leaf
from chainrule.estimators.epochs import NON_FINITE, Fit, Rates, Watch, run_fit
from chainrule.monitoring.callbacks import StateCallback
from chainrule.network.network import Network
from chainrule.training.state import RunState, StateKeeper

ROUNDS_AT_ONCE = 8  # submitted together; the client keeps what the first of them began with
OVERHEAD = 0.2  # part of a round's time that local_steps="auto" lets its overhead take
MOST_LOCAL_STEPS = 64
PROBED = 4  # steps of the round that local_steps="auto" times


class Averaged(StateKeeper):
    """What the client holds between rounds, in the place of a `Descent`."""

    def __init__(self, settings: Settings, network: Network, m: int) -> None:
        averages = settings.rules.average > 0
        super().__init__(RunState(network, settings.optimizer, settings.hyper, averages))
        self.network, self.rules, self.engine, self.m = network, settings.rules, settings.engine, m
        self.nabla: Array = np.zeros_like(network.theta)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Nothing is held to while the cluster works."""
        yield

    def held(self) -> Held:
        """What a round begins with."""
        state, at = self.state, statistics_at(self.network)
        copies = [each.copy() for each in (state.theta, state.memory, state.average)]
        return Held(copies[0], copies[1], copies[2], state.constants[at], state.t)

    def take(self, held: Held) -> None:
        """Go on from what rounds ended in."""
        state = self.state
        if held.fault:
            state.theta[:] = np.nan  # what follows sees that the epoch was not completed
            return
        state.theta[:], state.memory[:], state.average[:] = held.theta, held.memory, held.average
        state.constants[statistics_at(self.network)] = held.statistics
        state.t = held.t
        if held.nabla.size:
            self.nabla = held.nabla


class Cluster:
    """The cluster as it is used by one fit: its partitions, and how rounds run on them.

    Parameters
    ----------
    work : Work
    prepare : callable () -> list of futures
        Makes the partitions that are learned from once more, if they are lost.
    parts : list of futures
    sizes : list of Size
    settings : Settings
    """

    def __init__(
        self,
        work: Work,
        prepare: Callable[[], list[Future]],
        parts: list[Future],
        sizes: list[Size],
        settings: Settings,
    ) -> None:
        self.work, self.prepare, self.sizes, self.settings = work, prepare, sizes, settings
        self.parts: list[Future] | None = parts
        self._shared = work.share("settings", settings)

    @property
    def shared(self) -> Any:
        """A future of the settings."""
        if self._shared.status in GONE:
            self._shared = self.work.share("settings", self.settings)
        return self._shared

    def run(self, held: Held, todo: Sequence[Round]) -> Held:
        """Run some rounds, one after the other."""

        def once() -> Held:
            if self.parts is None:
                self.parts = self.prepare()
            name, round_name = self.work.new("steps"), self.work.new("average")
            now: Any = delayed(as_is)(leaf(held), dask_key_name=self.work.new("state")(0))
            for k, one in enumerate(todo):
                now = self._round(now, one, functools.partial(name, k), round_name, k)
            future = self.work.submit([now])[0]
            try:
                self.work.wait([future])
                found = future.result()
            except KeyboardInterrupt:
                future.cancel()
                raise
            except LOST:
                self.parts = None
                raise
            assert isinstance(found, Held)
            return found

        found = self.work.persistently(once)
        assert isinstance(found, Held)
        return found

    def _round(self, held: Any, one: Round, name: Any, average_name: Any, k: int) -> Any:
        """The Delayed result of a round: tasks for the partitions, averaged in a tree."""
        assert self.parts is not None
        now = leaf(one)
        taking, averaging = delayed(rounds.steps, pure=False), delayed(rounds.average, pure=False)
        tasks = [
            taking(self.shared, held, part, p, now, dask_key_name=name(p))
            for p, part in enumerate(self.parts)
            if rounds.batches(self.sizes[p].n, self.settings.steps, one.first, one.last)
        ]
        level = 0
        while len(tasks) > FAN_IN:
            level += 1
            tasks = [
                averaging(tasks[i : i + FAN_IN], dask_key_name=average_name(k, level, i))
                for i in range(0, len(tasks), FAN_IN)
            ]
        return delayed(rounds.conclude, pure=False)(
            self.shared, held, tasks, now, dask_key_name=average_name(k, 0, 0)
        )

    def probe(self, held: Held, rates: Array) -> tuple[float, float]:
        """Seconds that a round takes beside its steps, and that a step takes in it."""
        nothing, some = (
            Round(0, 0, k, rates[:k], False) for k in (0, min(PROBED, self.settings.steps))
        )
        seconds = []
        for _ in range(3):  # the first is slower
            began = time.perf_counter()
            self.run(held, [nothing] * 2)
            seconds.append((time.perf_counter() - began) / 2)
        for _ in range(2):  # the first may compile
            found = self.run(held, [some])
        n_threads = max(1, sum(self.work.client.nthreads().values()))
        overhead = sorted(seconds)[1] + 1e-3 * len(
            self.sizes
        )  # a partition's task, on the scheduler
        workers = min(n_threads, len(self.sizes))
        return overhead, found.seconds / (some.last * workers)


class Counted:
    """How much is learned from, in the place of `Samples`."""

    def __init__(self, sizes: list[Size]) -> None:
        self.n = sum(one.n for one in sizes)
        self._mass = math.fsum(one.mass for one in sizes)

    def mass(self) -> float:
        """Sum of the weights."""
        return self._mass


class ClusterWatch(Watch):
    """Keeps what a fit has come to; the validation set is on the cluster."""

    def __init__(self, est: Any, averaged: Any, epochs: int, cluster: Cluster, held: Any) -> None:
        self.cluster, self.local_steps = cluster, 0
        self.overhead: float | None = None
        super().__init__(est, averaged, held, epochs, (None, None, None))

    def record(
        self, descent: Any, nabla: Array, loss: float, rate: float, seconds: float
    ) -> dict[str, Any]:
        """Take note of an epoch, and of how it was cut into rounds."""
        row = super().record(descent, nabla, loss, rate, seconds)
        row |= {
            "strategy": "sync" if self.cluster.settings.sync else "local",
            "local_steps": self.local_steps,
            "rounds": -(-self.cluster.settings.steps // self.local_steps),
            "round_overhead": self.overhead,
        }
        return row

    def _validate(self, descent: Any) -> tuple[float, float]:
        """Loss and score, summed over the partitions of the validation set."""
        work = self.cluster.work
        with descent.state.averaged() as network:
            theta, constants = network.theta.copy(), network.constants.copy()

        def once() -> list[Any]:
            name = work.new("validate")
            model = delayed(as_is)(leaf((theta, constants)), dask_key_name=name("parameters"))
            task = delayed(scores.of_validation, pure=False)
            futures = work.submit(
                [
                    task(
                        self.validation.est, self.cluster.shared, model, part, dask_key_name=name(p)
                    )
                    for p, part in enumerate(self.validation.parts())
                ]
            )
            return work.gather(futures)

        loss, score = scores.total(work.persistently(once))
        return loss, -loss if self.est.scoring == "loss" else score


class Rounds(Fit):
    """The epochs of a fit, in rounds on a cluster.

    Parameters
    ----------
    est, averaged, counted, epochs, watch, rates, resume :
        As a `Fit` takes them.
    cluster : Cluster
    local_steps : int or "auto"
        Steps in a round.
    """

    descent: Any
    watch: Any

    def __init__(
        self,
        est: Any,
        averaged: Averaged,
        counted: Any,
        epochs: int,
        watch: ClusterWatch,
        rates: Rates,
        resume: StateCallback | None,
        cluster: Cluster,
        local_steps: int | str,
    ) -> None:
        given: Any = averaged
        super().__init__(est, given, counted, epochs, watch, rates, 0, resume)
        self.cluster, self.fault = cluster, ""
        self.order = np.arange(0)
        self.local_steps = 0  # not chosen yet
        if cluster.settings.sync:
            self.local_steps = 1
        elif local_steps != "auto":
            self.local_steps = min(int(local_steps), cluster.settings.steps)

    def resumed(self) -> int:
        """Go on from a state that was stored, if there is one; returns how many epochs are done."""
        if self.resume is None:
            return 0
        sizes = [
            *self.cluster.sizes,
            *(self.watch.validation.sizes if self.watch.validation else []),
        ]
        data = [np.array([f"{one.n} {one.digest}" for one in sizes])]
        first, self.order = self.resume.restore(
            self.est, self.descent, self.watch, self.rates, self.order, data
        )
        if first:
            row = self.est.history_[-1]
            for name, asked in (("strategy", self.strategy), ("local_steps", self.local_steps)):
                if asked and row.get(name) != asked:
                    raise ValueError(
                        f"the stored state belongs to another fit, with {name}={row.get(name)!r}; "
                        f"this one has {asked!r}. Remove the file to start afresh"
                    )
        return first

    @property
    def strategy(self) -> str:
        """How gradients or parameters are averaged."""
        return "sync" if self.cluster.settings.sync else "local"

    def draw(self, epoch: int) -> tuple[Index, Array]:
        """No order, as each task draws its own; and the rates by the schedule."""
        return self.order, self.rates.of_epoch(self.done + epoch)

    def at_once(self) -> int:
        """One: each epoch has its own rounds."""
        return 1

    def go_through(self, order: Index, rates: Array | None) -> float:
        """Run an epoch's rounds; returns the mean loss with its penalties."""
        assert rates is not None
        watch, S = self.watch, self.cluster.settings.steps
        if not self.local_steps:
            self._choose(rates)
        watch.local_steps = self.local_steps
        n_rounds = -(-S // self.local_steps)
        edges = [S * r // n_rounds for r in range(n_rounds + 1)]
        epoch, held = len(self.est.loss_curve_), self.descent.held()
        for r in range(0, n_rounds, ROUNDS_AT_ONCE):
            todo = [
                Round(epoch, low, high, rates[low:high], k == n_rounds - 1)
                for k, (low, high) in enumerate(pairwise(edges))
                if r <= k < r + ROUNDS_AT_ONCE
            ]
            held = self.cluster.run(held, todo)
        self.fault = held.fault
        self.descent.take(held)
        return float(held.cost / self.mass)

    def _choose(self, rates: Array) -> None:
        """Choose how many steps a round has: as in the epochs before, or by the time they take."""
        rows = self.est.history_
        if self.est.n_iter_ and rows and "local_steps" in rows[-1]:  # the fit was resumed
            self.local_steps = rows[-1]["local_steps"]
            self.watch.overhead = rows[-1]["round_overhead"]
            return
        overhead, step = self.cluster.probe(self.descent.held(), rates)
        self.watch.overhead = overhead
        self.local_steps = chosen_steps(overhead, step, self.cluster.settings.steps)

    def diverged(self, epoch: int, order: Index, rates: Array | None) -> None:
        """Stop with the best parameters if there are some, else raise and say where it began."""
        est = self.est
        self.descent.restore()
        said = self.fault or "a cost or parameter is not finite"
        if self.watch.best is None:
            raise ValueError(f"{NON_FINITE} ({said})")
        if est.validation_scores_ is not None:
            est.validation_scores_.append(math.nan)
        warn_user(f"{said}; the best parameters so far are put back", ConvergenceWarning)


def chosen_steps(overhead: float, step: float, steps: int) -> int:
    """The smallest power of 2 of local steps with which a round's overhead is small enough.

    Parameters
    ----------
    overhead : float
        Seconds that a round takes beside its steps.
    step : float
        Seconds that a step takes.
    steps : int
        Of an epoch: no round has more.
    """
    wanted = overhead * (1 / OVERHEAD - 1) / max(step, 1e-9)
    k = 1
    while k < min(wanted, MOST_LOCAL_STEPS):
        k *= 2
    return min(k, MOST_LOCAL_STEPS, steps)


def run(
    est: Any,
    cluster: Cluster,
    network: Network,
    m: int,
    held: Any,
    local_steps: int | str,
    resume: StateCallback | None,
) -> None:
    """Train an estimator on a cluster and set its attributes."""
    averaged = Averaged(cluster.settings, network, m)
    if averaged.state.average.size:
        averaged.state.average[:] = network.theta
    counted: Any = Counted(cluster.sizes)
    epochs = est.max_iter
    est.n_iter_ = 0
    watch = ClusterWatch(est, averaged, epochs, cluster, held)
    rates = Rates(est, counted.n, m, epochs)
    run_fit(Rounds(est, averaged, counted, epochs, watch, rates, resume, cluster, local_steps))
