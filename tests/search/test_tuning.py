"""`chainrule.tune`: what it proposes, keeps, goes on with, and says of what it found."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import chainrule
from chainrule.estimators.row_columns import RowColumns
from chainrule.estimators.row_splits import Samples, held_out, stopping_rows
from chainrule.estimators.tabular import fit_pipeline
from chainrule.search import engines, trials, tuning, workers
from chainrule.search.folds import parts_of
from chainrule.search.results import told
from chainrule.search.study import close, open_study, reopened, trials_of

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("skrub", reason="tables are an extra")
pytest.importorskip("optuna", reason="the search is an extra")

CHEAP = {"folds": 1, "compare_with": None, "max_iter": 4, "engine": "numpy"}


def table(n=120, seed=0):
    """A frame and a target that depends on it: numbers, a category, a hole."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"a": rng.normal(size=n), "b": rng.choice(["x", "y"], n), "c": rng.random(n)})
    y = 3 * X["a"] + 2 * (X["b"] == "x") + rng.normal(size=n) / 4
    X.loc[3, "c"] = np.nan
    return X, y.to_numpy()


def outcome(tuned):
    """What does not depend on the clock."""
    found = tuned.found if isinstance(tuned, chainrule.Tuned) else tuned
    return [(t["state"], t["value"], t["parameters"]) for t in found.trials]


@pytest.fixture(scope="module")
def straight():
    """Six trials without interruption."""
    X, y = table()
    return chainrule.tune(X, y, trials=6, **CHEAP)


def test_the_same_call_gives_the_same_trials_and_model(straight):
    X, y = table()
    again = chainrule.tune(X, y, trials=6, **CHEAP)
    assert outcome(again) == outcome(straight)
    np.testing.assert_array_equal(again.model.predict(X), straight.model.predict(X))
    assert str(again).splitlines()[1:] == str(straight).splitlines()[1:]


def test_the_first_trial_has_the_defaults_and_the_best_is_kept(straight):
    found = straight.found
    first, values = found.trials[0], [t["value"] for t in found.trials if t["state"] == "complete"]
    network = chainrule.tabular_pipeline("regression", model="network")[-1].get_params()
    assert all(network[name] == value for name, value in first["parameters"].items())
    assert first["value"] == found.default_value
    assert found.value == min(values)
    best = next(t for t in found.trials if t["value"] == found.value)
    model = straight.model[-1].get_params()
    assert all(model[name] == value for name, value in best["parameters"].items())
    assert model["max_iter"] == 4
    assert len({json.dumps(t["parameters"]) for t in found.trials}) == 6


def test_a_trial_is_the_error_of_a_pipeline_on_the_rows_it_leaves_out(straight):
    from sklearn.metrics import root_mean_squared_error
    from sklearn.model_selection import train_test_split

    X, y = table()
    rows, _ = train_test_split(np.arange(len(y)), test_size=0.2, random_state=0)
    X, y = X.iloc[np.sort(rows)], y[np.sort(rows)]
    ((learnt, held, _),) = parts_of(Samples(y, "regression"), 1, 0)
    for trial in straight.found.trials[:2]:
        model = chainrule.tabular_pipeline(
            "regression", random_state=0, max_iter=4, **trial["parameters"]
        )
        with pytest.warns(Warning):  # noqa: PT030  # few epochs, and few rows for a batch
            model.fit(X.iloc[learnt], y[learnt])
        expected = root_mean_squared_error(y[held], model.predict(X.iloc[held]))
        assert trial["value"] == pytest.approx(expected, rel=1e-12)


def test_targets_of_the_rows_held_out_have_no_part_in_the_search(straight):
    X, y = table()
    _, held = held_out(Samples(y, "regression"), 0.2, 0)
    other = y.copy()
    other[held] = other[held][::-1] + 5
    again = chainrule.tune(X, other, trials=6, **CHEAP)
    assert outcome(again) == outcome(straight)
    assert again.against_defaults != straight.against_defaults


KILLED = """
import os, signal, sys
sys.path.insert(0, {folder!r})
from test_tuning import CHEAP, table
import chainrule
from chainrule.search import trials
measure, calls = trials.row_losses, []
def deadly(*given):
    calls.append(1)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return measure(*given)
trials.row_losses = deadly
chainrule.tune(*table(), trials=6, study={path!r}, **CHEAP)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no such signal")
def test_a_search_that_was_killed_goes_on_to_the_same_trials(straight, tmp_path):
    path = str(tmp_path / "what? 100% a study.db")
    code = KILLED.format(folder=os.path.dirname(__file__), path=path)
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    before = sqlite3.connect(path)
    states = [row[0] for row in before.execute("SELECT state FROM trials ORDER BY number")]
    before.close()
    assert len(states) == 4
    assert states[3] == "RUNNING"
    found = chainrule.tune(*table(), trials=6, study=path, **CHEAP)
    assert outcome(found) == outcome(straight)
    # All that were asked for are there: nothing is done again.
    calls = []
    again = chainrule.tune(
        *table(), trials=6, study=path, on_trial=lambda *said: calls.append(said), **CHEAP
    )
    assert outcome(again) == outcome(straight)
    assert calls == []


def test_several_processes_make_as_many_trials_as_asked_and_share_the_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "cores", lambda: 2)
    X, y = table()
    said, facts = [], RowColumns(np.arange(1.0, 121) % 7 + 1, np.arange(120) % 9)
    tuned = chainrule.tune(
        *(X, y),
        sample_weight=facts.weight,
        groups=facts.group,
        trials=7,
        jobs=2,
        study=tmp_path / "s",
        on_trial=lambda *s: said.append(s),
        **CHEAP,
    )
    assert len(tuned.found.trials) == 7
    assert len({json.dumps(t["parameters"]) for t in tuned.found.trials}) == 7
    assert said[-1] == (7, tuned.found.value)
    rows = sqlite3.connect(tmp_path / "s")
    query = "SELECT trial_id, value_json FROM trial_user_attributes WHERE key = 'process'"
    processes = [json.loads(row[1]) for row in sorted(rows.execute(query))]
    rows.close()
    here = str(os.getpid())
    assert processes[0].split()[-1] == here  # it compiles what is needed before the others start
    assert here not in {each.split()[-1] for each in processes[1:]}
    # Weights and groups are there too: a trial of another process is what can be made here.
    trial = next(t for t in tuned.found.trials[1:] if t["state"] == "complete")
    rows, _ = held_out(Samples(y, "regression", facts), 0.2, 0)
    X, y, facts = X.iloc[rows], y[rows], facts.take(rows)
    ((learnt, held, _),) = parts_of(Samples(y, "regression", facts), 1, 0)
    stop = stopping_rows(Samples(y[learnt], "regression", facts.take(learnt)), 0.1, 0)
    model = chainrule.tabular_pipeline(
        "regression", random_state=0, max_iter=4, engine="numpy", **trial["parameters"]
    )
    with pytest.warns(Warning):  # noqa: PT030  # few epochs, and few rows for a batch
        fit_pipeline(model, X.iloc[learnt], y[learnt], weight=facts.weight[learnt], stop=stop)
    errors = (model.predict(X.iloc[held]) - y[held]) ** 2
    expected = np.sqrt(np.average(errors, weights=facts.weight[held]))
    assert trial["value"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("jobs", "cores", "started"), [(1, 4, 1), (3, 4, 3), (9, 4, 4), (-1, 4, 4)]
)
def test_no_more_processes_than_cores(monkeypatch, jobs, cores, started):
    monkeypatch.setattr(workers, "cores", lambda: cores)
    assert workers.processes(jobs) == started


def test_each_process_has_its_part_of_the_threads(monkeypatch):
    monkeypatch.setattr(workers, "cores", lambda: 8)
    seen = {}

    def run(search, path, jobs, failed, over):
        seen.update(search.fixed, jobs=jobs)
        over.set()

    monkeypatch.setattr(workers, "_run", run)
    monkeypatch.setattr(workers, "drop_abandoned", lambda _: 0)
    search = trials.Search("regression", None, {}, {}, [], 0, None)
    workers.share(search, None, "s", 3)
    assert seen == {"n_threads": 2, "jobs": 3}  # 3 × 2 ≤ 8


@pytest.mark.skipif(sys.platform == "win32", reason="there, os.kill ends the process")
def test_ctrl_c_waits_until_the_processes_have_ended(monkeypatch):
    ended = []

    def run(search, path, jobs, failed, over):
        while not os.path.exists(search.stop):
            time.sleep(0.01)
        time.sleep(0.2)
        ended.append(True)
        over.set()

    monkeypatch.setattr(workers, "_run", run)
    monkeypatch.setattr(workers, "cores", lambda: 2)
    monkeypatch.setattr(workers, "trials_of", lambda _: [])
    monkeypatch.setattr(workers, "drop_abandoned", lambda _: 0)
    search = trials.Search("regression", None, {}, {}, [], 0, None)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    assert workers.share(search, None, "s", 2) == (True, [])
    assert ended


def test_ctrl_c_ends_the_search_with_the_best_so_far(tmp_path, straight):
    def stop(done, least):
        if done == 3:
            raise KeyboardInterrupt

    tuned = chainrule.tune(*table(), trials=6, study=tmp_path / "s", on_trial=stop, **CHEAP)
    assert tuned.found.ended == "interrupted"
    assert outcome(tuned) == outcome(straight)[:3]
    assert "ended by Ctrl-C" in str(tuned)
    assert len(tuned.model.predict(table()[0])) == 120
    # The next call goes on.
    assert outcome(chainrule.tune(*table(), trials=6, study=tmp_path / "s", **CHEAP)) == outcome(
        straight
    )


def test_ctrl_c_within_a_fit_gives_that_trial_up(monkeypatch, straight):
    report = trials.Watch.on_epoch_end
    calls = []

    def interrupted(self, estimator, record):
        calls.append(1)
        if len(calls) == 10:  # in the third trial, of four epochs each
            signal.raise_signal(signal.SIGINT)
        return report(self, estimator, record)

    monkeypatch.setattr(trials.Watch, "on_epoch_end", interrupted)
    tuned = chainrule.tune(*table(), trials=6, **CHEAP)
    assert tuned.found.ended == "interrupted"
    assert outcome(tuned) == outcome(straight)[:2]


def test_the_budget_ends_a_fit():
    # So many epochs would take hours.
    tuned = chainrule.tune(
        *table(),
        budget=0.6,
        folds=1,
        compare_with=None,
        engine="numpy",
        max_iter=10**7,
        early_stopping=False,
        n_iter_no_change=10**7,
    )
    found = tuned.found
    assert found.ended == "budget"
    assert found.trials == []
    assert found.parameters == found.defaults
    assert (
        "no trial was completed within the budget; the settings are the defaults" in found.notices
    )


def test_a_fit_that_does_worse_than_most_is_ended(tmp_path):
    X, y = table(200)
    tuned = chainrule.tune(X, y, trials=14, **CHEAP | {"max_iter": 8}, study=tmp_path / "s")
    pruned = [t for t in tuned.found.trials if t["state"] == "pruned"]
    assert pruned
    library = pytest.importorskip("optuna")
    assert library.logging.get_verbosity() == library.logging.ERROR
    at_4 = {
        row[0]: row[1]
        for row in sqlite3.connect(tmp_path / "s").execute(
            "SELECT number, intermediate_value FROM trial_intermediate_values "
            "JOIN trials USING (trial_id) WHERE step = 3"
        )
    }
    complete = [at_4[t["number"]] for t in tuned.found.trials if t["state"] == "complete"]
    first = pruned[0]["number"]
    earlier = [value for number, value in at_4.items() if number < first]
    assert at_4[first] > np.median(earlier) or at_4[first] > np.median(complete)


def test_a_gain_is_said_to_be_worth_it_and_luck_is_not():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(300, 4)), columns=list("abcd"))
    # Three epochs are too few for the default step size.
    y = 5 * X["a"] - 4 * X["b"]
    how = CHEAP | {"max_iter": 3}
    tuned = chainrule.tune(X, y, trials=12, **how)
    assert tuned.worth_it
    assert tuned.against_defaults.gain.low > 0
    assert "Worth it: the RMSE falls by" in str(tuned)
    # Where there is nothing to learn, the best of the trials is lucky, and no more.
    noise = chainrule.tune(X, np.random.default_rng(1).normal(size=300), trials=8, **CHEAP)
    assert noise.found.value < noise.found.default_value
    assert not noise.worth_it
    assert "worth it: the" in str(noise)
    assert "Worth it" not in str(noise)


def test_the_ensemble_is_compared_on_the_same_rows():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(150, 2)), columns=["a", "b"])
    y = np.where(X["a"] + X["b"] > 0, "yes", "no")
    tuned = chainrule.tune(X, y, trials=2, **CHEAP | {"max_iter": 1, "compare_with": "fast"})
    assert tuned.against_ensemble.rows == tuned.against_defaults.rows == 30
    assert tuned.against_ensemble.first == tuned.against_defaults.first
    assert tuned.against_ensemble.gain.high < 0  # of one epoch
    assert "it does better (chainrule train --model tabular" in str(tuned)


def test_few_rows_of_a_class_lower_the_folds_and_leave_no_class_out():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=40)})
    y = np.array(["a"] * 18 + ["b"] * 18 + ["c"] * 4)
    tuned = chainrule.tune(X, y, trials=2, test_fraction=0.25, **CHEAP | {"folds": None})
    assert tuned.found.folds == 3  # rows of "c" that are left
    y = np.array(["a"] * 9 + ["c"] * 3)
    parts = parts_of(Samples(y, "classification"), None, 0)
    assert all({"a", "c"} == set(y[part.learn]) for part in parts)


def test_the_engine_is_chosen_once_by_the_work_of_all_fits(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(engines, "_compile", seen.append)
    y = table()[1]

    def engine_of(seconds, most):
        fold = trials.Fold(np.zeros((80, 3)), y[:80], np.zeros((20, 3)), y[:20], {})
        search = trials.Search("regression", None, {}, {}, [fold] * 5, 0, most)
        study = open_study(tmp_path / f"{seconds} {most}", {"table": ""})
        engines.choose_engine(search, study, seconds, [])
        assert study.user_attrs["engine"] == search.fixed["engine"]
        return search.fixed["engine"]

    assert engine_of(math.inf, 1) == "numpy"
    monkeypatch.setattr("chainrule.training.train.compilation.can_compile", lambda: True)
    assert engine_of(math.inf, 5000) == "numba"
    assert engine_of(600.0, None) == "numba"
    assert len(seen) == 2


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"budget": "5x"}, "the budget is a duration above 0, such as 90s, 5m or 1h30m; got '5x'"),
        ({"trials": 0}, "trials must be 1 or more"),
        ({"jobs": 0}, "jobs must be a whole number of processes, or -1"),
        ({"folds": 97}, "folds must be from 1 to 96, the 96 rows that are searched on; got 97"),
        ({"test_fraction": 1.5}, "test_fraction must be between 0 and 1"),
        ({"metric": "log_loss"}, "the metric of a regression cannot be 'log_loss'"),
        ({"compare_with": "best of all"}, "compare_with must be None, 'fast' or 'best'"),
        ({"study": "no/such/folder/s"}, "there is no folder"),
        ({"study": "."}, "is a folder; name a file"),
        ({"task": "classify"}, "there is no task 'classify'; did you mean 'classification'?"),
        ({"random_state": None}, "random_state must be a whole number from 0 to 4294967295"),
        ({"random_state": -1}, "random_state must be a whole number from 0 to 4294967295"),
        ({"on_trial": 3}, "on_trial must be a function (trials, least), or None; got 3"),
        ({"alhpa": 1}, "there is no parameter 'alhpa'; did you mean 'alpha'?"),
        ({"alpha": -1}, "The 'alpha' parameter of MLPRegressor must be a float in the range"),
        ({"dropout": [0.1, 0.2]}, "dropout"),
    ],
)
def test_what_is_refused(how, said, tmp_path):
    with pytest.raises((ValueError, TypeError), match=re.escape(said)):
        chainrule.tune(*table(), **{"trials": 1, "study": tmp_path / "s", **CHEAP, **how})
    assert list(tmp_path.iterdir()) == []  # no study that would be of other settings


def test_the_shape_of_a_target_is_said():
    X, y = table()
    with pytest.raises(ValueError, match=r"of the 120 rows of X; it has the shape \(120, 1\)"):
        chainrule.tune(X, y[:, np.newaxis], trials=1, **CHEAP)


def test_numbers_of_numpy_are_whole_numbers(straight, tmp_path):
    how = {"trials": np.int64(1), "random_state": np.int64(0), "jobs": np.int64(1)}
    how = {**CHEAP, "folds": np.int64(1), "study": tmp_path / "s", **how}
    assert outcome(chainrule.tune(*table(), **how)) == outcome(straight)[:1]
    how |= {"trials": 2, "random_state": 0, "folds": 1}
    assert outcome(chainrule.tune(*table(), **how)) == outcome(straight)[:2]


def test_callbacks_hear_of_trials_too():
    heard = []
    tuned = chainrule.tune(
        *table(), trials=2, callbacks=[lambda estimator, record: heard.append(1)], **CHEAP
    )
    # Of both trials, of the best and, unless that is the same, of the defaults.
    assert len(heard) == 4 * (3 + (tuned.parameters != {}))


def test_too_few_rows_of_a_class():
    X, y = table(30)
    with pytest.raises(ValueError, match="4 rows are too few to search on"):
        chainrule.tune(X[:6], y[:6], trials=1, **CHEAP)
    labels = np.array(["a"] * 28 + ["b"] * 2)
    with pytest.raises(ValueError, match="a single row of the class 'b' is left to search on"):
        chainrule.tune(X, labels, trials=1, test_fraction=0.5, **CHEAP)
    with pytest.raises(ValueError, match="y has no number in row 4"):
        chainrule.tune(X, np.where(np.arange(30) == 4, np.nan, y), trials=1, **CHEAP)


def test_a_study_of_other_data_is_refused_and_stays_as_it_is(tmp_path):
    X, y = table()
    path = tmp_path / "s"
    chainrule.tune(X, y, trials=1, study=path, **CHEAP)
    before = path.read_bytes()
    for other, said in (
        (((X, y + 1), {}), "the table differs"),
        (((X.assign(d=1.5), y), {}), "the table differs .*96 rows, 3 columns.*here 96 rows, 4"),
        (((X, y), {"metric": "mae"}), "is of another search: the metric differs; name another"),
        (((X, y), {"random_state": 1}), "the table differs, the seed differs"),
        (((X, y), {"alpha": 1.0}), "the settings that are fixed differ, the settings that are se"),
        (((X, (y > 0).astype(str)), {"max_iter": 4}), "the task differs"),
    ):
        given, how = other
        with pytest.raises(ValueError, match=said):
            chainrule.tune(*given, trials=1, study=path, **CHEAP | how)
    assert path.read_bytes() == before
    assert len(chainrule.tune(X, y, trials=2, study=path, **CHEAP).found.trials) == 2


def test_of_several_that_make_a_study_at_once_the_first_says_what_it_is_about(tmp_path):
    for k in range(3):
        path, start, said = tmp_path / str(k), threading.Barrier(4), []

        def make(name, path=path, start=start, said=said):
            start.wait()
            try:
                close(open_study(path, {"table": name}))
                said.append(name)
            except ValueError as error:
                said.append(str(error))

        makers = [threading.Thread(target=make, args=(name,)) for name in "abca"]
        for each in makers:
            each.start()
        for each in makers:
            each.join()
        kept = reopened(path)
        first = kept.user_attrs["about"]["table"]
        close(kept)
        others = [each for each in said if each != first]
        assert len(others) == 4 - "abca".count(first)
        assert all(f"the table differs ({first}; here " in each for each in others)


def test_a_database_that_only_begins_as_a_study_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("chainrule.search.study.time.sleep", lambda seconds: None)
    database = sqlite3.connect(tmp_path / "s")
    database.execute("CREATE TABLE studies (a)")
    database.commit()
    with pytest.raises(ValueError, match="s is no study: it is a database of other tables"):
        open_study(tmp_path / "s", {"table": ""})
    database.close()


def test_the_defaults_are_left_to_the_process_that_makes_them(tmp_path, straight, monkeypatch):
    """A search that begins while the first trial of another one is under way."""
    measure, others = trials.row_losses, []

    def while_measured(*given):
        if not others:
            others.append(None)
            others[0] = chainrule.tune(*table(), trials=3, study=tmp_path / "s", **CHEAP)
        return measure(*given)

    monkeypatch.setattr(trials, "row_losses", while_measured)
    tuned = chainrule.tune(*table(), trials=3, study=tmp_path / "s", **CHEAP)
    assert outcome(tuned) == outcome(straight)[:3]
    assert outcome(others[0]) == outcome(straight)[1:3]
    assert "1 trials are under way in other processes, and not counted here" in (
        others[0].found.notices
    )
    assert tuned.found.notices == straight.found.notices


def test_what_comes_before_the_trials_is_in_the_budget(monkeypatch):
    class Clock:
        now = 1000.0

        def time(self):
            return self.now

        perf_counter = time

    clock, encoded = Clock(), tuning.encoded

    def slowly(*given):
        clock.now += 50
        return encoded(*given)

    monkeypatch.setattr(tuning, "time", clock)
    monkeypatch.setattr(tuning, "encoded", slowly)
    tuned = chainrule.tune(*table(), budget=120, **CHEAP)
    assert tuned.found.deadline == 1120


def test_files_that_are_no_study_stay_as_they_are(tmp_path):
    text, other, locked = (tmp_path / name for name in ("a.csv", "other.db", "locked"))
    text.write_text("a,b\n1,2\n" * 10)
    database = sqlite3.connect(other)
    database.execute("CREATE TABLE mine (a)")
    database.commit()
    for path, said in ((text, "it is no SQLite file"), (other, "a database of other tables")):
        before = path.read_bytes()
        with pytest.raises(ValueError, match=f"{path.name} is no study: .*{said}"):
            chainrule.tune(*table(), trials=1, study=path, **CHEAP)
        assert path.read_bytes() == before
    cut = tmp_path / "cut"
    cut.write_bytes(other.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cut cannot be used: "):
        chainrule.tune(*table(), trials=1, study=cut, **CHEAP)
    holder = sqlite3.connect(locked)
    holder.execute("CREATE TABLE trials (a)")
    holder.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(20, holder.close)
    try:
        with pytest.raises(ValueError, match="locked is locked by another program"):
            chainrule.tune(*table(), trials=1, study=locked, **CHEAP)
    finally:
        release.cancel()
        holder.close()
        database.close()


def test_trials_that_fail_are_kept_with_their_reason(monkeypatch, straight):
    measure, calls = trials.row_losses, []

    def fails(*given):
        calls.append(1)
        if len(calls) in (2, 4):
            raise FloatingPointError("the cost is\nno number")
        return measure(*given)

    monkeypatch.setattr(trials, "row_losses", fails)
    tuned = chainrule.tune(*table(), trials=6, **CHEAP)
    failed = [t for t in tuned.found.trials if t["state"] == "failed"]
    assert [t["number"] for t in failed] == [1, 3]
    assert failed[0]["error"] == "the cost is no number"
    assert "2 trials failed; the first: the cost is no number" in tuned.found.notices
    assert "2 failed" in str(tuned)


def test_if_all_trials_fail_that_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"all 10 trials failed; the first: .* kept in .*s"):
        chainrule.tune(*table(), trials=30, study=tmp_path / "s", **CHEAP, learning_rate_init=1e300)
    study = reopened(tmp_path / "s")
    assert [t.state.name for t in trials_of(study)] == ["FAIL"] * 10


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r'pip install "chainrule\[tune\]"'):
        chainrule.tune(*table(), trials=1)


def test_a_model_of_several_quantiles_cannot_be_compared():
    with pytest.raises(ValueError, match="predicts 2 numbers a row, and a search compares one"):
        chainrule.tune(*table(), trials=10, loss="quantile", quantile=(0.1, 0.9), **CHEAP)


def test_it_is_told_in_lines(straight):
    assert str(straight).splitlines() == told(straight.found, straight.against_defaults, None)
    assert straight.parameters == straight.found.changed
