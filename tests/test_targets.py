"""What may be a target: labels that are missing, of another kind, or numbers written as text."""

import datetime
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from chainrule import MLPClassifier, MLPRegressor

X = np.random.default_rng(0).normal(size=(20, 2))
LABELS = pd.Series(["p", "q"] * 10)


def classify(**given):
    return MLPClassifier((2,), random_state=0, **{"max_iter": 2} | given)


@pytest.fixture(autouse=True)
def _few_epochs():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Stochastic Optimizer")
        yield


def without_row_3(y):
    return y.where(y.index != 3)


MISSING = {
    "None": LABELS.astype(object).where(LABELS.index != 3, None),
    "NaN among texts": LABELS.astype(object).where(LABELS.index != 3, np.nan),
    "NaT": LABELS.astype(object).where(LABELS.index != 3, pd.NaT),
    "string": without_row_3(LABELS.astype("string")),
    "category": without_row_3(LABELS.astype("category")),
    "Int64": without_row_3(pd.Series([0, 1] * 10, dtype="Int64")),
    "boolean": without_row_3(pd.Series([False, True] * 10, dtype="boolean")),
    "float": without_row_3(pd.Series([0.0, 1.0] * 10)),
    "Decimal": pd.Series([Decimal(0), Decimal(1), Decimal(0), Decimal("NaN")] + [Decimal(1)] * 16),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_label_is_named_with_its_row(name):
    with pytest.raises(ValueError, match="y has no label in row 3 "):
        classify().fit(X, MISSING[name])
    with pytest.raises(ValueError, match="y has no label in row 3 "):
        classify().partial_fit(X, MISSING[name], classes=["p", "q"])
    good = LABELS if MISSING[name].dtype == object else MISSING[name].ffill()
    with pytest.raises(ValueError, match="y_val has no label in row 3 "):
        classify(early_stopping=True).fit(X, good, X_val=X, y_val=MISSING[name])


def test_missing_labels_are_counted_and_their_column_named():
    y = np.zeros((20, 2))
    y[4, 1] = y[7] = np.nan
    with pytest.raises(ValueError, match=r"no number in row 4, column 1 \(nan\), nor in 1 more"):
        MLPRegressor(hidden_layer_sizes=(2,)).fit(X, y)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 10**400, "inf", Decimal("1e999")])
def test_an_infinite_target_is_named_with_its_row(value):
    y = X[:, 0].astype(object)
    y[3] = value
    with pytest.raises(ValueError, match=r"Input y contains infinity .* in row 3"):
        MLPRegressor(hidden_layer_sizes=(2,)).fit(X, y)


STRANGE = {
    "datetime64": np.arange(20).astype("datetime64[D]"),
    "timedelta64": np.arange(20).astype("timedelta64[s]"),
    "complex": np.arange(20) * 1j,
    "bytes": np.array([b"1", b"2"] * 10),
    "dates": [datetime.date(2024, 1, 1 + i) for i in range(20)],
    "zoned": pd.Series(pd.date_range("2024", periods=20, tz="UTC")),
    "periods": pd.Series(pd.period_range("2024", periods=20, freq="D")),
    "complex objects": np.array([1j, 2.0] * 10, object),
    "objects": [object() for _ in range(20)],
}


@pytest.mark.parametrize("make", [classify, lambda: MLPRegressor(hidden_layer_sizes=(2,))])
@pytest.mark.parametrize("name", STRANGE)
def test_a_target_that_is_no_number_and_no_label_is_refused(make, name):
    with pytest.raises(
        ValueError, match=r"y holds .* (is|are) not (numbers|labels|a number|a label)"
    ):
        make().fit(X, STRANGE[name])


@pytest.mark.parametrize("dtype", ["U", object, "string", "category"])
def test_numbers_written_as_text_are_numbers_to_a_regressor_in_every_dtype(dtype):
    z = X[:, 0]
    text = (
        z.astype(str).astype(dtype)
        if dtype in ("U", object)
        else pd.Series(z.astype(str), dtype=dtype)
    )
    make = MLPRegressor(hidden_layer_sizes=(2,), max_iter=3, random_state=0)
    expected = make.fit(X, z).coefs_[0]
    np.testing.assert_array_equal(make.fit(X, text).coefs_[0], expected)
    wrong = z.astype(str).astype(object)
    wrong[5] = "tall"
    wrong = wrong.astype(dtype) if dtype in ("U", object) else pd.Series(wrong, dtype=dtype)
    with pytest.raises(ValueError, match=r"not a number: 'tall' in row 5.*MLPClassifier"):
        make.fit(X, wrong)
    wrong = z.astype(str).astype(object)
    wrong[6] = "nan"
    with pytest.raises(ValueError, match="no number in row 6"):
        make.fit(X, wrong)


WEIGHTED = {
    "texts of digits": ({"1": 1, "2": 5}, np.array(["1", "2"])),
    "NumPy's texts": ({np.str_("1"): 1, np.str_("2"): 5}, np.array(["1", "2"])),
    "texts as objects": ({"1": 1, "2": 5}, np.array(["1", "2"], object)),
    "truth": ({False: 1, True: 5}, np.array([False, True])),
    "truth by number": ({0: 1, 1: 5}, np.array([False, True])),
    "numbers by truth": ({False: 1, True: 5}, np.array([0, 1])),
    "floats": ({1: 1, 2: 5}, np.array([1.0, 2.0])),
    "NumPy's numbers": ({np.int8(1): 1, np.int8(2): 5}, np.array([1, 2])),
    "a class that y lacks": ({1: 1, 2: 5, 3: 9}, np.array([1, 2])),
    "a class without a weight": ({2: 5}, np.array([1, 2])),
}


@pytest.mark.parametrize("name", WEIGHTED)
def test_class_weights_are_sample_weights_whatever_the_labels_are(name):
    weights, labels = WEIGHTED[name]
    codes = (X[:, 0] > 0).astype(int)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "class_weight")
        by_class = classify(class_weight=weights).fit(X, labels[codes])
    by_sample = classify().fit(X, labels[codes], sample_weight=np.where(codes, 5.0, 1.0))
    for one, other in zip(by_class.coefs_, by_sample.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)


def test_balanced_weights_of_texts_of_digits():
    codes = (X[:, 0] > 1).astype(int)
    texts = classify(class_weight="balanced").fit(X, np.array(["1", "2"])[codes])
    whole = classify(class_weight="balanced").fit(X, codes)
    np.testing.assert_array_equal(texts.coefs_[0], whole.coefs_[0])


def test_class_weights_that_cannot_be_meant_are_told():
    y = np.array([1, 2] * 10)
    with pytest.raises(
        ValueError, match=r"class '1', which is text, unlike the classes of y: 1, 2"
    ):
        classify(class_weight={"1": 1, "2": 5}).fit(X, y)
    with pytest.raises(ValueError, match="class 1, which is no text"):
        classify(class_weight={1: 1, 2: 5}).fit(X, y.astype(str))
    with pytest.warns(
        UserWarning, match=r"names class 3, which is not in y, .* to 2, which counts 1"
    ):
        classify(class_weight={1: 1, 3: 5}).fit(X, y)
    for value in (-1, np.nan, np.inf, "5", None):
        with pytest.raises(ValueError, match=r"class 2 is .*; it must be a finite number >= 0"):
            classify(class_weight={1: 1, 2: value}).fit(X, y)
