"""Matrix products of compiled code: BLAS's and ours for few terms, on matrices as they lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.equations import vecmath

pytestmark = pytest.mark.compiled


def _dot(x, y, out):
    vecmath.dot(x, y, out)


def _turned_dot(x, y, out):
    vecmath.dot(x.T, y, out)


def _dot_of_turned(x, y, out):
    vecmath.dot(x, y.T, out)


def _add_dot(x, y, out):
    vecmath.add_dot(-0.5, x, y, out)


def _turned_add_dot(x, y, out):
    vecmath.add_dot(-0.5, x.T, y, out)


BODIES = [_dot, _turned_dot, _dot_of_turned, _add_dot, _turned_add_dot]


def product(body, dtype, rows, terms, columns, gap):
    """What comes out, and what should, within how much; old numbers where nothing is kept: NaN."""
    from chainrule.engine.compilation import compiled

    rng = np.random.default_rng(rows + 31 * terms + 997 * columns)
    keeps = "add" in body.__name__
    shape = (terms, rows) if body.__name__.startswith("_turned") else (rows, terms)
    other = (columns, terms) if body is _dot_of_turned else (terms, columns)
    # x may be some columns of a wider matrix; `out` has something behind it, to be left alone.
    x = rng.normal(size=(shape[0], shape[1] + gap)).astype(dtype)[:, : shape[1]]
    y = rng.normal(size=other).astype(dtype)
    room = rng.normal(size=rows * columns + 40).astype(dtype)
    out, behind = room[: rows * columns].reshape(rows, columns), room[rows * columns :].copy()
    left = x.T if body.__name__.startswith("_turned") else x
    right = y.T if body is _dot_of_turned else y
    exact = np.float64(left) @ np.float64(right)
    size = np.abs(np.float64(left)) @ np.abs(np.float64(right))
    if keeps:
        exact, size = np.float64(out) - 0.5 * exact, np.abs(out) + size
    else:
        out[:] = np.nan
    compiled(body, "SMM", dtype)(x, y, out)
    assert room[rows * columns :].tobytes() == behind.tobytes()
    return out, exact, (terms + 2) * np.finfo(dtype).eps * size + np.finfo(dtype).tiny


@pytest.mark.parametrize("body", BODIES, ids=lambda fn: fn.__name__[1:])
@given(
    rows=st.integers(1, 20),
    terms=st.sampled_from([1, 2, 3, 7, 8, 15, 16, 17, 40]),
    columns=st.integers(1, 40),
    gap=st.integers(0, 3),
    double=st.booleans(),
)
def test_products(body, rows, terms, columns, gap, double):
    dtype = np.dtype("float64" if double else "float32")
    out, exact, bound = product(body, dtype, rows, terms, columns, gap)
    assert (np.abs(out - exact) <= bound).all()


@pytest.mark.parametrize("body", [_dot, _add_dot], ids=lambda fn: fn.__name__[1:])
@pytest.mark.parametrize("terms", [3, 40])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_shows(body, terms, bad, dtype):
    """In its row and its column, and nowhere else."""
    from chainrule.engine.compilation import compiled

    x, y, out = np.ones((9, terms), dtype), np.ones((terms, 19), dtype), np.ones((9, 19), dtype)
    x[2, 1] = y[2, 17] = bad
    compiled(body, "SMM", dtype)(x, y, out)
    expected = np.ones((9, 19), bool)
    expected[2], expected[:, 17] = False, False
    np.testing.assert_array_equal(np.isfinite(out), expected)
