"""Dask's arrays and data frames, taken apart into partitions that belong together."""

from __future__ import annotations

from typing import Any, NamedTuple

import dask.array as da
import numpy as np


class Described(NamedTuple):
    """What a collection says of itself before anything is computed.

    Attributes
    ----------
    blocks : list
        A `Delayed` for each partition.
    names : list or None
        Of the columns, of a data frame.
    columns : int
    dtype : str
        "float32" if all numbers are, else "float64".
    """

    blocks: list[Any]
    names: list[Any] | None
    columns: int
    dtype: str


def is_frame(collection: Any) -> bool:
    """Whether it is a Dask data frame or a column of one."""
    return hasattr(collection, "_meta") and hasattr(collection, "divisions")


def check_collection(name: str, given: Any, dimensions: tuple[int, ...]) -> None:
    """Refuse what is no Dask array or data frame, or has other dimensions.

    Raises
    ------
    TypeError, ValueError
    """
    if not isinstance(given, da.Array) and not is_frame(given):
        kind = f"{type(given).__module__.partition('.')[0]}.{type(given).__name__}"
        raise TypeError(
            f"{name} must be a Dask array or a Dask data frame, not {kind}; make one with "
            "dask.array.from_array or dask.dataframe.from_pandas, or use the estimator without "
            "Dask, which takes what is in memory"
        )
    if given.ndim not in dimensions:
        wanted = " or ".join(map(str, dimensions))
        raise ValueError(f"{name} must have {wanted} dimensions; it has {given.ndim}")
    if isinstance(given, da.Array) and given.ndim == 2 and given.numblocks[1] > 1:
        raise ValueError(
            f"{name} is cut into {given.numblocks[1]} blocks of columns; each partition has to "
            f"hold whole rows: {name}.rechunk({{1: -1}})"
        )


def described(X: Any) -> Described:
    """X, a collection that :func:`check_collection` let through, by partitions.

    Raises
    ------
    ValueError
        A column holds no numbers.
    """
    if not is_frame(X):
        if X.dtype.kind not in "fiubO":
            raise ValueError(f"X must hold numbers; it is of {X.dtype}")
        if np.isnan(X.shape[1]):
            raise ValueError("X has an unknown number of columns; call X.compute_chunk_sizes()")
        kind = "float32" if X.dtype == np.float32 else "float64"
        return Described(list(X.to_delayed().ravel()), None, int(X.shape[1]), kind)
    frame = X._meta
    for name, dtype in frame.dtypes.items():
        kind = getattr(dtype, "kind", "O")
        if kind not in "fiub" or not hasattr(dtype, "itemsize"):
            raise ValueError(
                f"column {name!r} of X is of the type {dtype}, not numbers; turn it into numbers "
                "(X.categorize() and dask.dataframe.get_dummies make a column of each category), "
                "or leave it out"
            )
    single = all(dtype == np.float32 for dtype in frame.dtypes)
    return Described(
        X.to_delayed(),
        list(frame.columns),
        len(frame.columns),
        "float32" if single else "float64",
    )


def blocks_along(name: str, given: Any, X: Any, X_name: str) -> list[Any]:
    """The partitions of y or of weights, each a `Delayed`, one for each of X.

    Raises
    ------
    ValueError
        They are cut otherwise than X. Lengths that are not known are compared later, on the
        workers.
    """
    n, m = (_n_blocks(one) for one in (X, given))
    cut = f"{X_name} has {n} partition{'s' * (n != 1)}, {name} has {m}"
    both_arrays = not is_frame(X) and not is_frame(given)
    if both_arrays and _known(X) and _known(given):
        if X.shape[0] != given.shape[0]:
            raise ValueError(f"{X_name} has {X.shape[0]} rows, {name} has {given.shape[0]}")
        if X.chunks[0] != given.chunks[0]:
            raise ValueError(
                f"the partitions of {X_name} and {name} are not the same rows "
                f"({_listed(X.chunks[0])} and {_listed(given.chunks[0])}): "
                f"{name} = {name}.rechunk({{0: {X_name}.chunks[0]}})"
            )
    if n != m:
        raise ValueError(
            f"{cut}; they have to be cut at the same rows, as columns of one data frame are"
        )
    if (
        is_frame(X)
        and is_frame(given)
        and X.known_divisions
        and given.known_divisions
        and tuple(X.divisions) != tuple(given.divisions)
    ):
        raise ValueError(
            f"{X_name} and {name} have other divisions: "
            f"{name} = {name}.repartition(divisions={X_name}.divisions)"
        )
    return list(np.ravel(given.to_delayed()))


def _n_blocks(collection: Any) -> int:
    return int(collection.npartitions if is_frame(collection) else collection.numblocks[0])


def _known(array: Any) -> bool:
    return not np.isnan(array.shape[0])


def _listed(chunks: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, chunks[:4]))
    return shown + (", …" if len(chunks) > 4 else "") + " rows"
