"""Seconds of predicting with the models for tables: one row by `predictor()`, and 1,000 rows.

    python -m benchmarks.tables.predicting [--only numbers10 ...] [--seconds 2]

Tables of three kinds: 10 or 30 numbers, or numbers with categories; the target is numbers, or 2 or
5 classes. The models have learnt from 3,000 rows for 16 epochs; how long they predict does not
depend on more. No part of a blend has the weight 0. One row is another one in each call. Seconds
are those of the processor, with one thread; a tenth of the calls take less than the first number,
half of them less than the second. On a busy machine the first is nearer to an idle one's.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import threadpoolctl

from chainrule import TabularClassifier, TabularRegressor

LEARNT, ROWS = 3_000, 1_000
TABLES = {"numbers10": (10, ()), "numbers30": (30, ()), "mixed": (6, (3, 5, 12, 40))}
TARGETS = ("numbers", 2, 5)


def table(n: int, p: int, levels: tuple[int, ...], seed: int) -> tuple[Any, np.ndarray]:
    """n rows of p numbers and some categories, an array if there are none; and numbers to learn."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + (X[:, 3] > 0) + 0.5 * rng.normal(size=n)
    if not levels:
        return X, y
    frame = pd.DataFrame(X, columns=[f"n{j}" for j in range(p)])
    frame.loc[rng.random(n) < 0.1, "n4"] = np.nan
    for c, L in enumerate(levels):
        codes = rng.integers(0, L, n)
        frame[f"c{c}"] = [f"level {code}" for code in codes]
        y = y + 0.5 * np.cos(codes)
    return frame, y


def fitted(X: Any, y: np.ndarray, target: str | int, preset: str) -> Any:
    """A model of some target, each part of which predicts."""
    settings: dict[str, Any] = {"preset": preset, "max_epochs": 16, "random_state": 0, "n_jobs": 1}
    if target == "numbers":
        model: Any = TabularRegressor(**settings).fit(X, y)
    else:
        edges = np.quantile(y, np.linspace(0, 1, int(target) + 1)[1:-1])
        model = TabularClassifier(**settings).fit(X, np.digitize(y, edges))
    parts = model._blend.parts
    model._blend = replace(model._blend, weights=dict.fromkeys(parts, 1 / len(parts)))
    return model


def seconds(call: Callable[[], Any], for_seconds: float) -> np.ndarray:
    """What a tenth and half of the calls take less than."""
    call()
    times, end = [], time.perf_counter() + for_seconds
    while time.perf_counter() < end or len(times) < 5:
        began = time.thread_time()
        call()
        times.append(time.thread_time() - began)
    return np.quantile(times, (0.1, 0.5))


def measure(
    name: str, target: str | int, preset: str, for_seconds: float
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of one row and of all rows: the tenth and the half."""
    model = fitted(*table(LEARNT, *TABLES[name], seed=0), target, preset)
    X, _ = table(ROWS, *TABLES[name], seed=1)
    cells = X.itertuples(index=False, name=None) if isinstance(X, pd.DataFrame) else X
    rows, one = itertools.cycle(list(cells)), model.predictor()
    predict = getattr(model, "predict_proba", model.predict)
    few = seconds(lambda: [one(next(rows)) for _ in range(20)], for_seconds) / 20
    return few, seconds(lambda: predict(X), for_seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=list(TABLES), choices=TABLES)
    parser.add_argument("--seconds", type=float, default=2)
    options = parser.parse_args()
    print("table      target   preset     one row, µs     1,000 rows, ms")
    with threadpoolctl.threadpool_limits(1):
        for name, target, preset in itertools.product(options.only, TARGETS, ("best", "fast")):
            one, many = measure(name, target, preset, options.seconds)
            print(
                f"{name:<10} {target!s:<8} {preset:<5} {1e6 * one[0]:9.1f} {1e6 * one[1]:7.1f}"
                f"  {1e3 * many[0]:8.2f} {1e3 * many[1]:7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
