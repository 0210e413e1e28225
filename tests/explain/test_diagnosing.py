"""The diagnosis: it finds what was planted, and nothing in healthy networks."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    load_iris,
    load_wine,
    make_blobs,
    make_circles,
    make_classification,
    make_friedman1,
    make_moons,
)
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as SklearnClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from chainrule import (
    DivergenceError,
    MLPClassifier,
    MLPRegressor,
    Network,
    TabularClassifier,
    diagnose,
    one_hot,
    train,
)
from chainrule.explain.diagnosing import CODES
from chainrule.explain.faults_of_training import trivial_cost

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:sklearn"),
]

iris, wine, cancer = (f(return_X_y=True) for f in (load_iris, load_wine, load_breast_cancer))
pixels, digits = (part[:400] for part in load_digits(return_X_y=True))
moons = make_moons(400, noise=0.2, random_state=1)
circles = make_circles(400, noise=0.1, factor=0.5, random_state=2)
friedman = make_friedman1(400, noise=1, random_state=6)
many = make_classification(500, 20, n_informative=8, random_state=4)
SMALL = {"hidden_layer_sizes": (20,), "max_iter": 30, "random_state": 0}


def fitted(data, kind=MLPClassifier, **parameters):
    """Diagnose an estimator on the rows that it has learned from."""
    model = kind(**SMALL | parameters).fit(*data)
    return diagnose(model, *data)


def network(data, hidden, change=None, *, epochs=10, rate=0.01, rows=True, **parameters):
    """Diagnose a network that is changed before it is trained."""
    X, y = data
    X = scale(X) if rows else X
    Y = one_hot(y, int(y.max()) + 1) if y.dtype.kind == "i" else y[:, None]
    loss = "cross_entropy" if y.dtype.kind == "i" else "squared_error"
    options = {"activation": "relu", "init": "he_normal", "seed": 0, "loss": loss}
    net = Network((X.shape[1], *hidden, Y.shape[1]), **options | parameters)
    if change is not None:
        change(net)
    history = None
    with suppress(DivergenceError):
        history = train(net, X, Y, epochs=epochs, learning_rate=rate, seed=0)
    return diagnose(net, X, Y, history=history, learning_rate=rate)


def times(factor, layers=slice(None)):
    def change(net):
        for l in range(1, net.L + 1)[layers]:
            net.W[l][...] *= factor

    return change


def off(net):
    net.b[1][:16] = -50


def after_fit(change, data=iris, **parameters):
    model = MLPClassifier(**SMALL | parameters).fit(*data)
    change(model)
    return diagnose(model, *data)


def off_in_estimator(model):
    model.intercepts_[0][:10] -= 100


def with_column(value, kind=None):
    X = many[0].copy()
    X[:, 4] = value
    model = MLPClassifier(**SMALL) if kind is None else kind
    return diagnose(model.fit(X, many[1]), X, many[1])


def rare():
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(400, 3)), rng.normal(0.3, 1, (12, 3))])
    return fitted((X, np.repeat([0, 1], [400, 12])))


def by_heart(kind, noise):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(80, 20))
    y = X[:, 0] + noise * rng.normal(size=80)
    y = (y > 0).astype(int) if kind is MLPClassifier else y
    model = kind(hidden_layer_sizes=200, alpha=0, learning_rate_init=0.01, random_state=0)
    model.fit(X[:50], y[:50])
    return diagnose(model, X[:50], y[:50], X_val=X[50:], y_val=y[50:])


def contradicted(data, n, label):
    X = np.vstack([data[0], data[0][:n]])
    y = np.concatenate([data[1], label(data[1][:n])])
    kind = MLPClassifier if y.dtype.kind == "i" else MLPRegressor
    return fitted((X, y), kind)


def mislabelled(data, share):
    X, y = data[0], data[1].copy()
    rng = np.random.default_rng(0)
    wrong = rng.random(len(y)) < share
    y[wrong] = (y[wrong] + rng.integers(1, y.max() + 1, wrong.sum())) % (y.max() + 1)
    return fitted((X, y))


def leaking(share):
    A, B, c, d = train_test_split(*many, random_state=0)
    n = int(share * len(B))
    B, d = np.vstack([A[:n], B[n:]]), np.concatenate([c[:n], d[n:]])
    return diagnose(MLPClassifier(**SMALL).fit(A, c), A, c, X_val=B, y_val=d)


def wave():
    x = np.random.default_rng(0).uniform(-3, 3, (300, 1))
    return x, np.sin(2 * x[:, 0])


PLANTED = [
    ("dead-units", lambda: network(iris, (32,), off)),
    ("dead-units", lambda: after_fit(off_in_estimator)),
    ("lost-class", rare),
    (
        "lost-class",
        lambda: network(
            iris,
            (20,),
            lambda net: net.b[2].__isub__([0, 0, 50]),
            epochs=1,
            loss="squared_error",
            output_activation="relu",
        ),
    ),
    ("saturated-units", lambda: network(wine, (30,), times(20, slice(1)), activation="tanh")),
    (
        "saturated-units",
        lambda: fitted((cancer[0] * 10, cancer[1]), SklearnClassifier, activation="logistic"),
    ),
    (
        "vanishing-gradient",
        lambda: network((pixels, digits), (50,) * 5, times(0.1), activation="tanh", epochs=2),
    ),
    ("exploding-gradient", lambda: network(iris, (50,) * 5, times(5), epochs=1, rate=1e-12)),
    ("learning-rate-high", lambda: fitted((pixels, digits), learning_rate_init=1.0)),
    (
        "learning-rate-high",
        lambda: fitted(moons, solver="sgd", learning_rate_init=3.0, batch_size=16),
    ),
    ("learning-rate-high", lambda: network(friedman, (50,), rate=5.0)),
    ("learning-rate-low", lambda: fitted(iris, solver="sgd", learning_rate_init=1e-5)),
    ("learning-rate-low", lambda: fitted(friedman, MLPRegressor, learning_rate_init=1e-6)),
    ("unscaled-inputs", lambda: fitted(cancer, SklearnClassifier)),
    (
        "unscaled-inputs",
        lambda: network((iris[0] * [1, 1000, 1, 1], iris[1]), (10,), rows=False, rate=1e-4),
    ),
    ("constant-inputs", lambda: with_column(0.0)),
    (
        "constant-inputs",
        lambda: with_column(3.0, make_pipeline(StandardScaler(), SklearnClassifier(**SMALL))),
    ),
    ("symmetric-start", lambda: network(iris, (16,), init="zeros")),
    ("too-few-units", lambda: network((pixels, digits), (2,), epochs=30)),
    (
        "too-few-units",
        lambda: fitted(
            wave(), MLPRegressor, hidden_layer_sizes=(1,), max_iter=200, learning_rate_init=0.01
        ),
    ),
    ("overfitting", lambda: by_heart(MLPClassifier, 1.0)),
    ("overfitting", lambda: by_heart(MLPRegressor, 1.0)),
    ("underfitting", lambda: fitted(circles, alpha=1000.0)),
    ("underfitting", lambda: fitted(circles, hidden_layer_sizes=())),
    ("contradicting-labels", lambda: contradicted(many, 20, lambda y: 1 - y)),
    ("contradicting-labels", lambda: contradicted(friedman, 30, lambda y: y + 15)),
    ("label-noise", lambda: mislabelled(moons, 0.2)),
    ("duplicate-rows", lambda: leaking(0.08)),
    (
        "duplicate-rows",
        lambda: fitted((np.vstack([many[0], many[0][:150]]), np.r_[many[1], many[1][:150]])),
    ),
]


@pytest.mark.parametrize(
    ("code", "make"), PLANTED, ids=[f"{k}-{code}" for k, (code, _) in enumerate(PLANTED)]
)
def test_a_planted_fault_is_found(code, make):
    found = make()
    assert code in found.codes, str(found)
    finding = next(one for one in found if one.code == code)
    assert finding.code in CODES
    assert finding.message.endswith(".")
    assert finding.advice.endswith(".")
    assert finding.evidence
    assert finding.change
    assert 0 < finding.weight <= 1
    weights = [one.weight for one in found]
    assert weights == sorted(weights, reverse=True)


def test_every_code_is_planted():
    assert {code for code, _ in PLANTED} == set(CODES)


def healthy(data, kind=MLPClassifier, **parameters):
    A, B, c, d = train_test_split(*data, random_state=1)
    model = kind(**{"random_state": 1, "max_iter": 150} | parameters).fit(A, c)
    return diagnose(model, A, c, X_val=B, y_val=d)


def healthy_network(data, hidden, activation, seed):
    X, y = scale(data[0]), data[1]
    Y = one_hot(y, y.max() + 1)
    net = Network(
        (X.shape[1], *hidden, Y.shape[1]),
        activation=activation,
        loss="cross_entropy",
        init="he_normal",
        seed=seed,
    )
    options = {"optimizer": "adam", "learning_rate": 0.003}
    history = train(net, X, Y, epochs=20, seed=seed, **options)
    return diagnose(net, X, Y, history=history, **options)


HEALTHY = [
    lambda: healthy(iris),
    lambda: healthy(wine, activation="tanh", hidden_layer_sizes=(30,)),
    lambda: healthy(cancer, activation="logistic", hidden_layer_sizes=(20, 10)),
    lambda: healthy(moons, activation="gelu", learning_rate_init=0.01),
    lambda: healthy(circles, hidden_layer_sizes=(32, 16), learning_rate_init=0.01),
    lambda: healthy(make_blobs(300, centers=4, random_state=3), random_state=7),
    lambda: healthy((pixels, digits), hidden_layer_sizes=(50,), max_iter=30),
    lambda: healthy((pixels, digits), SklearnClassifier, hidden_layer_sizes=(50,), max_iter=80),
    lambda: healthy(many, dropout=0.2, normalization="batch", hidden_layer_sizes=(30, 30)),
    lambda: healthy(friedman, MLPRegressor, hidden_layer_sizes=(30,)),
    lambda: healthy(cancer, early_stopping=True, hidden_layer_sizes=(30,)),
    lambda: healthy_network(iris, (16,), "tanh", 3),
    lambda: healthy_network((pixels, digits), (40, 20), "relu", 4),
]


@pytest.mark.parametrize("make", HEALTHY, ids=range(len(HEALTHY)))
def test_nothing_is_found_in_a_healthy_network(make):
    found = make()
    assert found == []
    assert str(found) == "nothing found"


def test_the_cost_of_a_constant_output_is_that_of_the_mean_target():
    rng = np.random.default_rng(0)
    Y = one_hot(rng.integers(0, 3, 60), 3)
    p = Y.mean(axis=0)
    for loss, expected in (
        ("squared_error", 0.5 * ((Y - p) ** 2).sum(axis=1).mean()),
        ("cross_entropy", -(p * np.log(p)).sum()),
        ("binary_cross_entropy", -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum()),
        ("focal", -((1 - p) ** 2 * p * np.log(p)).sum()),
    ):
        seen = SimpleNamespace(network=Network((2, 3), loss=loss, seed=0), Y=Y)
        assert trivial_cost(seen) == pytest.approx(expected, rel=1e-12), loss


@pytest.mark.parametrize("rows", [1, 3, 9])
def test_nothing_is_said_of_a_few_rows(rows):
    model = MLPClassifier(random_state=1, max_iter=100).fit(*iris)
    assert diagnose(model, iris[0][:rows], iris[1][:rows]) == []


def test_findings_say_draw_and_print(tmp_path):
    frame = pd.DataFrame(iris[0], columns=["<b>", "$x$", "c", "d"]).assign(c=1.0)
    model = MLPClassifier(**SMALL, init="zeros", activation="tanh").fit(frame, iris[1])
    found = diagnose(model, frame, iris[1])
    assert found.codes[0] == "symmetric-start"
    constant = next(one for one in found if one.code == "constant-inputs")
    assert constant.evidence["names"] == ["c"]
    text = str(found)
    for number, finding in enumerate(found, 1):
        assert f"{number}. {finding.code}: {finding.message}" in text
        ax = finding.plot()
        ax.figure.savefig(tmp_path / f"{finding.code}.png")
        assert ax.get_title()
        plt.close(ax.figure)
    assert "<b>" not in found._repr_html_().replace("<li><b>", "")


def test_the_change_that_is_named_helps():
    data = circles
    model = MLPClassifier(**SMALL | {"learning_rate_init": 1e-5, "max_iter": 60}).fit(*data)
    found = diagnose(model, *data)
    change = next(one for one in found if one.code == "learning-rate-low").change
    X, y = data
    before = model.score(X, y)
    exec(change, {"model": model, "X": X, "y": y})
    assert model.score(X, y) > before + 0.2


def test_the_model_is_left_as_it_was():
    model = MLPClassifier(**SMALL, learning_rate_init=1e-6).fit(*iris)
    before = [array.copy() for array in (*model.coefs_, *model.intercepts_)]
    diagnose(model, *iris)
    for array, kept in zip((*model.coefs_, *model.intercepts_), before, strict=True):
        np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        ((MLPClassifier(), *iris), {}, NotFittedError, "not fitted"),
        ((Network((4, 3)), iris[0], None), {}, ValueError, "y is None"),
        ((Network((4, 3)), *iris), {"X_val": iris[0]}, ValueError, "X_val goes with y_val"),
        (
            (Network((4, 3)), *iris),
            {"X_val": iris[0], "y_val": iris[1] + 1},
            ValueError,
            "X_val, y_val: label 3",
        ),
        ((Network((4, 3)), *iris), {"history": 3}, TypeError, "history must be"),
        ((Network((4, 3)), *iris), {"history": ["a"]}, TypeError, "history holds"),
        ((Network((4, 3)), *iris), {"learning_rate": -1}, ValueError, "learning_rate must be"),
        ((Network((4, 3)), *iris), {"batch_size": "all"}, ValueError, "batch_size must be a whole"),
        ((Network((4, 3)), *iris), {"optimizer": "sgdd"}, ValueError, "did you mean 'sgd'"),
        ((Network((5, 3)), *iris), {}, ValueError, r"X must have the shape \(rows, 5\)"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(arguments, options, kind, message):
    with pytest.raises(kind, match=message) as error:
        diagnose(*arguments, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["array", "frame", "texts"])
@pytest.mark.parametrize("make", [MLPClassifier, SklearnClassifier, TabularClassifier])
@pytest.mark.parametrize("scaled", [False, True])
def test_text_among_numbers_is_said_with_its_row_and_column(kind, make, scaled):
    few = {"max_epochs": 1, "preset": "fast", "engine": "numpy"}
    model = make(**few) if make is TabularClassifier else make(max_iter=2)
    model = make_pipeline(StandardScaler(), model) if scaled else model
    sound = iris[0] if kind != "frame" else pd.DataFrame(iris[0], columns=[*"abcd"])
    model.fit(sound, iris[1])
    X = iris[0].astype(object)
    X[7, 2] = "4,5"
    X, column = {
        "array": (X, "2"),
        "frame": (pd.DataFrame(X, columns=[*"abcd"]), "'c'"),
        "texts": (X.astype(str), "2"),
    }[kind]
    place = rf"in row 7, column {column}|column {column}, row 7: '4,5' is not a number"
    with pytest.raises(ValueError, match=place) as error:
        diagnose(model, X, iris[1])
    assert "\n" not in str(error.value)
