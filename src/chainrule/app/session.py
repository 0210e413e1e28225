"""One tab of the browser: its panels, and the thread in which they work."""

from __future__ import annotations

import json
import logging
import math
import secrets
import shutil
import tempfile
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.app.panel import Panel, PanelError

MOST_WAITING = 1000  # messages of the page that are kept until they are handled
MOST_UNSENT = 100  # messages to the page beyond which panels do not go on by themselves
QUIET = 0.2  # seconds without a message after which panels go on by themselves
PAUSE = 0.04  # seconds between two slices of work while another tab's messages come
log = logging.getLogger("chainrule.app")


def plain(value: Any) -> Any:
    """A value as JSON has it: arrays as lists, floats in seven digits, None for what is no number.

    Parameters
    ----------
    value : None, bool, int, float, str, array, or a list, tuple or mapping of such
    """
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return _plain_array(value)
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value


def _plain_array(value: NDArray[Any]) -> Any:
    """The same for an array, all of it at once."""
    if value.dtype.kind != "f":
        return value.tolist()
    numbers = value.astype(np.float64)
    with np.errstate(all="ignore"):
        scale = 10.0 ** np.clip(6 - np.floor(np.log10(np.abs(numbers))), -290, 290)
        rounded = np.where(numbers == 0, 0.0, np.round(numbers * scale) / scale)
    if np.isfinite(rounded).all():
        return rounded.tolist()
    return plain(value.tolist())


class Outbox:
    """Messages that wait to be sent, from all threads, in their order.

    Parameters
    ----------
    wake : callable () -> None
        Called, in any thread, when there is something to send.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._waiting: OrderedDict[Any, str] = OrderedDict()
        self._lock = threading.Lock()
        self._count = 0
        self._wake = wake

    def put(self, message: dict[str, Any], latest: bool = False) -> None:
        """Add a message; with `latest` it replaces one of the same panel and type."""
        text = json.dumps(plain(message), allow_nan=False, separators=(",", ":"))
        with self._lock:
            self._count += 1
            key = (message["panel"], message["type"]) if latest else self._count
            self._waiting.pop(key, None)
            self._waiting[key] = text
        self._wake()

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._waiting)

    def take(self) -> list[str]:
        """All that waits, the oldest first."""
        with self._lock:
            found = list(self._waiting.values())
            self._waiting.clear()
        return found


class Traffic:
    """When messages came last, in all tabs of a server."""

    def __init__(self) -> None:
        self.last = -math.inf

    def note(self) -> float:
        """A message has come; the time, by the monotonic clock."""
        self.last = monotonic()
        return self.last


class Session:
    """What one tab has opened.

    While messages come, what panels do by themselves makes way, so that a drawn stroke is answered
    at once: in this tab it rests until there have been none for a moment, in others it takes a part
    of the time.

    Parameters
    ----------
    panels : dict of str to type of Panel
    wake : callable () -> None
        Called, in any thread, when there is something in `outbox`.
    shared : dict
        What all sessions of a server use, such as a network that is trained once.
    traffic : Traffic, optional
        Of the server.

    Attributes
    ----------
    name : str
        A secret: who knows it may give the session files, and take its own.
    outbox : Outbox
    shared : dict
        What several panels of this tab use; it starts with what the server's sessions share.
    """

    def __init__(
        self,
        panels: Mapping[str, type[Panel]],
        wake: Callable[[], None],
        shared: Mapping[str, Any] | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self._traffic = traffic or Traffic()
        self._asked = self._worked = -math.inf  # a message came, a slice of work ended
        self.name = secrets.token_urlsafe(16)
        self.outbox = Outbox(wake)
        self.shared: dict[str, Any] = dict(shared or {})
        self._kinds = panels
        self._panels: dict[str, Panel] = {}
        self._folder: Path | None = None
        self._inbox: deque[tuple[Callable[[], None], Callable[[], None]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"session {self.name}", daemon=True)
        self._thread.start()

    # --- called by the server ---------------------------------------------------------------------

    def receive(self, message: Any) -> None:
        """Take a message of the page, of which nothing is known; it is handled later.

        Raises
        ------
        PanelError
            It is not a message, or too many wait.
        """
        if not isinstance(message, dict):
            raise PanelError("a message must be an object with panel and type")
        name, type, data = message.get("panel"), message.get("type"), message.get("data", {})
        if not isinstance(name, str) or name not in self._kinds:
            raise PanelError(f"there is no panel {str(name)[:40]!r}")
        if not isinstance(type, str) or not isinstance(data, dict):
            raise PanelError("a message needs a type, and data that is an object")
        self._asked = self._traffic.note()
        number = message.get("id")
        if number is not None and not isinstance(number, int | str):
            raise PanelError("the id of a message must be a number or a text")
        self._add(lambda: self._answer(name, type, data, number), lambda: None)

    def call(self, name: str, function: Callable[[Panel], Any], done: Callable[..., None]) -> None:
        """Have a function called with a panel in the session's thread.

        Parameters
        ----------
        name : str
        function : callable (Panel) -> value
        done : callable (value, error) -> None
            Called in the session's thread with what came of it; `error` is one line, or None.
        """

        def both() -> None:
            value, error = self._tried(lambda: function(self._panel(name)))
            done(value, error)

        self._add(both, lambda: done(None, "the page has been closed"))

    def close(self) -> None:
        """Close all panels and end the thread; returns when that is done."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            panels = list(self._panels.values())
        for panel in panels:
            panel.stopping.set()
        self._thread.join()

    # --- called by panels -------------------------------------------------------------------------

    def send(
        self, panel: str, type: str, data: dict[str, Any], number: Any = None, latest: bool = False
    ) -> None:
        """Send the page a message; in any thread."""
        message = {"panel": panel, "type": type, "data": data}
        if number is not None:
            message["id"] = number
        self.outbox.put(message, latest)

    def folder(self) -> Path:
        """A folder for this tab's files; it goes when the session is closed."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="chainrule-play-"))
        return self._folder

    def waits(self) -> bool:
        """Whether a message is waiting; work that can be put off should make room for it."""
        return bool(self._inbox) or self._closed

    # --- in the session's thread ------------------------------------------------------------------

    def _add(self, job: Callable[[], None], drop: Callable[[], None]) -> None:
        """Have a job done, or dropped if the session is closed before."""
        with self._changed:
            if self._closed:
                drop()
                return
            if len(self._inbox) >= MOST_WAITING:
                raise PanelError("too many messages are waiting")
            self._inbox.append((job, drop))
            self._changed.notify()

    def _run(self) -> None:
        busy = False
        while True:
            with self._changed:
                while not (self._inbox or busy or self._closed):
                    self._changed.wait()
                if self._closed:
                    break
                job = self._inbox.popleft()[0] if self._inbox else None
            if job is not None:
                job()
                busy = True  # what the job did may have given a panel something to do
            elif len(self.outbox) > MOST_UNSENT:  # the page is slower than we are
                with self._changed:
                    self._changed.wait(0.01)
            elif (rest := self._rest()) > 0:
                with self._changed:
                    if not (self._inbox or self._closed):
                        self._changed.wait(rest)
            else:
                more = [self._slice(panel) for panel in list(self._panels.values())]
                busy = any(more)
                self._worked = monotonic()
        for _, drop in self._inbox:
            drop()
        for panel in self._panels.values():
            self._tried(panel.close)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _rest(self) -> float:
        """Seconds for which panels do not go on by themselves."""
        now = monotonic()
        others = self._worked + PAUSE - now if now < self._traffic.last + QUIET else 0.0
        return max(self._asked + QUIET - now, others)

    def _slice(self, panel: Panel) -> bool:
        more, error = self._tried(panel.work)
        if error is not None:
            self.send(panel.name, "error", {"message": error})
        return bool(more) and error is None

    def _panel(self, name: str) -> Panel:
        if name not in self._panels:
            raise PanelError("this part of the page has not been opened")
        return self._panels[name]

    def _answer(self, name: str, type: str, data: dict[str, Any], number: Any) -> None:
        def value() -> Any:
            if type == "open":
                return self._open(name, data)
            return self._panel(name).handle(type, data)

        reply, error = self._tried(value)
        if error is not None:
            self.send(name, "error", {"message": error}, number)
        elif number is not None:
            self.send(name, "reply", reply or {}, number)

    def _open(self, name: str, state: dict[str, Any]) -> dict[str, Any]:
        if name in self._panels:
            self._panels.pop(name).close()
        panel = self._kinds[name](self, state)
        with self._changed:
            self._panels[name] = panel
        return panel.state()

    def _tried(self, function: Callable[[], Any]) -> tuple[Any, str | None]:
        """(value, None), or (None, the error in one line)."""
        try:
            return function(), None
        except PanelError as error:
            return None, " ".join(str(error).split())
        except Exception as error:  # a fault of ours must not end the tab
            log.exception("a panel failed")
            said = " ".join(str(error).split())[:300]
            return None, f"this did not work: {type(error).__name__}: {said}"
