"""skl2onnx's converters for our estimators: registered by ``import chainrule.exports.skl2onnx``.

After that ``skl2onnx.to_onnx(pipeline, X)`` takes pipelines that hold an `MLPClassifier` or an
`MLPRegressor`, with the options ``zipmap``, ``output_class_labels`` and ``nocl`` as for
scikit-learn's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer

from chainrule.estimators.classifier import MLPClassifier
from chainrule.estimators.regressor import MLPRegressor
from chainrule.exports.estimator import read_estimator
from chainrule.exports.graph import features, forward, labels
from chainrule.exports.steps import (
    ExportError,
    Program,
    Raw,
    largest_difference,
)

try:
    from skl2onnx import to_onnx, update_registered_converter
    from skl2onnx.common.data_types import (
        DoubleTensorType,
        FloatTensorType,
        Int64TensorType,
        StringTensorType,
        guess_proto_type,
    )
    from skl2onnx.common.utils_classifier import get_label_classes
except ImportError as error:
    raise ImportError(
        f"chainrule.exports.skl2onnx needs {error.name}, which is not installed: "
        'pip install "chainrule[onnx]"'
    ) from error


class _Container:
    """skl2onnx's container as `chainrule.exports.graph.Graph`."""

    def __init__(self, scope: Any, container: Any) -> None:
        self.scope, self.container = scope, container

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name: str = self.scope.get_unique_variable_name(op.lower())
        self.container.add_node(
            op,
            list(inputs),
            name,
            op_domain=domain,
            name=self.scope.get_unique_operator_name(op),
            **attributes,
        )
        return name

    def constant(self, values: Any) -> str:
        from onnx import TensorProto, helper

        name: str = self.scope.get_unique_variable_name("constant")
        array = np.asarray(values)
        if array.dtype.kind in "OUS":
            data: Any = [str(text).encode() for text in values]
            kind = TensorProto.STRING
        else:
            data, kind = array.ravel(), helper.np_dtype_to_tensor_dtype(array.dtype)
        self.container.add_initializer(name, kind, list(array.shape), data)
        return name


def _program(model: Any) -> Program:
    n = model.n_features_in_
    return read_estimator(model, [Raw(j) for j in range(n)], [f"x{j}" for j in range(n)])


def _values(scope: Any, operator: Any, container: Any, program: Program) -> tuple[Any, str]:
    """Nodes from the operator's input to all values, in float32."""
    from onnx import TensorProto

    graph = _Container(scope, container)
    double = guess_proto_type(operator.inputs[0].type) == TensorProto.DOUBLE
    X = operator.inputs[0].full_name
    if not double:
        X = graph.add("Cast", X, to=TensorProto.FLOAT)
    dtype = np.float64 if double else np.float32
    start = features(graph, program, [X], True, dtype)
    return graph, forward(graph, program.steps, start)


def _give(graph: _Container, value: str, output: Any) -> None:
    """A value as the operator's output, in the output's type."""
    from onnx import TensorProto

    kinds = {FloatTensorType: TensorProto.FLOAT, DoubleTensorType: TensorProto.DOUBLE}
    wanted = kinds.get(type(output.type), TensorProto.FLOAT)
    graph.container.add_node(
        "Cast", [value], output.full_name, name=graph.scope.get_unique_operator_name("Cast"),
        to=wanted,
    )  # fmt: skip


def _classifier_shapes(operator: Any) -> None:
    model, n = operator.raw_operator, operator.inputs[0].get_first_dimension()
    if isinstance(model.classes_, list):
        raise ExportError(
            "a classifier of several class targets cannot be exported; fit one for each target"
        )
    classes = get_label_classes(operator.scope_inst, model)
    several = model._label_binarizer.y_type_ == "multilabel-indicator"
    texts = any(isinstance(label, str) for label in classes)
    kind = StringTensorType if texts and not several else Int64TensorType
    operator.outputs[0].set_type(kind([n, len(classes)] if several else [n]))
    # ZipMap takes single precision only.
    zipped = operator.scope_inst.get_options(model, {"zipmap": True}, fail=False)["zipmap"]
    double = isinstance(operator.inputs[0].type, DoubleTensorType) and zipped is False
    operator.outputs[1].set_type(
        (DoubleTensorType if double else FloatTensorType)([n, len(classes)])
    )


def _convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    model = operator.raw_operator
    program = _program(model)
    graph, values = _values(scope, operator, container, program)
    known = list(get_label_classes(scope, model))
    texts = any(isinstance(label, str) for label in known)
    classes = list(map(str, known)) if texts else np.array(known, np.int64)
    label = labels(graph, program, values, classes)
    graph.container.add_node(
        "Identity",
        [label],
        operator.outputs[0].full_name,
        name=scope.get_unique_operator_name("Identity"),
    )
    _give(graph, values, operator.outputs[1])


def _regressor_shapes(operator: Any) -> None:
    model, n = operator.raw_operator, operator.inputs[0].get_first_dimension()
    double = isinstance(operator.inputs[0].type, DoubleTensorType)
    width = model.n_outputs_ * max(1, len(model._levels()))
    operator.outputs[0].set_type((DoubleTensorType if double else FloatTensorType)([n, width]))


def _convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    program = _program(operator.raw_operator)
    graph, values = _values(scope, operator, container, program)
    if program.deviations:  # an operator for predictions has no second output
        values = graph.add("Gather", values, graph.constant(np.arange(program.n_targets)), axis=1)
    _give(graph, values, operator.outputs[0])


def convert(model: Any, sample: Any, problem: ExportError) -> tuple[bytes, float, int]:
    """A fitted pipeline by skl2onnx: what `chainrule.export` does where its own way ends.

    Parameters
    ----------
    model : sklearn.pipeline.Pipeline
    sample : data frame or array, or None
        Rows to compare on.
    problem : ExportError
        Why our own way ended.

    Returns
    -------
    data : bytes
    difference : float
    rows : int

    Raises
    ------
    ExportError
        skl2onnx does not know a step either.
    """
    import onnxruntime
    from sklearn.preprocessing import StandardScaler

    if any(not type(part).__module__.startswith("sklearn.") for part in _parts(model)[:-1]):
        raise problem
    if sample is None:
        raise ExportError(f"{problem}. skl2onnx may know it, for which give a sample of the data")
    last = model.steps[-1][1]
    if hasattr(sample, "columns"):
        names = getattr(model, "feature_names_in_", sample.columns)
        sample = sample[list(names)]
        given = sample.copy()
        for name in given.columns:
            if given[name].dtype.kind in "fiub":
                given[name] = given[name].astype(np.float32)
            else:
                given[name] = given[name].astype(object)
    else:
        given = np.asarray(sample, np.float32)
    classifies = isinstance(last, MLPClassifier)
    options: dict[Any, Any] = {id(last): {"zipmap": False}} if classifies else {}
    scalers = [part for part in _parts(model) if isinstance(part, StandardScaler)]
    options |= {id(part): {"div": "div_cast"} for part in scalers}
    try:
        graph = to_onnx(model, given[:1], options=options)
        data: bytes = graph.SerializeToString()
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except Exception as error:  # of many kinds, with many lines
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExportError(f"{problem}. skl2onnx cannot either: {first[:200]}") from error
    feed = {session.get_inputs()[0].name: given}
    if hasattr(given, "columns"):
        feed = {
            one.name: given[[name]].to_numpy()
            for one, name in zip(session.get_inputs(), given.columns, strict=True)
        }
    found = session.run(None, feed)[1 if classifies else 0]
    expected = model.predict_proba(sample) if classifies else model.predict(sample)
    expected = np.asarray(expected, np.float64).reshape(len(given), -1)
    found = np.asarray(found).reshape(len(given), -1)
    return data, largest_difference(classifies, found, expected), len(given)


def _parts(model: Any) -> list[Any]:
    """A pipeline's transformers, those within others too."""
    if hasattr(model, "steps"):
        return [part for _, step in model.steps for part in _parts(step)]
    if isinstance(model, str) or model is None:  # "passthrough", "drop"
        return []
    if isinstance(model, ColumnTransformer):
        return [part for _, step, _ in model.transformers_ for part in _parts(step)]
    return [model]


def register() -> None:
    """Register the converters; done once on import, and again if skl2onnx has lost them."""
    update_registered_converter(
        MLPClassifier,
        "ChainruleMLPClassifier",
        _classifier_shapes,
        _convert_classifier,
        options={
            "zipmap": [True, False, "columns"],
            "output_class_labels": [False, True],
            "nocl": [True, False],
        },
    )
    update_registered_converter(
        MLPRegressor, "ChainruleMLPRegressor", _regressor_shapes, _convert_regressor
    )


register()
