"""The panel "Draw a digit": read what is drawn, and learn from a correction."""

from __future__ import annotations

from typing import Any

from chainrule.app.panel import Panel, Tab
from chainrule.app.reading import (
    Reader,
    Reading,
    learning_rate_of,
    pixels_of,
    whole_number,
)

POLL = 0.1  # seconds between two messages on the training of the network


class Draw(Panel):
    """A digit that the visitor draws, read by a small network.

    Messages: ``read {pixels}``; ``learn {pixels, label, rate}``, one step of backpropagation;
    ``reset {}``, which undoes all steps; ``sample {index}``, a test digit. It sends ``training``
    while the network is trained, and ``network`` when it is there.
    """

    name = "draw"

    def __init__(self, session: Tab, state: dict[str, Any]) -> None:
        super().__init__(session, state)
        self._reader: Reader = session.shared["reader"]
        if not self._reader.done.is_set():
            self.spawn(self._wait)

    def _wait(self) -> None:
        """Tell how far the training is, and that it is done."""
        while not self._reader.done.wait(POLL):
            if self.stopping.is_set():
                return
            self.send_latest("training", **self._reader.described())
        self.send("ready")

    def state(self) -> dict[str, Any]:
        """The network, if it is there."""
        if not self._reader.done.is_set():
            return {"training": self._reader.described()}
        return {"network": Reading.of(self.session).described()}

    def handle(self, type: str, data: dict[str, Any]) -> dict[str, Any] | None:
        """Answer a message."""
        if type == "network":
            return Reading.of(self.session).described()
        if type == "read":
            return Reading.of(self.session).read(pixels_of(data.get("pixels")))
        if type == "learn":
            return self._learn(data)
        if type == "reset":
            reading = Reading.of(self.session)
            reading.reset()
            return reading.described()
        if type == "sample":
            reading = Reading.of(self.session)
            last = len(reading.reader.data.y_test) - 1
            index = whole_number(data.get("index"), "the test digit", 0, last)
            pixels, label = reading.test_digit(index)
            return {"pixels": pixels, "label": label, "index": index}
        return super().handle(type, data)

    def _learn(self, data: dict[str, Any]) -> dict[str, Any]:
        """One step on one image: all numbers before it and after it."""
        pixels = pixels_of(data.get("pixels"))
        label = whole_number(data.get("label"), "the label", 0, 9)
        reading = Reading.of(self.session)
        traced = reading.trace(pixels, label, learning_rate_of(data.get("rate")))
        reading.take(traced)
        return {
            "label": label,
            "rate": traced.learning_rate,
            "cost": traced.cost,
            "new_cost": traced.new_cost,
            "a": [each[0] for each in traced.a],
            "y": traced.y[0],
            "delta": [None if each is None else each[0] for each in traced.delta],
            "nabla_W": traced.nabla_W,
            "nabla_b": traced.nabla_b,
            "after": reading.read(pixels),
            "network": reading.described(),
        }
