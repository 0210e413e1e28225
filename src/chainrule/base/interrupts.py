"""Ctrl-C while foreign code runs: code that calls back into Python, and other processes."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def interrupts_kept() -> Iterator[None]:
    """Raise at the end what Ctrl-C raised inside, if that was lost.

    LLVM calls Python functions while it compiles. An exception in one of them cannot pass through
    LLVM: Python prints it and goes on. So whatever the handler of Ctrl-C raises is kept, and raised
    once more when the block ends as if nothing had happened.
    """
    handler = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or not callable(handler):  # only the main thread receives signals
        yield
        return
    raised: list[BaseException] = []

    def keep(number: int, frame: Any) -> None:
        try:
            handler(number, frame)
        except BaseException as error:
            raised.append(error)
            raise

    signal.signal(signal.SIGINT, keep)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if raised:
        raise raised[0]


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C; processes that are started meanwhile ignore it as long as they live.

    A terminal sends it to all processes of a command, and only the first is to act on it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
