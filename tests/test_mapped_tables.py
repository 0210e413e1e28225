"""Memory-mapped tables: what is in the source, the same bits in training, orders by blocks."""

from __future__ import annotations

import errno
import itertools
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pd = pytest.importorskip("pandas", reason="tables need pandas")
pa = pytest.importorskip("pyarrow", reason="tables need pyarrow")
import pyarrow.dataset  # noqa: E402
import pyarrow.feather  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from chainrule import MLPClassifier, MLPRegressor, Network, Resume, memmap_table, samples, train  # noqa: E402
from chainrule.tables import TableError, read  # noqa: E402
from chainrule.tables.stores import Parquet  # noqa: E402

WRITERS = {
    "parquet": lambda table, path: pq.write_table(table, path, row_group_size=3),
    "arrow": lambda table, path: pyarrow.feather.write_feather(table, path, chunksize=3),
    "csv": lambda table, path: table.to_pandas().to_csv(path, index=False),
    "jsonl": lambda table, path: table.to_pandas().to_json(path, orient="records", lines=True),
}


def boxes(n=50, seed=0):
    """Two columns of numbers, one of them with holes, truth values, and a kind."""
    rng = np.random.default_rng(seed)
    width, height = rng.normal(size=(2, n))
    kinds = np.array(["tall", "flat", "wide"])[(width > 0).astype(int) + (height > 1)]
    return pa.table(
        {
            "width": width,
            "level": pa.array([None if i % 7 == 3 else i for i in range(n)], pa.int64()),
            "kind": kinds,
            "open": height > 0,
        }
    )


def written(table, folder, name="boxes.parquet"):
    WRITERS[name.rpartition(".")[2]](table, folder / name)
    return folder / name


def listed(folder):
    return sorted(path.name for path in folder.iterdir())


# What is in them


@pytest.mark.parametrize("format", WRITERS)
def test_same_numbers_as_read_into_memory(format, tmp_path, monkeypatch):
    monkeypatch.setattr("chainrule.tables.stores._ROWS", 4)
    path = written(boxes(), tmp_path, f"boxes.{format}")
    rows = memmap_table(path, tmp_path / "rows", target="kind")
    frame = read(path)
    assert rows.feature_names == ["width", "level", "open"]
    expected = frame[rows.feature_names].astype("Float64").to_numpy(np.float32, na_value=np.nan)
    np.testing.assert_array_equal(np.asarray(rows.X), expected)
    assert rows.y.tolist() == frame["kind"].tolist()
    assert rows.classes.tolist() == ["flat", "tall", "wide"]
    for array in (rows.X, rows.y):
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
    assert listed(tmp_path / "rows") == ["X.npy", "rows.json", "y.npy"]
    assert listed(tmp_path) == [path.name, "rows"]


numbers = {
    pa.float64(): st.floats(-3e38, 3e38) | st.sampled_from([np.inf, -np.inf, np.nan]),
    pa.float32(): st.floats(width=32),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint8(): st.integers(0, 255),
    pa.bool_(): st.booleans(),
}
labels = {
    pa.string(): st.text(st.characters(exclude_categories=["Cs"]), max_size=4).filter(
        lambda text: not text.endswith("\0")
    ),
    pa.int32(): st.integers(-5, 5),
    pa.float64(): st.floats(allow_nan=False, allow_infinity=False),
    pa.bool_(): st.booleans(),
}


@st.composite
def tables(draw):
    n = draw(st.integers(1, 20))
    columns = {}
    for j in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(list(numbers)))
        cells = st.lists(numbers[kind] | st.none(), min_size=n, max_size=n)
        columns[f"x{j}"] = pa.array(draw(cells), kind)
    kind = draw(st.sampled_from(list(labels)))
    columns["y"] = pa.array(draw(st.lists(labels[kind], min_size=n, max_size=n)), kind)
    return pa.table(columns)


@given(tables(), st.integers(1, 6), st.sampled_from(["float32", "float64"]), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_numbers_any_blocks(tmp_path_factory, table, size, dtype, by_file):
    folder = tmp_path_factory.mktemp("any")
    batches = source = table.to_batches(max_chunksize=size)
    if by_file:
        source = folder / "t.parquet"
        pq.write_table(table, source, row_group_size=size)
    rows = memmap_table(
        iter(batches) if source is batches else source, folder / "rows", target="y", dtype=dtype
    )
    with np.errstate(over="ignore"):
        expected = [
            np.array([np.nan if cell is None else cell for cell in column.to_pylist()], float)
            for column in table.drop_columns("y").columns
        ]
        expected = np.transpose(expected).astype(dtype)
    # A whole number is rounded once, not by way of float64.
    np.testing.assert_allclose(np.asarray(rows.X), expected, rtol=np.finfo(np.float32).eps)
    assert rows.X.dtype == dtype
    assert rows.y.tolist() == table["y"].to_pylist()


def test_files_of_one_table_are_joined_and_typed_ones_read_once(tmp_path, monkeypatch):
    (tmp_path / "parts").mkdir()
    for i in range(3):
        written(boxes(5, seed=i), tmp_path / "parts", f"{i}.parquet")
    passes, batches = [], Parquet._batches
    monkeypatch.setattr(
        Parquet, "_batches", lambda self, names: passes.append(names) or batches(self, names)
    )
    rows = memmap_table(tmp_path / "parts", tmp_path / "rows", columns=["level", "width"])
    assert passes == [["level", "width"]] * 3
    assert rows.y is None
    assert rows.classes is None
    assert listed(tmp_path / "rows") == ["X.npy", "rows.json"]
    np.testing.assert_array_equal(
        rows.X[5:10, 1], boxes(5, seed=1)["width"].to_numpy().astype("f4")
    )


# Made once


def test_a_second_call_reads_nothing(tmp_path, monkeypatch):
    path = written(boxes(), tmp_path)
    first = memmap_table(path, tmp_path / "rows", target="kind")
    monkeypatch.setattr(Parquet, "_batches", lambda *_: pytest.fail("read again"))
    again = memmap_table(str(path), tmp_path / "rows", target="kind")
    opened = memmap_table(None, tmp_path / "rows")
    for found in (again, opened):
        assert found.feature_names == first.feature_names
        np.testing.assert_array_equal(found.X, first.X)
        np.testing.assert_array_equal(found.y, first.y)


def test_what_was_made_otherwise_is_not_taken(tmp_path):
    path = written(boxes(), tmp_path)
    folder = tmp_path / "rows"
    memmap_table(path, folder, target="kind")
    with pytest.raises(TableError, match=r"dtype='float32', not 'float64'; force=True"):
        memmap_table(path, folder, target="kind", dtype="float64")
    with pytest.raises(TableError, match=r"cannot be compared.*force=True.*source=None"):
        memmap_table(boxes().to_batches(), folder, target="kind")
    written(boxes(60), tmp_path)
    with pytest.raises(TableError, match=r"boxes\.parquet is new, gone or changed; force=True"):
        memmap_table(path, folder, target="kind")
    assert len(memmap_table(None, folder).X) == 50
    assert len(memmap_table(path, folder, target="kind", force=True).X) == 60
    assert listed(tmp_path) == ["boxes.parquet", "rows"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("there", [False, True])
def test_interrupted_it_leaves_nothing_and_destroys_nothing(there, error, tmp_path):
    def broken():
        yield from boxes().to_batches(max_chunksize=10)
        assert any(name.endswith(".part") for name in listed(tmp_path))
        raise error

    folder = tmp_path / "rows"
    if there:
        memmap_table(boxes(20), folder, target="kind")
    before = {path: path.read_bytes() for path in tmp_path.glob("*/*")}
    with pytest.raises(error):
        memmap_table(broken(), folder, target="kind", force=True)
    assert listed(tmp_path) == ["rows"] * there
    assert {path: path.read_bytes() for path in tmp_path.glob("*/*")} == before


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_a_full_disk_destroys_nothing(step, tmp_path, monkeypatch):
    folder = tmp_path / "rows"
    memmap_table(boxes(20).drop_columns(["kind"]), folder)
    calls, rename = [], Path.rename

    def full(*args):
        calls.append(args)
        if step == "rename" and len(calls) != 2:  # the new one into its place
            return rename(*args)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((Path, "rename") if step == "rename" else (os, "fsync")), full)
    table = boxes().drop_columns(["kind"])
    with pytest.raises(TableError, match="cannot be written: No space left"):
        memmap_table(table, folder, force=True)
    monkeypatch.undo()
    assert listed(tmp_path) == ["rows"]
    assert len(memmap_table(None, folder).X) == 20


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nobody asks whether a process runs")
def test_what_a_killed_process_left_is_mended(tmp_path):
    folder = tmp_path / "rows"
    numbers = boxes(20).drop_columns(["kind"])
    memmap_table(numbers, folder)
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    killed = int(done.stdout)
    folder.rename(tmp_path / f".rows.{killed}.old")  # between two renames
    (tmp_path / f".rows.{killed}.part").mkdir()
    (tmp_path / f".rows.{os.getpid()}.part").mkdir()  # somebody is at work
    assert len(memmap_table(None, folder).X) == 20
    assert listed(tmp_path) == [f".rows.{os.getpid()}.part", "rows"]


def test_a_source_that_changes_meanwhile(tmp_path, monkeypatch):
    path, batches = written(boxes(), tmp_path), Parquet._batches

    def changing(self, names):
        yield from batches(self, names)
        os.utime(path, (1, 1))

    monkeypatch.setattr(Parquet, "_batches", changing)
    with pytest.raises(TableError, match="changed while it was read"):
        memmap_table(path, tmp_path / "rows", target="kind")
    assert listed(tmp_path) == ["boxes.parquet"]


# Bad input


def spoilt(**columns):
    table = boxes(12)
    for name, cells in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(cells))
    return table


@pytest.mark.parametrize(
    ("table", "how", "message"),
    [
        (boxes(), {}, r"not of numbers: 'kind' \(string\).*columns="),
        (boxes(), {"columns": ["width", "kind"]}, r"'kind' \(string\)"),
        (boxes(), {"target": "sort"}, "no column 'sort'"),
        (boxes(), {"columns": ["widht"]}, "no column 'widht'; did you mean 'width'"),
        (
            boxes(),
            {"columns": ["width", "width"]},
            "columns: 'width' is the target, or comes twice",
        ),
        (boxes(), {"columns": []}, "columns is empty"),
        (boxes(), {"columns": ["kind"], "target": "kind"}, "columns: 'kind' is the target"),
        (boxes(), {"dtype": "float16"}, "float32 or float64"),
        (boxes(0), {"target": "kind"}, "no rows"),
        (boxes().select(["kind"]), {"target": "kind"}, "no column is left"),
        (
            spoilt(width=[0.0] * 9 + [1e39, 1.0, 1e40]),
            {"target": "kind"},
            r"column 'width', row 9: 1e\+39 .*float64",
        ),
        (
            spoilt(kind=["a"] * 10 + [None, "b"]),
            {"target": "kind"},
            "target 'kind' is missing in row 10",
        ),
        (
            spoilt(width=[0.0] * 11 + [np.nan]),
            {"columns": ["open"], "target": "width"},
            "'width' is nan in row 11",
        ),
        (boxes(), {"columns": ["width"], "target": "level"}, "'level' is missing in row 3"),
        (
            spoilt(kind=np.arange(12).astype("M8[us]")),
            {"target": "kind"},
            r"'kind' holds timestamp",
        ),
        (spoilt(kind=["a"] * 11 + ["a\0"]), {"target": "kind"}, "end in NUL"),
    ],
)
@pytest.mark.parametrize("by_file", [True, False])
def test_errors_name_the_column_and_the_row(table, how, message, by_file, tmp_path, monkeypatch):
    monkeypatch.setattr("chainrule.tables.stores._ROWS", 5)
    source = written(table, tmp_path) if by_file else table
    with pytest.raises(ValueError, match=message):
        memmap_table(source, tmp_path / "rows", **how)
    assert listed(tmp_path) == ["boxes.parquet"] * by_file


def test_errors_of_batches(tmp_path):
    good = boxes(5)
    for source, message in (
        ([good, "boxes.parquet"], "table 1 of the source is no pyarrow table .* type str"),
        ([good, good.drop_columns(["open"])], "table 1 of the source has no column 'open'"),
        ([good.drop_columns(["open"]), good], "the first table of the source has no column 'open'"),
        (
            [good, good.set_column(2, "kind", pa.array(range(5)))],
            "'kind' is string up to row 5 and then int64",
        ),
        ([], "no file in an empty list"),
    ):
        with pytest.raises(TableError, match=message):
            memmap_table(source, tmp_path / "rows", target="kind")


def test_other_sources(tmp_path):
    for source in (7, pyarrow.dataset.dataset(boxes())):
        with pytest.raises(TypeError, match=r"source must be files, or an iterable.*; got"):
            memmap_table(source, tmp_path / "rows", target="kind")
    reader = boxes().to_reader(max_chunksize=7)
    assert len(memmap_table(reader, tmp_path / "rows", target="kind").X) == 50


def test_too_many_classes(tmp_path, monkeypatch):
    monkeypatch.setattr("chainrule.tables.mapped.MOST_CLASSES", 2)
    with pytest.raises(TableError, match="'kind' has more than 2 different texts"):
        memmap_table(boxes(), tmp_path / "rows", target="kind")


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name, message in (("rows", "something else, such as notes.txt"), ("file", "is a file")):
        with pytest.raises(TableError, match=message):
            memmap_table(boxes(), tmp_path / name, target="kind", force=True)
    with pytest.raises(TableError, match="cannot be written: No such file"):
        memmap_table(boxes(), tmp_path / "no" / "rows", target="kind")
    with pytest.raises(TableError, match="holds no table; give the source"):
        memmap_table(None, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert len(memmap_table(boxes(), tmp_path / "empty", target="kind").X) == 50


@pytest.mark.parametrize("spoil", ["cut", "about", "rows", "gone"])
def test_damage_is_told(spoil, tmp_path):
    folder = tmp_path / "rows"
    memmap_table(boxes(), folder, target="kind")
    if spoil == "cut":
        os.truncate(folder / "X.npy", 200)
    elif spoil == "gone":
        (folder / "y.npy").unlink()
    else:
        text = (folder / "rows.json").read_text()
        about = json.loads(text) | {"rows": 49}
        (folder / "rows.json").write_text(text[:40] if spoil == "about" else json.dumps(about))
    with pytest.raises(TableError, match=r"is damaged: .*; force=True"):
        memmap_table(None, folder)
    assert len(memmap_table(boxes(), folder, target="kind", force=True).X) == 50


# Training on them


@pytest.fixture
def mapped(tmp_path):
    """(rows, X, y): the same numbers mapped and in memory."""
    table = boxes(400).drop_columns(["level"])
    rows = memmap_table(table, tmp_path / "rows", target="kind")
    return rows, np.array(rows.X), np.array(table["kind"].to_pylist())


FITS = {
    "plain": {},
    "blocks": {"shuffle": "blocks"},
    "held out": {"shuffle": "blocks", "early_stopping": True, "class_weight": "balanced"},
    "compiled": {"shuffle": "blocks", "early_stopping": True, "engine": "numba"},
}


@pytest.mark.bits
@pytest.mark.parametrize(
    "name", [pytest.param("compiled", marks=pytest.mark.compiled), *list(FITS)[:3]]
)
def test_estimators_train_to_the_same_bits(name, mapped, monkeypatch):
    monkeypatch.setattr(samples, "CHUNK", 160)
    rows, X, y = mapped
    settings = {"engine": "numpy", "max_iter": 3, "batch_size": 7, "random_state": 0} | FITS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = MLPClassifier((4,), **settings).fit(rows.X, rows.y)
        theirs = MLPClassifier((4,), **settings).fit(X, y)
        settings.pop("class_weight", None)
        numbers = [
            MLPRegressor(hidden_layer_sizes=(4,), **settings).fit(A, A[:, 0]) for A in (rows.X, X)
        ]
    assert ours.classes_.tolist() == ["flat", "tall", "wide"]
    for one, other in ((ours, theirs), numbers):
        assert [a.tobytes() for a in one.coefs_] == [a.tobytes() for a in other.coefs_]
    assert ours.predict(rows.X).tolist() == theirs.predict(X).tolist()


@pytest.mark.bits
def test_train_trains_to_the_same_bits(mapped, engine):
    rows, X, y = mapped
    thetas = []
    for A, labels in ((rows.X, rows.y), (X, y)):
        net = Network((2, 4, 3), loss="cross_entropy", dtype="float32", seed=0)
        Y = np.eye(3, dtype="float32")[np.searchsorted(rows.classes, labels)]
        train(net, A, Y, epochs=2, seed=0, shuffle="blocks", engine=engine)
        thetas.append(net.theta.tobytes())
    assert thetas[0] == thetas[1]


@pytest.mark.parametrize("weighted", [False, True])
def test_rows_held_out_take_no_part(weighted, mapped):
    """As if only the others were there, though X is not copied for it."""
    _, X, y = mapped
    weight = np.random.default_rng(0).integers(0, 3, len(X)) if weighted else None
    model = MLPClassifier((4,), early_stopping=True, max_iter=3, random_state=0, engine="numpy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y, weight)
        rows, held = model._split(y, len(X), model._split_seed)
        spoilt = X.copy()
        spoilt[held] *= 1000
        again = MLPClassifier(**model.get_params()).fit(spoilt, y, weight)
        weights = {} if weight is None else {"sample_weight": weight[rows]}
        alone = MLPClassifier(**model.get_params() | {"early_stopping": False})
        alone.set_params(shuffle=False, max_iter=1).fit(X[rows], y[rows], **weights)
        model.set_params(shuffle=False, max_iter=1).fit(X, y, weight)
    assert sorted([*rows, *held]) == list(range(len(X)))
    np.testing.assert_array_equal(model._scaling, alone._scaling)
    np.testing.assert_array_equal(model._scaling, again._scaling)
    assert model.t_ == alone.t_
    assert [a.tobytes() for a in model.coefs_] == [a.tobytes() for a in alone.coefs_]


@pytest.mark.bits
def test_a_fit_by_blocks_resumes_to_the_same_bits(mapped, monkeypatch, tmp_path):
    monkeypatch.setattr(samples, "CHUNK", 160)
    rows, _, _ = mapped

    def fit(epochs, *callbacks):
        model = MLPClassifier(
            (4,), max_iter=6, early_stopping=True, shuffle="blocks", random_state=0
        )
        model.set_params(callbacks=[*callbacks, lambda est, record: record["epoch"] == epochs - 1])
        return model.fit(rows.X, rows.y)

    whole = fit(6)
    keep = Resume(tmp_path / "state")

    def crash(est, record):
        if record["epoch"] == 3:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fit(6, keep, crash)
    resumed = fit(6, keep)
    assert keep.resumed_from_ == 3
    assert [a.tobytes() for a in resumed.coefs_] == [a.tobytes() for a in whole.coefs_]


# The order by blocks


def draw(n, m=1, row_bytes=4, seed=0, chunk=40, how="blocks", kind=np.random.default_rng):
    """10 rows a chunk."""
    before, samples.CHUNK = samples.CHUNK, chunk
    try:
        return samples.draw_order(how, n, row_bytes, m, kind(seed))
    finally:
        samples.CHUNK = before


@given(st.integers(0, 700), st.integers(1, 60), st.integers(0, 9))
def test_an_order_by_blocks_takes_every_row_once(n, m, row_bytes):
    order = draw(n, m, row_bytes)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(n))


@pytest.mark.parametrize("kind", [np.random.default_rng, np.random.RandomState])
def test_an_order_by_blocks_depends_on_the_seed_alone(kind):
    np.testing.assert_array_equal(draw(1000, kind=kind), draw(1000, kind=kind))
    assert (draw(1000, kind=kind) != draw(1000, seed=1, kind=kind)).any()
    rng = kind(0)
    first, second = (samples.draw_order("blocks", 1000, 1 << 26, 1, rng) for _ in range(2))
    assert (first != second).any()


def test_what_is_read_together_lies_in_eight_chunks_and_is_mixed():
    order = draw(1000)  # 100 chunks in 13 groups of 7 or 8
    chunks = order // 10
    bounds = np.cumsum([0] + [len(part) * 10 for part in np.array_split(np.arange(100), 13)])
    groups = [chunks[a:b] for a, b in itertools.pairwise(bounds)]
    for group in groups:
        assert len(set(group)) == len(group) // 10 <= 8
        # Mixed: neighbours seldom come from one chunk, and each half has rows of all.
        assert np.mean(group[1:] == group[:-1]) < 0.35
        assert len(set(group[: len(group) // 2])) == len(set(group))
    # From all over the file.
    assert np.mean([np.ptp(np.unique(group)) > 50 for group in groups]) > 0.8


def test_no_chunk_has_fewer_rows_than_a_batch():
    order = draw(1000, m=50)  # 20 chunks in 3 groups of 7, 7 and 6
    assert len({*(order[:350] // 50)}) == 7


@pytest.mark.parametrize("n", [1, 10, 80])
def test_few_rows_are_all_mixed_as_ever(n):
    np.testing.assert_array_equal(draw(n), draw(n, how=True))
    assert draw(n, how=False).tolist() == list(range(n))


def test_an_unknown_way_to_shuffle():
    X = np.eye(3)
    with pytest.raises(ValueError, match="shuffle must be True, False or 'blocks'; got 'block'"):
        train(Network((3, 1), seed=0), X, X[:, 0], shuffle="block")
    with pytest.raises(ValueError, match="'shuffle' parameter"):
        MLPClassifier(shuffle="block").fit(X, [0, 1, 1])
    with pytest.raises(ValueError, match=r"shuffle='blocks' does not go with compat='sklearn'"):
        MLPClassifier(shuffle="blocks", compat="sklearn").fit(X, [0, 1, 1])


# Memory

WATCHED = """
import sys, threading, time, warnings
import numpy as np
from chainrule import MLPClassifier, memmap_table
import pyarrow.parquet

warnings.simplefilter("ignore")

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1000

def grown(call):
    before, peak, done = anonymous(), [0], []
    def watch():
        while not done:
            peak.append(anonymous() - before)
            time.sleep(0.002)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        return call(), max(peak)
    finally:
        done.append(True)
        watcher.join()

rng = np.random.default_rng(0)
model = MLPClassifier((4,), max_iter=1, batch_size=500, engine="numpy", shuffle="blocks")
model.fit(rng.normal(size=(2000, 100)).astype("f4"), rng.integers(0, 2, 2000))
rows, preparing = grown(lambda: memmap_table(sys.argv[1], sys.argv[2], target="y"))
_, fitting = grown(lambda: model.fit(rows.X, rows.y))
model.set_params(early_stopping=True, validation_fraction=0.05)
_, holding_out = grown(lambda: model.fit(rows.X, rows.y))
_, predicting = grown(lambda: model.score(rows.X[:300_000], rows.y[:300_000]))
print(rows.X.nbytes / 1e6, preparing, fitting, holding_out, predicting)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
def test_memory_does_not_grow_with_the_rows(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"x{j}" for j in range(100)]
    schema = pa.schema([(name, pa.float32()) for name in names] + [("y", pa.string())])
    X = rng.standard_normal((50_000, 100), np.float32)
    y = np.array(["no", "yes"])[rng.integers(0, 2, len(X))]
    part = pa.table(dict(zip(schema.names, [*X.T.copy(), y], strict=True)))
    with pq.ParquetWriter(
        tmp_path / "t.parquet", schema, use_dictionary=False, compression="NONE"
    ) as file:
        for _ in range(12):
            file.write_table(part)
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, tmp_path / "t.parquet", tmp_path / "rows"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    size, preparing, fitting, holding_out, predicting = map(float, done.stdout.split())
    assert size == 240
    assert preparing < 100
    assert fitting < 60
    assert holding_out < 110
    assert predicting < 60
