"""Peak memory of one call, in a process of its own (Linux).

    python -m benchmarks.memory '{"job": "fit", "sizes": [64, 100, 10], ...}'

The extra memory is the peak during the call less what was resident before it. The same call has
run once before on little data, so that libraries and compiled code are in memory already.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import libraries, peers
from benchmarks.tasks import Case, noise_task

TOP = Path(__file__).parent.parent
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
WHO = {
    kind.name: kind
    for kind in (
        peers.Chainrule,
        peers.NumpyInPlace,
        libraries.ScikitLearn,
        libraries.Torch,
        libraries.Jax,
    )
}


def available() -> bool:
    """Whether the system tells the peak, and lets it be reset."""
    return STATUS.exists() and RESET.exists()


def extra_mb(call: Callable[[], Any]) -> float:
    """Megabytes at the peak of a call beyond those before it."""

    def read(field: str) -> float:
        line = next(x for x in STATUS.read_text().splitlines() if x.startswith(field))
        return int(line.split()[1]) * 1024 / 1e6

    before = read("VmRSS:")
    RESET.write_text("5")
    kept = call()
    peak = read("VmHWM:")
    del kept
    return peak - before


def fit(who: str, sizes: list[int], batch: int, steps: int, optimizer: str) -> float:
    """Of two epochs, the making of the network included."""
    little = Case("", (2, 2, *sizes[2:-1], sizes[-1]), 2, 2)
    task = noise_task(little, "squared_error", optimizer)
    WHO[who](task).train(2)
    task = noise_task(Case("", tuple(sizes), batch, steps), "squared_error", optimizer)
    return extra_mb(lambda: WHO[who](task).train(2))


def predict(who: str, sizes: list[int], rows: int) -> float:
    """Of one prediction, the output not counted."""
    task = noise_task(Case("", tuple(sizes), 10, 2), "cross_entropy", "sgd")
    peer = WHO[who](task)
    peer.train(1)
    peer.predict(task.X)
    X = np.random.default_rng(0).standard_normal((rows, sizes[0]), np.float32)
    return extra_mb(lambda: peer.predict(X)) - rows * sizes[-1] * 4 / 1e6


def in_child(job: str, **arguments: Any) -> float:
    """One of the jobs above, in a new process."""
    text = json.dumps({"job": job, **arguments})
    command = [sys.executable, "-m", "benchmarks.memory", text]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print({"fit": fit, "predict": predict}[asked.pop("job")](**asked))
