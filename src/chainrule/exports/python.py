"""A model as one Python file that needs NumPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.equations.expressions import written
from chainrule.exports.steps import (
    DEVIATION,
    Activate,
    Affine,
    Blend,
    Blocks,
    Certain,
    Clip,
    Complement,
    Deviations,
    LayerNorm,
    Ordered,
    Program,
    Rescale,
    Softmax,
    Step,
    unknown_step,
)
from chainrule.exports.text import LITERAL, number, numbers, packed, text_of_number, wrapped

# How operations of formulas are written, and functions that NumPy does not have.
WORDS = {name: f"np.{name}({{}})" for name in ("exp", "expm1", "log", "log1p", "sqrt", "tanh")}
WORDS |= {"absolute": "np.abs({})", "where": "np.where({}, {}, {})", "greater": "{} > {}"}
WORDS |= {"maximum": "np.maximum({}, {})", "minimum": "np.minimum({}, {})"}
HELPERS = {
    "erf": "return np.vectorize(math.erf, otypes=[z.dtype])(z)",
    "softplus": "return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))",
    "logistic": "e = np.exp(-np.abs(z))\n    return np.where(z >= 0, 1, e) / (1 + e)",
}
SOFTMAX = """

def softmax(z, n):
    a = z.reshape(len(z), -1, n)
    a = np.exp(a - a.max(axis=2, keepdims=True))
    return (a / a.sum(axis=2, keepdims=True)).reshape(len(z), -1)
"""
BLOCKS = """

def blocks(a, W, b):
    a = a.reshape(len(a), len(W), -1).transpose(1, 0, 2)
    return (a @ W + b[:, np.newaxis]).transpose(1, 0, 2).reshape(a.shape[1], -1)
"""

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

{imports}
import numpy as np

COLUMNS = {columns}
TEXT = {text}  # whether a column holds texts
DATE = {date}  # dates, or seconds since 1970, UTC
{no_value}# What the levels of a category are, other names of levels, texts that say there is none.
LEVELS = {levels}
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
        X = np.asarray(X, object if any(TEXT) or any(DATE) or any(LEVELS) else float)
        if X.ndim != 2 or X.shape[1] != len(COLUMNS):
            raise ValueError(f"X must have {len(COLUMNS)} columns, got the shape {X.shape}")
        given = list(X.T)
    found = []
    for j, column in enumerate(given):
        if TEXT[j]:
            if LEVELS[j]:
                column = [level(value, *LEVELS[j]) for value in column]
            absent = np.array([is_missing(value) for value in column], bool)
        else:
            try:
                if DATE[j]:
                    column = [seconds(value) for value in np.asarray(column, object)]
                elif LEVELS[j]:
                    column = [truth(value, LEVELS[j][2]) for value in column]
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


def is_missing(value):
    if isinstance(value, str):
        return False
    return value is None or type(value).__name__ == "NAType" or bool(value != value)
'''

LEVEL = '''

NUMBER = re.compile(r"[+-]?(?:[0-9]+\\.?[0-9]*|\\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
MOMENT = re.compile(
    r"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}"
    r"(?:[T ][0-9]{{2}}:[0-9]{{2}}(?::[0-9]{{2}}(?:\\.[0-9]{{1,6}})?)?"
    r"(?:Z|[+-][0-9]{{2}}:?[0-9]{{2}})?)?"
)


def level(value, kind, others, gone):
    """The text of the level of a category that a value is; None if it is missing.

    1, 1.0 and, where a column held truth values, True and "true" are the same level.
    """
    if isinstance(value, str):
        text = unicodedata.normalize("NFC", value.strip())
        if not text or text in gone:
            return None
    elif is_missing(value):
        return None
    else:
        text = text_of(value)
        text = others.get(text, text)
    if kind == "boolean":
        truths = {{"true": "true", "1": "true", "false": "false", "0": "false"}}
        return truths.get(number(text.casefold()), text)
    if kind == "number":
        exact = others.get(text.lstrip("+").rstrip("0"))  # more digits than a float holds
        return {{"true": "1", "false": "0"}}.get(text) or exact or number(text)
    if kind == "date" and MOMENT.fullmatch(text):
        try:
            return moment(datetime.fromisoformat(padded(text)))
        except ValueError:
            return text
    return text


def text_of(value):
    """A value that is no text, as a text."""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, datetime):
        return moment(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "normalize") and value.is_finite():  # a Decimal
        whole, _, part = f"{{value:f}}".partition(".")
        part = part.rstrip("0")
        if part and float(value) != value and repr(float(value)) != whole + "." + part:
            return whole + "." + part
    try:
        whole = int(value)
    except (OverflowError, TypeError, ValueError):
        return str(float(value)) if isinstance(value, (float, np.floating)) else str(value)
    if value == whole:
        return str(whole)
    number = value if isinstance(value, np.floating) else float(value)
    return str(np.format_float_positional(number, trim="-"))


def number(text):
    """The digits of the number that a text spells; the text, if it spells none."""
    if not NUMBER.fullmatch(text):
        return text
    digits = text.lstrip("+-")
    if digits.isdigit():
        digits = digits.lstrip("0") or "0"
        return "-" + digits if text[0] == "-" and digits != "0" else digits
    return text_of(float(text)) if math.isfinite(float(text)) else text


def padded(text):
    """A date with a fraction of six digits and a zone of the form +00:00, for older Pythons."""
    text = re.sub("Z$", "+00:00", text)
    text = re.sub("(:[0-9]{{2}}.*[+-][0-9]{{2}})([0-9]{{2}})$", r"\\1:\\2", text)
    return re.sub(r"\\.([0-9]+)", lambda found: "." + found.group(1).ljust(6, "0"), text)


def moment(value):
    """A date in UTC, without a time of day at midnight."""
    if value.tzinfo is not None:
        value = value.astimezone(timezone.utc).replace(tzinfo=None)
    day, _, clock = value.isoformat(sep=" ").partition(" ")
    if clock == "00:00:00":
        return day
    if "." in clock:
        clock = clock.rstrip("0").rstrip(".")
    return day + " " + clock


def truth(value, gone):
    """A truth value as 1 or 0."""
    text = level(value, "boolean", {{}}, gone)
    if text not in ("true", "false", None):
        raise ValueError(f"{{value!r}} is no truth value")
    return math.nan if text is None else float(text == "true")
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
                x = np.clip(x, -1e100, 1e100)
                x = x / np.sqrt(1 + (x / p[0]) ** 2)
        f[:, at] = np.where(absent, missing, x)
"""

DATES = '''

def date_part(name, x, absent, p):
    """A part of dates in seconds; or the place on a circle of a part."""
    if name in ("sine", "cosine"):
        return (np.sin if name == "sine" else np.cos)(2 * np.pi * x / p[0])
    if name == "days":
        return x / 86400
    if name == "hours":
        return (x - np.floor(x / 86400) * 86400) / 3600
    if name == "total_seconds":
        return x.astype("float32").astype(float)
    s = np.floor(np.where(absent, 0, x)).astype("datetime64[s]")
    year, month, day = (s.astype(f"datetime64[{unit}]") for unit in "YMD")
    hms = (s - day).astype(int)
    return {
        "year": year.astype(int) + 1970,
        "month": (month - year).astype(int) + 1,
        "day_of_year": (day - year).astype(int) + 1,
        "day": (day - month).astype(int) + 1,
        "hour": hms // 3600,
        "minute": hms // 60 % 60,
        "second": hms % 60,
        "weekday": (day.astype(int) + 3) % 7 + 1,
    }[name].astype(float)
'''

LOOKUP = '''

def codes_of(columns):
    """Which key the value of each column that is looked up is, row by row."""
    codes = []
    for j, keys, unknown_accepted, *_ in TABLES:
        column, absent = columns[j]
        code = np.empty(len(column), int)
        for i, value in enumerate(column):
            code[i] = len(keys) + 1 if absent[i] else keys.get(value, len(keys))
            if code[i] == len(keys) and not unknown_accepted:
                raise ValueError(f"row {i}: column {COLUMNS[j]!r} has an unknown value {value!r}")
        codes.append(code)
    return codes
'''

ROWS = '''

def added(codes, rows):
    """What columns that are looked up add to what comes out of a first layer."""
    total = 0
    for code, table, own in zip(codes, TABLES, rows):
        if len(table[3]):
            total = total + own[table[3][code]]
    return total
'''

VALUES = """    for code, (*_, values, at) in zip(codes, TABLES):
        f[:, at : at + values.shape[1]] = values[code]
"""


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
    functions = {name: HELPERS[name] for name in sorted(program.operations & set(HELPERS))}
    functions |= {
        name: f"return {written(formula, WORDS, text_of_number)}"
        for name, formula in program.activations.items()
    }
    body = "".join(
        [
            _features(program),
            *(f"\n\ndef {name}(z):\n    {inside}\n" for name, inside in functions.items()),
            SOFTMAX if "softmax" in program.operations else "",
            BLOCKS if any(isinstance(step, Blocks) for step in program.all_steps) else "",
            _forward(program),
            _predict(program),
            _examples(rows, values, proba),
        ]
    )
    is_packed = 'packed("""' in body
    levels = any(column.level for column in program.columns)
    head = HEAD.format(
        summary=program.summary,
        use=use,
        imports="".join(
            f"import {name}\n"
            for name, needed in {
                "base64": is_packed,
                "math": True,
                "re": levels,
                "unicodedata": levels,
            }.items()
            if needed
        )
        + ("from datetime import datetime, timezone\n" if levels else ""),
        columns=_list(ascii(column.name) for column in program.columns),
        text=_list(str(column.text) for column in program.columns),
        date=_list(str(column.date) for column in program.columns),
        no_value=f"NO_VALUE = {_list(map(ascii, program.no_value))}\n" if program.no_value else "",
        levels=_list(
            "None"
            if column.level is None
            else f"({column.level!r}, {column.others()!a}, {'NO_VALUE' if column.gone else '()'})"
            for column in program.columns
        ),
        missing=_list(str(column.missing) for column in program.columns),
    )
    if proba:
        head += f"CLASSES = np.array({_list(ascii(label) for label in program.classes)})\n"
    return head + (PACKED + "\n\n" if is_packed else "") + body


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
        return f'packed("""\n{packed(values, dtype)}""", {dtype!r}){shape}'
    flat = wrapped(numbers(values, dtype))
    return f"np.array([\n{flat},\n], {dtype!r}){shape}"


def _floats(values: Any) -> str:
    return _list("np.nan" if digits == "nan" else digits for digits in numbers(values))


def _features(program: Program) -> str:
    runs = program.runs()
    out, body = [], f"    f = np.empty((len(columns[0][0]), {program.n_features}))\n"
    given = "columns"
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
        given = "columns, codes"
        out.append(
            "# Column, keys, whether others are accepted; for each key, for an unknown value and\n"
            "# for a missing one the row that is added, and features, the first of them with its\n"
            "# place.\n"
            "TABLES = ["
        )
        for table in program.tables:
            column = program.columns[table.column]
            keys = _list(f"{key!a}: {code}" for code, key in enumerate(column.keys))
            out.append(
                f"    ({table.column}, {{{keys[1:-1]}}}, {column.unknown},\n"
                f"     np.array({_list(map(str, table.row_of))}, int),\n"
                f"     {_array(table.values, program.dtype)}, {table.at}),"
            )
        out.append("]\n")
        if program.n_looked_up:
            body += VALUES
    return (
        "\n".join(out)
        + READ
        + (LEVEL.format() if any(c.level for c in program.columns) else "")
        + (DATES if program.calendar else "")
        + (LOOKUP if program.tables else "")
        + (ROWS if any(table.row_of for table in program.tables) else "")
        + f'\n\ndef features({given}):\n    """What goes into the first layer."""\n{body}'
        + f"    return f.astype({program.dtype!r})\n"
    )


class _Writer:
    """Puts together what features go through."""

    def __init__(self, program: Program) -> None:
        self.program, self.dtype, self.layers = program, program.dtype, 0
        self.constants: list[str] = []
        self.body: list[str] = []

    def constant(self, name: str, values: Any) -> None:
        self.constants.append(f"{name} = {_array(values, self.dtype)}\n")

    def chain(self, steps: list[Step], given: str = "a") -> None:
        """Add the lines of steps from the features in `given` to values in a."""
        body = self.body
        for step in steps:
            k = self.layers
            if isinstance(step, Affine | Blocks):
                k = self.layers = k + 1
                self.constant(f"W{k}", step.W)
                self.constant(f"b{k}", step.b)
            if isinstance(step, Affine):
                more = ""
                if any(table.row_of for table in self.program.tables) and step.rows:
                    arrays = "".join(f"{_array(rows, self.dtype)},\n" for rows in step.rows)
                    self.constants.append(f"rows{k} = [\n{arrays}]\n")
                    more = f" + added(codes, rows{k})"
                if given != "a" and len(step.W) < self.program.n_features:
                    given += f"[:, :{len(step.W)}]"
                body.append(f"a = {given} @ W{k} + b{k}{more}")
                given = "a"
            elif isinstance(step, Blocks):
                body.append(f"a = blocks(a, W{k}, b{k})")
            elif isinstance(step, Blend):
                body += ["given, total = a, 0"]
                for part in step.parts:
                    self.chain(part.steps, "given")
                    weights = _floats(part.weights)
                    body.append(f"a = a.reshape(len(a), -1, {step.n})")
                    body.append(f"total = total + np.einsum('nki,k->ni', a, np.array({weights}))")
                body.append("a = total")
            elif isinstance(step, LayerNorm):
                self.constant(f"scale{k}", step.scale)
                self.constant(f"shift{k}", step.shift)
                epsilon = number(step.epsilon)
                body += [
                    "a = a - a.mean(axis=1, keepdims=True)",
                    f"a = a / np.sqrt((a * a).mean(axis=1, keepdims=True) + {epsilon})",
                    f"a = a * scale{k} + shift{k}",
                ]
            elif isinstance(step, Softmax):
                body.append(f"a = softmax(a, {step.n})")
            elif isinstance(step, Activate):
                body.append(f"a = {self.program.name_of(step)}(a)")
            elif isinstance(step, Clip):
                self.constant(f"low{k}", step.low)
                self.constant(f"high{k}", step.high)
                body.append(f"a = np.clip(a, low{k}, high{k})")
            elif isinstance(step, Ordered):
                body += [
                    f"parts = a.reshape(len(a), -1, {step.n})",
                    "parts = np.concatenate([parts[:, :, :1], softplus(parts[:, :, 1:])], axis=2)",
                    "a = parts.cumsum(axis=2).reshape(len(a), -1)",
                ]
            elif isinstance(step, Rescale):
                factor, shift = _floats(step.factor), _floats(step.shift)
                body.append(f"a = a * np.array({factor}) + np.array({shift})")
            elif isinstance(step, Complement):
                body.append("a = np.hstack([1 - a, a])")
            elif isinstance(step, Certain):
                body.append("a = np.ones_like(a)")
            elif isinstance(step, Deviations):
                body.append(f"a = np.hstack([a[:, :{step.k}], {DEVIATION}(a[:, {step.k}:])])")
            else:
                raise unknown_step(step, "Python")


def _forward(program: Program) -> str:
    writer = _Writer(program)
    writer.chain(program.steps)
    lines = "".join(f"        {line}\n" for line in writer.body)
    start = "    columns = columns_of(X)\n"
    start += "    codes = codes_of(columns)\n" if program.tables else ""
    given = "columns, codes" if program.tables else "columns"
    return (
        "\n\n"
        + "".join(writer.constants)
        + '\n\ndef values(X):\n    """All that the model gives for each row of X."""\n'
        + f"{start}    a = features({given})\n"
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
    raise SystemExit(not difference <= 1e-5)
"""
