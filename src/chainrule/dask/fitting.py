"""The preprocessing of a table that is nowhere as a whole, fitted to a survey of it.

Kinds, spellings, levels, the smallest and the largest number, and whether values are missing are
exact. What is found from all values together (quartiles and means of numbers, words of texts) is
found from the survey's sample of rows. So the steps are fitted to that sample, in which the exact
facts are made true first. Where the sample is all rows, they are those of one process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.estimators.cleaning import LARGEST, check_infinite
from chainrule.tables.summaries import ColumnSummary

if TYPE_CHECKING:
    import pandas as pd


def fit_steps(
    steps: Any, kinds: Mapping[str, str], columns: Mapping[str, ColumnSummary], sample: Any
) -> Any:
    """Fit the steps "clean" and "encode" of a `tabular_pipeline`.

    Parameters
    ----------
    steps : Pipeline
    kinds : dict of str to str
        Of the columns.
    columns : dict of str to ColumnSummary
    sample : pandas.DataFrame
        Of the rows that are learned from.

    Returns
    -------
    Pipeline
        The steps.

    Raises
    ------
    CellError, ValueError
        A cell is not of its column's kind, or a column has no scale.
    """
    cleaner, encoder = steps.named_steps["clean"], steps.named_steps["encode"]
    cleaner.learn(kinds, columns)
    cleaned = cleaner.transform(sample)
    check_infinite(cleaned)
    encoder.fit(_standing_in(cleaned, columns, cleaner.levels_))
    return steps


def _standing_in(
    cleaned: pd.DataFrame, columns: Mapping[str, ColumnSummary], levels: Mapping[str, list[str]]
) -> pd.DataFrame:
    """A cleaned sample in which each column, by itself, is as that of all rows.

    Its rows are none of the table's any more.
    """
    import pandas as pd

    n = max([len(cleaned), *map(len, levels.values())])
    if n > len(cleaned):
        cleaned = cleaned.iloc[np.arange(n) % len(cleaned)]
    cleaned = cleaned.reset_index(drop=True)
    found: dict[str, Any] = {}
    for name in cleaned:
        cells, known = cleaned[name], columns[str(name)]
        if name in levels:
            cells = _with_levels(cells, levels[str(name)])
        elif cells.dtype.kind in "fM":
            cells = cells.copy()
            if cells.dtype.kind == "f":
                _put_ends(cells, known)
            if known.missing_learnt and not cells.isna().any():
                cells.iloc[len(cells) // 2] = np.nan if cells.dtype.kind == "f" else pd.NaT
        found[str(name)] = cells
    return pd.DataFrame(found)


def _with_levels(cells: pd.Series, levels: list[str]) -> pd.Series:
    """The cells, or cells of all levels if some are not among them."""
    import pandas as pd

    if set(cells) == set(levels):
        return cells
    return pd.Series(pd.Categorical(np.resize(np.array(levels, object), len(cells))))


def _put_ends(cells: pd.Series, known: ColumnSummary) -> None:
    """Put the smallest and the largest number where the sample's are."""
    if not -LARGEST <= known.low <= known.high <= LARGEST:  # none, or not known
        return
    numbers = cells.to_numpy()
    there = np.isfinite(numbers)
    low, high = 0, len(cells) - 1
    if there.any():
        finite = np.where(there, numbers, np.nan)
        low, high = int(np.nanargmin(finite)), int(np.nanargmax(finite))
        if low == high:  # all are equal
            high = int(np.flatnonzero(there)[-1])
    cells.iloc[low], cells.iloc[high] = known.low, known.high
