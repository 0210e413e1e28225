"""ONNX graphs predict as the model does in onnxruntime: ours, and those of our converters."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers import exports
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from chainrule import ACTIVATIONS, MLPClassifier, MLPRegressor, export
from chainrule.exports.columns import read_model
from chainrule.exports.steps import DisagreementError, ExportError

onnx = pytest.importorskip("onnx", reason="needs onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
pytest.importorskip("skl2onnx", reason="needs skl2onnx")


def session(graph):
    data = graph if isinstance(graph, bytes) else graph.SerializeToString()
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def ran(graph, X, dtype=np.float32):
    """Outputs by name; X goes in as one tensor, or column by column by name."""
    runs = session(graph)
    inputs = runs.get_inputs()
    if inputs[0].name == "X":
        feed = {"X": np.asarray(X, dtype)}
    else:
        feed = {}
        for one in inputs:
            column = np.array(exports.rows_of(X[[one.name]]), object)
            own = np.float64 if one.type == "tensor(double)" else dtype
            text = one.type == "tensor(string)"
            absent = np.array([[v is None] for v in column[:, 0]])
            feed[one.name] = np.where(absent, "", column) if text else column.astype(own)
    names = [one.name for one in runs.get_outputs()]
    return dict(zip(names, runs.run(None, feed), strict=True))


def test_graphs_of_every_kind_agree(tmp_path):
    for k, (name, model, X) in enumerate(exports.zoo()):
        path = tmp_path / f"m{k}.onnx"
        assert export(model, path, sample=X) < 1e-5, name
        found = ran(path.read_bytes(), X)
        values, labels = exports.expected(model, X)
        if labels is None:
            exports.compare(name, np.hstack(list(found.values())), (values, None))
        else:
            assert list(found) == ["label", "probabilities"]
            exports.compare(name, found["probabilities"], (values, labels))
            assert found["label"].tolist() == labels, name
            assert found["label"].dtype in (np.int64, object)


@settings(max_examples=15)
@given(
    hidden=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    activation=st.sampled_from(sorted(set(ACTIVATIONS) - {"exp"})),
    normalization=st.sampled_from([None, "batch", "layer"]),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
    seed=st.integers(0, 2**16),
)
def test_any_shape_and_weights_agree(
    tmp_path_factory, hidden, activation, normalization, scale, seed
):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(20, 3)).astype(np.float32).astype(float)
    settings = {"activation": activation, "normalization": normalization, **exports.SMALL}
    model = exports.fit(MLPClassifier(hidden, **settings), X, rng.integers(0, 3, 20))
    model.coefs_ = [W * scale for W in model.coefs_]
    path = tmp_path_factory.mktemp("onnx") / "m.onnx"
    export(model, path, sample=X)
    found = ran(path.read_bytes(), X)["probabilities"]
    assert np.abs(found - model.predict_proba(X)).max() < 1e-5


def test_a_graph_says_what_goes_in(tmp_path):
    X, y = exports.table(), np.arange(120) % 2
    columns = make_column_transformer(
        (SimpleImputer(), ["mass"]), (OneHotEncoder(handle_unknown="ignore"), ["island"])
    )
    model = exports.fit(make_pipeline(columns, MLPClassifier((3,), **exports.SMALL)), X, y)
    export(model, tmp_path / "m.onnx", sample=X)
    graph = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(graph, full_check=True)
    about = {prop.key: json.loads(prop.value) for prop in graph.metadata_props}
    assert about == {"columns": ["island", "mass"], "classes": [0, 1]}
    assert graph.producer_name == "chainrule"
    assert [one.name for one in graph.graph.input] == ["island", "mass"]


def test_columns_named_like_outputs_are_kept_apart(tmp_path):
    X = exports.table()[["island", "mass"]].fillna(0.0)
    X.columns = ["label", "probabilities"]
    encoder = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer((encoder, ["label"]), ("passthrough", ["probabilities"]))
    model = make_pipeline(columns, MLPClassifier((3,), **exports.SMALL))
    exports.fit(model, X, np.arange(120) % 2)
    export(model, tmp_path / "m.onnx", sample=X)
    found = ran((tmp_path / "m.onnx").read_bytes(), X)
    assert list(found) == ["label_1", "probabilities_1"]
    assert np.abs(found["probabilities_1"] - model.predict_proba(X)).max() < 1e-5


def test_what_the_model_refuses_gives_no_number(tmp_path):
    X = exports.table()[["island", "year"]]
    columns = make_column_transformer((OneHotEncoder(), ["island", "year"]))
    model = make_pipeline(columns, MLPClassifier((3,), **exports.SMALL))
    exports.fit(model, X, np.arange(120) % 2)
    export(model, tmp_path / "m.onnx", sample=X)
    strange = X[:3].copy()
    strange.loc[0, "island"], strange.loc[1, "year"] = "nowhere", 1999
    found = ran((tmp_path / "m.onnx").read_bytes(), strange)["probabilities"]
    assert np.isnan(found).all(axis=1).tolist() == [True, True, False]


def test_double_precision_helps_where_numbers_are_large(tmp_path):
    rng = np.random.default_rng(0)
    seconds = 1.7e9 + rng.uniform(0, 1e4, (100, 1))
    model = MLPRegressor(hidden_layer_sizes=(5,), max_iter=50, engine="numpy", random_state=0)
    exports.fit(model, seconds, np.sin(seconds[:, 0] / 1e3))
    with pytest.raises(DisagreementError, match="dtype='float64' may help"):
        export(model, tmp_path / "m.onnx", sample=seconds)
    assert not list(tmp_path.iterdir())
    export(model, tmp_path / "m.onnx", sample=seconds, dtype="float64")
    found = ran((tmp_path / "m.onnx").read_bytes(), seconds, np.float64)["variable"]
    assert np.abs(found[:, 0] - model.predict(seconds)).max() < 1e-5


def test_pipelines_beyond_our_own_steps_go_through_skl2onnx(tmp_path):
    X = exports.table()[["mass", "year", "island"]].fillna(4000.0)
    reduced = make_pipeline(StandardScaler(), PCA(1))
    columns = make_column_transformer(
        (reduced, ["mass", "year"]), (OneHotEncoder(handle_unknown="ignore"), ["island"])
    )
    model = make_pipeline(columns, MLPClassifier((3,), "mish", **exports.SMALL))
    exports.fit(model, X, np.arange(120) % 2)
    assert export(model, tmp_path / "m.onnx", sample=X) < 1e-5
    runs = session((tmp_path / "m.onnx").read_bytes())
    feed = {name: X[[name]].to_numpy(np.float32) for name in ("mass", "year")}
    feed["island"] = X[["island"]].to_numpy(object)
    _, found = runs.run(None, feed)
    assert np.abs(found - model.predict_proba(X)).max() < 1e-5
    with pytest.raises(ExportError, match=r"PCA on columns 'mass', 'year'.*give a sample"):
        export(model, tmp_path / "n.onnx")


def test_a_step_that_nobody_knows_is_named_with_its_column(tmp_path):
    X = exports.table()[["island", "mass"]].fillna(0.0)
    words = HashingVectorizer(n_features=4)
    columns = make_column_transformer((words, "island"), ("passthrough", ["mass"]))
    model = make_pipeline(columns, MLPClassifier((3,), **exports.SMALL))
    exports.fit(model, X, np.arange(120) % 2)
    with pytest.raises(
        ExportError, match="HashingVectorizer on column 'island' cannot be exported"
    ):
        export(model, tmp_path / "m.onnx", sample=X)
    assert not list(tmp_path.iterdir())


def converted(model, X, **options):
    import skl2onnx

    import chainrule.exports.skl2onnx  # noqa: F401

    return skl2onnx.to_onnx(model, X[:1], options={id(model.steps[-1][1]): options})


@pytest.fixture(scope="module")
def iris():
    X = exports.numbers(90)[:, :2].astype(np.float32)
    y = np.array(["a", "b", "c"])[(X[:, 0] > 0) * 1 + (X[:, 1] > 5)]
    model = make_pipeline(StandardScaler(), MLPClassifier((4,), "gelu", **exports.SMALL))
    return exports.fit(model, X, y), X


def test_converters_give_what_users_of_skl2onnx_expect(iris):
    model, X = iris
    own = model.predict_proba(X)
    plain = ran(converted(model, X, zipmap=False), X)
    assert list(plain) == ["label", "probabilities"]
    assert np.abs(plain["probabilities"] - own).max() < 1e-5
    assert plain["label"].tolist() == model.predict(X).tolist()
    dicts = ran(converted(model, X), X)["output_probability"]
    assert list(dicts[0]) == ["a", "b", "c"]
    assert np.abs([list(one.values()) for one in dicts] - own).max() < 1e-5
    columns = ran(converted(model, X, zipmap="columns"), X)
    assert list(columns)[1:] == ["sa", "sb", "sc"]
    assert np.abs(columns["sb"] - own[:, 1]).max() < 1e-5
    numbered = ran(converted(model, X, nocl=True, zipmap=False), X)["label"]
    assert [model.classes_[k] for k in numbered] == model.predict(X).tolist()
    labelled = ran(converted(model, X, output_class_labels=True, zipmap=False), X)
    assert labelled["class_labels"].tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("zipmap", [True, False])
def test_converters_take_double_precision_too(iris, zipmap):
    model, X = iris
    X = X.astype(np.float64)
    found = list(ran(converted(model, X, zipmap=zipmap), X, np.float64).values())[1]
    found = np.array([list(one.values()) for one in found]) if zipmap else found
    assert np.abs(found - model.predict_proba(X)).max() < 1e-5


def test_converters_work_inside_a_vote(iris):
    import skl2onnx

    import chainrule.exports.skl2onnx  # noqa: F401

    model, X = iris
    voters = [(str(k), MLPClassifier((k,), "selu", **exports.SMALL)) for k in (2, 3)]
    vote = VotingClassifier(voters, voting="soft", flatten_transform=False)
    exports.fit(vote, X, model.predict(X))
    graph = skl2onnx.to_onnx(vote, X[:1], options={id(vote): {"zipmap": False}})
    assert np.abs(ran(graph, X)["probabilities"] - vote.predict_proba(X)).max() < 1e-5


def test_converters_take_labels_and_regressors_of_every_kind():
    import skl2onnx

    import chainrule.exports.skl2onnx  # noqa: F401

    for name, model, given_X in exports.zoo():
        if hasattr(model, "steps"):
            continue
        X = np.asarray(given_X, np.float32)
        options = {id(model): {"zipmap": False}} if hasattr(model, "classes_") else None
        graph = skl2onnx.to_onnx(model, X[:1], options=options)
        outputs = list(ran(graph, X).values())
        values, labels = exports.expected(model, X.astype(float))
        if labels is None:  # no operator for predictions has a second output
            values = np.asarray(model.predict(X.astype(float))).reshape(len(X), -1)
            exports.compare(name, outputs[0], (values, None))
        else:
            exports.compare(name, outputs[1], (values, labels))
            assert outputs[0].tolist() == labels, name
        shape = session(graph).get_outputs()[-1].shape
        assert shape[1] == values.shape[1], name


def test_converters_refuse_several_class_targets():
    import skl2onnx

    import chainrule.exports.skl2onnx  # noqa: F401

    X = exports.numbers()
    y = np.stack([np.arange(60) % 3, np.arange(60) % 2], axis=1)
    model = exports.fit(MLPClassifier((3,), **exports.SMALL), X, y)
    with pytest.raises(ValueError, match="fit one for each target"):
        skl2onnx.to_onnx(model, X[:1])


def test_what_is_read_has_no_columns_left_out():
    X = exports.table()
    model = exports.fit(
        make_pipeline(
            make_column_transformer((SimpleImputer(), ["mass"])), MLPRegressor(**exports.SMALL)
        ),
        X,
        np.arange(120.0),
    )
    assert [column.name for column in read_model(model).columns] == ["mass"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_infinite_numbers_are_squashed_as_by_the_model(dtype, tmp_path):
    tabular = pytest.importorskip("chainrule.estimators.tabular", reason="needs tabular_pipeline")
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=200), "b": rng.normal(size=200)})
    y = np.where(X.a + X.b > 0, "p", "q")
    model = tabular.tabular_pipeline(max_iter=20, engine="numpy", random_state=0)
    exports.fit(model, X, y)
    export(model, tmp_path / "m.onnx", sample=X, dtype=dtype)
    hard = pd.DataFrame({"a": [np.inf, -np.inf, 1e30, 0.5], "b": [0.0, 0.1, np.inf, -np.inf]})
    found = ran((tmp_path / "m.onnx").read_bytes(), hard, dtype)
    expected = model.predict_proba(hard)
    np.testing.assert_allclose(found["probabilities"], expected, rtol=0, atol=1e-5)
    assert found["label"].tolist() == model.predict(hard).tolist()
