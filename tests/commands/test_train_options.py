"""Every option of train, with each model: it has an effect, or is refused by name."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from chainrule.commands import options, settings
from chainrule.commands.cli import app
from chainrule.estimators.choosing import OF_ENSEMBLES

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("skrub", reason="tables are an extra")

pytestmark = pytest.mark.once

# What each parameter of a network may be, and the options that it goes with.
ADAM, SGD, LBFGS = {}, {"solver": "sgd"}, {"solver": "lbfgs"}
OF_NETWORKS = {
    "hidden_layer_sizes": ("7", {}),
    "activation": ("tanh", {}),
    "output_activation": ("softplus", {}),
    "init": ("he_normal", {}),
    "normalization": ("layer", {}),
    "standardize": ("true", {}),
    "loss": ("huber", {}),
    "class_weight": ("balanced", {}),
    "label_smoothing": ("0.2", {}),
    "quantile": ("0.9", {"loss": "quantile"}),
    "solver": ("sgd", {}),
    "learning_rate": ("cosine", {}),
    "learning_rate_init": ("0.5", {}),
    "batch_size": ("7", {}),
    "max_iter": ("3", {}),
    "time_limit": ("9", {}),
    "shuffle": (False, {}),
    "engine": ("numpy", {}),
    "early_stopping": (False, {}),
    "validation_fraction": ("0.3", {}),
    "n_iter_no_change": ("3", {}),
    "scoring": ("r2", {}),
    "tol": ("0.5", {}),
    "alpha": ("0.5", {}),
    "l1": ("0.5", {}),
    "weight_decay": ("0.5", {}),
    "dropout": ("0.5", {}),
    "input_noise": ("0.5", {}),
    "max_norm": ("0.5", {}),
    "ema_decay": ("0.5", {}),
    "power_t": ("0.3", {"learning_rate": "invscaling"}),
    "momentum": ("0.3", SGD),
    "nesterovs_momentum": (False, SGD),
    "beta_1": ("0.3", ADAM),
    "beta_2": ("0.3", ADAM),
    "epsilon": ("0.3", ADAM),
    "max_fun": ("3", LBFGS),
    "solver_options": ('{"rho": 0.5}', {"solver": "rmsprop"}),
    "clip_norm": ("0.5", {}),
    "clip_value": ("0.5", {}),
    "n_threads": ("1", {}),
    "keep_optimizer_state": (True, {}),
    "compat": ("sklearn", {}),
}
OF_CLASSES = ("class_weight", "label_smoothing")
# Options that say what is done with the result, how it is shown, or where; other tests have them.
ELSEWHERE = {"data", "target", "output", "model", "config", "curve", "as_json", "quiet", "force"}
ELSEWHERE |= {"dask"}
# The others: what is given, which of the two tables, and with what.
OTHERS = {
    "task": (["--task", "regression"], "i.csv"),
    "test_fraction": (["--test-fraction", "0.4"], "n.csv"),
    "cv": (["--cv", "3"], "n.csv"),
    "test": (["--test", "n.csv"], "n.csv"),
    "time": (["--time", "day"], "n.csv"),
    "group": (["--group", "who"], "n.csv"),
    "weight": (["--weight", "w"], "n.csv"),
    "positive": (["--positive", "yes"], "c.csv"),
    "cost": (["--cost", "1:5", "--positive", "yes"], "c.csv"),
    "precision": (["--precision", "0.7", "--positive", "yes"], "c.csv"),
    "ignore": (["--ignore", "x"], "n.csv"),
    "kind": (["--kind", "who=categorical"], "n.csv"),
    "max_levels": (["--max-levels", "9"], "n.csv"),
    "missing": (["--missing", "b"], "n.csv"),
    "date_format": (["--date-format", "day=%Y-%d-%m"], "n.csv"),
    "seed": (["--seed", "7"], "n.csv"),
    "table": (["--table", "two"], "t.sqlite"),
    "query": (["--query", "select x, y from two"], "t.sqlite"),
    "checkpoint_every": (["--checkpoint-every", "2"], "n.csv"),
    "resume": (["--resume", "m.state"], "n.csv"),
}


class StoppedError(Exception):
    """Raised instead of training."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("options")
    rng = np.random.default_rng(0)
    n = 120
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=n).round(3),
            "kind": rng.choice(["a", "b", None], n),
            "day": [f"2024-{m:02}-{d:02}" for m, d in rng.integers(1, 12, (n, 2))],
            "who": rng.integers(1, 15, n),
            "w": rng.integers(1, 4, n),
            "y": rng.normal(size=n),
        }
    )
    frame.to_csv(where / "n.csv", index=False)
    frame.assign(y=rng.choice(["no", "yes"], n)).to_csv(where / "c.csv", index=False)
    frame.assign(y=rng.integers(0, 3, n)).to_csv(where / "i.csv", index=False)
    with sqlite3.connect(where / "t.sqlite") as connection:
        for name, rows in (("one", frame), ("two", frame[:90])):
            rows.to_sql(name, connection, index=False)
    connection.close()
    (where / "m.state").write_text("no state")
    return where


known = {}  # what was found for these arguments


def asked(monkeypatch, folder, *arguments):
    """What train would do, in words; or the line with which it is refused."""
    if arguments not in known:
        known[arguments] = found(monkeypatch, folder, arguments)
    return known[arguments]


def found(monkeypatch, folder, arguments):
    """The same, not taken from what is known."""
    said = []

    def train(rows, made, plan, **more):
        more.pop("on_epoch")
        kept = {name: str(value) for name, value in more.items() if name != "tests"}
        kept["tests"] = more["tests"] is not None
        kept["parts"] = [[part.tolist() for part in parts] for parts in plan.parts]
        of_rows = [None if each is None else list(each) for each in rows.of_rows]
        cells = rows.X.to_csv()
        said.append(
            repr((cells, list(rows.y), rows.columns, rows.formats, rows.missing_texts, of_rows,
                  made.get_params(), plan.folds, plan.out_of_fold, kept))
        )  # fmt: skip
        raise StoppedError

    monkeypatch.chdir(folder)
    monkeypatch.setattr("chainrule.commands.jobs.train", train)
    done = CliRunner().invoke(app, ["train", *arguments, "-t", "y", "--quiet"])
    if said:
        return said[0]
    assert done.exit_code == 2, (arguments, done.exception, done.output)
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_all_options_are_listed_here():
    command = typer.main.get_command(app).commands["train"]
    names = {each.name for each in command.params} - {"help"}
    assert names == ELSEWHERE | OF_NETWORKS.keys() | OTHERS.keys()
    assert OF_NETWORKS.keys() == options.parameters().keys()


@pytest.mark.parametrize("model", ["fast", "network"])  # "tabular" is "fast", larger
@pytest.mark.parametrize("name", OTHERS)
def test_an_option_has_an_effect_or_is_refused(name, model, folder, monkeypatch):
    given, data = OTHERS[name]
    others = [data, "--model", model] + (["--table", "one"] if data == "t.sqlite" else [])
    if name in ("cost", "precision"):
        others += ["--positive", "yes"]
    given = [data, "--model", model, *given] if data == "t.sqlite" else [*others, *given]
    with_it, without = (asked(monkeypatch, folder, *each) for each in (given, others))
    if with_it.startswith("chainrule: "):
        option = "--" + name.replace("_", "-")
        assert option in with_it
        assert ("give --model network" in with_it) == (model != "network")
        assert name in ("max_levels", "checkpoint_every", "resume")
        assert model != "network" or name == "resume"  # the file is no state
    else:
        assert with_it != without


@pytest.mark.parametrize("name", ["table", "query"])
def test_parts_of_a_database_are_refused_where_there_is_none(name, folder, monkeypatch):
    said = asked(monkeypatch, folder, "n.csv", f"--{name}", "one")
    assert said.startswith("chainrule: ")
    assert f"--{name}" in said or "database" in said


@pytest.mark.parametrize("name", OF_NETWORKS)
def test_a_parameter_reaches_the_model_or_is_refused(name, folder, monkeypatch):
    value, company = OF_NETWORKS[name]
    flag = options.option(name)
    data = "c.csv" if name in OF_CLASSES else "n.csv"
    words = [flag, value] if isinstance(value, str) else [flag if value else f"--no-{flag[2:]}"]
    others = [word for key, each in company.items() for word in (options.option(key), each)]
    for model in ("tabular", "network"):
        rest = [data, "--model", model, *(others if model == "network" else [])]
        with_it = asked(monkeypatch, folder, *rest, *words)
        if with_it.startswith("chainrule: "):
            assert f"{flag} is a setting of a plain network; give --model network" in with_it
            assert model != "network"
            assert name not in OF_ENSEMBLES
        else:
            assert with_it != asked(monkeypatch, folder, *rest)
            assert model == "network" or name in OF_ENSEMBLES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--momentum", "0.5"], "--momentum has no effect with --solver adam"),
        (["--no-nesterovs-momentum", "--solver", "nadam"], "--nesterovs-momentum has no effect"),
        (
            ["--nesterovs-momentum", "--solver", "sgd", "--momentum", "0"],
            "--nesterovs-momentum has",
        ),
        (["--beta-1", "0.5", "--solver", "sgd"], "--beta-1 has no effect with --solver sgd"),
        (["--epsilon", "0.5", "--solver", "lbfgs"], "--epsilon has no effect with --solver lbfgs"),
        (["--power-t", "0.3"], "--power-t goes with --learning-rate invscaling"),
        (["--max-fun", "9"], "--max-fun goes with --solver lbfgs"),
        (["--batch-size", "9", "--solver", "lbfgs"], "--batch-size goes with a --solver other"),
        (["--validation-fraction", "0.2", "--no-early-stopping"], "goes with --early-stopping"),
        (["--scoring", "r2", "--no-early-stopping"], "--scoring goes with --early-stopping"),
        (["--quantile", "0.9"], "--quantile 0.9 goes with"),
    ],
    ids=str,
)
def test_a_parameter_that_others_leave_without_effect_is_refused(
    arguments, message, folder, monkeypatch
):
    said = asked(monkeypatch, folder, "n.csv", *arguments)
    assert message in said
    assert said.startswith("chainrule: ")


def test_the_same_in_a_file_of_settings(folder, monkeypatch):
    (folder / "s.toml").write_text("max_levels = 9\nmomentum = 0.5\n")
    said = asked(monkeypatch, folder, "n.csv", "--config", "s.toml")
    assert "s.toml: momentum has no effect with --solver adam" in said
    said = asked(monkeypatch, folder, "n.csv", "--config", "s.toml", "--model", "fast")
    assert "s.toml: momentum is a setting of a plain network" in said
    (folder / "o.toml").write_text('max_levels = 9\nmodel = "tabular"\n')
    said = asked(monkeypatch, folder, "n.csv", "--config", "o.toml")
    assert "o.toml: max_levels is a setting of a plain network" in said
    assert settings.SETTINGS.keys() <= OTHERS.keys() | ELSEWHERE
