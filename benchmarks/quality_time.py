"""Seconds until the validation cost that scikit-learn's MLP ends at.

Everybody starts from the same values with scikit-learn's defaults (100 hidden units, Adam, batches
of 200) but no penalty. scikit-learn first fits until it stops by itself; the cost of the validation
rows then, and 2 % for the luck of the order, is the aim. After that everybody, scikit-learn again
included, is stopped after the epoch that reaches it. Setting up and compiling count, as for a user;
looking at the validation rows does not. Keras and skorch are not among them: stopped after every
epoch to look, they would be slower than they are.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from benchmarks import libraries, peers
from benchmarks.tasks import Task, starting_values
from benchmarks.timing import row

MOST_EPOCHS = 300
KINDS: tuple[type[peers.Peer], ...] = (
    peers.Chainrule,
    peers.ChainruleNumpy,
    peers.NumpyInPlace,
    libraries.Jax,
    libraries.Torch,
    libraries.ScikitLearn,
)


class Data(NamedTuple):
    """Rows to train on and rows to look at; targets as a Task takes them."""

    name: str
    loss: str
    X: np.ndarray
    Y: np.ndarray
    X_val: np.ndarray
    Y_val: np.ndarray


def split(name: str, loss: str, X: np.ndarray, Y: np.ndarray) -> Data:
    """Standardised columns; a multiple of 200 rows to train on, about four fifths."""
    order = np.random.default_rng(0).permutation(len(X))
    n = len(X) * 4 // 5 // 200 * 200
    X = ((X - X.mean(axis=0)) / (X.std(axis=0) + 1e-9)).astype(np.float32)[order]
    Y = Y.astype(np.float32)[order]
    return Data(name, loss, X[:n], Y[:n], X[n:], Y[n:])


def data_sets(quick: bool) -> Iterator[Data]:
    """Digits; ten classes in 40 columns; a smooth function of 20 columns with noise."""
    from sklearn.datasets import load_digits, make_classification

    X, y = load_digits(return_X_y=True)
    yield split("digits", "cross_entropy", X, np.eye(10)[y])
    if quick:
        return
    X, y = make_classification(
        50_000, 40, n_informative=20, n_classes=10, class_sep=1.5, random_state=0
    )
    yield split("50,000 rows, 10 classes", "cross_entropy", X, np.eye(10)[y])
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100_000, 20))
    f = np.sin(X @ rng.standard_normal((20, 8)) / 3) @ rng.standard_normal(8)
    Y = (f + 0.3 * rng.standard_normal(len(X)))[:, None]
    yield split("100,000 rows, regression", "squared_error", X, Y / Y.std())


def cost(outputs: np.ndarray, Y: np.ndarray, loss: str, logits: bool) -> float:
    """Mean cost of the rows."""
    outputs = np.asarray(outputs, np.float64)
    if loss == "squared_error":
        return float(0.5 * np.mean(np.sum((outputs - Y) ** 2, axis=1)))
    if logits:
        outputs = outputs - outputs.max(axis=1, keepdims=True)
        log_p = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
    else:
        log_p = np.log(np.maximum(outputs, 1e-12))
    return float(-np.mean(np.sum(Y * log_p, axis=1)))


def aim(data: Data, task: Task) -> float:
    """The validation cost at which scikit-learn's own fit ends, and 2 %."""
    peer = libraries.ScikitLearn(task)
    peer.model.set_params(warm_start=True, max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer.model.fit(task.X, peer.target)
    return 1.02 * cost(peer.predict(data.X_val), data.Y_val, data.loss, logits=False)


def reach(kind: type[peers.Peer], task: Task, data: Data, goal: float) -> dict[str, Any]:
    """Seconds in all and of the epochs after the first, and how many epochs; one fit."""
    looking, costs = 0.0, []
    began = time.perf_counter()
    peer = kind(task)

    def after() -> bool:
        nonlocal looking
        now = time.perf_counter()
        outputs = peer.predict(data.X_val)
        costs.append(cost(outputs, data.Y_val, data.loss, peer.gives_logits))
        looking += time.perf_counter() - now
        return costs[-1] <= goal

    seconds = peer.train(MOST_EPOCHS, after)
    total = time.perf_counter() - began - looking
    return {
        "seconds": total,
        "an_epoch": float(np.median(seconds)),
        "epochs": len(seconds),
        "reached": costs[-1] <= goal,
    }


def measure(quick: bool) -> list[dict[str, Any]]:
    """Everybody on every data set, taking turns."""
    rows = []
    for data in data_sets(quick):
        sizes = (data.X.shape[1], 100, data.Y.shape[1])
        task = Task(sizes, 200, data.loss, "adam", 1e-3, data.X, data.Y, starting_values(sizes))
        goal = aim(data, task)
        kinds = [kind for kind in KINDS if peers.installed(*kind.needs)]
        found: dict[str, list[dict[str, Any]]] = {kind.name: [] for kind in kinds}
        for _ in range(1 if quick else 3):
            for kind in kinds:
                found[kind.name].append(reach(kind, task, data, goal))
        for who, runs in found.items():
            more = {
                "an_epoch_ms": 1e3 * float(np.median([run["an_epoch"] for run in runs])),
                "epochs": [run["epochs"] for run in runs],
                "reached": all(run["reached"] for run in runs),
            }
            seconds = [run["seconds"] for run in runs]
            rows.append(row(who, "s", seconds, data=data.name, aim=goal, **more))
        print(".", end="", flush=True)
    return rows
