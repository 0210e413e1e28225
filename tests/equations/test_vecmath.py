"""The compiled bodies of `vecmath`, in units in the last place (ulp), against exact values.

The exact values are mpmath's, kept as a float and the rest that the float leaves out, so that
the error is known to a small part of an ulp.
"""

from __future__ import annotations

import functools

import mpmath
import numpy as np
import pytest
from scipy import special

from chainrule.equations import vecmath

# Bounds for the compiled bodies, a little above the largest errors that were measured on 2.5
# million points. erf is the C library's; NumPy's functions, which differ by machine, get 4.
ULPS = {
    "exp": {"float64": 1.0, "float32": 1.1},
    "expm1": {"float64": 1.9, "float32": 1.9},
    "tanh": {"float64": 2.6, "float32": 2.4},
    "logistic": {"float64": 2.4, "float32": 2.4},
    "softplus": {"float64": 2.7, "float32": 2.7},
    "erf": {"float64": 2.0, "float32": 2.0},
}
EXACT = {
    "exp": mpmath.exp,
    "expm1": mpmath.expm1,
    "tanh": mpmath.tanh,
    "logistic": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "erf": mpmath.erf,
}
NUMPY = {
    "exp": np.exp,
    "expm1": np.expm1,
    "tanh": np.tanh,
    "logistic": lambda x: np.exp(-np.logaddexp(0, -x)),  # expit loses what is subnormal
    "softplus": lambda x: np.logaddexp(0, x),
    "erf": special.erf,
}
each_function = pytest.mark.parametrize("name", ULPS)


def _exp(x, out):
    vecmath.exp(x, out)


def _expm1(x, out):
    vecmath.expm1(x, out)


def _tanh(x, out):
    vecmath.tanh(x, out)


def _logistic(x, out):
    vecmath.logistic(x, out)


def _softplus(x, out):
    vecmath.softplus(x, out)


def _erf(x, out):
    vecmath.erf(x, out)


def _row_max(x, out):
    out[:] = vecmath.row_max(x)


def _row_sum(x, out):
    out[:] = vecmath.row_sum(x)


def _column_sum(x, out):
    vecmath.column_sum(x, out[0])


def _take_rows(x, rows, out):
    vecmath.take_rows(x, rows, out)


BODIES = {name[1:]: fn for name, fn in globals().items() if name[:1] == "_" and callable(fn)}


def evaluate(engine, name, x, *rest, shape=None):
    """The function's result, in either engine; x is left as it was."""
    given = x.copy()
    out = np.full(x.shape if shape is None else shape, 7, x.dtype)
    if engine == "numpy":
        with np.errstate(all="ignore"):
            BODIES[name](given, *rest, out)
    else:
        from chainrule.engine.compilation import compiled

        compiled(BODIES[name], "MAM" if rest else "MM", x.dtype)(given, *rest, out)
    assert given.tobytes() == x.tobytes()
    return out


@functools.cache
def points(name, dtype):
    """Where to measure: all magnitudes, both signs, dense where the formulas change over."""
    rng = np.random.default_rng(1)
    top = 745 if dtype == np.float64 else 104
    tiny = np.finfo(dtype).tiny
    x = np.concatenate(
        [
            rng.uniform(-top, top, 400),
            rng.uniform(-40, 40, 400),
            rng.uniform(-2, 2, 600),
            10.0 ** rng.uniform(-20, 0, 200) * rng.choice([-1, 1], 200),
            [tiny, -tiny, tiny / 2, -tiny / 4, 1e-30, -1e-30],
            np.arange(-30, 31) * np.log(2) / 2,
            [s * h for h in (0.25, 0.5, 0.75, 1, 2, 4, 16, 40) for s in (1, -1)],
        ]
    ).astype(dtype)
    return x[:, np.newaxis]


@functools.cache
def exact(name, dtype):
    """Exact values at the points, as (float, rest), both float64."""
    hi, lo = [], []
    with mpmath.workprec(160):
        for x in points(name, dtype)[:, 0]:
            value = EXACT[name](mpmath.mpf(float(x)))
            hi.append(float(value))
            lo.append(float(value - hi[-1]))
    return np.array(hi)[:, np.newaxis], np.array(lo)[:, np.newaxis]


def ulps(got, hi, lo, dtype):
    """Errors in units in the last place of the exact value, where the dtype can hold it."""
    with np.errstate(over="ignore"):
        nearest = hi.astype(dtype)
    assert (np.isinf(got) == np.isinf(nearest)).all()
    fits = np.isfinite(nearest)
    got, hi, lo = got[fits].astype(np.float64), hi[fits], lo[fits]
    return np.abs((got - hi) - lo) / np.spacing(np.abs(nearest[fits])).astype(np.float64)


@each_function
def test_error_in_units_in_the_last_place(name, engine, dtype):
    x = points(name, dtype)
    got = evaluate(engine, name, x)
    hi, lo = exact(name, dtype)
    error = ulps(got, hi, lo, dtype)
    assert error.max() <= (ULPS[name][dtype.name] if engine == "numba" else 4)


@each_function
def test_at_the_edges(name, engine, dtype):
    """Infinities, zeros, NaN, overflow and underflow give what NumPy and SciPy give."""
    info = np.finfo(dtype)
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e4, -1e4, 1e30, -1e30]
    edges += [info.max, -info.max, info.tiny, -info.tiny]
    edges += [info.smallest_subnormal, -info.smallest_subnormal]
    edges += [88.8, 89.5, 104.5, -104.5, 709.7, 710.5, 746.5, -746.5, -87.5, -100, -708.5, -740]
    x = np.array([edges], dtype)
    with np.errstate(all="ignore"):
        expected = NUMPY[name](x)
    got = evaluate(engine, name, x)
    assert (np.isnan(got) == np.isnan(x)).all()
    np.testing.assert_allclose(
        got, expected, rtol=4 * info.eps, atol=2 * float(info.smallest_subnormal)
    )
    assert np.isinf(got).tolist() == np.isinf(expected).tolist()


@each_function
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (1, 17), (9, 1), (7, 5)])
def test_every_shape(name, engine, dtype, shape):
    x = np.random.default_rng(2).normal(size=shape).astype(dtype)
    got = evaluate(engine, name, x)
    np.testing.assert_allclose(got, NUMPY[name](x), rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (1, 17), (9, 1), (7, 5), (200, 10), (64, 33)])
def test_sums_and_maxima(engine, dtype, shape):
    x = np.random.default_rng(3).normal(size=shape).astype(dtype)
    eps = np.finfo(dtype).eps
    np.testing.assert_array_equal(
        evaluate(engine, "row_max", x, shape=(shape[0], 1)), x.max(axis=1, keepdims=True)
    )
    for name, axis, out in (("row_sum", 1, (shape[0], 1)), ("column_sum", 0, (1, shape[1]))):
        np.testing.assert_allclose(
            evaluate(engine, name, x, shape=out),
            x.astype(np.float64).sum(axis=axis, keepdims=True),
            rtol=0,
            atol=eps * float(np.abs(x).sum()),
        )


def test_a_nan_wins_every_row_maximum(engine, dtype):
    x = np.array([[1, np.nan, 2], [-np.nan, 1, 2], [1, 2, -np.nan], [-np.inf, -1, 0]], dtype)
    for m in (4, 200):  # NumPy takes another way where rows are many
        got = evaluate(engine, "row_max", np.resize(x, (m, 3)), shape=(m, 1))[:, 0]
        assert (np.isnan(got) == (np.arange(m) % 4 < 3)).all()
        assert (got[3::4] == 0).all()


def test_take_rows(engine, dtype):
    x = np.arange(12, dtype=dtype).reshape(4, 3)
    rows = np.array([3, 0, 3])
    np.testing.assert_array_equal(evaluate(engine, "take_rows", x, rows, shape=(3, 3)), x[rows])
    none = np.empty(0, np.int64)
    assert evaluate(engine, "take_rows", x, none, shape=(0, 3)).shape == (0, 3)


def run(engine, body, letters, *arguments):
    if engine == "numba":
        from chainrule.engine.compilation import compiled

        body = compiled(body, letters, arguments[-1].dtype)
    body(*arguments)


def _add(x, out):
    vecmath.add(x[0], out[0])


def _scale_rows(x, out):
    vecmath.scale_rows(x, 0.5, out)


def _add_dot(x, y, out):
    vecmath.add_dot(-0.5, x, y, out)


def _add_dot_across(x, y, out):
    vecmath.add_dot(-0.5, x.T, y, out)


def _shift_rows(x, y, out):
    vecmath.shift_rows(x, y, out)


@pytest.mark.parametrize("across", [False, True])
def test_add_dot(engine, dtype, across):
    rng = np.random.default_rng(0)
    x, y, start = (rng.normal(size=s).astype(dtype) for s in ((7, 4), (4, 5), (7, 5)))
    out = start.copy()
    given = x.T.copy() if across else x
    run(engine, _add_dot_across if across else _add_dot, "MMM", given, y, out)
    expected = start - np.float64(0.5) * (x.astype(np.float64) @ y)
    np.testing.assert_allclose(out, expected, rtol=10 * np.finfo(dtype).eps, atol=1e-6)


def test_shift_rows(engine, dtype):
    x = np.random.default_rng(0).normal(size=(7, 5)).astype(dtype)
    out = np.empty_like(x)
    run(engine, _shift_rows, "MMM", x, x[:, :1].copy(), out)
    np.testing.assert_array_equal(out, x - x[:, :1])


def _divide_rows(x, out):
    vecmath.divide_rows(x, out)


def _row_dots(x, y, out):
    vecmath.row_dots(-2.0, x, y, out[0])


def test_divide_rows_and_row_dots(engine, dtype):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 5)).astype(dtype), rng.normal(size=(7, 5)).astype(dtype)
    out = x.copy()
    run(engine, _divide_rows, "MM", y[:, :1].copy(), out)
    np.testing.assert_array_equal(out, x / y[:, :1])
    dots = np.zeros((1, 7), dtype)
    run(engine, _row_dots, "MMM", x, y, dots)
    expected = -2 * (x.astype(np.float64) * y).sum(axis=1)
    np.testing.assert_allclose(dots[0], expected, rtol=1e-5 if dtype == "float32" else 1e-13)


def _shares(weight, rows, out):
    out[0, 0] = vecmath.shares(weight, rows, out[1:])


def _weighted_sum(x, weight, rows, out):
    out[0, 0] = vecmath.weighted_sum(x, weight, rows)


@pytest.mark.parametrize("shape", [(1, 1), (1, 17), (7, 5)])
def test_in_place(engine, dtype, shape):
    rng = np.random.default_rng(0)
    x, start = rng.normal(size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)
    out = start.copy()
    run(engine, _add, "MM", x, out)
    np.testing.assert_array_equal(out[0], start[0] + x[0])
    np.testing.assert_array_equal(out[1:], start[1:])
    out = start.copy()
    run(engine, _scale_rows, "MM", x[:, :1].copy(), out)
    np.testing.assert_array_equal(out, start * (x[:, :1] / 2))


@pytest.mark.parametrize("weight", [[1, 0, 2.5], [0, 0, 0]])
def test_shares(engine, dtype, weight):
    out, rows = np.zeros((5, 1), dtype), np.array([2, 1, 2, 0])
    run(engine, _shares, "VAM", np.array(weight, dtype), rows, out)
    total = sum(weight[i] for i in rows) or 1
    assert out[0, 0] == total
    expected = [weight[i] / total for i in rows]
    np.testing.assert_allclose(out[1:, 0], expected, rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("weight", [[1, 0, 2.5], []])
def test_weighted_sum(engine, dtype, weight):
    """In double precision: in single, 2²⁴ + 1 is 2²⁴."""
    x, rows = np.array([2.0**24, 1, 1, 1], dtype), np.array([2, 1, 2, 0])
    out = np.zeros((1, 1), dtype)
    run(engine, _weighted_sum, "VVAM", x, np.array(weight, dtype), rows, out)
    w = [weight[i] for i in rows] if weight else [1] * 4
    assert out[0, 0] == np.dtype(dtype).type(sum(a * float(b) for a, b in zip(w, x, strict=True)))


def test_views_are_views():
    flat = np.arange(10.0)
    table = np.array([[0, 0, 0], [0, 2, 3], [6, 1, 4]])
    M, v = vecmath.matrices(flat, table), vecmath.vectors(flat, table)
    assert [m.shape for m in M] == [(0, 0), (2, 3), (1, 4)]
    M[1][1, 2] = -1
    v[2][0] = -2
    assert (flat[5], flat[6]) == (-1, -2)


def _gate(x, out):
    vecmath.gate(x, out)


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (7, 5), (3, 100)])
def test_gate(engine, dtype, shape):
    """Zeros, NaNs and the infinite included: 0 times NaN or an infinity is NaN."""
    rng = np.random.default_rng(0)
    x, out = (rng.normal(size=shape).astype(dtype) for _ in range(2))
    for array in (x, out):
        array.flat[::3] = rng.choice([0.0, -0.0, np.nan, np.inf, -np.inf], array.flat[::3].size)
    with np.errstate(invalid="ignore"):
        expected = np.where(x > 0, out, out * 0)
        run(engine, _gate, "MM", x, out)
    np.testing.assert_array_equal(out, expected)
