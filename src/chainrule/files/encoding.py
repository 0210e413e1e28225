"""Values as a model file holds them: JSON that can be read, and arrays beside it.

What JSON has is written as it is. All else is an object with one key that begins with "$", or an
array that goes to the other member and is named. Components of ours, such as ``losses.huber(0.5)``,
become their name and arguments and are made anew from a table: a file can name what we have and
nothing else. Of some, a few numbers may be other than in the table; they are written beside the
name.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from chainrule.base.types import Array
from chainrule.equations import activations, initializers, layers, losses, optimizers, schedules
from chainrule.equations.components import changes_of
from chainrule.files.container import ModelFileError
from chainrule.monitoring.callbacks import Callback, EarlyStopping, ProgressBar
from chainrule.training.distortions import ImageDistortion

# By kind: components by name, and the functions that make others, by the name that is written.
TABLES: dict[str, Mapping[str, Any]] = {
    "activation": activations.ACTIVATIONS,
    "loss": losses.LOSSES,
    "optimizer": {
        **optimizers.OPTIMIZERS,
        "adam as in scikit-learn": optimizers.ADAM_AS_IN_SKLEARN,
    },
    "initializer": initializers.INITIALIZERS,
    "schedule": schedules.SCHEDULES,
    "layer": {name: layer for name, layer in layers.LAYERS.items() if not layer.made_by},
    "augmentation": {},
}
MAKERS: dict[str, Mapping[str, Callable[..., Any]]] = {
    "activation": activations.MAKERS,
    "loss": losses.MAKERS,
    "schedule": schedules.MAKERS,
    "layer": layers.MAKERS,
    "augmentation": {"image_distortion": ImageDistortion},
    # Others write files, which loading a model shall never lead to.
    "callback": {"EarlyStopping": EarlyStopping, "ProgressBar": ProgressBar},
}
KINDS = {
    activations.Activation: "activation",
    losses.Loss: "loss",
    optimizers.Optimizer: "optimizer",
    initializers.Initializer: "initializer",
    schedules.Schedule: "schedule",
    schedules.Plateau: "schedule",
    layers.Layer: "layer",
    ImageDistortion: "augmentation",
}
# Fields that may be other than in the table or as they were made.
CHANGEABLE = {"layer": {"rate_factors", "decay_factors"}, "optimizer": {"hyper"}}
NUMBERS = {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
NUMBERS |= {"float16", "float32", "float64"}
ARRAYS = NUMBERS | {"bool"}
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
DEEPEST = 40  # containers in containers
MOST_NUMBERS_AS_KEYS = 2_000


def encode(value: Any, where: str, arrays: dict[str, Array]) -> Any:
    """A value as JSON.

    Parameters
    ----------
    value :
        None, bool, numbers, str, lists, tuples, dicts, arrays, scikit-learn's RandomState, and
        the components that a network and its training are made of.
    where : str
        Its name, for arrays and errors.
    arrays : dict of str to array
        Arrays of numbers are put in here.

    Raises
    ------
    ModelFileError
        A value that cannot be stored; the message says which, and what to do.
    """
    if value is None or type(value) in (str, bool, int):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, np.generic):
        return _encode_scalar(value, where, arrays)
    if isinstance(value, np.ndarray):
        return _encode_array(value, where, arrays)
    if type(value) in (list, tuple):
        parts = [encode(one, f"{where}.{i}", arrays) for i, one in enumerate(value)]
        return parts if type(value) is list else {"$tuple": parts}
    if type(value) is dict:
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: encode(one, f"{where}.{key}", arrays) for key, one in value.items()}
        pairs = [
            [encode(key, where, arrays), encode(one, f"{where}.{key}", arrays)]
            for key, one in value.items()
        ]
        return {"$dict": pairs}
    if isinstance(value, np.random.RandomState):
        return _encode_generator(value, where, arrays)
    return _encode_component(value, where, arrays)


def _encode_scalar(value: Any, where: str, arrays: dict[str, Array]) -> Any:
    kind = value.dtype.name
    if isinstance(value, np.str_):
        return {"$numpy": ["str", str(value)]}
    if kind not in ARRAYS:
        raise _cannot(where, value, "use a Python number instead")
    return {"$numpy": [kind, encode(value.item(), where, arrays)]}


def _encode_array(value: Array, where: str, arrays: dict[str, Array]) -> Any:
    if value.dtype.name in ARRAYS:
        arrays[where] = np.ascontiguousarray(value).reshape(value.shape)
        return {"$array": where}
    if value.ndim == 1 and value.dtype.kind in "OU":
        labels = [one.item() if isinstance(one, np.generic) else one for one in value.tolist()]
        for one in labels:
            if one is not None and type(one) not in (str, bool, int, float):
                raise _cannot(where, one, "use labels that are strings or numbers")
        return {
            "$labels": [encode(one, where, arrays) for one in labels],
            "dtype": "object" if value.dtype == object else value.dtype.str[1:],
        }
    raise _cannot(where, value, f"arrays of dtype {value.dtype} are not kept")


def _encode_generator(value: Any, where: str, arrays: dict[str, Array]) -> Any:
    state = value.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        raise _cannot(where, value, "use a whole number, or numpy.random.RandomState(seed)")
    arrays[where] = np.array(state["state"]["key"], np.uint32)
    gauss = [state["has_gauss"], encode(state["gauss"], where, arrays)]
    return {"$random_state": [where, int(state["state"]["pos"]), *gauss]}


def _encode_component(value: Any, where: str, arrays: dict[str, Array]) -> Any:
    """A component of ours, by its name or by what it is made of."""
    if isinstance(value, Callback):
        name = type(value).__name__
        if MAKERS["callback"].get(name) is not type(value):
            raise _cannot(
                where,
                value,
                "it is code of yours, or writes files, and is of use in a fit alone; take it "
                "off first: model.set_params(callbacks=None)",
            )
        return _made(value, "callback", name, where, arrays)
    kind = KINDS.get(type(value))
    if kind is None:
        raise _cannot(
            where,
            value,
            "files hold no Python code; replace it by a value or a name, or by None if "
            "the fitted model does not need it",
        )
    name = getattr(value, "name", "plateau")
    known = TABLES[kind].get(name)
    if known is not None and (known is value or known == value):
        return {f"${kind}": name}
    if value is optimizers.ADAM_AS_IN_SKLEARN:
        return {"$optimizer": "adam as in scikit-learn"}
    if kind == "loss" and losses.FUSED.get((name, value.fused)) == value:
        return {"$loss": name}  # whoever has it fuses it again
    if name in MAKERS.get(kind, {}):
        return _made(value, kind, name, where, arrays)
    if known is not None and _changes_allowed(kind, known, changes := changes_of(value, known)):
        return {f"${kind}": name, "changes": encode(changes, where, arrays)}
    raise _cannot(
        where,
        value,
        f"it is made of Python functions of yours, and files hold no code; use one of "
        f"chainrule's ({', '.join(sorted(TABLES[kind]))}), or keep coefs_ and intercepts_ "
        "with numpy.savez and build the model in your program",
    )


def _made(value: Any, kind: str, name: str, where: str, arrays: dict[str, Array]) -> Any:
    """A component made by a function of ours: that function's arguments and what was changed."""
    changes: dict[str, Any] = {}
    if dataclasses.is_dataclass(value):
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        arguments: Any = {one: getattr(value, one) for one in fields}
    elif kind == "schedule" and isinstance(value.factor, partial):
        arguments = dict(value.factor.keywords)
    elif getattr(value, "made_by", ()) and value.made_by[0] is MAKERS[kind][name]:
        arguments = list(value.made_by[1:])
        changes = changes_of(value, value.made_by[0](*arguments))
    else:
        raise _cannot(where, value, f"it has the name of a {kind} of chainrule's, but is another")
    made = {f"${kind}": name, "arguments": encode(arguments, where, arrays)}
    if not changes:
        return made
    if not _changes_allowed(kind, value, changes):
        raise _cannot(
            where,
            value,
            f"its {' and '.join(sorted(changes))} are not as {name} makes them, and files do not "
            "hold that",
        )
    return made | {"changes": encode(changes, where, arrays)}


def _cannot(where: str, value: Any, advice: str) -> ModelFileError:
    text = getattr(value, "name", None) or repr(value)
    named = where.partition(".")[2] or where
    return ModelFileError(
        f"{named}: {str(text)[:80]} ({type(value).__name__}) cannot be stored in a model file: "
        f"{advice}"
    )


def decode(node: Any, arrays: dict[str, Array], depth: int = 0) -> Any:
    """What :func:`encode` was given.

    Parameters
    ----------
    node :
        As it came from JSON.
    arrays : dict of str to array
        Those that are used are taken out.

    Raises
    ------
    ModelFileError, ValueError, TypeError, KeyError
        It is nothing that `encode` writes.
    """
    if depth > DEEPEST:
        raise ModelFileError(f"values are nested deeper than {DEEPEST}")
    if isinstance(node, list):
        return [decode(one, arrays, depth + 1) for one in node]
    if not isinstance(node, dict):
        return node
    tag = next((key for key in node if key.startswith("$")), None)
    if tag is None:
        return {key: decode(one, arrays, depth + 1) for key, one in node.items()}
    content = node[tag]
    extra = {"$labels": {"dtype"}}.get(tag, set())
    extra = extra | ({"arguments"} if tag[1:] in MAKERS else set())
    extra = extra | ({"changes"} if tag[1:] in CHANGEABLE else set())
    if not set(node) <= {tag, *extra}:
        raise ModelFileError(f"{tag} has the keys {', '.join(node)}")
    if tag == "$float":
        return NOT_FINITE[content]
    if tag == "$tuple":
        return tuple(decode(list(content), arrays, depth + 1))
    if tag == "$dict":
        pairs = decode(list(content), arrays, depth + 1)
        check_keys([key for key, _ in pairs])
        return {key: one for key, one in pairs}  # noqa: C416 - a pair that is none shall fail
    if tag == "$array":
        return arrays.pop(content)
    if tag == "$labels":
        return _decode_labels(decode(list(content), arrays, depth + 1), node["dtype"])
    if tag == "$numpy":
        kind, number = content
        number = decode(number, arrays, depth + 1)
        if kind == "str":
            return np.str_(number)
        if kind not in ARRAYS or not isinstance(number, bool | int | float):
            raise ModelFileError(f"{kind} {number!r} is no number")
        return np.dtype(kind).type(number)
    if tag == "$random_state":
        return _decode_generator(content, arrays)
    return _decode_component(tag[1:], node, arrays, depth)


def check_keys(keys: list[Any]) -> None:
    """Refuse so many keys that are no texts that looking them up could take minutes.

    Texts are hashed with a secret; numbers are not, so that a file may hold many of one hash,
    and a dict of n of them takes n² steps.

    Raises
    ------
    ModelFileError
    """
    if sum(not isinstance(key, str) for key in keys) > MOST_NUMBERS_AS_KEYS:
        raise ModelFileError(
            f"it has a dict or a set with more than {MOST_NUMBERS_AS_KEYS:,} keys that are no texts"
        )


def _decode_labels(labels: list[Any], kind: Any) -> Array:
    if kind == "object":
        found = np.empty(len(labels), object)
        found[:] = labels
        if all(one is None or type(one) in (str, bool, int, float) for one in labels):
            return found
    elif kind.startswith("U") and all(isinstance(one, str) for one in labels):
        width = int(kind[1:])
        if max([1, *map(len, labels)]) <= width and width * max(1, len(labels)) <= 1 << 24:
            return np.array(labels, f"U{width}")
    raise ModelFileError(f"its labels are not of dtype {kind}")


def _decode_generator(content: Any, arrays: dict[str, Array]) -> Any:
    name, position, has_gauss, gauss = content
    key = arrays.pop(name)
    gauss = decode(gauss, arrays, DEEPEST)
    # NumPy itself would read beyond the end of the key.
    if key.shape != (624,) or key.dtype != np.uint32 or not 0 <= int(position) <= 624:
        raise ModelFileError("the state of a random number generator is damaged")
    if has_gauss not in (0, 1) or not isinstance(gauss, float):
        raise ModelFileError("the state of a random number generator is damaged")
    made = np.random.RandomState()
    state = {"key": key, "pos": int(position)}
    made.set_state(
        {
            "bit_generator": "MT19937",
            "state": state,
            "has_gauss": int(has_gauss),
            "gauss": gauss,
        }
    )
    return made


def _decode_component(kind: str, node: dict[str, Any], arrays: dict[str, Array], depth: int) -> Any:
    name = node[f"${kind}"]
    if "changes" in node:
        plain = {key: value for key, value in node.items() if key != "changes"}
        component = _decode_component(kind, plain, arrays, depth)
        changes = decode(node["changes"], arrays, depth + 1)
        if not _changes_allowed(kind, component, changes):
            raise ModelFileError(f"the changes of the {kind} {name!r} are not what they should be")
        return component._replace(**changes)
    if "arguments" not in node:
        if name not in TABLES.get(kind, {}):
            raise ModelFileError(f"this chainrule has no {kind} {name!r}")
        return TABLES[kind][name]
    if name not in MAKERS.get(kind, {}):
        raise ModelFileError(f"this chainrule makes no {kind} {name!r}")
    arguments = decode(node["arguments"], arrays, depth + 1)
    make = MAKERS[kind][name]
    return make(**arguments) if isinstance(arguments, dict) else make(*arguments)


def _changes_allowed(kind: str, component: Any, changes: Any) -> bool:
    """Whether changes of a component are those that files hold: other numbers in some fields."""
    if not isinstance(changes, dict) or not changes.keys() <= CHANGEABLE.get(kind, set()):
        return False
    for name, value in changes.items():
        old = getattr(component, name)
        if isinstance(old, dict):
            alike = isinstance(value, dict) and list(value) == list(old)
            given = list(value.values()) if alike else []
        else:
            alike = isinstance(value, list | tuple) and len(value) == len(old)
            given = list(value) if alike else []
        if not alike or not all(
            isinstance(one, int | float | np.number)
            and not isinstance(one, bool)
            and math.isfinite(one)
            for one in given
        ):
            return False
    return True
