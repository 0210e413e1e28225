"""A grid of small fits in scikit-learn's GridSearchCV, with its MLP and with ours; and tune.

    python -m benchmarks.search [--rounds N] [--candidates N] [--epochs N] [--batches N ...]
                                [--jobs N] [--data NAME ...]

Each contestant searches the same grid over the same folds, in turns. The compiler has been at work
before. What a search costs outside of its fits is the wall time of all processes less the time of
fits and scores that GridSearchCV notes. With one process, processor seconds of one BLAS thread are
shown, which other work on the machine changes less; there is then no second process to start.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from typing import Any

import numpy as np

os.environ["PYTHONWARNINGS"] = "ignore"  # of the processes: fits of few epochs have not converged
FOLDS = 4
ALPHAS = 5
SIZES: list[tuple[int, ...]] = [(16,), (32,), (64,), (16, 16), (32, 32)]


def grid_of(candidates: int) -> dict[str, list[Any]]:
    """So many candidates, of sizes, penalties and rates."""
    rates = candidates // (len(SIZES) * ALPHAS)
    return {
        "hidden_layer_sizes": SIZES,
        "alpha": list(np.geomspace(1e-4, 1, ALPHAS)),
        "learning_rate_init": list(np.geomspace(1e-3, 1e-2, rates)),
    }


def searched(model: Any, grid: Any, X: Any, y: Any, jobs: int) -> tuple[float, float, float]:
    """(seconds, those outside of fits and scores, best score)."""
    from sklearn.model_selection import GridSearchCV
    from threadpoolctl import threadpool_limits

    search = GridSearchCV(model, grid, cv=FOLDS, n_jobs=jobs, refit=False)
    began, worked = time.perf_counter(), time.process_time()
    with threadpool_limits(1 if jobs == 1 else None):
        search.fit(X, y)
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    noted = search.cv_results_
    inside = FOLDS * float((noted["mean_fit_time"] + noted["mean_score_time"]).sum())
    counted = worked if jobs == 1 else seconds
    return counted, seconds * jobs - inside, float(search.best_score_)


def main() -> None:
    """Run all, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--candidates", type=int, default=250)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--data", nargs="+", default=["iris", "breast_cancer"])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batches", type=int, nargs="+", default=[200, 32, 16])
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    from sklearn import datasets
    from sklearn.neural_network import MLPClassifier as ScikitLearn
    from sklearn.preprocessing import StandardScaler

    from chainrule import MLPClassifier

    grid = grid_of(asked.candidates)
    fits = FOLDS * len(grid["alpha"]) * len(SIZES) * len(grid["learning_rate_init"])
    load = os.getloadavg()[0]
    print(f"{fits} fits of {asked.epochs} epochs, {asked.jobs} processes; load {load:.1f}")
    for name in asked.data:
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        X = StandardScaler().fit_transform(X)
        for batch in asked.batches:
            how: dict[str, Any] = {"max_iter": asked.epochs, "batch_size": batch, "random_state": 0}
            contestants = {
                "scikit-learn": ScikitLearn(**how),
                "chainrule": MLPClassifier(**how),
                "chainrule, numpy": MLPClassifier(engine="numpy", **how),
            }
            for model in contestants.values():
                model.fit(X, y)  # compiled code is loaded
            times: dict[str, list[tuple[float, float, float]]] = {c: [] for c in contestants}
            for _ in range(asked.rounds):
                for each, model in contestants.items():
                    times[each].append(searched(model, grid, X, y, asked.jobs))
            middle = {each: statistics.median(t[0] for t in found) for each, found in times.items()}
            for each, found in times.items():
                outside = statistics.median(t[1] for t in found) / fits
                print(
                    f"{name:14} batch {batch:3}  {each:17} {middle[each]:7.2f} s  "
                    f"{middle['scikit-learn'] / middle[each]:5.1f} x  "
                    f"{1000 * outside:5.1f} ms a fit outside  best {found[0][2]:.4f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
