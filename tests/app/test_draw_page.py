"""The page "Draw a digit" of the documentation: the exported model answers, without a server."""

from __future__ import annotations

import functools
import http.server
import json
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from chainrule.digits.recipes import load

from conftest import serious_faults  # isort: skip

SITE = Path(__file__).parents[2] / "docs" / "_site"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def page_and_model(browser, tmp_path_factory):
    """The page as it is written for the documentation, in a browser; and its model."""
    sys.path.insert(0, str(SITE))
    try:
        from draw_page import write_draw_page
    finally:
        sys.path.remove(str(SITE))
    folder = tmp_path_factory.mktemp("draw")
    model = write_draw_page(folder)
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context = browser.new_context(reduced_motion="reduce")
        page = context.new_page()
        faults = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
        page.wait_for_function("() => document.body.dataset.outputs")
        yield page, model
        context.close()
        server.shutdown()
        assert faults == []


def test_the_page_reads_held_out_digits_as_the_model_does(page_and_model):
    page, model = page_and_model
    data = load()
    pixels = data.images_test.reshape(-1, 64)
    texts = page.evaluate(
        """(images) => images.map((pixels) => {
            setPixels(pixels);
            return document.body.dataset.outputs;
        })""",
        pixels.astype(int).tolist(),
    )
    outputs = np.array([json.loads(text) for text in texts])
    np.testing.assert_allclose(outputs, model.predict_proba(pixels / 16), atol=1e-9)
    assert (outputs.argmax(axis=1) == data.y_test).mean() > 0.9
    assert page.locator("#answer").inner_text() == str(outputs[-1].argmax())


def test_a_drawn_one_is_read_and_taken_back(page_and_model):
    page, _ = page_and_model
    page.get_by_role("button", name="Clear").click()
    assert page.locator("#answer").inner_text() == "?"
    box = page.locator("canvas.pad").bounding_box()
    x = box["x"] + box["width"] / 2
    page.mouse.move(x, box["y"] + 0.12 * box["height"])
    page.mouse.down()
    page.mouse.move(x, box["y"] + 0.9 * box["height"])
    page.mouse.up()
    assert page.locator("#answer").inner_text() == "1"
    page.get_by_role("button", name="Undo").click()
    assert page.locator("#answer").inner_text() == "?"


def test_axe_finds_nothing_serious(page_and_model):
    page, _ = page_and_model
    assert serious_faults(page) == []
