"""The command train."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from chainrule.base.whole_files import whole_file, would_replace
from chainrule.commands.options import with_parameters
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
    WeightColumn,
    bad_input,
    check_new,
    note,
    one_line,
    output_option,
    reading_of,
)
from chainrule.commands.terminal import BAD_INPUT, FAILED, INTERRUPTED, busy, fail
from chainrule.commands.training_text import (
    as_object,
    last_line,
    progress,
    show_result,
    show_table,
)
from chainrule.estimators.choosing import NETWORK

if TYPE_CHECKING:
    from chainrule.commands.jobs import Trained
    from chainrule.commands.on_cluster import OnCluster
    from chainrule.commands.preparing import Table
    from chainrule.files.resuming import Resume


@with_parameters
def train(
    data: Data,
    target: Annotated[
        str | None,
        typer.Option("--target", "-t", help="The column to predict.", show_default=False),
    ] = None,
    output: Annotated[
        str | None, output_option("Where the model goes (default: model.chainrule).")
    ] = None,
    task: Task = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="[tabular|fast|network]",
            help="tabular: a TabularClassifier or TabularRegressor, nothing to tune, evaluated "
            "on all rows; fast: its smaller preset; network: a plain network, with the settings "
            "below (default: tabular, or network if one of its settings is given).",
            show_default=False,
        ),
    ] = None,
    test_fraction: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=0.9,
            help="Part of the rows held out to evaluate on; 0: none (default: 0.2).",
            show_default=False,
        ),
    ] = None,
    cv: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="K",
            help="Evaluate in K folds instead, then train on all rows.",
            show_default=False,
        ),
    ] = None,
    test: TestTable = None,
    time: TimeColumn = None,
    group: GroupColumn = None,
    weight: WeightColumn = None,
    positive: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Of two classes, the one whose precision and recall are shown.",
            show_default=False,
        ),
    ] = None,
    cost: Annotated[
        str | None,
        typer.Option(
            metavar="FP:FN",
            help="With --positive: what a row costs that is wrongly taken for it, and one that is "
            "wrongly not, such as 1:5. The probability from which rows are taken for it is chosen "
            "for the least cost, and kept with the model.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="With --positive: choose that probability so that the part P of the rows that "
            "are taken for the class are of it.",
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
            help="For starting values, splits, the order of rows (default: 0).",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    table: TableName = None,
    query: Query = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Keep the state of the training in a file beside the model, every N epochs.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="CHECKPOINT",
            help="Go on from such a file, with the same data and options.",
            show_default=False,
        ),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="local|ADDRESS",
            help="Train a network on the files of DATA where they are, as partitions: on a process "
            "for each core of this machine, or on a cluster, such as tcp://10.0.0.1:8786.",
            show_default=False,
        ),
    ] = None,
    curve: Annotated[
        bool | None,
        typer.Option(
            "--curve/--no-curve",
            help="Draw the learning curve beside the model, as NAME-curve.png (default: of a "
            "network).",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: Force = False,
    **given: Any,
) -> None:
    """Train a model on a table, evaluate it on rows held out, and store it.

    Kinds of columns are found out; holes and new categories are provided for.
    The model is compared with a trivial and a linear one.
    Ctrl-C stops early and keeps what was learnt.

    Try:

      chainrule train penguins.csv --target species

      chainrule train sales.parquet -t price -o price.chainrule --cv 5 --ignore id

      chainrule train shop.duckdb --table orders -t amount --loss huber

      chainrule train 2023.csv -t sold --test 2024.csv

      chainrule train visits.csv -t relapse --group patient --positive yes --cost 1:5

      chainrule train data.csv --config settings.toml --hidden-layer-sizes 64,32

      chainrule train data.csv -t y --checkpoint-every 10

      chainrule train data.csv -t y --resume model.state

      chainrule train "2024/*.csv" -t amount --dask local
    """
    with bad_input():
        own = {
            "target": target,
            "output": output,
            "task": task,
            "model": model,
            "test_fraction": test_fraction,
            "cv": cv,
            "ignore": ignore or None,
            "kind": kinds_given(kind) if kind else None,
            "max_levels": max_levels,
            "seed": seed,
            "table": table,
            "query": query,
            "missing": missing,
            "date_format": date_format or None,
            "test": test,
            "time": time,
            "group": group,
            "weight": weight,
            "positive": positive,
            "cost": cost,
            "precision": precision,
            "dask": dask,
        }
        state = {"checkpoint_every": checkpoint_every, "resume": resume}
        beside = [name for name, value in state.items() if value is not None]
        settings, chosen, written = settings_of(config, own, given, beside)
        if settings["target"] is None:
            fail("name the column to predict with --target", BAD_INPUT)
        out = Path(settings["output"])
        check_new([out], force)
        picture = None
        if settings["model"] == NETWORK if curve is None else curve:
            picture = out.with_name(f"{out.stem}-curve.png")
            check_new([picture], force)
        keep = _keeper(out, checkpoint_every, resume, settings["cv"], force)
    with ExitStack() as stack:
        _run(stack, data, out, picture, settings, chosen, written, keep, as_json, quiet)


class _Rows(NamedTuple):
    """What is learned from, before the model is made.

    Attributes
    ----------
    frame : pandas.DataFrame
        The rows that are here, with all columns.
    table : Table
    cluster : OnCluster or None
        Where the others are.
    """

    frame: Any
    table: Table
    cluster: OnCluster | None = None


def _read(
    stack: ExitStack,
    data: str,
    settings: Mapping[str, Any],
    chosen: Mapping[str, Any],
    roles: Mapping[str, str],
    quiet: bool,
) -> _Rows:
    """Read and prepare the rows."""
    with busy(f"reading {data}", quiet):
        from chainrule.commands import preparing
        from chainrule.estimators.raw_columns import ANY_NUMBER
        from chainrule.tables import reading as tables

        reading = reading_of(settings["missing"], settings["date_format"])
        if settings["dask"] is not None:
            from chainrule.commands.cluster_splits import stopping_fraction
            from chainrule.commands.on_cluster import connected, prepare_on

            client = stack.enter_context(connected(settings["dask"]))
            found = prepare_on(client, data, settings, reading, stopping_fraction(chosen))
            return _Rows(found.frame, found.table, found)
        read = {settings["target"], *roles.values()}
        learnt = tables.learn(
            data,
            settings["target"],
            table=settings["table"],
            query=settings["query"],
            ignore=[name for name in settings["ignore"] if name not in read],
            reading=reading,
        )
    with busy(f"looking at {len(learnt.frame):,} rows", quiet):
        rows = preparing.prepare(
            learnt.frame,
            settings["target"],
            task=settings["task"],
            ignore=settings["ignore"],
            kinds=settings["kind"],
            max_levels=settings["max_levels"] if settings["model"] == NETWORK else ANY_NUMBER,
            learnt=learnt,
            roles=roles,
        )
    return _Rows(learnt.frame, rows)


def _run(
    stack: ExitStack,
    data: str,
    out: Path,
    picture: Path | None,
    settings: Mapping[str, Any],
    chosen: Mapping[str, Any],
    written: Mapping[str, str],
    keep: Resume | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train, evaluate and store a model as the settings say."""
    with bad_input():
        with busy("loading", quiet):
            from chainrule.commands import (
                deciding,
                jobs,
                making,
                other_rows,
                splitting,
            )
            from chainrule.engine.compilation import CompilationError
            from chainrule.estimators.row_columns import FEATURES, ROLES
            from chainrule.files.container import ModelFileError

        decision = deciding.requested(settings["positive"], settings["cost"], settings["precision"])
        roles = {role: settings[role] for role in ROLES if settings[role] is not None}
        frame, rows, cluster = _read(stack, data, settings, chosen, roles, quiet)
        held = settings["test_fraction"]
        beside = [name for role, name in roles.items() if role not in FEATURES]
        warned = leaks_in(frame.drop(columns=beside), rows)
        if decision is not None:
            names = making.written_label(decision.positive, rows)
            decision = decision._replace(positive=names)
            deciding.check_positive(decision, rows.classes.tolist(), rows.target)
        tests = None
        if settings["test"] is not None:
            with busy(f"reading {settings['test']}", quiet):
                tests = other_rows.read_tests(
                    rows, settings["test"], frame, settings["group"], settings["ignore"]
                )
            rows.notices += tests.notices
            plan = splitting.all_rows(rows)
        elif cluster is not None:
            plan = cluster.plan
        else:
            plan = splitting.split(
                rows,
                test_fraction=0.2 if held is None else held,
                folds=settings["cv"],
                seed=settings["seed"],
            )
        given = chosen if cluster is None else cluster.with_defaults(chosen)
        made = making.make(rows, given, plan, settings["seed"], written, model=settings["model"])
        if settings["model"] == NETWORK:
            if cluster is not None:
                cluster.fit_to.check(made, written)
            if decision is not None and decision.asks_for_threshold and not plan.folds:
                splitting.inner_parts(rows, plan.parts[0][0], settings["seed"])  # refuses now
        elif settings["time"] is not None:
            rows.notices.append(
                "the folds of the ensembles do not follow time, so the latest rows are held "
                "out to evaluate on, and not learnt from"
            )
        elif tests is None and held is None and settings["cv"] is None:
            plan = splitting.all_rows(rows, out_of_fold=True)
    silent = quiet or as_json
    if not silent:
        show_table(data, rows)
    for notice in [*rows.notices, *warned]:
        note(notice)
    try:
        with progress(quiet) as advance:
            trained = jobs.train(
                rows,
                made,
                plan,
                seed=settings["seed"],
                on_epoch=advance,
                keep=keep,
                decision=decision,
                tests=tests,
                explains=as_json or not quiet,
                **({} if cluster is None else {"fit_to": cluster.fit_to}),
            )
    except KeyboardInterrupt:
        fail("stopped before there was anything to keep", INTERRUPTED)
    except ModelFileError as error:  # of --resume: it is damaged, or no state of a fit
        fail(f"--resume: {one_line(error)}", BAD_INPUT)
    except (ValueError, MemoryError, CompilationError) as error:
        from chainrule.commands.values import of_options

        fail(of_options(one_line(error), written), FAILED)
    if cluster is not None:
        trained.rows["train"] = cluster.n_learnt - trained.rows["stop"]
    for notice in trained.notices:
        if notice not in rows.notices:
            note(notice)
    try:
        store(out, data, rows, trained, settings, chosen, roles)
        picture = draw_curve(picture, trained.model)
    except (OSError, ValueError) as error:
        fail(f"the model could not be stored: {one_line(error)}", FAILED)
    if as_json:
        print(json.dumps(as_object(out, picture, rows, trained, warned), allow_nan=False))
    elif quiet:
        print(last_line(out, trained))
    else:
        show_result(out, picture, trained)
    if trained.interrupted:
        more = "" if keep is None else f"; go on with --resume {keep.path} --force"
        fail(f"stopped by Ctrl-C; this is the model as trained so far{more}", INTERRUPTED)
    if keep is not None:
        Path(keep.path).unlink(missing_ok=True)
    if trained.unreached is not None:
        fail(f"{trained.unreached}. The model is stored without a threshold", BAD_INPUT)


def _keeper(
    out: Path, every: int | None, resume: Path | None, folds: int | None, force: bool
) -> Resume | None:
    """The callback that stores the state of the training, if the options request it."""
    if every is None and resume is None:
        return None
    from chainrule.files.resuming import Resume

    if folds is not None:
        raise ValueError("--checkpoint-every and --resume go with rows held out, not with --cv")
    if resume is not None:
        if not resume.is_file():
            raise ValueError(f"--resume: there is no file {resume}")
        return Resume(resume, every=every or 1)
    assert every is not None
    path = out.with_name(f"{out.stem}.state")
    if would_replace(path) and not force:
        raise ValueError(f"{path} exists; go on from it with --resume, or replace it with --force")
    return Resume(path, every=every, resume=False)


def kinds_given(given: list[str]) -> dict[str, str]:
    """Of "COLUMN=KIND", the kind by column."""
    found = {}
    for text in given:
        column, sign, kind = text.rpartition("=")
        if not sign or not column:
            raise ValueError(f"--kind is COLUMN=KIND, such as zip=categorical; got {text!r}")
        found[column] = kind
    return found


def leaks_in(frame: Any, rows: Table) -> list[str]:
    """Warnings about columns that give the target away."""
    from chainrule.tables.leaks import leaks

    return [
        f"{leak.column!r} {leak.how}. If it is made from the target, or known only after it, "
        "leave it out with --ignore"
        for leak in leaks(frame, rows.target, rows.task)
    ]


def store(
    out: Path,
    data: str,
    rows: Table,
    trained: Trained,
    settings: Mapping[str, Any],
    chosen: Mapping[str, Any],
    roles: Mapping[str, str],
) -> None:
    """Write the model's file."""
    from chainrule.estimators.row_columns import FEATURES
    from chainrule.files.persistence import save
    from chainrule.tables.types import Reading

    beside = [name for role, name in roles.items() if role not in FEATURES]
    missing = None if settings["missing"] is None else tuple(settings["missing"])
    metrics = {} if trained.evaluation is None else trained.evaluation.as_dict()["metrics"]
    metadata = {
        "task": rows.task,
        "target": rows.target,
        "target_type": rows.target_type,
        "types": rows.types,
        **Reading(rows.formats, missing).as_dict(),
        "labels": rows.labels,
        "ignored": [*settings["ignore"], *beside],
        "data": os.fsencode(Path(data).name).decode("utf-8", "replace"),
        "rows": trained.rows,
        "seed": settings["seed"],
        "model": settings["model"],
        "evaluated": trained.evaluated,
        "metrics": metrics,
        "baselines": trained.baselines,
        "compared_with": trained.compared_with,
        "given": dict(chosen),
    }
    if roles:
        metadata["row_columns"] = dict(roles)
    if trained.decision is not None:
        metadata["decision"] = trained.decision.as_dict()
    save(trained.model, out, metadata=metadata)


def draw_curve(path: Path | None, model: Any) -> Path | None:
    """Draw a model's learning curve; give the path, or None if there is no picture."""
    if path is None:
        return None
    from chainrule.commands.evaluation_report import learning_curve, png

    figure = learning_curve(model)
    if figure is None:
        return None
    with whole_file(path) as file:
        file.write(png(figure))
    return path
