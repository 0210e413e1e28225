"""TabularRegressor: numbers from a raw table, with nothing to tune."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from chainrule.base.types import Array
from chainrule.base.validation import check_target
from chainrule.engine.threads import one_blas_thread
from chainrule.ensembles.conformal import intervals
from chainrule.estimators.tabular_ensemble import CONSTRAINTS, TabularEnsemble


class TabularRegressor(RegressorMixin, TabularEnsemble):
    """Numbers from a raw data frame: two ensembles of networks and a linear model, blended.

    Columns may be numbers, truth values, categories, dates, durations and free text, with cells
    missing; nothing has to be scaled, encoded or tuned. All models are cross-fitted: each row is
    predicted by models that have not seen it, and these out-of-fold predictions stop the training,
    weigh the models, say how good the blend is and give intervals, so that no rows are held out.
    Predictions of the networks and of the linear model stay within the range of the training
    targets.

    Parameters
    ----------
    preset : {'best', 'fast'}, default='best'
        'best' fits two ensembles of 8 networks, 'fast' two of 4.
    max_epochs : int or None, default=None
        Most epochs of each ensemble; None: 32 to 96, by the number of rows.
    time_limit : float or None, default=None
        Seconds after which the training stops, at the end of an epoch. What is fitted by then
        depends on the machine.
    kinds : dict of str to str or None, default=None
        Kinds of columns that you know better, by name: 'numeric', 'categorical', 'date', 'text',
        or 'constant' for one that is left out.
    random_state : int, RandomState or None, default=None
        For folds, starting values, the order of rows, dropout.
    n_jobs : int or None, default=None
        Threads; -1 for all cores. The bits do not depend on it.
    engine : {'auto', 'numpy', 'numba'}, default='auto'
        Plain NumPy or compiled code; 'auto' decides by the amount of work.
    verbose : bool or int, default=False
        Print a line for each epoch.
    callbacks : list or None, default=None
        Functions (estimator, record) that are called after each epoch; one that returns True
        stops the training.

    Attributes
    ----------
    n_outputs_ : int
        Targets.
    oof_prediction_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Out-of-fold predictions of the training rows.
    oof_score_ : float
        R² of these.
    oof_loss_ : float
        Their mean squared error, in standard deviations of the target.
    blend_weights_ : dict of str to float
        The weights of the models "step", "smooth" and "linear"; empty if y is constant.
    history_ : list of dict
        A row an epoch: part, epoch, epochs, loss.
    engine_ : str
        The engine that ran.
    n_rows_ : int
        Rows that were learnt from: those whose weight is not 0.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        If X has names.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from chainrule import TabularRegressor
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = TabularRegressor(preset="fast", random_state=0).fit(X, y)
    >>> low, high = model.predict_interval(X[:2], coverage=0.8)
    >>> (low < high).tolist()
    [True, True]
    """

    _task, _loss = "regression", "squared"
    _parameter_constraints = CONSTRAINTS

    def __init__(  # type: ignore[no-untyped-def]
        self,
        preset="best",
        *,
        max_epochs=None,
        time_limit=None,
        kinds=None,
        random_state=None,
        n_jobs=None,
        engine="auto",
        verbose=False,
        callbacks=None,
    ):
        self.preset = preset
        self.max_epochs = max_epochs
        self.time_limit = time_limit
        self.kinds = kinds
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.engine = engine
        self.verbose = verbose
        self.callbacks = callbacks

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> TabularRegressor:
        """Fit to data.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            pandas, polars, Arrow or NumPy.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts for; one of weight 0 is left out.
        groups : array-like of shape (n_samples,), default=None
            Rows of the same group are in the same fold: where several rows are of one patient,
            say, each is predicted out of fold by models that have seen none of that patient's.

        Returns
        -------
        TabularRegressor
        """
        with one_blas_thread():
            return self._fit(X, y, sample_weight, groups)  # type: ignore[no-any-return]

    def _numbers(self, y: Any) -> Array:
        """y as (n, K)."""
        numbers: Array = np.asarray(check_target(y, True), np.float64)
        if numbers.ndim not in (1, 2) or not numbers.size:
            raise ValueError(f"y must be (rows,) or (rows, targets); its shape is {numbers.shape}")
        return numbers.reshape(len(numbers), -1)

    def _learn_target(self, y: Any) -> tuple[Array, NDArray[Any]]:
        Y = self._numbers(y)
        self._is_vector = np.asarray(y).ndim == 1
        self.n_outputs_ = Y.shape[1]
        with np.errstate(all="ignore"):
            mean, deviation = Y.mean(axis=0), Y.std(axis=0)
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
            j = int(np.argmin(np.isfinite(mean) & np.isfinite(deviation)))
            raise ValueError(
                f"the numbers of y are too large to be squared: up to {np.abs(Y[:, j]).max():g} "
                f"in column {j}; divide them by a power of ten"
            )
        # What rounding leaves of a constant is no deviation.
        self._mean = mean
        self._deviation = np.where(deviation > 1e-12 * np.abs(mean), deviation, 1.0)
        return self._standardized(Y), Y[:, 0]

    def _standardized(self, Y: Array) -> Array:
        return np.asarray((Y - self._mean) / self._deviation)

    def _known_target(self, y: Any) -> Array:
        Y = self._numbers(y)
        if Y.shape[1] != self.n_outputs_:
            raise ValueError(f"y has {Y.shape[1]} targets; fit had {self.n_outputs_}")
        return self._standardized(Y)

    def _level_targets(self, Y: Array) -> Array:
        return Y

    def _of_outputs(self, outputs: Array) -> Array:
        numbers: Array = outputs * self._deviation + self._mean
        return numbers[:, 0] if self._is_vector else numbers

    def _oof_score(self, outputs: Array, Y: Array, weight: Array) -> float:
        if len(Y) < 2:
            return float("nan")  # R² needs two rows
        return float(r2_score(Y, outputs, sample_weight=weight))

    def _learn_scores(self, outputs: Array, Y: Array) -> Array:
        return np.abs(outputs - Y)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict the target.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
        return_std : bool, default=False
            Return also the standard deviation of the members' predictions: how much the models
            disagree, which does not include how much targets of equal rows differ. See
            `predict_interval` for that.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        deviation : ndarray of the same shape, if return_std
        """
        if not return_std:
            return self._of_outputs(self._outputs(X))
        check_is_fitted(self, "oof_prediction_")
        table = self._check_table(X)
        if self._blend is None:
            predicted = self._of_outputs(self._outputs_of(table))
            return predicted, np.zeros_like(predicted)
        found = [
            (
                self._blend.predict(inputs, self._n_threads()),
                self._blend.deviation(inputs, self._n_threads()),
            )
            for _, inputs in self._encoded(table)
        ]
        outputs, spread = (np.concatenate(each) for each in zip(*found, strict=True))
        spread = spread * self._deviation
        return self._of_outputs(outputs), spread[:, 0] if self._is_vector else spread

    def predict_interval(self, X: Any, coverage: float = 0.9) -> tuple[Array, Array]:
        """Intervals that hold the target with a probability of about `coverage`.

        This holds on average over all rows, if these come from where the training rows came from;
        see :mod:`chainrule.ensembles.conformal`.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
        coverage : float, default=0.9
            Between 0 and 1.

        Returns
        -------
        low, high : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Infinite where there are too few training rows for this coverage.
        """
        coverage = self._check_coverage(coverage)
        without = self._outputs_without(X)
        ends = [
            intervals(without[:, :, j], self._scores[:, j], self._score_folds, coverage)
            for j in range(self.n_outputs_)
        ]
        low, high = (np.stack(each, axis=1) for each in zip(*ends, strict=True))
        return self._of_outputs(low), self._of_outputs(high)

    def __sklearn_tags__(self) -> Any:
        """scikit-learn's tags."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
