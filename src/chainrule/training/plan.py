"""How a step is cut into blocks and parts, by shapes alone, so that the result is always the same.

Two things are cut: the rows of the batch, for the forward and backward pass; and the parameters,
for the gradient and the optimiser's step. A part of the parameters is some rows of one weight
matrix; its step follows on its gradient while that is still in the cache. The cuts never depend
on the number of worker threads; only which thread does which parts does.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule.base.types import Index
from chainrule.equations.vecmath import MOST_ITEMS

if TYPE_CHECKING:
    from chainrule.network.network import Network

SLICE = 2048  # numbers of theta in one call of an optimiser: all that it touches stays in the cache
SMALL, LONG_SLICE = 1 << 14, 8192  # a theta that is in the cache as a whole: calls count for more
LEAST_ROWS = 64  # fewer rows a block, and BLAS spends its time on packing W
FEW, MANY_ROWS = 4, 256  # more blocks than a few only of so many rows each
LEAST_NUMBERS = 1 << 14  # of theta in a part
SUMMED_ROWS = 128  # in a block with a gradient of its own
MOST_BLOCKS = 16  # of rows; twice as many chunks, and no more than MOST_ITEMS
MOST_PARTS = 4  # of one W; with more, BLAS packs δ more often


class Plan(NamedTuple):
    """How a step on m rows is cut; a table's rows are (offset, rows, columns).

    Attributes
    ----------
    tables : (4, L + 1, 3) int64
        Where W^l and b^l lie in theta, z^l in the buffers, and statistics of all blocks of rows.
    stages : (K + 2,) int64
        First layer of each stage of the forward pass, and L + 1. Between stages the blocks of rows
        wait for each other. There is one stage, and one more from each layer that has statistics
        if there are several blocks.
    blocks : (B, L + 1, 3) int64
        Where each block of rows of z^l lies.
    starts : (B + 1,) int64
        First row of each block, and m.
    layer_of, first_of, end_of : (G,) int64
        Of each part of the parameters its layer, and the rows of W from the first to before the
        end. Each part is a slice of its own if gradients are added up.
    parts : (2, G, 3) int64
        Where each part of W lies, and of b, which goes with the last rows.
    slices : (2, S, 3) int64
        Of the parts: where they lie in theta, and in the optimiser's memory. A slice is what one
        call of the optimiser's step gets.
    groups : (S,) int64
        The group of parameters that each slice belongs to: of layer l, W is group 2 l and b is
        group 2 l + 1. A slice of W may go on into b if both learn at one rate.
    part_slices : (G + 1,) int64
        First slice of each part, and S.
    chunks : (H + 1,) int64
        First part of each chunk, at most MOST_ITEMS, and G; a thread claims a chunk at a time.
    constants : (B, L + 1, 3) int64
        Where each block's copy of s^l lies.
    W_blocks, b_blocks : (B, L + 1, 3) int64, or (0, L + 1, 3)
        Where the gradients by the rows of each block lie, which are then added up; without
        them, the gradients of all rows are taken part by part.
    statistics_blocks : (B, L + 1, 3) int64
        Where each block of rows has its statistics.
    """

    tables: Index
    stages: Index
    blocks: Index
    starts: Index
    layer_of: Index
    first_of: Index
    end_of: Index
    parts: Index
    slices: Index
    groups: Index
    part_slices: Index
    chunks: Index
    constants: Index
    W_blocks: Index
    b_blocks: Index
    statistics_blocks: Index


def cut(n: int, most: int) -> list[int]:
    """0, …, n in at most `most` nearly equal steps, at least one."""
    parts = max(1, min(most, n))
    return [n * i // parts for i in range(parts + 1)]


def make_plan(network: Network, m: int, slots: int, worth_cutting: bool) -> Plan:
    """Cut a step on m rows.

    Parameters
    ----------
    network : Network
    m : int
        Rows in the batch.
    slots : int
        The optimiser's.
    worth_cutting : bool
        Whether the rows are cut at all. The parameters are, whatever m: the optimiser's state
        is laid out by their slices.
    """
    by_row = worth_cutting and all(layer.by_row for layer in network.layers[1:])
    adds_up = by_row and gradients_by_block(network, m)
    tables = network.tables(m)
    starts = cut(m, blocks_of(m, adds_up) if by_row else 1)
    n_blocks = len(starts) - 1
    blocks = np.stack([tables[2]] * n_blocks)
    for block, first, last in zip(blocks, starts[:-1], starts[1:], strict=True):
        block[:, 0] += first * block[:, 2]
        block[:, 1] = last - first
    s, nabla_W, nabla_b, statistics = (np.stack([tables[k]] * n_blocks) for k in (3, 0, 1, 4))
    at = np.arange(n_blocks)[:, np.newaxis]
    s[:, :, 0] += at * tables[3, :, 2].sum()
    has_statistics = [layer.statistics is not None for layer in network.layers]
    s[:, has_statistics, 2] -= m - np.diff(starts)[:, np.newaxis]  # what each row counts for
    nabla_W[:, :, 0] += at * network.theta.size
    nabla_b[:, :, 0] += at * network.theta.size
    if not adds_up:
        nabla_W, nabla_b = nabla_W[:0], nabla_b[:0]
    whole = tables[4] * [n_blocks, n_blocks, 1]  # a layer's blocks one after the other
    statistics[:, :, 0] = whole[:, 0] + at * whole[:, 2]
    waiting = np.flatnonzero(has_statistics).tolist() if n_blocks > 1 else []
    fields = (
        np.stack([*tables[:3], whole]),
        np.array([1, *waiting, network.L + 1], np.int64),
        blocks,
        np.array(starts, np.int64),
        *_parts(network, tables, slots, n_blocks if adds_up else 0),
        s,
        nabla_W,
        nabla_b,
        statistics,
    )
    return Plan._make(fields)


def _parts(network: Network, tables: Index, slots: int, added: int) -> tuple[Index, ...]:
    """A plan's fields from layer_of to chunks; `added` is how many gradients are added up."""
    by_slice = added > 0
    longest = LONG_SLICE if network.theta.size <= SMALL else SLICE
    parts: list[tuple[tuple[int, ...], ...]] = []
    slices: list[tuple[int, int, int]] = []
    part_slices = [0]
    for l, layer in enumerate(network.layers[1:], start=1):
        rows, columns = tables[0, l, 1:].tolist()
        count = min(MOST_PARTS, rows * columns // LEAST_NUMBERS) if layer.by_input else 1
        for first, last in itertools.pairwise(cut(rows, count)):
            bounds = cut(last - first, -(-(last - first) * columns // longest))
            finer = [(first + lo, first + hi) for lo, hi in itertools.pairwise(bounds)]
            for lo, hi in finer if by_slice else [(first, last)]:
                inputs = (lo, hi) if layer.by_input else (0, network.sizes[l - 1])
                parts.append(((l, *inputs), *_stretch(tables[:2, l], lo, hi)))
            for lo, hi in finer:
                W, b = _stretch(tables[:2, l], lo, hi)
                of_W, of_b = W[1] * W[2], b[1] * b[2]
                if layer.rate_factors[0] == layer.rate_factors[1]:
                    of_W, of_b = of_W + of_b, 0
                if of_W > 0:
                    slices.append((W[0], of_W, 2 * l))
                if of_b > 0:
                    slices.append((b[0], of_b, 2 * l + 1))
                if by_slice:
                    part_slices.append(len(slices))
            if not by_slice:
                part_slices.append(len(slices))
    at, sizes, groups = np.array(slices, np.int64).reshape(-1, 3).T
    ones = np.ones_like(sizes)
    both = [[at, ones, sizes], [at * slots, ones * slots, sizes]]
    of_parts = np.ascontiguousarray(np.array(parts, np.int64).transpose(1, 0, 2))
    return (
        *np.ascontiguousarray(of_parts[0].T),
        of_parts[1:],
        np.ascontiguousarray(np.array(both, np.int64).transpose(0, 2, 1)),
        np.ascontiguousarray(groups),
        np.array(part_slices, np.int64),
        np.array(cut(len(parts), 2 * added if by_slice else MOST_ITEMS), np.int64),
    )


def _stretch(tables: Index, first: int, last: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where those rows of a W lie, and b, which lies behind W, if the last row is among them."""
    (start, rows, columns), bias = tables.tolist()
    b = bias if last == rows else [bias[0], 0, 0]
    return (start + first * columns, last - first, columns), tuple(b)


def blocks_of(m: int, adds_up: bool) -> int:
    """How many blocks m rows are cut into; if more than one, as many for each of two workers."""
    if adds_up:
        return max(2, min(MOST_BLOCKS, m // SUMMED_ROWS) // 2 * 2)
    return max(min(FEW, m // LEAST_ROWS), min(MOST_BLOCKS, m // MANY_ROWS))


def gradients_by_block(network: Network, m: int) -> bool:
    """Whether each block's gradient is cheaper to add up than its a and δ to hand over.

    What one core wrote, another reads from afar: all blocks' gradients, or all of a and δ.
    """
    return m > 1 and blocks_of(m, True) * network.theta.size < m * sum(network.sizes)
