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


def spoilt(where, to, dtype="float64"):
    """X, y and weights of one hazard, and what has to be said of it."""
    data, target, weight = X.astype(dtype), X[:, 0].astype(dtype), None
    if where == "an input":
        data[7, 1] = to
    elif where == "a column":
        data[:, 1] *= to
    elif where == "a target":
        target[5] = to
    else:
        weight = np.ones(len(X), dtype)
        weight[9:] = to
    return data, target, weight


SOLVERS = ["lbfgs", "adam", "sgd", "rmsprop", "lion", "adagrad"]
HAZARDS = [
    ("an input", 1e300, "float64", r"X is 1e\+300 in row 7, column 1"),
    ("an input", -1e38, "float32", r"X is -1e\+38 in row 7, column 1"),
    ("a target", 1e300, "float64", r"y is 1e\+300 in row 5"),
    ("a target", 1e30, "float32", r"y is 1e\+30 in row 5"),
    ("weights", 1e308, "float64", r"sample_weight is 1e\+308 in row 9, and the sum of all is inf"),
    ("weights", 3e37, "float32", r"sample_weight is 3e\+37 in row 9, .* too large for float32"),
]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("where", "to", "dtype", "said"), HAZARDS)
def test_what_cannot_be_computed_with_is_named_before_training(where, to, dtype, said, solver):
    data, target, weight = spoilt(where, to, dtype)
    given = {"solver": solver, "standardize": False, "engine": "numpy"}
    heard = []
    for make, y in ((classify, TWO), (regress, target)):
        if where == "a target" and make is classify:
            continue
        for method in ("fit", "partial_fit"):
            if (method, solver) == ("partial_fit", "lbfgs"):
                continue
            model = make(**given, callbacks=[lambda *_: heard.append(1)])
            more = {"classes": [0, 1]} if (make, method) == (classify, "partial_fit") else {}
            with pytest.raises(ValueError, match=said):
                getattr(model, method)(data, y, sample_weight=weight, **more)
    assert heard == []


def test_rows_have_the_users_numbers_where_some_do_not_count():
    data, _, weight = spoilt("an input", 1e300)
    weight = np.ones(len(X))
    weight[:3] = 0
    model = regress(standardize=False, missing="indicator")
    with pytest.raises(ValueError, match=r"X is 1e\+300 in row 7, column 1"):
        model.fit(data, X[:, 0], sample_weight=weight)
    data = sparse.csr_matrix(data)
    with pytest.raises(ValueError, match=r"X is 1e\+300 in row 7, column 1"):
        regress(standardize=False).fit(data, X[:, 0], sample_weight=weight)


@pytest.mark.parametrize("make", [classify, regress])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_a_later_block_that_is_far_from_the_first_is_named(make, form):
    more = {"classes": [0, 1]} if make is classify else {}
    model = make(engine="numpy").partial_fit(form(X), TWO, **more)
    before = [W.copy() for W in model.coefs_]
    with pytest.raises(ValueError, match=r"X is 1e\+300 in row 7, column 1"):
        model.partial_fit(form(spoilt("an input", 1e300)[0]), TWO)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.coefs_, strict=True))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_standardised_numbers_of_any_size_are_learned_from(solver, dtype):
    large = 1e300 if dtype == "float64" else 1e33
    data, target = (X * large).astype(dtype), (X[:, 0] * large).astype(dtype)
    given = {"solver": solver, "engine": "numpy", "learning_rate_init": 0.01, "max_iter": 200}
    with np.errstate(all="raise"):
        score = regress(**given).fit(data, target).score(data, target)
    assert score > (0.9 if solver in ("lbfgs", "adam") else 0.0)


@pytest.mark.parametrize("solver", ["adam", "rmsprop", "adagrad"])
def test_an_optimizer_whose_state_overflows_is_no_training(solver):
    """Squares of the gradient are infinite, the steps 0: finite parameters, nothing learned."""
    data, target = (X * 1e15).astype("float32"), X[:, 0].astype("float32")
    place = r"the optimiser's memory of . of layer \d is not finite.* in row \d+, in column \d"
    with pytest.raises(ValueError, match=place):
        regress(solver=solver, standardize=False, engine="numpy").fit(data, target)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("make", [classify, regress])
def test_a_column_of_subnormal_numbers_is_named(make, solver):
    tiny = X.copy()
    tiny[:, 1] = np.where(X[:, 1] > 0, 5e-324, 0)
    with pytest.raises(ValueError, match=r"^column 1 of X has the standard deviation \S+e-3"):
        make(solver=solver).fit(tiny, TWO)
    frame = pytest.importorskip("pandas").DataFrame(tiny, columns=list("abc"))
    with pytest.raises(ValueError, match=r"^column 'b' of X has the standard deviation"):
        make(solver=solver).fit(frame, TWO)


def test_the_norm_of_a_gradient_whose_squares_overflow():
    """Its numbers are finite, and so is its norm: they grow as the square of the inputs."""
    given = {"solver": "sgd", "learning_rate_init": 1e-300, "max_iter": 1, "batch_size": len(X)}
    given |= {"activation": "identity", "standardize": False}
    norms = []
    with np.errstate(all="raise"):
        for size in (1e60, 1e100):
            model = regress(engine="numpy", **given).fit(X * size, np.zeros(len(X)))
            norms.append(model.history_[0]["gradient_norm"])
    assert norms[1] == pytest.approx(1e80 * norms[0], rel=1e-6)
