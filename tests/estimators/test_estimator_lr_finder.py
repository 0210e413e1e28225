from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_iris

from chainrule import MLPClassifier


def test_the_rate_that_is_found_learns_faster_than_one_far_below_it():
    X, y = load_iris(return_X_y=True)
    estimator = MLPClassifier(random_state=0, max_iter=10)
    before = estimator.get_params()
    found = estimator.find_learning_rate(X, y, steps=60)
    assert estimator.get_params() == before
    assert not hasattr(estimator, "coefs_")
    assert found.rates[0] < found.suggestion < found.rates[-1]

    def loss_after(rate: float) -> float:
        with pytest.warns(match="Maximum iterations"):
            return estimator.set_params(learning_rate_init=rate).fit(X, y).loss_

    assert loss_after(found.suggestion) < 0.5 * loss_after(found.suggestion / 100)


def test_lbfgs_has_no_rate_to_find():
    with pytest.raises(ValueError, match="solver='lbfgs'"):
        MLPClassifier(solver="lbfgs").find_learning_rate(np.eye(3), [0, 1, 2])
