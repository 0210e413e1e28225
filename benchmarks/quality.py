"""Quality of our defaults beside scikit-learn's, on the data sets that scikit-learn comes with.

    python benchmarks/quality.py [--repeats 10] [--only iris] [--json FILE]

Both estimators have their defaults and the same seed, and meet the same folds: five of them,
stratified for classes, cut anew in every repeat. A fold gives one score to each, accuracy or R²,
and the difference of the two is what is averaged. Once StandardScaler stands in front of both,
once nothing does.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sklearn
import threadpoolctl
from sklearn import datasets, neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import chainrule

FOLDS = 5
SCALED = {True: "StandardScaler in front of both:", False: "Columns as they are:"}


class Task(NamedTuple):
    """A data set and the pair of estimators that it is for."""

    load: Any
    ours: Any
    theirs: Any
    score: str


def _classes(load: Any) -> Task:
    return Task(load, chainrule.MLPClassifier, neural_network.MLPClassifier, "accuracy")


TASKS = {
    "digits": _classes(datasets.load_digits),
    "iris": _classes(datasets.load_iris),
    "wine": _classes(datasets.load_wine),
    "breast_cancer": _classes(datasets.load_breast_cancer),
    "diabetes": Task(
        datasets.load_diabetes, chainrule.MLPRegressor, neural_network.MLPRegressor, "R²"
    ),
}


def folds(task: Task, y: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit and rows to score, five times."""
    cut = KFold if task.score == "R²" else StratifiedKFold
    yield from cut(FOLDS, shuffle=True, random_state=seed).split(np.zeros(len(y)), y)


def one_score(make: Any, scaled: bool, X: Any, y: Any, fit: Any, held: Any, seed: int) -> float:
    """Fit a pipeline to some rows and score it on others."""
    model = make(random_state=seed)
    pipeline = make_pipeline(StandardScaler(), model) if scaled else make_pipeline(model)
    with warnings.catch_warnings():
        # 200 epochs, the default of both, end before scikit-learn calls it convergence.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(pipeline.fit(X[fit], y[fit]).score(X[held], y[held]))


def measure(task: Task, scaled: bool, repeats: int) -> dict[str, list[float]]:
    """Scores of both on every fold of every repeat."""
    X, y = task.load(return_X_y=True)
    scores: dict[str, list[float]] = {"ours": [], "theirs": []}
    for seed in range(repeats):
        for fit, held in folds(task, y, seed):
            for who, make in (("ours", task.ours), ("theirs", task.theirs)):
                scores[who].append(one_score(make, scaled, X, y, fit, held, seed))
    return scores


def mean_and_error(values: Any) -> tuple[float, float]:
    """Mean and its standard error, as if the folds were independent.

    They share rows, so the true error is larger; taken so, the demand on us is the stricter.
    """
    values = np.asarray(values)
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def summary(scores: dict[str, list[float]]) -> dict[str, Any]:
    """Means, standard errors, the difference, and whether we are no worse than by one error."""
    ours, theirs = np.array(scores["ours"]), np.array(scores["theirs"])
    difference, error = mean_and_error(ours - theirs)
    return {
        "ours": mean_and_error(ours),
        "theirs": mean_and_error(theirs),
        "difference": (difference, error),
        "no_worse": difference >= -error,
    }


def row(name: str, task: Task, found: dict[str, Any]) -> str:
    """A line of the table."""
    cells = [f"{mean:.4f} ± {error:.4f}" for mean, error in (found["theirs"], found["ours"])]
    mean, error = found["difference"]
    return f"| {name} | {task.score} | {cells[0]} | {cells[1]} | {mean:+.4f} ± {error:.4f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Our defaults beside scikit-learn's.")
    parser.add_argument("--repeats", type=int, default=10, help="times five folds (default 10)")
    parser.add_argument("--only", choices=TASKS, nargs="+", default=list(TASKS), metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all scores there too")
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error("--repeats must be 1 or more")
    began = time.perf_counter()
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "chainrule": chainrule.__version__,
    }
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    results: list[dict[str, Any]] = []
    with threadpoolctl.threadpool_limits(1, "blas"):
        for scaled, heading in SCALED.items():
            print(f"\n{heading}\n")
            print("| Data | Score | scikit-learn | chainrule | difference |")
            print("|---|---|---|---|---|")
            for name in args.only:
                scores = measure(TASKS[name], scaled, args.repeats)
                found = summary(scores)
                print(row(name, TASKS[name], found), flush=True)
                results.append({"data": name, "scaled": scaled, **found, "scores": scores})
    mean = float(np.mean([result["difference"][0] for result in results]))
    worse = [result["data"] for result in results if not result["no_worse"]]
    print(
        f"\nMean and standard error over {FOLDS * args.repeats} folds. Mean difference "
        f"{mean:+.4f}; worse by more than one standard error: {', '.join(worse) or 'none'}."
    )
    print(f"{time.perf_counter() - began:.0f} s")
    if args.json:
        args.json.write_text(json.dumps({"versions": versions, "results": results}) + "\n")


if __name__ == "__main__":
    main()
