"""Tables that are broken or odd, each with what must come of it: these data, or this error.

An error names the file, the place in it and what to do; it comes quickly and in bounded memory.
What is read is exactly what is written here; no row is left out without a word.
"""

# ruff: noqa: E501 - one line to a case
from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import sqlite3
import subprocess
import sys
import threading

import pytest

pd = pytest.importorskip("pandas", reason="tables need pandas")
pa = pytest.importorskip("pyarrow", reason="tables need pyarrow")

from chainrule.tables.reading import TableError, blocks, read  # noqa: E402

NAN = float("nan")
GOOD = b"a,b\n1,x\n2,y\n"
GOOD_DATA = {"a": [1, 2], "b": ["x", "y"]}


def frame(rows=2):
    return pd.DataFrame({"a": range(1, rows + 1), "b": ["x", "y"] * (rows // 2)})


def as_bytes(write):
    out = io.BytesIO()
    write(out)
    return out.getvalue()


PARQUET = as_bytes(lambda out: frame().to_parquet(out, index=False))
FEATHER = as_bytes(lambda out: frame(2000).to_feather(out))


def feather_stream():
    table = pa.Table.from_pandas(frame(), preserve_index=False)
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


# name: (file name, content, what must come of it)
# what must come of it: a dict, the data; or a tuple, parts of the error.
FILES = {
    # Rows that do not fit the header.
    "short row": ("t.csv", b"a,b\n1,2\n3\n", ("t.csv, line 3: it has 1 cell where the header has 2", "fill the row up")),
    "long row": ("t.csv", b"a,b\n1,2\n3,4,5\n", ("t.csv, line 3: it has 3 cells where the header has 2", "in quotes")),
    "every row longer than the header": ("t.csv", b"a,b\n0,1,2\n1,3,4\n", ("t.csv, line 2: it has 3 cells where the header has 2",)),
    "a comma at the end of every row": ("t.csv", b"a,b\n1,2,\n3,4,\n", ("t.csv, line 2: it has 3 cells",)),
    "a comma at the end of every line": ("t.csv", b"a,b,\n1,2,\n3,4,\n", {"a": [1, 3], "b": [2, 4], "column_3": [NAN, NAN]}),
    "mixed delimiters": ("t.csv", b"a,b\n1,2\n3;4\n", ("t.csv, line 3: its cells are separated by a semicolon", "comma")),
    "blank line inside": ("t.csv", b"a,b\n1,2\n\n3,4\n", ("t.csv, line 3: the line is blank; delete it",)),
    "blank line inside, CRLF": ("t.csv", b"a,b\r\n1,2\r\n\r\n3,4\r\n", ("t.csv, line 3: the line is blank",)),
    "line of blanks inside": ("t.csv", b"a,b\n1,2\n   \n3,4\n", ("t.csv, line 3: it has 1 cell",)),
    "blank lines at the end": ("t.csv", b"a,b\n1,2\n3,4\n\n\n", {"a": [1, 3], "b": [2, 4]}),
    "blank lines above": ("t.csv", b"\n\na,b\n1,2\n3\n", ("t.csv, line 5: it has 1 cell",)),
    "one column, blank line": ("t.csv", b"a\n1\n\n3\n", {"a": pd.array([1, None, 3], "Int64")}),
    "header again": ("t.csv", b"a,b\n1,x\na,b\n2,y\n", ("t.csv, line 3: the line of column names comes again",)),
    "a comment above": ("t.csv", b"# of Monday\nx,y\n1,2\n", ("t.csv, line 1: 1 line starts with '#', like a comment, above", "delete it")),
    "comments above": ("t.csv", b"# of Monday, by me\n# again\nx,y\n1,2\n", ("t.csv, line 1: 2 lines start with '#', like a comment, above", "delete them")),
    "comments above a header with a mark": ("t.tsv", b"##meta\n##more\n#x\ty\n1\t2\n", ("2 lines start with '#', like a comment, above",)),
    "percent signs above": ("t.csv", b"% one\n% two\nx;y\n1;2\n", ("2 lines start with '%', like a comment",)),
    "a comment below": ("t.csv", b"x,y\n1,2\n# end\n", ("t.csv, line 3: it starts with '#', like a comment; delete it",)),
    "blanks between": ("t.csv", b"mpg  cyl  disp\n18.0   8   307.0\n15.0   8   350.0\n", ("t.csv: its columns are separated by spaces", "commas")),
    "one blank between": ("t.csv", b"x y\n1 2\n3 NA\n", ("separated by spaces",)),
    "blanks between texts": ("t.txt", b"name   town\nBob    Rome\nAnne   Oslo\n", ("separated by spaces",)),
    "blanks and decimal commas": ("t.csv", b"mpg cyl disp\n18,0 8 307,0\n15,0 8 350,0\n", ("separated by spaces",)),
    "as R writes it": ("t.txt", b'"x" "who"\n"1" 5 "Bob B"\n"2" 6 "Al"\n', ("separated by spaces",)),
    "a comment above blanks": ("t.txt", b"# data\nx y\n1 2\n3 4\n", ("1 line starts with '#', like a comment, above",)),
    "title above": ("t.csv", b"Report of May\na,b,c\n1,2,3\n4,5,6\n", ("t.csv, line 1: it has 1 cell but the lines below have 3", "delete a title")),
    "totals below": ("t.csv", b"a,b\n1,2\n3,4\nTotal: 10\n", ("t.csv, line 4: it has 1 cell",)),
    # Quotes.
    "quotes, newlines, delimiters": ("t.csv", b'a,b\n"x\ny","1,a"\n"say ""hi""",\n', {"a": ["x\ny", 'say "hi"'], "b": ["1,a", None]}),
    "a decimal comma in quotes": ("t.csv", b'a,b\n"1,5",x\n"2,25",y\n', {"a": [1.5, 2.25], "b": ["x", "y"]}),
    "unclosed quote": ("t.csv", b'a,b\n1,"x\n2,y\n', ("t.csv, line 2: a quote is opened but not closed",)),
    "unclosed quote in the header": ("t.csv", b'a,"b\n1,2\n', ("t.csv, line 1: a quote is opened but not closed",)),
    "text after a quote": ("t.csv", b'a,b\n"x"y,2\n', ("t.csv, line 2: text follows a closing quote", "double the quotes")),
    "quotes escaped by a backslash": ("t.csv", b'a,b\n"say \\"hi\\"",2\n', ("t.csv, line 2: text follows a closing quote",)),
    "a quote inside a cell": ("t.csv", b'a,b\n5" pipe,2\nx,3\n', {"a": ['5" pipe', "x"], "b": [2, 3]}),
    "single quotes": ("t.csv", b"'a','b'\n'x,y','z'\n", {"a": ["x,y"], "b": ["z"]}),
    "line counted across quoted newlines": ("t.csv", b'a,b\n"1\n2\n3",x\n4\n', ("t.csv, line 5: it has 1 cell",)),
    # Line ends.
    "CR only": ("t.csv", b"a,b\r1,x\r2,y\r", GOOD_DATA),
    "CRLF": ("t.csv", b"a,b\r\n1,x\r\n2,y\r\n", GOOD_DATA),
    "mixed line ends": ("t.csv", b"a,b\r\n1,x\n2,y\r3,z", {"a": [1, 2, 3], "b": ["x", "y", "z"]}),
    "no line end at the end": ("t.csv", GOOD[:-1], GOOD_DATA),
    # Encodings.
    "BOM": ("t.csv", b"\xef\xbb\xbf" + GOOD, GOOD_DATA),
    "UTF-16": ("t.csv", "a,b\n1,é\n".encode("utf-16"), {"a": [1], "b": ["é"]}),
    "UTF-16 without BOM": ("t.csv", "a,b\n1,é\n".encode("utf-16-le"), {"a": [1], "b": ["é"]}),
    "UTF-32": ("t.csv", "a,b\n1,é\n".encode("utf-32"), {"a": [1], "b": ["é"]}),
    "UTF-16 cut short": ("t.csv", "a,b\n1,é\n".encode("utf-16")[:-1], ("t.csv is not utf-16", "cut short")),
    "Latin-1": ("t.csv", "größe,b\n1,café\n".encode("latin-1"), {"größe": [1], "b": ["café"]}),
    "Windows-1252": ("t.csv", "a,b\n1,“5 €”\n".encode("cp1252"), {"a": [1], "b": ["“5 €”"]}),
    "not in Windows-1252": ("t.csv", b"a,b\n1,\xe9\n2,\x81\n", ("t.csv, line 3: it is not text in windows-1252", "UTF-8")),
    "UTF-8 with a broken sign": ("t.csv", "a,b\n1,é\n2,".encode() + b"\xe9\n", ("t.csv, line 3: it is not text in utf-8",)),
    "NUL": ("t.csv", b"a,b\n1,x\n2,\x00y\n", ("t.csv, line 3: it holds a NUL",)),
    "binary named .csv": ("t.csv", bytes(range(256)) * 20, ("t.csv is not text",)),
    # Headers.
    "empty": ("t.csv", b"", ("t.csv is empty", "column names")),
    "blanks only": ("t.csv", b"\n  \n\n", ("t.csv is empty",)),
    "header only": ("t.csv", b"a,b\n", {"a": [], "b": []}),
    "header without line end": ("t.csv", b"a,b", {"a": [], "b": []}),
    "names twice": ("t.csv", b"a,b,a\n1,2,3\n", ("t.csv, line 1: columns 1 and 3 have the same name, 'a'",)),
    "names twice but for blanks": ("t.csv", b"a, a\n1,2\n", ("columns 1 and 2 have the same name, 'a'",)),
    "names missing": ("t.csv", b",b,\n1,2,3\n", {"column_1": [1], "b": [2], "column_3": [3]}),
    "no header": ("t.csv", b"5.1,3.5\n4.9,3.0\n", ("t.csv, line 1: it looks like data (5.1, 3.5)", "add a first line")),
    "years for names": ("t.csv", b"2019,2020\n1,2\n", {"2019": [1], "2020": [2]}),
    # Cells.
    "nothing but a quoted NA": ("t.csv", b'a,b\n1,"NA"\n2,\n', {"a": [1, 2], "b": ["NA", None]}),
    "all quoted": ("t.csv", b'"a","b"\n"1","x"\n"","NA"\n"NA",""\n', {"a": pd.array([1, None, None], "Int64"), "b": ["x", "NA", None]}),
    "leading zeros": ("t.csv", b"id,n\n007,1\n012,2\n", {"id": ["007", "012"], "n": [1, 2]}),
    "huge integers": ("t.csv", b"n,m\n9223372036854775807,123456789012345678901\n-5,1\n", {"n": [2**63 - 1, -5], "m": ["123456789012345678901", "1"]}),
    "integers beyond a float's digits": ("t.csv", b"n\n9007199254740993\n0.5\n", {"n": ["9007199254740993", "0.5"]}),
    "inf and nan": ("t.csv", b"x,y\ninf,1\n-Infinity,nan\nnan,2\n", {"x": [float("inf"), -float("inf"), NAN], "y": pd.array([1, None, 2], "Int64")}),
    "beyond the floats": ("t.csv", b"x\n1e999\n2\n", {"x": ["1e999", "2"]}),
    "hexadecimal": ("t.csv", b"x\n0x1F\n0x20\n", {"x": ["0x1F", "0x20"]}),
    "missing cells": ("t.csv", b"a,b\nNA,x\n,null\n3,\n", {"a": pd.array([None, None, 3], "Int64"), "b": ["x", None, None]}),
    "quoted NA is text": ("t.csv", b'a,b\n1,"NA"\n2,NA\n', {"a": [1, 2], "b": ["NA", None]}),
    "mixed types": ("t.csv", b"a\n1\n2\noops\n", {"a": ["1", "2", "oops"]}),
    "true and false": ("t.csv", b"a,b\ntrue,yes\nFALSE,no\n", {"a": [True, False], "b": ["yes", "no"]}),
    "decimal comma": ("t.csv", b"a;b\n1,5;1.234,5\n-2,25;7\n", {"a": [1.5, -2.25], "b": [1234.5, 7]}),
    "a thousand beside decimal commas": ("t.csv", b"a;b;c;d\n1,5;1.234;1.5;0.125\n2,5;12.345;7.234;1.000\n", {"a": [1.5, 2.5], "b": [1234.0, 12345.0], "c": [1.5, 7.234], "d": [0.125, 1.0]}),
    "a fraction of three digits": ("t.csv", b"a;b\n1;1.234\n2;12.345\n", {"a": [1, 2], "b": [1.234, 12.345]}),
    "thousands": ("t.csv", b'a,b\n"1,234",x\n"12,345.5",y\n', {"a": [1234, 12345.5], "b": ["x", "y"]}),
    "dates": ("t.csv", b"a;b;c\n2024-01-31;31.12.2024;12/31/2024\n2024-02-29;1.2.2024;1/2/2024\n", {"a": pd.to_datetime(["2024-01-31", "2024-02-29"]), "b": pd.to_datetime(["2024-12-31", "2024-02-01"]), "c": pd.to_datetime(["2024-12-31", "2024-01-02"])}),
    "dates that may be either": ("t.csv", b"a\n01/02/2024\n03/04/2024\n", {"a": ["01/02/2024", "03/04/2024"]}),
    "no such day": ("t.csv", b"a\n2023-02-29\n2024-02-29\n", {"a": ["2023-02-29", "2024-02-29"]}),
    "no such day, day first": ("t.csv", b"a\n31.02.2024\n", {"a": ["31.02.2024"]}),
    "blanks around": ("t.csv", b"a, b\n 1, x\n2 ,y\n", {"a": [1, 2], "b": [" x", "y"]}),
    "one column of prose": ("t.csv", b"text\nhello, you\nbye, then\n", ("t.csv, line 2: it has 2 cells where the header has 1", "in quotes")),
    "formulas": ("t.csv", b"a,b\n=1+1,@x\n", {"a": ["=1+1"], "b": ["@x"]}),
    "tabs": ("t.tsv", b"a\tb\n1\tx,y\n", {"a": [1], "b": ["x,y"]}),
    "bars": ("t.txt", b"a|b\n1|x\n", {"a": [1], "b": ["x"]}),
    # Packed.
    "gzip": ("t.csv.gz", gzip.compress(GOOD), GOOD_DATA),
    "gzip in two members": ("t.csv.gz", gzip.compress(GOOD) + gzip.compress(b"3,z\n"), {"a": [1, 2, 3], "b": ["x", "y", "z"]}),
    "gzip without the suffix": ("t.csv", gzip.compress(GOOD), GOOD_DATA),
    "bz2": ("t.csv.bz2", bz2.compress(GOOD), GOOD_DATA),
    "xz": ("t.csv.xz", lzma.compress(GOOD), GOOD_DATA),
    "zstd": ("t.csv.zst", pa.compress(GOOD * 1, codec="zstd", asbytes=True), GOOD_DATA),
    "gzip cut short": ("t.csv.gz", gzip.compress(GOOD)[:-5], ("t.csv.gz is damaged or cut short", "gzip", "again")),
    "gzip damaged": ("t.csv.gz", gzip.compress(GOOD)[:-8] + b"\0" * 8, ("t.csv.gz is damaged or cut short",)),
    "bz2 cut short": ("t.csv.bz2", bz2.compress(GOOD)[:-5], ("t.csv.bz2 is damaged or cut short",)),
    "xz cut short": ("t.csv.xz", lzma.compress(GOOD)[:-5], ("t.csv.xz is damaged or cut short",)),
    "zstd cut short": ("t.csv.zst", pa.compress(GOOD * 99, codec="zstd", asbytes=True)[:-5], ("t.csv.zst is damaged or cut short",)),
    "gzip of nothing": ("t.csv.gz", gzip.compress(b""), ("t.csv.gz is empty",)),
    # Not tables.
    "zip": ("t.csv", b"PK\x03\x04" + b"\0" * 50, ("t.csv is a zip archive or an Excel workbook",)),
    "pickle": ("t.pkl", b"\x80\x04\x95\x05\x00", ("t.pkl is a pickle, which can run code",)),
    "PDF": ("t.csv", b"%PDF-1.7\n", ("t.csv is no table but a PDF",)),
    "web page": ("t.csv", b"<!DOCTYPE html>\n<p>404</p>\n", ("t.csv is a web page",)),
    # Columnar files.
    "Parquet cut short": ("t.parquet", PARQUET[:-10], ("t.parquet", "damaged or cut short")),
    "Parquet cut to its start": ("t.parquet", PARQUET[:6], ("t.parquet", "damaged or cut short")),
    "Parquet with a broken footer": ("t.parquet", PARQUET[:-60] + b"\xff" * 52 + PARQUET[-8:], ("t.parquet", "damaged")),
    "Parquet named .csv": ("t.csv", PARQUET, GOOD_DATA),
    "CSV named .parquet": ("t.parquet", GOOD, ("t.parquet is named like Parquet but does not hold it",)),
    "Feather": ("t.feather", FEATHER, {"a": list(range(1, 2001)), "b": ["x", "y"] * 1000}),
    "Feather cut short": ("t.feather", FEATHER[:-200], ("t.feather", "damaged or cut short")),
    "Arrow stream": ("t.arrow", feather_stream(), GOOD_DATA),
    "Arrow stream cut short": ("t.arrow", feather_stream()[:-60], ("t.arrow", "damaged or cut short")),
    "Feather of version 1": ("t.feather", b"FEA1" + b"\0" * 40, ("t.feather is Feather of version 1",)),
    "lists in Parquet": ("t.parquet", as_bytes(lambda out: pd.DataFrame({"a": [[1], [2]]}).to_parquet(out)), ("t.parquet, column 'a': it holds values of type list",)),
    # JSON lines.
    "JSON lines": ("t.jsonl", b'{"a": 1, "b": "x"}\n{"a": 2.5, "c": true}\n', {"a": [1, 2.5], "b": ["x", None], "c": pd.array([None, True], "boolean")}),
    "JSON lines broken": ("t.jsonl", b'{"a": 1}\n{"a": 2\n{"a": 3}\n', ("t.jsonl, line 2: it is not JSON", "mend or delete")),
    "JSON lines nested": ("t.jsonl", b'{"a": 1}\n{"a": {"x": 1}}\n', ("t.jsonl, line 2, column 'a': it holds an object",)),
    "JSON lines with lists": ("t.jsonl", b'{"a": [1]}\n', ("t.jsonl, line 1, column 'a': it holds a list",)),
    "JSON lines of numbers": ("t.jsonl", b'{"a": 1}\n5\n', ("t.jsonl, line 2: it is no object",)),
    "JSON lines with a key twice": ("t.jsonl", b'{"a": 1, "a": 2}\n', ("t.jsonl, line 1: a key comes twice",)),
    "JSON lines with a huge integer": ("t.jsonl", b'{"a": 123456789012345678901}\n{"a": 1}\n', {"a": ["123456789012345678901", "1"]}),
    "JSON lines of mixed types": ("t.jsonl", b'{"a": 1}\n{"a": "x"}\n', {"a": ["1", "x"]}),
    "JSON lines not UTF-8": ("t.jsonl", b'{"a": "\xe9"}\n', ("t.jsonl, line 1", "not UTF-8")),
    "JSON lines very deep": ("t.jsonl", b'{"a": ' + b"[" * 100_000 + b"\n", ("t.jsonl, line 1: it is not JSON",)),
    "a JSON array": ("t.json", b'[{"a": 1}, {"a": 2}]', ("t.json holds one JSON array", "JSON lines")),
    "JSON lines of nothing": ("t.jsonl", b"{}\n{}\n", ("t.jsonl holds no object",)),
    # Databases.
    "SQLite that is none": ("t.sqlite", b"hello", ("t.sqlite is named like an SQLite file but does not hold it",)),
    "SQLite damaged": ("t.sqlite", b"SQLite format 3\x00" + b"\x7f" * 4000, ("t.sqlite", "damaged or not SQLite")),
    "DuckDB damaged": ("t.duckdb", b"\0" * 8 + b"DUCK" + b"\x7f" * 9000, ("t.duckdb",)),
}  # fmt: skip


def check(got, wanted):
    expected = pd.DataFrame(wanted)
    pd.testing.assert_frame_equal(got, expected, check_dtype=False, check_index_type=False)
    for name in expected:
        integers = str(expected[name].dtype).lower().startswith("int")
        if integers and len(expected):
            assert str(got[name].dtype).lower().startswith("int"), name


@pytest.mark.parametrize("case", FILES)
def test_file(tmp_path, case):
    name, content, wanted = FILES[case]
    path = tmp_path / name
    path.write_bytes(content)
    if isinstance(wanted, dict):
        check(read(path), wanted)
        check(pd.concat(blocks(path, rows=1)), wanted)
        return
    for attempt in (read, lambda source: list(blocks(source, rows=1))):
        with pytest.raises(TableError) as caught:
            attempt(path)
        message = str(caught.value)
        assert str(path) in message
        assert "\n" not in message
        for part in wanted:
            assert part in message.replace(str(path), name), message


def make_sqlite(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE one (a, b)")
        connection.execute("CREATE TABLE two (a)")
        connection.executemany("INSERT INTO one VALUES (?, ?)", [(1, "x"), (2, None)])
        connection.execute("INSERT INTO two VALUES (x'00ff')")
    connection.close()


def make_duckdb(path):
    duckdb = pytest.importorskip("duckdb", reason="DuckDB files need duckdb")
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE one AS SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, NULL")
        connection.execute("CREATE TABLE two AS SELECT [1, 2] AS a")


ONE = {"a": [1, 2], "b": ["x", None]}
DATABASES = {
    "no table chosen": ({}, ("holds 2 tables; choose one", "one, two")),
    "table": ({"table": "one"}, ONE),
    "no such table": ({"table": "oen"}, ("has no table 'oen'; did you mean 'one'?",)),
    "query": ({"query": "SELECT b FROM one WHERE a = 1"}, {"b": ["x"]}),
    "query with a semicolon": ({"query": "SELECT * FROM one;"}, ONE),
    "table and query": ({"table": "one", "query": "SELECT 1"}, ("a table or a query, not both",)),
    "not SQL": ({"query": "SELEC 1"}, ("syntax error",)),
    "no such column": ({"query": "SELECT z FROM one"}, ("z",)),
    "two queries": ({"query": "SELECT 1; SELECT 2"}, ("must be one SELECT",)),
    "a name twice": (
        {"query": "SELECT a, a FROM one"},
        ("columns 1 and 2 have the same name, 'a'",),
    ),
    "a query that deletes": ({"query": "DELETE FROM one"}, ("SELECT",)),
    "a query that drops": ({"query": "DROP TABLE one"}, ("SELECT",)),
    "a query that attaches": ({"query": "ATTACH 'new.db' AS n"}, ("SELECT",)),
    "no query": ({"query": ""}, ("must be one SELECT",)),
    "rows missing": ({"query": "SELECT * FROM one WHERE a > 5"}, {"a": [], "b": []}),
    "bytes or lists": ({"table": "two"}, ("column 'a': it holds",)),
}


@pytest.mark.parametrize("suffix", [".sqlite", ".duckdb"])
@pytest.mark.parametrize("case", DATABASES)
def test_database(tmp_path, suffix, case, monkeypatch):
    monkeypatch.chdir(tmp_path)
    how, wanted = DATABASES[case]
    path = tmp_path / f"t{suffix}"
    (make_sqlite if suffix == ".sqlite" else make_duckdb)(path)
    before = path.read_bytes()
    if isinstance(wanted, dict):
        if suffix == ".duckdb" and case == "a name twice":
            return
        check(read(path, **how), wanted)
    else:
        with pytest.raises(TableError) as caught:
            read(path, **how)
        for part in wanted:
            assert part in str(caught.value)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_duckdb_query_cannot_reach_other_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_duckdb(tmp_path / "t.duckdb")
    (tmp_path / "secret.csv").write_bytes(GOOD)
    for query in (
        "SELECT * FROM read_csv('secret.csv')",
        "SELECT * FROM 'secret.csv'",
        "COPY one TO 'out.csv'",
    ):
        with pytest.raises(TableError, match=r"t\.duckdb"):
            read("t.duckdb", query=query)
    assert sorted(os.listdir(tmp_path)) == ["secret.csv", "t.duckdb"]


def test_table_and_query_are_for_databases(tmp_path):
    (tmp_path / "t.csv").write_bytes(GOOD)
    with pytest.raises(TableError, match="is no database"):
        read(tmp_path / "t.csv", query="SELECT 1")


# Folders, patterns, and what is no ordinary file.


def test_a_folder_a_pattern_and_a_list_are_one_table(tmp_path):
    for i in (1, 2, 10):
        (tmp_path / f"part{i}.csv").write_bytes(b"a,b\n%d,x\n" % i)
    (tmp_path / "_SUCCESS").write_bytes(b"")
    (tmp_path / ".hidden").write_bytes(b"")
    for source in (tmp_path, str(tmp_path / "part*.csv")):
        check(read(source), {"a": [1, 2, 10], "b": ["x"] * 3})
    check(read([tmp_path / "part2.csv", tmp_path / "part1.csv"]), {"a": [2, 1], "b": ["x"] * 2})


def test_files_agree_on_types_and_may_order_columns_otherwise(tmp_path):
    (tmp_path / "1.csv").write_bytes(b"a,b\n1,2\n")
    (tmp_path / "2.csv").write_bytes(b"b,a\n0.5,x\n")
    check(read(tmp_path), {"a": ["1", "x"], "b": [2, 0.5]})


FOLDERS = {
    "empty folder": ({}, ("holds no file",)),
    "mixed formats": ({"1.csv": GOOD, "2.parquet": PARQUET}, ("2.parquet is Parquet but", "1.csv is CSV")),
    "other columns": ({"1.csv": GOOD, "2.csv": b"a,c\n1,2\n"}, ("2.csv has other columns than", "lacks 'b'", "has 'c' besides")),
    "a broken file": ({"1.csv": GOOD, "2.csv": b"a,b\n1\n"}, ("2.csv, line 2: it has 1 cell",)),
    "an empty file": ({"1.csv": GOOD, "2.csv": b""}, ("2.csv is empty",)),
    "a folder inside": ({"1.csv": GOOD, "deep/2.csv": GOOD}, ("holds another folder, deep",)),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDERS)
def test_folder(tmp_path, case):
    files, wanted = FOLDERS[case]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError) as caught:
        read(tmp_path)
    for part in wanted:
        assert part in str(caught.value)


def test_parquet_files_of_other_types(tmp_path):
    frame().to_parquet(tmp_path / "1.parquet")
    frame().astype({"a": float}).to_parquet(tmp_path / "2.parquet")
    check(read(tmp_path), {"a": [1.0, 2.0] * 2, "b": ["x", "y"] * 2})
    frame().astype({"a": str}).to_parquet(tmp_path / "3.parquet")
    assert read(tmp_path)["a"].tolist()[-2:] == ["1", "2"]


def test_no_such_file(tmp_path):
    with pytest.raises(TableError, match=r"none\.csv does not exist"):
        read(tmp_path / "none.csv")
    with pytest.raises(TableError, match="no file matches"):
        read(str(tmp_path / "*.tsv"))
    (tmp_path / "t.csv").write_bytes(GOOD)
    with pytest.raises(TableError, match="cannot be read: Not a directory"):
        read(tmp_path / "t.csv" / "more.csv")
    with pytest.raises(TableError, match="empty list"):
        read([])
    with pytest.raises(TableError, match="is not the name of a file"):
        read("a\0b")


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
def test_symlink_loop(tmp_path):
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    with pytest.raises(TableError, match=r"loop\.csv cannot be read"):
        read(tmp_path / "loop.csv")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads anything")
def test_no_permission(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(GOOD)
    path.chmod(0)
    with pytest.raises(TableError, match=r"t\.csv cannot be read: Permission denied"):
        read(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(TableError, match="pipe is a pipe that nothing writes to"):
        read(path)

    def write():
        with open(path, "wb") as pipe:
            ready.set()
            pipe.write(GOOD * 1)

    ready = threading.Event()
    thread = threading.Thread(target=write)
    thread.start()
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # lets the writer in
    ready.wait(10)
    check(read(path), GOOD_DATA)
    os.close(handle)
    thread.join(10)


def test_device():
    if not os.path.exists("/dev/zero"):
        pytest.skip("needs /dev/zero")
    with pytest.raises(TableError, match="/dev/zero is not a file that can be read"):
        read("/dev/zero")


# Large ones, in a process of their own, whose memory is measured.

LARGE = {
    "a line of 64 MB": (
        lambda path: path.write_bytes(b"a,b\n1," + b"x" * (64 << 20) + b"\n2,y\n"),
        "line 2: the line is longer than 16 MB",
    ),
    "a header of 64 MB": (
        lambda path: path.write_bytes(b"x" * (64 << 20) + b"\n1\n"),
        "line 1: the line is longer than 16 MB",
    ),
    "an unclosed quote above 64 MB": (
        lambda path: path.write_bytes(b'a,b\n1,"x\n' + b"2,y\n" * (16 << 20)),
        "line 2: a quote is opened but not closed",
    ),
    "a bomb of zeros": (
        lambda path: path.write_bytes(gzip.compress(b"\0" * (256 << 20), 1)),
        "is not text",
    ),
    "a bomb of one line": (
        lambda path: path.write_bytes(gzip.compress(b"a,b\n1," + b"x" * (128 << 20), 1)),
        "line 2: the line is longer than 16 MB",
    ),
    "JSON lines of one line": (
        lambda path: path.write_bytes(b'{"a": "' + b"x" * (64 << 20) + b'"}\n'),
        "line 1: the line is longer than 16 MB",
    ),
    "a bomb of rows": (
        lambda path: path.write_bytes(gzip.compress(b"a,b\n" + b"1,22222\n" * (2 << 20), 6)),
        "unpacks to more than 200 times its size",
    ),
}


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux")
@pytest.mark.parametrize("case", LARGE)
def test_large(tmp_path, case):
    make, words = LARGE[case]
    path = tmp_path / "t.csv"
    make(path)
    code = (
        "import sys\n"
        "from chainrule.tables import files\n"
        "from chainrule.tables.reading import TableError, blocks\n"
        "if 'rows' in sys.argv[2]: files._MOST_UNPACKED >>= 3\n"
        "try:\n"
        "    for block in blocks(sys.argv[1]): pass\n"
        "except TableError as error: print(error)\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, path, case],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    message, peak = done.stdout.splitlines()
    assert str(path) in message
    assert words in message
    assert int(peak) < 350_000  # kB, of which pandas and Arrow take a third


def test_ten_thousand_columns(tmp_path):
    names = [f"c{i}" for i in range(10_000)]
    path = tmp_path / "t.csv"
    with path.open("w") as file:
        lines = csv.writer(file)
        lines.writerow(names)
        lines.writerows([i, 0.5, "x", ""] * 2500 for i in range(3))
    got = read(path)
    assert got.columns.tolist() == names
    assert got["c9996"].tolist() == [0, 1, 2]
    assert got["c9997"].tolist() == [0.5] * 3
    assert got["c9998"].tolist() == ["x"] * 3
    assert got["c9999"].isna().all()
    path.write_text(path.read_text() + "1,2\n")
    with pytest.raises(TableError, match="line 5: it has 2 cells where the header has 10000"):
        read(path)


# Types that are given.

TYPES = {
    "number": (b"a\n1\nx\n", "line 3, column 'a': 'x' is not a number"),
    "integer": (b"a\n1\n1.5\n", "line 3, column 'a': '1.5' is not a whole number"),
    "boolean": (b"a\ntrue\nyes\n", "line 3, column 'a': 'yes' is not true or false"),
    "date": (b"a\n2024-01-31\n2024-13-31\n", "line 3, column 'a': '2024-13-31' is not a date"),
}


@pytest.mark.parametrize("name", TYPES)
def test_a_cell_that_does_not_fit_its_type(tmp_path, name):
    content, words = TYPES[name]
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(TableError) as caught:
        read(path, types={"a": name})
    assert f"{path}, {words}" in str(caught.value)


def test_a_date_that_may_be_either_is_no_date(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a\n01/02/2024\n")
    with pytest.raises(TableError, match="'01/02/2024' may start with the day or the month"):
        read(tmp_path / "t.csv", types="date")


def test_a_type_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="a type must be one of integer, number"):
        read(tmp_path, types={"a": "float"})
    with pytest.raises(TableError, match="does not exist"):
        read(tmp_path / "t.csv", types={"a": "number"})


def test_unknown_columns(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"species,island\nA,B\n")
    with pytest.raises(TableError, match=r"no column 'specie'; did you mean 'species'\?"):
        read(tmp_path / "t.csv", columns=["specie"])
    check(read(tmp_path / "t.csv", columns=["island"]), {"island": ["B"]})


# Rejects.

BROKEN = b'a,b\n1,x\n2\nthree,y\n"4\n",z\n\n5,"u\nv"\na,b\n6,"p"q\n7,w\n8,"r\n'


def test_rejects(tmp_path):
    path, rejects = tmp_path / "t.csv", tmp_path / "rejects.csv"
    path.write_bytes(BROKEN)
    got = pd.concat(blocks(path, types={"a": "number", "b": "text"}, rejects=rejects, rows=2))
    check(got, {"a": [1.0, 4.0, 5.0, 7.0], "b": ["x", "z", "u\nv", "w"]})
    with rejects.open(newline="") as file:
        told = list(csv.DictReader(file))
    assert [(t["line"], t["column"], t["row"]) for t in told] == [
        ("3", "", "2"),
        ("4", "a", "three,y"),
        ("7", "", ""),
        ("10", "", "a,b"),
        ("11", "", '6,"p"q'),
        ("13", "", '8,"r'),
    ]
    assert [t["file"] for t in told] == [str(path)] * 6
    assert "it has 1 cell where the header has 2" in told[0]["message"]
    assert "'three' is not a number" in told[1]["message"]
    assert "blank" in told[2]["message"]
    assert "comes again" in told[3]["message"]
    assert "follows a closing quote" in told[4]["message"]
    assert "opened but not closed" in told[5]["message"]
    with pytest.raises(TableError, match=r"rejects\.csv exists; choose another file"):
        next(blocks(path, rejects=rejects))


def test_rejects_are_there_when_all_is_read_or_not_at_all(tmp_path):
    path, rejects = tmp_path / "t.csv", tmp_path / "rejects.csv"
    path.write_text("a,b\n" + "".join(f"{i},{i}\n" for i in range(9)) + "1\n" + "2,3\n" * 9)
    for left in (blocks(path, rejects=rejects, rows=2), blocks(path, rejects=rejects, rows=30)):
        next(left)
        assert not rejects.exists()
        left.close()
    assert os.listdir(tmp_path) == ["t.csv"]
    assert len(list(blocks(path, rejects=rejects, rows=2))) == 9
    assert len(rejects.read_text().splitlines()) == 2
    with pytest.raises(TableError, match="cannot be written: it is a folder"):
        list(blocks(path, rejects=tmp_path))
    if os.path.exists("/dev/full"):
        with pytest.raises(OSError, match="No space left"):
            list(blocks(path, rejects="/dev/full"))


def test_rows_and_rejects_are_all_of_the_file(tmp_path):
    """Each line of a large broken file is read or rejected, once, in order."""
    path = tmp_path / "t.csv"
    lines = [f"{i},x" if i % 7 else f"{i}" for i in range(50_000)]
    path.write_text("i,b\n" + "\n".join(lines) + "\n")
    rejects = []
    read_rows = [i for block in blocks(path, rejects=rejects.append, rows=999) for i in block["i"]]
    assert read_rows == [i for i in range(50_000) if i % 7]
    assert [(each.line, each.row) for each in rejects] == [
        (i + 2, str(i)) for i in range(0, 50_000, 7)
    ]


def test_rejects_of_json_lines(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": \n{"a": "x"}\n{"a": 4}\n')
    rejects = []
    (got,) = blocks(path, types={"a": "number"}, rejects=rejects.append)
    check(got, {"a": [1.0, 4.0]})
    assert [(each.line, each.column, each.row) for each in rejects] == [
        (2, None, '{"a":'),
        (3, "a", '{"a": "x"}'),
    ]
    assert json.loads(rejects[1].row) == {"a": "x"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("#chrom\tstart\nx\t1\n", ["#chrom", "start"]),
        ("# of cars\n1\n2\n", ["# of cars"]),
        ("full name\nAda Lovelace\nAlan Turing\n", ["full name"]),
        ("net weight\n12 kg\n13 kg\n", ["net weight"]),
        ("total amount\n1 234\n5 678\n", ["total amount"]),
        ("order time\n2024-01-31 12:00\n2024-02-01 13:00\n", ["order time"]),
        ("a note\nit is  fine\nno\n", ["a note"]),
    ],
)
def test_headers_with_marks_and_columns_with_blanks(tmp_path, text, names):
    (tmp_path / "t.csv").write_text(text)
    frame = read(tmp_path / "t.csv")
    assert list(frame) == names
    assert len(frame) == text.count("\n") - 1
