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

    from chainrule.commands.importances import Importance

from chainrule.commands.evaluation import Evaluation

MOST_CLASSES = 20  # in the confusion matrix
MOST_POINTS = 4000  # in a scatter plot
MOST_BARS = 20  # columns whose importance is shown
BLUE, ORANGE, GREY = "#1f4e79", "#d9822b", "#8a8a8a"
STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --soft: #666; --line: #d0d0cc;
  --faint: #eceae4; --bar: #1f4e79; --tint: 84,130,175; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e4df; --paper: #1b1b1a; --soft: #a5a29b;
  --line: #4a4945; --faint: #33322f; --bar: #7fa8d1; --tint: 58,98,138; }
  img { filter: invert(.895) hue-rotate(180deg); } }
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
.bars td { vertical-align: bottom; white-space: nowrap; }
.bars td:first-child { width: 26rem; max-width: 26rem; min-width: 8rem; white-space: normal; }
.bars span { display: block; height: .5rem; min-width: 1px; margin: .2rem 0 .15rem;
  background: var(--bar); }
.side { display: flex; flex-wrap: wrap; gap: 1rem; } .side img { flex: 1 1 20rem; min-width: 0; }
.matrix td { border: 1px solid var(--paper); min-width: 2.4rem; text-align: center;
  max-width: 9rem; }
.matrix th { max-width: 9rem; overflow-wrap: break-word; text-align: center; font-size: .85rem; }
.matrix tbody th { text-align: right; min-width: 4rem; }
.matrix td.none { color: var(--soft); }
.matrix td.right { outline: 2px solid var(--bar); outline-offset: -2px; font-weight: 600; }
img { width: 34rem; max-width: 100%; height: auto; display: block; background: #fff; }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
@media (max-width: 40rem) { body { margin: 1.25rem auto; padding: 0 .9rem; }
  th, td { padding: .3rem .4rem; } table { font-size: .88rem; }
  td:first-child { min-width: 5.5rem; } }
@media print { body { margin: 0; } h2 { break-after: avoid; } img, table { break-inside: avoid; } }
"""


def write_page(
    path: str | os.PathLike[str],
    evaluation: Evaluation,
    *,
    title: str,
    facts: Mapping[str, Any],
    baselines: Mapping[str, Mapping[str, float] | None] | None = None,
    importances: Sequence[Importance] = (),
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
    baselines : dict of str to (dict or None), optional
        Metrics of what the model is compared with, by the baseline's name; None: not known.
    importances : sequence of Importance, default=()
        Of the columns, the largest first.
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
            left, right = residuals(y, predicted)
            pictures = _picture(left, "Predicted against true"), _picture(right, "Errors")
            parts.append(f'<div class="side">{"".join(pictures)}</div>')
    if importances:
        parts += ["<h2>Which columns it relies on</h2>", _importances(evaluation, importances)]
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


def _metrics_table(
    evaluation: Evaluation, baselines: Mapping[str, Mapping[str, float] | None]
) -> str:
    known = {name: metrics for name, metrics in baselines.items() if metrics is not None}
    head = ["", "model", f"{evaluation.level:.0%} interval", *known]
    rows = []
    for name, estimate in evaluation.metrics.items():
        label, better = NAMES.get(name, (name, ""))
        label += {"higher": " ↑", "lower": " ↓"}.get(better, "")
        others = [metric(name, metrics.get(name)) for metrics in known.values()]
        value = metric(name, estimate.value)
        around = interval(name, estimate).replace(" to ", "\u00a0to ")  # two lines at most
        rows.append([label, value, around, *others])
    note = (
        f'<p class="quiet">{evaluation.n:,} rows; ↑ higher is better, ↓ lower is. The intervals '
        "are bootstrap percentiles: how much the number would vary with other rows of the same "
        f"kind.{_compared(evaluation, baselines)}</p>"
    )
    return _table(head, rows) + note


def _compared(evaluation: Evaluation, baselines: Mapping[str, Mapping[str, float] | None]) -> str:
    """What the baselines are, and which of them are not known."""
    classes = evaluation.task == "classification"
    constant = "the mean of the training or, as the model predicts them, its quantiles"
    what = {
        "trivial": "always says "
        + ("the class that was commonest in training" if classes else constant),
        "linear": "is a linear model on the same columns, trained on the same rows",
    }
    said = "".join(
        f" <b>{escape(name)}</b> {escape(what.get(name, 'is compared with'))}."
        for name, metrics in baselines.items()
        if metrics is not None
    )
    unknown = [name for name, metrics in baselines.items() if metrics is None]
    if unknown:
        said += (
            f" How well a {escape(' and a '.join(unknown))} model would do is unknown: the model's "
            "file does not hold it."
        )
    return said


def _importances(evaluation: Evaluation, found: Sequence[Importance]) -> str:
    """A bar for each column, with how much more the model errs without it."""
    numbers = evaluation.task == "regression"
    loss = "mean absolute error" if numbers else "log loss"
    most = max((each.increase.value for each in found), default=0.0)
    digits = int(np.clip(2 - np.floor(np.log10(most)), 0, 6)) if most > 0 else 2
    rows = []
    for each in found[:MOST_BARS]:
        value, low, high = (
            f"{round(part, digits) + 0.0:+,.{digits}f}".replace("-", "−") for part in each.increase
        )
        width = 100 * max(each.increase.value, 0) / most if most > 0 else 0
        rows.append(
            f'<tr><td>{escape(each.column)}<span style="width:{width:.1f}%"></span></td>'
            f"<td>{value}</td><td>{low} to {high}</td></tr>"
        )
    rest = f" The {MOST_BARS} that matter most of {len(found)}." if len(found) > MOST_BARS else ""
    return (
        f"<p>How much the {loss} grows when a column's values are shuffled among the rows, so that "
        "they say nothing any more. Of columns that say the same, each can stand in for the other, "
        f"and none seems to matter.{rest}</p>"
        '<div class="wide"><table class="bars"><thead><tr><th>column</th>'
        f"<th>growth</th><th>{evaluation.level:.0%} interval</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


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
            style = f' style="background:rgba(var(--tint),{shares[i, j]:.2f})"'
            marks = ["right"] * bool(i == j) + ["none"] * bool(counts[i, j] == 0)
            mark = f' class="{" ".join(marks)}"' if marks else ""
            cells.append(f"<td{mark}{style if counts[i, j] else ''}>{counts[i, j]:,}</td>")
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


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    ax = figure.subplots()
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    return figure, ax


def calibration(evaluation: Evaluation) -> Figure:
    """Observed frequency by predicted probability, a dot a bin; its size says how many rows."""
    figure, ax = _figure(5.2, 4.4)
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


def residuals(y: ArrayLike, predicted: ArrayLike) -> tuple[Figure, Figure]:
    """Predicted against true values; how the errors are distributed.

    Parameters
    ----------
    y, predicted : (n,) array-like
        Of more than MOST_POINTS rows some are drawn, chosen evenly.
    """
    truth, said = np.asarray(y, np.float64), np.asarray(predicted, np.float64)
    error = said - truth
    some = np.unique(np.linspace(0, len(truth) - 1, min(len(truth), MOST_POINTS)).astype(int))
    (first, left), (second, right) = _figure(4.8, 4), _figure(4.8, 4)
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
    return first, second


def learning_curve(model: Any) -> Figure | None:
    """Loss by epoch of a fitted estimator, or of a Pipeline's last; None if it has none."""
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    if not getattr(last, "history_", None):
        return None
    from chainrule.monitoring.callbacks import best_epoch
    from chainrule.monitoring.displays import LossCurveDisplay

    figure, ax = _figure(5.6, 3.6)
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
