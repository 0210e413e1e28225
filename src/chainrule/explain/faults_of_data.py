"""Faults of the rows: scales, constants, labels that contradict each other, rows that recur."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.explain.drawing import Picture
from chainrule.explain.evidence import Evidence, Rows
from chainrule.explain.faults_of_networks import FEWEST_ROWS
from chainrule.explain.findings import Finding, listed, percent, times
from chainrule.explain.trials import Task, standardized

LARGE = 20.0  # root mean square of an input
UNEVEN = 1000.0  # largest deviation over smallest
NEIGHBOURS = 10
AGREE = 9  # of the neighbours
NOISY = 0.05  # part of the rows whose label nearly all neighbours deny
CONTRADICT = 0.01  # part of the rows
WIDE = 32  # inputs, as of pictures
AGAIN = 0.05  # part of the rows held out that were learned from
CHANCE = 0.01  # expected rows with the same values, below which they are no chance
OTHER = 0.015  # part of the rows whose label is denied for another one than the commonest
MOST = 2000  # rows whose neighbours are looked for


def _standardise_code(seen: Evidence) -> str:
    if seen.estimator is not None and hasattr(seen.estimator, "standardize"):
        return "model.set_params(standardize=True).fit(X, y)"
    if seen.estimator is not None:
        return "make_pipeline(StandardScaler(), model).fit(X, y)"
    return "X = (X - X.mean(axis=0)) / X.std(axis=0)"


def unscaled_inputs(seen: Evidence) -> Iterator[Finding]:
    """Inputs of the first weights that are far from 0, or of very different scales."""
    A = seen.batch.a[seen.first - 1].astype(np.float64)
    with np.errstate(all="ignore"):
        size = np.sqrt(np.mean(A**2, axis=0))
        deviation = A.std(axis=0)
    varied = deviation > 0
    if not varied.any() or not np.isfinite(size).all():
        return
    common = np.array([_most_common(column) for column in A.T])
    ordinary = deviation[varied & (common < 0.9)]
    uneven = float(ordinary.max() / ordinary.min()) if len(ordinary) else 1.0
    largest = int(size.argmax())
    if not (size[largest] > LARGE or uneven > UNEVEN):
        return
    seen.memory["unscaled"] = True
    names = seen.names if len(seen.names) == A.shape[1] else [str(j) for j in range(A.shape[1])]
    order = np.argsort(-size, kind="stable")[:8]
    if size[largest] > LARGE:
        said = (
            f"Input {names[largest]} is of the size {size[largest]:.3g} (root mean square), and "
            f"the median of all inputs is {np.median(size):.3g}"
        )
    else:
        said = f"The deviations of the inputs differ by a factor of {times(uneven)}"
    yield Finding(
        "unscaled-inputs",
        f"{said}: weights and steps that suit one input do not suit the others.",
        {
            "largest": names[largest],
            "size": float(size[largest]),
            "median_size": float(np.median(size)),
            "ratio_of_deviations": uneven,
        },
        "Standardise the inputs: mean 0, deviation 1, by the rows that are learned from.",
        _standardise_code(seen),
        0.72,
        Picture(
            "bars",
            "Size of the inputs",
            "input",
            "root mean square",
            [names[j][:20] for j in order],
            size[order].tolist(),
            LARGE,
            True,
        ),
    )


def _most_common(column: NDArray[np.float64]) -> float:
    """Return the part of the rows that hold the most common value."""
    _, counts = np.unique(column, return_counts=True)
    return float(counts.max() / len(column))


def constant_inputs(seen: Evidence) -> Iterator[Finding]:
    """Columns that hold one value, of which nothing can be learned.

    Columns of nothing but 0 are ordinary where zeros are, as at the edge of pictures; a few among
    many are left alone.
    """
    A = seen.X.astype(np.float64)
    if len(A) < FEWEST_ROWS:
        return
    constant = np.ptp(A, axis=0) == 0
    if not constant.any() or constant.all():
        return
    values = A[0].copy()
    given = seen.given
    if given is not None and given.shape[1] == A.shape[1]:
        values = given[0]
        constant &= np.ptp(given, axis=0) == 0
        others = given[:, ~constant]
    else:
        others = A[:, ~constant]
    zeros = float((others == 0).mean()) if others.size else 0.0
    which = worth_telling(constant, values == 0, zeros)
    if len(which):
        found = [float(values[j]) for j in which]
        typical = float(np.median(A[:, ~constant].std(axis=0)))
        change = f"X = np.delete(X, {which.tolist()[:20]}, axis=1)"
        yield constant_finding(seen, which, found, typical, change)


def worth_telling(
    constant: NDArray[np.bool_], zero: NDArray[np.bool_], zeros: float
) -> NDArray[np.int64]:
    """Return which constant columns to name.

    Parameters
    ----------
    constant, zero : (k,) bool arrays
        Columns of one value; columns that begin with 0.
    zeros : float
        Which part of the cells of the other columns is 0.
    """
    if zeros > 0.2 or (len(zero) >= WIDE and (constant & zero).mean() < 0.2):
        constant = constant & ~zero
    return np.flatnonzero(constant)


def constant_finding(
    seen: Rows, which: NDArray[np.int64], values: list[Any], typical: float, change: str
) -> Finding:
    """Return what is said of columns of one value.

    Parameters
    ----------
    seen : Rows
    which : int array
        The columns.
    values : list
        The value of each; None if it has none.
    typical : float
        Median of the other columns' standard deviations.
    change : str
        The code of the change.
    """
    names = [seen.names[j] if j < len(seen.names) else str(j) for j in which]
    s = "s" * (len(which) > 1)
    held = "no value" if all(value is None for value in values) else "one value"
    if len({value is None for value in values}) > 1:
        held = "one value or none"
    return Finding(
        "constant-inputs",
        f"Input{s} {listed(names)} hold{'' if s else 's'} {held} in all {seen.n:,} rows: "
        "nothing can be learned from that.",
        {"columns": which.tolist(), "names": names, "values": values},
        f"Leave {'them' if s else 'it'} out, and see why {'they do' if s else 'it does'} not vary.",
        change,
        0.3,
        Picture(
            "bars",
            "Deviation of the inputs",
            "input",
            "standard deviation",
            [name[:20] for name in names[:8]] + ["others (median)"],
            [0.0] * min(8, len(names)) + [typical],
        ),
    )


def _groups(A: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return a number for each row; equal rows have the same."""
    _, group = np.unique(np.ascontiguousarray(A), axis=0, return_inverse=True)
    found: NDArray[np.int64] = group.reshape(-1)
    return found


def against_chance(A: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the rows that would not recur by themselves.

    If the columns were independent, a row would have m Π_j p_j rows with its values among the m,
    with p_j the part of the rows that has its value in column j. Rows are returned for which this
    is less than 0.01: of columns of a few values many rows are equal, and that is no fault.
    """
    m = len(A)
    log_expected = np.full(m, np.log(m))
    for column in A.T:
        _, value, counts = np.unique(column, return_inverse=True, return_counts=True)
        log_expected += np.log(counts / m)[value.reshape(-1)]
    found: NDArray[np.bool_] = log_expected < np.log(CHANCE)
    return found


def contradicting_labels(seen: Rows) -> Iterator[Finding]:
    """Equal rows with different labels, or with numbers that are far apart."""
    yield from contradictions(seen, np.ones(len(seen.task.inputs), bool), CONTRADICT)


def contradictions(seen: Rows, counted: NDArray[np.bool_], least: float) -> Iterator[Finding]:
    """Rows that are equal to others and differ from them in the target.

    Parameters
    ----------
    seen : Rows
    counted : (m,) bool array
        Which rows of the task count.
    least : float
        Part of the rows from which on it is a fault.
    """
    task = seen.task
    if len(task.inputs) < 10:
        return
    group = _groups(task.inputs)
    if task.labels is not None:
        value = task.labels.astype(np.float64)
        far = 0.5
    elif task.targets.shape[1] == 1:
        value = task.targets[:, 0]
        far = 0.5 * float(value.std())
    else:
        return
    n_groups = int(group.max()) + 1
    low, high = np.full(n_groups, np.inf), np.full(n_groups, -np.inf)
    np.minimum.at(low, group, value)
    np.maximum.at(high, group, value)
    torn = (high - low) > far
    rows = torn[group] & counted
    share = float(rows.mean())
    if share < least or torn.sum() < 2 or far == 0:
        return
    first = int(np.flatnonzero(rows)[0])
    other = int(np.flatnonzero((group == group[first]) & (value != value[first]))[0])
    yield Finding(
        "contradicting-labels",
        f"{int(rows.sum()):,} rows ({percent(share)}) equal another row in every input and differ "
        f"from it in the target, such as rows {first} and {other}: no network can have both right.",
        {
            "rows": int(rows.sum()),
            "share": share,
            "groups": int(torn.sum()),
            "example": [first, other],
        },
        "See which label is right, or add the input by which such rows differ.",
        "pd.DataFrame(X).groupby(list(pd.DataFrame(X)), dropna=False).apply(lambda rows: "
        "len(np.unique(np.asarray(y)[rows.index])))",
        min(0.9, 0.6 + share),
        Picture(
            "bars",
            "Rows that contradict each other",
            "",
            "part of the rows",
            ["contradicting", "others"],
            [share, 1 - share],
        ),
    )


def label_noise(seen: Rows) -> Iterator[Finding]:
    """Rows whose label nearly all of their neighbours deny."""
    task = seen.task
    if task.labels is None:
        return
    rows = np.random.default_rng(0).permutation(len(task.labels))[:MOST]
    A = standardized(task.inputs, task.inputs)[rows]
    yield from denied_labels(seen, A, task.labels[rows], rows)


def denied_labels(
    seen: Rows, A: NDArray[np.float64], labels: NDArray[np.int64], rows: NDArray[np.int64]
) -> Iterator[Finding]:
    """Labels that nearly all of the nearest rows deny.

    Where a class is the commonest by far, it surrounds rows of the others, whose labels are right
    nevertheless. So some labels must be denied in favour of another class, too.

    Parameters
    ----------
    seen : Rows
    A : (m, k) array
        Some rows, in which distances have a meaning.
    labels : (m,) int array
        Their classes.
    rows : (m,) int array
        Which rows these are.
    """
    if len(labels) < 50:
        return
    votes = labels[_neighbours(A, min(NEIGHBOURS, len(A) - 1))]
    most, count = _majority(votes, seen.task.n_classes)
    denied = (most != labels) & (count >= AGREE)
    share = float(denied.mean())
    other = float((denied & (most != np.bincount(labels).argmax())).mean())
    if share < NOISY or other < OTHER:
        return
    yield Finding(
        "label-noise",
        f"{percent(share)} of the rows have a label that at least {AGREE} of their {NEIGHBOURS} "
        "nearest neighbours deny, all of one other class.",
        {"share": share, "rows": np.sort(rows[denied])[:50].tolist()},
        "Look at these rows: labels may be wrong, or columns shuffled against each other.",
        "model.set_params(label_smoothing=0.1).fit(X, y)"
        if hasattr(seen.estimator, "label_smoothing")
        else "X, y = X[keep], y[keep]",
        min(0.85, 0.5 + 2 * share),
        Picture(
            "bars",
            "Labels that the neighbours deny",
            "",
            "part of the rows",
            ["denied", "others"],
            [share, 1 - share],
            NOISY,
        ),
    )


def _neighbours(A: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Return the k nearest other rows of each."""
    squares = (A**2).sum(axis=1)
    found = np.empty((len(A), k), np.int64)
    for start in range(0, len(A), 256):
        block = A[start : start + 256]
        distance = squares - 2 * block @ A.T
        distance[np.arange(len(block)), np.arange(start, start + len(block))] = np.inf
        found[start : start + 256] = np.argpartition(distance, k - 1, axis=1)[:, :k]
    return found


def _majority(votes: NDArray[np.int64], n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (most frequent class, how often) in each row."""
    counts = np.stack([(votes == j).sum(axis=1) for j in range(n)], axis=1)
    most: NDArray[np.int64] = counts.argmax(axis=1)
    return most, counts.max(axis=1)


def duplicate_rows(seen: Rows) -> Iterator[Finding]:
    """Rows held out that were learned from; or rows that recur among those learned from."""
    if seen.validation is not None:
        yield from _known_already(seen, seen.validation)
        return
    A = seen.task.inputs
    if len(A) < 20:
        return
    first = np.unique(_groups(A), return_index=True)[1]
    copies = against_chance(A)
    copies[first] = False
    share = float(copies.mean())
    if share < AGAIN:
        return
    in_folds = hasattr(seen.estimator, "oof_importances")
    yield Finding(
        "duplicate-rows",
        f"{percent(share)} of the rows are copies of others: rows held out of them at random are "
        "known already, and what is measured on them is too good.",
        {"rows": int(copies.sum()), "share": share, "where": "learned from"},
        "Take copies out before you split, or keep them together: make each a group."
        if in_folds
        else "Take copies out before you split, or give the row a weight instead.",
        "X = pd.DataFrame(X); groups = X.groupby(list(X), dropna=False).ngroup()\n"
        "model.fit(X, y, groups=groups)"
        if in_folds
        else "X, index = np.unique(X, axis=0, return_index=True); y = y[index]",
        min(0.8, 0.5 + 0.3 * share),
        _duplicate_picture(share, "learned from"),
    )


def _known_already(seen: Rows, validation: Task) -> Iterator[Finding]:
    """Rows held out that were learned from."""
    learned, held = seen.given, seen.validation_given
    if learned is None or held is None:
        learned, held = seen.task.inputs, validation.inputs
    known = {row.tobytes() for row in np.ascontiguousarray(learned) + 0.0}
    again = np.array([row.tobytes() in known for row in np.ascontiguousarray(held) + 0.0])
    again &= against_chance(np.concatenate([learned, held]))[len(learned) :]
    count, share = int(again.sum()), float(again.mean())
    if share < AGAIN or count < 3:
        return
    yield Finding(
        "duplicate-rows",
        f"{count:,} of the {len(again):,} rows held out ({percent(share)}) are among the "
        "rows learned from: what is measured on them is too good.",
        {"rows": count, "share": share, "where": "held out"},
        "Take rows apart that are equal or belong together before you split.",
        "GroupShuffleSplit(test_size=0.2).split(X, y, groups)",
        min(0.9, 0.65 + 0.25 * share),
        _duplicate_picture(share, "held out"),
    )


def _duplicate_picture(share: float, where: str) -> Picture:
    return Picture(
        "bars", f"Rows {where}", "", "part", ["seen before", "new"], [share, 1 - share], AGAIN
    )


FAULTS = (unscaled_inputs, constant_inputs, contradicting_labels, label_noise, duplicate_rows)
