"""The work queue of worker threads, in compiled code: who does which item, who waits for whom."""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from chainrule.engine.loops import overload
from chainrule.equations import vecmath

SPINS = 2000  # looks at the queue, some microseconds, before others may have the processor
PATIENCE = 4_000  # times that a thread without work yields its processor, some milliseconds


@intrinsic(prefer_literal=True)
def _atomic(typingctx: Any, operation: Any, array: Any, i: Any, value: Any, expected: Any) -> Any:
    """Do something to array[i] that no thread sees half done; returns the old number.

    "get" looks, "set" writes value, "add" adds it, "swap" writes it if `expected` was there.
    What a thread wrote before, others see after.
    """
    name = operation.literal_value

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, packed, i, value, expected = args
        place = builder.gep(make_array(array)(context, builder, packed).data, [i])
        if name == "get":
            return builder.load_atomic(place, "acquire", 8)
        if name == "swap":
            pair = builder.cmpxchg(place, expected, value, "seq_cst", "seq_cst")
            return builder.extract_value(pair, 0)
        return builder.atomic_rmw("add" if name == "add" else "xchg", place, value, "seq_cst")

    return types.int64(operation, array, *[types.int64] * 3), codegen


@intrinsic
def _yield(typingctx: Any) -> Any:
    """Let another thread have the processor."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"
        signature = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, signature, name), [])
        return context.get_dummy_value()

    return types.void(), codegen


@overload(vecmath.claim)
def _claim(queue: Any, phase: Any, n: Any, done: Any, preferred: Any) -> Any:
    ticket, finished, aborted = vecmath.TICKET, vecmath.DONE, vecmath.ABORTED
    alone, bits = vecmath.ALONE, vecmath.MOST_ITEMS

    def body(queue, phase, n, done, preferred):  # type: ignore[no-untyped-def]
        if queue[alone]:
            return done + 1
        if done >= 0 and _atomic("add", queue, finished, 1, 0) == n - 1:
            _atomic("set", queue, finished, 0, 0)
            _atomic("set", queue, ticket, (phase + 1) << bits, 0)
        looks, all_items = 0, (1 << n) - 1
        while _atomic("get", queue, aborted, 0, 0) == 0:
            seen = _atomic("get", queue, ticket, 0, 0)
            claimed = seen - (phase << bits)
            if claimed > all_items:  # a later phase's
                return n
            free = all_items & ~claimed
            if claimed >= 0 and free:
                free = free & preferred or free
                if _atomic("swap", queue, ticket, seen + (free & -free), seen) == seen:
                    item = 0
                    while not free >> item & 1:
                        item += 1
                    return item
            else:
                looks += 1
                if looks > SPINS:
                    _yield()
        return n

    return body


@overload(vecmath.announced_steps)
def _announced_steps(queue: Any, k: Any, steps: Any) -> Any:
    announced, aborted, gone = vecmath.ANNOUNCED, vecmath.ABORTED, vecmath.GONE

    def body(queue, k, steps):  # type: ignore[no-untyped-def]
        if steps > 0:
            _atomic("set", queue, announced, k + steps, 0)
            return k + steps
        looks = 0
        while _atomic("get", queue, aborted, 0, 0) == 0 and looks < SPINS + PATIENCE:
            end = _atomic("get", queue, announced, 0, 0)
            if end > k:
                return end
            looks += 1
            if looks > SPINS:
                _yield()
        _atomic("add", queue, gone, 1, 0)
        return k

    return body
