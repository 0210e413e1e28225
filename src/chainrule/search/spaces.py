"""Which settings a search tries, by the size of the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

SMALL, MEDIUM = 1000, 20_000  # rows below which a table is small, or of medium size
LAYERS, UNITS = "layers", "units"  # these two become `hidden_layer_sizes`
# Without a hidden layer these have no meaning.
OF_HIDDEN_LAYERS = ("activation", "dropout", "normalization")
NEED_HIDDEN_LAYERS = ("dropout", "normalization")  # unless they are none
NONE: tuple[Any, ...] = (None, 0, [], ())


class Numbers(NamedTuple):
    """Numbers from `low` to `high`, both included; with `log`, their logarithms are drawn."""

    low: float
    high: float
    log: bool = False

    def suggested(self, trial: Any, name: str) -> float:
        """What Optuna proposes for a trial."""
        suggest = trial.suggest_int if isinstance(self.low, int) else trial.suggest_float
        value: float = suggest(name, self.low, self.high, log=self.log)
        return value


class Names(NamedTuple):
    """One of several values."""

    values: tuple[Any, ...]

    def suggested(self, trial: Any, name: str) -> Any:
        """What Optuna proposes for a trial."""
        return trial.suggest_categorical(name, self.values)


Space = Mapping[str, Numbers | Names]

# Where a search starts: the network of `tabular_pipeline`, which each space below holds.
DEFAULTS: dict[str, Any] = {
    LAYERS: 1,
    UNITS: 100,
    "activation": "relu",
    "learning_rate_init": 0.002,
    "batch_size": 32,
    "dropout": 0.1,
    "alpha": 1e-4,
    "normalization": None,
}


def space_for(n: int, given: Mapping[str, Any]) -> dict[str, Numbers | Names]:
    """The settings to try on a table of n rows.

    Parameters
    ----------
    n : int
        Rows that a network learns from.
    given : dict of str to anything
        Parameters that are fixed; they are not searched.

    Returns
    -------
    dict of str to (Numbers or Names)
        Of a small table no hidden layer is tried as well, unless something is fixed that needs one:
        then the network is a linear model.
    """
    space: dict[str, Numbers | Names] = {
        LAYERS: Numbers(1, 3),
        UNITS: Numbers(16, 256, log=True),
        "activation": Names(("relu", "gelu", "tanh")),
        "learning_rate_init": Numbers(3e-4, 2e-2, log=True),
        "batch_size": Names((32, 64, 128)),
        "dropout": Numbers(0.0, 0.5),
        "alpha": Numbers(1e-6, 1e-1, log=True),
        "normalization": Names((None, "batch")),
    }
    if n < SMALL:
        fewest = int(any(given.get(name) not in NONE for name in NEED_HIDDEN_LAYERS))
        space[LAYERS], space[UNITS] = Numbers(fewest, 2), Numbers(8, 128, log=True)
        space["batch_size"] = Names((16, 32, 64))
        del space["normalization"]
    elif n >= MEDIUM:
        space[LAYERS], space[UNITS] = Numbers(1, 4), Numbers(32, 512, log=True)
        space["batch_size"] = Names((32, 128, 512))
    fixed = set(given)
    if "hidden_layer_sizes" in given:
        fixed |= {LAYERS, UNITS}
        if not given["hidden_layer_sizes"]:
            fixed |= {*OF_HIDDEN_LAYERS}
    if given.get("solver") == "lbfgs":
        fixed |= {"learning_rate_init", "batch_size", "dropout"}
    return {name: each for name, each in space.items() if name not in fixed}


def defaults_in(space: Space) -> dict[str, Any]:
    """The settings of the network of `tabular_pipeline` as a point of a space."""
    return {name: DEFAULTS[name] for name in space}


def parameters_at(point: Mapping[str, Any]) -> dict[str, Any]:
    """The estimator's parameters at a point of a space, with three digits, as people write them.

    Examples
    --------
    >>> parameters_at({"layers": 2, "units": 64, "dropout": 0.3})
    {'hidden_layer_sizes': (64, 64), 'dropout': 0.3}
    >>> parameters_at({"layers": 0, "units": 64, "dropout": 0.3, "alpha": 0.1})
    {'hidden_layer_sizes': (), 'alpha': 0.1}
    """
    found = {n: float(f"{v:.3g}") if isinstance(v, float) else v for n, v in point.items()}
    if LAYERS not in found:
        return found
    layers, units = int(found.pop(LAYERS)), found.pop(UNITS)
    if layers == 0:
        found = {name: value for name, value in found.items() if name not in OF_HIDDEN_LAYERS}
    return {"hidden_layer_sizes": (units,) * layers} | found
