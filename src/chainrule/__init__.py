"""chainrule: the multilayer perceptron, derived by hand, compiled, and practical."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

# Where each public name lives; loaded when first asked for, so that importing is quick.
_HOMES = {
    "ACTIVATIONS": "activations",
    "Activation": "activations",
    "CSVLog": "loggers",
    "Callback": "callbacks",
    "Checkpoint": "checkpoints",
    "CompilationError": "engine",
    "DerivativeError": "checking",
    "DivergenceError": "descent",
    "EarlyStopping": "callbacks",
    "Epoch": "training",
    "GradientCheck": "checking",
    "History": "training",
    "INITIALIZERS": "initializers",
    "Initializer": "initializers",
    "JSONLinesLog": "loggers",
    "LAYERS": "layers",
    "LOSSES": "losses",
    "LRFinder": "lr_finder",
    "LRFinderDisplay": "displays",
    "Layer": "layers",
    "Loss": "losses",
    "LossCurveDisplay": "displays",
    "MLPClassifier": "classifier",
    "MLPRegressor": "regressor",
    "MLflow": "loggers",
    "ModelFileError": "files.container",
    "Network": "network",
    "OPTIMIZERS": "optimizers",
    "Optimizer": "optimizers",
    "Plateau": "schedules",
    "ProgressBar": "callbacks",
    "Resume": "files.resuming",
    "SCHEDULES": "schedules",
    "Schedule": "schedules",
    "TRUSTED_TYPES": "files.trusted",
    "TensorBoard": "loggers",
    "export": "exports.exporting",
    "find_learning_rate": "lr_finder",
    "get_config": "config",
    "gradcheck": "checking",
    "load": "files.persistence",
    "load_checkpoint": "checkpoints",
    "memmap_table": "tables.mapped",
    "one_hot": "data",
    "read_header": "files.persistence",
    "save": "files.persistence",
    "set_config": "config",
    "tabular_pipeline": "tabular",
    "train": "training",
    "warm_up": "warmup",
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
    "Plateau",
    "ProgressBar",
    "Resume",
    "Schedule",
    "TensorBoard",
    "__version__",
    "export",
    "find_learning_rate",
    "get_config",
    "gradcheck",
    "load",
    "load_checkpoint",
    "memmap_table",
    "one_hot",
    "read_header",
    "save",
    "set_config",
    "tabular_pipeline",
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
    from chainrule.callbacks import Callback, EarlyStopping, ProgressBar
    from chainrule.checking import DerivativeError, GradientCheck, gradcheck
    from chainrule.checkpoints import Checkpoint, load_checkpoint
    from chainrule.classifier import MLPClassifier
    from chainrule.config import get_config, set_config
    from chainrule.data import one_hot
    from chainrule.descent import DivergenceError
    from chainrule.displays import LossCurveDisplay, LRFinderDisplay
    from chainrule.engine import CompilationError
    from chainrule.exports.exporting import export
    from chainrule.files.container import ModelFileError
    from chainrule.files.persistence import load, read_header, save
    from chainrule.files.resuming import Resume
    from chainrule.files.trusted import TRUSTED_TYPES
    from chainrule.initializers import INITIALIZERS, Initializer
    from chainrule.layers import LAYERS, Layer
    from chainrule.loggers import CSVLog, JSONLinesLog, MLflow, TensorBoard
    from chainrule.losses import LOSSES, Loss
    from chainrule.lr_finder import LRFinder, find_learning_rate
    from chainrule.network import Network
    from chainrule.optimizers import OPTIMIZERS, Optimizer
    from chainrule.regressor import MLPRegressor
    from chainrule.schedules import SCHEDULES, Plateau, Schedule
    from chainrule.tables.mapped import memmap_table
    from chainrule.tabular import tabular_pipeline
    from chainrule.training import Epoch, History, train
    from chainrule.warmup import warm_up
