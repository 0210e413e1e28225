"""The state of a run is copied, restored and stored in one way, wherever that is done."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import OPTIMIZERS, MLPClassifier, Network, OptimizerState
from chainrule.equations.layers import AFFINE, batch_norm
from chainrule.equations.regularizers import Rules
from chainrule.training.descent import Descent
from chainrule.training.state import LEARNED, STEPPED, STORED, RunState

pytestmark = pytest.mark.once

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 3)), RNG.normal(size=(12, 2))


def descent(m=4, optimizer="adam", sizes=(3, 5, 5, 2)):
    network = Network(sizes, layers=[AFFINE, batch_norm(), AFFINE], seed=0)
    chosen = OPTIMIZERS[optimizer]
    hyper = np.array(list(chosen.hyper.values()))
    return Descent(network, chosen, hyper, m, "numpy", Rules(average=0.5), n_threads=1)


def epoch(run):
    run.epoch(X, Y, np.arange(12))
    return everything(run.state)


def everything(state):
    return [state.t, *(getattr(state, name).tobytes() for name in STORED)]


def test_every_array_that_a_step_changes_is_among_those_that_are_kept():
    run = descent()
    before = run.state.copy()
    epoch(run)
    arrays = [name for name in STEPPED if name != "t"]
    assert all((getattr(run.state, name) != before[name]).any() for name in arrays)
    assert before["t"] == 0 < run.state.t == 3
    assert set(vars(run.state)) == {"network", "optimizer", "hyper", "memory", "average", "t"}


def test_what_was_restored_or_stored_goes_on_to_the_same_bits():
    one, other = descent(), descent()
    epoch(one)
    copies, stored = one.state.copy(), one.state.stored()
    expected = epoch(one)
    one.state.restore(copies)
    assert epoch(one) == expected
    other.state.restore_stored(stored)
    assert epoch(other) == expected


def test_copies_use_the_memory_of_earlier_ones_again():
    run = descent()
    copies = run.state.copy(LEARNED)
    places = {name: copies[name].ctypes.data for name in LEARNED}
    epoch(run)
    again = run.state.copy(LEARNED, into=copies)
    assert {name: again[name].ctypes.data for name in LEARNED} == places
    assert again["theta"].tobytes() == run.state.theta.tobytes()
    assert not any(np.shares_memory(again[name], getattr(run.state, name)) for name in LEARNED)


@pytest.mark.parametrize("other", [{"optimizer": "sgd"}, {"sizes": (3, 4, 4, 2)}])
def test_the_state_of_another_run_changes_nothing(other):
    run = descent()
    before = everything(run.state)
    theirs = descent(**other)
    epoch(theirs)
    with pytest.raises(ValueError, match="has the shape"):
        run.state.restore_stored(theirs.state.stored())
    assert everything(run.state) == before


def test_a_descent_of_another_batch_size_goes_on_with_the_same_state():
    one, other = descent(4), descent(6).resized(4)
    assert epoch(one) == epoch(other)
    again = one.resized(6)
    assert again.state is one.state
    assert (again.m, again.n_threads, again.engine) == (6, 1, "numpy")


def test_the_average_is_lent_to_the_network_only_meanwhile():
    run = descent()
    epoch(run)
    theta, average = run.state.theta.copy(), run.state.average.copy()
    with run.state.averaged() as network:
        assert network.theta.tobytes() == average.tobytes()
    assert run.network.theta.tobytes() == theta.tobytes()
    plain = RunState(run.network, OPTIMIZERS["sgd"], np.ones(1))
    with plain.averaged() as network:
        assert network.theta.tobytes() == theta.tobytes()


def test_steps_on_given_gradients_can_be_gone_back_from():
    net = Network((3, 4, 2), seed=0)
    state = OptimizerState(net, "adam", learning_rate=0.1)
    state.step(net.gradient(X, Y)[1])
    assert state.memory.shape == (2, net.theta.size)
    copies = state.copy()
    state.step(net.gradient(X, Y)[1])
    expected = net.theta.copy()
    state.restore(copies)
    assert state.t == 1
    state.step(net.gradient(X, Y)[1])
    assert net.theta.tobytes() == expected.tobytes()


def test_a_stored_optimizer_state_of_another_solver_is_refused_by_name():
    import pickle

    y = np.arange(12) % 2
    model = MLPClassifier(4, keep_optimizer_state=True, random_state=0)
    model = pickle.loads(pickle.dumps(model.partial_fit(X, y, classes=[0, 1])))
    model.set_params(solver="sgd", momentum=0.0)
    with pytest.raises(ValueError, match=r"optimiser's state .* memory has the shape"):
        model.partial_fit(X, y)
