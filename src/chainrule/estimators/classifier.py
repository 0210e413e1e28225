"""MLPClassifier: scikit-learn's multilayer perceptron for classes, and what it lacks.

Parameters, attributes and defaults are those of scikit-learn 1.9, by name and by position; what
is added is keyword-only and comes after.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
    unique_labels,
)

from chainrule.base.types import Array
from chainrule.base.validation import check_target, look_up
from chainrule.equations.activations import ACTIVATIONS
from chainrule.equations.losses import LOSSES, Loss
from chainrule.estimators.class_weights import weights_of_classes
from chainrule.estimators.fitting import MLPBase, with_callbacks
from chainrule.estimators.labels import accuracy, fitted_binarizer, labels_of
from chainrule.estimators.multioutput import (
    ColumnsBinarizer,
    grouped_cross_entropy,
    grouped_softmax,
)
from chainrule.estimators.parameters import CONSTRAINTS, REAL, Target
from chainrule.training.samples import blocks_of

# By the estimators' name for a loss: what it is for "classes" and for "labels".
CLASS_LOSSES: dict[str, dict[str, Loss]] = {}
for _loss in LOSSES.values():
    if _loss.target != "numbers":
        CLASS_LOSSES.setdefault(_loss.known_as or _loss.name, {})[_loss.target] = _loss


class MLPClassifier(ClassifierMixin, MLPBase):
    """Multilayer perceptron for classification: drop-in for scikit-learn's, and more.

    Two classes get one logistic output unit, more of them softmax; several labels a logistic
    unit each; several class targets a softmax each.

    Parameters
    ----------
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
        Part of the rows to hold out, stratified unless the target is multilabel.
    beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
        For 'adam', 'adamw', 'nadam' and 'radam'; beta_1 for 'lion', too.
    n_iter_no_change : int, default=10
        Epochs without improvement after which to stop.
    max_fun : int, default=15000
        Most evaluations of the loss, for 'lbfgs'.
    loss : str or Loss, default='log_loss'
        'log_loss' (cross-entropy), 'focal' (Lin et al., 2017; for another γ than 2 pass
        ``losses.focal(γ)`` or ``losses.binary_focal(γ)``), or your own.
    class_weight : dict, list of dict, 'balanced' or None, default=None
        Weights of classes, a dict for each of several class targets; multiplied with sample
        weights.
    label_smoothing : float, default=0.0
        ε in targets (1 - ε) y + ε / K; K is 2 for one logistic unit.
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
    standardize : bool or 'auto', default='auto'
        Standardise the inputs inside; the result is folded into ``coefs_``, which apply to X as
        it is. 'auto' is True, but False with compat='sklearn'. Sparse columns are only scaled.
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

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coefs_, intercepts_ : list of ndarray
        Weights (n_in, n_out) and biases (n_out,) of each layer.
    n_features_in_, n_outputs_, n_layers_, n_iter_, t_ : int
        Columns of X, output units, layers (inputs counted), epochs of this fit, samples seen.
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
    >>> from sklearn.datasets import load_iris
    >>> from chainrule import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> MLPClassifier(random_state=0, max_iter=500).fit(X, y).score(X, y) > 0.95
    True
    """

    _numeric_target = False
    _parameter_constraints = CONSTRAINTS | {
        "loss": [StrOptions(set(CLASS_LOSSES)), Loss],
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
        "label_smoothing": [Interval(REAL, 0, 1, closed="left")],
    }

    def __init__(  # type: ignore[no-untyped-def]
        self,
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
        loss="log_loss",
        class_weight=None,
        label_smoothing=0.0,
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
        self.loss = loss
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
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
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Class labels, a matrix of 0 and 1 for several labels, or a column of class labels
            for each of several targets.
        sample_weight : array-like of shape (n_samples,), default=None
            A weight of 2 equals a row twice.
        X_val, y_val, sample_weight_val : like X, y, sample_weight, default=None
            A validation set of your own; its curves are kept, and the best parameters on it are
            put back at the end.

        Returns
        -------
        MLPClassifier
        """
        return self._fit_with_context(X, y, sample_weight, X_val, y_val, sample_weight_val)

    @available_if(lambda est: est._partial_fit_needs_steps())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        classes: Any = None,
        *,
        n_epochs: int = 1,
    ) -> Any:
        """Go on training with a block of data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
        sample_weight : array-like of shape (n_samples,), default=None
        classes : array-like of shape (n_classes,), default=None
            All classes there will be; needed in the first call. For several class targets, a
            list of them.
        n_epochs : int, default=1
            How often to go through the block.

        Returns
        -------
        MLPClassifier
        """
        y = check_target(y, False)
        if classes is not None:
            classes = check_target(classes, False, "classes")
        kind = type_of_target(y)
        if kind == "multiclass-multioutput":
            if classes is not None and not hasattr(self, "classes_"):
                self._label_binarizer = ColumnsBinarizer().fit_classes(classes)
                self.classes_ = self._label_binarizer.classes_
            elif not hasattr(self, "classes_"):
                raise ValueError("classes must be passed on the first call to partial_fit.")
        elif _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer()
            self._label_binarizer.fit(y if kind.startswith("multilabel") else classes)
        return self._fit(X, y, sample_weight, incremental=True, n_epochs=n_epochs)

    def _learn_target(self, y: Any, first: bool, incremental: bool) -> None:
        """Classes, learned or compared with those known."""
        learns = not hasattr(self, "classes_") or (not self.warm_start and not incremental)
        if y.ndim == 2 and type_of_target(y) == "multiclass-multioutput":
            check_classification_targets(y)  # which warns of too many classes
            if first and not incremental:
                self._label_binarizer = ColumnsBinarizer().fit(y)
                self.classes_ = self._label_binarizer.classes_
            self._label_binarizer.transform(y[:1])
            self.n_outputs_ = sum(self._label_binarizer.sizes)
            return
        if learns:
            self._label_binarizer = fitted_binarizer(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            check_classification_targets(y)
            found = unique_labels(y)
            if self.warm_start and set(found) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the "
                    f"previous call to fit. Previously got {self.classes_}, `y` has {found}"
                )
            if len(np.setdiff1d(found, self.classes_, assume_unique=True)):
                raise ValueError(
                    "`y` has classes not in `self.classes_`. "
                    f"`self.classes_` has {self.classes_}. 'y' has {found}."
                )
        kind, n = self._label_binarizer.y_type_, len(self.classes_)
        self.n_outputs_ = 1 if kind != "multilabel-indicator" and n <= 2 else n

    def _validate(self, X: Any, y: Any = "no_validation", reset: bool = False) -> Any:
        checked = super()._validate(X, y, reset)
        if isinstance(y, str):
            return checked
        X, y = checked
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _check_validation_target(self, y_val: Any) -> None:
        if self._several():
            self._label_binarizer.transform(y_val)
        elif len(strange := np.setdiff1d(y_val, self.classes_)) and y_val.ndim == 1:
            raise ValueError(f"y_val has classes that are not in y: {strange[:5].tolist()}")

    def _strata(self, y: Any) -> Any:
        several = self._label_binarizer.y_type_.startswith("multi") and y.ndim > 1
        # scikit-learn looks at the number of outputs, which leaves several classes out too.
        out = several or (self.compat == "sklearn" and self.n_outputs_ > 1)
        return None if out else y

    def _encode(self, y: Any) -> Array:
        """Rows of 0 and 1, smoothed by `label_smoothing`."""
        Y = self._indicators(y)
        if self.label_smoothing:
            K: Any = Y.shape[1] if self._multiclass() else 2
            if self._several():
                sizes = self._label_binarizer.sizes
                K = np.repeat(sizes, sizes)
            Y = (Y * (1 - self.label_smoothing) + self.label_smoothing / K).astype(Y.dtype)
        return np.ascontiguousarray(Y)

    def _indicators(self, y: Any) -> Array:
        """Rows of 0 and 1; scikit-learn's way needs many times their memory, so not of all rows."""
        known: Any = self.classes_
        K = len(known)
        if y.ndim == 1 and y.dtype.kind == known.dtype.kind:
            Y: Array = np.zeros((len(y), self.n_outputs_), self._dtype)
            for at, labels in blocks_of(y):
                codes = np.minimum(np.searchsorted(known, labels), K - 1)
                if (known[codes] != labels).any():
                    break  # one that is not known
                Y[at] = codes[:, None] == (1 if K <= 2 else np.arange(K))
            else:
                return Y
        return self._label_binarizer.transform(y).astype(self._dtype)  # type: ignore[no-any-return]

    def _multiclass(self) -> bool:
        return bool(self._label_binarizer.y_type_ == "multiclass")

    def _several(self) -> bool:
        return bool(self._label_binarizer.y_type_ == "multiclass-multioutput")

    def _target(self) -> Target:
        activation = self.output_activation
        if self._several():
            if activation is not None or self.loss != "log_loss":
                raise ValueError(
                    "several class targets have an output activation and a loss of their own; "
                    "leave output_activation=None and loss='log_loss'"
                )
            sizes = self._label_binarizer.sizes
            return Target(self.n_outputs_, grouped_softmax(sizes), grouped_cross_entropy(sizes))
        kind = "classes" if self._multiclass() else "labels"
        right = next(one for one in ACTIVATIONS.values() if one.probabilities == kind)
        chosen = look_up(
            "output_activation", right if activation is None else activation, ACTIVATIONS
        )
        if chosen.probabilities == "classes" and kind == "labels":
            raise ValueError(
                f"output_activation={chosen.name!r} makes one class exclude the others; the target "
                f"is {self._label_binarizer.y_type_}, for which {right.name!r} is right"
            )
        if isinstance(activation, str) and chosen.probabilities != kind:
            raise ValueError(
                f"output_activation={activation!r} gives no probabilities for a "
                f"{self._label_binarizer.y_type_} target; use {right.name!r} or an Activation of "
                "your own"
            )
        loss = self.loss
        if isinstance(loss, str):
            loss = CLASS_LOSSES[loss][kind]
        return Target(self.n_outputs_, chosen, loss)

    def _class_weighted(self, y: Any, weight: Array | None, incremental: bool) -> Array | None:
        if self.class_weight is None:
            return weight
        if incremental and self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' cannot be known from a part of the data; give "
                "partial_fit a dict of weights"
            )
        if isinstance(self.class_weight, dict) and y.ndim == 1:
            by_class = weights_of_classes(self.class_weight, self.classes_).astype(self._dtype)
            of_class: Array = by_class[np.searchsorted(self.classes_, y)]
        else:
            of_class = compute_sample_weight(self.class_weight, y).astype(self._dtype)
        return of_class if weight is None else weight * of_class

    def _output_scale(self) -> tuple[Any, None]:
        return 0.0, None

    def _rescaling(self) -> None:
        return None

    def _learn_output_scale(self, y: Any, weight: Array | None) -> None:
        """Classes have no scale."""

    def _labels(self, outputs: Array) -> Any:
        if self.n_outputs_ == 1:
            outputs = outputs.ravel()
        return labels_of(self._label_binarizer, outputs)

    def _default_score(self, outputs: Array, y: Any, weight: Array | None) -> float:
        return self._accuracy(self._labels(outputs), y, weight)

    def _judgement(self, validation_loss: float, score: float) -> float:
        """The loss unless a score is asked for: accuracy, in steps of a row, says too little."""
        by_score = self.scoring is not None or self.compat == "sklearn"
        return score if by_score else -validation_loss

    def _accuracy(self, labels: Any, y: Any, weight: Array | None) -> float:
        if self._several():
            return float(np.average((labels == np.asarray(y)).all(axis=1), weights=weight))
        return accuracy(labels, y, weight)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy: the part of the rows whose labels, all of them, are right.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
        sample_weight : array-like of shape (n_samples,), default=None
        """
        return self._accuracy(self.predict(X), y, sample_weight)

    def predict(self, X: Any) -> Any:
        """Predict classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
        """
        return self._labels(self._outputs(X))

    def predict_proba(self, X: Any) -> Any:
        """Probabilities of the classes, in the order of ``classes_``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            A list of them, one a target, if there are several class targets.
        """
        outputs = self._outputs(X)
        if self._several():
            return self._label_binarizer.split(outputs)
        if self.n_outputs_ == 1:
            if len(self.classes_) == 1 and self.compat != "sklearn":
                return np.ones_like(outputs)
            return np.hstack([1 - outputs, outputs])
        return outputs

    def _of_one_row(self, output: Callable[[Array], Array]) -> Callable[[Array], Any]:
        if self._several():
            split = self._label_binarizer.split
            return lambda x: [part[0] for part in split(output(x)[np.newaxis])]
        if self.n_outputs_ > 1:
            return output

        def both(x: Array) -> Array:
            p = output(x)[0]
            return np.array([1 - p, p])

        return both

    def predict_log_proba(self, X: Any) -> Any:
        """Logarithms of the probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        proba = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            return [np.log(p) for p in proba] if self._several() else np.log(proba)

    def decision_function(self, X: Any) -> Any:
        """What goes into the output activation: log-odds for two classes or for labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        z = self._outputs(X, of="z")
        if self._several():
            return self._label_binarizer.split(z)
        return z.ravel() if self.n_outputs_ == 1 else z

    def __sklearn_tags__(self) -> Any:
        """scikit-learn's tags."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
