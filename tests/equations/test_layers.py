"""Every kind of layer: its derivatives, both engines, what it draws, what it remembers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers.components import close, like, seeds, slope, unchanged
from helpers.components import run as run_component
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from chainrule import Network, train
from chainrule.equations import vecmath
from chainrule.equations.layers import (
    AFFINE,
    LAYERS,
    batch_norm,
    dropout,
    layer_norm,
    noise,
    standardize,
)

STANDARDIZE = standardize(np.array([1.0, -2, 0.5, 3]), np.array([2.0, 0.25, 1, 7]))
KINDS = {**LAYERS, "standardize": STANDARDIZE}
each_layer = pytest.mark.parametrize("layer", KINDS.values(), ids=list(KINDS))
BATCH_NORM = batch_norm()[1:4]  # its functions
RANDOM = {*dropout(0.5)[1:3], noise(1.0).forward}
# s[0]: predicting, and the seventh step of a training.
each_mode = pytest.mark.parametrize("t", [0, 7], ids=["predicting", "training"])


def components_of(layer, rng, dtype, m=5, n_in=4, n_out=3, t=0):
    """(W, b, s, a, delta) for a layer; it keeps its width unless it is affine."""
    n_out = n_out if layer is AFFINE else n_in
    shape_W, k = layer.shape(n_in, n_out)
    s = np.array(layer.numbers(n_out), np.float64)
    if layer.name == "batch_norm":
        s[3:] = rng.uniform(0.5, 2, 2 * n_out)
    if len(s):
        s[0] = t
    W, b = like(rng, shape_W, dtype, 1), like(rng, k, dtype, 1)
    return W, b, s, like(rng, (m, n_in), dtype), like(rng, (m, n_out), dtype, 1)


def run(engine, role, fn, W, b, s, a, *rest, share=None):
    """Call a layer's function on a whole batch, whose rows count alike unless told.

    Returns the arguments after it, s without what the layer knows of the batch.
    """
    if share is None:
        share = np.full((len(a), 1), 1 / len(a))
    constants = s
    if fn in RANDOM:
        s = np.append(s, 0.0)  # the batch's first row
    elif fn in BATCH_NORM:
        s = with_statistics(s, a.shape[1], share)
        if role != "forward":  # which finds the moments
            s = run_component(engine, "forward", BATCH_NORM[0], W, b, s, a, np.empty_like(a))[2]
    before = s
    after = run_component(engine, role, fn, W, b, s, a, *rest)
    after[2] = after[2][: len(constants)]
    if role != "forward":
        np.testing.assert_array_equal(after[2], before[: len(constants)])
        after[2] = constants  # the averages have moved in `forward`
    return after


def with_statistics(s, n, share):
    """s of batch normalisation with room for statistics, and what each row counts for."""
    room = np.full(batch_norm().statistics.size(n), np.nan)
    room[0] = 0  # they are not pooled
    return np.concatenate([s, room, share[:, 0]])


def told(engine, statistics, s, share, a, *delta, cuts=()):
    """s with the statistics of a batch behind, and those of delta; rows are cut there."""
    n, size = a.shape[1], statistics.size(a.shape[1])
    s = with_statistics(s, n, share)
    for rest, collect, pool in (
        ((), "collect", "pool"),
        (delta, "collect_back", "pool_back"),
    )[: 1 + len(delta)]:
        parts = np.full((len(cuts) + 1, size), np.nan)
        for i, (first, last) in enumerate(itertools.pairwise([0, *cuts, len(a)])):
            of_block = np.concatenate([s[: len(s) - len(a)], share[first:last, 0]])
            rows = [x[first:last] for x in (a, *rest)]
            *_, parts[i] = run_component(
                engine, collect, getattr(statistics, collect), of_block, *rows, parts[i]
            )
        _, s = run_component(engine, pool, getattr(statistics, pool), parts, s)
    return s


def with_step(layer, n, t):
    s = np.array(layer.numbers(n), np.float64)
    s[0] = t
    return s


# --- contract --------------------------------------------------------------------------------


@each_layer
@each_mode
@pytest.mark.parametrize("share", [None, np.array([[0.4], [0.1], [0.2], [0.1], [0.2]])])
def test_gradient_and_pullback_are_the_derivatives(layer, t, share, engine):
    W, b, s, a, upstream = components_of(layer, np.random.default_rng(5), "float64", t=t)

    def call(engine, role, *rest):
        return run(engine, role, getattr(layer, role), W, b, s, *rest, share=share)

    def cost(W, b, a):
        z = run(
            "numpy", "forward", layer.forward, W, b, s, a, np.empty_like(upstream), share=share
        )[4]
        return float((z * upstream).sum())

    below = call(engine, "pullback", a, upstream, np.empty_like(a))[5]
    *_, nabla_W, nabla_b = call(engine, "gradient", a, upstream, np.empty_like(W), np.empty_like(b))
    for ours, theirs in (
        (below, slope(lambda x: cost(W, b, x), a, 1e-3)),
        (nabla_W, slope(lambda x: cost(x, b, a), W, 1e-3)),
        (nabla_b, slope(lambda x: cost(W, x, a), b, 1e-3)),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)


@each_layer
@each_mode
def test_single_precision_is_double_rounded(layer, t, engine):
    """Forward, pullback and gradient in float32 against the same in float64."""
    double = components_of(layer, np.random.default_rng(6), "float32", t=t)
    W, b, s, a, delta = (x.astype(np.float64) for x in double)
    for role, wide, narrow in (
        ("forward", (W, b, s, a, delta), double[:4] + double[4:]),
        ("pullback", (W, b, s, a, delta, a), (*double, double[3])),
        ("gradient", (W, b, s, a, delta, W, b), (*double, double[0], double[1])),
    ):
        fn = getattr(layer, role)
        exact, ours = run("numpy", role, fn, *wide), run(engine, role, fn, *narrow)
        for left, right in zip(ours, exact, strict=True):
            assert close(left, right, "float32")


@pytest.mark.compiled
@each_layer
@given(m=st.integers(1, 9), n_in=st.integers(1, 17), n_out=st.integers(1, 17), seed=seeds)
def test_engines_agree(layer, dtype, m, n_in, n_out, seed):
    rng = np.random.default_rng(seed)
    n_in = 4 if layer is STANDARDIZE else n_in
    W, b, s, a, delta = components_of(layer, rng, dtype, m, n_in, n_out, t=seed % 3)
    for role, rest in (
        ("forward", (a, np.empty_like(delta))),
        ("pullback", (a, delta, np.empty_like(a))),
        ("gradient", (a, delta, np.zeros_like(W), np.zeros_like(b))),
    ):
        fn = getattr(layer, role)
        ours, theirs = (run(engine, role, fn, W, b, s, *rest) for engine in ("numba", "numpy"))
        for left, right in zip(ours, theirs, strict=True):
            assert close(left, right, dtype)


@each_layer
@each_mode
def test_dtype_shape_and_inputs_are_kept(layer, t, engine, dtype):
    """All of the result is written, nothing else is; batch_norm alone keeps averages, in s."""
    W, b, s, a, delta = components_of(layer, np.random.default_rng(0), dtype, t=t)
    for role, rest, written in (
        ("forward", (a, delta * np.nan), 1),
        ("pullback", (a, delta, a * np.nan), 1),
        ("gradient", (a, delta, W * np.nan, b * np.nan), 2),
    ):
        before = (W, b, s, *rest)
        after = run(engine, role, getattr(layer, role), *before)
        if role == "forward" and layer.name == "batch_norm" and t:
            assert (after[2][:3] == s[:3]).all()
            assert (after[2][3:] != s[3:]).all()
            after[2] = s
        unchanged(before, after, written)
        assert all(np.isfinite(x).all() for x in after)


@each_layer
def test_finite_at_extremes(layer, engine, dtype):
    """Constant rows and columns, a single row, numbers up to 1e4: no division by zero."""
    for extreme in (np.zeros((3, 4)), np.full((3, 4), -1e4), np.eye(4)[:1], np.eye(4) * 1e4):
        a = extreme.astype(dtype)
        for t in (0, 7):
            W, b, s, _, delta = components_of(
                layer, np.random.default_rng(0), dtype, len(a), n_out=4, t=t
            )
            with np.errstate(under="ignore", over="raise", invalid="raise", divide="raise"):
                z = run(engine, "forward", layer.forward, W, b, s, a, delta)[4]
                below = run(engine, "pullback", layer.pullback, W, b, s, a, delta, a)[5]
            assert np.isfinite(z).all()
            assert np.isfinite(below).all()


@pytest.mark.parametrize("name", [name for name in KINDS if name != "affine"])
def test_width_is_kept(name):
    with pytest.raises(ValueError, match="it cannot join 4 to 3"):
        KINDS[name].shape(4, 3)
    with pytest.raises(ValueError, match="cannot join 3 to 2"):
        Network((4, 3, 2), layers=[AFFINE, KINDS[name]])


@pytest.mark.parametrize(
    ("make", "value"), [(dropout, 1), (dropout, -0.1), (dropout, np.nan), (noise, -1)]
)
def test_numbers_that_make_no_layer(make, value):
    with pytest.raises(ValueError, match=r"at least 0|0 or more"):
        make(value)


# --- what is drawn ---------------------------------------------------------------------------


def _uniform(key, t, row, out):
    vecmath.random_uniform(key[0], t, row, out)


def _normal(key, t, row, out):
    vecmath.random_normal(key[0], t, row, out)


def drawn(engine, body, key, t, shape, dtype="float64", row=0):
    out = np.full(shape, np.nan, dtype)
    if engine == "numpy":
        body(np.array([float(key)]), t, row, out)
    else:
        from chainrule.engine.compilation import compiled

        compiled(body, "HFFM", out.dtype)(np.array([float(key)]), float(t), float(row), out)
    return out


def splitmix(key, t, n):
    """The same numbers by Python's whole numbers, modulo 2⁶⁴."""
    mask, golden = 2**64 - 1, 0x9E3779B97F4A7C15

    def mix(x):
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    start = mix((mix((key + golden) & mask) + t) & mask)
    return [(mix((start + i * golden) & mask) >> 40) / 2**24 for i in range(1, n + 1)]


@pytest.mark.parametrize(("key", "t"), [(0, 1), (1, 0), (12345, 7), (2**53 - 1, 10**9)])
def test_uniform_numbers_are_the_hash(key, t, engine, dtype):
    out = drawn(engine, _uniform, key, t, (3, 5), dtype)
    assert out.ravel().tolist() == splitmix(key, t, 15)


@pytest.mark.parametrize("body", [_uniform, _normal])
@pytest.mark.parametrize("first", [1, 7, 2**24])
def test_a_block_of_rows_draws_what_the_whole_batch_does(body, first, engine, dtype):
    """Of a batch of so many rows, of which only the few before and after `first` are drawn."""
    block = drawn(engine, body, 5, 3, (4, 3), dtype, first)
    around = drawn(engine, body, 5, 3, (5, 3), dtype, first - 1)
    np.testing.assert_array_equal(block, around[1:])
    assert not np.isin(block, drawn(engine, body, 5, 4, (4, 3), dtype, first)).any()


def test_hash_is_that_of_splitmix64():
    """The first outputs of SplitMix64 from seed 0, as published with its reference code."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        states = np.arange(1, 4, dtype=np.uint64) * golden
        mixed = vecmath.mix(states)
    assert [hex(x) for x in mixed.tolist()] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]


@pytest.mark.parametrize("vary", ["place", "step", "key"])
def test_uniform_numbers_are_uniform(vary):
    """χ² on 256 cells, and on pairs of neighbours in 16 x 16, whichever counter runs."""
    n = 50_000
    if vary == "place":
        u = drawn("numpy", _uniform, 3, 5, (n, 1))[:, 0]
    else:
        u = np.concatenate(
            [
                drawn("numpy", _uniform, *((3, i) if vary == "step" else (i, 3)), (1, 10))[0]
                for i in range(n // 10)
            ]
        ).reshape(-1, 10)
        u = u.T.ravel()  # neighbours differ in the counter alone
    assert u.min() >= 0
    assert u.max() < 1
    singles = np.bincount((u * 256).astype(int), minlength=256)
    pairs = np.bincount(
        (u[:-1:2] * 16).astype(int) * 16 + (u[1::2] * 16).astype(int), minlength=256
    )
    for counts in (singles, pairs):
        p = stats.chisquare(counts).pvalue
        assert 1e-4 < p < 1 - 1e-4
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 4 / np.sqrt(n)


def test_normal_numbers_are_normal():
    e = drawn("numpy", _normal, 11, 4, (40_000, 1))[:, 0]
    n = len(e)
    assert abs(e.mean()) < 4 / np.sqrt(n)
    assert abs(e.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs((e**3).mean()) < 4 * np.sqrt(15 / n)
    assert abs((e**4).mean() - 3) < 4 * np.sqrt(96 / n)
    assert stats.kstest(e, "norm").pvalue > 1e-4


@pytest.mark.compiled
@pytest.mark.parametrize("body", [_uniform, _normal])
@given(key=st.integers(0, 2**53 - 1), t=st.integers(0, 2**40))
def test_engines_draw_the_same(body, key, t):
    for dtype, bound in (("float64", 1e-12), ("float32", 1e-6)):
        ours, theirs = (drawn(e, body, key, t, (4, 9), dtype) for e in ("numba", "numpy"))
        if body is _uniform:
            np.testing.assert_array_equal(ours, theirs)
        else:
            np.testing.assert_allclose(ours, theirs, rtol=bound, atol=bound)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.8])
def test_dropout_keeps_its_share_and_the_mean(rate, engine, dtype):
    layer, n = dropout(rate, key=17), 40_000
    W, b = np.empty((0, 0), dtype), np.empty(0, dtype)
    a = np.ones((n // 40, 40), dtype)
    s = with_step(layer, 40, 3)
    z = run(engine, "forward", layer.forward, W, b, s, a, a * np.nan)[4]
    kept = z > 0
    np.testing.assert_allclose(z[kept], 1 / (1 - rate), rtol=1e-6)
    assert abs(kept.mean() - (1 - rate)) <= 4 * np.sqrt(rate * (1 - rate) / n)
    # No unit and no row is favoured.
    for axis in (0, 1):
        share = kept.mean(axis)
        spread = np.sqrt(rate * (1 - rate) / kept.shape[axis])
        assert np.abs(share - (1 - rate)).max() <= 5 * spread
    # Backwards the same units, by the same factor.
    below = run(engine, "pullback", layer.pullback, W, b, s, a, a, a * np.nan)[5]
    assert below.tobytes() == z.tobytes()


@pytest.mark.compiled
def test_dropout_drops_the_same_units_in_both_engines(dtype):
    layer = dropout(0.3, key=5)
    W, b, a = np.empty((0, 0), dtype), np.empty(0, dtype), np.ones((50, 9), dtype)
    s = with_step(layer, 9, 12)
    for role, rest in (("forward", (a, a)), ("pullback", (a, a, a))):
        ours, theirs = (
            run(e, role, getattr(layer, role), W, b, s, *rest)[-1] > 0 for e in ("numba", "numpy")
        )
        np.testing.assert_array_equal(ours, theirs)


def test_each_step_and_each_key_drops_others():
    masks = []
    a = np.ones((30, 30))
    for key, t in ((0, 1), (0, 2), (1, 1)):
        layer = dropout(0.5, key)
        s = with_step(layer, 30, t)
        z = run("numpy", "forward", layer.forward, np.empty((0, 0)), np.empty(0), s, a, a)[4]
        masks.append(z > 0)
    for i in range(3):
        for j in range(i):
            same = (masks[i] == masks[j]).mean()
            assert abs(same - 0.5) < 4 * 0.5 / 30


def test_noise_has_its_deviation_and_leaves_predictions_alone(engine, dtype):
    layer = noise(0.25, key=3)
    W, b = np.empty((0, 0), dtype), np.empty(0, dtype)
    a = np.random.default_rng(0).normal(size=(500, 40)).astype(dtype)
    z = run(engine, "forward", layer.forward, W, b, with_step(layer, 40, 2), a, a * np.nan)[4]
    e = (z - a).astype(np.float64)
    n = e.size
    assert abs(e.mean()) < 4 * 0.25 / np.sqrt(n)
    assert abs(e.std() / 0.25 - 1) < 4 / np.sqrt(2 * n)
    assert abs(np.corrcoef(e.ravel(), a.ravel())[0, 1]) < 4 / np.sqrt(n)
    still = run(engine, "forward", layer.forward, W, b, with_step(layer, 40, 0), a, a * np.nan)[4]
    assert still.tobytes() == a.tobytes()


# --- values ----------------------------------------------------------------------------------


def test_layer_norm_by_definition(engine, dtype):
    rng = np.random.default_rng(1)
    W, b, s, a, _ = components_of(layer_norm(0.1), rng, dtype, m=6, n_in=5)
    z = run(engine, "forward", layer_norm().forward, W, b, s, a, np.empty_like(a))[4]
    for row, got in zip(a.astype(np.float64), z, strict=True):
        expected = W[0] * (row - row.mean()) / np.sqrt(row.var() + 0.1) + b
        assert close(got, expected, dtype)


def test_batch_norm_by_definition(engine, dtype):
    rng = np.random.default_rng(1)
    layer = batch_norm(0.1, momentum=0.75)
    W, b, s, a, _ = components_of(layer, rng, dtype, m=6, n_in=5, t=1)
    after = run(engine, "forward", layer.forward, W, b, s, a, np.empty_like(a))
    x = a.astype(np.float64)
    expected = W * (x - x.mean(0)) / np.sqrt(x.var(0) + 0.1) + b
    assert close(after[4], expected, dtype)
    assert close(after[2][3:8], 0.75 * s[3:8] + 0.25 * x.mean(0), dtype)
    assert close(after[2][8:], 0.75 * s[8:] + 0.25 * x.var(0), dtype)
    s[0] = 0
    still = run(engine, "forward", layer.forward, W, b, s, a, np.empty_like(a))[4]
    assert close(still, W * (x - s[3:8]) / np.sqrt(s[8:] + 0.1) + b, dtype)


@each_layer
@given(twice=st.integers(0, 4), seed=seeds)
def test_a_row_of_weight_two_is_that_row_twice(layer, twice, seed):
    """Forward, pullback and gradient, in a batch of five rows and in one of six."""
    W, b, s, a, delta = components_of(layer, np.random.default_rng(seed), "float64", t=1)
    if layer.name in ("dropout", "noise"):
        s[0] = 0  # each row has draws of its own
    weight = np.ones((5, 1))
    weight[twice] = 2
    rows = [*range(5), twice]
    # delta carries the weight: a row of weight 2 passes on what its two copies do together.
    one = {"share": weight / 6}, a, delta * weight
    two = {"share": None}, a[rows], delta[rows]
    results = []
    for shares, x, d in (one, two):
        z = run("numpy", "forward", layer.forward, W, b, s, x, d, **shares)
        below = run("numpy", "pullback", layer.pullback, W, b, s, x, d, x, **shares)[5]
        nablas = run("numpy", "gradient", layer.gradient, W, b, s, x, d, W * 0, b * 0, **shares)
        results.append((z[4], z[2], below, *nablas[-2:]))
    (z, own, below, *nablas), (z_two, own_two, below_two, *nablas_two) = results
    below_two[twice] += below_two[5]
    for left, right in zip(
        (z, own, below, *nablas), (z_two[:5], own_two, below_two[:5], *nablas_two), strict=True
    ):
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-11)


@given(
    m=st.integers(1, 30),
    cuts=st.sets(st.integers(1, 29), max_size=6),
    weightless=st.integers(0, 30),
    far=st.sampled_from([0, 1e6]),
    seed=seeds,
)
def test_statistics_do_not_depend_on_how_rows_are_cut(m, cuts, weightless, far, seed, dtype):
    """Nor on rows of no weight, which may be a block's all; of columns far from 0, too."""
    rng = np.random.default_rng(seed)
    layer, n = batch_norm(1e-3, 0.75), 3
    weight = rng.uniform(0.1, 2, (m, 1)) * (np.arange(m)[:, np.newaxis] >= weightless)
    share = (weight / (weight.sum() or 1)).astype(dtype)
    a, delta = like(rng, (m, n), dtype) + np.dtype(dtype).type(far), like(rng, (m, n), dtype)
    s = np.array(layer.numbers(n))
    s[0] = 1
    cuts = sorted(k for k in cuts if k < m)
    s = told("numpy", layer.statistics, s, share, a, delta, cuts=cuts)
    p, x, d = (array.astype(np.float64) for array in (share, a, delta))
    mean = (p * x).sum(axis=0) / (p.sum() or 1)
    variance = (p * (x - mean) ** 2).sum(axis=0) / (p.sum() or 1)
    eps = 20 * np.finfo(dtype).eps
    mu, v, total, dots = s[4 + 2 * n : 4 + 6 * n].reshape(4, n)
    np.testing.assert_allclose(mu, mean, rtol=eps, atol=eps)
    np.testing.assert_allclose(v, variance, rtol=50 * eps, atol=10 * eps * (1 + far))
    np.testing.assert_allclose(total, d.sum(axis=0), rtol=0, atol=eps * m)
    bound = eps * np.abs(d).sum(axis=0) * (1 + np.abs(x - mean).max() + far)
    assert (np.abs(dots - ((x - mu) * d).sum(axis=0)) <= bound).all()
    np.testing.assert_allclose(s[3 : 3 + n], 0.25 * mu, rtol=1e-12)
    np.testing.assert_allclose(s[3 + n : 3 + 2 * n], 0.75 + 0.25 * v, rtol=1e-12)


def test_batch_norm_of_one_row_is_its_shift(engine, dtype):
    W, b, s, a, _ = components_of(batch_norm(), np.random.default_rng(1), dtype, m=1, t=1)
    after = run(engine, "forward", batch_norm().forward, W, b, s, a, np.empty_like(a))
    np.testing.assert_array_equal(after[4][0], b)
    assert np.isfinite(after[2]).all()


def test_standardize_by_definition(engine, dtype):
    W, b, s, a, _ = components_of(STANDARDIZE, np.random.default_rng(1), dtype)
    z = run(engine, "forward", STANDARDIZE.forward, W, b, s, a, np.empty_like(a))[4]
    assert close(z, (a - np.array([1.0, -2, 0.5, 3])) / [2.0, 0.25, 1, 7], dtype)


# --- in a network ----------------------------------------------------------------------------

STACK = [AFFINE, batch_norm(), dropout(0.25, 1), AFFINE, layer_norm(), noise(0.1, 2), AFFINE]
SIZES = (3, 6, 6, 6, 5, 5, 5, 2)
SIGMA = ["identity", "tanh", "identity", "identity", "tanh", "identity"]


def stack(dtype="float64", seed=1):
    return Network(SIZES, activation=SIGMA, layers=STACK, dtype=dtype, seed=seed)


def test_normalisation_starts_as_itself():
    """A scale of 1 and a shift of 0, whatever the initialiser; and neither is a weight."""
    network = stack()
    for l in (2, 5):
        assert network.W[l].shape == (1, SIZES[l])
        assert (network.W[l] == 1).all()
        assert (network.b[l] == 0).all()
    assert network.weight_layers().tolist() == [1, 4, 7]
    assert network.W[3].size == network.b[3].size == 0


def test_predicting_draws_nothing_and_changes_nothing():
    network = stack()
    X, Y = np.random.default_rng(0).normal(size=(9, 3)), np.ones((9, 2))
    first, own = network.predict(X), network.constants.copy()
    network.gradient(X, Y), network.forward(X), network.cost(X, Y)
    assert network.predict(X).tobytes() == first.tobytes()
    assert network.constants.tobytes() == own.tobytes()
    one_by_one = np.concatenate([network.predict(X[i : i + 1]) for i in range(9)])
    np.testing.assert_allclose(one_by_one, first, rtol=1e-13, atol=1e-15)


@pytest.mark.compiled
def test_both_engines_train_the_same(dtype):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(41, 3)), rng.normal(size=(41, 2))
    networks = []
    for engine in ("numba", "numpy"):
        network = stack(dtype)
        train(network, X, Y, epochs=4, learning_rate=0.05, seed=0, engine=engine)
        networks.append(network)
    ours, theirs = networks
    assert np.abs(theirs.theta - stack(dtype).theta).max() > 0.01
    tolerance = 1e-11 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(ours.theta, theirs.theta, rtol=0, atol=tolerance)
    np.testing.assert_allclose(ours.constants, theirs.constants, rtol=0, atol=tolerance)
    assert (ours.constants[ours.steps_at] == 0).all()


def test_running_moments_become_the_data_s(engine):
    """Of inputs that a network normalises first, after many batches of all rows."""
    rng = np.random.default_rng(0)
    X = rng.normal([5, -3], [2, 0.5], (60, 2))
    network = Network((2, 2, 1), activation="identity", layers=[batch_norm(), AFFINE], seed=0)
    train(network, X, X[:, :1], epochs=200, batch_size=None, learning_rate=1e-6, engine=engine)
    np.testing.assert_allclose(network.constants[3:5], X.mean(axis=0), rtol=1e-8)
    np.testing.assert_allclose(network.constants[5:7], X.var(axis=0), rtol=1e-8)
    x = (network.forward(X).z[1] - network.b[1]) / network.W[1]
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-8)
    np.testing.assert_allclose(x.var(axis=0), 1, rtol=1e-4)


def test_steps_are_counted_across_epochs(engine):
    """Three epochs of two batches: dropout sees steps 1 to 6, each with a mask of its own."""
    layer = dropout(0.5, key=9)
    network = Network((8, 8, 1), activation="identity", layers=[layer, AFFINE], init="zeros")
    network.W[2][:] = 1
    X, Y = np.ones((4, 8)), np.zeros((4, 1))
    tiny = 1e-12
    history = train(
        network, X, Y, epochs=3, batch_size=2, learning_rate=tiny, shuffle=False, engine=engine
    )
    for epoch in range(3):
        costs = []
        for t in (2 * epoch + 1, 2 * epoch + 2):
            kept = np.array(splitmix(9, t, 16)).reshape(2, 8) >= 0.5
            costs += [0.5 * (2 * row.sum()) ** 2 for row in kept]
        assert history.epochs[epoch].cost == pytest.approx(np.mean(costs), rel=1e-8)


def test_copy_takes_the_running_moments_along():
    network = stack()
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 3))
    train(network, X, rng.normal(size=(20, 2)), epochs=2, seed=0, engine="numpy")
    twin = network.copy()
    assert twin.predict(X).tobytes() == network.predict(X).tobytes()
    twin.constants[:] = 0
    assert network.constants.any()
