"""What the results must show, beside what they show."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks.products import OWN, SPLIT
from benchmarks.report import number, table

Rows = list[dict[str, Any]]
OURS = "chainrule"
PEERS = (
    "JAX jit + scan",
    "PyTorch eager",
    "PyTorch compiled",
    "scikit-learn",
    "skorch",
    "Keras on jax",
    "Keras on torch",
)


class Demand(NamedTuple):
    """One line: of what, the bound, what was measured, and whether it holds."""

    case: str
    bound: str
    found: str
    met: bool


def times(case: str, rows: Rows, other: str, least: float) -> Iterator[Demand]:
    """Ours is faster than another by at least a factor; nothing if either is missing."""
    medians = {row["who"]: row["median"] for row in rows}
    if OURS in medians and other in medians:
        ratio = medians[other] / medians[OURS]
        yield Demand(case, f">= {least:g} × {other}", f"{ratio:.2f}", ratio >= least)


def of_products(case: str, rows: Rows, most: float) -> Iterator[Demand]:
    """Ours is at most so many times the matrix products alone."""
    medians = {row["who"]: row["median"] for row in rows}
    products = [medians[who] for who in (OWN, SPLIT) if who in medians]
    if OURS in medians and products:
        ratio = medians[OURS] / min(products)
        yield Demand(case, f"<= {most:g} × the products", f"{ratio:.2f}", ratio <= most)


def numpy_engine(case: str, rows: Rows) -> Iterator[Demand]:
    """The engine without a compiler beside the loop by hand, and scikit-learn on the tiny case."""
    medians = {row["who"]: row["median"] for row in rows}
    ours, hand = medians.get("chainrule, numpy"), medians.get("NumPy in place")
    if ours and hand:
        yield Demand(
            case, "NumPy engine <= 1.5 × by hand", f"{ours / hand:.2f}", ours <= 1.5 * hand
        )
    theirs = medians.get("scikit-learn")
    if ours and theirs and case.startswith("tiny"):
        ratio = theirs / ours
        yield Demand(case, "NumPy engine >= 3 × scikit-learn", f"{ratio:.2f}", ratio >= 3)


LEAST = {  # (case, optimiser): factors by peer
    ("tiny", "sgd"): {
        "JAX jit + scan": 2,
        "scikit-learn": 16,
        "PyTorch eager": 28,
        "the article's loop": 32,
    },
    ("tiny", "adam"): {"JAX jit + scan": 2, "scikit-learn": 20},
    ("small", "sgd"): {"JAX jit + scan": 2, "scikit-learn": 6, "PyTorch eager": 6},
    ("small", "adam"): {"JAX jit + scan": 2, "scikit-learn": 6, "PyTorch eager": 6},
    ("large", "sgd"): {"JAX jit + scan": 1.2, "PyTorch eager": 2.2, "PyTorch compiled": 2.2},
    ("large", "adam"): {"JAX jit + scan": 1.2, "scikit-learn": 4},
    ("large batch", "sgd"): {},
    ("large batch", "adam"): {},
    ("three hidden layers", "sgd"): {},
    ("three hidden layers", "adam"): {},
    ("deep and narrow", "sgd"): dict.fromkeys(PEERS, 2),
    ("deep and narrow", "adam"): dict.fromkeys(PEERS, 2),
}
MOST_PRODUCTS = {("large", "sgd"): 1.12, ("large", "adam"): 1.3}


def of_steps(rows: Rows) -> Iterator[Demand]:
    """Step times, on the squared error."""
    rows = [row for row in rows if row["loss"] == "squared_error"]
    for (case, optimizer), peers in LEAST.items():
        some = [row for row in rows if (row["case"], row["optimizer"]) == (case, optimizer)]
        name = f"{case}, {optimizer}"
        for other, least in peers.items():
            yield from times(name, some, other, least)
        if (case, optimizer) in MOST_PRODUCTS:
            yield from of_products(name, some, MOST_PRODUCTS[case, optimizer])
        if case in ("tiny", "small") and optimizer == "sgd":
            yield from numpy_engine(name, some)
        by_who = {row["who"]: row["median"] for row in some}
        if "chainrule, 1 thread" in by_who and OURS in by_who:
            gain = by_who["chainrule, 1 thread"] / by_who[OURS]
            worth = by_who["chainrule, 1 thread"] >= 1000
            least = 1.7 if worth else 0.95
            text = ">= 1.7 × one thread" if worth else "no slower than one thread (5 % noise)"
            yield Demand(name, text, f"{gain:.2f}", gain >= least)


def of_components(rows: Rows) -> Iterator[Demand]:
    """No component and no regulariser costs half a step more."""
    plain = {row["what"]: row["median"] for row in rows if row["who"] == "plain"}
    for what in ("activation", "cost", "regulariser"):
        base = plain.get("regulariser" if what == "regulariser" else "component")
        some = [row for row in rows if row["what"] == what and row["who"] != "plain"]
        if base and some:
            worst = max(some, key=lambda row: row["median"])
            over = [row["who"] for row in some if row["median"] > 1.5 * base]
            found = f"{worst['median'] / base:.2f} ({worst['who']}); {len(over)} above"
            yield Demand(f"every {what}", "<= 1.5 × the plain step", found, not over)


def of_predict(rows: Rows) -> Iterator[Demand]:
    """One row and very many."""
    by = {(row["rows"], row["who"]): row for row in rows}
    ours, theirs = "MLPClassifier.predict_proba", "scikit-learn predict_proba"
    for n, least in ((1, 2), (100_000, 2), (1_000_000, 2)):
        if (n, ours) in by and (n, theirs) in by:
            ratio = by[n, theirs]["median"] / by[n, ours]["median"]
            bound = f">= {least} × scikit-learn"
            name = "one row" if n == 1 else f"{n:,} rows"
            yield Demand(f"{name}, predict_proba", bound, f"{ratio:.2f}", ratio >= least)
    for who in ("MLPClassifier.predictor()", "Network.predictor()"):
        if (1, who) in by:
            us = by[1, who]["median"]
            yield Demand(f"one row, {who}", "< 5 µs", number(us), us < 5)
    for n in (100_000, 1_000_000):
        mb = by.get((n, "Network.predict"), {}).get("extra_mb")
        if mb is not None:
            yield Demand(f"{n:,} rows, extra memory", "< 64 MB", f"{mb:.0f} MB", mb < 64)


def of_scaling(rows: Rows) -> Iterator[Demand]:
    """Memory, time over many epochs, memory maps."""
    fits = [row for row in rows if "memory" in row and row["who"] == OURS]
    if fits:
        over = max(fits, key=lambda row: row["median"] - row["bound_mb"])
        found = f"{over['median']:.0f} of {over['bound_mb']:.0f} MB ({over['memory']})"
        met = over["median"] <= over["bound_mb"] + 5
        yield Demand("memory of a fit", "parameters × (1 + slots + 1) + batch", found, met)
    for row in rows:
        if "epochs" in row and row["who"] == OURS:
            grown = f"{row['median']:.2f}"
            yield Demand("after 200 epochs", "<= 1.1 × early", grown, row["median"] <= 1.1)
    sources = {row["source"]: row["median"] for row in rows if "source" in row}
    in_memory = sources.pop("in memory", math.inf)
    for source, median in sources.items():
        ratio = median / in_memory
        yield Demand(f"X from {source}", "<= 1.3 × in memory", f"{ratio:.2f}", ratio <= 1.3)


def of_startup(rows: Rows) -> Iterator[Demand]:
    """Compiling once, and loading what was compiled."""
    for row in rows:
        if row["who"] != "chainrule, numba":
            continue
        ever = row["what"].startswith("first fit ever")
        most = 8 if ever else 0.6
        found = f"{row['median']:.2f} s"
        yield Demand(row["what"], f"< {most:g} s", found, row["median"] < most)


def of_small_fits(rows: Rows) -> Iterator[Demand]:
    """Small fits beside scikit-learn's: each, and all in the mean."""
    by_case: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        by_case.setdefault(row["what"], {}).setdefault(row["data"], {})[row["who"]] = row["median"]
    for what, by_data in by_case.items():
        ratios = {data: both["scikit-learn"] / both[OURS] for data, both in by_data.items()}
        if len(ratios) == 1:
            (ratio,) = ratios.values()
            yield Demand(what, ">= 5 × scikit-learn", f"{ratio:.2f}", ratio >= 5)
            continue
        for data, ratio in ratios.items():
            yield Demand(f"{what}, {data}", ">= 1.3 × scikit-learn", f"{ratio:.2f}", ratio >= 1.3)
        mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
        yield Demand(f"{what}, geometric mean", ">= 2 × scikit-learn", f"{mean:.2f}", mean >= 2)


DEMANDS = {
    "steps": of_steps,
    "components": of_components,
    "predict": of_predict,
    "scaling": of_scaling,
    "startup": of_startup,
    "small_fits": of_small_fits,
}


def print_table(results: dict[str, Any]) -> None:
    """All demands that the results speak of."""
    lines = [
        [demand.case, demand.bound, demand.found, "yes" if demand.met else "NO"]
        for part, demands in DEMANDS.items()
        if part in results
        for demand in demands(results[part]["rows"])
    ]
    if lines:
        print("\n== What must be so, and what was measured (squared error, medians)\n")
        print(table(["case", "at least or at most", "measured", "met"], lines))
        met = sum(line[-1] == "yes" for line in lines)
        print(f"\n{met} of {len(lines)} met.")
