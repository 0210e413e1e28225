"""Tasks on a cluster: their names, their results, and once more what the cluster has lost."""

from __future__ import annotations

import functools
import logging
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import dask
from dask import delayed
from dask.utils import format_bytes
from distributed import Client, Future, wait
from distributed.client import FutureCancelledError, FuturesCancelledError
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

from chainrule.base.validation import warn_user
from chainrule.dask.partitions import PartitionError

ATTEMPTS = 3  # to run what a cluster has lost
LOOKED_EVERY = 10.0  # seconds without a result after which to see whether any worker is working
GONE = ("lost", "cancelled", "error")  # statuses of futures that give no result any more
# What says that the cluster has lost something, not that something is wrong with the task.
LOST = (KilledWorker, FutureCancelledError, CommClosedError, ConnectionError, TimeoutError)
log = logging.getLogger("chainrule.dask")


class ClusterError(RuntimeError):
    """The cluster could not do what it was given."""


class Work:
    """What a client has the cluster do, and does once more if the cluster has lost it.

    Parameters
    ----------
    client : distributed.Client
    token : str
        Begins the names of all tasks.
    """

    def __init__(self, client: Client, token: str) -> None:
        self.client, self.token = client, token
        self._number = 0

    def name(self, what: str, *place: Any) -> tuple[Any, ...]:
        """A task's name: the dashboard shows all tasks of one kind as a row."""
        return (f"chainrule-{what}-{self.token}", *place)

    def new(self, what: str) -> Callable[..., tuple[Any, ...]]:
        """Names for the tasks of one submission; no two submissions have the same."""
        self._number += 1
        return functools.partial(self.name, what, self._number)

    def submit(self, tasks: Sequence[Any]) -> list[Future]:
        """Futures of Delayed tasks."""
        # A large network is sent with its tasks, since what is scattered dies with its worker.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):
            return list(self.client.compute(list(tasks), optimize_graph=False))

    def share(self, what: str, given: Any) -> Future:
        """A future of what the client has, which many tasks need; it is sent once."""
        return self.submit([delayed(as_is)(leaf(given), dask_key_name=self.new(what)(0))])[0]

    def each(self, what: str, function: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
        """Futures of function(...) for each partition, its arguments taken from the columns."""
        name, task = self.new(what), delayed(function, pure=False)
        return self.submit(
            [
                task(*arguments, dask_key_name=name(p))
                for p, arguments in enumerate(zip(*columns, strict=True))
            ]
        )

    def wait(self, futures: Sequence[Future]) -> None:
        """Wait until none of the futures is pending; log it if all workers have been paused.

        Dask pauses a worker whose memory is nearly full, and then none of its tasks begins.
        """
        was_paused = is_logged = False
        while True:
            try:
                wait(list(futures), timeout=LOOKED_EVERY)
                return
            except FuturesCancelledError:  # whoever takes the results is told
                return
            except TimeoutError:
                workers: Mapping[str, Any] = {}
                with suppress(*LOST):  # whether the scheduler is gone is seen from the futures
                    workers = self.client.scheduler_info(n_workers=-1)["workers"]
            is_paused = bool(workers) and all(
                worker["status"] == "paused" for worker in workers.values()
            )
            if is_paused and was_paused and not is_logged:
                log.warning(all_are_paused(workers))
                is_logged = True
            was_paused = is_paused

    def gather(self, futures: Sequence[Future]) -> list[Any]:
        """Their results.

        Raises
        ------
        PartitionError
            A partition cannot be learned from, or not be computed at all.
        """
        self.wait(futures)
        try:
            return list(self.client.gather(list(futures)))
        except LOST:
            raise
        except Exception as error:
            for p, future in enumerate(futures):
                if future.status == "error":
                    failed = future.exception()
                    if isinstance(failed, (*LOST, PartitionError)):
                        raise failed from None
                    raise PartitionError(
                        f"partition {p} could not be computed: {type(failed).__name__}: {failed}"
                    ) from error
            raise

    def gather_errors(self, futures: Sequence[Future]) -> None:
        """Wait for futures whose results stay where they are; the first error is raised.

        Raises
        ------
        PartitionError
            A partition cannot be computed.
        """
        self.wait(futures)
        if any(future.status != "finished" for future in futures):
            self.gather(futures)

    def persistently(self, run: Callable[[], Any]) -> Any:
        """What `run` gives; if the cluster has lost something, run it again.

        Raises
        ------
        ClusterError
            It is lost each time, or there is no scheduler any more.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return run()
            except Exception as error:
                said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                if self.client.status != "running" and not isinstance(error, PartitionError):
                    raise ClusterError(
                        f"the scheduler is gone ({said}); what callbacks such as chainrule.Resume "
                        "have stored is there to go on from, with a new client"
                    ) from error
                if not isinstance(error, LOST):
                    raise
                if attempt == ATTEMPTS:
                    hint = ""
                    if isinstance(error, KilledWorker):
                        hint = (
                            ". A worker dies again and again under this task: look into its log; "
                            "often its memory is too small for a partition, and smaller "
                            "partitions help"
                        )
                    raise ClusterError(f"the cluster failed {ATTEMPTS} times: {said}{hint}") from (
                        error
                    )
                warn_user(f"the cluster lost what was going on and does it again ({said})")
        raise AssertionError


def all_are_paused(workers: Mapping[str, Any]) -> str:
    """What to say of workers that are all paused, by what the scheduler knows of them.

    Parameters
    ----------
    workers : mapping of mappings
        As in ``Client.scheduler_info()["workers"]``.
    """
    used, limit = max(
        ((each["metrics"].get("memory", 0), each["memory_limit"]) for each in workers.values()),
        key=lambda of: of[0] / (of[1] or math.inf),
    )
    room = f" (the fullest uses {format_bytes(used)} of {format_bytes(limit)})" if limit else ""
    return (
        f"no task can begin: all {len(workers)} workers of the cluster are paused by Dask, since "
        f"their memory is nearly full{room}. Training goes on once one of them has room again. If "
        "that does not happen, stop it with Ctrl-C, and start workers with more memory, or make "
        "the partitions smaller"
    )


def new_work(client: Client) -> Work:
    """Work of a name of its own."""
    return Work(client, uuid.uuid4().hex[:8])


def as_is(given: Any) -> Any:
    """The argument itself: a task whose result others share."""
    return given


def leaf(given: Any) -> Any:
    """An argument that Dask does not look into."""
    return delayed(given, traverse=False, pure=False)
