"""train --model tabular and fast: all rows are learnt from, and judged out of fold."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

import chainrule
from chainrule.commands.cli import app

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("skrub", reason="tables are an extra")

from helpers import tables_data  # noqa: E402

pytestmark = pytest.mark.once


def call(*arguments):
    """(exit code, stdout, stderr) of the command line, run inside this process."""
    done = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "100"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with penguins.csv and a model of them, and what train printed."""
    folder = tmp_path_factory.mktemp("penguins")
    tables_data.penguins().to_csv(folder / "p.csv", index=False)
    code, out, err = call(
        *("train", folder / "p.csv", "--target", "species", "--model", "fast"),
        *("--curve", "-o", folder / "m.chainrule"),
    )
    assert code == 0, err
    return folder, out


def test_train_learns_from_all_rows_and_judges_them_out_of_fold(trained):
    folder, out = trained
    model = chainrule.load(folder / "m.chainrule")
    table = pd.read_csv(folder / "p.csv")
    n = int(table["species"].notna().sum())
    assert model[-1].n_rows_ == n
    assert f"Trained on {n} rows: a blend of" in out
    assert f"On {n} rows, each predicted without having been learnt" in out
    header = chainrule.read_header(folder / "m.chainrule")
    told = header["metadata"]
    assert told["evaluated"] == "out of fold"
    assert told["rows"] == {"train": n, "stop": 0, "test": n, "left_out": len(table) - n}
    accuracy = told["metrics"]["accuracy"]["value"]
    assert accuracy == pytest.approx(model[-1].oof_score_)
    assert told["baselines"]["trivial"]["accuracy"] < 0.6 < told["baselines"]["linear"]["accuracy"]
    assert accuracy > 0.95
    assert (folder / "m-curve.png").read_bytes().startswith(b"\x89PNG")
    assert re.search(r"^Learning curve +\S*m-curve\.png$", out, re.MULTILINE)


def test_the_learning_curve_of_a_network_is_not_drawn_if_so_asked(trained):
    folder, _ = trained
    small = ("--max-iter", "2", "--hidden-layer-sizes", "2", "-o", folder / "c.chainrule")
    code, out, err = call(
        "train", folder / "p.csv", "-t", "species", "--no-curve", "--json", *small
    )
    assert code == 0, err
    assert json.loads(out)["learning_curve"] is None
    assert not (folder / "c-curve.png").exists()


def test_findings_are_said_in_a_line_each_and_none_of_a_sound_table(trained, tmp_path):
    folder, out = trained
    assert "Found" not in out
    table = pd.read_csv(folder / "p.csv").dropna(subset="species")
    again = table.iloc[:80].assign(species=table["species"].iloc[::-1].to_numpy()[:80])
    pd.concat([table, again]).assign(site="A").to_csv(tmp_path / "t.csv", index=False)
    code, out, err = call(
        *("train", tmp_path / "t.csv", "-t", "species", "--model", "fast"),
        *("-o", tmp_path / "m.chainrule", "--json", "--quiet"),
    )
    assert code == 0, err
    said = json.loads(out)  # all of it, quiet or not
    found = [each["code"] for each in said["findings"]]
    assert found == ["contradicting-labels", "duplicate-rows", "constant-inputs"]
    assert {"bill_length_mm", "island"} <= {each["column"] for each in said["importances"]}


def test_predict_evaluate_and_inspect_take_it(trained):
    folder, _ = trained
    model = folder / "m.chainrule"
    # Columns in another order, one of them strange, and a level that training did not have.
    table = pd.read_csv(folder / "p.csv").dropna(subset="species")
    mixed = table[table.columns[::-1]].assign(strange=1)
    mixed.loc[mixed.index[0], "island"] = "Skye"
    mixed.to_csv(folder / "new.csv", index=False)
    code, _, err = call("predict", model, folder / "new.csv", "-o", folder / "out.csv", "--force")
    assert code == 0, err
    assert "'Skye' (1)" in err
    found = pd.read_csv(folder / "out.csv")
    assert np.mean(found["prediction"] == found["species"]) > 0.95
    code, out, err = call("evaluate", model, folder / "p.csv", "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"]["accuracy"]["value"] > 0.95
    code, out, err = call("inspect", model)
    assert code == 0, err
    assert "TabularClassifier in a Pipeline" in out
    assert "4 networks, 64 × 64 relu" in out
    assert "out of fold" in out


def test_export_writes_it_and_agrees(trained):
    folder, _ = trained
    table = pd.read_csv(folder / "p.csv").dropna(subset="species")
    given = ("--sample", folder / "p.csv", "-o", folder / "m.py")
    code, out, err = call("export", folder / "m.chainrule", *given)
    assert code == 0, err
    assert f"on {len(pd.read_csv(folder / 'p.csv'))} rows of" in out
    module = {"__name__": "m"}
    exec((folder / "m.py").read_text(), module)
    rows = table.assign(island=table["island"].astype(object))
    own = chainrule.load(folder / "m.chainrule").predict_proba(table)
    assert np.abs(module["predict_proba"](rows) - own).max() < 1e-5


def test_categories_of_many_levels_are_no_text_and_are_exported(tmp_path):
    rng = np.random.default_rng(0)
    town = rng.integers(60, size=200)
    frame = pd.DataFrame({"town": [f"town {i}" for i in town], "x": rng.normal(size=200)})
    frame.assign(y=frame["x"] + town % 3).to_csv(tmp_path / "t.csv", index=False)
    model = tmp_path / "m.chainrule"
    code, out, err = call(
        *("train", tmp_path / "t.csv", "-t", "y", "--model", "fast"),
        *("-o", model),
    )
    assert code == 0, err
    assert "as text" not in out + err
    assert "cannot be exported" not in out + err
    code, out, err = call("export", model, "--sample", tmp_path / "t.csv", "-o", tmp_path / "m.py")
    assert code == 0, err


def test_trace_shows_one_network_of_it(trained):
    folder, _ = trained
    code, out, err = call("trace", folder / "m.chainrule", folder / "p.csv", "--row", 5)
    assert (code, err) == (0, "")
    model = chainrule.load(folder / "m.chainrule")
    row = pd.read_csv(folder / "p.csv").iloc[5:6]
    expected = chainrule.trace(model, row.drop(columns="species"), row["species"])
    assert out == f"{expected}\n"
    assert re.match(r"network 1 of \d+ of the part '\w+' of a TabularClassifier", out)


def test_the_texts_for_missing_values_are_kept_with_the_model(tmp_path):
    rng = np.random.default_rng(0)
    kind = rng.choice(["NA", "EU", "?"], 120)
    y = np.where(kind == "NA", 5.0, 0.0) + rng.normal(size=120)
    pd.DataFrame({"kind": kind, "x": rng.normal(size=120), "y": y}).to_csv(
        tmp_path / "t.csv", index=False
    )
    code, _, err = call(
        *("train", tmp_path / "t.csv", "--target", "y", "--missing", "?", "--model", "fast"),
        *("-o", tmp_path / "m.chainrule", "-q"),
    )
    assert code == 0, err
    model = chainrule.load(tmp_path / "m.chainrule")
    given = pd.DataFrame({"kind": ["NA", "EU", "?", None], "x": 0.0})
    american, european, *unknown = model.predict(given)
    assert american > european + 3  # NA is a level
    assert unknown[0] == unknown[1]  # and ? is none


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "big"], "--model is tabular, fast or network, not 'big'"),
        (["--model", "fast", "--dropout", "0.1"], "--dropout is a setting of a plain network"),
        (["--model", "fast", "--checkpoint-every", "2"], "--checkpoint-every is a setting of a"),
        (["--model", "tabular", "--resume", "m.state"], "--resume is a setting of a plain network"),
        (["--model", "tabular", "--max-levels", "9"], "--max-levels is a setting of a plain netw"),
        (["--model", "fast", "--class-weight", '{"Emu": 2}'], "there is no class 'Emu'"),
        (["--model", "fast", "--time-limit", "-1"], "--time-limit cannot be -1"),
    ],
)
def test_settings_that_do_not_go_with_it_are_named(trained, options, message):
    folder, _ = trained
    code, _, err = call(
        "train", folder / "p.csv", "-t", "species", "-o", folder / "n.chainrule", *options
    )
    assert code == 2
    assert message in err
    assert not (folder / "n.chainrule").exists()


def test_numbers_rows_held_out_and_json(trained):
    folder, _ = trained
    code, out, err = call(
        *("train", folder / "p.csv", "-t", "body_mass_g", "--model", "fast", "--json"),
        *("--test-fraction", "0.3", "-o", folder / "n.chainrule"),
    )
    assert code == 0, err
    said = json.loads(out)
    assert said["learning_curve"] is None  # of an ensemble, without --curve
    assert not (folder / "n-curve.png").exists()
    assert said["rows"]["train"] > 2 * said["rows"]["test"] > 0
    metrics = said["evaluation"]["metrics"]
    assert metrics["r2"]["value"] > said["baselines"]["trivial"]["r2"] + 0.5
    assert {part["part"] for part in said["parts"]} == {"linear", "step", "smooth"}
