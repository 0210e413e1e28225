"""Several models of the same cross-fitted rows, and their weighted mean.

The rows are dealt out to F folds. Each model is fitted several times, never on all folds, so that
each row is predicted by fits that have not seen it: its out-of-fold prediction. The weights of the
models are chosen by the loss of these predictions, with the greedy selection of Caruana,
Niculescu-Mizil, Crew and Ksikes (2004): in each of 20 draws the model is added, again if need be,
that lowers the loss of the mean of all that were added the most; the weights are means over
resamples of the rows. At the end the probabilities of classes get a temperature, and numbers are
stretched away from their mean, both chosen by the same loss: the mean of many models, each held
back by decay and dropout, is less sure, and nearer to the mean, than it should be.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.base.types import Array, Index
from chainrule.ensembles.fitting import FittedEnsemble
from chainrule.ensembles.inputs import InputLayout, Inputs

DRAWS, RESAMPLES = 20, 20
RESAMPLED_ROWS = 400_000  # of all resamples together
LEAST_PROBABILITY = 1e-7  # no logarithm of less
INVERSE_PENALTY, PENALTY = 0.3, 3.0  # C of the logistic, alpha of the ridge regression
NEWTON_WEIGHTS = 128  # that a logistic regression has at most for Newton's method to be the faster
# The mean of all members is less sure than that of the few that were fitted without a row, by which
# the temperature is chosen. Measured on 26 tables.
OF_ALL_MEMBERS = 0.98
STRETCHES = (0.8, 1.25)
PRIOR_ROWS = 5.0  # that speak for r = 1


def deal_folds(y: NDArray[Any], n_folds: int, rng: np.random.RandomState) -> Index:
    """The fold of each row: rows in the order of y are dealt out, so that all folds are alike.

    Parameters
    ----------
    y : (n,) array
        Targets or numbers of classes.
    n_folds : int
    rng : RandomState
        Orders rows of equal y, and the folds in each round of dealing.

    Returns
    -------
    (n,) int array
        From 0.
    """
    n = len(y)
    order = rng.permutation(n)
    order = order[np.argsort(y[order], kind="stable")]
    folds: Index = np.empty(n, np.int64)
    for start in range(0, n, n_folds):
        rows = order[start : start + n_folds]
        folds[rows] = rng.permutation(n_folds)[: len(rows)]
    return folds


def deal_groups(groups: NDArray[Any], n_folds: int, rng: np.random.RandomState) -> Index:
    """The fold of each row, where all rows of a group are in one fold.

    The groups are dealt out by size, the largest first, each to the fold with the fewest rows.

    Parameters
    ----------
    groups : (n,) array
    n_folds : int
        At most as many as there are groups; then no fold is empty.
    rng : RandomState
        Orders groups of equal size.

    Returns
    -------
    (n,) int array
        From 0.
    """
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = rng.permutation(len(sizes))
    rows = np.zeros(n_folds, np.int64)
    fold_of: Index = np.empty(len(sizes), np.int64)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        fold_of[group] = np.argmin(rows)
        rows[fold_of[group]] += sizes[group]
    return fold_of[codes]


def row_losses(predicted: Array, Y: Array, loss: str) -> Array:
    """The loss of each row: squared error, the mean of its targets; or -log of its class's p.

    Parameters
    ----------
    predicted, Y : (n, K) arrays
    loss : {"squared", "softmax"}
    """
    if loss == "squared":
        squares: Array = ((predicted - Y) ** 2).mean(axis=1)
        return squares
    of_class = np.clip((predicted * Y).sum(axis=1), LEAST_PROBABILITY, 1)
    return np.asarray(-np.log(of_class))


def greedy_weights(
    predictions: Sequence[Array], Y: Array, loss: str, weights: Array
) -> tuple[Array, float]:
    """Weights of models, in 20ths, and the loss of their mean.

    Parameters
    ----------
    predictions : list of (n, K) arrays
        Out-of-fold predictions of each model.
    Y : (n, K) array
    loss : {"squared", "softmax"}
    weights : (n,) array
        What each row counts for.
    """
    found, losses = _select(predictions, Y, loss, weights[np.newaxis])
    return found[0], float(losses[0])


def _select(
    predictions: Sequence[Array], Y: Array, loss: str, weights: Array
) -> tuple[Array, Array]:
    """Greedy weights and their losses for R sets of weights of the rows, (R, n).

    A mean of models is known by how often each was drawn. The selections meet the same means again
    and again, so each mean's losses are taken once, for all sets of weights in one product.
    """
    weights = weights / weights.sum(axis=1, keepdims=True)
    models = np.arange(len(predictions))
    stacked = np.stack(predictions)
    if loss == "softmax":  # the loss needs the probability of a row's own class alone
        stacked = (stacked * Y).sum(axis=2, keepdims=True)
        Y = np.ones((len(Y), 1))
    known: dict[tuple[int, ...], Array] = {}

    def losses_of(counts: tuple[int, ...]) -> Array:
        if counts not in known:
            share = np.array(counts) / sum(counts)
            known[counts] = weights @ row_losses(np.tensordot(share, stacked, 1), Y, loss)
        return known[counts]

    drawn = np.zeros((len(weights), len(models)), np.int64)
    best = np.full(len(weights), np.inf)
    for _ in range(DRAWS):
        for r, counts in enumerate(drawn):
            losses = [losses_of(tuple((counts + (models == m)).tolist()))[r] for m in models]
            counts[np.argmin(losses)] += 1
            best[r] = min(losses)
    return drawn / DRAWS, best


def bagged_weights(
    predictions: Sequence[Array],
    Y: Array,
    loss: str,
    weights: Array,
    rng: np.random.RandomState,
) -> Array:
    """The mean of greedy weights over resamples of the rows.

    Of few rows, one selection follows chance; the mean of many is drawn towards equal weights.

    Parameters
    ----------
    predictions, Y, loss, weights :
        As for :func:`greedy_weights`.
    rng : RandomState
    """
    n = len(Y)
    resamples = int(np.clip(RESAMPLED_ROWS // n, 1, RESAMPLES))
    if resamples == 1:
        return greedy_weights(predictions, Y, loss, weights)[0]
    times = [np.bincount(rng.randint(n, size=n), minlength=n) for _ in range(resamples)]
    found, _ = _select(predictions, Y, loss, weights * np.stack(times))
    return np.asarray(found.mean(axis=0))


def tempered(probabilities: Array, temperature: float) -> Array:
    """p^(1/T) / Σ p^(1/T) over the last axis (Guo et al. 2017); below T = 1 it is surer.

    Parameters
    ----------
    probabilities : (..., K) array
    temperature : float
        T.
    """
    log_p = np.log(np.maximum(probabilities, LEAST_PROBABILITY)) / temperature
    p = np.exp(log_p - log_p.max(axis=-1, keepdims=True))
    return np.asarray(p / p.sum(axis=-1, keepdims=True))


def best_temperature(probabilities: Array, Y: Array, weights: Array) -> float:
    """T with the least log-loss on these rows, from 1/2 to 2.

    Parameters
    ----------
    probabilities, Y : (n, K) arrays
    weights : (n,) array
    """
    from scipy.optimize import minimize_scalar

    def loss(log_T: float) -> float:
        p = tempered(probabilities, float(np.exp(log_T)))
        return float(np.average(row_losses(p, Y, "softmax"), weights=weights))

    bounds = (-np.log(2), np.log(2))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def best_stretch(predicted: Array, Y: Array, weights: Array) -> tuple[Array, Array]:
    """r and c, with which c + r (p - c) has the least squared error on these rows, by target.

    c is the mean of the targets, and r is within `STRETCHES`.

    Parameters
    ----------
    predicted, Y : (n, K) arrays
        p, and the targets, of a deviation of about 1.
    weights : (n,) array

    Returns
    -------
    (K,) arrays
    """
    centre = np.average(Y, axis=0, weights=weights)
    p, y = predicted - centre, Y - centre
    square = weights @ p**2
    factor = (weights @ (p * y) + PRIOR_ROWS) / (square + PRIOR_ROWS)
    return np.clip(factor, *STRETCHES), centre


@dataclass(frozen=True)
class EnsemblePart:
    """An ensemble of networks; `with_bins` says whether it reads piecewise-linear codes."""

    fitted: FittedEnsemble
    with_bins: bool

    @property
    def oof(self) -> Array | None:
        """Out-of-fold predictions of the training rows, (n, K); a model file has none."""
        return self.fitted.oof

    def stretched(self, factor: Array, centre: Array) -> EnsemblePart:
        """As :meth:`FittedEnsemble.stretched`."""
        return replace(self, fitted=self.fitted.stretched(factor, centre))

    def predict_mean(self, inputs: Inputs, n_threads: int | None = None) -> Array:
        """Mean of the members' predictions, (n, K)."""
        mean: Array = self.predict_all(inputs, n_threads).mean(axis=0, dtype=np.float64)
        return mean

    def predict_all(self, inputs: Inputs, n_threads: int | None = None) -> Array:
        """Each member's predictions, (k, n, K)."""
        if not self.with_bins:
            inputs = without_bins(inputs)
        members: Array = self.fitted.predict_members(inputs, n_threads)
        return members

    def predict_without(self, inputs: Inputs, n_folds: int, n_threads: int | None = None) -> Array:
        """For each fold, the mean of the members that were fitted without it, (n_folds, n, K)."""
        members = self.predict_all(inputs, n_threads)
        own = self.fitted.settings.folds
        means = [members[f::own].mean(axis=0, dtype=np.float64) for f in range(own)]
        return np.stack([means[f % own] for f in range(n_folds)])


@dataclass(frozen=True)
class LinearPart:
    """A linear model, fitted without each fold and, last, to all rows.

    Attributes
    ----------
    W : (F + 1, D, K) array
    b : (F + 1, K) array
    layout : InputLayout
        Without bins.
    loss : {"squared", "softmax"}
    low, high : (K,) arrays
        Bounds on predictions of numbers: the range of the training rows.
    oof : (n, K) array or None
    """

    W: Array
    b: Array
    layout: InputLayout
    loss: str
    low: Array
    high: Array
    oof: Array | None

    def state(self) -> dict[str, Array]:
        """What a model file keeps beside the layout and the loss."""
        return {"W": self.W, "b": self.b, "low": self.low, "high": self.high}

    @classmethod
    def from_state(cls, state: dict[str, Array], layout: InputLayout, loss: str) -> LinearPart:
        """The part that :meth:`state` describes; without its `oof`.

        Raises
        ------
        ValueError, TypeError, KeyError
            Its arrays do not fit the layout.
        """
        part = cls(layout=layout, loss=loss, oof=None, **state)
        F, D, K = part.W.shape
        if F < 2 or layout.dense + sum(layout.levels) != D or part.b.shape != (F, K):
            raise ValueError("the linear model has other weights than there are inputs")
        if part.low.shape != (K,) or part.high.shape != (K,):
            raise ValueError("the linear model has other bounds than outputs")
        return part

    def stretched(self, factor: Array, centre: Array) -> LinearPart:
        """The part that predicts c + r (z - c), clipped as before, in place of z."""
        moved = self.b + (1 - factor) * (centre - self.b)
        oof = None if self.oof is None else centre + factor * (self.oof - centre)
        oof = None if oof is None else np.clip(oof, self.low, self.high)
        return replace(self, W=factor * self.W, b=moved, oof=oof)

    def _of(self, X: Array, f: int) -> Array:
        z = X @ self.W[f] + self.b[f]
        return softmax(z) if self.loss == "softmax" else np.clip(z, self.low, self.high)

    def predict_mean(self, inputs: Inputs, n_threads: int | None = None) -> Array:
        """Predictions of the model that was fitted to all rows, (n, K)."""
        return self._of(flat(inputs, self.layout), -1)

    def predict_all(self, inputs: Inputs, n_threads: int | None = None) -> Array:
        """The same, as one member, (1, n, K)."""
        return self.predict_mean(inputs)[np.newaxis]

    def predict_without(self, inputs: Inputs, n_folds: int, n_threads: int | None = None) -> Array:
        """Predictions of the models that were fitted without each fold, (n_folds, n, K)."""
        X, own = flat(inputs, self.layout), len(self.W) - 1
        found = [self._of(X, f) for f in range(own)]
        return np.stack([found[f % own] for f in range(n_folds)])


def softmax(z: Array) -> Array:
    """p_k = exp(z_k) / Σ exp(z), by row."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p: Array = e / e.sum(axis=1, keepdims=True)
    return p


def without_bins(inputs: Inputs) -> Inputs:
    """The same rows without the columns of piecewise-linear codes."""
    return inputs._replace(bins=inputs.bins[:, :0], fractions=inputs.fractions[:, :0])


def flat(inputs: Inputs, layout: InputLayout) -> Array:
    """The inputs without bins as one float64 matrix, levels as columns."""
    n, D = len(inputs.dense), layout.dense
    S = len(layout.scale)
    X: Array = np.zeros((n, D + sum(layout.levels)))
    X[:, :D] = inputs.dense
    first = S - sum(layout.levels)
    X[:, D:] = -layout.mean[first:].astype(np.float64)
    start = 0
    for c, width in enumerate(layout.levels):
        level = inputs.levels[:, c]
        rows = np.flatnonzero(level >= 0)
        column = start + level[rows]
        X[rows, D + column] += layout.scale[first + column]
        start += width
    return X


def fit_linear(
    inputs: Inputs, layout: InputLayout, Y: Array, weights: Array, folds: Index, loss: str
) -> LinearPart:
    """Logistic or ridge regression, cross-fitted.

    Parameters
    ----------
    inputs : Inputs
        Of n training rows; their bins are left out.
    layout : InputLayout
        Without bins.
    Y : (n, K) array
        Targets, or 1 in the column of a row's class.
    weights : (n,) array
    folds : (n,) int array
    loss : {"squared", "softmax"}
    """
    X = flat(inputs, layout)
    F, (n, K) = int(folds.max()) + 1, Y.shape
    W, b = np.zeros((F + 1, X.shape[1], K)), np.zeros((F + 1, K))
    fit = _logistic(X, Y) if loss == "softmax" else _ridge
    for f in range(F, -1, -1):  # all rows first
        rows = np.flatnonzero(folds != f)
        if len(rows):
            W[f], b[f] = fit(X[rows], Y[rows], weights[rows])
    oof: Array = np.empty((n, K))
    part = LinearPart(W, b, layout, loss, Y.min(axis=0), Y.max(axis=0), oof)
    for f in range(F):
        rows = np.flatnonzero(folds == f)
        oof[rows] = part._of(X[rows], f)
    return part


def _ridge(X: Array, Y: Array, weights: Array) -> tuple[Array, Array]:
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=PENALTY).fit(X, Y, sample_weight=weights)
    return np.reshape(model.coef_, (Y.shape[1], -1)).T, np.reshape(model.intercept_, -1)


def _logistic(X: Array, Y: Array) -> Callable[[Array, Array, Array], tuple[Array, Array]]:
    """A function that fits a softmax over all classes to some of these rows.

    A fit by many steps starts from the one before if it knows the same classes. The loss is
    strictly convex, so that where it ends does not depend on that.
    """
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression

    K = Y.shape[1]
    small = X.shape[1] * (1 if K == 2 else K) <= NEWTON_WEIGHTS
    solver = "newton-cholesky" if small else "lbfgs"
    # Newton's method is quick from 0, and scikit-learn 1.7 starts it from wrong weights of classes.
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=300, solver=solver, warm_start=not small)

    def fit(X: Array, Y: Array, weights: Array) -> tuple[Array, Array]:
        nonlocal model
        y = Y.argmax(axis=1)
        W, b = np.zeros((X.shape[1], K)), np.full(K, np.log(LEAST_PROBABILITY))
        known = np.unique(y)
        if len(known) == 1:  # a class that these rows lack has p of about 0
            b[known] = 0
            return W, b
        if not np.array_equal(getattr(model, "classes_", known), known):
            model = clone(model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one that has not converged is blended all the same
            model.fit(X, y, sample_weight=weights)
        two = len(known) == 2
        W[:, known] = np.concatenate([0 * model.coef_, model.coef_]).T if two else model.coef_.T
        b[known] = [0, model.intercept_[0]] if two else model.intercept_
        if len(known) < K:  # below the smallest of those that are known, on these rows
            b[np.setdiff1d(np.arange(K), known)] += (X @ W[:, known] + b[known]).max(axis=1).min()
        return W, b

    return fit


@dataclass(frozen=True)
class Blend:
    """The weighted mean of the parts; of classes, with a temperature.

    Attributes
    ----------
    parts : dict of str to EnsemblePart or LinearPart
    weights : dict of str to float
        They sum to 1.
    n_folds : int
        Folds of the training rows; those of a part are these, or some of these together.
    temperature : float or None
        None for numbers.
    """

    parts: dict[str, EnsemblePart | LinearPart]
    weights: dict[str, float]
    n_folds: int
    temperature: float | None

    def predict(self, inputs: Inputs, n_threads: int | None = None) -> Array:
        """Predictions, (n, K)."""
        return self._mean([part.predict_mean(inputs, n_threads) for _, part in self._used()])

    def predict_without(self, inputs: Inputs, n_threads: int | None = None) -> Array:
        """Predictions of what was fitted without each fold, (F, n, K)."""
        found = [part.predict_without(inputs, self.n_folds, n_threads) for _, part in self._used()]
        return self._mean(found)

    def deviation(self, inputs: Inputs, n_threads: int | None = None) -> Array:
        """Standard deviation of the members' predictions, each with its share of the weight."""
        mean, square = 0.0, 0.0
        for name, part in self._used():
            members = part.predict_all(inputs, n_threads).astype(np.float64)
            mean = mean + self.weights[name] * members.mean(axis=0)
            square = square + self.weights[name] * (members**2).mean(axis=0)
        variance = np.asarray(square) - np.asarray(mean) ** 2
        return np.asarray(np.sqrt(np.maximum(variance, 0)))

    def oof(self) -> Array:
        """Out-of-fold predictions of the training rows, (n, K)."""
        return self._mean([np.asarray(part.oof) for _, part in self._used()])

    def _used(self) -> list[tuple[str, EnsemblePart | LinearPart]]:
        return [(name, part) for name, part in self.parts.items() if self.weights[name] > 0]

    def _mean(self, predictions: list[Array]) -> Array:
        weighted = zip(self._used(), predictions, strict=True)
        mean = np.asarray(sum(self.weights[name] * one for (name, _), one in weighted))
        return mean if self.temperature is None else tempered(mean, self.temperature)


def learn_blend(
    parts: dict[str, EnsemblePart | LinearPart],
    Y: Array,
    loss: str,
    weights: Array,
    n_folds: int,
    seed: int,
) -> Blend:
    """The blend of these parts, from their out-of-fold predictions.

    Parameters
    ----------
    parts : dict of str to EnsemblePart or LinearPart
    Y : (n, K) array
    loss : {"squared", "softmax"}
    weights : (n,) array
        What each row counts for.
    n_folds : int
        As in `Blend`.
    seed : int
        Of the resamples of rows.
    """
    predicted = [np.asarray(part.oof, np.float64) for part in parts.values()]
    found = bagged_weights(predicted, Y, loss, weights, np.random.RandomState(seed))
    shares = dict(zip(parts, found.tolist(), strict=True))
    mean = np.asarray(sum(w * one for w, one in zip(found, predicted, strict=True)))
    if loss == "squared":
        factor, centre = best_stretch(mean, Y, weights)
        parts = {name: part.stretched(factor, centre) for name, part in parts.items()}
        return Blend(parts, shares, n_folds, None)
    T = OF_ALL_MEMBERS * best_temperature(mean, Y, weights)
    return Blend(parts, shares, n_folds, T)
