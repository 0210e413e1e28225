"""The limit: the matrix products of a step alone, called by pointer from compiled code.

A step has, for each layer, a product forward, one for the weights' gradient and, but for the
first layer, one backward. Nothing else is done here, nor does anything wait for anything within a
step. Two ways: BLAS with its own threads; and threads of ours, each with a share of the rows
(batch rows forward and backward, rows of W for the gradient) over a BLAS held to one thread.
"""

from __future__ import annotations

import ctypes
import functools
import threading
import time
from typing import Any

import numpy as np
import threadpoolctl

from benchmarks.tasks import Task

OWN, SPLIT = "products, BLAS's threads", "products, rows split"


@functools.cache
def repeat() -> Any:
    """Compiled: go through a table of sgemm's arguments so many times, without Python's lock."""
    import numba
    import scipy.linalg.cython_blas as blas

    pythonapi = ctypes.pythonapi
    pythonapi.PyCapsule_GetName.restype = ctypes.c_char_p
    pythonapi.PyCapsule_GetName.argtypes = [ctypes.py_object]
    pythonapi.PyCapsule_GetPointer.restype = ctypes.c_void_p
    pythonapi.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    capsule = blas.__pyx_capi__["sgemm"]
    address = pythonapi.PyCapsule_GetPointer(capsule, pythonapi.PyCapsule_GetName(capsule))
    sgemm = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)(address)

    @numba.njit(nogil=True)
    def go(calls: Any, steps: int) -> None:
        for _ in range(steps):
            for i in range(len(calls)):
                c = calls[i]
                sgemm(
                    c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9], c[10], c[11], c[12]
                )

    go(np.zeros((0, 13), np.int64), 1)
    return go


class Products:
    """Sgemm's arguments for a step of a task, in as many shares as there are threads."""

    def __init__(self, task: Task, shares: int) -> None:
        self.kept: list[Any] = []  # what the table points at
        self.one, self.zero = self._keep(np.float32(1)), self._keep(np.float32(0))
        self.letters = {"N": self._keep(np.uint8(78)), "T": self._keep(np.uint8(84))}
        rng = np.random.default_rng(0)
        sizes, m = task.sizes, task.batch
        a, delta = ([rng.standard_normal((m, n), np.float32) for n in sizes] for _ in range(2))
        W = [None, *(pair[0].copy() for pair in task.start)]
        g = [None, *(np.zeros_like(w) for w in W[1:])]
        self.tables = []
        for share in range(shares):
            rows = slice(m * share // shares, m * (share + 1) // shares)
            calls = []
            for l in range(1, len(sizes)):
                calls.append(self._call(a[l - 1][rows], W[l], a[l][rows]))
            for l in range(len(sizes) - 1, 0, -1):
                part = slice(sizes[l - 1] * share // shares, sizes[l - 1] * (share + 1) // shares)
                if part.stop > part.start:
                    calls.append(self._call(a[l - 1].T[part], delta[l], g[l][part]))
                if l > 1:
                    calls.append(self._call(delta[l][rows], W[l].T, delta[l - 1][rows]))
            self.tables.append(np.array(calls, np.int64))
        self.kept += [a, delta, W, g]

    def _keep(self, value: Any) -> int:
        array = np.array([value])
        self.kept.append(array)
        return array.ctypes.data

    def _call(self, A: np.ndarray, B: np.ndarray, C: np.ndarray) -> list[int]:
        """Arguments for C = A B by rows, which is C^T = B^T A^T by columns, as BLAS counts."""

        def matrix(M: np.ndarray) -> tuple[int, int, int]:
            plain = M.strides[1] == M.itemsize
            stride = max(M.strides[0 if plain else 1] // M.itemsize, M.shape[1 if plain else 0])
            return self.letters["N" if plain else "T"], M.ctypes.data, self._keep(np.int32(stride))

        b_form, b, ldb = matrix(B)
        a_form, a, lda = matrix(A)
        n, m, k = (self._keep(np.int32(x)) for x in (C.shape[1], C.shape[0], A.shape[1]))
        ldc = self._keep(np.int32(C.strides[0] // C.itemsize))
        return [b_form, a_form, n, m, k, self.one, b, ldb, a, lda, self.zero, C.ctypes.data, ldc]

    def seconds(self, steps: int) -> float:
        """Seconds of a step, each share in a thread of its own."""
        go = repeat()
        threads = [threading.Thread(target=go, args=(t, steps)) for t in self.tables[1:]]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        go(self.tables[0], steps)
        for thread in threads:
            thread.join()
        return (time.perf_counter() - began) / steps


def turns(task: Task, cores: int, at_least: float) -> dict[str, Any]:
    """Both ways as turns; one core leaves one way."""
    whole, split = Products(task, 1), Products(task, cores)

    def own() -> float:
        once = whole.seconds(3)
        return whole.seconds(max(3, int(at_least / once)))

    def rows_split() -> float:
        with threadpoolctl.threadpool_limits(1, "blas"):
            once = split.seconds(3)
            return split.seconds(max(3, int(at_least / once)))

    return {OWN: own} | ({SPLIT: rows_split} if cores > 1 else {})
