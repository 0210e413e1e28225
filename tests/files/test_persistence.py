"""Model files hold what was saved, to the bit, and nothing but what they should."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import subprocess
import sys
import warnings
import zipfile
from datetime import UTC, datetime

import numpy as np
import pytest
from helpers.models import MODELS, THREE, X, classifier, fitted, regressor
from sklearn.base import clone

import chainrule
from chainrule import (
    Activation,
    Checkpoint,
    Loss,
    MLPClassifier,
    ModelFileError,
    Network,
    load,
    read_header,
    save,
)
from chainrule.equations.activations import relu, relu_pullback
from chainrule.equations.layers import AFFINE, batch_norm, dropout, layer_norm, standardize
from chainrule.equations.losses import squared_error


def same(a, b):
    """Equal in value, type, dtype and NaN, all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return (
            a.dtype == b.dtype
            and a.shape == b.shape
            and (a.tobytes() == b.tobytes() if a.dtype != object else a.tolist() == b.tolist())
        )
    if type(a) in (list, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, np.random.RandomState):
        return same(a.get_state(), b.get_state())
    if isinstance(a, float) and a != a:
        return b != b
    if hasattr(a, "equals"):
        return a.equals(b)
    return a == b or (type(a).__module__ != "builtins" and said(a) == said(b))


def said(thing):
    """Its repr, without addresses."""
    return re.sub(r" at 0x\w+", "", repr(thing))


def same_predictions(a, b, data):
    for name in ("predict", "predict_proba", "decision_function", "transform"):
        if hasattr(a, name) and (name != "transform" or a._hidden()):
            assert same(getattr(a, name)(data), getattr(b, name)(data)), name


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_estimator_is_the_one_that_was_saved(name, tmp_path):
    model, data = fitted(MODELS[name]), MODELS[name][1]
    path = tmp_path / "a.chainrule"
    save(model, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load(path)
    assert type(loaded) is type(model)
    given, found = model.get_params(), loaded.get_params()
    assert list(given) == list(found)
    for key in given:
        assert same(given[key], found[key]), key
    public = [key for key in vars(model) if key.endswith("_") and not key.startswith("_")]
    assert sorted(public) == sorted(k for k in vars(loaded) if k.endswith("_") and k[0] != "_")
    for key in public:
        assert same(getattr(model, key), getattr(loaded, key)), key
    same_predictions(model, loaded, data)
    assert said(clone(loaded)) == said(clone(model))
    assert os.listdir(tmp_path) == ["a.chainrule"]


@pytest.mark.parametrize(
    "name", ["three classes", "several labels", "batch norm", "an average", "holes", "quantiles"]
)
def test_training_goes_on_as_it_would_have(name, tmp_path):
    """partial_fit and warm_start after loading end where they would have from a pickle."""
    import pickle

    model, (_, data, y) = fitted(MODELS[name]), MODELS[name]
    save(model, tmp_path / "a.chainrule")
    for go_on in (
        lambda est: est.partial_fit(data, y, n_epochs=2),
        lambda est: fitted((est.set_params(warm_start=True), data, y)),
    ):
        ends = [
            go_on(est)
            for est in (load(tmp_path / "a.chainrule"), pickle.loads(pickle.dumps(model)))
        ]
        same_predictions(*ends, data)
        assert ends[0].loss_curve_ == ends[1].loss_curve_


def test_an_estimator_that_is_not_fitted(tmp_path):
    save(classifier(alpha=0.25)[0], tmp_path / "a.chainrule")
    loaded = load(tmp_path / "a.chainrule")
    assert loaded.alpha == 0.25
    assert not hasattr(loaded, "coefs_")
    fitted((loaded, X, THREE))


def test_a_frame_s_column_names(tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(X, columns=["ä", "b", "c d", '"'])
    model = fitted((classifier()[0].set_output(transform="pandas"), frame, THREE))
    save(model, tmp_path / "a.chainrule")
    loaded = load(tmp_path / "a.chainrule")
    same_predictions(model, loaded, frame)
    assert type(loaded.transform(frame)) is pandas.DataFrame
    assert [one["name"] for one in read_header(tmp_path / "a.chainrule")["columns"]] == [*frame]
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame[["b", "ä", "c d", '"']])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_networks(dtype, tmp_path):
    rng = np.random.default_rng(0)
    network = Network(
        (3, 3, 4, 4, 4, 4, 2),
        activation=["identity", "identity", "gelu", "tanh", "relu"],
        loss="cross_entropy",
        dtype=dtype,
        seed=0,
        layers=[
            standardize(rng.random(3), np.ones(3)),
            AFFINE,
            batch_norm(),
            layer_norm(),
            dropout(0.3, 5),
            AFFINE,
        ],
    )
    data = rng.standard_normal((20, 3))
    chainrule.train(network, data, np.eye(2)[rng.integers(0, 2, 20)], epochs=2, engine="numpy")
    save(network, tmp_path / "a.chainrule")
    loaded = load(tmp_path / "a.chainrule")
    assert same(loaded.predict(data), network.predict(data))
    assert same(loaded.theta, network.theta)
    assert same(loaded.constants, network.constants)
    assert repr(loaded) == repr(network)


def twice(z, a):
    a[:] = 2 * z


def twice_pullback(z, a, delta):
    delta *= 2


MINE = Activation("twice", twice, twice_pullback)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"activation": MINE}, r"activation: twice .*of yours.*use one of chainrule's"),
        ({"activation": ["relu", MINE], "hidden_layer_sizes": (2, 2)}, r"activation\.1: twice"),
        (
            {"activation": Activation("relu", relu, relu_pullback, ("x",))},
            r"activation: relu .*cannot",
        ),
        (
            {"loss": Loss("squared_error", squared_error, lambda z, a, y, d: None)},
            "loss: squared_error .*cannot",
        ),
        ({"learning_rate": lambda epoch: 1.0}, "learning_rate: .*cannot be stored.*no Python code"),
        ({"scoring": lambda est, X, y: 0.0}, "scoring: .*cannot be stored"),
        ({"callbacks": [lambda est, record: None]}, r"callbacks\.0: .*cannot"),
        ({"callbacks": [Checkpoint("x.npz")]}, r"callbacks\.0: .*callbacks=None"),
        ({"random_state": np.random.default_rng(0)}, "random_state: .*cannot"),
    ],
)
def test_code_cannot_be_stored(parameters, named, tmp_path):
    path = tmp_path / "a.chainrule"
    save(regressor()[0], path)
    before = path.read_bytes()
    with pytest.raises(ModelFileError, match=named):
        save(regressor(**parameters)[0], path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.chainrule"]


def test_what_is_no_model_of_ours(tmp_path):
    class Mine(MLPClassifier):
        pass

    for thing, named in ((Mine(), "Mine"), ([1], "builtins.list"), (MLPClassifier, "type")):
        with pytest.raises(ModelFileError, match=named):
            save(thing, tmp_path / "a.chainrule")
    assert os.listdir(tmp_path) == []


def test_a_model_whose_attributes_were_spoilt_replaces_nothing(tmp_path):
    path = tmp_path / "a.chainrule"
    model = fitted(classifier())
    save(model, path)
    before = path.read_bytes()
    model.coefs_[0] = model.coefs_[0][:, :2]
    with pytest.raises(ModelFileError, match=r"do not fit each other.*shapes"):
        save(model, path)
    model.coefs_[0] = np.full((4, 5), np.nan)
    with pytest.raises(ModelFileError, match="finite"):
        save(model, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("broken", ["fsync", "write", "replace"])
def test_the_old_file_survives_a_failure(broken, tmp_path, monkeypatch):
    path = tmp_path / "a.chainrule"
    save(fitted(classifier()), path)
    before = path.read_bytes()

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "no space left on device")

    if broken == "replace":
        monkeypatch.setattr(os, "replace", fail)
    elif broken == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr("chainrule.files.container.write_container", fail)
    with pytest.raises(OSError, match="no space left"):
        save(fitted(regressor()), path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.chainrule"]


def test_paths(tmp_path):
    model = classifier()[0]
    with pytest.raises(IsADirectoryError, match="folder"):
        save(model, tmp_path)
    with pytest.raises(FileNotFoundError):
        save(model, tmp_path / "none" / "a.chainrule")
    save(model, str(tmp_path / "ä b.chainrule"))
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save(model, tmp_path / "ä b.chainrule", overwrite=False)
    assert load(str(tmp_path / "ä b.chainrule")).max_iter == 4


def test_the_same_model_gives_the_same_bytes(tmp_path):
    model = fitted(classifier())
    for name in "ab":
        save(model, tmp_path / name, created=None)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "created" not in read_header(tmp_path / "a")
    save(model, tmp_path / "c", created=datetime(2024, 2, 29, 12, tzinfo=UTC))
    assert read_header(tmp_path / "c")["created"] == "2024-02-29T12:00:00Z"
    save(model, tmp_path / "d")
    written = datetime.fromisoformat(read_header(tmp_path / "d")["created"])
    assert abs((datetime.now(UTC) - written).total_seconds()) < 600


def test_the_header_tells_people_what_is_in_the_file(tmp_path):
    path = tmp_path / "a.chainrule"
    notes = {"target": "species", "metrics": {"accuracy": np.float64(0.9), "bad": float("nan")}}
    save(fitted(MODELS["validation"]), path, metadata=notes)
    header = read_header(path)
    assert header["kind"] == "estimator"
    assert header["model"] == "MLPClassifier"
    assert header["classes"] == ["b", "c", "ä"]
    assert header["metadata"] == {"target": "species", "metrics": {"accuracy": 0.9, "bad": None}}
    assert header["versions"]["chainrule"] == chainrule.__version__
    assert header["training"]["epochs"] == 4
    assert header["estimators"][0]["layers"]["sizes"] == [4, 5, 3]
    assert header["estimators"][0]["layers"]["n_parameters"] == 4 * 5 + 5 + 5 * 3 + 3
    raw = zipfile.ZipFile(path).read("header.json").decode()
    assert '  "classes": ["b", "c", "ä"],\n' in raw
    with pytest.raises(ModelFileError, match=r"metadata: .*not JSON serializable"):
        save(classifier()[0], path, metadata={"a": object()})


def test_other_tools_open_it(tmp_path):
    """It is a ZIP file, its sums are those that sha256sum checks, its weights are safetensors."""
    import safetensors.numpy

    path = tmp_path / "a.chainrule"
    model = fitted(classifier())
    save(model, path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["header.json", "weights.safetensors", "SHA256SUMS"]
        sums = archive.read("SHA256SUMS").decode().splitlines()
        assert sums == [
            f"{hashlib.sha256(archive.read(name)).hexdigest()}  {name}"
            for name in archive.namelist()[:2]
        ]
        weights = safetensors.numpy.load(archive.read("weights.safetensors"))
    assert same(weights["0.coefs_.1"], model.coefs_[1])


def test_reading_a_header_loads_no_heavy_library(tmp_path):
    save(fitted(classifier()), tmp_path / "a.chainrule")
    code = (
        "import sys, chainrule\n"
        f"print(chainrule.read_header({str(tmp_path / 'a.chainrule')!r})['model'])\n"
        "print([name for name in ('sklearn', 'scipy', 'skops', 'numba') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["MLPClassifier", "[]"]


def test_optimizer_state_is_kept_if_asked_for_only(tmp_path):
    sizes = []
    for keep in (False, True):
        save(fitted(classifier(keep_optimizer_state=keep)), tmp_path / "a")
        sizes.append((tmp_path / "a").stat().st_size)
    assert sizes[1] - sizes[0] > 3 * 8 * (4 * 5 + 5 + 5 * 3 + 3)
