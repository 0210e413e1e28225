"""From a raw data frame to a network: `tabular_pipeline`.

Three steps: columns get one type for each kind (:class:`TableCleaner`), kinds become numbers
(scikit-learn's ColumnTransformer with its own and skrub's transformers), numbers go into an MLP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from chainrule.base.validation import nearest
from chainrule.estimators.classifier import MLPClassifier
from chainrule.estimators.cleaning import MAX_LEVELS, USED, TableCleaner
from chainrule.estimators.raw_columns import ANY_NUMBER
from chainrule.estimators.regressor import MLPRegressor
from chainrule.estimators.tabular_ensemble import TabularEnsemble
from chainrule.tables.skrub_folder import prepare_skrub

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

SQUASHED = 30  # times the quartiles' distance: heavy tails keep their shape, blunders do no harm
ESTIMATORS: dict[str, Any] = {"classification": MLPClassifier, "regression": MLPRegressor}


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

    Numbers are scaled robustly, outliers squashed smoothly into ±30, missing ones filled with the
    mean and marked in a column of their own; categories become a column a level, "missing" among
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
        of 0.1. A `TabularClassifier` or `TabularRegressor` accepts the cleaned columns as they are:
        they have an encoding of their own.
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
        Steps "clean", "encode" and "mlp" ("estimator" if it is your own); no "encode" before a
        `TabularClassifier` or `TabularRegressor`.

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
    kinds = None if kinds is None else dict(kinds)
    estimator = clone(estimator)
    if isinstance(estimator, TabularEnsemble):
        if estimator.kinds is None and kinds is not None:  # of the columns that are left to it
            left = {name: kind for name, kind in kinds.items() if kind in USED}
            estimator.set_params(kinds=left)
        return Pipeline(
            [("clean", TableCleaner(kinds, ANY_NUMBER, missing_texts)), (name, estimator)]
        )
    steps = [
        ("clean", TableCleaner(kinds, max_levels, missing_texts)),
        ("encode", encoder(text_columns, random_state)),
        (name, estimator),
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


def fit_pipeline(
    model: Pipeline, X: Any, y: Any, *, weight: Any = None, stop: Any = None, **of_last: Any
) -> Pipeline:
    """Fit a pipeline for tables, whose last step alone weighs rows and is stopped by some.

    Parameters
    ----------
    model : Pipeline
    X : pandas.DataFrame of n rows
    y : (n,) array
    weight : (n,) array, optional
        What each row counts for.
    stop : int64 array, optional
        Rows to stop by and not to learn from; not with an ensemble. Default: as the estimator
        chooses them.
    **of_last
        More for the last step's `fit`.
    """
    weights = {} if weight is None else {"sample_weight": weight}
    if stop is None:
        name = model.steps[-1][0]
        of_step = {f"{name}__{key}": value for key, value in {**weights, **of_last}.items()}
        return model.fit(X, y, **of_step)
    learnt, before = np.setdiff1d(np.arange(len(y)), stop), model[:-1]
    Z = before.fit_transform(X.iloc[learnt], y[learnt])
    beside = {"X_val": before.transform(X.iloc[stop]), "y_val": y[stop]}
    if weight is not None:
        beside |= {"sample_weight": weight[learnt], "sample_weight_val": weight[stop]}
    model[-1].fit(Z, y[learnt], **beside, **of_last)
    return model
