"""Targets that cannot be learnt from: said before training, by the rows of the table."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from chainrule.commands.cli import app

pytest.importorskip("skrub", reason="tables need skrub")
pytestmark = pytest.mark.once


@pytest.fixture
def train(tmp_path):
    """Train on a column of targets, of which some are given; the outcome of the command."""

    def train(targets, *options):
        rng = np.random.default_rng(0)
        cells = [str(n) for n in rng.integers(1, 9, 80)]
        for row, cell in targets.items():
            cells[row - 1] = cell
        lines = [f"{x:.3f},{cell}" for x, cell in zip(rng.normal(size=80), cells, strict=True)]
        (tmp_path / "t.csv").write_text("x,y\n" + "\n".join(lines) + "\n")
        where = ["train", tmp_path / "t.csv", "-t", "y", "-o", tmp_path / "m.chainrule"]
        asked = [*where, "--task", "regression", "--max-iter", "2", *options]
        result = CliRunner().invoke(app, list(map(str, asked)))
        assert "Traceback" not in result.output, result.exception
        return result, (tmp_path / "m.chainrule").exists()

    return train


@pytest.mark.parametrize(
    ("targets", "options", "said"),
    [
        ({50: "-3"}, ["--loss", "poisson"], "--loss poisson needs a target 0 or more; 'y' is -3"),
        ({50: "-3"}, ["--loss", "tweedie"], "--loss tweedie needs a target 0 or more; 'y' is -3"),
        ({50: "0"}, ["--loss", "gamma"], "--loss gamma needs a target above 0; 'y' is 0"),
        ({50: "1e305"}, [], "the target 'y' is 1e+305"),
        ({50: "1e305"}, ["--no-standardize"], "the target 'y' is 1e+305"),
    ],
)
@pytest.mark.parametrize("missing", [{}, {7: "", 9: ""}])
def test_a_target_that_the_loss_does_not_take_is_said_by_its_row(
    train, monkeypatch, targets, options, said, missing
):
    if options == ["--no-standardize"]:
        options = ["--standardize", "false"]
    fits = []
    monkeypatch.setattr("chainrule.commands.jobs._fit", lambda *_: fits.append(1))
    result, stored = train(targets | missing, *options)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "in row 50" in result.stderr
    assert (fits, stored) == ([], False)


def test_the_settings_file_is_named(train, tmp_path):
    (tmp_path / "s.toml").write_text('loss = "gamma"\n')
    result, _ = train({50: "0"}, "--config", tmp_path / "s.toml")
    assert result.exit_code == 2
    assert f"{tmp_path / 's.toml'}: loss gamma needs a target above 0" in result.stderr


def test_a_target_of_text_is_said_by_its_row(train):
    result, _ = train({3: "", 50: "x"})
    assert result.exit_code == 2
    assert "no number in row 50" in result.stderr


def test_targets_in_the_domain_are_learnt_from(train):
    for loss in ("poisson", "tweedie", "gamma"):
        result, stored = train({50: "0.5"}, "--loss", loss, "-f")
        assert (result.exit_code, stored) == (0, True), result.stderr
