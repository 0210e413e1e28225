"""Second bodies for `vecmath`, too: loops over the rows of a matrix, for sums by row or column."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from chainrule.engine.formulas import EXACT, FORMULAS, ORDER_OF
from chainrule.engine.loops import overload
from chainrule.equations import vecmath


@intrinsic
def _row(typingctx: Any, x: Any, i: Any) -> Any:
    """Row i of a matrix, whose rows have no gaps even if its type does not say so; it owns nothing.

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
        total = x.dtype.type(0)
        for i in range(len(share)):
            total += share[i, 0]
        by = x.dtype.type(1) / total if total > 0 else x.dtype.type(0)
        for i in range(x.shape[0]):
            row, part = _row(x, i), share[i, 0] * by
            for j in range(len(row)):
                mean[j] += part * row[j]
        for i in range(x.shape[0]):
            row, part = _row(x, i), share[i, 0] * by
            for j in range(len(row)):
                variance[j] += part * (row[j] - mean[j]) * (row[j] - mean[j])
        return np.float64(total)

    return body


@overload(vecmath.pool_moments)
def _pool_moments(parts: Any, mean: Any, variance: Any) -> Any:
    def body(parts, mean, variance):  # type: ignore[no-untyped-def]
        n, total = len(mean), 0.0
        for i in range(len(parts)):
            total += parts[i, 0]
        by = 1 / total if total > 0 else 0.0
        mean.fill(0)
        variance.fill(0)
        for i in range(len(parts)):
            row, share = _row(parts, i), parts[i, 0] * by
            for j in range(n):
                mean[j] += share * row[1 + j]
        for i in range(len(parts)):
            row, share = _row(parts, i), parts[i, 0] * by
            for j in range(n):
                off = row[1 + j] - mean[j]
                variance[j] += share * (row[1 + n + j] + off * off)

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
