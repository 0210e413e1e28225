"""Checking what comes in: arrays, labels, names. Every error names the thing at fault."""

from __future__ import annotations

import difflib
import numbers
import sys
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from chainrule.base.types import Array

Piece = TypeVar("Piece")
INSIDE = ("chainrule", "sklearn", "contextlib")


class ShownAsText:
    """A result of which a notebook's cell shows the text, `str(result)`, not the fields."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("..." if cycle else str(self))


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """The dtype, which must be float32 or float64.

    Raises
    ------
    ValueError
        Any other dtype.
    """
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if found not in (np.dtype("float32"), np.dtype("float64")):
        raise ValueError(f"dtype must be float32 or float64, not {dtype!r}")
    return found


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown name: the nearest, and all there are."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, 1)
    return (f"did you mean {near[0]!r}? " if near else "") + "known: " + ", ".join(known)


def look_up(what: str, given: str | Piece, table: Mapping[str, Piece]) -> Piece:
    """The piece of that name, or the very piece given.

    Raises
    ------
    ValueError
        No piece of that name; the message suggests the nearest.
    TypeError
        Neither a name nor a piece of the table's type.
    """
    if isinstance(given, str):
        if given not in table:
            raise ValueError(f"unknown {what} {given!r}; {suggest(given, table)}")
        return table[given]
    kind = type(next(iter(table.values())))
    if not isinstance(given, kind):
        raise TypeError(f"{what} must be a name or {kind.__name__}(...), not {given!r}")
    return given


def check_matrix(given: ArrayLike, columns: int, name: str, dtype: np.dtype[Any]) -> Array:
    """A C-contiguous (m, columns) array of finite numbers; copied only if it must be.

    A vector counts as one column if one is expected.

    Raises
    ------
    ValueError
        Not numbers, the wrong shape, no rows, or a NaN or infinity (row and column are named).
    """
    array = np.asarray(given)
    if array.dtype.kind in "cSU":
        raise ValueError(f"{name} holds something that is not a real number: it is {array.dtype}")
    if array.dtype.kind not in "fiub":
        try:
            array = array.astype(dtype)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} holds something that is not a real number: {error}") from None
    if array.ndim == 1 and columns == 1:
        array = array[:, np.newaxis]
    if array.ndim != 2 or array.shape[1] != columns:
        raise ValueError(
            f"{name} must have the shape (rows, {columns}), one row per sample; got {array.shape}"
        )
    if len(array) == 0:
        raise ValueError(f"{name} has no rows")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype)
    with np.errstate(all="ignore"):
        total = np.add.reduce(array, None)
    if not np.isfinite(total):  # one cheap pass before the exact one
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            row, column = bad[0]
            raise ValueError(
                f"{name} holds {array[row, column]} in row {row}, column {column}"
                + (f" and {len(bad) - 1} more like it" if len(bad) > 1 else "")
                + "; remove or fill such values first"
            )
    return array


def check_pair(
    X: ArrayLike, Y: ArrayLike, n_in: int, n_out: int, dtype: np.dtype[Any]
) -> tuple[Array, Array]:
    """Samples (m, n_in) and targets (m, n_out), both checked, of one length.

    Raises
    ------
    ValueError
        As :func:`check_matrix`, or different numbers of rows.
    """
    X = check_matrix(X, n_in, "X", dtype)
    Y = check_matrix(Y, n_out, "Y", dtype)
    if len(X) != len(Y):
        raise ValueError(f"X has {len(X)} rows and Y has {len(Y)}; each sample needs its target")
    return X, Y


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, pointing at the line outside of chainrule and scikit-learn that led here."""
    level, frame = 1, sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in INSIDE:
        level, frame = level + 1, frame.f_back  # type: ignore[assignment]
    warnings.warn(message, category, stacklevel=level)


def check_labels(y: Array) -> None:
    """Classes are sorted, so labels have to be all text or all numbers, and all there.

    Raises
    ------
    ValueError
        Names two rows whose labels differ in kind, or a row without one.
    """
    if y.dtype != object:
        return
    known: dict[str, tuple[int, Any]] = {}
    for i, label in enumerate(y.reshape(len(y), -1)):
        for value in label:
            if value is None:
                raise ValueError(f"y has no label in row {i} (None); leave the row out or label it")
            number = isinstance(value, numbers.Number | np.bool_)
            kind = "text" if isinstance(value, str) else "number" if number else "other"
            known.setdefault(kind, (i, value))
    if len(known) > 1:
        examples = " and ".join(f"{value!r} in row {i}" for i, value in known.values())
        raise ValueError(
            f"y has labels of more than one kind: {examples}; make them all text, for example "
            "with y.astype(str)"
        )


def one_hot(labels: ArrayLike, n_classes: int, dtype: DTypeLike = np.float64) -> Array:
    """Rows with a 1 in the label's column and 0 elsewhere.

    Parameters
    ----------
    labels : (m,) of int
        Each in 0 … n_classes - 1.
    n_classes : int
    dtype : default float64

    Returns
    -------
    (m, n_classes) array

    Raises
    ------
    ValueError
        A label that is no whole number, or out of range (its row is named).
    """
    given = np.asarray(labels)
    if given.ndim != 1:
        raise ValueError(f"labels must have the shape (rows,); got {given.shape}")
    whole: NDArray[np.int64] = np.zeros(len(given), np.int64)
    if given.dtype.kind in "iub":
        whole = given.astype(np.int64)
        bad = np.zeros(len(given), bool)
    elif given.dtype.kind == "f":
        bad = ~np.isfinite(given) | (given != np.floor(given))
        whole[~bad] = given[~bad].astype(np.int64)
    else:
        raise ValueError(f"labels must be whole numbers; got {given.dtype}")
    bad |= (whole < 0) | (whole >= n_classes)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"label {given[row]} in row {row} is not one of 0 … {n_classes - 1}; "
            "give the output layer one unit per class"
        )
    encoded: Array = np.zeros((len(given), n_classes), float_dtype(dtype))
    encoded[np.arange(len(given)), whole] = 1
    return encoded
