"""Columns that say something of the rows, such as their weights, rather than of what to predict.

Every error that a user can cause is a ValueError with a message for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from chainrule.estimators.row_facts import Called, RowFacts, groups_in, times_in, weights_in
from chainrule.tables.cells import listed
from chainrule.tables.types import suggestion

if TYPE_CHECKING:
    import pandas as pd

ROLES = ("weight", "group", "time")
FEATURES = ("time",)  # roles of columns that are learnt from too


def check_names(roles: Mapping[str, str], names: Sequence[str], target: str) -> None:
    """Refuse a column that is not there, or that is the target.

    Parameters
    ----------
    roles : dict of str to str
        The column of each role.
    names : sequence of str
        The columns that there are.
    target : str

    Raises
    ------
    ValueError
    """
    for role, name in roles.items():
        if name == target:
            raise ValueError(f"--{role}: {name!r} is the target")
        if name not in names:
            hint = suggestion(name, list(names)) or f"; the columns are {listed(list(names))}"
            raise ValueError(f"--{role}: there is no column {name!r}{hint}")
    if "weight" in roles and roles["weight"] in (roles.get("group"), roles.get("time")):
        raise ValueError(f"--weight: {roles['weight']!r} cannot be a weight and something else too")


def read_row_columns(
    frame: pd.DataFrame,
    rows: NDArray[Any],
    roles: Mapping[str, str],
    missing_texts: Sequence[str] | None = None,
) -> RowFacts:
    """Read the columns of weights, groups and times.

    Parameters
    ----------
    frame : pandas.DataFrame of n rows
    rows : (n,) array
        Which rows of the table these are, from 0, for messages.
    roles : dict of str to str
        The column of each role.
    missing_texts : sequence of str or None, default=None
        The texts that say that a value is missing.

    Raises
    ------
    ValueError
        A weight is missing, negative or too large, all are 0, or there is one group; a time
        cannot be read.
    """
    readers = {"weight": weights_in, "group": groups_in, "time": times_in}
    found: dict[str, Any] = {}
    for role, name in roles.items():
        advice = "; --date-format says how dates are written" if role == "time" else ""
        called = Called(f"--{role}: {name!r}", rows + 1, advice)
        try:
            found[role] = readers[role](frame[name], called, missing_texts)
        except ValueError as error:
            said = str(error)
            raise ValueError(said if said.startswith("--") else f"--{role}: {said}") from None
    return RowFacts(**found)
