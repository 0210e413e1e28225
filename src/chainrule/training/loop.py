"""The loop over epochs, which `train`, the estimators and the learning-rate finder share."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

from chainrule.base.types import Array, Index
from chainrule.base.validation import all_finite
from chainrule.training.descent import Descent
from chainrule.training.divergence import explain
from chainrule.training.samples import Samples


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


class EpochLoop:
    """Epochs of a descent, until all are run, one diverges, or something says stop.

    Subclasses say which rows an epoch goes through and what follows it.

    Parameters
    ----------
    descent : Descent
    samples : Samples
        What is learned from.
    epochs : int
        Most epochs.
    """

    def __init__(self, descent: Descent, samples: Samples, epochs: int) -> None:
        self.descent, self.samples, self.epochs = descent, samples, epochs
        self.mass = samples.mass()

    def draw(self, epoch: int) -> tuple[Index, Array | None]:
        """Row numbers of an epoch, in their order, and the learning rate of each step.

        None: the optimiser's own rate throughout.
        """
        raise NotImplementedError

    def after(self, epoch: Epoch, rates: Array | None) -> bool:
        """What follows an epoch; true stops the loop."""
        raise NotImplementedError

    def keep(self) -> None:
        """Copy the state, to go back to if the epoch is not completed."""
        self.descent.keep()

    def go_through(self, order: Index, rates: Array | None) -> float:
        """Take the steps of an epoch; returns the mean cost."""
        X, Y, weight, _ = self.samples
        return self.descent.epoch(X, Y, order, weight, rates) / self.mass

    def is_finite(self, cost: float) -> bool:
        """Whether an epoch ended in finite numbers."""
        state = self.descent.state
        return math.isfinite(cost) and all_finite(state.theta, state.memory)

    def diverged(self, epoch: int, order: Index, rates: Array | None) -> None:
        """What follows an epoch that did not: here, to say where that began.

        Raises
        ------
        DivergenceError
        """
        X, Y, weight, _ = self.samples
        raise explain(self.descent, X, Y, order, epoch, weight, rates)

    def run(self, first: int = 0) -> bool:
        """Run the epochs from the first that is named.

        Ctrl-C goes back to the last complete epoch before it is passed on.

        Returns
        -------
        bool
            Whether all epochs were run.
        """
        descent = self.descent
        try:
            with descent.at_work():
                for number in range(first, self.epochs):
                    started = time.perf_counter()
                    self.keep()
                    order, rates = self.draw(number)
                    cost = self.go_through(order, rates)
                    if not self.is_finite(cost):
                        self.diverged(number, order, rates)
                        return False
                    descent.complete = True
                    if self.after(Epoch(number, cost, time.perf_counter() - started), rates):
                        return False
        except KeyboardInterrupt:
            descent.restore_incomplete()
            raise
        return True
