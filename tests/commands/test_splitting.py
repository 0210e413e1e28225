"""Which rows are learnt from, stopped by and judged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("skrub", reason="tables are an extra")

from chainrule.commands import splitting  # noqa: E402
from chainrule.commands.preparing import prepare  # noqa: E402
from chainrule.ensembles.blending import deal_groups  # noqa: E402

pytestmark = pytest.mark.once


def a_table(n=60, roles=None, task="regression", **columns):
    rng = np.random.default_rng(0)
    y = rng.normal(size=n) if task == "regression" else np.array(["a", "b", "c"])[np.arange(n) % 3]
    columns.setdefault("x", rng.normal(size=n))
    return prepare(pd.DataFrame({**columns, "y": y}), "y", task=task, roles=roles or {})


@given(st.lists(st.integers(0, 6), min_size=4, max_size=40), st.integers(2, 4), st.integers(0, 9))
def test_groups_are_dealt_to_folds_whole_and_evenly(groups, n_folds, seed):
    groups = np.array(groups)
    n_folds = min(n_folds, len(np.unique(groups)))
    folds = deal_groups(groups, n_folds, np.random.RandomState(seed))
    for group in np.unique(groups):
        assert len(set(folds[groups == group])) == 1
    rows = np.bincount(folds, minlength=n_folds)
    assert rows.min() > 0
    largest = np.bincount(groups).max()
    assert rows.max() - rows.min() <= largest  # else a group would have gone to another fold


@given(st.lists(st.integers(0, 8), min_size=6, max_size=50), st.sampled_from([0.1, 0.2, 0.5]))
def test_the_latest_rows_are_held_out_and_ties_stay_together(days, fraction):
    if len(set(days)) < 2:
        return
    table = a_table(len(days), {"time": "day"}, day=days)
    plan = splitting.split(table, test_fraction=fraction)
    ((rows, held),) = plan.parts
    days = np.array(days)
    assert len(rows) > 0 < len(held)
    assert days[rows].max() < days[held].min()
    assert sorted([*rows, *held]) == list(range(len(days)))
    if len(set(days)) == len(days):
        assert len(held) == max(1, round(fraction * len(days)))


def test_no_group_is_on_both_sides():
    groups = np.repeat([f"p{j}" for j in range(12)], 5)
    table = a_table(60, {"group": "who"}, "classification", who=groups)
    assert "who" not in table.X
    for plan in (splitting.split(table, test_fraction=0.25), splitting.split(table, folds=4)):
        for rows, held in plan.parts:
            assert not set(groups[rows]) & set(groups[held])
            assert len(held) == 15
            stop = splitting.stopping_rows(table, rows, 0.2, 0)
            assert not set(groups[stop]) & {*groups[np.setdiff1d(rows, stop)], *groups[held]}
    every = np.concatenate([held for _, held in plan.parts])
    assert sorted(every) == list(range(60))


def test_the_latest_of_the_rows_to_train_on_stop_the_training():
    days = np.random.default_rng(0).permutation(50)
    table = a_table(50, {"time": "day"}, day=days)
    ((rows, _),) = splitting.split(table, test_fraction=0.2).parts
    stop = splitting.stopping_rows(table, rows, 0.1, 0)
    assert set(days[stop]) == {36, 37, 38, 39}
    assert splitting.stopping_rows(a_table(), np.arange(60), 0.1, 0) is None


@pytest.mark.parametrize(
    ("roles", "columns", "message"),
    [
        ({"time": "day"}, {"day": [1] * 60}, "--time: all rows are of the same time"),
        (
            {"time": "day"},
            {"day": np.where(np.arange(60) % 3 == 2, 9, np.arange(60) / 60)},
            "all rows of 'c' are in the latest rows",
        ),
    ],
)
def test_what_cannot_be_split_is_named(roles, columns, message):
    table = a_table(60, roles, "classification", **columns)
    with pytest.raises(ValueError, match=message):
        splitting.split(table, test_fraction=0.3)


def test_a_class_in_one_group_is_named():
    table = a_table(60, {"group": "g"}, "classification", g=np.array(["u", "v", "w"] * 20))
    with pytest.raises(ValueError, match=r"--group: all rows of '.' are in groups"):
        splitting.split(table)


@pytest.mark.parametrize(
    ("role", "cells", "message"),
    [
        ("weight", [1.0] * 59 + [-1], "--weight: 'col' is negative in row 60"),
        ("weight", [None, 1.0, None] * 20, "--weight: 'col' is missing in row 1, and in 39 more"),
        (
            "weight",
            [np.inf] + [1.0] * 59,
            "--weight: 'col' is not from 1e-100 to 1e\\+100 in row 1",
        ),
        ("weight", [0] * 60, "--weight: 'col' is 0 in every row"),
        ("weight", ["1", "2", "heavy"] * 20, "--weight: 'col' holds no number in row 3: 'heavy'"),
        ("group", ["a"] * 60, "--group: 'col' is 'a' in every row"),
        ("group", ["a", None] * 30, "--group: 'col' is missing in row 2, and in 29 more"),
        ("time", ["2024-01-01", "soon"] * 30, "--time: 'col' holds neither .* in row 2: 'soon'"),
        ("time", ["2024-01-01", None] * 30, "--time: 'col' is missing in row 2"),
        ("time", [True, False] * 30, "--time: 'col' holds truth values"),
    ],
)
def test_a_wrong_cell_is_named(role, cells, message):
    with pytest.raises(ValueError, match=message):
        a_table(60, {role: "col"}, col=cells)


def test_rows_of_weight_0_are_left_out_and_counted():
    table = a_table(60, {"weight": "w"}, w=[0, 1, 2] * 20)
    assert (len(table.y), table.left_out) == (40, 20)
    assert table.of_rows.weight.tolist() == [1, 2] * 20
    assert "w" not in table.X
    assert "20 rows left out, of weight 0" in table.notices


def test_times_are_dates_numbers_or_texts_of_dates():
    days = pd.date_range("2024-01-01", periods=60)
    expected = np.arange(60) >= 48
    for cells in (days, days.strftime("%Y-%m-%d"), np.arange(60), days - days[0]):
        table = a_table(60, {"time": "when"}, when=cells)
        ((_, held),) = splitting.split(table).parts
        assert held.tolist() == np.flatnonzero(expected).tolist()
