"""A pipeline takes raw data frames: holes, categories, dates, text; and is stored whole."""

from __future__ import annotations

import datetime as dt
import warnings
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import cross_val_score, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

import chainrule
from chainrule import (
    MLPClassifier,
    MLPRegressor,
    TabularClassifier,
    TabularRegressor,
    tabular_pipeline,
)
from chainrule.commands.options import TABLE_DEFAULTS
from chainrule.estimators.choosing import OF_ENSEMBLES, OF_ENSEMBLES_ALONE
from chainrule.estimators.cleaning import TableCleaner
from chainrule.estimators.tabular import fit_pipeline
from chainrule.tables.cells import CellError, as_dates, as_frame, as_numbers, as_strings, spelling
from chainrule.tables.levels import UnseenLevelWarning

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("skrub", reason="tables are an extra")

QUICK = {"model": "network", "engine": "numpy", "random_state": 0}


def table(n=240, seed=0):
    """A frame of every kind of column, with holes, and a target that follows from it."""
    rng = np.random.default_rng(seed)
    size = rng.normal(5, 2, n)
    colour = rng.choice(["red", "blue", "grün"], n)
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 8000, n), "h")
    frame = pd.DataFrame(
        {
            "size": np.where(rng.random(n) < 0.1, np.nan, size),
            "colour": np.where(rng.random(n) < 0.1, None, colour),
            "new": rng.random(n) < 0.5,
            "when": when.strftime("%d.%m.%Y"),
            "words": [
                " ".join(rng.choice(["salt", "sea", "sunset", "sandcastle", "surfing"], 5))
                for _ in size
            ],
            "code": [f"K{j:03d}" for j in rng.integers(0, 60, n)],
            "always": "x",
            "number": np.arange(n),
        }
    )
    y = np.where((size > 5) ^ (colour == "red"), "yes", "no")
    return frame, y, size + 3 * (colour == "red")


@pytest.fixture(scope="module")
def fitted():
    X, y, _ = table()
    return tabular_pipeline(**QUICK).fit(X, y)


def test_it_learns_from_every_kind_of_column(fitted):
    X, y, _ = table(seed=1)
    assert fitted.score(X, y) > 0.7
    kinds = fitted["clean"].kinds_
    assert kinds == {
        "size": "numeric",
        "colour": "categorical",
        "new": "categorical",
        "when": "date",
        "words": "text",
        "code": "categorical",
        "always": "constant",
        "number": "identifier",
    }
    assert fitted["clean"].many_levels_ == ["code"]
    names = list(fitted[:-1].get_feature_names_out())
    assert len(names) == fitted["mlp"].n_features_in_
    for name in ("categorical__colour_missing", "numeric__missingindicator_size"):
        assert name in names
    assert not any("always" in name or "number" in name for name in names)


def test_it_does_better_than_a_linear_model_where_there_is_more_to_learn():
    X, y, _ = table(600)
    ours = cross_val_score(tabular_pipeline(**QUICK), X, y, cv=3)
    linear = cross_val_score(tabular_pipeline(LogisticRegression(max_iter=500)), X, y, cv=3)
    assert ours.mean() > linear.mean() + 0.1


def test_a_regression_in_large_units():
    X, _, z = table(400)
    model = tabular_pipeline("regression", **QUICK)
    assert cross_val_score(model, X, 1e6 + 1e4 * z, cv=3).mean() > 0.5


@pytest.mark.parametrize("cells", [(1e300, -1e300), (np.inf, 1.0), (0.0, -np.inf)])
def test_a_column_that_has_no_scale_is_named(cells):
    X, y, _ = table(60)
    X["size"] = np.where(np.arange(60) % 3, *cells)
    with pytest.raises(ValueError, match=r"column 'size' has no scale: [24]0 of 60 cells are"):
        tabular_pipeline(**QUICK).fit(X, y)
    X["size"] = np.where(np.arange(60) % 5, 1.0 * np.arange(60), cells[0])  # fewer than a quarter
    assert np.isfinite(tabular_pipeline(**QUICK).fit(X, y).predict_proba(X)).all()


def test_unknown_levels_and_holes_where_there_were_none_are_no_errors(fitted):
    X, _, _ = table(5)
    X["colour"] = ["mauve", "red", None, "", "  "]
    X["new"] = pd.Series([True, None, False, True, None], dtype="boolean")
    X["when"] = [None, "31.12.2031", None, "", "01.02.2020"]
    X["words"] = [None, "", "sea", "日本", "x"]
    X["size"] = [np.inf, -np.inf, 1e300, np.nan, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UnseenLevelWarning)
        chances = fitted.predict_proba(X)
    assert np.isfinite(chances).all()


def test_order_of_columns_and_others_do_not_matter(fitted):
    X, _, _ = table(seed=1)
    expected = fitted.predict_proba(X)
    shuffled = X[X.columns[::-1]].assign(other=1)
    np.testing.assert_array_equal(fitted.predict_proba(shuffled), expected)
    np.testing.assert_array_equal(
        np.concatenate([fitted.predict_proba(X[i : i + 60]) for i in range(0, 240, 60)]).round(12),
        expected.round(12),
    )
    with pytest.raises(ValueError, match=r"columns are missing .* 'size', 'code'; there are"):
        fitted.predict(X.drop(columns=["size", "code"]))


def test_polars_is_as_good_as_pandas(fitted):
    polars = pytest.importorskip("polars")
    X, _, _ = table(seed=1)
    frame = polars.from_pandas(X)
    expected = fitted.predict_proba(X)
    np.testing.assert_array_equal(fitted.predict_proba(frame), expected)
    np.testing.assert_array_equal(fitted.predict_proba(frame.lazy()), expected)


@pytest.mark.bits
def test_stored_and_read_again_it_predicts_the_same_bits(fitted, tmp_path):
    chainrule.save(fitted, tmp_path / "m.chainrule")
    again = chainrule.load(tmp_path / "m.chainrule")
    X, _, _ = table(seed=1)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    assert again["clean"].kinds_ == fitted["clean"].kinds_
    columns = chainrule.read_header(tmp_path / "m.chainrule")["columns"]
    assert {"name": "when", "kind": "date"} in columns


@pytest.mark.filterwarnings("ignore::chainrule.tables.levels.UnseenLevelWarning")
def test_scikit_learns_tools_take_it():
    X, y, _ = table(120)
    model = tabular_pipeline(**QUICK, dropout=0.2)
    copy = clone(model)
    assert copy.get_params()["mlp__dropout"] == 0.2
    found = cross_validate(copy, X, y, cv=2, scoring=["accuracy", "roc_auc"], return_estimator=True)
    assert np.isfinite(found["test_roc_auc"]).all()
    frame = clone(model).set_output(transform="pandas").fit(X, y)[:-1].transform(X)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame) == list(model.fit(X, y)[:-1].get_feature_names_out())
    tags = get_tags(TableCleaner()).input_tags
    assert tags.string
    assert tags.allow_nan


def test_kinds_can_be_given():
    X, y, _ = table()
    model = tabular_pipeline(kinds={"number": "numeric", "words": "identifier"}, **QUICK).fit(X, y)
    assert model["clean"].kinds_["number"] == "numeric"
    assert "numeric__number" in model[:-1].get_feature_names_out()
    assert not any("words" in name for name in model[:-1].get_feature_names_out())
    with pytest.raises(
        ValueError, match=r"kinds\['size'\] must be one of numeric, .*; got 'nmeric'"
    ):
        tabular_pipeline(model="network", kinds={"size": "nmeric"}).fit(X, y)


def test_an_estimator_of_ones_own():
    X, _, z = table(120)
    assert tabular_pipeline(Ridge()).fit(X, z).score(X, z) > 0.3
    own = MLPClassifier(max_iter=5, engine="numpy")
    assert [name for name, _ in tabular_pipeline(own).steps] == ["clean", "encode", "mlp"]
    with pytest.raises(TypeError, match="max_iter: set parameters of your own estimator"):
        tabular_pipeline(Ridge(), max_iter=3)
    with pytest.raises(ValueError, match="'classification' or 'regression', or an estimator"):
        tabular_pipeline("classifcation")
    with pytest.raises(TypeError, match="made"):
        tabular_pipeline(Ridge)


@pytest.mark.once
def test_the_ensembles_are_made_unless_a_network_or_a_setting_of_one_is_given():
    for task, kind, network in (
        ("classification", TabularClassifier, MLPClassifier),
        ("regression", TabularRegressor, MLPRegressor),
    ):
        for chosen, preset in (
            ({}, "best"),
            ({"model": "tabular"}, "best"),
            ({"model": "fast"}, "fast"),
        ):
            model = tabular_pipeline(
                task, **chosen, kinds={"a": "date", "b": "identifier"}, random_state=3, time_limit=9
            )
            assert [*model.named_steps] == ["clean", "estimator"]
            plain = kind(preset, random_state=3, time_limit=9, kinds={"a": "date"})
            assert type(model[-1]) is kind
            assert model[-1].get_params() == plain.get_params()
            assert model[0].kinds == {"a": "date", "b": "identifier"}
        for chosen in (
            {"model": "network"},
            {"dropout": 0.1},
            {"max_levels": 9},
            {"text_columns": 5},
        ):
            model = tabular_pipeline(task, **chosen, random_state=3)
            assert [*model.named_steps] == ["clean", "encode", "mlp"]
            assert type(model[-1]) is network
            assert model[-1].random_state == 3
        assert model[1].transformers[-1][1].transformer.n_components == 5


@pytest.mark.once
@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"model": "tabular", "dropout": 0.1}, TypeError, "dropout: a setting of a plain network"),
        ({"model": "fast", "max_levels": 9}, TypeError, "max_levels: a setting .* model='network'"),
        ({"model": "network", "n_jobs": 2}, TypeError, "n_jobs: a network has no such setting"),
        ({"dropout": 0.1, "max_epochs": 2}, TypeError, "max_epochs: a network has no such"),
        ({"max_epoch": 2}, TypeError, "no parameter 'max_epoch'; did you mean 'max_epochs'"),
        ({"model": "netwrok"}, ValueError, "no model 'netwrok'; did you mean 'network'"),
        ({"estimator": Ridge(), "model": "fast"}, TypeError, "goes with a task by name"),
        (
            {"estimator": TabularClassifier(), "max_levels": 9},
            TypeError,
            "max_levels: TabularClassifier encodes columns itself",
        ),
    ],
    ids=str,
)
def test_a_setting_without_effect_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        tabular_pipeline(**given)


@pytest.mark.once
def test_the_rule_knows_the_settings_of_the_ensembles():
    of_both = TabularClassifier().get_params().keys() | TabularRegressor().get_params().keys()
    assert of_both == OF_ENSEMBLES | {"preset", "kinds", "random_state"}
    of_networks = MLPClassifier().get_params().keys() | MLPRegressor().get_params().keys()
    assert OF_ENSEMBLES - of_networks == OF_ENSEMBLES_ALONE


@pytest.mark.parametrize(
    "given",
    [{"solver": "lbfgs"}, {"hidden_layer_sizes": ()}, {"early_stopping": False}],
    ids=str,
)
def test_defaults_give_way_to_what_does_not_go_with_them(given):
    X, y, _ = table(80)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few iterations
        tabular_pipeline(**{**QUICK, "max_iter": 5, **given}).fit(X, y)


def test_the_command_tells_the_pipelines_defaults():
    for task, standardize in (("classification", False), ("regression", "target")):
        mlp = tabular_pipeline(task, model="network")[-1]
        expected = TABLE_DEFAULTS | {"standardize": standardize}
        assert {name: getattr(mlp, name) for name in TABLE_DEFAULTS} == expected
        plain = type(mlp)().get_params()
        changed = {name for name, value in mlp.get_params().items() if value != plain[name]}
        assert changed == set(TABLE_DEFAULTS)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_target_alone_is_standardised(solver):
    """As by hand; inputs of very different sizes stay so."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3)) * [1, 3, 0.1]
    y = 1e4 + 50 * X[:, 0]
    options = {"solver": solver, "max_iter": 20, "random_state": 0, "engine": "numpy"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inside = MLPRegressor(standardize="target", **options).fit(X, y)
        by_hand = MLPRegressor(standardize=False, **options).fit(X, (y - y.mean()) / y.std())
    np.testing.assert_allclose(inside.predict(X), by_hand.predict(X) * y.std() + y.mean())
    np.testing.assert_allclose(inside.coefs_[0], by_hand.coefs_[0])
    with pytest.raises(ValueError, match="standardize"):
        MLPClassifier(standardize="target").fit(X, y > 1e4)


def test_what_cannot_be_learnt_from_is_said():
    with pytest.raises(ValueError, match=r"no column left .*'a' \(constant\)"):
        TableCleaner().fit(pd.DataFrame({"a": [1] * 30}))
    with pytest.raises(ValueError, match="no rows"):
        TableCleaner().fit(pd.DataFrame({"a": []}))
    with pytest.raises(ValueError, match="of the same name: 'a'; rename"):
        TableCleaner().fit(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_a_cell_of_another_kind_is_named(fitted):
    X, _, _ = table(20)
    spoilt = X.assign(size=[*["1"] * 17, "two", "3", "4"])
    with pytest.raises(CellError, match="column 'size', row 17: 'two' is not a number") as caught:
        fitted.predict(spoilt)
    assert (caught.value.column, caught.value.row, caught.value.value) == ("size", 17, "two")
    spoilt = X.assign(when=["31.12.2024"] * 19 + ["2024"])
    with pytest.raises(CellError, match=r"row 19: '2024' is not a date with the day first"):
        fitted.predict(spoilt)


# The cells, one by one.


def test_numbers_come_from_anything():
    from datetime import timedelta
    from decimal import Decimal

    for values, expected in [
        (["1", " 2.5 ", "", "NA", None], [1, 2.5, np.nan, np.nan, np.nan]),
        (["1.234,5", "-2"], [1234.5, -2]),
        (pd.array([True, None], dtype="boolean"), [1, np.nan]),
        ([Decimal("1.5"), None], [1.5, np.nan]),
        ([2**70, -1], [2.0**70, -1]),
        (pd.array([1, None], dtype="Int64"), [1, np.nan]),
        (pd.Series([timedelta(minutes=1), None]), [60, np.nan]),
    ]:
        column = pd.Series(values, name="a")
        np.testing.assert_array_equal(as_numbers(column, spelling(column)), expected)


@settings(max_examples=60)
@given(st.lists(st.one_of(st.integers(-(2**53), 2**53), st.none()), min_size=1))
def test_whole_numbers_are_the_same_strings_in_any_type(values):
    plain = as_strings(pd.Series(values, dtype=object), "missing")
    floats = as_strings(pd.Series(values, dtype=float), "missing")
    nullable = as_strings(pd.Series(values, dtype="Int64"), "missing")
    assert plain.tolist() == floats.tolist() == nullable.tolist()
    assert plain.tolist() == ["missing" if v is None else str(v) for v in values]


@pytest.mark.parametrize(
    ("written", "style"),
    [
        (["2024-12-31", "2023-01-02"], "iso"),
        (["2024-12-31T10:00:00+02:00", "2024-12-31 08:00:00Z"], "zoned"),
        (["31.12.2024", "02.01.2023"], "day first"),
        (["12/31/2024", "01/02/2023"], "month first"),
    ],
)
def test_dates_are_read_as_they_are_written(written, style):
    column = pd.Series([*written, None, ""])
    assert spelling(column) == style
    dates = as_dates(column, style)
    assert dates.dt.tz is None
    assert dates.isna().tolist() == [False, False, True, True]
    assert dates.iloc[0].strftime("%Y-%m-%d") == "2024-12-31"
    if "Z" in written[1]:
        assert dates.iloc[0] == dates.iloc[1] == pd.Timestamp("2024-12-31 08:00")


def test_frames_come_from_arrays_too():
    assert list(as_frame(np.zeros((2, 3)))) == ["x0", "x1", "x2"]
    frame = pd.DataFrame({1: [1], "b": [2]})
    assert list(as_frame(frame)) == ["1", "b"]
    assert list(frame) == [1, "b"]  # the user's is left alone


TRUTH = {"member": [True, False, True, None] * 30, "x": np.linspace(0, 1, 120)}


@pytest.mark.parametrize("dtype", [object, "boolean", "category", str])
def test_equal_values_of_another_type_are_the_same_level(dtype):
    frame = pd.DataFrame(TRUTH)
    frame["member"] = frame["member"].astype(object).where(frame["member"].notna(), None)
    cleaner = TableCleaner().fit(frame.astype({"member": dtype}))
    same = [True, 1, 1.0, "true", "True", np.True_, "1"] if dtype is not str else [True, "True"]
    for value in same:
        cells = pd.DataFrame({"member": pd.Series([value], dtype=object), "x": [0.5]})
        (level,) = cleaner.transform(cells)["member"]
        assert level == cleaner.levels_["member"][-1]
        assert not cleaner.unseen(cells)


def test_unseen_levels_and_holes_are_counted():
    frame = pd.DataFrame(
        {"day": pd.to_datetime(["2024-01-31", "2024-02-28"] * 30), "n": [1, 2] * 30}
    )
    cleaner = TableCleaner({"day": "categorical", "n": "categorical"}).fit(frame)
    assert cleaner.levels_ == {"day": ["2024-01-31", "2024-02-28"], "n": ["1", "2"]}
    new = pd.DataFrame({"day": ["2024-01-31T00:00Z", "2024-01-30", None], "n": [1.0, 2.5, "2.0"]})
    assert cleaner.unseen(new) == {"day": {"2024-01-30": 1, "missing": 1}, "n": {"2.5": 1}}


def test_predicting_warns_once_of_levels_never_seen(fitted):
    X, y, _ = table()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnseenLevelWarning)
        fitted.predict(X)
    new = X.iloc[:5].copy()
    new["colour"] = ["red", "gr\u0075\u0308n", "pink", " pink", "RED"]
    new["new"] = [True, False, None, True, False]
    for method in (fitted.predict, fitted.predict_proba, lambda X: fitted.score(X, y[:5])):
        with pytest.warns(UnseenLevelWarning) as caught:
            method(new)
        (said,) = [str(each.message) for each in caught]
        assert "'colour': 3 rows with levels never seen in training" in said
        assert "'pink' (2)" in said
        assert "'RED' (1, differs from 'red' only in upper and lower case)" in said
        assert "'grün'" not in said
    holes = X.iloc[:3].assign(code=None, colour=["red", "red", "red"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnseenLevelWarning)
        fitted.predict(holes)  # "code" is free text, which has no levels that are known
    cleaner = TableCleaner().fit(pd.DataFrame({"a": ["x", "y", "z"] * 9}))
    with pytest.warns(UnseenLevelWarning, match="'a': 1 row without a value"):
        cleaner.transform(pd.DataFrame({"a": ["x", None]}))


def test_a_cleaner_of_before_there_were_level_types():
    frame = pd.DataFrame(TRUTH).dropna()
    frame["member"] = frame["member"].astype(bool)
    cleaner = TableCleaner().fit(frame)
    del cleaner.level_types_, cleaner.levels_
    assert set(cleaner.transform(frame)["member"]) == {"True", "False"}
    assert cleaner.unseen(frame) == {}


@pytest.mark.parametrize(
    ("kind", "cells", "message"),
    [
        (
            "numeric",
            pd.to_datetime(["2024-01-31", "2024-02-28"]),
            "holds dates, which are no numbers",
        ),
        ("date", [1, 2], "holds numbers, which are no dates"),
        ("date", [True, False], "holds truth values, which are no dates"),
        ("numeric", ["a", "b"], "'a' is not a number"),
        ("categorical", [[1], [2]], "holds lists"),
        ("text", [b"a", b"b"], "holds bytes"),
        (None, [{}, {"a": 1}], "holds structures"),
        (None, pd.cut([1, 2], 2), "holds intervals"),
    ],
)
def test_kinds_that_do_not_go_with_the_cells(kind, cells, message):
    frame = pd.DataFrame({"c": pd.Series(cells), "x": [1.0, 2.0]})
    with pytest.raises(ValueError, match=f"column 'c'.*{message}"):
        TableCleaner({} if kind is None else {"c": kind}).fit(frame)
    TableCleaner({"c": "identifier"}).fit(frame)


def test_durations_and_times_are_numbers():
    frame = pd.DataFrame(
        {
            "took": pd.to_timedelta([1, 90, None] * 10, unit="s"),
            "at": [dt.time(1), dt.time(2), None] * 10,
            "price": [Decimal("1.5"), Decimal("2.5"), None] * 10,
        }
    )
    cleaner = TableCleaner()
    cleaned = cleaner.fit_transform(frame)
    assert set(cleaner.kinds_.values()) == {"numeric"}
    np.testing.assert_array_equal(
        cleaned.iloc[:3].T, [[1, 90, np.nan], [3600, 7200, np.nan], [1.5, 2.5, np.nan]]
    )


class Recording(BaseEstimator):
    """Keeps what it is fitted with."""

    def fit(self, X, y, **how):
        self.X_, self.y_, self.how_ = X, y, how
        return self


@pytest.mark.once
@given(st.integers(3, 30), st.integers(0, 99), st.booleans())
def test_rows_to_stop_by_keep_their_weights_and_are_not_learned_from(n, seed, weighted):
    rng = np.random.default_rng(seed)
    frame, y = pd.DataFrame({"x": rng.normal(size=n)}), np.arange(n)
    weight = rng.uniform(size=n) if weighted else None
    stop = rng.choice(n, int(rng.integers(1, n - 1)), replace=False)
    rest = np.array([i for i in range(n) if i not in set(stop)])
    scaler = StandardScaler().fit(frame.iloc[rest])
    pipeline = Pipeline([("scale", StandardScaler()), ("last", Recording())])
    last = fit_pipeline(pipeline, frame, y, weight=weight, stop=stop)[-1]
    np.testing.assert_array_equal(last.X_, scaler.transform(frame.iloc[rest]))
    np.testing.assert_array_equal(last.y_, rest)
    expected = {"X_val": scaler.transform(frame.iloc[stop]), "y_val": stop}
    if weighted:
        expected |= {"sample_weight": weight[rest], "sample_weight_val": weight[stop]}
    assert set(last.how_) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(last.how_[name], value)
