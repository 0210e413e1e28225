"""Draw a digit, in a browser; the numbers on the page are those of the library."""

from __future__ import annotations

import json

import numpy as np
import pytest
from websockets.sync.client import connect

from chainrule import trace
from chainrule.app.reading import Reading

from conftest import Running, serious_faults, wait_until  # isort: skip

# One way to write each digit: strokes of points, from 0 to 1.
HAND = {
    0: [[(0.5, 0.12), (0.36, 0.2), (0.28, 0.4), (0.28, 0.62), (0.36, 0.8), (0.5, 0.88), (0.64, 0.8),
         (0.72, 0.62), (0.72, 0.4), (0.64, 0.2), (0.5, 0.12)]],
    1: [[(0.36, 0.28), (0.52, 0.12), (0.52, 0.88)]],
    2: [[(0.3, 0.28), (0.38, 0.16), (0.54, 0.12), (0.68, 0.22), (0.68, 0.38), (0.52, 0.6),
         (0.28, 0.86), (0.74, 0.86)]],
    3: [[(0.3, 0.22), (0.45, 0.13), (0.63, 0.18), (0.68, 0.3), (0.6, 0.43), (0.46, 0.48),
         (0.64, 0.54), (0.7, 0.68), (0.6, 0.83), (0.45, 0.87), (0.28, 0.78)]],
    4: [[(0.56, 0.12), (0.26, 0.6), (0.76, 0.6)], [(0.6, 0.4), (0.56, 0.9)]],
    5: [[(0.68, 0.14), (0.36, 0.14), (0.33, 0.46), (0.52, 0.42), (0.68, 0.53), (0.68, 0.72),
         (0.54, 0.86), (0.3, 0.82)]],
    6: [[(0.62, 0.12), (0.42, 0.32), (0.31, 0.6), (0.38, 0.82), (0.56, 0.87), (0.68, 0.75),
         (0.64, 0.58), (0.5, 0.54), (0.34, 0.66)]],
    7: [[(0.28, 0.15), (0.72, 0.15), (0.56, 0.5), (0.45, 0.88)], [(0.38, 0.5), (0.68, 0.5)]],
    8: [[(0.64, 0.24), (0.5, 0.13), (0.36, 0.24), (0.42, 0.4), (0.6, 0.56), (0.66, 0.74),
         (0.5, 0.87), (0.34, 0.74), (0.4, 0.56), (0.6, 0.4), (0.64, 0.24)]],
    9: [[(0.66, 0.3), (0.52, 0.14), (0.36, 0.22), (0.36, 0.4), (0.5, 0.48), (0.65, 0.36),
         (0.66, 0.3), (0.64, 0.6), (0.56, 0.88)]],
}  # fmt: skip


@pytest.fixture
def reading(running):
    """The network that a new tab gets."""
    return Reading(running.app.state.shared["reader"].wait())


def letters(pixels):
    """Greys as an address has them."""
    return "".join(chr(97 + int(grey)) for grey in pixels)


def draw(page, strokes):
    """Draw with the mouse."""
    box = page.locator("canvas.pad").bounding_box()
    for stroke in strokes:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place)
        page.mouse.up()


def answer(page):
    """What the page reads, once it has read something."""
    page.locator(".answer:not(.none)").wait_for()
    return int(page.locator(".answer").inner_text())


def settled(page):
    """Wait until nothing is asked any more."""
    page.wait_for_function("() => !document.querySelector('canvas.network').dataset.asking")


def test_a_hand_written_digit_is_read(open_page):
    page = open_page()
    said = {}
    for digit, strokes in HAND.items():
        draw(page, strokes)
        settled(page)
        said[digit] = answer(page)
        page.get_by_role("button", name="Clear").click()
    assert said == {digit: digit for digit in HAND}


def test_held_out_digits_are_read_as_predict_reads_them(open_page, reading):
    page = open_page()
    data = reading.reader.data
    pixels = data.images_test[-100:].reshape(100, 64)
    predicted = reading.network.predict(reading.scaling(pixels)).argmax(axis=1)
    # Through the page's own address, as a link that somebody shares.
    said = page.evaluate(
        """async (texts) => {
            const found = [];
            for (const text of texts) {
                location.hash = `#draw?pixels=${text}`;
                const net = document.querySelector("canvas.network");
                await new Promise((resolve) => {
                    const look = () =>
                        net.dataset.shown === text ? resolve() : setTimeout(look, 2);
                    look();
                });
                found.push(Number(document.querySelector(".answer").textContent));
            }
            return found;
        }""",
        [letters(image) for image in pixels],
    )
    assert said == predicted.tolist()
    assert 90 <= (predicted == data.y_test[-100:]).sum() < 100  # some are read wrong, and shown so


def table(page, name):
    """The numbers of a column of "All numbers", by layer."""
    found = page.locator(".numbers table").evaluate_all(
        """(tables, name) => tables.map((table) => {
            const cells = [...table.querySelectorAll(`td[data-name=${name}]`)];
            return cells.map((cell) => Number(cell.dataset.value));
        })""",
        name,
    )
    return [np.array(layer) for layer in found]


def test_one_step_shows_the_numbers_of_trace(open_page, reading):
    pixels, label = reading.test_digit(5)
    page = open_page(f"draw?pixels={letters(pixels)}&rate=0.05")
    answer(page)
    page.get_by_text("All numbers").click()
    wrong = (label + 1) % 10
    page.get_by_role("button", name=f"It is a {wrong}").click()
    page.get_by_role("button", name="BP1").click()
    x = reading.scaling(pixels.astype(float))[np.newaxis]
    t = trace(reading.network, x, [wrong], optimizer="sgd", learning_rate=0.05)
    for l in range(1, t.L + 1):
        np.testing.assert_allclose(table(page, "delta")[l - 1], t.delta[l][0], rtol=1e-6)
        np.testing.assert_allclose(table(page, "a")[l - 1], t.a[l][0], rtol=1e-6)
        np.testing.assert_allclose(table(page, "z")[l - 1], t.z[l][0], rtol=1e-6)
    # After the step the network answers with the new weights.
    page.get_by_role("button", name="Step W").click()
    after = reading.network.copy()
    for l in range(1, t.L + 1):
        after.W[l][...], after.b[l][...] = t.new_W[l], t.new_b[l]
    sure = f"{100 * after.predict(x).max():.0f} %"
    assert page.locator(".sure").inner_text() == f"{sure} sure"
    assert page.locator(".answer").inner_text() == str(after.predict(x).argmax())
    page.get_by_role("button", name="Undo all steps").click()
    page.locator(".draw-teach > button:disabled").wait_for()
    settled(page)
    assert page.locator(".answer").inner_text() == str(reading.network.predict(x).argmax())


def test_numbers_are_said_where_one_points(open_page, reading):
    pixels, label = reading.test_digit(0)
    page = open_page(f"draw?pixels={letters(pixels)}")
    answer(page)
    network = page.locator("canvas.network")
    network.focus()
    page.keyboard.press("ArrowDown")
    tip = page.get_by_role("tooltip")
    a = reading.read(pixels.astype(float))["a"]
    assert f"Output {label}" in tip.inner_text()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert tip.inner_text().startswith("Pixel ")
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.get_by_role("button", name=f"It is a {label}").click()
    page.locator(".phases button.shown").wait_for()
    network.focus()
    page.keyboard.press("ArrowDown")
    assert "BP1: δ³" in tip.inner_text()
    assert "BP3: ∂C/∂b³" in tip.inner_text()
    assert a[-1].argmax() == label


def test_what_is_drawn_lies_in_the_address(open_page):
    page = open_page()
    draw(page, HAND[4])
    settled(page)
    said = answer(page)
    fragment = page.evaluate(
        """async () => {
            const { sampleState } = await import("./static/sample.js");
            const wanted = `#draw?strokes=${sampleState().strokes}`;
            while (location.hash !== wanted) await new Promise((go) => setTimeout(go, 20));
            return location.hash.slice(1);
        }"""
    )
    again = open_page(fragment)
    assert answer(again) == said
    greys = "async () => (await import('./static/sample.js')).sample.greys"
    assert again.evaluate(greys) == page.evaluate(greys)


@pytest.mark.parametrize(
    "state", ["strokes=abc", "strokes=" + "a" * 40_004, "pixels=zzz", "rate=1e9", "x=%00", "rate=x"]
)
def test_addresses_that_say_nothing_sensible_show_an_empty_pad(open_page, state):
    page = open_page(f"draw?{state}")
    assert page.locator(".answer").inner_text() == "?"
    assert not page.get_by_role("alert").is_visible()


def test_a_digit_by_keyboard_alone(open_page):
    page = open_page()
    for _ in range(12):  # links and buttons of the head, which begins with "Skip to the content"
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.matches('canvas.pad')"):
            break
    else:
        pytest.fail("Tab does not lead to the pad")
    page.keyboard.press("ArrowUp")  # the first only shows where one is
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    page.keyboard.press(" ")
    for _ in range(7):
        page.keyboard.press("Shift+ArrowDown")
    settled(page)
    assert answer(page) == 1
    page.keyboard.press("7")  # what it is really
    page.locator(".phases button.shown").wait_for()
    page.keyboard.press("Delete")
    assert page.locator(".answer").inner_text() == "?"


def test_after_a_new_start_of_the_server_the_page_goes_on(browser, open_page):
    other = Running()
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(other.address)
        page.locator(".panel-draw[data-open]").wait_for()
        draw(page, HAND[2])
        assert answer(page) == 2
        other.stop()
        page.get_by_text("Not connected").wait_for()
        draw(page, HAND[7][1:])  # one can go on drawing
        page.get_by_role("button", name="Undo", exact=True).click()
        other.start()
        page.wait_for_function("() => document.body.dataset.connected === 'yes'")
        page.get_by_role("button", name="Clear").click()
        draw(page, HAND[7])
        settled(page)
        assert answer(page) == 7
    finally:
        context.close()
        other.stop()


def test_tabs_are_independent(open_page, reading):
    pixels, label = reading.test_digit(2)
    one, two = (open_page(f"draw?pixels={letters(pixels)}&rate=0.1") for _ in range(2))
    assert answer(one) == answer(two)
    wrong = (label + 1) % 10
    for _ in range(6):
        one.get_by_role("button", name=f"It is a {wrong}").click()
        one.locator(".phases button.shown").wait_for()
        settled(one)
    one.get_by_role("button", name="Step W").click()
    assert answer(one) == wrong
    two.get_by_role("button", name="Undo all steps")
    two.reload()
    assert answer(two) == label


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_axe_finds_nothing_serious(open_page, reading, theme, width):
    page = open_page(f"draw?pixels={letters(reading.test_digit(1)[0])}", width=width, theme=theme)
    answer(page)
    page.get_by_role("button", name="It is a 3").click()
    page.get_by_role("button", name="BP1").click()
    assert serious_faults(page) == []


def test_nothing_is_cut_off_and_nothing_moves_on_a_narrow_screen(open_page):
    page = open_page(width=375, height=700)
    where = """() => [...document.querySelectorAll('.draw > *')].map(
        (each) => each.getBoundingClientRect().top)"""
    before = page.evaluate(where)
    draw(page, HAND[8])
    settled(page)
    assert answer(page) == 8
    assert page.evaluate(where) == before
    wide = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) == 0


def test_touch_draws(browser, running):
    context = browser.new_context(has_touch=True, viewport={"width": 375, "height": 700})
    try:
        page = context.new_page()
        page.goto(running.address)
        page.locator(".panel-draw[data-open]").wait_for()
        box = page.locator("canvas.pad").bounding_box()
        session = context.new_cdp_session(page)
        for kind, points in [
            ("touchStart", HAND[1][0][1:2]),
            *(("touchMove", [(0.52, 0.12 + k / 20)]) for k in range(16)),
            ("touchEnd", []),
        ]:
            places = [
                {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
                for x, y in points
            ]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})
        assert answer(page) == 1
        assert page.evaluate("() => scrollY") == 0
    finally:
        context.close()


# --- what the panel takes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type", "data", "said"),
    [
        ("read", {}, "an image has 64 pixels"),
        ("read", {"pixels": [17] * 64}, "pixels are numbers from 0 to 16"),
        ("read", {"pixels": [True] * 64}, "pixels are numbers from 0 to 16"),
        ("read", {"pixels": ["1"] * 64}, "pixels are numbers from 0 to 16"),
        ("learn", {"pixels": [1] * 64, "label": 10, "rate": 1}, "the label must be a whole number"),
        ("learn", {"pixels": [1] * 64, "label": 1, "rate": 1e9}, "the step size η must be"),
        ("learn", {"pixels": [1] * 64, "label": 1}, "the step size η must be"),
        ("sample", {"index": 360}, "the test digit must be a whole number from 0 to 359"),
        ("sample", {"index": 1.5}, "the test digit must be a whole number from 0 to 359"),
        ("nothing", {}, "draw does not know the message 'nothing'"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(running, type, data, said):
    with connect(f"ws://127.0.0.1:{running.port}/socket", origin=running.address) as socket:
        socket.recv(timeout=60)
        for message in (
            {"panel": "draw", "type": "open", "id": 1, "data": {}},
            {"panel": "draw", "type": type, "id": 2, "data": data},
        ):
            socket.send(json.dumps(message))
        while (reply := json.loads(socket.recv(timeout=60))).get("id") != 2:
            pass
    assert reply["type"] == "error"
    assert reply["data"]["message"].startswith(said)
    wait_until(lambda: not running.sessions)
