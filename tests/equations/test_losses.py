"""Losses against independent definitions: scikit-learn's, SciPy's, or the formula in words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.components import (
    close,
    like,
    run,
    seeds,
    slope,
    targets,
)
from hypothesis import given
from scipy import special, stats
from sklearn import metrics

from chainrule import Network, gradcheck, train
from chainrule.base.validation import look_up
from chainrule.equations.activations import ACTIVATIONS, ordered
from chainrule.equations.domains import Domain
from chainrule.equations.losses import (
    FUSED,
    LOSSES,
    binary_focal,
    focal,
    huber,
    quantile,
    tweedie,
)
from chainrule.estimators.multioutput import grouped_cross_entropy, grouped_softmax

ROWS, COLUMNS = 7, 4


def costs(loss, z, y, engine="numpy", link=None):
    """The cost of each row, z going through the loss's link."""
    a = np.empty_like(z)
    look_up("link", link or loss.fused or loss.link, ACTIVATIONS).f(z, a)
    return run(engine, "cost", loss.cost, z, a, y, np.empty(len(z), z.dtype))[3]


def example(loss, seed=0, columns=COLUMNS):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1.5, (ROWS, columns)), targets(rng, loss, ROWS, columns)


@pytest.mark.once
def test_domains_say_what_a_target_may_be():
    assert str(LOSSES["poisson"].domain) == "0 or more"
    assert str(LOSSES["gamma"].domain) == "above 0"
    assert str(LOSSES["squared_error"].domain) == "any number"
    assert str(Domain(-1, 1, has_high=False)) == "-1 or more and below 1"
    y = np.array([-np.inf, -1, -1e-300, 0, 1e-300, 1, 1.5, np.inf, np.nan])
    assert LOSSES["poisson"].domain.holds(y).tolist() == [False] * 3 + [True] * 5 + [False]
    assert LOSSES["gamma"].domain.holds(y).tolist() == [False] * 4 + [True] * 4 + [False]
    assert (
        LOSSES["binary_cross_entropy"].domain.holds(y).tolist()
        == [False] * 3 + [True] * 3 + [False] * 3
    )
    assert Domain(-1, 1, False, False).holds(y).tolist() == [False] * 2 + [True] * 3 + [False] * 4
    for fused in FUSED.values():
        assert fused.domain == LOSSES[fused.name].domain


# --- by definition ---------------------------------------------------------------------------


def test_costs_by_hand(engine):
    z = np.log([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    a, y = np.exp(z), np.array([[0, 0, 1.0], [0.5, 0.25, 0.25]])

    def cost(loss, z, a):
        return run(engine, "cost", loss.cost, z, a, y, np.empty(2))[3]

    squared = [(0.04 + 0.09 + 0.25) / 2, (0.01 + 0.0025 + 0.0225) / 2]
    entropy = [math.log(2), -math.log(0.6) / 2 - math.log(0.3) / 4 - math.log(0.1) / 4]
    binary = [
        -math.log(0.8 * 0.7 * 0.5),
        entropy[1] - math.log(0.4) / 2 - 0.75 * math.log(0.7 * 0.9),
    ]
    np.testing.assert_allclose(cost(LOSSES["squared_error"], z, a), squared, rtol=1e-14)
    np.testing.assert_allclose(cost(LOSSES["cross_entropy"], z, a), entropy, rtol=1e-14)
    np.testing.assert_allclose(cost(LOSSES["binary_cross_entropy"], z, a), binary, rtol=1e-14)
    softmax = FUSED["cross_entropy", "softmax"]
    np.testing.assert_allclose(cost(softmax, z + 7, a), entropy, rtol=1e-14)
    logit = FUSED["binary_cross_entropy", "logistic"]
    np.testing.assert_allclose(cost(logit, np.log(a / (1 - a)), a), binary, rtol=1e-14)
    np.testing.assert_allclose(
        cost(LOSSES["absolute_error"], z, a), [1.0, 0.1 + 0.05 + 0.15], rtol=1e-14
    )
    np.testing.assert_allclose(cost(LOSSES["quantile"], z, a), [0.5, 0.15], rtol=1e-14)
    # |r| = 0.2, 0.3, 0.5 with a width of 0.25: one square, two lines.
    first = cost(huber(0.25), z, a)[0]
    assert first == pytest.approx(0.02 + 0.25 * (0.3 - 0.125) + 0.25 * (0.5 - 0.125), rel=1e-14)


@pytest.mark.parametrize("form", [LOSSES["cross_entropy"], FUSED["cross_entropy", "softmax"]])
def test_cross_entropy_is_log_loss(form):
    z, _ = example(form)
    labels = np.arange(ROWS) % COLUMNS
    expected = metrics.log_loss(labels, special.softmax(z, axis=1), labels=range(COLUMNS))
    assert costs(form, z, np.eye(COLUMNS)[labels]).mean() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "form", [LOSSES["binary_cross_entropy"], FUSED["binary_cross_entropy", "logistic"]]
)
def test_binary_cross_entropy_is_log_loss(form):
    z, _ = example(form, columns=1)
    labels = np.arange(ROWS) % 2
    expected = metrics.log_loss(labels, special.expit(z[:, 0]))
    ours = costs(form, z, labels[:, np.newaxis].astype(float)).mean()
    assert ours == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["poisson", "gamma"])
@pytest.mark.parametrize("fused", [False, True])
def test_half_the_deviance(name, fused):
    form = FUSED[name, "exp"] if fused else LOSSES[name]
    z, y = example(form)
    if name == "poisson":
        y = np.round(y)  # some of them 0
        assert (y == 0).any()
    theirs = {"poisson": metrics.mean_poisson_deviance, "gamma": metrics.mean_gamma_deviance}[name]
    expected = [theirs(t, mu) * COLUMNS / 2 for t, mu in zip(y, np.exp(z), strict=True)]
    np.testing.assert_allclose(costs(form, z, y), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("power", [1.1, 1.5, 1.9])
def test_tweedie_is_half_the_deviance(power):
    form = tweedie(power)
    z, y = example(form)
    y[0] = 0
    expected = [
        metrics.mean_tweedie_deviance(t, mu, power=power) * COLUMNS / 2
        for t, mu in zip(y, np.exp(z), strict=True)
    ]
    np.testing.assert_allclose(costs(form, z, y), expected, rtol=1e-10)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_quantile_is_the_pinball_loss(level):
    form = quantile(level)
    z, y = example(form)
    expected = [
        metrics.mean_pinball_loss(t, a, alpha=level) * COLUMNS for t, a in zip(y, z, strict=True)
    ]
    np.testing.assert_allclose(costs(form, z, y), expected, rtol=1e-13)


def test_several_levels_of_several_targets():
    """Outputs: the levels of the first target, then those of the second."""
    levels = (0.05, 0.5, 0.7)
    form = quantile(levels)
    rng = np.random.default_rng(0)
    a, y = rng.normal(size=(5, 6)), rng.normal(size=(5, 2))
    expected = np.zeros(5)
    for j in range(2):
        for k, level in enumerate(levels):
            for i in range(5):
                r = y[i, j] - a[i, 3 * j + k]
                expected[i] += level * r if r > 0 else (level - 1) * r
    np.testing.assert_allclose(costs(form, a, y, link="identity"), expected, rtol=1e-13)


def test_quantile_is_least_at_the_quantile():
    y = np.sort(np.random.default_rng(0).normal(size=(101, 1)), axis=0)
    for level in (0.25, 0.9):
        total = [costs(quantile(level), np.full_like(y, v), y).sum() for v in y[:, 0]]
        assert np.argmin(total) == round(level * 100)


@pytest.mark.parametrize("width", [0.3, 1.0, 5.0])
def test_huber_is_scipys(width):
    form = huber(width)
    z, y = example(form)
    np.testing.assert_allclose(
        costs(form, z, y), special.huber(width, z - y).sum(axis=1), rtol=1e-13
    )


def test_log_cosh_is_what_it_says(engine):
    form = LOSSES["log_cosh"]
    z, y = example(form)
    expected = np.log(np.cosh(z - y)).sum(axis=1)
    np.testing.assert_allclose(costs(form, z, y, engine), expected, rtol=1e-12)
    far = costs(form, np.full((1, 1), 1e300), np.zeros((1, 1)), engine)
    assert far[0] == pytest.approx(1e300)


def test_gaussian_is_minus_the_log_of_the_density():
    form = LOSSES["gaussian"]
    z, y = example(form, columns=6)
    density = stats.norm.logpdf(y, z[:, :3], np.exp(z[:, 3:] / 2))
    np.testing.assert_allclose(costs(form, z, y), -density.sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1, 2, 5])
def test_focal_weighs_by_what_is_missing(gamma):
    z, _ = example(focal())
    labels = np.arange(ROWS) % COLUMNS
    p = special.softmax(z, axis=1)[np.arange(ROWS), labels]
    np.testing.assert_allclose(
        costs(focal(gamma), z, np.eye(COLUMNS)[labels]), -((1 - p) ** gamma) * np.log(p), rtol=1e-12
    )
    y = (z > 0.3).astype(float)
    right = np.where(y == 1, special.expit(z), special.expit(-z))
    np.testing.assert_allclose(
        costs(binary_focal(gamma), z, y),
        -((1 - right) ** gamma * np.log(right)).sum(axis=1),
        rtol=1e-11,
    )


def test_focal_of_gamma_0_is_cross_entropy(engine):
    z, y = example(LOSSES["cross_entropy"])
    a = special.softmax(z, axis=1)
    for role, out in (("cost", np.empty(ROWS)), ("delta", np.empty_like(z))):
        ours, plain = (
            run(engine, role, getattr(form, role), z, a, y, out)[3]
            for form in (focal(0), FUSED["cross_entropy", "softmax"])
        )
        np.testing.assert_allclose(ours, plain, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("make", "bad"),
    [
        (focal, -1),
        (focal, np.nan),
        (binary_focal, -0.5),
        (huber, 0),
        (huber, np.nan),
        (tweedie, 1),
        (tweedie, 2),
        (quantile, 0),
        (quantile, 1.0),
        (quantile, (0.5, 0.5)),
        (quantile, (0.9, 0.1)),
        (quantile, ()),
    ],
)
def test_numbers_that_make_no_loss(make, bad):
    with pytest.raises(ValueError, match=r"must (be|increase)"):
        make(bad)


# --- other numbers than the tables' ----------------------------------------------------------

GROUPS = (2, 1, 3)
OTHERS = {
    "focal 0.5": (focal(0.5), None),
    "focal 5": (focal(5), None),
    "binary focal 3": (binary_focal(3), None),
    "huber 0.3": (huber(0.3), None),
    "tweedie 1.2": (tweedie(1.2), None),
    "quantile 0.1": (quantile(0.1), None),
    "three quantiles": (quantile((0.1, 0.5, 0.9)), ordered(3)),
    "groups": (grouped_cross_entropy(GROUPS), grouped_softmax(GROUPS)),
}


def of(name, rng, dtype="float64"):
    """(loss, link, z, y) of six outputs."""
    loss, link = OTHERS[name]
    z = like(rng, (5, 6), dtype, 1)
    y = targets(rng, loss, 5, 6, dtype)
    if name == "groups":
        y = rng.uniform(0, 1, (5, 6)).astype(dtype)
    return loss, link or ACTIVATIONS[loss.link], z, y


@pytest.mark.parametrize("name", OTHERS)
@given(seed=seeds)
def test_delta_is_the_derivative(name, seed):
    """Of the cost by z, through the link."""
    rng = np.random.default_rng(seed)
    loss, link, z, y = of(name, rng)
    a = np.empty_like(z)
    link.f(z, a)
    if "quantile" in name or "huber" in name:  # off the kinks
        t = np.repeat(y, 6 // y.shape[1], axis=1)
        near = (np.abs(a - t) < 0.02) | (np.abs(np.abs(a - t) - 0.3) < 0.02)
        if near.any():
            return
    delta = np.full_like(z, np.nan)
    loss.delta(z, a, y, delta)
    if not loss.fused:
        link.pullback(z, a, delta)
    theirs = slope(lambda z: float(costs(loss, z, y, link=link).sum()), z, 1e-3)
    np.testing.assert_allclose(delta, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.compiled
@pytest.mark.parametrize("name", OTHERS)
def test_engines_agree(name, dtype):
    loss, link, z, y = of(name, np.random.default_rng(3), dtype)
    a, c = np.empty_like(z), np.empty(5, dtype)
    for role, fn, args in (
        ("f", link.f, (z, a)),
        ("cost", loss.cost, (z, a, y, c)),
        ("delta", loss.delta, (z, a, y, np.empty_like(z))),
        ("f_pullback", link.pullback, (z, a, np.ones_like(z))),
    ):
        ours, theirs = (run(engine, role, fn, *args)[-1] for engine in ("numba", "numpy"))
        assert close(ours, theirs, dtype)
        if role == "f":
            a[:] = theirs


# --- outputs in order, outputs in groups -----------------------------------------------------


@given(seed=seeds)
def test_ordered_outputs_increase_within_each_run(seed):
    rng = np.random.default_rng(seed)
    n, runs = rng.integers(1, 5), rng.integers(1, 4)
    z = rng.normal(0, 4, (6, n * runs))
    a = np.full_like(z, np.nan)
    ordered(int(n)).f(z, a)
    grouped = a.reshape(6, runs, n)
    assert (np.diff(grouped, axis=2) > 0).all()
    np.testing.assert_array_equal(grouped[:, :, 0], z.reshape(6, runs, n)[:, :, 0])
    steps = np.logaddexp(0, z.reshape(6, runs, n)[:, :, 1:])
    np.testing.assert_allclose(np.diff(grouped, axis=2), steps, rtol=1e-9, atol=1e-12)


def test_ordered_never_crosses_however_far(engine, dtype):
    z = np.array([[0, -1e4, 1e4, -1e4], [-1e4, 1e4, -80, -80]], dtype)
    own = ordered(4)
    a = run(engine, "f", own.f, z, np.empty_like(z))[1]
    assert (np.diff(a, axis=1) >= 0).all()
    delta = run(engine, "f_pullback", own.pullback, z, a, np.ones_like(z))[2]
    assert np.isfinite(delta).all()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_ordered_pullback_is_the_derivative(n):
    rng = np.random.default_rng(n)
    own = ordered(n)
    z, g = rng.normal(0, 2, (4, 6)), rng.normal(size=(4, 6))

    def total(z):
        a = np.empty_like(z)
        own.f(z, a)
        return float((a * g).sum())

    a, delta = np.empty_like(z), g.copy()
    own.f(z, a)
    own.pullback(z, a, delta)
    np.testing.assert_allclose(delta, slope(total, z, 1e-3), rtol=1e-7, atol=1e-8)


def test_grouped_softmax_is_a_softmax_for_each_group(engine, dtype):
    rng = np.random.default_rng(0)
    z, g = like(rng, (5, 6), dtype), like(rng, (5, 6), dtype, 1)
    own, plain = grouped_softmax(GROUPS), ACTIVATIONS["softmax"]
    a = run(engine, "f", own.f, z, np.full_like(z, np.nan))[1]
    delta = run(engine, "f_pullback", own.pullback, z, a, g)[2]
    start = 0
    for n in GROUPS:
        part = np.s_[:, start : start + n]
        alone = run(engine, "f", plain.f, z[part], np.empty((5, n), dtype))[1]
        np.testing.assert_array_equal(a[part], alone)
        back = run(engine, "f_pullback", plain.pullback, z[part], alone, g[part])[2]
        np.testing.assert_allclose(delta[part], back, rtol=1e-6, atol=1e-7)
        start += n
    assert np.allclose(a.sum(axis=1), len(GROUPS))


def test_grouped_cross_entropy_is_the_sum_over_the_groups():
    rng = np.random.default_rng(0)
    z = rng.normal(0, 2, (5, 6))
    labels = [rng.integers(0, n, 5) for n in GROUPS]
    y = np.hstack([np.eye(n)[k] for n, k in zip(GROUPS, labels, strict=True)])
    expected, start = np.zeros(5), 0
    for n, k in zip(GROUPS, labels, strict=True):
        expected -= special.log_softmax(z[:, start : start + n], axis=1)[np.arange(5), k]
        start += n
    ours = costs(grouped_cross_entropy(GROUPS), z, y, link=grouped_softmax(GROUPS))
    np.testing.assert_allclose(ours, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["three quantiles", "groups"])
def test_a_network_takes_them(name):
    loss, link, _, y = of(name, np.random.default_rng(0))
    network = Network((3, 4, 6), activation="tanh", output_activation=link, loss=loss, seed=0)
    assert network.loss is loss
    assert network.n_targets == y.shape[1]
    X = np.random.default_rng(1).normal(size=(5, 3))
    assert gradcheck(network, X, y)
    train(network, X, y, epochs=2, learning_rate=1e-3, batch_size=3, seed=0)
    with pytest.raises(ValueError, match=r"Y must have the shape \(rows, "):
        network.cost(X, np.ones((5, 5)))


@pytest.mark.parametrize("loss", ["gaussian", quantile((0.1, 0.9))])
def test_outputs_that_are_no_multiple_of_the_targets(loss):
    assert Network((3, 4), loss=loss).n_targets == 2
    with pytest.raises(ValueError, match="2 output units for each target; 5 is no multiple"):
        Network((3, 5), loss=loss)
