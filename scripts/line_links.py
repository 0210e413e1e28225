"""Keep links from the documentation to lines of code right.

A link such as [`backward`](../src/chainrule/equations/backprop.py#L1) names a function or a class;
its line number is filled in. `--check` changes nothing and fails if a number is wrong.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\[`([\w.]+)`\]\(([^)#\s]+\.py)#L(\d+)\)")


def line_of(file: Path, name: str) -> int:
    """The line on which a file defines a (dotted) name."""
    nodes: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    for part in name.split("."):
        nodes = [
            node
            for parent in nodes
            for node in ast.iter_child_nodes(parent)
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == part
        ]
    if not nodes:
        raise SystemExit(f"{file} defines no {name}")
    return int(nodes[0].lineno)  # type: ignore[attr-defined]


def with_lines(page: Path) -> str:
    """A page's text with the right line numbers."""

    def right(link: re.Match[str]) -> str:
        name, path, _ = link.groups()
        line = line_of((page.parent / path).resolve(), name)
        return f"[`{name}`]({path}#L{line})"

    return LINK.sub(right, page.read_text(encoding="utf-8"))


def main() -> int:
    """Fill in the numbers, or with --check compare."""
    wrong = 0
    for page in (
        *sorted((ROOT / "docs").glob("*.md")),
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
    ):
        text = with_lines(page)
        if text != page.read_text(encoding="utf-8"):
            wrong += 1
            if "--check" in sys.argv[1:]:
                print(
                    f"{page.relative_to(ROOT)} links to other lines than it names; run make format"
                )
            else:
                page.write_text(text, encoding="utf-8")
    return int(wrong > 0 and "--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
