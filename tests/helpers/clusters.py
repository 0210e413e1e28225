"""Clusters on this machine, and commands that train there."""

from __future__ import annotations

from contextlib import contextmanager

from distributed import LocalCluster
from typer.testing import CliRunner

from chainrule.commands.cli import app


@contextmanager
def a_cluster(processes, n_workers=2):
    """Workers of one thread each, which are processes or threads of this one."""
    with LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        processes=processes,
        protocol=None if processes else "inproc",
        host="127.0.0.1" if processes else None,
        dashboard_address="127.0.0.1:0",
        silence_logs=60,
    ) as cluster:
        yield cluster


def commands(address):
    """A function that runs a command, which trains on the cluster there; (code, out, err)."""

    def call(*arguments, dask=address):
        given = [*map(str, arguments), *(("--dask", dask) if "train" in arguments else ())]
        done = CliRunner().invoke(app, given, env={"COLUMNS": "100"})
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout, done.stderr

    return call
