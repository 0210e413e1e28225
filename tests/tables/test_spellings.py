"""How cells spell numbers, dates and missing values, and that a model remembers it."""

from __future__ import annotations

import datetime as dt
import gzip
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

pa = pytest.importorskip("pyarrow")
pytest.importorskip("skrub")

import pyarrow.parquet as pq  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from chainrule import tabular_pipeline  # noqa: E402
from chainrule.commands.cli import app  # noqa: E402
from chainrule.tables import TableError, read, spellings  # noqa: E402
from chainrule.tables.columns import are_readable, nearly_read  # noqa: E402
from chainrule.tables.reading import learn  # noqa: E402
from chainrule.tables.types import ColumnType, Reading, convert  # noqa: E402

FAST = ("--learning-rate-init", "0.05")
QUICK = ("-q", "-f", "--max-iter", "20", "--hidden-layer-sizes", "4", "--engine", "numpy")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.exit_code, done.stdout, done.stderr


def column(cells, name="a", **how):
    """What a CSV's column is read as."""
    pd.DataFrame({name: cells, "n": range(len(cells))}).to_csv("c.csv", index=False)
    return read("c.csv", **how)[name]


def euro(number):
    return f"{number:,.2f}".translate(str.maketrans(",.", ".,"))


AMOUNTS = {
    "thousands $": ["$1,234.50", "-$5", "($5.00)", "$-5", "$ 7", "$1,000"],
    "thousands €": ["€1,234.50", "-€5", "(€5.00)", "€-5", "€ 7", "€1,000"],
    "comma €": ["€ 1.234,50", "-5 €", "(5,00 €)", "€ -5", "7€", "1.000,00 €"],
    "thousands USD": ["1,234.50 USD", "-5 USD", "(5.00 USD)", "USD -5", "7 usd", "USD 1,000"],
    "thousands CHF": ["CHF 1'234.50", "CHF -5", "-5 CHF", "5- CHF", "7 CHF", "CHF 1'000"],
    "thousands ₹": ["₹12,34,567.50", "-₹5", "(₹5)", "₹-5", "₹ 7", "₹1,000"],
    "number £": ["£1234.50", "\u2212£5", "£(5)", "-5£", "7", "1000"],
}


@pytest.mark.parametrize("style", AMOUNTS)
def test_money(style):
    cells = AMOUNTS[style]
    if style == "thousands CHF":
        cells = [cell.replace("5- CHF", "-5 CHF") for cell in cells]
    first = 1234567.5 if style == "thousands ₹" else 1234.5
    assert column(cells).tolist() == [first, -5, -5, -5, 7, 1000]
    assert learn("c.csv").reading.formats["a"] == ColumnType("number", style)
    frame = pd.DataFrame({"a": cells, "y": list("pqpqpq")})
    from chainrule.tables.cells import as_numbers, spelling

    assert as_numbers(frame["a"], spelling(frame["a"])).tolist() == [first, -5, -5, -5, 7, 1000]


def test_marks_of_thousands_without_a_unit():
    cells = ["12,34,567.5", "1,000", "7"]
    assert column(cells).tolist() == [1234567.5, 1000, 7]
    for mark in " '\u2019\u00a0\u202f":
        assert column([f"1{mark}234{mark}567.5", "7"]).tolist() == [1234567.5, 7]
        assert column([f"1{mark}234{mark}567,5", "7,5"]).tolist() == [1234567.5, 7.5]
    for cells in (["12,34,56", "1,2"], ["0,12,345", "1.5"], ["12,34,5678", "1.5"]):
        assert column(cells).tolist() == cells


def test_percent():
    assert column(["12.5 %", "0", "-3%"]).tolist() == [12.5, 0, -3]
    assert column(["12,5 %", "7\u00a0%"]).tolist() == [12.5, 7]
    assert column(["12.5 %", "3"]).tolist() == ["12.5 %", "3"]  # 3 may be 300 %


def test_units_are_not_mixed():
    for cells in (["$5", "€5"], ["$5$", "$6"], ["A5", "A6"], ["ABC 5", "ABC 6"], ["$007", "$1"]):
        assert column(cells).tolist() == cells


MOMENT = dt.datetime(2024, 1, 28, 21, 5, 7)
CLOCKS = {
    "2024-01-28 21:05:07.123456789": 123456,
    "2024-01-28T21:05:07.1234567Z": 123456,
    "2024-01-28T22:05:07+01:00": 0,
    "2024-01-28T22:05:07.5+0100": 500000,
    "2024-01-28 21:05:07 UTC": 0,
    "01/28/2024 09:05:07 PM": 0,
    "1/28/2024 9:05:07 pm": 0,
    "28.01.2024 21:05:07": 0,
    "28-Jan-2024 21:05:07": 0,
    "28 January 2024 9:05:07 p.m.": 0,
    "Jan 28, 2024, 21:05:07": 0,
    "Sun, 28 Jan 2024 21:05:07 GMT": 0,
    "2024/1/28 21:05:07": 0,
    "20240128T210507": 0,
    "20240128T220507.25+0100": 250000,
}


@pytest.mark.parametrize("cell", CLOCKS)
def test_moments(cell):
    found = pd.to_datetime(column([cell, cell]), utc=True).dt.tz_localize(None)
    assert found[0] == MOMENT + dt.timedelta(microseconds=CLOCKS[cell])


def test_noon_and_midnight():
    found = column(["1/28/2024 12:05 AM", "1/28/2024 12:05 PM", "1/28/2024 1:05 PM"])
    assert found.dt.hour.tolist() == [0, 12, 13]
    cells = ["1/28/2024 13:05 PM", "1/28/2024 0:05 AM"]
    assert column(cells).tolist() == cells


def test_days_that_are_none_are_no_dates():
    for cell in ("31-Feb-2024", "2024-02-30", "Febber 3, 2024", "30/02/2024"):
        assert column([cell, cell]).tolist() == [cell, cell]


def test_formats_that_are_given():
    day = Reading({"a": ColumnType("date", "%d/%m/%y")})
    assert column(["05/02/24", "", "?"], reading=day).dt.month.tolist()[0] == 2
    with pytest.raises(TableError, match=r"line 2, column 'a': '2024-02-05' is not a date of the"):
        column(["2024-02-05"], reading=day)
    everywhere = Reading(date_format="%Y%m%d")
    assert column(["20240205", "20241231"], reading=everywhere).dt.month.tolist() == [2, 12]
    assert column(["1", "2"], reading=everywhere).tolist() == [1, 2]
    pq.write_table(pa.table({"a": ["05/02/24"], "b": [20240205]}), "c.parquet")
    both = Reading({"a": ColumnType("date", "%d/%m/%y"), "b": ColumnType("date", "%Y%m%d")})
    frame = read("c.parquet", reading=both)
    assert frame["a"].equals(frame["b"].rename("a"))


@pytest.mark.parametrize("mark", ["?", "-", ".", "n.a.", "#DIV/0!", "unknown"])
def test_marks_beside_numbers_and_dates(mark):
    assert column(["1", mark, "3"]).isna().tolist() == [False, True, False]
    assert column(["2024-01-31", mark]).isna().tolist() == [False, True]
    assert column(["x", mark, "y"]).tolist() == ["x", mark, "y"]
    column(["1", mark, "3"])
    assert learn("c.csv").marks == {"a": {mark: 1}}


def test_texts_of_missing_that_are_given():
    question = Reading(missing=("?",))
    assert column(["1", "?", ""], reading=question).isna().tolist() == [False, True, True]
    assert column(["x", "?", "NA"], reading=question).tolist()[2] == "NA"
    assert column(["x", "None", ""], reading=Reading(missing=()))[1] == "None"
    holes = Reading(missing=("-999",))
    assert column(["1", "-999", "3"], reading=holes).isna().tolist() == [False, True, False]
    pq.write_table(pa.table({"a": [1, -999], "b": [1.5, -999.0], "c": ["x", "-999"]}), "c.parquet")
    assert read("c.parquet", reading=holes).isna().sum().tolist() == [1, 1, 1]


def test_what_was_learnt_comes_back_from_json():
    given = Reading({"a": ColumnType("number", "comma €")}, ("?",))
    assert Reading.of(json.loads(json.dumps(given.as_dict()))) == given
    assert Reading.of({}) == Reading()


def write(name, cells):
    """A table of texts in the format that its name says."""
    frame = pd.DataFrame(cells)
    if name.endswith(".csv"):
        frame.to_csv(name, index=False, sep=";")
    elif name.endswith(".gz"):
        with gzip.open(name, "wt") as file:
            frame.to_csv(file, index=False, sep=";")
    elif name.endswith(".parquet"):
        pq.write_table(pa.table(cells), name)
    else:
        frame.to_json(name, orient="records", lines=True)


NAMES = ("a.csv", "a.csv.gz", "a.parquet", "a.jsonl")


@pytest.mark.parametrize("trained", ["t.csv", "t.parquet"])
def test_numbers_are_read_as_they_were_learnt(trained):
    rng = np.random.default_rng(0)
    price = rng.uniform(1, 3000, 120)
    band = ["high" if each > 1500 else "low" for each in price]
    write(trained, {"price": [euro(each) for each in price], "band": band})
    code, _, err = run("train", trained, "-t", "band", *QUICK)
    assert code == 0, err
    said = {}
    for cell in ("2.500", "2.500,00"):
        for name in NAMES:
            write(name, {"price": [cell], "band": ["high"]})
            code, out, err = run("predict", "model.chainrule", name)
            assert code == 0, err
            said[cell, name] = out.splitlines()[1].split(",")[-3:]
            assert run("evaluate", "model.chainrule", name, "-q")[0] == 0
    assert len(set(map(tuple, said.values()))) == 1
    write("a.csv", {"price": ["2.500", "2,500.75"], "n": ["1", "2"]})
    code, _, err = run("predict", "model.chainrule", "a.csv")
    assert (code, err) == (
        2,
        "chainrule: a.csv, line 3, column 'price': '2,500.75' is not a number with a decimal "
        "comma, such as 1.234,5; mend it, or leave the cell empty\n",
    )


@pytest.mark.parametrize("trained", ["t.csv", "t.parquet"])
def test_dates_are_read_as_they_were_learnt(trained):
    rng = np.random.default_rng(0)
    rows = [(int(rng.integers(1, 29)), int(rng.integers(1, 13))) for _ in range(120)]
    days = [f"{d:02}/{m:02}/2024" for d, m in rows]
    write(trained, {"day": days, "y": ["pq"[m > 6] for _, m in rows]})
    assert run("train", trained, "-t", "y", *QUICK)[0] == 0
    said = set()
    for name in NAMES:
        for day in ("05/02/2024", "2024-02-05", "5-Feb-2024"):
            write(name, {"day": [day]})
            code, out, err = run("predict", "model.chainrule", name)
            assert code == 0, err
            said.add(tuple(out.splitlines()[1].split(",")[-3:]))
    assert len(said) == 1
    write("a.csv", {"day": ["02/28/2024"]})
    code, _, err = run("predict", "model.chainrule", "a.csv")
    assert code == 2
    assert "column 'day': '02/28/2024' is not a date with the day first" in err


LABELS = [("TRUE", "FALSE"), ("true", "false"), ("True", "False"), ("1", "0"), ("01", "02")]


@pytest.mark.parametrize("labels", [*LABELS, ("1.0", "2.0"), ("1,0", "2,0")])
def test_labels_come_back_as_they_were_written(labels):
    x = np.random.default_rng(0).normal(size=80)
    frame = pd.DataFrame({"x": x.round(3), "y": [labels[int(each > 0)] for each in x]})
    frame.to_csv("l.csv", index=False)
    assert run("train", "l.csv", "-t", "y", *QUICK, "--max-iter", "60", *FAST)[0] == 0
    assert run("predict", "model.chainrule", "l.csv", "-o", "o.csv")[0] == 0
    found = pd.read_csv("o.csv", dtype=str)
    assert (found["y"] == found["prediction"]).mean() > 0.8
    evaluated = json.loads(run("evaluate", "model.chainrule", "l.csv", "--json")[1])
    assert evaluated["metrics"]["accuracy"]["value"] > 0.8
    assert evaluated["notices"] == []


def test_weights_name_classes_as_they_are_written():
    frame = pd.DataFrame({"x": range(40), "y": ["TRUE", "FALSE"] * 20})
    frame["x"] = frame["x"] % 7
    frame.to_csv("l.csv", index=False)
    for name in ("TRUE", "true"):
        code, _, err = run(
            "train", "l.csv", "-t", "y", *QUICK, "--class-weight", f'{{"{name}": 5}}'
        )
        assert code == 0, err


def test_a_class_called_none():
    rng = np.random.default_rng(0)
    y = np.array(["None", "Apnea", "Insomnia"])[rng.integers(0, 3, 90)]
    pd.DataFrame({"x": rng.normal(size=90), "y": y}).to_csv("t.csv", index=False)
    code, _, err = run("train", "t.csv", "-t", "y", *QUICK)
    assert code == 0
    assert f"cells of 'None' ({(y == 'None').sum()}) say that they are missing" in err
    code, _, err = run("train", "t.csv", "-t", "y", *QUICK, "--missing", "")
    assert code == 0
    assert "left out" not in err
    found = json.loads(run("evaluate", "model.chainrule", "t.csv", "--json")[1])
    assert set(found["classes"]) == {"None", "Apnea", "Insomnia"}


def test_what_was_taken_for_missing_is_said():
    rng = np.random.default_rng(0)
    hp = rng.integers(46, 230, 100)
    cells = ["?" if i % 20 == 3 else str(each) for i, each in enumerate(hp)]
    write("t.csv", {"hp": cells, "y": ["pq"[int(each > 120)] for each in hp]})
    for command in (("train", "t.csv", "-t", "y", *QUICK), ("doctor", "t.csv", "--target", "y")):
        code, out, err = run(*command)
        assert code in (0, 1), err  # the doctor finds a leak
        assert "cells were taken for missing: '?' (5)" in out + err
    cells[7] = "abc"
    write("t.csv", {"hp": cells, "y": ["pq"[int(each > 120)] for each in hp]})
    _, _, err = run("train", "t.csv", "-t", "y", *QUICK)
    assert "column 'hp': it is not read as numbers, since 6 of 100 cells are none" in err
    code, _, err = run("train", "t.csv", "-t", "y", *QUICK, "--missing", "?", "--missing", "abc")
    assert code == 0
    assert "not read" not in err


@pytest.mark.parametrize(
    ("write_moment", "expected"),
    [
        (lambda s: s.ctime(), "look like dates of an unknown format"),
        (lambda s: f"{s:%d. Dezember %Y}", "look like dates of an unknown format"),
        (lambda s: f"{s:[%d/%b/%Y:%H:%M:%S +0000]}", "look like dates of an unknown format"),
        (lambda s: f"{s:%G-W%V-%u}", "look like dates of an unknown format"),
        (lambda s: f"{s:%H:%M:%S}", "look like times of day or durations"),
        (lambda s: f"{s.day} days {s:%H:%M}", "look like times of day or durations"),
        (lambda s: f"{s.hour}_{s:%M%S}.5", "are not read as numbers"),
    ],
)
def test_what_is_not_read_is_said(write_moment, expected):
    rng = np.random.default_rng(0)
    moments = [MOMENT + dt.timedelta(seconds=int(s)) for s in rng.integers(0, 3e7, 60)]
    cells = [write_moment(moment) for moment in moments]
    (found,) = nearly_read(pd.Series(cells))
    assert expected in found[0]
    for cells in (["B-2024-0013", "B-2024-0014"], ["Room 12", "Room 13"], ["a1b2", "c3d4"]):
        assert not [each for each in nearly_read(pd.Series(cells * 20)) if "look like" in each[0]]


@pytest.mark.parametrize("style", spellings.DATES)
def test_a_style_that_no_cell_has_changes_no_type(style):
    """Nor does it where a column's dates are in UTC, and these cells have no zone."""
    cells, moment = pa.array(["2024-01-02 03:04", None]), dt.datetime(2024, 1, 2, 3, 4)
    for first, zone in (("iso", None), ("zoned", "UTC")):
        expected = pa.array([moment, None], pa.timestamp("us", zone))
        assert spellings.dates(cells, first, style, "iso").equals(expected)
    with pytest.raises(spellings.MisfitError):
        spellings.dates(pa.array(["a name"]), style)


def test_numbers_are_seen_behind_texts():
    """More than half of the first hundred cells are enough, wherever they stand."""
    numbers = [f"{i}.5" for i in range(60)]
    for others in (40, 49):
        cells = pd.Series([f"lot {i}" for i in range(others)] + numbers[: 100 - others])
        read = are_readable(cells)
        assert read.tolist() == [False] * others + [True] * (100 - others)
    cells = pd.Series([f"lot {i}" for i in range(51)] + numbers)
    assert not are_readable(cells).any()


def test_options_that_make_no_sense():
    write("t.csv", {"d": ["05/02/24"], "y": ["p"]})
    for format in ("d=%d/%m/%Q", "d=day", "%d"):
        code, _, err = run("train", "t.csv", "-t", "y", "--date-format", format)
        assert code == 2
        assert "is no format of dates" in err


def test_texts_of_a_data_frame_are_what_a_csv_holds():
    rng = np.random.default_rng(0)
    price = rng.uniform(1, 3000, 100).round(2)
    y = np.where(price > 1500, "high", "low")
    for cells in ([euro(each) for each in price], [f"${each:,.2f}" for each in price]):
        model = tabular_pipeline(max_iter=5, random_state=0)[:1].fit(pd.DataFrame({"p": cells}), y)
        assert model[0].kinds_ == {"p": "numeric"}
        cleaned = model[0].transform(pd.DataFrame({"p": cells}))
        assert cleaned["p"].tolist() == price.tolist()
    polars = pytest.importorskip("polars")
    assert model[0].transform(polars.DataFrame({"p": ["$2,500"]}))["p"].tolist() == [2500]


def test_keys_without_end_and_columns_without_end():
    with open("k.jsonl", "w") as file:
        file.writelines(f'{{"k{i}": {i}}}\n' for i in range(40_000))
    with pytest.raises(TableError, match="different keys, and each line lacks nearly all"):
        read("k.jsonl")
    with open("w.csv", "w") as file:
        file.write(",".join(f"c{i}" for i in range(100_000)) + "\n")
    with pytest.raises(TableError, match="has 100,000 columns, and at most 30,000 are read"):
        read("w.csv")


KINDS = [
    *(ColumnType("number", base + unit) for base in ("number", "comma", "thousands")
      for unit in ("", " $", " %")),
    *(ColumnType("date", style)
      for style in ("iso", "zoned", "day first", "named month", "%d.%m.%y")),
    ColumnType("integer", ""), ColumnType("boolean", ""),
]  # fmt: skip
TEXTS = [
    *(
        "1",
        "-2.5",
        "1e5",
        "1,234",
        "1.234,5",
        "12,34",
        "5 $",
        "(5)",
        "5-",
        "7 %",
        "0",
        "inf",
        "nan",
    ),
    *("1e999", "x", "", "NA", "?", "-", "\u22124", "007", "1_000", "1 2", "9" * 30, ".", "e"),
    *("2024-01-31", "2024-02-31", "31.01.2024", "31.01.24", "31.02.24", "01/02/2024", "3-Mai-2024"),
    *("2024-01-31T10:00Z", "20240131T1000", "true", "FALSE", "yes", "2024-01-31 25:00", None),
]


@pytest.mark.once
@given(st.sampled_from(KINDS), st.lists(st.sampled_from(TEXTS), max_size=12))
def test_whether_a_cell_fits_does_not_depend_on_the_others(kind, texts):
    alone = [convert(pa.array([text], pa.string()), kind) for text in texts]
    cells, wrong = convert(pa.array(texts, pa.string()), kind)
    assert wrong == [i for i, (_, found) in enumerate(alone) if found]
    # A cell that says "nan" is a number that is none, or missing: to a model the same.
    expected = [one.to_pandas().iloc[0] for one, _ in alone]
    for cell, one in zip(cells.to_pandas(), expected, strict=True):
        assert cell == one or (pd.isna(cell) and pd.isna(one))


@pytest.mark.once
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_many_cells_that_do_not_fit_are_read_a_few_times(kind, monkeypatch):
    calls = []
    parser = spellings.parser

    def counted(style):
        parse = parser(style)

        def count(cells):
            calls.append(len(cells))
            return parse(cells)

        return count

    monkeypatch.setattr(spellings, "parser", counted)
    texts = [f"x{i}" for i in range(500)] + ["true"] * 500
    _, wrong = convert(pa.array(texts), kind)
    assert len(wrong) == (500 if kind.type == "boolean" else 1000)
    assert len(calls) < 10
