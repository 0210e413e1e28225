"""What all tests share: the engines, the two dtypes, Hypothesis's settings."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from helpers.oldest import OLDEST
from hypothesis import HealthCheck, settings

# A shell that runs the tests in the background has Ctrl-C ignored, by their processes too.
signal.signal(signal.SIGINT, signal.default_int_handler)

JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")

# The same examples every time; `--hypothesis-profile=explore` looks for new ones.
settings.register_profile(
    "default",
    deadline=None,
    derandomize=True,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", settings.get_profile("default"), derandomize=False)
settings.register_profile("explore", settings.get_profile("explore"), max_examples=500)
settings.load_profile("default")


# What compilation has no part in, and what names the engine it uses, by folder and by file: the run
# without it, which would do the same as the other one in NumPy, leaves it out.
ONCE = {
    "app",
    "commands",
    "digits",
    "distributed_training",
    "equations",
    "explain",
    "exports",
    "files",
    "monitoring",
    "search",
    "tables",
}
ONCE |= {
    "test_docs",
    "test_gradcheck",
    "test_hundred_lines",
    "test_layout",
    "test_oldest",
    "test_prediction",
    "test_schedules",
    "test_sklearn_contract",
    "test_sklearn_parity",
    "test_symbolic",
    "test_tabular",
    "test_wheel",
    "test_whole_files",
}


def is_once(path: Path) -> bool:
    """Whether compilation has no part in a file of tests."""
    return not ONCE.isdisjoint((path.stem, path.parent.name))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what is left out: it takes longer than to run the rest."""
    return True if "not once" in config.option.markexpr and is_once(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is run once, and on the lowest versions; leave out the compiler if it is off."""
    for item in items:
        if is_once(item.path):
            item.add_marker(pytest.mark.once)
        names = {item.name, getattr(item, "originalname", None)}
        if names & set(OLDEST.get(item.path.stem, ())):
            item.add_marker(pytest.mark.oldest)
    if JIT:
        return
    skip = pytest.mark.skip(reason="compilation is switched off")
    for item in items:
        if "compiled" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def commands_made_once() -> None:
    """Typer's runner would make all commands anew at each call, which takes 30 ms."""
    from typer import testing

    testing._get_command = functools.cache(testing._get_command)


@pytest.fixture(
    scope="session", params=["numpy", pytest.param("numba", marks=pytest.mark.compiled)]
)
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    return request.param


@pytest.fixture(scope="session", params=["float64", "float32"])
def dtype(request: pytest.FixtureRequest) -> np.dtype:
    """Each dtype in turn."""
    return np.dtype(request.param)


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """The first 1,437 digits, standardised, constant pixels 0, and one-hot targets."""
    from sklearn.datasets import load_digits

    X, labels = load_digits(return_X_y=True)
    X, labels = X[:1437], labels[:1437]
    deviation = X.std(axis=0)
    X = (X - X.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    return X, np.eye(10)[labels]
