"""Views that cost nothing, calls by address, and BLAS: lowered to LLVM's code by hand.

An overload each would double the time to compile `backprop.descend`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, models, register_model, type_callable
from numba.np.arrayobj import make_array, populate_array
from numba.np.linalg import check_blas_return, get_blas_kind

from chainrule import vecmath
from chainrule.engine import numba_signature
from chainrule.loops import REPLACED


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


@type_callable(vecmath.add_dot)
def _type_add_dot(context: Any) -> Any:
    return lambda factor, x, y, out: types.void


@_lowered(vecmath.dot, types.Array, types.Array, types.Array)
def _dot(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    number = context.get_value_type(sig.args[0].dtype)
    return _gemm(context, builder, sig.args, args, number(1), number(0))


@_lowered(vecmath.add_dot, types.Float, types.Array, types.Array, types.Array)
def _add_dot(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    dtype = sig.args[1].dtype
    factor = context.cast(builder, args[0], sig.args[0], dtype)
    one = context.get_value_type(dtype)(1)
    return _gemm(context, builder, sig.args[1:], args[1:], factor, one)


def _gemm(context: Any, builder: Any, kinds: Any, args: Any, factor: Any, kept: Any) -> Any:
    """out = kept out + factor x y by BLAS, of which matrices may have gaps between their rows.

    BLAS counts by columns and so sees every matrix transposed: outᵀ = yᵀ xᵀ.
    """
    x, y, out = kinds
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

    def number(value: Any) -> Any:
        return builder.bitcast(cgutils.alloca_once_value(builder, value), pointer)

    x_across, x_data, x_leading, (rows, inner) = operand(x, args[0])
    y_across, y_data, y_leading, (_, columns) = operand(y, args[1])
    _, out_data, out_leading, _ = operand(out, args[2])
    arguments = (
        *(char(ord(get_blas_kind(x.dtype))), y_across, x_across, columns, rows, inner),
        *(number(factor), y_data, y_leading, x_data, x_leading),
        *(number(kept), out_data, out_leading),
    )
    signature = ir.FunctionType(ir.IntType(32), [value.type for value in arguments])
    gemm = cgutils.get_or_insert_function(builder.module, signature, "numba_xxgemm")
    check_blas_return(context, builder, builder.call(gemm, arguments))
    return context.get_dummy_value()
