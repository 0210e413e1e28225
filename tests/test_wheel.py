"""The wheel: built from this source, it holds all of the package, and runs without the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_the_wheel_holds_every_module_the_page_and_the_mark_of_types(unpacked: Path) -> None:
    source = ROOT / "src" / "chainrule"
    expected = {path.relative_to(source) for path in source.rglob("*.py")} | {Path("py.typed")}
    page = source / "app" / "static"
    expected |= {path.relative_to(source) for path in page.rglob("*") if path.is_file()}
    package = unpacked / "chainrule"
    assert {path.relative_to(package) for path in package.rglob("*") if path.is_file()} == expected
    (metadata,) = unpacked.glob("*.dist-info")
    assert "Requires-Python: >=3.11" in (metadata / "METADATA").read_text()
    assert "chainrule = chainrule.__main__:main" in (metadata / "entry_points.txt").read_text()


def test_the_wheel_runs_without_the_checkout(unpacked: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import chainrule; assert chainrule.__file__.startswith(sys.argv[1]), chainrule.__file__;"
        "net = chainrule.Network((2, 3, 1), seed=0);"
        "print(len(chainrule.train(net, [[0, 1], [1, 0]], [[1], [0]], epochs=2).epochs))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(unpacked)],
        check=True,
        capture_output=True,
        text=True,
        cwd=unpacked,
        timeout=120,
    )
    assert done.stdout.strip() == "2"
