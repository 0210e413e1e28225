"""`chainrule.tune` with weights, groups and times of rows: who sees which rows, and what counts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, LogisticRegression

import chainrule
from chainrule.estimators.row_columns import RowColumns
from chainrule.estimators.row_splits import held_out
from chainrule.search import judging, trials
from chainrule.search.comparing import compare
from chainrule.search.folds import parts_of
from chainrule.search.measures import MEASURES, measure_for, row_losses
from chainrule.search.results import Question

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("skrub", reason="tables are an extra")
pytest.importorskip("optuna", reason="the search is an extra")

pytestmark = pytest.mark.once

CHEAP = {"trials": 2, "compare_with": None, "max_iter": 2, "engine": "numpy"}
N = 90


def known_rows(task="regression"):
    """A frame, a target that says which row it is of, and weights, groups and times."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"row": np.arange(N) + 0.5, "b": rng.choice(["x", "y"], N)})
    y = rng.permutation(N) + 0.25 if task == "regression" else rng.choice(["no", "yes"], N)
    return X, y, rng.integers(0, 4, N), rng.integers(0, 9, N), rng.integers(0, 30, N)


@pytest.fixture
def asked(monkeypatch):
    """What `tune` asks of the rows that it searches on, without a search."""

    def ask(*arguments, **named):
        seen = []

        def search(question, **how):
            seen.append(question)
            raise InterruptedError

        with monkeypatch.context() as patched:
            patched.setattr("chainrule.search.tuning.search", search)
            with pytest.raises(InterruptedError):
                chainrule.tune(*arguments, **named)
        return seen[0]

    return ask


def question(y, task="regression", **facts):
    """What a search on these rows is asked."""
    return Question(None, y, task, MEASURES["rmse"], {}, {}, 0, RowColumns(**facts))


def sides(asked, folds=None):
    """Rows that are judged on; and of each fold the rows learned from, stopped by, measured on."""
    rows, judged = held_out(asked.samples, 0.2, 0)
    searched = asked._replace(y=asked.y[rows], facts=asked.facts.take(rows))
    parts = []
    for part in parts_of(searched.samples, folds, 0):
        stop = searched.stopping(part.learn, {})
        learnt = part.learn if stop is None else np.setdiff1d(part.learn, stop)
        parts.append([rows[each] for each in (learnt, stop, part.held) if each is not None])
    return judged, parts


# --- which rows are on which side ----------------------------------------------------------------


@given(st.lists(st.integers(0, 12), min_size=30, max_size=60), st.sampled_from([None, 1, 2]))
def test_no_group_is_on_two_sides_and_every_row_is_used(groups, folds):
    groups = np.array([*groups, 0, 1, 2])
    judged, parts = sides(question(np.arange(len(groups)) + 0.5, group=groups), folds)
    for part in parts:
        assert sorted(np.concatenate([*part, judged])) == list(range(len(groups)))
        for one, other in itertools.combinations([*part, judged], 2):
            assert len(one) > 0 < len(other)
            assert not set(groups[one]) & set(groups[other])
    if len(parts) > 1:
        measured = np.concatenate([part[-1] for part in parts])
        assert sorted([*measured, *judged]) == list(range(len(groups)))


@given(st.lists(st.integers(0, 20), min_size=30, max_size=60))
def test_later_rows_stop_still_later_ones_measure_and_the_latest_judge(times):
    times = np.array([*times, 30, 31, 32])
    judged, parts = sides(question(np.arange(len(times)) + 0.5, time=times))
    (part,) = parts
    assert sorted(np.concatenate([*part, judged])) == list(range(len(times)))
    for earlier, later in itertools.pairwise([*part, judged]):
        assert times[earlier].max() < times[later].min()


@pytest.mark.parametrize(
    "as_given",
    [
        lambda days: days,
        lambda days: [float(day) for day in days],
        lambda days: pd.Timestamp("2024-02-20", tz="Europe/Paris") + pd.to_timedelta(days, "D"),
        lambda days: pd.to_timedelta(days, "h").to_numpy(),
        lambda days: [
            date.date() for date in pd.Timestamp("2024-02-20") + pd.to_timedelta(days, "D")
        ],
        lambda days: pd.PeriodIndex.from_ordinals(days, freq="Q"),
        lambda days: pd.Categorical.from_codes(
            days, [f"day {30 - k}" for k in range(30)], ordered=True
        ),
        lambda days: pd.Series(days.astype(object), index=days[::-1]),
    ],
    ids=["ints", "floats", "zone", "durations", "dates", "periods", "ordered", "objects"],
)
def test_times_may_be_anything_that_has_an_order(as_given, asked):
    X, y, _, _, days = known_rows()
    one, other = (asked(X, y, times=times) for times in (as_given(days), days))
    np.testing.assert_array_equal(one.y, other.y)
    assert len(one.y) < N


# --- who is given what ---------------------------------------------------------------------------


@pytest.fixture
def spied(monkeypatch):
    """Every fit of a network, every fit of an ensemble, and all rows that are measured on."""
    seen = {"fits": [], "ensembles": [], "measured": [], "judged": []}
    fit, whole = chainrule.MLPRegressor.fit, chainrule.TabularRegressor.fit

    def spy(self, X, y, sample_weight=None, **of_validation):
        seen["fits"].append((y, sample_weight, of_validation))
        return fit(self, X, y, sample_weight, **of_validation)

    def spy_on_ensemble(self, X, y, sample_weight=None, groups=None):
        seen["ensembles"].append((y, sample_weight, groups))
        self.max_epochs = 1
        return whole(self, X, y, sample_weight, groups)

    def losses(name):
        def spy_on_losses(measure, model, X, y):
            found = row_losses(measure, model, X, y)
            seen[name].append((y, found))
            return found

        return spy_on_losses

    monkeypatch.setattr(chainrule.MLPRegressor, "fit", spy)
    monkeypatch.setattr(chainrule.TabularRegressor, "fit", spy_on_ensemble)
    monkeypatch.setattr(trials, "row_losses", losses("measured"))
    monkeypatch.setattr(judging, "row_losses", losses("judged"))
    return seen


def test_weights_and_groups_reach_every_fit_and_every_figure(spied):
    X, y, weight, group, _ = known_rows()
    names = np.array([f"patient {each}" for each in group])
    tuned = chainrule.tune(
        X, y, sample_weight=weight, groups=names, **{**CHEAP, "compare_with": "fast", "folds": 3}
    )
    row_of = {value: row for row, value in enumerate(y)}

    def rows(targets):
        return np.array([row_of[value] for value in targets])

    judged = rows(spied["judged"][0][0])
    assert len(spied["fits"]) == 3 * 2 + 1 + (tuned.found.value < tuned.found.default_value)
    held = [*(rows(targets) for targets, _ in spied["measured"]), judged, judged]
    for (targets, weights, beside), others in zip(spied["fits"], held, strict=False):
        learnt, stop = rows(targets), rows(beside["y_val"])
        np.testing.assert_array_equal(weights, weight[learnt])
        np.testing.assert_array_equal(beside["sample_weight_val"], weight[stop])
        for one, other in itertools.combinations((learnt, stop, others), 2):
            assert not set(group[one]) & set(group[other])
    ((targets, weights, groups),) = spied["ensembles"]
    learnt = rows(targets)
    np.testing.assert_array_equal(weights, weight[learnt])
    same = group[learnt][:, None] == group[learnt]
    np.testing.assert_array_equal(groups[:, None] == groups, same)
    # Rows of weight 0 are nowhere; all others were searched on or judged on.
    assert sorted([*learnt, *judged]) == np.flatnonzero(weight).tolist()
    # A trial's value is the weighted error in its folds.
    errors = np.concatenate([losses for _, losses in spied["measured"][:3]])
    value = np.sqrt(np.average(errors, weights=weight[np.concatenate(held[:3])]))
    assert tuned.found.default_value == pytest.approx(value)
    # What is reported is the weighted error of the model on the rows held out.
    error = tuned.model.predict(X.iloc[judged]) - y[judged]
    expected = np.sqrt(np.average(error**2, weights=weight[judged]))
    assert tuned.against_defaults.first.value == pytest.approx(expected)
    assert tuned.against_ensemble.first.value == pytest.approx(expected)
    assert "weighted RMSE" in str(tuned)
    # Intervals are of whole groups, drawn anew.
    first, second = (losses for _, losses in spied["judged"][-2:])
    whole = {"weight": weight[judged], "groups": group[judged]}
    assert len(set(group[judged])) > 1
    expected = compare(tuned.found.measure, first, second, **whole)
    assert tuned.against_ensemble[:3] == expected[:3]
    assert not tuned.found.notices


def test_one_group_to_judge_on_says_nothing_of_others():
    X, y, _, _, _ = known_rows()
    groups = np.arange(N) // 30
    tuned = chainrule.tune(X, y, groups=groups, **{**CHEAP, "folds": 1})
    (notice,) = tuned.found.notices
    assert notice.startswith("all rows to judge on are of one group: ")
    assert tuned.against_defaults.first.low < tuned.against_defaults.first.high


def test_the_command_line_asks_the_same_question(tmp_path, asked):
    from chainrule.commands.asking import ask
    from chainrule.commands.settings import OF_TUNE

    X, y, weight, group, time = known_rows("classification")
    names = np.array([f"g{each}" for each in group])
    X.assign(y=y, w=weight, g=names, t=time).to_csv(tmp_path / "t.csv", index=False)
    settings = dict.fromkeys(OF_TUNE) | {"kind": {}, "max_levels": 40, "seed": 0, "target": "y"}
    for options, table, facts in (
        ({"group": "g", "weight": "w", "ignore": ["t"]}, X, {"groups": names}),
        ({"time": "t", "weight": "w", "ignore": ["g"]}, X.assign(t=time), {"times": time}),
    ):
        told = ask(str(tmp_path / "t.csv"), settings | options, {}, {})
        mine = asked(table, y, sample_weight=weight, **facts)
        found = told.question.X.set_axis(mine.X.index)
        pd.testing.assert_frame_equal(found, mine.X, check_dtype=False)
        np.testing.assert_array_equal(told.question.y.astype(str), mine.y)
        assert told.question[2:4] == mine[2:4]
        for one, other in zip(told.question.facts, mine.facts, strict=True):
            np.testing.assert_array_equal(one, other)
        rows = np.setdiff1d(X["row"][weight > 0], mine.X["row"])
        np.testing.assert_array_equal(told.held[0]["row"], rows)
        rows = (rows - 0.5).astype(int)
        np.testing.assert_array_equal(told.held[2].weight, weight[rows])
        if "group" in options:
            same = names[rows][:, None] == names[rows]
            found = told.held[2].group
            np.testing.assert_array_equal(found[:, None] == found, same)

    # Rows of another table count once each, and keep their groups.
    X.assign(y=y, w=weight, g=[f"other {each}" for each in group], t=time).to_csv(
        tmp_path / "other.csv", index=False
    )
    options = {"test": str(tmp_path / "other.csv"), "group": "g", "weight": "w", "ignore": ["t"]}
    held = ask(str(tmp_path / "t.csv"), settings | options, {}, {}).held
    assert held[2].weight is held[2].time is None
    assert held[2].group.tolist() == [f"other {each}" for each in group]


# --- weights in figures --------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(MEASURES))
def test_a_weight_counts_as_so_many_copies_of_the_row(name):
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(70, 3)), rng.integers(1, 5, 70)
    y = X @ [1.0, -2.0, 0.5] + rng.normal(size=70)
    task = MEASURES[name].task
    if task == "classification":
        y = np.digitize(y, [-1, 1])
    fitted = (LinearRegression if task == "regression" else LogisticRegression)().fit(
        X[:30], y[:30]
    )
    measure = measure_for(task, name, weight)
    assert measure.label == f"weighted {MEASURES[name].label}"
    losses = row_losses(measure, fitted, X, y)
    copies = np.repeat(np.arange(70), weight)
    once = measure.of(losses)
    assert measure.of(losses, weight) == pytest.approx(measure.of(losses[copies]))
    assert measure.of(losses, weight) != pytest.approx(once, rel=1e-6)
    assert measure.of(losses, np.full(70, 3.0)) == pytest.approx(once)
    found = compare(measure, losses, 2 * losses, weight=weight)
    repeated = compare(measure, losses[copies], 2 * losses[copies])
    for one, other in zip(found[:3], repeated[:3], strict=True):
        assert one.value == pytest.approx(other.value)
    # Rows are drawn, not their copies, so that it does not matter what the weights add up to.
    other = compare(measure, losses, 2 * losses, weight=7.0 * weight)
    assert [*found.first, *found.gain] == pytest.approx([*other.first, *other.gain])
    assert found.first.high - found.first.low > repeated.first.high - repeated.first.low


# --- the study -----------------------------------------------------------------------------------


def test_a_study_goes_on_with_the_same_rows_and_refuses_others(tmp_path):
    X, y, weight, group, time = known_rows()
    others = np.where(weight, 5 - weight, 0)
    for facts, wrong, said in (
        (
            {"sample_weight": weight, "groups": group},
            ({"groups": group // 2}, {"groups": None}),
            "the groups of the rows differ",
        ),
        (
            {"sample_weight": weight, "times": time},
            ({"sample_weight": others}, {"sample_weight": None}),
            "the weights of the rows differ",
        ),
        ({"times": time}, ({"times": time[::-1]}, {"times": None}), "the times of the rows differ"),
    ):
        path = tmp_path / said
        how = CHEAP | {"trials": 1, "study": path, "folds": 1}
        found = chainrule.tune(X, y, **how, **facts).found
        before = path.read_bytes()
        for other in wrong:
            with pytest.raises(ValueError, match=f"is of another search: .*{said}"):
                chainrule.tune(X, y, **how, **facts | other)
        assert path.read_bytes() == before
        again = chainrule.tune(X, y, **how, **{name: list(v) for name, v in facts.items()}).found
        assert again.trials == found.trials


# --- bad input -----------------------------------------------------------------------------------


def at(row, value, n=N):
    """Ones, and another value in a row."""
    return [value if k == row else 1.0 for k in range(n)]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"sample_weight": np.ones(7)}, "sample_weight has 7 values, and X has 90 rows; give a v"),
        ({"groups": ["a", "b"]}, "groups has 2 values, and X has 90 rows"),
        ({"times": np.arange(91)}, "times has 91 values, and X has 90 rows"),
        (
            {"groups": np.ones((90, 1))},
            "groups must be of one dimension, with a value for each row",
        ),
        ({"sample_weight": [[1], [1, 2]] * 45}, "sample_weight must be of one dimension"),
        ({"times": "day"}, "times must be of one dimension, with a value for each row of X"),
        ({"sample_weight": at(7, -1)}, "sample_weight is negative in row 7"),
        ({"sample_weight": at(0, np.nan)}, "sample_weight is missing in row 0"),
        ({"sample_weight": at(3, np.inf)}, "sample_weight is not from 1e-100 to 1e\\+100 in row 3"),
        ({"sample_weight": at(3, "much")}, "sample_weight holds no number in row 3: 'much'"),
        ({"sample_weight": np.zeros(90)}, "sample_weight is 0 in every row"),
        ({"sample_weight": [1] * 9 + [0] * 81}, "7 rows are too few to search on"),
        ({"groups": [None, "a", "b"] * 30}, "groups is missing in row 0, and in 29 more"),
        ({"groups": ["a"] * 90}, "groups is 'a' in every row; it takes two groups or more"),
        ({"groups": [1, 2] * 45}, "groups: a single group is left to .* 3 groups or more"),
        (
            {"groups": [1, 2, 3] * 30, "folds": 5},
            "folds must be from 1 to 2, the 2 groups that are",
        ),
        ({"times": at(4, None)}, "times is missing in row 4"),
        ({"times": pd.Series(at(4, pd.NaT), dtype="datetime64[s]")}, "times is missing in row 4"),
        ({"times": ["Q1", "Q2"] * 45}, "times holds neither .* row 0: 'Q1'; give numbers or datet"),
        ({"times": [True, False] * 45}, "times holds truth values"),
        ({"times": [1] * 90}, "times: all rows are of the same time; none is the latest"),
        ({"times": [1, 2] * 45}, "times: a single time is left to .* 3 times or more"),
        ({"times": np.arange(90), "folds": 3}, "folds goes with times only if it is 1: .* got 3"),
        (
            {"times": np.arange(90), "groups": np.arange(90)},
            "groups and times hold out different r",
        ),
        ({"test_fraction": "half"}, "test_fraction must be between 0 and 1; got 'half'"),
    ],
)
def test_what_is_refused(how, said):
    X, y, *_ = known_rows()
    with pytest.raises(ValueError, match=said):
        chainrule.tune(X, y, **{**CHEAP, **how})


def test_a_class_that_nothing_could_be_learned_of_is_named():
    X, y, *_ = known_rows("classification")
    with pytest.raises(ValueError, match=r"groups: all rows of '(yes|no)' are in groups that are"):
        chainrule.tune(X, y, groups=np.where(y == "no", np.arange(N) % 2, 2), **CHEAP)
    order = np.argsort(y, kind="stable")
    with pytest.raises(ValueError, match="times: all rows of 'yes' are in the latest rows"):
        chainrule.tune(X, y, times=np.argsort(order), test_fraction=0.6, **CHEAP)
