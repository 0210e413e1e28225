"""Small estimators, small data, and comparing what was learnt."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_diabetes, load_iris

from chainrule import MLPClassifier, MLPRegressor

X, y = load_iris(return_X_y=True)
Xd, yd = load_diabetes(return_X_y=True)


def classify(**parameters):
    return MLPClassifier(
        **{"hidden_layer_sizes": 8, "max_iter": 10, "random_state": 0} | parameters
    )


def regress(**parameters):
    return MLPRegressor(**{"hidden_layer_sizes": 8, "max_iter": 10, "random_state": 0} | parameters)


def same(a, b, **tolerance):
    for p, q in zip([*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_], strict=True):
        np.testing.assert_allclose(p, q, **tolerance)


def same_bits(a, b):
    same(a, b, rtol=0, atol=0)
