"""Each compiled component keeps its own copies of the functions that it calls."""

from __future__ import annotations

from typing import Any

from llvmlite.binding import Linkage
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


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
