"""`chainrule export` as its users meet it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers import exports
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from typer.testing import CliRunner

from chainrule import MLPClassifier, save
from chainrule.commands.cli import app


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Model files, and a table as CSV."""
    folder = tmp_path_factory.mktemp("models")
    X = exports.table().drop(columns=exports.HOSTILE[0])
    y = np.where(np.arange(len(X)) % 2, "ja", "nein")
    encoder = OneHotEncoder(handle_unknown="ignore")
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    for name, step in (("model", numbers), ("pca", make_pipeline(numbers, PCA(1)))):
        columns = exports.make_column_transformer((step, ["mass", "year"]), (encoder, ["sex"]))
        model = make_pipeline(columns, MLPClassifier((3,), **exports.SMALL))
        save(exports.fit(model, X, y), folder / f"{name}.chainrule")
    X.assign(target=y).to_csv(folder / "table.csv", index=False)
    return folder


@pytest.fixture
def run(folder, tmp_path, monkeypatch):
    """Run the command in a folder of its own; (exit code, stdout, stderr)."""
    for path in folder.iterdir():
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        result = CliRunner().invoke(app, ["export", *map(str, arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return call


FORMATS = {"onnx": "model.onnx", "c": "model.c", "js": "model.mjs", "python": "model.py"}


@pytest.mark.parametrize("format", FORMATS)
def test_says_what_was_written_and_how_well_it_agrees(format, run, tmp_path):
    if format == "onnx":
        pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    code, out, err = run("model.chainrule", "--format", format, "--sample", "table.csv")
    assert (code, err) == (0, "")
    first, second, _ = out.splitlines()
    assert first.startswith(FORMATS[format] + "  ")
    start = "Largest difference from the model's own predictions "
    assert second.startswith(start)
    assert second.endswith(", on 120 rows of table.csv")
    assert float(second.removeprefix(start).partition(",")[0]) < 1e-5
    assert (tmp_path / FORMATS[format]).stat().st_size > 1000


def test_the_suffix_says_the_format_and_json_is_one_object(run):
    code, out, err = run("model.chainrule", "-o", "x.py", "--json")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert (told["path"], told["format"], told["rows"], told["sample"]) == (
        "x.py",
        "python",
        64,
        None,
    )
    assert run("model.chainrule", "-o", "y.py", "--quiet") == (0, "", "")


def test_stdout_takes_the_file_and_stderr_the_words(run):
    code, out, err = run("model.chainrule", "--format", "python", "-o", "-")
    assert code == 0
    module = {"__name__": "m"}
    exec(out, module)
    assert module["check"]() < 1e-5
    assert err.startswith("Largest difference")


def test_nothing_is_replaced_without_force(run, tmp_path):
    (tmp_path / "model.c").write_text("mine")
    code, out, err = run("model.chainrule", "--format", "c")
    assert (code, out) == (2, "")
    assert err == "chainrule: model.c is there already; --force replaces it\n"
    assert (tmp_path / "model.c").read_text() == "mine"
    assert run("model.chainrule", "--format", "c", "--force")[0] == 0
    assert (tmp_path / "model.c").read_text() != "mine"


BAD = {
    "no format": (["model.chainrule"], "say what to write: --format onnx, c, js, python"),
    "strange suffix": (["model.chainrule", "-o", "x.exe"], "x.exe does not say the format"),
    "strange format": (["model.chainrule", "--format", "rust"], "must be one of onnx, c, js"),
    "two on stdout": (["model.chainrule", "--format", "c", "-o", "-", "--json"], "choose one"),
    "no model": (["nowhere.chainrule", "--format", "c"], "nowhere.chainrule"),
    "no model file": (["table.csv", "--format", "c"], "table.csv"),
    "no folder": (["model.chainrule", "-o", "nowhere/x.c"], "nowhere/x.c cannot be written"),
    "no sample": (["model.chainrule", "-o", "x.c", "--sample", "nowhere.csv"], "nowhere.csv"),
    "other sample": (["model.chainrule", "-o", "x.c", "--sample", "o.csv"], "no column 'mass'"),
    "other step": (["pca.chainrule", "-o", "x.c"], "PCA on columns 'mass', 'year' cannot be"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(case, run, tmp_path):
    arguments, message = BAD[case]
    (tmp_path / "o.csv").write_text("a,b\n1,2\n3,4\n")
    before = sorted(tmp_path.iterdir())
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("chainrule: ")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(tmp_path.iterdir()) == before


def test_a_disagreement_is_a_failure(run, tmp_path, monkeypatch):
    own = MLPClassifier.predict_proba
    monkeypatch.setattr(MLPClassifier, "predict_proba", lambda self, X: own(self, X) + 1e-3)
    code, out, err = run("model.chainrule", "--format", "c", "--sample", "table.csv")
    assert (code, out) == (1, "")
    assert "differs from the model by 1.0e-03, more than 1e-05; nothing was written" in err
    assert not (tmp_path / "model.c").exists()


def test_help_gives_examples(run):
    code, out, _ = run("--help")
    assert code == 0
    assert "chainrule export penguins.chainrule --format onnx" in out.replace("\n", "")


def test_a_written_python_file_is_a_program_that_checks_itself(run, tmp_path):
    assert run("model.chainrule", "--format", "python")[0] == 0
    command = [sys.executable, "-I", "-W", "error", "model.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "5 example rows, largest difference" in done.stdout
