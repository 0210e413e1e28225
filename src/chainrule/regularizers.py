"""What holds weights back: penalties, decay, clipping, norms, and the running average.

Written like all the mathematics, for both engines; results into the last argument. Penalties,
decay and the norm limit concern weights W alone, never biases or a normalisation's scale.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chainrule.vecmath import Array, column_sum, maximum, minimum


class Rules(NamedTuple):
    """The numbers that shape a descent beside the optimiser's; 0 switches a rule off.

    Attributes
    ----------
    cost_scale, error_scale : float, default 1
        Factors on each row's cost and on δ^L. They differ only to imitate others' slips.
    l2, l1 : float, default 0
        Penalty (l2/2 Σ W² + l1 Σ |W|) / S on a batch whose rows weigh S together.
    clip_value, clip_norm : float, default 0
        Largest size of an entry of the gradient, and of the gradient as a whole.
    decay : float, default 0
        Decoupled weight decay: W ← (1 - η decay) W before each step.
    max_norm : float, default 0
        Largest Euclidean norm of the weights into a unit.
    average : float, default 0
        Weight of the newest parameters in their running average.
    """

    cost_scale: float = 1.0
    error_scale: float = 1.0
    l2: float = 0.0
    l1: float = 0.0
    clip_value: float = 0.0
    clip_norm: float = 0.0
    decay: float = 0.0
    max_norm: float = 0.0
    average: float = 0.0


def penalty(W: Array, l2: float, l1: float) -> float:
    """l2/2 Σ W² + l1 Σ |W|."""
    total = 0.0
    if l2 > 0:
        w = W.ravel()
        total += 0.5 * l2 * float(np.dot(w, w))
    if l1 > 0:
        total += l1 * float(np.abs(W).sum())
    return total


def add_penalty_gradient(W: Array, l2: float, l1: float, nabla_W: Array) -> None:
    """∇_W += l2 W + l1 sign(W); at W = 0 the L1 penalty adds nothing."""
    if l2 > 0:
        nabla_W += W.dtype.type(l2) * W
    if l1 > 0:
        nabla_W += W.dtype.type(l1) * np.sign(W)


def clip_values(bound: float, nabla: Array) -> None:
    """Each entry into [-bound, bound]."""
    minimum(nabla, bound, nabla)
    maximum(nabla, -bound, nabla)


def clip_norm(bound: float, nabla: Array) -> None:
    """∇ ← ∇ min(1, bound / ‖∇‖). Pascanu, Mikolov and Bengio (2013)."""
    norm = np.sqrt(float(np.dot(nabla, nabla)))
    if norm > bound:
        nabla *= nabla.dtype.type(bound / norm)


def shrink(factor: float, W: Array) -> None:
    """W ← factor W. Loshchilov and Hutter (2019) decouple this from the gradient."""
    W *= W.dtype.type(factor)


def follow(newest: float, theta: Array, average: Array) -> None:
    """The running average ← (1 - newest) average + newest theta."""
    average += theta.dtype.type(newest) * (theta - average)


def limit_norms(bound: float, W: Array) -> None:
    """Each column of W, the weights into a unit, to a norm of at most bound. Srebro (2005)."""
    norms = np.empty(W.shape[1], W.dtype)
    column_sum(W * W, norms)
    tiny = np.finfo(W.dtype).tiny
    W *= np.minimum(W.dtype.type(1), W.dtype.type(bound) / np.sqrt(np.maximum(norms, tiny)))


RULES = (penalty, add_penalty_gradient, clip_values, clip_norm, shrink, limit_norms, follow)
