"""What the server takes and refuses, without a browser."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from socket import SHUT_RDWR
from typing import NamedTuple

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from chainrule.app import server
from chainrule.app.panel import Download, Panel, PanelError
from chainrule.app.session import PAUSE, QUIET, Outbox, Session, Traffic, plain

from conftest import Running, wait_until  # isort: skip


class Echo(Panel):
    """Answers with what it was told, counts by itself, and keeps a file."""

    name = "echo"

    def __init__(self, session, state):
        super().__init__(session, state)
        self.left = 0
        self.threads = {threading.get_ident()}

    def handle(self, type, data):
        self.threads.add(threading.get_ident())
        if type == "count":
            self.left = data["n"]
            return None
        if type == "fail":
            raise ZeroDivisionError("a fault\nof two lines")
        if type == "refuse":
            raise PanelError("that is\nnot possible")
        if type == "threads":
            return {"count": len(self.threads)}
        if type == "wait":
            self.spawn(self.stopping.wait)
            return None
        return {"type": type, **data}

    def work(self):
        if self.left:
            self.left -= 1
            self.send("counted", left=self.left)
        return self.left > 0

    def uploaded(self, name, path):
        return {"name": name, "size": path.stat().st_size, "suffix": path.suffix}

    def download(self, name):
        if name != "known":
            raise PanelError("no such file")
        return Download("a b.csv", "text/csv", b"1,2\n")


class Answer(NamedTuple):
    """What came of a request; names of headers in lower case."""

    status: int
    headers: dict
    content: bytes

    def json(self):
        return json.loads(self.content)


class Client:
    """A server of the panel above, and requests to it."""

    def __init__(self, **access):
        self.running = Running(lambda it: server.make_app({"echo": Echo}, it), **access)
        self.host = f"127.0.0.1:{self.running.port}"
        self.origin = f"http://{self.host}"
        self.sessions = self.running.sessions

    def request(self, method, path, headers=None, content=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.running.port, timeout=60)
        given = {"Host": self.host, **(headers or {})}
        connection.putrequest(method, path, skip_host=True)
        if content is not None:
            given["Content-Length"] = str(len(content))
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders(content)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        result = Answer(answer.status, found, answer.read())
        connection.close()
        return result

    def get(self, path, **headers):
        return self.request("GET", path, headers)

    def post(self, path, content, **headers):
        return self.request("POST", path, {"Origin": self.origin, **headers}, content)

    def socket(self, **headers):
        address = self.origin.replace("http", "ws") + "/socket"
        return connect(
            address,
            origin=headers.pop("origin", self.origin),
            additional_headers=headers,
            max_size=None,
        )


@pytest.fixture(scope="module")
def found():
    """A server that goes by the names of this machine."""
    client = Client()
    yield client
    client.running.stop()


@pytest.fixture
def locked():
    """A server that goes by any name and asks for a token."""
    client = Client(token="secret", hosts=set())
    yield client
    client.running.stop()


def ask(socket, message):
    socket.send(message if isinstance(message, str) else json.dumps(message))
    return json.loads(socket.recv(timeout=60))


def opened(socket):
    assert json.loads(socket.recv(timeout=60))["type"] == "welcome"
    reply = ask(socket, {"panel": "echo", "type": "open", "id": 1, "data": {}})
    assert reply == {"panel": "echo", "type": "reply", "data": {}, "id": 1}


# --- who may use it ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("LOCALHOST:{port}", 200),
        ("127.0.0.1", 403),
        ("127.0.0.1:1", 403),
        ("evil.example:{port}", 403),
        ("127.0.0.1.evil.example:{port}", 403),
        ("evil@127.0.0.1:{port}x", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
def test_only_its_own_names_are_answered(found, host, status):
    for path in ("/", "/static/main.js"):
        assert found.get(path, Host=host.format(port=found.running.port)).status == status


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://127.0.0.1:1", "http://localhost:{port}"]
)
def test_sockets_and_uploads_of_other_pages_are_refused(found, origin):
    origin = origin and origin.format(port=found.running.port)
    with pytest.raises(InvalidStatus), found.socket(origin=origin):
        pass
    headers = {} if origin is None else {"Origin": origin}
    assert found.request("POST", "/upload/x/echo", headers, b"").status == 403


def test_answers_have_headers_that_keep_the_page_to_itself(found):
    for path in ("/", "/static/style.css", "/nothing"):
        headers = found.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "http" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
    assert found.get("/", Host="x").headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "path", ["/static/../server.py", "/static/%2e%2e/server.py", "/static//etc/passwd"]
)
def test_nothing_but_the_pages_files_is_read(found, path):
    assert found.get(path).status in (403, 404)


def test_a_token_is_asked_for_and_leaves_the_address(locked):
    for path in ("/", "/static/main.js", "/?token=wrong", "/?token=s%C3%A9cret"):
        assert locked.get(path).status == 403, path
    with pytest.raises(InvalidStatus), locked.socket():
        pass
    answer = locked.get("/?token=secret")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    cookie = cookie.partition(";")[0]
    assert locked.get("/", Cookie=cookie).status == 200
    assert locked.get("/", Cookie=cookie, Host=f"other.lan:{locked.running.port}").status == 200
    assert locked.get("/", Cookie="chainrule-token=wrong").status == 403
    with locked.socket(Cookie=cookie) as socket:
        opened(socket)


def test_a_server_of_any_name_needs_a_token():
    with pytest.raises(ValueError, match="token"):
        server.Access(set(), 1)


@pytest.mark.parametrize(
    ("host", "local", "names"),
    [
        ("127.0.0.1", True, {"127.0.0.1", "localhost", "::1"}),
        ("127.0.0.2", True, {"127.0.0.2", "127.0.0.1", "localhost", "::1"}),
        ("localhost", True, {"127.0.0.1", "localhost", "::1"}),
        ("::1", True, {"127.0.0.1", "localhost", "::1"}),
        ("0.0.0.0", False, set()),
        ("192.168.1.5", False, {"192.168.1.5"}),
        ("Host.lan", False, {"host.lan"}),
    ],
)
def test_names_of_an_address(host, local, names):
    assert server.is_local(host) is local
    assert server.hosts_of(host) == names


# --- messages ----------------------------------------------------------------------------------

GARBAGE = [
    "",
    "no JSON",
    "[" * 100_000,
    "null",
    "[]",
    '"text"',
    "{}",
    '{"panel": "echo"}',
    '{"panel": "nothing", "type": "x"}',
    '{"panel": ["echo"], "type": "x"}',
    '{"panel": "echo", "type": 3}',
    '{"panel": "echo", "type": "x", "data": []}',
    '{"panel": "echo", "type": "x", "id": {}}',
    '{"panel": "echo", "type": "x"}{',
    "NaN",
    "1e999",
]


def test_garbage_is_answered_and_changes_nothing(found):
    with found.socket() as socket:
        opened(socket)
        for text in GARBAGE:
            reply = ask(socket, text)
            assert (reply["panel"], reply["type"]) == ("page", "error"), text[:50]
            assert "\n" not in reply["data"]["message"]
        message = {"panel": "echo", "type": "hello", "id": "a", "data": {"x": [1]}}
        assert ask(socket, message)["data"] == {"type": "hello", "x": [1]}


def test_a_panel_that_fails_says_so_in_one_line_and_goes_on(found):
    with found.socket() as socket:
        opened(socket)
        reply = ask(socket, {"panel": "echo", "type": "refuse", "id": 2})
        assert reply["type"] == "error"
        assert reply["data"] == {"message": "that is not possible"}
        reply = ask(socket, {"panel": "echo", "type": "fail", "id": 3})
        assert reply["data"] == {
            "message": "this did not work: ZeroDivisionError: a fault of two lines"
        }
        assert ask(socket, {"panel": "echo", "type": "threads", "id": 4})["data"] == {"count": 1}


def test_a_panel_works_between_messages(found):
    with found.socket() as socket:
        opened(socket)
        first = ask(socket, {"panel": "echo", "type": "count", "data": {"n": 3}})
        left = [first["data"]["left"]] + [
            json.loads(socket.recv(timeout=60))["data"]["left"] for _ in range(2)
        ]
        assert left == [2, 1, 0]


def test_a_panel_has_to_be_opened_first(found):
    with found.socket() as socket:
        socket.recv(timeout=60)
        reply = ask(socket, {"panel": "echo", "type": "x", "id": 1})
        assert reply["data"]["message"] == "this part of the page has not been opened"


def test_binary_messages_end_the_socket_and_the_session(found):
    wait_until(lambda: not found.sessions)
    with found.socket() as socket:
        opened(socket)
        assert len(found.sessions) == 1
        socket.send(b"\0")
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=60)
    wait_until(lambda: not found.sessions)


def test_files_go_to_the_panel_and_come_from_it(found):
    with found.socket() as socket:
        name = json.loads(socket.recv(timeout=60))["data"]["session"]
        path = f"/upload/{name}/echo?name=../a.CSV"
        assert found.post(path, b"x").status == 400  # not opened
        ask(socket, {"panel": "echo", "type": "open", "id": 1})
        answer = found.post(path, b"123")
        assert answer.json() == {"name": "a.CSV", "size": 3, "suffix": ".csv"}
        answer = found.get(f"/download/{name}/echo/known")
        assert answer.content == b"1,2\n"
        assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''a%20b.csv"
        assert found.get(f"/download/{name}/echo/other").status == 404
        assert found.get("/download/guess/echo/known").status == 404
        assert found.post("/upload/guess/echo", b"").status == 400


def test_files_that_are_too_large_are_refused_and_removed(found, monkeypatch):
    monkeypatch.setattr(server, "LARGEST_UPLOAD", 1 << 20)
    with found.socket() as socket:
        name = json.loads(socket.recv(timeout=60))["data"]["session"]
        ask(socket, {"panel": "echo", "type": "open", "id": 1})
        folder = found.sessions[name].folder()
        answer = found.post(f"/upload/{name}/echo", b"x" * ((1 << 20) + 1))
        assert answer.status == 400
        assert "larger than 1 MB" in answer.json()["message"]
        assert list(folder.iterdir()) == []
    wait_until(lambda: not folder.exists())


def test_what_a_panel_does_ends_with_its_tab(found):
    with found.socket() as socket:
        opened(socket)
        socket.send(json.dumps({"panel": "echo", "type": "wait"}))
        socket.send(json.dumps({"panel": "echo", "type": "count", "data": {"n": 10**9}}))
        wait_until(lambda: len(threads_of_sessions()) == 2)
        socket.socket.shutdown(SHUT_RDWR)
    wait_until(lambda: not threads_of_sessions())


# --- a server that runs ------------------------------------------------------------------------


def threads_of_sessions():
    return [one for one in threading.enumerate() if one.name.startswith("session ")]


def test_fifty_tabs_leave_nothing_behind(running):
    address = running.address.replace("http", "ws") + "/socket"
    wait_until(lambda: not running.sessions)
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        for k in range(50):
            # Without a limit, since nobody reads here: a full queue would hold up closing.
            socket = stack.enter_context(connect(address, origin=running.address, max_queue=None))
            socket.send(json.dumps({"panel": "draw", "type": "open", "id": 1, "data": {}}))
            message = {"panel": "draw", "type": "read", "id": 2, "data": {"pixels": [0] * 64}}
            socket.send(json.dumps(message))
            if k % 2:  # these go without a word
                stack.callback(socket.socket.shutdown, SHUT_RDWR)
        wait_until(lambda: len(running.sessions) == 50)
    wait_until(lambda: not running.sessions)
    wait_until(lambda: not threads_of_sessions())
    wait_until(lambda: threading.active_count() <= before + 50)  # Starlette's own workers stay
    with connect(address, origin=running.address) as socket:
        assert json.loads(socket.recv())["type"] == "welcome"


def test_a_message_beyond_the_limit_ends_the_socket_alone(running):
    address = running.address.replace("http", "ws") + "/socket"
    with connect(address, origin=running.address) as socket:
        socket.recv()
        with pytest.raises(ConnectionClosed):  # noqa: PT012
            socket.send("x" * (server.LARGEST_MESSAGE + 1))
            socket.recv()
    with connect(address, origin=running.address) as socket:
        assert json.loads(socket.recv())["type"] == "welcome"


# --- what is sent ------------------------------------------------------------------------------


def test_numbers_are_sent_in_seven_digits_and_what_is_none_as_null():
    x = np.array([[1 / 3, -2e-12, 0.0], [np.pi * 1e20, 1e300, 5e-324]])
    found = np.array(plain(x))
    np.testing.assert_allclose(found[:, :2], x[:, :2], rtol=5e-7)
    assert json.loads(json.dumps(plain({"b": np.arange(2)}))) == {"b": [0, 1]}
    assert plain([np.nan, np.inf, np.float32(0.5), np.int64(3), None, True]) == [
        None,
        None,
        0.5,
        3,
        None,
        True,
    ]
    assert plain(np.array([1.0, np.nan])) == [1.0, None]


def test_the_latest_message_of_a_kind_replaces_those_that_wait():
    box = Outbox(lambda: None)
    for k in range(3):
        box.put({"panel": "a", "type": "progress", "data": k}, latest=True)
        box.put({"panel": "a", "type": "line", "data": k})
    found = [json.loads(text) for text in box.take()]
    assert [(one["type"], one["data"]) for one in found] == [
        ("line", 0),
        ("line", 1),
        ("progress", 2),
        ("line", 2),
    ]
    assert box.take() == []


def test_what_goes_on_by_itself_makes_way_for_messages(monkeypatch):
    class Worker(Panel):
        name = "worker"
        slices = 0

        def work(self):
            self.slices += 1
            return True

    now = [1000.0]
    monkeypatch.setattr("chainrule.app.session.monotonic", lambda: now[0])
    traffic = Traffic()
    one, other = (Session({"worker": Worker}, lambda: None, None, traffic) for _ in range(2))
    try:
        opened = {"panel": "worker", "type": "open"}
        other.receive(opened)
        one.receive(opened)
        wait_until(lambda: one._panels and other._panels)
        panels = [session._panels["worker"] for session in (one, other)]
        assert [panel.slices for panel in panels] == [0, 0]
        now[0] += 1.01 * QUIET
        wait_until(lambda: all(panel.slices > 3 for panel in panels))
        one.receive({"panel": "worker", "type": "read"})

        def rests():
            before = [panel.slices for panel in panels]
            time.sleep(2 * QUIET)
            return before == [panel.slices for panel in panels]

        wait_until(rests)  # a slice may have begun; no more come, as time stands still
        assert rests()
        before = [panel.slices for panel in panels]
        now[0] += 1.01 * PAUSE
        wait_until(lambda: panels[1].slices > before[1])
        assert panels[0].slices == before[0]
    finally:
        now[0] += 1
        one.close()
        other.close()
