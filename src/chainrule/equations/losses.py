"""Cost functions C, each beside its derivative.

The contract, with z, a, y and delta of shape (m, n_L), rows being samples, all of one dtype:

``cost(z, a, y, c)``
    writes each row's cost into c, of shape (m,).
``delta(z, a, y, delta)``
    writes ∂C/∂a, or ∂C/∂z for a loss that is fused with its output activation.

Only the last argument changes. The average over the batch is taken once, by the caller.

A loss can be *fused* with one output activation: where the product of the two derivatives is
simple and free of cancellation (softmax or logistic with cross-entropy give a - y), delta is
∂C/∂z straight away and the activation's pullback is skipped. :func:`fuse` picks that form; with
every other activation the plain form is used and the activation pulls it back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.base.types import Array
from chainrule.equations import expressions as ex
from chainrule.equations.activations import ACTIVATIONS, Activation, ordered
from chainrule.equations.components import reduce_component, repr_of_component
from chainrule.equations.domains import ANY_NUMBER, Domain
from chainrule.equations.expressions import Expression, Formula
from chainrule.equations.vecmath import (
    copy,
    exp,
    flat,
    maximum,
    minimum,
    power,
    row_dots,
    row_logsumexp,
    row_sum,
    row_total,
    scale_rows,
    shift_rows,
    softplus,
    tanh,
)


class Loss(NamedTuple):
    """A cost function and its derivative.

    Attributes
    ----------
    name : str
    cost : callable (z, a, y, c) -> None
        Writes the cost of each row, (m,).
    delta : callable (z, a, y, delta) -> None
        Writes ∂C/∂a, (m, n_L); if `fused` names an activation, ∂C/∂z.
    link : str or Activation, default "identity"
        The output activation that goes with it unless told otherwise.
    fused : str, default ""
        The output activation that delta already contains.
    outputs : int, default 1
        Output units for each column of the target. The first outputs of all columns come first,
        then the second ones, and so on; but if they are `levels`, all of the first column come
        first. The first output of a column is what a regressor predicts.
    made_by : tuple, default ()
        The function that made it and its arguments, if one did; for pickling.
    domain : Domain, default every number
        What the target y may be.
    levels : tuple of float, default ()
        The levels, if the outputs are quantiles; a regressor then predicts all of them.
    deviation : callable (Expression) -> Expression, optional
        The standard deviation that the last output of a column stands for, in the expressions of
        `chainrule.expressions`. Default: None, no deviation is predicted.
    rescaled : callable (mean, deviation) -> (shifts, factors), optional
        How the outputs follow the target's scale: those of y are factors times those of
        (y - mean) / deviation, plus shifts, an array like mean for each output of a column.
        A regressor standardises the target of a loss that says so. Default: None.
    target : {"numbers", "classes", "labels"}, default "numbers"
        What y is: numbers; one class of several, as 1 beside zeros; or labels, 0 or 1 each.
    known_as : str, default ""
        The estimators' name for it, if it is not `name`.
    metric : str, default ""
        What the mean of its costs is called in print, if it is not `name` with blanks.
    compared_by : {"rmse", "mae", "pinball"}, default "rmse"
        How models that were trained for it are compared: as fits what their outputs estimate, a
        mean, a median or quantiles.
    """

    name: str
    cost: Callable[[Array, Array, Array, Array], None]
    delta: Callable[[Array, Array, Array, Array], None]
    link: str | Activation = "identity"
    fused: str = ""
    outputs: int = 1
    made_by: tuple[Any, ...] = ()
    domain: Domain = ANY_NUMBER
    levels: tuple[float, ...] = ()
    deviation: Formula | None = None
    rescaled: Callable[[Array, Array], tuple[Sequence[Array], Sequence[Array]]] | None = None
    target: str = "numbers"
    known_as: str = ""
    metric: str = ""
    compared_by: str = "rmse"

    def __repr__(self) -> str:
        return repr_of_component(self)

    def __reduce__(self) -> Any:
        return reduce_component(self)

    def __deepcopy__(self, memo: Any) -> Loss:
        return self  # nothing in it changes


def located(mean: Array, deviation: Array) -> tuple[Sequence[Array], Sequence[Array]]:
    """An output that is where the target is: a deviation + mean."""
    return [mean], [deviation]


def squared_error(z: Array, a: Array, y: Array, c: Array) -> None:
    """C = ½ Σ_j (a_j - y_j)²."""
    r = a - y
    row_total(r * r, c)
    c *= c.dtype.type(0.5)


def squared_error_delta(z: Array, a: Array, y: Array, delta: Array) -> None:
    """∂C/∂a = a - y."""
    np.subtract(a, y, delta)


def cross_entropy(z: Array, a: Array, y: Array, c: Array) -> None:
    """C = -Σ_j y_j log a_j; an a_j below the dtype's epsilon counts as epsilon."""
    row_total(-(y * np.log(np.maximum(a, np.finfo(a.dtype).eps))), c)


def cross_entropy_delta(z: Array, a: Array, y: Array, delta: Array) -> None:
    """∂C/∂a = -y / a; 0 where the logarithm is cut off."""
    eps = np.finfo(a.dtype).eps
    np.divide(-y, np.maximum(a, eps), delta)
    delta *= a > eps


def softmax_cross_entropy(z: Array, a: Array, y: Array, c: Array) -> None:
    """C = -Σ_j y_j log softmax(z)_j = Σ_j y_j (log Σ_k e^{z_k} - z_j)."""
    row_dots(-1.0, _log_softmax(z), y, c)


def softmax_cross_entropy_delta(z: Array, a: Array, y: Array, delta: Array) -> None:
    """∂C/∂z = a Σ_j y_j - y, which is a - y for a one-hot y."""
    copy(a, delta)
    scale_rows(row_sum(y), 1.0, delta)
    delta -= y


def binary_cross_entropy(z: Array, a: Array, y: Array, c: Array) -> None:
    """C = -Σ_j (y_j log a_j + (1 - y_j) log(1 - a_j)), with a kept epsilon away from 0 and 1."""
    eps = np.finfo(a.dtype).eps
    p = np.minimum(np.maximum(a, eps), 1 - eps)
    row_total(-(y * np.log(p) + (1 - y) * np.log(1 - p)), c)


def binary_cross_entropy_delta(z: Array, a: Array, y: Array, delta: Array) -> None:
    """∂C/∂a = (a - y) / (a (1 - a)); 0 where the logarithm is cut off."""
    eps = np.finfo(a.dtype).eps
    p = np.minimum(np.maximum(a, eps), 1 - eps)
    np.divide(p - y, p * (1 - p), delta)
    delta *= (a > eps) & (a < 1 - eps)


def logistic_cross_entropy(z: Array, a: Array, y: Array, c: Array) -> None:
    """C = Σ_j (log(1 + e^{z_j}) - y_j z_j), binary cross-entropy of the logistic function."""
    s = np.empty_like(z)
    softplus(z, s)
    row_total(s - y * z, c)


def focal(gamma: float = 2.0) -> Loss:
    """C = -Σ_j y_j (1 - p_j)^γ log p_j with p = softmax(z). Lin et al. (2017)."""
    g = _focusing(gamma)

    def cost(z: Array, a: Array, y: Array, c: Array) -> None:
        weight = np.empty_like(z)
        power(z.dtype.type(1) - a, g, weight)
        row_dots(-1.0, y * weight, _log_softmax(z), c)

    def delta_of(z: Array, a: Array, y: Array, delta: Array) -> None:
        # a ∂C/∂a first, then softmax's Jacobian without its factor a
        number, p, x, own = z.dtype.type, flat(a), np.empty_like(z), flat(delta)
        away = np.maximum(number(1) - p, number(np.finfo(z.dtype).tiny))
        power(away, g, own)
        log_p = flat(_log_softmax(z))
        copy(flat(y) * own * (number(g) * p * log_p / away - number(1)), own)
        copy(a, x)
        scale_rows(row_sum(delta), 1.0, x)
        own -= flat(x)

    return Loss(
        "focal",
        cost,
        delta_of,
        "softmax",
        "softmax",
        made_by=(focal, g),
        domain=Domain(0, 1),
        target="classes",
    )


def binary_focal(gamma: float = 2.0) -> Loss:
    """C = -Σ_j (y (1 - p)^γ log p + (1 - y) p^γ log(1 - p)), p the logistic function of z."""
    g = _focusing(gamma)

    def cost(z: Array, a: Array, y: Array, c: Array) -> None:
        log_p, log_q, of_p, of_q = _binary_focal_parts(z, a, g)
        t, one, costs = flat(y), z.dtype.type(1), np.empty_like(z)
        copy(t * of_q * log_p + (one - t) * of_p * log_q, flat(costs))
        row_total(costs, c)

    def delta_of(z: Array, a: Array, y: Array, delta: Array) -> None:
        log_p, log_q, of_p, of_q = _binary_focal_parts(z, a, g)
        p, t, one, e = flat(a), flat(y), z.dtype.type(1), z.dtype.type(g)
        q = one - p
        of_p *= p + e * q * log_q
        of_q *= q + e * p * log_p
        copy((one - t) * of_p - t * of_q, flat(delta))

    return Loss(
        "binary_focal",
        cost,
        delta_of,
        "logistic",
        "logistic",
        made_by=(binary_focal, g),
        domain=Domain(0, 1),
        target="labels",
        known_as="focal",
    )


def _binary_focal_parts(z: Array, a: Array, gamma: float) -> tuple[Array, Array, Array, Array]:
    """(-log p, -log q, p^γ, q^γ) with q = 1 - p, flat."""
    x, p = flat(z), flat(a)
    log_p, log_q = np.empty_like(x), np.empty_like(x)
    of_p, of_q = np.empty_like(x), np.empty_like(x)
    softplus(-x, log_p)
    softplus(x, log_q)
    power(p, gamma, of_p)
    power(x.dtype.type(1) - p, gamma, of_q)
    return log_p, log_q, of_p, of_q


def _focusing(gamma: float) -> float:
    if not gamma >= 0:
        raise ValueError(f"focal's gamma must be 0 or more, got {gamma!r}")
    return float(gamma)


def _log_softmax(z: Array) -> Array:
    """Log of softmax(z), row by row."""
    s = np.empty_like(z)
    shift_rows(z, row_logsumexp(z), s)
    return s


def absolute_error(z: Array, a: Array, y: Array, c: Array) -> None:
    """C = Σ_j |a_j - y_j|."""
    row_total(np.abs(a - y), c)


def absolute_error_delta(z: Array, a: Array, y: Array, delta: Array) -> None:
    """∂C/∂a = sign(a - y)."""
    np.subtract(a, y, delta)
    np.sign(delta, delta)


def log_cosh(z: Array, a: Array, y: Array, c: Array) -> None:
    """C = Σ_j log cosh r_j, r = a - y, as |r| + log(1 + e^-2|r|) - log 2, which cannot overflow."""
    r = np.abs(a - y)
    s = np.empty_like(r)
    softplus(r * r.dtype.type(-2), s)
    row_total(r + s - r.dtype.type(np.log(2.0)), c)


def log_cosh_delta(z: Array, a: Array, y: Array, delta: Array) -> None:
    """∂C/∂a = tanh(a - y)."""
    tanh(a - y, delta)


def poisson(z: Array, a: Array, y: Array, c: Array) -> None:
    """C = Σ_j (a_j - y_j - y_j log(a_j / y_j)), half the Poisson deviance; a is kept above eps."""
    eps = np.finfo(a.dtype).eps
    mu, t = np.maximum(a, eps), np.maximum(y, eps)
    row_total(mu - y - y * np.log(mu / t), c)


def poisson_delta(z: Array, a: Array, y: Array, delta: Array) -> None:
    """∂C/∂a = 1 - y / a; 0 below eps."""
    eps = np.finfo(a.dtype).eps
    np.subtract(a.dtype.type(1), y / np.maximum(a, eps), delta)
    delta *= a > eps


def poisson_exp(z: Array, a: Array, y: Array, c: Array) -> None:
    """C = Σ_j (e^z - y - y (z - log y)): the same for a = e^z."""
    eps = np.finfo(a.dtype).eps
    row_total(a - y - y * (z - np.log(np.maximum(y, eps))), c)


def poisson_exp_delta(z: Array, a: Array, y: Array, delta: Array) -> None:
    """∂C/∂z = e^z - y."""
    np.subtract(a, y, delta)


def gamma(z: Array, a: Array, y: Array, c: Array) -> None:
    """C = Σ_j (log(a_j / y_j) + y_j / a_j - 1), half the Gamma deviance; a, y kept above eps."""
    eps = np.finfo(a.dtype).eps
    mu, t = np.maximum(a, eps), np.maximum(y, eps)
    row_total(np.log(mu / t) + t / mu - a.dtype.type(1), c)


def gamma_delta(z: Array, a: Array, y: Array, delta: Array) -> None:
    """∂C/∂a = (a - y) / a²; 0 below eps."""
    eps = np.finfo(a.dtype).eps
    mu, t = np.maximum(a, eps), np.maximum(y, eps)
    np.divide(mu - t, mu * mu, delta)
    delta *= a > eps


def gamma_exp(z: Array, a: Array, y: Array, c: Array) -> None:
    """C = Σ_j (z - log y + y e^-z - 1): the same for a = e^z."""
    t = np.maximum(y, np.finfo(a.dtype).eps)
    r = np.empty_like(z)
    exp(-z, r)
    row_total(z - np.log(t) + t * r - a.dtype.type(1), c)


def gamma_exp_delta(z: Array, a: Array, y: Array, delta: Array) -> None:
    """∂C/∂z = 1 - y e^-z."""
    exp(-z, delta)
    delta *= -np.maximum(y, np.finfo(y.dtype).eps)
    delta += delta.dtype.type(1)


def huber(width: float = 1.0) -> Loss:
    """C = Σ_j ½ r² where |r| <= width, else width (|r| - width / 2); r = a - y. Huber (1964)."""
    if not width > 0:
        raise ValueError(f"huber's width must be above 0, got {width!r}")
    d = float(width)

    def cost(z: Array, a: Array, y: Array, c: Array) -> None:
        r = np.abs(a - y)
        inside = np.minimum(r, r.dtype.type(d))
        row_total(inside * (r - r.dtype.type(0.5) * inside), c)

    def delta_of(z: Array, a: Array, y: Array, delta: Array) -> None:
        np.subtract(a, y, delta)
        minimum(delta, d, delta)
        maximum(delta, -d, delta)

    return Loss("huber", cost, delta_of, made_by=(huber, d), rescaled=located, compared_by="mae")


def quantile(levels: float | Sequence[float] = 0.5) -> Loss:
    """C = Σ_j max(τ_j r, (τ_j - 1) r), r = y - a_j. Koenker and Bassett (1978).

    The outputs are the levels of the first target, then those of the second, and so on; y has
    one column a target. Several levels have the output activation ``ordered``, whose outputs
    cannot cross, unless told otherwise.

    Parameters
    ----------
    levels : float or increasing sequence of float, default 0.5
        Each strictly between 0 and 1.
    """
    taus = tuple(float(t) for t in np.atleast_1d(levels))
    if not taus or any(not 0 < t < 1 for t in taus) or any(np.diff(taus) <= 0):
        raise ValueError(f"quantile levels must increase, strictly between 0 and 1; got {levels!r}")
    q = len(taus)

    def cost(z: Array, a: Array, y: Array, c: Array) -> None:
        c[:] = 0
        for k in range(a.shape[1]):
            r = y[:, k // q] - a[:, k]
            tau = a.dtype.type(taus[k % q])
            c += np.maximum(tau * r, (tau - a.dtype.type(1)) * r)

    def delta_of(z: Array, a: Array, y: Array, delta: Array) -> None:
        for k in range(a.shape[1]):
            tau = a.dtype.type(taus[k % q])
            above = a[:, k] > y[:, k // q]
            delta[:, k] = np.where(above, a.dtype.type(1) - tau, -tau)

    def rescaled(mean: Array, deviation: Array) -> tuple[Sequence[Array], Sequence[Array]]:
        return [mean] * q, [deviation] * q

    return Loss(
        "quantile",
        cost,
        delta_of,
        ordered(q) if q > 1 else "identity",
        outputs=q,
        made_by=(quantile, taus),
        levels=taus,
        rescaled=rescaled,
        metric="pinball loss",
        compared_by="pinball",
    )


def tweedie(power: float = 1.5) -> Loss:
    """C = Σ_j (a^(2-p) / (2-p) - y a^(1-p) / (1-p)) + what y alone adds, a = e^z, 1 < p < 2.

    Half the Tweedie deviance; p between 1 (Poisson) and 2 (Gamma). Jørgensen (1987).
    """
    if not 1 < power < 2:
        raise ValueError(
            f"tweedie's power must be between 1 and 2, got {power!r}; "
            "use 'poisson' for 1 and 'gamma' for 2"
        )
    p = float(power)

    def cost(z: Array, a: Array, y: Array, c: Array) -> None:
        mean, odds = np.empty_like(z), np.empty_like(z)
        exp(z * z.dtype.type(2 - p), mean)
        exp(z * z.dtype.type(1 - p), odds)
        own = y ** y.dtype.type(2 - p) * y.dtype.type(1 / ((1 - p) * (2 - p)))
        row_total(
            mean * z.dtype.type(1 / (2 - p)) - y * odds * z.dtype.type(1 / (1 - p)) + own,
            c,
        )

    def delta_of(z: Array, a: Array, y: Array, delta: Array) -> None:
        odds = np.empty_like(z)
        exp(z * z.dtype.type(1 - p), odds)
        exp(z * z.dtype.type(2 - p), delta)
        delta -= y * odds

    return Loss(
        "tweedie",
        cost,
        delta_of,
        "exp",
        "exp",
        made_by=(tweedie, p),
        domain=Domain(0),
        rescaled=located,
        metric="half the Tweedie deviance",
    )


def gaussian(z: Array, a: Array, y: Array, c: Array) -> None:
    """C = Σ_j ½ (log v_j + (μ_j - y_j)² / v_j + log 2π).  Nix and Weigend (1994).

    The first half of the outputs are the means μ, the second half log v; y has one column a mean.
    """
    n = y.shape[1]
    r, log_v, precision = a[:, :n] - y, a[:, n:], np.empty_like(y)
    exp(-log_v, precision)
    half, log_2pi = y.dtype.type(0.5), y.dtype.type(np.log(2 * np.pi))
    row_total(half * (log_v + r * r * precision + log_2pi), c)


def gaussian_delta(z: Array, a: Array, y: Array, delta: Array) -> None:
    """∂C/∂μ = (μ - y) / v and ∂C/∂log v = ½ (1 - (μ - y)² / v)."""
    n = y.shape[1]
    r, precision = a[:, :n] - y, np.empty_like(y)
    exp(-a[:, n:], precision)
    half = y.dtype.type(0.5)
    np.multiply(r, precision, delta[:, :n])
    np.subtract(half, half * r * r * precision, delta[:, n:])


def gaussian_deviation(log_v: Expression) -> Expression:
    """√v."""
    return ex.exp(log_v / 2)


def gaussian_rescaled(mean: Array, deviation: Array) -> tuple[Sequence[Array], Sequence[Array]]:
    """μ deviation + mean and log v + 2 log deviation."""
    return [mean, 2 * np.log(deviation)], [deviation, np.ones_like(deviation)]


LOSSES = {
    loss.name: loss
    for loss in (
        Loss(
            "squared_error",
            squared_error,
            squared_error_delta,
            rescaled=located,
            metric="½ squared error",
        ),
        Loss(
            "cross_entropy",
            cross_entropy,
            cross_entropy_delta,
            "softmax",
            domain=Domain(0, 1),
            target="classes",
            known_as="log_loss",
        ),
        Loss(
            "binary_cross_entropy",
            binary_cross_entropy,
            binary_cross_entropy_delta,
            "logistic",
            domain=Domain(0, 1),
            target="labels",
            known_as="log_loss",
        ),
        focal(),
        binary_focal(),
        Loss(
            "absolute_error",
            absolute_error,
            absolute_error_delta,
            rescaled=located,
            compared_by="mae",
        ),
        huber(),
        Loss("log_cosh", log_cosh, log_cosh_delta, rescaled=located, compared_by="mae"),
        quantile(),
        Loss(
            "poisson",
            poisson,
            poisson_delta,
            "exp",
            domain=Domain(0),
            rescaled=located,
            metric="half the Poisson deviance",
        ),
        Loss(
            "gamma",
            gamma,
            gamma_delta,
            "exp",
            domain=Domain(0, has_low=False),
            rescaled=located,
            metric="half the Gamma deviance",
        ),
        tweedie(),
        Loss(
            "gaussian",
            gaussian,
            gaussian_delta,
            outputs=2,
            deviation=gaussian_deviation,
            rescaled=gaussian_rescaled,
            metric="minus the log of the density",
        ),
    )
}


def _fused(name: str, cost: Any, delta: Any) -> Loss:
    """An entry with the cost and the derivative that go with its link."""
    plain = LOSSES[name]
    return plain._replace(cost=cost, delta=delta, fused=str(plain.link))


FUSED = {
    (loss.name, loss.fused): loss
    for loss in (
        _fused("cross_entropy", softmax_cross_entropy, softmax_cross_entropy_delta),
        # ∂C/∂z = a - y here too
        _fused("binary_cross_entropy", logistic_cross_entropy, squared_error_delta),
        _fused("poisson", poisson_exp, poisson_exp_delta),
        _fused("gamma", gamma_exp, gamma_exp_delta),
    )
}


def fuse(loss: Loss, activation: Activation) -> Loss:
    """The form of `loss` for an output activation: fused where both are ours, else itself."""
    if LOSSES.get(loss.name) is not loss or ACTIVATIONS.get(activation.name) is not activation:
        return loss
    return FUSED.get((loss.name, activation.name), loss)


# Functions that make others, by the name that files know them by.
MAKERS = {maker.__name__: maker for maker in (focal, binary_focal, huber, quantile, tweedie)}
