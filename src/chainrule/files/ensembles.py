"""`TabularClassifier` and `TabularRegressor` as entries of a model file, and back.

What is fitted is a reader of cells, an encoder of columns, and the parts of the blend. Each gives
its state as texts, numbers and arrays, and checks what it is made from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.ensembles.blending import Blend, EnsemblePart, LinearPart
from chainrule.ensembles.encoding import Encoder
from chainrule.ensembles.fitting import FittedEnsemble
from chainrule.estimators.raw_columns import ColumnReader
from chainrule.files.container import ModelFileError

PARTS = ("linear", "step", "smooth")


def _count(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and x >= 1


def _real(x: Any) -> bool:
    return isinstance(x, float | int) and not isinstance(x, bool)


def _array(kinds: str, *ndim: int) -> Callable[[Any], bool]:
    return lambda x: isinstance(x, np.ndarray) and x.dtype.kind in kinds and x.ndim in ndim


def _names(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.ndim == 1 and all(isinstance(n, str) for n in x)


# Attributes of a fitted estimator that files keep; those with a "?" may be absent.
ATTRIBUTES: dict[str, Callable[[Any], bool]] = {
    "n_features_in_": _count,
    "feature_names_in_?": _names,
    "n_rows_": _count,
    "oof_prediction_": _array("f", 1, 2),
    "oof_score_": _real,
    "oof_loss_": _real,
    "history_": lambda x: isinstance(x, list) and all(isinstance(row, dict) for row in x),
    "blend_weights_": lambda x: isinstance(x, dict) and set(x) <= set(PARTS),
    "engine_": lambda x: x in ("numpy", "numba"),
    "_constant": lambda x: x is None or _array("f", 1)(x),
    "_fold_of_row": _array("i", 1),
    "_scores": _array("f", 1, 2),
    "_score_folds": _array("i", 1),
}
OF_CLASSES = {"classes_": _array("OUbiuf", 1)}
OF_NUMBERS: dict[str, Callable[[Any], bool]] = {
    "n_outputs_": _count,
    "_mean": _array("f", 1),
    "_deviation": _array("f", 1),
    "_is_vector": lambda x: isinstance(x, bool),
}


def attributes_of(est: Any) -> dict[str, Callable[[Any], bool]]:
    """What a fitted estimator of this class has, and how each is checked."""
    return ATTRIBUTES | (OF_CLASSES if est._task == "classification" else OF_NUMBERS)


def fitted_state(est: Any) -> dict[str, Any]:
    """What an estimator has learnt, in values that a file holds."""
    names = [name.rstrip("?") for name in attributes_of(est)]
    state = {name: getattr(est, name) for name in names if hasattr(est, name)}
    blend = est._blend
    if blend is None:
        return state | {"_blend": None}
    parts = {}
    for name, part in blend.parts.items():
        parts[name] = part.state() if isinstance(part, LinearPart) else part.fitted.state()
    kept = {"parts": parts, "order": list(blend.parts)}
    kept |= {"n_folds": blend.n_folds, "temperature": blend.temperature}
    return state | {
        "_blend": kept,
        "_reader": est._reader.state(),
        "_encoder": est._encoder.state(),
    }


def summary(est: Any) -> list[dict[str, Any]]:
    """What the parts are, for those who read the header."""
    found: list[dict[str, Any]] = []
    for name, part in ({} if est._blend is None else est._blend.parts).items():
        one: dict[str, Any] = {"part": name, "weight": est.blend_weights_[name]}
        if isinstance(part, EnsemblePart):
            settings = part.fitted.settings
            one |= {
                "members": settings.members,
                "hidden": list(settings.hidden),
                "activation": settings.activation,
                "epochs": part.fitted.n_epochs,
                "best_epoch": part.fitted.best_epoch,
            }
        found.append(one)
    return found


def put_state(est: Any, state: dict[str, Any]) -> None:
    """Give an estimator what :func:`fitted_state` gave.

    Raises
    ------
    ModelFileError, ValueError, TypeError, KeyError
        Something is missing, too much, or does not fit the rest.
    """
    blend, reader = state.pop("_blend", None), state.pop("_reader", None)
    encoder = state.pop("_encoder", None)
    checks = attributes_of(est)
    for name, check in checks.items():
        plain = name.rstrip("?")
        if plain not in state and not name.endswith("?"):
            raise ModelFileError(f"{plain} is missing")
        if plain in state and not check(state[plain]):
            raise ModelFileError(f"{plain} is not what it should be")
    if more := sorted(set(state) - {name.rstrip("?") for name in checks}):
        raise ModelFileError(f"{type(est).__name__} has no attribute {more[0]!r}")
    vars(est).update(state)
    est._reader = est._encoder = est._blend = None
    K = len(est.classes_) if est._task == "classification" else est.n_outputs_
    if blend is not None:
        est._reader, est._encoder = ColumnReader.from_state(reader), Encoder.from_state(encoder)
        est._blend = _blend_of(est, blend, K)
    elif est._constant is None or est._constant.shape != (K,):
        raise ModelFileError("there is neither a blend nor a constant")
    _check_fit(est, K)


def _blend_of(est: Any, kept: dict[str, Any], K: int) -> Blend:
    parts: dict[str, EnsemblePart | LinearPart] = {}
    if sorted(kept["order"]) != sorted(kept["parts"]) or not set(kept["parts"]) <= set(PARTS):
        raise ModelFileError("the parts of the blend are others than it names")
    for name in kept["order"]:
        with_bins, state = name == "step", kept["parts"][name]
        layout = est._encoder.layout(with_bins)
        if name == "linear":
            part: EnsemblePart | LinearPart = LinearPart.from_state(state, layout, est._loss)
        else:
            fitted = FittedEnsemble.from_state(state)
            if not _same(fitted.layout, layout) or fitted.loss != est._loss:
                raise ModelFileError(f"the networks of {name!r} take other inputs")
            part = EnsemblePart(fitted, with_bins)
        if len(part.low if isinstance(part, LinearPart) else part.fitted.low) != K:
            raise ModelFileError(f"{name!r} predicts something else than the blend")
        parts[name] = part
    weights = est.blend_weights_
    if set(weights) != set(parts) or not all(_real(w) and w >= 0 for w in weights.values()):
        raise ModelFileError("the weights of the blend do not fit its parts")
    if not _count(kept["n_folds"]):
        raise ModelFileError("the number of folds is none")
    T = kept["temperature"]
    if (T is None) == (est._task == "classification") or not (T is None or (_real(T) and T > 0)):
        raise ModelFileError("the temperature of the blend does not fit it")
    return Blend(parts, weights, kept["n_folds"], T)


def _same(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def _check_fit(est: Any, K: int) -> None:
    """Compare the attributes with each other."""
    n_scores, rows = len(est._scores), est._fold_of_row
    if est._score_folds.shape != (n_scores,) or len(est.oof_prediction_) != len(rows):
        raise ModelFileError("out-of-fold predictions and folds are of different numbers of rows")
    if est._task == "regression":
        if (
            est._mean.shape != (K,)
            or est._deviation.shape != (K,)
            or not (est._deviation > 0).all()
        ):
            raise ModelFileError("the scale of the target does not fit it")
        if est._scores.shape != (n_scores, K):
            raise ModelFileError("the scores do not fit the targets")
    names = getattr(est, "feature_names_in_", None)
    if names is not None and len(names) != est.n_features_in_:
        raise ModelFileError("feature_names_in_ has another length than n_features_in_")
    if est._blend is None:
        return
    reader, encoder = est._reader, est._encoder
    schema = reader.schema()
    if len(schema.scaled) != len(encoder.median) or [L + 2 for L in schema.levels] != [
        len(columns) for columns in encoder.columns_of
    ]:
        raise ModelFileError("the encoder takes other columns than are read")
    folds = est._score_folds
    if len(folds) and (folds.min() < 0 or folds.max() >= est._blend.n_folds):
        raise ModelFileError("a row has a fold that there is not")
