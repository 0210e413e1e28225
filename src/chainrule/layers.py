"""Kinds of layers: how z^l comes from a^{l-1}, and how gradients go back through it.

The contract of a kind. W (r, c) and b (k,) are the layer's parameters, views of theta; s (any
length, float64) are numbers of its own that are not learned; share (m, 1) is what each row counts
for in a mean over the batch, 1/m or by weight; a is its input (m, n_{l-1}), z its output (m, n_l),
delta = ∂C/∂z:

``forward(W, b, s, share, a, z)``
    writes z.
``pullback(W, b, s, share, a, delta, below)``
    writes ∂C/∂a into below, (m, n_{l-1}).
``gradient(W, b, s, share, a, delta, nabla_W, nabla_b)``
    writes ∂C/∂W and ∂C/∂b, the sums over the rows.
``descend(s, share, a, delta, eta, W, b)``, which a kind need not have,
    takes η times these off W and b at once.
If a kind has numbers of its own, s[0] is 0 when predicting; while training it is the moment
t + r · ROW: the step t, counted from 1, and r, the row of the batch that is a's first.

A kind whose rows depend on each other through sums over the batch can have them computed block by
block, by its `Statistics`; while training, s then goes on with those of the whole batch.

``shape(n_in, n_out)``
    gives ((r, c), k), and raises ValueError for widths that it cannot join.

The arithmetic keeps to NumPy that Numba compiles. Only the last arguments change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from chainrule.pieces import reduce_piece, repr_of_piece
from chainrule.vecmath import (
    Array,
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
    pool_moments,
    random_normal,
    row_moments,
    shift_and_scale,
    standard_dots,
    standardize_rows,
)


def no_numbers(n_out: int) -> tuple[float, ...]:
    """A layer without numbers of its own."""
    return ()


class Statistics(NamedTuple):
    """What a layer asks of the whole batch while training, gathered from blocks of its rows.

    Attributes
    ----------
    size : callable (n_out) -> int
        How many numbers a block tells; as many go on behind the layer's own in s.
    collect : callable (s, share, a, part)
        Before `forward`: writes what these rows tell into part, (size,) float64.
    pool : callable (parts, s)
        From all blocks', (B, size), writes into s what `forward` needs.
    collect_back : callable (s, share, a, delta, part)
        As `collect`, before `pullback`.
    pool_back : callable (parts, s)
        As `pool`, for `pullback`.
    """

    size: Callable[[int], int]
    collect: Callable[..., None]
    pool: Callable[..., None]
    collect_back: Callable[..., None]
    pool_back: Callable[..., None]


# Of a layer without, whose functions are then never called.
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
        What s starts as. Default: empty.
    initial_scale : float, optional
        What W starts as; b is then zeros. Such a W is no weight: penalties and decay leave it
        alone. Default: None, W and b are drawn by the network's initialiser.
    made_by : tuple, default ()
        The function that made it and its arguments, if one did; for pickling.
    by_row : bool, default False
        Each row of z comes from that row of a, its place in the batch and s alone, and s is not
        written to: blocks of rows may be computed apart.
    by_input : bool, default False
        Each row of ∂C/∂W comes from that column of a alone: `gradient` and `descend` may be
        asked for some rows of W, with those columns of a, and without b (empty) but for the last.
    descend : callable, optional
        As in the module's contract. Default: None.
    statistics : Statistics, optional
        What has to be known of the whole batch before. Default: None.
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

    def __repr__(self) -> str:
        return repr_of_piece(self)

    def __reduce__(self) -> Any:
        return reduce_piece(self)

    def __deepcopy__(self, memo: Any) -> Layer:
        return self  # nothing in it changes


def affine(W: Array, b: Array, s: Any, share: Array, a: Array, z: Array) -> None:
    """z^l = a^{l-1} W^l + b^l."""
    dot(a, W, z)
    z += b


def affine_pullback(
    W: Array, b: Array, s: Any, share: Array, a: Array, delta: Array, below: Array
) -> None:
    """∂C/∂a^{l-1} = δ^l W^lᵀ: the matrix product in BP2."""
    dot(delta, W.T, below)


def affine_gradient(
    W: Array, b: Array, s: Any, share: Array, a: Array, delta: Array, nabla_W: Array, nabla_b: Array
) -> None:
    """∂C/∂b^l = Σ_rows δ^l (BP3) and ∂C/∂W^l = a^{l-1}ᵀ δ^l (BP4)."""
    if len(nabla_b) > 0:
        column_sum(delta, nabla_b)
    dot(a.T, delta, nabla_W)


def affine_descend(
    s: Any, share: Array, a: Array, delta: Array, eta: float, W: Array, b: Array
) -> None:
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
    W: Array,
    b: Array,
    s: Array,
    share: Array,
    a: Array,
    delta: Array,
    nabla_W: Array,
    nabla_b: Array,
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


def dropout_forward(W: Array, b: Array, s: Array, share: Array, a: Array, z: Array) -> None:
    """z = a ⊙ mask / (1 - p) while training, each unit kept with probability 1 - p; z = a after.

    Srivastava et al. (2014), scaled while training. s = [moment, p, key].
    """
    if s[0] > 0:
        drop(a, s[1], s[2], s[0], z)
    else:
        copy(a, z)


def dropout_pullback(
    W: Array, b: Array, s: Array, share: Array, a: Array, delta: Array, below: Array
) -> None:
    """∂C/∂a = δ ⊙ mask / (1 - p), the mask drawn again from the same key and moment."""
    if s[0] > 0:
        drop(delta, s[1], s[2], s[0], below)
    else:
        copy(delta, below)


def noise_forward(W: Array, b: Array, s: Array, share: Array, a: Array, z: Array) -> None:
    """z = a + σ ε, ε standard normal, while training; z = a after.  s = [moment, σ, key]."""
    if s[0] > 0:
        random_normal(s[2], s[0], z)
        z *= z.dtype.type(s[1])
        z += a
    else:
        copy(a, z)


def identity_pullback(
    W: Array, b: Array, s: Array, share: Array, a: Array, delta: Array, below: Array
) -> None:
    """∂C/∂a = δ."""
    copy(delta, below)


def standardize_forward(W: Array, b: Array, s: Array, share: Array, a: Array, z: Array) -> None:
    """z = (a - μ) / σ, column by column, μ and σ fixed.  s = [moment, μ of n, σ of n]."""
    n = a.shape[1]
    np.subtract(a, s[1 : 1 + n].astype(a.dtype), z)
    z /= s[1 + n :].astype(a.dtype)


def standardize_pullback(
    W: Array, b: Array, s: Array, share: Array, a: Array, delta: Array, below: Array
) -> None:
    """∂C/∂a = δ / σ."""
    np.divide(delta, s[1 + a.shape[1] :].astype(a.dtype), below)


def layer_norm_forward(W: Array, b: Array, s: Array, share: Array, a: Array, z: Array) -> None:
    """z = W ⊙ x̂ + b with x̂ = (a - μ) / √(v + ε), μ and v the mean and variance of each row.

    Ba, Kiros and Hinton (2016). s = [moment, ε].
    """
    mu, r = _moments_by_row(s, a)
    standardize_rows(a, mu, r, W[0], b, z)


def layer_norm_pullback(
    W: Array, b: Array, s: Array, share: Array, a: Array, delta: Array, below: Array
) -> None:
    """∂C/∂a = r (g - mean(g) - x̂ mean(g ⊙ x̂)), g = δ ⊙ W, r = 1 / √(v + ε), means by row."""
    mu, r = _moments_by_row(s, a)
    detrend_rows(a, mu, r, delta, W[0], below)


def layer_norm_gradient(
    W: Array,
    b: Array,
    s: Array,
    share: Array,
    a: Array,
    delta: Array,
    nabla_W: Array,
    nabla_b: Array,
) -> None:
    """∂C/∂W = Σ_rows δ ⊙ x̂ and ∂C/∂b = Σ_rows δ."""
    mu, r = _moments_by_row(s, a)
    standard_dots(a, mu, r, delta, nabla_b, nabla_W[0])


def _moments_by_row(s: Array, a: Array) -> tuple[Array, Array]:
    """(μ, r), r = 1 / √(v + ε), (m, 1) each."""
    mu, v = np.empty((len(a), 1), a.dtype), np.empty((len(a), 1), a.dtype)
    row_moments(a, mu, v)
    return mu, a.dtype.type(1) / np.sqrt(v + a.dtype.type(s[1]))


def batch_norm_forward(W: Array, b: Array, s: Array, share: Array, a: Array, z: Array) -> None:
    """z = W ⊙ x̂ + b with x̂ = (a - μ) / √(v + ε), μ and v by column.

    While training μ = Σ p a and v = Σ p (a - μ)² are the batch's, p the rows' shares, and their
    running averages are kept; after, those. Ioffe and Szegedy (2015), but for the variance that
    is kept, which is not multiplied by m / (m - 1): so it is what x̂ was divided by in training.
    s = [moment, ε, momentum, means of n, variances of n]; while training the statistics of the
    whole batch go on there, in the order of `BATCH_STATISTICS`.
    """
    mu, r = _moments(s, a)
    shift_and_scale(a, mu, W[0] * r, b, z)


def batch_norm_collect(s: Array, share: Array, a: Array, part: Array) -> None:
    """Σ p, μ and v of these rows."""
    n = a.shape[1]
    mu, v = np.empty(n, a.dtype), np.empty(n, a.dtype)
    part[0] = column_moments(a, share, mu, v)
    copy(mu, _entry(part, MEAN, n))
    copy(v, _entry(part, VARIANCE, n))


def batch_norm_pool(parts: Array, s: Array) -> None:
    """μ and v of all rows; the running averages follow."""
    n = parts.shape[1] // 4
    whole = s[3 + 2 * n :]
    mu, v = _entry(whole, MEAN, n), _entry(whole, VARIANCE, n)
    pool_moments(parts, mu, v)
    approach(mu, 1 - s[2], s[3 : 3 + n])
    approach(v, 1 - s[2], s[3 + n : 3 + 2 * n])


def batch_norm_pullback(
    W: Array, b: Array, s: Array, share: Array, a: Array, delta: Array, below: Array
) -> None:
    """∂C/∂a = W r ⊙ (δ - p Σ δ - p x̂ Σ (δ ⊙ x̂)), sums by column; without training W r ⊙ δ.

    r = 1 / √(v + ε); p are the rows' shares in μ and v.
    """
    n = a.shape[1]
    mu, r = _moments(s, a)
    total, dots = np.zeros(n, a.dtype), np.zeros(n, a.dtype)
    if s[0] > 0:
        whole = s[3 + 2 * n :]
        copy(_entry(whole, TOTAL, n), total)
        copy(_entry(whole, DOTS, n), dots)
    detrend_columns(a, mu, delta, share, total, r * r * dots, W[0] * r, below)


def batch_norm_collect_back(s: Array, share: Array, a: Array, delta: Array, part: Array) -> None:
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
    whole = s[3 + 2 * n :]
    column_sum(parts[:, 1 + TOTAL * n :], whole[1 + TOTAL * n :])  # and the dots behind


def batch_norm_gradient(
    W: Array,
    b: Array,
    s: Array,
    share: Array,
    a: Array,
    delta: Array,
    nabla_W: Array,
    nabla_b: Array,
) -> None:
    """∂C/∂W = Σ_rows δ ⊙ x̂ and ∂C/∂b = Σ_rows δ."""
    mu, r = _moments(s, a)
    dots = nabla_W[0]
    column_dots(a, mu, delta, nabla_b, dots)
    dots *= r


def _moments(s: Array, a: Array) -> tuple[Array, Array]:
    """(μ, r), r = 1 / √(v + ε), (n,) each: the batch's while training, else the running ones."""
    n = a.shape[1]
    mu, v = np.empty(n, a.dtype), np.empty(n, a.dtype)
    if s[0] > 0:
        whole = s[3 + 2 * n :]
        copy(_entry(whole, MEAN, n), mu)
        copy(_entry(whole, VARIANCE, n), v)
    else:
        copy(s[3 : 3 + n], mu)
        copy(s[3 + n : 3 + 2 * n], v)
    return mu, a.dtype.type(1) / np.sqrt(v + a.dtype.type(s[1]))


def _entry(part: Array, k: int, n: int) -> Array:
    """The k-th n numbers of a part of batch normalisation's statistics."""
    return part[1 + k * n : 1 + (k + 1) * n]


# Σ p, and n numbers each: μ, v, Σ δ, Σ δ (a - μ).
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
