"""How pieces made by a function, such as ``losses.huber(0.5)``, are pickled: made anew."""

from __future__ import annotations

from typing import Any


def reduce_piece(piece: Any) -> tuple[Any, tuple[Any, ...]]:
    """What pickle needs of a piece: who made it and from what, or else its parts."""
    if piece.made_by:
        maker, *arguments = piece.made_by
        return maker, tuple(arguments)
    return type(piece), tuple(piece)
