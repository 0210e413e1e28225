"""What the command train does on a Dask cluster: its rows stay in the files.

Every error that a user can cause is a ValueError with a message for them.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.base.interrupts import interrupts_ignored
from chainrule.commands.cluster_splits import is_learnt, split_on
from chainrule.commands.preparing import (
    Table,
    as_asked,
    as_written,
    check_classes,
    check_kind,
    check_request,
    formats_of,
    labels,
    notices_of,
)
from chainrule.commands.splitting import Plan
from chainrule.commands.values import of_options
from chainrule.estimators.row_columns import FEATURES, ROLES, RowColumns, check_names, no_weights
from chainrule.tables.columns import cell_type, check_target, kind_of, task_and_reason
from chainrule.tables.reading import types_of
from chainrule.tables.types import Reading

if TYPE_CHECKING:
    from chainrule.dask.files import Survey, Target
    from chainrule.dask.sides import Asked
    from chainrule.tables.opening import OpenTable

CONNECT = 10  # seconds in which a scheduler has to answer
WAIT = 60  # seconds in which a first worker has to
MOST_HELD = 100_000  # rows to judge by
# Rounds of the estimators on a cluster: by the size of the table alone, so that a call gives the
# same bits. Partitions that the workers' memory does not hold are read from the disk in each round.
LOCAL_STEPS = 64
MOST_ROUNDS = 64  # of an epoch; where it has more steps, rounds have more
DEFAULTS = {"batch_size": "auto"}


@dataclass
class SampledTable(Table):
    """A sample of rows that are elsewhere, with what is known of all of them.

    Attributes
    ----------
    n_all : int
        How many rows there are.
    counts : tuple of arrays
        The classes, and how many rows each has.
    """

    n_all: int = 0
    counts: tuple[NDArray[Any], NDArray[Any]] = field(
        default_factory=lambda: (np.empty(0, object), np.empty(0, np.int64))
    )

    @property
    def n(self) -> int:
        """How many rows there are to learn from and to judge by."""
        return self.n_all

    @property
    def class_counts(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The classes, and how many rows each has."""
        return self.counts


@dataclass
class OnCluster:
    """A table on a cluster, looked at and ready to be learned from.

    Attributes
    ----------
    frame : pandas.DataFrame
        Rows of a sample, and those held out.
    table : SampledTable
        The same, as it is learned from.
    plan : Plan
        The sample, and the rows held out.
    n_learnt : int
        Rows that are learned from.
    fit_to : callable
        As `chainrule.commands.jobs.train` takes it.
    """

    frame: Any
    table: SampledTable
    plan: Plan
    n_learnt: int
    fit_to: Fitting

    @staticmethod
    def with_defaults(chosen: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters that were chosen, over the defaults on a cluster."""
        if chosen.get("solver") == "lbfgs":  # it has no batches, and is refused by its own name
            return dict(chosen)
        return {**DEFAULTS, **chosen}


@contextmanager
def connected(where: str) -> Iterator[Any]:
    """A Dask client.

    Parameters
    ----------
    where : str
        "local", or the address of a scheduler.

    Raises
    ------
    ValueError
        No scheduler answers there, or no worker.
    ImportError
        The extra is not installed.
    """
    import logging

    _check_extra()
    from distributed import Client, LocalCluster

    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it tells of tasks that were cancelled
    if where == "local":
        with interrupts_ignored():
            cluster = LocalCluster(
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            )
        with cluster, Client(cluster) as client:
            yield _with_workers(client, where)
        return
    if "://" not in where:
        raise ValueError(
            f"--dask is local, or the address of a scheduler such as tcp://10.0.0.1:8786; got "
            f"{where!r}"
        )
    try:
        client = Client(where, timeout=CONNECT)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise ValueError(f"--dask: no Dask scheduler answers at {where}: {error}") from None
    with client:
        yield _with_workers(client, where)


def _check_extra() -> None:
    """Raise ImportError, with what to install, where Dask is not there."""
    import chainrule.dask  # noqa: F401


def _with_workers(client: Any, where: str) -> Any:
    """The client, when it has a worker, and all have this version of chainrule."""
    from distributed import TimeoutError

    from chainrule.dask.estimators import check_workers

    try:
        client.submit(sum, (), pure=False).result(timeout=WAIT)
    except TimeoutError:
        raise ValueError(
            f"--dask: the scheduler at {where} has no worker that answers; start one with "
            f"dask worker {client.scheduler.address}"
        ) from None
    check_workers(client)
    return client


def prepare_on(
    client: Any, data: str, settings: Mapping[str, Any], reading: Reading, stop: float = 0.1
) -> OnCluster:
    """Look at a table on the cluster, and make it ready to be learned from.

    Parameters
    ----------
    client : distributed.Client
    data : str
    settings : dict
        Of the command.
    reading : Reading
    stop : float, default=0.1
        Part of the rows that stops the training.

    Raises
    ------
    ValueError
        There is no such column, a row cannot be read, or there is nothing to learn.
    """
    from chainrule.dask.files import parts_of
    from chainrule.dask.passes import look_at
    from chainrule.dask.sides import HELD, Asked
    from chainrule.dask.work import ClusterError, new_work

    kinds, target = settings["kind"], settings["target"]
    most = max(1000, 2 * settings["max_levels"])
    parts = parts_of(data)
    roles = {role: settings[role] for role in ROLES if settings[role] is not None}
    ignored = [name for name in settings["ignore"] if name not in (target, *roles.values())]
    reading = reading._replace(formats=dict(reading.formats))  # what can be sent
    beside = [name for role, name in roles.items() if role not in FEATURES]
    beside += [name for name in settings["ignore"] if name in roles.values()]
    asked = Asked(target, ignored, reading, settings["seed"], most, roles, beside)
    work, notices = new_work(client), list[str]()
    try:
        with _noted(notices):
            seen = look_at(work, parts, asked)
            names = [name for name in seen.names if name not in ignored]
            check_names(roles, names, target)
            check_request(names, target, settings["task"], [*settings["ignore"], *beside], kinds)
            held = 0.2 if settings["test_fraction"] is None else settings["test_fraction"]
            if settings["test"] is not None:
                held = 0.0
            held = min(held, MOST_HELD / max(seen.rows, 1))
            split = split_on(work, parts, seen, asked, held, stop)
            found = _surveyed(work, parts, seen, asked._replace(split=split), settings)
            if not found.is_learnt:  # a class would only stop the training: others do
                split = split.without_stop()
                found = _surveyed(work, parts, seen, asked._replace(split=split), settings)
    except ClusterError as error:
        raise ValueError(f"--dask: {error}") from None
    survey, table = found.survey, found.table
    table.notices[:0] = notices
    held_out = (survey.rows["side"] == HELD).to_numpy()
    plan = Plan([(np.flatnonzero(~held_out), np.flatnonzero(held_out))], folds=False)
    fitting = Fitting(work, parts, seen, survey, found.target)
    return OnCluster(survey.frame, table, plan, sum(survey.sizes) + sum(survey.stops), fitting)


class _Surveyed(NamedTuple):
    """What is known of a table, and whether rows of each class are learned from."""

    survey: Survey
    table: SampledTable
    target: Target
    is_learnt: bool


def _surveyed(
    work: Any, parts: Sequence[Any], seen: Any, asked: Asked, settings: Mapping[str, Any]
) -> _Surveyed:
    """Describe a table in a pass over it."""
    from chainrule.dask.files import how_read
    from chainrule.dask.passes import survey_of

    survey, notices, roles = survey_of(work, parts, seen, asked), list[str](), asked.roles
    if not sum(survey.sizes):
        if survey.weightless:
            raise no_weights(f"--weight: {roles['weight']!r}")
        raise ValueError(f"there are no rows with a value of {asked.target!r} to learn from")
    _check_types(survey.frame, roles)
    if survey.left_out:
        notices.append(
            f"{survey.left_out:,} rows left out, without a value of {asked.target!r} (the first is "
            f"{survey.first_left})"
        )
    if survey.weightless:
        notices.append(f"{survey.weightless:,} rows left out, of weight 0")
    table, target = _described(survey, how_read(parts[0], seen, asked), settings, notices)
    return _Surveyed(survey, table, target, is_learnt(survey, target))


def _check_types(frame: Any, roles: Mapping[str, str]) -> None:
    """Refuse texts, since partitions may spell numbers and dates in several ways."""
    for role, advice in (
        ("weight", "numbers"),
        ("time", "dates or numbers, or say with --date-format how they are written"),
    ):
        if role not in roles:
            continue
        dtype = frame[roles[role]].dtype
        if cell_type(dtype) == "text" and dtype.kind != "m":  # a duration is a time
            raise ValueError(
                f"--{role}: {roles[role]!r} holds texts, whose spelling --dask does not find out; "
                f"store them as {advice}"
            )


@contextmanager
def _noted(notices: list[str]) -> Iterator[None]:
    """Make notices of warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    notices += [str(each.message) for each in caught if issubclass(each.category, UserWarning)]


def _described(
    survey: Survey, whole: OpenTable, settings: Mapping[str, Any], notices: list[str]
) -> tuple[SampledTable, Target]:
    """The sample as it is learned from, with what is known of all rows."""
    from chainrule.dask.files import Target

    asked, max_levels = survey.asked, settings["max_levels"]
    name = asked.target
    frame = survey.frame.reset_index(drop=True)
    survey.frame = frame
    cells = survey.columns[name]
    check_target(frame[name], settings["task"])
    named: dict[str, Any] = {}
    of_values = frame[name] if cells.values is None else cells.different()
    task = settings["task"] or task_and_reason(of_values, cells.n)[0]
    counts = np.empty(0, object), np.empty(0, np.int64)
    if task == "classification":
        target, counts, named = _classes(survey, notices)
    else:
        target = Target(name, classes=False, style=cells.spelling(False))
        if cells.distinct <= 1:
            raise ValueError(
                f"the target {name!r} is the same in every row; there is nothing to learn"
            )
    X = frame.drop(columns=[name, *asked.beside])
    found = [kind_of(survey.columns[each].facts(X[each])) for each in X]
    for each, kind in settings["kind"].items():
        check_kind(X[[each]], each, kind, asked.reading.missing)
    columns = as_asked(found, settings["kind"], max_levels)
    notices += notices_of(X, columns, name, max_levels, whole.marks)
    types = types_of(frame[[name, *X]])
    weights = survey.rows["weight"].to_numpy() if "weight" in survey.rows else None
    styles = {
        column.name: survey.columns[column.name].spelling(False)
        for column in columns
        if column.kind in ("numeric", "date") and types[column.name] == "text"
    }
    formats = dict(whole.learnt.formats) | formats_of(columns, styles)
    return SampledTable(
        X,
        target.values(frame[name]),
        name,
        task,
        columns,
        types,
        types.pop(name),
        notices,
        max_levels,
        formats,
        named,
        asked.reading.missing,
        np.arange(len(X)),
        survey.left_out + survey.weightless,
        RowColumns(weight=weights),
        n_all=cells.n,
        counts=counts,
    ), target


def _classes(
    survey: Survey, notices: list[str]
) -> tuple[Target, tuple[NDArray[Any], NDArray[Any]], dict[str, Any]]:
    """How classes are read, how many rows each has, and how they are written."""
    import pandas as pd

    from chainrule.dask.files import MOST_CLASSES, Target

    name = survey.asked.target
    if survey.labels is None:
        raise ValueError(
            f"the target {name!r} has more than {MOST_CLASSES:,} different values; if it is a "
            "number, use --task regression"
        )
    counts_of = Counter[tuple[Any, str]]()
    for (_, cell, text), n in survey.labels.items():
        counts_of[cell, text] += n
    pairs, times = list(counts_of), list(counts_of.values())
    cells = pd.Series([cell for cell, _ in pairs], dtype=survey.frame[name].dtype, name=name)
    y = labels(cells)
    y, named = as_written(y, cells, pd.Series([text for _, text in pairs]), notices, times)
    classes, place = np.unique(y, return_inverse=True)
    counts = np.bincount(place, times).astype(np.int64)
    check_classes(classes, counts, name)
    whole = not named and y.dtype != object
    return Target(name, True, whole, named), (classes, counts), named


def local_steps(batch_size: int | str, sizes: list[int]) -> int:
    """Steps that partitions of so many rows take between two averages."""
    from chainrule.dask.rounds import batch_rows

    steps = -(-sum(sizes) // batch_rows(batch_size, sizes))  # of an epoch
    return max(LOCAL_STEPS, -(-steps // MOST_ROUNDS))


class Fitting:
    """Fits a pipeline to the rows on the cluster."""

    def __init__(
        self,
        work: Any,
        parts: Sequence[Any],
        seen: Any,
        survey: Survey,
        target: Target,
    ) -> None:
        self.work, self.parts, self.seen = work, parts, seen
        self.survey, self.target = survey, target

    def check(self, model: Any, written: Mapping[str, str]) -> None:
        """Refuse settings that have no meaning on a cluster.

        Raises
        ------
        ValueError
        """
        last = model[-1]
        try:
            self._estimator(last)._check(last, None, None, None)
        except ValueError as error:
            raise ValueError(of_options(str(error), written)) from None

    def _estimator(self, last: Any) -> Any:
        """The estimator on the cluster with the settings of a pipeline's last step."""
        from chainrule.dask.estimators import DaskMLPClassifier, DaskMLPRegressor

        kind = DaskMLPClassifier if hasattr(last, "class_weight") else DaskMLPRegressor
        given = last.get_params(deep=False)
        return kind(**given, client=self.work.client)

    def __call__(self, model: Any, table: Table, rows: NDArray[Any], seed: int) -> int:
        """Fit the pipeline; how many rows it only stopped by."""
        from chainrule.dask.files import Encoding
        from chainrule.dask.fitting import fit_steps
        from chainrule.dask.passes import matrices
        from chainrule.dask.sides import LEARN
        from chainrule.dask.work import ClusterError

        survey, last = self.survey, model[-1]
        stops = survey.asked.split.stops and last.early_stopping
        columns = {name: survey.columns[name] for name in table.kinds}
        learnt = rows[(survey.rows["side"].iloc[rows] == LEARN).to_numpy()]
        steps = fit_steps(model[:-1], table.kinds, columns, table.X.iloc[learnt])
        asked, sizes = survey.asked, [survey.sizes, survey.stops][: 1 + stops]
        if asked.split.stops and not stops:  # there are too few rows to stop by
            asked = asked._replace(split=asked.split.without_stop())
            sizes = [[n + m for n, m in zip(survey.sizes, survey.stops, strict=True)]]
        encoding = Encoding(self.seen, asked, steps, self.target)
        learn, *stop = matrices(self.work, self.parts, sizes, encoding)
        given: dict[str, Any] = {"sample_weight": learn.weight}
        for X, y, weight in stop:
            given |= {"X_val": X, "y_val": y, "sample_weight_val": weight}
        if table.task == "classification":
            given["classes"] = table.classes
        estimator = self._estimator(last)
        estimator.local_steps = local_steps(last.batch_size, sizes[0])
        try:
            fitted = estimator.fit(learn.X, learn.y, **given)
        except ClusterError as error:
            raise ValueError(self._lost(error, last)) from None
        local = fitted.to_local()
        local.callbacks = None
        model.steps[-1] = (model.steps[-1][0], local)
        if stops:
            return sum(survey.stops)
        if not last.early_stopping:
            return 0
        return sum(round(last.validation_fraction * n) for n in sizes[0])

    @staticmethod
    def _lost(error: Exception, last: Any) -> str:
        """What to do when the cluster is lost."""
        said = str(error).partition("; what callbacks")[0]
        for keep in last.callbacks or []:
            if hasattr(keep, "restore"):
                return f"--dask: {said}; go on with --resume {keep.path} --force on another cluster"
        return f"--dask: {said}; nothing was stored to go on from: --checkpoint-every 1 stores it"
