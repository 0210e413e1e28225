"""Rounds: what tasks compute, without a cluster, against the training of one process."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule import MLPClassifier, MLPRegressor
from chainrule.base.version import __version__
from chainrule.dask import rounds
from chainrule.dask.partitions import Moments, Ready, merged, moments_of
from chainrule.dask.preparing import deviations
from chainrule.dask.rounds import Outcome, Round, Settings
from chainrule.dask.training import Averaged, chosen_steps
from chainrule.equations.optimizers import OPTIMIZERS
from chainrule.training.samples import deviation_of

TOKENS = map(str, itertools.count())


def problem(est, X, y, sync=False, batch=20, shuffle=False):
    """Settings, what training starts from, and samples, of an estimator on data."""
    descent, samples, _ = est._set_up(X, y, None, None, None, None, False, est.max_iter)
    settings = Settings(
        next(TOKENS),
        __version__,
        descent.network.copy(),
        descent.optimizer,
        descent.state.hyper,
        descent.rules,
        "numpy",
        1,
        None,
        shuffle,
        7,
        -(-samples.n // batch),
        float(samples.n),
        sync,
        1.0,
    )
    return settings, Averaged(settings, descent.network, batch), samples


def cut(samples, sizes):
    """The partitions of so many rows."""
    edges = np.cumsum([0, *sizes])
    return [
        Ready(samples.X[a:b], samples.Y[a:b], None, float(b - a))
        for a, b in itertools.pairwise(edges)
    ]


def rates_of(est, k):
    return np.full(k, est.learning_rate_init)


@given(st.integers(0, 60), st.integers(1, 20), st.data())
def test_an_epochs_rounds_go_through_every_row_once(n, steps, data):
    edges = sorted(data.draw(st.lists(st.integers(0, steps), max_size=4)))
    edges = [0, *edges, steps]
    seen, taken = [], []
    for first, last in itertools.pairwise(edges):
        for m, row, low, high in rounds.batches(n, steps, first, last):
            assert m in (n // steps, n // steps + 1)
            seen += range(row, row + m * (high - low))
            taken += range(low, high)
    assert seen == list(range(n))
    assert taken == list(range(min(n, steps)))


@given(st.integers(1, 200), st.integers(1, 5), st.booleans(), st.integers(0, 3))
def test_moments_do_not_depend_on_the_cuts(n, parts, weighted, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(1e3, 1, (n, 3))
    w = rng.uniform(0.1, 2, n) if weighted else None
    whole = Moments(np.zeros(3), np.zeros(3), np.zeros(3))
    for at in np.array_split(np.arange(n), parts):
        whole = merged(whole, moments_of(X[at], None if w is None else w[at]))
    mean = np.average(X, axis=0, weights=w)
    np.testing.assert_allclose(whole.mean, mean, rtol=1e-13)
    np.testing.assert_allclose(deviations(whole, X.dtype), deviation_of(X, mean, w), rtol=1e-8)


def test_missing_values_are_left_out_of_moments():
    X = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, 5.0]])
    found = moments_of(X, None)
    np.testing.assert_array_equal(found.weight, [2, 1])
    np.testing.assert_array_equal(found.mean, [2, 5])
    np.testing.assert_array_equal(found.squares, [2, 0])


def outcome(weight, *arrays):
    return Outcome(weight, 1.0, 0.0, "", [np.array(a) for a in arrays])


def test_averages_are_weighted_and_keep_equal_numbers_to_the_bit():
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=(9, 50)), rng.uniform(1, 5, 9)
    both = [outcome(w, v, values[0]) for v, w in zip(values, weights, strict=True)]
    found = rounds.average(both)
    np.testing.assert_allclose(found.arrays[0], np.average(values, axis=0, weights=weights))
    np.testing.assert_array_equal(found.arrays[1], values[0])
    assert found.cost == 9
    tree = rounds.average([rounds.average(both[:4]), rounds.average(both[4:])])
    np.testing.assert_allclose(tree.arrays[0], found.arrays[0], rtol=1e-14)


def test_what_took_no_part_does_not_count():
    nothing = Outcome(0.0, 0.0, 0.0, "", [])
    one = outcome(3.0, [1.0, 2.0])
    assert rounds.average([nothing, one, nothing]).arrays is one.arrays


RULES = [
    {"solver": "sgd", "momentum": 0.0},
    {"solver": "adam", "alpha": 0.1, "l1": 0.01},
    {"solver": "adamw", "weight_decay": 0.1, "clip_norm": 0.1},
    {"solver": "sgd", "clip_value": 0.01, "max_norm": 0.7, "ema_decay": 0.9},
    {"solver": "rmsprop", "normalization": "layer"},
]


@pytest.mark.parametrize("options", RULES, ids="-".join)
def test_a_step_on_the_average_gradient_is_the_step_on_the_batch(options):
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(60, 5)), rng.integers(0, 3, 60)
    est = MLPClassifier((8, 6), random_state=0, max_iter=3, shuffle=False, batch_size=60, **options)
    settings, averaged, samples = problem(est, X, y, sync=True, batch=60)
    held = averaged.held()
    parts = cut(samples, [10, 0, 35, 15])
    for t in range(3):
        now = Round(t, 0, 1, rates_of(est, 1), True)
        found = [rounds.steps(settings, held, part, p, now) for p, part in enumerate(parts)]
        held = rounds.conclude(settings, held._replace(cost=0.0), found, now)
    est.set_params(tol=0)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        est.fit(X, y)
    averaged.take(held)
    alone = MLPClassifier(**est.get_params())
    vars(alone).update(vars(est))
    alone._store(averaged)
    for a, b in zip(
        (*alone.coefs_, *alone.intercepts_), (*est.coefs_, *est.intercepts_), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    assert held.cost / 60 == pytest.approx(est.loss_curve_[-1], rel=1e-10)
    assert np.linalg.norm(held.nabla) == pytest.approx(est.history_[-1]["gradient_norm"], rel=1e-7)


@pytest.mark.parametrize("cuts", [[60], [20, 40]])
def test_local_steps_of_plain_descent_between_averages_of_one_step_are_synchronous(cuts):
    """θ_p = θ - η ∇_p, so the average of the θ_p is θ - η times that of the ∇_p."""
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(60, 5)), rng.normal(size=60)
    est = MLPRegressor(
        hidden_layer_sizes=(6,), solver="sgd", momentum=0.0, random_state=0, max_iter=1
    )
    ends = []
    for sync in (False, True):
        settings, averaged, samples = problem(est, X, y, sync, shuffle=True)
        held, parts = averaged.held(), cut(samples, cuts)
        for k in range(settings.steps):
            now = Round(0, k, k + 1, rates_of(est, 1), True)
            found = [rounds.steps(settings, held, part, p, now) for p, part in enumerate(parts)]
            held = rounds.conclude(settings, held, found, now)
        ends.append(held)
    np.testing.assert_allclose(ends[0].theta, ends[1].theta, rtol=1e-9, atol=1e-12)
    assert ends[0].t == ends[1].t == 3
    assert ends[0].cost == pytest.approx(ends[1].cost, rel=1e-9)


def test_one_partition_takes_the_steps_of_one_process_to_the_bit():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(60, 5)), rng.integers(0, 2, 60)
    options = {"dropout": 0.0, "alpha": 0.01, "shuffle": False, "standardize": False}
    est = MLPClassifier((8,), random_state=0, max_iter=2, batch_size=20, tol=0, **options)
    settings, averaged, samples = problem(est, X, y)
    held, parts = averaged.held(), cut(samples, [60])
    for epoch in range(2):
        for first, last in ((0, 1), (1, 3)):
            now = Round(epoch, first, last, rates_of(est, last - first), False)
            done = [rounds.steps(settings, held, parts[0], 0, now)]
            held = rounds.conclude(settings, held, done, now)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        est.fit(X, y)
    W, _ = averaged.network.views(held.theta)
    np.testing.assert_array_equal(W[1], est.coefs_[0])


def test_tasks_are_pure():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(60, 5)), rng.integers(0, 2, 60)
    est = MLPClassifier((8,), random_state=0, max_iter=1, dropout=0.3, normalization="batch")
    settings, averaged, samples = problem(est, X, y, shuffle=True)
    held, part = averaged.held(), cut(samples, [60])[0]
    before = held.theta.copy()
    now = Round(0, 0, 3, rates_of(est, 3), True)
    first = rounds.steps(settings, held, part, 1, now)
    other = rounds.steps(settings, held, part, 2, now)
    again = rounds.steps(settings, held, part, 1, now)
    np.testing.assert_array_equal(held.theta, before)
    for a, b, c in zip(first.arrays, again.arrays, other.arrays, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not a.size or not np.array_equal(a, c)  # other rows first, and other units dropped


def test_the_rate_grows_where_an_optimiser_divides_by_the_size_of_gradients():
    def factor(name, masses):
        optimizer = OPTIMIZERS[name]
        hyper = np.array(list(optimizer.hyper.values()), float)
        return rounds.rate_factor(optimizer, hyper, np.array(masses))

    assert factor("adam", [5.0] * 4) == pytest.approx(2)
    assert factor("adam", [1e6, 1.0]) == pytest.approx(1, rel=1e-5)
    assert factor("nesterov", [5.0] * 4) == 1
    linear = {name for name in OPTIMIZERS if factor(name, [1.0, 1.0]) == 1}
    assert linear == {"sgd", "momentum", "nesterov"}


def test_a_fault_is_told_with_its_partition_and_ends_the_round():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(60, 5)), rng.normal(size=60)
    est = MLPRegressor(solver="sgd", learning_rate_init=1e200, random_state=0, max_iter=1)
    settings, averaged, samples = problem(est, X, y)
    held, parts = averaged.held(), cut(samples, [30, 30])
    now = Round(4, 0, 3, rates_of(est, 3), False)
    found = [rounds.steps(settings, held, part, p, now) for p, part in enumerate(parts)]
    ended = rounds.conclude(settings, held, found, now)
    assert ended.fault.startswith("partition 0: training diverged in epoch 4, batch ")
    assert rounds.steps(settings, ended, parts[1], 1, now).arrays == []


def test_another_version_is_refused_by_the_task():
    est = MLPRegressor(max_iter=1, random_state=0)
    settings, averaged, samples = problem(est, np.eye(40), np.arange(40.0))
    other = settings._replace(version="0.0.1")
    now = Round(0, 0, 1, rates_of(est, 1), False)
    with pytest.raises(RuntimeError, match=r"a worker has chainrule .*, the client has 0\.0\.1"):
        rounds.steps(other, averaged.held(), cut(samples, [40])[0], 0, now)


def test_local_steps_are_as_few_as_make_the_overhead_small():
    assert chosen_steps(overhead=0.02, step=1.0, steps=100) == 1
    assert chosen_steps(overhead=0.02, step=0.01, steps=100) == 8
    assert chosen_steps(overhead=0.02, step=1e-6, steps=100) == 64
    assert chosen_steps(overhead=0.02, step=1e-6, steps=5) == 5
