"""The server of the page: its files, its socket, uploads and downloads, and who may use them.

What a page of another site could reach on this machine is refused: requests whose Host is not this
server's (a name that an attacker has pointed to 127.0.0.1), sockets and uploads whose Origin is not
this page's, messages and files beyond a size. The page itself may load and run nothing but what
lies in ``static`` (Content-Security-Policy), and nothing is fetched from elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import json
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from chainrule.app.panel import Download, Panel, PanelError
from chainrule.app.session import Session, Traffic

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

STATIC = Path(__file__).parent / "static"
LARGEST_MESSAGE = 1 << 20  # bytes of one message of the page
LARGEST_UPLOAD = 100 << 20  # bytes of one file
MOST_SESSIONS = 200
COOKIE = "chainrule-token"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}


class Access:
    """Who may use the server.

    Parameters
    ----------
    hosts : set of str
        The names that it goes by, in lower case, without a port. Empty: any, where a token is
        asked for.
    port : int
    token : str, optional
        What the first address has to bring along; a cookie then stands for it.
    """

    def __init__(self, hosts: set[str], port: int, token: str | None = None) -> None:
        if not hosts and not token:
            raise ValueError("a server of any name needs a token")
        self.hosts, self.port, self.token = hosts, port, token

    def refused(self, connection: HTTPConnection, changes: bool) -> str | None:
        """Why a request is refused; None if it is not.

        Parameters
        ----------
        connection : Starlette's HTTPConnection
        changes : bool
            Whether it could change something; then the Origin must be this page's.
        """
        host = connection.headers.get("host", "")
        if not self._is_ours(host):
            return "this server does not go by that name"
        origin = connection.headers.get("origin")
        if origin is None:
            if changes:
                return "requests of this kind come from the page alone"
        elif origin not in (f"http://{host}", f"https://{host}"):
            return "requests of other pages are refused"
        if self.token is not None:
            given = connection.cookies.get(COOKIE) or connection.query_params.get("token") or ""
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                return "open the address that chainrule play printed; it has the token"
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            found = urlsplit(f"//{host}")
            name, port = (found.hostname or "").lower(), found.port or 80
        except ValueError:
            return False
        return port == self.port and (name in self.hosts or not self.hosts)


def hosts_of(host: str) -> set[str]:
    """The names that a server bound to an address goes by; empty if any will do."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.is_unspecified:
            return set()
        if not address.is_loopback:
            return {host.lower()}
        return {host.lower(), "127.0.0.1", "localhost", "::1"}
    return {host.lower(), "127.0.0.1", "localhost", "::1"} if is_local(host) else {host.lower()}


def is_local(host: str) -> bool:
    """Whether an address or a name is that of this machine alone."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"


def make_app(
    panels: Mapping[str, type[Panel]], access: Access, shared: Mapping[str, Any] | None = None
) -> Starlette:
    """The server's application.

    Parameters
    ----------
    panels : dict of str to type of Panel
    access : Access
    shared : dict, optional
        What all sessions use.

    Returns
    -------
    Starlette
        ``app.state.sessions`` has the open sessions by name, ``app.state.shared`` what they share.
    """
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse
    from starlette.responses import Response as PlainResponse
    from starlette.routing import Mount, Route, WebSocketRoute
    from starlette.staticfiles import StaticFiles
    from starlette.websockets import WebSocketDisconnect

    sessions: dict[str, Session] = {}
    traffic = Traffic()

    async def page(request: Request) -> Response:
        if access.token is not None and "token" in request.query_params:
            response: Response = RedirectResponse("/", 303)  # the address is free of the token
            response.set_cookie(COOKIE, access.token, httponly=True, samesite="strict")
            return response
        return FileResponse(STATIC / "index.html")

    async def connect(websocket: WebSocket) -> None:
        if access.refused(websocket, changes=True) or len(sessions) >= MOST_SESSIONS:
            await websocket.close(1008)
            return
        await websocket.accept()
        loop, ready = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(ready.set)

        session = Session(panels, wake, shared, traffic)
        sessions[session.name] = session
        session.send("page", "welcome", {"session": session.name})
        sender = asyncio.create_task(send_all(websocket, session, ready))
        try:
            while True:
                text = await websocket.receive_text()
                take(session, text)
        except (WebSocketDisconnect, KeyError, RuntimeError):  # KeyError: bytes
            pass
        finally:
            sender.cancel()
            sessions.pop(session.name, None)
            await run_in_threadpool(session.close)
            with contextlib.suppress(Exception):
                await websocket.close(1003)

    async def send_all(websocket: WebSocket, session: Session, ready: asyncio.Event) -> None:
        while True:
            await ready.wait()
            ready.clear()
            for text in session.outbox.take():
                await websocket.send_text(text)

    def take(session: Session, text: str) -> None:
        """Hand a message over; what is none gets an answer and changes nothing."""
        try:
            if len(text) > LARGEST_MESSAGE:
                raise PanelError("the message is too long")
            session.receive(json.loads(text))
        except PanelError as error:
            session.send("page", "error", {"message": str(error)})
        except (ValueError, RecursionError):
            session.send("page", "error", {"message": "a message must be JSON"})

    async def called(request: Request, function: Any) -> Any:
        """What a function of the panel that the address names gives, in its session's thread."""
        session = sessions.get(request.path_params["session"])
        if session is None:
            raise PanelError("this page is not connected; load it again")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def settle(value: Any, error: str | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(PanelError(error))

        def done(value: Any, error: str | None) -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, value, error)

        session.call(request.path_params["panel"], function, done)
        return await future

    async def upload(request: Request) -> Response:
        session = sessions.get(request.path_params["session"])
        name = Path(request.query_params.get("name", "")).name or "file"
        try:
            if session is None:
                raise PanelError("this page is not connected; load it again")
            path = await received(request, session.folder() / f"upload{suffix_of(name)}")
            return JSONResponse(await called(request, lambda panel: panel.uploaded(name, path)))
        except PanelError as error:
            return JSONResponse({"message": str(error)}, 400)

    async def received(request: Request, path: Path) -> Path:
        size = 0
        with path.open("wb") as file:
            async for block in request.stream():
                size += len(block)
                if size > LARGEST_UPLOAD:
                    file.close()
                    path.unlink()
                    raise PanelError(
                        f"the file is larger than {LARGEST_UPLOAD >> 20} MB; chainrule train "
                        "takes larger ones"
                    )
                await run_in_threadpool(file.write, block)
        return path

    async def download(request: Request) -> Response:
        name = request.path_params["name"]
        try:
            found: Download = await called(request, lambda panel: panel.download(name))
        except PanelError as error:
            return PlainTextResponse(str(error), 404)
        return PlainResponse(
            found.content,
            media_type=found.media_type,
            headers={"Content-Disposition": f"attachment; filename*=utf-8''{quote(found.name)}"},
        )

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        for session in list(sessions.values()):
            await run_in_threadpool(session.close)

    app = Starlette(
        routes=[
            Route("/", page),
            WebSocketRoute("/socket", connect),
            Route("/upload/{session}/{panel}", upload, methods=["POST"]),
            Route("/download/{session}/{panel}/{name}", download),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(Guard, access=access)],
        lifespan=lifespan,
    )
    app.state.sessions, app.state.shared = sessions, dict(shared or {})
    return app


def suffix_of(name: str) -> str:
    """The end of a file's name from which readers know its format; only letters and digits."""
    ends = [end for end in Path(name).suffixes[-2:] if end[1:].isalnum() and len(end) < 12]
    return "".join(ends).lower()


class Guard:
    """Refuses what is not this page's own, and sets the headers of all answers."""

    def __init__(self, app: Any, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request, as ASGI has it; sockets look for themselves."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        from starlette.requests import Request
        from starlette.responses import PlainTextResponse

        changes = scope["method"] not in ("GET", "HEAD")
        reason = self.access.refused(Request(scope), changes)

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = [(name.lower().encode(), text.encode()) for name, text in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        if reason is None:
            await self.app(scope, receive, send_with_headers)
        else:
            await PlainTextResponse(reason + "\n", 403)(scope, receive, send_with_headers)


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address; port 0 is any that is free.

    Raises
    ------
    OSError
        The port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(128)
    except OSError:
        found.close()
        raise
    return found


def make_server(app: Starlette) -> Any:
    """A uvicorn server of an application, which takes the sockets that it is to listen at.

    All that it imports is loaded here, so that it answers as soon as it runs.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=LARGEST_MESSAGE,
        timeout_graceful_shutdown=2,
    )
    config.load()
    return uvicorn.Server(config)
