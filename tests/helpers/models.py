"""Models of every make, small and quickly fitted, for what keeps and carries models."""

from __future__ import annotations

import warnings

import numpy as np

from chainrule import EarlyStopping, MLPClassifier, MLPRegressor, Plateau, losses, schedules

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4))
NUMBER = X @ [1.0, -2.0, 0.5, 0.0] + 3
THREE = np.array(["ä", "b", "c"])[np.digitize(NUMBER, [2.0, 4.0])]
TWO = THREE == "b"
LABELS = np.stack([X[:, 0] > 0, X[:, 1] > 0, X[:, 2] > 1], axis=1).astype(int)
COLUMNS = np.stack([THREE, np.where(X[:, 0] > 0, "yes", "no")], axis=1).astype(object)
PAIR = np.stack([NUMBER, X[:, 0] * 10], axis=1)
HOLES = np.where(RNG.random(X.shape) < 0.2, np.nan, X)


def classifier(y=THREE, data=X, **parameters):
    parameters = {"max_iter": 4, "random_state": 0, "hidden_layer_sizes": (5,)} | parameters
    return MLPClassifier(engine="numpy", **parameters), data, y


def regressor(y=NUMBER, data=X, **parameters):
    parameters = {"max_iter": 4, "random_state": 0, "hidden_layer_sizes": (5,)} | parameters
    return MLPRegressor(engine="numpy", **parameters), data, y


def fitted(made):
    model, data, y = made
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(data, y)


MODELS = {
    "three classes": classifier(),
    "two classes": classifier(TWO),
    "one class": classifier(np.full(60, 7)),
    "object classes": classifier(THREE.astype(object)),
    "several labels": classifier(LABELS),
    "several targets": classifier(COLUMNS),
    "no hidden layer": classifier(hidden_layer_sizes=()),
    "width as a number": classifier(hidden_layer_sizes=np.int64(3)),
    "widths in an array": classifier(hidden_layer_sizes=np.array([3, 2])),
    "lists of parameters": classifier(
        hidden_layer_sizes=[4, 3], activation=["tanh", "gelu"], dropout=[0.1, 0.0]
    ),
    "class weights": classifier(class_weight={"ä": 2.0, "b": 1.0, "c": np.float32(0.5)}),
    "class weights of numbers": classifier(np.arange(60) % 3, class_weight={0: 1, 1: 2.5, 2: 1}),
    "validation": classifier(early_stopping=True, scoring="balanced_accuracy"),
    "holes": classifier(data=HOLES, missing="indicator"),
    "holes elsewhere": classifier(missing="indicator"),
    "batch norm": classifier(normalization="batch", dropout=0.2, input_noise=0.1),
    "layer norm": regressor(normalization="layer", hidden_layer_sizes=(4, 3)),
    "float32": classifier(data=X.astype(np.float32)),
    "scaled by the user": classifier(standardize=False),
    "as in scikit-learn": classifier(compat="sklearn", learning_rate="invscaling", solver="sgd"),
    "l-bfgs": classifier(solver="lbfgs"),
    "focal": classifier(loss=losses.focal(1.5), label_smoothing=0.1),
    "an average": classifier(ema_decay=0.9, keep_optimizer_state=True),
    "given start": classifier(
        coefs_init=[np.ones((4, 5)) / 9, np.eye(5, 3)], intercepts_init=[np.zeros(5), np.zeros(3)]
    ),
    "no seed": classifier(random_state=None),
    "a generator": classifier(random_state=np.random.RandomState(3)),
    "callbacks": regressor(callbacks=[EarlyStopping("loss", patience=2)], n_iter_no_change=np.inf),
    "plateau": regressor(learning_rate=Plateau(0.5, 2), solver="nadam"),
    "schedule": regressor(learning_rate=schedules.warm_up("cosine", 1), init="he_normal"),
    "one number": regressor(),
    "two numbers": regressor(PAIR),
    "quantiles": regressor(loss="quantile", quantile=[0.1, 0.5, 0.9]),
    "quantiles of two": regressor(PAIR, loss="quantile", quantile=(0.2, 0.8)),
    "huber": regressor(loss=losses.huber(0.7), solver="sgd", momentum=0.5),
    "gaussian": regressor(loss="gaussian"),
    "counts": regressor(np.abs(NUMBER).round(), loss="poisson"),
    "tweedie": regressor(np.abs(NUMBER), loss=losses.tweedie(1.7)),
}
