"""The course of a fit: epochs until all are run, nothing improves, or somebody says stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg.blas import dnrm2
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import shuffle as shuffled_as_in_sklearn

from chainrule.base.types import Array, Index
from chainrule.base.validation import warn_user
from chainrule.equations.schedules import Plateau, as_schedule
from chainrule.estimators.magnitudes import largest_of
from chainrule.monitoring.callbacks import (
    ProgressBar,
    Record,
    StateCallback,
    as_callbacks,
    in_notebook,
    on_terminal,
    running,
)
from chainrule.training.descent import Descent
from chainrule.training.divergence import explain
from chainrule.training.loop import Epoch, EpochLoop
from chainrule.training.samples import Samples, draw_order
from chainrule.training.state import LEARNED, Copies

NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)
SPARSE_BLOCK = 1 << 20  # numbers of a sparse matrix made dense at a time


class Rates:
    """The learning rate of each step, by scikit-learn's three rules, a schedule or a plateau."""

    def __init__(self, est: Any, n: int, m: int, epochs: int) -> None:
        given = est.learning_rate
        self.base, self.power = float(est.learning_rate_init), est.power_t
        self.per_epoch = -(-n // m)
        self.planned = self.per_epoch * epochs
        self.rule = given if given in ("constant", "invscaling", "adaptive") else ""
        if est.compat == "sklearn" and self.rule and est.solver != "sgd":
            self.rule = "constant"  # scikit-learn's Adam knows no other
        self.schedule: Any = None
        if not self.rule:
            self.schedule = as_schedule(given)
        self.current = self.base
        self._same = self.base, np.full(self.per_epoch, self.base)  # of all steps in an epoch
        self.plateau = self.schedule.start() if isinstance(self.schedule, Plateau) else None
        # Whether the rates of later epochs depend on nothing but their number, until patience ends.
        self.known_ahead = self.rule != "invscaling" and self.plateau is None
        if self.rule == "invscaling" and est.t_:
            self.current = self.base / (est.t_ + 1) ** self.power

    def of_epoch(self, epoch: int) -> Array:
        """(steps,) float64."""
        if self.schedule is None or self.plateau is not None:
            if self._same[0] != self.current:
                self._same = self.current, np.full(self.per_epoch, self.current)
            return self._same[1]
        t = np.arange(epoch * self.per_epoch, (epoch + 1) * self.per_epoch, dtype=np.float64)
        rates: Array = self.base * np.asarray(
            self.schedule.factor(t, self.planned, self.per_epoch), np.float64
        )
        if not (np.isfinite(rates).all() and (rates >= 0).all()):
            raise ValueError(f"learning_rate: {self.schedule.name!r} gave a rate that is not >= 0")
        return rates

    def epoch_over(self, epoch: int, t: int, value: float) -> None:
        """Move on, given the samples seen and the monitored value (lower is better)."""
        if self.rule == "invscaling":
            self.current = self.base / (t + 1) ** self.power
        elif self.plateau is not None:
            self.current = self.base * self.plateau.update(epoch, value)

    def retry(self) -> str | None:
        """Instead of stopping: a smaller rate, if that is the rule. Returns what to say."""
        if self.rule != "adaptive" or self.current <= 1e-6:
            return None
        self.current /= 5
        return f"Setting learning rate to {self.current:f}"

    def last_words(self) -> str:
        """What to say when a fit stops, since there is no smaller rate to try."""
        return "Learning rate too small. Stopping." if self.rule == "adaptive" else "Stopping."


class Watch:
    """Keeps what a fit has come to: curves, the best parameters, when to stop."""

    def __init__(
        self,
        est: Any,
        descent: Descent,
        validation: Any,
        epochs: int,
        given: tuple[Any, Any, Any],
    ) -> None:
        self.est, self.validation, self.given = est, validation, given
        self.sklearn_context = getattr(est, "_callback_fit_ctx", None)
        self.verbose = est.verbose
        self.callbacks = as_callbacks(est.callbacks)
        if est.verbose and est.verbose < 2 and (on_terminal() or in_notebook()):
            self.callbacks.insert(0, ProgressBar(epochs))
            self.verbose = 0
        self.epoch_end: Callable[[Record], bool] = lambda record: False
        self.best: Copies | None = None
        self.best_value = self._value_begun_with = -math.inf  # that the judgement goes by
        self._run = len(est.loss_curve_)
        if validation is not None:
            self._begin_validation(descent)
        if est.compat != "sklearn":
            est._no_improvement_count = 0
        self.started = time.monotonic()

    def _begin_validation(self, descent: Descent) -> None:
        """Prepare the curves; parameters to go on from are the first candidates for best."""
        est, run = self.est, self._run
        for name in ("validation_loss_curve_", "validation_scores_"):
            curve = getattr(est, name) or []
            setattr(est, name, curve + [math.nan] * (run - len(curve)))
        if est.scoring is not None or run:
            loss, score = self._validate(descent)  # a scorer that cannot work fails here
        if run == 0:
            est.best_validation_score_ = -np.inf
        else:
            if est.compat != "sklearn" or est.best_validation_score_ is None:
                est.best_validation_score_ = score
            begun_with = est._judgement(loss, est.best_validation_score_)
            self.best_value = self._value_begun_with = begun_with
            self.best = descent.state.copy(LEARNED)
            est.best_iteration_ = est.best_iteration_ or run

    def go_on(self) -> None:
        """Find the best value again, from the curves of a fit that is resumed."""
        est = self.est
        if self.validation is not None:
            curves = est.validation_loss_curve_[self._run :], est.validation_scores_[self._run :]
            values = [est._judgement(*pair) for pair in zip(*curves, strict=True)]
            values = [value for value in values if not math.isnan(value)]
            self.best_value = max([self._value_begun_with, *values])

    def say(self, text: str) -> None:
        """Print a line, if `verbose` is set."""
        if self.verbose:
            print(text)

    def record(
        self, descent: Descent, nabla: Array, loss: float, rate: float, seconds: float
    ) -> dict[str, Any]:
        """Take note of an epoch, given its last gradient; returns its row of history_."""
        est = self.est
        est.loss_ = loss
        est.loss_curve_.append(loss)
        if self.verbose:
            self.say(f"Iteration {est.n_iter_}, loss = {loss:.8f}")
        validation_loss = score = None
        if self.validation is not None:
            validation_loss, score = self._validate(descent)
            est.validation_loss_curve_.append(validation_loss)
            est.validation_scores_.append(score)
            self.say(f"Validation score: {score:f}")
        self._improve(descent, loss, validation_loss, score)
        row = {
            "epoch": len(est.history_),
            "loss": loss,
            "validation_loss": validation_loss,
            "validation_score": score,
            "learning_rate": rate,
            "gradient_norm": float(dnrm2(nabla)),
            "seconds": seconds,
        }
        est.history_.append(row)
        return row

    def _validate(self, descent: Descent) -> tuple[float, float]:
        """Loss and score on the validation rows; the score is NaN if an output is not finite."""
        est, held = self.est, self.validation
        with descent.state.averaged() as network:
            costs, outputs = est._row_losses(held.X, held.Y, network)
        loss = float(np.average(costs, weights=held.loss_weight))
        if est.scoring == "loss":
            return loss, -loss
        if not np.isfinite(outputs).all():
            return loss, math.nan
        if est.scoring is not None:
            from sklearn.metrics import get_scorer

            est._store(descent)
            scorer = get_scorer(est.scoring) if isinstance(est.scoring, str) else est.scoring
            options = {} if held.weight is None else {"sample_weight": held.weight}
            try:
                score = float(scorer(est, held.X, held.y, **options))
            except TypeError as error:
                raise ValueError(f"scoring={est.scoring!r} cannot be used here: {error}") from error
            if math.isnan(score):
                raise ValueError(f"scoring={est.scoring!r} gave NaN on the validation set")
            return loss, score
        return loss, float(est._default_score(outputs, held.y, held.weight))

    def _improve(
        self, descent: Descent, loss: float, validation_loss: float | None, score: float | None
    ) -> None:
        """Count epochs without improvement; keep the best parameters."""
        est, value = self.est, None
        if validation_loss is not None and score is not None:
            value = est._judgement(validation_loss, score)
        if est.early_stopping:
            assert value is not None
            improved = not value < self.best_value + est.tol
        else:
            improved = not loss > est.best_loss_ - est.tol
            est.best_loss_ = min(est.best_loss_, loss)
        est._no_improvement_count = 0 if improved else est._no_improvement_count + 1
        if value is not None and value > self.best_value:
            self.best_value, est.best_validation_score_ = value, score
            est.best_iteration_ = len(est.loss_curve_)
            self.best = descent.state.copy(LEARNED, into=self.best)
        elif score is None and (est.best_iteration_ is None or loss <= est.best_loss_):
            est.best_iteration_ = len(est.loss_curve_)

    def patience_left(self) -> float:
        """How many epochs without improvement end the patience."""
        est = self.est
        # scikit-learn waits for one epoch more than n_iter_no_change.
        extra = 1 if est.compat == "sklearn" else 0
        return float(est.n_iter_no_change + extra - est._no_improvement_count)

    def out_of_patience(self) -> bool:
        """Whether too many epochs brought no improvement."""
        return self.patience_left() <= 0

    def impatience(self) -> str:
        """What to say when out of patience."""
        est = self.est
        kind = (
            "Validation score did not improve"
            if est.early_stopping
            else "Training loss did not improve"
        )
        return f"{kind} more than tol={est.tol:f} for {est.n_iter_no_change} consecutive epochs."

    def call_callbacks(self, descent: Descent, row: dict[str, Any]) -> bool:
        """Call every callback; whether one of them says stop."""
        est, context = self.est, self.sklearn_context
        if not self.callbacks and context is None:
            return False
        if self.callbacks:
            est._store(descent)
        stop = self.epoch_end(row)
        if context is not None:
            est._store(descent)
            state = {
                name: getattr(est, name)
                for name in ("coefs_", "intercepts_", "_norms", "n_iter_", "loss_curve_")
            }
            X, y, weight = self.given
            held = self.validation
            metadata = {} if weight is None else {"sample_weight": weight}
            if held is not None:
                metadata |= {"X_val": held.X, "y_val": held.y}
            step = context.subcontext(task_name="epoch")
            step.call_on_fit_task_begin(estimator=est, X=X, y=y, metadata=metadata)
            stop = (
                step.call_on_fit_task_end(
                    estimator=est, X=X, y=y, metadata=metadata, reconstruction_attributes=state
                )
                or stop
            )
        return stop

    def overtime(self) -> bool:
        """Whether the time limit has passed."""
        limit = self.est.time_limit
        return limit is not None and time.monotonic() - self.started > limit

    def finish(self, descent: Descent) -> None:
        """Put back the best parameters, if there is a validation set, and set the attributes."""
        if self.best is not None:
            descent.state.restore(self.best)
        self.est._store(descent)


def run_epochs(
    est: Any,
    descent: Descent,
    samples: Samples,
    validation: Any,
    epochs: int,
    incremental: bool,
    given: tuple[Any, Any, Any],
    resume: StateCallback | None = None,
) -> Descent:
    """Train in mini-batches and set the attributes; returns the descent to go on with."""
    n = samples.n
    m = est._batch_rows(n)
    if m != descent.m:
        descent = descent.resized(m)
    rates = Rates(est, n, m, est.max_iter if incremental else epochs)
    if incremental and isinstance(est.__dict__.get("_rate"), float) and rates.rule == "adaptive":
        rates.current = est._rate
    watch = Watch(est, descent, validation, epochs, given)
    done = len(est.loss_curve_) if incremental else 0
    est.n_iter_ = 0
    run_fit(Fit(est, descent, samples, epochs, watch, rates, done, resume), incremental)
    return descent


def run_fit(fit: Fit, incremental: bool = False) -> None:
    """Run the epochs of a fit with its callbacks, and set the attributes, however it ends."""
    watch, est = fit.watch, fit.est
    with running(watch.callbacks, est) as watch.epoch_end:
        try:
            if fit.run(fit.resumed()) and not incremental:
                warn_user(
                    f"Stochastic Optimizer: Maximum iterations ({fit.epochs}) reached and the "
                    "optimization hasn't converged yet.",
                    ConvergenceWarning,
                )
        except KeyboardInterrupt:
            warn_user("Training interrupted by user.")
        finally:
            watch.finish(fit.descent)


class Fit(EpochLoop):
    """The epochs of an estimator in mini-batches.

    Parameters
    ----------
    est : estimator
        Its attributes are set.
    descent, samples, epochs :
        As in `EpochLoop`.
    watch : Watch
    rates : Rates
    done : int
        Epochs of earlier calls of `partial_fit`, which the learning rates count.
    resume : StateCallback, optional
        Stores the state from time to time.
    """

    def __init__(
        self,
        est: Any,
        descent: Descent,
        samples: Samples,
        epochs: int,
        watch: Watch,
        rates: Rates,
        done: int,
        resume: StateCallback | None,
    ) -> None:
        super().__init__(descent, samples, epochs)
        self.est, self.watch, self.rates, self.done = est, watch, rates, done
        self.resume = resume
        self.order = np.arange(samples.n)

    @cached_property
    def is_sparse(self) -> bool:
        """Whether X is; looked at when it is needed, since on a cluster there is no X here."""
        return bool(sparse.issparse(self.samples.X))

    @property
    def batch_by_batch(self) -> bool:
        """Whether losses are averaged as scikit-learn does it where samples have weights."""
        return self.est.compat == "sklearn" and self.samples.weight is not None

    @property
    def as_they_are(self) -> bool:
        """Whether the descent takes the samples as they are, not in blocks that are made for it."""
        return not self.is_sparse and not self.batch_by_batch

    @cached_property
    def row_bytes(self) -> int:
        """How large a row is; 0 of a sparse X, which is in memory anyway."""
        return 0 if self.is_sparse else int(self.samples.X[0].nbytes)

    def resumed(self) -> int:
        """Go on from a state that was stored, if there is one; returns how many epochs are done."""
        if self.resume is None:
            return 0
        data = (*self.samples, *(self.watch.validation or ()))
        first, self.order = self.resume.restore(
            self.est, self.descent, self.watch, self.rates, self.order, data
        )
        self.watch.go_on()
        return first

    def draw(self, epoch: int) -> tuple[Index, Array]:
        """A new order of the rows that count, and the rates by the schedule."""
        est = self.est
        if est.compat == "sklearn" and est.shuffle:
            self.order = shuffled_as_in_sklearn(self.order, random_state=est._rng)
        else:
            self.order = draw_order(
                est.shuffle, len(self.order), self.row_bytes, self.descent.m, est._rng
            )
        return self.samples.at(self.order), self.rates.of_epoch(self.done + epoch)

    def go_through(self, order: Index, rates: Array | None) -> float:
        """Take the steps of an epoch; returns the mean loss with its penalties."""
        if self.as_they_are:
            return super().go_through(order, rates)
        X, Y, weight, _ = self.samples
        m, batch_by_batch = self.descent.m, self.batch_by_batch
        assert rates is not None
        batches = 1 if batch_by_batch else max(1, SPARSE_BLOCK // (m * X.shape[1]))
        total = 0.0
        for k in range(0, len(rates), batches):
            rows = order[k * m : (k + batches) * m]
            block = X[rows].toarray() if self.is_sparse else X[rows]
            w = None if weight is None else weight[rows]
            cost = self.descent.epoch(
                block, Y[rows], np.arange(len(rows)), w, rates[k : k + batches]
            )
            # scikit-learn averages the batches' mean losses by their numbers of rows.
            total += cost / w.sum() * len(rows) if batch_by_batch and w is not None else cost
        return total / (len(order) if batch_by_batch else self.mass)

    def diverged(self, epoch: int, order: Index, rates: Array | None) -> None:
        """Stop with the best parameters if there are some, else raise and say where it began."""
        est, (X, Y, weight, _) = self.est, self.samples
        dense = X.toarray() if self.is_sparse else X
        error = explain(self.descent, dense, Y, order, est.n_iter_, weight, rates)
        if self.watch.best is None:
            large = largest_of(dense, Y, order)
            where = f". Of the epoch's rows {large}" if large else ""
            raise ValueError(f"{NON_FINITE} ({error}{where})") from error
        if est.validation_scores_ is not None:
            est.validation_scores_.append(math.nan)
        warn_user(f"{error}; the best parameters so far are put back", ConvergenceWarning)

    def at_once(self) -> int:
        """Several, where nothing is called or judged between them and the rates are known.

        At most as many as patience allows: only with the last of them can it end.
        """
        est, watch = self.est, self.watch
        looked_at = watch.validation is not None or watch.callbacks or watch.sklearn_context
        if looked_at or est.time_limit is not None:
            return 1
        if not self.rates.known_ahead or not self.as_they_are:
            return 1
        most = self.descent.epochs_at_once(self.samples.Y, self.samples.n)
        return int(min(most, max(1, watch.patience_left())))

    def after(self, epoch: Epoch, rates: Array | None, nabla: Array) -> bool:
        """Record it; whether patience, the time or a callback says stop."""
        est, watch = self.est, self.watch
        assert rates is not None
        est.n_iter_ += 1
        est.t_ += self.samples.n
        row = watch.record(self.descent, nabla, epoch.cost, float(rates[-1]), epoch.seconds)
        held_out = row["validation_loss"]
        self.rates.epoch_over(epoch.epoch, est.t_, epoch.cost if held_out is None else held_out)
        est._rate = self.rates.current
        if watch.out_of_patience():
            retry = self.rates.retry()
            watch.say(f"{watch.impatience()} {retry or self.rates.last_words()}")
            if retry is None:
                return True
            est._no_improvement_count = 0
        if watch.call_callbacks(self.descent, row) or watch.overtime():
            return True
        if self.resume is not None:
            self.resume.write_state(est, self.descent, watch, self.rates, self.order, epoch.epoch)
        return False
