"""Epochs that are gone through in one call have the bits of as many calls, and end like them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule import OPTIMIZERS, DivergenceError, MLPClassifier, MLPRegressor, Network, train
from chainrule.equations.layers import AFFINE, batch_norm, dropout, layer_norm, noise
from chainrule.equations.regularizers import Rules
from chainrule.estimators.epochs import Fit
from chainrule.training.augmentation import Augmentation
from chainrule.training.descent import EPOCHS, FLUSHED_EVERY, GRADIENTS, Descent
from chainrule.training.state import STORED

RNG = np.random.default_rng(0)
N = 37
X, Y = RNG.normal(size=(N, 3)), RNG.normal(size=(N, 2))
LABELS = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int)
WEIGHT = RNG.uniform(0.1, 2, size=N)

RULES = {
    "plain": Rules(),
    "penalties": Rules(l2=0.3, l1=0.02),
    "limits": Rules(clip_norm=0.5, max_norm=0.9, decay=0.01, average=0.9),
}
LAYERS = {
    "affine": [AFFINE, AFFINE],
    "dropout": [AFFINE, dropout(0.3), AFFINE],
    "noise": [noise(0.1), AFFINE, AFFINE],
    "layer norm": [AFFINE, layer_norm(), AFFINE],
    "batch norm": [AFFINE, batch_norm(), AFFINE],
}


def network_of(kind, dtype="float64"):
    sizes = {"affine": (3, 6, 2), "noise": (3, 3, 6, 2)}.get(kind, (3, 6, 6, 2))
    return Network(sizes, layers=LAYERS[kind], activation="tanh", dtype=dtype, seed=1)


def descent_of(kind, m, optimizer, rules, engine, dtype="float64", **more):
    chosen = OPTIMIZERS[optimizer]
    hyper = np.array(list(chosen.hyper.values()))
    return Descent(network_of(kind, dtype), chosen, hyper, m, engine, RULES[rules], **more)


def everything(run):
    return [run.state.t, *(getattr(run.state, name).tobytes() for name in STORED)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("weighs", [False, True])
@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize(
    ("kind", "m", "optimizer"),
    [
        ("affine", N, "adam"),
        ("affine", 10, "sgd"),
        ("affine", 10, "momentum"),
        ("affine", 18, "adam"),
        ("dropout", 10, "adam"),
        ("noise", 10, "sgd"),
        ("layer norm", 10, "adam"),
        ("batch norm", N, "adam"),
    ],
)
def test_several_epochs_in_one_call_are_as_many_calls(
    kind, m, optimizer, rules, weighs, dtype, engine
):
    E, steps = 4, -(-N // m)
    data = [each.astype(dtype) for each in (X, Y, WEIGHT)]
    weight = data[2] if weighs else None
    rng = np.random.default_rng(3)
    orders = np.array([rng.permutation(N) for _ in range(E)])
    rates = rng.uniform(0.01, 0.1, size=(E, steps))
    one_by_one, at_once = (descent_of(kind, m, optimizer, rules, engine, dtype) for _ in range(2))
    assert at_once.epochs_at_once(data[1], N) >= E
    costs, gradients = [], []
    for order, rate in zip(orders, rates, strict=True):
        costs.append(one_by_one.epoch(*data[:2], order, weight, rate))
        gradients.append(one_by_one.nabla.copy())
    found = at_once.epochs(*data[:2], orders, weight, rates)
    assert found[0].tolist() == costs
    assert found[1].tobytes() == np.array(gradients).tobytes()
    assert everything(at_once) == everything(one_by_one)
    assert len(set(costs)) == E
    # And both go on alike, with the optimiser's own rate.
    last = [run.epoch(*data[:2], orders[0], weight) for run in (one_by_one, at_once)]
    assert last[0] == last[1]


def test_the_optimisers_own_rate_is_the_default(engine):
    runs = [descent_of("affine", 10, "adam", "plain", engine) for _ in range(2)]
    orders = np.array([np.arange(N), np.arange(N)[::-1]])
    costs = [runs[0].epoch(X, Y, order) for order in orders]
    assert runs[1].epochs(X, Y, orders)[0].tolist() == costs
    assert everything(runs[0]) == everything(runs[1])


@given(m=st.integers(1, N), t=st.integers(0, 300))
def test_no_look_at_the_memory_is_due_within_such_a_call(m, t):
    """Every so many steps the optimiser's memory is looked at, between two calls."""
    run = descent_of("affine", m, "adam", "plain", "numpy")
    run.state.t = t
    E, steps = run.epochs_at_once(Y, N), -(-N // m)
    assert E >= 1
    if E > 1:
        assert (t + E * steps) // FLUSHED_EVERY == t // FLUSHED_EVERY


def test_calls_are_for_one_epoch_where_something_happens_between_steps_or_epochs():
    def at_once(kind="affine", m=10, n=N, **more):
        run = descent_of(kind, m, "adam", "plain", "numpy", **more)
        return run.epochs_at_once(Y, n)

    assert at_once() > 1
    assert at_once("batch norm", m=N) > 1
    assert at_once("batch norm") == 1, "the last batch has other rows, and other running averages"
    assert at_once(m=N + 1) == 1
    changing = Augmentation(lambda x, rng: x, seed=0)
    assert at_once(augmentation=changing) == 1


def test_the_gradients_that_are_kept_take_little_memory():
    """Of large networks on few rows, whose epochs are short all the same."""
    chosen = OPTIMIZERS["adam"]
    hyper = np.array(list(chosen.hyper.values()))
    network = Network((100, 1500, 2), dtype="float32", seed=0)
    run = Descent(network, chosen, hyper, 4, "numpy", n_threads=1)
    E = run.epochs_at_once(np.zeros((4, 2), np.float32), 4)
    assert 1 < E <= GRADIENTS // network.theta.size < EPOCHS


@pytest.mark.compiled
def test_calls_are_for_one_epoch_where_threads_share_the_steps():
    chosen = OPTIMIZERS["adam"]
    hyper = np.array(list(chosen.hyper.values()))
    targets = np.zeros((4000, 10), np.float32)

    def at_once(n_threads):
        network = Network((200, 300, 10), dtype="float32", seed=0)
        run = Descent(network, chosen, hyper, 1000, "numba", n_threads=n_threads)
        return run.epochs_at_once(targets, 4000)

    assert at_once(2) == 1
    assert at_once(1) > 1


# --- whole fits ------------------------------------------------------------------------------

FITS = {
    "defaults": {},
    "patience": {"tol": 0.01, "n_iter_no_change": 3},
    "adaptive": {"learning_rate": "adaptive", "solver": "sgd", "tol": 0.01, "n_iter_no_change": 2},
    "sgd": {"solver": "sgd", "momentum": 0.5, "learning_rate_init": 0.05},
    "schedule": {"learning_rate": "cosine"},
    "invscaling": {"learning_rate": "invscaling", "solver": "sgd"},
    "one batch": {"batch_size": N},
    "dropout": {"dropout": 0.2},
    "as in scikit-learn": {"compat": "sklearn", "tol": 0.01, "n_iter_no_change": 3},
    "unshuffled": {"shuffle": False},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 5},
    "plateau": {"learning_rate": "plateau"},
    "time limit": {"time_limit": 1000},
}
NEVER_AT_ONCE = {"invscaling", "early stopping", "plateau", "time limit"}


def outcome(model):
    """All that a fit comes to, but for the time it took."""
    rows = [
        {name: value for name, value in row.items() if name != "seconds"} for row in model.history_
    ]
    learned = [each.tobytes() for each in (*model.coefs_, *model.intercepts_)]
    return (
        learned,
        rows,
        (model.loss_curve_, model.validation_loss_curve_, model.validation_scores_),
        (model.n_iter_, model.t_, model.best_loss_, model.best_iteration_),
    )


def nothing(model, record):
    """A callback, so that each epoch is gone through by itself."""


@pytest.fixture
def sizes(monkeypatch):
    """How many epochs each call went through, of those that went through several."""
    found, epochs = [], Descent.epochs

    def noting(self, X, Y, orders, weight=None, rates=None):
        found.append(len(orders))
        return epochs(self, X, Y, orders, weight, rates)

    monkeypatch.setattr(Descent, "epochs", noting)
    return found


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # the last epoch comes before patience
@pytest.mark.parametrize("weighs", [False, True])
@pytest.mark.parametrize("name", FITS)
def test_a_fit_comes_to_the_same_with_a_look_at_every_epoch(name, weighs, engine, sizes):
    given = {"hidden_layer_sizes": (6,), "max_iter": 60, "batch_size": 10, "random_state": 0}
    given |= {"engine": engine} | FITS[name]
    weight = WEIGHT if weighs else None
    model = MLPClassifier(**given)
    watched = MLPClassifier(callbacks=[nothing], **given)
    for each in (model, watched):
        each.fit(X, LABELS, weight)
    batch_by_batch = name == "as in scikit-learn" and weighs
    assert bool(sizes) == (name not in NEVER_AT_ONCE and not batch_by_batch)
    assert outcome(model) == outcome(watched)
    # Neither has drawn more than the other.
    if "early_stopping" not in given:
        for each in (model, watched):
            each.partial_fit(X, LABELS)
        assert outcome(model) == outcome(watched)


def test_train_comes_to_the_same_with_a_callback(engine, sizes):
    found = []
    for callback in (None, lambda network, epoch: False):
        network = network_of("affine")
        history = train(
            network, X, Y, epochs=40, batch_size=10, seed=2, engine=engine, callback=callback
        )
        costs = [(epoch.epoch, epoch.cost) for epoch in history.epochs]
        found.append((costs, network.theta.tobytes()))
        assert all(epoch.seconds > 0 for epoch in history.epochs)
    assert found[0] == found[1]
    assert sum(sizes) > 20


def test_a_network_without_parameters_is_gone_through(engine):
    """It learns nothing; its costs are those of its one layer."""
    network = Network((2, 2), layers=[noise(0.0)], seed=0)
    history = train(network, Y, np.zeros_like(Y), epochs=3, batch_size=10, seed=0, engine=engine)
    cost = float((Y**2).sum(axis=1).mean() / 2)
    assert [epoch.cost for epoch in history.epochs] == pytest.approx([cost] * 3, rel=1e-12)


def test_costs_of_which_only_the_sum_overflows_are_finite(engine, sizes):
    """Each epoch's costs sum up to nearly the largest number; nothing warns or is done twice."""
    network = Network((3, 2), activation="identity", init="zeros")
    large = np.full((N, 2), np.sqrt(1e308 / N))
    with np.errstate(all="raise"):
        history = train(
            network, X, large, epochs=8, batch_size=N, learning_rate=1e-300, seed=0, engine=engine
        )
    assert sizes == [8]
    assert [epoch.cost for epoch in history.epochs] == pytest.approx([1e308 / N] * 8)


def test_where_a_training_diverges_is_said_in_the_same_way(engine, sizes):
    said = []
    for callback in (None, lambda network, epoch: False):
        network = network_of("affine")
        with pytest.raises(DivergenceError) as caught:
            train(
                network,
                X,
                1e100 * Y,
                epochs=40,
                batch_size=10,
                learning_rate=1e40,
                seed=2,
                engine=engine,
                callback=callback,
            )
        error = caught.value
        said.append((str(error), error.epoch, error.batch, error.layer, network.theta.tobytes()))
    assert sizes, "nothing was gone through at once"
    assert said[0] == said[1]


def test_epochs_before_the_one_that_diverges_are_kept_in_the_curves(engine, sizes):
    """The rate grows until numbers overflow, in the middle of a call."""

    def growing(epoch):
        return 10.0 ** (epoch / 2)

    curves = []
    for callbacks in (None, [nothing]):
        model = MLPRegressor(
            hidden_layer_sizes=(6,),
            activation="identity",
            solver="sgd",
            learning_rate=growing,
            learning_rate_init=1e-3,
            batch_size=N,
            max_iter=60,
            random_state=0,
            engine=engine,
            callbacks=callbacks,
        )
        with pytest.raises(ValueError, match="non-finite"):
            model.fit(X, Y)
        curves.append(model.loss_curve_)
    assert sizes
    assert curves[0] == curves[1]
    assert len(curves[0]) > 2


def test_ctrl_c_between_epochs_leaves_what_was_learned_and_noted_in_step(
    engine, sizes, monkeypatch
):
    after = Fit.after

    def interrupted(self, epoch, rates, nabla):
        stops = after(self, epoch, rates, nabla)
        if epoch.epoch == 3:
            raise KeyboardInterrupt
        return stops

    given = {"hidden_layer_sizes": (6,), "batch_size": 10, "random_state": 0, "engine": engine}
    monkeypatch.setattr(Fit, "after", interrupted)
    model = MLPClassifier(max_iter=60, **given)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, LABELS)
    monkeypatch.setattr(Fit, "after", after)
    assert model.n_iter_ == len(model.loss_curve_) == sizes[0] > 4
    shorter = MLPClassifier(max_iter=model.n_iter_, **given)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        shorter.fit(X, LABELS)
    assert outcome(model) == outcome(shorter)
