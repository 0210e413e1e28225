"""Several class targets at once: for each a softmax of its own over its part of the outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer

from chainrule.base.types import Array
from chainrule.equations.activations import Activation, softmax, softmax_pullback
from chainrule.equations.losses import Loss, softmax_cross_entropy, softmax_cross_entropy_delta


def grouped_softmax(sizes: tuple[int, ...]) -> Activation:
    """Softmax over consecutive groups of outputs, of the given sizes."""

    def f(z: Array, a: Array) -> None:
        start = 0
        for n in sizes:
            part = z[:, start : start + n].copy()
            softmax(part, part)
            a[:, start : start + n] = part
            start += n

    def pullback(z: Array, a: Array, delta: Array) -> None:
        start = 0
        for n in sizes:
            part = delta[:, start : start + n].copy()
            p = a[:, start : start + n].copy()
            softmax_pullback(p, p, part)
            delta[:, start : start + n] = part
            start += n

    return Activation("grouped_softmax", f, pullback, made_by=(grouped_softmax, sizes))


def grouped_cross_entropy(sizes: tuple[int, ...]) -> Loss:
    """C = Σ_groups -Σ_j y_j log softmax(z)_j, the sum of the groups' cross-entropies."""

    def cost(z: Array, a: Array, y: Array, c: Array) -> None:
        part_cost = np.empty_like(c)
        c[:] = 0
        start = 0
        for n in sizes:
            part, target = z[:, start : start + n].copy(), y[:, start : start + n].copy()
            softmax_cross_entropy(part, part, target, part_cost)
            c += part_cost
            start += n

    def delta_of(z: Array, a: Array, y: Array, delta: Array) -> None:
        start = 0
        for n in sizes:
            p, target = a[:, start : start + n].copy(), y[:, start : start + n].copy()
            part = np.empty_like(p)
            softmax_cross_entropy_delta(p, p, target, part)
            delta[:, start : start + n] = part
            start += n

    return Loss(
        "grouped_cross_entropy",
        cost,
        delta_of,
        fused="grouped_softmax",
        made_by=(grouped_cross_entropy, sizes),
    )


class ColumnsBinarizer:
    """What `LabelBinarizer` does, for each column of y; two classes get two columns.

    Attributes
    ----------
    y_type_ : str
    classes_ : list of ndarray
        Sorted classes of each column.
    """

    y_type_ = "multiclass-multioutput"

    def fit(self, y: Any) -> ColumnsBinarizer:
        """Learn the classes of each column of y, (n, columns)."""
        return self.fit_classes([np.unique(column) for column in np.asarray(y).T])

    def fit_classes(self, classes: Any) -> ColumnsBinarizer:
        """Take the classes as given, one array a column."""
        self.classes_ = [np.unique(one) for one in classes]
        return self

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of classes of each column."""
        return tuple(map(len, self.classes_))

    def transform(self, y: Any) -> Any:
        """Rows of 0 and 1, (n, sum of sizes).

        Raises
        ------
        ValueError
            A label that was not there in `fit`, with its column.
        """
        y = np.asarray(y)
        if y.ndim != 2 or y.shape[1] != len(self.classes_):
            raise ValueError(f"y must have {len(self.classes_)} columns, got shape {y.shape}")
        parts = []
        for j, known in enumerate(self.classes_):
            strange = np.setdiff1d(y[:, j], known)
            if len(strange):
                raise ValueError(
                    f"`y` has classes not in `self.classes_`: {strange[:5].tolist()} in column {j}"
                )
            coded = LabelBinarizer().fit(known).transform(y[:, j])
            parts.append(np.hstack([1 - coded, coded]) if len(known) == 2 else coded)
        return np.hstack(parts)

    def inverse_transform(self, outputs: Array) -> Any:
        """The most probable class of each column, (n, columns)."""
        parts = self.split(outputs)
        labels = [
            known[part.argmax(axis=1)] for known, part in zip(self.classes_, parts, strict=True)
        ]
        return np.stack(labels, axis=1)

    def split(self, outputs: Array) -> list[Array]:
        """The outputs of each column."""
        return np.split(outputs, np.cumsum(self.sizes)[:-1], axis=1)
