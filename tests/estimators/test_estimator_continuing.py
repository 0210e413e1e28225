"""Going on and coming back: warm starts, partial_fit, pickles, logs, the same bits again."""

from __future__ import annotations

import csv
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from helpers.small_estimators import X, Xd, classify, regress, same, same_bits, y, yd
from sklearn.datasets import load_digits

from chainrule import MLPClassifier
from chainrule.monitoring.checkpoints import Checkpoint, load_checkpoint
from chainrule.monitoring.loggers import CSVLog, JSONLinesLog

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DATA = {
    "binary": (classify, X[50:], y[50:]),
    "multiclass": (classify, X, y),
    "regression": (regress, Xd[:150], yd[:150]),
    "targets": (regress, Xd[:150], np.column_stack([yd, -(yd**1.1)])[:150]),
}


# Going on


def test_warm_start_appends_to_the_curve():
    estimator = classify(warm_start=True, max_iter=5).fit(X, y)
    first = list(estimator.loss_curve_)
    estimator.fit(X, y)
    assert (estimator.n_iter_, len(estimator.history_)) == (5, 10)
    assert estimator.loss_curve_[:5] == first
    assert estimator.loss_curve_[5] < first[0]
    assert [row["epoch"] for row in estimator.history_] == list(range(10))


@pytest.mark.parametrize(
    "given", [{}, {"ema_decay": 0.9}, {"normalization": "batch"}, {"dropout": 0.2}]
)
def test_n_epochs_of_partial_fit(given):
    a = classify(**given).partial_fit(X, y, classes=[0, 1, 2], n_epochs=4)
    b = classify(**given).partial_fit(X, y, classes=[0, 1, 2])
    for _ in range(3):
        b.partial_fit(X, y)
    assert len(a.loss_curve_) == len(b.loss_curve_) == 4
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-10)
    same(a, b, rtol=1e-9, atol=1e-12)
    assert a.t_ == b.t_ == 600


def test_partial_fit_learns_from_blocks():
    A, b = load_digits(return_X_y=True)
    estimator = MLPClassifier(64, random_state=0, learning_rate_init=0.005)
    for _ in range(15):
        for start in range(0, 1400, 200):
            estimator.partial_fit(A[start : start + 200], b[start : start + 200], classes=range(10))
    assert estimator.score(A[1400:], b[1400:]) > 0.88


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"solver": "sgd", "learning_rate": "invscaling"},
        {"dropout": 0.3},
        {"input_noise": 0.2},
        {"ema_decay": 0.9},
        {"normalization": "batch"},
        {"learning_rate": "cosine"},
    ],
)
def test_kept_optimizer_state_goes_on_as_if_never_pickled(given):
    def begun():
        estimator = classify(keep_optimizer_state=True, **given)
        return estimator.partial_fit(X, y, classes=[0, 1, 2], n_epochs=5)

    uncut = begun().partial_fit(X, y, n_epochs=3)
    resumed = pickle.loads(pickle.dumps(begun())).partial_fit(X, y, n_epochs=3)
    np.testing.assert_allclose(resumed.loss_curve_, uncut.loss_curve_, rtol=1e-12)
    same(resumed, uncut, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "given",
    [{}, {"early_stopping": True, "ema_decay": 0.9, "normalization": "batch", "max_iter": 60}],
)
def test_pickles_hold_parameters_and_no_more(given):
    A, b = load_digits(return_X_y=True)
    estimator = MLPClassifier((100, 50), **{"max_iter": 3} | given).fit(A, b)
    parameters = sum(p.nbytes for p in (*estimator.coefs_, *estimator.intercepts_))
    size = len(pickle.dumps(estimator))
    assert size <= 1.2 * parameters + 16 * 1024
    assert len(pickle.dumps(estimator.set_params(keep_optimizer_state=True))) > 2 * parameters


def test_warm_start_never_ends_below_its_best():
    """A second fit that spoils everything ends with the parameters it began with."""
    held = {"X_val": X[::3], "y_val": y[::3]}
    estimator = classify(warm_start=True, max_iter=60, learning_rate_init=0.02).fit(X, y, **held)
    begun, best = estimator.predict_proba(X), estimator.best_validation_score_
    estimator.set_params(solver="sgd", momentum=0.0, learning_rate_init=50.0, max_iter=3)
    estimator.fit(X, y, **held)
    assert max(estimator.validation_scores_[-3:]) < best == estimator.best_validation_score_
    np.testing.assert_allclose(estimator.predict_proba(X), begun, rtol=1e-9)
    assert len(estimator.validation_scores_) == len(estimator.loss_curve_) > 3


@pytest.mark.parametrize("seed", [0, None])
def test_warm_start_holds_out_the_same_rows_again(seed, monkeypatch):
    held, split = [], MLPClassifier._split

    def spied(*args):
        parts = split(*args)
        held.append(parts[1].tobytes())
        return parts

    monkeypatch.setattr(MLPClassifier, "_split", spied)
    estimator = classify(warm_start=True, early_stopping=True, max_iter=2, random_state=seed)
    estimator.fit(X, y).fit(X, y)
    pickle.loads(pickle.dumps(estimator)).fit(X, y)
    assert len(held) == 3
    assert len(set(held)) == 1
    estimator.set_params(warm_start=False, random_state=7).fit(X, y)
    assert held[3] != held[0]


# Files


def test_logs_and_checkpoints_of_a_fit(tmp_path):
    paths = [tmp_path / name for name in ("log.csv", "log.jsonl", "model.npz")]
    estimator = classify(
        callbacks=[CSVLog(paths[0]), JSONLinesLog(paths[1]), Checkpoint(paths[2])],
        early_stopping=True,
    ).fit(X, y)
    with open(paths[0], newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in table] == estimator.loss_curve_
    lines = [json.loads(line) for line in paths[1].read_text().splitlines()]
    assert lines == estimator.history_
    assert load_checkpoint(paths[2])["coefs"][0].shape == (4, 8)


# Seeds


NOISY = {"dropout": 0.2, "input_noise": 0.1, "early_stopping": True, "normalization": "batch"}


@pytest.mark.bits
@pytest.mark.parametrize("given", [{}, NOISY, {"solver": "lbfgs"}])
def test_same_seed_same_bits_other_seed_others(given):
    a, b = classify(**given).fit(X, y), classify(**given).fit(X, y)
    same_bits(a, b)
    assert a.loss_curve_ == b.loss_curve_
    c = classify(**given | {"random_state": 1}).fit(X, y)
    assert not np.array_equal(a.coefs_[0], c.coefs_[0])
    shared = np.random.RandomState(0)
    same_bits(classify(**given | {"random_state": shared}).fit(X, y), a)


@pytest.mark.bits
@pytest.mark.parametrize("engine", ["numpy", pytest.param("numba", marks=pytest.mark.compiled)])
def test_same_bits_in_other_processes_and_with_other_numbers_of_threads(engine):
    given = NOISY | {"max_iter": 3, "random_state": 0, "engine": engine}
    script = (
        "import hashlib, warnings; warnings.simplefilter('ignore')\n"
        "from sklearn.datasets import load_digits; from chainrule import MLPClassifier\n"
        "X, y = load_digits(return_X_y=True)\n"
        f"m = MLPClassifier((64, 32), **{given}).fit(X, y); digest = hashlib.sha256()\n"
        "for p in (*m.coefs_, *m.intercepts_, m.predict_proba(X)): digest.update(p.tobytes())\n"
        "print(digest.hexdigest())"
    )
    digests = set()
    for threads in ("1", "2"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        env = os.environ | dict.fromkeys(names, threads)
        run = [sys.executable, "-c", script]
        digests.add(subprocess.run(run, env=env, capture_output=True, text=True, check=True).stdout)
    assert len(digests) == 1


@pytest.mark.compiled
@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize(
    "given", [{}, NOISY | {"early_stopping": False}, {"ema_decay": 0.9, "l1": 0.1}]
)
def test_engines_agree(kind, given):
    make, A, b = DATA[kind]
    a = make(engine="numpy", batch_size=32, **given).fit(A, b)
    c = make(engine="numba", batch_size=32, **given).fit(A, b)
    np.testing.assert_allclose(c.loss_curve_, a.loss_curve_, rtol=1e-9)
    same(a, c, rtol=1e-7, atol=1e-9)


@pytest.mark.once
@pytest.mark.parametrize("kind", ["as it comes", "standardised"])
def test_a_stream_that_looks_standardised_is_left_as_it_is(kind):
    A, b = load_digits(return_X_y=True)
    A = A[:, A.std(axis=0) > 0]
    if kind == "standardised":
        A = (A - A.mean(axis=0)) / A.std(axis=0)
    streams = [MLPClassifier((5,), random_state=0), MLPClassifier((5,), random_state=0)]
    streams[1].set_params(standardize=False)
    for k in range(0, 60, 20):
        for model in streams:
            model.partial_fit(A[k : k + 20], b[k : k + 20], classes=range(10))
    same = streams[0].predict_proba(A).tobytes() == streams[1].predict_proba(A).tobytes()
    assert same == (kind == "standardised")
    # A whole fit knows all rows: its scales are theirs.
    whole = [model.set_params(max_iter=2).fit(A, b).loss_ for model in streams]
    assert (whole[0] == pytest.approx(whole[1], rel=0.05)) == (kind == "standardised")
