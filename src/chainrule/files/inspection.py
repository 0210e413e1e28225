"""What is in a model file, for people: read from its header, with nothing of it run."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

from chainrule.files.container import sum_of_file, unpacked
from chainrule.files.persistence import LIMITS, read_header

BARS = "▁▂▃▄▅▆▇█"
CURVE = 40  # signs in a curve
LONGEST = 300  # signs of a text before the rest is left out
SHOWN = 12  # names in a list before the rest is counted


def facts_of(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The header of a model file, and what the file itself is; all of it is checked.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    dict
        As :func:`chainrule.read_header`, and "file": its path, bytes, sha256, and the bytes of
        its members.

    Raises
    ------
    ModelFileError
        It is no model file, or any byte of it is damaged.
    OSError
        It cannot be read.
    """
    header = read_header(path)
    with unpacked(path, LIMITS) as (names, read):
        members = {name: len(read(name)) for name in names}
    file = {
        "path": os.fspath(path),
        "bytes": os.path.getsize(path),
        "sha256": sum_of_file(path),
        "members": members,
    }
    return header | {"file": file}


def sections(facts: dict[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """What to show: (title, rows of (name, text)); the first title is empty.

    Parameters
    ----------
    facts : dict
        What :func:`facts_of` gave.
    """
    notes = facts.get("metadata") or {}
    yield "", list(_summary(facts, notes))
    if columns := _columns(facts, notes):
        yield f"Columns ({len(notes.get('columns') or facts.get('columns') or [])})", columns
    ours = tuple(f"{entry['class']}(" for entry in facts.get("estimators", []))
    steps = [(one["name"], _short(one["is"])) for one in facts.get("steps", [])]
    if steps := [step for step in steps if not step[1].startswith(ours or "\0")]:
        yield "Steps before it" if ours else "Steps", steps
    several = len(facts.get("estimators", [])) > 1
    for k, entry in enumerate(facts.get("estimators", [])):
        title = f"{entry['class']} {k + 1}" if several else str(entry["class"])
        yield title, list(_estimator(entry))
    if "network" in facts:
        yield "Network", list(_network(facts["network"]))
    metrics = notes.get("metrics")
    if isinstance(metrics, dict) and metrics:
        yield "Metrics", [(_name(name), _metric(value)) for name, value in metrics.items()]
    rest = {k: v for k, v in notes.items() if k not in ("target", "columns", "metrics")}
    if rest:
        yield "Notes", [(_name(name), _short(_note(value))) for name, value in rest.items()]
    yield "File", list(_file(facts))


def _name(name: Any) -> str:
    return str(name).replace("_", " ")


def _metric(value: Any) -> str:
    """A metric, with its interval if it has one."""
    if isinstance(value, dict) and {"value", "low", "high"} <= set(value):
        low, high = number(value["low"]), number(value["high"])
        return f"{number(value['value'])}  ({low} to {high})"
    return _note(value)


def _note(value: Any) -> str:
    """The user's metadata, as short as possible."""
    if isinstance(value, dict):
        parts = [
            f"{key} ({_note(one)})" if isinstance(one, dict) else f"{key} {_note(one)}"
            for key, one in value.items()
        ]
        return ", ".join(parts) or "none"
    if isinstance(value, list):
        return ", ".join(map(_note, value)) or "none"
    return number(value) if isinstance(value, float) else "none" if value is None else str(value)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _summary(facts: dict[str, Any], notes: dict[str, Any]) -> Iterator[tuple[str, str]]:
    kind = facts["model"]
    inside = [entry["class"] for entry in facts.get("estimators", [])]
    if facts["kind"] == "pipeline" and inside:
        kind = f"{inside[-1]} in a {kind}"
    yield "model", kind
    target, classes = notes.get("target"), facts.get("classes")
    if classes is not None:
        text = listed([str(one) for one in classes])
        count = f"{len(classes)} classes" if len(classes) != 1 else "1 class"
        yield "predicts", f"{target}: {text}" if target else f"{count}: {text}"
    elif target:
        yield "predicts", str(target)
    decision = notes.get("decision")
    if isinstance(decision, dict) and "threshold" in decision:
        least = number(decision["threshold"])
        yield "decides", f"for {decision.get('positive')} from a probability of {least}"
    if "created" in facts:
        yield "written", facts["created"].replace("T", " ").replace("Z", " UTC")
    yield "with", ", ".join(f"{name} {version}" for name, version in facts["versions"].items())


def _columns(facts: dict[str, Any], notes: dict[str, Any]) -> list[tuple[str, str]]:
    """Columns by kind."""
    by_kind: dict[str, list[str]] = {}
    for column in notes.get("columns") or facts.get("columns") or []:
        if isinstance(column, dict):
            by_kind.setdefault(str(column.get("kind") or "any"), []).append(str(column.get("name")))
        else:
            by_kind.setdefault("any", []).append(str(column))
    return [(kind.replace("_", " "), listed(names)) for kind, names in by_kind.items()]


def _estimator(entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    parameters, fitted = entry["parameters"], entry["fitted"]
    if fitted is None:
        yield "layers", "not fitted"
    elif "parts" in entry:
        yield from _parts(entry["parts"], fitted)
    else:
        layers = entry.get("layers", {})
        sizes = [f"{n:,}" for n in layers.get("sizes", [])]
        names = _activations(parameters.get("activation"), len(sizes) - 2)
        names = ["", *names, str(layers.get("output_activation", ""))]
        pairs = zip(sizes, names, strict=False)
        yield "layers", " → ".join(n if f == "identity" else f"{n} {f}".strip() for n, f in pairs)
        yield "weights", f"{layers.get('n_parameters', 0):,}, {layers.get('dtype', '')}"
    changed = entry.get("changed", [])
    text = ", ".join(f"{name}={said(parameters.get(name), True)}" for name in changed)
    yield "parameters", text or "all as they are by default"
    if fitted is not None:
        yield from _training(fitted)


def _parts(parts: list[dict[str, Any]], fitted: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The models of a blend, and how good it is."""
    for one in parts:
        text = f"{number(one['weight'])} of the blend"
        if "members" in one:
            hidden = " × ".join(map(str, one["hidden"]))
            text += f": {one['members']} networks, {hidden} {one['activation']}"
            text += f", {one['epochs']} epochs, the best of them {one['best_epoch']} (from 0)"
        yield str(one["part"]), text
    score, loss = number(fitted.get("oof_score_")), number(fitted.get("oof_loss_"))
    yield "out of fold", f"score {score}, loss {loss} on {fitted.get('n_rows_', 0):,} rows"


def _activations(given: Any, n: int) -> list[str]:
    if isinstance(given, dict) and "$tuple" in given:
        given = given["$tuple"]
    return [said(one) for one in given] if isinstance(given, list) else [said(given)] * n


def _training(fitted: dict[str, Any]) -> Iterator[tuple[str, str]]:
    history = fitted.get("history_")
    columns = history if isinstance(history, dict) else {}
    n = len(fitted.get("loss_curve_", []))
    if not n:
        return
    seconds = sum(one for one in columns.get("seconds", []) if isinstance(one, float))
    best = fitted.get("best_iteration_")
    kept = (
        ""
        if not isinstance(best, int) or best == n
        else f", the best of them epoch {best - 1} (from 0)"
    )
    yield "training", f"{n:,} epochs{kept}" + (f", {duration(seconds)}" if seconds else "")
    for name, label in (
        ("loss_curve_", "loss"),
        ("validation_loss_curve_", "validation loss"),
        ("validation_scores_", "validation score"),
    ):
        values = [one if isinstance(one, int | float) else math.nan for one in fitted[name] or []]
        values = [one for one in values if math.isfinite(one)]
        if values:
            yield label, f"{number(values[0])} {curve(values)} {number(values[-1])}"


def _network(entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    sizes = [f"{n:,}" for n in entry["sizes"]]
    kinds = [said(one) for one in entry["layers"]]
    names = [said(one) for one in entry["activation"]]
    steps = [
        " ".join((n, *(one for one in (kind, name) if one not in ("affine", "identity"))))
        for n, kind, name in zip(sizes[1:], kinds, names, strict=False)
    ]
    yield "layers", " → ".join([sizes[0], *steps])
    yield "loss", said(entry["loss"])
    yield "weights", str(entry["dtype"])


def _file(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    file = facts["file"]
    yield "path", file["path"]
    parts = ", ".join(f"{name} {size(n)}" for name, n in file["members"].items())
    yield "size", f"{size(file['bytes'])}: {parts}"
    yield "SHA-256", file["sha256"]
    yield "checked", "every byte agrees with its checksum"


def said(node: Any, quoted: bool = False) -> str:
    """A value of the header, as one would write it in Python.

    Parameters
    ----------
    node :
        As it came from JSON.
    quoted : bool, default False
        Put texts into quotation marks.
    """
    if isinstance(node, str):
        return repr(node) if quoted else node
    if isinstance(node, list):
        return f"[{', '.join(said(one, True) for one in node)}]"
    if not isinstance(node, dict):
        return number(node) if isinstance(node, float) else str(node)
    tag = next(iter(node), "")
    content = node.get(tag)
    if tag == "$tuple" and isinstance(content, list):
        inside = ", ".join(said(one, True) for one in content)
        return f"({inside},)" if len(content) == 1 else f"({inside})"
    if tag in ("$array", "$labels"):
        return "an array"
    if tag == "$random_state":
        return "RandomState(…)"
    if tag == "$numpy" and isinstance(content, list):
        return said(content[-1], True)
    if tag == "$dict" and isinstance(content, list):
        pairs = [f"{said(key, True)}: {said(one, True)}" for key, one in content]
        return f"{{{', '.join(pairs)}}}"
    if tag.startswith("$"):
        arguments = node.get("arguments")
        if arguments is None:
            return str(content)
        if isinstance(arguments, dict):
            inside = ", ".join(f"{key}={said(one, True)}" for key, one in arguments.items())
        else:
            inside = ", ".join(said(one, True) for one in arguments)
        return f"{content}({inside})"
    return f"{{{', '.join(f'{key}: {said(one, True)}' for key, one in node.items())}}}"


def listed(names: list[str]) -> str:
    """Names with commas; after some of them, how many more there are."""
    more = len(names) - SHOWN
    text = ", ".join(names[:SHOWN] if more > 1 else names)
    return f"{text} and {more:,} more" if more > 1 else text


def number(value: Any) -> str:
    """A number with four digits that count."""
    if not isinstance(value, float):
        return said(value)
    return f"{value:.4g}"


def size(n: int) -> str:
    """A number of bytes."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n >= scale:
            return f"{n / scale:.3g} {unit}"
    return f"{n} bytes"


def duration(seconds: float) -> str:
    """A time in seconds, minutes or hours."""
    if seconds < 60:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def curve(values: list[float]) -> str:
    """Values over time as a row of small bars, from the smallest to the largest."""
    n = min(CURVE, len(values))
    parts = [values[len(values) * i // n : len(values) * (i + 1) // n] for i in range(n)]
    means = [sum(part) / len(part) for part in parts]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(BARS[min(7, int((mean - low) / span * 8))] for mean in means)
