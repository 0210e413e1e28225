"""Columns of every type that Arrow files and data frames have: read, refused or left out."""

import datetime as dt
import errno
import io
import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.tables import TableError, blocks, read
from chainrule.tables.cells import as_frame
from chainrule.tables.plain import plain
from chainrule.tables.types import Guess

LONG = [2**53 + 1, 2**53, None, 2**53 + 3]
TEXTS = ["a", "b", None, "a"]


def written(tmp_path, format, **columns):
    """A file with these Arrow columns."""
    table = pa.table(columns)
    path = tmp_path / f"t.{format}"
    if format == "parquet":
        pq.write_table(table, path)
    elif format == "feather":
        feather.write_feather(table, path, compression="uncompressed")
    elif format == "stream":
        with pa.ipc.new_stream(path, table.schema) as file:
            file.write_table(table)
    else:
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    return path


def runs(cells):
    """The cells, run-end encoded, as the middle of a longer array."""
    ends = pa.array(range(2, len(cells) + 4), pa.int32())
    values = pa.concat_arrays([cells[:1], cells, cells[:1]])
    return pa.RunEndEncodedArray.from_arrays(ends, values)[2 : 2 + len(cells)]


def dictionary(cells):
    """The cells as a dictionary, whose values may be of any type."""
    return pa.DictionaryArray.from_arrays(pa.array(range(len(cells)), pa.int8()), cells)


ENCODINGS = {
    "large": lambda cells: pa.array(cells, pa.large_string()),
    "view": lambda cells: pa.array(cells, pa.string_view()),
    "dictionary": lambda cells: pa.array(cells).dictionary_encode(),
    "dictionary of views": lambda cells: dictionary(pa.array(cells, pa.string_view())),
    "dictionary of large texts": lambda cells: dictionary(pa.array(cells, pa.large_string())),
    "dictionary of dictionary": lambda cells: dictionary(pa.array(cells).dictionary_encode()),
    "runs": lambda cells: runs(pa.array(cells)),
    "runs of dictionary": lambda cells: runs(dictionary(pa.array(cells))),
    "dictionary of runs": lambda cells: dictionary(runs(pa.array(cells))),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_texts_are_texts_in_every_encoding(encoding):
    cells = pa.chunked_array([ENCODINGS[encoding](TEXTS), ENCODINGS[encoding](TEXTS)[1:3]])
    assert plain(cells).to_pylist() == [*TEXTS, *TEXTS[1:3]]
    assert plain(cells).type == pa.string()
    assert plain(cells[:0]).type == pa.string()


@given(st.lists(st.none() | st.integers(0, 3), max_size=20), st.data())
def test_slices_of_runs_and_dictionaries(numbers, data):
    cells = pa.array(numbers, pa.int64())
    start = data.draw(st.integers(0, len(numbers)))
    for make in (runs, dictionary, lambda a: runs(dictionary(a)), lambda a: dictionary(runs(a))):
        if len(cells):
            made = pa.chunked_array([make(cells)[start:]])
            assert plain(made).to_pylist() == numbers[start:]


@pytest.mark.parametrize("format", ["parquet", "feather", "arrow", "stream"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_files_with_nested_encodings(tmp_path, format, encoding):
    try:
        path = written(tmp_path, format, x=range(4), k=ENCODINGS[encoding](TEXTS))
    except (pa.ArrowException, TypeError):
        pytest.skip("Arrow cannot write it")
    try:
        frame = read(path)
    except TableError:  # Arrow writes such a column, but not so that it can read it
        assert encoding == "dictionary of dictionary"
        return
    assert [None if pd.isna(k) else k for k in frame["k"]] == TEXTS


@pytest.mark.parametrize("type", ["Categorical", "Enum"])
@pytest.mark.parametrize("format", ["ipc", "ipc_stream", "parquet"])
def test_categories_of_polars(tmp_path, type, format):
    pl = pytest.importorskip("polars")
    kind = pl.Categorical if type == "Categorical" else pl.Enum(["a", "b"])
    frame = pl.DataFrame({"k": pl.Series(TEXTS, dtype=kind), "x": [1, 2, 3, 4]})
    path = tmp_path / "t.file"
    getattr(frame, f"write_{format}")(path)
    assert read(path)["k"].fillna("").tolist() == ["a", "b", "", "a"]


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_durations_times_and_decimals_are_numbers(tmp_path, format):
    path = written(
        tmp_path,
        format,
        took=pa.array([1500, None], pa.duration("ms")),
        at=pa.array([dt.time(0, 1, 0, 500000), None], pa.time64("us")),
        price=pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)),
        long=pa.array([Decimal(2**53 + 1), None], pa.decimal128(38, 0)),
        longer=pa.array([Decimal(10**25 + 1), None], pa.decimal128(38, 0)),
    )
    frame = read(path)
    assert frame["took"].dt.total_seconds()[0] == 1.5
    assert frame["price"][0] == 1.5
    assert frame["long"][0] == 2**53 + 1
    assert frame["longer"][0] == str(10**25 + 1)
    wanted = read(path, types=dict.fromkeys(frame, "number"))
    assert wanted.iloc[0].tolist() == [1.5, 60.5, 1.5, 2.0**53, 1e25]
    assert wanted.iloc[1].isna().all()
    texts = read(path, types="text")
    assert texts.iloc[0].tolist()[:2] == ["1.5", "60.5"]
    assert texts.iloc[0].tolist()[3:] == [str(2**53 + 1), str(10**25 + 1)]
    (block,) = blocks(path)
    pd.testing.assert_frame_equal(block, frame)


WITHOUT_KIND = {
    "list": pa.array([[1], [2]]),
    "struct": pa.array([{"a": 1}, None]),
    "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
    "binary": pa.array([b"\x01", None]),
    "fixed": pa.array([b"ab", b"cd"], pa.binary(2)),
    "large": pa.array([[1], [2]], pa.large_list(pa.int64())),
    "interval": pa.array([(1, 2, 3), None], pa.month_day_nano_interval()),
}


@pytest.mark.parametrize("type", WITHOUT_KIND)
def test_a_column_without_a_kind_is_refused_or_ignored(tmp_path, type):
    path = written(tmp_path, "arrow", x=[1, 2], odd=WITHOUT_KIND[type])
    with pytest.raises(TableError, match="column 'odd': it holds values of type"):
        read(path)
    assert list(read(path, ignore=["odd"])) == list(read(path, columns=["x"])) == ["x"]
    text = read(path, types={"odd": "text"})["odd"][0]
    assert isinstance(text, str)
    if type in ("list", "struct"):
        assert json.loads(text) == WITHOUT_KIND[type][0].as_py()


def test_ignored_columns_must_be_there(tmp_path):
    path = written(tmp_path, "parquet", weight=[1, 2], y=[1, 2])
    with pytest.raises(TableError, match="no column 'weigth'; did you mean 'weight'"):
        read(path, ignore=["weigth"])


@pytest.mark.parametrize("format", ["parquet", "ipc", "ipc_stream"])
def test_integers_of_128_bits_are_not_called_damage(tmp_path, format):
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {"a": [1, 2], "when": [dt.date(2024, 1, 1)] * 2, "wide": pl.Series([1, 2]).cast(pl.Int128)}
    )
    getattr(frame, f"write_{format}")(tmp_path / "t")
    with pytest.raises(TableError, match="integers of 128 bits") as caught:
        read(tmp_path / "t")
    assert "damaged" not in str(caught.value)
    assert "column 'wide'" in str(caught.value)
    assert as_frame(frame)["wide"].tolist() == [1, 2]


def test_wide_integers_of_duckdb_are_named_and_can_be_left_out(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "t.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT i, i::HUGEINT AS short, "
            "10000000000000000000000000000000000000::HUGEINT + i AS long, "
            "170141183460469231731687303715884105720::HUGEINT + i AS wide FROM range(3) r(i)"
        )
    with pytest.raises(TableError, match=r"column 'wide': it holds 1701\d+20, a ") as said:
        read(path)
    assert "damaged" not in str(said.value)
    frame = read(path, ignore=["wide"])
    assert frame["short"].tolist() == [0, 1, 2]
    assert frame["long"].tolist() == [str(10**37 + i) for i in range(3)]


def test_errors_of_the_machine_are_not_called_damage(tmp_path, monkeypatch):
    path = written(tmp_path, "parquet", x=[1, 2])

    def fails(*args, **kwargs):
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(pq, "ParquetFile", fails)
        with pytest.raises(TableError, match="cannot be read: Input/output error"):
            read(path)
    import gzip

    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(b"a,b\n1,2\n"))
    monkeypatch.setattr(gzip.GzipFile, "read", fails)
    with pytest.raises(TableError, match="cannot be read: Input/output error"):
        read(packed)


@pytest.mark.parametrize("dtype", [pa.int64(), pa.uint64(), pa.decimal128(38, 0)])
@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_long_integers_keep_their_digits_in_files(tmp_path, dtype, format):
    cells = pa.array([None if i is None else Decimal(i) for i in LONG]).cast(dtype)
    path = written(tmp_path, format, campaign=cells)
    assert [None if pd.isna(i) else int(i) for i in read(path)["campaign"]] == LONG


def test_long_integers_keep_their_digits_in_data_frames():
    pl = pytest.importorskip("polars")
    for frame in (
        pl.DataFrame({"i": LONG}),
        pl.LazyFrame({"i": LONG}),
        pa.table({"i": LONG}),
        pa.table({"i": LONG}).to_batches()[0],
        pd.DataFrame({"i": pd.array(LONG, "Int64")}),
    ):
        assert [None if pd.isna(i) else int(i) for i in as_frame(frame)["i"]] == LONG


def test_a_frame_of_arrow_keeps_types_that_are_whole():
    frame = as_frame(pa.table({"i": [1, 2], "b": [True, False], "s": ["x", None], "l": [[1], []]}))
    assert frame["i"].dtype == np.int64
    assert frame["b"].dtype == bool
    assert frame["l"].map(list).tolist() == [[1], []]
    assert as_frame(pa.table({})).shape == (0, 0)


def test_a_table_piped_in_keeps_its_encoding(tmp_path, monkeypatch):
    path = written(tmp_path, "stream", k=ENCODINGS["dictionary"](TEXTS))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert read("-")["k"].fillna("").tolist() == ["a", "b", "", "a"]


def partitioned(folder, format="parquet"):
    """A table in folders by year and city, as Arrow writes it; and the table."""
    import pyarrow.dataset as ds

    whole = pa.table(
        {
            "x": [float(i) for i in range(12)],
            "year": [2023, 2024, 2024] * 4,
            "city": ["a/b c", "Köln", None] * 4,
        }
    )
    schema = pa.schema([whole.schema.field("year"), whole.schema.field("city")])
    how = ds.partitioning(schema, flavor="hive")
    ds.write_dataset(whole, folder, format=format, partitioning=how)
    return whole.to_pandas().sort_values("x").reset_index(drop=True)


@pytest.mark.parametrize("format", ["parquet", "csv", "feather"])
@pytest.mark.parametrize("way", ["", "/*", "/*/*", "/*/*/*", "/**/*.{}", "/year=*"])
def test_folders_that_tell_a_column(tmp_path, format, way):
    whole = partitioned(tmp_path / "hive", format)
    (tmp_path / "hive" / "_SUCCESS").touch()
    frame = read(str(tmp_path / "hive") + way.format(format))
    frame = frame.sort_values("x").reset_index(drop=True)
    assert frame["year"].tolist() == whole["year"].tolist()
    assert frame["city"].fillna("-").tolist() == whole["city"].fillna("-").tolist()
    assert frame["x"].tolist() == whole["x"].tolist()
    assert read(tmp_path / "hive", columns=["city"]).shape == (12, 1)
    assert list(read(tmp_path / "hive", ignore=["year"])) == ["x", "city"]
    part = next((tmp_path / "hive" / "year=2023").rglob(f"*.{format}"))
    assert set(read(part)["year"]) == {2023}
    joined = pd.concat(blocks(tmp_path / "hive", rows=5)).sort_values("x")
    assert joined["year"].tolist() == whole["year"].tolist()


def test_a_column_of_the_file_comes_before_its_folders(tmp_path):
    (tmp_path / "year=2023").mkdir()
    (tmp_path / "year=2023" / "a.csv").write_text("x,year\n1,1999\n")
    assert read(tmp_path)["year"].tolist() == [1999]


def test_folders_that_tell_different_things(tmp_path):
    for name in ("year=2023", "month=1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text("x\n1\n")
    with pytest.raises(TableError, match="other columns than"):
        read(tmp_path)
    (tmp_path / "year=2023" / "year=1").mkdir()
    (tmp_path / "year=2023" / "year=1" / "a.csv").write_text("x\n1\n")
    with pytest.raises(TableError, match="two of its folders give a value for 'year'"):
        read(tmp_path / "year=2023" / "*" / "*")


def test_a_partitioned_folder_as_memory_mapped_arrays(tmp_path):
    import chainrule

    whole = partitioned(tmp_path / "hive")
    rows = chainrule.memmap_table(
        tmp_path / "hive", tmp_path / "rows", columns=["x"], target="year"
    )
    order = np.argsort(rows.X[:, 0])
    assert rows.y[order].tolist() == whole["year"].tolist()


_POOLS = [
    ["1", "2", "-7", "0"],
    ["1.5", "2", ".5"],
    ["1,5", "2", "3,25"],
    ["1.234", "5.678", "12"],
    ["1,234", "5,678.5", "7"],
    ["$5", "3", "$1,234.50"],
    ["5 EUR", "7 eur", "1"],
    ["12 %", "0", "7.5%"],
    ["12", "?", "-"],
    ["2024-01-31", "2023-02-01"],
    ["31.12.2024", "01.02.2024"],
    ["12/31/2024", "01/02/2024"],
    ["true", "False"],
    ["007", "12"],
    ["x", "1", ""],
    ["123456789012345678901", "1.5"],
]


@given(st.data())
def test_two_looks_merged_are_one(data):
    # Cells of one kind, and now and then one of another.
    pool = data.draw(st.sampled_from(_POOLS))
    more = data.draw(st.sampled_from([[], [], *_POOLS]))
    cells = st.lists(st.sampled_from([*pool, *pool, *more, "", "NA"]), max_size=6)
    parts = data.draw(st.lists(cells, min_size=2, max_size=4))
    whole, merged = Guess(), Guess()
    for part in parts:
        whole.update(pa.array(part, pa.string()))
        own = Guess()
        own.update(pa.array(part, pa.string()))
        merged.merge(own)
    for comma_first in (False, True):
        for comma_seen in (False, True):
            expected = whole.result(comma_first, comma_seen)
            assert merged.result(comma_first, comma_seen) == expected
    assert whole.settled or merged.missing == whole.missing


def test_what_is_no_table_is_said():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(ValueError, match=r"X is a sparse matrix, .* give X\.toarray\(\)"):
        as_frame(sparse.csr_matrix(np.eye(3)))
    with pytest.raises(ValueError, match=r"X must be a table .* of shape \(3, 2, 2\)"):
        as_frame(np.zeros((3, 2, 2)))
    assert as_frame([[1, 2], [3, 4]]).columns.tolist() == ["x0", "x1"]
