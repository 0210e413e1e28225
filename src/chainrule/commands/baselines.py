"""The trivial and the linear model that a model is compared with, fitted and in its file.

`train` fits both to what the model was fitted to, behind the same preprocessing: the pipeline's own
steps, or the encoding inside of a tabular ensemble. Kept are the trivial one's class frequencies or
mean, and the linear one's coefficients where they are few.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline

from chainrule.commands.differences import score_of

NAMES = ("trivial", "linear")
MOST_NUMBERS = 5000  # coefficients that a file keeps
ENCODED = "encoded by the ensemble"  # what the coefficients of a file are of; else of its steps


def is_ensemble(model: Any) -> bool:
    """Whether a model is, or ends in, a tabular ensemble, which encodes columns itself."""
    last = model[-1] if hasattr(model, "steps") else model
    return hasattr(last, "blend_weights_")


def preparation(model: Any) -> list[tuple[str, Any]]:
    """The fitted steps that make numbers of a table for the linear model beside a model.

    Parameters
    ----------
    model : Pipeline
        Fitted.
    """
    steps = list(model.steps[:-1])
    if is_ensemble(model):
        from chainrule.estimators.linear_columns import LinearColumns

        steps.append(("encode", LinearColumns(model[-1])))
    return steps


def training_columns(model: Any, X: Any, y: NDArray[Any]) -> NDArray[Any]:
    """The numbers that the linear model learns from, of the rows that a model was fitted to.

    Parameters
    ----------
    model : Pipeline
        Fitted.
    X : pandas.DataFrame of shape (n, columns)
    y : (n,) array
    """
    Z: NDArray[Any] = model[:-1].transform(X)
    if is_ensemble(model):
        from chainrule.estimators.linear_columns import LinearColumns

        Z = LinearColumns(model[-1]).of_training(Z, y)
    return Z


class AtLevels(BaseEstimator):
    """A regression of the mean, moved so that its training residuals have the quantiles wanted.

    Parameters
    ----------
    levels : tuple of q floats
    mean : estimator
        A DummyRegressor or a linear model.
    """

    def __init__(self, levels: tuple[float, ...], mean: Any) -> None:
        self.levels = levels
        self.mean = mean

    def fit(self, Z: NDArray[Any], y: NDArray[Any], sample_weight: Any = None) -> AtLevels:
        """Fit the mean, and find by how much each quantile lies above it."""
        residuals = y - self.mean.fit(Z, y, sample_weight=sample_weight).predict(Z)
        how = {} if sample_weight is None else {"weights": sample_weight, "method": "inverted_cdf"}
        self.shifts_ = np.quantile(residuals, self.levels, **how)
        return self

    def predict(self, Z: NDArray[Any]) -> NDArray[Any]:
        """The quantiles, (n, q), or (n,) of one level."""
        found: NDArray[Any] = self.mean.predict(Z)[:, None] + self.shifts_
        return found[:, 0] if len(self.levels) == 1 else found

    def __getattr__(self, name: str) -> Any:
        if name in ("constant_", "intercept_"):
            return np.ravel(getattr(self.mean, name)) + self.shifts_
        if name == "coef_":
            return self.mean.coef_
        raise AttributeError(name)


def fit_baselines(
    Z: NDArray[Any],
    y: NDArray[Any],
    task: str,
    weight: NDArray[Any] | None,
    levels: tuple[float, ...] = (),
) -> dict[str, Any]:
    """The trivial and the linear model, fitted.

    Parameters
    ----------
    Z : (n, d) array
    y : (n,) array
    task : {"classification", "regression"}
    weight : (n,) array or None
        What each row counts for.
    levels : tuple of float, default=()
        The quantiles to predict, as the model beside them does; else means are.
    """
    from sklearn.dummy import DummyClassifier, DummyRegressor
    from sklearn.linear_model import LogisticRegression, Ridge

    models: tuple[Any, Any] = DummyRegressor(), Ridge()
    if levels:
        models = AtLevels(levels, models[0]), AtLevels(levels, models[1])
    if task == "classification":
        trivial = DummyClassifier(strategy="prior")
        several = len(np.unique(y)) > 1  # a fold may lack a class
        models = trivial, LogisticRegression(max_iter=500) if several else clone(trivial)
    if weight is not None:
        weight = weight / weight.mean()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a linear model that has not converged is one
        for each in models:
            each.fit(Z, y, sample_weight=weight)
    return dict(zip(NAMES, models, strict=True))


def described(parts: Mapping[str, Any]) -> dict[str, Any]:
    """What a model's file keeps of its baselines.

    Parameters
    ----------
    parts : dict of str to Pipeline
        "trivial" and "linear", fitted; and under "" the model itself.

    Returns
    -------
    dict
        "trivial": the frequency of each class, or the mean, or quantiles, in a list. "linear":
        coefficients (outputs, features), intercepts and what they are of, or None if there are too
        many.
    """
    trivial, linear = (parts[name][-1] for name in NAMES)
    prior = getattr(trivial, "class_prior_", None)
    start = trivial.constant_ if prior is None else prior
    coefficients = np.atleast_2d(linear.coef_)
    kept = None
    if coefficients.size <= MOST_NUMBERS:
        intercept = np.atleast_1d(linear.intercept_)
        kept = {"coefficients": coefficients.tolist(), "intercepts": intercept.tolist()}
        if is_ensemble(parts[""]):
            kept["of"] = ENCODED
    return {"trivial": np.ravel(start).tolist(), "linear": kept}


class Baselines:
    """The baselines that a model's file holds.

    Parameters
    ----------
    told : anything
        What the file has of them; nothing in it is trusted.
    model : estimator or Pipeline
        The model itself, for its preprocessing and its classes.

    Attributes
    ----------
    known : list of str
        The names of those that can be predicted with.
    """

    def __init__(self, told: Any, model: Any) -> None:
        self._classes = getattr(model, "classes_", np.empty(0))
        self._k = len(self._classes)
        last = model[-1] if hasattr(model, "steps") else model
        self._steps = preparation(model) if hasattr(model, "steps") else []
        features = int(getattr(last, "n_features_in_", 0))
        found = told if isinstance(told, Mapping) else {}
        constants = self._k or len(score_of(model).quantiles) or 1
        self._trivial = _numbers(found.get("trivial"), (constants,))
        linear = found.get("linear")
        linear = linear if isinstance(linear, Mapping) else {}
        if is_ensemble(model):
            features = self._steps[-1][1].width if self._steps else 0
            linear = linear if linear.get("of") == ENCODED else {}
        outputs = self._k if self._k > 2 else 1
        self._W = _numbers(linear.get("coefficients"), (outputs, features))
        self._b = _numbers(linear.get("intercepts"), (outputs if self._k else constants,))
        have = (self._trivial is not None, self._W is not None and self._b is not None)
        self.known = [name for name, there in zip(NAMES, have, strict=True) if there]

    def predictions(self, X: Any) -> dict[str, tuple[NDArray[Any], NDArray[Any] | None]]:
        """(predictions, probabilities or None for numbers) of each one that is known.

        Parameters
        ----------
        X : pandas.DataFrame of shape (n, columns)
        """
        found: dict[str, NDArray[Any]] = {}
        if self._trivial is not None:
            found["trivial"] = np.tile(self._trivial, (len(X), 1))
        if self._W is not None and self._b is not None:
            Z = Pipeline(self._steps).transform(X) if self._steps else X
            z = np.asarray(Z, np.float64) @ self._W.T + self._b
            found["linear"] = _chances(z) if self._k else z
        if not self._k:
            return {
                name: (values if values.shape[1] > 1 else values[:, 0], None)
                for name, values in found.items()
            }
        classes = self._classes
        return {name: (classes[P.argmax(axis=1)], P) for name, P in found.items()}


def _chances(z: NDArray[Any]) -> NDArray[Any]:
    """Probabilities of the classes from the linear model's outputs, one of them for two classes."""
    z = np.hstack([np.zeros_like(z), z]) if z.shape[1] == 1 else z
    chances: NDArray[Any] = np.exp(z - z.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    return chances


def _numbers(told: Any, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """Lists of numbers as an array, if they have that shape and are finite; else None."""
    try:
        found = np.asarray(told, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found.shape == shape and np.isfinite(found).all() else None
