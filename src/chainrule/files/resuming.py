"""Resuming: all that a fit needs to go on after a crash, and to end in the same bits.

A network's numbers and the optimiser's, the generator of random numbers, the curves, the best
parameters so far, and what schedules and stopping rules remember. It is kept in a container like
a model file's, without pickle, and read as suspiciously.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.base.blas import blas_kernels, warn_of_kernels
from chainrule.base.types import Array, Index
from chainrule.base.validation import warn_user
from chainrule.base.whole_files import check_writable
from chainrule.files.container import (
    MAX_BYTES,
    ModelFileError,
    pack,
    parsed,
    unpacked,
)
from chainrule.files.encoding import decode, encode
from chainrule.files.fitted import ATTRIBUTES
from chainrule.monitoring.callbacks import StateCallback, check_whole
from chainrule.training.descent import Descent
from chainrule.training.state import LEARNED

FORMAT, VERSION = "chainrule training state", 2
MOST = 500_000  # parts of the JSON: some for each epoch
LIMITS = {"state.json": 1 << 26, "arrays.safetensors": MAX_BYTES}
# What a fit goes on with as well under another value of.
FREE = ("callbacks", "verbose", "time_limit", "keep_optimizer_state", "transform_layer")
# Attributes of an estimator that change from epoch to epoch, the parameters apart.
CHANGING = (
    "n_iter_",
    "t_",
    "loss_",
    "loss_curve_",
    "validation_loss_curve_",
    "validation_scores_",
    "best_validation_score_",
    "best_loss_",
    "best_iteration_",
    "history_",
    "_no_improvement_count",
    "_rate",
)

PLATEAU = ("current", "best", "waited", "reductions")


@dataclass(eq=False)
class Resume(StateCallback):
    """Keep the whole state of a fit in a file, and go on from there after a crash.

    While the file is there, `fit` with the same parameters and data goes on where the file was
    written, and ends in the same bits as if nothing had happened. So: run the same program
    again. Where NumPy or SciPy multiply with other BLAS kernels, as on another kind of
    processor, the last bits differ, and a warning says so. When the fitted model is kept, remove
    the file.

    Parameters
    ----------
    path : str or path
        Written anew each time, under another name first, so that at any moment there is a whole
        file or none.
    every : int, default 1
        Write after every so-manieth epoch; a crash loses that many at most.
    resume : bool, default True
        Go on from the file if it is there. False: start afresh and replace it.

    Attributes
    ----------
    resumed_from_ : int
        Epochs that the last fit found done; 0 if it started afresh.

    Warns
    -----
    UserWarning
        From `fit`: the file was written with other BLAS kernels.

    Raises
    ------
    ValueError
        From `fit`: the file is no such file, is damaged, or belongs to a fit with other
        parameters or data; or the fit cannot be resumed (solver='lbfgs', warm_start=True,
        partial_fit).

    Notes
    -----
    The other callbacks are told what happened (``Callback.on_resume``): early stopping counts on,
    logs go on below what they hold. With random_state=None the resumed fit draws what the first
    one would have drawn. Seconds are those that were really used.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_iris
    >>> from chainrule import MLPClassifier, Resume
    >>> X, y = load_iris(return_X_y=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     keep = Resume(f"{folder}/fit.state", every=10)
    ...     model = MLPClassifier(callbacks=[keep], max_iter=500, random_state=0).fit(X, y)
    >>> keep.resumed_from_
    0
    """

    path: str | os.PathLike[str]
    every: int = 1
    resume: bool = True

    def __post_init__(self) -> None:
        check_whole("every", self.every)
        os.fspath(self.path)

    def begin(self, est: Any, rng: Any) -> Any:
        """Before a fit draws anything: read the file, if there is one.

        Parameters
        ----------
        est : estimator
        rng : RandomState
            What the fit would draw from.

        Returns
        -------
        RandomState
            What it shall draw from.
        """
        path = Path(self.path)
        if est.solver == "lbfgs" or est.warm_start:
            what = "solver='lbfgs'" if est.solver == "lbfgs" else "warm_start=True"
            raise ValueError(f"callbacks: a fit with {what} cannot be resumed; take Resume off")
        if path.is_dir():
            raise IsADirectoryError(f"callbacks: the path of Resume, {path}, is a folder")
        self._check(path)
        self.resumed_from_ = 0
        self._found = self._read() if self.resume and path.exists() else None
        if self._found is not None:
            start = self._found["rng_start"]
            if est.random_state is None:  # NumPy's own belongs to all
                rng = start
            else:
                rng.set_state(start.get_state(legacy=False))
        self._start = np.random.RandomState()
        self._start.set_state(rng.get_state(legacy=False))
        return rng

    def _check(self, path: Path) -> None:
        """See that the file can be written."""
        try:
            check_writable(path)
        except OSError as error:
            raise type(error)(
                f"callbacks: the state of the fit cannot be written to {path}: {error.strerror}"
            ) from error

    def restore(
        self, est: Any, descent: Descent, watch: Any, rates: Any, order: Index, data: Iterable[Any]
    ) -> tuple[int, Index]:
        """When a fit is about to begin its epochs: put back what the file holds.

        Parameters
        ----------
        est, descent, watch, rates :
            As the epochs take them.
        order : int64 array
            Of the rows.
        data : iterable of arrays, sparse matrices or None
            All that is learned from.

        Returns
        -------
        int
            Epochs that are done.
        order : int64 array
        """
        self._belongs: dict[str, Any] = {
            "parameters": _parameters(est),
            "data": fingerprint(data),
            "engine": descent.engine,
            "kernels": blas_kernels(),
        }
        if self._found is None:
            return 0, order
        state, self._found = self._found, None
        self._compare(state["belongs"], rates)
        try:
            if state["best"] is not None:
                descent.state.restore(state["best"])
                watch.best = descent.state.copy(LEARNED)
            descent.state.restore_stored(state["run"])
        except ValueError as error:
            raise self._other(f"its network or optimiser is another ({error})") from error
        vars(est).update(state["attributes"])
        est._rng.set_state(state["rng"].get_state(legacy=False))
        rates.current = state["rate"]
        if rates.plateau is not None:
            vars(rates.plateau).update(state["plateau"])
        watch.started = time.monotonic() - state["seconds"]
        if state["order"] is not None:
            if not np.array_equal(np.sort(state["order"]), np.arange(len(order))):
                raise self._other("it has other rows")
            order = state["order"]
        self.resumed_from_ = int(est.n_iter_)
        for callback in watch.callbacks:
            callback.on_resume(est, list(est.history_))
        return self.resumed_from_, order

    def _compare(self, belongs: dict[str, Any], rates: Any) -> None:
        stored: dict[str, Any] = belongs["parameters"]
        current: dict[str, Any] = self._belongs["parameters"]
        free = {*FREE, *(["max_iter"] if rates.schedule is None or rates.plateau else [])}
        other = [name for name in current if name not in free and stored.get(name) != current[name]]
        if other or set(stored) != set(current):
            raise self._other(f"its fit has another {other[0] if other else 'set of parameters'}")
        if belongs["data"] != self._belongs["data"]:
            raise self._other("its fit has other data (X, y, weights or validation set)")
        if belongs["engine"] != self._belongs["engine"]:
            raise self._other(f"its fit ran on the engine {belongs['engine']!r}")
        warn_of_kernels(
            self.path,
            belongs.get("kernels", ()),
            self._belongs["kernels"],
            "the fit goes on, but its last bits will differ from those of a fit that was not "
            "interrupted",
        )

    def _other(self, what: str) -> ModelFileError:
        return ModelFileError(
            f"{os.fspath(self.path)} belongs to another fit: {what}. Remove it, or give Resume "
            "another path, to start afresh"
        )

    def write_state(
        self, est: Any, descent: Descent, watch: Any, rates: Any, order: Index, epoch: int
    ) -> None:
        """At the end of an epoch: write the file, if it is time to."""
        if (epoch + 1) % self.every:
            return
        import safetensors.numpy

        arrays: dict[str, Array] = {}
        plateau = rates.plateau
        state = {
            "belongs": self._belongs,
            "rng_start": self._start,
            "rng": est._rng,
            "run": descent.state.stored(),
            "attributes": {name: vars(est)[name] for name in CHANGING},
            "best": watch.best,
            "rate": rates.current,
            "plateau": plateau and {name: getattr(plateau, name) for name in PLATEAU},
            "seconds": time.monotonic() - watch.started,
            "order": order if est.compat == "sklearn" and est.shuffle else None,
        }
        text = {"format": FORMAT, "version": VERSION, "state": encode(state, "state", arrays)}
        members = {
            "state.json": json.dumps(text, allow_nan=False).encode(),
            "arrays.safetensors": safetensors.numpy.save(arrays),
        }
        try:
            pack(members, Path(self.path))
        except OSError as error:  # the training is worth more than its state
            warn_user(
                f"the state of the fit could not be written to {os.fspath(self.path)} after epoch "
                f"{epoch}: {error.strerror or error}; the fit goes on"
            )

    def _read(self) -> dict[str, Any]:
        """What the file holds."""
        import safetensors.numpy

        name = os.fspath(self.path)
        with unpacked(self.path, LIMITS) as (names, read):
            if names != list(LIMITS):
                raise ModelFileError(f"{name} is no state of a fit: it holds {', '.join(names)}")
            text, data = (read(one) for one in names)
        try:
            found = parsed(text, MOST, 10 * MOST)
            if (found["format"], found["version"]) != (FORMAT, VERSION):
                raise ModelFileError(f"it is of version {found['version']}, not {VERSION}")
            arrays = safetensors.numpy.load(data)
            for each, array in arrays.items():
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    raise ModelFileError(f"its array {each!r} holds numbers that are not finite")
            state: dict[str, Any] = decode(found["state"], arrays)
            _check(state)
            return state
        except (OSError, MemoryError):  # the machine's: they say nothing of the file
            raise
        except Exception as error:  # anything in it may be wrong
            raise ModelFileError(
                f"{name} is no state of a fit that can be read: {error}"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        hidden = ("_found", "_start", "_belongs")
        return {name: value for name, value in vars(self).items() if name not in hidden}


def _check(state: Any) -> None:
    """Whether a state has the parts that `write_state` gives it."""
    generators = isinstance(state["rng_start"], np.random.RandomState) and isinstance(
        state["rng"], np.random.RandomState
    )
    best, order, plateau = state["best"], state["order"], state["plateau"]
    kernels = state["belongs"].get("kernels", [])
    numbers = all(_is_number(state[name]) for name in ("rate", "seconds"))
    parts = {
        "rng": generators,
        "numbers": numbers,
        "run": ATTRIBUTES["_resume?"](state["run"]),
        "attributes": set(state["attributes"]) == set(CHANGING),
        "epochs": type(state["attributes"]["n_iter_"]) is int
        and state["attributes"]["n_iter_"] == len(state["attributes"]["history_"]) > 0,
        "best": best is None
        or (
            set(best) == set(LEARNED) and all(isinstance(one, np.ndarray) for one in best.values())
        ),
        "order": order is None or (isinstance(order, np.ndarray) and order.dtype == np.int64),
        "plateau": plateau is None
        or (
            set(plateau) == set(PLATEAU)
            and all(_is_number(plateau[name]) for name in PLATEAU[:3])
            and isinstance(plateau["reductions"], list)
            and all(map(_is_number, plateau["reductions"]))
        ),
        "belongs": {*state["belongs"]} - {"kernels"} == {"parameters", "data", "engine"}
        and isinstance(kernels, list)
        and all(isinstance(one, str) for one in kernels),
    }
    for name in CHANGING:
        check = ATTRIBUTES.get(name) or ATTRIBUTES[f"{name}?"]
        parts[name] = check(state["attributes"].get(name))
    for name, good in parts.items():
        if not good:
            raise ModelFileError(f"its {name} is not what it should be")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _parameters(est: Any) -> dict[str, Any]:
    """Parameters in a form that can be compared; Python functions by their names."""
    told = {}
    for name, value in est.get_params(deep=False).items():
        arrays: dict[str, Array] = {}
        if name == "random_state":  # what it leads to is kept itself
            continue
        try:
            told[name] = [encode(value, name, arrays), fingerprint(arrays.values())]
        except ModelFileError:
            told[name] = [_named(value), ""]
    return told


def _named(value: Any) -> Any:
    """The name of what no file can hold, and the numbers that it was made with."""
    if type(value) in (list, tuple):
        return [_named(one) for one in value]
    name = str(getattr(value, "name", value if isinstance(value, str) else type(value).__name__))
    numbers = [*getattr(value, "made_by", ())[1:], *getattr(value, "hyper", {}).items()]
    return name + (f" {numbers!r}" if numbers else "")


def fingerprint(data: Iterable[Any]) -> str:
    """A sum over arrays and sparse matrices, by their numbers, dtypes and shapes."""
    total = hashlib.blake2b(digest_size=16)
    for one in data:
        parts = (one.data, one.indices, one.indptr) if hasattr(one, "indptr") else (one,)
        total.update(repr(getattr(one, "shape", None)).encode())
        for part in parts:
            array = np.ascontiguousarray(part)
            total.update(array.dtype.str.encode())
            if array.dtype == object:
                total.update(repr(array.tolist()).encode())
            else:
                total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()
