"""train --dask with columns that say something of the rows: weights, times and groups."""

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
from chainrule.dask import DaskMLPRegressor, sides, splits  # noqa: E402
from chainrule.tables.types import Reading  # noqa: E402

pytestmark = pytest.mark.once
N, PARTS = 240, 3
QUICK = ("--max-iter", 3, "--engine", "numpy", "--hidden-layer-sizes", 4, "--force", "-q")


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


def stored(name="model"):
    """What a model's file says beside the model."""
    return chainrule.read_header(f"{name}.chainrule")["metadata"]


@pytest.mark.parametrize(
    ("sizes", "batch_size", "steps"),
    [
        ([200, 0, 100], "auto", 64),  # a round of two steps is all of the epoch
        ([819_200], "auto", 64),  # 4096 steps, 64 rounds
        ([819_201], 200, 65),
        ([500_000] * 50, "auto", 977),  # 62,500 steps of 400 rows
        ([500_000, 0] * 50, "auto", 977),  # empty partitions take no part
        ([500_000] * 50, 100_000, 64),
    ],
)
def test_an_epoch_of_many_steps_has_no_more_than_64_rounds(sizes, batch_size, steps):
    assert on_cluster.local_steps(batch_size, sizes) == steps


@pytest.mark.parametrize("most_rounds", [64, 1])
def test_a_weighted_fit_is_the_estimators_with_these_weights(
    run, cluster, most_rounds, monkeypatch
):
    monkeypatch.setattr(on_cluster, "LOCAL_STEPS", 4)
    monkeypatch.setattr(on_cluster, "MOST_ROUNDS", most_rounds)
    frame = a_frame()
    write(frame)
    code, _, err = run(
        *("train", "t", "-t", "y", "--weight", "w", "--ignore", "kind", "--test-fraction", 0),
        *("--no-early-stopping", "--batch-size", 20, *QUICK),
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
        steps = -(-len(used) // 20) if most_rounds == 1 else 4
        by_hand = DaskMLPRegressor(**same, client=client, local_steps=steps)
        with pytest.warns(ConvergenceWarning):
            by_hand.fit(X, y, sample_weight=w)
    for one, other in zip(local.coefs_, by_hand.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
    kept = stored()
    trivial = np.average(used["y"], weights=used["w"])
    assert kept["compared_with"]["trivial"] == [pytest.approx(trivial)]


def test_the_file_is_what_one_process_writes(run):
    frame = a_frame()
    write(frame)
    for name, dask in (("on", ()), ("one", ("--model", "network"))):
        given = ("t", "-t", "kind", "--weight", "w", "--ignore", "y", *QUICK, *dask)
        code, out, err = alone_or_there(run, name, *given)
        assert code == 0, err
        assert run("inspect", f"{name}.chainrule")[0] == 0
    used = frame[frame["w"] > 0]
    on, one = stored("on"), stored("one")
    for rows in (on["rows"], one["rows"]):
        assert rows["left_out"] == N - len(used)
        assert rows["train"] + rows["stop"] + rows["test"] == len(used)
    assert on["row_columns"] == {"weight": "w"}
    for name in ("types", "target_type", "labels", "formats", "ignored", "task", "row_columns"):
        assert on[name] == one[name], name
    for name in ("on", "one"):
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


class AtOnce:
    """Work that is done here and now."""

    def share(self, what, given):
        return given

    def each(self, what, function, *columns):
        return [function(*given) for given in zip(*columns, strict=True)]

    def gather(self, found):
        return found


@pytest.mark.parametrize("kind", ["numbers", "days", "equal"])
def test_the_order_of_times_is_that_of_all_partitions_together(monkeypatch, kind):
    rng = np.random.default_rng(0)
    times = {
        "numbers": np.r_[rng.normal(size=60) * 10.0 ** rng.integers(-300, 300, 60), 0.0, -0.0],
        "days": np.datetime64("1969-12-01", "us") + rng.integers(0, 40, 70).astype("m8[D]"),
        "equal": np.full(5, 7.0),
    }[kind]
    parts = np.split(times, [3, 3, 40])
    keys = [np.sort(sides.time_keys(part)) for part in parts]
    monkeypatch.setattr(splits, "_of_each", lambda *_: keys)
    monkeypatch.setattr(splits, "ASKED_AT_ONCE", 7)
    found, ordered = splits.Times(AtOnce(), None, None, None), np.sort(times)
    assert found.n == len(times)
    for k, time in enumerate(ordered):
        (key,) = sides.time_keys(ordered[k : k + 1])
        assert found.at(k) == key
        assert found.up_to(key) == int((times <= time).sum())
        later = ordered[ordered > time]
        assert found.after(key) == (sides.time_keys(later[:1])[0] if len(later) else None)


def days(n=N):
    """Days of rows in no order, with ties; the latest fifth begins within one."""
    return pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(n) * 7 % n // 5, "D")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_latest_rows_judge_and_stop_as_in_one_process(run, form):
    frame = a_frame(day=days())
    frame.loc[3, "kind"] = None
    write(frame, form=form)
    given = ("t", "-t", "kind", "--time", "day", "--weight", "w", "--ignore", "y", *QUICK)
    for name, dask in (("on", ()), ("one", ("--model", "network"))):
        code, _, err = alone_or_there(run, name, *given, *dask)
        assert code == 0, err
    on, one = stored("on"), stored("one")
    assert on["rows"] == one["rows"]
    assert min(on["rows"].values()) > 0
    assert on["row_columns"] == one["row_columns"] == {"time": "day", "weight": "w"}
    trivial = [each["compared_with"]["trivial"] for each in (on, one)]
    assert trivial[0] == pytest.approx(trivial[1])
    used = frame[(frame["w"] > 0) & frame["kind"].notna()]
    late = used[used["day"] >= used["day"].sort_values().iloc[-round(0.2 * len(used))]]
    assert len(late) == on["rows"]["test"] > round(0.2 * len(used))  # with the rows of that day
    accuracy = on["metrics"]["accuracy"]["value"]
    on, one = (chainrule.load(f"{name}.chainrule") for name in ("on", "one"))
    assert accuracy == pytest.approx((on.predict(late) == late["kind"]).mean())
    # The preprocessing is that of the rows that are neither judged by nor stopped by.
    X = frame[["x", "z", "day"]]
    np.testing.assert_array_equal(on[:-1].transform(X), one[:-1].transform(X))
    assert "day" in on[0].feature_names_in_


def prepared(cluster, data, reading=None, target="kind", **asked):
    names = ("task", "test", "test_fraction", "weight", "time", "group")
    plain = {"target": target, "kind": {}, "ignore": [], "seed": 0, "max_levels": 40}
    with Client(cluster) as client:
        given = plain | dict.fromkeys(names) | asked
        return on_cluster.prepare_on(client, data, given, reading or Reading())


@pytest.mark.parametrize(
    ("cells", "options"),
    [
        (pd.to_timedelta(np.arange(N), "h"), {}),
        (days().tz_localize("Europe/Berlin"), {}),
        (days().strftime("%d.%m.%Y"), {"date_format": "%d.%m.%Y"}),
        (days().strftime("%d.%m.%Y"), None),
    ],
)
def test_times_of_typed_files(run, cluster, cells, options):
    write(a_frame(day=cells), form="parquet")
    if options is None:
        with pytest.raises(ValueError, match="--time: 'day' holds texts, whose spelling"):
            prepared(cluster, "t", time="day")
        return
    found = prepared(cluster, "t", Reading(**options), time="day")
    order = cells.argsort() if not options else days().argsort()
    held = set(found.plan.parts[0][1].tolist())
    assert held >= set(order[-48:].tolist())
    assert len(held) < 60


@pytest.mark.parametrize("seed", [0, 1])
def test_no_group_is_on_two_sides(run, cluster, seed):
    who = [f"p{k}" for k in np.random.default_rng(seed).integers(0, 40, N)]
    write(a_frame(who=who), form="parquet")
    found = prepared(cluster, "t", group="who", seed=seed)
    survey = found.fit_to.survey
    assert len(survey.frame) == N  # the sample is all rows
    of_group = survey.rows["side"].groupby(survey.frame["who"].to_numpy())
    assert of_group.nunique().eq(1).all()
    shares = survey.rows["side"].value_counts(normalize=True)
    assert shares[sides.HELD] == pytest.approx(0.2, abs=0.05)
    assert shares[sides.STOP] == pytest.approx(0.08, abs=0.04)
    assert "who" not in found.table.X
    (held,) = (part[1] for part in found.plan.parts)
    assert set(survey.rows["side"].to_numpy()[held]) == {sides.HELD}
    assert sum(survey.stops) == (survey.rows["side"] == sides.STOP).sum()


def test_groups_are_told_apart_alike_in_every_process():
    keys = sides.group_keys(np.array(["p1", "p2", "p1", "Köln"], object))
    assert keys.tolist() == [13409, 19385, 13409, 25398]


def test_a_few_groups_are_held_out_whole(run):
    write(a_frame(site=np.array(["north", "south", "west"])[np.arange(N) % 3]))
    code, _, err = run(
        *("train", "t", "-t", "kind", "--group", "site", "--ignore", "y", *QUICK),
    )
    assert code == 0, err
    assert stored()["rows"] == {"train": 80, "stop": 80, "test": 80, "left_out": 0}


def test_where_no_time_can_be_spared_the_estimator_chooses_rows_to_stop_by(run):
    write(a_frame(day=np.where(np.arange(N) % 4, 2023, 2024)))
    code, _, err = run(
        *("train", "t", "-t", "kind", "--time", "day", "--ignore", "y", *QUICK),
    )
    assert code == 0, err
    assert stored()["rows"] == {"train": 162, "stop": 18, "test": 60, "left_out": 0}


def test_a_class_that_would_only_stop_the_training_is_learned_from(run, cluster):
    frame = a_frame(day=np.arange(N))
    write(frame, "plain")
    frame.loc[180:185, "kind"] = "between"
    write(frame, "between")
    for folder, stops in (("plain", True), ("between", False)):
        found = prepared(cluster, folder, time="day", ignore=["day"])
        survey = found.fit_to.survey
        assert survey.asked.split.stops == stops
        assert sum(survey.stops) == (19 if stops else 0)
        assert sum(survey.sizes) + sum(survey.stops) == found.n_learnt == 192
        assert list(found.table.X) == ["x", "z", "w", "y"]


LATEST = np.arange(N) >= N - 60


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        ({"day": 3}, ("--time", "day"), "--time: all rows are of the same time"),
        (
            {"day": np.arange(N), "kind": np.where(LATEST, "late", a_frame()["kind"])},
            ("--time", "day", "--test-fraction", 0.3),
            "--time: all rows of 'late' are in the latest rows",
        ),
        (
            {"day": ["2024-01-01"] * 165 + ["soon"] * 75},
            ("--time", "day"),
            "--time: 'day' holds neither a number nor a date in t/2.csv, row 6: 'soon'",
        ),
        (
            {"day": [None if k == LATE else k for k in range(N)]},
            ("--time", "day"),
            "--time: 'day' is missing in t/2.csv, row 5",
        ),
        (
            {"day": [None if k in (5, 99, 238) else k for k in range(N)]},
            ("--time", "day"),
            "--time: 'day' is missing in t/0.csv, row 6",
        ),
        ({"who": "a"}, ("--group", "who"), "--group: 'who' is the same in every row"),
        (
            {"who": [None if k == LATE else k for k in range(N)]},
            ("--group", "who"),
            "--group: 'who' is missing in t/2.csv, row 5",
        ),
        ({}, ("--group", "kind"), "--group: 'kind' is the target"),
        ({}, ("--time", "dya"), "--time: there is no column 'dya'"),
        ({}, ("--group", "w", "--test", "t"), "--group with --test does not go with --dask"),
    ],
)
def test_what_cannot_be_held_out_is_refused_before_training(
    run, monkeypatch, columns, options, says
):
    write(a_frame(**columns))
    monkeypatch.setattr("chainrule.commands.jobs._fit", lambda *_: pytest.fail("it trains"))
    code, out, err = run("train", "t", "-t", "kind", "--ignore", "y", *options)
    assert (code, out) == (2, ""), err
    lines = err.splitlines()
    assert len(lines) == 1
    assert says in lines[0]
