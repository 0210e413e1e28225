"""Everything that the epochs of an ensemble's training need, and what they remember."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from chainrule.base.types import Array, Index
from chainrule.engine import compilation, threads
from chainrule.engine.config import threads_asked
from chainrule.ensembles import kernel, prediction_lookups
from chainrule.ensembles.inputs import InputLayout
from chainrule.ensembles.kernel import Components, Data, Numbers, Schedule, State, Worker
from chainrule.ensembles.parameters import Arrangement
from chainrule.ensembles.settings import (
    BETA_1,
    BETA_2,
    EPSILON,
    EnsembleSettings,
    late_factors,
    rate_factors,
)
from chainrule.equations.activations import ACTIVATIONS
from chainrule.equations.columns import Encoded
from chainrule.equations.losses import FUSED, LOSSES
from chainrule.equations.vecmath import ABORTED, ALONE, QUEUE
from chainrule.training.divergence import DivergenceError
from chainrule.training.train import decided_engine

DTYPE = np.dtype(np.float32)  # that ensembles train in
# Seconds of estimated work in NumPy from which on "auto" compiles, once on a machine: whoever
# learns from a table does so again, and then compiled code takes a tenth of the time.
WORTH_COMPILING = 0.05
LOOK = 0.2  # seconds between looks for Ctrl-C
COST_ROWS = 1 << 14  # whose costs are computed together
LINE = 64  # bytes
TINY = float(np.finfo(np.float32).tiny) ** 0.75


class Loop:
    """The training of an ensemble, epoch by epoch.

    Parameters
    ----------
    x : Encoded
    Y : (n, K)
    weight : (n,)
    folds : (n,) int64
    settings : EnsembleSettings
    arrangement : Arrangement
    theta : (P,)
        Starting values; copied.
    loss : {"softmax", "squared"}
    seed : int
        Of the orders of the rows.
    key : int
        Of the random bits.
    engine : {"numpy", "numba"}
    n_threads : int, optional
    """

    def __init__(
        self,
        x: Encoded,
        Y: Array,
        weight: Array,
        folds: Index,
        settings: EnsembleSettings,
        arrangement: Arrangement,
        theta: Array,
        *,
        loss: str,
        seed: int,
        key: int,
        engine: str,
        n_threads: int | None = None,
    ) -> None:
        self.x, self.settings, self.plan = x, settings, arrangement.plan
        self.engine, self.n_threads, self.loss, self.seed = engine, n_threads, loss, seed
        dtype, P = theta.dtype, len(theta)
        sizes = (P, arrangement.nabla_size, P, P, P)
        self.state = State(*(aligned(size, dtype) for size in sizes))
        self.state.theta[:] = self.state.average[:] = theta
        n, F = len(Y), settings.folds
        mass = np.bincount(folds, weight, F)
        self.steps = max(1, round(n / settings.batch))
        window = -(-n // self.steps)
        # A window has `window` rows, of whose weight a member sees that outside of its fold.
        seen = np.maximum(mass.sum() - mass, 1e-12)
        fold_rows = np.argsort(folds, kind="stable")
        if loss == "squared":
            low, high = Y.min(axis=0), Y.max(axis=0)
        else:
            low, high = np.zeros_like(Y[0]), np.ones_like(Y[0])
        self.data = Data(
            Y,
            weight,
            folds,
            n / (seen * (n / self.steps)),
            fold_rows,
            np.searchsorted(folds[fold_rows], np.arange(F + 1)),
            low,
            high,
            np.zeros_like(Y),
        )
        self._order, self._windows = (
            np.zeros(n, np.int64),
            np.arange(self.steps + 1) * n // self.steps,
        )
        self.plan_epochs(settings.epochs)
        self.numbers = Numbers(1 - BETA_1, 1 - BETA_2, EPSILON, key)
        self._components, self._run = _executable(settings.activation, loss, engine, theta.dtype)
        in_block = int(np.diff(self.plan.blocks).max())
        self._most_rows = in_block * window
        seconds = in_block * len(self.plan.blocks) * step_seconds(self.plan, window)["numba"]
        self._steps_at_once = max(1, int(LOOK / seconds))
        self._start = theta
        self._workers: list[Worker] = []

    def plan_epochs(self, epochs: int) -> None:
        """Let the schedules end with so many epochs, from the next step on."""
        settings, total = self.settings, self.steps * epochs
        t = np.arange(1, total + 1)
        late = late_factors(total)
        follows = np.full(total, 1 - settings.ema)
        follows[0] = 1.0
        self.schedule = Schedule(
            settings.learning_rate * rate_factors(total, settings.warm_up),
            settings.dropout * np.where(settings.dropout * late > 0.01, late, 0),
            settings.decay * late,
            follows,
            1 / np.sqrt(1 - BETA_2**t),
            1 / (1 - BETA_1**t),
            self._order,
            self._windows,
        )

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """For all epochs: BLAS held to one thread."""
        with threads.one_blas_thread():
            yield

    def order(self, epoch: int) -> None:
        """Draw the order of an epoch's rows: a pure function of seed and epoch."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed % (1 << 64), epoch]))
        self.schedule.order[:] = rng.permutation(len(self.schedule.order))

    def epoch(self, epoch: int) -> None:
        """Take the steps of an epoch, then predict every row by who never learnt from it."""
        self.order(epoch)
        self.data.outside[:] = 0
        for first in range(0, self.steps, self._steps_at_once):
            end = min(first + self._steps_at_once, self.steps)
            self.run(epoch, first, end, end == self.steps)
        for array in (self.state.m, self.state.v):  # see `Descent`: a memory ends in denormals
            np.multiply(array, np.abs(array) >= TINY, array)

    def run(self, epoch: int, first: int, end: int, validates: bool) -> None:
        """Take some steps of an epoch, with as many threads as there may be."""
        most = max(len(self.plan.blocks) - 1, 1) if self.engine == "numba" else 1
        with threads.reserved(most, threads_asked(self.n_threads)) as workers:
            queue = np.zeros(QUEUE, np.int64)
            queue[ALONE] = workers == 1
            while len(self._workers) < workers:
                self._workers.append(self._worker())

            def work(number: int) -> None:
                self._run(
                    self._components,
                    self.state,
                    self.plan,
                    self.x,
                    self.data,
                    self.schedule,
                    self.numbers,
                    self._workers[number],
                    queue,
                    epoch * self.steps,
                    first,
                    end,
                    int(validates),
                )

            def abort() -> None:
                queue[ABORTED] = 1

            if workers == 1:
                work(0)
            else:
                threads.side_by_side(work, workers, abort)

    def _worker(self) -> Worker:
        plan, dtype, M = self.plan, self.state.theta.dtype, self._most_rows
        widths = plan.widths
        h, D = int(widths[1]), int(plan.W[0, 1, 1])
        rows = D + self.x.bins.shape[1]
        size = M * int(widths.sum())
        return Worker(
            np.zeros(M, np.int64),
            np.zeros(len(plan.W) + 1, np.int64),
            np.zeros((M, 1), dtype),
            np.zeros((M, int(widths[-1])), dtype),
            aligned(size, dtype),
            aligned(size, dtype),
            aligned(size, dtype),
            aligned(size, dtype),
            np.zeros((len(widths), 3), np.int64),
            aligned(rows * h, dtype).reshape(rows, h),
            aligned(rows * h, dtype).reshape(rows, h),
            np.zeros(h, dtype),
            np.zeros(h, dtype),
            np.zeros(M * int(widths[1:-1].max()) // 4 + 2, np.uint64),
            np.zeros(0),
        )

    def outside_loss(self) -> float:
        """The loss of the ensemble on every row, by the members that never learnt from it."""
        data, k = self.data, self.settings.members
        rows = data.fold_rows[: data.fold_starts[min(k, self.settings.folds)]]
        total = mass = 0.0
        for first in range(0, len(rows), COST_ROWS):
            at = rows[first : first + COST_ROWS]
            cost = costs(data.outside[at], data.Y[at], self.loss)
            total += float(np.dot(cost, data.weight[at]))
            mass += float(data.weight[at].sum())
        return total / max(mass, 1e-300)

    def explain(self, epoch: int) -> DivergenceError:
        """Say where numbers began that are not finite, at the end of an epoch.

        All epochs are replayed, to the same bits unless the schedules were shortened meanwhile: to
        remember the parameters from before each would slow down every training.
        """
        state = self.state
        state.theta[:] = state.average[:] = self._start
        state.m[:] = state.v[:] = 0
        for before in range(epoch):
            self.epoch(before)
        self.order(epoch)
        for k in range(self.steps):
            self.run(epoch, k, k + 1, False)
            for what, array, tables in (
                ("the gradient", state.nabla, (self.plan.nabla_W, self.plan.nabla_b)),
                ("the parameters", state.theta, (self.plan.W, self.plan.b)),
            ):
                if np.isfinite(array).all():
                    continue
                for i in range(len(self.plan.W)):
                    for l in range(1, len(self.plan.widths)):
                        for table in tables:
                            offset, rows, columns = table[i, l].tolist()
                            if not np.isfinite(array[offset : offset + rows * columns]).all():
                                rate = self.schedule.rates[epoch * self.steps + k]
                                return DivergenceError(
                                    f"training diverged in epoch {epoch}, batch {k}: {what} of "
                                    f"layer {l} of member {i} of the ensemble is not finite. Lower "
                                    f"the learning rate (it is {rate:g}), or scale the inputs and "
                                    "targets to about 1",
                                    epoch,
                                    k,
                                    l,
                                )
        return DivergenceError(
            f"training diverged in epoch {epoch}: predictions outside of the folds are not "
            "finite. Scale the inputs and targets to about 1",
            epoch,
            self.steps - 1,
            len(self.plan.widths) - 1,
        )


def aligned(size: int, dtype: Any) -> Array:
    """Zeros that start at a cache line: vectors of the processor then stay within one."""
    dtype = np.dtype(dtype)
    raw = np.zeros(size * dtype.itemsize + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + size * dtype.itemsize].view(dtype)


def costs(predicted: Array, Y: Array, loss: str) -> Array:
    """Each row's cost, in double precision: -Σ y log p, or the squared error, summed over targets.

    A probability counts as 1e-7 at least.
    """
    P, Y = predicted.astype(np.float64), Y.astype(np.float64)
    if loss == "squared":
        return np.asarray(((P - Y) ** 2).sum(axis=1))
    return np.asarray(-(Y * np.log(np.maximum(P, 1e-7))).sum(axis=1))


def _executable(
    activation: str, loss: str, engine: str, dtype: np.dtype[Any]
) -> tuple[Components, Callable[..., None]]:
    """`train_steps` and the functions that it calls: as they are, or compiled."""
    hidden = ACTIVATIONS[activation]
    output = ACTIVATIONS["softmax" if loss == "softmax" else "identity"]
    chosen = FUSED["cross_entropy", "softmax"] if loss == "softmax" else LOSSES["squared_error"]
    if engine == "numpy":
        components = Components([hidden.f], [hidden.pullback], [output.f], [chosen.delta])
        return components, np.errstate(all="ignore")(kernel.train_steps)

    def address(fn: Any, role: str) -> Any:
        return np.array([compilation.address(fn, role, dtype)], np.int64)

    components = Components(
        address(hidden.f, "f"),
        address(hidden.pullback, "f_pullback"),
        address(output.f, "f"),
        address(chosen.delta, "delta"),
    )
    if not compilation.is_compiled(kernel.train_steps, kernel.ARGUMENTS, dtype):
        prediction_lookups.ready()  # compiled on the same occasion, for what predicts later
    return components, compilation.entry_point(compiled_steps(dtype))


def compiled_steps(dtype: np.dtype[Any]) -> Any:
    """The compiled loop."""
    return compilation.compiled(kernel.train_steps, kernel.ARGUMENTS, dtype, inline=False)


def step_seconds(plan: Any, window: int) -> dict[str, float]:
    """A rough estimate, from shapes alone, of the seconds that a member's step takes, by engine."""
    D, h, widths = int(plan.W[0, 1, 1]), int(plan.widths[1]), plan.widths.astype(float)
    inner = float((widths[1:-1] * widths[2:]).sum())
    flop = 6 * window * (widths[0] * h + inner)
    numbers = 6 * D * h + 8 * window * float(widths[1:].sum())
    return {
        "numpy": 3e-4 + flop / 60e9 + 6 * window * D * h / 60e9 + 2e-9 * numbers,
        "numba": 5e-6 + flop / 80e9 + 0.2e-9 * numbers,
    }


def choose_engine(
    asked: str, layout: InputLayout, settings: EnsembleSettings, outputs: int, n: int
) -> str:
    """Which engine trains: the one asked for, or by the amount of work, from shapes alone."""
    if engine := decided_engine(asked):
        return engine
    steps = max(1, round(n / settings.batch))
    inner = sum(
        a * b for a, b in zip(settings.hidden, (*settings.hidden[1:], outputs), strict=True)
    )
    flop = 6 * math.ceil(n / steps) * (layout.columns * settings.hidden[0] + inner)
    seconds = settings.epochs * steps * settings.members * (3e-4 + flop / 60e9)
    return "numba" if seconds > WORTH_COMPILING else "numpy"
