"""A running server, and pages of a headless browser at it."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chainrule.app import server
from chainrule.app.panels import new_app

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Running:
    """A server in a thread of its own, which can be stopped and started at the same port.

    `make_app(access)` gives the application; `token` and `hosts` are those of its access.
    """

    def __init__(
        self,
        make_app: Callable[[server.Access], Any] = new_app,
        token: str | None = None,
        hosts: set[str] | None = None,
    ) -> None:
        self.make_app, self.token = make_app, token
        self.hosts = server.hosts_of("127.0.0.1") if hosts is None else hosts
        self.port = 0
        self.start()

    def start(self) -> None:
        socket = server.bind("127.0.0.1", self.port)
        self.port = socket.getsockname()[1]
        self.app = self.make_app(server.Access(self.hosts, self.port, self.token))
        self.server = server.make_server(self.app)
        self.thread = threading.Thread(target=self.server.run, args=([socket],), daemon=True)
        self.thread.start()
        wait_until(lambda: self.server.started)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def sessions(self) -> dict[str, Any]:
        return self.app.state.sessions


class Tab:
    """A session that keeps what its panel sends, as (type, data)."""

    name = "tab"

    def __init__(self, folder: Path | None = None) -> None:
        self.shared: dict[str, Any] = {}
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self._folder = folder

    def send(
        self, panel: str, type: str, data: dict[str, Any], number: Any = None, latest: bool = False
    ) -> None:
        self.sent.append((type, data))

    def folder(self) -> Path:
        assert self._folder is not None
        return self._folder

    def waits(self) -> bool:
        return False


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait for something that happens in another thread."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    """A server of the page."""
    found = Running()
    yield found
    found.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium; Debian's package without windows needs 0.6 of the processor time."""
    path = os.environ.get("CHROMIUM")
    path = path or shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("there is no chromium; .ci/run installs it")
        pytest.skip("there is no chromium (apt-get install chromium-headless-shell)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def open_page(browser: Any, running: Running) -> Iterator[Callable[..., Any]]:
    """Open pages: `open_page("draw?digit=7", width=375, theme="dark")`.

    At the end, no page may have had an error, nor have asked for anything elsewhere.
    """
    contexts, faults = [], []

    def open_one(
        fragment: str = "",
        *,
        width: int = 1280,
        height: int = 800,
        theme: str = "light",
        **more: Any,
    ) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=theme,
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console",
            lambda message: (
                faults.append(message.text)
                if message.type == "error"
                and "WebSocket connection" not in message.text
                and "400 (Bad Request)" not in message.text  # a file that was refused
                else None
            ),
        )
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((running.address, "data:", "blob:"))
                else faults.append(f"asked for {request.url}")
            ),
        )
        page.goto(f"{running.address}/" + (f"#{fragment}" if fragment else ""))
        page.locator("section.panel:not([hidden])[data-open]").wait_for(state="attached")
        # What it asked for when it was opened has come, and is drawn.
        page.locator("body[data-pending='0']").wait_for(state="attached")
        page.evaluate("() => new Promise((go) => requestAnimationFrame(() => setTimeout(go)))")
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert faults == []


def serious_faults(page: Any) -> list[str]:
    """What axe-core finds on a page that is serious or critical, a line each."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:120]}: {node.get('failureSummary', '')[:200]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
