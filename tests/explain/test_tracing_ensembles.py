"""The trace of one network of an ensemble, against what the ensemble itself predicts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import chainrule
from chainrule import TabularClassifier, TabularRegressor, tabular_pipeline, trace
from chainrule.ensembles.blending import EnsemblePart, without_bins

# Trained in NumPy.
pytestmark = pytest.mark.once

FAST = {"preset": "fast", "random_state": 0}


def table(n=160):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": rng.normal(10, 3, n).round(2),
            "weight": rng.gamma(2, 20, n).round(1),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D"),
            "colour": rng.choice(["red", "green", "blue"], n),
            "town": rng.choice([f"town {i}" for i in range(12)], n),
        }
    )
    frame.loc[::9, "weight"] = np.nan
    frame.loc[3::11, "colour"] = None
    steps = 9.0 * (abs(frame["size"] - 10) > 2)  # which no linear model finds
    return frame, steps + 5 * (frame["colour"] == "red") + rng.normal(0, 1, n)


X, numbers = table()
labels = np.array(["low", "mid", "high"])[np.digitize(numbers, [2, 8])]


@pytest.fixture(scope="module")
def fitted():
    classifier = tabular_pipeline("classification", model="fast", random_state=0)
    classifier[-1].set_params(engine="numpy")
    return {
        "classes": (classifier.fit(X, labels), labels),
        "numbers": (TabularRegressor(**FAST).fit(X, numbers), numbers),
    }


def member(model):
    """The first network's predictions of all rows, by the ensemble; its estimator and its part."""
    cells = model[:-1].transform(X) if hasattr(model, "steps") else X
    last = model[-1] if hasattr(model, "steps") else model
    inputs = last._encoder.encode(last._reader.read(last._check_table(cells)))
    weights = last._blend.weights
    name = max(
        (name for name, part in last._blend.parts.items() if isinstance(part, EnsemblePart)),
        key=lambda name: weights[name],
    )
    part = last._blend.parts[name]
    predicted = part.fitted.predict_members(inputs if part.with_bins else without_bins(inputs))[0]
    return predicted, last, name, part


@pytest.mark.parametrize("task", ["classes", "numbers"])
def test_outputs_are_those_of_the_member(fitted, task):
    model, y = fitted[task]
    predicted, last, name, part = member(model)
    t = trace(model, X, y)
    outputs = t.a[t.L]
    if task == "numbers":
        outputs = np.clip(outputs, part.fitted.low, part.fitted.high)
        np.testing.assert_allclose(t.y[:, 0], (numbers - numbers.mean()) / numbers.std(ddof=0))
        np.testing.assert_allclose(t.costs, ((t.a[t.L] - t.y) ** 2)[:, 0] / 2)
        assert "not yet clipped" in str(t).splitlines()[0]
    else:
        own = t.a[t.L][np.arange(len(X)), np.searchsorted(last.classes_, y)]
        np.testing.assert_allclose(t.costs, -np.log(own))
        assert t.output_names == ["high", "low", "mid"]
    np.testing.assert_allclose(outputs, predicted, atol=1e-5)
    head = f"network 1 of {part.fitted.members} of the part {name!r} of a {type(last).__name__}"
    assert str(t).startswith(head)


@pytest.mark.parametrize("task", ["classes", "numbers"])
def test_gradients_are_finite_differences(fitted, task):
    model, y = fitted[task]
    t = trace(model, X[:5], y[:5])
    network, A, rng = t.network, t.a[0], np.random.default_rng(0)
    for l in range(1, t.L + 1):
        for values, nabla in ((network.W[l], t.nabla_W[l]), (network.b[l], t.nabla_b[l])):
            for _ in range(4):
                at = tuple(int(rng.integers(n)) for n in values.shape)
                before, costs = values[at], []
                for h in (1e-6, -1e-6):
                    values[at] = before + h
                    costs.append(network.cost(A, t.y))
                values[at] = before
                assert (costs[0] - costs[1]) / 2e-6 == pytest.approx(nabla[at], abs=1e-6)


@pytest.mark.parametrize("task", ["classes", "numbers"])
def test_names_say_what_a_column_holds(fitted, task):
    model, y = fitted[task]
    t = trace(model, X, y)
    assert len(set(t.input_names)) == len(t.input_names) == t.sizes[0]
    columns = dict(zip(t.input_names, t.a[0].T, strict=True))
    red = columns["colour = red"]
    np.testing.assert_array_equal(red, X["colour"] == "red")
    np.testing.assert_array_equal(columns["colour is missing"], X["colour"].isna())
    assert np.corrcoef(columns["weight is missing"], X["weight"].isna())[0, 1] > 0.999
    of_day = columns["day: days since 1970"]
    assert np.corrcoef(of_day, X["day"].astype("int64"))[0, 1] > 0.9
    assert any(name.startswith("town: mean of ") for name in columns)
    first = [name for name in columns if name.startswith("size: bin 1 ")]
    if first:
        full = columns[first[0]] == 1
        assert X["size"][full].min() >= X["size"][~full].max()


def test_an_array_has_the_names_that_its_pipeline_knows():
    A = X[["size", "weight"]]
    model = make_pipeline(StandardScaler(), TabularRegressor(**FAST)).fit(A, numbers)
    assert trace(model, A[:2], numbers[:2]).input_names[:2] == ["size", "weight"]
    assert trace(model[-1], model[:-1].transform(A), numbers).input_names[:2] == ["x0", "x1"]


def test_what_has_no_network_is_said_in_a_line(fitted):
    constant = TabularRegressor(**FAST).fit(X, np.ones(len(X)))
    with pytest.raises(ValueError, match="always predicts the same, without a network"):
        trace(constant, X[:1], [1.0])
    model, _ = fitted["numbers"]
    blend = model._blend
    weights = dict(blend.weights)
    try:
        for name, part in blend.parts.items():
            blend.weights[name] = float(not isinstance(part, EnsemblePart))
        with pytest.raises(ValueError, match="predicts by a linear model alone"):
            trace(model, X[:1], numbers[:1])
    finally:
        blend.weights.update(weights)
    with pytest.raises(ValueError, match="activation goes with weights given as arrays"):
        trace(model, X[:1], numbers[:1], activation="relu")
    with pytest.raises(ValueError, match="y has a class that fit has not seen: 'huge'"):
        trace(fitted["classes"][0], X[:1], "huge")
    with pytest.raises(NotFittedError, match="TabularClassifier is not fitted yet"):
        trace(chainrule.TabularClassifier(), X[:1], "low")
    with pytest.raises(TypeError, match="is the class TabularClassifier"):
        trace(TabularClassifier, X[:1], "low")
