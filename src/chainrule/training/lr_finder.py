"""Finding a learning rate: let it grow step by step, and watch what the loss does.

Smith (2017), "Cyclical learning rates for training neural networks", section 3.3: too small a
rate changes nothing, a good one lets the loss fall, too large a one makes it explode. Here the
rate grows exponentially, so that each factor of ten gets the same number of steps.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.base.types import Array, Index
from chainrule.base.validation import ShownAsText, check_pair, generator, look_up
from chainrule.equations.optimizers import OPTIMIZERS, Optimizer
from chainrule.equations.regularizers import Rules
from chainrule.network.checking import check_optimizer
from chainrule.network.network import Network
from chainrule.training.descent import Descent
from chainrule.training.loop import Epoch, EpochLoop
from chainrule.training.samples import Samples
from chainrule.training.train import begin, check_count, choose_engine, numbers_of

EXPLODED = 3.0  # see the notes of find_learning_rate
RECENT = 3  # batches whose mean loss counts for that
SAFETY = 3.0  # how far below the rate with the lowest loss to stay
WIDTH = 0.15  # decades: standard deviation of the smoothing


@dataclass(frozen=True)
class LRFinder(ShownAsText):
    """What :func:`find_learning_rate` saw.

    Attributes
    ----------
    rates : (k,) float64 array
        Learning rates tried, rising.
    raw : (k,) float64 array
        Loss on the batch after the step with that rate.
    losses : (k,) float64 array
        The same, smoothed.
    suggestion : float
        A learning rate to start from; NaN if the loss never fell.
    exploded : bool
        Whether the loss exploded before the last rate; then the arrays end there.
    """

    rates: NDArray[np.float64]
    raw: NDArray[np.float64]
    losses: NDArray[np.float64]
    suggestion: float
    exploded: bool

    def __str__(self) -> str:
        tried = f"{len(self.rates)} rates from {self.rates[0]:.2g} to {self.rates[-1]:.2g}"
        ended = "; the loss exploded at the last" if self.exploded else ""
        if math.isnan(self.suggestion):
            return f"no learning rate to suggest, since the loss never fell ({tried} tried{ended})"
        return f"learning rate to start from: {self.suggestion:.2g} ({tried} tried{ended})"

    def plot(self, ax: Any = None, **kwargs: Any) -> Any:
        """Draw it; see :class:`chainrule.monitoring.displays.LRFinderDisplay`."""
        from chainrule.monitoring.displays import LRFinderDisplay

        return LRFinderDisplay.from_finder(self, ax=ax, **kwargs)


def find_learning_rate(
    network: Network,
    X: ArrayLike,
    Y: ArrayLike,
    *,
    optimizer: str | Optimizer = "adam",
    hyper: Mapping[str, float] | None = None,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    batch_size: int = 200,
    weight: Array | None = None,
    rules: Rules | None = None,
    seed: int | np.random.Generator | None = None,
    engine: str = "auto",
) -> LRFinder:
    """Try rising learning rates on a copy of a network.

    Parameters
    ----------
    network : Network
        Where to start; it is not changed.
    X : (n, n_0) array-like
    Y : (n, n_L) array-like
    optimizer : str or Optimizer, default "adam"
    hyper : dict, optional
        The optimiser's other numbers.
    low, high : float, default 1e-6 and 10
        First and last learning rate.
    steps : int, default 100
        Rates tried, at least 10. The training goes through the rows again if they run out.
    batch_size : int, default 200
        Rows in a batch; all of them if there are fewer.
    weight : (n,) array, optional
        Weights of the samples.
    rules : Rules, optional
        Penalties, clipping and so on, as in the training to come.
    seed : int, numpy.random.Generator or None, default None
        For the order of the rows.
    engine : {"auto", "numpy", "numba"}, default "auto"

    Returns
    -------
    LRFinder

    Warns
    -----
    UserWarning
        The loss never fell, so there is no suggestion.

    Notes
    -----
    The losses are smoothed over the logarithm of the rate with a Gaussian of 0.15 decades, which,
    unlike a running average, does not shift them. The run ends when a loss is not finite, or the
    mean of the last three lies above the best such mean by 3 times what was gained since the
    start (or 3 times that best loss, if it is more).

    The suggestion is a third of the rate with the lowest smoothed loss, where steps begin to do
    as much harm as good. A tenth of it, or the point where the loss falls most steeply, are
    common rules too; over five small data sets, two depths and three optimisers, ten epochs at a
    third of it nearly always ended at the lowest loss of the three. A long training, or a noisy
    set, may want less.
    """
    if hasattr(network, "find_learning_rate"):
        raise TypeError(
            f"network is an estimator; write {type(network).__name__}(...).find_learning_rate(X, y)"
        )
    if not isinstance(network, Network):
        raise TypeError(f"network must be a chainrule.Network; got {type(network).__name__}")
    X, Y = check_pair(X, Y, network.sizes[0], network.n_targets, network.dtype)
    for name, value in (("low", low), ("high", high)):
        if not isinstance(value, int | float | np.number) or not 0 < value < math.inf:
            raise ValueError(f"{name} must be a finite number above 0; got {value!r}")
    if not low < high:
        raise ValueError(f"low must be below high; got low={low!r}, high={high!r}")
    check_count("steps", steps, least=10)
    m = min(check_count("batch_size", batch_size), len(X))
    chosen = look_up("optimizer", optimizer, OPTIMIZERS)
    if OPTIMIZERS.get(chosen.name) is not chosen:
        check_optimizer(chosen)
    numbers = numbers_of(chosen, None, hyper)
    weight = _check_weight(weight, len(X), network)
    work = network.copy()
    descent = begin(
        lambda kind: Descent(work, chosen, numbers, m, kind, rules),
        engine,
        choose_engine(engine, work, steps * m, m, 1),
    )

    rng = generator(seed)
    passes = -(-(steps + 1) * m // len(X))
    order = np.concatenate([rng.permutation(len(X)) for _ in range(passes)])
    rates = np.geomspace(low, high, steps)
    trial = _Trial(descent, Samples(X, Y, weight), order, rates)
    trial.run()
    if len(trial.raw) < RECENT:
        raise ValueError(f"low={low:g}: the loss is not finite from the start; check X and Y")
    rates, observed = rates[: len(trial.raw)], np.array(trial.raw)
    losses = _smooth(np.log10(rates), observed)
    return LRFinder(rates, observed, losses, _suggest(rates, observed, losses), trial.exploded)


class _Trial(EpochLoop):
    """Epochs of one batch each, at one rate after the other, until the loss explodes.

    Attributes
    ----------
    raw : list of float
        Loss on the batch after the step with each rate.
    exploded : bool
    """

    def __init__(
        self, descent: Descent, samples: Samples, order: Index, rates: NDArray[np.float64]
    ) -> None:
        # One batch more: it shows what the step before it did.
        super().__init__(descent, samples, len(rates) + 1)
        self.order, self.rates = order, rates
        self.raw: list[float] = []
        self.exploded = False
        self._start = self._best = math.inf

    def keep(self) -> None:
        """Keep nothing: the network is a copy."""

    def draw(self, epoch: int) -> tuple[Index, Array]:
        """The rows of the next batch and its rate."""
        m, last = self.descent.m, len(self.rates) - 1
        rates = self.rates[min(epoch, last)][np.newaxis]
        return self.order[epoch * m : (epoch + 1) * m], rates

    def go_through(self, order: Index, rates: Array | None) -> float:
        """Take the step; returns the mean cost over the batch."""
        X, Y, weight, _ = self.samples
        mass = len(order) if weight is None else max(float(weight[order].sum()), 1e-300)
        return self.descent.epoch(X, Y, order, weight, rates) / mass

    def is_finite(self, cost: float) -> bool:
        """Whether the cost is; that of the next batch shows what became of theta."""
        return math.isfinite(cost)

    def diverged(self, epoch: int, order: Index, rates: Array | None) -> None:
        """The last rate was too large."""
        self.exploded = True

    def after(self, epoch: Epoch, rates: Array | None, nabla: Array) -> bool:
        """Write the loss down; stop if it has exploded."""
        k, raw = epoch.epoch, self.raw
        if k == 0:
            return False
        raw.append(epoch.cost)
        recent = float(np.mean(raw[-RECENT:]))
        if k == RECENT:
            self._start = self._best = recent
        if k > RECENT:
            bound = self._best + EXPLODED * max(self._start - self._best, abs(self._best))
            self.exploded = recent > bound
        self._best = min(self._best, recent)
        return self.exploded


def _suggest(
    rates: NDArray[np.float64], raw: NDArray[np.float64], losses: NDArray[np.float64]
) -> float:
    """A third of the rate with the lowest loss, if the loss fell by more than its noise."""
    lowest = int(np.argmin(losses))
    early = slice(0, max(lowest // 2, 1))
    noise = float(np.std(raw[early] - losses[early]))
    if not losses[0] - losses[lowest] > max(noise, 1e-3 * abs(losses[0])):
        warnings.warn(
            f"the loss never fell between the learning rates {rates[0]:g} and {rates[-1]:g}: lower "
            "`low` if it exploded, raise `high` or `steps` if it stayed the same",
            stacklevel=3,
        )
        return math.nan
    return max(float(rates[lowest]) / SAFETY, float(rates[0]))


def _check_weight(weight: Array | None, n: int, network: Network) -> Array | None:
    if weight is None:
        return None
    weight = np.ascontiguousarray(weight, network.dtype)
    if weight.shape != (n,) or not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError(f"weight must be {n} finite numbers, 0 or more; one for each row")
    return weight


def _smooth(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Averages of y weighted by a Gaussian in x."""
    kernel = np.exp(-0.5 * ((x[:, np.newaxis] - x) / WIDTH) ** 2)
    smooth: NDArray[np.float64] = kernel @ y / kernel.sum(axis=1)
    return smooth
