"""The command compare: several stored models on the same rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from chainrule.commands.tables import AsJson, Data, Query, Quiet, TableName, bad_input, note

if TYPE_CHECKING:
    from chainrule.commands.estimates import Estimate
    from chainrule.commands.judging import Judged
    from chainrule.commands.predicting import Stored

SHOWN = {
    "classification": ("log_loss", "accuracy", "roc_auc"),
    "regression": ("pinball", "rmse", "mae", "r2"),
}


class Place(NamedTuple):
    """A model's place in the order.

    Attributes
    ----------
    path : str
    judged : Judged
    less : Estimate or None
        Its metric less that of the best, and a paired bootstrap interval; None of the best.
    """

    path: str
    judged: Judged
    less: Estimate | None


def compare(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help="Two or more .chainrule files.")
    ],
    data: Data,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            help="The column predicted (default: as the models say).",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="For the bootstrap.")] = 0,
    table: TableName = None,
    query: Query = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare several models of one target on a table that has it, the best first.

    The order is that of the log loss; of numbers that of the RMSE or, as the models were trained,
    of the MAE or the pinball loss. Beside each model stands by how much it is
    worse than the best, with an interval from a bootstrap of the same rows for both.

    Try:

      chainrule compare network.chainrule tabular.chainrule test.csv

      chainrule compare models/*.chainrule test.csv --json
    """
    with bad_input():
        from chainrule.commands import predicting

        if len(models) < 2:
            raise ValueError("compare takes two models or more, and a table at the end")
        if data == "-":
            raise ValueError("compare reads the table once for each model; name a file, not -")
        opened = [predicting.open_model(path) for path in models]
        target = check_same_target(opened, target)
        places, notices = rank(opened, data, target=target, seed=seed, table=table, query=query)
    for notice in notices:
        note(notice)
    if as_json:
        from chainrule.monitoring.callbacks import plain

        print(json.dumps(plain(_as_object(places, target)), allow_nan=False))
    elif quiet:
        print(_last_line(places))
    else:
        _show(places, data)


def check_same_target(opened: list[Stored], target: str | None) -> str:
    """The column that all models predict.

    Parameters
    ----------
    opened : list of Stored
    target : str or None
        What the user says that it is.

    Raises
    ------
    ValueError
        They predict different columns, or classes and numbers, or different classes.
    """
    first = opened[0]
    for each in opened[1:]:
        if each.is_classifier != first.is_classifier:
            kinds = ["classes" if one.is_classifier else "numbers" for one in (first, each)]
            raise ValueError(f"{first.path} predicts {kinds[0]}, and {each.path} {kinds[1]}")
        if target is None and each.target != first.target:
            raise ValueError(
                f"{first.path} predicts {first.target!r}, and {each.path} {each.target!r}; models "
                "that are compared predict the same"
            )
        if first.is_classifier:
            known, others = (
                {str(name) for name in one.estimator.classes_.tolist()} for one in (first, each)
            )
            if known != others:
                from chainrule.tables.cells import listed

                raise ValueError(
                    f"{first.path} and {each.path} know different classes: "
                    f"{listed(sorted(known ^ others))}"
                )
    found = target or first.target
    if found is None:
        raise ValueError(f"{first.path} does not say what it predicts; name it with --target")
    return found


def rank(
    opened: list[Stored], source: Any, *, seed: int = 0, **where: Any
) -> tuple[list[Place], list[str]]:
    """Judge models by the same rows, the best first.

    Parameters
    ----------
    opened : list of Stored
    source, **where :
        As for :func:`chainrule.commands.judging.evaluate_file`.
    seed : int, default=0

    Returns
    -------
    places : list of Place
    notices : list of str

    Raises
    ------
    ValueError
        A table cannot be read, or the models read different true values in it.
    """
    import numpy as np

    from chainrule.commands.differences import difference, score_of
    from chainrule.commands.judging import evaluate_file

    judged, notices = [], []
    for each in opened:
        try:
            found = evaluate_file(each, source, seed=seed, **where)
        except ValueError as error:
            raise ValueError(f"{each.path}: {error}") from None
        judged.append(found)
        notices += [f"{each.path}: {notice}" for notice in found.notices]
        same = len(found.truth) == len(judged[0].truth)
        if not same or not (found.truth == judged[0].truth).all():
            raise ValueError(
                f"{opened[0].path} and {each.path} read different values of the target in "
                f"{source}; their files say other things of how it is written"
            )
    if len({score_of(each.estimator) for each in opened}) > 1 and not opened[0].is_classifier:
        notices.append(_by_middles(opened, judged))
    one = np.ones((1, len(judged[0].truth)))
    order = sorted(range(len(judged)), key=lambda j: float(judged[j].losses.mean(one)[0]))
    best = judged[order[0]].losses
    return [
        Place(
            opened[j].path,
            judged[j],
            None if j == order[0] else difference(judged[j].losses, best, seed),
        )
        for j in order
    ], notices


def _by_middles(opened: list[Stored], judged: list[Judged]) -> str:
    """Let models that were trained for different scores be compared by absolute errors; say so."""
    from chainrule.commands.differences import Score, losses_of_numbers, score_of

    for each in opened:
        score = score_of(each.estimator)
        if not score.has_middle:
            other = next(one for one in opened if score_of(one.estimator) != score)
            raise ValueError(
                f"{each.path} predicts the quantiles {', '.join(map(str, score.levels))}, and "
                f"{other.path} something else; models that are compared predict the same"
            )
    for found in judged:
        found.losses = losses_of_numbers(found.truth, found.predicted, Score("mae"))
    return "the models were trained for different scores; they are compared by absolute errors"


def _last_line(places: list[Place]) -> str:
    from chainrule.commands.evaluation_text import verdict

    best = places[0]
    return f"{best.path}: {verdict(best.judged.evaluation)}"


def _as_object(places: list[Place], target: str) -> dict[str, Any]:
    """The result as one object, for --json."""
    metric = places[0].judged.losses.metric
    models = []
    for each in places:
        models.append(
            {
                "model": each.path,
                "metrics": each.judged.evaluation.as_dict()["metrics"],
                "worse_than_best": None if each.less is None else each.less._asdict(),
                "as_good_as_best": each.less is None or not each.less.low > 0,
            }
        )
    first = places[0].judged
    rows = {"test": first.evaluation.n, "left_out": first.left_out}
    return {"target": target, "rows": rows, "ordered_by": metric, "models": models}


def _show(places: list[Place], data: str) -> None:
    """Print the models, a line each."""
    from chainrule.commands import evaluation_text as text

    first = places[0].judged
    screen = text.console(sys.stdout)
    left = f" ({first.left_out:,} more left out)" if first.left_out else ""
    screen.print(f"{first.evaluation.n:,} rows of {data}{left}\n", soft_wrap=True)
    every = [each.judged.evaluation.metrics for each in places]
    metrics = [name for name in SHOWN[first.evaluation.task] if all(name in one for one in every)]
    lines = [(each.path, each.judged.evaluation.metrics, each.less) for each in places]
    text.print_places(screen, lines, metrics, first.losses.metric)
    level = first.evaluation.level
    screen.print(
        f"\nWorse by: the model's {text.label(first.losses.metric)} less that of the best, with a "
        f"{level:.0%} interval; where it holds 0, these rows do not tell the two apart.",
        soft_wrap=True,
    )
