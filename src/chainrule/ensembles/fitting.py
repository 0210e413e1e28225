"""Training an ensemble: epochs, the loss outside of the folds, the best epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from chainrule.base.types import Array, Index
from chainrule.base.validation import suggest
from chainrule.engine.threads import one_blas_thread
from chainrule.ensembles.fitted import FittedEnsemble
from chainrule.ensembles.inputs import InputLayout, Inputs, check_inputs, encoded
from chainrule.ensembles.loop import Loop, choose_engine
from chainrule.ensembles.parameters import arrange, starting_values
from chainrule.ensembles.settings import LOSSES, EnsembleSettings, check_settings
from chainrule.training.train import begin

__all__ = ["FittedEnsemble", "fit_ensemble"]

SHORTEST_WAIT, LONGER_WAIT = 5, 1 / 4  # epochs without a lower loss; of those up to the best one


def fit_ensemble(
    inputs: Inputs,
    layout: InputLayout,
    Y: Array,
    row_weights: Array | None,
    folds: Index,
    settings: EnsembleSettings,
    *,
    loss: str = "softmax",
    seed: int = 0,
    engine: str = "auto",
    n_threads: int | None = None,
    deadline: float | None = None,
    callback: Callable[[Mapping[str, Any]], Any] | None = None,
) -> FittedEnsemble:
    """Train k networks, each on the rows outside of one fold, up to their best common epoch.

    Parameters
    ----------
    inputs : Inputs of n rows
    layout : InputLayout
    Y : (n, K)
        Probabilities of the classes, one-hot for instance; or targets of about unit variance.
    row_weights : (n,) or None
        What each row counts for; their mean should be 1. Default: 1.
    folds : (n,) integers from 0 to F - 1
        Member i never learns from fold i mod F.
    settings : EnsembleSettings
    loss : {"softmax", "squared"}
        Cross-entropy after softmax, or half the squared error.
    seed : int
    engine : {"auto", "numpy", "numba"}
        "auto" decides by shapes and epochs alone.
    n_threads : int, optional
        At most so many threads; the bits do not depend on it.
    deadline : float, optional
        A value of ``time.monotonic()``, at which training ends with the epoch that is running.
        After each epoch the schedules are shortened to the epochs that will fit in by then.
    callback : callable (dict) -> bool or None, optional
        Called after each epoch with `epoch`, `epochs` (planned) and `loss`, that of the ensemble
        outside of the folds; a true result stops the training, and so does StopIteration.

    Returns
    -------
    FittedEnsemble
        With the running average of the parameters as it was at the end of the best epoch.

    Raises
    ------
    ValueError
        What does not fit together.
    DivergenceError
        Something became infinite or NaN.

    Notes
    -----
    Ctrl-C ends the training with the best epoch so far; before the first epoch has ended it is
    raised.
    """
    check_settings(settings)
    check_inputs(inputs, layout)
    if loss not in LOSSES:
        raise ValueError(f"unknown loss {loss!r}; {suggest(str(loss), LOSSES)}")
    n, K = inputs.n, Y.shape[1] if Y.ndim == 2 else 0
    folds = np.ascontiguousarray(folds, np.int64)
    weight = np.ones(n, np.float32) if row_weights is None else row_weights
    if Y.shape != (n, K) or K == 0 or folds.shape != (n,) or weight.shape != (n,) or n == 0:
        raise ValueError(
            f"Y, row_weights and folds must be of the {n} rows of the inputs, one or more; they "
            f"have the shapes {Y.shape}, {weight.shape} and {folds.shape}"
        )
    if folds.min() < 0 or folds.max() >= settings.folds:
        raise ValueError(f"folds must be from 0 to {settings.folds - 1}")
    rng = np.random.Generator(np.random.Philox(seed))
    steps = max(1, round(n / settings.batch))
    arrangement = arrange(layout, settings, K, -(-n // steps))
    x = encoded(inputs, layout)
    with one_blas_thread(), np.errstate(all="ignore"):
        theta = starting_values(inputs, layout, settings, arrangement, rng)
    key = int(rng.integers(1 << 53))
    chosen = choose_engine(engine, layout, settings, K, n)
    loop = begin(
        lambda kind: Loop(
            x,
            np.ascontiguousarray(Y, np.float32),
            np.ascontiguousarray(weight, np.float32),
            folds,
            settings,
            arrangement,
            theta,
            loss=loss,
            seed=seed,
            key=key,
            engine=kind,
            n_threads=n_threads,
        ),
        engine,
        chosen,
    )
    best, best_epoch, best_theta, outside = math.inf, -1, theta, loop.data.outside
    losses: list[float] = []
    stopped = None
    try:
        with loop.at_work():
            began, epochs, epoch = time.monotonic(), settings.epochs, -1
            while epoch + 1 < epochs:
                epoch += 1
                loop.epoch(epoch)
                value = loop.outside_loss()
                if not (math.isfinite(value) and np.isfinite(loop.state.theta).all()):
                    raise loop.explain(epoch)
                losses.append(value)
                if value <= best:
                    best, best_epoch = value, epoch
                    best_theta, outside = loop.state.average.copy(), loop.data.outside.copy()
                if epoch - best_epoch >= max(SHORTEST_WAIT, LONGER_WAIT * best_epoch):
                    stopped = "patience"
                    break
                if callback is not None and callback(
                    {"epoch": epoch, "epochs": epochs, "loss": value}
                ):
                    stopped = "callback"
                    break
                if deadline is None:
                    continue
                now = time.monotonic()
                if now >= deadline:
                    stopped = "deadline"
                    break
                more = max(1, int((deadline - now) * (epoch + 1) / (now - began)))
                if epoch + 1 + more < epochs:  # so that the schedules come to their ends
                    epochs = epoch + 1 + more
                    loop.plan_epochs(epochs)
    except KeyboardInterrupt:
        if not losses:
            raise
        stopped = "interrupted"
    except StopIteration:
        stopped = "callback"
    low, high = loop.data.low, loop.data.high
    return FittedEnsemble(
        layout,
        settings,
        loss,
        best_theta,
        low,
        high,
        oof=outside,
        best_epoch=best_epoch,
        best_loss=best,
        history={"loss": losses},
        engine=loop.engine,
        stopped=stopped,
    )
