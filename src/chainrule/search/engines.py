"""Which engine the fits of a search run on: chosen once, for all of them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from chainrule.engine.compilation import ToolchainError
from chainrule.network.network import Network
from chainrule.search.spaces import Names, defaults_in
from chainrule.search.study import ENGINE
from chainrule.search.trials import Search
from chainrule.training.train import choose_engine as by_work

EPOCHS = 100  # that a fit is taken to last
COMPILED_FROM = 60.0  # seconds of a budget, from which compiling pays


def choose_engine(search: Search, study: Any, seconds: float, notices: list[str]) -> None:
    """Fix the engine of all fits, and compile what they need before the first one.

    A single fit of a small network does not pay for compiling, many do: what counts is the work of
    the whole search. The study keeps the choice, so that a search that goes on has the same bits.

    Parameters
    ----------
    search : Search
        Its `fixed` gets an `engine`.
    study : optuna.Study
    seconds : float
        The budget.
    notices : list of str
        Gets a line if Numba fails.
    """
    if search.fixed.get("engine", "auto") != "auto":
        engine = search.fixed["engine"]
    elif (kept := study.user_attrs.get(ENGINE)) is not None:
        engine = kept
    else:
        engine = _by_work(search, seconds)
    if engine == "numba":
        try:
            _compile(search)
        except ToolchainError as error:
            if "engine" in search.fixed:
                raise ValueError(" ".join(str(error).split())) from None
            notices.append(f"training in NumPy, which is slower: {error}")
            engine = "numpy"
    search.fixed = {**search.fixed, "engine": engine}
    study.set_user_attr(ENGINE, engine)


def _by_work(search: Search, seconds: float) -> str:
    fold = search.folds[0]
    n = len(fold.y)
    outputs = len(np.unique(fold.y)) if search.task == "classification" else 1
    network = Network((fold.X.shape[1], 100, max(1, outputs)), seed=0)
    epochs = EPOCHS * len(search.folds)
    if search.most_trials is not None:
        epochs *= search.most_trials
    elif seconds >= COMPILED_FROM:
        epochs = int(seconds / 1e-6)  # as much as there is time for
    return by_work("auto", network, n, min(32, n), epochs)


def _compile(search: Search) -> None:
    """One epoch of a network with each of the names that the space has."""
    start = defaults_in(search.space)
    points = [start]
    for name, each in search.space.items():
        if isinstance(each, Names) and name != "batch_size":
            points += [{**start, name: value} for value in each.values if value != start[name]]
    fold = search.folds[0]
    whole = search.fixed
    try:
        for point in points:
            search.fixed = {**whole, "engine": "numba", "max_iter": 1}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                search.estimator(point).fit(fold.X, fold.y, **fold.beside)
    except (ValueError, ArithmeticError, MemoryError):
        return  # the trials say what is wrong
    finally:
        search.fixed = whole
