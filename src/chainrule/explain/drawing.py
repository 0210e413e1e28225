"""What the pictures share: colours, axes, and bars and lines by name.

Colours are of middle lightness, so that they stand out on white and on black, differ in lightness
among themselves, so that they can be distinguished in grey, and are a pair that colour-blind people
see. Text and axes have the colours of Matplotlib's current style.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

BLUE, ORANGE, GREY = "#3a78c2", "#e39a3b", "#8c8c8c"
DASHES: Sequence[Any] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1, 1.5)))
SIGNED = "cividis"  # from dark, below 0, to light, above 0, also in grey
LIMIT = "#c0504d"


class Picture(NamedTuple):
    """What a finding draws.

    Attributes
    ----------
    kind : {"bars", "lines"}
        Bars by name, or values by position.
    title, x, y : str
        Of the picture and its axes.
    labels : list of str
        Of the bars; of lines, of each line.
    values : list of float, or of lists of float
    limit : float or None
        Where the fault begins; a line is drawn there.
    logarithmic : bool
    """

    kind: str
    title: str
    x: str
    y: str
    labels: list[str]
    values: list[Any]
    limit: float | None = None
    logarithmic: bool = False


def new_axes(ax: Any, **options: Any) -> Any:
    """Return the axes given, or new ones in a new figure."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(layout="constrained", **options)
    return ax


def bare(ax: Any, sides: Sequence[str] = ("top", "right")) -> None:
    """Take lines off that say nothing."""
    for side in sides:
        ax.spines[side].set_visible(False)


def plain_text(text: str) -> str:
    """Return a text from the data in which Matplotlib finds no mathematics."""
    shown = "".join(sign if sign.isprintable() else "·" for sign in str(text))
    return shown.replace("\\", "\\\\").replace("$", r"\$") if "$" in shown else shown


def colours(n: int) -> list[Any]:
    """Return colours for n lines, from dark to light."""
    import matplotlib

    if n <= 2:
        return [BLUE, ORANGE][:n]
    return list(matplotlib.colormaps["viridis"](np.linspace(0.25, 0.9, n)))


def draw_picture(picture: Picture, ax: Any = None) -> Any:
    """Draw bars or lines; returns the axes."""
    ax = new_axes(ax)
    if picture.kind == "bars":
        values = np.asarray(picture.values, np.float64)
        shown = np.where(np.isfinite(values), values, 0)
        names = [plain_text(name) for name in picture.labels]
        places = range(len(names))
        ax.bar(places, shown, color=BLUE, width=0.7)
        turned = sum(map(len, names)) > 50
        options: dict[str, Any] = {"rotation": 35, "ha": "right"} if turned else {}
        ax.set_xticks(places, names, **options)
        for place, value in enumerate(values):
            text = f"{value:.3g}" if np.isfinite(value) else "not finite"
            up = shown[place] >= 0
            ax.annotate(
                text,
                (place, shown[place]),
                xytext=(0, 2 if up else -2),
                textcoords="offset points",
                ha="center",
                va="bottom" if up else "top",
                fontsize="small",
            )
        ax.margins(y=0.12)
        if not (shown < 0).any() and not picture.logarithmic:
            ax.set_ylim(bottom=0)
        if picture.logarithmic and (shown > 0).all():
            ax.set_yscale("log")
    else:
        for k, (name, values) in enumerate(zip(picture.labels, picture.values, strict=True)):
            ax.plot(values, label=plain_text(name), color=colours(2)[k % 2], linestyle=DASHES[k])
        if len(picture.labels) > 1:
            ax.legend(frameon=False)
    if picture.limit is not None:
        label = f"limit {picture.limit:g}"
        ax.axhline(picture.limit, color=LIMIT, linestyle="--", linewidth=1, label=label)
        ax.legend(frameon=False, fontsize="small", loc="lower right", bbox_to_anchor=(1, 0.99))
    ax.set(title=plain_text(picture.title), xlabel=plain_text(picture.x), ylabel=picture.y)
    bare(ax)
    return ax
