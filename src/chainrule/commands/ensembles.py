"""What the command train does for `--model tabular`: a pipeline with nothing to tune."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chainrule.commands.making import checked
from chainrule.commands.options import option
from chainrule.commands.preparing import Table
from chainrule.commands.settings import OF_BOTH
from chainrule.estimators.raw_columns import ANY_NUMBER
from chainrule.estimators.tabular import tabular_pipeline
from chainrule.estimators.tabular_classifier import TabularClassifier
from chainrule.estimators.tabular_regressor import TabularRegressor

PRESETS = {"tabular": "best", "fast": "fast"}


def most_levels(model: str, asked: int) -> int:
    """The levels from which on a category is encoded as text: a tabular ensemble never does so.

    Parameters
    ----------
    model : {"network", "tabular", "fast"}
    asked : int
        For a plain network.
    """
    return ANY_NUMBER if model in PRESETS else asked


def make(
    table: Table, given: Mapping[str, Any], model: str, seed: int, written: Mapping[str, str]
) -> Any:
    """The pipeline for a table, unfitted; its parameters are checked.

    Parameters
    ----------
    table : Table
    given : dict of str to anything
        Settings that were given.
    model : {"tabular", "fast"}
    seed : int
    written : dict of str to str
        What the user wrote for a setting, where that is no option.

    Raises
    ------
    ValueError
        A setting is wrong, or one of a plain network.
    """
    if model not in PRESETS:
        raise ValueError(f"--model is network, tabular or fast, not {model!r}")
    classes = table.task == "classification"
    estimator = TabularClassifier if classes else TabularRegressor
    for name in given:
        if name not in OF_BOTH:
            called = written.get(name, option(name))
            raise ValueError(f"{called} is a setting of a plain network; give --model network")
    chosen = checked(table, given, written, estimator)
    return tabular_pipeline(
        estimator(PRESETS[model], random_state=seed, **chosen),
        kinds=table.kinds,
        missing_texts=table.missing_texts,
    )
