"""chainrule tune: a search that ends with a model file, as train does."""

from __future__ import annotations

import itertools
import json
import shlex
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import chainrule
from chainrule.commands.cli import app

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("skrub", reason="tables are an extra")
pytest.importorskip("optuna", reason="the search is an extra")

pytestmark = pytest.mark.once

CHEAP = ("--max-iter", "4", "--engine", "numpy", "--cv", "1", "--compare-with", "none")


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run the command line inside this process; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 150))
    kind = np.where(a + b > 0, "yes", "no")
    pd.DataFrame({"a": a, "b": b, "kind": kind}).to_csv("t.csv", index=False)

    def run(*arguments):
        found = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "100"})
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        return found.exit_code, found.stdout, found.stderr

    return run


def test_it_searches_compares_and_stores_a_model_as_train_does(call, tmp_path):
    code, out, err = call("tune", "t.csv", "-t", "kind", "--trials", 4, *CHEAP)
    assert code == 0, err
    assert "4 trials (" in out
    assert "On 30 rows that the search has not seen: log loss" in out
    assert "orth it: " in out
    assert "Trained on 108 rows, stopped by 12 others: 4 epochs" in out
    model = chainrule.load("model.chainrule")
    table = pd.read_csv("t.csv")
    # The call that it names gives the same model.
    again = shlex.split(next(line for line in out.splitlines() if line.startswith("Again: "))[7:])
    assert again[:3] == ["chainrule", "train", "t.csv"]
    code, _, err = call(*again[1:], "-o", "again.chainrule", "--quiet")
    assert code == 0, err
    same = chainrule.load("again.chainrule")
    np.testing.assert_array_equal(model.predict_proba(table), same.predict_proba(table))
    assert chainrule.read_header("model.chainrule")["metadata"]["target"] == "kind"
    # What is printed is the measure of the stored model; and the trials are in the study.
    code, out, _ = call(
        *("tune", "t.csv", "-t", "kind", "--trials", 4, *CHEAP, "--force", "--json")
    )
    assert code == 0
    found = json.loads(out)
    search = found["search"]
    assert search["study"] == "model.study"
    assert [trial["number"] for trial in search["trials"]] == [0, 1, 2, 3]
    both = search["against_defaults"]
    log_loss = found["evaluation"]["metrics"]["log_loss"]["value"]
    assert both["model"]["value"] == pytest.approx(log_loss)
    assert both["gain"]["value"] == pytest.approx(both["other"]["value"] - log_loss)
    assert search["worth_it"] == (both["gain"]["low"] > 0)
    assert both["rows"] == found["rows"]["test"] == 30


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-t", "kid"], "there is no target 'kid'; did you mean 'kind'?"),
        (["-t", "kind", "--budget", "soon"], "the budget is a duration above 0"),
        (["-t", "kind", "--study", "t.csv"], "t.csv is no study: it is no SQLite file"),
        (["-t", "kind", "--metric", "rmse"], "the metric of a classification cannot be 'rmse'"),
        (["-t", "kind", "--compare-with", "all"], "--compare-with is fast, tabular or none"),
        (["-t", "kind", "--alpha", "-1"], "--alpha cannot be -1"),
        ([], "name the column to predict with --target"),
        (["-t", "kind", "--group", "kid"], "--group: there is no column 'kid'"),
        (["-t", "kind", "--time", "a", "--cv", "5"], "--time holds out the latest rows, once"),
        (["-t", "kind", "--time", "a", "--test", "t.csv"], "--test says itself which rows"),
        (["-t", "kind", "--test", "no.csv"], "--test: no.csv does not exist"),
        (["-t", "kind", "--config", "no.toml"], "no.toml cannot be read"),
        (["-t", "kind", "--cv", "97"], "--cv must be from 1 to "),
        (["-t", "kind", "--jobs", "0"], "jobs must be a whole number of processes"),
        (["-t", "kind", "--quantile", "0.5"], "--quantile goes with regression"),
        (["-t", "kind", "--learning-rate-init", "1e300"], "all 10 trials failed; the first: "),
    ],
)
def test_bad_input_ends_it_in_one_line(call, tmp_path, options, said):
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    code, _, err = call("tune", "t.csv", "--trials", 12, *CHEAP, *options)
    assert code == 2
    assert said in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("chainrule: ")
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert not (tmp_path / "model.chainrule").exists()


def test_a_study_of_other_data_and_a_model_that_is_there_are_kept(call, tmp_path):
    assert call("tune", "t.csv", "-t", "kind", "--trials", 1, *CHEAP)[0] == 0
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    code, _, err = call("tune", "t.csv", "-t", "kind", "--trials", 2, *CHEAP)
    assert (code, err) == (
        2,
        "chainrule: model.chainrule exists; choose another --output, or replace it with --force\n",
    )
    code, _, err = call("tune", "t.csv", "-t", "a", "--trials", 2, *CHEAP, "--force")
    assert code == 2
    assert "the study model.study is of another search: the table differs" in err.splitlines()[-1]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept


def visits(n=160):
    """Rows of patients at times, with weights: what they give is the same for all of a patient."""
    rng = np.random.default_rng(1)
    who = rng.integers(0, 20, n)
    a = rng.normal(size=n)
    return pd.DataFrame(
        {
            "who": [f"p{each}" for each in who],
            "day": rng.permutation(n),
            "counts": rng.integers(1, 4, n),
            "a": a,
            "b": rng.normal(size=n),
            "kind": np.where(a + who % 2 > 0.5, "yes", "no"),
        }
    )


ROLES = [
    ("--group", "who", "--weight", "counts"),
    ("--time", "day", "--weight", "counts", "--ignore", "who"),
    ("--test", "other.csv", "--ignore", "counts", "--seed", "3", "--kind", "who=categorical"),
    ("--config", "s.toml"),
]


@pytest.mark.parametrize("options", ROLES, ids=lambda options: options[0])
def test_train_gives_the_same_model_with_the_same_rows(call, options):
    """The rows that are learnt from, stopped by and judged on are train's, and so the weights."""
    visits().to_csv("v.csv", index=False)
    visits().iloc[:50].assign(b=0).to_csv("other.csv", index=False)
    with open("s.toml", "w") as file:
        file.write('target = "kind"\ngroup = "who"\ntrials = 3\nmax_iter = 4\nseed = 2\n')
        file.write('compare-with = "none"\nengine = "numpy"\n')
    given = ("--config", "s.toml")
    if options[0] != "--config":
        given = ("-t", "kind", "--trials", 3, "--max-iter", 4, "--engine", "numpy", *options)
        given += ("--compare-with", "none")
    code, out, err = call("tune", "v.csv", *given)
    assert code == 0, err
    again = shlex.split(next(line for line in out.splitlines() if line.startswith("Again: "))[7:])
    code, _, err = call(*again[1:], "-o", "again.chainrule", "--quiet")
    assert code == 0, err
    models = [chainrule.load(f"{name}.chainrule") for name in ("model", "again")]
    chances = [model.predict_proba(visits()) for model in models]
    np.testing.assert_array_equal(*chances)
    told = [chainrule.read_header(f"{name}.chainrule")["metadata"] for name in ("model", "again")]
    for part in ("rows", "metrics", "ignored"):
        assert told[0][part] == told[1][part]


@pytest.mark.parametrize(
    ("options", "cv", "folds"),
    [
        ({"group": "who"}, None, 5),
        ({"group": "who"}, 1, 1),
        ({"group": "who"}, 3, 3),
        ({"time": "day"}, None, 1),
    ],
)
def test_no_group_or_later_time_is_on_two_sides(call, options, cv, folds):
    from chainrule.commands.asking import ask
    from chainrule.commands.settings import OF_TUNE
    from chainrule.search.folds import parts_of

    table = visits()
    table.to_csv("v.csv", index=False)
    settings = dict.fromkeys(OF_TUNE) | {"ignore": [], "kind": {}, "max_levels": 40, "seed": 0}
    settings |= {"target": "kind", "cv": cv, **options}
    asked = ask("v.csv", settings, {}, {})
    question = asked.question
    (column,) = options.values()
    values = table[column].to_numpy()
    judged, searched = values[asked.held[0].index], values[question.X.index]
    parts = parts_of(question.samples, cv, 0)
    assert len(parts) == folds
    for part in parts:
        stop = question.stopping(part.learn, {})
        learnt = np.setdiff1d(part.learn, stop)
        sides = [searched[learnt], searched[stop], searched[part.held], judged]
        assert all(len(side) for side in sides)
        for one, other in itertools.combinations(sides, 2):
            assert not set(one) & set(other)
            assert column == "who" or one.max() < other.min()
    if folds > 1:
        held = np.concatenate([part.held for part in parts])
        assert sorted(held) == list(range(len(question.y)))


def test_a_study_of_other_weights_or_groups_is_refused(call):
    visits().to_csv("v.csv", index=False)
    given = ("tune", "v.csv", "-t", "kind", "--trials", 1, *CHEAP, "--force")
    assert call(*given, "--group", "who", "--weight", "counts")[0] == 0
    code, _, err = call(*given, "--group", "who", "--ignore", "counts")
    assert code == 2
    assert "of another search: the weights of the rows differ; name another file" in err
    code, _, err = call(*given, "--group", "who", "--weight", "counts")
    assert code == 0, err


def test_ctrl_c_keeps_the_best_so_far(call, monkeypatch):
    from chainrule.search import trials

    measure, calls = trials.row_losses, []

    def interrupted(*given):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(*given)

    monkeypatch.setattr(trials, "row_losses", interrupted)
    code, out, err = call("tune", "t.csv", "-t", "kind", "--trials", 9, *CHEAP)
    assert code == 130
    assert "2 trials (2 complete) on a part held out" in out
    assert "this is the best so far; the same call with --force goes on with model.study" in err
    assert chainrule.load("model.chainrule") is not None


def test_without_optuna_the_extra_is_named(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = call("tune", "t.csv", "-t", "kind")
    assert code == 2
    assert 'pip install "chainrule[tune]"' in err
