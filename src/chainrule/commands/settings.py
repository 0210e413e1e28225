"""The settings of train and tune: their options, over a file of them, over their defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chainrule.commands.options import (
    option,
    parameters,
    read_config,
    value_in_toml,
    value_of,
)
from chainrule.estimators.choosing import MODELS, NETWORK, model_for, without_effect

# What --config may hold beside the model's parameters, and of which type.
SETTINGS: dict[str, tuple[type, ...]] = {
    "target": (str,),
    "output": (str,),
    "task": (str,),
    "model": (str,),
    "test_fraction": (float, int),
    "cv": (int,),
    "ignore": (list,),
    "kind": (dict,),
    "max_levels": (int,),
    "seed": (int,),
    "table": (str,),
    "query": (str,),
    "missing": (list,),
    "date_format": (list,),
    "test": (str,),
    "time": (str,),
    "group": (str,),
    "weight": (str,),
    "positive": (str,),
    "cost": (str,),
    "precision": (float, int),
    "dask": (str,),
}

# The same of the command tune.
OF_TUNE: dict[str, tuple[type, ...]] = {
    name: types
    for name, types in SETTINGS.items()
    if name not in ("model", "positive", "cost", "precision", "dask")
} | {
    "budget": (str, float, int),
    "trials": (int,),
    "jobs": (int,),
    "study": (str,),
    "metric": (str,),
    "compare_with": (str,),
}

TAKEN: dict[tuple[type, ...], str] = {
    (str,): "a text",
    (int,): "a whole number",
    (float, int): "a number",
    (str, float, int): 'a duration such as "5m"',
    (list,): "a list of texts",
    (dict,): 'a table such as {zip = "categorical"}',
}
LARGEST_SEED = 2**32 - 1
# What needs all rows in one place, and cannot be done on a cluster.
NOT_ON_CLUSTER = {
    "cv": "rows are held out there",
    "cost": "its threshold is chosen by training several times",
    "precision": "its threshold is chosen by training several times",
    "table": "the workers read files, and no databases",
    "query": "the workers read files, and no databases",
}


def settings_of(
    config: Path | None,
    own: Mapping[str, Any],
    given: Mapping[str, Any],
    beside: Iterable[str] = (),
    *,
    command: str = "train",
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Put options over a file of settings, and that over the defaults.

    Parameters
    ----------
    config : Path or None
        The file.
    own : dict of str to anything
        Options that are no parameters of the model; None: not given.
    given : dict of str to (str, bool or None)
        Options that are.
    beside : iterable of str, default=()
        Names of other options that are given, and no settings, such as "resume".
    command : {"train", "tune"}, default="train"

    Returns
    -------
    settings : dict
        What to do. The model of train is, unless named, as :func:`model_for` says.
    chosen : dict
        Parameters of the model.
    written : dict of str to str
        What the user called those that are from the file.

    Raises
    ------
    ValueError
        A setting is unknown or of a wrong type, or two do not go together.
    """
    known = OF_TUNE if command == "tune" else SETTINGS
    found = {} if config is None else read_config(config, known, command)
    for name, types in known.items():
        value = found.get(name)
        if value is not None and (not isinstance(value, types) or isinstance(value, bool)):
            shown = str(value).lower() if isinstance(value, bool) else repr(value)
            raise ValueError(f"{config}: {name} cannot be {shown}; it takes {TAKEN[types]}")
        texts: Any = value.values() if isinstance(value, dict) else value
        if isinstance(value, list | dict) and not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{config}: {name} holds something that is no text")
        if value == "":
            raise ValueError(f"{config}: {name} is empty; give a value, or leave the line out")
    fewest_folds = 1 if command == "tune" else 2
    for name, least in (("seed", 0), ("cv", fewest_folds), ("max_levels", 2), ("trials", 1)):
        if found.get(name) is not None and found[name] < least:
            raise ValueError(f"{config}: {name} must be at least {least}; got {found[name]}")
    if found.get("seed") is not None and found["seed"] > LARGEST_SEED:
        raise ValueError(f"{config}: seed must be at most {LARGEST_SEED}; got {found['seed']}")
    defaults: dict[str, Any] = {
        "output": "model.chainrule",
        "ignore": [],
        "kind": {},
        "seed": 0,
    }
    settings = {
        name: next((v for v in (own[name], found.get(name)) if v is not None), defaults.get(name))
        for name in known
    }
    held = float(settings["test_fraction"] or 0)
    if not 0 <= held <= 0.9:
        called = f"{config}: test_fraction" if own["test_fraction"] is None else "--test-fraction"
        raise ValueError(f"{called} is from 0 to 0.9, not {held:g}")
    _check_together(settings, command)
    options = {name: value_of(name, text) for name, text in given.items() if text is not None}
    others = [name for name in parameters() if name in found and name not in options]
    empty = next((name for name in others if found[name] == ""), None)
    if empty is not None:
        raise ValueError(f'{config}: {empty} is empty; give a value, or "none"')
    chosen = {name: value_in_toml(name, found[name]) for name in others} | options
    written = {name: f"{config}: {name}" for name in others}
    if command == "train":
        of_network = [name for name in ("max_levels", "dask") if settings[name] is not None]
        from_file = {name: f"{config}: {name}" for name in SETTINGS if own[name] is None}
        settings["model"] = _model(
            settings["model"], [*chosen, *of_network, *beside], from_file | written
        )
    if settings["max_levels"] is None:
        settings["max_levels"] = 40
    return settings, chosen, written


def _model(asked: str | None, given: Sequence[str], written: Mapping[str, str]) -> str:
    """The model that is asked for, or that goes with what is given, if it has all of that."""
    model = model_for(given) if asked is None else asked
    if model not in MODELS:
        called = written.get("model", "--model")
        raise ValueError(f"{called} is {', '.join(MODELS[:-1])} or {MODELS[-1]}, not {model!r}")
    for name in without_effect(model, given):
        called = written.get(name, option(name))
        raise ValueError(f"{called} is a setting of a plain network; give --model {NETWORK}")
    return model


def _check_together(settings: Mapping[str, Any], command: str) -> None:
    """Refuse ways to judge that exclude one another."""
    of_train = (
        ("cv", "test_fraction", "--cv evaluates without --test-fraction"),
        ("test", "cv", "--test evaluates without --cv"),
    )
    excluded = (
        *(of_train if command == "train" else ()),
        ("test", "test_fraction", "--test evaluates without --test-fraction"),
        ("test", "time", "--test says itself which rows are held out, without --time"),
        ("time", "cv", "--time holds out the latest rows, once, and --cv every row"),
        ("time", "group", "--time and --group hold out different rows"),
    )
    for one, other, why in excluded:
        if settings[one] is not None and settings[other] is not None:
            raise ValueError(f"{why}; give one of them")
    if settings.get("dask") is not None:
        for name, why in NOT_ON_CLUSTER.items():
            if settings[name] is not None:
                raise ValueError(f"--{name} does not go with --dask: {why}")
        if settings["test"] is not None and settings["group"] is not None:
            raise ValueError(
                "--group with --test does not go with --dask: that no group is in both tables is "
                "not looked after there"
            )
        if settings["model"] not in (None, NETWORK):
            raise ValueError(
                f"--model {settings['model']} does not go with --dask, which trains a network"
            )
    if settings["time"] is not None and settings["test_fraction"] == 0:
        raise ValueError("--time holds out the latest rows, and --test-fraction 0 none")
