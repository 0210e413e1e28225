"""Which panels the page has."""

from __future__ import annotations

from chainrule.app.panel import Panel


def all_panels() -> dict[str, type[Panel]]:
    """The panels by name."""
    from chainrule.app.draw import Draw
    from chainrule.app.equations import Equations

    return {kind.name: kind for kind in (Draw, Equations)}
