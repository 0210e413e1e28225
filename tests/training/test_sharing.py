"""Workers share a step: the same bits for any number of them, beside anything else that runs."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
import threadpoolctl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chainrule import LAYERS, OPTIMIZERS, Activation, MLPClassifier, Network, train
from chainrule.engine import threads
from chainrule.equations.layers import AFFINE, batch_norm, dropout, layer_norm, noise, standardize
from chainrule.equations.regularizers import Rules
from chainrule.equations.vecmath import (
    ABORTED,
    ANNOUNCED,
    DONE,
    GONE,
    MOST_ITEMS,
    QUEUE,
    TICKET,
    announced_steps,
    claim,
)
from chainrule.training import descent as descending
from chainrule.training import plan
from chainrule.training.descent import Descent
from chainrule.training.executable import fused_layers

RULES = {
    "none": Rules(),
    "penalties": Rules(l2=0.1, l1=0.01),
    "clipping": Rules(clip_value=0.01, clip_norm=0.02),
    "decay": Rules(decay=0.1),
    "max norm": Rules(max_norm=0.5),
    "average": Rules(average=0.1),
    "all": Rules(1, 1, 0.1, 0.01, 0.01, 0.02, 0.1, 0.5, 0.1),
}


SMALL = {
    (descending, "WORTH_CUTTING"): {"numpy": 0.0, "numba": 0.0},
    (plan, "LEAST_ROWS"): 4,
    (plan, "SUMMED_ROWS"): 4,
    (plan, "LEAST_NUMBERS"): 40,
    (plan, "SLICE"): 50,
    (plan, "SMALL"): 0,
}


def make_small(adds_up, setattr=setattr):
    """Cut small networks into parts as large ones are, in one of both ways."""
    for name, value in SMALL.items():
        setattr(*name, value)
    setattr(plan, "gradients_by_block", lambda network, m: adds_up and m > 1)


@pytest.fixture(params=[False, True], ids=["handed over", "added up"])
def cut_small(monkeypatch, request):
    make_small(request.param, monkeypatch.setattr)
    return request.param


def descend(
    engine, n_threads, *, rules=None, dtype="float64", layers=None, weighted=False, sizes=None
):
    """Three epochs of Adam, batches of 30 and 11; (theta, average, memory, totals, constants)."""
    rng = np.random.default_rng(0)
    sizes = sizes or ((12, 20, 20, 5) if layers else (12, 20, 5))
    network = Network(
        sizes, loss="cross_entropy", dtype=dtype, init="he_normal", seed=1, layers=layers
    )
    X = rng.normal(size=(101, 12)).astype(dtype)
    Y = np.eye(sizes[-1], dtype=dtype)[rng.integers(0, 5, 101)]
    weight = rng.uniform(0, 2, 101).astype(dtype) if weighted else None
    adam = OPTIMIZERS["adam"]
    hyper = np.array(list(adam.hyper.values()))
    descent = Descent(network, adam, hyper, 30, engine, rules, n_threads=n_threads)
    with descent.at_work():
        totals = [descent.epoch(X, Y, rng.permutation(101), weight) for _ in range(3)]
    return (
        network.theta,
        descent.state.average,
        descent.state.memory,
        np.array(totals),
        network.constants,
    )


def same_bits(left, right):
    return all(a.tobytes() == b.tobytes() for a, b in zip(left, right, strict=True))


# --- the same bits -------------------------------------------------------------------------------


@pytest.mark.bits
@pytest.mark.compiled
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rules", RULES.values(), ids=list(RULES))
def test_any_number_of_workers_gives_the_same_bits(rules, dtype, weighted, cut_small):
    alone = descend("numba", 1, rules=rules, dtype=dtype, weighted=weighted)
    for n_threads in (2, 3, 7):
        shared = descend("numba", n_threads, rules=rules, dtype=dtype, weighted=weighted)
        assert same_bits(shared, alone)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rules", RULES.values(), ids=list(RULES))
def test_parts_add_up(rules, engine, weighted, monkeypatch):
    """Cut into parts or not, in either engine: the same step."""
    whole = descend("numpy", 1, rules=rules, weighted=weighted)
    for adds_up in (False, True):
        make_small(adds_up, monkeypatch.setattr)
        parts = descend(engine, 3, rules=rules, weighted=weighted)
        for k in (0, 1, 3):  # the state lies otherwise
            np.testing.assert_allclose(parts[k], whole[k], rtol=1e-9, atol=1e-10)


@pytest.mark.compiled
@pytest.mark.parametrize(
    "middle", [dropout(0.5), noise(0.1), layer_norm(), batch_norm()], ids=lambda x: x.name
)
def test_layers_that_mix_rows_or_draw_by_place(middle, monkeypatch):
    layers = [AFFINE, middle, AFFINE]
    whole = descend("numpy", 1, layers=layers)
    for adds_up in (False, True):
        make_small(adds_up, monkeypatch.setattr)
        alone = descend("numba", 1, layers=layers)
        assert same_bits(descend("numba", 3, layers=layers), alone)
        for cut in (alone, descend("numpy", 1, layers=layers)):
            np.testing.assert_allclose(cut[0], whole[0], rtol=1e-9, atol=1e-10)


@pytest.mark.bits
@pytest.mark.compiled
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("sizes", "layers"),
    [
        ((12, 12, 20, 20, 5), [batch_norm(), AFFINE, batch_norm(), AFFINE]),
        ((12, 20, 20, 20, 20), [AFFINE, batch_norm(), batch_norm(), dropout(0.5)]),
        ((12, 12, 12), [dropout(0.5), batch_norm()]),
        ((12, 5, 5), [AFFINE, batch_norm()]),
    ],
    ids=["first and middle", "one on the other", "the only one that learns", "last"],
)
def test_blocks_of_rows_wait_for_each_others_statistics(sizes, layers, weighted, monkeypatch):
    """Wherever layers ask for them: the same step, to the bit for any number of workers."""
    kinds = {"sizes": sizes, "layers": layers, "weighted": weighted}
    whole = descend("numpy", 1, **kinds)
    for adds_up in (False, True):
        make_small(adds_up, monkeypatch.setattr)
        alone = descend("numba", 1, **kinds)
        for n_threads in (2, 3):
            assert same_bits(descend("numba", n_threads, **kinds), alone)
        for cut in (alone, descend("numpy", 1, **kinds)):
            for k in (0, 3, 4):
                np.testing.assert_allclose(cut[k], whole[k], rtol=1e-9, atol=1e-10)


@pytest.mark.compiled
def test_fewer_targets_than_outputs(cut_small):
    """A mean and a log variance for each target."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(40, 3)), rng.normal(size=(40, 2))
    results = []
    for engine, n_threads in (("numpy", 1), ("numba", 1), ("numba", 3)):
        network = Network((3, 20, 4), loss="gaussian", seed=0)
        sgd = OPTIMIZERS["sgd"]
        descent = Descent(network, sgd, np.array([0.01]), 16, engine, n_threads=n_threads)
        total = descent.epoch(X, Y, np.arange(40))
        results.append((network.theta, total))
    assert same_bits(results[1][:1], results[2][:1])
    np.testing.assert_allclose(results[1][0], results[0][0], rtol=1e-10, atol=1e-12)
    assert results[1][1] == pytest.approx(results[0][1], rel=1e-12)


def test_only_what_may_be_cut_is_cut(cut_small):
    for name, layer in LAYERS.items():
        network = Network((20, 20, 20, 20), layers=[AFFINE, layer, AFFINE], seed=0)
        cut = plan.make_plan(network, 40, 2, True)
        assert len(cut.blocks) > 1
        assert cut.stages.tolist() == ([1, 2, 4] if name == "batch_norm" else [1, 4])
        assert [(cut.layer_of == l).sum() > 1 for l in (1, 2, 3)] == [
            True,
            name == "affine",
            True,
        ]


@pytest.mark.parametrize("m", [1, 3, 4, 9, 40, 1000])
def test_a_plan_covers_everything_once(m, cut_small):
    network = Network((13, 20, 7), seed=0)
    cut = plan.make_plan(network, m, 2, True)
    seen = np.zeros(network.theta.size, int)
    for table in cut.parts:
        for offset, rows, columns in table:
            seen[offset : offset + rows * columns] += 1
    assert (seen == 1).all()
    seen[:] = 0
    for offset, _, size in cut.slices[0]:
        seen[offset : offset + size] += 1
    assert (seen == 1).all()
    # A part's slices cover just that part, and where the state lies does not depend on m.
    for i, (W, b) in enumerate(zip(*cut.parts, strict=True)):
        mine = cut.slices[0, cut.part_slices[i] : cut.part_slices[i + 1]]
        assert mine[0, 0] == W[0]
        assert mine[:, 2].sum() == W[1] * W[2] + b[1] * b[2]
    np.testing.assert_array_equal(cut.slices, plan.make_plan(network, 8, 2, False).slices)
    rows = np.zeros(m, int)
    for first, last in zip(cut.starts[:-1], cut.starts[1:], strict=True):
        rows[first:last] += 1
    assert (rows == 1).all()


def test_cuts_depend_on_shapes_alone():
    """Not on how many threads there may be."""
    network = Network((784, 512, 512, 10), dtype="float32", seed=0)
    descents = [
        Descent(network, OPTIMIZERS["sgd"], np.array([0.1]), 256, "numpy", n_threads=n)
        for n in (1, 4)
    ]
    first, second = (descent._cut(256, np.zeros((1, 10))).plan for descent in descents)
    assert len(first.blocks) > 1
    for left, right in zip(first, second, strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_small_step_is_one_item():
    network = Network((64, 100, 10), dtype="float32", seed=0)
    cut = (
        Descent(network, OPTIMIZERS["sgd"], np.array([0.1]), 10, "numpy")
        ._cut(10, np.zeros((1, 10)))
        .plan
    )
    assert len(cut.blocks) == 1
    assert cut.parts.shape[1] == 2


# --- beside anything else ------------------------------------------------------------------------


@pytest.mark.bits
@pytest.mark.compiled
def test_fits_in_several_python_threads(cut_small):
    expected = descend("numba", 1)
    results = [None] * 4

    def fit(k):
        results[k] = descend("numba", 2)

    fits = [threading.Thread(target=fit, args=(k,)) for k in range(4)]
    for thread in fits:
        thread.start()
    for thread in fits:
        thread.join()
    assert all(same_bits(result, expected) for result in results)
    assert threads._process.busy == 0


def blas_threads():
    return {
        pool["filepath"]: pool["num_threads"]
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"  # scikit-learn brings a pool of OpenMP's as well
    }


def test_blas_has_one_thread_during_an_epoch_and_its_own_after(engine):
    seen = []

    def watching(theta, nabla, state, h, t):
        seen.append(blas_threads())
        theta -= theta.dtype.type(h[0]) * nabla

    with threadpoolctl.threadpool_limits(3, "blas"):
        before = blas_threads()
        network = Network((3, 4, 2), seed=0)
        X, Y = np.ones((6, 3)), np.ones((6, 2))
        if engine == "numpy":
            own = OPTIMIZERS["sgd"]._replace(name="watching", step=watching)
            train(network, X, Y, epochs=2, optimizer=own, engine="numpy")
            assert {n for pools in seen[-2:] for n in pools.values()} == {1}
        else:
            train(network, X, Y, epochs=2, engine="numba")
        assert blas_threads() == before


def broken(z, a):
    raise RuntimeError("broken")


def test_blas_gets_its_threads_back_after_an_error(monkeypatch):
    network = Network((3, 4, 2), seed=0)
    network.activations[1] = Activation("broken", broken, broken)
    with threadpoolctl.threadpool_limits(3, "blas"):
        before = blas_threads()
        with pytest.raises(RuntimeError, match="broken"):
            train(network, np.ones((6, 3)), np.ones((6, 2)), engine="numpy")
        assert blas_threads() == before
    assert threads._process.busy == 0


def test_a_blas_that_is_loaded_later_is_held_too():
    code = """
import threadpoolctl
from chainrule import Network, train
from chainrule.engine import threads
train(Network((3, 4, 2), seed=0), [[1, 1, 1]] * 6, [[1, 1]] * 6, epochs=1)
import scipy.special  # brings SciPy's BLAS, but not scipy.linalg
with threads.one_blas_thread():
    pools = threadpoolctl.threadpool_info()
    assert {pool["num_threads"] for pool in pools if pool["user_api"] == "blas"} == {1}, pools
"""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)


def test_blas_is_held_whatever_thread_asks_for_it():
    """Also after another thread did, and where the last to leave is not the first that came."""
    before, seen = blas_threads(), []
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with threads.one_blas_thread():
            seen.append(set(blas_threads().values()))
            inside.set()
            assert leave.wait(10)

    with threads.one_blas_thread():
        pass
    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(10)
    with threads.one_blas_thread():
        leave.set()
        thread.join()
        seen.append(set(blas_threads().values()))
    assert seen == [{1}, {1}]
    assert blas_threads() == before


def test_the_last_to_leave_gives_blas_its_threads_back():
    with threadpoolctl.threadpool_limits(3, "blas"):
        before = blas_threads()
        with threads.one_blas_thread():
            with threads.one_blas_thread():
                assert set(blas_threads().values()) == {1}
            assert set(blas_threads().values()) == {1}
        assert blas_threads() == before


@pytest.mark.parametrize("at_fault", [0, 1, 2])
def test_an_error_in_one_worker_is_raised_and_ends_the_others(at_fault):
    failed = threading.Event()

    def work(worker):
        if worker == at_fault:
            raise ValueError(f"worker {worker}")
        assert failed.wait(10)

    with pytest.raises(ValueError, match=f"worker {at_fault}"):
        threads.side_by_side(work, 3, failed.set)
    assert threads._process.busy == 0


@pytest.mark.compiled
def test_compiled_workers_do_not_wait_for_one_that_failed():
    from chainrule.engine.compilation import compiled

    run = compiled(two_items, "VA", np.dtype("float64"))
    queue = np.zeros(QUEUE, np.int64)
    queue[ABORTED] = 1
    run(np.zeros(1), queue)  # returns, though the second item's worker never comes


def two_items(out, queue):
    i = claim(queue, 0, 2, -1, 0)
    if i < 2:
        i = claim(queue, 0, 2, 2, 0)


@pytest.mark.compiled
@given(n=st.integers(1, MOST_ITEMS), wanted=st.integers(0, 2**MOST_ITEMS - 1))
def test_a_worker_is_given_first_what_it_had_before(n, wanted):
    """And then the rest; each once, until a later phase begins."""
    from chainrule.engine.compilation import compiled

    order = np.full(n, -1)
    queue = np.zeros(QUEUE, np.int64)
    queue[TICKET] = 5 << MOST_ITEMS
    compiled(claim_all, "AAI", np.dtype("float64"))(queue, order, wanted)
    mine = [i for i in range(n) if wanted >> i & 1]
    assert order.tolist() == mine + [i for i in range(n) if i not in mine]
    assert queue[TICKET] == 6 << MOST_ITEMS
    assert queue[DONE] == 0


def claim_all(queue, order, wanted):
    n, k = len(order), 0
    i = claim(queue, 5, n, -1, wanted)
    while i < n:
        order[k] = i
        k += 1
        i = claim(queue, 5, n, i, wanted)


@pytest.mark.parametrize(
    ("omp", "busy", "asked", "expected"),
    [
        ("", 0, None, 4),
        ("2", 0, None, 2),
        ("2,1", 0, None, 2),
        ("many", 0, None, 4),
        ("0", 0, None, 4),
        ("9", 0, None, 4),
        ("", 3, None, 1),
        ("", 9, None, 1),
        ("1", 0, 3, 3),
        ("", 0, 99, 8),
    ],
)
def test_how_many_workers(monkeypatch, omp, busy, asked, expected):
    monkeypatch.setattr(threads, "cores", lambda: 4)
    monkeypatch.setattr(threads._process, "busy", busy)
    monkeypatch.setenv("OMP_NUM_THREADS", omp)
    for parts, workers in ((8, expected), (1, 1)):
        with threads.reserved(parts, asked) as found:
            assert found == workers
            assert threads._process.busy == busy + workers
        assert threads._process.busy == busy


def test_cores_are_those_that_may_be_used():
    assert 1 <= threads.cores() <= (os.cpu_count() or 1)


FIT = """
import hashlib, sys
sys.path.insert(0, {tests!r})
from test_sharing import descend, make_small
make_small({adds_up})
if __name__ == "__main__":
    print(hashlib.sha256(descend("numba", 2)[0].tobytes()).hexdigest())
"""


def fit_in_child(send):
    send.send(descend("numba", 2)[0].tobytes())


@pytest.mark.compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_fits(cut_small):
    expected = descend("numba", 2)[0].tobytes()
    receive, send = multiprocessing.Pipe(duplex=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # BLAS has threads
        child = multiprocessing.get_context("fork").Process(target=fit_in_child, args=(send,))
        child.start()
    assert receive.poll(60)
    assert receive.recv() == expected
    child.join(10)
    assert child.exitcode == 0


@pytest.mark.compiled
def test_another_process_gets_the_same_bits(cut_small):
    import hashlib

    script = FIT.format(tests=os.path.dirname(__file__), adds_up=cut_small)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == hashlib.sha256(descend("numba", 1)[0].tobytes()).hexdigest()


def hashed(n_threads, adds_up):
    make_small(adds_up)
    return descend("numba", n_threads)[0].tobytes(), threads.default_threads()


@pytest.mark.compiled
def test_in_joblib_workers(cut_small):
    joblib = pytest.importorskip("joblib")
    expected = descend("numba", 1)[0].tobytes()
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        results = joblib.Parallel(n_jobs=2)(
            joblib.delayed(hashed)(None, cut_small) for _ in range(2)
        )
    assert results == [(expected, 1)] * 2


# --- no growth with time -------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["momentum", "adam", "rmsprop"])
def test_what_is_kept_of_dead_units_does_not_shrink_for_ever(optimizer, engine, dtype):
    """A ReLU unit that dies: its moments decay, but into 0, never among the slow numbers."""
    network = Network((4, 6, 2), dtype=dtype, init="he_normal", seed=0)
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(40, 4)), rng.normal(size=(40, 2))
    chosen = OPTIMIZERS[optimizer]
    hyper = np.array(list(chosen.hyper.values()))
    if optimizer == "rmsprop":
        hyper[1] = 0.5
    descent = Descent(network, chosen, hyper, 4, engine)
    order = np.arange(40)
    X, Y = X.astype(dtype), Y.astype(dtype)
    descent.epoch(X, Y, order)
    moved = np.abs(descent.state.memory) > 0
    network.b[1][:3] = -100  # three units die
    dead = None
    for _ in range(800):
        descent.epoch(X, Y, order)
        size = np.abs(descent.state.memory)
        slow = (size > 0) & (size < np.finfo(dtype).tiny)
        assert not slow.any()
        dead = moved & (size == 0)
    assert dead.sum() >= 3 * (4 + 1)


@given(
    cores=st.integers(1, 6),
    fits=st.integers(1, 6),
    order=st.lists(st.integers(0, 5), max_size=30),
)
def test_fits_in_threads_come_to_share_the_cores(cores, fits, order):
    """Each begins one epoch after the other; from its second on they fill the cores, no more."""
    running = {}
    process = threads._Process()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "_process", process)
        patch.setattr(threads, "default_threads", lambda: cores)
        for fit in [*range(fits), *(f % fits for f in order), *range(fits)]:
            if fit in running:
                running.pop(fit)[0].__exit__(None, None, None)
            epoch = threads.reserved(8)
            running[fit] = epoch, epoch.__enter__()
            assert all(workers >= 1 for _, workers in running.values())
            assert process.busy == sum(workers for _, workers in running.values())
            # Those that came later have one worker each, and no epoch starts beyond the cores.
            assert process.busy <= cores + fits - 1
        assert process.busy <= max(cores, fits)
        for epoch, _ in running.values():
            epoch.__exit__(None, None, None)
    assert process.busy == 0


class Counting(threads._Process):
    """Remembers how many workers were at work at once."""

    def __init__(self):
        super().__init__()
        self.most = 0

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "busy":
            self.most = max(getattr(self, "most", 0), value)


def search(n_jobs):
    """A grid search, each fit of which is cut into parts for as many workers as there are."""
    joblib = pytest.importorskip("joblib")
    from sklearn.model_selection import GridSearchCV

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(120, 12)), rng.integers(0, 2, 120)
    model = MLPClassifier(20, batch_size=40, max_iter=3, engine="numba", random_state=0)
    with joblib.parallel_config("threading"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        GridSearchCV(model, {"alpha": [0, 1e-3]}, cv=2, n_jobs=n_jobs).fit(X, y)


@pytest.mark.compiled
@pytest.mark.parametrize("n_jobs", [1, 2, 4])
def test_a_search_with_threads_shares_the_cores(n_jobs, cut_small, monkeypatch):
    """Three cores; each thread of the search is a worker, and may start when others have begun."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "cores", lambda: 3)
    process = Counting()
    monkeypatch.setattr(threads, "_process", process)
    search(n_jobs)
    assert 3 <= process.most <= 3 + n_jobs - 1
    assert process.busy == 0


@pytest.mark.bits
@pytest.mark.compiled
def test_an_estimator_takes_no_more_threads_than_asked(cut_small, monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(120, 12)), rng.integers(0, 2, 120)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "cores", lambda: 3)
    most, weights = [], []
    for n_threads in (None, 1, 2):
        process = Counting()
        monkeypatch.setattr(threads, "_process", process)
        model = MLPClassifier(20, batch_size=40, max_iter=2, engine="numba", random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.set_params(n_threads=n_threads).fit(X, y)
        most.append(process.most)
        weights.append(model.coefs_[0].tobytes())
    assert most == [3, 1, 2]
    assert len(set(weights)) == 1


def _in_a_worker(_):
    return threads.default_threads(), threads.cores()


def test_processes_of_a_search_share_the_cores(monkeypatch):
    """joblib tells its workers what each may use, and we listen."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    joblib = pytest.importorskip("joblib")
    for n_jobs in (2, 4):
        with joblib.parallel_config("loky"):
            told = joblib.Parallel(n_jobs=n_jobs)(
                joblib.delayed(_in_a_worker)(None) for _ in range(n_jobs)
            )
        for each, cores in told:
            assert each == max(1, min(cores, os.cpu_count() // n_jobs))


# --- the sharing policy --------------------------------------------------------------------------


def shared_by(policy, seconds, runs, working=1.0):
    """Which way was chosen for each of so many runs, a step taking `seconds[way]`."""
    ways = []
    for _ in range(runs):
        way = policy.choose()
        policy.note(way, seconds[way], working)
        ways.append(way)
    return ways


def test_pace_shares_and_seldom_tries_alone():
    ways = shared_by(threads.SharingPolicy(), {True: 1.0, False: 1.8}, 1000)
    assert all(ways[: threads.FIRST_TRIAL])
    assert 1 <= ways.count(False) <= 1000 / threads.LAST_TRIAL + 4
    assert not any(left == right is False for left, right in itertools.pairwise(ways))


def test_pace_goes_alone_where_that_is_faster_and_comes_back():
    policy = threads.SharingPolicy()
    ways = shared_by(policy, {True: 1.0, False: 0.5}, 200)
    assert ways[-threads.LAST_TRIAL :].count(False) >= threads.LAST_TRIAL - 2
    ways = shared_by(policy, {True: 0.4, False: 0.5}, 100)
    assert ways.count(True) >= 30
    assert policy.shared


def test_pace_goes_alone_where_sharing_gains_next_to_nothing():
    ways = shared_by(threads.SharingPolicy(), {True: 1.0, False: 1.02}, 200)
    assert ways[-threads.LAST_TRIAL :].count(False) >= threads.LAST_TRIAL - 2


def test_pace_tries_at_once_if_workers_are_kept_waiting():
    ways = shared_by(threads.SharingPolicy(), {True: 1.0, False: 0.5}, 4, working=0.5)
    assert ways == [True, False, False, False]


@pytest.mark.bits
@pytest.mark.compiled
def test_whatever_the_pace_the_same_bits(cut_small, monkeypatch):
    expected = descend("numba", 1)
    rng = np.random.default_rng(0)
    monkeypatch.setattr(threads.SharingPolicy, "choose", lambda self: bool(rng.integers(2)))
    monkeypatch.setattr(threads.SharingPolicy, "note", lambda self, way, seconds, working: None)
    assert same_bits(descend("numba", 2), expected)


# --- plain descent, without room for a gradient --------------------------------------------------


def as_sgd(theta, nabla, state, h, t):
    theta -= theta.dtype.type(h[0]) * nabla


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rules", [Rules(), Rules(max_norm=0.5, average=0.1)], ids=["none", "some"])
@pytest.mark.parametrize("middle", [None, layer_norm()], ids=["affine", "layer_norm"])
def test_a_step_taken_with_the_gradient_is_the_same_step(
    engine, dtype, middle, rules, weighted, monkeypatch
):
    """Beside an optimiser that is plain descent, and is not known to be; cut and whole."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(50, 6)).astype(dtype), rng.normal(size=(50, 3)).astype(dtype)
    weight = rng.uniform(0, 2, 50).astype(dtype) if weighted else None
    found = []
    for cut in (False, True):
        if cut:
            make_small(False, monkeypatch.setattr)
        for own in (False, True):
            layers = [AFFINE, middle, AFFINE] if middle else None
            sizes = (6, 20, 20, 3) if middle else (6, 20, 3)
            network = Network(sizes, dtype=dtype, layers=layers, init="he_normal", seed=0)
            sgd = OPTIMIZERS["sgd"]
            chosen = sgd._replace(name="own", step=as_sgd) if own else sgd
            descent = Descent(network, chosen, np.array([0.05]), 20, engine, rules, n_threads=2)
            assert descent._traits.is_fused.any() == (not own and engine == "numba")
            with descent.at_work():
                descent.epoch(X, Y, np.arange(50), weight)
            found.append(np.concatenate([network.theta, descent.state.average]))
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "rules",
    [Rules(l2=0.1), Rules(l1=0.1), Rules(decay=0.1), Rules(clip_value=1), Rules(clip_norm=1)],
)
def test_what_needs_the_gradient_gets_it(rules):
    network = Network((3, 4, 2), seed=0)
    assert fused_layers(network, OPTIMIZERS["sgd"], Rules()).tolist() == [0, 1, 1]
    assert not fused_layers(network, OPTIMIZERS["sgd"], rules).any()


# --- what lies below the lowest layer that learns ------------------------------------------------


def test_no_delta_is_computed_below_the_lowest_layer_that_learns(monkeypatch):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(30, 4)), rng.normal(size=(30, 2))
    asked = []

    def spied(*arguments):
        asked.append(arguments[5].shape)
        AFFINE.pullback(*arguments)

    spy = AFFINE._replace(pullback=spied)
    fixed = standardize(X.mean(axis=0), X.std(axis=0))
    thetas = []
    for layers, inputs in (([fixed, spy, spy], X), ([spy, spy], fixed_inputs(X))):
        sizes = (4, 4, 5, 2) if len(layers) == 3 else (4, 5, 2)
        activation = ["identity", "relu", "identity"][-len(layers) :]
        network = Network(sizes, layers=layers, activation=activation, init="zeros", seed=0)
        network.W[-2][:], network.W[-1][:] = 0.1, np.arange(10).reshape(5, 2) / 10
        asked.clear()  # a new layer's pullback is checked
        train(network, inputs, Y, epochs=2, batch_size=10, shuffle=False, engine="numpy")
        thetas.append(network.theta)
        assert set(asked) == {(10, 5)}
    np.testing.assert_allclose(thetas[0], thetas[1], rtol=1e-12)


def fixed_inputs(X):
    return (X - X.mean(axis=0)) / X.std(axis=0)


# --- workers that stay ---------------------------------------------------------------------------


class Played:
    """Work for a pool: the others wait on the queue, in plain Python, for what is announced."""

    def __init__(self, fails=False):
        self.queue = np.zeros(QUEUE, np.int64)
        self.calls, self.fails, self.over = [], fails, threading.Semaphore(0)

    def __call__(self, k, steps):
        self.calls.append((k, steps))
        if steps:
            self.queue[ANNOUNCED] = k + steps
            return
        if self.fails:
            raise ZeroDivisionError("a helper")
        while not self.queue[ABORTED]:
            time.sleep(1e-3)
        self.over.release()


def test_a_pool_is_started_once_and_runs_again_and_again():
    played = Played()
    pool = threads.WorkerPool(played, played.queue, 3)
    for steps in (5, 2, 4):
        assert pool.complete
        pool.run(steps)
    pool.stop()
    assert all(played.over.acquire(timeout=60) for _ in range(2))
    assert sorted(played.calls) == [(0, 0), (0, 0), (0, 5), (5, 2), (7, 4)]
    assert not pool.complete


def test_a_pool_of_which_a_thread_has_ended_is_not_complete():
    played = Played()
    pool = threads.WorkerPool(played, played.queue, 2)
    played.queue[GONE] = 1
    assert not pool.complete
    pool.stop()


def test_a_pool_in_a_forked_child_is_not_complete(monkeypatch):
    played = Played()
    pool = threads.WorkerPool(played, played.queue, 2)
    assert pool.complete
    monkeypatch.setattr(os, "getpid", lambda: 0)
    assert not pool.complete
    pool.stop()


def test_an_error_in_another_thread_is_raised_by_run():
    played = Played(fails=True)
    pool = threads.WorkerPool(played, played.queue, 2)
    deadline = time.monotonic() + 60
    while not played.queue[ABORTED] and time.monotonic() < deadline:
        time.sleep(1e-3)
    with pytest.raises(ZeroDivisionError, match="a helper"):
        pool.run(1)
    assert not pool.complete


def test_an_error_in_run_ends_the_other_threads():
    def work(k, steps):
        if steps:
            raise KeyboardInterrupt

    queue = np.zeros(QUEUE, np.int64)
    pool = threads.WorkerPool(work, queue, 2)
    with pytest.raises(KeyboardInterrupt):
        pool.run(1)
    assert queue[ABORTED]


@pytest.mark.compiled
def test_who_waits_for_steps_goes_when_none_come_or_when_sent_home():
    from chainrule.engine.compilation import compiled

    run = compiled(waits, "AIA", np.dtype("float64"))
    seen = np.zeros(1, np.int64)
    queue = np.zeros(QUEUE, np.int64)
    queue[ANNOUNCED] = 3
    run(queue, 2, seen)
    assert seen[0] == 3
    assert queue[GONE] == 0
    run(queue, 3, seen)
    assert seen[0] == 3
    assert queue[GONE] == 1
    queue[ANNOUNCED], queue[ABORTED] = 4, 1
    run(queue, 3, seen)
    assert seen[0] == 3


def waits(queue, k, seen):
    seen[0] = announced_steps(queue, k, 0)


CHANGES = ("epoch", "epoch", "short epoch", "long epoch", "rest", "hyper", "X", "weight", "pause")


def course(n_threads, changes):
    """Some epochs, between which things change; (theta, state, totals)."""
    rng = np.random.default_rng(0)
    network = Network((6, 9, 3), init="he_normal", seed=1)
    X, Y, weight = rng.normal(size=(96, 6)), rng.normal(size=(96, 3)), None
    momentum = OPTIMIZERS["momentum"]
    descent = Descent(network, momentum, np.array([0.01, 0.9]), 8, "numba", n_threads=n_threads)
    totals = []
    with descent.at_work():
        for change in changes:
            if change == "hyper":
                descent.state.hyper[1] *= 0.9
            elif change == "X":
                X = X + 0.01
            elif change == "weight":
                weight = rng.uniform(0, 2, 96) if weight is None else None
            elif change == "pause":
                time.sleep(0.02)
            else:
                n = {"epoch": 40, "short epoch": 16, "long epoch": 96, "rest": 45}[change]
                totals.append(descent.epoch(X, Y, rng.permutation(96)[:n], weight))
    return network.theta, descent.state.memory, np.array(totals)


@pytest.mark.bits
@pytest.mark.compiled
@settings(max_examples=25)
@given(changes=st.lists(st.sampled_from(CHANGES), min_size=3, max_size=40))
@example(changes=["long epoch", "hyper"] * 50)
@example(changes=["long epoch", "weight"] * 50)
def test_whatever_changes_between_epochs_those_who_stayed_do_the_same(changes):
    with pytest.MonkeyPatch.context() as patch:
        make_small(False, patch.setattr)
        assert same_bits(course(3, changes), course(1, changes))


@pytest.mark.compiled
def test_workers_are_kept_for_a_fit_and_end_after_it(cut_small, monkeypatch):
    started = []

    class Noted(threads.WorkerPool):
        def __init__(self, *given):
            super().__init__(*given)
            started.append(self)

    monkeypatch.setattr(threads, "WorkerPool", Noted)
    monkeypatch.setattr(threads.SharingPolicy, "choose", lambda self: True)
    monkeypatch.setattr(threads.SharingPolicy, "note", lambda self, way, seconds, working: None)
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(400, 6)), rng.normal(size=(400, 3))
    network = Network((6, 20, 3), seed=0)
    history = train(network, X, Y, epochs=60, batch_size=40, engine="numba", n_threads=2)
    assert len(history.epochs) == 60
    assert 1 <= len(started) < 60  # some may have gone in between on a busy machine
    assert all(pool.queue[ABORTED] for pool in started)


@pytest.mark.compiled
@pytest.mark.parametrize(("n_threads", "expected"), [(2, [True, True]), (1, [])])
def test_the_time_of_steps_is_noted_where_threads_share_them(monkeypatch, n_threads, expected):
    """Where there is no thread to share them with, their time says nothing of sharing."""
    noted = []
    monkeypatch.setattr(
        threads.SharingPolicy, "note", lambda self, shared, *times: noted.append(shared)
    )
    X, Y = np.ones((400, 200)), np.ones((400, 10))
    network = Network((200, 400, 10), seed=0)
    train(network, X, Y, epochs=2, batch_size=400, engine="numba", n_threads=n_threads)
    assert noted == expected
