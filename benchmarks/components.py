"""What each component costs beside the plain step: (64, 100, 10), batch 200, float32, compiled.

Activations, costs, optimisers and kinds of layer take the place of the plain network's ReLU,
squared error, descent and affine layer, one at a time. Regularisers are switched on in
`MLPRegressor`, beside the same estimator without.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.tasks import CASES, LEARNING_RATE, noise_task
from benchmarks.timing import row, take_turns

PLAIN = "plain"
REGULARIZERS: dict[str, dict[str, Any]] = {
    "alpha": {"alpha": 1e-3},
    "l1": {"l1": 1e-4},
    "weight_decay": {"weight_decay": 1e-3},
    "max_norm": {"max_norm": 3.0},
    "clip_norm": {"clip_norm": 1.0},
    "clip_value": {"clip_value": 0.5},
    "ema_decay": {"ema_decay": 0.99},
    "dropout": {"dropout": 0.2},
    "input_noise": {"input_noise": 0.1},
    "batch normalisation": {"normalization": "batch"},
    "layer normalisation": {"normalization": "layer"},
}


def networks() -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """(what, name, arguments of Network, optimiser)."""
    import chainrule

    yield "component", PLAIN, {}, "sgd"
    for name in chainrule.ACTIVATIONS:
        if name != "relu":
            yield "activation", name, {"activation": name}, "sgd"
    for name in chainrule.LOSSES:
        if name != "squared_error":
            yield "cost", name, {"loss": name}, "sgd"
    for name in chainrule.OPTIMIZERS:
        if name != "sgd":
            yield "optimiser", name, {}, name


def sized(run: Callable[[int], list[float]], at_least: float) -> Callable[[], float]:
    """A turn: microseconds of a step, over as many epochs as fill the time, after one untimed."""
    epochs = int(np.clip(at_least / min(run(3)[1:]), 1, 100))
    return lambda: 1e6 * float(np.mean(run(1 + epochs)[1:])) / CASES["small"].steps


def network_run(given: dict[str, Any], optimizer: str) -> Callable[[int], list[float]]:
    """Seconds of each of some epochs of `chainrule.train`."""
    import chainrule

    task = noise_task(CASES["small"], "squared_error", optimizer)
    loss = chainrule.LOSSES[given.get("loss", "squared_error")]
    sizes = (*task.sizes[:-1], task.sizes[-1] * loss.outputs)
    network = chainrule.Network(sizes, dtype="float32", seed=0, **given)
    Y = task.Y + np.float32(0.5 * (loss.name == "gamma"))  # whose targets are above 0
    start = network.theta.copy()

    def run(epochs: int) -> list[float]:
        network.theta[:] = start
        history = chainrule.train(
            network,
            task.X,
            Y,
            epochs=epochs,
            batch_size=task.batch,
            optimizer=optimizer,
            learning_rate=LEARNING_RATE,
            seed=0,
            engine="numba",
        )
        return [epoch.seconds for epoch in history.epochs]

    return run


def estimator_run(given: dict[str, Any]) -> Callable[[int], list[float]]:
    """Seconds of each of some epochs of `MLPRegressor.fit`, by its own history."""
    import chainrule

    task = noise_task(CASES["small"], "squared_error", "sgd")
    model = chainrule.MLPRegressor(
        hidden_layer_sizes=(100,),
        **{
            "solver": "sgd",
            "momentum": 0,
            "nesterovs_momentum": False,
            "alpha": 0,
            "batch_size": task.batch,
            "learning_rate_init": LEARNING_RATE,
            "tol": 0,
            "n_iter_no_change": np.inf,
            "random_state": 0,
            "engine": "numba",
            **given,
        },
    )

    def run(epochs: int) -> list[float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.set_params(max_iter=epochs).fit(task.X, task.Y)
        return [record["seconds"] for record in model.history_]

    return run


def measure(quick: bool) -> list[dict[str, Any]]:
    """Everything in turns; what fails says so and is left out."""
    import chainrule

    runs: dict[tuple[str, str], Callable[[int], list[float]]] = {
        (what, name): network_run(given, optimizer) for what, name, given, optimizer in networks()
    }
    known = inspect.signature(chainrule.MLPRegressor).parameters
    for name, given in ({PLAIN: {}} | REGULARIZERS).items():
        if all(key in known for key in given):
            runs["regulariser", name] = estimator_run(given)
    turns = {}
    for key, run in runs.items():
        try:
            turns[key] = sized(run, 0.01 if quick else 0.06)  # compiles
        except Exception as error:
            print(f"{' '.join(key)} left out: {type(error).__name__}: {error}"[:200], flush=True)
    found = take_turns(turns, 3 if quick else 9)
    return [row(name, "µs", values, what=what) for (what, name), values in found.items()]
