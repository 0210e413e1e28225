"""A model as one C99 file that needs math.h alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.equations.expressions import written
from chainrule.exports.c_parts import (
    AFFINE,
    DATES,
    FINITE,
    HELPERS,
    LAYER_NORM,
    ORDERED,
    SAME,
    SAME_LEVEL,
    WORDS,
)
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
    Lookup,
    Ordered,
    Program,
    Rescale,
    Softmax,
    Step,
    unknown_step,
)
from chainrule.exports.text import (
    c_string,
    check_whole,
    identifier,
    number,
    numbers,
    text_of_number,
    wrapped,
)

_PARTS = {
    "year": "y",
    "month": "m",
    "day": "d",
    "hour": "h",
    "minute": "i",
    "second": "s",
    "weekday": "w",
    "day_of_year": "n",
    "hours": "u",
}


class _Writer:
    """Puts the file together, for a model and a prefix of its names."""

    def __init__(self, program: Program, prefix: str) -> None:
        self.program, self.prefix, self.upper = program, prefix, prefix.upper()
        self.real = "float" if program.dtype == "float32" else "double"
        self.suffix = "f" if program.dtype == "float32" else ""
        self.n_columns, self.n_values = len(program.columns), len(program.value_names)
        self.proba = program.kind != "numbers"
        self.rows_in = f"const double x[{self.upper}_COLUMNS]"
        if program.texts:
            self.rows_in += f", const char *const texts[{self.upper}_COLUMNS]"

    def file(self, rows: list[list[Any]], values: Any) -> str:
        body, arrays, widest = self.forward()
        return "".join(
            [
                self.head(),
                self.names(),
                self.functions(),
                *arrays,
                self.core(body, widest),
                self.predict(),
                self.test(rows, values),
            ]
        )

    def head(self) -> str:
        p, prefix = self.program, self.prefix
        lines = [f"A trained model, written by chainrule: {p.summary}.", ""]
        if self.proba:
            lines += [
                f"    int {prefix}_predict_proba({self.rows_in},",
                f"                              double out[{self.upper}_VALUES]);",
                "",
                "writes the probabilities of the classes, in the order of",
                f"{prefix}_classes, into out.",
                "",
            ]
            what = {
                "classes": f"gives the place in {prefix}_classes of the most probable class.",
                "labels": "writes 1 for each label that is more probable than not, else 0.",
            }[p.kind]
            more = f",\n{' ' * 24}int out[{self.upper}_VALUES]" if p.kind == "labels" else ""
            lines += [f"    int {prefix}_predict({self.rows_in}{more});", "", what]
        else:
            parts = f"{p.n_targets} targets" if p.n_targets > 1 else "the target"
            if p.n_levels > 1:
                parts += f", {p.n_levels} quantiles each"
            if p.deviations:
                parts += ", then the standard deviations"
            lines += [
                f"    int {prefix}_predict({self.rows_in},",
                f"                        double out[{self.upper}_VALUES]);",
                "",
                f"writes the predictions: {parts}.",
            ]
        lines += [
            "",
            f"x holds the columns {prefix}_columns of one row; a missing number is NAN.",
        ]
        if p.texts:
            lines += [
                "Columns of texts are read from texts, the others from x, both at the column's own",
                "place; a missing text is a null pointer. Texts are UTF-8.",
                "Categories are written as in the lists of keys below: true, 1, 1.5, 2024-01-31 or",
                "2024-01-31 13:05:07; some other spellings are in the lists too. They are compared",
                "byte by byte: texts with accents must be in Unicode's form NFC, or wholly in NFD.",
            ]
        if p.dates:
            places = ", ".join(str(j) for j, column in enumerate(p.columns) if column.date)
            lines.append(f"Dates (columns {places}, from 0) are seconds since 1970, UTC.")
        lines += [
            "All functions return a negative number, -1 - j, and write nothing where column j is",
            "infinite, missing or unknown and the model does not accept that. They use the stack",
            "alone and may be called from several threads at once.",
            "",
            "To check this file on its example rows, compile it with -DCHAINRULE_TEST and run it:",
            "    cc -std=c99 -DCHAINRULE_TEST FILE.c -lm && ./a.out",
        ]
        text = "\n".join(f" * {line}".rstrip() for line in lines)
        return f"/*\n{text}\n */\n\n#include <math.h>\n{FINITE}"

    def names(self) -> str:
        p, prefix = self.program, self.prefix
        columns = wrapped(c_string(column.name) for column in p.columns)
        out = (
            f"\n#define {self.upper}_COLUMNS {self.n_columns}\n"
            f"#define {self.upper}_VALUES {self.n_values}\n\ntypedef {self.real} real;\n\n"
            f"extern const char *const {prefix}_columns[{self.upper}_COLUMNS];\n"
            f"const char *const {prefix}_columns[{self.upper}_COLUMNS] = {{\n{columns}\n}};\n"
        )
        if not self.proba:
            return out
        check_whole(p.classes, 63, "C")
        kind, items = "const long long", [f"{label}LL" for label in p.classes]
        if any(isinstance(label, str) for label in p.classes):
            kind, items = "const char *const", [c_string(str(label)) for label in p.classes]
        return out + (
            f"\nextern {kind} {prefix}_classes[{self.upper}_VALUES];\n"
            f"{kind} {prefix}_classes[{self.upper}_VALUES] = {{\n{wrapped(items)}\n}};\n"
        )

    def functions(self) -> str:
        p = self.program
        exact = {column.level is None for column in p.columns if column.text}
        out = [*([SAME] if True in exact else []), *([SAME_LEVEL] if False in exact else [])]
        if p.calendar & set(_PARTS):
            out.append(DATES)
        out += [HELPERS[name] for name in sorted(p.operations & set(HELPERS))]
        for name, formula in p.activations.items():
            inside = written(formula, WORDS, self.in_formula)
            out.append(f"\nstatic real {name}(real z)\n{{\n    return {inside};\n}}\n")
        out.append(AFFINE)
        if any(isinstance(step, LayerNorm) for step in p.all_steps):
            out.append(LAYER_NORM)
        if any(isinstance(step, Ordered) for step in p.all_steps):
            out.append(ORDERED)
        return self._typed("".join(out))

    @staticmethod
    def in_formula(x: float) -> str:
        """A number in a formula, of the model's own precision."""
        text = text_of_number(x)
        return text if text.lstrip("-").isdigit() else f"(real){text}"

    def _typed(self, code: str) -> str:
        for name in ("expm1", "exp", "erf", "tanh", "log1p", "log", "fabs", "sqrt"):
            code = code.replace(f"{name}F(", f"{name}{self.suffix}(")
        return code

    def array(self, name: str, values: Any, kind: str = "real") -> str:
        flat = np.asarray(values).ravel()
        if kind == "int":
            items = [str(int(v)) for v in flat]
        elif kind == "real" and self.real == "float":
            items = [f"{digits}f" for digits in numbers(flat, "float32")]
        else:
            items = ["0" if digits == "nan" else digits for digits in numbers(flat)]
        items = items or ["0"]  # C has no empty arrays
        return f"\nstatic const {kind} {name}[{len(items)}] = {{\n{wrapped(items)}\n}};\n"

    def forward(self) -> tuple[list[str], list[str], int]:
        """Statements from features in a to values in out, the arrays they use, the widest layer."""
        self.body: list[str] = []
        self.arrays: list[str] = []
        self.widest = n = max(self.program.n_features, 1)
        self.layers = 0
        here, n = self.chain(self.program.steps, "a", n, ["z", "a"])
        if here != "out":
            self.body += [f"for (i = 0; i < {n}; i++)", f"    out[i] = {here}[i];"]
        return self.body, self.arrays, self.widest

    def chain(self, steps: list[Step], here: str, n: int, buffers: list[str]) -> tuple[str, int]:
        """Add the statements of steps from n numbers in `here`.

        Parameters
        ----------
        steps : list of Step
        here : str
        n : int
        buffers : list of str
            Where results go, in turns.

        Returns
        -------
        here : str
            Where the result is.
        n : int
            How many numbers it has.
        """
        body, arrays = self.body, self.arrays
        for step in steps:
            k = self.layers
            if isinstance(step, Affine | Blocks | Blend):
                there, buffers = buffers[0], buffers[::-1]
            if isinstance(step, Affine):
                k = self.layers = k + 1
                n, m = step.W.shape
                arrays += [self.array(f"W{k}", step.W), self.array(f"b{k}", step.b)]
                body.append(f"affine({here}, {n}, W{k}, b{k}, {m}, {there});")
                for table, rows in zip(self.program.tables, step.rows, strict=bool(step.rows)):
                    if table.row_of and step.rows:
                        name = f"rows{k}_{table.column}"
                        arrays.append(self.array(name, rows))
                        body += [
                            f"for (i = 0; i < {m}; i++)",
                            f"    {there}[i] += {name}[(long)row{table.column} * {m} + i];",
                        ]
                here, n = there, m
            elif isinstance(step, Blocks):
                k = self.layers = k + 1
                groups, n_in, m = step.W.shape
                arrays += [self.array(f"W{k}", step.W), self.array(f"b{k}", step.b)]
                body += [
                    f"for (i = 0; i < {groups}; i++)",
                    f"    affine({here} + i * {n_in}, {n_in}, W{k} + i * {n_in * m}L, "
                    f"b{k} + i * {m}, {m}, {there} + i * {m});",
                ]
                here, n = there, groups * m
            elif isinstance(step, Blend):
                body += [f"for (i = 0; i < {step.n}; i++)", f"    {there}[i] = 0;"]
                for part in step.parts:
                    found, _ = self.chain(part.steps, here, n, ["u", "v"])
                    name = f"weights{self.layers}"
                    arrays.append(self.array(name, part.weights))
                    size = len(part.weights) * step.n
                    body += [
                        f"for (i = 0; i < {size}; i++)",
                        f"    {there}[i % {step.n}] += {name}[i / {step.n}] * {found}[i];",
                    ]
                here, n = there, step.n
            elif isinstance(step, LayerNorm):
                arrays += [self.array(f"scale{k}", step.scale), self.array(f"shift{k}", step.shift)]
                epsilon = number(step.epsilon)
                body.append(f"layer_norm({here}, {n}, scale{k}, shift{k}, (real){epsilon});")
            elif isinstance(step, Softmax):
                if n == step.n:
                    body.append(f"softmax({here}, {n});")
                else:
                    body += [
                        f"for (i = 0; i < {n}; i += {step.n})",
                        f"    softmax({here} + i, {step.n});",
                    ]
            elif isinstance(step, Activate):
                own = self.program.name_of(step)
                body += [f"for (i = 0; i < {n}; i++)", f"    {here}[i] = {own}({here}[i]);"]
            elif isinstance(step, Clip):
                arrays += [self.array(f"low{k}", step.low), self.array(f"high{k}", step.high)]
                body += [
                    f"for (i = 0; i < {n}; i++)",
                    f"    {here}[i] = {here}[i] < low{k}[i] ? low{k}[i]",
                    f"        : {here}[i] > high{k}[i] ? high{k}[i] : {here}[i];",
                ]
            elif isinstance(step, Ordered):
                body.append(f"ordered({here}, {n}, {step.n});")
            elif isinstance(step, Rescale):
                arrays += [
                    self.array("out_factor", step.factor, "double"),
                    self.array("out_shift", step.shift, "double"),
                ]
                body += [
                    f"for (i = 0; i < {n}; i++)",
                    f"    out[i] = {here}[i] * out_factor[i] + out_shift[i];",
                ]
                here = "out"
            elif isinstance(step, Complement):
                body += [f"out[0] = 1 - {here}[0];", f"out[1] = {here}[0];"]
                here = "out"
            elif isinstance(step, Certain):
                body += ["out[0] = 1;", f"(void){here};"]
                here = "out"
            elif isinstance(step, Deviations):
                body += [
                    f"for (i = 0; i < {n}; i++)",
                    f"    out[i] = i < {step.k} ? {here}[i] : {DEVIATION}({here}[i]);",
                ]
                here = "out"
            else:
                raise unknown_step(step, "C")
            self.widest = max(self.widest, n)
        return here, n

    def features(self, arrays: list[str]) -> list[str]:
        """Statements that check the columns and write the features into a; adds its arrays."""
        p, out = self.program, []
        arrays.append(self.array("accepts_missing", [c.missing for c in p.columns], "int"))
        is_text = ""
        if p.texts:
            arrays.append(self.array("is_text", [c.text for c in p.columns], "int"))
            is_text = "is_text[i] ? !texts[i] : "
        infinite = "!is_text[i] && isinf(x[i])" if p.texts else "isinf(x[i])"
        out += [
            f"for (i = 0; i < {self.n_columns}; i++) {{",
            f"    int absent = {is_text}isnan(x[i]) != 0;",
            f"    if (({infinite}) || (absent && !accepts_missing[i]))",
            "        return -1 - i;",
            "}",
        ]
        for r, run in enumerate(p.runs()):
            arrays += [
                self.array(f"at{r}", run.at, "int"),
                self.array(f"from{r}", run.columns, "int"),
                self.array(f"missing{r}", run.missing, "double"),
            ]
            lines = []
            for k, (name, parameters) in enumerate(run.ops):
                label = f"{name}{r}_{k}"
                for q, values in enumerate(parameters):
                    arrays.append(self.array(f"{label}_{q}", values, "double"))
                u, v, w = (f"{label}_{q}[i]" for q in range(3))
                if name == "scale":
                    lines.append(f"v = (v - {u}) * {v} + {w};")
                elif name == "days":
                    lines.append("v = v / 86400;")
                elif name == "total_seconds":
                    lines.append("v = (float)v;")
                elif name in _PARTS:
                    lines.append(f"v = date_part(v, '{_PARTS[name]}');")
                elif name in ("sine", "cosine"):
                    lines.append(f"v = {name[:3]}(6.283185307179586 * v / {u});")
                elif name == "clip":
                    lines.append(f"v = v < {u} ? {u} : v > {v} ? {v} : v;")
                else:
                    lines += [
                        "v = v > 1e100 ? 1e100 : v < -1e100 ? -1e100 : v;",
                        f"v = v / sqrt(1 + v / {u} * (v / {u}));",
                    ]
            out += [
                f"for (i = 0; i < {len(run.at)}; i++) {{",
                f"    double v = x[from{r}[i]];",
                "    if (isnan(v))",
                f"        v = missing{r}[i];",
                *(["    else {", *(f"        {line}" for line in lines), "    }"] if lines else []),
                f"    a[at{r}[i]] = (real)v;",
                "}",
            ]
        for table in p.tables:
            out += self._lookup(table, arrays)
        return out

    def _lookup(self, table: Lookup, arrays: list[str]) -> list[str]:
        j, column = table.column, self.program.columns[table.column]
        n = m = len(column.keys)
        found = []
        if column.text:
            spellings = column.spellings()
            same = "same_level" if column.level else "same"
            m = len(spellings)
            keys = wrapped([c_string(text) for text, _ in spellings] or ["0"])
            arrays.append(f"\nstatic const char *const keys{j}[{max(m, 1)}] = {{\n{keys}\n}};\n")
            absent, match = f"!texts[{j}]", f"{same}(texts[{j}], keys{j}[i])"
            if m > n:
                arrays.append(self.array(f"key{j}", [*(k for _, k in spellings), n], "int"))
                found = [f"i = key{j}[i];"]
        else:
            arrays.append(self.array(f"keys{j}", column.keys, "double"))
            absent, match = f"isnan(x[{j}])", f"x[{j}] == keys{j}[i]"
        if column.text and column.gone:
            found += [
                f"if (i == {n})",
                f"    for (g = 0; g < {len(self.program.no_value)}; g++)",
                f"        if (same_level(texts[{j}], no_value[g]))",
                f"            i = {n + 1};",
            ]
        refuse = [] if column.unknown else [f"if (i == {n})", f"    return {-1 - j};"]
        use = []
        if table.row_of:
            arrays.append(self.array(f"row_of{j}", table.row_of, "int"))
            use.append(f"row{j} = row_of{j}[i];")
        for q, values in enumerate(table.values.T):
            arrays.append(self.array(f"values{j}_{q}", values))
            use.append(f"a[{table.at + q}] = values{j}_{q}[i];")
        return [
            f"if ({absent}) {{",
            f"    i = {n + 1};",
            "} else {",
            f"    for (i = 0; i < {m}; i++)",
            f"        if ({match})",
            "            break;",
            *(f"    {line}" for line in found),
            "}",
            *refuse,
            *use,
        ]

    def core(self, body: list[str], widest: int) -> str:
        arrays: list[str] = []
        features = self.features(arrays)
        gone = ""
        if any(column.gone and column.text for column in self.program.columns):
            texts = [c_string(text) for text in self.program.no_value]
            body_of = f"no_value[{len(texts)}] = {{\n{wrapped(texts)}\n}};\n"
            arrays.insert(0, f"\nstatic const char *const {body_of}")
            gone = ", g"
        codes = "".join(f", row{table.column}" for table in self.program.tables if table.row_of)
        more = ""
        kinds = {type(step) for step in self.program.all_steps}
        if Blend in kinds:
            more = f", u[{widest}]" + (f", v[{widest}]" if Blocks in kinds else "")
        lines = [
            f"real a[{widest}], z[{widest}]{more};",
            f"int i{gone}{codes};",
            "",
            *features,
            "",
            *body,
            "return 0;",
        ]
        text = "\n".join(f"    {line}".rstrip() for line in lines)
        return (
            "".join(arrays)
            + f"\nstatic int run({self.rows_in}, double out[{self.upper}_VALUES])\n{{\n{text}\n}}\n"
        )

    def predict(self) -> str:
        prefix, upper = self.prefix, self.upper
        call = "run(x, texts, " if self.program.texts else "run(x, "
        if not self.proba:
            head = f"int {prefix}_predict({self.rows_in}, double out[{upper}_VALUES])"
            return f"\n{head};\n{head}\n{{\n    return {call}out);\n}}\n"
        head = f"int {prefix}_predict_proba({self.rows_in}, double out[{upper}_VALUES])"
        out = f"\n{head};\n{head}\n{{\n    return {call}out);\n}}\n"
        labels = self.program.kind == "labels"
        more = f", int out[{upper}_VALUES]" if labels else ""
        head = f"int {prefix}_predict({self.rows_in}{more})"
        if labels:
            inner = (
                f"    for (i = 0; status == 0 && i < {upper}_VALUES; i++)\n"
                "        out[i] = p[i] > 0.5;\n    return status;\n"
            )
        else:
            inner = (
                "    int best = 0;\n"
                f"    for (i = 1; status == 0 && i < {upper}_VALUES; i++)\n"
                "        if (p[i] > p[best])\n            best = i;\n"
                "    return status == 0 ? best : status;\n"
            )
        return out + (
            f"\n{head};\n{head}\n{{\n    double p[{upper}_VALUES];\n"
            f"    int i, status = {call}p);\n{inner}}}\n"
        )

    def test(self, rows: list[list[Any]], values: Any) -> str:
        p, upper = self.program, self.upper
        given = ",\n".join(
            "    {"
            + ", ".join(
                "NAN" if value is None else "0" if isinstance(value, str) else number(value)
                for value in row
            )
            + "}"
            for row in rows
        )
        texts = ""
        if p.texts:
            items = ",\n".join(
                "    {" + ", ".join(c_string(v) if isinstance(v, str) else "0" for v in row) + "}"
                for row in rows
            )
            texts = (
                f"static const char *const example_texts[][{upper}_COLUMNS] = {{\n{items}\n}};\n"
            )
        expected = ",\n".join(
            "    {" + ", ".join(number(v) for v in row) + "}" for row in np.asarray(values)
        )
        function = f"{self.prefix}_predict_proba" if self.proba else f"{self.prefix}_predict"
        size = "1" if self.proba else "0"
        arguments = "example_rows[r], example_texts[r]" if p.texts else "example_rows[r]"
        loop = (
            ""
            if self.proba
            else f"""        for (r = 0; r < {len(rows)}; r++)
            if (fabs(example_values[r][j]) > size)
                size = fabs(example_values[r][j]);
"""
        )
        return f"""
#ifdef CHAINRULE_TEST
#include <stdio.h>

/* Rows, and what the model gave for them when it was written. */
static const double example_rows[][{upper}_COLUMNS] = {{
{given}
}};
{texts}static const double example_values[][{upper}_VALUES] = {{
{expected}
}};

int main(void)
{{
    double out[{len(rows)}][{upper}_VALUES], difference = 0;
    volatile double missing = NAN;
    int r, j;
    if (!isnan(missing)) {{
        printf("the compiler takes missing numbers for numbers: compile without -ffast-math\\n");
        return 1;
    }}
    for (r = 0; r < {len(rows)}; r++)
        if ({function}({arguments}, out[r]) != 0) {{
            printf("example row %d is refused\\n", r);
            return 1;
        }}
    for (j = 0; j < {upper}_VALUES; j++) {{
        double size = {size};
{loop}        for (r = 0; r < {len(rows)}; r++) {{
            double d = fabs(out[r][j] - example_values[r][j]) / (size > 0 ? size : 1);
            if (!(d <= difference))
                difference = d;
        }}
    }}
    printf("{len(rows)} example rows, largest difference %.1e\\n", difference);
    return !(difference <= 1e-5);
}}
#endif
"""


def write_c(program: Program, rows: list[list[Any]], values: Any, name: str) -> str:
    """The text of the file.

    Parameters
    ----------
    program : Program
    rows : list of list
        Example rows, None where a value is missing.
    values : (rows, values) array
        What the model gives for them.
    name : str
        What the names in the file start with, made into an identifier.
    """
    return _Writer(program, identifier(name)).file(rows, values)
