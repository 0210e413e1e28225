"""Pages that show the files of the source, with an anchor for each line, and links to them.

Markdown pages link to code as `../src/chainrule/x.py#L10`, which leads to the file where the
repository is looked at, and here to the file's page.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

ROOT = Path(__file__).parents[2]
# Pages that stand at the top of the repository, and what they are called here.
TOP = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "SECURITY.md": "security.md",
    "RELEASING.md": "releasing.md",
    "benchmarks/README.md": "benchmarks.md",
}
PAGES = {Path(page).stem: file for file, page in TOP.items() if page != "index.md"}
LINK = re.compile(r"(?<=\]\()([^)\s:#]+)(#[^)\s]*)?(?=\))")
CODE = {".py", ".toml", ".lock", ".sh", ".js", ".c", ".cff", ""}


def read(app: Sphinx, name: str, source: list[str]) -> None:
    """Put in the pages that stand elsewhere; let links to files lead to their pages."""
    here = Path(app.srcdir)
    path = Path(app.env.doc2path(name))
    if name in PAGES:
        path = ROOT / PAGES[name]
        source[0] = path.read_text(encoding="utf-8")
    if path.suffix != ".md":
        return
    depth = "../" * name.count("/")

    def there(found: re.Match[str]) -> str:
        link, anchor = found[1], found[2] or ""
        file = (path.parent / link).resolve()
        if not file.is_relative_to(ROOT) or not file.exists():
            return found[0]
        place = file.relative_to(ROOT).as_posix()
        if place in TOP:
            return depth + TOP[place] + anchor
        if file.parent == here / "gallery" and file.suffix == ".py":
            return f"{depth}auto_examples/{file.stem}.rst"
        if file.is_relative_to(here) and file.suffix != ".py":
            return depth + file.relative_to(here).as_posix() + anchor
        if file.is_file() and file.suffix in CODE:
            app.env.source_files.add(place)
            return f"source:{place}{anchor or '#L1'}"
        return f"source:{place}#"

    blocks = re.split(r"(^```.*?^```)", source[0], flags=re.S | re.M)
    blocks[::2] = [LINK.sub(there, block) for block in blocks[::2]]
    source[0] = "".join(blocks)


def resolve(app: Sphinx, tree: nodes.document, name: str) -> None:
    """Turn source: links into relative ones; a folder is shown as its name alone."""
    up = app.builder.get_relative_uri(name, "index").removesuffix("index.html")
    for link in list(tree.findall(nodes.reference)):
        uri = link.get("refuri", "")
        if not uri.startswith("source:"):
            continue
        place, _, anchor = uri.removeprefix("source:").partition("#")
        if not anchor:
            link.replace_self(link.children)
            continue
        count = len((ROOT / place).read_text(encoding="utf-8").splitlines())
        line = re.fullmatch(r"L(\d+)(?:-L\d+)?", anchor)
        if line is None or not 1 <= int(line[1]) <= count:
            raise ExtensionError(f"{name}: {place} has no line {anchor}")
        link["refuri"] = f"{up}source/{place}.html#L{line[1]}"


def link_of(domain: str, info: dict[str, Any]) -> tuple[str, int] | None:
    """The file, from the top, and the line of an object of the API."""
    if domain != "py":
        return None
    import importlib

    found: Any = importlib.import_module(info["module"])
    for part in info["fullname"].split("."):
        found = getattr(found, part, None)
    found = inspect.unwrap(found.fget if isinstance(found, property) else found)
    try:
        file, line = inspect.getsourcefile(found), inspect.getsourcelines(found)[1]
    except (TypeError, OSError):
        return None
    path = Path(file or "")
    if not path.is_relative_to(ROOT):
        return None
    return path.relative_to(ROOT).as_posix(), max(line, 1)


def add_links(app: Sphinx, tree: nodes.document) -> None:
    """Put [source] behind each signature of the API."""
    from sphinx import addnodes

    name = app.env.docname
    up = "../" * name.count("/")
    for description in list(tree.findall(addnodes.desc)):
        for signature in description.children:
            if not isinstance(signature, addnodes.desc_signature) or not signature.get("module"):
                continue
            found = link_of(
                description.get("domain", ""),
                {"module": signature["module"], "fullname": signature["fullname"]},
            )
            if found is None:
                continue
            app.env.source_files.add(found[0])
            text = nodes.inline("", "[source]", classes=["viewcode-link"])
            uri = f"{up}source/{found[0]}.html#L{found[1]}"
            signature.append(nodes.reference("", "", text, internal=False, refuri=uri))


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for each file that something leads to."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_for_filename
    from pygments.lexers.special import TextLexer
    from pygments.util import ClassNotFound

    form = HtmlFormatter(
        linenos="inline", lineanchors="L", anchorlinenos=True, cssclass="highlight", wrapcode=True
    )
    for place in sorted(app.env.source_files):
        text = (ROOT / place).read_text(encoding="utf-8")
        try:
            lexer = get_lexer_for_filename(place, stripnl=False)
        except ClassNotFound:
            lexer = TextLexer(stripnl=False)
        shown = highlight(text, lexer, form)
        shown = re.sub(r'(id|name)="L-(\d+)"', r'\1="L\2"', shown).replace('href="#L-', 'href="#L')
        body = f'<h1 class="source-path">{place}</h1><div class="source-file">{shown}</div>'
        context = {"title": place, "body": body, "toc": "", "parents": []}
        yield f"source/{place}", context, "page.html"


def begin(app: Sphinx) -> None:
    """Collect anew; nothing is kept from build to build."""
    if not hasattr(app.env, "source_files"):
        app.env.source_files = set()


def merge(app: Sphinx, env: Any, names: list[str], other: Any) -> None:
    """Take over what another process has collected."""
    env.source_files |= other.source_files


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the events."""
    app.connect("builder-inited", begin)
    app.connect("env-merge-info", merge)
    app.connect("source-read", read)
    app.connect("doctree-read", add_links)
    app.connect("doctree-resolved", resolve)
    app.connect("html-collect-pages", pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
