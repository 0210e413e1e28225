"""The estimators' parameters as options of a command, and from a TOML file.

Names, defaults and help are read from the source of `MLPClassifier` and `MLPRegressor`, not by
importing them: that would load scikit-learn for every ``--help``.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

# How `chainrule train --help` groups them; what is in none comes under the last.
GROUPS: dict[str, tuple[str, ...]] = {
    "Network": (
        "hidden_layer_sizes",
        "activation",
        "output_activation",
        "init",
        "normalization",
        "standardize",
    ),
    "Loss": ("loss", "class_weight", "label_smoothing", "quantile"),
    "Training": (
        "solver",
        "learning_rate",
        "learning_rate_init",
        "batch_size",
        "max_iter",
        "time_limit",
        "shuffle",
        "engine",
    ),
    "When to stop": (
        "early_stopping",
        "validation_fraction",
        "n_iter_no_change",
        "scoring",
        "tol",
    ),
    "Against overfitting": (
        "alpha",
        "l1",
        "weight_decay",
        "dropout",
        "input_noise",
        "max_norm",
        "ema_decay",
    ),
    "Finer settings": (),
}
# What has another name here, no value that can be written, or no meaning for tables.
LEFT_OUT = {
    "random_state": "--seed",
    "verbose": "--quiet",
    "callbacks": None,
    "augment": None,
    "coefs_init": None,
    "intercepts_init": None,
    "warm_start": None,
    "missing": None,
    "transform_layer": None,
}
# As in chainrule.estimators.tabular; a test holds them to it.
TABLE_DEFAULTS: dict[str, Any] = {
    "early_stopping": True,
    "max_iter": 500,
    "n_iter_no_change": 20,
    "scoring": "loss",
    "learning_rate_init": 0.002,
    "batch_size": 32,
    "dropout": 0.1,
    "standardize": None,  # false, or "target" in a regression
}

# Where the docstring is about Python, or long.
ABOUT = {
    "hidden_layer_sizes": "Units in each hidden layer, such as 64,32; none for no hidden layer; "
    "at most 30 layers and 100 million weights",
    "activation": "Of the hidden layers, one for all or one each: relu, tanh, gelu and others",
    "output_activation": "Of the output layer, if not what goes with the target",
    "init": "Starting values: auto, he_normal, glorot_uniform and others",
    "standardize": "Standardise once more inside the network: true, false, or target, which is "
    "the default for numbers",
    "solver": "The optimiser: adam, adamw, sgd, nadam, lion and others, or lbfgs on all rows",
    "learning_rate": "How the step size changes: constant, invscaling, plateau, cosine and others",
    "learning_rate_init": "The step size that training starts with",
    "batch_size": "Rows in a mini-batch; auto: 200, or all if there are fewer",
    "loss": "For classes log_loss or focal; for numbers squared_error, absolute_error, huber, "
    "log_cosh, quantile, poisson, gamma, tweedie or gaussian",
    "class_weight": "'balanced', or a weight for each class, such as '{\"yes\": 5}'",
    "label_smoothing": "Part of a row's target that is spread over all classes",
    "quantile": "Level, or increasing levels such as 0.1,0.5,0.9, for loss quantile",
    "early_stopping": "Hold out rows and stop when the score on them stops improving",
    "validation_fraction": "Part of the rows to hold out for that",
    "scoring": "What decides on stopping and on the best epoch: loss, or a scorer of "
    "scikit-learn's such as roc_auc",
    "max_iter": "Most epochs; for lbfgs, most iterations",
    "max_fun": "Most evaluations of the loss, for lbfgs",
    "engine": "numpy, numba (compiled), or auto by the amount of work",
    "alpha": "L2 penalty on the weights",
    "l1": "L1 penalty on the weights",
    "weight_decay": "Decoupled weight decay; 0.01 for adamw, 0 otherwise",
    "normalization": "Normalise what goes into each hidden activation: batch or layer",
    "dropout": "Probability with which a hidden unit is dropped, one for all layers or one each",
    "ema_decay": "Predict with a running average of the parameters; the part kept a step",
    "solver_options": "The optimiser's other numbers, by name",
    "clip_norm": "Bound on the gradient's norm",
    "clip_value": "Bound on each entry of the gradient",
    "momentum": "For solver sgd",
    "nesterovs_momentum": "Look ahead along the momentum; for solver sgd",
    "beta_1": "For adam, adamw, nadam and radam",
    "beta_2": "For adam, adamw, nadam and radam",
    "epsilon": "For adam, adamw, nadam and radam",
    "power_t": "Exponent of learning rate invscaling",
    "keep_optimizer_state": "Store the optimiser's state, so that training can go on exactly",
    "compat": "sklearn: scikit-learn's behaviour where ours differs, slips included",
}


class Parameter(NamedTuple):
    """A parameter of `MLPClassifier`, `MLPRegressor` or both.

    Attributes
    ----------
    name : str
    default : anything
        In a pipeline for tables.
    kind : str
        As the docstring has it, such as "float".
    about : str
        The first sentence of its description.
    tasks : tuple of str
        "classification", "regression" or both.
    """

    name: str
    default: Any
    kind: str
    about: str
    tasks: tuple[str, ...]


@cache
def parameters() -> dict[str, Parameter]:
    """Every parameter that can be an option, by its name."""
    found: dict[str, Parameter] = {}
    for task, module, name in (
        ("classification", "classifier", "MLPClassifier"),
        ("regression", "regressor", "MLPRegressor"),
    ):
        source = (Path(__file__).parents[1] / "estimators" / f"{module}.py").read_text(
            encoding="utf-8"
        )
        class_ = next(
            node
            for node in ast.parse(source).body
            if isinstance(node, ast.ClassDef) and node.name == name
        )
        described = _described(ast.get_docstring(class_) or "")
        for parameter, default in _defaults(class_).items():
            if parameter in LEFT_OUT:
                continue
            kind, about = described[parameter]
            if parameter in found:
                known = found[parameter]
                same = known.default if parameter != "loss" else None
                found[parameter] = known._replace(tasks=(*known.tasks, task), default=same)
            else:
                known = Parameter(parameter, default, kind, ABOUT.get(parameter, about), (task,))
                found[parameter] = known._replace(default=TABLE_DEFAULTS.get(parameter, default))
    return found


def _defaults(class_: ast.ClassDef) -> dict[str, Any]:
    init = next(
        node
        for node in class_.body
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    )
    names = [argument.arg for argument in (*init.args.args[1:], *init.args.kwonlyargs)]
    values = [*init.args.defaults, *init.args.kw_defaults]
    return {n: ast.literal_eval(v) for n, v in zip(names, values, strict=True) if v is not None}


def _described(doc: str) -> dict[str, tuple[str, str]]:
    """(kind, first sentence) of each parameter in a numpydoc docstring."""
    section = doc.split("Parameters\n----------\n")[1].split("\nAttributes\n", maxsplit=1)[0]
    found = {}
    for head, body in re.findall(r"^(\S[^\n]*) : ([^\n]*(?:\n    [^\n]*)*)", section, re.MULTILINE):
        kind, *lines = body.split("\n")
        text = " ".join(line.strip() for line in lines)
        sentence = re.split(r"(?<=[a-z0-9)'²])\. (?=[A-Z'])", text)[0].rstrip(".")
        sentence = sentence.replace("``", "").replace("`", "")
        for name in head.split(", "):
            found[name] = (re.sub(r",? default=.*", "", kind), sentence)
    return found


def _group(parameter: Parameter) -> str:
    return next((g for g, names in GROUPS.items() if parameter.name in names), [*GROUPS][-1])


def _option(parameter: Parameter) -> Any:
    """A parameter as typer takes it; every default is None, so that one sees what was given."""
    flag = "--" + parameter.name.replace("_", "-")
    panel = _group(parameter)
    about = parameter.about
    if len(parameter.tasks) == 1:
        about += f"; {parameter.tasks[0]} only"
    default = parameter.default
    if default is not None:
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
        shown = {"True": "yes", "False": "no"}.get(shown, shown)
        about += f" (default: {shown})"
    common: dict[str, Any] = {"rich_help_panel": panel, "help": about + ".", "show_default": False}
    if isinstance(default, bool):
        return Annotated[bool | None, typer.Option(f"{flag}/--no-{flag[2:]}", **common)]
    metavar = "VALUE"
    for word, shown in (("int", "INT"), ("float", "FLOAT"), ("str", "NAME"), ("{", "NAME")):
        if parameter.kind.startswith(word):
            metavar = shown
    if "list of" in parameter.kind or "array-like" in parameter.kind:
        metavar += "[,...]"
    if parameter.kind.startswith("dict"):
        metavar = "JSON"
    return Annotated[str | None, typer.Option(flag, metavar=metavar, **common)]


def with_parameters(function: Callable[..., None]) -> Callable[..., None]:
    """A command with an option for every parameter, which it gets as `**given`.

    Parameters
    ----------
    function : callable (..., **given)
        Its own parameters are those of a typer command.
    """

    def command(**given: Any) -> None:
        function(**given)

    own = inspect.signature(function, eval_str=True)
    kept = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
    made = [
        inspect.Parameter(
            p.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(p)
        )
        for p in sorted(parameters().values(), key=lambda p: [*GROUPS].index(_group(p)))
    ]
    command.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[p.replace(kind=p.KEYWORD_ONLY) for p in kept] + made
    )
    command.__doc__, command.__name__ = function.__doc__, function.__name__
    return command


def value_of(name: str, given: str | bool) -> Any:
    """What an option's text means: a number, none, a list with commas, JSON in braces, a name.

    Parameters
    ----------
    name : str
    given : str or bool

    Raises
    ------
    ValueError
        An empty text, JSON in braces that is none, or commas with nothing between them.

    Examples
    --------
    >>> value_of("hidden_layer_sizes", "64,32")
    (64, 32)
    >>> value_of("solver", "adam"), value_of("weight_decay", "none"), value_of("l1", "1e-3")
    ('adam', None, 0.001)
    """
    if isinstance(given, bool):
        return given
    text = given.strip()
    if text.startswith("{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise ValueError(f"{option(name)}: this is no JSON ({error}): {text}") from None
        except RecursionError:
            raise ValueError(f"{option(name)}: its brackets are nested too deeply") from None
    if "," in text:
        parts = text.removesuffix(",").split(",")  # "64," is one of several, as in Python
        if not all(part.strip() for part in parts):
            raise ValueError(f"{option(name)}: there is nothing between two commas: {text}")
        return tuple(value_of(name, part) for part in parts)
    if not text:
        raise ValueError(f"{option(name)} is empty; give a value, or leave the option out")
    if text.lower() in ("none", "null"):
        return () if name == "hidden_layer_sizes" else None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def value_in_toml(name: str, found: Any) -> Any:
    """What a value in TOML means: itself; a list is a tuple, and the text "none" is none.

    Parameters
    ----------
    name : str
    found : anything
    """
    if isinstance(found, list):
        return tuple(value_in_toml(name, each) for each in found)
    if isinstance(found, str) and found.lower() in ("none", "null"):
        return () if name == "hidden_layer_sizes" else None
    return found


def option(name: str) -> str:
    """The option for a parameter: "--max-iter" for "max_iter"."""
    return "--" + name.replace("_", "-")


def read_config(path: Path, others: Mapping[str, Any], command: str) -> dict[str, Any]:
    """Settings from a TOML file; names are those of the options, with _ or -.

    Parameters
    ----------
    path : Path
    others : mapping
        Names, beside the parameters, that the file may hold.
    command : str
        For messages.

    Raises
    ------
    ValueError
        The file cannot be read, is no TOML, or holds an unknown name; the message suggests the
        nearest.
    """
    import tomllib

    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML: {error}") from None
    except RecursionError:
        raise ValueError(f"{path} is no settings: its brackets are nested too deeply") from None
    known = [*others, *parameters()]
    settings = {}
    for written, value in found.items():
        name = written.replace("-", "_")
        if name in LEFT_OUT and name not in known:
            instead = f"; use {LEFT_OUT[name]}" if LEFT_OUT[name] else ""
            raise ValueError(f"{path}: {name} cannot be set here{instead}")
        if name not in known:
            from chainrule.base.validation import nearest

            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else f"chainrule {command} --help lists them"
            raise ValueError(f"{path}: there is no setting {written!r}; {hint}")
        settings[name] = value
    return settings
