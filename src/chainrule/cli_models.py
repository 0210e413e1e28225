"""Commands on model files: ``chainrule inspect``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from chainrule.terminal import BAD_INPUT, fail

ABOUT_INSPECT = (
    "Show what is in a model file, without running anything from it: the model and what it "
    "predicts, its columns, layers, the parameters that are not as they are by default, metrics, "
    "how the training went, versions and checksum."
)
INSPECT_EXAMPLES = (
    "Examples:\n\n"
    "  chainrule inspect model.chainrule\n\n"
    "  chainrule inspect model.chainrule --json | jq .metadata.metrics"
)


def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole header as one JSON object.")
    ] = False,
) -> None:
    """Show what is in a model file; see ABOUT_INSPECT."""
    from chainrule.container import ModelFileError
    from chainrule.inspection import facts_of, sections

    try:
        facts = facts_of(model)
    except ModelFileError as error:
        fail(str(error), BAD_INPUT)
    except OSError as error:
        fail(f"{model}: {error.strerror or error}", BAD_INPUT)
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    try:
        _show(list(sections(facts)))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        fail(f"{model}: its header is of a form that is not known; see --json", BAD_INPUT)


def _show(found: list[tuple[str, list[tuple[str, str]]]]) -> None:
    """Print the sections: with colours and wrapped on a terminal, a line for each row elsewhere."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    width = max(len(name) for _, rows in found for name, _ in rows)
    for title, rows in found:
        if title:
            console.print()
            console.print(Text(title, style="bold"))
        if not console.is_terminal:
            for name, text in rows:
                print(f"  {_visible(name):<{width}}  {_visible(text)}")
            continue
        table = Table.grid(padding=(0, 2), pad_edge=False)
        table.add_column(width=width + 2, style="cyan", no_wrap=True)
        table.add_column(overflow="fold")
        for name, text in rows:
            table.add_row(Text(f"  {_visible(name)}"), Text(_visible(text)))
        console.print(table)


def _visible(text: Any) -> str:
    """A text from a file, without what could steer a terminal."""
    return "".join(sign if sign.isprintable() else "·" for sign in str(text).replace("\n", " "))
