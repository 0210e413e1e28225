"""Run what promises equal bits, the tests marked `bits`, with six kinds of OpenBLAS's kernels.

Of names that OpenBLAS takes for the same kernels one is run, and kernels whose instructions this
processor lacks are left out. Arguments go to pytest.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
KERNELS = ("Haswell", "SkylakeX", "Zen", "Sandybridge", "Nehalem", "Prescott")
# Both of NumPy and SciPy bring an OpenBLAS, which takes the kernels that it is told to take; a
# product then ends the process if the processor has no such instructions.
TAKEN = """
import numpy, scipy.linalg.blas
from threadpoolctl import threadpool_info
for kind, gemm in ("f", scipy.linalg.blas.sgemm), ("d", scipy.linalg.blas.dgemm):
    A = numpy.ones((300, 300), kind)
    for product in A @ A, A @ A[0], gemm(1, A, A):
        assert (product == 300).all()
print(sorted({str(found.get("architecture")) for found in threadpool_info()}))
"""


def run(arguments: list[str], kernels: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the kernels of a name."""
    environment = os.environ | {"OPENBLAS_CORETYPE": kernels}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        check=False,
    )


def main() -> int:
    """Run the tests with each kind of kernels, as many at once as there are cores.

    The first run has all cores, since it compiles what the others load. Each run has a folder of
    its own: in the one that they would share, pytest removes old folders while others look
    through it.
    """
    files = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if "pytest.mark.bits" in path.read_text(encoding="utf-8")
    ]
    command = ["-m", "pytest", "-q", "-m", "bits", *files, *sys.argv[1:]]
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):

        def tests(kernels: str, processes: str = "0") -> subprocess.CompletedProcess[str]:
            given = ["-n", processes, "--dist", "worksteal", f"--basetemp={folder}/{kernels}"]
            return run([*command, *given], kernels)

        outcomes = pool.map(lambda name: run(["-c", TAKEN], name), KERNELS)
        tried = dict(zip(KERNELS, outcomes, strict=True))
        names: list[str] = []
        for name, done in tried.items():
            if done.returncode == -signal.SIGILL:
                print(f"{name} needs instructions that this processor lacks.")
                continue
            same = [one for one in names if tried[one].stdout == done.stdout]
            if same:
                print(f"{name} is {same[0]} here.")
            else:
                names.append(name)
        failed, (first, *others) = 0, names
        runs = itertools.chain([tests(first, "auto")], pool.map(tests, others))
        for name, done in zip(names, runs, strict=True):
            print(f"Tests of equal bits, {name}:\n{done.stdout}", flush=True)
            failed += done.returncode != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
