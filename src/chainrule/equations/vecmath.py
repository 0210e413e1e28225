"""The array functions that the mathematics is written in, beyond plain NumPy.

Here each is ordinary NumPy, to be read and stepped through. For the compiled engine
:mod:`chainrule.engine.loops` gives each a second implementation, a loop that the processor can
vectorise, since Numba's own ``exp`` and ``tanh`` cannot be; or :mod:`chainrule.engine.views` does,
where no loop is needed. Results go into the last argument, as everywhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.base.types import Array, Index

# The work queue is an array of QUEUE numbers, each in a cache line of its own. TICKET: the phase
# and, in the MOST_ITEMS lowest bits, which of its items are claimed. DONE: how many items are done.
# ABORTED: whether the worker threads are to stop. ALONE: whether there is only one. ANNOUNCED: how
# many steps are announced. GONE: how many threads have ended because no steps were for a while.
MOST_ITEMS = 32
QUEUE, TICKET, DONE, ABORTED, ALONE, ANNOUNCED, GONE = 48, 0, 8, 16, 24, 32, 40

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ / golden ratio, SplitMix64's increment


def copy(x: Array, out: Array) -> None:
    """out = x; any shape, the same for both. Numba takes seconds to compile out[:] = x."""
    np.copyto(out, x)


def flat(x: Array) -> Array:
    """The numbers of a matrix as a vector in the same memory; there are no gaps in it.

    Loops over a vector are compiled to less code than loops over short rows, and run faster.
    """
    if not x.flags.c_contiguous:
        raise ValueError("rows with gaps between them make no vector")
    return x.ravel()


def add(x: Array, out: Array) -> None:
    """out += x; vectors of one length."""
    np.add(out, x, out)


def add_scaled(factor: float, x: Array, out: Array) -> None:
    """out += factor x; vectors of one length."""
    out += out.dtype.type(factor) * x


def approach(x: Array, part: float, out: Array) -> None:
    """out += part (x - out); vectors of one length."""
    out += part * (x - out)


def step_by_moments(
    nabla: Array,
    new: tuple[float, float],
    rates: tuple[float, float],
    root: float,
    eps: float,
    state: Array,
    theta: Array,
) -> None:
    """m += p (∇ - m);  v += q (∇² - v);  θ -= (r m + s ∇) / (root √v + eps).

    (p, q) = new and (r, s) = rates; state is (2, P), m and v, the others are (P,). In compiled
    code it is one loop: three would fetch every number two or three times.
    """
    number = theta.dtype.type
    m, v = state[0], state[1]
    m += number(new[0]) * (nabla - m)
    v += number(new[1]) * (nabla * nabla - v)
    step = number(rates[0]) * m
    if rates[1] != 0:
        step += number(rates[1]) * nabla
    theta -= step / (number(root) * np.sqrt(v) + number(eps))


def exp(x: Array, out: Array) -> None:
    """out = eˣ, elementwise; any shape, the same for both."""
    np.exp(x, out)


def expm1(x: Array, out: Array) -> None:
    """out = eˣ - 1, accurate also near 0, elementwise; any shape, the same for both."""
    np.expm1(x, out)


def tanh(x: Array, out: Array) -> None:
    """out = tanh x, elementwise; any shape, the same for both."""
    np.tanh(x, out)


def logistic(x: Array, out: Array) -> None:
    """out = eˣ / (1 + eˣ), elementwise; never overflows, keeps small results exact."""
    np.minimum(x, 40, out=out)  # from where on the result is 1 in double precision
    np.exp(out, out)
    np.divide(out, 1 + out, out)


def softplus(x: Array, out: Array) -> None:
    """out = log(1 + eˣ) = max(x, 0) + log(1 + e^-|x|), elementwise; never overflows."""
    np.log1p(np.exp(-np.abs(x)), out)
    out += np.maximum(x, 0)


def erf(x: Array, out: Array) -> None:
    """out = erf x, the error function, elementwise; any shape, the same for both."""
    from scipy.special import erf as scipy_erf

    scipy_erf(x, out)


def mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: spreads every bit of x. Steele, Lea and Flood (2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def random_uniform(key: float, step: float, row: float, out: Array) -> None:
    """out ~ U[0, 1), (m, n), a pure function of key, step and place, with 24 random bits.

    `row` says which row of the batch is out's first; key, step and row are whole numbers, which
    floats hold up to 2⁵³. Counter-based: the same numbers in both engines, for any cut of the
    batch and any number of threads, and after a resumption, with no state to keep. Salmon et al.
    (2011) describe the idea.
    """
    first = int(row) * out.shape[1]
    with np.errstate(over="ignore"):
        start = mix(mix(np.array([int(key)], np.uint64) + GOLDEN) + np.uint64(int(step)))
        place = np.arange(first + 1, first + out.size + 1, dtype=np.uint64) * GOLDEN
        bits = mix(start + place) >> np.uint64(40)
    np.multiply(bits.reshape(out.shape), out.dtype.type(2.0**-24), out, casting="unsafe")


def random_normal(key: float, step: float, row: float, out: Array) -> None:
    """out ~ N(0, 1) like random_uniform: √(-2 log u) cos 2πv, after Box and Muller (1958)."""
    u, v = np.empty(out.shape), np.empty(out.shape)
    random_uniform(key, 2 * step, row, u)
    random_uniform(key, 2 * step + 1, row, v)
    out[:] = np.sqrt(-2 * np.log(1 - u)) * np.cos(2 * np.pi * v)


def gate(x: Array, out: Array) -> None:
    """out *= 1 where x > 0, else 0; any shape, the same for both."""
    out *= x > 0


def gate_silu(z: Array, a: Array, out: Array) -> None:
    """out *= s + a (1 - s), s = 1 / (1 + e⁻ᶻ); any shape, the same for all."""
    s = np.empty_like(z)
    logistic(z, s)
    out *= s + a * (z.dtype.type(1) - s)


def drop(x: Array, rate: float, key: float, step: float, row: float, out: Array) -> None:
    """out = x / (1 - rate) where random_uniform's number is `rate` or more, 0 x elsewhere."""
    random_uniform(key, step, row, out)
    np.multiply(x, out >= np.float64(rate), out)
    out *= out.dtype.type(1 / (1 - rate))


def power(x: Array, exponent: float, out: Array) -> None:
    """out = x ** exponent, elementwise, x >= 0; any shape, the same for both."""
    np.power(x, out.dtype.type(exponent), out)


def maximum(x: Array, y: Array | float, out: Array) -> None:
    """out = max(x, y), elementwise; y an array of that shape or one number."""
    np.maximum(x, y, out=out)


def minimum(x: Array, y: Array | float, out: Array) -> None:
    """out = min(x, y), elementwise; y an array of that shape or one number."""
    np.minimum(x, y, out=out)


def _by_columns(x: Array) -> Array:
    """x, column after column in memory if rows are short: NumPy reduces rows one by one."""
    m, n = x.shape
    return x.T.copy().T if n <= 32 and m >= 64 else x


def row_max(x: Array) -> Array:
    """Largest entry of each row: (m, n) -> (m, 1)."""
    return np.maximum.reduce(_by_columns(x), axis=1, keepdims=True)


def row_sum(x: Array) -> Array:
    """Sum of each row: (m, n) -> (m, 1)."""
    return np.add.reduce(_by_columns(x), axis=1, keepdims=True)


def row_logsumexp(x: Array) -> Array:
    """log Σ_j e^{x_j} of each row, (m, n) -> (m, 1); never overflows."""
    largest = row_max(x)
    return largest + np.log(row_sum(np.exp(x - largest)))


def row_total(x: Array, out: Array) -> None:
    """Sum of each row: (m, n) -> (m,)."""
    np.add.reduce(x, axis=1, out=out)


def row_dots(factor: float, x: Array, y: Array, out: Array) -> None:
    """out = factor Σ_j x_j y_j of each row: (m, n) twice -> (m,)."""
    np.add.reduce(x * y, axis=1, out=out)
    out *= out.dtype.type(factor)


def column_sum(x: Array, out: Array) -> None:
    """Sum of each column: (m, n) -> (n,)."""
    np.add.reduce(x, axis=0, out=out)


def column_moments(x: Array, share: Array, mean: Array, variance: Array) -> float:
    """Weighted mean and variance of each column: (m, n), weights (m, 1) -> (n,) each.

    Returns the weights' sum; if it is 0, so are mean and variance.
    """
    total = float(np.add.reduce(share, axis=None))
    part = share / (total or 1)
    np.add.reduce(x * part, axis=0, out=mean)
    np.add.reduce((x - mean) ** 2 * part, axis=0, out=variance)
    return total


def pool_moments(parts: Array, mean: Array, variance: Array) -> None:
    """Mean and variance of rows from those of their blocks, after Chan, Golub and LeVeque (1979).

    Each row of parts, (B, 1 + 2 n or more), is of a block: its weight, n means, n variances.
    mean, variance: (n,).
    """
    n = len(mean)
    share = parts[:, :1] / (np.add.reduce(parts[:, 0]) or 1)
    means, variances = parts[:, 1 : 1 + n], parts[:, 1 + n : 1 + 2 * n]
    np.add.reduce(share * means, axis=0, out=mean)
    np.add.reduce(share * (variances + (means - mean) ** 2), axis=0, out=variance)


def column_dots(x: Array, mean: Array, y: Array, total: Array, dots: Array) -> None:
    """Σ_rows y and Σ_rows (x - mean) y of each column: (m, n), (n,), (m, n) -> (n,) each."""
    np.add.reduce(y, axis=0, out=total)
    np.add.reduce((x - mean) * y, axis=0, out=dots)


def shift_and_scale(x: Array, mean: Array, factor: Array, shift: Array, out: Array) -> None:
    """out = (x - mean) factor + shift, column by column: (m, n), (n,) thrice -> (m, n)."""
    np.subtract(x, mean, out)
    out *= factor
    out += shift


def detrend_columns(
    x: Array,
    mean: Array,
    y: Array,
    share: Array,
    level: Array,
    slope: Array,
    factor: Array,
    out: Array,
) -> None:
    """out = factor (y - p (level + slope (x - mean))), column by column, p = share by row.

    x, y and out are (m, n), share is (m, 1), the others are (n,).
    """
    np.subtract(x, mean, out)
    out *= slope
    out += level
    out *= share
    np.subtract(y, out, out)
    out *= factor


def row_moments(x: Array, mean: Array, variance: Array) -> None:
    """Mean and variance of each row: (m, n) -> (m, 1) each."""
    np.mean(x, axis=1, keepdims=True, out=mean)
    np.mean((x - mean) ** 2, axis=1, keepdims=True, out=variance)


def standardize_rows(
    x: Array, mean: Array, r: Array, factor: Array, shift: Array, out: Array
) -> None:
    """out = (x - mean) r factor + shift: (m, n), (m, 1) twice by row, (n,) twice -> (m, n)."""
    np.subtract(x, mean, out)
    out *= r
    out *= factor
    out += shift


def detrend_rows(x: Array, mean: Array, r: Array, y: Array, factor: Array, out: Array) -> None:
    """out = r (g - mean(g) - x̂ mean(g x̂)), g = factor y, x̂ = (x - mean) r, means by row.

    x, y and out are (m, n), mean and r (m, 1), factor is (n,).
    """
    standard = (x - mean) * r
    np.multiply(y, factor, out)
    level = np.mean(out, axis=1, keepdims=True)
    standard *= np.mean(out * standard, axis=1, keepdims=True)
    out -= level
    out -= standard
    out *= r


def standard_dots(x: Array, mean: Array, r: Array, y: Array, total: Array, dots: Array) -> None:
    """Σ_rows y and Σ_rows (x - mean) r y, mean and r by row: (m, n), (m, 1) twice -> (n,) each."""
    np.add.reduce(y, axis=0, out=total)
    np.add.reduce((x - mean) * r * y, axis=0, out=dots)


def shift_rows(x: Array, shift: Array, out: Array) -> None:
    """out = x - shift, a number for each row: (m, n), (m, 1) -> (m, n)."""
    np.subtract(x, shift, out)


def divide_rows(divisors: Array, out: Array) -> None:
    """Divide each row of out, (m, n), by its number, (m, 1)."""
    np.divide(out, divisors, out)


def scale_rows(factors: Array, scale: float, out: Array) -> None:
    """Multiply each row of out, (m, n), by its factor, (m, 1), times scale."""
    np.multiply(out, factors if scale == 1 else factors * out.dtype.type(scale), out)


def shares(weight: Array, rows: Index, out: Array) -> float:
    """out = w / Σ w, (m, 1), with w = weight[rows]; returns Σ w, or 1 if that is 0."""
    w = weight[rows]
    total = float(w.sum(dtype=np.float64)) or 1.0
    np.multiply(w[:, np.newaxis], out.dtype.type(1 / total), out)
    return total


def weighted_sum(x: Array, weight: Array, rows: Index) -> float:
    """Σ w x, in double precision, with w = weight[rows], or 1 if weight is empty."""
    if len(weight) == 0:
        few = len(x) <= 64  # of which a list is added sooner than NumPy begins
        return float(sum(x.tolist()) if few else np.add.reduce(x, dtype=np.float64))
    return float(np.dot(weight[rows].astype(np.float64), x))


def dot(x: Array, y: Array, out: Array) -> None:
    """out = x y, the matrix product; x and y may be transposed, or parts of wider matrices."""
    np.dot(x, y, out)


def add_dot(factor: float, x: Array, y: Array, out: Array) -> None:
    """out += factor x y, the matrix product; x and y as in `dot`."""
    out += out.dtype.type(factor) * np.dot(x, y)


def take_rows(x: Array, rows: Index, out: Array) -> None:
    """out = x[rows]: (N, n), (m,) -> (m, n)."""
    x.take(rows, 0, out, "clip")  # "clip" skips a buffer; the rows are known to be in range


def matrices(flat: Array, table: Index) -> Sequence[Any]:
    """Views of a flat vector as matrices; entry l is flat[o : o + r * c].reshape(r, c).

    Parameters
    ----------
    flat : (P,) floating
    table : (n, 3) int64, rows (o, r, c)
        Where matrix l starts, its rows, its columns. Of several tables, (k, n, 3), each gives
        such a list.
    """
    if table.ndim == 3:
        return [matrices(flat, one) for one in table]
    return [flat[o : o + r * c].reshape(r, c) for o, r, c in table.tolist()]


def vectors(flat: Array, table: Index) -> Sequence[Any]:
    """Views of a flat vector as vectors; entry l is flat[o : o + r * c], `table` as above."""
    if table.ndim == 3:
        return [vectors(flat, one) for one in table]
    return [flat[o : o + r * c] for o, r, c in table.tolist()]


def row_blocks(x: Array, starts: Index) -> Sequence[Any]:
    """Views of blocks of rows; entry i is x[starts[i] : starts[i + 1]], of a matrix or a vector."""
    return [x[first:last] for first, last in itertools.pairwise(starts)]


def functions(role: str, table: Sequence[Any], like: Array) -> Sequence[Any]:
    """Functions of one role by layer: here the very list; compiled, a table of addresses.

    Parameters
    ----------
    role : str, a key of ``engine.roles.ROLES``: which arguments they take
    table : the functions (plain Python), or their int64 addresses (compiled)
    like : an array of the dtype that they work on
    """
    return table


def borrowed(x: Any) -> Any:
    """The same array, number or NamedTuple of them; compiled, without counting references.

    A caller that keeps the arrays alive spares the functions that it calls from counting.
    """
    return x


def announced_steps(queue: Any, k: int, steps: int) -> int:
    """How many steps are announced by now, after k that are done.

    A worker thread that has nothing to announce waits until there is more to do. In compiled code
    it gives up after a while, in which it has kept its core awake: then the result is k.

    Parameters
    ----------
    queue : (QUEUE,) int64
    k : int
        Steps done before.
    steps : int
        As many more are announced herewith; 0: wait for another thread to do so.
    """
    if steps > 0:
        queue[ANNOUNCED] = k + steps
    return int(queue[ANNOUNCED])


def claim(queue: Any, phase: int, n: int, done: int, preferred: int) -> int:
    """The next of a phase's n items after this thread has done one; n when all items are done.

    Threads that run the same code share the items of each of its phases, and none goes on
    before the phase is over. A lone thread, as here, does them one after the other. The compiled
    body gives them to whichever thread is free, so that a thread that the system has suspended for
    a moment delays no other unless it is processing an item.

    Parameters
    ----------
    queue : (QUEUE,) int64 zeros, except for queue[ALONE]
    phase : int
        0, 1, 2, … in the order in which all threads come through.
    n : int
        How many items; 1 to MOST_ITEMS.
    done : int
        The item just done; -1 at the start of a phase.
    preferred : int
        Items that this thread should rather do, a bit for each: what it did with them before may
        still be in its core's cache.
    """
    return done + 1


def random_bits(key: int, step: int, stream: int, out: NDArray[np.uint64]) -> None:
    """Random bits in 64-bit words, a pure function of key, step, stream and place.

    Counter-based as :func:`random_uniform`; a word is enough for four decisions.
    """
    with np.errstate(over="ignore"):
        start = mix(mix(np.array([key], np.uint64) + GOLDEN) + np.uint64(step))
        start = mix(start + np.uint64(stream) * GOLDEN)
        out[:] = mix(start + np.arange(1, len(out) + 1, dtype=np.uint64) * GOLDEN)


def drop_by_bits(bits: NDArray[np.uint64], rate: float, out: Array) -> None:
    """out *= 1 / (1 - rate) with the chance 1 - rate, else 0: for each number 16 of the bits.

    The rate counts in steps of 2⁻¹⁶.
    """
    least = round(rate * 65536)
    factor = out.dtype.type(65536 / (65536 - least))
    numbers = out.reshape(-1)
    numbers *= (bits.view(np.uint16)[: len(numbers)] >= least) * factor


def adam_step(
    nabla: Array,
    new: tuple[float, float],
    rate: float,
    root: float,
    eps: float,
    kept: float,
    part: float,
    m: Array,
    v: Array,
    average: Array,
    theta: Array,
) -> None:
    """m, v and θ by Adam with decoupled decay, and the running average behind them, in one loop.

    m += p (∇ - m);  v += q (∇² - v);  θ ← kept θ - rate m / (root √v + eps);
    average += part (θ - average);  (p, q) = new.  All arrays are (P,).
    """
    number = theta.dtype.type
    m += number(new[0]) * (nabla - m)
    v += number(new[1]) * (nabla * nabla - v)
    theta *= number(kept)
    theta -= number(rate) * m / (number(root) * np.sqrt(v) + number(eps))
    average += number(part) * (theta - average)


def multiply(x: Array, out: Array) -> None:
    """out *= x; any shape, the same for both."""
    out *= x


def rows_outside(
    order: Index,
    folds: Index,
    fold: int,
    weight: Array,
    part: float,
    rows: Index,
    share: Array,
) -> int:
    """rows = those of `order` that are outside a fold, share = part w of each; returns how many.

    Are all inside, all are taken, and each counts for 0. folds and weight are (n,), share is
    (len(rows), 1).
    """
    outside = order[folds[order] != fold]
    factor = part
    if len(outside) == 0:
        outside, factor = order, 0.0
    m = len(outside)
    rows[:m] = outside
    np.multiply(weight[outside], share.dtype.type(factor), share[:m, 0])
    return m


def add_clipped(x: Array, low: Array, high: Array, part: float, rows: Index, out: Array) -> None:
    """out[rows] += part min(max(x, low), high): (m, n), (n,) twice -> (N, n); no row comes twice.

    A NaN stays one.
    """
    out[rows] += out.dtype.type(part) * np.minimum(np.maximum(x, low), high)
