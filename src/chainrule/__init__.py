"""chainrule: the multilayer perceptron, derived by hand, compiled, and practical."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

# Where each public name lives; loaded when first asked for, so that importing is quick.
_HOMES = {
    "ACTIVATIONS": "activations",
    "Activation": "activations",
    "CompilationError": "engine",
    "DerivativeError": "checking",
    "DivergenceError": "training",
    "Epoch": "training",
    "GradientCheck": "checking",
    "History": "training",
    "INITIALIZERS": "initializers",
    "Initializer": "initializers",
    "LAYERS": "layers",
    "LOSSES": "losses",
    "Layer": "layers",
    "Loss": "losses",
    "Network": "network",
    "OPTIMIZERS": "optimizers",
    "Optimizer": "optimizers",
    "get_config": "config",
    "gradcheck": "checking",
    "one_hot": "data",
    "set_config": "config",
    "train": "training",
    "warm_up": "warmup",
}

__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "LAYERS",
    "LOSSES",
    "OPTIMIZERS",
    "Activation",
    "CompilationError",
    "DerivativeError",
    "DivergenceError",
    "Epoch",
    "GradientCheck",
    "History",
    "Initializer",
    "Layer",
    "Loss",
    "Network",
    "Optimizer",
    "__version__",
    "get_config",
    "gradcheck",
    "one_hot",
    "set_config",
    "train",
    "warm_up",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'chainrule' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"chainrule.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from chainrule.activations import ACTIVATIONS, Activation
    from chainrule.checking import DerivativeError, GradientCheck, gradcheck
    from chainrule.config import get_config, set_config
    from chainrule.data import one_hot
    from chainrule.engine import CompilationError
    from chainrule.initializers import INITIALIZERS, Initializer
    from chainrule.layers import LAYERS, Layer
    from chainrule.losses import LOSSES, Loss
    from chainrule.network import Network
    from chainrule.optimizers import OPTIMIZERS, Optimizer
    from chainrule.training import DivergenceError, Epoch, History, train
    from chainrule.warmup import warm_up
