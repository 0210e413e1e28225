"""What rows look up when they are predicted: a product with a sparse matrix, or a compiled loop.

Both multiply and add the same numbers in the same order and round after each operation, so a
prediction has the same bits whether the loop is compiled or not. Where a first call finds that it
is not so, since SciPy was built to round otherwise, there is no compiled loop.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.base.types import Array, Index
from chainrule.engine import compilation
from chainrule.equations.columns import Encoded
from chainrule.equations.lookups import look_up_rows, places

logger = logging.getLogger("chainrule")

DTYPE = np.dtype(np.float32)
# Multiplications that a process without Numba predicts with before it imports Numba: by the sparse
# matrix they take about as long as that.
WORTH_COMPILING = 5e9
ARGUMENTS = ((Encoded, "MJMJAAVV"), "A", "M", "M")

_multiplied = [0.0]  # in this process


def look_up(x: Encoded, rows: Index, E: Array, z: Array) -> None:
    """`look_up_rows`, as a function that can be compiled by itself."""
    look_up_rows(x.bins, x.fractions, x.levels, rows, x.nodes, x.first_levels, E, z)


def looked_up(x: Encoded, at: slice, like: Array, members: int) -> Callable[[Array], Array]:
    """A function that gives what some rows look up in the table E of a member, (m, h).

    Parameters
    ----------
    x : Encoded
    at : slice
        The rows, m of them, from a first to a last.
    like : (table_rows, h) float32
        The table of one of the members.
    members : int
        How many tables will be looked up.
    """
    rows = np.arange(at.start, at.stop)
    m, h = len(rows), like.shape[1]
    run = _run(members * m * (2 * x.bins.shape[1] + x.levels.shape[1]) * h)
    if run is None:
        bins, fractions, levels = x.bins[at], x.fractions[at], x.levels[at]
        taken = places(bins, fractions, levels, x.nodes, x.first_levels, like)
        return lambda E: np.asarray(taken @ E[x.nodes[0] :])

    def compiled(E: Array) -> Array:
        z = np.zeros((m, h), DTYPE)
        run(x, rows, E, z)
        return z

    return compiled


def _run(multiplications: float) -> Callable[..., None] | None:
    """The compiled loop, if it is there or worth while by now."""
    _multiplied[0] += multiplications
    if _multiplied[0] > WORTH_COMPILING or ("numba" in sys.modules and is_kept()):
        return ready()
    return None


@functools.cache
def is_kept() -> bool:
    """Whether the loop was in the cache of compiled code when this was first asked."""
    return compilation.can_compile() and compilation.is_compiled(
        look_up, ARGUMENTS, DTYPE, rounds=True
    )


@functools.cache
def ready() -> Callable[..., None] | None:
    """The compiled loop, compiled now if need be; None if it cannot be had here."""
    if not compilation.can_compile() or compilation.has_failed():
        return None
    try:
        # It takes a second, and who predicts did not ask for it: nothing is announced.
        with compilation.telling(lambda: None):
            dispatcher = compiled_look_up()
    except compilation.ToolchainError as error:
        logger.debug("look-ups of predictions are not compiled: %s", error)
        return None
    run = compilation.entry_point(dispatcher)
    return run if _same_bits(run) else None


def compiled_look_up() -> Any:
    """The compiled loop, whether its bits are those of NumPy or not."""
    return compilation.compiled(look_up, ARGUMENTS, DTYPE, rounds=True)


def _same_bits(run: Callable[..., None]) -> bool:
    """Whether the loop rounds as the product with a sparse matrix does."""
    rng = np.random.Generator(np.random.Philox(0))
    m, q, c, T, h = 16, 3, 2, 4, 75
    none = np.empty(0, DTYPE)
    nodes = np.arange(q + 1) * (T + 1)
    x = Encoded(
        np.empty((m, 0), DTYPE),
        rng.integers(0, T, (m, q)).astype(np.int32),
        rng.random((m, q), DTYPE),
        rng.integers(-1, T, (m, c)).astype(np.int32),
        nodes,
        nodes[-1] + np.arange(c) * T,
        none,
        none,
    )
    E = rng.normal(size=(int(nodes[-1]) + c * T, h)).astype(DTYPE)
    z: Array = np.zeros((m, h), DTYPE)
    run(x, np.arange(m), E, z)
    return np.array_equal(z, places(x.bins, x.fractions, x.levels, x.nodes, x.first_levels, E) @ E)
