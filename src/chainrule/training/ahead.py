"""The first compilation on a machine in two processes, since Numba compiles one thing at a time."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.engine import compilation, threads
from chainrule.training import kernel
from chainrule.training.arguments import ARGUMENTS

LONGEST = 60  # seconds that the other process is waited for

# Its arguments: the dtype, and where modules are found.
SCRIPT = """
import sys
sys.path[:] = sys.argv[2:]
from numpy import dtype
from chainrule.engine import compilation
from chainrule.training import kernel
from chainrule.training.arguments import ARGUMENTS
compilation.compiled(kernel.descend_epochs, ARGUMENTS, dtype(sys.argv[1]))
"""


@contextlib.contextmanager
def compiling_descend(dtype: np.dtype[Any]) -> Iterator[None]:
    """Meanwhile another process compiles the kernel into the cache, if it is not there.

    If that fails, nothing is lost: the code that needs it compiles it.
    """
    import subprocess

    process = _start(dtype)
    try:
        yield
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LONGEST)
    finally:
        if process is not None:
            process.kill()
            process.wait()


def _start(dtype: np.dtype[Any]) -> Any:
    """The process, or None where there can be none, or it would be of no use."""
    import subprocess

    if not compilation.can_compile() or compilation.is_compiled(
        kernel.descend_epochs, ARGUMENTS, dtype
    ):
        return None
    # Within another program, sys.executable is that.
    is_python = sys.executable and Path(sys.executable).name.lower().startswith("python")
    if not is_python or getattr(sys, "frozen", False) or threads.default_threads() < 2:
        return None
    if not os.access(compilation.cache_folder(), os.W_OK):
        return None
    nowhere: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-c", SCRIPT, dtype.str, *map(os.path.abspath, sys.path)],
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            **nowhere,
        )
    except OSError:
        return None
