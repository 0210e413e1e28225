"""Commands on model files: ``chainrule inspect`` and ``export``."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainrule.commands.tables import output_option
from chainrule.commands.terminal import BAD_INPUT, FAILED, fail, printable

if TYPE_CHECKING:
    from chainrule.exports.exporting import Exported

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
ABOUT_EXPORT = (
    "Write a model as ONNX, C, JavaScript or plain NumPy, preprocessing included.\n\n"
    "What is written runs without chainrule: an ONNX graph, one C99 file that needs math.h alone, "
    "one ES module, or one Python file that needs NumPy alone. "
    "Before anything is written its predictions are compared with the model's own, on the rows "
    "of --sample, or else on rows that are made up; a difference of more than 1e-5 is an error. "
    "No row of the sample is written into the file.\n\n"
    "Examples:\n\n"
    "chainrule export penguins.chainrule --format onnx --sample penguins.csv\n\n"
    "chainrule export penguins.chainrule -o model.c\n\n"
    "Exit codes: 0 done, 1 the exported model disagrees, 2 wrong input or something that cannot "
    "be exported, 130 stopped by Ctrl-C."
)

SAMPLE_ROWS = 10_000
HINTS = {
    "c": "To check it where it is used: cc -std=c99 -DCHAINRULE_TEST {name} -lm && ./a.out",
    "js": "To check it where it is used: node -e "
    "\"import('{name}').then(m => console.log(m.check()))\"",
    "python": "To check it where it is used: python {name}",
}


def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole header as one JSON object.")
    ] = False,
) -> None:
    """Show what is in a model file; see ABOUT_INSPECT."""
    from chainrule.files.container import ModelFileError
    from chainrule.files.inspection import facts_of, sections

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
    except (KeyError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError):
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
    return printable(str(text).replace("\n", " "))


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model file of chainrule's.")],
    format: Annotated[
        str | None,
        typer.Option(metavar="[onnx|c|js|python]", help="Unless given, by the suffix of --output."),
    ] = None,
    output: Annotated[
        Path | None,
        output_option(
            "Where to; unless said, the model's name with the format's suffix. - is stdout."
        ),
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="A table to compare predictions on; its first 10,000 rows."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace a file that is there.")
    ] = False,
    double: Annotated[
        bool,
        typer.Option("--double", help="ONNX: take numbers in double precision."),
    ] = False,
    no_threshold: Annotated[
        bool,
        typer.Option(
            "--no-threshold",
            help="Export a model that train chose a threshold for: what is written gives the same "
            "probabilities, and the likelier class.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, and nothing else, to stdout.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Export a model; see ABOUT_EXPORT."""
    from chainrule.exports.exporting import FORMATS, SUFFIXES

    if format is None and (output is None or str(output) == "-"):
        fail(f"say what to write: --format {', '.join(FORMATS)}", BAD_INPUT)
    if format is not None and format not in FORMATS:
        fail(f"--format must be one of {', '.join(FORMATS)}; got {format!r}", BAD_INPUT)
    if format is None and output is not None and output.suffix.lower() not in SUFFIXES:
        fail(f"{output} does not say the format; add --format {', '.join(FORMATS)}", BAD_INPUT)
    if output is None:
        assert format is not None
        output = Path(model.with_suffix(FORMATS[format]).name)
    if str(output) == "-":
        if format == "onnx" and sys.stdout.isatty():
            fail(
                "ONNX is binary, and standard output a terminal; name a file, or pipe it", BAD_INPUT
            )
        if as_json:
            fail("--json and --output - would both go to stdout; choose one", BAD_INPUT)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / model.with_suffix(".out").name
            written = _written(model, path, format, sample, True, double, no_threshold)
            try:
                sys.stdout.buffer.write(path.read_bytes())
                sys.stdout.flush()
            except BrokenPipeError:
                return
            except OSError as error:
                fail(f"standard output could not be written: {error.strerror}", FAILED)
        if not quiet:
            print(_agreement(written, sample), file=sys.stderr)
            _note(written)
        return
    written = _written(model, output, format, sample, force, double, no_threshold)
    if not quiet:
        _note(written)
    if as_json:
        print(
            json.dumps(
                {
                    "path": str(written.path),
                    "format": written.format,
                    "largest_difference": written.difference,
                    "rows": written.rows,
                    "sample": sample,
                    "remarks": list(written.remarks),
                }
            )
        )
    elif not quiet:
        print(f"{written.path}  {_size(written.path.stat().st_size)}")
        print(_agreement(written, sample))
        if written.format == "onnx":
            print(_ends(written.path))
        else:
            within = written.format == "js" and not written.path.is_absolute()
            name = f"./{written.path}" if within else written.path
            print(HINTS[written.format].format(name=name))


def _note(written: Exported) -> None:
    from chainrule.commands.tables import note

    for remark in written.remarks:
        note(remark)


def _written(
    model: Path,
    path: Path,
    format: str | None,
    sample: str | None,
    force: bool,
    double: bool,
    no_threshold: bool,
) -> Exported:
    """Write the file; whatever is wrong ends the command."""
    from chainrule.exports.exporting import write_export
    from chainrule.exports.steps import DisagreementError

    loaded = _loaded(model)
    if not no_threshold:
        _refuse_threshold(model, loaded)
    try:
        return write_export(
            loaded,
            path,
            format=format,
            sample=None if sample is None else _sample(sample, model, loaded),
            overwrite=force,
            dtype="float64" if double else "float32",
        )
    except FileExistsError:
        fail(f"{path} is there already; --force replaces it", BAD_INPUT)
    except DisagreementError as error:
        fail(str(error).replace("dtype='float64'", "--double"), FAILED)
    except (ValueError, ImportError) as error:
        fail(" ".join(str(error).split()), BAD_INPUT)
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror or error}", BAD_INPUT)


def _refuse_threshold(path: Path, model: Any) -> None:
    """End the command for a model that decides by a threshold, which programs written do not."""
    from chainrule.commands.deciding import of_metadata
    from chainrule.files.persistence import read_header

    metadata = read_header(path).get("metadata") or {}
    decision = of_metadata(metadata.get("decision"), getattr(model, "classes_", ()))
    if decision is not None and decision.threshold is not None:
        fail(
            f"{path} takes rows for {decision.in_words}; what is exported takes the likelier "
            "class. Export it with --no-threshold, and compare its probabilities with the "
            "threshold where it is used",
            BAD_INPUT,
        )


def _loaded(path: Path) -> Any:
    from chainrule.files.persistence import ModelFileError, load

    try:
        return load(path)
    except ModelFileError as error:
        fail(str(error), BAD_INPUT)
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror or error}", BAD_INPUT)


def _sample(source: str, path: Path, model: Any) -> Any:
    """The first rows of a table, read as the table was that the model was trained on."""
    from chainrule.commands.predicting import stored_at
    from chainrule.tables.reading import read
    from chainrule.tables.types import Reading

    try:
        reading = stored_at(path, model).reading
    except ValueError:  # it knows no columns
        reading = Reading()
    try:
        return read(source, limit=SAMPLE_ROWS, reading=reading)
    except OSError as error:
        fail(f"{source} cannot be read: {error.strerror or error}", BAD_INPUT)


def _agreement(written: Exported, sample: str | None) -> str:
    rows = f"{written.rows:,} row{'s' if written.rows != 1 else ''}"
    of = "that were made up" if written.made_up else f"of {sample}"
    difference = f"{written.difference:.1e}"
    return f"Largest difference from the model's own predictions {difference}, on {rows} {of}"


def _ends(path: Path) -> str:
    """What a graph takes and gives."""
    import onnx

    graph = onnx.load(path).graph
    takes = f"{len(graph.input)} inputs (n, 1), named as the columns are"
    if len(graph.input) == 1:
        takes = (
            f"{graph.input[0].name}, (n, {graph.input[0].type.tensor_type.shape.dim[1].dim_value})"
        )
    return f"It takes {takes}; gives {', '.join(one.name for one in graph.output)}"


def _size(n: int) -> str:
    return f"{n / 1e6:.1f} MB" if n >= 1e6 else f"{n / 1e3:.1f} kB"
