"""Second bodies for `vecmath`: loops that LLVM vectorises, and views that cost nothing.

The formulas are written for one number, free of branches, so that a loop over them becomes
vector instructions. They are exact to a few units in the last place; tests compare them with
NumPy's and SciPy's.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import (
    intrinsic,
    lower_builtin,
    models,
    register_model,
    type_callable,
)
from numba.extending import overload as numba_overload
from numba.np.arrayobj import make_array, populate_array
from numba.np.linalg import check_blas_return, get_blas_kind

from chainrule import vecmath
from chainrule.engine import numba_signature

SPINS = 2000  # looks at the board, some microseconds, before others may have the processor

REPLACED: set[Callable[..., Any]] = set()  # what has a second body here


# For what only compiled code calls: less to compile.
HELPER: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
# Without "reassoc", which would undo the two-step subtraction of k log 2.
EXACT: dict[str, Any] = HELPER | {"fastmath": {"contract", "nsz"}, "error_model": "numpy"}
INLINED = EXACT | {"forceinline": True}  # a loop that calls cannot be vectorised


def overload(fn: Callable[..., Any], options: dict[str, Any] = HELPER) -> Callable[..., Any]:
    """Numba's `overload`; strict would have the annotations of both signatures agree as well."""
    REPLACED.add(fn)
    return numba_overload(fn, strict=False, jit_options=options)  # type: ignore[no-any-return]


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
    """The bits of a double, as an integer."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.int64))

    return types.int64(x), codegen


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
            number, out = out.dtype.type(y), _start_from(x, out)
            for i in range(len(out)):
                out[i] = out[i] if better(out[i], number) else number

        return by_array if isinstance(y, types.Array) else by_number


# A NaN wins, as in NumPy.
_extremum("maximum", lambda x, y: x > y or x != x)
_extremum("minimum", lambda x, y: x < y or x != x)


@njit(**EXACT | {"fastmath": {"nnan", "nsz", "reassoc"}})
def _largest(row):  # type: ignore[no-untyped-def]
    """The maximum; only if no NaN may be there is the loop vectorised."""
    largest = row[0]
    for x in row:
        largest = x if x > largest else largest
    return largest


@njit(**EXACT)
def _nans(row):  # type: ignore[no-untyped-def]
    """How many there are."""
    count = np.int32(0)
    for x in row:
        count += np.int32(x != x)
    return count


@overload(vecmath.row_max)
def _row_max(x: Any) -> Any:
    def body(x):  # type: ignore[no-untyped-def]
        out = np.empty((x.shape[0], 1), x.dtype)
        for i in range(x.shape[0]):
            out[i, 0] = np.nan if _nans(x[i]) > 0 else _largest(x[i])
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


@overload(vecmath.column_sum)
def _column_sum(x: Any, out: Any) -> Any:
    def body(x, out):  # type: ignore[no-untyped-def]
        out.fill(0)
        for i in range(x.shape[0]):
            row = x[i]
            for j in range(len(row)):
                out[j] += row[j]

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
def _random_uniform(key: Any, t: Any, out: Any) -> Any:
    def body(key, t, out):  # type: ignore[no-untyped-def]
        start = _mix(_mix(np.uint64(key) + vecmath.GOLDEN) + np.uint64(t))
        unit = out.dtype.type(2.0**-24)
        flat = out.ravel()
        for i in range(len(flat)):
            bits = _mix(start + np.uint64(i + 1) * vecmath.GOLDEN) >> np.uint64(40)
            flat[i] = out.dtype.type(np.int64(bits)) * unit

    return body


# sin 2πs = s Σ_n T_n s^2n for |s| <= 1/4, Maclaurin's series, to 3e-16.
SINE = tuple(
    (-1) ** n * (2 * math.pi) ** (2 * n + 1) / math.factorial(2 * n + 1) for n in range(10)
)
_sine = _polynomial(SINE)


@njit(**INLINED)
def _normal_of(u, v):  # type: ignore[no-untyped-def]
    """√(-2 log u) cos 2πv for 0 < u <= 1 and 0 <= v < 1, in steps that vectorise.

    log u = e log 2 + log f with u = 2^e f and 3/4 <= f <= 3/2; cos 2πv = -sin 2π(1/4 - |v - 1/2|).
    """
    bits = _bits_of_float(u)
    e = np.int32((bits >> 52) - 1023)
    f = _float_of_bits((bits & np.int64(0xFFFFFFFFFFFFF)) | np.int64(1023 << 52))
    large = f > 1.5
    f = 0.5 * f if large else f
    e = e + np.int32(1) if large else e
    log_u = np.float64(np.int32(e)) * LN2 + _log1p_64(f - 1.0)
    s = 0.25 - abs(v - 0.5)
    return -np.sqrt(-2.0 * log_u) * s * _sine(s * s)


@overload(vecmath.random_normal)
def _random_normal(key: Any, t: Any, out: Any) -> Any:
    def body(key, t, out):  # type: ignore[no-untyped-def]
        base = _mix(np.uint64(key) + vecmath.GOLDEN)
        first, second = _mix(base + np.uint64(2 * t)), _mix(base + np.uint64(2 * t + 1))
        unit = 2.0**-24
        flat = out.ravel()
        for i in range(len(flat)):
            at = np.uint64(i + 1) * vecmath.GOLDEN
            u = np.float64(np.int32(_mix(first + at) >> np.uint64(40))) * unit
            v = np.float64(np.int32(_mix(second + at) >> np.uint64(40))) * unit
            flat[i] = _normal_of(1.0 - u, v)

    return body


class ViewsType(types.Type):
    """A flat vector and a table: indexing by layer gives a matrix (ndim 2) or a vector (1).

    Of several tables, indexing gives the views of one.
    """

    def __init__(self, dtype: Any, ndim: int, table: Any) -> None:
        self.flat = types.Array(dtype, 1, "C")
        self.table = table
        self.view = types.Array(dtype, ndim, "C")
        super().__init__(f"Views({dtype}, {ndim}, {table.ndim})")


class FunctionsType(types.Type):
    """A table of addresses: indexing by layer gives a C function of the role's signature."""

    def __init__(self, role: str, dtype: Any) -> None:
        self.addresses = types.Array(types.int64, 1, "C")
        self.pointer = types.ExternalFunctionPointer(numba_signature(role, dtype), None)
        super().__init__(f"Functions({role}, {dtype})")


@register_model(ViewsType)
class _ViewsModel(models.StructModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, [("flat", kind.flat), ("table", kind.table)])


@register_model(FunctionsType)
class _FunctionsModel(models.StructModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, [("addresses", kind.addresses)])


# What follows is lowered by hand: an overload each would double the time to compile `descend`.


def _lowered(fn: Callable[..., Any], *kinds: Any) -> Callable[..., Any]:
    """Lower calls of `fn` on such arguments by code that is written by hand."""
    REPLACED.add(fn)
    return lower_builtin(fn, *kinds)  # type: ignore[no-any-return]


def _pack(context: Any, builder: Any, sig: Any, args: Any, names: dict[str, int]) -> Any:
    """Some of the arguments as a struct, each owned by it."""
    struct = cgutils.create_struct_proxy(sig.return_type)(context, builder)
    for name, i in names.items():
        setattr(struct, name, args[i])
        context.nrt.incref(builder, sig.args[i], args[i])
    return struct._getvalue()


@type_callable(vecmath.matrices)
def _type_matrices(context: Any) -> Any:
    return lambda flat, table: ViewsType(flat.dtype, 2, table)


@type_callable(vecmath.vectors)
def _type_vectors(context: Any) -> Any:
    return lambda flat, table: ViewsType(flat.dtype, 1, table)


@_lowered(vecmath.matrices, types.Array, types.Array)
@_lowered(vecmath.vectors, types.Array, types.Array)
def _make_views(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _pack(context, builder, sig, args, {"flat": 0, "table": 1})


@type_callable(vecmath.functions)
def _type_functions(context: Any) -> Any:
    def typer(role: Any, table: Any, like: Any) -> Any:
        known = isinstance(role, types.StringLiteral)
        return FunctionsType(role.literal_value, like.dtype) if known else None

    return typer


@_lowered(vecmath.functions, types.StringLiteral, types.Array, types.Array)
def _make_functions(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _pack(context, builder, sig, args, {"addresses": 1})


@type_callable(operator.getitem)
def _type_getitem(context: Any) -> Any:
    def typer(kept: Any, l: Any) -> Any:
        if isinstance(kept, ViewsType):
            if kept.table.ndim == 3:
                return ViewsType(kept.flat.dtype, kept.view.ndim, types.Array(types.int64, 2, "C"))
            return kept.view
        return kept.pointer if isinstance(kept, FunctionsType) else None

    return typer


def _array(
    context: Any, builder: Any, kind: Any, data: Any, shape: list[Any], meminfo: Any = None
) -> Any:
    """A C-contiguous array at an address, which owns nothing unless told."""
    size = context.get_constant(types.intp, kind.dtype.bitwidth // 8)
    strides = [size]
    for length in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], length))
    array = make_array(kind)(context, builder)
    populate_array(
        array,
        data=data,
        shape=cgutils.pack_array(builder, shape),
        strides=cgutils.pack_array(builder, strides),
        itemsize=size,
        meminfo=meminfo,
    )
    return array._getvalue()


@lower_builtin(operator.getitem, ViewsType, types.Integer)
def _get_view(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """A view into `flat` that owns nothing: no reference is counted."""
    kept, index = sig.args
    struct = cgutils.create_struct_proxy(kept)(context, builder, value=args[0])
    table = make_array(kept.table)(context, builder, struct.table)
    i = context.cast(builder, args[1], index, types.intp)
    shape = cgutils.unpack_tuple(builder, table.shape)
    if kept.table.ndim == 3:
        one = cgutils.create_struct_proxy(sig.return_type)(context, builder)
        first = builder.mul(i, builder.mul(shape[1], shape[2]))
        data = builder.gep(table.data, [first])
        one.flat = struct.flat
        one.table = _array(context, builder, sig.return_type.table, data, shape[1:])
        context.nrt.incref(builder, kept.flat, struct.flat)
        return one._getvalue()
    row = builder.mul(i, shape[1])
    start, rows, columns = (
        builder.load(builder.gep(table.data, [builder.add(row, row.type(k))])) for k in range(3)
    )
    data = builder.gep(make_array(kept.flat)(context, builder, struct.flat).data, [start])
    lengths = [rows, columns] if kept.view.ndim == 2 else [builder.mul(rows, columns)]
    return _array(context, builder, kept.view, data, lengths)


@lower_builtin(operator.getitem, FunctionsType, types.Integer)
def _get_function(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    kept, index = sig.args
    struct = cgutils.create_struct_proxy(kept)(context, builder, value=args[0])
    i = context.cast(builder, args[1], index, types.intp)
    addresses = make_array(kept.addresses)(context, builder, struct.addresses)
    address = builder.load(builder.gep(addresses.data, [i]))
    return builder.inttoptr(address, context.get_value_type(kept.pointer))


@type_callable(vecmath.dot)
def _type_dot(context: Any) -> Any:
    return lambda x, y, out: types.void


@_lowered(vecmath.dot, types.Array, types.Array, types.Array)
def _dot(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """BLAS's matrix product, as `np.dot` calls it, but for matrices with gaps between rows too.

    BLAS counts by columns and so sees every matrix transposed: outᵀ = yᵀ xᵀ.
    """
    x, y, out = sig.args
    char, word, pointer = ir.IntType(8), ir.IntType(64), ir.IntType(8).as_pointer()
    size = word(x.dtype.bitwidth // 8)

    def operand(kind: Any, value: Any) -> tuple[Any, ...]:
        array = make_array(kind)(context, builder, value)
        shape = cgutils.unpack_tuple(builder, array.shape)
        strides = cgutils.unpack_tuple(builder, array.strides)
        if kind.layout == "A":
            across = builder.icmp_signed("!=", strides[1], size)
        else:
            across = ir.IntType(1)(kind.layout == "F")
        leading = builder.sdiv(builder.select(across, strides[1], strides[0]), size)
        least = builder.select(across, shape[0], shape[1])
        enough = builder.icmp_signed(">=", leading, least)
        return (
            builder.select(across, char(ord("t")), char(ord("n"))),
            builder.bitcast(array.data, pointer),
            builder.select(enough, leading, least),
            shape,
        )

    def number(value: float) -> Any:
        kind = context.get_value_type(x.dtype)
        return builder.bitcast(cgutils.alloca_once_value(builder, kind(value)), pointer)

    x_across, x_data, x_leading, (rows, inner) = operand(x, args[0])
    y_across, y_data, y_leading, (_, columns) = operand(y, args[1])
    _, out_data, out_leading, _ = operand(out, args[2])
    arguments = (
        *(char(ord(get_blas_kind(x.dtype))), y_across, x_across, columns, rows, inner),
        *(number(1), y_data, y_leading, x_data, x_leading),
        *(number(0), out_data, out_leading),
    )
    signature = ir.FunctionType(ir.IntType(32), [value.type for value in arguments])
    gemm = cgutils.get_or_insert_function(builder.module, signature, "numba_xxgemm")
    check_blas_return(context, builder, builder.call(gemm, arguments))
    return context.get_dummy_value()


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
