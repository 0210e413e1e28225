"""The panel "Draw a digit"."""

from __future__ import annotations

from chainrule.app.panel import Panel


class Draw(Panel):
    """A digit that the visitor draws, read by a small network."""

    name = "draw"
