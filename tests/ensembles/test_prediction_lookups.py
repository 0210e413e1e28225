"""What is looked up to predict: the same bits from a sparse matrix and from the compiled loop."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.ensembles import SETTINGS, table
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.ensembles import fitted, prediction_lookups
from chainrule.ensembles.fitting import fit_ensemble
from chainrule.ensembles.inputs import encoded


def by_hand(x, E, dtype=np.float32):
    """The sums row by row, number after number, each operation rounded."""
    z = np.zeros((len(x.bins), E.shape[1]), dtype)
    for j in range(len(z)):
        for q, (b, f) in enumerate(zip(x.bins[j], x.fractions[j], strict=True)):
            row = x.nodes[q] + b
            z[j] += (1 - f) * E[row]
            z[j] += f * E[row + 1]
        for first, level in zip(x.first_levels, x.levels[j], strict=True):
            if level >= 0:
                z[j] += E[first + level]
    return z


SHAPES = {
    "n": st.integers(1, 40),
    "dense": st.integers(0, 2),
    "bins": st.lists(st.integers(2, 5), max_size=3),
    "levels": st.lists(st.integers(1, 4), min_size=1, max_size=2),
    "width": st.integers(1, 140),
}


def case(n, dense, bins, levels, width):
    """Rows that look up, and a table."""
    inputs, layout, *_ = table(n, dense, tuple(bins), tuple(levels))
    x = encoded(inputs, layout)
    rng = np.random.default_rng(width)
    return x, rng.normal(size=(layout.table_rows, width)).astype(np.float32)


@pytest.mark.once
@settings(max_examples=50, deadline=None)
@given(**SHAPES)
def test_the_sparse_matrix_adds_in_order(n, dense, bins, levels, width):
    x, E = case(n, dense, bins, levels, width)
    z = prediction_lookups.looked_up(x, slice(0, n), E, 1)(E)
    assert np.array_equal(z, by_hand(x, E))


@pytest.mark.bits
@pytest.mark.compiled
@settings(max_examples=50, deadline=None)
@given(**SHAPES)
def test_compiled_look_ups_have_the_same_bits(n, dense, bins, levels, width):
    run = prediction_lookups.ready()
    assert run is not None
    x, E = case(n, dense, bins, levels, width)
    z = np.zeros((n, width), np.float32)
    run(x, np.arange(n), E, z)
    assert np.array_equal(z, by_hand(x, E))


@pytest.mark.compiled
def test_predictions_are_the_same_whichever_looks_up(monkeypatch):
    monkeypatch.setattr(fitted, "ROWS", 128)  # blocks of rows
    inputs, layout, y, _, folds = table(300)
    model = fit_ensemble(inputs, layout, y, None, folds, SETTINGS, loss="squared", engine="numpy")
    asked = []

    def predicted(run):
        monkeypatch.setattr(prediction_lookups, "_run", lambda work: asked.append(work) or run)
        return model.predict_members(inputs)

    assert np.array_equal(predicted(None), predicted(prediction_lookups.ready()))
    q, c = inputs.bins.shape[1], inputs.levels.shape[1]
    of_row = (2 * q + c) * SETTINGS.hidden[0] * SETTINGS.members
    assert asked == [128 * of_row, 128 * of_row, 44 * of_row] * 2


@pytest.mark.once
def test_a_loop_that_rounds_otherwise_is_not_used():
    def fused(x, rows, E, z):
        """Multiply and add, rounded once."""
        x = x._replace(fractions=x.fractions.astype(np.float64))
        z[:] = by_hand(x, E.astype(np.float64), np.float64)

    assert not prediction_lookups._same_bits(fused)


@pytest.mark.compiled
@pytest.mark.parametrize("same", [True, False])
def test_only_a_loop_of_the_same_bits_is_ready(monkeypatch, same):
    asked = []
    monkeypatch.setattr(prediction_lookups, "_same_bits", lambda run: asked.append(run) or same)
    found = prediction_lookups.ready.__wrapped__()
    assert len(asked) == 1
    assert found is (asked[0] if same else None)


@pytest.mark.once
def test_much_work_is_worth_the_compiler(monkeypatch):
    loop = object()
    monkeypatch.setattr(prediction_lookups, "_multiplied", [0.0])
    monkeypatch.setattr(prediction_lookups, "ready", lambda: loop)
    monkeypatch.setattr(prediction_lookups, "is_kept", lambda: False)
    assert prediction_lookups._run(prediction_lookups.WORTH_COMPILING / 2) is None
    assert prediction_lookups._run(prediction_lookups.WORTH_COMPILING / 2) is None
    assert prediction_lookups._run(1) is loop


@pytest.mark.compiled
def test_what_rounds_is_kept_apart_from_what_does_not(monkeypatch, tmp_path):
    """One in the place of the other would predict other bits."""
    from chainrule.engine import compilation

    monkeypatch.setattr(compilation, "_compiled", {})
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    of_look_up = (
        prediction_lookups.look_up,
        prediction_lookups.ARGUMENTS,
        prediction_lookups.DTYPE,
    )
    compilation.compiled(*of_look_up)
    assert compilation.is_compiled(*of_look_up)
    assert not compilation.is_compiled(*of_look_up, rounds=True)
    monkeypatch.setattr(compilation, "_compiled", {})
    rounding = compilation.entry_point(compilation.compiled(*of_look_up, rounds=True))
    assert prediction_lookups._same_bits(rounding)
