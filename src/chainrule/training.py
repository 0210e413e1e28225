"""Training: epochs of mini-batches, until done, stopped, interrupted or diverged.

An epoch draws an order of the samples and hands it to :func:`chainrule.backprop.descend`, plain
or compiled. The last, smaller batch of an epoch is used and averaged over its own rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from chainrule import backprop, engine, threads
from chainrule.checking import check_optimizer
from chainrule.config import ENGINES, get_config
from chainrule.data import check_pair, look_up, suggest
from chainrule.network import Network
from chainrule.optimizers import OPTIMIZERS, Optimizer, sgd
from chainrule.plan import Plan, make_plan
from chainrule.regularizers import RULES, Rules
from chainrule.samples import check_shuffle, draw_order
from chainrule.vecmath import ABORTED, ALONE, BOARD, Array, Index

WORTH_COMPILING = 2.0  # seconds of NumPy's time
CHUNK = 0.2  # seconds between looks for Ctrl-C
FLUSHED = 1 << 16  # numbers looked at together, so that temporaries are small
# Seconds of a step, by step_seconds, from which on its rows are cut, for workers or caches.
WORTH_CUTTING = {"numpy": 1e-3, "numba": 1.2e-4}


class Epoch(NamedTuple):
    """One pass over the data.

    Attributes
    ----------
    epoch : int
        From 0.
    cost : float
        Mean over the rows of the cost each had when its batch was met.
    seconds : float
        Time it took.
    """

    epoch: int
    cost: float
    seconds: float


@dataclass
class History:
    """How a training went.

    Attributes
    ----------
    epochs : list of Epoch
    engine : str
        "numpy" or "numba": which one ran.
    stopped : str
        "" if all epochs were run, "callback" or "interrupted" otherwise.
    """

    epochs: list[Epoch] = field(default_factory=list)
    engine: str = "numpy"
    stopped: str = ""

    @property
    def seconds(self) -> float:
        """Time of all epochs, callbacks not counted."""
        return sum(epoch.seconds for epoch in self.epochs)


class DivergenceError(ArithmeticError):
    """A cost, gradient or parameter stopped being finite.

    Attributes
    ----------
    epoch, batch : int
        Where it happened first, from 0.
    layer : int
        The layer, from 1 to L, in which the first non-finite number stood.
    """

    def __init__(self, message: str, epoch: int, batch: int, layer: int) -> None:
        super().__init__(message)
        self.epoch, self.batch, self.layer = epoch, batch, layer


def train(
    network: Network,
    X: ArrayLike,
    Y: ArrayLike,
    *,
    epochs: int = 20,
    batch_size: int | None = 10,
    optimizer: str | Optimizer = "sgd",
    learning_rate: float | None = None,
    hyper: Mapping[str, float] | None = None,
    shuffle: bool | str = True,
    seed: int | np.random.Generator | None = None,
    engine: str = "auto",
    n_threads: int | None = None,
    callback: Callable[[Network, Epoch], bool | None] | None = None,
) -> History:
    """Train a network in place.

    Parameters
    ----------
    network : Network
    X : (n, n_0) array-like
    Y : (n, n_L) array-like
    epochs : int, default 20
    batch_size : int or None, default 10
        Rows in a mini-batch; None for all of them (gradient descent).
    optimizer : str or Optimizer, default "sgd"
        Names: the keys of ``chainrule.OPTIMIZERS``.
    learning_rate : float, optional
        Default: the optimiser's.
    hyper : dict, optional
        The optimiser's other numbers, by name, e.g. ``{"momentum": 0.8}``.
    shuffle : bool or "blocks", default True
        Draw a new order each epoch: ``rng.permutation(n)``. "blocks" is for an X that is mapped
        from a file larger than memory: 8 chunks of 64 MB, drawn from all of them, are mixed at a
        time, so that each part of the file is read once an epoch. Rows that stood far apart may
        be less mixed, which matters only if the file is sorted. X of up to 512 MB is mixed whole.
    seed : int, numpy.random.Generator or None, default None
        For ``rng = numpy.random.default_rng(seed)``.
    engine : {"auto", "numpy", "numba"}, default "auto"
        Plain NumPy or compiled code. "auto" decides by the amount of work, from shapes and
        epochs alone, so that the same call gives the same bits every time;
        ``chainrule.set_config`` and the environment variable CHAINRULE_ENGINE overrule it.
    n_threads : int, optional
        At most so many threads; the bits do not depend on it. Default: the physical cores, or
        $OMP_NUM_THREADS if that is less. Small steps are always taken by one.
    callback : callable (network, epoch) -> bool or None, optional
        Called after each epoch; a true result stops the training.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        Bad shapes, numbers or names.
    DivergenceError
        Something became infinite or NaN. The network keeps the parameters it had before that.

    Notes
    -----
    Ctrl-C ends the training after the last complete epoch; the network keeps its parameters and
    ``history.stopped`` is "interrupted".
    """
    X, Y = check_pair(X, Y, network.sizes[0], network.n_targets, network.dtype)
    chosen = look_up("optimizer", optimizer, OPTIMIZERS)
    if OPTIMIZERS.get(chosen.name) is not chosen:
        check_optimizer(chosen)
    numbers = numbers_of(chosen, learning_rate, hyper)
    check_shuffle(shuffle)
    epochs = check_count("epochs", epochs, least=0)
    m = len(X) if batch_size is None else min(check_count("batch_size", batch_size), len(X))
    rng = np.random.default_rng(seed)
    history = History(engine=choose_engine(engine, network, len(X), m, epochs))
    descent = None
    try:
        descent = Descent(network, chosen, numbers, m, history.engine, n_threads=n_threads)
        # Also between epochs: threads of BLAS's would go on looking for work for a while.
        with threads.one_blas_thread():
            for epoch in range(epochs):
                descent.keep()
                started = time.perf_counter()
                order = draw_order(shuffle, len(X), X[0].nbytes, m, rng)
                cost = descent.epoch(X, Y, order) / len(X)
                if not (math.isfinite(cost) and np.isfinite(network.theta).all()):
                    raise descent.explain(X, Y, order, epoch)
                history.epochs.append(Epoch(epoch, cost, time.perf_counter() - started))
                descent.complete = True
                if callback is not None and callback(network, history.epochs[-1]):
                    history.stopped = "callback"
                    break
    except KeyboardInterrupt:
        if descent is not None:  # else it was still compiling
            descent.restore_incomplete()
        history.stopped = "interrupted"
    return history


class Descent:
    """Everything that a run over mini-batches needs, and what it remembers between epochs.

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
    ) -> None:
        self.network, self.optimizer, self.hyper, self.m = network, optimizer, hyper, m
        self.engine, self.n_threads = engine, n_threads
        self.rules = rules or Rules()
        self._nabla = np.zeros_like(network.theta)
        self.state = np.zeros(optimizer.slots * network.theta.size, network.dtype)
        self.average = network.theta.copy() if self.rules.average else network.theta[:0]
        self.t = 0
        self.complete = True
        self._weighs = np.zeros(network.L + 1, np.int64)
        self._weighs[network.weight_layers()] = 1
        self._direct = _direct(network, optimizer, self.rules) * (engine == "numba")
        learns = network.parameter_tables[:2, :, 1:].prod(axis=2).any(axis=0)
        self._lowest = int(np.argmax(learns)) or network.L
        self._kept: list[Array] = []
        self._kept_t = 0
        self._buffers = [np.zeros(m * sum(network.sizes), network.dtype) for _ in range(3)]
        self._y = np.zeros((m, 0), network.dtype)
        self._c = np.zeros(m, network.dtype)
        self._plans: dict[int, tuple[Plan, Array, threads.Pace]] = {}
        self._functions, self._run = _executable(
            network, optimizer, engine, self.rules, self._direct
        )
        self._chunk = max(1, int(CHUNK / step_seconds(network, m)))

    @property
    def nabla(self) -> Array:
        """The last step's gradient, (P,)."""
        return self._nabla[: self.network.theta.size]

    def _arrays(self) -> list[Array]:
        """All that a step changes, t apart."""
        return [self.network.theta, self.network.own, self.state, self.average]

    def keep(self) -> None:
        """Remember this moment, to go back to."""
        if not self._kept:
            self._kept = [np.empty_like(array) for array in self._arrays()]
        for kept, array in zip(self._kept, self._arrays(), strict=True):
            kept[...] = array
        self._kept_t = self.t
        self.complete = False

    def restore(self) -> None:
        """Go back to the moment last kept."""
        self.t = self._kept_t
        for array, kept in zip(self._arrays(), self._kept, strict=True):
            array[...] = kept

    def restore_incomplete(self) -> None:
        """Go back if an epoch was left half done."""
        if not self.complete:
            self.restore()

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
            rates = np.full(-(-n // m), self.hyper[0])
        whole = n // m
        total = 0.0
        with threads.one_blas_thread():
            for k in range(0, whole, self._chunk):
                end = min(k + self._chunk, whole)
                total += self._descend(X, Y, weight, order[k * m : end * m], rates[k:end], m)
                self._flush()
            if n % m:
                total += self._descend(X, Y, weight, order[whole * m :], rates[whole:], n % m)
        return total

    def _flush(self) -> None:
        """Set to 0 what the optimiser remembers of units long dead.

        Left alone, it would shrink to where numbers lose digits, and there processors are slow.
        """
        small = np.finfo(self.network.dtype).tiny ** 0.75
        for k in range(0, len(self.state), FLUSHED):
            part = self.state[k : k + FLUSHED]
            np.multiply(part, np.abs(part) >= small, part)

    def _descend(
        self,
        X: Array,
        Y: Array,
        weight: Array | None,
        order: Index,
        rates: Array,
        m: int,
    ) -> float:
        plan, penalties, pace = self._plan(m)
        if self._y.shape[1] != Y.shape[1]:  # targets may be fewer than outputs
            self._y = np.zeros((self.m, Y.shape[1]), Y.dtype)
        most = 1
        if self.engine == "numba" and len(plan.blocks) > 1:
            most = max(len(plan.blocks), len(plan.bundles) - 1)
        board = np.zeros(BOARD, np.int64)
        total, rules = np.zeros(1), np.array(self.rules)
        penalties[:] = 0
        n_blocks = len(plan.blocks)
        direct = self._direct * (len(plan.W_blocks) == 0)
        own = self.network.own if n_blocks == 1 else np.tile(self.network.own, n_blocks)
        no_weight = self.network.theta[:0]

        def work(worker: int) -> int:
            with np.errstate(all="ignore"):
                return self._run(
                    *self._functions,
                    self.network.theta,
                    self._nabla,
                    self.state,
                    self.average,
                    self.hyper.copy(),
                    rates,
                    rules,
                    self.t,
                    own,
                    *plan,
                    self._weighs,
                    direct,
                    self._lowest,
                    *self._buffers,
                    self._y[:m],
                    self._c[:m],
                    penalties,
                    total,
                    X,
                    Y,
                    no_weight if weight is None else weight,
                    order,
                    m,
                    np.full((m, 1), 1 / m, self.network.dtype),
                    board,
                )

        def abort() -> None:
            board[ABORTED] = 1

        asked = self.n_threads or get_config()["n_threads"]
        with threads.reserved(most if pace.choose() else 1, asked) as workers:
            board[ALONE] = workers == 1
            began, worked = time.perf_counter(), time.thread_time()
            self.t = threads.side_by_side(work, workers, abort)
        if most > 1 and (workers > 1) == pace.choose():
            seconds, worked = time.perf_counter() - began, time.thread_time() - worked
            pace.note(workers > 1, seconds / len(rates), worked / seconds)
        self.network.own[self.network.steps_at] = 0  # from here on it predicts
        return float(total[0] + penalties.sum())

    def _plan(self, m: int) -> tuple[Plan, Array, threads.Pace]:
        """How m rows are cut, room for a number for each part of the gradient, and the pace."""
        if m not in self._plans:
            cut = step_seconds(self.network, m) > WORTH_CUTTING[self.engine]
            plan = make_plan(self.network, m, self.optimizer.slots, cut)
            self._plans[m] = plan, np.zeros(plan.parts.shape[1]), threads.Pace()
            size = max(1, len(plan.W_blocks)) * self.network.theta.size
            if self._nabla.size < size:
                self._nabla = np.zeros(size, self.network.dtype)
        return self._plans[m]

    def explain(
        self,
        X: Array,
        Y: Array,
        order: Index,
        epoch: int,
        weight: Array | None = None,
        rates: Array | None = None,
    ) -> DivergenceError:
        """Replay an epoch that ended in non-finite numbers, and stop where they begin.

        The network is left with the parameters from before the batch at fault.
        """
        self.restore()
        network, m = self.network, self.m
        if rates is None:
            rates = np.full(-(-len(order) // m), self.hyper[0])
        for batch, rate in enumerate(rates):
            rows = order[batch * m : (batch + 1) * m]
            before = [array.copy() for array in self._arrays()]
            self._descend(X, Y, weight, rows, rates[batch : batch + 1], len(rows))
            finite = bool(np.isfinite(network.theta).all() and np.isfinite(self.nabla).all())
            self.t -= 1
            after = [array.copy() for array in self._arrays()]
            for array, kept in zip(self._arrays(), before, strict=True):
                array[...] = kept
            w = None if weight is None else weight[rows]
            fault = self._first_non_finite(X[rows], Y[rows], w, after[0], finite)
            if fault is not None:
                layer, what = fault
                return DivergenceError(
                    f"training diverged in epoch {epoch}, batch {batch}: {what} of layer {layer} "
                    "is not finite. The network keeps its parameters from before that batch. "
                    f"Lower the learning rate (it is {rate:g}), or scale the inputs and "
                    "targets to about 1",
                    epoch,
                    batch,
                    layer,
                )
            for array, new in zip(self._arrays(), after, strict=True):
                array[...] = new
            self.t += 1
        last = len(rates) - 1
        return DivergenceError(
            f"training diverged in epoch {epoch}, batch {last}: the costs of layer {network.L} "
            "are finite one by one, but not their sum. Scale the inputs and targets to about 1",
            epoch,
            last,
            network.L,
        )

    def _first_non_finite(
        self, X: Array, Y: Array, weight: Array | None, theta_after: Array, finite: bool
    ) -> tuple[int, str] | None:
        """(layer, what) of the first non-finite number in a step that was just taken, if any."""
        network = self.network
        net, batch = network.bind(len(X), training=self.t + 1)
        batch.a[0][:] = X
        if weight is not None:
            batch.share[:, 0] = weight / (weight.sum() or 1)
        layers = range(1, network.L + 1)
        with np.errstate(all="ignore"):
            backprop.forward(net, batch)
            c = np.empty(len(X), network.dtype)
            network.loss.cost(batch.z[network.L], batch.a[network.L], Y, c)
            if finite and np.isfinite(c.sum()):
                return None
            found: list[tuple[int, str, Array]] = []
            for l in layers:
                found += [(l, "z", batch.z[l]), (l, "a", batch.a[l])]
            found.append((network.L, "the cost", c))
            backprop.output_error(net, network.loss.delta, Y, batch)
            backprop.backward(net, batch)
            nabla_W, nabla_b = network.views(np.zeros_like(network.theta))
            backprop.gradient(net, batch, nabla_W, nabla_b)
            for l in reversed(layers):
                found += [
                    (l, "delta", batch.delta[l]),
                    (l, "the gradient of W", nabla_W[l]),
                    (l, "the gradient of b", nabla_b[l]),
                ]
            W, b = network.views(theta_after)
            for l in layers:
                found += [(l, "W", W[l]), (l, "b", b[l])]
        for l, what, values in found:
            if not np.isfinite(values).all():
                return l, what
        return network.L, "the cost"


def _direct(network: Network, optimizer: Optimizer, rules: Rules) -> Index:
    """1 for a layer that can take its step as it computes the gradient: in plain descent."""
    plain = optimizer.step is sgd and not (
        rules.l2 or rules.l1 or rules.clip_value or rules.clip_norm or rules.decay
    )
    can = [0] + [layer.descend is not None for layer in network.layers[1:]]
    return np.array(can, np.int64) * plain


def _executable(
    network: Network, optimizer: Optimizer, kind: str, rules: Rules, direct: Index
) -> tuple[list[Any], Callable[..., int]]:
    """`descend` and its functions: as they are, or compiled."""
    roles: dict[str, list[Any]] = {**network.functions(), "step": [optimizer.step]}
    roles["descend"] = [
        layer.descend if direct[l] else None for l, layer in enumerate(network.layers)
    ]
    if kind == "numpy":
        return [*roles.values(), RULES], backprop.descend

    def address(fn: Any, role: str, used: bool = True) -> int:
        return engine.address(fn, role, network.dtype) if used and fn is not None else 0

    # Entry 0 of a list by layer is a placeholder, which is never called.
    tables = [
        [address(fn, role, l > 0 or len(fns) == 1) for l, fn in enumerate(fns)]
        for role, fns in roles.items()
    ]
    penalized = rules.l2 or rules.l1
    used: tuple[float, ...] = (penalized, penalized, rules.clip_value, rules.clip_norm)
    used += (rules.decay, rules.max_norm, rules.average)
    tables.append([address(fn, fn.__name__, bool(on)) for fn, on in zip(RULES, used, strict=True)])
    run = engine.compiled(backprop.descend, engine.DESCEND, network.dtype)
    return [np.array(table, np.int64) for table in tables], run


def choose_engine(asked: str, network: Network, n: int, m: int, epochs: int) -> str:
    """Which engine runs: the one asked for, or by the amount of work.

    Parameters
    ----------
    asked : {"auto", "numpy", "numba"}
    network : Network
    n, m, epochs : int
        Rows, rows in a batch, epochs.
    """
    if asked not in ENGINES:
        raise ValueError(f"unknown engine {asked!r}; {suggest(str(asked), ENGINES)}")
    if asked == "auto":
        asked = get_config()["engine"]
    if asked != "auto":
        return asked
    if not engine.can_compile():
        return "numpy"
    seconds = epochs * math.ceil(n / m) * step_seconds(network, m)
    return "numba" if seconds > WORTH_COMPILING else "numpy"


def step_seconds(network: Network, m: int) -> float:
    """A rough estimate, from shapes alone, of the seconds that a step takes in NumPy.

    Rather too low than too high on a core of today, so that nobody waits for a compiler in vain.
    """
    per_layer, per_number, per_flop = 10e-6, 0.5e-9, 1 / 80e9
    size = network.dtype.itemsize / 4
    numbers = 4 * m * sum(network.sizes) + 3 * network.theta.size
    return per_layer * (network.L + 1) + size * (
        per_number * numbers + per_flop * 6 * m * network.theta.size
    )


def check_count(name: str, value: Any, least: int = 1) -> int:
    """A whole number, at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be a whole number, {least} or more; got {value!r}")
    return int(value)


def numbers_of(
    optimizer: Optimizer, learning_rate: float | None, given: Mapping[str, float] | None
) -> Array:
    """The optimiser's numbers in its order, ours over its defaults."""
    numbers = dict(optimizer.hyper)
    for name, value in (dict(given or {}) | _asked(learning_rate)).items():
        if name not in numbers:
            raise ValueError(
                f"optimizer {optimizer.name!r} has no {name!r}; {suggest(name, numbers)}"
            )
        numbers[name] = value
    for name, value in numbers.items():
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not 0 <= value < math.inf:
            raise ValueError(f"{name} must be a finite number, 0 or more; got {value!r}")
    if numbers["learning_rate"] == 0:
        raise ValueError("learning_rate must be above 0")
    return np.array(list(numbers.values()), np.float64)


def _asked(learning_rate: float | None) -> dict[str, float]:
    return {} if learning_rate is None else {"learning_rate": learning_rate}
