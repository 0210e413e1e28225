"""What a diagnosis of an estimator for tables is based on: raw rows, out-of-fold predictions.

Its networks have settings that nobody chooses, so what is looked at is what the user can change:
the rows, and how long was trained. Each row's prediction by the networks that were fitted without
it is there already; what the whole model makes of its own rows is computed for a few.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_consistent_length

from chainrule.base.types import Array
from chainrule.ensembles.blending import row_losses
from chainrule.ensembles.inputs import Inputs
from chainrule.explain.evidence import SEED, Rows
from chainrule.explain.models import check_fitted, through_steps
from chainrule.explain.row_errors import in_one_line
from chainrule.explain.trials import Task

COMPARED = 20_000  # most rows whose cells are compared with each other
READ = 1000  # most rows that are encoded
PREDICTED = 200  # most of these that the model predicts


@dataclass
class Judged:
    """How good predictions of some rows are.

    Attributes
    ----------
    loss : float
        Their mean loss, as `chainrule.ensembles.blending.row_losses` has it.
    score : float
        Accuracy, or R².
    m : int
        How many rows.
    """

    loss: float
    score: float
    m: int


@dataclass
class TableEvidence(Rows):
    """A fitted TabularClassifier or TabularRegressor, and the rows that it was fitted to.

    The inputs of `task` and `validation` are numbers that stand for cells: in each column equal
    cells have the same. Columns that only identify rows are left out.

    Attributes
    ----------
    values : list
        For each column that holds one value, this value (None: all cells are missing); Ellipsis
        for others.
    zeros : float
        Which part of the cells of the other columns is 0.
    labels, predicted : (n,) int64 arrays
        Classes of all rows, and those predicted out of fold; empty for numbers.
    out_of_fold : Judged
        All rows whose weight is not 0, each predicted by the networks that were fitted without it.
    constant : float
        The loss of the best constant prediction.
    own, own_out_of_fold : Judged
        Some rows as the whole model predicts them, and out of fold.
    held_out : Judged or None
        Some rows held out.
    inputs : Inputs or None
        Some rows, encoded; None if the model predicts a constant.
    encoded : NDArray
        Which rows these are.
    """

    values: list[Any]
    zeros: float
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    out_of_fold: Judged
    constant: float
    own: Judged
    own_out_of_fold: Judged
    held_out: Judged | None
    inputs: Inputs | None
    encoded: NDArray[np.int64]


def gather_table(model: Any, last: Any, X: Any, y: Any, X_val: Any, y_val: Any) -> TableEvidence:
    """Look at an estimator for tables, alone or at the end of a pipeline, and at its rows.

    Parameters
    ----------
    model : estimator or Pipeline
    last : TabularClassifier or TabularRegressor
        At its end.
    X, y : array-likes or data frames
        All rows that it was fitted to.
    X_val, y_val : array-likes or data frames
        Rows held out, or None.

    Raises
    ------
    ValueError
        Rows, columns or labels do not fit.
    sklearn.exceptions.NotFittedError
        The model is not fitted.
    """
    check_fitted(last, "oof_prediction_")
    if y is None:
        raise ValueError("y is None: a diagnosis compares the outputs with the targets")
    table, fitted_to = as_table(X), len(last.oof_prediction_)
    n = len(table)
    if n != fitted_to:
        raise ValueError(
            f"X has {n:,} rows; a diagnosis of {type(last).__name__} needs the {fitted_to:,} that "
            "it was fitted to, in their order"
        )
    read = drawn(n, READ)
    few = drawn(len(read), PREDICTED)
    with in_one_line(table):
        cells, Y = _through(model, last, table, y, read)
        if last._blend is None:
            inputs, own = None, np.tile(last._constant, (len(few), 1))
        else:
            inputs = next(last._encoded(last._check_table(cells)))[1]
            own = last._blend.predict(inputs.take(few))
    few = read[few]
    outputs = np.asarray(last.oof_prediction_, np.float64).reshape(n, -1)
    if last._task == "regression":
        outputs = last._standardized(outputs)
    used = np.flatnonzero(last._fold_of_row >= 0)
    mean = np.tile(Y[used].mean(axis=0), (len(used), 1))
    some = drawn(n, COMPARED)
    compared, held_out, Y_held = taken(table, some), None, Y[:0]
    if X_val is not None:
        if y_val is None:
            raise ValueError("X_val goes with y_val, which was not given")
        try:
            held = as_table(X_val)
            chosen = drawn(len(held), PREDICTED)
            with in_one_line(held):
                cells, Y_held = _through(model, last, held, y_val, chosen)
                held_out = _judged(last, Y_held[chosen], last._outputs(cells))
        except ValueError as error:
            raise ValueError(f"X_val, y_val: {error}") from None
        some_held = drawn(len(held), COMPARED)
        Y_held = Y_held[some_held]
        compared = _together(compared, taken(held, some_held))
    names = _names(table)
    kinds = _kinds(model, last)
    kept = [j for j, name in enumerate(names) if kinds.get(name) != "identifier"]
    values, zeros = _constants(table, kept)
    codes = _codes(compared)[:, kept].astype(np.float64)
    classes = last._task == "classification"
    labels = Y.argmax(axis=1).astype(np.int64) if classes else np.zeros(0, np.int64)
    return TableEvidence(
        given=None,
        task=Task(codes[: len(some)], Y[some], labels[some] if classes else None, Y.shape[1]),
        n=n,
        validation=None if held_out is None else Task(codes[len(some) :], Y_held, None, 0),
        validation_given=None,
        names=[names[j] for j in kept],
        class_names=[str(one) for one in getattr(last, "classes_", ())],
        estimator=last,
        values=values,
        zeros=zeros,
        labels=labels,
        predicted=outputs.argmax(axis=1).astype(np.int64) if classes else labels,
        out_of_fold=_judged(last, Y[used], outputs[used]),
        constant=_judged(last, Y[used], mean).loss,
        own=_judged(last, Y[few], own),
        own_out_of_fold=_judged(last, Y[few], outputs[few]),
        held_out=held_out,
        inputs=inputs,
        encoded=read,
    )


def as_table(X: Any) -> Any:
    """X as a pandas frame, or as an array of two axes if it is no frame.

    Raises
    ------
    ValueError
        It has another number of axes.
    """
    if hasattr(X, "columns") or hasattr(X, "column_names") or hasattr(X, "collect_schema"):
        from chainrule.tables.cells import as_frame

        return as_frame(X)
    array = np.asarray(X)
    if array.ndim != 2:
        raise ValueError(f"X must have two axes, (rows, columns); got the shape {array.shape}")
    return array


def taken(table: Any, rows: NDArray[np.int64]) -> Any:
    """Return some rows of a frame or array."""
    return table.iloc[rows] if hasattr(table, "iloc") else table[rows]


def drawn(n: int, most: int) -> NDArray[np.int64]:
    """Return which of n rows are looked at, in their order."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(SEED).choice(n, most, replace=False))


def _judged(last: Any, Y: Array, outputs: Array) -> Judged:
    loss = float(row_losses(outputs, Y, last._loss).mean())
    if last._task == "classification":
        score = float((outputs.argmax(axis=1) == Y.argmax(axis=1)).mean())
    else:
        spread = float(((Y - Y.mean(axis=0)) ** 2).mean())
        score = 1 - loss / spread if spread > 0 else float("nan")
    return Judged(loss, score, len(Y))


def _through(
    model: Any, last: Any, table: Any, y: Any, rows: NDArray[np.int64]
) -> tuple[Any, NDArray[np.float64]]:
    """Return (some rows as the last step takes them, the targets of all)."""
    check_consistent_length(table, y)
    cells, target, _ = through_steps(model, taken(table, rows), y)
    return cells, np.asarray(last._known_target(target), np.float64)


def _names(table: Any) -> list[str]:
    if hasattr(table, "iloc"):
        return [str(name) for name in table]
    return [f"x{j}" for j in range(table.shape[1])]


def _kinds(model: Any, last: Any) -> dict[str, str]:
    """Return the kind of each column, by the first step that has found some."""
    for _, step in getattr(model, "steps", ()):
        if hasattr(step, "kinds_"):
            return dict(step.kinds_)
    return dict(last.kinds_)


def _together(learned: Any, held: Any) -> Any:
    """Return rows held out below rows learned from."""
    if hasattr(learned, "iloc"):
        import pandas as pd

        held = held if hasattr(held, "iloc") else pd.DataFrame(held, columns=learned.columns)
        return pd.concat([learned, held[list(learned.columns)]], ignore_index=True)
    return np.concatenate([learned, np.asarray(held)])


def _columns(table: Any) -> list[Any]:
    return [table[name] for name in table] if hasattr(table, "iloc") else list(table.T)


def _codes(table: Any) -> NDArray[np.int64]:
    """Return a number for each cell; in a column equal ones have the same, and missing ones -1."""
    return np.stack([_numbered(column) for column in _columns(table)], axis=1)


def _numbered(cells: Any) -> NDArray[np.int64]:
    if hasattr(cells, "factorize"):  # pandas
        return np.asarray(cells.factorize()[0], np.int64)
    if cells.dtype.kind in "biuf":
        codes = np.unique(cells, return_inverse=True)[1]
        return np.where(np.isnan(cells), -1, codes.reshape(-1)).astype(np.int64)
    known: dict[Any, int] = {}
    return np.array(
        [
            -1 if cell is None or cell != cell else known.setdefault(cell, len(known))
            for cell in cells.tolist()
        ],
        np.int64,
    )


def _constants(table: Any, kept: list[int]) -> tuple[list[Any], float]:
    """Return the one value of each column that is kept, and which part of the others is 0."""
    columns = _columns(table)
    values: list[Any] = []
    cells, zeros = 0, 0
    for j in kept:
        codes, array = _numbered(columns[j]), np.asarray(columns[j])
        if (codes == codes[0]).all():
            values.append(None if codes[0] == -1 else array[0])
            continue
        values.append(...)
        if array.dtype.kind in "biuf":
            cells, zeros = cells + len(array), zeros + int((array == 0).sum())
    return values, zeros / max(cells, 1)
