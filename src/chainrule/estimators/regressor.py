"""MLPRegressor: scikit-learn's multilayer perceptron for numbers, and what it lacks.

Parameters, attributes and defaults are those of scikit-learn 1.9, by name and by position; what
is added is keyword-only and comes after.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from chainrule.base.types import Array
from chainrule.base.validation import look_up
from chainrule.equations.activations import ACTIVATIONS, Activation
from chainrule.equations.domains import ANY_NUMBER
from chainrule.equations.expressions import deviation_of, value
from chainrule.equations.losses import LOSSES, Loss, located
from chainrule.estimators.fitting import MLPBase, with_callbacks
from chainrule.estimators.parameters import CONSTRAINTS, REAL, Target
from chainrule.training.samples import deviation_of as deviation_of_columns

REGRESSION_LOSSES = {loss.name for loss in LOSSES.values() if loss.target == "numbers"}
# Where scikit-learn sums over the targets: in the gradient alone, or in the loss as well.
SLIPS_OF_SKLEARN = {"squared_error": "gradient", "poisson": "both"}


class MLPRegressor(RegressorMixin, MLPBase):
    """Multilayer perceptron for regression: drop-in for scikit-learn's, and more.

    Parameters
    ----------
    loss : str or Loss, default='squared_error'
        'squared_error', 'absolute_error', 'huber', 'log_cosh', 'quantile', 'poisson', 'gamma',
        'tweedie' (these three with the output activation exp), 'gaussian' (predicts a variance
        as well), a loss with other numbers such as ``losses.huber(0.5)``, or your own. Where
        there are several targets, losses are averaged over them.
    hidden_layer_sizes : int or array-like of int, default=(100,)
        Units in each hidden layer; empty for none.
    activation : str, Activation or list of them, default='relu'
        Of the hidden layers, one for all or one each. Names: ``chainrule.ACTIVATIONS``.
    solver : str or Optimizer, default='adam'
        'lbfgs' (SciPy's, on all of the data), 'sgd' (with momentum), 'adam', 'adamw', or another
        of ``chainrule.OPTIMIZERS``, or your own.
    alpha : float, default=0.0001
        L2 penalty on the weights: alpha / 2 Σ W² over the sum of the batch's sample weights.
    batch_size : int or 'auto', default='auto'
        Rows in a mini-batch; 'auto' is min(200, n_samples).
    learning_rate : str, Schedule or Plateau, default='constant'
        'constant', 'invscaling' (learning_rate_init / t**power_t), 'adaptive' (a fifth whenever
        progress stops; solver='sgd' only), 'plateau', or another of ``chainrule.SCHEDULES``, for
        any solver but 'lbfgs'.
    learning_rate_init : float, default=0.001
        The step size that schedules start from. Some solvers want others: 'adadelta' about 1,
        'adagrad' 0.01, 'lion' 0.0001.
    power_t : float, default=0.5
        Exponent of 'invscaling'.
    max_iter : int, default=200
        Most epochs; for 'lbfgs', most iterations.
    shuffle : bool or 'blocks', default=True
        Draw a new order of the samples each epoch. 'blocks' is for an X that is mapped from a
        file larger than memory: 8 chunks of 64 MB, drawn from all of them, are mixed at a time,
        so that each part of the file is read once an epoch. Rows that stood far apart may be less
        mixed, which matters only if the file is sorted. X of up to 512 MB is mixed whole.
    random_state : int, RandomState or None, default=None
        For starting values, the validation split, the order of samples, dropout and noise.
    tol : float, default=1e-4
        Least improvement of the loss (or the validation score) that counts.
    verbose : bool or int, default=False
        1 shows a progress bar on a terminal and a line an epoch elsewhere; 2 always lines.
    warm_start : bool, default=False
        Go on from the last fit's parameters.
    momentum, nesterovs_momentum : float, bool, default=0.9, True
        For solver='sgd'.
    early_stopping : bool, default=False
        Hold out rows (or use X_val) and stop when it goes no better on them; see `scoring`.
    validation_fraction : float, default=0.1
        Part of the rows to hold out.
    beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
        For 'adam', 'adamw', 'nadam' and 'radam'; beta_1 for 'lion', too.
    n_iter_no_change : int, default=10
        Epochs without improvement after which to stop.
    max_fun : int, default=15000
        Most evaluations of the loss, for 'lbfgs'.
    output_activation : str, Activation or None, default=None
        Of the output layer; None chooses by the target.
    init : str or Initializer, default='auto'
        Starting values; 'auto' is scikit-learn's (Glorot's uniform, biases too).
    coefs_init, intercepts_init : list of array, default=None
        Given starting values, shaped like ``coefs_`` and ``intercepts_``.
    solver_options : dict, default=None
        The optimiser's other numbers, by name: those that no parameter above sets.
    l1 : float, default=0.0
        L1 penalty on the weights, scaled like alpha.
    weight_decay : float, default=None
        Decoupled weight decay; None is 0.01 for 'adamw', 0 otherwise.
    max_norm : float, default=None
        Largest norm of the weights into a unit.
    clip_norm, clip_value : float, default=None
        Bounds on the gradient's norm, and on each of its entries.
    ema_decay : float, default=None
        Predict with a running average of the parameters that keeps this part of itself a step.
    dropout : float or list of float, default=0.0
        Probability with which a hidden unit is dropped, one for all layers or one each.
    input_noise : float, default=0.0
        Deviation of normal noise on the (standardised) inputs while training.
    augment : callable, default=None
        Changes rows at random before each step of training: (X, random) -> X, as in
        `chainrule.train`. `chainrule.distortions` has some for images. Rows that are held out stay
        as they are.
    normalization : {'batch', 'layer'}, Layer or None, default=None
        Normalise what goes into each hidden activation; a Layer that keeps the width, such as
        ``layers.layer_norm(1e-3)`` or your own.
    missing : {'error', 'indicator'}, default='error'
        What to do with NaN: refuse it and name the columns, or fill in the column's mean and add
        a column that marks where.
    scoring : str, callable or None, default=None
        Score on the validation set that decides on stopping and on the best parameters: a
        scikit-learn scorer, 'loss', or None: then `score`'s own is recorded and decides, but of a
        classifier the loss decides, unless compat='sklearn'.
    time_limit : float, default=None
        Seconds after which to stop, at the end of an epoch.
    callbacks : list, default=None
        Called after each epoch: functions (estimator, record), or `chainrule.monitoring.callbacks`.
    transform_layer : int, default=-1
        Which hidden layer's activations `transform` gives: 0 is the first, -1 the last.
    engine : {'auto', 'numpy', 'numba'}, default='auto'
        Plain NumPy or compiled code; 'auto' decides by the amount of work, from shapes and epochs
        alone. All but the smallest fits are compiled, which takes seconds once for each machine.
    n_threads : int, default=None
        At most so many threads, to fit and to predict; the bits do not depend on it. None: the
        physical cores, or $OMP_NUM_THREADS if that is less. What is small is left to one.
    keep_optimizer_state : bool, default=False
        Let pickles hold the optimiser's state, so that `partial_fit` goes on exactly.
    compat : {'sklearn'} or None, default=None
        Restore scikit-learn's behaviour where ours differs, slips included.
    quantile : float or list of float, default=None
        Level, or increasing levels, for loss='quantile'; predictions of several levels never
        cross. None is 0.5.
    standardize : bool, 'auto' or 'target', default='auto'
        Standardise the inputs inside and, for losses on the target's own scale, the target;
        'target': the target alone. The
        result is folded into ``coefs_``, so that predictions are in the target's units; the
        losses reported are those of the standardised target. 'auto' is True, but False with
        compat='sklearn', and leaves the target alone if the loss is your own and does not say how
        its outputs are rescaled; True standardises it for any loss of one output for a target.

    Attributes
    ----------
    coefs_, intercepts_ : list of ndarray
        Weights (n_in, n_out) and biases (n_out,) of each layer.
    n_features_in_, n_outputs_, n_layers_, n_iter_, t_ : int
        Columns of X, targets, layers (inputs counted), epochs of this fit, samples seen.
    feature_names_in_ : ndarray of str
        If X has names.
    out_activation_ : str
    engine_ : str
        The engine that ran: "numpy" or "numba".
    loss_, best_loss_ : float
        Loss of the last epoch, smallest of all (None with early stopping).
    loss_curve_, validation_loss_curve_, validation_scores_ : list of float
        By epoch; the last two None without a validation set.
    best_validation_score_ : float or None
        Score of the parameters that are kept.
    best_iteration_ : int
        After how many epochs the best parameters were reached: a count, as `n_iter_` is one.
    history_ : list of dict
        A row an epoch: epoch, loss, validation_loss, validation_score, learning_rate,
        gradient_norm, seconds (the mean over short epochs that are gone through at once).

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from chainrule import MLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> MLPRegressor(random_state=0, early_stopping=True).fit(X, y).predict(X[:2]).shape
    (2,)
    """

    n_outputs_: int
    _numeric_target = True
    _parameter_constraints = CONSTRAINTS | {
        "loss": [StrOptions(REGRESSION_LOSSES), Loss],
        "quantile": [Interval(REAL, 0, 1, closed="neither"), list, tuple, None],
        "standardize": [StrOptions({"auto", "target"}), "boolean"],
    }

    def __init__(  # type: ignore[no-untyped-def]
        self,
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        quantile=None,
        output_activation=None,
        init="auto",
        coefs_init=None,
        intercepts_init=None,
        solver_options=None,
        l1=0.0,
        weight_decay=None,
        max_norm=None,
        clip_norm=None,
        clip_value=None,
        ema_decay=None,
        dropout=0.0,
        input_noise=0.0,
        augment=None,
        normalization=None,
        standardize="auto",
        missing="error",
        scoring=None,
        time_limit=None,
        callbacks=None,
        transform_layer=-1,
        engine="auto",
        n_threads=None,
        keep_optimizer_state=False,
        compat=None,
    ):
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.quantile = quantile
        self.output_activation = output_activation
        self.init = init
        self.coefs_init = coefs_init
        self.intercepts_init = intercepts_init
        self.solver_options = solver_options
        self.l1 = l1
        self.weight_decay = weight_decay
        self.max_norm = max_norm
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.ema_decay = ema_decay
        self.dropout = dropout
        self.input_noise = input_noise
        self.augment = augment
        self.normalization = normalization
        self.standardize = standardize
        self.missing = missing
        self.scoring = scoring
        self.time_limit = time_limit
        self.callbacks = callbacks
        self.transform_layer = transform_layer
        self.engine = engine
        self.n_threads = n_threads
        self.keep_optimizer_state = keep_optimizer_state
        self.compat = compat

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Any:
        """Fit to data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), default=None
            A weight of 2 equals a row twice.
        X_val, y_val, sample_weight_val : like X, y, sample_weight, default=None
            A validation set of your own; its curves are kept, and the best parameters on it are
            put back at the end.

        Returns
        -------
        MLPRegressor
        """
        return self._fit_with_context(X, y, sample_weight, X_val, y_val, sample_weight_val)

    @available_if(lambda est: est._partial_fit_needs_steps())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, *, n_epochs: int = 1) -> Any:
        """Go on training with a block of data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), default=None
        n_epochs : int, default=1
            How often to go through the block.

        Returns
        -------
        MLPRegressor
        """
        return self._fit(X, y, sample_weight, incremental=True, n_epochs=n_epochs)

    def _learn_target(self, y: Any, first: bool, incremental: bool) -> None:
        n = 1 if y.ndim == 1 else y.shape[1]
        if not first and n != self.n_outputs_:
            raise ValueError(f"y has {n} targets; the fit so far has {self.n_outputs_}")
        self.n_outputs_ = n
        loss = self._loss()
        wrong = ~loss.domain.holds(y)
        if wrong.any():
            place = tuple(np.argwhere(wrong)[0])
            raise ValueError(
                f"loss={loss.name!r} needs a target {loss.domain}; y is {y[place]:g} in row "
                f"{place[0]}"
            )

    def _validate(self, X: Any, y: Any = "no_validation", reset: bool = False) -> Any:
        checked = super()._validate(X, y, reset)
        if isinstance(y, str):
            return checked
        X, y = checked
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _validate_params(self) -> None:
        """scikit-learn's check, with a hint for those who pass hidden_layer_sizes first."""
        if not isinstance(self.loss, str | Loss):
            raise ValueError(
                f"loss, the first parameter, must be a name or a Loss; got {self.loss!r}. For "
                f"the layers write hidden_layer_sizes={self.loss!r}"
            )
        super()._validate_params()

    def _check_validation_target(self, y_val: Any) -> None:
        n = 1 if y_val.ndim == 1 else y_val.shape[1]
        if n != self.n_outputs_:
            raise ValueError(f"y_val has {n} targets, y has {self.n_outputs_}")

    def _strata(self, y: Any) -> None:
        return None

    def _loss(self) -> Loss:
        """The loss that `loss` names or is, at the levels that `quantile` gives."""
        loss: Loss = LOSSES[self.loss] if isinstance(self.loss, str) else self.loss
        if self.quantile is None:
            return loss
        if not isinstance(self.loss, str) or not loss.levels:
            raise ValueError(f"quantile={self.quantile!r} goes with loss='quantile' alone")
        return _at_levels(loss, tuple(np.ravel(self.quantile).tolist()))

    def _levels(self) -> tuple[float, ...]:
        """Quantile levels that are predicted; empty unless the loss has some."""
        return self._loss().levels

    def _activation(self) -> Activation:
        """The output activation."""
        loss, own = self._loss(), self.output_activation
        if own is not None and len(loss.levels) > 1:
            raise ValueError(
                "several quantiles have an output activation of their own, which keeps them in "
                "order; leave output_activation=None"
            )
        chosen: str | Activation = loss.link if own is None else own
        return look_up("output_activation", chosen, ACTIVATIONS)

    def _target(self) -> Target:
        k, loss = self.n_outputs_, self._loss()
        # Losses are averaged over targets. scikit-learn averages the squared error it reports,
        # but not its gradient.
        slip = SLIPS_OF_SKLEARN.get(str(self.loss)) if self.compat == "sklearn" else None
        cost_scale = 1.0 if slip == "both" else 1.0 / k
        error_scale = 1.0 if slip else 1.0 / k
        return Target(k * loss.outputs, self._activation(), loss, cost_scale, error_scale)

    def _encode(self, y: Any) -> Array:
        """The target as (n, targets), standardised if that is done inside."""
        Y = np.asarray(y).reshape(len(y), -1)
        if self._y_scale is not None:
            mean, deviation = self._y_scale
            Y = (Y - mean) / deviation
        return np.ascontiguousarray(Y, self._dtype)

    def _learn_output_scale(self, y: Any, weight: Array | None) -> None:
        """Mean and deviation of each target, where the loss is on the target's own scale."""
        self._y_scale: tuple[Array, Array] | None = None
        if self._rescales_target():
            Y = np.asarray(y, np.float64).reshape(len(y), -1)
            mean = np.average(Y, axis=0, weights=weight)
            self._set_output_scale(mean, lambda: deviation_of_columns(Y, mean, weight))

    def _rescales_target(self) -> bool:
        """Whether the target is divided by its scale inside."""
        loss, activation = self._loss(), self._activation()
        if not self._standardizes("target") or not (
            activation.rescaled or activation.is_rescaled_behind
        ):
            return False
        if loss.rescaled is None and (self.standardize is not True or loss.outputs > 1):
            return False
        # Of others, a target that is rescaled would leave the domain.
        return loss.domain in (ANY_NUMBER, loss.domain._replace(low=0.0, high=np.inf))

    def _set_output_scale(self, mean: Array, deviation: Callable[[], Array]) -> None:
        """Set the scale of each target from its mean and, where it is needed, its deviation."""
        loss, activation = self._loss(), self._activation()
        if activation.range[0] >= 0 or loss.domain != ANY_NUMBER:  # it may be divided, not shifted
            self._y_scale = np.zeros_like(mean), np.where(mean > 0, mean, 1.0)
        else:
            self._y_scale = mean, deviation()
        if self._output_scale()[1] is None and not activation.is_rescaled_behind:
            self._y_scale = None

    def _rescaling(self) -> tuple[Array, Array] | None:
        """(shift, factor) by output unit, from outputs for the standardised target to those for y.

        None if the target is not standardised.
        """
        if self._y_scale is None:
            return None
        loss = self._loss()
        parts = (loss.rescaled or located)(*self._y_scale)
        shift, factor = (np.stack(part, axis=1 if loss.levels else 0).ravel() for part in parts)
        return shift, factor

    def _output_scale(self) -> tuple[Any, Any]:
        """(shift, factor) by output unit, to be folded into the last layer; None if it cannot."""
        rescaling, rescaled = self._rescaling(), self._activation().rescaled
        folded = rescaled(*rescaling) if rescaling is not None and rescaled is not None else None
        return (0.0, None) if folded is None else folded

    def _behind(self) -> tuple[Array, Array] | None:
        """(shift, factor) that outputs of the prediction network still need; None if none."""
        if self._y_scale is None or not self._activation().is_rescaled_behind:
            return None
        return self._rescaling()

    def _in_units(self, outputs: Array) -> Array:
        """Outputs of the prediction network in the target's units."""
        behind = self._behind()
        if behind is None:
            return outputs
        shift, factor = behind
        rescaled: Array = (outputs * factor + shift).astype(outputs.dtype)
        return rescaled

    def _predictions(self, outputs: Array) -> Array:
        """Predictions from the prediction network's outputs."""
        return self._shaped(self._in_units(outputs))

    def _shaped(self, outputs: Array) -> Array:
        """Predictions from outputs in the target's units."""
        levels, k = self._levels(), self.n_outputs_
        if len(levels) > 1:
            cube = outputs.reshape(len(outputs), k, len(levels))
            return cube[:, 0] if k == 1 else cube
        means = outputs[:, :k]
        return means.ravel() if k == 1 else means

    def _unit_factor(self, unit: Any) -> Any:
        behind = self._behind()
        if behind is None:
            return 1
        factor = behind[1][np.asarray(unit)].astype(self._dtype)
        return factor if factor.ndim == 0 else factor[:, None]

    def _default_score(self, outputs: Array, y: Any, weight: Array | None) -> float:
        return self._r2(self._scored(outputs), y, weight)

    def _scored(self, outputs: Array) -> Array:
        """Predictions from the training network's outputs, in the target's units."""
        rescaling = self._rescaling()
        if rescaling is None or self._activation().is_rescaled_behind:
            return self._predictions(outputs)
        shift, factor = rescaling
        return self._shaped(outputs * factor + shift)

    def _r2(self, prediction: Array, y: Any, weight: Array | None) -> float:
        """R², of the middle level where there are several."""
        from sklearn.metrics import r2_score

        n = len(self._levels())
        if n > 1:
            prediction = prediction[..., n // 2]
        y, prediction = np.asarray(y, np.float64), np.asarray(prediction, np.float64)
        largest = np.abs(y).max(initial=0)
        if largest > 1e100:  # squares would overflow; R² has no unit
            y, prediction = y / largest, prediction / largest
        return float(r2_score(y, prediction, sample_weight=weight))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R² of the predictions; of the middle level where several quantiles are predicted.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
        sample_weight : array-like of shape (n_samples,), default=None
        """
        return self._r2(self.predict(X), y, sample_weight)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict the target.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        return_std : bool, default=False
            Return the predicted standard deviation as well; for loss='gaussian', or another that
            predicts one.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            With q quantile levels, (n_samples, q) or (n_samples, n_targets, q).
        deviation : ndarray of the same shape, if return_std
        """
        check_is_fitted(self)
        if not return_std:
            return self._predictions(self._outputs(X))
        formula, k = deviation_of(self._loss()), self.n_outputs_
        if formula is None:
            known = " or ".join(repr(one.name) for one in LOSSES.values() if one.deviation)
            raise ValueError(
                f"return_std=True needs loss={known}, or your own with a deviation; "
                f"{self._loss().name!r} predicts none"
            )
        outputs = self._in_units(self._outputs(X))
        deviation = value(formula, outputs[:, -k:])
        return self._shaped(outputs), deviation.ravel() if k == 1 else deviation

    def _predicts_deviation(self) -> bool:
        """Whether a standard deviation is predicted beside each number."""
        return self._loss().deviation is not None

    def _of_one_row(self, output: Callable[[Array], Array]) -> Callable[[Array], Any]:
        behind, k, q = self._behind(), self.n_outputs_, len(self._levels())

        def predict(x: Array) -> Any:
            outputs = output(x)
            if behind is not None:
                outputs = (outputs * behind[1] + behind[0]).astype(outputs.dtype)
            if q > 1:
                return outputs if k == 1 else outputs.reshape(k, q)
            return outputs[0] if k == 1 else outputs[:k]

        return predict

    def _class_weighted(self, y: Any, weight: Array | None, incremental: bool) -> Array | None:
        return weight

    def __sklearn_tags__(self) -> Any:
        """scikit-learn's tags."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


@lru_cache(maxsize=64)
def _at_levels(loss: Loss, levels: tuple[float, ...]) -> Loss:
    """A loss of the same kind at other levels."""
    made: Loss = loss.made_by[0](levels)
    return made
