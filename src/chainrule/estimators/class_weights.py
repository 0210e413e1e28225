"""What each class counts for, from a dict of the user's."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from chainrule.base.types import Array
from chainrule.base.validation import warn_user


def weights_of_classes(given: Mapping[Any, Any], classes: ArrayLike) -> Array:
    """Give the weight of each class; a class without one has 1.

    A dict may hold classes that these rows lack, as a fold of a cross-validation does.

    Parameters
    ----------
    given : mapping of class to number
    classes : (n_classes,) array-like
        The classes of y.

    Returns
    -------
    (n_classes,) float64 array

    Raises
    ------
    ValueError
        A weight is not a finite number >= 0, or a class is a text where those of y are none, or
        the other way round.

    Warns
    -----
    UserWarning
        A class of the dict is not in y, and a class of y has no weight: probably misspelt.
    """
    names: list[Any] = np.asarray(classes).tolist()
    known = {label: i for i, label in enumerate(names)}
    weights: Array = np.ones(len(known))
    without, strange = set(known), []
    for label, value in given.items():
        if not isinstance(value, numbers.Real) or not 0 <= float(value) < np.inf:
            raise ValueError(
                f"class_weight of class {label!r} is {value!r}; it must be a finite number >= 0"
            )
        if label in known:
            weights[known[label]] = float(value)
            without.discard(names[known[label]])
        elif isinstance(label, str) != isinstance(next(iter(known)), str):
            kind = "text" if isinstance(label, str) else "no text"
            raise ValueError(
                f"class_weight names class {label!r}, which is {kind}, unlike the classes of "
                f"y: {_listed(known)}"
            )
        else:
            strange.append(label)
    if strange and without:
        warn_user(
            f"class_weight names class {strange[0]!r}, which is not in y, and gives no weight "
            f"to {sorted(without)[0]!r}, which counts 1; the classes are "
            f"{_listed(known)}"
        )
    return weights


def _listed(classes: Iterable[Any]) -> str:
    """The first few, for a message."""
    names = [repr(label) for label in classes]
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
