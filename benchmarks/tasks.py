"""What is trained: networks, batch sizes, data and starting values, the same for everybody."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

LEARNING_RATE = 1e-4  # small: the targets are noise, and nobody's training shall blow up


class Case(NamedTuple):
    """A network, a batch size, and how many steps an epoch takes."""

    name: str
    sizes: tuple[int, ...]
    batch: int
    steps: int


DEEP = (10, *[32] * 20, 1)
CASES = {
    case.name: case
    for case in (
        Case("tiny", (64, 100, 10), 10, 200),
        Case("small", (64, 100, 10), 200, 40),
        Case("large", (784, 512, 512, 10), 128, 12),
        Case("large batch", (784, 512, 512, 10), 1024, 4),
        Case("three hidden layers", (20, 256, 256, 256, 1), 256, 16),
        Case("deep and narrow", DEEP, 64, 40),
    )
}


class Task(NamedTuple):
    """A training, complete: ReLU in the hidden layers, float32, rows a multiple of the batch.

    Attributes
    ----------
    loss : "squared_error" (identity outputs) or "cross_entropy" (softmax outputs)
    optimizer : "sgd" (plain) or "adam" (β₁ 0.9, β₂ 0.999, ε 1e-8)
    Y : targets; one-hot rows for cross-entropy
    start : (W, b) of each layer; W is (n_in, n_out)
    """

    sizes: tuple[int, ...]
    batch: int
    loss: str
    optimizer: str
    learning_rate: float
    X: np.ndarray
    Y: np.ndarray
    start: list[tuple[np.ndarray, np.ndarray]]

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return len(self.X) // self.batch

    @property
    def labels(self) -> np.ndarray:
        """Numbers of the classes."""
        return np.argmax(self.Y, axis=1)


def starting_values(sizes: tuple[int, ...], seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights after Glorot and Bengio (2010), biases 0, float32."""
    rng = np.random.default_rng(seed)
    pairs = []
    for n_in, n_out in itertools.pairwise(sizes):
        bound = np.sqrt(6 / (n_in + n_out))
        W = rng.uniform(-bound, bound, (n_in, n_out)).astype(np.float32)
        pairs.append((W, np.zeros(n_out, np.float32)))
    return pairs


def noise_task(case: Case, loss: str, optimizer: str, **changes: Any) -> Task:
    """A case with normal inputs and random classes (one output: normal targets)."""
    rng = np.random.default_rng(1)
    n = case.steps * case.batch
    X = rng.standard_normal((n, case.sizes[0]), np.float32)
    if case.sizes[-1] > 1:
        Y = np.eye(case.sizes[-1], dtype=np.float32)[rng.integers(0, case.sizes[-1], n)]
    else:
        Y = rng.standard_normal((n, 1), np.float32)
    task = Task(
        case.sizes, case.batch, loss, optimizer, LEARNING_RATE, X, Y, starting_values(case.sizes)
    )
    return task._replace(**changes)
