"""What the command train does: from rows to a trained, evaluated pipeline.

Nothing is printed here.
Every error that a user can cause is a ValueError with a message for them.
"""

from __future__ import annotations

import difflib
import re
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from chainrule.commands.baselines import described
from chainrule.commands.evaluation import RESAMPLES, Evaluation
from chainrule.commands.judging import judge
from chainrule.commands.options import option, parameters
from chainrule.commands.predicting import predict_frame
from chainrule.commands.preparing import Table
from chainrule.commands.values import check_numbers, check_value, of_options
from chainrule.estimators.cleaning import LARGEST
from chainrule.estimators.tabular import ESTIMATORS, tabular_pipeline
from chainrule.tables.cells import listed
from chainrule.tables.levels import level

if TYPE_CHECKING:
    from chainrule.explain.findings import Finding
    from chainrule.files.resuming import Resume

# Warnings of no use here: skrub's on short texts, ours on tables of fewer rows than a batch.
IDLE = ("too small to fit a truncated SVD", "`batch_size`")
FOLDS = 5  # that baselines are fitted in, where there are no rows held out
STOPPED = "Training interrupted by user."
OnEpoch = Callable[[str, int, Mapping[str, Any]], Any]  # (part, most epochs, record)


@dataclass
class Trained:
    """What :func:`train` gives.

    Attributes
    ----------
    model : Pipeline
        Of a holdout, what was trained beside the rows held out; after folds, what was trained on
        all rows.
    evaluation : Evaluation
        On the rows held out, or on all rows, each predicted by the fold that did not see it.
    baselines : dict of str to dict of str to float
        Metrics of the trivial and of the linear model on the same rows.
    rows : dict of str to int
        "train" and "test".
    evaluated : {"held out", "folds", "out of fold"}
        How the rows were chosen that it was tested on.
    interrupted : bool
    notices : list of str
    seconds : float
        That the training took.
    findings : list of Finding
        What `chainrule.diagnose` says of it.
    compared_with : dict
        What the model's file keeps of the baselines; see `chainrule.commands.baselines`.
    """

    model: Any
    evaluation: Evaluation | None
    baselines: dict[str, dict[str, float]]
    rows: dict[str, int]
    evaluated: str
    interrupted: bool
    notices: list[str]
    seconds: float
    findings: list[Finding] = field(default_factory=list)
    compared_with: dict[str, Any] = field(default_factory=dict)


class Plan(NamedTuple):
    """Which rows to train on, and which to test on.

    Attributes
    ----------
    parts : list of (rows, rows)
        Once, or for each fold.
    folds : bool
    out_of_fold : bool
        Test on the out-of-fold predictions that the estimator makes as it is fitted.
    """

    parts: list[tuple[NDArray[Any], NDArray[Any]]]
    folds: bool
    out_of_fold: bool = False


def all_rows(table: Table) -> Plan:
    """Train on all rows, and test on out-of-fold predictions of them.

    Parameters
    ----------
    table : Table
    """
    every = np.arange(len(table.y))
    return Plan([(every, every[:0])], folds=False, out_of_fold=True)


def split(
    table: Table, *, test_fraction: float = 0.2, folds: int | None = None, seed: int = 0
) -> Plan:
    """Hold rows out, or make folds; of each class as many.

    Parameters
    ----------
    table : Table
    test_fraction : float, default=0.2
        0: none, and no evaluation.
    folds : int or None, default=None
        Cross-validation instead.
    seed : int, default=0

    Raises
    ------
    ValueError
        There are too few rows.
    """
    from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

    every = np.arange(len(table.y))
    classes = table.task == "classification"
    if folds is not None:
        fewest = int(np.unique(table.y, return_counts=True)[1].min()) if classes else len(every)
        if not 2 <= folds <= fewest:
            of_what = "rows of the rarest class" if classes else "rows"
            raise ValueError(f"--cv must be from 2 to {fewest}, the {of_what}; got {folds}")
        how = (StratifiedKFold if classes else KFold)(folds, shuffle=True, random_state=seed)
        return Plan(list(how.split(every, table.y)), folds=True)
    if test_fraction == 0:
        return Plan([(every, every[:0])], folds=False)
    try:
        rows, held = train_test_split(
            every,
            test_size=test_fraction,
            random_state=seed,
            stratify=table.y if classes else None,
        )
    except ValueError as error:
        raise ValueError(
            f"--test-fraction {test_fraction:g} of {len(every)} rows cannot be held out: {error}"
        ) from None
    return Plan([(np.sort(rows), np.sort(held))], folds=False)


def make(
    table: Table,
    given: Mapping[str, Any],
    plan: Plan,
    seed: int,
    written: Mapping[str, str] | None = None,
) -> Any:
    """The pipeline for a table, unfitted; its parameters are checked.

    Parameters
    ----------
    table : Table
    given : dict of str to anything
        Parameters of the MLP.
    plan : Plan
        As :func:`split` gives it. With too few rows to hold some out to stop by, training goes
        on to the end, and the table's notices say so.
    seed : int
    written : dict of str to str, optional
        What the user wrote for a parameter, where that is no option, such as "s.toml: alpha".

    Raises
    ------
    ValueError
        A parameter is wrong, or goes with the other task.
    """
    written = written or {}
    given = checked(table, given, written, ESTIMATORS[table.task])
    fewest = min(len(rows) for rows, _ in plan.parts)
    fraction = given.get("validation_fraction", 0.1)
    needed = max(2, len(np.unique(table.y)) if table.task == "classification" else 2)
    known = "early_stopping" not in given and isinstance(fraction, float)
    if known and np.ceil(fraction * fewest) < needed:
        given["early_stopping"] = False
        table.notices.append(f"{fewest:,} rows are too few to hold some out to stop by")
    model = tabular_pipeline(
        table.task,
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
    by_name = {str(name): name for name in np.unique(table.y).tolist()}
    weights = {_written(str(name), table): weight for name, weight in weights.items()}
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


def _written(label: str, table: Table) -> str:
    """A label as the table spells it: TRUE, where `true` is given."""
    if not table.labels:
        return label
    written: dict[str, str] = table.labels["written"]
    if label in written.values():
        return label
    return written.get(level(label, table.labels["type"]) or "", label)


def train(
    table: Table,
    model: Any,
    plan: Plan,
    *,
    seed: int = 0,
    on_epoch: OnEpoch | None = None,
    keep: Resume | None = None,
) -> Trained:
    """Fit a pipeline to a table, and compare it with a trivial and a linear model.

    Ctrl-C ends it early, with what was trained until then.

    Parameters
    ----------
    table : Table
    model : Pipeline
        As :func:`make` gives it.
    plan : Plan
        As :func:`split` gives it; after folds, the pipeline is fitted to all rows.
    seed : int, default=0
        Of the intervals.
    on_epoch : callable (part, most epochs, record), optional
        Called after each epoch; `part` says of what.
    keep : Resume, optional
        Keeps the state of the training in a file; not with folds.
    """
    started = time.perf_counter()
    notices = [*table.notices]
    tested: list[NDArray[Any]] = []
    predictions: dict[str, list[Any]] = {"": [], "trivial": [], "linear": []}
    interrupted, final, rows = False, model, np.arange(len(table.y))
    compared_with: dict[str, Any] = {}
    for i, (rows, held) in enumerate(plan.parts):
        part = f"fold {i + 1} of {len(plan.parts)}" if plan.folds else "training"
        final, interrupted = _fit(clone(model), table, rows, part, on_epoch, notices, keep)
        if interrupted and plan.folds:
            break
        try:
            parts = _with_baselines(final, table, rows)
            compared_with = described(parts)
            parts = parts if len(held) else {}
            said = {name: predict_frame(each, table.X.iloc[held]) for name, each in parts.items()}
        except KeyboardInterrupt:
            interrupted = True
            break
        if said:
            tested.append(held)
            for name, parts_of in predictions.items():
                parts_of.append(said[name])
    if plan.out_of_fold and not interrupted:
        try:
            said = _out_of_fold(final, table)
        except KeyboardInterrupt:
            interrupted = True
        else:
            tested.append(rows)
            for name, parts_of in predictions.items():
                parts_of.append(said[name])
    if plan.folds and not interrupted:
        rows = np.arange(len(table.y))
        final, interrupted = _fit(clone(model), table, rows, "all rows", on_epoch, notices)
        try:
            compared_with = described(_with_baselines(final, table, rows))
        except KeyboardInterrupt:
            interrupted = True
    seconds = time.perf_counter() - started
    found: dict[str, Evaluation] = {}
    truth = table.y[np.concatenate([np.empty(0, np.int64), *tested])]
    if tested:
        try:
            found = _judged(final, truth, predictions, seed)
        except KeyboardInterrupt:
            interrupted = True
    return Trained(
        model=final,
        evaluation=found.pop("", None),
        baselines={
            name: {metric: e.value for metric, e in evaluation.metrics.items()}
            for name, evaluation in found.items()
        },
        rows={"train": len(rows), "test": len(truth)},
        evaluated="out of fold" if plan.out_of_fold else "folds" if plan.folds else "held out",
        interrupted=interrupted,
        notices=list(dict.fromkeys(notices)),
        seconds=seconds,
        findings=[] if interrupted else _diagnosed(final, table, rows, plan),
        compared_with=compared_with,
    )


def _diagnosed(model: Any, table: Table, rows: NDArray[Any], plan: Plan) -> list[Finding]:
    """What is found in the training; a diagnosis that cannot be made must not cost the model."""
    if not isinstance(model[-1], tuple(ESTIMATORS.values())):
        return []  # an ensemble, which is no single network
    from chainrule.explain.diagnosing import diagnose
    from chainrule.explain.evidence import MOST_ROWS

    def some(chosen: NDArray[Any]) -> tuple[Any, Any]:
        if len(chosen) > MOST_ROWS:
            chosen = np.sort(np.random.default_rng(0).choice(chosen, MOST_ROWS, replace=False))
        return table.X.iloc[chosen], table.y[chosen]

    held = {}
    if not plan.folds and len(plan.parts[0][1]):
        held = dict(zip(("X_val", "y_val"), some(plan.parts[0][1]), strict=True))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return diagnose(model, *some(rows), **held)
    except (ValueError, ArithmeticError, MemoryError, KeyboardInterrupt):
        return []


def _judged(
    model: Any, truth: NDArray[Any], predictions: Mapping[str, list[Any]], seed: int
) -> dict[str, Evaluation]:
    """The evaluations of the model (under "") and of the baselines, these without intervals."""
    found = {}
    for name, parts in predictions.items():
        predicted = np.concatenate([part[0] for part in parts])
        chances = None if parts[0][1] is None else np.concatenate([part[1] for part in parts])
        resamples = 0 if name else RESAMPLES
        found[name] = judge(model, truth, predicted, chances, seed=seed, resamples=resamples)
    return found


def _fit(
    model: Any,
    table: Table,
    rows: NDArray[Any],
    part: str,
    on_epoch: OnEpoch | None,
    notices: list[str],
    keep: Resume | None = None,
) -> tuple[Any, bool]:
    """Fit; whether Ctrl-C ended it. Warnings become notices."""
    last = model[-1]
    last.callbacks = [] if keep is None else [keep]
    if on_epoch is not None:

        def record_epoch(estimator: Any, record: Mapping[str, Any]) -> None:
            of = f"{part}, {record['part']} networks" if "part" in record else part
            on_epoch(of, record.get("epochs") or estimator.max_iter, record)

        last.callbacks.append(record_epoch)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(table.X.iloc[rows], table.y[rows])
    last.callbacks = None
    said = [str(warning.message) for warning in caught]
    used_up = (
        f"all {getattr(last, 'max_iter', 0)} epochs were used; more may do better (--max-iter)"
    )
    for text in said:
        about = used_up if "Maximum iterations" in text else text
        if text != STOPPED and not any(idle in text for idle in IDLE):
            notices.append(about)
    return model, STOPPED in said


def _with_baselines(model: Any, table: Table, rows: NDArray[Any]) -> dict[str, Any]:
    """The model, and beside it a trivial and a linear one behind the same preprocessing."""
    steps = model.steps[:-1]
    if model.steps[-2][0] == "clean":  # the model encodes columns itself; these cannot
        linear = tabular_pipeline(
            _linear(table), kinds=table.kinds, missing_texts=table.missing_texts
        )
        steps = linear[:-1].fit(table.X.iloc[rows]).steps
    Z = Pipeline(steps).transform(table.X.iloc[rows])
    models = {"trivial": _trivial(table), "linear": _linear(table)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a linear model that has not converged is one
        for each in models.values():
            each.fit(Z, table.y[rows])
    return {"": model} | {
        name: Pipeline([*steps, ("model", each)]) for name, each in models.items()
    }


def _trivial(table: Table) -> Any:
    from sklearn.dummy import DummyClassifier, DummyRegressor

    return DummyClassifier(strategy="prior") if table.task == "classification" else DummyRegressor()


def _linear(table: Table) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    return LogisticRegression(max_iter=500) if table.task == "classification" else Ridge()


def _out_of_fold(model: Any, table: Table) -> dict[str, tuple[Any, Any]]:
    """Out-of-fold predictions of a fitted model and of the baselines: (predictions, chances)."""
    from sklearn.model_selection import KFold, StratifiedKFold

    est, classes = model[-1], table.task == "classification"
    of_model = est.oof_prediction_
    if classes:
        found = {"": (est.classes_[of_model.argmax(axis=1)], of_model)}
        fewest = int(np.unique(table.y, return_counts=True)[1].min())
    else:
        found, fewest = {"": (of_model, None)}, len(table.y)
    folds = min(FOLDS, fewest)
    how = (StratifiedKFold if classes else KFold)(folds, shuffle=True, random_state=0)
    every = np.arange(len(table.y))
    parts: dict[str, list[Any]] = {"trivial": [], "linear": []}
    order = []
    for rows, held in how.split(every, table.y):
        order.append(held)
        for name, each in _with_baselines(model, table, rows).items():
            if name:
                parts[name].append(predict_frame(each, table.X.iloc[held]))
    back = np.argsort(np.concatenate(order))
    for name, said in parts.items():
        values = np.concatenate([one[0] for one in said])[back]
        chances = np.concatenate([one[1] for one in said])[back] if classes else None
        found[name] = (values, chances)
    return found
