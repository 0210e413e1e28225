"""Columns are encoded as the equations say: compared with an encoder that makes every column."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.ensembles.encoding import (
    MISSING,
    UNSEEN,
    Columns,
    Schema,
    learn_encoder,
    means_by_fold,
)

pytestmark = pytest.mark.once


def all_columns(inputs, layout):
    """Every column that `Inputs` stand for, made one by one."""
    columns = [inputs.dense[:, j] for j in range(layout.dense)]
    s = 0
    for j, T in enumerate(layout.bins):
        for t in range(T):
            p = np.where(t < inputs.bins[:, j], 1.0, 0.0)
            p[inputs.bins[:, j] == t] = inputs.fractions[inputs.bins[:, j] == t, j]
            columns.append(p * layout.scale[s] - layout.mean[s])
            s += 1
    for c, width in enumerate(layout.levels):
        for t in range(width):
            columns.append((inputs.levels[:, c] == t) * layout.scale[s] - layout.mean[s])
            s += 1
    return np.stack([np.empty(len(inputs.dense)), *columns], axis=1)[:, 1:]


def naive_numbers(train, rows, T):
    """(scaled, marks, bins) of one column of numbers, cell by cell; with no means subtracted."""
    there = [x for x in train if x == x]
    median = float(np.median(there)) if there else 0.0
    filled = [x if x == x else median for x in train]
    low, high = np.percentile(filled, 25), np.percentile(filled, 75)
    spread = high - low
    if not spread > 0:
        spread = (max(filled) - min(filled)) / 2
    scaled, marks, bins = [], [], []
    edges = sorted(set(np.quantile(there, np.linspace(0, 1, T + 1)).tolist())) if there else []
    for x in rows:
        r = 0.0 if x != x or not spread > 0 else (x - median) / spread
        scaled.append(r / (1 + (r / 3) ** 2) ** 0.5)
        marks.append(float(x != x))
        p = []
        for a, b in pairwise(edges):
            p.append(0.0 if x != x else 2 * min(1.0, max(0.0, (x - a) / (b - a))))
        bins.append(p)
    return scaled, marks, bins if len(edges) >= 3 else [[] for _ in rows]


def naive_means(codes, L, Y, w, folds, fold):
    """What each level, UNSEEN and MISSING are, from the rows outside of a fold."""
    keep = [i for i in range(len(codes)) if folds[i] != fold]
    found = np.zeros((L + 2, Y.shape[1]))
    if not keep:
        return found
    for y in range(Y.shape[1]):
        prior = sum(w[i] * Y[i, y] for i in keep) / sum(w[i] for i in keep)
        for level in range(L):
            rows = [i for i in keep if codes[i] == level]
            total = sum(w[i] * Y[i, y] for i in rows) + 10 * prior
            mean = total / (sum(w[i] for i in rows) + 10)
            found[level, y] = 2 * (mean - prior) / max(Y[:, y].std(), 1e-9)
    return found


def naive_levels(train, rows, L):
    """The columns of 0 and a value of one category, cell by cell."""
    counts = [train.count(level) for level in range(L)]
    absent, present = train.count(MISSING), sum(n > 0 for n in counts)
    if present + (absent > 0) <= 1:
        return [[] for _ in rows]
    order = sorted(range(L), key=lambda level: (-counts[level], level))[:32]
    kept = [level for level in order if counts[level] >= 3]
    if present == 2 and not absent:
        kept = kept[:1]
    value = {level: 1.0 if counts[level] / sum(counts) >= 0.25 else 1.664 for level in kept}
    if len(kept) == 1:
        value[kept[0]] = 2.0
    marks = absent >= 3
    return [
        [value[level] * (code == level) for level in kept] + [1.664 * (code == MISSING)] * marks
        for code in rows
    ]


cell = st.one_of(
    st.just(np.nan),
    st.integers(-3, 3).map(float),
    st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda x: round(x, 3)),
)


@st.composite
def tables(draw):
    n, p = draw(st.integers(8, 40)), draw(st.integers(0, 3))
    numbers = np.array(draw(st.lists(cell, min_size=n * p, max_size=n * p))).reshape(n, p)
    levels = tuple(draw(st.lists(st.integers(1, 12), max_size=2)))
    codes = [draw(st.lists(st.integers(-1, L - 1), min_size=n, max_size=n)) for L in levels]
    seed = draw(st.integers(0, 9))
    rng = np.random.default_rng(seed)
    Y = rng.normal(size=(n, draw(st.integers(1, 2))))
    w = rng.uniform(0.1, 2, n)
    folds = rng.permutation(n) % 3
    new = draw(st.lists(st.integers(-2, 0), min_size=len(levels), max_size=len(levels)))
    codes = np.array(codes, np.int32).reshape(len(levels), n).T
    return numbers, codes, levels, Y, w, folds, np.array(new, np.int32)


@given(tables(), st.sampled_from([2, 5, 16]))
@settings(max_examples=60)
def test_inputs_are_the_columns_of_the_equations(table, T):
    numbers, codes, levels, Y, w, folds, new = table
    n, p = numbers.shape
    columns = Columns(numbers, np.ascontiguousarray(codes))
    schema = Schema(levels, np.ones(p, bool), np.zeros(p, bool))
    encoder, trained = learn_encoder(columns, schema, Y, w, folds, T)
    rows = Columns(
        np.vstack([numbers, np.full((1, p), 0.5)]), np.vstack([codes, new[None]]).astype(np.int32)
    )
    predicted = encoder.encode(rows)
    layout = encoder.layout(True)

    by_number = [naive_numbers(numbers[:, j], rows.numbers[:, j], T) for j in range(p)]
    scaled = np.array([each[0] for each in by_number]).reshape(p, n + 1).T
    marked = [j for j in range(p) if np.isnan(numbers[:, j]).any()]
    marks = np.array([by_number[j][1] for j in marked]).reshape(len(marked), n + 1).T
    many = [c for c, L in enumerate(levels) if len(set(codes[:, c]) - {MISSING}) >= 9]
    virtual = np.hstack(
        [np.empty((n + 1, 0))]
        + [np.array(each[2]).reshape(n + 1, -1) for each in by_number]
        + [
            np.array(naive_levels(codes[:, c].tolist(), rows.codes[:, c].tolist(), L)).reshape(
                n + 1, -1
            )
            for c, L in enumerate(levels)
        ]
    )
    means = {
        (c, f): naive_means(codes[:, c], levels[c], Y, w, folds, f) for c in many for f in range(4)
    }
    own = [np.array([means[c, folds[i]][codes[i, c]] for i in range(n)]) for c in many]
    whole = [means[c, 3][rows.codes[:, c]] for c in many]
    dense_train = np.hstack([scaled[:n], marks[:n], *own])
    dense_new = np.hstack([scaled, marks, *whole])
    kept = dense_train.std(axis=0) > 1e-9
    centre = dense_train[:, kept].mean(axis=0)

    expected = np.hstack([dense_train[:, kept] - centre, virtual[:n] - virtual[:n].mean(axis=0)])
    np.testing.assert_allclose(all_columns(trained, layout), expected, atol=2e-5)
    expected = np.hstack([dense_new[:, kept] - centre, virtual - virtual[:n].mean(axis=0)])
    np.testing.assert_allclose(all_columns(predicted, layout), expected, atol=2e-5)


def test_without_bins_only_the_bins_are_missing():
    rng = np.random.default_rng(0)
    columns = Columns(rng.normal(size=(50, 2)), rng.integers(0, 4, (50, 1)).astype(np.int32))
    schema = Schema((4,), np.ones(2, bool), np.zeros(2, bool))
    Y, w, folds = rng.normal(size=(50, 1)), np.ones(50), np.arange(50) % 2
    encoder, inputs = learn_encoder(columns, schema, Y, w, folds, 8)
    whole = all_columns(inputs, encoder.layout(True))
    less = inputs._replace(bins=inputs.bins[:, :0], fractions=inputs.fractions[:, :0])
    D = encoder.layout(True).dense
    np.testing.assert_array_equal(
        all_columns(less, encoder.layout(False)), np.delete(whole, np.s_[D : D + 16], axis=1)
    )


def test_a_rows_own_target_is_not_in_its_means():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 12, (60, 1)).astype(np.int32)
    Y, folds = rng.normal(size=(60, 1)), np.arange(60) % 4
    before = means_by_fold(codes, (12,), Y, np.ones(60), folds)[0]
    Y = Y.copy()
    Y[7] += 3  # the deviation of all rows is a factor and may change
    after = means_by_fold(codes, (12,), Y, np.ones(60), folds)[0]
    ratio = (after[folds[7]][:12] / before[folds[7]][:12]).ravel()
    np.testing.assert_allclose(ratio, ratio[0])
    ratio = after[(folds[7] + 1) % 4][:12] / before[(folds[7] + 1) % 4][:12]
    assert np.ptp(ratio) > 1e-3


def test_infinite_and_unseen_cells_are_within_the_bounds():
    rng = np.random.default_rng(0)
    columns = Columns(rng.normal(size=(50, 1)), rng.integers(0, 12, (50, 1)).astype(np.int32))
    schema = Schema((12,), np.ones(1, bool), np.zeros(1, bool))
    Y = rng.normal(size=(50, 1))
    encoder, _ = learn_encoder(columns, schema, Y, np.ones(50), np.arange(50) % 2, 8)
    rows = Columns(np.array([[1e100], [-1e100], [np.nan]]), np.full((3, 1), UNSEEN, np.int32))
    inputs = encoder.encode(rows)
    plain = inputs.dense + encoder.dense_mean
    np.testing.assert_allclose(plain[:, 0], [3, -3, 0], atol=1e-3)
    np.testing.assert_allclose(plain[:, 1], 0, atol=1e-6)
    assert inputs.levels.max() == -1
    assert inputs.bins[:, 0].tolist() == [7, 0, 0]
    assert inputs.fractions[:, 0].tolist() == [1, 0, 0]


def test_what_rounding_makes_of_one_number_is_in_one_bin():
    angles = 2 * np.pi * np.arange(7) / 7
    exact = np.repeat([1.0, *np.cos(angles[1:4])], 30)  # cos(x) = cos(2π - x)
    rounded = np.repeat(np.cos(angles)[[0, 6, 5, 4]], 30)
    assert (exact != rounded).any()
    both = np.concatenate([exact, rounded])
    columns = Columns(np.stack([both, 1e9 + both, 1e-9 * both], axis=1), np.empty((240, 0), int))
    schema = Schema((), np.zeros(3, bool), np.zeros(3, bool))
    Y, weights, folds = both[:, None], np.ones(240), np.arange(240) % 2
    encoder, inputs = learn_encoder(columns, schema, Y, weights, folds, 16)
    for scale, edges in zip((1, 1, 1e-9), encoder.edges, strict=True):
        assert len(edges) >= 4
        assert np.diff(edges).min() > 1e-6 * scale
    same = inputs.bins[:120] + inputs.fractions[:120] - inputs.bins[120:] - inputs.fractions[120:]
    assert np.abs(same).max() < 1e-6
