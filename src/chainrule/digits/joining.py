"""Several networks that are trained apart and joined to one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.network.network import Network
from chainrule.training.loop import Epoch
from chainrule.training.train import History

CHECK = 0.1  # seconds between looks for Ctrl-C


def join(networks: Sequence[Network], whole: Network) -> None:
    """Set a network so that its z^L is the mean of those of several networks of affine layers.

    W^1 = [W^1_1 ... W^1_K];  W^l = diag(W^l_1, ..., W^l_K);  W^L = [W^L_1; ...; W^L_K] / K,

    and b likewise. With softmax its outputs are the geometric mean of theirs, normalised.

    Parameters
    ----------
    networks : sequence of Network
        All of the same widths.
    whole : Network
        Its hidden layers are as wide as theirs together.
    """
    K, L = len(networks), whole.L
    for l in range(1, L + 1):
        whole.W[l][...] = 0
        whole.b[l][...] = 0
        for k, each in enumerate(networks):
            n_in, n_out = each.W[l].shape
            rows = slice(None) if l == 1 else slice(k * n_in, (k + 1) * n_in)
            columns = slice(None) if l == L else slice(k * n_out, (k + 1) * n_out)
            share = K if l == L else 1
            whole.W[l][rows, columns] += each.W[l] / share
            whole.b[l][columns] += each.b[l] / share


class Together:
    """Trains networks in parallel, a thread each, and reports epochs that all have finished.

    Parameters
    ----------
    networks : sequence of Network
    epochs : int
        That each will run.
    X : (n, n_0) array
        Rows whose z^L are wanted after each epoch.
    on_epoch : callable (Epoch, z) -> None
        Called, in any thread but one at a time and in order, with the mean cost and the mean z^L.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        epochs: int,
        X: NDArray[Any],
        on_epoch: Callable[[Epoch, NDArray[Any]], None],
    ) -> None:
        self.networks, self.X, self.on_epoch = networks, X, on_epoch
        self._z: list[dict[int, NDArray[Any]]] = [{} for _ in range(epochs)]
        self._costs: list[dict[int, float]] = [{} for _ in range(epochs)]
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._told = time.perf_counter()

    def run(
        self, train: Callable[[int, Callable[..., bool]], History], workers: int
    ) -> list[History]:
        """Train all of them.

        Ctrl-C and a failure stop the others at the end of their epochs, and are passed on.

        Parameters
        ----------
        train : callable (which network, callback) -> History
        workers : int
            At most so many threads.
        """
        with ThreadPoolExecutor(workers) as pool:
            waiting = [
                pool.submit(train, k, lambda network, epoch, k=k: self._after(k, network, epoch))
                for k in range(len(self.networks))
            ]
            try:
                running = set(waiting)
                while running:  # in short waits: not every system ends a long one for Ctrl-C
                    done, running = wait(running, CHECK, FIRST_EXCEPTION)
                    for one in done:
                        one.result()  # raises what it raised
                return [one.result() for one in waiting]
            except BaseException:
                self._stopped.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _after(self, k: int, network: Network, epoch: Epoch) -> bool:
        """After an epoch of network k; true stops it."""
        e = epoch.epoch
        z = network.forward(self.X).z[network.L]
        with self._lock:
            self._z[e][k], self._costs[e][k] = z, epoch.cost
            if len(self._z[e]) == len(self.networks):
                members = range(len(self.networks))  # in this order, to the same bits
                mean = np.mean([self._z[e][k] for k in members], axis=0)
                cost = float(np.mean([self._costs[e][k] for k in members]))
                now = time.perf_counter()
                self.on_epoch(Epoch(e, cost, now - self._told), mean)
                self._told = now
                self._z[e].clear()
        return self._stopped.is_set()
