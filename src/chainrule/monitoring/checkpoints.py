"""Checkpoints: a fit's parameters in one .npz file without pickle, written as it goes on."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from chainrule.base.blas import blas_kernels, warn_of_kernels
from chainrule.base.validation import warn_user
from chainrule.base.whole_files import check_writable, whole_file
from chainrule.monitoring.callbacks import Best, Callback, Record, check_monitor, check_whole, plain

CHECKPOINT_VERSION = 1


@dataclass(eq=False)
class Checkpoint(Callback):
    """Save the parameters as the fit goes on: one .npz file, no pickle.

    The file is written under another name and renamed when it is whole and on the disk, so at
    any moment, a crash included, there is a whole checkpoint or none.

    Parameters
    ----------
    path : str or path
        The file; "{epoch}" (or "{epoch:04d}" and so on) in it becomes the number of the epoch.
    monitor : str, default "auto"
        The number that says which epoch is best. "auto": "validation_loss" if the fit has one,
        else "loss".
    save_best_only : bool, default True
        Save only when `monitor` is the best so far.
    every : int, default 1
        Look only at every so-manieth epoch.
    mode : {"auto", "min", "max"}, default "auto"
        As in :class:`EarlyStopping`.

    Attributes
    ----------
    saved_ : list of int
        Epochs saved in the last fit.

    See Also
    --------
    load_checkpoint : read it.
    Resume : keep all that a fit needs to go on after a crash.
    """

    path: str | os.PathLike[str]
    monitor: str = "auto"
    save_best_only: bool = True
    every: int = 1
    mode: str = "auto"

    def __post_init__(self) -> None:
        check_monitor(self.monitor, self.mode)
        check_whole("every", self.every)
        self._path(0)

    def _path(self, epoch: int) -> Path:
        try:
            return Path(os.fspath(self.path).format(epoch=epoch))
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError(f"path may hold {{epoch}} and no other field: {self.path}") from error

    def on_fit_begin(self, estimator: Any) -> None:
        """See that the folder can be written."""
        path = self._path(0)
        if path.is_dir():
            raise IsADirectoryError(f"path: {path} is a folder")
        try:
            check_writable(path)
        except OSError as error:
            raise type(error)(
                f"path: no checkpoint can be written to {path}: {error.strerror}"
            ) from error
        self._best: Best | None = None
        self.saved_: list[int] = []

    def on_epoch_end(self, estimator: Any, record: Record) -> None:
        """Save, if this is an epoch to save."""
        epoch = int(record["epoch"])
        if (epoch + 1) % self.every:
            return
        if self.save_best_only and not self._improves(record):
            return
        path = self._path(epoch)
        try:
            save_checkpoint(path, estimator.coefs_, estimator.intercepts_, record)
        except OSError as error:  # the training is worth more than a checkpoint
            warn_user(
                f"no checkpoint of epoch {epoch} could be written to {path}: "
                f"{error.strerror or error}; the fit goes on"
            )
        else:
            self.saved_.append(epoch)

    def _improves(self, record: Record) -> bool:
        if self._best is None:
            name = self.monitor
            if name == "auto":
                has_one = record.get("validation_loss") is not None
                name = "validation_loss" if has_one else "loss"
            self._best = Best(name, self.mode)
        return self._best.improves(record)

    def on_resume(self, estimator: Any, records: list[Record]) -> None:
        """Know what was the best so far."""
        for record in records:
            if (int(record["epoch"]) + 1) % self.every == 0 and self.save_best_only:
                self._improves(record)


def save_checkpoint(
    path: str | os.PathLike[str],
    coefs: Sequence[np.ndarray[Any, Any]],
    intercepts: Sequence[np.ndarray[Any, Any]],
    record: Record,
) -> None:
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    path : str or path
        Replaced if it exists.
    coefs, intercepts : lists of arrays
        By layer: (n_in, n_out) and (n_out,).
    record : dict
        Stored as JSON.
    """
    path = Path(path)
    header = {
        "chainrule_checkpoint": CHECKPOINT_VERSION,
        "record": plain(record),
        "kernels": blas_kernels(),
    }
    arrays: dict[str, Any] = {f"coefs_{i}": np.asarray(W) for i, W in enumerate(coefs)}
    arrays |= {f"intercepts_{i}": np.asarray(b) for i, b in enumerate(intercepts)}
    with whole_file(path) as file:
        np.savez(file, header=np.array(json.dumps(header)), **arrays)


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what :class:`Checkpoint` wrote; nothing in the file can run code.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    dict
        "coefs" and "intercepts", lists of arrays by layer, and "record", the epoch's record.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is no checkpoint, or it is damaged.

    Warns
    -----
    UserWarning
        It was written with other BLAS kernels, as on another kind of processor.
    """
    try:
        with open(path, "rb") as opened:
            _check_sizes(opened)
            with np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("header")[()]))
        version = header["chainrule_checkpoint"]
        record = dict(header["record"])
        kernels = list(map(str, header.get("kernels", [])))  # earlier files lack them
    except OSError:
        raise
    except Exception as error:  # anything in it may be wrong; MemoryError: a size that is not true
        raise ValueError(
            f"{os.fspath(path)} is no checkpoint, or it is damaged: {error}"
        ) from error
    if version != CHECKPOINT_VERSION:
        raise ValueError(
            f"{os.fspath(path)} is a checkpoint of version {version}; this chainrule reads "
            f"version {CHECKPOINT_VERSION}"
        )
    for name, array in arrays.items():
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"{os.fspath(path)} is damaged: {name} holds no finite numbers")
    n = len(arrays) // 2
    names = [f"{kind}_{i}" for kind in ("coefs", "intercepts") for i in range(n)]
    if sorted(names) != sorted(arrays):
        raise ValueError(f"{os.fspath(path)} is damaged: it holds {', '.join(sorted(arrays))}")
    warn_of_kernels(
        path,
        kernels,
        blas_kernels(),
        "what these parameters predict, and a fit that goes on from them, has other last bits",
    )
    return {
        "coefs": [arrays[f"coefs_{i}"] for i in range(n)],
        "intercepts": [arrays[f"intercepts_{i}"] for i in range(n)],
        "record": record,
    }


def _check_sizes(file: IO[bytes]) -> None:
    """Refuse a ZIP file whose members would take more memory than the file itself."""
    with zipfile.ZipFile(file) as members:
        if any(member.compress_size != member.file_size for member in members.infolist()):
            raise ValueError("its members are compressed, which those of checkpoints never are")
    file.seek(0)
