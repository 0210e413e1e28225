"""`chainrule trace` and `chainrule digits --trace` as their users meet them."""

from __future__ import annotations

import re
import shutil

import pandas as pd
import pytest
from sklearn.datasets import load_iris
from typer.testing import CliRunner

import chainrule
from chainrule.commands.cli import app
from chainrule.digits import recipes, runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that `chainrule train` has made, and its table."""
    folder = tmp_path_factory.mktemp("trace")
    X, y = load_iris(return_X_y=True, as_frame=True)
    X["kind"] = ["a", "b", "c"] * 50
    X["species"] = y.map({0: "setosa", 1: "versicolor", 2: "virginica"})
    X.to_csv(folder / "iris.csv", index=False)
    arguments = [folder / "iris.csv", "-t", "species", "-o", folder / "m.chainrule"]
    arguments += ["--max-iter", 3, "--hidden-layer-sizes", 5, "-q"]
    assert CliRunner().invoke(app, ["train", *map(str, arguments)]).exit_code == 0
    return folder


@pytest.fixture
def run(folder, tmp_path, monkeypatch):
    """Run a command in a folder of its own; (exit code, stdout, stderr)."""
    for name in ("iris.csv", "m.chainrule"):
        shutil.copy(folder / name, tmp_path)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return call


def test_a_row_of_a_table(run, tmp_path):
    code, out, err = run("trace", "m.chainrule", "iris.csv", "--row", 60)
    assert (code, err) == (0, "")
    model, frame = chainrule.load(tmp_path / "m.chainrule"), pd.read_csv(tmp_path / "iris.csv")
    row = frame.iloc[60:61]
    expected = chainrule.trace(model, row.drop(columns="species"), row["species"])
    assert out == f"{expected}\n"
    assert "Outputs: [0] setosa, [1] versicolor, [2] virginica" in out
    assert "sepal length (cm)" in out
    code, out, _ = run("trace", "m.chainrule", "iris.csv", "--row", 146, "--rows", 4)
    assert (code, "(4, 3)" in out) == (0, True)


@pytest.mark.parametrize("suffix", ["html", "tex", "txt"])
def test_a_file_of_each_kind(suffix, run, tmp_path):
    name = f"row.{suffix}"
    assert run("trace", "m.chainrule", "iris.csv", "-o", name) == (0, f"{name}\n", "")
    text = (tmp_path / name).read_text(encoding="utf-8")
    start = {"html": "<!DOCTYPE html>", "tex": "% Made by", "txt": "MLPClassifier: layers"}
    assert text.startswith(start[suffix])
    code, _, err = run("trace", "m.chainrule", "iris.csv", "-o", name)
    assert code == 2
    assert "exists" in err
    assert run("trace", "m.chainrule", "iris.csv", "-o", name, "--force")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--row", 150], "there is no row 150: the table has 150 rows, the first is row 0"),
        (["--row", 149, "--rows", 2], "there is no row 150"),
        (["-o", "row.pdf"], "row.pdf must end in .html, .tex, .txt"),
        (["-t", "colour"], "colour"),
        (["-t", "kind"], "which the model does not know"),
    ],
)
def test_bad_input_is_one_line(arguments, message, run, tmp_path):
    before = sorted(tmp_path.iterdir())
    code, out, err = run("trace", "m.chainrule", "iris.csv", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert sorted(tmp_path.iterdir()) == before


def test_a_row_without_a_true_value(run, tmp_path):
    frame = pd.read_csv(tmp_path / "iris.csv")
    frame.loc[3, "species"] = None
    frame.to_csv(tmp_path / "holes.csv", index=False)
    code, _, err = run("trace", "m.chainrule", "holes.csv", "--row", 3)
    assert code == 2
    assert "row 3 has no value of 'species'" in err


def test_a_digit(run):
    code, out, err = run("digits", "--epochs", 2, "--trace", 5)
    assert (code, err) == (0, "")
    run_ = runs.Run(recipes.ARTICLE._replace(epochs=2), recipes.load(), 0)
    run_()
    assert str(run_.trace(5)) in out
    assert re.search(r"^Test digit 5, a \d, article:$", out, re.M)
    code, _, err = run("digits", "--epochs", 1, "--trace", 360)
    assert (code, "there is no test digit 360; the last is 359" in err) == (2, True)
    assert run("digits", "--epochs", 1, "--trace", 0, "--json")[0] == 2
