"""The compiled engine: the same numbers as NumPy's, for any network and components of one's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.components import targets
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule
from chainrule import ACTIVATIONS, LOSSES, OPTIMIZERS, Activation, Loss, Network, Optimizer, train

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
HIDDEN = [name for name in ACTIVATIONS if name != "exp"]  # six of those would overflow


def close(left, right, tolerance):
    """Equal relative to the size of the vector."""
    difference = np.abs(left - right).max(initial=0)
    return difference <= tolerance * max(1.0, np.abs(right).max(initial=0))


def both(network, X, Y, **kwargs):
    """Train two copies, one in each engine; [(theta, costs, gradient), ...]."""
    results = []
    for engine in ("numba", "numpy"):
        twin = network.copy()
        history = train(twin, X, Y, seed=5, engine=engine, **kwargs)
        assert history.engine == engine
        results.append((twin.theta, np.array([epoch.cost for epoch in history.epochs])))
    return results


# --- one batch, any network ------------------------------------------------------------------


@pytest.mark.compiled
@settings(max_examples=150)
@given(
    hidden=st.lists(st.tuples(st.integers(1, 17), st.sampled_from(HIDDEN)), max_size=6),
    n_in=st.integers(1, 17),
    n_targets=st.integers(1, 17),
    m=st.integers(1, 9),
    output=st.sampled_from([None, *HIDDEN]),
    loss=st.sampled_from(list(LOSSES.values())),
    optimizer=st.sampled_from(list(OPTIMIZERS)),
    dtype=st.sampled_from(list(TOLERANCE)),
    seed=st.integers(0, 2**32 - 1),
)
def test_one_batch_agrees(hidden, n_in, n_targets, m, output, loss, optimizer, dtype, seed):
    """Cost, gradient and update of one step.

    A cost that is cut off at epsilon jumps in slope there by 1/epsilon, so that two roundings may
    rightly differ; where the outputs must lie in (0, 1) or above 0 they do. One that is flat or
    divides by its own size, as a sign does, makes much of a rounding near 0, so that optimisers
    which do that see the gradient of a smooth loss, once it is clear of 0.
    """
    if loss.fused or (loss.link != "identity" and output not in ("softmax", "logistic")):
        output = None
    rng = np.random.default_rng(seed)
    sizes = [n_in, *(n for n, _ in hidden), loss.outputs * n_targets]
    network = Network(
        sizes,
        activation=[name for _, name in hidden],
        output_activation=output,
        loss=loss,
        dtype=dtype,
        init="lecun_normal",
        seed=rng,
    )
    for l in range(1, network.L + 1):
        network.b[l][:] = rng.normal(0, 0.3, sizes[l])
    X, Y = rng.normal(size=(m, n_in)), targets(rng, loss, m, sizes[-1])
    tolerance = TOLERANCE[dtype]
    # A plain step of length 1 shows the gradient itself.
    (stepped, cost), (stepped_np, cost_np) = both(
        network, X, Y, epochs=1, batch_size=None, shuffle=False, learning_rate=1
    )
    expected, nabla = network.gradient(X, Y)
    scale = max(1.0, float(np.abs(nabla).max()))
    assert close(cost, cost_np, tolerance)
    assert close(cost[0], expected, tolerance)
    assert close(stepped, stepped_np, tolerance * scale)
    assert close(network.theta - stepped, nabla, 10 * tolerance)
    (theta, _), (theta_np, _) = both(
        network, X, Y, epochs=1, batch_size=None, shuffle=False, optimizer=optimizer
    )
    clear = np.abs(nabla) > 1e3 * tolerance * scale
    assert close(theta[clear], theta_np[clear], tolerance * scale)
    rate = OPTIMIZERS[optimizer].hyper["learning_rate"]
    assert np.abs(theta - theta_np)[~clear].max(initial=0) <= 2.1 * rate * scale


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_forty_layers_agree(dtype):
    rng = np.random.default_rng(0)
    network = Network([7] * 42, activation="tanh", init="orthogonal", dtype=dtype, seed=0)
    X, Y = rng.normal(size=(9, 7)), rng.normal(size=(9, 7))
    (theta, cost), (theta_np, cost_np) = both(network, X, Y, epochs=1, batch_size=None)
    assert close(theta, theta_np, TOLERANCE[dtype])
    assert close(cost, cost_np, TOLERANCE[dtype])
    moved = network.views(np.abs(theta - network.theta))[0]
    assert min(W.max() for W in moved[1:]) > 0


@pytest.mark.compiled
@pytest.mark.parametrize(
    "recipe",
    [
        {"activation": "relu", "output_activation": "relu", "init": "uniform"},
        {"activation": "relu", "loss": "cross_entropy", "init": "he_normal", "optimizer": "adam"},
        {"activation": "gelu", "loss": "binary_cross_entropy", "optimizer": "nesterov"},
    ],
    ids=["article", "modern", "multilabel"],
)
def test_ten_epochs_of_digits_agree(recipe, digits):
    X, Y = digits
    optimizer = recipe.pop("optimizer", "sgd") if (recipe := dict(recipe)) else "sgd"
    network = Network((64, 100, 10), seed=0, **recipe)
    (theta, costs), (theta_np, costs_np) = both(network, X, Y, epochs=10, optimizer=optimizer)
    np.testing.assert_allclose(theta, theta_np, rtol=0, atol=1e-8)
    np.testing.assert_allclose(costs, costs_np, rtol=1e-8)
    assert costs[-1] < 0.5 * costs[0]


# --- components of one's own ---------------------------------------------------------------------

SLOPE = 0.25


def bend(z):
    """A helper."""
    return np.where(z > 0, z, SLOPE * z)


def bent(z, a):
    a[:] = bend(z).astype(z.dtype)


def bent_pullback(z, a, delta):
    delta *= np.where(z > 0, 1.0, SLOPE).astype(z.dtype)


def weighted(z, a, y, c):
    for i in range(len(c)):
        c[i] = 0
        for j in range(a.shape[1]):
            c[i] += SLOPE * (a[i, j] - y[i, j]) ** 2


def weighted_delta(z, a, y, delta):
    np.subtract(a, y, delta)
    delta *= z.dtype.type(2 * SLOPE)


def shrunk(theta):
    return theta * theta.dtype.type(SLOPE / 100)


def decaying(theta, nabla, state, h, t):
    theta -= theta.dtype.type(h[0]) * nabla + shrunk(theta)
    state[0] += np.abs(nabla)


OWN = {
    "activation": Activation("bent", bent, bent_pullback),
    "loss": Loss("weighted", weighted, weighted_delta),
}
OWN_OPTIMIZER = Optimizer("decaying", decaying, 1, {"learning_rate": 0.01})


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_own_components_compile_and_agree(dtype):
    rng = np.random.default_rng(0)
    network = Network((3, 5, 4, 2), **OWN, dtype=dtype, seed=0)
    X, Y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    assert chainrule.gradcheck(network, X, Y)
    (theta, costs), (theta_np, costs_np) = both(network, X, Y, epochs=3, optimizer=OWN_OPTIMIZER)
    assert close(theta, theta_np, TOLERANCE[dtype])
    assert close(costs, costs_np, TOLERANCE[dtype])


def scaled(k):
    """An activation with its constant closed over."""

    def f(z, a):
        a[:] = z * z.dtype.type(k)

    def pullback(z, a, delta):
        delta *= z.dtype.type(k)

    return Activation(f"times {k}", f, pullback)


@pytest.mark.compiled
def test_closures_of_one_factory_do_not_share_code():
    X, Y = np.ones((1, 1)), np.zeros((1, 1))
    for k in (2, 3, 0.5):
        network = Network((1, 1, 1), activation=scaled(k), init=np.array([1.0, 0, 1, 0]))
        history = train(network, X, Y, epochs=1, engine="numba")
        assert history.epochs[0].cost == k**2 / 2


@pytest.mark.compiled
def test_the_error_of_an_assignment_to_a_slice_does_not_format_shapes():
    """Numba's message, with the shapes, takes several times as long to compile as a component."""
    from numba import njit
    from numba.np import arrayobj

    from chainrule.engine import compilation

    def assign(x, y):
        x[:] = y

    numbas = arrayobj.raise_with_shape_context
    with compilation._compiling():
        code = njit("void(f8[::1], f8[::1])")(assign)
    with pytest.raises(ValueError, match="to a slice from an array of another shape"):
        code(np.zeros(2), np.zeros(3))
    assert arrayobj.raise_with_shape_context is numbas  # for others nothing has changed


def inner(z):
    return z * z.dtype.type(2)


def copied(z, a):
    a[:] = z


inner.__module__ = copied.__module__ = "chainrule.own"  # as if they were ours


def outer(z, a):
    copied(inner(z), a)


@pytest.mark.compiled
def test_helpers_become_machine_code_in_their_callers_alone(monkeypatch):
    """To optimise and translate each of them by itself took a quarter of a compilation.

    Loops are optimised, which makes them faster, but not translated.
    """
    from numba.core.codegen import CPUCodeLibrary, JITCodeLibrary

    from chainrule.engine import compilation
    from chainrule.engine.loops import overload

    @overload(copied)
    def body(z, a):
        def loop(z, a):
            for i in range(len(z)):
                for j in range(z.shape[1]):
                    a[i, j] = z[i, j]

        return loop

    done = []

    def noting(cls, name):
        whole = getattr(cls, name)

        def note(self, *args):
            done.append((name, self.name))
            return whole(self, *args)

        monkeypatch.setattr(cls, name, note)

    noting(CPUCodeLibrary, "_optimize_final_module")
    noting(JITCodeLibrary, "_finalize_specific")
    monkeypatch.setenv("NUMBA_CACHE_DIR", os.devnull)  # so that it is compiled
    compilation.address(outer, "f", np.dtype(np.float64))
    done = [(step, name.rpartition(".")[2]) for step, name in done]
    assert [each for each in done if each[1] in ("inner", "loop", "outer")] == [
        ("_optimize_final_module", "loop"),
        ("_optimize_final_module", "outer"),
        ("_finalize_specific", "outer"),
    ]


TELLING = """
import sys
import numpy as np

sys.path.insert(0, {tests!r})
from helpers.components import run

def doubled(z):
    print(z.shape, "of", z.dtype.type(7))
    if z[0, 0] > 5:
        raise ValueError("too large", z[0, 0])
    return 2 * z

def f(z, a):
    a[:] = doubled(z)

for value in (3.0, 6.0):
    print(run("numba", "f", f, np.full((1, 2), value), np.zeros((1, 2)))[1])
"""


@pytest.mark.compiled
def test_helpers_of_users_may_print_values_and_raise_them(tmp_path):
    script = TELLING.format(tests=str(Path(__file__).parents[1]))
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    for _ in range(2):  # the second process loads what the first has compiled
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        assert done.stdout.splitlines() == [
            "(1, 2) of 7.0",
            "[[6. 6.]]",
            "(1, 2) of 7.0",
            "[[0. 0.]]",
        ]
        assert "ValueError: ('too large', 6.0)" in done.stderr


def uncompilable(z, a):
    a[:] = np.array([[float(str(x)) for x in row] for row in z])


@pytest.mark.compiled
def test_what_cannot_be_compiled_says_so_and_runs_in_numpy():
    own = Activation("strings", uncompilable, ACTIVATIONS["identity"].pullback)
    network = Network((2, 3, 1), activation=own, seed=0)
    before = network.theta.copy()
    X, Y = np.ones((4, 2)), np.ones((4, 1))
    with pytest.raises(chainrule.CompilationError, match=r"uncompilable.*engine='numpy'"):
        train(network, X, Y, engine="numba")
    assert network.theta.tobytes() == before.tobytes()
    train(network, X, Y, epochs=1, engine="numpy")
    assert network.theta.tobytes() != before.tobytes()


def cannot(*args, **kwargs):
    raise RuntimeError("LLVM IR parsing error\n<string>:7:1: error: expected type")


def cannot_type(*args, **kwargs):
    from numba.core.errors import LoweringError

    raise LoweringError("no such intrinsic")


@pytest.fixture(params=[cannot, cannot_type])
def broken(request, monkeypatch, tmp_path):
    """As where the installed versions do not work together: nothing can be compiled any more."""
    from numba.core import compiler

    from chainrule.engine import compilation
    from chainrule.training import ahead

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compilation, "_addresses", {})
    monkeypatch.setattr(compilation, "_compiled", {})
    monkeypatch.setattr(compilation, "_failures", [])
    monkeypatch.setattr(ahead, "_start", lambda dtype: None)
    for name in ("compile_extra", "compile_ir", "compile_internal"):
        monkeypatch.setattr(compiler, name, request.param)


VERSIONS = r"numba \d.*llvmlite \d.*numpy \d"


@pytest.mark.compiled
def test_a_compiler_that_fails_is_an_error_only_where_it_was_asked_for(broken, monkeypatch):
    from chainrule import find_learning_rate

    monkeypatch.setattr("chainrule.training.train.WORTH_COMPILING", 0)
    X, Y = np.random.default_rng(0).normal(size=(20, 3)), np.ones((20, 2))

    def network(**settings):
        return Network((3, 4, 2), seed=0, **settings)

    other = network()
    train(other, X, Y, epochs=2, engine="numpy", seed=0)
    with pytest.raises(chainrule.CompilationError, match=VERSIONS):
        train(network(), X, Y, epochs=2, engine="numba", seed=0)
    with pytest.raises(
        chainrule.CompilationError, match=VERSIONS
    ):  # it is not the component's fault
        train(network(activation=scaled(2)), X, Y, epochs=2, engine="numba", seed=0)
    with pytest.raises(chainrule.CompilationError, match=VERSIONS):
        chainrule.warm_up([np.float32])
    monkeypatch.setenv("CHAINRULE_ENGINE", "numba")
    with pytest.raises(chainrule.CompilationError, match=VERSIONS):
        train(network(), X, Y, epochs=2, seed=0)
    monkeypatch.delenv("CHAINRULE_ENGINE")

    plain = network()
    with pytest.warns(RuntimeWarning, match=f"in NumPy.*{VERSIONS}") as said:
        history = train(plain, X, Y, epochs=2, seed=0)
    assert len(said) == 1
    assert history.engine == "numpy"
    assert plain.theta.tobytes() == other.theta.tobytes()
    # Said once: these would fail with an error, as every warning does.
    plain = network()
    assert train(plain, X, Y, epochs=2, seed=0).engine == "numpy"
    assert plain.theta.tobytes() == other.theta.tobytes()
    find_learning_rate(network(), X, Y, seed=0)
    with pytest.raises(chainrule.CompilationError, match=VERSIONS):
        train(network(), X, Y, epochs=2, engine="numba", seed=0)


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("learner", ["estimator", "finder"])
def test_estimators_and_the_finder_go_on_in_numpy(broken, monkeypatch, learner):
    from chainrule import MLPRegressor, find_learning_rate

    monkeypatch.setattr("chainrule.training.train.WORTH_COMPILING", 0)
    monkeypatch.setattr("chainrule.training.train.WORTH_COMPILING_FITS", 0)
    X = np.random.default_rng(0).normal(size=(30, 3))
    settings = {"hidden_layer_sizes": (4,), "max_iter": 2, "tol": 0, "random_state": 0}
    network, model = Network((3, 4, 2), seed=0), MLPRegressor(**settings)
    learn = {
        "finder": lambda: find_learning_rate(network, X, X[:, :2], seed=0),
        "estimator": lambda: model.fit(X, X[:, 0]),
    }
    with pytest.warns(RuntimeWarning, match=VERSIONS) as said:
        learn[learner]()
    assert len([one for one in said if one.category is RuntimeWarning]) == 1
    if learner == "estimator":
        same = MLPRegressor(**settings, engine="numpy").fit(X, X[:, 0])
        assert same.predict(X).tobytes() == model.predict(X).tobytes()


@pytest.mark.compiled
def test_numba_that_cannot_be_imported(monkeypatch):
    from chainrule.engine import compilation

    monkeypatch.setattr("chainrule.training.train.WORTH_COMPILING", 0)
    monkeypatch.setattr(compilation, "_addresses", {})
    monkeypatch.setattr(compilation, "_compiled", {})
    monkeypatch.setattr(compilation, "_failures", [])
    for name in [name for name in sys.modules if name.partition(".")[0] == "numba"]:
        monkeypatch.setitem(sys.modules, name, None)
    network, X = Network((3, 4, 2), seed=0), np.ones((5, 3))
    with pytest.raises(chainrule.CompilationError, match=VERSIONS):
        train(network, X, X[:, :2], engine="numba")
    with pytest.warns(RuntimeWarning, match=VERSIONS):
        assert train(network, X, X[:, :2], epochs=1).engine == "numpy"


@pytest.mark.compiled
def test_a_callable_object_cannot_be_compiled():
    from functools import partial

    own = Activation("partial", partial(bent), bent_pullback)
    network = Network((2, 3, 1), activation=own, seed=0)
    with pytest.raises(chainrule.CompilationError, match="plain Python function"):
        train(network, np.ones((4, 2)), np.ones((4, 1)), engine="numba")


@pytest.mark.compiled
def test_a_constant_changed_between_two_trainings_counts(monkeypatch):
    """As in a notebook, where only the cell with the constant, or the helper, is run again."""
    network = Network((1, 1, 1), **OWN, init=np.array([-1.0, 0, 1, 0]))
    X, Y = np.ones((1, 1)), np.zeros((1, 1))
    both(network, X, Y, epochs=1)
    monkeypatch.setattr(sys.modules[__name__], "SLOPE", 0.5)
    (theta, costs), (theta_np, costs_np) = both(network, X, Y, epochs=1)
    assert costs == costs_np
    np.testing.assert_allclose(theta, theta_np, rtol=1e-12)
