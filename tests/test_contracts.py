"""What every piece promises, checked over the tables: derivative, engines, shapes, extremes.

A piece is run compiled as the engine runs it, by its address, so that it is the very machine
code that trains.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chainrule.activations import ACTIVATIONS
from chainrule.layers import LAYERS
from chainrule.losses import FUSED, LOSSES, fuse
from chainrule.optimizers import OPTIMIZERS
from chainrule.vecmath import functions

TOLERANCE = {np.dtype("float64"): 1e-12, np.dtype("float32"): 1e-5}
EVERY_LOSS = {
    **LOSSES,
    **{f"{name} fused with {fused}": FUSED[name, fused] for name, fused in FUSED},
}

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=list(ACTIVATIONS))
each_loss = pytest.mark.parametrize("loss", EVERY_LOSS.values(), ids=list(EVERY_LOSS))
each_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
each_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=list(LAYERS))


# --- running a piece -------------------------------------------------------------------------


def _call_f(table, z, a):
    functions("f", table, z)[0](z, a)


def _call_f_pullback(table, z, a, delta):
    functions("f_pullback", table, z)[0](z, a, delta)


def _call_cost(table, z, a, y, c):
    functions("cost", table, z)[0](z, a, y, c)


def _call_delta(table, z, a, y, delta):
    functions("delta", table, z)[0](z, a, y, delta)


def _call_step(table, theta, nabla, state, h, t):
    functions("step", table, theta)[0](theta, nabla, state, h, t)


def _call_forward(table, W, b, s, a, z):
    functions("forward", table, W)[0](W, b, s, a, z)


def _call_pullback(table, W, b, s, a, delta, below):
    functions("pullback", table, W)[0](W, b, s, a, delta, below)


def _call_gradient(table, W, b, s, a, delta, nabla_W, nabla_b):
    functions("gradient", table, W)[0](W, b, s, a, delta, nabla_W, nabla_b)


CALLS = {name.removeprefix("_call_"): fn for name, fn in globals().items() if name[:5] == "_call"}


def run(engine, role, fn, *args):
    """Call a piece in either engine; the arguments are copied, the copies returned."""
    copies = [np.array(arg, order="C") if isinstance(arg, np.ndarray) else arg for arg in args]
    if engine == "numpy":
        fn(*copies)
    else:
        from chainrule.engine import ROLES, address, compiled

        dtype = copies[0].dtype
        table = np.array([address(fn, role, dtype)])
        compiled(CALLS[role], "A" + ROLES[role], dtype)(table, *copies)
    return copies


def close(left, right, dtype):
    """Equal to the tolerance of the dtype, relative to the size of the numbers at hand."""
    scale = np.maximum(np.abs(right), 1) if np.size(right) else 1
    return bool(np.all(np.abs(left - right) <= TOLERANCE[dtype] * scale))


def unchanged(before, after, written):
    """All but the last `written` arrays are as they were, bit by bit; dtypes and shapes kept."""
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        if isinstance(old, np.ndarray):
            assert new.dtype == old.dtype
            assert new.shape == old.shape
            if i < len(before) - written:
                assert new.tobytes() == old.tobytes(), f"argument {i} was changed"


def like(rng, shape, dtype, spread=3.0):
    return rng.normal(0, spread, shape).astype(dtype)


def targets(rng, shape, dtype):
    """Rows of probabilities, the sum 1: at home in every loss."""
    y = rng.uniform(0.05, 1, shape)
    return (y / y.sum(axis=1, keepdims=True)).astype(dtype)


def outputs_for(loss, z):
    """An output a that the loss can be asked about: its link's."""
    a = np.empty_like(z)
    ACTIVATIONS[loss.link].f(z, a)
    return a


def slope(function, x, step=1e-6):
    """Central differences of a number by every entry of an array, Richardson's way: to h⁴."""
    out = np.empty_like(x)
    for i in np.ndindex(x.shape):
        values = []
        for h in (step, -step, 2 * step, -2 * step):
            moved = x.copy()
            moved[i] += h
            values.append(function(moved))
        out[i] = (8 * (values[0] - values[1]) - (values[2] - values[3])) / (12 * step)
    return out


shapes = st.tuples(st.integers(1, 9), st.integers(1, 17))
seeds = st.integers(0, 2**32 - 1)


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
    z = like(rng, shape, "float64", 1)
    y = targets(rng, shape, "float64")
    if loss.fused == "softmax":
        y *= rng.uniform(0.5, 2, (shape[0], 1))  # its rows need not sum to 1
    a = outputs_for(loss, z)
    if not loss.fused:
        a = np.clip(a, 0.02, 0.98) if loss.name != "squared_error" else a

    def cost_by_a(a):
        return float(run("numpy", "cost", loss.cost, z, a, y, np.empty(len(z)))[3].sum())

    def cost_by_z(z):
        a = outputs_for(loss, z)
        return float(run("numpy", "cost", loss.cost, z, a, y, np.empty(len(z)))[3].sum())

    ours = run(engine, "delta", loss.delta, z, a, y, np.full(shape, np.nan))[3]
    theirs = slope(cost_by_z, z, 1e-3) if loss.fused else slope(cost_by_a, a, 1e-4)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "link"), list(FUSED))
def test_fused_loss_equals_the_plain_one_behind_its_activation(name, link):
    rng = np.random.default_rng(3)
    z = like(rng, (6, 5), "float64")
    y = targets(rng, (6, 5), "float64")
    plain, fused = LOSSES[name], fuse(LOSSES[name], link)
    assert fused.fused == link
    assert fused is not plain
    a = np.empty_like(z)
    ACTIVATIONS[link].f(z, a)
    costs, deltas = [], []
    for loss in (plain, fused):
        costs.append(run("numpy", "cost", loss.cost, z, a, y, np.empty(6))[3])
        deltas.append(run("numpy", "delta", loss.delta, z, a, y, np.empty((6, 5)))[3])
    ACTIVATIONS[link].pullback(z, a, deltas[0])
    np.testing.assert_allclose(costs[0], costs[1], rtol=1e-12)
    np.testing.assert_allclose(deltas[0], deltas[1], rtol=1e-9, atol=1e-12)


def test_only_named_pairs_are_fused():
    assert fuse(LOSSES["squared_error"], "softmax") is LOSSES["squared_error"]
    assert fuse(LOSSES["cross_entropy"], "logistic") is LOSSES["cross_entropy"]
    assert fuse(LOSSES["binary_cross_entropy"], "softmax") is LOSSES["binary_cross_entropy"]


@each_layer
def test_layer_gradient_and_pullback_are_the_derivatives(layer, engine):
    rng = np.random.default_rng(5)
    (shape_W, k), m, n_in, n_out = layer.shape(4, 3), 5, 4, 3
    W, b, a = (
        like(rng, shape_W, "float64"),
        like(rng, k, "float64"),
        like(rng, (m, n_in), "float64"),
    )
    s, upstream = np.empty(0), like(rng, (m, n_out), "float64", 1)

    def cost(W, b, a):
        z = run("numpy", "forward", layer.forward, W, b, s, a, np.empty((m, n_out)))[4]
        return float((z * upstream).sum())

    below = run(engine, "pullback", layer.pullback, W, b, s, a, upstream, np.empty_like(a))[5]
    *_, nabla_W, nabla_b = run(
        engine, "gradient", layer.gradient, W, b, s, a, upstream, np.empty_like(W), np.empty_like(b)
    )
    np.testing.assert_allclose(below, slope(lambda x: cost(W, b, x), a, 1e-3), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(
        nabla_W, slope(lambda x: cost(x, b, a), W, 1e-3), rtol=1e-6, atol=1e-8
    )
    np.testing.assert_allclose(
        nabla_b, slope(lambda x: cost(W, x, a), b, 1e-3), rtol=1e-6, atol=1e-8
    )


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
}
POINTS = [-9.0, -3.0, -1.0, -0.25, -1e-3, 0.0, 1e-3, 0.25, 1.0, 3.0, 9.0]


@pytest.mark.parametrize("name", DEFINED)
def test_values_by_definition(name, engine, dtype):
    z = np.array([POINTS], dtype)
    a = run(engine, "f", ACTIVATIONS[name].f, z, np.empty_like(z))[1]
    expected = np.array([[DEFINED[name](float(x)) for x in z[0]]])
    np.testing.assert_allclose(a, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] / 10)


def test_costs_by_definition(engine):
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
    z, y = like(rng, shape, dtype), targets(rng, shape, dtype)
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


@pytest.mark.compiled
@each_layer
@given(m=st.integers(1, 9), n_in=st.integers(1, 17), n_out=st.integers(1, 17), seed=seeds)
def test_layers_agree(layer, dtype, m, n_in, n_out, seed):
    rng = np.random.default_rng(seed)
    shape_W, k = layer.shape(n_in, n_out)
    W, b, s = like(rng, shape_W, dtype, 1), like(rng, k, dtype, 1), np.empty(0)
    a, delta = like(rng, (m, n_in), dtype, 1), like(rng, (m, n_out), dtype, 1)
    for role, fn, rest in (
        ("forward", layer.forward, (a, np.empty_like(delta))),
        ("pullback", layer.pullback, (a, delta, np.empty_like(a))),
        ("gradient", layer.gradient, (a, delta, np.empty_like(W), np.empty_like(b))),
    ):
        ours, theirs = (run(engine, role, fn, W, b, s, *rest) for engine in ("numba", "numpy"))
        for left, right in zip(ours, theirs, strict=True):
            assert close(left, right, dtype)


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
    z, y = like(rng, (5, 3), dtype), targets(rng, (5, 3), dtype)
    for role, fn, out in (
        ("cost", loss.cost, np.full(5, np.nan, dtype)),
        ("delta", loss.delta, np.full((5, 3), np.nan, dtype)),
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


@each_layer
def test_layer_keeps_dtype_shape_and_inputs(layer, engine, dtype):
    rng = np.random.default_rng(0)
    shape_W, k = layer.shape(4, 3)
    W, b, s = like(rng, shape_W, dtype), like(rng, k, dtype), np.empty(0)
    a, delta = like(rng, (5, 4), dtype), like(rng, (5, 3), dtype)
    for role, fn, rest, written in (
        ("forward", layer.forward, (a, delta * np.nan), 1),
        ("pullback", layer.pullback, (a, delta, a * np.nan), 1),
        ("gradient", layer.gradient, (a, delta, W * np.nan, b * np.nan), 2),
    ):
        before = (W, b, s, *rest)
        after = run(engine, role, fn, *before)
        unchanged(before, after, written)
        assert all(np.isfinite(x).all() for x in after)


# --- where mathematics is finite, so are we --------------------------------------------------


@functools.cache
def extremes(dtype):
    """Every pair of extreme numbers, as rows."""
    numbers = [0.0, -0.0, 1e-30, -1e-30, 1.0, -1.0, 80.0, -80.0, 1e4, -1e4]
    return np.array([(p, q) for p in numbers for q in numbers], dtype)


@each_activation
def test_activations_are_finite_at_extremes(activation, engine, dtype):
    z = extremes(dtype)
    with np.errstate(under="ignore", over="raise", invalid="raise", divide="raise"):
        a = run(engine, "f", activation.f, z, np.empty_like(z))[1]
        delta = run(engine, "f_pullback", activation.pullback, z, a, np.ones_like(z))[2]
    assert np.isfinite(a).all()
    assert np.isfinite(delta).all()
    assert np.abs(a).max() <= 1.06e4
    assert np.abs(delta).max() <= 1.7581  # selu, a little below 0; mish and gelu rise to 1.13
    if activation.name not in ("identity", "softmax"):  # flat, or leaky, far below
        assert np.abs(delta[z == -1e4]).max() <= 0.01 + 1e-6


@each_loss
def test_losses_are_finite_at_extremes(loss, engine, dtype):
    z = extremes(dtype)
    for y in (np.zeros_like(z), np.ones_like(z), np.tile(np.eye(2, dtype=dtype)[0], (len(z), 1))):
        a = outputs_for(loss, z)
        with np.errstate(under="ignore", over="raise", invalid="raise", divide="raise"):
            c = run(engine, "cost", loss.cost, z, a, y, np.empty(len(z), dtype))[3]
            delta = run(engine, "delta", loss.delta, z, a, y, np.empty_like(z))[3]
        assert np.isfinite(c).all()
        assert np.isfinite(delta).all()
        assert (c >= -1e-6).all()
        if loss.fused:
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
    assert all(name == piece.name for name, piece in table.items())


def test_tables_hold_what_was_asked_for():
    names = "identity relu leaky_relu elu selu gelu silu mish softplus tanh logistic softmax"
    assert set(ACTIVATIONS) >= set(names.split())
    assert set(LOSSES) >= {"squared_error", "cross_entropy", "binary_cross_entropy"}
    assert set(OPTIMIZERS) >= {"sgd", "momentum", "nesterov", "adam"}
    assert all(loss.link in ACTIVATIONS for loss in LOSSES.values())
