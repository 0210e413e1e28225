"""What the command evaluate does: a stored model judged by a table that has the target.

Nothing is printed here. Every error that a user can cause is a ValueError with a message for
them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chainrule.commands.baselines import NAMES as BASELINES
from chainrule.commands.baselines import Baselines
from chainrule.commands.deciding import Decision, decided, of_baseline
from chainrule.commands.differences import (
    RowLosses,
    losses_of_classes,
    losses_of_numbers,
    score_of,
)
from chainrule.commands.evaluation import RESAMPLES, Evaluation, evaluate_classes, evaluate_numbers
from chainrule.commands.importances import Importance, RowSample, importances
from chainrule.commands.predicting import (
    Counts,
    Stored,
    counted_already,
    predict_frame,
    table_blocks,
)
from chainrule.tables.cells import as_numbers, as_strings, listed
from chainrule.tables.columns import present
from chainrule.tables.levels import as_levels

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Judged:
    """An evaluation, and what it is of.

    Attributes
    ----------
    evaluation : Evaluation
    truth, predicted : (n,) arrays
        Of several quantiles, the middle one.
    losses : RowLosses
        Of each row.
    left_out : int
        Rows without a true value.
    notices : list of str
    baselines : dict of str to (dict of str to float or None)
        Metrics of the trivial and the linear model on the same rows; None: the model's file does
        not hold it.
    importances : list of Importance
        Empty if they were not asked for, or there are too many columns.
    """

    evaluation: Evaluation
    truth: NDArray[Any]
    predicted: NDArray[Any]
    losses: RowLosses
    left_out: int
    notices: list[str]
    baselines: dict[str, dict[str, float] | None] = field(default_factory=dict)
    importances: list[Importance] = field(default_factory=list)


def evaluate_file(
    stored: Stored,
    source: Any,
    *,
    target: str | None = None,
    seed: int = 0,
    table: str | None = None,
    query: str | None = None,
    with_importances: bool = False,
) -> Judged:
    """Judge a model by a table that has the target.

    Parameters
    ----------
    stored : Stored
    source : str, path or list of them
    target : str or None, default=None
        None: as the model's file says.
    seed : int, default=0
        Of the resamples.
    table, query : str or None, default=None
        Of a database.
    with_importances : bool, default=False
        Whether to find how much each column matters.

    Raises
    ------
    ValueError
        A column is missing or of another type, or a row cannot be read.
    """
    target, kind = _target_of(stored, target)
    truths, predicted = [], []
    chances: list[Any] = []
    counts, missing = Counts(), 0
    baselines = Baselines(stored.compared_with, stored.estimator)
    compared: dict[str, list[Any]] = {name: [] for name in baselines.known}
    sample = RowSample(seed)
    for typed, _ in table_blocks(stored, source, {target: kind}, None, counts, table, query):
        there = typed.index.isin(present(typed[target]).index)
        missing += int((~there).sum())
        rows = typed[there]
        if len(rows):
            column = rows[target]
            X = rows[list(stored.needed)]
            counts.see(stored.estimator, X)
            values, chance = predict_frame(stored.estimator, X, stored.decision)
            truths.append(labels_of(column, stored) if stored.is_classifier else as_numbers(column))
            predicted.append(values)
            chances.append(chance)
            if with_importances:
                sample.see(X, truths[-1])
            with counted_already():
                for name, part in baselines.predictions(X).items():
                    compared[name].append(part)
    if not truths:
        raise ValueError(f"there are no rows with a value of {target!r} to evaluate on")
    truth, said = np.concatenate(truths), np.concatenate(predicted)
    notices = counts.notices(stored.estimator)
    if missing:
        rows_of = f"{missing:,} of {missing + len(truth):,} rows"
        notices.append(f"{rows_of} left out, without a value of {target!r}")
    if not stored.is_classifier:
        if not np.isfinite(truth).all():
            raise ValueError(f"the target {target!r} has values that are not finite")
        evaluation = judge(stored.estimator, truth, said, None, seed=seed)
        middle = said if said.ndim == 1 else said[:, said.shape[1] // 2]
        losses = row_losses(stored.estimator, truth, said, None)
        judged = Judged(evaluation, truth, middle, losses, missing, notices)
    else:
        parts = truth, said, np.concatenate(chances)
        judged = _judged_classes(stored, *parts, missing, notices, seed)
    judged.baselines = {
        name: _metrics(stored, truth, compared[name]) if name in compared else None
        for name in BASELINES
    }
    if with_importances:
        X, y = sample.rows()
        judged.importances = importances(stored.estimator, X, y, stored.needed, seed=seed)
    return judged


def _target_of(stored: Stored, target: str | None) -> tuple[str, str | None]:
    """The column of true values, and what it is read as."""
    target = target or stored.target
    if target is None:
        raise ValueError(f"{stored.path} does not say what it predicts; name the target")
    kind: str | None = stored.target_type if target == stored.target else None
    if not stored.is_classifier:
        kind = "number"
    elif target == stored.target and stored.labels:
        kind = "text" if stored.labels["type"] == "boolean" else stored.labels["type"]
    return target, kind


def rows_with_target(
    stored: Stored,
    source: Any,
    first: int,
    count: int,
    *,
    target: str | None = None,
    table: str | None = None,
    query: str | None = None,
) -> tuple[pd.DataFrame, Any]:
    """Some rows of a table as the model takes them, and their true values.

    Parameters
    ----------
    stored : Stored
    source : str, path or list of them
    first, count : int
        The first row, from 0, and how many.
    target : str or None, default=None
        None: as the model's file says.
    table, query : str or None, default=None
        Of a database.

    Returns
    -------
    X : pandas.DataFrame
    y : (count,) array
        Classes or numbers.

    Raises
    ------
    ValueError
        There is no such row, a row has no true value, or a column is missing or of another type.
    """
    import pandas as pd

    target, kind = _target_of(stored, target)
    counts, seen = Counts(), 0
    parts = []
    for typed, _ in table_blocks(stored, source, {target: kind}, None, counts, table, query):
        parts.append(typed.iloc[max(0, first - seen) : max(0, first + count - seen)])
        seen += len(typed)
        if seen >= first + count:
            break
    if seen < first + count:
        raise ValueError(
            f"there is no row {max(first, seen)}: the table has {seen:,} "
            f"row{'s' * (seen != 1)}, the first is row 0"
        )
    found = pd.concat(parts)
    there = found.index.isin(present(found[target]).index)
    if not there.all():
        raise ValueError(f"row {first + int(there.argmin())} has no value of {target!r}")
    if not stored.is_classifier:
        return found[list(stored.needed)], as_numbers(found[target])
    names = [str(name) for name in stored.estimator.classes_.tolist()]
    labels = labels_of(found[target], stored)
    for k, label in enumerate(labels.tolist()):
        if label not in names:
            raise ValueError(
                f"row {first + k} has the class {label!r} in {target!r}, which the model does not "
                f"know; it knows {listed(names)}"
            )
    classes = stored.estimator.classes_
    return found[list(stored.needed)], classes[[names.index(label) for label in labels.tolist()]]


def _metrics(stored: Stored, truth: NDArray[Any], parts: list[Any]) -> dict[str, float]:
    """The metrics of a baseline, without intervals."""
    said = np.concatenate([part[0] for part in parts])
    if stored.is_classifier:
        chances = np.concatenate([part[1] for part in parts])
        decision = of_baseline(stored.decision)
        if decision is not None:
            said = decided(chances, stored.estimator.classes_, decision)
        found = _evaluated(stored, truth, said, chances, seed=0, resamples=0)[0]
    else:
        found = judge(stored.estimator, truth, said, None, resamples=0)
    return {name: estimate.value for name, estimate in found.metrics.items()}


def _evaluated(
    stored: Stored, truth: NDArray[Any], said: NDArray[Any], chances: NDArray[Any], **how: Any
) -> tuple[Evaluation, NDArray[Any], NDArray[Any]]:
    """(evaluation, predicted classes as texts, the classes as texts)."""
    names = np.array([str(name) for name in stored.estimator.classes_.tolist()], dtype=object)
    said = names[np.searchsorted(stored.estimator.classes_, said)]
    evaluation = evaluate_classes(truth, said, chances, names, decision=stored.decision, **how)
    return evaluation, said, names


def _judged_classes(
    stored: Stored,
    truth: NDArray[Any],
    said: NDArray[Any],
    chances: NDArray[Any],
    missing: int,
    notices: list[str],
    seed: int,
) -> Judged:
    evaluation, said, names = _evaluated(stored, truth, said, chances, seed=seed)
    strange = sorted(set(truth.tolist()) - set(names.tolist()))
    if strange:
        n = int(np.isin(truth, strange).sum())
        notices.append(
            f"{n:,} rows count as mistaken: the model does not know their classes {listed(strange)}"
        )
    losses = row_losses(stored.estimator, truth, said, chances)
    return Judged(evaluation, truth, said, losses, missing, notices)


def labels_of(column: pd.Series, stored: Stored) -> NDArray[Any]:
    """Classes as texts, as the table that the model was trained on spells them.

    Parameters
    ----------
    column : pandas.Series of shape (n,)
    stored : Stored
    """
    if not stored.labels or column.name != stored.target:
        return as_strings(column, "")
    written = stored.labels["written"]
    levels = as_levels(column, stored.labels["type"], "")
    return np.array([written.get(each, each) for each in levels], dtype=object)


def judge(
    model: Any,
    truth: Any,
    predicted: Any,
    chances: Any,
    *,
    decision: Decision | None = None,
    groups: NDArray[Any] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Evaluation:
    """Evaluate predictions of a model.

    Parameters
    ----------
    model : estimator
        Fitted; for its classes, or its quantile levels.
    truth, predicted : (n,) arrays
    chances : (n, n_classes) array or None
        None: a regression.
    decision : Decision or None, default=None
    groups : (n,) array or None, default=None
    seed : int, default=0
    resamples : int, default=1000
        As for :func:`~chainrule.commands.evaluation.bootstrap`.
    """
    how: dict[str, Any] = {"groups": groups, "seed": seed, "resamples": resamples}
    if chances is None:
        score = score_of(model)
        found = evaluate_numbers(truth, predicted, levels=score.levels, **how)
        found.metrics = {score.metric: found.metrics[score.metric]} | found.metrics
        return found
    return evaluate_classes(truth, predicted, chances, model.classes_, decision=decision, **how)


def row_losses(model: Any, truth: Any, predicted: Any, chances: Any) -> RowLosses:
    """What each row costs a model, by which it is compared with others.

    Parameters
    ----------
    model : estimator
        Fitted; of numbers, for what it was trained for.
    truth, predicted, chances :
        As for :func:`judge`.
    """
    if chances is not None:
        return losses_of_classes(truth, chances, model.classes_)
    return losses_of_numbers(truth, predicted, score_of(model))
