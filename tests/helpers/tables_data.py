"""Tables to test on: scikit-learn's bundled sets with what real tables have, a real one, a large.

    frame("iris", seed=0)            # a data frame: holes, categories, dates, unicode put in
    write("iris", tmp_path / "iris.csv", seed=0)    # by suffix; see WRITERS
    penguins()                       # skips the test where its package is missing
    flights(rows, seed=0)            # drawn at random: many rows, many levels, times, holes

The same name and seed give the same table, to the byte.
"""

from __future__ import annotations

import csv
import gzip
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

pd = pytest.importorskip("pandas", reason="tables need pandas")
pytest.importorskip("pyarrow", reason="tables need pyarrow")

CITIES = ["Zürich", "København", "São Paulo", "東京", "Kraków, Stare Miasto", 'the "Hague"']
TASKS = {
    "iris": "classification",
    "wine": "classification",
    "breast_cancer": "classification",
    "digits": "classification",
    "diabetes": "regression",
}
TARGET = "target"


def plain(name: str) -> pd.DataFrame:
    """The set as it is bundled; classes by their names. Of digits every fourth row."""
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    names = [str(each).replace(" (cm)", "") for each in bunch.feature_names]
    table = pd.DataFrame(bunch.data, columns=names)
    if name == "diabetes":
        table[TARGET] = bunch.target
    else:
        table[TARGET] = np.array([str(each) for each in bunch.target_names])[bunch.target]
    return table.iloc[::4].reset_index(drop=True) if name == "digits" else table


def frame(name: str, seed: int = 0, *, holes: float = 0.04, extras: bool = True) -> pd.DataFrame:
    """A bundled set with holes in its numbers and, with `extras`, four columns more.

    city: a category that tells a little about the target, with signs beyond ASCII, commas and
    quotes; visited: a date; member: an identifier with leading zeros; active: true or false.
    """
    rng = np.random.default_rng(seed)
    table = plain(name)
    n = len(table)
    numbers = [column for column in table.columns if column != TARGET]
    for column in numbers:
        table[column] = table[column].mask(rng.random(n) < holes)
    if extras:
        rank = table[TARGET].rank(method="dense").to_numpy()
        hint = ((rank - 1) / max(rank.max() - 1, 1) * (len(CITIES) - 1)).astype(int)
        drawn = np.where(rng.random(n) < 0.4, hint, rng.integers(0, len(CITIES), n))
        city = pd.Series([CITIES[i] for i in drawn], dtype=object)
        table.insert(0, "city", city.mask(rng.random(n) < holes))
        days = pd.to_timedelta(rng.integers(0, 1500, n), unit="D")
        visited = pd.Series(pd.Timestamp("2020-02-28") + days).astype("datetime64[us]")
        table.insert(1, "visited", visited.mask(rng.random(n) < holes))
        table.insert(2, "member", [f"{i:06d}" for i in rng.permutation(n) + 7])
        table.insert(3, "active", rng.random(n) < 0.5)
    return table


def write(name: str, path: Path, seed: int = 0, **how: object) -> pd.DataFrame:
    """Write `frame(name, seed, …)` to a file, its format by the suffix; returns the frame."""
    table = frame(name, seed, **how)
    WRITERS["".join(Path(path).suffixes)](table, Path(path))
    return table


def lines(table: pd.DataFrame) -> list[list[str]]:
    """The header and the rows, spelled; missing cells empty."""
    spelled = [list(table.columns)]
    for row in table.itertuples(index=False):
        spelled.append([_spelled(cell) for cell in row])
    return spelled


def _spelled(cell: object) -> str:
    if pd.isna(cell):
        return ""
    if isinstance(cell, pd.Timestamp):
        return cell.date().isoformat() if cell == cell.normalize() else cell.isoformat(" ")
    return repr(cell) if isinstance(cell, float) else str(cell)


def _csv(table: pd.DataFrame, path: Path, delimiter: str = ",") -> None:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(lines(table))


def _json_lines(table: pd.DataFrame, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in table.itertuples(index=False):
            cells = {
                name: _spelled(cell) if isinstance(cell, pd.Timestamp) else cell
                for name, cell in zip(table.columns, row, strict=True)
                if not pd.isna(cell)
            }
            file.write(json.dumps(cells, ensure_ascii=False) + "\n")


def _sqlite(table: pd.DataFrame, path: Path) -> None:
    marks = ", ".join("?" * table.shape[1])
    names = ", ".join('"' + name.replace('"', '""') + '"' for name in table.columns)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(f"CREATE TABLE data ({names})")
        cells = [
            [None if pd.isna(c) else _spelled(c) if isinstance(c, pd.Timestamp) else c for c in row]
            for row in table.itertuples(index=False)
        ]
        connection.executemany(f"INSERT INTO data VALUES ({marks})", cells)
    connection.close()


def _duckdb(table: pd.DataFrame, path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="DuckDB files need duckdb")
    with duckdb.connect(str(path)) as connection:
        connection.register("frame", table)
        connection.execute("CREATE TABLE data AS SELECT * FROM frame")


WRITERS = {
    ".csv": _csv,
    ".csv.gz": _csv,
    ".tsv": lambda table, path: _csv(table, path, "\t"),
    ".parquet": lambda table, path: table.to_parquet(path, index=False),
    ".feather": lambda table, path: table.to_feather(path),
    ".jsonl": _json_lines,
    ".sqlite": _sqlite,
    ".duckdb": _duckdb,
}


def penguins() -> pd.DataFrame:
    """344 penguins: three species, islands, measures, some missing."""
    package = pytest.importorskip("palmerpenguins", reason="needs the palmerpenguins package")
    table: pd.DataFrame = package.load_penguins()
    return table


def flights(rows: int = 5000, seed: int = 0) -> pd.DataFrame:
    """A year's flights as an airport lists them, drawn at random: clock times as whole numbers.

    Of those that were cancelled, all that happens after the departure is missing.
    """
    rng = np.random.default_rng(seed)
    hours = np.sort(rng.integers(0, 365 * 24, rows))
    scheduled = pd.Timestamp("2013-01-01", tz="UTC") + pd.to_timedelta(hours, "h")
    minutes = rng.integers(0, 60, rows)
    cancelled = rng.random(rows) < 0.03
    late = np.where(cancelled, np.nan, np.rint(rng.gumbel(-5, 15, rows)))
    distance = rng.integers(1, 26, rows) * 100 + rng.integers(0, 99, rows)
    aloft = np.rint(distance / 7.5 + 20 + rng.normal(0, 8, rows))
    begin = scheduled.hour * 60 + minutes

    def clock(minute: np.ndarray) -> np.ndarray:
        return minute // 60 % 24 * 100 + minute % 60

    letters = np.array(list("ABCDEFGHJKLMNPQRSTUVWXYZ"))
    tails = np.array([f"N{n}{a}{b}" for n in range(100, 110) for a in letters for b in letters])
    airports = np.array(["".join(rng.choice(letters, 3)) for _ in range(100)])
    return pd.DataFrame(
        {
            "year": 2013,
            "month": scheduled.month,
            "day": scheduled.day,
            "dep_time": clock(begin + late),
            "sched_dep_time": clock(begin),
            "dep_delay": late,
            "arr_time": clock(begin + late + aloft),
            "sched_arr_time": clock(begin + np.rint(distance / 7.5 + 20).astype(int)),
            "arr_delay": late + aloft - np.rint(distance / 7.5 + 20),
            "carrier": rng.choice(["UA", "B6", "EV", "DL", "AA", "9E", "WN", "F9"], rows),
            "flight": rng.integers(1, 6000, rows),
            "tailnum": np.where(rng.random(rows) < 0.01, None, rng.choice(tails[:900], rows)),
            "origin": rng.choice(["EWR", "LGA", "JFK"], rows),
            "dest": airports[np.minimum(rng.geometric(0.04, rows) - 1, 99)],
            "air_time": np.where(cancelled, np.nan, aloft),
            "distance": distance,
            "hour": scheduled.hour,
            "minute": minutes,
            "time_hour": scheduled.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )
