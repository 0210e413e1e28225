"""One network of an ensemble, as a plain network over named columns.

A TabularClassifier or TabularRegressor blends the predictions of many networks. Each of them reads
the same encoded columns: scaled numbers, marks of missing cells, means of the target by level, then
numbers between 0 and 1 for bins, then 0 or 1 for levels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from chainrule.base.types import Array
from chainrule.base.validation import check_pair
from chainrule.ensembles.blending import EnsemblePart, without_bins
from chainrule.ensembles.encoding import MISSING, UNSEEN
from chainrule.ensembles.fitted import FittedEnsemble
from chainrule.ensembles.inputs import Inputs, unit_columns
from chainrule.equations.optimizers import OPTIMIZERS
from chainrule.estimators.raw_columns import DATE_PARTS
from chainrule.explain.models import Viewed, as_rows, check_fitted, through_steps
from chainrule.explain.row_errors import in_one_line
from chainrule.network.network import Network

OUTPUTS = {"softmax": ("softmax", "cross_entropy"), "squared": ("identity", "squared_error")}


def member_network(fitted: FittedEnsemble, i: int, dtype: DTypeLike) -> Network:
    """Return network i of an ensemble, over the columns that :func:`part_columns` writes out.

    Parameters
    ----------
    fitted : FittedEnsemble
    i : int
        From 0.
    dtype : dtype
        Of the network; the ensemble itself has float32.
    """
    output_activation, loss = OUTPUTS[fitted.loss]
    return Network(
        (fitted.layout.columns, *fitted.settings.hidden, len(fitted.low)),
        activation=fitted.settings.activation,
        output_activation=output_activation,
        loss=loss,
        init=fitted.effective(i),
        dtype=dtype,
    )


def part_columns(part: EnsemblePart, inputs: Inputs, dtype: DTypeLike) -> Array:
    """Return what the networks of a part receive, (m, n_0)."""
    return unit_columns(
        inputs if part.with_bins else without_bins(inputs), part.fitted.layout, dtype
    )


def view_member(model: Any, last: Any, X: Any, y: Any) -> Viewed:
    """Understand rows as the first network of the part with the largest weight receives them.

    Parameters
    ----------
    model : estimator or Pipeline
    last : TabularClassifier or TabularRegressor
        At its end.
    X, y : array-likes or data frames
        Rows, and their labels or numbers.

    Raises
    ------
    ValueError
        Rows, columns or labels do not fit; or no network predicts.
    sklearn.exceptions.NotFittedError
        The model is not fitted.
    """
    kind = type(check_fitted(last, "oof_prediction_")).__name__
    name, part = _heaviest_part(last)
    with in_one_line(X):
        cells, y, names = through_steps(model, as_rows(model, X), y)
        table = last._check_table(cells)
        inputs = last._encoder.encode(last._reader.read(table))
    Y = last._known_target([y] if isinstance(y, str) or np.ndim(y) == 0 else y)
    network = member_network(part.fitted, 0, np.float64)
    rows, Y = check_pair(
        part_columns(part, inputs, network.dtype),
        Y,
        network.sizes[0],
        network.n_targets,
        network.dtype,
    )
    said = (
        f"network 1 of {part.fitted.members} of the part {name!r} of a {kind}, one of the networks "
        "whose predictions are blended"
    )
    if not hasattr(last, "classes_"):
        said += " (of a standardised target; its output is not yet clipped to the target's range)"
    return Viewed(
        network,
        rows,
        Y,
        OPTIMIZERS["sgd"],
        dict(OPTIMIZERS["sgd"].hyper),
        column_names(last, part.with_bins, names),
        _output_names(last),
        said,
        last,
    )


def _heaviest_part(last: Any) -> tuple[str, EnsemblePart]:
    """Return the part of networks that counts most in the blend, and its name.

    Raises
    ------
    ValueError
        There is none.
    """
    kind, blend = type(last).__name__, last._blend
    if blend is None:
        raise ValueError(
            f"this {kind} always predicts the same, without a network: there is nothing to trace"
        )
    used = {
        name: part
        for name, part in blend.parts.items()
        if isinstance(part, EnsemblePart) and blend.weights[name] > 0
    }
    if not used:
        raise ValueError(
            f"this {kind} predicts by a linear model alone, without a network: there is nothing to "
            "trace"
        )
    name = max(used, key=blend.weights.__getitem__)
    return name, used[name]


def column_names(last: Any, with_bins: bool, features: list[str]) -> list[str]:
    """Return the names of the columns that the networks of a part receive.

    Parameters
    ----------
    last : TabularClassifier or TabularRegressor
        Fitted, with networks.
    with_bins : bool
        Whether the part reads bins.
    features : list of str
        Names of an array's columns, if a pipeline knows them; otherwise they are x0, x1, and so on.

    Returns
    -------
    list of str
        n_0 of them.
    """
    encoder, reader = last._encoder, last._reader
    owners = list(reader.names)
    if reader.cleaner is None and len(features) == len(owners):
        owners = features
    numbers = list(_number_names(reader, owners))
    categories = [owners[i] for i in reader.code_owners]
    dense = [*numbers, *(f"{numbers[j]} is missing" for j in encoder.marks)]
    targets = [f"of {name}" for name in _output_names(last)]
    for category, means in zip(categories, encoder.level_means, strict=True):
        dense += [
            f"{category}: mean {target}"
            for target in targets[len(targets) - means.shape[1] :]
            if means.shape[1]
        ]
    names = [dense[j] for j in encoder.kept]
    if with_bins:
        for j in encoder.binned:
            edges = encoder.edges[j]
            names += [
                f"{numbers[j]}: bin {t} ({edges[t - 1]:.6g} to {edges[t]:.6g})"
                for t in range(1, len(edges))
            ]
    levels = list(reader.levels.values())
    for c in encoder.blocks:
        columns = encoder.columns_of[c]
        block = [""] * (int(columns.max()) + 1)
        texts = [f"{categories[c]} = {level}" for level in levels[c]]
        for code, text in (
            *enumerate(texts),
            (UNSEEN, f"{categories[c]} is unknown"),
            (MISSING, f"{categories[c]} is missing"),
        ):
            if columns[code] >= 0:
                block[columns[code]] = text
        names += block
    return names


def _number_names(reader: Any, owners: list[str]) -> Iterator[str]:
    """Yield the name of each column of numbers: a date and a text have several."""
    counts = np.bincount(reader.owners, minlength=len(owners))
    for own, name, n in zip(reader.names, owners, counts.tolist(), strict=True):
        if own in reader.texts:
            yield from (f"{name}: direction {t} of its texts" for t in range(1, n + 1))
        elif n == len(DATE_PARTS):
            yield from (f"{name}: {part}" for part in DATE_PARTS)
        elif n:
            yield name


def _output_names(last: Any) -> list[str]:
    """Return what each output unit stands for."""
    if hasattr(last, "classes_"):
        return [str(one) for one in last.classes_.tolist()]
    n = int(last.n_outputs_)
    return [f"target {j}" for j in range(n)] if n > 1 else ["target"]
