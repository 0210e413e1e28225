"""Second bodies for `vecmath`: loops that LLVM vectorises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload as numba_overload

from chainrule.engine.formulas import (
    EXACT,
    FORMULAS,
    INLINED,
    NORMAL_OF,
    draw,
    first_number,
    mix,
)
from chainrule.engine.linking import LOOP
from chainrule.equations import vecmath
from chainrule.equations.vecmath import GOLDEN

REPLACED: set[Callable[..., Any]] = set()  # what has a second body


def overload(fn: Callable[..., Any], options: dict[str, Any] = LOOP) -> Callable[..., Any]:
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
        one, zero = out.dtype.type(1), out.dtype.type(0)
        for i in range(len(out)):
            out[i] *= one if x[i] > 0 else zero

    return body


@overload(vecmath.gate_silu, EXACT)
def _gate_silu(z: Any, a: Any, out: Any) -> Any:
    logistic = FORMULAS[z.dtype]["logistic"]

    def body(z, a, out):  # type: ignore[no-untyped-def]
        z, a, out = z.ravel(), a.ravel(), out.ravel()
        one = out.dtype.type(1)
        for i in range(len(out)):
            s = logistic(z[i])
            out[i] *= s + a[i] * (one - s)

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
def _random_uniform(key: Any, step: Any, row: Any, out: Any) -> Any:
    def body(key, step, row, out):  # type: ignore[no-untyped-def]
        start = first_number(key, step, row, out.shape[1])
        unit = out.dtype.type(2.0**-24)
        flat = out.ravel()
        for i in range(len(flat)):
            flat[i] = out.dtype.type(draw(start, i)) * unit

    return body


@overload(vecmath.drop)
def _drop(x: Any, rate: Any, key: Any, step: Any, row: Any, out: Any) -> Any:
    def body(x, rate, key, step, row, out):  # type: ignore[no-untyped-def]
        start = first_number(key, step, row, out.shape[1])
        least = np.int64(np.ceil(rate * 2.0**24))
        factor, zero = out.dtype.type(1 / (1 - rate)), out.dtype.type(0)
        x, out = x.ravel(), out.ravel()
        for i in range(len(out)):
            out[i] = x[i] * (factor if draw(start, i) >= least else zero)

    return body


@overload(vecmath.random_normal)
def _random_normal(key: Any, step: Any, row: Any, out: Any) -> Any:
    normal_of = NORMAL_OF[out.dtype]

    def body(key, step, row, out):  # type: ignore[no-untyped-def]
        first = first_number(key, 2 * step, row, out.shape[1])
        second = first_number(key, 2 * step + 1, row, out.shape[1])
        number = out.dtype.type
        unit, one = number(2.0**-24), number(1)
        flat = out.ravel()
        for i in range(len(flat)):
            u = number(np.int32(draw(first, i))) * unit
            v = number(np.int32(draw(second, i))) * unit
            flat[i] = normal_of(one - u, v)

    return body


@overload(vecmath.random_bits, EXACT)
def _random_bits(key: Any, step: Any, stream: Any, out: Any) -> Any:
    def body(key, step, stream, out):  # type: ignore[no-untyped-def]
        start = mix(mix(np.uint64(key) + GOLDEN) + np.uint64(step))
        start = mix(start + np.uint64(stream) * GOLDEN)
        for i in range(len(out)):
            out[i] = mix(start + np.uint64(i + 1) * GOLDEN)

    return body


@overload(vecmath.drop_by_bits, EXACT)
def _drop_by_bits(bits: Any, rate: Any, out: Any) -> Any:
    def body(bits, rate, out):  # type: ignore[no-untyped-def]
        least = np.int64(np.rint(rate * 65536))
        factor, zero = out.dtype.type(65536 / (65536 - least)), out.dtype.type(0)
        parts, numbers, edge = bits.view(np.uint16), out.ravel(), np.int32(least)
        for i in range(len(numbers)):
            numbers[i] *= factor if np.int32(parts[i]) >= edge else zero

    return body


@overload(vecmath.adam_step)
def _adam_step(
    nabla: Any,
    new: Any,
    rate: Any,
    root: Any,
    eps: Any,
    kept: Any,
    part: Any,
    m: Any,
    v: Any,
    average: Any,
    theta: Any,
) -> Any:
    def body(nabla, new, rate, root, eps, kept, part, m, v, average, theta):  # type: ignore[no-untyped-def]
        number = theta.dtype.type
        p, q, rate, root = number(new[0]), number(new[1]), number(rate), number(root)
        eps, kept, part = number(eps), number(kept), number(part)
        for i in range(len(theta)):
            slope = nabla[i]
            mean = m[i] + p * (slope - m[i])
            square = v[i] + q * (slope * slope - v[i])
            m[i], v[i] = mean, square
            here = kept * theta[i] - rate * mean / (root * np.sqrt(square) + eps)
            theta[i] = here
            average[i] += part * (here - average[i])

    return body


@overload(vecmath.multiply)
def _multiply(x: Any, out: Any) -> Any:
    def body(x, out):  # type: ignore[no-untyped-def]
        x, out = x.ravel(), out.ravel()
        for i in range(len(out)):
            out[i] *= x[i]

    return body


@overload(vecmath.rows_outside)
def _rows_outside(
    order: Any, folds: Any, fold: Any, weight: Any, part: Any, rows: Any, share: Any
) -> Any:
    def body(order, folds, fold, weight, part, rows, share):  # type: ignore[no-untyped-def]
        m, factor = 0, share.dtype.type(part)
        for i in range(len(order)):
            row = order[i]
            if folds[row] != fold:
                rows[m], share[m, 0] = row, weight[row] * factor
                m += 1
        if m == 0:
            for i in range(len(order)):
                rows[i], share[i, 0] = order[i], share.dtype.type(0)
            m = len(order)
        return m

    return body


@overload(vecmath.add_clipped)
def _add_clipped(x: Any, low: Any, high: Any, part: Any, rows: Any, out: Any) -> Any:
    def body(x, low, high, part, rows, out):  # type: ignore[no-untyped-def]
        factor = out.dtype.type(part)
        for i in range(len(rows)):
            for k in range(x.shape[1]):
                value = x[i, k]
                value = low[k] if value < low[k] else value
                value = high[k] if value > high[k] else value
                out[rows[i], k] += factor * value

    return body
