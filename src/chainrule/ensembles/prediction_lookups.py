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
# Multiplications by the sparse matrix, of a process without Numba, from which on it is imported:
# until then they have taken about as long as that takes.
WORTH_COMPILING = 5e9
ARGUMENTS = "JMJAAAMM"

_multiplied = [0.0]  # in this process


def look_up(
    bins: Array,
    fractions: Array,
    levels: Array,
    rows: Index,
    nodes: Index,
    first_levels: Index,
    E: Array,
    z: Array,
) -> None:
    """`look_up_rows`, as a function that can be compiled by itself."""
    look_up_rows(bins, fractions, levels, rows, nodes, first_levels, E, z)


def looked_up(x: Encoded, at: slice, E: Array, members: int) -> Callable[[Array], Array]:
    """A function that gives what some rows look up in a table E, (m, h), of each member.

    Parameters
    ----------
    x : Encoded
    at : slice
        The rows, m of them.
    E : (table_rows, h) float32
        The table of a member; those of others have its shape.
    members : int
        How many tables will be looked up.
    """
    bins, fractions, levels = x.bins[at], x.fractions[at], x.levels[at]
    m, h = len(bins), E.shape[1]
    run = _run(members * m * (2 * bins.shape[1] + levels.shape[1]) * h)
    if run is None:
        taken = places(bins, fractions, levels, x.nodes, x.first_levels, E)
        return lambda E: np.asarray(taken @ E[x.nodes[0] :])
    rows = np.arange(m)

    def compiled(E: Array) -> Array:
        z = np.zeros((m, h), DTYPE)
        run(bins, fractions, levels, rows, x.nodes, x.first_levels, E, z)
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
    return compilation.can_compile() and compilation.is_compiled(look_up, ARGUMENTS, DTYPE)


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
    nodes = np.arange(q + 1) * (T + 1)
    firsts = nodes[-1] + np.arange(c) * T
    E = rng.normal(size=(int(nodes[-1]) + c * T, h)).astype(DTYPE)
    bins: Array = rng.integers(0, T, (m, q)).astype(np.int32)
    fractions = rng.random((m, q), DTYPE)
    levels: Array = rng.integers(-1, T, (m, c)).astype(np.int32)
    z: Array = np.zeros((m, h), DTYPE)
    run(bins, fractions, levels, np.arange(m), nodes, firsts, E, z)
    return np.array_equal(z, places(bins, fractions, levels, nodes, firsts, E) @ E)
