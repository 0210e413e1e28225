"""The panel "The equations"."""

from __future__ import annotations

from chainrule.app.panel import Panel


class Equations(Panel):
    """One sample through the equations, step by step."""

    name = "equations"
