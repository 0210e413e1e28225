"""The four equations and the descent, held to the slow oracle of naive.py."""

from __future__ import annotations

import functools
from itertools import pairwise

import numpy as np
import pytest
from helpers import naive

import chainrule

SEED, EPOCHS, BATCH, ETA = 7, 2, 10, 0.01

# 1,437 digits make 143 batches of 10 and one of 7.
CASES = {
    "none hidden": ((64, 10), ("relu",)),
    "the article's": ((64, 100, 10), ("relu", "relu")),
    "two hidden": ((64, 20, 15, 10), ("relu", "relu", "relu")),
    "three hidden": ((64, 20, 12, 12, 10), ("relu", "relu", "relu", "relu")),
    "other activations": ((64, 16, 12, 10), ("tanh", "logistic", "identity")),
    "softmax inside and out": ((64, 12, 10, 10), ("logistic", "softmax", "softmax")),
}


def start(sizes):
    """Starting values for every case: the article's uniform(0, 0.1), some of them negative."""
    rng = np.random.default_rng(SEED)
    pairs = []
    for n_in, n_out in pairwise(sizes):
        W = rng.uniform(0, 0.1, (n_in, n_out))
        W[:, ::3] -= 0.05
        pairs.append((W, rng.uniform(0, 0.1, n_out)))
    return pairs


@functools.cache
def oracle(case, data):
    """Weights, biases and costs after two epochs, by the slow way."""
    sizes, activations = CASES[case]
    X, Y = data()
    w = [[], *(W.T.tolist() for W, _ in start(sizes))]
    b = [[], *(b.tolist() for _, b in start(sizes))]
    rng = np.random.default_rng(SEED)
    orders = [rng.permutation(len(X)).tolist() for _ in range(EPOCHS)]
    costs = naive.train(X.tolist(), Y.tolist(), w, b, ("", *activations), orders, BATCH, ETA)
    return w, b, costs


@pytest.fixture(scope="module")
def data(digits):
    return lambda: digits


@pytest.mark.parametrize("case", CASES)
def test_two_epochs_of_digits_equal_the_oracle(case, engine, data):
    sizes, activations = CASES[case]
    X, Y = data()
    network = chainrule.Network(sizes, activation=list(activations), init=start(sizes))
    history = chainrule.train(
        network, X, Y, epochs=EPOCHS, batch_size=BATCH, learning_rate=ETA, seed=SEED, engine=engine
    )
    w, b, costs = oracle(case, data)
    moved = 0.0
    for l, (W0, b0) in enumerate(start(sizes), start=1):
        np.testing.assert_allclose(network.W[l], np.transpose(w[l]), rtol=0, atol=1e-10)
        np.testing.assert_allclose(network.b[l], b[l], rtol=0, atol=1e-10)
        assert np.abs(network.W[l] - W0).max() > 1e-5, f"layer {l} has not learned"
        moved = max(moved, np.abs(network.b[l] - b0).max())
    assert moved > 1e-3
    assert history.engine == engine
    np.testing.assert_allclose([e.cost for e in history.epochs], costs, rtol=1e-10)


def test_oracle_gradient_is_the_derivative_of_its_cost():
    """The oracle itself: central differences of its cost, at depths none to three."""
    rng = np.random.default_rng(0)
    for case, (_, activations) in CASES.items():
        sizes = [*[3, 4, 2, 4, 3][: len(activations)], 3]
        w = [[], *(rng.normal(size=s[::-1]).tolist() for s in pairwise(sizes))]
        b = [[], *(rng.normal(size=n).tolist() for n in sizes[1:])]
        names = ("", *activations)
        x, y = rng.normal(size=3).tolist(), rng.normal(size=3).tolist()
        zs, outputs = naive.forward(x, w, b, names)
        deltas = naive.backward(y, zs, outputs, w, names)
        for l in range(1, len(w)):
            for j in range(len(w[l])):
                for k in range(len(w[l][j])):
                    keep, costs = w[l][j][k], []
                    for h in (1e-6, -1e-6):
                        w[l][j][k] = keep + h
                        costs.append(naive.squared_error(naive.forward(x, w, b, names)[1][-1], y))
                    w[l][j][k] = keep
                    slope = (costs[0] - costs[1]) / 2e-6
                    assert deltas[l][j] * outputs[l - 1][k] == pytest.approx(slope, abs=1e-8), case
