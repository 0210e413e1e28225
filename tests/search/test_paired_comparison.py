"""Measures are scikit-learn's, and gains have the intervals of SciPy's paired bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics
from sklearn.linear_model import LinearRegression, LogisticRegression

from chainrule.search.comparing import compare
from chainrule.search.measures import MEASURES, measure_for, row_losses


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    return X, X @ [1.0, -2.0, 0.5] + rng.normal(size=80)


def test_measures_of_numbers_are_scikit_learns(rows):
    X, y = rows
    model = LinearRegression().fit(X[:20], y[:20])
    said = model.predict(X)
    for name, expected in (
        ("rmse", metrics.root_mean_squared_error(y, said)),
        ("mae", metrics.mean_absolute_error(y, said)),
    ):
        measure = measure_for("regression", name)
        assert measure.of(row_losses(measure, model, X, y)) == pytest.approx(expected)


@pytest.mark.parametrize("labels", [np.array(["b", "a", "c"]), np.array([3, 5, 4])])
def test_measures_of_classes_are_scikit_learns(rows, labels):
    X, y = rows
    c = labels[np.digitize(y, [-1, 1])]
    model = LogisticRegression().fit(X[:30], c[:30])
    for name, expected in (
        ("log_loss", metrics.log_loss(c, model.predict_proba(X), labels=model.classes_)),
        ("error", 1 - metrics.accuracy_score(c, model.predict(X))),
    ):
        measure = measure_for("classification", name)
        assert measure.of(row_losses(measure, model, X, c)) == pytest.approx(expected)


@pytest.mark.parametrize("strange", [-1, 1, 9])
def test_a_class_that_the_model_does_not_know_has_a_probability_of_0(rows, strange):
    X, y = rows
    c = np.where(y > 0, 2, 0)
    model = LogisticRegression().fit(X, c)
    c = np.where(np.arange(80) == 7, strange, c)
    losses = row_losses(MEASURES["log_loss"], model, X, c)
    assert losses[7] == pytest.approx(-np.log(1e-15))
    assert row_losses(MEASURES["error"], model, X, c)[7] == 1


def test_the_interval_is_that_of_a_paired_bootstrap():
    rng = np.random.default_rng(1)
    hard = rng.exponential(5, 200)  # rows that are hard for both
    first = hard + rng.exponential(1, 200)
    second = hard + rng.exponential(1.3, 200)
    for measure in (MEASURES["mae"], MEASURES["rmse"]):
        found = compare(measure, first, second)

        root = np.sqrt if measure.root else np.asarray

        def gain(a, b, axis, root=root):
            return root(b.mean(axis=axis)) - root(a.mean(axis=axis))

        expected = stats.bootstrap(
            (first, second),
            gain,
            paired=True,
            vectorized=True,
            method="percentile",
            n_resamples=4000,
            rng=2,
        ).confidence_interval
        width = expected.high - expected.low
        assert found.gain.value == pytest.approx(gain(first, second, 0))
        assert found.gain.low == pytest.approx(expected.low, abs=0.1 * width)
        assert found.gain.high == pytest.approx(expected.high, abs=0.1 * width)
        # Pairing pays: the difference is surer than either figure.
        assert width < 0.5 * (found.first.high - found.first.low)


@pytest.mark.parametrize("name", ["mae", "rmse"])
def test_of_groups_whole_groups_are_drawn(name):
    rng = np.random.default_rng(2)
    first, second = rng.exponential(1, 40), rng.exponential(1.3, 40)
    measure = MEASURES[name]
    alone = compare(measure, first, second)
    # Rows that are each of a group of its own, and groups of equal rows.
    for copies in (1, 5):
        groups = np.repeat([f"g{k}" for k in rng.permutation(40)], copies)
        again = np.repeat(first, copies), np.repeat(second, copies)
        weight = np.tile(rng.uniform(1, 2, copies), 40)
        shuffled = rng.permutation(40 * copies)
        found = compare(
            measure,
            *(each[shuffled] for each in again),
            weight=weight[shuffled],
            groups=groups[shuffled],
        )
        assert found.rows == 40 * copies
        for one, other in zip(found[:3], alone[:3], strict=True):
            assert one.value == pytest.approx(other.value)
            width = other.high - other.low  # other draws of the same groups
            assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.1 * width)
    singly = compare(measure, *again)
    assert singly.gain.high - singly.gain.low < 0.6 * (alone.gain.high - alone.gain.low)


def test_of_a_single_group_its_rows_are_drawn():
    losses = np.random.default_rng(0).exponential(size=(2, 50))
    alone = compare(MEASURES["mae"], *losses)
    assert compare(MEASURES["mae"], *losses, groups=np.zeros(50)) == alone


def test_larger_groups_count_for_more():
    losses, groups = np.array([1.0, 4, 4, 4]), np.array([0, 1, 1, 1])
    found = compare(MEASURES["mae"], losses, losses + 1, groups=groups)
    assert found.first == pytest.approx((13 / 4, 1, 4))  # either group alone, or both
    assert found.gain == pytest.approx((1, 1, 1))


def test_a_gain_of_the_same_on_each_row_is_sure_and_no_gain_is_none():
    losses = np.random.default_rng(0).exponential(size=50)
    sure = compare(MEASURES["mae"], losses, losses + 0.25)
    assert sure.gain == pytest.approx((0.25, 0.25, 0.25))
    assert sure.shown
    same = compare(MEASURES["rmse"], losses, losses)
    assert same.gain == (0, 0, 0)
    assert not same.shown
    back = compare(MEASURES["mae"], losses + 0.25, losses)
    assert back.gain == pytest.approx((-0.25, -0.25, -0.25))
    assert not back.shown


def test_the_metric_of_the_other_task_is_refused():
    with pytest.raises(ValueError, match="metric of a regression cannot be 'log_loss'"):
        measure_for("regression", "log_loss")
    with pytest.raises(ValueError, match=r"cannot be 'acc'"):
        measure_for("classification", "acc")
