"""The numbers of an ensemble's training."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chainrule.base.types import Array
from chainrule.base.validation import look_up, suggest
from chainrule.equations.activations import ACTIVATIONS
from chainrule.equations.vecmath import MOST_ITEMS

SHARINGS = ("layers", "none")
LOSSES = ("softmax", "squared")

# Factors on the learning rate and the decay, by the kind of parameter. A weight matrix with n_in
# rows has 1/√n_in for its rate besides.
BIAS_RATE = 0.1
SCALE_RATE = {"layers": 1.0, "none": 0.6}
SCALE_DECAY = {"layers": 0.0, "none": 6.0}
BETA_1, BETA_2, EPSILON = 0.9, 0.95, 1e-8


class EnsembleSettings(NamedTuple):
    """How k networks are trained.

    Attributes
    ----------
    members : int
        k, how many networks.
    folds : int
        F; member i never learns from fold i mod F.
    sharing : {"layers", "none"}
        What the networks share. "layers": all hidden layers; each has its own factors on the input
        columns, ±1 at the start, and its own output layer (TabM-mini: Gorishniy, Kotelnikov and
        Babenko, 2025). "none": nothing; the factors on the input columns are 1 at the start.
    hidden : tuple of int
        Units of the hidden layers.
    activation : str
        Of the hidden layers; elementwise.
    learning_rate : float
        η at its highest. It rises over the first `warm_up` of the steps, linearly, and falls in
        half a cosine wave to 0.
    dropout, decay : float
        The share of hidden units that are dropped, and the decoupled decay of the weights. Both
        stay for half of the steps and fall in half a cosine wave to 0.
    epochs : int
        Planned; the schedules end with the last. Training stops when the loss outside of the folds
        has not fallen for max(5, a quarter of the best epoch) epochs.
    batch : int
        Rows of the table from which each member takes a batch: those outside of its fold.
    ema : float
        The running average of the parameters keeps this share in each step. It is what predicts.
    warm_up : float
        Share of the steps.
    """

    members: int = 16
    folds: int = 4
    sharing: str = "layers"
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    learning_rate: float = 0.05
    dropout: float = 0.1
    decay: float = 0.02
    epochs: int = 48
    batch: int = 128
    ema: float = 0.99
    warm_up: float = 0.05


def check_settings(settings: EnsembleSettings) -> None:
    """Raise ValueError for settings that mean nothing."""
    for name in ("members", "folds", "epochs", "batch"):
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name} must be a whole number, 1 or more; got {value!r}")
    if not 2 <= settings.folds <= MOST_ITEMS:
        raise ValueError(f"folds must be from 2 to {MOST_ITEMS}; got {settings.folds!r}")
    if settings.sharing == "none" and settings.members > MOST_ITEMS:
        raise ValueError(
            f"members must be at most {MOST_ITEMS} where they share nothing; "
            f"got {settings.members!r}"
        )
    if not settings.hidden or any(width < 1 for width in settings.hidden):
        raise ValueError(f"hidden must name one hidden layer or more; got {settings.hidden!r}")
    if settings.sharing not in SHARINGS:
        raise ValueError(
            f"unknown sharing {settings.sharing!r}; {suggest(str(settings.sharing), SHARINGS)}"
        )
    if look_up("activation", settings.activation, ACTIVATIONS).name in ("softmax", "ordered"):
        raise ValueError(f"activation {settings.activation!r} is for output layers")
    for name, low, high in (("dropout", 0, 1), ("ema", 0, 1), ("warm_up", 0, 1)):
        if not low <= getattr(settings, name) < high:
            raise ValueError(f"{name} must be from 0 to below 1; got {getattr(settings, name)!r}")
    if not 0 < settings.learning_rate < np.inf:
        raise ValueError(f"learning_rate must be above 0; got {settings.learning_rate!r}")
    if not 0 <= settings.decay < np.inf:
        raise ValueError(f"decay must be 0 or more; got {settings.decay!r}")


def fall(share: Array) -> Array:
    """Half a cosine wave from 1, at share 0, to 0, at share 1; 1 before."""
    return np.asarray(0.5 * (1 + np.cos(np.pi * np.clip(share, 0, 1))))


def rate_factors(steps: int, warm_up: float) -> Array:
    """Factors on the learning rate of each step, (steps,): a linear rise, then half a wave."""
    k, rise = np.arange(steps), max(warm_up * steps, 1.0)
    return np.where(k < rise, (k + 1) / (rise + 1), fall((k - rise) / max(steps - rise, 1)))


def late_factors(steps: int) -> Array:
    """Factors on dropout and decay of each step, (steps,): 1 for half of them, then half a wave."""
    return fall(2 * np.arange(steps) / steps - 1)
