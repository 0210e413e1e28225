"""The compiled engine: signatures, compilation and its cache.

Numba is imported by the modules of this package alone.

Every component of a network (a layer's three functions, an activation and its pullback, a loss, an
optimiser's step) has a *role*, which fixes its signature. It is compiled once per dtype to a
plain C function, and its address goes into a table; `descend`, compiled once per dtype, calls
through these tables. So one compilation serves every depth and every combination of components, the
user's own included.

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
from typing import Any

import numpy as np

from chainrule.base.interrupts import interrupts_kept
from chainrule.engine.codecache import CodeCache
from chainrule.engine.roles import Arguments, fields, numba_signature, numba_types

logger = logging.getLogger("chainrule")

FIXED_MODULES = ("numpy", "math", "cmath")  # whose contents nobody edits
UNSWITCH = {"f": 200, "f_pullback": 200, "step": 200}  # which go through most numbers

# Not the whole of fast-math: "nnan" and "ninf" would make isfinite(nan) true.
FASTMATH = {"nsz", "arcp", "contract", "afn", "reassoc"}
OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": FASTMATH}


def can_compile() -> bool:
    """Whether Numba may compile: NUMBA_DISABLE_JIT switches it off."""
    return os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")


class CompilationError(TypeError):
    """A function cannot be compiled: the message says whether it, or the installation, is why."""


class ToolchainError(CompilationError):
    """Numba fails here on functions of ours too: no component of the user's own is at fault."""


# What the compiled code depends on beside the functions themselves.
TOOLS = ("numba", "llvmlite", "numpy", "scipy")


def versions() -> str:
    """The versions of Python and of what compiles, in words."""
    found = [f"Python {sys.version.split()[0]}"]
    for name in TOOLS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    return ", ".join(found)


_failures: list[ToolchainError] = []  # for which training went on in NumPy


def has_failed() -> bool:
    """Whether Numba was found not to work in this process."""
    return bool(_failures)


def note_failure(error: ToolchainError) -> None:
    """Remember that Numba does not work here."""
    _failures.append(error)


@contextlib.contextmanager
def _explaining(fn: Any) -> Iterator[None]:
    """Turn whatever Numba or LLVM raises while it compiles `fn` into a CompilationError."""
    try:
        yield
    except (CompilationError, MemoryError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        if not fn.__module__.startswith("chainrule.") and _compiles():
            raise CompilationError(
                f"{fn.__qualname__} cannot be compiled by Numba: {said} "
                "(keep to NumPy that Numba supports, or use engine='numpy')"
            ) from error
        raise ToolchainError(
            f"Numba cannot compile with the versions that are installed ({versions()}): {said} "
            "(install versions that work together, or use engine='numpy')"
        ) from error


def _compiles() -> bool:
    """Whether a function of ours with most of what components are made of can be compiled."""
    from chainrule.equations.activations import ACTIVATIONS

    try:
        address(ACTIVATIONS["softmax"].f, "f", np.dtype(np.float64))
    except ToolchainError:
        return False
    return True


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
    for name in TOOLS:
        digest.update(f"{name} {metadata.version(name)}\n".encode())
    for path in _sources():
        digest.update(path.read_bytes())
    return digest.digest()


def _sources() -> list[Path]:
    """The files of ours that decide how something is compiled.

    They are the modules named here and, found in them, whatever of ours they take from others,
    in which folders ever these stand.
    """
    from chainrule.engine import linking, lookups, loops, products, rows, views, work_queue
    from chainrule.equations import backprop, regularizers

    named = (backprop, work_queue, linking, lookups, loops, products, regularizers, rows, views)
    found = [sys.modules[__name__], *named]
    for module in found:  # which grows
        for value in vars(module).values():
            home = value if isinstance(value, types.ModuleType) else None
            home = home or sys.modules.get(getattr(value, "__module__", None) or "")
            if home is None or home in found or home.__name__.startswith("chainrule.base."):
                continue
            if home.__name__.startswith("chainrule."):
                found.append(home)
    return sorted(Path(str(module.__file__)) for module in found)


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


def _cache(fn: types.FunctionType, arguments: Arguments = "", rounds: bool = False) -> CodeCache:
    """The disk cache for one function, keyed by its meaning and its NamedTuples' fields.

    And by whether it rounds after each operation, as in :func:`compiled`.
    """
    kind = "rounds" if rounds else ""
    return CodeCache(cache_folder(), fn, f"{_meaning(fn)} {fields(arguments)}{kind}")


def _separate_names() -> None:
    """Let Numba count the functions of this process from a number of its own.

    A compiled function's symbol ends in its number, and the linker takes two functions of one
    symbol for the same. Closures of one factory differ in nothing else; counted from 1 in every
    process, as Numba does, two that different processes compiled would meet under one symbol
    when a third loads both from the cache, and one be called for the other.
    """
    from numba.core.bytecode import FunctionIdentity

    FunctionIdentity._unique_ids = itertools.count(int.from_bytes(os.urandom(6), "big"))


USUAL_SECONDS = 40
COMPILING = f"compiling for this machine (once; usually 10 to {USUAL_SECONDS} s)"
_listeners: list[Callable[[], Any]] = []


@contextlib.contextmanager
def telling(listener: Callable[[], Any]) -> Iterator[None]:
    """Meanwhile call `listener` before the first compilation here, instead of saying so on stderr.

    Parameters
    ----------
    listener : callable () -> None
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@functools.cache
def _prepare() -> None:
    """Before anything is compiled: separate names, and a folder to keep it in."""
    _separate_names()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_separate_names)
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
    except OSError:
        logger.debug("compiled code is not kept: %s cannot be written", cache_folder())


def _marker(dtype: np.dtype[Any], loop: str) -> Path:
    """A file that is there when that loop and what it calls have been compiled for that dtype."""
    return cache_folder() / f"compiled-{loop}-{dtype.name}-{_toolchain().hex()[:24]}"


_told: set[np.dtype[Any]] = set()


@functools.cache
def _announce(dtype: np.dtype[Any], loop: str = "*") -> None:
    """Say so, once, if that loop ("*": any) is compiled for that dtype for the first time here."""
    _prepare()
    marker = _marker(dtype, loop)
    if dtype in _told or any(marker.parent.glob(marker.name)):
        return
    _told.add(dtype)
    if _listeners:
        _listeners[-1]()
    else:
        print(f"chainrule: {COMPILING} ...", file=sys.stderr, flush=True)


def _all_compiled(dtype: np.dtype[Any], loop: str) -> None:
    """Remember that there is nothing more to announce."""
    marker = _marker(dtype, loop)
    with contextlib.suppress(OSError):  # then code is not kept either, as was logged
        if not marker.exists():
            marker.touch()


@contextlib.contextmanager
def _compiling(unswitch: int = 50) -> Iterator[None]:
    """One compilation at a time, without Numba's hints on speed, which are for us, not for users.

    In an array expression Numba checks in every iteration of the loop, for every array, whether it
    is broadcast. LLVM moves these checks out of the loop ("unswitching"), without which it cannot
    vectorise, but only up to a limit, by default 50, since that takes time. It would compute four
    vectors in one iteration, as fits long loops; rows of networks are short, and what does not
    fill an iteration goes number by number, so it shall compute two. Numba makes many small
    objects that live as long as the compilation; Python's collector, which would visit them over
    and over, waits.
    """
    import gc
    import warnings

    from llvmlite import binding
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.errors import NumbaWarning

    from chainrule.engine.linking import errors_without_shapes

    with (
        global_compiler_lock,
        warnings.catch_warnings(),
        interrupts_kept(),
        errors_without_shapes(),
    ):
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
    from chainrule.engine import lookups, loops, products, rows, views, work_queue  # noqa: F401
    from chainrule.engine.linking import HELPER, USERS_HELPER

    for _, value in _globals_read(fn):
        if not isinstance(value, types.FunctionType) or value in _registered:
            continue
        _registered.add(value)
        if value not in loops.REPLACED:
            options = HELPER if value.__module__.startswith("chainrule.") else USERS_HELPER
            if inline:
                options = options | {"forceinline": True}
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


# By meaning, role and dtype; of ours, whose meaning does not change, by the function as well.
_addresses: dict[tuple[Any, str, str], tuple[int, Any]] = {}


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
        Numba cannot compile it, or (ToolchainError) anything at all.
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
    if known := _addresses.get((fn, role, dtype.str)):
        return known[0]
    with _explaining(fn):
        key = (_meaning(fn), role, dtype.str)
        if key not in _addresses:
            from numba.np.numpy_support import from_dtype

            _announce(dtype)
            fn = _snapshot(fn, {})
            _register_helpers(fn)
            signature = numba_signature(role, from_dtype(dtype))
            with _compiling(UNSWITCH.get(role, 50)):
                compiled_fn = _cfunc(fn, signature)
            _addresses[key] = compiled_fn.address, compiled_fn
    if fn.__module__.startswith("chainrule."):
        _addresses[fn, role, dtype.str] = _addresses[key]
    return _addresses[key][0]


def _cfunc(fn: types.FunctionType, signature: Any) -> Any:
    """`numba.cfunc` with our cache."""
    from numba.core.ccallback import CFunc

    from chainrule.engine.linking import ComponentCompiler

    arguments = signature.args, signature.return_type
    code: Any = CFunc(fn, arguments, {}, dict(OPTIONS), pipeline_class=ComponentCompiler)
    code._cache = _cache(fn)
    code.compile()
    return code


_compiled: dict[tuple[Any, Arguments, np.dtype[Any], bool], Any] = {}


def compiled(
    fn: Any,
    arguments: Arguments,
    dtype: np.dtype[Any],
    *,
    inline: bool = True,
    rounds: bool = False,
) -> Any:
    """The compiled form of a function that calls through tables of addresses.

    Parameters
    ----------
    fn : plain Python function
    arguments : str, or tuple
        The kind of each, as in ROLES; of a NamedTuple its class and the kinds of its fields. An
        array in a NamedTuple must be exactly of its kind: one that is only read, too.
    dtype : float32 or float64
    inline : bool, default True
        Make the functions that it calls a part of it: faster where they do little, and slower to
        compile.
    rounds : bool, default False
        Round after each operation, in the order that is written, as NumPy does.

    Raises
    ------
    ToolchainError
        Numba cannot compile here.
    """
    key = (fn, arguments, dtype, rounds)
    if key not in _compiled:
        with _explaining(fn):
            from numba import njit
            from numba.np.numpy_support import from_dtype

            from chainrule.engine.linking import ComponentCompiler

            _announce(dtype, fn.__name__)
            _register_helpers(fn, inline)
            options = OPTIONS | {"fastmath": False} if rounds else OPTIONS
            dispatcher: Any = njit(pipeline_class=ComponentCompiler, **options)(fn)
            dispatcher._cache = _cache(fn, arguments, rounds)
            with _compiling():
                dispatcher.compile(numba_types(arguments, from_dtype(dtype)))
            dispatcher.disable_compile()
            _compiled[key] = dispatcher
            _all_compiled(dtype, fn.__name__)
    return _compiled[key]


@functools.cache
def entry_point(dispatcher: Any) -> Callable[..., None]:
    """The machine code behind what :func:`compiled` gives, without a look at the arguments' types.

    To find the type of so many arrays at each call would take as long as a step of a small network.
    The caller sees to it that they are as declared.
    """
    (code,) = dispatcher.overloads.values()
    entry: Callable[..., None] = code.entry_point
    return entry


def is_compiled(
    fn: Any, arguments: Arguments, dtype: np.dtype[Any], *, rounds: bool = False
) -> bool:
    """Whether that function is compiled, here or in the cache."""
    if (fn, arguments, dtype, rounds) in _compiled:
        return True
    with _explaining(fn):
        from numba.core.registry import cpu_target
        from numba.np.numpy_support import from_dtype

        _prepare()
        signature = numba_types(arguments, from_dtype(dtype))
        known: bool = _cache(fn, arguments, rounds).holds(signature, cpu_target.target_context)
        return known
