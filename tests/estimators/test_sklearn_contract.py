"""What scikit-learn and its tools expect of an estimator: signature, checks, cloning, searches."""

from __future__ import annotations

import inspect
import pickle
import sys

import joblib
import numpy as np
import pytest
import sklearn
from sklearn import neural_network as theirs
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_iris, make_regression
from sklearn.ensemble import BaggingClassifier, StackingRegressor, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_validate, learning_curve
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import chainrule as ours
from chainrule import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NAMES = ("MLPClassifier", "MLPRegressor")


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def line():
    return make_regression(120, 4, noise=1.0, random_state=0)


def small(**parameters):
    return MLPClassifier(
        **{"hidden_layer_sizes": 8, "max_iter": 60, "learning_rate_init": 0.02, "random_state": 0}
        | parameters
    )


# Signature and attributes


@pytest.mark.parametrize("name", NAMES)
def test_constructor_begins_with_that_of_scikit_learn(name):
    a = inspect.signature(getattr(theirs, name)).parameters
    b = inspect.signature(getattr(ours, name)).parameters
    assert list(b)[: len(a)] == list(a)
    for parameter in a.values():
        assert b[parameter.name].default == parameter.default, parameter.name
        assert b[parameter.name].kind == parameter.kind, parameter.name
    for parameter in list(b.values())[len(a) :]:
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.default is not inspect.Parameter.empty


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict", "score"])
def test_methods_take_what_those_of_scikit_learn_take(name, method):
    a = inspect.signature(getattr(getattr(theirs, name), method)).parameters
    b = inspect.signature(getattr(getattr(ours, name), method)).parameters
    assert list(b)[: len(a)] == list(a)
    for parameter in a.values():
        assert b[parameter.name].default == parameter.default
    for parameter in list(b.values())[len(a) :]:
        assert parameter.default is not inspect.Parameter.empty


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("early", [False, True])
def test_every_fitted_attribute_is_there(name, solver, early, iris):
    X, y = iris
    parameters = {"early_stopping": early, "max_iter": 4, "random_state": 0}
    a = getattr(theirs, name)(**parameters).fit(X, y)  # sgd and adam have them all
    b = getattr(ours, name)(solver=solver, **parameters).fit(X, y)
    public = [n for n in vars(a) if n.endswith("_") and not n.startswith("_")]
    missing = [n for n in public if not hasattr(b, n)]
    assert not missing
    for attribute in public:
        mine, other = getattr(b, attribute), getattr(a, attribute)
        assert (mine is None) == (other is None), attribute
    assert len(b.loss_curve_) == b.n_iter_ == len(b.history_)
    assert b.loss_curve_[-1] == b.loss_
    assert b.n_layers_ == len(b.coefs_) + 1 == len(b.intercepts_) + 1
    if early:
        assert len(b.validation_scores_) == len(b.validation_loss_curve_) == b.n_iter_
        kept = b.validation_scores_[b.best_iteration_ - 1]
        assert b.best_validation_score_ == kept
    else:
        assert b.best_loss_ == min(b.loss_curve_)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_documented_in_their_order(name):
    cls = getattr(ours, name)
    text = inspect.getdoc(cls)
    table = text.split("Parameters\n")[1].split("Attributes\n")[0]
    documented = [
        word.strip()
        for line in table.splitlines()
        if " : " in line and not line.startswith(" ")
        for word in line.split(" : ")[0].split(",")
    ]
    assert sorted(documented) == sorted(inspect.signature(cls).parameters)


def test_methods_before_fit_say_so(iris):
    X, y = iris
    for call in (
        lambda e: e.predict(X),
        lambda e: e.predict_proba(X),
        lambda e: e.decision_function(X),
        lambda e: e.transform(X),
        lambda e: e.input_gradient(X),
        lambda e: e.sample_loss(X, y),
        lambda e: e.get_feature_names_out(),
    ):
        with pytest.raises(NotFittedError):
            call(MLPClassifier())


# scikit-learn's own checks

QUICK = {"hidden_layer_sizes": 16, "learning_rate_init": 0.02, "max_iter": 40}
SETTINGS = {
    "default": {},
    # With more iterations, probabilities of its check's labels round to 1, which that refuses.
    "lbfgs": QUICK | {"solver": "lbfgs", "max_iter": 30},
    "sgd": QUICK | {"solver": "sgd"},
    "batch": QUICK | {"normalization": "batch"},
    "much at once": QUICK
    | {
        "normalization": "layer",
        "missing": "indicator",
        "solver": "adamw",
        "ema_decay": 0.5,
        "l1": 1e-4,
        "clip_norm": 1.0,
    },
    "compat": QUICK | {"compat": "sklearn"},
}


def failures(estimator):
    """Names of the checks that an estimator fails, with their errors, and of those left out."""
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    assert len(results) > 55
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    skipped = {r["check_name"] for r in results if r["status"] not in ("passed", "failed")}
    return failed, skipped


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_check_passes(name, setting):
    failed, skipped = failures(getattr(ours, name)(engine="numpy", **SETTINGS[setting]))
    assert not failed
    # Left out where array_api_strict is not installed; for all estimators.
    assert skipped <= {"check_array_api_input", "check_estimators_nan_inf"}


@pytest.mark.compiled
@pytest.mark.parametrize("name", NAMES)
def test_every_check_passes_compiled(name):
    failed, _ = failures(getattr(ours, name)(engine="numba", **QUICK))
    assert not failed


@pytest.mark.parametrize("name", NAMES)
def test_tags(name):
    tags = getattr(ours, name)().__sklearn_tags__()
    assert tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
    assert getattr(ours, name)(missing="indicator").__sklearn_tags__().input_tags.allow_nan
    assert is_classifier(getattr(ours, name)()) == (name == "MLPClassifier")
    assert is_regressor(getattr(ours, name)()) == (name == "MLPRegressor")
    if name == "MLPRegressor":
        assert tags.target_tags.multi_output
    else:
        assert tags.classifier_tags.multi_label


def test_lbfgs_has_no_partial_fit():
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")
    assert not hasattr(MLPRegressor(solver="lbfgs"), "partial_fit")
    assert hasattr(MLPClassifier(), "partial_fit")


# Copies


@pytest.mark.parametrize("name", NAMES)
def test_parameters_survive_clone_and_set_params(name):
    cls = getattr(ours, name)
    given = {
        "hidden_layer_sizes": (3, 2),
        "activation": ["tanh", ours.ACTIVATIONS["gelu"]],
        "solver": ours.OPTIMIZERS["lion"],
        "dropout": [0.1, 0.2],
        "coefs_init": [np.ones((4, 3)), np.ones((3, 2)), np.ones((2, 1))],
        "time_limit": 3.0,
        "missing": "indicator",
    }
    estimator = cls(**given)
    for copy in (
        clone(estimator),
        cls().set_params(**given),
        pickle.loads(pickle.dumps(estimator)),
    ):
        kept = copy.get_params()
        assert sorted(kept) == sorted(inspect.signature(cls).parameters)
        for key, value in given.items():
            if key == "coefs_init":
                assert all(np.array_equal(p, q) for p, q in zip(kept[key], value, strict=True))
            else:
                assert kept[key] == value
    assert "hidden_layer_sizes=(3, 2)" in repr(estimator)
    with pytest.raises(ValueError, match="Invalid parameter 'drop_out'"):
        estimator.set_params(drop_out=0.1)


@pytest.mark.bits
@pytest.mark.parametrize("how", ["pickle", "joblib", "memory-mapped"])
def test_fitted_copies_predict_the_same_bits(how, iris, tmp_path):
    X, y = iris
    estimator = small(normalization="batch", missing="indicator").fit(X, y)
    if how == "pickle":
        copy = pickle.loads(pickle.dumps(estimator))
    else:
        joblib.dump(estimator, tmp_path / "it")
        copy = joblib.load(tmp_path / "it", mmap_mode="r" if how == "memory-mapped" else None)
    np.testing.assert_array_equal(copy.predict_proba(X), estimator.predict_proba(X))
    assert copy.history_ == estimator.history_
    copy.partial_fit(X, y)


# Tools around estimators


def test_it_learns_in_a_pipeline_under_cross_validation(iris):
    scores = cross_validate(
        make_pipeline(StandardScaler(), small()),
        *iris,
        scoring=["accuracy", "neg_log_loss", "roc_auc_ovr"],
        return_train_score=True,
    )
    assert scores["test_accuracy"].mean() > 0.9
    assert scores["test_roc_auc_ovr"].mean() > 0.95


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_grid_search_gives_the_same_in_processes_and_threads(backend, iris):
    grid = {"hidden_layer_sizes": [(4,), (8,)], "dropout": [0.0, 0.2], "solver": ["adam", "adamw"]}
    alone = GridSearchCV(small(max_iter=15), grid, cv=2).fit(*iris)
    with joblib.parallel_backend(backend, n_jobs=2):
        search = GridSearchCV(small(max_iter=15), grid, cv=2).fit(*iris)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )
    np.testing.assert_array_equal(search.best_estimator_.coefs_[0], alone.best_estimator_.coefs_[0])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda e: VotingClassifier([("a", e), ("b", LogisticRegression())], voting="soft"),
        lambda e: CalibratedClassifierCV(e, cv=2),
        OneVsRestClassifier,
        lambda e: BaggingClassifier(e, n_estimators=3, random_state=0),
        lambda e: Pipeline([("features", e), ("last", LogisticRegression())]),  # as transformer
    ],
    ids=["voting", "calibrated", "one-vs-rest", "bagging", "transformer"],
)
def test_meta_estimators(wrap, iris):
    X, y = iris
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    wrapped = wrap(small()).fit(X, names)
    assert wrapped.score(X, names) > 0.9
    np.testing.assert_allclose(wrapped.predict_proba(X).sum(axis=1), 1)


def test_a_chain_of_classifiers_learns_labels(iris):
    X, y = iris
    Y = np.column_stack([y > 0, y > 1]).astype(int)
    assert ClassifierChain(small(), random_state=0).fit(X, Y).score(X, Y) > 0.9


def test_regressors_stack(line):
    X, y = line
    stack = StackingRegressor(
        [("mlp", MLPRegressor(random_state=0)), ("line", LinearRegression())], cv=2
    )
    assert stack.fit(X, y).score(X, y) > 0.95


def test_importance_and_dependence_find_the_column_that_matters():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = 3 * X[:, 1]
    estimator = MLPRegressor(hidden_layer_sizes=20, random_state=0).fit(X, y)
    found = permutation_importance(estimator, X, y, n_repeats=3, random_state=0)
    assert found.importances_mean.argmax() == 1
    curve = partial_dependence(estimator, X, [1])["average"][0]
    assert (np.diff(curve) > 0).all()


def test_curves_and_predictions_across_folds(iris):
    X, y = iris
    assert (cross_val_predict(small(), X, y, cv=3) == y).mean() > 0.9
    _, train, test = learning_curve(
        small(), X, y, cv=3, train_sizes=[0.3, 1.0], shuffle=True, random_state=0
    )
    assert train.shape == test.shape == (2, 3)
    assert test[-1].mean() > 0.9


# Metadata routing


def test_weights_and_validation_set_through_a_pipeline(iris):
    X, y = iris
    weight = np.where(y == 1, 2.0, 1.0)
    scaler = StandardScaler()
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = small(early_stopping=True, max_iter=30).set_fit_request(
            sample_weight=True, X_val=True, y_val=True, sample_weight_val=True
        )
        pipeline = Pipeline(
            [("scale", scaler.set_fit_request(sample_weight=False)), ("mlp", estimator)],
            transform_input=["X_val"],
        ).fit(X, y, sample_weight=weight, X_val=X[::3], y_val=y[::3], sample_weight_val=weight[::3])
    scaler.fit(X)
    by_hand = clone(estimator).fit(
        scaler.transform(X),
        y,
        weight,
        X_val=scaler.transform(X[::3]),
        y_val=y[::3],
        sample_weight_val=weight[::3],
    )
    assert pipeline[-1].validation_scores_ == by_hand.validation_scores_
    np.testing.assert_array_equal(pipeline[-1].coefs_[0], by_hand.coefs_[0])


def test_weights_are_routed_through_a_search(iris):
    X, y = iris
    weight = np.where(y == 2, 0.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = (
            small().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        )
        search = GridSearchCV(estimator, {"alpha": [1e-4]}, cv=2)
        search.fit(X, y, sample_weight=weight)
    assert 2 not in search.predict(X)
    assert search.best_score_ > 0.95


# scikit-learn's callbacks


def test_progress_bar_of_scikit_learn(iris, capsys):
    callback = pytest.importorskip("sklearn.callback")
    small(max_iter=5).set_callbacks(callback.ProgressBar()).fit(*iris)
    assert "MLPClassifier" in capsys.readouterr().out


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_scoring_monitor_of_scikit_learn(iris, solver):
    callback = pytest.importorskip("sklearn.callback")
    X, y = iris
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    monitor = callback.ScoringMonitor(scoring="accuracy")
    estimator = small(max_iter=5, normalization="layer", solver=solver).set_callbacks(monitor)
    seen = []
    estimator.set_params(callbacks=[lambda est, record: seen.append(est.score(X, names))])
    estimator.fit(X, names)
    rows = monitor.get_logs().data
    assert len(seen) == 5
    scores = [row["accuracy"] for row in rows if row["task_name"] == "epoch"]
    np.testing.assert_allclose(scores, seen)


def test_a_callback_of_scikit_learn_can_stop_the_fit(iris):
    callback = pytest.importorskip("sklearn.callback")

    class Stop(callback.FitCallback):
        def setup(self, estimator, context):
            """Nothing to prepare."""

        def teardown(self, estimator, context):
            """Nothing to put away."""

        def on_fit_task_begin(self, estimator, context):
            """Nothing yet."""

        def on_fit_task_end(self, estimator, context):
            return context.task_name == "epoch" and context.task_id == 2

    assert small().set_callbacks(Stop()).fit(*iris).n_iter_ == 3


# Not at import


def test_importing_the_estimators_compiles_and_loads_nothing_heavy():
    import subprocess

    code = (
        "import sys, chainrule; chainrule.MLPClassifier;"
        "print([m for m in ('numba', 'llvmlite', 'matplotlib', 'onnx') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_breast_cancer_as_before():
    """The change of one import: scikit-learn's script, our class."""
    X, y = load_breast_cancer(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((30,), max_iter=50, random_state=1))
    assert pipeline.fit(X[::2], y[::2]).score(X[1::2], y[1::2]) > 0.95
