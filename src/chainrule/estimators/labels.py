"""Classes of one target: learnt, told from outputs, compared with the truth.

scikit-learn's functions for these accept whatever is array-like and look at it several times, which
takes longer than many small fits of a search. Here whole numbers and texts in a plain vector, with
the same results, have a shorter way; everything else goes through scikit-learn's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import check_classification_targets

from chainrule.base.types import Array

FEW_TO_WARN = 20  # rows up to which scikit-learn does not warn of too many classes


def fitted_binarizer(y: Any) -> LabelBinarizer:
    """scikit-learn's binarizer, fitted to classes or to a matrix of labels.

    Raises
    ------
    ValueError
        y holds no classes.
    """
    binarizer = LabelBinarizer()
    if _is_plain(y):
        classes = np.unique(y) if y.dtype.kind != "U" else np.array(sorted(set(y.tolist())))
        if len(y) <= FEW_TO_WARN or 2 * len(classes) < len(y):
            binarizer.y_type_ = "binary" if len(classes) <= 2 else "multiclass"
            binarizer.sparse_input_ = False
            binarizer.classes_ = classes
            return binarizer
    check_classification_targets(y)
    return binarizer.fit(y)


def labels_of(binarizer: Any, outputs: Array) -> Any:
    """The labels that outputs stand for: the largest, or those above 1/2."""
    if binarizer.y_type_ == "multiclass":
        return binarizer.classes_.take(outputs.argmax(axis=1))
    if binarizer.y_type_ == "binary" and len(binarizer.classes_) == 2:
        return binarizer.classes_.take(outputs.ravel() > 0.5)
    return binarizer.inverse_transform(outputs)


def accuracy(labels: Any, y: Any, weight: Any) -> float:
    """The part of the rows whose labels are right, all of them if there are several."""
    both = _is_plain(y) and _is_plain(labels) and len(y) == len(labels)
    if weight is None and both and (y.dtype.kind == "U") == (labels.dtype.kind == "U"):
        return float(np.mean(y == labels))
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(y, labels, sample_weight=weight))


def _is_plain(y: Any) -> bool:
    """Whether it is a vector of whole numbers, truth values or texts, with a row at least."""
    return type(y) is np.ndarray and y.ndim == 1 and y.dtype.kind in "biuU" and len(y) > 0
