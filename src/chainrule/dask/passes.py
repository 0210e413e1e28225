"""The passes over a table in files, as the client has the cluster make them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dask.array as da
import numpy as np
from dask import delayed
from distributed import Future

from chainrule.dask import files
from chainrule.dask.files import Encoding, Matrices, Part, Survey
from chainrule.dask.rounds import FAN_IN
from chainrule.dask.sides import Asked
from chainrule.dask.work import Work, as_is, leaf
from chainrule.tables.opening import Look


def look_at(work: Work, parts: Sequence[Part], asked: Asked) -> Look:
    """See what the columns of a table are read as.

    Raises
    ------
    PartitionError
        A file cannot be read, or they have different columns.
    """

    def once() -> Any:
        found = work.each("look", files.look, parts, [asked] * len(parts))
        return _merged(work, found, files.merge_looks)

    look: Look = work.persistently(once)
    return look


def survey_of(work: Work, parts: Sequence[Part], seen: Look, asked: Asked) -> Survey:
    """Describe a table, in one pass over its partitions.

    Raises
    ------
    PartitionError
        A row cannot be read.
    """

    def once() -> Any:
        n = len(parts)
        shared = [work.share("columns", seen)] * n
        found = work.each("survey", files.survey, parts, shared, [asked] * n)
        return _merged(work, found, files.merge_surveys)

    survey: Survey = work.persistently(once)
    return survey


def _merged(work: Work, found: list[Future], merge: Callable[[Sequence[Any]], Any]) -> Any:
    """The results of all partitions, merged in a tree in their order."""
    work.gather_errors(found)
    while len(found) > 1:
        name = work.new("merge")
        found = work.submit(
            [
                delayed(merge, pure=False)(found[i : i + FAN_IN], dask_key_name=name(i))
                for i in range(0, len(found), FAN_IN)
            ]
        )
    return work.gather(found)[0]


def matrices(
    work: Work, parts: Sequence[Part], sizes: Sequence[Sequence[int]], encoding: Encoding
) -> list[Matrices]:
    """What an estimator is given, as Dask arrays: nothing is read until they are.

    Parameters
    ----------
    work : Work
    parts : sequence of Part
    sizes : sequence of sequences of int
        Rows of each that are learned from; then, if there are such, rows that stop the training.
    encoding : Encoding

    Returns
    -------
    list of Matrices
        As many as sizes.
    """
    name, width = work.new("read"), len(encoding.steps[-1].get_feature_names_out())
    shared: Any = delayed(as_is)(leaf(encoding), dask_key_name=work.new("encoding")(0))
    task, pick = delayed(files.encode, pure=False), delayed(files.piece, pure=False)
    kinds = [((width,), np.dtype(np.float32)), ((), encoding.target.dtype)]
    if "weight" in encoding.asked.roles:
        kinds.append(((), np.dtype(np.float64)))
    whole: list[Any] = [task(part, shared, dask_key_name=name(part.number)) for part in parts]
    found = []
    for side, rows in enumerate(sizes):
        columns = []
        for i, (shape, kind) in enumerate(kinds):
            pieces: list[Any] = [
                pick(each, side, i, dask_key_name=name(p, side, i)) for p, each in enumerate(whole)
            ]
            arrays = [
                da.from_delayed(one, (n, *shape), kind) for one, n in zip(pieces, rows, strict=True)
            ]
            columns.append(da.concatenate(arrays))
        found.append(Matrices(*columns))
    return found
