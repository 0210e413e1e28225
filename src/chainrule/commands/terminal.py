"""What the commands share: exit codes, and errors in one line on stderr."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def fail(message: str, code: int) -> NoReturn:
    """End the command with a line on stderr and an exit code."""
    print(f"chainrule: {message}", file=sys.stderr)
    raise typer.Exit(code)
