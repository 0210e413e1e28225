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
from chainrule.training.state import RunState
from chainrule.training.train import numbers_of


class OptimizerState(RunState):
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
        What the optimiser remembers. :meth:`copy` copies it with theta and t, and
        :meth:`restore` goes back to such copies.

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
        chosen = look_up("optimizer", optimizer, OPTIMIZERS)
        if OPTIMIZERS.get(chosen.name) is not chosen:
            check_optimizer(chosen)
        super().__init__(network, chosen, numbers_of(chosen, learning_rate, hyper))
        self.memory = self.memory.reshape(chosen.slots, network.theta.size)

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
        theta = self.theta
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
