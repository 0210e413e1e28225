"""Tables: what is written is read again, in every format, whole and in blocks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import tables_data

from chainrule.tables.reading import TableError, blocks, read, types_of, writer

pd = tables_data.pd


def same(got, wanted):
    pd.testing.assert_frame_equal(got, wanted, check_dtype=False, check_index_type=False)


@pytest.mark.parametrize("suffix", tables_data.WRITERS)
@pytest.mark.parametrize("name", ["iris", "diabetes"])
def test_every_format_gives_the_same_table(tmp_path, suffix, name):
    path = tmp_path / f"a table{suffix}"
    wanted = tables_data.write(name, path, seed=3)
    if suffix == ".sqlite":  # it has no truth values
        wanted["active"] = wanted["active"].astype(int)
    got = read(path)
    same(got, wanted)
    assert str(got["visited"].dtype) == "datetime64[us]"
    assert got["member"].str.len().eq(6).all()
    pd.testing.assert_frame_equal(pd.concat(blocks(path, rows=37)), got)


def test_the_generator_is_deterministic(tmp_path):
    for name in ("a", "b"):
        tables_data.write("wine", tmp_path / f"{name}.csv", seed=5)
    a, b = ((tmp_path / f"{name}.csv").read_bytes() for name in "ab")
    assert a == b
    assert not tables_data.frame("wine", seed=5).equals(tables_data.frame("wine", seed=6))


def test_large_and_real_tables(tmp_path):
    for table in (tables_data.penguins(), tables_data.flights(2000)):
        path = tmp_path / "real.csv"
        table.to_csv(path, index=False)
        got = read(path)
        reference = pd.read_csv(path)
        dates = [name for name in got if str(got[name].dtype).startswith("datetime")]
        for name in dates:
            reference[name] = pd.to_datetime(
                reference[name], utc=str(got[name].dtype).endswith("UTC]")
            )
            got[name] = got[name].astype(reference[name].dtype)
        same(got.astype(reference.dtypes.to_dict()), reference)


# Writing.


def frame():
    return pd.DataFrame({"a": [1, 2], "b": ["x", None]})


def write(path, *steps, **how):
    """Write frames; a step that is a function is called in its place."""
    with writer(path, **how) as out:
        for step in steps:
            if callable(step):
                step()
            else:
                out.write(step)


def test_quotes_stand_only_where_they_must(tmp_path):
    path = tmp_path / "t.csv"
    table = pd.DataFrame(
        {
            "n": pd.array([1, None, 3, 4], "Int64"),
            "x": [0.1, 1e300, None, -np.inf],
            "s": ["plain", "NA", 'say "hi"', "a,b"],
            "t": pd.array([True, False, None, True], "boolean"),
            "d": pd.to_datetime(["2024-01-31", None, "2024-02-29", "1999-12-31"]),
            "c, d": pd.Categorical(["u", "v", None, "u"]),
        }
    )
    with writer(path) as out:
        out.write(table)
    assert path.read_text() == (
        'n,x,s,t,d,"c, d"\n'
        "1,0.1,plain,true,2024-01-31,u\n"
        ',1e+300,"NA",false,,v\n'
        '3,,"say ""hi""",,2024-02-29,\n'
        '4,-inf,"a,b",true,1999-12-31,u\n'
    )


def test_zones_and_clocks_are_written(tmp_path):
    when = pd.to_datetime(["2024-01-31 01:02:03", "2024-02-29 00:00:00.25"], format="ISO8601")
    with writer(tmp_path / "t.csv") as out:
        out.write(pd.DataFrame({"d": when, "z": when.tz_localize("Europe/Paris")}))
    got = read(tmp_path / "t.csv")
    assert got["d"].tolist() == list(when)
    assert got["z"].tolist() == list(when.tz_localize("Europe/Paris").tz_convert("UTC"))


def test_one_column_keeps_its_missing_cells(tmp_path):
    with writer(tmp_path / "t.csv") as out:
        out.write(frame()[["b"]])
    assert (tmp_path / "t.csv").read_text() == 'b\nx\n""\n'
    assert read(tmp_path / "t.csv")["b"].isna().tolist() == [False, True]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_appears_whole_or_not_at_all(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"

    def break_off():
        assert not path.exists()
        raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        write(path, frame(), break_off)
    assert os.listdir(tmp_path) == []
    write(path, frame())
    assert os.listdir(tmp_path) == [path.name]
    before = path.read_bytes()
    with pytest.raises(TableError, match="exists; choose another name"):
        writer(path)
    with pytest.raises(TableError, match="other columns"):
        write(path, frame(), frame().rename(columns={"a": "z"}), overwrite=True)
    assert path.read_bytes() == before
    write(path, frame()[:1], overwrite=True)
    assert len(read(path)) == 1


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "t.csv"
    with pytest.raises(TableError, match="exists"):
        write(path, frame(), lambda: path.write_text("another's"))
    assert path.read_text() == "another's"
    assert os.listdir(tmp_path) == ["t.csv"]


@pytest.mark.parametrize(
    ("name", "how", "words"),
    [
        ("t.xlsx", {}, "as CSV or Parquet"),
        ("t", {}, "as CSV or Parquet"),
        ("t.csv", {"format": "json"}, "as CSV or Parquet"),
        (".", {"format": "csv"}, "is a folder"),
    ],
)
def test_what_cannot_be_written(tmp_path, name, how, words):
    with pytest.raises(TableError, match=words):
        writer(tmp_path / name, **how)


def test_where_it_cannot_be_written(tmp_path):
    with (
        pytest.raises(TableError, match=r"t\.csv cannot be written: No such file"),
        writer(tmp_path / "no" / "t.csv"),
    ):
        pass


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (["x\0"], "column 'v': a text holds a NUL"),
        ([[1, 2]], "column 'v': list"),
        ([b"x"], "column 'v': binary"),
    ],
)
def test_cells_that_cannot_be_written(tmp_path, column, words):
    with pytest.raises(TableError, match=words):
        write(tmp_path / "t.csv", pd.DataFrame({"v": column}))
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TableError, match=r"t\.csv cannot be written: No space left on device"):
        write(tmp_path / "t.csv", frame())
    assert os.listdir(tmp_path) == []


def test_standard_output_and_input(tmp_path):
    code = (
        "import sys\n"
        "from chainrule.tables.reading import blocks, writer\n"
        "with writer('-', sys.argv[1]) as out:\n"
        "    for block in blocks('-', rows=10): out.write(block)\n"
    )
    text = tables_data.frame("iris").to_csv(index=False).encode()
    (tmp_path / "wanted.csv").write_bytes(text)
    for format in ("csv", "parquet"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code, format],
            input=text,
            capture_output=True,
            check=True,
        )
        assert done.stderr == b""
        path = tmp_path / f"got.{format}"
        path.write_bytes(done.stdout)
        pd.testing.assert_frame_equal(read(path), read(tmp_path / "wanted.csv"))


# Reading in part, and as it stands.


def test_limit_and_columns(tmp_path):
    tables_data.write("iris", tmp_path / "t.csv")
    whole = read(tmp_path / "t.csv")
    part = read(tmp_path / "t.csv", limit=20, columns=["target", "petal width"])
    pd.testing.assert_frame_equal(part, whole[["target", "petal width"]].head(20))
    assert len(read(tmp_path / "t.csv", limit=10_000)) == len(whole)


def test_blocks_with_their_text(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n1.50,2024-01-31,007\nNA, x,\n")
    ((typed, text),) = blocks(path, types={"a": "number", "b": "text"}, with_text=True)
    assert typed["a"].tolist()[0] == 1.5
    assert text.loc[0].tolist() == ["1.50", "2024-01-31", "007"]
    assert text["b"].tolist()[1] == " x"
    assert text["c"].isna().tolist() == [False, True]


def test_types_of_are_taken_again(tmp_path):
    table = tables_data.write("iris", tmp_path / "t.csv")
    types = types_of(table)
    assert types["visited"] == "date"
    assert (types["city"], types["active"], types["petal width"]) == ("text", "boolean", "number")
    got = pd.concat(blocks(tmp_path / "t.csv", types=types, rows=50))
    same(got, table)
    assert str(got["active"].dtype) == "boolean"


def test_types_are_the_same_in_every_block(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 5000 + ",x\n" + "2.5,3\n")
    dtypes = {str(block.dtypes.to_dict()) for block in blocks(tmp_path / "t.csv", rows=100)}
    assert len(dtypes) == 1
    assert "float64" in dtypes.pop()
    whole = read(tmp_path / "t.csv")
    assert whole["b"].tolist()[:1] == ["2"]
    with pytest.raises(ValueError, match="rows must be at least 1"):
        next(blocks(tmp_path / "t.csv", rows=0))


@pytest.mark.parametrize("missing", ["pandas", "pyarrow"])
@pytest.mark.parametrize("call", ["read('t.csv')", "list(blocks('t.csv'))"])
def test_what_is_not_installed_is_named_with_the_extra(missing, call, tmp_path):
    (tmp_path / "t.csv").write_text("a\n1\n")
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from chainrule.tables import blocks, read\n"
        f"try: {call}\n"
        "except ImportError as error: print(error)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f'tables need {missing}: pip install "chainrule[tables]"'
