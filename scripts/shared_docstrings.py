"""Copy what a classifier's docstring says of shared parameters and attributes to its regressor's.

The classifier's docstring is the one place where they are described; both classes have them as
plain text, so that editors and `help` show them. `--check` changes nothing and fails if a
description differs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ESTIMATORS = Path(__file__).parents[1] / "src" / "chainrule" / "estimators"
# The classifier's file, the regressor's, and what each of the two describes itself.
PAIRS = (
    (
        "classifier.py",
        "regressor.py",
        {
            *("loss", "standardize", "validation_fraction"),
            "n_features_in_, n_outputs_, n_layers_, n_iter_, t_",
        },
    ),
    (
        "tabular_classifier.py",
        "tabular_regressor.py",
        {"preset", "max_epochs", "oof_prediction_", "blend_weights_"},
    ),
)
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


def shared(source: str, copy: str, own: set[str]) -> str:
    """The second file's text, with the first one's description of whatever both describe."""
    start, end = sections(copy)
    known = entries(source)

    def one(found: re.Match[str]) -> str:
        names = found["names"]
        return found[0] if names in own else known.get(names, found[0])

    return copy[:start] + ENTRY.sub(one, copy[start:end]) + copy[end:]


def main() -> int:
    """Copy, or with --check compare."""
    failed = 0
    for first, second, own in PAIRS:
        path = ESTIMATORS / second
        copy = path.read_text(encoding="utf-8")
        wanted = shared((ESTIMATORS / first).read_text(encoding="utf-8"), copy, own)
        if wanted == copy:
            continue
        if "--check" in sys.argv[1:]:
            print(f"{path} describes a parameter otherwise than {first}; run make format")
            failed = 1
        else:
            path.write_text(wanted, encoding="utf-8")
    return failed


if __name__ == "__main__":
    sys.exit(main())
