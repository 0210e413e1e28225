"""The compiled engine: signatures, compilation and its cache.

Numba is here, in `formulas`, `loops`, `rows`, `board`, `products` and `views`, and nowhere else.

Every piece of a network (a layer's three functions, an activation and its pullback, a loss, an
optimiser's step) has a *role*, which fixes its signature. It is compiled once per dtype to a
plain C function, and its address goes into a table; :func:`chainrule.kernel.descend`, compiled
once per dtype, calls through these tables. So one compilation serves every depth and every
combination of pieces, the user's own included.

Nothing is compiled, and Numba is not imported, before the first :func:`address` or
:func:`compiled`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import logging
import os
import sys
import types
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

logger = logging.getLogger("chainrule")

# The arguments of each role, and after a colon what it returns: M matrix, S columns of a matrix,
# R matrix that is only read, V vector, H and D vector and matrix in float64, F such a
# number, I integer, A integers (addresses, row numbers), B and T such in two and three dimensions.
ROLES = {
    "forward": "MVHMM",  # W, b, s, a, z
    "pullback": "MVHMMM",  # W, b, s, a, delta, below
    "gradient": "MVHSMMV",  # W, b, s, a, delta, nabla_W, nabla_b
    "f": "MM",  # z, a
    "f_pullback": "MMM",  # z, a, delta
    "collect": "HMH",  # s, a, part
    "pool": "DH",  # parts, s
    "collect_back": "HMMH",  # s, a, delta, part
    "pool_back": "DH",  # parts, s
    "cost": "MMMV",  # z, a, y, c
    "delta": "MMMM",  # z, a, y, delta
    "step": "VVMHI",  # theta, nabla, state, h, t
    "descend": "HSMFMV",  # s, a, delta, eta, W, b
    "penalty": "MFF:F",  # W, l2, l1
    "add_penalty_gradient": "MFFM",  # W, l2, l1, nabla_W
    "clip_values": "FV",  # bound, nabla
    "clip_norm": "FV",  # bound, nabla
    "shrink": "FM",  # factor, W
    "limit_norms": "FM",  # bound, W
    "follow": "FVV",  # newest, theta, average
}
# Of each argument its letter, or the class of a NamedTuple and the letters of its fields.
Arguments: TypeAlias = str | tuple[Any, ...]
# Modules of ours.
KNOW_NUMBA = {"board", "engine", "formulas", "loops", "products", "rows", "views"}
FIXED_MODULES = ("numpy", "math", "cmath")  # whose contents nobody edits
UNSWITCH = {"f": 200, "f_pullback": 200, "step": 200}  # which go through most numbers

# Not the whole of fast-math: "nnan" and "ninf" would make isfinite(nan) true.
FASTMATH = {"nsz", "arcp", "contract", "afn", "reassoc"}
OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": FASTMATH}


def can_compile() -> bool:
    """Whether Numba may compile: NUMBA_DISABLE_JIT switches it off."""
    return os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")


class CompilationError(TypeError):
    """A function of the user's own keeps to no NumPy that Numba can compile."""


def cache_folder() -> Path:
    """Where compiled code is kept: $NUMBA_CACHE_DIR, or the user's cache folder."""
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(given) / "chainrule"
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "chainrule"


@functools.cache
def _toolchain() -> bytes:
    """A hash of all that compiled code depends on beside the function itself."""
    digest = hashlib.sha256()
    for name in ("numba", "llvmlite", "numpy", "scipy"):
        digest.update(f"{name} {metadata.version(name)}\n".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem in KNOW_NUMBA | {"vecmath", "backprop", "kernel", "regularizers"}:
            digest.update(path.read_bytes())
    return digest.digest()


def _fingerprint(fn: types.FunctionType) -> str:
    """A hash of a function's meaning: its code, constants, and the globals that it reads."""
    digest = hashlib.sha256(_toolchain())
    seen: set[int] = set()

    def add_code(code: types.CodeType) -> None:
        digest.update(code.co_code)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                add_code(constant)
            else:
                digest.update(repr(constant).encode())
        digest.update(repr((code.co_names, code.co_varnames, code.co_freevars)).encode())

    def add(value: Any) -> None:
        if isinstance(value, types.FunctionType):
            if id(value) in seen:
                return
            seen.add(id(value))
            add_code(value.__code__)
            digest.update(repr(value.__defaults__).encode())
            names = _names(value.__code__)
            for name, read in _globals_read(value):
                digest.update(name.encode())
                add(read)
                if isinstance(read, types.ModuleType) and read.__name__ not in FIXED_MODULES:
                    for attribute in names:
                        add(getattr(read, attribute, None))
        elif isinstance(value, types.ModuleType):
            digest.update(value.__name__.encode())
        elif isinstance(value, type):
            digest.update(repr((value, getattr(value, "_fields", ()))).encode())
        elif isinstance(value, np.ndarray):
            digest.update(repr((value.dtype, value.shape)).encode() + value.tobytes())
        else:
            digest.update(repr(value).encode())

    add(fn)
    return digest.hexdigest()[:24]


def _names(code: types.CodeType) -> list[str]:
    """Names that code and the functions inside it mention, each once, in order."""
    found = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= dict.fromkeys(_names(constant))
    return list(found)


def _globals_read(fn: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Globals and closed-over values that a function's code names."""
    for name in _names(fn.__code__):
        if name in fn.__globals__:
            yield name, fn.__globals__[name]
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        yield name, cell.cell_contents


def _cache(fn: types.FunctionType, arguments: Arguments = "") -> Any:
    """Numba's disk cache for one function, keyed by its meaning and its NamedTuples' fields.

    Numba's own is keyed by the file's contents and the line, so that an edit in another file
    leaves a caller stale and two closures of one factory share an entry.
    """
    from numba.core import caching

    folder = str(cache_folder())
    fields = [each[0]._fields for each in arguments if not isinstance(each, str)]
    stamp = hashlib.sha256(repr((_meaning(fn), fields)).encode()).hexdigest()[:24]

    class Locator(caching._CacheLocator):
        _py_file = __file__  # named in Numba's warnings

        def get_cache_path(self) -> str:
            return folder

        def get_source_stamp(self) -> str:
            return stamp

        def get_disambiguator(self) -> str:
            return stamp

        @classmethod
        def from_function(cls, py_func: Any, py_file: str) -> Locator:
            return cls()

    class Implementation(caching.CompileResultCacheImpl):
        _locator_classes = (Locator,)

    class FunctionCache(caching.FunctionCache):
        _impl_class = Implementation

        def _index_key(self, sig: Any, codegen: Any) -> Any:
            return sig, codegen.magic_tuple()  # the stamp says the rest

        def holds(self, sig: Any, target_context: Any) -> bool:
            try:
                index = self._cache_file._load_index()
            except Exception:  # as below
                return False
            return self._index_key(sig, target_context.codegen()) in index

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            try:
                return super().load_overload(sig, target_context)
            except Exception as error:  # a damaged file can raise anything
                logger.debug("compiled code in %s cannot be read: %r", folder, error)
                with contextlib.suppress(OSError):
                    self.flush()
                return None

        def save_overload(self, sig: Any, data: Any) -> None:
            try:
                super().save_overload(sig, data)
            except OSError:
                logger.debug("compiled code is not kept: %s cannot be written", folder)

    return FunctionCache(fn)


def _separate_names() -> None:
    """Let Numba count the functions of this process from a number of its own.

    A compiled function's symbol ends in its number, and the linker takes two functions of one
    symbol for the same. Closures of one factory differ in nothing else; counted from 1 in every
    process, as Numba does, two that different processes compiled would meet under one symbol
    when a third loads both from the cache, and one be called for the other.
    """
    from numba.core.bytecode import FunctionIdentity

    FunctionIdentity._unique_ids = itertools.count(int.from_bytes(os.urandom(6), "big"))


@functools.cache
def _announce() -> None:
    """Before anything is compiled: separate names, and say so if it is the first time here."""
    _separate_names()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_separate_names)
    folder = cache_folder()
    marker = folder / f"compiled-{_toolchain().hex()[:24]}"
    if not marker.exists():
        print(
            "chainrule: compiling the fast engine, once on this machine (some seconds) ...",
            file=sys.stderr,
            flush=True,
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            marker.touch()
        except OSError:
            logger.debug("compiled code is not kept: %s cannot be written", folder)


def numba_types(arguments: Arguments, number: Any) -> Any:
    """Numba's types for these arguments, given Numba's type of the numbers."""
    from numba import types as nb

    kinds = {
        "M": nb.Array(number, 2, "C"),
        "S": nb.Array(number, 2, "A"),
        "V": nb.Array(number, 1, "C"),
        "R": nb.Array(number, 2, "C", readonly=True),
        "H": nb.Array(nb.float64, 1, "C"),
        "D": nb.Array(nb.float64, 2, "C"),
        "F": nb.float64,
        "I": nb.int64,
        "A": nb.Array(nb.int64, 1, "C"),
        "B": nb.Array(nb.int64, 2, "C"),
        "T": nb.Array(nb.int64, 3, "C"),
    }

    def type_of(argument: Any) -> Any:
        if isinstance(argument, str):
            return kinds[argument]
        cls, letters = argument
        fields = tuple(kinds[kind] for kind in letters)
        if len(fields) != len(cls._fields):
            raise ValueError(f"{cls.__name__} has {len(cls._fields)} fields, not {len(fields)}")
        return nb.BaseTuple.from_types(fields, cls)

    return tuple(map(type_of, arguments))


def numba_signature(role: str, number: Any) -> Any:
    """Numba's signature of a role, given Numba's type of the numbers."""
    from numba import types as nb

    takes, _, gives = ROLES[role].partition(":")
    return (nb.float64 if gives else nb.void)(*numba_types(takes, number))


@contextlib.contextmanager
def _compiling(unswitch: int = 50) -> Iterator[None]:
    """One compilation at a time, without Numba's hints on speed, which are for us, not for users.

    In an array expression Numba asks of every array in every turn of the loop whether it is
    broadcast. LLVM takes these questions out of the loop ("unswitching"), without which it
    cannot vectorise, but only up to a limit, by default 50, since it takes time. Of vectors it
    would take four in a turn, as fits long loops; rows of networks are short, and what does not
    fill a turn goes number by number, so it shall take two. Numba makes many small objects that
    live as long as the compilation; Python's collector, which would visit them over and over,
    waits.
    """
    import gc
    import warnings

    from llvmlite import binding
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.errors import NumbaWarning

    with global_compiler_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaWarning)
        binding.set_option("", f"-unswitch-threshold={unswitch}")
        binding.set_option("", "-force-vector-interleave=2")
        collects = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collects:
                gc.enable()
            binding.set_option("", "-unswitch-threshold=50")
            binding.set_option("", "-force-vector-interleave=0")  # 0: as LLVM sees fit


_registered: set[Any] = set()


def _register_helpers(fn: types.FunctionType, inline: bool = False) -> None:
    """Let compiled code call the plain Python functions that `fn` names, and theirs.

    With `inline` they become part of their callers: calls with many arguments take longer than
    some of these functions.
    """
    from numba.extending import register_jitable

    # Importing them is what registers their bodies.
    from chainrule import board, loops, products, rows, views  # noqa: F401
    from chainrule.formulas import HELPER

    for _, value in _globals_read(fn):
        if not isinstance(value, types.FunctionType) or value in _registered:
            continue
        _registered.add(value)
        if value not in loops.REPLACED:
            options = HELPER | {"forceinline": True} if inline else HELPER
            register_jitable(**options)(value)
            _register_helpers(value, inline)


def _snapshot(
    fn: types.FunctionType, copies: dict[types.FunctionType, types.FunctionType]
) -> types.FunctionType:
    """A user's function with copies of its helpers, as they are now.

    Numba compiles a helper once; a copy is compiled anew, with the globals that it reads today.
    """
    if fn in copies or fn.__module__.startswith("chainrule."):
        return copies.get(fn, fn)
    space = dict(fn.__globals__)
    cells = tuple(types.CellType(cell.cell_contents) for cell in fn.__closure__ or ())
    copy = types.FunctionType(fn.__code__, space, fn.__name__, fn.__defaults__, cells)
    copy.__module__, copy.__qualname__ = fn.__module__, fn.__qualname__
    copies[fn] = copy
    for name in _names(fn.__code__):
        if isinstance(space.get(name), types.FunctionType):
            space[name] = _snapshot(space[name], copies)
    for cell in cells:
        if isinstance(cell.cell_contents, types.FunctionType):
            cell.cell_contents = _snapshot(cell.cell_contents, copies)
    return copy


_addresses: dict[tuple[str, str, str], tuple[int, Any]] = {}


@functools.cache
def _own_meaning(fn: types.FunctionType) -> str:
    return _fingerprint(fn)


def _meaning(fn: types.FunctionType) -> str:
    """A function's fingerprint: of ours once, of a user's each time, since globals can change."""
    return _own_meaning(fn) if fn.__module__.startswith("chainrule.") else _fingerprint(fn)


def address(fn: Callable[..., None], role: str, dtype: np.dtype[Any]) -> int:
    """Address of the compiled form of a function.

    Parameters
    ----------
    fn : plain Python function
    role : str
        A key of ROLES.
    dtype : float32 or float64

    Raises
    ------
    CompilationError
        Numba cannot compile it.
    """
    if not isinstance(fn, types.FunctionType):
        raise CompilationError(
            f"{fn!r} is not a plain Python function; pass one, or use engine='numpy'"
        )
    if not can_compile():
        raise CompilationError(
            "NUMBA_DISABLE_JIT is set, which switches compilation off; unset it, or use "
            "engine='numpy'"
        )
    key = (_meaning(fn), role, dtype.str)
    if key not in _addresses:
        from numba.core.errors import NumbaError
        from numba.np.numpy_support import from_dtype

        _announce()
        fn = _snapshot(fn, {})
        _register_helpers(fn)
        signature = numba_signature(role, from_dtype(dtype))
        try:
            with _compiling(UNSWITCH.get(role, 50)):
                compiled_fn = _cfunc(fn, signature)
        except NumbaError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise CompilationError(
                f"{fn.__qualname__} cannot be compiled by Numba: {' '.join(lines)[:300]} "
                "(keep to NumPy that Numba supports, or use engine='numpy')"
            ) from error
        _addresses[key] = compiled_fn.address, compiled_fn
    return _addresses[key][0]


def _cfunc(fn: types.FunctionType, signature: Any) -> Any:
    """`numba.cfunc` with our cache."""
    from numba.core.ccallback import CFunc

    code: Any = CFunc(fn, (signature.args, signature.return_type), locals={}, options=dict(OPTIONS))
    code._cache = _cache(fn)
    code.compile()
    return code


_compiled: dict[tuple[Any, Arguments, np.dtype[Any]], Any] = {}


def compiled(fn: Any, arguments: Arguments, dtype: np.dtype[Any]) -> Any:
    """The compiled form of a function that calls through tables of addresses.

    Parameters
    ----------
    fn : plain Python function
    arguments : str, or tuple
        The kind of each, as in ROLES; of a NamedTuple its class and the kinds of its fields. An
        array in a NamedTuple must be exactly of its kind: one that is only read, too.
    dtype : float32 or float64
    """
    key = (fn, arguments, dtype)
    if key not in _compiled:
        from numba import njit
        from numba.np.numpy_support import from_dtype

        _announce()
        _register_helpers(fn, inline=True)
        dispatcher: Any = njit(**OPTIONS)(fn)
        dispatcher._cache = _cache(fn, arguments)
        with _compiling():
            dispatcher.compile(numba_types(arguments, from_dtype(dtype)))
        dispatcher.disable_compile()
        _compiled[key] = dispatcher
    return _compiled[key]


def entry_point(dispatcher: Any) -> Callable[..., None]:
    """The machine code behind what :func:`compiled` gives, without a look at the arguments' types.

    To find the type of so many arrays at each call would take as long as a step of a small network.
    The caller sees to it that they are as declared.
    """
    (code,) = dispatcher.overloads.values()
    entry: Callable[..., None] = code.entry_point
    return entry


def is_compiled(fn: Any, arguments: Arguments, dtype: np.dtype[Any]) -> bool:
    """Whether that function is compiled, here or in the cache."""
    if (fn, arguments, dtype) in _compiled:
        return True
    from numba.core.registry import cpu_target
    from numba.np.numpy_support import from_dtype

    _announce()
    known: bool = _cache(fn, arguments).holds(
        numba_types(arguments, from_dtype(dtype)), cpu_target.target_context
    )
    return known
