"""Training on a Dask cluster: how good, how fast on two workers, and what that means for more.

    python -m benchmarks.cluster             # all of it: a quarter of an hour
    python -m benchmarks.cluster --quick

Three tables. Quality: the loss on rows held out, against one process at as many epochs. Measured:
an epoch in one process, and on one and two workers. Modelled: an epoch on 1 to 1,000 workers, from
the measured seconds of steps, rounds and tasks, each worker having one partition and one core.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import time
import warnings

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from sklearn.datasets import load_digits, make_classification, make_friedman1
from sklearn.model_selection import train_test_split

from chainrule import MLPClassifier, MLPRegressor
from chainrule.dask import DaskMLPClassifier, DaskMLPRegressor

# (name, inputs, hidden layers, rows in a batch): what the tables of times are about.
NETWORKS = (
    ("20-100-4", 20, (100,), 200),
    ("100-512-512-4", 100, (512, 512), 1024),
    ("400-1024-1024-4", 400, (1024, 1024), 8192),
)
WORKERS = (1, 2, 4, 8, 16, 64, 256, 1000)
LOCAL_STEPS = 64


def quality_data() -> dict[str, tuple]:
    """{name: (X, X held out, y, y held out)}."""
    classes = make_classification(
        8000, 20, n_informative=10, n_classes=4, n_clusters_per_class=3, flip_y=0.1, random_state=0
    )
    sets = {
        "digits": load_digits(return_X_y=True),
        "four classes": classes,
        "friedman": make_friedman1(8000, 10, noise=1.0, random_state=0),
    }
    return {name: tuple(train_test_split(*data, random_state=0)) for name, data in sets.items()}


def blocks(array: np.ndarray, n: int) -> da.Array:
    """The array in n partitions."""
    return da.from_array(array, chunks=(-(-len(array) // n), *array.shape[1:]))


def quality(seeds: int, epochs: int = 30) -> None:
    """Print the table of losses."""
    print(f"\nloss on rows held out at {epochs} epochs, mean of {seeds} seeds")
    print("| | one process | partitions | local steps | loss | difference |")
    print("|---|" + "---:|" * 5)
    for name, (X, X_held, y, y_held) in quality_data().items():
        numbers = y.dtype.kind == "f"
        kinds = (MLPRegressor, DaskMLPRegressor) if numbers else (MLPClassifier, DaskMLPClassifier)
        options = {"max_iter": epochs, "tol": 0.0, "n_iter_no_change": 10**6}
        alone = statistics.mean(
            kinds[0](random_state=seed, **options).fit(X, y).sample_loss(X_held, y_held).mean()
            for seed in range(seeds)
        )
        for n in (2, 8):
            for k in (4, LOCAL_STEPS):
                found = statistics.mean(
                    kinds[1](random_state=seed, local_steps=k, **options)
                    .fit(blocks(X, n), blocks(y, n))
                    .to_local()
                    .sample_loss(X_held, y_held)
                    .mean()
                    for seed in range(seeds)
                )
                by = found / alone - 1
                print(f"| {name} | {alone:.4g} | {n} | {k} | {found:.4g} | {by:+.1%} |", flush=True)


def problem(n_in: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a table of numbers with four classes."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, n_in)).astype(np.float32)
    return X, (X[:, :4] + rng.normal(size=(rows, 4))).argmax(axis=1)


def epoch_seconds(model: object, X: object, y: object, epochs: int) -> float:
    """Median seconds of an epoch, the first left out."""
    fitted = model.set_params(max_iter=epochs).fit(X, y)
    return statistics.median(row["seconds"] for row in fitted.history_[1:])


def step_seconds(n_in: int, hidden: tuple[int, ...], m: int, steps: int) -> float:
    """Seconds of a step on m rows, on one thread."""
    X, y = problem(n_in, m * steps)
    model = MLPClassifier(hidden, batch_size=m, random_state=0, n_threads=1, tol=0.0)
    return epoch_seconds(model, X, y, 3) / steps


def measured(steps: int, epochs: int) -> None:
    """Print the table of measured times."""
    print("\nseconds of an epoch, measured")
    print("| network | steps | one process | 1 worker | 2 workers | 2 workers, 8 partitions |")
    print("|---|" + "---:|" * 5)
    for name, n_in, hidden, m in NETWORKS:
        n = min(steps, max(8, steps * 200 // m))
        X, y = problem(n_in, m * n)
        options = {"batch_size": m, "random_state": 0, "tol": 0.0}
        row = [epoch_seconds(MLPClassifier(hidden, **options), X, y, epochs)]
        for workers, parts in ((1, 1), (2, 2), (2, 8)):
            with cluster(workers, processes=True) as running, Client(running):
                model = DaskMLPClassifier(hidden, local_steps=LOCAL_STEPS, **options)
                row.append(epoch_seconds(model, blocks(X, parts), blocks(y, parts), epochs))
        print(f"| {name} | {n} | " + " | ".join(f"{x:.3g}" for x in row) + " |", flush=True)


def cluster(workers: int, processes: bool) -> LocalCluster:
    """Workers of one thread each."""
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=processes,
        dashboard_address="127.0.0.1:0",
    )


def round_seconds() -> tuple[float, float, float]:
    """Seconds of a round without steps, of each task more, and of each byte of parameters."""
    found = {}
    for parts, hidden in ((2, (10,)), (32, (10,)), (2, (4000,))):
        X, y = problem(400, parts * 8)
        with cluster(2, processes=True) as running, Client(running):
            # Eight rounds of one step each, of one row a partition.
            model = DaskMLPClassifier(
                hidden, local_steps=1, batch_size=parts, random_state=0, tol=0.0, engine="numpy"
            )
            epoch = epoch_seconds(model, blocks(X, parts), blocks(y, parts), 6)
            weights = sum(W.size for W in model.coefs_) * 4 * 3  # with Adam's memory
        found[parts, hidden] = epoch / 8, weights
    base, many, large = found.values()
    per_task = (many[0] - base[0]) / 30
    per_byte = max(0.0, (large[0] - base[0]) / (large[1] - base[1]))
    return base[0] - 2 * per_task, per_task, per_byte


def modelled() -> None:
    """Print the table of times that follow for other numbers of workers."""
    fixed, per_task, per_byte = round_seconds()
    print(
        f"\na round: {1e3 * fixed:.1f} ms, {1e3 * per_task:.2f} ms more for each partition, "
        f"{1e9 * per_byte:.2f} s for each GB of parameters and the optimiser's memory"
    )
    for each, title in (
        (False, "the batch shared by the workers"),
        (True, "a batch for each worker"),
    ):
        print(f"\nrows a second, modelled, over one core: {title}; {LOCAL_STEPS} local steps")
        print("| network, rows in a batch | " + " | ".join(map(str, WORKERS)) + " |")
        print("|---|" + "---:|" * len(WORKERS))
        for name, n_in, hidden, m in NETWORKS:
            sizes = [n_in, *hidden, 4]
            bytes_sent = 12 * sum(a * b for a, b in itertools.pairwise(sizes))
            alone = step_seconds(n_in, hidden, m, 4)
            row = []
            for workers in WORKERS:
                rows = m if each else max(1, m // workers)
                step = alone if each else step_seconds(n_in, hidden, rows, 4)
                levels = 1 + math.ceil(math.log(workers, 8)) if workers > 1 else 1
                overhead = fixed + per_task * workers + per_byte * bytes_sent * levels
                speed = workers * rows * LOCAL_STEPS / (LOCAL_STEPS * step + overhead)
                row.append(speed / (m / alone))
            print(f"| {name}, {m} | " + " | ".join(f"{x:.2g}" for x in row) + " |", flush=True)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")
    began = time.perf_counter()
    modelled()
    measured(64 if quick else 256, 3 if quick else 6)
    with cluster(2, processes=False) as running, Client(running):
        quality(1 if quick else 3)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
