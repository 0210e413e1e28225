"""Time of a step, everybody on the same task, and the matrix products alone.

What is timed is whole epochs divided by their steps: drawing the order and gathering the rows are
inside, what comes before the first epoch (checking the input, compiling) is not. Of each turn the
first epoch is not counted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import libraries, peers, products
from benchmarks.tasks import CASES, Task, noise_task
from benchmarks.timing import row, take_turns

QUICK_CASES = ("tiny", "small", "large", "deep and narrow")
EVERYBODY: tuple[type[peers.Peer], ...] = (
    peers.Chainrule,
    peers.ChainruleOneThread,
    peers.ChainruleNumpy,
    peers.NumpyInPlace,
    libraries.Jax,
    libraries.Torch,
    libraries.TorchCompiled,
    libraries.ScikitLearn,
    libraries.Keras,
    libraries.Skorch,
    peers.ArticleLoop,
)
SLOW_TO_SET_UP = (libraries.TorchCompiled, libraries.Keras)  # left out by --quick


def contestants(task: Task, quick: bool) -> Iterator[peers.Peer]:
    """Everybody who is installed and can do the task, ready to train."""
    for kind in EVERYBODY:
        if not peers.installed(*kind.needs) or not kind.suits(task):
            continue
        if quick and kind in SLOW_TO_SET_UP:
            continue
        try:
            yield kind(task)
        except Exception as error:  # a peer that fails shall not end the run
            print(f"{kind.name} left out: {type(error).__name__}: {error}"[:200], flush=True)


def left_out(quick: bool) -> list[str]:
    """A line for each contestant that will not be seen."""
    lines = [
        f"{kind.name} left out: {', '.join(kind.needs)} not installed"
        for kind in EVERYBODY
        if not peers.installed(*kind.needs)
    ]
    if quick:
        names = " and ".join(kind.name for kind in SLOW_TO_SET_UP)
        lines.append(f"{names} left out: --quick does not wait for their setting up")
    return lines


def step_turn(peer: peers.Peer, at_least: float) -> Callable[[], float] | None:
    """A turn: microseconds of a step, over as many epochs as fill the time; None if it fails."""
    try:
        seconds = min(peer.train(2))
    except Exception as error:
        print(f"{peer.name} left out: {type(error).__name__}: {error}"[:200], flush=True)
        return None
    epochs = int(np.clip(at_least / seconds, 1, 2000))

    def turn() -> float:
        return 1e6 * float(np.mean(peer.train(1 + epochs)[1:])) / peer.task.steps

    return turn


def measure_task(task: Task, rounds: int, at_least: float, quick: bool) -> dict[str, list[float]]:
    """Microseconds a step of everybody, by round."""
    everybody = {}
    for peer in contestants(task, quick):
        turn = step_turn(peer, at_least)
        if turn is not None:
            everybody[peer.name] = turn
    limits = products.turns(task, os.cpu_count() or 1, at_least)
    for name, seconds in limits.items():
        everybody[name] = lambda seconds=seconds: 1e6 * seconds()
    return take_turns(everybody, rounds)


def combinations(quick: bool) -> Iterator[tuple[Any, str, str]]:
    """Cases with their losses and optimisers; a single output has no classes."""
    for case in CASES.values():
        if quick and case.name not in QUICK_CASES:
            continue
        for loss in ("squared_error", "cross_entropy"):
            for optimizer in ("sgd", "adam"):
                if loss == "cross_entropy" and (quick or case.sizes[-1] == 1):
                    continue
                yield case, loss, optimizer


def measure(quick: bool) -> list[dict[str, Any]]:
    """All cases."""
    rows = []
    for case, loss, optimizer in combinations(quick):
        task = noise_task(case, loss, optimizer)
        what = {
            "case": case.name,
            "sizes": case.sizes,
            "batch": case.batch,
            "loss": loss,
            "optimizer": optimizer,
        }
        found = measure_task(task, 3 if quick else 7, 0.03 if quick else 0.1, quick)
        rows += [row(who, "µs", values, **what) for who, values in found.items()]
        print(".", end="", flush=True)
    return rows


def same_step(task: Task) -> dict[str, float]:
    """How far from ours everybody's parameters are after one step on all rows.

    Root mean square of the difference, over that of our step.
    """
    start = np.concatenate([part.ravel() for pair in task.start for part in pair])
    moved = {}
    for peer in contestants(task, quick=False):
        peer.train(1)
        end = np.concatenate([part.ravel() for pair in peer.parameters() for part in pair])
        moved[peer.name] = end - start
    ours = moved[peers.Chainrule.name]
    return {
        name: float(np.sqrt(np.mean((step - ours) ** 2) / np.mean(ours**2)))
        for name, step in moved.items()
    }


def check() -> list[dict[str, Any]]:
    """That all contestants do the same work: the same step from the same values."""
    rows = []
    for loss in ("squared_error", "cross_entropy"):
        for optimizer in ("sgd", "adam"):
            case = CASES["small"]._replace(steps=1)
            task = noise_task(case, loss, optimizer, learning_rate=1e-2)
            for who, distance in same_step(task).items():
                rows.append(row(who, "of the step", [distance], loss=loss, optimizer=optimizer))
    return rows


if __name__ == "__main__":
    for line in check():
        print(f"{line['loss']:14}{line['optimizer']:6}{line['who']:20}{line['median']:.1e}")
