"""An evaluation as one page of HTML with its pictures inside: no network, no scripts.

Whatever comes from the data, names of columns and classes above all, is escaped; nothing of it
is taken for HTML or for mathematics. All can be read in grey.
"""

from __future__ import annotations

import base64
import io
import os
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from chainrule.base.whole_files import whole_file
from chainrule.commands.estimates import NAMES, interval, metric, number, share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

from chainrule.commands.evaluation import Evaluation

MOST_CLASSES = 20  # in the confusion matrix
MOST_POINTS = 4000  # in a scatter plot
BLUE, ORANGE, GREY = "#1f4e79", "#d9822b", "#8a8a8a"
STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --soft: #666; --line: #d0d0cc;
  --faint: #eceae4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e4df; --paper: #1b1b1a; --soft: #a5a29b;
  --line: #4a4945; --faint: #33322f; } }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; color: var(--ink);
  max-width: 60rem; margin: 2.5rem auto; padding: 0 1.25rem; background: var(--paper); }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; padding-bottom: .25rem;
  border-bottom: 1px solid var(--line); }
p { margin: .4rem 0; max-width: 46rem; overflow-wrap: anywhere; }
.quiet { color: var(--soft); font-size: .9rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .75rem; text-align: right; border-bottom: 1px solid var(--faint); }
th { font-weight: 600; } th:first-child, td:first-child { text-align: left; padding-left: 0; }
td:first-child { overflow-wrap: break-word; min-width: 7rem; max-width: 18rem; }
.wide { overflow-x: auto; }
.matrix td { border: 1px solid var(--paper); min-width: 2.4rem; text-align: center;
  max-width: 9rem; }
.matrix th { max-width: 9rem; overflow-wrap: break-word; text-align: center; font-size: .85rem; }
.matrix tbody th { text-align: right; min-width: 4rem; }
.matrix td.right { outline: 2px solid #1f4e79; outline-offset: -2px; font-weight: 600; }
img { max-width: 100%; height: auto; display: block; background: #fff; }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
@media (max-width: 40rem) { body { margin: 1.25rem auto; padding: 0 .9rem; }
  th, td { padding: .3rem .5rem; } }
@media print { body { margin: 0; } h2 { break-after: avoid; } img, table { break-inside: avoid; } }
"""


def write_page(
    path: str | os.PathLike[str],
    evaluation: Evaluation,
    *,
    title: str,
    facts: Mapping[str, Any],
    baselines: Mapping[str, Mapping[str, float]] | None = None,
    y: ArrayLike | None = None,
    predicted: ArrayLike | None = None,
    model: Any = None,
) -> None:
    """Write an evaluation as one HTML page, whole or not at all.

    Parameters
    ----------
    path : str or path
        Replaced if it exists.
    evaluation : Evaluation
    title : str
    facts : dict of str to anything
        A line each below the title: model, data and so on.
    baselines : dict of str to dict, optional
        Metrics of what the model is compared with, by the baseline's name.
    y, predicted : (n,) array-like, optional
        Of a regression, for the pictures of its errors.
    model : estimator or Pipeline, optional
        Fitted; its learning curve is drawn.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    parts = [
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="quiet">{escape(str(k))}: {escape(str(v))}</p>' for k, v in facts.items()),
        "<h2>How good it is</h2>",
        _metrics_table(evaluation, baselines or {}),
    ]
    if evaluation.task == "classification":
        parts += ["<h2>What was taken for what</h2>", _matrix(evaluation)]
        parts += ["<h2>Class by class</h2>", _class_table(evaluation)]
        if evaluation.calibration:
            parts += ["<h2>Are its probabilities true?</h2>", _calibration(evaluation)]
    else:
        parts += ["<h2>How far off it is</h2>", _residual_table(evaluation)]
        if y is not None and predicted is not None:
            parts.append(_picture(residuals(y, predicted), "Predicted against true, and errors"))
    if model is not None and (figure := learning_curve(model)) is not None:
        parts += ["<h2>How it was trained</h2>", _picture(figure, "Loss by epoch")]
    from chainrule.base.version import __version__

    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + f"\n<footer>Made by chainrule {escape(__version__)}.</footer></body></html>\n"
    )
    # A lone surrogate, as broken files have them, must not cost the page.
    with whole_file(path) as file:
        file.write(page.encode("utf-8", "replace"))


def _metrics_table(evaluation: Evaluation, baselines: Mapping[str, Mapping[str, float]]) -> str:
    head = ["", "model", f"{evaluation.level:.0%} interval", *baselines, "better is"]
    rows = []
    for name, estimate in evaluation.metrics.items():
        label, better = NAMES.get(name, (name, ""))
        others = [metric(name, metrics.get(name)) for metrics in baselines.values()]
        value = metric(name, estimate.value)
        rows.append([label, value, interval(name, estimate), *others, better])
    note = (
        f'<p class="quiet">{evaluation.n:,} rows. The intervals are bootstrap percentiles: how '
        "much the number would vary with other rows of the same kind.</p>"
    )
    return _table(head, rows) + note


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _matrix(evaluation: Evaluation) -> str:
    """The confusion matrix; of many classes those with the most mistakes."""
    counts = np.array(evaluation.confusion)
    shown, note = np.arange(len(counts)), ""
    if len(counts) > MOST_CLASSES:
        wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
        shown = np.sort(np.argsort(-wrong, kind="stable")[:MOST_CLASSES])
        note = f" Of {len(counts)} classes, the {MOST_CLASSES} with the most mistakes."
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [escape(evaluation.classes[j]) for j in shown]
    lines = ["<th></th>" + "".join(f"<th>{name}</th>" for name in names)]
    for i, name in zip(shown, names, strict=True):
        cells = []
        for j in shown:
            share = shares[i, j]
            tint = tuple(round(255 + share * (c - 255)) for c in (84, 130, 175))
            style = f"background:rgb{tint};color:#222" if counts[i, j] else "color:#aaa"
            mark = ' class="right"' if i == j else ""
            cells.append(f'<td{mark} style="{style}">{counts[i, j]:,}</td>')
        lines.append(f"<th>{name}</th>" + "".join(cells))
    body = "".join(f"<tr>{line}</tr>" for line in lines[1:])
    return (
        f'<p class="quiet">Rows: the class it is. Columns: the class it was taken for.{note}</p>'
        f'<div class="wide"><table class="matrix"><thead><tr>{lines[0]}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _class_table(evaluation: Evaluation) -> str:
    head = ["class", "rows", "predicted", "precision", "recall", "F1"]
    rows = [
        [
            each["class"],
            f"{each['rows']:,}",
            f"{each['predicted']:,}",
            *(share(each[name]) for name in ("precision", "recall", "f1")),
        ]
        for each in evaluation.per_class
    ]
    return _table(head, rows)


def _calibration(evaluation: Evaluation) -> str:
    two = len(evaluation.classes) == 2
    what = f"of {evaluation.classes[1]!r}" if two else "of the likeliest class"
    picture = _picture(calibration(evaluation), "Observed frequency by predicted probability")
    return (
        f"<p>Rows in bins by the predicted probability {escape(what)}. On the diagonal "
        "probabilities are true: of rows given 0.8, eight in ten are what was said. Below it the "
        f"model is too sure of itself.</p>{picture}"
    )


def _residual_table(evaluation: Evaluation) -> str:
    names = {"0": "least", "0.5": "median", "1": "most"}
    head = ["", *(names.get(q, f"{float(q):.0%}") for q in evaluation.residuals)]
    row = ["predicted − true", *(number(value) for value in evaluation.residuals.values())]
    return _table(head, [row])


def _picture(figure: Figure, description: str) -> str:
    """A figure as a PNG inside of the page."""
    data = base64.b64encode(png(figure)).decode("ascii")
    return f'<img alt="{escape(description)}" src="data:image/png;base64,{data}">'


def png(figure: Figure) -> bytes:
    """A figure as a PNG file."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # signs that the font lacks are drawn as boxes
        figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(1, columns, squeeze=False)[0])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(GREY)
    return figure, axes


def calibration(evaluation: Evaluation) -> Figure:
    """Observed frequency by predicted probability, a dot a bin; its size says how many rows."""
    figure, (ax,) = _figure(5.2, 4.4)
    bins = evaluation.calibration
    x, y = [b["predicted"] for b in bins], [b["observed"] for b in bins]
    most = max(b["rows"] for b in bins)
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (4, 2)), label="true")
    ax.plot(x, y, color=BLUE, linewidth=1.3, label="model", clip_on=False)
    ax.scatter(
        x, y, s=[20 + 60 * b["rows"] / most for b in bins], color=BLUE, zorder=3, clip_on=False
    )
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", ylabel="observed frequency")
    ax.set_aspect("equal")
    ax.legend(frameon=False, loc="upper left")
    return figure


def residuals(y: ArrayLike, predicted: ArrayLike) -> Figure:
    """Predicted against true values, and how the errors are distributed.

    Parameters
    ----------
    y, predicted : (n,) array-like
        Of more than MOST_POINTS rows some are drawn, chosen evenly.
    """
    truth, said = np.asarray(y, np.float64), np.asarray(predicted, np.float64)
    error = said - truth
    some = np.unique(np.linspace(0, len(truth) - 1, min(len(truth), MOST_POINTS)).astype(int))
    figure, (left, right) = _figure(9, 4.2, columns=2)
    drawn = np.concatenate([truth[some], said[some]])
    low, high = drawn.min(), drawn.max()
    left.plot([low, high], [low, high], color=GREY, linewidth=1, linestyle=(0, (4, 2)))
    faint = float(np.clip(300 / len(some), 0.08, 0.7))
    left.scatter(truth[some], said[some], s=10, color=BLUE, alpha=faint, linewidths=0)
    left.set(xlabel="true", ylabel="predicted")
    low, high = np.quantile(error, [0.005, 0.995])
    if not high - low > 1e-9 * max(abs(low), abs(high)):  # all the same
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    right.hist(error, bins=np.linspace(low, high, 41), color=BLUE)
    right.axvline(0, color=ORANGE, linewidth=1.5, linestyle=(0, (4, 2)))
    right.set(xlabel="predicted − true (the inner 99 %)", ylabel="rows")
    return figure


def learning_curve(model: Any) -> Figure | None:
    """Loss by epoch of a fitted estimator, or of a Pipeline's last; None if it has none."""
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    if not getattr(last, "history_", None):
        return None
    from chainrule.monitoring.callbacks import best_epoch
    from chainrule.monitoring.displays import LossCurveDisplay

    figure, (ax,) = _figure(7, 3.8)
    history = last.history_
    if hasattr(last, "blend_weights_"):
        for part in dict.fromkeys(record["part"] for record in history):
            curve = [record["loss"] for record in history if record["part"] == part]
            ax.plot(range(len(curve)), curve, label=part, linewidth=1.8)
        ax.set(xlabel="epoch", ylabel="out-of-fold loss")
        ax.legend(frameon=False)
        return figure
    if last.scoring == "loss":  # then the score is the loss once more
        history = [{**record, "validation_score": None} for record in history]
    LossCurveDisplay.from_history(history, ax=ax, best_epoch=best_epoch(last))
    return figure
