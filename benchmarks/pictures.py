"""The pictures of docs/how-fast.md, from results measured before.

python -m benchmarks.pictures [--from FOLDER] [--to FOLDER]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks.run import RESULTS, read
from chainrule.commands.plotting import GREY, INK, STYLE, save

IMAGES = Path(__file__).parent.parent / "docs" / "images"
WIDTH, HEIGHT = 9.0, 4.6  # inches
# Dark to light, each with dashes and a mark of its own: readable in grey.
LINES: dict[str, dict[str, Any]] = {
    "chainrule": {"color": "#1f4e79", "marker": "o", "linewidth": 2.2},
    "chainrule, 1 thread": {"color": "#1f4e79", "marker": ".", "linestyle": (0, (1, 1.5))},
    "chainrule, numpy": {"color": "#4f87b8", "marker": "s", "linestyle": (0, (5, 1.5))},
    "JAX jit + scan": {"color": "#b5651d", "marker": "^"},
    "PyTorch eager": {"color": "#8a8a8a", "marker": "D", "linestyle": (0, (4, 1.5))},
    "scikit-learn": {"color": "#d9a441", "marker": "v", "linestyle": (0, (2, 1))},
}


def titled(title: str, below: str) -> tuple[Figure, Any]:
    figure = Figure((WIDTH, HEIGHT), layout="constrained")
    ax = figure.subplots()
    ax.set_title(f"{title}\n", loc="left", fontsize=12, fontweight="bold")
    ax.text(0, 1.02, below, transform=ax.transAxes, color=GREY, va="bottom")
    return figure, ax


def log_axes(ax: Any) -> None:
    """Both by powers of ten, labelled in plain numbers."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())


def name_ends(ax: Any, ends: dict[str, tuple[float, float]]) -> None:
    """Write each line's name at its right end, none over another."""
    least = 0.055 * np.log(ax.get_ylim()[1] / ax.get_ylim()[0])
    last = -np.inf
    for who, (x, y) in sorted(ends.items(), key=lambda item: item[1][1]):
        last = max(np.log(y), last + least)
        ax.annotate(
            who,
            (x, np.exp(last)),
            (8, 0),
            textcoords="offset points",
            va="center",
            color=LINES[who]["color"],
        )


def by_batch(rows: list[dict[str, Any]]) -> Figure:
    """Microseconds for each row of a batch, of everybody, by the size of the batch."""
    some = [row for row in rows if row.get("grows") == "batch" and row["who"] in LINES]
    figure, ax = titled(
        "Time for each row of a batch",
        "(64, 100, 10), float32, plain SGD, squared error: µs of a step / rows in its batch",
    )
    ends = {}
    for who, style in LINES.items():
        points = sorted((r["value"], r["median"] / r["value"]) for r in some if r["who"] == who)
        if points:
            x, y = zip(*points, strict=True)
            ax.plot(x, y, markersize=5, **style)
            ends[who] = points[-1]
    log_axes(ax)
    ax.set_xlabel("rows in a batch")
    ax.set_ylabel("µs a row")
    ax.set_xlim(right=max(x for x, _ in ends.values()) * 12)
    ax.grid(color="#e4e4e0", linewidth=0.6)
    name_ends(ax, ends)
    return figure


def roofline(rows: list[dict[str, Any]]) -> Figure:
    """Operations a second of our steps by operations for each byte, under the machine's roofs."""
    roofs = {row["who"]: row["median"] for row in rows if "roof" in row}
    memory = next(row["median"] for row in rows if row.get("roof") == "memory")
    figure, ax = titled(
        "What a step makes of the processor",
        "a point is a network and a batch; above the slope: its numbers were in the caches",
    )
    xs = [row["flop_per_byte"] for row in rows if "flop_per_byte" in row]
    left, right = min(xs) / 1.5, max(xs) * 6
    for name, peak in roofs.items():
        if "sgemm" in name:
            ax.plot([left, right], [peak, peak], color=GREY, linewidth=1)
            ax.annotate(
                f"{name}: {peak:.0f}",
                (right, peak),
                (-4, 3),
                textcoords="offset points",
                ha="right",
            )
    top = max(peak for name, peak in roofs.items() if "sgemm" in name)
    slope = np.array([left, top / memory])
    ax.plot(slope, slope * memory, color=GREY, linewidth=1, linestyle=(0, (4, 2)))
    x = slope[0] ** 0.1 * slope[1] ** 0.9
    ax.annotate(
        f"memory: {memory:.0f} GB/s",
        (x, x * memory),
        (-8, 4),
        textcoords="offset points",
        ha="right",
    )
    for what, beside, style in (  # a label's place: they end near each other
        ("width", (9, -4), {"marker": "o", "color": "#1f4e79"}),
        ("depth", (-12, 8), {"marker": "^", "color": "#b5651d"}),
        ("batch", (6, -12), {"marker": "s", "color": "#8fb3d1"}),
    ):
        mine = [r for r in rows if r.get("grows") == what and r["who"] == "chainrule"]
        x = [row["flop_per_byte"] for row in mine]
        y = [1e3 * row["mflop"] / row["median"] for row in mine]
        ax.plot(x, y, linestyle="-", linewidth=0.8, markersize=6, label=what, **style)
        for k in (0, -1):
            if mine:
                ax.annotate(
                    f"{what} {mine[k]['value']}",
                    (x[k], y[k]),
                    beside,
                    textcoords="offset points",
                    color=INK,
                    fontsize=8.5,
                )
    log_axes(ax)
    ax.set_xlim(left, right)
    ax.set_xlabel("operations for each byte that a step has to move")
    ax.set_ylabel("GFLOP/s")
    ax.legend(title="grows", frameon=False, loc="lower right")
    ax.grid(color="#e4e4e0", linewidth=0.6)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="source", type=Path, default=RESULTS, metavar="FOLDER")
    parser.add_argument("--to", type=Path, default=IMAGES, metavar="FOLDER")
    args = parser.parse_args()
    rows = read(args.source)["scaling"]["rows"]
    with mpl.rc_context(STYLE):
        for name, draw in (("time-by-batch", by_batch), ("roofline", roofline)):
            save(draw(rows), args.to / f"{name}.png")
            print(args.to / f"{name}.png")


if __name__ == "__main__":
    main()
