"""The command ``chainrule digits``: learn to read handwritten digits, and draw what came of it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainrule.base.whole_files import check_writable
from chainrule.commands.report import epoch_line, last_line, print_report
from chainrule.commands.tables import bad_input, check_new
from chainrule.commands.terminal import BAD_INPUT, FAILED, INTERRUPTED, fail

if TYPE_CHECKING:
    from chainrule.digits.runs import Record, Result, Run

ABOUT_DIGITS = (
    "Learn to read handwritten digits; draw what came of it.\n\n"
    "The recipe 'article' is the article's: layers (64, 100, 10), ReLU everywhere, squared error, "
    "uniform(0, 0.1), stochastic gradient descent. 'modern' has softmax, cross-entropy, He's "
    "starting values and Adam, and keeps the parameters of the epoch that did best on training "
    "rows held back. 'best' joins four networks that learn from digits distorted anew in every "
    "step: shifted, turned, scaled and stretched a little. 'both' shows the article's and the "
    "modern one side by side. With no hidden layer at all (--hidden 0) the article's recipe reads "
    "0.897 of the test digits at seed 0, more than with one.\n\n"
    "The default seed, 0, is simply the first. Exit codes: 0 done, 1 failed on the way, 2 wrong "
    "input, 130 stopped by Ctrl-C."
)


def digits(
    recipe: Annotated[
        str, typer.Option(help="article, modern, best or both; the options below change it.")
    ] = "article",
    seed: Annotated[
        int, typer.Option(min=0, help="For the starting values and the order of the samples.")
    ] = 0,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows in a mini-batch.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The optimiser's step size.")] = None,
    hidden: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Width of a hidden layer; once for each layer. 0: none."),
    ] = None,
    activation: Annotated[
        str | None, typer.Option(help="Of the hidden layers, e.g. relu, tanh, gelu.")
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="squared_error, cross_entropy, binary_cross_entropy, ... Another loss than the "
            "recipe's brings its own output activation: identity, softmax or logistic."
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            help="sgd, momentum, nesterov, adam, ... Another one than the recipe's brings its own "
            "learning rate."
        ),
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="Starting values, e.g. uniform, he_normal.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(metavar="[float32|float64]", help="Of all numbers.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(metavar="[auto|numpy|numba]", help="What trains.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the pictures go.")] = Path(
        "chainrule-digits"
    ),
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Store the network there; chainrule.load reads it.",
            show_default=False,
        ),
    ] = None,
    trace: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Print test digit N, from 0, worked through the equations.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, and nothing else, to stdout.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the last line only.")] = False,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace the file of --save if it exists.")
    ] = False,
) -> None:
    """Run the main job; see ABOUT_DIGITS."""
    from chainrule.engine.compilation import CompilationError

    started = time.perf_counter()
    options = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "hidden": None if not hidden else () if hidden == [0] else tuple(hidden),
        "activation": activation,
        "loss": loss,
        "optimizer": optimizer,
        "init": init,
        "dtype": dtype,
        "engine": engine,
    }
    try:
        data, runs = _prepare(recipe, seed, options)
        _check_trace(trace, len(data.X_test), as_json)
        _check_folder(out)
        _check_save(save, recipe, force)
        results = _train(runs, show_lines=not (as_json or quiet), silent=quiet)
        failed = next((result for result in results if result.failure), None)
        if failed is not None:
            fail(
                f"{failed.failure}. It reads {failed.correct} of {failed.total} test digits",
                FAILED,
            )
        if not quiet:
            for run, result in zip(runs, results, strict=False):
                if result.epochs:
                    with suppress(KeyboardInterrupt):  # the network is to be stored
                        run.diagnose()
        unsaved = _save(save, results[0])
        pictures, problem = _draw(out, data, results)
    except CompilationError as error:
        fail(str(error), FAILED)
    except KeyboardInterrupt:
        fail("stopped before there was anything to report", INTERRUPTED)
    if as_json:
        print(json.dumps(_as_object(results, pictures, many=recipe == "both")))
    elif quiet:
        for result in results:
            print(last_line(result))
    else:
        print_report(results, pictures, time.perf_counter() - started)
        if save is not None and unsaved is None:
            print(f"Network in {save}")
    if trace is not None:
        for run in runs[: len(results)]:
            print(f"\nTest digit {trace}, a {data.y_test[trace]}, {run.recipe.name}:\n")
            print(run.trace(trace))
    if unsaved is not None:
        fail(f"the network could not be stored: {unsaved}", FAILED)
    if problem is not None:
        fail(f"the pictures could not be drawn: {problem}", FAILED)
    if any(result.interrupted for result in results):
        fail("stopped by Ctrl-C; this is the network as trained so far", INTERRUPTED)


def _prepare(recipe: str, seed: int, options: dict[str, Any]) -> tuple[Any, list[Run]]:
    """The data, and the run or runs that were asked for; bad input ends it here."""
    from chainrule.base.validation import look_up
    from chainrule.digits import recipes
    from chainrule.digits.runs import Run

    try:
        if recipe == "both":
            chosen = list(recipes.BOTH)
        else:
            names = recipes.RECIPES | {"both": recipes.ARTICLE}
            chosen = [look_up("recipe", recipe, names)]
        changed = [recipes.override(each, **options) for each in chosen]
        data = recipes.load()
        return data, [Run(each, data, seed) for each in changed]
    except MemoryError:
        fail("--hidden: a network of such widths does not fit into memory", BAD_INPUT)
    except (ValueError, TypeError) as error:
        fail(_of_option(str(error), [*options, "recipe"]), BAD_INPUT)


def _of_option(said: str, options: list[str]) -> str:
    """A message that begins with the option that it is about, if it is about one."""
    name = said.partition(" must be ")[0]
    if name in options:
        return f"--{name.replace('_', '-')}{said.removeprefix(name)}"
    name = said.removeprefix("unknown ").partition(" ")[0]
    return f"--{name}: {said}" if said.startswith("unknown ") and name in options else said


def _check_trace(number: int | None, digits: int, as_json: bool) -> None:
    if number is None:
        return
    if number >= digits:
        fail(f"--trace: there is no test digit {number}; the last is {digits - 1}", BAD_INPUT)
    if as_json:
        fail("--trace prints text, and --json nothing but JSON; choose one", BAD_INPUT)


def _check_folder(out: Path) -> None:
    """See, before anything takes time, that pictures can be written there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        check_writable(out / "samples.png")
    except OSError as error:
        fail(
            f"the folder for the pictures, {out}, cannot be written: "
            f"{error.strerror or error}. Choose another with --out",
            BAD_INPUT,
        )


def _check_save(path: Path | None, recipe: str, force: bool) -> None:
    """See, before anything takes time, that one network can be stored there."""
    if path is None:
        return
    if recipe == "both":
        fail("--save stores one network; choose --recipe article, modern or best", BAD_INPUT)
    with bad_input():
        check_new([path], force, "--save")


def _save(path: Path | None, result: Result) -> Exception | None:
    """Store the network with what it was made by; the error if that fails."""
    if path is None:
        return None
    from chainrule.files.persistence import save

    metadata = {
        "recipe": result.recipe.name,
        "seed": result.seed,
        "kept_epoch": result.kept_epoch,
        "correct": result.correct,
        "total": result.total,
        "parameters": result.parameters(),
    }
    try:
        save(result.network, path, metadata=metadata)
    except (OSError, ValueError) as error:
        return error
    return None


def _train(runs: list[Run], show_lines: bool, silent: bool) -> list[Result]:
    """Train one after the other; a run that is stopped or fails is the last."""
    results: list[Result] = []
    for run in runs:
        with _progress(run, silent, sys.stdout if show_lines else sys.stderr) as (say, advance):

            def on_epoch(
                record: Record,
                say: Callable[[str], None] = say,
                advance: Callable[[Record], None] = advance,
            ) -> None:
                advance(record)
                if show_lines and len(runs) == 1:
                    say(epoch_line(record))

            results.append(run(on_epoch))
        if results[-1].interrupted or results[-1].failure is not None:
            break
    return results


@contextmanager
def _progress(
    run: Run, silent: bool, stream: Any
) -> Iterator[tuple[Callable[[str], None], Callable[[Record], None]]]:
    """(say, advance): print a line; move the bar, which is there on a terminal only."""
    if silent or not stream.isatty():
        yield (lambda line: print(line, flush=True)), (lambda record: None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from chainrule.engine.compilation import COMPILING, telling

    console = Console(file=stream, highlight=False)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed} of {task.total} epochs  accuracy {task.fields[accuracy]}"),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
    )
    name = run.recipe.name
    with bar:
        task = bar.add_task(name, total=run.recipe.epochs, accuracy="-")

        def advance(record: Record) -> None:
            bar.update(task, description=name, advance=1, accuracy=f"{record.accuracy:.4f}")

        with telling(lambda: bar.update(task, description=COMPILING)):
            yield lambda line: console.print(line, markup=False, soft_wrap=True), advance


def _draw(out: Path, data: Any, results: list[Result]) -> tuple[list[Path], OSError | None]:
    from chainrule.commands.plotting import write_pictures

    try:
        return write_pictures(out, data, results), None
    except OSError as error:
        return [], error


def _as_object(results: list[Result], pictures: list[Path], many: bool) -> dict[str, Any]:
    """What --json prints: the run, or the runs by the name of their recipe."""
    runs = {
        result.recipe.name: {
            "recipe": result.recipe.name,
            "seed": result.seed,
            "parameters": result.parameters(),
            "epochs": [record._asdict() for record in result.epochs],
            "kept_epoch": result.kept_epoch,
            "confusion_matrix": result.confusion.tolist(),
            "no_answer": result.no_answer.tolist(),
            "shut_outputs": result.shut_outputs,
            "cause": None if result.cause is None else result.cause._asdict(),
            "findings": [
                {"code": each.code, "message": each.message, "advice": each.advice}
                for each in result.findings
            ],
            "seconds": result.seconds,
            "pictures": [str(path) for path in pictures],
        }
        for result in results
    }
    return runs if many else runs[results[0].recipe.name]
