"""What a diagnosis is based on: numbers of a network on the rows that it has learned from.

The network is the one that training sees: where an estimator standardises, so does its first layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.base.types import Array
from chainrule.equations import backprop
from chainrule.explain.models import Viewed, as_trained, last_step, view
from chainrule.explain.trials import Task, held_out_score, score_of
from chainrule.network.network import Network
from chainrule.training.train import check_count

MOST_ROWS = 4000  # that are looked at
SEED = 0  # of the choice of rows, and of trials


@dataclass
class Rows:
    """What a model has learned from, whatever the model.

    Attributes
    ----------
    given : (n, k) array or None
        All rows as the user has them, if they are numbers.
    task : Task
        What the rows are, for trials: standardised inputs, classes or numbers. Of many rows, some
        that are drawn at random.
    n : int
        All rows.
    validation : Task or None
        Rows held out.
    validation_given : (n, k) array or None
        The same as the user has them.
    names : list of str
        Of the inputs.
    class_names : list of str
    estimator : estimator or None
    """

    given: NDArray[np.float64] | None
    task: Task
    n: int
    validation: Task | None
    validation_given: NDArray[np.float64] | None
    names: list[str]
    class_names: list[str]
    estimator: Any


@dataclass
class Evidence(Rows):
    """A network, its rows, and how it was trained.

    Attributes
    ----------
    network : Network
        As training sees it.
    X, Y : (m, n_0), (m, n_targets) arrays
        Rows, as the network accepts them; of many rows, some that are drawn at random.
    losses, validation_losses : (epochs,) float64
        Empty where they are not known.
    rate : float or None
        The learning rate, if it is known.
    optimizer : Optimizer
    hyper : dict of str to float
    batch_size : int
    """

    network: Network
    X: Array
    Y: Array
    losses: NDArray[np.float64]
    validation_losses: NDArray[np.float64]
    rate: float | None
    optimizer: Any
    hyper: dict[str, float]
    batch_size: int
    memory: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def batch(self) -> backprop.Batch:
        """z, a and δ of all layers on these rows; δ is of the mean cost."""
        network = self.network
        net, batch = network.bind(len(self.X))
        batch.a[0][:] = self.X
        with np.errstate(all="ignore"):
            backprop.forward(net, batch)
            backprop.output_error(net, network.loss.delta, self.Y, batch)
            backprop.backward(net, batch)
        return batch

    @cached_property
    def finite(self) -> bool:
        """Whether outputs and errors are finite numbers."""
        batch = self.batch
        arrays = (*list(batch.a), *list(batch.delta)[1:])
        return all(bool(np.isfinite(array).all()) for array in arrays)

    @cached_property
    def hidden(self) -> list[int]:
        """Hidden layers whose units activate: those with weights, or the norms behind these."""
        network = self.network
        last = int(network.weight_layers()[-1])
        layers = []
        for l in network.weight_layers().tolist():
            if l == last:
                break
            normed = l + 1 < last and network.layers[l + 1].is_normalisation
            layers.append(l + 1 if normed else l)
        return layers

    @cached_property
    def first(self) -> int:
        """The first layer with weights."""
        return int(self.network.weight_layers()[0])

    def slope(self, l: int) -> Array:
        """σ′(z^l), (m, n_l)."""
        from chainrule.explain.worked import slopes

        z, a = self.batch.z[l], self.batch.a[l]
        found = slopes(self.network, l, z, a)
        return np.ones_like(z) if found is None else found

    @cached_property
    def outputs(self) -> Array:
        """a^L, (m, n_L)."""
        found: Array = self.batch.a[self.network.L]
        return found

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """The class that each row is taken for."""
        out = self.outputs
        if out.shape[1] == 1:
            found: NDArray[np.int64] = (out[:, 0] > 0.5).astype(np.int64)
            return found
        best: NDArray[np.int64] = out.argmax(axis=1).astype(np.int64)
        return best

    @cached_property
    def score(self) -> float:
        """Accuracy or R² on the rows themselves; NaN where neither has a meaning."""
        if not self.finite:
            return -np.inf
        if self.task.labels is not None:
            return float((self.predicted == self.task.labels).mean())
        # R² of outputs that are far off is a large negative number.
        return score_of(
            self._in_units_of_targets(), self.task._replace(targets=self.Y.astype(np.float64))
        )

    def _in_units_of_targets(self) -> Array:
        k = self.task.targets.shape[1]
        levels = self.network.sizes[-1] // k
        if self.network.loss.levels:
            return self.outputs[:, levels // 2 :: levels]
        return self.outputs[:, :k]

    @cached_property
    def attainable(self) -> float:
        """Score on rows held out of a plain network that was trained for a moment; NaN: unknown."""
        return held_out_score(self.task, (32,))

    @cached_property
    def is_poor(self) -> bool:
        """Whether the network fits its own rows clearly worse than that one fits rows held out."""
        if self.task.labels is not None and 1 - self.score <= margin(self.task):
            return False  # nothing could be clearly better: no trial is needed
        if not np.isfinite(self.attainable):
            return False
        if not np.isfinite(self.score):
            return True
        return self.attainable - self.score > margin(self.task)


def margin(task: Task) -> float:
    """Return by how much scores differ that are clearly different."""
    if task.labels is None:
        return 0.1
    m = max(1, int(0.3 * len(task.labels)))
    return float(0.05 + 1.0 / np.sqrt(m))


def gather(
    model: Any,
    X: Any,
    y: Any,
    X_val: Any,
    y_val: Any,
    history: Any,
    learning_rate: float | None,
    optimizer: Any,
    batch_size: int | None,
) -> Evidence:
    """Look at a model and its rows.

    Raises
    ------
    TypeError, ValueError, sklearn.exceptions.NotFittedError
        As :func:`chainrule.explain.models.view`.
    """
    if y is None:
        raise ValueError("y is None: a diagnosis compares the outputs with the targets")
    seen = view(model, X, y)
    assert seen.Y is not None
    n = len(seen.X)
    rows = some_rows(n)
    network, A, B = as_trained(seen, rows)
    task = _task(seen, y, rows)
    validation = None
    if X_val is not None:
        if y_val is None:
            raise ValueError("X_val goes with y_val, which was not given")
        try:
            held = view(model, X_val, y_val)
        except ValueError as error:
            raise ValueError(f"X_val, y_val: {error}") from None
        validation = _task(held, y_val, some_rows(len(held.X)))
        validation = validation._replace(
            outputs=held.network.predict(held.X[some_rows(len(held.X))])
        )
    losses, validation_losses = _curves(seen.estimator, history)
    hyper = dict(seen.hyper)
    chosen = seen.optimizer
    if optimizer is not None:
        from chainrule.base.validation import look_up
        from chainrule.equations.optimizers import OPTIMIZERS

        chosen = look_up("optimizer", optimizer, OPTIMIZERS)
        hyper = dict(chosen.hyper)
    rate = learning_rate
    if rate is None and seen.estimator is not None and seen.estimator.solver != "lbfgs":
        rate = hyper["learning_rate"]
    if rate is not None and not (np.isreal(rate) and 0 < rate < np.inf):
        raise ValueError(f"learning_rate must be a finite number above 0; got {rate!r}")
    return Evidence(
        network=network,
        X=A,
        Y=B,
        given=_numbers(X),
        task=task,
        n=n,
        validation=validation,
        validation_given=None if X_val is None else _numbers(X_val),
        losses=losses,
        validation_losses=validation_losses,
        rate=None if rate is None else float(rate),
        optimizer=chosen,
        hyper=hyper,
        batch_size=_batch(seen.estimator, batch_size, n),
        names=seen.input_names,
        class_names=seen.output_names,
        estimator=seen.estimator,
    )


def some_rows(n: int) -> NDArray[np.int64]:
    """Return which of n rows are looked at."""
    if n <= MOST_ROWS:
        return np.arange(n)
    chosen = np.random.default_rng(SEED).choice(n, MOST_ROWS, replace=False)
    return np.sort(chosen)


def _task(seen: Viewed, y: Any, rows: NDArray[np.int64]) -> Task:
    """Return what the rows are: standardised inputs, and classes or numbers."""
    assert seen.Y is not None
    A, B = seen.X[rows].astype(np.float64), seen.Y[rows].astype(np.float64)
    labels = None
    last = seen.estimator
    if last is not None and hasattr(last, "classes_"):
        known = last.classes_
        array = np.asarray(y).reshape(-1)[rows] if np.ndim(y) else np.asarray([y])
        if not isinstance(known, list) and np.ndim(y) < 2 and len(array) == len(rows):
            labels = np.searchsorted(known, array).astype(np.int64)
    elif last is None:
        labels = _labels_of_rows(B, seen.network.loss.target)
    count = 0 if labels is None else max(B.shape[1], 2)
    return Task(A, B, labels, count)


def _labels_of_rows(Y: Array, target: str) -> NDArray[np.int64] | None:
    """Return the classes, if the targets are rows of 0 and 1 that stand for one class each."""
    if not np.isin(Y, (0, 1)).all():
        return None
    if Y.shape[1] == 1:
        binary = target == "labels" and len(np.unique(Y)) == 2
        labels: NDArray[np.int64] = Y[:, 0].astype(np.int64)
        return labels if binary else None
    if (Y.sum(axis=1) != 1).any():
        return None
    found: NDArray[np.int64] = Y.argmax(axis=1).astype(np.int64)
    return found


def _numbers(X: Any) -> NDArray[np.float64] | None:
    """Return all rows as numbers, if they are."""
    if hasattr(X, "toarray"):
        return None
    try:
        array: NDArray[np.float64] = np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return array if array.ndim == 2 else None


def _curves(estimator: Any, history: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (losses, validation losses) by epoch."""
    nothing: NDArray[np.float64] = np.zeros(0)
    if history is None and estimator is not None:
        history = getattr(estimator, "history_", None) or getattr(estimator, "loss_curve_", None)
    if history is None:
        return nothing, nothing
    epochs = getattr(history, "epochs", history)
    if not isinstance(epochs, Sequence | np.ndarray):
        raise TypeError(
            "history must be what chainrule.train returned, a list of records or of losses; got "
            f"{type(history).__name__}"
        )
    losses, held = [], []
    for record in epochs:
        if isinstance(record, Mapping):
            losses.append(record.get("loss"))
            held.append(record.get("validation_loss"))
        else:
            losses.append(getattr(record, "cost", record))
    try:
        return _curve(losses), _curve(held)
    except (TypeError, ValueError):
        raise TypeError("history holds something that is neither a record nor a loss") from None


def _curve(values: list[Any]) -> NDArray[np.float64]:
    if not any(value is not None for value in values):
        return np.zeros(0)
    curve: NDArray[np.float64] = np.array(
        [np.nan if value is None else float(value) for value in values]
    )
    return curve


def _batch(estimator: Any, batch_size: int | None, n: int) -> int:
    if batch_size is None:
        batch_size = 10 if estimator is None else estimator.batch_size
    if batch_size == "auto":
        return min(200, n)
    return min(check_count("batch_size", batch_size), n)


def step_of(model: Any) -> str:
    """Return what the model's class is called in code."""
    return type(last_step(model)).__name__
