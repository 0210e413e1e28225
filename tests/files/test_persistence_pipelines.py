"""Pipelines in model files: transformers of scikit-learn's and skrub's, estimators of ours."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import warnings
import zipfile
from functools import partial

import numpy as np
import pytest
from helpers.models import HOLES, NUMBER, THREE, X
from sklearn.compose import (
    ColumnTransformer,
    TransformedTargetRegressor,
    make_column_selector,
)
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)

import chainrule
from chainrule import MLPClassifier, MLPRegressor, ModelFileError, load, read_header, save
from chainrule.files.container import SUMS, sums_of, write_container

SMALL = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0, "engine": "numpy"}


def mlp(**parameters):
    return MLPClassifier(**SMALL, **parameters)


MIXED = np.column_stack([X[:, :2], np.digitize(X[:, 2], [-0.5, 0.5]), THREE != "b"]).astype(object)
CODES = MIXED.astype(float)
TEXTS = np.array([f"{name} and {i % 7}" for i, name in enumerate(THREE)], object)

PIPELINES = {
    "scaler": (make_pipeline(StandardScaler(), mlp()), X, THREE),
    "imputer": (
        make_pipeline(SimpleImputer(add_indicator=True), RobustScaler(), mlp()),
        HOLES,
        THREE,
    ),
    "columns": (
        make_pipeline(
            ColumnTransformer(
                [
                    ("a", make_pipeline(StandardScaler(), PowerTransformer()), [0]),
                    (
                        "b",
                        QuantileTransformer(n_quantiles=9, output_distribution="normal"),
                        slice(1, 2),
                    ),
                    ("c", OneHotEncoder(handle_unknown="ignore"), [2]),
                    ("d", OrdinalEncoder(), [3]),
                ],
                remainder="passthrough",
            ),
            mlp(),
        ),
        MIXED,
        THREE,
    ),
    "splines, bins and components": (
        make_pipeline(
            FeatureUnion([("s", SplineTransformer(3)), ("p", PCA(2)), ("b", KBinsDiscretizer(3))]),
            mlp(),
        ),
        X,
        THREE,
    ),
    "targets' means": (make_pipeline(TargetEncoder(random_state=0), mlp()), CODES[:, 2:], THREE),
    "texts": (make_pipeline(TfidfVectorizer(), mlp()), TEXTS, THREE),
    "target transformed": (
        TransformedTargetRegressor(
            make_pipeline(StandardScaler(), MLPRegressor(**SMALL)),
            transformer=QuantileTransformer(n_quantiles=9),
        ),
        X,
        NUMBER,
    ),
    "votes": (
        VotingClassifier(
            [("a", mlp()), ("b", LogisticRegression()), ("c", mlp(alpha=1))], voting="soft"
        ),
        X,
        THREE,
    ),
    "votes on numbers": (VotingRegressor([("a", MLPRegressor(**SMALL))]), X, NUMBER),
    "a stack": (
        StackingClassifier([("a", mlp())], final_estimator=mlp(), cv=2),
        X,
        THREE,
    ),
    "ours first": (
        Pipeline([("hidden", mlp()), ("scale", StandardScaler()), ("end", mlp())]),
        X,
        THREE,
    ),
}


def quietly(do):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return do()


def assert_kept(model, tmp_path, *tables):
    path = tmp_path / "a.chainrule"
    save(model, path)
    loaded = load(path)
    assert re.sub(" at 0x\\w+", "", repr(loaded)) == re.sub(" at 0x\\w+", "", repr(model))
    for data in tables:
        for name in ("predict", "predict_proba"):
            if hasattr(model, name):
                wanted = quietly(partial(getattr(model, name), data))
                got = quietly(partial(getattr(loaded, name), data))
                assert wanted.dtype == got.dtype
                assert wanted.tolist() == got.tolist()
    return loaded


@pytest.mark.parametrize("name", PIPELINES)
def test_a_loaded_pipeline_predicts_the_same(name, tmp_path):
    model, data, y = PIPELINES[name]
    quietly(lambda: model.fit(data, y))
    loaded = assert_kept(model, tmp_path, data)
    quietly(lambda: loaded.fit(data, y))  # it can be fitted anew
    assert read_header(tmp_path / "a.chainrule")["kind"] == "pipeline"


def test_one_estimator_in_two_places_stays_one(tmp_path):
    model = PIPELINES["votes"][0]
    quietly(lambda: model.fit(X, THREE))
    loaded = assert_kept(model, tmp_path, X)
    assert loaded.estimators_[0] is loaded.named_estimators_["a"]
    assert loaded.estimators_[0] is not loaded.estimators[0][1]
    assert not hasattr(loaded.estimators[0][1], "coefs_")
    assert model.estimators_[0].coefs_  # the model itself was not changed


def test_no_address_is_in_a_header(tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    chosen = make_column_selector(dtype_include="number")
    model = make_pipeline(ColumnTransformer([("a", StandardScaler(), chosen)]), mlp())
    quietly(lambda: model.fit(pandas.DataFrame(X), THREE))
    assert_kept(model, tmp_path, pandas.DataFrame(X))
    step = read_header(tmp_path / "a.chainrule")["steps"][0]["is"]
    assert step.endswith("StandardScaler(), make_column_selector())])")


def test_weights_stay_in_safetensors(tmp_path):
    """No weight, and no name of ours, is in what skops wrote."""
    model = PIPELINES["target transformed"][0]
    quietly(lambda: model.fit(X, NUMBER))
    save(model, tmp_path / "a", created=None)
    save(model, tmp_path / "b", created=None)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with zipfile.ZipFile(tmp_path / "a") as archive:
        inner = archive.read("pipeline.skops")
        header = json.loads(archive.read("header.json"))
    assert b"chainrule.estimators.classifier" not in inner
    assert b"MLPRegressor" not in inner
    # the parameter, which is not fitted, and the fitted pipeline's
    assert [one["class"] for one in header["estimators"]] == ["MLPRegressor"] * 2
    assert [one["fitted"] is None for one in header["estimators"]].count(True) == 1


REFUSED = {
    "FunctionTransformer": lambda: make_pipeline(FunctionTransformer(np.log1p), mlp()),
    "RandomForestClassifier": RandomForestClassifier,
    "BaggingClassifier": lambda: BaggingClassifier(mlp()),
    "test_persistence_pipelines": lambda: make_pipeline(Mine(), mlp()),
    "best_estimator_": lambda: GridSearchCV(mlp(), {"alpha": [1e-4, 1e-3]}, cv=2).fit(X, THREE),
    "memory": lambda: Pipeline([("a", StandardScaler()), ("b", mlp())], memory="/tmp/x"),
    "reads files": lambda: make_pipeline(TfidfVectorizer(input="filename"), mlp()),
}


class Mine(StandardScaler):
    pass


@pytest.mark.parametrize("named", REFUSED)
def test_what_cannot_be_stored(named, tmp_path):
    model = quietly(REFUSED[named])
    with pytest.raises(ModelFileError, match=named):
        save(model, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def penguins():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    palmerpenguins = pytest.importorskip("palmerpenguins", reason="palmerpenguins is not installed")
    pytest.importorskip("skrub", reason="skrub is not installed")
    frame = palmerpenguins.load_penguins().sample(90, random_state=0).reset_index(drop=True)
    rng = np.random.default_rng(0)
    n = len(frame)
    days = pandas.to_timedelta(rng.integers(0, 900, n), unit="D")
    frame["seen"] = pandas.Timestamp("2008-01-01") + days
    frame["written"] = frame["seen"].dt.strftime("%Y-%m-%d")
    frame["note"] = [f"nest {i} · {name} ä" for i, name in enumerate(frame["island"])]
    frame["kind"] = frame["island"].astype("category")
    frame["ringed"] = rng.random(n) > 0.5
    frame["holes"] = np.where(rng.random(n) < 0.3, "N/A", frame["sex"].fillna("?"))
    frame["weight "] = frame["body_mass_g"].map(lambda g: f"{g:.0f}" if g == g else None)
    frame["never"] = np.nan
    return frame.drop(columns="species"), frame["species"]


def tables():
    import skrub
    from skrub import tabular_pipeline

    yield "strings", tabular_pipeline(mlp())
    hashes = tabular_pipeline(mlp(missing="indicator"))
    yield (
        "hashes",
        hashes.set_params(tablevectorizer__high_cardinality=skrub.MinHashEncoder(n_components=4)),
    )
    dropped = tabular_pipeline(mlp())
    yield "dropped", dropped.set_params(tablevectorizer__high_cardinality="drop")
    yield (
        "circles",
        make_pipeline(
            skrub.Cleaner(drop_if_constant=True),
            skrub.TableVectorizer(datetime=skrub.DatetimeEncoder(periodic_encoding="circular")),
            SimpleImputer(),
            mlp(),
        ),
    )


@pytest.mark.parametrize("k", range(4))
def test_pipelines_of_skrub_s_on_a_table(k, penguins, tmp_path):
    name, model = list(tables())[k]
    frame, y = penguins
    quietly(lambda: model.fit(frame, y))
    fresh = frame.sample(50, random_state=1).assign(note="never seen", island="Ålesund")
    assert_kept(model, tmp_path, frame, fresh)
    header = read_header(tmp_path / "a.chainrule")
    assert [one["name"] for one in header["columns"]] == [*frame], name
    assert header["versions"]["skrub"]
    if name != "circles":
        assert {"name": "seen", "kind": "date"} in header["columns"]


# Names that the file, skops, JSON or our own encoding give a meaning.
NAMES = [
    *("file", "profile", "key_types", "__id__", "__loader__", "__module__", "__class__"),
    *("content", "type", "shape", "is_json", "protocol", "_skops_version", "schema.json", "0.npy"),
    *("$float", "$array", "$dict", "$tuple", "$labels", "$numpy", "$random_state", "arguments"),
    *("dtype", "0.coefs_.0", "own", "format", "version", "kind", "estimators", "columns"),
    *("header.json", "SHA256SUMS", "__metadata__", "null", "1", "missing", "prediction", "a\nb"),
    *(
        "__proto__",
        "constructor",
        'a"b',
        "\x00chainrule estimator 0",
        "\x00chainrule estimator text ",
    ),
]


@pytest.mark.parametrize("name", NAMES)
def test_whatever_the_data_s_names_are_a_model_is_kept(name, tmp_path):
    import pandas as pd

    from chainrule import MLPClassifier, tabular_pipeline

    rng = np.random.default_rng(0)
    small = {"max_iter": 2, "engine": "numpy", "random_state": 0}
    words = [f"{name} w{i % 7} {name}s {i}" for i in range(60)]
    frame = pd.DataFrame(
        {
            name: rng.normal(size=60),
            "level": rng.choice([name, "other", "third"], 60),
            "words": words,
        }
    )
    labels = np.array([name, "q"] * 30, dtype=object)
    pipeline = tabular_pipeline("classification", kinds={"words": "text"}, **small)
    plain = MLPClassifier((2,), class_weight={name: 2.0, "q": 1.0}, **small)
    numbers = frame[[name]].assign(z=1.0)
    for model, table in ((pipeline, frame), (plain, numbers)):
        if name == "1" and model is plain:
            continue  # see the tests of class weights
        quietly(lambda model=model, table=table: model.fit(table, labels))
        save(model, tmp_path / "m.chainrule")
        again = load(tmp_path / "m.chainrule")
        assert (again.predict_proba(table) == model.predict_proba(table)).all()
        assert list(again.classes_) == list(model.classes_)


@pytest.mark.parametrize("home", ["/proc/none", "/dev/null/x"])
@pytest.mark.skipif(not os.path.exists("/proc/self"), reason="needs Linux")
def test_a_home_that_cannot_be_written_costs_nothing(home, penguins, tmp_path):
    from chainrule import tabular_pipeline

    frame, y = penguins
    model = quietly(
        lambda: tabular_pipeline("classification", max_iter=2, engine="numpy").fit(frame, y)
    )
    save(model, tmp_path / "m.chainrule")
    code = "import sys, chainrule; print(type(chainrule.load(sys.argv[1])[-1]).__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "m.chainrule"],
        env={**os.environ, "HOME": home},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "MLPClassifier", done.stderr


def test_a_table_of_polars_s(penguins, tmp_path):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    _, model = next(tables())
    frame = polars.DataFrame(
        {key: column.tolist() for key, column in penguins[0][["note", "island", "year"]].items()}
    )
    quietly(lambda: model.fit(frame, penguins[1].to_numpy()))
    assert_kept(model, tmp_path, frame)


def changed(path, change):
    """The same file, with another schema in what skops wrote, and everything sealed again."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name != SUMS}
    with zipfile.ZipFile(io.BytesIO(members["pipeline.skops"])) as archive:
        inner = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(inner["schema.json"])
    schema = change(schema, inner) or schema
    inner["schema.json"] = json.dumps(schema).encode()
    file = io.BytesIO()
    write_container(file, inner)
    members["pipeline.skops"] = file.getvalue()
    with open(path, "wb") as file:
        write_container(file, {**members, SUMS: sums_of(members)})


def node(loader, module, name, **rest):
    return {"__loader__": loader, "__module__": module, "__class__": name, **rest}


def nothing(text="1"):
    return node("JsonNode", "builtins", "str", content=text)


def attribute(schema, value):
    schema["content"]["content"]["verbose"] = value


ATTACKS = {
    "posix.system": lambda s, _: attribute(s, node("FunctionNode", "posix", "system")),
    "builtins.eval": lambda s, _: attribute(s, node("TypeNode", "builtins", "eval")),
    "antigravity.x": lambda s, _: attribute(s, node("ObjectNode", "antigravity", "x")),
    "functools.partial": lambda s, _: attribute(
        s, node("PartialNode", "functools", "partial", content={})
    ),
    "operator.methodcaller": lambda s, _: attribute(
        s, node("OperatorFuncNode", "operator", "methodcaller", attrs=nothing('["x"]'))
    ),
    "sklearn.pipeline.Pipeline": lambda s, _: attribute(
        s, node("MethodNode", "sklearn.pipeline", "Pipeline", content={"func": "fit"})
    ),
    "subprocess.Popen": lambda s, _: attribute(
        s, node("ConstructorFromReduceNode", "subprocess", "Popen", content=nothing('["true"]'))
    ),
    "_forest.RandomForestClassifier": lambda s, _: attribute(
        s, node("ObjectNode", "sklearn.ensemble._forest", "RandomForestClassifier")
    ),
    "sklearn.tree._tree.Tree": lambda s, _: attribute(
        s, node("TreeNode", "sklearn.tree._tree", "Tree")
    ),
    "_function_transformer.FunctionTransformer": lambda s, _: attribute(
        s, node("ObjectNode", "sklearn.preprocessing._function_transformer", "FunctionTransformer")
    ),
    "in protocol 0 of skops": lambda s, _: s.update(protocol=0),
    "a node that is not there": lambda s, _: attribute(s, {"__id__": 10**6}),
    "one node twice": lambda s, _: attribute(s, {**nothing(), "__id__": 1}),
    "a node whose number is none": lambda s, _: attribute(s, {**nothing(), "__id__": [1]}),
    "no node": lambda s, _: attribute(s, 7),
    "damaged JsonNode": lambda s, _: attribute(s, {**nothing(), "file": "../../etc/passwd"}),
    "damaged NdArrayNode": lambda s, _: attribute(
        s, node("NdArrayNode", "numpy", "ndarray", type="numpy", file="../../../etc/passwd")
    ),
    "nested too deep": lambda s, _: attribute(s, deep(300)),
    "keeps results in a folder": lambda s, _: s["content"]["content"].update(
        memory=nothing('"/x"')
    ),
    "nothing in its preprocessing uses 99.npy": lambda s, inner: inner.update(
        {"99.npy": inner["0.npy"]}
    ),
    "0.npy is no array": lambda s, inner: inner.update(
        {"0.npy": inner["0.npy"].replace(b"<f8", b"|O8")}
    ),
    "0.npy has other numbers than its shape": lambda s, inner: inner.update(
        {"0.npy": inner["0.npy"] + bytes(8)}
    ),
    "is no array of numbers": lambda s, inner: inner.update({"0.npy": b"PK\3\4" * 100}),
}


def deep(n):
    found = nothing()
    for _ in range(n):
        found = node("ListNode", "builtins", "list", content=[found])
    return found


@pytest.mark.parametrize("says", ATTACKS)
def test_hostile_pipelines(says, tmp_path):
    path = tmp_path / "a.chainrule"
    model = quietly(lambda: make_pipeline(StandardScaler(), mlp()).fit(X, THREE))
    save(model, path)
    changed(path, lambda schema, inner: None)
    load(path)
    changed(path, ATTACKS[says])
    with pytest.raises(ModelFileError, match=says.replace(".", r"\.")):
        load(path)


def test_a_spline_that_would_read_beyond_its_memory(tmp_path):
    path = tmp_path / "a.chainrule"
    model = quietly(lambda: make_pipeline(SplineTransformer(4), mlp()).fit(X, THREE))
    save(model, path)

    def lengthen(schema, inner):
        text = json.dumps(schema)
        assert text.count('"k": {') >= 1
        where = text.index('"k": {')
        end = text.index("}", where)
        return json.loads(text[:where] + '"k": ' + json.dumps(nothing("1000")) + text[end + 1 :])

    changed(path, lengthen)
    with pytest.raises(ModelFileError):
        load(path)


def test_a_tree_with_more_ways_than_anyone_can_go(tmp_path):
    """Sixty lists, each twice in the next: 2⁶⁰ ways to the first of them, and no time lost."""
    path = tmp_path / "a.chainrule"
    model = quietly(lambda: make_pipeline(StandardScaler(), mlp()).fit(X, THREE))
    save(model, path)
    found = {**node("ListNode", "builtins", "list", content=[nothing()]), "__id__": 9000}
    for i in range(9001, 9060):
        content = [found, {"__id__": i - 1}]
        found = {**node("ListNode", "builtins", "list", content=content), "__id__": i}
    changed(path, lambda schema, inner: attribute(schema, found))
    loaded = load(path)
    assert loaded.predict(X).tolist() == model.predict(X).tolist()


def test_a_tree_that_goes_round_in_circles(tmp_path):
    path = tmp_path / "a.chainrule"
    save(quietly(lambda: make_pipeline(StandardScaler(), mlp()).fit(X, THREE)), path)
    circle = {**node("ListNode", "builtins", "list", content=[{"__id__": 9000}]), "__id__": 9000}
    changed(path, lambda schema, inner: attribute(schema, circle))
    with pytest.raises(ModelFileError, match="RecursionError"):
        load(path)


def test_trusted_types_are_published():
    assert tuple(sorted(set(chainrule.TRUSTED_TYPES))) == chainrule.TRUSTED_TYPES
    assert "sklearn.preprocessing._data.StandardScaler" in chainrule.TRUSTED_TYPES
    for unsafe in ("Function", "eval", "system", "_forest", "Tree.", "MLP"):
        assert not [name for name in chainrule.TRUSTED_TYPES if unsafe in name]


def test_trusted_types_exist():
    """Each name is something that is installed, or belongs to another release of skrub's."""
    import importlib

    missing = []
    for name in chainrule.TRUSTED_TYPES:
        module, _, last = name.rpartition(".")
        try:
            if not hasattr(importlib.import_module(module), last):
                missing.append(name)
        except ImportError:
            missing.append(name)
    assert missing == []
