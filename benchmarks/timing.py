"""Taking turns, medians and quartiles, and what the numbers depend on beside the code."""

from __future__ import annotations

import datetime
import importlib
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

PAUSE = 0.02  # seconds between turns: idle threads of one library stop spinning meanwhile
LIBRARIES = ("numpy", "scipy", "numba", "sklearn", "torch", "jax", "keras", "skorch", "chainrule")


def row(who: str, unit: str, values: Any, **what: Any) -> dict[str, Any]:
    """One line of a result: what was measured of whom, all values, median and quartiles."""
    values = np.asarray(values, float)
    low, middle, high = np.percentile(values, (25, 50, 75))
    return {
        **what,
        "who": who,
        "unit": unit,
        "median": float(middle),
        "q1": float(low),
        "q3": float(high),
        "values": [float(f"{value:.5g}") for value in values.tolist()],
    }


def take_turns(turns: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call everybody once a round, so that a busy moment of the machine hits all of them.

    The order turns round from one round to the next: nobody always follows the same neighbour.
    """
    found: dict[str, list[float]] = {name: [] for name in turns}
    names = list(turns)
    for k in range(rounds):
        for name in names if k % 2 else reversed(names):
            time.sleep(PAUSE)
            found[name].append(turns[name]())
    return found


def seconds_of(call: Callable[[], Any], at_least: float) -> Callable[[], float]:
    """A turn: seconds of a call, averaged over as many as fill `at_least`; one goes before."""

    def turn() -> float:
        call()
        calls, began = 0, time.perf_counter()
        while True:
            call()
            calls += 1
            passed = time.perf_counter() - began
            if passed >= at_least:
                return passed / calls

    return turn


def processor() -> str:
    """The processor's name, where the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def load() -> float | None:
    """Processes that wanted to run in the last minute, where the system tells."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def versions() -> dict[str, str]:
    """Of Python and of every library that is installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        if importlib.util.find_spec(name):
            found[name] = importlib.import_module(name).__version__
    return found


def machine() -> dict[str, Any]:
    """Processor, cores, versions, BLAS, variables that steer it, date and load."""
    known = versions()  # imports everything, so that every BLAS is loaded
    blas = {
        f"{Path(pool['filepath']).parent.name.split('.')[0]}: {pool['internal_api']} "
        f"{pool['version']} {pool.get('architecture', '')} x{pool['num_threads']}"
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"
    }
    steering = ("OPENBLAS_", "OMP_", "MKL_", "NUMBA_NUM", "XLA_", "KERAS_", "CHAINRULE_")
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": known,
        "blas": sorted(blas),
        "variables": {k: v for k, v in sorted(os.environ.items()) if k.startswith(steering)},
        "load_at_start": load(),
    }


def machine_line(where: Mapping[str, Any]) -> str:
    """The machine in words."""
    names = {"sklearn": "scikit-learn", "torch": "PyTorch", "jax": "JAX"}
    known = ", ".join(f"{names.get(k, k)} {v}" for k, v in where["versions"].items())
    variables = ", ".join(f"{k}={v}" for k, v in where["variables"].items())
    return (
        f"{where['date']}: {where['processor']}, {where['cores']} cores, {where['system']}\n"
        f"{known}\nBLAS: {'; '.join(where['blas'])}\n"
        f"Variables: {variables or 'none that steer BLAS'}\n"
        f"Load at the start: {where['load_at_start']} (a quiet machine: near 0)"
    )
