"""From Dask's collections to partitions that can be trained on, and to an estimator that fits them.

The workers describe the partitions; from that the client sets what `fit` would have learned from
all rows at once: classes, means, deviations.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
from distributed import Future
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_random_state

from chainrule.base.types import Array
from chainrule.base.validation import check_target
from chainrule.dask import partitions
from chainrule.dask.collections import blocks_along, check_collection, described
from chainrule.dask.partitions import Expected, Moments, PartitionError, Size, Survey, merged
from chainrule.dask.work import GONE, Work
from chainrule.estimators.class_weights import weights_of_classes
from chainrule.estimators.magnitudes import check_deviations
from chainrule.estimators.parameters import new_key


class Source:
    """The partitions of X, y and weights, as the user has them.

    Parameters
    ----------
    name : str
        "X" or "X_val".
    est : estimator
    X, y, weight : Dask collections; weight may be None
    """

    def __init__(self, name: str, est: Any, X: Any, y: Any, weight: Any) -> None:
        suffix = name[1:]
        check_collection(name, X, (2,))
        check_collection(f"y{suffix}", y, (1, 2))
        self.X, found = X, described(X)
        self.blocks = found.blocks
        self.targets = blocks_along(f"y{suffix}", y, X, name)
        self.weights = [None] * len(self.blocks)
        if weight is not None:
            check_collection(f"sample_weight{suffix}", weight, (1, 2))
            self.weights = blocks_along(f"sample_weight{suffix}", weight, X, name)
        if not self.blocks:
            raise ValueError(f"{name} has no partitions")
        self.expected = Expected(without_bulk(est), found.names, found.columns, found.dtype, name)

    def __len__(self) -> int:
        return len(self.blocks)

    def rows(self, work: Work) -> list[Future]:
        """Futures of `Rows`."""
        shared = [work.share("expected", self.expected)] * len(self)
        columns = (shared, range(len(self)), self.blocks, self.targets, self.weights)
        return work.each("load", partitions.load, *columns)


class Data:
    """What is learned from and, if there is one, the validation set.

    Parameters
    ----------
    work : Work
    train : Source
    validation : Source or None
    hold_out : (fraction, seed) or None
        A part of each partition becomes the validation set.
    """

    def __init__(self, work: Work, train: Source, validation: Source | None, hold_out: Any) -> None:
        self.work, self.train, self.validation, self.hold_out = work, train, validation, hold_out
        self._rows: tuple[list[Future], list[Future] | None] | None = None

    def rows(self) -> tuple[list[Future], list[Future] | None]:
        """Futures of the rows that are learned from, and of the validation set's."""
        kept = self._rows
        if kept is None or any(one.status in GONE for part in kept for one in part or ()):
            kept = self._rows = self._load()
        return kept

    def forget(self) -> None:
        """Let the cluster free the rows as they were read."""
        self._rows = None

    def _load(self) -> tuple[list[Future], list[Future] | None]:
        work, n = self.work, len(self.train)
        found = self.train.rows(work)
        if self.validation is not None:
            return found, self.validation.rows(work)
        if self.hold_out is None:
            return found, None
        fraction, seed = self.hold_out
        both = work.each(
            "hold-out", partitions.hold_out, found, [fraction] * n, [seed] * n, range(n)
        )
        kept, held = (work.each("hold-out", take, both, [i] * n) for i in (0, 1))
        return kept, held


def take(both: tuple[Any, Any], i: int) -> Any:
    """One of two."""
    return both[i]


def without_bulk(est: Any) -> Any:
    """A copy of an estimator for the workers: without what only the client needs."""
    light = copy.copy(est)
    light.callbacks = light.coefs_init = light.intercepts_init = None
    for name in ("coefs_", "intercepts_", "_norms", "history_", "_made", "_descent", "_rng"):
        light.__dict__.pop(name, None)
    light.random_state = None
    return light


def learn_target(est: Any, surveys: list[Survey], classes: Any, first: bool) -> None:
    """Set the classes and the number of outputs from what the partitions hold.

    Raises
    ------
    PartitionError, ValueError
        Targets that do not go together, or are not among the classes given.
    """
    filled = [one for one in surveys if one.n]
    if not filled:
        raise ValueError("X has no rows: all of its partitions are empty")
    for p, one in enumerate(surveys):
        if one.n and one.targets != filled[0].targets:
            raise PartitionError(
                f"partition {p}: y has {one.targets} columns, in the partitions before it has "
                f"{filled[0].targets}"
            )
    if est._numeric_target:
        if not first and est.n_outputs_ != filled[0].targets:
            raise ValueError(
                f"y has {filled[0].targets} targets; the fit so far has {est.n_outputs_}"
            )
        est.n_outputs_ = filled[0].targets
        return
    if filled[0].kind == "multilabel-indicator":
        if classes is not None:
            raise ValueError("classes are of one column of labels; y has several of 0 and 1")
        if est.class_weight is not None:
            raise ValueError("class_weight goes with one column of classes; y has several")
        binarizer = LabelBinarizer().fit(np.eye(filled[0].targets, dtype=np.int64))
        known = binarizer.classes_
    else:
        kinds = {one.labels.dtype.kind in "OUT" for one in filled}
        if len(kinds) > 1:
            raise ValueError("y has labels of text in some partitions and numbers in others")
        known = np.unique(np.concatenate([one.labels for one in filled]))
        if classes is not None:
            given = np.unique(np.asarray(check_target(classes, False, "classes")))
            among = set(given.tolist())
            for p, one in enumerate(surveys):
                strange = [x for x in one.labels.tolist() if x not in among]
                if strange:
                    raise PartitionError(
                        f"partition {p}: y holds {strange[0]!r}, which is not among the classes "
                        "that were given"
                    )
            known = given
        binarizer = LabelBinarizer().fit(known)
    if not first and list(known) != list(est.classes_):
        raise ValueError(
            "warm_start can only be used where `y` has the same classes as in the previous call "
            f"to fit. Previously got {est.classes_}, `y` has {known}"
        )
    est._label_binarizer, est.classes_ = binarizer, known
    several = filled[0].kind == "multilabel-indicator"
    est.n_outputs_ = len(known) if several or len(known) > 2 else 1


def weighed(est: Any, surveys: list[Survey]) -> Any:
    """The estimator for the workers: every class has its weight, balanced ones by all rows."""
    light = without_bulk(est)
    given = getattr(est, "class_weight", None)
    if given is None:
        return light
    if given != "balanced":
        weights = weights_of_classes(given, est.classes_).tolist()
        light.class_weight = dict(zip(est.classes_.tolist(), weights, strict=True))
        return light
    counts: dict[Any, int] = {}
    for one in surveys:
        for label, count in zip(one.labels.tolist(), one.counts.tolist(), strict=True):
            counts[label] = counts.get(label, 0) + count
    n = sum(counts.values())
    light.class_weight = {label: n / (len(counts) * count) for label, count in counts.items()}
    return light


def learn_scales(est: Any, found: list[tuple[Moments, Moments | None]]) -> None:
    """Set means and deviations of inputs and target from the partitions' moments, in order."""
    with np.errstate(all="ignore"):
        inputs = functools.reduce(merged, [one for one, _ in found])
    names = getattr(est, "feature_names_in_", None)
    unfit = ~np.isfinite(inputs.squares)
    if unfit.any():
        column = int(unfit.argmax())
        name = column if names is None else repr(str(names[column]))
        raise ValueError(f"column {name} of X is too large: its square overflows. Scale it")
    est._scaling = None
    if est._missing is not None:
        est._missing = inputs.mean, est._missing[1]
    if est._standardizes():
        total = float(inputs.weight.max())
        filled = inputs._replace(weight=np.full(len(inputs.weight), total))
        mean, deviation = filled.mean, deviations(filled, est._dtype)
        if est._missing is not None:  # columns that mark where values were missing
            absent = 1 - inputs.weight[est._missing[1]] / total
            marks = Moments(np.full(len(absent), total), absent, total * absent * (1 - absent))
            mean = np.concatenate([mean, absent])
            deviation = np.concatenate([deviation, deviations(marks, est._dtype)])
        est._scaling = mean, deviation
        check_deviations(deviation, est._dtype, names)
    if not est._numeric_target:
        return
    est._y_scale = None
    if est._rescales_target():
        of_y = functools.reduce(merged, [one for _, one in found if one is not None])
        est._set_output_scale(of_y.mean, lambda: deviations(of_y, np.float64))


def deviations(of: Moments, dtype: Any) -> Array:
    """Standard deviations; 1 where a column is constant."""
    deviation: Array = np.sqrt(of.squares / np.where(of.weight > 0, of.weight, 1))
    deviation[~(deviation > 10 * np.finfo(dtype).eps * np.abs(of.mean))] = 1
    return deviation


def learn_all(
    est: Any, data: Data, classes: Any, first: bool, rng: Any
) -> tuple[Any, tuple[list[Array], list[Array]] | None]:
    """Set all that an estimator learns from the rows before it is trained.

    Returns
    -------
    light : estimator
        For the workers.
    start : (coefs, intercepts) or None
        Starting values; None where the fit goes on from the last one's.
    """
    work, expected = data.work, data.train.expected
    n = len(data.train)
    rows, _held = data.rows()
    shared = [work.share("expected", expected)] * n
    surveys = work.gather(work.each("survey", partitions.survey, shared, range(n), rows))
    if first:
        _learn_columns(est, data.train)
    elif est.n_features_in_ != expected.columns:
        raise ValueError(
            f"X has {expected.columns} columns; the fit so far has {est.n_features_in_}"
        )
    learn_target(est, surveys, classes, first)
    light, start = weighed(est, surveys), None
    if first:
        est._dtype_name = light._dtype_name = expected.dtype
        est._missing = None
        if est.missing == "indicator":
            marked = np.logical_or.reduce([one.missing for one in surveys])
            est._missing = np.zeros(expected.columns), np.flatnonzero(marked)
        n_marked = 0 if est._missing is None else len(est._missing[1])
        start = est._draw(expected.columns + n_marked, est._target().n_units, rng)
        shared = [work.share("expected", light)] * n
        learn_scales(
            est, work.gather(work.each("moments", partitions.moments, shared, range(n), rows))
        )
        weights = getattr(light, "class_weight", None)
        light = without_bulk(est)
        if weights is not None:
            light.class_weight = weights
    return light, start


def _learn_columns(est: Any, train: Source) -> None:
    """Set the number of columns, and their names if all of them are text."""
    est.n_features_in_ = train.expected.columns
    est.__dict__.pop("feature_names_in_", None)
    names = train.expected.names
    if names and all(isinstance(name, str) for name in names):
        est.feature_names_in_ = np.array(names, dtype=object)


class ValidationSet:
    """The partitions of a validation set; they are made again if the cluster loses them."""

    def __init__(self, data: Data, light: Any, with_digest: bool) -> None:
        self.data, self.light = data, light
        self.est = data.work.share("estimator", light)
        self._parts: list[Future] | None = None
        self.sizes = sizes_of(data.work, self.parts(), with_digest)
        if not sum(one.mass for one in self.sizes) > 0:
            raise ValueError(
                "the validation set has no rows, or its weights sum to 0: nothing can be scored "
                "on it"
            )

    def parts(self) -> list[Future]:
        """Futures of `Ready`."""
        lost = self._parts is None or any(one.status in GONE for one in self._parts)
        if lost:
            rows = self.data.rows()[1]
            assert rows is not None
            self.est = self.data.work.share("estimator", self.light)
            self._parts = encoded(self.data.work, rows, self.light, scores=True)
        assert self._parts is not None
        return self._parts


def encoded(work: Work, rows: list[Future], light: Any, scores: bool) -> list[Future]:
    """Futures of `Ready`, from those of `Rows`."""
    n = len(rows)
    shared = [work.share("estimator", light)] * n
    return work.each("encode", partitions.encode, shared, range(n), rows, [scores] * n)


def sizes_of(work: Work, parts: list[Future], with_digest: bool) -> list[Size]:
    """Sizes of partitions."""
    digests = [with_digest] * len(parts)
    found: list[Size] = work.gather(work.each("size", partitions.size_of, parts, digests))
    return found


def hold_out_of(est: Any, rng: Any, has_validation: bool) -> tuple[float, int] | None:
    """The fraction of each partition to hold out and the seed by which, if it is to be done."""
    if has_validation or not est.early_stopping:
        return None
    return float(est.validation_fraction), new_key(rng)


def generator_of(est: Any, resume: Any) -> Any:
    """The generator that a fit draws from."""
    rng = check_random_state(est.random_state)
    return rng if resume is None else resume.begin(est, rng)
