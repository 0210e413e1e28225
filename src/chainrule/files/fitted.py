"""Estimators and networks as entries of a model file, and back.

What comes from a file is believed in nothing: names from a list, each attribute of its type, and
arrays of the shapes that the declared network has.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from chainrule.base.types import Array
from chainrule.files.container import ModelFileError
from chainrule.files.encoding import decode, encode
from chainrule.network.network import Network

ESTIMATORS = ("MLPClassifier", "MLPRegressor", "TabularClassifier", "TabularRegressor")


def estimator_class(name: str) -> type:
    """One of our estimators' classes, by name."""
    from chainrule.estimators.classifier import MLPClassifier
    from chainrule.estimators.regressor import MLPRegressor

    classes: dict[str, type] = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}
    if name.startswith("Tabular"):
        from chainrule.estimators.tabular_classifier import TabularClassifier
        from chainrule.estimators.tabular_regressor import TabularRegressor

        classes = {"TabularClassifier": TabularClassifier, "TabularRegressor": TabularRegressor}
    if name not in classes:
        raise ModelFileError(f"{name!r} is no estimator of chainrule's")
    return classes[name]


def is_ours(value: Any) -> bool:
    """Whether a value is an estimator of ours, not of a subclass."""
    return type(value).__name__ in ESTIMATORS and type(value) is estimator_class(
        type(value).__name__
    )


def _count(least: int = 0) -> Callable[[Any], bool]:
    def check(x: Any) -> bool:
        return isinstance(x, int | np.integer) and not isinstance(x, bool) and bool(x >= least)

    return check


def _real(x: Any) -> bool:
    return isinstance(x, float | int | np.floating) and not isinstance(x, bool)


def _or_none(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda x: x is None or check(x)


def _list_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda x: isinstance(x, list) and all(map(check, x))


def _floats(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.dtype.itemsize in (4, 8)


def _vector(x: Any) -> bool:
    return _floats(x) and x.ndim == 1


def _labels(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.ndim == 1 and x.size > 0 and x.dtype.kind in "OUbiuf"


def _classes(x: Any) -> bool:
    """Labels of one kind, each once, in order."""
    if not _labels(x):
        return False
    labels = x.tolist()
    kinds = {str if isinstance(one, str) else type(one) for one in labels}
    if not (kinds <= {int, float} or kinds in ({str}, {bool})):
        return False
    return all(a < b for a, b in pairwise(labels)) and labels[0] == labels[0]


def _pair(x: Any) -> bool:
    return isinstance(x, tuple) and len(x) == 2 and all(isinstance(a, np.ndarray) for a in x)


def _row(x: Any) -> bool:
    return isinstance(x, dict) and "epoch" in x


TARGET_KINDS = ("binary", "multiclass", "multilabel-indicator", "multiclass-multioutput")

# Attributes of a fitted estimator that files keep; those with a "?" may be absent.
ATTRIBUTES: dict[str, Callable[[Any], bool]] = {
    "n_features_in_": _count(1),
    "n_outputs_": _count(1),
    "n_layers_": _count(2),
    "out_activation_": lambda x: isinstance(x, str),
    "n_iter_": _count(),
    "t_": _count(),
    "loss_curve_": _list_of(_real),
    "validation_loss_curve_": _or_none(_list_of(_real)),
    "validation_scores_": _or_none(_list_of(_real)),
    "best_validation_score_": _or_none(_real),
    "best_loss_": _or_none(_real),
    "best_iteration_": _or_none(_count(1)),
    "history_": _list_of(_row),
    "_no_improvement_count": _count(),
    "_dtype_name": lambda x: x in ("float32", "float64"),
    "_missing": _or_none(_pair),
    "_scaling": _or_none(_pair),
    "_norms": _list_of(lambda x: isinstance(x, tuple) and len(x) == 3 and all(map(_floats, x))),
    "coefs_": _list_of(lambda x: _floats(x) and x.ndim == 2 and x.size > 0),
    "intercepts_": _list_of(_vector),
    "engine_?": lambda x: x in ("numpy", "numba"),
    "loss_?": _real,
    "_rate?": _real,
    "_rng?": lambda x: isinstance(x, np.random.RandomState),
    "_split_seed?": _count(),
    "_augment_seed?": _count(),
    "_sklearn_output_config?": lambda x: x in ({"transform": "pandas"}, {"transform": "polars"}),
    "_resume?": lambda x: (
        isinstance(x, tuple) and len(x) == 2 and _count()(x[0]) and _list_of(_vector)(x[1])
    ),
    "feature_names_in_?": lambda x: _labels(x) and all(isinstance(one, str) for one in x),
    "classes_?": lambda x: _classes(x) or (_list_of(_classes)(x) and len(x) > 0),
    "target_kind?": lambda x: x in TARGET_KINDS,
    "_y_scale?": _or_none(lambda x: _pair(x) and all(map(_vector, x))),
}


def encode_estimator(est: Any, index: int, arrays: dict[str, Array]) -> dict[str, Any]:
    """An estimator as JSON: its class, all its parameters, and what it has learned.

    Parameters
    ----------
    est : MLPClassifier, MLPRegressor, TabularClassifier or TabularRegressor
        Fitted or not.
    index : int
        Its number in the file; names of its arrays begin with it.
    arrays : dict
        Arrays are put in here.
    """
    parameters = {
        name: encode(value, f"{index}.{name}", arrays)
        for name, value in est.get_params(deep=False).items()
    }
    defaults = type(est)().get_params(deep=False)
    changed = [name for name, value in parameters.items() if value != _plain(defaults[name])]
    entry: dict[str, Any] = {"class": type(est).__name__, "changed": changed}
    if _is_tabular(type(est)):
        from chainrule.files import ensembles

        if not hasattr(est, "oof_prediction_"):
            return entry | {"parameters": parameters, "fitted": None}
        fitted = encode(ensembles.fitted_state(est), f"{index}", arrays)
        return entry | {
            "parts": ensembles.summary(est),
            "parameters": parameters,
            "fitted": fitted,
        }
    state = est.__getstate__()
    if "coefs_" not in state:
        return entry | {"parameters": parameters, "fitted": None}
    binarizer = state.get("_label_binarizer")
    if binarizer is not None:
        state["target_kind"] = binarizer.y_type_
    if est.random_state is None or state.get("_rng") is est.random_state:
        state.pop("_rng", None)  # NumPy's own, or the parameter
    shapes = [W.shape for W in est.coefs_]
    entry["layers"] = {
        "sizes": [shapes[0][0], *(n for _, n in shapes)],
        "n_parameters": sum(
            W.size + b.size for W, b in zip(est.coefs_, est.intercepts_, strict=True)
        ),
        "output_activation": est.out_activation_,
        "dtype": est._dtype_name,
    }
    names = [name.rstrip("?") for name in ATTRIBUTES]
    kept = {name: state[name] for name in names if name in state}
    if kept["history_"]:  # a line for each column is what people can read
        columns = list(kept["history_"][0])
        if all(list(row) == columns for row in kept["history_"]):
            kept["history_"] = {name: [row[name] for row in kept["history_"]] for name in columns}
    fitted = {name: encode(value, f"{index}.{name}", arrays) for name, value in kept.items()}
    return entry | {"parameters": parameters, "fitted": fitted}


def _is_tabular(cls: type) -> bool:
    """Whether a class of ours is one of those that blend ensembles."""
    return cls.__name__.startswith("Tabular")


def _plain(default: Any) -> Any:
    return encode(default, "default", {})


def decode_estimator(entry: dict[str, Any], arrays: dict[str, Array]) -> Any:
    """The estimator of an entry.

    Raises
    ------
    ModelFileError
        Something is missing, too much, or does not fit the rest.
    """
    if set(entry) - {"layers", "parts", "changed"} != {"class", "parameters", "fitted"}:
        raise ModelFileError(f"an estimator has the entries {', '.join(map(str, entry))}")
    cls = estimator_class(entry["class"])
    parameters = decode(entry["parameters"], arrays)
    known = list(inspect.signature(cls).parameters)
    if not set(parameters) <= set(known):
        strange = sorted(set(parameters) - set(known))
        raise ModelFileError(f"this chainrule's {cls.__name__} has no parameter {strange[0]!r}")
    est = cls(**parameters)
    if entry["fitted"] is None:
        return est
    est._validate_params()
    if _is_tabular(cls):
        from chainrule.files import ensembles

        ensembles.put_state(est, decode(entry["fitted"], arrays))
        return est
    est._check_combination()
    state = decode(entry["fitted"], arrays)
    history = state.get("history_")
    if isinstance(history, dict):
        columns = history.values()
        state["history_"] = [
            dict(zip(history, row, strict=True)) for row in zip(*columns, strict=True)
        ]
    for name, check in ATTRIBUTES.items():
        plain = name.rstrip("?")
        if plain not in state and not name.endswith("?"):
            raise ModelFileError(f"{plain} is missing")
        if plain in state and not check(state[plain]):
            raise ModelFileError(f"{plain} is not what it should be")
    if more := sorted(set(state) - {name.rstrip("?") for name in ATTRIBUTES}):
        raise ModelFileError(f"{cls.__name__} has no attribute {more[0]!r}")
    kind = state.pop("target_kind", None)
    vars(est).update(state)
    if isinstance(est.random_state, np.random.RandomState):
        est._rng = est.random_state
    _learn_target_again(est, kind)
    _check_fit(est, entry.get("layers"))
    return est


def _learn_target_again(est: Any, kind: str | None) -> None:
    """What turns targets into numbers, from the classes or the scale."""
    if type(est).__name__ == "MLPRegressor":
        if kind is not None or hasattr(est, "classes_") or "_y_scale" not in vars(est):
            raise ModelFileError("a regressor's target is described otherwise")
        if est._y_scale is not None and any(len(a) != est.n_outputs_ for a in est._y_scale):
            raise ModelFileError("_y_scale has another length than n_outputs_")
        return
    from sklearn.preprocessing import LabelBinarizer

    from chainrule.estimators.multioutput import ColumnsBinarizer

    several = kind == "multiclass-multioutput"
    if kind is None or not hasattr(est, "classes_") or several != isinstance(est.classes_, list):
        raise ModelFileError("a classifier's classes are missing or do not fit its target")
    if several:
        binarizer: Any = ColumnsBinarizer()
        units = sum(map(len, est.classes_))
    else:
        binarizer = LabelBinarizer()
        binarizer.y_type_, binarizer.sparse_input_ = kind, False
        n = len(est.classes_)
        units = 1 if kind != "multilabel-indicator" and n <= 2 else n
    binarizer.classes_ = est.classes_
    est._label_binarizer = binarizer
    if units != est.n_outputs_:
        raise ModelFileError(f"n_outputs_ is {est.n_outputs_} for {units} units")


def _check_fit(est: Any, told: Any) -> None:
    """Compare every array with the network that the parameters describe."""
    n, target, hidden = est.n_features_in_, est._target(), est._hidden()
    if est._missing is not None:
        means, marked = est._missing
        inside = marked.dtype.kind == "i" and bool(((marked >= 0) & (marked < n)).all())
        if not _vector(means) or len(means) != n or marked.ndim != 1 or not inside:
            raise ModelFileError("_missing does not fit the columns")
        n += len(marked)
    sizes = [n, *hidden, target.n_units]
    shapes = list(pairwise(sizes))
    found = [W.shape for W in est.coefs_]
    if found != shapes or [b.shape for b in est.intercepts_] != [(k,) for _, k in shapes]:
        raise ModelFileError(f"coefs_ or intercepts_ have other shapes than layers of {sizes}")
    for array in (*est.coefs_, *est.intercepts_):
        if array.dtype != est._dtype:
            raise ModelFileError(f"its weights are {array.dtype}, not {est._dtype}")
        if not np.isfinite(array).all():
            raise ModelFileError("its weights are not all finite")
    if est.n_layers_ != len(sizes):
        raise ModelFileError(f"n_layers_ is {est.n_layers_} for {len(sizes)} layers")
    if est._scaling is not None and any(not _vector(a) or len(a) != n for a in est._scaling):
        raise ModelFileError("_scaling does not fit the columns")
    names = getattr(est, "feature_names_in_", None)
    if names is not None and len(names) != est.n_features_in_:
        raise ModelFileError("feature_names_in_ has another length than n_features_in_")
    activation = target.activation
    if est.out_activation_ != getattr(activation, "name", activation):
        raise ModelFileError(f"out_activation_ is not {getattr(activation, 'name', activation)!r}")
    y_scale = getattr(est, "_y_scale", None)
    if y_scale is not None and not (y_scale[1] > 0).all():
        raise ModelFileError("_y_scale is not above 0")
    n_parameters = sum(W.size + b.size for W, b in zip(est.coefs_, est.intercepts_, strict=True))
    known = {
        "sizes": sizes,
        "dtype": est._dtype_name,
        "n_parameters": n_parameters,
        "output_activation": est.out_activation_,
    }
    if told is not None and any(told.get(name) != value for name, value in known.items()):
        raise ModelFileError("the header describes other layers than the model has")
    _check_norms(est, est._design(n, target))
    est._network()


def _check_norms(est: Any, network: Network) -> None:
    from chainrule.estimators.prediction import norm_layers

    wanted = []
    for l in norm_layers(network):
        wanted.append((network.W[l], network.b[l], network.constants_of(l)))
    if len(wanted) != len(est._norms):
        raise ModelFileError(f"_norms has {len(est._norms)} entries for {len(wanted)} layers")
    for given, like in zip(est._norms, wanted, strict=True):
        if any(a.shape != b.shape for a, b in zip(given, like, strict=True)):
            raise ModelFileError("_norms have other shapes than the layers")


def encode_network(network: Network, arrays: dict[str, Array]) -> dict[str, Any]:
    """A network as JSON; its parameters go to the arrays "W.1", "b.1", … and "own"."""
    for l in range(1, network.L + 1):
        arrays[f"W.{l}"], arrays[f"b.{l}"] = np.array(network.W[l]), np.array(network.b[l])
    arrays["own"] = network.constants.copy()
    return {
        "sizes": list(network.sizes),
        "activation": encode(network.activations[1:], "network.activation", arrays),
        "loss": encode(network.loss, "network.loss", arrays),
        "layers": encode(network.layers[1:], "network.layers", arrays),
        "dtype": network.dtype.name,
    }


def decode_network(entry: dict[str, Any], arrays: dict[str, Array]) -> Network:
    """The network of an entry."""
    sizes = entry["sizes"]
    pairs = [(arrays.pop(f"W.{l}"), arrays.pop(f"b.{l}")) for l in range(1, len(sizes))]
    constants = arrays.pop("own")
    kept = decode({key: entry[key] for key in ("activation", "loss", "layers")}, arrays)
    # Memory is allocated for what the file says only if the file holds as much.
    widest = max([1, *(a.size for pair in pairs for a in pair), len(constants)])
    if not all(_count(1)(n) and n <= widest for n in sizes) or math.prod(sizes[:1]) > widest:
        raise ModelFileError("the network's sizes do not fit its arrays")
    for l, (layer, n) in enumerate(zip(kept["layers"], sizes[1:], strict=True), start=1):
        shape, n_b = layer.shape(sizes[l - 1], n)
        if pairs[l - 1][0].shape != shape or pairs[l - 1][1].shape != (n_b,):
            raise ModelFileError(f"the arrays of layer {l} have other shapes than the layer")
    network = Network(
        sizes,
        activation=kept["activation"],
        loss=kept["loss"],
        init=pairs,
        dtype=entry["dtype"],
        layers=kept["layers"],
    )
    if any(array.dtype != network.dtype for pair in pairs for array in pair):
        raise ModelFileError(f"the network's arrays are not {network.dtype}")
    if constants.shape != network.constants.shape or constants.dtype != np.float64:
        raise ModelFileError("the array 'own' does not fit the layers")
    network.constants[:] = constants
    return network
