"""From a raw table to columns of numbers and of categories' codes.

Dates become numbers that say where in time, in the year, in the week and in the day they are; free
text becomes numbers by its n-grams: counts of hashed parts of words, weighted by how rare they are
(tf-idf), and projected onto the directions in which the training rows differ the most (latent
semantic analysis).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.base.types import Array
from chainrule.ensembles.encoding import LARGEST, MISSING, UNSEEN, Columns, Schema
from chainrule.estimators.cleaning import MISSING as MISSING_LEVEL
from chainrule.estimators.cleaning import TableCleaner

if TYPE_CHECKING:
    import pandas as pd

MOST_LEVELS = 20_000  # of a category; rarer ones are as those that training did not have
ANY_NUMBER = 1 << 30  # of levels: a category never becomes text
PLAIN = (float, int, np.float64, np.float32, np.int64, np.int32)  # numbers read as they are
HASHED = 4096  # columns that parts of words are hashed to
TEXT_NUMBERS = 20  # of a text, after the projection
SECONDS_A_DAY = 86_400
DATE_PARTS = (  # that a date becomes, as `date_numbers` has them
    "days since 1970",
    "day of the year",
    "sine of the day of the year",
    "cosine of the day of the year",
    "day of the month",
    "day of the week",
    "sine of the day of the week",
    "cosine of the day of the week",
    "hour",
    "sine of the hour",
    "cosine of the hour",
)


class Projection(NamedTuple):
    """How a text column becomes numbers.

    Attributes
    ----------
    rarity : (HASHED,) array
        The weight of each hashed part: log((1 + n) / (1 + rows that have it)) + 1.
    directions : (HASHED, c) array
        Scaled so that the first number has the standard deviation 1.
    """

    rarity: Array
    directions: Array


class ColumnReader:
    """How the cells of a table are read; learnt by :meth:`fit_read`.

    Parameters
    ----------
    kinds : dict of str to str or None
        Kinds of columns that the user knows better.
    seed : int
        For the projection of texts.

    Attributes
    ----------
    cleaner : TableCleaner or None
        None for an array of numbers, whose columns are all numeric.
    names : list of str
        Of all columns that are read; those that the cleaner leaves out are missing.
    owners, code_owners : list of int
        For each column of numbers, and of codes, the position in `names` that it comes from.
    levels : dict of str to list of str
        The levels of each category, the commonest first.
    texts : dict of str to Projection
    """

    def __init__(self, kinds: dict[str, str] | None = None, seed: int = 0) -> None:
        self.kinds, self.seed = kinds, seed
        self.cleaner: TableCleaner | None = None
        self.names: list[str] = []
        self.levels: dict[str, list[str]] = {}
        self.texts: dict[str, Projection] = {}

    def fit_read(self, X: Any) -> tuple[Columns, Schema]:
        """Learn from the training rows, and read them.

        Parameters
        ----------
        X : (n, p) float64 array or data frame
        """
        if isinstance(X, np.ndarray):
            self.names = [f"x{j}" for j in range(X.shape[1])]
            columns = self.read(X)
            return columns, Schema((), np.ones(X.shape[1], bool), np.zeros(X.shape[1], bool))
        self.cleaner = TableCleaner(self.kinds, max_levels=ANY_NUMBER)
        frame = self.cleaner.fit_transform(X)
        self.names = list(frame)
        for name, kind in self._kinds().items():
            if kind == "categorical":
                counts = frame[name].value_counts()
                levels = [str(level) for level in counts.index if level != MISSING_LEVEL]
                order = sorted(levels, key=lambda level: (-counts[level], level))
                self.levels[name] = order[:MOST_LEVELS]
            elif kind == "text":
                self.texts[name] = _learn_projection(frame[name].tolist(), self.seed)
        columns = self._columns(frame)
        return columns, self.schema()

    def schema(self) -> Schema:
        """What the columns are."""
        marked, scaled = [], []
        for name, kind in self._kinds().items():
            n = self._n_numbers(name, kind)
            marked += [kind != "text"] + [False] * (n - 1) if n else []
            scaled += [kind == "text"] * n
        levels = tuple(len(each) for each in self.levels.values())
        return Schema(levels, np.array(marked, bool), np.array(scaled, bool))

    def _kinds(self) -> dict[str, str]:
        """The kind of each column that is read, in the order of the table."""
        if self.cleaner is None:
            return dict.fromkeys(self.names, "numeric")
        return {name: self.cleaner.kinds_[name] for name in self.names}

    def _n_numbers(self, name: str, kind: str) -> int:
        if kind == "text":
            return int(self.texts[name].directions.shape[1])
        numbers: dict[str, int] = {"numeric": 1, "date": len(DATE_PARTS), "categorical": 0}
        return numbers[kind]

    @property
    def owners(self) -> NDArray[np.int64]:
        """For each column of numbers, the position in `names` of the column it comes from."""
        found: list[int] = []
        for i, (name, kind) in enumerate(self._kinds().items()):
            found += [i] * self._n_numbers(name, kind)
        return np.array(found, np.int64)

    @property
    def code_owners(self) -> NDArray[np.int64]:
        """For each column of codes, the position in `names` of the column it comes from."""
        return np.array([self.names.index(name) for name in self.levels], np.int64)

    def read(self, X: Any) -> Columns:
        """Read rows of another table of the same columns.

        Parameters
        ----------
        X : (n, p) array of floats, or data frame
            An array if training had one.

        Raises
        ------
        CellError
            A number or a date is none.
        """
        if self.cleaner is None:
            numbers = np.clip(np.asarray(X, np.float64), -LARGEST, LARGEST)
            return Columns(numbers, np.empty((len(X), 0), np.int32))
        return self._columns(self.cleaner.transform(X))

    def _columns(self, frame: pd.DataFrame) -> Columns:
        """The columns of a cleaned frame."""
        numbers: list[Array] = []
        for name, kind in self._kinds().items():
            if kind == "numeric":
                numbers.append(frame[name].to_numpy(np.float64)[:, None])
            elif kind == "date":
                numbers.append(date_numbers(frame[name]))
            elif kind == "text":
                numbers.append(_projected(frame[name].tolist(), self.texts[name]))
        codes = [self._codes(frame[name], levels) for name, levels in self.levels.items()]
        n = len(frame)
        stacked = np.hstack([np.empty((n, 0)), *numbers])
        np.clip(stacked, -LARGEST, LARGEST, out=stacked)
        return Columns(stacked, np.stack([np.empty(n, np.int32), *codes], axis=1)[:, 1:])

    @staticmethod
    def _codes(cells: pd.Series, levels: list[str]) -> NDArray[np.int32]:
        known = {level: code for code, level in enumerate(levels)} | {MISSING_LEVEL: MISSING}
        of_category = [known.get(level, UNSEEN) for level in cells.cat.categories.tolist()]
        codes: NDArray[np.int32] = np.array([*of_category, MISSING], np.int32)[cells.array.codes]
        return codes

    def row_reader(self) -> Callable[[Any], tuple[Array, list[int]]]:
        """A function of the cells of one row that gives its numbers, (p,), and q codes.

        The cells are a mapping by column, or a sequence in the order of the columns. Numbers, and
        levels that were seen before, are read without pandas.
        """
        if self.cleaner is None:
            p = len(self.names)

            def read_numbers(row: Any) -> tuple[Array, list[int]]:
                numbers = np.asarray(row, np.float64)
                if numbers.shape != (p,):
                    raise ValueError(
                        f"a row is {p} numbers, as in fit; this has the shape {numbers.shape}"
                    )
                return np.minimum(np.maximum(numbers, -LARGEST), LARGEST), []

            return read_numbers
        known = [str(name) for name in self.cleaner.feature_names_in_]
        used = [(name, known.index(name), kind) for name, kind in self._kinds().items()]
        types: dict[str, str] = self.cleaner.level_types_
        seen: dict[str, dict[Any, int]] = {name: {} for name in self.levels}

        def slowly(name: str, kind: str, cell: Any) -> Any:
            import pandas as pd

            assert self.cleaner is not None
            column = pd.Series([cell], name=name, dtype=object)
            return pd.Series(self.cleaner._cleaned(column, kind), name=name)

        def code_of(name: str, cell: Any) -> int:
            try:
                return seen[name][type(cell), cell]
            except (KeyError, TypeError):
                column = slowly(name, "categorical", cell)
                code = int(self._codes(column, self.levels[name])[0])
                if len(seen[name]) < MOST_LEVELS and cell == cell:  # a NaN is never found again
                    seen[name][type(cell), cell] = code
                return code

        def read(row: Any) -> tuple[Array, list[int]]:
            by_name = isinstance(row, Mapping)
            numbers: list[float] = []
            codes = []
            for name, place, kind in used:
                cell = row[name] if by_name else row[place]
                if kind == "categorical":
                    codes.append(code_of(name, cell))
                elif kind == "numeric" and types.get(name) != "boolean" and type(cell) in PLAIN:
                    numbers.append(min(max(float(cell), -LARGEST), LARGEST))
                elif kind == "numeric" and cell is None:
                    numbers.append(np.nan)
                elif kind == "numeric":
                    number = float(slowly(name, kind, cell).iloc[0])
                    numbers.append(min(max(number, -LARGEST), LARGEST))
                elif kind == "date":
                    numbers += date_numbers(slowly(name, kind, cell))[0].tolist()
                else:
                    text = slowly(name, kind, cell).tolist()
                    numbers += _projected(text, self.texts[name])[0].tolist()
            return np.array(numbers, np.float64), codes

        return read

    def state(self) -> dict[str, Any]:
        """What a model file keeps: texts, lists, dicts and arrays."""
        cleaner = self.cleaner
        if cleaner is None:
            return {"names": self.names}
        return {
            "names": self.names,
            "features": [str(name) for name in cleaner.feature_names_in_],
            "kinds": dict(cleaner.kinds_),
            "spellings": dict(cleaner.spellings_),
            "level_types": dict(cleaner.level_types_),
            "levels": {name: list(levels) for name, levels in self.levels.items()},
            "with_missing": [n for n, each in cleaner.levels_.items() if MISSING_LEVEL in each],
            "texts": {name: list(text) for name, text in self.texts.items()},
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> ColumnReader:
        """The reader that :meth:`state` describes.

        Raises
        ------
        ValueError, TypeError, KeyError
            It describes none.
        """
        reader = cls()
        reader.names = [str(name) for name in state["names"]]
        if set(state) == {"names"}:
            return reader
        cleaner = TableCleaner(max_levels=ANY_NUMBER)
        cleaner.feature_names_in_ = np.array([str(n) for n in state["features"]], dtype=object)
        cleaner.n_features_in_ = len(cleaner.feature_names_in_)
        cleaner.kinds_, cleaner.spellings_ = dict(state["kinds"]), dict(state["spellings"])
        cleaner.level_types_, cleaner.many_levels_ = dict(state["level_types"]), []
        reader.levels = {name: list(levels) for name, levels in state["levels"].items()}
        cleaner.levels_ = {
            name: sorted([*levels, *[MISSING_LEVEL] * (name in state["with_missing"])])
            for name, levels in reader.levels.items()
        }
        reader.texts = {name: Projection(*text) for name, text in state["texts"].items()}
        reader.cleaner = cleaner
        _check(reader)
        return reader


def _check(reader: ColumnReader) -> None:
    """Refuse a state whose parts do not fit each other."""
    assert reader.cleaner is not None
    kinds = reader.cleaner.kinds_
    if not set(reader.names) <= set(kinds) or len(set(reader.names)) < len(reader.names):
        raise ValueError("the columns that are read are not those of the table")
    wanted = {kind: {n for n in reader.names if kinds[n] == kind} for kind in set(kinds.values())}
    if set(reader.levels) != wanted.get("categorical", set()):
        raise ValueError("levels do not fit the categories")
    if set(reader.texts) != wanted.get("text", set()):
        raise ValueError("projections do not fit the texts")
    for text in reader.texts.values():
        if text.rarity.shape != (HASHED,) or text.directions.ndim != 2:
            raise ValueError("a projection of texts has another shape")
        if len(text.directions) != HASHED:
            raise ValueError("a projection of texts has another shape")


def date_numbers(dates: pd.Series) -> Array:
    """Where dates are in time, in the year, in the month, in the week and in the day.

    Parameters
    ----------
    dates : pandas.Series of shape (n,)
        Of datetime64; NaT gives NaN.

    Returns
    -------
    (n, 11) float64 array
        Days since 1970; day of the year, and its sine and cosine; day of the month; day of the
        week, from Monday 0, and its sine and cosine; hour with its fraction, and its sine and
        cosine.
    """
    seconds = dates.to_numpy("datetime64[us]")
    absent = np.isnat(seconds)
    days = seconds.astype("datetime64[D]")
    whole = days.astype(np.int64)
    clock = (seconds - days).astype(np.int64) / 1e6
    year_day = (days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64)
    month_day = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64)
    weekday = (whole + 3) % 7  # 1970 began on a Thursday
    hour = clock / 3600
    numbers = np.stack(
        [
            whole + clock / SECONDS_A_DAY,
            year_day + 1.0,
            *_circle(year_day, 365.25),
            month_day + 1.0,
            weekday.astype(float),
            *_circle(weekday, 7),
            hour,
            *_circle(hour, 24),
        ],
        axis=1,
    )
    numbers[absent] = np.nan
    return numbers


def _circle(x: Array, period: float) -> tuple[Array, Array]:
    angle = 2 * np.pi * x / period
    return np.sin(angle), np.cos(angle)


def _counts(texts: list[str]) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    words = HashingVectorizer(
        analyzer="char_wb",
        ngram_range=(3, 4),
        n_features=HASHED,
        norm=None,
        alternate_sign=False,
    )
    return words.transform(texts)


def _weighted(counts: Any, rarity: Array) -> Any:
    """tf-idf, each row of length 1."""
    from scipy import sparse
    from sklearn.preprocessing import normalize

    return normalize(counts @ sparse.diags_array(rarity), copy=False)


def _learn_projection(texts: list[str], seed: int) -> Projection:
    from sklearn.decomposition import TruncatedSVD

    counts = _counts(texts)
    n = counts.shape[0]
    rarity = np.log((1 + n) / (1 + np.bincount(counts.indices, minlength=HASHED))) + 1
    c = min(TEXT_NUMBERS, max(1, n - 1))
    weighted = _weighted(counts, rarity)
    if not weighted.nnz:
        return Projection(rarity, np.zeros((HASHED, 1)))
    directions = TruncatedSVD(c, random_state=seed).fit(weighted).components_.T
    first = weighted @ directions[:, :1]
    return Projection(rarity, directions / max(float(first.std()), 1e-6))


def _projected(texts: list[str], projection: Projection) -> Array:
    numbers: Array = _weighted(_counts(texts), projection.rarity) @ projection.directions
    return numbers
