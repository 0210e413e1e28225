"""What a search is asked, and what it gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.base.validation import ShownAsText
from chainrule.estimators.row_columns import RowColumns
from chainrule.estimators.row_splits import Samples, stopping_rows
from chainrule.estimators.tabular import fit_pipeline, tabular_pipeline
from chainrule.search.budgets import in_words
from chainrule.search.comparing import Comparison, Interval
from chainrule.search.measures import Measure


@dataclass
class Found:
    """What a search has found, before it is judged.

    Attributes
    ----------
    parameters : dict of str to anything
        Of the network that did best: those that were searched, and those that were fixed.
    defaults : dict of str to anything
        Of the network with the defaults, and the same that were fixed.
    measure : Measure
    value, default_value : float or None
        What the two measured in the folds; None: no trial was completed.
    trials : list of dict
        number, state ("complete", "pruned" or "failed"), value, parameters, seconds (of the fits),
        error.
    ended : {"trials", "budget", "interrupted"}
    seconds : float
    folds : int
        1: a part was held out.
    jobs : int
    study : str or None
    notices : list of str
    deadline : float
        When the budget ends, as `time.time` counts.
    """

    parameters: dict[str, Any]
    defaults: dict[str, Any]
    measure: Measure
    value: float | None
    default_value: float | None
    trials: list[dict[str, Any]]
    ended: str
    seconds: float
    folds: int
    jobs: int
    study: str | None
    notices: list[str]
    deadline: float

    @property
    def changed(self) -> dict[str, Any]:
        """The settings that did best and are not the defaults."""
        return {
            name: value
            for name, value in self.parameters.items()
            if name not in self.defaults or self.defaults[name] != value
        }


@dataclass
class Tuned(ShownAsText):
    """What :func:`tune` gives.

    Attributes
    ----------
    model : Pipeline
        Fitted to the rows that were not held out.
    found : Found
        The settings, all trials, and how the search ended.
    against_defaults : Comparison or None
        The model compared with the default settings, on rows that the search has not seen.
    against_ensemble : Comparison or None
        The same of the tabular ensemble; None: it was not asked for, or there was no time.
    """

    model: Any
    found: Found
    against_defaults: Comparison | None
    against_ensemble: Comparison | None

    @property
    def parameters(self) -> dict[str, Any]:
        """The settings that did best and are not the defaults."""
        return self.found.changed

    @property
    def worth_it(self) -> bool:
        """Whether the gain over the defaults is shown: its whole interval is above 0."""
        return self.against_defaults is not None and self.against_defaults.shown

    def __str__(self) -> str:
        return "\n".join(told(self.found, self.against_defaults, self.against_ensemble))


class Part(NamedTuple):
    """A fold: rows to learn from, to measure on, and to stop by.

    Attributes
    ----------
    learn, held : int64 arrays
    stop : int64 array or None
        Of those to learn from; None: the estimator chooses them.
    """

    learn: NDArray[np.int64]
    held: NDArray[np.int64]
    stop: NDArray[np.int64] | None = None


class Question(NamedTuple):
    """A table and what is asked of it, as :func:`search` takes it.

    Attributes
    ----------
    X, y : pandas.DataFrame, array
        The rows to search on.
    task : {"classification", "regression"}
    measure : Measure
    fixed : dict of str to anything
        Parameters of the network that are not searched.
    encoding : dict of str to anything
        `kinds`, `max_levels` and `missing_texts` of `tabular_pipeline`.
    seed : int
    facts : RowColumns
        What each row counts for; by which groups or times the rows are split.
    """

    X: Any
    y: NDArray[Any]
    task: str
    measure: Measure
    fixed: Mapping[str, Any]
    encoding: Mapping[str, Any]
    seed: int
    facts: RowColumns = RowColumns()

    @property
    def samples(self) -> Samples:
        """What the rows are split by."""
        return Samples(self.y, self.task, self.facts)

    def take(self, rows: NDArray[np.int64]) -> Question:
        """The same of some rows."""
        return self._replace(X=self.X.iloc[rows], y=self.y[rows], facts=self.facts.take(rows))

    def pipeline(self, parameters: Mapping[str, Any]) -> Any:
        """An unfitted model with these parameters."""
        return tabular_pipeline(
            self.task, model="network", random_state=self.seed, **self.encoding, **parameters
        )

    def stopping(
        self, learnt: NDArray[np.int64], parameters: Mapping[str, Any]
    ) -> NDArray[np.int64] | None:
        """Rows to stop a fit by, of those it learns from; None: the estimator chooses them."""
        if not parameters.get("early_stopping", True):
            return None
        fraction = parameters.get("validation_fraction", 0.1)
        found = stopping_rows(self.samples.take(learnt), fraction, self.seed)
        return None if found is None else learnt[found]

    def fitted(self, parameters: Mapping[str, Any]) -> Any:
        """A model with these parameters, fitted to all rows."""
        model, stop = self.pipeline(parameters), self.stopping(np.arange(len(self.y)), parameters)
        return fit_pipeline(model, self.X, self.y, weight=self.facts.weight, stop=stop)


def told(
    found: Found, against_defaults: Comparison | None, against_ensemble: Comparison | None
) -> list[str]:
    """What a search found, in lines."""
    label = found.measure.label
    states = Counter(trial["state"] for trial in found.trials)
    counts = ", ".join(f"{n} {state}" for state, n in states.items())
    how = f"in {found.folds} folds" if found.folds > 1 else "on a part held out"
    lines = [
        f"{len(found.trials)} trials ({counts}) {how}, {in_words(found.seconds)}"
        f"{', ended by Ctrl-C' * (found.ended == 'interrupted')}"
    ]
    if found.value is not None:
        of_defaults = "–" if found.default_value is None else f"{found.default_value:.4g}"
        lines.append(
            f"In the search, the least {label} was {found.value:.4g}; of the defaults {of_defaults}"
        )
    settings = ", ".join(f"{name}={value!r}" for name, value in found.changed.items())
    lines.append(f"Settings: {settings or 'the defaults'}")
    if against_defaults is not None:
        both = against_defaults
        lines.append(
            f"On {both.rows:,} rows that the search has not seen: {both.label} "
            f"{between(both.first)}, "
            f"of the defaults {between(both.second)}"
        )
        lines.append(verdict(found, both))
    if against_ensemble is not None:
        other = against_ensemble
        said = f"An ensemble with nothing to tune: {other.label} {between(other.second)}"
        if other.gain.high < 0:
            said += "; it does better (chainrule train --model tabular, or fast)"
        elif other.gain.low > 0:
            said += "; it does worse"
        else:
            said += "; no difference is shown"
        lines.append(said)
    return lines


def verdict(found: Found, both: Comparison) -> str:
    """Whether the search was worth it."""
    gain, label = both.gain, both.label
    if not found.changed:
        return "Not worth it: no settings did better than the defaults, which the model has"
    part = f", {gain.value / both.second.value:.1%} of it" if both.second.value > 0 else ""
    if both.shown:
        return f"Worth it: the {label} falls by {between(gain)}{part}"
    if gain.high < 0:
        rise = Interval(-gain.value, -gain.high, -gain.low)
        return f"Not worth it: the {label} rises by {between(rise)}"
    return (
        f"Not shown to be worth it: the gain is {between(gain)}, and the interval holds 0; "
        "the defaults may do as well"
    )


def between(value: Interval) -> str:
    """A number and its interval in print."""
    return f"{value.value:.4g} ({value.low:.4g} to {value.high:.4g})"
