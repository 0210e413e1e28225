from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import chainrule
from chainrule.commands.cli import app
from chainrule.commands.report import FREQUENCY, _times
from chainrule.digits import recipes, runs
from chainrule.engine import compilation

PICTURES = ["confusion.png", "curves.png", "mistakes.png", "samples.png", "weights.png"]
LINE = re.compile(r"Epoch (\d+): (\d+)/360  accuracy = (0\.\d{1,4}|1\.0)")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command line inside this process; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return call


def python(*arguments, **options):
    return [sys.executable, "-m", "chainrule", *arguments], {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "encoding": "utf-8",
        **options,
    }


def test_version(run):
    assert run("--version") == (0, f"chainrule {chainrule.__version__}\n", "")


def test_default_run_prints_the_articles_lines_and_draws(run, tmp_path):
    code, out, err = run("digits")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    result = runs.Run(recipes.ARTICLE, recipes.load(), 0)()
    for line, record in zip(lines[:20], result.epochs, strict=True):
        epoch, correct, accuracy = LINE.fullmatch(line).groups()
        assert (int(epoch), int(correct)) == (record.epoch, record.correct)
        assert float(accuracy) == round(record.correct / 360, 4)
    assert f"article, seed 0: {result.correct}/360  accuracy = {round(result.accuracy, 4)}" in lines
    digit, said, times = runs.most_confused(result.confusion)[0]
    assert f"{digit} was taken for {said} {_times(times)}." in lines
    assert re.search(r"^Trained in \d+\.\d\d s; \d+\.\d s in all\.$", out, re.MULTILINE)
    assert "Pictures in chainrule-digits: samples.png, curves.png, confusion.png" in out
    assert sorted(p.name for p in (tmp_path / "chainrule-digits").iterdir()) == PICTURES


def test_confusion_matrix_is_printed_whole(run):
    _, out, _ = run("digits", "--epochs", 2, "--seed", 3)
    rows = re.findall(r"^(\d) ((?: +[\d·]+){10}) +(\d+)/(\d+)\s*$", out, re.MULTILINE)
    result = runs.Run(recipes.ARTICLE._replace(epochs=2), recipes.load(), 3)()
    counts = [[int(cell.replace("·", "0")) for cell in row[1].split()] for row in rows]
    np.testing.assert_array_equal(counts, result.confusion)
    assert [int(row[2]) for row in rows] == result.confusion.diagonal().tolist()


def test_piped_output_has_no_escape_codes(tmp_path):
    for more in ([], ["--json"], ["--recipe", "both"]):
        command, options = python("digits", "--epochs", "2", *more, cwd=tmp_path)
        done = subprocess.run(command, **options, check=True, timeout=120)
        assert done.stdout
        assert "\x1b" not in done.stdout
        assert "\r" not in done.stdout
        assert done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals")
def test_a_terminal_gets_a_bar_with_the_accuracy_and_colour(tmp_path):
    import pty

    master, slave = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLORTERM")}
    environment |= {"TERM": "xterm-256color", "COLUMNS": "100"}
    command, options = python("digits", "--epochs", "3", cwd=tmp_path, env=environment)
    options |= {"stdout": slave, "stderr": slave}
    with subprocess.Popen(command, **options) as process:
        os.close(slave)
        seen = b""
        while True:
            try:
                block = os.read(master, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not block:
                break
            seen += block
    os.close(master)
    assert process.returncode == 0
    text = seen.decode()
    last = runs.Run(recipes.ARTICLE._replace(epochs=3), recipes.load(), 0)().epochs[-1]
    assert f"3 of 3 epochs  accuracy {last.accuracy:.4f}" in text
    assert f"Epoch 2: {last.correct}/360" in text
    assert re.search(r"\x1b\[[\d;]*48;5;", text)  # a coloured background


def test_json_is_one_object_of_the_promised_form(run, tmp_path):
    code, out, err = run("digits", "--json", "--epochs", 3, "--seed", 7, "--out", "pictures")
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    seen = json.loads(out)
    assert set(seen) >= {
        "recipe",
        "seed",
        "parameters",
        "epochs",
        "confusion_matrix",
        "shut_outputs",
        "seconds",
        "pictures",
    }
    result = runs.Run(recipes.ARTICLE._replace(epochs=3), recipes.load(), 7)()
    assert (seen["recipe"], seen["seed"]) == ("article", 7)
    assert seen["parameters"]["sizes"] == [64, 100, 10]
    assert seen["parameters"]["count"] == 7510
    assert seen["parameters"]["output_activation"] == "relu"
    assert len(seen["epochs"]) == 3
    for record, expected in zip(seen["epochs"], result.epochs, strict=True):
        assert set(record) == {"epoch", "correct", "total", "accuracy", "cost", "seconds"}
        assert record.pop("seconds") > 0
        assert record == pytest.approx(
            {name: value for name, value in expected._asdict().items() if name != "seconds"}
        )
    assert seen["confusion_matrix"] == result.confusion.tolist()
    assert seen["shut_outputs"] == result.shut_outputs
    assert seen["seconds"] > 0
    assert sorted(seen["pictures"]) == [f"pictures/{name}" for name in PICTURES]
    assert all((tmp_path / path).is_file() for path in seen["pictures"])


def test_the_best_recipe_stores_one_network(run, tmp_path):
    options = ("--recipe", "best", "--epochs", 1, "--engine", "numpy", "--save", "net.chainrule")
    code, out, _ = run("digits", "--json", *options)
    parameters = json.loads(out)["parameters"]
    assert code == 0
    assert (parameters["members"], parameters["distortion"]["turn"]) == (4, 12)
    stored = chainrule.load("net.chainrule")
    assert list(stored.sizes) == parameters["sizes"] == [64, 800, 10]


def test_both_in_json_are_two_such_objects(run):
    _, out, _ = run("digits", "--json", "--recipe", "both", "--epochs", 2)
    seen = json.loads(out)
    assert list(seen) == ["article", "modern"]
    assert seen["modern"]["recipe"] == "modern"
    assert seen["modern"]["parameters"]["loss"] == "cross_entropy"
    assert seen["article"]["pictures"] == seen["modern"]["pictures"]


def test_both_are_printed_side_by_side(run):
    code, out, _ = run("digits", "--recipe", "both", "--epochs", 2)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["article", "modern"]
    for epoch in (0, 1):
        assert re.fullmatch(
            rf"Epoch {epoch}: .*accuracy = \S+ +Epoch {epoch}: .*accuracy = \S+ *", lines[1 + epoch]
        )
    assert "modern, seed 0" in out


def test_quiet_prints_the_last_line_only(run):
    code, out, err = run("digits", "--quiet", "--epochs", 2)
    assert (code, err) == (0, "")
    assert re.fullmatch(r"article, seed 0: \d+/360  accuracy = 0\.\d+\n", out)


def test_shut_outputs_are_named_explained_and_a_way_out_given(run):
    _, out, _ = run("digits", "--seed", 16)
    lines = out.splitlines()
    assert "Outputs 2 and 7 were shut at the end of epoch 19 (0 of 35 and 0 of 36 right)." in lines
    cause = next(line for line in lines if line.startswith("Cause: shut outputs. Outputs 2 and 7"))
    assert "ReLU's derivative is 0" in cause
    assert any(line.startswith("What to change: ") and "another --seed" in line for line in lines)
    assert any("39.5 %" in line and "0.810" in line and "0.131" in line for line in lines)
    assert not any("lost" in line for line in lines if not line.startswith("Found lost-class:"))


def test_rows_without_an_answer_are_counted_and_shown(run):
    _, out, _ = run("digits", "--seed", 4)
    assert "No answer on 11 test digits: all ten outputs are exactly 0." in out
    assert "Of the 293 right ones 10 had no open output; without them 283/360" in out
    row = next(line for line in out.splitlines() if line.startswith("0   "))
    assert row.split()[1] == "0"
    assert row.split()[-2:] == ["10", "10/35"]


def test_a_run_that_reads_well_is_told_no_cause(run):
    _, out, _ = run("digits", "--seed", 0)
    assert "Cause" not in out
    assert "Found" not in out
    assert "--hidden 0) the article's recipe reads 323 of 360 at seed 0, 0.8972" in out


def test_another_cause_gets_other_advice(run):
    _, out, _ = run("digits", "--init", "zeros")
    assert "Cause: symmetric start" in out
    assert "seed," not in out.split("What to change")[1]
    assert "39.5 %" not in out


def test_findings_are_said_in_a_line_each(run):
    _, out, _ = run("digits", "--hidden", 3)
    found = [line for line in out.splitlines() if line.startswith("Found ")]
    assert found[0].startswith("Found too-few-units: Layer 1 has 3 units")
    _, out, _ = run("digits", "--json", "--seed", 16)
    findings = json.loads(out)["findings"]
    assert findings[0]["code"] == "lost-class"
    assert findings[0]["message"].startswith("Classes 2 and 7")


def test_numbers_of_the_frequency_are_the_same_everywhere():
    root = Path(__file__).parents[2]
    for text in (
        (root / "docs/digits.md").read_text(encoding="utf-8"),
        (root / "docs/derivation.md").read_text(encoding="utf-8"),
        FREQUENCY,
    ):
        assert "200" in text
        for number in ("39.5 %", "0.810", "0.131", "41.5 %", "0.799", "0.146"):
            assert number in text


def test_save_keeps_the_network(run, tmp_path):
    code, out, err = run("digits", "--epochs", 2, "--save", "kept/net.chainrule")
    assert (code, err) == (0, "")
    assert out.endswith("Network in kept/net.chainrule\n")
    network = chainrule.load(tmp_path / "kept" / "net.chainrule")
    data = recipes.load()
    expected = runs.Run(recipes.ARTICLE._replace(epochs=2), data, 0)().network
    np.testing.assert_array_equal(network.predict(data.X_test), expected.predict(data.X_test))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--save", "there"], "exists; choose another --save, or replace it with --force"),
        (["--save", "."], "is a folder"),
        (["--save", "there/net"], "cannot be written"),
        (["--save", "net", "--recipe", "both"], "one network"),
    ],
)
def test_a_network_that_cannot_be_saved_is_said_before_training(run, tmp_path, arguments, message):
    (tmp_path / "there").write_text("in the way")
    code, out, err = run("digits", "--epochs", 1, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert (tmp_path / "there").read_text() == "in the way"


def test_force_replaces_the_saved_network(run, tmp_path):
    (tmp_path / "net").write_text("old")
    assert run("digits", "--epochs", 1, "--quiet", "--save", "net", "--force")[0] == 0
    assert chainrule.load(tmp_path / "net").sizes == (64, 100, 10)


@pytest.mark.parametrize(
    "change",
    [
        ["--learning-rate", "0.003", "--epochs", "40"],
        ["--loss", "cross_entropy"],
        ["--recipe", "modern"],
    ],
)
def test_the_ways_out_help(run, change):
    _, out, _ = run("digits", "--seed", 16, "--json", *change)
    assert json.loads(out)["shut_outputs"] == []
    assert json.loads(out)["cause"] is None


def test_options_reach_the_run(run):
    _, out, _ = run(
        *("digits", "--json", "--epochs", 1, "--batch-size", 50, "--learning-rate", 0.02),
        *("--hidden", 30, "--hidden", 20, "--activation", "tanh", "--loss", "cross_entropy"),
        *("--optimizer", "momentum", "--init", "glorot_normal", "--dtype", "float32"),
        *("--engine", "numpy"),
    )
    seen = json.loads(out)["parameters"]
    assert seen == {
        "sizes": [64, 30, 20, 10],
        "count": 64 * 30 + 30 + 30 * 20 + 20 + 20 * 10 + 10,
        "activation": "tanh",
        "output_activation": "softmax",
        "loss": "cross_entropy",
        "init": "glorot_normal",
        "optimizer": "momentum",
        "learning_rate": 0.02,
        "epochs": 1,
        "batch_size": 50,
        "validation": 0,
        "clip": None,
        "dtype": "float32",
        "engine": "numpy",
        "members": 1,
        "distortion": None,
        "l2": 0.0,
        "l1": 0.0,
        "dropout": 0.0,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "artcle"], "did you mean 'article'"),
        (["--activation", "rellu"], "did you mean 'relu'"),
        (["--optimizer", "adm"], "did you mean 'adam'"),
        (["--loss", "crossentropy"], "did you mean 'cross_entropy'"),
        (["--init", "he_norm"], "did you mean 'he_normal'"),
        (["--engine", "nunba"], "did you mean 'numba'"),
        (["--dtype", "float16"], "float32 or float64"),
        (["--learning-rate", "-1"], "--learning-rate must be"),
        (["--learning-rate", "nan"], "--learning-rate must be"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_values_end_with_2_and_one_line(run, tmp_path, arguments, message):
    code, out, err = run("digits", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("chainrule: ")
    assert err.count("\n") == 1
    assert message in err
    assert not list(tmp_path.iterdir())  # nothing was begun


@pytest.mark.parametrize(
    "arguments",
    [["--hidden", "-1"], ["--epochs", "0"], ["--batch-size", "-5"], ["--seed", "x"], ["--epohcs"]],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(run, arguments):
    code, out, err = run("digits", *arguments)
    assert (code, out) == (2, "")
    assert arguments[0] in err


@pytest.mark.parametrize("command", ["warmup", "digits"])
def test_a_compiler_that_fails_is_one_line(run, monkeypatch, command):
    from chainrule.engine import compilation

    def cannot(*_):
        raise compilation.ToolchainError(
            "Numba cannot compile with the versions that are installed"
        )

    monkeypatch.setattr(compilation, "can_compile", lambda: True)
    monkeypatch.setattr(compilation, "address", cannot)
    monkeypatch.setattr(compilation, "is_compiled", lambda *_: True)
    options = ["--engine", "numba", "--quiet"] if command == "digits" else []
    code, out, err = run(command, *options)
    assert (code, out) == (1, "")
    assert err == "chainrule: Numba cannot compile with the versions that are installed\n"


def test_warmup_refuses_what_it_cannot_compile(run, monkeypatch):
    code, out, err = run("warmup", "--dtype", "float16")
    assert (code, out) == (2, "")
    if compilation.can_compile():
        assert "dtype must be float32 or float64" in err
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    code, out, err = run("warmup")
    assert (code, out) == (2, "")
    assert "NUMBA_DISABLE_JIT" in err


def test_hidden_0_leaves_no_hidden_layer(run):
    options = ("--hidden", 0, "--loss", "cross_entropy", "--epochs", 1, "--json")
    code, out, _ = run("digits", *options)
    assert code == 0
    assert json.loads(out)["parameters"]["count"] == 64 * 10 + 10


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_unwritable_folder_is_said_before_training(run, tmp_path, where):
    (tmp_path / "file").write_text("in the way")
    code, out, err = run("digits", "--out", where)
    assert (code, out) == (2, "")
    assert "cannot be written" in err
    assert "--out" in err
    assert err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_disk_that_fills_up_later_still_gives_the_result(run, monkeypatch):
    from chainrule.commands import plotting

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plotting, "save", full)
    code, out, err = run("digits", "--epochs", 1, "--quiet")
    assert code == 1
    assert out.startswith("article, seed 0: ")
    assert "No space left on device" in err


DIVERGING = ("--recipe", "modern", "--loss", "squared_error", "--optimizer", "sgd")


@pytest.mark.parametrize("more", [[], ["--json"], ["--quiet"]], ids=["plain", "json", "quiet"])
def test_divergence_ends_with_1_and_says_where_and_what_to_change(run, tmp_path, more):
    code, out, err = run("digits", *DIVERGING, "--learning-rate", 10, "--out", "pictures", *more)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert re.search(r"epoch 0, batch \d+: .* of layer 2 is not finite", err)
    assert "keeps its parameters" in err
    assert "Lower the learning rate" in err
    assert re.search(r"It reads \d+ of 360 test digits", err)
    assert not list((tmp_path / "pictures").iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGINT to send")
def test_ctrl_c_reports_what_was_learnt_and_ends_with_130(tmp_path):
    command, options = python("digits", "--epochs", "100000", "--engine", "numpy", cwd=tmp_path)
    with subprocess.Popen(command, **options) as process:
        first = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert [LINE.fullmatch(line.strip())[1] for line in first] == ["0", "1", "2"]
    assert "article, seed 0: " in out
    assert "taken for" in out
    assert "Traceback" not in err
    assert "stopped by Ctrl-C" in err
    assert sorted(p.name for p in (tmp_path / "chainrule-digits").iterdir()) == PICTURES


def test_ctrl_c_while_modules_are_loaded_ends_with_130_and_no_traceback():
    script = (
        "import sys\n"
        "from chainrule.__main__ import main\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'chainrule.commands.cli':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_reader_that_leaves_early_causes_no_traceback(tmp_path):
    command, options = python("digits", "--epochs", "40", cwd=tmp_path)
    with subprocess.Popen(command, **options) as process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert "Traceback" not in err


def test_help_and_the_default_run_load_nothing_heavy():
    program = (
        "import sys\n"
        "from chainrule.commands.cli import app\n"
        "heavy = {'numpy', 'rich.progress', 'matplotlib', 'sklearn', 'numba', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "from chainrule.digits import recipes, runs\n"
        "runs.Run(recipes.ARTICLE, recipes.load(), 0)()\n"
        "heavy -= {'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("n", "words"),
    [(1, "once"), (2, "twice"), (5, "five times"), (10, "ten times"), (11, "11 times")],
)
def test_times_in_words(n, words):
    assert _times(n) == words
