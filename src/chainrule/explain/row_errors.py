"""Errors about rows in one line, which names the row and the column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from chainrule.base.validation import NO_NUMBER, check_matrix, place_of_text


@contextmanager
def in_one_line(rows: Any = None, name: str = "X") -> Iterator[None]:
    """Shorten scikit-learn's errors about rows to one line, which names the row and the column.

    Parameters
    ----------
    rows : array-like, data frame or sparse matrix, optional
        What is checked. Default: unknown, so that no place in it can be named.
    name : str, default "X"
        For messages.

    Raises
    ------
    ValueError
    """
    try:
        yield
    except ValueError as error:
        text = str(error)
        if text.startswith("Complex data not supported"):
            raise ValueError("X holds complex numbers; give real ones") from None
        if text.startswith(NO_NUMBER) and ", in row " not in text:
            raise ValueError(f"{text}{_place_of(rows, text)}") from None
        if "not compatible with arrays of bytes/strings" in text:
            raise ValueError(f"{name} holds text{place_of_text(rows)}; give numbers") from None
        if text.startswith("Input X contains"):
            _check_finite(rows, name, nan_too="NaN" in text.splitlines()[0])
        if "\n" in text:
            raise ValueError(" ".join(text.split())) from None
        raise


def _place_of(rows: Any, text: str) -> str:
    """Where the text is that an error says is no number; other texts may be right where they are.

    Parameters
    ----------
    rows : array-like, data frame or sparse matrix
    text : str
        The error.
    """
    found = re.search(r"(['\"])(.*)\1", text)
    if found is None:
        return ""
    names, cells = list(getattr(rows, "columns", ())), np.asarray(rows)
    places = np.argwhere(cells == found[2]) if cells.dtype.kind in "OU" else np.empty((0, 2))
    if cells.ndim != 2 or not len(places):
        return ""
    row, column = places[0].tolist()
    return f", in row {row}, column {repr(names[column]) if names else column}"


def _check_finite(given: Any, name: str, nan_too: bool) -> None:
    """Name the first entry that is infinite, or NaN if that counts, if there are only numbers.

    Raises
    ------
    ValueError
    """
    try:
        rows = np.array(given.toarray() if hasattr(given, "toarray") else given, np.float64)
    except (TypeError, ValueError):
        return
    if rows.ndim == 2:
        if not nan_too:
            rows[np.isnan(rows)] = 0
        check_matrix(rows, rows.shape[1], name, rows.dtype)
