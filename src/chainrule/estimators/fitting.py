"""What both estimators share: from data to a network, through the epochs, to attributes.

The epochs themselves are in :mod:`chainrule.estimators.epochs`, L-BFGS is in
:mod:`chainrule.estimators.lbfgs`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight

from chainrule.base.types import Array, Index
from chainrule.base.validation import check_target, warn_user
from chainrule.estimators.epochs import NON_FINITE, run_epochs
from chainrule.estimators.lbfgs import run_lbfgs
from chainrule.estimators.magnitudes import (
    check_deviations,
    check_inputs,
    check_targets,
    check_weights,
)
from chainrule.estimators.parameters import Target, new_key
from chainrule.estimators.prediction import Prediction, norm_layers
from chainrule.monitoring.callbacks import StateCallback, check_whole, state_callback
from chainrule.network.network import Network
from chainrule.training.augmentation import Augmentation
from chainrule.training.descent import Descent
from chainrule.training.samples import (
    Samples,
    blocks_of,
    deviation_of,
    looks_standardized,
    warn_if_far,
)
from chainrule.training.train import begin, choose_engine

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in for scikit-learn's, which this release does not have."""

    def with_callbacks(method: Any) -> Any:
        """Stand in for scikit-learn's, which this release does not have."""
        return method


__all__ = ["MLPBase", "Validation", "with_callbacks"]


class Validation(NamedTuple):
    """Rows held out: y as given, for scores, and Y as the loss accepts it."""

    X: Any
    y: Any
    weight: Array | None
    loss_weight: Array | None
    Y: Array


class MLPBase(CallbackSupportMixin, Prediction):
    """Shared by `MLPClassifier` and `MLPRegressor`; see there for the parameters."""

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        incremental: bool = False,
        n_epochs: int = 1,
    ) -> Any:
        epochs = n_epochs if incremental else self.max_iter
        resume = state_callback(self, incremental)
        ready = self._set_up(
            X, y, sample_weight, X_val, y_val, sample_weight_val, incremental, epochs, resume
        )
        given = X, y, sample_weight
        if self.solver == "lbfgs":
            self._descent = run_lbfgs(self, *ready, epochs, incremental, given)
        else:
            self._descent = run_epochs(self, *ready, epochs, incremental, given, resume)
        if not all(np.isfinite(p).all() for p in (*self.coefs_, *self.intercepts_)):
            raise ValueError(self._not_finite())
        self._network()
        return self

    def _not_finite(self) -> str:
        """Which learned numbers are not finite, and why they may be so."""
        for l, (W, b) in enumerate(zip(self.coefs_, self.intercepts_, strict=True), 1):
            bad = np.argwhere(~np.isfinite(W))
            if len(bad) and l == 1:
                column = int(bad[0][0])
                spread = ""
                if self._scaling is not None and column < len(self._scaling[1]):
                    spread = f", whose standard deviation is {self._scaling[1][column]:g}"
                return (
                    f"the weights of column {column}{spread}, are too large for {W.dtype}; leave "
                    "the column out, or scale it to about 1"
                )
            if len(bad) or not np.isfinite(b).all():
                return f"{NON_FINITE} (The parameters of layer {l} are not finite in {W.dtype})"
        return NON_FINITE

    def _set_up(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        X_val: Any,
        y_val: Any,
        sample_weight_val: Any,
        incremental: bool,
        epochs: int,
        resume: StateCallback | None = None,
    ) -> tuple[Descent, Samples, Validation | None]:
        """Check everything; return the descent, its samples and its validation set."""
        self._check_combination()
        check_whole("n_epochs", epochs)
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val go together; only one of them was given")
        if X_val is None and sample_weight_val is not None:
            raise ValueError("sample_weight_val goes with X_val and y_val, which were not given")
        if self.scoring is not None:
            if X_val is None and not self.early_stopping:
                raise ValueError(
                    f"scoring={self.scoring!r} needs a validation set: pass X_val and y_val, or "
                    "set early_stopping=True"
                )
            if isinstance(self.scoring, str) and self.scoring != "loss":
                from sklearn.metrics import get_scorer

                get_scorer(self.scoring)  # an unknown name is refused now
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        X, y = self._validate(X, y, reset=first)
        weight = self._check_weight("sample_weight", sample_weight, X)
        self._learn_target(y, first, incremental)
        if first or not incremental or self.compat == "sklearn" or not hasattr(self, "_rng"):
            self._rng = check_random_state(self.random_state)
        if resume is not None:
            self._rng = resume.begin(self, self._rng)
        rng = self._rng

        start: tuple[list[Array], list[Array]] | None = None
        if first:
            self.__dict__.pop("_augment_seed", None)
            self._dtype_name = X.dtype.name
            self._learn_marked(X, weight)
            n_marked = 0 if self._missing is None else len(self._missing[1])
            start = self._draw(X.shape[1] + n_marked, self._target().n_units, rng)
        weight_val = rows = origin = None
        everything = y
        if X_val is not None:
            y_val = check_target(y_val, self._numeric_target, "y_val")
            X_val, y_val = self._validate(X_val, y_val)
            self._check_validation_target(y_val)
            if not incremental:
                warn_if_far(X, X_val, getattr(self, "feature_names_in_", None))
            weight_val = self._check_weight("sample_weight_val", sample_weight_val, X_val)
        elif self.early_stopping:
            seed = rng
            if self.compat != "sklearn":  # a second fit holds out the same rows as the first
                if first or not hasattr(self, "_split_seed"):
                    self._split_seed = int(rng.randint(2**31 - 1))
                seed = self._split_seed
            rows, held = self._split(y, X.shape[0], seed)
            X_val, y, y_val = X[held], y[rows], y[held]
            if weight is not None:
                weight, weight_val = weight[rows], weight[held]
        weight = self._class_weighted(y, weight, incremental)
        check_weights("the weight of class and row", weight)
        if weight is not None and not weight.sum() > 0:
            raise ValueError("the weights of the samples sum to 0: there is nothing to fit")
        if weight is not None and self.compat != "sklearn" and not weight.all():
            kept = weight > 0  # a weight of 0 equals no row at all
            rows = np.flatnonzero(kept) if rows is None else rows[kept]
            y, weight = y[kept], weight[kept]
        if rows is not None and (sparse.issparse(X) or self._missing is not None):
            origin = rows
            X, everything, rows = X[rows], y, None  # it is in memory, or will be
        if first:
            self._learn_means(X, weight)
        X = self._fill(X)
        if first:
            self._learn_scales(X, weight, rows, incremental)
            self._learn_output_scale(y, weight)
        names = getattr(self, "feature_names_in_", None)
        if self._scaling is not None and first:
            check_deviations(self._scaling[1], self._dtype, names)
        else:
            check_inputs(X, self._scaling, names, origin)
        Y = self._encode(everything)
        if self._numeric_target:
            check_targets(everything, Y, origin, self._y_scale is not None)
        validation = None
        if X_val is not None:
            loss_weight = self._class_weighted(y_val, weight_val, incremental)
            if loss_weight is not None and not loss_weight.sum() > 0:
                raise ValueError(
                    "the weights of the validation set sum to 0: nothing can be scored on it"
                )
            validation = Validation(X_val, y_val, weight_val, loss_weight, self._encode(y_val))

        target = self._target()
        descent = self.__dict__.get("_descent") if incremental and not first else None
        fresh = descent is None
        if fresh:
            # Calls of partial_fit have one engine, so that ten of an epoch are one of ten.
            planned = self.max_iter if incremental else epochs
            descent = self._prepare(target, X, y.shape[0], planned, rng)
        assert descent is not None
        self.engine_ = descent.engine
        if start is not None:
            self._load(descent.network, *start, self.coefs_init, self.intercepts_init)
            self._begin(target)
        elif fresh or not self._unchanged(descent):
            self._load(
                descent.network, self.coefs_, self.intercepts_, self.coefs_, self.intercepts_
            )
            self._load_norms(descent.network)
        if fresh and descent.rules.average:
            descent.state.average[:] = descent.network.theta
        if fresh and incremental and (resume := self.__dict__.pop("_resume", None)):
            try:
                descent.state.restore_stored(resume)
            except ValueError as error:
                raise ValueError(
                    "partial_fit cannot go on from the optimiser's state that was stored, which is "
                    f"of another network or solver: {error}. Set the parameters as they were, or "
                    "fit anew"
                ) from error
        if rows is not None and weight is not None:
            of_all = np.zeros(X.shape[0], weight.dtype)
            of_all[rows] = weight
            weight = of_all
        return descent, Samples(X, Y, weight, rows), validation

    def _fit_with_context(
        self, X: Any, y: Any, weight: Any, X_val: Any, y_val: Any, weight_val: Any
    ) -> Any:
        """Fit, telling scikit-learn's callbacks where there are some."""
        context = None
        if getattr(self, "_skl_callbacks", None):
            context = self._init_callback_context(max_subtasks=self.max_iter)
            context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        fitted = self._fit(X, y, weight, X_val=X_val, y_val=y_val, sample_weight_val=weight_val)
        if context is not None:
            context.call_on_fit_task_end(
                estimator=self, X=X, y=y, reconstruction_attributes={"coefs_": self.coefs_}
            )
        return fitted

    def find_learning_rate(self, X: Any, y: Any, sample_weight: Any = None, **options: Any) -> Any:
        """Try learning rates from small to large, and suggest one for ``learning_rate_init``.

        Parameters
        ----------
        X, y, sample_weight :
            As in `fit`. The estimator itself is not changed.
        **options :
            ``low``, ``high``, ``steps``; see `chainrule.find_learning_rate`.

        Returns
        -------
        LRFinder
            ``suggestion`` is the rate, ``plot()`` the picture.
        """
        from chainrule.training.lr_finder import find_learning_rate

        trial = clone(self)
        trial._validate_params()
        if trial.solver == "lbfgs":
            raise ValueError("solver='lbfgs' chooses its own steps; there is no rate to find")
        descent, samples, _ = trial._set_up(X, y, sample_weight, None, None, None, False, 1)
        X, Y, weight = samples.counting()
        return find_learning_rate(
            descent.network,
            X.toarray() if sparse.issparse(X) else X,
            Y,
            optimizer=descent.optimizer,
            hyper=dict(zip(descent.optimizer.hyper, descent.state.hyper.tolist(), strict=True)),
            batch_size=descent.m,
            weight=weight,
            rules=descent.rules,
            **options,
        )

    def _begin(self, target: Target) -> None:
        """Set the attributes that a fit from scratch starts with."""
        activation = target.activation
        self.out_activation_ = activation if isinstance(activation, str) else activation.name
        self.n_layers_ = len(self._hidden()) + 2
        self.n_iter_ = self.t_ = 0
        self.loss_curve_: list[float] = []
        self.validation_loss_curve_: list[float] | None = None
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None
        self.best_validation_score_ = -np.inf if self.early_stopping else None
        self.best_loss_: float | None = None if self.early_stopping else np.inf
        self.best_iteration_: int | None = None
        self.history_: list[dict[str, Any]] = []
        self._no_improvement_count = 0

    def _judgement(self, validation_loss: float, score: float) -> float:
        """What decides on stopping and on the best parameters: higher is better."""
        return score

    def _check_weight(self, name: str, given: Any, X: Any) -> Array | None:
        """Weights as an array of X's dtype, none negative; None if there are none."""
        if given is None:
            return None
        weight: Array = _check_sample_weight(given, X, dtype=X.dtype)
        if np.any(weight < 0):
            raise ValueError(f"{name} is negative in row {int(np.argmax(weight < 0))}")
        check_weights(name, weight)
        return weight

    def _split(self, y: Any, n: int, seed: Any) -> tuple[Index, Index]:
        """Which rows to learn from, and the `validation_fraction` to hold out."""
        from sklearn.model_selection import train_test_split

        try:
            rows, held = train_test_split(
                np.arange(n),
                random_state=seed,
                test_size=self.validation_fraction,
                stratify=self._strata(y),
            )
        except ValueError as error:
            if "least populated class" not in str(error) and "number of classes" not in str(error):
                raise
            raise ValueError(
                f"early_stopping=True cannot hold out a part of every class: {error} Pass X_val "
                "and y_val, or set early_stopping=False"
            ) from None
        if len(held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        if self.shuffle == "blocks":  # as they lie in the file
            rows.sort()
            held.sort()
        return rows, held

    def _learn_marked(self, X: Any, weight: Array | None) -> None:
        """Which columns have values missing, in rows that count."""
        self._missing: tuple[Array, Any] | None = None
        if self.missing == "indicator" and not sparse.issparse(X):
            counting = X if weight is None else X[weight > 0]
            self._missing = np.zeros(X.shape[1]), np.flatnonzero(np.isnan(counting).any(axis=0))

    def _learn_means(self, X: Any, weight: Array | None) -> None:
        """Means of the columns, over the values that are there."""
        if self._missing is None:
            return
        total, sums = np.zeros(X.shape[1]), np.zeros(X.shape[1])
        for at, block in blocks_of(X):
            there = (~np.isnan(block)).astype(np.float64)
            if weight is not None:
                there *= weight[at, None]
            total += there.sum(axis=0)
            sums += np.where(np.isnan(block), 0, block * there).sum(axis=0)
        self._missing = sums / np.where(total > 0, total, 1), self._missing[1]

    def _standardizes(self, what: str = "inputs") -> bool:
        """Whether the inputs, or the target, are standardised."""
        if self.standardize == "auto":
            return bool(self.compat != "sklearn")
        return what == "target" if self.standardize == "target" else bool(self.standardize)

    def _learn_scales(
        self, X: Any, weight: Array | None, rows: Index | None, incremental: bool
    ) -> None:
        """Means and deviations of the input columns; a sparse X keeps its zeros, so no means.

        The first block of `partial_fit` says little of the means and deviations of those that come.
        Columns that look standardised there are left as they are.
        """
        self._scaling: tuple[Array, Array] | None = None
        if not self._standardizes():
            return
        n = X.shape[0] if rows is None else len(rows)
        w = np.ones(n) if weight is None else weight.astype(np.float64)
        w = w / w.sum()
        if sparse.issparse(X):
            mean = np.asarray(X.T @ w).ravel()
            squares = np.asarray(X.multiply(X).T @ w).ravel()
            variance = squares - mean**2
            offset = np.zeros_like(mean)
            deviation = np.sqrt(np.maximum(variance, 0))
            deviation[~(deviation > 10 * np.finfo(X.dtype).eps * np.abs(mean))] = 1
        else:
            offset = np.zeros(X.shape[1])
            for at, block in blocks_of(X, rows):
                offset += w[at] @ block
            deviation = deviation_of(X, offset, weight, rows)
        if not (incremental and looks_standardized(offset, deviation)):
            self._scaling = offset, deviation

    def _prepare(self, target: Target, X: Any, n: int, n_epochs: int, rng: Any) -> Descent:
        """A training network and what its descent needs to learn from n rows."""
        m = self._batch_rows(n)
        network = self._design(X.shape[1], target, rng)
        optimizer, hyper = self._optimizer()
        engine = "numpy"  # of L-BFGS, which compiles nothing
        if self.solver != "lbfgs":
            engine = choose_engine(self.engine, network, n, m, n_epochs, fits=True)
        rules = self._rules(target)
        augmentation = None
        if self.augment is not None:
            if not hasattr(self, "_augment_seed"):
                self._augment_seed = new_key(rng)
            augmentation = Augmentation(self.augment, self._augment_seed)
        return begin(
            lambda kind: Descent(
                network, optimizer, hyper, m, kind, rules, self.n_threads, augmentation
            ),
            self.engine,
            engine,
        )

    def _batch_rows(self, n: int) -> int:
        if self.batch_size == "auto":
            return min(200, n)
        if self.batch_size > n:
            warn_user(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped",
            )
        return int(np.clip(self.batch_size, 1, n))

    def _load(
        self,
        network: Network,
        coefs: list[Array],
        intercepts: list[Array],
        given_coefs: Any,
        given_intercepts: Any,
    ) -> None:
        """Put coefs and intercepts into a training network.

        Those that the user gives apply, like ``coefs_``, to inputs and targets as they are, and
        are carried over to the standardised ones; those that were drawn are put in as they are.
        """
        affine = network.weight_layers()
        first, last = affine[0], affine[-1]
        for l, W, b in zip(affine, coefs, intercepts, strict=True):
            if network.W[l].shape != np.shape(W):
                raise ValueError(
                    f"the network has a layer of shape {np.shape(W)} where the parameters and "
                    f"data now need {network.W[l].shape}; fit anew, with warm_start=False"
                )
            network.W[l][...] = W
            network.b[l][...] = b
        if self._scaling is not None:
            offset, deviation = self._scaling
            if given_coefs is not None:
                network.W[first][...] = coefs[0] * deviation[:, None]
            if given_intercepts is not None:
                network.b[first][...] = intercepts[0] + offset @ (
                    network.W[first] / deviation[:, None]
                )
        shift, factor = self._output_scale()
        if factor is not None:
            if given_coefs is not None:
                network.W[last][...] = network.W[last] / factor
            if given_intercepts is not None:
                network.b[last][...] = (network.b[last] - shift) / factor

    def _load_norms(self, network: Network) -> None:
        """Put the fitted normalisations into a training network."""
        for l, kept in zip(norm_layers(network), self._norms, strict=True):
            network.W[l][...], network.b[l][...], network.constants_of(l)[...] = kept

    def _store(self, descent: Descent) -> None:
        """Set coefs_ and intercepts_ from a training network.

        The standardisation of inputs and target is folded in: the attributes apply to X as the
        user has it.
        """
        trained = descent.network
        source = descent.state.average if descent.rules.average else trained.theta
        W, b = trained.views(source)
        affine = trained.weight_layers()
        coefs = [W[l].astype(self._dtype) for l in affine]
        intercepts = [b[l].astype(self._dtype) for l in affine]
        shift, factor = self._output_scale()
        if factor is not None:
            coefs[-1] = (coefs[-1] * factor).astype(self._dtype)
            intercepts[-1] = (intercepts[-1] * factor + shift).astype(self._dtype)
        if self._scaling is not None:
            offset, deviation = self._scaling
            with np.errstate(all="ignore"):  # whether they are finite is seen to after the fit
                coefs[0] = (coefs[0] / deviation[:, None]).astype(self._dtype)
                intercepts[0] = (intercepts[0] - offset @ coefs[0]).astype(self._dtype)
        self.coefs_, self.intercepts_ = coefs, intercepts
        self._norms = []
        for l in norm_layers(trained):
            constants = trained.constants_of(l).copy()
            constants[:1] = 0  # the step, where there are constants
            self._norms.append((W[l].copy(), b[l].copy(), constants))

    def _unchanged(self, descent: Descent) -> bool:
        """Whether coefs_ and intercepts_ still are what the training network folds into."""
        held = [*self.coefs_, *self.intercepts_]
        made = (self.coefs_, self.intercepts_, self._norms)
        self._store(descent)
        same = all(
            np.array_equal(a, b)
            for a, b in zip(held, [*self.coefs_, *self.intercepts_], strict=True)
        )
        self.coefs_, self.intercepts_, self._norms = made
        return same

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: parameters and history; the optimiser's state only on request."""
        state = dict(super().__getstate__())
        state.pop("_made", None)
        if not self.keep_optimizer_state:
            state.pop("_descent", None)
        elif (descent := state.pop("_descent", None)) is not None:
            state["_resume"] = descent.state.stored()
        return state

    def _partial_fit_needs_steps(self) -> bool:
        """Raise unless the solver can go on from where it is, as `partial_fit` must."""
        if self.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. "
                f"{self.solver} is not stochastic."
            )
        return True
