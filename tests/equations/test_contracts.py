"""What every component promises, checked over the tables: derivative, engines, shapes, extremes."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from helpers.components import (
    COUNTS,
    EVERY_LOSS,
    TOLERANCE,
    close,
    like,
    outputs_for,
    run,
    seeds,
    shapes,
    slope,
    targets,
    unchanged,
    widened,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chainrule.equations.activations import ACTIVATIONS
from chainrule.equations.layers import LAYERS
from chainrule.equations.losses import FUSED, LOSSES, fuse
from chainrule.equations.optimizers import OPTIMIZERS

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=list(ACTIVATIONS))
each_loss = pytest.mark.parametrize("loss", EVERY_LOSS.values(), ids=list(EVERY_LOSS))
each_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=list(OPTIMIZERS))


def off_the_kinks(loss, a, y):
    """Targets moved to where the loss is smooth within a few steps of a."""
    if loss.name not in ("absolute_error", "quantile", "huber"):
        return y
    r = np.abs(a - y)
    return np.where((r < 0.01) | (np.abs(r - 1) < 0.01), y + 0.05, y)


# --- derivatives -----------------------------------------------------------------------------


@each_activation
@given(shape=shapes, seed=seeds)
def test_pullback_is_the_derivative(activation, engine, shape, seed):
    rng = np.random.default_rng(seed)
    z, upstream = like(rng, shape, "float64"), like(rng, shape, "float64", 1)
    z[np.abs(z) < 1e-2] = 0.5  # away from the kinks

    def cost(z):
        a = np.empty_like(z)
        activation.f(z, a)
        return float((a * upstream).sum())

    a = run("numpy", "f", activation.f, z, np.empty_like(z))[1]
    ours = run(engine, "f_pullback", activation.pullback, z, a, upstream)[2]
    # One central difference per entry, each rounded off by the whole sum.
    theirs = slope(cost, z, 1e-3)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


@each_loss
@given(shape=shapes, seed=seeds)
def test_delta_is_the_derivative(loss, engine, shape, seed):
    rng = np.random.default_rng(seed)
    shape = widened(loss, shape)
    z = like(rng, shape, "float64", 1)
    y = targets(rng, loss, *shape)
    if loss.fused == "softmax":
        y *= rng.uniform(0.5, 2, (shape[0], 1))  # its rows need not sum to 1
    a = outputs_for(loss, z)
    if not loss.fused and loss.link in ("softmax", "logistic"):
        a = np.clip(a, 0.02, 0.98)
    y = off_the_kinks(loss, a, y)

    def cost_by_a(a):
        return float(run("numpy", "cost", loss.cost, z, a, y, np.empty(len(z)))[3].sum())

    def cost_by_z(z):
        a = outputs_for(loss, z)
        return float(run("numpy", "cost", loss.cost, z, a, y, np.empty(len(z)))[3].sum())

    ours = run(engine, "delta", loss.delta, z, a, y, np.full(shape, np.nan))[3]
    theirs = slope(cost_by_z, z, 1e-3) if loss.fused else slope(cost_by_a, a, 1e-4)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "link"), list(FUSED))
def test_fused_loss_equals_the_plain_one_behind_its_activation(name, link, engine):
    rng = np.random.default_rng(3)
    plain, fused = LOSSES[name], fuse(LOSSES[name], ACTIVATIONS[link])
    z = like(rng, (6, 5), "float64")
    y = targets(rng, plain, 6, 5)
    assert fused.fused == link
    assert fused is not plain
    a = np.empty_like(z)
    ACTIVATIONS[link].f(z, a)
    costs, deltas = [], []
    for loss in (plain, fused):
        costs.append(run(engine, "cost", loss.cost, z, a, y, np.empty(6))[3])
        deltas.append(run(engine, "delta", loss.delta, z, a, y, np.empty((6, 5)))[3])
    ACTIVATIONS[link].pullback(z, a, deltas[0])
    np.testing.assert_allclose(costs[0], costs[1], rtol=1e-12)
    np.testing.assert_allclose(deltas[0], deltas[1], rtol=1e-9, atol=1e-12)


def test_only_named_pairs_of_ours_are_fused():
    for name, link in (
        ("squared_error", "softmax"),
        ("cross_entropy", "logistic"),
        ("binary_cross_entropy", "softmax"),
        ("poisson", "identity"),
        ("gamma", "softplus"),
    ):
        assert fuse(LOSSES[name], ACTIVATIONS[link]) is LOSSES[name]
    namesake = ACTIVATIONS["softmax"]._replace(f=lambda z, a: None)
    assert fuse(LOSSES["cross_entropy"], namesake) is LOSSES["cross_entropy"]
    other = LOSSES["cross_entropy"]._replace(cost=lambda z, a, y, c: None)
    assert fuse(other, ACTIVATIONS["softmax"]) is other


# --- values ----------------------------------------------------------------------------------

# By definition, one number at a time; constants as printed in the papers.
DEFINED = {
    "identity": lambda z: z,
    "relu": lambda z: z if z > 0 else 0.0,
    "leaky_relu": lambda z: z if z > 0 else 0.01 * z,
    "elu": lambda z: z if z > 0 else math.exp(z) - 1,
    "selu": lambda z: (
        1.0507009873554804934193349852946
        * (z if z > 0 else 1.6732632423543772848170429916717 * (math.exp(z) - 1))
    ),
    "gelu": lambda z: z * 0.5 * math.erfc(-z / math.sqrt(2)),
    "silu": lambda z: z / (1 + math.exp(-z)),
    "mish": lambda z: z * math.tanh(math.log(1 + math.exp(z))),
    "softplus": lambda z: math.log(1 + math.exp(z)),
    "tanh": lambda z: (math.exp(z) - math.exp(-z)) / (math.exp(z) + math.exp(-z)),
    "logistic": lambda z: 1 / (1 + math.exp(-z)),
    "exp": math.exp,
}
POINTS = [-9.0, -3.0, -1.0, -0.25, -1e-3, 0.0, 1e-3, 0.25, 1.0, 3.0, 9.0]


@pytest.mark.parametrize("name", DEFINED)
def test_values_by_definition(name, engine, dtype):
    z = np.array([POINTS], dtype)
    a = run(engine, "f", ACTIVATIONS[name].f, z, np.empty_like(z))[1]
    expected = np.array([[DEFINED[name](float(x)) for x in z[0]]])
    np.testing.assert_allclose(a, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] / 10)


# --- both engines, shapes, nothing else changed ----------------------------------------------


@pytest.mark.compiled
@each_activation
@given(data=st.data(), shape=shapes)
def test_activations_agree(activation, dtype, data, shape):
    numbers = hnp.from_dtype(dtype, allow_nan=False, min_value=-30, max_value=30)
    z, delta = (data.draw(hnp.arrays(dtype, shape, elements=numbers)) for _ in range(2))
    a = run("numpy", "f", activation.f, z, np.empty_like(z))[1]
    assert close(run("numba", "f", activation.f, z, np.empty_like(z))[1], a, dtype)
    ours, theirs = (
        run(engine, "f_pullback", activation.pullback, z, a, delta)[2]
        for engine in ("numba", "numpy")
    )
    assert close(ours, theirs, dtype)


@pytest.mark.compiled
@each_loss
@given(shape=shapes, seed=seeds)
def test_losses_agree(loss, dtype, shape, seed):
    rng = np.random.default_rng(seed)
    shape = widened(loss, shape)
    z, y = like(rng, shape, dtype, 1), targets(rng, loss, *shape, dtype)
    a, c = outputs_for(loss, z), np.empty(len(z), dtype)
    for role, fn, out in (("cost", loss.cost, c), ("delta", loss.delta, np.empty_like(z))):
        ours, theirs = (run(engine, role, fn, z, a, y, out)[3] for engine in ("numba", "numpy"))
        assert close(ours, theirs, dtype)


@pytest.mark.compiled
@each_optimizer
@given(size=st.integers(1, 40), seed=seeds, t=st.integers(1, 10_000))
def test_optimizers_agree(optimizer, dtype, size, seed, t):
    rng = np.random.default_rng(seed)
    theta, nabla = like(rng, size, dtype), like(rng, size, dtype)
    state = np.abs(like(rng, (optimizer.slots, size), dtype))
    h = np.array(list(optimizer.hyper.values()))
    ours, theirs = (
        run(engine, "step", optimizer.step, theta, nabla, state, h, t)
        for engine in ("numba", "numpy")
    )
    assert close(ours[0], theirs[0], dtype)
    assert close(ours[2], theirs[2], dtype)


@each_activation
def test_activation_keeps_dtype_shape_and_inputs(activation, engine, dtype):
    z, delta = (like(np.random.default_rng(i), (5, 3), dtype) for i in range(2))
    before = (z, np.full_like(z, np.nan))
    after = run(engine, "f", activation.f, *before)
    unchanged(before, after, 1)
    assert np.isfinite(after[1]).all()  # all was written
    before = (z, after[1], delta)
    unchanged(before, run(engine, "f_pullback", activation.pullback, *before), 1)


@each_loss
def test_loss_keeps_dtype_shape_and_inputs(loss, engine, dtype):
    rng = np.random.default_rng(0)
    z, y = like(rng, (5, 4), dtype), targets(rng, loss, 5, 4, dtype)
    for role, fn, out in (
        ("cost", loss.cost, np.full(5, np.nan, dtype)),
        ("delta", loss.delta, np.full((5, 4), np.nan, dtype)),
    ):
        before = (z, outputs_for(loss, z), y, out)
        after = run(engine, role, fn, *before)
        unchanged(before, after, 1)
        assert np.isfinite(after[3]).all()


@each_optimizer
def test_optimizer_keeps_dtype_shape_and_gradient(optimizer, engine, dtype):
    rng = np.random.default_rng(0)
    theta, nabla = like(rng, 7, dtype), like(rng, 7, dtype)
    state, h = np.zeros((optimizer.slots, 7), dtype), np.array(list(optimizer.hyper.values()))
    after = run(engine, "step", optimizer.step, theta, nabla, state, h, 1)
    assert [x.dtype for x in after[:4]] == [dtype, dtype, dtype, np.float64]
    assert after[1].tobytes() == nabla.tobytes()
    assert after[3].tobytes() == h.tobytes()
    assert (np.sign(after[0] - theta) == -np.sign(nabla)).all()  # the first step goes downhill
    assert next(iter(optimizer.hyper)) == "learning_rate"


# --- where mathematics is finite, so are we --------------------------------------------------


@functools.cache
def extremes(dtype):
    """Every pair of extreme numbers, as rows."""
    numbers = [0.0, -0.0, 1e-30, -1e-30, 1.0, -1.0, 80.0, -80.0, 1e4, -1e4]
    return np.array([(p, q) for p in numbers for q in numbers], dtype)


@each_activation
def test_activations_are_finite_at_extremes(activation, engine, dtype):
    z = extremes(dtype)
    if activation.name == "exp":
        z = np.minimum(z, dtype.type(80))  # beyond that it is too large for float32
    with np.errstate(under="ignore", over="raise", invalid="raise", divide="raise"):
        a = run(engine, "f", activation.f, z, np.empty_like(z))[1]
        delta = run(engine, "f_pullback", activation.pullback, z, a, np.ones_like(z))[2]
    assert np.isfinite(a).all()
    assert np.isfinite(delta).all()
    if activation.name == "exp":
        assert a.tobytes() == delta.tobytes()
        assert (a >= 0).all()
        return
    assert np.abs(a).max() <= 1.06e4
    assert np.abs(delta).max() <= 1.7581  # selu, a little below 0; mish and gelu rise to 1.13
    if activation.name not in ("identity", "softmax"):  # flat, or leaky, far below
        assert np.abs(delta[z == -1e4]).max() <= 0.01 + 1e-6


@each_loss
def test_losses_are_finite_at_extremes(loss, engine, dtype):
    """Costs of counts and variances grow like e^|z| by nature; those see |z| of at most 40."""
    z = extremes(dtype)
    steep = loss.name in (*COUNTS, "gaussian")
    if steep:
        z = np.clip(z, -40, 40)
    n = 2 // loss.outputs
    a = outputs_for(loss, z)
    for row in (np.zeros(n), np.ones(n), np.eye(2)[0, :n]):
        y = np.tile(row, (len(z), 1)).astype(dtype)
        with np.errstate(under="ignore", over="raise", invalid="raise", divide="raise"):
            c = run(engine, "cost", loss.cost, z, a, y, np.empty(len(z), dtype))[3]
            delta = run(engine, "delta", loss.delta, z, a, y, np.empty_like(z))[3]
        assert np.isfinite(c).all()
        assert np.isfinite(delta).all()
        if loss.name != "gaussian":  # minus the log of a density may have either sign
            assert (c >= -1e-6).all()
        if loss.fused and not steep:
            assert np.abs(delta).max() <= 2


@each_optimizer
def test_optimizers_are_finite_at_extremes(optimizer, engine, dtype):
    nabla = np.array([0, 1e-30, -1e-30, 1e4, -1e4, 80, -80], dtype)
    theta, state = np.zeros_like(nabla), np.zeros((optimizer.slots, 7), dtype)
    h = np.array(list(optimizer.hyper.values()))
    for t in range(1, 200):
        theta, _, state, *_ = run(engine, "step", optimizer.step, theta, nabla, state, h, t)
    assert np.isfinite(theta).all()
    assert theta[0] == 0
    assert (theta[[1, 3, 5]] <= 0).all()
    assert (theta[[3, 5]] < 0).all()


@given(
    z=hnp.arrays(np.float64, shapes, elements=st.floats(-1e4, 1e4)),
    shift=st.floats(-1e4, 1e4),
)
def test_softmax_is_a_distribution_and_blind_to_a_shift(engine, z, shift):
    f = ACTIVATIONS["softmax"].f
    a = run(engine, "f", f, z, np.empty_like(z))[1]
    assert (a >= 0).all()
    np.testing.assert_allclose(a.sum(axis=1), 1, rtol=1e-14)
    # The shift itself rounds z off.
    np.testing.assert_allclose(run(engine, "f", f, z + shift, np.empty_like(z))[1], a, atol=1e-10)


@each_activation
def test_nan_passes_through(activation, engine, dtype):
    """Divergence is noticed by its NaN, so no activation may swallow one."""
    z = np.array([[1.0, np.nan, 2.0], [0.0, 1.0, -1.0]], dtype)
    with np.errstate(invalid="ignore"):
        a = run(engine, "f", activation.f, z, np.zeros_like(z))[1]
    assert np.isnan(a[0, 1])
    assert np.isfinite(a[1]).all()


@pytest.mark.parametrize("table", [ACTIVATIONS, LOSSES, OPTIMIZERS, LAYERS])
def test_tables_go_by_name(table):
    assert all(name == component.name for name, component in table.items())


def test_tables_hold_what_was_asked_for():
    activations = "identity relu leaky_relu elu selu gelu silu mish softplus tanh logistic softmax"
    losses = "squared_error cross_entropy binary_cross_entropy focal binary_focal absolute_error"
    losses += " huber log_cosh quantile poisson gamma tweedie gaussian"
    optimizers = "sgd momentum nesterov adam nadam radam rmsprop adagrad adadelta lion"
    assert set(ACTIVATIONS) >= {*activations.split(), "exp"}
    assert set(LOSSES) >= set(losses.split())
    assert set(OPTIMIZERS) >= set(optimizers.split())
    assert set(LAYERS) >= {"affine", "dropout", "noise", "layer_norm", "batch_norm"}
    assert all(loss.link in ACTIVATIONS for loss in EVERY_LOSS.values())
    assert all(loss.fused in {"", *ACTIVATIONS} for loss in EVERY_LOSS.values())
