"""Summaries of some rows, merged, say of a column what all of its rows say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from chainrule.tables.columns import kind_of, kinds_of

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("pyarrow", reason="tables are an extra")

from chainrule.tables import summaries  # noqa: E402  # it needs the extra
from chainrule.tables.summaries import ColumnSummary  # noqa: E402

pytestmark = pytest.mark.once
N = 240


def frames():
    rng = np.random.default_rng(0)
    words = np.array(["one", "two", "three", "four", "five", "six"])
    return pd.DataFrame(
        {
            "number": rng.normal(size=N).round(1),
            "holes": np.where(rng.random(N) < 0.3, np.nan, rng.normal(size=N)),
            "rows": np.arange(5, N + 5),
            "patient_id": rng.permutation(N),
            "few": pd.array(rng.integers(0, 4, N), "Int64"),
            "yes": rng.random(N) < 0.5,
            "city": rng.choice(["Rome", "Bonn", None], N),
            "price": [f"{x:.2f}".replace(".", ",") for x in rng.random(N) * 100],
            "day": [f"{d:02d}.{m:02d}.2024" for d, m in rng.integers(1, (29, 13), (N, 2))],
            "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 9999, N), "h"),
            "free": [" ".join(rng.choice(words, 6)) for _ in range(N)],
            "code": [f"k{i}" for i in range(N)],
            "truth": rng.choice(["true", "false"], N),
            "same": "x",
            "none": [None] * N,
        }
    )


def merged(frame, cuts, learnt=None, most=300):
    learnt = np.ones(len(frame), bool) if learnt is None else learnt
    edges = [0, *sorted(cuts), len(frame)]
    found = None
    for low, high in pairwise(edges):
        part = {
            name: ColumnSummary(frame[name].iloc[low:high], learnt[low:high], most, None)
            for name in frame
        }
        if found is None:
            found = part
        else:
            for name, one in found.items():
                one.merge(part[name])
    return found


@pytest.mark.parametrize("cuts", [(), (1,), (0, 100, 100), (30, 31, 200, N)])
def test_kinds_and_counts_are_those_of_all_rows(cuts):
    frame = frames()
    found = merged(frame, cuts)
    for column in kinds_of(frame):
        assert kind_of(found[column.name].facts(frame[column.name])) == column
    numbers = found["holes"]
    assert (numbers.low, numbers.high) == (frame["holes"].min(), frame["holes"].max())
    assert found["price"].spelling(False) == "comma"
    assert found["day"].spelling(False) == "day first"


def test_levels_are_those_of_the_rows_that_are_learned_from():
    frame = pd.DataFrame({"city": ["Rome", "Bonn", None, "Oslo", "Rome", None]})
    learnt = np.array([1, 1, 0, 0, 1, 0], bool)
    found = merged(frame, [2, 3], learnt)["city"]
    assert found.levels("text", "missing") == ["Bonn", "Rome"]
    assert (found.n, found.missing, found.distinct) == (4, 2, 3)
    learnt[2] = True
    assert merged(frame, [1], learnt)["city"].levels("text", "missing") == [
        "Bonn",
        "Rome",
        "missing",
    ]


def test_numbers_of_many_values_are_found_from_those_of_small_hashes(monkeypatch):
    monkeypatch.setattr(summaries, "HASHES", 64)
    frame = pd.DataFrame({"id": np.arange(5000), "third": np.arange(5000) // 3})
    found = merged(frame, [100, 2000], most=50)
    assert found["id"].distinct == 5000  # each value that is counted came once
    assert found["third"].distinct == pytest.approx(1667, rel=0.02)
    assert found["id"].levels("number", "missing") is None
