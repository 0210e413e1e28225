"""What scikit-learn's users asked for, each by the property that defines it."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_diabetes, load_digits, load_iris, make_multilabel_classification

from chainrule import (
    ACTIVATIONS,
    INITIALIZERS,
    OPTIMIZERS,
    Activation,
    Initializer,
    MLPClassifier,
    MLPRegressor,
    Optimizer,
    schedules,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
Xd, yd = load_diabetes(return_X_y=True)
STILL = {"learning_rate_init": 1e-300, "max_iter": 1}  # nothing moves


def classify(**parameters):
    return MLPClassifier(
        **{"hidden_layer_sizes": 8, "max_iter": 10, "random_state": 0} | parameters
    )


def regress(**parameters):
    return MLPRegressor(**{"hidden_layer_sizes": 8, "max_iter": 10, "random_state": 0} | parameters)


def weights(estimator):
    return np.concatenate([W.ravel() for W in estimator.coefs_])


# Regularisation


def test_l2_and_l1_are_in_the_loss_by_their_formula():
    plain = {"alpha": 0.0, "standardize": False, "batch_size": 150, **STILL}
    bare = classify(**plain).fit(X, y)
    W = weights(bare)
    with_l2 = classify(**plain | {"alpha": 3.0}).fit(X, y).loss_
    with_l1 = classify(**plain | {"l1": 3.0}).fit(X, y).loss_
    np.testing.assert_allclose(with_l2 - bare.loss_, 3 / 2 * (W @ W) / 150)
    np.testing.assert_allclose(with_l1 - bare.loss_, 3 * np.abs(W).sum() / 150)


def test_l1_brings_weights_to_zero_where_l2_only_shrinks():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(300, 10))
    b = A[:, 0] - A[:, 1] + 0.1 * rng.normal(size=300)
    given = {"hidden_layer_sizes": (), "max_iter": 800, "learning_rate_init": 0.005, "tol": 0}
    given["batch_size"] = 300
    lasso = np.abs(regress(l1=60.0, alpha=0.0, **given).fit(A, b).coefs_[0].ravel())
    ridge = np.abs(regress(alpha=60.0, **given).fit(A, b).coefs_[0].ravel())
    assert lasso[:2].min() > 0.5
    assert lasso[2:].max() < 0.01 < ridge[2:].max()


def test_weight_decay_shrinks_without_a_gradient():
    """With a rate η that decay alone acts by, W shrinks by 1 - ηλ a step; biases do not."""
    given = {"standardize": False, "alpha": 0.0, "clip_norm": 1e-300, "momentum": 0.0}
    given |= {"solver": "sgd", "learning_rate_init": 0.1, "batch_size": 50, "max_iter": 2}
    a = classify(**given).fit(X, y)
    b = classify(weight_decay=0.5, **given).fit(X, y)
    np.testing.assert_allclose(weights(b), weights(a) * (1 - 0.1 * 0.5) ** 6)
    np.testing.assert_array_equal(b.intercepts_[0], a.intercepts_[0])


def test_adamw_is_adam_with_decay():
    a = classify(solver="adamw").fit(X, y)
    b = classify(solver="adam", weight_decay=0.01).fit(X, y)
    np.testing.assert_array_equal(weights(a), weights(b))
    c = classify(solver="adamw", weight_decay=0.0).fit(X, y)
    np.testing.assert_array_equal(weights(c), weights(classify(solver="adam").fit(X, y)))


def test_max_norm_bounds_the_weights_into_every_unit():
    given = {"standardize": False, "learning_rate_init": 0.05, "max_iter": 30}
    free = classify(**given).fit(X, y)
    bound = classify(max_norm=0.4, **given).fit(X, y)
    assert max(np.linalg.norm(W, axis=0).max() for W in free.coefs_) > 1
    norms = np.concatenate([np.linalg.norm(W, axis=0) for W in bound.coefs_])
    assert norms.max() <= 0.4 * (1 + 1e-12)
    assert (norms > 0.399).any()


@pytest.mark.parametrize("rule", ["clip_norm", "clip_value"])
def test_clipping_bounds_the_gradient(rule):
    free = classify().fit(X, y)
    bound = classify(**{rule: 1e-3}).fit(X, y)
    n = sum(p.size for p in (*free.coefs_, *free.intercepts_))
    most = 1e-3 * (1 if rule == "clip_norm" else np.sqrt(n))
    assert min(row["gradient_norm"] for row in free.history_) > most
    assert max(row["gradient_norm"] for row in bound.history_) <= most * (1 + 1e-9)


def test_clipping_by_value_bounds_the_step():
    given = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 1.0, "batch_size": 150}
    given |= {"standardize": False, "max_iter": 1}
    start = classify(**given | {"learning_rate_init": 1e-300}).fit(X, y)
    after = classify(clip_value=1e-3, **given).fit(X, y)
    step = np.abs(weights(after) - weights(start))
    assert step.max() <= 1e-3 * (1 + 1e-9)
    assert (step > 0.999e-3).any()


def test_ema_is_the_running_average_of_the_parameters():
    path = []
    given = {"standardize": False, "batch_size": 150, "max_iter": 6, "learning_rate_init": 0.05}
    start = classify(**given | {"learning_rate_init": 1e-300}).fit(X, y)
    free = classify(callbacks=[lambda est, _: path.append(weights(est))], **given).fit(X, y)
    average = weights(start)
    for theta in path:
        average = 0.7 * average + 0.3 * theta
    averaged = classify(ema_decay=0.7, **given).fit(X, y)
    np.testing.assert_allclose(weights(averaged), average, rtol=1e-9)
    assert averaged.loss_curve_ == free.loss_curve_  # what trains is not the average


def test_label_smoothing_lowers_confidence_to_the_target_s():
    A = np.repeat([[0.0], [1.0], [2.0]], 20, axis=0)
    b = np.repeat([0, 1, 2], 20)
    given = {"max_iter": 3000, "learning_rate_init": 0.02, "alpha": 0.0, "n_iter_no_change": 3000}
    smooth = classify(label_smoothing=0.3, hidden_layer_sizes=20, **given).fit(A, b)
    expected = np.full((3, 3), 0.1) + 0.7 * np.eye(3)
    np.testing.assert_allclose(smooth.predict_proba(A[::20]), expected, atol=0.01)
    two = classify(label_smoothing=0.2, hidden_layer_sizes=20, **given).fit(A[:40], b[:40])
    np.testing.assert_allclose(two.predict_proba(A[[0, 20]])[:, 1], [0.1, 0.9], atol=0.01)


# Noise


def test_dropout_acts_in_training_alone_and_by_layer():
    given = {"hidden_layer_sizes": (30, 30), "max_iter": 1, "learning_rate_init": 1e-300}
    losses = {
        str(rate): classify(dropout=rate, **given).fit(X, y).loss_
        for rate in (0.0, [0.5, 0.0], [0.0, 0.5], [0.5, 0.5], 0.5)
    }
    assert losses["0.5"] == losses["[0.5, 0.5]"]
    assert len(set(losses.values())) == 4
    a, b = classify(dropout=0.9, **given).fit(X, y), classify(**given).fit(X, y)
    np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))


def test_dropout_keeps_the_mean_and_adds_the_variance_it_should():
    """A linear network with squared error: the loss grows by ½ Σ_j (w_j h_j)² p / (1 - p)."""
    given = {"activation": "identity", "alpha": 0.0, "standardize": False, **STILL}
    A, b = np.repeat(Xd[:1] * 20, 4000, axis=0), np.repeat(yd[:1] / 100, 4000)
    clean = regress(hidden_layer_sizes=40, **given).fit(A, b)
    dropped = regress(hidden_layer_sizes=40, dropout=0.25, **given).fit(A, b)
    h = clean.transform(A[:1])[0] * clean.coefs_[1][:, 0]
    expected = (h @ h) / 2 * 0.25 / 0.75
    np.testing.assert_allclose(dropped.loss_ - clean.loss_, expected, rtol=0.2)


def test_input_noise_is_ridge_on_a_linear_network():
    """The loss grows by ½ σ² ‖w‖² in the mean. Bishop (1995)."""
    given = {"hidden_layer_sizes": (), "alpha": 0.0, "standardize": False, **STILL}
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(20000, 5)), rng.normal(size=20000)
    clean, noisy = regress(**given).fit(A, b), regress(input_noise=0.5, **given).fit(A, b)
    w = clean.coefs_[0].ravel()
    np.testing.assert_allclose(noisy.loss_ - clean.loss_, 0.5**2 * (w @ w) / 2, rtol=0.2)
    np.testing.assert_array_equal(noisy.predict(A[:5]), clean.predict(A[:5]))


# Normalisation layers


def test_layer_normalisation_makes_rows_alike_whatever_their_size():
    given = {"normalization": "layer", "activation": "identity", "standardize": False}
    estimator = regress(hidden_layer_sizes=20, **given, **STILL).fit(Xd, yd)
    h = estimator.transform(Xd)
    np.testing.assert_allclose(h.mean(axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(h.std(axis=1), 1, rtol=0.05)


def test_batch_normalisation_standardises_units_over_the_data():
    given = {"normalization": "batch", "activation": "identity", "batch_size": 442}
    estimator = regress(
        max_iter=300, learning_rate_init=1e-12, tol=0, n_iter_no_change=np.inf, **given
    )
    h = estimator.fit(Xd, yd).transform(Xd)
    np.testing.assert_allclose(h.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(h.std(axis=0), 1, rtol=0.05)
    # The prediction of a row does not depend on the rows beside it.
    np.testing.assert_allclose(estimator.predict(Xd[:1]), estimator.predict(Xd)[:1], rtol=1e-12)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_normalisation_saves_a_badly_scaled_start(normalization):
    A, b = load_digits(return_X_y=True)
    init = Initializer("huge", lambda rng, W: W.__setitem__(..., rng.normal(0, 3, W.shape)))
    given = {"hidden_layer_sizes": (32, 32), "init": init, "activation": "tanh", "max_iter": 20}
    given["learning_rate_init"] = 0.01
    plain = classify(**given).fit(A, b).score(A, b)
    assert classify(normalization=normalization, **given).fit(A, b).score(A, b) > plain + 0.05


# Activations, starting values


def test_activations_per_layer_by_hand():
    estimator = regress(hidden_layer_sizes=(6, 5), activation=["tanh", "silu"], max_iter=30)
    W, b = estimator.fit(Xd, yd).coefs_, estimator.intercepts_
    first = np.tanh(Xd @ W[0] + b[0])
    z = first @ W[1] + b[1]
    second = z / (1 + np.exp(-z))
    np.testing.assert_allclose((second @ W[2] + b[2]).ravel(), estimator.predict(Xd), rtol=1e-9)
    np.testing.assert_allclose(estimator.transform(Xd), second, rtol=1e-7, atol=1e-10)
    estimator.set_params(transform_layer=0)
    np.testing.assert_allclose(estimator.transform(Xd), first, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_learns(name):
    given = {"hidden_layer_sizes": 16, "max_iter": 150, "learning_rate_init": 0.02}
    assert classify(activation=name, **given).fit(X, y).score(X, y) > 0.9


def _sine(z, a):
    np.sin(z, a)


def _sine_pullback(z, a, delta):
    delta *= np.cos(z)


@pytest.mark.parametrize("engine", ["numpy", pytest.param("numba", marks=pytest.mark.compiled)])
def test_an_activation_of_one_s_own(engine):
    own = Activation("sine", _sine, _sine_pullback)
    estimator = classify(activation=own, max_iter=100, learning_rate_init=0.02, engine=engine)
    assert estimator.fit(X, y).score(X, y) > 0.9
    h = np.sin(X @ estimator.coefs_[0] + estimator.intercepts_[0])
    np.testing.assert_allclose(estimator.transform(X), h, rtol=1e-7, atol=1e-10)


def test_output_activation():
    """With softplus, predictions are positive and the network is what the formula says."""
    estimator = regress(output_activation="softplus", standardize=False, max_iter=50)
    estimator.fit(Xd, yd / 100)
    assert estimator.out_activation_ == "softplus"
    z = np.maximum(Xd @ estimator.coefs_[0] + estimator.intercepts_[0], 0)
    z = z @ estimator.coefs_[1] + estimator.intercepts_[1]
    np.testing.assert_allclose(estimator.predict(Xd), np.log1p(np.exp(z)).ravel(), rtol=1e-9)


@pytest.mark.parametrize("name", sorted(INITIALIZERS))
def test_initialisers_by_name(name):
    given = {"hidden_layer_sizes": 400, "standardize": False, **STILL}
    A = np.random.default_rng(0).normal(size=(50, 100))
    estimator = regress(init=name, **given).fit(A, A[:, 0])
    W = estimator.coefs_[0]
    if name == "zeros":
        assert not W.any()
    elif name == "orthogonal":
        np.testing.assert_allclose(W @ W.T, np.eye(100) * (W @ W.T)[0, 0], atol=1e-9)
    else:
        family, shape = name.split("_") if "_" in name else (name, "")
        variance = {"glorot": 2 / 500, "he": 2 / 100, "lecun": 1 / 100}.get(family)
        if variance is not None:
            np.testing.assert_allclose(W.var(), variance, rtol=0.05)
            assert (np.abs(W).max() < 1.01 * np.sqrt(3 * variance)) == (shape == "uniform")


def test_an_initialiser_of_one_s_own():
    own = Initializer("thirds", lambda rng, W: W.fill(1 / 3))
    estimator = classify(init=own, standardize=False, **STILL).fit(X, y)
    np.testing.assert_array_equal(weights(estimator), 1 / 3)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("make", [classify, regress])
def test_given_starting_values_are_the_network_to_start_from(make, standardize):
    A, b = (X, y) if make is classify else (Xd, yd)
    fitted = make(max_iter=30, standardize=standardize).fit(A, b)
    begin = {"coefs_init": fitted.coefs_, "intercepts_init": fitted.intercepts_}
    again = make(standardize=standardize, **begin, **STILL).fit(A, b)
    np.testing.assert_allclose(again.predict(A), fitted.predict(A), rtol=1e-9)
    np.testing.assert_allclose(weights(again), weights(fitted), rtol=1e-9, atol=1e-12)


# Optimisers and schedules


@pytest.mark.parametrize("name", [*OPTIMIZERS, "adamw", "lbfgs"])
def test_every_optimiser_learns(name):
    rate = {"adadelta": 1.0, "lion": 0.005}.get(name, 0.05)
    estimator = classify(solver=name, learning_rate_init=rate, max_iter=200).fit(X, y)
    assert estimator.score(X, y) > 0.95
    assert estimator.loss_curve_[-1] < estimator.loss_curve_[0] / 2


def _half_step(theta, nabla, state, h, t):
    theta -= theta.dtype.type(0.5 * h[0]) * nabla


def test_an_optimiser_of_one_s_own():
    own = Optimizer("half", _half_step, 0, {"learning_rate": 0.1})
    a = classify(solver=own, learning_rate_init=0.2).fit(X, y)
    b = classify(solver="sgd", momentum=0.0, learning_rate_init=0.1).fit(X, y)
    np.testing.assert_allclose(weights(a), weights(b), rtol=1e-10)


def test_solver_options_reach_the_optimiser():
    a = classify(solver="rmsprop", solver_options={"rho": 0.5}).fit(X, y)
    assert not np.array_equal(weights(a), weights(classify(solver="rmsprop").fit(X, y)))
    b = classify(solver="adam", solver_options={"beta_1": 0.5}).fit(X, y)
    np.testing.assert_array_equal(weights(b), weights(classify(beta_1=0.5).fit(X, y)))


@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw", "rmsprop", "lion", "adagrad"])
@pytest.mark.parametrize(
    "schedule",
    [
        "cosine",
        schedules.step_decay(2, 0.1),
        schedules.exponential(0.5),
        schedules.one_cycle(),
        schedules.warm_restarts(3),
        schedules.warm_up("constant", 4),
        schedules.from_function(lambda t: 1 / (1 + t)),
    ],
    ids=lambda s: s if isinstance(s, str) else s.name,
)
def test_schedules_set_the_rate_of_every_solver(solver, schedule):
    estimator = classify(solver=solver, learning_rate=schedule, batch_size=50).fit(X, y)
    used = [row["learning_rate"] for row in estimator.history_]
    which = schedules.as_schedule(schedule) if isinstance(schedule, str) else schedule
    last = np.arange(1, 11) * 3 - 1.0  # the last step of each epoch
    np.testing.assert_allclose(used, 0.001 * which.factor(last, 30, 3), rtol=1e-12)


def test_a_schedule_acts_on_every_step():
    """With a rate of 0 from the second step on, ten epochs are one."""
    given = {"solver": "sgd", "momentum": 0.0, "shuffle": False, "learning_rate_init": 0.1}
    given["engine"] = "numpy"  # for both: by itself a fit of one epoch and one of ten may differ
    first = schedules.Schedule("first", lambda t, T, per_epoch: (t == 0).astype(float))
    ten = classify(learning_rate=first, batch_size=50, **given).fit(X, y)
    one = classify(learning_rate=first, batch_size=50, **given | {"max_iter": 1}).fit(X, y)
    np.testing.assert_array_equal(weights(ten), weights(one))
    assert ten.history_[0]["learning_rate"] == 0


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_plateau_lowers_the_rate_when_nothing_improves(solver):
    plateau = schedules.Plateau(patience=2, factor=0.1, tolerance=1e9)
    estimator = classify(solver=solver, learning_rate=plateau, n_iter_no_change=1000).fit(X, y)
    used = np.array([row["learning_rate"] for row in estimator.history_])
    assert used[0] == 0.001
    assert used[-1] <= 1e-5 * (1 + 1e-9)
    assert (np.diff(used) <= 0).all()


# Inside the network


def test_input_gradient_against_differences():
    rng = np.random.default_rng(0)
    for estimator, A, b in (
        (classify(activation="tanh", normalization="layer"), X, y),
        (classify(activation="tanh", normalization="batch"), X, y),
        (regress(activation=["gelu"]), Xd * 10, yd),
        (regress(loss="quantile", quantile=[0.2, 0.8], activation="tanh"), Xd * 10, yd),
    ):
        estimator.fit(A, b)
        rows = A[rng.choice(len(A), 5)]

        def output(Z, unit, e=estimator):
            out = e.predict_proba(Z) if isinstance(e, MLPClassifier) else e.predict(Z)
            return out.reshape(len(Z), -1)[:, unit]

        units = output(rows, slice(None)).shape[1]
        for unit in range(units):
            found = estimator.input_gradient(rows, output=unit)
            for j in range(A.shape[1]):
                h = np.zeros(A.shape[1])
                h[j] = 1e-5
                slope = (output(rows + h, unit) - output(rows - h, unit)) / 2e-5
                np.testing.assert_allclose(found[:, j], slope, rtol=1e-5, atol=1e-7)


def test_decision_function_is_what_the_output_activation_gets():
    estimator = classify().fit(X, y)
    z = estimator.decision_function(X)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    np.testing.assert_allclose(e / e.sum(axis=1, keepdims=True), estimator.predict_proba(X))
    two = classify().fit(X, y > 0)
    z = two.decision_function(X)
    assert z.shape == (150,)
    np.testing.assert_allclose(1 / (1 + np.exp(-z)), two.predict_proba(X)[:, 1])
    np.testing.assert_allclose(two.predict_log_proba(X), np.log(two.predict_proba(X)))


@pytest.mark.bits
@pytest.mark.parametrize("kind", ["sparse", "multilabel"])
def test_other_kinds_of_data_give_the_same(kind):
    if kind == "multilabel":
        A, B = make_multilabel_classification(100, 6, n_classes=3, random_state=0)
        a = classify(standardize=False).fit(A, B)
        b = classify(standardize=False).fit(A, sparse.csr_array(B))
        np.testing.assert_array_equal(weights(a), weights(b))
        return
    A = np.where(Xd > 0, Xd, 0)
    a = regress(standardize=False, early_stopping=True).fit(A, yd)
    for make in (sparse.csr_array, sparse.csc_matrix):
        b = regress(standardize=False, early_stopping=True).fit(make(A), yd)
        np.testing.assert_allclose(b.predict(make(A)), a.predict(A), rtol=1e-10)
        np.testing.assert_allclose(b.input_gradient(make(A)), a.input_gradient(A), rtol=1e-8)


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fit_does_not_copy_its_data(estimator, dtype):
    X = np.random.default_rng(0).normal(size=(20_000, 50)).astype(dtype)
    y = (X[:, 0] > 0).astype(int)
    model = estimator(hidden_layer_sizes=(4,), max_iter=2, engine="numpy", random_state=0)
    model.fit(X[:500], y[:500])  # what is imported on the way
    tracemalloc.start()
    try:
        model.fit(X, y)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < X.nbytes / 2


@pytest.mark.bits
@pytest.mark.parametrize("engine", ["numpy", pytest.param("numba", marks=pytest.mark.compiled)])
def test_a_memory_map_is_read_where_it_lies(engine, tmp_path):
    """The same bits as from memory, and no more of it in memory than batches."""
    X = np.random.default_rng(0).normal(size=(20_000, 50)).astype("float32")
    y = (X[:, 0] > 0).astype(int)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = MLPClassifier((4,), max_iter=2, engine=engine, random_state=0)
    expected = model.fit(X, y).coefs_
    tracemalloc.start()
    try:
        model.fit(mapped, y)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    for ours, theirs in zip(model.coefs_, expected, strict=True):
        assert ours.tobytes() == theirs.tobytes()
    assert peak < X.nbytes / 2


def test_lion_takes_the_estimator_s_beta_1():
    options = {"solver": "lion", "max_iter": 5, "learning_rate_init": 1e-3, "batch_size": 10}
    models = [
        classify(**options, **more)
        for more in ({}, {"beta_1": 0.5}, {"solver_options": {"beta_1": 0.5}})
    ]
    default, by_parameter, by_option = (model.fit(X, y).coefs_[0] for model in models)
    assert (by_parameter == by_option).all()
    assert (by_parameter != default).any()
