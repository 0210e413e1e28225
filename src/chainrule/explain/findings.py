"""A finding: what is wrong with a training, by which numbers, and what to change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from chainrule.base.validation import ShownAsText
from chainrule.explain.drawing import Picture, draw_picture


@dataclass(frozen=True, eq=False)
class Finding(ShownAsText):
    """Something that holds a training back.

    Attributes
    ----------
    code : str
        What it is, in a word that does not change: "dead-units", "lost-class", ...
    message : str
        What the numbers say, in a sentence.
    evidence : dict
        The numbers, by name.
    advice : str
        What to change, in a sentence.
    change : str
        The code of the change.
    weight : float
        From 0 to 1: how much it holds the training back.
    picture : Picture
        What :meth:`plot` draws.
    """

    code: str
    message: str
    evidence: dict[str, Any]
    advice: str
    change: str
    weight: float
    picture: Picture = field(repr=False)

    def __str__(self) -> str:
        return f"{self.code}: {self.message} {self.advice}"

    def plot(self, ax: Any = None) -> Any:
        """Draw the evidence.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Default: new ones.

        Returns
        -------
        matplotlib Axes
        """
        return draw_picture(self.picture, ax)


class Diagnosis(list[Finding]):
    """Findings in order of weight, the heaviest first; empty if nothing was found.

    It is a list; printed, it says each finding with its advice and the code of the change.
    """

    def __init__(self, findings: Iterable[Finding] = ()) -> None:
        super().__init__(sorted(findings, key=lambda finding: -finding.weight))

    @property
    def codes(self) -> list[str]:
        """The codes of the findings."""
        return [finding.code for finding in self]

    def __str__(self) -> str:
        if not self:
            return "nothing found"
        lines = []
        for number, finding in enumerate(self, start=1):
            lines.append(f"{number}. {finding}")
            lines += [f"     {line}" for line in finding.change.splitlines()]
        return "\n".join(lines)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("..." if cycle else str(self))

    def _repr_html_(self) -> str:
        if not self:
            return "<p>Nothing found.</p>"
        items = "".join(
            f"<li><b>{escape(each.code)}</b>: {escape(each.message)} <i>{escape(each.advice)}</i>"
            f"<pre>{escape(each.change)}</pre></li>"
            for each in self
        )
        return f"<ol>{items}</ol>"


def percent(share: float) -> str:
    """Return a share in words of per cent; small ones are not said to be 0."""
    return f"{100 * share:.0f} %" if share >= 0.01 or share == 0 else "less than 1 %"


def listed(names: Sequence[Any], most: int = 5) -> str:
    """Return "a, b and c"; of many the first."""
    shown = [str(name) for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def times(x: float) -> str:
    """Return how many times, without an exponent where it can be avoided."""
    return f"{x:,.0f}" if 10 <= x < 1e7 else f"{x:.2g}"
