"""`chainrule play` as its users meet it; what the page does is tested in tests/app."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import chainrule
from chainrule import Network
from chainrule.app import reading
from chainrule.app.opening import opening_of
from chainrule.commands.cli import app
from chainrule.digits import recipes, runs


def call(*arguments):
    """Run the command in this process: (exit code, stdout, stderr)."""
    result = CliRunner().invoke(app, ["play", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


class Running:
    """The command in a process of its own."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "chainrule", "play", "--no-browser", *map(str, arguments)]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "NUMBA_DISABLE_JIT": "1"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.address = self.process.stdout.readline().strip()
        assert self.process.stdout.readline() == "Ctrl-C ends it.\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def status(self, path="/"):
        port = int(re.search(r":(\d+)/", self.address)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().status


def test_it_serves_this_machine_until_ctrl_c():
    with Running("#equations?label=3") as running:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#equations\?label=3", running.address)
        assert running.status() == 200
        running.process.send_signal(signal.SIGINT)
        _, err = running.process.communicate(timeout=60)
    assert (running.process.returncode, err) == (0, "")


def test_the_address_is_said_once_the_page_can_answer(monkeypatch):
    def ready(self, sockets):
        assert self.config.loaded
        self.started = True

    monkeypatch.setattr("uvicorn.Server.run", ready)
    monkeypatch.setattr("chainrule.app.reading.Reader", lambda digits: None)
    monkeypatch.setattr(sys, "setswitchinterval", lambda seconds: None)
    assert call("--no-browser")[0] == 0

    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("chainrule.app.panels.new_app", fail)
    result = CliRunner().invoke(app, ["play", "--no-browser"])
    assert isinstance(result.exception, ZeroDivisionError)
    assert result.stdout == ""


def test_others_are_let_in_with_a_warning_and_a_token():
    with Running("--host", "0.0.0.0") as running:
        token = re.fullmatch(r"http://[^/:]+:\d+/\?token=([\w-]{20,})", running.address)[1]
        assert running.status() == 403
        assert running.status(f"/?token={token}") == 303
        running.process.send_signal(signal.SIGINT)
        _, err = running.process.communicate(timeout=60)
    assert err.startswith("chainrule: --host 0.0.0.0: whoever reaches this machine")
    assert err.count("\n") == 1


def test_what_it_cannot_open_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("two words with a #\n")
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,2\n3,4,5\n")
    (tmp_path / "a.parquet").write_bytes(b"\xff#")
    (tmp_path / "a.chainrule").write_text("no model")
    neither = "is neither a .chainrule file, nor a text with an address of the page, nor a table"
    for what, said in {
        "none": "there is no file none, and an address of the page has a #",
        "x" * 5000: "there is no file xxx",
        "a.txt": f"a.txt {neither}: ",
        "a.csv": f"a.csv {neither}: ",
        "a.parquet": f"a.parquet {neither}: ",
        "a.chainrule": "a.chainrule is no model file",
    }.items():
        code, out, err = call(what, "--no-browser")
        assert (code, out) == (2, ""), what
        assert err.startswith(f"chainrule: {said}")
        assert err.count("\n") == 1


@pytest.mark.parametrize(("units", "panel"), [(200, "draw"), (300, "data")])
def test_a_network_that_is_too_wide_for_the_pad_opens_as_other_models_do(units, panel, tmp_path):
    path = tmp_path / "wide.chainrule"
    network = Network((64, units, 10), seed=0)
    chainrule.save(network, path)
    opening = opening_of(str(path))
    assert opening.fragment == panel
    assert (opening.digits is None) == (panel == "data") == (opening.model is not None)
    if opening.model is None:
        return
    told = opening.model.described()
    assert told["what"] == "Network of 64 → 300 → 10 units"
    assert "64 inputs and 300 units" in told["unseen"]


def test_a_port_that_is_taken_is_said():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = call("--port", port, "--no-browser")
    assert (code, out) == (2, "")
    assert err.startswith(f"chainrule: --port: cannot listen at 127.0.0.1:{port}: ")
    code, _, err = call("--host", "203.0.113.1", "--no-browser")
    assert code == 2
    assert "--host: cannot listen at 203.0.113.1: " in err.splitlines()[-1]


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "starlette", None)
    code, _, err = call("--no-browser")
    assert (code, err) == (2, "chainrule: play needs starlette: pip install 'chainrule[app]'\n")


@pytest.mark.parametrize(
    ("changes", "of"),
    [({}, 318), ({"name": "modern", "clip": 2.0}, None), ({"dropout": 0.1, "epochs": 3}, None)],
)
def test_a_network_of_the_digits_command_reads_what_it_read_there(tmp_path, changes, of):
    recipe = recipes.RECIPES[changes.get("name", "article")]._replace(engine="numpy", **changes)
    result = runs.Run(recipe, recipes.load(), seed=0)()
    path = tmp_path / "digits.chainrule"
    metadata = {"parameters": result.parameters()}
    chainrule.save(result.network, path, metadata=metadata)
    opening = opening_of(str(path))
    assert (opening.fragment, opening.model, opening.table) == ("draw", None, None)
    reader = reading.Reader(opening.digits).wait()
    assert of in (None, reader.correct)
    assert reader.correct == result.correct
    assert reader.network.sizes == (64, *recipe.hidden, 10)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("scale", [1, 1 / 16])
def test_an_mlp_fitted_to_digits_reads_what_is_drawn(tmp_path, scale):
    data = recipes.load()
    pixels, test = (images.reshape(-1, 64) * scale for images in data[4:])
    model = chainrule.MLPClassifier((20,), max_iter=20, standardize=True, random_state=0)
    model.fit(pixels, data.y_train)
    path = tmp_path / "mlp.chainrule"
    chainrule.save(model, path)
    opening = opening_of(str(path))
    reader = reading.Reader(opening.digits).wait()
    assert reader.correct == (model.predict(test) == data.y_test).sum() > 250
    np.testing.assert_allclose(
        reader.network.predict(reader.scaling(test[:5] / scale)), model.predict_proba(test[:5])
    )


def test_a_table_opens_your_data(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,x\n2,y\n3,x\n")
    opening = opening_of(str(path))
    assert (opening.fragment, opening.digits, opening.model) == ("data", None, None)
    assert opening.table[0] == str(path)
    assert opening.table[1].to_dict("list") == {"a": [1, 2, 3], "b": ["x", "y", "x"]}
