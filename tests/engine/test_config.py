"""Which engine "auto" means, how many threads, compiling ahead, and a cache that was damaged."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import chainrule
from chainrule import Network, train
from chainrule.engine import config
from chainrule.engine.compilation import can_compile
from chainrule.ensembles import warmup
from chainrule.equations.regularizers import Rules
from chainrule.training.executable import executable, fused_layers, step_seconds
from chainrule.training.train import choose_engine


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setattr(config, "_config", {"engine": None, "n_threads": None})
    monkeypatch.delenv("CHAINRULE_ENGINE", raising=False)


SMALL = Network((3, 2), seed=0)


def test_defaults():
    assert chainrule.get_config() == {"engine": "auto", "n_threads": None}


def test_who_overrules_whom(monkeypatch):
    """The argument the setting, the setting the variable, the variable the amount of work."""
    assert choose_engine("auto", SMALL, 10, 5, 1) == "numpy"
    monkeypatch.setenv("CHAINRULE_ENGINE", "numba")
    assert choose_engine("auto", SMALL, 10, 5, 1) == "numba"
    chainrule.set_config(engine="numpy")
    assert choose_engine("auto", SMALL, 10, 5, 10**9) == "numpy"
    assert choose_engine("numba", SMALL, 10, 5, 1) == "numba"
    chainrule.set_config(engine="auto")
    assert choose_engine("auto", SMALL, 10, 5, 1) == "numpy"
    large = "numba" if can_compile() else "numpy"  # where nothing compiles, nothing waits for it
    assert choose_engine("auto", SMALL, 10, 5, 10**9) == large


def test_settings_stay_when_not_given():
    chainrule.set_config(engine="numpy")
    chainrule.set_config(n_threads=3)
    assert chainrule.get_config() == {"engine": "numpy", "n_threads": 3}
    chainrule.set_config(n_threads=0)
    assert chainrule.get_config() == {"engine": "numpy", "n_threads": None}


@pytest.mark.parametrize("bad", [{"engine": "nunpy"}, {"n_threads": -1}, {"n_threads": 1.5}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        chainrule.set_config(**bad)
    assert chainrule.get_config() == {"engine": "auto", "n_threads": None}


def test_a_bad_variable_is_named(monkeypatch):
    monkeypatch.setenv("CHAINRULE_ENGINE", "nunpy")
    with pytest.raises(ValueError, match=r"CHAINRULE_ENGINE.*did you mean 'numpy'"):
        train(SMALL.copy(), np.ones((2, 3)), np.ones((2, 2)))


def test_the_estimate_follows_the_work():
    """It grows with every measure of the work, and not by much for nothing."""
    base = step_seconds(Network((64, 100, 10), seed=0), 10)
    assert step_seconds(Network((64, 100, 10), seed=0), 200) > base
    assert step_seconds(Network((64, 1000, 10), seed=0), 10) > base
    assert step_seconds(Network((64, 100, 100, 10), seed=0), 10) > base
    assert step_seconds(Network((64, 100, 10), dtype="float32", seed=0), 10) <= base


class Compiler:
    """Notes what would be compiled."""

    def __init__(self, monkeypatch):
        self.asked = []
        monkeypatch.setattr(warmup.compilation, "address", self.note)
        monkeypatch.setattr(warmup.compilation, "compiled", self.note)
        monkeypatch.setattr(warmup.compilation, "entry_point", lambda compiled: compiled)
        monkeypatch.setattr(warmup.ahead, "_start", lambda dtype: None)

    def note(self, *what, **how):
        self.asked.append(what)
        return 0


def test_warm_up_compiles_all_that_training_asks_for(monkeypatch):
    compiler = Compiler(monkeypatch)
    seen = []
    count = chainrule.warm_up(progress=lambda done, total: seen.append((done, total)))
    assert count == len(compiler.asked)
    assert seen[0] == (0, count)
    assert seen[-1] == (count, count)
    ready = set(compiler.asked)
    compiler.asked.clear()
    layers = list(chainrule.LAYERS.values())  # affine is the first
    for dtype in ("float32", "float64"):
        for loss in chainrule.LOSSES:
            for optimizer in chainrule.OPTIMIZERS.values():
                network = Network(
                    (*[3] * (1 + len(layers)), 4),
                    loss=loss,
                    activation="gelu",
                    dtype=dtype,
                    layers=[*layers, layers[0]],
                    seed=0,
                )
                rules = Rules(1, 1, *[0.1] * 7)
                for given in (rules, Rules()):
                    fused = fused_layers(network, optimizer, given)
                    executable(network, optimizer, "numba", given, fused)
    assert set(compiler.asked) <= ready
    assert all(callable(fn) for fn, *_ in ready)


def test_warm_up_takes_components_of_ones_own(monkeypatch):
    compiler = Compiler(monkeypatch)
    own = chainrule.ACTIVATIONS["relu"]._replace(name="own", f=lambda z, a: None)
    chainrule.warm_up(["float32"], components=[own])
    assert (own.f, "f", np.dtype("float32")) in compiler.asked
    assert {item[-1] for item in compiler.asked} == {np.dtype("float32")}


# --- the cache -----------------------------------------------------------------------------------

SCRIPT = """
import numpy as np, chainrule
network = chainrule.Network((3, 4, 2), seed=0)
history = chainrule.train(network, np.ones((6, 3)), np.ones((6, 2)), epochs=1, engine="numba")
print(history.epochs[0].cost, network.theta.tobytes().hex())
"""


def process(folder):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"NUMBA_CACHE_DIR": str(folder)},
    )


def run(folder):
    done = process(folder)
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, err
    return out


@pytest.mark.compiled
@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_process_killed_leaves_no_broken_cache(tmp_path):
    folder = tmp_path / "kept"
    first = process(folder)
    deadline = time.monotonic() + 120
    while not list(folder.rglob("*.nbc")) and time.monotonic() < deadline:
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(SCRIPT, {})  # with this process's own cache
    assert run(folder) == printed.getvalue()
