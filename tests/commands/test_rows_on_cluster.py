"""train --dask with columns that say something of the rows: weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import chainrule

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("skrub", reason="tables are an extra")
pytest.importorskip("distributed", reason="Dask is an extra")

import dask.array as da  # noqa: E402  # it needs the extra
from distributed import Client  # noqa: E402
from helpers.clusters import a_cluster, commands  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from chainrule.commands import on_cluster  # noqa: E402
from chainrule.commands.cli import app  # noqa: E402
from chainrule.dask import DaskMLPRegressor  # noqa: E402

pytestmark = pytest.mark.once
N, PARTS = 240, 3
QUICK = ("--max-iter", 3, "--engine", "numpy", "--hidden-layer-sizes", 4, "--force")


@pytest.fixture(scope="module")
def cluster():
    with a_cluster(False) as cluster:
        yield cluster


@pytest.fixture
def run(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return commands(cluster.scheduler_address)


def a_frame(**columns):
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(2, N))
    chance = 1 / (1 + np.exp(-2 * x))
    frame = pd.DataFrame({"x": x.round(3), "z": z.round(3)})
    frame["w"] = rng.integers(0, 4, N) / 2
    frame["y"] = (x + z**2 + rng.normal(size=N)).round(3)
    frame["kind"] = np.where(rng.random(N) < chance, "yes", "no")
    return frame.assign(**columns)


def write(frame, folder="t", form="csv"):
    """The frame in parts of a folder below the working directory."""
    Path(folder).mkdir()
    for k, rows in enumerate(np.array_split(np.arange(len(frame)), PARTS)):
        part = frame.iloc[rows]
        if form == "csv":
            part.to_csv(f"{folder}/{k}.csv", index=False)
        else:
            part.to_parquet(f"{folder}/{k}.parquet", index=False)


def test_a_weighted_fit_is_the_estimators_with_these_weights(run, cluster):
    frame = a_frame()
    write(frame)
    code, _, err = run(
        *("train", "t", "-t", "y", "--weight", "w", "--ignore", "kind", "--test-fraction", 0),
        *("--no-early-stopping", *QUICK),
    )
    assert code == 0, err
    n = int((frame["w"] == 0).sum())
    assert f"{n} rows left out, of weight 0" in err
    model = chainrule.load("model.chainrule")
    assert sorted(model[0].feature_names_in_) == ["x", "z"]
    # The preprocessing counts every row once; the network's rows weigh what the column says.
    used = frame[frame["w"] > 0]
    sizes = [int((part > 0).sum()) for part in np.array_split(frame["w"].to_numpy(), PARTS)]
    Z = model[:-1].transform(used).astype(np.float32)
    X, y, w = (
        da.from_array(each, chunks=(tuple(sizes), *each.shape[1:]))
        for each in (Z, used["y"].to_numpy(), used["w"].to_numpy())
    )
    local = model[-1]
    with Client(cluster) as client:
        same = {name: getattr(local, name) for name in local._get_param_names()}
        by_hand = DaskMLPRegressor(**same, client=client, local_steps=on_cluster.LOCAL_STEPS)
        with pytest.warns(ConvergenceWarning):
            by_hand.fit(X, y, sample_weight=w)
    for one, other in zip(local.coefs_, by_hand.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
    kept = chainrule.read_header("model.chainrule")["metadata"]
    trivial = np.average(used["y"], weights=used["w"])
    assert kept["compared_with"]["trivial"] == [pytest.approx(trivial)]


def test_the_file_is_what_one_process_writes_and_metrics_count_every_row_once(run):
    frame = a_frame()
    write(frame)
    said = {}
    for name, dask in (("on", ()), ("one", ("--model", "network"))):
        given = ("t", "-t", "kind", "--weight", "w", "--ignore", "y", "--json", *QUICK, *dask)
        code, out, err = alone_or_there(run, name, *given)
        assert code == 0, err
        said[name] = json.loads(out)
        assert run("inspect", f"{name}.chainrule")[0] == 0
    used = frame[frame["w"] > 0]
    for one in said.values():
        rows = one["rows"]
        assert rows["left_out"] == N - len(used)
        assert rows["train"] + rows["stop"] + rows["test"] == len(used)
        assert one["evaluation"]["n"] == rows["test"]
    on, one = (chainrule.read_header(f"{n}.chainrule")["metadata"] for n in ("on", "one"))
    assert on["row_columns"] == {"weight": "w"}
    for name in ("types", "target_type", "labels", "formats", "ignored", "task", "row_columns"):
        assert on[name] == one[name], name
    for name in said:
        code, out, err = run("evaluate", f"{name}.chainrule", "t", "--json", "-q")
        assert (code, err) == (0, "")  # no column is unknown
        assert json.loads(out)["n"] == N
        code, out, err = run("predict", f"{name}.chainrule", "t/0.csv")
        assert (code, err) == (0, "")


def alone_or_there(run, name, *given):
    """The command on the cluster, or in one process if it names a model."""
    out = ("-o", f"{name}.chainrule")
    if "--model" not in given:
        return run("train", *given, *out)
    done = CliRunner().invoke(app, ["train", *map(str, given), *out])
    return done.exit_code, done.stdout, done.stderr


LATE = 2 * N // PARTS + 4  # a row of the last file, which is its row 5 there


def with_cell(name, value):
    cells = a_frame()[name].astype(object)
    cells[LATE] = value
    return {name: cells}


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (with_cell("w", -1), "--weight: 'w' is negative in t/2.csv, row 5"),
        (with_cell("w", None), "--weight: 'w' is missing in t/2.csv, row 5"),
        (with_cell("w", "inf"), "--weight: 'w' is not from 1e-25 to 1e+25 in t/2.csv, row 5"),
        (with_cell("w", 1e39), "--weight: 'w' is not from 1e-25 to 1e+25 in t/2.csv, row 5"),
        (with_cell("w", 1e-39), "--weight: 'w' is not from 1e-25 to 1e+25 in t/2.csv, row 5"),
        (with_cell("w", "heavy"), "--weight: 'w' holds no number in t/2.csv, row 5: 'heavy'"),
        ({"w": ["1.5"] * (N - 80) + ["1,5"] * 80}, "--weight: 'w' holds texts, whose spelling"),
        ({"w": 0}, "--weight: 'w' is 0 in every row; there is nothing to learn from"),
    ],
)
def test_weights_that_cannot_be_are_refused_before_training(run, monkeypatch, columns, says):
    write(a_frame(**columns))
    monkeypatch.setattr("chainrule.commands.jobs._fit", lambda *_: pytest.fail("it trains"))
    code, out, err = run("train", "t", "-t", "kind", "--weight", "w", "--ignore", "y")
    assert (code, out) == (2, ""), err
    lines = err.splitlines()
    assert len(lines) == 1
    assert says in lines[0]
