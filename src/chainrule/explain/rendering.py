"""A trace as HTML and as LaTeX. Whatever comes from the data is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np

from chainrule.explain.numbers import Numbers, Step, clean
from chainrule.explain.worked import TITLES, headline, last_lines, number, outputs_line, steps_of

MOST_CELLS = (12, 12)  # of a value that is shown as a table
STYLE = """
.chainrule-trace { color-scheme: light dark; --ink: #222; --paper: #fff; --soft: #5f5f5f;
  --line: #d0d0cc; --faint: #f3f1ec; --deep: #1f4e79; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) { .chainrule-trace { --ink: #e6e4df; --paper: #1b1b1a;
  --soft: #a5a29b; --line: #4a4945; --faint: #2a2927; --deep: #8fbbe6; } }
.chainrule-trace h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .4rem; }
.chainrule-trace h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; padding-bottom: .2rem;
  border-bottom: 1px solid var(--line); }
.chainrule-trace section { margin: .9rem 0 1.3rem; }
.chainrule-trace h3 { font-size: 1rem; font-weight: 400; color: var(--soft); margin: 0; }
.chainrule-trace .formula { font-family: Cambria, "STIX Two Math", "Latin Modern Math", Georgia,
  "DejaVu Serif", serif; font-size: 1.2rem; color: var(--deep); margin: .15rem 0 .4rem; }
.chainrule-trace .tag { font: 600 .78rem system-ui, sans-serif; color: var(--ink);
  border: 1px solid var(--line); border-radius: .3rem; padding: .05rem .4rem; margin-left: .6rem; }
.chainrule-trace .scroll { overflow-x: auto; margin: .4rem 0; }
.chainrule-trace .worked { font: .9rem/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas,
  monospace; padding: .5rem .7rem; background: var(--faint); }
.chainrule-trace .worked div { white-space: pre-wrap; padding-left: 1.6em; text-indent: -1.6em; }
.chainrule-trace table { border-collapse: collapse; font-variant-numeric: tabular-nums;
  font-size: .9rem; background: none; }
.chainrule-trace th, .chainrule-trace td { padding: .15rem .55rem; text-align: right;
  white-space: nowrap; border: 1px solid var(--line); color: var(--ink); background: none; }
.chainrule-trace th { color: var(--soft); font-weight: 400; }
.chainrule-trace .quiet { color: var(--soft); margin: .2rem 0; }
"""
PAGE = """
body { margin: 0; background: #fff; } @media (prefers-color-scheme: dark) { body {
  background: #1b1b1a; } }
.chainrule-trace { max-width: 58rem; margin: 0 auto; padding: 2rem 1.25rem; }
@media (max-width: 40rem) { .chainrule-trace { padding: 1.1rem .9rem; } }
"""


def html_page(t: Numbers) -> str:
    """Return a page of its own."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Backpropagation, worked out</title><style>{PAGE}</style></head>\n<body>"
        f"{html_fragment(t)}</body></html>\n"
    )


def html_fragment(t: Numbers) -> str:
    """Return what goes into a page, or a notebook's cell."""
    parts = [
        f'<div class="chainrule-trace"><style>{STYLE}</style>',
        "<h1>Backpropagation, worked out</h1>",
        f'<p class="quiet">{_html(headline(t))}</p>',
    ]
    if outputs_line(t):
        parts.append(f'<p class="quiet">{_html(outputs_line(t))}</p>')
    title = ""
    for step in steps_of(t):
        if TITLES[step.equation] != title:
            title = TITLES[step.equation]
            parts.append(f"<h2>{escape(title)}</h2>")
        parts.append(_section(step))
    parts += [f"<p>{_html(line)}</p>" for line in last_lines(t)]
    return "\n".join([*parts, "</div>"])


def _html(text: str) -> str:
    return escape(clean(text))


def _formula(text: str) -> str:
    """Return a formula with its small letters lowered and exponents raised."""
    shown = re.sub(r"_([a-z](?![a-z])|rows)", r"<sub>\1</sub>", _html(text))
    return re.sub(r"\^\{(.*?)\}|\^([a-z0-9])", r"<sup>\1\2</sup>", shown)


def _section(step: Step) -> str:
    tag = f'<span class="tag">{step.equation}</span>' if step.equation.startswith("BP") else ""
    shape = f", shape {step.shape}" if step.shape else ""
    lines = "".join(f"<div>{_html(line)}</div>" for line in step.worked)
    few = ""
    if not step.complete:
        count = f"The {len(step.worked)} largest of {np.size(step.value):,} entries"
        few = f'<p class="quiet">{count}:</p>'
    return (
        f"<section><h3>{_html(step.name)}{shape}</h3>"
        f'<div class="formula">{_formula(step.formula)}{tag}</div>'
        f'{few}<div class="worked">{lines}</div>{_table(step)}</section>'
    )


def _table(step: Step) -> str:
    """Return the value as a matrix, if it is one that fits."""
    value = np.asarray(step.value)
    if value.ndim != 2 or any(np.greater(value.shape, MOST_CELLS)):
        return ""
    if step.complete and min(value.shape) == 1:  # a row that has just been read
        return ""
    head = "".join(f"<th>{j}</th>" for j in range(value.shape[1]))
    rows = "".join(
        f"<tr><th>{i}</th>" + "".join(f"<td>{number(x)}</td>" for x in row) + "</tr>"
        for i, row in enumerate(value)
    )
    top = f"<tr><th>{_html(step.symbol)}</th>{head}</tr>"
    return f'<div class="scroll"><table>{top}{rows}</table></div>'


def latex(t: Numbers) -> str:
    """Return LaTeX for a document that loads amsmath."""
    return "\n".join(_latex_lines(t)) + "\n"


def _latex_lines(t: Numbers) -> Iterator[str]:
    yield "% Made by chainrule; needs \\usepackage{amsmath}."
    yield as_latex_text(headline(t)) + "\n"
    if outputs_line(t):
        yield as_latex_text(outputs_line(t)) + "\n"
    title = ""
    for step in steps_of(t):
        if TITLES[step.equation] != title:
            title = TITLES[step.equation]
            yield f"\\subsection*{{{as_latex_text(title)}}}"
        yield from _latex_step(step)
    for line in last_lines(t):
        yield as_latex_text(line)


def _latex_step(step: Step) -> Iterator[str]:
    yield f"\\paragraph{{{as_latex_text(step.name[:1].upper() + step.name[1:])}}}"
    tag = f" \\tag{{{step.equation}}}" if step.equation.startswith("BP") else ""
    yield f"\\[ {as_latex(step.formula)}{tag} \\]"
    value = np.asarray(step.value)
    if value.ndim == 2 and not any(np.greater(value.shape, MOST_CELLS)) and value.shape[1] <= 10:
        yield f"\\[ {as_latex(step.symbol)} = {_matrix(value)} \\]"
    if not step.complete:
        yield as_latex_text(f"The {len(step.worked)} largest of {np.size(step.value):,} entries:")
    if step.equation == "input":
        yield "\\begin{itemize}"
        for line in step.worked:
            equation, _, name = line.partition("   ")
            said = f" {as_latex_text(name)}" if name else ""
            yield f"\\item ${as_latex(equation)}${said}"
        yield "\\end{itemize}"
        return
    yield "\\begin{align*}"
    rows = []
    for line in step.worked:
        left, _, right = line.partition(" = ")
        rows.append(f"{as_latex(left)} &= {as_latex(right)}")
    yield " \\\\\n".join(rows)
    yield "\\end{align*}"


def _matrix(value: Any) -> str:
    rows = " \\\\ ".join(" & ".join(as_latex(number(x)) for x in row) for row in value)
    return f"\\begin{{bmatrix}} {rows} \\end{{bmatrix}}"


SPECIAL = {
    "\\": "\\textbackslash{}",
    "{": "\\{",
    "}": "\\}",
    "$": "\\$",
    "&": "\\&",
    "#": "\\#",
    "%": "\\%",
    "_": "\\_",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    '"': "\\textquotedbl{}",
    "−": "$-$",
    "→": "$\\to$",
}
SIGNS = {
    "−": "-",
    "·": " \\cdot ",
    "⊙": " \\odot ",
    "σ": "\\sigma ",
    "δ": "\\delta ",
    "∇": "\\nabla ",
    "∂": "\\partial ",
    "Σ": "\\sum ",
    "η": "\\eta ",
    "μ": "\\mu ",
    "γ": "\\gamma ",
    "τ": "\\tau ",
    "ε": "\\varepsilon ",
    "π": "\\pi ",
    "θ": "\\theta ",
    "√": "\\surd ",
    "½": "\\tfrac12 ",
    "←": " \\leftarrow ",
    "→": " \\to ",
    "′": "'",
    "²": "^{2}",
    "|": "\\vert ",
    "{": "{",
    "}": "}",
    "_": "_",
    "^": "^",
    "&": "\\&",
    "#": "\\#",
    "%": "\\%",
    "$": "\\$",
    "~": "\\sim ",
    "\\": "\\backslash ",
    "x̂": "\\hat{x}",
}
RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ˡᴸᵀ", [*"0123456789-lL", "\\top "], strict=True))
WORD = r"[A-Za-z][A-Za-z_]+"
PARTS = re.compile(
    rf"x̂|[⁰¹²³⁴⁵⁶⁷⁸⁹⁻ˡᴸᵀ]+|_[A-Za-z]+|{WORD}(?=\()|{WORD}(?![A-Za-z_(])(?: {WORD}(?![A-Za-z_(]))*"
    r"|e[−+]\d+|."
)
FUNCTIONS = {"exp", "log", "tanh", "cosh", "max", "min"}


def as_latex_text(text: str) -> str:
    """Return a text, escaped; superscripts within it become mathematics."""
    return "".join(
        f"$^{{{RAISED[sign]}}}$" if sign in RAISED else SPECIAL.get(sign, sign)
        for sign in clean(text)
    )


def as_latex(formula: str) -> str:
    """Return a formula or a line of numbers as LaTeX; braces that do not pair are escaped."""
    formula = clean(formula)
    braces = _pair(formula)
    parts = PARTS.findall(formula)
    written = []
    at = 0  # the end of the part in the formula
    for part in parts:
        at += len(part)
        if part[0] in RAISED:
            written.append("^{" + "".join(RAISED[sign] for sign in part) + "}")
        elif re.fullmatch(r"e[−+]\d+", part):  # of a number such as 1e−05
            written.append(f" \\cdot 10^{{{int(part[1:].replace('−', '-'))}}}")
        elif part[0] == "_" and len(part) > 1:
            written.append(f"_{{{_word(part[1:])}}}")
        elif len(part) > 1 and part != "x̂":
            written.append(_word(part, called=formula[at : at + 1] == "("))
        elif part in "{}" and not braces:
            written.append("\\" + part)
        elif part in "_^" and not braces:
            written.append("\\" + part + "{}" if part == "^" else "\\_")
        else:
            written.append(SIGNS.get(part, part))
    return "".join(written)


def _word(word: str, called: bool = True) -> str:
    """Return a name of a function, or a word of a sentence."""
    if len(word) == 1:
        return word
    if word in FUNCTIONS:
        return f"\\{word} "
    escaped = word.replace("_", "\\_")
    return f"\\operatorname{{{escaped}}}" if called else f"\\text{{ {escaped} }}"


def _pair(formula: str) -> bool:
    """Whether braces pair, and every sign of a script stands before something."""
    depth = 0
    for sign in formula:
        depth += (sign == "{") - (sign == "}")
        if depth < 0:
            return False
    return depth == 0 and re.search(r"[_^](\s|[_^}]|$)", formula) is None
