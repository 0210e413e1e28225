"""TabularClassifier and TabularRegressor: raw tables in, honest estimates out, bad input named."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import chainrule
from chainrule import TabularClassifier, TabularRegressor, tabular_pipeline
from chainrule.ensembles.blending import row_losses
from chainrule.ensembles.fitted import FittedEnsemble
from chainrule.tables.levels import UnseenLevelWarning

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("skrub", reason="tables are an extra")

pytestmark = pytest.mark.once

QUICK = {"preset": "fast", "max_epochs": 8, "random_state": 0, "engine": "numpy"}
OF = {"classification": TabularClassifier, "regression": TabularRegressor}


def table(n=240, seed=0):
    """A frame of every kind of column, with holes, and a target that follows from it."""
    rng = np.random.default_rng(seed)
    size = rng.normal(5, 2, n)
    colour = rng.choice(["red", "blue", "grün"], n)
    code = rng.integers(0, 15, n)
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 8000, n), "h")
    frame = pd.DataFrame(
        {
            "size": np.where(rng.random(n) < 0.1, np.nan, size),
            "colour": pd.Series(np.where(rng.random(n) < 0.1, None, colour), dtype="str"),
            "new": rng.random(n) < 0.5,
            "when": when,
            "took": pd.to_timedelta(rng.integers(1, 5000, n), "s"),
            "words": [
                " ".join(rng.choice(["salt", "sea", "sunset", "sandcastle", "surfing"], 5))
                for _ in size
            ],
            "code": [f"K{j:03d}" for j in code],
            "always": "x",
        }
    )
    z = size + 3 * (colour == "red") + 0.3 * code
    return frame, np.where(z > 8, "yes", "no"), z


@pytest.fixture(scope="module")
def classifier():
    X, y, _ = table()
    return TabularClassifier(**QUICK).fit(X, y)


@pytest.fixture(scope="module")
def regressor():
    X, _, z = table()
    return TabularRegressor(**QUICK).fit(X, z)


@pytest.mark.parametrize(("n_jobs", "expected"), [(None, None), (2, 2), (1, 1)])
def test_n_jobs_says_how_many_threads_predict(classifier, regressor, monkeypatch, n_jobs, expected):
    asked, predict_members = [], FittedEnsemble.predict_members

    def noted(self, inputs, n_threads=None):
        asked.append(n_threads)
        return predict_members(self, inputs, n_threads)

    monkeypatch.setattr(FittedEnsemble, "predict_members", noted)
    X = table(30)[0]
    deviation = partial(regressor.predict, return_std=True)
    for model, ways in (
        (classifier, [classifier.predict_proba, classifier.predict]),
        (regressor, [regressor.predict, deviation, regressor.predict_interval]),
    ):
        monkeypatch.setattr(model, "n_jobs", n_jobs)
        each = dict.fromkeys(model._blend.parts, 1 / len(model._blend.parts))
        monkeypatch.setattr(model, "_blend", replace(model._blend, weights=each))
        for way in ways:
            asked.clear()
            way(X)
            assert set(asked) == {expected}, way


def test_it_learns_from_every_kind_of_column(classifier, regressor):
    X, y, z = table(400, seed=1)
    assert classifier.score(X, y) > 0.8
    assert regressor.score(X, z) > 0.75
    assert (
        classifier.kinds_
        == regressor.kinds_
        == {
            "size": "numeric",
            "colour": "categorical",
            "new": "categorical",
            "when": "date",
            "took": "numeric",
            "words": "text",
            "code": "categorical",
            "always": "constant",
        }
    )


def test_other_frames_give_the_same(classifier):
    polars = pytest.importorskip("polars")
    X, _, _ = table(30, seed=1)
    expected = classifier.predict_proba(X)
    for other in (
        polars.from_pandas(X),
        polars.from_pandas(X).to_arrow(),
        X.astype({"colour": "category"}),
    ):
        np.testing.assert_array_equal(classifier.predict_proba(other), expected)
    alone = [classifier.predict_proba(X[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(alone, expected[:3], atol=1e-6)


def test_unseen_levels_and_holes_are_no_errors(classifier):
    X, _, _ = table(4)
    X["colour"] = ["mauve", None, "", " red "]
    X["new"] = pd.Series([None, True, None, False], dtype="boolean")
    X["when"] = pd.Series([pd.NaT] * 4, dtype="datetime64[us]")
    X["words"] = [None, "", "日本", "sea"]
    X["size"] = [np.inf, -np.inf, 1e300, None]
    with pytest.warns(
        UnseenLevelWarning, match=r"'colour': 1 row .*'mauve'.*; column 'new': 2 rows"
    ):
        chances = classifier.predict_proba(X)
    assert np.isfinite(chances).all()
    np.testing.assert_allclose(chances.sum(axis=1), 1)


@pytest.mark.parametrize("value", [1e308, 1e-320])
def test_weights_that_cannot_be_summed_are_named(value):
    X, y, z = table(40)
    weight = np.ones(40)
    weight[:] = 1e-323 if value < 1 else 1.0
    weight[9] = value
    size = "small" if value < 1 else "large"
    if value > 1:
        weight[10] = value
    with pytest.raises(ValueError, match=rf"sample_weight is .* in row 9, .* too {size}"):
        TabularRegressor(**QUICK).fit(X, z, sample_weight=weight)
    of_class = dict.fromkeys(np.unique(y).tolist(), weight[9])
    with pytest.raises(ValueError, match=rf"the weight of class and row is .* too {size}"):
        TabularClassifier(**QUICK, class_weight=of_class).fit(X, y)


def test_columns_have_the_names_and_the_order_of_training(classifier):
    X, _, _ = table(4)
    with pytest.raises(ValueError, match="same order"):
        classifier.predict(X[X.columns[::-1]])
    with pytest.raises(ValueError, match="missing"):
        classifier.predict(X.drop(columns="size"))


@pytest.mark.parametrize("task", OF)
def test_the_seed_decides_and_threads_do_not(task):
    X, y, z = table(80)
    y = y if task == "classification" else z
    small = QUICK | {"max_epochs": 2}
    a = OF[task](**small).fit(X, y)
    b = OF[task](**small | {"n_jobs": 2}).fit(X, y)
    c = OF[task](**small | {"random_state": 1}).fit(X, y)
    np.testing.assert_array_equal(a.oof_prediction_, b.oof_prediction_)
    assert not np.array_equal(a.oof_prediction_, c.oof_prediction_)


def test_out_of_fold_estimates_are_honest():
    # Noise alone: what a row's own models would say of it is far from what they say of others.
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 20)), rng.integers(0, 2, 200)
    model = TabularClassifier(**QUICK | {"max_epochs": None}).fit(X, y)
    assert model.oof_loss_ == pytest.approx(log_loss(y, model.oof_prediction_))
    assert model.oof_score_ == np.mean(model.oof_prediction_.argmax(axis=1) == y)
    assert model.oof_score_ < 0.6 < model.score(X, y)


def test_the_ensemble_is_better_than_its_parts():
    """On two bundled sets, on rows that no model has seen, the blend beats each part."""
    ratios = {"step": [], "smooth": [], "linear": []}
    for load, cls in ((load_breast_cancer, TabularClassifier), (load_diabetes, TabularRegressor)):
        X, y = load(return_X_y=True)
        for seed in range(2):
            strata = y if cls is TabularClassifier else None
            X_a, X_b, y_a, y_b = train_test_split(
                X, y, test_size=0.4, random_state=seed, stratify=strata
            )
            model = cls("fast", random_state=seed, engine="numpy").fit(X_a, y_a)
            Y, table = model._known_target(y_b), model._check_table(X_b)
            ((_, inputs),) = model._encoded(table)
            whole = row_losses(model._blend.predict(inputs), Y, model._loss).mean()
            for name, part in model._blend.parts.items():
                alone = row_losses(part.predict_mean(inputs), Y, model._loss).mean()
                ratios[name].append(np.log(whole / alone))
    for name, found in ratios.items():
        assert np.mean(found) < 0, (name, found)


def test_intervals_and_sets_hold_as_often_as_they_say():
    rng = np.random.default_rng(0)
    n = 1500
    X = rng.uniform(-2, 2, (n, 3))
    z = np.sin(2 * X[:, 0]) + (0.2 + 0.2 * np.abs(X[:, 1])) * rng.normal(size=n)
    y = np.digitize(X[:, 0] + 0.5 * rng.normal(size=n), [-0.7, 0.7])
    a, b = slice(0, 300), slice(300, n)
    model = TabularRegressor(**QUICK).fit(X[a], z[a])
    for coverage in (0.8, 0.95):
        low, high = model.predict_interval(X[b], coverage)
        # The share for these training rows varies by about sqrt(c (1 - c) / 300).
        held = np.mean((low <= z[b]) & (z[b] <= high))
        assert abs(held - coverage) < 3.5 * np.sqrt(coverage * (1 - coverage) / 300)
    narrow = model.predict_interval(X[b], 0.5)
    assert ((low <= narrow[0]) & (narrow[1] <= high)).all()
    model = TabularClassifier(**QUICK).fit(X[a], y[a])
    sets = model.predict_set(X[b], 0.9)
    held = np.mean(sets[np.arange(n - 300), y[b]])
    assert abs(held - 0.9) < 3.5 * np.sqrt(0.9 * 0.1 / 300)
    assert sets.sum(axis=1).mean() < 2.5
    with pytest.raises(ValueError, match="between 0 and 1"):
        model.predict_set(X[b], 1)


def test_too_few_rows_for_the_coverage_give_endless_intervals():
    X = np.arange(8.0)[:, None]
    low, high = TabularRegressor(**QUICK).fit(X, X[:, 0]).predict_interval(X, 0.95)
    assert np.isinf(low).all()
    assert np.isinf(high).all()


def test_members_disagree_more_where_there_were_no_rows():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (200, 1))
    model = TabularRegressor(**QUICK | {"max_epochs": 20, "random_state": 1})
    model.fit(X, np.sin(4 * X[:, 0]))
    near, far = (
        model.predict(np.linspace(a, b, 50)[:, None], return_std=True)[1].mean()
        for a, b in ((-0.9, 0.9), (1.1, 2))
    )
    assert 0 < near < 0.7 * far


def test_importances_find_the_columns_that_matter(regressor):
    X, _, z = table()
    found = regressor.oof_importances(X, z)
    rise = dict(zip(found["names"], found["mean"], strict=True))
    assert list(rise) == list(X.columns)
    assert min(rise["size"], rise["colour"], rise["code"]) > 0.05
    assert max(abs(rise[name]) for name in ("new", "when", "took", "words")) < 0.05
    assert rise["always"] == 0
    with pytest.raises(ValueError, match="has 10 rows"):
        regressor.oof_importances(X[:10], z[:10])


@pytest.mark.parametrize("task", OF)
def test_rows_of_no_weight_are_left_out(task):
    X, y, z = table(120)
    y = y if task == "classification" else z
    # Mean and deviation of the target are taken of all rows.
    weight = np.r_[np.ones(80), np.zeros(40)]
    y = np.concatenate([y[:80], y[:40]])
    changed = X.copy()
    changed.loc[100:, "size"] = 1e9
    small = QUICK | {"max_epochs": 2}
    a = OF[task](**small).fit(X, y, weight)
    b = OF[task](**small).fit(changed, y, weight)
    np.testing.assert_array_equal(a.predict(X), b.predict(X))
    assert a.n_rows_ == 80
    assert len(a.oof_prediction_) == 120
    # Of the same rows together: the last bits of a matrix product may depend on how many there are.
    predict = a.predict_proba if task == "classification" else a.predict
    np.testing.assert_array_equal(a.oof_prediction_[80:], predict(X[80:]))


def test_what_cannot_be_learnt_from_is_named():
    X = np.random.default_rng(0).normal(size=(60, 3))
    y = (X[:, 0] > 0).astype(int)
    model = TabularClassifier(**QUICK)
    for one_value in (np.ones((60, 2)), np.full((60, 2), np.nan)):
        with pytest.raises(ValueError, match="no column left to learn from"):
            model.fit(one_value, y)
    X[7, 2] = np.inf
    with pytest.raises(ValueError, match=r"infinity .*\nThe first is in row 7, column 2"):
        model.fit(X, y)
    X[7, 2] = 0
    with pytest.raises(ValueError, match=r"infinity .*\nThe first is in row 4, column 1"):
        model.fit(X, y).predict(np.where(np.arange(15).reshape(5, 3) == 13, -np.inf, 1.0))
    frame = pd.DataFrame(X, columns=["size", "n", "x"])
    for learner in (TabularClassifier(kinds={"sise": "numeric"}), tabular_pipeline()):
        if not isinstance(learner, TabularClassifier):
            learner.set_params(clean__kinds={"sise": "numeric"})
        with pytest.raises(ValueError, match=r"column 'sise', .* did you mean 'size'"):
            learner.fit(frame, y)
    with pytest.raises(TypeError, match=r"callbacks\[1\] must be a function .*; got 3"):
        TabularClassifier(callbacks=[print, 3]).fit(X, y)
    for learner in (model, chainrule.MLPClassifier(tol=9, n_iter_no_change=1, engine="numpy")):
        learner.set_params(class_weight={5: 2})
        with pytest.warns(UserWarning, match=r"names class 5, which is not in y"):
            learner.fit(X, y)


def test_weights_of_classes():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = np.where(X[:, 0] + rng.normal(size=300) > 1.5, "rare", "common")
    plain = TabularClassifier(**QUICK).fit(X, y)
    even = TabularClassifier(class_weight="balanced", **QUICK).fit(X, y)
    assert np.mean(even.predict(X) == "rare") > np.mean(plain.predict(X) == "rare") + 0.1
    only = TabularClassifier(class_weight={"rare": 0}, **QUICK).fit(X, y)
    assert (only.predict(X) == "common").all()
    with pytest.raises(ValueError, match="class_weight of class 'rare' is -1"):
        TabularClassifier(class_weight={"rare": -1}).fit(X, y)


def test_several_numbers_are_predicted_and_several_classes_refused():
    X, y = load_iris(return_X_y=True)
    model = TabularRegressor(**QUICK).fit(X[:, :2], X[:, 2:])
    assert model.predict(X[:3, :2]).shape == model.oof_prediction_[:3].shape == (3, 2)
    low, high = model.predict_interval(X[:3, :2])
    assert low.shape == (3, 2)
    assert (low < high).all()
    two = np.stack([y, y % 2], axis=1)
    with pytest.raises(ValueError, match=r"2 columns; .*MultiOutputClassifier"):
        TabularClassifier(**QUICK).fit(X, two)
    several = MultiOutputClassifier(TabularClassifier(**QUICK | {"max_epochs": 1})).fit(X, two)
    assert several.predict(X[:3]).shape == (3, 2)


@pytest.mark.parametrize("task", OF)
def test_copies_predict_the_same_and_searches_take_it(task):
    X, y = (load_iris if task == "classification" else load_diabetes)(return_X_y=True)
    X, y = X[::3], y[::3]
    small = OF[task](**QUICK | {"max_epochs": 1})
    model = clone(small).fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    assert len(cross_val_score(small, X, y, cv=2)) == 2
    search = GridSearchCV(small, {"max_epochs": [1, 2]}, cv=2)
    assert search.fit(X, y).best_params_["max_epochs"] in (1, 2)
    assert make_pipeline(StandardScaler(), small).fit(X, y).predict(X[:2]).shape == (2,)


@pytest.mark.parametrize("task", OF)
def test_every_check_of_scikit_learn_passes(task):
    expected = {
        "check_sample_weight_equivalence_on_dense_data": (
            "a row twice may be in two folds, one of twice the weight is in one"
        )
    }
    results = check_estimator(
        OF[task](**QUICK | {"max_epochs": 1}), expected_failed_checks=expected, on_skip=None
    )
    skipped = {each["check_name"] for each in results if each["status"] == "skipped"}
    assert skipped <= {"check_array_api_input", "check_estimators_nan_inf"}
    assert len(results) > 50


# Bad input


def test_one_class_and_a_constant_target_are_predicted():
    X = np.random.default_rng(0).normal(size=(20, 2))
    model = TabularClassifier(**QUICK).fit(X, ["a"] * 20)
    assert model.predict(X[:2]).tolist() == ["a", "a"]
    assert model.predict_proba(X[:2]).tolist() == [[1], [1]]
    assert model.predict_set(X[:2]).tolist() == [[True], [True]]
    constant = TabularRegressor(**QUICK).fit(X, np.full(20, 7.1))
    assert constant.predict(X[:2]).tolist() == [7.1, 7.1]
    deviation = constant.predict(X[:2], return_std=True)[1]
    assert deviation.tolist() == [0, 0]
    assert [end.tolist() for end in constant.predict_interval(X[:1])] == [[7.1], [7.1]]


@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_a_few_rows_are_learnt_from(n):
    X, y = np.arange(float(n))[:, None], np.arange(n) % 2
    assert set(TabularClassifier(**QUICK).fit(X, y).predict(X)) <= {0, 1}
    assert np.isfinite(TabularRegressor(**QUICK).fit(X, X[:, 0]).predict(X)).all()


def test_a_class_of_one_row_and_a_level_of_one_row():
    X, y, _ = table(60)
    y = y.astype(object)
    y[5] = "once"
    X.loc[7, "colour"] = "violet"
    model = TabularClassifier(**QUICK).fit(X, y)
    assert model.classes_.tolist() == ["no", "once", "yes"]
    assert np.isfinite(model.oof_loss_)
    assert model.predict_proba(X)[:, 1].mean() < 0.2


def test_ten_thousand_levels():
    rng = np.random.default_rng(0)
    levels = rng.permutation(10_000)[rng.integers(0, 10_000, 12_000)]
    X = pd.DataFrame({"city": [f"c{j}" for j in levels], "x": rng.normal(size=12_000)})
    model = TabularRegressor(**QUICK | {"max_epochs": 1}).fit(X, X["x"] + levels / 1e4)
    assert model.score(X, X["x"] + levels / 1e4) > 0.5


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((5, 100_000), np.int8), np.arange(5), "100,000 columns; .* at most 10,000"),
        (np.zeros((4, 2)), [1, np.nan, 2, 3], r"y has no (label|number) in row 1"),
        (np.zeros((4, 2)), [np.nan] * 4, r"y has no (label|number) in row 0"),
        (np.zeros((4, 2)), [1, 2, 3], "inconsistent numbers of samples"),
        (np.full((4, 2), np.inf), [1, 2, 1, 2], "infinity"),
        (pd.DataFrame({"a": [[1], [2]]}), [1, 2], "'a' holds lists"),
        (pd.DataFrame({"a": ["x"] * 4}), [1, 2, 1, 2], "no column left to learn from"),
        (pd.DataFrame({"a": []}), [], "0 sample"),
    ],
)
@pytest.mark.parametrize("task", OF)
def test_bad_input_is_named(task, X, y, message):
    with pytest.raises(ValueError, match=message):
        OF[task](**QUICK).fit(X, y)


def test_bad_parameters_and_calls_are_named(classifier):
    X, y, _ = table(20)
    with pytest.raises(ValueError, match="preset"):
        TabularClassifier("quick").fit(X, y)
    with pytest.raises(ValueError, match="n_jobs is 0"):
        TabularClassifier(n_jobs=0).fit(X, y)
    with pytest.raises(ValueError, match="negative in row 3"):
        TabularClassifier().fit(X, y, np.where(np.arange(20) == 3, -1, 1))
    with pytest.raises(ValueError, match=r"non-zero|sum to 0"):
        TabularClassifier().fit(X, y, np.zeros(20))
    with pytest.raises(ValueError, match="squared"):
        TabularRegressor().fit(X, np.r_[1e300, np.zeros(19)])
    with pytest.raises(NotFittedError):
        TabularRegressor().predict(X)
    with pytest.raises(ValueError, match="'size', row 2: 'big'"):
        classifier.predict(X.astype({"size": object}).assign(size=["1", "2", "big"] + ["3"] * 17))


def test_time_and_callbacks_stop_the_training():
    X, y, _ = table(120)
    seen = []

    def stop(estimator, record):
        seen.append(record)
        return record["epoch"] == 2

    model = TabularClassifier("fast", callbacks=[stop], random_state=0, engine="numpy").fit(X, y)
    assert [row["epoch"] for row in seen if row["part"] == "step"] == [0, 1, 2]
    assert model.history_ == seen
    assert set(model.blend_weights_) == {"linear", "step"}
    short = TabularClassifier("fast", time_limit=1e-3, random_state=0, engine="numpy").fit(X, y)
    assert set(short.blend_weights_) == {"linear"}


def test_a_pipeline_with_a_cleaner_takes_columns_in_any_order():
    X, y, _ = table()
    model = tabular_pipeline(TabularClassifier(**QUICK), random_state=0)
    assert list(model.named_steps) == ["clean", "estimator"]
    model.fit(X, y)
    expected = model.predict_proba(X)
    np.testing.assert_array_equal(model.predict_proba(X[X.columns[::-1]].assign(z=1)), expected)


def test_a_predictor_gives_what_predict_gives(classifier, regressor):
    X, _, _ = table(30, seed=5)
    X.loc[3, "colour"], X.loc[4, "size"], X.loc[5, "words"] = "mauve", np.inf, "日本"
    X.loc[6, "when"] = pd.NaT
    with pytest.warns(UnseenLevelWarning, match="'mauve'"):
        of_many = (classifier, classifier.predict_proba(X)), (regressor, regressor.predict(X))
    for model, expected in of_many:
        one = model.predictor()
        rows = [dict(row) for _, row in X.iterrows()]
        np.testing.assert_allclose([one(row) for row in rows], expected, rtol=1e-4, atol=1e-5)
        found = [one(list(row.values())) for row in rows]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    A, z = load_diabetes(return_X_y=True)
    A[::7, 1] = np.nan
    model = TabularRegressor(**QUICK | {"max_epochs": 2}).fit(A, z)
    A[1, 2], A[2, 2], A[3, 0] = 1e300, -1e300, 1e-300
    found = [model.predictor()(a) for a in A[:9]]
    np.testing.assert_allclose(found, model.predict(A[:9]), rtol=1e-5)
    assert model.predictor()([np.inf, *A[1, 1:]]) == model.predictor()([1e100, *A[1, 1:]])
    with pytest.raises(ValueError, match=r"a row is 10 numbers, .* shape \(9,\)"):
        model.predictor()(A[0, 1:])
    with pytest.raises(ValueError, match="'size'"):
        classifier.predictor()(rows[0] | {"size": "big"})


@pytest.mark.parametrize("weights", [{"linear": 1}, {"step": 1}, {"smooth": 1}, {}])
def test_a_predictor_blends_as_predict_does(classifier, regressor, weights):
    """Also parts that these tables give no weight to; {} stands for equal weights."""
    X, _, _ = table(8, seed=6)
    for model in (copy.copy(classifier), copy.copy(regressor)):
        parts = model._blend.parts
        shares = {name: weights.get(name, 0) if weights else 1 / 3 for name in parts}
        model._blend = replace(model._blend, weights=shares)
        expected = getattr(model, "predict_proba", model.predict)(X)
        found = [model.predictor()(list(row)) for row in X.itertuples(index=False)]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_loaded_model_predicts_the_same(classifier, regressor, tmp_path):
    X, _, _ = table(40, seed=3)
    for model in (classifier, regressor):
        path = tmp_path / "m.chainrule"
        chainrule.save(model, path)
        again = chainrule.load(path)
        assert type(again) is type(model)
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        np.testing.assert_array_equal(again.oof_prediction_, model.oof_prediction_)
        header = chainrule.read_header(path)
        assert {"name": "when", "kind": "date"} in header["columns"]
        assert header["training"]["out_of_fold"]["score"] == model.oof_score_
    low = regressor.predict_interval(X)[0]
    np.testing.assert_array_equal(again.predict_interval(X)[0], low)
    chainrule.save(TabularClassifier(preset="fast"), tmp_path / "n.chainrule")
    assert chainrule.load(tmp_path / "n.chainrule").preset == "fast"


def test_memory_of_predicting_does_not_grow_with_the_rows():
    """But for the result, which is 8 bytes a row here; a copy of X would be 160 bytes a row."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60_000, 20)).astype(np.float32)
    model = TabularRegressor(**QUICK | {"max_epochs": 1}).fit(X[:100], X[:100, 0])
    np.testing.assert_array_equal(model.predict(X[:99].astype(float)), model.predict(X[:99]))
    peaks = []
    for n in (20_000, 60_000):
        tracemalloc.start()
        model.predict(X[:n])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 40_000 * 40


@pytest.mark.parametrize("n_groups", [2, 20])
def test_rows_of_a_group_are_in_one_fold(n_groups):
    """Copies of rows: each copy would give its target away if it were in another fold."""
    rng = np.random.default_rng(0)
    group = rng.permutation(np.arange(200) % n_groups)
    X, y = rng.normal(size=(200, 2)), rng.normal(size=200)
    model = TabularRegressor("fast", max_epochs=2, engine="numpy", random_state=0)
    names = np.array([f"p{k}" for k in group])
    model.fit(X, y, groups=names)
    folds = model._fold_of_row
    assert all(len(set(folds[group == k])) == 1 for k in range(n_groups))
    assert len(set(folds)) == min(4, n_groups)
    with pytest.raises(ValueError, match="all rows are in one group"):
        model.fit(X, y, groups=["a"] * 200)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y, groups=["a"] * 199)


def test_behind_a_cleaner_unseen_levels_are_told_once():
    X = pd.DataFrame({"c": ["a", "b"] * 30, "x": np.arange(60.0)})
    estimator = TabularRegressor("fast", max_epochs=1, engine="numpy", random_state=0)
    model = chainrule.tabular_pipeline(estimator).fit(X, np.arange(60) % 7)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.predict(X.assign(c="z"))
    assert [str(each.message).count("'z' (60)") for each in caught] == [1]
