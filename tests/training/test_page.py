"""The functions that carry the equations' names are those that run while a network trains."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter

import pytest

from chainrule.digits import recipes, runs
from chainrule.training import kernel

EQUATIONS = ("forward", "output_error", "backward", "layer_gradient")


@pytest.mark.parametrize("recipe", ["article", "modern"])
def test_each_equation_is_called_for_each_batch_of_digits(recipe, monkeypatch):
    counts = Counter()

    def counted(name, equation):
        def call(*arguments):
            counts[name] += 1
            return equation(*arguments)

        return call

    for name in EQUATIONS:
        monkeypatch.setattr(kernel, name, counted(name, getattr(kernel, name)))
    chosen = recipes.override(recipes.RECIPES[recipe], epochs=2)
    data = recipes.load()
    run = runs.Run(chosen, data, 0)
    run()
    rows = len(data.y_train) - (len(data.y_train) // 5 if recipe == "modern" else 0)
    assert len(run.result.epochs) == 2
    steps = counts["forward"]
    assert steps % 2 == 0
    if recipe == "article":
        assert steps == 2 * math.ceil(rows / chosen.batch_size)
    assert counts["output_error"] == counts["backward"] == steps > 0
    assert counts["layer_gradient"] == 2 * steps  # for each of the two layers


# Each equation is changed; were one of them not on the compiled path, the engines would differ.
CHANGED = """
import numpy as np
from chainrule import Network, train
from chainrule.equations import backprop
from chainrule.training import ahead, kernel

real_forward, real_error = backprop.forward, backprop.output_error
real_backward, real_gradient = backprop.backward, backprop.layer_gradient

def forward(net, batch, first, last):
    real_forward(net, batch, first, last)
    batch.a[1][0, 0] += 0.5

def output_error(net, delta, y, batch, scale):
    real_error(net, delta, y, batch, 3.0 * scale)

def backward(net, batch, lowest, first):
    real_backward(net, batch, lowest, first)
    batch.delta[1][0, 1] += 0.25

def layer_gradient(net, l, W, b, s, a, delta, nabla_W, nabla_b):
    real_gradient(net, l, W, b, s, a, delta, nabla_W, nabla_b)
    nabla_W[0, 0] += 0.125

def theta(engine):
    network = Network((3, 4, 2), activation="tanh", seed=0)
    X = np.random.default_rng(0).normal(size=(30, 3))
    train(network, X, X[:, :2], epochs=2, optimizer="momentum", engine=engine, seed=0, n_threads=1)
    return network.theta

ahead._start = lambda dtype: None
plain = theta("numpy")
apart = []
for name in ("forward", "output_error", "backward", "layer_gradient"):
    real = getattr(kernel, name)
    setattr(kernel, name, globals()[name])
    apart.append(np.abs(theta("numpy") - plain).max())
    setattr(kernel, name, real)
for name in ("forward", "output_error", "backward", "layer_gradient"):
    setattr(kernel, name, globals()[name])
print(min(apart) > 1e-4, np.abs(theta("numba") - theta("numpy")).max() < 1e-12)
"""


@pytest.mark.compiled
def test_the_compiled_engine_goes_through_the_same_equations(tmp_path):
    (tmp_path / "changed.py").write_text(CHANGED)
    done = subprocess.run(
        [sys.executable, "changed.py"],
        cwd=tmp_path,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True True\n", done.stderr
