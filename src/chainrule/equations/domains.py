"""Intervals of numbers: what a target may be."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.base.types import Array


class Domain(NamedTuple):
    """An interval of numbers.

    Attributes
    ----------
    low, high : float, default -inf, inf
    has_low, has_high : bool, default True
        Whether the bounds themselves belong to it.

    Examples
    --------
    >>> from chainrule.equations.domains import Domain
    >>> print(Domain(0, has_low=False))
    above 0
    >>> Domain(0, 1).holds([0.0, 1.5]).tolist()
    [True, False]
    """

    low: float = -np.inf
    high: float = np.inf
    has_low: bool = True
    has_high: bool = True

    def holds(self, y: Any) -> NDArray[np.bool_]:
        """Which numbers of an array are in it; NaN is not."""
        y = np.asarray(y)
        inside: NDArray[np.bool_] = (y >= self.low) if self.has_low else (y > self.low)
        inside &= (y <= self.high) if self.has_high else (y < self.high)
        return inside

    def moved(self, y: Array) -> Array:
        """Numbers between 0 and 1 as they are if all are in it, else numbers that are in it."""
        if self.holds(y).all():
            return y
        if self.high == np.inf:
            return y + self.low
        return y + self.high - 1 if self.low == -np.inf else y * (self.high - self.low) + self.low

    def __str__(self) -> str:
        above = f"{self.low:g} or more" if self.has_low else f"above {self.low:g}"
        below = f"{self.high:g} or less" if self.has_high else f"below {self.high:g}"
        bounds = [above] * (self.low > -np.inf) + [below] * (self.high < np.inf)
        return " and ".join(bounds) or "any number"


ANY_NUMBER = Domain()
