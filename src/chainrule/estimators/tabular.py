"""From a raw data frame to a network: `tabular_pipeline`.

Three steps: columns get one type for each kind (:class:`TableCleaner`), kinds become numbers
(scikit-learn's ColumnTransformer with its own and skrub's transformers), numbers go into an MLP.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from chainrule.base.validation import nearest
from chainrule.estimators.classifier import MLPClassifier
from chainrule.estimators.regressor import MLPRegressor
from chainrule.tables.cells import (
    CellError,
    as_dates,
    as_frame,
    as_numbers,
    as_strings,
    listed,
    spelling,
)
from chainrule.tables.columns import KINDS, kinds_of
from chainrule.tables.levels import (
    UnseenLevelWarning,
    as_levels,
    level_type,
    no_value,
    unseen,
    unseen_in_words,
)
from chainrule.tables.skrub_folder import prepare_skrub

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

USED = ("numeric", "categorical", "date", "text")
MAX_LEVELS = 40  # of a category that becomes a column each
MISSING = "missing"  # the level of a category that is not there
SQUASHED = 30  # times the quartiles' distance: heavy tails keep their shape, blunders do no harm
LARGEST = 1e100
ESTIMATORS: dict[str, Any] = {"classification": MLPClassifier, "regression": MLPRegressor}


class TableCleaner(
    TransformerMixin,
    BaseEstimator,
    auto_wrap_output_keys=None,  # type: ignore[call-arg]
):
    """Give each column of a data frame the one type of its kind; drop what cannot be learnt from.

    Numbers become float64, categories strings with a level "missing", dates datetime64 without a
    time zone (UTC), free text strings. Values that are equal are one level of a category, whatever
    type they come in: see ``chainrule.tables.levels.level``. Durations and times of day are numbers
    of seconds. Bytes, lists, structures, intervals and complex numbers are refused. Constant
    columns and those that only identify rows are dropped. Columns are found by name: their order
    does not matter, and others are ignored.

    Parameters
    ----------
    kinds : dict of str to str, default=None
        Kinds of columns that you know better: one of ``chainrule.tables.columns.KINDS`` by name; a
        column of kind "constant" or "identifier" is dropped. Others are found by
        ``chainrule.tables.columns.kinds_of``.
    max_levels : int, default=40
        Categories of more levels are given as text.
    missing_texts : list of str, default=None
        The texts that say that a value is missing, in every column, and no others do. None: in
        columns of numbers, dates and truth values NA, null, ? and the like.

    Attributes
    ----------
    feature_names_in_ : ndarray of str
    n_features_in_ : int
    kinds_ : dict of str to str
        The kind of each column.
    spellings_ : dict of str to str
        How numbers and dates are spelled that come as text, as ``chainrule.tables.spellings``
        has it; texts in other frames are read the same way.
    many_levels_ : list of str
        Categories that are given as text.
    level_types_ : dict of str to str
        What the values of each category are, one of ``chainrule.tables.levels.LEVEL_TYPES``; and
        "boolean" for a numeric column of truth values.
    levels_ : dict of str to list of str
        The levels of each category that is not given as text, sorted; "missing" is one if a value
        was missing.
    """

    missing_texts: Sequence[str] | None = None  # of files from before there was the parameter

    def __init__(
        self,
        kinds: dict[str, str] | None = None,
        max_levels: int = MAX_LEVELS,
        missing_texts: Sequence[str] | None = None,
    ) -> None:
        self.kinds = kinds
        self.max_levels = max_levels
        self.missing_texts = missing_texts

    def fit(self, X: Any, y: Any = None) -> TableCleaner:
        """Find each column's kind.

        Parameters
        ----------
        X : data frame of shape (n_samples, n_features)
            pandas, polars, or anything with a ``to_pandas()``; an array is taken too.
        y : ignored
        """
        self.fit_transform(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> pd.DataFrame:
        """Find each column's kind, and give the cleaned frame.

        Parameters
        ----------
        X : data frame of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        pandas.DataFrame
        """
        frame = self._with_holes(as_frame(X))
        if not len(frame):
            raise ValueError("the table has no rows to learn from")
        given = dict(self.kinds or {})
        for name, kind in given.items():
            if kind not in KINDS:
                raise ValueError(f"kinds[{name!r}] must be one of {', '.join(KINDS)}; got {kind!r}")
        unknown = [name for name in frame if name not in given]
        gone = self.missing_texts
        found = {column.name: column.kind for column in kinds_of(frame[unknown], None, gone)}
        self.kinds_ = {name: given.get(name) or found[name] for name in frame}
        self.feature_names_in_ = np.array(list(frame), dtype=object)
        self.n_features_in_ = len(self.feature_names_in_)
        if not self._used():
            reasons = ", ".join(f"{name!r} ({kind})" for name, kind in self.kinds_.items())
            raise ValueError(
                f"there is no column left to learn from: {reasons or 'the table is empty'}"
            )
        self.spellings_ = self._spellings(frame)
        if any(style.startswith("comma") for style in self.spellings_.values()):
            self.spellings_ = self._spellings(frame, comma_seen=True)
        self._learn_levels(frame)
        return self.transform(frame)

    def _spellings(self, frame: pd.DataFrame, comma_seen: bool = False) -> dict[str, str]:
        """How each column of text spells its numbers or dates."""
        found = {}
        for name, kind in self.kinds_.items():
            if kind not in ("numeric", "date"):
                continue
            style = spelling(frame[name], comma_seen, self.missing_texts)
            if style is not None:
                found[name] = style
        commas = any(style.startswith("comma") for style in found.values())
        return {
            name: ("comma" if commas else "number") if style == "integer" else style
            for name, style in found.items()
        }

    def _learn_levels(self, frame: pd.DataFrame) -> None:
        self.level_types_, self.levels_ = {}, {}
        self.many_levels_ = []
        for name, kind in self.kinds_.items():
            if kind not in ("categorical", "numeric"):
                continue
            type = level_type(frame[name], self.missing_texts)
            if kind == "numeric":
                if type == "boolean":
                    self.level_types_[name] = type
                continue
            self.level_types_[name] = type
            levels = sorted(set(as_levels(frame[name], type, MISSING, None, self.missing_texts)))
            if len(set(levels) - {MISSING}) > self.max_levels:
                self.many_levels_.append(name)
            else:
                self.levels_[name] = levels

    def transform(self, X: Any) -> pd.DataFrame:
        """Give the cleaned frame.

        Parameters
        ----------
        X : data frame of shape (n_samples, n_features)

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ValueError
            Columns are missing.
        CellError
            A number or a date is none.

        Warns
        -----
        UnseenLevelWarning
            Categories have levels that `fit` did not see: names the columns, the levels and the
            number of rows. They are none of the levels known.
        """
        check_is_fitted(self, "kinds_")
        import pandas as pd

        frame = self._with_holes(as_frame(X))
        used = self._used()
        absent = [name for name in used if name not in frame]
        if absent:
            raise ValueError(
                f"{'columns are' if len(absent) > 1 else 'a column is'} missing that the model "
                f"needs: {listed(absent)}; there are {listed(list(frame))}"
            )
        cleaned = pd.DataFrame(
            {name: self._cleaned(frame[name], kind) for name, kind in used.items()},
            index=frame.index,
        )
        said = [
            unseen_in_words(name, count, known, MISSING)
            for name, known in getattr(self, "levels_", {}).items()
            if (count := unseen(cleaned[name].to_numpy(object), known))
        ]
        if said:
            warnings.warn("; ".join(said), UnseenLevelWarning, stacklevel=2)
        return cleaned

    def _with_holes(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame, texts that say that they are missing gone from columns of text."""
        from pandas.api import types

        gone = no_value("text", self.missing_texts)
        texts = [
            name
            for name in frame
            if types.is_object_dtype(frame[name].dtype) or types.is_string_dtype(frame[name].dtype)
        ]
        if not gone or not texts:
            return frame
        blank = {
            name: frame[name].map(lambda cell: isinstance(cell, str) and cell.strip() in gone)
            for name in texts
        }
        return frame.assign(**{name: frame[name].mask(found) for name, found in blank.items()})

    def _used(self) -> dict[str, str]:
        return {name: kind for name, kind in self.kinds_.items() if kind in USED}

    def unseen(self, X: Any) -> dict[str, Counter[str]]:
        """Count the rows of each level that was never seen in `fit`.

        Parameters
        ----------
        X : data frame of shape (n_samples, n_features)

        Returns
        -------
        dict of str to collections.Counter
            By column; the level "missing" stands for a missing value. Categories that are given as
            text have no levels that are known.
        """
        check_is_fitted(self, "kinds_")
        frame = self._with_holes(as_frame(X))
        counts = {
            name: unseen(self._levels(frame[name]), known)
            for name, known in getattr(self, "levels_", {}).items()
        }
        return {name: count for name, count in counts.items() if count}

    def _levels(self, column: pd.Series) -> NDArray[Any]:
        name = str(column.name)
        known = self.levels_.get(name)
        return as_levels(column, self.level_types_[name], MISSING, known, self.missing_texts)

    def _cleaned(self, column: pd.Series, kind: str) -> Any:
        import pandas as pd

        name = str(column.name)
        types: dict[str, str] = getattr(self, "level_types_", {})
        if kind == "categorical" and name not in self.many_levels_:
            old = name not in types  # a file of before there were types
            return pd.Categorical(as_strings(column, MISSING) if old else self._levels(column))
        if kind == "numeric" and types.get(name) == "boolean":
            return _truths(column, self.missing_texts)
        if kind == "numeric":
            numbers = as_numbers(column, self.spellings_.get(name), self.missing_texts)
            numbers[np.abs(numbers) > LARGEST] *= np.inf  # squashed to the same; no overflow
            return numbers
        if kind == "date":
            return as_dates(column, self.spellings_.get(name), self.missing_texts)
        return as_levels(column, types.get(name, "text"), "", None, self.missing_texts)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Names of the columns kept.

        Parameters
        ----------
        input_features : ignored
        """
        check_is_fitted(self, "kinds_")
        return np.array(list(self._used()), dtype=object)

    def set_output(self, *, transform: Any = None) -> TableCleaner:
        """Do nothing: what comes out is always a pandas frame.

        Parameters
        ----------
        transform : ignored
        """
        return self

    def __sklearn_tags__(self) -> Any:
        """scikit-learn's tags: strings, categories and missing values are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.categorical = tags.input_tags.allow_nan = True
        return tags


def _truths(column: pd.Series, missing_texts: Sequence[str] | None) -> NDArray[np.float64]:
    """1 and 0 of a column that held truth values in training."""
    levels = as_levels(column, "boolean", "", None, missing_texts)
    known = {"true": 1.0, "false": 0.0, "": np.nan}
    for row, each in enumerate(levels):
        if each not in known:
            raise CellError(str(column.name), row, each, "truth value")
    return np.array([known[each] for each in levels], np.float64)


def tabular_pipeline(
    estimator: Any = "classification",
    *,
    kinds: Mapping[str, str] | None = None,
    max_levels: int = MAX_LEVELS,
    text_columns: int = 30,
    missing_texts: Sequence[str] | None = None,
    random_state: Any = None,
    **parameters: Any,
) -> Pipeline:
    """Make a scikit-learn Pipeline that learns from a raw data frame.

    Numbers are scaled robustly, outliers squashed smoothly into ±30, holes filled with the mean
    and marked in a column of their own; categories become a column a level, "missing" among
    them, and a level never seen in `fit` is none of them (`predict` warns of such, and counts
    their rows); dates become years, seconds and positions on circles of months, days, hours and
    weekdays; free text, and categories of more levels than `max_levels`, become `text_columns`
    numbers by their n-grams. Constant columns and those that only identify rows are dropped.

    Parameters
    ----------
    estimator : {"classification", "regression"} or estimator, default="classification"
        "classification" is an `MLPClassifier`, "regression" an `MLPRegressor`; both hold out a
        tenth of the rows, stop when the loss on them has not fallen for 20 epochs, and put the
        best epoch's parameters back; 500 epochs at most, batches of 32, steps of 0.002, dropout
        of 0.1.
    kinds : dict of str to str, default=None
        Kinds of columns that you know better, by name; see `TableCleaner`.
    max_levels : int, default=40
        Categories of more levels are treated as text.
    text_columns : int, default=30
        Columns that each text column becomes.
    missing_texts : list of str, default=None
        The texts that say that a value is missing, and no others do; see `TableCleaner`.
    random_state : int, RandomState or None, default=None
        For the network and for the text's projection.
    **parameters
        Of `MLPClassifier` or `MLPRegressor`, such as ``hidden_layer_sizes``.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Steps "clean", "encode" and "mlp" ("estimator" if it is your own).

    Raises
    ------
    ValueError
        `estimator` is an unknown name.
    TypeError
        An unknown parameter, or parameters for an estimator of your own.

    Examples
    --------
    >>> import pandas as pd
    >>> from chainrule import tabular_pipeline
    >>> X = pd.DataFrame({"size": [1.0, 2.0, None] * 30, "colour": ["red", None, "blue"] * 30})
    >>> y = ["a", "b", "c"] * 30
    >>> model = tabular_pipeline("classification", random_state=0).fit(X, y)
    >>> model.predict(pd.DataFrame({"size": [None], "colour": ["blue"]})).tolist()
    ['c']
    """
    from sklearn.pipeline import Pipeline

    name = "mlp"
    if isinstance(estimator, str):
        if estimator not in ESTIMATORS:
            near = nearest(estimator, ESTIMATORS)
            raise ValueError(
                f"estimator must be {' or '.join(map(repr, ESTIMATORS))}, or an estimator; "
                f"got {estimator!r}" + (f". Did you mean {near!r}?" if near else "")
            )
        settings = _defaults(estimator, parameters) | {"random_state": random_state} | parameters
        estimator = ESTIMATORS[estimator](**settings)
    elif not hasattr(estimator, "fit") or isinstance(estimator, type):
        raise TypeError(f"estimator must be a name or an estimator, made; got {estimator!r}")
    elif parameters:
        raise TypeError(
            f"{', '.join(parameters)}: set parameters of your own estimator where you make it"
        )
    else:
        name = "mlp" if isinstance(estimator, tuple(ESTIMATORS.values())) else "estimator"
    steps = [
        ("clean", TableCleaner(None if kinds is None else dict(kinds), max_levels, missing_texts)),
        ("encode", encoder(text_columns, random_state)),
        (name, clone(estimator)),
    ]
    return Pipeline(steps)


def _defaults(task: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that suit tables, as far as they go with those given."""
    defaults: dict[str, Any] = {"early_stopping": True, "max_iter": 500, "n_iter_no_change": 20}
    # The inputs are scaled already; each of a text's columns standardised, they would drown out
    # the numbers.
    defaults["standardize"] = "target" if task == "regression" else False
    if parameters.get("early_stopping", True):
        defaults["scoring"] = "loss"
    if parameters.get("solver") != "lbfgs":
        defaults |= {"learning_rate_init": 0.002, "batch_size": 32}
        if parameters.get("hidden_layer_sizes", 1) not in ((), []):
            defaults["dropout"] = 0.1
    return defaults


def encoder(text_columns: int = 30, random_state: Any = None) -> Any:
    """The step that makes numbers of a cleaned frame; see `tabular_pipeline`.

    Parameters
    ----------
    text_columns : int, default=30
        Columns that each text column becomes.
    random_state : int, RandomState or None, default=None
    """
    try:
        prepare_skrub()
        from skrub import ApplyToCols, DatetimeEncoder, SquashingScaler, StringEncoder
    except ImportError as error:
        raise ImportError(
            'tabular_pipeline needs skrub: pip install "chainrule[tables]"'
        ) from error
    from sklearn.compose import ColumnTransformer, make_column_selector
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    squash = ("scale", SquashingScaler(max_absolute_value=SQUASHED))
    parts = DatetimeEncoder(periodic_encoding="circular", add_weekday=True)
    words = StringEncoder(n_components=text_columns, random_state=random_state)
    numeric = Pipeline([squash, ("fill", SimpleImputer(add_indicator=True))])
    levels = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    date = Pipeline([("parts", ApplyToCols(parts)), squash, ("fill", SimpleImputer())])
    undated = Pipeline(  # one mark a column, where the imputer would give one a part
        [
            ("seconds", ApplyToCols(DatetimeEncoder(resolution=None))),
            ("mark", MissingIndicator(error_on_new=False)),
        ]
    )
    dated = make_column_selector(dtype_include="datetime")
    rest = make_column_selector(dtype_exclude=["number", "category", "datetime"])
    return ColumnTransformer(
        [
            ("numeric", numeric, make_column_selector(dtype_include="number")),
            ("categorical", levels, make_column_selector(dtype_include="category")),
            ("date", date, dated),
            ("date_missing", undated, dated),
            ("text", ApplyToCols(words), rest),
        ]
    )
