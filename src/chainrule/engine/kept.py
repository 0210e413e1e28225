"""Arguments that stay the same from call to call, handed over as one address.

For each array that it takes, a compiled function asks Python for its address and its shape, which
takes as long as some steps of a small network. Here that is done once: a table keeps addresses,
lengths and numbers, one after the other, and `engine.views` reads them where they are needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.base.types import Array, Index
from chainrule.engine.roles import KINDS


class Kept:
    """A NamedTuple of NamedTuples, as compiled code takes it.

    Parameters
    ----------
    values : NamedTuple of NamedTuples of arrays, floats and integers
        Kept alive as long as this is.
    argument : (class, arguments)
        The kinds of the values, as in `engine.roles`.
    dtype : float32 or float64

    Attributes
    ----------
    address : int
        What a compiled function takes.

    Raises
    ------
    TypeError
        An array is of another kind: compiled code does not look.
    """

    def __init__(self, values: Any, argument: tuple[Any, Any], dtype: np.dtype[Any]) -> None:
        self.values = values
        words: list[Any] = []
        for part, (_, kinds) in zip(values, argument[1], strict=True):
            for name, value, kind in zip(part._fields, part, kinds, strict=True):
                if kind == "F":
                    words.append(np.float64(value).view(np.int64))
                elif kind == "I":
                    words.append(value)
                else:
                    check_kind(name, value, kind, dtype)
                    words += [value.__array_interface__["data"][0], *value.shape]
        self._table: Index = np.array(words, np.int64)
        self.address: int = self._table.__array_interface__["data"][0]


def check_kind(name: str, array: Array | Index, kind: str, dtype: np.dtype[Any]) -> None:
    """Raise TypeError unless compiled code, which does not look, may take the array.

    Parameters
    ----------
    name : str
        Of the array, for the message.
    array : array
    kind : str
        As in `engine.roles`.
    dtype : float32 or float64
        That of the numbers.
    """
    ndim, known = KINDS[kind]
    wanted = dtype if known is None else np.dtype(known)
    if array.dtype != wanted or array.ndim != ndim or not array.flags.c_contiguous:
        raise TypeError(
            f"{name} must be a C-contiguous array of {wanted} in {ndim} dimensions; "
            f"it is of {array.dtype} and has the shape {array.shape}, strides {array.strides}"
        )
