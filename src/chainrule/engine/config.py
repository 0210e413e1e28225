"""What holds for the whole process: which engine `engine="auto"` means, and how many threads."""

from __future__ import annotations

import os
from typing import Any

from chainrule.base.validation import suggest

ENGINES = ("auto", "numpy", "numba")

MOST_THREADS = 1024  # more would be a slip

_config: dict[str, Any] = {"engine": None, "n_threads": None}


def set_config(*, engine: str | None = None, n_threads: int | None = None) -> None:
    """Set what holds wherever a call does not say otherwise. What is not given stays.

    Parameters
    ----------
    engine : {"auto", "numpy", "numba"}, optional
        What ``engine="auto"`` means from now on; "auto" is to decide by the amount of work.
        Before the first call the environment variable CHAINRULE_ENGINE is read.
    n_threads : int, optional
        At most so many threads; 0 for the default, as in :func:`chainrule.train`.

    Raises
    ------
    ValueError
        An unknown engine, or not a number of threads.

    Examples
    --------
    A search over many small fits, none of which shall wait for a compiler:

    >>> import chainrule
    >>> chainrule.set_config(engine="numpy", n_threads=1)
    >>> chainrule.get_config()
    {'engine': 'numpy', 'n_threads': 1}
    >>> chainrule.set_config(engine="auto", n_threads=0)
    """
    if engine is not None:
        _config["engine"] = _known(engine, "engine")
    if n_threads is not None:
        whole = isinstance(n_threads, int) and not isinstance(n_threads, bool)
        if not whole or not 0 <= n_threads <= MOST_THREADS:
            raise ValueError(
                f"n_threads must be a whole number from 0 to {MOST_THREADS:,}; got {n_threads!r}"
            )
        _config["n_threads"] = n_threads or None


def get_config() -> dict[str, Any]:
    """What holds now: ``{"engine": ..., "n_threads": ...}``; n_threads None is the default."""
    engine = _config["engine"]
    if engine is None:
        engine = _known(os.environ.get("CHAINRULE_ENGINE") or "auto", "CHAINRULE_ENGINE")
    return {"engine": engine, "n_threads": _config["n_threads"]}


def threads_asked(n_threads: int | None) -> int | None:
    """`n_threads`, or if that is None what holds now; None is the default."""
    return n_threads or _config["n_threads"]


def _known(engine: str, name: str) -> str:
    if engine not in ENGINES:
        raise ValueError(f"{name}: unknown engine {engine!r}; {suggest(str(engine), ENGINES)}")
    return engine
