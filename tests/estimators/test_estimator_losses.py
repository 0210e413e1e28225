"""Losses, scales of inputs and targets, missing values, frames, dtypes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification
from sklearn.metrics import d2_tweedie_score, mean_absolute_error, mean_squared_error
from sklearn.neural_network import MLPRegressor as TheirRegressor

from chainrule import Loss, MLPClassifier, MLPRegressor, losses

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
Xd, yd = load_diabetes(return_X_y=True)
REGRESSION = (
    "squared_error",
    "absolute_error",
    "huber",
    "log_cosh",
    "quantile",
    "poisson",
    "gamma",
    "tweedie",
    "gaussian",
)


def classify(**parameters):
    return MLPClassifier(
        **{"hidden_layer_sizes": 8, "max_iter": 10, "random_state": 0} | parameters
    )


def regress(**parameters):
    given = {"hidden_layer_sizes": 20, "max_iter": 300, "random_state": 0}
    return MLPRegressor(**given | {"learning_rate_init": 0.01} | parameters)


@pytest.fixture(scope="module")
def uneven():
    """Noise whose deviation grows with |x|; inputs, targets, deviations."""
    rng = np.random.default_rng(0)
    A = rng.uniform(-2, 2, (3000, 1))
    deviation = 0.2 + 0.6 * np.abs(A[:, 0])
    return A, 100 + 20 * (np.sin(2 * A[:, 0]) + deviation * rng.normal(size=3000)), 20 * deviation


# Regression losses


@pytest.mark.parametrize("loss", REGRESSION)
def test_every_loss_learns(loss):
    estimator = regress(loss=loss, max_iter=100).fit(Xd, yd)
    assert estimator.score(Xd, yd) > 0.4
    assert estimator.loss_curve_[-1] < estimator.loss_curve_[0]


@pytest.mark.parametrize("loss", REGRESSION)
@pytest.mark.parametrize("k", [1, 2])
def test_the_mean_of_sample_loss_is_the_loss(loss, k):
    target = yd if k == 1 else np.column_stack([yd, 400 - yd])
    quantile = [0.2, 0.5, 0.7] if loss == "quantile" else None
    estimator = regress(loss=loss, quantile=quantile, solver="lbfgs", alpha=0.0, max_iter=20)
    estimator.fit(Xd, target)
    rows = estimator.sample_loss(Xd, target)
    assert rows.shape == (len(Xd),)
    np.testing.assert_allclose(rows.mean(), estimator.loss_, rtol=1e-9)


@pytest.mark.parametrize("loss", ["log_loss", "focal"])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_the_mean_of_sample_loss_is_the_loss_of_a_classifier(loss, kind):
    A, b = (X, y if kind == "multiclass" else (y > 0) * 1)
    if kind == "multilabel":
        A, b = make_multilabel_classification(100, 6, n_classes=3, random_state=0)
    estimator = classify(loss=loss, solver="lbfgs", alpha=0.0).fit(A, b)
    np.testing.assert_allclose(estimator.sample_loss(A, b).mean(), estimator.loss_, rtol=1e-9)


def test_quantiles_cover_what_they_say_and_never_cross(uneven):
    A, b, deviation = uneven
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    estimator = regress(loss="quantile", quantile=levels, max_iter=150, tol=0).fit(A, b)
    found = estimator.predict(A)
    assert found.shape == (3000, 5)
    np.testing.assert_allclose((b[:, None] <= found).mean(axis=0), levels, atol=0.04)
    wide = np.random.default_rng(1).normal(0, 50, (5000, 1))
    assert (np.diff(estimator.predict(wide), axis=1) >= 0).all()
    exact = 40 + 20 * deviation  # widths go with the deviation
    width = found[:, 4] - found[:, 0]
    assert np.corrcoef(width, exact)[0, 1] > 0.9
    one = regress(loss="quantile", quantile=0.25, max_iter=150, tol=0).fit(A, b).predict(A)
    assert one.shape == (3000,)
    np.testing.assert_allclose((b <= one).mean(), 0.25, atol=0.04)


def test_quantiles_of_several_targets(uneven):
    A, b, _ = uneven
    B = np.column_stack([b, -3 * b])
    estimator = regress(loss="quantile", quantile=[0.1, 0.9], max_iter=100).fit(A, B)
    found = estimator.predict(A)
    assert found.shape == (3000, 2, 2)
    np.testing.assert_allclose((B[:, :, None] <= found).mean(axis=0), [[0.1, 0.9]] * 2, atol=0.05)


def test_the_predicted_deviation_is_calibrated(uneven):
    A, b, deviation = uneven
    mean, found = regress(loss="gaussian").fit(A, b).predict(A, return_std=True)
    assert mean.shape == found.shape == b.shape
    np.testing.assert_allclose(((b - mean) ** 2 / found**2).mean(), 1, atol=0.15)
    assert np.corrcoef(found, deviation)[0, 1] > 0.95
    near, far = np.abs(A[:, 0]) < 0.5, np.abs(A[:, 0]) > 1.5
    for part in (near, far):
        np.testing.assert_allclose(found[part].mean(), deviation[part].mean(), rtol=0.2)
    inside = np.abs(b - mean) < stats.norm.ppf(0.95) * found
    assert 0.86 < inside.mean() < 0.94


def test_robust_losses_resist_outliers():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(400, 2))
    truth = A @ [3.0, -2.0]
    b = truth + 0.1 * rng.normal(size=400)
    b[::10] += 60
    errors = {
        loss: mean_absolute_error(truth, regress(loss=loss, max_iter=150).fit(A, b).predict(A))
        for loss in ("squared_error", "huber", "absolute_error", "log_cosh", "quantile")
    }
    squared = errors.pop("squared_error")
    assert squared > 3
    assert max(errors[k] for k in ("absolute_error", "quantile")) < 0.3 * squared
    assert max(errors.values()) < 0.7 * squared


def test_numbers_of_a_loss():
    """A huge width makes Huber's loss the squared error; a tiny one the absolute error."""
    given = {"max_iter": 40, "alpha": 0.0}
    squared = regress(**given).fit(Xd, yd).predict(Xd)
    wide = regress(loss=losses.huber(1e6), **given).fit(Xd, yd).predict(Xd)
    np.testing.assert_allclose(wide, squared, rtol=1e-9)
    # Adam does not see the gradient's size, as long as epsilon is smaller still.
    given |= {"epsilon": 1e-20, "tol": 0, "max_iter": 5}
    narrow = regress(loss=losses.huber(1e-9), **given).fit(Xd, yd)
    absolute = regress(loss="absolute_error", **given).fit(Xd, yd)
    np.testing.assert_allclose(narrow.predict(Xd), absolute.predict(Xd), rtol=1e-5)


@pytest.mark.parametrize(
    ("loss", "power", "draw"),
    [
        ("poisson", 1, lambda rng, mu: rng.poisson(mu).astype(float)),
        ("gamma", 2, lambda rng, mu: rng.gamma(2.0, mu / 2.0)),
        (
            "tweedie",
            1.5,
            lambda rng, mu: np.array([rng.gamma(1, m, rng.poisson(1)).sum() for m in mu]),
        ),
    ],
)
def test_deviance_losses_on_their_own_kind_of_data(loss, power, draw):
    """Positive and unbiased, and a better deviance on new data than the squared error's."""
    rng = np.random.default_rng(0)
    A = rng.normal(size=(3000, 4))
    mu = np.exp(1.5 * A[:, 0] - A[:, 1] + 0.5)
    b = draw(rng, mu)
    train, test = slice(0, 1500), slice(1500, None)
    found = {}
    for name in (loss, "squared_error"):
        estimator = regress(loss=name, early_stopping=True, scoring="loss", alpha=0.1)
        found[name] = estimator.fit(A[train], b[train]).predict(A[test])
    mean = found[loss]
    assert (mean > 0).all()
    np.testing.assert_allclose(mean.mean(), b[test].mean(), rtol=0.15)
    floor = np.maximum(found["squared_error"], 1e-3)
    assert d2_tweedie_score(b[test], mean, power=power) > d2_tweedie_score(
        b[test], floor, power=power
    )


def test_focal_loss_with_gamma_zero_is_cross_entropy():
    plain = classify().fit(X, y)
    focal = classify(loss=losses.focal(0.0)).fit(X, y)
    np.testing.assert_allclose(focal.predict_proba(X), plain.predict_proba(X), rtol=1e-9)
    strong = classify(loss="focal", max_iter=300).fit(X, y)
    sure = classify(max_iter=300).fit(X, y)
    assert strong.predict_proba(X).max() < sure.predict_proba(X).max()


def _asymmetric(z, a, y, c):
    r = a - y
    c[:] = np.sum(np.where(r > 0, 4 * r * r, r * r), axis=1)


def _asymmetric_delta(z, a, y, delta):
    r = a - y
    delta[:] = np.where(r > 0, 8 * r, 2 * r)


@pytest.mark.parametrize("engine", ["numpy", pytest.param("numba", marks=pytest.mark.compiled)])
def test_a_loss_of_one_s_own(engine, uneven):
    """Overshooting costs four times as much: the prediction is an expectile below the mean."""
    A, b, _ = uneven
    own = Loss("asymmetric", _asymmetric, _asymmetric_delta)
    estimator = regress(loss=own, engine=engine, hidden_layer_sizes=10, max_iter=60)
    r = estimator.fit(A, (b - 100) / 20).predict(A) - (b - 100) / 20
    # At an expectile the weighted sides balance.
    np.testing.assert_allclose(4 * r[r > 0].sum() / -r[r < 0].sum(), 1, atol=0.15)


# Scales


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_target_far_from_zero_is_learned_by_default(dtype):
    rng = np.random.default_rng(0)
    A = rng.normal(size=(1000, 5)).astype(dtype)
    b = (1e6 + 1e5 * A @ rng.normal(size=5)).astype(dtype)
    estimator = MLPRegressor(random_state=0).fit(A, b)
    assert estimator.score(A, b) > 0.99
    assert TheirRegressor(random_state=0, max_iter=20).fit(A, b).score(A, b) < 0


def test_inputs_on_wild_scales_are_learned_by_default():
    A = X * [1e-4, 1, 1e5, 1] + [0, 1e3, 0, -50]
    a = classify(max_iter=100, learning_rate_init=0.02).fit(A, y)
    assert a.score(A, y) > 0.95
    b = classify(max_iter=100, learning_rate_init=0.02).fit(X, y)
    np.testing.assert_allclose(a.predict_proba(A), b.predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize("loss", ["squared_error", "gaussian", "poisson"])
@pytest.mark.parametrize("k", [1, 3])
def test_standardisation_is_folded_into_the_coefficients(loss, k):
    A = Xd * 100 + 7
    target = 300 + yd if k == 1 else np.column_stack([yd, 10 * yd + 1e4, yd**2])
    estimator = regress(loss=loss, max_iter=30).fit(A, target)
    W, b = estimator.coefs_, estimator.intercepts_
    z = np.maximum(A @ W[0] + b[0], 0) @ W[1] + b[1]
    mean = np.exp(z) if loss == "poisson" else z[:, :k]
    np.testing.assert_allclose(mean.reshape(target.shape), estimator.predict(A), rtol=1e-8)
    if loss == "gaussian":
        deviation = estimator.predict(A, return_std=True)[1]
        np.testing.assert_allclose(np.exp(z[:, k:] / 2).reshape(target.shape), deviation, rtol=1e-8)
    warm = estimator.set_params(warm_start=True, max_iter=1, learning_rate_init=1e-300)
    before = estimator.predict(A)
    np.testing.assert_allclose(warm.fit(A, target).predict(A), before, rtol=1e-9)


@pytest.mark.parametrize("loss", REGRESSION)
def test_units_of_the_target_do_not_matter(loss):
    """In euros or in cents: the same fit, as far as the loss has no scale of its own."""
    a = regress(loss=loss, max_iter=20).fit(Xd, yd).predict(Xd)
    b = regress(loss=loss, max_iter=20).fit(Xd, 100 * yd).predict(Xd)
    np.testing.assert_allclose(b, 100 * a, rtol=1e-6)


def test_standardize_can_be_switched_off():
    estimator = classify(standardize=False, learning_rate_init=1e-300, max_iter=1).fit(1e3 * X, y)
    same = classify(standardize=False, learning_rate_init=1e-300, max_iter=1).fit(X, y)
    np.testing.assert_array_equal(estimator.coefs_[0], same.coefs_[0])


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_extreme_units_do_no_harm(unit):
    given = {"max_iter": 100, "learning_rate_init": 0.02}
    assert classify(**given).fit(X * unit, y).score(X * unit, y) > 0.95


def test_constant_columns_do_no_harm():
    A = np.column_stack([X, np.full(len(X), 1e7 / 3), np.zeros(len(X))]).astype(np.float32)
    estimator = classify(max_iter=100, learning_rate_init=0.02).fit(A, y)
    assert estimator.score(A, y) > 0.95


# Missing values


def test_missing_values_are_means_and_marks():
    rng = np.random.default_rng(0)
    A = X.copy()
    A[rng.random(150) < 0.3, 1] = np.nan
    A[rng.random(150) < 0.2, 3] = np.nan
    estimator = classify(missing="indicator", max_iter=30).fit(A, y)
    assert estimator.coefs_[0].shape == (6, 8)
    assert estimator.n_features_in_ == 4
    absent = np.isnan(A)
    filled = np.where(absent, np.nanmean(A, axis=0), A)
    by_hand = classify(standardize=True, max_iter=30)
    by_hand.fit(np.hstack([filled, absent[:, [1, 3]]]), y)
    np.testing.assert_allclose(
        by_hand.predict_proba(np.hstack([filled, absent[:, [1, 3]]])),
        estimator.predict_proba(A),
        rtol=1e-7,
    )
    # A value missing where none was in training is the mean, without a mark.
    B = X[:1].copy()
    B[0, 0] = np.nan
    C = X[:1].copy()
    C[0, 0] = np.nanmean(A[:, 0])
    np.testing.assert_allclose(estimator.predict_proba(B), estimator.predict_proba(C))
    assert estimator.input_gradient(A).shape == A.shape


def test_that_a_value_is_missing_can_be_the_signal():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(400, 3))
    b = rng.integers(0, 2, 400)
    A[b == 1, 2] = np.nan
    given = {"missing": "indicator", "max_iter": 100, "learning_rate_init": 0.01}
    assert classify(**given).fit(A[:300], b[:300]).score(A[300:], b[300:]) > 0.98


# Frames and dtypes


@pytest.mark.parametrize("kind", ["pandas", "polars", "nullable", "arrow", "list"])
def test_frames_of_every_kind(kind):
    names = ["a", "b", "c", "d"]
    if kind == "pandas":
        frame = pd.DataFrame(X, columns=names)
    elif kind == "nullable":
        frame = pd.DataFrame(X, columns=names).convert_dtypes()
    elif kind == "polars":
        frame = pl.DataFrame(X, schema=names)
    elif kind == "arrow":
        frame = pytest.importorskip("pyarrow").table(dict(zip(names, X.T, strict=True)))
    else:
        frame = X.tolist()
    target = pd.Series(y) if kind == "pandas" else pl.Series(y) if kind == "polars" else y
    estimator = classify().fit(frame, target)
    plain = classify().fit(X, y)
    np.testing.assert_array_equal(estimator.predict_proba(frame), plain.predict_proba(X))
    if kind != "list":
        assert list(estimator.feature_names_in_) == names


@pytest.mark.parametrize("kind", ["pandas", "polars"])
@pytest.mark.parametrize("layer", [0, -1])
def test_hidden_activations_come_as_a_frame(kind, layer):
    estimator = classify(hidden_layer_sizes=(5, 3), transform_layer=layer).fit(X, y)
    n = 5 if layer == 0 else 3
    names = [f"mlpclassifier{j}" for j in range(n)]
    assert list(estimator.get_feature_names_out()) == names
    values = estimator.transform(X)
    frame = estimator.set_output(transform=kind).transform(X)
    assert isinstance(frame, pd.DataFrame if kind == "pandas" else pl.DataFrame)
    assert list(frame.columns) == names
    np.testing.assert_array_equal(frame.to_numpy(), values)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("extra", [{}, {"normalization": "layer", "missing": "indicator"}])
def test_float32_stays_float32(solver, extra):
    A = X.astype(np.float32)
    estimator = classify(solver=solver, **extra).fit(A, y)
    assert {p.dtype for p in (*estimator.coefs_, *estimator.intercepts_)} == {np.dtype("f4")}
    for method in ("predict_proba", "decision_function", "transform", "input_gradient"):
        assert getattr(estimator, method)(A).dtype == np.float32, method
    target = yd.astype(np.float32)
    number = regress(solver=solver, max_iter=5, **extra).fit(Xd.astype(np.float32), target)
    assert number.predict(Xd.astype(np.float32)).dtype == np.float32
    double = regress(solver=solver, max_iter=5, **extra).fit(Xd, yd)
    assert double.predict(Xd).dtype == np.float64
    np.testing.assert_allclose(number.predict(Xd.astype(np.float32)), double.predict(Xd), rtol=0.01)
    assert mean_squared_error(number.predict(Xd.astype(np.float32)), double.predict(Xd)) > 0


@pytest.mark.once
@pytest.mark.parametrize("loss", ["poisson", "gamma", "tweedie"])
def test_a_target_with_a_bound_is_divided_and_not_shifted(loss):
    """Behind identity as well: shifted, it would leave the numbers that the loss is defined for."""
    rng = np.random.default_rng(0)
    A = rng.normal(size=(60, 2))
    b = 1000 + 100 * rng.exponential(size=60)
    output = None if loss == "tweedie" else "identity"  # it is fused with exp
    model = regress(loss=loss, output_activation=output, max_iter=30).fit(A, b)
    shift, factor = model._y_scale
    assert shift.tolist() == [0.0]
    assert factor[0] == pytest.approx(b.mean())
    assert model.predict(A).min() > 0


@pytest.mark.once
def test_levels_may_come_with_the_loss(uneven):
    A, b, _ = uneven
    by_name = regress(loss="quantile", quantile=[0.1, 0.9]).fit(A, b)
    by_loss = regress(loss=losses.quantile((0.1, 0.9))).fit(A, b)
    np.testing.assert_array_equal(by_loss.predict(A), by_name.predict(A))
    with pytest.raises(ValueError, match="alone"):
        regress(loss=losses.quantile((0.1, 0.9)), quantile=0.5).fit(A, b)
