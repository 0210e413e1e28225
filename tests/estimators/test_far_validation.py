"""A validation set that did not go through the pipeline is told; one that did never is."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn import config_context
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from chainrule import MLPClassifier, MLPRegressor
from chainrule.training.samples import warn_if_far


def told(X, X_val, names=None):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        warn_if_far(X, X_val, names)
    return [str(one.message) for one in found]


def fit(make, scaler, data, early=True, **pipeline):
    X, X_val, y, y_val = train_test_split(*data(return_X_y=True), random_state=0)
    model = make(random_state=0, max_iter=2, early_stopping=early)
    step = type(model).__name__.lower()
    steps = make_pipeline(scaler, model, **pipeline)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        steps.fit(X, y, **{f"{step}__X_val": X_val, f"{step}__y_val": y_val})
    return [str(one.message) for one in found if "X_val" in str(one.message)]


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler()])
@pytest.mark.parametrize("data", [load_iris, load_breast_cancer, load_wine])
def test_an_unscaled_validation_set_is_told(scaler, data, early):
    (message,) = fit(MLPClassifier, scaler, data, early)
    assert "X_val lies far from X in column 0" in message
    assert 'transform_input=["X_val"]' in message


def test_an_unscaled_validation_set_of_a_regressor_is_told():
    def data(return_X_y):
        X, y = load_diabetes(return_X_y=True, scaled=False)
        return X, y

    assert len(fit(MLPRegressor, StandardScaler(), data)) == 1


def test_one_that_is_transformed_is_not():
    with config_context(enable_metadata_routing=True):
        model = MLPClassifier(random_state=0, max_iter=2)
        model.set_fit_request(X_val=True, y_val=True)
        X, X_val, y, y_val = train_test_split(*load_wine(return_X_y=True), random_state=0)
        steps = make_pipeline(StandardScaler(), model, transform_input=["X_val"])
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            steps.fit(X, y, X_val=X_val, y_val=y_val)
    assert not [one for one in found if "X_val" in str(one.message)]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_columns_are_named():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 8)), columns=list("abcdefgh"))
    y = np.arange(50) % 2
    with pytest.warns(
        UserWarning, match="far from X in column b, d: in column b X goes from"
    ) as found:
        MLPClassifier((2,), max_iter=1).fit(X, y, X_val=X.assign(b=X.b + 99, d=X.d - 99), y_val=y)
    assert any("the middle of X_val is 9" in str(one.message) for one in found)
    assert "column 0, 1, 2, 3, 4 and 3 more" in told(X.to_numpy(), X.to_numpy() + 99)[0]


KINDS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy tails": lambda rng, shape: rng.standard_cauchy(size=shape),
    "very heavy": lambda rng, shape: np.exp(rng.standard_cauchy(size=shape).clip(-300, 300)),
    "rare levels": lambda rng, shape: (rng.random(shape) < 0.02).astype(float),
    "levels": lambda rng, shape: (rng.random(shape) < 0.5).astype(float),
    "constant": lambda rng, shape: np.full(shape, 7.0),
    "whole": lambda rng, shape: rng.integers(0, 3, shape).astype(float),
}


@given(
    kind=st.sampled_from(sorted(KINDS)),
    n=st.integers(1, 300),
    n_val=st.integers(1, 100),
    width=st.integers(1, 200),
    holes=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_rows_of_one_kind_are_never_told(kind, n, n_val, width, holes, seed):
    rng = np.random.default_rng(seed)
    rows = KINDS[kind](rng, (n + n_val, width))
    if holes:
        rows[rng.random(rows.shape) < 0.2] = np.nan
    assert told(rows[:n], rows[n:]) == []


def test_what_is_no_scaling_is_not_told():
    series = np.arange(1000.0)[:, None]
    assert told(series[:700], series[700:]) == []  # a later part of it
    assert told(np.zeros((50, 1)), np.ones((50, 1))) == []
    assert told(np.full((50, 1), np.nan), np.ones((50, 1))) == []
    assert told(sparse.csr_matrix(series), series + 9e9) == []
