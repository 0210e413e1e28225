"""What a network consists of, layer by layer: `summary`."""

from __future__ import annotations

from html import escape
from itertools import pairwise
from typing import Any, NamedTuple

from chainrule.base.validation import ShownAsText
from chainrule.explain.models import model_network
from chainrule.network.network import Network

MOST_UNITS = 12  # of a layer that are drawn
INK = "currentColor"


class LayerSummary(NamedTuple):
    """One layer.

    Attributes
    ----------
    layer : int
        l; 0 for the input.
    kind, activation : str
    units : int
    shape : tuple of int
        Of W; () where there is none.
    parameters : int
        Numbers in W and b.
    multiplications : int
        For one row, in the layer's sums of products.
    """

    layer: int
    kind: str
    activation: str
    units: int
    shape: tuple[int, ...]
    parameters: int
    multiplications: int


class Summary(ShownAsText):
    """What :func:`summary` found; print it to read it. A notebook draws it.

    Attributes
    ----------
    layers : list of LayerSummary
    parameters : int
        Numbers that are learned.
    multiplications : int
        For one row.
    nbytes : int
        Memory of the parameters.
    dtype : str
    loss : str
    kind : str
        What the model is called.
    """

    def __init__(self, network: Network, kind: str) -> None:
        self.kind, self.loss, self.dtype = kind, network.loss.name, network.dtype.name
        self.layers = [LayerSummary(0, "input", "", network.sizes[0], (), 0, 0)]
        for l in range(1, network.L + 1):
            W, b = network.W[l], network.b[l]
            self.layers.append(
                LayerSummary(
                    l,
                    network.layers[l].name,
                    network.activations[l].name,
                    network.sizes[l],
                    W.shape if W.size else (),
                    int(W.size + b.size),
                    int(W.size),
                )
            )
        self.parameters = sum(layer.parameters for layer in self.layers)
        self.multiplications = sum(layer.multiplications for layer in self.layers)
        self.nbytes = self.parameters * network.dtype.itemsize

    def __str__(self) -> str:
        head = ("layer", "kind", "activation", "units", "W", "parameters", "multiplications")
        rows = [head, *(_cells(layer) for layer in self.layers)]
        rows.append(("", "all", "", "", "", f"{self.parameters:,}", f"{self.multiplications:,}"))
        widths = [max(len(row[j]) for row in rows) for j in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(width) if j in (1, 2, 4) else cell.rjust(width)
                for j, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join([f"{self.kind}, cost {self.loss}", *lines, self._memory()])

    def _memory(self) -> str:
        return f"{size(self.nbytes)} of {self.dtype}; multiplications are for one row"

    def _repr_html_(self) -> str:
        head = ("layer", "kind", "activation", "units", "W", "parameters", "multiplications")
        top = "".join(f'<th style="text-align:left">{name}</th>' for name in head)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(layer)) + "</tr>"
            for layer in self.layers
        )
        whole = (
            f"<tr><th></th><th>all</th><th></th><th></th><th></th><th>{self.parameters:,}</th>"
            f"<th>{self.multiplications:,}</th></tr>"
        )
        return (
            f"<div><p><b>{escape(self.kind)}</b>, cost {escape(self.loss)}</p>{self.svg()}"
            f'<div style="overflow-x:auto"><table style="text-align:left">{top}{body}{whole}'
            f"</table></div><p>{escape(self._memory())}</p></div>"
        )

    def svg(self) -> str:
        """Return the network drawn, with some of the units of wide layers and their number."""
        width, height, gap = 110, 230, 8
        drawn = [layer for layer in self.layers if layer.shape or layer.layer == 0]
        parts, places = [], []
        for k, layer in enumerate(drawn):
            shown = min(layer.units, MOST_UNITS)
            x = 45 + k * width
            step = min(24, (height - 60) / max(shown, 1))
            top = (height - 40) / 2 - step * (shown - 1) / 2 + gap
            places.append([(x, top + step * i) for i in range(shown)])
        for left, right in pairwise(places):
            parts += [
                f'<line x1="{a:.0f}" y1="{b:.1f}" x2="{c:.0f}" y2="{d:.1f}" stroke="{INK}" '
                'stroke-opacity="0.15"/>'
                for a, b in left
                for c, d in right
            ]
        for layer, column in zip(drawn, places, strict=True):
            parts += [
                f'<circle cx="{x:.0f}" cy="{y:.1f}" r="6" fill="#3a78c2" stroke="{INK}" '
                'stroke-opacity="0.5"/>'
                for x, y in column
            ]
            x = column[0][0]
            what = "inputs" if layer.layer == 0 else layer.activation
            parts.append(
                f'<text x="{x:.0f}" y="{height - 18}" text-anchor="middle" fill="{INK}" '
                f'font-size="12">{layer.units:,}</text>'
                f'<text x="{x:.0f}" y="{height - 4}" text-anchor="middle" fill="{INK}" '
                f'font-size="11">{escape(what)}</text>'
            )
        total = 90 + width * (len(drawn) - 1)
        return (
            f'<svg viewBox="0 0 {total} {height}" width="{total}" style="max-width:100%" '
            f'role="img" aria-label="{escape(self._label(drawn))}">{"".join(parts)}</svg>'
        )

    def _label(self, drawn: list[LayerSummary]) -> str:
        return "network of " + ", ".join(str(layer.units) for layer in drawn) + " units"


def _cells(layer: LayerSummary) -> tuple[str, ...]:
    return (
        str(layer.layer),
        layer.kind,
        layer.activation,
        f"{layer.units:,}",
        " × ".join(map(str, layer.shape)),
        f"{layer.parameters:,}" if layer.layer else "",
        f"{layer.multiplications:,}" if layer.layer else "",
    )


def size(n: int) -> str:
    """Return a number of bytes in words."""
    for unit in ("bytes", "kB", "MB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n = n / 1000  # type: ignore[assignment]
    return f"{n:.3g} GB"


def summary(model: Any) -> Summary:
    """Say what a network consists of: layers, shapes, parameters, memory, multiplications a row.

    Parameters
    ----------
    model : Network, estimator, Pipeline, or list of (W, b) pairs
        As for :func:`chainrule.trace`; an estimator is shown as the network that predicts.

    Returns
    -------
    Summary
        Print it; a notebook shows a table and the network drawn.

    Raises
    ------
    TypeError, ValueError, sklearn.exceptions.NotFittedError
        As :func:`chainrule.trace`.

    Examples
    --------
    >>> from chainrule import Network, summary
    >>> print(summary(Network((64, 100, 10), loss="cross_entropy")))
    Network, cost cross_entropy
    layer  kind    activation  units  W         parameters  multiplications
        0  input                  64
        1  affine  relu          100  64 × 100       6,500            6,400
        2  affine  softmax        10  100 × 10       1,010            1,000
           all                                       7,510            7,400
    60.1 kB of float64; multiplications are for one row
    """
    network, kind = model_network(model)
    return Summary(network, kind)
