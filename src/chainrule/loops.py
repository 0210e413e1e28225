"""Second bodies for `vecmath`: loops that LLVM vectorises, and the board that workers share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.extending import overload as numba_overload
from numba.np.arrayobj import make_array

from chainrule import vecmath
from chainrule.formulas import EXACT, FORMULAS, HELPER, INLINED, normal_of

SPINS = 2000  # looks at the board, some microseconds, before others may have the processor
PATIENCE = 4_000  # times that a worker without work offers its processor, some milliseconds

REPLACED: set[Callable[..., Any]] = set()  # what has a second body here or in `views`


def overload(fn: Callable[..., Any], options: dict[str, Any] = HELPER) -> Callable[..., Any]:
    """Numba's `overload`; strict would have the annotations of both signatures agree as well."""
    REPLACED.add(fn)
    return numba_overload(fn, strict=False, jit_options=options)  # type: ignore[no-any-return]


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


@njit(**EXACT | {"fastmath": {"nnan", "nsz", "reassoc"}})
def _largest(row):  # type: ignore[no-untyped-def]
    """The maximum; only if no NaN may be there is the loop vectorised."""
    largest = row[0]
    for x in row:
        largest = x if x > largest else largest
    return largest


@overload(vecmath.row_max)
def _row_max(x: Any) -> Any:
    def body(x):  # type: ignore[no-untyped-def]
        out = np.empty((x.shape[0], 1), x.dtype)
        for i in range(x.shape[0]):
            nans = np.int32(0)
            for number in x[i]:
                nans += np.int32(number != number)
            out[i, 0] = np.nan if nans > 0 else _largest(x[i])
        return out

    return body


@overload(vecmath.row_sum)
def _row_sum(x: Any) -> Any:
    def body(x):  # type: ignore[no-untyped-def]
        out = np.empty((x.shape[0], 1), x.dtype)
        for i in range(x.shape[0]):
            row = x[i]
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
        out = vecmath.row_max(x)
        for i in range(x.shape[0]):
            row, largest = x[i], out[i, 0]
            total = row.dtype.type(0)
            for j in range(len(row)):
                total += exp(row[j] - largest)
            out[i, 0] = largest + np.log(total)
        return out

    return body


@overload(vecmath.row_total)
def _row_total(x: Any, out: Any) -> Any:
    def body(x, out):  # type: ignore[no-untyped-def]
        for i in range(x.shape[0]):
            row = x[i]
            total = row.dtype.type(0)
            for j in range(len(row)):
                total += row[j]
            out[i] = total

    return body


@overload(vecmath.copy)
def _copy(x: Any, out: Any) -> Any:
    return lambda x, out: _start_from(x, out)  # noqa: PLW0108


@overload(vecmath.add)
def _add(x: Any, out: Any) -> Any:
    def body(x, out):  # type: ignore[no-untyped-def]
        for i in range(len(out)):
            out[i] += x[i]

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
            row = x[i]
            for j in range(len(row)):
                out[j] += row[j]

    return body


@overload(vecmath.column_moments)
def _column_moments(x: Any, share: Any, mean: Any, variance: Any) -> Any:
    def body(x, share, mean, variance):  # type: ignore[no-untyped-def]
        mean.fill(0)
        variance.fill(0)
        for i in range(x.shape[0]):
            row, part = x[i], share[i, 0]
            for j in range(len(row)):
                mean[j] += part * row[j]
        for i in range(x.shape[0]):
            row, part = x[i], share[i, 0]
            for j in range(len(row)):
                variance[j] += part * (row[j] - mean[j]) * (row[j] - mean[j])

    return body


@overload(vecmath.column_dots)
def _column_dots(x: Any, mean: Any, y: Any, out: Any) -> Any:
    def body(x, mean, y, out):  # type: ignore[no-untyped-def]
        out.fill(0)
        for i in range(x.shape[0]):
            row, other = x[i], y[i]
            for j in range(len(row)):
                out[j] += (row[j] - mean[j]) * other[j]

    return body


@overload(vecmath.shift_and_scale)
def _shift_and_scale(x: Any, mean: Any, factor: Any, shift: Any, out: Any) -> Any:
    def body(x, mean, factor, shift, out):  # type: ignore[no-untyped-def]
        for i in range(x.shape[0]):
            row, target = x[i], out[i]
            for j in range(len(row)):
                target[j] = (row[j] - mean[j]) * factor[j] + shift[j]

    return body


@overload(vecmath.row_moments)
def _row_moments(x: Any, mean: Any, variance: Any) -> Any:
    def body(x, mean, variance):  # type: ignore[no-untyped-def]
        n = x.dtype.type(x.shape[1])
        for i in range(x.shape[0]):
            row = x[i]
            total = x.dtype.type(0)
            for j in range(len(row)):
                total += row[j]
            middle, total = total / n, x.dtype.type(0)
            for j in range(len(row)):
                total += (row[j] - middle) * (row[j] - middle)
            mean[i, 0], variance[i, 0] = middle, total / n

    return body


@overload(vecmath.standardize_rows)
def _standardize_rows(x: Any, mean: Any, factor: Any, out: Any) -> Any:
    def body(x, mean, factor, out):  # type: ignore[no-untyped-def]
        for i in range(x.shape[0]):
            row, target, middle, by = x[i], out[i], mean[i, 0], factor[i, 0]
            for j in range(len(row)):
                target[j] = (row[j] - middle) * by

    return body


@overload(vecmath.shift_rows)
def _shift_rows(x: Any, shift: Any, out: Any) -> Any:
    def body(x, shift, out):  # type: ignore[no-untyped-def]
        for i in range(x.shape[0]):
            row, target, by = x[i], out[i], shift[i, 0]
            for j in range(len(row)):
                target[j] = row[j] - by

    return body


@overload(vecmath.divide_rows, EXACT)
def _divide_rows(divisors: Any, out: Any) -> Any:
    def body(divisors, out):  # type: ignore[no-untyped-def]
        for i in range(out.shape[0]):
            row, divisor = out[i], divisors[i, 0]
            for j in range(len(row)):
                row[j] /= divisor

    return body


@overload(vecmath.row_dots)
def _row_dots(factor: Any, x: Any, y: Any, out: Any) -> Any:
    def body(factor, x, y, out):  # type: ignore[no-untyped-def]
        for i in range(x.shape[0]):
            row, other = x[i], y[i]
            total = row.dtype.type(0)
            for j in range(len(row)):
                total += row[j] * other[j]
            out[i] = out.dtype.type(factor) * total

    return body


@overload(vecmath.scale_rows)
def _scale_rows(factors: Any, scale: Any, out: Any) -> Any:
    def body(factors, scale, out):  # type: ignore[no-untyped-def]
        for i in range(out.shape[0]):
            row, factor = out[i], factors[i, 0] * out.dtype.type(scale)
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


@njit(**INLINED)
def _mix(x):  # type: ignore[no-untyped-def]
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@overload(vecmath.random_uniform)
def _random_uniform(key: Any, moment: Any, out: Any) -> Any:
    def body(key, moment, out):  # type: ignore[no-untyped-def]
        t = np.int64(moment)
        start = _mix(_mix(np.uint64(key) + vecmath.GOLDEN) + np.uint64(t))
        start += np.uint64((moment - t) / vecmath.ROW) * np.uint64(out.shape[1]) * vecmath.GOLDEN
        unit = out.dtype.type(2.0**-24)
        flat = out.ravel()
        for i in range(len(flat)):
            bits = _mix(start + np.uint64(i + 1) * vecmath.GOLDEN) >> np.uint64(40)
            flat[i] = out.dtype.type(np.int64(bits)) * unit

    return body


@overload(vecmath.random_normal)
def _random_normal(key: Any, moment: Any, out: Any) -> Any:
    def body(key, moment, out):  # type: ignore[no-untyped-def]
        t = np.int64(moment)
        skipped = np.uint64((moment - t) / vecmath.ROW) * np.uint64(out.shape[1]) * vecmath.GOLDEN
        base = _mix(np.uint64(key) + vecmath.GOLDEN)
        first, second = _mix(base + np.uint64(2 * t)), _mix(base + np.uint64(2 * t + 1))
        first, second = first + skipped, second + skipped
        unit = 2.0**-24
        flat = out.ravel()
        for i in range(len(flat)):
            at = np.uint64(i + 1) * vecmath.GOLDEN
            u = np.float64(np.int32(_mix(first + at) >> np.uint64(40))) * unit
            v = np.float64(np.int32(_mix(second + at) >> np.uint64(40))) * unit
            flat[i] = normal_of(1.0 - u, v)

    return body


@intrinsic(prefer_literal=True)
def _atomic(typingctx: Any, operation: Any, array: Any, i: Any, value: Any, expected: Any) -> Any:
    """Do something to array[i] that no thread sees half done; returns the old number.

    "get" looks, "set" writes value, "add" adds it, "swap" writes it if `expected` was there.
    What a thread wrote before, others see after.
    """
    name = operation.literal_value

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, packed, i, value, expected = args
        place = builder.gep(make_array(array)(context, builder, packed).data, [i])
        if name == "get":
            return builder.load_atomic(place, "acquire", 8)
        if name == "swap":
            pair = builder.cmpxchg(place, expected, value, "seq_cst", "seq_cst")
            return builder.extract_value(pair, 0)
        return builder.atomic_rmw("add" if name == "add" else "xchg", place, value, "seq_cst")

    return types.int64(operation, array, *[types.int64] * 3), codegen


@intrinsic
def _yield(typingctx: Any) -> Any:
    """Let another thread have the processor."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
        signature = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, signature, name), [])
        return context.get_dummy_value()

    return types.void(), codegen


@overload(vecmath.take)
def _take(board: Any, phase: Any, n: Any, done: Any) -> Any:
    ticket, finished, aborted = vecmath.TICKET, vecmath.DONE, vecmath.ABORTED
    alone = vecmath.ALONE

    def body(board, phase, n, done):  # type: ignore[no-untyped-def]
        if board[alone]:
            return done + 1
        if done >= 0 and _atomic("add", board, finished, 1, 0) == n - 1:
            _atomic("set", board, finished, 0, 0)
            _atomic("set", board, ticket, (phase + 1) << 32, 0)
        looks = 0
        while _atomic("get", board, aborted, 0, 0) == 0:
            seen = _atomic("get", board, ticket, 0, 0)
            item = seen - (phase << 32)
            if item > n:  # a later phase's
                return n
            if item < n:
                if _atomic("swap", board, ticket, seen + 1, seen) == seen:
                    return item
            else:
                looks += 1
                if looks > SPINS:
                    _yield()
        return n

    return body


@overload(vecmath.announced)
def _announced(board: Any, k: Any, steps: Any) -> Any:
    told, aborted, gone = vecmath.ANNOUNCED, vecmath.ABORTED, vecmath.GONE

    def body(board, k, steps):  # type: ignore[no-untyped-def]
        if steps > 0:
            _atomic("set", board, told, k + steps, 0)
            return k + steps
        looks = 0
        while _atomic("get", board, aborted, 0, 0) == 0 and looks < SPINS + PATIENCE:
            end = _atomic("get", board, told, 0, 0)
            if end > k:
                return end
            looks += 1
            if looks > SPINS:
                _yield()
        _atomic("add", board, gone, 1, 0)
        return k

    return body
