"""Small fits as people begin with: the estimators' defaults on small data sets, and grids of them.

Both have the same standardised columns and run as they come, 200 epochs at most. What was compiled
is in the cache and loaded: each takes a first fit that does not count. Checking the input,
setting up and looking for convergence count, as for a user.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.timing import row, take_turns

OURS, THEIRS = "chainrule", "scikit-learn"
GRID = {
    "alpha": [1e-5, 1e-4, 1e-3],
    "learning_rate_init": [3e-4, 1e-3, 3e-3],
}  # of 5 folds: 45 fits
LARGE_GRID = {"alpha": np.logspace(-6, 0, 200)}  # of 5 folds: 1,000 fits


def data_sets() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Names, standardised columns and classes; penguins where their package is installed."""
    from sklearn import datasets
    from sklearn.preprocessing import StandardScaler

    for name in ("iris", "wine", "breast_cancer", "digits"):
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        yield name, StandardScaler().fit_transform(X), y
    if peers.installed("palmerpenguins", "pandas"):
        import pandas as pd
        from palmerpenguins import load_penguins

        table = load_penguins().dropna()
        inputs = pd.get_dummies(table.drop(columns=["species", "year"])).to_numpy(float)
        yield "penguins", StandardScaler().fit_transform(inputs), table.species.to_numpy()


def estimators() -> dict[str, Any]:
    """Both estimators, with their defaults."""
    import sklearn.neural_network

    import chainrule

    return {
        OURS: chainrule.MLPClassifier(random_state=0),
        THEIRS: sklearn.neural_network.MLPClassifier(random_state=0),
    }


def searches(grid: dict[str, Any], n_jobs: int | None) -> dict[str, Any]:
    """A grid search over each of the two."""
    from sklearn.model_selection import GridSearchCV

    return {
        who: GridSearchCV(estimator, grid, cv=5, n_jobs=n_jobs, refit=False)
        for who, estimator in estimators().items()
    }


def seconds(fit: Callable[[], Any]) -> float:
    """Of a fit, which may end before it has converged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        began = time.perf_counter()
        fit()
        return time.perf_counter() - began


def compare(what: str, data: str, both: dict[str, Any], X: Any, y: Any, rounds: int) -> Any:
    """Rows of the two, in turns."""
    turns = {
        who: lambda model=model: seconds(lambda: model.fit(X, y)) for who, model in both.items()
    }
    for who, values in take_turns(turns, rounds).items():
        engine = {"engine": both[who].engine_} if hasattr(both[who], "engine_") else {}
        yield row(who, "ms", 1e3 * np.array(values), what=what, data=data, **engine)


def measure(quick: bool) -> list[dict[str, Any]]:
    """A fit and a grid of 45 on each data set; 1,000 fits in two processes."""
    rows: list[dict[str, Any]] = []
    for data, X, y in data_sets():
        for model in estimators().values():
            seconds(lambda model=model, X=X, y=y: model.fit(X, y))
        rows += compare("one fit", data, estimators(), X, y, 3 if quick else 9)
        if not (quick and data == "digits"):
            rows += compare("45 fits", data, searches(GRID, None), X, y, 1 if quick else 3)
        if data == "iris" and not quick:
            rows += compare("1,000 fits, 2 processes", data, searches(LARGE_GRID, 2), X, y, 1)
        print(".", end="", flush=True)
    return rows
