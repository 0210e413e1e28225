"""A model as one Python file that needs NumPy alone."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from chainrule.exports.steps import (
    Activate,
    Affine,
    Certain,
    Complement,
    Deviations,
    LayerNorm,
    Ordered,
    Program,
    Rescale,
)
from chainrule.exports.text import number, wrapped

ACTIVATIONS = {
    "relu": "return np.maximum(z, 0)",
    "leaky_relu": "return np.where(z > 0, z, z * z.dtype.type(0.01))",
    "elu": "return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))",
    "selu": "s, alpha = 1.0507009873554805, 1.6732632423543772\n"
    "    return (s * np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))).astype(z.dtype)",
    "gelu": "erf = np.vectorize(math.erf, otypes=[z.dtype])\n"
    "    return z * (1 + erf(z / z.dtype.type(math.sqrt(2)))) / 2",
    "silu": "return z * logistic(z)",
    "mish": "return z * np.tanh(softplus(z))",
    "softplus": "return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))",
    "tanh": "return np.tanh(z)",
    "logistic": "e = np.exp(-np.abs(z))\n    return np.where(z >= 0, 1, e) / (1 + e)",
    "exp": "return np.exp(z)",
    "softmax": "a = np.exp(z - z.max(axis=1, keepdims=True))\n"
    "    return a / a.sum(axis=1, keepdims=True)",
}

LITERAL = 2000  # Python takes long, and much memory, to read more numbers than this in one list

PACKED = '''

def packed(text, dtype):
    """Many numbers, little-endian, in base 64."""
    return np.frombuffer(base64.b64decode(text), dtype="<f" + str(np.dtype(dtype).itemsize))
'''

HEAD = '''"""A trained model, written by chainrule: {summary}.

{use}
X is a table of rows with the columns COLUMNS, in this order: a list of rows, an array, or a dict
or data frame of columns by name. A missing value is None or NaN. Needs NumPy only.
"""

{imports}import math

import numpy as np

COLUMNS = {columns}
TEXT = {text}  # whether a column holds texts
DATE = {date}  # dates, or seconds since 1970, UTC
LABELS = {labels}  # whether numbers are taken as texts
MISSING = {missing}  # whether a missing value is accepted
'''

READ = '''

def columns_of(X):
    """The columns of X, numbers as floats."""
    if hasattr(X, "keys"):
        absent = [name for name in COLUMNS if name not in X]
        if absent:
            raise ValueError(f"X has no column {absent[0]!r}")
        given = [X[name] for name in COLUMNS]
    else:
        X = np.asarray(X, object if any(TEXT) or any(DATE) else float)
        if X.ndim != 2 or X.shape[1] != len(COLUMNS):
            raise ValueError(f"X must have {len(COLUMNS)} columns, got the shape {X.shape}")
        given = list(X.T)
    found = []
    for j, column in enumerate(given):
        if TEXT[j]:
            column = [as_text(value) if LABELS[j] else value for value in column]
            absent = np.array([is_missing(value) for value in column], bool)
        else:
            try:
                if DATE[j]:
                    column = [seconds(value) for value in np.asarray(column, object)]
                column = np.asarray(column, float)
            except (TypeError, ValueError) as error:
                raise ValueError(f"column {COLUMNS[j]!r} holds no numbers: {error}") from None
            absent = np.isnan(column)
            if np.isinf(column).any():
                row = int(np.argmax(np.isinf(column)))
                raise ValueError(f"row {row}: column {COLUMNS[j]!r} is infinite")
        if absent.any() and not MISSING[j]:
            row = int(np.argmax(absent))
            raise ValueError(f"row {row}: column {COLUMNS[j]!r} is missing")
        found.append((column, absent))
    return found


def seconds(value):
    """A date as seconds since 1970, UTC."""
    if is_missing(value):
        return math.nan
    if isinstance(value, (int, float, np.number)):
        return value
    if getattr(value, "tzinfo", None) is not None:
        return value.timestamp()
    return (np.datetime64(value) - np.datetime64(0, "s")) / np.timedelta64(1, "s")


def as_text(value):
    """A number as the text that it is written as."""
    whole = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if whole and value % 1 == 0:
        return str(int(value))
    return value if isinstance(value, str) or is_missing(value) else str(value)


def is_missing(value):
    if isinstance(value, str):
        return False
    return value is None or type(value).__name__ == "NAType" or bool(value != value)
'''

ARITHMETIC = """    for at, which, operations, missing in NUMBERS:
        x = np.stack([columns[j][0] for j in which], axis=1)
        absent = np.isnan(x)
        for name, p in operations:
            if name == "scale":
                x = (x - p[0]) * p[1] + p[2]
            elif name == "clip":
                x = np.clip(x, p[0], p[1])
            elif name != "squash":
                x = date_part(name, x, absent, p)
            else:
                x = x / np.sqrt(1 + (x / p[0]) ** 2)
        f[:, at] = np.where(absent, missing, x)
"""

DATES = '''

def date_part(name, x, absent, p):
    """A part of dates in seconds; or the place on a circle of a part."""
    if name in ("sine", "cosine"):
        return (np.sin if name == "sine" else np.cos)(2 * np.pi * x / p[0])
    if name == "total_seconds":
        return x.astype("float32").astype(float)
    s = np.floor(np.where(absent, 0, x)).astype("datetime64[s]")
    year, month, day = (s.astype(f"datetime64[{unit}]") for unit in "YMD")
    hms = (s - day).astype(int)
    return {
        "year": year.astype(int) + 1970,
        "month": (month - year).astype(int) + 1,
        "day": (day - month).astype(int) + 1,
        "hour": hms // 3600,
        "minute": hms // 60 % 60,
        "second": hms % 60,
        "weekday": (day.astype(int) + 3) % 7 + 1,
    }[name].astype(float)
'''

LOOKUP = '''

def looked_up(columns):
    """What columns that are looked up add to what comes out of the first layer."""
    total = 0
    for j, keys, unknown_accepted, rows in TABLES:
        column, absent = columns[j]
        code = np.empty(len(column), int)
        for i, value in enumerate(column):
            code[i] = len(keys) + 1 if absent[i] else keys.get(value, len(keys))
            if code[i] == len(keys) and not unknown_accepted:
                raise ValueError(f"row {i}: column {COLUMNS[j]!r} has an unknown value {value!r}")
        total = total + rows[code]
    return total
'''


def write_python(program: Program, rows: list[list[Any]], values: Any) -> str:
    """The text of the module.

    Parameters
    ----------
    program : Program
    rows : list of list
        Example rows, None where a value is missing.
    values : (rows, values) array
        What the model gives for them.
    """
    proba = program.kind != "numbers"
    use = (
        "predict(X) gives classes, predict_proba(X) their probabilities."
        if proba
        else "predict(X) gives the predicted numbers."
    )
    names = program.activations
    if any(isinstance(step, Ordered) for step in program.steps) or "mish" in names:
        names |= {"softplus"}
    if "silu" in names:
        names |= {"logistic"}
    body = "".join(
        [
            _features(program),
            *(f"\n\ndef {name}(z):\n    {ACTIVATIONS[name]}\n" for name in sorted(names)),
            _forward(program),
            _predict(program),
            _examples(rows, values, proba),
        ]
    )
    packed = 'packed("""' in body
    head = HEAD.format(
        summary=program.summary,
        use=use,
        imports="import base64\n" if packed else "",
        columns=_list(ascii(column.name) for column in program.columns),
        text=_list(str(column.text) for column in program.columns),
        date=_list(str(column.date) for column in program.columns),
        labels=_list(str(column.labels) for column in program.columns),
        missing=_list(str(column.missing) for column in program.columns),
    )
    if proba:
        head += f"CLASSES = np.array({_list(ascii(label) for label in program.classes)})\n"
    return head + (PACKED + "\n\n" if packed else "") + body


def _list(items: Any) -> str:
    items = list(items)
    short = f"[{', '.join(items)}]"
    return short if len(short) < 80 else f"[\n{wrapped(items)},\n]"


def _array(values: Any, dtype: str) -> str:
    values = np.asarray(values)
    if not values.size:
        return f"np.zeros({values.shape}, {dtype!r})"
    shape = f".reshape({', '.join(map(str, values.shape))})" if values.ndim > 1 else ""
    if values.size > LITERAL:
        data = base64.encodebytes(values.astype("<f4" if dtype == "float32" else "<f8").tobytes())
        return f'packed("""\n{data.decode()}""", {dtype!r}){shape}'
    flat = wrapped(number(v, dtype) for v in values.ravel())
    return f"np.array([\n{flat},\n], {dtype!r}){shape}"


def _floats(values: Any) -> str:
    return _list("np.nan" if np.isnan(v) else number(v) for v in np.asarray(values, float).ravel())


def _features(program: Program) -> str:
    runs = program.runs()
    out, body = [], f"    f = np.empty((len(columns[0][0]), {len(program.numbers)}))\n"
    if runs:
        body += ARITHMETIC
        out.append(
            "# Places of features, their columns, operations, values where missing.\nNUMBERS = ["
        )
        for run in runs:
            ops = ", ".join(
                f'("{name}", [{", ".join(f"np.array({_floats(p)})" for p in parameters)}])'
                for name, parameters in run.ops
            )
            out.append(
                f"    ({_list(map(str, run.at))}, {_list(map(str, run.columns))},\n"
                f"     [{ops}],\n     np.array({_floats(run.missing)})),"
            )
        out.append("]\n")
    if program.tables:
        out.append(
            "# Column, keys, whether others are accepted; what is added for each key, for an\n"
            "# unknown value, for a missing one.\nTABLES = ["
        )
        for j, table in program.tables.items():
            column = program.columns[j]
            keys = _list(f"{key!a}: {code}" for code, key in enumerate(column.keys))
            out.append(
                f"    ({j}, {{{keys[1:-1]}}}, {column.unknown},\n"
                f"     {_array(table, program.dtype)}),"
            )
        out.append("]\n")
    return (
        "\n".join(out)
        + READ
        + (DATES if program.calendar else "")
        + (LOOKUP if program.tables else "")
        + f'\n\ndef features(columns):\n    """What goes into the first layer."""\n{body}'
        + f"    return f.astype({program.dtype!r})\n"
    )


def _forward(program: Program) -> str:
    dtype, constants, body, k = program.dtype, [], [], 0
    for step in program.steps:
        if isinstance(step, Affine):
            k += 1
            constants += [f"W{k} = {_array(step.W, dtype)}\n", f"b{k} = {_array(step.b, dtype)}\n"]
            more = " + looked_up(columns)" if k == 1 and program.tables else ""
            body.append(f"a = a @ W{k} + b{k}{more}")
        elif isinstance(step, LayerNorm):
            constants += [
                f"scale{k} = {_array(step.scale, dtype)}\n",
                f"shift{k} = {_array(step.shift, dtype)}\n",
            ]
            body += [
                "a = a - a.mean(axis=1, keepdims=True)",
                f"a = a / np.sqrt((a * a).mean(axis=1, keepdims=True) + {number(step.epsilon)})",
                f"a = a * scale{k} + shift{k}",
            ]
        elif isinstance(step, Activate):
            body.append(f"a = {step.name}(a)")
        elif isinstance(step, Ordered):
            body += [
                f"parts = a.reshape(len(a), -1, {step.n})",
                "parts = np.concatenate([parts[:, :, :1], softplus(parts[:, :, 1:])], axis=2)",
                "a = parts.cumsum(axis=2).reshape(len(a), -1)",
            ]
        elif isinstance(step, Rescale):
            body.append(
                f"a = a * np.array({_floats(step.factor)}) + np.array({_floats(step.shift)})"
            )
        elif isinstance(step, Complement):
            body.append("a = np.hstack([1 - a, a])")
        elif isinstance(step, Certain):
            body.append("a = np.ones_like(a)")
        elif isinstance(step, Deviations):
            body.append(f"a = np.hstack([a[:, :{step.k}], np.exp(a[:, {step.k}:] / 2)])")
    lines = "".join(f"        {line}\n" for line in body)
    return (
        "\n\n"
        + "".join(constants)
        + '\n\ndef values(X):\n    """All that the model gives for each row of X."""\n'
        + "    columns = columns_of(X)\n    a = features(columns)\n"
        + f'    with np.errstate(all="ignore"):\n{lines}    return a\n'
    )


def _predict(program: Program) -> str:
    if program.kind == "classes":
        return (
            '\n\ndef predict_proba(X):\n    """Probabilities of CLASSES for each row of X."""\n'
            "    return values(X)\n\n\n"
            'def predict(X):\n    """The most probable class for each row of X."""\n'
            "    return CLASSES[values(X).argmax(axis=1)]\n"
        )
    if program.kind == "labels":
        return (
            '\n\ndef predict_proba(X):\n    """Probability of each label for each row of X."""\n'
            "    return values(X)\n\n\n"
            'def predict(X):\n    """1 where a label is more probable than not."""\n'
            "    return (values(X) > 0.5).astype(int)\n"
        )
    k, q = program.n_targets, program.n_levels
    shape = "a[:, 0]" if k == q == 1 else "a"
    if k > 1 and q > 1:
        shape = f"a.reshape(len(a), {k}, {q})"
    more = ""
    if program.deviations:
        part = "values(X)[:, 1]" if k == 1 else f"values(X)[:, {k}:]"
        more = (
            '\n\ndef predict_std(X):\n    """The predicted standard deviation for each row of X."""'
            f"\n    return {part}\n"
        )
    cut = f"values(X)[:, :{k}]" if program.deviations else "values(X)"
    return (
        '\n\ndef predict(X):\n    """Predicted numbers for each row of X."""\n'
        f"    a = {cut}\n    return {shape}\n{more}"
    )


def _examples(rows: list[list[Any]], values: Any, proba: bool) -> str:
    size = "1.0" if proba else "np.maximum(np.abs(EXAMPLE_VALUES).max(axis=0), 1e-300)"
    given = "".join(f"    {_list(ascii(value) for value in row)},\n" for row in rows)
    return f"""

# Rows, and what the model gave for them when it was written.
EXAMPLE_ROWS = [
{given}]
EXAMPLE_VALUES = {_array(values, "float64")}


def check():
    \"\"\"Largest difference on the example rows, as a part of the largest value.\"\"\"
    size = {size}
    return float((np.abs(values(EXAMPLE_ROWS) - EXAMPLE_VALUES) / size).max())


if __name__ == "__main__":
    difference = check()
    print(f"{{len(EXAMPLE_ROWS)}} example rows, largest difference {{difference:.1e}}")
    raise SystemExit(difference > 1e-5)
"""
