"""How a step is cut into parts, by shapes alone, so that whoever takes a part gets its bits.

Two things are cut: the rows of the batch, for the forward and backward pass; and the parameters,
for the gradient and the optimiser's step. A part of the parameters is some rows of one weight
matrix; its step follows on its gradient while that is still in the cache. The cuts never depend
on the number of workers; only which worker takes which parts does.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule.vecmath import Index

if TYPE_CHECKING:
    from chainrule.network import Network

SLICE = 8192  # numbers of theta in one call of an optimiser: its temporaries stay in the cache
LEAST_ROWS = 64  # fewer rows a block, and BLAS spends its time on packing W
FEW, MANY_ROWS = 4, 256  # more blocks than a few only of so many rows each
LEAST_NUMBERS = 1 << 14  # of theta in a part
MOST_BLOCKS = 16  # of rows
MOST_PARTS = 4  # of one W; with more, BLAS packs δ more often


class Plan(NamedTuple):
    """The parts of a step on m rows; every table's rows are (offset, rows, columns).

    Attributes
    ----------
    tables : (4, L + 1, 3) int64
        Where W^l and b^l lie in theta, s^l in the layers' own numbers, z^l in the buffers.
    blocks : (B, L + 1, 3) int64
        Where each block of rows of z^l lies.
    starts : (B + 1,) int64
        First row of each block, and m.
    parts : (3, G, 3) int64
        Of the parameters: layer, first and last row of W; where that part of W lies; and of b,
        which goes with the last rows.
    slices : (2, S, 3) int64
        Of the parts: where they lie in theta, and in the optimiser's state.
    owned : (G + 1,) int64
        First slice of each part, and S.
    """

    tables: Index
    blocks: Index
    starts: Index
    parts: Index
    slices: Index
    owned: Index


def cut(n: int, most: int) -> list[int]:
    """0, …, n in at most `most` nearly equal steps, at least one."""
    pieces = max(1, min(most, n))
    return [n * i // pieces for i in range(pieces + 1)]


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
    tables = network.tables(m)
    layers = network.layers[1:]
    by_row = worth_cutting and all(layer.by_row for layer in layers)
    wanted = max(min(FEW, m // LEAST_ROWS), min(MOST_BLOCKS, m // MANY_ROWS))
    starts = cut(m, wanted if by_row else 1)
    blocks = np.stack([tables[3]] * (len(starts) - 1))
    for block, first, last in zip(blocks, starts[:-1], starts[1:], strict=True):
        block[:, 0] += first * block[:, 2]
        block[:, 1] = last - first
    parts: list[tuple[tuple[int, ...], ...]] = []
    slices: list[tuple[int, int]] = []
    owned = [0]
    for l, layer in enumerate(layers, start=1):
        (start, rows, columns), bias = tables[0, l].tolist(), tables[1, l].tolist()
        n_in = network.sizes[l - 1]
        pieces = min(MOST_PARTS, rows * columns // LEAST_NUMBERS) if layer.by_input else 1
        bounds = cut(rows, pieces) if pieces > 1 else [0, n_in]
        for first, last in itertools.pairwise(bounds):
            W = (start + first * columns, last - first, columns) if pieces > 1 else tables[0, l]
            b = bias if last == bounds[-1] else (bias[0], 0, 0)
            parts.append(((l, first, last), tuple(W), tuple(b)))
            size = W[1] * W[2] + b[1] * b[2]  # b lies behind W
            edges = cut(size, -(-size // SLICE)) if size else [0]
            slices += [(W[0] + lo, hi - lo) for lo, hi in itertools.pairwise(edges)]
            owned.append(len(slices))
    at, sizes = np.array(slices, np.int64).reshape(-1, 2).T
    ones = np.ones_like(sizes)
    both = [[at, ones, sizes], [at * slots, ones * slots, sizes]]
    return Plan(
        tables,
        np.ascontiguousarray(blocks),
        np.array(starts, np.int64),
        np.ascontiguousarray(np.array(parts, np.int64).transpose(1, 0, 2)),
        np.ascontiguousarray(np.array(both, np.int64).transpose(0, 2, 1)),
        np.array(owned, np.int64),
    )
