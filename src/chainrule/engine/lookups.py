"""The look-ups of `equations.lookups` in compiled code, written for vectors of the processor.

The numbers that a row of the batch looks up are short rows of a table. A loop over each would read
and write what it sums up again and again; here a *tile* of neighbouring columns stays in the
processor's registers while a whole row of the batch, or of the table, goes by.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import type_callable
from numba.np.arrayobj import make_array

from chainrule.engine.kept_type import Word
from chainrule.engine.products import Bit, Lane, vector_bytes
from chainrule.engine.views import lowered
from chainrule.equations import lookups

VECTORS = 4  # in a tile: enough for adders to be busy, and few enough for AVX2's registers


class Tile:
    """Columns k to k + VECTORS width of matrices that have h columns; what is beyond is masked."""

    def __init__(self, builder: Any, number: Any, k: Any, h: Any) -> None:
        self.builder, self.k = builder, k
        self.width = vector_bytes() // (4 if isinstance(number, ir.FloatType) else 8)
        self.vector = ir.VectorType(number, self.width)
        self.lanes = ir.VectorType(Lane, self.width)
        self.nothing = ir.Constant(self.vector, None)
        self._align = Lane(vector_bytes() // self.width)
        left = self._spread(builder.trunc(builder.sub(h, k), Lane), self.lanes)
        self._masks = []
        for v in range(VECTORS):
            places = ir.Constant(self.lanes, [v * self.width + i for i in range(self.width)])
            self._masks.append(builder.icmp_signed("<", places, left))
        self._pointer = number.as_pointer()
        self._number = number
        self._kind = f"v{self.width}f{vector_bytes() * 8 // self.width}"

    def _function(self, name: str, result: Any, takes: list[Any]) -> Any:
        signature = ir.FunctionType(result, takes)
        return cgutils.get_or_insert_function(self.builder.module, signature, name)

    def _spread(self, value: Any, kind: Any) -> Any:
        none = ir.Constant(kind, ir.Undefined)
        one = self.builder.insert_element(none, value, Lane(0))
        zeros = ir.Constant(self.lanes, None)
        return self.builder.shuffle_vector(one, none, zeros)

    def spread(self, value: Any) -> Any:
        """A number as a vector."""
        return self._spread(value, self.vector)

    def _places(self, row: Any) -> list[Any]:
        """Where a row's vectors are; `row` is the address of its first number."""
        start = self.builder.gep(row, [self.k])
        return [self.builder.gep(start, [Word(v * self.width)]) for v in range(VECTORS)]

    def load(self, row: Any) -> list[Any]:
        """The tile of a row, as vectors."""
        mask_type = ir.VectorType(Bit, self.width)
        load = self._function(
            f"llvm.masked.load.{self._kind}.p0",
            self.vector,
            [self._pointer, Lane, mask_type, self.vector],
        )
        return [
            self.builder.call(load, [place, self._align, mask, self.nothing])
            for place, mask in zip(self._places(row), self._masks, strict=True)
        ]

    def store(self, values: list[Any], row: Any) -> None:
        """Write vectors into a row."""
        mask_type = ir.VectorType(Bit, self.width)
        store = self._function(
            f"llvm.masked.store.{self._kind}.p0",
            ir.VoidType(),
            [self.vector, self._pointer, Lane, mask_type],
        )
        for value, place, mask in zip(values, self._places(row), self._masks, strict=True):
            self.builder.call(store, [value, place, self._align, mask])

    def times(self, factor: Any, values: list[Any]) -> list[Any]:
        """factor x, for a vector `factor`."""
        return [self.builder.fmul(factor, value) for value in values]

    def plus(self, values: list[Any], others: list[Any]) -> list[Any]:
        """x + y."""
        return [self.builder.fadd(*pair) for pair in zip(values, others, strict=True)]

    def sums(self) -> Sums:
        """Vectors to be added to, 0 at first."""
        return Sums(self)

    def dot(self, values: list[Any], others: list[Any]) -> Any:
        """Σ x y, a number."""
        products = [self.builder.fmul(*pair) for pair in zip(values, others, strict=True)]
        total = products[0]
        for product in products[1:]:
            total = self.builder.fadd(total, product)
        name = f"llvm.vector.reduce.fadd.{self._kind}"
        reduce = self._function(name, self._number, [self._number, self.vector])
        return self.builder.call(reduce, [self._number(0), total], fastmath=("reassoc",))


class Sums:
    """The vectors of a tile, in registers."""

    def __init__(self, tile: Tile) -> None:
        self._tile = tile
        self._slots = [cgutils.alloca_once(tile.builder, tile.vector) for _ in range(VECTORS)]
        self.set([tile.nothing] * VECTORS)

    def set(self, values: list[Any]) -> None:
        """Write them."""
        for slot, value in zip(self._slots, values, strict=True):
            self._tile.builder.store(value, slot)

    def get(self) -> list[Any]:
        """Read them."""
        return [self._tile.builder.load(slot) for slot in self._slots]

    def add(self, values: list[Any]) -> None:
        """Add to them."""
        self.set(self._tile.plus(self.get(), values))


class Rows:
    """Addresses and lengths of the arrays that a call takes, within a function of its own."""

    def __init__(self, builder: Any, kinds: Any, data: Any, shapes: Any) -> None:
        self.builder, self._kinds, self._data, self._shapes = builder, kinds, data, shapes

    def length(self, array: int, axis: int = 0) -> Any:
        """How long an array is."""
        return self._shapes[array][axis]

    def row(self, array: int, i: Any) -> Any:
        """The address of row i of a matrix, or of number i of a vector."""
        if self._kinds[array].ndim == 2:
            i = self.builder.mul(i, self.length(array, 1))
        return self.builder.gep(self._data[array], [i])

    def at(self, array: int, i: Any, j: Any = None) -> Any:
        """A number; whole ones in 64 bits."""
        place = self.row(array, i)
        value = self.builder.load(place if j is None else self.builder.gep(place, [j]))
        narrow = isinstance(value.type, ir.IntType) and value.type.width < 64
        return self.builder.sext(value, Word) if narrow else value


@contextmanager
def _tiles(builder: Any, number: Any, h: Any) -> Any:
    """Go through the columns of matrices, tile by tile."""
    step = Word(VECTORS * vector_bytes() // (4 if isinstance(number, ir.FloatType) else 8))
    count = builder.udiv(builder.add(h, builder.sub(step, Word(1))), step)
    with cgutils.for_range(builder, count) as loop:
        yield Tile(builder, number, builder.mul(loop.index, step), h)


def _by_hand(
    fn: Callable[..., Any], number_of: int, write: Callable[[Any, Any, Rows], None]
) -> None:
    """Lower calls of `fn`, which takes arrays alone and returns nothing, to what `write` writes.

    It becomes a function in the module, once for each type of the numbers: those of the array
    `number_of`.
    """
    takes = fn.__code__.co_argcount

    @type_callable(fn)
    def _type(context: Any) -> Any:
        def typer(*args: Any) -> Any:
            return types.void

        source = f"lambda {', '.join(fn.__code__.co_varnames[:takes])}: typer()"
        return eval(source, {"typer": typer})

    @lowered(fn, *[types.Array] * takes)
    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = context.get_value_type(sig.args[number_of].dtype)
        data: list[Any] = []
        shapes: list[list[Any]] = []
        for kind, value in zip(sig.args, args, strict=True):
            array = make_array(kind)(context, builder, value)
            data.append(array.data)
            shapes.append(cgutils.unpack_tuple(builder, array.shape))
        flat = [*data, *(length for shape in shapes for length in shape)]
        name = f"{fn.__name__}_{number}"
        if name in builder.module.globals:
            function = builder.module.globals[name]
        else:
            signature = ir.FunctionType(ir.VoidType(), [value.type for value in flat])
            function = ir.Function(builder.module, signature, name)
            function.linkage = "internal"
            inner = ir.IRBuilder(function.append_basic_block("entry"))
            rest = list(function.args[takes:])
            lengths = [[rest.pop(0) for _ in shape] for shape in shapes]
            write(inner, number, Rows(inner, sig.args, function.args[:takes], lengths))
            inner.ret_void()
        builder.call(function, flat)
        return context.get_dummy_value()


def _look_up_rows(builder: Any, number: Any, x: Rows) -> None:
    bins, fractions, levels, rows, nodes, first_levels, E, z = range(8)
    with (
        _tiles(builder, number, x.length(z, 1)) as tile,
        cgutils.for_range(builder, x.length(rows)) as sample,
    ):
        row, total = x.at(rows, sample.index), tile.sums()
        total.set(tile.load(x.row(z, sample.index)))
        with cgutils.for_range(builder, x.length(bins, 1)) as place:
            j = place.index
            at = builder.add(x.at(nodes, j), x.at(bins, row, j))
            up = x.at(fractions, row, j)
            down = tile.spread(builder.fsub(number(1), up))
            total.add(tile.times(down, tile.load(x.row(E, at))))
            above = tile.load(x.row(E, builder.add(at, Word(1))))
            total.add(tile.times(tile.spread(up), above))
        with cgutils.for_range(builder, x.length(levels, 1)) as place:
            level = x.at(levels, row, place.index)
            with builder.if_then(builder.icmp_signed(">=", level, Word(0))):
                at = builder.add(x.at(first_levels, place.index), level)
                total.add(tile.load(x.row(E, at)))
        tile.store(total.get(), x.row(z, sample.index))


def _collect_rows(builder: Any, number: Any, x: Rows) -> None:
    bins, fractions, levels, rows, nodes, first_levels, delta, G = range(8)
    with _tiles(builder, number, x.length(delta, 1)) as tile:

        def add(values: list[Any], at: Any) -> None:
            place = x.row(G, at)
            tile.store(tile.plus(tile.load(place), values), place)

        with cgutils.for_range(builder, x.length(rows)) as sample:
            row, error = x.at(rows, sample.index), tile.load(x.row(delta, sample.index))
            with cgutils.for_range(builder, x.length(bins, 1)) as place:
                j = place.index
                at = builder.add(x.at(nodes, j), x.at(bins, row, j))
                up = x.at(fractions, row, j)
                add(tile.times(tile.spread(builder.fsub(number(1), up)), error), at)
                add(tile.times(tile.spread(up), error), builder.add(at, Word(1)))
            with cgutils.for_range(builder, x.length(levels, 1)) as place:
                level = x.at(levels, row, place.index)
                with builder.if_then(builder.icmp_signed(">=", level, Word(0))):
                    add(error, builder.add(x.at(first_levels, place.index), level))


def _table_of_rows(builder: Any, number: Any, x: Rows) -> None:
    W, s, b, nodes, scale, mean, E, shifted = range(8)
    d, q = x.at(nodes, Word(0)), builder.sub(x.length(nodes), Word(1))
    last = x.at(nodes, q)
    with _tiles(builder, number, x.length(W, 1)) as tile:
        offset, total = tile.sums(), tile.sums()
        offset.set(tile.load(x.row(b, Word(0))))

        def weighed(t: Any) -> list[Any]:
            """c_t s_t W_t; its share of the shifted bias is added."""
            w, column = tile.load(x.row(W, t)), builder.sub(t, d)
            factor = x.at(s, t)
            by = builder.fneg(builder.fmul(x.at(mean, column), factor))
            offset.add(tile.times(tile.spread(by), w))
            V: list[Any] = tile.times(tile.spread(builder.fmul(x.at(scale, column), factor)), w)
            return V

        with cgutils.for_range(builder, d) as column:
            by = tile.spread(x.at(s, column.index))
            dense = tile.times(by, tile.load(x.row(W, column.index)))
            tile.store(dense, x.row(E, column.index))
        with cgutils.for_range(builder, q) as feature:
            first = x.at(nodes, feature.index)
            end = x.at(nodes, builder.add(feature.index, Word(1)))
            total.set([tile.nothing] * VECTORS)
            tile.store(total.get(), x.row(E, first))
            start = builder.sub(first, feature.index)
            bins = builder.sub(builder.sub(end, first), Word(1))
            with cgutils.for_range(builder, bins) as place:
                total.add(weighed(builder.add(start, place.index)))
                row = builder.add(builder.add(first, place.index), Word(1))
                tile.store(total.get(), x.row(E, row))
        with cgutils.for_range(builder, builder.sub(x.length(E), last)) as place:
            row = builder.add(last, place.index)
            tile.store(weighed(builder.sub(row, q)), x.row(E, row))
        tile.store(offset.get(), x.row(shifted, Word(0)))


def _table_of_rows_pullback(builder: Any, number: Any, x: Rows) -> None:
    W, s, nodes, scale, mean, G, total, nabla_W, nabla_s = range(9)
    d, q = x.at(nodes, Word(0)), builder.sub(x.length(nodes), Word(1))
    last = x.at(nodes, q)
    with _tiles(builder, number, x.length(W, 1)) as tile:
        of_bias, running = tile.load(x.row(total, Word(0))), tile.sums()
        is_first = builder.icmp_signed("==", tile.k, Word(0))

        def learn(t: Any, slope: list[Any]) -> None:
            """Add to ∂C/∂W_t and ∂C/∂s_t from the derivative by s_t W_t."""
            place = x.row(nabla_s, t)
            old = builder.select(is_first, number(0), builder.load(place))
            dot = tile.dot(slope, tile.load(x.row(W, t)))
            builder.store(builder.fadd(old, dot), place)
            by, row = tile.spread(x.at(s, t)), x.row(nabla_W, t)
            tile.store(tile.plus(tile.load(row), tile.times(by, slope)), row)

        def learn_column(t: Any, g: list[Any]) -> None:
            column = builder.sub(t, d)
            by = tile.spread(builder.fneg(x.at(mean, column)))
            g = tile.times(tile.spread(x.at(scale, column)), g)
            learn(t, tile.plus(g, tile.times(by, of_bias)))

        with cgutils.for_range(builder, d) as column:
            learn(column.index, tile.load(x.row(G, column.index)))
        with cgutils.for_range(builder, q) as feature:
            first = x.at(nodes, feature.index)
            end = x.at(nodes, builder.add(feature.index, Word(1)))
            running.set([tile.nothing] * VECTORS)
            bins = builder.sub(builder.sub(end, first), Word(1))
            with cgutils.for_range(builder, bins) as place:
                row = builder.sub(builder.sub(end, Word(1)), place.index)
                running.add(tile.load(x.row(G, row)))
                t = builder.sub(builder.sub(row, feature.index), Word(1))
                learn_column(t, running.get())
        with cgutils.for_range(builder, builder.sub(x.length(G), last)) as place:
            row = builder.add(last, place.index)
            learn_column(builder.sub(row, q), tile.load(x.row(G, row)))


_by_hand(lookups.look_up_rows, 6, _look_up_rows)
_by_hand(lookups.collect_rows, 7, _collect_rows)
_by_hand(lookups.table_of_rows, 6, _table_of_rows)
_by_hand(lookups.table_of_rows_pullback, 5, _table_of_rows_pullback)
