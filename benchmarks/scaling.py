"""How the cost grows: with width, depth, batch, rows and threads; in memory; and with time."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

from benchmarks import libraries, memory, peers
from benchmarks.steps import step_turn
from benchmarks.tasks import CASES, Case, noise_task, starting_values
from benchmarks.timing import row, take_turns

KINDS = (peers.Chainrule, peers.ChainruleOneThread, libraries.Jax)
AT_EVERY_BATCH = (peers.ChainruleNumpy, libraries.ScikitLearn, libraries.Torch)


def sweeps(quick: bool) -> Iterator[tuple[str, int, Case]]:
    """(what grows, how far, case); about the same number of rows an epoch each."""
    widths = (16, 128, 512) if quick else (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
    for n in widths:
        yield "width", n, Case("", (64, n, 10), 128, 16)
    for n in (1, 4, 16) if quick else (1, 2, 4, 8, 16, 32):
        yield "depth", n, Case("", (64, *[64] * n, 10), 128, 16)
    for m in (10, 200, 1000) if quick else (1, 4, 10, 32, 64, 128, 200, 512, 1024, 4096):
        yield "batch", m, Case("", (64, 100, 10), m, max(2, min(500, 8000 // m)))
    for n in (1000, 100_000) if quick else (1000, 10_000, 100_000, 1_000_000):
        yield "rows", n, Case("", (64, 100, 10), 200, n // 200)


def step_times(quick: bool) -> list[dict[str, Any]]:
    """Microseconds a step along every sweep, plain descent on the squared error."""
    rows = []
    for what, value, case in sweeps(quick):
        task = noise_task(case, "squared_error", "sgd")
        turns = {}
        for kind in (*KINDS, *(AT_EVERY_BATCH if what == "batch" and not quick else ())):
            if peers.installed(*kind.needs) and kind.suits(task):
                turn = step_turn(kind(task), 0.02 if quick else 0.06)
                if turn is not None:
                    turns[kind.name] = turn
        W = sum(pair[0].size for pair in task.start)
        flops = 2 * case.batch * (3 * W - task.start[0][0].size)
        # At least: W read forwards, backwards and for its step, the gradient and W written; the
        # numbers of every layer written and read forwards and backwards; each batch read.
        moved = 4 * (5 * W + case.batch * (4 * sum(case.sizes) + case.sizes[0]))
        for who, values in take_turns(turns, 3 if quick else 7).items():
            more = {"sizes": case.sizes, "batch": case.batch, "mflop": flops / 1e6}
            more["flop_per_byte"] = flops / moved
            rows.append(row(who, "µs", values, grows=what, value=value, **more))
    return rows


def roofs(quick: bool) -> list[dict[str, Any]]:
    """What the processor can do: products of large matrices, and copying from memory."""
    n, rounds = 1024, 3 if quick else 9
    A, B, C = (np.ones((n, n), np.float32) for _ in range(3))
    source, target = np.ones(1 << 25, np.float32), np.ones(1 << 25, np.float32)

    def product() -> float:
        began = time.perf_counter()
        np.dot(A, B, C)
        return 2e-9 * n**3 / (time.perf_counter() - began)

    def copy() -> float:
        began = time.perf_counter()
        np.copyto(target, source)
        return 2e-9 * source.nbytes / (time.perf_counter() - began)

    rows = []
    for threads in (1, (os.cpu_count() or 1)):
        with threadpoolctl.threadpool_limits(threads, "blas"):
            values = take_turns({"sgemm": product}, rounds)["sgemm"]
        rows.append(
            row(f"sgemm, {threads} thread{'s' * (threads > 1)}", "GFLOP/s", values, roof="products")
        )
    values = take_turns({"copy": copy}, rounds)["copy"]
    return [*rows, row("copy, 1 thread", "GB/s", values, roof="memory")]


def memory_rows(quick: bool) -> list[dict[str, Any]]:
    """Peak memory of a fit beside what its parameters and activations take."""
    if not memory.available():
        print("Peak memory left out: the system does not tell it")
        return []
    cases = {
        "width": [Case("", (64, n, 10), 128, 16) for n in (1000, 16_000)],
        "depth": [Case("", (64, *[1000] * n, 10), 128, 16) for n in (2, 8)],
        "batch": [Case("", (64, 100, 10), m, 2) for m in (10_000, 50_000)],
        "rows": [Case("", (64, 100, 10), 200, n // 200) for n in (10_000, 500_000)],
    }
    rows = []
    for what, some in cases.items():
        for case in some[:1] if quick else some:
            slots = 2
            P = sum(W.size + b.size for W, b in starting_values(case.sizes))
            shapes = {"sizes": list(case.sizes), "batch": case.batch, "steps": case.steps}
            known = {
                "parameters_mb": 4e-6 * P,
                "data_mb": 4e-6 * case.batch * case.steps * (case.sizes[0] + case.sizes[-1]),
                "bound_mb": 4e-6 * (P * (slots + 2) + 3 * case.batch * sum(case.sizes)),
            }
            for who, kind in memory.WHO.items():
                if not peers.installed(*kind.needs) or (quick and who != "chainrule"):
                    continue
                mb = memory.in_child("fit", who=who, optimizer="adam", **shapes)
                rows.append(row(who, "MB", [mb], memory=what, **shapes, **known))
    return rows


def over_time(quick: bool) -> list[dict[str, Any]]:
    """The last epochs' time over the second's; a fifth of the units are dead from the start."""
    case = CASES["tiny"]
    start = starting_values(case.sizes)
    start[0][1][:20] = -100
    task = noise_task(case, "squared_error", "adam", start=start)
    rows = []
    for kind in (peers.Chainrule, peers.ChainruleNumpy, libraries.Jax, libraries.Torch):
        if not peers.installed(*kind.needs) or (quick and kind is libraries.Torch):
            continue
        ratios = []
        for _ in range(2 if quick else 5):
            seconds = kind(task).train(200)
            ratios.append(np.median(seconds[-9:]) / np.median(seconds[1:4]))
        rows.append(row(kind.name, "of an early epoch", ratios, epochs=200))
    return rows


def prepared(X: np.ndarray, folder: Path) -> tuple[np.ndarray, float]:
    """The same rows by way of Parquet, mapped; and the seconds from the file to the map."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    import chainrule

    names = [f"x{j}" for j in range(X.shape[1])]
    with pq.ParquetWriter(
        folder / "X.parquet", pa.schema([(name, pa.float32()) for name in names])
    ) as file:
        for start in range(0, len(X), 50_000):
            columns = np.ascontiguousarray(X[start : start + 50_000].T)
            file.write_table(pa.table(dict(zip(names, columns, strict=True))))
    began = time.perf_counter()
    rows = chainrule.memmap_table(folder / "X.parquet", folder / "rows")
    return rows.X, time.perf_counter() - began


def memory_map(quick: bool) -> list[dict[str, Any]]:
    """An epoch over memory-mapped files, read once before, over one from memory.

    By blocks the order differs from a full shuffle only beyond 512 MB, so there is more of X.
    """
    task = noise_task(Case("", (784, 100, 10), 200, 50 if quick else 1500), "squared_error", "sgd")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "X.npy", task.X)
        mapped = np.load(folder / "X.npy", mmap_mode="r")
        everybody = {
            "in memory": peers.Chainrule(task),
            "memory map": peers.Chainrule(task._replace(X=mapped)),
        }
        if peers.installed("pandas", "pyarrow"):
            X, seconds = prepared(task.X, folder)
            peer = everybody["Parquet, mapped, by blocks"] = peers.Chainrule(task._replace(X=X))
            peer.more["shuffle"] = "blocks"
            rows.append(row("Parquet", "s/GB", [seconds / (1e-9 * X.nbytes)], prepared=True))
        else:
            print("Parquet left out: pandas or pyarrow is not installed")
        turns = {who: step_turn(peer, 0.05) for who, peer in everybody.items()}
        found = take_turns({k: v for k, v in turns.items() if v}, 3 if quick else 7)
    return [*(row(who, "µs", values, source=who) for who, values in found.items()), *rows]


def measure(quick: bool) -> list[dict[str, Any]]:
    """All of it."""
    parts = (step_times, roofs, memory_rows, over_time, memory_map)
    return [row for part in parts for row in part(quick)]
