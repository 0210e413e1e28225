"""Logs in files, TensorBoard and MLflow: the numbers of each epoch, whatever happens."""

from __future__ import annotations

import json
import math
import pickle
import sys
import types

import numpy as np
import pytest
from helpers.fits import Fit, falling, read_csv, record

from chainrule.monitoring.loggers import CSVLog, JSONLinesLog, MLflow, TensorBoard


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
