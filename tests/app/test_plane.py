"""Two dimensions: what is learnt, which settings and formulas are refused, and the page."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule import MLPClassifier
from chainrule.app.formula import FUNCTIONS, Formula
from chainrule.app.panel import PanelError
from chainrule.app.plane import CELLS, SIDE, Plane, checked, grid, made_points, own_points

from conftest import Tab, serious_faults  # isort: skip

pytestmark = pytest.mark.once


def opened(**state):
    return Plane(Tab(), state)


@pytest.mark.parametrize("data", ["moons", "circles", "spirals", "blobs", "formula"])
def test_classes_are_learnt_and_the_numbers_are_those_of_the_estimator(data):
    panel = opened(data=data, hidden="8,8", rate="0.03", scatter="0.1")
    before = panel.state()["frame"]
    frame = panel.handle("step", {"epochs": 60})["frame"]
    assert frame["epoch"] == 60
    assert frame["loss"] < 0.3 < before["loss"]
    points, seen = panel.points, ~panel.points.held
    model = MLPClassifier(
        (8, 8), activation="tanh", learning_rate_init=0.03, batch_size=16, alpha=0,
        standardize=False, random_state=0, engine="numpy",
    )  # fmt: skip
    for _ in range(60):
        model.partial_fit(points.X[seen], points.value[seen] > 0, classes=[False, True])
    chances = model.predict_proba(grid(CELLS))[:, 1]
    np.testing.assert_array_equal(frame["output"], np.rint(200 * chances - 100))
    held = points.X[~seen], points.value[~seen] > 0
    assert frame["held_right"] == [int((model.predict(held[0]) == held[1]).sum()), 72]
    for ours, theirs in zip(frame["weights"], model.coefs_, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("data", ["slope", "hills", "formula"])
def test_numbers_are_learnt(data):
    panel = opened(task="numbers", data=data)
    before = panel.state()["frame"]["loss"]
    assert panel.handle("step", {"epochs": 60})["frame"]["loss"] < before / 3


def test_the_first_picture_is_of_the_starting_values_and_reset_goes_back_to_them():
    panel = opened(seed="3")
    start = panel.state()["frame"]
    assert start["epoch"] == 0
    assert [len(layer) for layer in start["layers"]] == [6, 4]
    assert np.ptp(start["output"]) > 0
    panel.handle("step", {"epochs": 2})
    again = panel.handle("reset", {})["frame"]
    np.testing.assert_array_equal(again["output"], start["output"])
    assert again["curves"] == [[], []] or again["curves"] == ([], [])


def test_it_plays_until_it_is_paused():
    panel = opened()
    assert panel.work() is False
    panel.handle("play", {})
    assert panel.work() is True
    assert panel.session.sent[-1][0] == "frame"
    at = panel.handle("pause", {})["frame"]["epoch"]
    assert at > 0
    assert panel.work() is False
    assert panel.epoch == at


def test_points_of_ones_own_and_both_classes():
    panel = opened(data="own", points="0 0 1;1 1 1", held="0")
    with pytest.raises(PanelError, match="of both classes"):
        panel.handle("play", {})
    reply = panel.handle("set", {"points": "0 0 1;1 1 1;-1 -1 -1;-2 0.5 -1"})
    assert reply["points"]["value"].tolist() == [1, 1, -1, -1]
    assert panel.handle("step", {"epochs": 100})["frame"]["right"] == [4, 4]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": ["moons"]}, "data must be one of moons"),
        ({"seed": 10**400}, "seed must be a number from 0 to"),
        ({"rate": "fast"}, "rate must be a number from 1e-06 to 10; got 'fast'"),
        ({"rate": "nan"}, "rate must be a number"),
        ({"hidden": "9999999999999"}, "1 to 8 units each"),
        ({"hidden": "2,2,2,2,2"}, "4 hidden layers at most"),
        ({"hidden": "2,-1"}, "1 to 8 units each"),
        ({"activation": "softmax"}, "activation must be one of"),
        ({"solver": ["adam"]}, "solver must be one of"),
        ({"data": "mooons"}, "data must be one of"),
        ({"data": "own", "points": "1 2"}, r"point 1 \('1 2'\) must be x, y and a value"),
        ({"data": "own", "points": "0 0 1;9 0 1"}, "point 2"),
        ({"data": "own", "points": "0 0 1;" * 501}, "at most 500 points"),
        ({"data": "formula", "formula": "log(x)"}, "not a number at x = -"),
        ({"data": "formula", "formula": "x*0+9"}, "all points lie below the curve"),
        ({"data": "formula", "formula": "y"}, "there is no 'y' here; use x, pi and e"),
    ],
)
def test_bad_settings_are_one_line_and_change_nothing(settings, message):
    panel = opened(data="circles")
    before = panel.settings, panel.model
    with pytest.raises(PanelError, match=message) as caught:
        panel.handle("set", settings)
    assert "\n" not in str(caught.value)
    assert (panel.settings, panel.model) == before
    assert Plane(Tab(), settings).settings["data"] == "moons"  # an address with a fault opens


HOSTILE = [
    *("__import__('os').system('true')", "x.__class__", "(lambda: x)()", "[x for x in (1,)]"),
    *("x if x else 1", "1e400", "x; x", "x = 1", "f'{x}'", "exp(x, x)", "exp(*x)", "exp(x=1)"),
    *("'a'*9", "x @ x", "x // 1", "x and 1", "x < 1", "(" * 150, "-" * 199 + "x", "x" * 201, ""),
    *("not x", "~x", "True", "1j", "open(x)", "x[0]", "exp(9)**20**9*1e6/0"),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_formulas_are_one_line(text):
    with pytest.raises(PanelError) as caught:
        Formula(text)(x=np.ones(3), y=np.ones(3))
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


def test_formulas_are_what_numpy_computes():
    x, y = np.random.default_rng(0).uniform(0.1, 2, (2, 50))
    text = "-sin(3*x)^2/2 + sqrt(y) % 2 - abs(-x)*e**y + log(pi*x) + sign(x-1)*tanh(cos(y)) - 2"
    with np.errstate(all="raise"):
        expected = (
            -(np.sin(3 * x) ** 2) / 2 + np.sqrt(y) % 2 - x * np.e**y + np.log(np.pi * x)
            + np.sign(x - 1) * np.tanh(np.cos(y)) - 2
        )  # fmt: skip
    np.testing.assert_allclose(Formula(text)(x=x, y=y), expected, rtol=1e-13)
    assert Formula("2")(x=x, y=y).shape == x.shape


@given(st.text(alphabet="xy0123456789.+-*/%^() ,sincoexpabtalg_'[]", max_size=40))
def test_no_text_does_anything_but_compute_or_raise(text):
    try:
        found = Formula(text)(x=np.array([0.5, -1.0]), y=np.array([2.0, 0.0]))
    except PanelError:
        return
    assert np.isfinite(found).all()
    words = set(re.findall(r"[a-z_]+", text.replace("e+", "").replace("e-", "")))
    assert all(word in {*FUNCTIONS, "x", "y", "e", "pi"} or word[0] == "e" for word in words)


def test_settings_from_an_address_are_typed():
    found = checked({"rate": "0.1", "batch": "8", "hidden": "3, 2", "unknown": "1"})
    assert (found["rate"], found["batch"], found["hidden"]) == (0.1, 8, "3,2")
    assert "unknown" not in found
    assert np.abs(made_points(found).X).max() <= SIDE
    assert own_points("").shape == (0, 3)


def test_the_page_learns_shows_weights_and_keeps_its_address(open_page):
    page = open_page("plane?data=circles&hidden=3", width=1280)
    counts = page.locator(".plane-counts")
    page.get_by_role("button", name="One epoch", exact=True).click()
    panel = opened(data="circles", hidden="3")
    frame = panel.handle("step", {"epochs": 1})["frame"]
    right, held = frame["right"], frame["held_right"]
    counts.filter(
        has_text=f"epoch 1 · {right[0]} of {right[1]} right · held out: {held[0]} of {held[1]}"
    ).wait_for()
    units = page.locator("canvas.units")
    units.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight"):
        units.press(key)
    tip = page.locator(".tip")
    assert tip.text_content().startswith("the output\nz = ")
    page.get_by_role("button", name="Train", exact=True).click()
    counts.filter(has_not_text="epoch 1 ·").wait_for()
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_label("Activation").select_option("relu")
    page.wait_for_url(re.compile("activation=relu"))
    assert "data=circles" in page.url
    assert serious_faults(page) == []


def test_the_page_by_keyboard_on_a_phone_with_formulas_good_and_hostile(open_page):
    page = open_page("plane", width=375, height=700, theme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    page.get_by_label("Data").select_option("formula")
    typed = page.get_by_label("blue where y > f(x)")
    typed.fill("x^2 - 1")
    typed.press("Enter")
    page.wait_for_url(re.compile("formula=x"))
    typed.fill("__import__('os')")
    typed.press("Enter")
    alert = page.locator(".panel-plane .notice")
    alert.filter(has_text="there is no function '__import__'").wait_for()
    assert typed.input_value() == "x^2 - 1"
    plane = page.locator("canvas.plane")
    plane.focus()
    plane.press("ArrowLeft")
    plane.press(" ")
    page.wait_for_url(re.compile("data=own"))
    assert page.get_by_label("Data").input_value() == "own"
    page.get_by_role("button", name="Remove all").click()
    page.get_by_role("button", name="Train", exact=True).click()
    alert.filter(has_text="of both classes").wait_for()
    assert serious_faults(page) == []
