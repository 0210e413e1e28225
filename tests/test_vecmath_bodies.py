"""Functions of `vecmath` over rows and columns: what is compiled and plain NumPy agree."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import vecmath

pytestmark = pytest.mark.compiled


def _column_moments(x, p, c, out):
    out[1, 0] = vecmath.column_moments(x[:, 1:], p * p, out[0], out[2])


def _pool_moments(x, p, c, out):
    n = x.shape[1] // 2 - 1
    vecmath.pool_moments(x * x, out[0, :n], out[1, :n])


def _column_dots(x, y, c, out):
    vecmath.column_dots(x[:, 1:], c[0], y, out[0], out[1])


def _shift_and_scale(x, p, c, out):
    vecmath.shift_and_scale(x[:, 1:], c[0], c[1], c[2], out)


def _detrend_columns(x, y, p, c, out):
    vecmath.detrend_columns(x[:, 1:], c[0], y, p, c[1], c[2], c[3], out)


def _row_moments(x, p, c, out):
    mean, variance = np.empty_like(p), np.empty_like(p)
    vecmath.row_moments(x[:, 1:], mean, variance)
    out[:, 0], out[:, 1] = mean[:, 0], variance[:, 0]


def _standardize_rows(x, p, c, out):
    vecmath.standardize_rows(x[:, 1:], p, 1 + p * p, c[0], c[1], out)


def _detrend_rows(x, y, p, c, out):
    vecmath.detrend_rows(x[:, 1:], p, 1 + p * p, y, c[0], out)


def _standard_dots(x, y, p, c, out):
    vecmath.standard_dots(x[:, 1:], p, 1 + p * p, y, out[0], out[1])


BODIES = [fn for name, fn in globals().items() if name[:1] == "_" and name[1:] in dir(vecmath)]
SHAPES = [(3, 3), (3, 17), (9, 3), (7, 5), (200, 10), (33, 100)]


@pytest.mark.parametrize("body", BODIES, ids=lambda fn: fn.__name__[1:])
@pytest.mark.parametrize("shape", SHAPES)
def test_bodies_agree(body, shape, dtype):
    """x is a part of a wider matrix, of whose rows compiled code knows nothing but their strides.

    Both are compared with the plain body in double precision.
    """
    from chainrule.engine import compiled

    m, n = shape
    rng = np.random.default_rng(m + n)
    known = {"x": (m, n + 1), "y": (m, n), "p": (m, 1), "c": (4, n), "out": (m, n)}
    names = body.__code__.co_varnames[: body.__code__.co_argcount]
    arguments = [rng.normal(size=known[name]).astype(dtype) for name in names]
    wide = [x.astype(np.float64) for x in arguments]
    plain = [x.copy() for x in arguments]
    body(*wide)
    body(*plain)
    letters = "".join("S" if name == "x" else "M" for name in names)
    ours = [x.copy() for x in arguments]
    compiled(body, letters, dtype)(*ours)
    for name, given, left, right, exact in zip(names, arguments, ours, plain, wide, strict=True):
        if name != "out":
            assert left.tobytes() == right.tobytes() == given.tobytes()
        else:
            assert (left != given).any()
            scale = np.abs(exact).max()
            bound = (4 * np.sqrt(m * n) + 8) * np.finfo(dtype).eps * scale
            np.testing.assert_allclose(right, exact, rtol=0, atol=bound)
            np.testing.assert_allclose(left, exact, rtol=0, atol=bound)


def _drop(x, p, out):
    vecmath.drop(x, np.float64(p[0, 0]), 5.0, 7.0, 3.0, out)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rate", [0.3, None], ids=["any rate", "a number that is drawn"])
def test_drop_drops_the_same(shape, rate, dtype):
    """To the bit, and a NaN shows even where it is dropped."""
    from chainrule.engine import compiled

    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    x[0] = np.nan
    drawn = np.empty_like(x)
    vecmath.random_uniform(5.0, 7.0, 3.0, drawn)
    p = np.array([[drawn[1, 1] if rate is None else rate]], dtype)
    ours, plain = np.zeros_like(x), np.zeros_like(x)
    compiled(_drop, "MMM", dtype)(x, p, ours)
    _drop(x, p, plain)
    np.testing.assert_array_equal(ours, plain)
    assert np.isnan(ours[0]).all()
    np.testing.assert_array_equal(ours[1:] != 0, drawn[1:] >= p)


def _square(x, p, out):
    vecmath.power(x, 2.0, out)


def _root(x, p, out):
    vecmath.power(vecmath.flat(x), 0.5, vecmath.flat(out))


def _log_sum(x, p, out):
    out[:] = vecmath.row_logsumexp(x)


@pytest.mark.parametrize("body", [_square, _root, _log_sum])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (200, 10), (3, 100)])
def test_powers_and_sums_of_exponentials(body, shape, dtype):
    from chainrule.engine import compiled

    x = np.abs(np.random.default_rng(0).normal(size=shape)).astype(dtype)
    x[0, 0] = 0 if body is not _log_sum else 1000
    ours, plain = np.zeros_like(x), np.zeros_like(x)
    compiled(body, "MMM", dtype)(x, x, ours)
    body(x, x, plain)
    np.testing.assert_allclose(ours, plain, rtol=4 * np.finfo(dtype).eps)


def test_flat_shares_memory_or_refuses():
    x = np.zeros((3, 4))
    vecmath.flat(x)[5] = 1
    assert x[1, 1] == 1
    with pytest.raises(ValueError, match="gaps"):
        vecmath.flat(x[:, :2])


def _random_normal(x, p, out):
    vecmath.random_normal(5.0, 7.0, 3.0, out)


def test_normal_numbers_keep_the_dtype_s_digits(dtype):
    """In single precision the logarithm and the sine are evaluated in it."""
    from chainrule.engine import compiled

    ours, exact = np.empty((1000, 300), dtype), np.empty((1000, 300))
    compiled(_random_normal, "MMM", dtype)(ours, ours, ours)
    _random_normal(exact, exact, exact)
    few = (8 if dtype == np.float32 else 32) * np.finfo(dtype).eps
    np.testing.assert_allclose(ours, exact, rtol=few, atol=few)
