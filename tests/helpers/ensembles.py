"""A small table, encoded, and settings to train an ensemble on it."""

from __future__ import annotations

import numpy as np

from chainrule.ensembles.inputs import InputLayout, Inputs, unit_columns
from chainrule.ensembles.settings import EnsembleSettings

SETTINGS = EnsembleSettings(
    members=4, folds=4, sharing="none", hidden=(8, 6), epochs=3, batch=32, learning_rate=0.05
)


def table(n=120, dense=2, bins=(3, 5), levels=(4,), seed=0):
    """Inputs, layout, targets (n, 1), one-hot classes (n, 3) and folds from 0 to 3."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, dense)).astype(np.float32)
    b = rng.integers(0, bins, size=(n, len(bins))).astype(np.int32)
    f = rng.random((n, len(bins)), np.float32)
    missing = rng.random(b.shape) < 0.1
    b[missing], f[missing] = 0, 0
    level = rng.integers(-1, levels, size=(n, len(levels))).astype(np.int32)
    inputs = Inputs(X, b, f, level)
    S = sum(bins) + sum(levels)
    scale = rng.uniform(1, 2, S).astype(np.float32)
    layout = InputLayout(dense, bins, levels, scale, np.zeros(S, np.float32))
    layout = layout._replace(mean=unit_columns(inputs, layout)[:, dense:].mean(axis=0) * scale)
    y = X.sum(axis=1) + (b + f).sum(axis=1) + (level[:, 0] == 1) * 2
    y = ((y - y.mean()) / (y.std() or 1)).astype(np.float32)
    classes = np.eye(3, dtype=np.float32)[np.digitize(y, [-0.4, 0.5])]
    return inputs, layout, y[:, np.newaxis], classes, rng.permutation(np.arange(n) % 4)
