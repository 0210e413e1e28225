"""The threshold from which rows are taken for a class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.commands import deciding
from chainrule.commands.deciding import CannotReachError, Decision, choose_threshold

pytestmark = pytest.mark.once

ROWS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0]), st.booleans()),
    min_size=1,
    max_size=30,
).filter(lambda rows: any(yes for _, yes in rows))


def cost_at(threshold, p, positive, costs):
    said = p >= threshold
    return costs[0] * (said & ~positive).sum() + costs[1] * (~said & positive).sum()


@given(ROWS, st.sampled_from([(1.0, 5.0), (1.0, 1.0), (7.0, 1.0)]))
def test_no_threshold_costs_less(rows, costs):
    p, positive = (np.array(column) for column in zip(*rows, strict=True))
    chosen = choose_threshold(p, positive, Decision("yes", cost=costs))
    assert 0 <= chosen <= 1
    others = np.unique(np.r_[0, p, 1, np.nextafter(p[p < 1], 1)])
    least = min(cost_at(each, p, positive, costs) for each in others)
    assert cost_at(chosen, p, positive, costs) == least


@given(ROWS, st.sampled_from([0.2, 0.5, 0.9, 1.0]))
def test_a_precision_is_reached_with_the_most_rows_of_the_class(rows, asked):
    p, positive = (np.array(column) for column in zip(*rows, strict=True))
    enough = min(deciding.FEWEST, positive.sum())
    reached = []
    for each in np.unique(p):
        said = p >= each
        if said.sum() >= enough and positive[said].mean() >= asked:
            reached.append((positive & said).sum())
    decision = Decision("yes", precision=asked)
    if not reached:
        with pytest.raises(CannotReachError, match="cannot be reached"):
            choose_threshold(p, positive, decision)
        return
    said = p >= choose_threshold(p, positive, decision)
    assert positive[said].mean() >= asked
    assert (positive & said).sum() == max(reached)


def test_true_probabilities_give_the_threshold_of_theory():
    """Of probabilities that are true the least cost is at FP / (FP + FN)."""
    rng = np.random.default_rng(0)
    p = rng.random(40_000)
    positive = rng.random(40_000) < p
    chosen = choose_threshold(p, positive, Decision("yes", cost=(1.0, 4.0)))
    assert chosen == pytest.approx(0.2, abs=0.03)
    assert deciding.of_baseline(Decision("yes", cost=(1.0, 4.0))).threshold == 0.2


def test_no_row_is_judged_by_a_threshold_it_had_a_part_in():
    rng = np.random.default_rng(1)
    p = rng.random(90)
    truth = np.where(rng.random(90) < p, "yes", "no").astype(object)
    folds = np.arange(90) % 3
    chances, classes = np.c_[1 - p, p], np.array(["no", "yes"], object)
    wanted = Decision("yes", cost=(1.0, 3.0))
    chosen, said = deciding.decided_out_of_fold(chances, classes, truth, folds, wanted)
    assert chosen.threshold == choose_threshold(p, truth == "yes", wanted)
    for fold in range(3):
        rest = folds != fold
        threshold = choose_threshold(p[rest], truth[rest] == "yes", wanted)
        assert ((said[~rest] == "yes") == (p[~rest] >= threshold)).all()


def test_the_threshold_may_be_of_either_class():
    chances = np.array([[0.1, 0.9], [0.35, 0.65], [0.8, 0.2]])
    classes = np.array([0, 1])
    assert deciding.decided(chances, classes, None).tolist() == [1, 1, 0]
    assert deciding.decided(chances, classes, Decision("0")).tolist() == [1, 1, 0]
    low = Decision("0", threshold=0.3)
    assert deciding.decided(chances, classes, low).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    "told",
    [
        None,
        3,
        {"positive": "maybe", "threshold": 0.5},
        {"positive": "yes", "threshold": 7},
        {"positive": "yes", "threshold": "0.5"},
        {"positive": "yes", "threshold": 0.5, "cost": [1]},
        {"positive": "yes", "threshold": 0.5, "cost": [1, None]},
        {"positive": "yes", "threshold": 0.5, "cost": [-1, 2]},
        {"positive": "yes", "precision": True},
    ],
)
def test_nothing_in_a_file_is_trusted(told):
    assert deciding.of_metadata(told, ["no", "yes"]) is None


def test_a_decision_comes_back_from_a_file():
    for each in (
        Decision("yes"),
        Decision("no", 0.25, (1.0, 5.0)),
        Decision("yes", 0.75, None, 0.9),
    ):
        assert deciding.of_metadata(each.as_dict(), ["no", "yes"]) == each
