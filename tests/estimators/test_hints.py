"""Names and functions that are nearly right: the message says what to write."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import (
    Activation,
    MLPClassifier,
    MLPRegressor,
    Network,
    find_learning_rate,
    losses,
    tabular_pipeline,
    train,
)
from chainrule.base.validation import OTHER_NAMES, nearest
from chainrule.equations.activations import ACTIVATIONS
from chainrule.equations.initializers import INITIALIZERS
from chainrule.equations.layers import AFFINE
from chainrule.equations.losses import LOSSES
from chainrule.equations.optimizers import OPTIMIZERS

X = np.random.default_rng(0).normal(size=(20, 2))
Y = X[:, :1]

MEANT = [
    ("activation", "Relu", "relu"),
    ("activation", "ReLU", "relu"),
    ("activation", "leakyReLU", "leaky_relu"),
    ("activation", "sigmoid", "logistic"),
    ("activation", "Sigmoid", "logistic"),
    ("activation", "swish", "silu"),
    ("activation", "linear", "identity"),
    ("activation", "rellu", "relu"),
    ("loss", "mse", "squared_error"),
    ("loss", "MSE", "squared_error"),
    ("loss", "l1", "absolute_error"),
    ("loss", "bce", "binary_cross_entropy"),
    ("loss", "crossentropy", "cross_entropy"),
    ("loss", "nll", "cross_entropy"),
    ("init", "xavier", "glorot_uniform"),
]


@pytest.mark.parametrize(("what", "given", "meant"), MEANT)
def test_a_network_says_what_was_meant(what, given, meant):
    with pytest.raises(ValueError, match=f"unknown .* did you mean {meant!r}\\?"):
        Network((2, 2, 1), **{what: given})


@pytest.mark.parametrize(
    ("make", "given", "meant"),
    [
        (MLPClassifier, {"activation": "Relu"}, "relu"),
        (MLPRegressor, {"activation": "sigmoid"}, "logistic"),
        (MLPRegressor, {"loss": "mse"}, "squared_error"),
        (MLPRegressor, {"loss": "MAE"}, "absolute_error"),
        (MLPClassifier, {"loss": "bce"}, "log_loss"),
        (MLPClassifier, {"loss": "cross_entropy"}, "log_loss"),
        (MLPClassifier, {"solver": "AdamW"}, "adamw"),
        (MLPClassifier, {"solver": "L-BFGS"}, "lbfgs"),
        (MLPClassifier, {"init": "kaiming"}, "he_normal"),
    ],
)
def test_an_estimator_says_what_was_meant(make, given, meant):
    with pytest.raises(ValueError, match=f"Did you mean {meant!r}\\?"):
        make(**given).fit(X, (X[:, 0] > 0).astype(int))


def test_other_names_lead_somewhere():
    known = {*ACTIVATIONS, *LOSSES, *OPTIMIZERS, *INITIALIZERS, "log_loss", "lbfgs"}
    known |= {"classification", "regression"}
    for name, meant in OTHER_NAMES.items():
        assert name == name.casefold().replace("_", "")
        assert known.issuperset(meant)
    assert all(nearest(name, known) == name for name in known)
    assert nearest("nothing of the kind", known) is None


@pytest.mark.parametrize(
    ("given", "meant"), [("classifier", "classification"), ("Regressor", "regression")]
)
def test_a_pipeline_says_what_was_meant(given, meant):
    with pytest.raises(ValueError, match=f"Did you mean {meant!r}"):
        tabular_pipeline(given)


@pytest.mark.parametrize("function", [np.tanh, lambda z: z])
def test_a_bare_function_is_told_how_to_become_a_component(function):
    told = r"a bare function.*chainrule\.Activation\('mine', f, pullback\)"
    for given in (function, [function]):
        with pytest.raises(TypeError, match=told):
            Network((2, 2, 1), activation=given)
    with pytest.raises(ValueError, match=told):
        MLPClassifier(activation=function).fit(X, [0, 1] * 10)
    with pytest.raises(TypeError, match=r"a bare function.*chainrule\.Optimizer"):
        train(Network((2, 1)), X, Y, optimizer=function)


def test_a_function_of_one_argument_is_told_what_it_is_given():
    square = Activation("one", lambda z: z * z, lambda z, a, delta: None)
    with pytest.raises(ValueError, match=r"activation 'one': f .* write it as f\(z, a\)"):
        Network((2, 2, 1), activation=square)
    half = Activation("half", lambda z, a: np.copyto(a, z), lambda z: None)
    with pytest.raises(ValueError, match=r"pullback .* write it as pullback\(z, a, delta\)"):
        Network((2, 2, 1), activation=half)


def test_find_learning_rate_of_an_estimator():
    with pytest.raises(TypeError, match=r"MLPClassifier\(\.\.\.\)\.find_learning_rate\(X, y\)"):
        find_learning_rate(MLPClassifier(), X, Y)
    with pytest.raises(TypeError, match=r"must be a chainrule\.Network; got list"):
        find_learning_rate([2, 1], X, Y)


def test_components_print_their_names():
    assert repr(ACTIVATIONS["relu"]) == "Activation('relu')"
    assert repr(losses.huber(0.5)) == "Loss('huber', made by huber(0.5))"
    assert repr(AFFINE) == "Layer('affine')"
    assert repr(INITIALIZERS["he_normal"]) == "Initializer('he_normal')"
