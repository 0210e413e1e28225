"""The cache of compiled code: keyed by meaning, read by the next process, never stale."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from helpers.damages import DAMAGES

import chainrule
from chainrule.engine.codecache import CodeCache

PACKAGE = Path(chainrule.__file__).parent

# --- meaning, the key of the cache -----------------------------------------------------------

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
    from chainrule.engine.compilation import _fingerprint

    space = {"__name__": "own", **also}
    exec(compile(textwrap.dedent(source), "own.py", "exec"), space)
    return _fingerprint(space["f"])


ONE_BY_ONE = """
import sys
import numpy as np

sys.path.insert(0, {tests!r})
from helpers.components import run

def factory(k):
    def f(z, a):
        a[:] = z * z.dtype.type(k)
    return f

for k in map(float, sys.argv[1:]):
    found = run("numba", "f", factory(k), np.ones((1, 1)), np.zeros((1, 1)))[1]
    assert found == k, (found, k)
"""


@pytest.mark.compiled
def test_functions_that_several_processes_compiled_are_not_taken_for_each_other(tmp_path):
    """Their symbols must differ, or the linker of a process that loads them all mixes them up."""
    script = ONE_BY_ONE.format(tests=str(Path(__file__).parents[1]))
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}

    def run(*factors):
        command = [sys.executable, "-c", script, *factors]
        return subprocess.run(command, env=environment, timeout=300, check=True)

    for factor in ("2", "3"):
        run(factor)
    run("2", "3")
    run("3", "2")


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


def scaled(k):
    """A function with its constant closed over."""

    def f(z, a):
        a[:] = z * z.dtype.type(k)

    return f


@pytest.mark.parametrize("pair", [(1.0, -1.0), (0.0, -0.0), (1, 1.0), (2.0, np.float32(2))])
def test_closed_over_numbers_count(pair):
    from chainrule.engine.compilation import _fingerprint

    one, other = (_fingerprint(scaled(k)) for k in pair)
    assert one != other
    assert one == _fingerprint(scaled(pair[0]))


TOOLCHAIN = """
from chainrule.engine.compilation import _sources, _toolchain

print(_toolchain().hex())
print(*_sources(), sep="\\n")
"""


def test_an_edit_of_any_file_that_matters_counts(tmp_path):
    """In which folder ever it stands; an edit of another file compiles nothing anew."""
    package = Path(shutil.copytree(PACKAGE, tmp_path / "chainrule"))

    def toolchain():
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", TOOLCHAIN],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        first, *files = done.stdout.splitlines()
        return first, [Path(file) for file in files]

    def edit(path):
        path.write_text(path.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")

    # One of them moves into a folder of its own; its old name stands for it.
    (old,) = package.rglob("vecmath.py")
    inner = old.parent / "inner"
    inner.mkdir()
    (inner / "__init__.py").write_text("")
    moved = old.rename(inner / "vecmath.py")
    dotted = ".".join(inner.relative_to(tmp_path).parts)
    old.write_text(f"import sys\nfrom {dotted} import vecmath\nsys.modules[__name__] = vecmath\n")

    known, files = toolchain()
    assert moved in files
    assert toolchain() == (known, files)
    (other,) = package.rglob("schedules.py")
    edit(other)
    assert toolchain() == (known, files)
    for path in (moved, next(path for path in files if path.stem == "rows")):
        edit(path)
        assert toolchain()[0] != known
        known = toolchain()[0]


def test_the_files_that_matter_are_all_that_know_numba():
    from chainrule.engine.compilation import _sources
    from chainrule.equations import backprop, lookups, regularizers, vecmath

    knowing = {
        path
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^\s*(from|import) (numba|llvmlite)\b", path.read_text("utf-8"), re.MULTILINE)
    }
    assert len(knowing) >= 8
    also = {Path(module.__file__) for module in (backprop, lookups, regularizers, vecmath)}
    assert knowing | also == set(_sources())


# --- the cache, in processes of their own ----------------------------------------------------

SCRIPT = """
import sys
import numpy as np
from chainrule.engine.compilation import address, compiled
from chainrule.engine.roles import ROLES
from chainrule.equations.vecmath import functions

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


EVERY_BIT = """
import sys
import numpy as np

sys.path.insert(0, {tests!r})
from helpers.components import like, run

from chainrule.equations import layers
from chainrule.equations.activations import ACTIVATIONS
from chainrule.equations.losses import FUSED

for dtype in ("float32", "float64"):
    rng = np.random.default_rng(0)
    m, n = 50, 13

    def show(role, fn, *args):
        for out in run("numba", role, fn, *args):
            print(role, fn.__name__, dtype, out.tobytes().hex())

    W, b, a, delta, out = (like(rng, shape, dtype) for shape in ((1, n), n, *[(m, n)] * 3))
    step = 1.0
    of_batch = np.r_[np.ones(2 * n), 0, np.ones(4 * n), np.full(m, 1 / m)]
    constants = {{
        "layer_norm": np.array([step, 1e-5]),
        "batch_norm": np.r_[step, 1e-5, 0.9, of_batch],
        "dropout": np.array([step, 0.3, 5.0, 0.0]),
    }}
    for name, s in constants.items():
        show("forward", getattr(layers, name + "_forward"), W, b, s, a, out)
        show("pullback", getattr(layers, name + "_pullback"), W, b, s, a, delta, out)
        if name != "dropout":
            gradient = getattr(layers, name + "_gradient")
            show("gradient", gradient, W, b, s, a, delta, out[:1], out[0])
    y = np.eye(n, dtype=dtype)[rng.integers(0, n, m)]
    show("f", ACTIVATIONS["softmax"].f, a, out)
    p = run("numba", "f", ACTIVATIONS["softmax"].f, a, out)[1]
    show("delta", FUSED["cross_entropy", "softmax"].delta, a, p, y, out)
"""


@pytest.mark.compiled
def test_the_process_that_compiles_gets_the_bits_of_those_that_load(tmp_path):
    """A helper that is compiled by itself, too, may round differently there."""
    script = EVERY_BIT.format(tests=str(Path(__file__).parents[1]))
    compiling, loading = (run(script, tmp_path / "cache")[0] for _ in range(2))
    for ours, theirs in zip(compiling, loading, strict=True):
        assert ours == theirs


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


def test_no_damage_goes_unnoticed(tmp_path):
    """Whichever byte it is; nor is a file that holds another key's code taken for one's own."""
    cache = CodeCache(tmp_path, scaled(1.0), "meaning")
    cache._write("a" * 64, b"code")
    cache._write("b" * 64, b"other")
    assert cache._read("a" * 64) == b"code"
    assert cache._read("c" * 64) is None
    (path,) = tmp_path.glob("*-aaa*.nbc")
    (other,) = tmp_path.glob("*-bbb*.nbc")
    whole = path.read_bytes()
    damaged = [whole[:n] for n in range(len(whole))] + [whole + b"x", other.read_bytes()]
    for i in range(len(whole)):
        damaged += [whole[:i] + bytes([whole[i] ^ 1 << bit]) + whole[i + 1 :] for bit in range(8)]
    for data in damaged:
        path.write_bytes(data)
        assert cache._read("a" * 64) is None
    cache._write("a" * 64, b"code")
    assert path.read_bytes() == whole
    assert sorted(tmp_path.iterdir()) == sorted([path, other])


@pytest.mark.compiled
def test_damaged_files_are_compiled_anew(tmp_path):
    """Nothing is read from a file that is not as it was written: LLVM would end the process."""
    folder = tmp_path / "kept"
    sound = run(SCRIPT.format(k=2.0), folder)[0]
    files = [path for path in contents(folder) if path.suffix == ".nbc"]
    assert len(files) == 4
    first, second, *others = files
    for path, damage in zip(files, DAMAGES, strict=False):
        path.write_bytes(damage(path.read_bytes()))
    assert run(SCRIPT.format(k=2.0), folder) == (sound, "")
    whole = contents(folder)
    assert run(SCRIPT.format(k=2.0), folder) == (sound, "")
    assert contents(folder) == whole  # all of them were mended
    # Whole files, but of each other; and the other damages.
    first_code = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(first_code)
    for path, damage in zip(others, DAMAGES[len(files) :], strict=True):
        path.write_bytes(damage(path.read_bytes()))
    assert run(SCRIPT.format(k=2.0), folder) == (sound, "")
    # What cannot be read nor written is done without.
    for path in files:
        path.unlink()
        path.mkdir()
    assert run(SCRIPT.format(k=2.0), folder) == (sound, "")
    assert all(path.is_dir() for path in files)
    assert not [path for path in contents(folder) if path.suffix == ".part"]


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


DESCEND = """
import os
import sys
import numpy as np
from chainrule import Network, train
from chainrule.engine import compilation, threads
from chainrule.training import ahead, kernel
from chainrule.training.arguments import ARGUMENTS

threads.default_threads = lambda: 2
{before}
network = Network((2, 2), activation=[], seed=0)
train(network, np.eye(2), np.eye(2), epochs=2, engine="numba", n_threads=1)
run = compilation.compiled(kernel.descend_epochs, ARGUMENTS, network.dtype)
print(sum(run.stats.cache_hits.values()))
print(network.theta.tobytes().hex())
"""


@pytest.mark.compiled
def test_another_process_compiles_descend_meanwhile(tmp_path):
    """If it can; if it fails, this one does, and all is the same."""
    lines, err = run(DESCEND.format(before=""), tmp_path / "kept")
    assert lines[0] == "1"
    assert err.count("compiling") == 1
    before = "ahead.SCRIPT = 'raise SystemExit(1)'"
    assert run(DESCEND.format(before=before), tmp_path / "other")[0] == ["0", lines[1]]


def test_there_is_no_other_process_where_it_is_of_no_use(monkeypatch, tmp_path):
    from chainrule.engine import compilation, threads
    from chainrule.training import ahead

    started = []

    class Process:
        def __init__(self, command, **options):
            started.append(command)

    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.setattr(compilation, "is_compiled", lambda *_: False)
    monkeypatch.setattr(compilation, "can_compile", lambda: True)
    monkeypatch.setattr(compilation, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(threads, "default_threads", lambda: 2)
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    dtype = np.dtype("float32")
    assert ahead._start(dtype) is not None
    assert started[0][0] == "/usr/bin/python3"
    for where, name, value in (
        (compilation, "is_compiled", lambda *_: True),
        (compilation, "can_compile", lambda: False),
        (compilation, "cache_folder", lambda: tmp_path / "missing"),
        (threads, "default_threads", lambda: 1),
        (sys, "executable", "/opt/painter/painter"),
        (sys, "executable", ""),
        (sys, "executable", None),
        (sys, "frozen", True),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, value, raising=False)
            assert ahead._start(dtype) is None
    assert len(started) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_the_other_process_ends_with_this_ones_work(monkeypatch, error):
    from chainrule.training import ahead

    sleeping = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(ahead, "_start", lambda dtype: sleeping)
    with pytest.raises(error), ahead.compiling_descend(np.dtype("float32")):
        raise error
    assert sleeping.poll() is not None


def test_neither_importing_nor_predicting_compiles(tmp_path):
    """Nor does a small training with engine="auto": no Numba, no message, no file."""
    script = """
        import sys
        import numpy as np
        import chainrule
        from chainrule.engine import compilation
        from chainrule.equations import backprop
        from chainrule.training import train as training

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
    from chainrule.engine.compilation import cache_folder

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert cache_folder().parent == tmp_path
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Local"))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    expected = {"darwin": "Library/Caches", "win32": "Local", "linux": ".cache"}[platform]
    assert cache_folder() == tmp_path / expected / "chainrule"
