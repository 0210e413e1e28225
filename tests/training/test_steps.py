"""Steps on given gradients are the steps of training, however the gradient came about."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import OPTIMIZERS, Network, OptimizerState, train

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 3)), RNG.normal(size=(30, 2))


def network():
    return Network((3, 5, 2), activation="tanh", seed=0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_sums_over_parts_of_the_batch_take_the_steps_of_training(name):
    trained, stepped = network(), network()
    train(
        trained, X, Y, epochs=3, batch_size=None, optimizer=name, learning_rate=0.01, engine="numpy"
    )
    state = OptimizerState(stepped, name, learning_rate=0.01)
    for _ in range(3):
        parts = [(X[:12], Y[:12]), (X[12:], Y[12:])]
        state.step(sum(len(x) / 30 * stepped.gradient(x, y)[1] for x, y in parts))
    assert state.t == 3
    # Where an optimiser divides by √v, a rounded sum of a gradient near 0 counts for more.
    np.testing.assert_allclose(stepped.theta, trained.theta, rtol=1e-9, atol=1e-11)


def test_a_state_can_be_kept_and_taken_up_again():
    one, two = network(), network()
    first = OptimizerState(one, "adam")
    first.step(one.gradient(X, Y)[1])
    two.theta[:] = one.theta
    second = OptimizerState(two, "adam")
    second.t, second.memory[:] = first.t, first.memory
    for state in (first, second):
        state.step(state.network.gradient(X, Y)[1])
    assert one.theta.tobytes() == two.theta.tobytes()


@pytest.mark.parametrize(
    ("nabla", "says"), [(np.ones(3), "the shape"), (np.full(32, np.nan), "32 numbers")]
)
def test_a_wrong_gradient_changes_nothing(nabla, says):
    net = network()
    before = net.theta.copy()
    state = OptimizerState(net)
    with pytest.raises(ValueError, match=says):
        state.step(nabla)
    assert (net.theta == before).all()
    assert state.t == 0


def test_dropout_sees_the_step_that_is_given():
    from chainrule import layers

    net = Network((4, 4, 1), layers=[layers.dropout(0.5, 1), layers.AFFINE], seed=0)
    rows, ones = np.ones((6, 4)), np.ones((6, 1))
    first, again, second, off = (net.gradient(rows, ones, step=t)[1] for t in (1, 1, 2, 0))
    assert (first == again).all()
    assert (first != second).any()
    assert (first != off).any()
