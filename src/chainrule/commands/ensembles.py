"""What the command train does for `--model tabular`: a pipeline with nothing to tune."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chainrule.commands.jobs import class_weights
from chainrule.commands.options import option, parameters
from chainrule.commands.preparing import Table
from chainrule.commands.values import check_numbers, check_value
from chainrule.estimators.tabular import tabular_pipeline
from chainrule.estimators.tabular_classifier import TabularClassifier
from chainrule.estimators.tabular_regressor import TabularRegressor

PRESETS = {"tabular": "best", "fast": "fast"}
TAKEN = ("class_weight", "time_limit", "engine")  # settings of a plain network that go with it


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
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        called = written.get(name, option(name))
        if name not in TAKEN:
            raise ValueError(f"{called} is a setting of a plain network; give --model network")
        if table.task not in parameters()[name].tasks:
            raise ValueError(f"{called} goes with {parameters()[name].tasks[0]}")
        check_value(name, value, estimator._parameter_constraints[name], written.get(name))
        chosen[name] = value
    if isinstance(chosen.get("class_weight"), Mapping):
        check_numbers("class_weight", chosen["class_weight"], written.get("class_weight"))
        chosen["class_weight"] = class_weights(table, chosen["class_weight"], written)
    return tabular_pipeline(
        estimator(PRESETS[model], random_state=seed, **chosen), kinds=table.kinds
    )
