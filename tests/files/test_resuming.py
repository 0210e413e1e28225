"""A fit that was killed and resumed ends in the same bits as one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from helpers.models import HOLES, LABELS, THREE, X, classifier, regressor
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from chainrule import (
    Checkpoint,
    CSVLog,
    EarlyStopping,
    MLPClassifier,
    ModelFileError,
    Plateau,
    Resume,
    load,
    load_checkpoint,
)

EPOCHS = 7
HELD_OUT = X[:20] + 0.01, THREE[:20]

FITS = {
    "adam": classifier(),
    "nesterov, adaptive": classifier(solver="sgd", learning_rate="adaptive", n_iter_no_change=1),
    "lion": classifier(solver="lion", clip_norm=1.0, max_norm=2.0, l1=1e-3),
    "dropout and noise": classifier(dropout=0.3, input_noise=0.1, batch_size=7),
    "batch norm": classifier(normalization="batch", batch_size=16),
    "layer norm, an average": regressor(normalization="layer", ema_decay=0.8, batch_size=16),
    "early stopping": classifier(early_stopping=True, n_iter_no_change=3, batch_size=9),
    "a scorer": classifier(early_stopping=True, scoring="f1_macro", n_iter_no_change=5),
    "inverse scaling": classifier(solver="sgd", learning_rate="invscaling"),
    "one cycle": classifier(learning_rate="one_cycle", batch_size=20),
    "plateau": regressor(learning_rate=Plateau(0.5, 1, tolerance=10.0)),
    "as in scikit-learn": classifier(compat="sklearn", batch_size=11),
    "in order": classifier(shuffle=False, batch_size=11),
    "float32": classifier(data=X.astype(np.float32), batch_size=16),
    "holes": classifier(data=HOLES, missing="indicator"),
    "sparse": classifier(data=sparse.csr_matrix(np.where(X > 0, X, 0))),
    "labels": classifier(LABELS),
    "quantiles": regressor(loss="quantile", quantile=[0.2, 0.8]),
    "a generator": classifier(random_state="RandomState"),
    "no seed": classifier(random_state=None, dropout=0.2, early_stopping=True),
    "callbacks": classifier(callbacks=[EarlyStopping("loss", patience=2, min_delta=0.05)]),
}


class KilledError(Exception):
    pass


def fresh(name):
    """An estimator as another process would make it, and its data."""
    model, data, y = FITS[name]
    parameters = model.get_params() | {"max_iter": EPOCHS}
    if parameters["random_state"] == "RandomState":
        parameters["random_state"] = np.random.RandomState(5)
    if parameters["callbacks"]:
        parameters["callbacks"] = [EarlyStopping("loss", patience=2, min_delta=0.05)]
    return type(model)(**parameters), data, y


def run(name, path, kill=None, every=1, **validation):
    model, data, y = fresh(name)
    keep = Resume(path, every=every)

    def killer(est, record):
        if record["epoch"] == kill:
            raise KilledError

    callbacks = [*(model.callbacks or []), keep, *([killer] if kill is not None else [])]
    model.set_params(callbacks=callbacks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kill is None:
            model.fit(data, y, **validation)
            return model, keep
        try:
            model.fit(data, y, **validation)
        except KilledError:
            return None, keep
    return model, keep  # it stopped before


def state_of(model):
    """All that a fit leaves, the seconds apart."""
    found = {}
    for name, value in model.__getstate__().items():
        if name in ("callbacks", "random_state", "_rng", "_label_binarizer", "history_"):
            continue
        found[name] = repr(_plain(value))
    found["history_"] = [{k: v for k, v in row.items() if k != "seconds"} for row in model.history_]
    if model.random_state is not None:
        found["_rng"] = repr(_plain(model._rng.get_state()))
    return found


def _plain(value):
    if isinstance(value, np.ndarray):
        return (
            value.dtype.str,
            value.shape,
            value.tobytes() if value.dtype != object else value.tolist(),
        )
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


@pytest.mark.bits
@pytest.mark.parametrize("name", FITS)
def test_the_same_bits(name, tmp_path):
    if name == "no seed":  # what the first fit drew is in the file alone
        np.random.seed(1)  # noqa: NPY002 - it is this generator that is meant
    whole, _ = run(name, tmp_path / "whole")
    if name == "no seed":
        np.random.seed(1)  # noqa: NPY002
    killed, _ = run(name, tmp_path / "state", kill=2)
    assert killed is None
    if name == "no seed":
        np.random.seed(99)  # noqa: NPY002
    resumed, keep = run(name, tmp_path / "state")
    assert keep.resumed_from_ == 2
    assert state_of(resumed) == state_of(whole)
    if name == "callbacks":
        first, second = (model.callbacks[0] for model in (whole, resumed))
        assert first.stopped_epoch_ is not None
        assert first.stopped_epoch_ == second.stopped_epoch_
        assert first.best_ == second.best_
    assert sorted(os.listdir(tmp_path)) == ["state", "whole"]


@pytest.mark.bits
@settings(max_examples=12)
@given(data=st.data())
def test_any_number_of_kills_at_any_epochs(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    name = data.draw(st.sampled_from(sorted(set(FITS) - {"no seed"})))
    every = data.draw(st.integers(1, 3))
    kills = data.draw(st.lists(st.integers(0, EPOCHS - 1), min_size=1, max_size=3))
    validation = {}
    if data.draw(st.booleans()) and name in ("adam", "batch norm", "one cycle"):
        validation = {"X_val": HELD_OUT[0], "y_val": HELD_OUT[1]}
    whole, _ = run(name, folder / "whole", **validation)
    for kill in kills:
        run(name, folder / "state", kill=kill, every=every, **validation)
    resumed, keep = run(name, folder / "state", every=every, **validation)
    assert keep.resumed_from_ % every == 0
    assert state_of(resumed) == state_of(whole)


@pytest.mark.bits
@pytest.mark.compiled
def test_the_same_bits_compiled(tmp_path):
    FITS["compiled"] = regressor(batch_size=16)
    FITS["compiled"][0].set_params(engine="numba")
    whole, _ = run("compiled", tmp_path / "whole")
    run("compiled", tmp_path / "state", kill=3, every=2)
    resumed, keep = run("compiled", tmp_path / "state", every=2)
    assert keep.resumed_from_ == 2
    assert state_of(resumed) == state_of(whole)


def test_a_state_of_other_kernels_is_told_and_goes_on(tmp_path, monkeypatch):
    def resumed(before, now):
        monkeypatch.setattr("chainrule.files.resuming.blas_kernels", lambda: before)
        run("adam", tmp_path / "state", kill=2)
        monkeypatch.setattr("chainrule.files.resuming.blas_kernels", lambda: now)
        model, data, y = fresh("adam")
        keep = Resume(tmp_path / "state")
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            model.set_params(callbacks=[keep]).fit(data, y)
        assert keep.resumed_from_ == 2
        (tmp_path / "state").unlink()
        return [str(one.message) for one in told if "kernels" in str(one.message)]

    (told,) = resumed(["openblas 0.3 Haswell"], ["openblas 0.3 SkylakeX"])
    assert "other BLAS kernels (openblas 0.3 Haswell; here openblas 0.3 SkylakeX)" in told
    assert not resumed(["a Haswell"], ["a Haswell"])
    assert not resumed(["a Haswell"], ["a Haswell", "mkl 2024"])


def test_the_kernels_are_those_that_openblas_is_told_to_take():
    script = "import numpy; from chainrule.base.blas import blas_kernels; print(blas_kernels())"
    told = {
        kernel: subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"OPENBLAS_CORETYPE": kernel},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for kernel in ("Nehalem", "Prescott")
    }
    if "openblas" not in told["Nehalem"]:
        pytest.skip("NumPy multiplies with another BLAS")
    assert told["Nehalem"] != told["Prescott"]


CHILD = """
import sys, warnings
import numpy as np
from chainrule import MLPClassifier, Resume, save

def fit(callbacks):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 8)).astype(np.float32)
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    model = MLPClassifier(
        (32, 32), random_state=0, max_iter=40, n_iter_no_change=99, dropout=0.1, engine="numpy",
        solver="radam", early_stopping=True, callbacks=callbacks,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y).set_params(callbacks=None)

if __name__ == "__main__":
    keep = Resume(sys.argv[1])
    save(fit([keep]), sys.argv[2])
    print(keep.resumed_from_)
"""


def test_sigkill_at_any_moment(tmp_path):
    state, output = tmp_path / "state", tmp_path / "resumed.chainrule"

    def start():
        arguments = [sys.executable, "-c", CHILD, str(state), str(output)]
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)

    def written():
        return state.stat().st_mtime_ns if state.exists() else 0

    for pause in (0.013, 0.05):
        before, child = written(), start()
        while child.poll() is None and written() == before:
            time.sleep(0.001)
        time.sleep(pause)  # now it is at whatever it does
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    last = start()
    assert 0 < int(last.communicate()[0]) <= 40
    namespace = {"__name__": "child"}
    exec(CHILD, namespace)
    assert state_of(load(output)) == state_of(namespace["fit"](None))
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


def test_logs_and_checkpoints_go_on(tmp_path):
    def fit(kill=None):
        def killer(est, record):
            if record["epoch"] == kill:
                raise KilledError

        callbacks = [
            CSVLog(tmp_path / "log.csv"),
            Checkpoint(tmp_path / "best.npz"),
            Resume(tmp_path / "state", every=2),
            killer,
        ]
        model = classifier(max_iter=6, callbacks=callbacks)[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit(X, THREE)

    with pytest.raises(KilledError):
        fit(kill=3)
    model = fit()
    assert model.callbacks[1].saved_ == [2, 3, 4, 5]
    assert load_checkpoint(tmp_path / "best.npz")["record"]["epoch"] == 5
    epochs = [
        int(line.split(",")[0]) for line in (tmp_path / "log.csv").read_text().split("\n")[1:-1]
    ]
    assert epochs == [0, 1, 2, 3, 2, 3, 4, 5]  # what was lost was done again


def killed(path, **parameters):
    def killer(est, record):
        if record["epoch"] == 2:
            raise KilledError

    model = MLPClassifier((3,), random_state=0, callbacks=[Resume(path), killer], **parameters)
    with pytest.raises(KilledError):
        model.fit(X, THREE)


@pytest.mark.parametrize(
    ("parameters", "data", "says"),
    [
        ({"alpha": 0.5}, (X, THREE), "another alpha"),
        ({"hidden_layer_sizes": (4,)}, (X, THREE), "another hidden_layer_sizes"),
        ({"learning_rate": "cosine"}, (X, THREE), "another learning_rate"),
        ({}, (X + 1, THREE), "other data"),
        ({}, (X[:50], THREE[:50]), "other data"),
        ({}, (X, np.roll(THREE, 1)), "other data"),
        ({}, (X.astype(np.float32), THREE), "other data"),
    ],
)
def test_a_state_of_another_fit_is_refused(parameters, data, says, tmp_path):
    path = tmp_path / "state"
    killed(path)
    before = path.read_bytes()
    given = {"hidden_layer_sizes": (3,), "random_state": 0, "callbacks": [Resume(path)]}
    with pytest.raises(ValueError, match=f"{path} belongs to another fit: .*{says}.*Remove it"):
        MLPClassifier(**(given | parameters)).fit(*data)
    assert path.read_bytes() == before
    model = MLPClassifier((3,), random_state=0, callbacks=[Resume(path, resume=False)], max_iter=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X[:50], THREE[:50])
    assert model.callbacks[0].resumed_from_ == 0
    assert path.read_bytes() != before


def test_more_epochs_than_planned(tmp_path):
    """max_iter may grow, where the learning rate does not depend on it."""
    path = tmp_path / "state"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for epochs in (3, 6):
            model = classifier(max_iter=epochs, callbacks=[Resume(path)])[0].fit(X, THREE)
        whole = classifier(max_iter=6)[0].fit(X, THREE)
    assert model.callbacks[0].resumed_from_ == 3
    assert model.loss_curve_ == whole.loss_curve_
    path.unlink()
    killed(path, learning_rate="cosine")
    with pytest.raises(ValueError, match="another max_iter"):
        MLPClassifier(
            (3,), random_state=0, callbacks=[Resume(path)], learning_rate="cosine", max_iter=300
        ).fit(X, THREE)


def test_what_cannot_be_resumed(tmp_path):
    keep = Resume(tmp_path / "state")
    with pytest.raises(ValueError, match="solver='lbfgs' cannot be resumed"):
        classifier(solver="lbfgs", callbacks=[keep])[0].fit(X, THREE)
    with pytest.raises(ValueError, match="warm_start=True cannot be resumed"):
        classifier(warm_start=True, callbacks=[keep])[0].fit(X, THREE)
    with pytest.raises(ValueError, match="partial_fit cannot be resumed"):
        classifier(callbacks=[keep])[0].partial_fit(X, THREE, classes=[*"äbc"])
    with pytest.raises(ValueError, match="one Resume is enough"):
        classifier(callbacks=[keep, keep])[0].fit(X, THREE)
    with pytest.raises(
        FileNotFoundError, match="callbacks: the state of the fit cannot be written"
    ):
        classifier(callbacks=[Resume(tmp_path / "none" / "state")])[0].fit(X, THREE)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        classifier(callbacks=[Resume(tmp_path)])[0].fit(X, THREE)
    with pytest.raises(ValueError, match="every must be a whole number"):
        Resume(tmp_path / "state", every=0)
    assert os.listdir(tmp_path) == []


def test_finding_a_learning_rate_leaves_the_state_alone(tmp_path):
    path = tmp_path / "state"
    killed(path)
    before = path.read_bytes()
    model = MLPClassifier((3,), random_state=0, callbacks=[Resume(path)])
    model.find_learning_rate(X, THREE, steps=12)
    assert path.read_bytes() == before


def test_damaged_states_are_refused(tmp_path):
    path = tmp_path / "state"
    killed(path)
    raw = path.read_bytes()
    rng = np.random.default_rng(0)
    model = MLPClassifier((3,), random_state=0, callbacks=[Resume(path)])
    for at in rng.integers(0, len(raw), 40):
        changed = bytearray(raw)
        changed[at] ^= 1 << rng.integers(0, 8)
        path.write_bytes(changed)
        with pytest.raises(ModelFileError, match=str(path)):
            model.fit(X, THREE)
    for content in (b"", raw[:300], b"a,b\n1,2\n"):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=str(path)):
            model.fit(X, THREE)


def test_states_that_lie_are_refused(tmp_path):
    import zipfile

    from test_model_files import sealed

    path = tmp_path / "state"
    killed(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()[:2]}
    model = MLPClassifier((3,), random_state=0, callbacks=[Resume(path)])
    for change, says in (
        (lambda s: s.update(version=1), "of version 1, not 2"),
        (lambda s: s["state"].pop("rng_start"), "rng_start"),
        (lambda s: s["state"].update(best=[1, 2]), "best"),
        (lambda s: s["state"].update(run=[1, 2]), "run"),
        (lambda s: s["state"].pop("attributes"), "attributes"),
    ):
        state = json.loads(members["state.json"])
        change(state)
        sealed({**members, "state.json": json.dumps(state).encode()}, path)
        with pytest.raises(ModelFileError, match=says):
            model.fit(X, THREE)
