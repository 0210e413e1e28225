"""What is wrong with a table, before a network is trained on it: in plain words, with advice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.tables.columns import (
    Column,
    kinds_of,
    present,
    remarks,
    shown,
    task_of,
)
from chainrule.tables.leaks import leaks
from chainrule.tables.types import TableError, suggestion

if TYPE_CHECKING:
    import pandas as pd

SEVERITIES = ("serious", "warning", "note")
_MANY_LEVELS = 50


class Finding(NamedTuple):
    """Something that a person should know about a table.

    Attributes
    ----------
    severity : one of SEVERITIES
        "serious": what is learnt would be wrong or nothing; "warning": it is likely to be worse;
        "note": it is handled, or should be kept in mind.
    column : str or None
        None: the table as a whole.
    what, advice : str
    """

    severity: str
    column: str | None
    what: str
    advice: str


def findings(
    frame: pd.DataFrame,
    target: str,
    task: str | None = None,
    columns: list[Column] | None = None,
    marks: Mapping[str, Counter[str]] | None = None,
) -> list[Finding]:
    """Look a table over.

    Parameters
    ----------
    frame : pandas.DataFrame
    target : str
        The column to be predicted.
    task : "classification", "regression" or None, default None
        None: see :func:`chainrule.tables.columns.task_of`.
    columns : list of Column or None, default None
        What :func:`chainrule.tables.columns.kinds_of` gives; None: it is called.
    marks : dict of str to collections.Counter, optional
        By column, the texts that were taken for missing when the table was read.

    Returns
    -------
    list of Finding
        The serious ones first.

    Raises
    ------
    TableError
        There is no such column.
    """
    names = [str(name) for name in frame.columns]
    if target not in names:
        raise TableError(f"there is no column {target!r}{suggestion(target, names)}")
    task = task or task_of(frame[target])
    frame = frame.infer_objects()
    columns = kinds_of(frame, target) if columns is None else columns
    found = list(_target(frame[target], target, task))
    if present(frame[target]).nunique() > 1:
        found += [
            Finding(
                "serious",
                leak.column,
                f"it {leak.how}",
                "a leak? If it is made from the target, or known only after it, take it out",
            )
            for leak in leaks(frame, target, task)
        ]
    found += _size(frame, target, columns)
    found += _rows(frame, target)
    for column in columns:
        found += _column(frame[column.name], column, len(frame))
    found += [
        Finding("warning", *each)
        for each in remarks(frame, columns, {} if marks is None else marks)
    ]
    found += _scales(frame, target, task, columns)
    return sorted(found, key=lambda each: SEVERITIES.index(each.severity))


def _target(cells: pd.Series, name: str, task: str) -> Iterator[Finding]:
    there = present(cells)
    gone = len(cells) - len(there)
    if not len(there):
        yield Finding(
            "serious", name, "the target is missing in every row", "nothing can be learnt"
        )
        return
    if gone:
        yield Finding(
            "warning",
            name,
            f"the target is missing in {_rows_of(gone, len(cells))}",
            "such rows are left out of training; find out why they lack it",
        )
    counts = there.astype(str).value_counts() if there.dtype == object else there.value_counts()
    if len(counts) == 1:
        yield Finding(
            "serious",
            name,
            f"the target is {shown(counts.index[0])} in every row",
            "there is nothing to distinguish; get rows with other values",
        )
    elif task == "classification":
        yield from _classes(counts, name)
    else:
        yield from _numbers_target(there, name)


def _classes(counts: pd.Series, name: str) -> Iterator[Finding]:
    counts = counts[counts > 0]
    total = int(counts.sum())
    single = [shown(value) for value in counts.index[counts == 1]]
    if len(counts) > max(20, total / 5) or counts.iloc[0] == 1:
        yield Finding(
            "serious",
            name,
            f"the target has {len(counts):,} classes in {total:,} rows",
            "if it is a number, choose the task regression; if it is a text, group its values",
        )
        return
    if single:
        yield Finding(
            "serious",
            name,
            f"{_listed(single, 'class', 'classes')} with a single row",
            "such a class can be learnt or tested, not both; get more rows, or merge or leave it "
            "out",
        )
    few = [shown(value) for value, n in counts.items() if 1 < n < 10]
    if few:
        yield Finding(
            "warning",
            name,
            f"{_listed(few, 'class', 'classes')} with fewer than 10 rows",
            "what is said about it will be uncertain; get more rows",
        )
    several = counts[counts > 1]
    least, most = int(several.min()), int(several.max())
    if most >= 10 * least:
        yield Finding(
            "warning",
            name,
            f"the classes are out of balance: {shown(several.index[-1])} has {least:,} rows "
            f"({_percent(least, total)}), {shown(counts.index[0])} has {most:,}",
            "always guessing the commonest would look good; judge by balanced accuracy, and try "
            'class_weight="balanced"',
        )
    folded: dict[str, list[str]] = {}
    for value in counts.index:
        folded.setdefault(str(value).strip().casefold(), []).append(repr(str(value)))
    for alike in folded.values():
        if len(alike) > 1:
            yield Finding(
                "warning",
                name,
                f"classes that differ in blanks or capitals only: {', '.join(alike)}",
                "write them alike",
            )


def _numbers_target(there: pd.Series, name: str) -> Iterator[Finding]:
    try:
        numbers = there.astype(float).to_numpy()
    except (TypeError, ValueError):
        yield Finding(
            "serious",
            name,
            "the target is to be a number but holds text",
            "choose the task classification, or mend the cells that are no numbers",
        )
        return
    infinite = int(np.isinf(numbers).sum())
    if infinite:
        yield Finding(
            "serious",
            name,
            f"the target is infinite in {_rows_of(infinite, len(there))}",
            "mend or leave them out",
        )
        return
    middle, high = np.quantile(numbers, [0.5, 0.99])
    if numbers.min() >= 0 and middle > 0 and high > 30 * middle:
        yield Finding(
            "note",
            name,
            f"the target spreads widely: its middle is {middle:.4g}, 1 row in 100 is above "
            f"{high:.4g}",
            "learning its logarithm may do better",
        )


def _size(frame: pd.DataFrame, target: str, columns: list[Column]) -> Iterator[Finding]:
    n = int(frame[target].notna().sum())
    used = [each for each in columns if each.kind not in ("constant", "identifier")]
    if not used:
        yield Finding("serious", None, "no column is related to the target", "add columns that may")
    if n < 30:
        yield Finding(
            "serious",
            None,
            f"only {n:,} row{'s have' if n != 1 else ' has'} a target",
            "a few hundred are the least to aim at",
        )
    elif n < 200:
        yield Finding(
            "warning",
            None,
            f"only {n:,} row{'s have' if n != 1 else ' has'} a target",
            "use cross-validation, and compare with a linear model; a small network is enough",
        )
    if used and n < 5 * len(used):
        yield Finding(
            "warning",
            None,
            f"{n:,} rows for {len(used):,} columns are few",
            "leave out columns, raise alpha, and compare with a linear model",
        )
    dates = [each.name for each in used if each.kind == "date"]
    if dates:
        yield Finding(
            "note",
            dates[0],
            "the rows have dates",
            "if the model will predict later rows than it was trained on, test it on the latest",
        )


def _rows(frame: pd.DataFrame, target: str) -> Iterator[Finding]:
    import pandas as pd

    try:
        codes = pd.util.hash_pandas_object(frame, index=False)
        features = pd.util.hash_pandas_object(frame.drop(columns=target), index=False)
    except TypeError:
        return
    if frame.shape[1] < 2:
        return
    copies = codes.duplicated()
    if copies.any():
        first = int(np.flatnonzero(copies)[0])
        yield Finding(
            "warning",
            None,
            f"{_rows_of(int(copies.sum()), len(frame))} are copies of others (the first is row "
            f"{first + 1:,})",
            "a copy in the test set is known from training; leave copies out unless they are "
            "separate cases",
        )
    distinct = features[~copies.to_numpy()]
    contrary = int(distinct.duplicated(keep=False).sum())
    if contrary:
        yield Finding(
            "warning",
            None,
            f"{_rows_of(contrary, len(frame))} agree in every column but have another target",
            "no model can distinguish them; is a column missing, or a target wrong?",
        )
    seen: dict[Any, str] = {}
    for name in frame.columns:
        if name != target:
            key = int(pd.util.hash_pandas_object(frame[name], index=False).sum())
            if key in seen and frame[name].equals(frame[seen[key]]) and frame[name].nunique() > 1:
                yield Finding(
                    "note", str(name), f"it equals the column {seen[key]!r}", "leave one out"
                )
            seen.setdefault(key, name)


def _column(cells: pd.Series, column: Column, n: int) -> Iterator[Finding]:
    name = column.name
    if column.kind == "constant":
        yield Finding(
            "note", name, f"it is {column.note}: it holds no information", "it is left out"
        )
        return
    if column.kind == "identifier":
        yield Finding(
            "note", name, f"it only names rows ({column.note})", "it is left out of training"
        )
        return
    if column.missing > 0.5 * n:
        yield Finding(
            "warning",
            name,
            f"it is missing in {_percent(column.missing, n)} of the rows",
            "find out why, or leave it out",
        )
    there = present(cells)
    counts = there.value_counts()
    if counts.iloc[0] >= 0.99 * n and n >= 100:
        yield Finding(
            "note",
            name,
            f"it is {shown(counts.index[0])} in {_percent(int(counts.iloc[0]), n)} of the rows",
            "it holds little information; it can be left out",
        )
    if column.kind == "numeric" and not column.note:
        yield from _numbers(there, name)
    elif column.kind == "categorical" and str(cells.dtype) not in ("bool", "boolean"):
        yield from _texts(there, column, counts, n)
    elif column.note == "written as text":
        what = "dates" if column.kind == "date" else "numbers"
        yield Finding("note", name, f"its {what} are written as text", f"they are read as {what}")


def _numbers(there: pd.Series, name: str) -> Iterator[Finding]:
    numbers = there.astype(float).to_numpy()
    infinite = np.isinf(numbers)
    if infinite.any():
        yield Finding(
            "serious",
            name,
            f"it is infinite in {_rows_of(int(infinite.sum()), len(there))} (the first is row "
            f"{_row_of(there, infinite)})",
            "a division by zero? Empty the cells, or put in a number",
        )
        numbers = numbers[~infinite]
    if len(numbers) < 30:
        return
    low, high = np.quantile(numbers, [0.25, 0.75])
    spread = high - low
    if spread == 0:
        return
    far = (numbers < low - 10 * spread) | (numbers > high + 10 * spread)
    if not far.any():
        return
    values, times = np.unique(numbers[far], return_counts=True)
    most = int(times.argmax())
    if times[most] >= 3 and times[most] > 0.5 * far.sum():
        yield Finding(
            "warning",
            name,
            f"{values[most]:g} stands far from all other values and comes {times[most]:,} times",
            "does it mean that the value is missing? Then empty these cells",
        )
        return
    if far.mean() > 0.01:
        return  # a long tail
    there = there[~infinite]
    furthest = numbers[far][np.abs(numbers[far] - (low + high) / 2).argmax()]
    yield Finding(
        "note",
        name,
        f"{int(far.sum()):,} values are far from all others, such as {furthest:g} in row "
        f"{_row_of(there, numbers == furthest)}",
        "mend it if it is a mistake; keep it if it is true",
    )


def _texts(there: pd.Series, column: Column, counts: pd.Series, n: int) -> Iterator[Finding]:
    name = column.name
    if column.distinct > _MANY_LEVELS:
        yield Finding(
            "note" if column.distinct <= 0.5 * n else "warning",
            name,
            f"it has {column.distinct:,} different values, {int((counts == 1).sum()):,} of them "
            "only once",
            "values that are rare are learnt badly; group them, or leave the column out",
        )
    folded = counts.index.astype(str).str.strip().str.casefold()
    alike = folded[folded.duplicated()]
    if len(alike):
        same = [repr(str(v)) for v, f in zip(counts.index, folded, strict=True) if f == alike[0]]
        yield Finding(
            "warning",
            name,
            f"values differ in blanks or capitals only: {', '.join(same[:4])}",
            "write them alike",
        )


def _scales(
    frame: pd.DataFrame, target: str, task: str, columns: list[Column]
) -> Iterator[Finding]:
    spreads = {}
    for column in columns:
        if column.kind == "numeric" and not column.note:
            numbers = frame[column.name].astype(float).replace([np.inf, -np.inf], np.nan)
            spread = float(numbers.std())
            if spread > 0:
                spreads[column.name] = spread
    if spreads:
        least, most = min(spreads, key=spreads.__getitem__), max(spreads, key=spreads.__getitem__)
        if spreads[most] >= 100 * spreads[least]:
            yield Finding(
                "note",
                None,
                f"the columns are of very different scale: {least!r} varies by "
                f"{spreads[least]:.2g}, {most!r} by {spreads[most]:.2g}",
                "chainrule standardises them; scikit-learn's MLP needs a StandardScaler before it",
            )
    if task == "regression":
        try:
            numbers = present(frame[target]).astype(float).replace([np.inf, -np.inf], np.nan)
        except (TypeError, ValueError):
            return
        spread = float(numbers.std())
        if spread > 100 or 0 < spread < 0.01:
            yield Finding(
                "note",
                target,
                f"the target varies by {spread:.2g}",
                "chainrule standardises it; scikit-learn's MLPRegressor does not",
            )


def _row_of(there: pd.Series, mask: Any) -> str:
    """The row of the first cell of a mask, counted from 1."""
    label = there.index[int(np.flatnonzero(mask)[0])]
    return f"{label + 1:,}" if isinstance(label, int | np.integer) else str(label)


def _rows_of(n: int, total: int) -> str:
    return f"{n:,} row{'s' * (n != 1)} of {total:,}"


def _percent(n: int, total: int) -> str:
    share = 100 * n / total
    return (
        f"{share:.0f} %"
        if 1 <= share <= 99
        else f"{share:.2g} %"
        if share < 1
        else f"{share:.4g} %"
    )


def _listed(values: list[str], one: str, many: str) -> str:
    if len(values) == 1:
        return f"there is a {one}, {values[0]},"
    more = f" and {len(values) - 5:,} more" if len(values) > 5 else ""
    return f"there are {len(values):,} {many} ({', '.join(values[:5])}{more}),"
