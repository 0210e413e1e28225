"""Starting values: their moments, their ranges, their seeds."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule.equations.initializers import INITIALIZERS

N_IN, N_OUT = 300, 200
VARIANCE = {
    "glorot": 2 / (N_IN + N_OUT),
    "he": 2 / N_IN,
    "lecun": 1 / N_IN,
}


def draw(name, shape=(N_IN, N_OUT), seed=0):
    W = np.full(shape, np.nan)
    INITIALIZERS[name].weights(np.random.default_rng(seed), W)
    return W


def test_all_that_was_asked_for_is_there():
    scaled = {f"{who}_{shape}" for who in VARIANCE for shape in ("uniform", "normal")}
    assert set(INITIALIZERS) >= scaled | {"uniform", "orthogonal", "zeros"}


@pytest.mark.parametrize("who", VARIANCE)
@pytest.mark.parametrize("shape", ["uniform", "normal"])
def test_moments(who, shape):
    W = draw(f"{who}_{shape}")
    n, variance = W.size, VARIANCE[who]
    assert abs(W.mean()) < 5 * np.sqrt(variance / n)
    fourth = {"uniform": 1.8, "normal": 3.0}[shape]  # E W⁴ / (E W²)²
    assert W.var() == pytest.approx(variance, rel=5 * np.sqrt((fourth - 1) / n))
    assert (W**4).mean() / W.var() ** 2 == pytest.approx(fourth, rel=0.05)
    if shape == "uniform":
        limit = np.sqrt(3 * variance)
        assert 0.999 * limit < np.abs(W).max() <= limit
    assert INITIALIZERS[f"{who}_{shape}"].biases is None


def test_uniform_is_the_articles():
    network = chainrule.Network((N_IN, N_OUT, 50), init="uniform", seed=0)
    for values in (network.W[1], network.b[1], network.W[2], network.b[2]):
        assert 0 <= values.min() < 0.01
        assert 0.09 < values.max() < 0.1
        n = values.size
        assert values.mean() == pytest.approx(0.05, abs=5 * 0.1 / np.sqrt(12 * n))
    assert network.W[1].var() == pytest.approx(0.01 / 12, rel=0.02)


@pytest.mark.parametrize("shape", [(7, 7), (9, 4), (4, 9), (1, 5), (5, 1)])
def test_orthogonal(shape):
    Q = draw("orthogonal", shape)
    gram = Q.T @ Q if shape[0] >= shape[1] else Q @ Q.T
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-14)


def test_orthogonal_is_uniform_over_the_orthogonal_matrices():
    """Over many draws no entry leans to one sign, and their square is 1/n on average."""
    many = np.array([draw("orthogonal", (3, 3), seed) for seed in range(2000)])
    np.testing.assert_allclose(many.mean(axis=0), 0, atol=5 / np.sqrt(3 * 2000))
    np.testing.assert_allclose((many**2).mean(axis=0), 1 / 3, atol=0.04)


def test_zeros():
    assert not draw("zeros").any()
    assert not chainrule.Network((3, 4, 2), init="zeros").theta.any()


@pytest.mark.parametrize("name", INITIALIZERS)
def test_seed_gives_the_same_bits_and_only_it(name):
    def theta(seed, dtype="float64"):
        return chainrule.Network((5, 4, 3), init=name, seed=seed, dtype=dtype).theta

    assert theta(1).tobytes() == theta(1).tobytes()
    assert theta(1, "float32").dtype == np.float32
    np.testing.assert_array_equal(theta(1, "float32"), theta(1).astype(np.float32))
    if name != "zeros":
        assert not np.array_equal(theta(1), theta(2))
        assert not np.array_equal(theta(None), theta(None))


@pytest.mark.parametrize("name", [name for name in INITIALIZERS if name != "uniform"])
def test_biases_start_at_zero(name):
    network = chainrule.Network((5, 4, 3), init=name, seed=0)
    assert not network.b[1].any()
    assert not network.b[2].any()


def test_own_initializer():
    own = chainrule.Initializer(
        "ramp", lambda rng, W: np.copyto(W, np.arange(W.size).reshape(W.shape))
    )
    network = chainrule.Network((2, 3), init=own)
    np.testing.assert_array_equal(network.W[1], [[0, 1, 2], [3, 4, 5]])
