"""The contestants. Each trains a `Task` from its starting values, one class for each.

The contract, in `Peer`: `train(epochs, after)` returns the seconds of each epoch; `predict(X)` and
`parameters()` say what came out. An epoch draws a new order of the rows, gathers the batches and
takes the steps. What is written by hand here follows the library's own advice for speed.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.tasks import Task

os.environ.setdefault("KERAS_BACKEND", "jax")
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
Pairs = list[tuple[np.ndarray, np.ndarray]]


def installed(*modules: str) -> bool:
    """Whether all of them can be imported."""
    return all(importlib.util.find_spec(module) for module in modules)


class Peer:
    """A contestant: how it is called, what it needs, and the contract."""

    name = ""
    needs: tuple[str, ...] = ()

    def __init__(self, task: Task) -> None:
        self.task = task
        self.rng = np.random.default_rng(0)

    @classmethod
    def suits(cls, task: Task) -> bool:
        """Whether it can, and within reasonable time."""
        return True

    def epoch(self) -> None:
        """Train for one epoch."""
        raise NotImplementedError

    def train(self, epochs: int, after: Callable[[], bool] | None = None) -> list[float]:
        """Train; `after` is called after each epoch, untimed, and may end it by True."""
        seconds = []
        for _ in range(epochs):
            began = time.perf_counter()
            self.epoch()
            seconds.append(time.perf_counter() - began)
            if after is not None and after():
                break
        return seconds

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Outputs; probabilities or logits for cross-entropy, see `gives_logits`."""
        raise NotImplementedError

    gives_logits = False

    def parameters(self) -> Pairs:
        """(W, b) of each layer, as they are now."""
        raise NotImplementedError


class Chainrule(Peer):
    """`chainrule.train`, one call a turn."""

    name = "chainrule"
    engine = "numba"
    n_threads: int | None = None

    def __init__(self, task: Task) -> None:
        import chainrule

        super().__init__(task)
        self.call = chainrule.train
        self.network = chainrule.Network(
            task.sizes, loss=task.loss, dtype="float32", init=task.start
        )
        self.more = {"engine": self.engine}
        if self.n_threads and "n_threads" in inspect.signature(chainrule.train).parameters:
            self.more["n_threads"] = self.n_threads

    def train(self, epochs: int, after: Callable[[], bool] | None = None) -> list[float]:
        seconds: list[float] = []
        began = time.perf_counter()

        def stop(network: Any, epoch: Any) -> bool:
            nonlocal began
            seconds.append(time.perf_counter() - began)
            done = after is not None and after()
            began = time.perf_counter()
            return done

        task = self.task
        self.call(
            self.network,
            task.X,
            task.Y,
            epochs=epochs,
            batch_size=task.batch,
            optimizer=task.optimizer,
            learning_rate=task.learning_rate,
            seed=0,
            callback=stop,
            **self.more,
        )
        return seconds

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.network.predict(X)

    def parameters(self) -> Pairs:
        return list(zip(self.network.W[1:], self.network.b[1:], strict=True))


class ChainruleOneThread(Chainrule):
    """The same with one thread."""

    name = "chainrule, 1 thread"
    n_threads = 1

    @classmethod
    def suits(cls, task: Task) -> bool:
        import chainrule

        return "n_threads" in inspect.signature(chainrule.train).parameters


class ChainruleNumpy(Chainrule):
    """The same, not compiled."""

    name = "chainrule, numpy"
    engine = "numpy"


class NumpyInPlace(Peer):
    """The four equations on whole batches, by hand, every result into memory of its own."""

    name = "NumPy in place"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.theta = np.concatenate([part.ravel() for pair in task.start for part in pair])
        self.nabla = np.zeros_like(self.theta)
        self.pairs, self.slopes = self._views(self.theta), self._views(self.nabla)
        self.a = [np.zeros((task.batch, n), np.float32) for n in task.sizes]
        self.delta = [np.zeros_like(a) for a in self.a]
        self.active = [np.zeros(a.shape, bool) for a in self.a]
        self.y = np.zeros_like(self.a[-1])
        self.m, self.v, self.r, self.s = (np.zeros_like(self.theta) for _ in range(4))
        self.t = 0

    def _views(self, flat: np.ndarray) -> Pairs:
        views, start = [], 0
        for W, b in self.task.start:
            end = start + W.size
            views.append((flat[start:end].reshape(W.shape), flat[end : end + b.size]))
            start = end + b.size
        return views

    def epoch(self) -> None:
        task, a, delta = self.task, self.a, self.delta
        order = self.rng.permutation(len(task.X))
        last = len(a) - 1
        for start in range(0, len(order), task.batch):
            rows = order[start : start + task.batch]
            np.take(task.X, rows, axis=0, out=a[0], mode="clip")
            np.take(task.Y, rows, axis=0, out=self.y, mode="clip")
            self._forward(a)
            np.subtract(a[last], self.y, out=delta[last])
            for l in range(last, 0, -1):
                np.matmul(a[l - 1].T, delta[l], out=self.slopes[l - 1][0])
                np.sum(delta[l], axis=0, out=self.slopes[l - 1][1])
                if l > 1:
                    np.matmul(delta[l], self.pairs[l - 1][0].T, out=delta[l - 1])
                    np.greater(a[l - 1], 0, out=self.active[l - 1])
                    np.multiply(delta[l - 1], self.active[l - 1], out=delta[l - 1])
            self._update()

    def _forward(self, a: list[np.ndarray]) -> None:
        last = len(a) - 1
        for l, (W, b) in enumerate(self.pairs, start=1):
            np.matmul(a[l - 1], W, out=a[l])
            a[l] += b
            if l < last:
                np.maximum(a[l], 0, out=a[l])
        if self.task.loss == "cross_entropy":
            a[last] -= a[last].max(axis=1, keepdims=True)
            np.exp(a[last], out=a[last])
            a[last] /= a[last].sum(axis=1, keepdims=True)

    def _update(self) -> None:
        task, g, m, v, r, s = self.task, self.nabla, self.m, self.v, self.r, self.s
        if task.optimizer == "sgd":
            g *= task.learning_rate / task.batch
            self.theta -= g
            return
        self.t += 1
        g /= task.batch
        m *= BETA1
        np.multiply(g, 1 - BETA1, out=r)
        m += r
        v *= BETA2
        np.multiply(g, g, out=r)
        r *= 1 - BETA2
        v += r
        np.sqrt(v, out=s)
        s *= 1 / np.sqrt(1 - BETA2**self.t)
        s += EPSILON
        np.divide(m, s, out=r)
        r *= task.learning_rate / (1 - BETA1**self.t)
        self.theta -= r

    def predict(self, X: np.ndarray) -> np.ndarray:
        a = [X, *(np.zeros((len(X), n), np.float32) for n in self.task.sizes[1:])]
        self._forward(a)
        return a[-1]

    def parameters(self) -> Pairs:
        return self.pairs


class ArticleLoop(Peer):
    """The article's algorithm: one sample at a time, columns, a list of arrays each gradient.

    Its backward pass is carried through to the first layer, which the article's is not with
    more than one hidden layer; the outputs are linear here, as everybody's.
    """

    name = "the article's loop"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.W = [W.T.copy() for W, b in task.start]
        self.b = [b[:, None].copy() for W, b in task.start]
        self.samples = [(x[:, None], y[:, None]) for x, y in zip(task.X, task.Y, strict=True)]

    @classmethod
    def suits(cls, task: Task) -> bool:
        small = task.batch * sum(W.size for W, b in task.start) < 1e7
        return task.optimizer == "sgd" and task.loss == "squared_error" and small

    def epoch(self) -> None:
        task, eta = self.task, np.float32(self.task.learning_rate / self.task.batch)
        self.rng.shuffle(order := list(range(len(self.samples))))
        for start in range(0, len(order), task.batch):
            sum_W, sum_b = [np.zeros_like(w) for w in self.W], [np.zeros_like(c) for c in self.b]
            for i in order[start : start + task.batch]:
                nabla_W, nabla_b = self._one_sample(*self.samples[i])
                sum_W = [s + g for s, g in zip(sum_W, nabla_W, strict=True)]
                sum_b = [s + g for s, g in zip(sum_b, nabla_b, strict=True)]
            self.W = [w - eta * s for w, s in zip(self.W, sum_W, strict=True)]
            self.b = [c - eta * s for c, s in zip(self.b, sum_b, strict=True)]

    def _one_sample(self, x: np.ndarray, y: np.ndarray) -> tuple[list[Any], list[Any]]:
        W, b = self.W, self.b
        nabla_W, nabla_b = [np.zeros_like(w) for w in W], [np.zeros_like(c) for c in b]
        a, z = [x], []
        for l, (w, c) in enumerate(zip(W, b, strict=True)):
            z.append(w @ a[-1] + c)
            a.append(np.where(z[-1] > 0, z[-1], np.float32(0)) if l < len(W) - 1 else z[-1])
        delta = a[-1] - y
        for l in reversed(range(len(W))):
            nabla_b[l], nabla_W[l] = delta, delta @ a[l].T
            if l > 0:
                delta = (W[l].T @ delta) * (z[l - 1] > 0)
        return nabla_W, nabla_b

    def parameters(self) -> Pairs:
        return [(W.T, b[:, 0]) for W, b in zip(self.W, self.b, strict=True)]
