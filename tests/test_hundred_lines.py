"""docs/hundred_lines.py is the library's mathematics: the same cost, gradient and training."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from helpers.components import slope

import chainrule

FILE = Path(__file__).parents[1] / "docs" / "hundred_lines.py"
ACTIVATIONS = ["identity", "relu", "tanh", "logistic"]
CLOSE = {"rtol": 0, "atol": 1e-10}


@pytest.fixture(scope="module")
def lines():
    return runpy.run_path(str(FILE))


def pair(lines, sizes, activation, output, cost, seed=0):
    """One network of the file and one of the library's, with the same weights and biases."""
    small = lines["Network"](sizes, activation, output or "identity", cost, seed=seed)
    rng = np.random.default_rng(seed)
    for b in small.b[1:]:
        b[:] = rng.normal(0, 0.3, b.shape)
    start = list(zip(small.W[1:], small.b[1:], strict=True))
    large = chainrule.Network(
        sizes, activation=activation, output_activation=output, loss=cost, init=start
    )
    return small, large


def data(n, sizes, cost, seed=1):
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(n, sizes[0])), rng.normal(size=(n, sizes[-1]))
    return X, np.eye(sizes[-1])[Y.argmax(axis=1)] if cost == "cross_entropy" else Y


def test_it_has_at_most_a_hundred_lines():
    text = FILE.read_text(encoding="utf-8").splitlines()
    assert len(text) <= 100
    assert max(map(len, text)) <= 100


@pytest.mark.parametrize("sizes", [(3, 2), (4, 5, 3), (3, 7, 6, 5, 2)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("cost", "output"),
    [("cross_entropy", None), *(("squared_error", name) for name in ACTIVATIONS)],
)
def test_cost_and_gradient_are_the_librarys(lines, sizes, activation, cost, output):
    small, large = pair(lines, sizes, activation, output, cost)
    X, Y = data(6, sizes, cost)
    expected, nabla = large.gradient(X, Y)
    assert abs(small.cost(X, Y) - expected) < 1e-10
    for found, theirs in zip(small.gradient(X, Y), large.views(nabla), strict=True):
        for l in range(1, len(sizes)):
            np.testing.assert_allclose(found[l], theirs[l], **CLOSE)


@pytest.mark.parametrize("cost", ["squared_error", "cross_entropy"])
def test_training_is_the_librarys(lines, cost):
    """In the same order of rows, the last batch of an epoch smaller than the others."""
    sizes = (4, 6, 5, 3)
    small, large = pair(lines, sizes, "tanh", None, cost)
    X, Y = data(23, sizes, cost)
    before = small.cost(X, Y)
    small.train(X, Y, epochs=30, batch_size=5, learning_rate=0.1, seed=4)
    chainrule.train(large, X, Y, epochs=30, batch_size=5, learning_rate=0.1, seed=4, engine="numpy")
    assert small.cost(X, Y) < 0.9 * before
    for l in range(1, len(sizes)):
        np.testing.assert_allclose(small.W[l], large.W[l], **CLOSE)
        np.testing.assert_allclose(small.b[l], large.b[l], **CLOSE)


def test_the_gradient_is_the_slope_of_the_cost(lines):
    small = lines["Network"]((3, 4, 2), "tanh", cost="cross_entropy", seed=2)
    X, Y = data(5, (3, 4, 2), "cross_entropy")
    nabla_W, nabla_b = small.gradient(X, Y)
    for lists, nabla in ((small.W, nabla_W), (small.b, nabla_b)):
        for l in (1, 2):
            kept = lists[l]

            def cost(values, lists=lists, l=l):
                lists[l] = values
                return small.cost(X, Y)

            np.testing.assert_allclose(slope(cost, kept, 1e-4), nabla[l], rtol=1e-7, atol=1e-9)
            lists[l] = kept


def test_certain_and_wrong_has_a_finite_cost(lines):
    small = lines["Network"]((1, 2), cost="cross_entropy")
    small.W[1][:] = [[2000, 0]]
    assert small.cost(np.ones((1, 1)), np.array([[0.0, 1.0]])) == 2000


def test_run_as_a_program_it_learns_the_digits(capsys):
    runpy.run_path(str(FILE), run_name="__main__")
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    for line, cost in zip(said, ["squared_error", "cross_entropy"], strict=True):
        name, rest = line.split(": ")
        assert name == cost
        assert int(rest.split()[0]) > 0.85 * 360
