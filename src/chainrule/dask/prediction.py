"""Predictions of a fitted estimator, as lazy Dask collections."""

from __future__ import annotations

import uuid
from typing import Any

import dask
import numpy as np
from dask import delayed
from distributed import Client, default_client

from chainrule.dask import scores
from chainrule.dask.collections import blocks_along, check_collection, described, is_frame
from chainrule.dask.work import Work, as_is

LARGE = 1_000_000  # bytes of parameters that are sent by themselves, before any graph is


def lazily(est: Any, X: Any, method: str) -> Any:
    """What a method of a fitted estimator gives for each row of X, as a Dask collection.

    Parameters
    ----------
    est : estimator
    X : Dask array or Dask data frame
    method : str
        "predict" or "predict_proba".
    """
    check_collection("X", X, (2,))
    _check_columns(est, X)
    sample = getattr(est, method)(_some_row(est, X))
    model = _shared(est)
    if is_frame(X):
        meta = _as_frame(est, sample[:0], X._meta.index[:0])
        return X.map_partitions(of_frame, model, method, meta=meta)
    options: dict[str, Any] = {
        "dtype": sample.dtype,
        "meta": np.empty((0,) * sample.ndim, sample.dtype),
    }
    if sample.ndim == 1:
        options["drop_axis"] = 1
    else:
        options["chunks"] = (X.chunks[0], *((n,) for n in sample.shape[1:]))
        if sample.ndim > 2:
            options["new_axis"] = list(range(2, sample.ndim))
    return X.map_blocks(
        of_array, model=model, method=method, shape=sample.shape[1:], kind=sample.dtype, **options
    )


def _shared(est: Any) -> Any:
    """A Delayed estimator, which is in the graph once, or on the cluster if it is large."""
    # Another name each time: whatever a cluster holds under it is this very model.
    name = uuid.uuid4().hex
    client = _client()
    size = sum(each.nbytes for each in (*est.coefs_, *est.intercepts_))
    if client is None or size < LARGE:
        return delayed(est, traverse=False, name=f"chainrule-model-{name}")
    kept = Work(client, name[:8]).share("model", est)
    return delayed(as_is, pure=False)(kept, dask_key_name=f"chainrule-model-{name}")


def _client() -> Client | None:
    """The client that computes what is lazy; None: this process does."""
    if dask.config.get("scheduler", None) not in (None, "dask.distributed", "distributed"):
        return None
    try:
        return default_client()
    except ValueError:
        return None


def _check_columns(est: Any, X: Any) -> None:
    names = getattr(est, "feature_names_in_", None)
    found = described(X)
    if found.columns != est.n_features_in_:
        raise ValueError(f"X has {found.columns} columns, the estimator takes {est.n_features_in_}")
    if names is not None and found.names is not None and found.names != list(names):
        raise ValueError(
            f"the columns of X are not those of the fit, in their order: {list(names)[:8]}"
        )


def _some_row(est: Any, X: Any) -> Any:
    """A row of zeros like those of X, to see what predictions look like."""
    row = np.zeros((1, est.n_features_in_), est._dtype)
    if not is_frame(X):
        return row
    import pandas as pd

    return pd.DataFrame(row, columns=list(X.columns))


def of_array(x: Any, model: Any, method: str, shape: tuple[int, ...], kind: Any) -> Any:
    """Predictions of a block."""
    if not len(x):
        return np.empty((0, *shape), kind)
    return getattr(model, method)(x)


def of_frame(x: Any, model: Any, method: str) -> Any:
    """Predictions of a partition of a data frame, with its index."""
    if len(x):
        return _as_frame(model, getattr(model, method)(x), x.index)
    import pandas as pd

    row = pd.DataFrame(np.zeros((1, x.shape[1])), columns=x.columns)
    return _as_frame(model, getattr(model, method)(row)[:0], x.index)


def _as_frame(est: Any, predicted: Any, index: Any) -> Any:
    """A series, or a data frame whose columns are the classes or numbered."""
    import pandas as pd

    if predicted.ndim == 1:
        return pd.Series(predicted, index=index, name="prediction")
    if predicted.ndim > 2:
        predicted = predicted.reshape(len(predicted), -1)
    classes = list(getattr(est, "classes_", range(predicted.shape[1])))
    return pd.DataFrame(predicted, index=index, columns=classes)


def scored(est: Any, X: Any, y: Any, weight: Any) -> float:
    """Accuracy or R² over all partitions."""
    found = described(X)
    targets = blocks_along("y", y, X, "X")
    weights = [None] * len(targets)
    if weight is not None:
        weights = blocks_along("sample_weight", weight, X, "X")
    model = _shared(est)
    task = delayed(scores.of_partition, pure=False)
    columns = zip(found.blocks, targets, weights, strict=True)
    tasks = [task(model, p, *three) for p, three in enumerate(columns)]
    return scores.total(list(dask.compute(*tasks)))[1]
