"""Faults of the rows: scales, constants, labels that contradict each other, rows that recur."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.explain.drawing import Picture
from chainrule.explain.evidence import Evidence
from chainrule.explain.faults_of_networks import FEWEST_ROWS
from chainrule.explain.findings import Finding, listed, percent, times
from chainrule.explain.trials import standardized

LARGE = 20.0  # root mean square of an input
UNEVEN = 1000.0  # largest deviation over smallest
NEIGHBOURS = 10
AGREE = 9  # of the neighbours
NOISY = 0.05  # part of the rows whose label nearly all neighbours deny
CONTRADICT = 0.01  # part of the rows
WIDE = 32  # inputs, as of pictures
AGAIN = 0.05  # part of the rows held out that were learned from
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
    zero = constant & (values == 0)
    ordinary = float((others == 0).mean()) > 0.2 if others.size else False
    if ordinary or (len(zero) >= WIDE and zero.mean() < 0.2):
        constant &= values != 0
    which = np.flatnonzero(constant)
    if not len(which):
        return
    names = [seen.names[j] if j < len(seen.names) else str(j) for j in which]
    s = "s" * (len(which) > 1)
    yield Finding(
        "constant-inputs",
        f"Input{s} {listed(names)} hold{'' if s else 's'} one value in all {seen.n:,} rows: "
        "nothing can be learned from that.",
        {
            "columns": which.tolist(),
            "names": names,
            "values": [float(values[j]) for j in which],
        },
        f"Leave {'them' if s else 'it'} out, and see why {'they do' if s else 'it does'} not vary.",
        _leave_out_code(seen.given, which),
        0.3,
        Picture(
            "bars",
            "Deviation of the inputs",
            "input",
            "standard deviation",
            [name[:20] for name in names[:8]] + ["others (median)"],
            [0.0] * min(8, len(names)) + [float(np.median(A[:, ~constant].std(axis=0)))],
        ),
    )


def _leave_out_code(given: Any, which: NDArray[np.int64]) -> str:
    return f"X = np.delete(X, {which.tolist()[:20]}, axis=1)"


def _groups(A: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return a number for each row; equal rows have the same."""
    _, group = np.unique(np.ascontiguousarray(A), axis=0, return_inverse=True)
    found: NDArray[np.int64] = group.reshape(-1)
    return found


def contradicting_labels(seen: Evidence) -> Iterator[Finding]:
    """Equal rows with different labels, or with numbers that are far apart."""
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
    rows = torn[group]
    share = float(rows.mean())
    if share < CONTRADICT or torn.sum() < 2 or far == 0:
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
        "pd.DataFrame(X).assign(y=y).groupby(list(range(X.shape[1])))['y'].nunique() > 1",
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


def label_noise(seen: Evidence) -> Iterator[Finding]:
    """Rows whose label nearly all of their neighbours deny."""
    task = seen.task
    if task.labels is None or len(task.labels) < 50:
        return
    rows = np.random.default_rng(0).permutation(len(task.labels))[:MOST]
    A, labels = standardized(task.inputs, task.inputs)[rows], task.labels[rows]
    nearest = _neighbours(A, min(NEIGHBOURS, len(A) - 1))
    votes = labels[nearest]
    most, count = _majority(votes, task.n_classes)
    denied = (most != labels) & (count >= AGREE)
    share = float(denied.mean())
    if share < NOISY:
        return
    yield Finding(
        "label-noise",
        f"{percent(share)} of the rows have a label that at least {AGREE} of their {NEIGHBOURS} "
        "nearest neighbours deny, all of one other class.",
        {"share": share, "rows": np.sort(rows[denied])[:50].tolist()},
        "Look at these rows: labels may be wrong, or columns shuffled against each other.",
        "model.set_params(label_smoothing=0.1).fit(X, y)"
        if seen.estimator is not None
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


def duplicate_rows(seen: Evidence) -> Iterator[Finding]:
    """Rows held out that were learned from; or rows that recur among those learned from."""
    if seen.validation is not None:
        learned, held = seen.given, seen.validation_given
        if learned is None or held is None:
            learned, held = seen.task.inputs, seen.validation.inputs
        known = {row.tobytes() for row in np.ascontiguousarray(learned) + 0.0}
        again = [row.tobytes() in known for row in np.ascontiguousarray(held) + 0.0]
        count, share = int(sum(again)), float(np.mean(again))
        if share >= AGAIN and count >= 3:
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
        return
    A = seen.task.inputs
    if len(A) < 20:
        return
    distinct = [len(np.unique(column)) for column in A.T]
    if sum(d > 20 for d in distinct) < 2:
        return  # rows of a few values recur by themselves
    group = _groups(A)
    share = 1 - (int(group.max()) + 1) / len(A)
    if share < AGAIN:
        return
    yield Finding(
        "duplicate-rows",
        f"{percent(share)} of the rows are copies of others: rows held out of them at random are "
        "known already, and what is measured on them is too good.",
        {"rows": round(share * len(A)), "share": share, "where": "learned from"},
        "Take copies out before you split, or give the row a weight instead.",
        "X, index = np.unique(X, axis=0, return_index=True); y = y[index]",
        min(0.8, 0.5 + 0.3 * share),
        _duplicate_picture(share, "learned from"),
    )


def _duplicate_picture(share: float, where: str) -> Picture:
    return Picture(
        "bars", f"Rows {where}", "", "part", ["seen before", "new"], [share, 1 - share], AGAIN
    )


FAULTS = (unscaled_inputs, constant_inputs, contradicting_labels, label_noise, duplicate_rows)
