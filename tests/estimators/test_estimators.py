"""How the estimators run: epochs, stopping, validation, weights, going on, seeds, speech."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from helpers.small_estimators import X, Xd, classify, regress, same, same_bits, y, yd
from sklearn.datasets import load_digits, load_iris, make_multilabel_classification
from sklearn.metrics import get_scorer, log_loss, r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils.class_weight import compute_sample_weight

from chainrule import MLPClassifier, MLPRegressor
from chainrule.monitoring.callbacks import Callback, EarlyStopping

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Right where the original is wrong


def test_the_split_is_stratified_for_several_classes():
    target = np.repeat([0, 1, 2], [60, 30, 10])
    held = []
    estimator = classify(
        early_stopping=True, validation_fraction=0.2, scoring=lambda e, V, v: held.append(v) or 0.0
    )
    estimator.fit(np.random.default_rng(0).normal(size=(100, 3)), target)
    assert np.bincount(held[0]).tolist() == [12, 6, 2]
    old = []
    estimator.set_params(
        compat="sklearn", scoring=lambda e, V, v: old.append(v) or 0.0, random_state=1
    )
    estimator.fit(np.random.default_rng(0).normal(size=(100, 3)), target)
    assert np.bincount(old[0], minlength=3).tolist() != [12, 6, 2]


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("loss", ["squared_error", "huber", "gaussian"])
def test_the_regressors_step_is_the_gradient_of_its_loss(k, loss):
    """One step of plain gradient descent against central differences of the reported loss."""
    rng = np.random.default_rng(k)
    A, B = rng.normal(size=(12, 3)), rng.normal(size=(12, k))
    B = B.ravel() if k == 1 else B
    given = {
        "loss": loss,
        "solver": "sgd",
        "momentum": 0.0,
        "alpha": 0.3,
        "standardize": False,
        "batch_size": 12,
        "max_iter": 1,
        "activation": "tanh",
    }
    eta = 1e-3
    start = regress(learning_rate_init=1e-300, **given).fit(A, B)
    begin = {"coefs_init": start.coefs_, "intercepts_init": start.intercepts_}
    after = regress(learning_rate_init=eta, **given, **begin).fit(A, B)

    def loss_at(l, place, change):
        coefs = [W.copy() for W in start.coefs_]
        coefs[l][place] += change
        moved = begin | {"coefs_init": coefs}
        return regress(learning_rate_init=1e-300, **given, **moved).fit(A, B).loss_

    for l, place in [(0, (0, 0)), (0, (2, 5)), (1, (0, 0)), (1, (7, k - 1))]:
        step = start.coefs_[l][place] - after.coefs_[l][place]
        h = 1e-5
        slope = (loss_at(l, place, h) - loss_at(l, place, -h)) / (2 * h)
        np.testing.assert_allclose(step / eta, slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("compat", [None, "sklearn"])
def test_partial_fit_shuffles_afresh(compat):
    """From the same parameters, a second and a third call part, as their orders differ."""
    estimator = regress(
        solver="sgd", momentum=0.0, batch_size=5, learning_rate_init=0.1, compat=compat
    )
    estimator.partial_fit(Xd, yd / 100)
    begin = estimator.coefs_, estimator.intercepts_
    ends = []
    for _ in range(2):
        estimator.coefs_, estimator.intercepts_ = [[p.copy() for p in part] for part in begin]
        ends.append(estimator.partial_fit(Xd, yd / 100).predict(Xd))
    alike = np.allclose(*ends, rtol=1e-6)
    assert alike == (compat == "sklearn")  # which draws the same order from the seed each time


@pytest.mark.parametrize("patience", [1, 3, 5])
@pytest.mark.parametrize("early", [False, True])
def test_n_iter_no_change_counts_what_it_says(patience, early):
    given = {"tol": 1e9, "n_iter_no_change": patience, "max_iter": 50, "early_stopping": early}
    # The first epoch improves on nothing at all; after it, none does.
    assert classify(**given).fit(X, y).n_iter_ == 1 + patience
    assert classify(compat="sklearn", **given).fit(X, y).n_iter_ == 2 + patience


# Validation, scoring, the best parameters


@pytest.mark.parametrize("scoring", [None, "loss", "roc_auc_ovr", "neg_log_loss"])
@pytest.mark.parametrize(
    "given",
    [
        {"solver": "adam"},
        {"solver": "sgd"},
        {"solver": "lbfgs"},
        {"ema_decay": 0.8},
        {"normalization": "batch", "solver": "sgd"},
        {"class_weight": {1: 2.0}},
    ],
)
def test_the_best_parameters_are_put_back(given, scoring):
    A, V, b, v = train_test_split(X, y, random_state=1, stratify=y)
    estimator = classify(scoring=scoring, learning_rate_init=0.3, max_iter=25, tol=0, **given)
    estimator.fit(A, b, X_val=V, y_val=v)
    scores = estimator.validation_scores_
    # Without a scorer the loss decides, and the scores are accuracies.
    values = scores if scoring else -np.array(estimator.validation_loss_curve_)
    assert len(set(values)) > 1
    assert estimator.best_iteration_ == 1 + int(np.argmax(values))
    assert estimator.best_validation_score_ == scores[estimator.best_iteration_ - 1]
    weight = compute_sample_weight({0: 1.0, 1: 1.0, 2: 1.0} | given.get("class_weight", {}), v)
    loss = np.average(estimator.sample_loss(V, v), weights=weight)
    best = estimator.validation_loss_curve_[estimator.best_iteration_ - 1]
    np.testing.assert_allclose(loss, best, rtol=1e-10)
    by_hand = log_loss(v, estimator.predict_proba(V), sample_weight=weight)
    np.testing.assert_allclose(by_hand, best, rtol=1e-7)
    if scoring is None:
        again = estimator.score(V, v)
    else:
        again = -loss if scoring == "loss" else get_scorer(scoring)(estimator, V, v)
    np.testing.assert_allclose(again, max(scores), rtol=1e-10)


def test_the_best_parameters_of_a_regressor_are_put_back():
    A, V, b, v = train_test_split(Xd, yd, random_state=1)
    for scoring, measure in ((None, r2_score), ("neg_max_error", None)):
        estimator = regress(
            scoring=scoring, early_stopping=True, learning_rate_init=0.2, max_iter=40
        )
        estimator.fit(A, b, X_val=V, y_val=v)
        again = (
            measure(v, estimator.predict(V)) if measure else get_scorer(scoring)(estimator, V, v)
        )
        np.testing.assert_allclose(again, max(estimator.validation_scores_), rtol=1e-10)
        assert estimator.n_iter_ < 40


def test_early_stopping_trains_on_what_is_left_and_stops():
    A, b = load_digits(return_X_y=True)
    estimator = classify(early_stopping=True, max_iter=300, hidden_layer_sizes=32).fit(A, b)
    assert estimator.n_iter_ < 300
    assert estimator.t_ == estimator.n_iter_ * 1617
    assert estimator.best_loss_ is None
    assert estimator.best_validation_score_ > 0.9
    assert estimator.n_iter_ == len(estimator.validation_scores_)


def test_a_classifier_stops_on_the_loss_unless_a_score_is_asked_for():
    """Accuracy on 15 rows stands still while the loss still falls."""
    A, b = load_iris(return_X_y=True)
    settings = {"early_stopping": True, "random_state": 0, "max_iter": 60, "engine": "numpy"}
    by_loss = MLPClassifier(**settings).fit(A, b)
    named = MLPClassifier(scoring="loss", **settings).fit(A, b)
    assert by_loss.coefs_[0].tobytes() == named.coefs_[0].tobytes()
    assert by_loss.best_validation_score_ == by_loss.validation_scores_[by_loss.best_iteration_ - 1]
    assert set(by_loss.validation_scores_) <= set(np.arange(16) / 15)
    for old in ({"scoring": "accuracy"}, {"compat": "sklearn"}):
        by_accuracy = MLPClassifier(**settings, **old).fit(A, b)
        assert by_accuracy.best_validation_score_ == max(by_accuracy.validation_scores_)
        assert by_accuracy.n_iter_ < by_loss.n_iter_


def test_own_validation_rows_are_not_trained_on():
    estimator = classify().fit(X[:120], y[:120], X_val=X[120:], y_val=y[120:])
    assert estimator.t_ == 1200
    unseen = classify().fit(X[:120], y[:120])
    assert estimator.loss_curve_ == unseen.loss_curve_


def test_an_own_scorer_sees_the_estimator_of_the_moment():
    """It is tried out on the starting values, then asked after each epoch."""
    seen, after = [], []

    def scorer(estimator, V, v):
        seen.append([W.copy() for W in estimator.coefs_])
        return -len(seen)

    given = {"callbacks": [lambda est, record: after.append([W.copy() for W in est.coefs_])]}
    estimator = classify(scoring=scorer, **given).fit(X, y, X_val=X, y_val=y)
    start = classify(learning_rate_init=1e-300, max_iter=1).fit(X, y)
    np.testing.assert_allclose(seen[0][0], start.coefs_[0])
    assert len(seen) == 11
    assert all(np.array_equal(p[0], q[0]) for p, q in zip(seen[1:], after, strict=True))
    assert estimator.best_iteration_ == 1
    np.testing.assert_array_equal(estimator.coefs_[0], after[0][0])


# Weights


DATA = {
    "binary": (classify, X[50:], y[50:]),
    "multiclass": (classify, X, y),
    "regression": (regress, Xd[:150], yd[:150]),
    "targets": (regress, Xd[:150], np.column_stack([yd, -(yd**1.1)])[:150]),
}


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"missing": "indicator"},
        {"solver": "lbfgs"},
        {"normalization": "layer"},
        {"scoring": "loss"},
    ],
)
def test_weight_two_is_a_row_twice(kind, given):
    """In training, in standardisation, in means for missing values, in validation and scoring."""
    make, A, b = DATA[kind]
    rng = np.random.default_rng(3)
    if "missing" in given:
        A = np.where(rng.random(A.shape) < 0.1, np.nan, A)
    times = rng.integers(0, 3, len(A))
    times_val = rng.integers(0, 3, len(A))
    rows, rows_val = np.repeat(np.arange(len(A)), times), np.repeat(np.arange(len(A)), times_val)
    estimator = {"batch_size": 10**6, "shuffle": False, "learning_rate_init": 0.02} | given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the batch is clipped
        a = make(**estimator).fit(
            A, b, times.astype(float), X_val=A, y_val=b, sample_weight_val=times_val.astype(float)
        )
        c = make(**estimator).fit(A[rows], b[rows], X_val=A[rows_val], y_val=b[rows_val])
    close = (
        {"rtol": 1e-6, "atol": 1e-8}
        if given.get("solver") == "lbfgs"
        else {"rtol": 1e-8, "atol": 1e-10}
    )
    same(a, c, **close)
    np.testing.assert_allclose(a.loss_curve_, c.loss_curve_, **close)
    np.testing.assert_allclose(a.validation_loss_curve_, c.validation_loss_curve_, **close)
    np.testing.assert_allclose(a.validation_scores_, c.validation_scores_, **close)
    np.testing.assert_allclose(a.score(A, b, times), c.score(A[rows], b[rows]), **close)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 1: 3.0, 2: 0.5}, {1: 4.0}])
def test_class_weights_are_sample_weights(class_weight):
    A, b = X[:130], y[:130]
    by_class = classify(class_weight=class_weight).fit(A, b)
    full = class_weight if class_weight == "balanced" else {0: 1.0, 1: 1.0, 2: 1.0} | class_weight
    weight = compute_sample_weight(full, b)
    same_bits(by_class, classify().fit(A, b, weight))
    own = np.linspace(1, 2, len(b))
    same(
        classify(class_weight=class_weight).fit(A, b, own),
        classify().fit(A, b, weight * own),
        rtol=1e-12,
    )


@pytest.mark.bits
@pytest.mark.parametrize("kind", DATA)
def test_weights_of_one_change_nothing(kind):
    make, A, b = DATA[kind]
    given = {"early_stopping": True, "normalization": "batch", "batch_size": 40, "dropout": 0.1}
    same_bits(make(**given).fit(A, b), make(**given).fit(A, b, np.ones(len(A))))


def test_rows_of_no_weight_do_not_exist():
    """Wild rows of weight 0 change nothing: not means, marks, scales, gradients or scores."""
    A = np.vstack([X, np.full((30, 4), 1e6)])
    A[155:, 2] = np.nan
    b, weight = np.append(y, np.arange(30) % 3), np.append(np.ones(150), np.zeros(30))
    given = {"missing": "indicator", "solver": "lbfgs"}
    seen, never = classify(**given).fit(A, b, weight), classify(**given).fit(X, y)
    np.testing.assert_allclose(seen.predict_proba(X), never.predict_proba(X), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("scoring", ["neg_max_error", lambda est, V, v: 0.0])
def test_a_scorer_that_takes_no_weights_is_refused_where_there_are_some(scoring):
    estimator = regress(scoring=scoring, early_stopping=True).fit(Xd, yd)
    with pytest.raises((ValueError, TypeError), match="scoring"):
        estimator.fit(Xd, yd, np.linspace(1, 2, len(yd)))


def test_class_weight_makes_a_rare_class_heard():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(400, 2))
    b = (A[:, 0] + rng.normal(size=400) > 2).astype(int)
    found = [
        classify(class_weight=weight, max_iter=100).fit(A, b).predict(A)[b == 1].mean()
        for weight in (None, "balanced")
    ]
    assert found[1] > found[0] + 0.2


# Stopping by the clock, by callbacks, by hand


@pytest.mark.parametrize("given", [{"solver": "adam"}, {"solver": "lbfgs", "tol": 1e-300}])
def test_time_limit(given):
    """A limit that any epoch exceeds leaves one epoch."""
    assert classify(**given | {"time_limit": 1e-9, "max_iter": 100}).fit(X, y).n_iter_ == 1
    assert classify(**given | {"time_limit": 1e9}).fit(X, y).n_iter_ == 10


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_functions_and_callbacks_are_called_in_turn(solver):
    events = []

    class Listen(Callback):
        def on_fit_begin(self, estimator):
            events.append("begin")

        def on_epoch_end(self, estimator, record):
            assert estimator.history_[-1] is record or estimator.history_[-1] == record
            events.append(record["epoch"])

        def on_fit_end(self, estimator):
            events.append("end")

    losses = []

    def stop(estimator, record):
        losses.append(estimator.sample_loss(X, y).mean())
        return record["epoch"] == 3

    estimator = classify(solver=solver, callbacks=[Listen(), stop], alpha=0).fit(X, y)
    assert events == ["begin", 0, 1, 2, 3, "end"]
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 4
    assert (np.diff(losses) < 0).all()
    np.testing.assert_allclose(estimator.sample_loss(X, y).mean(), losses[-1])


def test_our_early_stopping_callback():
    callback = EarlyStopping(monitor="loss", patience=2, min_delta=1e9)
    assert classify(callbacks=[callback], max_iter=50).fit(X, y).n_iter_ <= 4


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_ctrl_c_leaves_a_fitted_estimator(solver):
    def interrupt(estimator, record):
        if record["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="Training interrupted by user"):
        estimator = classify(callbacks=[interrupt], solver=solver).fit(X, y)
    assert estimator.n_iter_ == 3
    assert estimator.predict(X).shape == y.shape


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # in the score
def test_divergence_after_a_good_epoch_keeps_the_best_parameters():
    with pytest.warns(UserWarning, match="best parameters so far"):
        estimator = regress(
            solver="sgd",
            learning_rate_init=1e4,
            momentum=0.0,
            hidden_layer_sizes=(),
            max_iter=300,
            batch_size=200,
            n_iter_no_change=1000,
            early_stopping=True,
        ).fit(Xd, yd)
    assert np.isfinite(estimator.predict(Xd)).all()


# What is kept of the run


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"solver": "lbfgs"},
        {"early_stopping": True},
        {"solver": "sgd", "learning_rate": "cosine"},
    ],
)
def test_history_is_plain_and_complete(given):
    estimator = classify(**given).fit(X.astype(np.float32), y)
    rows = json.loads(json.dumps(estimator.history_, allow_nan=False))
    assert rows == estimator.history_
    assert [row["loss"] for row in rows] == estimator.loss_curve_
    assert [row["validation_score"] for row in rows] == (
        estimator.validation_scores_ or [None] * 10
    )
    for row in rows:
        assert {"epoch", "loss", "learning_rate", "gradient_norm", "seconds"} <= set(row)
        assert row["gradient_norm"] > 0
        assert row["seconds"] > 0


def test_verbose_prints_lines_where_there_is_no_terminal(capsys):
    classify(verbose=True, max_iter=3).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"Iteration {k}" for k in (1, 2, 3)]
    classify(max_iter=3).fit(X, y)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_multilabel_and_several_classes_at_once():
    A, B = make_multilabel_classification(200, 8, n_classes=3, random_state=0)
    estimator = classify(max_iter=200, learning_rate_init=0.01).fit(A, B)
    assert estimator.predict(A).shape == B.shape
    assert (estimator.predict(A) == B).mean() > 0.85
    pairs = np.column_stack([np.array(["a", "b", "c"])[y], np.array(["no", "yes"])[(y > 0) * 1]])
    several = classify(max_iter=200, learning_rate_init=0.02).fit(X, pairs)
    assert (several.predict(X) == pairs).all(axis=1).mean() > 0.9
    probabilities = several.predict_proba(X)
    assert [p.shape for p in probabilities] == [(150, 3), (150, 2)]
    for p, classes in zip(probabilities, several.classes_, strict=True):
        np.testing.assert_allclose(p.sum(axis=1), 1)
        assert len(classes) == p.shape[1]
    assert several.score(X, pairs) == (several.predict(X) == pairs).all(axis=1).mean()


@pytest.mark.parametrize("batch_size", [40, 60])
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_gradient_norm_is_that_of_the_last_batch(engine, batch_size, cut, alpha, monkeypatch):
    """By which plain descent, at a rate of 1, moves the parameters: of 60 rows, or the last 20."""
    if cut:
        monkeypatch.setattr(
            "chainrule.training.descent.WORTH_CUTTING", {"numpy": 0.0, "numba": 0.0}
        )
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(60, 5)), rng.normal(size=(60, 2))
    given = {
        "hidden_layer_sizes": (7,),
        "solver": "sgd",
        "momentum": 0.0,
        "alpha": alpha,
        "batch_size": batch_size,
        "learning_rate_init": 1.0,
        "max_iter": 1,
        "shuffle": False,
        "standardize": False,
        "engine": engine,
        "random_state": 0,
    }

    def theta(model):
        return np.concatenate([part.ravel() for part in model.coefs_ + model.intercepts_])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = MLPRegressor(**given).fit(inputs, targets)
        start = MLPRegressor(**given | {"learning_rate_init": 1e-300}).fit(inputs, targets)
        if batch_size == 40:
            start = MLPRegressor(**given).fit(inputs[:40], targets[:40])
    moved = np.linalg.norm(theta(fitted) - theta(start))
    assert fitted.history_[0]["gradient_norm"] == pytest.approx(moved, rel=1e-9)


@pytest.fixture
def chosen(monkeypatch):
    """The engines that fits choose; they run in NumPy all the same, so that nothing is compiled."""
    from chainrule.estimators import fitting

    found = []

    def choose(*given, **options):
        found.append(choose_engine(*given, **options))
        return "numpy"

    choose_engine = fitting.choose_engine
    monkeypatch.setattr(fitting, "choose_engine", choose)
    return found


@pytest.mark.compiled
def test_default_fits_are_compiled_and_short_ones_are_not(chosen):
    X, y = load_iris(return_X_y=True)
    for settings in ({}, {"max_iter": 30}, {"max_iter": 2}, {"engine": "numpy"}):
        assert MLPClassifier(**settings).fit(X, y).engine_ == "numpy"
    assert chosen == ["numba", "numba", "numpy", "numpy"]


@pytest.mark.compiled
@pytest.mark.parametrize(("max_iter", "engine"), [(200, "numba"), (2, "numpy")])
def test_calls_of_partial_fit_choose_the_engine_of_a_whole_fit(chosen, max_iter, engine):
    X, y = load_iris(return_X_y=True)
    for n_epochs in (1, max_iter):
        MLPClassifier(max_iter=max_iter).partial_fit(X, y, classes=[0, 1, 2], n_epochs=n_epochs)
    assert chosen == [engine, engine]


@pytest.mark.compiled
def test_lbfgs_compiles_nothing(monkeypatch):
    from chainrule.engine import compilation

    monkeypatch.delattr(compilation, "address")
    X, y = load_iris(return_X_y=True)
    model = MLPClassifier(solver="lbfgs", engine="numba", max_iter=5).fit(X, y)
    assert model.engine_ == "numpy"
