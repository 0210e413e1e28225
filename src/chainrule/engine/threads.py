"""Threads: how many a fit may use, BLAS held to one of its own, and workers side by side.

A BLAS with threads of its own gives other bits for other numbers of threads, and on small
products, or beside other work, its threads wait for each other many times longer than they
compute. So while a network trains, BLAS has one thread, and the step is cut into parts
(:mod:`chainrule.training.plan`) that workers of ours take.
"""

from __future__ import annotations

import _thread
import functools
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chainrule.base.blas import controller
from chainrule.base.types import Index
from chainrule.equations.vecmath import ABORTED, ANNOUNCED, GONE

FIRST_TRIAL, LAST_TRIAL = 8, 64  # so many runs of steps until the other choice is tried


class _Process:
    """What all fits of this process share."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.busy = 0  # workers that are at work now
        self.blas_users = 0
        self.blas_limit: Any = None

    def forget(self) -> None:
        """In a forked child: none of the parent's threads lives here."""
        if self.blas_limit is not None:
            self.blas_limit.restore_original_limits()
        self.__init__()  # type: ignore[misc]


_process = _Process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.forget)


def _take_control() -> None:
    """Let this thread set how many threads BLAS has.

    From version 3.8 on, threadpoolctl lets one thread do so, the first that did, and quietly does
    nothing for others. Ours agree among themselves, by the lock of `_Process`.
    """
    from threadpoolctl import OpenBLASController

    clear = getattr(OpenBLASController, "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)


class one_blas_thread:  # noqa: N801
    """Hold BLAS to one thread, for the whole process, while any thread is inside.

    This and `reserved` are entered in every epoch; as generators they would take twice as long.
    """

    def __enter__(self) -> None:
        process = _process
        with process.lock:
            if process.blas_users == 0:
                _take_control()
                process.blas_limit = controller(len(sys.modules)).limit(limits=1)
            process.blas_users += 1

    def __exit__(self, *error: object) -> None:
        process = _process
        with process.lock:
            process.blas_users = max(0, process.blas_users - 1)
            if process.blas_users == 0 and process.blas_limit is not None:
                _take_control()
                process.blas_limit.restore_original_limits()
                process.blas_limit = None


@functools.cache
def _cores(usable: frozenset[int]) -> int:
    """Physical cores among the usable processors."""
    siblings = set()
    for cpu in usable:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            siblings.add(path.read_text())
        except OSError:
            siblings.add(str(cpu))
    return len(siblings)


@functools.cache
def _quota() -> float:
    """Processors that a container is granted; infinity if it is not limited so."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return float(quota) / float(period)
    except (OSError, ValueError):
        return float("inf")


def cores() -> int:
    """Physical cores that this process may use, by affinity and container."""
    if hasattr(os, "sched_getaffinity"):
        found = _cores(frozenset(os.sched_getaffinity(0)))
    else:
        found = os.cpu_count() or 1
    return max(1, int(min(found, _quota())))


def default_threads() -> int:
    """$OMP_NUM_THREADS, which joblib's workers set as well, but at most the cores."""
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(given), cores()) if given.isdigit() and int(given) > 0 else cores()


class reserved:  # noqa: N801
    """How many workers to start now, as asked, else by what other fits leave free.

    They count as busy until the end, this thread among them: fits in several threads share the
    cores among themselves, and each has one worker at least.

    Parameters
    ----------
    most : int
        Into how many parts the work is cut.
    asked : int or None
    """

    def __init__(self, most: int, asked: int | None = None) -> None:
        self.most, self.asked = most, asked

    def __enter__(self) -> int:
        asked, process = self.asked, _process
        default = default_threads() if asked is None and self.most > 1 else 1
        with process.lock:
            free = asked if asked is not None else default - process.busy
            self.workers = max(1, min(self.most, free))
            process.busy += self.workers
        return self.workers

    def __exit__(self, *error: object) -> None:
        process = _process
        with process.lock:
            process.busy = max(0, process.busy - self.workers)


class SharingPolicy:
    """Whether workers share the steps or one takes them all, by which was faster of late.

    Another process that wants the cores can make workers wait for each other longer than they
    compute. Now and then the other choice is tried, at once if workers were kept from the cores.
    """

    def __init__(self) -> None:
        self.shared = True
        self._times: dict[bool, deque[float]] = {
            shared: deque(maxlen=3) for shared in (True, False)
        }
        self._patience = self._left = FIRST_TRIAL
        self._tries = False

    def choose(self) -> bool:
        """Whether the next steps are to be shared."""
        return self.shared != self._tries

    def note(self, shared: bool, seconds: float, working: float) -> None:
        """Learn from some steps: were they shared, the time of each, how much of it was work."""
        self._times[shared].append(seconds)
        if self._tries:
            here, there = self._times[self.shared], self._times[not self.shared]
            # A gain of less than 5 % is not worth the other cores.
            enough = 1.05 if self.shared else 0.95
            if there[-1] < enough * sorted(here)[len(here) // 2]:
                self.shared, self._patience = not self.shared, FIRST_TRIAL
            else:
                self._patience = min(2 * self._patience, LAST_TRIAL)
            self._left, self._tries = self._patience, False
            return
        self._left -= 1
        kept_away = self.shared and working < 0.9 and not self._times[False]
        self._tries = self._left <= 0 or kept_away


def side_by_side(work: Callable[[int], None], workers: int, abort: Callable[[], None]) -> None:
    """Call work(0), …, work(workers - 1), each in a thread, the first in this one.

    Parameters
    ----------
    work : callable
        Takes the worker's number.
    workers : int
    abort : callable
        Called if one of them raises, so that the others do not wait for it.
    """
    errors: list[BaseException] = []

    def guarded(worker: int, over: Any) -> None:
        try:
            work(worker)
        except BaseException as error:
            errors.append(error)
            abort()
        finally:
            over.release()

    others = []
    try:
        for worker in range(1, workers):
            over = _thread.allocate_lock()
            over.acquire()
            # Unlike Thread.start, this does not wait until the other is on its way.
            _thread.start_new_thread(guarded, (worker, over))
            others.append(over)
        work(0)
    except BaseException:
        abort()
        raise
    finally:
        for over in others:
            over.acquire()
    if errors:
        raise errors[0]


class WorkerPool:
    """Threads that keep running one compiled function, from one run of steps to the next.

    To start a thread and to wait for its end takes longer than the steps of many epochs. These
    start once. Between runs they watch the queue, and they end when no steps are announced for
    some milliseconds.

    Parameters
    ----------
    work : callable (k, steps)
        What each thread calls: the one that calls :meth:`run` to take steps from the k-th on, the
        others with 0 steps, to help until they end. Bound to the queue.
    queue : (QUEUE,) int64 zeros
        As in :mod:`chainrule.equations.vecmath`.
    workers : int
        How many threads, two or more, the one that calls :meth:`run` among them.
    """

    def __init__(self, work: Callable[[int, int], None], queue: Index, workers: int) -> None:
        self.workers, self.queue = workers, queue
        self._work, self._process = work, os.getpid()
        self._errors: list[BaseException] = []
        for _ in range(1, workers):
            _thread.start_new_thread(self._help, ())

    def _help(self) -> None:
        try:
            self._work(0, 0)
        except BaseException as error:
            self._errors.append(error)
            self.stop()

    @property
    def complete(self) -> bool:
        """Whether all are still there; in a forked child none is."""
        gone = self.queue[ABORTED] or self.queue[GONE]
        return not gone and self._process == os.getpid()

    def stop(self) -> None:
        """Tell the other threads to end."""
        self.queue[ABORTED] = 1

    def run(self, steps: int) -> None:
        """Take that many steps, with the help of the other threads.

        If one of them fails, all stop and its error is raised.
        """
        try:
            self._work(int(self.queue[ANNOUNCED]), steps)
        except BaseException:
            self.stop()
            raise
        if self._errors:
            raise self._errors[0]
