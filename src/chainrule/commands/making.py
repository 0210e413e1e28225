"""From settings of the command train to a pipeline, unfitted; its parameters are checked.

Every error that a user can cause is a ValueError with a message for them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.base import clone

from chainrule.commands.options import option, parameters
from chainrule.commands.preparing import Table
from chainrule.commands.splitting import Plan
from chainrule.commands.values import check_numbers, check_value, of_options
from chainrule.estimators.choosing import NETWORK
from chainrule.estimators.cleaning import LARGEST
from chainrule.estimators.tabular import ENSEMBLES, ESTIMATORS, tabular_pipeline
from chainrule.tables.cells import listed
from chainrule.tables.levels import level

# The options that a parameter of a network goes with, and whether an estimator has them.
STOPPING = "--early-stopping", lambda estimator: bool(estimator.early_stopping)
STEPPING = "a --solver other than lbfgs", lambda estimator: estimator.solver != "lbfgs"
GOES_WITH: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "power_t": (
        "--learning-rate invscaling",
        lambda estimator: estimator.learning_rate == "invscaling",
    ),
    "max_fun": ("--solver lbfgs", lambda estimator: estimator.solver == "lbfgs"),
    "validation_fraction": STOPPING,
    "scoring": STOPPING,
    "learning_rate_init": STEPPING,
    "batch_size": STEPPING,
    "shuffle": STEPPING,
}
OF_OPTIMIZERS = ("momentum", "nesterovs_momentum", "beta_1", "beta_2", "epsilon")
MOST_LAYERS = 30  # hidden ones
MOST_WEIGHTS = 100_000_000  # in the hidden layers and from the columns to them


def make(
    table: Table,
    given: Mapping[str, Any],
    plan: Plan,
    seed: int,
    written: Mapping[str, str] | None = None,
    model: str = NETWORK,
) -> Any:
    """The pipeline for a table, unfitted; its parameters are checked.

    Parameters
    ----------
    table : Table
    given : dict of str to anything
        Parameters of the model.
    plan : Plan
        As :func:`~chainrule.commands.splitting.split` gives it. With too few rows to hold some
        out to stop by, training goes on to the end, and the table's notices say so.
    seed : int
    written : dict of str to str, optional
        What the user wrote for a parameter, where that is no option, such as "s.toml: alpha".
    model : {"network", "tabular", "fast"}, default="network"

    Raises
    ------
    ValueError
        A parameter is wrong, or goes with the other task.
    """
    written = written or {}
    if model == NETWORK:
        return _network(table, given, plan, seed, written)
    return tabular_pipeline(
        table.task,
        model=model,
        kinds=table.kinds,
        missing_texts=table.missing_texts,
        random_state=seed,
        **checked(table, given, written, ENSEMBLES[table.task]),
    )


def _network(
    table: Table, given: Mapping[str, Any], plan: Plan, seed: int, written: Mapping[str, str]
) -> Any:
    """The pipeline that ends in a network."""
    given = checked(table, given, written, ESTIMATORS[table.task])
    asked = dict(given)
    fewest = min(len(rows) for rows, _ in plan.parts)
    fraction = given.get("validation_fraction", 0.1)
    needed = max(2, len(table.classes))
    known = "early_stopping" not in given and isinstance(fraction, float)
    if known and np.ceil(fraction * fewest) < needed:
        given["early_stopping"] = False
        table.notices.append(f"{fewest:,} rows are too few to hold some out to stop by")
    model = tabular_pipeline(
        table.task,
        model=NETWORK,
        kinds=table.kinds,
        max_levels=table.max_levels,
        missing_texts=table.missing_texts,
        random_state=seed,
        **given,
    )
    estimator = model[-1]
    try:
        estimator._validate_params()
        estimator._check_combination()
        estimator._optimizer()
        if table.task == "regression":
            estimator._levels()
        if isinstance(estimator.scoring, str) and estimator.scoring != "loss":
            check_scorer(estimator.scoring)
    except (ValueError, TypeError) as error:
        message = str(error).replace(f" of {type(estimator).__name__}", "")
        message = re.sub(r"The '(\w+)' parameter", r"\1", message)
        raise ValueError(of_options(message, written)) from None
    _check_effect(asked, estimator, written)
    _check_size(table, estimator._hidden(), written)
    if table.task == "regression":
        domain = estimator._loss().domain
        wrong = np.flatnonzero(~domain.holds(table.y))
        if len(wrong):
            raise ValueError(
                f"{written.get('loss', '--loss')} {estimator.loss} needs a target {domain}; "
                f"{table.target!r} is {table.y[wrong[0]]:g} in row {table.rows[wrong[0]] + 1:,}"
            )
    if estimator.early_stopping:
        held = int(np.ceil(estimator.validation_fraction * fewest))
        if not needed <= held <= fewest - needed:
            called = written.get("validation_fraction", "--validation-fraction")
            raise ValueError(
                f"{called}: {held:,} of {fewest:,} rows would be held out for early stopping, "
                f"which leaves {fewest - held:,} to learn from; there must be at least {needed} of "
                "each (--no-early-stopping holds out none)"
            )
    return model


def _check_effect(given: Mapping[str, Any], estimator: Any, written: Mapping[str, str]) -> None:
    """Refuse a parameter that the others leave without effect."""
    for name in given:
        called = written.get(name, option(name))
        if name in OF_OPTIMIZERS and not _changes_steps(estimator, name):
            raise ValueError(f"{called} has no effect with --solver {estimator.solver}")
        needed, is_there = GOES_WITH.get(name, ("", bool))
        # Where rows are too few, that is why training is not stopped by some of them.
        too_few = (needed, is_there) == STOPPING and "early_stopping" not in given
        if needed and not too_few and not is_there(estimator):
            raise ValueError(f"{called} goes with {needed}; without, it has no effect")


def _changes_steps(estimator: Any, name: str) -> bool:
    """Whether the optimiser, or its numbers, would be others if this parameter were."""
    if estimator.solver == "lbfgs":
        return False
    value = getattr(estimator, name)
    changed = not value if isinstance(value, bool) else value / 2 or 0.5
    other = clone(estimator).set_params(**{name: changed})
    (own, numbers), (others, other_numbers) = estimator._optimizer(), other._optimizer()
    return own is not others or bool((numbers != other_numbers).any())


def _check_size(table: Table, hidden: list[int], written: Mapping[str, str]) -> None:
    """Refuse a network that would take hours, or more memory than there is."""
    called = written.get("hidden_layer_sizes", "--hidden-layer-sizes")
    if len(hidden) > MOST_LAYERS:
        raise ValueError(
            f"{called}: {len(hidden):,} hidden layers; train takes at most {MOST_LAYERS}"
        )
    widths = [table.X.shape[1], *hidden]
    weights = sum(n * m for n, m in pairwise(widths))
    if weights > MOST_WEIGHTS:
        raise ValueError(
            f"{called}: layers of such widths have {weights:,} weights or more; train takes at "
            f"most {MOST_WEIGHTS:,}"
        )


def checked(
    table: Table, given: Mapping[str, Any], written: Mapping[str, str], estimator: Any
) -> dict[str, Any]:
    """Parameters as an estimator takes them: class weights by labels, not by their texts.

    Parameters
    ----------
    table : Table
    given : dict of str to anything
    written : dict of str to str
        What the user wrote for a parameter, where that is no option.
    estimator : class

    Raises
    ------
    ValueError
        A parameter is wrong, or goes with the other task.
    """
    given = dict(given)
    for name, value in given.items():
        tasks = parameters()[name].tasks
        called = written.get(name, option(name))
        if table.task not in tasks:
            raise ValueError(f"{called} goes with {tasks[0]}; this is {table.task}")
        check_value(name, value, estimator._parameter_constraints[name], written.get(name))
        if isinstance(value, Mapping):
            check_numbers(name, value, written.get(name))
    if isinstance(given.get("class_weight"), Mapping):
        given["class_weight"] = class_weights(table, given["class_weight"], written)
    return given


def class_weights(
    table: Table, weights: Mapping[Any, Any], written: Mapping[str, str]
) -> dict[Any, Any]:
    """Weights by the labels of the table, from weights by their texts.

    Raises
    ------
    ValueError
        There is no such class, or a weight is negative or too large.
    """
    called = written.get("class_weight", "--class-weight")
    by_name = {str(name): name for name in table.classes.tolist()}
    weights = {written_label(str(name), table): weight for name, weight in weights.items()}
    unknown = [str(name) for name in weights if str(name) not in by_name]
    if unknown:
        raise ValueError(f"{called}: there is no class {listed(unknown)}")
    outside = [str(name) for name, weight in weights.items() if not 0 <= weight <= LARGEST]
    if outside:
        raise ValueError(
            f"{called}: the weight of {listed(outside)} must be at least 0, and at most {LARGEST:g}"
        )
    return {by_name[str(name)]: weights[name] for name in weights}


def check_scorer(name: str) -> None:
    """Refuse a name that is no scorer's."""
    from sklearn.metrics import get_scorer_names

    known = get_scorer_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, 3)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "take loss, or a scorer"
        raise ValueError(f"scoring='{name}' is not known; {hint}")


def written_label(label: str, table: Table) -> str:
    """A label as the table spells it: TRUE, where `true` is given.

    Parameters
    ----------
    label : str
    table : Table
    """
    if not table.labels:
        return label
    written: dict[str, str] = table.labels["written"]
    if label in written.values():
        return label
    return written.get(level(label, table.labels["type"]) or "", label)
