"""Does a column give the target away? Cheap tests: rank correlation, conditional purity.

A column that all but determines the target was usually made from it, or is known only after it.
What is learnt from such a column is of no use for new rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

_MOST_ROWS = 100_000
_FEW_VALUES = 40
_SEED = 7_306_219_845  # of no one's data


class Leak(NamedTuple):
    """A column that all but gives the target away.

    Attributes
    ----------
    column : str
    how : str
        In words.
    """

    column: str
    how: str


def leaks(frame: pd.DataFrame, target: str, task: str) -> list[Leak]:
    """Columns that determine the target, or nearly so.

    For classes: the class is guessed from the column's value (the commonest class of rows with
    that value, or of the row with the nearest number), learnt on half of the rows and tried on
    the rest, and at least 98 of 100 of the errors that always guessing the commonest class makes
    are gone. For numbers: a rank
    correlation of at least 0.999, or groups of equal values that leave at most 1 part in 100 of
    the target's variance. Of more than 100,000 rows, evenly spaced ones are looked at.

    Parameters
    ----------
    frame : pandas.DataFrame
    target : str
    task : "classification" or "regression"

    Returns
    -------
    list of Leak
    """
    import pandas as pd

    rows = frame[frame[target].notna()]
    rows = rows.iloc[:: max(len(rows) // _MOST_ROWS, 1)]
    if task == "classification":  # classes of a row or two can be neither learnt nor tried
        size = rows[target].map(rows[target].value_counts()).to_numpy()
        rows = rows[size >= 4]
    if len(rows) < 20:
        return []
    found = []
    codes, _ = pd.factorize(rows[target])
    if codes.max() < 1:
        return []
    # Learnt on some rows and tried on others, drawn so that no pattern in the order matters.
    learn = np.random.default_rng(_SEED).random(len(rows)) < 0.5
    numbers = None
    if task == "regression":
        try:
            numbers = rows[target].astype(float).to_numpy()
        except (TypeError, ValueError):
            return []
        rows, numbers = rows[np.isfinite(numbers)], numbers[np.isfinite(numbers)]
        if len(rows) < 20:
            return []
        learn = learn[: len(rows)]
    for name in rows.columns:
        if name == target:
            continue
        column = rows[name]
        how = None
        if numbers is None:
            how = _class_leak(column, codes, learn)
        else:
            how = _number_leak(column, numbers, learn)
        if how is not None:
            found.append(Leak(str(name), how))
    return found


def _class_leak(column: pd.Series, y: NDArray[Any], learn: NDArray[Any]) -> str | None:
    groups, numeric = _groups(column, learn)
    if groups.max() < 1:
        return None
    if _gained(groups, y, learn) >= 0.98:
        exact = not numeric and groups.max() == y.max() and _one_to_one(groups, y)
        if exact:
            return "is the target under another name: each of its values stands for one class"
        return "alone determines the class of nearly every row"
    absent = column.isna().to_numpy().astype(np.intp)
    if 0 < absent.mean() < 1 and _gained(absent, y, learn) >= 0.98:
        return "determines the class by whether it is missing"
    return None


def _number_leak(column: pd.Series, y: NDArray[Any], learn: NDArray[Any]) -> str | None:
    import pandas as pd
    import pandas.api.types as is_

    if is_.is_numeric_dtype(column.dtype) and not is_.is_bool_dtype(column.dtype):
        x = column.astype(float).to_numpy()
        there = np.isfinite(x) & np.isfinite(y)
        if there.sum() >= max(20, 0.5 * len(y)) and np.ptp(x[there]) > 0 and np.ptp(y[there]) > 0:
            if np.array_equal(x[there], y[there]):
                return "is the target under another name"
            ranks = [pd.Series(each[there]).rank().to_numpy() for each in (x, y)]
            correlation = abs(float(np.corrcoef(*ranks)[0, 1]))
            if correlation >= 0.999:
                return f"rises and falls with the target (rank correlation {correlation:.4f})"
    groups, numeric = _groups(column, learn)
    if numeric or groups.max() < 1 or groups.max() + 1 > len(y) / 5:
        return None
    sizes = np.bincount(groups[learn], minlength=groups.max() + 1)
    sums = np.bincount(groups[learn], y[learn], minlength=len(sizes))
    guess = np.where(sizes > 0, sums / np.maximum(sizes, 1), y[learn].mean())
    rest = y[~learn]
    left = float(np.square(rest - guess[groups[~learn]]).mean())
    if rest.var() > 0 and left <= 0.01 * rest.var():
        return "alone determines the target to within a tenth of its spread"
    return None


def _groups(column: pd.Series, learn: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """(the group of each row, whether they are numbers put beside the nearest learnt from)."""
    import pandas as pd
    import pandas.api.types as is_

    codes, values = pd.factorize(column, use_na_sentinel=False)
    codes = codes.astype(np.intp)
    numeric = is_.is_numeric_dtype(column.dtype) or is_.is_datetime64_any_dtype(column.dtype)
    if len(values) <= _FEW_VALUES or not numeric:
        return codes, False
    if is_.is_numeric_dtype(column.dtype):
        numbers = column.to_numpy(float, na_value=np.nan)
    else:
        numbers = (column - column.min()).dt.total_seconds().to_numpy()
    there = np.isfinite(numbers)
    known = np.unique(numbers[learn & there])
    if len(known) < 2:
        return codes, False
    middles = known[:-1] + np.diff(known) / 2
    nearest = np.searchsorted(middles, np.where(there, numbers, 0)) + 1
    return np.where(there, nearest, 0).astype(np.intp), True


def _gained(groups: NDArray[Any], y: NDArray[Any], learn: NDArray[Any]) -> float:
    """Which share of the errors of guessing the commonest class is gone with these groups."""
    n_groups, n_classes = int(groups.max()) + 1, int(y.max()) + 1
    keys = groups[learn] * n_classes + y[learn]
    pairs, counts = np.unique(keys, return_counts=True)
    common = int(np.bincount(y[learn]).argmax())
    guess = np.full(n_groups, common)
    order = np.argsort(counts, kind="stable")  # the commonest of a group comes last and stays
    guess[pairs[order] // n_classes] = pairs[order] % n_classes
    rest = y[~learn]
    base = float((rest != common).mean())
    if base == 0:
        return 0.0
    return 1 - float((rest != guess[groups[~learn]]).mean()) / base


def _one_to_one(groups: NDArray[Any], y: NDArray[Any]) -> bool:
    pairs = np.unique(np.stack([groups, y]), axis=1)
    return bool(pairs.shape[1] == groups.max() + 1)
