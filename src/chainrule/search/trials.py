"""One trial: a network with some settings, fitted in folds and measured on what they leave out."""

from __future__ import annotations

import contextlib
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.estimators.tabular import tabular_pipeline
from chainrule.monitoring.callbacks import Callback, Record
from chainrule.search.measures import Measure, row_losses
from chainrule.search.spaces import Space, parameters_at
from chainrule.search.study import (
    ERROR,
    PROCESS,
    SECONDS,
    counting,
    optuna,
    this_process,
    trials_of,
)

STARTUP = (
    10  # trials whose settings are drawn at random, before a model of the others proposes them
)
HOPELESS = 10  # so many trials that fail, and none that does not, end a search
FIRST_RUNG = 4  # epochs after which fits are first compared
RUNGS = 32  # more than the powers of 2 among the epochs of a fit
STOPPED = "Training interrupted by user."


class OutOfTimeError(Exception):
    """The budget is used up, or the search was told to end."""


class Fold(NamedTuple):
    """What one fold learns from, and what it is measured on, as numbers for the network.

    `beside` is what else `fit` is given: weights, and rows to stop by. `weight_test` is what the
    rows that it is measured on count for; None: every row once.
    """

    X: NDArray[Any]
    y: NDArray[Any]
    X_test: NDArray[Any]
    y_test: NDArray[Any]
    beside: Mapping[str, Any]
    weight_test: NDArray[Any] | None = None


@dataclass
class Search:
    """All that a process needs to make trials.

    Attributes
    ----------
    task : str
    measure : Measure
    space : dict of str to (Numbers or Names)
    fixed : dict of str to anything
        Parameters of every network.
    folds : list of Fold
    seed : int
        Of all fits, so that trials differ by their settings alone, and of what is proposed.
    most_trials : int or None
    deadline : float
        As `time.time` counts; infinity: none.
    stop : path or None
        A search ends when there is such a file.
    parent : int or None
        The process that started this one, with which it ends.
    """

    task: str
    measure: Measure
    space: Space
    fixed: Mapping[str, Any]
    folds: Sequence[Fold]
    seed: int
    most_trials: int | None
    deadline: float = math.inf
    stop: str | None = None
    parent: int | None = None

    def is_over(self) -> bool:
        """Whether there is no more time, or nobody waits for more."""
        return (
            time.time() >= self.deadline
            or (self.stop is not None and os.path.exists(self.stop))
            or (self.parent is not None and os.getppid() != self.parent)
        )

    def estimator(self, point: Mapping[str, Any]) -> Any:
        """The network at a point of the space."""
        chosen = {**self.fixed, **parameters_at(point)}
        made = tabular_pipeline(self.task, model="network", random_state=self.seed, **chosen)
        return made[-1]


@dataclass(eq=False)
class Watch(Callback):
    """Ends a fit that is worse than most were at its epoch, and any when time is up.

    Epochs 4, 8, 16 and so on are compared: each comparison is written to the study's file, which
    takes as long as some epochs of a small network.
    """

    trial: Any
    search: Search
    fold: int
    least: float = math.inf
    is_pruned: bool = False
    is_late: bool = field(default=False)

    def on_epoch_end(self, estimator: Any, record: Record) -> bool:
        """Report the least loss so far on the rows held out, and ask whether to go on."""
        if self.search.is_over():
            self.is_late = True
            return True
        loss, epoch = record["validation_loss"], int(record["epoch"]) + 1
        if loss is None:
            return False
        self.least = min(self.least, float(loss))
        if epoch < FIRST_RUNG or epoch & (epoch - 1) or not math.isfinite(self.least):
            return False
        self.trial.report(self.least, self.fold * RUNGS + epoch.bit_length())
        self.is_pruned = bool(self.trial.should_prune())
        return self.is_pruned


def measured(search: Search, trial: Any) -> float:
    """The value of a trial: the measure, on the rows of all folds together, by their weights.

    Raises
    ------
    optuna.TrialPruned
        It does worse than most.
    OutOfTimeError, KeyboardInterrupt
        It was ended.
    ValueError, ArithmeticError, MemoryError
        It failed.
    """
    estimator = search.estimator(trial.params)
    given = list(estimator.callbacks or ())
    losses = []
    seconds = 0.0
    for k, fold in enumerate(search.folds):
        watch = Watch(trial, search, k)
        estimator.callbacks = [*given, watch]
        started = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator.fit(fold.X, fold.y, **fold.beside)
        seconds += time.perf_counter() - started
        trial.set_user_attr(SECONDS, seconds)
        if any(STOPPED in str(each.message) for each in caught):
            raise KeyboardInterrupt
        if watch.is_late:
            raise OutOfTimeError
        if watch.is_pruned:
            raise optuna().TrialPruned
        losses.append(row_losses(search.measure, estimator, fold.X_test, fold.y_test))
    weights = [fold.weight_test for fold in search.folds if fold.weight_test is not None]
    weight = np.concatenate(weights) if weights else None
    value = float(search.measure.of(np.concatenate(losses), weight))
    if not math.isfinite(value):
        raise ValueError(f"the {search.measure.label} is not finite")
    return value


def run_trials(
    search: Search, study: Any, after: Callable[[], None] | None = None, most: int | None = None
) -> None:
    """Make trials until there are enough or time is up; each is kept as soon as it is over.

    What is proposed depends on the seed, on how many trials came before and on their values alone:
    a search that was ended and goes on proposes what it would have proposed.

    Parameters
    ----------
    search : Search
    study : optuna.Study
    after : callable () -> None, optional
        Called after each trial.
    most : int, optional
        So many here, at most.
    """
    library = optuna()
    states = library.trial.TrialState
    study.pruner = library.pruners.MedianPruner(n_startup_trials=5, n_min_trials=3)
    done = 0
    while most is None or done < most:
        there = counting(study)
        if search.is_over() or _are_enough(search, there) or _is_hopeless(there):
            return
        trial = study.ask()
        trial.set_user_attr(PROCESS, this_process())
        before = [each for each in counting(study) if each.number < trial.number]
        if _are_enough(search, before):  # another process was quicker
            study.tell(trial, state=states.FAIL)
            return
        study.sampler = _sampler(library, search.seed, len(before))
        value, state = None, states.FAIL
        try:
            for name, each in search.space.items():
                each.suggested(trial, name)
            value, state = measured(search, trial), states.COMPLETE
        except library.TrialPruned:
            state = states.PRUNED
        except OutOfTimeError:
            return
        except (ValueError, ArithmeticError, MemoryError) as error:
            said = " ".join(str(error).split()) or type(error).__name__
            trial.set_user_attr(ERROR, said)
        finally:
            with contextlib.suppress(KeyboardInterrupt):
                study.tell(trial, value, state)
        done += 1
        if after is not None:
            after()


def _are_enough(search: Search, there: Sequence[Any]) -> bool:
    return search.most_trials is not None and len(there) >= search.most_trials


def _is_hopeless(there: Sequence[Any]) -> bool:
    """Whether so many trials have failed that all are likely to."""
    return len(there) >= HOPELESS and all(each.state.name == "FAIL" for each in there)


def _sampler(library: Any, seed: int, number: int) -> Any:
    drawn = np.random.SeedSequence([seed, number]).generate_state(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant_liar is called experimental
        return library.samplers.TPESampler(
            n_startup_trials=STARTUP, constant_liar=True, seed=int(drawn[0])
        )


def failures(study: Any) -> list[str]:
    """What the trials that failed said."""
    return [t.user_attrs[ERROR] for t in trials_of(study) if ERROR in t.user_attrs]
