"""What is seen in a network that learns to read digits, and the epochs that one can go back to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.app.health import dead_in, gradients_of

if TYPE_CHECKING:
    from chainrule.digits.recipes import Digits
    from chainrule.network.network import Network

Numbers = NDArray[np.floating[Any]]

MEMORY = 64 << 20  # bytes of parameters that are kept to go back to
MOST_KEPT, FEWEST_KEPT = 200, 4  # epochs that one can go back to
PICTURES = 128  # units of the first layer that are drawn


class Snapshots:
    """Parameters of some epochs, to go back to: the first, the last, and some between.

    Parameters
    ----------
    size : int
        Bytes of one.
    """

    def __init__(self, size: int) -> None:
        self.most = int(np.clip(MEMORY // max(size, 1), FEWEST_KEPT, MOST_KEPT))
        self._kept: dict[int, Numbers] = {}
        self._stride = 1

    def add(self, epoch: int, theta: Numbers) -> None:
        """Keep an epoch; where there are too many, every second one goes."""
        last = max(self._kept, default=0)
        if last % self._stride:  # it was kept as the last one
            del self._kept[last]
        self._kept[epoch] = theta.copy()
        while len(self._kept) > self.most:
            self._stride *= 2
            self._kept = {
                e: kept for e, kept in self._kept.items() if e % self._stride == 0 or e == epoch
            }

    @property
    def epochs(self) -> list[int]:
        """Those that are kept, in order."""
        return list(self._kept)

    def near(self, epoch: int) -> tuple[int, Numbers]:
        """The epoch closest to one, and its parameters."""
        found = min(self._kept, key=lambda one: (abs(one - epoch), one))
        return found, self._kept[found]


class Look(NamedTuple):
    """What is seen in a network: see :func:`look`."""

    numbers: dict[str, Any]
    dead: list[tuple[int, int]]


def look(network: Network, data: Digits, X: Numbers, Y: Numbers) -> Look:
    """Costs, right answers, mistakes, gradients and dead units of a network as it is.

    Parameters
    ----------
    network : Network
    data : Digits
        Its test rows are read, by the article's reading of the outputs.
    X, Y : (n, 64), (n, 10) float64
        The rows that are trained on: their cost and gradient, and the units off on all of them.
    """
    from chainrule.base.validation import one_hot
    from chainrule.digits.recipes import N_CLASSES
    from chainrule.digits.runs import closest_to_one, confusion_matrix
    from chainrule.engine.threads import one_blas_thread

    L = network.L
    seen = network.backpropagation(len(X))
    with one_blas_thread(), np.errstate(all="ignore"):
        costs = seen.forward(X, Y)
        seen.backward(Y)
        said = closest_to_one(network.forward(data.X_test).a[L])
        test_loss = network.cost(data.X_test, one_hot(data.y_test, N_CLASSES))
    learnt = closest_to_one(seen.batch.a[L])
    dead = dead_in(network, seen)
    first = network.W[1]
    largest = max(float(np.abs(first).max()), 1e-12)
    pictures = first[:, :PICTURES].T if L > 1 else first.T
    return Look(
        {
            "loss": float(costs.mean()),
            "test_loss": test_loss,
            "right": int((learnt == Y.argmax(axis=1)).sum()),
            "total": len(Y),
            "test_right": int((said == data.y_test).sum()),
            "test_total": len(said),
            "confusion": confusion_matrix(data.y_test, said),
            "gradient": gradients_of(seen),
            "largest": largest,
            "weights": np.nan_to_num(100 * pictures / largest).round().astype(int),
            "dead": dead,
        },
        dead,
    )
