"""Tables: what is written is read again, in every format, whole and in blocks."""

from __future__ import annotations

import pytest
import tables_data

from chainrule.tables import blocks, read

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


def test_real_tables(tmp_path):
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
