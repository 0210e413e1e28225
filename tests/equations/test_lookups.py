"""A first layer over columns that are never formed is the one over columns that are."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.ensembles import table
from hypothesis import given
from hypothesis import strategies as st

from chainrule.ensembles.inputs import encoded, unit_columns, written_out
from chainrule.equations import columns, lookups, vecmath


def first_layer(W, s, b, x, rows, out, z):
    """z of some rows; `out` is room for E."""
    shifted, dense = np.empty_like(b), np.empty((len(rows), x.dense.shape[1]), W.dtype)
    columns.look_up_table(W, s, b, x, out, shifted)
    columns.first_layer(x, rows, out, shifted, dense, z)


@given(
    dense=st.integers(0, 3),
    bins=st.lists(st.integers(1, 6), max_size=3),
    levels=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    h=st.integers(1, 70),
)
@pytest.mark.once
def test_look_ups_give_what_written_columns_do(dense, bins, levels, h):
    inputs, layout, *_ = table(20, dense, tuple(bins), tuple(levels))
    x, X = encoded(inputs, layout, np.float64), written_out(inputs, layout, np.float64)
    rng, D = np.random.default_rng(0), layout.columns
    W, s, b = rng.normal(size=(D, h)), rng.normal(size=D), rng.normal(size=h)
    rows = rng.integers(0, 20, 9)
    E, z = np.empty((layout.table_rows, h)), np.empty((9, h))
    first_layer(W, s, b, x, rows, E, z)
    np.testing.assert_allclose(z, (X[rows] * s) @ W + b, rtol=1e-9, atol=1e-9)
    # And back: with δ given, C = Σ δ z is linear in W, s and b.
    delta = rng.normal(size=z.shape)
    nabla_W, nabla_b, nabla_s = np.ones_like(W), np.ones_like(b), np.empty_like(s)
    columns.first_layer_gradient(
        W, s, x, rows, np.ascontiguousarray(x.dense[rows]), delta, np.empty_like(E),
        np.empty(h), nabla_W, nabla_b, nabla_s,
    )  # fmt: skip
    np.testing.assert_allclose(nabla_W - 1, s[:, np.newaxis] * (X[rows].T @ delta), atol=1e-9)
    np.testing.assert_allclose(nabla_b - 1, delta.sum(axis=0), atol=1e-9)
    np.testing.assert_allclose(nabla_s, ((X[rows].T @ delta) * W).sum(axis=1), atol=1e-9)


@pytest.mark.once
def test_columns_by_hand():
    inputs, layout, *_ = table(3, 0, (3,), (2,))
    inputs = inputs.take(slice(1))
    inputs.bins[:], inputs.fractions[:], inputs.levels[:] = 1, 0.25, 1
    assert unit_columns(inputs, layout).tolist() == [[1, 0.25, 0, 0, 1]]
    inputs.levels[:] = -1
    assert unit_columns(inputs, layout).tolist() == [[1, 0.25, 0, 0, 0]]


def _table_of_rows(W, s, b, x, out):
    lookups.table_of_rows(W, s, b, x.nodes, x.scale, x.mean, out, b)


def _table_of_rows_pullback(W, s, b, x, out):
    nabla_W, nabla_s = W.copy(), s.copy()
    lookups.table_of_rows_pullback(W, s, x.nodes, x.scale, x.mean, out, b, nabla_W, nabla_s)
    W[:], s[:] = nabla_W, nabla_s


def _look_up_rows(W, s, b, x, out):
    rows = np.arange(1, 8)
    z = W[: len(rows)].copy()
    lookups.look_up_rows(
        x.bins, x.fractions, x.levels, rows, x.nodes, x.first_levels, out.copy(), z
    )
    out[: len(rows)] = z


def _collect_rows(W, s, b, x, out):
    rows = np.arange(1, 8)
    delta = W[: len(rows)].copy()
    lookups.collect_rows(x.bins, x.fractions, x.levels, rows, x.nodes, x.first_levels, delta, out)


BODIES = [_table_of_rows, _table_of_rows_pullback, _look_up_rows, _collect_rows]


@pytest.mark.compiled
@pytest.mark.parametrize("body", BODIES, ids=lambda fn: fn.__name__[1:])
def test_compiled_look_ups_agree(body, dtype):
    """For rows of less than a vector of the processor, of several, of more than a tile."""
    from numba import njit

    from chainrule.engine import compilation

    compilation._register_helpers(body)
    compiled = njit(**compilation.OPTIONS)(body)
    inputs, layout, *_ = table(20, 2, (3, 5), (4, 1))
    x, rng = encoded(inputs, layout, dtype), np.random.default_rng(0)
    for h in (1, 5, 16, 40, 64, 100):
        arguments = [
            rng.normal(size=shape).astype(dtype)
            for shape in ((layout.columns, h), layout.columns, h, (layout.table_rows, h))
        ]
        expected = [array.copy() for array in arguments]
        body(*expected[:3], x, expected[3])
        compiled(*arguments[:3], x, arguments[3])
        for found, want in zip(arguments, expected, strict=True):
            np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)


@pytest.mark.once
def test_bits_drop_the_share_that_is_asked_for_and_are_their_place_s_alone():
    bits = np.zeros(10_000, np.uint64)
    vecmath.random_bits(3, 5, 7, bits)
    x = np.ones((200, 200), np.float32)
    vecmath.drop_by_bits(bits, 0.25, x)
    assert set(np.unique(x)) == {np.float32(0), np.float32(4 / 3)}
    assert abs((x == 0).mean() - 0.25) < 0.01
    some = np.zeros(100, np.uint64)
    vecmath.random_bits(3, 5, 7, some)
    assert (some == bits[:100]).all()
    vecmath.random_bits(3, 6, 7, some)
    assert (some != bits[:100]).all()


def _small(x, y, p, rows, out):
    bits = np.zeros(x.size // 4 + 1, np.uint64)
    vecmath.random_bits(11, 2, 3, bits)
    vecmath.drop_by_bits(bits, 0.3, x)
    vecmath.multiply(x, out)
    vecmath.gate_silu(y, x, out)
    vecmath.add_clipped(x[: len(rows)], p[0], p[1], 0.5, rows, out)
    vecmath.adam_step(y[0], (0.1, 0.05), 0.01, 1.5, 1e-8, 0.9, 0.2, x[0], p[0] * p[0], x[1], y[1])


@pytest.mark.compiled
def test_small_bodies_agree(dtype):
    from numba import njit

    from chainrule.engine import compilation

    compilation._register_helpers(_small)
    compiled = njit(**compilation.OPTIONS)(_small)
    rng = np.random.default_rng(0)
    given = [rng.normal(size=(7, 13)).astype(dtype) for _ in range(3)]
    rows, out = np.array([3, 0, 6]), rng.normal(size=(7, 13)).astype(dtype)
    given[2].sort(axis=0)
    expected = [*(array.copy() for array in given), rows, out.copy()]
    _small(*expected)
    compiled(*given, rows, out)
    for found, want in zip([*given, rows, out], expected, strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)
