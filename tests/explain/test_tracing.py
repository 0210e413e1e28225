"""The trace: the engine's numbers, put into the equations, for every kind of model."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier as SklearnClassifier
from sklearn.neural_network import MLPRegressor as SklearnRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import chainrule
from chainrule import MLPClassifier, MLPRegressor, Network, trace

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
Xd, yd = load_diabetes(return_X_y=True)
QUICK = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}


def flat(t):
    parts = [
        p.ravel() for l in range(1, t.L + 1) for p in (t.nabla_W[l], t.nabla_b[l]) if p is not None
    ]
    return np.concatenate(parts)


@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy", "huber", "gaussian"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "softmax"])
@pytest.mark.parametrize("hidden", [(), (4,), (3, 5, 4)])
def test_numbers_are_the_engines(loss, activation, hidden):
    rng = np.random.default_rng(len(hidden))
    net = Network((3, *hidden, 4), activation=activation, loss=loss, seed=0)
    A, B = rng.normal(size=(6, 3)), rng.uniform(0, 1, (6, net.n_targets))
    t = trace(net, A, B)
    cost, nabla = net.gradient(A, B)
    assert t.cost == pytest.approx(cost, rel=1e-12)
    np.testing.assert_allclose(flat(t), nabla, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(t.a[-1], net.predict(A), rtol=1e-12)
    state = chainrule.OptimizerState(net, "sgd")
    state.step(nabla)
    for l in range(1, net.L + 1):
        np.testing.assert_allclose(t.new_W[l], net.W[l], rtol=1e-12)
    assert t.new_cost == pytest.approx(net.cost(A, B), rel=1e-12)


def test_lists_are_by_layer():
    net = Network((3, 4, 2), layers=None, seed=0)
    t = trace(net, np.ones((5, 3)), np.zeros((5, 2)))
    assert [None if z is None else z.shape for z in t.z] == [None, (5, 4), (5, 2)]
    assert [None if d is None else d.shape for d in t.delta] == [None, (5, 4), (5, 2)]
    assert [a.shape for a in t.a] == [(5, 3), (5, 4), (5, 2)]
    assert [None if W is None else W.shape for W in t.nabla_W] == [None, (3, 4), (4, 2)]
    assert [None if b is None else b.shape for b in t.nabla_b] == [None, (4,), (2,)]


def test_the_article_by_hand():
    # 2-2-1, ReLU everywhere, squared error: numbers worked out on paper.
    W1, b1 = [[1.0, -1.0], [0.5, 2.0]], [0.0, 1.0]
    W2, b2 = [[2.0], [1.0]], [-1.0]
    t = trace([(W1, b1), (W2, b2)], [2.0, 1.0], [3.5], output_activation="relu", learning_rate=0.1)
    np.testing.assert_array_equal(t.z[1], [[2.5, 1.0]])
    np.testing.assert_array_equal(t.z[2], [[5.0]])
    assert t.cost == 1.125
    np.testing.assert_array_equal(t.delta[2], [[1.5]])
    np.testing.assert_array_equal(t.delta[1], [[3.0, 1.5]])
    np.testing.assert_array_equal(t.nabla_W[2], [[3.75], [1.5]])
    np.testing.assert_array_equal(t.nabla_W[1], [[6.0, 3.0], [3.0, 1.5]])
    np.testing.assert_array_equal(t.nabla_b[1], [3.0, 1.5])
    np.testing.assert_allclose(t.new_b[2], [-1.15])


def differences(pairs, cost_of, h=1e-5):
    """∂cost/∂W and ∂cost/∂b of each layer by central differences."""
    found = []
    for l, pair in enumerate(pairs):
        for k, array in enumerate(pair):
            out = np.zeros_like(array)
            for index in np.ndindex(array.shape):
                costs = []
                for sign in (1, -1):
                    moved = [[p.copy() for p in one] for one in pairs]
                    moved[l][k][index] += sign * h
                    costs.append(cost_of(moved))
                out[index] = (costs[0] - costs[1]) / (2 * h)
            found.append(out.ravel())
    return np.concatenate(found)


def by_hand(pairs, A, B):
    """tanh, then softmax and cross-entropy, in plain NumPy."""
    (W1, b1), (W2, b2) = pairs
    z = np.tanh(A @ W1 + b1) @ W2 + b2
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return -np.log((p * B).sum(axis=1)).mean()


def test_arrays_against_differences_of_plain_numpy():
    rng = np.random.default_rng(1)
    pairs = [(rng.normal(size=(3, 4)), rng.normal(size=4)), (rng.normal(size=(4, 3)), np.ones(3))]
    A, labels = rng.normal(size=(5, 3)), [0, 2, 1, 1, 0]
    t = trace(pairs, A, labels, activation="tanh", loss="cross_entropy")
    B = np.eye(3)[labels]
    assert t.cost == pytest.approx(by_hand(pairs, A, B), rel=1e-12)
    numeric = differences(pairs, lambda moved: by_hand(moved, A, B))
    np.testing.assert_allclose(flat(t), numeric, atol=1e-8)


@pytest.mark.parametrize("kind", [MLPClassifier, SklearnClassifier])
@pytest.mark.parametrize("two", [True, False])
def test_classifiers(kind, two):
    names = np.array(["one", "two", "three"])
    rows = y < 2 if two else y < 3
    model = kind(**QUICK, activation="tanh").fit(X[rows], names[y[rows]])
    A, labels = X[rows][::20], names[y[rows]][::20]
    t = trace(model, A, labels)
    proba = model.predict_proba(A)
    np.testing.assert_allclose(t.a[-1], proba[:, 1:] if two else proba, rtol=1e-9)
    assert t.cost == pytest.approx(log_loss(labels, proba, labels=model.classes_), rel=1e-9)
    for l, W in enumerate(model.coefs_, 1):
        np.testing.assert_array_equal(t.W[l], W)

    def cost_of(pairs):
        model.coefs_, model.intercepts_ = map(list, zip(*pairs, strict=True))
        return log_loss(labels, model.predict_proba(A), labels=model.classes_)

    pairs = list(zip(model.coefs_, model.intercepts_, strict=True))
    numeric = differences(pairs, cost_of)
    np.testing.assert_allclose(flat(t), numeric, atol=1e-7)


@pytest.mark.parametrize(
    "model",
    [
        MLPRegressor(**QUICK),
        MLPRegressor(**QUICK, compat="sklearn"),
        MLPRegressor(**QUICK, normalization="layer", dropout=0.3),
        SklearnRegressor(**QUICK),
    ],
)
def test_regressors_are_in_the_units_of_y(model):
    model.fit(Xd, yd)
    t = trace(model, Xd[:7], yd[:7])
    prediction = model.predict(Xd[:7])
    np.testing.assert_allclose(t.a[-1][:, 0], prediction, rtol=1e-9)
    assert t.cost == pytest.approx(0.5 * np.mean((prediction - yd[:7]) ** 2), rel=1e-9)
    np.testing.assert_allclose(t.delta[-1][:, 0], (prediction - yd[:7]) / 7, rtol=1e-8)


def test_several_targets():
    Y = np.column_stack([yd, -2 * yd])
    t = trace(MLPRegressor(**QUICK).fit(Xd, Y), Xd[:2], Y[:2])
    assert t.y.shape == (2, 2)
    assert t.output_names == ["target 0", "target 1"]
    classes = np.column_stack([y, y > 1])
    model = MLPClassifier(**QUICK).fit(X, classes)
    t = trace(model, X[:3], classes[:3])
    np.testing.assert_allclose(t.a[-1], np.hstack(model.predict_proba(X[:3])), rtol=1e-12)
    np.testing.assert_allclose(t.delta[-1], (t.a[-1] - t.y) / 3, rtol=1e-9)
    labels = np.column_stack([y > 0, y > 1]).astype(int)
    t = trace(MLPClassifier(**QUICK).fit(X, labels), X[:3], labels[:3])
    np.testing.assert_array_equal(t.y, labels[:3])
    levels = MLPRegressor("quantile", quantile=[0.1, 0.9], **QUICK).fit(Xd, yd)
    assert trace(levels, Xd[:3], yd[:3]).cost == pytest.approx(
        levels.sample_loss(Xd[:3], yd[:3]).mean()
    )


def test_missing_values_and_sparse_rows():
    holes = Xd.copy()
    holes[::3, 2] = np.nan
    model = MLPRegressor(**QUICK, missing="indicator").fit(holes, yd)
    t = trace(model, holes[:4], yd[:4])
    assert t.input_names[-1] == "x2 is missing"
    np.testing.assert_array_equal(t.a[0][:, -1], [1, 0, 0, 1])
    from scipy.sparse import csr_matrix

    model = MLPRegressor(**QUICK).fit(csr_matrix(Xd), yd)
    np.testing.assert_array_equal(trace(model, csr_matrix(Xd[:2]), yd[:2]).a[0], Xd[:2])


def test_a_pipeline_sends_the_row_through_its_steps():
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    steps = make_pipeline(StandardScaler(), MLPClassifier(**QUICK)).fit(frame, y)
    scaled = steps[0].transform(frame)
    plain = trace(steps[-1], scaled[3:5], y[3:5])
    for t in (
        trace(steps, frame.iloc[3:5], y[3:5]),
        trace(GridSearchCV(steps, {}, cv=2).fit(frame, y), frame.iloc[3:5], y[3:5]),
    ):
        np.testing.assert_allclose(t.a[0], scaled[3:5])
        assert t.cost == pytest.approx(plain.cost, rel=1e-12)
        assert t.input_names == ["a", "b", "c", "d"]
    one = trace(steps, frame.iloc[3], y[3])
    np.testing.assert_allclose(one.a[0], scaled[3:4])
    target = TransformedTargetRegressor(MLPRegressor(**QUICK), transformer=StandardScaler())
    t = trace(target.fit(Xd, yd), Xd[:2], yd[:2])
    np.testing.assert_allclose(t.y[:, 0], (yd[:2] - yd.mean()) / yd.std())


def test_raw_tables_go_through_tabular_pipelines():
    frame = pd.DataFrame({"n": [1.0, 2, 3, 4] * 8, "s": ["a", "b", "a", "c"] * 8})
    model = chainrule.tabular_pipeline(
        "classification", hidden_layer_sizes=3, batch_size=8, max_iter=2
    )
    model.fit(frame, ["no", "yes"] * 16)
    t = trace(model, frame.iloc[:1], "yes")
    np.testing.assert_allclose(t.a[-1][0, 0], model.predict_proba(frame.iloc[:1])[0, 1], rtol=1e-6)
    assert any("s" in name for name in t.input_names)


def test_the_update_is_the_first_step_of_the_estimators_own_optimiser():
    model = MLPClassifier(**QUICK, learning_rate_init=0.02).fit(X, y)
    t = trace(model, X[:9], y[:9])
    assert (t.optimizer, t.learning_rate) == ("adam", 0.02)
    moved = t.nabla_W[1] != 0  # Adam's first step is η times the sign
    np.testing.assert_allclose(
        (t.new_W[1] - t.W[1])[moved], -0.02 * np.sign(t.nabla_W[1][moved]), rtol=1e-3
    )
    t = trace(model, X[:9], y[:9], optimizer="momentum", learning_rate=0.5)
    np.testing.assert_allclose(t.new_b[1], t.b[1] - 0.5 * t.nabla_b[1])
    for solver in ("lbfgs", "sgd"):
        t = trace(SklearnClassifier(**QUICK, solver=solver).fit(X, y), X, y)
        assert t.optimizer == {"lbfgs": "sgd", "sgd": "nesterov"}[solver]


def value_of(line):
    """What a worked line says, computed by Python: (right side, result)."""
    _left, *middle, result = re.split(" = ", line)
    said = " = ".join(middle) or result
    text = re.sub(r"\(?([−\d.e+]+)\)? from \d+ more terms", r"(\1)", said)
    for sign, plain in (("−", "-"), ("·", "*"), ("½", "0.5*"), ("²", "**2")):
        text = text.replace(sign, plain)
    text = re.sub(r"log (-?[\d.e-]+)", r"log(\1)", text)
    names = {"exp": math.exp, "log": math.log, "tanh": math.tanh, "relu": lambda z: max(z, 0)}
    return eval(text, {"__builtins__": {}}, names), float(result.replace("−", "-"))


@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=4),
    st.integers(1, 4),
    st.sampled_from(["tanh", "relu"]),
    st.sampled_from(["squared_error", "cross_entropy", "binary_cross_entropy"]),
    st.integers(0, 99),
)
def test_the_numbers_put_in_give_what_they_say(sizes, m, activation, loss, seed):
    rng = np.random.default_rng(seed)
    net = Network(sizes, activation=activation, loss=loss, seed=seed)
    t = trace(net, rng.normal(size=(m, sizes[0])), rng.integers(0, 2, (m, sizes[-1])) * 1.0)
    scale = max(1.0, *(float(np.abs(a).max()) for a in t.a))
    checked = 0
    for step in t.steps():
        for line in step.worked:
            if step.equation in ("input",) or "logistic(" in line:
                continue
            computed, said = value_of(line)
            assert computed == pytest.approx(said, rel=0.02, abs=0.02 * scale), line
            checked += 1
    assert checked >= 6


def test_steps_go_equation_by_equation():
    t = trace(Network((2, 3, 2, 1), seed=0), [[1.0, 2.0]], [[0.0]])
    steps = list(t.steps())
    assert [s.equation for s in steps] == (
        ["input"]
        + ["forward"] * 6
        + ["cost", "BP1"]
        + ["BP2"] * 2
        + ["BP3", "BP4"] * 3
        + ["update"] * 6
    )
    assert [s.symbol for s in steps[8:11]] == ["δ³", "δ²", "δ¹"]
    assert steps[1].formula == "z¹ = a⁰ W¹ + b¹"
    np.testing.assert_array_equal(steps[1].value, t.z[1])
    assert steps[1].shape == (1, 3)
    text = str(t)
    for step in steps:
        assert str(step) in text


def test_large_networks_are_shortened_to_the_largest_entries():
    net = Network((64, 100, 10), activation="relu", seed=0)
    t = trace(net, np.random.default_rng(0).normal(size=(20, 64)), np.eye(10)[[3] * 20])
    text = str(t)
    assert len(text) < 20_000
    step = next(s for s in t.steps() if s.symbol == "∇W¹")
    assert not step.complete
    i, j = map(int, re.search(r"\[(\d+), (\d+)\]", step.worked[0]).groups())
    assert abs(t.nabla_W[1][i, j]) == np.abs(t.nabla_W[1]).max()


HOSTILE = "<script>alert(1)</script> & $x_1$ \\input{/etc/passwd} %{}^~#\x1b[31m"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def hostile():
    frame = pd.DataFrame(X[:60], columns=[HOSTILE, "b", "c", "d"])
    labels = np.where(y[:60] > 0, HOSTILE, "plain")
    return trace(MLPClassifier(**QUICK).fit(frame, labels), frame.iloc[:1], labels[0])


def test_html_escapes_what_comes_from_the_data():
    page = hostile().to_html()
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    assert "script" not in tags.seen
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page
    assert "http" not in page  # it needs nothing from elsewhere
    assert "<html" not in hostile()._repr_html_()


def test_text_and_latex_escape_what_comes_from_the_data():
    t = hostile()
    assert "\x1b" not in str(t)
    text = t.to_latex()
    assert "\x1b" not in text
    assert "\\input{" not in text.replace("\\textbackslash{}input\\{", "")
    assert "\\textbackslash{}input\\{/etc/passwd\\}" in text
    bare = re.sub(r"\\[\\{}$%&#_]|%.*", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    for name in ("align*", "itemize", "bmatrix"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}")


def test_every_equation_of_the_latex_is_mathematics_that_renders():
    from matplotlib.mathtext import MathTextParser

    render = MathTextParser("agg").parse
    net = Network((3, 2, 2), activation="leaky_relu", loss="cross_entropy", seed=0)
    text = trace(net, np.full((2, 3), 1e-7), [0, 1]).to_latex()
    lines = [line for line in re.findall(r"\\\[ (.*?) \\\]", text) if "bmatrix" not in line]
    lines += [line.rstrip("\\ ").replace("&", "") for line in text.splitlines() if " &= " in line]
    assert len(lines) > 40
    for line in lines:
        plain = re.sub(r"\\tag\{.*?\}|\\top", "", line).replace("\\tfrac12", "\\frac{1}{2}")
        plain = plain.replace("\\text{", "\\mathrm{").replace("\\operatorname{", "\\mathrm{")
        plain = plain.replace("\\_", "").replace("^{}", "")
        render(f"${plain}$")


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (([], [1.0], [1.0]), ValueError, "empty"),
        (([([[1.0, 2, 3]], [1.0])], [1.0], [1.0]), ValueError, "give W.T"),
        (([([[1.0]], [0.0]), ([[1.0], [2.0]], [0.0])], [1.0], [1.0]), ValueError, "layer 2"),
        (([([["x"]], [0.0])], [1.0], [1.0]), ValueError, "layer 1: W and b must hold numbers"),
        ((Network((2, 1)), [1.0, 2, 3], [1.0]), ValueError, r"X must have the shape \(rows, 2\)"),
        ((Network((2, 1)), [1.0, 2], None), ValueError, "y is None"),
        ((Network((2, 2)), [[1.0, 2]] * 3, [0, 1]), ValueError, "Y must have the shape"),
        ((Network((2, 2)), [[1.0, 2]], [5]), ValueError, "label 5"),
        ((MLPClassifier(), X, y), NotFittedError, "MLPClassifier is not fitted"),
        ((MLPClassifier, X, y), TypeError, "is the class MLPClassifier"),
        ((StandardScaler(), X, y), TypeError, "got StandardScaler"),
        ((object(), X, y), TypeError, "model must be a Network"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(arguments, kind, message):
    with pytest.raises(kind, match=message) as error:
        trace(*arguments)
    assert "\n" not in str(error.value)


def test_data_that_do_not_fit_an_estimator():
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    model = MLPClassifier(**QUICK).fit(frame, np.array(["p", "q", "r"])[y])
    with pytest.raises(ValueError, match="class 's', which the model does not know; it knows 'p'"):
        trace(model, frame[:1], "s")
    with pytest.raises(ValueError, match="feature names"):
        trace(model, frame[["a", "b", "d", "c"]][:1], "p")
    with pytest.raises(ValueError, match="activation goes with weights given as arrays"):
        trace(model, frame[:1], "p", activation="relu")
    with pytest.raises(ValueError, match="optimizer 'sgdd'; did you mean 'sgd'"):
        trace(model, frame[:1], "p", optimizer="sgdd")
    with pytest.raises(ValueError, match="learning_rate must be"):
        trace(model, frame[:1], "p", learning_rate=-1)
    with pytest.raises(ValueError, match="X has 2 rows and Y has 1"):
        trace(model, frame[:2], ["p"])
    with pytest.raises(ValueError, match="too large for float64"):
        trace([([[1e200]], [0.0]), ([[1e200]], [0.0])], [[1e200]], [[0.0]])


def with_entry(value):
    A = X.astype(np.result_type(X, value))
    A[3, 1] = value
    return A


@pytest.mark.parametrize("take", [trace, chainrule.diagnose])
@pytest.mark.parametrize(
    "model",
    [
        MLPClassifier(**QUICK),
        SklearnClassifier(**QUICK),
        MLPRegressor(**QUICK),
        make_pipeline(StandardScaler(), MLPClassifier(**QUICK)),
    ],
    ids=["ours", "sklearn", "regressor", "pipeline"],
)
def test_rows_that_an_estimator_does_not_take_are_named_in_a_line(model, take):
    model.fit(X, y)
    if hasattr(model, "steps"):  # the scaler takes NaN, and refuses infinity itself
        not_a_number = "X, as the last step gets it, holds nan in row 3, column 1"
        infinite = "X holds inf in row 3, column 1"
    else:
        not_a_number, infinite = (f"X holds {what} in row 3, column 1" for what in ("nan", "inf"))
    for rows, message in (
        (with_entry(np.nan), not_a_number),
        (with_entry(np.inf), infinite),
        (with_entry(1j), "X holds complex numbers"),
        (None, "Expected 2D array, got scalar array"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            take(model, rows, y)
        assert "\n" not in str(error.value)


def test_infinity_is_named_where_missing_values_are_taken():
    model = MLPClassifier(**QUICK, missing="indicator").fit(with_entry(np.nan), y)
    rows = with_entry(np.nan)
    rows[5, 2] = -np.inf
    with pytest.raises(ValueError, match="X holds -inf in row 5, column 2;"):
        trace(model, rows, y)


@pytest.mark.parametrize("kind", [MLPClassifier, SklearnClassifier])
def test_the_columns_of_y_are_those_that_the_model_was_fitted_with(kind):
    model = kind(**QUICK).fit(X, y)
    for two in (np.column_stack([y, y]), np.eye(2, dtype=int)[y % 2]):
        with pytest.raises(ValueError, match="y has 2 columns; the model was fitted with one"):
            trace(model, X, two)
    labels = np.column_stack([y > 0, y > 1]).astype(int)
    for wrong, found in ((y, "1 column"), (labels[:, [0, 1, 1]], "3 columns")):
        with pytest.raises(ValueError, match=f"y has {found}; the model was fitted with 2"):
            trace(kind(**QUICK).fit(X, labels), X, wrong)
    both = np.column_stack([y, y > 1])
    if kind is MLPClassifier:
        with pytest.raises(ValueError, match="y has 1 column; the model was fitted with 2"):
            trace(kind(**QUICK).fit(X, both), X, y)


def test_the_model_is_left_as_it_was():
    model = MLPRegressor(**QUICK).fit(Xd, yd)
    before = [array.copy() for array in (*model.coefs_, *model.intercepts_)]
    t = trace(model, Xd[:3], yd[:3])
    t.W[1][...] = 0
    t.network.W[1][...] = 0
    for array, kept in zip((*model.coefs_, *model.intercepts_), before, strict=True):
        np.testing.assert_array_equal(array, kept)
