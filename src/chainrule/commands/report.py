"""What ``chainrule digits`` prints: lines of epochs, the confusion table, the verdict in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from chainrule.digits.runs import Record, Result


# Of 200 runs each; docs/digits.md and the derivation have the same numbers.
FREQUENCY = (
    "This is common: of 200 runs of the article's own code 39.5 % ended below 0.83 (mean 0.810, "
    "standard deviation 0.131), of 200 of ours 41.5 % (0.799, 0.146)."
)
NO_HIDDEN_LAYER = (
    "For comparison: with no hidden layer at all (--hidden 0) the article's recipe reads 323 of "
    "360 at seed 0, 0.8972."
)


def epoch_line(record: Record) -> str:
    """The article's line, to the digit: the accuracy rounded to four places, as Python prints it.

    Examples
    --------
    >>> from chainrule.digits.runs import Record
    >>> epoch_line(Record(0, 173, 360, 173 / 360, 0.3, 0.01))
    'Epoch 0: 173/360  accuracy = 0.4806'
    """
    return (
        f"Epoch {record.epoch}: {record.correct}/{record.total}  "
        f"accuracy = {round(record.accuracy, 4)}"
    )


def last_line(result: Result) -> str:
    """How a run ended."""
    return (
        f"{result.recipe.name}, seed {result.seed}: {result.correct}/{result.total}  "
        f"accuracy = {round(result.accuracy, 4)}"
    )


def print_report(results: list[Result], pictures: list[Path], seconds: float) -> None:
    """Print the report after the training."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if len(results) > 1:
        console.print(_side_by_side(results))
    matrices = [_confusion_table(result) for result in results]
    console.print()
    beside = Table.grid(padding=(0, 4))
    if len(results) > 1 and console.width >= 2 * 50 + 4:
        beside.add_row(*matrices)
        console.print(beside)
    else:
        for matrix in matrices:
            console.print(matrix)
    for result in results:
        _say(console, "")
        _say(console, last_line(result), "bold")
        for line in _in_words(result):
            _say(console, line)
        for line in (*_about_no_answer(result), *_about_shut_outputs(result)):
            _say(console, line, "yellow")
        for finding in result.findings:
            _say(console, f"Found {finding.code}: {finding.message}", "yellow")
        for line in _about_the_cause(result):
            _say(console, line, "yellow")
        if result.recipe.name == "article" and result.recipe.hidden:
            _say(console, NO_HIDDEN_LAYER)
    _say(console, "")
    trained = " and ".join(f"{result.seconds:.2f} s" for result in results)
    _say(console, f"Trained in {trained}; {seconds:.1f} s in all.")
    if pictures:
        names = ", ".join(path.name for path in pictures)
        _say(console, f"Pictures in {pictures[0].parent}: {names}")


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(line, style=style, markup=False, soft_wrap=not console.is_terminal)


def _side_by_side(results: list[Result]) -> Table:
    """The lines of the epochs of several runs beside each other."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 4))
    table.add_row(*(Text(result.recipe.name, style="bold") for result in results))
    for k in range(max(len(result.epochs) for result in results)):
        table.add_row(
            *(epoch_line(result.epochs[k]) if k < len(result.epochs) else "" for result in results)
        )
    return table


def _confusion_table(result: Result) -> Table:
    """Counts; right answers on grey, mistakes on orange, and "·" for none.

    Rows without an answer have a column of their own; `right` is by the article's reading, which
    takes them for 0.
    """
    from rich.table import Table
    from rich.text import Text

    title = f"{result.recipe.name}: digit (row), taken for (column)"
    table = Table(title=title, title_style="bold", title_justify="left", box=None, padding=0)
    table.add_column("  ")
    for digit in range(len(result.confusion)):
        table.add_column(f"{digit:>3} ")
    unanswered = bool(result.no_answer.any())
    if unanswered:
        table.add_column("none ")
    table.add_column("   right", justify="right")
    answers = result.answers if unanswered else result.confusion
    for digit, row in enumerate(answers.tolist()):
        cells = [
            Text(f"{count if count or said == digit else '·':>3} ", _shade(count, said == digit))
            for said, count in enumerate(row)
        ]
        right = f"{result.confusion[digit, digit]}/{sum(row)}"
        table.add_row(Text(str(digit), "bold"), *cells, right)
    return table


def _shade(count: int, right: bool) -> str:
    """The style of a cell."""
    if right and count:
        return "bold black on #dcdbd6"
    if count == 0 and not right:
        return "dim"
    if right or count > 5:
        return "bold bright_white on #9c3f0a"
    return "black on #fbe6d0" if count <= 2 else "black on #e08a3c"


COUNT = ["", "", "", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def _times(n: int) -> str:
    """How often, in words up to ten."""
    if n <= 2:
        return ("never", "once", "twice")[n]
    return f"{COUNT[n]} times" if n < len(COUNT) else f"{n} times"


def _join(parts: Sequence[object]) -> str:
    """a, b and c."""
    words = [str(part) for part in parts]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _in_words(result: Result) -> Iterator[str]:
    """Which parameters were kept, and the pairs most often confused."""
    from chainrule.digits.runs import most_confused

    if result.recipe.validation and result.kept_epoch is not None:
        yield (
            f"These are the parameters of epoch {result.kept_epoch}: of all epochs the least "
            f"cost on the last {result.recipe.validation} training rows, which were held back."
        )
    recipe = result.recipe
    if recipe.members > 1:
        yield (
            f"This is one network, joined from {recipe.members} that were trained apart, each with "
            f"{' + '.join(map(str, recipe.hidden)) or 'no'} hidden units: its outputs are the "
            "geometric mean of theirs."
        )
    if recipe.distortion is not None:
        yield "In every step they learned from training digits that were distorted at random."
    pairs = most_confused(result.answers)[:5]
    for digit, said, times in pairs:
        yield f"{digit} was taken for {said}{' ' if times < len(COUNT) else ', '}{_times(times)}."
    if not pairs:
        yield "No digit was taken for the same other one twice."


def _about_no_answer(result: Result) -> Iterator[str]:
    """On how many test digits no output is open, and how the article's reading counts them."""
    n, right = int(result.no_answer.sum()), result.correct_unanswered
    if not n:
        return
    digits, them = ("digit", "it") if n == 1 else ("digits", "them")
    yield (
        f"No answer on {n} test {digits}: all ten outputs are exactly 0. The article's reading, "
        f"the output closest to 1, then takes the first, so it reads {them} as 0."
    )
    if right:
        yield (
            f"Of the {result.correct} right ones {right} had no open output; without them "
            f"{result.correct - right}/{result.total} are right, "
            f"{(result.correct - right) / result.total:.4f}."
        )


def _about_shut_outputs(result: Result) -> Iterator[str]:
    """Which outputs are shut, and how many of their digits are read right."""
    shut = result.shut_outputs
    if shut:
        s, was = ("s", "were") if len(shut) > 1 else ("", "was")
        right = _join([f"{result.confusion[j, j]} of {result.confusion[j].sum()}" for j in shut])
        how_many = f" ({right} right)" if len(shut) <= 3 else ""
        when = f"at the end of epoch {result.kept_epoch}"
        yield f"Output{s} {_join(shut)} {was} shut {when}{how_many}."


def _about_the_cause(result: Result) -> Iterator[str]:
    """Which of the findings holds the network back, and which options to change."""
    from chainrule.digits.recipes import ARTICLE

    found = result.cause
    if found is not None:
        yield f"Cause: {found.name}. {found.what}"
        yield f"What to change: {found.advice}"
        if found.name == "shut outputs" and result.recipe == ARTICLE:
            yield FREQUENCY
