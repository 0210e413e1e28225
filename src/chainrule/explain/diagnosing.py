"""Finds what is wrong with a training from its numbers: `diagnose`."""

from __future__ import annotations

from typing import Any

from chainrule.explain import faults_of_data, faults_of_networks, faults_of_training
from chainrule.explain.evidence import gather
from chainrule.explain.findings import Diagnosis
from chainrule.explain.models import last_step

# A fault that is found may explain another one, so those of the network come first.
FAULTS = (*faults_of_networks.FAULTS, *faults_of_data.FAULTS, *faults_of_training.FAULTS)
CODES = (
    "symmetric-start",
    "dead-units",
    "saturated-units",
    "exploding-gradient",
    "vanishing-gradient",
    "lost-class",
    "unscaled-inputs",
    "constant-inputs",
    "contradicting-labels",
    "label-noise",
    "duplicate-rows",
    "learning-rate-high",
    "learning-rate-low",
    "too-few-units",
    "underfitting",
    "overfitting",
)


def diagnose(
    model: Any,
    X: Any,
    y: Any,
    *,
    X_val: Any = None,
    y_val: Any = None,
    history: Any = None,
    learning_rate: float | None = None,
    optimizer: Any = None,
    batch_size: int | None = None,
) -> Diagnosis:
    """Say what holds a training back, by which numbers, and what to change.

    Parameters
    ----------
    model : Network, estimator, Pipeline, or list of (W, b) pairs
        As for :func:`chainrule.trace`; or a TabularClassifier or TabularRegressor, alone or at the
        end of a pipeline. It is not changed.
    X, y : array-likes
        The rows that it has learned from, as for :func:`chainrule.trace`. An estimator for tables
        needs all of them, in their order: it keeps a prediction of each.
    X_val, y_val : array-likes, optional
        Rows held out. Without them overfitting shows only where the estimator has held out rows
        itself, or predicted them out of fold.
    history : optional
        What :func:`chainrule.train` returned, a list of records, or of losses by epoch. Default:
        the estimator's own.
    learning_rate : float, optional
        Default: the estimator's. A network has none; without it, the rate is not judged.
    optimizer : str or Optimizer, optional
        That the rate belongs to. Default: the estimator's; "sgd" for a network.
    batch_size : int, optional
        Default: the estimator's; 10 for a network.

    Returns
    -------
    Diagnosis
        A list of findings, the heaviest first, empty if nothing was found. Each has `code`,
        `message`, `evidence`, `advice`, `change` (code), `weight` and `plot()`.

    Raises
    ------
    TypeError, ValueError, sklearn.exceptions.NotFittedError
        As :func:`chainrule.trace`.

    Notes
    -----
    Codes: "symmetric-start", "dead-units", "saturated-units", "exploding-gradient",
    "vanishing-gradient", "lost-class", "unscaled-inputs", "constant-inputs",
    "contradicting-labels", "label-noise", "duplicate-rows", "learning-rate-high",
    "learning-rate-low", "too-few-units", "underfitting", "overfitting".

    At most 4000 rows are looked at. Whether a network fits its rows badly is found by a trial: a
    plain network of 32 units is trained for 600 steps on 70 % of the rows, and judged on the
    others; if these are read clearly better than the model reads the rows that it has learned
    from, more was attainable. Whether the learning rate is at fault is found by 200 more steps, on
    a copy, at this rate and others. The trials last about a second.

    A TabularClassifier or TabularRegressor scales its inputs and chooses starting values, widths
    and learning rates itself, so that nothing is said of these. Its findings are about

    - the rows, of which at most 20,000 are compared with each other: "constant-inputs",
      "contradicting-labels", "duplicate-rows", "label-noise";
    - its predictions out of fold: "lost-class"; "overfitting", if they are far worse than those of
      rows learned from, or those of rows held out are far worse; "underfitting", if they are no
      better than a constant, or the networks were still improving when `max_epochs` or
      `time_limit` ended their training;
    - units of its networks that are off on every row: "dead-units".

    There is no trial, and it takes some hundredths of a second.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import Network, diagnose
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> net = Network((3, 8, 1), init="zeros")
    >>> diagnose(net, X, X[:, :1]).codes[0]
    'symmetric-start'
    """
    last = last_step(model)
    if hasattr(last, "oof_importances") and not isinstance(last, type):
        own = {
            "history": history,
            "learning_rate": learning_rate,
            "optimizer": optimizer,
            "batch_size": batch_size,
        }
        for name, value in own.items():
            if value is not None:
                raise ValueError(
                    f"{name} goes with a single network; {type(last).__name__} has settings of "
                    "its own"
                )
        return _diagnose_table(model, last, X, y, X_val, y_val)
    seen = gather(model, X, y, X_val, y_val, history, learning_rate, optimizer, batch_size)
    return Diagnosis(finding for fault in FAULTS for finding in fault(seen))


def _diagnose_table(model: Any, last: Any, X: Any, y: Any, X_val: Any, y_val: Any) -> Diagnosis:
    """Say what is found in a TabularClassifier or TabularRegressor, and in its rows."""
    from chainrule.engine.threads import one_blas_thread
    from chainrule.explain import faults_of_tables
    from chainrule.explain.evidence_of_tables import gather_table

    with one_blas_thread():  # all matrices are small
        seen = gather_table(model, last, X, y, X_val, y_val)
        return Diagnosis(finding for fault in faults_of_tables.FAULTS for finding in fault(seen))
