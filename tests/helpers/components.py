"""What the contract tests share: running a component in either engine, and what to compare with.

A component is run compiled as the engine runs it, by its address, so that it is the very machine
code that trains.
"""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from chainrule.base.validation import look_up
from chainrule.equations.activations import ACTIVATIONS
from chainrule.equations.domains import ANY_NUMBER
from chainrule.equations.losses import FUSED, LOSSES
from chainrule.equations.vecmath import functions

TOLERANCE = {np.dtype("float64"): 1e-12, np.dtype("float32"): 1e-5}
EVERY_LOSS = {
    **LOSSES,
    **{f"{name} fused with {fused}": FUSED[name, fused] for name, fused in FUSED},
}
COUNTS = ("poisson", "gamma", "tweedie")  # losses whose outputs and targets are positive

shapes = st.tuples(st.integers(1, 9), st.integers(1, 17))
seeds = st.integers(0, 2**32 - 1)


def _call_f(table, z, a):
    functions("f", table, z)[0](z, a)


def _call_f_pullback(table, z, a, delta):
    functions("f_pullback", table, z)[0](z, a, delta)


def _call_cost(table, z, a, y, c):
    functions("cost", table, z)[0](z, a, y, c)


def _call_delta(table, z, a, y, delta):
    functions("delta", table, z)[0](z, a, y, delta)


def _call_step(table, theta, nabla, state, h, t):
    functions("step", table, theta)[0](theta, nabla, state, h, t)


def _call_forward(table, W, b, s, a, z):
    functions("forward", table, W)[0](W, b, s, a, z)


def _call_pullback(table, W, b, s, a, delta, below):
    functions("pullback", table, W)[0](W, b, s, a, delta, below)


def _call_gradient(table, W, b, s, a, delta, nabla_W, nabla_b):
    functions("gradient", table, W)[0](W, b, s, a, delta, nabla_W, nabla_b)


def _call_collect(table, s, a, part):
    functions("collect", table, a)[0](s, a, part)


def _call_pool(table, parts, s):
    functions("pool", table, parts)[0](parts, s)


def _call_collect_back(table, s, a, delta, part):
    functions("collect_back", table, a)[0](s, a, delta, part)


def _call_pool_back(table, parts, s):
    functions("pool_back", table, parts)[0](parts, s)


CALLS = {name.removeprefix("_call_"): fn for name, fn in globals().items() if name[:5] == "_call"}


def run(engine, role, fn, *args):
    """Call a component in either engine; the arguments are copied, the copies returned."""
    copies = [np.array(arg, order="C") if isinstance(arg, np.ndarray) else arg for arg in args]
    if engine == "numpy":
        fn(*copies)
    else:
        from chainrule.engine.compilation import address, compiled
        from chainrule.engine.roles import ROLES

        dtype = copies[1 if role in ("collect", "collect_back") else 0].dtype
        table = np.array([address(fn, role, dtype)])
        compiled(CALLS[role], "A" + ROLES[role], dtype)(table, *copies)
    return copies


def close(left, right, dtype):
    """Equal to the tolerance of the dtype, relative to the size of the numbers at hand."""
    scale = np.maximum(np.abs(right), 1) if np.size(right) else 1
    return bool(np.all(np.abs(left - right) <= TOLERANCE[np.dtype(dtype)] * scale))


def unchanged(before, after, written):
    """All but the last `written` arrays are as they were, bit by bit; dtypes and shapes kept."""
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        if isinstance(old, np.ndarray):
            assert new.dtype == old.dtype
            assert new.shape == old.shape
            if i < len(before) - written:
                assert new.tobytes() == old.tobytes(), f"argument {i} was changed"


def like(rng, shape, dtype, spread=3.0):
    return rng.normal(0, spread, shape).astype(dtype)


def targets(rng, loss, m, n, dtype="float64"):
    """Targets for n outputs that are at home in the loss.

    Positive numbers for counts, any for distances, rows of probabilities of sum 1 for the rest.
    """
    n //= loss.outputs
    if loss.domain == ANY_NUMBER:
        return rng.normal(0, 2, (m, n)).astype(dtype)
    if loss.domain.high == np.inf:
        return rng.uniform(0.2, 4, (m, n)).astype(dtype)
    y = rng.uniform(0.05, 1, (m, n))
    return (y / y.sum(axis=1, keepdims=True)).astype(dtype)


def outputs_for(loss, z):
    """An output a that the loss can be asked about: its link's."""
    a = np.empty_like(z)
    look_up("link", loss.link, ACTIVATIONS).f(z, a)
    return a


def widened(loss, shape):
    """The shape, with as many columns as the loss needs for so many targets."""
    return shape[0], loss.outputs * shape[1]


def slope(function, x, step=1e-6):
    """Central differences of a number by every entry of an array, Richardson's way: to h⁴."""
    out = np.empty_like(x)
    for i in np.ndindex(x.shape):
        values = []
        for h in (step, -step, 2 * step, -2 * step):
            moved = x.copy()
            moved[i] += h
            values.append(function(moved))
        out[i] = (8 * (values[0] - values[1]) - (values[2] - values[3])) / (12 * step)
    return out
