"""Views that cost nothing, and calls by address: lowered to LLVM's code by hand.

An overload each would double the time to compile `backprop.descend`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, models, register_model, type_callable
from numba.np.arrayobj import make_array, populate_array

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


def lowered(fn: Callable[..., Any], *kinds: Any) -> Callable[..., Any]:
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


@lowered(vecmath.matrices, types.Array, types.Array)
@lowered(vecmath.vectors, types.Array, types.Array)
def _make_views(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _pack(context, builder, sig, args, {"flat": 0, "table": 1})


@type_callable(vecmath.functions)
def _type_functions(context: Any) -> Any:
    def typer(role: Any, table: Any, like: Any) -> Any:
        known = isinstance(role, types.StringLiteral)
        return FunctionsType(role.literal_value, like.dtype) if known else None

    return typer


@lowered(vecmath.functions, types.StringLiteral, types.Array, types.Array)
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
