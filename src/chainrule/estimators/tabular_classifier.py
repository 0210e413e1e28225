"""TabularClassifier: classes from a raw table, with nothing to tune."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.utils import column_or_1d, compute_class_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from chainrule.base.types import Array
from chainrule.base.validation import check_target
from chainrule.engine.threads import one_blas_thread
from chainrule.ensembles.conformal import class_sets
from chainrule.estimators.class_weights import weights_of_classes
from chainrule.estimators.tabular_ensemble import CONSTRAINTS, TabularEnsemble


class TabularClassifier(ClassifierMixin, TabularEnsemble):
    """Classes from a raw data frame: two ensembles of networks and a linear model, blended.

    Columns may be numbers, truth values, categories, dates, durations and free text, with cells
    missing; nothing has to be scaled, encoded or tuned. All models are cross-fitted: each row is
    predicted by models that have not seen it, and these out-of-fold predictions stop the training,
    weigh the models and say how good the blend is, so that no rows are held out.

    Parameters
    ----------
    preset : {'best', 'fast'}, default='best'
        'best' fits ensembles of 16 and of 8 networks, 'fast' of 4 and 4.
    class_weight : dict, 'balanced' or None, default=None
        Weights of classes; multiplied with sample weights.
    max_epochs : int or None, default=None
        Most epochs of each ensemble; None: 32 to 64, by the number of rows.
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
    classes_ : ndarray of shape (n_classes,)
    oof_prediction_ : ndarray of shape (n_samples, n_classes)
        Out-of-fold probabilities of the training rows.
    oof_score_, oof_loss_ : float
        Accuracy and log-loss of these.
    blend_weights_ : dict of str to float
        The weights of the models "step", "smooth" and "linear"; empty if there is one class.
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
    >>> from sklearn.datasets import load_iris
    >>> from chainrule import TabularClassifier
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = TabularClassifier(preset="fast", random_state=0).fit(X, y)
    >>> model.oof_score_ > 0.9
    True
    """

    _task, _loss = "classification", "softmax"
    _parameter_constraints = CONSTRAINTS | {"class_weight": [StrOptions({"balanced"}), dict, None]}

    def __init__(  # type: ignore[no-untyped-def]
        self,
        preset="best",
        *,
        class_weight=None,
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
        self.class_weight = class_weight
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
    ) -> TabularClassifier:
        """Fit to data.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            pandas, polars, Arrow or NumPy.
        y : array-like of shape (n_samples,)
            Class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts for; one of weight 0 is left out.
        groups : array-like of shape (n_samples,), default=None
            Rows of the same group are in the same fold: where several rows are of one patient,
            say, each is predicted out of fold by models that have seen none of that patient's.

        Returns
        -------
        TabularClassifier
        """
        with one_blas_thread():
            return self._fit(X, y, sample_weight, groups)  # type: ignore[no-any-return]

    def _labels(self, y: Any) -> NDArray[Any]:
        y = check_target(y, False)
        kind = type_of_target(y)
        if kind in ("multilabel-indicator", "multiclass-multioutput"):
            raise ValueError(
                f"y has {np.shape(y)[1]} columns; TabularClassifier predicts one target. Use "
                "sklearn.multioutput.MultiOutputClassifier(TabularClassifier()) for several"
            )
        labels: NDArray[Any] = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        return labels

    def _learn_target(self, y: Any) -> tuple[Array, NDArray[Any]]:
        self.classes_, codes = np.unique(self._labels(y), return_inverse=True)
        return np.eye(len(self.classes_))[codes], codes

    def _known_target(self, y: Any) -> Array:
        labels = self._labels(y)
        codes = np.minimum(np.searchsorted(self.classes_, labels), len(self.classes_) - 1)
        strange = self.classes_[codes] != labels
        if strange.any():
            raise ValueError(
                f"y has a class that fit has not seen: {labels[strange].tolist()[0]!r}"
            )
        return np.eye(len(self.classes_))[codes]

    def _level_targets(self, Y: Array) -> Array:
        return Y[:, 1:] if Y.shape[1] == 2 else Y

    def _row_weights(self, y: Any, weight: Array) -> Array:
        if self.class_weight is None:
            return weight
        labels = self._labels(y)
        given = self.class_weight
        if isinstance(given, dict):
            of_class = weights_of_classes(given, self.classes_)
        else:
            of_class = compute_class_weight(given, classes=self.classes_, y=labels)
        weighted: Array = weight * of_class[np.searchsorted(self.classes_, labels)]
        return weighted

    def _of_outputs(self, outputs: Array) -> Array:
        return outputs

    def _oof_score(self, outputs: Array, Y: Array, weight: Array) -> float:
        right = outputs.argmax(axis=1) == Y.argmax(axis=1)
        return float(np.average(right, weights=weight))

    def _learn_scores(self, outputs: Array, Y: Array) -> Array:
        scores: Array = 1 - (outputs * Y).sum(axis=1)
        return scores

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes, in the order of ``classes_``.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return self._outputs(X)

    def predict_log_proba(self, X: Any) -> Array:
        """Logarithms of the probabilities.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        with np.errstate(divide="ignore"):
            return np.log(self._outputs(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict classes.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        outputs = self._outputs(X)
        labels: NDArray[Any] = self.classes_[outputs.argmax(axis=1)]
        return labels

    def predict_set(self, X: Any, coverage: float = 0.9) -> NDArray[np.bool_]:
        """Sets of classes that hold the true one with a probability of about `coverage`.

        This holds on average over all rows, if these come from where the training rows came from;
        see :mod:`chainrule.ensembles.conformal`. A set may be empty: then no class fits as well as
        those of most training rows did.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
        coverage : float, default=0.9
            Between 0 and 1.

        Returns
        -------
        ndarray of bool of shape (n_samples, n_classes)
            Which of ``classes_`` are in the set of each row.
        """
        coverage = self._check_coverage(coverage)
        without = self._outputs_without(X)
        return class_sets(without, self._scores, self._score_folds, coverage)
