"""Walks over the objects that a pipeline consists of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

# Whose objects are looked into.
LIBRARIES = ("sklearn", "skrub", "scipy")


def _attributes(value: Any) -> dict[str, Any] | None:
    """The attributes of an object that is looked into; None for any other."""
    library = type(value).__module__.partition(".")[0]
    return getattr(value, "__dict__", None) if library in LIBRARIES else None


def parts_of(root: Any) -> Iterator[Any]:
    """Every object in a pipeline, once; containers are looked into, and objects of LIBRARIES."""
    seen: dict[int, Any] = {}
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if value is None or isinstance(value, str | bytes | int | float) or id(value) in seen:
            continue
        seen[id(value)] = value
        yield value
        if isinstance(value, list | tuple | set):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
        else:
            waiting += (_attributes(value) or {}).values()
            if getattr(getattr(value, "dtype", None), "kind", "") == "O":
                waiting += value.ravel().tolist()


def replaced(root: Any, replace: Callable[[Any], Any]) -> Any:
    """A copy of a pipeline with some objects replaced; what holds none of them is shared.

    Parameters
    ----------
    root : estimator, container or anything else
    replace : callable (value) -> value
        Gives the value itself where there is nothing to replace.
    """
    done: dict[int, tuple[Any, Any]] = {}

    def of(value: Any) -> Any:
        if value is None or isinstance(value, bytes | int | float):
            return value
        if id(value) in done:
            return done[id(value)][1]
        new = replace(value)
        if new is value:
            done[id(value)] = value, value  # a circle ends here
            new = inside(value)
        done[id(value)] = value, new
        return new

    def inside(value: Any) -> Any:
        if isinstance(value, dict):
            parts = {key: of(part) for key, part in value.items()}
            if all(parts[key] is value[key] for key in value):
                return value
            copy = type(value)() if type(value) is not dict else {}
            copy.update(parts)
            return copy
        if type(value) in (list, tuple):
            items = [of(part) for part in value]
            same = all(a is b for a, b in zip(items, value, strict=True))
            return value if same else type(value)(items)
        attributes = _attributes(value)
        if attributes is None:
            return value
        parts = {key: of(part) for key, part in attributes.items()}
        if all(parts[key] is attributes[key] for key in attributes):
            return value
        copy = object.__new__(type(value))
        copy.__dict__.update(parts)
        return copy

    return of(root)
