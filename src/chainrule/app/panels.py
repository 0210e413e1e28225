"""Which panels the page has, and what their sessions share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.app.opening import Opening
from chainrule.app.panel import Panel

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from chainrule.app.server import Access


def all_panels() -> dict[str, type[Panel]]:
    """The panels by name."""
    from chainrule.app.draw import Draw
    from chainrule.app.equations import Equations
    from chainrule.app.own_data import OwnData
    from chainrule.app.plane import Plane
    from chainrule.app.training import Train

    return {kind.name: kind for kind in (Draw, Train, Plane, OwnData, Equations)}


def shared(opening: Opening) -> dict[str, Any]:
    """What the sessions of a server share: the reader of digits, and what the page opens with."""
    from chainrule.app.reading import Reader

    return {
        "reader": Reader(opening.digits),
        "stored": opening.model,
        "table": opening.table,
    }


def new_app(access: Access, opening: Opening | None = None) -> Starlette:
    """The application of the whole page."""
    from chainrule.app.server import make_app

    return make_app(all_panels(), access, shared(opening or Opening()))
