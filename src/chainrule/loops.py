"""Second bodies for `vecmath`: loops that LLVM vectorises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.extending import overload as numba_overload
from numba.np.arrayobj import make_array, populate_array

from chainrule import vecmath
from chainrule.formulas import (
    EXACT,
    FORMULAS,
    HELPER,
    INLINED,
    NORMAL_OF,
    ORDER_OF,
    draw,
    first_number,
)

REPLACED: set[Callable[..., Any]] = set()  # what has a second body


def overload(fn: Callable[..., Any], options: dict[str, Any] = HELPER) -> Callable[..., Any]:
    """Numba's `overload`; strict would have the annotations of both signatures agree as well."""
    REPLACED.add(fn)
    return numba_overload(fn, strict=False, jit_options=options)  # type: ignore[no-any-return]


@intrinsic
def _row(typingctx: Any, x: Any, i: Any) -> Any:
    """Row i of a matrix, whose rows have no gaps even if its type cannot tell; it owns nothing.

    A loop over numbers that may lie apart is not vectorised.
    """
    kind = types.Array(x.dtype, 1, "C")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array = make_array(x)(context, builder, args[0])
        (_, length), (step, size) = (
            cgutils.unpack_tuple(builder, pair) for pair in (array.shape, array.strides)
        )
        data = cgutils.pointer_add(builder, array.data, builder.mul(args[1], step))
        row = make_array(kind)(context, builder)
        shape, strides = (cgutils.pack_array(builder, [one]) for one in (length, size))
        populate_array(
            row, data=data, shape=shape, strides=strides, itemsize=array.itemsize, meminfo=None
        )
        return row._getvalue()

    return kind(x, types.intp), codegen


@njit(**EXACT)
def _start_from(x, out):  # type: ignore[no-untyped-def]
    """out = x, flat; nothing if they are one array.

    A loop that reads and writes one array is vectorised whether or not `out` was `x`.
    """
    x, out = x.ravel(), out.ravel()
    if x.ctypes.data != out.ctypes.data:
        for i in range(min(len(x), len(out))):
            out[i] = x[i]
    return out


def _elementwise(name: str) -> None:
    """Give `vecmath.name(x, out)` its loop."""

    @overload(getattr(vecmath, name), EXACT)
    def body(x: Any, out: Any) -> Any:
        formula = FORMULAS[x.dtype][name]

        def loop(x, out):  # type: ignore[no-untyped-def]
            out = _start_from(x, out)
            for i in range(len(out)):
                out[i] = formula(out[i])

        return loop


for _name in FORMULAS[types.float64]:
    _elementwise(_name)


def _extremum(name: str, better: Callable[[Any, Any], Any]) -> None:
    """Give `vecmath.maximum` or `minimum` its loop; one number is taken in the array's dtype."""
    better = njit(**INLINED)(better)

    @overload(getattr(vecmath, name), EXACT)
    def body(x: Any, y: Any, out: Any) -> Any:
        def by_array(x, y, out):  # type: ignore[no-untyped-def]
            if out.ctypes.data == y.ctypes.data:
                x, out = x.ravel(), out.ravel()
                for i in range(len(out)):
                    out[i] = x[i] if better(x[i], out[i]) else out[i]
            else:
                y, out = y.ravel(), _start_from(x, out)
                for i in range(len(out)):
                    out[i] = out[i] if better(out[i], y[i]) else y[i]

        def by_number(x, y, out):  # type: ignore[no-untyped-def]
            number = out.dtype.type(y)
            x, out = x.ravel(), out.ravel()
            if x.ctypes.data == out.ctypes.data:
                for i in range(len(out)):
                    out[i] = out[i] if better(out[i], number) else number
            else:
                for i in range(len(out)):
                    out[i] = x[i] if better(x[i], number) else number

        return by_array if isinstance(y, types.Array) else by_number


# A NaN wins, as in NumPy.
_extremum("maximum", lambda x, y: x > y or x != x)
_extremum("minimum", lambda x, y: x < y or x != x)


@overload(vecmath.gate)
def _gate(x: Any, out: Any) -> Any:
    def body(x, out):  # type: ignore[no-untyped-def]
        x, out = x.ravel(), out.ravel()
        for i in range(len(out)):
            out[i] *= out.dtype.type(x[i] > 0)

    return body


@overload(vecmath.row_max)
def _row_max(x: Any) -> Any:
    rank, of_rank = ORDER_OF[x.dtype]

    def body(x):  # type: ignore[no-untyped-def]
        out = np.empty((x.shape[0], 1), x.dtype)
        for i in range(x.shape[0]):
            row = _row(x, i)
            largest = rank(row[0])
            for j in range(len(row)):
                largest = max(largest, rank(row[j]))
            out[i, 0] = of_rank(largest)
        return out

    return body


@overload(vecmath.row_sum)
def _row_sum(x: Any) -> Any:
    def body(x):  # type: ignore[no-untyped-def]
        out = np.empty((x.shape[0], 1), x.dtype)
        for i in range(x.shape[0]):
            row = _row(x, i)
            total = row.dtype.type(0)
            for j in range(len(row)):
                total += row[j]
            out[i, 0] = total
        return out

    return body


@overload(vecmath.row_logsumexp)
def _row_logsumexp(x: Any) -> Any:
    exp = FORMULAS[x.dtype]["exp"]

    def body(x):  # type: ignore[no-untyped-def]
        """Exponentials of all rows in one loop: of short rows one by one they take four times."""
        out, shifted = vecmath.row_max(x), np.empty_like(x)
        vecmath.shift_rows(x, out, shifted)
        flat = shifted.ravel()
        for i in range(len(flat)):
            flat[i] = exp(flat[i])
        for i in range(x.shape[0]):
            row = _row(shifted, i)
            total = row.dtype.type(0)
            for j in range(len(row)):
                total += row[j]
            out[i, 0] += np.log(total)
        return out

    return body


@overload(vecmath.row_total)
def _row_total(x: Any, out: Any) -> Any:
    def body(x, out):  # type: ignore[no-untyped-def]
        for i in range(x.shape[0]):
            row = _row(x, i)
            total = row.dtype.type(0)
            for j in range(len(row)):
                total += row[j]
            out[i] = total

    return body


@overload(vecmath.copy)
def _copy(x: Any, out: Any) -> Any:
    return lambda x, out: _start_from(x, out)  # noqa: PLW0108


@overload(vecmath.flat)
def _flat(x: Any) -> Any:
    return lambda x: x.ravel()


@overload(vecmath.power)
def _power(x: Any, exponent: Any, out: Any) -> Any:
    def body(x, exponent, out):  # type: ignore[no-untyped-def]
        """A square is a product, and vectorised; other powers are the C library's."""
        exponent, out = out.dtype.type(exponent), _start_from(x, out)
        if exponent == 2:
            for i in range(len(out)):
                out[i] *= out[i]
        else:
            for i in range(len(out)):
                out[i] = out[i] ** exponent

    return body


@overload(vecmath.add)
def _add(x: Any, out: Any) -> Any:
    def body(x, out):  # type: ignore[no-untyped-def]
        for i in range(len(out)):
            out[i] += x[i]

    return body


@overload(vecmath.add_scaled)
def _add_scaled(factor: Any, x: Any, out: Any) -> Any:
    def body(factor, x, out):  # type: ignore[no-untyped-def]
        factor = out.dtype.type(factor)
        for i in range(len(out)):
            out[i] += factor * x[i]

    return body


@overload(vecmath.approach)
def _approach(x: Any, part: Any, out: Any) -> Any:
    def body(x, part, out):  # type: ignore[no-untyped-def]
        for i in range(len(out)):
            out[i] += part * (x[i] - out[i])

    return body


@overload(vecmath.step_by_moments)
def _step_by_moments(
    nabla: Any, new: Any, rates: Any, root: Any, eps: Any, state: Any, theta: Any
) -> Any:
    def body(nabla, new, rates, root, eps, state, theta):  # type: ignore[no-untyped-def]
        number = theta.dtype.type
        p, q, r, s = number(new[0]), number(new[1]), number(rates[0]), number(rates[1])
        root, eps, m, v = number(root), number(eps), state[0], state[1]
        for i in range(len(theta)):
            slope = nabla[i]
            mean = m[i] + p * (slope - m[i])
            square = v[i] + q * (slope * slope - v[i])
            m[i], v[i] = mean, square
            theta[i] -= (r * mean + s * slope) / (root * np.sqrt(square) + eps)

    return body


@overload(vecmath.column_sum)
def _column_sum(x: Any, out: Any) -> Any:
    def body(x, out):  # type: ignore[no-untyped-def]
        out.fill(0)
        for i in range(x.shape[0]):
            row = _row(x, i)
            for j in range(len(row)):
                out[j] += row[j]

    return body


@overload(vecmath.column_moments)
def _column_moments(x: Any, share: Any, mean: Any, variance: Any) -> Any:
    def body(x, share, mean, variance):  # type: ignore[no-untyped-def]
        mean.fill(0)
        variance.fill(0)
        for i in range(x.shape[0]):
            row, part = _row(x, i), share[i, 0]
            for j in range(len(row)):
                mean[j] += part * row[j]
        for i in range(x.shape[0]):
            row, part = _row(x, i), share[i, 0]
            for j in range(len(row)):
                variance[j] += part * (row[j] - mean[j]) * (row[j] - mean[j])

    return body


@overload(vecmath.column_dots)
def _column_dots(x: Any, mean: Any, y: Any, total: Any, dots: Any) -> Any:
    def body(x, mean, y, total, dots):  # type: ignore[no-untyped-def]
        total.fill(0)
        dots.fill(0)
        for i in range(x.shape[0]):
            row, other = _row(x, i), _row(y, i)
            for j in range(len(row)):
                total[j] += other[j]
                dots[j] += (row[j] - mean[j]) * other[j]

    return body


@overload(vecmath.shift_and_scale)
def _shift_and_scale(x: Any, mean: Any, factor: Any, shift: Any, out: Any) -> Any:
    def body(x, mean, factor, shift, out):  # type: ignore[no-untyped-def]
        for i in range(x.shape[0]):
            row, target = _row(x, i), _row(out, i)
            for j in range(len(row)):
                target[j] = (row[j] - mean[j]) * factor[j] + shift[j]

    return body


@overload(vecmath.detrend_columns)
def _detrend_columns(
    x: Any, mean: Any, y: Any, share: Any, level: Any, slope: Any, factor: Any, out: Any
) -> Any:
    def body(x, mean, y, share, level, slope, factor, out):  # type: ignore[no-untyped-def]
        for i in range(x.shape[0]):
            row, other, target, part = _row(x, i), _row(y, i), _row(out, i), share[i, 0]
            for j in range(len(row)):
                trend = level[j] + slope[j] * (row[j] - mean[j])
                target[j] = factor[j] * (other[j] - part * trend)

    return body


@overload(vecmath.row_moments)
def _row_moments(x: Any, mean: Any, variance: Any) -> Any:
    def body(x, mean, variance):  # type: ignore[no-untyped-def]
        n = x.dtype.type(x.shape[1])
        for i in range(x.shape[0]):
            row = _row(x, i)
            total = x.dtype.type(0)
            for j in range(len(row)):
                total += row[j]
            middle, total = total / n, x.dtype.type(0)
            for j in range(len(row)):
                total += (row[j] - middle) * (row[j] - middle)
            mean[i, 0], variance[i, 0] = middle, total / n

    return body


@overload(vecmath.standardize_rows)
def _standardize_rows(x: Any, mean: Any, r: Any, factor: Any, shift: Any, out: Any) -> Any:
    def body(x, mean, r, factor, shift, out):  # type: ignore[no-untyped-def]
        for i in range(x.shape[0]):
            row, target, middle, by = _row(x, i), _row(out, i), mean[i, 0], r[i, 0]
            for j in range(len(row)):
                target[j] = (row[j] - middle) * by * factor[j] + shift[j]

    return body


@overload(vecmath.detrend_rows)
def _detrend_rows(x: Any, mean: Any, r: Any, y: Any, factor: Any, out: Any) -> Any:
    def body(x, mean, r, y, factor, out):  # type: ignore[no-untyped-def]
        n = x.dtype.type(x.shape[1])
        for i in range(x.shape[0]):
            row, other, target, middle, by = (
                _row(x, i),
                _row(y, i),
                _row(out, i),
                mean[i, 0],
                r[i, 0],
            )
            level, slope = x.dtype.type(0), x.dtype.type(0)
            for j in range(len(row)):
                g = factor[j] * other[j]
                target[j] = g
                level += g
                slope += g * ((row[j] - middle) * by)
            level, slope = level / n, slope / n
            for j in range(len(row)):
                target[j] = by * (target[j] - level - (row[j] - middle) * by * slope)

    return body


@overload(vecmath.standard_dots)
def _standard_dots(x: Any, mean: Any, r: Any, y: Any, total: Any, dots: Any) -> Any:
    def body(x, mean, r, y, total, dots):  # type: ignore[no-untyped-def]
        total.fill(0)
        dots.fill(0)
        for i in range(x.shape[0]):
            row, other, middle, by = _row(x, i), _row(y, i), mean[i, 0], r[i, 0]
            for j in range(len(row)):
                total[j] += other[j]
                dots[j] += (row[j] - middle) * by * other[j]

    return body


@overload(vecmath.shift_rows)
def _shift_rows(x: Any, shift: Any, out: Any) -> Any:
    def body(x, shift, out):  # type: ignore[no-untyped-def]
        for i in range(x.shape[0]):
            row, target, by = _row(x, i), _row(out, i), shift[i, 0]
            for j in range(len(row)):
                target[j] = row[j] - by

    return body


@overload(vecmath.divide_rows, EXACT)
def _divide_rows(divisors: Any, out: Any) -> Any:
    def body(divisors, out):  # type: ignore[no-untyped-def]
        for i in range(out.shape[0]):
            row, divisor = _row(out, i), divisors[i, 0]
            for j in range(len(row)):
                row[j] /= divisor

    return body


@overload(vecmath.row_dots)
def _row_dots(factor: Any, x: Any, y: Any, out: Any) -> Any:
    def body(factor, x, y, out):  # type: ignore[no-untyped-def]
        for i in range(x.shape[0]):
            row, other = _row(x, i), _row(y, i)
            total = row.dtype.type(0)
            for j in range(len(row)):
                total += row[j] * other[j]
            out[i] = out.dtype.type(factor) * total

    return body


@overload(vecmath.scale_rows)
def _scale_rows(factors: Any, scale: Any, out: Any) -> Any:
    def body(factors, scale, out):  # type: ignore[no-untyped-def]
        for i in range(out.shape[0]):
            row, factor = _row(out, i), factors[i, 0] * out.dtype.type(scale)
            for j in range(len(row)):
                row[j] *= factor

    return body


@overload(vecmath.shares)
def _shares(weight: Any, rows: Any, out: Any) -> Any:
    def body(weight, rows, out):  # type: ignore[no-untyped-def]
        total = 0.0
        for i in range(len(rows)):
            total += weight[rows[i]]
        if total == 0:
            total = 1.0
        part = out.dtype.type(1 / total)
        for i in range(len(rows)):
            out[i, 0] = weight[rows[i]] * part
        return total

    return body


@overload(vecmath.weighted_sum)
def _weighted_sum(x: Any, weight: Any, rows: Any) -> Any:
    def body(x, weight, rows):  # type: ignore[no-untyped-def]
        total = 0.0
        if len(weight) > 0:
            for i in range(len(x)):
                total += np.float64(weight[rows[i]]) * x[i]
        else:
            for i in range(len(x)):
                total += x[i]
        return total

    return body


@overload(vecmath.take_rows)
def _take_rows(x: Any, rows: Any, out: Any) -> Any:
    def body(x, rows, out):  # type: ignore[no-untyped-def]
        for i in range(len(rows)):
            source, target = x[rows[i]], out[i]
            for j in range(len(target)):
                target[j] = source[j]

    return body


@overload(vecmath.random_uniform)
def _random_uniform(key: Any, moment: Any, out: Any) -> Any:
    def body(key, moment, out):  # type: ignore[no-untyped-def]
        start = first_number(key, moment, out.shape[1])
        unit = out.dtype.type(2.0**-24)
        flat = out.ravel()
        for i in range(len(flat)):
            flat[i] = out.dtype.type(draw(start, i)) * unit

    return body


@overload(vecmath.drop)
def _drop(x: Any, rate: Any, key: Any, moment: Any, out: Any) -> Any:
    def body(x, rate, key, moment, out):  # type: ignore[no-untyped-def]
        start = first_number(key, moment, out.shape[1])
        least = np.int64(np.ceil(rate * 2.0**24))
        factor, zero = out.dtype.type(1 / (1 - rate)), out.dtype.type(0)
        x, out = x.ravel(), out.ravel()
        for i in range(len(out)):
            out[i] = x[i] * (factor if draw(start, i) >= least else zero)

    return body


@overload(vecmath.random_normal)
def _random_normal(key: Any, moment: Any, out: Any) -> Any:
    normal_of = NORMAL_OF[out.dtype]

    def body(key, moment, out):  # type: ignore[no-untyped-def]
        t = np.int64(moment)
        first = first_number(key, moment + t, out.shape[1])
        second = first_number(key, moment + t + 1, out.shape[1])
        number = out.dtype.type
        unit, one = number(2.0**-24), number(1)
        flat = out.ravel()
        for i in range(len(flat)):
            u = number(np.int32(draw(first, i))) * unit
            v = number(np.int32(draw(second, i))) * unit
            flat[i] = normal_of(one - u, v)

    return body
