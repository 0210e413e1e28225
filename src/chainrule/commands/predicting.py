"""What the command predict does: a stored model on a table, in blocks of rows.

Nothing is printed here. Every error that a user can cause is a ValueError with a message for
them.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chainrule.commands.deciding import Decision, decided, of_metadata
from chainrule.estimators.cleaning import MISSING
from chainrule.tables.cells import listed
from chainrule.tables.columns import marks_in
from chainrule.tables.levels import UnseenLevelWarning, unseen_in_words
from chainrule.tables.types import Reading

if TYPE_CHECKING:
    import pandas as pd

    from chainrule.tables.reading import Reject

MOST_ROWS = 32768  # in a block
MOST_NUMBERS = 4_000_000  # that a block may become before the network


@dataclass
class Stored:
    """A model from a file, and what its file says about the columns.

    Attributes
    ----------
    path : str
    estimator : estimator or Pipeline
    target : str or None
        None where the file does not say.
    needed : dict of str to (str or None)
        Names of the columns that it needs, and their types for `chainrule.tables.read`.
    target_type : str or None
    known : set of str
        Columns that it was trained beside, and does not need.
    reading : Reading
        How the cells of these columns were spelled in training.
    labels : dict
        Which text each class was; see `chainrule.commands.preparing.Table`.
    compared_with : anything
        What the file has of baselines; see `chainrule.commands.baselines`.
    decision : Decision or None
        How one of two classes is decided for.
    """

    path: str
    estimator: Any
    target: str | None
    needed: dict[str, str | None]
    target_type: str | None = None
    known: set[str] = field(default_factory=set)
    reading: Reading = field(default_factory=Reading)
    labels: dict[str, Any] = field(default_factory=dict)
    compared_with: Any = None
    decision: Decision | None = None

    @property
    def is_classifier(self) -> bool:
        """Whether it predicts classes."""
        return hasattr(self.estimator, "classes_")


def open_model(path: str | os.PathLike[str]) -> Stored:
    """Read a model that predicts from tables.

    Parameters
    ----------
    path : str or path

    Raises
    ------
    ValueError
        It is no model's file, or the model does not know the names of its columns.
    """
    from chainrule.files.persistence import load

    return stored_at(path, load(path))


def stored_at(path: str | os.PathLike[str], model: Any) -> Stored:
    """A model that was loaded from this file, with what the file says of its columns.

    Parameters
    ----------
    path : str or path
    model : estimator or Pipeline

    Raises
    ------
    ValueError
        The model does not know the names of its columns.
    """
    from chainrule.files.persistence import read_header

    header = read_header(path)
    first = model[0] if hasattr(model, "steps") else model
    if hasattr(first, "kinds_") and hasattr(first, "get_feature_names_out"):
        names = list(first.get_feature_names_out())
    else:
        names = [str(name) for name in getattr(model, "feature_names_in_", [])]
    if not names or not hasattr(model, "predict"):
        raise ValueError(
            f"{os.fspath(path)} does not know the names of its columns, so it cannot be matched "
            "with a table; fit it to a data frame, or predict with it in Python"
        )
    metadata = header.get("metadata") or {}
    types = metadata.get("types") or {}
    kinds = getattr(first, "kinds_", {})
    needed = {name: column_type(types.get(name), kinds.get(name, "numeric")) for name in names}
    learnt = Reading.of(metadata)
    formats = {
        name: format
        for name, format in learnt.formats.items()
        if name == metadata.get("target") or needed.get(name) == format.type
    }
    return Stored(
        path=os.fspath(path),
        estimator=model,
        target=metadata.get("target"),
        needed=needed,
        target_type=metadata.get("target_type"),
        known={*types, *metadata.get("ignored", ())},
        reading=learnt._replace(formats=formats),
        labels=metadata.get("labels") or {},
        compared_with=metadata.get("compared_with"),
        decision=of_metadata(metadata.get("decision"), getattr(model, "classes_", ())),
    )


def column_type(trained: str | None, kind: str) -> str | None:
    """What a column is read as: any number where there were integers that are taken as numbers.

    Those that are taken as names keep all their digits as texts.

    Parameters
    ----------
    trained : str or None
        Its type in the table that was learnt from.
    kind : str
    """
    if kind == "date" and trained == "text":
        return "date"
    if kind == "numeric":
        return "boolean" if trained == "boolean" else "number"
    return "text" if trained in ("integer", "boolean") else trained


@dataclass
class Counts:
    """How many rows were predicted and rejected, and what in them the model does not know.

    Attributes
    ----------
    rows, rejected : int
    unknown : list of str
        Columns.
    unseen : dict of str to collections.Counter
        By column, the rows of each level of a category that training did not have.
    marks : dict of str to collections.Counter
        By column of numbers or dates, the texts beside the usual ones that were taken for missing.
    renamed : dict of str to str
        New names of added columns, where the table has columns of their usual names.
    """

    rows: int = 0
    rejected: int = 0
    unknown: list[str] = field(default_factory=list)
    unseen: dict[str, Counter[str]] = field(default_factory=dict)
    marks: dict[str, Counter[str]] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)

    def see_marks(self, names: Iterable[str], text: pd.DataFrame, typed: pd.DataFrame) -> None:
        """Count the texts in these columns that were taken for missing."""
        for name in names:
            gone = typed[name].isna()
            if gone.any():
                counts = marks_in(text[name][gone])
                if counts:
                    self.marks.setdefault(name, Counter()).update(counts)

    def see(self, model: Any, X: pd.DataFrame) -> None:
        """Count the levels in these rows that training did not have."""
        first = model[0] if hasattr(model, "steps") else model
        if hasattr(first, "unseen") and len(X):
            for name, counts in first.unseen(X).items():
                self.unseen.setdefault(name, Counter()).update(counts)

    def notices(self, model: Any) -> list[str]:
        """Notes on levels that training did not have and on cells read as missing.

        It is a sentence for each column.

        Parameters
        ----------
        model : Pipeline
        """
        levels = getattr(model[0], "levels_", {}) if self.unseen else {}
        said = [
            unseen_in_words(name, counts, levels[name], MISSING)
            for name, counts in self.unseen.items()
        ]
        for name, counts in self.marks.items():
            shown = ", ".join(f"{text!r} ({n:,})" for text, n in counts.items())
            said.append(f"column {name!r}: cells taken for missing: {shown}")
        return said


def predict_file(
    stored: Stored,
    source: Any,
    out: str,
    *,
    format: str | None = None,
    rejects: str | None = None,
    overwrite: bool = False,
    table: str | None = None,
    query: str | None = None,
    prediction_column: str | None = None,
    probability_prefix: str | None = None,
    on_block: Callable[[Counts], Any] | None = None,
) -> Counts:
    """Add predictions to a table, in bounded memory.

    Parameters
    ----------
    stored : Stored
    source : str, path or list of them
        As for `chainrule.tables.read`.
    out : str
        A CSV or Parquet file; "-" is standard output.
    format : {"csv", "parquet"} or None, default=None
        None: by the suffix.
    rejects : str or None, default=None
        A new CSV file for rows that cannot be read. None: such a row is an error.
    overwrite : bool, default=False
        Whether `out` may exist.
    table, query : str or None, default=None
        Of a database.
    prediction_column : str or None, default=None
        Name of the column of predictions. None: "prediction".
    probability_prefix : str or None, default=None
        What names of columns of probabilities start with. None: "probability_".
    on_block : callable (Counts), optional
        Called after each block of rows.

    Raises
    ------
    ValueError
        A column is missing or of another type, a row cannot be read, a file cannot be written, or
        the table has a column of a name that was asked for. No half-written file is left.
    """
    from chainrule.tables.reading import writer

    counts = Counts()
    names = added_names(stored, prediction_column, probability_prefix)
    with writer(out, format, overwrite=overwrite) as file:
        for typed, text in table_blocks(stored, source, {}, rejects, counts, table, query):
            frame = text.copy(deep=False)
            new, counts.renamed = _free_names(names, list(frame))
            X = typed[list(stored.needed)]
            counts.see(stored.estimator, X)
            added = predictions(stored.estimator, X, stored.decision)
            for name, values in zip(new, added.values(), strict=True):
                frame[name] = values
            file.write(frame)
            counts.rows += len(frame)
            if on_block is not None:
                on_block(counts)
    return counts


def added_names(
    stored: Stored, prediction_column: str | None = None, probability_prefix: str | None = None
) -> list[tuple[str, bool]]:
    """Names of the columns that predictions are put into, and whether each was asked for.

    Parameters
    ----------
    stored : Stored
    prediction_column, probability_prefix : str or None, default=None
        As for :func:`predict_file`.

    Raises
    ------
    ValueError
        A name is empty, two are the same, or there are no probabilities to name.
    """
    if prediction_column == "":
        raise ValueError("--prediction-column is empty; give a name")
    if probability_prefix is not None and not stored.is_classifier:
        raise ValueError("--probability-prefix has no meaning: the model predicts numbers")
    asked = probability_prefix is not None
    prefix = "probability_" if probability_prefix is None else probability_prefix
    others = _other_names(stored.estimator, prefix)
    found = [(prediction_column or "prediction", prediction_column is not None)]
    found += [(name, asked) for name in others]
    if found[0][0] in others:
        raise ValueError(
            f"the prediction and another column would both be called {found[0][0]!r}; choose "
            "another --prediction-column or --probability-prefix"
        )
    return found


def _other_names(model: Any, prefix: str = "probability_") -> list[str]:
    """Names of the columns beside the prediction."""
    if hasattr(model, "classes_"):
        return [f"{prefix}{name}" for name in model.classes_]
    levels = quantile_levels(model)
    if levels:
        return [f"quantile_{level:g}" for level in levels]
    return ["deviation"] if predicts_deviation(model) else []


def _free_names(
    names: list[tuple[str, bool]], taken: list[str]
) -> tuple[list[str], dict[str, str]]:
    """(names that are not taken, by each usual name the new one if there is one).

    If a usual name is taken, all of them get the same number at their end.
    """
    occupied = set(taken)
    refused = [name for name, asked in names if asked and name in occupied]
    if refused:
        raise ValueError(
            f"the table has {'columns' if len(refused) > 1 else 'a column'} {listed(refused)} "
            "already; choose another --prediction-column or --probability-prefix"
        )
    usual = [name for name, asked in names if not asked]
    if not occupied & set(usual):
        return [name for name, _ in names], {}
    fixed = occupied | {name for name, asked in names if asked}
    number = 2
    while fixed & {f"{name}_{number}" for name in usual}:
        number += 1
    renamed = {name: f"{name}_{number}" for name in usual}
    return [name if asked else renamed[name] for name, asked in names], renamed


def table_blocks(
    stored: Stored,
    source: Any,
    more: dict[str, str | None],
    rejects: str | None,
    counts: Counts,
    table: str | None,
    query: str | None,
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """(typed, as they came) blocks of a table that has the columns needed."""
    from chainrule.tables.files import is_read_once
    from chainrule.tables.reading import blocks

    wanted = {**stored.needed, **more}
    where: dict[str, Any] = {"table": table, "query": query}
    formats = {name: each for name, each in stored.reading.formats.items() if name in wanted}
    for name, type in more.items():
        if name in formats and formats[name].type != type:
            del formats[name]
    types: dict[str, str] = {name: type for name, type in wanted.items() if type is not None}
    if not is_read_once(source):  # with a type for every column, the table is read once, not twice
        head = blocks(source, rows=1, types="text", rejects=lambda reject: None, **where)
        names = list(next(head))
        head.close()  # type: ignore[attr-defined]
        _check_columns(stored, names, wanted)
        types = (
            {name: types.get(name, "text") for name in names}
            if len(types) == len(wanted)
            else types
        )
    read = [name for name, type in wanted.items() if type in ("number", "date", "boolean")]
    with _counting(rejects, counts) as count:
        first = True
        for typed, text in blocks(
            source,
            rows=_block_rows(stored.estimator),
            types=types,
            rejects=count,
            with_text=True,
            reading=stored.reading._replace(formats=formats),
            **where,
        ):
            if first:
                _check_columns(stored, list(typed), wanted)
                spare = {*wanted, *stored.known, stored.target}
                counts.unknown = [name for name in typed if name not in spare]
            first = False
            counts.see_marks(read, text, typed)
            yield typed, text


def _block_rows(model: Any) -> int:
    """Rows in a block: fewer where they become many numbers."""
    last = model[-1] if hasattr(model, "steps") else model
    width = max(getattr(last, "n_features_in_", 1), 1)
    return int(np.clip(MOST_NUMBERS // width, 64, MOST_ROWS))


def _check_columns(stored: Stored, names: list[str], wanted: dict[str, str | None]) -> None:
    absent = [name for name in wanted if name not in names]
    if absent:
        raise ValueError(
            f"{'columns are' if len(absent) > 1 else 'a column is'} missing that the model needs: "
            f"{listed(absent)}; the table has {listed(names)}"
        )


@contextmanager
def _counting(rejects: str | None, counts: Counts) -> Iterator[Any]:
    """What to do with rows that cannot be read: count them and write them to a file, or None."""
    if rejects is None:
        yield None
        return
    from chainrule.tables.reading import rejects_file

    with rejects_file(rejects) as write:

        def count(reject: Reject) -> None:
            counts.rejected += 1
            write(reject)

        yield count


def predictions(
    model: Any, X: pd.DataFrame, decision: Decision | None = None
) -> dict[str, NDArray[Any]]:
    """What is added to rows: a column by its name.

    Parameters
    ----------
    model : estimator or Pipeline
    X : pandas.DataFrame of shape (n, columns)
    decision : Decision or None, default=None
        How a classifier decides; None: for the likeliest class.

    Returns
    -------
    dict of str to (n,) array
        "prediction", and "probability_<class>" of a classifier; "quantile_<level>" of a regressor
        with several, whose middle one is the prediction; "deviation" of one that predicts it.
    """
    if not len(X):
        X = X.reindex([0])  # estimators take no empty tables
        return {name: values[:0] for name, values in predictions(model, X, decision).items()}
    values, others = predict_frame(model, X, decision)
    if quantile_levels(model):
        values, others = values[:, values.shape[1] // 2], values
    elif predicts_deviation(model):
        last = model[-1] if hasattr(model, "steps") else model
        with counted_already():
            Z = model[:-1].transform(X) if hasattr(model, "steps") else X
        others = last.predict(Z, return_std=True)[1][:, None]
    columns = [] if others is None else list(others.T)
    return {"prediction": values} | dict(zip(_other_names(model), columns, strict=True))


def predicts_deviation(model: Any) -> bool:
    """Whether a fitted regressor predicts a deviation beside each number."""
    last = model[-1] if hasattr(model, "steps") else model
    return hasattr(last, "_predicts_deviation") and last._predicts_deviation()


def predict_frame(
    model: Any, X: Any, decision: Decision | None = None
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """(predictions, probabilities or None for a regressor)."""
    with counted_already():
        if not hasattr(model, "classes_"):
            return model.predict(X), None
        chances = model.predict_proba(X)
    return decided(chances, model.classes_, decision), chances


@contextmanager
def counted_already() -> Iterator[None]:
    """Without warnings of levels never seen in training: `Counts` gathers them over all blocks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnseenLevelWarning)
        yield


def quantile_levels(model: Any) -> tuple[float, ...]:
    """Quantiles that a fitted regressor predicts, if it predicts several; else ()."""
    last = model[-1] if hasattr(model, "steps") else model
    levels: tuple[float, ...] = last._levels() if hasattr(last, "_levels") else ()
    return levels if len(levels) > 1 else ()
