"""Views that cost nothing, and calls by address: lowered to LLVM's code by hand.

An overload each would double the time to compile `kernel.descend`. They own nothing, so that no
references are counted: what they look into has to outlive them, as a function's arguments do.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, models, register_model, type_callable
from numba.np.arrayobj import make_array, populate_array

from chainrule.engine.kept_type import KeptType, Word
from chainrule.engine.loops import REPLACED
from chainrule.engine.roles import numba_signature
from chainrule.equations import vecmath


class ViewsType(types.Type):
    """A flat vector and a table: indexing by layer gives a matrix (ndim 2) or a vector (1).

    Of several tables, indexing gives the views of one.
    """

    def __init__(self, dtype: Any, ndim: int, table: Any) -> None:
        self.flat = types.Array(dtype, 1, "C")
        self.table = table
        self.view = types.Array(dtype, ndim, "C")
        super().__init__(f"Views({dtype}, {ndim}, {table.ndim})")


class RowBlocksType(types.Type):
    """A matrix or a vector, and first rows: indexing by block gives the block's rows."""

    def __init__(self, x: Any) -> None:
        self.view = types.Array(x.dtype, x.ndim, "C")
        super().__init__(f"RowBlocks({x.dtype}, {x.ndim})")


class FunctionsType(types.Type):
    """A table of addresses: indexing by layer gives a C function of the role's signature."""

    def __init__(self, role: str, dtype: Any) -> None:
        self.pointer = types.ExternalFunctionPointer(numba_signature(role, dtype), None)
        super().__init__(f"Functions({role}, {dtype})")


@register_model(ViewsType)
class _ViewsModel(models.StructModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        flat, table = types.CPointer(kind.flat.dtype), types.CPointer(types.int64)
        super().__init__(manager, kind, [("flat", flat), ("table", table), ("n", types.intp)])


@register_model(RowBlocksType)
class _RowBlocksModel(models.StructModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        data, starts = types.CPointer(kind.view.dtype), types.CPointer(types.int64)
        columns = ("columns", types.intp)
        super().__init__(manager, kind, [("data", data), ("starts", starts), columns])


@register_model(FunctionsType)
class _FunctionsModel(models.StructModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, [("addresses", types.CPointer(types.int64))])


def lowered(fn: Callable[..., Any], *kinds: Any) -> Callable[..., Any]:
    """Lower calls of `fn` on such arguments by code that is written by hand."""
    REPLACED.add(fn)
    return lower_builtin(fn, *kinds)  # type: ignore[no-any-return]


@type_callable(vecmath.matrices)
def _type_matrices(context: Any) -> Any:
    return lambda flat, table: ViewsType(flat.dtype, 2, table)


@type_callable(vecmath.vectors)
def _type_vectors(context: Any) -> Any:
    return lambda flat, table: ViewsType(flat.dtype, 1, table)


@lowered(vecmath.matrices, types.Array, types.Array)
@lowered(vecmath.vectors, types.Array, types.Array)
def _make_views(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    struct = cgutils.create_struct_proxy(sig.return_type)(context, builder)
    flat, table = (
        make_array(kind)(context, builder, x) for kind, x in zip(sig.args, args, strict=True)
    )
    struct.flat, struct.table = flat.data, table.data
    struct.n = cgutils.unpack_tuple(builder, table.shape)[-2]
    return struct._getvalue()


@type_callable(vecmath.row_blocks)
def _type_row_blocks(context: Any) -> Any:
    return lambda x, starts: RowBlocksType(x)


@lowered(vecmath.row_blocks, types.Array, types.Array)
def _make_row_blocks(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    struct = cgutils.create_struct_proxy(sig.return_type)(context, builder)
    x, starts = (
        make_array(kind)(context, builder, value)
        for kind, value in zip(sig.args, args, strict=True)
    )
    struct.data, struct.starts = x.data, starts.data
    lengths = cgutils.unpack_tuple(builder, x.shape)
    struct.columns = lengths[1] if len(lengths) == 2 else context.get_constant(types.intp, 1)
    return struct._getvalue()


@type_callable(vecmath.functions)
def _type_functions(context: Any) -> Any:
    def typer(role: Any, table: Any, like: Any) -> Any:
        known = isinstance(role, types.StringLiteral)
        return FunctionsType(role.literal_value, like.dtype) if known else None

    return typer


@lowered(vecmath.functions, types.StringLiteral, types.Array, types.Array)
def _make_functions(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    struct = cgutils.create_struct_proxy(sig.return_type)(context, builder)
    struct.addresses = make_array(sig.args[1])(context, builder, args[1]).data
    return struct._getvalue()


@type_callable(operator.getitem)
def _type_getitem(context: Any) -> Any:
    def typer(kept: Any, l: Any) -> Any:
        if isinstance(kept, ViewsType):
            if kept.table.ndim == 3:
                return ViewsType(kept.flat.dtype, kept.view.ndim, types.Array(types.int64, 2, "C"))
            return kept.view
        if isinstance(kept, RowBlocksType):
            return kept.view
        return kept.pointer if isinstance(kept, FunctionsType) else None

    return typer


def _array(context: Any, builder: Any, kind: Any, data: Any, shape: list[Any]) -> Any:
    """A C-contiguous array at an address, which owns nothing."""
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
        meminfo=None,
    )
    return array._getvalue()


@lower_builtin(operator.getitem, ViewsType, types.Integer)
def _get_view(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    kept, index = sig.args
    struct = cgutils.create_struct_proxy(kept)(context, builder, value=args[0])
    i = context.cast(builder, args[1], index, types.intp)
    if kept.table.ndim == 3:
        one = cgutils.create_struct_proxy(sig.return_type)(context, builder)
        one.flat, one.n = struct.flat, struct.n
        first = builder.mul(i, builder.mul(struct.n, struct.n.type(3)))
        one.table = builder.gep(struct.table, [first])
        return one._getvalue()
    row = builder.mul(i, i.type(3))
    start, rows, columns = (
        builder.load(builder.gep(struct.table, [builder.add(row, row.type(k))])) for k in range(3)
    )
    data = builder.gep(struct.flat, [start])
    lengths = [rows, columns] if kept.view.ndim == 2 else [builder.mul(rows, columns)]
    return _array(context, builder, kept.view, data, lengths)


@lower_builtin(operator.getitem, RowBlocksType, types.Integer)
def _get_rows(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    kept, index = sig.args
    struct = cgutils.create_struct_proxy(kept)(context, builder, value=args[0])
    i = context.cast(builder, args[1], index, types.intp)
    first, last = (
        builder.load(builder.gep(struct.starts, [builder.add(i, i.type(k))])) for k in range(2)
    )
    data = builder.gep(struct.data, [builder.mul(first, struct.columns)])
    lengths = [builder.sub(last, first), struct.columns][: kept.view.ndim]
    return _array(context, builder, kept.view, data, lengths)


@lower_builtin(operator.getitem, FunctionsType, types.Integer)
def _get_function(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    kept, index = sig.args
    struct = cgutils.create_struct_proxy(kept)(context, builder, value=args[0])
    i = context.cast(builder, args[1], index, types.intp)
    address = builder.load(builder.gep(struct.addresses, [i]))
    return builder.inttoptr(address, context.get_value_type(kept.pointer))


@type_callable(vecmath.borrowed)
def _type_borrowed(context: Any) -> Any:
    return lambda x: x.whole if isinstance(x, KeptType) else x


@lowered(vecmath.borrowed, KeptType)
def _borrow_kept(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    places = itertools.count()

    def word() -> Any:
        return builder.load(builder.gep(args[0], [Word(next(places))]))

    def value(kind: Any) -> Any:
        if isinstance(kind, types.BaseTuple):
            return context.make_tuple(builder, kind, [value(each) for each in kind.types])
        if isinstance(kind, types.Array):
            numbers = context.get_value_type(kind.dtype).as_pointer()
            data = builder.inttoptr(word(), numbers)
            return _array(context, builder, kind, data, [word() for _ in range(kind.ndim)])
        return word() if kind == types.int64 else builder.bitcast(word(), ir.DoubleType())

    return value(sig.return_type)


@lowered(vecmath.borrowed, types.Array)
def _borrow_array(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    array = make_array(sig.args[0])(context, builder, args[0])
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    array.parent = cgutils.get_null_value(array.parent.type)
    return array._getvalue()


@lowered(vecmath.borrowed, types.BaseTuple)
def _borrow_each(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    values = cgutils.unpack_tuple(builder, args[0])
    for i, (kind, value) in enumerate(zip(sig.args[0].types, values, strict=True)):
        if isinstance(kind, types.Array):
            values[i] = _borrow_array(context, builder, kind(kind), [value])
    return context.make_tuple(builder, sig.return_type, values)
