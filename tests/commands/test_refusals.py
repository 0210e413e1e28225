"""Arguments that the command line does not take: one line, exit code 2, the nearest name."""

from __future__ import annotations

import sys

import pytest

from chainrule.commands.cli import main

pytestmark = pytest.mark.once


def run(monkeypatch, capsys, *arguments):
    """(exit code, what stdout and stderr got) of the command."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))  # main puts others in their place
    monkeypatch.setattr(sys, "argv", ["chainrule", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("train x --seed -1", ["--seed: ", "0"]),
        ("train x --seed abc", ["--seed: ", "integer"]),
        ("train x -t y --test-fraction 3", ["--test-fraction: ", "0.9"]),
        ("train", ["train needs DATA"]),
        ("evaluate m", ["evaluate needs DATA"]),
        ("train x y", ["does not know what to do with 'y'"]),
        ("train x --tarket y", ["train has no option --tarket; did you mean --target?"]),
        ("train x --early-stoping", ["did you mean --early-stopping?"]),
        ("train x --batch_size 3", ["did you mean --batch-size?"]),
        ("train x --epochs 3", ["did you mean --max-iter?"]),
        ("train x -tq -zq", ["train has no option -z"]),
        ("train x --target", ["--target requires a value"]),
        ("train x --quiet=3", ["--quiet does not take a value"]),
        ("tran", ["there is no command 'tran'; did you mean train?"]),
        ("--versoin", ["did you mean --version?"]),
        ("digits --hidden x", ["--hidden"]),
        ("digits --learning-rate -1", ["--learning-rate must be", "-1"]),
        ("evaluate m t.csv --report r.pdf", ["--report: r.pdf must end in .html"]),
    ],
)
def test_what_is_not_taken_is_said_in_one_line(arguments, says, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, *arguments.split())
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("chainrule: ")
    assert [part for part in says if part not in err] == []
    assert "\x1b" not in err


def test_ctrl_c_before_the_command_line_is_read_is_130(monkeypatch, capsys):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("chainrule.commands.cli.typer.main.get_command", stop)
    assert run(monkeypatch, capsys, "train", "--help") == (130, "", "")


def test_what_is_taken_is_no_refusal(monkeypatch, capsys):
    assert run(monkeypatch, capsys, "--version")[0] == 0
    code, out, err = run(monkeypatch, capsys, "train", "--help")
    assert (code, err) == (0, "")
    assert "--target" in out
    code, out, err = run(monkeypatch, capsys)
    assert (code, err) == (2, "")
    assert "predict" in out
