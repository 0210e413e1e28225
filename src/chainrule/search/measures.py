"""What a search makes as small as it can: the mean of a loss of each row."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.base.validation import suggest

Rows = NDArray[np.float64]
SMALLEST = 1e-15  # probability that the log loss counts for one of 0


class Measure(NamedTuple):
    """A measure of predictions, the smaller the better.

    Attributes
    ----------
    name, label : str
        In code and in print.
    task : {"classification", "regression"}
    root : bool
        Whether it is the square root of the mean of the rows' losses.
    """

    name: str
    label: str
    task: str
    root: bool = False

    def of(self, losses: Rows, weight: Rows | None = None) -> Any:
        """The measure, of the losses of rows.

        Parameters
        ----------
        losses : (..., n) array
        weight : (..., n) array or None, default=None
            What each row counts for; not all 0. None: every row counts once.

        Returns
        -------
        (...) array
        """
        if weight is None:
            mean = losses.mean(axis=-1)
        else:
            mean = (losses * weight).sum(axis=-1) / weight.sum(axis=-1)
        return np.sqrt(mean) if self.root else mean


MEASURES = {
    each.name: each
    for each in (
        Measure("log_loss", "log loss", "classification"),
        Measure("error", "share of wrong classes", "classification"),
        Measure("rmse", "RMSE", "regression", root=True),
        Measure("mae", "MAE", "regression"),
    )
}


def measure_for(task: str, name: str | None, weight: Rows | None = None) -> Measure:
    """The measure of this name; None: the log loss, or the RMSE.

    Parameters
    ----------
    task : {"classification", "regression"}
    name : str or None
    weight : (n,) array or None, default=None
        What rows count for; with weights, the label says so.

    Raises
    ------
    ValueError
        It is not known, or one of the other task.
    """
    names = [each.name for each in MEASURES.values() if each.task == task]
    if name is None:
        name = names[0]
    if name not in names:
        raise ValueError(f"the metric of a {task} cannot be {name!r}; {suggest(str(name), names)}")
    found = MEASURES[name]
    return found if weight is None else found._replace(label=f"weighted {found.label}")


def row_losses(measure: Measure, model: Any, X: Any, y: NDArray[Any]) -> Rows:
    """The loss of each row, by the definition of the measure.

    Parameters
    ----------
    measure : Measure
    model : fitted estimator
    X : table of n rows
    y : (n,) array
        A class that the model does not know has a probability of 0.

    Raises
    ------
    ValueError
        The model does not predict one number a row.
    """
    if measure.task == "regression":
        said = np.asarray(model.predict(X), np.float64)
        if said.ndim != 1:
            raise ValueError(
                f"the model predicts {said.shape[1]} numbers a row, and a search compares one"
            )
        error = said - y
        found: Rows = error**2 if measure.root else np.abs(error)
        return found
    chances = model.predict_proba(X)
    classes = np.asarray(model.classes_)
    column = np.searchsorted(classes, y)
    column[column == len(classes)] = 0
    known = classes[column] == y
    if measure.name == "error":
        wrong: Rows = (~known | (chances.argmax(axis=1) != column)).astype(np.float64)
        return wrong
    chance = np.where(known, chances[np.arange(len(y)), column], 0)
    losses: Rows = -np.log(np.clip(chance, SMALLEST, 1))
    return losses
