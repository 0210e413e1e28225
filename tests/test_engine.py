"""The compiled engine: the same numbers as NumPy's, and a cache that is never stale."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule
from chainrule import ACTIVATIONS, LOSSES, OPTIMIZERS, Activation, Loss, Network, Optimizer, train

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


def close(left, right, tolerance):
    """Equal relative to the size of the vector."""
    return np.abs(left - right).max() <= tolerance * max(1.0, np.abs(right).max())


def both(network, X, Y, **kwargs):
    """Train two copies, one in each engine; [(theta, costs, gradient), ...]."""
    results = []
    for engine in ("numba", "numpy"):
        twin = network.copy()
        history = train(twin, X, Y, seed=5, engine=engine, **kwargs)
        assert history.engine == engine
        results.append((twin.theta, np.array([epoch.cost for epoch in history.epochs])))
    return results


def targets(rng, loss, m, n):
    """Probabilities for the cross-entropies, anything for squared error."""
    if loss == "squared_error":
        return rng.normal(size=(m, n))
    y = rng.uniform(0.05, 1, (m, n))
    return y / y.sum(axis=1, keepdims=True)


# --- one batch, any network ------------------------------------------------------------------


@pytest.mark.compiled
@settings(max_examples=150)
@given(
    hidden=st.lists(st.tuples(st.integers(1, 17), st.sampled_from(list(ACTIVATIONS))), max_size=6),
    n_in=st.integers(1, 17),
    n_out=st.integers(1, 17),
    m=st.integers(1, 9),
    output=st.sampled_from([None, *ACTIVATIONS]),
    loss=st.sampled_from(list(LOSSES)),
    optimizer=st.sampled_from(list(OPTIMIZERS)),
    dtype=st.sampled_from(list(TOLERANCE)),
    seed=st.integers(0, 2**32 - 1),
)
def test_one_batch_agrees(hidden, n_in, n_out, m, output, loss, optimizer, dtype, seed):
    """Cost, gradient and update of one step.

    Cross-entropy behind an output that may leave (0, 1) is cut off at epsilon, where its slope
    jumps by 1/epsilon, so that two roundings may rightly differ; those keep to outputs inside.
    """
    if loss != "squared_error" and output not in ("softmax", "logistic"):
        output = None
    rng = np.random.default_rng(seed)
    sizes = [n_in, *(n for n, _ in hidden), n_out]
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
    X, Y = rng.normal(size=(m, n_in)), targets(rng, loss, m, n_out)
    (theta, cost), (theta_np, cost_np) = both(
        network, X, Y, epochs=1, batch_size=None, shuffle=False, optimizer=optimizer
    )
    tolerance = TOLERANCE[dtype]
    assert close(cost, cost_np, tolerance)
    assert close(theta, theta_np, tolerance)
    # A plain step of length 1 shows the gradient itself.
    (stepped, _), _ = both(network, X, Y, epochs=1, batch_size=None, shuffle=False, learning_rate=1)
    expected, nabla = network.gradient(X, Y)
    assert close(cost[0], expected, tolerance)
    assert close(network.theta - stepped, nabla, 10 * tolerance)


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


# --- pieces of one's own -----------------------------------------------------------------------

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
def test_own_pieces_compile_and_agree(dtype):
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


@pytest.mark.compiled
def test_a_callable_object_cannot_be_compiled():
    from functools import partial

    own = Activation("partial", partial(bent), bent_pullback)
    network = Network((2, 3, 1), activation=own, seed=0)
    with pytest.raises(chainrule.CompilationError, match="plain Python function"):
        train(network, np.ones((4, 2)), np.ones((4, 1)), engine="numba")


# --- meaning, the key of the cache ---------------------------------------------------------------

MODULE = """
import numpy as np
K = 2.0

def helper(z):
    return z * K + 0.5

def f(z, a):
    a[:] = helper(z)
"""


def stamp(source, **also):
    """The fingerprint of `f` in a module of this source."""
    from chainrule.engine import _fingerprint

    space = {"__name__": "own", **also}
    exec(compile(textwrap.dedent(source), "own.py", "exec"), space)
    return _fingerprint(space["f"])


def test_same_meaning_same_key():
    assert stamp(MODULE) == stamp(MODULE)
    assert stamp(MODULE) == stamp("# moved down\n\n" + MODULE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("K = 2.0", "K = 3.0"),
        ("K = 2.0", "K = 2"),
        ("z * K", "z + K"),
        ("+ 0.5", "+ 0.25"),
        ("+ 0.5", "- 0.5"),
        ("a[:] = helper(z)", "a[:] = helper(z) + 1"),
        ("a[:] = helper(z)", "a[:] = helper(z)\n    a += K"),
        ("def helper(z):", "def helper(z, k=1):"),
        ("K = 2.0", "K = np.array([2.0])"),
        ("K = 2.0", "K = (2.0,)"),
    ],
)
def test_other_meaning_other_key(old, new):
    assert stamp(MODULE.replace(old, new)) != stamp(MODULE)


NESTED = """
K = 2.0

def f(z, a):
    shift = [K for _ in range(2)]
    a[:] = z + shift[0]
"""
INNER = """
K = 2.0

def f(z, a):
    def inner(x):
        return x * K
    a[:] = inner(z)
"""


@pytest.mark.parametrize("source", [NESTED, INNER], ids=["comprehension", "inner function"])
def test_a_global_read_from_within_counts(source):
    assert stamp(source.replace("K = 2.0", "K = 3.0")) != stamp(source)


def test_a_constant_read_through_a_module_counts():
    from types import ModuleType

    stamps = set()
    for value in (2.0, 3.0):
        constants = ModuleType("constants")
        constants.K = value
        stamps.add(stamp("def f(z, a):\n    a[:] = z * constants.K", constants=constants))
    assert len(stamps) == 2


@pytest.mark.parametrize("pair", [(1.0, -1.0), (0.0, -0.0), (1, 1.0), (2.0, np.float32(2))])
def test_closed_over_numbers_count(pair):
    from chainrule.engine import _fingerprint

    one, other = (_fingerprint(scaled(k).f) for k in pair)
    assert one != other
    assert one == _fingerprint(scaled(pair[0]).f)


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


# --- the cache, in processes of their own --------------------------------------------------------

SCRIPT = """
import sys
import numpy as np
from chainrule.engine import ROLES, address, compiled
from chainrule.vecmath import functions

K = {k}

def helper(z):
    return z * z.dtype.type(K)

def f(z, a):
    a[:] = helper(z)

def factory(k):
    def g(z, a):
        a[:] = z * z.dtype.type(k)
    return g

def call(table, z, a):
    functions("f", table, z)[0](z, a)

run = compiled(call, "AMM", np.dtype("float64"))
for fn in (f, factory({k}), factory(10 * {k})):
    z, a = np.ones((1, 1)), np.zeros((1, 1))
    run(np.array([address(fn, "f", z.dtype)]), z, a)
    print(a[0, 0])
"""


def run(script, folder, *, directory=None):
    """Run a script in a new process with its own cache folder; (lines of output, stderr)."""
    path = Path(directory or folder.parent) / "script.py"
    path.write_text(textwrap.dedent(script), encoding="utf-8")
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


def contents(folder):
    """Every file below a folder, and when it was last written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.compiled
def test_cache_is_read_by_a_second_process_and_never_stale(tmp_path):
    """Cold, warm, edited: what is printed, what is written, and what it says."""
    folder = tmp_path / "kept"
    lines, err = run(SCRIPT.format(k=2.0), folder)
    assert lines == ["2.0", "2.0", "20.0"]
    assert err.count("compiling") == 1
    first = contents(folder)
    code = [path for path in first if path.suffix == ".nbc"]
    assert len(code) == 4

    lines, err = run(SCRIPT.format(k=2.0), folder)
    assert lines == ["2.0", "2.0", "20.0"]
    assert err == ""
    assert contents(folder) == first  # nothing was compiled, all was read

    # The constant is edited; the helper's and the closures' callers follow.
    lines, err = run(SCRIPT.format(k=7.0), folder)
    assert lines == ["7.0", "7.0", "70.0"]
    assert err == ""  # not the first time on this machine
    second = contents(folder)
    assert len([path for path in second if path.suffix == ".nbc"]) == len(code) + 3
    assert {path: second[path] for path in first} == first

    # Back again: still there.
    assert run(SCRIPT.format(k=2.0), folder)[0] == ["2.0", "2.0", "20.0"]
    assert contents(folder) == second


@pytest.mark.compiled
@pytest.mark.skipif(os.name == "nt", reason="folders cannot be made read-only")
def test_without_a_folder_to_write_it_still_runs(tmp_path):
    """A cache folder that cannot be made: a file stands in its place (also for root)."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    lines, err = run(SCRIPT.format(k=2.0), blocked, directory=tmp_path)
    assert lines == ["2.0", "2.0", "20.0"]
    assert err.count("compiling") == 1
    assert "Error" not in err
    assert blocked.read_text() == ""


@pytest.mark.compiled
@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path):
    folder = tmp_path / "kept"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        lines, _ = run(SCRIPT.format(k=2.0), folder)
        assert lines == ["2.0", "2.0", "20.0"]
        assert contents(folder) == {}
    finally:
        folder.chmod(stat.S_IRWXU)


def test_neither_importing_nor_predicting_compiles(tmp_path):
    """Nor does a small training with engine="auto": no Numba, no message, no file."""
    script = """
        import sys
        import numpy as np
        import chainrule
        from chainrule import backprop, engine, training

        network = chainrule.Network((64, 100, 10), seed=0)
        X, Y = np.ones((30, 64)), np.ones((30, 10))
        network.predict(X), network.cost(X, Y), network.gradient(X, Y)
        print(chainrule.train(network, X, Y).engine)
        print("numba" in sys.modules)
    """
    lines, err = run(script, tmp_path / "kept")
    assert lines == ["numpy", "False"]
    assert err == ""
    assert not (tmp_path / "kept").exists()


def test_with_compilation_switched_off(tmp_path):
    """Asked for compiled code none the less, it says why there is none, or runs in NumPy."""
    script = """
        import os
        os.environ["NUMBA_DISABLE_JIT"] = "1"
        import numpy as np
        import chainrule

        network, other = (chainrule.Network((3, 4, 2), seed=0) for _ in range(2))
        X, Y = np.ones((5, 3)), np.ones((5, 2))
        chainrule.train(other, X, Y, epochs=1, engine="numpy")
        try:
            chainrule.train(network, X, Y, epochs=1, engine="numba")
            print(np.array_equal(network.theta, other.theta))
        except chainrule.CompilationError as error:
            print("NUMBA_DISABLE_JIT" in str(error))
    """
    assert run(script, tmp_path / "kept")[0] == ["True"]


@pytest.mark.parametrize("platform", ["darwin", "win32", "linux"])
def test_cache_folder(monkeypatch, platform, tmp_path):
    from chainrule.engine import cache_folder

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert cache_folder().parent == tmp_path
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Local"))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    expected = {"darwin": "Library/Caches", "win32": "Local", "linux": ".cache"}[platform]
    assert cache_folder() == tmp_path / expected / "chainrule"
