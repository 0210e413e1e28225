"""A metric with its interval, and how metrics are written."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# What the metrics are called in print, and which way is better.
NAMES = {
    "accuracy": ("accuracy", "higher"),
    "balanced_accuracy": ("balanced accuracy", "higher"),
    "f1_macro": ("F1, mean of classes", "higher"),
    "precision": ("precision", "higher"),
    "recall": ("recall", "higher"),
    "mean_cost": ("mean cost of a row", "lower"),
    "log_loss": ("log loss", "lower"),
    "roc_auc": ("ROC AUC", "higher"),
    "rmse": ("RMSE", "lower"),
    "mae": ("MAE", "lower"),
    "pinball": ("pinball loss", "lower"),
    "r2": ("R²", "higher"),
    "median_error": ("median absolute error", "lower"),
    "bias": ("bias (predicted − true)", "near 0"),
    "coverage": ("inside the outer quantiles", ""),
}

UNITLESS = set(NAMES) - {"rmse", "mae", "pinball", "median_error", "bias", "mean_cost"}


class Estimate(NamedTuple):
    """A metric on the given rows, and an interval of bootstrap percentiles around it.

    Attributes
    ----------
    value, low, high : float
        NaN where the metric is not defined.
    """

    value: float
    low: float
    high: float


def number(value: float | None, digits: int = 4) -> str:
    """A number in print, with so many significant digits; whole numbers as they are."""
    if value is None or not np.isfinite(value):
        return "–"
    if abs(value) >= 10 ** (digits - 1) or value == round(value):
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}"


def metric(name: str, value: float | None) -> str:
    """A metric in print: with four decimals if it has no unit."""
    if name in UNITLESS and value is not None and np.isfinite(value):
        return f"{round(value, 4) + 0.0:.4f}"  # no -0.0000
    return number(value)


def share(value: float | None) -> str:
    """A number from 0 to 1 in print."""
    return "–" if value is None else f"{value:.3f}"


def interval(name: str, estimate: Estimate) -> str:
    """A metric's interval in print."""
    return f"{metric(name, estimate.low)} to {metric(name, estimate.high)}"
