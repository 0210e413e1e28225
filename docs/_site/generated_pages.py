"""Pages that are written from the code: each public name, each command, each component."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

# Where a name stands on the page of the API. A name that none of these takes is "Other".
GROUPS = {
    "estimators": "Estimators and pipelines",
    "network": "Networks by hand",
    "training": "Training",
    "ensembles": "Training",
    "explain": "Seeing inside",
    "equations": "Components",
    "monitoring": "Between epochs",
    "tables": "Tables",
    "files": "Model files",
    "exports": "Exports",
    "search": "Search",
    "dask": "On a Dask cluster",
    "engine": "Engine",
    "base": "Other",
}
HEADINGS = "=-~"


def heading(text: str, level: int = 0) -> str:
    """A heading in reStructuredText."""
    return f"{text}\n{HEADINGS[level] * max(len(text), 3)}\n\n"


def first_line(found: Any) -> str:
    """The first paragraph of a docstring, in one line."""
    text = inspect.cleandoc(found.__doc__ or "").split("\n\n")[0]
    return " ".join(text.split())


# --- the application programming interface -------------------------------------------------------


def kind_of(found: Any) -> str:
    """What autodoc calls it."""
    if inspect.ismodule(found):
        return "module"
    if inspect.isclass(found):
        return "exception" if issubclass(found, BaseException) else "class"
    return "function" if callable(found) else "data"


def page_name(name: str, found: Any) -> str:
    """Of its file and its label, in which Trace and trace must differ in more than case."""
    prefix = {"data": "table", "class": "class", "exception": "class"}.get(kind_of(found), "api")
    return f"{prefix}-{name}"


def public_names() -> Iterator[tuple[str, Any, str]]:
    """(name below chainrule, what it is, module that has it) of all that is public.

    The names in `chainrule.__all__`, and those in `__all__` of a subpackage.
    """
    import chainrule

    for name in chainrule.__all__:
        if name != "__version__":
            yield name, getattr(chainrule, name), chainrule._HOMES[name]
    for each in pkgutil.iter_modules(chainrule.__path__):
        if each.ispkg:
            package = importlib.import_module(f"chainrule.{each.name}")
            for name in getattr(package, "__all__", ()):
                yield f"{each.name}.{name}", getattr(package, name), each.name


def api_page(name: str, found: Any, home: str) -> str:
    """The page of a public name."""
    kind = kind_of(found)
    text = f".. _{page_name(name, found)}:\n\n" + heading(f"chainrule.{name}")
    if kind == "module":
        return text + f".. automodule:: chainrule.{home}\n   :members:\n"
    if kind == "data":
        text += f".. py:data:: chainrule.{name}\n\n"
        about = {
            "TRUSTED_TYPES": "Types of other libraries that a model file may hold.",
        }.get(name, "What each name stands for. See :doc:`../components`.")
        text += f"   {about}\n\n"
        for key in sorted(found) if not isinstance(found, dict) else found:
            text += f"   - ``{key}``\n"
        return text
    module, _, own = f"chainrule.{name}".rpartition(".")
    text += f".. currentmodule:: {module}\n\n.. auto{kind}:: {own}\n"
    return text + ("   :members:\n" if kind != "function" else "")


def api() -> dict[str, str]:
    """{path: text} of the pages of the API."""
    groups: dict[str, list[tuple[str, Any]]] = {title: [] for title in GROUPS.values()}
    pages = {}
    for name, found, home in public_names():
        pages[f"api/{page_name(name, found)}"] = api_page(name, found, home)
        title = GROUPS.get(home.partition(".")[0], "Other")
        groups[title].append((name, found))
    text = heading("API reference")
    text += (
        "Everything that ``chainrule.__all__`` names, and ``__all__`` of ``chainrule.dask`` and\n"
        "``chainrule.tables``. ``chainrule.__version__`` is the version.\n"
    )
    for title, members in groups.items():
        if not members:
            continue
        text += "\n" + heading(title, 1) + ".. list-table::\n   :widths: 30 70\n\n"
        for name, found in members:
            about = {
                "data": "The names that are known, and what they stand for.",
            }.get(kind_of(found)) or escaped(first_line(found))
            text += f"   * - :ref:`{name} <{page_name(name, found)}>`\n     - {about}\n"
        text += "\n.. toctree::\n   :hidden:\n\n"
        text += "".join(f"   {name} <api/{page_name(name, found)}>\n" for name, found in members)
    pages["api"] = text
    return pages


def check_api(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn, which ends the build, of each public name that no page describes."""
    described = env.get_domain("py").objects  # type: ignore[attr-defined]
    for name, found, home in public_names():
        expected = home if inspect.ismodule(found) else name
        if f"chainrule.{expected}" not in described:
            logging.getLogger(__name__).warning("no page describes chainrule.%s", name)


def escaped(text: str) -> str:
    """Text in which nothing is markup but names in backquotes, which are code."""
    text = re.sub(r"(?<!`)(?::[\w:]+:)?`~?([^`]+)`(?!`)", r"``\1``", text)
    parts = re.split(r"(``.+?``)", text)
    parts[::2] = [re.sub(r"([*`|_\\])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


# --- the command line ----------------------------------------------------------------------------


def commands() -> dict[str, str]:
    """{path: text} of the page of the command line."""
    from typer.main import get_command

    from chainrule.commands.cli import app

    group: Any = get_command(app)
    text = heading("Command line")
    text += (
        "Written from the commands themselves; ``chainrule COMMAND --help`` says the same.\n"
        "A usage error and bad data end with code 2, another failure with 1, Ctrl-C with 130.\n\n"
    )
    for name, command in group.commands.items():
        text += f".. _command-{name}:\n\n" + heading(f"chainrule {name}", 1)
        words = [word(one) for one in arguments(command)]
        text += f"::\n\n    chainrule {name} [OPTIONS] {' '.join(words)}\n\n"
        text += prose(command.help or "") + prose(command.epilog or "")
        for panel, options in panels(command).items():
            text += heading(panel, 2) + ".. list-table::\n   :widths: 38 62\n\n"
            for option in options:
                names = ", ".join(f"``{one}``" for one in [*option.opts, *option.secondary_opts])
                names += f" ``{option.metavar}``" if option.metavar else ""
                text += f"   * - {names}\n     - {about_option(option)}\n"
            text += "\n"
    return {"commands": text}


def word(argument: Any) -> str:
    """An argument as the line of usage names it."""
    name = argument.metavar or argument.name.upper()
    return name if argument.required else f"[{name}]"


def arguments(command: Any) -> list[Any]:
    """The arguments that have no dashes."""
    return [p for p in command.params if p.param_type_name == "argument"]


def panels(command: Any) -> dict[str, list[Any]]:
    """Options by the panel of the help in which they stand."""
    found: dict[str, list[Any]] = {}
    for one in command.params:
        if one.param_type_name == "option" and not one.hidden:
            found.setdefault(getattr(one, "rich_help_panel", None) or "Options", []).append(one)
    return found


def about_option(option: Any) -> str:
    """What an option does, what it takes and its default."""
    text = " ".join((option.help or "").split())
    parts = [escaped(re.sub(r"(?<![\w`-])(--[a-z][\w-]*)", r"``\1``", text))]
    if option.show_default and option.default not in (None, False, ()):
        parts.append(f"Default: ``{getattr(option.default, 'value', option.default)}``.")
    return " ".join(part for part in parts if part)


def prose(text: str) -> str:
    """The text of a help: paragraphs; lines that are commands as code, those in a row together."""
    out: list[str] = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text.replace("\b", "")).strip()):
        if not paragraph.strip():
            continue
        lines = paragraph.splitlines()
        if any(line.strip().startswith(("chainrule ", "$ ")) for line in lines):
            code = "".join(f"    {line.strip()}\n" for line in lines)
            if out and out[-1].startswith(".. code"):
                out[-1] += code
            else:
                out.append(".. code-block:: text\n\n" + code)
        else:
            out.append(escaped(" ".join(line.strip() for line in lines)) + "\n")
    return "\n".join(out) + ("\n" if out else "")


# --- the components ------------------------------------------------------------------------------


def formula(function: Any, made_by: Any = None) -> str:
    """What a function's docstring, or that of its maker, says first."""
    text = first_line(function) or (first_line(made_by[0]) if made_by else "")
    return raised(escaped(text))


def raised(text: str) -> str:
    """Text in which a^b and a_b are an exponent and an index."""
    for sign, role in (("\\^", "sup"), ("\\\\_", "sub")):
        pattern = rf"(?<=[\w)̂]){sign}(\{{[^}}]*\}}|-?[\w|]+)"
        text = re.sub(pattern, lambda m, role=role: _role(role, m[1]), text)
    return text


def _role(role: str, inner: str) -> str:
    inner = re.sub(r"\\(.)", r"\1", inner.strip("{}"))
    return f"\\ :{role}:`{inner}`\\ "


def rows() -> Iterator[tuple[str, list[tuple[str, list[str]]]]]:
    """(title, rows of name and cells) of each table of components."""
    from chainrule import ACTIVATIONS, INITIALIZERS, LAYERS, LOSSES, OPTIMIZERS, SCHEDULES

    yield (
        "Activations",
        [
            (n, [formula(a.f), formula(a.pullback), f"activation-{n}"])
            for n, a in ACTIVATIONS.items()
        ],
    )
    yield (
        "Losses",
        [
            (
                n,
                [
                    formula(one.cost, one.made_by),
                    formula(one.delta) or "See its source.",
                    f"loss-{n}",
                ],
            )
            for n, one in LOSSES.items()
        ],
    )
    yield (
        "Optimisers",
        [
            (
                n,
                [
                    formula(o.step),
                    ", ".join(f"``{k}`` = {v:g}" for k, v in o.hyper.items()),
                    f"optimizer-{n}",
                ],
            )
            for n, o in OPTIMIZERS.items()
        ],
    )
    yield (
        "Layers",
        [(n, [formula(y.forward), formula(y.pullback), f"layer-{n}"]) for n, y in LAYERS.items()],
    )
    yield (
        "Schedules of the learning rate",
        [
            (n, [formula(getattr(s.factor, "func", s.factor)), "", f"schedule-{n}"])
            for n, s in SCHEDULES.items()
        ],
    )
    yield (
        "Starting values",
        [(n, [formula(i.weights), "", f"initializer-{n}"]) for n, i in INITIALIZERS.items()],
    )


SECOND = {"Optimisers": "Numbers and defaults"}


def components(folder: Path) -> dict[str, str]:
    """{path: text} of the page of components; their pictures are drawn into the folder."""
    from pictures import draw

    drawn = draw(folder)
    text = heading("Components")
    text += (
        "Every activation, loss, optimiser, layer, schedule and initialisation that has a name,\n"
        "written from the tables in which the code looks them up. Formulas are those of the\n"
        ":doc:`derivation <../derivation>`. One of your own is a plain function; see\n"
        ":doc:`../contributing`.\n\n"
    )
    for title, table in rows():
        has_second = any(cells[1] for _, cells in table)
        text += heading(title, 1) + ".. list-table::\n   :header-rows: 1\n   :class: components\n"
        text += f"   :widths: {'14 32 30 24' if has_second else '18 50 32'}\n\n"
        text += "   * - Name\n     - Formula\n"
        if has_second:
            text += f"     - {SECOND.get(title, 'Derivative')}\n"
        text += "     - Picture\n"
        for name, (first, second, picture) in table:
            text += f"   * - ``{name}``\n     - {first}\n"
            if has_second:
                text += f"     - {second}\n"
            if picture in drawn:
                text += (
                    f"     - .. image:: /generated/pictures/{picture}.svg\n"
                    f"          :alt: {drawn[picture]}\n          :class: registry-picture\n"
                )
            else:
                text += "     -\n"
        text += "\n"
    return {"components": text}


def write(app: Sphinx, config: Config) -> None:
    """Write the pages, before anything is read."""
    folder = Path(app.srcdir) / "generated"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "pictures").mkdir(parents=True)
    (folder / "api").mkdir()
    for path, text in (api() | commands() | components(folder / "pictures")).items():
        (folder / f"{path}.rst").write_text(text, encoding="utf-8")


def plain(app: Sphinx, what: str, name: str, of: Any, options: Any, lines: list[str]) -> None:
    """Let |x| in a docstring be the size of x, not a substitution of reStructuredText."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[i] = re.sub(r"(?<![\\`])\|(?!`)", r"\|", line)


def skip(app: Sphinx, what: str, name: str, of: Any, default: bool, options: Any) -> bool | None:
    """Leave out what scikit-learn makes of each method: set_fit_request and its like."""
    return True if name.startswith("set_") and name.endswith("_request") else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the events."""
    app.connect("config-inited", write)
    app.connect("autodoc-process-docstring", plain, priority=400)
    app.connect("autodoc-skip-member", skip)
    app.connect("env-check-consistency", check_api)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
