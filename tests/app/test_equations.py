"""The equations, in a browser: the steps and numbers of `trace`."""

from __future__ import annotations

import re

import numpy as np
import pytest

from chainrule import trace
from chainrule.app.reading import Reading

from conftest import serious_faults  # isort: skip


@pytest.fixture
def reading(running):
    """The network that a new tab gets."""
    return Reading(running.app.state.shared["reader"].wait())


def expected(reading, pixels, label):
    """The trace of an image."""
    x = reading.scaling(pixels.astype(float))[np.newaxis]
    return trace(reading.network, x, [label], optimizer="sgd", learning_rate=0.005)


def letters(pixels):
    """Greys as an address has them."""
    return "".join(chr(97 + int(grey)) for grey in pixels)


def test_every_step_has_the_numbers_of_trace(open_page, reading):
    pixels, label = reading.test_digit(9)
    page = open_page(f"equations?pixels={letters(pixels)}&label={label}")
    steps = list(expected(reading, pixels, label).steps())
    page.get_by_text(f"1 of {len(steps)}").wait_for()
    for k, step in enumerate(steps):
        assert page.locator(".place").inner_text() == f"{k + 1} of {len(steps)}"
        # A browser shows several blanks as one.
        assert page.locator(".formula").inner_text() == step.formula
        lines = page.locator(".worked li").all_text_contents()
        assert lines == list(step.worked)
        for symbol in page.locator(".formula .term").all_text_contents():
            assert symbol in step.formula
            assert page.locator(f'.values figure[data-term="{symbol}"]').count() == 1
        if k < len(steps) - 1:
            page.get_by_role("button", name="Next step").click()
    assert page.get_by_role("button", name="Next step").is_disabled()


def test_a_term_is_shown_in_the_network_and_its_entries_are_said(open_page, reading):
    pixels, label = reading.test_digit(9)
    page = open_page(f"equations?pixels={letters(pixels)}&label={label}&step=BP2-δ²")
    t = expected(reading, pixels, label)
    page.get_by_role("heading", name="BP2: error of layer 2").wait_for()
    page.locator('.formula [data-term="δ³"]').focus()
    assert page.locator('.values figure.shown[data-term="δ³"]').count() == 1
    page.locator('.values figure[data-term="δ²"] canvas').focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    said = page.get_by_role("tooltip").inner_text()
    name, _, value = said.partition(" = ")
    assert name == "δ²[0, 2]"
    assert float(value.replace("−", "-")) == pytest.approx(t.delta[2][0, 2], rel=1e-3)
    assert page.locator(".worked li.shown").inner_text().startswith("δ²[0, 2] = ")
    assert re.search(r"step=BP2-%CE%B4%C2%B2", page.evaluate("() => location.hash"))


def test_the_right_answer_can_be_changed(open_page, reading):
    pixels, label = reading.test_digit(9)
    page = open_page(f"equations?pixels={letters(pixels)}&label={label}&step=BP1-δ³")
    wrong = (label + 1) % 10
    page.get_by_label("The right answer").select_option(str(wrong))
    line = f"δ³[0, {wrong}] = "
    shown = page.locator(".worked li", has_text=line)
    worked = next(s for s in expected(reading, pixels, wrong).steps() if s.equation == "BP1").worked
    shown.get_by_text(next(one for one in worked if one.startswith(line))).wait_for()


def test_what_was_drawn_comes_along(open_page):
    page = open_page("draw?pixels=" + "a" * 27 + "q" * 4 + "a" * 33)
    page.locator(".answer:not(.none)").wait_for()
    page.get_by_role("link", name="The equations").click()
    page.locator(".panel-equations .place").get_by_text("1 of").wait_for()
    lines = page.locator(".worked li").all_text_contents()
    assert [line.split(" = ")[0] for line in lines] == ["a⁰[0, 27]", "a⁰[0, 28]", "a⁰[0, 29]"]


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 375)])
def test_axe_finds_nothing_serious(open_page, theme, width):
    page = open_page("equations?step=BP2-δ²", theme=theme, width=width)
    page.get_by_role("heading", name="BP2: error of layer 2").wait_for()
    assert serious_faults(page) == []
    wide = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) == 0
