"""What the commands share: exit codes, and errors in one line on stderr."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def printable(text: str) -> str:
    """A text, perhaps from a file, without signs that could control a terminal."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def fail(message: str, code: int) -> NoReturn:
    """End the command with a line on stderr and an exit code."""
    print(f"chainrule: {printable(message)}", file=sys.stderr)
    raise typer.Exit(code)
