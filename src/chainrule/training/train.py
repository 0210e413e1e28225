"""Training: epochs of mini-batches, until done, stopped, interrupted or diverged.

An epoch draws an order of the samples; `kernel.descend` takes its steps, plain or compiled. The
last, smaller batch of an epoch is used and averaged over its own rows. The loop over the epochs is
in `loop`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from chainrule.base.types import Array, Index
from chainrule.base.validation import (
    ShownAsText,
    check_pair,
    generator,
    look_up,
    suggest,
    warn_user,
)
from chainrule.engine import compilation
from chainrule.engine.config import ENGINES, get_config
from chainrule.equations.optimizers import OPTIMIZERS, Optimizer
from chainrule.equations.regularizers import Rules
from chainrule.network.checking import check_optimizer
from chainrule.network.network import Network
from chainrule.training.augmentation import Augment, Augmentation
from chainrule.training.descent import Descent
from chainrule.training.executable import step_seconds
from chainrule.training.loop import Epoch, EpochLoop
from chainrule.training.samples import Samples, check_shuffle, draw_order

# Seconds of estimated work in NumPy from which on "auto" compiles. A network made by hand is
# trained once or twice; an estimator is fitted over and over, by searches and cross-validation, so
# that a dozen steps are enough.
WORTH_COMPILING = 0.5
WORTH_COMPILING_FITS = 0.0005
Trained = TypeVar("Trained")


@dataclass
class History(ShownAsText):
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

    def __str__(self) -> str:
        n = len(self.epochs)
        ended = {"callback": ", stopped by the callback", "interrupted": ", interrupted"}
        text = f"{n:,} epoch{'s' * (n != 1)} on {self.engine} in {self.seconds:.2g} s"
        if n:
            first, last = self.epochs[0].cost, self.epochs[-1].cost
            text += f": cost {first:.4g}" + (f" to {last:.4g}" if n > 1 else "")
        return text + ended.get(self.stopped, "")


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
    l2: float = 0.0,
    l1: float = 0.0,
    shuffle: bool | str = True,
    seed: int | np.random.Generator | None = None,
    engine: str = "auto",
    n_threads: int | None = None,
    augment: Augment | None = None,
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
    l2, l1 : float, default 0
        Penalties on the weights: (l2/2 Σ W² + l1 Σ |W|) / m is added to the mean cost of a batch of
        m rows, and so to the costs of the history. Biases have none.
    shuffle : bool or "blocks", default True
        Draw a new order each epoch: ``rng.permutation(n)``. "blocks" is for an X that is mapped
        from a file larger than memory: 8 chunks of 64 MB, drawn from all of them, are mixed at a
        time, so that each part of the file is read once an epoch. Rows that stood far apart may
        be less mixed, which matters only if the file is sorted. X of up to 512 MB is mixed whole.
    seed : int, numpy.random.Generator or None, default None
        For ``rng = numpy.random.default_rng(seed)``.
    engine : {"auto", "numpy", "numba"}, default "auto"
        Plain NumPy or compiled code. "auto" decides by the amount of work, from shapes and
        epochs alone, so that on one machine the same call gives the same bits every time;
        ``chainrule.set_config`` and the environment variable CHAINRULE_ENGINE overrule it.
    n_threads : int, optional
        At most so many threads; the bits do not depend on it. Default: the physical cores, or
        $OMP_NUM_THREADS if that is less. Small steps are always taken by one.
    augment : callable (X, random) -> array, optional
        Changes rows at random before each step. X is a copy of whole batches, which it may change
        and return; ``random.uniform(k)`` and ``random.normal(k)`` give k numbers for each row,
        which depend on the seed, the step and the row's place in its batch alone. What becomes of
        a row must not depend on the rows beside it. Ready-made: ``chainrule.distortions``.
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
    ``history.stopped`` is "interrupted". Without a callback, epochs that together take less than
    about a fifth of a second are gone through at once, and are complete together.
    """
    X, Y = check_pair(X, Y, network.sizes[0], network.n_targets, network.dtype)
    chosen = look_up("optimizer", optimizer, OPTIMIZERS)
    if OPTIMIZERS.get(chosen.name) is not chosen:
        check_optimizer(chosen)
    numbers = numbers_of(chosen, learning_rate, hyper)
    rules = Rules(l2=check_number("l2", l2), l1=check_number("l1", l1))
    check_shuffle(shuffle)
    epochs = check_count("epochs", epochs, least=0)
    m = len(X) if batch_size is None else min(check_count("batch_size", batch_size), len(X))
    rng = generator(seed)
    for name, function in (("callback", callback), ("augment", augment)):
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function; got {function!r}")
    augmentation = None
    if augment is not None:
        augmentation = Augmentation(augment, int(rng.integers(2**31 - 1)))
    history = History(engine=choose_engine(engine, network, len(X), m, epochs))
    try:
        descent = begin(
            lambda kind: Descent(
                network,
                chosen,
                numbers,
                m,
                kind,
                rules,
                n_threads=n_threads,
                augmentation=augmentation,
            ),
            engine,
            history.engine,
        )
        history.engine = descent.engine
        samples = Samples(X, Y, None)
        if not _Training(descent, samples, epochs, shuffle, rng, history, callback).run():
            history.stopped = "callback"
    except KeyboardInterrupt:
        history.stopped = "interrupted"
    return history


class _Training(EpochLoop):
    """The epochs of `train`."""

    def __init__(
        self,
        descent: Descent,
        samples: Samples,
        epochs: int,
        shuffle: bool | str,
        rng: np.random.Generator,
        history: History,
        callback: Callable[[Network, Epoch], bool | None] | None,
    ) -> None:
        super().__init__(descent, samples, epochs)
        self.shuffle, self.rng, self.history, self.callback = shuffle, rng, history, callback

    def draw(self, epoch: int) -> tuple[Index, None]:
        """A new order; the rate stays."""
        X = self.samples.X
        return draw_order(self.shuffle, len(X), X[0].nbytes, self.descent.m, self.rng), None

    def at_once(self) -> int:
        """Several, unless a callback is called after each."""
        if self.callback is not None:
            return 1
        return self.descent.epochs_at_once(self.samples.Y, self.samples.n)

    def after(self, epoch: Epoch, rates: Array | None, nabla: Array) -> bool:
        """Record it, and call the callback."""
        self.history.epochs.append(epoch)
        return self.callback is not None and bool(self.callback(self.descent.network, epoch))


def decided_engine(asked: str) -> str | None:
    """The engine if the argument, the configuration or the installation decides it, else None.

    Raises
    ------
    ValueError
        `asked` is not the name of an engine.
    """
    if asked not in ENGINES:
        raise ValueError(f"unknown engine {asked!r}; {suggest(str(asked), ENGINES)}")
    if asked == "auto":
        asked = get_config()["engine"]
    if asked != "auto":
        return asked
    return None if compilation.can_compile() and not compilation.has_failed() else "numpy"


def choose_engine(
    asked: str, network: Network, n: int, m: int, epochs: int, *, fits: bool = False
) -> str:
    """Which engine runs: the one asked for, or by the amount of work.

    Parameters
    ----------
    asked : {"auto", "numpy", "numba"}
    network : Network
    n, m, epochs : int
        Rows, rows in a batch, epochs.
    fits : bool, default False
        Whether there are likely to be many trainings like this one.
    """
    if engine := decided_engine(asked):
        return engine
    seconds = epochs * math.ceil(n / m) * step_seconds(network, m)
    worth = WORTH_COMPILING_FITS if fits else WORTH_COMPILING
    return "numba" if seconds > worth else "numpy"


def begin(make: Callable[[str], Trained], asked: str, chosen: str) -> Trained:
    """What trains, on the engine that was chosen; on NumPy if Numba fails and was not asked for.

    Parameters
    ----------
    make : callable (engine) -> Descent, for instance
    asked, chosen : str
        What :func:`choose_engine` took and gave.

    Raises
    ------
    CompilationError
        A component of the user's own cannot be compiled; or, where compiled code was asked for by
        name, Numba fails.
    """
    try:
        return make(chosen)
    except compilation.ToolchainError as error:
        if asked != "auto" or get_config()["engine"] != "auto":
            raise
        compilation.note_failure(error)
        warn_user(f"training in NumPy, which is slower: {error}", RuntimeWarning)
        return make("numpy")


def check_count(name: str, value: Any, least: int = 1) -> int:
    """A whole number, at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be a whole number, {least} or more; got {value!r}")
    return int(value)


def check_number(name: str, value: Any) -> float:
    """A finite number, at least 0."""
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a finite number, 0 or more; got {value!r}")
    return float(value)


def numbers_of(
    optimizer: Optimizer, learning_rate: float | None, given: Mapping[str, float] | None
) -> Array:
    """The optimiser's numbers in its order, ours over its defaults."""
    numbers = dict(optimizer.hyper)
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"hyper must be a dict of numbers by name; got {given!r}")
    rate = {} if learning_rate is None else {"learning_rate": learning_rate}
    for name, value in (dict(given or {}) | rate).items():
        if name not in numbers:
            raise ValueError(
                f"optimizer {optimizer.name!r} has no {name!r}; {suggest(name, numbers)}"
            )
        numbers[name] = value
    for name, value in numbers.items():
        check_number(name, value)
    if numbers["learning_rate"] == 0:
        raise ValueError("learning_rate must be above 0")
    return np.array(list(numbers.values()), np.float64)
