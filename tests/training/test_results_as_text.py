"""What a result says of itself, in print and in a notebook's cell."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import Network, find_learning_rate, gradcheck, train
from chainrule.commands.evaluation import evaluate_classes
from chainrule.training.loop import Epoch
from chainrule.training.lr_finder import LRFinder
from chainrule.training.train import History


class Printer:
    """As much of IPython's printer as is needed."""

    def __init__(self):
        self.said = ""

    def text(self, words):
        self.said += words


def cell(result):
    """What a notebook shows for a result that stands last in its cell."""
    printer = Printer()
    result._repr_pretty_(printer, False)
    return printer.said


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (60, 2))
    return X, (X[:, :1] * X[:, 1:] > 0).astype(float)


def test_a_cell_shows_the_text_of_each_result(problem):
    net = Network((2, 4, 1), activation="tanh", loss="binary_cross_entropy", seed=0)
    y, said = np.array(["a", "b", "a", "b"]), np.array(["a", "b", "b", "b"])
    evaluation = evaluate_classes(y, said, None, ["a", "b"], resamples=10)
    for result, words in (
        (gradcheck(net, *problem), "gradient right: 17 parameters"),
        (find_learning_rate(net, *problem, steps=20, engine="numpy"), "rates from 1e-06 to "),
        (train(net, *problem, epochs=3, engine="numpy"), "3 epochs on numpy in "),
        (evaluation, "accuracy"),
    ):
        assert cell(result) == str(result)
        assert words in cell(result)
        assert "array(" not in cell(result)
        assert "object at" not in cell(result)


def test_an_evaluation_is_a_table_of_its_metrics():
    y = np.array(["a", "b"] * 20)
    said = np.where(np.arange(40) < 36, y, "a")
    text = str(evaluate_classes(y, said, None, ["a", "b"], resamples=100))
    assert text.startswith("classification, 40 rows, 95% intervals\n")
    assert "accuracy             0.9500  0." in text


def test_histories_in_words():
    epochs = [Epoch(0, 0.5, 0.1), Epoch(1, 0.25, 0.1)]
    assert str(History(epochs, "numba")) == "2 epochs on numba in 0.2 s: cost 0.5 to 0.25"
    assert str(History(epochs[:1])) == "1 epoch on numpy in 0.1 s: cost 0.5"
    assert str(History([], stopped="interrupted")) == "0 epochs on numpy in 0 s, interrupted"


def test_a_finder_without_a_suggestion_says_why():
    rates = np.array([1e-3, 1e-2])
    text = str(LRFinder(rates, rates, rates, float("nan"), True))
    assert text.startswith("no learning rate to suggest, since the loss never fell (2 rates from")
    assert "exploded" in text
