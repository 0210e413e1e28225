"""What the command train does: from rows and a pipeline to a trained, evaluated one.

Nothing is printed here.
Every error that a user can cause is a ValueError with a message for them.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from chainrule.commands.baselines import (
    NAMES,
    described,
    fit_baselines,
    preparation,
    training_columns,
)
from chainrule.commands.deciding import (
    CannotReachError,
    Decision,
    decided,
    decided_out_of_fold,
    of_baseline,
)
from chainrule.commands.differences import Against, against, score_of
from chainrule.commands.evaluation import RESAMPLES, Evaluation
from chainrule.commands.importances import (
    Importance,
    RowSample,
    importances,
    out_of_fold_importances,
)
from chainrule.commands.judging import judge, row_losses
from chainrule.commands.other_rows import Tests
from chainrule.commands.predicting import predict_frame
from chainrule.commands.preparing import Table
from chainrule.commands.splitting import Plan, inner_parts, stopping_rows
from chainrule.estimators.cleaning import USED
from chainrule.estimators.row_columns import ONE_GROUP, numbered
from chainrule.estimators.tabular import ESTIMATORS, fit_pipeline

if TYPE_CHECKING:
    from chainrule.explain.findings import Finding
    from chainrule.files.resuming import Resume

# Warnings of no use here: skrub's on short texts, ours on tables of fewer rows than a batch.
IDLE = ("too small to fit a truncated SVD", "`batch_size`")
STOPPED = "Training interrupted by user."
OnEpoch = Callable[[str, int, Mapping[str, Any]], Any]  # (part, most epochs, record)
FitTo = Callable[[Any, Table, NDArray[Any], int], int]  # (pipeline, table, rows, seed)


@dataclass
class Trained:
    """What :func:`train` gives.

    Attributes
    ----------
    model : Pipeline
        Of a holdout, what was trained beside the rows held out; after folds, what was trained on
        all rows.
    rows : dict of str to int
        "train": learnt from; "stop": held out of these to stop the training by; "test": judged;
        "left_out": of the table, without a target or with a weight of 0.
    evaluated : {"held out", "folds", "out of fold", "another file"}
        How the rows were chosen that it was tested on.
    interrupted : bool
    seconds : float
        That the training took.
    findings : list of Finding
        What `chainrule.diagnose` says of it.
    compared_with : dict
        What the model's file keeps of the baselines; see `chainrule.commands.baselines`.
    decision : Decision or None
        How one of two classes is decided for.
    unreached : str or None
        Why no threshold was chosen, if one was asked for.
    notices : list of str
    evaluation : Evaluation or None
        On the rows held out, or on all rows, each predicted by the fold that did not see it.
    baselines : dict of str to dict of str to float
        Metrics of the trivial and of the linear model on the same rows.
    against : list of Against
        The model beside each of these.
    importances : list of Importance
    """

    model: Any
    rows: dict[str, int]
    evaluated: str
    interrupted: bool
    seconds: float
    findings: list[Finding] = field(default_factory=list)
    compared_with: dict[str, Any] = field(default_factory=dict)
    decision: Decision | None = None
    unreached: str | None = None
    notices: list[str] = field(default_factory=list)
    evaluation: Evaluation | None = None
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    against: list[Against] = field(default_factory=list)
    importances: list[Importance] = field(default_factory=list)


def train(
    table: Table,
    model: Any,
    plan: Plan,
    *,
    seed: int = 0,
    on_epoch: OnEpoch | None = None,
    keep: Resume | None = None,
    decision: Decision | None = None,
    tests: Tests | None = None,
    explains: bool = False,
    fit_to: FitTo | None = None,
) -> Trained:
    """Fit a pipeline to a table, and compare it with a trivial and a linear model.

    Ctrl-C ends it early, with what was trained until then.

    Parameters
    ----------
    table : Table
    model : Pipeline
        As :func:`make` gives it.
    plan : Plan
        As :func:`~chainrule.commands.splitting.split` gives it; after folds, the pipeline is
        fitted to all rows.
    seed : int, default=0
        Of the intervals.
    on_epoch : callable (part, most epochs, record), optional
        Called after each epoch; `part` says of what.
    keep : Resume, optional
        Keeps the state of the training in a file; not with folds.
    decision : Decision, optional
        How one of two classes is decided for; its threshold is chosen here, if it asks for one.
    tests : Tests, optional
        Rows to judge on, instead of those that the plan holds out.
    explains : bool, default=False
        Whether to find how much each column matters, and what holds the training back.
    fit_to : callable (pipeline, table, rows, seed) -> int, optional
        Fits the pipeline, and says how many rows it only stopped by; None: to these rows. Where
        the table's rows are a sample of others, it fits it to the others.
    """
    started = time.perf_counter()
    notices = [*table.notices]
    judged = _Predicted()
    interrupted, fitted, rows = False, _Fitted(model), np.arange(len(table.y))
    compared_with: dict[str, Any] = {}
    for i, (rows, held) in enumerate(plan.parts):
        part = f"fold {i + 1} of {len(plan.parts)}" if plan.folds else "training"
        fitted = _fit(clone(model), table, rows, part, seed, on_epoch, notices, keep, fit_to)
        interrupted = fitted.interrupted
        if interrupted and plan.folds:
            break
        if tests is None:
            X, truth, groups = table.X.iloc[held], table.y[held], table.of_rows.take(held).group
        else:
            X, truth, groups = tests.X, tests.y, tests.groups
        try:
            models = _with_baselines(fitted.model, table, rows)
            compared_with = described(models)
            if len(X):
                said = {name: predict_frame(each, X) for name, each in models.items()}
                judged.add(X, truth, said, groups)
        except KeyboardInterrupt:
            interrupted = True
            break
    relied_on = _Importances(fitted.model, judged)
    try:
        if plan.out_of_fold and not interrupted:
            judged.add(None, table.y, _out_of_fold(fitted.model, table), table.of_rows.group)
        if plan.folds and not interrupted:
            rows = np.arange(len(table.y))
            fitted = _fit(clone(model), table, rows, "all rows", seed, on_epoch, notices)
            interrupted = fitted.interrupted
            compared_with = described(_with_baselines(fitted.model, table, rows))
    except KeyboardInterrupt:
        interrupted = True
    final, unreached = fitted.model, None
    if decision is not None and decision.asks_for_threshold and not interrupted:
        try:
            decision = _choose(decision, final, table, plan, rows, judged, model, seed)
        except CannotReachError as error:
            decision, unreached = Decision(decision.positive), str(error)
        except KeyboardInterrupt:
            interrupted = True
    if interrupted and decision is not None:
        decision = Decision(decision.positive)
    seconds = time.perf_counter() - started
    trained = Trained(
        model=final,
        rows={
            "train": len(rows) - fitted.stopped_by,
            "stop": fitted.stopped_by,
            "test": judged.n,
            "left_out": table.left_out + (0 if tests is None else tests.left_out),
        },
        evaluated=_evaluated(plan, tests),
        interrupted=interrupted,
        seconds=seconds,
        findings=_diagnosed(final, table, rows, plan, decision)
        if explains and not interrupted
        else [],
        compared_with=compared_with,
        decision=decision,
        unreached=unreached,
    )
    if judged.n:
        try:
            if judged.groups is not None and numbered(judged.groups) is None:
                notices.append(ONE_GROUP)
            _judge(trained, judged, seed)
            if explains and not interrupted:
                trained.importances = relied_on.found(final, table, plan, seed)
        except KeyboardInterrupt:
            trained.interrupted = True
    trained.notices = list(dict.fromkeys(notices))
    return trained


def _evaluated(plan: Plan, tests: Tests | None) -> str:
    if tests is not None:
        return "another file"
    return "out of fold" if plan.out_of_fold else "folds" if plan.folds else "held out"


class _Predicted:
    """Predictions of rows that were not learnt from, by the model (under "") and the baselines."""

    def __init__(self) -> None:
        self.X: Any = None  # of the last part
        self.truths: list[NDArray[Any]] = []
        self.groups_of: list[NDArray[Any] | None] = []
        self.said: dict[str, list[Any]] = {"": [], "trivial": [], "linear": []}
        self.classes: NDArray[Any] | None = None  # of the rows, where thresholds decide

    def add(
        self, X: Any, truth: NDArray[Any], said: Mapping[str, Any], groups: NDArray[Any] | None
    ) -> None:
        self.X = X
        self.truths.append(truth)
        self.groups_of.append(groups)
        for name, found in said.items():
            self.said[name].append(found)

    @property
    def n(self) -> int:
        return sum(map(len, self.truths))

    @property
    def truth(self) -> NDArray[Any]:
        return np.concatenate(self.truths)

    @property
    def groups(self) -> NDArray[Any] | None:
        if self.groups_of[0] is None:
            return None
        return np.concatenate([each for each in self.groups_of if each is not None])

    @property
    def folds(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.truths)), [len(each) for each in self.truths])

    def of(self, name: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """(predictions, probabilities or None) of a model."""
        parts = self.said[name]
        chances = None if parts[0][1] is None else np.concatenate([part[1] for part in parts])
        return np.concatenate([part[0] for part in parts]), chances


def _choose(
    decision: Decision,
    final: Any,
    table: Table,
    plan: Plan,
    rows: NDArray[Any],
    judged: _Predicted,
    model: Any,
    seed: int,
) -> Decision:
    """The decision with its threshold, from rows that were not learnt from, nor are judged on.

    Where all rows are judged out of fold, each is by the threshold of the other folds.
    """
    classes = final.classes_
    out_of_fold = getattr(final[-1], "oof_prediction_", None)
    if plan.folds or plan.out_of_fold:
        _, chances = judged.of("")
        folds = judged.folds if plan.folds else final[-1]._fold_of_row
        decision, judged.classes = decided_out_of_fold(
            np.asarray(chances), classes, judged.truth, folds, decision
        )
        return decision
    truth = table.y[rows]
    if out_of_fold is None:
        out_of_fold = np.empty((len(rows), 2))
        for train, test in inner_parts(table, rows, seed):
            one = _fit(clone(model), table, train, "threshold", seed, None, []).model
            at = np.searchsorted(rows, test)
            out_of_fold[at] = predict_frame(one, table.X.iloc[test])[1]
    folds = np.zeros(len(rows), np.int64)
    decision, _ = decided_out_of_fold(out_of_fold, classes, truth, folds, decision)
    if judged.n:
        judged.classes = decided(np.asarray(judged.of("")[1]), classes, decision)
    return decision


def _judge(trained: Trained, judged: _Predicted, seed: int) -> None:
    """Evaluate the model, and the baselines without intervals; compare them."""
    model, truth, losses = trained.model, judged.truth, {}
    groups = judged.groups
    for name in judged.said:
        said, chances = judged.of(name)
        decision, resamples = trained.decision, RESAMPLES
        if name:
            resamples = 0
            if chances is not None:
                said = decided(chances, model.classes_, of_baseline(decision))
        elif judged.classes is not None and decision is not None:
            said = judged.classes
        found = judge(
            model,
            truth,
            said,
            chances,
            decision=decision,
            groups=groups,
            seed=seed,
            resamples=resamples,
        )
        losses[name] = row_losses(model, truth, said, chances)
        if name:
            trained.baselines[name] = {metric: e.value for metric, e in found.metrics.items()}
            trained.against.append(against(name, losses[""], losses[name], seed, groups))
        else:
            trained.evaluation = found


class _Importances:
    """Finds which columns matter, by rows that the model has not learnt from."""

    def __init__(self, model: Any, judged: _Predicted) -> None:
        self._model, self._X = model, judged.X
        self._truth = judged.truths[-1] if judged.truths else None
        self._groups = judged.groups_of[-1] if judged.groups_of else None

    def found(self, final: Any, table: Table, plan: Plan, seed: int) -> list[Importance]:
        if plan.out_of_fold:
            return out_of_fold_importances(final, table.X, table.y, seed=seed)
        if self._X is None or self._truth is None:
            return []
        sample = RowSample(seed)
        sample.see(self._X, self._truth, np.arange(len(self._X)))
        X, truth, places = sample.rows()
        groups = None if self._groups is None else self._groups[places]
        used = [column.name for column in table.columns if column.kind in USED]
        return importances(self._model, X, truth, used, groups=groups, seed=seed)


def _diagnosed(
    model: Any,
    table: Table,
    rows: NDArray[Any],
    plan: Plan,
    decision: Decision | None,
) -> list[Finding]:
    """What is found in the training; a diagnosis that cannot be made must not cost the model."""
    from chainrule.explain.diagnosing import diagnose

    def of(chosen: NDArray[Any]) -> tuple[Any, Any]:
        return table.X.iloc[chosen], table.y[chosen]

    def some(chosen: NDArray[Any]) -> tuple[Any, Any]:
        from chainrule.explain.evidence import some_rows

        return of(chosen[some_rows(len(chosen))])

    is_network = isinstance(model[-1], tuple(ESTIMATORS.values()))
    held = {}
    if not plan.folds and len(plan.parts) and len(plan.parts[0][1]):
        held = dict(zip(("X_val", "y_val"), some(plan.parts[0][1]), strict=True))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # An ensemble has a prediction out of fold for each row, so it needs all of them.
            found = diagnose(model, *(some(rows) if is_network else of(rows)), **held)
    except (ValueError, ArithmeticError, MemoryError, KeyboardInterrupt):
        return []
    if decision is not None and decision.threshold is not None:
        # Which class a row is taken for is decided elsewhere than the diagnosis assumes.
        return [each for each in found if each.code != "lost-class"]
    return found


class _Fitted(NamedTuple):
    """A pipeline that was fitted.

    Attributes
    ----------
    model : Pipeline
    interrupted : bool
        Whether Ctrl-C ended it.
    stopped_by : int
        Rows that were held out to stop by.
    """

    model: Any
    interrupted: bool = False
    stopped_by: int = 0


def _fit(
    model: Any,
    table: Table,
    rows: NDArray[Any],
    part: str,
    seed: int,
    on_epoch: OnEpoch | None,
    notices: list[str],
    keep: Resume | None = None,
    fit_to: FitTo | None = None,
) -> _Fitted:
    """Fit a pipeline to some rows. Warnings become notices."""
    last = model[-1]
    last.callbacks = [] if keep is None else [keep]
    if on_epoch is not None:

        def record_epoch(estimator: Any, record: Mapping[str, Any]) -> None:
            of = f"{part}, {record['part']} networks" if "part" in record else part
            on_epoch(of, record.get("epochs") or estimator.max_iter, record)

        last.callbacks.append(record_epoch)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stopped_by = (fit_to or _fit_to)(model, table, rows, seed)
    last.callbacks = None
    said = [str(warning.message) for warning in caught]
    used_up = (
        f"all {getattr(last, 'max_iter', 0)} epochs were used; more may do better (--max-iter)"
    )
    for text in said:
        about = used_up if "Maximum iterations" in text else text
        if text != STOPPED and not any(idle in text for idle in IDLE):
            notices.append(about)
    return _Fitted(model, STOPPED in said, stopped_by)


def _fit_to(model: Any, table: Table, rows: NDArray[Any], seed: int) -> int:
    """Fit a pipeline to some rows; how many of them it only stopped by."""
    last: Any = model[-1]
    of = table.of_rows.take(rows)
    if not hasattr(last, "early_stopping"):  # an ensemble
        groups = {} if of.group is None else {"groups": of.group}
        fit_pipeline(model, table.X.iloc[rows], table.y[rows], weight=of.weight, **groups)
        return 0
    held = None
    if last.early_stopping:
        held = stopping_rows(table, rows, last.validation_fraction, seed)
    stop = None if held is None else np.searchsorted(rows, held)
    fit_pipeline(model, table.X.iloc[rows], table.y[rows], weight=of.weight, stop=stop)
    if held is not None:
        return len(held)
    return int(np.ceil(last.validation_fraction * len(rows))) if last.early_stopping else 0


def _with_baselines(model: Any, table: Table, rows: NDArray[Any]) -> dict[str, Any]:
    """The model, and beside it a trivial and a linear one behind the same preprocessing."""
    Z = training_columns(model, table.X.iloc[rows], table.y[rows])
    weight = table.of_rows.take(rows).weight
    steps = preparation(model)
    fitted = fit_baselines(Z, table.y[rows], table.task, weight, score_of(model).quantiles)
    return {"": model} | {
        name: Pipeline([*steps, ("model", each)]) for name, each in fitted.items()
    }


def _out_of_fold(model: Any, table: Table) -> dict[str, tuple[Any, Any]]:
    """Out-of-fold predictions of an ensemble and of its baselines: (predictions, chances).

    Those of the baselines are of the ensemble's folds.
    """
    est, classes = model[-1], table.task == "classification"
    said = est.oof_prediction_
    found = {"": (est.classes_[said.argmax(axis=1)], said) if classes else (said, None)}
    Z, folds, n = training_columns(model, table.X, table.y), est._fold_of_row, len(table.y)
    values = {name: np.empty(n, table.y.dtype) for name in NAMES}
    chances: dict[str, Any] = {
        name: np.zeros((n, len(est.classes_))) if classes else None for name in NAMES
    }
    for fold in np.unique(folds):
        held, rows = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        weight = table.of_rows.take(rows).weight
        for name, each in fit_baselines(Z[rows], table.y[rows], table.task, weight).items():
            values[name][held] = each.predict(Z[held])
            if classes:  # of which the other folds may lack one
                known = np.searchsorted(est.classes_, each.classes_)
                chances[name][np.ix_(held, known)] = each.predict_proba(Z[held])
    return found | {name: (values[name], chances[name]) for name in NAMES}
