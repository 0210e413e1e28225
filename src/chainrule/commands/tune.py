"""The command tune."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainrule.commands.options import option, value_of, with_parameters
from chainrule.commands.settings import LARGEST_SEED
from chainrule.commands.tables import (
    AsJson,
    Data,
    DateFormat,
    Force,
    Ignored,
    Kinds,
    Missing,
    Query,
    Quiet,
    TableName,
    Task,
    bad_input,
    check_new,
    note,
    one_line,
    reading_of,
)
from chainrule.commands.terminal import FAILED, INTERRUPTED, busy, fail, printable
from chainrule.commands.train import draw_curve, kinds_given, leaks_in, store
from chainrule.commands.training_text import (
    as_object,
    last_line,
    progress,
    show_result,
    show_table,
)

if TYPE_CHECKING:
    from chainrule.search.comparing import Comparison
    from chainrule.search.results import Found

PRESETS = {"fast": "fast", "tabular": "best", "none": None}  # what it says, and the preset


@with_parameters
def tune(
    data: Data,
    target: Annotated[
        str, typer.Option("--target", "-t", help="The column to predict.", show_default=False)
    ],
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Time for all of it, such as 90s, 5m or 1h30m (default: 5m, or no limit with "
            "--trials). Compiling, once a machine, is not counted.",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="How many trials the study is to have in all.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option(metavar="N", help="Processes that make trials; -1: one a core.")
    ] = 1,
    study: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keeps every trial, in SQLite; one that is there is gone on with, from several "
            "processes at once if you like (default: model.study, beside the model).",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="[log_loss|error|rmse|mae]",
            help="What to make small (default: log_loss of classes, rmse of numbers).",
            show_default=False,
        ),
    ] = None,
    cv: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="K",
            help="Measure trials in K folds; 1: on a fifth held out (default: by the number of "
            "rows).",
            show_default=False,
        ),
    ] = None,
    compare_with: Annotated[
        str,
        typer.Option(
            metavar="[fast|tabular|none]",
            help="The ensemble with nothing to tune that is compared as well.",
        ),
    ] = "fast",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where the model goes.")
    ] = Path("model.chainrule"),
    task: Task = None,
    test_fraction: Annotated[
        float,
        typer.Option(
            min=0.01, max=0.9, help="Part of the rows that the search does not see, to judge on."
        ),
    ] = 0.2,
    ignore: Ignored = None,
    kind: Kinds = None,
    max_levels: Annotated[
        int,
        typer.Option(min=2, metavar="N", help="Encode categories of more levels as text."),
    ] = 40,
    missing: Missing = None,
    date_format: DateFormat = None,
    seed: Annotated[
        int,
        typer.Option(min=0, max=LARGEST_SEED, help="For splits, starting values and proposals."),
    ] = 0,
    table: TableName = None,
    query: Query = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: Force = False,
    **given: Any,
) -> None:
    """Search for good settings of a network for a table, and say whether they are worth it.

    Settings that are given are fixed; the others are searched.
    The best are compared with the defaults on rows that the search does not see.
    Ctrl-C ends the search and keeps the best so far; the study can be gone on with.

    Try:

      chainrule tune penguins.csv --target species --budget 1m

      chainrule tune sales.parquet -t price -o price.chainrule --budget 1h --jobs -1

      chainrule tune data.csv -t y --trials 50 --activation relu
    """
    silent = quiet or as_json
    with bad_input():
        check_new([output], force)
        curve = output.with_name(f"{output.stem}-curve.png")
        check_new([curve], force)
        path = output.with_name(f"{output.stem}.study") if study is None else study
        with busy(f"reading {data}", quiet):
            from chainrule.commands import jobs as fits
            from chainrule.commands import making, preparing, splitting
            from chainrule.engine.compilation import CompilationError
            from chainrule.estimators.tabular import ESTIMATORS
            from chainrule.search.budgets import seconds_of
            from chainrule.search.judging import judge
            from chainrule.search.measures import measure_for
            from chainrule.search.results import Question
            from chainrule.search.study import optuna
            from chainrule.search.tuning import search
            from chainrule.tables import reading as tables

            optuna()
            if compare_with not in PRESETS:
                raise ValueError(f"--compare-with is fast, tabular or none, not {compare_with!r}")
            if budget is not None:
                seconds_of(budget)
            ignored = list(ignore or [])
            learnt = tables.learn(
                data,
                target,
                table=table,
                query=query,
                ignore=[name for name in ignored if name != target],
                reading=reading_of(missing, date_format or None),
            )
        with busy(f"looking at {len(learnt.frame):,} rows", quiet):
            rows = preparing.prepare(
                learnt.frame,
                target,
                task=task,
                ignore=ignored,
                kinds=kinds_given(kind) if kind else {},
                max_levels=max_levels,
                learnt=learnt,
            )
            warned = leaks_in(learnt.frame, rows)
        plan = splitting.split(rows, test_fraction=test_fraction, seed=seed)
        chosen = {name: value_of(name, text) for name, text in given.items() if text is not None}
        making.make(rows, chosen, plan, seed)  # refuses what is wrong now
        fixed = making.checked(rows, chosen, {}, ESTIMATORS[rows.task])
        learnt_from, held = plan.parts[0]
        question = Question(
            rows.X.iloc[learnt_from],
            rows.y[learnt_from],
            rows.task,
            measure_for(rows.task, metric),
            fixed,
            {
                "kinds": rows.kinds,
                "max_levels": rows.max_levels,
                "missing_texts": rows.missing_texts,
            },
            seed,
        )
    if not silent:
        show_table(data, rows)
    for notice in [*rows.notices, *warned]:
        note(notice)
    with bad_input():
        with searching(quiet, question.measure.label) as advance:
            found = search(
                question,
                budget=budget,
                trials=trials,
                jobs=jobs,
                folds=cv,
                study=path,
                on_trial=advance,
            )
        made = making.make(rows, found.parameters, plan, seed)
    against: tuple[Comparison | None, Comparison | None] = None, None
    try:
        with progress(quiet) as of_epoch:
            trained = fits.train(rows, made, plan, seed=seed, on_epoch=of_epoch)
        if not trained.interrupted:
            ensemble = None if found.ended == "interrupted" else PRESETS[compare_with]
            with busy("comparing with the defaults", quiet):
                against = judge(
                    question, found, trained.model, rows.X.iloc[held], rows.y[held], ensemble
                )
    except KeyboardInterrupt:
        fail(f"stopped; the trials are kept in {path}, and the same call goes on", INTERRUPTED)
    except (ValueError, MemoryError, CompilationError) as error:
        fail(one_line(error), FAILED)
    for notice in dict.fromkeys([*found.notices, *trained.notices]):
        if notice not in rows.notices:
            note(notice)
    settings = {"missing": missing, "ignore": ignored, "seed": seed, "model": "network"}
    try:
        store(output, data, rows, trained, settings, found.parameters, {})
        picture = draw_curve(curve, trained.model)
    except (OSError, ValueError) as error:
        fail(f"the model could not be stored: {one_line(error)}", FAILED)
    if as_json:
        whole = as_object(output, picture, rows, trained, warned)
        print(json.dumps(whole | {"search": _as_object(found, *against)}, allow_nan=False))
    elif quiet:
        print(last_line(output, trained))
    else:
        from chainrule.commands.evaluation_text import console
        from chainrule.search.results import told

        screen = console(sys.stdout)
        for line in [*told(found, *against), f"Again: {_command(data, target, found)}"]:
            screen.print(printable(line), soft_wrap=True, markup=False)
        screen.print(f"Study: {path}\n", soft_wrap=True, markup=False)
        show_result(output, picture, trained)
    if found.ended == "interrupted" or trained.interrupted:
        fail(
            f"stopped by Ctrl-C; this is the best so far; the same call with --force goes on with "
            f"{path}",
            INTERRUPTED,
        )


@contextmanager
def searching(silent: bool, label: str) -> Iterator[Callable[[int, float | None], None] | None]:
    """What to call when trials have ended: a line of a terminal says how many, and the best."""
    if silent or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    from chainrule.engine.compilation import COMPILING, telling

    with Console(file=sys.stderr, highlight=False).status("preparing the folds") as line:

        def advance(trials: int, least: float | None) -> None:
            best = "" if least is None else f", the least {label} {least:.4g}"
            line.update(f"{trials} trials{best} (Ctrl-C ends the search)")

        with telling(lambda: line.update(COMPILING)):
            yield advance


def _command(data: str, target: str, found: Found) -> str:
    """The call of train that has these settings."""
    parts = ["chainrule", "train", data, "--target", target]
    for name, value in found.parameters.items():
        if isinstance(value, bool):
            parts.append(option(name) if value else f"--no-{option(name)[2:]}")
        elif isinstance(value, Mapping):
            parts += [option(name), json.dumps({str(k): v for k, v in value.items()})]
        else:
            several = isinstance(value, tuple)
            text = ",".join(map(str, value)) if several else str(value)
            parts += [option(name), "none" if text in ("None", "") else text]
    return shlex.join(parts)


def _as_object(found: Found, defaults: Any, ensemble: Any) -> dict[str, Any]:
    """The search as one object, for --json."""
    from chainrule.monitoring.callbacks import plain

    whole = {name: value for name, value in vars(found).items() if name != "deadline"}
    whole |= {"measure": found.measure.name, "changed": found.changed}
    whole["worth_it"] = defaults is not None and defaults.shown
    for name, each in (("against_defaults", defaults), ("against_ensemble", ensemble)):
        whole[name] = None if each is None else _as_numbers(each)
    return plain(whole)  # type: ignore[no-any-return]


def _as_numbers(both: Comparison) -> dict[str, Any]:
    intervals = {"model": both.first, "other": both.second, "gain": both.gain}
    return {name: each._asdict() for name, each in intervals.items()} | {"rows": both.rows}
