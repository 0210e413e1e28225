"""Steps on gradients that are given, such as a sum over several processes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from chainrule.base.types import Array
from chainrule.base.validation import look_up
from chainrule.equations.optimizers import OPTIMIZERS, Optimizer
from chainrule.network.checking import check_optimizer
from chainrule.network.network import Network
from chainrule.training.train import numbers_of


class OptimizerState:
    """An optimiser at work on a network: its memory, and how many steps it has taken.

    :func:`chainrule.train` takes gradient and step together. Here the gradient comes from outside:
    from :meth:`chainrule.Network.gradient`, or from a sum over several processes, each of which
    has some rows of the batch.

    Parameters
    ----------
    network : Network
        Its theta is changed by each step.
    optimizer : str or Optimizer, default "sgd"
        Names: the keys of ``chainrule.OPTIMIZERS``.
    learning_rate : float, optional
        Default: the optimiser's own.
    hyper : dict, optional
        The optimiser's other numbers, by name.

    Attributes
    ----------
    t : int
        Steps taken.
    memory : (slots, P) array
        What the optimiser remembers; with theta and t it is all that a later run needs.

    Raises
    ------
    ValueError
        An unknown optimiser, or a number that it does not have.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import Network, OptimizerState
    >>> net = Network((2, 3, 1), activation="tanh", seed=0)
    >>> X, Y = np.eye(2), np.ones((2, 1))
    >>> state = OptimizerState(net, "adam", learning_rate=0.1)
    >>> before, nabla = net.gradient(X, Y)
    >>> state.step(nabla)
    >>> net.cost(X, Y) < before
    True
    """

    def __init__(
        self,
        network: Network,
        optimizer: str | Optimizer = "sgd",
        *,
        learning_rate: float | None = None,
        hyper: Mapping[str, float] | None = None,
    ) -> None:
        self.network = network
        self.optimizer = look_up("optimizer", optimizer, OPTIMIZERS)
        if OPTIMIZERS.get(self.optimizer.name) is not self.optimizer:
            check_optimizer(self.optimizer)
        self.hyper = numbers_of(self.optimizer, learning_rate, hyper)
        self.t = 0
        self.memory: Array = np.zeros(
            (self.optimizer.slots, network.theta.size), network.theta.dtype
        )

    def step(self, nabla: ArrayLike) -> None:
        """Take a step on a gradient.

        Parameters
        ----------
        nabla : (P,) array-like
            Laid out like ``network.theta``; it is not changed.

        Raises
        ------
        ValueError
            Another shape, or a number that is not finite; theta is then as it was.
        """
        theta = self.network.theta
        given: Array = np.array(nabla, theta.dtype)
        if given.shape != theta.shape:
            raise ValueError(f"nabla must have the shape {theta.shape}, not {given.shape}")
        if not np.isfinite(given).all():
            raise ValueError(
                f"nabla holds {int((~np.isfinite(given)).sum())} numbers that are not finite; "
                "lower the learning rate, or look at the rows of the batch"
            )
        self.t += 1
        with np.errstate(all="ignore"):
            self.optimizer.step(theta, given, self.memory, self.hyper, self.t)
