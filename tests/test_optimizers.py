"""Optimisers against golden numbers, derived here in exact fractions from the papers' formulas."""

from __future__ import annotations

from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np
import pytest

import chainrule
from chainrule.optimizers import OPTIMIZERS

# θ after each of three steps down C = θ² / 2 from θ = 1, by hand, with η = 1/10, μ = 1/2.
BY_HAND = {
    "sgd": ["9/10", "81/100", "729/1000"],
    "momentum": ["9/10", "19/25", "307/500"],  # v: -1/10, -7/50, -73/500
    "nesterov": ["17/20", "279/400", "4473/8000"],  # v: -1/10, -27/200, -549/4000
}


def gradients(n=5):
    """Some gradients, exact in binary, one row per step."""
    return np.random.default_rng(4).integers(-64, 64, (n, 3)) / 16


def walk(name, nabla, **hyper):
    """θ after each step from 1, 2, 3 given the gradients, by our code."""
    optimizer = OPTIMIZERS[name]
    theta, state = np.array([1.0, 2.0, 3.0]), np.zeros((optimizer.slots, 3))
    h = np.array(list((optimizer.hyper | hyper).values()), np.float64)
    path = []
    for t, g in enumerate(nabla, start=1):
        optimizer.step(theta, g.copy(), state, h, t)
        path.append(theta.copy())
    return np.array(path)


@pytest.mark.parametrize("name", BY_HAND)
def test_three_steps_by_hand(name):
    optimizer = OPTIMIZERS[name]
    theta, state = np.array([1.0]), np.zeros((optimizer.slots, 1))
    h = np.array([0.1, 0.5][: len(optimizer.hyper)])
    for t, expected in enumerate(BY_HAND[name], start=1):
        optimizer.step(theta, theta.copy(), state, h, t)
        assert theta[0] == pytest.approx(float(Fraction(expected)), rel=1e-14)


def test_momentum_is_polyaks_heavy_ball():
    """θ_{t+1} = θ_t - η ∇C + μ (θ_t - θ_{t-1}), in fractions."""
    eta, mu = Fraction(0.01), Fraction(0.9)
    nabla = gradients()
    for i, start in enumerate((1, 2, 3)):
        before = now = Fraction(start)
        for t, got in enumerate(walk("momentum", nabla)):
            before, now = now, now - eta * Fraction(nabla[t, i]) + mu * (now - before)
            assert got[i] == pytest.approx(float(now), rel=1e-14)


def test_nesterov_looks_ahead():
    """Nesterov's own form: the gradient is taken at y = θ + μ v, which is what is kept.

    v' = μ v - η ∇C(y), θ' = θ + v', y' = θ' + μ v'.
    """
    eta, mu = Fraction(0.01), Fraction(0.9)
    nabla = gradients()
    for i, start in enumerate((1, 2, 3)):
        theta, v = Fraction(start), Fraction(0)
        for t, got in enumerate(walk("nesterov", nabla)):
            v = mu * v - eta * Fraction(nabla[t, i])
            theta += v
            assert got[i] == pytest.approx(float(theta + mu * v), rel=1e-14)


def test_adam_is_algorithm_1():
    """Kingma and Ba's algorithm 1, line by line, in 50 digits."""
    getcontext().prec = 50
    alpha, beta1, beta2, eps = (Decimal(x) for x in (0.001, 0.9, 0.999, 1e-8))
    nabla = gradients(6)
    nabla[2, 1] = 0
    for i, start in enumerate((1, 2, 3)):
        theta, m, v = Decimal(start), Decimal(0), Decimal(0)
        for t, got in enumerate(walk("adam", nabla), start=1):
            g = Decimal(nabla[t - 1, i])
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g * g
            m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
            theta -= alpha * m_hat / (v_hat.sqrt() + eps)
            assert got[i] == pytest.approx(float(theta), rel=1e-14)


def test_adam_sees_its_epsilon():
    """A gradient as small as ε: half a step's worth, not a whole one."""
    g = np.full((1, 3), 1e-8)
    step = walk("adam", g)[0] - [1, 2, 3]
    np.testing.assert_allclose(step, -0.001 / 2, rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_steps_equal_single_steps(name, engine):
    """`train` hands the optimiser its numbers, its state and a count from 1, across epochs."""
    rng = np.random.default_rng(8)
    X, Y = rng.normal(size=(10, 3)), rng.normal(size=(10, 2))
    optimizer = OPTIMIZERS[name]
    hyper = {"momentum": 0.75} if "momentum" in optimizer.hyper else {}
    hyper |= {"beta_1": 0.5, "epsilon": 0.01} if "beta_1" in optimizer.hyper else {}
    network = chainrule.Network((3, 4, 2), activation="tanh", seed=1)
    mirror = network.copy()
    chainrule.train(
        network,
        X,
        Y,
        epochs=3,
        batch_size=4,
        optimizer=name,
        learning_rate=0.05,
        hyper=hyper,
        shuffle=False,
        engine=engine,
    )
    state = np.zeros((optimizer.slots, mirror.theta.size))
    h = np.array(list((optimizer.hyper | {"learning_rate": 0.05} | hyper).values()))
    t = 0
    for _ in range(3):
        for rows in (slice(0, 4), slice(4, 8), slice(8, 10)):
            t += 1
            _, nabla = mirror.gradient(X[rows], Y[rows])
            optimizer.step(mirror.theta, nabla, state, h, t)
    np.testing.assert_allclose(network.theta, mirror.theta, rtol=1e-12)
