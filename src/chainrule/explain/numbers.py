"""The numbers of one batch, by layer, and the equations that they come from, one by one.

The functions of :mod:`chainrule.equations.backprop` compute; nothing is computed a second way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.base.types import Array
from chainrule.base.validation import ShownAsText
from chainrule.equations import backprop
from chainrule.equations.optimizers import Optimizer
from chainrule.explain.models import Viewed
from chainrule.network.predictor import check_outputs


def clean(text: str) -> str:
    """Return a text from the data without signs that could steer a terminal."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


@dataclass(frozen=True, eq=False)
class Step(ShownAsText):
    """One equation of a trace, with its numbers.

    Attributes
    ----------
    name : str
        What is computed, in words.
    symbol : str
        What is computed, as on paper: "z¹", "δ²", "∇W¹".
    layer : int
        l; 0 for the input, L for the cost.
    equation : str
        "forward", "cost", "BP1", "BP2", "BP3", "BP4" or "update"; "input" for the first.
    formula : str
        The equation that the value comes from.
    value : array or float
    shape : tuple of int
    worked : tuple of str
        The numbers put into the equation, a line each: all entries of a small value, the largest
        of a large one.
    complete : bool
        Whether `worked` has every entry.
    """

    name: str
    symbol: str
    layer: int
    equation: str
    formula: str
    value: Any
    worked: tuple[str, ...]
    complete: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value; () of a number."""
        return np.shape(self.value)

    def __str__(self) -> str:
        shape = f"   shape {self.shape}" if self.shape else ""
        lines = [f"{self.equation}  {clean(self.formula)}{shape}"]
        if not self.complete:
            lines.append(f"  the {len(self.worked)} largest of {np.size(self.value):,} entries:")
        return "\n".join([*lines, *(f"  {clean(line)}" for line in self.worked)])


class Numbers(ShownAsText):
    """All that one batch comes to in a network, forward and backward, and a step.

    Parameters
    ----------
    seen : Viewed
    optimizer : Optimizer
    numbers : float64 array
        The optimiser's, in its order.
    """

    def __init__(self, seen: Viewed, optimizer: Optimizer, numbers: Array) -> None:
        network = self.network = seen.network
        assert seen.Y is not None
        self.kind = seen.kind
        self.input_names, self.output_names = seen.input_names, seen.output_names
        self.sizes, self.L, self.m = network.sizes, network.L, len(seen.X)
        self.optimizer = optimizer.name
        self.hyper = dict(zip(optimizer.hyper, numbers.tolist(), strict=True))
        self.y = seen.Y
        self._compute(seen.X, optimizer, numbers)

    def _compute(self, X: Array, optimizer: Optimizer, numbers: Array) -> None:
        """Forward, BP1 to BP4, and a step."""
        network, L = self.network, self.L
        net, batch = network.bind(self.m)
        batch.a[0][:] = X
        nabla = np.zeros_like(network.theta)
        nabla_W, nabla_b = network.views(nabla)
        costs = np.empty(self.m, network.dtype)
        with np.errstate(all="ignore"):
            backprop.forward(net, batch)
            check_outputs(network.bind_forward, X, batch.a[L])
            network.loss.cost(batch.z[L], batch.a[L], self.y, costs)
            backprop.output_error(net, network.loss.delta, self.y, batch)
            backprop.backward(net, batch)
            backprop.gradient(net, batch, nabla_W, nabla_b)
        self.a: list[Array] = list(batch.a)
        self.z = [None, *list(batch.z)[1:]]
        self.delta = [None, *list(batch.delta)[1:]]
        self.W, self.b = _present(network.W), _present(network.b)
        self.nabla_W, self.nabla_b = _present(nabla_W), _present(nabla_b)
        self.costs, self.cost = costs, float(costs.mean(dtype=np.float64))
        after = network.copy()
        state = np.zeros((optimizer.slots, after.theta.size), after.dtype)
        with np.errstate(all="ignore"):
            optimizer.step(after.theta, nabla.copy(), state, numbers, 1)
        self.new_W, self.new_b = _present(after.W), _present(after.b)
        self.new_cost = after.cost(X, self.y)

    @property
    def learning_rate(self) -> float:
        """η of the step."""
        return float(self.hyper["learning_rate"])


def _present(arrays: Any) -> list[Any]:
    """Return arrays by layer; None where there are no numbers, and at 0."""
    return [None, *(array.copy() if array.size else None for array in list(arrays)[1:])]
