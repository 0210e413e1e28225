"""Callbacks, each told the story of a fit by a stand-in for an estimator."""

from __future__ import annotations

import copy
import csv
import io
import json
import math
import os
import pickle
import sys
import types
from contextlib import redirect_stdout

import numpy as np
import pytest

from chainrule import callbacks, checkpoints
from chainrule.callbacks import (
    Callback,
    EarlyStopping,
    FunctionCallback,
    ProgressBar,
    as_callback,
    as_callbacks,
    running,
)
from chainrule.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from chainrule.loggers import CSVLog, JSONLinesLog, MLflow, TensorBoard


def record(epoch, loss=1.0, **others):
    return {
        "epoch": epoch,
        "loss": loss,
        "validation_loss": None,
        "validation_score": None,
        "learning_rate": 0.1,
        "gradient_norm": 2.0,
        "seconds": 0.5,
    } | others


class Fit:
    """Plays a fit: the parameters of epoch e are full of e."""

    def __init__(self, max_iter=200):
        self.max_iter = max_iter
        self.history_ = []

    def run(self, records, *given):
        with running([as_callback(one) for one in given], self) as epoch_end:
            for one in records:
                self.coefs_ = [np.full((2, 3), one["epoch"], float), np.full((3, 1), 0.5)]
                self.intercepts_ = [np.zeros(3), np.ones(1)]
                self.history_.append(one)
                if epoch_end(one):
                    return one["epoch"]
        return None


def falling(losses, key="validation_loss"):
    return [record(epoch, **{key: loss}) for epoch, loss in enumerate(losses)]


# The protocol


class Notes(Callback):
    def __init__(self, name, book, answer=None, fails=""):
        self.name, self.book, self.answer, self.fails = name, book, answer, fails

    def _note(self, event):
        self.book.append(f"{self.name} {event}")
        if self.fails == event:
            raise OSError(event)

    def on_fit_begin(self, estimator):
        self._note("begin")

    def on_epoch_end(self, estimator, record):
        self._note(f"epoch {record['epoch']}")
        return self.answer

    def on_fit_end(self, estimator):
        self._note("end")


def test_all_hear_of_each_epoch_and_one_can_stop():
    book = []
    a, b = Notes("a", book, answer=np.True_), Notes("b", book)
    assert Fit().run([record(0), record(1)], a, b) == 0
    assert book == ["a begin", "b begin", "a epoch 0", "b epoch 0", "b end", "a end"]


@pytest.mark.parametrize("answer", [None, False, 0])
def test_no_answer_goes_on(answer):
    book = []
    assert Fit().run([record(0), record(1)], Notes("a", book, answer)) is None
    assert book[-1] == "a end"


def test_each_that_began_ends_when_one_fails():
    book = []
    with pytest.raises(OSError, match="end") as caught:
        Fit().run(
            [record(0), record(1), record(2)],
            Notes("a", book),
            Notes("b", book, fails="epoch 1"),
            Notes("c", book, fails="end"),
        )
    assert str(caught.value.__context__) == "epoch 1"  # what failed first is not lost
    assert book[-3:] == ["c end", "b end", "a end"]
    assert "a epoch 2" not in book


def test_one_that_does_not_begin_is_not_ended():
    book = []
    with pytest.raises(OSError, match="begin"):
        Fit().run([record(0)], Notes("a", book), Notes("b", book, fails="begin"), Notes("c", book))
    assert book == ["a begin", "b begin", "a end"]


def test_interruption_ends_them_too():
    book = []

    def interrupt(estimator, record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Fit().run([record(0)], Notes("a", book), interrupt)
    assert book == ["a begin", "a epoch 0", "a end"]


def test_a_function_is_a_callback():
    seen = []

    def watch(estimator, record):
        seen.append((len(estimator.history_), record["loss"]))
        return record["loss"] < 0.3

    assert Fit().run([record(e, loss) for e, loss in enumerate([1, 0.2, 0.1])], watch) == 1
    assert seen == [(1, 1), (2, 0.2)]


def test_as_callbacks():
    stop = EarlyStopping()
    assert as_callbacks(None) == []
    assert as_callbacks(stop) == [stop]
    found = as_callbacks([stop, print, lambda estimator, record: None])
    assert found[0] is stop
    assert all(isinstance(one, FunctionCallback) for one in found[1:])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([EarlyStopping], r"callbacks\[0\] is the class EarlyStopping; give an object"),
        ([print, 3], r"callbacks\[1\] must be a Callback or a function"),
        ([lambda estimator: None], r"callbacks\[0\] must take two arguments"),
        ("early", r"callbacks must be a Callback"),
    ],
)
def test_what_is_no_callback(given, message):
    with pytest.raises(TypeError, match=message):
        as_callbacks(given)


# EarlyStopping


def test_early_stopping_counts_patience_exactly():
    stop = EarlyStopping(patience=3)
    assert Fit().run(falling([3, 2, 1, 1, 1, 1, 1]), stop) == 5
    assert (stop.best_, stop.best_epoch_, stop.stopped_epoch_) == (1, 2, 5)


def test_early_stopping_starts_counting_again():
    stop = EarlyStopping(patience=2)
    assert Fit().run(falling([3, 4, 2, 3, 1, 5]), stop) is None
    assert (stop.best_epoch_, stop.stopped_epoch_) == (4, None)


def test_early_stopping_of_a_score_wants_it_large():
    scores = falling([0.1, 0.2, 0.3, 0.3, 0.2], "validation_score")
    assert Fit().run(scores, EarlyStopping("validation_score", patience=2)) == 4
    assert Fit().run(scores, EarlyStopping("validation_score", patience=2, mode="min")) == 2


def test_early_stopping_needs_more_than_min_delta():
    losses = falling([1.0, 0.75, 0.5, 0.25])
    assert Fit().run(losses, EarlyStopping(patience=1, min_delta=0.25)) == 1
    assert Fit().run(losses, EarlyStopping(patience=1, min_delta=0.2)) is None


def test_early_stopping_takes_nan_for_no_improvement():
    assert Fit().run(falling([math.nan, math.nan, 1.0]), EarlyStopping(patience=2)) == 1


def test_early_stopping_forgets_the_last_fit():
    stop = EarlyStopping(patience=2)
    assert Fit().run(falling([1, 2, 2]), stop) == 2
    assert Fit().run(falling([9, 8, 7]), stop) is None
    assert stop.stopped_epoch_ is None
    assert stop.best_ == 7


def test_monitor_without_a_value_says_what_to_do():
    with pytest.raises(ValueError, match=r"'validation_loss' has no value.*X_val="):
        Fit().run([record(0)], EarlyStopping())
    with pytest.raises(ValueError, match="'accuracy' is not in the records: epoch, loss"):
        Fit().run([record(0)], EarlyStopping("accuracy"))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: EarlyStopping(patience=0), "patience"),
        (lambda: EarlyStopping(patience=2.5), "patience"),
        (lambda: EarlyStopping(min_delta=-1), "min_delta"),
        (lambda: EarlyStopping(min_delta=math.nan), "min_delta"),
        (lambda: EarlyStopping(mode="lower"), "mode"),
        (lambda: EarlyStopping(monitor=""), "monitor"),
        (lambda: EarlyStopping(monitor=None), "monitor"),
        (lambda: Checkpoint("a.npz", every=0), "every"),
        (lambda: Checkpoint("a.npz", mode="x"), "mode"),
        (lambda: Checkpoint("{loss}.npz"), "path"),
        (lambda: Checkpoint("{}.npz"), "path"),
        (lambda: ProgressBar(total=0), "total"),
    ],
)
def test_bad_arguments_are_named(make, name):
    with pytest.raises(ValueError, match=f"^{name} "):
        make()


# Checkpoint


def test_checkpoint_holds_parameters_and_record(tmp_path):
    path = tmp_path / "best.npz"
    keep = Checkpoint(path)
    fit = Fit()
    fit.run(falling([3.0, 1.0, 2.0]), keep)
    assert keep.saved_ == [0, 1]
    loaded = load_checkpoint(path)
    assert loaded["record"] == record(1, validation_loss=1.0)
    assert [W.shape for W in loaded["coefs"]] == [(2, 3), (3, 1)]
    np.testing.assert_array_equal(loaded["coefs"][0], 1.0)  # those of epoch 1, not the last
    np.testing.assert_array_equal(loaded["intercepts"][1], [1.0])
    assert os.listdir(tmp_path) == ["best.npz"]


def test_checkpoint_keeps_bits_dtypes_and_order(tmp_path):
    rng = np.random.default_rng(0)
    coefs = [rng.standard_normal((2, 2)).astype(np.float32) for _ in range(12)]
    save_checkpoint(tmp_path / "a.npz", coefs, [W[0] for W in coefs], record(0))
    loaded = load_checkpoint(tmp_path / "a.npz")
    for W, b, got_W, got_b in zip(
        coefs, [W[0] for W in coefs], loaded["coefs"], loaded["intercepts"], strict=True
    ):
        assert got_W.dtype == np.float32
        np.testing.assert_array_equal(got_W, W)
        np.testing.assert_array_equal(got_b, b)


def test_checkpoint_without_validation_watches_the_loss(tmp_path):
    keep = Checkpoint(tmp_path / "a.npz")
    Fit().run([record(e, loss) for e, loss in enumerate([1.0, 2.0, 0.5])], keep)
    assert keep.saved_ == [0, 2]


def test_checkpoint_of_every_second_epoch_in_files_of_their_own(tmp_path):
    keep = Checkpoint(tmp_path / "{epoch:03d}.npz", save_best_only=False, every=2)
    Fit().run([record(e, 1.0 + e) for e in range(5)], keep)
    assert sorted(os.listdir(tmp_path)) == ["001.npz", "003.npz"]
    assert load_checkpoint(tmp_path / "003.npz")["record"]["epoch"] == 3


def test_checkpoint_is_whole_or_the_old_one(tmp_path, monkeypatch):
    """A crash in the middle of writing leaves the last one, and no litter."""
    path = tmp_path / "a.npz"
    Fit().run([record(0)], Checkpoint(path))

    def crash(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="no space left"):
        Fit().run([record(5)], Checkpoint(path))
    monkeypatch.undo()
    assert load_checkpoint(path)["record"]["epoch"] == 0
    assert os.listdir(tmp_path) == ["a.npz"]


def test_checkpoint_reaches_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("fsync"), fsync(fd)))
    monkeypatch.setattr(
        checkpoints.Path, "replace", lambda a, b: (events.append("rename"), replace(a, b))
    )
    Fit().run([record(0)], Checkpoint(tmp_path / "a.npz"))
    assert events[:2] == ["fsync", "rename"]


def test_checkpoint_refuses_before_training(tmp_path):
    with pytest.raises(FileNotFoundError, match="path: no checkpoint can be written"):
        Fit().run([record(0)], Checkpoint(tmp_path / "no" / "a.npz"))
    with pytest.raises(IsADirectoryError, match="is a folder"):
        Fit().run([record(0)], Checkpoint(tmp_path))


def test_load_checkpoint_refuses_what_is_none(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(FileNotFoundError):
        load_checkpoint(path)
    path.write_bytes(b"not a file of arrays")
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(path)
    np.savez(path, coefs_0=np.ones((2, 2)))
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(path)
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(tmp_path / "one.npy")
    header = json.dumps({"chainrule_checkpoint": 99, "record": {}})
    np.savez(path, header=np.array(header))
    with pytest.raises(ValueError, match="version 99"):
        load_checkpoint(path)
    header = json.dumps({"chainrule_checkpoint": 1, "record": {}})
    np.savez(path, header=np.array(header), coefs_0=np.ones((2, 2)), other=np.ones(2))
    with pytest.raises(ValueError, match="damaged: it holds coefs_0, other"):
        load_checkpoint(path)
    save_checkpoint(path, [np.ones((2, 2))], [np.ones(2)], record(0))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(path)


class _Trap:
    def __reduce__(self):
        return os.abort, ()


def test_load_checkpoint_runs_nothing(tmp_path):
    bait = np.empty(1, object)
    bait[0] = _Trap()
    header = json.dumps({"chainrule_checkpoint": 1, "record": {}})
    np.savez(tmp_path / "a.npz", header=np.array(header), coefs_0=bait, intercepts_0=np.ones(1))
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(tmp_path / "a.npz")


# Logs


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_csv_log(tmp_path):
    path = tmp_path / "log.csv"
    records = falling([0.1, 1 / 3], "loss")
    records[1]["validation_loss"] = np.float64(0.7)
    Fit().run(records, CSVLog(path))
    rows = read_csv(path)
    assert list(rows[0]) == list(records[0])
    assert [float(row["loss"]) for row in rows] == [0.1, 1 / 3]  # to the last bit
    assert [row["validation_loss"] for row in rows] == ["", "0.7"]
    assert path.read_bytes().count(b"\r") == 0


def test_json_lines_log(tmp_path):
    path = tmp_path / "log.jsonl"
    records = falling([0.1, 1 / 3], "loss")
    Fit().run(records, JSONLinesLog(path))
    assert [json.loads(line) for line in path.read_text().splitlines()] == records


def test_json_lines_are_json_whatever_the_numbers(tmp_path):
    path = tmp_path / "log.jsonl"
    odd = record(np.int64(0), math.nan, gradient_norm=np.float32(np.inf), scores=np.arange(2))
    Fit().run([odd], JSONLinesLog(path))

    def refuse(constant):
        raise AssertionError(constant)

    got = json.loads(path.read_text(), parse_constant=refuse)
    assert got["epoch"] == 0
    assert got["loss"] is None
    assert got["gradient_norm"] is None
    assert got["scores"] == [0, 1]


@pytest.mark.parametrize("kind", [CSVLog, JSONLinesLog])
def test_each_line_is_in_the_file_when_its_epoch_ends(kind, tmp_path):
    path = tmp_path / "log"
    seen = []

    def count(estimator, record):
        seen.append(path.read_bytes().count(b"\n") - (kind is CSVLog))
        if record["epoch"] == 2:
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        Fit().run(falling([1, 1, 1, 1], "loss"), kind(path), count)
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("kind", [CSVLog, JSONLinesLog])
@pytest.mark.parametrize("lost", [1, 5, 15])
def test_resumed_log_goes_on_below_whole_lines(kind, lost, tmp_path):
    path = tmp_path / "log"
    Fit().run(falling([3, 2], "loss"), kind(path))
    first = path.read_bytes()
    path.write_bytes(first[:-lost])  # a crash
    Fit().run([record(2, 1.0)], kind(path))
    Fit().run([record(3, 0.5)], kind(path))
    if kind is CSVLog:
        epochs = [int(row["epoch"]) for row in read_csv(path)]
    else:
        epochs = [json.loads(line)["epoch"] for line in path.read_text().splitlines()]
    assert epochs == [0, 2, 3]


@pytest.mark.parametrize("kind", [CSVLog, JSONLinesLog])
@pytest.mark.parametrize("kept", [0, 3])
def test_log_of_less_than_a_line_starts_again(kind, kept, tmp_path):
    path = tmp_path / "log"
    Fit().run([record(0)], kind(path))
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    Fit().run([record(0)], kind(path))
    assert path.read_bytes() == whole


@pytest.mark.parametrize("kind", [CSVLog, JSONLinesLog])
def test_log_started_afresh(kind, tmp_path):
    path = tmp_path / "log"
    path.write_text("something else\n")
    Fit().run([record(0)], kind(path, append=False))
    once = path.read_bytes()
    Fit().run([record(0)], kind(path, append=False))
    assert path.read_bytes() == once
    assert b"something" not in once


@pytest.mark.parametrize("kind", [CSVLog, JSONLinesLog])
@pytest.mark.parametrize(
    "content", ["a,b\n1,2\n", "one line of prose", '{"my": "settings"}', '{\n  "my": 1\n}\n']
)
def test_log_leaves_other_files_alone(kind, content, tmp_path):
    path = tmp_path / "log"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"^path: .*append=False"):
        Fit().run([record(0)], kind(path))
    assert path.read_text() == content


@pytest.mark.parametrize("kind", [CSVLog, JSONLinesLog])
def test_log_refuses_before_training(kind, tmp_path):
    fit = Fit()
    with pytest.raises(FileNotFoundError):
        fit.run([record(0)], kind(tmp_path / "no" / "log"))
    assert fit.history_ == []


# TensorBoard and MLflow


def test_missing_extras_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match=r"chainrule\[tensorboard\]"):
        Fit().run([record(0)], TensorBoard(tmp_path))
    with pytest.raises(ImportError, match=r"chainrule\[mlflow\]"):
        Fit().run([record(0)], MLflow())


EXPECTED = [
    (f"a/{name}", value, epoch)
    for epoch in (0, 1)
    for name, value in [
        ("loss", 1.5 - epoch),
        ("validation_score", 0.25),
        ("learning_rate", 0.1),
        ("gradient_norm", 2.0),
        ("seconds", 0.5),
    ]
]
TOLD = [record(e, 1.5 - e, validation_score=0.25, validation_loss=math.nan) for e in (0, 1)]


def test_tensorboard_is_told_the_numbers(tmp_path, monkeypatch):
    points, events = [], []

    class SummaryWriter:
        def __init__(self, folder, **options):
            events.append(folder)

        def add_scalar(self, name, value, step):
            points.append((name, value, step))

        def flush(self):
            events.append("flush")

        def close(self):
            events.append("close")

    module = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    board = TensorBoard(tmp_path, prefix="a/")
    copies = []

    def fail(estimator, record):
        copies.append(pickle.loads(pickle.dumps(board)))
        if record["epoch"] == 1:
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        Fit().run(TOLD, board, fail)
    assert points == EXPECTED
    assert events == [str(tmp_path), "flush", "flush", "close"]
    assert copies[0].folder == tmp_path


def test_tensorboard_writes_a_file_of_events(tmp_path):
    pytest.importorskip("tensorboardX")
    Fit().run(TOLD, TensorBoard(tmp_path / "run"))
    (file,) = (tmp_path / "run").iterdir()
    content = file.read_bytes()
    assert file.name.startswith("events.out.tfevents")
    assert content.count(b"validation_score") == content.count(b"gradient_norm") == 2


def test_mlflow_is_told_the_numbers(monkeypatch):
    points = []

    def log_metrics(metrics, step, run_id):
        assert run_id == "the run"
        points.extend((name, value, step) for name, value in metrics.items())

    run = types.SimpleNamespace(info=types.SimpleNamespace(run_id="the run"))
    module = types.SimpleNamespace(log_metrics=log_metrics, active_run=lambda: run)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    Fit().run(TOLD, MLflow(prefix="a/"))
    assert points == EXPECTED
    module.active_run = lambda: None
    with pytest.raises(RuntimeError, match="no run is active"):
        Fit().run(TOLD, MLflow())


def test_mlflow_stores_the_numbers(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    with mlflow.start_run() as run:
        Fit().run(TOLD, MLflow())
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(0, 1.5), (1, 0.5)]


# ProgressBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def screen(terminal):
    """The text of each redrawing, without its colours."""
    import re

    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]


@pytest.fixture
def terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return terminal


def show(terminal, records, *given, **options):
    """A fit whose standard output is the terminal."""
    with redirect_stdout(terminal):
        return Fit(**options).run(records, *given)


def test_progress_bar_shows_where_the_fit_is(terminal):
    records = [record(e, 0.5 / (e + 1), validation_score=0.9) for e in range(3)]
    show(terminal, records, ProgressBar(), max_iter=10)
    lines = screen(terminal)
    assert any("epoch  1/10" in line and "loss 0.5000" in line for line in lines)
    assert "left" in "".join(lines)
    assert "epoch  3/10" in lines[-1]
    assert "loss 0.1667" in lines[-1]
    assert "score 0.9000" in lines[-1]
    assert lines[-1].endswith("taken")
    assert all(len(line) <= 80 for line in lines)


def test_progress_bar_gives_the_terminal_back(terminal):
    def fail(estimator, record):
        raise RuntimeError("crash")

    bar = ProgressBar(total=5)
    with pytest.raises(RuntimeError, match="crash"):
        show(terminal, [record(0)], bar, fail)
    text = terminal.getvalue()
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # cursor hidden, shown again
    assert "epoch 1/5" in screen(terminal)[-1]


def test_progress_bar_is_for_terminals_only(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    show(terminal, [record(0)], ProgressBar())
    assert terminal.getvalue() == ""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    piped = io.StringIO()
    show(piped, [record(0)], ProgressBar())
    assert piped.getvalue() == ""
    show(None, [record(0)], ProgressBar())  # as under pythonw
    show(terminal, [record(0)], ProgressBar())
    assert terminal.getvalue() != ""


def test_progress_bar_pickles_at_work(terminal):
    bar = ProgressBar()
    copies = []
    show(terminal, [record(0)], bar, lambda estimator, record: copies.append(copy.deepcopy(bar)))
    assert repr(copies[0]) == repr(bar)
    before = terminal.getvalue()
    show(terminal, [record(0)], copies[0])
    assert len(terminal.getvalue()) > len(before)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (61, "1:01"), (3661, "1:01:01")]
)
def test_clock(seconds, text):
    assert callbacks._clock(seconds) == text


# All of them


ALL = [
    EarlyStopping("loss", patience=2),
    Checkpoint("a.npz", every=2),
    CSVLog("a.csv"),
    JSONLinesLog("a.jsonl"),
    TensorBoard("runs", prefix="x/"),
    MLflow(),
    ProgressBar(),
    FunctionCallback(save_checkpoint),
]


@pytest.mark.parametrize("callback", ALL, ids=lambda one: type(one).__name__)
def test_clones_pickles_and_says_how_to_make_it(callback):
    from sklearn.base import clone

    (cloned,) = clone([callback], safe=False)
    for other in (cloned, pickle.loads(pickle.dumps(callback))):
        assert type(other) is type(callback)
        assert other is not callback
        assert repr(other) == repr(callback)
    if not isinstance(callback, FunctionCallback):
        assert repr(eval(repr(callback))) == repr(callback)


def test_used_ones_pickle_too(tmp_path):
    used = [EarlyStopping("loss"), Checkpoint(tmp_path / "a"), CSVLog(tmp_path / "b")]
    Fit().run([record(0)], *used)
    stop, keep, log = pickle.loads(pickle.dumps(used))
    assert stop.best_ == 1.0
    assert keep.saved_ == [0]
    Fit().run([record(1)], log)
    assert len(read_csv(tmp_path / "b")) == 2
