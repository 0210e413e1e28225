"""Kinds of columns, tasks, leaks and the doctor's findings."""

from __future__ import annotations

import json
import string

import numpy as np
import pytest
from helpers import tables_data
from typer.testing import CliRunner

from chainrule.commands.cli import app
from chainrule.tables.columns import kinds_of, task_and_reason, task_of
from chainrule.tables.findings import findings
from chainrule.tables.leaks import leaks
from chainrule.tables.reading import TableError, read

pd = tables_data.pd
N = 400


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def kinds(frame, target=None):
    return {column.name: column.kind for column in kinds_of(frame, target)}


def sentence(rng, words):
    return " ".join("".join(rng.choice(list(string.ascii_lowercase), 5)) for _ in range(words))


def test_kinds_of_made_columns(rng):
    columns = {
        "number": (rng.normal(size=N), "numeric"),
        "count": (rng.poisson(3, N), "numeric"),
        "big_count": (rng.permutation(10**6)[:N], "numeric"),
        "row": (np.arange(N) + 1, "identifier"),
        "customer_id": (rng.permutation(10**6)[:N], "identifier"),
        "code": ([f"A-{i:05d}" for i in rng.permutation(N)], "identifier"),
        "city": (rng.choice(["Ulm", "Köln"], N), "categorical"),
        "zip": ([f"{i:05d}" for i in rng.integers(0, 50, N)], "categorical"),
        "yes": (rng.random(N) < 0.5, "categorical"),
        "level": (pd.Categorical(rng.choice(["low", "high"], N)), "categorical"),
        "comment": ([sentence(rng, 8) for _ in range(N)], "text"),
        "when": (pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 99, N), "D"), "date"),
        "iso": (rng.choice(["2024-01-31", "2024-02-28"], N), "date"),
        "german": (rng.choice(["31.01.2024", "28.02.2024"], N), "date"),
        "either": (rng.choice(["01/02/2024", "03/04/2024"], N), "categorical"),
        "same": (["x"] * N, "constant"),
        "gone": ([None] * N, "constant"),
        "blank": (["", " "] * (N // 2), "constant"),
        "digits": (rng.choice(["1.5", "2"], N), "numeric"),
    }
    frame = pd.DataFrame({name: values for name, (values, _) in columns.items()})
    assert kinds(frame) == {name: kind for name, (_, kind) in columns.items()}
    assert "number" not in kinds(frame, target="number")


def test_kinds_count_what_is_missing():
    frame = pd.DataFrame({"a": [1, None, 3, 3], "b": ["x", "", None, "y"]})
    a, b = kinds_of(frame)
    assert (a.missing, a.distinct, b.missing, b.distinct) == (1, 2, 2, 2)


def test_kinds_of_large_and_real_tables():
    assert kinds(tables_data.penguins(), "species") == {
        "island": "categorical",
        "bill_length_mm": "numeric",
        "bill_depth_mm": "numeric",
        "flipper_length_mm": "numeric",
        "body_mass_g": "numeric",
        "sex": "categorical",
        "year": "numeric",
    }
    found = kinds(tables_data.flights(3000))
    assert found["year"] == "constant"
    assert found["carrier"] == found["tailnum"] == found["dest"] == "categorical"
    assert found["time_hour"] == "date"
    assert found["arr_delay"] == found["distance"] == "numeric"


@pytest.mark.parametrize("name", tables_data.TASKS)
def test_tasks_of_bundled_sets(name):
    table = tables_data.frame(name)
    assert task_of(table[tables_data.TARGET]) == tables_data.TASKS[name]
    found = kinds(table, tables_data.TARGET)
    assert [found[n] for n in ("city", "visited", "member", "active")] == [
        "categorical",
        "date",
        "identifier",
        "categorical",
    ]


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"] * 20, "classification"),
        ([True, False] * 20, "classification"),
        ([0, 1] * 20, "classification"),
        ([0.0, 1.0, None] * 20, "classification"),
        ([0.5, 2.25] * 20, "classification"),  # two values
        (list(range(10)) * 10, "classification"),
        (list(range(10)) * 9, "regression"),
        (list(range(11)) * 50, "regression"),
        ([0.5, 1.5, 2.0] * 20, "regression"),
        ([1.0, 2.0, np.inf] * 20, "regression"),
    ],
)
def test_task_of(values, task):
    found, reason = task_and_reason(pd.Series(values))
    assert found == task
    assert reason


def test_leaks_are_found(rng):
    y = rng.choice(["cat", "dog", "cow"], N, p=[0.6, 0.3, 0.1])
    noise = rng.normal(size=N)
    code = pd.Series(y).map({"cat": 1, "dog": 2, "cow": 3})
    frame = pd.DataFrame(
        {
            "y": y,
            "noise": noise,
            "code": code,
            "measured": code + 0.001 * noise,
            "reason": pd.Series(rng.choice(["old", "ill"], N)).where(y == "cow"),
            "hint": np.where(rng.random(N) < 0.8, code, 2),
            "id": np.arange(N),
        }
    )
    two = frame[frame["y"] != "dog"]
    assert [leak.column for leak in leaks(frame, "y", "classification")] == ["code", "measured"]
    assert [leak.column for leak in leaks(two, "y", "classification")] == [
        "code",
        "measured",
        "reason",
    ]
    assert "missing" in leaks(two, "y", "classification")[2].how or "alone" in (
        leaks(two, "y", "classification")[2].how
    )


def test_leaks_of_numbers_are_found(rng):
    y = rng.gamma(2, size=N)
    frame = pd.DataFrame(
        {
            "y": y,
            "cubed": y**3,
            "minus": -y,
            "nearly": y + 0.3 * rng.normal(size=N),
            "noise": rng.normal(size=N),
            "group": rng.integers(0, 20, N),
        }
    )
    found = leaks(frame, "y", "regression")
    assert [leak.column for leak in found] == ["cubed", "minus"]
    frame["y"] = frame["group"] ** 2 % 17 + 0.001 * y
    assert [leak.column for leak in leaks(frame, "y", "regression")] == ["group"]


@pytest.mark.parametrize("name", tables_data.TASKS)
def test_bundled_sets_do_not_leak(name):
    table = tables_data.frame(name)
    assert leaks(table, tables_data.TARGET, tables_data.TASKS[name]) == []
    assert [f for f in findings(table, tables_data.TARGET) if f.severity == "serious"] == []


def base(rng):
    """A table that nothing is wrong with."""
    x = rng.normal(size=N)
    return pd.DataFrame(
        {
            "x": x,
            "z": rng.normal(size=N),
            "city": rng.choice(["Ulm", "Köln"], N),
            "y": np.where(x + rng.normal(size=N) > 0, "yes", "no"),
        }
    )


def test_nothing_is_said_about_a_good_table(rng):
    assert findings(base(rng), "y") == []


def cell(column, row, value):
    def change(frame):
        if not isinstance(value, float):
            frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value
        return frame

    return change


def column(name, values):
    return lambda frame: frame.assign(**{name: values(frame) if callable(values) else values})


CHANGES = {
    "target missing everywhere": (column("y", None), "serious", "y", "missing in every row"),
    "target missing in rows": (cell("y", [3, 4], None), "warning", "y", "2 rows of 400"),
    "target missing as blanks": (cell("y", [3, 4], " "), "warning", "y", "2 rows of 400"),
    "one class": (column("y", "no"), "serious", "y", "'no' in every row"),
    "a class with one row": (cell("y", 3, "maybe"), "serious", "y", "'maybe', with a single row"),
    "a class with few rows": (
        cell("y", [3, 4, 5], "maybe"),
        "warning",
        "y",
        "'maybe', with fewer than 10 rows",
    ),
    "imbalance": (
        column("y", lambda f: np.where(np.arange(N) % 20 == 0, "yes", "no")),
        "warning",
        "y",
        "'yes' has 20 rows (5 %)",
    ),
    "a text for a target": (
        column("y", [f"name {i}" for i in range(N)]),
        "serious",
        "y",
        "400 classes in 400 rows",
    ),
    "classes alike": (
        cell("y", list(range(15)), "Yes"),
        "warning",
        "y",
        "blanks or capitals only: 'yes', 'Yes'",
    ),
    "infinite target": (
        lambda f: f.assign(y=np.where(np.arange(N) == 7, np.inf, f["x"] * 2 + f["z"])),
        "serious",
        "y",
        "infinite in 1 row of 400",
    ),
    "leak": (
        column("answer", lambda f: f["y"].str.upper()),
        "serious",
        "answer",
        "under another name",
    ),
    "few rows": (lambda f: f.head(20), "serious", None, "only 20 rows"),
    "rather few rows": (lambda f: f.head(120), "warning", None, "only 120 rows"),
    "few rows for the columns": (
        lambda f: f.assign(**{f"n{i}": np.roll(f["x"], i + 1) for i in range(90)}),
        "warning",
        None,
        "400 rows for 93 columns",
    ),
    "no column of use": (lambda f: f[["y"]].assign(a=1), "serious", None, "no column is related"),
    "copies": (
        lambda f: pd.concat([f, f.iloc[[0, 1]]], ignore_index=True),
        "warning",
        None,
        "2 rows of 402 are copies of others (the first is row 401)",
    ),
    "contradictions": (
        lambda f: pd.concat(
            [f, f.iloc[[0]].assign(y="yes" if f["y"][0] == "no" else "no")], ignore_index=True
        ),
        "warning",
        None,
        "2 rows of 401 agree in every column but have another target",
    ),
    "equal columns": (column("x2", lambda f: f["x"]), "note", "x2", "equals the column 'x'"),
    "constant": (column("k", 5), "note", "k", "always 5"),
    "nearly constant": (
        column("k", lambda f: np.where(np.arange(N) == 5, "b", "a")),
        "note",
        "k",
        "'a' in 99.75 % of the rows",
    ),
    "identifier": (column("row", np.arange(N)), "note", "row", "only names rows"),
    "mostly missing": (
        column("z", lambda f: f["z"].where(np.arange(N) % 3 == 0)),
        "warning",
        "z",
        "missing in 66 % of the rows",
    ),
    "infinity": (cell("z", 3, np.inf), "serious", "z", "the first is row 4"),
    "outlier": (cell("z", 9, 1e6), "note", "z", "1e+06 in row 10"),
    "a code for missing": (
        lambda f: f.assign(z=f["z"].mask(np.arange(N) % 10 == 0, -999)),
        "warning",
        "z",
        "-999 stands far from all other values and comes 40 times",
    ),
    "mixed types": (cell("z", 9, "abc"), "warning", "z", "'abc' in row 10"),
    "a mark for missing": (cell("z", 9, "?"), "warning", "z", "taken for missing: '?' (1)"),
    "decimal comma as text": (
        column("z", lambda f: [f"{v:.2f}".replace(".", ",") for v in f["z"]]),
        "note",
        "z",
        "its numbers are written as text",
    ),
    "dates as text": (
        column("d", [f"2024-01-{i % 28 + 1:02d}" for i in range(N)]),
        "note",
        "d",
        "dates are written as text",
    ),
    "dates that are ambiguous": (
        column("d", [f"{i % 12 + 1:02d}/{i % 11 + 1:02d}/2024" for i in range(N)]),
        "warning",
        "d",
        "the day or the month",
    ),
    "many levels": (
        column("k", [f"level {i % 150}" for i in range(N)]),
        "note",
        "k",
        "150 different values",
    ),
    "levels alike": (cell("city", 3, "ulm "), "warning", "city", "'ulm '"),
    "scales": (column("z", lambda f: f["z"] * 1e6), "note", None, "'z' by 1"),
    "scale of the target": (
        lambda f: f.assign(y=f["x"] * 1e4 + 9e3 * f["z"]),
        "note",
        "y",
        "the target varies by 1",
    ),
    "a long tail": (
        lambda f: f.assign(y=np.exp(3 * f["z"] + f["x"])),
        "note",
        "y",
        "spreads widely",
    ),
    "dates": (
        column("d", pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(N) % 90, "D")),
        "note",
        "d",
        "the rows have dates",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_findings(rng, change):
    make, severity, name, words = CHANGES[change]
    found = findings(make(base(rng)), "y")
    assert any(
        f.severity == severity and f.column == name and words in f.what and f.advice for f in found
    ), found


def test_findings_of_an_unknown_target(rng):
    with pytest.raises(TableError, match="no column 'Citi'; did you mean 'city'"):
        findings(base(rng), "Citi")


def run(*args, **how):
    return CliRunner().invoke(app, ["doctor", *map(str, args)], **how)


def test_doctor(tmp_path, rng):
    path = tmp_path / "good.csv"
    base(rng).to_csv(path, index=False)
    done = run(path, "--target", "y")
    assert done.exit_code == 0
    assert "400 rows, 3 columns" in done.stdout
    assert done.stdout.rstrip().endswith("Nothing serious.")
    assert "\x1b" not in done.stdout
    assert all(line == line.rstrip() for line in done.stdout.splitlines())

    bad = base(rng).assign(answer=lambda f: f["y"].str.upper())
    bad.to_csv(path, index=False)
    done = run(path, "--target", "y", "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["task"] == "classification"
    assert told["findings"][0]["column"] == "answer"
    assert [each["name"] for each in told["columns"]] == ["x", "z", "city", "answer"]
    assert run(path, "--target", "y", "--rows", 100, "--json").stdout.startswith('{"rows": 100, ')


def test_doctor_reads_standard_input_and_databases(tmp_path, rng):
    table = base(rng)
    done = run("-", "--target", "y", input=table.to_csv(index=False))
    assert done.exit_code == 0
    tables_data.WRITERS[".sqlite"](table, tmp_path / "a.sqlite")
    query = "SELECT x, y FROM data WHERE x > 0"
    done = run(tmp_path / "a.sqlite", "--target", "y", "--query", query, "--json")
    assert json.loads(done.stdout)["rows"] == (table["x"] > 0).sum()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--target", "cty"], "no column 'cty'; did you mean 'city'? (its columns: x, z, city, y)"),
        (["--target", "y", "--task", "clustering"], "--task must be classification or regression"),
        (["--target", "y", "--table", "t"], "is no database"),
    ],
)
def test_doctor_is_told_wrong(tmp_path, rng, args, words):
    path = tmp_path / "a.csv"
    base(rng).to_csv(path, index=False)
    done = run(path, *args)
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_doctor_of_files_without_rows_or_none(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,y\n")
    done = run(path, "--target", "y")
    assert (done.exit_code, "column names but no rows" in done.stderr) == (2, True)
    done = run(tmp_path / "b.csv", "--target", "y")
    assert (done.exit_code, "does not exist" in done.stderr) == (2, True)


def test_doctor_of_a_real_table(tmp_path):
    path = tmp_path / "penguins.csv"
    tables_data.penguins().to_csv(path, index=False)
    assert read(path).shape == (344, 8)
    told = json.loads(run(path, "--target", "species", "--json").stdout)
    assert [each["severity"] for each in told["findings"]] == ["note"]
