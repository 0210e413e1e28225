"""Numbers too large or too small to compute with: refused before training, with their place.

What is let through can still overflow while it is trained with; `Descent.explain` says where.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from chainrule.base.types import Array, Index
from chainrule.training.samples import blocks_of

MARGIN = 1e4  # by which sums of weights keep away from the ends of a type of numbers


def check_weights(name: str, weight: Array | None) -> None:
    """Raise ValueError for weights whose sum cannot be divided by.

    Parameters
    ----------
    name : str
        What they are called in the message.
    weight : (n,) array or None
        None of them negative.
    """
    if weight is None or not weight.any():
        return
    with np.errstate(over="ignore"):
        total = float(weight.sum(dtype=np.float64))
    if float(np.finfo(weight.dtype).tiny) * MARGIN <= total <= _most(weight.dtype):
        return
    row = int(weight.argmax())
    raise ValueError(
        f"{name} is {weight[row]:g} in row {row}, and the sum of all is {total:g}, which is too "
        f"{'large' if total > 1 else 'small'} for {weight.dtype}; scale the weights to about 1"
    )


def check_deviations(deviation: Array, dtype: Any, names: Any) -> None:
    """Raise ValueError for a column whose standard deviation cannot be divided by.

    Parameters
    ----------
    deviation : (columns,) float64
    dtype : dtype
        Of the parameters.
    names : sequence of str or None
        Of the columns.
    """
    small = deviation < np.finfo(dtype).tiny
    if small.any():
        column = int(small.argmax())
        raise ValueError(
            f"{_column(column, names)} of X has the standard deviation {deviation[column]:g}, too "
            f"small for {np.dtype(dtype)} to divide by; leave the column out, or scale it to "
            "about 1"
        )


def check_inputs(X: Any, scaling: tuple[Array, Array] | None, names: Any, rows: Any) -> None:
    """Raise ValueError for an input whose square overflows, as the network accepts it.

    Parameters
    ----------
    X : array or sparse matrix of shape (n, columns)
    scaling : (means, deviations) or None
        Of the columns, if inputs are standardised.
    names : sequence of str or None
        Of the columns.
    rows : (n,) int64 or None
        Which rows of the user's they are; None: the same.
    """
    offset, deviation = (0.0, 1.0) if scaling is None else scaling
    most = float(np.sqrt(np.finfo(X.dtype).max))
    numbers: Any = X
    if sparse.issparse(X):
        numbers = X.tocoo()
        ends = np.abs(numbers.data / np.broadcast_to(deviation, X.shape[1])[numbers.col])
        if not ends.size or ends.max() <= most:
            return
        at = int(ends.argmax())
        row, column, value = numbers.row[at], numbers.col[at], numbers.data[at]
    else:
        start = 0
        for place, block in blocks_of(X):
            low = block.min(axis=0).astype(np.float64)
            high = block.max(axis=0).astype(np.float64)
            if (np.maximum(high - offset, offset - low) / deviation > most).any():
                start = place.start
                break
        else:
            return
        far = np.abs(block.astype(np.float64) - offset) / deviation
        row, column = np.unravel_index(int(far.argmax()), far.shape)
        value = block[row, column]
        row += start
    scaled = "" if scaling is None else " beside the rows of the first call"
    advice = "" if scaling is not None else ", or leave standardize as it is by default"
    raise ValueError(
        f"X is {value:g} in row {_row(row, rows)}, {_column(int(column), names)}, too large for "
        f"{X.dtype}{scaled}: its square overflows. Scale X to about 1{advice}"
    )


def check_targets(y: Any, Y: Array, rows: Any, standardised: bool) -> None:
    """Raise ValueError for a target so large that its square, or a prediction, overflows.

    Parameters
    ----------
    y : array of n rows
        As the user gave it.
    Y : (n, targets) array
        As the network accepts it.
    rows : (n,) int64 or None
        As for :func:`check_inputs`.
    standardised : bool
        Whether Y is standardised.
    """
    given = np.asarray(y, np.float64).reshape(len(Y), -1)
    most = _most(Y.dtype)
    if not (np.abs(given) <= most).all():  # predictions must not overflow either
        row, target = map(int, np.argwhere(~(np.abs(given) <= most))[0])
        raise ValueError(
            f"y is {given[row, target]:g} in row {_row(row, rows)}, too large for predictions in "
            f"{Y.dtype}. Scale y to about 1"
        )
    far = ~(np.abs(Y) <= np.sqrt(np.finfo(Y.dtype).max))
    if far.any():
        row, target = map(int, np.argwhere(far)[0])
        value = given[row, target]
        beside = " beside the rows of the first call" if standardised else ""
        advice = "" if standardised else ", or leave standardize as it is by default"
        raise ValueError(
            f"y is {value:g} in row {_row(row, rows)}, too large for {Y.dtype}{beside}: its square "
            f"overflows. Scale y to about 1{advice}"
        )


def largest_of(X: Any, Y: Array, order: Index) -> str:
    """Which numbers of a batch are large, in words for a message; empty if none is.

    Parameters
    ----------
    X, Y : arrays of rows
    order : (m,) int64
        The rows of the batch.
    """
    said = []
    for name, values in (("input", X[order]), ("target", Y[order])):
        flat = np.abs(values.reshape(len(order), -1))
        if flat.max(initial=0) > 1e3:
            row, column = np.unravel_index(int(flat.argmax()), flat.shape)
            place = f", in column {column}" if name == "input" else ""
            said.append(
                f"the largest {name} is {values.reshape(flat.shape)[row, column]:g}, in row "
                f"{order[row]}{place}"
            )
    return "; ".join(said)


def _most(dtype: Any) -> float:
    return float(np.finfo(dtype).max) / MARGIN


def _row(row: Any, rows: Any) -> int:
    return int(row if rows is None else rows[row])


def _column(column: int, names: Any) -> str:
    return f"column {column if names is None else repr(str(names[column]))}"
