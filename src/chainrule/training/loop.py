"""The loop over epochs, which `train`, the estimators and the learning-rate finder share."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np

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
        Time it took; of short epochs that are gone through at once, their mean.
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

    def at_once(self) -> int:
        """How many of the next epochs may be gone through in one call of the kernel.

        `after` is then called for each of them when all are over. So only with the last of them
        may it stop the loop, or change what the next epochs draw. Here 1: each has its own call.
        """
        return 1

    def after(self, epoch: Epoch, rates: Array | None, nabla: Array) -> bool:
        """What follows an epoch, given its last gradient; true stops the loop."""
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

        Ctrl-C goes back to the last complete epoch before it is passed on; of epochs that are gone
        through at once, to before them.

        Returns
        -------
        bool
            Whether all epochs were run.
        """
        descent, number = self.descent, first
        try:
            with descent.at_work():
                while number < self.epochs:
                    started = time.perf_counter()
                    n = min(self.at_once(), self.epochs - number)
                    drawn = [self.draw(k) for k in range(number, number + n)]
                    if self._run(drawn, number, started):
                        return False
                    number += n
        except KeyboardInterrupt:
            descent.restore_incomplete()
            raise
        return True

    def _run(self, drawn: list[tuple[Index, Array | None]], first: int, started: float) -> bool:
        """Run epochs whose rows and rates were drawn; true stops the loop."""
        if len(drawn) > 1:
            return self._run_at_once(drawn, first, started)
        descent, (order, rates) = self.descent, drawn[0]
        self.keep()
        cost = self.go_through(order, rates)
        if not self.is_finite(cost):
            self.diverged(first, order, rates)
            return True
        descent.complete = True
        epoch = Epoch(first, cost, time.perf_counter() - started)
        return self.after(epoch, rates, descent.nabla)

    def _run_at_once(
        self, drawn: list[tuple[Index, Array | None]], first: int, started: float
    ) -> bool:
        """Run several epochs in one call; if they do not end in finite numbers, one by one again.

        `after` is called for each when all are over. Ctrl-C waits until that is done, so that no
        more is learned than is recorded.
        """
        X, Y, weight, _ = self.samples
        descent, (orders, rates) = self.descent, zip(*drawn, strict=True)
        given = None if rates[0] is None else np.array(rates)
        self.keep()
        costs, gradients = descent.epochs(X, Y, np.array(orders), weight, given)
        if not self.is_finite(float(np.abs(costs).max())):  # NaN if one is
            descent.restore()
            return any(
                self._run([one], number, time.perf_counter())
                for number, one in enumerate(drawn, first)
            )
        descent.complete = True
        seconds = (time.perf_counter() - started) / len(drawn)
        stops, interrupt = False, None
        for k, cost in enumerate((costs / self.mass).tolist()):
            try:
                stops = self.after(Epoch(first + k, cost, seconds), drawn[k][1], gradients[k])
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt
        return stops
