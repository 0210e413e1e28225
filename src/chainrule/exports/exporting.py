"""`export`: a trained model as ONNX, C, JavaScript or plain NumPy, checked before it is written."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chainrule.base.types import Array
from chainrule.base.whole_files import check_writable, whole_file, would_replace
from chainrule.exports.c import write_c
from chainrule.exports.js import write_js
from chainrule.exports.python import write_python
from chainrule.exports.steps import (
    Column,
    DisagreementError,
    ExportError,
    Program,
    largest_difference,
)
from chainrule.tables.levels import UnseenLevelWarning

TOLERANCE = 1e-5
FORMATS = {"onnx": ".onnx", "c": ".c", "js": ".mjs", "python": ".py"}
SUFFIXES = {".onnx": "onnx", ".c": "c", ".js": "js", ".mjs": "js", ".py": "python"}
EXAMPLES, ROWS = 5, 64  # rows in the files; rows made up to check with
HUGE = 1e300  # what stands for a number that the model takes as infinite


class Exported(NamedTuple):
    """What was written.

    Attributes
    ----------
    path : Path
    format : str
    difference : float
        Largest difference from the model's own predictions; see `export`.
    rows : int
        How many rows were compared.
    made_up : bool
        Whether they were made up, rather than given.
    remarks : tuple of str
        What the format cannot do as the model does.
    """

    path: Path
    format: str
    difference: float
    rows: int
    made_up: bool
    remarks: tuple[str, ...] = ()


def export(
    model: Any,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    sample: Any = None,
    overwrite: bool = True,
    dtype: str = "float32",
) -> float:
    """Write a fitted model as something that runs without chainrule, checked before.

    Parameters
    ----------
    model : MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor or a Pipeline
        Fitted; a pipeline ends in one of the others.
    path : str or path
    format : {'onnx', 'c', 'js', 'python'}, optional
        Default: by the suffix of `path`: .onnx, .c, .js or .mjs, .py.
    sample : data frame or array, optional
        Rows like those that the model was fitted on, to compare predictions on; columns beyond
        those of the model are ignored. None of it is written. Default: rows that are made up.
    overwrite : bool, default True
        Whether a file that is there may be replaced.
    dtype : {'float32', 'float64'}, default 'float32'
        For ONNX, of the numbers that go in. 'float64' helps where columns hold large numbers
        that differ little, such as times in seconds.

    Returns
    -------
    float
        Largest difference between the predictions of the exported model and the model's own:
        of probabilities; of predicted numbers as a part of the largest one. For ONNX those of
        onnxruntime; otherwise those of the steps that are written, run in NumPy. C and
        JavaScript files can check themselves where they are used.

    Raises
    ------
    ExportError
        A ValueError: something cannot be exported, and the message names it, or the difference
        is more than 1e-5. Nothing is written then.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_iris
    >>> from chainrule import MLPClassifier, export
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((8,), max_iter=300, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export(model, Path(folder) / "iris.c", sample=X) < 1e-5
    True
    """
    return write_export(
        model, path, format=format, sample=sample, overwrite=overwrite, dtype=dtype
    ).difference


def write_export(
    model: Any,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    sample: Any = None,
    overwrite: bool = True,
    dtype: str = "float32",
) -> Exported:
    """Do what `export` does, and say what was done.

    Parameters
    ----------
    model, path, format, sample, overwrite, dtype :
        As for `export`.

    Returns
    -------
    Exported
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnseenLevelWarning)  # made-up rows have such on purpose
        return _write_export(model, Path(path), format, sample, overwrite, dtype)


def _write_export(
    model: Any, path: Path, format: str | None, sample: Any, overwrite: bool, dtype: str
) -> Exported:
    from chainrule.exports.columns import read_model

    kind = _format(path, format)
    if dtype not in ("float32", "float64"):
        raise ExportError(f"dtype must be 'float32' or 'float64', got {dtype!r}")
    if would_replace(path) and not overwrite:
        raise FileExistsError(f"{path} is there already")
    check_writable(path)
    if kind == "onnx":
        require_onnx()
    try:
        program = read_model(model)
    except ExportError as problem:
        if kind != "onnx" or not _fitted_pipeline(model):
            raise
        from chainrule.exports.skl2onnx import convert

        data, difference, n = convert(model, sample, problem)
        _refuse_difference(difference, kind)
        _write(path, data)
        return Exported(path, kind, difference, n, False)
    made_up = sample is None
    example_frame, example_rows = made_up_rows(model, program, ROWS)
    given, rows = (example_frame, example_rows) if made_up else _rows(model, program, sample)
    expected = own_values(model, program, given)
    examples = example_rows[:EXAMPLES]
    values = own_values(model, program, example_frame)[:EXAMPLES]
    if kind == "onnx":
        from chainrule.exports.graph import make_onnx

        graph = make_onnx(program, dtype)
        graph.doc_string = " ".join(remarks_on(program, kind))
        data = graph.SerializeToString()
        found, labels = run_onnx(data, graph, program, rows)
    else:
        text = write_python(program, examples, values)
        found, labels = _run_python(text, program, rows)
        if kind == "c":
            text = write_c(program, examples, values, path.stem)
        elif kind == "js":
            text = write_js(program, examples, values)
        data = text.encode()
    difference = largest_difference(program.kind != "numbers", found, expected)
    _refuse_difference(difference, kind)
    _compare_labels(program, labels, model.predict(given), expected)
    _write(path, data)
    return Exported(path, kind, difference, len(rows), made_up, remarks_on(program, kind))


def remarks_on(program: Program, kind: str) -> tuple[str, ...]:
    """What a format cannot do as the model does, a sentence each."""
    texts = [column for column in program.columns if column.text and column.level is not None]
    accents = any(not str(key).isascii() for column in texts for key in column.keys)
    if kind == "onnx" and texts:
        return (
            "the graph compares categories byte by byte: give texts in Unicode's form NFC (or "
            "wholly in NFD), without blanks around them",
        )
    if kind == "c" and accents:
        return (
            "the C file compares categories byte by byte: give texts in Unicode's form NFC (or "
            "wholly in NFD)",
        )
    return ()


def _format(path: Path, format: str | None) -> str:
    kind = SUFFIXES.get(path.suffix.lower()) if format is None else format
    if kind is None:
        raise ExportError(
            f"{path.name} does not say the format; end it in .onnx, .c, .js or .py, or give format="
        )
    if kind not in FORMATS:
        raise ExportError(f"format must be one of {', '.join(FORMATS)}; got {format!r}")
    return kind


def require_onnx() -> None:
    """Raise one clear ImportError if onnx or onnxruntime is missing."""
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"export to ONNX needs {error.name}, which is not installed: "
            'pip install "chainrule[onnx]"'
        ) from error
    assert onnx


def _fitted_pipeline(model: Any) -> bool:
    from chainrule.estimators.fitting import MLPBase
    from chainrule.exports.columns import steps_of

    last = steps_of(model)[-1][1]
    return hasattr(model, "steps") and isinstance(last, MLPBase) and hasattr(last, "coefs_")


def _refuse_difference(difference: float, kind: str) -> None:
    if difference <= TOLERANCE:
        return
    advice = ""
    if kind == "onnx":
        advice = "; dtype='float64' may help, or scaling columns with large numbers"
    raise DisagreementError(
        f"the exported model differs from the model by {difference:.1e}, more than "
        f"{TOLERANCE:.0e}; nothing was written{advice}"
    )


def _compare_labels(program: Program, labels: Any, own: Any, proba: Array) -> None:
    """Labels must be the same, but where two probabilities are as good as equal."""
    if program.kind == "numbers":
        return
    own = np.asarray(own)
    if program.kind == "labels":
        sure = np.abs(proba - 0.5) > 2 * TOLERANCE
        wrong = (np.asarray(labels) != own) & sure
    else:
        ordered = np.sort(proba, axis=1)
        sure = np.ones(len(proba), bool)
        if proba.shape[1] > 1:
            sure = ordered[:, -1] - ordered[:, -2] > 2 * TOLERANCE
        same = [str(a) == str(_label(b)) for a, b in zip(labels, own, strict=True)]
        wrong = ~np.array(same) & sure
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        raise DisagreementError(
            f"the exported model gives another class in row {row} of the sample"
        )


def _label(label: Any) -> Any:
    return label if isinstance(label, str) else int(label)


def own_values(model: Any, program: Program, X: Any) -> Array:
    """What the model gives for each row, (n, values), float64."""
    from chainrule.exports.columns import steps_of

    if program.kind != "numbers":
        values = np.asarray(model.predict_proba(X), np.float64)
    elif program.deviations:
        for _, step in getattr(model, "steps", [("", model)])[:-1]:
            if step is not None and step != "passthrough":
                X = step.transform(X)
        parts = steps_of(model)[-1][1].predict(X, return_std=True)
        values = np.hstack([np.asarray(p, np.float64).reshape(len(p), -1) for p in parts])
    else:
        values = np.asarray(model.predict(X), np.float64)
    return values.reshape(len(values), -1)


def _rows(model: Any, program: Program, sample: Any) -> tuple[Any, list[list[Any]]]:
    """The sample as the model takes it, and as rows of numbers, texts and None."""
    from scipy import sparse

    from chainrule.exports.columns import cleaner_of, column_names

    names = [column.name for column in program.columns]
    known = column_names(model)
    cleaner = cleaner_of(model)
    if cleaner is not None:
        from chainrule.tables.cells import as_frame

        sample = as_frame(sample)
    if hasattr(sample, "columns"):
        there = list(map(str, sample.columns))
        if not set(names) <= set(there) and len(there) == len(known):
            names = [there[known.index(name)] for name in names]  # fitted on an array
        absent = [name for name in names if name not in there]
        if absent:
            raise ExportError(f"the sample has no column {absent[0]!r}")
        given = sample if cleaner is None else cleaner.transform(sample)
        columns = [
            _cells(given[name], column, cleaner is not None)
            for name, column in zip(names, program.columns, strict=True)
        ]
        if set(known) <= set(there):
            sample = sample[known]
    else:
        if sparse.issparse(sample):
            sample = sample.toarray()
        sample = np.asarray(sample)
        if sample.ndim != 2 or sample.shape[1] != len(known):
            raise ExportError(
                f"the sample has the shape {sample.shape}; the model takes {len(known)} columns"
            )
        columns = [sample[:, known.index(name)].tolist() for name in names]
    if not columns[0]:
        raise ExportError("the sample has no rows")
    plain = [
        [_plain(value, column) for value in values]
        for column, values in zip(program.columns, columns, strict=True)
    ]
    return sample, [list(row) for row in zip(*plain, strict=True)]


def _cells(values: Any, column: Column, cleaned: bool) -> list[Any]:
    """A column of the sample as the exported model takes it, spelled as the model spells it."""
    if column.date:
        return _seconds(values)
    cells = list(values)
    if not cleaned:
        return cells

    if column.text:
        from chainrule.estimators.cleaning import MISSING

        return [None if cell == MISSING and column.missing else cell for cell in cells]
    # The cleaner makes numbers infinite that are squashed to the ends all the same.
    return list(np.clip(np.asarray(cells, float), -HUGE, HUGE).tolist())


def _seconds(values: Any) -> list[float]:
    """Dates as seconds since 1970, UTC."""
    import pandas as pd

    from chainrule.tables.cells import as_dates

    column = values if isinstance(values, pd.Series) else pd.Series(list(values))
    dates = as_dates(column).to_numpy().astype("datetime64[us]")
    seconds = dates.astype(np.int64) / 1e6
    return list(np.where(np.isnat(dates), np.nan, seconds).tolist())


def _plain(value: Any, column: Column) -> Any:
    if isinstance(value, str):
        if column.text:
            return value
        try:
            return float(value)
        except ValueError:
            raise ExportError(
                f"the sample's column {column.name!r} holds {value!r}, which is no number"
            ) from None
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return None
    if column.text:
        return str(value)
    try:
        number = float(value)
    except TypeError:
        raise ExportError(
            f"the sample's column {column.name!r} holds {str(value)!r}, which is no number"
        ) from None
    if np.isinf(number):
        raise ExportError(
            f"the sample's column {column.name!r} holds an infinite number, which exported "
            "models refuse; leave that row out"
        )
    return number


def made_up_rows(model: Any, program: Program, n: int) -> tuple[Any, list[list[Any]]]:
    """Rows such as the model accepts, as it takes them and as lists; always the same."""
    from chainrule.exports.columns import column_names, steps_of

    rng = np.random.default_rng(0)
    columns = [_made_up_column(program, j, n, rng) for j in range(len(program.columns))]
    rows = [list(row) for row in zip(*columns, strict=True)]
    names = column_names(model)
    own = {
        column.name: [np.nan if v is None and not column.none else v for v in values]
        for column, values in zip(program.columns, columns, strict=True)
    }
    whole = {name: own.get(name, [0.0] * n) for name in names}
    if any(hasattr(step, "feature_names_in_") for _, step in [("", model), *steps_of(model)]):
        try:
            import pandas as pd
        except ImportError:
            raise ImportError(
                "the model was fitted on a data frame: pandas is needed to make up rows for it "
                'to be checked on: pip install "chainrule[tables]"'
            ) from None
        texts = {column.name for column in program.columns if column.text}
        dates = {column.name for column in program.columns if column.date}
        frame = pd.DataFrame(
            {
                name: pd.to_datetime(pd.Series(values, dtype=float), unit="s")
                if name in dates
                else pd.Series(values, dtype=object if name in texts else float)
                for name, values in whole.items()
            }
        )
        return frame, rows
    kind = object if program.texts else float
    return np.array(list(whole.values()), kind).T, rows


def _made_up_column(program: Program, j: int, n: int, rng: Any) -> list[Any]:
    """Values such as the column holds; the second is missing, the third unknown, if accepted."""
    column = program.columns[j]
    values = _drawn_column(program, j, n, rng)
    values[0] = next((value for value in values if value is not None), values[0])
    if column.keys:
        values[0] = column.keys[0]
    if column.missing:
        values[1:2] = [None]
    if column.keys and column.unknown:
        values[2:3] = [_unknown(column)]
    return values[:n]


def _unknown(column: Column) -> Any:
    """A value that is none of the column's keys."""
    if not column.text:
        return max(map(float, column.keys)) + 1
    text = "(other)"
    while text in column.keys:
        text = f"({text})"
    return text


def _drawn_column(program: Program, j: int, n: int, rng: Any) -> list[Any]:
    column = program.columns[j]
    if column.keys:
        choices: list[Any] = list(column.keys)
        if column.unknown:
            choices.append(_unknown(column))
        if column.missing:
            choices.append(None)
        return [choices[i] for i in rng.integers(len(choices), size=n)]
    if column.level == "boolean":
        choices = [0.0, 1.0, None] if column.missing else [0.0, 1.0]
        return [choices[i] for i in rng.integers(len(choices), size=n)]
    if column.date:
        values = (1.5e9 + 3e8 * rng.normal(size=n)).round().tolist()
        return [None if column.missing and rng.random() < 0.1 else v for v in values]
    centre, width = 0.0, 1.0
    for feature in reversed(program.numbers):  # the first one is of the whole column
        first: tuple[Any, ...] = feature.ops[0] if feature.ops else ("none",)
        if feature.column == j and first[0] == "scale" and first[2] != 0:
            centre, width = first[1] - first[3] / first[2], 1 / abs(first[2])
    drawn = centre + width * rng.normal(size=n)
    with np.errstate(over="ignore"):
        short = drawn.astype(np.float32)
    values = np.where(np.isfinite(short), short, drawn).tolist()
    if column.missing:
        values = [None if u < 0.1 else v for u, v in zip(rng.random(n), values, strict=True)]
    return list(values)


def _run_python(text: str, program: Program, rows: list[list[Any]]) -> tuple[Array, Any]:
    """Values and labels of the module that was written."""
    module: dict[str, Any] = {"__name__": "exported"}
    exec(compile(text, "<exported>", "exec"), module)
    labels = module["predict"](rows) if program.kind != "numbers" else None
    return module["values"](rows), labels


def run_onnx(data: bytes, graph: Any, program: Program, rows: list[list[Any]]) -> tuple[Array, Any]:
    """Values and labels of a graph in onnxruntime."""
    import onnxruntime

    from chainrule.exports.graph import inputs_of

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    with np.errstate(over="ignore"):  # what single precision cannot hold is squashed to the ends
        feed = inputs_of(graph, program, rows)
    outputs = session.run(None, feed)
    if program.kind == "numbers":
        return np.hstack(outputs), None
    return outputs[1], outputs[0]


def _write(path: Path, data: bytes) -> None:
    with whole_file(path) as file:
        file.write(data)
