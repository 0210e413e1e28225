"""`chainrule.tune`: good settings of a network for a table, and whether they are worth it."""

from __future__ import annotations

import math
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.base.validation import check_target, is_whole, suggest
from chainrule.estimators.cleaning import MAX_LEVELS
from chainrule.estimators.row_columns import given_columns
from chainrule.estimators.row_splits import held_out
from chainrule.estimators.tabular import ESTIMATORS
from chainrule.search.budgets import seconds_of
from chainrule.search.engines import choose_engine
from chainrule.search.folds import encoded, parts_of, too_few_to_stop
from chainrule.search.judging import ENSEMBLES, judge
from chainrule.search.measures import measure_for
from chainrule.search.results import Found, Question, Tuned
from chainrule.search.spaces import defaults_in, parameters_at, space_for
from chainrule.search.study import (
    ERROR,
    SECONDS,
    are_asked_for,
    best_of,
    close,
    counting,
    drop_abandoned,
    fingerprint,
    open_study,
    optuna,
    trials_of,
)
from chainrule.search.trials import Search, failures, run_trials
from chainrule.search.workers import processes, share
from chainrule.tables.cells import as_frame
from chainrule.tables.columns import task_of

USUAL_BUDGET = 300.0  # seconds


def tune(
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    groups: Any = None,
    times: Any = None,
    task: str | None = None,
    metric: str | None = None,
    budget: float | str | None = None,
    trials: int | None = None,
    jobs: int = 1,
    folds: int | None = None,
    test_fraction: float = 0.2,
    study: str | os.PathLike[str] | None = None,
    compare_with: str | None = "fast",
    kinds: Mapping[str, str] | None = None,
    max_levels: int = MAX_LEVELS,
    missing_texts: Sequence[str] | None = None,
    random_state: int = 0,
    on_trial: Callable[[int, float | None], Any] | None = None,
    **parameters: Any,
) -> Tuned:
    """Search for good settings of a network for a table, and say whether they are worth it.

    A part of the rows is held out from the search. On the others, each trial fits a
    `tabular_pipeline` of a network with some settings in the same folds; the first trial has the
    defaults, Optuna proposes the others, and a fit that does worse than most at its epoch is ended
    early. The settings that do best are fitted once more, and compared with the defaults on the
    rows that were held out: the best of many trials is partly lucky, so that its own figure says
    too much.

    Parameters
    ----------
    X : data frame of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
        Classes or numbers.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        What each row counts for, 0 or more: in every fit, in what trials are measured by, and in
        the comparisons. Rows of weight 0 are left out. None: every row counts once.
    groups : array-like of shape (n_samples,) or None, default=None
        The group of each row, such as a patient: what is learned from, stopped by, measured on and
        held out share no group. There must be 3 or more.
    times : array-like of shape (n_samples,) or None, default=None
        The time of each row, as a number or a date: what is held out is later than what the search
        sees, what trials are measured on later than what they learn from and are stopped by. Rows
        of one time stay together. Trials are measured once, on the latest rows. Not with `groups`.
    task : {"classification", "regression"} or None, default=None
        None: by y.
    metric : {"log_loss", "error", "rmse", "mae"} or None, default=None
        What is made small. None: the log loss of classes, the RMSE of numbers.
    budget : float, str or None, default=None
        Seconds, or a text such as "90s", "5m" or "1h30m", for the search and the fits after it;
        compiling, once a machine, is not counted. None: 5 minutes, or no limit if `trials` is
        given.
    trials : int or None, default=None
        How many trials the study is to have in all.
    jobs : int, default=1
        Processes that make trials at once; -1: one a core. With one process, and `trials` in place
        of `budget`, the same call gives the same trials.
    folds : int or None, default=None
        Folds of the cross-validation; 1: hold out a fifth instead. None: 5 below 2,000 rows, 3
        below 10,000, else 1; and not more than there are groups. With `times`, 1.
    test_fraction : float, default=0.2
        The part of the rows that the search does not see.
    study : path or None, default=None
        SQLite file that keeps every trial. One that is there is gone on with: after a kill, or
        from several processes at once. None: a temporary one.
    compare_with : {"fast", "best"} or None, default="fast"
        Preset of the `TabularClassifier` or `TabularRegressor`, which has nothing to tune, that is
        compared as well.
    kinds, max_levels, missing_texts :
        As for `tabular_pipeline`.
    random_state : int, default=0
        For splits, starting values and proposals.
    on_trial : callable (trials, least) or None, default=None
        Called when trials have ended: how many count, and the least value so far.
    **parameters
        Of `MLPClassifier` or `MLPRegressor`; they are fixed, and not searched.

    Returns
    -------
    Tuned
        ``model`` is fitted; ``parameters`` are the settings; ``worth_it`` and ``str()`` of it say
        what was gained.

    Raises
    ------
    ImportError
        Optuna is not installed: ``pip install "chainrule[tune]"``.
    ValueError
        An argument or a parameter of the network is wrong, there are too few rows, groups or times,
        a class would be in held-out rows alone, all trials fail, or `study` is of other data.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import chainrule
    >>> iris = load_iris(as_frame=True)
    >>> tuned = chainrule.tune(iris.data, iris.target, trials=3, compare_with=None, max_iter=20)
    >>> len(tuned.found.trials)
    3
    >>> tuned.model.predict(iris.data.head(2)).tolist()
    [0, 0]
    """
    optuna()
    import pandas as pd

    frame, target = as_frame(X), np.asarray(y)
    if target.shape != (len(frame),):
        raise ValueError(
            f"y must have one value for each of the {len(frame):,} rows of X; it has the shape "
            f"{target.shape}"
        )
    if task not in (None, *ESTIMATORS):
        raise ValueError(f"there is no task {task!r}; {suggest(str(task), ESTIMATORS)}")
    if not is_whole(random_state) or not 0 <= random_state < 2**32:
        raise ValueError(
            f"random_state must be a whole number from 0 to {2**32 - 1}, with which the search can "
            f"be repeated and gone on with; got {random_state!r}"
        )
    task = task or task_of(pd.Series(y))
    target = np.asarray(check_target(target, task == "regression"))
    facts = given_columns(len(frame), sample_weight=sample_weight, groups=groups, times=times)
    question = Question(
        frame,
        target,
        task,
        measure_for(task, metric, facts.weight),
        parameters,
        {"kinds": kinds, "max_levels": max_levels, "missing_texts": missing_texts},
        int(random_state),
        facts,
    )
    if facts.weight is not None:
        question = question.take(np.flatnonzero(facts.weight))
    if compare_with not in (None, *ENSEMBLES):
        raise ValueError(f"compare_with must be None, 'fast' or 'best'; got {compare_with!r}")
    rows, held = held_out(question.samples, test_fraction, random_state)
    of_rows, aside = question.take(rows), question.take(held)
    found = search(
        of_rows,
        budget=budget,
        trials=trials,
        jobs=jobs,
        folds=folds,
        study=study,
        on_trial=on_trial,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = of_rows.fitted(found.parameters)
    judged = aside.X, aside.y, aside.facts
    return Tuned(model, found, *judge(of_rows, found, model, *judged, compare_with))


def search(
    question: Question,
    *,
    budget: float | str | None = None,
    trials: int | None = None,
    jobs: int = 1,
    folds: int | None = None,
    study: str | os.PathLike[str] | None = None,
    on_trial: Callable[[int, float | None], Any] | None = None,
) -> Found:
    """Search on the rows of a question; see :func:`tune` for the parameters."""
    started = time.perf_counter()
    seconds = seconds_of(budget) if budget is not None else math.inf if trials else USUAL_BUDGET
    if trials is not None and not is_whole(trials):
        raise ValueError(f"trials must be a whole number; got {trials!r}")
    if trials is not None and trials < 1:
        raise ValueError(f"trials must be 1 or more; got {trials}")
    if on_trial is not None and not callable(on_trial):
        raise TypeError(f"on_trial must be a function (trials, least), or None; got {on_trial!r}")
    jobs, notices = processes(jobs), []
    fixed = dict(question.fixed)
    parts = [
        part._replace(stop=question.stopping(part.learn, fixed))
        for part in parts_of(question.samples, folds, question.seed)
    ]
    if "early_stopping" not in fixed and (why := too_few_to_stop(question, parts)):
        fixed["early_stopping"] = False
        notices.append(why)
    searched = space_for(min(len(part.learn) for part in parts), fixed)
    if not searched:
        raise ValueError("every setting that would be searched is fixed")
    # What is wrong in every trial is refused before a study is made.
    first = question.pipeline({**fixed, **parameters_at(defaults_in(searched))})[-1]
    first._validate_params()
    first._check_combination()
    about = fingerprint(
        question.X,
        question.y,
        question.facts,
        target=str(question.y.dtype.kind),
        task=question.task,
        metric=question.measure.name,
        folds=len(parts),
        seed=question.seed,
        fixed=fixed,
        space={name: repr(each) for name, each in searched.items()},
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study" if study is None else Path(study)
        kept = open_study(path, about)
        try:
            work = Search(
                question.task,
                question.measure,
                searched,
                fixed,
                [encoded(question, part, fixed.get("early_stopping", True)) for part in parts],
                question.seed,
                trials,
            )
            drop_abandoned(kept)
            left = seconds - (time.perf_counter() - started)  # compiling is not counted
            choose_engine(work, kept, seconds, notices)
            ended, deadline = _run(work, kept, path, left, jobs, on_trial, notices)
            return _found(work, kept, ended, deadline, started, jobs, study, notices)
        finally:
            close(kept)


def _run(
    work: Search,
    study: Any,
    path: Path,
    seconds: float,
    jobs: int,
    on_trial: Callable[[int, float | None], Any] | None,
    notices: list[str],
) -> tuple[str, float]:
    """Make the trials: the defaults here, the others in as many processes; (how it ended, when)."""

    def after() -> None:
        if on_trial is not None:
            best = best_of(study)
            over = [trial for trial in counting(study) if trial.state.is_finished()]
            on_trial(len(over), None if best is None else best.value)

    deadline = time.time() + seconds
    # What comes after the search gets a third of the time at most: the fits of the settings that
    # did best, of the defaults, and of the ensemble.
    work.deadline = deadline - seconds / 3
    defaults = defaults_in(work.space)
    interrupted = False
    try:
        if _trial_at(study, defaults) is None and not are_asked_for(study, defaults):
            study.enqueue_trial(defaults)
            run_trials(work, study, after, most=1)
        if (first := _trial_at(study, defaults)) is not None:
            one = first.user_attrs.get(SECONDS, 0.0) / len(work.folds)
            work.deadline = max(work.deadline, deadline - 5 * one - 1)
        interrupted, more = share(work, study, path, jobs, after)
        notices += more
    except KeyboardInterrupt:
        interrupted = True
    if interrupted:
        return "interrupted", deadline
    return ("budget" if time.time() >= work.deadline else "trials"), deadline


def _trial_at(study: Any, point: Mapping[str, Any]) -> Any:
    """The complete trial at a point of the space, if there is one."""
    return next(
        (t for t in trials_of(study) if t.state.name == "COMPLETE" and t.params == point), None
    )


def _found(
    work: Search,
    study: Any,
    ended: str,
    deadline: float,
    started: float,
    jobs: int,
    path: Any,
    notices: list[str],
) -> Found:
    """What the study holds.

    Raises
    ------
    ValueError
        There are trials, and all have failed.
    """
    best, failed = best_of(study), failures(study)
    if best is None and failed:
        raise ValueError(
            f"all {len(failed)} trials failed; the first: {failed[0]}"
            + ("" if path is None else f". They are kept in {path}")
        )
    fixed = dict(work.fixed)
    if best is None and ended == "budget":
        notices.append("no trial was completed within the budget; the settings are the defaults")
        fixed.setdefault("time_limit", max(1.0, deadline - time.time()))
    if failed:
        notices.append(f"{len(failed)} trials failed; the first: {failed[0]}")
    if under_way := sum(trial.state.name == "RUNNING" for trial in trials_of(study)):
        notices.append(f"{under_way} trials are under way in other processes, and not counted here")
    start = defaults_in(work.space)
    first = _trial_at(study, start)
    point = start if best is None else best.params
    return Found(
        parameters={**fixed, **parameters_at(point)},
        defaults={**fixed, **parameters_at(start)},
        measure=work.measure,
        value=None if best is None else best.value,
        default_value=None if first is None else first.value,
        trials=[_as_dict(trial) for trial in counting(study) if trial.state.is_finished()],
        ended=ended,
        seconds=time.perf_counter() - started,
        folds=len(work.folds),
        jobs=jobs,
        study=None if path is None else os.fspath(path),
        notices=notices,
        deadline=deadline,
    )


def _as_dict(trial: Any) -> dict[str, Any]:
    state = {"COMPLETE": "complete", "PRUNED": "pruned"}.get(trial.state.name, "failed")
    return {
        "number": trial.number,
        "state": state,
        "value": trial.value if state == "complete" else None,
        "parameters": parameters_at(trial.params),
        "seconds": trial.user_attrs.get(SECONDS),
        "error": trial.user_attrs.get(ERROR),
    }
