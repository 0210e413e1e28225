"""Callbacks: what is done between the epochs of an estimator's fit.

Epochs are named from 0 wherever one is named: in records, messages, pictures, files and errors.
`n_iter_` and `best_iteration_` are counts, as scikit-learn has them: how many epochs were run, and
after how many the parameters were reached that were kept.

A record is one dict an epoch, of plain numbers: "epoch" (from 0), "loss", "validation_loss" and
"validation_score" (None without a validation set), "learning_rate", "gradient_norm", "seconds".
When callbacks see it, the estimator's `coefs_`, `intercepts_`, `history_` (all records so far)
and `n_iter_` are those at the end of that epoch. A callback that fails ends the fit with its error.
"""

from __future__ import annotations

import inspect
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

Record: TypeAlias = Mapping[str, Any]


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

    def on_resume(self, estimator: Any, records: list[Record]) -> None:
        """After `on_fit_begin`, if the fit goes on from a file: all records before that."""


class StateCallback(Callback):
    """A callback that stores the whole state of a fit, so that the fit can go on from there.

    `fit` calls it at three points; :class:`chainrule.Resume` is one.
    """

    def begin(self, est: Any, rng: Any) -> Any:
        """Before the fit draws a random number: read the stored state, if there is one.

        Parameters
        ----------
        est : estimator
        rng : RandomState
            The generator that the fit would draw from.

        Returns
        -------
        RandomState
            The generator that it draws from instead; it may be the same.
        """
        raise NotImplementedError

    def restore(
        self, est: Any, descent: Any, watch: Any, rates: Any, order: Any, data: Iterable[Any]
    ) -> tuple[int, Any]:
        """Before the first epoch: put the stored state back.

        Parameters
        ----------
        est, descent, watch, rates : the estimator and what its epochs work with
        order : (n,) int64 array
            The order of the rows.
        data : iterable of arrays, sparse matrices or None
            All that the fit learns from.

        Returns
        -------
        int
            How many epochs are done.
        order : (n,) int64 array
            The order of the rows to go on with.
        """
        raise NotImplementedError

    def write_state(
        self, est: Any, descent: Any, watch: Any, rates: Any, order: Any, epoch: int
    ) -> None:
        """After an epoch, counted from 0: store the state, if it is time to."""
        raise NotImplementedError


def state_callback(est: Any, incremental: bool) -> StateCallback | None:
    """The one callback of an estimator that stores its state, if there is one.

    Raises
    ------
    ValueError
        There are several, or the fit is a `partial_fit`, which cannot be resumed.
    """
    found = [one for one in as_callbacks(est.callbacks) if isinstance(one, StateCallback)]
    if not found:
        return None
    name = type(found[0]).__name__
    if incremental:
        raise ValueError(f"callbacks: partial_fit cannot be resumed; take {name} off")
    if len(found) > 1:
        raise ValueError(f"callbacks: one {name} is enough, there are {len(found)}")
    return found[0]


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


def best_epoch(estimator: Any) -> int | None:
    """The epoch, from 0, whose parameters a fitted estimator has found the best, if there is one.

    Parameters
    ----------
    estimator : estimator
        With `best_iteration_`, as ours; others have none.
    """
    count = getattr(estimator, "best_iteration_", None)
    return None if count is None else int(count) - 1


class Best:
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


def check_whole(name: str, value: Any) -> int:
    """A whole number, 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be a whole number, 1 or more; got {value!r}")
    return int(value)


def check_monitor(monitor: Any, mode: Any) -> None:
    """Refuse a monitor or mode that cannot be one."""
    if not isinstance(monitor, str) or not monitor:
        raise ValueError(f"monitor must be the name of a number in the records; got {monitor!r}")
    if mode not in ("auto", "min", "max"):
        raise ValueError(f"mode must be 'auto', 'min' or 'max'; got {mode!r}")


def plain(value: Any) -> Any:
    """A value as JSON has it; numbers that are not finite become None."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
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
        check_monitor(self.monitor, self.mode)
        check_whole("patience", self.patience)
        if not 0 <= self.min_delta < math.inf:
            raise ValueError(f"min_delta must be a finite number, 0 or more; got {self.min_delta}")

    def on_fit_begin(self, estimator: Any) -> None:
        """Forget the last fit."""
        self._best = Best(self.monitor, self.mode, self.min_delta)
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

    def on_resume(self, estimator: Any, records: list[Record]) -> None:
        """Count as if there had been no interruption."""
        for record in records:
            self.on_epoch_end(estimator, record)

    @property
    def best_(self) -> float:
        """Best value in the last fit."""
        return self._best.value


def on_terminal() -> bool:
    """Whether standard output is a terminal that can redraw a line."""
    try:
        return sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"
    except (AttributeError, ValueError):  # no standard output, or a closed one
        return False


def in_notebook() -> bool:
    """Whether this process runs the cells of a notebook, where a line can be redrawn too."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return any(each.__name__ == "ZMQInteractiveShell" for each in type(shell).__mro__)


class _Cell:
    """A line in the cell of a notebook that is redrawn in place; plain text, no widgets."""

    WIDTH = 20

    def __init__(self, total: int) -> None:
        from IPython.display import display

        self._total, self._last = total, ""
        self._handle = display({"text/plain": self._line(0, "")}, raw=True, display_id=True)

    def _line(self, done: int, description: str) -> str:
        full = self.WIDTH * min(done, self._total) // self._total
        bar = "━" * full + "┄" * (self.WIDTH - full)
        return f"{done:>{len(str(self._total))}}/{self._total} epochs {bar} {description}".rstrip()

    def show(self, done: int, description: str, draw: bool) -> None:
        self._last = self._line(done, description)
        if draw:
            self._handle.update({"text/plain": self._last}, raw=True)

    def stop(self) -> None:
        if self._last:
            self._handle.update({"text/plain": self._last}, raw=True)


class _Line:
    """A line on a terminal that is redrawn in place."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn(f"{{task.completed:>{len(str(total))}.0f}}/{total} epochs"),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            console=Console(),
            auto_refresh=False,  # drawn between epochs, so no thread is needed
        )
        self._task = self._progress.add_task("", total=total)
        self._progress.start()

    def show(self, done: int, description: str, draw: bool) -> None:
        self._progress.update(self._task, completed=done, description=description)
        if draw:
            self._progress.refresh()

    def stop(self) -> None:
        self._progress.stop()


@dataclass(eq=False)
class ProgressBar(Callback):
    """A bar with loss, score and time left, on a terminal or in a notebook; elsewhere nothing.

    Parameters
    ----------
    total : int, optional
        Epochs planned. Default: the estimator's `max_iter`.
    """

    total: int | None = None
    _line: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.total is not None:
            check_whole("total", self.total)

    def on_fit_begin(self, estimator: Any) -> None:
        """Draw the empty bar, if there is a place for it."""
        self._stop()
        kind = _Cell if in_notebook() else _Line if on_terminal() else None
        if kind is None:
            return
        self._epochs = self.total or int(estimator.max_iter)
        self._done = self._before = 0
        self._started = self._drawn = time.monotonic()
        self._line = kind(self._epochs)

    def on_epoch_end(self, estimator: Any, record: Record) -> None:
        """Move the bar; it is redrawn ten times a second at most."""
        if self._line is None:
            return
        now = time.monotonic()
        self._done += 1
        self._record = record
        done = self._before + self._done
        left = max(0, self._epochs - done) * (now - self._started) / self._done
        draw = now - self._drawn >= 0.1 or self._done == 1
        self._line.show(done, f"{_figures(record)}  {_clock(left)} left", draw)
        if draw:
            self._drawn = now

    def on_resume(self, estimator: Any, records: list[Record]) -> None:
        """Begin with the epochs that are done."""
        if self._line is not None:
            self._before = len(records)
            self._line.show(self._before, "", draw=False)

    def on_fit_end(self, estimator: Any) -> None:
        """Leave the bar as it stands, with the time taken."""
        if self._line is not None and self._done:
            taken = f"{_figures(self._record)}  {_clock(time.monotonic() - self._started)} taken"
            self._line.show(self._before + self._done, taken, draw=False)
        self._stop()

    def _stop(self) -> None:
        if self._line is not None:
            self._line.stop()
        self._line = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_line": None}


def _figures(record: Record) -> str:
    """What the bar says of an epoch."""
    text = f"loss {record['loss']:#.4g}"
    loss, score = record.get("validation_loss"), record.get("validation_score")
    if score is not None and (loss is None or score != -loss):  # else it is the loss once more
        return f"{text}  score {score:#.4g}"
    return text if loss is None else f"{text}  validation {loss:#.4g}"


def _clock(seconds: float) -> str:
    """h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
