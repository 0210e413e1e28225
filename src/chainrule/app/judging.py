"""What predictions of a table are worth, and which columns they rely on, as the page shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

MOST_CLASSES = 12  # of which confusions are drawn
MOST_POINTS = 400  # of a picture of numbers
MOST_IMPORTANCES = 12


def by_importance(names: Any, means: Any) -> list[dict[str, Any]]:
    """Importances, the largest first."""
    order = np.argsort(-np.asarray(means, np.float64), kind="stable")[:MOST_IMPORTANCES]
    return [{"name": str(names[j]), "mean": float(means[j])} for j in order]


def judged(y: pd.Series, said: NDArray[Any], classes: Any, score: float) -> dict[str, Any]:
    """What predictions are worth, beside the best guess without a model.

    Parameters
    ----------
    y : pandas.Series of shape (n,)
        What is so: classes as texts, or numbers.
    said : (n, n_classes) or (n,) array
        Probabilities of classes, or numbers.
    classes : (n_classes,) array or None
    score : float
        Accuracy, or R².
    """
    if classes is None:
        truth = y.to_numpy(np.float64)
        error = float(np.sqrt(np.mean((truth - said) ** 2)))
        rows = np.random.default_rng(0).permutation(len(truth))[:MOST_POINTS]
        return {
            "score": {"name": "R²", "value": score, "trivial": 0.0},
            "error": {"name": "RMSE", "value": error, "trivial": float(truth.std())},
            "points": {"y": truth[rows], "said": np.asarray(said)[rows]},
        }
    names = [str(label) for label in classes]
    place = {name: j for j, name in enumerate(names)}
    truth = np.array([place[str(label)] for label in y])
    chosen = np.asarray(said).argmax(axis=1)
    right = np.clip(np.asarray(said)[np.arange(len(truth)), truth], 1e-12, 1)
    shares = np.bincount(truth, minlength=len(names)) / len(truth)
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (truth, chosen), 1)
    there = shares[shares > 0]
    return {
        "score": {"name": "accuracy", "value": score, "trivial": float(shares.max())},
        "error": {
            "name": "log-loss",
            "value": float(-np.log(right).mean()),
            "trivial": float(-(there * np.log(there)).sum()),
        },
        "confusion": {"classes": names, "counts": counts} if len(names) <= MOST_CLASSES else None,
    }
