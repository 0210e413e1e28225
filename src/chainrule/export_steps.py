"""What a fitted model computes, as a list of plain steps: what every exported format is made from.

A row comes in as columns, each a number or a text. Each feature is made from one column; the
features are a vector that runs through the steps; what comes out are the model's values:
probabilities of the classes, or predicted numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isnan, nan, sqrt
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from chainrule import activations, layers
from chainrule.multioutput import grouped_softmax
from chainrule.network import Network
from chainrule.vecmath import Array

Key: TypeAlias = str | float


class ExportError(ValueError):
    """Something that cannot be exported, and what can be done about it."""


class Numeric(NamedTuple):
    """A feature that is arithmetic on a column's number x.

    Attributes
    ----------
    column : int
    ops : tuple of ("scale", c, f, s), ("clip", low, high) or ("squash", m)
        (x - c) f + s; min(max(x, low), high); x / √(1 + (x / m)²); one after the other.
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
    values : dict of {text or number: float}
    unknown, missing : float or None
        The feature for a value that is not in the table, and where there is none; None if that
        is refused.
    """

    column: int
    values: dict[Key, float]
    unknown: float | None
    missing: float | None


class Raw(NamedTuple):
    """A column as it comes; `fill` stands in for a missing value, None if there is none."""

    column: int
    fill: Key | None = None


Feature: TypeAlias = Numeric | Table | Raw


class Affine(NamedTuple):
    """z = a W + b."""

    W: Array
    b: Array


class LayerNorm(NamedTuple):
    """z = scale ⊙ (a - μ) / √(v + ε) + shift, μ and v the mean and variance of a."""

    scale: Array
    shift: Array
    epsilon: float


class Activate(NamedTuple):
    """a = σ(z), elementwise; softmax over all of z."""

    name: str


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
    """Behind k means, logs of variances v become deviations exp(v / 2)."""

    k: int


Step: TypeAlias = (
    Affine | LayerNorm | Activate | Ordered | Rescale | Complement | Certain | Deviations
)


@dataclass
class Column:
    """A column of the input.

    Attributes
    ----------
    name : str
    text : bool
        It holds texts, not numbers.
    keys : list
        Values that are looked up.
    missing, unknown : bool
        Whether a missing value, or one that is not among the keys, is accepted.
    """

    name: str
    text: bool = False
    keys: list[Key] = field(default_factory=list)
    missing: bool = True
    unknown: bool = True


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
        With their places among the features.
    tables : list of Table
        With their places among the features.
    width : int
        How many features there are.
    steps : list of Step
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
    numbers: list[tuple[int, Numeric]]
    tables: list[tuple[int, Table]]
    width: int
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
        what = {"classes": "classifier", "labels": "classifier of several labels"}
        return f"{what.get(self.kind, 'regressor')}, {len(self.columns)} columns, {units}"

    @property
    def texts(self) -> bool:
        """Whether any column holds texts."""
        return any(column.text for column in self.columns)

    @property
    def activations(self) -> set[str]:
        """Names of the activations that occur."""
        return {step.name for step in self.steps if isinstance(step, Activate)}

    def runs(self) -> list[Run]:
        """Features that are arithmetic, those with the same operations together."""
        groups: dict[tuple[str, ...], list[tuple[int, Numeric]]] = {}
        for at, feature in self.numbers:
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

    def looked_up(self) -> list[int]:
        """Columns that are looked up."""
        return sorted({table.column for _, table in self.tables})

    def table_of(self, column: int) -> tuple[list[int], Array]:
        """Places of a column's looked-up features, and their values by key, unknown, missing."""
        found = [(at, table) for at, table in self.tables if table.column == column]
        keys = self.columns[column].keys
        rows = [[table.values.get(key, table.unknown) for _, table in found] for key in keys]
        rows += [[table.unknown for _, table in found], [table.missing for _, table in found]]
        values = np.array(rows, float).reshape(-1, len(found))  # None becomes NaN
        return [at for at, _ in found], np.nan_to_num(values)  # what is refused is never looked up


def apply(feature: Feature, op: tuple[Any, ...]) -> Numeric | Table:
    """A feature after one more operation; see `Numeric`, and ("fill", v) and ("mark",)."""
    feature = as_number(feature)
    if isinstance(feature, Table):
        return Table(
            feature.column,
            {key: _on_number(value, op) for key, value in feature.values.items()},
            None if feature.unknown is None else _on_number(feature.unknown, op),
            None if feature.missing is None else _on_number(feature.missing, op),
        )
    column, ops, missing = feature
    missing = _on_number(missing, op)
    if op[0] == "fill":
        return Numeric(column, ops, missing)
    if op[0] == "mark":
        op = ("scale", 0.0, 0.0, 0.0)
    if op[0] == "scale" and ops and ops[-1][0] == "scale":
        _, c, f, s = ops[-1]
        ops, op = ops[:-1], ("scale", c, f * op[2], (s - op[1]) * op[2] + op[3])
    return Numeric(column, (*ops, op), missing)


def as_number(feature: Feature) -> Numeric | Table:
    """A column as it comes, taken as a number."""
    if not isinstance(feature, Raw):
        return feature
    if isinstance(feature.fill, str):
        raise ExportError(
            f"column {feature.column} is filled with the text {feature.fill!r} and then taken as "
            "a number; encode it first"
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


def read_estimator(model: Any, features: list[Feature], names: list[str]) -> Program:
    """What a fitted MLPClassifier or MLPRegressor computes from these features.

    Parameters
    ----------
    model : MLPClassifier or MLPRegressor
    features : list of Feature
        As many as the model has input columns.
    names : list of str
        Of the columns that the features are made from.

    Raises
    ------
    ExportError
        Something in the model that has no equivalent outside, named.
    """
    if len(features) != model.n_features_in_:
        raise ExportError(
            f"the steps before {type(model).__name__} give {len(features)} features; it was "
            f"fitted on {model.n_features_in_}"
        )
    inputs: list[Numeric | Table] = [as_number(feature) for feature in features]
    if model._missing is not None:
        means, marked = model._missing
        marks = [apply(features[j], ("mark",)) for j in marked]
        filled = [apply(f, ("fill", float(v))) for f, v in zip(features, means, strict=True)]
        inputs = filled + marks
    steps = network_steps(model._network())
    scaling = getattr(model, "_scaling", None)
    if scaling is not None:
        # The standardisation is folded into the first layer; taken out again, numbers far from
        # zero lose nothing where arithmetic is in single precision.
        offset, deviation = (np.asarray(v, np.float64) for v in scaling)
        first = steps[0]
        assert isinstance(first, Affine)
        steps[0] = Affine(first.W * deviation[:, None], first.b + offset @ first.W)
        inputs = [
            apply(feature, ("scale", float(c), float(1 / d), 0.0))
            for feature, c, d in zip(inputs, offset, deviation, strict=True)
        ]
    columns = _columns(inputs, names)
    program = Program(
        columns,
        [(at, feature) for at, feature in enumerate(inputs) if isinstance(feature, Numeric)],
        [(at, feature) for at, feature in enumerate(inputs) if isinstance(feature, Table)],
        len(inputs),
        steps,
        **_output(model, steps),
        dtype=model._dtype.name,
    )
    for step in program.steps:
        for part in step:
            if isinstance(part, np.ndarray) and not np.isfinite(part).all():
                raise ExportError("the model's parameters are not all finite; fit it anew")
    return program


def _columns(inputs: list[Numeric | Table], names: list[str]) -> list[Column]:
    """What the columns must hold for these features."""
    columns = [Column(name) for name in names]
    kinds: dict[int, set[bool]] = {}
    for feature in inputs:
        column = columns[feature.column]
        column.missing &= feature.missing is not None and not isnan(feature.missing)
        text = False
        if isinstance(feature, Table):
            column.unknown &= feature.unknown is not None and not isnan(feature.unknown)
            strange = [key for key, value in feature.values.items() if isnan(value)]
            if strange:
                raise ExportError(
                    f"column {column.name!r}: the category {strange[0]!r} becomes a missing "
                    "value that nothing fills; add a SimpleImputer after the encoder"
                )
            column.keys += [key for key in feature.values if key not in column.keys]
            text = any(isinstance(key, str) for key in feature.values)
        kinds.setdefault(feature.column, set()).add(text)
    for j, found in kinds.items():
        if len(found) > 1:
            raise ExportError(
                f"column {columns[j].name!r} is taken as a number and as a text; give each use "
                "a column of its own"
            )
        columns[j].text = found.pop()
    return columns


def network_steps(network: Network) -> list[Step]:
    """The layers of a prediction network, batch normalisation folded into the layer below."""
    steps: list[Step] = []
    own = network.own
    for l in range(1, network.L + 1):
        layer, activation = network.layers[l], network.activations[l]
        W, b = (np.asarray(p, np.float64) for p in (network.W[l], network.b[l]))
        start, _, n = network.parameter_tables[2, l]
        s = np.asarray(own[start : start + n], np.float64)
        if layer.forward is layers.affine:
            steps.append(Affine(W, b))
        elif layer.forward is layers.layer_norm_forward:
            steps.append(LayerNorm(W[0], b, float(s[1])))
        elif layer.forward is layers.batch_norm_forward:
            width = len(b)
            mean, variance = s[3 : 3 + width], s[3 + width :]
            factor = W[0] / np.sqrt(variance + s[1])
            below = steps.pop()
            assert isinstance(below, Affine)
            steps.append(Affine(below.W * factor, (below.b - mean) * factor + b))
        else:
            raise ExportError(f"a layer of the kind {layer.name!r} cannot be exported")
        known = activations.ACTIVATIONS.get(activation.name)
        made_by = activation.made_by
        if known is not None and known.f is activation.f:
            if activation.name != "identity":
                steps.append(Activate(activation.name))
        elif made_by and made_by[0] is activations.ordered:
            steps.append(Ordered(int(made_by[1])))
        elif made_by and made_by[0] is grouped_softmax:
            raise ExportError(
                "a classifier of several class targets cannot be exported; fit one for each target"
            )
        else:
            raise ExportError(
                f"the activation {activation.name!r} is your own, which cannot be exported; "
                f"those that can: {', '.join(sorted(activations.ACTIVATIONS))}"
            )
    return steps


def _output(model: Any, steps: list[Step]) -> dict[str, Any]:
    """Add the steps from the network's outputs to the model's values, and say what they are."""
    numbers = {"n_targets": 1, "n_levels": 1, "deviations": False}
    if hasattr(model, "classes_"):
        classes = [_plain(label) for label in np.asarray(model.classes_)]
        binarizer = model._label_binarizer
        several = binarizer.y_type_ == "multilabel-indicator"
        if len(classes) == 1 and not several:
            if model.compat == "sklearn":
                raise ExportError("there is only one class; fit without compat='sklearn'")
            steps.append(Certain())
        elif model.n_outputs_ == 1:
            steps.append(Complement())
        kind = "labels" if several else "classes"
        return {"kind": kind, "classes": classes, "value_names": list(map(str, classes)), **numbers}
    k, levels = model.n_outputs_, model._levels()
    targets = [f"target_{j}" for j in range(k)] if k > 1 else ["target"]
    names = targets
    if len(levels) > 1:
        numbers["n_levels"] = len(levels)
        names = [f"{target}_{level:g}" for target in targets for level in levels]
        if model._y_scale is not None:
            mean, deviation = (np.repeat(v, len(levels)) for v in model._y_scale)
            steps.append(Rescale(np.asarray(deviation, float), np.asarray(mean, float)))
    elif model._target().loss.name == "gaussian":
        numbers["deviations"] = True
        names = targets + [f"{target}_deviation" for target in targets]
        steps.append(Deviations(k))
    return {"kind": "numbers", "classes": [], "value_names": names, **numbers | {"n_targets": k}}


def _plain(label: Any) -> str | int:
    """A class label as a plain text or whole number."""
    if isinstance(label, str):
        return str(label)
    try:
        if float(label) == int(label):
            return int(label)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ExportError(f"the class label {label!r} is neither a text nor a whole number")
