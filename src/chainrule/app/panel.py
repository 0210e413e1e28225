"""What all panels of the page have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol


class PanelError(ValueError):
    """What the visitor did wrong, in one line for them; the panel goes on as it was."""


class Download(NamedTuple):
    """A file that the page offers: its name, its media type, its bytes."""

    name: str
    media_type: str
    content: bytes


class Tab(Protocol):
    """What a panel knows of its session (:class:`chainrule.app.session.Session`).

    Attributes
    ----------
    name : str
    shared : dict
        What several panels of the tab use.
    """

    name: str
    shared: dict[str, Any]

    def send(
        self, panel: str, type: str, data: dict[str, Any], number: Any = None, latest: bool = False
    ) -> None:
        """Send the page a message; in any thread."""

    def folder(self) -> Path:
        """A folder for the tab's files; it goes when the tab is closed."""

    def waits(self) -> bool:
        """Whether a message is waiting; work that can be put off should make room for it."""


class Panel:
    """One part of the page, as the server sees it.

    Everything but `send`, `send_latest` and what runs in threads of the panel's own is called in
    the session's thread.

    Parameters
    ----------
    session : Tab
    state : dict
        What the page has set: whatever `getState` of the panel's module gave, perhaps in another
        tab, perhaps written by hand. Nothing in it is to be trusted.

    Attributes
    ----------
    name : str
        Of the panel, its module and its messages.
    stopping : threading.Event
        Set by :meth:`close`. Work in threads of the panel's own has to look at it.
    """

    name: str

    def __init__(self, session: Tab, state: dict[str, Any]) -> None:
        self.session = session
        self.stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def handle(self, type: str, data: dict[str, Any]) -> dict[str, Any] | None:
        """Answer a message.

        Parameters
        ----------
        type : str
        data : dict
            As the page sent it; nothing in it is to be trusted.

        Returns
        -------
        dict or None
            The reply, if one is wanted. Arrays of NumPy are sent as lists, floats in float32.

        Raises
        ------
        PanelError
            With one line for the visitor.
        """
        raise PanelError(f"{self.name} does not know the message {type!r}")

    def work(self) -> bool:
        """Do a slice of what goes on by itself, 30 ms at most; whether there is more to do."""
        return False

    def state(self) -> dict[str, Any]:
        """What the page is told when the panel is opened."""
        return {}

    def uploaded(self, name: str, path: Path) -> dict[str, Any] | None:
        """Take a file that the visitor has given, as :meth:`handle` takes a message."""
        raise PanelError(f"{self.name} takes no files")

    def download(self, name: str) -> Download:
        """Make a file that the visitor asked for; `name` is as the page has it in the address."""
        raise PanelError(f"{self.name} has no file {name!r}")

    def send(self, type: str, **data: Any) -> None:
        """Send the page a message; may be called in any thread."""
        self.session.send(self.name, type, data)

    def send_latest(self, type: str, **data: Any) -> None:
        """The same; it takes the place of one of the same type that has not been sent yet."""
        self.session.send(self.name, type, data, latest=True)

    def spawn(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Run a function in a thread of its own; it must end soon after `stopping` is set."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        name = f"session {self.session.name} {self.name}"
        thread = threading.Thread(target=function, args=arguments, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """End what goes on, and wait for it. A panel with more to end calls this last."""
        self.stopping.set()
        for thread in self._threads:
            thread.join()
