"""The command play: a page on which a network is seen thinking and learning."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from chainrule.commands.terminal import BAD_INPUT, FAILED, fail, printable

ABOUT_PLAY = (
    "Open a page on which a network is seen thinking and learning.\n\n"
    "Draw a digit and watch a network read it, correct it and watch one step of backpropagation, "
    "and follow the four equations with their numbers. The page runs on this machine alone, and "
    "nothing is fetched from elsewhere. Ctrl-C ends it.\n\n"
    "All that is set on the page is in its address; LINK is such an address."
)


def play(
    link: Annotated[
        str | None,
        typer.Argument(
            metavar="[LINK]", help="The address of a page to open again.", show_default=False
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Unless given, one that is free.", show_default=False),
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen at; others can then use the page.")
    ] = "127.0.0.1",
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
) -> None:
    """Serve the page; see ABOUT_PLAY."""
    fragment = _fragment(link)
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        fail(f"play needs {error.name}: pip install 'chainrule[app]'", BAD_INPUT)
    from chainrule.app import server

    token = None
    if not server.is_local(host):
        import secrets

        token = secrets.token_urlsafe(16)
        print(
            f"chainrule: whoever reaches {host} and has the address below can use the page, train "
            "on this machine and read what is loaded there; it is not encrypted",
            file=sys.stderr,
        )
    try:
        socket = server.bind(host, port or 0)
    except OSError as error:
        where = f"{host}:{port}" if port else host
        option = "--port" if server.is_local(host) else "--host"
        fail(f"{option}: cannot listen at {where}: {error.strerror or error}", BAD_INPUT)
    found = socket.getsockname()[1]
    address = _address(host, found, token, fragment)
    print(f"{printable(address)}\nCtrl-C ends it.", flush=True)
    access = server.Access(server.hosts_of(host), found, token)
    code = _serve(socket, access, address if browser else None)
    if code:
        raise typer.Exit(code)


def _fragment(link: str | None) -> str:
    """What stands behind the # of a link."""
    if link is None:
        return ""
    if "#" not in link:
        fail(f"LINK: {link!r} has no #; copy the whole address of the page", BAD_INPUT)
    return link.partition("#")[2]


def _address(host: str, port: int, token: str | None, fragment: str) -> str:
    import socket

    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    name = f"[{name}]" if ":" in name else name
    query = f"?token={token}" if token else ""
    return f"http://{name}:{port}/{query}" + (f"#{fragment}" if fragment else "")


def _serve(socket: Any, access: Any, address: str | None, model: Path | None) -> int:
    """Serve until Ctrl-C; the exit code."""
    import threading
    import webbrowser

    from chainrule.app import panels, server

    app = panels.new_app(access, model)
    running = server.make_server(app)
    if address is not None:
        threading.Timer(0.1, webbrowser.open, [address]).start()
    try:
        running.run(sockets=[socket])
    except KeyboardInterrupt:  # the usual end
        return 0
    return 0 if running.started else FAILED
