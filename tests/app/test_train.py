"""Train and watch: the numbers are those of `chainrule digits`, and the page shows them."""

from __future__ import annotations

import contextlib
import io
import re

import numpy as np
import pytest

from chainrule.app.looking import Snapshots
from chainrule.app.panel import PanelError
from chainrule.app.training import LAST_EPOCH, Train, checked
from chainrule.digits.recipes import ARTICLE, MODERN, load
from chainrule.digits.runs import Run

from conftest import Tab, serious_faults  # isort: skip

pytestmark = pytest.mark.once


def opened(**state):
    return Train(Tab(), state)


def played(panel):
    """Train until it stops by itself."""
    panel.handle("play", {})
    while panel.work():
        pass


@pytest.mark.parametrize(
    "recipe", [ARTICLE, MODERN, MODERN._replace(l2=0.3, l1=0.002, dropout=0.2)]
)
def test_the_numbers_are_those_of_the_digits_command(recipe):
    recipe = recipe._replace(epochs=4)
    result = Run(recipe, load(), seed=3)()
    held = {name: str(getattr(recipe, name)) for name in ("l2", "l1", "dropout")}
    panel = opened(recipe=recipe.name, epochs="4", seed="3", **held)
    frames = [panel.handle("step", {"of": "epoch"})["frame"] for _ in range(2)]
    for _ in range(10):
        between = panel.handle("step", {"of": "batch"})["frame"]
    assert (between["epoch"], between["batch"]) == (2, 10)
    frames.append(panel.handle("step", {})["frame"])  # to the end of the epoch
    played(panel)
    frames.append(panel.session.sent[-1][1])
    assert panel.session.sent[-2][0] == "stopped"
    for epoch, (frame, record) in enumerate(zip(frames, result.epochs, strict=True), 1):
        assert (frame["epoch"], frame["batch"]) == (epoch, 0)
        assert frame["cost"] == pytest.approx(record.cost, rel=1e-12)
        assert (frame["test_right"], frame["test_total"]) == (record.correct, record.total)
        assert frame["confusion"].trace() == record.correct
    if recipe.validation:
        best = panel.handle("look", {"epoch": result.kept_epoch + 1})["frame"]
        np.testing.assert_array_equal(best["confusion"], result.confusion)
        assert frames[-1]["best"] == result.kept_epoch + 1
    else:
        np.testing.assert_array_equal(panel.network.theta, result.network.theta)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"recipe": "modern", "hidden": "20,10", "seed": "5"},
        {"optimizer": "rmsprop", "loss": "cross_entropy", "activation": "tanh", "clip": "3"},
        {"recipe": "modern", "hidden": "15", "distortion": "on", "batch_size": "70"},
        {"hidden": "none", "batch_size": "100", "init": "zeros", "learning_rate": "0.05"},
        {"hidden": "20,10", "l2": "0.5", "l1": "0.01", "dropout": "0.25"},
        {"hidden": "15", "dropout": "0.5", "distortion": "on", "batch_size": "70"},
        {"hidden": "none", "dropout": "0.5", "l1": "0.1"},
    ],
)
def test_the_code_that_is_copied_gives_the_same_numbers(state):
    panel = opened(**state)
    frames = [panel.handle("step", {})["frame"] for _ in range(2)]
    found = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(frames[-1]["code"], found)
    assert found["right"] == [frame["test_right"] for frame in frames]
    np.testing.assert_allclose(found["costs"], [frame["cost"] for frame in frames], rtol=1e-12)
    np.testing.assert_array_equal(found["network"].theta, panel.network.theta)
    assert printed.getvalue().startswith("epoch 1: cost ")


def test_looking_back_changes_nothing_and_memory_is_bounded():
    panel = opened(hidden="10")
    start = panel.state()["frame"]
    panel.handle("step", {})
    first = panel.handle("step", {"of": "batch"})["frame"]
    theta = panel.network.theta.copy()
    past = panel.handle("look", {"epoch": 0})["frame"]
    assert (past["epoch"], past["last"], past["is_past"]) == (0, 1, True)
    np.testing.assert_array_equal(past["weights"], start["weights"])
    np.testing.assert_array_equal(panel.network.theta, theta)
    again = panel.handle("pause", {})["frame"]
    assert (again["test_loss"], again["batch"]) == (first["test_loss"], 1)
    kept = Snapshots(1 << 20)
    for epoch in range(1000):
        kept.add(epoch, np.array([epoch]))
        assert len(kept.epochs) <= 64
        assert (kept.epochs[0], kept.epochs[-1]) == (0, epoch)
    assert max(np.diff(kept.epochs)) <= 16
    near, theta = kept.near(501)
    assert theta[0] == near
    assert abs(near - 501) <= 16


def test_dead_units_are_named_as_they_die():
    panel = opened(hidden="12,12", init="glorot_normal", learning_rate="3", loss="cross_entropy")
    for _ in range(3):
        frame = panel.handle("step", {})["frame"]
    a = panel.network.forward(panel.run.X).a
    dead = [(l, j) for l in (1, 2) for j in range(12) if not a[l][:, j].any()]
    assert dead
    assert frame["dead"] == dead
    found = set()
    for event in frame["events"]:
        unit = event["layer"], event["unit"]
        assert (event["what"] == "back") == (unit in found)
        found ^= {unit}
    assert found == set(dead)


def test_gradients_are_those_of_the_network():
    panel = opened(hidden="20,10", activation="tanh")
    frame = panel.handle("step", {})["frame"]
    cost, nabla = panel.network.gradient(panel.run.X, panel.run.Y)
    nabla_W, _ = panel.network.views(nabla)
    assert frame["loss"] == pytest.approx(cost)
    np.testing.assert_allclose(frame["gradient"], [np.linalg.norm(W) for W in nabla_W[1:]])
    assert np.array(frame["gradients"])[:, -1].tolist() == frame["gradient"]


def test_divergence_is_one_line_and_goes_back_to_the_start_of_the_epoch():
    panel = opened(activation="identity", output_activation="identity", learning_rate="90")
    theta = panel.network.theta.copy()
    for _ in range(2):
        with pytest.raises(PanelError, match="epoch") as caught:
            panel.handle("step", {})
        assert "\n" not in " ".join(str(caught.value).split())
        np.testing.assert_array_equal(panel.network.theta, theta)
    assert panel.session.sent[-1][1]["epoch"] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": "fast"}, "the learning rate must be a number from 1e-06 to 100; got "),
        ({"learning_rate": "nan"}, "the learning rate must be a number"),
        ({"learning_rate": "-1"}, "the learning rate must be a number"),
        ({"batch_size": 2.5}, "the batch size must be a whole number"),
        ({"epochs": 1e400}, "epochs must be a whole number"),
        ({"hidden": "1000000000"}, "1 to 512 units each"),
        ({"hidden": "10,-1"}, "1 to 512 units each"),
        ({"hidden": "2,2,2,2,2,2,2"}, "room for 6 hidden layers; got 7"),
        ({"activation": "rellu"}, "the activation must be one of .*'rellu'"),
        ({"optimizer": ["adam"]}, "the optimiser must be one of"),
        ({"recipe": "best"}, "the recipe must be one of article, modern"),
        ({"loss": "poisson"}, "the cost must be one of"),
        ({"distortion": "much"}, "the distortion must be one of off, on"),
        ({"l2": "-1"}, "the L2 penalty must be a number from 0 to 10"),
        ({"dropout": "1"}, "the dropout must be a number from 0 to 0.9"),
        ({"seed": None}, "the seed must be a whole number"),
        ({"validation": 5000}, "rows held back must be a whole number from 0 to 1000"),
    ],
)
def test_bad_settings_are_one_line_and_change_nothing(settings, message):
    panel = opened(hidden="5")
    panel.handle("step", {"of": "batch"})
    before = panel.setting, panel.network, panel.batch
    with pytest.raises(PanelError, match=message) as caught:
        panel.handle("set", settings)
    assert "\n" not in str(caught.value)
    assert (panel.setting, panel.network, panel.batch) == before
    assert Train(Tab(), settings).setting.recipe == ARTICLE  # an address with a fault opens


def test_bad_messages_are_refused():
    panel = opened(hidden="5")
    for type, data in (("look", {"epoch": "x"}), ("look", {}), ("step", {"of": "year"})):
        with pytest.raises(PanelError):
            panel.handle(type, data)
    panel.epoch = LAST_EPOCH
    with pytest.raises(PanelError, match="start again"):
        panel.handle("play", {})


def test_the_address_has_what_differs_from_the_recipe():
    assert checked({}).changes == {}
    assert checked({"recipe": "modern", "clip": "2"}).changes == {"recipe": "modern"}
    found = checked({"recipe": "modern", "clip": "none", "hidden": "30, 20", "seed": "7"})
    assert found.changes == {"recipe": "modern", "clip": "none", "hidden": "30,20", "seed": "7"}
    assert checked(found.changes) == found
    adam = checked({"optimizer": "adam"})
    assert (adam.recipe.learning_rate, adam.changes) == (0.001, {"optimizer": "adam"})
    panel = opened(**found.changes)
    reply = panel.handle("set", {"recipe": "article"})
    assert (panel.setting.recipe, reply["changes"]) == (ARTICLE, {"seed": "7"})


def test_the_page_trains_as_the_digits_command_and_its_code_runs(open_page):
    page = open_page("train?recipe=modern&hidden=20", width=1280)
    recipe = MODERN._replace(hidden=(20,), epochs=2)
    records = Run(recipe, load(), seed=0)().epochs
    counts = page.locator(".train-counts")
    page.get_by_role("button", name="One epoch", exact=True).click()
    counts.filter(has_text=f"epoch 1 · {records[0].correct} of 360 test digits right").wait_for()
    cells = page.locator("table.confusion tbody td").all_text_contents()
    assert (
        sum(int(cells[11 * digit].replace("·", "0")) for digit in range(10)) == records[0].correct
    )
    page.get_by_role("button", name="One batch", exact=True).click()
    counts.filter(has_text="epoch 1, batch 1 of 41").wait_for()
    page.get_by_role("button", name="One epoch", exact=True).click()
    counts.filter(has_text=f"epoch 2 · {records[1].correct} of 360 test digits right").wait_for()
    time = page.get_by_label("Epoch that is shown")
    time.focus()
    time.press("ArrowLeft")
    counts.filter(has_text=f"epoch 1 · {records[0].correct} of 360").wait_for()
    page.get_by_role("button", name="Now", exact=True).click()
    counts.filter(has_text="epoch 2 ·").wait_for()
    found: dict = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(page.locator(".train-code code").text_content(), found)
    assert found["right"] == [record.correct for record in records]
    np.testing.assert_allclose(found["costs"], [record.cost for record in records], rtol=1e-12)
    images = page.locator("canvas.train-weights")
    images.focus()
    images.press("ArrowRight")
    assert page.locator(".tip").text_content().startswith("unit 0 of layer 1")
    assert serious_faults(page) == []


def test_the_page_refuses_bad_settings_and_keeps_good_ones_in_its_address(open_page):
    page = open_page("train", width=375, height=700, theme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    page.get_by_label("Optimiser").select_option("adam")
    page.wait_for_url(re.compile("optimizer=adam"))
    rate = page.get_by_label("Learning rate")
    assert rate.input_value() == "0.001"
    rate.fill("fast")
    rate.press("Enter")
    alert = page.locator(".panel-train .notice")
    alert.filter(has_text="the learning rate must be a number from").wait_for()
    assert rate.input_value() == "0.001"
    page.get_by_role("button", name="Train", exact=True).click()
    counts = page.locator(".train-counts")
    counts.filter(has_text=re.compile(r"epoch ([2-9]|\d\d) ·")).wait_for()
    page.reload()
    counts.filter(has_text="epoch 0 ·").wait_for()
    assert page.get_by_label("Optimiser").input_value() == "adam"
    assert serious_faults(page) == []
