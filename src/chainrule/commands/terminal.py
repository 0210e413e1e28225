"""What the commands share: exit codes, and errors in one line on stderr."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

import typer

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def printable(text: str) -> str:
    """A text, perhaps from a file, without signs that could control a terminal."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def fail(message: str, code: int) -> NoReturn:
    """End the command with a line on stderr and an exit code."""
    print(f"chainrule: {printable(message)}", file=sys.stderr)
    raise typer.Exit(code)


def busy(what: str, silent: bool = False) -> AbstractContextManager[Any]:
    """Say in a line of a terminal what is going on, as long as it goes on."""
    if silent or not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console
    from rich.markup import escape

    return Console(file=sys.stderr).status(escape(printable(what)))


class Steady:
    """Standard output or error whose failure does not end the command, nor lose a training.

    What is written after a failure is dropped; `failure` keeps the first one.

    Parameters
    ----------
    stream : text stream or None
        None: it was closed when the program started.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write, or note the failure."""
        self._try("write", text)
        return len(text)

    def flush(self) -> None:
        """Flush, or note the failure."""
        if self._stream is not None:
            self._try("flush")

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream is not None and bool(self._stream.isatty())

    @property
    def buffer(self) -> Any:
        """The binary stream below, whose failures are the caller's."""
        if self._stream is None:
            raise OSError(errno.EBADF, "it is closed")
        return self._stream.buffer

    def _try(self, name: str, *arguments: str) -> None:
        if self.failure is not None:
            return
        try:
            if self._stream is None:
                raise OSError(errno.EBADF, "it is closed")
            getattr(self._stream, name)(*arguments)
        except OSError as error:
            self.failure = error

    def __getattr__(self, name: str) -> Any:
        if name == "encoding" and self._stream is None:
            return "utf-8"
        return getattr(self._stream, name)

    def end(self) -> OSError | None:
        """Flush for the last time; what is left of a failed stream goes nowhere."""
        self.flush()
        if self.failure is not None and self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        return self.failure


def occupy_closed_descriptors() -> None:
    """Let no file that is opened later get the number of a standard stream that is closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
