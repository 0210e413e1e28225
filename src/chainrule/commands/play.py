"""The command play: a page on which a network is seen thinking and learning."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainrule.commands.terminal import BAD_INPUT, DONE, FAILED, fail, printable

if TYPE_CHECKING:
    from chainrule.app.opening import Opening

ABOUT_PLAY = (
    "Open a page on which a network is seen thinking and learning.\n\n"
    "Draw a digit and watch a network read it, say what it really is and watch one step of "
    "backpropagation; watch a network learn points in a plane; train a model of a table of your "
    "own; follow the four equations with their numbers. The page is served to "
    "this machine alone, and nothing is fetched from elsewhere. Ctrl-C ends it.\n\n"
    "All that is set on the page is in its address. WHAT is such an address, or a file that holds "
    "one; a model file, of which a network for digits then reads what is drawn, and any other can "
    "be asked about rows that are typed; or a table, such as a CSV file.\n\n"
    "Try:\n\n"
    "  chainrule play\n\n"
    "  chainrule digits --save digits.chainrule\n\n"
    "  chainrule play digits.chainrule\n\n"
    "  chainrule play data.csv"
)
SWITCH = 5e-4  # seconds after which a thread that trains makes way for one that answers


def play(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[WHAT]", help="An address of the page, or a file.", show_default=False
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Unless given, one that is free.", show_default=False),
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen at; with another, others can use the page.")
    ] = "127.0.0.1",
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
) -> None:
    """Serve the page; see ABOUT_PLAY."""
    opening = _opened(what)
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        fail(f"play needs {error.name}: pip install 'chainrule[app]'", BAD_INPUT)
    from chainrule.app import panels, server

    token = None
    if not server.is_local(host):
        import secrets

        token = secrets.token_urlsafe(16)
        print(
            f"chainrule: --host {printable(host)}: whoever reaches this machine and has the "
            "address below can use the page, and compute here; nothing is encrypted",
            file=sys.stderr,
        )
    try:
        socket = server.bind(host, port or 0)
    except OSError as error:
        where = f"{host}:{port}" if port else host
        option = "--port" if port and server.is_local(host) else "--host"
        fail(f"{option}: cannot listen at {where}: {error.strerror or error}", BAD_INPUT)
    with socket:
        found = socket.getsockname()[1]
        address = _address(host, found, token, opening.fragment)
        access = server.Access(server.hosts_of(host), found, token)
        sys.setswitchinterval(SWITCH)
        running = server.make_server(panels.new_app(access, opening))
        print(f"{printable(address)}\nCtrl-C ends it.", flush=True)
        code = _serve(running, socket, address if browser else None)
    if code:
        raise typer.Exit(code)


def _opened(what: str | None) -> Opening:
    """What the page is opened with."""
    from chainrule.app.opening import opening_of

    try:
        return opening_of(what)
    except (OSError, ValueError, ImportError) as error:
        fail(" ".join(str(error).split()), BAD_INPUT)


def _address(host: str, port: int, token: str | None, fragment: str) -> str:
    """Where the page is, for this machine's browser."""
    import socket

    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    name = f"[{name}]" if ":" in name else name
    query = f"?token={token}" if token else ""
    return f"http://{name}:{port}/{query}" + (f"#{fragment}" if fragment else "")


def _serve(running: Any, socket: Any, address: str | None) -> int:
    """Serve until Ctrl-C; the exit code."""
    import threading
    import webbrowser

    if address is not None:
        # The socket listens already, so that the browser may come early.
        threading.Timer(0.1, webbrowser.open, [address]).start()
    try:
        running.run(sockets=[socket])
    except KeyboardInterrupt:  # the usual end
        return DONE
    return DONE if running.started else FAILED
