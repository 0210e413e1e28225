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
    "LRFinder": "lr_finder",
    "LRFinderDisplay": "displays",
    "Layer": "layers",
    "Loss": "losses",
    "LossCurveDisplay": "displays",
    "MLPClassifier": "classifier",
    "MLPRegressor": "regressor",
    "Network": "network",
    "OPTIMIZERS": "optimizers",
    "Optimizer": "optimizers",
    "Plateau": "schedules",
    "SCHEDULES": "schedules",
    "Schedule": "schedules",
    "find_learning_rate": "lr_finder",
    "gradcheck": "checking",
    "one_hot": "data",
    "train": "training",
}

__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "LAYERS",
    "LOSSES",
    "OPTIMIZERS",
    "SCHEDULES",
    "Activation",
    "CompilationError",
    "DerivativeError",
    "DivergenceError",
    "Epoch",
    "GradientCheck",
    "History",
    "Initializer",
    "LRFinder",
    "LRFinderDisplay",
    "Layer",
    "Loss",
    "LossCurveDisplay",
    "MLPClassifier",
    "MLPRegressor",
    "Network",
    "Optimizer",
    "Plateau",
    "Schedule",
    "__version__",
    "find_learning_rate",
    "gradcheck",
    "one_hot",
    "train",
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
    from chainrule.classifier import MLPClassifier
    from chainrule.data import one_hot
    from chainrule.displays import LossCurveDisplay, LRFinderDisplay
    from chainrule.engine import CompilationError
    from chainrule.initializers import INITIALIZERS, Initializer
    from chainrule.layers import LAYERS, Layer
    from chainrule.losses import LOSSES, Loss
    from chainrule.lr_finder import LRFinder, find_learning_rate
    from chainrule.network import Network
    from chainrule.optimizers import OPTIMIZERS, Optimizer
    from chainrule.regressor import MLPRegressor
    from chainrule.schedules import SCHEDULES, Plateau, Schedule
    from chainrule.training import DivergenceError, Epoch, History, train
