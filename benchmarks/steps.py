"""Time per mini-batch step of four ways to train the same network, side by side in one run.

    python benchmarks/steps.py [--dtype float32] [--rounds 7] [--blas-threads 1] [--json FILE]

What is timed is an epoch of training divided by its steps, so that shuffling, the gathering of
rows and, with scikit-learn, the check of the input are inside, as they are for a user. All four
run plain gradient descent on the squared error with ReLU in the hidden layers. The contestants
take turns, epoch by epoch, so that a busy moment of the machine hits all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import scipy
import sklearn
import threadpoolctl
from sklearn.neural_network import MLPRegressor

import chainrule

LEARNING_RATE = 1e-4  # small: the targets are noise, and no contestant shall blow up


class Case(NamedTuple):
    """A network, a batch size, and how many steps an epoch takes; the loop's epochs are short."""

    sizes: tuple[int, ...]
    batch: int
    steps: int
    loop_steps: int


CASES = (
    Case((64, 100, 10), 10, 144, 20),
    Case((64, 100, 10), 200, 40, 2),
    Case((784, 512, 512, 10), 128, 12, 1),
)

# An epoch: how long it took, in seconds, and how many steps it had.
Epoch = Callable[[], tuple[float, int]]


def article_loop(case: Case, X: np.ndarray, Y: np.ndarray) -> Epoch:
    """The article's algorithm: one sample at a time, columns, a list of arrays for each gradient.

    Its backward pass is carried through to the first layer, which the article's is not with
    more than one hidden layer.
    """
    n = case.loop_steps * case.batch
    samples = [(x[:, None], y[:, None]) for x, y in zip(X[:n], Y[:n], strict=True)]
    rng = np.random.default_rng(0)
    shapes = list(zip(case.sizes[1:], case.sizes[:-1], strict=True))
    W = [rng.uniform(0, 0.1, shape).astype(X.dtype) for shape in shapes]
    b = [rng.uniform(0, 0.1, (shape[0], 1)).astype(X.dtype) for shape in shapes]
    eta = X.dtype.type(LEARNING_RATE)

    def one_sample(x: np.ndarray, y: np.ndarray) -> tuple[list[Any], list[Any]]:
        nabla_W, nabla_b = [np.zeros_like(w) for w in W], [np.zeros_like(c) for c in b]
        a, z = [x], []
        for w, c in zip(W, b, strict=True):
            z.append(w @ a[-1] + c)
            a.append(np.where(z[-1] > 0, z[-1], X.dtype.type(0)))
        delta = (a[-1] - y) * (z[-1] > 0)
        for l in reversed(range(len(W))):
            nabla_b[l] = delta
            nabla_W[l] = delta @ a[l].T
            if l > 0:
                delta = (W[l].T @ delta) * (z[l - 1] > 0)
        return nabla_W, nabla_b

    def epoch() -> tuple[float, int]:
        nonlocal W, b
        began = time.perf_counter()
        random.shuffle(samples)
        for start in range(0, n, case.batch):
            sum_W, sum_b = [np.zeros_like(w) for w in W], [np.zeros_like(c) for c in b]
            for x, y in samples[start : start + case.batch]:
                nabla_W, nabla_b = one_sample(x, y)
                sum_W = [s + g for s, g in zip(sum_W, nabla_W, strict=True)]
                sum_b = [s + g for s, g in zip(sum_b, nabla_b, strict=True)]
            W = [w - eta * s / case.batch for w, s in zip(W, sum_W, strict=True)]
            b = [c - eta * s / case.batch for c, s in zip(b, sum_b, strict=True)]
        return time.perf_counter() - began, case.loop_steps

    return epoch


def ours(engine: str) -> Callable[[Case, np.ndarray, np.ndarray], Epoch]:
    """`chainrule.train` as users call it; two epochs a turn, of which the second counts."""

    def make(case: Case, X: np.ndarray, Y: np.ndarray) -> Epoch:
        network = chainrule.Network(
            case.sizes,
            activation="relu",
            output_activation="relu",
            dtype=X.dtype.name,
            init="uniform",
            seed=0,
        )

        def epoch() -> tuple[float, int]:
            history = chainrule.train(
                network,
                X,
                Y,
                epochs=2,
                batch_size=case.batch,
                learning_rate=LEARNING_RATE,
                seed=0,
                engine=engine,
            )
            return history.epochs[-1].seconds, case.steps

        return epoch

    return make


def scikit_learn(case: Case, X: np.ndarray, Y: np.ndarray) -> Epoch:
    """MLPRegressor.partial_fit, one call an epoch: SGD, no momentum, no penalty.

    Its output layer is linear (no other can be had), ours and the article's a ReLU.
    """
    model = MLPRegressor(
        hidden_layer_sizes=case.sizes[1:-1],
        activation="relu",
        solver="sgd",
        momentum=0,
        nesterovs_momentum=False,
        alpha=0,
        batch_size=case.batch,
        learning_rate_init=LEARNING_RATE,
        random_state=0,
    )

    def epoch() -> tuple[float, int]:
        began = time.perf_counter()
        model.partial_fit(X, Y)
        return time.perf_counter() - began, case.steps

    return epoch


CONTESTANTS = {
    "the article's loop": article_loop,
    "scikit-learn": scikit_learn,
    "chainrule, numpy": ours("numpy"),
    "chainrule, numba": ours("numba"),
}


def measure(case: Case, dtype: str, rounds: int) -> list[dict[str, Any]]:
    """Time every contestant on one case: microseconds a step, by round."""
    rng = np.random.default_rng(1)
    n = case.steps * case.batch
    X = rng.standard_normal((n, case.sizes[0])).astype(dtype)
    Y = np.eye(case.sizes[-1], dtype=dtype)[rng.integers(0, case.sizes[-1], n)]
    epochs = {name: make(case, X, Y) for name, make in CONTESTANTS.items()}
    for epoch in epochs.values():
        epoch()  # warm-up: compiles, fills caches
    times: dict[str, list[float]] = {name: [] for name in epochs}
    for _ in range(rounds):
        for name, epoch in epochs.items():
            seconds, steps = epoch()
            times[name].append(1e6 * seconds / steps)
    loop = statistics.median(times["the article's loop"])
    return [
        {
            "sizes": case.sizes,
            "batch": case.batch,
            "dtype": dtype,
            "who": name,
            "median_us": statistics.median(us),
            "min_us": min(us),
            "max_us": max(us),
            "times_the_loop": loop / statistics.median(us),
            "us": us,
        }
        for name, us in times.items()
    ]


def processor() -> str:
    """The processor's name, where the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """What the numbers depend on beside the code."""
    blas = {
        f"{Path(pool['filepath']).parent.name.split('.')[0]}: {pool['internal_api']} "
        f"{pool['version']} {pool.get('architecture', '')} x{pool['num_threads']}"
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"
    }
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "numba": numba.__version__,
            "scikit-learn": sklearn.__version__,
            "chainrule": chainrule.__version__,
        },
        "blas": sorted(blas),
        "variables": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(("OPENBLAS_", "OMP_", "MKL_", "NUMBA_NUM"))
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time per mini-batch step, side by side.")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    parser.add_argument("--rounds", type=int, default=7, help="epochs timed of each (default 7)")
    parser.add_argument("--blas-threads", type=int, help="hold BLAS to so many (default: its own)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there too")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds must be 1 or more")
    threadpoolctl.threadpool_limits(args.blas_threads, "blas")
    where = machine()
    print(f"{where['processor']}, {where['cores']} cores")
    print(", ".join(f"{name} {version}" for name, version in where["versions"].items()))
    print("BLAS:", "; ".join(where["blas"]))
    print(
        "Variables:",
        ", ".join(f"{name}={value}" for name, value in where["variables"].items())
        or "no OPENBLAS_*, OMP_*, MKL_* or NUMBA_NUM_* set",
    )
    results = []
    for case in CASES:
        rows = measure(case, args.dtype, args.rounds)
        results += rows
        print(f"\n{case.sizes}, batches of {case.batch}, {args.dtype}: microseconds a step")
        print(f"{'':20}{'median':>10}{'lowest':>10}{'highest':>10}{'speed':>10}")
        for row in rows:
            print(
                f"{row['who']:20}{row['median_us']:10.1f}{row['min_us']:10.1f}"
                f"{row['max_us']:10.1f}{row['times_the_loop']:9.1f}x"
            )
    print(f"\nMedian, lowest and highest of {args.rounds} epochs; speed: the loop's is 1.")
    if args.json:
        args.json.write_text(json.dumps({"machine": where, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
