"""What cannot be trained on is said before training, by its name and its place."""

from __future__ import annotations

import sys

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster

from chainrule.dask import DaskMLPClassifier, DaskMLPRegressor, estimators
from chainrule.dask.partitions import PartitionError


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            protocol="inproc",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


X, y = np.arange(120.0).reshape(40, 3) % 7, np.arange(40) % 2
X_blocks, y_blocks = da.from_array(X, chunks=(10, -1)), da.from_array(y, chunks=10)
frame = dd.from_pandas(pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=y), npartitions=4)


def with_value(row, column, value):
    """X as a Dask array, one value replaced."""
    changed = X.copy()
    changed[row, column] = value
    return da.from_array(changed, chunks=(10, -1))


def swapped(one):
    """Rows of the last partition in another order."""
    return one[::-1]


def failing(block):
    """A partition that cannot be read."""
    if block.shape[0] and block[0, 0] == X[30, 0]:
        raise OSError("the disk is gone")
    return block


FIT_ERRORS = {
    "an array in memory": ((X, y), TypeError, r"X must be a Dask array .*, not numpy\.ndarray"),
    "y in memory": (
        (X_blocks, list(y)),
        TypeError,
        r"y must be a Dask array .*, not builtins\.list",
    ),
    "three dimensions": (
        (X_blocks[..., None], y_blocks),
        ValueError,
        "X must have 2 dimensions; it has 3",
    ),
    "columns cut": (
        (X_blocks.rechunk((10, 1)), y_blocks),
        ValueError,
        r"3 blocks of columns; .*rechunk\({1: -1}\)",
    ),
    "other chunks": (
        (X_blocks, y_blocks.rechunk(20)),
        ValueError,
        r"y = y\.rechunk\({0: X\.chunks\[0\]}\)",
    ),
    "other rows": ((X_blocks, y_blocks[:30]), ValueError, "X has 40 rows, y has 30"),
    "other partitions": (
        (frame[["a"]], frame["y"].repartition(npartitions=2)),
        ValueError,
        "X has 4 partitions, y has 2",
    ),
    "other divisions": (
        (frame[["a"]], frame["y"].repartition(divisions=(0, 5, 20, 30, 39))),
        ValueError,
        r"other divisions: y = y\.repartition\(divisions=X\.divisions\)",
    ),
    "unknown lengths that differ": (
        (X_blocks[X_blocks[:, 0] >= 0], y_blocks[X_blocks[:, 0] >= 1]),
        PartitionError,
        r"partition \d: X has 10 rows and y has [89]; they have to be cut at the same rows",
    ),
    "rows in another order": (
        (frame[["a"]], frame["y"].map_partitions(swapped, meta=frame["y"]._meta)),
        PartitionError,
        r"partition \d: the rows of X and of y have other indices",
    ),
    "text": (
        (frame.assign(t="x")[["a", "t"]], frame["y"]),
        ValueError,
        "column 't' of X is of the type .*, not numbers",
    ),
    "NaN": (
        (with_value(23, 1, np.nan), y_blocks),
        PartitionError,
        "partition 2: X holds nan in row 3 of the partition, column 1",
    ),
    "infinity": (
        (with_value(35, 0, np.inf), y_blocks),
        PartitionError,
        "partition 3: X holds inf in row 5 of the partition, column 0",
    ),
    "too large": ((with_value(5, 2, 1e200), y_blocks), ValueError, "column 2 of X is too large"),
    "a partition that raises": (
        (X_blocks.map_blocks(failing, dtype=float, meta=X_blocks._meta), y_blocks),
        PartitionError,
        "partition 3 could not be computed: OSError: the disk is gone",
    ),
    "another meta": (
        (X_blocks.map_blocks(lambda x: x[:, :2], dtype=float, meta=X_blocks._meta), y_blocks),
        PartitionError,
        r"partition \d: it has the shape \(10, 2\); by the array's description it has 3 columns",
    ),
    "labels of two kinds": (
        (
            X_blocks,
            y_blocks.map_blocks(lambda b: b, dtype=object)
            .astype(object)
            .map_blocks(lambda b, block_id=(0,): b.astype(str) if block_id[0] else b, dtype=object),
        ),
        ValueError,
        "labels of text in some partitions and numbers in others",
    ),
    "no classes": (
        (X_blocks, da.from_array(np.linspace(0, 1, 40), chunks=10)),
        ValueError,
        "continuous",
    ),
    "empty": (
        (X_blocks[:0], y_blocks[:0]),
        ValueError,
        "X has no rows: all of its partitions are empty",
    ),
}


@pytest.mark.parametrize("case", FIT_ERRORS)
def test_what_cannot_be_fitted_is_refused(client, case):
    data, kind, message = FIT_ERRORS[case]
    model = DaskMLPClassifier(max_iter=1, local_steps=1)
    with pytest.raises(kind, match=message):
        model.fit(*data)
    assert not hasattr(model, "coefs_")


def test_wrong_metas_of_frames(client):
    part = frame[["a", "b"]]
    fewer = part.map_partitions(
        lambda one: one.drop(columns="b"), meta=part._meta, enforce_metadata=False
    )
    with pytest.raises(
        PartitionError, match=r"partition \d: it has the columns 'a'; by .* 'a', 'b'"
    ):
        DaskMLPClassifier(max_iter=1).fit(fewer, frame["y"])
    texts = part.map_partitions(
        lambda one: one.assign(b="x"), meta=part._meta, enforce_metadata=False
    )
    with pytest.raises(
        PartitionError, match=r"partition \d: column 'b' is of the type .*could not"
    ):
        DaskMLPClassifier(max_iter=1).fit(texts, frame["y"])


def test_rows_of_the_target_and_of_weights_are_named(client):
    target = X[:, 0].copy()
    target[17] = np.nan
    with pytest.raises(PartitionError, match="partition 1: y has no number in row 7"):
        DaskMLPRegressor(max_iter=1).fit(X_blocks, da.from_array(target, chunks=10))
    with pytest.raises(
        PartitionError, match=r"partition \d: loss='poisson' needs a target 0 or more"
    ):
        DaskMLPRegressor(loss="poisson", max_iter=1).fit(X_blocks, y_blocks - 1)
    weight = da.from_array(np.where(np.arange(40) == 39, -1.0, 1.0), chunks=10)
    with pytest.raises(PartitionError, match="partition 3: sample_weight is -1 in row 9"):
        DaskMLPClassifier(max_iter=1).fit(X_blocks, y_blocks, sample_weight=weight)
    with pytest.raises(ValueError, match="the weights of the samples sum to 0"):
        DaskMLPClassifier(max_iter=1).fit(X_blocks, y_blocks, sample_weight=y_blocks * 0)


def test_classes_that_are_not_known(client):
    with pytest.raises(
        PartitionError, match="partition 0: y holds 1, which is not among the classes"
    ):
        DaskMLPClassifier(max_iter=1).fit(X_blocks, y_blocks, classes=[0, 2])
    with pytest.raises(
        PartitionError, match=r"partition \d of the validation set: y holds 2, which"
    ):
        DaskMLPClassifier(max_iter=1).fit(X_blocks, y_blocks, X_val=X_blocks, y_val=y_blocks + 1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"solver": "lbfgs"}, "solver='lbfgs' cannot be used on a cluster"),
        ({"compat": "sklearn"}, "compat='sklearn' cannot be used on a cluster"),
        ({"keep_optimizer_state": True}, "keep_optimizer_state=True cannot be used on a cluster"),
        ({"scoring": "roc_auc"}, "scoring='roc_auc' needs all of the validation set in one place"),
        ({"scoring": "loss"}, "scoring='loss' needs a validation set"),
        ({"class_weight": [{0: 1}]}, "class_weight must be a dict or 'balanced'"),
        ({"strategy": "async"}, "strategy must be 'local' or 'sync'; got 'async'"),
        ({"local_steps": 0}, "local_steps must be 'auto' or a whole number from 1; got 0"),
        (
            {"local_steps": 5, "strategy": "sync"},
            "local_steps=5 has no meaning for strategy='sync'",
        ),
        ({"alpha": -1}, "The 'alpha' parameter of MLPClassifier must be"),
    ],
)
def test_parameters_without_a_meaning_are_refused_by_name(client, parameters, message):
    with pytest.raises(ValueError, match=message):
        DaskMLPClassifier(max_iter=1, **parameters).fit(X_blocks, y_blocks)


def test_what_diverges_is_said_by_its_partition(client):
    model = DaskMLPRegressor(solver="sgd", learning_rate_init=1e200, max_iter=2, local_steps=1)
    with pytest.raises(ValueError, match="partition 0: training diverged in epoch 1, batch 0"):
        model.fit(X_blocks, da.from_array(X[:, 0], chunks=10))


def test_other_columns_are_not_predicted(client):
    model = DaskMLPClassifier(max_iter=1, local_steps=1, tol=0)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        model.fit(frame[["a", "b"]], frame["y"])
    with pytest.raises(ValueError, match="X has 3 columns, the estimator takes 2"):
        model.predict(X_blocks)
    with pytest.raises(ValueError, match="the columns of X are not those of the fit"):
        model.predict(frame[["b", "a"]])
    with pytest.raises(TypeError, match=r"X must be a Dask array .*, not numpy"):
        model.predict(X)


def test_workers_are_looked_at_before_training(client, monkeypatch):
    model = DaskMLPClassifier(max_iter=1, local_steps=1)
    with monkeypatch.context() as patch:
        patch.setattr(estimators, "__version__", "9.9")
        with pytest.raises(
            ValueError, match=r"the worker inproc.* has chainrule .*this process has 9\.9"
        ):
            model.fit(X_blocks, y_blocks)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "chainrule.base.blas", None)
        with pytest.raises(ValueError, match=r"the worker inproc.* has no chainrule"):
            model.fit(X_blocks, y_blocks)


def test_no_cluster_is_started_silently(monkeypatch):
    monkeypatch.setattr("distributed.client._get_global_client", lambda: None)
    with pytest.raises(ValueError, match=r"there is no Dask client: .*client = Client\(\)"):
        DaskMLPClassifier().fit(X_blocks, y_blocks)


def test_a_model_that_is_not_fitted_says_so():
    with pytest.raises(ValueError, match="not fitted yet"):
        DaskMLPClassifier().to_local()


def test_the_extra_is_named_where_dask_is_missing(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("chainrule.dask")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r'pip install "chainrule\[dask\]"'):
        import chainrule.dask  # noqa: F401
