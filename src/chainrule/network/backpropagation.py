"""From a batch to its costs and its gradient, by the equations of `backprop`, in plain NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.base.types import Array
from chainrule.equations import backprop
from chainrule.equations.backprop import Batch, Layers
from chainrule.equations.losses import Loss


class Backpropagation:
    """The costs and the gradient of batches of m rows, in the same buffers for each.

    `Network.backpropagation` makes it. Whoever takes steps takes the gradient part by part, in
    :mod:`chainrule.training.kernel`, by the same equations.

    Attributes
    ----------
    batch : Batch
        What the last batch computed, by layer.
    costs : (m,) array
        The cost of each row.
    nabla : (P,) array
        The gradient, laid out like theta.
    nabla_W, nabla_b : sequences of arrays
        Views of nabla, by layer.
    """

    def __init__(
        self,
        net: Layers,
        batch: Batch,
        loss: Loss,
        nabla: Array,
        views: tuple[Sequence[Array], Sequence[Array]],
    ) -> None:
        self._net, self._loss = net, loss
        self.batch, self.nabla = batch, nabla
        self.nabla_W, self.nabla_b = views
        self.costs: Array = np.empty(len(batch.share), nabla.dtype)

    def forward(self, X: Array, Y: Array) -> Array:
        """The forward pass, and the cost of each row.

        Parameters
        ----------
        X : (m, n_0) array
        Y : (m, n_targets) array
        """
        L, batch = self._net.L, self.batch
        batch.a[0][:] = X
        with np.errstate(all="ignore"):
            backprop.forward(self._net, batch)
            self._loss.cost(batch.z[L], batch.a[L], Y, self.costs)
        return self.costs

    def backward(self, Y: Array) -> Array:
        """The backward pass after :meth:`forward`, and the gradient."""
        with np.errstate(all="ignore"):
            backprop.output_error(self._net, self._loss.delta, Y, self.batch)
            backprop.backward(self._net, self.batch)
            backprop.gradient(self._net, self.batch, self.nabla_W, self.nabla_b)
        return self.nabla
