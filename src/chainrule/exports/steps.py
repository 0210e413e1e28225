"""What a fitted model computes, as a list of plain steps: what every exported format is made from.

A row comes in as columns, each a number or a text. Each feature is made from one column; the
features are a vector that runs through the steps; what comes out are the model's values:
probabilities of the classes, or predicted numbers.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from math import isnan, nan, sqrt
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from chainrule.base.types import Array
from chainrule.equations.expressions import Expression
from chainrule.tables.levels import LEVEL_TYPES, level

Key: TypeAlias = str | float


class ExportError(ValueError):
    """Something that cannot be exported, and what can be done about it."""


def plain(name: str) -> str:
    """A name of plain letters, digits and underscores, from any text."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower()


def unknown_step(step: Any, language: str) -> ExportError:
    """The error for a step that an exporter does not know."""
    return ExportError(f"a step of the kind {type(step).__name__} cannot be written in {language}")


# The name, in programs, of the function that makes deviations.
DEVIATION = "deviation_of"


class DisagreementError(ExportError):
    """What was exported predicts otherwise than the model; it was not written."""


# Parts of a date: weekdays are 1, Monday, to 7; all seconds are rounded to single precision; days
# are counted from 1970, the days of a year from 1; days and hours have fractions.
CALENDAR = (
    *("year", "month", "day", "hour", "minute", "second", "weekday", "total_seconds"),
    *("days", "day_of_year", "hours"),
)


class Numeric(NamedTuple):
    """A feature that is arithmetic on a column's number x.

    Attributes
    ----------
    column : int
    ops : tuple of ("scale", c, f, s), ("clip", low, high), ("squash", m), ("sine", p), ...
        (x - c) f + s; min(max(x, low), high); x / √(1 + (x / m)²); sin(2π x / p), "cosine"
        likewise; one after the other. The first may be one of `CALENDAR`, without numbers, for a
        column of dates: x is seconds since the start of 1970, UTC.
    missing : float
        The feature where x is missing; NaN if that is refused.
    """

    column: int
    ops: tuple[tuple[Any, ...], ...] = ()
    missing: float = nan


class Table(NamedTuple):
    """A feature that is looked up by a column's value.

    Attributes
    ----------
    column : int
    keys : tuple of text or number
        The values that are known.
    usual : float
        The feature for a key that is not in `values`.
    values : dict of {key: float}
    unknown, missing : float or None
        The feature for a value that is no key, and where there is none; None if that is refused.
    none : bool
        Whether the model's own missing value is None, and not NaN.
    """

    column: int
    keys: tuple[Key, ...]
    usual: float
    values: dict[Key, float]
    unknown: float | None
    missing: float | None
    none: bool = False


class Raw(NamedTuple):
    """A column as it comes.

    Attributes
    ----------
    column : int
    fill : text or number, optional
        Stands in for a missing value.
    labels : bool
        Values are taken as levels of a category, texts of blanks as missing.
    """

    column: int
    fill: Key | None = None
    labels: bool = False


Feature: TypeAlias = Numeric | Table | Raw


class Affine(NamedTuple):
    """z = a W + b, of as many first entries of a as W has rows; the first step adds looked-up rows.

    Attributes
    ----------
    W : (n, units) array
    b : (units,) array
    rows : tuple of (r, units) arrays
        Of a first step: what each row of each of the program's tables adds to z.
    """

    W: Array
    b: Array
    rows: tuple[Array, ...] = ()


class Blocks(NamedTuple):
    """Layers of k networks side by side: a is k groups of n, and z_i = a_i W_i + b_i.

    Attributes
    ----------
    W : (k, n, m) array
    b : (k, m) array
    """

    W: Array
    b: Array


class LayerNorm(NamedTuple):
    """z = scale ⊙ (a - μ) / √(v + ε) + shift, μ and v the mean and variance of a."""

    scale: Array
    shift: Array
    epsilon: float


class Activate(NamedTuple):
    """a = σ(z), elementwise.

    Attributes
    ----------
    name : str
    formula : Expression
        See `chainrule.expressions`.
    """

    name: str
    formula: Expression


class Softmax(NamedTuple):
    """In runs of n: exp(z) / Σ exp(z)."""

    n: int


class Clip(NamedTuple):
    """min(max(a, low), high), each entry with its own bounds."""

    low: Array
    high: Array


class Ordered(NamedTuple):
    """In runs of n: a_1 = z_1, a_j = a_{j-1} + softplus(z_j)."""

    n: int


class Rescale(NamedTuple):
    """a ⊙ factor + shift."""

    factor: Array
    shift: Array


class Complement(NamedTuple):
    """The probability p of the second class becomes [1 - p, p]."""


class Certain(NamedTuple):
    """The only class has probability 1."""


class Deviations(NamedTuple):
    """Behind k predictions come numbers of which the k deviations are made, elementwise.

    Attributes
    ----------
    k : int
    formula : Expression
    """

    k: int
    formula: Expression


class Part(NamedTuple):
    """Models that a blend takes into its mean.

    Attributes
    ----------
    steps : list of Step
        From the features to k groups of values; the first is an `Affine`.
    weights : (k,) array
        What each group counts for.
    """

    steps: list[Any]
    weights: Array


class Blend(NamedTuple):
    """The weighted sum of all groups that the parts give, each from the same features.

    Attributes
    ----------
    parts : tuple of Part
    n : int
        The values of a group.
    """

    parts: tuple[Part, ...]
    n: int


Step: TypeAlias = (
    Affine | Blocks | LayerNorm | Activate | Softmax | Clip | Ordered | Rescale | Complement
    | Certain | Deviations | Blend
)  # fmt: skip


@dataclass
class Column:
    """A column of the input.

    Attributes
    ----------
    name : str
    text, date : bool
        It holds texts; or dates, as seconds since the start of 1970, UTC.
    keys : list
        Values that are looked up.
    missing, unknown : bool
        Whether a missing value, or one that is not among the keys, is accepted.
    none : bool
        As in `Table`.
    level : str or None
        Values are levels of a category, of this type; see `chainrule.tables.levels`. A column of
        numbers with the type "boolean" holds truth values. None: values are taken as they come.
    gone : tuple of str
        Texts that say that a level is missing.
    """

    name: str
    text: bool = False
    date: bool = False
    keys: list[Key] = field(default_factory=list)
    missing: bool = True
    unknown: bool = True
    none: bool = False
    level: str | None = None
    gone: tuple[str, ...] = ()

    def others(self) -> dict[str, str]:
        """The key for each text that a value, no text itself, may be where no key is that text.

        Keys that were learnt from texts spell numbers, dates and truth values in ways of their own.
        Of a column of numbers these are the keys of more digits than a float64 holds.
        """
        if self.level == "number":
            return {
                key: key
                for key in map(str, self.keys)
                if "." in key and Decimal(repr(float(key))) != Decimal(key)
            }
        if self.level != "text":
            return {}
        found: dict[str, set[str]] = {}
        for key in map(str, self.keys):
            for text in {level(key, type) for type in LEVEL_TYPES[:3]} - {None}:
                found.setdefault(str(text), set()).add(key)
        known = set(map(str, self.keys))
        return {
            text: keys.pop()
            for text, keys in sorted(found.items())
            if len(keys) == 1 and text not in known
        }

    def spellings(self) -> list[tuple[str, int]]:
        """Texts and the places of their keys, for programs that compare texts byte by byte.

        The keys come first, in their order; then other usual spellings of the same values, and
        Unicode's form NFD of each.
        """
        known = {str(key): k for k, key in enumerate(self.keys)}
        others: dict[str, int] = {}
        for key, k in known.items():
            spelled: list[str] = []
            if self.level == "boolean" and key in ("true", "false"):
                digit = "1" if key == "true" else "0"
                spelled = [key.title(), key.upper(), digit, f"{digit}.0"]
            elif self.level == "number":
                spelled = [f"{key}.0"] if key.lstrip("-").isdigit() else []
                spelled += {"1": ["true"], "0": ["false"]}.get(key, [])
            elif self.level == "date":
                day, _, clock = key.partition(" ")
                spelled = [f"{day}T{clock}"] if clock else []
                spelled += [f"{day} 00:00:00", f"{day}T00:00:00"] if not clock else []
            spelled.append(unicodedata.normalize("NFD", key) if self.level else key)
            others |= {text: k for text in spelled if text not in known}
        return [*known.items(), *others.items()]


class Lookup(NamedTuple):
    """What is looked up by the value of a column.

    All are by key, then for an unknown value, then for a missing one.

    Attributes
    ----------
    column : int
    row_of : list of int
        Which of the rows of a first step is added; empty if there are none.
    values : (keys + 2, w) array
        Features.
    at : int
        The place of the first of these features.
    """

    column: int
    row_of: list[int]
    values: Array
    at: int


class Run(NamedTuple):
    """Features with the same operations: lists over the features.

    Attributes
    ----------
    at, columns : list of int
        Their places, and the columns that they are made from.
    ops : list of (name, parameters)
        As in `Numeric`; each parameter a list.
    missing : list of float
    """

    at: list[int]
    columns: list[int]
    ops: list[tuple[str, list[list[float]]]]
    missing: list[float]


@dataclass
class Program:
    """What a model computes.

    Attributes
    ----------
    columns : list of Column
    numbers : list of Numeric
        Features that are arithmetic; in the vector that the first step takes they come after all
        that are looked up.
    tables : list of Lookup
        What is looked up, by column.
    steps : list of Step
        The first is an `Affine`, or a `Blend` of such.
    kind : {"classes", "labels", "numbers"}
        The values are probabilities of classes that exclude each other, of labels that do not,
        or predictions.
    classes : list of str or int
        Empty for numbers.
    value_names : list of str
    n_targets, n_levels : int
        Predicted numbers are n_targets groups of n_levels quantiles; 1 for a single prediction.
    deviations : bool
        Whether the second half of the values are standard deviations.
    dtype : str
        'float32' or 'float64': the model's own arithmetic.
    """

    columns: list[Column]
    numbers: list[Numeric]
    tables: list[Lookup]
    steps: list[Step]
    kind: str
    classes: list[Any]
    value_names: list[str]
    n_targets: int
    n_levels: int
    deviations: bool
    dtype: str

    @property
    def summary(self) -> str:
        """What it is, in a few words without any name from the data."""
        hidden = [len(step.b) for step in self.steps if isinstance(step, Affine)][:-1]
        units = f"hidden units {', '.join(map(str, hidden))}" if hidden else "no hidden layer"
        first = self.steps[0]
        if isinstance(first, Blend):
            units = f"a blend of {sum(len(part.weights) for part in first.parts)} models"
        what = {"classes": "classifier", "labels": "classifier of several labels"}
        return f"{what.get(self.kind, 'regressor')}, {len(self.columns)} columns, {units}"

    @property
    def texts(self) -> bool:
        """Whether any column holds texts."""
        return any(column.text for column in self.columns)

    @property
    def no_value(self) -> tuple[str, ...]:
        """Texts that say that a level is missing; a column has either all of them or none."""
        return next((column.gone for column in self.columns if column.gone), ())

    @property
    def dates(self) -> bool:
        """Whether any column holds dates."""
        return any(column.date for column in self.columns)

    @property
    def calendar(self) -> set[str]:
        """Operations on dates that occur."""
        names = {op[0] for feature in self.numbers for op in feature.ops}
        return names & {*CALENDAR, "sine", "cosine"}

    @property
    def n_features(self) -> int:
        """How many features go into the first step."""
        return self.n_looked_up + len(self.numbers)

    @property
    def n_looked_up(self) -> int:
        """How many of them are looked up."""
        return sum(table.values.shape[1] for table in self.tables)

    @property
    def all_steps(self) -> list[Step]:
        """The steps, those of the parts of a blend before it."""
        return list(_walk(self.steps))

    @property
    def activations(self) -> dict[str, Expression]:
        """Formulas that occur, elementwise, by a name that programs can use."""
        found: dict[str, Expression] = {}
        for step in self.all_steps:
            if isinstance(step, Activate):
                found[self.name_of(step)] = step.formula
            elif isinstance(step, Deviations):
                found[DEVIATION] = step.formula
        return found

    def name_of(self, step: Activate) -> str:
        """A name for an activation in a program; others have other names."""
        own = [one for one in self.all_steps if isinstance(one, Activate)]
        formulas = {repr(one.formula) for one in own if plain(one.name) == plain(step.name)}
        k = sorted(formulas).index(repr(step.formula))
        return f"act_{plain(step.name)}" + (f"_{k + 1}" if k else "")

    @property
    def operations(self) -> set[str]:
        """Operations in the activations' formulas, and in the steps that need one."""
        found: set[str] = set()
        for step in self.all_steps:
            if isinstance(step, Activate | Deviations):
                found |= step.formula.operations
            elif isinstance(step, Ordered):
                found.add("softplus")
            elif isinstance(step, Softmax):
                found.add("softmax")
        return found

    def runs(self) -> list[Run]:
        """Features that are arithmetic, those with the same operations together."""
        groups: dict[tuple[str, ...], list[tuple[int, Numeric]]] = {}
        for at, feature in enumerate(self.numbers, self.n_looked_up):
            groups.setdefault(tuple(op[0] for op in feature.ops), []).append((at, feature))
        return [
            Run(
                [at for at, _ in group],
                [feature.column for _, feature in group],
                [
                    (name, [list(p) for p in zip(*(f.ops[k][1:] for _, f in group), strict=True)])
                    for k, name in enumerate(names)
                ],
                [feature.missing for _, feature in group],
            )
            for names, group in groups.items()
        ]

    def leave_out_unused(self) -> None:
        """Leave out the columns that no feature is made from."""
        used = sorted({f.column for f in self.numbers} | {table.column for table in self.tables})
        place = {old: new for new, old in enumerate(used)}
        self.columns = [self.columns[j] for j in used]
        self.numbers = [f._replace(column=place[f.column]) for f in self.numbers]
        self.tables = [table._replace(column=place[table.column]) for table in self.tables]


def _walk(steps: list[Step]) -> Iterator[Step]:
    for step in steps:
        for part in step.parts if isinstance(step, Blend) else ():
            yield from _walk(part.steps)
        yield step


def apply(feature: Feature, op: tuple[Any, ...]) -> Numeric | Table:
    """A feature after one more operation; see `Numeric`, and ("fill", v) and ("mark",)."""
    feature = as_number(feature)
    if isinstance(feature, Table):
        return Table(
            feature.column,
            feature.keys,
            _on_number(feature.usual, op),
            {key: _on_number(value, op) for key, value in feature.values.items()},
            None if feature.unknown is None else _on_number(feature.unknown, op),
            None if feature.missing is None else _on_number(feature.missing, op),
            feature.none,
        )
    column, ops, missing = feature
    missing = _on_number(missing, op)
    if op[0] == "fill":
        return Numeric(column, ops, missing)
    if op[0] == "mark":
        op = ("scale", 0.0, 0.0, 0.0)
    if op[0] in CALENDAR and ops:
        raise ExportError("a date is taken apart after other arithmetic on it; do so before")
    if op[0] == "scale" and ops and ops[-1][0] == "scale":
        _, c, f, s = ops[-1]
        ops, op = ops[:-1], ("scale", c, f * op[2], (s - op[1]) * op[2] + op[3])
    return Numeric(column, (*ops, op), missing)


def as_number(feature: Feature) -> Numeric | Table:
    """A column as it comes, taken as a number."""
    if not isinstance(feature, Raw):
        return feature
    if isinstance(feature.fill, str) or feature.labels:
        raise ExportError(
            f"column {feature.column} (from 0) is a text that is taken as a number; encode it first"
        )
    return Numeric(feature.column, (), nan if feature.fill is None else feature.fill)


def _on_number(x: float, op: tuple[Any, ...]) -> float:
    name, *args = op
    if isnan(x):
        return float(args[0]) if name == "fill" else 1.0 if name == "mark" else nan
    if name == "fill":
        return x
    if name == "mark":
        return 0.0
    if name == "scale":
        return float((x - args[0]) * args[1] + args[2])
    if name == "clip":
        return float(min(max(x, args[0]), args[1]))
    return x / sqrt(1 + (x / args[0]) ** 2)


def largest_difference(proba: bool, found: Array, expected: Array) -> float:
    """Largest difference; of predicted numbers as a part of each column's largest."""
    if found.shape != expected.shape:
        raise ExportError(f"the exported model gives {found.shape} values, not {expected.shape}")
    size: Any = 1.0
    if not proba:
        size = np.abs(expected).max(axis=0)
        size = np.where(size > 0, size, 1.0)
    difference = np.abs(np.asarray(found, float) - expected) / size
    return float(np.nan_to_num(difference, nan=np.inf).max())
