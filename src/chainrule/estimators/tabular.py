"""From a raw data frame to a model: `tabular_pipeline`.

First columns get one type for each kind (:class:`TableCleaner`). The tabular ensembles take them as
they are then. For a network, or an estimator of the user's own, kinds become numbers
(scikit-learn's ColumnTransformer with its own and skrub's transformers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from chainrule.base.validation import nearest, suggest
from chainrule.estimators.choosing import (
    MODELS,
    NETWORK,
    OF_ENSEMBLES,
    PRESETS,
    model_for,
    without_effect,
)
from chainrule.estimators.classifier import MLPClassifier
from chainrule.estimators.cleaning import MAX_LEVELS, USED, TableCleaner
from chainrule.estimators.raw_columns import ANY_NUMBER
from chainrule.estimators.regressor import MLPRegressor
from chainrule.estimators.tabular_classifier import TabularClassifier
from chainrule.estimators.tabular_ensemble import TabularEnsemble
from chainrule.estimators.tabular_regressor import TabularRegressor
from chainrule.tables.skrub_folder import prepare_skrub

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

SQUASHED = 30  # times the quartiles' distance: heavy tails keep their shape, blunders do no harm
TEXT_COLUMNS = 30
ESTIMATORS: dict[str, Any] = {"classification": MLPClassifier, "regression": MLPRegressor}
ENSEMBLES: dict[str, Any] = {"classification": TabularClassifier, "regression": TabularRegressor}


def tabular_pipeline(
    estimator: Any = "classification",
    *,
    model: str | None = None,
    kinds: Mapping[str, str] | None = None,
    max_levels: int | None = None,
    text_columns: int | None = None,
    missing_texts: Sequence[str] | None = None,
    random_state: Any = None,
    **parameters: Any,
) -> Pipeline:
    """Make a scikit-learn Pipeline that learns from a raw data frame.

    Columns get one type for each kind: numbers, categories, dates, free text. Constant columns and
    those that only identify rows are dropped. `predict` warns of levels that were never seen in
    `fit`, and counts their rows.

    A `TabularClassifier` or `TabularRegressor` accepts these columns as they are. For a network, or
    an estimator of your own, they become numbers. Numbers are scaled robustly, outliers squashed
    smoothly into ±30, missing ones filled with the mean and marked in a column of their own;
    categories become a column a level, "missing" among them, and a level never seen is none of
    them; dates become years, seconds and positions on circles of months, days, hours and weekdays;
    free text, and categories of more levels than `max_levels`, become `text_columns` numbers by
    their n-grams.

    Parameters
    ----------
    estimator : {"classification", "regression"} or estimator, default="classification"
        What is predicted, for which `model` says by what; or an estimator of your own.
    model : {"tabular", "fast", "network"} or None, default=None
        "tabular" is a `TabularClassifier` or `TabularRegressor`, "fast" the same with
        ``preset="fast"``. "network" is an `MLPClassifier` or `MLPRegressor` that holds out a tenth
        of the rows, stops when the loss on them has not fallen for 20 epochs, and puts the best
        epoch's parameters back; 500 epochs at most, batches of 32, steps of 0.002, dropout of 0.1.
        None: "network" if `max_levels`, `text_columns` or a parameter of a network is given, and
        "tabular" otherwise.
    kinds : dict of str to str, default=None
        Kinds of columns that you know better, by name; see `TableCleaner`.
    max_levels : int or None, default=None
        Before a network: categories of more levels are treated as text. None: 40.
    text_columns : int or None, default=None
        Before a network: columns that each text column becomes. None: 30.
    missing_texts : list of str, default=None
        The texts that say that a value is missing, and no others do; see `TableCleaner`.
    random_state : int, RandomState or None, default=None
        For the model and for the text's projection.
    **parameters
        Of the model, such as ``time_limit`` or, of a network, ``hidden_layer_sizes``.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Steps "clean", "encode" and "mlp" ("estimator" if it is your own). Of the tabular ensembles
        "clean" and "estimator".

    Raises
    ------
    ValueError
        `estimator` or `model` is an unknown name.
    TypeError
        An unknown parameter, one that the model does not have, or parameters for an estimator of
        your own.

    Examples
    --------
    >>> import pandas as pd
    >>> from chainrule import tabular_pipeline
    >>> X = pd.DataFrame({"size": [1.0, 2.0, None] * 30, "colour": ["red", None, "blue"] * 30})
    >>> y = ["a", "b", "c"] * 30
    >>> model = tabular_pipeline("classification", model="fast", random_state=0).fit(X, y)
    >>> model.predict(pd.DataFrame({"size": [None], "colour": ["blue"]})).tolist()
    ['c']
    """
    from sklearn.pipeline import Pipeline

    asked = {"max_levels": max_levels, "text_columns": text_columns}
    encoding = {name: value for name, value in asked.items() if value is not None}
    if isinstance(estimator, str):
        made = _model(estimator, model, encoding, {"random_state": random_state} | parameters)
    else:
        _check_own(estimator, model, parameters)
        made = clone(estimator)
    kinds = None if kinds is None else dict(kinds)
    if isinstance(made, TabularEnsemble):
        if encoding:
            raise TypeError(
                f"{', '.join(encoding)}: {type(made).__name__} encodes columns itself, without it"
            )
        if made.kinds is None and kinds is not None:  # of the columns that are left to it
            made.set_params(kinds={name: kind for name, kind in kinds.items() if kind in USED})
        clean = TableCleaner(kinds, ANY_NUMBER, missing_texts)
        return Pipeline([("clean", clean), ("estimator", made)])
    steps = [
        ("clean", TableCleaner(kinds, encoding.get("max_levels", MAX_LEVELS), missing_texts)),
        ("encode", encoder(encoding.get("text_columns", TEXT_COLUMNS), random_state)),
        ("mlp" if isinstance(made, tuple(ESTIMATORS.values())) else "estimator", made),
    ]
    return Pipeline(steps)


def _model(
    task: str, model: str | None, encoding: Mapping[str, Any], parameters: Mapping[str, Any]
) -> Any:
    """The model for a task, of these parameters; `encoding` are settings of what is before it."""
    if task not in ESTIMATORS:
        near = nearest(task, ESTIMATORS)
        raise ValueError(
            f"estimator must be {' or '.join(map(repr, ESTIMATORS))}, or an estimator; "
            f"got {task!r}" + (f". Did you mean {near!r}?" if near else "")
        )
    given = [name for name in (*encoding, *parameters) if name != "random_state"]
    known = {*encoding, *OF_ENSEMBLES, *ESTIMATORS[task]().get_params()}
    if unknown := set(given) - known:
        name = min(unknown)
        near = nearest(name, known)
        raise TypeError(
            f"there is no parameter {name!r}" + (f"; did you mean {near!r}?" if near else "")
        )
    if model is None:
        model = model_for(given)
    if model not in MODELS:
        raise ValueError(f"there is no model {model!r}; {suggest(str(model), MODELS)}")
    lost = without_effect(model, given)
    if lost and model == NETWORK:
        raise TypeError(f"{', '.join(lost)}: a network has no such setting; see model='tabular'")
    if lost:
        raise TypeError(f"{', '.join(lost)}: a setting of a plain network; give model='network'")
    if model == NETWORK:
        return ESTIMATORS[task](**{**_defaults(task, parameters), **parameters})
    return ENSEMBLES[task](PRESETS[model], **parameters)


def _check_own(estimator: Any, model: str | None, parameters: Mapping[str, Any]) -> None:
    """Refuse what is no estimator, and what can only be said of those that are made here."""
    if not hasattr(estimator, "fit") or isinstance(estimator, type):
        raise TypeError(f"estimator must be a name or an estimator, made; got {estimator!r}")
    if model is not None:
        raise TypeError(f"model={model!r} goes with a task by name, not with an estimator")
    if parameters:
        raise TypeError(
            f"{', '.join(parameters)}: set parameters of your own estimator where you make it"
        )


def _defaults(task: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a network that suit tables, as far as they go with those given."""
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


def encoder(text_columns: int = TEXT_COLUMNS, random_state: Any = None) -> Any:
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
