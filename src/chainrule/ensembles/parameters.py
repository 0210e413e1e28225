"""Where each parameter of an ensemble stands in theta, its starting values, and who updates it."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from chainrule.base.types import Array, Index
from chainrule.ensembles.inputs import InputLayout, Inputs, written_out
from chainrule.ensembles.settings import (
    BIAS_RATE,
    SCALE_DECAY,
    SCALE_RATE,
    EnsembleSettings,
)
from chainrule.equations.activations import ACTIVATIONS
from chainrule.equations.vecmath import MOST_ITEMS

ROWS = 384  # that a block of members takes together: its arrays then fit into a core's cache
CHUNK = 4096  # parameters, from which on it pays to cut an update


class Plan(NamedTuple):
    """Tables of offsets, for the kernel.

    Attributes
    ----------
    W, b : (k, L + 1, 3) int64
        Of each member and layer, where in theta its W and b are: offset, rows, columns.
    s : (k, 3) int64
        Its factors on the input columns.
    nabla_W, nabla_b, nabla_s : int64
        Likewise, where in nabla its gradient goes. What members share has a gradient for each
        block of members; these are added up.
    blocks : int64
        The first member of each block of members that take their step together, and k.
    slices, nabla_slices : (n, 3) int64
        Parameters that are updated together, and where in nabla their gradient is.
    copies : (n, 2) int64
        How many gradients of that slice there are, and how far apart.
    groups : (n,) int64
        The kind of parameter, by which it has its factors.
    chunks : int64
        The first slice of each chunk that a thread takes, and n.
    rate_factors, decay_factors : float64, by group
    widths : (L + 1,) int64
        Columns of a^0, which are the dense ones, and units of each layer.
    shares : int
        1 if members share layers, and so wait for each other in each step.
    """

    W: Index
    b: Index
    s: Index
    nabla_W: Index
    nabla_b: Index
    nabla_s: Index
    blocks: Index
    slices: Index
    nabla_slices: Index
    copies: Index
    groups: Index
    chunks: Index
    rate_factors: Array
    decay_factors: Array
    widths: Index
    shares: int


class Arrangement(NamedTuple):
    """A plan, and how long theta and nabla are."""

    plan: Plan
    size: int
    nabla_size: int


def shapes_of(columns: int, hidden: tuple[int, ...], outputs: int) -> list[tuple[int, int]]:
    """The shapes of W^1 … W^L."""
    widths = [columns, *hidden, outputs]
    return list(itertools.pairwise(widths))


def arrange(
    layout: InputLayout, settings: EnsembleSettings, outputs: int, window: int
) -> Arrangement:
    """Lay out theta and nabla, and cut the work of a step; by shapes alone.

    Parameters
    ----------
    layout : InputLayout
    settings : EnsembleSettings
    outputs : int
    window : int
        The most rows that a member may take in a step.
    """
    k, shares = settings.members, settings.sharing == "layers"
    shapes = shapes_of(layout.columns, settings.hidden, outputs)
    L = len(shapes)
    if shares:
        in_block = int(np.clip(ROWS // window, 1, max(1, k // 4)))
        in_block = max(in_block, -(-k // MOST_ITEMS))
    else:
        in_block = 1
    blocks = np.array([*range(0, k, in_block), k])
    n_blocks = len(blocks) - 1
    # Kinds of parameters: s is group 0, W^l is group 2 l - 1 and b^l is group 2 l.
    rates = [SCALE_RATE[settings.sharing]]
    decays = [SCALE_DECAY[settings.sharing]]
    for n_in, _ in shapes:
        rates += [1 / np.sqrt(max(n_in, 1)), BIAS_RATE]
        decays += [1.0, 0.0]
    table = {"W": np.zeros((k, L + 1, 3), np.int64), "b": np.zeros((k, L + 1, 3), np.int64)}
    table["s"] = np.zeros((k, 1, 3), np.int64)
    nabla_table = {name: one.copy() for name, one in table.items()}
    kinds: list[tuple[str, int, int, int]] = [("s", 0, layout.columns, 1)]
    for l, (n_in, n_out) in enumerate(shapes, 1):
        kinds += [("W", l, n_in, n_out), ("b", l, 1, n_out)]
    slices: list[tuple[int, int, int, int]] = []  # offset, size, offset in nabla, group
    shared_slices = []
    at = 0

    def group_of(name: str, l: int) -> int:
        return 0 if name == "s" else 2 * l - (name == "W")

    if shares:
        for name, l, rows, columns in kinds:
            if name == "s" or l == L:
                continue
            table[name][:, l] = at, rows, columns
            shared_slices.append((at, rows * columns, at, group_of(name, l)))
            at += rows * columns
    shared = at
    ahead = (n_blocks - 1) * shared  # in nabla, the own gradients come after all copies
    for i in range(k):
        for name, l, rows, columns in kinds:
            if shares and not (name == "s" or l == L):
                block = i // in_block
                nabla_table[name][i, l] = table[name][i, l] + [block * shared, 0, 0]
                continue
            table[name][i, l] = at, rows, columns
            nabla_table[name][i, l] = at + ahead, rows, columns
            slices.append((at, rows * columns, at + ahead, group_of(name, l)))
            at += rows * columns
    every = [(*one, n_blocks) for one in shared_slices] + [(*one, 1) for one in slices]
    if shares:
        every = _cut(every)
        ends = np.cumsum([one[1] for one in every])
        wanted = min(MOST_ITEMS, 8, max(1, int(ends[-1]) // CHUNK))
        goals = ends[-1] * np.arange(1, wanted) / wanted
        chunks = np.unique([0, *np.searchsorted(ends, goals), len(every)])
    else:
        chunks = np.arange(0, len(every) + 1, len(kinds))
    plan = Plan(
        table["W"],
        table["b"],
        table["s"][:, 0],
        nabla_table["W"],
        nabla_table["b"],
        nabla_table["s"][:, 0],
        blocks,
        np.array([(o, n, 1) for o, n, _, _, _ in every]),
        np.array([(o, n, 1) for _, n, o, _, _ in every]),
        np.array([(copies, shared) for *_, copies in every]),
        np.array([group for *_, group, _ in every]),
        np.asarray(chunks, np.int64),
        np.array(rates),
        np.array(decays),
        np.array([layout.dense, *settings.hidden, outputs]),
        int(shares),
    )
    return Arrangement(plan, at, at + ahead)


def _cut(slices: list[Any]) -> list[Any]:
    """Slices of CHUNK numbers at most."""
    found = []
    for offset, size, nabla, group, copies in slices:
        for first in range(0, size, CHUNK):
            n = min(CHUNK, size - first)
            found.append((offset + first, n, nabla + first, group, copies))
    return found


def starting_values(
    inputs: Inputs,
    layout: InputLayout,
    settings: EnsembleSettings,
    arrangement: Arrangement,
    rng: np.random.Generator,
    dtype: Any = np.float32,
) -> Array:
    """Theta before the first step, by what up to 1,024 rows of the data make of it.

    A unit's weights are drawn from N(0, 1) and divided by the deviation of what they give on these
    rows, so that each z has the variance 1. Its bias is drawn such that its z is 0 at a random
    point among the rows, a convex combination of five with weights from Exp(1): so kinks are where
    the data are, as in Holzmüller, Grinsztajn and Steinwart (2024). Output layers start small,
    N(0, 0.1² / n_in), with biases 0.
    """
    plan, k, L = arrangement.plan, settings.members, len(arrangement.plan.widths) - 1
    n_rows = int(np.clip((1 << 22) // max(layout.columns, 1), 64, 1024))
    rows = rng.permutation(inputs.n)[:n_rows]
    X = written_out(inputs.take(rows), layout, dtype)
    f = ACTIVATIONS[settings.activation].f
    theta = np.zeros(arrangement.size, dtype)

    def view(row: Index) -> Array:
        offset, height, width = row.tolist()
        return theta[offset : offset + height * width].reshape(height, width)

    signs = plan.shares == 1
    for i in range(k):
        s = view(plan.s[i])
        s[:] = rng.choice([-1.0, 1.0], s.shape) if signs else 1
    for i in range(0, k, k if signs else 1):
        inputs_of = [X]
        for l in range(1, L):
            W, b = view(plan.W[i, l]), view(plan.b[i, l])
            W[:] = rng.standard_normal(W.shape)
            if l == 1:
                z = [X @ (view(s) * W) for s in (plan.s if signs else plan.s[i : i + 1])]
            else:
                z = [below @ W for below in inputs_of]
            deviation = np.maximum(np.std(np.concatenate(z), axis=0), 1e-6)
            W /= deviation
            z = [one / deviation for one in z]
            points = rng.integers(0, len(X), (5, W.shape[1]))
            share = rng.exponential(size=points.shape)
            b[:] = -(np.take_along_axis(z[0], points, 0) * share).sum(axis=0) / share.sum(axis=0)
            inputs_of = [np.empty_like(one) for one in z]
            for one, above in zip(z, inputs_of, strict=True):
                f(one + b, above)
    for i in range(k):
        W = view(plan.W[i, L])
        W[:] = rng.standard_normal(W.shape) * (0.1 / np.sqrt(len(W)))
    return theta
