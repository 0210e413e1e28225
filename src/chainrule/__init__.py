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
    "ActivationsDisplay": "explain.displays_of_networks",
    "CSVLog": "monitoring.loggers",
    "Callback": "monitoring.callbacks",
    "Checkpoint": "monitoring.checkpoints",
    "CompilationError": "engine.compilation",
    "DecisionBoundaryDisplay": "explain.displays_of_training",
    "DerivativeError": "network.checking",
    "Diagnosis": "explain.findings",
    "DivergenceError": "training.divergence",
    "EarlyStopping": "monitoring.callbacks",
    "Epoch": "training.loop",
    "EquationDisplay": "explain.displays_of_equations",
    "Finding": "explain.findings",
    "GradientCheck": "network.gradcheck",
    "GradientFlowDisplay": "explain.displays_of_training",
    "History": "training.train",
    "INITIALIZERS": "equations.initializers",
    "ImportanceDisplay": "explain.displays_of_inputs",
    "Initializer": "equations.initializers",
    "InputGradientDisplay": "explain.displays_of_inputs",
    "JSONLinesLog": "monitoring.loggers",
    "LAYERS": "equations.layers",
    "LOSSES": "equations.losses",
    "LRFinder": "training.lr_finder",
    "LRFinderDisplay": "monitoring.displays",
    "Layer": "equations.layers",
    "Loss": "equations.losses",
    "LossCurveDisplay": "monitoring.displays",
    "LossLandscapeDisplay": "explain.displays_of_training",
    "MLPClassifier": "estimators.classifier",
    "MLPRegressor": "estimators.regressor",
    "MLflow": "monitoring.loggers",
    "ModelFileError": "files.container",
    "Network": "network.network",
    "NetworkDisplay": "explain.displays_of_networks",
    "OPTIMIZERS": "equations.optimizers",
    "Optimizer": "equations.optimizers",
    "OptimizerState": "training.steps",
    "Plateau": "equations.schedules",
    "ProgressBar": "monitoring.callbacks",
    "Recorder": "explain.recording",
    "Resume": "files.resuming",
    "SCHEDULES": "equations.schedules",
    "Schedule": "equations.schedules",
    "Summary": "explain.summarizing",
    "TRUSTED_TYPES": "files.trusted",
    "TabularClassifier": "estimators.tabular_classifier",
    "TabularRegressor": "estimators.tabular_regressor",
    "TensorBoard": "monitoring.loggers",
    "Trace": "explain.tracing",
    "Tuned": "search.results",
    "WeightsDisplay": "explain.displays_of_networks",
    "activations": "equations.activations",
    "animate": "explain.animation",
    "backprop": "equations.backprop",
    "callbacks": "monitoring.callbacks",
    "diagnose": "explain.diagnosing",
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
    "summary": "explain.summarizing",
    "tabular_pipeline": "estimators.tabular",
    "trace": "explain.tracing",
    "train": "training.train",
    "tune": "search.tuning",
    "warm_up": "ensembles.warmup",
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
    "ActivationsDisplay",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "CompilationError",
    "DecisionBoundaryDisplay",
    "DerivativeError",
    "Diagnosis",
    "DivergenceError",
    "EarlyStopping",
    "Epoch",
    "EquationDisplay",
    "Finding",
    "GradientCheck",
    "GradientFlowDisplay",
    "History",
    "ImportanceDisplay",
    "Initializer",
    "InputGradientDisplay",
    "JSONLinesLog",
    "LRFinder",
    "LRFinderDisplay",
    "Layer",
    "Loss",
    "LossCurveDisplay",
    "LossLandscapeDisplay",
    "MLPClassifier",
    "MLPRegressor",
    "MLflow",
    "ModelFileError",
    "Network",
    "NetworkDisplay",
    "Optimizer",
    "OptimizerState",
    "Plateau",
    "ProgressBar",
    "Recorder",
    "Resume",
    "Schedule",
    "Summary",
    "TabularClassifier",
    "TabularRegressor",
    "TensorBoard",
    "Trace",
    "Tuned",
    "WeightsDisplay",
    "__version__",
    "activations",
    "animate",
    "backprop",
    "callbacks",
    "diagnose",
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
    "summary",
    "tabular_pipeline",
    "trace",
    "train",
    "tune",
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
    from chainrule.ensembles.warmup import warm_up
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
    from chainrule.estimators.tabular_classifier import TabularClassifier
    from chainrule.estimators.tabular_regressor import TabularRegressor
    from chainrule.explain.animation import animate
    from chainrule.explain.diagnosing import diagnose
    from chainrule.explain.displays_of_equations import EquationDisplay
    from chainrule.explain.displays_of_inputs import ImportanceDisplay, InputGradientDisplay
    from chainrule.explain.displays_of_networks import (
        ActivationsDisplay,
        NetworkDisplay,
        WeightsDisplay,
    )
    from chainrule.explain.displays_of_training import (
        DecisionBoundaryDisplay,
        GradientFlowDisplay,
        LossLandscapeDisplay,
    )
    from chainrule.explain.findings import Diagnosis, Finding
    from chainrule.explain.recording import Recorder
    from chainrule.explain.summarizing import Summary, summary
    from chainrule.explain.tracing import Trace, trace
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
    from chainrule.search.results import Tuned
    from chainrule.search.tuning import tune
    from chainrule.tables.mapped import memmap_table
    from chainrule.training import distortions
    from chainrule.training.divergence import DivergenceError
    from chainrule.training.loop import Epoch
    from chainrule.training.lr_finder import LRFinder, find_learning_rate
    from chainrule.training.steps import OptimizerState
    from chainrule.training.train import History, train
