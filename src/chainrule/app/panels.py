"""Which panels the page has, and what their sessions share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainrule.app.panel import Panel

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from chainrule.app.reading import Scaling
    from chainrule.app.server import Access
    from chainrule.network.network import Network


def all_panels() -> dict[str, type[Panel]]:
    """The panels by name."""
    from chainrule.app.draw import Draw
    from chainrule.app.equations import Equations
    from chainrule.app.own_data import OwnData
    from chainrule.app.plane import Plane
    from chainrule.app.training import Train

    return {kind.name: kind for kind in (Draw, Train, Plane, OwnData, Equations)}


def shared(model: tuple[Network, Scaling] | None = None) -> dict[str, Any]:
    """What the sessions of a server share.

    Parameters
    ----------
    model : (Network, Scaling), optional
        The network that reads digits, and what it takes for pixels. Default: one is trained.
    """
    from chainrule.app.reading import Reader

    return {"reader": Reader(model)}


def new_app(access: Access, model: tuple[Network, Scaling] | None = None) -> Starlette:
    """The application of the whole page."""
    from chainrule.app.server import make_app

    return make_app(all_panels(), access, shared(model))
