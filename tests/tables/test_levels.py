"""Levels of categories: what is equal in value is the same level."""

import datetime as dt
import unicodedata
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.tables.cells import as_frame, as_numbers
from chainrule.tables.dtypes import simple
from chainrule.tables.levels import (
    LEVEL_TYPES,
    as_category,
    as_levels,
    level,
    level_type,
    nearly,
    unseen,
)

WHOLE = st.integers(-(10**30), 10**30)


@given(WHOLE)
def test_a_whole_number_is_its_digits_in_every_type(number):
    digits = str(number)
    padded = digits.replace("-", "-00") if number < 0 else f"+00{digits}"
    for value in (number, Decimal(number), Decimal(f"{number}.00"), digits, padded):
        assert level(value, "number") == digits
    assert level(number) == digits
    if abs(number) < 2**63:
        assert level(np.int64(number)) == digits
    if float(number) == number:
        assert level(float(number)) == level(f"{digits}.0", "number") == digits


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_digits_that_read_back_the_same(number):
    text = level(number)
    assert float(text) == number
    assert "e" not in text
    assert level(text, "number") == level(repr(number), "number") == text


@given(st.text(), st.sampled_from(["boolean", "number", "date", "text"]))
def test_a_level_is_its_own_level(text, type):
    once = level(text, type)
    assert once is None or level(once, type) == once


@given(st.datetimes())
def test_a_moment_is_the_same_in_every_zone_and_type(moment):
    text = level(moment)
    zoned = moment.replace(tzinfo=dt.UTC)
    assert level(zoned) == level(np.datetime64(moment, "us")) == text
    assert level(moment.isoformat(), "date") == level(moment.isoformat(sep=" "), "date") == text
    if 1 < moment.year < 9999:
        assert level(zoned.astimezone(dt.timezone(dt.timedelta(hours=5)))) == text


@pytest.mark.parametrize(
    ("type", "text", "values"),
    [
        ("boolean", "true", [True, np.True_, 1, 1.0, "true", "True", "TRUE", "1", "1.0", " true"]),
        ("boolean", "false", [False, 0, -0.0, "false", "0"]),
        ("boolean", "maybe", ["maybe"]),
        ("number", "0", [0, -0.0, "0", "-0", "000", "0.00", False]),
        ("number", "7", [7, 7.0, np.float32(7), "007", "+7", "7.", "70e-1", Decimal("7.0")]),
        ("number", "0.1", [0.1, np.float32(0.1), Decimal("0.10"), "0.1", ".1", "1e-1"]),
        ("number", "9007199254740993", [2**53 + 1, "9007199254740993", np.uint64(2**53 + 1)]),
        (
            "date",
            "2024-01-31",
            [dt.date(2024, 1, 31), "2024-01-31T00:00Z", pd.Timestamp("20240131")],
        ),
        ("date", "2024-02-30", ["2024-02-30"]),
        ("text", "1.0", ["1.0", "  1.0 ", "\u00a01.0"]),
        ("text", "Köln", ["Ko\u0308ln", "Köln\t"]),
        ("text", None, ["", "  ", None, np.nan, pd.NA, pd.NaT, Decimal("nan")]),
        ("number", None, ["NA", "", None, np.nan]),
        ("number", "1e9999", ["1e9999"]),
    ],
)
def test_values_that_are_one_level(type, text, values):
    assert [level(value, type) for value in values] == [text] * len(values)


@pytest.mark.parametrize(
    ("column", "type"),
    [
        (pd.Series([True, None], dtype=object), "boolean"),
        (pd.Series([True, None], dtype="boolean"), "boolean"),
        (pd.Series(["true", "False", None]), "boolean"),
        (pd.Series([1, None], dtype="Int64"), "number"),
        (pd.Series([Decimal(1), Decimal(2)]), "number"),
        (pd.Series([2**70, 1], dtype=object), "number"),
        (pd.Series([2, 3]).astype("category"), "number"),
        (pd.Series([True, False]).astype("category"), "boolean"),
        (pd.Series([dt.date(2024, 1, 31), None]), "date"),
        (pd.Series(pd.to_datetime(["2024-01-31"]).tz_localize("Asia/Tokyo")), "date"),
        (pd.Series(["1", "2"]), "text"),
        (pd.Series([None, None], dtype=object), "text"),
    ],
)
def test_the_type_of_levels(column, type):
    assert level_type(column) == type


@pytest.mark.parametrize(
    "dtype", ["int64", "Int64", "uint64", "int64[pyarrow]", object, "category"]
)
def test_long_integers_keep_their_digits(dtype):
    ids = [2**53 + 1, 2**53, 2**53 + 3]
    column = pd.Series(ids).astype(dtype)
    assert as_levels(column, "number", "missing").tolist() == list(map(str, ids))


def test_long_decimals_keep_their_digits():
    ids = [Decimal(10**25 + 1), Decimal(10**25), None]
    expected = [str(ids[0]), str(ids[1]), "missing"]
    for dtype in (object, pd.ArrowDtype(pa.decimal128(38, 0)), "category"):
        assert as_levels(pd.Series(ids, dtype=dtype), "number", "missing").tolist() == expected


@given(st.decimals(allow_nan=False, allow_infinity=False, places=7))
def test_a_decimal_is_the_float_that_it_equals_or_its_own_digits(number):
    text = level(number, "number")
    assert Decimal(text) == number
    if len(number.as_tuple().digits) <= 15:
        assert text == level(float(number), "number")


def test_decimals_with_more_digits_than_a_float_are_levels_of_their_own():
    fine = [Decimal("12345678901234567.12"), Decimal("12345678901234567.130"), Decimal("0.10")]
    known = ["12345678901234567.12", "12345678901234567.13", "0.1"]
    kind = pa.decimal128(38, 3)
    frame = as_frame(pa.table({"f": pa.array(fine, kind)}))
    for column in (pd.Series(fine), pd.Series(fine, dtype=pd.ArrowDtype(kind)), frame["f"]):
        assert level_type(column) == "number"
        assert as_levels(column, "number", "missing").tolist() == known
    texts = pd.Series(["12345678901234567.120", "+12345678901234567.13", "0.1000000000000000055"])
    assert as_levels(texts, "number", "missing", known).tolist() == known
    assert as_numbers(frame["f"])[2] == 0.1


def test_other_types_find_the_text_that_spells_them():
    known = ["2.0", "True", "2024-01-31 00:00:00"]
    column = pd.Series([2, True, dt.datetime(2024, 1, 31), 3, "2"], dtype=object)
    assert as_levels(column, "text", "", known).tolist() == [*known, "3", "2"]


def test_unseen_levels_are_counted():
    levels = as_category(pd.Series(["c", "a", None, "b", "c "], dtype=object), "text", "none")
    assert unseen(levels, ["a", "b"]) == {"c": 2, "none": 1}


@pytest.mark.parametrize("type", LEVEL_TYPES)
def test_a_category_has_the_levels_that_are_there(type):
    cells = [1, "1.0", None, "true", "", dt.datetime(2024, 1, 31), "2024-01-31", " é", "missing"]
    for column in (
        pd.Series(cells, dtype=object),
        pd.Series(cells[3:5]),
        pd.Series([], dtype=object),
    ):
        levels = as_levels(column, type, "missing")
        found = as_category(column, type, "missing")
        pd.testing.assert_extension_array_equal(found, pd.Categorical(levels))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("NEW YORK", "upper and lower case"),
        ("New  York", "blanks"),
        ("New\u00a0York", "blanks"),
        ("New\u200bYork", "blanks"),
        ("\uff2eew York", "Unicode form"),
        ("new\u00a0\uff39ork", "case, blanks or Unicode form"),
    ],
)
def test_levels_that_nearly_are_known(text, what):
    assert nearly(text, ["Boston", "New York"]) == ("New York", what)
    assert nearly("Paris", ["Boston", "New York"]) is None
    assert level(unicodedata.normalize("NFD", "é")) == "é"


@pytest.mark.parametrize(
    ("column", "numbers"),
    [
        (pd.Series(pd.to_timedelta([90, None], unit="s")), [90, np.nan]),
        (pd.Series([dt.timedelta(seconds=90), None], dtype=object), [90, np.nan]),
        (pd.Series([dt.time(1, 0, 1, 500000), None]), [3601.5, np.nan]),
        (pd.Series([Decimal("1.50"), None]), [1.5, np.nan]),
        (pd.Series([90, None], dtype=pd.ArrowDtype(pa.duration("s"))), [90, np.nan]),
        (pd.Series([dt.time(0, 1), None], dtype=pd.ArrowDtype(pa.time64("us"))), [60, np.nan]),
        (
            pd.Series([Decimal("1.5"), None], dtype=pd.ArrowDtype(pa.decimal128(9, 2))),
            [1.5, np.nan],
        ),
        (pd.Series([0.0, 2.0]).astype("Sparse[float]"), [0, 2]),
        (pd.Series(pd.to_timedelta([90, 90], unit="s")).astype("category"), [90, 90]),
    ],
)
def test_types_that_are_numbers(column, numbers):
    found = simple(column).to_numpy(float, na_value=np.nan)
    np.testing.assert_array_equal(found, numbers)


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        ([b"a", b"b"], "bytes"),
        ([[1], [2]], "lists"),
        ([(1,), None], "lists"),
        ([{"a": 1}, None], "structures"),
        ([np.ones(2), None], "lists"),
        ([1j, 2j], "complex numbers"),
        (["a", [1]], "lists"),
        (["a", b"b"], "bytes"),
        (pd.Series(pd.cut([1, 2, 3], 2)), "intervals"),
        (pd.Series(pd.interval_range(0, 2)), "intervals"),
        (pd.Series([[1]], dtype=pd.ArrowDtype(pa.list_(pa.int64()))), "list"),
        (pd.Series([b"1"], dtype=pd.ArrowDtype(pa.binary())), "binary"),
        ([object(), None], "values of type object"),
    ],
)
def test_types_without_a_kind_are_refused(cells, what):
    with pytest.raises(ValueError, match=rf"column 'took' holds .*{what}"):
        simple(pd.Series(cells, name="took"))
