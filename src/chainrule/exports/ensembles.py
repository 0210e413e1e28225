"""A tabular ensemble as steps: its encoding as features, its blend as networks side by side."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from chainrule.base.types import Array
from chainrule.ensembles.blending import LEAST_PROBABILITY, EnsemblePart, LinearPart
from chainrule.ensembles.encoding import BENT, MISSING, UNSEEN, Encoder
from chainrule.equations.activations import ACTIVATIONS
from chainrule.equations.expressions import Z, formula_of, log, maximum
from chainrule.estimators.cleaning import MISSING as MISSING_LEVEL
from chainrule.exports.estimator import plain_label
from chainrule.exports.first_layer import FirstLayer
from chainrule.exports.steps import (
    Activate,
    Blend,
    Blocks,
    Clip,
    ExportError,
    Feature,
    Key,
    Numeric,
    Part,
    Program,
    Raw,
    Rescale,
    Softmax,
    Step,
    Table,
    apply,
    as_number,
)

# The numbers that a date becomes, in the order of `chainrule.estimators.raw_columns.date_numbers`.
# Days of the year and of the week are counted from 0 where they are positions on circles.
YEAR_DAY, WEEKDAY = ("day_of_year",), ("weekday",)
FROM_0 = ("scale", 1.0, 1.0, 0.0)
DATE_NUMBERS: tuple[tuple[tuple[Any, ...], ...], ...] = (
    (("days",),),
    (YEAR_DAY,),
    *((YEAR_DAY, FROM_0, (wave, 365.25)) for wave in ("sine", "cosine")),
    (("day",),),
    (WEEKDAY, FROM_0),
    *((WEEKDAY, FROM_0, (wave, 7.0)) for wave in ("sine", "cosine")),
    (("hours",),),
    *((("hours",), (wave, 24.0)) for wave in ("sine", "cosine")),
)


def read_ensemble(
    model: Any, features: list[Feature], names: list[str], cleaner: Any = None
) -> Program:
    """What a fitted TabularClassifier or TabularRegressor computes from these features.

    Parameters
    ----------
    model : TabularClassifier or TabularRegressor
    features : list of Feature
        As many as the model has input columns.
    names : list of str
        Of the columns that the features are made from.
    cleaner : TableCleaner or None
        The step of a pipeline that gives columns their kinds, if there is one.

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
    if model._blend is None:
        raise ExportError(
            "the model was fitted on a target that is always the same, and predicts that whatever "
            "comes in; there is nothing to export"
        )
    encoder, blend = model._encoder, model._blend
    numbers, codes = _cells(model._reader, features, names, cleaner)
    dense, levels = _dense(encoder, numbers, codes), _levels(encoder, codes)
    used = [part for name, part in blend.parts.items() if blend.weights[name] > 0]
    with_bins = any(isinstance(part, EnsemblePart) and part.with_bins for part in used)
    bins = _bins(encoder, numbers) if with_bins else []
    given = FirstLayer([*dense, *levels, *bins], names)
    parts = []
    for name, part in blend.parts.items():
        if blend.weights[name] > 0:
            made = _linear(part, given) if isinstance(part, LinearPart) else _networks(part, given)
            parts.append(made._replace(weights=made.weights * blend.weights[name]))
    if model._task == "classification":
        classes = [plain_label(label) for label in np.asarray(model.classes_)]
        K, value_names = len(classes), list(map(str, classes))
        tempered = log(maximum(Z, LEAST_PROBABILITY)) / float(blend.temperature)
        last: list[Step] = [Activate("tempered", tempered), Softmax(K)]
    else:
        classes, K = [], model.n_outputs_
        value_names = [f"target_{j}" for j in range(K)] if K > 1 else ["target"]
        last = [Rescale(np.asarray(model._deviation, float), np.asarray(model._mean, float))]
    return given.program(
        [Blend(tuple(parts), K), *last],
        "float32",
        kind="classes" if classes else "numbers",
        classes=classes,
        value_names=value_names,
        n_targets=1 if classes else K,
        n_levels=1,
        deviations=False,
    )


def _cells(
    reader: Any, features: list[Feature], names: list[str], cleaner: Any
) -> tuple[list[Numeric | Table], list[Table]]:
    """What `ColumnReader.read` gives: numbers, and codes of levels."""
    numbers: list[Numeric | Table] = []
    codes: list[Table] = []
    own = reader.cleaner
    known = reader.names if own is None else list(map(str, own.feature_names_in_))
    for name in reader.names:
        kind = "numeric" if own is None else own.kinds_[name]
        feature = features[known.index(name)]
        called = repr(names[feature.column])
        if kind == "text":
            raise ExportError(
                f"free text in column {called} cannot be exported; take a text of few different "
                "values as a category (kinds= of tabular_pipeline, --kind of train), or leave it "
                "out"
            )
        if kind == "numeric":
            numbers.append(as_number(feature))
        elif not isinstance(feature, Raw):
            raise ExportError(
                f"column {called} is taken as a {'date' if kind == 'date' else 'category'} after "
                "other steps have changed it, which cannot be exported"
            )
        elif kind == "date":
            numbers += [_after(feature, *ops) for ops in DATE_NUMBERS]
        else:
            first = getattr(cleaner, "levels_", {}).get(names[feature.column])
            codes.append(_codes(reader, name, feature.column, first))
    return numbers, codes


def _after(feature: Feature, *ops: tuple[Any, ...]) -> Numeric | Table:
    """A feature after operations."""
    for op in ops:
        feature = apply(feature, op)
    return as_number(feature)


def _codes(reader: Any, name: str, column: int, levels: list[str] | None) -> Table:
    """The code of each level of a category.

    `levels` are those that another cleaner makes of the cells before the reader sees them.
    """
    of_level = {level: code for code, level in enumerate(reader.levels[name])}
    if levels is not None:
        import pandas as pd

        cells = pd.Series(levels, name=name, dtype=object)
        read = pd.Series(reader.cleaner._cleaned(cells, "categorical"), name=name)
        found = zip(levels, reader._codes(read, reader.levels[name]).tolist(), strict=True)
        of_level = dict(sorted(found, key=lambda item: item[1]))
    of_level |= {MISSING_LEVEL: MISSING, "": MISSING}
    values: dict[Key, float] = {level: float(code) for level, code in of_level.items()}
    return Table(column, tuple(values), 0.0, values, float(UNSEEN), float(MISSING))


def _looked_up(codes: Table, of_code: Array) -> Table:
    """The feature that has these values by code; the last are of unseen and of missing levels."""
    values = {key: float(of_code[int(code)]) for key, code in codes.values.items()}
    return codes._replace(
        values={key: value for key, value in values.items() if value != 0},
        unknown=float(of_code[UNSEEN]),
        missing=float(of_code[MISSING]),
    )


def _dense(
    encoder: Encoder, numbers: list[Numeric | Table], codes: list[Table]
) -> list[Numeric | Table]:
    """The dense columns of `Encoder.encode`."""
    found = []
    for feature, m, factor in zip(numbers, encoder.median, encoder.factor, strict=True):
        scale = ("scale", float(m), float(factor), 0.0)
        found.append(_after(feature, ("fill", float(m)), scale, ("squash", BENT)))
    found += [apply(numbers[j], ("mark",)) for j in encoder.marks]
    for of_level, means in zip(codes, encoder.level_means, strict=True):
        found += [_looked_up(of_level, of_target) for of_target in means.T]
    return [
        apply(found[at], ("scale", float(mean), 1.0, 0.0))
        for at, mean in zip(encoder.kept, encoder.dense_mean, strict=True)
    ]


def _levels(encoder: Encoder, codes: list[Table]) -> list[Table]:
    """A column of 0 and 1 for each of the levels that have one."""
    found = []
    for c in encoder.blocks:
        columns = encoder.columns_of[c]
        found += [_looked_up(codes[c], columns == t) for t in range(int(columns.max()) + 1)]
    return found


def _bins(encoder: Encoder, numbers: list[Numeric | Table]) -> list[Numeric | Table]:
    """The columns p_t of piecewise-linear codes; all 0 where a number is missing."""
    found = []
    for j in encoder.binned:
        for low, high in pairwise(encoder.edges[j].tolist()):
            scale = ("scale", low, 1 / (high - low), 0.0)
            found.append(_after(numbers[j], scale, ("clip", 0.0, 1.0), ("fill", 0.0)))
    return found


def _networks(part: EnsemblePart, given: FirstLayer) -> Part:
    """The members of an ensemble, side by side."""
    fitted = part.fitted
    k, K, layout = fitted.members, len(fitted.low), fitted.layout
    layers = [
        ([W for W, _ in of_members], [b for _, b in of_members])
        for of_members in zip(*map(fitted.effective, range(k)), strict=True)
    ]
    first, bias = (np.concatenate(each, axis=-1) for each in layers[0])
    ends = [layout.dense, layout.dense + sum(layout.bins)]
    dense, bins, levels = np.split(first, ends)
    steps: list[Step] = [given.affine(np.concatenate([dense, levels, bins]), bias)]
    activation = ACTIVATIONS[fitted.settings.activation]
    for W, b in layers[1:]:
        steps += [
            Activate(activation.name, formula_of(activation)),
            Blocks(np.stack(W), np.stack(b)),
        ]
    if fitted.loss == "softmax":
        steps.append(Softmax(K))
    else:
        steps.append(Clip(np.tile(fitted.low, k), np.tile(fitted.high, k)))
    return Part(steps, np.full(k, 1 / k))


def _linear(part: LinearPart, given: FirstLayer) -> Part:
    """The linear model that was fitted to all rows."""
    layout, W = part.layout, part.W[-1].copy()
    b = part.b[-1] - layout.mean @ W[layout.dense :]
    W[layout.dense :] *= layout.scale[:, None]
    last = Softmax(len(b)) if part.loss == "softmax" else Clip(part.low, part.high)
    return Part([given.affine(W, b), last], np.ones(1))
