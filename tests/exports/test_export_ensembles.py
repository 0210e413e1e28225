"""What tabular ensembles are exported as predicts as they do, whatever a cell holds."""

from __future__ import annotations

import re
import shutil
import warnings

import numpy as np
import pytest
from helpers import exports
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from chainrule import TabularClassifier, TabularRegressor, export, load, save, tabular_pipeline
from chainrule.exports.columns import read_model
from chainrule.exports.exporting import run_onnx
from chainrule.exports.graph import make_onnx
from chainrule.exports.steps import ExportError

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("skrub", reason="tables are an extra")

pytestmark = pytest.mark.once

QUICK = {"preset": "fast", "max_epochs": 3, "random_state": 0, "engine": "numpy"}
LEVELS = ["red", "blue", "grün", *exports.HOSTILE]


def table(n=200, seed=0):
    """A frame of every kind of column but free text, with holes; its numbers have few digits."""
    rng = np.random.default_rng(seed)
    when = pd.Series(pd.Timestamp("2019-11-30") + pd.to_timedelta(rng.integers(0, 40_000, n), "h"))
    frame = pd.DataFrame(
        {
            "size": np.where(rng.random(n) < 0.1, np.nan, rng.normal(5, 2, n).round(2)),
            "colour": pd.Series(rng.choice(LEVELS, n), dtype=object).mask(rng.random(n) < 0.1),
            "new": rng.random(n) < 0.5,
            "when": when.mask(rng.random(n) < 0.1),
            "count": rng.integers(0, 4, n) * 1_000_003,
            "code": [f"K{j:03d}" for j in rng.integers(0, 15, n)],
            "always": "x",
        }
    )
    z = frame["size"].fillna(4) + 3 * (frame["colour"] == "red") + 0.1 * frame["when"].dt.month
    return frame, z.fillna(5).to_numpy()


def strange(n=40):
    """Other rows: levels that were never seen, more holes, numbers and dates far away."""
    X, _ = table(n, seed=1)
    X = X.astype({"new": object})
    X.loc[::5, "colour"] = "mauve"
    X.loc[1::5, "code"] = None
    X.loc[2::5, ["size", "count"]] = [1e9, -5]
    X.loc[3::5, "when"] = pd.Timestamp("1969-12-31 23:59:59")
    X.loc[4::5, "new"] = None
    X.loc[4::10, ["size", "when", "count"]] = None
    return X


def rows_of(X):
    """The rows as programs take them."""
    X = X.assign(new=[None if new is None else str(new) for new in X["new"]])
    return exports.rows_of(X.drop(columns="always"))


@pytest.fixture(scope="module")
def models():
    """{name: (fitted model, X to predict, its rows)}."""
    X, z = table()
    few = (z // 2).astype(int)
    names = np.where(z > 6, exports.HOSTILE[1], "no")
    numbers = exports.numbers(150)
    holes = numbers.copy()
    holes[::7, 1] = np.nan
    made = {
        "two classes": (TabularClassifier(**QUICK), X, names),
        "whole numbers": (tabular_pipeline(TabularClassifier(**QUICK)), X, few),
        "one number": (tabular_pipeline(TabularRegressor(**QUICK)), X, 1e5 + z),
        "two numbers": (TabularRegressor(**QUICK), X, np.stack([z, -1000 * z], axis=1)),
        "array": (TabularClassifier(**QUICK), holes, few[:150]),
        "scaled": (make_pipeline(StandardScaler(), TabularRegressor(**QUICK)), holes, z[:150]),
    }
    found = {}
    for name, (model, given, y) in made.items():
        exports.fit(model, given, y)
        if name != "array":  # so that all parts are looked at; here those with a weight alone
            last = model[-1] if hasattr(model, "steps") else model
            last._blend.weights.update(step=0.5, smooth=0.3, linear=0.2)
        tried = strange() if given is X else given[:40]
        found[name] = model, tried, rows_of(tried) if given is X else exports.rows_of(tried)
    return found


def own(model, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # levels that were never seen
        return exports.expected(model, X)


def written(models, folder, suffix):
    cases = {}
    for k, (name, (model, X, rows)) in enumerate(models.items()):
        assert export(model, folder / f"m{k}.{suffix}", sample=X) < 1e-5
        cases[name] = [str(folder / f"m{k}.{suffix}"), rows]
    return cases


def check(models, found):
    for name, (model, X, _) in models.items():
        values, labels = own(model, X)
        exports.compare(name, np.array(found[name]["values"]), (values, labels))
        assert labels is None or found[name]["labels"] == labels, name


def test_python_files_agree(models, tmp_path):
    check(models, exports.run_python(tmp_path, written(models, tmp_path, "py")))


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_modules_agree(models, tmp_path):
    check(models, exports.run_node(tmp_path, written(models, tmp_path, "mjs")))


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
def test_c_files_agree(models, tmp_path):
    cases = written(models, tmp_path, "c")
    programs = {name: read_model(model) for name, (model, _, _) in models.items()}
    for name, program in programs.items():
        cases[name] += [program.kind, len(program.value_names), program.texts]
    found = exports.run_c(tmp_path, cases)
    for name, program in programs.items():
        best = found[name].pop("best").tolist()
        found[name]["labels"] = [program.classes[k] for k in best] if program.classes else None
    check(models, found)


def test_graphs_agree(models):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    found = {}
    for name, (model, _, rows) in models.items():
        program = read_model(model)
        graph = make_onnx(program)
        # The remark on exporting: graphs take texts without blanks around them.
        bare = [[v.strip() if isinstance(v, str) else v for v in row] for row in rows]
        values, labels = run_onnx(graph.SerializeToString(), graph, program, bare)
        found[name] = {"values": values, "labels": None if labels is None else labels.tolist()}
    check(models, found)


def test_a_model_from_a_file_is_exported_alike(models, tmp_path):
    model = models["whole numbers"][0]
    save(model, tmp_path / "m.chainrule")
    for name, one in (("a", model), ("b", load(tmp_path / "m.chainrule"))):
        (tmp_path / name).mkdir()
        export(one, tmp_path / name / "m.py")
    assert (tmp_path / "a" / "m.py").read_text() == (tmp_path / "b" / "m.py").read_text()


def test_what_cannot_be_exported_is_named_and_nothing_is_written(tmp_path):
    X, z = table(60)
    texts = X.assign(words=[f"a few words {j} that differ" for j in range(60)])
    after = make_pipeline(
        OrdinalEncoder().set_output(transform="pandas"), TabularRegressor(**QUICK)
    )
    dated = make_pipeline(
        StandardScaler().set_output(transform="pandas"), TabularRegressor(**QUICK)
    )
    dated[-1].set_params(kinds={"count": "categorical"})
    cases = [
        (
            TabularRegressor(**QUICK),
            texts,
            z,
            "free text in column 'words' cannot be exported; take",
        ),
        (TabularRegressor(**QUICK), X, np.ones(60), "a target that is always the same"),
        (dated, X[["size", "count"]], z, "column 'count' is taken as a category after other"),
        (TabularRegressor(**QUICK), None, None, "the model is not fitted yet"),
    ]
    for model, given, y, message in cases:
        if given is not None:
            exports.fit(model, given, y)
        for suffix in ("py", "c", "mjs", "onnx"):
            with pytest.raises(ExportError, match=re.escape(message)):
                export(model, tmp_path / f"m.{suffix}")
    assert not list(tmp_path.iterdir())
    exports.fit(after, X[["colour", "size"]].fillna({"colour": "red", "size": 1}), z)
    assert export(after, tmp_path / "m.py") < 1e-5  # the codes of texts are numbers
