"""Learning-rate schedules: factors on the base learning rate, step by step.

A schedule is a function of the step alone, so the rates of a whole epoch can be computed before
it and a resumed training goes on where it would have been. What reacts to the training itself,
reducing on a plateau, is :class:`Plateau`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from chainrule.base.validation import look_up

Steps: TypeAlias = NDArray[np.float64]


class Schedule(NamedTuple):
    """A learning rate over time.

    Attributes
    ----------
    name : str
    factor : callable (t, T, per_epoch) -> float64 array
        t : float64 array, the steps, from 0; T : int, steps planned in all; per_epoch : int,
        steps in an epoch. The result has the shape of t and multiplies the base learning rate.

    Notes
    -----
    To pickle, `factor` must be a function of a module or a ``functools.partial`` of one.
    """

    name: str
    factor: Callable[[Steps, int, int], Steps]

    def __repr__(self) -> str:
        if not isinstance(self.factor, partial):
            return self.name
        given = ", ".join(f"{key}={value!r}" for key, value in self.factor.keywords.items())
        return f"{self.name}({given})"


def _number(
    name: str, value: Any, low: float, high: float = math.inf, open_low: bool = True
) -> Any:
    """A finite number between two bounds; the lower one may be allowed itself."""
    good = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if (
        not good
        or not low <= value <= high
        or not math.isfinite(value)
        or (open_low and value == low)
    ):
        upto = "" if high == math.inf else f" and at most {high:g}"
        raise ValueError(
            f"{name} must be a number {'above' if open_low else 'of at least'} {low:g}{upto}; "
            f"got {value!r}"
        )
    return value


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be a whole number, {least} or more; got {value!r}")
    return int(value)


def _constant(t: Steps, T: int, per_epoch: int) -> Steps:
    return np.ones(t.shape)


def _step_decay(t: Steps, T: int, per_epoch: int, *, every_epochs: int, factor: float) -> Steps:
    return np.power(float(factor), t // (every_epochs * per_epoch))


def _exponential(t: Steps, T: int, per_epoch: int, *, decay: float) -> Steps:
    return np.power(float(decay), t / per_epoch)


def _anneal(start: float, end: float, share: Steps) -> Steps:
    """Half a cosine wave from `start`, at share 0, to `end`, at share 1 and after."""
    return end + (start - end) * (1 + np.cos(np.pi * np.minimum(share, 1.0))) / 2


def _cosine(t: Steps, T: int, per_epoch: int, *, final: float) -> Steps:
    return _anneal(1.0, final, t / max(T, 1))


def _warm_restarts(
    t: Steps, T: int, per_epoch: int, *, first_epochs: int, multiply: float, final: float
) -> Steps:
    length = float(first_epochs * per_epoch)
    if multiply == 1 or t.size == 0:
        return _anneal(1.0, final, (t % length) / length)
    starts = [0.0]  # of the cycles, in steps; sums of whole numbers are exact
    while starts[-1] + length <= t.max():
        starts.append(starts[-1] + length)
        length *= multiply
    starts.append(starts[-1] + length)
    edges = np.array(starts)
    cycle = np.searchsorted(edges, t, side="right") - 1
    return _anneal(1.0, final, (t - edges[cycle]) / (edges[cycle + 1] - edges[cycle]))


def _one_cycle(
    t: Steps, T: int, per_epoch: int, *, peak_at: float, start: float, final: float
) -> Steps:
    peak = max(peak_at * T, 1e-9)
    rise = _anneal(start, 1.0, t / peak)
    fall = _anneal(1.0, final, np.maximum(t - peak, 0) / max(T - peak, 1e-9))
    return np.where(t < peak, rise, fall)


def _warm_up(t: Steps, T: int, per_epoch: int, *, schedule: Schedule, epochs: int) -> Steps:
    steps = epochs * per_epoch
    later = schedule.factor(np.maximum(t - steps, 0.0), max(T - steps, 1), per_epoch)
    return later * np.minimum((t + 1) / (steps + 1), 1.0)


def _from_function(t: Steps, T: int, per_epoch: int, *, f: Callable[[int], float]) -> Steps:
    epochs, where = np.unique(t // per_epoch, return_inverse=True)
    factors = []
    for epoch in epochs.astype(np.int64).tolist():
        value = f(epoch)
        try:
            factors.append(float(_number("", value, 0.0, open_low=False)))
        except ValueError:
            name = getattr(f, "__name__", repr(f))
            raise ValueError(
                f"the schedule {name} gave {value!r} for epoch {epoch}; it must give a finite "
                "factor on the learning rate, 0 or more"
            ) from None
    return np.array(factors, np.float64)[where.reshape(t.shape)]


def step_decay(every_epochs: int = 10, factor: float = 0.5) -> Schedule:
    """Multiply the rate by `factor` every few epochs: factor^⌊t / (every_epochs · per_epoch)⌋.

    Parameters
    ----------
    every_epochs : int, default 10
    factor : float, default 0.5
        Above 0, at most 1.

    Notes
    -----
    The "predetermined piecewise constant" rate of Senior, Heigold, Ranzato and Yang (2013), "An
    empirical study of learning rates in deep neural networks for speech recognition".
    """
    _whole("every_epochs", every_epochs, 1)
    _number("factor", factor, 0, 1)
    return Schedule("step", partial(_step_decay, every_epochs=every_epochs, factor=factor))


def exponential(decay: float = 0.95) -> Schedule:
    """Fall by the same share in each epoch, a little every step: decay^(t / per_epoch).

    Parameters
    ----------
    decay : float, default 0.95
        Factor of one epoch; above 0, at most 1.

    Notes
    -----
    "Exponential scheduling" in Senior et al. (2013), there as η · 10^(-t / r).
    """
    _number("decay", decay, 0, 1)
    return Schedule("exponential", partial(_exponential, decay=decay))


def cosine(final: float = 0.0) -> Schedule:
    """Half a cosine wave from 1 to `final`: final + (1 - final) (1 + cos(π t / T)) / 2.

    Parameters
    ----------
    final : float, default 0
        Factor at the end (t = T, one step after the last) and after it; 0 to 1.

    Notes
    -----
    Loshchilov and Hutter (2017), equation 5, with a single cycle.
    """
    _number("final", final, 0, 1, open_low=False)
    return Schedule("cosine", partial(_cosine, final=final))


def warm_restarts(first_epochs: int = 10, multiply: float = 2, final: float = 0.0) -> Schedule:
    """Cosine waves one after the other, each starting from 1 again.

    final + (1 - final) (1 + cos(π s / S)) / 2, where s counts the steps of this cycle and S is
    its length: `first_epochs` epochs, then each cycle `multiply` times the one before.

    Parameters
    ----------
    first_epochs : int, default 10
    multiply : float, default 2
        At least 1.
    final : float, default 0
        Factor that a cycle falls to; 0 to 1.

    Notes
    -----
    Loshchilov and Hutter (2017), "SGDR", equation 5; T_0 = `first_epochs`, T_mult = `multiply`.
    """
    _whole("first_epochs", first_epochs, 1)
    _number("multiply", multiply, 1, open_low=False)
    _number("final", final, 0, 1, open_low=False)
    return Schedule(
        "warm_restarts",
        partial(_warm_restarts, first_epochs=first_epochs, multiply=multiply, final=final),
    )


def one_cycle(peak_at: float = 0.3, start: float = 1 / 25, final: float = 1e-4) -> Schedule:
    """Up from `start` to 1 at the share `peak_at` of the training, then down to `final`.

    Both ways are half cosine waves. The base learning rate is the peak, so it may be larger than
    usual: try the largest that :func:`chainrule.find_learning_rate` finds stable.

    Parameters
    ----------
    peak_at : float, default 0.3
        Above 0, below 1.
    start, final : float, default 1/25 and 1e-4
        Factors at t = 0 and t = T; 0 to 1 (`start` above 0).

    Notes
    -----
    Smith and Topin (2019), "Super-convergence". Theirs is piecewise linear; cosine segments became
    the common form. `final` is relative to the peak, not to the start.
    """
    _number("peak_at", peak_at, 0, 1)
    if peak_at == 1:
        raise ValueError("peak_at must be below 1, or the rate never falls again; got 1")
    _number("start", start, 0, 1)
    _number("final", final, 0, 1, open_low=False)
    return Schedule("one_cycle", partial(_one_cycle, peak_at=peak_at, start=start, final=final))


def warm_up(schedule: str | Schedule = "constant", epochs: int = 5) -> Schedule:
    """Rise in a straight line over the first epochs, then follow another schedule.

    With w = epochs · per_epoch: (t + 1) / (w + 1) times the schedule's first factor while t < w,
    then the schedule itself, as if the training began at step w and had T - w steps.

    Parameters
    ----------
    schedule : str or Schedule, default "constant"
    epochs : int, default 5

    Notes
    -----
    Goyal et al. (2017), section 2.2, "gradual warmup", over 5 epochs.
    """
    inner = look_up("schedule", schedule, SCHEDULES)
    _whole("epochs", epochs, 0)
    return Schedule("warm_up", partial(_warm_up, schedule=inner, epochs=epochs))


def from_function(f: Callable[[int], float]) -> Schedule:
    """Your own: f(epoch), epochs from 0, gives the factor on the base learning rate.

    It is a factor and not the rate itself, as in all schedules here, so that a search over the
    base learning rate keeps its meaning. It holds for the whole epoch.

    Parameters
    ----------
    f : callable (int) -> float
        A finite number, 0 or more.

    Raises
    ------
    TypeError
        `f` cannot be called.
    ValueError
        During training: f gave something else; the epoch is named.
    """
    if not callable(f):
        raise TypeError(f"f must be a function of the epoch's number; got {f!r}")
    return Schedule("from_function", partial(_from_function, f=f))


SCHEDULES = {
    schedule.name: schedule
    for schedule in (
        Schedule("constant", _constant),
        step_decay(),
        exponential(),
        cosine(),
        warm_restarts(),
        one_cycle(),
    )
}


@dataclass(frozen=True)
class Plateau:
    """Reduce the rate when the loss has stopped improving.

    Parameters
    ----------
    factor : float, default 0.1
        What the rate is multiplied by; above 0, below 1.
    patience : int, default 10
        Epochs in a row without improvement before that.
    min_factor : float, default 0
        The factor never falls below it.
    tolerance : float, default 1e-4
        An epoch improves on the best one if it is better by more than this, in the units of the
        value watched.

    Notes
    -----
    The parameters never change; what a training remembers is in the object that :meth:`start`
    returns. "Performance scheduling" in Senior et al. (2013).

    Examples
    --------
    >>> from chainrule import Plateau
    >>> running = Plateau(factor=0.5, patience=2).start()
    >>> [running.update(epoch, loss) for epoch, loss in enumerate([1.0, 0.8, 0.8, 0.8, 0.7])]
    [1.0, 1.0, 1.0, 0.5, 0.5]
    """

    factor: float = 0.1
    patience: int = 10
    min_factor: float = 0.0
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        _number("factor", self.factor, 0, 1)
        if self.factor == 1:
            raise ValueError("factor must be below 1, or nothing is reduced; got 1")
        _whole("patience", self.patience, 1)
        _number("min_factor", self.min_factor, 0, 1, open_low=False)
        _number("tolerance", self.tolerance, 0, open_low=False)

    def start(self) -> RunningPlateau:
        """Begin a training."""
        return RunningPlateau(self)


@dataclass
class RunningPlateau:
    """A :class:`Plateau` at work in one training.

    Attributes
    ----------
    plateau : Plateau
    current : float
        The factor now.
    best : float
        The best value so far.
    waited : int
        Epochs since the best one or the last reduction.
    reductions : list of int
        Epochs after which the rate was reduced.
    """

    plateau: Plateau
    current: float = 1.0
    best: float = math.inf
    waited: int = 0
    reductions: list[int] = field(default_factory=list)

    def update(self, epoch: int, value: float) -> float:
        """Note the value of an epoch.

        Parameters
        ----------
        epoch : int
        value : float
            Lower is better; give a score with its sign turned. NaN is no improvement.

        Returns
        -------
        float
            The factor on the base learning rate for the epochs that follow.
        """
        rules = self.plateau
        if value < self.best - rules.tolerance:
            self.best, self.waited = value, 0
            return self.current
        self.waited += 1
        if self.waited >= rules.patience:
            self.waited = 0
            reduced = max(self.current * rules.factor, rules.min_factor)
            if reduced < self.current:
                self.current = reduced
                self.reductions.append(epoch)
        return self.current


def as_schedule(
    given: str | Schedule | Plateau | Callable[[int], float],
) -> Schedule | Plateau:
    """A schedule from a name (a key of SCHEDULES, or "plateau"), a schedule, or a function.

    Raises
    ------
    ValueError
        An unknown name; the message suggests the nearest.
    TypeError
        None of these.
    """
    if isinstance(given, Schedule | Plateau):
        return given
    if isinstance(given, str):
        found = look_up("schedule", given, {**SCHEDULES, "plateau": Plateau()})
        assert isinstance(found, Schedule | Plateau)
        return found
    if not callable(given) or isinstance(given, type):
        raise TypeError(
            f"a schedule is a name, a Schedule, a Plateau or a function of the epoch; got {given!r}"
        )
    return from_function(given)


# Functions that make others, by the name that files know them by.
MAKERS: dict[str, Callable[..., Any]] = {
    "step": step_decay,
    "exponential": exponential,
    "cosine": cosine,
    "warm_restarts": warm_restarts,
    "one_cycle": one_cycle,
    "warm_up": warm_up,
    "plateau": Plateau,
}
