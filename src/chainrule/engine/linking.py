"""How Numba compiles a component: its own copies of what it calls, no shapes in messages."""

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

    def _finalize_final_module(self) -> None:
        for fn in self._final_module.functions:
            if not fn.is_declaration and fn.linkage == Linkage.linkonce_odr:
                fn.linkage = Linkage.internal
        super()._finalize_final_module()


class ComponentCompiler(Compiler):
    """Numba's compiler, for what is called by address: its code is an :class:`OwnCopies`."""

    def compile_extra(self, func: Any) -> Any:
        """Compile a plain function; Numba makes a library only if it finds none."""
        library = OwnCopies(self.state.targetctx.codegen(), func.__qualname__)
        library.enable_object_caching()
        self.state.library = library
        return super().compile_extra(func)


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
