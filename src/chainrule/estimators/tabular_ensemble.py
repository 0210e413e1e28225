"""What `TabularClassifier` and `TabularRegressor` share: from a raw table to a blend of models.

Two small ensembles of networks and a linear model are fitted to the same cross-fitted rows and
blended. The networks of the first ("step") use piecewise-linear codes of the numbers, which let
them make steps, as trees do; those of the second ("smooth") use the numbers alone.
"""

from __future__ import annotations

import numbers
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from chainrule.base.types import Array, Index
from chainrule.base.validation import NO_NUMBER, place_of_text, warn_user
from chainrule.ensembles.blending import (
    Blend,
    EnsemblePart,
    LinearPart,
    deal_folds,
    deal_groups,
    fit_linear,
    learn_blend,
    row_losses,
    without_bins,
)
from chainrule.ensembles.encoding import Columns, learn_encoder, means_by_fold
from chainrule.ensembles.fitting import fit_ensemble
from chainrule.ensembles.inputs import Inputs
from chainrule.ensembles.one_row import one_row
from chainrule.ensembles.settings import EnsembleSettings
from chainrule.estimators.magnitudes import check_weights
from chainrule.estimators.raw_columns import ColumnReader
from chainrule.tables.cells import as_frame

REAL, INT = numbers.Real, numbers.Integral
CONSTRAINTS: dict[str, list[Any]] = {
    "preset": [StrOptions({"best", "fast"})],
    "max_epochs": [Interval(INT, 1, None, closed="left"), None],
    "time_limit": [Interval(REAL, 0, None, closed="neither"), None],
    "kinds": [dict, None],
    "random_state": ["random_state"],
    "n_jobs": [INT, None],
    "engine": [StrOptions({"auto", "numpy", "numba"})],
    "verbose": ["verbose"],
    "callbacks": [list, tuple, None],
}
MOST_COLUMNS = 10_000
MOST_LINEAR_ROWS, MOST_LINEAR_COLUMNS = 5_000, 5_000
MOST_SCORES = 10_000  # training rows that intervals and sets compare a new row with
MOST_PERMUTED = 5_000  # training rows that importances are measured on
BLOCK = 1 << 13  # rows that are predicted at a time
SHARE = {"step": 0.65, "smooth": 0.95}  # of the time limit that has passed when each must end
INTERRUPTED = "Training interrupted by user."


def settings_of(task: str, preset: str, n: int, n_folds: int) -> dict[str, EnsembleSettings]:
    """The settings of the two ensembles for n rows.

    Parameters
    ----------
    task : {"classification", "regression"}
    preset : {"best", "fast"}
    n : int
    n_folds : int
        Folds that there are; the ensembles hold out these, or several of these together.
    """
    most = min(8, n_folds)
    batch = 32 if n < 600 else 64 if n < 2_000 else 128 if n < 8_000 else 256
    if n >= 100_000:  # for the sake of time
        batch = 256 * min(4, n // 50_000)
    long = 64 if n < 3_000 else 48 if n < 8_000 else 32
    common: dict[str, Any] = {"batch": min(batch, n), "hidden": (64, 64)}
    smooth = EnsembleSettings(
        members=most, folds=most, sharing="none", activation="silu", learning_rate=0.02,
        dropout=0.1, decay=0.02, epochs=long, **common,
    )  # fmt: skip
    # For classes as many above 100,000 rows too: they share their layers.
    twice = preset == "best" and (task == "classification" or n < 100_000)
    members = 2 * most if twice else most
    if task == "classification":
        step = EnsembleSettings(
            members=members, folds=most, sharing="layers", activation="relu",
            learning_rate=0.08, dropout=0.1, decay=0.02, epochs=long, **common,
        )  # fmt: skip
    else:
        common["hidden"] = (96, 96) if n >= 8_000 else (64, 64)
        step = EnsembleSettings(
            members=members, folds=most, sharing="none", activation="relu",
            learning_rate=0.08, dropout=0.05, decay=0.005, epochs=long + long // 2, **common,
        )  # fmt: skip
    return {"step": step, "smooth": smooth}


class TabularEnsemble(BaseEstimator):
    """Shared by `TabularClassifier` and `TabularRegressor`; see there for the parameters."""

    _task: str
    _loss: str
    _blend: Blend | None

    # Of each task: what stands in for y.

    def _learn_target(self, y: Any) -> tuple[Array, NDArray[Any]]:
        """Y (n, K) as the loss accepts it, and what rows are dealt out to folds by, (n,)."""
        raise NotImplementedError

    def _level_targets(self, Y: Array) -> Array:
        """The targets whose means are taken by level of a category."""
        raise NotImplementedError

    def _row_weights(self, y: Any, weight: Array) -> Array:
        """What each row counts for."""
        return weight

    def _of_outputs(self, outputs: Array) -> Any:
        """Predictions as the user knows them, from (n, K)."""
        raise NotImplementedError

    def _learn_scores(self, outputs: Array, Y: Array) -> Array:
        """How far each training row is from its out-of-fold prediction, (n,) or (n, K)."""
        raise NotImplementedError

    def _oof_score(self, outputs: Array, Y: Array, weight: Array) -> float:
        """What `score` would give for out-of-fold predictions."""
        raise NotImplementedError

    def _constant_outputs(self, Y: Array) -> Array | None:
        """The outputs, (K,), if all rows have the same target; else None."""
        return Y[0].astype(np.float64) if bool(np.ptp(Y, axis=0).max() == 0) else None

    @property
    def kinds_(self) -> dict[str, str]:
        """The kind of each column, one of `chainrule.tables.columns.KINDS`, by name."""
        if not hasattr(self, "oof_prediction_"):
            raise AttributeError("the kinds of columns are found in fit")
        cleaner = None if self._reader is None else self._reader.cleaner
        if cleaner is not None:
            return dict(cleaner.kinds_)
        names = getattr(self, "feature_names_in_", [f"x{j}" for j in range(self.n_features_in_)])
        return dict.fromkeys(map(str, names), "numeric")

    # Fitting

    def _fit(self, X: Any, y: Any, sample_weight: Any, groups: Any = None) -> Any:
        started = time.monotonic()
        if y is None:
            raise ValueError(
                f"requires y to be passed, but the target y is None: {type(self).__name__} learns "
                "from targets"
            )
        table = self._check_table(X, reset=True)
        check_consistent_length(table, y)
        for i, callback in enumerate(self.callbacks or ()):
            if not callable(callback):
                raise TypeError(
                    f"callbacks[{i}] must be a function f(estimator, record); got {callback!r}"
                )
        Y, order = self._learn_target(y)
        weight = self._check_weight(table, y, sample_weight)
        rows = np.flatnonzero(weight > 0)
        Y_rows, weight = Y[rows], weight[rows] / weight[rows].mean()
        rng = check_random_state(self.random_state)
        seeds = rng.randint(2**31 - 1, size=4).tolist()
        n = len(rows)
        self.n_rows_ = n
        n_folds = min(4 if self.preset == "fast" else 8, n)
        dealer = np.random.RandomState(seeds[0])
        if groups is None:
            folds = deal_folds(order[rows], n_folds, dealer)
        else:
            of_rows = self._check_groups(table, groups)[rows]
            n_folds = min(n_folds, _count_groups(of_rows))
            folds = deal_groups(of_rows, n_folds, dealer)
        self.history_: list[dict[str, Any]] = []
        self.engine_ = "numpy"
        self._constant = self._constant_outputs(Y_rows)
        if self._constant is not None:
            self._blend, self._reader, self._encoder = None, None, None
            self.blend_weights_ = {}
            outputs = np.tile(self._constant, (len(Y), 1))
            self._finish(outputs, Y, rows, folds, weight)
            return self
        self._reader = ColumnReader(self.kinds, seeds[1])
        columns, schema = self._reader.fit_read(_taken(table, rows))
        self._encoder, inputs = learn_encoder(
            columns,
            schema,
            self._level_targets(Y_rows),
            weight,
            folds,
            16 if self._task == "classification" else 32,
        )
        parts = self._fit_parts(inputs, Y_rows, weight, folds, n_folds, seeds[2:], started)
        self._blend = learn_blend(parts, Y_rows, self._loss, weight, n_folds, seeds[1])
        self.blend_weights_ = self._blend.weights
        outputs = np.empty(Y.shape)
        outputs[rows] = self._blend.oof()
        others = np.flatnonzero(~np.isin(np.arange(len(Y)), rows))
        if len(others):  # rows of weight 0: no model has seen them
            outputs[others] = self._outputs_of(_taken(table, others))
        self._finish(outputs, Y, rows, folds, weight)
        return self

    def _fit_parts(
        self,
        inputs: Inputs,
        Y: Array,
        weight: Array,
        folds: Index,
        n_folds: int,
        seeds: list[int],
        started: float,
    ) -> dict[str, EnsemblePart | LinearPart]:
        """The models that are blended."""
        assert self._encoder is not None
        n = len(Y)
        settings = settings_of(self._task, self.preset, n, n_folds)
        parts: dict[str, EnsemblePart | LinearPart] = {}
        smooth_inputs, smooth_layout = without_bins(inputs), self._encoder.layout(False)
        if smooth_layout.dense + sum(smooth_layout.levels) == 0:
            raise ValueError(
                "there is no column left to learn from: each column of X has one value only"
            )
        if n <= MOST_LINEAR_ROWS and smooth_layout.dense + sum(smooth_layout.levels) <= (
            MOST_LINEAR_COLUMNS
        ):
            linear_folds = folds % settings["step"].folds
            parts["linear"] = fit_linear(
                smooth_inputs, smooth_layout, Y, weight, linear_folds, self._loss
            )
        for seed, (name, planned) in zip(seeds, settings.items(), strict=True):
            deadline = None
            if self.time_limit is not None:
                deadline = started + SHARE[name] * self.time_limit
                if parts and time.monotonic() > deadline:
                    continue
            epochs = min(planned.epochs, int(self.max_epochs or planned.epochs))
            each = planned._replace(epochs=epochs)
            with_bins = name == "step"
            fitted = fit_ensemble(
                inputs if with_bins else smooth_inputs,
                self._encoder.layout(with_bins),
                Y.astype(np.float32),
                weight.astype(np.float32),
                folds % each.folds,
                each,
                loss=self._loss,
                seed=seed,
                engine=self.engine,
                n_threads=self._n_threads(),
                deadline=deadline,
                callback=self._epoch_callback(name),
            )
            parts[name] = EnsemblePart(fitted, with_bins)
            self.engine_ = fitted.engine
            if fitted.stopped == "interrupted":
                warn_user(INTERRUPTED)
                break
            if fitted.stopped == "callback":
                break
        return parts

    def _epoch_callback(self, part: str) -> Callable[[Mapping[str, Any]], bool]:
        """A function to call after each epoch: it keeps the record and runs the callbacks."""

        def after_epoch(record: Mapping[str, Any]) -> bool:
            kept = {"part": part, **record}
            self.history_.append(kept)
            if self.verbose:
                print(
                    f"{part}: epoch {record['epoch'] + 1} of at most {record['epochs']}, "
                    f"out-of-fold loss {record['loss']:.4g}"
                )
            stops = [callback(self, kept) for callback in self.callbacks or ()]
            return any(stop is True for stop in stops)

        return after_epoch

    def _n_threads(self) -> int | None:
        if self.n_jobs is None or self.n_jobs > 0:
            return None if self.n_jobs is None else int(self.n_jobs)
        if self.n_jobs == 0:
            raise ValueError("n_jobs is 0; give a number of threads, or -1 for all")
        return max(1, (os.cpu_count() or 1) + 1 + int(self.n_jobs))

    def _finish(self, outputs: Array, Y: Array, rows: Index, folds: Index, weight: Array) -> None:
        """Set the out-of-fold attributes."""
        self._fold_of_row = np.full(len(Y), -1, np.int8)
        self._fold_of_row[rows] = folds
        scores = self._learn_scores(outputs[rows], Y[rows])
        kept = np.arange(len(rows))
        if len(rows) > MOST_SCORES:
            kept = np.sort(np.random.RandomState(0).permutation(len(rows))[:MOST_SCORES])
        self._scores, self._score_folds = scores[kept], folds[kept].astype(np.int8)
        losses = row_losses(outputs[rows], Y[rows], self._loss)
        self.oof_loss_ = float(np.average(losses, weights=weight))
        self.oof_score_ = self._oof_score(outputs[rows], Y[rows], weight)
        self.oof_prediction_ = self._of_outputs(outputs)

    # Checking

    def _check_table(self, X: Any, reset: bool = False) -> Any:
        """X as an array of floats, if it is an array of numbers, or as a pandas frame."""
        wide = getattr(X, "shape", (0, 0))
        if len(wide) == 2 and wide[1] > MOST_COLUMNS:
            raise ValueError(
                f"X has {wide[1]:,} columns; {type(self).__name__} accepts at most "
                f"{MOST_COLUMNS:,}. Choose some, for example with "
                "sklearn.feature_selection.SelectKBest, or use MLPClassifier or MLPRegressor"
            )
        is_frame = not sparse.issparse(X) and (
            hasattr(X, "columns") or hasattr(X, "column_names") or hasattr(X, "collect_schema")
        )
        if not is_frame and not sparse.issparse(X) and not hasattr(X, "__array_namespace__"):
            array = np.asarray(X)
            is_frame = array.dtype.kind in "OUT" and array.ndim == 2 and array.size > 0
            X = X if array.dtype.kind != "U" or not is_frame else array
        reader = None if reset else self.__dict__.get("_reader")
        numeric = reset and not is_frame
        if not reset:
            numeric = not is_frame if reader is None else reader.cleaner is None
        if numeric:
            try:
                # To predict, blocks of float32 become float64 one by one.
                dtype = np.float64 if reset else [np.float64, np.float32]
                return validate_data(
                    self, X, dtype=dtype, ensure_all_finite="allow-nan", reset=reset
                )
            except ValueError as error:
                if str(error).startswith(NO_NUMBER):
                    raise ValueError(f"{error}{place_of_text(X)}") from None
                if "contains infinity" not in str(error):
                    raise
                row, column = np.argwhere(np.isinf(np.asarray(X, np.float64)))[0]
                raise ValueError(
                    f"{error}\nThe first is in row {row}, column {column}. Give NaN for a number "
                    "that is not known, or a finite number"
                ) from None
        named = is_frame and (hasattr(X, "columns") or hasattr(X, "column_names"))
        if not named:
            X = np.asarray(X)
            if X.ndim != 2:
                raise ValueError(f"Expected 2D array, got {X.ndim}D array instead: {X!r}")
        frame = as_frame(X)
        _check_feature_names(self, X if hasattr(X, "iloc") else frame if named else X, reset=reset)
        _check_n_features(self, frame, reset=reset)
        if not len(frame):
            raise ValueError(
                f"Found array with 0 sample(s) (shape={frame.shape}) while a minimum of 1 is "
                "required."
            )
        if not frame.shape[1]:
            raise ValueError(
                f"Found array with 0 feature(s) (shape={frame.shape}) while a minimum of 1 is "
                "required."
            )
        if not reset and reader is not None and not named:
            frame = frame.set_axis(list(reader.cleaner.feature_names_in_), axis=1)
        return frame

    def _check_weight(self, table: Any, y: Any, sample_weight: Any) -> Array:
        """What each row counts for; none negative, not all 0."""
        weight: Array = np.ones(len(table))
        if sample_weight is not None:
            like = np.empty((len(table), 1))
            weight = _check_sample_weight(sample_weight, like, dtype=np.float64)
            if np.any(weight < 0):
                raise ValueError(f"sample_weight is negative in row {int(np.argmax(weight < 0))}")
            check_weights("sample_weight", weight)
        weight = self._row_weights(y, weight)
        check_weights("the weight of class and row", weight)
        if not weight.any():
            raise ValueError("the weights of the samples sum to 0: there is nothing to fit")
        return weight

    @staticmethod
    def _check_groups(table: Any, groups: Any) -> NDArray[Any]:
        """The group of each row, as a number."""
        found = np.asarray(groups, dtype=object)
        if found.ndim != 1:
            raise ValueError(f"groups has {found.ndim} dimensions; give a group for each row")
        check_consistent_length(table, found)
        numbers: dict[Any, int] = {}
        return np.array([numbers.setdefault(group, len(numbers)) for group in found.tolist()])

    # Predicting

    def _encoded(self, table: Any) -> Iterator[tuple[slice, Inputs]]:
        """Blocks of a checked table, encoded."""
        assert self._reader is not None
        assert self._encoder is not None
        n = len(table)
        for start in range(0, n, BLOCK):
            at = slice(start, min(start + BLOCK, n))
            yield at, self._encoder.encode(self._reader.read(_taken(table, at)))

    def _outputs_of(self, table: Any) -> Array:
        """Outputs of a checked table, (n, K)."""
        if self._blend is None:
            return np.tile(np.asarray(self._constant), (len(table), 1))
        outputs: Array = np.empty((0, 0))
        for at, inputs in self._encoded(table):
            found = self._blend.predict(inputs, self._n_threads())
            if not at.start:
                outputs = np.empty((len(table), found.shape[1]))
            outputs[at] = found
        return outputs

    def _outputs(self, X: Any) -> Array:
        check_is_fitted(self, "oof_prediction_")
        return self._outputs_of(self._check_table(X))

    def _outputs_without(self, X: Any) -> Array:
        """Outputs of what was fitted without each fold, (F, n, K)."""
        check_is_fitted(self, "oof_prediction_")
        table = self._check_table(X)
        if self._blend is None:
            F = int(self._score_folds.max()) + 1
            return np.tile(np.asarray(self._constant), (F, len(table), 1))
        parts = [
            self._blend.predict_without(inputs, self._n_threads())
            for _, inputs in self._encoded(table)
        ]
        return np.concatenate(parts, axis=1)

    def predictor(self) -> Callable[[Any], Any]:
        """A function for one row without most checks, for serving.

        Returns
        -------
        callable (row) -> result
            A row is a sequence of cells in the order of the training columns or, if these were a
            data frame, a mapping by their names. The result is what ``predict_proba`` (classifier)
            or ``predict`` (regressor) give for that row, but for rounding: an array, or a number
            where there is one target.
        """
        check_is_fitted(self, "oof_prediction_")
        if self._blend is None:
            constant = self._of_row(np.asarray(self._constant))
            return lambda row: constant
        assert self._reader is not None
        assert self._encoder is not None
        read = self._reader.row_reader()
        outputs = one_row(self._blend, self._encoder)
        return lambda row: self._of_row(outputs(*read(row)))

    def _of_row(self, outputs: Array) -> Any:
        """The prediction of one row, from (K,)."""
        return self._of_outputs(outputs[np.newaxis])[0]

    @staticmethod
    def _check_coverage(coverage: Any) -> float:
        if not isinstance(coverage, REAL) or not 0 < float(coverage) < 1:
            raise ValueError(f"coverage is a number between 0 and 1, not {coverage!r}")
        return float(coverage)

    # Importances

    def oof_importances(
        self, X: Any, y: Any, *, n_repeats: int = 3, random_state: Any = 0
    ) -> dict[str, Array]:
        """How much worse out-of-fold predictions get when a column is shuffled.

        Every row is predicted by the models that were fitted without its fold, so the importances
        are those of what was learnt, not of what was memorised.

        Parameters
        ----------
        X, y :
            The rows that `fit` was given, in the same order.
        n_repeats : int, default=3
            How often each column is shuffled.
        random_state : int, RandomState or None, default=0
            For the shuffling and, of more than 5,000 rows, for which of them are taken.

        Returns
        -------
        dict
            "names": the columns; "mean" and "std": by how much the loss (log-loss, or squared
            error of the standardised target) rises, as arrays of shape (n_features,). Columns
            that the model does not use have 0.
        """
        check_is_fitted(self, "oof_prediction_")
        table = self._check_table(X)
        if len(table) != len(self._fold_of_row):
            raise ValueError(
                f"X has {len(table):,} rows; oof_importances needs the {len(self._fold_of_row):,} "
                "that the model was fitted to"
            )
        p = self.n_features_in_
        known = getattr(self, "feature_names_in_", None)
        names = np.array([f"x{j}" for j in range(p)] if known is None else known, dtype=object)
        rise = np.zeros((n_repeats, p))
        if self._blend is not None:
            self._permute(table, self._known_target(y), rise, check_random_state(random_state))
        return {"names": names, "mean": rise.mean(axis=0), "std": rise.std(axis=0)}

    def _known_target(self, y: Any) -> Array:
        """Y of targets like those of `fit`."""
        raise NotImplementedError

    def _permute(self, table: Any, Y: Array, rise: Array, rng: Any) -> None:
        """Write how much each shuffled column raises the loss, repeat by repeat."""
        assert self._reader is not None
        assert self._encoder is not None
        assert self._blend is not None
        rows = np.flatnonzero(self._fold_of_row >= 0)
        folds = self._fold_of_row[rows].astype(np.int64)
        columns, Y = self._reader.read(_taken(table, rows)), Y[rows]
        levels = self._reader.schema().levels
        weights = np.ones(len(rows))
        means = means_by_fold(columns.codes, levels, self._level_targets(Y), weights, folds)
        chosen = rng.permutation(len(rows))[:MOST_PERMUTED]
        columns, Y, folds = columns.taken(chosen), Y[chosen], folds[chosen]

        def loss(of: Columns) -> float:
            inputs = self._encoder.encode(of, means, folds)  # type: ignore[union-attr]
            outputs = self._blend.predict_without(  # type: ignore[union-attr]
                inputs, self._n_threads()
            )
            outputs = outputs[folds, np.arange(len(folds))]
            return float(row_losses(outputs, Y, self._loss).mean())

        base = loss(columns)
        owners, code_owners = self._reader.owners, self._reader.code_owners
        known = getattr(self._reader.cleaner, "feature_names_in_", self._reader.names)
        place = {str(name): j for j, name in enumerate(known)}
        for i, name in enumerate(self._reader.names):
            for repeat in range(len(rise)):
                order = rng.permutation(len(Y))
                shuffled = Columns(columns.numbers.copy(), columns.codes.copy())
                for cells, of in ((shuffled.numbers, owners), (shuffled.codes, code_owners)):
                    cells[:, of == i] = cells[order][:, of == i]
                rise[repeat, place[name]] = loss(shuffled) - base

    def __sklearn_tags__(self) -> Any:
        """scikit-learn's tags: strings, categories and missing values are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.categorical = tags.input_tags.allow_nan = True
        return tags


def _count_groups(groups: NDArray[Any]) -> int:
    n = len(np.unique(groups))
    if n < 2:
        raise ValueError("all rows are in one group; cross-fitting needs at least two groups")
    return n


def _taken(table: Any, rows: Any) -> Any:
    """Some rows of an array or of a pandas frame."""
    return table[rows] if isinstance(table, np.ndarray) else table.iloc[rows]
