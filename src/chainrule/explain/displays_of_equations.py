"""A picture of an equation: its matrices side by side, with their numbers and shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.explain.drawing import SIGNED, new_axes, plain_text
from chainrule.explain.numbers import Numbers
from chainrule.explain.worked import error_of_output, is_affine, number, slopes, steps_of, sup

WRITTEN = 10  # rows and columns at most whose numbers are written into the cells
WIDE, HIGH = 10.0, 10.0  # a larger matrix is drawn as large as one of so many cells
HEIGHT = 0.62  # of a cell, whose width is 1
SIGN = 0.55  # room for a sign between two matrices
INCHES = 0.62  # of a unit, where the figure is new


class Block(NamedTuple):
    """A matrix of an equation.

    Attributes
    ----------
    symbol : str
        As on paper, such as "δ²".
    values : (r, c) array
    """

    symbol: str
    values: NDArray[np.float64]


class EquationDisplay:
    """Show one equation of a trace, its matrices side by side with their numbers.

    The colours of each matrix go from its largest number below 0, dark, to the largest above 0,
    light. Make one with :meth:`from_trace`.

    Parameters
    ----------
    parts : sequence of (symbol, 2-D array-like) pairs, and of str
        Matrices, and the signs between them, from left to right.
    title : str

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import chainrule
    >>> t = chainrule.trace([([[0.5], [-1.0]], [0.25])], [1.0, 2.0], [0.0])
    >>> display = chainrule.EquationDisplay.from_trace(t, "BP4")
    >>> display.title
    'BP4:  ∇W¹ = (a⁰)ᵀ δ¹'
    >>> [part if isinstance(part, str) else part.symbol for part in display.parts]
    ['∇W¹', '=', '(a⁰)ᵀ', '', 'δ¹']
    """

    def __init__(self, parts: Sequence[Any], title: str = "") -> None:
        self.parts: list[str | Block] = []
        for part in parts:
            if isinstance(part, str):
                self.parts.append(part)
                continue
            symbol, values = part
            array = np.asarray(values, np.float64)
            if array.ndim != 2 or not array.size:
                raise ValueError(f"{symbol} must have rows and columns; got {array.shape}")
            self.parts.append(Block(str(symbol), array))
        self.title = title

    @classmethod
    def from_trace(
        cls, trace: Numbers, equation: str, *, layer: int | None = None, ax: Any = None
    ) -> EquationDisplay:
        """Draw an equation of a trace.

        Parameters
        ----------
        trace : Trace
        equation : {"forward", "BP1", "BP2", "BP3", "BP4"}
        layer : int, optional
            l. Default: the last layer that has this equation, which for BP1 is the only one.
        ax : matplotlib Axes, optional
            Default: new ones.

        Raises
        ------
        ValueError
            There is no such equation, or not in this layer; or the layer is no matrix product.
        """
        if equation not in PARTS:
            raise ValueError(f"equation must be one of {', '.join(PARTS)}; got {equation!r}")
        there = [step for step in steps_of(trace) if step.equation == equation]
        layers = sorted({step.layer for step in there})
        if not layers:
            raise ValueError(f"a network of one layer has no {equation}")
        l = layers[-1] if layer is None else layer
        if l not in layers:
            said = ", ".join(map(str, layers))
            raise ValueError(f"{equation} is of layer {said}; got layer={layer!r}")
        joined = l + 1 if equation == "BP2" else l
        if equation not in ("BP1", "BP3") and not is_affine(trace, joined):
            raise ValueError(
                f"layer {joined} is {trace.network.layers[joined].name}, which is no matrix "
                "product: choose another layer"
            )
        formula = next(step.formula for step in there if step.layer == l)
        title = f"{equation}:  {formula}".replace("Σ_rows", "Σ rows")
        return cls(PARTS[equation](trace, l), title).plot(ax)

    def plot(self, ax: Any = None) -> EquationDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Default: new ones, as large as the matrices need.
        """
        widths = [_width(part) for part in self.parts]
        tall = max(_height(part) for part in self.parts)
        whole = sum(widths) + 0.3
        if ax is None:
            ax = new_axes(None, figsize=(max(3.2, INCHES * whole), INCHES * (tall + 2.1)))
        self.ax_, self.figure_ = ax, ax.figure
        x = 0.15
        for part, width in zip(self.parts, widths, strict=True):
            if isinstance(part, str):
                ax.text(x + width / 2, 0, plain_text(part), ha="center", va="center", size="large")
            else:
                _draw_block(ax, part, x)
            x += width
        ax.set(
            xlim=(0, whole),
            ylim=(-tall / 2 - 0.75, tall / 2 + 0.75),
            aspect="equal",
            title=plain_text(self.title),
        )
        ax.set_axis_off()
        return self


def _width(part: str | Block) -> float:
    if isinstance(part, str):
        return SIGN + 0.16 * max(len(part) - 1, 0)
    return float(max(min(part.values.shape[1], WIDE), 1.3))


def _height(part: str | Block) -> float:
    return 0.0 if isinstance(part, str) else float(min(len(part.values), HIGH) * HEIGHT)


def _draw_block(ax: Any, block: Block, left: float) -> None:
    """The matrix in the middle of its room, its symbol above and its shape below."""
    import matplotlib

    r, c = block.values.shape
    high, wide = _height(block), float(min(c, WIDE))
    left += (_width(block) - wide) / 2
    largest = float(np.abs(block.values[np.isfinite(block.values)]).max(initial=0)) or 1.0
    edges = np.linspace(left, left + wide, c + 1), np.linspace(high / 2, -high / 2, r + 1)
    small = max(r, c) <= WRITTEN
    ax.pcolormesh(
        *edges,
        block.values,
        cmap=SIGNED,
        vmin=-largest,
        vmax=largest,
        edgecolors="white" if small else "none",
        linewidth=0.8,
    )
    middle = left + wide / 2
    ax.text(middle, high / 2 + 0.16, plain_text(block.symbol), ha="center", va="bottom")
    shape = f"{r} × {c}"
    ax.text(middle, -high / 2 - 0.16, shape, ha="center", va="top", size="x-small")
    if not small:
        return
    colours = matplotlib.colormaps[SIGNED](0.5 + 0.5 * block.values / largest)
    light = colours[..., :3] @ (0.299, 0.587, 0.114) > 0.5
    for i in range(r):
        for j in range(c):
            ax.text(
                (edges[0][j] + edges[0][j + 1]) / 2,
                (edges[1][i] + edges[1][i + 1]) / 2,
                _short(block.values[i, j]),
                ha="center",
                va="center",
                size="small",
                color="black" if light[i, j] else "white",
            )


def _short(x: float) -> str:
    """Return a number that fits into a cell."""
    text = number(float(f"{x:.3g}"))
    return text if len(text) <= 7 else f"{x:.0e}".replace("-", "−")


def _column(values: Any) -> Any:
    """Return a vector as a row, which is how it is added to each row."""
    return np.asarray(values)[np.newaxis]


def _forward(t: Numbers, l: int) -> list[Any]:
    here = sup(l)
    return [
        *((f"a{sup(l - 1)}", t.a[l - 1]), "", (f"W{here}", t.W[l]), "+"),
        *((f"b{here}", _column(t.b[l])), "=", (f"z{here}", t.z[l])),
        *("→ σ →", (f"a{here}", t.a[l])),
    ]


def _bp1(t: Numbers, l: int) -> list[Any]:
    error, top = error_of_output(t), sup(l)
    over = f"/ {t.m}" if t.m > 1 else ""
    after = [over] if over else []
    left = [(f"δ{top}", t.delta[l]), "="]
    if error.is_difference and error.fused:
        signs = "(", ")"
        return [*left, signs[0], (f"a{top}", t.a[l]), "−", ("y", t.y), signs[1], *after]
    if error.fused:
        return [*left, (f"∂C/∂z{top}", error.derivative), *after]
    by_outputs = (f"∂C/∂a{top}", error.derivative)
    if error.slope is None:
        return [*left, by_outputs, f"J {over}".strip()]
    return [*left, by_outputs, "⊙", (f"σ′(z{top})", error.slope), *after]


def _bp2(t: Numbers, l: int) -> list[Any]:
    here, there = sup(l), sup(l + 1)
    z = t.z[l]
    assert z is not None
    slope = slopes(t.network, l, z, t.a[l])
    last: list[Any] = ["J"] if slope is None else ["⊙", (f"σ′(z{here})", slope)]
    return [
        *((f"δ{here}", t.delta[l]), "=", "(", (f"δ{there}", t.delta[l + 1])),
        *("", (f"(W{there})ᵀ", t.W[l + 1].T), ")", *last),
    ]


def _bp3(t: Numbers, l: int) -> list[Any]:
    here = sup(l)
    return [(f"∇b{here}", _column(t.nabla_b[l])), "= Σ rows", (f"δ{here}", t.delta[l])]


def _bp4(t: Numbers, l: int) -> list[Any]:
    here, below = sup(l), sup(l - 1)
    return [
        *((f"∇W{here}", t.nabla_W[l]), "=", (f"(a{below})ᵀ", t.a[l - 1].T)),
        *("", (f"δ{here}", t.delta[l])),
    ]


PARTS = {"forward": _forward, "BP1": _bp1, "BP2": _bp2, "BP3": _bp3, "BP4": _bp4}
