"""A cluster of processes: workers are killed, slow, or come later, and the bits are the same."""

from __future__ import annotations

import logging
import os
import signal
import time
from functools import partial
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster
from helpers.clusters import a_cluster
from sklearn.datasets import load_digits

from chainrule import MLPClassifier, Resume
from chainrule.dask import DaskMLPClassifier, work
from chainrule.dask.work import ClusterError

pytestmark = pytest.mark.filterwarnings(
    "ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning"
)
OPTIONS = {
    "random_state": 0,
    "max_iter": 4,
    "local_steps": 2,
    "hidden_layer_sizes": (16,),
    "tol": 0.0,
    "engine": "numpy",
}


def digits():
    X, y = load_digits(return_X_y=True)
    return X[:900], y[:900]


def read(block, path, what):
    """A block as it is read by a worker, which may be killed at that."""
    if what == "read":
        die_once(path)
    return block


def die_once(path):
    """Kill this process, a worker's, the first time that anybody asks."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def augment(X, random, folder, what):
    """Leave rows as they are, and do to the worker what the test is about."""
    folder = Path(folder)
    if what.startswith("step"):
        with open(folder / "steps", "a") as file:
            file.write("x")
            steps = file.tell()
        if steps > int(what.removeprefix("step")):
            die_once(folder / "died")
    elif what == "slow" and os.getpid() % 2:
        time.sleep(0.01)
    return X


def data(path="", what=""):
    X, y = digits()
    dX = da.from_array(X, chunks=(250, -1))
    return (
        dX.map_blocks(read, path=str(path), what=what, dtype=float, meta=dX._meta),
        da.from_array(y, chunks=250),
    )


@pytest.fixture(scope="module")
def cluster():
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=60,
        ) as cluster,
    ):
        yield cluster


@pytest.fixture
def client(cluster):
    with Client(cluster) as client:
        client.wait_for_workers(1, timeout=180)
        yield client


@pytest.fixture(scope="module")
def undisturbed():
    """What threads of one process end in."""
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            protocol="inproc",
            dashboard_address="127.0.0.1:0",
        ) as threads,
        Client(threads) as client,
    ):
        model = DaskMLPClassifier(
            client=client, augment=partial(augment, folder="", what=""), **OPTIONS
        )
        return model.fit(*data())


def assert_same_bits(a, b):
    for x, y in zip((*a.coefs_, *a.intercepts_), (*b.coefs_, *b.intercepts_), strict=True):
        np.testing.assert_array_equal(x, y)
    assert a.loss_curve_ == b.loss_curve_


@pytest.mark.parametrize("moment", ["read", "step0", "step11", "step37"])
def test_a_worker_is_killed(client, undisturbed, tmp_path, moment):
    model = DaskMLPClassifier(augment=partial(augment, folder=tmp_path, what=moment), **OPTIONS)
    model.fit(*data(tmp_path / "died", moment))
    assert (tmp_path / "died").exists()
    assert_same_bits(model, undisturbed)


def test_a_worker_is_killed_between_rounds_while_another_joins_and_one_is_slow(
    cluster, client, undisturbed, tmp_path
):
    pids = sorted(client.run(os.getpid).values())
    seen = set()

    def disturb(est, record):
        seen.update(client.run(os.getpid).values())
        if record["epoch"] == 0:
            cluster.scale(3)
        if record["epoch"] == 1:
            client.wait_for_workers(3, timeout=180)
            os.kill(pids[0], signal.SIGKILL)

    slow = partial(augment, folder=tmp_path, what="slow")
    try:
        model = DaskMLPClassifier(augment=slow, callbacks=[disturb], **OPTIONS).fit(*data())
    finally:
        cluster.scale(2)
    assert len(seen) > 2
    assert_same_bits(model, undisturbed)


def test_predictions_of_a_large_network_outlive_the_worker_that_holds_it(client):
    X, y = digits()
    model = DaskMLPClassifier(client=client)
    model._local = MLPClassifier(
        hidden_layer_sizes=(20_000,), max_iter=1, engine="numpy", random_state=0
    ).fit(X[:50], y[:50])
    assert model._local.coefs_[0].nbytes > 10e6
    dX, _ = data()
    lazy = model.predict(dX)
    np.testing.assert_array_equal(lazy[:5].compute(), model._local.predict(X[:250])[:5])
    held = client.has_what().items()
    holders = [where for where, keys in held if any("chainrule-model" in str(key) for key in keys)]
    assert holders
    for pid in client.run(os.getpid, workers=holders).values():
        os.kill(pid, signal.SIGKILL)
    expected = np.concatenate([model._local.predict(X[i : i + 250]) for i in range(0, 900, 250)])
    np.testing.assert_array_equal(lazy.compute(), expected)


def test_what_is_lost_before_training_is_done_again_to_the_same_bits(
    client, undisturbed, monkeypatch
):
    gather, left = work.Work.gather, [2, 4]  # calls of it: the survey, moments, sizes

    def losing(self, futures):
        left[0] -= 1
        if left[0] == 0:
            left[0] = left[1]
            for future in futures:
                future.cancel()
        return gather(self, futures)

    monkeypatch.setattr(work.Work, "gather", losing)
    model = DaskMLPClassifier(augment=partial(augment, folder="", what=""), **OPTIONS)
    with pytest.warns(UserWarning, match="the cluster lost what was going on and does it again"):
        model.fit(*data())
    assert_same_bits(model, undisturbed)


@pytest.mark.parametrize("wait", ["gather", "gather_errors"])
def test_what_was_cancelled_counts_as_lost(client, wait):
    ours = work.new_work(client)
    futures = ours.each("sleep", time.sleep, [0, 1])
    futures[1].cancel()
    with pytest.raises(work.LOST):
        getattr(ours, wait)(futures)


def test_a_task_that_kills_every_worker_is_told(cluster, client, monkeypatch):
    monkeypatch.setattr(work, "ATTEMPTS", 2)
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)

    def killing(X, random):
        os.kill(os.getpid(), signal.SIGKILL)

    model = DaskMLPClassifier(augment=killing, **OPTIONS)
    with (
        pytest.warns(UserWarning, match="the cluster lost what was going on and does it again"),
        pytest.raises(ClusterError, match=r"failed 2 times: KilledWorker.*smaller partitions help"),
    ):
        model.fit(*data())
    assert not hasattr(model, "coefs_")


def test_the_schedulers_death_loses_no_more_than_since_the_last_stored_state(undisturbed, tmp_path):
    nothing = partial(augment, folder="", what="")

    def cluster_of_threads():
        return LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            protocol="inproc",
            dashboard_address="127.0.0.1:0",
            silence_logs=60,
        )

    with cluster_of_threads() as first, Client(first) as client:

        def end(est, record):
            if record["epoch"] == 2:
                first.close()

        model = DaskMLPClassifier(
            client=client, augment=nothing, callbacks=[Resume(tmp_path / "state"), end], **OPTIONS
        )
        with pytest.raises(ClusterError, match="the scheduler is gone"):
            model.fit(*data())
    with cluster_of_threads() as second, Client(second) as client:
        keep = Resume(tmp_path / "state")
        model = DaskMLPClassifier(client=client, augment=nothing, callbacks=[keep], **OPTIONS)
        model.fit(*data())
    assert keep.resumed_from_ == 3
    assert_same_bits(model, undisturbed)


def test_it_is_said_that_all_workers_are_paused(monkeypatch):
    def pause_at(fraction, dask_worker):
        dask_worker.memory_manager.memory_pause_fraction = fraction

    def wait_for(*statuses):
        for _ in range(1000):
            workers = client.scheduler_info(n_workers=-1)["workers"].values()
            if sorted(worker["status"] for worker in workers) == sorted(statuses):
                return
            time.sleep(0.01)
        raise AssertionError([worker["status"] for worker in workers])

    class Log(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())
            client.run(pause_at, 0.9)

    said = []
    monkeypatch.setattr(work.log, "handlers", [Log()])
    monkeypatch.setattr(work, "LOOKED_EVERY", 0.05)
    with a_cluster(processes=False) as threads, Client(threads) as client:
        ours = work.new_work(client)
        client.run(pause_at, 1e-9, workers=[threads.workers[0].address])
        wait_for("paused", "running")
        ours.gather(ours.each("sleep", time.sleep, [0.3]))
        assert not said  # one worker is enough
        client.run(pause_at, 1e-9)
        wait_for("paused", "paused")
        assert ours.gather(ours.each("test", abs, [-1, -2])) == [1, 2]
        # Rounds of a fit are waited for in the same way.
        waited, wait = [], work.Work.wait
        monkeypatch.setattr(
            work.Work, "wait", lambda self, futures: waited.extend(futures) or wait(self, futures)
        )
        DaskMLPClassifier(client=client, **OPTIONS).fit(*data())
        assert any(future.key[0].startswith("chainrule-average") for future in waited)
    assert len(said) == 1
    assert "all 2 workers of the cluster are paused" in said[0]
    assert "start workers with more memory" in said[0]
