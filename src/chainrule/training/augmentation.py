"""Augmentation: the rows of each step are changed at random before the network sees them.

A function of the user's does that, on blocks of rows, with random numbers that are a pure function
of the seed, the step and the row's place in its batch. So the same fit gives the same bits in both
engines, in any number of threads, and after a resumption.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from chainrule.base.types import Array
from chainrule.equations.vecmath import GOLDEN, mix

MOST_NUMBERS = 1 << 22  # of X that are changed at a time
BLOCK = 128  # rows whose random numbers are made together, within the processor's cache


class RowRandom:
    """Random numbers for a block of rows: those of a row do not depend on the rows beside it.

    Each call gives new numbers. They are counted, not drawn one after another: number j of a row is
    the hash of the seed, the step, the row's place in its batch, and j (Salmon et al. 2011;
    SplitMix64's finaliser, Steele, Lea and Flood 2014).

    Parameters
    ----------
    seed, step : int
        `step` is the number of the first training step, from 1.
    m, n : int
        Rows in a batch, and rows in the block: whole batches, one step each.
    """

    def __init__(self, seed: int, step: int, m: int, n: int) -> None:
        self.n = n
        row = np.arange(n, dtype=np.uint64)
        with np.errstate(over="ignore"):
            start = mix(np.array([seed], np.uint64) + GOLDEN)
            start = mix(start + np.uint64(step) + row // np.uint64(m))
            self._start = mix(start + row % np.uint64(m))[:, np.newaxis]
        self._used = 0

    def uniform(self, k: int) -> NDArray[np.float32]:
        """Numbers from 0 to 1, 1 excluded, of 24 random bits.

        Parameters
        ----------
        k : int
            How many for each row.

        Returns
        -------
        (n, k) float32
        """
        half = -(-k // 2)  # a hash of 64 bits makes two numbers
        first = self._used + 1
        self._used += half
        numbers = np.empty((self.n, 2 * half), np.float32)
        with np.errstate(over="ignore"):
            counters = np.arange(first, first + half, dtype=np.uint64) * GOLDEN
            for r in range(0, self.n, BLOCK):
                rows = slice(r, r + BLOCK)
                bits = mix(self._start[rows] + counters)
                numbers[rows, :half] = bits >> np.uint64(40)
                numbers[rows, half:] = (bits >> np.uint64(16)) & np.uint64(2**24 - 1)
                numbers[rows] *= np.float32(2.0**-24)
        return numbers[:, :k]

    def normal(self, k: int) -> NDArray[np.float32]:
        """Numbers of a standard normal distribution: √(-2 log u) cos 2πv (Box and Muller 1958).

        Parameters
        ----------
        k : int
            How many for each row.

        Returns
        -------
        (n, k) float32
        """
        u, v = self.uniform(k), self.uniform(k)
        normal: NDArray[np.float32] = np.sqrt(-2 * np.log(1 - u)) * np.cos(
            np.float32(2 * np.pi) * v
        )
        return normal


Augment: TypeAlias = Callable[[Array, RowRandom], Array]
"""(X, random) -> X of the same shape; see :func:`chainrule.train`."""


class Augmentation:
    """A user's function, called with copies of rows.

    Parameters
    ----------
    function : callable (X, random) -> array
    seed : int
        Of its random numbers.
    """

    def __init__(self, function: Augment, seed: int) -> None:
        self.function, self.seed = function, seed

    def batches_at_once(self, m: int, n_in: int) -> int:
        """How many batches of m rows of n_in columns are changed at a time."""
        return max(1, MOST_NUMBERS // (m * n_in))

    def changed(self, X: Array, step: int, m: int) -> Array:
        """X as it is learned from.

        Parameters
        ----------
        X : (n, n_0) array
            A copy, which may be changed: whole batches.
        step : int
            Of the first batch, from 1.
        m : int
            Rows in a batch.

        Raises
        ------
        ValueError
            The function gave no array of the same shape.
        """
        new = np.asarray(self.function(X, RowRandom(self.seed, step, m, len(X))))
        if new.shape != X.shape or new.dtype.kind not in "fiub":
            raise ValueError(
                f"augment must return numbers of the shape of its first argument, {X.shape}; it "
                f"returned {new.dtype} of the shape {new.shape}"
            )
        return np.ascontiguousarray(new, X.dtype)
