"""The commands train, evaluate and predict, on files as people have them."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib

import numpy as np
import pytest
from typer.testing import CliRunner

import chainrule
from chainrule import MLPClassifier, MLPRegressor
from chainrule.commands import options
from chainrule.commands.cli import app

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("skrub", reason="tables are an extra")

from helpers import tables_data  # noqa: E402

QUICK = ("--engine", "numpy", "--max-iter", "30")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command line inside this process; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments, stdin=None):
        result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with penguins.csv, and a model of them."""
    where = tmp_path_factory.mktemp("penguins")
    tables_data.penguins().to_csv(where / "penguins.csv", index=False)
    runner = CliRunner()
    done = runner.invoke(
        app,
        [
            *("train", str(where / "penguins.csv"), "--target", "species"),
            *("--output", str(where / "model.chainrule")),
        ],
    )
    assert done.exit_code == 0, done.stderr
    return where, done.stdout


def test_train_shows_the_columns_and_how_good_it_is(folder):
    where, out = folder
    assert "species: 3 classes (Adelie 152, Gentoo 124, Chinstrap 68)" in out
    assert re.search(r"^bill_length_mm +numeric +2 +164", out, re.MULTILINE)
    assert re.search(r"^island +categorical +3", out, re.MULTILINE)
    line = re.search(r"^accuracy +(0\.9\d+|1\.0+) +\S+ to \S+ +(0\.\d+) +(\S+)", out, re.MULTILINE)
    assert line is not None
    assert float(line[2]) < 0.5 < float(line[1])
    assert re.search(r"^Model +\S*model\.chainrule$", out, re.MULTILINE)
    assert not (where / "model-curve.png").exists()  # of an ensemble, without --curve
    assert "Learning curve" not in out


def test_the_network_is_what_python_would_train(folder, run, tmp_path):
    """Same rows, same parameters, same seed: the same bits."""
    from sklearn.model_selection import train_test_split

    where, _ = folder
    model = tmp_path / "network.chainrule"
    asked = ("--target", "species", "--engine", "numpy", "--model", "network")
    code, _, err = run("train", where / "penguins.csv", *asked, "--output", model)
    assert code == 0, err
    X = chainrule.tables.read(where / "penguins.csv")
    y = X.pop("species").to_numpy(object)
    rows, held = train_test_split(np.arange(len(y)), test_size=0.2, random_state=0, stratify=y)
    rows = np.sort(rows)
    ours = chainrule.tabular_pipeline(model="network", random_state=0, engine="numpy")
    ours.fit(X.iloc[rows], y[rows])
    stored = chainrule.load(model)
    np.testing.assert_array_equal(ours.predict_proba(X), stored.predict_proba(X))
    told = chainrule.read_header(model)["metadata"]
    assert told["metrics"]["accuracy"]["value"] == ours.score(X.iloc[held], y[held])
    stop = int(np.ceil(0.1 * len(rows)))
    counts = {"train": len(rows) - stop, "stop": stop, "test": len(held), "left_out": 0}
    assert told["rows"] == counts
    assert told["target"] == "species"
    assert stored[-1].callbacks is None


def test_the_ensembles_are_trained_unless_a_setting_of_a_network_is_given(folder, run, tmp_path):
    where, _ = folder
    table, model = where / "penguins.csv", tmp_path / "m.chainrule"
    settings = tmp_path / "settings.toml"
    settings.write_text("max_iter = 3\n", encoding="utf-8")
    small = ("--hidden-layer-sizes", "3", "--max-iter", "3")
    for more, expected in (
        ((), "tabular"),
        (("--time-limit", "1", "--engine", "numpy", "--seed", "3"), "tabular"),
        (("--max-iter", "3"), "network"),
        (("--config", settings), "network"),
        (("--max-levels", "9", "--cv", "2"), "network"),
        (("--checkpoint-every", "2", *small), "network"),
    ):
        code, _, err = run("train", table, "-t", "species", "-q", "-f", "-o", model, *more)
        assert code == 0, err
        assert chainrule.read_header(model)["metadata"]["model"] == expected, more
    code, _, err = run(
        "train", table, "-t", "species", "-f", "--model", "tabular", "--max-iter", "3"
    )
    assert (code, err.count("\n")) == (2, 1)
    assert "--max-iter is a setting of a plain network; give --model network" in err


def test_predict_keeps_rows_and_columns_and_adds_its_own(folder, run):
    where, _ = folder
    text = (where / "penguins.csv").read_text()
    code, out, err = run("predict", where / "model.chainrule", where / "penguins.csv")
    assert (code, err) == (0, "")
    given = [line.split(",") for line in text.splitlines()]
    lines = [line.split(",") for line in out.splitlines()]
    added = ["prediction", "probability_Adelie", "probability_Chinstrap", "probability_Gentoo"]
    assert lines[0] == given[0] + added
    assert [line[: len(given[0])] for line in lines] == given  # to the byte
    model = chainrule.load(where / "model.chainrule")
    X = pd.read_csv(where / "penguins.csv")
    assert [line[-4] for line in lines[1:]] == model.predict(X).tolist()
    chances = np.array([line[-3:] for line in lines[1:]], float)
    np.testing.assert_allclose(chances, model.predict_proba(X), rtol=1e-9)


def test_predict_writes_parquet_and_reads_what_it_is_given(folder, run, tmp_path, monkeypatch):
    where, _ = folder
    frame = pd.read_csv(where / "penguins.csv").drop(columns="species")
    frame.to_parquet("p.parquet")
    frame.to_json("p.jsonl", orient="records", lines=True)
    monkeypatch.setattr("chainrule.commands.predicting.MOST_ROWS", 50)  # seven blocks
    for source in ("p.parquet", "p.jsonl"):
        code, _, err = run(
            "predict", where / "model.chainrule", source, "-o", "o.parquet", "--force"
        )
        assert code == 0, err
        seen = pd.read_parquet("o.parquet")
        assert list(seen)[: len(list(frame))] == list(frame)
        model = chainrule.load(where / "model.chainrule")
        assert seen["prediction"].tolist() == model.predict(frame).tolist()
    code, out, _ = run("predict", where / "model.chainrule", "-", stdin=frame.to_csv(index=False))
    assert code == 0
    assert out.count("\n") == 345


def test_what_is_wrong_with_a_table_to_predict_is_named(folder, run, tmp_path):
    where, _ = folder
    model, frame = where / "model.chainrule", pd.read_csv(where / "penguins.csv")
    frame.drop(columns=["sex", "year"]).to_csv("short.csv", index=False)
    code, out, err = run("predict", model, "short.csv", "-o", "o.csv")
    assert (code, out) == (2, "")
    assert "columns are missing that the model needs: 'sex', 'year'" in err
    frame.assign(extra=1, more="x").to_csv("long.csv", index=False)
    code, out, err = run("predict", model, "long.csv")
    assert code == 0
    assert "does not know are only passed on: 'extra', 'more'" in err
    (tmp_path / "o.csv").write_text("mine")
    code, _, err = run("predict", model, where / "penguins.csv", "-o", "o.csv")
    assert code == 2
    assert "o.csv exists" in err
    assert (tmp_path / "o.csv").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "long.csv",
        "o.csv",
        "short.csv",
    ]


def test_columns_that_are_called_like_the_predictions_are_kept(folder, run):
    where, _ = folder
    model, frame = where / "model.chainrule", pd.read_csv(where / "penguins.csv")
    frame.assign(prediction=1, probability_Adelie_2="x").to_csv("t.csv", index=False)
    code, _, err = run("predict", model, "t.csv", "-o", "o.csv")
    assert code == 0, err
    seen, plain = pd.read_csv("o.csv"), chainrule.load(model).predict(frame)
    assert seen["prediction"].tolist() == [1] * len(frame)
    new = ["prediction_3", *(f"probability_{c}_3" for c in ("Adelie", "Chinstrap", "Gentoo"))]
    assert list(seen)[-4:] == new
    assert seen["prediction_3"].tolist() == plain.tolist()
    assert "'prediction_3', 'probability_Adelie_3'" in err
    assert "--prediction-column" in err

    given = ("--prediction-column", "species found", "--probability-prefix", "p ")
    assert run("predict", model, "t.csv", "-o", "p.csv", *given) == (
        0,
        "",
        "Note: columns that the model does not know are only passed on: 'prediction', "
        f"'probability_Adelie_2'\nNote: {len(frame)} rows predicted; they are in p.csv\n",
    )
    assert list(pd.read_csv("p.csv"))[-4:] == [
        "species found",
        "p Adelie",
        "p Chinstrap",
        "p Gentoo",
    ]
    # a name that was asked for stays; the others give way
    code, _, err = run("predict", model, "p.csv", "-o", "q.csv", "--prediction-column", "new")
    assert list(pd.read_csv("q.csv"))[-4] == "new"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--prediction-column", "island"), "the table has a column 'island' already"),
        (("--probability-prefix", "sex", "--prediction-column", "sexGentoo"), "would both be"),
        (("--prediction-column", ""), "--prediction-column is empty"),
    ],
)
def test_a_name_asked_for_that_is_taken_is_refused_before_work(
    folder, run, monkeypatch, given, message
):
    from chainrule.commands import predicting

    monkeypatch.setattr(predicting, "predictions", lambda *_: pytest.fail("it was predicted"))
    where, _ = folder
    code, out, err = run(
        "predict", where / "model.chainrule", where / "penguins.csv", "-o", "o.csv", *given
    )
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_model_may_learn_from_a_column_called_prediction(run):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"prediction": rng.normal(size=120)})
    frame["quantile_0.5"] = frame["y"] = frame["prediction"] * 2
    frame.to_csv("t.csv", index=False)
    given = ("--loss", "quantile", "--quantile", "0.1,0.5,0.9")
    assert run("train", "t.csv", "-t", "y", "-q", *QUICK, *given)[0] == 0
    code, _, err = run("predict", "model.chainrule", "t.csv", "-o", "o.csv")
    assert code == 0, err
    new = ["prediction_2", "quantile_0.1_2", "quantile_0.5_2", "quantile_0.9_2"]
    assert list(pd.read_csv("o.csv")) == ["prediction", "quantile_0.5", "y", *new]
    code, _, err = run("predict", "model.chainrule", "t.csv", "--probability-prefix", "p")
    assert code == 2
    assert "the model predicts numbers" in err


def test_what_keeps_a_model_from_being_exported_is_said_when_it_is_trained(run):
    rng = np.random.default_rng(0)
    n = 200
    frame = pd.DataFrame({"x": rng.normal(size=n)})
    frame["town"] = [f"town {i}" for i in rng.integers(12, size=n)]
    words = np.array(["red", "old", "big", "wet", "new", "sad", "odd"])
    frame["told"] = [" ".join(rng.choice(words, 7)) for _ in range(n)]
    frame["y"] = np.where(frame["x"] > 0, "p", "q")
    frame.to_csv("t.csv", index=False)
    code, _, err = run("train", "t.csv", "-t", "y", "--max-levels", "5", *QUICK)
    assert code == 0
    assert "Note: 'town': of more than 5 levels" in err
    assert "with --max-levels 12 it can" in err
    assert "Note: 'told': free text, so the model cannot be exported" in err
    code, _, err = run("export", "model.chainrule", "-o", "m.py")
    assert code == 2
    given = ("--max-levels", "12", "--ignore", "told", "--force")
    code, _, err = run("train", "t.csv", "-t", "y", *given, *QUICK)
    assert code == 0
    assert "exported" not in err
    assert run("export", "model.chainrule", "-o", "m.py")[0] == 0


def test_a_row_that_cannot_be_read_is_named_or_goes_to_the_rejects(folder, run, tmp_path):
    where, _ = folder
    lines = (where / "penguins.csv").read_text().splitlines()
    lines[7] = lines[7].replace(lines[7].split(",")[2], "heavy")
    lines[20] += ",one,too,many"
    (tmp_path / "bad.csv").write_text("\n".join(lines) + "\n")
    code, out, err = run("predict", where / "model.chainrule", "bad.csv", "-o", "o.csv")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert re.search(r"line (8, column 'bill_length_mm'|21)", err)
    assert not (tmp_path / "o.csv").exists()
    code, _, err = run(
        "predict", where / "model.chainrule", "bad.csv", "-o", "o.csv", "--rejects", "r.csv"
    )
    assert code == 0
    assert "2 rows could not be read; see r.csv" in err
    rejected = pd.read_csv("r.csv")
    assert sorted(rejected["line"]) == [8, 21]
    assert rejected["row"].str.contains("heavy").sum() == 1
    assert len(pd.read_csv("o.csv")) == 342
    code, _, err = run(
        "predict", where / "model.chainrule", "bad.csv", "-o", "o2.csv", "--rejects", "r.csv"
    )
    assert code == 2
    assert "r.csv exists" in err


def test_new_levels_and_holes_are_predicted(folder, run):
    where, _ = folder
    frame = pd.read_csv(where / "penguins.csv").head(4)
    frame["island"] = ["Atlantis", None, "", "日本"]
    frame["body_mass_g"] = [None, None, 1e9, -5]
    code, out, err = run("predict", where / "model.chainrule", "-", stdin=frame.to_csv(index=False))
    assert code == 0
    assert err == (
        "Note: column 'island': 2 rows with levels never seen in training, which count as none of "
        "those known: 'Atlantis' (1), '日本' (1); 2 rows without a value, which no row in training "
        "was\n"
    )
    assert pd.read_csv(io.StringIO(out))["prediction"].notna().all()


def test_a_table_without_rows_gives_one(folder, run):
    where, _ = folder
    head = (where / "penguins.csv").read_text().splitlines()[0]
    code, out, _ = run("predict", where / "model.chainrule", "-", stdin=head + "\n")
    assert code == 0
    assert out.splitlines() == [
        f"{head},prediction,probability_Adelie,probability_Chinstrap,probability_Gentoo"
    ]


def test_evaluate_says_what_scikit_learn_says_and_draws_a_page(folder, run, tmp_path):
    from sklearn import metrics

    where, _ = folder
    model = where / "model.chainrule"
    code, out, err = run(
        "evaluate", model, where / "penguins.csv", "--json", "--report", "report.html"
    )
    assert (code, err) == (0, "")
    seen = json.loads(out)
    X = pd.read_csv(where / "penguins.csv")
    stored = chainrule.load(model)
    said, chances = stored.predict(X), stored.predict_proba(X)
    got = {name: each["value"] for name, each in seen["metrics"].items()}
    assert got["accuracy"] == pytest.approx(metrics.accuracy_score(X["species"], said))
    assert got["log_loss"] == pytest.approx(metrics.log_loss(X["species"], chances))
    assert seen["confusion"] == metrics.confusion_matrix(X["species"], said).tolist()
    assert seen["classes"] == ["Adelie", "Chinstrap", "Gentoo"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2  # calibration, learning curve
    code, out, _ = run("evaluate", model, where / "penguins.csv")
    assert code == 0
    assert re.search(r"^Adelie +152 +[01]\.\d{3}", out, re.MULTILINE)
    assert "came true" in out
    code, _, err = run("evaluate", model, where / "penguins.csv", "--report", "report.html")
    assert code == 2
    assert "report.html exists" in err


def test_evaluate_counts_classes_it_does_not_know_as_mistaken(folder, run):
    where, _ = folder
    frame = pd.read_csv(where / "penguins.csv")
    frame.loc[:9, "species"] = "Emperor"
    frame.loc[10:12, "species"] = None
    code, out, err = run(
        "evaluate", where / "model.chainrule", "-", "--json", stdin=frame.to_csv(index=False)
    )
    assert code == 0
    assert "10 rows count as mistaken: the model does not know their classes 'Emperor'" in err
    assert "3 of 344 rows left out" in err
    assert json.loads(out)["n"] == 341
    code, _, err = run(
        "evaluate",
        where / "model.chainrule",
        "-",
        stdin=frame.drop(columns="species").to_csv(index=False),
    )
    assert code == 2
    assert "a column is missing that the model needs: 'species'" in err


@pytest.mark.parametrize("name", sorted(tables_data.TASKS))
def test_bundled_sets_with_holes_dates_and_unicode(name, run, tmp_path):
    source = tmp_path / f"{name}.csv.gz" if name == "wine" else tmp_path / f"{name}.csv"
    tables_data.write(name, source)
    how = ("--model", "fast")
    code, out, err = run("train", source, "-t", "target", "--json", *how)
    assert code == 0, err
    seen = json.loads(out)
    assert seen["task"] == tables_data.TASKS[name]
    first = next(iter(seen["evaluation"]["metrics"]))
    ours = seen["evaluation"]["metrics"][first]["value"]
    trivial = seen["baselines"]["trivial"][first]
    assert ours > trivial + 0.2 if first == "accuracy" else ours < 0.9 * trivial
    kinds = {column["name"]: column["kind"] for column in seen["columns"]}
    assert kinds["visited"] == "date"
    assert kinds["member"] == "identifier"
    assert "not used, only names rows: 'member'" in err
    code, out, err = run("predict", "model.chainrule", source)
    assert code == 0, err


def test_quantiles_folds_and_a_file_of_settings(run, tmp_path):
    tables_data.write("diabetes", tmp_path / "d.parquet")
    (tmp_path / "s.toml").write_text(
        'target = "target"\ncv = 3\nloss = "quantile"\nquantile = [0.1, 0.5, 0.9]\n'
        'hidden-layer-sizes = [20, 10]\nmax_iter = 5\nengine = "numpy"\nignore = ["city"]\n'
    )
    code, out, err = run("train", "d.parquet", "--config", "s.toml", "--json", "--max-iter", 30)
    assert code == 0, err
    seen = json.loads(out)
    rows = seen["rows"]
    assert rows["train"] + rows["stop"] == rows["test"] == seen["evaluation"]["n"]
    assert 0.5 < seen["evaluation"]["metrics"]["coverage"]["value"] < 1
    assert "city" not in [column["name"] for column in seen["columns"]]
    mlp = chainrule.load("model.chainrule")[-1]
    assert (mlp.hidden_layer_sizes, mlp.max_iter) == ((20, 10), 30)
    code, out, _ = run("predict", "model.chainrule", "d.parquet", "-o", "o.parquet")
    added = pd.read_parquet("o.parquet").iloc[:, -4:]
    assert list(added) == ["prediction", "quantile_0.1", "quantile_0.5", "quantile_0.9"]
    assert (added["quantile_0.1"] <= added["quantile_0.9"]).all()
    assert (added["prediction"] == added["quantile_0.5"]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("max_itr = 3", "no setting 'max_itr'; did you mean 'max_iter'?"),
        ("random_state = 3", "random_state cannot be set here; use --seed"),
        ("target = 3", "target cannot be 3"),
        ("a = [", "is no TOML"),
        ("test_fraction = 2", "test_fraction is from 0 to 0.9, not 2"),
        ('activation = "rellu"', "s.toml: activation cannot be 'rellu'; did you mean 'relu'?"),
    ],
)
def test_bad_settings(folder, run, tmp_path, settings, message):
    (tmp_path / "s.toml").write_text(settings)
    where, _ = folder
    target = [] if "target" in settings else ["-t", "species"]
    code, out, err = run("train", where / "penguins.csv", *target, "--config", "s.toml")
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["s.toml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-t", "specis"], "no target 'specis'; did you mean 'species'?"),
        ([], "--target"),
        (["-t", "species", "--ignore", "yaer"], "has no column 'yaer'; did you mean 'year'?"),
        (["-t", "species", "--ignore", "species"], "'species' is the target"),
        (["-t", "species", "--quantile", "0.5"], "--quantile goes with regression"),
        (
            ["-t", "species", "--max-iter", "x"],
            "--max-iter cannot be 'x'; it takes a whole number of at least 1",
        ),
        (["-t", "species", "--class-weight", '{"Adele": 2}'], "there is no class 'Adele'"),
        (["-t", "species", "--class-weight", "{Adele"], "--class-weight: this is no JSON"),
        (["-t", "species", "--cv", "400"], "--cv must be from 2 to 68"),
        (["-t", "species", "--cv", "3", "--test-fraction", "0.1"], "give one of them"),
        (["-t", "species", "--task", "clustering"], "not 'clustering'"),
        (["-t", "species", "--task", "regression"], "'species' is no number in row 1: 'Adelie'"),
        (["-t", "species", "-o", "."], "is a folder"),
        (["-t", "species", "-o", "-"], "name a file"),
        (["-t", "species", "--learning-rate", "adaptive"], "use --learning-rate plateau"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_trained_is_said_in_one_line(folder, run, tmp_path, arguments, message):
    where, _ = folder
    code, out, err = run("train", where / "penguins.csv", *arguments)
    assert (code, out) == (2, ""), err
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,b\n1,x\n2,x\n3,x\n", "'x' in every row; there is nothing to learn"),
        ("a,b\n" + "1,x\n" * 9 + "2,y\n" * 9 + "3,z\n", "fewer than 3 rows.*'z'"),
        ("a,b\n" + "1,\n" * 9, "no rows with a value of 'b'"),
        ("a,b\n" + "1,x\n1,y\n" * 20, "no column left to predict 'b' from"),
        ("a,b\n" + "1,7\n2,7\n" * 20, "'7' in every row|7 in every row"),
    ],
)
def test_targets_that_teach_nothing(run, tmp_path, rows, message):
    (tmp_path / "t.csv").write_text(rows)
    code, out, err = run("train", "t.csv", "-t", "b")
    assert (code, out) == (2, "")
    assert re.search(message, err), err
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("target", ["a", "b"])
def test_a_dozen_rows_can_be_learnt_from(run, tmp_path, target):
    lines = [f"{i}.5,{'xy'[i % 2]},{i % 2}{i}" for i in range(12)]
    (tmp_path / "t.csv").write_text("a,b,c\n" + "\n".join(lines) + "\n")
    code, out, err = run("train", "t.csv", "-t", target, "--max-iter", 20, "-q")
    assert code == 0, err
    assert "9 rows are too few to hold some out to stop by" in err
    assert out.endswith("on 3 rows\n")


def test_kinds_of_columns_can_be_given(folder, run, tmp_path):
    where, _ = folder
    data = str(where / "penguins.csv")
    given = ("--kind", "year=categorical", "--kind", "island=text", "--max-levels", "2")
    code, out, err = run("train", data, "-t", "species", "-o", "k.chainrule", *QUICK, *given)
    assert code == 0, err
    assert re.search(r"^year +categorical +3 +as given", out, re.MULTILINE)
    assert re.search(r"^island +text ", out, re.MULTILINE)
    clean = chainrule.load("k.chainrule")["clean"]
    assert clean.kinds_["year"] == "categorical"
    assert clean.max_levels == 2
    (tmp_path / "s.toml").write_text('max_levels = 3\nkind = {year = "categorical"}\n')
    settings = ("--config", "s.toml", "--force")
    assert run("train", data, "-t", "species", "-o", "k.chainrule", *QUICK, *settings)[0] == 0
    clean = chainrule.load("k.chainrule")["clean"]
    assert (clean.kinds_["year"], clean.max_levels) == ("categorical", 3)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("yeer=categorical", "there is no column to be of a kind 'yeer'; did you mean 'year'?"),
        ("year=number", "'year' cannot be 'number'; did you mean 'numeric'?"),
        ("species=text", "'species' is the target"),
        ("year", "--kind is COLUMN=KIND"),
    ],
)
def test_kinds_that_have_no_meaning(folder, run, kind, message):
    where, _ = folder
    code, _, err = run("train", str(where / "penguins.csv"), "-t", "species", "--kind", kind)
    assert code == 2
    assert message in err


def test_rows_without_a_target_are_counted_and_leaks_warned_of(folder, run, tmp_path):
    where, _ = folder
    frame = pd.read_csv(where / "penguins.csv")
    frame["latin"] = frame["species"].map(str.upper)
    frame.loc[[3, 50], "species"] = [None, "  "]
    frame.to_parquet("p.parquet")
    code, _, err = run("train", "p.parquet", "-t", "species", *QUICK, "--quiet")
    assert code == 0
    assert "2 of 344 rows left out, without a value of 'species' (the first is row 4)" in err
    assert re.search(r"'latin' .*leave it out with --ignore", err)
    assert "bill_length_mm" not in err


def test_nothing_is_overwritten_without_force(folder, run, tmp_path):
    where, _ = folder
    for name in ("model.chainrule", "model-curve.png"):
        (tmp_path / name).write_text("mine")
        code, _, err = run("train", where / "penguins.csv", "-t", "species", *QUICK)
        assert code == 2
        assert f"{name} exists" in err
        assert (tmp_path / name).read_text() == "mine"
        code, _, err = run("train", where / "penguins.csv", "-t", "species", *QUICK, "--force")
        assert code == 0, err
        for path in tmp_path.iterdir():
            path.unlink()


def test_the_seed_decides_everything(folder, run):
    where, _ = folder
    lines = []
    for seed in (1, 1, 2):
        code, out, _ = run(
            *("train", where / "penguins.csv", "-t", "species", *QUICK),
            *("--seed", seed, "--force", "--json"),
        )
        assert code == 0
        seen = json.loads(out)
        seen.pop("seconds")
        lines.append(seen)
    assert lines[0] == lines[1] != lines[2]


def test_class_weights_reach_the_network(folder, run):
    where, _ = folder
    weights = '{"Adelie": 3, "Gentoo": 0.5}'
    code, _, err = run(
        "train", where / "penguins.csv", "-t", "species", *QUICK, "--class-weight", weights
    )
    assert code == 0, err
    assert chainrule.load("model.chainrule")[-1].class_weight == {"Adelie": 3, "Gentoo": 0.5}


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGINT to send")
def test_ctrl_c_keeps_what_was_learnt(folder, tmp_path):
    where, _ = folder
    log = tmp_path / "started"
    code = (
        "import pathlib, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from contextlib import contextmanager\n"
        "from chainrule.commands import train\n"
        "@contextmanager\n"
        "def loud(silent):\n"
        f"    log = pathlib.Path({str(log)!r})\n"
        "    yield lambda part, most, record: log.write_text('.' * record['epoch'])\n"
        "train.progress = loud\n"
        "from chainrule.commands.cli import main\n"
        "sys.argv = ['chainrule', *sys.argv[1:]]\n"
        "main()\n"
    )
    arguments = ["train", str(where / "penguins.csv"), "-t", "species", "--engine", "numpy"]
    arguments += ["--max-iter", "1000000", "--n-iter-no-change", "1000000"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for _ in range(600):
            if process.poll() is not None or (log.exists() and log.stat().st_size > 3):
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "stopped by Ctrl-C; this is the model as trained so far" in err
    assert "accuracy" in out
    chainrule.load(tmp_path / "model.chainrule").predict(pd.read_csv(where / "penguins.csv"))


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL to send")
def test_a_training_that_is_killed_goes_on_to_the_same_bits(folder, run, tmp_path):
    where, _ = folder
    options = ("-t", "species", "--engine", "numpy", "--max-iter", "40", "--quiet")
    code, whole, _ = run("train", where / "penguins.csv", *options, "-o", "whole.chainrule")
    assert code == 0
    kill = (
        "import os, signal, sys\n"
        "from chainrule.files.resuming import Resume\n"
        "write = Resume.write_state\n"
        "def mortal(self, est, descent, watch, rates, order, epoch):\n"
        "    write(self, est, descent, watch, rates, order, epoch)\n"
        "    if epoch == 20: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Resume.write_state = mortal\n"
        "from chainrule.commands.cli import main\n"
        "main()\n"
    )
    command = ["train", str(where / "penguins.csv"), *options, "--checkpoint-every", "7"]
    done = subprocess.run(
        [sys.executable, "-c", kill, *command], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "model.chainrule").exists()
    code, _, err = run(*command)
    assert code == 2
    assert "model.state exists; go on from it with --resume" in err
    code, again, err = run(*command, "--resume", "model.state")
    assert code == 0, err
    assert again == whole.replace("whole", "model")
    X = pd.read_csv(where / "penguins.csv")
    models = [chainrule.load(name) for name in ("whole.chainrule", "model.chainrule")]
    np.testing.assert_array_equal(*(model.predict_proba(X) for model in models))
    assert not (tmp_path / "model.state").exists()


def test_what_cannot_be_resumed_is_said(folder, run, tmp_path):
    where, _ = folder
    command = ("train", where / "penguins.csv", "-t", "species", *QUICK)
    code, _, err = run(*command, "--resume", "none.state")
    assert (code, "no file none.state" in err) == (2, True)
    code, _, err = run(*command, "--cv", 3, "--checkpoint-every", 2)
    assert (code, "not with --cv" in err) == (2, True)
    (tmp_path / "some.state").write_text("nothing")
    code, _, err = run(*command, "--resume", "some.state")
    assert (code, err.splitlines()[-1].startswith("chainrule: --resume: some.state ")) == (2, True)
    assert (tmp_path / "some.state").read_text() == "nothing"


@pytest.mark.skipif(sys.platform == "win32", reason="has no pseudo-terminals")
def test_piped_output_is_plain_and_a_terminal_gets_a_bar(folder, tmp_path):
    import pty

    master, slave = pty.openpty()
    where, _ = folder
    command = [sys.executable, "-m", "chainrule", "train", str(where / "penguins.csv")]
    command += ["-t", "species", *QUICK]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=slave, env=environment
    ) as process:
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
        out = process.stdout.read()
    os.close(master)
    assert process.returncode == 0
    assert re.search(rb"training.*\d+ of at most 30 epochs", seen)
    assert b"held out" in seen
    assert b"\x1b" not in out


def test_models_saved_from_python_predict_too(run, tmp_path):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"b": rng.normal(size=60), "a": rng.integers(0, 9, 60)})
    y = np.where(X["a"] > 4, 2, 1)
    X.assign(y=y).to_csv("d.csv", index=False)
    options = {"early_stopping": True, "max_iter": 999, "engine": "numpy", "random_state": 0}
    plain = MLPClassifier(**options).fit(X, y)
    pipeline = chainrule.tabular_pipeline(model="network", engine="numpy", random_state=0)
    for model in (plain, pipeline.fit(X, y)):
        chainrule.save(model, "m.chainrule")
        code, out, err = run("predict", "m.chainrule", "d.csv", "--quiet")
        assert (code, err) == (0, "")
        seen = pd.read_csv(io.StringIO(out))
        assert seen["prediction"].tolist() == model.predict(X).tolist()
        code, _, err = run("evaluate", "m.chainrule", "d.csv")
        assert (code, "does not say what it predicts; name the target" in err) == (2, True)
        code, out, _ = run("evaluate", "m.chainrule", "d.csv", "-t", "y", "--json")
        assert json.loads(out)["metrics"]["accuracy"]["value"] == model.score(X, y)
    chainrule.save(MLPRegressor(**options).fit(X.to_numpy(), y), "n.chainrule")
    code, _, err = run("predict", "n.chainrule", "d.csv")
    assert (code, "does not know the names of its columns" in err) == (2, True)
    (tmp_path / "junk").write_bytes(b"junk")
    code, _, err = run("predict", "junk", "d.csv")
    assert (code, err.count("\n")) == (2, 1)


def test_deviations_of_a_gaussian_regressor(run, tmp_path):
    tables_data.write("diabetes", tmp_path / "d.csv")
    code, _, err = run("train", "d.csv", "-t", "target", "--loss", "gaussian", *QUICK, "-q")
    assert code == 0, err
    code, out, _ = run("predict", "model.chainrule", "d.csv")
    seen = pd.read_csv(io.StringIO(out))
    assert list(seen)[-2:] == ["prediction", "deviation"]
    assert (seen["deviation"] > 0).all()


HOSTILE = ["[red]no[/red]", "a\x1b[31mb", "日本語", "x" * 200]


def test_names_from_the_data_steer_nothing(run, tmp_path):
    """Neither markup nor control signs nor lengths; in files they are as they were."""
    rng = np.random.default_rng(0)
    names = np.array(HOSTILE, dtype=object)[np.arange(200) % 4]
    frame = pd.DataFrame({"[bold]a[/bold]": np.arange(200) % 4 + rng.normal(0, 0.1, 200)})
    frame["b\x1b[0m"] = rng.normal(size=200)
    frame["=y"] = names
    frame.to_csv("h.csv", index=False)
    code, out, err = run("train", "h.csv", "-t", "=y")
    assert code == 0, err
    assert "\x1b" not in out + err
    assert "[red]no[/red]" in out
    assert "[bold]a[/bold]" in out
    assert max(map(len, out.splitlines())) <= 250
    code, out, err = run("evaluate", "model.chainrule", "h.csv", "--report", "h.html")
    assert code == 0
    assert "\x1b" not in out + err
    assert "日本語" in (tmp_path / "h.html").read_text(encoding="utf-8")
    code, out, _ = run("predict", "model.chainrule", "h.csv")
    seen = pd.read_csv(io.StringIO(out))
    assert seen["=y"].tolist() == names.tolist()
    assert [f"probability_{name}" for name in sorted(HOSTILE)] == list(seen)[-4:]


# Parameters as options.


def test_every_parameter_is_an_option_or_left_out_for_a_reason():
    found = options.parameters()
    for estimator, task in ((MLPClassifier, "classification"), (MLPRegressor, "regression")):
        for name, value in estimator().get_params().items():
            if name in options.LEFT_OUT:
                continue
            assert task in found[name].tasks, name
            changed = name in options.TABLE_DEFAULTS or name == "loss"
            assert changed or found[name].default == value, name
            assert found[name].about, name
    grouped = [name for names in options.GROUPS.values() for name in names]
    assert len(set(grouped)) == len(grouped)
    assert set(grouped) <= set(found)
    assert set(options.ABOUT) <= set(found)


def test_help_has_the_groups_the_defaults_and_examples(run):
    code, out, _ = run("train", "--help")
    assert code == 0
    for group in options.GROUPS:
        assert f"─ {group} ─" in out
    assert "chainrule train penguins.csv --target species" in out
    assert "--hidden-layer-sizes" in out
    flat = " ".join(re.sub(r"[│\s]+", " ", out).split())
    assert "Most epochs; for lbfgs, most iterations (default: 500)." in flat
    for command in ("evaluate", "predict"):
        assert f"chainrule {command} model.chainrule" in run(command, "--help")[1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("64,32", (64, 32)),
        ("100", 100),
        ("0.5", 0.5),
        ("1e-3", 0.001),
        ("none", None),
        ("true", True),
        ("relu,tanh", ("relu", "tanh")),
        ("balanced", "balanced"),
        ('{"a": 1}', {"a": 1}),
        (True, True),
    ],
)
def test_values_of_options(text, value):
    assert options.value_of("alpha", text) == value


@pytest.mark.parametrize(
    ("found", "value"), [([0.1, 0.9], (0.1, 0.9)), (7, 7), ("none", None), ("adam", "adam")]
)
def test_values_in_toml(found, value):
    assert options.value_in_toml("alpha", found) == value


def test_no_hidden_layers_can_be_asked_for():
    assert options.value_of("hidden_layer_sizes", "none") == ()


@pytest.mark.parametrize("text", ["", " ", ",", "64,,32", ",64"])
def test_an_option_without_a_value_is_not_taken_for_none(text):
    with pytest.raises(ValueError, match=r"--hidden-layer-sizes.*(is empty|nothing between)"):
        options.value_of("hidden_layer_sizes", text)
    assert options.value_of("hidden_layer_sizes", "64,") == (64,)


WRONG = [  # name, as an option, in TOML, what is said behind the name
    ("hidden_layer_sizes", "64x32", '"64x32"', "cannot be '64x32'; it takes a whole number of at"),
    ("hidden_layer_sizes", "64,a", '[64, "a"]', "cannot be 'a'; it takes a whole number of at"),
    ("hidden_layer_sizes", "64.5", "[64, [32]]", "cannot be "),
    ("hidden_layer_sizes", "64,-3", "[64, -3]", "cannot be -3"),
    ("hidden_layer_sizes", '{"a": 1}', "{a = 1}", "cannot be {'a': 1}"),
    ("max_iter", "many", '"20"', "cannot be '"),
    ("alpha", "true", "true", "cannot be true; it takes a number of at least 0"),
    ("alpha", "nan", "nan", "cannot be nan"),
    ("momentum", "2", "-1", "it takes a number of at least 0 and at most 1"),
    ("dropout", "0.1,x", '[0.1, "x"]', "cannot be 'x'; it takes a number of at least 0 and below"),
    ("activation", "relu,tanhh", '["relu", "tanhh"]', "cannot be 'tanhh'; did you mean 'tanh'?"),
    ("activation", "relu,3", '["relu", 3]', "cannot be 3"),
    ("solver_options", '{"beta_1": "x"}', '{beta_1 = "x"}', ": what stands for 'beta_1' is no"),
    ("class_weight", '{"Adelie": [1]}', "{Adelie = [1]}", ": what stands for 'Adelie' is no"),
    ("class_weight", '{"Adelie": -1}', "{Adelie = -1}", ": the weight of 'Adelie' must be at"),
    ("validation_fraction", "0", "0.999", ": "),
    ("batch_size", "0", "1.5", "cannot be "),
]


@pytest.mark.parametrize(("name", "given", "in_toml", "message"), WRONG)
def test_a_wrong_value_is_told_by_the_option_or_the_key(
    folder, run, tmp_path, name, given, in_toml, message
):
    where, _ = folder
    start = ("train", where / "penguins.csv", "--target", "species")
    code, out, err = run(*start, options.option(name), given)
    assert (code, out) == (2, "")
    assert err.startswith(f"chainrule: {options.option(name)}{' ' * message.startswith('cannot')}")
    assert message in err
    assert err.count("\n") == 1
    (tmp_path / "s.toml").write_text(f"{name} = {in_toml}\n")
    code, out, err = run(*start, "--config", "s.toml")
    assert (code, out) == (2, "")
    assert err.startswith(f"chainrule: s.toml: {name}{' ' * message.startswith('cannot')}")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--solver", "lbfgs", "--dropout", "0.2"), "--dropout 0.2 has no meaning for --solver lb"),
        (("--hidden-layer-sizes", "none", "--dropout", "0.2"), "--dropout 0.2 needs a hidden"),
        (("--hidden-layer-sizes", ","), "--hidden-layer-sizes: there is nothing between"),
        (("--scoring", "acuracy"), "--scoring acuracy is not known; did you mean 'accuracy'"),
        (("--class-weight", "{" * 5), "--class-weight: this is no JSON"),
        (("--solver-options", '{"a":' * 5000), "--solver-options: "),
    ],
)
def test_settings_that_do_not_go_together_are_told_as_options(folder, run, given, message):
    where, _ = folder
    code, out, err = run("train", where / "penguins.csv", "--target", "species", *given)
    assert (code, out) == (2, "")
    assert err.startswith(f"chainrule: {message}")
    assert err.count("\n") == 1


def test_settings_are_read_as_toml_reads_them(tmp_path):
    text = 'alpha = 0.5\nclass-weight = {a = 2}\nactivation = ["relu", "tanh"]\n'
    (tmp_path / "s.toml").write_text(text)
    found = options.read_config(tmp_path / "s.toml", {}, "train")
    assert found == {name.replace("-", "_"): v for name, v in tomllib.loads(text).items()}
    with pytest.raises(ValueError, match="cannot be read"):
        options.read_config(tmp_path / "none.toml", {}, "train")


def test_the_target_has_one_short_name_in_every_command(run):
    for command in ("train", "evaluate", "doctor"):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert re.search(r"--target\s+-t\b", out), command


def test_train_says_what_holds_the_training_back(run, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    frame = pd.DataFrame(x, columns=["a", "b"]).assign(side=np.where((x**2).sum(1) > 1.4, "o", "i"))
    frame.to_csv(tmp_path / "rings.csv", index=False)
    options = ["--learning-rate-init", "1e-6", "--max-iter", "20", "--force"]
    code, out, _ = run("train", "rings.csv", "-t", "side", *options)
    assert code == 0
    assert "Found learning-rate-low: The learning rate 1e-06 is too small" in " ".join(out.split())
    _, out, _ = run("train", "rings.csv", "-t", "side", "--json", *options)
    assert "learning-rate-low" in [each["code"] for each in json.loads(out)["findings"]]


def test_quiet_training_looks_for_nothing_that_it_does_not_say(run, tmp_path, monkeypatch):
    looked = []

    def diagnose(*given, **more):
        looked.append(given)
        return []

    monkeypatch.setattr("chainrule.explain.diagnosing.diagnose", diagnose)
    tables_data.penguins().to_csv(tmp_path / "p.csv", index=False)
    options = ("--max-iter", "2", "--engine", "numpy", "--force")
    for more, times in ((["--quiet"], 0), (["--quiet", "--json"], 1)):
        code, _, err = run("train", "p.csv", "-t", "species", *options, *more)
        assert code == 0, err
        assert len(looked) == times
