"""The command trace: one row of a table through a stored model, with every number."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainrule.base.whole_files import whole_file
from chainrule.commands.tables import (
    Data,
    Force,
    Model,
    Query,
    TableName,
    bad_input,
    check_new,
    output_option,
)

if TYPE_CHECKING:
    from chainrule.explain.tracing import Trace


def trace(
    model: Model,
    data: Data,
    row: Annotated[
        int, typer.Option("--row", min=0, metavar="N", help="Which row, counted from 0.")
    ] = 0,
    rows: Annotated[
        int, typer.Option("--rows", min=1, metavar="M", help="A batch of so many rows from there.")
    ] = 1,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            help="The column of true values; unless given, as the model's file says.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, output_option("Write a .html, .tex or .txt file instead of printing.")
    ] = None,
    table: TableName = None,
    query: Query = None,
    force: Force = False,
) -> None:
    """Put the numbers of a row into the equations: forward, cost, BP1 to BP4, a step.

    The row goes through the model's preprocessing first.

    Of an ensemble, one network is shown: the first of the part that counts most.

    Try:

      chainrule trace model.chainrule data.csv --row 7

      chainrule trace model.chainrule data.csv --row 7 -o row7.html
    """
    with bad_input():
        if output is not None:
            _check_kind(output)
            check_new([output], force)
        from chainrule.commands import judging, predicting
        from chainrule.explain import tracing

        stored = predicting.open_model(model)
        X, y = judging.rows_with_target(
            stored, data, row, rows, target=target, table=table, query=query
        )
        try:
            traced = tracing.trace(stored.estimator, X, y)
        except TypeError as error:
            raise ValueError(f"{model}: {error}") from None
        if output is not None:
            with whole_file(output) as file:
                file.write(written(traced, output).encode("utf-8", "replace"))
            print(output)
            return
    print(traced)


WRITTEN = {".html": "to_html", ".tex": "to_latex", ".txt": "__str__"}


def _check_kind(path: Path) -> None:
    if path.suffix.lower() not in WRITTEN:
        raise ValueError(f"--output: {path} must end in {', '.join(WRITTEN)}")


def written(traced: Trace, path: Path) -> str:
    """A trace as its file's suffix says."""
    text: Any = getattr(traced, WRITTEN[path.suffix.lower()])()
    return str(text) + ("" if str(text).endswith("\n") else "\n")
