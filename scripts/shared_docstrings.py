"""Copy what MLPClassifier's docstring says of shared parameters and attributes to MLPRegressor's.

The classifier's docstring is the one place where they are described; both classes have them as
plain text, so that editors and `help` show them. `--check` changes nothing and fails if a
description differs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ESTIMATORS = Path(__file__).parents[1] / "src" / "chainrule" / "estimators"
SOURCE, COPY = ESTIMATORS / "classifier.py", ESTIMATORS / "regressor.py"
# Described by each class itself.
OWN = {"loss", "standardize", "validation_fraction"}
OWN |= {"n_features_in_, n_outputs_, n_layers_, n_iter_, t_"}
# An entry of a section: an unindented "name : type" and the indented lines below it.
ENTRY = re.compile(r"^    (?P<names>[\w, ]+?) : .*\n(?:        .*\n)*", re.M)


def sections(text: str) -> tuple[int, int]:
    """Where the parameters and attributes of the first class's docstring begin and end."""
    start = text.index('    """', text.index("\nclass ")) + 7
    end = text.index("    Examples\n    -----", start)
    return text.index("    Parameters\n    -----", start), end


def entries(text: str) -> dict[str, str]:
    """The descriptions in a docstring, by the names that they describe."""
    start, end = sections(text)
    return {found["names"]: found[0] for found in ENTRY.finditer(text, start, end)}


def shared(source: str, copy: str) -> str:
    """The second file's text, with the first one's description of whatever both describe."""
    start, end = sections(copy)
    known = entries(source)

    def one(found: re.Match[str]) -> str:
        names = found["names"]
        return found[0] if names in OWN else known.get(names, found[0])

    return copy[:start] + ENTRY.sub(one, copy[start:end]) + copy[end:]


def main() -> int:
    """Copy, or with --check compare."""
    source, copy = SOURCE.read_text(encoding="utf-8"), COPY.read_text(encoding="utf-8")
    wanted = shared(source, copy)
    if wanted == copy:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{COPY} describes a parameter otherwise than {SOURCE.name}; run make format")
        return 1
    COPY.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
