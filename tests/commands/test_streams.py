"""What is trained is kept, whatever becomes of the streams that the command speaks to."""

from __future__ import annotations

import os
import random
import shlex
import subprocess
import sys

import pytest

import chainrule.tables

pytest.importorskip("skrub", reason="tables need skrub")
pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")

QUICK = ["-q", "--max-iter", "5", "--hidden-layer-sizes", "4"]


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    draw = random.Random(0)
    lines = [f"{draw.gauss(0, 1):.3f},{draw.choice('uv')},{draw.choice('pq')}" for _ in range(80)]
    (folder / "t.csv").write_text("x,k,y\n" + "\n".join(lines) + "\n")
    done = shell(folder, "train t.csv -t y -o m.chainrule --max-iter 5")
    assert done.returncode == 0, done.stderr
    return folder


def shell(folder, command):
    """Run a command of ours in a shell, with what the shell does to its streams."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shlex.quote(sys.executable)} -m chainrule {command}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("streams", "code", "says"),
    [
        ("> /dev/full", 1, "chainrule: standard output could not be written: No space left"),
        (">&-", 1, "chainrule: standard output could not be written: it is closed"),
        ("| true", 0, ""),
        ("> /dev/null 2> /dev/full", 0, ""),
        ("> /dev/null 2>&-", 0, ""),
        ("<&- >&- 2>&-", 1, ""),
    ],
)
def test_the_model_is_stored_all_the_same(streams, code, says, where, tmp_path):
    out = tmp_path / "a.chainrule"
    done = shell(where, f"train t.csv -t y -o {out} --max-iter 5 {streams}")
    assert (done.returncode, done.stdout) == (code, "")
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Note:")]
    assert len(lines) == (says != "")
    assert says in done.stderr
    rows = chainrule.tables.read(where / "t.csv")
    assert len(chainrule.load(out).predict(rows)) == 80


@pytest.mark.parametrize(
    "command",
    [
        "evaluate m.chainrule t.csv",
        "inspect m.chainrule",
        "export m.chainrule --format c -o -",
        "doctor t.csv --target y",
        "digits --epochs 1 --out {out}",
        "train --help",
    ],
)
def test_one_line_tells_of_a_stream_that_cannot_be_written(command, where, tmp_path):
    done = shell(where, f"{command.format(out=tmp_path)} > /dev/full")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("chainrule: ")]
    assert line == "chainrule: standard output could not be written: No space left on device"
    assert "Traceback" not in done.stderr


def test_predictions_end_quietly_when_nobody_reads_on(where):
    done = shell(where, "predict m.chainrule t.csv -o - | true")
    assert (done.returncode, done.stderr) == (0, "")
    done = shell(where, "predict m.chainrule t.csv -o - > /dev/full")
    assert done.returncode == 2
    assert done.stderr.startswith("chainrule: standard output cannot be written: No space left")


def test_a_pipe_that_has_a_name_is_read_once(where):
    done = shell(where, "predict m.chainrule <(sleep 0.2; cat t.csv)")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 81


@pytest.mark.parametrize("target", ["device", "pipe", "link"])
def test_outputs_that_are_no_files_are_not_replaced(target, where, tmp_path):
    before = os.stat("/dev/null")
    out = tmp_path / "out.csv"
    real = tmp_path / "real.csv"
    if target == "device":
        out.symlink_to("/dev/null")
    elif target == "link":
        real.write_text("old")
        out.symlink_to(real)
    else:
        os.mkfifo(out)
    reader = subprocess.Popen(["cat", out], stdout=subprocess.PIPE) if target == "pipe" else None
    force = "--force" if target == "link" else ""
    done = shell(where, f"predict m.chainrule t.csv -o {out} --format csv {force}")
    assert done.returncode == 0, done.stderr
    assert os.path.samestat(before, os.stat("/dev/null"))
    if reader is not None:
        text = reader.communicate(timeout=60)[0].decode()
    elif target == "link":
        assert out.is_symlink()
        text = real.read_text()
    else:
        return
    assert len(text.splitlines()) == 81


def test_a_state_that_cannot_be_written_costs_no_training(where, tmp_path):
    code = (
        "import errno, sys\n"
        "from chainrule.files import resuming\n"
        "def full(*_): raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "resuming.pack = full\n"
        "from chainrule.commands.cli import main\n"
        "main()\n"
    )
    out = tmp_path / "a.chainrule"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "train",
            "t.csv",
            "-t",
            "y",
            "-o",
            out,
            *QUICK[1:],
            "--checkpoint-every",
            "1",
        ],
        cwd=where,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the state of the fit could not be written" in done.stderr
    assert len(done.stderr.splitlines()) < 8
    assert out.exists()


@pytest.mark.parametrize("name", ["n" * 300 + ".chainrule", "none/a.chainrule/b"])
def test_an_output_that_cannot_be_is_found_before_training(name, where, tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.chainrule").write_text("")
    done = shell(where, f"train t.csv -t y -o {tmp_path / name} --max-iter 5")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be written" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_long_name_and_one_that_is_no_utf_8(where, tmp_path):
    for name in (b"n" * 235 + b".chainrule", b"caf\xe9.chainrule"):
        path = os.fsdecode(os.path.join(os.fsencode(tmp_path), name))
        command = [sys.executable, "-m", "chainrule", "train", "t.csv", "-t", "y", "-o", path]
        done = subprocess.run([*command, *QUICK[1:]], cwd=where, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert os.path.exists(path)
