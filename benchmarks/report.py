"""Results as tables: medians, quartiles, and ratios within the same run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

Row = dict[str, Any]


def table(heads: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """Columns wide enough, the first to the left and the others to the right, as Markdown."""
    rows = [list(heads), *(list(line) for line in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    texts = [
        "| "
        + " | ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in rows
    ]
    rule = "|" + "|".join(
        "-" * (width + 2) if i == 0 else "-" * (width + 1) + ":" for i, width in enumerate(widths)
    )
    return "\n".join([texts[0], rule + "|", *texts[1:]])


def number(value: float) -> str:
    """Three digits, thousands marked."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def compared(rows: list[Row], ours: str, more: Callable[[Row], list[str]] | None = None) -> Any:
    """Lines of who, median, quartiles, times ours; the fastest first."""
    base = next((row["median"] for row in rows if row["who"] == ours), None)
    for row in sorted(rows, key=lambda row: row["median"]):
        ratio = f"{row['median'] / base:.2f}" if base else ""
        spread = f"{number(row['q1'])} – {number(row['q3'])}"
        yield [row["who"], number(row["median"]), spread, ratio, *(more(row) if more else [])]


def groups(rows: list[Row], *keys: str) -> Iterable[tuple[tuple[Any, ...], list[Row]]]:
    """Rows with the same values of some keys, which all of them have, in their order."""
    having = [row for row in rows if all(key in row for key in keys)]
    for values, some in itertools.groupby(having, lambda row: tuple(row[key] for key in keys)):
        yield values, list(some)


def print_steps(rows: list[Row]) -> None:
    for (case, loss, optimizer), some in groups(rows, "case", "loss", "optimizer"):
        sizes = "-".join(map(str, some[0]["sizes"]))
        if len(sizes) > 40:
            sizes = f"{len(some[0]['sizes']) - 1} layers of {some[0]['sizes'][1]}"
        print(f"\n{case}: {sizes}, batch {some[0]['batch']}, {loss}, {optimizer}: a step\n")
        print(table(["who", "µs", "quartiles", "× ours"], compared(some, "chainrule")))


def print_scaling(rows: list[Row]) -> None:
    whos = list(dict.fromkeys(row["who"] for row in rows if "grows" in row))
    for (what,), some in groups(rows, "grows"):
        print(f"\nA step as {what} grows, µs (median); GFLOP/s of the first column\n")
        lines = []
        for (value,), points in groups(some, "value"):
            by_who = {row["who"]: row["median"] for row in points}
            rate = points[0]["mflop"] / points[0]["median"] * 1e3
            cells = [number(by_who[who]) if who in by_who else "" for who in whos]
            lines.append([f"{value:,}", *cells, number(rate)])
        print(table([what, *whos, "GFLOP/s"], lines))
    some = [[row["who"], number(row["median"]), row["unit"]] for row in rows if "roof" in row]
    if some:
        print("\nWhat the processor can do\n")
        print(table(["what", "median", "unit"], some))
    lines = [
        [
            row["memory"],
            "-".join(map(str, row["sizes"][:4])) + ("…" if len(row["sizes"]) > 4 else ""),
            f"{row['batch']:,}",
            row["who"],
            *(number(row[key]) for key in ("data_mb", "bound_mb", "median")),
        ]
        for row in rows
        if "memory" in row
    ]
    if lines:
        print("\nPeak memory of a fit with Adam, MB beyond what was there; the bound is")
        print("parameters × (1 + slots + 1) + the batch's activations, three arrays of them\n")
        heads = ["grows", "sizes", "batch", "who", "data", "bound", "peak"]
        print(table(heads, lines))
    for (epochs,), some in groups(rows, "epochs"):
        print(f"\nTime of an epoch after {epochs}, dead units among them, over an early one's\n")
        lines = [line[:3] for line in compared(some, "chainrule")]
        print(table(["who", "ratio", "quartiles"], lines))
    some = [row for row in rows if "source" in row]
    if some:
        print("\nTraining from memory maps, the files in the disk cache: a step\n")
        print(table(["X is", "µs", "quartiles", "× in memory"], compared(some, "in memory")))
    for row in rows:
        if "prepared" in row:
            print(f"\nMapping {row['who']}, once: {number(row['median'])} s for each GB of X")


def print_components(rows: list[Row]) -> None:
    print("\nA step with each component in turn, and over the plain one's\n")
    plain = {row["what"]: row["median"] for row in rows if row["who"] == "plain"}
    lines = []
    for row in rows:
        base = plain.get("regulariser" if row["what"] == "regulariser" else "component")
        ratio = f"{row['median'] / base:.2f}" if base else ""
        spread = f"{number(row['q1'])} – {number(row['q3'])}"
        lines.append([f"{row['what']} {row['who']}", number(row["median"]), spread, ratio])
    print(table(["component", "µs", "quartiles", "× plain"], lines))


def print_predict(rows: list[Row]) -> None:
    for (n,), some in groups(rows, "rows"):
        unit = some[0]["unit"]
        ours = "MLPClassifier.predict_proba"
        if n == 1:
            print(f"\nOne row: {unit} of a call\n")
            lines = compared(some, ours, lambda row: [number(row["p99"])])
            print(table(["who", "p50", "quartiles", "× ours", "p99"], lines))
        else:
            print(f"\n{n:,} rows: {unit}\n")
            extra = [row.get("extra_mb") for row in some]
            if any(value is not None for value in extra):
                lines = compared(
                    some,
                    ours,
                    lambda row: [number(row["extra_mb"]) if "extra_mb" in row else ""],
                )
                print(table(["who", unit, "quartiles", "× ours", "extra MB"], lines))
            else:
                print(table(["who", unit, "quartiles", "× ours"], compared(some, ours)))


def print_startup(rows: list[Row]) -> None:
    lines = [
        [
            f"{row['what']}: {row['who']}",
            f"{row['median']:.3f}",
            f"{row['q1']:.3f} – {row['q3']:.3f}",
        ]
        for row in rows
    ]
    print("\nIn a new process, seconds\n")
    print(table(["what", "s", "quartiles"], lines))


def print_quality_time(rows: list[Row]) -> None:
    for (data, aim), some in groups(rows, "data", "aim"):
        print(f"\n{data}: seconds until the validation cost is {aim:.4f}\n")

        def more(row: Row) -> list[str]:
            epochs = sorted(row["epochs"])[len(row["epochs"]) // 2]
            reached = str(epochs) if row["reached"] else f"not in {epochs}"
            return [number(row["an_epoch_ms"]), reached]

        lines = compared(some, "chainrule", more)
        print(table(["who", "s", "quartiles", "× ours", "ms an epoch", "epochs"], lines))


def print_small_fits(rows: list[Row]) -> None:
    for (what, data), some in groups(rows, "what", "data"):
        engine = next((row["engine"] for row in some if "engine" in row), "")
        print(f"\n{what}, {data}{engine and f', on {engine}'}\n")
        print(table(["who", "ms", "quartiles", "× ours"], compared(some, "chainrule")))


PRINTERS = {
    "steps": print_steps,
    "scaling": print_scaling,
    "components": print_components,
    "predict": print_predict,
    "startup": print_startup,
    "quality_time": print_quality_time,
    "small_fits": print_small_fits,
}


def print_part(part: str, found: dict[str, Any]) -> None:
    """A part's tables, with what its numbers are worth."""
    quick = ", --quick" if found["quick"] else ""
    before, after = found["load"]
    print(f"\n== {part}: {found['seconds']:.0f} s, load {before} to {after}{quick}")
    PRINTERS[part](found["rows"])
