"""What a model is compared with, and which columns it relies on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from typer.testing import CliRunner

from chainrule.commands import importances as of_columns
from chainrule.commands.baselines import Baselines, described
from chainrule.commands.cli import app
from chainrule.commands.importances import RowSample, importances

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("skrub", reason="tables are an extra")
pytestmark = pytest.mark.once


class Sum:
    """A regressor that knows what it does: 3 a - b; c is idle."""

    def predict(self, X):
        return (3 * X["a"] - X["b"]).to_numpy()


def rows(n=400, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(rng.normal(size=(n, 3)), columns=list("abc"))


@pytest.mark.parametrize("labels", [None, ["no", "yes"], ["p", "q", "r"]])
def test_kept_baselines_predict_what_was_fitted(labels):
    X = rows(120)
    rng = np.random.default_rng(1)
    y = rng.normal(size=120) if labels is None else rng.choice(labels, 120)
    if labels is None:
        parts = {"trivial": DummyRegressor(), "linear": Ridge()}
    else:
        parts = {"trivial": DummyClassifier(strategy="prior"), "linear": LogisticRegression()}
    parts = {name: make_pipeline("passthrough", part).fit(X, y) for name, part in parts.items()}
    told = json.loads(json.dumps(described(parts | {"": parts["linear"]})))
    found = Baselines(told, parts["linear"])
    assert found.known == ["trivial", "linear"]
    for name, (said, chances) in found.predictions(X).items():
        if labels is None:
            np.testing.assert_allclose(said, parts[name].predict(X))
            continue
        assert (said == parts[name].predict(X)).all()
        np.testing.assert_allclose(chances, parts[name].predict_proba(X), atol=1e-12)
    for hostile in (None, 3, [], {"trivial": "x"}, {"trivial": [[1]], "linear": [1]}):
        assert Baselines(hostile, parts["linear"]).known == []
    told["linear"]["coefficients"][0][0] = float("nan")
    assert Baselines(told, parts["linear"]).known == ["trivial"]


def test_importance_is_by_how_much_more_is_erred():
    X = rows()
    truth = Sum().predict(X)
    found = {each.column: each.increase for each in importances(Sum(), X, truth, "cab", seed=3)}
    assert list(found) == ["a", "b", "c"]
    for name, factor in (("a", 3), ("b", 1)):
        values = X[name].to_numpy()
        size = factor * np.abs(values[:, None] - values).mean()  # over all pairs of rows
        assert found[name].value == pytest.approx(size, rel=0.1)
        assert found[name].low < size < found[name].high
    assert found["c"] == (0, 0, 0)
    noisy = truth + np.random.default_rng(0).normal(size=len(truth))  # errs without shuffling too
    (unused,) = importances(Sum(), X, noisy, "c")
    assert unused.increase == (0, 0, 0)
    again = {each.column: each.increase for each in importances(Sum(), X, truth, "cab", seed=3)}
    assert again == found
    assert importances(Sum(), X, truth, [f"x{j}" for j in range(201)]) == []


def test_rows_are_shuffled_as_often_as_the_budget_allows(monkeypatch):
    X, seen = rows(100), []
    counted = Sum.predict
    monkeypatch.setattr(Sum, "predict", lambda self, X: (seen.append(len(X)), counted(self, X))[1])
    for budget, calls, repeats in ((0, 60, 1), (700, 60, 2), (10**9, 60, 5), (10**9, 6, 2)):
        seen.clear()
        monkeypatch.setattr(of_columns, "BUDGET", budget)
        monkeypatch.setattr(of_columns, "CALLS", calls)
        importances(Sum(), X, counted(Sum(), X), "abc")
        assert len(seen) == 1 + 3 * repeats


def test_a_sample_of_rows_is_the_same_however_they_come(monkeypatch):
    monkeypatch.setattr(of_columns, "ROWS", 20)
    X = rows(500)
    taken = []
    for size in (500, 7):
        sample = RowSample(5)
        for start in range(0, 500, size):
            sample.see(X[start : start + size], np.arange(500)[start : start + size])
        taken.append(sample.rows())
    (whole, numbers), (again, others) = taken
    pd.testing.assert_frame_equal(whole, again)
    assert numbers.tolist() == others.tolist() == sorted(set(numbers.tolist()))
    assert len(numbers) == 20
    pd.testing.assert_frame_equal(whole, X.iloc[numbers].reset_index(drop=True))


@pytest.mark.parametrize("folds", [[], ["--cv", "3"]])
@pytest.mark.parametrize("target", ["kind", "size"])
def test_evaluate_compares_as_train_did(folds, target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X = rows(150)
    X["kind"] = np.where(X["a"] + 0.1 * X["c"] > 0, "TRUE", "FALSE")
    X["size"] = 3 * X["a"] - X["b"]
    X.to_csv("t.csv", index=False)
    quick = ["--max-iter", "5", "--hidden-layer-sizes", "4", "-o", "m.chainrule"]
    trained = CliRunner().invoke(app, ["train", "t.csv", "-t", target, *quick, "--json", *folds])
    assert trained.exit_code == 0, trained.output
    asked = ["evaluate", "m.chainrule", "t.csv", "--json", "--report", "r.html"]
    told = CliRunner().invoke(app, asked)
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    name = "accuracy" if target == "kind" else "mae"
    if target == "kind":
        expected = X["kind"].value_counts(normalize=True).max()
        assert found["baselines"]["trivial"][name] == pytest.approx(expected)
        assert found["baselines"]["linear"][name] > 0.9
    else:
        assert found["baselines"]["trivial"]["r2"] == pytest.approx(0, abs=0.05)
        assert found["baselines"]["linear"]["r2"] > 0.95
    assert {each["column"] for each in found["importances"]} >= {"a", "b", "c"}
    page = (tmp_path / "r.html").read_text()
    assert "Which columns it relies on" in page
    assert "<th>linear</th>" in page
    assert CliRunner().invoke(app, ["evaluate", "m.chainrule", "t.csv"]).stdout.count("linear") == 1


@pytest.mark.parametrize("target", ["kind", "size"])
def test_evaluate_of_an_ensemble_compares_with_the_models_that_train_did(
    target, tmp_path, monkeypatch
):
    """Columns of every kind; some levels and a hole that training did not have."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    X = rows(240)
    code = rng.integers(0, 20, 240)
    X["code"], X["day"] = [f"K{j}" for j in code], [f"2024-01-{j + 1:02}" for j in code]
    X["words"] = [f"{a} {b} sea" for a, b in rng.choice(["salt", "sun", "sand", "surf"], (240, 2))]
    X.loc[::9, "b"] = np.nan
    X["size"] = X["a"] + code % 3
    X["kind"] = np.where(X["size"] > 1, "TRUE", "FALSE")
    X[:160].to_csv("t.csv", index=False)
    X[160:].assign(code=["new", *X["code"][161:]], c=np.nan).to_csv("rest.csv", index=False)
    quick = ["--model", "fast", "--time-limit", "0.5", "-o", "m.chainrule"]
    other = "size" if target == "kind" else "kind"
    asked = ["t.csv", "-t", target, "--ignore", other, "--test", "rest.csv", "--json", *quick]
    trained = CliRunner().invoke(app, ["train", *asked])
    assert trained.exit_code == 0, trained.output
    told = CliRunner().invoke(app, ["evaluate", "m.chainrule", "rest.csv", "--json", "--quiet"])
    assert told.exit_code == 0, told.output
    expected = json.loads(trained.stdout)["baselines"]
    found = json.loads(told.stdout)["baselines"]
    for name in ("trivial", "linear"):
        assert found[name] == pytest.approx(expected[name], rel=1e-6)
    better = "accuracy" if target == "kind" else "r2"
    assert found["linear"][better] > found["trivial"][better] + 0.2


def test_a_file_without_baselines_says_so(tmp_path, monkeypatch):
    from chainrule import load, save

    monkeypatch.chdir(tmp_path)
    X = rows(80)
    X["y"] = X["a"]
    X.to_csv("t.csv", index=False)
    quick = ["--max-iter", "3", "--hidden-layer-sizes", "4", "-o", "m.chainrule", "-q"]
    assert CliRunner().invoke(app, ["train", "t.csv", "-t", "y", *quick]).exit_code == 0
    save(load("m.chainrule"), "old.chainrule", metadata={"target": "y", "target_type": "number"})
    asked = ["evaluate", "old.chainrule", "t.csv", "--json", "--report", "r.html"]
    found = json.loads(CliRunner().invoke(app, asked).stdout)
    assert found["baselines"] == {"trivial": None, "linear": None}
    assert "a trivial and a linear model would do is unknown" in (tmp_path / "r.html").read_text()
