"""What the command train shows: its table, its progress, what came of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.commands.terminal import printable

if TYPE_CHECKING:
    from chainrule.commands.jobs import Trained
    from chainrule.commands.preparing import Table


@contextmanager
def progress(silent: bool) -> Iterator[Callable[[str, int, Mapping[str, Any]], None] | None]:
    """What to call after each epoch: a line on stderr says what is done, if that is a terminal.

    A first compilation is announced there too; elsewhere the engine says so in a line of its own.
    """
    if silent or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
    from rich.table import Column
    from rich.text import Text

    from chainrule.engine.compilation import COMPILING, USUAL_SECONDS, telling

    class Elapsed(ProgressColumn):
        """What is done, and for how many seconds."""

        max_refresh = 0.2

        def render(self, task: Any) -> Text:
            seconds = time.monotonic() - task.fields["since"]
            late = task.description == COMPILING and seconds > USUAL_SECONDS
            more = " (longer than usual)" if late else ""
            return Text(f"{task.description} ... {seconds:.0f} s{more}")

    # Where a terminal is narrow, the bar is shortened and the figures are cut, and nothing else.
    epochs = (
        TextColumn(
            "{task.description}", markup=False, table_column=Column(no_wrap=True, min_width=13)
        ),
        BarColumn(bar_width=24),
        TextColumn(
            "{task.completed} of at most {task.total} epochs",
            table_column=Column(no_wrap=True, min_width=25),
        ),
        TextColumn("{task.fields[figures]}", table_column=Column(no_wrap=True)),
    )
    bar = Progress(
        SpinnerColumn(style=""),
        Elapsed(),
        console=Console(file=sys.stderr, highlight=False),
        transient=True,
        refresh_per_second=8,
    )
    with bar:
        start = time.monotonic()
        task = bar.add_task("preparing the columns", total=None, since=start, figures="")

        def compiling() -> None:
            bar.update(task, description=COMPILING, since=time.monotonic())

        def advance(part: str, most: int, record: Mapping[str, Any]) -> None:
            figures = f"loss {record['loss']:.4g}"
            if record.get("validation_loss") is not None:
                figures += f"  held out {record['validation_loss']:.4g}"
            done = int(record["epoch"]) + 1
            bar.update(task, description=part, total=most, completed=done, figures=figures)
            bar.columns = epochs  # after the numbers, since another thread draws

        with telling(compiling):
            yield advance


def show_table(data: str, rows: Table) -> None:
    """Print the columns that are learnt from, and what is left out."""
    import numpy as np

    from chainrule.commands.estimates import number
    from chainrule.commands.evaluation_text import console, print_columns, shown

    out = console(sys.stdout)
    left = f" ({rows.left_out:,} more left out)" if rows.left_out else ""
    out.print(f"{rows.n:,} rows of {data}{left}", soft_wrap=True)
    if rows.task == "classification":
        classes, counts = rows.class_counts
        order = np.argsort(-counts, kind="stable")
        most = ", ".join(f"{shown(classes[j])} {counts[j]:,}" for j in order[:6])
        more = f", and {len(classes) - 6} more" if len(classes) > 6 else ""
        out.print(f"{shown(rows.target)}: {len(classes)} classes ({most}{more})", soft_wrap=True)
    else:
        low, middle, high = np.quantile(rows.y, [0, 0.5, 1])
        out.print(
            f"{shown(rows.target)}: numbers from {number(low)} to {number(high)}, "
            f"median {number(middle)}",
            soft_wrap=True,
        )
    out.print()
    print_columns(out, rows.columns)
    out.print()


def as_object(
    out: Path, curve: Path | None, rows: Table, trained: Trained, warned: list[str]
) -> dict[str, Any]:
    """The result as one object, for --json."""
    from chainrule.monitoring.callbacks import plain

    evaluation = {} if trained.evaluation is None else trained.evaluation.as_dict()
    found = {
        "model": str(out),
        "learning_curve": None if curve is None else str(curve),
        "task": rows.task,
        "target": rows.target,
        "rows": trained.rows,
        "columns": [dict(column._asdict()) for column in rows.columns],
        "evaluation": evaluation,
        "baselines": trained.baselines,
        "compared": {each.name: each.as_dict() for each in trained.against},
        "decision": None if trained.decision is None else trained.decision.as_dict(),
        "importances": [
            {"column": each.column, **each.increase._asdict()} for each in trained.importances
        ],
        **_epochs(trained.model[-1]),
        "interrupted": trained.interrupted,
        "notices": [*trained.notices, *warned],
        "findings": [
            {"code": each.code, "message": each.message, "advice": each.advice}
            for each in trained.findings
        ],
        "seconds": trained.seconds,
    }
    return plain(found)  # type: ignore[no-any-return]


def _epochs(est: Any) -> dict[str, Any]:
    """How long a fitted estimator was trained; of a blend, by its parts."""
    from chainrule.files.ensembles import summary
    from chainrule.monitoring.callbacks import best_epoch

    if hasattr(est, "blend_weights_"):
        return {"parts": summary(est)}
    return {"epochs": est.n_iter_, "best_epoch": best_epoch(est)}


def last_line(out: Path, trained: Trained) -> str:
    """The model's file and its main figure, for --quiet."""
    from chainrule.commands.evaluation_text import verdict

    if trained.evaluation is None:
        return f"{out}: trained on {trained.rows['train']:,} rows, not evaluated"
    return f"{out}: {verdict(trained.evaluation)}"


def show_result(out: Path, curve: Path | None, trained: Trained) -> None:
    """Print how the model was trained, how good it is, and where it is."""
    from chainrule.commands.differences import verdict_in_words
    from chainrule.commands.evaluation_text import (
        console,
        print_classes,
        print_importances,
        print_metrics,
        print_residuals,
    )

    screen = console(sys.stdout)
    rows, (how, more) = trained.rows, _trained_how(trained.model[-1])
    stop = f", stopped by {rows['stop']:,} others" if rows["stop"] else ""
    screen.print(
        f"Trained on {rows['train']:,} rows{stop}: {how}, {trained.seconds:.1f} s{more}.",
        soft_wrap=True,
    )
    if trained.evaluation is None:
        screen.print("Nothing was held out to evaluate on.")
    else:
        where = {
            "held out": "rows held out",
            "another file": "rows of the other table",
        }.get(trained.evaluated, "rows, each predicted without having been learnt")
        screen.print(f"On {rows['test']:,} {where}:\n")
        print_metrics(screen, trained.evaluation, trained.baselines)
        screen.print()
        screen.print(verdict_in_words(trained.against, rows["test"]), soft_wrap=True)
        if trained.decision is not None:
            screen.print(f"Taken for {trained.decision.in_words}.", soft_wrap=True)
        screen.print()
        if trained.evaluation.task == "classification":
            print_classes(screen, trained.evaluation)
        else:
            print_residuals(screen, trained.evaluation)
    if trained.importances:
        screen.print()
        print_importances(screen, trained.importances, _loss_of(trained))
    screen.print()
    for finding in trained.findings:
        screen.print(f"Found {printable(str(finding))}", soft_wrap=True, markup=False)
    if trained.findings:
        screen.print()
    if curve is not None:
        screen.print(f"Learning curve  {curve}", soft_wrap=True)
    screen.print(f"Model           {out}", soft_wrap=True)


def _loss_of(trained: Trained) -> str:
    """The loss whose growth the importances are."""
    from chainrule.commands.importances import loss_of_importances

    if trained.evaluated == "out of fold" and not hasattr(trained.model, "classes_"):
        return "squared error of the standardised target"
    return loss_of_importances(trained.model)


def _trained_how(est: Any) -> tuple[str, str]:
    """The epochs of a fitted estimator, and which of them it is; or the parts of a blend."""
    from chainrule.commands.estimates import number
    from chainrule.files.ensembles import summary
    from chainrule.monitoring.callbacks import best_epoch

    if hasattr(est, "blend_weights_"):
        parts = [
            f"{number(one['weight'])} {one['part']}"
            + (
                f" ({one['members']} networks, epoch {one['best_epoch']})"
                if "members" in one
                else ""
            )
            for one in summary(est)
            if one["weight"] > 0
        ]
        return "a blend of " + " + ".join(parts or ["a constant"]), ""
    more, kept = "", best_epoch(est)
    stopped_by_rows = est.validation_scores_ is not None  # else the last epoch is the model
    if stopped_by_rows and kept not in (None, est.n_iter_ - 1):
        more = f"; epoch {kept} did best and was kept (the first is epoch 0)"
    return "1 epoch" if est.n_iter_ == 1 else f"{est.n_iter_} epochs", more
