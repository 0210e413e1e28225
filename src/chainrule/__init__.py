"""chainrule: the multilayer perceptron, derived by hand, compiled, and practical."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from chainrule.base.version import __version__

# Public names that are modules; a user writes `chainrule.losses.huber(0.5)`.
_MODULES = (
    "activations",
    "backprop",
    "callbacks",
    "distortions",
    "expressions",
    "initializers",
    "layers",
    "losses",
    "optimizers",
    "schedules",
)
# Where each public name or module is; loaded when first used, so that importing is quick.
_HOMES = {
    "ACTIVATIONS": "equations.activations",
    "Activation": "equations.activations",
    "CSVLog": "monitoring.loggers",
    "Callback": "monitoring.callbacks",
    "Checkpoint": "monitoring.checkpoints",
    "CompilationError": "engine.compilation",
    "DerivativeError": "network.checking",
    "DivergenceError": "training.descent",
    "EarlyStopping": "monitoring.callbacks",
    "Epoch": "training.loop",
    "GradientCheck": "network.gradcheck",
    "History": "training.train",
    "INITIALIZERS": "equations.initializers",
    "Initializer": "equations.initializers",
    "JSONLinesLog": "monitoring.loggers",
    "LAYERS": "equations.layers",
    "LOSSES": "equations.losses",
    "LRFinder": "training.lr_finder",
    "LRFinderDisplay": "monitoring.displays",
    "Layer": "equations.layers",
    "Loss": "equations.losses",
    "LossCurveDisplay": "monitoring.displays",
    "MLPClassifier": "estimators.classifier",
    "MLPRegressor": "estimators.regressor",
    "MLflow": "monitoring.loggers",
    "ModelFileError": "files.container",
    "Network": "network.network",
    "OPTIMIZERS": "equations.optimizers",
    "Optimizer": "equations.optimizers",
    "OptimizerState": "training.steps",
    "Plateau": "equations.schedules",
    "ProgressBar": "monitoring.callbacks",
    "Resume": "files.resuming",
    "SCHEDULES": "equations.schedules",
    "Schedule": "equations.schedules",
    "TRUSTED_TYPES": "files.trusted",
    "TensorBoard": "monitoring.loggers",
    "activations": "equations.activations",
    "backprop": "equations.backprop",
    "callbacks": "monitoring.callbacks",
    "distortions": "training.distortions",
    "export": "exports.exporting",
    "expressions": "equations.expressions",
    "find_learning_rate": "training.lr_finder",
    "get_config": "engine.config",
    "gradcheck": "network.gradcheck",
    "initializers": "equations.initializers",
    "layers": "equations.layers",
    "load": "files.persistence",
    "load_checkpoint": "monitoring.checkpoints",
    "losses": "equations.losses",
    "memmap_table": "tables.mapped",
    "one_hot": "base.validation",
    "optimizers": "equations.optimizers",
    "read_header": "files.persistence",
    "save": "files.persistence",
    "schedules": "equations.schedules",
    "set_config": "engine.config",
    "tabular_pipeline": "estimators.tabular",
    "train": "training.train",
    "warm_up": "training.warmup",
}

__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "LAYERS",
    "LOSSES",
    "OPTIMIZERS",
    "SCHEDULES",
    "TRUSTED_TYPES",
    "Activation",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "CompilationError",
    "DerivativeError",
    "DivergenceError",
    "EarlyStopping",
    "Epoch",
    "GradientCheck",
    "History",
    "Initializer",
    "JSONLinesLog",
    "LRFinder",
    "LRFinderDisplay",
    "Layer",
    "Loss",
    "LossCurveDisplay",
    "MLPClassifier",
    "MLPRegressor",
    "MLflow",
    "ModelFileError",
    "Network",
    "Optimizer",
    "OptimizerState",
    "Plateau",
    "ProgressBar",
    "Resume",
    "Schedule",
    "TensorBoard",
    "__version__",
    "activations",
    "backprop",
    "callbacks",
    "distortions",
    "export",
    "expressions",
    "find_learning_rate",
    "get_config",
    "gradcheck",
    "initializers",
    "layers",
    "load",
    "load_checkpoint",
    "losses",
    "memmap_table",
    "one_hot",
    "optimizers",
    "read_header",
    "save",
    "schedules",
    "set_config",
    "tabular_pipeline",
    "train",
    "warm_up",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'chainrule' has no attribute {name!r}")
    home = importlib.import_module(f"chainrule.{_HOMES[name]}")
    value = home if name in _MODULES else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from chainrule.base.validation import one_hot
    from chainrule.engine.compilation import CompilationError
    from chainrule.engine.config import get_config, set_config
    from chainrule.equations import (
        activations,
        backprop,
        expressions,
        initializers,
        layers,
        losses,
        optimizers,
        schedules,
    )
    from chainrule.equations.activations import ACTIVATIONS, Activation
    from chainrule.equations.initializers import INITIALIZERS, Initializer
    from chainrule.equations.layers import LAYERS, Layer
    from chainrule.equations.losses import LOSSES, Loss
    from chainrule.equations.optimizers import OPTIMIZERS, Optimizer
    from chainrule.equations.schedules import SCHEDULES, Plateau, Schedule
    from chainrule.estimators.classifier import MLPClassifier
    from chainrule.estimators.regressor import MLPRegressor
    from chainrule.estimators.tabular import tabular_pipeline
    from chainrule.exports.exporting import export
    from chainrule.files.container import ModelFileError
    from chainrule.files.persistence import load, read_header, save
    from chainrule.files.resuming import Resume
    from chainrule.files.trusted import TRUSTED_TYPES
    from chainrule.monitoring import callbacks
    from chainrule.monitoring.callbacks import Callback, EarlyStopping, ProgressBar
    from chainrule.monitoring.checkpoints import Checkpoint, load_checkpoint
    from chainrule.monitoring.displays import LossCurveDisplay, LRFinderDisplay
    from chainrule.monitoring.loggers import CSVLog, JSONLinesLog, MLflow, TensorBoard
    from chainrule.network.checking import DerivativeError
    from chainrule.network.gradcheck import GradientCheck, gradcheck
    from chainrule.network.network import Network
    from chainrule.tables.mapped import memmap_table
    from chainrule.training import distortions
    from chainrule.training.descent import DivergenceError
    from chainrule.training.loop import Epoch
    from chainrule.training.lr_finder import LRFinder, find_learning_rate
    from chainrule.training.steps import OptimizerState
    from chainrule.training.train import History, train
    from chainrule.training.warmup import warm_up
