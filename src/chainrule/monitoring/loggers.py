"""Logs of a fit, a row an epoch: CSV, JSON lines, TensorBoard, MLflow."""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.base.validation import warn_user
from chainrule.monitoring.callbacks import Callback, Record, plain


@dataclass(eq=False)
class _Log(Callback):
    """A text file that grows by a line an epoch, and is closed in between; see `CSVLog`."""

    path: str | os.PathLike[str]
    append: bool = True

    def on_fit_begin(self, estimator: Any) -> None:
        """Open the file once, so that a path that cannot be written fails now."""
        with open(self.path, "ab" if self.append else "wb"):
            pass
        self._columns: list[str] = []

    def on_epoch_end(self, estimator: Any, record: Record) -> None:
        """Add a line; if that fails, warn, for the fit is worth more than its log."""
        try:
            self._add(record)
        except OSError as error:
            warn_user(
                f"{os.fspath(self.path)} could not be written after epoch {record['epoch']}: "
                f"{error.strerror or error}; the fit goes on"
            )

    def _add(self, record: Record) -> None:
        with open(self.path, "a+b") as file:
            if not self._columns:
                file.seek(0)
                file.truncate(self._whole_lines(file.read(), record))
                self._columns = list(record)
            start = self._header() if file.seek(0, os.SEEK_END) == 0 else ""
            file.write((start + self._line(record)).encode())

    def _whole_lines(self, content: bytes, record: Record) -> int:
        """How many bytes of the file to keep: up to the end of its last whole line."""
        raise NotImplementedError

    def _header(self) -> str:
        return ""

    def _line(self, record: Record) -> str:
        raise NotImplementedError


@dataclass(eq=False)
class CSVLog(_Log):
    """Write each epoch's record as a line of a CSV file; a crash loses one line at most.

    The first line names the columns, the keys of the records. None becomes an empty field.

    Parameters
    ----------
    path : str or path
        Created if need be.
    append : bool, default True
        Go on below what the file holds (so that a resumed fit goes on with its log); a last line
        that a crash left half written is removed. False: start the file afresh in each fit.

    Raises
    ------
    ValueError
        From the first epoch's end: the file has other columns.
    """

    def _whole_lines(self, content: bytes, record: Record) -> int:
        header = _csv_line(record).encode()
        first, newline, _ = content.partition(b"\n")
        if not newline and header.startswith(first):
            return 0
        if first.rstrip() != header.rstrip():
            raise ValueError(
                f"path: {os.fspath(self.path)} has the columns "
                f"{first[:200].decode(errors='replace').strip()}, the records have "
                f"{header.decode().strip()}; take another path, or append=False to start afresh"
            )
        return content.rfind(b"\n") + 1

    def _header(self) -> str:
        return _csv_line(self._columns)

    def _line(self, record: Record) -> str:
        values = [record.get(column) for column in self._columns]
        return _csv_line(v.item() if isinstance(v, np.generic) else v for v in values)


def _csv_line(values: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


@dataclass(eq=False)
class JSONLinesLog(_Log):
    """Write each epoch's record as a line of JSON; a crash loses one line at most.

    Numbers that are not finite become null, since JSON has none.

    Parameters
    ----------
    path : str or path
        Created if need be.
    append : bool, default True
        Go on below what the file holds (so that a resumed fit goes on with its log); a last line
        that a crash left half written is removed. False: start the file afresh in each fit.

    Raises
    ------
    ValueError
        From the first epoch's end: the file holds something else.
    """

    def _whole_lines(self, content: bytes, record: Record) -> int:
        end = content.rfind(b"\n") + 1
        # Without a whole line, a half one of ours must at least begin as ours do.
        ours = f'{{"{next(iter(record))}"'.encode()
        first, rest = content[:end].partition(b"\n")[0], content[end:]
        if not (_is_object(first) if end else ours.startswith(rest) or rest.startswith(ours)):
            raise ValueError(
                f"path: {os.fspath(self.path)} holds no lines of JSON; take another path, or "
                "append=False to start afresh"
            )
        return end

    def _line(self, record: Record) -> str:
        return json.dumps(plain(record), allow_nan=False) + "\n"


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _extra(module: str, package: str, extra: str, who: str) -> Any:
    """A module that comes with an optional extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{who} needs {package}: install chainrule[{extra}], or {package} itself"
        ) from error


def _metrics(record: Record, prefix: str) -> dict[str, float]:
    """The finite numbers of a record, the epoch's own apart."""
    found = {}
    for name, value in record.items():
        if name != "epoch" and isinstance(value, int | float | np.number) and math.isfinite(value):
            found[f"{prefix}{name}"] = float(value)
    return found


@dataclass(eq=False)
class TensorBoard(Callback):
    """Show each epoch's numbers in TensorBoard; needs the extra ``chainrule[tensorboard]``.

    Parameters
    ----------
    folder : str or path
        Created if need be. Give each run a folder of its own to compare them.
    prefix : str, default ""
        Put before the names, for instance "fold 1/".
    """

    folder: str | os.PathLike[str]
    prefix: str = ""
    _writer: Any = field(default=None, init=False, repr=False)

    def on_fit_begin(self, estimator: Any) -> None:
        """Open a file of events."""
        module = _extra("tensorboardX", "tensorboardX", "tensorboard", "TensorBoard")
        self._close()
        self._writer = module.SummaryWriter(os.fspath(self.folder), write_to_disk=True)

    def on_epoch_end(self, estimator: Any, record: Record) -> None:
        """Add a point to each curve."""
        for name, value in _metrics(record, self.prefix).items():
            self._writer.add_scalar(name, value, int(record["epoch"]))
        self._writer.flush()

    def on_fit_end(self, estimator: Any) -> None:
        """Close the file."""
        self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_writer": None}  # an open file does not pickle


@dataclass(eq=False)
class MLflow(Callback):
    """Log each epoch's numbers to the active MLflow run; needs the extra ``chainrule[mlflow]``.

    Parameters
    ----------
    prefix : str, default ""
        Put before the names, for instance "fold 1/".

    Raises
    ------
    RuntimeError
        Before the first epoch: no run is active.
    """

    prefix: str = ""
    _run_id: str | None = field(default=None, init=False, repr=False)

    def on_fit_begin(self, estimator: Any) -> None:
        """Find the active run."""
        run = _extra("mlflow", "mlflow-skinny", "mlflow", "MLflow").active_run()
        if run is None:
            raise RuntimeError(
                "MLflow: no run is active; fit inside `with mlflow.start_run():`. Runs do not "
                "reach into the processes of n_jobs"
            )
        self._run_id = run.info.run_id

    def on_epoch_end(self, estimator: Any, record: Record) -> None:
        """Log the numbers, with the epoch as the step."""
        mlflow = importlib.import_module("mlflow")
        mlflow.log_metrics(
            _metrics(record, self.prefix), step=int(record["epoch"]), run_id=self._run_id
        )
