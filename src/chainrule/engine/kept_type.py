"""Numba's type of what `engine.kept` hands over: an address, and what lies there."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import NativeValue, models, register_model, unbox

Word = ir.IntType(64)


class KeptType(types.Type):
    """A NamedTuple of NamedTuples behind an address.

    Parameters
    ----------
    whole : numba.types.BaseTuple
        Its own type.
    """

    def __init__(self, whole: Any) -> None:
        self.whole = whole
        super().__init__(f"Kept({whole})")


@register_model(KeptType)
class _KeptModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, Word.as_pointer())


@unbox(KeptType)
def _unbox(kind: Any, address: Any, c: Any) -> Any:
    pointer = c.pyapi.long_as_voidptr(address)
    return NativeValue(c.builder.bitcast(pointer, Word.as_pointer()))
