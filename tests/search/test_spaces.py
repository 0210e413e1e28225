"""Which settings are tried: the estimators take each, and the defaults are among them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule import MLPRegressor
from chainrule.search import spaces
from chainrule.search.budgets import in_words, seconds_of

pytest.importorskip("skrub", reason="tables are an extra")

from chainrule import tabular_pipeline

SIZES = [50, spaces.SMALL - 1, spaces.SMALL, spaces.MEDIUM - 1, spaces.MEDIUM, 10**6]


FIXED = [
    *({}, {"dropout": 0.3}, {"dropout": 0.0}, {"normalization": "batch"}, {"normalization": None}),
    *({"solver": "lbfgs"}, {"hidden_layer_sizes": ()}, {"hidden_layer_sizes": (3,)}),
    {"activation": "tanh"},
]


def values(each):
    """A strategy for the values of a dimension."""
    if isinstance(each, spaces.Names):
        return st.sampled_from(each.values)
    of = st.integers if isinstance(each.low, int) else st.floats
    return of(each.low, each.high)


def holds(each, value):
    if isinstance(each, spaces.Names):
        return value in each.values
    return each.low <= value <= each.high


@pytest.mark.parametrize("n", SIZES)
def test_each_space_holds_the_settings_of_tabular_pipeline(n):
    space = spaces.space_for(n, {})
    start = spaces.defaults_in(space)
    assert start.keys() == space.keys()
    assert all(holds(space[name], value) for name, value in start.items())
    # What they become are the parameters that the pipeline has without any.
    network = tabular_pipeline("regression", model="network")[-1].get_params()
    for name, value in spaces.parameters_at(start).items():
        assert network[name] == value, name


@given(st.data())
def test_every_point_is_one_that_an_estimator_takes(data):
    n, fixed = data.draw(st.sampled_from(SIZES)), data.draw(st.sampled_from(FIXED))
    space = spaces.space_for(n, fixed)
    point = {name: data.draw(values(each)) for name, each in space.items()}
    chosen = {**fixed, **spaces.parameters_at(point)}
    network = tabular_pipeline("regression", model="network", **chosen)[-1]
    assert isinstance(network, MLPRegressor)
    network._validate_params()
    network._check_combination()
    if "hidden_layer_sizes" not in fixed:
        assert network.hidden_layer_sizes == (point["units"],) * point["layers"]
    for name, value in chosen.items():
        if isinstance(value, float) and name in point:  # three digits, and near what was proposed
            assert value == float(f"{value:.3g}")
            np.testing.assert_allclose(value, point[name], rtol=0.006, atol=1e-12)


@pytest.mark.parametrize(
    ("fixed", "left_out"),
    [
        ({"alpha": 1.0}, {"alpha"}),
        ({"hidden_layer_sizes": (5,)}, {"layers", "units"}),
        (
            {"hidden_layer_sizes": ()},
            {"layers", "units", "dropout", "activation", "normalization"},
        ),
        ({"solver": "lbfgs"}, {"learning_rate_init", "batch_size", "dropout"}),
        ({"max_iter": 5}, set()),
    ],
)
def test_what_is_fixed_is_not_searched(fixed, left_out):
    whole = spaces.space_for(5000, {})
    assert spaces.space_for(5000, fixed).keys() == whole.keys() - left_out


def test_larger_tables_have_larger_networks():
    small, medium, large = (spaces.space_for(n, {}) for n in (100, 5000, 50_000))
    for name in ("layers", "units"):
        highs = [space[name].high for space in (small, medium, large)]
        assert highs == sorted(set(highs))
    assert small["layers"].low == 0  # a linear model is among them


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("2.5 min", 150),
        (7, 7),
        ("0.5", 0.5),
        ("1D", 86400),
    ],
)
def test_durations(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "5x", "m", "-3s", "0", "0m", "inf", "nan", "1h 2", "5m!", -1])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match=r"the budget is a duration above 0, such as 90s"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.21, "4.2 s"), (200, "3 min 20 s"), (3600, "1 h"), (5461, "1 h 31 min")]
)
def test_durations_in_print(seconds, text):
    assert in_words(seconds) == text
