"""Folds are alike, the blend is what greedy selection chooses, and no fit has seen its fold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge

from chainrule.ensembles import blending
from chainrule.ensembles.blending import (
    RESAMPLES,
    STRETCHES,
    bagged_weights,
    best_stretch,
    best_temperature,
    deal_folds,
    fit_linear,
    flat,
    greedy_weights,
    row_losses,
    tempered,
)
from chainrule.ensembles.conformal import class_sets, intervals
from chainrule.ensembles.inputs import InputLayout, Inputs

pytestmark = pytest.mark.once


@given(st.lists(st.integers(0, 3), min_size=2, max_size=60), st.integers(2, 8), st.integers(0, 99))
def test_folds_are_alike(y, F, seed):
    y = np.array(y)
    folds = deal_folds(y, F, np.random.RandomState(seed))
    counts = np.bincount(folds, minlength=F)
    assert len(folds) == len(y)
    assert np.ptp(counts) <= 1
    # Rows of a class lie in consecutive rounds of dealing: two of them may be shared with others.
    for label in np.unique(y):
        of_class = np.bincount(folds[y == label], minlength=F)
        assert np.ptp(of_class) <= 2
    again = deal_folds(y, F, np.random.RandomState(seed))
    np.testing.assert_array_equal(folds, again)


def test_greedy_weights_by_hand():
    # Errors of +1 and -3: one draw of the first, then always what brings the mean nearest to 0.
    Y = np.zeros((4, 1))
    weights, loss = greedy_weights([Y + 1, Y - 3], Y, "squared", np.ones(4))
    assert weights.tolist() == [0.75, 0.25]
    assert loss == pytest.approx(0)
    half = np.array([[1.0, 0], [0, 1], [0.5, 0.5]])
    weights, loss = greedy_weights([half], np.eye(2)[[0, 1, 0]], "softmax", np.array([1, 1, 2.0]))
    assert weights.tolist() == [1]
    assert loss == pytest.approx(np.log(2) / 2)


@given(st.integers(0, 200))
def test_the_blend_is_no_worse_than_its_best_part(seed):
    rng = np.random.default_rng(seed)
    Y = np.eye(3)[rng.integers(0, 3, 30)]
    w = rng.uniform(0.1, 2, 30)
    parts = [rng.dirichlet(np.ones(3), 30) * 0.5 + s * Y * 0.5 for s in (0.2, 0.6, 0.9)]
    parts = [p / p.sum(axis=1, keepdims=True) for p in parts]
    weights, loss = greedy_weights(parts, Y, "softmax", w)
    assert weights.sum() == pytest.approx(1)
    mixed = sum(a * p for a, p in zip(weights, parts, strict=True))
    assert loss == pytest.approx(np.average(row_losses(mixed, Y, "softmax"), weights=w))
    # The loss is convex, so the best part, drawn again, leaves the mean no worse than itself.
    best = min(np.average(row_losses(p, Y, "softmax"), weights=w) for p in parts)
    assert loss <= best + 1e-9


def test_the_weights_of_few_rows_are_drawn_together_and_those_of_many_are_not():
    rng = np.random.default_rng(0)
    spread = {}
    for n in (20, 2000):
        Y = rng.normal(size=(n, 1))
        parts = [Y + rng.normal(size=(n, 1)), Y + 1.2 * rng.normal(size=(n, 1))]
        found = [
            bagged_weights(parts, Y, "squared", np.ones(n), np.random.RandomState(s))[0]
            for s in range(4)
        ]
        spread[n] = np.ptp(found)
        assert min(found) > 0
        assert max(found) < 1
    # 1 / 1 to 1 / 1.44 are the best weights of independent errors.
    assert found[0] == pytest.approx(1 / (1 + 1 / 1.44), abs=0.05)
    assert spread[2000] < spread[20]


@pytest.mark.parametrize("loss", ["squared", "softmax"])
def test_weights_of_resamples_are_those_of_rows_written_out_as_often_as_drawn(loss):
    rng = np.random.default_rng(0)
    n, K = 40, 3
    Y = np.eye(K)[rng.integers(0, K, n)]
    parts = [rng.dirichlet(np.ones(K), n) + 0.5 * Y for _ in range(3)]
    weights = rng.uniform(0.5, 2, n)
    found = bagged_weights(parts, Y, loss, weights, np.random.RandomState(7))
    again = np.random.RandomState(7)
    each = []
    for _ in range(RESAMPLES):
        rows = again.randint(n, size=n)
        each.append(greedy_weights([p[rows] for p in parts], Y[rows], loss, weights[rows])[0])
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-12)


@given(st.floats(0.5, 2), st.integers(0, 99))
def test_temperature(T, seed):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(3), 4)
    expected = p ** (1 / T) / (p ** (1 / T)).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(tempered(p, T), expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(tempered(np.stack([p, p]), T)[1], tempered(p, T))


def test_the_best_temperature_is_found():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(3, 0.5), 20_000)
    Y = np.eye(3)[(p.cumsum(axis=1) < rng.random((len(p), 1))).sum(axis=1).clip(max=2)]
    w = np.ones(len(p))
    assert best_temperature(p, Y, w) == pytest.approx(1, abs=0.05)
    assert best_temperature(tempered(p, 1.5), Y, w) == pytest.approx(1 / 1.5, abs=0.05)
    sure = best_temperature(np.eye(3)[[0, 1]] * 0.97 + 0.01, np.eye(3)[[0, 1]], np.ones(2))
    assert sure == pytest.approx(0.5, abs=0.01)


def linear_data(task):
    rng = np.random.default_rng(0)
    n = 90
    inputs = Inputs(
        rng.normal(size=(n, 3)).astype(np.float32),
        np.zeros((n, 0), np.int32),
        np.zeros((n, 0), np.float32),
        rng.integers(-1, 2, (n, 1)).astype(np.int32),
    )
    layout = InputLayout(3, (), (2,), np.array([1, 1.664], np.float32), np.full(2, 0.3, np.float32))
    X = flat(inputs, layout)
    z = X @ np.array([1, -2, 0, 1.5, 0]) + 0.3 * rng.normal(size=n)
    folds = np.arange(n) % 3
    if task == "squared":
        return inputs, layout, X, z[:, None], folds
    K = 2 if task == "binary" else 3
    codes = np.digitize(z, np.quantile(z, np.arange(1, K) / K))
    return inputs, layout, X, np.eye(K)[codes], folds


@pytest.mark.parametrize(
    ("task", "newton"), [("squared", 0), ("binary", 128), ("binary", 0), ("classes", 128)]
)
def test_linear_models_are_scikit_learns_and_have_not_seen_their_fold(task, newton, monkeypatch):
    monkeypatch.setattr(blending, "NEWTON_WEIGHTS", newton)
    inputs, layout, X, Y, folds = linear_data(task)
    w = np.random.default_rng(1).uniform(0.5, 1.5, len(Y))
    part = fit_linear(inputs, layout, Y, w, folds, "squared" if task == "squared" else "softmax")
    close = {"atol": 1e-9 if task == "squared" else 5e-3 if newton == 0 else 2e-4}
    for f in range(4):
        rows = folds != f
        if task == "squared":
            model = Ridge(alpha=3).fit(X[rows], Y[rows], w[rows])
            expected = np.clip(model.predict(X).reshape(-1, 1), Y.min(), Y.max())
        else:
            model = LogisticRegression(C=0.3, max_iter=1000, tol=1e-9)
            expected = model.fit(X[rows], Y[rows].argmax(axis=1), w[rows]).predict_proba(X)
        if f == 3:
            np.testing.assert_allclose(part.predict_mean(inputs), expected, **close)
        else:
            np.testing.assert_allclose(part.oof[folds == f], expected[folds == f], **close)
            found = part.predict_without(inputs, 6)
            np.testing.assert_allclose(found[f], expected, **close)
            np.testing.assert_array_equal(found[f], found[f + 3])


@pytest.mark.parametrize("r", [1.2, 0.9])
def test_a_stretched_linear_model_predicts_stretched_numbers(r):
    inputs, layout, _, Y, folds = linear_data("squared")
    Y = np.hstack([Y, -(Y**2)])
    part = fit_linear(inputs, layout, Y, np.ones(len(Y)), folds, "squared")
    factor, centre = np.array([r, 1.0]), np.array([0.3, -2])
    wider = part.stretched(factor, centre)
    for found, was in (
        (wider.predict_mean(inputs), part.predict_mean(inputs)),
        (wider.oof, part.oof),
        (wider.predict_without(inputs, 3)[1], part.predict_without(inputs, 3)[1]),
    ):
        inside = ((was > part.low) & (was < part.high)).all(axis=1)
        assert inside.mean() > 0.7
        expected = np.clip(centre + factor * (was - centre), part.low, part.high)
        np.testing.assert_allclose(found[inside], expected[inside], atol=1e-9)


@given(st.integers(0, 99), st.floats(0.85, 1.2))
def test_the_best_stretch_is_that_of_least_squares(seed, r):
    rng = np.random.default_rng(seed)
    n = 4000
    w, Y = rng.uniform(0.2, 2, n), rng.normal([0, 3], size=(n, 2))
    centre = np.average(Y, axis=0, weights=w)
    p = centre + (Y - centre + 0.1 * rng.normal(size=Y.shape)) / [r, 4]
    factor, found = best_stretch(p, Y, w)
    np.testing.assert_allclose(found, centre)
    assert factor == pytest.approx([r / 1.01, STRETCHES[1]], abs=0.02)
    # Where there is nothing to go by, nothing is stretched.
    assert best_stretch(0 * p + centre, Y, w)[0].tolist() == [1, 1]


def test_a_class_that_a_fold_keeps_to_itself_has_little_probability():
    inputs, layout, _, Y, folds = linear_data("classes")
    folds = np.where(Y[:, 2] == 1, 0, 1 + np.arange(len(Y)) % 2)
    part = fit_linear(inputs, layout, Y, np.ones(len(Y)), folds, "softmax")
    assert part.oof[folds == 0][:, 2].max() < 0.01
    assert np.isfinite(part.oof).all()
    alone = np.eye(3)[np.where(folds == 0, 0, 1)]
    part = fit_linear(inputs, layout, alone, np.ones(len(Y)), np.minimum(folds, 1), "softmax")
    assert (part.oof[folds == 0].argmax(axis=1) == 1).all()


def naive_interval(without, scores, folds, coverage):
    """The ends of CV+ by the definition, for one row."""
    n = len(scores)
    high = sorted(without[folds[i]] + scores[i] for i in range(n))
    low = sorted(without[folds[i]] - scores[i] for i in range(n))
    k = int(np.ceil(round(coverage * (n + 1), 9)))
    j = int(np.floor(round((1 - coverage) * (n + 1), 9)))
    return low[j - 1] if j >= 1 else -np.inf, high[k - 1] if k <= n else np.inf


@given(st.integers(2, 30), st.sampled_from([0.5, 0.8, 0.9, 0.95]), st.integers(0, 99))
def test_intervals_and_sets_are_those_of_the_definition(n, coverage, seed):
    rng = np.random.default_rng(seed)
    folds, without = rng.integers(0, 3, n), rng.normal(size=(3, 4))
    scores = rng.exponential(size=n).round(1)  # with ties
    low, high = intervals(without, scores, folds, coverage)
    for row in range(4):
        expected = naive_interval(without[:, row], scores, folds, coverage)
        np.testing.assert_allclose((low[row], high[row]), expected)
    chances = rng.dirichlet(np.ones(3), (3, 4)).round(1)
    scores = rng.uniform(0, 1, n).round(1)
    found = class_sets(chances, scores, folds, coverage)
    for row in range(4):
        for c in range(3):
            smaller = sum(scores[i] < 1 - chances[folds[i], row, c] for i in range(n))
            assert found[row, c] == (smaller < round(coverage * (n + 1), 9))


def test_intervals_of_bad_models_hold_the_target_as_often_as_they_say():
    rng = np.random.default_rng(0)
    within = []
    for _ in range(200):
        y, x = rng.standard_t(3, size=(2, 40)), rng.normal(size=20)
        folds = np.arange(40) % 4
        means = np.array([y[0][folds != f].mean() for f in range(4)])
        scores = np.abs(y[0] - means[folds])
        low, high = intervals(np.tile(means[:, None], (1, len(x))), scores, folds, 0.8)
        within.append(np.mean((low[0] <= y[1]) & (y[1] <= high[0])))
    assert 0.77 < np.mean(within) < 0.87
