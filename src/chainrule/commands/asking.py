"""From the settings of the command tune to the question that is searched, and the rows to judge on.

Every error that a user can cause is a ValueError with a message for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from chainrule.commands import making, other_rows, preparing, splitting
from chainrule.commands.other_rows import Tests
from chainrule.commands.preparing import Table
from chainrule.commands.splitting import Plan
from chainrule.commands.tables import reading_of
from chainrule.commands.train import leaks_in
from chainrule.estimators.row_columns import FEATURES, ROLES, RowColumns
from chainrule.estimators.tabular import ESTIMATORS
from chainrule.search.measures import measure_for
from chainrule.search.results import Question
from chainrule.tables import reading as tables


class Asked(NamedTuple):
    """A table, the question about it, and what follows the search.

    Attributes
    ----------
    rows : Table
    question : Question
    plan : Plan
        For the training of the settings that do best.
    tests : Tests or None
        Rows of another table, to judge on.
    held : (table, array, RowColumns)
        Rows to judge on: the columns, the target, what each row counts for, and its group.
    roles : dict of str to str
        The column of each role.
    warned : list of str
        Columns that give the target away.
    """

    rows: Table
    question: Question
    plan: Plan
    tests: Tests | None
    held: tuple[Any, Any, RowColumns]
    roles: dict[str, str]
    warned: list[str]


def ask(
    data: str,
    settings: Mapping[str, Any],
    chosen: Mapping[str, Any],
    written: Mapping[str, str],
) -> Asked:
    """Read a table, put rows aside to judge on, and ask for good settings.

    Parameters
    ----------
    data : str
    settings, chosen, written : dict
        As :func:`chainrule.commands.settings.settings_of` gives them.

    Raises
    ------
    ValueError
        A column or a setting is wrong, or there are too few rows.
    """
    seed, target, ignore = settings["seed"], settings["target"], settings["ignore"]
    roles = {role: settings[role] for role in ROLES if settings[role] is not None}
    read = {target, *roles.values()}
    learnt = tables.learn(
        data,
        target,
        table=settings["table"],
        query=settings["query"],
        ignore=[name for name in ignore if name not in read],
        reading=reading_of(settings["missing"], settings["date_format"]),
    )
    rows = preparing.prepare(
        learnt.frame,
        target,
        task=settings["task"],
        ignore=ignore,
        kinds=settings["kind"],
        max_levels=settings["max_levels"],
        learnt=learnt,
        roles=roles,
    )
    beside = [name for role, name in roles.items() if role not in FEATURES]
    warned = leaks_in(learnt.frame.drop(columns=beside), rows)
    held = 0.2 if settings["test_fraction"] is None else settings["test_fraction"]
    tests = None
    if settings["test"] is None:
        if held == 0:
            raise ValueError("the search is judged on rows that it does not see; hold some out")
        plan = splitting.split(rows, test_fraction=held, seed=seed)
        learn, judged = plan.parts[0]
        aside = rows.X.iloc[judged], rows.y[judged], rows.of_rows.take(judged)
    else:
        tests = other_rows.read_tests(
            rows, settings["test"], learnt.frame, settings["group"], ignore
        )
        rows.notices += tests.notices
        plan = splitting.all_rows(rows)
        learn = plan.parts[0][0]
        aside = tests.X, np.asarray(tests.y), RowColumns(group=tests.groups)
    making.make(rows, chosen, plan, seed, written)  # refuses what is wrong now
    question = Question(
        rows.X.iloc[learn],
        rows.y[learn],
        rows.task,
        measure_for(rows.task, settings["metric"], rows.of_rows.weight),
        making.checked(rows, chosen, written, ESTIMATORS[rows.task]),
        {
            "kinds": rows.kinds,
            "max_levels": rows.max_levels,
            "missing_texts": rows.missing_texts,
        },
        seed,
        rows.of_rows.take(learn),
    )
    return Asked(rows, question, plan, tests, aside, roles, warned)
