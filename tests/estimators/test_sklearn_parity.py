"""compat="sklearn" against the installed scikit-learn: the same numbers from the same seed.

Both draw starting values and orders in the same sequence, so that losses, coefficients and
scores can be compared number by number. The specification asks for 1e-6; what rounding leaves is
smaller, and the bounds below say so.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn import neural_network as theirs
from sklearn.datasets import make_classification, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

import chainrule as ours

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _regression(n_targets):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(150, 6))
    Y = np.tanh(X @ rng.normal(size=(6, n_targets))) + 0.1 * rng.normal(size=(150, n_targets))
    return X, Y[:, 0] if n_targets == 1 else Y


def _data(kind):
    if kind == "binary":
        return make_classification(150, 6, random_state=1)
    if kind == "strings":
        X, y = make_classification(150, 6, random_state=1)
        return X, np.array(["no", "yes"])[y]
    if kind == "multiclass":
        return make_classification(150, 6, n_informative=4, n_classes=3, random_state=2)
    if kind == "multilabel":
        X, Y = make_multilabel_classification(150, 6, n_classes=4, random_state=3)
        return StandardScaler().fit_transform(X), Y
    if kind == "counts":
        X, y = _regression(1)
        return X, np.random.default_rng(2).poisson(np.exp(y)).astype(float)
    return _regression(int(kind[0]))


CLASSIFIED = ("binary", "strings", "multiclass", "multilabel")
KINDS = [*CLASSIFIED, "1 target", "3 targets"]


def pair(kind, **parameters):
    """The same estimator twice: scikit-learn's and ours."""
    name = "MLPClassifier" if kind in CLASSIFIED else "MLPRegressor"
    defaults = {"hidden_layer_sizes": (7, 5), "random_state": 3, "max_iter": 12}
    both = defaults | parameters
    return (
        getattr(theirs, name)(**both),
        getattr(ours, name)(**both, compat="sklearn", engine="numpy"),
    )


def assert_same(a, b, X, tolerance=1e-9):
    """Fitted attributes, curves and outputs of a (theirs) and b (ours)."""
    close = {"rtol": tolerance, "atol": tolerance}
    for name in ("n_iter_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(a, name) == getattr(b, name), name
    if a.solver != "lbfgs":  # there, scikit-learn leaves it at 0
        assert a.t_ == b.t_
    assert len(a.coefs_) == len(b.coefs_)
    for p, q in zip([*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_], strict=True):
        assert p.dtype == q.dtype
        np.testing.assert_allclose(p, q, **close)
    np.testing.assert_allclose(a.loss_, b.loss_, **close)
    for name in ("loss_curve_", "validation_scores_", "best_validation_score_", "best_loss_"):
        if not hasattr(a, name):  # with lbfgs, scikit-learn sets fewer of them
            continue
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        if x is not None:
            np.testing.assert_allclose(x, y, **close, err_msg=name)
    if hasattr(a, "classes_"):
        np.testing.assert_array_equal(a.classes_, b.classes_)
        np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X), **close)
        np.testing.assert_array_equal(a.predict(X), b.predict(X))
    else:
        np.testing.assert_allclose(a.predict(X), b.predict(X), **close)


SGD = {"solver": "sgd", "learning_rate_init": 0.05}
SETTINGS = {
    "adam": {},
    "adam, small batches, other numbers": {
        "batch_size": 16,
        "beta_1": 0.8,
        "beta_2": 0.99,
        "epsilon": 1e-3,
        "alpha": 0.1,
    },
    "adam, learning_rate ignored": {"learning_rate": "adaptive", "tol": 1.0, "max_iter": 40},
    "sgd, no momentum": SGD | {"momentum": 0.0},
    "sgd, momentum": SGD | {"nesterovs_momentum": False, "momentum": 0.7},
    "sgd, Nesterov": SGD | {"batch_size": 32},
    "sgd, invscaling": SGD | {"learning_rate": "invscaling", "power_t": 0.3},
    "sgd, adaptive": SGD | {"learning_rate": "adaptive", "tol": 0.05, "max_iter": 90},
    "no shuffling, tanh": {"shuffle": False, "activation": "tanh", "batch_size": 40},
    "logistic, no hidden layer": {"activation": "logistic", "hidden_layer_sizes": ()},
    "identity, int": {"activation": "identity", "hidden_layer_sizes": 4},
    "out of patience": {"tol": 1e9, "n_iter_no_change": 3, "max_iter": 30},
    "early stopping": {"early_stopping": True, "max_iter": 60, "n_iter_no_change": 4},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_epochs_are_those_of_scikit_learn(kind, setting):
    X, y = _data(kind)
    a, b = pair(kind, **SETTINGS[setting])
    assert_same(a.fit(X, y), b.fit(X, y), X)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_lbfgs_ends_where_scikit_learn_does(kind, activation):
    X, y = _data(kind)
    a, b = pair(kind, solver="lbfgs", max_iter=15, activation=activation, alpha=0.01)
    assert_same(a.fit(X, y), b.fit(X, y), X, tolerance=1e-6)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_poisson(solver):
    X, y = _data("counts")
    a, b = pair("counts", loss="poisson", solver=solver)
    assert_same(a.fit(X, y), b.fit(X, y), X, tolerance=1e-7)


def test_poisson_with_several_targets():
    X, _ = _data("counts")
    y = np.random.default_rng(0).poisson(1.5, (len(X), 3)).astype(float)
    a, b = pair("3 targets", loss="poisson")
    assert_same(a.fit(X, y), b.fit(X, y), X)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("solver", "early"), [("adam", False), ("adam", True), ("lbfgs", False)])
def test_sample_weights(kind, solver, early):
    X, y = _data(kind)
    weight = np.random.default_rng(5).uniform(0.1, 3, len(X))
    a, b = pair(kind, solver=solver, batch_size=32, early_stopping=early)
    a.fit(X, y, weight)
    b.fit(X, y, weight)
    assert_same(a, b, X, tolerance=1e-6 if solver == "lbfgs" else 1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_warm_start_continues_alike(kind, solver):
    X, y = _data(kind)
    a, b = pair(kind, solver=solver, warm_start=True, max_iter=5)
    for _ in range(3):
        assert_same(a.fit(X, y), b.fit(X, y), X, tolerance=1e-6 if solver == "lbfgs" else 1e-9)
    if solver != "lbfgs":
        assert (b.n_iter_, len(b.loss_curve_)) == (5, 15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", ["adam", "sgd, Nesterov", "sgd, invscaling"])
def test_partial_fit_goes_through_the_same_states(kind, setting):
    X, y = _data(kind)
    a, b = pair(kind, **SETTINGS[setting])
    classes = {}
    if kind in CLASSIFIED:
        classes["classes"] = np.arange(y.shape[1]) if y.ndim == 2 else np.unique(y)
    for k in range(6):
        rows = slice(k % 3 * 50, k % 3 * 50 + 50)
        for estimator in (a, b):
            with warnings.catch_warnings():  # a batch larger than the block
                warnings.simplefilter("ignore", UserWarning)
                estimator.partial_fit(X[rows], y[rows], **classes)
        assert_same(a, b, X)


@pytest.mark.parametrize("kind", ["multiclass", "3 targets"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_array, sparse.coo_array])
def test_sparse_input(kind, solver, make):
    X, y = _data(kind)
    S = make(np.where(np.abs(X) > 0.7, X, 0))
    a, b = pair(kind, solver=solver, batch_size=32)
    assert_same(a.fit(S, y), b.fit(S, y), S, tolerance=1e-6 if solver == "lbfgs" else 1e-9)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "1 target"])
def test_float32(kind):
    X, y = _data(kind)
    X = X.astype(np.float32)
    a, b = pair(kind, max_iter=4)
    assert_same(a.fit(X, y), b.fit(X, y), X, tolerance=1e-4)


@pytest.mark.compiled
@pytest.mark.parametrize("kind", ["multiclass", "3 targets"])
@pytest.mark.parametrize("setting", ["adam", "sgd, Nesterov"])
def test_the_compiled_engine_agrees_too(kind, setting):
    X, y = _data(kind)
    a, b = pair(kind, **SETTINGS[setting])
    assert_same(a.fit(X, y), b.set_params(engine="numba").fit(X, y), X)


@pytest.mark.parametrize(
    ("solver", "learning_rate"),
    [("adam", "constant"), ("sgd", "constant"), ("sgd", "adaptive"), ("sgd", "invscaling")],
)
@pytest.mark.parametrize("early", [False, True])
def test_verbose_lines(capsys, solver, learning_rate, early):
    X, y = _data("binary")
    printed = []
    for estimator in pair(
        "binary",
        solver=solver,
        learning_rate=learning_rate,
        early_stopping=early,
        verbose=True,
        tol=0.1,
        n_iter_no_change=2,
        max_iter=60,
    ):
        estimator.fit(X, y)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert "Iteration 1, loss = " in printed[1]


@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_same_convergence_warning(solver):
    X, y = _data("binary")
    said = []
    for estimator in pair("binary", solver=solver, max_iter=3):
        with pytest.warns(ConvergenceWarning) as caught:
            estimator.fit(X, y)
        said.append(str(caught[0].message))
    assert said[0] == said[1]


def test_parity_needs_compat():
    """The default is not scikit-learn's run: were it, the tests above would prove nothing."""
    X, y = _data("3 targets")
    a, b = pair("3 targets")
    b.set_params(compat=None)
    assert not np.allclose(a.fit(X, y).loss_curve_, b.fit(X, y).loss_curve_, rtol=1e-3)
