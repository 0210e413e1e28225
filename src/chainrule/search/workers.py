"""Several processes that make trials of one study at once."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from chainrule.base.validation import is_whole
from chainrule.engine.threads import cores
from chainrule.search.study import close, drop_abandoned, reopened, trials_of
from chainrule.search.trials import Search, run_trials

POLL = 0.2  # seconds from one look at the processes to the next
LOSSES = 3  # so often processes are started again after one was killed


def processes(jobs: int) -> int:
    """How many processes to start: as many as asked, -1 being all cores, and never more than these.

    Raises
    ------
    ValueError
        It is no number of processes.
    """
    if not is_whole(jobs) or not (jobs == -1 or jobs >= 1):
        raise ValueError(f"jobs must be a whole number of processes, or -1 for all; got {jobs!r}")
    return cores() if jobs == -1 else min(int(jobs), cores())


def share(
    search: Search, study: Any, path: Any, jobs: int, after: Callable[[], None] | None = None
) -> tuple[bool, list[str]]:
    """Make trials in so many processes, this one if it is one.

    Each process has its part of the cores for the threads of its fits. What the first trial has
    compiled, which was made before, they read from the cache.

    Parameters
    ----------
    search : Search
    study : optuna.Study
    path : path
        Of the study's file.
    jobs : int
    after : callable () -> None, optional
        Called when trials have ended.

    Returns
    -------
    (bool, list of str)
        Whether Ctrl-C ended them; what else went wrong, in words.
    """
    notices: list[str] = []
    if jobs == 1:
        try:
            run_trials(search, study, after)
        except KeyboardInterrupt:
            return True, notices
        return False, notices
    with tempfile.TemporaryDirectory() as folder:
        stop = Path(folder) / "stop"
        part = replace(
            search,
            fixed={"n_threads": max(1, cores() // jobs), **search.fixed},
            stop=str(stop),
            parent=os.getpid(),
        )
        for _ in range(LOSSES):
            failed: list[Exception] = []
            # Not Thread.join: one that Ctrl-C ends takes the thread for ended too (in Python 3.11).
            over = threading.Event()
            threading.Thread(target=_run, args=(part, path, jobs, failed, over)).start()
            try:
                _wait(over, study, after)
            except KeyboardInterrupt:
                return True, notices
            finally:
                stop.touch()  # whatever happened here, nobody waits for more
                over.wait()
                drop_abandoned(study)
            if not failed:
                break
            stop.unlink()
            notices = [
                "a process of the search was killed, perhaps for want of memory; its trial "
                "is lost (fewer --jobs need less)"
            ]
    return False, notices


def _wait(over: threading.Event, study: Any, after: Callable[[], None] | None) -> None:
    """Wait for the end of the processes, and say when trials have ended."""
    seen = 0
    while not over.wait(POLL):
        now = sum(trial.state.is_finished() for trial in trials_of(study))
        if now != seen and after is not None:
            after()
        seen = now
    if after is not None:
        after()


def _run(
    search: Search, path: Any, jobs: int, failed: list[Exception], over: threading.Event
) -> None:
    """Start the processes, and wait for their end."""
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    threads = search.fixed["n_threads"]
    try:
        with parallel_config(backend="loky", inner_max_num_threads=threads):
            Parallel(n_jobs=jobs, batch_size=1, pre_dispatch="all")(
                delayed(_work)(search, os.fspath(path)) for _ in range(jobs)
            )
    except TerminatedWorkerError as error:
        failed.append(error)
    finally:
        over.set()


def _work(search: Search, path: str) -> None:
    """What each process does."""
    study = reopened(path)
    try:
        run_trials(search, study)
    except KeyboardInterrupt:  # a terminal sends it to all processes; the first one goes on
        return
    finally:
        close(study)
        if os.getppid() != search.parent:  # it was killed: nobody else ends this process
            os._exit(0)
