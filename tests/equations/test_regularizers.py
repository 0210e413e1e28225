"""What holds weights back, and what weighs samples: through `Descent`, in both engines.

A step of plain gradient descent at rate 1 shows the gradient; an epoch at rate 0 changes nothing
and tells the objective, so that central differences of the one give the other.
"""

from __future__ import annotations

import numpy as np
import pytest
from helpers.components import slope

from chainrule import DivergenceError, Network
from chainrule.equations import regularizers
from chainrule.equations.layers import AFFINE, batch_norm, dropout, layer_norm, noise
from chainrule.equations.optimizers import OPTIMIZERS
from chainrule.equations.regularizers import Rules
from chainrule.training.descent import Descent
from chainrule.training.divergence import explain

N = 7


def problem(n=N, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)).astype(dtype), rng.normal(size=(n, 2)).astype(dtype)


def fresh(dtype="float64", seed=1):
    network = Network((3, 4, 2), activation="tanh", dtype=dtype, seed=seed)
    network.theta[:] = np.random.default_rng(seed).normal(0, 0.7, network.theta.size)
    return network


def stacked(dtype="float64"):
    """Every kind of layer; in training mode its masks and noise hang on the step alone."""
    layers = [AFFINE, batch_norm(), dropout(0.3, 1), AFFINE, layer_norm(), noise(0.2, 2), AFFINE]
    sigma = ["identity", "tanh", "identity", "identity", "tanh", "identity"]
    network = Network(
        (3, 4, 4, 4, 3, 3, 3, 2), activation=sigma, layers=layers, dtype=dtype, seed=1
    )
    network.theta[:] = np.random.default_rng(1).normal(0.2, 0.7, network.theta.size)
    return network


def start(network, engine, rules=None, m=N, optimizer="sgd", **numbers):
    chosen = OPTIMIZERS[optimizer]
    hyper = np.array(list((chosen.hyper | numbers).values()))
    return Descent(network, chosen, hyper, m, engine, rules)


def step(network, engine, rules=None, *, rate=1.0, weight=None, rows=None, data=None, **kwargs):
    """One step on one batch, on a copy; (theta after, what the epoch returns)."""
    X, Y = data or problem(dtype=network.dtype)
    rows = np.arange(len(X)) if rows is None else np.asarray(rows)
    twin = network.copy()
    descent = start(twin, engine, rules, len(rows), **kwargs)
    weight = None if weight is None else np.asarray(weight, network.dtype)
    total = descent.epoch(X, Y, rows, weight, np.array([rate]))
    return twin.theta, total


def weights_of(network):
    """True where theta holds a weight that penalties and decay concern."""
    mask = np.zeros(network.theta.size)
    for l in network.weight_layers():
        network.views(mask)[0][l][...] = 1
    return mask > 0


# --- penalties -------------------------------------------------------------------------------

WEIGHTS = [None, [1, 2, 0.5, 0, 1, 3, 0.25]]
PENALTIES = [Rules(), Rules(l2=0.8), Rules(l1=0.6), Rules(l2=0.5, l1=0.3)]


@pytest.mark.parametrize("make", [fresh, stacked])
@pytest.mark.parametrize("rules", PENALTIES, ids=["none", "l2", "l1", "both"])
@pytest.mark.parametrize("weight", WEIGHTS, ids=["unweighted", "weighted"])
def test_step_is_the_gradient_of_the_objective(make, rules, weight, engine):
    """(Σ w c + penalties) / Σ w, as training computes it, in training mode."""
    network = make()
    mass = N if weight is None else sum(weight)

    def objective(theta):
        moved = network.copy()
        moved.theta[:] = theta
        return step(moved, "numpy", rules, rate=0.0, weight=weight)[1] / mass

    before = network.theta.copy()
    nabla = before - step(network, engine, rules, weight=weight)[0]
    np.testing.assert_allclose(nabla, slope(objective, before, 1e-4), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("make", [fresh, stacked])
def test_penalty_concerns_weights_alone(make, engine):
    network = make()
    plain, total = step(network, engine)
    ruled, more = step(network, engine, Rules(l2=0.5, l1=0.25))
    where = weights_of(network)
    W = network.theta[where]
    assert ruled[~where].tobytes() == plain[~where].tobytes()
    np.testing.assert_allclose(
        (plain - ruled)[where], (0.5 * W + 0.25 * np.sign(W)) / N, rtol=1e-10, atol=1e-13
    )
    assert more - total == pytest.approx(0.25 * (W**2).sum() + 0.25 * np.abs(W).sum(), rel=1e-10)


def test_l1_leaves_a_weight_at_zero_alone(engine):
    network = Network((3, 4, 2), init="zeros")
    X, Y = problem()
    plain, ruled = (
        step(network, engine, rules, data=(X, 0 * Y))[0] for rules in (None, Rules(l1=0.5))
    )
    assert not plain.any()
    assert not ruled.any()


def test_l2_is_scikit_learns_alpha():
    """alpha ‖W‖² / (2 n) added to the mean cost, as MLPRegressor says in its docstring."""
    X, Y = problem()
    network = fresh()
    total = step(network, "numpy", Rules(l2=0.3), rate=0.0)[1]
    squares = sum(float((W**2).sum()) for W in network.W[1:])
    assert total / N == pytest.approx(network.cost(X, Y) + 0.3 * squares / (2 * N), rel=1e-12)


def test_penalties_of_every_batch_are_counted(engine):
    X, Y = problem()
    network = fresh()
    totals = []
    for rules in (Rules(), Rules(l2=1.0)):
        descent = start(network.copy(), engine, rules, m=3)
        totals.append(descent.epoch(X, Y, np.arange(N), None, np.zeros(3)))
    squares = (network.theta[weights_of(network)] ** 2).sum()
    assert totals[1] - totals[0] == pytest.approx(3 * squares / 2, rel=1e-10)


# --- clipping --------------------------------------------------------------------------------


def test_clip_values(engine, dtype):
    network = fresh(dtype)
    nabla = network.theta - step(network, engine)[0]
    bound = float(np.median(np.abs(nabla)))
    got = network.theta - step(network, engine, Rules(clip_value=bound))[0]
    np.testing.assert_allclose(got, np.clip(nabla, -bound, bound), atol=4 * np.finfo(dtype).eps * 4)
    assert np.abs(nabla).max() > 1.5 * bound


@pytest.mark.parametrize("share", [0.25, 1.5])
def test_clip_norm(share, engine, dtype):
    """The direction stays; a gradient within the bound stays as it is."""
    network = fresh(dtype)
    after = step(network, engine)[0]
    nabla = network.theta - after
    norm = float(np.linalg.norm(nabla))
    ruled = step(network, engine, Rules(clip_norm=share * norm))[0]
    if share > 1:
        assert ruled.tobytes() == after.tobytes()
    else:
        tolerance = 1e-12 if dtype == np.float64 else 1e-5
        np.testing.assert_allclose(network.theta - ruled, share * nabla, atol=tolerance)


def test_values_are_clipped_before_the_norm_and_after_the_penalty(engine):
    network = fresh()
    rules = Rules(l2=3.0, clip_value=0.2, clip_norm=0.5)
    nabla = network.theta - step(network, engine)[0]
    nabla = np.clip(nabla + weights_of(network) * 3 / N * network.theta, -0.2, 0.2)
    assert np.linalg.norm(nabla) > 0.5
    got = network.theta - step(network, engine, rules)[0]
    np.testing.assert_allclose(got, nabla * 0.5 / np.linalg.norm(nabla), rtol=1e-11, atol=1e-14)


def test_a_gradient_of_nothing_is_not_divided_by_its_norm(engine):
    network = Network((3, 4, 2), init="zeros")
    X, Y = problem()
    after = step(network, engine, Rules(clip_norm=1e-3, clip_value=1e-3), data=(X, 0 * Y))[0]
    assert not after.any()


# --- decay and norms -------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "lion", "momentum"])
@pytest.mark.parametrize("make", [fresh, stacked])
def test_decay_is_apart_from_the_gradient(optimizer, make, engine):
    """W ← (1 - η decay) W before the step, which sees the gradient from before. AdamW."""
    network = make()
    rules = Rules(decay=0.3)
    plain, total = step(network, engine, optimizer=optimizer, rate=0.1)
    ruled, same = step(network, engine, rules, optimizer=optimizer, rate=0.1)
    expected = plain - 0.1 * 0.3 * network.theta * weights_of(network)
    np.testing.assert_allclose(ruled, expected, rtol=1e-12, atol=1e-14)
    assert same == total


def test_decay_follows_the_rate_of_the_step(engine):
    """A gradient of nothing: decay alone, at each step's own rate."""
    network = fresh()
    X = np.zeros((6, 3))
    network.b[1][:] = 0
    network.b[2][:] = 0
    before = network.theta.copy()
    rates = np.array([0.5, 0.0, 0.25])
    start(network, engine, Rules(decay=0.4), m=2).epoch(
        X, np.zeros((6, 2)), np.arange(6), None, rates
    )
    np.testing.assert_allclose(network.theta, before * (1 - 0.2) * (1 - 0.1), rtol=1e-14)


@pytest.mark.parametrize("make", [fresh, stacked])
def test_max_norm(make, engine, dtype):
    """Columns too long are shortened to the bound, others are left, bit by bit."""
    network = make(dtype)
    plain = step(network, engine, rate=0.1)[0]
    norms = [np.linalg.norm(network.views(plain)[0][l], axis=0) for l in network.weight_layers()]
    bound = float(np.median(np.concatenate(norms))) * 1.01
    ruled = step(network, engine, Rules(max_norm=bound), rate=0.1)[0]
    rest = ~weights_of(network)
    assert ruled[rest].tobytes() == plain[rest].tobytes()
    short = long = 0
    for l, norm in zip(network.weight_layers(), norms, strict=True):
        W, limited = network.views(plain)[0][l], network.views(ruled)[0][l]
        for j in range(W.shape[1]):
            if norm[j] <= bound:
                short += 1
                np.testing.assert_array_equal(limited[:, j], W[:, j])
            else:
                long += 1
                eps = 8 * np.finfo(dtype).eps
                np.testing.assert_allclose(limited[:, j], W[:, j] * (bound / norm[j]), rtol=eps)
    assert short > 0
    assert long > 0


def test_a_column_of_zeros_has_no_norm_to_divide_by():
    W = np.array([[0.0, 3.0], [0.0, 4.0]])
    regularizers.limit_norms(2.5, W)
    np.testing.assert_allclose(W, [[0, 1.5], [0, 2]], rtol=1e-15)


# --- the running average ---------------------------------------------------------------------


def test_average_of_the_parameters(engine, dtype):
    """It starts at the first parameters and takes a share of each step's."""
    X, Y = problem(dtype=dtype)
    network, share = fresh(dtype), 0.3
    descent = start(network, engine, Rules(average=share), m=3)
    mirror = fresh(dtype)
    steps = start(mirror, engine, m=3)
    expected = mirror.theta.astype(np.float64)
    for _ in range(2):
        descent.epoch(X, Y, np.arange(N), None, np.full(3, 0.1))
        for rows in (np.arange(3), np.arange(3, 6), np.arange(6, 7)):
            steps.epoch(X, Y, rows, None, np.array([0.1]))
            expected += share * (mirror.theta - expected)
    assert network.theta.tobytes() == mirror.theta.tobytes()
    np.testing.assert_allclose(
        descent.state.average, expected, rtol=0, atol=1e-14 if dtype == np.float64 else 1e-6
    )
    assert np.abs(descent.state.average - network.theta).max() > 1e-3


def test_no_average_unless_asked_for(engine):
    network = fresh()
    descent = start(network, engine)
    descent.epoch(*problem(), np.arange(N))
    assert descent.state.average.size == 0


# --- weights of samples ----------------------------------------------------------------------


@pytest.mark.parametrize("make", [fresh])
@pytest.mark.parametrize("rules", [Rules(), Rules(l2=0.4, l1=0.2, clip_norm=0.8)])
def test_a_weight_of_two_is_the_row_twice(make, rules, engine):
    network = make()
    weight = np.ones(N)
    weight[2] = weight[5] = 2
    rows = [0, 1, 2, 2, 3, 4, 5, 5, 6]
    (weighted, total), (twice, same) = (
        step(network, engine, rules, weight=weight),
        step(network, engine, rules, rows=rows),
    )
    np.testing.assert_allclose(weighted, twice, rtol=1e-12, atol=1e-14)
    assert total == pytest.approx(same, rel=1e-13)


@pytest.mark.parametrize("rules", [Rules(), Rules(l2=0.4, decay=0.1)])
def test_a_weight_of_zero_is_the_row_left_out(rules, engine):
    network = fresh()
    weight = np.array([1, 0, 1, 1, 0, 1, 1.0])
    weighted, total = step(network, engine, rules, weight=weight)
    without, same = step(network, engine, rules, rows=[0, 2, 3, 5, 6])
    np.testing.assert_allclose(weighted, without, rtol=1e-12, atol=1e-14)
    assert total == pytest.approx(same, rel=1e-13)


def test_weights_of_one_change_nothing(engine, dtype):
    network = fresh(dtype)
    plain, total = step(network, engine, Rules(l2=0.4))
    weighted, same = step(network, engine, Rules(l2=0.4), weight=np.ones(N))
    eps = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(weighted, plain, rtol=eps, atol=eps)
    assert same == pytest.approx(total, rel=1e-6)


def test_each_batch_is_averaged_over_its_own_weights(engine):
    """Two batches of other total weight, two steps; the same as two epochs of one each."""
    X, Y = problem(6)
    weight = np.array([1, 2, 3, 0.5, 0.25, 0.25])
    network, mirror = fresh(), fresh()
    total = start(network, engine, m=3).epoch(X, Y, np.arange(6), weight, np.full(2, 0.1))
    expected = 0.0
    for rows in (slice(0, 3), slice(3, 6)):
        w = weight[rows]
        gradients = [mirror.gradient(X[i : i + 1], Y[i : i + 1]) for i in range(6)[rows]]
        expected += sum(wi * cost for wi, (cost, _) in zip(w, gradients, strict=True))
        step_by = sum(wi * nabla for wi, (_, nabla) in zip(w, gradients, strict=True)) / w.sum()
        mirror.theta -= 0.1 * step_by
    np.testing.assert_allclose(network.theta, mirror.theta, rtol=1e-12, atol=1e-14)
    assert total == pytest.approx(expected, rel=1e-12)


def test_weights_go_with_their_rows_in_any_order(engine):
    X, Y = problem()
    weight = np.arange(1.0, N + 1)
    order = np.random.default_rng(3).permutation(N)
    results = []
    for args in ((X, Y, order, weight), (X[order], Y[order], np.arange(N), weight[order])):
        network = fresh()
        total = start(network, engine, m=3, learning_rate=0.1).epoch(*args)
        results.append((network.theta.tobytes(), total))
    assert results[0] == results[1]


def test_a_batch_of_no_weight_leaves_the_penalties(engine):
    """Nothing is divided by zero: the cost's part is 0, the penalty's that of one sample."""
    network = fresh()
    still, nothing = step(network, engine, weight=np.zeros(N))
    assert still.tobytes() == network.theta.tobytes()
    assert nothing == 0
    ruled, total = step(network, engine, Rules(l2=0.5), rate=0.1, weight=np.zeros(N))
    W = network.theta * weights_of(network)
    np.testing.assert_allclose(ruled, network.theta - 0.1 * 0.5 * W, rtol=1e-14)
    assert total == pytest.approx(0.25 * (W**2).sum(), rel=1e-13)


def test_a_batch_without_weight_amid_others(engine):
    X, Y = problem(6)
    weight = np.array([1, 1, 0, 0, 1, 1.0])
    network, other = fresh(), fresh()
    start(network, engine, m=2).epoch(X, Y, np.arange(6), weight, np.full(3, 0.1))
    start(other, engine, m=2).epoch(X, Y, np.array([0, 1, 4, 5]), None, np.full(2, 0.1))
    np.testing.assert_allclose(network.theta, other.theta, rtol=1e-12, atol=1e-15)


# --- rates and scales ------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_each_step_has_its_own_rate(optimizer, engine):
    """One epoch with three rates equals three epochs of one step, and not one rate for all."""
    X, Y = problem()
    rates = np.array([0.1, 0.001, 0.03])
    network, mirror, other = fresh(), fresh(), fresh()
    start(network, engine, m=3, optimizer=optimizer).epoch(X, Y, np.arange(N), None, rates)
    steps = start(mirror, engine, m=3, optimizer=optimizer)
    for k, rate in enumerate(rates):
        steps.epoch(X, Y, np.arange(3 * k, min(3 * k + 3, N)), None, np.array([rate]))
    assert steps.state.t == 3
    assert network.theta.tobytes() == mirror.theta.tobytes()
    start(other, engine, m=3, optimizer=optimizer).epoch(
        X, Y, np.arange(N), None, rates[::-1].copy()
    )
    assert np.abs(network.theta - other.theta).max() > 1e-5


def test_without_rates_the_optimisers_own_is_used(engine):
    """Also after an epoch that was given its rates."""
    X, Y = problem()
    network, mirror = fresh(), fresh()
    descent, steps = (start(n, engine, m=3, learning_rate=0.05) for n in (network, mirror))
    for rates in (None, np.array([0.1, 0.2, 0.3]), None):
        descent.epoch(X, Y, np.arange(N), None, rates)
        given = np.full(3, 0.05) if rates is None else rates
        steps.epoch(X, Y, np.arange(N), None, given)
    assert network.theta.tobytes() == mirror.theta.tobytes()
    descent.state.hyper[0] = 0.5  # which one may change between epochs
    steps.epoch(X, Y, np.arange(N), None, np.full(3, 0.5))
    descent.epoch(X, Y, np.arange(N))
    assert network.theta.tobytes() == mirror.theta.tobytes()


def test_scales_of_cost_and_error(engine):
    """Each where it belongs, and neither on the penalties."""
    network = fresh()
    plain, total = step(network, engine)
    after, scaled = step(network, engine, Rules(cost_scale=0.5, error_scale=3.0))
    np.testing.assert_allclose(network.theta - after, 3 * (network.theta - plain), atol=1e-13)
    assert scaled == pytest.approx(total / 2, rel=1e-14)
    ruled, more = step(network, engine, Rules(cost_scale=0.5, error_scale=3.0, l2=0.7))
    W = network.theta * weights_of(network)
    np.testing.assert_allclose(after - ruled, 0.7 * W / N, atol=1e-13)
    assert more - scaled == pytest.approx(0.35 * (W**2).sum(), rel=1e-11)
    weighted, _ = step(network, engine, Rules(error_scale=3.0), weight=np.full(N, 0.5))
    np.testing.assert_allclose(weighted, after, atol=1e-13)


# --- all together ----------------------------------------------------------------------------

EVERYTHING = Rules(
    cost_scale=0.5,
    error_scale=2.0,
    l2=0.3,
    l1=0.05,
    clip_value=0.4,
    clip_norm=0.9,
    decay=0.02,
    max_norm=1.2,
    average=0.1,
)


@pytest.mark.compiled
@pytest.mark.parametrize("make", [fresh, stacked])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_engines_agree_on_everything_at_once(make, optimizer, dtype):
    X, Y = problem(23, dtype=dtype)
    weight = np.random.default_rng(4).uniform(0, 2, 23).astype(dtype)
    weight[5:10] = 0  # one batch without any
    results = []
    for engine in ("numba", "numpy"):
        network = make(dtype)
        descent = start(network, engine, EVERYTHING, 5, optimizer)
        total = [
            descent.epoch(X, Y, np.arange(23), weight, np.linspace(0.2, 0.05, 5)) for _ in range(3)
        ]
        kept = [network.theta, descent.state.average, network.constants, np.array(total)]
        if make is stacked and optimizer == "adam":
            # Below batch normalisation a bias has no gradient but rounding, which Adam blows up;
            # it moves the running means, and nothing else.
            start_b, _, n_b = network.parameter_tables[1, 1]
            kept = [np.delete(values, slice(start_b, start_b + n_b)) for values in kept[:2]]
            kept.append(np.array(total))
        results.append(kept)
        assert descent.state.t == 15
    tolerance = 1e-11 if dtype == np.float64 else 2e-4
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_chunks_between_looks_for_ctrl_c_do_not_show(monkeypatch, engine):
    X, Y = problem(23)
    results = []
    for chunk in (1e9, 1e-9):
        monkeypatch.setattr("chainrule.training.descent.CHUNK", chunk)
        network = stacked()
        descent = start(network, engine, EVERYTHING, 5, "adam")
        total = descent.epoch(X, Y, np.arange(23), np.ones(23), np.linspace(0.2, 0.05, 5))
        results.append((network.theta.tobytes(), descent.state.average.tobytes()))
    assert results[0] == results[1]
    assert np.isfinite(total)


def test_going_back_restores_all_that_a_step_changes(engine):
    X, Y = problem()
    network = stacked()
    descent = start(network, engine, Rules(average=0.5), 3, "adam")
    descent.epoch(X, Y, np.arange(N))
    kept = [network.theta, network.constants, descent.state.memory, descent.state.average]
    before, t = [array.copy() for array in kept], descent.state.t
    descent.keep()
    descent.epoch(X, Y, np.arange(N))
    assert all((array != old).any() for array, old in zip(kept, before, strict=True))
    descent.restore_incomplete()
    assert descent.state.t == t
    for array, old in zip(kept, before, strict=True):
        assert array.tobytes() == old.tobytes()


def test_divergence_is_explained_with_weights_and_rates(engine):
    """The batch at fault is found by the very steps that were taken."""
    X, Y = problem(9)
    network = fresh()
    descent = start(network, engine, m=3)
    weight = np.array([1, 1, 1, 2, 2, 2, 1, 1, 1.0])
    rates = np.array([0.01, 1e308, 0.01])
    descent.keep()
    descent.epoch(X, Y, np.arange(9), weight, rates)
    assert not np.isfinite(network.theta).all()
    error = explain(descent, X, Y, np.arange(9), 4, weight, rates)
    assert isinstance(error, DivergenceError)
    assert (error.epoch, error.batch) in ((4, 1), (4, 2))
    mirror = fresh()
    start(mirror, engine, m=3).epoch(X, Y, np.arange(3), weight, rates[:1])
    if error.batch == 1:
        assert network.theta.tobytes() == mirror.theta.tobytes()
    assert np.isfinite(network.theta).all()


# --- factors by group of parameters --------------------------------------------------------------


@pytest.mark.parametrize("name", ["sgd", "momentum"])
@pytest.mark.parametrize(
    ("rates", "decays", "decay"),
    [
        ((10.0, 0.5), (1.0, 0.0), 0.0),
        ((2.0, 2.0), (0.5, 0.0), 0.1),
        ((3.0, 0.25), (1.0, 2.0), 0.1),
    ],
)
def test_factors_on_rate_and_decay_of_a_layer(engine, name, rates, decays, decay):
    """Beside steps that are taken by hand, with a rate and a decay for each entry of theta."""
    X, Y = problem(20)
    layer = AFFINE._replace(rate_factors=rates, decay_factors=decays)
    network, mirror = fresh(), fresh()
    network = Network((3, 4, 2), activation="tanh", layers=[layer, AFFINE], init=mirror.theta)
    optimizer = OPTIMIZERS[name]
    numbers = np.array([0.05, 0.9][: len(optimizer.hyper)])
    descent = Descent(network, optimizer, numbers, 20, engine, Rules(decay=decay))
    rate, shrinking = np.full_like(mirror.theta, 0.05), np.zeros_like(mirror.theta)
    W, b = mirror.views(rate)
    W[1][:] *= rates[0]
    b[1][:] *= rates[1]
    W, b = mirror.views(shrinking)
    W[1][:], b[1][:], W[2][:] = *decays, 1
    velocity = np.zeros_like(mirror.theta)
    for _ in range(5):
        descent.epoch(X, Y, np.arange(20))
        _, nabla = mirror.gradient(X, Y)
        mirror.theta *= 1 - rate * decay * shrinking
        velocity = (0.9 if name == "momentum" else 0) * velocity - rate * nabla
        mirror.theta += velocity
    np.testing.assert_allclose(network.theta, mirror.theta, rtol=1e-12, atol=1e-12)
