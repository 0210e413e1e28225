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
from chainrule.equations.losses import LOSSES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.digits.recipes import Digits
    from chainrule.digits.runs import Result

# A page of text is about 830 pixels wide: there the smallest letters are still 13 pixels high.
DPI = 150
WIDTH = 7.2  # inches, of every picture
MARGIN = 0.3  # inches
HEADER = 0.8  # inches above the drawing, for the title and the line below it

INK, GREY, RULE, PAPER, WHITE = "#222222", "#6b6b6b", "#d0d0cc", "#f1f0ec", "#ffffff"
# One dark, one light, and with different dashes.
LINES: Sequence[dict[str, Any]] = (
    {"color": "#1f4e79", "linestyle": "-"},
    {"color": "#d9822b", "linestyle": (0, (4, 1.5))},
)
DIGIT_SHADES = LinearSegmentedColormap.from_list("digit", [PAPER, "#111111"])
# Dark blue below 0, grey at 0, light yellow above: the order is kept in grey too.
WEIGHT_SHADES = "cividis"
MISTAKE_SHADES = LinearSegmentedColormap.from_list("mistake", ["#fbe6d0", "#e08a3c", "#9c3f0a"])

GRID_COLUMNS = 10
TILE, GAP = 8, 2  # pixels of a digit: its size, and between two
CAPTION = 0.22  # inches above a row of digits
BODY = WIDTH - 2 * MARGIN
PIXEL = BODY / (GRID_COLUMNS * (TILE + GAP) - GAP)  # inches
UNIT_ROWS = 4  # of units in the picture of the weights
MOST_MISTAKES = 60  # digits per run in the picture of mistakes
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
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
    """Draw samples, curves, confusion, mistakes and weights into a folder that exists, as PNG.

    Parameters
    ----------
    folder : Path
    data : Digits
    results : sequence of Result
        One or two; two are drawn beside each other.

    Returns
    -------
    list of Path
        The files written. All are 1080 pixels wide.

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
            ("weights", weights(results)),
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
    height = 3.5
    figure = _figure(
        height,
        "Accuracy and cost by epoch",
        "Left: share of the test digits read right. Right: mean cost in training. Dots: kept",
    )
    left, right = (
        _axes(figure, x, MARGIN + 0.22, 2.72, height - HEADER - MARGIN - 0.22) for x in (0.72, 4.25)
    )
    for result, line in zip(results, LINES, strict=False):
        epochs = [record.epoch for record in result.epochs]
        if not epochs:
            continue
        accuracy = [record.accuracy for record in result.epochs]
        cost = [record.cost for record in result.epochs]
        kept = epochs[-1] if result.kept_epoch is None else result.kept_epoch
        loss = LOSSES[result.recipe.loss]
        name, metric = result.recipe.name, loss.metric or loss.name.replace("_", " ")
        for axes, values, label in (
            (left, accuracy, f"{name}: {accuracy[kept]:.4f} (epoch {kept})"),
            (right, cost, f"{name}: {metric}"),
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
    """The confusion matrix of each result: rows are the digits, columns what was said.

    A single one has beside each row how many of the digit were read right. Digits on which no
    output is open have a column of their own if there are any.
    """
    single = len(results) == 1
    left, between = MARGIN + 0.3, 0.45
    cell = 0.4 if single else (BODY - 0.3 - between) / 2 / 11
    side, above = 10 * cell, 0.0 if single else 0.3
    height = HEADER + above + side + MARGIN + 0.28
    subtitle = "Rows: the digit. Columns: what it was taken for. In colour: mistakes"
    if any(result.no_answer.any() for result in results):
        subtitle += ". Column –: no answer"
    figure = _figure(height, "What each digit was taken for", subtitle)
    for k, result in enumerate(results):
        answered = not result.no_answer.any()
        counts = result.confusion if answered else result.answers
        width = counts.shape[1] * cell
        x = left + k * (11 * cell + between)
        axes = _axes(figure, x, MARGIN + 0.28, width, side)
        _confusion_panel(axes, counts)
        if not single:
            axes.set_title(f"{result.recipe.name}, seed {result.seed}", loc="left", fontsize=10)
            continue
        bars = _axes(figure, x + width + 0.3, MARGIN + 0.28, WIDTH - MARGIN - x - width - 0.3, side)
        _right_by_digit(bars, result)
    return figure


def _right_by_digit(axes: Any, result: Result) -> None:
    """A bar a row: how many of the digit were read right, by the article's reading."""
    right, rows = result.confusion.diagonal(), result.confusion.sum(axis=1)
    share = right / np.maximum(rows, 1)
    digits = np.arange(len(right))
    axes.barh(digits, np.ones(len(right)), height=0.62, color=PAPER)
    axes.barh(digits, share, height=0.62, color="#c9c8c2")
    for digit in digits:
        text = f"{right[digit]} of {rows[digit]}"
        axes.text(0.04, digit, text, va="center", fontweight="bold")
    axes.set(xlim=(0, 1), ylim=(len(right) - 0.5, -0.5), xticks=[], yticks=[])
    unanswered = result.correct_unanswered
    without = f"\n({unanswered} without an answer)" if unanswered else ""
    axes.set_xlabel(f"right: {result.correct} of {result.total}{without}", labelpad=8)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _confusion_panel(axes: Any, counts: NDArray[np.int64]) -> None:
    """One matrix: right answers on paper grey, mistakes in colour, nothing where nothing is."""
    n, columns = counts.shape
    diagonal = np.eye(n, columns, dtype=bool)
    wrong = np.where(diagonal, 0, counts)
    shades = np.ones((n, columns, 4))
    shades[diagonal] = to_rgba("#dcdbd6")
    mistaken = wrong > 0
    # A square root, so that single mistakes stay visible beside a class that is never named.
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
    axes.set(xticks=range(columns), yticks=range(n), xlabel="taken for", ylabel="digit")
    axes.set_xticklabels([*map(str, range(n)), "–"][:columns])
    axes.set_xticks(np.arange(columns - 1) + 0.5, minor=True)
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
    figure = _figure(height, "Digits read wrong", "The digit → what it was taken for")
    top = HEADER
    for rows, result in zip(shown, results, strict=True):
        wrong = result.total - result.correct
        text = f"{_what(result)}, {wrong} wrong"
        if len(rows) < wrong:
            text += f"; {len(rows)} of these are shown"
        figure.text(MARGIN / WIDTH, 1 - top / height, text, fontweight="bold", va="top")
        top += heading
        if len(rows):
            captions = [f"{data.y_test[i]} → {_said(result, i)}" for i in rows]
            _grid(figure, top, data.images_test[rows], captions)
        top += _grid_height(len(rows)) + below
    return figure


def _said(result: Result, row: int) -> str:
    """What a test row was taken for; a dash if no output is open."""
    unanswered = len(result.unanswered) and result.unanswered[row]
    return "–" if unanswered else str(result.said[row])


def weights(results: Sequence[Result]) -> Figure:
    """The weights of the first layer, one 8 by 8 image a unit.

    With one hidden layer there is a column for each digit, with the units whose weights to its
    output are the largest. Without one the units are the outputs. With more the units with the
    largest weights are shown.
    """
    shown = [_units(result) for result in results]
    heading, legend = 0.26, 0.62  # inches
    heights = [_grid_height(len(images)) for images, _ in shown]
    height = HEADER + sum(heading + each + legend for each in heights)
    subtitle = "Each image is a unit, each pixel its weight: yellow for ink, blue against it"
    figure = _figure(height, "Weights of the first layer", subtitle)
    top = HEADER
    for (images, captions), each, result in zip(shown, heights, results, strict=True):
        largest = float(np.quantile(np.abs(images), 0.995)) or 1.0
        shades = {"cmap": WEIGHT_SHADES, "vmin": -largest, "vmax": largest}
        text = f"{result.recipe.name}, seed {result.seed}: {_which_units(result)}"
        figure.text(MARGIN / WIDTH, 1 - top / height, text, fontweight="bold", va="top")
        _grid(figure, top + heading, images, captions, **shades)
        top += heading + each + legend
        _weight_scale(figure, height - top + legend - 0.24, largest, shades)
    return figure


def _weight_scale(figure: Figure, y: float, largest: float, shades: Any) -> None:
    """Which shade is which weight."""
    axes = _axes(figure, MARGIN + 0.2, y, 2.2, 0.11)
    axes.imshow(np.linspace(-largest, largest, 256)[None], aspect="auto", **shades)
    axes.set(xticks=[0, 127.5, 255], yticks=[])
    axes.set_xticklabels([f"−{largest:.2g}", "0", f"{largest:.2g}"])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _which_units(result: Result) -> str:
    network = result.network
    units = network.sizes[1]
    if network.L == 1:
        return "the outputs"
    if network.L > 2:
        shown = min(units, UNIT_ROWS * GRID_COLUMNS)
        return f"all {units} units" if shown == units else f"the {shown} units of largest weights"
    if units == 1:
        return "its one unit"
    return f"by digit, the {min(units, UNIT_ROWS)} units with the largest weights to its output"


def _units(result: Result) -> tuple[NDArray[np.float64], list[str]]:
    """(images of units of the first layer, their captions)."""
    network = result.network
    W = np.asarray(network.W[1], np.float64)
    if network.L == 1:
        units = np.arange(W.shape[1])
        captions = [str(unit) for unit in units]
    elif network.L == 2:
        units = np.argsort(-np.asarray(network.W[2]), axis=0, kind="stable")[:UNIT_ROWS].ravel()
        captions = [str(k % GRID_COLUMNS) for k in range(len(units))]
    else:
        size = np.linalg.norm(W, axis=0)
        units = np.sort(np.argsort(-size, kind="stable")[: UNIT_ROWS * GRID_COLUMNS])
        captions = [""] * len(units)
    return W.T[units].reshape(-1, TILE, TILE), captions


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
    return ceil(n / GRID_COLUMNS) * (TILE * PIXEL + CAPTION)


def _grid(
    figure: Figure, top: float, images: NDArray[np.float64], captions: Sequence[str], **shades: Any
) -> None:
    """Tiles in rows of ten, a caption above each; `top` in inches below the figure's top.

    The tiles of a row are pixels of one image: drawing one by one takes longer than the training.
    """
    width, above = BODY / PIXEL, CAPTION / PIXEL
    height = _grid_height(len(images))
    axes = _axes(figure, MARGIN, figure.get_figheight() - top - height, BODY, height)
    for first in range(0, len(images), GRID_COLUMNS):
        row = np.full((TILE, round(width)), np.nan)
        y = first // GRID_COLUMNS * (TILE + above) + above
        for k, image in enumerate(images[first : first + GRID_COLUMNS]):
            x = k * (TILE + GAP)
            row[:, x : x + TILE] = image
            axes.text(x + TILE / 2, y - 0.045 / PIXEL, captions[first + k], ha="center")
        axes.imshow(
            row,
            interpolation="nearest",
            extent=(0, width, y + TILE, y),
            **(shades or {"cmap": DIGIT_SHADES, "vmin": 0, "vmax": 16}),
        )
    axes.set(xlim=(0, width), ylim=(height / PIXEL, 0))
    axes.set_axis_off()


def _what(result: Result) -> str:
    """One line on which run it was and how it ended."""
    return (
        f"{result.recipe.name}, seed {result.seed}: "
        f"{result.correct} of {result.total} test digits right"
    )
