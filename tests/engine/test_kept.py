"""Arguments that are handed over as one address: what arrives, and what is refused."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.engine.compilation import compiled, entry_point
from chainrule.engine.kept import Kept
from chainrule.equations.vecmath import borrowed

DTYPE = np.dtype("float32")


class Numbers(NamedTuple):
    """Arrays of numbers, and numbers."""

    matrix: Any
    factor: float
    places: Any
    k: int


class Tables(NamedTuple):
    """Arrays that the dtype of the numbers does not concern."""

    rates: Any
    blocks: Any
    read: Any


class Both(NamedTuple):
    """Handed over as one address."""

    tables: Tables
    numbers: Numbers


KEPT = (Both, ((Tables, "HTR"), (Numbers, "MFAI")))


def describe_matrix(matrix, out):
    """A sum and the shape."""
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            out[0] += matrix[i, j] * (1 + i * 10 + j)
    out[1], out[2] = matrix.shape


def describe(kept, out):
    """Write into `out` what arrives: numbers, shapes, and sums in which each place counts."""
    tables, numbers = borrowed(kept)
    out[0], out[1] = numbers.factor, numbers.k
    describe_matrix(numbers.matrix, out[2:5])
    describe_matrix(tables.read, out[5:8])
    at = 8
    for i in range(len(numbers.places)):
        out[at] += numbers.places[i] * (1 + i)
    for i in range(len(tables.rates)):
        out[at + 1] += tables.rates[i] * (1 + i)
    for g in range(tables.blocks.shape[0]):
        for i in range(tables.blocks.shape[1]):
            out[at + 2] += tables.blocks[g, i, 2] * (1 + g * 10 + i)
    numbers.matrix[:] = 7


@pytest.mark.compiled
@given(
    shape=st.tuples(st.integers(0, 4), st.integers(1, 4)),
    factor=st.floats(allow_nan=False),
    k=st.integers(-(2**63), 2**63 - 1),
    n=st.integers(0, 5),
    g=st.integers(0, 3),
)
def test_all_arrives_as_it_was(shape, factor, k, n, g):
    rng = np.random.default_rng(n)
    read = rng.normal(size=shape[::-1]).astype(DTYPE)
    read.flags.writeable = False
    tables = Tables(rng.normal(size=n), rng.integers(-9, 9, (g, 2, 3)), read)

    def given():
        matrix = np.random.default_rng(0).normal(size=shape).astype(DTYPE)
        return Both(tables, Numbers(matrix, factor, np.arange(n), k))

    plain, kept, outs = given(), given(), np.zeros((2, 12))
    describe(plain, outs[0])
    run = entry_point(compiled(describe, (KEPT, "H"), DTYPE))
    handed = Kept(kept, KEPT, DTYPE)
    run(handed.address, outs[1])
    np.testing.assert_allclose(outs[1], outs[0], rtol=1e-6, atol=1e-6)
    assert (outs[1][:2] == (factor, float(k))).all()
    assert (kept.numbers.matrix == 7).all()


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("matrix", np.zeros((2, 3))),
        ("matrix", np.zeros((3, 2), DTYPE).T),
        ("matrix", np.zeros((4, 6), DTYPE)[:, ::2]),
        ("matrix", np.zeros(6, DTYPE)),
        ("places", np.zeros(2, np.int32)),
    ],
)
def test_arrays_of_another_kind_are_refused(name, wrong):
    tables = Tables(np.zeros(1), np.zeros((1, 2, 3), np.int64), np.zeros((1, 1), DTYPE))
    numbers = Numbers(np.zeros((2, 3), DTYPE), 1.0, np.arange(2), 3)
    Kept(Both(tables, numbers), KEPT, DTYPE)
    with pytest.raises(TypeError, match=f"^{name} must be a C-contiguous array of"):
        Kept(Both(tables, numbers._replace(**{name: wrong})), KEPT, DTYPE)
