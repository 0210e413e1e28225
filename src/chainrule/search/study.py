"""Where trials are kept: an Optuna study in a SQLite file, bound to one table and one question.

Each trial is in the file as soon as it is over, so a search that was killed goes on where it was,
and several processes can work on one file at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.base.whole_files import would_replace
from chainrule.estimators.row_columns import RowColumns

NAME = "chainrule tune"
PATIENCE = 60.0  # seconds that a process waits for another one to finish writing
ATTEMPTS = 25  # to open a study that other processes are making
# The tables that Optuna makes before "trials".
FIRST_TABLES = {
    *("studies", "version_info"),
    *("study_directions", "study_system_attributes", "study_user_attributes"),
}
# What is kept of trials and of the study beside what Optuna keeps.
PROCESS, ERROR, SECONDS, ENGINE = "process", "error", "seconds", "engine"
# How the parts of what a study is about are called in messages.
ABOUT = {
    "table": "the table differs",
    "target": "the target differs",
    "task": "the task differs",
    "metric": "the metric differs",
    "folds": "the folds differ",
    "weight": "the weights of the rows differ",
    "group": "the groups of the rows differ",
    "time": "the times of the rows differ",
    "seed": "the seed differs",
    "fixed": "the settings that are fixed differ",
    "space": "the settings that are searched differ",
}


def optuna() -> Any:
    """The library, which says no more than errors.

    Raises
    ------
    ImportError
        It is not installed; the message names the extra.
    """
    try:
        import optuna as found
        import sqlalchemy  # noqa: F401  # what Optuna keeps studies with
    except ImportError as error:
        raise ImportError('tune needs Optuna: pip install "chainrule[tune]"') from error
    found.logging.set_verbosity(found.logging.ERROR)
    return found


def fingerprint(X: Any, y: NDArray[Any], facts: RowColumns, **about: Any) -> dict[str, str]:
    """What a study is about, in short texts.

    Parameters
    ----------
    X : pandas.DataFrame of shape (n, columns)
    y : (n,) array
    facts : RowColumns
        Of times the order counts alone.
    **about
        The other parts, by their names in ABOUT.
    """
    import pandas as pd

    digest = hashlib.sha256()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in X:
            try:
                cells = pd.util.hash_pandas_object(X[name], index=False)
            except TypeError:  # values that have no hash, such as lists
                cells = pd.util.hash_pandas_object(X[name].astype(str), index=False)
            digest.update(repr(str(name)).encode())
            digest.update(np.asarray(cells).tobytes())
    digest.update(np.asarray(pd.util.hash_array(np.asarray(y))).tobytes())
    found = {"table": f"{len(X):,} rows, {len(X.columns)} columns, {digest.hexdigest()[:16]}"}
    for name, of_row in facts._asdict().items():
        if of_row is not None:
            values = np.unique(of_row, return_inverse=True)[1] if name == "time" else of_row
            found[name] = hashlib.sha256(values.tobytes()).hexdigest()[:16]
    return found | {
        name: json.dumps(value, sort_keys=True, default=repr) for name, value in about.items()
    }


def open_study(path: str | os.PathLike[str], about: Mapping[str, str]) -> Any:
    """The study in a file, which is made if it is not there.

    Parameters
    ----------
    path : str or path
    about : dict of str to str
        As :func:`fingerprint` gives it.

    Returns
    -------
    optuna.Study

    Raises
    ------
    ValueError
        The file is no study, is locked, or is about something else.
    OSError
        It cannot be read or written.
    """
    library, path = optuna(), Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"the study {path} cannot be written: there is no folder {path.parent}")
    _check_file(path)
    with _refusals(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what Optuna calls experimental
        study = _created(library, path)
        found = _bound_to(study, about)
    other = [text for part, text in ABOUT.items() if found.get(part) != about.get(part)]
    if other:
        close(study)
        detail = ""
        if found.get("table") != about["table"]:
            detail = f" ({found.get('table')}; here {about['table']})"
        raise ValueError(
            f"the study {path} is of another search: {', '.join(other)}{detail}; name another file "
            "for this one"
        )
    return study


def _created(library: Any, path: Path) -> Any:
    from sqlalchemy.exc import IntegrityError, OperationalError

    for attempt in range(ATTEMPTS):
        try:
            return library.create_study(
                storage=_storage(library, path), study_name=NAME, load_if_exists=True
            )
        except (IntegrityError, OperationalError) as error:
            # Another process is making the tables, or what is in them.
            known = isinstance(error, IntegrityError) or "already exists" in str(error)
            if not known or attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.2)
    raise AssertionError("unreachable")


def _bound_to(study: Any, about: Mapping[str, str]) -> Mapping[str, str]:
    """What a study is about: what the first of all processes has said."""
    from sqlalchemy import text

    # Optuna's own call would replace what another process has said in the meantime.
    with _engine_of(study).begin() as connection:
        connection.execute(
            text(
                "INSERT OR IGNORE INTO study_user_attributes (study_id, key, value_json) "
                "VALUES (:study, 'about', :about)"
            ),
            {"study": study._study_id, "about": json.dumps(dict(about))},
        )
    found: Mapping[str, str] = study.user_attrs["about"]
    return found


def _storage(library: Any, path: Path) -> Any:
    from sqlalchemy.pool import QueuePool

    def connect() -> sqlite3.Connection:
        # Any path will do: one in an address would have to be free of signs such as "?".
        connection = sqlite3.connect(path, timeout=PATIENCE, check_same_thread=False)
        # A commit waits for no disk then: a power cut may lose the last trials, a kill loses none.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    return library.storages.RDBStorage(
        "sqlite://", engine_kwargs={"creator": connect, "poolclass": QueuePool}
    )


def _check_file(path: Path) -> None:
    """Refuse, before anything is written, a file that is no study of ours."""
    if path.is_dir():
        raise ValueError(f"the study {path} is a folder; name a file")
    if not would_replace(path):
        return
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        return  # a new file that another process has just made
    if start != b"SQLite format 3\0":
        raise ValueError(f"{path} is no study: it is no SQLite file; name another file")
    for _ in range(ATTEMPTS):
        tables = _tables_of(path)
        if not tables or "trials" in tables:
            return
        if not tables <= FIRST_TABLES:
            break
        time.sleep(0.2)  # another process is making them
    raise ValueError(f"{path} is no study: it is a database of other tables; name another file")


def _tables_of(path: Path) -> set[str]:
    with _refusals(path):
        connection = sqlite3.connect(path, timeout=2)
        try:
            connection.execute("BEGIN IMMEDIATE")
            found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {row[0] for row in found}
            connection.rollback()
        finally:
            connection.close()
    return tables


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """What SQLite and Optuna say of a file, as one line that names it."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (sqlite3.Error, SQLAlchemyError, RuntimeError) as error:
        said = " ".join(str(getattr(error, "orig", None) or error).split())
        if "locked" in said:
            raise ValueError(
                f"the study {path} is locked by another program; end that, or name another file"
            ) from None
        raise ValueError(f"the study {path} cannot be used: {said}") from None


def reopened(path: str | os.PathLike[str]) -> Any:
    """The study in a file that :func:`open_study` has opened in another process."""
    library = optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return library.load_study(storage=_storage(library, Path(path)), study_name=NAME)


def close(study: Any) -> None:
    """Close the connections to the study's file."""
    _engine_of(study).dispose()


def _engine_of(study: Any) -> Any:
    """SQLAlchemy's engine of the study's file."""
    return getattr(study._storage, "_backend", study._storage).engine


def this_process() -> str:
    """What names this process among all that may write to a study."""
    return f"{socket.gethostname()} {os.getpid()}"


def drop_abandoned(study: Any) -> int:
    """Give up trials whose process is gone; how many there were.

    Processes of other machines are left alone, and so are all where the system does not say
    whether a process lives.
    """
    dropped = 0
    for trial in trials_of(study):
        host, _, number = trial.user_attrs.get(PROCESS, "").rpartition(" ")
        if trial.state.name != "RUNNING" or host != socket.gethostname() or _lives(int(number)):
            continue
        with contextlib.suppress(ValueError):  # it has ended after all
            study.tell(trial.number, state=optuna().trial.TrialState.FAIL)
            dropped += 1
    return dropped


def _lives(process: int) -> bool:
    if os.name == "nt":
        return True  # there, os.kill would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def trials_of(study: Any) -> list[Any]:
    """All trials, by their numbers."""
    found: list[Any] = study.get_trials(deepcopy=False)
    return found


def counting(study: Any) -> list[Any]:
    """The trials that count: over, or under way; not those that were given up."""
    return [
        trial
        for trial in trials_of(study)
        if trial.state.name in ("COMPLETE", "PRUNED", "RUNNING")
        or (trial.state.name == "FAIL" and ERROR in trial.user_attrs)
    ]


def are_asked_for(study: Any, point: Mapping[str, Any]) -> bool:
    """Whether a trial at this point is waiting, or another process is making it."""
    return any(
        trial.state.name in ("WAITING", "RUNNING")
        and trial.system_attrs.get("fixed_params") == dict(point)
        for trial in trials_of(study)
    )


def best_of(study: Any) -> Any:
    """The trial with the smallest value, the first of several such; None if none is complete."""
    done = [trial for trial in trials_of(study) if trial.state.name == "COMPLETE"]
    return min(done, key=lambda trial: (trial.value, trial.number), default=None)
