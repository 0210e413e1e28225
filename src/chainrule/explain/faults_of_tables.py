"""Faults that show in a fitted TabularClassifier or TabularRegressor.

Its parameters are few, so many faults of a single network have no meaning here: inputs are scaled
by the model itself, and starting values, learning rates and widths are nobody's choice.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chainrule.ensembles.blending import EnsemblePart, without_bins
from chainrule.ensembles.inputs import unit_columns
from chainrule.estimators.tabular_ensemble import settings_of
from chainrule.explain.drawing import Picture
from chainrule.explain.evidence_of_tables import TableEvidence
from chainrule.explain.faults_of_data import (
    against_chance,
    constant_finding,
    contradictions,
    denied_labels,
    duplicate_rows,
    worth_telling,
)
from chainrule.explain.faults_of_networks import FEW, FEWEST_ROWS, LOST, dead_units
from chainrule.explain.findings import Finding, listed
from chainrule.explain.members import member_network, part_columns

CONTRADICT = 0.03  # part of the rows
GAP = 0.2  # between accuracies on a model's own rows and out of fold
GAP_OF_R2 = 0.3
NOTHING = 0.99  # of the loss of a constant, above which nothing was learned
BY_HEART = 0.8  # of that loss, below which a model knows its own rows
FALLING = 0.01  # of its loss, by which a network still improves in its last epoch
DEAD = 0.9  # part of a layer's units; of tables with few different rows up to 0.75 are off
NETWORKS = 2  # that are looked into
FOLDS = 8  # the number of epochs that is planned does not depend on them


def lost_class(seen: TableEvidence) -> Iterator[Finding]:
    """Classes for which hardly any of their rows are taken, out of fold."""
    classes, counts = np.unique(seen.labels, return_counts=True)
    if len(classes) < 2:
        return
    recalls = [float((seen.predicted[seen.labels == j] == j).mean()) for j in classes]
    lost = [k for k, recall in enumerate(recalls) if recall <= LOST and counts[k] >= FEW]
    if not lost:
        return
    which, rows = [seen.class_names[classes[k]] for k in lost], int(counts[lost].sum())
    yield Finding(
        "lost-class",
        f"Class{'es' * (len(lost) > 1)} {listed(which)}: of {rows:,} rows hardly any is read "
        "right, out of fold.",
        {
            "classes": classes[lost].tolist(),
            "names": which,
            "rows": rows,
            "recall": {seen.class_names[j]: r for j, r in zip(classes, recalls, strict=True)},
        },
        "Give the class more weight, or decide for it by what a mistake costs; see whether its "
        "rows differ from the others at all.",
        "model.set_params(class_weight='balanced').fit(X, y)",
        0.7 if 2 * len(lost) < len(classes) else 0.4,
        Picture(
            "bars",
            "Rows of each class that are read right",
            "class",
            "part",
            [seen.class_names[j] for j in classes],
            recalls,
            LOST,
        ),
    )


def dead_networks(seen: TableEvidence) -> Iterator[Finding]:
    """Units that are off on every row, in the first networks of an ensemble."""
    if seen.inputs is None or seen.inputs.n < FEWEST_ROWS:
        return
    for name, part in seen.estimator._blend.parts.items():
        if not isinstance(part, EnsemblePart):
            continue
        fitted = part.fitted
        A = part_columns(part, seen.inputs, np.float32)
        hidden = fitted.settings.hidden
        shares = np.zeros(len(hidden))
        looked_into = min(NETWORKS, fitted.members)
        for i in range(looked_into):
            network = member_network(fitted, i, A.dtype)
            batch = network.forward(A)
            for l in range(1, len(hidden) + 1):
                slope = np.ones_like(batch.z[l])
                network.activations[l].pullback(batch.z[l], batch.a[l], slope)
                shares[l - 1] += dead_units(batch.a[l], slope).mean() / looked_into
        if shares.max() < DEAD:
            continue
        l = int(shares.argmax()) + 1
        yield Finding(
            "dead-units",
            f"In the networks of the part {name!r}, {shares.max():.0%} of the units of layer {l} "
            "are off on every row: nothing that these rows teach reaches their weights.",
            {"part": name, "layer": l, "share": float(shares.max()), "networks": looked_into},
            "Look for columns whose numbers are nearly all the same or far apart, and fit again "
            "with another random_state.",
            "model.set_params(random_state=1).fit(X, y)",
            0.55 + 0.35 * float(shares.max()),
            Picture(
                "bars",
                "Units that are off on every row",
                "layer",
                "part of the units",
                [str(each) for each in range(1, len(hidden) + 1)],
                shares.tolist(),
                DEAD,
            ),
        )
        return


def stopped_early(seen: TableEvidence) -> Iterator[Finding]:
    """Networks that were still improving when their training was cut short."""
    est = seen.estimator
    if est._blend is None:
        return
    cut, left_out = {}, []
    for name, planned in settings_of(est._task, est.preset, est.n_rows_, FOLDS).items():
        part = est._blend.parts.get(name)
        if part is None:
            left_out.append(name)
            continue
        losses = part.fitted.history["loss"]
        falls = len(losses) == 1 or losses[-1] < (1 - FALLING) * losses[-2]
        if falls and len(losses) < planned.epochs and part.fitted.stopped != "patience":
            cut[name] = losses
    if not cut and not left_out:
        return
    said = []
    for name, losses in cut.items():
        epochs = "1 epoch" if len(losses) == 1 else f"{len(losses)} epochs"
        said.append(f"The networks of the part {name!r} were still improving after {epochs}.")
    if left_out:
        said.append(f"There was no time to train {listed([repr(name) for name in left_out])}.")
    limits = [
        f"{name}={getattr(est, name)!r}"
        for name in ("max_epochs", "time_limit")
        if getattr(est, name) is not None
    ]
    yield Finding(
        "underfitting",
        " ".join(said),
        {"epochs": {name: len(losses) for name, losses in cut.items()}, "left_out": left_out},
        f"Train longer: without {' and '.join(limits)}." if limits else "Let the training end.",
        "model.set_params(max_epochs=None, time_limit=None).fit(X, y)",
        0.6,
        Picture(
            "lines",
            "Out-of-fold loss by epoch",
            "epoch",
            "loss",
            list(cut) or ["nothing trained"],
            list(cut.values()) or [[]],
        ),
    )


def fit(seen: TableEvidence) -> Iterator[Finding]:
    """Predictions out of fold that are no better than a constant, or far worse than on own rows."""
    if not seen.constant > 0:
        return
    own, others = seen.own, seen.own_out_of_fold
    classes = len(seen.labels) > 0
    what = "accuracy" if classes else "R²"
    gap = own.score - others.score
    by_heart = own.loss < BY_HEART * seen.constant
    nothing = seen.out_of_fold.loss > NOTHING * seen.constant
    picture = Picture(
        "bars",
        what,
        "",
        what,
        ["rows learned from", "out of fold"],
        [own.score, others.score],
    )
    if nothing and not by_heart:
        yield Finding(
            "underfitting",
            f"Nothing was learned: the loss of rows out of fold is {seen.out_of_fold.loss:.3g}, "
            f"and that of the best constant prediction {seen.constant:.3g}.",
            {"loss": seen.out_of_fold.loss, "constant": seen.constant},
            "The columns say next to nothing about the target: look for others, or for more rows.",
            "chainrule.TabularClassifier().fit(X_more, y_more)"
            if classes
            else "chainrule.TabularRegressor().fit(X_more, y_more)",
            0.65,
            Picture(
                "bars", "Loss", "", "loss", ["out of fold", "constant"],
                [seen.out_of_fold.loss, seen.constant],
            ),
        )  # fmt: skip
    elif nothing or gap > (GAP if classes else GAP_OF_R2):
        yield Finding(
            "overfitting",
            f"The model knows its rows by heart: {what} {own.score:.2f} on them, "
            f"{others.score:.2f} out of fold, each row predicted by networks that were fitted "
            "without it.",
            {"score": own.score, "out_of_fold": others.score, "gap": gap},
            "Take more rows, or fewer columns; expect of new rows what is measured out of fold.",
            "X = X[chosen_columns]; model.fit(X, y)",
            min(0.85, 0.45 + max(gap, 0)),
            picture,
        )
    yield from _worse_when_held_out(seen, what)


def _worse_when_held_out(seen: TableEvidence, what: str) -> Iterator[Finding]:
    """Rows held out that are predicted much worse than rows are out of fold."""
    held, folds = seen.held_out, seen.out_of_fold
    if held is None or not (np.isfinite(held.score) and np.isfinite(folds.score)):
        return
    gap = folds.score - held.score
    noise = GAP_OF_R2
    if what == "accuracy":
        noise = 0.1 + 2 * float(np.sqrt(max(held.score * (1 - held.score), 0.01) / held.m))
    if not gap > noise:
        return
    yield Finding(
        "overfitting",
        f"Rows held out are predicted much worse than rows out of fold: {what} {held.score:.2f} "
        f"and {folds.score:.2f}. They are of another kind, or rows that belong together were in "
        "several folds.",
        {"held_out": held.score, "out_of_fold": folds.score, "gap": gap},
        "If several rows are of one person, say, give the groups; compare the columns of both.",
        "model.fit(X, y, groups=groups)",
        min(0.85, 0.45 + gap),
        Picture("bars", what, "", what, ["out of fold", "held out"], [folds.score, held.score]),
    )


def constant_columns(seen: TableEvidence) -> Iterator[Finding]:
    """Columns that hold one value, or none."""
    constant = np.array([value is not ... for value in seen.values])
    if seen.n < FEWEST_ROWS or not constant.any() or constant.all():
        return
    zero = np.array([isinstance(v, int | float | np.number) and v == 0 for v in seen.values])
    which = worth_telling(constant, zero, seen.zeros)
    if len(which):
        names = [seen.names[j] for j in which]
        values = [getattr(seen.values[j], "item", lambda v=seen.values[j]: v)() for j in which]
        yield constant_finding(seen, which, values, 1.0, f"X = X.drop(columns={names[:20]!r})")


def contradicting_rows(seen: TableEvidence) -> Iterator[Finding]:
    """Equal rows with other targets, where equal rows are no chance."""
    yield from contradictions(seen, against_chance(seen.task.inputs), CONTRADICT)


def noisy_labels(seen: TableEvidence) -> Iterator[Finding]:
    """Rows whose label nearly all of their neighbours deny."""
    if seen.inputs is None or not len(seen.labels):
        return
    layout = seen.estimator._encoder.layout(False)
    A = np.asarray(unit_columns(without_bins(seen.inputs), layout), np.float64)
    yield from denied_labels(seen, A, seen.labels[seen.encoded], seen.encoded)


FAULTS = (
    lost_class,
    dead_networks,
    stopped_early,
    fit,
    constant_columns,
    contradicting_rows,
    noisy_labels,
    duplicate_rows,
)
