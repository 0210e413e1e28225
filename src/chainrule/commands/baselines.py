"""The trivial and the linear model that a model is compared with, as its file keeps them.

`train` fits both beside the model, behind the same preprocessing. Kept are the trivial one's class
frequencies or mean, and the linear one's coefficients where they are few.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = ("trivial", "linear")
MOST_NUMBERS = 5000  # coefficients that a file keeps


def described(parts: Mapping[str, Any]) -> dict[str, Any]:
    """What a model's file keeps of its baselines.

    Parameters
    ----------
    parts : dict of str to Pipeline
        "trivial" and "linear", fitted.

    Returns
    -------
    dict
        "trivial": the frequency of each class, or the mean in a list of one. "linear":
        coefficients (outputs, features) and intercepts, or None if there are too many.
    """
    trivial, linear = (parts[name][-1] for name in NAMES)
    prior = getattr(trivial, "class_prior_", None)
    start = trivial.constant_ if prior is None else prior
    coefficients = np.atleast_2d(linear.coef_)
    kept = None
    if coefficients.size <= MOST_NUMBERS:
        intercept = np.atleast_1d(linear.intercept_)
        kept = {"coefficients": coefficients.tolist(), "intercepts": intercept.tolist()}
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
        self._model = model
        self._k = len(model.classes_) if hasattr(model, "classes_") else 0
        last = model[-1] if hasattr(model, "steps") else model
        features = int(getattr(last, "n_features_in_", 0))
        found = told if isinstance(told, Mapping) else {}
        self._trivial = _numbers(found.get("trivial"), (self._k or 1,))
        linear = found.get("linear")
        linear = linear if isinstance(linear, Mapping) else {}
        if hasattr(last, "blend_weights_"):  # it encodes columns itself, and so did the linear one
            linear = {}
        outputs = 1 if self._k <= 2 else self._k
        self._W = _numbers(linear.get("coefficients"), (outputs, features))
        self._b = _numbers(linear.get("intercepts"), (outputs,))
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
            Z = self._model[:-1].transform(X) if hasattr(self._model, "steps") else X
            z = np.asarray(Z, np.float64) @ self._W.T + self._b
            found["linear"] = _chances(z) if self._k else z
        if not self._k:
            return {name: (values[:, 0], None) for name, values in found.items()}
        classes = self._model.classes_
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
