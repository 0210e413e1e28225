"""Model files: estimators, pipelines and networks in one file, without pickle.

A file is a ZIP of at most four stored members: `header.json`, which people can read;
`weights.safetensors`; `pipeline.skops`, for the transformers of a pipeline; and `SHA256SUMS`.
Reading one runs nothing from it.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata as installed
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.base.types import Array
from chainrule.base.version import __version__
from chainrule.base.whole_files import would_replace
from chainrule.files.container import MAX_BYTES, ModelFileError, pack, parsed, unpacked
from chainrule.files.fitted import (
    decode_estimator,
    decode_network,
    encode_estimator,
    encode_network,
    is_ours,
)
from chainrule.files.trusted import TRUSTED_TYPES, read_transformers, write_transformers
from chainrule.files.walk import replaced
from chainrule.monitoring.callbacks import best_epoch, plain
from chainrule.network.network import Network

__all__ = ["TRUSTED_TYPES", "ModelFileError", "load", "read_header", "save"]

FORMAT, VERSION = "chainrule model", 1
HEADER, WEIGHTS, PIPELINE = "header.json", "weights.safetensors", "pipeline.skops"
LIMITS = {HEADER: 1 << 24, WEIGHTS: MAX_BYTES, PIPELINE: 1 << 28}
MOST_PARTS, MOST_SIGNS = 200_000, 2_000_000  # of the header's JSON
KINDS = {"estimator": {HEADER, WEIGHTS}, "network": {HEADER, WEIGHTS}, "pipeline": set(LIMITS)}
# What we call the kinds of columns that skrub finds.
OUR_WORDS = {"low_cardinality": "categorical", "high_cardinality": "text", "datetime": "date"}
# Stands for an estimator of ours where the transformers are written.
MARK = "\x00chainrule estimator "
TEXT_MARK = f"{MARK}text "  # begins what stands for a text of the pipeline that begins with MARK


def save(
    model: Any,
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, Any] | None = None,
    created: datetime | str | None = "now",
    overwrite: bool = True,
) -> None:
    """Write a model to one file, without pickle.

    Parameters
    ----------
    model : estimator of chainrule's, Network, or a pipeline of scikit-learn's
        A pipeline may hold our estimators anywhere, and transformers of scikit-learn's and
        skrub's whose types are in ``chainrule.TRUSTED_TYPES``.
    path : str or path
        By custom its name ends in ``.chainrule``. It gets that name when it is whole and on the
        disk; a file that was there before stays as it is if anything fails.
    metadata : dict, optional
        Anything that JSON holds; kept in the header. ``chainrule inspect`` shows "target",
        "metrics" (a dict of numbers) and "columns" (a list of dicts with "name" and "kind") in
        places of their own.
    created : datetime, str or None, default "now"
        The time to write into the header. None leaves it out: the same model then gives the
        same bytes each time.
    overwrite : bool, default True
        Replace a file that is there.

    Raises
    ------
    ModelFileError
        The model holds something that cannot be stored, such as a Python function of yours; the
        message names it.
    FileExistsError
        There is a file, and `overwrite` is False.
    OSError
        The file cannot be written.

    Notes
    -----
    The optimiser's state is kept only if the estimator has ``keep_optimizer_state=True``.
    Attributes that you set yourself are not kept.

    Examples
    --------
    >>> import tempfile, chainrule
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = chainrule.MLPClassifier(random_state=0, solver="lbfgs", max_iter=200).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     chainrule.save(model, f"{folder}/iris.chainrule")
    ...     loaded = chainrule.load(f"{folder}/iris.chainrule")
    >>> bool((loaded.predict_proba(X) == model.predict_proba(X)).all())
    True
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the path of a file")
    if not overwrite and would_replace(path):
        raise FileExistsError(f"{path} exists; overwrite=True replaces it")
    members = _encoded(model, metadata, created)
    try:
        _decoded(members)  # before anything is replaced: what is written can be read
    except ModelFileError as error:
        raise ModelFileError(
            f"the model's attributes do not fit each other, so that it could not be read again: "
            f"{error}"
        ) from error
    pack(members, path)


def load(path: str | os.PathLike[str]) -> Any:
    """Read a model that :func:`save` wrote; nothing in the file can run code.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    estimator, Network or Pipeline
        As it was saved; the predictions have the same bits.

    Raises
    ------
    ModelFileError
        It is no model file, is damaged, names types that are not in
        ``chainrule.TRUSTED_TYPES``, or is of a version that this chainrule does not know.
    OSError
        It cannot be read.

    Notes
    -----
    Every byte is covered by a checksum, but a checksum says nothing of who wrote the file. A
    file from an unknown source cannot run code or reach other files; only its predictions may be
    wrong.
    """
    with unpacked(path, LIMITS) as (names, read):
        header = _header(read, names, path)
        _check_kind(header, names, path)
        members = {HEADER: b"", **{name: read(name) for name in names if name != HEADER}}
    try:
        return _decoded(members, header)
    except ModelFileError as error:
        raise ModelFileError(f"{os.fspath(path)} holds no model that can be read: {error}") from (
            error.__cause__
        )


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a model file says of itself; the rest of it is not read.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    dict
        "kind" ("estimator", "pipeline" or "network"), "model", "versions", "created",
        "columns", "classes", "metadata", "training", "estimators" and so on, as in the file.

    Raises
    ------
    ModelFileError
        As for :func:`load`.
    OSError
        It cannot be read.
    """
    with unpacked(path, LIMITS) as (names, read):
        header = _header(read, names, path)
        _check_kind(header, names, path)
    return header


def _header(read: Any, names: list[str], path: str | os.PathLike[str]) -> dict[str, Any]:
    name = os.fspath(path)
    if HEADER not in names:
        raise ModelFileError(f"{name} is a ZIP file, but no model file: it has no {HEADER}")
    try:
        header = parsed(read(HEADER), MOST_PARTS, MOST_SIGNS)
    except (ValueError, RecursionError) as error:
        if isinstance(error, ModelFileError) and str(error).startswith(name):
            raise
        text = "nested too deep" if isinstance(error, RecursionError) else error
        raise ModelFileError(f"{name}: its {HEADER} is damaged: {text}") from None
    if header.get("format") != FORMAT:
        raise ModelFileError(f"{name} is no model file: its {HEADER} is of another format")
    version = header.get("version")
    if version != VERSION:
        known = "" if type(version) is not int or version < VERSION else "; a newer one may"
        raise ModelFileError(
            f"{name} is a model file of version {str(version)[:20]}; this chainrule "
            f"({__version__}) reads version {VERSION}{known}"
        )
    return header


def _check_kind(header: dict[str, Any], names: list[str], path: Any) -> None:
    if not isinstance(header.get("kind"), str) or KINDS.get(header["kind"]) != set(names):
        raise ModelFileError(
            f"{os.fspath(path)} is damaged: a {str(header.get('kind'))[:20]!r} with "
            f"{', '.join(names)}"
        )


def _encoded(
    model: Any, metadata: Mapping[str, Any] | None, created: datetime | str | None
) -> dict[str, bytes]:
    """The members of a model's file."""
    import safetensors.numpy

    header = _description(model, metadata, created)
    arrays: dict[str, Array] = {}
    members: dict[str, bytes] = {}
    if header["kind"] == "network":
        header["network"] = encode_network(model, arrays)
    else:
        ours: list[Any] = []

        def take_out(value: Any) -> Any:
            if isinstance(value, str) and value.startswith(MARK):
                return f"{TEXT_MARK}{value.removeprefix(MARK)}"
            if not is_ours(value):
                return value
            ours.append(value)
            return f"{MARK}{len(ours) - 1}"

        rest = replaced(model, take_out)
        header["estimators"] = [encode_estimator(est, i, arrays) for i, est in enumerate(ours)]
        if header["kind"] == "pipeline":
            members[PIPELINE] = write_transformers(rest)
    weights = safetensors.numpy.save(arrays)
    text = _pretty(header) + "\n"
    try:
        head = text.encode("utf-8")
    except UnicodeEncodeError:
        raise ModelFileError("a text in the model is no valid Unicode") from None
    members = {HEADER: head, WEIGHTS: weights, **members}
    for name, data in members.items():
        if len(data) > LIMITS[name]:
            raise ModelFileError(
                f"{name} would have {len(data):,} bytes; files hold {LIMITS[name]:,} there"
            )
    return members


def _description(
    model: Any, metadata: Mapping[str, Any] | None, created: datetime | str | None
) -> dict[str, Any]:
    """The part of the header that says, for readers, what is in the file."""
    kind = _kind_of(model)
    packages = ["numpy"]
    packages += {"network": [], "estimator": ["scikit-learn"]}.get(
        kind, ["scikit-learn", "skops", *_libraries(model)]
    )
    if created == "now":
        created = datetime.now(UTC)
    if isinstance(created, datetime):
        created = created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    header: dict[str, Any] = {"format": FORMAT, "version": VERSION, "kind": kind}
    header["model"] = type(model).__name__
    if created is not None:
        header["created"] = str(created)
    header["versions"] = {
        "python": platform.python_version(),
        "chainrule": __version__,
        **{name: installed.version(name) for name in packages},
    }
    if kind == "network":
        return header | {"metadata": _free(metadata)}
    if kind == "pipeline":
        steps = getattr(model, "steps", [])
        header["steps"] = [{"name": name, "is": _said(step)} for name, step in steps]
    header["columns"] = _columns(model)
    classes = getattr(model, "classes_", None)
    if classes is not None:
        header["classes"] = plain(list(classes))
    header["metadata"] = _free(metadata)
    last = model[-1] if hasattr(model, "steps") and model.steps else model
    last = getattr(last, "regressor_", last)
    if hasattr(last, "oof_score_"):
        header["training"] = {
            "rows": last.n_rows_,
            "out_of_fold": {"score": plain(last.oof_score_), "loss": plain(last.oof_loss_)},
        }
    elif getattr(last, "history_", None):
        end = last.history_[-1]
        names = ("loss", "validation_loss", "validation_score", "seconds")
        header["training"] = {
            "epochs": len(last.history_),
            "best_epoch": best_epoch(last),
            "last": {name: plain(end[name]) for name in names if end.get(name) is not None},
        }
    return header


def _said(step: Any) -> str:
    """A step as scikit-learn writes it, on one line and without addresses in memory."""
    text = " ".join(repr(step).split())
    return re.sub(r"<(?:\w+\.)*(\w+) object at 0x[0-9a-fA-F]+>", r"\1()", text)


def _kind_of(model: Any) -> str:
    if isinstance(model, Network):
        if type(model) is not Network:
            raise ModelFileError(f"{type(model).__name__} is a subclass of Network of yours")
        return "network"
    if is_ours(model):
        return "estimator"
    if hasattr(model, "best_estimator_"):
        raise ModelFileError(
            f"a {type(model).__name__} is a search; save its best_estimator_ instead"
        )
    if type(model).__module__.partition(".")[0] in ("sklearn", "skrub"):
        return "pipeline"
    raise ModelFileError(
        f"a {type(model).__module__}.{type(model).__qualname__} cannot be stored: files hold "
        "chainrule's estimators (no subclasses of yours), Network, and pipelines of scikit-learn's"
    )


def _libraries(model: Any) -> list[str]:
    from chainrule.files.walk import parts_of

    names = {type(part).__module__.partition(".")[0] for part in parts_of(model)}
    return [name for name in ("skrub",) if name in names]


def _columns(model: Any) -> list[dict[str, Any]]:
    """Names of the columns that the model takes, and their kinds where it knows them."""
    names = getattr(model, "feature_names_in_", None)
    n = getattr(model, "n_features_in_", None)
    first = model[0] if hasattr(model, "steps") and model.steps else model
    kinds: Any = {}
    for part in (first, *(step for _, step in getattr(first, "steps", []))):
        kinds = getattr(part, "kinds_", getattr(part, "column_to_kind_", kinds))
        if names is None:
            names = getattr(part, "all_processing_steps_", None)
    if names is None:
        names = [] if n is None else [f"x{j}" for j in range(n)]
    default = "numeric" if is_ours(first) else None
    columns = []
    for name in map(str, names):
        kind = kinds.get(name, default)
        kind = OUR_WORDS.get(kind, kind)
        columns.append({"name": name} if kind is None else {"name": name, "kind": str(kind)})
    return columns


def _free(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        free = plain(dict(metadata or {}))
        json.dumps(free, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(
            f"metadata: {error}; it may hold what JSON holds: texts, numbers, lists, dicts"
        ) from None
    assert isinstance(free, dict)
    return free


def _pretty(value: Any, indent: str = "") -> str:
    """JSON with a line for each entry, and lists of plain values and short objects on one."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    inner = indent + "  "
    if isinstance(value, dict) and (len(flat) + len(indent) > 96 or not indent) and value:
        lines = [
            f"{inner}{json.dumps(str(key), ensure_ascii=False)}: {_pretty(one, inner)}"
            for key, one in value.items()
        ]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and len(flat) > 96 and any(isinstance(one, dict) for one in value):
        lines = [inner + _pretty(one, inner) for one in value]
        return "[\n" + ",\n".join(lines) + f"\n{indent}]"
    return flat


def _decoded(members: Mapping[str, bytes], header: dict[str, Any] | None = None) -> Any:
    """The model in a file's members."""
    try:
        if header is None:
            header = parsed(members[HEADER], MOST_PARTS, MOST_SIGNS)
        arrays = _arrays(members[WEIGHTS])
        if header["kind"] == "network":
            model: Any = decode_network(header["network"], arrays)
        else:
            ours = [decode_estimator(entry, arrays) for entry in header["estimators"]]
            model = _put_together(header["kind"], ours, members.get(PIPELINE))
    except (ModelFileError, OSError, MemoryError, ImportError):
        raise  # the last three are the machine's: they say nothing of the file
    except Exception as error:
        # All that a file holds may be wrong in some way; none of it shall go on from here.
        text = str(error).partition("\n")[0][:200]
        raise ModelFileError(f"it is damaged ({type(error).__name__}: {text})") from error
    if arrays:
        raise ModelFileError(f"nothing uses the array {min(arrays)!r}")
    _check_description(header, model)
    return model


def _check_description(header: dict[str, Any], model: Any) -> None:
    """Compare what the header says with the model."""
    classes = getattr(model, "classes_", None)
    wanted = {
        "model": type(model).__name__,
        "classes": None if classes is None else plain(list(classes)),
    }
    for name, value in wanted.items():
        if header.get(name) != value:
            raise ModelFileError(f"its header names another {name} than the model has")


def _put_together(kind: str, ours: list[Any], written: bytes | None) -> Any:
    if kind == "estimator":
        (model,) = ours
        return model
    assert written is not None
    unused = set(range(len(ours)))

    def put_in(value: Any) -> Any:
        if not isinstance(value, str) or not value.startswith(MARK):
            return value
        if value.startswith(TEXT_MARK):
            return f"{MARK}{value.removeprefix(TEXT_MARK)}"
        number = int(value.removeprefix(MARK))
        if not 0 <= number < len(ours):
            raise ModelFileError(f"the pipeline names estimator {number}")
        unused.discard(number)
        return ours[number]

    model = replaced(read_transformers(written), put_in)
    if unused:
        raise ModelFileError("the pipeline leaves out an estimator")
    return model


def _arrays(data: bytes) -> dict[str, Array]:
    """The arrays of the weights' member, by name."""
    import safetensors.numpy

    length = int.from_bytes(data[:8], "little")
    if length > LIMITS[HEADER] or data.count(b"{", 8, 8 + length) > MOST_PARTS:
        raise ModelFileError(f"{WEIGHTS} lists too many arrays")
    arrays: dict[str, Array] = safetensors.numpy.load(data)
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ModelFileError(f"{WEIGHTS} is damaged")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ModelFileError(f"the array {name!r} holds numbers that are not finite")
    return arrays
