"""The panel "The equations": one sample through all of them, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.app.panel import Panel
from chainrule.app.reading import Reading, learning_rate_of, pixels_of, whole_number
from chainrule.explain.worked import slopes, sup


class Equations(Panel):
    """One sample through the equations.

    Messages: ``trace {pixels, label, rate}``, which changes nothing; a label of -1 is the answer
    that the network gives. ``sample {index}``, a test digit.
    """

    name = "equations"

    def handle(self, type: str, data: dict[str, Any]) -> dict[str, Any] | None:
        """Answer a message."""
        if type == "sample":
            reading = Reading.of(self.session)
            last = len(reading.reader.data.y_test) - 1
            pixels, label = reading.test_digit(
                whole_number(data.get("index"), "the test digit", 0, last)
            )
            return {"pixels": pixels, "label": label}
        if type == "trace":
            return self._trace(data)
        return super().handle(type, data)

    def _trace(self, data: dict[str, Any]) -> dict[str, Any]:
        pixels = pixels_of(data.get("pixels"))
        label = whole_number(data.get("label"), "the label", -1, 9)
        reading = Reading.of(self.session)
        if label < 0:
            label = reading.read(pixels)["said"]
        traced = reading.trace(pixels, label, learning_rate_of(data.get("rate")))
        steps = [
            {
                "name": step.name,
                "symbol": step.symbol,
                "layer": step.layer,
                "equation": step.equation,
                "formula": step.formula,
                "shape": step.shape,
                "worked": step.worked,
                "complete": step.complete,
            }
            for step in traced.steps()
        ]
        return {
            "steps": steps,
            "terms": terms_of(traced),
            "cost": traced.cost,
            "new_cost": traced.new_cost,
            "label": label,
            "network": reading.described(),
        }


def terms_of(traced: Any) -> dict[str, Any]:
    """What stands in the formulas of a trace, by its symbol.

    Parameters
    ----------
    traced : Trace

    Returns
    -------
    dict of str to array
        ``a⁰``, ``z¹``, ``W¹``, ``δ¹``, ``∇W¹`` and so on; ``σ′(z¹)``, where each activation depends
        on its own z alone; ``y`` and ``C``; ``W¹ new`` and ``b¹ new``, after the step.
    """
    found: dict[str, Any] = {"a⁰": traced.a[0], "y": traced.y, "C": np.array([[traced.cost]])}
    for l in range(1, traced.L + 1):
        mark = sup(l)
        arrays = {
            "z": traced.z[l],
            "a": traced.a[l],
            "W": traced.W[l],
            "b": traced.b[l],
            "δ": traced.delta[l],
            "∇W": traced.nabla_W[l],
            "∇b": traced.nabla_b[l],
        }
        found |= {f"{name}{mark}": value for name, value in arrays.items() if value is not None}
        for name, value in (("W", traced.new_W[l]), ("b", traced.new_b[l])):
            if value is not None:
                found[f"{name}{mark} new"] = value
        slope = slopes(traced.network, l, traced.z[l], traced.a[l])
        if slope is not None:
            found[f"σ′(z{mark})"] = slope
    return {name: np.atleast_2d(value) for name, value in found.items()}
