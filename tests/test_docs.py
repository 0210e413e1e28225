"""The documentation is true: its examples run, its links lead somewhere, its functions exist."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src"
PAGES = sorted(
    page
    for page in (*ROOT.glob("docs/**/*.md"), ROOT / "CONTRIBUTING.md", ROOT / "README.md")
    if page.exists()
)
WITH_EXAMPLES = [page for page in PAGES if ">>> " in page.read_text(encoding="utf-8")]

# Pages whose ```console blocks are run, command by command, in one folder.
IN_A_CONSOLE = [ROOT / "docs" / "from-csv-to-production.md"]

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _prose(page: Path) -> str:
    """A page without its blocks of code and formulas."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ +(.+?) *$", _prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def _broken(page: Path) -> list[str]:
    """What is wrong with a page's links to files, headings and functions of this repository."""
    faults = []
    prose = _prose(page)
    for text, target in LINK.findall(prose) + [("", t) for t in PICTURE.findall(prose)]:
        if re.match(r"[a-z]+:", target):  # another site
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            faults.append(f"{target}: no such file")
        elif anchor and file.suffix == ".md" and anchor not in _anchors(file):
            faults.append(f"{target}: no such heading")
        elif file.suffix == ".py" and file.is_relative_to(SRC):
            module = ".".join(file.relative_to(SRC).with_suffix("").parts)
            faults += [
                f"{target}: has no {name}"
                for name in re.findall(r"`([A-Za-z_][\w.]*)`", text)
                if name != file.name and not _has(module.removesuffix(".__init__"), name)
            ]
    return faults


def _has(module: str, name: str) -> bool:
    """Whether a module, or a class in it, defines a (dotted) name itself."""
    found = importlib.import_module(module)
    for part in name.split("."):
        if not hasattr(found, part) and part not in getattr(found, "__annotations__", {}):
            return False
        found = getattr(found, part, None)
    return getattr(found, "__module__", module) == module


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=_name)
def test_examples_give_what_the_page_says(page: Path) -> None:
    failures, tried = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert tried > 0
    assert failures == 0


def _commands(page: Path) -> list[tuple[str, str]]:
    """(command, what it prints according to the page) of the console blocks; pip is left out."""
    found = []
    for block in re.findall(
        r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M
    ):
        for typed, printed in re.findall(r"^\$ (.*\n(?:> .*\n)*)((?:(?!\$ ).*\n)*)", block, re.M):
            command = re.sub(r"^> ", "", typed, flags=re.M)
            if not command.startswith("pip "):
                found.append((command, printed))
    return found


def _run(command: str, folder: Path) -> tuple[int, str]:
    """(exit code, all that is printed): our commands in this process, others by the shell."""
    if command.startswith("chainrule "):
        from typer.testing import CliRunner

        from chainrule.commands.cli import app

        result = CliRunner().invoke(app, shlex.split(command)[1:])
        return result.exit_code, result.output
    command = re.sub("^python ", f"{shlex.quote(sys.executable)} ", command)
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="the pages are written for a POSIX shell")
@pytest.mark.parametrize("page", IN_A_CONSOLE, ids=_name)
def test_commands_print_what_the_page_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spaces at the ends of lines aside; "..." stands for anything."""
    for package in ("palmerpenguins", "skrub", "onnxruntime"):
        pytest.importorskip(package, reason="the page needs the extras")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    commands = _commands(page)
    assert len(commands) > 5
    for command, printed in commands:
        code, output = _run(command, tmp_path)
        assert code == 0, f"{command}\n{output}"
        seen = re.sub(r" +$", "", output, flags=re.M)
        pattern = ".*?".join(re.escape(part) for part in printed.rstrip("\n").split("..."))
        assert re.fullmatch(pattern, seen.rstrip("\n"), re.S), f"$ {command}\n{seen}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_to_files_headings_and_functions_that_exist(page: Path) -> None:
    assert _broken(page) == []


def test_every_equation_of_the_derivation_links_to_its_function() -> None:
    linked = {
        (name, target.rpartition("/")[2].partition("#")[0])
        for text, target in LINK.findall(_prose(ROOT / "docs" / "derivation.md"))
        for name in re.findall(r"`([\w.]+)`", text)
    }
    for name in ("forward", "output_error", "backward", "gradient"):
        assert (name, "backprop.py") in linked
    assert ("descend", "kernel.py") in linked
    for name in ("affine", "affine_pullback", "affine_gradient"):
        assert (name, "layers.py") in linked


def test_broken_links_are_found(tmp_path: Path) -> None:
    spoilt = tmp_path / "docs" / "spoilt.md"
    spoilt.parent.mkdir()
    (tmp_path / "code").symlink_to(SRC)
    (tmp_path / "guides").symlink_to(ROOT / "docs")
    heart = "../code/chainrule/equations/backprop.py"
    spoilt.write_text(
        "# A heading\n"
        "[a](nowhere.md) [b](#a-heading) [c](#another) ![d](none.png) [e](https://example.org)\n"
        f"[`forward`]({heart}) [`foreward`]({heart})\n"
        f"[`matrices`]({heart}) [f](../guides/derivation.md#no-such-section)\n",
        encoding="utf-8",
    )
    assert sorted(_broken(spoilt)) == sorted(
        [
            "nowhere.md: no such file",
            "#another: no such heading",
            "none.png: no such file",
            f"{heart}: has no foreward",
            f"{heart}: has no matrices",
            "../guides/derivation.md#no-such-section: no such heading",
        ]
    )


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_formulas_survive_markdown(page: Path) -> None:
    """In inline formulas Markdown eats a backslash before punctuation, and tables split at |."""
    prose = re.sub(r"`[^`\n]*`", "", _prose(page))
    formulas = re.findall(r"\$([^$]*)\$", prose)
    assert prose.count("$") % 2 == 0
    assert [f for f in formulas if "\n" in f or "|" in f or re.search(r"\\[^A-Za-z]", f)] == []


def _cells(page: Path) -> list[str]:
    """The code that a page or a notebook executes when the documentation is built."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        found = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    else:
        found = re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```", text, flags=re.S | re.M)
        options = re.compile(r"\A(---\n(?:[^\n]*\n)*?---\n|(?::[^\n]*\n)+)")
        found = [options.sub("", cell) for cell in found]
    return [re.sub(r"^%.*\n", "", cell, flags=re.M) for cell in found]


EXECUTED = [page for page in (*PAGES, *sorted(ROOT.glob("docs/notebooks/*.ipynb"))) if _cells(page)]


@pytest.mark.once
@pytest.mark.parametrize("page", EXECUTED, ids=_name)
def test_cells_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In order, in one process, and without a word about anything that went wrong."""
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    names: dict[str, object] = {"__name__": page.stem}
    for number, cell in enumerate(_cells(page), start=1):
        exec(compile(cell, f"{_name(page)}, cell {number}", "exec"), names)
    plt.close("all")
    assert capsys.readouterr().err == ""


def test_the_pages_with_figures_are_executed() -> None:
    assert {page.stem for page in EXECUTED} >= {"derivation", "derivation-further", "digits"}
