"""Features as the first layer takes them: looked up, or arithmetic on a column's number."""

from __future__ import annotations

from math import isnan
from typing import Any

import numpy as np

from chainrule.base.types import Array
from chainrule.exports.steps import (
    CALENDAR,
    Affine,
    Column,
    ExportError,
    Key,
    Lookup,
    Numeric,
    Program,
    Step,
    Table,
)


class FirstLayer:
    """What columns must hold for some features, and what the first layer does with these.

    A feature that has two values by a column's key, such as a column of a one-hot encoding, is
    never multiplied: with all such features of its column it finds a row that is added.

    Parameters
    ----------
    inputs : list of Numeric or Table
        The features, in the order in which the model takes them.
    names : list of str
        Of the columns.

    Attributes
    ----------
    columns : list of Column
    numbers : list of Numeric
    tables : list of Lookup
    """

    def __init__(self, inputs: list[Numeric | Table], names: list[str]) -> None:
        self.columns = _columns(inputs, names)
        of_column: dict[int, list[tuple[int, Table]]] = {}
        for at, feature in enumerate(inputs):
            if isinstance(feature, Table):
                of_column.setdefault(feature.column, []).append((at, feature))
        self.tables: list[Lookup] = []
        self._looked_up: list[int] = []  # inputs that are features of tables
        self._rows: list[tuple[Array, list[int]]] = []  # of each table: values of these inputs
        for j, parts in sorted(of_column.items()):
            by_key = _by_key(self.columns[j], [table for _, table in parts])
            two = np.array([len(np.unique(values)) <= 2 for values in by_key.T])
            places = [at for at, _ in parts]
            added = [at for at, few in zip(places, two, strict=True) if few]
            others = [at for at, few in zip(places, two, strict=True) if not few]
            distinct, row_of = np.unique(by_key[:, two], axis=0, return_inverse=True)
            self._rows.append((distinct, added))
            codes = row_of.ravel().tolist() if added else []
            self.tables.append(Lookup(j, codes, by_key[:, ~two], len(self._looked_up)))
            self._looked_up += others
        self._numbers = [at for at, one in enumerate(inputs) if isinstance(one, Numeric)]
        self.numbers = [one for one in inputs if isinstance(one, Numeric)]

    def affine(self, W: Array, b: Array) -> Affine:
        """The layer a W + b, or one that takes as many first inputs as W has rows.

        Parameters
        ----------
        W : (n, units) array
        b : (units,) array
        """
        order = np.array([*self._looked_up, *self._numbers], int)
        taken = np.flatnonzero(order < len(W))
        weights = np.zeros((max(taken, default=-1) + 1, len(b)))
        weights[taken] = W[order[taken]]
        rows = []
        for distinct, added in self._rows:
            there = np.array(added, int) < len(W)
            rows.append(distinct[:, there] @ W[np.array(added, int)[there]])
        return Affine(weights, b, tuple(rows))

    def program(self, steps: list[Step], dtype: str, **output: Any) -> Program:
        """The program of these steps.

        Parameters
        ----------
        steps : list of Step
            From the features on.
        dtype : str
        **output
            What else a `Program` has.
        """
        program = Program(self.columns, self.numbers, self.tables, steps, dtype=dtype, **output)
        for step in program.all_steps:
            for part in step:
                if isinstance(part, np.ndarray) and not np.isfinite(part).all():
                    raise ExportError("the model's parameters are not all finite; fit it anew")
        return program


def _columns(inputs: list[Numeric | Table], names: list[str]) -> list[Column]:
    """What the columns must hold for these features."""
    columns = [Column(name) for name in names]
    kinds: dict[int, set[str]] = {}
    known: dict[int, tuple[Key, ...]] = {}
    for feature in inputs:
        column = columns[feature.column]
        column.missing &= feature.missing is not None and not isnan(feature.missing)
        kind = "number"
        if isinstance(feature, Numeric) and feature.ops and feature.ops[0][0] in CALENDAR:
            kind = "date"
        if isinstance(feature, Table):
            column.none |= feature.none
            column.unknown &= feature.unknown is not None and not isnan(feature.unknown)
            strange = [key for key in feature.keys if isnan(feature.values.get(key, feature.usual))]
            if strange:
                raise ExportError(
                    f"column {column.name!r}: the category {strange[0]!r} becomes a missing "
                    "value that nothing fills; add a SimpleImputer after the encoder"
                )
            if feature.keys != known.get(feature.column):
                column.keys = list(dict.fromkeys([*column.keys, *feature.keys]))
                known[feature.column] = feature.keys
            kind = "text" if any(isinstance(key, str) for key in feature.keys) else "number"
        kinds.setdefault(feature.column, set()).add(kind)
    for j, found in kinds.items():
        if len(found) > 1:
            uses = " and as a ".join(sorted(found))
            raise ExportError(
                f"column {columns[j].name!r} is taken as a {uses}; give each use its own column"
            )
        kind = found.pop()
        columns[j].text, columns[j].date = kind == "text", kind == "date"
    return columns


def _by_key(column: Column, tables: list[Table]) -> Array:
    """The values of a column's looked-up features, (keys + 2, tables).

    By key, then for an unknown value, then for a missing one.
    """
    row = {key: k for k, key in enumerate(column.keys)}
    n = len(row)
    found = np.empty((n + 2, len(tables)))
    for at, table in enumerate(tables):
        found[:, at] = table.usual
        others: dict[int, float | None] = {row[key]: value for key, value in table.values.items()}
        others |= {n: table.unknown, n + 1: table.missing}
        if len(table.keys) != n:  # keys of another table of this column's
            own = set(table.keys)
            others |= {k: table.unknown for key, k in row.items() if key not in own}
        for k, value in others.items():
            if value is not None and not isnan(value):  # else it is never looked up
                found[k, at] = value
    return found
