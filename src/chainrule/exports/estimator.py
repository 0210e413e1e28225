"""An estimator as steps: its attributes read once, for every exported format."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.equations import activations, layers
from chainrule.equations.expressions import deviation_of, formula_of
from chainrule.estimators.multioutput import grouped_softmax
from chainrule.exports.first_layer import FirstLayer
from chainrule.exports.steps import (
    Activate,
    Affine,
    Certain,
    Complement,
    Deviations,
    ExportError,
    Feature,
    LayerNorm,
    Numeric,
    Ordered,
    Program,
    Rescale,
    Softmax,
    Step,
    Table,
    apply,
    as_number,
)
from chainrule.network.network import Network


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
    given = FirstLayer(inputs, names)
    first = steps[0]
    assert isinstance(first, Affine)
    steps[0] = given.affine(first.W, first.b)
    return given.program(steps, model._dtype.name, **_output(model, steps))


def network_steps(network: Network) -> list[Step]:
    """The layers of a prediction network, batch normalisation folded into the layer below."""
    steps: list[Step] = []
    for l in range(1, network.L + 1):
        layer, activation = network.layers[l], network.activations[l]
        W, b = (np.asarray(p, np.float64) for p in (network.W[l], network.b[l]))
        s = network.constants_of(l)
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
        made_by = activation.made_by
        if made_by and made_by[0] is activations.ordered:
            steps.append(Ordered(int(made_by[1])))
        elif made_by and made_by[0] is grouped_softmax:
            raise ExportError(
                "a classifier of several class targets cannot be exported; fit one for each target"
            )
        else:
            try:
                formula = formula_of(activation)
            except ValueError as error:
                raise ExportError(str(error)) from error
            last = formula.operation == "softmax"
            inner = formula.parts[0] if last else formula
            if "softmax" in inner.operations:
                raise ExportError(
                    f"the formula of the activation {activation.name!r} does more after softmax, "
                    "which cannot be exported"
                )
            if inner.operation != "z":
                steps.append(Activate(activation.name, inner))
            if last:
                steps.append(Softmax(len(b)))
    return steps


def _output(model: Any, steps: list[Step]) -> dict[str, Any]:
    """Add the steps from the network's outputs to the model's values, and say what they are."""
    numbers = {"n_targets": 1, "n_levels": 1, "deviations": False}
    if hasattr(model, "classes_"):
        classes = [plain_label(label) for label in np.asarray(model.classes_)]
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
    loss, k, levels = model._loss(), model.n_outputs_, model._levels()
    if (behind := model._behind()) is not None:
        shift, factor = behind
        steps.append(Rescale(np.asarray(factor, float), np.asarray(shift, float)))
    targets = [f"target_{j}" for j in range(k)] if k > 1 else ["target"]
    names = targets
    if len(levels) > 1:
        numbers["n_levels"] = len(levels)
        names = [f"{target}_{level:g}" for target in targets for level in levels]
    else:
        try:
            formula = deviation_of(loss)
        except ValueError as error:
            raise ExportError(str(error)) from error
        last = range(k * (loss.outputs - 1), k * loss.outputs) if formula is not None else ()
        if loss.outputs > 1:
            _keep(steps, [*range(k), *last], f"the loss {loss.name!r}")
        if formula is not None:
            numbers["deviations"] = True
            names = targets + [f"{target}_deviation" for target in targets]
            steps.append(Deviations(k, formula))
    return {"kind": "numbers", "classes": [], "value_names": names, **numbers | {"n_targets": k}}


def _keep(steps: list[Step], units: list[int], what: str) -> None:
    """Leave out the output units that nothing is predicted from."""
    at = max(i for i, step in enumerate(steps) if isinstance(step, Affine))
    last = steps[at]
    assert isinstance(last, Affine)
    if units == list(range(len(last.b))):
        return
    steps[at] = Affine(last.W[:, units], last.b[units])
    for i, step in enumerate(steps[at + 1 :], at + 1):
        if isinstance(step, Rescale):
            steps[i] = Rescale(step.factor[units], step.shift[units])
        elif not isinstance(step, Activate):
            raise ExportError(
                f"{what} predicts from some of its outputs, and the output activation takes them "
                "together; such a model cannot be exported"
            )


def plain_label(label: Any) -> str | int:
    """A class label as a plain text or whole number.

    Parameters
    ----------
    label : anything

    Raises
    ------
    ExportError
        It is neither.
    """
    if isinstance(label, str):
        return str(label)
    try:
        if float(label) == int(label):
            return int(label)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ExportError(f"the class label {label!r} is neither a text nor a whole number")
