"""Where a training left the finite numbers: in which batch, in which layer, and in what."""

from __future__ import annotations

import numpy as np

from chainrule.base.types import Array, Index
from chainrule.training.descent import Descent
from chainrule.training.state import Copies


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


def explain(
    descent: Descent,
    X: Array,
    Y: Array,
    order: Index,
    epoch: int,
    weight: Array | None = None,
    rates: Array | None = None,
) -> DivergenceError:
    """Replay an epoch that ended in non-finite numbers, and stop where they begin.

    The network is left with the parameters from before the batch at fault.

    Parameters
    ----------
    descent : Descent
        It kept its state before the epoch.
    X, Y, order, weight, rates :
        As :meth:`Descent.epoch` took them.
    epoch : int
        Its number, from 0.
    """
    descent.restore()
    network, state, m = descent.network, descent.state, descent.m
    if rates is None:
        rates = np.full(-(-len(order) // m), state.hyper[0])
    before: Copies | None = None
    after: Copies | None = None
    for batch, rate in enumerate(rates):
        rows = order[batch * m : (batch + 1) * m]
        before = state.copy(into=before)
        descent.descend(X, Y, weight, rows, rates[batch : batch + 1], len(rows))
        learned = network.theta, descent.nabla, state.memory
        finite = all(bool(np.isfinite(each).all()) for each in learned)
        after = state.copy(into=after)
        state.restore(before)
        w = None if weight is None else weight[rows]
        x = X[rows]
        if descent.augmentation is not None:
            x = descent.augmentation.changed(x, state.t + 1, len(rows))
        fault = _first_non_finite(descent, x, Y[rows], w, after, finite)
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
        state.restore(after)
    last = len(rates) - 1
    return DivergenceError(
        f"training diverged in epoch {epoch}, batch {last}: the costs of layer {network.L} "
        "are finite one by one, but not their sum. Scale the inputs and targets to about 1",
        epoch,
        last,
        network.L,
    )


def _first_non_finite(
    descent: Descent, X: Array, Y: Array, weight: Array | None, after: Copies, finite: bool
) -> tuple[int, str] | None:
    """(layer, what) of the first non-finite number in a step that was just taken, if any."""
    network = descent.network
    share = None if weight is None else (weight / (weight.sum() or 1))[:, np.newaxis]
    again = network.backpropagation(len(X), descent.state.t + 1, share)
    costs = again.forward(X, Y)
    with np.errstate(all="ignore"):
        if finite and np.isfinite(costs.sum()):
            return None
    again.backward(Y)
    batch, layers = again.batch, range(1, network.L + 1)
    found: list[tuple[int, str, Array]] = []
    for l in layers:
        found += [(l, "z", batch.z[l]), (l, "a", batch.a[l])]
    found.append((network.L, "the cost", costs))
    for l in reversed(layers):
        found += [
            (l, "delta", batch.delta[l]),
            (l, "the gradient of W", again.nabla_W[l]),
            (l, "the gradient of b", again.nabla_b[l]),
        ]
    W, b = network.views(after["theta"])
    for l in layers:
        found += [(l, "W", W[l]), (l, "b", b[l])]
    for W, b in map(network.views, after["memory"].reshape(-1, len(network.theta))):
        for l in layers:
            found += [
                (l, "the optimiser's memory of W", W[l]),
                (l, "the optimiser's memory of b", b[l]),
            ]
    for l, what, values in found:
        if not np.isfinite(values).all():
            return l, what
    return network.L, "the cost"
