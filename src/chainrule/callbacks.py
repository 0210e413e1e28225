"""Callbacks: what is done between the epochs of an estimator's fit.

A record is one dict an epoch, of plain numbers: "epoch" (from 0), "loss", "validation_loss" and
"validation_score" (None without a validation set), "learning_rate", "gradient_norm", "seconds".
When callbacks see it, the estimator's `coefs_`, `intercepts_`, `history_` (all records so far)
and `n_iter_` are those of that moment. A callback that fails ends the fit with its error.
"""

from __future__ import annotations

import csv
import importlib
import inspect
import io
import json
import math
import os
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

Record: TypeAlias = Mapping[str, Any]

CHECKPOINT_VERSION = 1


class Callback:
    """What callbacks derive from; each method may be left as it is.

    A callback is a parameter of the estimator: cloning copies it, pickling stores it. So it must
    pickle, and what it remembers of one fit it forgets in `on_fit_begin`.
    """

    def on_fit_begin(self, estimator: Any) -> None:
        """Before the first epoch; the place to refuse what cannot work."""

    def on_epoch_end(self, estimator: Any, record: Record) -> bool | None:
        """After each epoch; a true result stops the fit."""

    def on_fit_end(self, estimator: Any) -> None:
        """After the last epoch, and also if the fit failed or was interrupted."""


@dataclass(eq=False)
class FunctionCallback(Callback):
    """A function f(estimator, record) as a callback; see :func:`as_callback`."""

    function: Callable[[Any, Record], bool | None]

    def on_epoch_end(self, estimator: Any, record: Record) -> bool | None:
        """Call the function."""
        return self.function(estimator, record)


def as_callback(given: Any, name: str = "callback") -> Callback:
    """A callback from one, or from a function f(estimator, record) -> bool or None.

    Raises
    ------
    TypeError
        Anything else; the message starts with `name`.
    """
    if isinstance(given, Callback):
        return given
    if isinstance(given, type):
        raise TypeError(f"{name} is the class {given.__name__}; give an object: {given.__name__}()")
    if not callable(given):
        raise TypeError(
            f"{name} must be a Callback or a function f(estimator, record); got {given!r}"
        )
    try:
        inspect.signature(given).bind(None, {})
    except TypeError:
        raise TypeError(f"{name} must take two arguments, (estimator, record): {given!r}") from None
    except ValueError:  # a function in C that does not say what it takes
        pass
    return FunctionCallback(given)


def as_callbacks(given: Any, name: str = "callbacks") -> list[Callback]:
    """A list of callbacks from None, one, or several; see :func:`as_callback`."""
    if given is None:
        return []
    if isinstance(given, list | tuple):
        return [as_callback(one, f"{name}[{i}]") for i, one in enumerate(given)]
    return [as_callback(given, name)]


@contextmanager
def running(callbacks: Sequence[Callback], estimator: Any) -> Iterator[Callable[[Record], bool]]:
    """Begin all callbacks, and end each that began, in reverse order, whatever happens.

    Yields
    ------
    callable (record) -> bool
        Hands a record to every callback; true if any of them wants to stop.
    """

    def epoch_end(record: Record) -> bool:
        answers = [callback.on_epoch_end(estimator, record) for callback in callbacks]
        return any(bool(answer) for answer in answers)

    with ExitStack() as stack:
        for callback in callbacks:
            callback.on_fit_begin(estimator)
            stack.callback(callback.on_fit_end, estimator)
        yield epoch_end


class _Best:
    """The best value so far of one number in the records."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        self.monitor, self.min_delta = monitor, min_delta
        if mode == "auto":
            mode = "max" if "score" in monitor or "accuracy" in monitor else "min"
        self.sign = 1.0 if mode == "min" else -1.0
        self.value = self.sign * math.inf

    def improves(self, record: Record) -> bool:
        """Whether this epoch is the best so far; then it is remembered. NaN never is."""
        value = _monitored(record, self.monitor)
        if not self.sign * value < self.sign * self.value - self.min_delta:
            return False
        self.value = value
        return True


def _monitored(record: Record, monitor: str) -> float:
    """The number in a record that is watched."""
    if monitor not in record:
        raise ValueError(f"monitor {monitor!r} is not in the records: {', '.join(record)}")
    value = record[monitor]
    if value is None:
        raise ValueError(
            f"monitor {monitor!r} has no value in this fit; "
            + (
                "give it a validation set (X_val=, y_val=, or early_stopping=True)"
                if monitor.startswith("validation")
                else "watch another one"
            )
        )
    return float(value)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be a whole number, 1 or more; got {value!r}")
    return int(value)


def _check_monitor(monitor: Any, mode: Any) -> None:
    if not isinstance(monitor, str) or not monitor:
        raise ValueError(f"monitor must be the name of a number in the records; got {monitor!r}")
    if mode not in ("auto", "min", "max"):
        raise ValueError(f"mode must be 'auto', 'min' or 'max'; got {mode!r}")


def _plain(value: Any) -> Any:
    """A value as JSON has it; numbers that are not finite become None."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


@dataclass(eq=False)
class EarlyStopping(Callback):
    """Stop when a number has not improved for some epochs.

    Parameters
    ----------
    monitor : str, default "validation_loss"
        A key of the records.
    patience : int, default 10
        Stop after so many epochs in a row without improvement.
    min_delta : float, default 0
        An epoch improves on the best one if it is better by more than this.
    mode : {"auto", "min", "max"}, default "auto"
        Whether smaller or larger is better. "auto": larger if the name holds "score" or
        "accuracy".

    Attributes
    ----------
    best_ : float
        Best value in the last fit.
    best_epoch_ : int or None
        Its epoch.
    stopped_epoch_ : int or None
        The epoch after which this callback stopped the fit, if it did.
    """

    monitor: str = "validation_loss"
    patience: int = 10
    min_delta: float = 0.0
    mode: str = "auto"

    def __post_init__(self) -> None:
        _check_monitor(self.monitor, self.mode)
        _whole("patience", self.patience)
        if not 0 <= self.min_delta < math.inf:
            raise ValueError(f"min_delta must be a finite number, 0 or more; got {self.min_delta}")

    def on_fit_begin(self, estimator: Any) -> None:
        """Forget the last fit."""
        self._best = _Best(self.monitor, self.mode, self.min_delta)
        self._waited = 0
        self.best_epoch_: int | None = None
        self.stopped_epoch_: int | None = None

    def on_epoch_end(self, estimator: Any, record: Record) -> bool:
        """Count, and stop if there is no more hope."""
        if self._best.improves(record):
            self._waited = 0
            self.best_epoch_ = int(record["epoch"])
            return False
        self._waited += 1
        if self._waited < self.patience:
            return False
        self.stopped_epoch_ = int(record["epoch"])
        return True

    @property
    def best_(self) -> float:
        """Best value in the last fit."""
        return self._best.value


@dataclass(eq=False)
class Checkpoint(Callback):
    """Save the parameters as the fit goes on: one .npz file, no pickle.

    The file is written under another name and renamed when it is whole and on the disk, so at
    any moment, a crash included, there is a whole checkpoint or none.

    Parameters
    ----------
    path : str or path
        The file; "{epoch}" (or "{epoch:04d}" and so on) in it becomes the number of the epoch.
    monitor : str, default "auto"
        The number that says which epoch is best. "auto": "validation_loss" if the fit has one,
        else "loss".
    save_best_only : bool, default True
        Save only when `monitor` is the best so far.
    every : int, default 1
        Look only at every so-manieth epoch.
    mode : {"auto", "min", "max"}, default "auto"
        As in :class:`EarlyStopping`.

    Attributes
    ----------
    saved_ : list of int
        Epochs saved in the last fit.

    See Also
    --------
    load_checkpoint : read it.
    """

    path: str | os.PathLike[str]
    monitor: str = "auto"
    save_best_only: bool = True
    every: int = 1
    mode: str = "auto"

    def __post_init__(self) -> None:
        _check_monitor(self.monitor, self.mode)
        _whole("every", self.every)
        self._path(0)

    def _path(self, epoch: int) -> Path:
        try:
            return Path(os.fspath(self.path).format(epoch=epoch))
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError(f"path may hold {{epoch}} and no other field: {self.path}") from error

    def on_fit_begin(self, estimator: Any) -> None:
        """See that the folder can be written."""
        path = self._path(0)
        if path.is_dir():
            raise IsADirectoryError(f"path: {path} is a folder")
        probe = _unfinished(path)
        try:
            probe.open("wb").close()
        except OSError as error:
            raise type(error)(
                f"path: no checkpoint can be written to {path}: {error.strerror}"
            ) from error
        probe.unlink()
        self._best: _Best | None = None
        self.saved_: list[int] = []

    def on_epoch_end(self, estimator: Any, record: Record) -> None:
        """Save, if this is an epoch to save."""
        epoch = int(record["epoch"])
        if (epoch + 1) % self.every:
            return
        if self.save_best_only:
            if self._best is None:
                name = self.monitor
                if name == "auto":
                    has_one = record.get("validation_loss") is not None
                    name = "validation_loss" if has_one else "loss"
                self._best = _Best(name, self.mode)
            if not self._best.improves(record):
                return
        save_checkpoint(self._path(epoch), estimator.coefs_, estimator.intercepts_, record)
        self.saved_.append(epoch)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def save_checkpoint(
    path: str | os.PathLike[str],
    coefs: Sequence[np.ndarray[Any, Any]],
    intercepts: Sequence[np.ndarray[Any, Any]],
    record: Record,
) -> None:
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    path : str or path
        Replaced if it exists.
    coefs, intercepts : lists of arrays
        By layer: (n_in, n_out) and (n_out,).
    record : dict
        Stored as JSON.
    """
    path = Path(path)
    header = {"chainrule_checkpoint": CHECKPOINT_VERSION, "record": _plain(record)}
    arrays: dict[str, Any] = {f"coefs_{i}": np.asarray(W) for i, W in enumerate(coefs)}
    arrays |= {f"intercepts_{i}": np.asarray(b) for i, b in enumerate(intercepts)}
    unfinished = _unfinished(path)
    try:
        with unfinished.open("wb") as file:
            np.savez(file, header=np.array(json.dumps(header)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    if os.name == "posix":  # the new name too must reach the disk
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what :class:`Checkpoint` wrote; nothing in the file can run code.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    dict
        "coefs" and "intercepts", lists of arrays by layer, and "record", the epoch's record.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is no checkpoint, or it is damaged.
    """
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("header")[()]))
        version = header["chainrule_checkpoint"]
        record = dict(header["record"])
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise ValueError(
            f"{os.fspath(path)} is no checkpoint, or it is damaged: {error}"
        ) from error
    if version != CHECKPOINT_VERSION:
        raise ValueError(
            f"{os.fspath(path)} is a checkpoint of version {version}; this chainrule reads "
            f"version {CHECKPOINT_VERSION}"
        )
    n = len(arrays) // 2
    names = [f"{kind}_{i}" for kind in ("coefs", "intercepts") for i in range(n)]
    if sorted(names) != sorted(arrays):
        raise ValueError(f"{os.fspath(path)} is damaged: it holds {', '.join(sorted(arrays))}")
    return {
        "coefs": [arrays[f"coefs_{i}"] for i in range(n)],
        "intercepts": [arrays[f"intercepts_{i}"] for i in range(n)],
        "record": record,
    }


@dataclass(eq=False)
class _Log(Callback):
    """A text file that grows by a line an epoch, and is closed in between.

    Parameters
    ----------
    path : str or path
        Created if need be.
    append : bool, default True
        Go on below what the file holds (so that a resumed fit goes on with its log); a last line
        that a crash left half written is removed. False: start the file afresh in each fit.
    """

    path: str | os.PathLike[str]
    append: bool = True

    def on_fit_begin(self, estimator: Any) -> None:
        """Open the file once, so that a path that cannot be written fails now."""
        with open(self.path, "ab" if self.append else "wb"):
            pass
        self._columns: list[str] = []

    def on_epoch_end(self, estimator: Any, record: Record) -> None:
        """Add a line."""
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
        return json.dumps(_plain(record), allow_nan=False) + "\n"


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


def on_terminal() -> bool:
    """Whether standard output is a terminal that can redraw a line."""
    try:
        return sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"
    except (AttributeError, ValueError):  # no standard output, or a closed one
        return False


@dataclass(eq=False)
class ProgressBar(Callback):
    """A bar with loss, score and time left, on a terminal; elsewhere nothing.

    Parameters
    ----------
    total : int, optional
        Epochs planned. Default: the estimator's `max_iter`.
    """

    total: int | None = None
    _progress: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.total is not None:
            _whole("total", self.total)

    def on_fit_begin(self, estimator: Any) -> None:
        """Draw the empty bar, if there is a terminal."""
        self._stop()
        if not on_terminal():
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._epochs = self.total or int(estimator.max_iter)
        self._done = 0
        self._started = self._drawn = time.monotonic()
        self._progress = Progress(
            TextColumn(f"epoch {{task.completed:>{len(str(self._epochs))}.0f}}/{self._epochs}"),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            console=Console(),
            auto_refresh=False,  # drawn between epochs, so no thread is needed
        )
        self._task = self._progress.add_task("", total=self._epochs)
        self._progress.start()

    def on_epoch_end(self, estimator: Any, record: Record) -> None:
        """Move the bar; it is redrawn ten times a second at most."""
        if self._progress is None:
            return
        now = time.monotonic()
        self._done += 1
        self._record = record
        left = max(0, self._epochs - self._done) * (now - self._started) / self._done
        self._progress.update(
            self._task, completed=self._done, description=f"{_figures(record)}  {_clock(left)} left"
        )
        if now - self._drawn >= 0.1 or self._done == 1:
            self._drawn = now
            self._progress.refresh()

    def on_fit_end(self, estimator: Any) -> None:
        """Leave the bar as it stands, with the time taken."""
        if self._progress is not None and self._done:
            taken = _clock(time.monotonic() - self._started)
            self._progress.update(
                self._task, description=f"{_figures(self._record)}  {taken} taken"
            )
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_progress": None}


def _figures(record: Record) -> str:
    """What the bar says of an epoch."""
    text = f"loss {record['loss']:#.4g}"
    for name, label in (("validation_score", "score"), ("validation_loss", "validation")):
        if record.get(name) is not None:
            return f"{text}  {label} {record[name]:#.4g}"
    return text


def _clock(seconds: float) -> str:
    """h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
