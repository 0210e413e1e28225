"""Classes of one target: the short ways give what scikit-learn's functions give."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils._param_validation import validate_parameter_constraints

from chainrule import MLPClassifier, MLPRegressor
from chainrule.base.validation import all_finite
from chainrule.estimators.fitting import MLPBase
from chainrule.estimators.labels import accuracy, fitted_binarizer, labels_of

pytestmark = pytest.mark.once

VALUES = {
    "integers": st.integers(-3, 3),
    "small integers": st.integers(0, 200).map(np.uint8),
    "truth values": st.booleans(),
    "texts": st.sampled_from(["a", "b", "ab", "", "é"]),
}
targets = st.sampled_from(list(VALUES)).flatmap(
    lambda kind: st.lists(VALUES[kind], min_size=1, max_size=40).map(np.array)
)


@given(targets, st.integers(0, 1000))
def test_classes_and_labels_are_scikit_learns(y, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of many classes
        own, other = fitted_binarizer(y), LabelBinarizer().fit(y)
        outputs = np.random.default_rng(seed).random((7, max(1, len(other.classes_))))
        if other.y_type_ == "binary":
            outputs = outputs[:, 0]
        labels, expected = labels_of(own, outputs), other.inverse_transform(outputs)
    assert own.classes_.dtype == other.classes_.dtype
    assert own.classes_.tolist() == other.classes_.tolist()
    assert own.y_type_ == other.y_type_
    assert own.sparse_input_ == other.sparse_input_
    assert vars(own).keys() == vars(other).keys()
    assert labels.dtype == expected.dtype
    assert labels.tolist() == expected.tolist()


@given(targets, st.integers(0, 1000))
def test_the_accuracy_is_scikit_learns(y, seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(y)
    weight = rng.random(len(y)) + 0.1
    for w in (None, weight):
        assert accuracy(labels, y, w) == accuracy_score(y, labels, sample_weight=w)


@pytest.mark.parametrize(
    ("labels", "y"),
    [
        (np.array([0, 1]), np.array(["a", "b"])),
        (np.array([0, 1]), np.array([0.5, 1.5])),
        (np.array([0, 1]), np.array([0, 1, 1])),
    ],
)
def test_what_cannot_be_compared_is_refused(labels, y):
    with pytest.raises(ValueError, match=r"(?i)mix|inconsistent"):
        accuracy(labels, y, None)


def test_too_many_classes_are_warned_of_as_by_scikit_learn():
    X = np.random.default_rng(0).normal(size=(30, 2))
    for classes, warned in ((16, True), (14, False)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            MLPClassifier(max_iter=1, engine="numpy").fit(X, np.arange(30) % classes)
        assert any("greater than 50%" in str(each.message) for each in caught) is warned


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_defaults_need_no_check(kind):
    """A fit checks no parameter that has its default; so these have to be valid."""
    model = kind()
    assert kind._defaults() == model.get_params(deep=False)
    validate_parameter_constraints(kind._parameter_constraints, kind._defaults(), kind.__name__)


def test_names_of_columns_are_forgotten_with_a_plain_array():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 2)), columns=["a", "b"])
    model = MLPClassifier(max_iter=1, engine="numpy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert model.fit(X, np.arange(20) % 2).feature_names_in_.tolist() == ["a", "b"]
        model.fit(X.to_numpy()[:, :1], np.arange(20) % 2)
    assert not hasattr(model, "feature_names_in_")
    assert model.n_features_in_ == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_plain_array_with_a_hole_is_refused_by_name(bad):
    X = np.zeros((20, 3))
    X[4, 1] = bad
    with pytest.raises(ValueError, match="Columns at fault: 1"):
        MLPClassifier(engine="numpy").fit(X, np.arange(20) % 2)


def test_a_search_without_callbacks_stores_parameters_once_a_fit(monkeypatch):
    stored = []
    store = MLPBase._store
    monkeypatch.setattr(MLPBase, "_store", lambda est, run: stored.append(1) or store(est, run))
    X = np.random.default_rng(0).normal(size=(30, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MLPClassifier((3,), max_iter=5, engine="numpy")
        GridSearchCV(model, {"alpha": [0, 1]}, cv=3, refit=False).fit(X, np.arange(30) % 2)
    assert len(stored) == 6


@pytest.mark.parametrize(
    ("numbers", "finite"),
    [
        ([1.0, 2.0], True),
        ([1e308, 1e308], True),
        ([-1e308, -1e308, 1.0], True),
        ([np.inf, 1.0], False),
        ([np.inf, -np.inf], False),
        ([1.0, np.nan], False),
        ([], True),
    ],
)
def test_finite_numbers_whose_sum_is_not(numbers, finite):
    assert all_finite(np.array(numbers)) is finite
