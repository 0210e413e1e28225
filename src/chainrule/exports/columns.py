"""Preprocessing as features: what scikit-learn's fitted column-wise transformers do to a column.

`read_model` reads a whole pipeline. What none of the exported formats could do is named in the
error, with what to use in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isnan
from typing import Any

import numpy as np
from sklearn import compose, feature_selection, impute, pipeline, preprocessing

from chainrule.estimators.fitting import MLPBase
from chainrule.estimators.tabular_ensemble import TabularEnsemble
from chainrule.exports.ensembles import read_ensemble
from chainrule.exports.estimator import read_estimator
from chainrule.exports.steps import (
    CALENDAR,
    ExportError,
    Feature,
    Key,
    Numeric,
    Program,
    Raw,
    Table,
    apply,
)
from chainrule.tables.levels import no_value

CAN = (
    "StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, skrub's SquashingScaler, "
    "SimpleImputer, MissingIndicator, OneHotEncoder, OrdinalEncoder, skrub's DatetimeEncoder in "
    "ApplyToCols and selections of columns, in Pipeline, ColumnTransformer and FeatureUnion"
)

Names = list[str]


def read_model(model: Any) -> Program:
    """What a fitted estimator of ours, or a pipeline that ends in one, computes.

    Parameters
    ----------
    model : MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor or a Pipeline

    Returns
    -------
    Program

    Raises
    ------
    ExportError
        A step that has no equivalent outside; the message names it.
    """
    *before, (_, last) = steps_of(model)
    if not isinstance(last, MLPBase | TabularEnsemble):
        raise ExportError(
            f"{type(last).__name__} cannot be exported; chainrule exports its own estimators and "
            "pipelines that end in one"
        )
    if not hasattr(last, "coefs_") and not hasattr(last, "oof_prediction_"):
        raise ExportError("the model is not fitted yet; call fit first")
    names = column_names(model)
    features: list[Feature] = [Raw(j) for j in range(len(names))]
    for _, step in before:
        features = transformed(step, features, names)
    cleaner = cleaner_of(model)
    if isinstance(last, TabularEnsemble):
        program = read_ensemble(last, features, names, cleaner)
    else:
        program = read_estimator(last, features, names)
    if cleaner is not None:
        types = getattr(cleaner, "level_types_", {})  # files of an earlier state lack them
        for column in program.columns:
            kind = cleaner.kinds_.get(column.name)
            column.level = types.get(column.name, "text" if kind == "categorical" else None)
            if column.level is not None:
                column.gone = no_value(column.level, cleaner.missing_texts)
    if program.texts or any(
        hasattr(step, "feature_names_in_") for _, step in [("", model), *before]
    ):
        program.leave_out_unused()
    if not program.columns:
        raise ExportError("the model uses none of its columns; there is nothing to export")
    return program


def steps_of(model: Any) -> list[tuple[str, Any]]:
    """Steps of a pipeline, pipelines within it taken apart; the model alone if it is none."""
    if not isinstance(model, pipeline.Pipeline):
        return [("", model)]
    return [part for _, step in model.steps for part in steps_of(step)]


def cleaner_of(model: Any) -> Any:
    """The step that gives each column of a table its kind, or None."""
    steps = [step for _, step in steps_of(model)]
    found = next((step for step in steps if type(step).__name__ == "TableCleaner"), None)
    reader = getattr(steps[-1], "_reader", None)  # an ensemble cleans what no step before it has
    return reader.cleaner if found is None and len(steps) == 1 and reader is not None else found


def column_names(model: Any) -> Names:
    """Names of the input columns; made up where the model was fitted on an array."""
    first = model
    while not hasattr(first, "feature_names_in_") and isinstance(first, pipeline.Pipeline):
        first = next((step for _, step in first.steps if step not in (None, "passthrough")), None)
    if hasattr(first, "feature_names_in_"):
        return list(map(str, first.feature_names_in_))
    if not hasattr(first, "n_features_in_"):
        raise ExportError(f"{type(first).__name__} does not say how many columns it was fitted on")
    return [f"x{j}" for j in range(first.n_features_in_)]


def transformed(step: Any, features: list[Feature], names: Names) -> list[Feature]:
    """The features after a fitted transformer."""
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return features
    if isinstance(step, str) and step == "drop":
        return []
    for kind, read in _READERS:
        if isinstance(step, kind):
            return read(step, features, names)
    package = type(step).__module__.partition(".")[0]
    if by_name := _BY_NAME.get((package, type(step).__name__)):
        return by_name(step, features, names)
    raise ExportError(
        f"{type(step).__name__} on {_listed(features, names)} cannot be exported. What can: {CAN}"
    )


def _listed(features: list[Feature], names: Names) -> str:
    """Names of the columns that features are made from."""
    of = list(dict.fromkeys(repr(names[feature.column]) for feature in features))
    more = f" and {len(of) - 5} more" if len(of) > 5 else ""
    return f"column{'s' if len(of) > 1 else ''} {', '.join(of[:5])}{more}"


def _pipeline(step: Any, features: list[Feature], names: Names) -> list[Feature]:
    for _, part in step.steps:
        features = transformed(part, features, names)
    return features


def _column_transformer(step: Any, features: list[Feature], names: Names) -> list[Feature]:
    out: dict[int, Feature] = {}
    for name, transformer, _ in step.transformers_:
        indices = step._transformer_to_input_indices.get(name, [])
        made = transformed(transformer, [features[j] for j in indices], names) if indices else []
        places = range(*step.output_indices_[name].indices(1 << 31))
        if len(places) != len(made):
            raise ExportError(
                f"the part {name!r} of the ColumnTransformer gives {len(places)} features, and "
                f"was read as {len(made)}"
            )
        out.update(zip(places, made, strict=True))
    return [out[at] for at in sorted(out)]


def _union(step: Any, features: list[Feature], names: Names) -> list[Feature]:
    if step.transformer_weights:
        raise ExportError("FeatureUnion with transformer_weights cannot be exported; scale instead")
    return [
        feature
        for _, part in step.transformer_list
        for feature in transformed(part, features, names)
    ]


def _scales(features: list[Feature], centre: Any, factor: Any, shift: float = 0.0) -> list[Feature]:
    n = len(features)
    centre = np.broadcast_to(np.asarray(0.0 if centre is None else centre, float), n)
    factor = np.broadcast_to(np.asarray(1.0 if factor is None else factor, float), n)
    return [
        apply(feature, ("scale", float(c), float(f), shift))
        for feature, c, f in zip(features, centre, factor, strict=True)
    ]


def _standard(step: Any, features: list[Feature], names: Names) -> list[Feature]:
    scale = None if step.scale_ is None else 1 / step.scale_
    return _scales(features, step.mean_ if step.with_mean else None, scale)


def _min_max(step: Any, features: list[Feature], names: Names) -> list[Feature]:
    low, high = map(float, step.feature_range)
    scaled = _scales(features, step.data_min_, step.scale_, low)
    return [apply(f, ("clip", low, high)) for f in scaled] if step.clip else scaled


def _max_abs(step: Any, features: list[Feature], names: Names) -> list[Feature]:
    scaled = _scales(features, None, 1 / step.scale_)
    return (
        [apply(f, ("clip", -1.0, 1.0)) for f in scaled] if getattr(step, "clip", False) else scaled
    )


def _robust(step: Any, features: list[Feature], names: Names) -> list[Feature]:
    return _scales(
        features,
        step.center_ if step.with_centering else None,
        1 / step.scale_ if step.with_scaling else None,
    )


def _function(step: Any, features: list[Feature], names: Names) -> list[Feature]:
    if step.func is not None:
        name = getattr(step.func, "__name__", repr(step.func))
        raise ExportError(
            f"FunctionTransformer({name}) on {_listed(features, names)} cannot be exported; "
            "apply the function before, to the data"
        )
    return features  # what ColumnTransformer makes of "passthrough"


def _squashing(step: Any, features: list[Feature], names: Names) -> list[Feature]:
    n = len(features)
    centre, factor = np.zeros(n), np.zeros(n)  # constant columns become 0
    if step.robust_scaler_ is not None:
        centre[step.robust_cols_] = step.robust_scaler_.center_
        factor[step.robust_cols_] = 1 / step.robust_scaler_.scale_
    if step.minmax_scaler_ is not None:
        centre[step.minmax_cols_] = step.minmax_scaler_.median_
        factor[step.minmax_cols_] = step.minmax_scaler_.scale_
    width = float(step.max_absolute_value)
    return [apply(f, ("squash", width)) for f in _scales(features, centre, factor)]


def _to_columns(step: Any, features: list[Feature], names: Names) -> list[Feature]:
    inner = type(step.transformer).__name__
    if inner != "DatetimeEncoder":
        advice = "leave the column out"
        if inner == "StringEncoder":
            advice = (
                "take a text of few different values as a category (kinds= and max_levels= of "
                "tabular_pipeline, --kind and --max-levels of train), or leave it out"
            )
        raise ExportError(f"{inner} on {_listed(features, names)} cannot be exported; {advice}")
    made: list[Feature] = []
    for feature in features:
        encoder = step.transformers_[names[feature.column]]
        circles: list[Feature] = []
        for part in encoder.extracted_features_:
            if part not in CALENDAR or encoder.periodic_encoding == "spline":
                how = "splines" if part in CALENDAR else f"the {part}"
                raise ExportError(
                    f"DatetimeEncoder with {how} on {_listed([feature], names)} cannot be "
                    "exported; circular encoding and parts from years to seconds can"
                )
            one = apply(feature, (part,))
            circle = encoder._periodic_encoders.get(part)
            if circle is None:
                made.append(one)
            else:
                circles += [apply(one, (name, float(circle.period))) for name in ("sine", "cosine")]
        made += circles
    return made


def _cleaner(step: Any, features: list[Feature], names: Names) -> list[Feature]:
    kinds = step.kinds_
    made: list[Feature] = []
    for name in step.get_feature_names_out():
        feature = features[names.index(str(name))]
        assert isinstance(feature, Raw)
        if kinds[name] == "categorical":
            feature = feature._replace(fill="missing", labels=True)
        made.append(feature)
    return made


def _selector(step: Any, features: list[Feature], names: Names) -> list[Feature]:
    return [f for f, kept in zip(features, step.get_support(), strict=True) if kept]


def _missing_is_missing(step: Any) -> None:
    """Refuse sentinels: outside, a missing value is NaN, or no text."""
    marker = step.missing_values
    if not (marker is None or _is_missing(marker)):
        raise ExportError(
            f"{type(step).__name__}(missing_values={marker!r}) cannot be exported; replace "
            "that value by NaN before, and leave missing_values as it is"
        )


def _imputer(step: Any, features: list[Feature], names: Names) -> list[Feature]:
    _missing_is_missing(step)
    made: list[Feature] = []
    for feature, statistic in zip(features, step.statistics_, strict=True):
        value = statistic
        if _is_missing(value):
            if not step.keep_empty_features:
                continue  # a column without any value is left out
            value = 0 if step.strategy != "constant" else step.fill_value
        if isinstance(value, str):
            if not isinstance(feature, Raw):
                raise ExportError(
                    f"SimpleImputer fills column {names[feature.column]!r} with a text after it "
                    "was encoded; fill it before"
                )
            made.append(feature if feature.fill is not None else feature._replace(fill=value))
        else:
            made.append(apply(feature, ("fill", float(value))))
    if step.add_indicator:
        made += _indicator(step.indicator_, features, names)
    return made


def _indicator(step: Any, features: list[Feature], names: Names) -> list[Feature]:
    _missing_is_missing(step)
    marks: list[Feature] = []
    for j in step.features_:
        feature = features[j]
        if isinstance(feature, Raw) and feature.fill is not None:
            raise ExportError(
                f"column {names[feature.column]!r} is marked as missing after it was filled; mark "
                "it before"
            )
        marks.append(apply(feature, ("mark",)))
    return marks


def _one_hot(step: Any, features: list[Feature], names: Names) -> list[Feature]:
    made: list[Feature] = []
    for j, feature in enumerate(features):
        codes, missing, infrequent = _codes(step, j, feature, names)
        n = 1 + max([*codes.values(), *([] if missing is None else [missing])], default=-1)
        refused = step.handle_unknown == "error"
        drop = None if step.drop_idx_ is None else step.drop_idx_[j]
        lump = infrequent if step.handle_unknown in ("infrequent_if_exist", "warn") else None
        keys = tuple(codes)
        of_code: dict[int, dict[Key, float]] = {}
        for key, own in codes.items():
            of_code.setdefault(own, {})[key] = 1.0
        none = any(category is None for category in step.categories_[j])
        for code in range(n):
            if code == drop:
                continue
            unknown = None if refused else float(lump == code)
            of_missing = unknown if missing is None else float(missing == code)
            values = of_code.get(code, {})
            made.append(_tabled(feature, Table(-1, keys, 0.0, values, unknown, of_missing, none)))
    return made


def _ordinal(step: Any, features: list[Feature], names: Names) -> list[Feature]:
    made: list[Feature] = []
    for j, feature in enumerate(features):
        codes, missing, _ = _codes(step, j, feature, names)
        unknown = None
        if step.handle_unknown == "use_encoded_value":
            unknown = float(step.unknown_value)
        of_missing = unknown if missing is None else float(step.encoded_missing_value)
        values = {key: float(code) for key, code in codes.items()}
        none = any(category is None for category in step.categories_[j])
        table = Table(-1, tuple(codes), 0.0, values, unknown, of_missing, none)
        made.append(_tabled(feature, table))
    return made


def _codes(
    step: Any, j: int, feature: Feature, names: Names
) -> tuple[dict[Key, int], int | None, int | None]:
    """An encoder's code of each category of its column j, of a missing value, of rare ones."""
    name = names[feature.column]
    if not (isinstance(feature, Raw) or (isinstance(feature, Numeric) and not feature.ops)):
        raise ExportError(
            f"{type(step).__name__} on column {name!r} comes after other arithmetic on it, which "
            "cannot be exported; encode the column as it is"
        )
    mapping, infrequent = None, None
    if getattr(step, "_infrequent_enabled", False):
        mapping = step._default_to_infrequent_mappings[j]
        infrequent = None if mapping is None else int(np.max(mapping))
    codes: dict[Key, int] = {}
    missing: int | None = None
    for at, category in enumerate(step.categories_[j]):
        code = at if mapping is None else int(mapping[at])
        if _is_missing(category):
            missing = code
        elif isinstance(category, str):
            codes[str(category)] = code
        elif isinstance(category, bool | int | float | np.number | np.bool_):
            codes[float(category)] = code
        else:
            raise ExportError(
                f"column {name!r} has the category {category!r}, which is neither a text nor a "
                "number; turn it into a text before"
            )
    if len({isinstance(key, str) for key in codes}) > 1:
        raise ExportError(
            f"column {name!r} has texts and numbers among its categories; turn all into texts"
        )
    return codes, missing, infrequent


def _tabled(feature: Feature, table: Table) -> Table:
    """The table for the feature's column, a missing value standing for what it is filled with."""
    assert not isinstance(feature, Table)
    fill = feature.fill if isinstance(feature, Raw) else feature.missing
    if fill is not None and not _is_missing(fill):
        known = fill in table.keys
        filled = table.values.get(fill, table.usual) if known else table.unknown
        table = table._replace(missing=filled)
    if isinstance(feature, Raw) and feature.labels and table.missing is not None:
        table = table._replace(keys=(*table.keys, ""), values=table.values | {"": table.missing})
    return table._replace(column=feature.column)


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, float | np.floating):
        return isnan(value)
    return type(value).__name__ in ("NAType", "NaTType")


_Reader = Callable[[Any, list[Feature], Names], list[Feature]]
_READERS: list[tuple[Any, _Reader]] = [
    (pipeline.Pipeline, _pipeline),
    (compose.ColumnTransformer, _column_transformer),
    (pipeline.FeatureUnion, _union),
    (preprocessing.StandardScaler, _standard),
    (preprocessing.MinMaxScaler, _min_max),
    (preprocessing.MaxAbsScaler, _max_abs),
    (preprocessing.RobustScaler, _robust),
    (impute.SimpleImputer, _imputer),
    (impute.MissingIndicator, _indicator),
    (preprocessing.OneHotEncoder, _one_hot),
    (preprocessing.OrdinalEncoder, _ordinal),
    (preprocessing.FunctionTransformer, _function),
    (feature_selection.SelectorMixin, _selector),
]
# Of packages that need not be there.
_BY_NAME: dict[tuple[str, str], _Reader] = {
    ("skrub", "SquashingScaler"): _squashing,
    ("skrub", "ApplyToCols"): _to_columns,
    ("chainrule", "TableCleaner"): _cleaner,
}
__all__ = ["CAN", "read_model", "steps_of", "transformed"]
