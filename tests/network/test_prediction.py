"""Prediction: blocks, threads, memory, and the fast path for one row."""

from __future__ import annotations

import _thread
import threading
import time
import tracemalloc

import numpy as np
import pytest

from chainrule import ACTIVATIONS, LAYERS, MLPClassifier, Network, set_config
from chainrule.engine import threads
from chainrule.equations.layers import AFFINE
from chainrule.network import predictor


@pytest.fixture
def own_threads():
    """Whatever a test sets, the default after it."""
    yield
    set_config(n_threads=0)


@pytest.fixture(scope="module")
def served():
    """A network, 5,000 rows, and their outputs."""
    network = Network((64, 100, 10), loss="cross_entropy", dtype="float32", seed=0)
    X = np.random.default_rng(0).normal(size=(5000, 64)).astype("float32")
    return network, X, network.predict(X)


@pytest.mark.parametrize("rows", [2048, 2049, 2111, 3999])
@pytest.mark.parametrize("start", [0, 1, 7, 1001])
def test_rows_agree_whatever_is_around_them(served, start, rows):
    network, X, output = served
    part = network.predict(X[start : start + rows])
    np.testing.assert_allclose(part, output[start : start + rows], rtol=2e-5, atol=1e-6)


def test_few_rows_agree_with_many(served):
    network, X, output = served
    for rows in (1, 2, 3, 17, 127, 128, 129, 2047):
        np.testing.assert_allclose(network.predict(X[:rows]), output[:rows], rtol=2e-5, atol=1e-6)


@pytest.mark.bits
def test_any_number_of_threads_gives_the_same_bits(served, monkeypatch, own_threads):
    network, X, output = served
    monkeypatch.setattr(predictor, "SHARED", 0)
    for n_threads in (1, 2, 3, 50):
        set_config(n_threads=n_threads)
        assert network.predict(X).tobytes() == output.tobytes()


@pytest.mark.bits
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (3, 1), (5, 40), (64, 10)])
def test_the_same_call_gives_the_same_bits_whoever_takes_a_block(
    dtype, n_in, n_out, monkeypatch, own_threads
):
    """At odd addresses too; in another order to within rounding."""
    network = Network((n_in, 30, n_out), output_activation="softmax", dtype=dtype, seed=0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5000, n_in)).astype(dtype)
    output = network.predict(X)
    monkeypatch.setattr(predictor, "SHARED", 0)
    shifted = np.empty(X.size + 1, dtype)[1:].reshape(X.shape)
    shifted[:] = X
    for n_threads in (1, 2, 3):
        set_config(n_threads=n_threads)
        assert network.predict(X).tobytes() == output.tobytes()
        assert network.predict(shifted).tobytes() == output.tobytes()
    order = rng.permutation(len(X))[:4500]
    tolerance = 100 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(network.predict(X[order]), output[order], rtol=tolerance)


@pytest.mark.bits
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_no_more_threads_than_asked_and_none_for_little(monkeypatch, own_threads):
    X = np.random.default_rng(0).normal(size=(100_000, 30)).astype("float32")
    model = MLPClassifier((40,), max_iter=1, engine="numpy", random_state=0)
    model.fit(X[:90], np.arange(90) % 3)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "cores", lambda: 3)
    workers = []
    side_by_side = threads.side_by_side

    def counted(work, n, abort):
        workers.append(n)
        return side_by_side(work, n, abort)

    monkeypatch.setattr(threads, "side_by_side", counted)
    outputs = [model.set_params(n_threads=n).predict_proba(X) for n in (None, 1, 2)]
    set_config(n_threads=2)
    outputs.append(model.set_params(n_threads=None).predict_proba(X))
    set_config(n_threads=0)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    outputs.append(model.predict_proba(X))
    assert workers == [3, 1, 2, 2, 1]
    assert all(output.tobytes() == outputs[0].tobytes() for output in outputs)
    monkeypatch.delenv("OMP_NUM_THREADS")
    workers.clear()
    for rows in (1, 30, 1000):
        model.predict_proba(X[:rows])
    assert set(workers) <= {1}


@pytest.mark.bits
def test_a_memory_map_is_read_and_not_written(served, tmp_path):
    network, X, output = served
    X.tofile(tmp_path / "X")
    mapped = np.memmap(tmp_path / "X", X.dtype, "r", shape=X.shape)
    assert network.predict(mapped).tobytes() == output.tobytes()
    assert np.fromfile(tmp_path / "X", X.dtype).tobytes() == X.tobytes()


class Two:
    """A forward pass in which a second thread takes blocks as well, and one of both fails."""

    def __init__(self, error, who_fails):
        self.error, self.who_fails = error, who_fails
        self.both, self.calls = threading.Barrier(2, timeout=60), 0
        self.met = threading.local()

    def __call__(self, W, b, s, a, z):
        self.calls += 1
        if not hasattr(self.met, "other"):  # the first block of each thread
            self.both.wait()
            self.met.other = True
        elif (threading.current_thread() is threading.main_thread()) == self.who_fails:
            raise self.error
        AFFINE.forward(W, b, s, a, z)


@pytest.mark.parametrize("main_thread_fails", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_failure_in_one_thread_ends_the_prediction(
    error, main_thread_fails, monkeypatch, own_threads
):
    network = Network((4, 5, 2), dtype="float32", seed=0)
    two = Two(error, main_thread_fails)
    network.layers[1] = AFFINE._replace(forward=two)
    monkeypatch.setattr(predictor, "SHARED", 0)
    monkeypatch.setattr(predictor, "BLOCK_ROWS", 64)
    set_config(n_threads=2)
    before = _thread._count()
    X = np.zeros((64 * 5_000, 4), np.float32)
    with pytest.raises(error):
        network.predict(X)
    assert two.calls < 5_000
    end = time.monotonic() + 60
    while _thread._count() > before and time.monotonic() < end:  # its last instructions
        time.sleep(0.001)
    assert _thread._count() == before


def test_memory_is_bounded(own_threads):
    """Also with rows of another dtype, which are converted block by block."""
    network = Network((64, 100, 10), dtype="float32", seed=0)
    X = np.zeros((200_000, 64))
    network.predict(X[:5])
    tracemalloc.start()
    try:
        network.predict(X)
        beyond_output = tracemalloc.get_traced_memory()[1] - 200_000 * 10 * 4
    finally:
        tracemalloc.stop()
    assert beyond_output < 16e6


def test_memory_of_earlier_predictions_is_nobody_elses(own_threads):
    """Networks of other widths and dtypes, one after the other and at the same time."""
    rng = np.random.default_rng(0)
    tasks = []
    for k, (dtype, width, rows) in enumerate(
        [("float32", 90, 1500), ("float64", 30, 700), ("float32", 7, 3), ("float64", 60, 2100)]
    ):
        network = Network((5, width, 3), activation="relu", dtype=dtype, seed=k)
        network.theta += 0.1  # biases too
        X = rng.normal(size=(rows, 5)).astype(dtype)
        tasks.append((network, X, network.forward(X).a[-1]))
    wrong = []

    def predict(k):
        network, X, expected = tasks[k % len(tasks)]
        tolerance = 1e-5 if network.dtype == np.float32 else 1e-12
        for _ in range(30):
            if not np.allclose(network.predict(X), expected, rtol=tolerance, atol=tolerance):
                wrong.append(k)

    together = [threading.Thread(target=predict, args=(k,)) for k in range(8)]
    for one in together:
        one.start()
    for one in together:
        one.join()
    assert wrong == []
    Network((3, 400_000, 1), dtype="float64", seed=0).predict(np.ones((2, 3)))
    assert all(room.nbytes <= predictor.MOST_KEPT for room in predictor._kept)


def test_a_bad_number_is_named_by_its_row_in_all_rows(served, monkeypatch, own_threads):
    network, X, _ = served
    bad = X.copy()
    bad[2500, 3] = np.nan
    with pytest.raises(ValueError, match="row 2500, column 3"):
        network.predict(bad)
    monkeypatch.setattr(predictor, "SHARED", 0)
    set_config(n_threads=2)
    bad[1500, 7] = np.inf  # whichever thread comes upon which of them
    with pytest.raises(ValueError, match="inf in row 1500, column 7 and 1 more"):
        network.predict(bad)
    with pytest.raises(ValueError, match="shape"):
        network.predict(X[:, :5])
    with pytest.raises(ValueError, match="no rows"):
        network.predict(X[:0])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("output", ["identity", "softmax", "logistic"])
def test_one_row_agrees(activation, output, dtype):
    network = Network(
        (5, 7, 3), activation=activation, output_activation=output, dtype=dtype, seed=0
    )
    X = np.random.default_rng(1).normal(size=(20, 5)).astype(dtype)
    predict_row = network.predictor()
    rows = np.array([predict_row(x) for x in X])
    assert rows.dtype == dtype
    tolerance = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(rows, network.predict(X), rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("n_out", [1, 2, 10, 32, 33, 100])
@pytest.mark.parametrize("output", ["softmax", "relu", "logistic"])
def test_one_row_agrees_where_numbers_are_extreme(output, n_out, dtype):
    """Where the network overflows both say NaN, which `predict` refuses; softmax does not."""
    network = Network((5, 7, n_out), output_activation=output, dtype=dtype, seed=0)
    predict_row = network.predictor()
    rng = np.random.default_rng(1)
    largest = np.finfo(dtype).max
    for scale in (0, np.finfo(dtype).tiny, 1, 100, 1e4, 1e18, largest / 100, largest):
        X = (scale * rng.uniform(-1, 1, (20, 5))).astype(dtype)
        rows = np.array([predict_row(x) for x in X])
        unchecked = predictor.predict_rows(network.bind_forward, network.sizes, network.W, X, None)
        np.testing.assert_allclose(rows, unchecked, rtol=2e-3, atol=1e-6)
        if np.isfinite(unchecked).all():
            assert network.predict(X).tobytes() == unchecked.tobytes()
        else:
            with pytest.raises(ValueError, match="the output is not finite for"):
                network.predict(X)
        if scale <= 1e4:
            assert np.isfinite(rows).all()


def test_a_nan_in_one_row_comes_out():
    predict_row = Network((5, 7, 3), output_activation="softmax", seed=0).predictor()
    assert np.isnan(predict_row(np.array([1, 2, np.nan, 4, 5]))).all()


@pytest.mark.parametrize("layer", LAYERS.values(), ids=list(LAYERS))
def test_one_row_through_every_layer(layer):
    network = Network((5, 7, 7, 3), layers=[AFFINE, layer, AFFINE], seed=0)
    x = np.linspace(-1, 1, 5)
    np.testing.assert_allclose(network.predictor()(x), network.predict(x[None])[0], rtol=1e-12)


def test_the_row_is_left_alone_and_results_are_new(served):
    network, X, _ = served
    predict_row = network.predictor()
    before = X[:2].copy()
    first = predict_row(X[0])
    kept = first.copy()
    second = predict_row(X[1])
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(X[:2], before)


def test_a_predictor_sees_the_parameters_of_the_moment():
    network = Network((3, 4, 2), seed=0)
    predict_row = network.predictor()
    x = np.ones(3)
    before = predict_row(x)
    network.theta *= 2
    assert not np.allclose(predict_row(x), before)
    np.testing.assert_allclose(predict_row(x), network.predict(x[None])[0], rtol=1e-12)


@pytest.mark.bits
def test_one_predictor_in_many_threads(served):
    network, X, _ = served
    predict_row = network.predictor()
    expected = [predict_row(x) for x in X[:200]]
    wrong = []

    def serve():
        for x, y in zip(X[:200], expected, strict=True):
            if not np.array_equal(predict_row(x), y):
                wrong.append(x)

    callers = [threading.Thread(target=serve) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_rows_take_little_memory_beyond_the_output(dtype):
    X = np.random.default_rng(0).normal(size=(100_000, 20)).astype(dtype)
    model = MLPClassifier((8,), max_iter=2, engine="numpy").fit(X[:300], np.arange(300) % 3)
    model.predict_proba(X[:3000])
    tracemalloc.start()
    try:
        output = model.predict_proba(X)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < output.nbytes + X.nbytes / 16


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_sum_that_overflows_is_not_taken_for_an_infinity():
    X = np.full((4, 2), 3e38, np.float32)
    X[0] = 0
    model = MLPClassifier((3,), max_iter=2, engine="numpy", standardize=False)
    model.fit(np.eye(4, 2, dtype=np.float32), [0, 1, 0, 1])
    assert model.predict(X).shape == (4,)
    X[1, 1] = np.inf
    with pytest.raises(ValueError, match=r"(?s)infinity.*Columns at fault: 1"):
        model.predict(X)
    with pytest.raises(ValueError, match="row 0, column 1"):  # finite, but not as float32
        model.predict(np.array([[0, 1e300]]))
