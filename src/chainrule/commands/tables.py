"""The commands evaluate and predict, and what they share with train."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainrule.base.whole_files import check_writable, would_replace
from chainrule.commands.terminal import BAD_INPUT, FAILED, INTERRUPTED, fail

if TYPE_CHECKING:
    from chainrule.commands.judging import Judged
    from chainrule.commands.predicting import Counts
    from chainrule.tables.types import Reading

DATA = (
    "CSV, Parquet, Arrow or JSON lines: a file, a folder, a pattern; a DuckDB or SQLite file; - "
    "is standard input."
)
Data = Annotated[str, typer.Argument(metavar="DATA", help=DATA, show_default=False)]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A .chainrule file.")]
TableName = Annotated[
    str | None, typer.Option("--table", help="Of a database: which table.", show_default=False)
]
Query = Annotated[
    str | None, typer.Option("--query", help="Of a database: a SELECT.", show_default=False)
]
Task = Annotated[
    str | None,
    typer.Option(
        metavar="[classification|regression]", help="Default: by the target.", show_default=False
    ),
]
Ignored = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="Do not use it; may be repeated.", show_default=False),
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN=KIND",
        help="Take it as numeric, categorical, date or text; may be repeated.",
        show_default=False,
    ),
]
TestTable = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Evaluate on this table, which has the same columns, and train on all rows of DATA.",
        show_default=False,
    ),
]
TimeColumn = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Hold out the latest rows by this column of dates or numbers; those before them "
        "stop the training.",
        show_default=False,
    ),
]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Hold out whole groups, such as all rows of a patient; the column itself is not "
        "learnt from.",
        show_default=False,
    ),
]
WeightColumn = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="What each row counts for in training; the column itself is not learnt from, and "
        "metrics count every row once.",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE.toml", help="Settings; options overrule them.", show_default=False),
]
MaxLevels = Annotated[
    int | None,
    typer.Option(
        min=2,
        metavar="N",
        help="Encode categories of more levels as text (default: 40).",
        show_default=False,
    ),
]
Missing = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEXT",
        help="Text that means: no value. It replaces the usual ones (NA, null, None and the "
        "like); empty cells are always missing; may be repeated.",
        show_default=False,
    ),
]
DateFormat = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[COLUMN=]FORMAT",
        help="Read the dates of a column in this format, such as day=%d/%m/%Y; without a column "
        "name, of every column whose cells all fit; may be repeated.",
        show_default=False,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object, and nothing else, to stdout.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the last line only.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace files that exist.")]


def output_option(about: str) -> Any:
    """The option --output, which names the file that a command writes."""
    return typer.Option("--output", "-o", metavar="FILE", help=about, show_default=False)


@contextmanager
def bad_input() -> Iterator[None]:
    """End the command on whatever is wrong with what the user gave."""
    try:
        yield
    except BrokenPipeError:  # the reader has ended, as in `| head`; that is no error
        raise
    except (ValueError, OSError, ImportError, MemoryError) as error:
        fail(one_line(error), BAD_INPUT)
    except KeyboardInterrupt:
        fail("stopped before there was anything to keep", INTERRUPTED)


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def reading_of(missing: list[str] | None, date_formats: list[str] | None) -> Reading:
    """What --missing and --date-format say."""
    from chainrule.tables.spellings import check_format
    from chainrule.tables.types import ColumnType, Reading

    formats, everywhere = {}, []
    for text in date_formats or []:
        column, sign, format = str(text).rpartition("=")
        if sign:
            formats[column] = ColumnType("date", check_format(format))
        else:
            everywhere.append(check_format(format))
    if len(everywhere) > 1:
        raise ValueError("--date-format can be given once without a column")
    return Reading(formats, None if missing is None else tuple(map(str, missing)), *everywhere)


def note(notice: str) -> None:
    """Say something on stderr that does not end the command."""
    print(f"Note: {' '.join(notice.split())}", file=sys.stderr)


def check_new(paths: list[Path], force: bool, option: str = "--output") -> None:
    """See, before anything takes time, that the files which an option names can be written."""
    for path in paths:
        if str(path) == "-":
            raise ValueError("this cannot go to standard output; name a file")
        try:
            if path.is_dir():
                raise ValueError(f"{path} is a folder; name a file with {option}")
            if would_replace(path) and not force:
                raise ValueError(
                    f"{path} exists; choose another {option}, or replace it with --force"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            check_writable(path)
        except OSError as error:
            raise ValueError(
                f"{path} cannot be written: {error.strerror or error}. Choose another with {option}"
            ) from None


def predict(
    model: Model,
    data: Data,
    output: Annotated[str, output_option("A .csv or .parquet file (default: -, stdout).")] = "-",
    format: Annotated[
        str | None,
        typer.Option(
            metavar="[csv|parquet]", help="Default: by the file's name.", show_default=False
        ),
    ] = None,
    rejects: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Put rows that cannot be read there, with the reason, and go on.",
            show_default=False,
        ),
    ] = None,
    prediction_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The column for the predictions (default: prediction).",
            show_default=False,
        ),
    ] = None,
    probability_prefix: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="What names of columns of probabilities start with (default: probability_).",
            show_default=False,
        ),
    ] = None,
    table: TableName = None,
    query: Query = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes on stderr.")] = False,
    force: Force = False,
) -> None:
    """Add predictions to a table of any size, with probabilities or quantiles.

    A column "prediction" is added; "prediction_2" where the table has one already.
    Rows and columns stay as they are.
    A row that cannot be read ends it, with the line's number, unless there is a
    file for --rejects. A file half written is never left.

    Try:

      chainrule predict model.chainrule new.csv -o predicted.csv

      chainrule predict model.chainrule "2024/*.csv" -o all.csv --rejects bad.csv

      cat new.csv | chainrule predict model.chainrule - | head
    """
    watched = sys.stderr.isatty() and output != "-" and not quiet
    try:
        with bad_input():
            from chainrule.commands import predicting
            from chainrule.tables.cells import listed

            if output != "-" and not force and would_replace(Path(output)):
                raise ValueError(
                    f"{output} exists; choose another --output, or replace it with --force"
                )
            stored = predicting.open_model(model)
            counts = predicting.predict_file(
                stored,
                data,
                output,
                format=format,
                rejects=rejects,
                overwrite=force,
                table=table,
                query=query,
                prediction_column=prediction_column,
                probability_prefix=probability_prefix,
                on_block=_show_rows if watched else None,
            )
    except BrokenPipeError:
        os._exit(0)
    if quiet:
        return
    if counts.unknown:
        note(f"columns that the model does not know are only passed on: {listed(counts.unknown)}")
    if counts.renamed:
        note(
            f"the table has columns of such names already, so what is added is called "
            f"{listed(list(counts.renamed.values()))}; --prediction-column and "
            "--probability-prefix choose other names"
        )
    for notice in counts.notices(stored.estimator):
        note(notice)
    if counts.rejected:
        note(f"{counts.rejected:,} rows could not be read; see {rejects}")
    if output != "-":
        note(f"{counts.rows:,} rows predicted; they are in {output}")


def _show_rows(counts: Counts) -> None:
    """Show progress in one line of a terminal, which later output overwrites."""
    print(f"{counts.rows:,} rows\r", end="", file=sys.stderr, flush=True)


def evaluate(
    model: Model,
    data: Data,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            help="The column predicted (default: as the model says).",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", help="Write a page with pictures there.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="For the bootstrap.")] = 0,
    table: TableName = None,
    query: Query = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    force: Force = False,
) -> None:
    """Judge a model by a table that has the target: metrics with intervals, and where it errs.

    Try:

      chainrule evaluate model.chainrule test.csv

      chainrule evaluate model.chainrule test.csv --report report.html

      chainrule evaluate model.chainrule test.csv --json
    """
    with bad_input():
        from chainrule.commands import judging, predicting

        if report is not None:
            if report.suffix.lower() not in (".html", ".htm", ""):  # none: such as /dev/stdout
                raise ValueError(f"--report: {report} must end in .html")
            check_new([report], force, "--report")
        stored = predicting.open_model(model)
        judged = judging.evaluate_file(
            stored,
            data,
            target=target,
            seed=seed,
            table=table,
            query=query,
            with_importances=report is not None or not quiet,
        )
    for notice in judged.notices:
        note(notice)
    evaluation = judged.evaluation
    decides = None if stored.decision is None else stored.decision.in_words
    if report is not None:
        from chainrule.commands.evaluation_report import write_page

        regression = evaluation.task == "regression"
        try:
            write_page(
                report,
                evaluation,
                title=f"How well {target or stored.target} is predicted",
                facts={
                    "Model": model.name,
                    "Data": data,
                    "Rows": _rows_in_words(judged),
                    **({} if decides is None else {"Decides for": decides}),
                    "Date": f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
                },
                baselines=judged.baselines,
                importances=judged.importances,
                y=judged.truth if regression else None,
                predicted=judged.predicted if regression else None,
                model=stored.estimator,
            )
        except OSError as error:
            fail(f"{report} cannot be written: {error.strerror or error}", FAILED)
    if as_json:
        from chainrule.monitoring.callbacks import plain

        found = {"model": str(model), "target": target or stored.target, **evaluation.as_dict()}
        found["rows"] = {"test": evaluation.n, "left_out": judged.left_out}
        found["baselines"] = judged.baselines
        found["decision"] = None if stored.decision is None else stored.decision.as_dict()
        found |= {} if quiet and report is None else {"importances": _as_objects(judged)}
        print(json.dumps(plain(found | {"notices": judged.notices}), allow_nan=False))
        return
    from chainrule.commands import evaluation_text as text

    if quiet:
        print(text.verdict(evaluation))
        return
    screen = text.console(sys.stdout)
    left = f" ({judged.left_out:,} more left out)" if judged.left_out else ""
    screen.print(f"{evaluation.n:,} rows of {data}{left}\n", soft_wrap=True)
    known = {name: metrics for name, metrics in judged.baselines.items() if metrics is not None}
    text.print_metrics(screen, evaluation, known)
    if decides is not None:
        screen.print(f"\nTaken for {decides}.", soft_wrap=True)
    screen.print()
    if evaluation.task == "classification":
        text.print_classes(screen, evaluation)
        text.print_calibration(screen, evaluation)
    else:
        text.print_residuals(screen, evaluation)
    if judged.importances:
        from chainrule.commands.importances import loss_of_importances

        screen.print()
        text.print_importances(screen, judged.importances, loss_of_importances(stored.estimator))
    if report is not None:
        screen.print(f"\nReport  {report}", soft_wrap=True)


def _rows_in_words(judged: Judged) -> str:
    left = f"; {judged.left_out:,} left out, without a true value" if judged.left_out else ""
    return f"{judged.evaluation.n:,} judged{left}"


def _as_objects(judged: Judged) -> list[dict[str, object]]:
    return [{"column": each.column, **each.increase._asdict()} for each in judged.importances]
