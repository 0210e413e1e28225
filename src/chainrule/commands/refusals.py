"""What the command line says of arguments that it does not take: one line, with the nearest name.

The parser's own messages are drawn as boxes of several lines.
"""

from __future__ import annotations

import re
from typing import Any

import typer

# The parser's base class of errors; which package has it depends on typer's version.
Refused: type[Exception] = next(
    each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException"
)

# What options are called elsewhere.
OTHER_NAMES = {
    "lr": "--learning-rate-init",
    "eta": "--learning-rate-init",
    "step-size": "--learning-rate-init",
    "epochs": "--max-iter",
    "iterations": "--max-iter",
    "hidden": "--hidden-layer-sizes",
    "layers": "--hidden-layer-sizes",
    "units": "--hidden-layer-sizes",
    "optimizer": "--solver",
    "optimiser": "--solver",
    "patience": "--n-iter-no-change",
    "l2": "--alpha",
    "random-state": "--seed",
    "random-seed": "--seed",
    "label": "--target",
    "y": "--target",
    "out": "--output",
    "drop": "--ignore",
    "exclude": "--ignore",
    "overwrite": "--force",
    "na-values": "--missing",
    "verbose": "--quiet",
}


def refusal(error: Any, command: Any) -> str:
    """One line for an error of the parser.

    Parameters
    ----------
    error : Refused
    command : typer's command
        The whole command line; the error says which part of it is meant.

    Returns
    -------
    str
        Empty where the help has been shown instead.
    """
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "chainrule"
    name = path.partition(" ")[2] or path
    if context is not None:
        command = context.command
    message = " ".join(str(error.format_message()).split()).rstrip(".")
    if not message:
        return ""
    wanted = getattr(error, "option_name", "")
    if re.match("No such option", message):
        near = _nearest_option(wanted, command)
        return f"{name} has no option {wanted}{_meant(near)} ({path} --help lists them)"
    if found := re.match("No such command '(.*?)'(?:\\.|$)", message):
        from chainrule.base.validation import nearest

        near = nearest(found[1], command.commands)
        return f"there is no command {found[1]!r}{_meant(near)} ({path} --help lists them)"
    if found := re.match("Missing (argument|option|parameter) '(.*?)'", message):
        return f"{name} needs {found[2]} ({path} --help says what it is)"
    if found := re.match("Got unexpected extra arguments? ?(?:\\(s\\))? ?\\((.*)\\)", message):
        return (
            f"{name} does not know what to do with {found[1]!r}; put a pattern of files, or a "
            'value with blanks in it, in quotes, such as "*.csv"'
        )
    if found := re.match(
        r"Invalid value for '(.*?)'(?: / '.*?')?(?: \(env var: .*?\))?: (.*)", message
    ):
        option = found[1].split(" ")[0]
        return f"{option}: {found[2].replace('Input should be', 'it must be')}"
    if found := re.match("Option '(.*?)' (.*)", message):
        return f"{found[1]} {found[2].replace('an argument', 'a value')}"
    return f"{name}: {message}"


def _meant(near: str | None) -> str:
    return f"; did you mean {near}?" if near else ""


def _nearest_option(name: str, command: Any) -> str | None:
    known = [
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--")
    ]
    other = OTHER_NAMES.get(name.lstrip("-").replace("_", "-"))
    if other in known:
        return other
    begun = [option for option in known if option.startswith(name)]
    from chainrule.base.validation import nearest

    return nearest(name, known) or (begun[0] if len(begun) == 1 else None)
