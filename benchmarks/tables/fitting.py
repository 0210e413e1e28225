"""Seconds of fits with the models for tables: on one core and on two, and of a million rows.

    python -m benchmarks.tables.fitting [--turns 5] [--million]

The tables hold numbers alone, and the target is one too (`table` in
`benchmarks.tables.predicting`; its noise has a deviation of 0.5). With `--million`, 1,000,000 rows
of 30 numbers are learned from on two cores, beside LightGBM's defaults, and 100,000 others are
predicted.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import numpy as np

from benchmarks.peers import installed
from benchmarks.tables.predicting import table
from chainrule import TabularRegressor

SIZES = ((2_000, 10), (10_000, 20))  # rows and columns
MILLION, JUDGED, COLUMNS = 1_000_000, 100_000, 30


def seconds(model: Any, X: np.ndarray, y: np.ndarray) -> float:
    """Of a fit, by the clock."""
    began = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - began


def cores(turns: int) -> None:
    """Fits on one core and on two, in turns, after one of each that is not counted."""
    print("rows    columns   one core, s   two cores, s   times as fast")
    for n, p in SIZES:
        X, y = table(n, p, (), seed=0)
        found = np.array(
            [
                [seconds(TabularRegressor(random_state=0, n_jobs=jobs), X, y) for jobs in (1, 2)]
                for _ in range(turns + 1)
            ]
        )[1:]
        one, two = np.median(found, axis=0)
        ratio = np.median(found[:, 0] / found[:, 1])
        print(f"{n:<7} {p:<9} {one:<13.2f} {two:<14.2f} {ratio:.2f}", flush=True)


def million() -> None:
    """A million rows on two cores: seconds, memory, and the error on others."""
    X, y = table(MILLION + JUDGED, COLUMNS, (), seed=0)
    X = X.astype(np.float32)
    models: dict[str, Any] = {"chainrule": TabularRegressor(random_state=0, n_jobs=2)}
    if installed("lightgbm"):
        from lightgbm import LGBMRegressor

        models["LightGBM"] = LGBMRegressor(n_jobs=2, verbose=-1)
    for name, model in models.items():
        took = seconds(model, X[:MILLION], y[:MILLION])
        error = np.sqrt(np.mean((model.predict(X[MILLION:]) - y[MILLION:]) ** 2))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{name}: {took:.0f} s, error {error:.4f}; process so far {peak:.1f} GB", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--million", action="store_true")
    options = parser.parse_args()
    if options.million:
        million()
    else:
        cores(options.turns)


if __name__ == "__main__":
    main()
