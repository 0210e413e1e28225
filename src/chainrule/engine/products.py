"""Matrix products in compiled code: BLAS's, called straight, and one of our own for small ones.

BLAS first copies its operands to where it wants them, which pays if every number is used often.
In ∂C/∂W of a small batch, or in a layer with few inputs, a sum has few terms; in a layer with few
outputs each number is used in few sums. There the copying takes longer than the sums.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import type_callable
from numba.np.arrayobj import make_array
from numba.np.linalg import check_blas_return, get_blas_kind

from chainrule.engine.kept_type import Word
from chainrule.engine.views import lowered
from chainrule.equations import vecmath

FEW = 16  # terms in a sum, up to which the product is ours
NARROW = 4  # columns, up to which it is ours, in float64 or where x is transposed
TILE = 8  # rows that are summed at once: enough for an adder to be busy while it waits for itself

Lane, Byte, Bit = (ir.IntType(bits) for bits in (32, 8, 1))
Pointer = Byte.as_pointer()


@type_callable(vecmath.dot)
def _type_dot(context: Any) -> Any:
    return lambda x, y, out: types.void


@type_callable(vecmath.add_dot)
def _type_add_dot(context: Any) -> Any:
    return lambda factor, x, y, out: types.void


@lowered(vecmath.dot, types.Array, types.Array, types.Array)
def _dot(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    number = context.get_value_type(sig.args[0].dtype)
    return _gemm(context, builder, sig.args, args, number(1), number(0))


@lowered(vecmath.add_dot, types.Float, types.Array, types.Array, types.Array)
def _add_dot(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    dtype = sig.args[1].dtype
    factor = context.cast(builder, args[0], sig.args[0], dtype)
    one = context.get_value_type(dtype)(1)
    return _gemm(context, builder, sig.args[1:], args[1:], factor, one)


def _gemm(context: Any, builder: Any, kinds: Any, args: Any, factor: Any, kept: Any) -> Any:
    """out = kept out + factor x y; the matrices may have gaps between their rows.

    BLAS counts by columns and so sees every matrix transposed: outᵀ = yᵀ xᵀ.
    """
    x, y, out = kinds
    size, number_type = Word(x.dtype.bitwidth // 8), context.get_value_type(x.dtype)

    def operand(kind: Any, value: Any) -> tuple[Any, ...]:
        array = make_array(kind)(context, builder, value)
        shape = cgutils.unpack_tuple(builder, array.shape)
        strides = cgutils.unpack_tuple(builder, array.strides)
        if kind.layout == "A":
            across = builder.icmp_signed("!=", strides[1], size)
        else:
            across = Bit(kind.layout == "F")
        leading = builder.sdiv(builder.select(across, strides[1], strides[0]), size)
        least = builder.select(across, shape[0], shape[1])
        enough = builder.icmp_signed(">=", leading, least)
        data = builder.bitcast(array.data, Pointer)
        return across, data, builder.select(enough, leading, least), shape

    def number(value: Any) -> Any:
        return builder.bitcast(cgutils.alloca_once_value(builder, value), Pointer)

    def turned(across: Any) -> Any:
        return builder.select(across, Byte(ord("t")), Byte(ord("n")))

    x_across, x_data, x_leading, (rows, inner) = operand(x, args[0])
    y_across, y_data, y_leading, (_, columns) = operand(y, args[1])
    _, out_data, out_leading, _ = operand(out, args[2])

    def by_blas() -> None:
        arguments = (
            *(Byte(ord(get_blas_kind(x.dtype))), turned(y_across), turned(x_across)),
            *(columns, rows, inner),
            *(number(factor), y_data, y_leading, x_data, x_leading),
            *(number(kept), out_data, out_leading),
        )
        signature = ir.FunctionType(ir.IntType(32), [value.type for value in arguments])
        gemm = cgutils.get_or_insert_function(builder.module, signature, "numba_xxgemm")
        check_blas_return(context, builder, builder.call(gemm, arguments))

    if y.layout == "F":  # ours takes neighbouring columns of y at once
        by_blas()
        return context.get_dummy_value()
    few = builder.icmp_signed("<=", inner, Word(FEW))
    narrow = builder.icmp_signed("<=", columns, Word(NARROW))
    if isinstance(number_type, ir.FloatType):
        narrow = builder.and_(narrow, x_across)
    small = builder.or_(few, narrow)
    with builder.if_else(builder.and_(builder.not_(y_across), small)) as (ours, blas):
        with ours:
            x_row = builder.select(x_across, Word(1), x_leading)
            x_column = builder.select(x_across, x_leading, Word(1))
            product = _small_product(builder.module, number_type, kept.constant != 0)
            places = [x_data, x_row, x_column, y_data, y_leading, out_data, out_leading]
            builder.call(product, [rows, columns, inner, factor, *places])
        with blas:
            by_blas()
    return context.get_dummy_value()


def vector_bytes() -> int:
    """Bytes in a vector of the processor, at least 32."""
    return 64 if binding.get_host_cpu_features().get("avx512f") else 32


def _small_product(module: Any, number: Any, keeps: bool) -> Any:
    """The function out = out + factor x y, or without the old out, in this module.

    It takes the rows, columns and terms of the product, the factor, and x with its steps from row
    to row and from column to column, y and out with theirs from row to row. A vector stands for
    neighbouring columns of y and out, the last one masked; TILE rows of them are summed at once.
    (Numba lets a product and a sum be one instruction, here as everywhere.)
    """
    name = f"small_product_{number}_{'added' if keeps else 'new'}"
    if name in module.globals:
        return module.globals[name]
    takes = [Word, Word, Word, number, Pointer, Word, Word, Pointer, Word, Pointer, Word]
    product = ir.Function(module, ir.FunctionType(ir.VoidType(), takes), name)
    product.linkage = "internal"
    width = vector_bytes() // (4 if isinstance(number, ir.FloatType) else 8)
    vector, lanes = ir.VectorType(number, width), ir.VectorType(Lane, width)
    mask_type = ir.VectorType(Bit, width)
    kind = f"v{width}f{vector_bytes() * 8 // width}.p0"
    load = cgutils.get_or_insert_function(
        module,
        ir.FunctionType(vector, [number.as_pointer(), Lane, mask_type, vector]),
        f"llvm.masked.load.{kind}",
    )
    store = cgutils.get_or_insert_function(
        module,
        ir.FunctionType(ir.VoidType(), [vector, number.as_pointer(), Lane, mask_type]),
        f"llvm.masked.store.{kind}",
    )
    rows, columns, terms, factor, x, x_row, x_column, y, y_row, out, out_row = product.args
    builder = ir.IRBuilder(product.append_basic_block("entry"))
    x, y, out = (builder.bitcast(array, number.as_pointer()) for array in (x, y, out))
    align = Lane(vector_bytes() // width)
    nothing = ir.Constant(vector, None)
    sums = [cgutils.alloca_once(builder, vector) for _ in range(TILE)]

    def spread(value: Any, kind: Any) -> Any:
        none = ir.Constant(kind, ir.Undefined)
        one = builder.insert_element(none, value, Lane(0))
        return builder.shuffle_vector(one, none, ir.Constant(lanes, None))

    def tile(first: Any, mask: Any, j: Any, height: int) -> None:
        """Rows `first` and on of the columns j and on."""
        for r in range(height):
            builder.store(nothing, sums[r])
        with cgutils.for_range(builder, terms) as term:
            at = builder.add(builder.mul(term.index, y_row), j)
            right = builder.call(load, [builder.gep(y, [at]), align, mask, nothing])
            at = builder.add(builder.mul(term.index, x_column), builder.mul(first, x_row))
            for r in range(height):
                left = spread(builder.load(builder.gep(x, [at])), vector)
                more = builder.fmul(left, right)
                total = builder.fadd(builder.load(sums[r]), more)
                builder.store(total, sums[r])
                at = builder.add(at, x_row)
        at = builder.add(builder.mul(first, out_row), j)
        places = []
        for _ in range(height):
            places.append(builder.gep(out, [at]))
            at = builder.add(at, out_row)
        values = [builder.fmul(builder.load(total), factors) for total in sums[:height]]
        if keeps:
            # All are read first: a vector reaches into the next row, and would wait for it.
            old = [builder.call(load, [place, align, mask, nothing]) for place in places]
            values = [builder.fadd(*pair) for pair in zip(old, values, strict=True)]
        for place, value in zip(places, values, strict=True):
            builder.call(store, [value, place, align, mask])

    factors = spread(factor, vector)
    numbers = ir.Constant(lanes, list(range(width)))
    wide = Word(width)
    whole = builder.udiv(rows, Word(TILE))
    rest = builder.mul(whole, Word(TILE))
    blocks = builder.udiv(builder.add(columns, Word(width - 1)), wide)
    with cgutils.for_range(builder, blocks) as block:
        j = builder.mul(block.index, wide)
        left_over = builder.sub(columns, j)
        there = builder.select(builder.icmp_signed("<", left_over, wide), left_over, wide)
        there = spread(builder.trunc(there, Lane), lanes)
        mask = builder.icmp_signed("<", numbers, there)
        with cgutils.for_range(builder, whole) as group:
            tile(builder.mul(group.index, Word(TILE)), mask, j, TILE)
        with cgutils.for_range(builder, builder.sub(rows, rest)) as single:
            tile(builder.add(rest, single.index), mask, j, 1)
    builder.ret_void()
    return product
