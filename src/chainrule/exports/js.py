"""A model as one ES module, for browsers and Node, without dependencies."""

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
    Column,
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
from chainrule.exports.text import (
    LITERAL,
    check_whole,
    js_value,
    number,
    numbers,
    packed,
    text_of_number,
    wrapped,
)

# How operations of formulas are written, and functions that JavaScript does not have.
WORDS = {name: f"Math.{name}({{}})" for name in ("exp", "expm1", "log", "log1p", "sqrt", "tanh")}
WORDS |= {"absolute": "Math.abs({})", "where": "({} ? {} : {})", "greater": "{} > {}"}
WORDS |= {"maximum": "Math.max({}, {})", "minimum": "Math.min({}, {})"}
SOFTPLUS = """
function softplus(z) {
  return Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
}
"""

LOGISTIC = """
function logistic(z) {
  return z >= 0 ? 1 / (1 + Math.exp(-z)) : Math.exp(z) / (1 + Math.exp(z));
}
"""

ERF = """
/** The error function, by its series of positive terms 2ⁿ x²ⁿ⁺¹ / (1 · 3 · … · (2n + 1)). */
function erf(x) {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x, sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return ((2 * sum) / Math.sqrt(Math.PI)) * Math.exp(-x * x);
}
"""

SOFTMAX = """
/** Of each run of n. */
function softmax(z, n) {
  const a = Float64Array.from(z);
  for (let start = 0; start < a.length; start += n) {
    const run = a.subarray(start, start + n);
    const largest = Math.max(...run);
    let sum = 0;
    for (let i = 0; i < n; i++) sum += run[i] = Math.exp(run[i] - largest);
    for (let i = 0; i < n; i++) run[i] /= sum;
  }
  return a;
}
"""

HELPERS = {"erf": ERF, "logistic": LOGISTIC, "softmax": SOFTMAX, "softplus": SOFTPLUS}

PACKED = """
/** Many numbers of so many bytes each, little-endian, in base 64. */
function packed(text, size) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const number = size === 4 ? view.getFloat32 : view.getFloat64;
  const at = (_, i) => number.call(view, i * size, true);
  return Float64Array.from({ length: bytes.length / size }, at);
}
"""

AFFINE = """
/** a W + b; W row by row. */
function affine(a, W, b) {
  const z = Float64Array.from(b);
  for (let i = 0, at = 0; at < W.length; i++, at += z.length)
    for (let j = 0; j < z.length && a[i] !== 0; j++) z[j] += a[i] * W[at + j];
  return z;
}
"""

BLOCKS = """
/** The same for k networks side by side. */
function blocks(a, W, b, k) {
  const z = new Float64Array(b.length);
  const n = a.length / k, m = b.length / k;
  for (let i = 0; i < k; i++) {
    const own = affine(
      a.subarray(i * n, (i + 1) * n),
      W.subarray(i * n * m, (i + 1) * n * m),
      b.subarray(i * m, (i + 1) * m),
    );
    z.set(own, i * m);
  }
  return z;
}
"""

MIX = """
/** Adds the weighted groups of a to total. */
function mix(total, a, weights) {
  const n = total.length;
  for (let i = 0; i < a.length; i++) total[i % n] += weights[Math.floor(i / n)] * a[i];
}
"""

LAYER_NORM = """
function layerNorm(a, scale, shift, epsilon) {
  const mean = a.reduce((s, v) => s + v, 0) / a.length;
  const variance = a.reduce((s, v) => s + (v - mean) ** 2, 0) / a.length;
  return a.map((v, i) => ((v - mean) / Math.sqrt(variance + epsilon)) * scale[i] + shift[i]);
}
"""

ORDERED = """
/** In runs of n, each value above the last. */
function ordered(z, n) {
  for (let i = 0; i < z.length; i++) if (i % n) z[i] = z[i - 1] + softplus(z[i]);
  return z;
}
"""

LEVEL = r"""
/**
 * The text of the level of a category that a value is; null if it is missing.
 * 1, 1.0 and, where a column held truth values, true and "true" are the same level.
 */
function level(value, kind, others, gone) {
  if (value === null || value === undefined || Number.isNaN(value)) return null;
  let text;
  if (typeof value === "string") {
    const blank = "[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+";
    text = value.replace(new RegExp(`^${blank}|${blank}$`, "g"), "").normalize("NFC");
    if (text === "" || gone.includes(text)) return null;
  } else {
    text = textOf(value);
    if (text === null) return null;
    if (Object.prototype.hasOwnProperty.call(others, text)) text = others[text];
  }
  if (kind === "boolean") {
    const digits = numberText(text.toLowerCase());
    if (digits === "true" || digits === "1") return "true";
    return digits === "false" || digits === "0" ? "false" : text;
  }
  const exact = text.replace(/^\+/, "").replace(/0+$/, ""); // more digits than a number holds
  if (kind === "number" && Object.prototype.hasOwnProperty.call(others, exact)) return exact;
  if (kind === "number") return text === "true" ? "1" : text === "false" ? "0" : numberText(text);
  return kind === "date" ? dateText(text) : text;
}

/** A value that is no text, as a text. */
function textOf(value) {
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) return null;
    const [day, clock] = value.toISOString().split(/[TZ]/);
    return moment(day, clock);
  }
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (Number.isInteger(value)) return String(BigInt(value));
  const [, sign, whole, part, exponent] = /^(-?)(\d+)(?:\.(\d+))?(?:e-(\d+))?$/.exec(String(value));
  if (!exponent) return String(value);
  return `${sign}0.${"0".repeat(Number(exponent) - 1)}${whole}${part || ""}`;
}

/** The digits of the number that a text spells; the text, if it spells none. */
function numberText(text) {
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) return text;
  if (/^[+-]?\d+$/.test(text)) {
    const digits = text.replace(/^[+-]?0*/, "") || "0";
    return text[0] === "-" && digits !== "0" ? "-" + digits : digits;
  }
  return Number.isFinite(Number(text)) ? textOf(Number(text)) : text;
}

/** A date in UTC, without a time of day at midnight. */
function moment(day, clock) {
  const short = clock.includes(".") ? clock.replace(/\.?0+$/, "") : clock;
  return short === "00:00:00" ? day : `${day} ${short}`;
}

/** The same for a text that spells a date; another text as it is. */
function dateText(text) {
  const parts =
    /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(\.\d{1,6})?(Z|[+-]\d\d:?\d\d)?)?$/.exec(text);
  if (!parts || (parts[4] && !parts[3])) return text;
  const [, day, minutes = "00:00", seconds = ":00", fraction = "", zone = "Z"] = parts;
  const clock = minutes + seconds;
  const local = new Date(`${day}T${clock}Z`);
  if (Number.isNaN(local.getTime()) || !local.toISOString().startsWith(`${day}T${clock}`))
    return text;
  const offset = zone.length > 1 ? zone.replace(/(\d\d)(\d\d)$/, "$1:$2") : "Z";
  const date = new Date(`${day}T${clock}${offset}`);
  if (Number.isNaN(date.getTime())) return text;
  const [utcDay, utcClock] = date.toISOString().split(/[T.]/);
  return moment(utcDay, utcClock + fraction);
}

/** A truth value as 1 or 0. */
function truth(value, name, gone) {
  const text = level(value, "boolean", {}, gone);
  if (text === null) return NaN;
  if (text !== "true" && text !== "false")
    throw new TypeError(`column ${JSON.stringify(name)} holds no truth value`);
  return text === "true" ? 1 : 0;
}
"""

READ = """
/** The row's values in the order of columns, checked: numbers, or texts; NaN or null if missing. */
function read(row) {
  const named = !(Array.isArray(row) || ArrayBuffer.isView(row));
  if (!named && row.length !== columns.length)
    throw new RangeError(`a row has ${columns.length} values, got ${row.length}`);
  return columns.map((name, j) => {
    if (named && !Object.prototype.hasOwnProperty.call(row, name))
      throw new RangeError(`the row has no column ${JSON.stringify(name)}`);
    let value = named ? row[name] : row[j];
    if (levels[j])
      value = isText[j] ? level(value, ...levels[j]) : truth(value, name, levels[j][2]);
    if (value instanceof Date) value = value.getTime() / 1000;
    const absent = value === null || value === undefined || Number.isNaN(value);
    if (absent && !acceptsMissing[j])
      throw new RangeError(`column ${JSON.stringify(name)} is missing`);
    if (isText[j]) return absent ? null : value;
    if (absent) return NaN;
    if (typeof value !== "number" && typeof value !== "boolean")
      throw new TypeError(`column ${JSON.stringify(name)} holds no number`);
    if (!Number.isFinite(Number(value)))
      throw new RangeError(`column ${JSON.stringify(name)} is infinite`);
    return Number(value);
  });
}
"""

ARITHMETIC = """  for (const { at, from, operations, missing } of numbers) {
    for (let i = 0; i < at.length; i++) {
      let v = x[from[i]];
      if (Number.isNaN(v)) v = missing[i];
      else
        for (const [name, p, q, r] of operations) {
          if (name === "scale") v = (v - p[i]) * q[i] + r[i];
          else if (name === "clip") v = Math.min(Math.max(v, p[i]), q[i]);
          else if (name === "squash") {
            v = Math.min(Math.max(v, -1e100), 1e100);
            v /= Math.sqrt(1 + (v / p[i]) ** 2);
          } else v = datePart(name, v, p && p[i]);
        }
      a[at[i]] = v;
    }
  }
"""

DATES = """
/** A part of a date in seconds; or the place on a circle of a part. */
function datePart(name, v, period) {
  if (name === "sine") return Math.sin((2 * Math.PI * v) / period);
  if (name === "cosine") return Math.cos((2 * Math.PI * v) / period);
  if (name === "days") return v / 86400;
  if (name === "hours") return (v - Math.floor(v / 86400) * 86400) / 3600;
  if (name === "total_seconds") return Math.fround(v);
  const date = new Date(Math.floor(v) * 1000);
  if (name === "year") return date.getUTCFullYear();
  if (name === "month") return date.getUTCMonth() + 1;
  if (name === "day_of_year")
    return Math.floor(v / 86400) - Math.floor(new Date(date).setUTCMonth(0, 1) / 864e5) + 1;
  if (name === "day") return date.getUTCDate();
  if (name === "hour") return date.getUTCHours();
  if (name === "minute") return date.getUTCMinutes();
  if (name === "second") return date.getUTCSeconds();
  return date.getUTCDay() || 7; // weekday
}
"""

LOOKUP = """
/** Which key the value of each column that is looked up is. */
function codesOf(x) {
  return tables.map(({ column, keys, acceptsUnknown }) => {
    const v = x[column];
    let code = v === null || Number.isNaN(v) ? keys.length + 1 : keys.indexOf(v);
    if (code < 0) code = keys.length;
    if (code === keys.length && !acceptsUnknown)
      throw new RangeError(`column ${JSON.stringify(columns[column])} has an unknown value`);
    return code;
  });
}
"""

ROWS = """
/** Adds to z the row of each code. */
function addRows(z, codes, rows) {
  tables.forEach(({ rowOf }, t) => {
    if (rowOf.length === 0) return;
    const start = rowOf[codes[t]] * z.length;
    for (let k = 0; k < z.length; k++) z[k] += rows[t][start + k];
  });
  return z;
}
"""

VALUES = """  tables.forEach(({ values, at }, t) => {
    values.forEach((of, q) => {
      a[at + q] = of[codes[t]];
    });
  });
"""


def write_js(program: Program, rows: list[list[Any]], values: Any) -> str:
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
    out = [
        f"// A trained model, written by chainrule: {program.summary}.\n",
        "// An ES module without dependencies: import { predict } from it. It checks itself on\n",
        "// example rows: check() gives the largest difference.\n\n",
        "/** Names of the columns of a row, in order. */\n",
        f"export const columns = {_list(js_value(c.name) for c in program.columns)};\n",
        f"const isText = {_list(js_value(c.text) for c in program.columns)};\n",
        f"const noValue = {_list(map(js_value, program.no_value))};\n" if program.no_value else "",
        "// What the levels of a category are, other names of levels, texts that say there is "
        "none.\n",
        f"const levels = {_list(map(_level, program.columns))};\n",
        f"const acceptsMissing = {_list(js_value(c.missing) for c in program.columns)};\n",
    ]
    if proba:
        check_whole(program.classes, 53, "JavaScript")
        out += [
            "\n/** The classes, in the order of their probabilities. */\n",
            f"export const classes = {_list(js_value(c) for c in program.classes)};\n",
        ]
    if any(column.level for column in program.columns):
        out.append(LEVEL)
    body = "".join([_features(program), _forward(program), _predict(program)])
    out += [_functions(program), PACKED if "packed(`" in body else "", READ, body]
    out.append(_examples(rows, values, proba))
    return "".join(out)


def _level(column: Column) -> str:
    if column.level is None:
        return "null"
    gone = "noValue" if column.gone else "[]"
    return f"[{js_value(column.level)}, {js_value(column.others())}, {gone}]"


def _list(items: Any) -> str:
    items = list(items)
    short = f"[{', '.join(items)}]"
    return short if len(short) < 80 else f"[\n{wrapped(items, '  ')},\n]"


def _numbers(values: Any, dtype: str = "float64") -> str:
    return _list("NaN" if digits == "nan" else digits for digits in numbers(values, dtype))


def _array(values: Any, dtype: str) -> str:
    """A Float64Array."""
    if np.size(values) <= LITERAL:
        return f"new Float64Array({_numbers(values, dtype)})"
    return f"packed(`\n{packed(values, dtype)}`, {np.dtype(dtype).itemsize})"


def _functions(program: Program) -> str:
    out = [HELPERS[name] for name in sorted(program.operations & set(HELPERS))]
    out += [
        f"\nfunction {name}(z) {{\n  return {written(formula, WORDS, text_of_number)};\n}}\n"
        for name, formula in program.activations.items()
    ]
    out.append(AFFINE)
    kinds = {type(step) for step in program.all_steps}
    more = {Blocks: BLOCKS, Blend: MIX, LayerNorm: LAYER_NORM, Ordered: ORDERED}
    out += [text for kind, text in more.items() if kind in kinds]
    return "".join(out)


def _features(program: Program) -> str:
    runs, out, body = program.runs(), [DATES] if program.calendar else [], ""
    if runs:
        body += ARITHMETIC
        out.append("\n// Places of features, their columns, operations, values where missing.\n")
        out.append("const numbers = [\n")
        for run in runs:
            ops = ", ".join(
                f"[{', '.join([js_value(name), *map(_numbers, parameters)])}]"
                for name, parameters in run.ops
            )
            out.append(
                f"  {{ at: {_list(map(str, run.at))}, from: {_list(map(str, run.columns))},\n"
                f"    operations: [{ops}],\n    missing: {_numbers(run.missing)} }},\n"
            )
        out.append("];\n")
    given = "x"
    if program.tables:
        given = "x, codes"
        out.append(
            "\n// Keys; for each of them, for an unknown value and for a missing one, the row\n"
            "// that is added, and features.\nconst tables = [\n"
        )
        for table in program.tables:
            column = program.columns[table.column]
            values = ", ".join(_array(each, program.dtype) for each in table.values.T)
            out.append(
                f"  {{ column: {table.column}, acceptsUnknown: {js_value(column.unknown)},\n"
                f"    keys: {_list(js_value(key) for key in column.keys)},\n"
                f"    rowOf: {_list(map(str, table.row_of))},\n"
                f"    values: [{values}], at: {table.at} }},\n"
            )
        out.append("];\n" + LOOKUP)
        if any(table.row_of for table in program.tables):
            out.append(ROWS)
        if program.n_looked_up:
            body = VALUES + body
    return (
        "".join(out)
        + f"\n/** What goes into the first layer. */\nfunction features({given}) {{\n"
        + f"  const a = new Float64Array({program.n_features});\n{body}  return a;\n}}\n"
    )


class _Writer:
    """Puts together what a row's features go through."""

    def __init__(self, program: Program) -> None:
        self.program, self.dtype, self.layers = program, program.dtype, 0
        self.constants: list[str] = []
        self.body: list[str] = []

    def constant(self, name: str, values: Any, dtype: str | None = None) -> None:
        self.constants.append(f"const {name} = {_array(values, dtype or self.dtype)};\n")

    def chain(self, steps: list[Step], given: str = "a") -> None:
        """Add the statements of steps from the features in `given` to values in a."""
        body = self.body
        for step in steps:
            k = self.layers
            if isinstance(step, Affine):
                k = self.layers = k + 1
                self.constant(f"W{k}", step.W)
                self.constant(f"b{k}", step.b)
                body.append(f"a = affine({given}, W{k}, b{k});")
                if any(table.row_of for table in self.program.tables) and step.rows:
                    rows = ", ".join(_array(each, self.dtype) for each in step.rows)
                    self.constants.append(f"const rows{k} = [{rows}];\n")
                    body.append(f"a = addRows(a, codes, rows{k});")
                given = "a"
            elif isinstance(step, Blocks):
                k = self.layers = k + 1
                self.constant(f"W{k}", step.W)
                self.constant(f"b{k}", step.b)
                body.append(f"a = blocks(a, W{k}, b{k}, {len(step.W)});")
            elif isinstance(step, Blend):
                body.append(f"const given = a, total = new Float64Array({step.n});")
                for part in step.parts:
                    self.chain(part.steps, "given")
                    body.append(f"mix(total, a, {_numbers(part.weights)});")
                body.append("a = total;")
            elif isinstance(step, LayerNorm):
                self.constant(f"scale{k}", step.scale)
                self.constant(f"shift{k}", step.shift)
                body.append(f"a = layerNorm(a, scale{k}, shift{k}, {number(step.epsilon)});")
            elif isinstance(step, Softmax):
                body.append(f"a = softmax(a, {step.n});")
            elif isinstance(step, Activate):
                body.append(f"a = a.map((z) => {self.program.name_of(step)}(z));")
            elif isinstance(step, Clip):
                self.constant(f"low{k}", step.low)
                self.constant(f"high{k}", step.high)
                body.append(f"a = a.map((v, i) => Math.min(Math.max(v, low{k}[i]), high{k}[i]));")
            elif isinstance(step, Ordered):
                body.append(f"a = ordered(a, {step.n});")
            elif isinstance(step, Rescale):
                self.constant("factor", step.factor, "float64")
                self.constant("shift", step.shift, "float64")
                body.append("a = a.map((v, i) => v * factor[i] + shift[i]);")
            elif isinstance(step, Complement):
                body.append("a = [1 - a[0], a[0]];")
            elif isinstance(step, Certain):
                body.append("a = [1];")
            elif isinstance(step, Deviations):
                body.append(f"a = a.map((v, i) => (i < {step.k} ? v : {DEVIATION}(v)));")
            else:
                raise unknown_step(step, "JavaScript")


def _forward(program: Program) -> str:
    writer = _Writer(program)
    writer.chain(program.steps)
    lines = "".join(f"  {line}\n" for line in writer.body)
    start = "  const x = read(row);\n"
    start += "  const codes = codesOf(x);\n" if program.tables else ""
    given = "x, codes" if program.tables else "x"
    return (
        "\n"
        + "".join(writer.constants)
        + "\n/** All that the model gives for a row. */\nfunction values(row) {\n"
        + f"{start}  let a = features({given});\n{lines}  return Array.from(a);\n}}\n"
    )


ROW = " * @param {Array|Object} row the values of columns, in their order or by their names;\n"
ROW += (
    " *   null, undefined or NaN where a value is missing; dates as Date, or seconds since 1970\n"
)


def _predict(program: Program) -> str:
    proba = (
        "\n/**\n * Probabilities of the classes.\n"
        + ROW
        + " * @returns {number[]} in the order of classes\n"
        + " */\nexport function predictProba(row) {\n  return values(row);\n}\n"
    )
    if program.kind == "classes":
        kind = "string" if any(isinstance(c, str) for c in program.classes) else "number"
        return proba + (
            f"\n/**\n * The most probable class.\n{ROW} * @returns {{{kind}}}\n */\n"
            "export function predict(row) {\n  const p = values(row);\n"
            "  return classes[p.indexOf(Math.max(...p))];\n}\n"
        )
    if program.kind == "labels":
        return proba + (
            f"\n/**\n * 1 for each label that is more probable than not.\n{ROW}"
            " * @returns {number[]}\n */\nexport function predict(row) {\n"
            "  return values(row).map((p) => (p > 0.5 ? 1 : 0));\n}\n"
        )
    k, q = program.n_targets, program.n_levels
    kind, inner = "number[]", "values(row)"
    if program.deviations:
        kind, inner = (
            ("number", "values(row)[0]") if k == 1 else (kind, f"values(row).slice(0, {k})")
        )
    elif k == q == 1:
        kind, inner = "number", "values(row)[0]"
    elif k > 1 and q > 1:
        kind = "number[][]"
        inner = f"Array.from({{ length: {k} }}, (_, t) => v.slice({q} * t, {q} * (t + 1)))"
    setup = "  const v = values(row);\n" if "v.slice" in inner else ""
    out = (
        f"\n/**\n * The prediction.\n{ROW} * @returns {{{kind}}}\n */\n"
        f"export function predict(row) {{\n{setup}  return {inner};\n}}\n"
    )
    if program.deviations:
        part = "values(row)[1]" if k == 1 else f"values(row).slice({k})"
        out += (
            f"\n/**\n * The predicted standard deviation.\n{ROW} * @returns {{{kind}}}\n */\n"
            f"export function predictStd(row) {{\n  return {part};\n}}\n"
        )
    return out


def _examples(rows: list[list[Any]], values: Any, proba: bool) -> str:
    given = "".join(f"  {_list(js_value(value) for value in row)},\n" for row in rows)
    expected = "".join(f"  {_numbers(row)},\n" for row in np.asarray(values))
    size = "1" if proba else "Math.max(...exampleValues.map((e) => Math.abs(e[j]))) || 1"
    return f"""
// Rows, and what the model gave for them when it was written.
const exampleRows = [
{given}];
const exampleValues = [
{expected}];

/** Largest difference on the example rows, as a part of the largest value. */
export function check() {{
  const found = exampleRows.map(values);
  let worst = 0;
  for (let j = 0; j < exampleValues[0].length; j++) {{
    const size = {size};
    for (let r = 0; r < found.length; r++) {{
      const d = Math.abs(found[r][j] - exampleValues[r][j]) / size;
      if (!(d <= worst)) worst = d;
    }}
  }}
  return worst;
}}
"""
