"""DaskMLPClassifier and DaskMLPRegressor on a cluster of threads."""

from __future__ import annotations

import pickle
from itertools import pairwise

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from sklearn.base import clone
from sklearn.datasets import load_digits, make_friedman1
from sklearn.metrics import accuracy_score, log_loss, r2_score

from chainrule import (
    Checkpoint,
    MLPClassifier,
    MLPRegressor,
    Resume,
    load,
    load_checkpoint,
    save,
    summary,
    trace,
)
from chainrule.dask import DaskMLPClassifier, DaskMLPRegressor

pytestmark = pytest.mark.filterwarnings(
    "ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning"
)
QUICK = {"random_state": 0, "max_iter": 4, "local_steps": 3, "hidden_layer_sizes": (16,)}


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            protocol="inproc",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:900], y[:900]


@pytest.fixture(scope="module")
def numbers():
    return make_friedman1(600, 6, noise=0.5, random_state=0)


def blocks(*arrays, rows=250):
    """The arrays as Dask's, in partitions of so many rows."""
    return [da.from_array(a, chunks=(rows, *a.shape[1:])) for a in arrays]


def framed(X, y, n=3):
    """A Dask data frame of both, and the names of X's columns."""
    names = [f"x{j}" for j in range(X.shape[1])]
    frame = pd.DataFrame(X, columns=names).assign(y=y)
    return dd.from_pandas(frame, npartitions=n), names


def same(a, b):
    """Whether two fits ended in the same bits."""
    return all(
        np.array_equal(x, y)
        for x, y in zip((*a.coefs_, *a.intercepts_), (*b.coefs_, *b.intercepts_), strict=True)
    )


def test_it_learns_as_one_process_does_and_gives_the_plain_model_back(client, digits, tmp_path):
    X, y = digits
    options = {"random_state": 0, "max_iter": 15, "tol": 0.0}
    model = DaskMLPClassifier(local_steps=2, **options).fit(*blocks(X, y))
    alone = MLPClassifier(**options).fit(X, y)
    assert model.loss_ < 1.05 * alone.loss_
    local = model.to_local()
    assert type(local) is MLPClassifier
    assert local.score(X, y) > 0.97
    assert local.get_params() == alone.get_params()
    assert trace(model, X[:3], y[:3]).cost == trace(local, X[:3], y[:3]).cost
    assert str(summary(model)) == str(summary(local))
    save(local, tmp_path / "model.chainrule")
    np.testing.assert_array_equal(load(tmp_path / "model.chainrule").predict(X), local.predict(X))
    assert model.client_ is client
    assert model.n_features_in_ == 64
    assert len(model.loss_curve_) == len(model.history_) == 15
    assert {(row["local_steps"], row["rounds"]) for row in model.history_} == {(2, 3)}


def test_predictions_are_lazy_and_those_of_the_local_model(client, digits):
    X, y = digits
    dX, dy = blocks(X, y)
    model = DaskMLPClassifier(**QUICK).fit(dX, dy)
    local = model.to_local()
    labels, proba = model.predict(dX), model.predict_proba(dX)
    assert labels.chunks == dy.chunks
    assert proba.chunks == (dy.chunks[0], (10,))
    assert labels.dtype == y.dtype
    for rows in (slice(0, 250), slice(750, 900)):  # a partition is a call
        np.testing.assert_array_equal(
            proba[rows].compute(scheduler="sync"), local.predict_proba(X[rows])
        )
    assert model.score(dX, dy) == pytest.approx(accuracy_score(y, labels.compute()))
    w = np.arange(900.0)
    weighted = accuracy_score(y, labels.compute(), sample_weight=w)
    assert model.score(dX, dy, blocks(w)[0]) == pytest.approx(weighted)


def test_what_a_cluster_holds_of_an_older_fit_is_not_taken_for_a_new_one(client, digits):
    X, y = digits
    dX, dy = blocks(X, y)
    model = DaskMLPClassifier(**QUICK)
    kept = [model.fit(dX, dy if k else 9 - dy).predict(dX).persist() for k in range(2)]
    assert kept[0].name != kept[1].name
    expected = np.concatenate(
        [model.to_local().predict(X[i : i + 250]) for i in range(0, 900, 250)]
    )
    np.testing.assert_array_equal(kept[1].compute(), expected)


def test_frames_go_in_and_come_out(client, digits):
    X, y = digits
    frame, names = framed(X[:, 20:30], np.array(["a", "b", "c"])[y % 3])
    frame = dd.from_pandas(frame.compute().assign(w=1.0, number=y % 3), npartitions=3)
    model = DaskMLPClassifier(**QUICK).fit(frame[names], frame["y"], sample_weight=frame["w"])
    assert list(model.feature_names_in_) == names
    labels, proba = model.predict(frame[names]), model.predict_proba(frame[names])
    assert list(proba.columns) == ["a", "b", "c"]
    in_memory = frame[names].compute()
    np.testing.assert_array_equal(labels.compute(), model.to_local().predict(in_memory))
    pd.testing.assert_index_equal(proba.compute().index, in_memory.index)
    assert str(labels.dtype) == str(labels.compute().dtype)
    unknown = frame[names].to_dask_array(), frame["number"].to_dask_array()
    assert np.isnan(unknown[0].shape[0])
    arrays = DaskMLPClassifier(**QUICK).fit(*unknown)
    assert same(model, arrays)  # partitions of unknown sizes


def test_a_regressor_of_several_targets(client, numbers):
    X, y = numbers
    Y = np.column_stack([y, -3 * y + 1])
    dX, dY = blocks(X, Y)
    model = DaskMLPRegressor(**QUICK | {"max_iter": 20, "batch_size": 40}).fit(dX, dY)
    assert model.predict(dX).chunks == (dX.chunks[0], (2,))
    alone = r2_score(Y, model.to_local().predict(X))
    assert model.score(dX, dY) == pytest.approx(alone)
    assert alone > 0.5


def test_scales_are_those_of_all_rows(client, numbers):
    X, y = numbers
    X = X * [1, 1e3, 1, 1e-3, 1, 1] + [0, 5, 0, 0, 1e3, 0]
    alone = MLPRegressor(random_state=0, max_iter=1).fit(X, y)
    model = DaskMLPRegressor(random_state=0, max_iter=1, local_steps=1).fit(*blocks(X, y, rows=97))
    for a, b in zip(
        (*alone._scaling, *alone._y_scale),
        (*model._local._scaling, *model._local._y_scale),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-9)


@pytest.mark.parametrize("cuts", [(600,), (100, 500), (7, 0, 293, 300)])
def test_synchronous_steps_on_all_rows_are_those_of_one_process_however_they_are_cut(
    client, numbers, cuts
):
    X, y = numbers
    options = {"random_state": 0, "max_iter": 5, "batch_size": 600, "tol": 0.0}
    w = np.random.default_rng(0).uniform(0.5, 2, 600)
    alone = MLPRegressor(**options).fit(X, y, w)
    edges = np.cumsum([0, *cuts])
    parts = [
        da.concatenate([da.from_array(a[i:j], chunks=-1) for i, j in pairwise(edges)])
        for a in (X, y, w)
    ]
    model = DaskMLPRegressor(strategy="sync", **options)
    model.fit(parts[0], parts[1], sample_weight=parts[2])
    np.testing.assert_allclose(model.loss_curve_, alone.loss_curve_, rtol=1e-9)
    for a, b in zip(model.coefs_, alone.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


def test_a_weight_of_two_is_a_row_twice_and_a_weight_of_zero_is_none(client, numbers):
    X, y = numbers
    options = {"random_state": 0, "max_iter": 5, "batch_size": 600, "tol": 0.0, "strategy": "sync"}
    w = np.where(np.arange(600) < 100, 0.0, np.where(np.arange(600) < 300, 2.0, 1.0))
    dX, dy, dw = blocks(X, y, w, rows=100)
    weighted = DaskMLPRegressor(**options).fit(dX, dy, sample_weight=dw)
    twice = np.repeat(np.arange(600), w.astype(int))
    again = DaskMLPRegressor(**options | {"batch_size": 700}).fit(
        *blocks(X[twice], y[twice], rows=100)
    )
    for a, b in zip(weighted.coefs_, again.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


def test_a_class_may_be_missing_in_a_partition_and_partitions_may_be_empty(client, digits):
    X, y = digits
    order = np.argsort(y, kind="stable")
    dX, dy = blocks(X[order], y[order])
    whole = DaskMLPClassifier(**QUICK).fit(dX, dy)
    assert whole.classes_.tolist() == list(range(10))
    holes = [da.concatenate([a[:250], a[:0], a[250:], a[:0]]) for a in (dX, dy)]
    gaps = DaskMLPClassifier(**QUICK).fit(*holes)
    assert gaps.predict_proba(holes[0]).compute().shape == (900, 10)
    more = DaskMLPClassifier(**QUICK).fit(dX, dy, classes=range(12))
    assert more.classes_.tolist() == list(range(12))
    assert more.predict_proba(dX).compute().shape == (900, 12)


def test_labels_and_missing_values(client, digits):
    X, y = digits
    labels = np.column_stack([y > 4, y % 2]).astype(int)
    gaps = X.copy()
    gaps[::9, 30] = np.nan
    dX, dy = blocks(gaps, labels)
    model = DaskMLPClassifier(missing="indicator", **QUICK).fit(dX, dy)
    predicted = model.predict(dX)
    assert predicted.chunks == (dX.chunks[0], (2,))
    assert model.score(dX, dy) == pytest.approx(accuracy_score(labels, predicted.compute()))
    means, marked = model.to_local()._missing
    np.testing.assert_allclose(means, np.nanmean(gaps, axis=0), rtol=1e-12)
    assert marked.tolist() == [30]
    alone = MLPClassifier(missing="indicator", max_iter=1, random_state=0).fit(gaps, labels)
    for a, b in zip(alone._scaling, model.to_local()._scaling, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_a_validation_set_is_scored_as_a_whole(client, digits, numbers):
    X, y = digits
    model = DaskMLPClassifier(early_stopping=True, **QUICK)
    model.fit(*blocks(X[:600], y[:600]), X_val=blocks(X[600:])[0], y_val=blocks(y[600:])[0])
    local, best = model.to_local(), int(np.argmax(model.validation_scores_))
    assert model.validation_scores_[best] == pytest.approx(local.score(X[600:], y[600:]))
    assert model.validation_loss_curve_[best] == pytest.approx(
        log_loss(y[600:], local.predict_proba(X[600:]))
    )
    X, y = numbers
    split = DaskMLPRegressor(early_stopping=True, scoring="loss", **QUICK).fit(*blocks(X, y))
    assert split.validation_scores_ == [-x for x in split.validation_loss_curve_]
    assert split.history_[-1]["validation_loss"] == split.validation_loss_curve_[-1]
    given = DaskMLPRegressor(early_stopping=True, **QUICK)
    given.fit(*blocks(X[:400], y[:400]), X_val=blocks(X[400:])[0], y_val=blocks(y[400:])[0])
    best = int(np.argmax(given.validation_scores_))
    assert given.validation_scores_[best] == pytest.approx(
        given.to_local().score(X[400:], y[400:]), rel=1e-6
    )


def test_balanced_weights_are_those_of_all_rows(client, digits):
    X, y = digits
    kept = (y != 3) | (np.arange(900) < 200)
    X, y = X[kept], y[kept]
    balanced = DaskMLPClassifier(class_weight="balanced", **QUICK).fit(*blocks(X, y))
    counts = np.bincount(y)
    told = dict(enumerate(len(y) / (10 * counts)))
    by_hand = DaskMLPClassifier(class_weight=told, **QUICK).fit(*blocks(X, y))
    assert same(balanced, by_hand)
    assert balanced.to_local().class_weight == "balanced"


def test_partitions_are_read_once(client, digits, tmp_path):
    def read(block, path):
        with open(path, "a") as file:
            file.write("x")
        return block

    X, y = blocks(*digits)
    path = tmp_path / "read"
    X = X.map_blocks(read, path=path, dtype=float, meta=X._meta)
    DaskMLPClassifier(early_stopping=True, **QUICK).fit(X, y)
    assert path.read_text() == "xxxx"


def test_a_misspelt_class_is_told_on_the_client(client, digits):
    X, y = digits
    data = blocks(X[y < 2], y[y < 2])
    with pytest.warns(UserWarning, match="class_weight names class 3, which is not in y"):
        DaskMLPClassifier(class_weight={0: 2, 3: 1}, **QUICK).fit(*data)


def test_a_fit_that_was_stopped_goes_on_to_the_same_bits(client, digits, tmp_path):
    data = blocks(*digits)
    options = QUICK | {"max_iter": 5, "dropout": 0.2}
    whole = DaskMLPClassifier(**options).fit(*data)
    path = tmp_path / "state"

    def stop(est, record):
        return record["epoch"] == 1

    DaskMLPClassifier(callbacks=[Resume(path), stop], **options).fit(*data)
    keep, points = Resume(path), Checkpoint(tmp_path / "best.npz")
    resumed = DaskMLPClassifier(callbacks=[keep, points], **options).fit(*data)
    assert keep.resumed_from_ == 1
    assert same(whole, resumed)
    assert load_checkpoint(tmp_path / "best.npz")["record"]["local_steps"] == 3
    other = options | {"local_steps": 1, "callbacks": [Resume(path)]}
    with pytest.raises(ValueError, match="another fit, with local_steps=3; this one has 1"):
        DaskMLPClassifier(**other).fit(*data)
    with pytest.raises(ValueError, match="other data"):
        DaskMLPClassifier(**options | {"callbacks": [Resume(path)]}).fit(data[0] * 2, data[1])


def test_a_warm_start_goes_on_from_the_last_fit(client, digits):
    data = blocks(*digits)
    model = DaskMLPClassifier(warm_start=True, **QUICK).fit(*data)
    before = model.loss_
    model.fit(*data)
    assert len(model.loss_curve_) == 8
    assert model.loss_curve_[4] < before


def test_auto_says_what_it_chose_and_the_same_number_gives_the_same_bits(client, digits):
    data = blocks(*digits)
    auto = DaskMLPClassifier(**QUICK | {"local_steps": "auto"}).fit(*data)
    row = auto.history_[0]
    assert 1 <= row["local_steps"] <= 5
    assert row["round_overhead"] > 0
    again = DaskMLPClassifier(**QUICK | {"local_steps": row["local_steps"]}).fit(*data)
    assert same(auto, again)


def test_clones_and_pickles(client, digits):
    model = DaskMLPClassifier(client=client, alpha=0.5, **QUICK)
    assert clone(model).client is client
    assert clone(model).get_params() == model.get_params()
    model.fit(*blocks(*digits))
    again = pickle.loads(pickle.dumps(model))
    assert again.client is None
    assert again.client_ is client  # the default one
    np.testing.assert_array_equal(again.coefs_[0], model.coefs_[0])
    assert "client" not in vars(model.to_local())


def test_parameters_are_the_local_estimators_and_three_more():
    own = {"client", "strategy", "local_steps"}
    for cluster, local in ((DaskMLPClassifier, MLPClassifier), (DaskMLPRegressor, MLPRegressor)):
        told, known = cluster().get_params(), local().get_params()
        assert {name: told[name] for name in known} == known
        assert set(told) - set(known) == own
    assert DaskMLPClassifier((5, 6), "tanh").activation == "tanh"
    with pytest.raises(TypeError, match="unexpected keyword argument 'hiden'"):
        DaskMLPClassifier(hiden=3)


@pytest.fixture(scope="module")
def wide(client):
    """A network whose graph Dask would warn of, and rows that it takes."""
    X = np.random.default_rng(0).normal(size=(40, 300))
    large = QUICK | {"hidden_layer_sizes": (5300,), "max_iter": 1, "engine": "numpy"}
    model = DaskMLPRegressor(**large).fit(*blocks(X, X[:, 0], rows=20))
    assert sum(W.nbytes for W in model.coefs_) > 12e6
    return model, X


def by_partition(model, X, rows=20):
    """What the local model predicts of each partition."""
    local = model.to_local()
    return np.concatenate([local.predict(X[i : i + rows]) for i in range(0, len(X), rows)])


def test_a_large_network_is_sent_without_a_warning(wide):
    model, X = wide
    expected = by_partition(model, X)
    dX, dy = blocks(X, X[:, 0], rows=20)
    np.testing.assert_array_equal(model.predict(dX).compute(), expected)
    assert model.score(dX, dy) == pytest.approx(r2_score(X[:, 0], expected))
    frame = dd.from_pandas(pd.DataFrame(X), npartitions=2)
    np.testing.assert_array_equal(model.predict(frame).compute(), expected)


@pytest.mark.parametrize("how", ["no client", "threads"])
def test_a_large_network_predicts_without_a_cluster(wide, monkeypatch, how):
    model, X = wide
    if how == "no client":

        def none():
            raise ValueError("No clients found")

        monkeypatch.setattr("chainrule.dask.prediction.default_client", none)
    dX, dy = blocks(X, X[:, 0], rows=20)
    with dask.config.set(scheduler="threads"):
        labels, score = model.predict(dX), model.score(dX, dy)
        graph = dict(labels.__dask_graph__())
        assert len(pickle.dumps(graph)) < 2 * sum(
            W.nbytes for W in model.coefs_
        )  # it is there once
        np.testing.assert_array_equal(labels.compute(), by_partition(model, X))
    assert score < 1
