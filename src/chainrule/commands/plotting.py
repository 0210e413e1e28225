"""The pictures of a run on the digits, as PNG files; drawn without a screen.

Shades carry nothing that a number, a label or a line's dashes do not say too, so that all of
it can be read in grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from chainrule.base.whole_files import whole_file
from chainrule.commands.recipes import most_confused

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.commands.recipes import Digits, Result

DPI = 150
WIDTH = 9.0  # inches, of every picture
MARGIN = 0.45  # inches
HEADER = 0.85  # inches above the drawing, for the title and the line below it

INK, GREY, RULE, PAPER, WHITE = "#222222", "#6b6b6b", "#d0d0cc", "#f1f0ec", "#ffffff"
# One dark, one light, and with different dashes.
LINES: Sequence[dict[str, Any]] = (
    {"color": "#1f4e79", "linestyle": "-"},
    {"color": "#d9822b", "linestyle": (0, (4, 1.5))},
)
DIGIT_SHADES = LinearSegmentedColormap.from_list("digit", [PAPER, "#111111"])
MISTAKE_SHADES = LinearSegmentedColormap.from_list("mistake", ["#fbe6d0", "#e08a3c", "#9c3f0a"])

GRID_COLUMNS = 10
TILE, GAP, CAPTION = 8, 2, 3  # pixels of a digit: its size, between two, above it
BODY = WIDTH - 2 * MARGIN
PIXEL = BODY / (GRID_COLUMNS * (TILE + GAP) - GAP)  # inches
MOST_MISTAKES = 60  # digits per run in the picture of mistakes
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": WHITE,
    "savefig.facecolor": WHITE,
}


def write_pictures(folder: Path, data: Digits, results: Sequence[Result]) -> list[Path]:
    """Draw samples.png, curves.png, confusion.png and mistakes.png into a folder that exists.

    Parameters
    ----------
    folder : Path
    data : Digits
    results : sequence of Result
        One or two; two are drawn beside each other.

    Returns
    -------
    list of Path
        The files written. All are 1350 pixels wide.

    Raises
    ------
    OSError
        A file cannot be written. No file is ever left half written.
    """
    written = []
    with mpl.rc_context(STYLE):
        for name, figure in (
            ("samples", samples(data)),
            ("curves", curves(results)),
            ("confusion", confusion(results)),
            ("mistakes", mistakes(data, results)),
        ):
            written.append(folder / f"{name}.png")
            save(figure, written[-1])
    return written


def save(figure: Figure, path: Path) -> None:
    """Write a PNG under another name, and give it its own when it is whole."""
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=DPI)


def samples(data: Digits) -> Figure:
    """The first 30 training digits with their labels."""
    n = 3 * GRID_COLUMNS
    size = f"{len(data.X_train)} to learn from, {len(data.X_test)} to test on, 8 × 8 pixels each"
    height = HEADER + _grid_height(n) + MARGIN
    figure = _figure(height, "Handwritten digits", f"The first {n} of the training rows; {size}")
    _grid(figure, HEADER, data.images_train[:n], [str(label) for label in data.y_train[:n]])
    return figure


def curves(results: Sequence[Result]) -> Figure:
    """Accuracy on the test rows and cost on the training rows, by epoch."""
    height = 3.6
    figure = _figure(
        height,
        "Accuracy and cost by epoch",
        "Left: share of the test digits read right. Right: mean cost of a training digit. "
        "Dots: the parameters kept",
    )
    left, right = (
        _axes(figure, x, MARGIN + 0.15, 3.35, height - HEADER - MARGIN - 0.15) for x in (0.8, 5.0)
    )
    for result, line in zip(results, LINES, strict=False):
        epochs = [record.epoch for record in result.epochs]
        if not epochs:
            continue
        accuracy = [record.accuracy for record in result.epochs]
        cost = [record.cost for record in result.epochs]
        kept = epochs[-1] if result.kept_epoch is None else result.kept_epoch
        name, loss = result.recipe.name, result.recipe.loss.replace("_", " ")
        for axes, values, label in (
            (left, accuracy, f"{name}: {accuracy[kept]:.4f} (epoch {kept})"),
            (right, cost, f"{name}: {loss}"),
        ):
            axes.plot(epochs, values, linewidth=1.8, label=label, **line)
            axes.plot(kept, values[kept], "o", color=line["color"], markersize=5)
    lowest = min((record.accuracy for result in results for record in result.epochs), default=0)
    left.set(ylabel="accuracy", ylim=(max(0, np.floor(10 * lowest - 0.5) / 10), 1))
    right.set(ylabel="cost")
    if all(record.cost > 0 for result in results for record in result.epochs):
        _logarithmic(right)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        if axes.lines:
            axes.legend(frameon=False, loc="best", handlelength=2.6)
    return figure


def _logarithmic(axes: Any) -> None:
    """A logarithmic scale with plain numbers at 1, 2 and 5."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())


def confusion(results: Sequence[Result]) -> Figure:
    """The confusion matrix of each result: rows are the digits, columns what was said."""
    if len(results) == 1:
        side, gap, above = 4.6, 0.0, 0.0
    else:
        side, gap, above = 3.5, BODY - 2 * 3.5 - 0.35, 0.25
    height = HEADER + above + side + MARGIN + 0.3
    subtitle = "Rows: the digit. Columns: what it was taken for. In colour: mistakes"
    figure = _figure(height, "What each digit was taken for", subtitle)
    for k, result in enumerate(results):
        axes = _axes(figure, MARGIN + 0.35 + k * (side + gap), MARGIN + 0.3, side, side)
        _confusion_panel(axes, result.confusion)
        if len(results) > 1:
            axes.set_title(_what(result), fontsize=9.5, loc="left", pad=8)
        else:
            _confusion_notes(figure, result, MARGIN + 0.35 + side + 0.5)
    return figure


def _confusion_notes(figure: Figure, result: Result, x: float) -> None:
    """Beside a single matrix: what it adds up to."""
    pairs = most_confused(result.confusion)[:8]
    lines = [
        f"{result.recipe.name}, seed {result.seed}",
        f"{result.correct} of {result.total} test digits right",
        "",
        *(["Most often:"] if pairs else []),
        *(f"{digit} taken for {said}, {times} times" for digit, said, times in pairs),
    ]
    y = 1 - HEADER / figure.get_figheight()
    figure.text(x / WIDTH, y, "\n".join(lines), va="top", linespacing=1.7)


def _confusion_panel(axes: Any, counts: NDArray[np.int64]) -> None:
    """One matrix: right answers on paper grey, mistakes in colour, nothing where nothing is."""
    n = len(counts)
    diagonal = np.eye(n, dtype=bool)
    wrong = np.where(diagonal, 0, counts)
    shades = np.ones((n, n, 4))
    shades[diagonal] = to_rgba("#dcdbd6")
    mistaken = wrong > 0
    # A square root, so that single mistakes stay visible beside a class that is lost whole.
    shades[mistaken] = MISTAKE_SHADES(np.sqrt((wrong[mistaken] - 1) / max(5, wrong.max())))
    axes.imshow(shades, interpolation="nearest")
    for (row, column), count in np.ndenumerate(counts):
        if count or row == column:
            light = shades[row, column, :3] @ (0.299, 0.587, 0.114) > 0.5
            axes.text(
                column,
                row,
                count,
                ha="center",
                va="center",
                color=INK if light else WHITE,
                fontweight="bold" if row == column else "normal",
            )
    axes.set(xticks=range(n), yticks=range(n), xlabel="taken for", ylabel="digit")
    axes.set_xticks(np.arange(n - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(n - 1) + 0.5, minor=True)
    axes.grid(which="minor", color=RULE, linewidth=0.5)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set(visible=True, color=RULE)


def mistakes(data: Digits, results: Sequence[Result]) -> Figure:
    """The test digits read wrong, with what was said and what they are."""
    shown = [_mistakes_shown(data.y_test, result.said) for result in results]
    heading, below = 0.3, 0.4  # inches
    height = HEADER + sum(heading + _grid_height(len(rows)) + below for rows in shown)
    figure = _figure(height, "Digits read wrong", "What was said, and what it is")
    top = HEADER
    for rows, result in zip(shown, results, strict=True):
        wrong = result.total - result.correct
        text = f"{_what(result)}, {wrong} wrong"
        if len(rows) < wrong:
            text += f"; {len(rows)} of these are shown"
        figure.text(MARGIN / WIDTH, 1 - top / height, text, fontweight="bold", va="top")
        top += heading
        if len(rows):
            captions = [f"said {result.said[i]}, is {data.y_test[i]}" for i in rows]
            _grid(figure, top, data.images_test[rows], captions)
        top += _grid_height(len(rows)) + below
    return figure


def _mistakes_shown(truth: NDArray[np.int64], said: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows read wrong, by digit and answer; if there are too many, evenly spread among them."""
    wrong = np.flatnonzero(said != truth)
    wrong = wrong[np.lexsort((said[wrong], truth[wrong]))]
    n = min(len(wrong), MOST_MISTAKES)
    return wrong[np.linspace(0, len(wrong) - 1, n).astype(np.int64)] if n else wrong


def _figure(height: float, title: str, subtitle: str) -> Figure:
    """An empty figure with its title, set from the left; `height` in inches."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    figure.text(
        MARGIN / WIDTH, 1 - 0.4 / height, title, fontsize=13, fontweight="bold", va="baseline"
    )
    figure.text(MARGIN / WIDTH, 1 - 0.62 / height, subtitle, color=GREY, va="baseline")
    return figure


def _axes(figure: Figure, x: float, y: float, width: float, height: float) -> Any:
    """Axes at a place given in inches from the figure's lower left corner."""
    whole = figure.get_figheight()
    return figure.add_axes((x / WIDTH, y / whole, width / WIDTH, height / whole))


def _grid_height(n: int) -> float:
    """Inches that n tiles and their captions take."""
    return ceil(n / GRID_COLUMNS) * (TILE + CAPTION) * PIXEL


def _grid(figure: Figure, top: float, images: NDArray[np.float64], captions: Sequence[str]) -> None:
    """Tiles in rows of ten, a caption above each; `top` in inches below the figure's top.

    All tiles are pixels of one image: drawing one by one takes longer than the training.
    """
    rows = ceil(len(images) / GRID_COLUMNS)
    mosaic = np.full((rows * (TILE + CAPTION), GRID_COLUMNS * (TILE + GAP) - GAP), np.nan)
    height = _grid_height(len(images))
    axes = _axes(figure, MARGIN, figure.get_figheight() - top - height, BODY, height)
    for k, (image, caption) in enumerate(zip(images, captions, strict=True)):
        y, x = (k // GRID_COLUMNS) * (TILE + CAPTION) + CAPTION, k % GRID_COLUMNS * (TILE + GAP)
        mosaic[y : y + TILE, x : x + TILE] = image
        axes.text(x + TILE / 2, y - 0.7, caption, ha="center", fontsize=8.5)
    axes.imshow(
        mosaic,
        cmap=DIGIT_SHADES,
        vmin=0,
        vmax=16,
        interpolation="nearest",
        extent=(0, mosaic.shape[1], mosaic.shape[0], 0),
    )
    axes.set_axis_off()


def _what(result: Result) -> str:
    """One line on which run it was and how it ended."""
    return (
        f"{result.recipe.name}, seed {result.seed}: "
        f"{result.correct} of {result.total} test digits right"
    )
