"""What ``chainrule digits`` prints: lines of epochs, the confusion table, the verdict in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from chainrule.commands.recipes import Record, Result


def epoch_line(record: Record) -> str:
    """The article's line, to the digit: the accuracy rounded to four places, as Python prints it.

    Examples
    --------
    >>> from chainrule.commands.recipes import Record
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
    """All that is said after the training."""
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
        for line in _about_dead_outputs(result):
            _say(console, line, "yellow")
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
    """Counts; right answers on grey, mistakes on orange, and "·" for none."""
    from rich.table import Table
    from rich.text import Text

    title = f"{result.recipe.name}: digit (row), taken for (column)"
    table = Table(title=title, title_style="bold", title_justify="left", box=None, padding=0)
    table.add_column("  ")
    for digit in range(len(result.confusion)):
        table.add_column(f"{digit:>3} ")
    table.add_column("   right", justify="right")
    for digit, row in enumerate(result.confusion.tolist()):
        cells = [
            Text(f"{count if count or said == digit else '·':>3} ", _shade(count, said == digit))
            for said, count in enumerate(row)
        ]
        table.add_row(Text(str(digit), "bold"), *cells, f"{row[digit]}/{sum(row)}")
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
    from chainrule.commands.recipes import most_confused

    if result.recipe.validation and result.kept_epoch is not None:
        yield (
            f"These are the parameters of epoch {result.kept_epoch}: of all epochs the least "
            f"cost on the last {result.recipe.validation} training rows, which were held back."
        )
    pairs = most_confused(result.confusion)[:5]
    for digit, said, times in pairs:
        yield f"{digit} was taken for {said}{' ' if times < len(COUNT) else ', '}{_times(times)}."
    if not pairs:
        yield "No digit was taken for the same other one twice."


def _about_dead_outputs(result: Result) -> Iterator[str]:
    """Which class, which neuron, why, and what to change."""
    dead = result.dead_outputs
    if not dead:
        return
    right = _join([f"{result.confusion[j, j]} of {result.confusion[j].sum()}" for j in dead])
    s, es, are, have, them, their = (
        ("s", "es", "are", "have", "them", "their")
        if len(dead) > 1
        else ("", "", "is", "has", "it", "its")
    )
    how_many = f" ({right} right)" if len(dead) <= 3 else ""
    yield (
        f"Dead output{s}: class{es} {_join(dead)} {are} lost{how_many}. Neuron{s} {_join(dead)} "
        f"of the output layer, layer {result.network.L}, {have} z ≤ 0 on (at least 95 % of) the "
        f"training rows of {their} own digit. ReLU's derivative is 0 there, so no error reaches "
        f"the weights that could lift {them} again."
    )
    yield (
        "What to change: another --seed, shorter steps (--learning-rate 0.003), or an output that "
        "cannot die (--loss cross_entropy, or --recipe modern)."
    )
