"""Which values a parameter of the model accepts, and the message for a wrong one.

Messages name the option, or the key in the file of settings, that the user wrote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from numbers import Integral, Real
from typing import Any

from sklearn.utils._param_validation import Interval, Options

from chainrule.base.validation import suggest
from chainrule.commands.options import option, parameters

_VALUE = r"('[^']*'|\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}|[\w+-]+(?:\.\d+)?)"


def check_value(name: str, value: Any, constraints: list[Any], written: str | None = None) -> None:
    """Refuse a value that a parameter does not take.

    Parameters
    ----------
    name : str
    value : anything
        Several values are a tuple.
    constraints : list
        As scikit-learn has them.
    written : str or None, default=None
        What the user wrote for the name, such as "s.toml: alpha"; None: the option.

    Raises
    ------
    ValueError
    """
    kinds = [each for each in constraints if not _is_several(each)]
    several = name != "class_weight" and len(kinds) < len(constraints)
    listed = several and isinstance(value, tuple)
    for each in value if listed else (value,):
        if any(_fits(each, kind) for kind in kinds if not (listed and kind is None)):
            continue
        names = sorted(n for kind in kinds for n in getattr(kind, "options", ()) if _is_text(n))
        said = f"{written or option(name)} cannot be {_shown(each)}"
        if _is_text(each) and names:
            raise ValueError(f"{said}; {suggest(each, names)}")
        takes = " or ".join(filter(None, map(_in_words, kinds)))
        if several:
            example = {"hidden_layer_sizes": "64,32", "activation": "relu,tanh"}.get(
                name, "0.1,0.2"
            )
            if written:
                example = ", ".join(map(_quoted, example.split(",")))
            how = f"a list of such, as in [{example}]" if written else f"several, as in {example}"
            takes += f", or {how}"
        if written and _is_text(each) and re.fullmatch(r"[-+.\deE]+|true|false", each):
            takes += "; leave out the quotes"
        raise ValueError(f"{said}; it takes {takes}")


def _is_several(kind: Any) -> bool:
    return kind in (list, tuple) or (isinstance(kind, str) and kind == "array-like")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _quoted(text: str) -> str:
    return text if text[0].isdigit() else f'"{text}"'


def _fits(value: Any, kind: Any) -> bool:
    if kind is None:
        return value is None
    if kind == "boolean":
        return isinstance(value, bool)
    if kind in (str, dict):
        return isinstance(value, kind)
    if isinstance(kind, Interval) and isinstance(value, bool):
        return False
    return isinstance(kind, Interval | Options) and bool(kind.is_satisfied_by(value))


def _in_words(kind: Any) -> str:
    if kind is None:
        return "none"
    if kind == "boolean":
        return "true or false"
    if kind is str:
        return "a name"
    if kind is dict:
        return "a table of names and numbers"
    if isinstance(kind, Options):
        return ", ".join(sorted(map(str, kind.options)))
    if not isinstance(kind, Interval):
        return ""
    what = "a whole number" if kind.type is Integral else "a number"
    ends = []
    if kind.left is not None:
        least = "of at least" if kind.closed in ("left", "both") else "above"
        ends.append(f"{least} {kind.left}")
    if kind.right is not None:
        most = "below" if kind.closed in ("left", "neither") else "of at most"[3 * bool(ends) :]
        ends.append(f"{most} {kind.right}")
    return f"{what} {' and '.join(ends)}".strip()


def _shown(value: Any) -> str:
    if isinstance(value, bool | None):
        return str(value).lower()
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_numbers(name: str, found: Mapping[Any, Any], written: str | None = None) -> None:
    """Refuse what is no number in a table of names and numbers.

    Parameters
    ----------
    name : str
        A parameter.
    found : dict
    written : str or None, default=None
        See :func:`check_value`.

    Raises
    ------
    ValueError
    """
    for key, value in found.items():
        if isinstance(value, bool) or not isinstance(value, Real):
            raise ValueError(
                f"{written or option(name)}: what stands for {str(key)!r} is no number: "
                f"{_shown(value)}"
            )


def of_options(message: str, written: Mapping[str, str]) -> str:
    """A message about an estimator's parameters, rewritten to name options.

    Parameters
    ----------
    message : str
    written : dict of str to str
        What the user wrote for a parameter, where that is no option; see :func:`check_value`.

    Examples
    --------
    >>> of_options("dropout=0.2 has no meaning for solver='lbfgs'", {})
    '--dropout 0.2 has no meaning for --solver lbfgs'
    """
    begins = re.match(r"(\w+)(?==| has | must | levels |: )", message)
    of_file = written.get(begins[1]) if begins else None
    for name in parameters():
        message = re.sub(rf"\b{name}={_VALUE}", partial(_given_by, name), message)
    if begins and begins[1] in parameters() and message.startswith(begins[1]):
        message = (of_file or option(begins[1])) + message[begins.end() :]
    elif of_file:
        message = f"{of_file.rpartition(': ')[0]}: {message}"
    return message


def _given_by(name: str, found: re.Match[str]) -> str:
    return _given(name, found[1])


def _given(name: str, value: str) -> str:
    """A parameter and its value as on the command line."""
    if value in ("True", "False") and isinstance(parameters()[name].default, bool):
        return option(name) if value == "True" else f"--no-{option(name)[2:]}"
    if value[0] in "([":
        value = ",".join(part.strip(" '") for part in value[1:-1].split(",") if part.strip())
    return f"{option(name)} {value[1:-1] if value[0] == chr(39) else value.lower()}"
