"""A model as an ONNX graph; skl2onnx's converters write the same nodes."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Protocol

import numpy as np

from chainrule.base.version import __version__
from chainrule.equations.expressions import Expression
from chainrule.exports.steps import (
    CALENDAR,
    Activate,
    Affine,
    Blend,
    Blocks,
    Certain,
    Clip,
    Column,
    Complement,
    Deviations,
    ExportError,
    LayerNorm,
    Ordered,
    Program,
    Rescale,
    Run,
    Softmax,
    Step,
    unknown_step,
)

OPSET, ML_OPSET, IR_VERSION = 17, 3, 8  # since 2022: what most runtimes read
ML = "ai.onnx.ml"
FLOAT = np.float32


class Graph(Protocol):
    """A graph being made: directly, or in skl2onnx's container."""

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output; its name."""

    def constant(self, values: Any) -> str:
        """Add a constant array; its name."""


class Start(NamedTuple):
    """What the first step takes.

    Attributes
    ----------
    a : str or None
        The features, in float32; None if there are none.
    order : list of int
        Which feature each of its columns is.
    rows : list of str
        Of each of the program's tables, the row that is added, (n,); "" if none is.
    """

    a: str | None
    order: list[int]
    rows: list[str]


def features(graph: Graph, program: Program, columns: list[str], matrix: bool, dtype: Any) -> Start:
    """Nodes from the columns to the features and to what is looked up.

    Parameters
    ----------
    graph : Graph
    program : Program
    columns : list of str
        The (n, 1) tensor of each column; or all numbers in one tensor, if `matrix`.
    matrix : bool
    dtype : NumPy type of the numbers
        The features themselves are float32.

    Returns
    -------
    Start
    """
    parts: list[str] = []
    order: list[int] = []

    def numbers(which: list[int]) -> str:
        if not matrix:
            given = [columns[j] for j in which]
            return given[0] if len(given) == 1 else graph.add("Concat", *given, axis=1)
        if which == list(range(len(program.columns))):
            return columns[0]
        return graph.add("Gather", columns[0], graph.constant(np.array(which)), axis=1)

    rows = []
    for table in program.tables:
        column = program.columns[table.column]
        code = _code(graph, column, numbers([table.column]), dtype)
        # A value that the model refuses makes all that is predicted NaN.
        refused = [not column.unknown, not column.missing]
        row = ""
        if table.row_of:
            row_of = np.array(table.row_of)
            row_of[-2:][refused] = row_of.max() + 1
            row = graph.add("Gather", graph.constant(row_of), code, axis=0)
        rows.append(row)
        if w := table.values.shape[1]:
            values = table.values.astype(FLOAT)
            values[-2:][refused] = np.nan
            parts.append(graph.add("Gather", graph.constant(values), code, axis=0))
            order += range(table.at, table.at + w)
    for run in program.runs():
        own = np.float64 if program.columns[run.columns[0]].date else dtype
        parts.append(_run(graph, program, run, numbers(run.columns), own))
        order += run.at
    if len(parts) > 1:
        parts = [graph.add("Concat", *parts, axis=1)]
    return Start(parts[0] if parts else None, order, rows)


def _code(graph: Graph, column: Column, x: str, dtype: Any) -> str:
    """Nodes from a column to the number of its key; behind all keys if unknown, then if missing."""
    n = len(column.keys)
    if column.text:
        texts = [text for text, _ in column.spellings()]
        codes = [k for _, k in column.spellings()]
        gone = [text for text in ("", *column.gone) if text not in texts]
        texts += gone
        codes += [n + 1] * len(gone)
        keys: dict[str, Any] = {"keys_strings": texts}
    else:
        keys = {"keys_floats": list(map(float, column.keys))}
        codes = list(range(n))
        given, x = x, _cast(graph, x, dtype, FLOAT)
    code = graph.add("LabelEncoder", x, domain=ML, values_int64s=codes, default_int64=n, **keys)
    if not column.text:
        absent = graph.constant(np.array([n + 1]))
        code = graph.add("Where", graph.add("IsNaN", given), absent, code)
    return graph.add("Reshape", code, graph.constant(np.array([-1])))


def _run(graph: Graph, program: Program, run: Run, x: str, dtype: Any) -> str:
    """Nodes of features with the same operations."""
    absent = None
    if any(program.columns[j].missing for j in run.columns):
        absent = graph.add("IsNaN", x)

    def constant(values: Any) -> str:
        return graph.constant(np.asarray(values, dtype))

    for name, parameters in run.ops:
        p = [np.asarray(values, np.float64) for values in parameters]
        if name == "days":
            x = graph.add("Mul", x, constant([1 / 86400]))
        elif name == "total_seconds":
            x, dtype = _cast(graph, x, dtype, FLOAT), FLOAT
        elif name in CALENDAR:
            x = date_part(graph, name, x)
        elif name in ("sine", "cosine"):
            turns = graph.add("Mul", x, constant(2 * np.pi / p[0]))
            if name == "cosine":  # runtimes know no cosine in double precision
                turns = graph.add("Add", turns, constant([np.pi / 2]))
            x = graph.add("Sin", turns)
        elif name == "scale":
            # What rounding takes from the centre is given back to the shift.
            centre = p[0].astype(dtype).astype(np.float64)
            x = graph.add("Mul", graph.add("Sub", x, constant(centre)), constant(p[1]))
            shift = p[2] + (centre - p[0]) * p[1]
            if shift.any():
                x = graph.add("Add", x, constant(shift))
        elif name == "clip":
            x = graph.add("Min", graph.add("Max", x, constant(p[0])), constant(p[1]))
        else:  # squash; infinities, and what overflows as a square, go to the ends as well
            most = np.finfo(dtype).max ** 0.45
            x = graph.add("Min", graph.add("Max", x, constant([-most])), constant([most]))
            part = graph.add("Div", x, constant(p[0]))
            root = graph.add(
                "Sqrt", graph.add("Add", graph.add("Mul", part, part), constant([1.0]))
            )
            x = graph.add("Div", x, root)
    x = _cast(graph, x, dtype, FLOAT)
    if absent is not None:
        x = graph.add("Where", absent, graph.constant(np.array(run.missing, FLOAT)), x)
    return x


def date_part(graph: Graph, part: str, x: str) -> str:
    """Nodes from seconds since 1970, UTC, in double precision, to a part of the date.

    By Gregorian periods of 400 years, counted from the first of March.
    """

    def constant(value: float) -> str:
        return graph.constant(np.array([value], np.float64))

    def plus(a: str, value: float) -> str:
        return graph.add("Add", a, constant(value))

    def times(a: str, value: float) -> str:
        return graph.add("Mul", a, constant(value))

    def over(a: str, value: float) -> str:
        return graph.add("Floor", graph.add("Div", a, constant(value)))

    def less(a: str, *others: str) -> str:
        for one in others:
            a = graph.add("Sub", a, one)
        return a

    days = over(x, 86400)
    rest = less(graph.add("Floor", x), times(days, 86400))
    if part == "weekday":
        shifted = plus(days, 3)
        return plus(less(shifted, times(over(shifted, 7), 7)), 1)
    if part == "hour":
        return over(rest, 3600)
    if part == "hours":
        return times(less(x, times(days, 86400)), 1 / 3600)
    if part in ("minute", "second"):
        left = over(rest, 60) if part == "minute" else rest
        return less(left, times(over(left, 60), 60))
    shifted = plus(days, 719468)
    era = over(shifted, 146097)
    day = less(shifted, times(era, 146097))
    leap = graph.add("Add", less(day, over(day, 1460), over(day, 146096)), over(day, 36524))
    year = over(leap, 365)
    day = graph.add("Add", less(day, times(year, 365), over(year, 4)), over(year, 100))
    month = over(plus(times(day, 5), 2), 153)
    if part == "day":
        return plus(less(day, over(plus(times(month, 153), 2), 5)), 1)
    late = graph.add("Less", month, constant(10))
    if part == "month":
        return graph.add("Where", late, plus(month, 3), plus(month, -9))
    year = graph.add("Add", year, times(era, 400))
    year = graph.add("Where", late, year, plus(year, 1))
    if part == "year":
        return year
    before = plus(year, -1)
    leap = graph.add("Add", less(over(before, 4), over(before, 100)), over(before, 400))
    first = graph.add("Add", plus(times(before, 365), -719163), leap)  # the day before January 1
    return less(days, first)


def _cast(graph: Graph, x: str, given: Any, wanted: Any) -> str:
    if given == wanted:
        return x
    from onnx import helper

    return graph.add("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(wanted)))


def forward(graph: Graph, steps: list[Step], start: Start) -> str:
    """Nodes from what `features` gives to values, (n, values), in float32."""

    def constant(values: Any) -> str:
        return graph.constant(np.asarray(values, FLOAT))

    first = steps[0]
    if isinstance(first, Affine):
        a = _affine(graph, first, start)
    else:
        assert isinstance(first, Blend)
        a = _blend(graph, first, start)
    width = _width(steps[:1])
    for step in steps[1:]:
        if isinstance(step, Affine):
            a = graph.add("Add", graph.add("MatMul", a, constant(step.W)), constant(step.b))
            width = len(step.b)
        elif isinstance(step, Blocks):
            k, n, m = step.W.shape
            a = graph.add("Reshape", a, graph.constant(np.array([-1, k, n])))
            a = graph.add("Transpose", a, perm=[1, 0, 2])
            a = graph.add("MatMul", a, constant(step.W))
            a = graph.add("Add", a, constant(step.b[:, None]))
            a = graph.add("Transpose", a, perm=[1, 0, 2])
            width = k * m
            a = graph.add("Reshape", a, graph.constant(np.array([-1, width])))
        elif isinstance(step, LayerNorm):
            n = len(step.scale)
            mean = constant(np.full((n, 1), 1 / n))
            a = graph.add("Sub", a, graph.add("MatMul", a, mean))
            variance = graph.add("MatMul", graph.add("Mul", a, a), mean)
            root = graph.add("Sqrt", graph.add("Add", variance, constant([step.epsilon])))
            a = graph.add("Mul", graph.add("Div", a, root), constant(step.scale))
            a = graph.add("Add", a, constant(step.shift))
        elif isinstance(step, Activate):
            a = _formula(graph, step.formula, a)
        elif isinstance(step, Softmax):
            groups = width != step.n
            if groups:
                a = graph.add("Reshape", a, graph.constant(np.array([-1, width // step.n, step.n])))
            a = graph.add("Softmax", a, axis=-1)
            if groups:
                a = graph.add("Reshape", a, graph.constant(np.array([-1, width])))
        elif isinstance(step, Clip):
            a = graph.add("Min", graph.add("Max", a, constant(step.low)), constant(step.high))
        elif isinstance(step, Ordered):
            first_of = np.arange(width) % step.n == 0
            mixed = graph.add("Where", graph.constant(first_of), a, graph.add("Softplus", a))
            group = np.arange(width) // step.n
            summing = np.triu(group[:, None] == group)
            a = graph.add("MatMul", mixed, constant(summing))
        elif isinstance(step, Rescale):
            a = graph.add("Mul", a, constant(step.factor))
            a = graph.add("Add", a, constant(step.shift))
        elif isinstance(step, Complement):
            a = graph.add("Concat", graph.add("Sub", constant([1.0]), a), a, axis=1)
        elif isinstance(step, Certain):
            a = graph.add("Add", graph.add("Mul", a, constant([0.0])), constant([1.0]))
        elif isinstance(step, Deviations):
            half = np.arange(step.k)
            means = graph.add("Gather", a, graph.constant(half), axis=1)
            others = graph.add("Gather", a, graph.constant(half + step.k), axis=1)
            a = graph.add("Concat", means, _formula(graph, step.formula, others), axis=1)
        else:
            raise unknown_step(step, "ONNX")
    return a


def _affine(graph: Graph, step: Affine, start: Start) -> str:
    """Nodes of a first layer."""
    a = graph.constant(np.asarray(step.b, FLOAT))
    taken = [i for i, at in enumerate(start.order) if at < len(step.W)]
    if start.a is not None and taken:
        given = start.a
        if len(taken) < len(start.order):
            given = graph.add("Gather", given, graph.constant(np.array(taken)), axis=1)
        W = step.W[[start.order[i] for i in taken]].astype(FLOAT)
        a = graph.add("Add", graph.add("MatMul", given, graph.constant(W)), a)
    for rows, row in zip(step.rows, start.rows, strict=True):
        if row:  # the last one is of what is refused
            known = graph.constant(np.vstack([rows, np.full(len(step.b), np.nan)]).astype(FLOAT))
            a = graph.add("Add", a, graph.add("Gather", known, row, axis=0))
    return a


def _blend(graph: Graph, blend: Blend, start: Start) -> str:
    """Nodes of the weighted sum of what the parts give."""
    total = ""
    for part in blend.parts:
        values = forward(graph, part.steps, start)
        summing = np.kron(part.weights[:, None], np.eye(blend.n))
        one = graph.add("MatMul", values, graph.constant(summing.astype(FLOAT)))
        total = graph.add("Add", total, one) if total else one
    return total


def _width(steps: list[Step]) -> int:
    first = steps[0]
    if isinstance(first, Blend):
        return first.n
    assert isinstance(first, Affine)
    return len(first.b)


# Operators of formulas whose inputs are the operation's.
OPERATORS = {
    **{"add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "greater": "Greater"},
    **{"exp": "Exp", "log": "Log", "sqrt": "Sqrt", "tanh": "Tanh", "erf": "Erf"},
    **{"absolute": "Abs", "logistic": "Sigmoid", "softplus": "Softplus"},
    **{"maximum": "Max", "minimum": "Min", "where": "Where"},
}


def _formula(graph: Graph, formula: Expression, z: str) -> str:
    """Nodes of an activation."""
    made: dict[int, str] = {}  # a part that occurs twice is one node

    def constant(value: float) -> str:
        return graph.constant(np.array([value], FLOAT))

    def node(one: Expression) -> str:
        if id(one) not in made:
            made[id(one)] = new(one)
        return made[id(one)]

    def new(one: Expression) -> str:
        operation, parts = one.operation, one.parts
        if operation == "z":
            return z
        if operation == "number":
            return constant(parts[0])
        if operation == "maximum" and parts[1].operation == "number" and parts[1].parts[0] == 0:
            return graph.add("Relu", node(parts[0]))
        given = [node(part) for part in parts]
        if operation == "expm1":
            return graph.add("Sub", graph.add("Exp", *given), constant(1.0))
        if operation == "log1p":
            return graph.add("Log", graph.add("Add", *given, constant(1.0)))
        if operation not in OPERATORS:
            raise ExportError(f"{operation!r} is no operation that can be written in ONNX")
        return graph.add(OPERATORS[operation], *given)

    return node(formula)


def labels(graph: Graph, program: Program, values: str, classes: Any) -> str:
    """Nodes from probabilities to labels: (n,), or (n, labels) of 0 and 1."""
    from onnx import TensorProto

    if program.kind == "labels":
        above = graph.add("Greater", values, graph.constant(np.array([0.5], FLOAT)))
        return graph.add("Cast", above, to=TensorProto.INT64)
    best = graph.add("ArgMax", values, axis=1, keepdims=0)
    return graph.add("Gather", graph.constant(classes), best, axis=0)


class DirectGraph:
    """A graph made with the onnx package alone; names are kept apart from those given."""

    def __init__(self, taken: list[str]) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.taken = set(taken)

    def unique(self, stem: str) -> str:
        """A name that nothing has yet."""
        name, k = stem, 0
        while name in self.taken or not name:
            k += 1
            name = f"{stem}_{k}"
        self.taken.add(name)
        return name

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output; its name."""
        from onnx import helper

        name = self.unique(f"{op.lower()}_{len(self.nodes)}")
        self.nodes.append(helper.make_node(op, inputs, [name], domain=domain, **attributes))
        return name

    def constant(self, values: Any) -> str:
        """Add a constant array; its name."""
        from onnx import helper, numpy_helper

        name = self.unique(f"constant_{len(self.constants)}")
        if isinstance(values, list) and values and isinstance(values[0], str):
            from onnx import TensorProto

            data = [text.encode() for text in values]
            self.constants.append(helper.make_tensor(name, TensorProto.STRING, [len(data)], data))
        else:
            self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def rename(self, old: str, new: str) -> str:
        """Give an output its name."""
        self.nodes.append(self._identity(old, name := self.unique(new)))
        return name

    def _identity(self, old: str, new: str) -> Any:
        from onnx import helper

        return helper.make_node("Identity", [old], [new])


def make_onnx(program: Program, dtype: str = "float32") -> Any:
    """The model as an ``onnx.ModelProto``.

    Parameters
    ----------
    program : Program
    dtype : {'float32', 'float64'}
        Of the numbers that go in. The network itself is in float32.

    Returns
    -------
    onnx.ModelProto
        Inputs: ``X``, (n, columns), if all columns are numbers; else one (n, 1) tensor for each
        column, by its name, a missing text being empty. Outputs: ``label`` and
        ``probabilities``; or ``variable``, (n, values), and ``deviation`` if one is predicted.
    """
    from onnx import TensorProto, checker, helper

    number = TensorProto.DOUBLE if dtype == "float64" else TensorProto.FLOAT
    matrix = not (program.texts or program.dates)
    names = ["X"] if matrix else [column.name for column in program.columns]
    graph = DirectGraph([])
    names = [graph.unique(name or "column") for name in names]
    begun = features(graph, program, names, matrix, np.dtype(dtype).type)
    values = forward(graph, program.steps, begun)
    n_values = len(program.value_names)
    info = helper.make_tensor_value_info
    outputs = []
    if program.kind != "numbers":
        texts = any(isinstance(label, str) for label in program.classes)
        classes = list(map(str, program.classes)) if texts else np.array(program.classes, np.int64)
        chosen = labels(graph, program, values, classes)
        kind = TensorProto.STRING if texts and program.kind == "classes" else TensorProto.INT64
        shape: list[Any] = ["n", n_values] if program.kind == "labels" else ["n"]
        outputs.append(info(graph.rename(chosen, "label"), kind, shape))
        given = graph.rename(values, "probabilities")
        outputs.append(info(given, TensorProto.FLOAT, ["n", n_values]))
    else:
        parts = {"variable": n_values}
        if program.deviations:
            parts = {"variable": program.n_targets, "deviation": program.n_targets}
        start = 0
        for name, n in parts.items():
            part = values
            if len(parts) > 1:
                part = graph.add("Gather", values, graph.constant(np.arange(n) + start), axis=1)
            outputs.append(info(graph.rename(part, name), TensorProto.FLOAT, ["n", n]))
            start += n
    if matrix:
        inputs = [info(names[0], number, ["n", len(program.columns)])]
    else:
        inputs = [
            info(name, _tensor(column, number), ["n", 1])
            for name, column in zip(names, program.columns, strict=True)
        ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "chainrule", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)],
        producer_name="chainrule",
        producer_version=__version__,
        ir_version=IR_VERSION,
    )
    about: dict[str, Any] = {"columns": [column.name for column in program.columns]}
    if program.classes:
        about["classes"] = program.classes
    helper.set_model_props(model, {key: json.dumps(value) for key, value in about.items()})
    checker.check_model(model)
    return model


def _tensor(column: Column, number: int) -> int:
    """The type of a column's input; single precision would not do for dates."""
    from onnx import TensorProto

    if column.text:
        return int(TensorProto.STRING)
    return int(TensorProto.DOUBLE) if column.date else number


def inputs_of(model: Any, program: Program, rows: list[list[Any]]) -> dict[str, Any]:
    """What a session of `make_onnx`'s model is fed for rows (None where a value is missing)."""
    from onnx import TensorProto

    given = model.graph.input
    dtype = np.float64 if given[0].type.tensor_type.elem_type == TensorProto.DOUBLE else FLOAT
    if len(given) == 1 and given[0].name == "X":
        X = np.array([[np.nan if v is None else v for v in row] for row in rows], np.float64)
        return {given[0].name: X.reshape(len(rows), -1).astype(dtype)}
    feed = {}
    for j, (column, one) in enumerate(zip(program.columns, given, strict=True)):
        values = [row[j] for row in rows]
        if column.text:
            feed[one.name] = np.array([["" if v is None else str(v)] for v in values], object)
        else:
            double = one.type.tensor_type.elem_type == TensorProto.DOUBLE
            feed[one.name] = np.array(
                [[np.nan if v is None else v] for v in values], np.float64 if double else FLOAT
            )
    return feed
