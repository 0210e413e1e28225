"""`chainrule inspect`: what is in a model file, with nothing of it run."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from helpers.models import MODELS, NUMBER, THREE, X, classifier, fitted, regressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

from chainrule import Network, save
from chainrule.commands.cli import app
from chainrule.files.inspection import curve, duration, listed, said, size


@pytest.fixture
def run():
    def run(*arguments):
        result = CliRunner().invoke(app, ["inspect", *map(str, arguments)])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return run


def rows(text):
    """The lines of a screen, by section and name."""
    found, section = {}, ""
    for line in text.splitlines():
        if line and not line.startswith("  "):
            section = line
        elif line:
            name, _, rest = line.strip().partition("  ")
            found[section, name] = rest.strip()
    return found


def test_an_estimator(run, tmp_path):
    path = tmp_path / "a.chainrule"
    notes = {"target": "colour", "metrics": {"accuracy": 0.987654, "rows": 150}, "source": "a.csv"}
    notes["metrics"]["log_loss"] = {"value": 0.12345, "low": 0.1, "high": 0.2}
    notes["rows"] = {"train": 120, "test": 30, "by_class": {"b": 1.0}}
    model = fitted(classifier(hidden_layer_sizes=(6, 4), activation=["tanh", "gelu"]))
    save(model, path, metadata=notes, created="2026-01-02T03:04:05Z")
    result = run(path)
    assert result.exit_code == 0
    shown = rows(result.stdout)
    assert shown["", "model"] == "MLPClassifier"
    assert shown["", "predicts"] == "colour: b, c, ä"
    assert shown["", "written"] == "2026-01-02 03:04:05 UTC"
    assert shown["Columns (4)", "numeric"] == "x0, x1, x2, x3"
    here = "MLPClassifier"
    assert shown[here, "layers"] == "4 → 6 tanh → 4 gelu → 3 softmax"
    numbers = 4 * 6 + 6 + 6 * 4 + 4 + 4 * 3 + 3
    assert shown[here, "weights"] == f"{numbers}, float64"
    assert shown[here, "parameters"] == (
        "activation=['tanh', 'gelu'], engine='numpy', hidden_layer_sizes=(6, 4), max_iter=4, "
        "random_state=0"
    )
    assert shown[here, "training"].startswith("4 epochs")
    assert shown[here, "loss"].startswith(f"{model.loss_curve_[0]:.4g} █")
    assert shown[here, "loss"].endswith(f"▁ {model.loss_curve_[-1]:.4g}")
    assert shown["Metrics", "accuracy"] == "0.9877"
    assert shown["Metrics", "rows"] == "150"
    assert shown["Metrics", "log loss"] == "0.1235  (0.1 to 0.2)"
    assert shown["Notes", "source"] == "a.csv"
    assert shown["Notes", "rows"] == "train 120, test 30, by_class (b 1)"
    assert shown["File", "SHA-256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_json_is_the_header_and_the_file(run, tmp_path):
    path = tmp_path / "a.chainrule"
    save(fitted(MODELS["validation"]), path)
    result = run(path, "--json")
    found = json.loads(result.stdout)
    file = found.pop("file")
    assert found == json.loads(zipfile.ZipFile(path).read("header.json"))
    assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file["bytes"] == path.stat().st_size
    assert list(file["members"]) == ["header.json", "weights.safetensors"]


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_estimator_can_be_shown(name, run, tmp_path):
    save(fitted(MODELS[name]), tmp_path / "a")
    result = run(tmp_path / "a")
    assert result.exit_code == 0
    assert "$" not in result.stdout
    assert "{" not in result.stdout or "class weights" in name


def test_networks_pipelines_and_what_is_not_fitted(run, tmp_path):
    save(
        Network((3, 4, 2), activation="gelu", loss="cross_entropy", dtype="float32"), tmp_path / "n"
    )
    shown = rows(run(tmp_path / "n").stdout)
    assert shown["Network", "layers"] == "3 → 4 gelu → 2 softmax"
    assert shown["Network", "loss"] == "cross_entropy"
    pipeline = fitted((make_pipeline(StandardScaler(), regressor()[0]), X, NUMBER))
    save(pipeline, tmp_path / "p")
    shown = rows(run(tmp_path / "p").stdout)
    assert shown["", "model"] == "MLPRegressor in a Pipeline"
    assert shown["Steps before it", "standardscaler"] == "StandardScaler()"
    assert shown["MLPRegressor", "layers"] == "4 → 5 relu → 1"
    save(classifier()[0], tmp_path / "u")
    assert rows(run(tmp_path / "u").stdout)["MLPClassifier", "layers"] == "not fitted"


def test_bad_files_end_with_one_line(run, tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    for path, says in (
        (tmp_path / "a.csv", "perhaps a table"),
        (tmp_path / "none", "there is no such model file"),
        (tmp_path, "is a folder"),
    ):
        result = run(path)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
        assert says in result.stderr
        assert str(path) in result.stderr


def test_a_damaged_part_is_told_of_though_the_header_is_whole(run, tmp_path):
    path = tmp_path / "a"
    save(fitted(classifier()), path)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"0.coefs_.0", raw.index(b"weights.safetensors")) + 2000] ^= 1
    path.write_bytes(raw)
    result = run(path)
    assert result.exit_code == 2
    assert "weights.safetensors is damaged" in result.stderr


def test_a_file_cannot_steer_the_terminal(run, tmp_path):
    nasty = "\x1b[2J\x1b]0;owned\x07[red]x[/red]\r\u202e"
    model = fitted(classifier(np.where(THREE == "b", nasty, "b")))
    save(model, tmp_path / "a", metadata={nasty: nasty, "metrics": {nasty: nasty}})
    result = run(tmp_path / "a")
    assert result.exit_code == 0
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(result.stdout)
    assert "[red]x[/red]" in result.stdout


def test_headers_of_another_form_are_no_traceback(run, tmp_path):
    from test_model_files import sealed

    header = {"format": "chainrule model", "version": 1, "kind": "estimator", "estimators": 3}
    members = {"header.json": json.dumps(header).encode(), "weights.safetensors": b""}
    result = run(sealed(members, tmp_path / "a"))
    assert result.exit_code == 2
    assert "see --json" in result.stderr


def test_inspecting_loads_no_learning_library(tmp_path):
    save(fitted(classifier()), tmp_path / "a")
    code = (
        "import sys\nfrom chainrule.commands.cli import app\n"
        f"app(['inspect', {str(tmp_path / 'a')!r}], standalone_mode=False)\n"
        "print([name for name in ('sklearn', 'scipy', 'skops', 'numba') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_words():
    assert curve([3.0, 2.0, 1.0]) == "█▅▁"
    assert len(curve(list(np.arange(1000.0)))) == 40
    assert curve([1.0, 1.0]) == "▁▁"
    assert [size(n) for n in (7, 1500, 2_340_000, 5 * 10**9)] == [
        "7 bytes",
        "1.5 kB",
        "2.34 MB",
        "5 GB",
    ]
    assert [duration(s) for s in (0.05, 59, 61, 3700)] == [
        "0.05 s",
        "59 s",
        "1 min 1 s",
        "1 h 1 min",
    ]
    assert listed(["a"] * 12).count("a") == 12
    assert listed(["b"] * 1015).endswith("b and 1,003 more")
    assert said({"$loss": "huber", "arguments": [0.5]}) == "huber(0.5)"
    assert said({"$tuple": [1]}) == "(1,)"
