"""Values in model files: what is written is read again, and every component of ours can be."""

from __future__ import annotations

import inspect
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from test_persistence import same

from chainrule import activations, layers, losses, schedules
from chainrule.files.container import ModelFileError
from chainrule.files.encoding import MAKERS, TABLES, decode, encode


def there_and_back(value):
    arrays = {}
    text = json.dumps(encode(value, "0.value", arrays), allow_nan=False)
    found = decode(json.loads(text), arrays)
    assert not arrays, "an array is left over"
    return found


plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(
        [np.float32(0.1), np.int64(3), np.bool_(True), np.str_("ä"), np.float64("nan")]
    )
    | arrays_of.arrays(
        st.sampled_from([np.float64, np.float32, np.int8, np.bool_, np.uint64]),
        arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    )
    | st.lists(st.text(max_size=3), min_size=1).map(lambda x: np.array(x, object))
    | st.lists(st.text("ab$ä", max_size=3), min_size=1).map(np.array)
)
keys = st.text(max_size=3) | st.integers() | st.booleans() | st.just("$array")
values = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=8,
)


@given(value=values)
def test_there_and_back(value):
    assert same(there_and_back(value), value)


COMPONENTS = [(kind, name) for kind, table in TABLES.items() for name in table]


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_every_component_by_name_is_itself(kind, name):
    assert there_and_back(TABLES[kind][name]) is TABLES[kind][name]


@pytest.mark.parametrize(
    ("module", "kind", "result"),
    [
        (losses, "loss", losses.Loss),
        (activations, "activation", activations.Activation),
        (schedules, "schedule", schedules.Schedule),
        (layers, "layer", layers.Layer),
    ],
)
def test_every_function_that_makes_a_component_is_known(module, kind, result):
    """Whoever adds one adds it to the table of the files as well."""
    makers = {
        function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and not name.startswith("_")
        and inspect.signature(function).return_annotation == result.__name__
    }
    takes_code = {schedules.from_function}
    gives_what_is_there = {losses.fuse}
    assert makers - takes_code - gives_what_is_there == {
        maker for maker in MAKERS[kind].values() if inspect.isfunction(maker)
    }


@pytest.mark.parametrize(
    "component",
    [
        losses.focal(1.0),
        losses.binary_focal(3.0),
        losses.huber(0.25),
        losses.quantile((0.1, 0.9)),
        losses.tweedie(1.2),
        activations.ordered(3),
        layers.dropout(0.25, 7),
        layers.noise(0.5, 9),
        layers.standardize(np.arange(3.0), np.ones(3)),
        layers.layer_norm(1e-3),
        layers.batch_norm(1e-3, 0.5),
    ],
    ids=lambda component: component.name,
)
def test_components_that_are_made_are_made_alike(component):
    found = there_and_back(component)
    assert type(found) is type(component)
    assert found.made_by[0] is component.made_by[0]
    assert same(found.made_by[1:], component.made_by[1:])


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.step_decay(3, 0.25),
        schedules.exponential(0.5),
        schedules.cosine(0.1),
        schedules.warm_restarts(2, 3.0, 0.1),
        schedules.one_cycle(0.5),
        schedules.warm_up(schedules.cosine(0.2), 2),
    ],
    ids=lambda schedule: schedule.name,
)
def test_schedules_give_the_same_rates(schedule):
    t = np.arange(20.0)
    found = there_and_back(schedule)
    np.testing.assert_array_equal(found.factor(t, 20, 4), schedule.factor(t, 20, 4))
    assert repr(found) == repr(schedule)


@pytest.mark.parametrize(
    "thing",
    [
        object(),
        len,
        b"bytes",
        {1, 2},
        1j,
        np.array([1j]),
        np.array([[b"x"]]),
        np.datetime64(0, "s"),
    ],
)
def test_what_has_no_form_is_refused(thing):
    with pytest.raises(ModelFileError, match=r"value\.a\.0: .*cannot be stored"):
        encode({"a": [thing]}, "0.value", {})


@pytest.mark.parametrize(
    "node",
    [
        {"$nothing": 1},
        {"$array": "x"},
        {"$array": []},
        {"$float": "1"},
        {"$tuple": 3},
        {"$dict": [[1]]},
        {"$dict": [[[], 1]]},
        {"$numpy": ["object", 1]},
        {"$numpy": ["float64", "1"]},
        {"$numpy": ["int8", 1000]},
        {"$labels": [[]], "dtype": "object"},
        {"$labels": ["a"], "dtype": "U0"},
        {"$labels": ["a"], "dtype": "U99999999"},
        {"$labels": ["a"], "dtype": "float64"},
        {"$random_state": ["x", 0, 0, 0.0]},
        {"$loss": "none"},
        {"$loss": "huber", "arguments": [-1]},
        {"$loss": "huber", "arguments": [0.5], "more": 1},
        {"$schedule": "from_function", "arguments": {"f": 1}},
        {"$layer": "affine", "changes": {"name": "x"}},
        {"$layer": "affine", "changes": {"is_weight": False}},
        {"$layer": "affine", "changes": {"rate_factors": [1.0]}},
        {"$layer": "affine", "changes": {"rate_factors": ["a", "b"]}},
        {"$layer": "affine", "changes": {"rate_factors": [1.0, {"$float": "nan"}]}},
        {"$layer": "affine", "changes": {"rate_factors": {"a": 1, "b": 2}}},
        {"$layer": "dropout", "arguments": [0.5], "changes": [["rate_factors", [1, 1]]]},
        {"$optimizer": "sgd", "changes": {"hyper": {"learning_rate": 1.0, "rho": 1.0}}},
        {"$optimizer": "sgd", "changes": {"hyper": {"learning_rate": "fast"}}},
        {"$optimizer": "sgd", "changes": {"slots": 1}},
        {"$loss": "huber", "arguments": [0.5], "changes": {"outputs": 2}},
        {"$callback": "Checkpoint", "arguments": ["x"]},
    ],
)
def test_what_nobody_wrote_is_refused(node):
    with pytest.raises((ModelFileError, ValueError, TypeError, KeyError, OverflowError)):
        decode(node, {})
