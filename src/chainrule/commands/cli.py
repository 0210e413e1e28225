"""The command line: ``chainrule``, put together from its commands.

Exit codes: 0 done; 1 it failed on the way (a training diverged, a picture could not be written),
or `doctor` found something serious; 2 it could not start (a wrong option, a table that cannot be
read, an output that cannot be written); 130 stopped by Ctrl-C. Errors go to stderr, in one line.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import time
from typing import Annotated, Any

import typer

from chainrule.base.version import __version__
from chainrule.commands.comparing import compare
from chainrule.commands.digits import ABOUT_DIGITS, digits
from chainrule.commands.doctor import doctor
from chainrule.commands.imports import postpone_imports
from chainrule.commands.models import ABOUT_EXPORT, ABOUT_INSPECT, INSPECT_EXAMPLES, export, inspect
from chainrule.commands.play import ABOUT_PLAY, play
from chainrule.commands.refusals import Refused, refusal
from chainrule.commands.tables import evaluate, predict
from chainrule.commands.terminal import (
    BAD_INPUT,
    DONE,
    FAILED,
    INTERRUPTED,
    Steady,
    fail,
    occupy_closed_descriptors,
    printable,
)
from chainrule.commands.tracing import trace
from chainrule.commands.train import train
from chainrule.commands.tune import tune

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="The multilayer perceptron, derived by hand, compiled, and practical.",
)


def main() -> None:
    """Run the command line."""
    postpone_imports()
    # Work is shared by threads of our own, and those of OpenBLAS would wait beside them, busily.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Where Matplotlib keeps its settings is of no interest to the users of a command.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    occupy_closed_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a sign gets a "?"
            stream.reconfigure(errors="replace")
    out, err = Steady(sys.stdout), Steady(sys.stderr)
    sys.stdout, sys.stderr = out, err
    code: Any = DONE
    command: Any = None
    try:
        command = typer.main.get_command(app)
        code = command(prog_name="chainrule", standalone_mode=False) or DONE
    except Refused as error:
        code = BAD_INPUT
        if said := refusal(error, command):
            err.write(f"chainrule: {printable(said)}\n")
    except SystemExit as end:
        code = end.code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    failure = out.end()
    if failure is not None and not isinstance(failure, BrokenPipeError):  # as `| head` closes it
        err.write(f"chainrule: standard output could not be written: {failure.strerror}\n")
        code = code or FAILED
    err.end()
    sys.exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"chainrule {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    pass


app.command()(train)
app.command()(tune)
app.command()(evaluate)
app.command()(compare)
app.command()(predict)
app.command()(trace)
app.command()(doctor)
app.command(
    help=ABOUT_INSPECT, epilog=INSPECT_EXAMPLES, short_help="Show what is in a model file."
)(inspect)
app.command(help=ABOUT_EXPORT)(export)
app.command(help=ABOUT_DIGITS)(digits)
app.command(help=ABOUT_PLAY)(play)


@app.command()
def warmup(
    dtype: Annotated[
        list[str] | None,
        typer.Option(metavar="[float32|float64]", help="Both unless given."),
    ] = None,
) -> None:
    """Compile the fast engine ahead of its first use: for containers and CI."""
    from chainrule.engine.compilation import CompilationError, cache_folder, can_compile
    from chainrule.ensembles.warmup import warm_up

    if not can_compile():
        fail("NUMBA_DISABLE_JIT is set, which switches compilation off; unset it", BAD_INPUT)
    started = time.perf_counter()
    try:
        warm_up(tuple(dtype) if dtype else ("float32", "float64"))
    except ValueError as error:
        fail(f"--{error}" if str(error).startswith("dtype ") else str(error), BAD_INPUT)
    except CompilationError as error:
        fail(str(error), FAILED)
    print(f"Compiled in {time.perf_counter() - started:.1f} s; kept in {cache_folder()}")
