"""Take the pictures of `chainrule play` that stand in the README and the documentation.

    .venv/bin/python scripts/screenshots.py

Needs Chromium, as the tests of the page do (CHROMIUM names another than the first on the path).
"""

from __future__ import annotations

import io
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from chainrule.app import panels, server

FOLDER = Path(__file__).parents[1] / "docs" / "images"
COLOURS = 160  # of a picture's palette
THREE = [(0.3, 0.24), (0.36, 0.18), (0.45, 0.14), (0.55, 0.14), (0.64, 0.19), (0.68, 0.28)]
THREE += [(0.64, 0.38), (0.56, 0.45), (0.46, 0.48), (0.58, 0.5), (0.67, 0.57), (0.71, 0.67)]
THREE += [(0.68, 0.77), (0.59, 0.85), (0.48, 0.87), (0.37, 0.84), (0.29, 0.77)]


def draw(page: Any) -> None:
    """Draw a 3 with the mouse, and wait for what the network says."""
    box = page.locator("canvas.pad").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in THREE]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place)
    page.mouse.up()
    page.locator(".answer:not(.none)").wait_for()


def teach(page: Any) -> None:
    """Say that the 3 is an 8, and stop where the error has gone back to the first layer."""
    draw(page)
    page.get_by_role("button", name="It is a 8").click()
    page.locator(".phases button").nth(3).click()


def equation(page: Any) -> None:
    """Point at a term of BP2."""
    page.locator(".parts button", has_text="BP2").click()
    page.locator('.formula [data-term="δ³"]').hover()


def learn(page: Any) -> None:
    """Let a network learn the two spirals for a hundred epochs or so."""
    page.get_by_role("button", name="Train", exact=True).click()
    page.locator(".plane-counts", has_text=re.compile(r"epoch [1-9]\d\d")).wait_for()
    page.get_by_role("button", name="Pause", exact=True).click()


def watch(page: Any) -> None:
    """Watch a run on the digits until it ends, and look back at its eighth epoch."""
    page.get_by_role("button", name="Train", exact=True).click()
    page.locator(".train-counts", has_text="epoch 30 ·").wait_for(timeout=120_000)
    time_shown = page.get_by_label("Epoch that is shown")
    time_shown.fill("8")
    page.locator(".train-counts", has_text="epoch 8 ·").wait_for()


def train(page: Any) -> None:
    """Train on the example, and wait for what it is worth."""
    page.get_by_role("button", name="Train", exact=True).click()
    page.get_by_text("What it is worth").wait_for()
    page.get_by_text("Training").scroll_into_view_if_needed()


# By the picture's name: the panel, its width, height and theme, and what is done there.
PICTURES: dict[str, tuple[str, int, int, str, Callable[[Any], None]]] = {
    "play-draw": ("draw", 1280, 836, "light", draw),
    "play-step": ("draw", 1280, 836, "dark", teach),
    "play-equations": ("equations", 1280, 936, "light", equation),
    "play-train": ("train?recipe=modern&hidden=40&dropout=0.2", 1280, 1450, "light", watch),
    "play-plane": ("plane?data=spirals&hidden=8,6&scatter=0.05", 1280, 900, "light", learn),
    "play-data": ("data?example=wine", 1280, 1500, "light", train),
    "play-phone": ("draw", 375, 1024, "dark", draw),
}


def main() -> None:
    """Take them all."""
    socket = server.bind("127.0.0.1", 0)
    port = socket.getsockname()[1]
    app = panels.new_app(server.Access(server.hosts_of("127.0.0.1"), port))
    running = server.make_server(app)
    threading.Thread(target=running.run, args=([socket],), daemon=True).start()
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for name, (panel, width, height, theme, prepare) in PICTURES.items():
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme=theme,
                reduced_motion="reduce",
            )
            page.goto(f"http://127.0.0.1:{port}/#{panel}")
            page.locator(f".panel-{panel.partition('?')[0]}[data-open]").wait_for()
            time.sleep(2)  # the network is trained
            prepare(page)
            time.sleep(0.5)
            with Image.open(io.BytesIO(page.screenshot())) as image:
                small = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
            small.save(FOLDER / f"{name}.png", optimize=True)
            print(FOLDER / f"{name}.png", (FOLDER / f"{name}.png").stat().st_size)
            page.close()
        browser.close()
    running.should_exit = True


if __name__ == "__main__":
    main()
