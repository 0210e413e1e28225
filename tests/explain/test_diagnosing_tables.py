"""The diagnosis of estimators for tables: planted faults, and nothing in sound tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.exceptions import NotFittedError

import chainrule
from chainrule import TabularClassifier, TabularRegressor, diagnose, tabular_pipeline
from chainrule.explain.faults_of_data import against_chance

# Trained in NumPy.
pytestmark = pytest.mark.once

FAST = {"preset": "fast", "random_state": 0}
iris, wine, cancer = (f(return_X_y=True) for f in (load_iris, load_wine, load_breast_cancer))
diabetes = load_diabetes(return_X_y=True)


def mixed(n=300, seed=0):
    """A sound table: numbers, gaps, categories, and a target that depends on them."""
    rng = np.random.default_rng(seed)
    size, weight = rng.normal(10, 3, n).round(2), rng.gamma(2, 20, n).round(1)
    colour = rng.choice(["red", "green", "blue"], n)
    y = np.where(size + 2 * (colour == "red") + rng.normal(0, 0.5, n) > 10, "big", "small")
    weight[::9] = np.nan
    return pd.DataFrame({"size": size, "weight": weight, "colour": colour}), y


def found(X, y, kind=TabularClassifier, held=None, **parameters):
    model = kind(**FAST | parameters).fit(X, y)
    return diagnose(model, X, y, **({} if held is None else {"X_val": held[0], "y_val": held[1]}))


def again(X, y, n, change=lambda y: y):
    """The table with its first n rows twice, the second time with another target."""
    if hasattr(X, "iloc"):
        return pd.concat([X, X.iloc[:n]], ignore_index=True), np.r_[y, change(y[:n])]
    return np.vstack([X, X[:n]]), np.r_[y, change(y[:n])]


def turned(y):
    return np.where(y == "big", "small", "big")


def flipped(X, y, share=0.2):
    rng = np.random.default_rng(0)
    wrong = rng.random(len(y)) < share
    return X, np.where(wrong, (y + 1) % (y.max() + 1), y)


def rare():
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 4)), np.repeat(["often", "seldom"], [288, 12])


def noise(n=60, k=30):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n, k))
    return X, (X[:, 0] + rng.normal(0, 1.5, n) > 0).astype(int)


def leaking():
    X, y = mixed()
    return found(X, y, held=(pd.concat([X[:20], mixed(80, 5)[0]]), np.r_[y[:20], mixed(80, 5)[1]]))


def shifted():
    X, y = mixed()
    return found(X, y, held=(mixed(200, 7)[0], turned(mixed(200, 7)[1])))


def switched_off():
    model = TabularClassifier(**FAST).fit(*wine)
    fitted = model._blend.parts["step"].fitted
    for i in range(fitted.members):
        fitted.parameters(i)[2][0][:62] = -1e4
    return diagnose(model, *wine)


PLANTED = [
    ("constant-inputs", lambda: found(mixed()[0].assign(site="A"), mixed()[1])),
    ("constant-inputs", lambda: found(mixed()[0].assign(empty=None), mixed()[1])),
    ("constant-inputs", lambda: found(np.c_[wine[0], np.full(178, 7.0)], wine[1])),
    ("contradicting-labels", lambda: found(*again(*mixed(), 20, turned))),
    (
        "contradicting-labels",
        lambda: found(*again(*diabetes, 40, lambda y: y + 150), TabularRegressor),
    ),
    ("duplicate-rows", lambda: found(*again(*mixed(), 60))),
    ("duplicate-rows", lambda: found(*again(*wine, 30))),
    ("duplicate-rows", leaking),
    ("label-noise", lambda: found(*flipped(*iris))),
    ("label-noise", lambda: found(*flipped(*wine))),
    ("lost-class", lambda: found(*rare())),
    ("overfitting", lambda: found(*noise())),
    ("overfitting", shifted),
    ("underfitting", lambda: found(*cancer, max_epochs=1)),
    ("underfitting", lambda: found(*diabetes, TabularRegressor, max_epochs=2)),
    ("underfitting", lambda: found(*wine, time_limit=1e-3)),
    (
        "underfitting",
        lambda: found(np.random.default_rng(0).normal(size=(400, 3)), np.arange(400) % 2),
    ),
    ("dead-units", switched_off),
]


@pytest.mark.parametrize(
    ("code", "make"), PLANTED, ids=[f"{k}-{code}" for k, (code, _) in enumerate(PLANTED)]
)
def test_a_planted_fault_is_found(code, make):
    diagnosis = make()
    assert code in diagnosis.codes, str(diagnosis)
    finding = diagnosis[diagnosis.codes.index(code)]
    assert finding.code in chainrule.explain.diagnosing.CODES
    assert finding.message.endswith(".")
    assert finding.advice.endswith(".")
    assert finding.evidence
    assert finding.change
    assert 0 < finding.weight <= 1
    assert finding.plot().get_title()


@pytest.mark.parametrize(
    ("X", "y", "kind"),
    [
        (*iris, TabularClassifier),
        (*wine, TabularClassifier),
        (*cancer, TabularClassifier),
        (*diabetes, TabularRegressor),
        (*mixed(), TabularClassifier),
    ],
    ids=["iris", "wine", "cancer", "diabetes", "mixed"],
)
def test_nothing_is_found_in_a_sound_table(X, y, kind):
    assert found(X, y, kind) == []


def test_a_table_of_a_few_values_may_recur_and_contradict_itself():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"sex": rng.choice(["f", "m"], 500), "class": rng.integers(1, 4, 500)})
    y = np.where(rng.random(500) < np.where(X["sex"] == "f", 0.8, 0.3), "yes", "no")
    assert found(X, y) == []


def test_rows_that_chance_does_not_repeat():
    rng = np.random.default_rng(0)
    few, real = rng.integers(0, 2, (100, 3)).astype(float), rng.normal(size=(100, 3))
    assert not against_chance(few).any()
    assert against_chance(real).all()
    assert not against_chance(np.zeros((100, 5))).any()


def test_a_diagnosis_of_a_pipeline_is_that_of_its_estimator():
    X, y = mixed()
    X = X.assign(site="A", number=np.arange(len(X)) + 1000)
    X, y = again(X, y, 60)
    X["number"] = np.arange(len(X))  # tells rows apart that are equal otherwise
    X = X.rename(columns={"number": "id"})
    model = tabular_pipeline(TabularClassifier(**FAST)).fit(X, y)
    assert set(diagnose(model, X, y).codes) == {"constant-inputs", "duplicate-rows"}


def test_a_stored_model_is_diagnosed_alike(tmp_path):
    X, y = again(*mixed(), 60)
    model = TabularClassifier(**FAST).fit(X, y)
    chainrule.save(model, tmp_path / "m.chainrule")
    stored = diagnose(chainrule.load(tmp_path / "m.chainrule"), X, y)
    assert str(stored) == str(diagnose(model, X, y)) != "nothing found"


def test_the_groups_that_are_advised_keep_copies_together():
    X, y = again(*mixed(), 60)
    model = TabularClassifier(**FAST).fit(X, y)
    finding = diagnose(model, X, y)[0]
    assert finding.code == "duplicate-rows"
    exec(finding.change, {"model": model, "X": X, "y": y, "pd": pd})
    folds = model._fold_of_row
    np.testing.assert_array_equal(folds[:60], folds[300:])


def test_one_target_for_all_rows_is_no_fault_of_the_model():
    X, _ = mixed(40)
    assert found(X, ["only"] * 40) == []


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        ((TabularClassifier(), *iris), {}, NotFittedError, "not fitted"),
        (("fitted", iris[0][:9], iris[1][:9]), {}, ValueError, "X has 9 rows; .* needs the 150"),
        (("fitted", iris[0], None), {}, ValueError, "y is None"),
        (("fitted", iris[0], iris[1][:9]), {}, ValueError, "inconsistent numbers"),
        (("fitted", iris[0], iris[1] + 1), {}, ValueError, "class that fit has not seen: 3"),
        (("fitted", iris[0][:, :3], iris[1]), {}, ValueError, "expecting 4 features"),
        (("fitted", *iris), {"learning_rate": 0.1}, ValueError, "learning_rate goes with a single"),
        (("fitted", *iris), {"X_val": iris[0]}, ValueError, "X_val goes with y_val"),
        (
            ("fitted", *iris),
            {"X_val": iris[0][0], "y_val": [0]},
            ValueError,
            "X_val, y_val: X must have two axes",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(arguments, options, kind, message):
    model, *rows = arguments
    if model == "fitted":
        model = TabularClassifier(max_epochs=1, **FAST).fit(*iris)
    with pytest.raises(kind, match=message) as error:
        diagnose(model, *rows, **options)
    assert "\n" not in str(error.value)
