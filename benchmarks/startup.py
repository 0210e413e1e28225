"""From nothing to a result, each in a new process: imports, first fits, the whole of a command.

"Cold" has an empty folder for compiled code, "warm" the folder that a cold one left.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_iris

from benchmarks.peers import installed
from benchmarks.timing import row

TOP = Path(__file__).parent.parent
IMPORTS = {
    "chainrule": "import chainrule",
    "chainrule, and its estimators": "from chainrule import MLPClassifier",
    "scikit-learn": "from sklearn.neural_network import MLPClassifier",
    "PyTorch": "import torch",
    "JAX": "import jax.numpy",
    "Keras": "import keras",
}
NEEDS = {"PyTorch": "torch", "JAX": "jax", "Keras": "keras"}
FIT = """
task = tasks.noise_task(tasks.CASES["small"], "cross_entropy", "adam")
import {module}
began = time.perf_counter()
{home}.{kind}(task).train(1)
"""
FITS = {  # name: (imported before the clock starts, file, class)
    "chainrule, numba": ("chainrule", "peers", "Chainrule"),
    "chainrule, numpy": ("chainrule", "peers", "ChainruleNumpy"),
    "scikit-learn": ("sklearn.neural_network", "libraries", "ScikitLearn"),
    "PyTorch eager": ("torch", "libraries", "Torch"),
    "PyTorch compiled": ("torch", "libraries", "TorchCompiled"),
    "JAX jit + scan": ("jax.numpy", "libraries", "Jax"),
    "Keras": ("keras", "libraries", "Keras"),
}


def child(code: str, cache: str) -> float:
    """Seconds that a new process measures between `began` and the end of the code."""
    text = f"import time\nbegan = time.perf_counter()\n{code}\nprint(time.perf_counter() - began)"
    env = os.environ | {
        "NUMBA_CACHE_DIR": cache,
        "TORCHINDUCTOR_CACHE_DIR": os.path.join(cache, "torch"),
    }
    command = [sys.executable, "-c", text]
    done = subprocess.run(command, env=env, cwd=TOP, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def fit_code(module: str, home: str, kind: str) -> str:
    """A first fit of one epoch; what is timed begins after the import."""
    return f"from benchmarks import {home}, tasks\n" + FIT.format(
        module=module, home=home, kind=kind
    )


def digits(cache: str) -> float:
    """Seconds of `chainrule digits` as a process."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "chainrule", "digits", "--quiet", "--out", out]
        began = time.perf_counter()
        subprocess.run(
            command, env=os.environ | {"NUMBA_CACHE_DIR": cache}, capture_output=True, check=True
        )
        return time.perf_counter() - began


def on_a_table(folder: Path, cache: str) -> dict[str, Callable[[], float]]:
    """Seconds of `chainrule train` and `predict` as processes, on iris as a CSV file."""
    X, y = load_iris(return_X_y=True, as_frame=True)
    X.assign(y=y).to_csv(folder / "iris.csv", index=False)
    train = ["train", "iris.csv", "--target", "y", "--force"]
    predict = ["predict", "model.chainrule", "iris.csv", "--output", "o.csv", "--force"]

    def run(arguments: list[str]) -> float:
        command = [sys.executable, "-m", "chainrule", *arguments]
        began = time.perf_counter()
        env = os.environ | {"NUMBA_CACHE_DIR": cache}
        subprocess.run(command, env=env, cwd=folder, capture_output=True, check=True)
        return time.perf_counter() - began

    commands = {"chainrule train": train, "chainrule predict": predict}
    return {who: partial(run, each) for who, each in commands.items()}


def measure(quick: bool) -> list[dict[str, Any]]:
    """All of it; what comes first in a new process is read from disk once, untimed."""
    rounds = 2 if quick else 5
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        for who, code in IMPORTS.items():
            if who in NEEDS and not installed(NEEDS[who]):
                continue
            child(code, cache)
            values = [child(code, cache) for _ in range(rounds)]
            rows.append(row(who, "s", values, what="import"))
        for who, (module, home, kind) in FITS.items():
            if not installed(module.split(".")[0]):
                continue
            if quick and who in ("PyTorch compiled", "Keras"):
                continue
            code = fit_code(module, home, kind)
            cold = child(code, cache)
            rows.append(row(who, "s", [cold], what="first fit ever, after the import"))
            values = [child(code, cache) for _ in range(rounds)]
            what = "first fit in a new process, after the import"
            rows.append(row(who, "s", values, what=what))
        digits(cache)
        values = [digits(cache) for _ in range(rounds)]
        rows.append(row("chainrule digits", "s", values, what="whole process"))
        with tempfile.TemporaryDirectory() as folder:
            runs = on_a_table(Path(folder), cache)
            for run in runs.values():
                run()  # compiles, and makes the model
            turns = [[run() for run in runs.values()] for _ in range(rounds)]
            for who, values in zip(runs, zip(*turns, strict=True), strict=True):
                rows.append(row(who, "s", list(values), what="whole process, iris"))
        nothing = [child("", cache) for _ in range(rounds)]
        assert np.median(nothing) < 0.01, "the clock of the child is wrong"
    return rows
