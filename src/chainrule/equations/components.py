"""How components such as ``losses.huber(0.5)`` are shown, compared and pickled.

A component that a function made is pickled as that function, its arguments, and what was changed
since, for functions inside a function cannot be pickled themselves.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

import numpy as np


def repr_of_component(component: Any) -> str:
    """Its name, and who made it from what; the functions in it say nothing to a reader."""
    kind = type(component).__name__
    if not component.made_by or component.made_by[0].__name__.startswith("_"):
        return f"{kind}({component.name!r})"
    maker, *arguments = component.made_by
    return (
        f"{kind}({component.name!r}, made by {maker.__name__}({', '.join(map(repr, arguments))}))"
    )


def reduce_component(component: Any) -> tuple[Any, tuple[Any, ...]]:
    """What pickle needs: the function that made it, its arguments, and changes; or all fields."""
    if not component.made_by:
        return type(component), tuple(component)
    maker, *arguments = component.made_by
    changes = changes_of(component, maker(*arguments))
    if changes:
        return changed, (maker, tuple(arguments), changes)
    return maker, tuple(arguments)


def changed(maker: Any, arguments: tuple[Any, ...], changes: dict[str, Any]) -> Any:
    """What a function makes, with other values in some fields."""
    return maker(*arguments)._replace(**changes)


def changes_of(component: Any, original: Any) -> dict[str, Any]:
    """The fields of a component whose values are not those of the original, and their values."""
    return {
        name: value
        for name, value, old in zip(component._fields, component, original, strict=True)
        if not _same(value, old)
    }


def _same(x: Any, y: Any) -> bool:
    """Whether two values are equal; functions, whether they are one code over equal values."""
    if x is y:
        return True
    if isinstance(x, FunctionType) and isinstance(y, FunctionType):
        cells = [tuple(cell.cell_contents for cell in one.__closure__ or ()) for one in (x, y)]
        return x.__code__ is y.__code__ and _same(*cells)
    if type(x) is not type(y):
        return False
    if isinstance(x, np.ndarray):
        return x.dtype == y.dtype and np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
    if isinstance(x, list | tuple):
        return len(x) == len(y) and all(map(_same, x, y))
    return bool(x == y)
