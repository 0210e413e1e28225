"""A callback that keeps what the pictures of a training need."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.base.types import Array
from chainrule.equations import backprop
from chainrule.explain.models import as_trained, detached, load_as_trained, view
from chainrule.explain.worked import slopes
from chainrule.monitoring.callbacks import Callback, Record, check_whole
from chainrule.network.network import Network

LEAST_ROWS = 8
ALLOWANCE = 0.03  # seconds that it may take of any fit, however short
SPREAD = 1.1  # while these last: how many times the last epoch kept the next one is, at least


@dataclass(eq=False)
class Recorder(Callback):
    """Keep activations' moments, gradients by layer and weights of some epochs of a fit.

    It looks at some of the rows through the network as it predicts; the training is not changed by
    it. Moments and gradients are those that training sees: where an estimator standardises its
    inputs and its target, of these.

    Epochs are skipped where looking would take more than its part of the time, and thinned out
    where there are more than it may keep, so that cost and memory are bounded. The first epoch and
    the last are always kept.

    Three fits of one to two seconds took 3, 5 and 9 % more of the processor's time with the
    default. One of a fraction of a second takes 0.03 seconds more, which are spent on any fit.

    Parameters
    ----------
    X, y : array-likes
        Rows as the estimator (or the network) accepts them; of these at most `rows`, and one in 25,
        are looked at.
    rows : int, default 256
    budget : float or None, default 0.04
        Part of the time of the fit that it may take, where that is more than 0.03 seconds. None:
        every epoch is kept.
    most : int, default 200
        Epochs of which moments and gradients are kept.
    snapshots : int, default 20
        Epochs of which the weights are kept, at least 2; closer together at the start, where they
        change most.
    seed : int, default 0
        Of the choice of rows.

    Attributes
    ----------
    epochs_ : (k,) int64
        The epochs that were kept, from 0.
    mean_, deviation_ : (k, L) float64
        Of the activations of each layer, over rows and units.
    off_, flat_ : (k, L) float64
        Part of a layer's units that are off on every row; part of its activations where the
        derivative is less than 5 % of the largest there.
    gradient_ : (k, L) float64
        Root mean square of ∂C/∂W^l; NaN where there are no weights.
    snapshots_ : list of (int, list of arrays, list of arrays)
        Epoch, W and b by layer, from layer 1, in float32.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from chainrule import MLPClassifier, Recorder
    >>> X, y = load_iris(return_X_y=True)
    >>> recorder = Recorder(X, y, budget=None)
    >>> model = MLPClassifier((8,), solver="sgd", max_iter=3, tol=0, callbacks=[recorder])
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     _ = model.fit(X, y)
    >>> recorder.epochs_.tolist(), recorder.gradient_.shape
    ([0, 1, 2], (3, 2))
    """

    X: ArrayLike
    y: ArrayLike
    rows: int = 256
    budget: float | None = 0.04
    most: int = 200
    snapshots: int = 20
    seed: int = 0
    _kept: dict[str, list[Any]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("rows", "most", "snapshots"):
            check_whole(name, getattr(self, name))
        if self.budget is not None and not 0 < self.budget < 1:
            raise ValueError(f"budget must be between 0 and 1, or None; got {self.budget!r}")
        self._forget()

    def _forget(self) -> None:
        self._kept = {"epochs": [], "looks": [], "weights": []}
        self._stride = 1
        self._seen: Any = None
        self._spent = 0.0
        self._started = time.perf_counter()
        self._last: Any = None

    def on_fit_begin(self, estimator: Any) -> None:
        """Forget the last fit."""
        self._forget()

    def on_epoch_end(self, estimator: Any, record: Record) -> None:
        """Look, if there is time; else keep the estimator as it is now, in case it is the last."""
        epoch = int(record["epoch"])
        now = object.__new__(type(estimator))
        vars(now).update(vars(estimator))  # each epoch has lists of arrays of its own
        self._last = epoch, now
        if not self._skips(epoch):
            self._look(now, epoch)

    def on_fit_end(self, estimator: Any) -> None:
        """Look at the last epoch, if it has not been seen."""
        if self._last is None:
            return
        epoch, model = self._last
        self._last = None
        if not self._kept["epochs"] or self._kept["epochs"][-1] != epoch:
            self._look(model, epoch)

    def __call__(self, network: Network, epoch: Any) -> None:
        """Look at a network between the epochs of :func:`chainrule.train`."""
        if epoch.epoch == 0:
            self._forget()
        if not self._skips(epoch.epoch):
            self._look(network, epoch.epoch)

    def _skips(self, epoch: int) -> bool:
        """Whether an epoch is left out."""
        if self.budget is None or not self._kept["epochs"]:
            return False
        allowed = self.budget * (time.perf_counter() - self._started)
        if allowed < ALLOWANCE:
            allowed = ALLOWANCE
            if epoch < SPREAD * self._kept["epochs"][-1]:
                return True
        return epoch % self._stride != 0 or self._spent > allowed

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_last": None, "_seen": None}

    def _look(self, model: Any, epoch: int) -> None:
        started = time.perf_counter()
        if self._seen is None:
            try:
                seen = view(model, *self._chosen())
            except ValueError as error:
                raise ValueError(f"Recorder: its X and y do not fit: {error}") from None
            self._seen = as_trained(seen, np.arange(len(seen.X)))
        network, A, B = self._seen
        if isinstance(model, Network):
            network = predicting = model
            layers = list(range(1, network.L + 1))
        else:
            load_as_trained(network, model)
            predicting = model._network()
            # Those of the network that predicts: it neither standardises nor drops.
            layers = [l for l in range(1, network.L + 1) if network.W[l].size]
        self._kept["epochs"].append(epoch)
        self._kept["looks"].append(_numbers_of(network, A, B, layers))
        self._kept["weights"].append((epoch, *_weights_of(predicting)))
        self._thin()
        if len(self._kept["epochs"]) > 1:  # the first look is always taken
            self._spent += time.perf_counter() - started

    def _chosen(self) -> tuple[Any, Any]:
        """Return the rows that are looked at, the same each time."""
        n = self.X.shape[0] if hasattr(self.X, "shape") else len(np.asarray(self.X))
        m = len(np.asarray(self.y))
        if n != m:
            raise ValueError(f"Recorder: X has {n} rows and y has {m}")
        count = min(n, self.rows, max(LEAST_ROWS, n // 25)) if self.budget else min(n, self.rows)
        chosen = np.sort(np.random.default_rng(self.seed).choice(n, count, replace=False))
        taken = []
        for given in (self.X, self.y):
            if hasattr(given, "iloc"):
                taken.append(given.iloc[chosen])
            else:
                taken.append(np.asarray(given)[chosen])
        return taken[0], taken[1]

    def _thin(self) -> None:
        """Keep every second one where there are too many; the last stays."""
        if len(self._kept["epochs"]) > self.most:
            for name in ("epochs", "looks"):
                kept = self._kept[name]
                self._kept[name] = kept[:-1:2] + kept[-1:]
            self._stride *= 2
        weights = self._kept["weights"]
        if len(weights) > max(self.snapshots, 2):  # the one goes that lies closest between others
            places = np.sqrt([epoch for epoch, _, _ in weights])
            del weights[1 + int(np.argmin(places[2:] - places[:-2]))]

    @property
    def epochs_(self) -> NDArray[np.int64]:
        """The epochs that were kept."""
        return np.array(self._kept["epochs"], np.int64)

    def _of_looks(self, k: int) -> NDArray[np.float64]:
        return np.array([look[k] for look in self._kept["looks"]], np.float64)

    @property
    def mean_(self) -> NDArray[np.float64]:
        """Mean of each layer's activations."""
        return self._of_looks(0)

    @property
    def deviation_(self) -> NDArray[np.float64]:
        """Standard deviation of each layer's activations."""
        return self._of_looks(1)

    @property
    def off_(self) -> NDArray[np.float64]:
        """Part of each layer's units that are off on every row."""
        return self._of_looks(2)

    @property
    def flat_(self) -> NDArray[np.float64]:
        """Part of each layer's activations that are where the derivative is small."""
        return self._of_looks(3)

    @property
    def gradient_(self) -> NDArray[np.float64]:
        """Root mean square of the gradient of each layer's weights."""
        return self._of_looks(4)

    @property
    def snapshots_(self) -> list[tuple[int, list[Array], list[Array]]]:
        """Weights and biases of some epochs."""
        return list(self._kept["weights"])


def _numbers_of(network: Network, X: Array, Y: Array, layers: list[int]) -> tuple[list[float], ...]:
    """Return (means, deviations, off, flat, gradients) of some layers."""
    net, batch = network.bind(len(X))
    batch.a[0][:] = X
    nabla = np.zeros_like(network.theta)
    nabla_W, nabla_b = network.views(nabla)
    with np.errstate(all="ignore"):
        backprop.forward(net, batch)
        backprop.output_error(net, network.loss.delta, Y, batch)
        backprop.backward(net, batch)
        backprop.gradient(net, batch, nabla_W, nabla_b)
        found: tuple[list[float], ...] = ([], [], [], [], [])
        for l in layers:
            a = batch.a[l]
            slope = slopes(network, l, batch.z[l], a)
            largest = 0.0 if slope is None else float(np.abs(slope).max(initial=0))
            off = flat = 0.0
            if slope is not None and largest > 0:
                off = float((slope == 0).all(axis=0).mean())
                flat = float((np.abs(slope) < 0.05 * largest).mean())
            elif slope is not None:
                off = flat = 1.0
            W = nabla_W[l]
            rms = float(np.sqrt(np.mean(np.square(W, dtype=np.float64)))) if W.size else np.nan
            for values, one in zip(found, (a.mean(), a.std(), off, flat, rms), strict=True):
                values.append(float(one))
    return found


def _weights_of(network: Network) -> tuple[list[Array], list[Array]]:
    return (
        [W.astype(np.float32) for W in list(network.W)[1:]],
        [b.astype(np.float32) for b in list(network.b)[1:]],
    )


def recorder_of(model: Any) -> Recorder:
    """Return the recorder among an estimator's callbacks.

    Raises
    ------
    ValueError
        There is none, or it has not recorded anything.
    """
    from chainrule.explain.models import last_step

    if isinstance(model, Recorder):
        found: list[Any] = [model]
    else:
        given = getattr(last_step(model), "callbacks", None) or []
        found = [one for one in given if isinstance(one, Recorder)]
    if not found:
        raise ValueError(
            "there is no record of the training: fit with callbacks=[chainrule.Recorder(X, y)]"
        )
    if not len(found[0].epochs_):
        raise ValueError("the recorder has seen no epoch yet: fit the estimator first")
    recorder: Recorder = found[0]
    return recorder


def network_at(network: Network, snapshot: tuple[int, list[Array], list[Array]]) -> Network:
    """Return the network with the parameters of a snapshot."""
    copy = detached(network)
    for l, (W, b) in enumerate(zip(snapshot[1], snapshot[2], strict=True), start=1):
        copy.W[l][...], copy.b[l][...] = W, b
    return copy
