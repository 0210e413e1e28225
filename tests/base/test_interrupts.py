"""Ctrl-C is not lost in a callback, from which no exception comes out."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading

import numpy as np
import pytest

from chainrule.base.interrupts import interrupts_kept

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def callback(monkeypatch):
    """Foreign code that calls Python, which gets a Ctrl-C; what it raises is dropped."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    return ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.SIGINT))


def test_what_a_callback_swallows_is_raised_at_the_end(callback):
    with pytest.raises(KeyboardInterrupt), interrupts_kept():
        callback()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_user_s_own_decides(callback):
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(True))
    try:
        with interrupts_kept():
            callback()
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [True]


def test_other_threads_compile_too():
    failed = []

    def work():
        try:
            with interrupts_kept():
                pass
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failed


@pytest.mark.compiled
def test_a_compilation_is_interrupted_after_the_component(callback, monkeypatch):
    from chainrule.engine import compilation

    def square(z, a):
        a[:] = z * z

    real = compilation._cfunc

    def interrupted(*arguments):
        callback()
        return real(*arguments)

    monkeypatch.setattr(compilation, "_cfunc", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compilation.address(square, "f", np.dtype("float64"))
