"""Which model a table gets: the tabular ensembles, or a plain network.

`tabular_pipeline` and the command train choose by this one rule. Nothing else is imported, for the
command has to choose, and to refuse, before it loads anything.
"""

from __future__ import annotations

from collections.abc import Iterable

NETWORK, TABULAR = "network", "tabular"
PRESETS = {TABULAR: "best", "fast": "fast"}  # of TabularClassifier and TabularRegressor
MODELS = (*PRESETS, NETWORK)
# What can be set of an ensemble; everything else is a setting of a network.
OF_ENSEMBLES = frozenset(
    ("class_weight", "max_epochs", "time_limit", "n_jobs", "engine", "verbose", "callbacks")
)
OF_ENSEMBLES_ALONE = frozenset(("max_epochs", "n_jobs"))


def model_for(settings: Iterable[str]) -> str:
    """The model where none is named: a network if one of its settings is given, or the ensembles.

    Parameters
    ----------
    settings : iterable of str
        The names of those that are given.

    Examples
    --------
    >>> model_for([]), model_for(["class_weight"]), model_for(["dropout", "class_weight"])
    ('tabular', 'tabular', 'network')
    """
    return TABULAR if OF_ENSEMBLES.issuperset(settings) else NETWORK


def without_effect(model: str, settings: Iterable[str]) -> list[str]:
    """Those settings which a model does not have.

    Parameters
    ----------
    model : {"tabular", "fast", "network"}
    settings : iterable of str

    Examples
    --------
    >>> without_effect("fast", ["engine", "dropout"]), without_effect("network", ["n_jobs"])
    (['dropout'], ['n_jobs'])
    """
    if model == NETWORK:
        return [name for name in settings if name in OF_ENSEMBLES_ALONE]
    return [name for name in settings if name not in OF_ENSEMBLES]
