"""Checking what comes in: arrays, labels, names. Every error names the thing at fault."""

from __future__ import annotations

import difflib
import math
import numbers
import sys
import warnings
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from chainrule.base.types import Array

Component = TypeVar("Component")
NO_NUMBER = "could not convert string to float"  # how NumPy's error about a text begins
# What other libraries and books call our components, written as _plain writes it; the first that is
# known counts.
OTHER_NAMES = {
    "sigmoid": ("logistic",),
    "linear": ("identity",),
    "none": ("identity",),
    "swish": ("silu",),
    "lrelu": ("leaky_relu",),
    "exponential": ("exp",),
    "mse": ("squared_error",),
    "meansquarederror": ("squared_error",),
    "l2": ("squared_error",),
    "quadratic": ("squared_error",),
    "mae": ("absolute_error",),
    "meanabsoluteerror": ("absolute_error",),
    "l1": ("absolute_error",),
    "smoothl1": ("huber",),
    "pinball": ("quantile",),
    "bce": ("binary_cross_entropy", "log_loss"),
    "binarycrossentropy": ("log_loss",),
    "logloss": ("binary_cross_entropy",),
    "logistic": ("log_loss", "binary_cross_entropy"),
    "nll": ("cross_entropy", "log_loss"),
    "ce": ("cross_entropy", "log_loss"),
    "crossentropy": ("log_loss",),
    "categoricalcrossentropy": ("cross_entropy", "log_loss"),
    "sparsecategoricalcrossentropy": ("cross_entropy", "log_loss"),
    "softmax": ("cross_entropy", "log_loss"),
    "focalloss": ("focal",),
    "adamw": ("adam",),
    "gd": ("sgd",),
    "gradientdescent": ("sgd",),
    "nag": ("nesterov",),
    "bfgs": ("lbfgs",),
    "classifier": ("classification",),
    "classify": ("classification",),
    "regressor": ("regression",),
    "regress": ("regression",),
    "glorot": ("glorot_uniform",),
    "xavier": ("glorot_uniform",),
    "xavieruniform": ("glorot_uniform",),
    "xaviernormal": ("glorot_normal",),
    "he": ("he_normal",),
    "kaiming": ("he_normal",),
    "kaimingnormal": ("he_normal",),
    "kaiminguniform": ("he_uniform",),
    "lecun": ("lecun_normal",),
}
INSIDE = ("chainrule", "sklearn", "contextlib")


class ShownAsText:
    """A result of which a notebook's cell shows the text, `str(result)`, not the fields."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("..." if cycle else str(self))


def all_finite(*arrays: Array) -> bool:
    """Whether none of the numbers is infinite or NaN.

    A finite sum, or sum of squares, has finite terms, and takes no memory; only another one needs
    a second look.
    """
    with np.errstate(all="ignore"):
        sums = [x.dot(x) if x.ndim == 1 else np.add.reduce(x, None) for x in arrays]
    if all(map(math.isfinite, sums)):
        return True
    return all(bool(np.isfinite(each).all()) for each in arrays)


def is_whole(number: Any) -> bool:
    """Whether it is a whole number, Python's or NumPy's; truth values are none."""
    return isinstance(number, numbers.Integral) and not isinstance(number, bool)


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


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name that was probably meant: in other letters, of another library, or misspelled."""
    plain = {_plain(one): one for one in sorted(known)}
    given = _plain(name)
    for meant in (given, *OTHER_NAMES.get(given, ())):
        if _plain(meant) in plain:
            return plain[_plain(meant)]
    near = difflib.get_close_matches(given, plain, 1)
    return plain[near[0]] if near else None


def _plain(name: str) -> str:
    """Without what is often written otherwise: capitals, spaces, hyphens, underscores."""
    return name.casefold().replace("-", "").replace("_", "").replace(" ", "")


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown name: the nearest, and all there are."""
    known = sorted(known)
    near = nearest(name, known)
    return (f"did you mean {near!r}? " if near else "") + "known: " + ", ".join(known)


def how_to_make(kind: type) -> str:
    """What to write where a bare function was given instead of a component."""
    if kind.__name__ == "Activation":
        return (
            "give a name, or chainrule.Activation('mine', f, pullback), where f(z, a) writes the "
            "activation into a and pullback(z, a, delta) multiplies delta by its derivative"
        )
    return f"give a name, or chainrule.{kind.__name__}(...), whose help says what it is made of"


def look_up(what: str, given: str | Component, table: Mapping[str, Component]) -> Component:
    """The component of that name, or the very component given.

    Raises
    ------
    ValueError
        No component of that name; the message suggests the nearest.
    TypeError
        Neither a name nor a component of the table's type.
    """
    if isinstance(given, str):
        if given not in table:
            raise ValueError(f"unknown {what} {given!r}; {suggest(given, table)}")
        return table[given]
    kind = type(next(iter(table.values())))
    if not isinstance(given, kind):
        if callable(given):
            raise TypeError(f"{what} is a bare function, {given!r}; {how_to_make(kind)}")
        raise TypeError(f"{what} must be a name or {kind.__name__}(...), not {given!r}")
    return given


def generator(seed: Any) -> np.random.Generator:
    """``numpy.random.default_rng(seed)``.

    Raises
    ------
    ValueError
        `seed` is none.
    """
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise ValueError(
            f"seed must be a whole number, 0 or more, a numpy Generator or None; got {seed!r}"
        ) from None


def place_of_text(X: Any) -> str:
    """Where the first text in a table is that is no number: ", in row 7, column 2", or "".

    Parameters
    ----------
    X : (m, n) array-like or data frame
    """
    names = list(getattr(X, "columns", ()))
    cells = np.asarray(X)
    if cells.ndim != 2 or cells.dtype.kind not in "OSU":
        return ""
    for (row, column), cell in np.ndenumerate(cells):
        if isinstance(cell, str | bytes) and not _reads_as_number(cell):
            label = repr(names[column]) if names else column
            return f", in row {row}, column {label}"
    return ""


def _reads_as_number(text: str | bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
        raise ValueError(
            f"{name} holds something that is not a real number: it is {array.dtype}"
            + place_of_text(given)
        )
    if array.dtype.kind not in "fiub":
        try:
            array = array.astype(dtype)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name} holds something that is not a real number: {error}{place_of_text(given)}"
            ) from None
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
    if not all_finite(array):
        bad = np.argwhere(~np.isfinite(array))
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


def check_target(y: Any, numeric: bool, name: str = "y") -> Any:
    """Refuse a target that is missing in a row, or is no number, class or label.

    Texts of numbers become numbers where those are wanted, whatever their dtype.

    Parameters
    ----------
    y : array-like of shape (m,) or (m, k)
    numeric : bool
        Whether numbers are wanted; else labels.
    name : str, default "y"
        For messages.

    Returns
    -------
    array-like
        `y` itself, or an array of float64 if it was text.

    Raises
    ------
    ValueError
        Names the row.
    """
    try:
        array = np.asarray(y)
    except (TypeError, ValueError):
        return y  # of no shape at all: scikit-learn says so
    kind = array.dtype.kind
    if array.ndim not in (1, 2) or not len(array):
        return y
    wanted = "numbers" if numeric else "labels that are texts or numbers"
    if kind not in "fiubOUT":
        # So begins what scikit-learn says of complex numbers.
        start = "Complex data not supported: " if kind == "c" else ""
        raise ValueError(
            f"{start}{name} holds values of the type {array.dtype}, which are not {wanted}; "
            "convert them to what is to be predicted"
        )
    absent = _absent(array)
    if absent.any():
        raise ValueError(_missing(array, absent, numeric, name))
    if kind in "OUT":
        _check_kinds(array, numeric, name)
        if numeric:
            y = array = _as_numbers(array, name)
            absent = np.isnan(array)
            if absent.any():
                raise ValueError(_missing(array, absent, numeric, name))
    if array.dtype.kind == "f" and (infinite := np.isinf(array)).any():
        place = np.argwhere(infinite)[0]
        raise ValueError(
            f"Input {name} contains infinity or a value too large for dtype('float64'). The first "
            f"is {array[tuple(place)]} in row {place[0]}"
        )
    return y


def _absent(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Where an array holds None, NaN, NaT or NA."""
    absent: NDArray[np.bool_] = np.zeros(array.shape, bool)
    if array.dtype.kind == "f":
        absent = np.isnan(array)
    elif array.dtype.kind == "O":
        absent = np.array([_is_absent(value) for value in array.flat], bool).reshape(array.shape)
    return absent


def _is_absent(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating | Decimal | np.datetime64) and value != value


def _missing(array: NDArray[Any], absent: NDArray[np.bool_], numeric: bool, name: str) -> str:
    place = np.argwhere(absent)[0]
    column = f", column {place[1]}" if absent.ndim == 2 and absent.shape[1] > 1 else ""
    n = int(absent.any(axis=1).sum() if absent.ndim == 2 else absent.sum())
    more = "" if n == 1 else f", nor in {n - 1} more"
    what, cure = ("number", "give it one") if numeric else ("label", "label it")
    return (
        f"{name} has no {what} in row {place[0]}{column} "
        f"({array[tuple(place)]}){more}; leave the row out or {cure}"
    )


def _check_kinds(array: NDArray[Any], numeric: bool, name: str) -> None:
    """Every value is text or a real number; labels, which are sorted, are all of one kind."""
    if array.dtype.kind != "O":
        return
    known: dict[str, tuple[int, Any]] = {}
    for i, row in enumerate(array.reshape(len(array), -1)):
        for value in row:
            if isinstance(value, str):
                known.setdefault("text", (i, value))
            elif isinstance(value, numbers.Real | Decimal | np.bool_):
                known.setdefault("number", (i, value))
            else:
                wanted = "a number" if numeric else "a label that is text or a number"
                raise ValueError(
                    f"{name} holds {value!r} in row {i}, which is not {wanted} but of the type "
                    f"{type(value).__name__}"
                )
    if len(known) > 1 and not numeric:
        examples = " and ".join(f"{value!r} in row {i}" for i, value in known.values())
        raise ValueError(
            f"{name} has labels of more than one kind: {examples}; make them all text, for "
            f"example with {name}.astype(str)"
        )


def _as_numbers(array: NDArray[Any], name: str) -> NDArray[np.float64]:
    """Texts of numbers, and numbers among them, as numbers."""
    out: NDArray[np.float64] = np.empty(array.shape)
    for place in np.ndindex(array.shape):
        try:
            out[place] = float(array[place])
        except OverflowError:
            out[place] = np.inf
        except ValueError:
            raise ValueError(
                f"{name} holds something that is not a number: {str(array[place])!r} in row "
                f"{place[0]}; give numbers, or use MLPClassifier to predict classes"
            ) from None
    return out


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
