"""Compiled code on disk: a file for each function and signature, used only if it is whole.

Numba's own cache reads what it finds: one changed byte of machine code ends the process inside
LLVM. It also keys an entry by the source file's contents and the line, so that an edit in another
file leaves a caller stale and two closures of one factory share an entry. Here the key is what
the function means.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
import sys
import types
from pathlib import Path
from typing import Any

from chainrule.base.whole_files import whole_file

logger = logging.getLogger("chainrule")

DIGEST = hashlib.sha256().digest_size


class CodeCache:
    """The cache of one function, with the methods by which Numba uses a cache.

    A file holds the SHA-256 of its key and of its code, then the code. One that is damaged, or
    that is another's, is compiled anew and replaced.

    Parameters
    ----------
    folder : Path
        Made when something is kept.
    fn : plain Python function
    meaning : str
        What the compiled code depends on, beside the signature and the processor.
    """

    def __init__(self, folder: Path, fn: types.FunctionType, meaning: str) -> None:
        self._folder, self._meaning = folder, meaning
        self._name = re.sub(r"[^A-Za-z0-9_.]", "", fn.__qualname__)[-60:]

    @property
    def cache_path(self) -> str:
        """The folder."""
        return str(self._folder)

    def enable(self) -> None:
        """Do nothing: it is always in use."""

    def disable(self) -> None:
        """Do nothing: it is always in use."""

    def flush(self) -> None:
        """Do nothing: other processes may use what is there."""

    def holds(self, signature: Any, target_context: Any) -> bool:
        """Whether code of that signature is there and whole."""
        return self._read(self._key(signature, target_context.codegen())) is not None

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Numba's result of a compilation, or None if it is not there or not whole."""
        from numba.core.compiler import CompileResult
        from numba.core.runtime import rtsys

        code = self._read(self._key(signature, target_context.codegen()))
        if code is None:
            return None
        # All that machine code calls. The context itself, which takes longer, is made ready by
        # whatever compiles.
        rtsys.initialize(target_context)
        return CompileResult._rebuild(target_context, *pickle.loads(code))

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep Numba's result of a compilation, if it can be kept."""
        from numba.core.serialize import dumps

        if result.lifted or result.library.has_dynamic_globals:
            return  # they hold addresses of this process
        key = self._key(signature, result.library.codegen)
        try:
            self._write(key, dumps(result._reduce()))
        except OSError as error:
            logger.debug("compiled code is not kept in %s: %s", self._folder, error)

    def _key(self, signature: Any, codegen: Any) -> str:
        parts = (self._meaning, signature, codegen.magic_tuple(), sys.implementation.cache_tag)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def _path(self, key: str) -> Path:
        return self._folder / f"{self._name}-{key[:24]}.nbc"

    def _read(self, key: str) -> bytes | None:
        try:
            held = self._path(key).read_bytes()
        except OSError:
            return None
        code = held[DIGEST:]
        if held[:DIGEST] == _digest(key, code):
            return code
        logger.debug("%s is damaged; it is compiled anew", self._path(key))
        return None

    def _write(self, key: str, code: bytes) -> None:
        """Put a whole file in place at once, since other processes read and write there too."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with whole_file(self._path(key)) as file:
            file.write(_digest(key, code) + code)


def _digest(key: str, code: bytes) -> bytes:
    return hashlib.sha256(key.encode() + code).digest()
