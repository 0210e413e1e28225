"""Short trainings of other networks on the same rows, which show what was attainable.

They are small, run on NumPy, and give the same numbers each time.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.base.types import Array
from chainrule.base.validation import one_hot
from chainrule.network.network import Network
from chainrule.training.divergence import DivergenceError
from chainrule.training.train import train

STEPS = 600  # of a trial
FEWEST = 40  # rows; fewer show nothing
HELD = 0.3  # part of the rows that is held out
MOST = 2000  # rows of a trial


class Task(NamedTuple):
    """Rows to learn from, whatever model is looked at.

    Attributes
    ----------
    inputs : (m, k) float64
        As the network accepts them.
    targets : (m, n_targets) float64
    labels : (m,) int64 or None
        Classes, from 0; None for numbers and for several targets.
    n_classes : int
    outputs : (m, n_L) array or None
        What the model that is looked at makes of them, if that is known.
    """

    inputs: NDArray[np.float64]
    targets: NDArray[np.float64]
    labels: NDArray[np.int64] | None
    n_classes: int
    outputs: Array | None = None


def standardized(A: NDArray[np.float64], like: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the columns, standardised as others are; constant ones become 0."""
    mean, deviation = like.mean(axis=0), like.std(axis=0)
    varies = deviation > 1e-12 * np.maximum(1, np.abs(mean))
    scaled = np.where(varies, (A - mean) / np.where(varies, deviation, 1), 0)
    return np.clip(scaled, -10, 10)


def score_of(outputs: Array, task: Task) -> float:
    """Return the mean R² over the targets."""
    Y = task.targets
    spread = ((Y - Y.mean(axis=0)) ** 2).sum(axis=0)
    if outputs.shape != Y.shape or not (spread > 0).any():
        return float("nan")
    with np.errstate(all="ignore"):
        missed = ((np.asarray(outputs, np.float64) - Y) ** 2).sum(axis=0)
    keep = spread > 0
    return float(np.mean(1 - missed[keep] / spread[keep]))


def held_out_score(task: Task, hidden: tuple[int, ...]) -> float:
    """Return accuracy or R² on rows held out, of a plain network that is trained on the others.

    Of two, one of tanh and one of ReLU, the better one counts.

    Parameters
    ----------
    task : Task
    hidden : tuple of int
        Its hidden layers.

    Returns
    -------
    float
        NaN if there are too few rows, or targets of another kind.
    """
    m = len(task.inputs)
    if m < FEWEST or (task.labels is None and task.targets.std() == 0):
        return float("nan")
    rng = np.random.default_rng(0)
    rows = rng.permutation(m)[:MOST]
    cut = int(len(rows) * (1 - HELD))
    learnt, held = rows[:cut], rows[cut:]
    A = standardized(task.inputs, task.inputs[learnt])
    if task.labels is not None:
        Y, loss = one_hot(task.labels, task.n_classes), "cross_entropy"
    else:
        Y, loss = standardized(task.targets, task.targets[learnt]), "squared_error"
    scores = []
    for activation, init in (("tanh", "glorot_uniform"), ("relu", "he_normal")):
        network = Network(
            (A.shape[1], *hidden, Y.shape[1]), activation=activation, loss=loss, init=init, seed=0
        )
        if _learns(network, A[learnt], Y[learnt]):
            outputs = network.predict(A[held])
            scores.append(
                float((outputs.argmax(axis=1) == task.labels[held]).mean())
                if task.labels is not None
                else score_of(outputs, Task(A[held], Y[held].astype(np.float64), None, 0))
            )
    return max(scores, default=float("nan"))


def _learns(network: Network, A: Array, Y: Array) -> bool:
    """Train a network of a trial; whether its numbers stayed finite."""
    epochs = max(1, round(STEPS * 32 / len(A)))
    try:
        train(
            network,
            A,
            Y,
            epochs=epochs,
            batch_size=32,
            optimizer="adam",
            learning_rate=0.01,
            seed=0,
            engine="numpy",
            n_threads=1,
        )
    except DivergenceError:
        return False
    return True


def cost_after(
    network: Network,
    X: Array,
    Y: Array,
    optimizer: Any,
    hyper: dict[str, float],
    rate: float,
    batch_size: int,
    steps: int = 200,
) -> float:
    """Return the cost of a copy after some more steps at a rate; infinity if it diverges."""
    if len(X) > MOST:
        rows = np.random.default_rng(0).permutation(len(X))[:MOST]
        X, Y = X[rows], Y[rows]
    copy = network.copy()
    m = min(batch_size, len(X))
    epochs = max(1, round(steps * m / len(X)))
    rest = {name: value for name, value in hyper.items() if name != "learning_rate"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            train(
                copy,
                X,
                Y,
                epochs=epochs,
                batch_size=m,
                optimizer=optimizer,
                learning_rate=rate,
                hyper=rest,
                seed=0,
                engine="numpy",
                n_threads=1,
            )
        except DivergenceError:
            return float("inf")
    with np.errstate(all="ignore"):
        cost = copy.cost(X, Y)
    return cost if np.isfinite(cost) else float("inf")
