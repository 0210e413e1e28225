"""The settings that a search found, compared with none: on rows that the search has not seen."""

from __future__ import annotations

import math
import time
import warnings
from typing import Any

from numpy.typing import NDArray

from chainrule.estimators.row_columns import ONE_GROUP, RowColumns, numbered
from chainrule.estimators.tabular import fit_pipeline, tabular_pipeline
from chainrule.estimators.tabular_classifier import TabularClassifier
from chainrule.estimators.tabular_regressor import TabularRegressor
from chainrule.search.comparing import Comparison, compare
from chainrule.search.measures import measure_for, row_losses
from chainrule.search.results import Found, Question

ENSEMBLES = ("fast", "best")  # presets
LEAST = 1.0  # seconds that an ensemble gets


def judge(
    question: Question,
    found: Found,
    model: Any,
    X: Any,
    y: NDArray[Any],
    facts: RowColumns,
    ensemble: str | None,
) -> tuple[Comparison | None, Comparison | None]:
    """Compare a model with the default settings, and with an ensemble.

    All are fitted to the same rows and measured on the same others.

    Parameters
    ----------
    question : Question
    found : Found
        Its notices get a line if there is no time for the ensemble, or only one group to judge on.
    model : Pipeline
        With the settings that were found, fitted to the question's rows.
    X, y : pandas.DataFrame, array
        The rows to measure on.
    facts : RowColumns
        What each of these counts for, and its group.
    ensemble : {"fast", "best"} or None

    Returns
    -------
    (Comparison or None, Comparison or None)
    """
    measure = measure_for(question.task, found.measure.name, facts.weight)
    mine = row_losses(measure, model, X, y)
    seed = question.seed
    if facts.group is not None and numbered(facts.group) is None:
        found.notices.append(ONE_GROUP)
    drawn: Any = {"weight": facts.weight, "groups": facts.group, "seed": seed}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if found.parameters == found.defaults:
            others = mine
        else:
            default = question.fitted(found.defaults)
            others = row_losses(measure, default, X, y)
        first = compare(measure, mine, others, **drawn)
        if ensemble is None:
            return first, None
        left = found.deadline - time.time()
        if left < LEAST:
            found.notices.append("no time was left to compare with an ensemble")
            return first, None
        classes = question.task == "classification"
        shared = {
            name: found.parameters[name] for name in ("class_weight",) if name in found.parameters
        }
        made = (TabularClassifier if classes else TabularRegressor)(
            ensemble,
            random_state=seed,
            time_limit=left if math.isfinite(left) else None,
            **shared,
        )
        around = {k: v for k, v in question.encoding.items() if k != "max_levels"}
        learnt = question.facts
        by_group = {} if learnt.group is None else {"groups": learnt.group}
        other = tabular_pipeline(made, **around)
        fit_pipeline(other, question.X, question.y, weight=learnt.weight, **by_group)
        others = row_losses(measure, other, X, y)
        return first, compare(measure, mine, others, **drawn)
