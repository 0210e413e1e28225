"""Numbers too large to compute with: an error that says where, never a silent infinity or NaN."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from chainrule import MLPClassifier, MLPRegressor, Network

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3))
TWO, THREE = (X[:, 0] > 0).astype(int), (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
LARGE = np.zeros((4, 3), "float32")
LARGE[2] = 3e38


def classify(**given):
    return MLPClassifier((4,), **{"max_iter": 3, "random_state": 0} | given)


def regress(**given):
    return MLPRegressor(hidden_layer_sizes=(4,), **{"max_iter": 3, "random_state": 0} | given)


def at(row):
    begin = rf"not finite for row {row}: [za] of layer \d is too large for float32"
    return rf"{begin}.* 3e\+38, in column 0"


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("given", [{}, {"normalization": "batch"}, {"activation": "identity"}])
def test_predictions_of_large_numbers_say_the_row(form, given):
    given = {"standardize": False} | given
    few = X.astype("float32")
    model = regress(**given).fit(few, X[:, 0] * 2)
    model.coefs_[0][:] = 50
    model.coefs_[-1][:] = [[1], [-1], [1], [1]]
    for call in (model.predict, model.transform):
        with pytest.raises(ValueError, match=at(2)):
            call(form(LARGE))
    model = classify(**given).fit(few, THREE)
    model.coefs_[0][:] = 50
    for call in (model.predict, model.predict_proba, model.predict_log_proba, model.transform):
        with pytest.raises(ValueError, match=at(2)):
            call(form(LARGE))


def test_networks_and_rows_that_are_filled_say_the_row():
    network = Network((3, 2, 1), dtype="float32", seed=0)
    network.W[1][:] = 50
    with pytest.raises(ValueError, match=at(2)):
        network.predict(LARGE)
    with pytest.raises(ValueError, match="not finite for 2 rows, first row 1: z of layer 1"):
        network.predict(LARGE[[0, 2, 2]].tolist())
    holes = X.astype("float32")
    holes[3, 1] = np.nan
    model = regress(missing="indicator", standardize=False).fit(holes, X[:, 0])
    model.coefs_[0][:] = 50
    with pytest.raises(ValueError, match=at(2)):
        model.predict(LARGE)


def test_large_numbers_that_do_not_overflow_are_predicted():
    network = Network((3, 1), dtype="float32", seed=0)
    network.W[1][:] = 0.3
    assert np.isfinite(network.predict(np.full((50, 3), 3e38, "float32"))).all()


BAD = X.copy()
BAD[7, 1] = 1e300
FAR = X[:, 0].copy()
FAR[5] = 1e300


@pytest.mark.parametrize(
    ("data", "target", "place"),
    [
        (BAD, X[:, 0], r"the cost of layer 2 is not finite, by row 7, .* 1e\+300, in column 1"),
        (X, FAR, r"the cost of layer 2 is not finite, by row 5, .* whose target is 1e\+300"),
    ],
)
def test_lbfgs_says_where_it_cannot_begin(data, target, place):
    with pytest.raises(ValueError, match=rf"solver='lbfgs' cannot begin: {place}"):
        regress(solver="lbfgs", standardize=False).fit(data, target)
    with pytest.raises(ValueError, match="training diverged in epoch 0, batch 0: the cost"):
        regress(standardize=False).fit(data, target)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("make", [classify, regress])
def test_a_column_of_subnormal_numbers_is_named(make, solver):
    tiny = X.copy()
    tiny[:, 1] = np.where(X[:, 1] > 0, 5e-324, 0)
    with pytest.raises(
        ValueError, match=r"weights of column 1, whose standard deviation is \S+e-3"
    ):
        make(solver=solver).fit(tiny, TWO)
