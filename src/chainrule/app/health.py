"""Gradients by layer and dead units of a network that learns, epoch by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from chainrule.network.backpropagation import Backpropagation
    from chainrule.network.network import Network

KEPT = 400  # epochs of a curve
EVENTS = 100  # units that died or came back
ROWS = 256  # that a table's network is looked at with


class DeadUnits:
    """Which units are dead, and when units died or came back.

    Attributes
    ----------
    units : set of (layer, unit)
        Of the last epoch that was noted.
    events : list of dict
        The last ones: ``epoch``, ``what`` ("died" or "back"), ``layer`` and ``unit``.
    """

    def __init__(self) -> None:
        self.units: set[tuple[int, int]] = set()
        self.events: list[dict[str, Any]] = []

    def note(self, epoch: int, dead: list[tuple[int, int]]) -> None:
        """Compare the units that are dead now with those that were."""
        now = set(dead)
        for what, units in (("died", now - self.units), ("back", self.units - now)):
            for l, j in sorted(units):
                self.events.append({"epoch": epoch, "what": what, "layer": l, "unit": j})
        del self.events[:-EVENTS]
        self.units = now


def thin(points: list[Any]) -> None:
    """Leave out every other point where there are too many, but the first and the last."""
    if len(points) > KEPT:
        del points[1:-1:2]


def dead_in(network: Network, seen: Backpropagation) -> list[tuple[int, int]]:
    """The (layer, unit) of hidden units that are off on all rows that were seen."""
    from chainrule.explain.faults_of_networks import dead_units
    from chainrule.explain.worked import slopes

    dead = []
    for l in range(1, network.L):
        z, a = seen.batch.z[l], seen.batch.a[l]
        if (a == a[0]).all(axis=0).any():
            slope = slopes(network, l, z, a)
            if slope is not None:
                dead += [(l, int(j)) for j in np.flatnonzero(dead_units(a, slope))]
    return dead


def gradients_of(seen: Backpropagation) -> list[float]:
    """The size of ∂C/∂W^l by layer, from layer 1."""
    return [float(np.linalg.norm(nabla)) for nabla in seen.nabla_W[1:]]


class Health:
    """What the network of one of our models is like after each epoch of its fit.

    Parameters
    ----------
    X, y : array-likes or data frames
        Rows as the model accepts them; at most 256 of them are looked at.
    """

    def __init__(self, X: Any, y: Any) -> None:
        n = len(y)
        rows = np.sort(np.random.default_rng(0).choice(n, min(n, ROWS), replace=False))
        self._rows = [x.iloc[rows] if hasattr(x, "iloc") else np.asarray(x)[rows] for x in (X, y)]
        self._seen: Any = None
        self._dead = DeadUnits()
        self._gradients: list[tuple[int, list[float]]] = []

    def look(self, model: Any, epoch: int) -> None:
        """See the network as it predicts; epochs count from 1.

        Of a pipeline the steps before the estimator are fitted when its first epoch ends.
        """
        from chainrule.engine.threads import one_blas_thread
        from chainrule.explain.models import (
            as_trained,
            last_step,
            load_as_trained,
            view,
            without_random_layers,
        )

        if self._seen is None:
            seen = view(model, *self._rows)
            network, A, B = as_trained(seen, np.arange(len(seen.X)))
            plain = without_random_layers(network)
            # As the estimator counts its layers: one that standardises the inputs has no weights.
            weighted = [l for l in range(1, plain.L + 1) if plain.W[l].size]
            self._seen = network, plain, weighted, A, B
        network, plain, weighted, A, B = self._seen
        load_as_trained(network, last_step(model))
        plain.theta[:] = network.theta
        pass_ = plain.backpropagation(len(A))
        with one_blas_thread(), np.errstate(all="ignore"):
            pass_.forward(A, B)
            pass_.backward(B)
        dead = [(weighted.index(l) + 1, j) for l, j in dead_in(plain, pass_) if l in weighted]
        self._dead.note(epoch, dead)
        sizes = gradients_of(pass_)
        self._gradients.append((epoch, [sizes[l - 1] for l in weighted]))
        thin(self._gradients)

    def as_dict(self) -> dict[str, Any]:
        """What the page draws, once there was a look."""
        _, plain, weighted, _, _ = self._seen
        by_layer = zip(*(values for _, values in self._gradients), strict=True)
        return {
            "epochs": [epoch for epoch, _ in self._gradients],
            "gradients": [list(values) for values in by_layer],
            "dead": sorted(self._dead.units),
            "events": self._dead.events,
            "hidden": sum(plain.sizes[l] for l in weighted[:-1]),
        }
