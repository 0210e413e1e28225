"""The columns of a tabular ensemble as one matrix of numbers, for a linear model beside it.

They are those of its own linear part: numbers, dates and n-grams, a column for each level of a
category, means of the target by level. Only numbers are bent less, into ±30: what is linear in them
stays nearly so, and a blunder still does no harm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from chainrule.base.types import Array
from chainrule.ensembles.blending import flat, without_bins
from chainrule.ensembles.encoding import Columns, bent, means_by_fold
from chainrule.estimators.tabular_ensemble import TabularEnsemble

BOUND = 30.0


class LinearColumns(BaseEstimator):
    """What makes these columns: a transformer, of a fitted ensemble.

    Parameters
    ----------
    ensemble : TabularClassifier or TabularRegressor
        Fitted.
    """

    def __init__(self, ensemble: TabularEnsemble) -> None:
        self.ensemble = ensemble

    def fit(self, X: Any, y: Any = None) -> LinearColumns:
        """Do nothing: the ensemble is fitted."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def width(self) -> int:
        """How many columns there are; one of zeros where the ensemble is a constant."""
        if self.ensemble._encoder is None:
            return 1
        layout = self.ensemble._encoder.layout(False)
        return layout.dense + sum(layout.levels)

    def transform(self, X: Any) -> Array:
        """The columns of any rows, (n, width).

        Parameters
        ----------
        X : data frame or array-like of shape (n, n_features)
        """
        table = self.ensemble._check_table(X)
        if self.ensemble._reader is None:
            return np.zeros((len(table), 1))
        return self._matrix(self.ensemble._reader.read(table))

    def of_training(self, X: Any, y: Any) -> Array:
        """The columns of the training rows, whose means by level leave out each row's own fold.

        Parameters
        ----------
        X, y :
            As the ensemble was fitted to.
        """
        ensemble, reader = self.ensemble, self.ensemble._reader
        table = ensemble._check_table(X)
        if reader is None:
            return np.zeros((len(table), 1))
        columns, levels = reader.read(table), reader.schema().levels
        folds = np.maximum(ensemble._fold_of_row, 0).astype(np.int64)
        Y = ensemble._level_targets(ensemble._known_target(y))
        means = means_by_fold(columns.codes, levels, Y, np.ones(len(folds)), folds)
        return self._matrix(columns, means, folds)

    def _matrix(
        self, columns: Columns, means: list[Array] | None = None, folds: NDArray[Any] | None = None
    ) -> Array:
        encoder = self.ensemble._encoder
        assert encoder is not None
        Z = flat(without_bins(encoder.encode(columns, means, folds)), encoder.layout(False))
        for place, j in enumerate(encoder.kept):
            if j < len(encoder.median) and not encoder.scaled[j]:
                x = np.where(
                    np.isnan(columns.numbers[:, j]), encoder.median[j], columns.numbers[:, j]
                )
                Z[:, place] = bent(x, encoder.median[j], encoder.factor[j], BOUND)
        return Z
