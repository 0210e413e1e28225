"""train on columns of weights, groups and times, with tests of their own and with thresholds."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

import chainrule
from chainrule.commands.cli import app
from chainrule.commands.differences import difference, losses_of_classes
from chainrule.commands.evaluation import evaluate_classes
from chainrule.commands.importances import RowSample, importances
from chainrule.commands.judging import judge

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("skrub", reason="tables are an extra")

QUICK = ("--engine", "numpy", "--max-iter", "40", "--force")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table, all.csv, its two halves, and models of it."""
    where = tmp_path_factory.mktemp("rows")
    rng = np.random.default_rng(0)
    n = 300
    who, x, z = rng.integers(0, 30, n), rng.normal(size=n), rng.normal(size=n)
    chance = 1 / (1 + np.exp(-2 * x - z + 1))
    frame = pd.DataFrame(
        {
            "x": x,
            "z": z,
            "who": [f"p{k}" for k in who],
            "w": rng.integers(0, 3, n),
            "day": pd.date_range("2024-01-01", periods=n).strftime("%Y-%m-%d"),
            "idle": rng.normal(size=n),
            "y": np.where(rng.random(n) < chance, "yes", "no"),
        }
    )
    frame.to_csv(where / "all.csv", index=False)
    frame[who < 15].to_csv(where / "some.csv", index=False)
    frame[who >= 15].to_csv(where / "rest.csv", index=False)
    return where


@pytest.fixture
def run(folder, monkeypatch):
    monkeypatch.chdir(folder)

    def call(*arguments):
        done = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "100"})
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout, done.stderr

    return call


def test_groups_weights_and_a_threshold_for_costs(run):
    code, out, err = run(
        *("train", "all.csv", "-t", "y", "--group", "who", "--weight", "w", "--ignore", "day"),
        *("--positive", "yes", "--cost", "1:5", "--json", "-o", "g.chainrule", *QUICK),
    )
    assert code == 0, err
    said, frame = json.loads(out), pd.read_csv("all.csv")
    used = frame[frame["w"] > 0]
    rows = said["rows"]
    assert rows["left_out"] == len(frame) - len(used)
    assert rows["train"] + rows["stop"] + rows["test"] == len(used)
    assert min(rows["stop"], rows["test"]) > 0
    model = chainrule.load("g.chainrule")
    assert sorted(model[0].feature_names_in_) == ["idle", "x", "z"]
    # A threshold below one half; predict and evaluate decide by it.
    threshold = said["decision"]["threshold"]
    assert 0.02 < threshold < 0.45
    assert said["evaluation"]["metrics"]["mean_cost"]["value"] < 1
    assert said["importances"][0]["column"] == "x"
    code, out, err = run("predict", "g.chainrule", "rest.csv")
    assert (code, err) == (0, "")  # no column is unknown
    lines = [line.split(",") for line in out.splitlines()]
    at, p = lines[0].index("prediction"), lines[0].index("probability_yes")
    decided = {(line[at], float(line[p]) >= threshold) for line in lines[1:]}
    assert decided == {("yes", True), ("no", False)}
    code, out, _ = run("evaluate", "g.chainrule", "rest.csv", "--json", "--quiet")
    found = json.loads(out)
    X, y = pd.read_csv("rest.csv"), pd.read_csv("rest.csv")["y"]
    yes = model.predict_proba(X)[:, 1] >= threshold
    assert found["metrics"]["recall"]["value"] == pytest.approx(yes[y == "yes"].mean())
    assert found["metrics"]["precision"]["value"] == pytest.approx((y[yes] == "yes").mean())
    cost = (1 * (yes & (y == "no")) + 5 * (~yes & (y == "yes"))).mean()
    assert found["metrics"]["mean_cost"]["value"] == pytest.approx(cost)
    assert found["decision"] == said["decision"]
    code, out, _ = run("inspect", "g.chainrule")
    assert f"for yes from a probability of {threshold:.4g}" in out
    code, _, err = run("export", "g.chainrule", "-o", "g.py")
    assert code == 2
    assert "--no-threshold" in err
    assert len(err.strip().splitlines()) == 1
    assert run("export", "g.chainrule", "-o", "g.py", "--no-threshold", "--force")[0] == 0


def test_weights_change_what_the_model_and_the_baselines_learn(run):
    frame = pd.read_csv("all.csv")[["x", "y", "w"]]
    frame.to_csv("weighted.csv", index=False)
    run("train", "weighted.csv", "-t", "x", "--weight", "w", "--test-fraction", 0, *QUICK)
    kept = chainrule.read_header("model.chainrule")["metadata"]["compared_with"]
    assert kept["trivial"] == [pytest.approx(np.average(frame["x"], weights=frame["w"]))]
    network = chainrule.load("model.chainrule")
    run("train", "weighted.csv", "-t", "x", "--ignore", "w", "--test-fraction", 0, *QUICK)
    X = frame[["y"]]
    assert not np.allclose(network.predict(X), chainrule.load("model.chainrule").predict(X))


def test_another_file_is_what_it_is_judged_on(run, monkeypatch):
    monkeypatch.setattr("chainrule.commands.importances.ROWS", 60)
    code, out, err = run(
        *("train", "some.csv", "-t", "y", "--test", "rest.csv", "--group", "who", "--json"),
        *("--ignore", "day", "--ignore", "w", "--precision", 0.8, "--positive", "yes", *QUICK),
        *("--seed", 3),
    )
    assert (code, err.count("Note: columns")) == (0, 0)
    said = json.loads(out)
    X = pd.read_csv("rest.csv")
    assert said["rows"]["test"] == said["evaluation"]["n"] == len(X)
    assert said["rows"]["train"] + said["rows"]["stop"] == len(pd.read_csv("some.csv"))
    model = chainrule.load("model.chainrule")
    yes = model.predict_proba(X)[:, 1] >= said["decision"]["threshold"]
    right = np.mean(yes == (X["y"] == "yes"))
    assert said["evaluation"]["metrics"]["accuracy"]["value"] == pytest.approx(right)
    # Intervals are of whole groups, drawn anew.
    truth, chances = X["y"].to_numpy(), model.predict_proba(X)
    groups, seed = X["who"].to_numpy(), 3
    decided = np.where(yes, "yes", "no")
    expected = evaluate_classes(truth, decided, chances, ["no", "yes"], groups=groups, seed=seed)
    assert_same(said["evaluation"]["metrics"]["accuracy"], expected.metrics["accuracy"])
    assert_same(said["evaluation"]["metrics"]["log_loss"], expected.metrics["log_loss"])
    sample, columns = RowSample(seed), ["x", "z", "idle"]
    sample.see(X[columns], truth, groups)
    *drawn, of_drawn = sample.rows()
    assert len(of_drawn) == 60 < len(X)
    expected = importances(model, *drawn, columns, groups=of_drawn, seed=seed)
    for one, other in zip(said["importances"], expected, strict=True):
        assert one.pop("column") == other.column
        assert_same(one, other.increase)
    share = np.mean(pd.read_csv("some.csv")["y"] == "yes")
    losses = [
        losses_of_classes(truth, each, model.classes_)
        for each in (chances, np.tile([1 - share, share], (len(X), 1)))
    ]
    expected = difference(losses[1], losses[0], seed, groups)
    assert_same(said["compared"]["trivial"]["difference"], expected)


def assert_same(said, estimate):
    """A number and its interval are as in the other estimate."""
    assert said == pytest.approx(estimate._asdict())


@pytest.mark.parametrize("how", [("--cv", 3), ("--test-fraction", 0.3), ("--model", "fast")])
def test_every_row_is_judged_with_its_own_group(run, how, monkeypatch):
    frame = pd.read_csv("all.csv").assign(row=np.arange(300) + 0.5)
    frame.to_csv("known.csv", index=False)
    seen = []

    def spy(model, truth, *rest, groups, **named):
        seen.append((np.asarray(truth), groups))
        return judge(model, truth, *rest, groups=groups, **named)

    monkeypatch.setattr("chainrule.commands.jobs.judge", spy)
    code, _, err = run(
        *("train", "known.csv", "-t", "row", "--group", "who", "--ignore", "day"),
        *(how if "--model" in how else (*how, "--engine", "numpy", "--max-iter", 5)),
        *("--force", "-q"),
    )
    assert code == 0, err
    assert len(seen) == 3  # the model, the trivial and the linear one
    for truth, groups in seen:
        expected = frame["who"].to_numpy()[(truth - 0.5).astype(int)]
        assert len(truth) > 60
        np.testing.assert_array_equal(groups[:, None] == groups, expected[:, None] == expected)


def test_one_group_to_judge_on_says_nothing_of_others(run):
    pd.read_csv("rest.csv").assign(who="p99").to_csv("one.csv", index=False)
    code, out, err = run(
        *("train", "some.csv", "-t", "y", "--test", "one.csv", "--group", "who", "--json"),
        *("--ignore", "day", "--ignore", "w", *QUICK),
    )
    assert code == 0
    assert "all rows to judge on are of one group: intervals are about other rows" in err
    accuracy = json.loads(out)["evaluation"]["metrics"]["accuracy"]
    assert accuracy["low"] < accuracy["value"] < accuracy["high"]


def test_the_latest_rows_judge_an_ensemble_and_its_folds_choose_the_threshold(run):
    code, out, err = run(
        *("train", "all.csv", "-t", "y", "--time", "day", "--model", "fast"),
        *("--positive", "yes", "--cost", "5:1", "--ignore", "who", "--ignore", "day", "--force"),
    )
    assert code == 0, err
    assert "the latest rows are held out" in err
    assert "Trained on 240 rows: a blend of" in out
    assert "On 60 rows held out:" in out
    assert "Taken for 'yes' from a probability of" in out
    assert "for costs of 5:1" in out
    told = chainrule.read_header("model.chainrule")["metadata"]
    assert told["row_columns"] == {"time": "day"}
    model = chainrule.load("model.chainrule")
    late = pd.read_csv("all.csv").iloc[240:]
    yes = model.predict_proba(late)[:, 1] >= told["decision"]["threshold"]
    found = told["metrics"]["precision"]["value"]
    assert found == pytest.approx((late["y"][yes] == "yes").mean())


def test_groups_stay_together_in_the_folds_of_an_ensemble(run):
    code, out, err = run(
        *("train", "all.csv", "-t", "y", "--group", "who", "--model", "fast", "--json"),
        *("--ignore", "day", "--force"),
    )
    assert code == 0, err
    said, frame = json.loads(out), pd.read_csv("all.csv")
    assert said["rows"] == {"train": 300, "stop": 0, "test": 300, "left_out": 0}
    folds = chainrule.load("model.chainrule")[-1]._fold_of_row
    assert frame.groupby("who").agg(lambda rows: len(set(folds[rows.index])))["x"].eq(1).all()
    assert len(set(folds)) == 4
    chances = chainrule.load("model.chainrule")[-1].oof_prediction_
    names, groups = np.array(["no", "yes"]), frame["who"].to_numpy()
    found = evaluate_classes(
        frame["y"], names[chances.argmax(axis=1)], chances, names, groups=groups
    )
    assert_same(said["evaluation"]["metrics"]["accuracy"], found.metrics["accuracy"])


def test_a_model_no_better_than_a_simpler_one_is_told(run):
    code, out, _ = run("train", "all.csv", "-t", "idle", "--ignore", "day", *QUICK)
    assert code == 0
    assert "The trivial model " in out
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, 600)
    pd.DataFrame({"x": x, "y": np.abs(x)}).to_csv("bent.csv", index=False)
    code, out, _ = run("train", "bent.csv", "-t", "y", *QUICK)
    assert code == 0
    assert "Better than the linear model: its RMSE is higher by" in out


def test_a_precision_that_cannot_be_reached_keeps_the_model(run):
    rng = np.random.default_rng(0)
    noise = pd.DataFrame({"x": rng.normal(size=200), "y": rng.choice(["no", "yes"], 200)})
    noise.to_csv("noise.csv", index=False)
    code, _, err = run(
        *("train", "noise.csv", "-t", "y", "--positive", "yes", "--precision", 1),
        *("-o", "n.chainrule", *QUICK, "-q"),
    )
    assert code == 2
    assert "--precision 1 cannot be reached" in err
    assert err.strip().splitlines()[-1].endswith("The model is stored without a threshold")
    assert chainrule.read_header("n.chainrule")["metadata"]["decision"] == {"positive": "yes"}
    assert run("export", "n.chainrule", "-o", "n.py", "--force")[0] == 0


WRONG = [
    (["--weight", "v"], "--weight: there is no column 'v'"),
    (["--group", "y"], "--group: 'y' is the target"),
    (["--weight", "who"], "--weight: 'who' holds no number in row 1"),
    (["--time", "who"], "--time: 'who' holds neither a number nor a date in row 1"),
    (["--time", "day", "--group", "who"], "--time and --group hold out different rows"),
    (["--time", "day", "--cv", "3"], "--time holds out the latest rows, once"),
    (["--time", "day", "--test-fraction", "0"], "--test-fraction 0 none"),
    (["--test", "rest.csv", "--cv", "3"], "--test evaluates without --cv"),
    (["--test", "none.csv"], "--test: "),
    (["--test", "short.csv"], "--test: a column is missing that the model needs: 'z'"),
    (["--test", "blind.csv"], "--test: a column is missing that the model needs: 'y'"),
    (["--test", "some.csv", "--group", "who"], "--test: groups of 'who' are in both tables"),
    (["--cost", "1:5"], "--cost needs --positive"),
    (["--precision", "0.9"], "--precision needs --positive"),
    (["--positive", "maybe"], "--positive: 'y' has no class 'maybe'; it has 'no', 'yes'"),
    (["--positive", "yes", "--cost", "1"], "--cost is two numbers above 0"),
    (["--positive", "yes", "--cost", "0:1"], "--cost is two numbers above 0"),
    (["--positive", "yes", "--cost", "nan:1"], "--cost is two numbers above 0"),
    (["--positive", "yes", "--precision", "1.5"], "--precision is above 0 and at most 1"),
    (["--positive", "yes", "--cost", "1:2", "--precision", "0.5"], "give one of them"),
    (["--hidden-layer-sizes", "1000000000"], "--hidden-layer-sizes: layers of such widths have"),
    (["--hidden-layer-sizes", ",".join(["1"] * 401)], "401 hidden layers; train takes at most 30"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=[" ".join(o)[:40] for o, _ in WRONG])
def test_what_is_wrong_is_said_in_a_line_before_training(run, monkeypatch, options, message):
    frame = pd.read_csv("some.csv")
    frame.drop(columns="z").to_csv("short.csv", index=False)
    frame.drop(columns="y").to_csv("blind.csv", index=False)
    monkeypatch.setattr("chainrule.commands.jobs._fit", lambda *_: pytest.fail("it trains"))
    code, out, err = run("train", "some.csv", "-t", "y", "-o", "never.chainrule", *options)
    assert (code, out) == (2, "")
    lines = [line for line in err.splitlines() if not line.startswith("Note: ")]
    assert len(lines) == 1
    assert message in lines[0]


def test_a_positive_class_is_one_of_two(run):
    code, _, err = run("train", "all.csv", "-t", "x", "--positive", "yes", *QUICK)
    assert (code, "--positive is for two classes; 'x' is a number" in err) == (2, True)
    code, _, err = run("train", "all.csv", "-t", "w", "--positive", "1", *QUICK)
    assert (code, "'w' has 3: '0', '1', '2'" in err) == (2, True)


@pytest.mark.parametrize(("name", "text"), [("target", '""'), ("activation", '""')])
def test_an_empty_text_in_a_file_of_settings_is_named(run, folder, name, text):
    (folder / "s.toml").write_text(f"{name} = {text}\n")
    code, _, err = run("train", "all.csv", "--config", "s.toml", "-t", "y")
    assert code == 2
    assert f"s.toml: {name} is empty; give a value" in err


def test_predict_names_the_option_that_replaces_a_file(run, folder):
    (folder / "kept.csv").write_text("kept")
    code, _, err = run("predict", "none.chainrule", "all.csv", "-o", "kept.csv")
    assert code == 2
    assert "kept.csv exists; choose another --output, or replace it with --force" in err
    assert (folder / "kept.csv").read_text() == "kept"


def test_onnx_is_not_written_to_a_terminal(run, monkeypatch):
    terminal = SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("chainrule.commands.models.sys", terminal)
    code, _, err = run("export", "none.chainrule", "--format", "onnx", "-o", "-")
    assert code == 2
    assert "ONNX is binary, and standard output a terminal" in err


def test_an_ensemble_has_no_linear_model_of_other_columns_beside_it(run):
    """Older files have the coefficients of columns encoded in another way, perhaps as many."""
    run("train", "all.csv", "-t", "x", "--model", "fast", "--ignore", "day",
        "--ignore", "who", "--ignore", "y", "--force")  # fmt: skip
    metadata = chainrule.read_header("model.chainrule")["metadata"]
    assert metadata["compared_with"]["linear"].pop("of") == "encoded by the ensemble"
    chainrule.save(chainrule.load("model.chainrule"), "older.chainrule", metadata=metadata)
    for model, is_known in (("model.chainrule", True), ("older.chainrule", False)):
        code, out, err = run("evaluate", model, "all.csv", "--json", "--quiet")
        assert code == 0, err
        assert (json.loads(out)["baselines"]["linear"] is not None) == is_known


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digits", "--loss", "foo"), "--loss: unknown loss 'foo'"),
        (("digits", "--activation", "foo"), "--activation: unknown activation 'foo'"),
        (("digits", "--recipe", "foo"), "--recipe: unknown recipe 'foo'"),
        (("digits", "--dtype", "float16"), "--dtype must be float32 or float64"),
        (("digits", "--hidden", 10**15), "--hidden: a network of such widths does not fit"),
    ],
)
def test_a_wrong_setting_of_digits_names_its_option(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"chainrule: {message}")
    assert len(err.splitlines()) == 1
