"""What the commands train and evaluate print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chainrule.commands.estimates import NAMES, Estimate, interval, metric, number, share

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from chainrule.commands.evaluation import Evaluation
    from chainrule.commands.importances import Importance

MOST_CLASSES = 12  # in the confusion matrix; of more, the commonest mistakes are listed
MOST_MISTAKES = 8
LONGEST = 40  # signs of a name
LONGEST_PATH = 24  # signs of a model's path that are kept in a line
MOST_IMPORTANT = 8  # columns whose importance is shown
MOST_COLUMNS = 40  # in the table of columns; the rest are counted


def console(stream: Any) -> Console:
    """A console that takes nothing for markup."""
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False)


def _table(*heads: str, left: int = 1) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for j, head in enumerate(heads):
        table.add_column(
            head,
            justify="left" if j < left else "right",
            overflow="ellipsis" if j == 0 else "fold",
            no_wrap=j > 0,
        )
    return table


def shown(value: Any) -> str:
    """A name from the data, short, and without control signs that would steer a terminal."""
    text = "".join(c if c.isprintable() else "�" for c in str(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _text(value: Any) -> Any:
    """A cell that is not taken for markup."""
    from rich.text import Text

    return Text(shown(value))


def print_columns(out: Console, columns: Sequence[Any]) -> None:
    """A line a column: what kind it is, how much of it is missing, how many values it has.

    Parameters
    ----------
    out : rich Console
    columns : sequence of chainrule.tables.columns.Column
    """
    table = _table("column", "kind", "missing", "distinct", "", left=2)
    table.columns[4].justify = "left"
    table.columns[4].no_wrap = False
    for column in columns[:MOST_COLUMNS]:
        dropped = column.kind in ("constant", "identifier")
        note = column.note or ("not used" if dropped else "")
        cells = (column.name, column.kind, column.missing or "", f"{column.distinct:,}", note)
        table.add_row(*map(_text, cells), style="dim" if dropped else None)
    out.print(table)
    if len(columns) > MOST_COLUMNS:
        kinds = [column.kind for column in columns[MOST_COLUMNS:]]
        counted = ", ".join(f"{kinds.count(kind):,} {kind}" for kind in dict.fromkeys(kinds))
        out.print(f"... and {len(kinds):,} more: {counted}")


def print_metrics(
    out: Console, evaluation: Evaluation, baselines: Mapping[str, Mapping[str, float]]
) -> None:
    """The metrics with their intervals, beside those of the baselines.

    Parameters
    ----------
    out : rich Console
    evaluation : Evaluation
    baselines : dict of str to dict of str to float
    """
    table = _table("", "model", f"{evaluation.level:.0%} interval", *baselines)
    for name, estimate in evaluation.metrics.items():
        others = [metric(name, metrics.get(name)) for metrics in baselines.values()]
        label = NAMES.get(name, (name, ""))[0]
        table.add_row(label, _bold(metric(name, estimate.value)), interval(name, estimate), *others)
    out.print(table)


def _bold(text: str) -> Any:
    from rich.text import Text

    return Text(text, style="bold")


def print_classes(out: Console, evaluation: Evaluation) -> None:
    """Class by class, and what was taken for what.

    Parameters
    ----------
    out : rich Console
    evaluation : Evaluation
    """
    table = _table("class", "rows", "precision", "recall", "F1")
    for each in evaluation.per_class:
        scores = (share(each[name]) for name in ("precision", "recall", "f1"))
        table.add_row(_text(each["class"]), f"{each['rows']:,}", *scores)
    out.print(table)
    out.print()
    names, counts = evaluation.classes, evaluation.confusion
    widths = sum(max(len(name), 4) + 2 for name in names) + max(map(len, names)) + 12
    if len(names) <= MOST_CLASSES and widths <= out.width:
        matrix = _table("is \\ taken for", *map(shown, names))
        for name, row in zip(names, counts, strict=True):
            matrix.add_row(_text(name), *(f"{n:,}" if n else "·" for n in row))
        out.print(matrix)
        return
    mistakes = [
        (n, names[i], names[j])
        for i, row in enumerate(counts)
        for j, n in enumerate(row)
        if i != j and n
    ]
    for n, truth, said in sorted(mistakes, reverse=True)[:MOST_MISTAKES]:
        out.print(f"{shown(truth)} was taken for {shown(said)}: {n:,} rows", soft_wrap=True)


def print_calibration(out: Console, evaluation: Evaluation) -> None:
    """Predicted and observed frequency, a line a bin.

    Parameters
    ----------
    out : rich Console
    evaluation : Evaluation
    """
    if not evaluation.calibration:
        return
    two = len(evaluation.classes) == 2
    what = f"of {shown(evaluation.classes[1])}" if two else "of the likeliest class"
    table = _table(f"probability {what}", "came true", "rows")
    for each in evaluation.calibration:
        cells = (f"{each['predicted']:.3f}", f"{each['observed']:.3f}", f"{each['rows']:,}")
        table.add_row(*cells)
    out.print()
    out.print(table)


def print_residuals(out: Console, evaluation: Evaluation) -> None:
    """Quantiles of the errors.

    Parameters
    ----------
    out : rich Console
    evaluation : Evaluation
    """
    heads = {"0": "least", "0.5": "median", "1": "most"}
    table = _table("", *(heads.get(q, f"{float(q):.0%}") for q in evaluation.residuals))
    table.add_row("predicted − true", *map(number, evaluation.residuals.values()))
    out.print(table)


def print_importances(out: Console, found: Sequence[Importance], loss: str) -> None:
    """By how much more the model errs where a column is shuffled, the columns that matter most.

    Parameters
    ----------
    out : rich Console
    found : sequence of Importance
        The largest first.
    loss : str
        What grows.
    """
    table = _table("column", f"growth of the {loss} where it is shuffled")
    for each in found[:MOST_IMPORTANT]:
        value = each.increase.value
        table.add_row(_text(each.column), f"{'+' if value > 0 else ''}{number(value, 3)}")
    out.print(table)
    if len(found) > MOST_IMPORTANT:
        out.print(f"... and {len(found) - MOST_IMPORTANT:,} columns that matter less")


def label(name: str) -> str:
    """What a metric is called in print."""
    return NAMES.get(name, (name, ""))[0]


def print_places(
    out: Console,
    places: Sequence[tuple[str, Mapping[str, Estimate], Estimate | None]],
    metrics: Sequence[str],
    by: str,
) -> None:
    """Models beside one another.

    Parameters
    ----------
    out : rich Console
    places : sequence of (name, metrics, how much worse than the best)
        The best first; its own difference is None.
    metrics : sequence of str
        Those to show.
    by : str
        The metric that the difference is of.
    """
    table = _table("model", *map(label, metrics), "worse by", "interval")
    table.columns[0].overflow = "fold"
    table.columns[0].min_width = min(max(len(name) for name, *_ in places), LONGEST_PATH)
    for name, found, less in places:
        cells = [metric(one, found[one].value) for one in metrics]
        worse = ["best", ""] if less is None else [metric(by, less.value), interval(by, less)]
        table.add_row(_text(name), *cells, *worse)
    out.print(table)


def verdict(evaluation: Evaluation) -> str:
    """The first metric in one line."""
    name, estimate = next(iter(evaluation.metrics.items()))
    value, around = metric(name, estimate.value), interval(name, estimate)
    return f"{NAMES[name][0]} {value} ({around}) on {evaluation.n:,} rows"
