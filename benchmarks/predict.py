"""Prediction with a (64, 100, 10) classifier: one row, 1,000 rows, 1,000,000 rows.

Everybody has the same parameters. Libraries that give logits are not asked for the softmax, which
is in their favour. For one row each call is timed by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import libraries, memory, peers
from benchmarks.tasks import CASES, noise_task
from benchmarks.timing import row, seconds_of, take_turns

KINDS = (
    peers.NumpyInPlace,
    libraries.Jax,
    libraries.Torch,
    libraries.Keras,
    libraries.Skorch,
)


def calls() -> dict[str, Callable[[np.ndarray], Any]]:
    """How each is asked for the outputs of some rows."""
    import chainrule

    task = noise_task(CASES["small"], "cross_entropy", "sgd")
    model = chainrule.MLPClassifier(max_iter=1, engine="numpy", tol=0).fit(task.X, task.labels)
    network = chainrule.Network(task.sizes, loss=task.loss, dtype="float32", init=task.start)
    theirs = libraries.ScikitLearn(task)
    found: dict[str, Callable[[np.ndarray], Any]] = {
        "MLPClassifier.predict_proba": model.predict_proba,
        "Network.predict": network.predict,
        "scikit-learn predict_proba": theirs.model.predict_proba,
    }
    for name, owner in (("MLPClassifier", model), ("Network", network)):
        if hasattr(owner, "predictor"):
            one = owner.predictor()
            found[f"{name}.predictor()"] = lambda X, one=one: one(X[0])
    for kind in KINDS:
        if peers.installed(*kind.needs):
            peer = kind(task)
            found[peer.name] = peer.predict
            if kind is libraries.Keras:  # its documentation's advice for few rows
                found[f"{peer.name}, called"] = lambda X, peer=peer: np.asarray(peer.model(X))
    return found


def latencies(call: Callable[[np.ndarray], Any], X: np.ndarray, n: int) -> np.ndarray:
    """Microseconds of each of n calls, after one."""
    call(X)
    times = np.empty(n + 1, np.int64)
    for i in range(n):
        times[i] = time.perf_counter_ns()
        call(X)
    times[n] = time.perf_counter_ns()
    return np.diff(times) / 1e3


def one_row(found: dict[str, Callable[[np.ndarray], Any]], quick: bool) -> list[dict[str, Any]]:
    """Median and 99th percentile of single calls."""
    rng = np.random.default_rng(2)
    n = 100 if quick else 500
    kept: dict[str, list[np.ndarray]] = {who: [] for who in found}

    def turn(who: str, call: Callable[[np.ndarray], Any]) -> Callable[[], float]:
        def median() -> float:
            X = rng.standard_normal((1, 64), np.float32)
            kept[who].append(latencies(call, X, n))
            return float(np.median(kept[who][-1]))

        return median

    medians = take_turns({w: turn(w, c) for w, c in found.items()}, 5 if quick else 20)
    rows = []
    for who, values in medians.items():
        p99 = float(np.percentile(np.concatenate(kept[who]), 99))
        rows.append(row(who, "µs", values, rows=1, p99=p99))
    return rows


def many_rows(
    found: dict[str, Callable[[np.ndarray], Any]], n: int, rounds: int, at_least: float, quick: bool
) -> list[dict[str, Any]]:
    """Milliseconds of a call, and the peak memory beside input and output where it is known."""
    X = np.random.default_rng(2).standard_normal((n, 64), np.float32)
    batch = {
        who: seconds_of(lambda call=call: call(X), at_least)
        for who, call in found.items()
        if "predictor" not in who and "called" not in who
    }
    times = take_turns(batch, rounds)
    rows = []
    for who, values in times.items():
        more = {}
        name = {"Network.predict": "chainrule", "scikit-learn predict_proba": "scikit-learn"}
        if n >= 100_000 and memory.available() and name.get(who, who) in memory.WHO:
            more["extra_mb"] = memory.in_child(
                "predict", who=name.get(who, who), sizes=[64, 100, 10], rows=n
            )
        rows.append(row(who, "ms", 1e3 * np.array(values), rows=n, **more))
    return rows


def measure(quick: bool) -> list[dict[str, Any]]:
    """All of it."""
    found = calls()
    rows = one_row(found, quick)
    rows += many_rows(found, 1000, 3 if quick else 9, 0.02 if quick else 0.1, quick)
    rows += many_rows(found, 100_000 if quick else 1_000_000, 2 if quick else 5, 0, quick)
    return rows
