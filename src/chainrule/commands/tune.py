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

from chainrule.commands.options import option, with_parameters
from chainrule.commands.settings import LARGEST_SEED, settings_of
from chainrule.commands.tables import (
    AsJson,
    Config,
    Data,
    DateFormat,
    Force,
    GroupColumn,
    Ignored,
    Kinds,
    MaxLevels,
    Missing,
    Query,
    Quiet,
    TableName,
    Task,
    TestTable,
    TimeColumn,
    bad_input,
    check_new,
    note,
    one_line,
    output_option,
)
from chainrule.commands.terminal import BAD_INPUT, FAILED, INTERRUPTED, busy, fail, printable
from chainrule.commands.train import draw_curve, kinds_given, store
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
# Settings that train has too, and their usual values, which need not be said.
OF_TRAIN = (
    *("task", "test_fraction", "test", "time", "group", "weight", "ignore", "kind"),
    *("max_levels", "missing", "date_format", "seed", "table", "query"),
)
USUAL = {"test_fraction": 0.2, "max_levels": 40, "seed": 0}


@with_parameters
def tune(
    data: Data,
    target: Annotated[
        str | None,
        typer.Option("--target", "-t", help="The column to predict.", show_default=False),
    ] = None,
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
        int | None,
        typer.Option(
            metavar="N",
            help="Processes that make trials; -1: one a core (default: 1).",
            show_default=False,
        ),
    ] = None,
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
        str | None,
        typer.Option(
            metavar="[fast|tabular|none]",
            help="The ensemble with nothing to tune that is compared as well (default: fast).",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None, output_option("Where the model goes (default: model.chainrule).")
    ] = None,
    task: Task = None,
    test_fraction: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=0.9,
            help="Part of the rows that the search does not see, to judge on (default: 0.2).",
            show_default=False,
        ),
    ] = None,
    test: TestTable = None,
    time: TimeColumn = None,
    group: GroupColumn = None,
    weight: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="What each row counts for, in training and in what the search measures; the "
            "column itself is not learnt from.",
            show_default=False,
        ),
    ] = None,
    ignore: Ignored = None,
    kind: Kinds = None,
    max_levels: MaxLevels = None,
    missing: Missing = None,
    date_format: DateFormat = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=LARGEST_SEED,
            help="For splits, starting values and proposals (default: 0).",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
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

      chainrule tune visits.csv -t relapse --group patient --budget 10m
    """
    silent = quiet or as_json
    with bad_input():
        own = {
            "target": target,
            "budget": budget,
            "trials": trials,
            "jobs": jobs,
            "study": None if study is None else str(study),
            "metric": metric,
            "cv": cv,
            "compare_with": compare_with,
            "output": output,
            "task": task,
            "test_fraction": test_fraction,
            "test": test,
            "time": time,
            "group": group,
            "weight": weight,
            "ignore": ignore or None,
            "kind": kinds_given(kind) if kind else None,
            "max_levels": max_levels,
            "missing": missing,
            "date_format": date_format or None,
            "seed": seed,
            "table": table,
            "query": query,
        }
        settings, chosen, written = settings_of(config, own, given, command="tune")
        if settings["target"] is None:
            fail("name the column to predict with --target", BAD_INPUT)
        out = Path(settings["output"])
        check_new([out], force)
        curve = out.with_name(f"{out.stem}-curve.png")
        check_new([curve], force)
        path = Path(settings["study"] or out.with_name(f"{out.stem}.study"))
        with busy(f"reading {data}", quiet):
            from chainrule.commands import jobs as fits
            from chainrule.commands import making
            from chainrule.commands.asking import ask
            from chainrule.commands.splitting import as_options
            from chainrule.engine.compilation import CompilationError
            from chainrule.search.budgets import seconds_of
            from chainrule.search.judging import judge
            from chainrule.search.study import optuna
            from chainrule.search.tuning import search

            optuna()
            settings["compare_with"] = settings["compare_with"] or "fast"
            if settings["compare_with"] not in PRESETS:
                raise ValueError(
                    f"--compare-with is fast, tabular or none, not {settings['compare_with']!r}"
                )
            if settings["budget"] is not None:
                seconds_of(settings["budget"])
            asked = ask(data, settings, chosen, written)
        rows, question = asked.rows, asked.question
    if not silent:
        show_table(data, rows)
    for notice in [*rows.notices, *asked.warned]:
        note(notice)
    with bad_input(), as_options():
        with searching(quiet, question.measure.label) as advance:
            found = search(
                question,
                budget=settings["budget"],
                trials=settings["trials"],
                jobs=1 if settings["jobs"] is None else settings["jobs"],
                folds=settings["cv"],
                study=path,
                on_trial=advance,
            )
        made = making.make(rows, found.parameters, asked.plan, settings["seed"])
    against: tuple[Comparison | None, Comparison | None] = None, None
    try:
        with progress(quiet) as of_epoch:
            trained = fits.train(
                rows,
                made,
                asked.plan,
                seed=settings["seed"],
                on_epoch=of_epoch,
                tests=asked.tests,
            )
        if not trained.interrupted:
            ensemble = PRESETS[settings["compare_with"]]
            if found.ended == "interrupted":
                ensemble = None
            with busy("comparing with the defaults", quiet):
                against = judge(question, found, trained.model, *asked.held, ensemble)
    except KeyboardInterrupt:
        fail(f"stopped; the trials are kept in {path}, and the same call goes on", INTERRUPTED)
    except (ValueError, MemoryError, CompilationError) as error:
        fail(one_line(error), FAILED)
    for notice in dict.fromkeys([*found.notices, *trained.notices]):
        if notice not in rows.notices:
            note(notice)
    try:
        whole = {**settings, "model": "network"}
        store(out, data, rows, trained, whole, found.parameters, asked.roles)
        picture = draw_curve(curve, trained.model)
    except (OSError, ValueError) as error:
        fail(f"the model could not be stored: {one_line(error)}", FAILED)
    if as_json:
        whole = as_object(out, picture, rows, trained, asked.warned)
        print(json.dumps(whole | {"search": _as_object(found, *against)}, allow_nan=False))
    elif quiet:
        print(last_line(out, trained))
    else:
        from chainrule.commands.evaluation_text import console
        from chainrule.search.results import told

        screen = console(sys.stdout)
        again = _command(data, settings, found)
        for line in [*told(found, *against), f"Again: {again}"]:
            screen.print(printable(line), soft_wrap=True, markup=False)
        screen.print(f"Study: {path}\n", soft_wrap=True, markup=False)
        show_result(out, picture, trained)
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


def _command(data: str, settings: Mapping[str, Any], found: Found) -> str:
    """The call of train that has these settings."""
    parts = ["chainrule", "train", data, "--target", settings["target"]]
    for name in OF_TRAIN:
        value = settings[name]
        if value in (None, [], {}) or (name, value) in USUAL.items():
            continue
        several = [f"{key}={kind}" for key, kind in value.items()] if name == "kind" else value
        for each in several if isinstance(several, list) else [several]:
            parts += [option(name), str(each)]
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
