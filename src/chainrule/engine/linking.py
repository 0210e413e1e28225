"""How Numba compiles a component: with copies of what it calls, and without shapes in errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite.binding import Linkage
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.extending import overload
from numba.np import arrayobj


class OwnCopies(JITCodeLibrary):
    """Machine code in which calls stay inside.

    Numba compiles a function that others call to machine code of its own, and links a copy into
    each caller, where it is optimised once more; to the linker all of these are one function, and
    the first to be loaded is the one that is called. Where a component is compiled, that is the
    function's own code, and where it is loaded from the cache, it is the copy of some component.
    Optimised differently, they round differently. So the copies are made local here: the linker
    does not see them.
    """

    def __init__(self, codegen: Any, name: str) -> None:
        super().__init__(codegen, name)
        self.enable_object_caching()

    def _finalize_final_module(self) -> None:
        for fn in self._final_module.functions:
            if not fn.is_declaration and fn.linkage == Linkage.linkonce_odr:
                fn.linkage = Linkage.internal
        super()._finalize_final_module()


class Copy(JITCodeLibrary):
    """Code that callers get a copy of, and that is not called itself: no machine code is made."""

    @property
    def codegen(self) -> Any:
        """What Numba hands a function's environment to: the objects of Python that it uses."""
        return NoEnvironment

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """0, as Numba has it for what is not there."""
        self._ensure_finalized()
        return 0


class PlainCopy(Copy):
    """Such code, which is optimised in its callers alone.

    That takes less time and does well for functions that call others. Loops come out faster where
    they are optimised by themselves first.
    """

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        """Leave that to the callers."""


class NoEnvironment:
    """For functions that use none: they neither print values nor raise errors with values."""

    @staticmethod
    def set_env(name: str, environment: Any) -> None:
        """Do nothing."""


class OwnCompiler(Compiler):
    """Numba's compiler, with a kind of library of ours."""

    library: type[JITCodeLibrary]

    def compile_extra(self, func: Any) -> Any:
        """Compile a plain function; Numba makes a library only if it finds none."""
        self.state.library = self.library(self.state.targetctx.codegen(), func.__qualname__)
        return super().compile_extra(func)


class ComponentCompiler(OwnCompiler):
    """For what is called by its address."""

    library = OwnCopies


class LoopCompiler(OwnCompiler):
    """For loops that only compiled code calls."""

    library = Copy


class HelperCompiler(OwnCompiler):
    """For other functions that only compiled code calls."""

    library = PlainCopy


# Options for what only compiled code calls: less to compile. Of users' functions machine code is
# made, since Numba keeps with it what a function needs to print a value, or to raise one.
USERS_HELPER: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
LOOP = USERS_HELPER | {"pipeline_class": LoopCompiler}
HELPER = USERS_HELPER | {"pipeline_class": HelperCompiler}


def raise_without_shapes(source: tuple[int, ...], slice_shape: tuple[int, ...]) -> None:
    """Raise the error of an assignment to a slice of another shape."""
    raise NotImplementedError  # compiled code alone calls it


@overload(raise_without_shapes)
def _raise_without_shapes(source: Any, slice_shape: Any) -> Callable[..., None]:
    def raise_error(source: Any, slice_shape: Any) -> None:
        raise ValueError("cannot assign to a slice from an array of another shape")

    return raise_error


@contextmanager
def errors_without_shapes() -> Iterator[None]:
    """Meanwhile, an assignment to a slice of another shape raises a message without the shapes.

    Numba's message has them, and to compile the code that writes them takes several times as long
    as to compile a component. The shapes are not missed: components are tried in NumPy first, whose
    message has them too.
    """
    name = "raise_with_shape_context"
    of_numba = getattr(arrayobj, name, None)
    if of_numba is None:  # a version without such code
        yield
        return
    setattr(arrayobj, name, raise_without_shapes)
    try:
        yield
    finally:
        setattr(arrayobj, name, of_numba)
