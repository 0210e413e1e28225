"""Kinds of layers: how z^l comes from a^{l-1}, and how gradients go back through it.

The contract of a kind. W (r, c) and b (k,) are the layer's parameters, views of theta; s, float64,
are its constants, which are not learned; a is its input (m, n_{l-1}), z its output (m, n_l),
delta = ∂C/∂z:

``forward(W, b, s, a, z)``
    writes z.
``pullback(W, b, s, a, delta, below)``
    writes ∂C/∂a into below, (m, n_{l-1}).
``gradient(W, b, s, a, delta, nabla_W, nabla_b)``
    writes ∂C/∂W and ∂C/∂b, the sums over the rows.
``descend(s, a, delta, eta, W, b)``, which a kind need not have,
    subtracts η times these from W and b at once.
``shape(n_in, n_out)``
    gives ((r, c), k), and raises ValueError for widths that it cannot join.

If a kind has constants, s[0] is the step t, counted from 1, while training, and 0 when predicting.
While training, two kinds find something about the batch behind their constants: one that draws
random numbers finds the row of the batch that is a's first; one that has `Statistics` finds space
for them, and what each row of a counts for in a mean over the batch, (m,): 1/m, or by weight.

The arithmetic keeps to NumPy that Numba compiles. Only the last arguments change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from chainrule.base.types import Array
from chainrule.equations.components import reduce_component, repr_of_component
from chainrule.equations.vecmath import (
    add_dot,
    add_scaled,
    approach,
    column_dots,
    column_moments,
    column_sum,
    copy,
    detrend_columns,
    detrend_rows,
    dot,
    drop,
    flat,
    pool_moments,
    random_normal,
    row_moments,
    shift_and_scale,
    standard_dots,
    standardize_rows,
)


def no_numbers(n_out: int) -> tuple[float, ...]:
    """A layer without constants."""
    return ()


class Statistics(NamedTuple):
    """How a layer gathers sums over the whole batch from blocks of its rows.

    Only training on a batch that is cut into blocks calls these four functions. Of a whole batch,
    `forward` and `pullback` take the sums themselves.

    Attributes
    ----------
    size : callable (n_out) -> int
        How many statistics there are; they have their place in s, behind the constants.
    collect : callable (s, a, part)
        Before `forward`: writes the statistics of these rows into part, (size,) float64.
    pool : callable (parts, s)
        Writes what `forward` needs into s, from the statistics of all blocks, (B, size).
    collect_back : callable (s, a, delta, part)
        As `collect`, before `pullback`.
    pool_back : callable (parts, s)
        As `pool`, for `pullback`.
    """

    size: Callable[[int], int]
    collect: Callable[..., None]
    pool: Callable[..., None]
    collect_back: Callable[..., None]
    pool_back: Callable[..., None]


# Of a layer without statistics; its functions are never called.
NO_STATISTICS: Any = Statistics(*[None] * 5)  # type: ignore[arg-type]


class Layer(NamedTuple):
    """A kind of layer.

    Attributes
    ----------
    name : str
    forward, pullback, gradient : callable
        As in the module's contract.
    shape : callable (n_in, n_out) -> ((r, c), k)
        Shapes of W and b.
    numbers : callable (n_out) -> tuple of float
        The constants s, as they are at the start. Default: empty.
    initial_scale : float, optional
        What W starts as; b is then zeros. Default: None, the network's initialiser draws both.
    by_row : bool, default False
        Each row of z comes from that row of a, its place in the batch and s alone, and s is not
        written to: blocks of rows may be computed apart.
    by_input : bool, default False
        Each row of ∂C/∂W comes from that column of a alone: `gradient` and `descend` may be
        called for some rows of W, with those columns of a, and without b (empty) except for the
        last rows.
    made_by : tuple, default ()
        The function that made it and its arguments, if one did; for pickling.
    descend : callable, optional
        As in the module's contract. Default: None.
    statistics : Statistics, optional
        How sums over the batch are gathered from blocks of rows. Default: None.
    is_random : bool, default False
        Whether it draws random numbers while training.
    is_weight : bool, default True
        Whether W, if there is one, is a weight: penalties, weight decay and the limit on norms
        concern weights alone.
    is_normalisation : bool, default False
        Whether it normalises: its parameters and running averages are stored beside the weights.
    rate_factors : (float, float), default (1, 1)
        Factors on the learning rate of W and of b.
    decay_factors : (float, float), default (1, 0)
        Factors on the weight decay of W, if it is a weight, and of b.
    """

    name: str
    forward: Callable[..., None]
    pullback: Callable[..., None]
    gradient: Callable[..., None]
    shape: Callable[[int, int], tuple[tuple[int, int], int]]
    numbers: Callable[[int], tuple[float, ...]] = no_numbers
    initial_scale: float | None = None
    by_row: bool = False
    by_input: bool = False
    made_by: tuple[Any, ...] = ()
    descend: Callable[..., None] | None = None
    statistics: Statistics | None = None
    is_random: bool = False
    is_weight: bool = True
    is_normalisation: bool = False
    rate_factors: tuple[float, float] = (1.0, 1.0)
    decay_factors: tuple[float, float] = (1.0, 0.0)

    def __repr__(self) -> str:
        return repr_of_component(self)

    def __reduce__(self) -> Any:
        return reduce_component(self)

    def __deepcopy__(self, memo: Any) -> Layer:
        return self  # nothing in it changes


def affine(W: Array, b: Array, s: Any, a: Array, z: Array) -> None:
    """z^l = a^{l-1} W^l + b^l."""
    dot(a, W, z)
    z += b


def affine_pullback(W: Array, b: Array, s: Any, a: Array, delta: Array, below: Array) -> None:
    """∂C/∂a^{l-1} = δ^l W^lᵀ: the matrix product in BP2."""
    dot(delta, W.T, below)


def affine_gradient(
    W: Array, b: Array, s: Any, a: Array, delta: Array, nabla_W: Array, nabla_b: Array
) -> None:
    """∂C/∂b^l = Σ_rows δ^l (BP3) and ∂C/∂W^l = a^{l-1}ᵀ δ^l (BP4)."""
    if len(nabla_b) > 0:
        column_sum(delta, nabla_b)
    dot(a.T, delta, nabla_W)


def affine_descend(s: Any, a: Array, delta: Array, eta: float, W: Array, b: Array) -> None:
    """W^l ← W^l - η a^{l-1}ᵀ δ^l and b^l ← b^l - η Σ_rows δ^l: the product adds to W itself."""
    if len(b) > 0:
        nabla_b = np.empty_like(b)
        column_sum(delta, nabla_b)
        add_scaled(-eta, nabla_b, b)
    add_dot(-eta, a.T, delta, W)


def affine_shape(n_in: int, n_out: int) -> tuple[tuple[int, int], int]:
    """W is (n_in, n_out), b is (n_out,)."""
    return (n_in, n_out), n_out


def no_gradient(
    W: Array, b: Array, s: Array, a: Array, delta: Array, nabla_W: Array, nabla_b: Array
) -> None:
    """Nothing is learned here."""


def no_parameters(n_in: int, n_out: int) -> tuple[tuple[int, int], int]:
    """W and b are empty; the width stays."""
    _same_width(n_in, n_out)
    return (0, 0), 0


def scale_and_shift(n_in: int, n_out: int) -> tuple[tuple[int, int], int]:
    """W is (1, n), a factor for each unit, b is (n,); the width stays."""
    _same_width(n_in, n_out)
    return (1, n_in), n_in


def _same_width(n_in: int, n_out: int) -> None:
    if n_in != n_out:
        raise ValueError(f"this kind of layer keeps its width; it cannot join {n_in} to {n_out}")


def dropout_forward(W: Array, b: Array, s: Array, a: Array, z: Array) -> None:
    """z = a ⊙ mask / (1 - p) while training, each unit kept with probability 1 - p; z = a after.

    Srivastava et al. (2014), scaled while training. s = [step, p, key, row].
    """
    if s[0] > 0:
        drop(a, s[1], s[2], s[0], s[3], z)
    else:
        copy(a, z)


def dropout_pullback(W: Array, b: Array, s: Array, a: Array, delta: Array, below: Array) -> None:
    """∂C/∂a = δ ⊙ mask / (1 - p), the same mask, drawn again."""
    if s[0] > 0:
        drop(delta, s[1], s[2], s[0], s[3], below)
    else:
        copy(delta, below)


def noise_forward(W: Array, b: Array, s: Array, a: Array, z: Array) -> None:
    """z = a + σ ε, ε standard normal, while training; z = a after.  s = [step, σ, key, row]."""
    if s[0] > 0:
        random_normal(s[2], s[0], s[3], z)
        z *= z.dtype.type(s[1])
        z += a
    else:
        copy(a, z)


def identity_pullback(W: Array, b: Array, s: Array, a: Array, delta: Array, below: Array) -> None:
    """∂C/∂a = δ."""
    copy(delta, below)


def standardize_forward(W: Array, b: Array, s: Array, a: Array, z: Array) -> None:
    """z = (a - μ) / σ, column by column, μ and σ fixed.  s = [step, μ of n, σ of n]."""
    n = a.shape[1]
    np.subtract(a, s[1 : 1 + n].astype(a.dtype), z)
    z /= s[1 + n :].astype(a.dtype)


def standardize_pullback(
    W: Array, b: Array, s: Array, a: Array, delta: Array, below: Array
) -> None:
    """∂C/∂a = δ / σ."""
    np.divide(delta, s[1 + a.shape[1] :].astype(a.dtype), below)


def layer_norm_forward(W: Array, b: Array, s: Array, a: Array, z: Array) -> None:
    """z = W ⊙ x̂ + b with x̂ = (a - μ) / √(v + ε), μ and v the mean and variance of each row.

    Ba, Kiros and Hinton (2016). s = [step, ε].
    """
    mu, r = _moments_by_row(s, a)
    standardize_rows(a, mu, r, W[0], b, z)


def layer_norm_pullback(W: Array, b: Array, s: Array, a: Array, delta: Array, below: Array) -> None:
    """∂C/∂a = r (g - mean(g) - x̂ mean(g ⊙ x̂)), g = δ ⊙ W, r = 1 / √(v + ε), means by row."""
    mu, r = _moments_by_row(s, a)
    detrend_rows(a, mu, r, delta, W[0], below)


def layer_norm_gradient(
    W: Array, b: Array, s: Array, a: Array, delta: Array, nabla_W: Array, nabla_b: Array
) -> None:
    """∂C/∂W = Σ_rows δ ⊙ x̂ and ∂C/∂b = Σ_rows δ."""
    mu, r = _moments_by_row(s, a)
    standard_dots(a, mu, r, delta, nabla_b, nabla_W[0])


def _moments_by_row(s: Array, a: Array) -> tuple[Array, Array]:
    """(μ, r), r = 1 / √(v + ε), (m, 1) each."""
    mu, v = np.empty((len(a), 1), a.dtype), np.empty((len(a), 1), a.dtype)
    row_moments(a, mu, v)
    return mu, a.dtype.type(1) / np.sqrt(v + a.dtype.type(s[1]))


def batch_norm_forward(W: Array, b: Array, s: Array, a: Array, z: Array) -> None:
    """z = W ⊙ x̂ + b with x̂ = (a - μ) / √(v + ε), μ and v by column.

    While training μ = Σ p a and v = Σ p (a - μ)² are the batch's, p being what each row counts
    for, and their running averages are kept; when predicting, those are taken. Ioffe and Szegedy
    (2015), but for the variance that is kept, which is not multiplied by m / (m - 1): so it is
    what x̂ was divided by in training. s = [step, ε, momentum, means of n, variances of n, and
    while training the statistics of the batch, in the order of `BATCH_STATISTICS`, and p of m].
    """
    n = a.shape[1]
    if s[0] > 0 and not _is_pooled(s, n):
        mu, v = np.empty(n, a.dtype), np.empty(n, a.dtype)
        column_moments(a, _shares(s, a), mu, v)
        _keep_moments(mu, v, s)
    mu, r = _moments(s, a)
    shift_and_scale(a, mu, W[0] * r, b, z)


def batch_norm_pullback(W: Array, b: Array, s: Array, a: Array, delta: Array, below: Array) -> None:
    """∂C/∂a = W r ⊙ (δ - p Σ δ - p x̂ Σ (δ ⊙ x̂)), sums by column; when predicting W r ⊙ δ.

    r = 1 / √(v + ε); p is what each row counts for in μ and v.
    """
    n = a.shape[1]
    mu, r = _moments(s, a)
    if s[0] == 0:
        shift_and_scale(delta, np.zeros(n, a.dtype), W[0] * r, np.zeros(n, a.dtype), below)
        return
    total, dots = np.empty(n, a.dtype), np.empty(n, a.dtype)
    if _is_pooled(s, n):
        copy(_statistic(s, TOTAL, n), total)
        copy(_statistic(s, DOTS, n), dots)
    else:
        column_dots(a, mu, delta, total, dots)
    detrend_columns(a, mu, delta, _shares(s, a), total, r * r * dots, W[0] * r, below)


def batch_norm_gradient(
    W: Array, b: Array, s: Array, a: Array, delta: Array, nabla_W: Array, nabla_b: Array
) -> None:
    """∂C/∂W = Σ_rows δ ⊙ x̂ and ∂C/∂b = Σ_rows δ."""
    mu, r = _moments(s, a)
    dots = nabla_W[0]
    column_dots(a, mu, delta, nabla_b, dots)
    dots *= r


def batch_norm_collect(s: Array, a: Array, part: Array) -> None:
    """Σ p, μ and v of these rows."""
    n = a.shape[1]
    mu, v = np.empty(n, a.dtype), np.empty(n, a.dtype)
    part[0] = column_moments(a, _shares(s, a), mu, v)
    copy(mu, _entry(part, MEAN, n))
    copy(v, _entry(part, VARIANCE, n))


def batch_norm_pool(parts: Array, s: Array) -> None:
    """μ and v of all rows; the running averages follow."""
    n = parts.shape[1] // 4
    mu, v = np.empty(n), np.empty(n)
    pool_moments(parts, mu, v)
    _keep_moments(mu, v, s)
    s[3 + 2 * n] = 1  # it is pooled


def batch_norm_collect_back(s: Array, a: Array, delta: Array, part: Array) -> None:
    """Σ δ and Σ δ (a - μ) over these rows."""
    n = a.shape[1]
    mu, _ = _moments(s, a)
    total, dots = np.empty(n, a.dtype), np.empty(n, a.dtype)
    column_dots(a, mu, delta, total, dots)
    copy(total, _entry(part, TOTAL, n))
    copy(dots, _entry(part, DOTS, n))


def batch_norm_pool_back(parts: Array, s: Array) -> None:
    """Σ δ and Σ δ (a - μ) over all rows."""
    n = parts.shape[1] // 4
    first, end = 1 + TOTAL * n, 1 + (DOTS + 1) * n
    column_sum(parts[:, first:end], s[3 + 2 * n :][first:end])


def _keep_moments(mu: Array, v: Array, s: Array) -> None:
    """Write μ and v of the batch into s, where their running averages follow."""
    n = len(mu)
    copy(mu, _statistic(s, MEAN, n))
    copy(v, _statistic(s, VARIANCE, n))
    approach(_statistic(s, MEAN, n), 1 - s[2], s[3 : 3 + n])
    approach(_statistic(s, VARIANCE, n), 1 - s[2], s[3 + n : 3 + 2 * n])


def _moments(s: Array, a: Array) -> tuple[Array, Array]:
    """(μ, r), r = 1 / √(v + ε), (n,) each: the batch's while training, else the running ones."""
    n = a.shape[1]
    mu, v = np.empty(n, a.dtype), np.empty(n, a.dtype)
    if s[0] > 0:
        copy(_statistic(s, MEAN, n), mu)
        copy(_statistic(s, VARIANCE, n), v)
    else:
        copy(s[3 : 3 + n], mu)
        copy(s[3 + n : 3 + 2 * n], v)
    return mu, a.dtype.type(1) / np.sqrt(v + a.dtype.type(s[1]))


def _is_pooled(s: Array, n: int) -> bool:
    """Whether the statistics in s are of all blocks of the batch, not yet to be taken."""
    return bool(s[3 + 2 * n] > 0)


def _shares(s: Array, a: Array) -> Array:
    """What each row of a counts for in a mean over the batch, (m, 1)."""
    m, n = a.shape
    share = np.empty((m, 1), a.dtype)
    copy(s[4 + 6 * n : 4 + 6 * n + m], flat(share))
    return share


def _statistic(s: Array, k: int, n: int) -> Array:
    """The k-th n statistics of the batch, behind the constants."""
    return _entry(s[3 + 2 * n :], k, n)


def _entry(part: Array, k: int, n: int) -> Array:
    """The k-th n numbers of some statistics."""
    return part[1 + k * n : 1 + (k + 1) * n]


# One number, in a block's statistics its Σ p, in s whether they are pooled; and n numbers each: μ,
# v, Σ δ, Σ δ (a - μ).
MEAN, VARIANCE, TOTAL, DOTS = range(4)
BATCH_STATISTICS = Statistics(
    lambda n: 1 + 4 * n,
    batch_norm_collect,
    batch_norm_pool,
    batch_norm_collect_back,
    batch_norm_pool_back,
)


def dropout(rate: float, key: int = 0) -> Layer:
    """Dropout of each unit with probability `rate`; `key`, below 2⁵³, chooses the draws."""
    if not 0 <= rate < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, got {rate!r}")
    return Layer(
        "dropout",
        dropout_forward,
        dropout_pullback,
        no_gradient,
        no_parameters,
        lambda n: (0.0, float(rate), float(key)),
        by_row=True,
        is_random=True,
        made_by=(dropout, rate, key),
    )


def noise(deviation: float, key: int = 0) -> Layer:
    """Normal noise of that standard deviation, added while training."""
    if not deviation >= 0:
        raise ValueError(f"the noise's deviation must be 0 or more, got {deviation!r}")
    return Layer(
        "noise",
        noise_forward,
        identity_pullback,
        no_gradient,
        no_parameters,
        lambda n: (0.0, float(deviation), float(key)),
        by_row=True,
        is_random=True,
        made_by=(noise, deviation, key),
    )


def standardize(mean: Array, deviation: Array) -> Layer:
    """Inputs less their mean, over their deviation, both (n,) and fixed."""
    return Layer(
        "standardize",
        standardize_forward,
        standardize_pullback,
        no_gradient,
        no_parameters,
        lambda n: (0.0, *map(float, mean), *map(float, deviation)),
        by_row=True,
        made_by=(standardize, mean, deviation),
    )


def layer_norm(epsilon: float = 1e-5) -> Layer:
    """Layer normalisation with a learned scale and shift."""
    return Layer(
        "layer_norm",
        layer_norm_forward,
        layer_norm_pullback,
        layer_norm_gradient,
        scale_and_shift,
        lambda n: (0.0, epsilon),
        initial_scale=1.0,
        is_weight=False,
        is_normalisation=True,
        made_by=(layer_norm, epsilon),
        by_row=True,
    )


def batch_norm(epsilon: float = 1e-5, momentum: float = 0.9) -> Layer:
    """Batch normalisation; a step moves the running moments by 1 - momentum."""
    return Layer(
        "batch_norm",
        batch_norm_forward,
        batch_norm_pullback,
        batch_norm_gradient,
        scale_and_shift,
        lambda n: (0.0, epsilon, momentum, *[0.0] * n, *[1.0] * n),
        initial_scale=1.0,
        is_weight=False,
        is_normalisation=True,
        made_by=(batch_norm, epsilon, momentum),
        by_row=True,
        statistics=BATCH_STATISTICS,
    )


AFFINE = Layer(
    "affine",
    affine,
    affine_pullback,
    affine_gradient,
    affine_shape,
    by_row=True,
    by_input=True,
    descend=affine_descend,
)

# Every kind that fits any width, at its usual numbers.
LAYERS = {
    layer.name: layer for layer in (AFFINE, dropout(0.5), noise(0.1), layer_norm(), batch_norm())
}

# Functions that make others, by the name that files know them by.
MAKERS = {maker.__name__: maker for maker in (dropout, noise, standardize, layer_norm, batch_norm)}
