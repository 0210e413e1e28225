"""How pieces made by a function, such as ``losses.huber(0.5)``, are pickled: made anew."""

from __future__ import annotations

from typing import Any


def repr_of_piece(piece: Any) -> str:
    """Its name, and who made it from what; the functions in it say nothing to a reader."""
    kind = type(piece).__name__
    if not piece.made_by or piece.made_by[0].__name__.startswith("_"):
        return f"{kind}({piece.name!r})"
    maker, *arguments = piece.made_by
    return f"{kind}({piece.name!r}, made by {maker.__name__}({', '.join(map(repr, arguments))}))"


def reduce_piece(piece: Any) -> tuple[Any, tuple[Any, ...]]:
    """What pickle needs of a piece: who made it and from what, or else its parts."""
    if piece.made_by:
        maker, *arguments = piece.made_by
        return maker, tuple(arguments)
    return type(piece), tuple(piece)
