"""Runs the benchmark and prints its tables.

    python -m benchmarks.run [PART ...] [--quick] [--to FOLDER]
    python -m benchmarks.run --show [--to FOLDER]

Parts: steps, scaling, components, predict, startup, quality_time, small_fits; all of them if none
is named. Each writes FOLDER/PART.json (benchmarks/results unless told; with --quick nothing unless
told).
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from benchmarks import demands, report
from benchmarks.timing import load, machine, machine_line

PARTS = ("steps", "scaling", "components", "predict", "startup", "quality_time", "small_fits")
RESULTS = Path(__file__).parent / "results"


def run_part(part: str, quick: bool) -> dict[str, Any]:
    """Rows of a part, with the time it took and the machine's load before and after."""
    before, began = load(), time.perf_counter()
    rows = importlib.import_module(f"benchmarks.{part}").measure(quick)
    return {
        "quick": quick,
        "seconds": round(time.perf_counter() - began, 1),
        "load": [before, load()],
        "rows": rows,
    }


def write(path: Path, found: dict[str, Any]) -> None:
    """JSON with a row on each line."""
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in found["rows"])
    head = json.dumps({k: v for k, v in found.items() if k != "rows"}, ensure_ascii=False)
    path.write_text(f'{head[:-1]}, "rows": [\n{rows}\n]}}\n', encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """All parts that a folder holds."""
    paths = {part: folder / f"{part}.json" for part in PARTS}
    return {
        part: json.loads(path.read_text(encoding="utf-8"))
        for part, path in paths.items()
        if path.exists()
    }


def show(results: dict[str, Any]) -> None:
    """All tables of results that were read."""
    for part, found in results.items():
        print(machine_line(found["machine"]))
        report.print_part(part, found)
    demands.print_table(results)


def main() -> None:
    parser = argparse.ArgumentParser(description="chainrule beside other libraries.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="fewer cases, rounds and peers")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="where results are written")
    parser.add_argument("--show", action="store_true", help="print results measured before")
    args = parser.parse_args()
    unknown = sorted(set(args.parts) - set(PARTS))
    if unknown:
        parser.error(f"no part called {unknown[0]!r}; there are {', '.join(PARTS)}")
    folder = args.to or (None if args.quick else RESULTS)
    if args.show:
        show(read(args.to or RESULTS))
        return
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    os.environ.setdefault("KERAS_BACKEND", "jax")
    where = machine()
    print(machine_line(where))
    from benchmarks import steps

    print("\n".join(steps.left_out(args.quick)))
    results: dict[str, Any] = {}
    failed = []
    for part in args.parts or PARTS:
        print(f"\n{part} ", end="", flush=True)
        try:
            found = run_part(part, args.quick)
        except Exception:  # the other parts shall not be lost
            traceback.print_exc()
            failed.append(part)
            continue
        results[part] = {"machine": where, **found}
        print()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write(folder / f"{part}.json", results[part])
        report.print_part(part, results[part])
    demands.print_table(results)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
