"""train --dask: tables in files, on a cluster of threads and on one of processes."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from typer.testing import CliRunner

import chainrule
from chainrule.commands.cli import app

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("skrub", reason="tables are an extra")
pytest.importorskip("distributed", reason="Dask is an extra")

from distributed import Client  # noqa: E402  # it needs the extra
from helpers.clusters import a_cluster, commands  # noqa: E402

from chainrule.commands import on_cluster  # noqa: E402
from chainrule.dask import files, passes  # noqa: E402
from chainrule.estimators.tabular import tabular_pipeline  # noqa: E402
from chainrule.files.persistence import read_header  # noqa: E402
from chainrule.tables.columns import kinds_of  # noqa: E402
from chainrule.tables.reading import read  # noqa: E402
from chainrule.tables.types import Reading  # noqa: E402

train = importlib.import_module("chainrule.commands.train")  # the package has the command
pytestmark = pytest.mark.once
N, PARTS = 600, 4
WORDS = [f"{a}{b}" for a in "bdfgklmn" for b in ("ade", "ile", "oro", "uma")]
QUICK = ("--max-iter", "4", "--engine", "numpy", "--hidden-layer-sizes", "8", "--force")


@pytest.fixture(scope="module")
def cluster():
    with a_cluster(False) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table in parts: CSV, Parquet, and a part without rows."""
    where = tmp_path_factory.mktemp("parts")
    rng = np.random.default_rng(0)
    size, city = rng.normal(60, 20, N), rng.choice(["Köln", "Rome", "Oslo", None], N)
    z = (size - 60) / 20 + (city == "Köln")
    frame = pd.DataFrame(
        {
            "nr": np.arange(N),
            "size": [f"{x:.1f}".replace(".", ",") for x in size],
            "holes": np.where(rng.random(N) < 0.2, np.nan, rng.normal(size=N)),
            "city": city,
            "ok": rng.random(N) < 0.5,
            "day": [f"{d:02d}.{m:02d}.2024" for d, m in rng.integers(1, (29, 13), (N, 2))],
            "note": [" ".join(rng.choice(WORDS, 5)) for _ in range(N)],
            "price": (100 + 10 * z).round(2),
            "kind": np.where(z > 0.5, "TRUE", "FALSE"),
        }
    )
    frame.loc[7, "kind"] = frame.loc[8, "price"] = None
    (where / "csv").mkdir()
    (where / "pq").mkdir()
    for k, part in enumerate(np.array_split(np.arange(N), PARTS)):
        rows = frame.iloc[part]
        rows.to_csv(where / "csv" / f"part-{k}.csv", index=False, sep=";")
        rows.to_parquet(where / "pq" / f"part-{k}.parquet", index=False)
    frame.iloc[:0].to_csv(where / "csv" / "part-9.csv", index=False, sep=";")
    return where


@pytest.fixture
def run(folder, cluster, monkeypatch):
    monkeypatch.chdir(folder)
    return commands(cluster.scheduler_address)


def settings(target, **others):
    names = ("task", "test", "test_fraction", "weight", "time", "group")
    plain = {"target": target, "kind": {}, "ignore": [], "seed": 0, "max_levels": 40}
    return plain | dict.fromkeys(names) | others


def fitted_steps(cluster, data, **asked):
    """(what prepare_on found, the steps as they are fitted there)."""
    with Client(cluster) as client:
        found = on_cluster.prepare_on(client, str(data), settings(**asked), Reading())
        steps = tabular_pipeline(
            found.table.task, model="network", kinds=found.table.kinds, random_state=0
        )[:-1]
        rows = found.plan.parts[0][0]
        table, fitting = found.table, found.fit_to
        columns = {name: fitting.survey.columns[name] for name in table.kinds}
        from chainrule.dask.fitting import fit_steps

        return found, fit_steps(steps, table.kinds, columns, table.X.iloc[rows])


@pytest.mark.parametrize("source", ["csv", "pq"])
def test_the_preprocessing_is_that_of_one_process(cluster, folder, source):
    found, steps = fitted_steps(cluster, folder / source, target="price", ignore=["kind"])
    frame = read(folder / source, ignore=["kind"])
    frame = frame[frame["price"].notna()].reset_index(drop=True)
    assert found.table.n == len(frame)
    pd.testing.assert_frame_equal(found.frame, frame, check_dtype=False)
    rows = found.plan.parts[0][0]
    assert found.n_learnt == len(rows)
    assert 0.7 < len(rows) / N < 0.9
    X = frame.drop(columns="price")
    columns = kinds_of(X)
    assert [column._replace(note="") for column in found.table.columns] == [
        column._replace(note="") for column in columns
    ]
    alone = tabular_pipeline(
        "regression", model="network", kinds=found.table.kinds, random_state=0
    )[:-1]
    expected = alone.fit(X.iloc[rows])
    for name in ("kinds_", "spellings_", "levels_", "level_types_", "many_levels_"):
        assert getattr(steps[0], name) == getattr(expected[0], name)
    np.testing.assert_array_equal(steps.transform(X), expected.transform(X))


def test_what_a_sample_lacks_is_known_all_the_same(cluster, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SAMPLE", 50)
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.normal(size=3000), "c": rng.choice(["a", "b"], 3000)})
    frame["mostly"], frame["day"] = 0.0, pd.Timestamp("2024-01-01")
    frame["day"] += pd.to_timedelta(rng.integers(0, 300, 3000), "D")
    frame["y"] = np.where(frame["x"] > 0, "up", "down")
    # One row each, of those that are learned from.
    frame.loc[11, ["x", "day"]], frame.loc[12, "c"], frame.loc[13, "mostly"] = None, "rare", 9.0
    frame.loc[[21, 22, 23], "y"] = "seldom"
    for k in range(3):
        frame[k * 1000 : (k + 1) * 1000].to_parquet(tmp_path / f"{k}.parquet")
    found, steps = fitted_steps(cluster, tmp_path, target="y", test_fraction=0)
    assert len(found.table.X) == 50
    assert found.table.classes.tolist() == ["down", "seldom", "up"]
    assert steps[0].levels_["c"] == ["a", "b", "rare"]
    names = steps[-1].get_feature_names_out()
    exact = tabular_pipeline("classification", model="network", random_state=0)[:-1]
    exact.fit(frame.drop(columns="y"))
    assert sorted(names) == sorted(exact[-1].get_feature_names_out())
    Z = pd.DataFrame(steps.transform(frame), columns=names)
    assert Z["numeric__missingindicator_x"].sum() == 1
    assert Z["categorical__c_rare"].sum() == 1
    assert np.ptp(Z["numeric__mostly"]) > 0  # the sample's cells are all 0
    expected = pd.DataFrame(exact.transform(frame), columns=exact[-1].get_feature_names_out())
    assert np.corrcoef(Z["numeric__x"], expected["numeric__x"])[0, 1] > 0.999


def test_the_model_file_is_one_that_all_commands_take(run):
    code, out, err = run(
        *("train", "csv/*.csv", "-t", "kind", "--ignore", "note", "--ignore", "price"),
        *("-o", "c.chainrule", "--json", "-q", *QUICK),
    )
    assert code == 0, err
    assert "1 rows left out, without a value of 'kind' (the first is csv/part-0.csv, row 8)" in err
    said = json.loads(out)
    rows = said["rows"]
    assert (rows["left_out"], rows["train"] + rows["stop"] + rows["test"]) == (1, N - 1)
    assert 40 < rows["stop"] < 60
    assert {c["name"]: c["kind"] for c in said["columns"]} == {
        "nr": "identifier",
        "size": "numeric",
        "holes": "numeric",
        "city": "categorical",
        "ok": "categorical",
        "day": "date",
    }
    model = chainrule.load("c.chainrule")
    assert model.classes_.tolist() == ["FALSE", "TRUE"]
    assert type(model[-1]) is chainrule.MLPClassifier
    code, out, err = run("predict", "c.chainrule", "csv/part-0.csv")
    assert (code, len(out.splitlines())) == (0, N // PARTS + 1)
    code, out, err = run("evaluate", "c.chainrule", "csv/part-0.csv", "--json", "-q")
    assert code == 0, err
    code, _, err = run("export", "c.chainrule", "-o", "c.py", "--force")
    assert code == 0, err
    # What the file says of the columns is what it says after training in one process.
    code, _, err = alone(*("--ignore", "note", "--ignore", "price", "-q", "--test-fraction", "0"))
    assert code == 0, err
    one, on = (read_header(f"{name}.chainrule")["metadata"] for name in ("one", "c"))
    for name in ("types", "target_type", "labels", "formats", "missing", "ignored", "task"):
        assert on[name] == one[name], name


def alone(*more):
    given = ["train", "csv/*.csv", "-t", "kind", "--model", "network", "-o", "one.chainrule"]
    done = CliRunner().invoke(app, [*given, *more, *QUICK])
    return done.exit_code, done.stdout, done.stderr


def same_bits(a, b):
    a, b = (chainrule.load(path)[-1] for path in (a, b))
    for one, other in zip((*a.coefs_, *a.intercepts_), (*b.coefs_, *b.intercepts_), strict=True):
        np.testing.assert_array_equal(one, other)


PRICE = ("train", "pq", "-t", "price", "--ignore", "kind", "--ignore", "note", "-q", *QUICK)
PRICE += ("--test-fraction", "0")


@pytest.fixture(scope="module")
def undisturbed(cluster, folder):
    """A model's file, as threads of one process make it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        given = [*PRICE, "-o", "whole.chainrule", "--dask", cluster.scheduler_address]
        assert CliRunner().invoke(app, given).exit_code == 0
    return folder / "whole.chainrule"


def test_killed_workers_change_nothing(run, undisturbed, monkeypatch):
    survey_of = passes.survey_of
    with a_cluster(True) as processes, Client(processes) as client:
        first, second = sorted(client.run(os.getpid).values())

        def surveyed(work, parts, seen, asked):  # one dies with what it has looked at
            n = len(parts)
            begun = work.each("survey", files.survey, parts, [seen] * n, [asked] * n)
            os.kill(first, signal.SIGKILL)
            del begun
            return survey_of(work, parts, seen, asked)

        @contextmanager
        def killing(quiet):  # and one with the matrices that it has read
            yield (
                lambda part, most, record: (
                    os.kill(second, signal.SIGKILL) if record["epoch"] == 1 else None
                )
            )

        monkeypatch.setattr(passes, "survey_of", surveyed)
        monkeypatch.setattr(train, "progress", killing)
        code, _, err = run(*PRICE, "-o", "killed.chainrule", dask=processes.scheduler_address)
        assert code == 0, err
        assert not {first, second} & set(client.run(os.getpid).values())
    same_bits(undisturbed, "killed.chainrule")


def test_a_lost_scheduler_costs_no_more_than_since_the_last_state(run, undisturbed, monkeypatch):
    keep = ("--checkpoint-every", "1")
    with a_cluster(False, 1) as lost:

        @contextmanager
        def closing(quiet):
            yield lambda part, most, record: lost.close() if record["epoch"] == 2 else None

        with monkeypatch.context() as patch:
            patch.setattr(train, "progress", closing)
            code, _, err = run(*PRICE, *keep, "-o", "lost.chainrule", dask=lost.scheduler_address)
    assert code == 1
    last = err.strip().splitlines()[-1]
    assert last.startswith("chainrule: --dask: the scheduler is gone")
    assert "go on with --resume lost.state" in last
    code, _, err = run(*PRICE, "--resume", "lost.state", "-o", "lost.chainrule")
    assert code == 0, err
    same_bits(undisturbed, "lost.chainrule")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("csv", "-t", "kind", "--cv", 3), "--cv does not go with --dask"),
        (("csv", "-t", "kind", "--precision", 0.5), "--precision does not go with --dask"),
        (("csv", "-t", "kind", "--model", "fast"), "--model fast does not go with --dask"),
        (("-", "-t", "kind"), "standard input is none"),
        (("none*.csv", "-t", "kind"), "no file matches none*.csv"),
        (("csv", "-t", "kindd"), "there is no target 'kindd'; did you mean 'kind'?"),
        (("csv", "-t", "kind", "--kind", "city=numeric"), "'city' cannot be numeric: it holds '"),
        (("csv", "-t", "city", "--solver", "lbfgs"), "--solver lbfgs cannot be used on a cluster"),
        (("bad", "-t", "a"), "bad/2.csv, line 3: it has 1 cell where the header has 2"),
        (("other", "-t", "a"), "other/2.csv has other columns than other/1.csv: it lacks 'b'"),
    ],
)
def test_bad_input_is_said_in_one_line(run, folder, arguments, says):
    for name, second in (("bad", "a,b\n1,2\n3\n"), ("other", "a,c\n1,2\n")):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "1.csv").write_text("a,b\n1,2\n2,3\n")
        (folder / name / "2.csv").write_text(second)
    code, out, err = run("train", *arguments, "-o", "none.chainrule")
    assert (code, out) == (2, ""), err
    assert says in err.strip().splitlines()[-1]
    assert not (folder / "none.chainrule").exists()


def test_where_no_worker_answers(run, monkeypatch):
    monkeypatch.setattr(on_cluster, "WAIT", 0.5)
    monkeypatch.setattr(on_cluster, "CONNECT", 0.5)
    for where, says in (("tcp://127.0.0.1:9", "no Dask scheduler answers"), ("a", "is local, or")):
        code, _, err = run("train", "csv", "-t", "kind", dask=where)
        assert (code, err.count("\n")) == (2, 1)
        assert says in err
    with a_cluster(False, 0) as nobody:
        code, _, err = run("train", "csv", "-t", "kind", dask=nobody.scheduler_address)
    assert (code, err.count("\n")) == (2, 1)
    assert "has no worker that answers" in err


def test_a_file_that_a_worker_does_not_find(run, monkeypatch):
    parts_of = files.parts_of

    def elsewhere(data):
        found = parts_of(data)
        found[1].files[0].path = found[1].files[0].path / "x"
        return found

    monkeypatch.setattr(files, "parts_of", elsewhere)
    code, _, err = run("train", "csv", "-t", "kind")
    assert (code, err.count("\n")) == (2, 1)
    assert "csv/part-1.csv cannot be read" in err


def test_the_extra_is_named_where_dask_is_missing(run, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("chainrule.dask")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, _, err = run("train", "csv", "-t", "kind")
    assert (code, err.count("\n")) == (2, 1)
    assert 'pip install "chainrule[dask]"' in err
