"""Formulas of one number, free of branches, so that a loop over them becomes vector instructions.

They are exact to a few units in the last place; tests compare them with NumPy's and SciPy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from chainrule.engine.linking import LOOP
from chainrule.equations.vecmath import GOLDEN

# Without "reassoc", which would undo the two-step subtraction of k log 2.
EXACT: dict[str, Any] = LOOP | {"fastmath": {"contract", "nsz"}, "error_model": "numpy"}
INLINED = EXACT | {"forceinline": True}  # a loop that calls cannot be vectorised

# log 2 in two parts, the first with trailing zero bits, so that k times it is exact.
LOG2_E = 1.4426950408889634
LN2_HI_64, LN2_LO_64 = 6.93145751953125e-1, 1.42860682030941723212e-6
LN2_HI_32, LN2_LO_32 = np.float32(0.693359375), np.float32(-2.12194440e-4)
LN2 = math.log(2)
FACT = tuple(1 / math.factorial(n) for n in range(14))
FACT_32 = tuple(np.float32(c) for c in FACT)
ODD = tuple(1 / n for n in range(1, 37, 2))
ODD_32 = tuple(np.float32(c) for c in ODD)


@intrinsic
def _float_of_bits(typingctx: Any, bits: Any) -> Any:
    """The float whose bits an integer holds."""
    target = types.float64 if bits == types.int64 else types.float32

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(target))

    return target(bits), codegen


@intrinsic
def _bits_of_float(typingctx: Any, x: Any) -> Any:
    """The bits of a float, as an integer."""
    target = types.int64 if x == types.float64 else types.int32

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(target))

    return target(x), codegen


@intrinsic
def _whole(typingctx: Any, x: Any) -> Any:
    """The nearest whole number, as a float: one instruction."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.rint", [args[0].type]), args)

    return x(x), codegen


@njit(**INLINED)
def _exp_parts_64(x):  # type: ignore[no-untyped-def]
    """(u, v, p) with e^x = u v (1 + p), u v = 2^k; x is cut to where doubles end."""
    y = min(max(x, -746.0), 710.0)
    k = _whole(y * LOG2_E)
    r = (y - k * LN2_HI_64) - k * LN2_LO_64
    p = FACT[13]
    p = p * r + FACT[12]
    p = p * r + FACT[11]
    p = p * r + FACT[10]
    p = p * r + FACT[9]
    p = p * r + FACT[8]
    p = p * r + FACT[7]
    p = p * r + FACT[6]
    p = p * r + FACT[5]
    p = p * r + FACT[4]
    p = p * r + FACT[3]
    p = p * r + FACT[2]
    p = p * (r * r) + r
    i = np.int64(k)
    h = i >> 1
    return _float_of_bits((h + 1023) << 52), _float_of_bits((i - h + 1023) << 52), p


@njit(**INLINED)
def _exp_parts_32(x):  # type: ignore[no-untyped-def]
    """The same in single precision."""
    y = min(max(x, np.float32(-104.0)), np.float32(89.0))
    k = _whole(y * np.float32(LOG2_E))
    r = (y - k * LN2_HI_32) - k * LN2_LO_32
    p = FACT_32[7]
    p = p * r + FACT_32[6]
    p = p * r + FACT_32[5]
    p = p * r + FACT_32[4]
    p = p * r + FACT_32[3]
    p = p * r + FACT_32[2]
    p = p * (r * r) + r
    i = np.int32(k)
    h = np.int32(i >> 1)
    u = np.int32(np.int32(h + 127) << 23)
    v = np.int32(np.int32(i - h + 127) << 23)
    return _float_of_bits(u), _float_of_bits(v), p


@njit(**INLINED)
def _log1p_64(u):  # type: ignore[no-untyped-def]
    """log(1 + u) for 0 <= u <= 1: 2 artanh s with s = u / (2 + u) <= 1/3, by its series."""
    s = u / (2.0 + u)
    q = s * s
    p = ODD[17]
    p = p * q + ODD[16]
    p = p * q + ODD[15]
    p = p * q + ODD[14]
    p = p * q + ODD[13]
    p = p * q + ODD[12]
    p = p * q + ODD[11]
    p = p * q + ODD[10]
    p = p * q + ODD[9]
    p = p * q + ODD[8]
    p = p * q + ODD[7]
    p = p * q + ODD[6]
    p = p * q + ODD[5]
    p = p * q + ODD[4]
    p = p * q + ODD[3]
    p = p * q + ODD[2]
    p = p * q + ODD[1]
    return 2.0 * (s + s * q * p)


@njit(**INLINED)
def _log1p_32(u):  # type: ignore[no-untyped-def]
    """The same in single precision."""
    s = u / (np.float32(2) + u)
    q = s * s
    p = ODD_32[8]
    p = p * q + ODD_32[7]
    p = p * q + ODD_32[6]
    p = p * q + ODD_32[5]
    p = p * q + ODD_32[4]
    p = p * q + ODD_32[3]
    p = p * q + ODD_32[2]
    p = p * q + ODD_32[1]
    return np.float32(2) * (s + s * q * p)


# erf x = x + x Σ_n T_n x^2n, Maclaurin's series, for |x| <= 1, and 1 - e^-x² p(u) / (x + 5/2) with
# u = (x - 5/2) / (x + 5/2) above; p interpolates e^x² erfc(x) (x + 5/2) at Chebyshev's points of
# 1 … 6 (1 … 4 in single precision), to 3e-18 (8e-10). Above that erf is 1.
ERF = tuple(
    (-1) ** n * 2 / math.sqrt(math.pi) / math.factorial(n) / (2 * n + 1) - (n == 0)
    for n in range(20)
)
ERF_32 = tuple(np.float32(c) for c in ERF[:11])
ERFC = (
    1.054031820305718,
    -0.8046518494391489,
    0.45391411664809794,
    -0.17125114524602383,
    0.028361550131845197,
    0.008393044300600054,
    -0.004818785518040894,
    -0.00043920819801547106,
    0.0007026936250482647,
    5.830646026564188e-05,
    -0.00011260376764869468,
    -1.9517457301097024e-05,
    1.8238401874248056e-05,
    6.662084502282126e-06,
    -2.3207951470310587e-06,
    -1.6532913590212447e-06,
    2.5864105566784284e-08,
)
ERFC_32 = tuple(
    np.float32(c)
    for c in (
        1.0540318208054724,
        -0.8046518385335037,
        0.45391396263559997,
        -0.1712524835748755,
        0.028367561562224888,
        0.008439618151208568,
        -0.004843804952655728,
        -0.0009295811954510259,
    )
)


def _polynomial(coefficients: tuple[Any, ...]) -> Callable[..., Any]:
    """Horner's scheme, written out: a loop over the coefficients would not be vectorised."""
    lines = [f"    p = p * x + c{i}" for i in range(len(coefficients) - 2, -1, -1)]
    text = "\n".join(
        ["def polynomial(x):", f"    p = c{len(coefficients) - 1}", *lines, "    return p"]
    )
    space = {f"c{i}": c for i, c in enumerate(coefficients)}
    exec(text, space)
    return njit(**INLINED)(space["polynomial"])  # type: ignore[no-any-return]


def _formulas(dtype: Any) -> dict[str, Callable[..., Any]]:
    """The elementwise functions of one dtype, each of one number."""
    single = dtype == types.float32
    parts, log1p = (_exp_parts_32, _log1p_32) if single else (_exp_parts_64, _log1p_64)
    T = np.float32 if single else np.float64
    zero, one, two, far = T(0), T(1), T(2), T(40)
    series, erfc = (_polynomial(c) for c in ((ERF_32, ERFC_32) if single else (ERF, ERFC)))
    middle, end = T(2.5), T(4 if single else 6)

    @njit(**INLINED)
    def exp(x):  # type: ignore[no-untyped-def]
        u, v, p = parts(x)
        return (u + u * p) * v if x == x else x

    @njit(**INLINED)
    def expm1(x):  # type: ignore[no-untyped-def]
        u, v, p = parts(x)
        big = (u + u * p) * v - one
        k2 = u * v
        near = k2 * p + (k2 - one)
        return (near if k2 <= two else big) if x == x else x

    @njit(**INLINED)
    def tanh(x):  # type: ignore[no-untyped-def]
        """e / (e + 2) with e = expm1(2|x|), and the sign of x."""
        y = min(abs(x), far)
        u, v, p = parts(two * y)
        k2 = u * v
        e = k2 * p + (k2 - one)
        t = e / (e + two)
        return (-t if x < zero else t) if x == x else x

    @njit(**INLINED)
    def logistic(x):  # type: ignore[no-untyped-def]
        u, v, p = parts(-abs(x))
        e = (u + u * p) * v
        return ((one if x >= zero else e) / (one + e)) if x == x else x

    @njit(**INLINED)
    def softplus(x):  # type: ignore[no-untyped-def]
        u, v, p = parts(-abs(x))
        s = log1p((u + u * p) * v)
        return (s + (max(zero, x))) if x == x else x

    @njit(**INLINED)
    def erf(x):  # type: ignore[no-untyped-def]
        y = min(abs(x), end)
        u, v, p = parts(-y * y)
        t = one / (y + middle)
        above = one - (u + u * p) * v * erfc((y - middle) * t) * t
        below = y + y * series(y * y)
        e = below if y <= one else above
        return (-e if x < zero else e) if x == x else x

    return {
        "exp": exp,
        "expm1": expm1,
        "tanh": tanh,
        "logistic": logistic,
        "softplus": softplus,
        "erf": erf,
    }


FORMULAS = {dtype: _formulas(dtype) for dtype in (types.float32, types.float64)}


@njit(**INLINED)
def mix(x):  # type: ignore[no-untyped-def]
    """SplitMix64's finaliser: spreads every bit of x."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(**INLINED)
def first_number(key, step, row, n):  # type: ignore[no-untyped-def]
    """The number from which SplitMix64 counts at that step, from that row of n numbers on."""
    skipped = np.uint64(row) * np.uint64(n)
    return mix(mix(np.uint64(key) + GOLDEN) + np.uint64(step)) + skipped * GOLDEN


@njit(**INLINED)
def draw(start, i):  # type: ignore[no-untyped-def]
    """The 24 bits of number i, a whole number that floats hold exactly."""
    return np.int64(mix(start + np.uint64(i + 1) * GOLDEN) >> np.uint64(40))


# sin 2πs = s Σ_n T_n s^2n for |s| <= 1/4, Maclaurin's series, to 3e-16 (7e-10).
SINE = tuple(
    (-1) ** n * (2 * math.pi) ** (2 * n + 1) / math.factorial(2 * n + 1) for n in range(10)
)
SINE_32 = tuple(np.float32(c) for c in SINE[:7])


def _normal_of(dtype: Any) -> Callable[..., Any]:
    single = dtype == types.float32
    log1p, sine = (_log1p_32 if single else _log1p_64), _polynomial(SINE_32 if single else SINE)
    T, I = (np.float32, np.int32) if single else (np.float64, np.int64)
    digits, bias = (I(23), I(127)) if single else (I(52), I(1023))
    fraction, exponent_0 = I((1 << int(digits)) - 1), I(int(bias) << int(digits))
    ln2, quarter, half, middle, one, minus_two = (T(c) for c in (LN2, 0.25, 0.5, 1.5, 1, -2))

    @njit(**INLINED)
    def normal_of(u, v):  # type: ignore[no-untyped-def]
        """√(-2 log u) cos 2πv for 0 < u <= 1 and 0 <= v < 1, in steps that vectorise.

        log u = e log 2 + log f with u = 2^e f and 3/4 <= f <= 3/2;
        cos 2πv = -sin 2π(1/4 - |v - 1/2|).
        """
        bits = _bits_of_float(u)
        e = np.int32((bits >> digits) - bias)
        f = _float_of_bits(I((bits & fraction) | exponent_0))
        large = f > middle
        f = half * f if large else f
        e = e + np.int32(1) if large else e
        log_u = T(np.int32(e)) * ln2 + log1p(f - one)
        s = quarter - abs(v - half)
        return -np.sqrt(minus_two * log_u) * s * sine(s * s)

    return normal_of  # type: ignore[no-any-return]


NORMAL_OF = {dtype: _normal_of(dtype) for dtype in (types.float32, types.float64)}


def _order_of(dtype: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """(whole number of a float, its inverse), in the same order, every NaN above all others.

    The largest of whole numbers is found by vector instructions; that of floats is not, lest a
    NaN be lost.
    """
    I, width = (np.int32, 32) if dtype == types.float32 else (np.int64, 64)
    digits, most = I(width - 1), I((1 << (width - 1)) - 1)

    @njit(**INLINED)
    def turned(bits):  # type: ignore[no-untyped-def]
        """A negative float's bits grow with its size: all but the sign are turned over."""
        return I(bits ^ I(I(bits >> digits) & most))

    @njit(**INLINED)
    def rank(x):  # type: ignore[no-untyped-def]
        return turned(_bits_of_float(x)) if x == x else most

    @njit(**INLINED)
    def of_rank(bits):  # type: ignore[no-untyped-def]
        return _float_of_bits(turned(bits))

    return rank, of_rank


ORDER_OF = {dtype: _order_of(dtype) for dtype in (types.float32, types.float64)}
