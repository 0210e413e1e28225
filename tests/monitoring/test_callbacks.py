"""Callbacks, each told the story of a fit by a stand-in for an estimator."""

from __future__ import annotations

import copy
import io
import math
import pickle
import sys
import types
import warnings
from contextlib import redirect_stdout

import numpy as np
import pytest
from helpers.fits import Fit, falling, read_csv, record

from chainrule import MLPClassifier, callbacks
from chainrule.monitoring.callbacks import (
    Callback,
    EarlyStopping,
    FunctionCallback,
    ProgressBar,
    as_callbacks,
)
from chainrule.monitoring.checkpoints import Checkpoint, save_checkpoint
from chainrule.monitoring.loggers import CSVLog, JSONLinesLog, MLflow, TensorBoard

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
    assert any("1/10 epochs" in line and "loss 0.5000" in line for line in lines)
    assert "left" in "".join(lines)
    assert "3/10 epochs" in lines[-1]
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
    assert "1/5 epochs" in screen(terminal)[-1]


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


@pytest.fixture
def notebook(monkeypatch):
    """Stands for IPython inside a notebook; what each cell's line has shown."""
    shown = []

    class ZMQInteractiveShell:
        pass

    class Shell(ZMQInteractiveShell):  # as Colab's
        pass

    class Handle:
        def update(self, data, *, raw):
            assert raw
            shown.append(data)

    def display(data, *, raw, display_id):
        assert raw
        assert display_id
        shown.append(data)
        return Handle()

    ipython, inner = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython, inner.display = Shell, display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", inner)
    return shown


def test_progress_bar_works_in_a_notebook(notebook):
    """There standard output is no terminal, and escape codes are not understood."""
    piped = io.StringIO()
    records = [record(e, 0.5 / (e + 1), validation_score=0.9) for e in range(3)]
    show(piped, records, ProgressBar(), max_iter=10)
    assert piped.getvalue() == ""
    assert all(list(data) == ["text/plain"] for data in notebook)
    lines = [data["text/plain"] for data in notebook]
    assert lines[0].startswith(" 0/10 epochs ┄┄┄┄")
    assert lines[1].startswith(" 1/10 epochs ━━┄┄")
    assert "loss 0.5000  score 0.9000" in lines[1]
    assert lines[1].endswith("left")
    assert lines[-1].startswith(" 3/10 epochs ━━━━━━┄┄")
    assert lines[-1].endswith("taken")
    assert len(lines) <= 5


def test_verbose_is_a_bar_in_a_notebook(notebook, capsys):
    X, y = np.array([[0.0], [1.0]] * 10), np.array([0, 1] * 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        MLPClassifier(max_iter=3, verbose=1, engine="numpy").fit(X, y)
    assert notebook[-1]["text/plain"].startswith("3/3 epochs")
    assert capsys.readouterr().out == ""


def test_ipython_on_a_terminal_is_no_notebook(terminal, monkeypatch):
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = type("TerminalInteractiveShell", (), {})
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    show(terminal, [record(0)], ProgressBar())
    assert "1/5 epochs" in screen(terminal)[-1] or "epochs" in screen(terminal)[-1]


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
