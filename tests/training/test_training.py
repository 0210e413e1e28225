"""Training: order, batches, reproducibility, stopping, diverging, and what it refuses."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import chainrule
from chainrule import OPTIMIZERS, DivergenceError, Network, Optimizer, train
from chainrule.equations import backprop
from chainrule.equations.layers import AFFINE, batch_norm
from chainrule.training import kernel
from chainrule.training.descent import Descent
from chainrule.training.divergence import explain
from chainrule.training.train import choose_engine


def problem(n=23, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)), rng.normal(size=(n, 2))


def fresh(**kwargs):
    return Network((3, 5, 2), **{"activation": "tanh", "seed": 1} | kwargs)


# --- what an epoch is ------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m"), [(23, 5), (20, 5), (4, 5), (7, 1), (5, None), (1, 10)])
def test_batches_by_hand(n, m, engine):
    """Every sample once an epoch, in the drawn order; each batch averaged over its own rows."""
    X, Y = problem(n)
    network, mirror = fresh(), fresh()
    history = train(network, X, Y, epochs=2, batch_size=m, learning_rate=0.1, seed=9, engine=engine)
    rng = np.random.default_rng(9)
    for epoch in history.epochs:
        order, total = rng.permutation(n), 0.0
        for start in range(0, n, m or n):
            rows = order[start : start + (m or n)]
            gradients = [mirror.gradient(X[i : i + 1], Y[i : i + 1]) for i in rows]
            total += sum(cost for cost, _ in gradients)
            mirror.theta -= 0.1 * sum(nabla for _, nabla in gradients) / len(rows)
        assert epoch.cost == pytest.approx(total / n, rel=1e-12)
    np.testing.assert_allclose(network.theta, mirror.theta, rtol=1e-11)
    assert [epoch.epoch for epoch in history.epochs] == [0, 1]
    assert (history.stopped, history.engine) == ("", engine)
    assert history.seconds == sum(epoch.seconds for epoch in history.epochs) > 0


@pytest.mark.parametrize(("l2", "l1"), [(0.7, 0.0), (0.0, 0.02), (0.3, 0.1)])
def test_penalties_by_hand(l2, l1, engine):
    """A batch of m rows adds (l2/2 Σ W² + l1 Σ |W|) / m to its mean cost; biases have none."""
    X, Y = problem(11)
    network, mirror = fresh(), fresh()
    history = train(
        network, X, Y, epochs=1, batch_size=4, learning_rate=0.1, l2=l2, l1=l1,
        shuffle=False, engine=engine,
    )  # fmt: skip
    total = 0.0
    for rows in (slice(0, 4), slice(4, 8), slice(8, 11)):
        m = len(X[rows])
        cost, nabla = mirror.gradient(X[rows], Y[rows])
        nabla_W, _ = mirror.views(nabla)
        for l in (1, 2):
            W = mirror.W[l]
            total += l2 / 2 * (W**2).sum() + l1 * np.abs(W).sum()
            nabla_W[l][...] += (l2 * W + l1 * np.sign(W)) / m
        total += m * cost
        mirror.theta -= 0.1 * nabla
    np.testing.assert_allclose(network.theta, mirror.theta, rtol=1e-11)
    assert history.epochs[0].cost == pytest.approx(total / 11, rel=1e-12)


def test_without_shuffling_samples_come_as_given(engine):
    X, Y = problem()
    network, other = fresh(), fresh()
    train(network, X, Y, epochs=2, batch_size=5, shuffle=False, seed=1, engine=engine)
    train(other, X, Y, epochs=2, batch_size=5, shuffle=False, seed=2, engine=engine)
    assert network.theta.tobytes() == other.theta.tobytes()


@pytest.mark.bits
def test_same_seed_same_bits(engine, dtype):
    X, Y = problem()

    def run(seed):
        network = fresh(dtype=dtype)
        history = train(network, X, Y, epochs=3, seed=seed, optimizer="adam", engine=engine)
        return network.theta.tobytes(), [epoch.cost for epoch in history.epochs]

    assert run(3) == run(3)
    assert run(3) != run(4)
    assert run(np.random.default_rng(3)) == run(3)


def test_full_batch_is_gradient_descent(engine):
    """With all rows in a batch the order is nothing but rounding, and the cost falls each time."""
    X, Y = problem(200)
    network, other = fresh(), fresh()
    history = train(
        network, X, Y, epochs=30, batch_size=None, learning_rate=0.1, seed=1, engine=engine
    )
    train(other, X, Y, epochs=30, batch_size=1000, learning_rate=0.1, seed=2, engine=engine)
    np.testing.assert_allclose(network.theta, other.theta, rtol=1e-10)
    costs = [epoch.cost for epoch in history.epochs]
    assert all(np.diff(costs) < 0)
    assert costs[0] == pytest.approx(fresh().cost(X, Y), rel=1e-12)


RATES = {"radam": 0.05, "adagrad": 0.5, "adadelta": 10.0}  # those that start slowly


@pytest.mark.parametrize("optimizer", chainrule.OPTIMIZERS)
def test_every_optimizer_learns(optimizer, engine, dtype):
    """A plane: found to within a thousandth of the variance."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    Y = X @ rng.normal(size=(3, 2)) + [1, -1]
    network = Network((3, 2), dtype=dtype, seed=0)
    rate = RATES.get(optimizer, 0.01)
    train(network, X, Y, epochs=40, optimizer=optimizer, learning_rate=rate, seed=0, engine=engine)
    assert network.cost(X, Y) < 1e-3 * Y.var()


def test_data_are_only_read(engine):
    X, Y = problem()
    network, other = fresh(), fresh()
    train(network, X, Y, epochs=1, seed=0, engine=engine)
    X.flags.writeable = Y.flags.writeable = False
    train(other, np.asfortranarray(X), Y, epochs=1, seed=0, engine=engine)
    assert network.theta.tobytes() == other.theta.tobytes()


def test_no_epochs_no_change(engine):
    network = fresh()
    history = train(network, *problem(), epochs=0, engine=engine)
    assert history.epochs == []
    assert network.theta.tobytes() == fresh().theta.tobytes()


# --- stopping --------------------------------------------------------------------------------


def test_callback_sees_each_epoch_and_stops(engine):
    seen = []

    def callback(network, epoch):
        seen.append((epoch.epoch, network.theta.copy()))
        return epoch.epoch == 2

    network = fresh()
    history = train(network, *problem(), epochs=10, seed=0, callback=callback, engine=engine)
    assert history.stopped == "callback"
    assert [epoch for epoch, _ in seen] == [0, 1, 2] == [e.epoch for e in history.epochs]
    assert not np.array_equal(seen[0][1], seen[1][1])
    np.testing.assert_array_equal(seen[-1][1], network.theta)


def test_interrupt_in_a_callback_keeps_what_was_learned(engine):
    def callback(network, epoch):
        if epoch.epoch == 1:
            raise KeyboardInterrupt

    network, other = fresh(), fresh()
    history = train(network, *problem(), epochs=9, seed=0, callback=callback, engine=engine)
    train(other, *problem(), epochs=2, seed=0, engine=engine)
    assert history.stopped == "interrupted"
    assert len(history.epochs) == 2
    assert network.theta.tobytes() == other.theta.tobytes()


@pytest.mark.bits
@pytest.mark.parametrize(("callback", "epochs"), [(lambda network, epoch: False, 19), (None, 16)])
def test_interrupt_within_an_epoch_goes_back_to_its_start(callback, epochs):
    """Whole epochs only: what is kept is what a shorter run would have given.

    Short epochs of which none is looked at are gone through 16 in a call, and it goes back by one.
    """
    steps = []

    def step(theta, nabla, state, h, t):
        steps.append(t)
        if t == 59:
            raise KeyboardInterrupt
        theta -= h[0] * nabla

    own = Optimizer("own", step, 0, {"learning_rate": 0.01})
    network, other = fresh(), fresh()
    chainrule.network.checking.check_optimizer(own)
    given = {"seed": 0, "engine": "numpy"}
    history = train(network, *problem(), epochs=30, optimizer=own, callback=callback, **given)
    train(other, *problem(), epochs=epochs, **given)  # 3 batches an epoch
    assert (history.stopped, len(history.epochs), steps[-1]) == ("interrupted", epochs, 59)
    assert network.theta.tobytes() == other.theta.tobytes()


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to send")
def test_ctrl_c(engine):
    """A real SIGINT in the midst of a long training."""
    code = """
        import signal
        import sys
        import numpy as np
        from chainrule import Network, train

        signal.signal(signal.SIGINT, signal.default_int_handler)  # also in a background job
        rng = np.random.default_rng(0)
        X, Y = rng.normal(size=(2000, 3)), rng.normal(size=(2000, 2))
        network = Network((3, 50, 2), activation="tanh", seed=1)
        kept = []

        def callback(network, epoch):
            kept.append(network.theta.copy())
            if epoch.epoch == 2:
                print("go", flush=True)

        history = train(
            network, X, Y, epochs=10**9, seed=0, engine=sys.argv[1], callback=callback
        )
        assert history.stopped == "interrupted", history.stopped
        assert len(history.epochs) == len(kept) >= 3
        assert np.array_equal(network.theta, kept[-1])
        print("clean", flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), engine],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "go\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (0, "clean\n"), err


# --- diverging -------------------------------------------------------------------------------


def exploding(engine, dtype="float64", network=None, rate=50.0, **kwargs):
    """Train until it blows up; the error, the network, and its twin from before the batch."""
    X, Y = problem()
    network = (
        Network((3, 5, 4, 2), activation="relu", dtype=dtype, seed=1)
        if network is None
        else network
    )
    start = network.copy()
    with pytest.raises(DivergenceError) as caught:
        train(
            network,
            X,
            Y,
            epochs=50,
            batch_size=5,
            learning_rate=rate,
            seed=0,
            engine=engine,
            **kwargs,
        )
    return caught.value, network, start, X.astype(dtype), Y.astype(dtype)


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 50.0), ("momentum", 50.0), ("adam", 1e30)])
def test_divergence_names_the_place_and_keeps_the_last_good_parameters(
    engine, dtype, optimizer, rate
):
    rate = rate**5 if rate > 50 and dtype == np.float64 else rate
    error, network, mirror, X, Y = exploding(engine, dtype, optimizer=optimizer, rate=rate)
    assert isinstance(error, ArithmeticError)
    assert np.isfinite(network.theta).all()
    for part in (
        f"epoch {error.epoch}",
        f"batch {error.batch}",
        f"layer {error.layer}",
        f"is {rate:g}",
    ):
        assert part in str(error)
    # Replay, step by step, to the moment before.
    chosen = chainrule.OPTIMIZERS[optimizer]
    rng, t, before = np.random.default_rng(0), 0, None
    state = np.zeros((chosen.slots, mirror.theta.size), dtype)
    h = np.array(list((chosen.hyper | {"learning_rate": rate}).values()))
    with np.errstate(all="ignore"):
        for epoch in range(error.epoch + 1):
            order = rng.permutation(len(X))
            for batch in range((error.batch if epoch == error.epoch else 4) + 1):
                rows = order[batch * 5 : batch * 5 + 5]
                before = mirror.theta.copy()
                cost, nabla = mirror.gradient(X[rows], Y[rows])
                t += 1
                chosen.step(mirror.theta, nabla, state, h, t)
    finite = np.isfinite(cost) and np.isfinite(nabla).all() and np.isfinite(mirror.theta).all()
    assert not finite
    scale = np.abs(before).max()
    np.testing.assert_allclose(
        network.theta, before, rtol=1e-3, atol=scale * (1e-9 if dtype == np.float64 else 1e-3)
    )


def test_layer_of_the_first_non_finite_number(engine):
    """Weights so large that z of layer 2 overflows, and nothing before it."""
    network = Network((3, 5, 4, 2), activation="identity", seed=1)
    network.W[1][:] = 1e200
    network.W[2][:] = 1e200
    error, network, start, *_ = exploding(engine, network=network, rate=0.01)
    assert (error.epoch, error.batch, error.layer) == (0, 0, 2)
    assert network.theta.tobytes() == start.theta.tobytes()


def test_divergence_in_a_later_epoch_counts_from_the_start(engine):
    """A slow one: the bad batch is not in the first epoch."""
    error, network, *_ = exploding(engine, network=Network((3, 2), seed=1), rate=10.0)
    assert error.epoch > 0
    assert 0 <= error.batch < 5
    assert error.layer == 1
    assert np.abs(network.theta).max() > 1e100


def test_divergence_in_the_last_step_of_an_epoch(engine):
    """The costs were all finite, theta ends in infinities of both signs."""
    X, Y = problem()
    network = Network((3, 2), seed=1)
    start = network.theta.copy()
    with pytest.raises(DivergenceError) as caught:
        train(network, 10 * X, Y, batch_size=None, learning_rate=1e308, engine=engine)
    assert (caught.value.epoch, caught.value.batch, caught.value.layer) == (0, 0, 1)
    assert network.theta.tobytes() == start.tobytes()


def test_costs_whose_sum_overflows(engine):
    """Each row's cost is finite, the epoch's is not: that too is a DivergenceError, or none."""
    network = Network((3, 2), init="zeros")
    X, Y = np.ones((8, 3)), np.full((8, 2), 8e153)
    with contextlib.suppress(DivergenceError):
        train(network, X, Y, epochs=2, batch_size=1, learning_rate=1e-300, engine=engine)
    assert np.isfinite(network.theta).all()


def test_infinities_of_both_signs_raise_no_warning(engine):
    """Nothing but the DivergenceError comes out, whatever stood in theta."""
    network = Network((3, 2), seed=1)
    network.W[1][:] = [[1e308, -1e308]] * 3
    error, network, *_ = exploding(engine, network=network, rate=1.0)
    assert error.layer == 1
    assert np.isfinite(network.theta).all()


# --- the choice of an engine -----------------------------------------------------------------


def test_auto_decides_by_shapes_and_epochs_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "0")
    small, large = Network((64, 100, 10), seed=0), Network((784, 512, 512, 10), seed=0)

    def decide():
        return [
            choose_engine("auto", network, n, m, epochs)
            for network in (small, large)
            for n, m, epochs in ((1437, 10, 20), (1437, 10, 2000), (60000, 128, 10), (10, 10, 1))
        ]

    cold = decide()
    assert cold[0] == "numpy"  # the digits with their defaults wait for no compiler
    assert cold[1] == "numba"
    assert cold[6] == "numba"
    assert cold[7] == "numpy"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert decide() == cold
    small.theta[:] = np.nan  # values do not count
    assert decide() == cold
    # Fits of estimators, which are many, are compiled from far less work on.
    assert choose_engine("auto", small, 150, 150, 200, fits=True) == "numba"
    assert choose_engine("auto", small, 150, 150, 200) == "numpy"
    assert choose_engine("auto", small, 150, 150, 1, fits=True) == "numpy"
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert decide() == ["numpy"] * 8


@pytest.mark.bits
def test_auto_gives_the_bits_of_the_engine_it_takes():
    X, Y = problem()
    network, other = fresh(), fresh()
    history = train(network, X, Y, epochs=3, seed=0)
    train(other, X, Y, epochs=3, seed=0, engine="numpy")
    assert history.engine == "numpy"
    assert network.theta.tobytes() == other.theta.tobytes()


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": -1}, "epochs must be a whole number"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"batch_size": 0}, "batch_size must be a whole number, 1 or more; got 0"),
        ({"batch_size": -3}, "batch_size"),
        ({"batch_size": "10"}, "batch_size"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": -0.1}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"optimizer": "adm"}, "unknown optimizer 'adm'; did you mean 'adam'"),
        ({"optimizer": "momentum", "hyper": {"momentun": 0.8}}, "did you mean 'momentum'"),
        ({"hyper": {"momentum": 0.8}}, "'sgd' has no 'momentum'"),
        ({"optimizer": "momentum", "hyper": {"momentum": -1}}, "momentum"),
        ({"l2": -0.1}, "l2 must be a finite number, 0 or more; got -0.1"),
        ({"l1": float("nan")}, "l1 must be a finite number"),
        ({"engine": "numbat"}, "did you mean 'numba'"),
        ({"seed": "now"}, "seed must be a whole number, 0 or more, .*; got 'now'"),
        ({"seed": -1}, "seed must be a whole number"),
    ],
)
def test_training_refuses(arguments, message):
    network = fresh()
    with pytest.raises(ValueError, match=message):
        train(network, *problem(), **arguments)
    assert network.theta.tobytes() == fresh().theta.tobytes()


def test_an_optimizer_of_the_wrong_kind_is_a_type_error():
    with pytest.raises(TypeError, match="optimizer is a bare function"):
        train(fresh(), *problem(), optimizer=lambda theta, nabla: None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"callback": 3}, "callback must be a function; got 3"),
        ({"augment": "flip"}, "augment must be a function; got 'flip'"),
        ({"hyper": 0.9}, "hyper must be a dict of numbers by name; got 0.9"),
    ],
)
def test_what_is_no_function_or_dict_is_said_before_a_step_is_taken(arguments, message):
    network = fresh()
    with pytest.raises(TypeError, match=message):
        train(network, *problem(), **arguments)
    assert network.theta.tobytes() == fresh().theta.tobytes()


def _still(theta, nabla, state, h, t):
    theta - h[0] * nabla


def _returns(theta, nabla, state, h, t):
    return theta - h[0] * nabla


def _spoils(theta, nabla, state, h, t):
    nabla *= h[0]
    theta -= nabla


def _unbounded(theta, nabla, state, h, t):
    theta /= 0 * nabla


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (_still, "did not change theta"),
        (_returns, "returned"),
        (_spoils, "changed an argument"),
        (_unbounded, "left"),
    ],
)
def test_own_optimizers_are_checked(step, message):
    own = Optimizer("own", step, 0, {"learning_rate": 0.1})
    network = fresh()
    with np.errstate(all="ignore"), pytest.raises(chainrule.DerivativeError, match=message):
        train(network, *problem(), optimizer=own)
    assert network.theta.tobytes() == fresh().theta.tobytes()


def test_own_optimizer_needs_a_learning_rate_first():
    own = Optimizer("own", _spoils, 0, {"mu": 0.1, "learning_rate": 0.1})
    with pytest.raises(chainrule.DerivativeError, match="learning_rate"):
        train(fresh(), *problem(), optimizer=own)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 3], "label 3 in row 2"),
        ([0, -1, 2], "label -1 in row 1"),
        ([0, 1.5, 2], "label 1.5 in row 1"),
        ([0, np.nan, 2], "label nan in row 1"),
        (["a", "b"], "whole numbers"),
        ([[0, 1]], "shape"),
    ],
)
def test_labels_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        chainrule.one_hot(labels, 3)


def test_one_hot():
    np.testing.assert_array_equal(chainrule.one_hot([2, 0], 3), [[0, 0, 1], [1, 0, 0]])
    assert chainrule.one_hot(np.array([1.0]), 2, np.float32).dtype == np.float32
    assert chainrule.one_hot(np.array([1], np.uint8), 2).tolist() == [[0, 1]]


def test_divergence_is_looked_for_with_the_rows_weights(monkeypatch):
    """Batch normalisation sees the weights, so a replay without them would see other numbers."""
    rng = np.random.default_rng(0)
    network = Network((3, 4, 4, 1), layers=[AFFINE, batch_norm(), AFFINE], init="he_normal", seed=0)
    X, Y, weight = rng.normal(size=(8, 3)), rng.normal(size=(8, 1)), rng.uniform(1, 9, 8)
    sgd = OPTIMIZERS["sgd"]
    descent = Descent(network, sgd, np.array([1e150]), 8, "numpy")
    seen = []
    real = backprop.output_error

    def spied(net, delta, y, batch, *scale):
        seen.append((batch.z[2].copy(), batch.share[:, 0].copy()))
        real(net, delta, y, batch, *scale)

    monkeypatch.setattr(backprop, "output_error", spied)
    monkeypatch.setattr(kernel, "output_error", spied)
    order = rng.permutation(8)
    for _ in range(9):
        descent.keep()
        total = descent.epoch(X, Y, order, weight)
        if not (np.isfinite(total) and np.isfinite(network.theta).all()):
            break
    seen.clear()
    assert "diverged" in str(explain(descent, X, Y, order, 0, weight))
    (z, share), (z_again, share_again) = seen[-2:]
    np.testing.assert_allclose(share_again, share, rtol=1e-12)
    np.testing.assert_allclose(z_again, z, rtol=1e-12)
