"""What is said of versions is true: `make test-oldest` runs with the lower bounds."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from helpers.oldest import OLDEST

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?(?:>=([0-9.]+))?")


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file):
    """{package: version} of a lock, every line of which is an exact version."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    found = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    return {normal(name): version for name, version in found.items()}


def bounds(*extras):
    """{package: lowest version} that chainrule and some of its extras ask for."""
    asked = [*PROJECT["dependencies"]]
    for extra in extras:
        asked += PROJECT["optional-dependencies"][extra]
    found = [REQUIREMENT.fullmatch(one).groups() for one in asked]
    return {normal(name): version for name, version in found if name != "chainrule"}


def same(one, other):
    """Whether two versions are one but for zeros at the end."""
    return re.sub(r"(\.0)+$", "", one) == re.sub(r"(\.0)+$", "", other)


def test_pins_are_the_lower_bounds():
    held = pins("requirements-oldest.lock")
    for name, lowest in bounds("tables", "onnx", "tensorboard", "test").items():
        assert same(held[name], lowest), f"{name}>={lowest}, tested with {held[name]}"


def test_the_lock_has_all_that_is_asked_for():
    assert set(bounds("tables", "onnx", "tensorboard", "test", "bench", "docs")) <= set(
        pins("requirements.lock")
    )


def test_python_s_versions_are_those_that_are_tried():
    said = [line for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert said == ["Programming Language :: Python :: 3.11"]
    assert PROJECT["requires-python"] == ">=3.11"


def test_every_file_of_tests_has_one_that_runs_with_the_lowest_versions():
    files = {path.stem: path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    assert sorted(OLDEST) == sorted(files)
    for file, names in OLDEST.items():
        assert names, file
        for name in names:
            assert f"\ndef {name.partition('[')[0]}(" in files[file], f"{file}: {name}"


@pytest.mark.skipif(".venv-oldest" not in sys.prefix, reason="for the lowest versions")
def test_the_lowest_versions_are_what_runs():
    for name, version in pins("requirements-oldest.lock").items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # for another system
        assert found == version, name
