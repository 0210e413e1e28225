"""Is the gradient of an ensemble right? Central differences of a reference say so, in float64.

The gradient is that of the functions that train, as `kernel.propagate` computes it. The cost is
computed another way: by columns that are written out, a dense layer after the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.base.types import Array, Index
from chainrule.ensembles.inputs import InputLayout, Inputs, check_inputs, encoded, written_out
from chainrule.ensembles.loop import Loop
from chainrule.ensembles.parameters import Plan, arrange, starting_values
from chainrule.ensembles.settings import EnsembleSettings
from chainrule.equations.activations import ACTIVATIONS
from chainrule.equations.vecmath import drop_by_bits, random_bits
from chainrule.network.gradcheck import GradientCheck, difference


def gradcheck(
    inputs: Inputs,
    layout: InputLayout,
    Y: Array,
    row_weights: Array | None,
    folds: Index,
    settings: EnsembleSettings,
    *,
    loss: str = "softmax",
    seed: int = 0,
    engine: str = "numpy",
    step: float = 1e-5,
    tolerance: float = 1e-6,
) -> GradientCheck:
    """Compare the gradient of every parameter with central differences of a reference, in float64.

    It is the gradient of the first step, with its dropout, at starting values that are moved a
    little, so that no output layer is near 0.

    Parameters
    ----------
    inputs, layout, Y, row_weights, folds, settings, loss, seed
        As for :func:`chainrule.ensembles.fitting.fit_ensemble`; a few rows and units are enough.
    engine : {"numpy", "numba"}
        Whose gradient is checked.
    step : float
        h, relative to max(1, |θ_i|).
    tolerance : float
        Largest relative error that passes, as in :func:`chainrule.gradcheck`.

    Returns
    -------
    GradientCheck
        `layer` is 0 and `kind` is "s" for a factor in front of the first layer; `index` starts
        with the member.
    """
    check_inputs(inputs, layout)
    n, K = Y.shape
    folds = np.ascontiguousarray(folds, np.int64)
    weight = np.ones(n) if row_weights is None else np.ascontiguousarray(row_weights, np.float64)
    rng = np.random.Generator(np.random.Philox(seed))
    steps = max(1, round(n / settings.batch))
    arrangement = arrange(layout, settings, K, -(-n // steps))
    theta = starting_values(inputs, layout, settings, arrangement, rng, np.float64)
    theta += 0.3 * rng.standard_normal(theta.shape)
    loop = Loop(
        encoded(inputs, layout, np.float64),
        np.ascontiguousarray(Y, np.float64),
        weight,
        folds,
        settings,
        arrangement,
        theta,
        loss=loss,
        seed=seed,
        key=int(rng.integers(1 << 53)),
        engine=engine,
        n_threads=1,
    )
    plan = loop.plan
    loop.order(0)
    loop.schedule.rates[:] = 0  # theta stays
    loop.schedule.decay[:] = 0
    loop.run(0, 0, 1, False)
    nabla = _gathered(plan, loop.state.nabla, len(theta))
    reference = _Reference(inputs, layout, loop)
    cost = reference.cost(theta)
    floor = max(1e-3 * float(np.abs(nabla).max()), 1e-4 * abs(cost), 1e-300)
    worst = (-1.0, 0, 0.0)
    for p in range(len(theta)):

        def cost_at(value: float, p: int = p) -> float:
            kept, theta[p] = theta[p], value
            found = reference.cost(theta)
            theta[p] = kept
            return found

        numeric, error = difference(cost_at, theta[p], cost, nabla[p], step, floor, tolerance)
        if error > worst[0] or not np.isfinite(error):
            worst = (error, p, numeric)
    error, p, numeric = worst
    layer, kind, index = locate(plan, p)
    return GradientCheck(
        bool(error <= tolerance),
        error,
        layer,
        kind,
        index,
        numeric,
        float(nabla[p]),
        len(theta),
        tolerance,
    )


def locate(plan: Plan, p: int) -> tuple[int, str, tuple[int, ...]]:
    """(layer, kind, index) of parameter p; the index starts with the (first) member that has it."""
    for i in range(len(plan.W)):
        tables = [(0, "s", plan.s[i])]
        for l in range(1, len(plan.widths)):
            tables += [(l, "W", plan.W[i, l]), (l, "b", plan.b[i, l])]
        for l, kind, row in tables:
            offset, rows, columns = row.tolist()
            if offset <= p < offset + rows * columns:
                k, j = divmod(p - offset, columns)
                return l, kind, {"s": (i, k), "b": (i, j)}.get(kind, (i, k, j))
    raise IndexError(p)


def _gathered(plan: Plan, nabla: Array, size: int) -> Array:
    """The gradient, laid out like theta; the first copy of each slice is the sum of all."""
    out: Array = np.zeros(size)
    for (to, n, _), (at, _, _) in zip(
        plan.slices.tolist(), plan.nabla_slices.tolist(), strict=True
    ):
        out[to : to + n] = nabla[at : at + n]
    return out


class _Reference:
    """The cost of a step, with every column written out, and nothing shared between members."""

    def __init__(self, inputs: Inputs, layout: InputLayout, loop: Loop) -> None:
        self.X = written_out(inputs, layout, np.float64)
        self.loop, self.f = loop, ACTIVATIONS[loop.settings.activation].f
        window = loop.schedule.order[loop.schedule.windows[0] : loop.schedule.windows[1]]
        F = loop.settings.folds
        self.rows = [window[loop.data.folds[window] != i % F] for i in range(len(loop.plan.W))]
        self.L = len(loop.plan.widths) - 1
        self.masks = [[self._mask(i, l) for l in range(1, self.L)] for i in range(len(self.rows))]

    def _mask(self, i: int, l: int) -> Array:
        loop = self.loop
        mask: Array = np.ones((len(self.rows[i]), int(loop.plan.widths[l])))
        rate = float(loop.schedule.dropout[0])
        if rate > 0:
            bits = np.zeros(mask.size // 4 + 1, np.uint64)
            random_bits(loop.numbers.key, 0, i * self.L + l, bits)
            drop_by_bits(bits, rate, mask)
        return mask

    def cost(self, theta: Array) -> float:
        """The sum of the members' costs, each weighted as in a step."""
        loop, plan, total = self.loop, self.loop.plan, 0.0
        for i, rows in enumerate(self.rows):

            def view(row: Any) -> Array:
                offset, height, width = row.tolist()
                return theta[offset : offset + height * width].reshape(height, width)

            z = (self.X[rows] * view(plan.s[i])[:, 0]) @ view(plan.W[i, 1]) + view(plan.b[i, 1])
            for l in range(1, self.L):
                a = np.empty_like(z)
                self.f(z, a)
                a *= self.masks[i][l - 1]
                z = a @ view(plan.W[i, l + 1]) + view(plan.b[i, l + 1])
            Y, part = loop.data.Y[rows], loop.data.parts[i % loop.settings.folds]
            share = loop.data.weight[rows] * part
            if loop.loss == "squared":
                cost = 0.5 * ((z - Y) ** 2).sum(axis=1)
            else:
                z = z - z.max(axis=1, keepdims=True)
                cost = (Y * (np.log(np.exp(z).sum(axis=1, keepdims=True)) - z)).sum(axis=1)
            total += float(cost @ share)
        return total
