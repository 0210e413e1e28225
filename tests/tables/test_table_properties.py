"""Properties of reading and writing tables, for any table."""

from __future__ import annotations

import csv
import io
import random
import struct
from contextlib import suppress

import numpy as np
import pytest
from helpers import tables_data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pd = pytest.importorskip("pandas", reason="tables need pandas")
pytest.importorskip("pyarrow", reason="tables need pyarrow")

from chainrule.tables.reading import TableError, blocks, read, types_of, writer  # noqa: E402
from chainrule.tables.types import MISSING  # noqa: E402

common = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# CSV has no control characters but blanks; half a surrogate pair is no text.
signs = st.characters(exclude_categories=["Cs", "Cc"])
odd = st.sampled_from(
    ['"', "'", ",", ";", "\t", "|", "\n", "\r", "\r\n", '""', " ", "é", "NA", "#"]
)
texts = st.one_of(
    st.lists(odd, min_size=1, max_size=6).map("".join),
    st.text(signs, min_size=1, max_size=8),
    st.sampled_from([*MISSING[1:], "007", "1,5", "true", "2024-01-31", "=1+1", "-", "inf"]),
)
names = st.one_of(st.text(signs, min_size=1, max_size=6), st.lists(odd, min_size=1).map("".join))
floats = st.one_of(
    st.floats(allow_nan=False),
    st.integers(0, 2**64 - 1).map(lambda n: struct.unpack("d", n.to_bytes(8, "little"))[0]),
)


def series(values, dtype):
    return pd.Series(values, dtype=dtype)


def columns(n):
    def of(values, dtype):
        return st.lists(st.one_of(values, st.none()), min_size=n, max_size=n).map(
            lambda cells: series(cells, dtype)
        )

    return st.one_of(
        of(texts, "str" if pd.__version__ >= "3" else object),
        of(st.integers(-(2**63), 2**63 - 1), "Int64"),
        of(st.booleans(), "boolean"),
        st.lists(floats, min_size=n, max_size=n).map(lambda cells: series(cells, "float64")),
        st.lists(
            st.one_of(
                st.integers(-(10**16), 10**16).map(lambda n: np.datetime64(n, "us")),
                st.integers(-20_000, 20_000).map(lambda n: np.datetime64(n, "D")),
                st.none(),
            ),
            min_size=n,
            max_size=n,
        ).map(lambda cells: series(cells, "datetime64[us]")),
    )


def is_a_name(name):
    """Not empty, no byte order mark, and no number: a line of numbers is no header."""
    with suppress(ValueError):
        float(name)
        return False
    return name and not name.startswith("\ufeff")


@st.composite
def frames(draw):
    n = draw(st.integers(0, 12))
    titles = draw(
        st.lists(
            names.map(str.strip).filter(is_a_name),
            min_size=1,
            max_size=5,
            unique=True,
        )
    )
    return pd.DataFrame({name: draw(columns(n)) for name in titles})


def bits(column):
    return column.to_numpy(np.float64).view(np.uint64)[~column.isna()].tolist()


def same(got, wanted):
    assert got.columns.tolist() == wanted.columns.tolist()
    for name in wanted:
        assert got[name].isna().tolist() == wanted[name].isna().tolist()
        if wanted[name].dtype == np.float64:
            assert bits(got[name]) == bits(wanted[name])
        else:
            assert got[name].dropna().tolist() == wanted[name].dropna().tolist()


@common
@given(frame=frames(), suffix=st.sampled_from([".csv", ".parquet"]), cut=st.integers(0, 12))
def test_what_is_written_is_read(tmp_path, frame, suffix, cut):
    path = tmp_path / f"t{suffix}"
    with writer(path, overwrite=True) as out:
        out.write(frame[:cut])
        out.write(frame[cut:])
    same(read(path, types=types_of(frame)), frame)


@common
@given(frame=frames(), rows=st.integers(1, 13))
def test_blocks_are_the_whole_in_order(tmp_path, frame, rows):
    path = tmp_path / "t.csv"
    with writer(path, overwrite=True) as out:
        out.write(frame)
    with suppress(TableError):
        whole = read(path)
        parts = list(blocks(path, rows=rows))
        assert [len(part) for part in parts[:-1]] == [rows] * (len(parts) - 1)
        assert all((part.dtypes == whole.dtypes).all() for part in parts)
        pd.testing.assert_frame_equal(pd.concat(parts), whole, check_index_type=False)


@common
@given(
    rows=st.integers(2, 5).flatmap(
        lambda k: st.lists(st.lists(texts, min_size=k, max_size=k), min_size=1, max_size=8)
    ),
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_cells_are_those_that_the_csv_module_wrote(
    tmp_path, rows, delimiter, end, quoting, encoding
):
    if any("\r" in cell for row in rows for cell in row):
        quoting = csv.QUOTE_ALL  # the csv module forgets to quote these otherwise
    header = [f"name {i}" for i in range(len(rows[0]))]
    text = io.StringIO(newline="")
    lines = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    lines.writerows([header, *rows])
    path = tmp_path / "t.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    got = read(path, types="text")
    assert got.columns.tolist() == header
    for cells, row in zip(got.itertuples(index=False), rows, strict=True):
        for cell, wrote in zip(cells, row, strict=True):
            if pd.isna(cell):
                assert wrote in MISSING
                assert quoting == csv.QUOTE_MINIMAL
            else:
                assert cell == wrote


@common
@given(data=st.data())
def test_any_bytes_are_a_table_or_an_error(tmp_path, data):
    """Every physical line of a table without quotes is read or rejected."""
    rows = data.draw(
        st.lists(st.lists(st.sampled_from(["1", "x", "", "a", "NA", "é"]), max_size=4), max_size=9)
    )
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(",".join(row) + "\n" for row in rows), encoding="utf-8")
    rejects = []
    got = pd.concat(blocks(path, rejects=rejects.append, rows=2))
    last = max((i for i, row in enumerate(rows, 1) if ",".join(row)), default=0)
    good = [i for i, row in enumerate(rows, 1) if len(row) == 2 and row != ["a", "b"]]
    assert len(got) == len(good)
    assert [each.line - 1 for each in rejects] == [i for i in range(1, last + 1) if i not in good]


START = {
    "csv": b'a,b\n1,"x ""y"" z"\n2,\xc3\xa9\n3,"u\nv"\n',
    "jsonl": b'{"a": 1, "b": "x"}\n{"a": 2.5, "c": true}\n',
}


@settings(common, max_examples=300)
@given(
    kind=st.sampled_from(sorted(START)),
    edits=st.lists(
        st.tuples(
            st.integers(0, 60),
            st.sampled_from([0, 1, 2]),
            st.one_of(
                st.binary(max_size=4),
                st.sampled_from(
                    [b'"', b"\n", b"\r", b",", b";", b"\0", b"\xff", b"{", b"[", b"\\"]
                ),
            ),
        ),
        max_size=6,
    ),
)
def test_mutated_text_never_fails_otherwise(tmp_path, kind, edits):
    content = START[kind]
    for at, gone, put in edits:
        content = content[:at] + put + content[at + gone :]
    path = tmp_path / f"t.{kind}"
    path.write_bytes(content)
    rejects = []
    with suppress(TableError):
        got = pd.concat(blocks(path, rejects=rejects.append, rows=2))
        if not rejects:
            pd.testing.assert_frame_equal(read(path), got, check_index_type=False)
        else:
            with pytest.raises(TableError):
                read(path)


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".sqlite", ".csv.gz"])
def test_damaged_files_never_fail_otherwise(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    tables_data.write("iris", path)
    whole = path.read_bytes()
    rng = random.Random(0)
    failed = 0
    for _ in range(150):
        content = bytearray(whole)
        at = rng.randrange(len(content))
        match rng.randrange(3):
            case 0:
                content[at] ^= 1 << rng.randrange(8)
            case 1:
                del content[at:]
            case 2:
                content[at : at + 40] = rng.randbytes(rng.randrange(1, 80))
        path.write_bytes(content)
        try:
            read(path)
        except TableError as error:
            failed += 1
            assert str(path) in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
    assert failed > 30
