"""How a step is cut into parts, by shapes alone, so that whoever takes a part gets its bits.

Three things are cut: the rows of the batch, for the forward and backward pass; the rows of every
weight matrix, for the gradient; and theta as a whole, for the optimiser's step. The cuts never
depend on the number of workers; only which worker takes which parts does.
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
LEAST_PRODUCTS = 1 << 21  # multiplications in a part of a gradient
MOST = 16  # parts of one thing


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
        Of the gradient: layer, first and last row of W; where that part of W lies; and of b.
    slices : (2, S, 3) int64
        Of the step: where they lie in theta, and in the optimiser's state.
    """

    tables: Index
    blocks: Index
    starts: Index
    parts: Index
    slices: Index


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
        Whether rows and weights are cut at all.
    """
    tables = network.tables(m)
    layers = network.layers[1:]
    by_row = worth_cutting and all(layer.by_row for layer in layers)
    starts = cut(m, min(MOST, m // LEAST_ROWS) if by_row else 1)
    blocks = np.stack([tables[3]] * (len(starts) - 1))
    for block, first, last in zip(blocks, starts[:-1], starts[1:], strict=True):
        block[:, 0] += first * block[:, 2]
        block[:, 1] = last - first
    parts: list[tuple[tuple[int, ...], ...]] = []
    for l, layer in enumerate(layers, start=1):
        (start, rows, columns), bias = tables[0, l].tolist(), tables[1, l].tolist()
        n_in = network.sizes[l - 1]
        products = m * rows * columns
        pieces = products // LEAST_PRODUCTS if worth_cutting and layer.by_input else 1
        bounds = cut(rows, min(MOST, pieces)) if pieces > 1 else [0, n_in]
        for first, last in itertools.pairwise(bounds):
            W = (start + first * columns, last - first, columns) if pieces > 1 else tables[0, l]
            b = bias if first == 0 else (bias[0], 0, 0)
            parts.append(((l, first, last), tuple(W), tuple(b)))
    P = network.theta.size
    bounds = cut(P, -(-P // SLICE))
    sizes = np.diff(bounds)
    ones = np.ones_like(sizes)
    slices = np.array(
        [
            np.stack([bounds[:-1], ones, sizes], axis=1),
            np.stack([np.array(bounds[:-1]) * slots, ones * slots, sizes], axis=1),
        ]
    )
    return Plan(
        tables,
        np.ascontiguousarray(blocks),
        np.array(starts, np.int64),
        np.ascontiguousarray(np.array(parts, np.int64).transpose(1, 0, 2)),
        np.ascontiguousarray(slices, np.int64),
    )
