"""Optimisers against golden numbers, derived here in exact fractions from the papers' formulas.

Those with a root are derived line by line from the papers' algorithms, in 50 digits.
"""

from __future__ import annotations

from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np
import pytest

import chainrule
from chainrule.equations.optimizers import ADAM_AS_IN_SKLEARN, OPTIMIZERS

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
    optimizer = OPTIMIZERS[name] if isinstance(name, str) else name
    theta, state = np.array([1.0, 2.0, 3.0]), np.zeros((optimizer.slots, 3))
    h = np.array(list((optimizer.hyper | hyper).values()), np.float64)
    path = []
    for t, g in enumerate(nabla, start=1):
        optimizer.step(theta, g.copy(), state, h, t)
        path.append(theta.copy())
    return np.array(path)


def follow(recipe, nabla, got, rel=1e-14):
    """Hold a path to a recipe, which is sent the gradients of one parameter and yields steps."""
    getcontext().prec = 50
    for i, start in enumerate((1, 2, 3)):
        theta = Decimal(start)
        steps = recipe([Decimal(g) for g in nabla[:, i]])
        for t, (step, theirs) in enumerate(zip(steps, got[:, i], strict=True)):
            theta += step
            assert theirs == pytest.approx(float(theta), rel=rel), f"step {t + 1}"


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


def moments(gradients, beta1, beta2):
    """(t, g, m, v) of every step, the averages that Adam and its kin share."""
    m = v = Decimal(0)
    for t, g in enumerate(gradients, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        yield t, g, m, v


ADAM = [Decimal.from_float(x) for x in (0.001, 0.9, 0.999, 1e-8)]


def adam(gradients):
    """Kingma and Ba's algorithm 1."""
    alpha, beta1, beta2, eps = ADAM
    for t, _, m, v in moments(gradients, beta1, beta2):
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        yield -alpha * m_hat / (v_hat.sqrt() + eps)


def adam_before_section_2_1(gradients):
    """The order of computation that Kingma and Ba's section 2 ends with; ε is their ε̂."""
    alpha, beta1, beta2, eps = ADAM
    for t, _, m, v in moments(gradients, beta1, beta2):
        alpha_t = alpha * (1 - beta2**t).sqrt() / (1 - beta1**t)
        yield -alpha_t * m / (v.sqrt() + eps)


def nadam(gradients):
    """Dozat's algorithm 2 with μ_t = μ: m̄ takes the coming step's momentum."""
    eta, mu, nu, eps = ADAM
    for t, g, m, n in moments(gradients, mu, nu):
        g_hat, m_hat = g / (1 - mu**t), m / (1 - mu ** (t + 1))
        n_hat = n / (1 - nu**t)
        m_bar = (1 - mu) * g_hat + mu * m_hat
        yield -eta * m_bar / (n_hat.sqrt() + eps)


def radam(gradients):
    """Liu and others' algorithm 2, but rectified from ρ > 5 on, as in their own program."""
    alpha, beta1, beta2, eps = ADAM
    most = 2 / (1 - beta2) - 1
    for t, _, m, v in moments(gradients, beta1, beta2):
        m_hat = m / (1 - beta1**t)
        rho = most - 2 * t * beta2**t / (1 - beta2**t)
        assert (rho > 5) == (t > 5)
        if t > 5:
            r = ((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho)).sqrt()
            yield -alpha * r * m_hat / ((v / (1 - beta2**t)).sqrt() + eps)
        else:
            yield -alpha * m_hat


def rmsprop(gradients):
    """Tieleman and Hinton: divide by a running average of the size."""
    eta, rho, eps, v = (
        Decimal.from_float(0.001),
        Decimal.from_float(0.9),
        Decimal.from_float(1e-8),
        Decimal(0),
    )
    for g in gradients:
        v = rho * v + (1 - rho) * g**2
        yield -eta * g / (v.sqrt() + eps)


def adagrad(gradients):
    """Duchi, Hazan and Singer: divide by the root of the sum of all squares so far."""
    for t in range(1, len(gradients) + 1):
        root = sum(g**2 for g in gradients[:t]).sqrt()
        yield -Decimal.from_float(0.01) * gradients[t - 1] / (root + Decimal.from_float(1e-10))


def adadelta(gradients):
    """Zeiler's algorithm 1, in his words RMS[Δx] / RMS[g]."""
    rho, eps = Decimal.from_float(0.9), Decimal.from_float(1e-6)
    size_g = size_x = Decimal(0)
    for g in gradients:
        size_g = rho * size_g + (1 - rho) * g**2
        step = -(size_x + eps).sqrt() / (size_g + eps).sqrt() * g
        size_x = rho * size_x + (1 - rho) * step**2
        yield step


def lion(gradients):
    """Chen and others' algorithm 2, without decay."""
    eta, beta1, beta2, m = (
        Decimal.from_float(0.0001),
        Decimal.from_float(0.9),
        Decimal.from_float(0.99),
        Decimal(0),
    )
    for g in gradients:
        c = beta1 * m + (1 - beta1) * g
        m = beta2 * m + (1 - beta2) * g
        yield -eta if c > 0 else eta if c < 0 else Decimal(0)


RECIPES = {f.__name__: f for f in (adam, nadam, radam, rmsprop, adagrad, adadelta, lion)}


@pytest.mark.parametrize("name", RECIPES)
def test_steps_are_those_of_the_paper(name):
    nabla = gradients(9)
    nabla[2, 1] = 0  # a step without a gradient moves on by momentum alone
    follow(RECIPES[name], nabla, walk(name, nabla))


def test_adam_for_parity_with_scikit_learn():
    nabla = gradients(6)
    follow(adam_before_section_2_1, nabla, walk(ADAM_AS_IN_SKLEARN, nabla))
    assert ADAM_AS_IN_SKLEARN.hyper == OPTIMIZERS["adam"].hyper


@pytest.mark.parametrize("t", [2, 10, 100])
def test_adam_for_parity_equals_scikit_learns(t):
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer

    nabla = gradients(t)
    theirs = [np.array([1.0, 2.0, 3.0])]
    optimizer = AdamOptimizer(theirs)
    for g in nabla:
        optimizer.update_params(theirs, [g])
    np.testing.assert_allclose(walk(ADAM_AS_IN_SKLEARN, nabla)[-1], theirs[0], rtol=1e-14)


def test_every_optimizer_has_its_golden_numbers():
    assert {*RECIPES, *BY_HAND} == set(OPTIMIZERS)


@pytest.mark.parametrize("name", [*RECIPES, "momentum", "nesterov"])
def test_numbers_are_read_in_their_order(name):
    """Each of the optimiser's numbers, changed alone, changes the path."""
    nabla = gradients(9)
    usual = walk(name, nabla)
    for key, value in OPTIMIZERS[name].hyper.items():
        other = walk(
            name, nabla, **{key: 0.5 * value if value > 1e-4 or key == "learning_rate" else 0.1}
        )
        assert not np.array_equal(other, usual), key


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
    unusual = {"momentum": 0.75, "beta_1": 0.5, "epsilon": 0.01, "rho": 0.7}
    hyper = {key: value for key, value in unusual.items() if key in optimizer.hyper}
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
    np.testing.assert_allclose(network.theta, mirror.theta, rtol=1e-12, atol=1e-13)
