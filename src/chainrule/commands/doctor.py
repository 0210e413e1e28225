"""The command ``chainrule doctor``: what is wrong with a table, before anything is trained."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from chainrule.commands.tables import DateFormat, Missing, reading_of
from chainrule.commands.terminal import BAD_INPUT, FAILED, INTERRUPTED, fail, printable

if TYPE_CHECKING:
    from chainrule.tables.columns import Column
    from chainrule.tables.findings import Finding

_MARKS = {"serious": ("✗", "bold red"), "warning": ("!", "yellow"), "note": ("·", "dim")}
_HEADINGS = {"serious": "Serious", "warning": "Worth a look", "note": "Good to know"}


def doctor(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="CSV, Parquet, Arrow, JSON lines, a folder or pattern of them, a DuckDB or SQLite "
            "file; - for standard input.",
        ),
    ],
    target: Annotated[str, typer.Option("--target", "-t", help="The column to be predicted.")],
    task: Annotated[
        str | None, typer.Option(help="classification or regression; found out unless given.")
    ] = None,
    table: Annotated[str | None, typer.Option(help="Of a database: which table.")] = None,
    query: Annotated[str | None, typer.Option(help="Of a database: a SELECT.")] = None,
    missing: Missing = None,
    date_format: DateFormat = None,
    rows: Annotated[int, typer.Option(min=1, help="Look at no more rows than these.")] = 1_000_000,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, and nothing else, to stdout.")
    ] = False,
) -> None:
    """Look a table over before training: leaks, imbalance, copies, idle columns.

    Exit codes: 0 nothing serious, 1 something serious was found,
    2 wrong input, 130 stopped by Ctrl-C.

    For example:

        chainrule doctor penguins.csv --target species

        chainrule doctor shop.duckdb --table orders --target returned --json

        zcat rides.csv.gz | chainrule doctor - --target fare
    """
    from chainrule.tables.columns import check_target, kinds_of, task_and_reason
    from chainrule.tables.findings import findings
    from chainrule.tables.reading import TableError, learn

    if task not in (None, "classification", "regression"):
        fail(f"--task must be classification or regression; got {task!r}", BAD_INPUT)
    try:
        with _busy(f"reading {data}"):
            reading = reading_of(missing, date_format)
            learnt = learn(data, target, table=table, query=query, limit=rows + 1, reading=reading)
        frame = learnt.frame
        cut = len(frame) > rows
        frame = frame.iloc[:rows]
        if target not in frame.columns:
            from chainrule.tables.types import suggestion

            names = ", ".join(map(str, frame.columns[:8])) + ", ..." * (frame.shape[1] > 8)
            fail(
                f"{data} has no column {target!r}{suggestion(target, frame.columns)} "
                f"(its columns: {names})",
                BAD_INPUT,
            )
        if not len(frame):
            fail(f"{data} has column names but no rows", BAD_INPUT)
        check_target(frame[target], task)
        found_task, reason = task_and_reason(frame[target])
        if task is not None:
            found_task, reason = task, "as you said"
        with _busy(f"looking at {len(frame):,} rows"):
            columns = kinds_of(frame, target, reading.missing)
            found = findings(frame, target, found_task, columns, learnt.marks)
    except KeyboardInterrupt:
        fail("stopped", INTERRUPTED)
    except (TableError, ImportError, ValueError) as error:
        fail(str(error), BAD_INPUT)
    look = _Look(len(frame), not cut, target, found_task, reason, columns, found)
    if as_json:
        print(json.dumps(_as_object(look)))
    else:
        _print(look)
    if any(each.severity == "serious" for each in found):
        raise typer.Exit(FAILED)


def _busy(what: str) -> AbstractContextManager[Any]:
    """Says on a terminal what is going on."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console
    from rich.markup import escape

    return Console(file=sys.stderr).status(escape(what))


class _Look(NamedTuple):
    """What was looked at, and what was found."""

    rows: int
    all_rows: bool
    target: str
    task: str
    reason: str
    columns: list[Column]
    findings: list[Finding]


def _as_object(look: _Look) -> dict[str, Any]:
    lists = {
        name: [each._asdict() for each in getattr(look, name)] for name in ("columns", "findings")
    }
    return look._asdict() | lists


def _print(look: _Look) -> None:
    import io

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    fancy = sys.stdout.isatty()
    plain = io.StringIO()
    console = Console(highlight=False) if fancy else Console(file=plain, width=10_000)
    columns, reason = look.columns, look.reason
    size = f"{look.rows:,} row{'s' * (look.rows != 1)}" + (
        "" if look.all_rows else " (the first; see --rows)"
    )
    console.print(
        Text.assemble(
            f"{size}, {len(columns):,} column{'s' * (len(columns) != 1)} to learn from. Target ",
            (printable(look.target), "bold"),
            f": {look.task}, since {reason}."
            if reason != "as you said"
            else f": {look.task}, {reason}.",
        )
    )
    console.print()
    listing = Table(box=None, pad_edge=False, header_style="dim")
    listing.add_column("column", overflow="ellipsis", no_wrap=True, max_width=32)
    listing.add_column("kind")
    listing.add_column("missing", justify="right")
    listing.add_column("values", justify="right")
    listing.add_column("", style="dim")
    for each in columns[:40]:
        left_out = each.kind in ("constant", "identifier")
        note = (each.note + "; left out" if each.note else "left out") if left_out else each.note
        listing.add_row(
            Text(printable(each.name)),
            Text(each.kind, style="dim" if left_out else ""),
            f"{each.missing:,}" if each.missing else "",
            f"{each.distinct:,}",
            Text(note),
        )
    console.print(listing)
    if len(columns) > 40:
        console.print(Text(f"... and {len(columns) - 40:,} more", style="dim"))
    for severity, heading in _HEADINGS.items():
        those = [each for each in look.findings if each.severity == severity]
        if not those:
            continue
        mark, style = _MARKS[severity]
        console.print()
        console.print(Text(heading, style=style))
        listing = Table.grid(padding=(0, 1))
        alike: dict[tuple[str, str], list[str]] = {}
        for item in those:
            alike.setdefault((item.what, item.advice), []).append(item.column or "")
        for (what, advice), names in list(alike.items())[:30]:
            more = f" and {len(names) - 6:,} more" * (len(names) > 6)
            where = printable(", ".join(names[:6])) + more
            listing.add_row(
                Text(mark, style=style),
                Text.assemble((where + ": " if where else "", "bold"), _sentence(what, where), "\n")
                + Text(_sentence(advice, "")),
            )
        console.print(listing)
        if len(alike) > 30:
            console.print(Text(f"  ... and {len(alike) - 30:,} more; see --json", style="dim"))
    console.print()
    serious = sum(each.severity == "serious" for each in look.findings)
    if serious:
        console.print(Text(f"{serious} serious finding{'s' * (serious != 1)}.", style="bold red"))
    else:
        console.print(Text("Nothing serious.", style="bold green"))
    for line in plain.getvalue().splitlines():
        print(line.rstrip())


def _sentence(words: str, column: str) -> str:
    start = words if column else words[:1].upper() + words[1:]
    return start if start.endswith((".", "?")) else start + "."
