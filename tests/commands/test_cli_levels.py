"""Categories, kinds and types on the command line: what train takes, predict and evaluate take."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import chainrule
from chainrule.commands import evaluation_report, predicting
from chainrule.commands.cli import app
from chainrule.tables import read

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("skrub", reason="tables are an extra")

QUICK = ("--engine", "numpy", "--max-iter", "60", "--hidden-layer-sizes", "8", "-q")
IDS = [2**53 + 1, 2**53, 2**53 + 3]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command line inside this process; returns (exit code, stderr). Draws nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluation_report, "png", lambda figure: b"")

    def call(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stderr

    return call


def made(n=240):
    """Rows whose class follows from a long id."""
    rng = np.random.default_rng(0)
    at = rng.integers(3, size=n)
    return pd.DataFrame(
        {
            "campaign": [IDS[i] for i in at],
            "x": rng.normal(size=n).round(3),
            "y": np.where(at == 0, "A", "B"),
        }
    )


def write(frame, format):
    """Write it as people do, and give its name."""
    path = f"t.{format.split()[0]}"
    whole = [None if pd.isna(i) else int(i) for i in frame["campaign"]]
    if format == "csv":
        frame.to_csv(path, index=False)
    elif format.startswith("parquet"):
        kind = {"int": pa.int64(), "uint": pa.uint64(), "decimal": pa.decimal128(38, 0)}[format[8:]]
        cells = [None if i is None else Decimal(i) for i in whole]
        ids = pa.array(cells, pa.decimal128(38, 0)).cast(kind)
        pq.write_table(pa.table({"campaign": ids, "x": frame["x"], "y": list(frame["y"])}), path)
    elif format == "jsonl":
        rows = frame.assign(campaign=pd.Series(whole, dtype=object)).to_dict("records")
        lines = [
            json.dumps({k: v for k, v in row.items() if v == v and v is not None}) for row in rows
        ]
        with open(path, "w") as file:
            file.write("\n".join(lines))
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE t (campaign INTEGER, x REAL, y TEXT)")
            rows = zip(whole, frame["x"], frame["y"], strict=True)
            connection.executemany("INSERT INTO t VALUES (?, ?, ?)", list(rows))
        connection.close()
    return path


FORMATS = ["csv", "parquet int", "parquet uint", "parquet decimal", "jsonl", "sqlite"]


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_long_ids_are_the_same_levels_when_predicted(run, monkeypatch, format, holes):
    monkeypatch.setattr(predicting, "MOST_ROWS", 64)
    frame = made()
    frame["campaign"] = frame["campaign"].astype("Int64")
    if holes:
        frame.loc[::17, "campaign"] = pd.NA
    path = write(frame, format)
    code, err = run("train", path, "-t", "y", "--kind", "campaign=categorical", *QUICK)
    assert code == 0, err
    levels = chainrule.load("model.chainrule")["clean"].levels_["campaign"]
    assert levels == sorted([*map(str, IDS), *(["missing"] if holes else [])])
    assert run("predict", "model.chainrule", path, "-o", "o.csv", "-q") == (0, "")
    there = frame["campaign"].notna().to_numpy()
    assert (read("o.csv")["prediction"][there] == frame["y"][there]).all()
    code, err = run("evaluate", "model.chainrule", path, "-q")
    assert (code, err) == (0, "")


def test_ids_of_nineteen_digits_and_more(run):
    frame = made()
    base = 10**25
    texts = [str(base + int(i) - 2**53) for i in frame["campaign"]]
    frame.assign(campaign=texts).to_csv("t.csv", index=False)
    ids = pa.array([Decimal(t) for t in texts], pa.decimal128(38, 0))
    pq.write_table(pa.table({"campaign": ids, "x": frame["x"], "y": list(frame["y"])}), "t.parquet")
    for path in ("t.csv", "t.parquet"):
        assert run("train", path, "-t", "y", "--kind", "campaign=categorical", "-f", *QUICK)[0] == 0
        for other in ("t.csv", "t.parquet"):
            assert run("predict", "model.chainrule", other, "-o", "o.csv", "-f", "-q") == (0, "")
            assert (read("o.csv")["prediction"] == frame["y"]).all()


@pytest.mark.parametrize("rows", [10_000])
def test_a_first_pass_over_many_blocks_sees_long_decimals_at_the_end(run, rows):
    ids = pa.array([Decimal(i % 3) for i in range(rows)] + [Decimal(10**25)], pa.decimal128(38, 0))
    pq.write_table(pa.table({"i": ids}), "t.parquet")
    assert read("t.parquet")["i"].iloc[-1] == str(10**25)


COLUMNS = {
    "integer": [1, 2, 3, 4],
    "number": [1.5, 2.5, 3.5, 4.5],
    "boolean": [True, False, True, False],
    "date": list(pd.to_datetime(["2024-01-31", "2024-02-28", "2024-03-01", "2024-12-01"])),
    "moment": list(pd.to_datetime(["2024-01-31 10:00:00", "2024-02-28 11:30:00"] * 2)),
    "text": ["red", "green", "blue", "grey"],
    "number as text": ["007", "012", "1", "2"],
    "date as text": ["03/04/2024", "04/05/2024", "01/02/2024", "05/06/2024"],
}


@pytest.mark.parametrize("format", ["csv", "parquet"])
@pytest.mark.parametrize("kind", ["numeric", "categorical", "date", "text"])
@pytest.mark.parametrize("type", COLUMNS)
def test_a_kind_that_train_takes_predict_takes(run, type, kind, format):
    rng = np.random.default_rng(0)
    at = rng.integers(4, size=160)
    cells = pd.Series([COLUMNS[type][i] for i in at], dtype=object)
    if (list(COLUMNS).index(type) + (format == "csv")) % 2:  # each type with holes and without
        cells[::9] = None
    frame = pd.DataFrame({"c": cells.infer_objects(), "x": rng.normal(size=160)})
    frame["y"] = np.where((at % 2 == 0) ^ (frame["x"] > 1), "p", "q")
    path = f"t.{format}"
    if format == "csv":
        frame.to_csv(path, index=False)
    else:
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
    code, err = run("train", path, "-t", "y", "--kind", f"c={kind}", *QUICK, "--max-iter", "3")
    if code:
        assert code == 2, err
        assert err.startswith("chainrule: column 'c'"), err
        assert (kind, type) not in [("categorical", type), ("text", type)]
        return
    code, err = run("predict", "model.chainrule", path, "-o", "o.csv")
    assert (code, err) == (0, "Note: 160 rows predicted; they are in o.csv\n")
    model = chainrule.load("model.chainrule")
    expected = model.predict_proba(read(path).drop(columns="y"))[:, 0]
    np.testing.assert_allclose(read("o.csv")["probability_p"], expected, atol=1e-12)
    assert run("evaluate", "model.chainrule", path, "-q") == (0, "")


def test_one_format_predicts_what_another_trained(run):
    rng = np.random.default_rng(0)
    n = 160
    frame = pd.DataFrame(
        {
            "flag": rng.random(n) < 0.5,
            "day": pd.to_datetime(np.where(rng.random(n) < 0.5, "2024-01-31", "2024-02-28")),
            "code": rng.integers(3, size=n),
            "x": rng.normal(size=n).round(3),
        }
    )
    frame["y"] = np.where(frame["flag"] ^ (frame["x"] > 0.5), "p", "q")
    frame.to_parquet("t.parquet")
    frame.to_csv("t.csv", index=False)
    frame.assign(day=frame["day"].dt.strftime("%Y-%m-%d")).to_json(
        "t.jsonl", orient="records", lines=True
    )
    ones = frame.assign(flag=frame["flag"].astype(int), code=frame["code"].astype(float))
    ones.to_csv("ones.csv", index=False)
    ones.to_parquet("ones.parquet")
    kinds = ("--kind", "code=categorical", "--kind", "day=categorical")
    for path in ("t.parquet", "t.csv", "t.jsonl"):
        assert run("train", path, "-t", "y", "-f", *kinds, *QUICK)[0] == 0
        found = []
        for other in ("t.parquet", "t.csv", "t.jsonl", "ones.csv", "ones.parquet"):
            code, err = run("predict", "model.chainrule", other, "-o", "o.csv", "-f")
            assert (code, err) == (0, f"Note: {n} rows predicted; they are in o.csv\n"), other
            found.append(read("o.csv")["probability_p"])
        assert all((each == found[0]).all() for each in found)


def test_levels_never_seen_are_counted_and_named(run):
    n = 120
    frame = pd.DataFrame({"city": ["Köln", "New York"] * 60, "x": np.arange(n) % 7})
    frame["y"] = np.where((frame["city"] == "Köln") ^ (frame["x"] > 5), "p", "q")
    frame.to_csv("t.csv", index=False)
    assert run("train", "t.csv", "-t", "y", *QUICK)[0] == 0
    new = frame.head(9).copy()
    new["city"] = [
        "Ko\u0308ln",
        " Köln ",
        "köln",
        "köln",
        "New\u00a0York",
        "Bonn",
        "",
        "New  York",
        "NEW YORK",
    ]
    new.to_csv("new.csv", index=False)
    code, err = run("predict", "model.chainrule", "new.csv", "-o", "o.csv")
    note = (
        "Note: column 'city': 6 rows with levels never seen in training, which count as none of "
        "those known: 'köln' (2, differs from 'Köln' only in upper and lower case), "
        "'New\\xa0York' (1, differs from 'New York' only in blanks), 'Bonn' (1), "
        "'New\u2423\u2423York' (1, differs from 'New York' only in blanks), 'NEW YORK' (1, "
        "differs from 'New York' only in upper and lower case); 1 row without a value, which no "
        "row in training was\n"
    )
    assert (code, err.splitlines(keepends=True)[0]) == (0, note)
    assert read("o.csv")["city"].iloc[1].strip() == "Köln"
    code, err = run("evaluate", "model.chainrule", "new.csv", "-q")
    assert (code, err) == (0, note)
    assert run("predict", "model.chainrule", "new.csv", "-o", "o.csv", "-f", "-q") == (0, "")


def test_levels_are_counted_over_all_blocks(run, monkeypatch):
    monkeypatch.setattr(predicting, "MOST_ROWS", 64)
    n = 300
    frame = pd.DataFrame({"city": ["a", "b", "c"] * 100, "x": np.arange(n) % 7})
    frame["y"] = np.where((frame["city"] == "a") ^ (frame["x"] > 5), "p", "q")
    frame[frame["city"] != "c"].to_csv("t.csv", index=False)
    frame.to_csv("new.csv", index=False)
    assert run("train", "t.csv", "-t", "y", *QUICK)[0] == 0
    err = run("predict", "model.chainrule", "new.csv", "-o", "o.csv")[1]
    assert "column 'city': 100 rows with levels never seen" in err
    assert "'c' (100)" in err


ODD = {
    "duration": (pa.array([1, 2] * 60, pa.duration("s")), True),
    "time": (pa.array([dt.time(1), dt.time(2)] * 60, pa.time64("us")), True),
    "list": (pa.array([[1], [2]] * 60), False),
    "struct": (pa.array([{"a": 1}, {"a": 2}] * 60), False),
    "binary": (pa.array([b"a", b"b"] * 60), False),
    "interval": (pa.array([(1, 2, 3), (1, 2, 4)] * 60, pa.month_day_nano_interval()), False),
}


@pytest.mark.parametrize("how", ["option", "config"])
@pytest.mark.parametrize("out", ["o.csv", "o.parquet"])
@pytest.mark.parametrize("type", ODD)
def test_an_ignored_column_is_not_read(run, tmp_path, type, out, how):
    cells, has_kind = ODD[type]
    x = np.random.default_rng(0).normal(size=120)
    labels = np.where(x > 0, "p", "q").tolist()
    table = pa.table({"x": x, "odd": cells, "y": labels})
    with pa.ipc.new_file("t.arrow", table.schema) as file:
        file.write_table(table)
    code, err = run("train", "t.arrow", "-t", "y", *QUICK)
    assert (code == 0) == has_kind
    assert has_kind or "column 'odd': it holds values of type" in err
    ignore = ("--ignore", "odd")
    if how == "config":
        (tmp_path / "s.toml").write_text('ignore = ["odd"]\n')
        ignore = ("--config", "s.toml")
    code, err = run("train", "t.arrow", "-t", "y", "-f", *ignore, *QUICK)
    assert code == 0, err
    assert run("predict", "model.chainrule", "t.arrow", "-o", out, "-q") == (0, "")
    frame = read(out)
    assert list(frame)[:4] == ["x", "odd", "y", "prediction"]
    assert frame["odd"].notna().all()
    assert run("evaluate", "model.chainrule", "t.arrow", "-q") == (0, "")


TARGETS = {
    "dates": (pa.array([dt.date(2024, 1, 1), dt.date(2024, 1, 2)] * 60), "holds dates"),
    "moments": (pa.array([dt.datetime(2024, 1, 1, i % 7) for i in range(120)]), "holds dates"),
    "durations": (pa.array(range(120), pa.duration("s")), "holds durations"),
    "times": (pa.array([dt.time(i % 7) for i in range(120)]), "holds times of day"),
    "lists": (pa.array([[1], [2]] * 60), "column 'y': it holds values of type list"),
    "bytes": (pa.array([b"1", b"2"] * 60), "column 'y': it holds values of type binary"),
}


@pytest.mark.parametrize("command", ["train", "doctor"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_target_that_is_neither_number_nor_class_is_refused(run, target, command):
    cells, message = TARGETS[target]
    pq.write_table(pa.table({"x": np.arange(120) % 11, "y": cells}), "t.parquet")
    code, err = run(command, "t.parquet", "--target", "y")
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_dates_are_classes_if_they_are_called_so(run):
    days = [dt.date(2024, 1, 1 + i % 2) for i in range(120)]
    pq.write_table(pa.table({"x": np.arange(120) % 2, "y": days}), "t.parquet")
    assert run("train", "t.parquet", "-t", "y", "--task", "classification", *QUICK)[0] == 0
    code, err = run("train", "t.parquet", "-t", "y", "--task", "regression", "-f", *QUICK)
    assert code == 2
    assert "holds dates" in err


@pytest.mark.parametrize("trained", ["date", "number", "boolean"])
def test_types_are_never_cast_into_others(run, trained):
    rng = np.random.default_rng(0)
    days = pd.to_datetime(np.where(rng.random(120) < 0.5, "2024-01-31", "2024-02-28"))
    cells = {"date": days, "number": rng.normal(size=120), "boolean": rng.random(120) < 0.5}
    frame = pd.DataFrame({"c": cells[trained], "x": rng.normal(size=120)})
    frame["y"] = np.where(frame["x"] > 0, "p", "q")
    frame.to_parquet("t.parquet")
    kind = ("--kind", "c=numeric") if trained == "boolean" else ()
    assert run("train", "t.parquet", "-t", "y", *kind, *QUICK)[0] == 0
    others = {"date": [20240131, 5], "number": days[:2], "boolean": [5, 0]}
    frame.head(2).assign(c=others[trained]).to_parquet("new.parquet")
    code, err = run("predict", "model.chainrule", "new.parquet", "-o", "o.csv")
    assert code == 2
    assert "new.parquet, line 1, column 'c'" in err


def test_a_partitioned_folder_is_trained_on_and_predicted(run):
    frame = pd.DataFrame({"x": np.arange(200) % 7, "year": [2023, 2024] * 100})
    frame["y"] = np.where((frame["year"] == 2024) ^ (frame["x"] > 5), "p", "q")
    pq.write_to_dataset(pa.Table.from_pandas(frame), "hive", partition_cols=["year"])
    assert run("train", "hive", "-t", "y", *QUICK)[0] == 0
    assert run("predict", "model.chainrule", "hive", "-o", "o.csv", "-q") == (0, "")
    out = read("o.csv")
    assert (len(out), set(out["year"])) == (200, {2023, 2024})
    (part,) = Path("hive/year=2024").iterdir()
    assert run("predict", "model.chainrule", part, "-o", "p.csv", "-q") == (0, "")
    last = out[out["year"] == 2024].reset_index(drop=True)
    pd.testing.assert_frame_equal(read("p.csv"), last)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("x = " + "[" * 5000 + "]" * 5000, "its brackets are nested too deeply"),
        ("ignore = [1]", "ignore holds something that is no text"),
        ("kind = {a = 1}", "kind holds something that is no text"),
        ("seed = -1", "seed must be at least 0; got -1"),
        ("cv = 1", "cv must be at least 2; got 1"),
        ("max_levels = 0", "max_levels must be at least 2; got 0"),
    ],
)
def test_settings_of_the_wrong_type_or_range(run, tmp_path, settings, message):
    (tmp_path / "s.toml").write_text(settings)
    code, err = run("train", "t.csv", "-t", "y", "--config", "s.toml")
    assert code == 2
    assert err.startswith("chainrule: s.toml")
    assert message in err
    assert len(err.splitlines()) == 1
