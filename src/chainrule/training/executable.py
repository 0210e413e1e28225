"""What runs a step on a network: the kernel and its components, plain or compiled, and its cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.base.types import Index
from chainrule.engine import compilation
from chainrule.equations.optimizers import Optimizer, sgd
from chainrule.equations.regularizers import RULES, Rules
from chainrule.network.network import Network
from chainrule.training import ahead, kernel
from chainrule.training.arguments import ARGUMENTS, Components, Traits


def fused_layers(network: Network, optimizer: Optimizer, rules: Rules) -> Index:
    """1 for a layer that can take its step within the gradient's matrix product.

    That is so in plain gradient descent, where nothing else has to be done to the gradient.
    """
    plain = optimizer.step is sgd and not (
        rules.l2 or rules.l1 or rules.clip_value or rules.clip_norm or rules.decay
    )
    can = [
        layer.descend is not None and layer.rate_factors[0] == layer.rate_factors[1]
        for layer in network.layers[1:]
    ]
    return np.array([0, *can], np.int64) * plain


def traits_of(network: Network, fused: Index) -> Traits:
    """What is particular about a network's layers."""
    layers = network.layers
    is_weight = np.zeros(network.L + 1, np.int64)
    is_weight[network.weight_layers()] = 1
    learns = network.parameter_tables[:2, :, 1:].prod(axis=2).any(axis=0)
    decays = np.array([layer.decay_factors for layer in layers], np.float64)
    decays[:, 0] *= is_weight
    return Traits(
        np.flatnonzero(network.parameter_tables[2, :, 2]),
        np.flatnonzero([layer.is_random for layer in layers]),
        np.flatnonzero([layer.statistics is not None for layer in layers]),
        is_weight,
        fused,
        np.array([layer.rate_factors for layer in layers], np.float64).ravel(),
        decays.ravel(),
        int(np.argmax(learns)) or network.L,
    )


def executable(
    network: Network, optimizer: Optimizer, kind: str, rules: Rules, fused: Index
) -> tuple[Components, Callable[..., None]]:
    """`descend_epochs` and its components: as they are, or compiled. None or 0: never called."""
    functions: dict[str, list[Any]] = network.functions()
    functions["step"] = [optimizer.step]
    functions["descend"] = [
        layer.descend if fused[l] else None for l, layer in enumerate(network.layers)
    ]
    penalized = rules.l2 or rules.l1
    used: tuple[float, ...] = (penalized, penalized, rules.clip_value, rules.clip_norm)
    used += (rules.decay, rules.max_norm, rules.average)
    for fn, on in zip(RULES, used, strict=True):
        functions[fn.__name__] = [fn if on else None]
    if kind == "numpy":
        return Components(**functions), np.errstate(all="ignore")(kernel.descend_epochs)

    def addresses(role: str) -> Index:
        by_layer = len(functions[role]) > 1  # entry 0 is then a placeholder
        wanted = [None, *functions[role][1:]] if by_layer else functions[role]
        found = [compilation.address(fn, role, network.dtype) if fn else 0 for fn in wanted]
        return np.array(found, np.int64)

    with ahead.compiling_descend(network.dtype):
        compiled = Components._make(map(addresses, Components._fields))
    descend = compilation.compiled(kernel.descend_epochs, ARGUMENTS, network.dtype)
    return compiled, compilation.entry_point(descend)


def step_seconds(network: Network, m: int) -> float:
    """A rough estimate, from shapes alone, of the seconds that a step takes in NumPy.

    It is rather too low than too high on a core of today, so that no training waits for a
    compilation that does not pay.
    """
    per_layer, per_number, per_flop = 10e-6, 0.5e-9, 1 / 80e9
    size = network.dtype.itemsize / 4
    numbers = 4 * m * sum(network.sizes) + 3 * network.theta.size
    return per_layer * (network.L + 1) + size * (
        per_number * numbers + per_flop * 6 * m * network.theta.size
    )
