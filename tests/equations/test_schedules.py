"""Schedules: exact values, shapes of the curves, and formulas derived again one step at a time."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule import schedules
from chainrule.equations.schedules import SCHEDULES, Plateau, Schedule, as_schedule

PER_EPOCH = 7


def factors(schedule, T, per_epoch=PER_EPOCH):
    return schedule.factor(np.arange(T, dtype=np.float64), T, per_epoch)


# Each again, for one step, in plain Python, from its definition.


def half_wave(start, end, share):
    return end + (start - end) * math.cos(math.pi * share / 2) ** 2


def restarts(t, first, multiply, final):
    """Walk from cycle to cycle."""
    length = first
    while t >= length:
        t, length = t - length, length * multiply
    return half_wave(1, final, t / length)


def cycle(t, T, peak_at, start, final):
    peak = peak_at * T
    if t < peak:
        return half_wave(start, 1, t / peak)
    return half_wave(1, final, (t - peak) / (T - peak))


AGAIN = [
    (SCHEDULES["constant"], lambda t, T, E: 1.0),
    (schedules.step_decay(3, 0.2), lambda t, T, E: math.prod([0.2] * (t // (3 * E)))),
    (schedules.exponential(0.7), lambda t, T, E: math.exp(math.log(0.7) * t / E)),
    (schedules.cosine(0.1), lambda t, T, E: half_wave(1, 0.1, t / T)),
    (schedules.warm_restarts(2, 2, 0.05), lambda t, T, E: restarts(t, 2 * E, 2, 0.05)),
    (schedules.warm_restarts(3, 1), lambda t, T, E: restarts(t, 3 * E, 1, 0)),
    (schedules.warm_restarts(1, 1.5), lambda t, T, E: restarts(t, E, 1.5, 0)),
    (schedules.one_cycle(0.4, 0.1, 0.01), lambda t, T, E: cycle(t, T, 0.4, 0.1, 0.01)),
    (
        schedules.warm_up(schedules.cosine(), 2),
        lambda t, T, E: (
            (t + 1) / (2 * E + 1) if t < 2 * E else half_wave(1, 0, (t - 2 * E) / (T - 2 * E))
        ),
    ),
    (schedules.from_function(lambda epoch: 1 / (1 + epoch)), lambda t, T, E: 1 / (1 + t // E)),
]


@pytest.mark.parametrize(("schedule", "again"), AGAIN, ids=[repr(s)[:40] for s, _ in AGAIN])
@given(epochs=st.integers(3, 40), per_epoch=st.integers(1, 30))
def test_against_a_second_derivation(schedule, again, epochs, per_epoch):
    T = epochs * per_epoch
    expected = [again(t, T, per_epoch) for t in range(T)]
    np.testing.assert_allclose(factors(schedule, T, per_epoch), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_contract(name):
    """Any part of the steps, at any moment, gives the same numbers: a resumed fit goes on."""
    schedule = SCHEDULES[name]
    assert schedule.name == name
    T = 60 * PER_EPOCH
    t = np.arange(T, dtype=np.float64)
    whole = schedule.factor(t, T, PER_EPOCH)
    assert whole.dtype == np.float64
    assert whole.shape == t.shape
    assert np.array_equal(t, np.arange(T))
    assert (whole >= 0).all()
    assert (whole <= 1).all()
    parts = [schedule.factor(part, T, PER_EPOCH) for part in np.split(t, [5, 7, 200])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert schedule.factor(t[:0], T, PER_EPOCH).shape == (0,)
    beyond = schedule.factor(np.array([T, 3.0 * T]), T, PER_EPOCH)
    assert ((beyond >= 0) & (beyond <= 1)).all()


@pytest.mark.parametrize("name", ["constant", "exponential", "cosine", "one_cycle"])
def test_continuous_ones_have_no_jumps(name):
    T = 1000
    steps = np.abs(np.diff(factors(SCHEDULES[name], T, 20)))
    assert steps.max() < 0.01


def test_step_decay_changes_at_the_epoch_and_only_there():
    got = factors(schedules.step_decay(2, 0.5), 6 * PER_EPOCH)
    expected = np.repeat([1, 0.5, 0.25], 2 * PER_EPOCH)
    np.testing.assert_array_equal(got, expected)


def test_cosine_is_even_about_its_middle_and_stays_at_its_end():
    got = schedules.cosine(0.2).factor(np.array([0.0, 25, 50, 75, 100, 300]), 100, 10)
    c = math.cos(math.pi / 4)
    expected = [1, 0.2 + 0.4 * (1 + c), 0.6, 0.2 + 0.4 * (1 - c), 0.2, 0.2]
    np.testing.assert_allclose(got, expected, rtol=1e-14)


def test_warm_restarts_start_where_they_should():
    got = factors(schedules.warm_restarts(10, 2), 150 * PER_EPOCH)
    tops = np.flatnonzero(got == 1) / PER_EPOCH
    assert tops.tolist() == [0, 10, 30, 70]
    inside = np.split(got, [10 * PER_EPOCH, 30 * PER_EPOCH, 70 * PER_EPOCH])
    assert all((np.diff(part) < 0).all() for part in inside)


def test_one_cycle_rises_to_its_peak_and_falls():
    T = 100
    got = schedules.one_cycle(0.3, 0.04, 1e-4).factor(np.arange(T + 1.0), T, 10)
    assert got[0] == pytest.approx(0.04, rel=1e-12)
    assert got[30] == 1
    assert got[T] == pytest.approx(1e-4, rel=1e-9)
    assert (np.diff(got[:31]) > 0).all()
    assert (np.diff(got[30:]) < 0).all()


def test_warm_up_is_a_line_that_meets_the_schedule():
    inner = schedules.exponential(0.5)
    got = factors(schedules.warm_up(inner, 3), 20 * PER_EPOCH)
    w = 3 * PER_EPOCH
    np.testing.assert_allclose(np.diff(got[: w + 1]), 1 / (w + 1), rtol=1e-9)
    assert got[0] > 0
    assert got[w] == 1
    np.testing.assert_array_equal(got[w:], factors(inner, 17 * PER_EPOCH))


def test_warm_up_longer_than_the_training_never_arrives():
    got = factors(schedules.warm_up("cosine", 10), 4 * PER_EPOCH)
    assert (np.diff(got) > 0).all()
    assert got[-1] < 0.41


def test_warm_up_of_no_epochs_changes_nothing():
    np.testing.assert_array_equal(
        factors(schedules.warm_up("cosine", 0), 50), factors(SCHEDULES["cosine"], 50)
    )


def test_own_function_is_asked_once_an_epoch():
    asked = []

    def halve(epoch):
        asked.append(epoch)
        return 0.5**epoch

    got = factors(schedules.from_function(halve), 3 * PER_EPOCH)
    np.testing.assert_array_equal(got, np.repeat([1, 0.5, 0.25], PER_EPOCH))
    assert asked == [0, 1, 2]
    assert all(type(epoch) is int for epoch in asked)


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf, None, "fast"])
def test_own_function_at_fault_is_named_with_its_epoch(bad):
    def jumpy(epoch):
        return bad if epoch == 2 else 1.0

    with pytest.raises(ValueError, match=r"jumpy gave .* for epoch 2"):
        factors(schedules.from_function(jumpy), 4 * PER_EPOCH)


@pytest.mark.parametrize("schedule", [s for s, _ in AGAIN[:-1]], ids=lambda s: repr(s)[:40])
def test_pickles_and_copies(schedule):
    for other in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule)):
        assert isinstance(other, Schedule)
        assert repr(other) == repr(schedule)
        np.testing.assert_array_equal(factors(other, 90), factors(schedule, 90))


def test_repr_says_how_to_make_it():
    assert repr(SCHEDULES["constant"]) == "constant"
    assert repr(schedules.cosine(0.5)) == "cosine(final=0.5)"
    assert "cosine(final=0.0)" in repr(schedules.warm_up("cosine", 3))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: schedules.step_decay(0), "every_epochs"),
        (lambda: schedules.step_decay(1.5), "every_epochs"),
        (lambda: schedules.step_decay(2, 0), "factor"),
        (lambda: schedules.exponential(1.1), "decay"),
        (lambda: schedules.cosine(-0.1), "final"),
        (lambda: schedules.cosine(math.nan), "final"),
        (lambda: schedules.warm_restarts(0), "first_epochs"),
        (lambda: schedules.warm_restarts(1, 0.5), "multiply"),
        (lambda: schedules.one_cycle(1.0), "peak_at"),
        (lambda: schedules.one_cycle(start=0), "start"),
        (lambda: schedules.warm_up("cosine", -1), "epochs"),
        (lambda: Plateau(factor=1.0), "factor"),
        (lambda: Plateau(patience=0), "patience"),
        (lambda: Plateau(min_factor=2), "min_factor"),
        (lambda: Plateau(tolerance=-1), "tolerance"),
    ],
)
def test_bad_arguments_are_named(make, name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        make()


# Plateau


def follow(plateau, values):
    running = plateau.start()
    return [running.update(epoch, value) for epoch, value in enumerate(values)], running


def test_plateau_counts_patience_exactly():
    got, running = follow(Plateau(factor=0.1, patience=3), [1.0] * 8)
    # The first value is the best; three without improvement follow, and three more.
    np.testing.assert_allclose(got, [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])
    assert running.reductions == [3, 6]


def test_plateau_needs_more_than_the_tolerance():
    got, _ = follow(Plateau(0.5, patience=2, tolerance=0.25), [1.0, 0.75, 0.75, 0.4])
    assert got == [1, 1, 0.5, 0.5]
    got, _ = follow(Plateau(0.5, patience=2, tolerance=0.25), [1.0, 0.7, 0.5, 0.4])
    assert got == [1, 1, 1, 1]  # 0.4 is compared with 0.7, so small steps add up


def test_plateau_stops_at_its_least_factor():
    got, running = follow(Plateau(0.1, patience=1, min_factor=0.05), [1.0] * 5)
    assert got == [1, 0.1, 0.05, 0.05, 0.05]
    assert running.reductions == [1, 2]


def test_plateau_takes_nan_for_no_improvement():
    got, running = follow(Plateau(0.5, patience=2), [math.nan, math.nan, 1.0, math.nan])
    assert got == [1, 0.5, 0.5, 0.5]
    assert running.best == 1.0


def test_plateau_keeps_nothing_of_a_training():
    plateau = Plateau(0.5, patience=1)
    before = copy.deepcopy(plateau)
    first, _ = follow(plateau, [1.0, 1.0])
    second, _ = follow(plateau, [1.0, 1.0])
    assert first == second == [1, 0.5]
    assert plateau == before
    assert pickle.loads(pickle.dumps(plateau)) == plateau


# as_schedule


def test_as_schedule():
    assert as_schedule("cosine") is SCHEDULES["cosine"]
    assert as_schedule("plateau") == Plateau()
    own = schedules.cosine(0.3)
    assert as_schedule(own) is own
    np.testing.assert_array_equal(factors(as_schedule(lambda epoch: 0.5), 9), 0.5)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("cosin", ValueError, "did you mean 'cosine'"),
        (0.1, TypeError, r"got 0\.1"),
        (Plateau, TypeError, "a schedule is"),
    ],
)
def test_as_schedule_refuses(given, error, message):
    with pytest.raises(error, match=message):
        as_schedule(given)
