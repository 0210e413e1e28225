"""Bad input: refused with a message that names the parameter, column, class or row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.datasets import load_diabetes, load_iris

from chainrule import ACTIVATIONS, Activation, Loss, MLPClassifier, MLPRegressor, losses, schedules

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
Xd, yd = load_diabetes(return_X_y=True)
LABELS = np.column_stack([y > 0, y > 1]).astype(int)


def classify(**parameters):
    return MLPClassifier(
        **{"max_iter": 2, "hidden_layer_sizes": (4,), "random_state": 0} | parameters
    )


def regress(**parameters):
    return MLPRegressor(
        **{"max_iter": 2, "hidden_layer_sizes": (4,), "random_state": 0} | parameters
    )


# One parameter: scikit-learn's wording


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_layer_sizes", -1),
        ("hidden_layer_sizes", (3, 0)),
        ("activation", "ghost"),
        ("activation", ["relu", "ghost"]),
        ("solver", "ghost"),
        ("alpha", -1.0),
        ("batch_size", 0),
        ("learning_rate", "ghost"),
        ("learning_rate_init", 0.0),
        ("power_t", -1.0),
        ("max_iter", 0),
        ("shuffle", "yes"),
        ("tol", -1e-3),
        ("warm_start", "yes"),
        ("momentum", 1.5),
        ("nesterovs_momentum", "yes"),
        ("early_stopping", "yes"),
        ("validation_fraction", 1.0),
        ("beta_1", 1.0),
        ("beta_2", -0.1),
        ("epsilon", 0.0),
        ("n_iter_no_change", 0),
        ("max_fun", 0),
        ("output_activation", "ghost"),
        ("init", "ghost"),
        ("coefs_init", "ghost"),
        ("solver_options", [1]),
        ("solver_options", {"ghost": 1.0}),
        ("l1", -1.0),
        ("weight_decay", -1.0),
        ("max_norm", 0.0),
        ("clip_norm", 0.0),
        ("clip_value", 0.0),
        ("ema_decay", 1.0),
        ("ema_decay", -0.1),
        ("dropout", 1.0),
        ("dropout", [0.1, 1.5]),
        ("dropout", [0.1]),
        ("activation", ["relu"]),
        ("input_noise", -1.0),
        ("normalization", "ghost"),
        ("standardize", "ghost"),
        ("missing", "ghost"),
        ("time_limit", 0.0),
        ("callbacks", [3]),
        ("engine", "ghost"),
        ("keep_optimizer_state", "yes"),
        ("compat", "ghost"),
    ],
)
@pytest.mark.parametrize(
    ("make", "data"), [(classify, (X, y)), (regress, (Xd, yd))], ids=["classifier", "regressor"]
)
def test_the_parameter_is_named(make, data, name, value):
    estimator = make(**{"hidden_layer_sizes": (4, 3), name: value})
    with pytest.raises((ValueError, TypeError), match=name):
        estimator.fit(*data)
    assert not hasattr(estimator, "coefs_")


@pytest.mark.parametrize(
    ("estimator", "data", "match"),
    [
        (classify(loss="squared_error"), (X, y), "loss"),
        (classify(class_weight="even"), (X, y), "class_weight"),
        (classify(label_smoothing=1.0), (X, y), "label_smoothing"),
        (regress(loss="log_loss"), (Xd, yd), "loss"),
        (regress(loss="quantile", quantile=1.0), (Xd, yd), "quantile"),
        (regress(loss="quantile", quantile=[0.9, 0.1]), (Xd, yd), "quantile.*increase"),
        (regress(loss="quantile", quantile=[0.5, 1.5]), (Xd, yd), "quantile"),
        (MLPRegressor((100,)), (Xd, yd), "hidden_layer_sizes"),
    ],
)
def test_parameters_of_one_estimator_are_named(estimator, data, match):
    with pytest.raises(ValueError, match=match):
        estimator.fit(*data)


# Combinations without meaning


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"learning_rate": "cosine"}, "learning_rate"),
        ({"learning_rate": schedules.one_cycle()}, "learning_rate"),
        ({"learning_rate": "plateau"}, "learning_rate"),
        ({"learning_rate": "adaptive"}, "learning_rate"),
        ({"weight_decay": 0.1}, "weight_decay"),
        ({"l1": 0.1}, "l1"),
        ({"max_norm": 1.0}, "max_norm"),
        ({"clip_norm": 1.0}, "clip_norm"),
        ({"clip_value": 1.0}, "clip_value"),
        ({"ema_decay": 0.9}, "ema_decay"),
        ({"dropout": 0.5}, "dropout"),
        ({"dropout": [0.5]}, "dropout"),
        ({"input_noise": 0.1}, "input_noise"),
        ({"normalization": "batch"}, "normalization"),
        ({"solver_options": {"momentum": 0.5}}, "solver_options"),
        ({"dropout": 0.5, "compat": "sklearn"}, "dropout"),
    ],
)
def test_what_lbfgs_cannot_heed_is_refused(parameters, match):
    with pytest.raises(ValueError, match=rf"{match}.*lbfgs"):
        classify(solver="lbfgs", **parameters).fit(X, y)


@pytest.mark.parametrize("solver", ["adam", "adamw", "rmsprop", "lion"])
def test_adaptive_goes_with_sgd_alone(solver):
    with pytest.raises(ValueError, match=r"adaptive.*sgd"):
        classify(solver=solver, learning_rate="adaptive").fit(X, y)


@pytest.mark.parametrize(
    ("estimator", "data", "match"),
    [
        (classify(output_activation="softmax"), (X, LABELS), "softmax"),
        (classify(output_activation="softmax"), (X, y > 0), "softmax"),
        (classify(output_activation="relu"), (X, y), "output_activation"),
        (classify(output_activation="identity"), (X, y), "output_activation"),
        (classify(output_activation="tanh"), (X, y > 0), "output_activation"),
        (classify(scoring="accuracy"), (X, y), "scoring"),
        (classify(scoring="loss"), (X, y), "scoring"),
        (regress(scoring="r2"), (Xd, yd), "scoring"),
        (regress(quantile=0.5), (Xd, yd), "quantile"),
        (
            regress(loss="quantile", quantile=[0.1, 0.9], output_activation="exp"),
            (Xd, yd),
            "output_activation",
        ),
        (classify(hidden_layer_sizes=(), dropout=0.5), (X, y), "dropout"),
        (classify(hidden_layer_sizes=(), normalization="batch"), (X, y), "normalization"),
        (classify(hidden_layer_sizes=(), activation=["relu"]), (X, y), "activation"),
    ],
)
def test_combinations_without_meaning_are_refused(estimator, data, match):
    with pytest.raises(ValueError, match=match):
        estimator.fit(*data)


def test_partial_fit_has_no_early_stopping_nor_balance():
    with pytest.raises(ValueError, match="early_stopping"):
        classify(early_stopping=True).partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"class_weight.*dict"):
        classify(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])


@pytest.mark.parametrize("n_epochs", [0, -1, 1.5, "two"])
def test_n_epochs_is_a_whole_number(n_epochs):
    with pytest.raises((ValueError, TypeError), match="n_epochs"):
        classify().partial_fit(X, y, classes=[0, 1, 2], n_epochs=n_epochs)


# Data


def _frame(kind):
    named = dict(zip(["length", "width", "petal", "leaf"], X.T, strict=True))
    return pd.DataFrame(named) if kind == "pandas" else pl.DataFrame(named)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["fit", "predict", "partial_fit", "X_val"])
def test_columns_with_missing_or_infinite_values_are_named(bad, where):
    wrong = X.copy()
    wrong[7, 1] = wrong[9, 3] = bad
    calls = {
        "fit": lambda given: classify().fit(given, y),
        "predict": lambda given: classify().fit(X, y).predict(given),
        "partial_fit": lambda given: classify().partial_fit(given, y, classes=[0, 1, 2]),
        "X_val": lambda given: classify().fit(X, y, X_val=given, y_val=y),
    }
    for given in (wrong, sparse.csr_array(wrong)):
        with pytest.raises(ValueError, match=r"Columns at fault: 1, 3\."):
            calls[where](given)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
@pytest.mark.parametrize("bad", [np.nan, None, np.inf])
def test_columns_of_frames_are_named_by_their_names(kind, bad):
    frame = _frame(kind)
    if kind == "pandas":
        frame.loc[3, "petal"] = bad
    else:
        frame[3, "petal"] = bad
    with pytest.raises(ValueError, match=r"Columns at fault: petal\."):
        classify().fit(frame, y)


def test_indicator_takes_missing_values_but_no_infinite_ones():
    wrong = X.copy()
    wrong[7, 1], wrong[9, 3] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"Columns at fault: .*3\."):
        classify(missing="indicator").fit(wrong, y)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_feature_names_are_checked(kind):
    frame = _frame(kind)
    estimator = classify().fit(frame, y)
    assert list(estimator.feature_names_in_) == list(frame.columns)
    names = list(frame.columns)
    with pytest.raises(ValueError, match="same order"):
        estimator.predict(frame[names[::-1]])
    with pytest.raises(ValueError, match="petal"):
        estimator.predict(frame[[n for n in names if n != "petal"]])
    with pytest.raises(ValueError, match="same order"):
        estimator.partial_fit(frame[names[::-1]], y)
    with pytest.raises(ValueError, match="same order"):
        classify().fit(frame, y, X_val=frame[names[::-1]], y_val=y)
    with pytest.warns(UserWarning, match="valid feature names"):
        estimator.predict(X)


def test_shapes_are_checked():
    estimator = classify().fit(X, y)
    with pytest.raises(ValueError, match=r"3 features.*expecting 4"):
        estimator.predict(X[:, :3])
    with pytest.raises(ValueError, match=r"3 features.*expecting 4"):
        estimator.partial_fit(X[:, :3], y)
    with pytest.raises(ValueError, match=r"3 features.*expecting 4"):
        classify().fit(X, y, X_val=X[:, :3], y_val=y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        classify().fit(X, y[:-1])
    with pytest.raises(ValueError, match="2D array"):
        classify().fit(X[0], y)
    with pytest.raises(ValueError, match=r"2 targets.*1"):
        regress().partial_fit(Xd, yd).partial_fit(Xd, np.column_stack([yd, yd]))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_unknown_classes_are_named(method):
    estimator = classify(warm_start=method == "fit").fit(X, y)
    with pytest.raises(ValueError, match="3"):
        getattr(estimator, method)(X, y + 1)


def test_unknown_classes_of_the_validation_set_are_named():
    with pytest.raises(ValueError, match=r"y_val.*7"):
        classify().fit(X, y, X_val=X, y_val=np.where(y == 2, 7, y))


def test_classes_to_come_must_be_told():
    with pytest.raises(ValueError, match="classes must be passed"):
        classify().partial_fit(X, y)


def test_class_weights_name_the_class():
    with pytest.warns(UserWarning, match=r"class_weight names class 7, which is not in y"):
        classify(class_weight={0: 1.0, 7: 2.0}).fit(X, y)
    with pytest.raises(ValueError, match=r"class_weight.*1"):
        classify(class_weight={1: -1.0}).fit(X, y)


def test_weights_are_checked():
    weight = np.ones(len(X))
    weight[5] = -1
    with pytest.raises(ValueError, match=r"sample_weight.*row 5"):
        classify().fit(X, y, weight)
    with pytest.raises(ValueError, match=r"sample_weight_val.*row 5"):
        classify().fit(X, y, X_val=X, y_val=y, sample_weight_val=weight)
    with pytest.raises(ValueError, match="sample_weight"):
        classify().fit(X, y, weight[:-1])
    with pytest.raises(ValueError, match="sample_weight_val"):
        classify().fit(X, y, sample_weight_val=np.ones(len(X)))
    with pytest.raises(ValueError, match="weights"):
        classify(class_weight={0: 0.0, 1: 0.0, 2: 0.0}).fit(X, y)
    with pytest.raises(ValueError, match="validation"):
        classify(early_stopping=True).fit(X, y, (np.arange(len(X)) == 0).astype(float))


def test_validation_sets_come_whole():
    with pytest.raises(ValueError, match=r"X_val.*y_val"):
        classify().fit(X, y, X_val=X)
    with pytest.raises(ValueError, match=r"X_val.*y_val"):
        classify().fit(X, y, y_val=y)


@pytest.mark.parametrize("rows", [8, 20])
def test_too_few_rows_to_hold_out(rows):
    with pytest.raises(ValueError, match=r"early_stopping|validation"):
        classify(early_stopping=True).fit(X[::7][:rows], y[::7][:rows])


@pytest.mark.parametrize(
    ("loss", "value", "match"),
    [("poisson", -1.0, "poisson"), ("gamma", 0.0, "gamma"), ("tweedie", -0.5, "tweedie")],
)
def test_targets_out_of_a_loss_s_range_name_the_row(loss, value, match):
    target = yd.copy()
    target[11] = value
    with pytest.raises(ValueError, match=rf"{match}.*row 11"):
        regress(loss=loss).fit(Xd, target)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_targets_are_finite_numbers(bad):
    target = yd.copy()
    target[3] = bad
    with pytest.raises(ValueError, match=r"y (has|contains) .* row 3"):
        regress().fit(Xd, target)
    with pytest.raises(ValueError, match="y"):
        regress().fit(Xd, np.array(["cat", "dog"])[(yd > 100).astype(int)])
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        classify().fit(Xd, yd + 0.5)


@pytest.mark.parametrize("name", ["coefs_init", "intercepts_init"])
def test_given_starting_values_are_checked(name):
    right = {"coefs_init": [(4, 4), (4, 3)], "intercepts_init": [(4,), (3,)]}[name]
    arrays = [np.zeros(shape) for shape in right]
    with pytest.raises(ValueError, match=rf"{name} .*1.*2"):
        classify(**{name: arrays[:1]}).fit(X, y)
    with pytest.raises(ValueError, match=rf"{name}\[1\].*shape"):
        classify(**{name: [arrays[0], arrays[0]]}).fit(X, y)
    arrays[1][0] = np.nan
    with pytest.raises(ValueError, match=name):
        classify(**{name: arrays}).fit(X, y)


# Own components


def _square(z, a):
    np.multiply(z, z, a)


def _square_pullback(z, a, delta):
    delta *= z * z.dtype.type(2)


def _wrong_pullback(z, a, delta):
    delta *= z * z.dtype.type(3)


def _wrong_delta(z, a, y, delta):
    np.subtract(y, a, delta)


def test_wrong_derivatives_are_refused():
    from chainrule import DerivativeError

    with pytest.raises(DerivativeError, match=r"'square'.*pullback"):
        classify(activation=Activation("square", _square, _wrong_pullback)).fit(X, y)
    with pytest.raises(DerivativeError, match="pullback"):
        regress(output_activation=Activation("square", _square, _wrong_pullback)).fit(Xd, yd)
    with pytest.raises(DerivativeError, match=r"'mine'.*delta"):
        regress(loss=Loss("mine", losses.squared_error, _wrong_delta)).fit(Xd, yd)
    with pytest.raises(DerivativeError, match="pullback"):  # our f, a derivative of one's own
        classify(activation=Activation("tanh", ACTIVATIONS["tanh"].f, _wrong_pullback)).fit(X, y)


def test_layers_and_outputs_out_of_range():
    estimator = classify().fit(X, y)
    for layer in (1, -2):
        with pytest.raises(ValueError, match="transform_layer"):
            classify(transform_layer=layer).fit(X, y).transform(X)
    for output in (3, -1):
        with pytest.raises(ValueError, match="output"):
            estimator.input_gradient(X, output=output)
    with pytest.raises(ValueError, match="no hidden layer"):
        classify(hidden_layer_sizes=()).fit(X, y).transform(X)
    assert "transform" in dir(classify(hidden_layer_sizes=()).fit(X, y))
    with pytest.raises(ValueError, match="gaussian"):
        regress().fit(Xd, yd).predict(Xd, return_std=True)


def test_changed_parameters_do_not_fit_the_old_network():
    estimator = classify(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="warm_start=False"):
        estimator.set_params(hidden_layer_sizes=(5,)).fit(X, y)


@pytest.mark.parametrize("solver", ["sgd", "adagrad"])
def test_non_finite_parameters_raise(solver):
    target = np.where(np.arange(len(yd)) % 2, 1e150, -1e150)
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        regress(
            solver=solver, learning_rate_init=1e300, momentum=0.0, standardize=False, max_iter=20
        ).fit(Xd, target)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["a", "b", 1, 2], r"'a' in row 0 and 1 in row 2; make them all text"),
        ([1, 2, "c", 1], r"1 in row 0 and 'c' in row 2"),
        (["a", "b", None, "b"], r"no label in row 2"),
        ([1, None, 2, 1], r"no label in row 1"),
        ([["a", 1], ["b", 1], ["a", 2], ["a", 1]], r"'a' in row 0 and 1 in row 0"),
    ],
)
def test_labels_that_cannot_be_sorted_are_named(labels, said):
    with pytest.raises(ValueError, match=said):
        classify().fit(np.zeros((4, 2)), np.array(labels, object))


@pytest.mark.parametrize("use", ["fit", "predict"])
def test_text_among_numbers_is_said_with_its_row_and_column(use):
    frame = pd.DataFrame(X, columns=[*"abcd"]).astype(object)
    frame.loc[9, "b"] = "3.5 cm"
    model = classify() if use == "fit" else classify().fit(pd.DataFrame(X, columns=[*"abcd"]), y)
    with pytest.raises(ValueError, match=r"could not convert .*'3.5 cm', in row 9, column 'b'"):
        model.fit(frame, y) if use == "fit" else model.predict(frame)
