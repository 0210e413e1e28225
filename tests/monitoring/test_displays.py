"""Pictures of a training, and the finder of learning rates that one of them shows."""

from __future__ import annotations

import subprocess
import sys
import warnings

import matplotlib as mpl
import numpy as np
import pytest

from chainrule import Network
from chainrule.equations.optimizers import OPTIMIZERS
from chainrule.equations.regularizers import Rules
from chainrule.monitoring.displays import LossCurveDisplay, LRFinderDisplay
from chainrule.training.lr_finder import find_learning_rate

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


HISTORY = [
    {
        "epoch": e,
        "loss": 1.0 / (e + 1),
        "validation_loss": 0.5 + 0.1 * e,
        "validation_score": 0.1 * e,
    }
    for e in range(5)
]


class Fitted:
    """The attributes that a display reads."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)


def drawn(line):
    return line.get_xdata().tolist(), line.get_ydata().tolist()


def test_curves_are_the_history():
    display = LossCurveDisplay.from_history(HISTORY, best_epoch=2, score_name="accuracy")
    names = [line.get_label() for line in display.lines_]
    assert names == ["training loss", "validation loss", "validation accuracy"]
    keys = ["loss", "validation_loss", "validation_score"]
    for line, key in zip(display.lines_, keys, strict=True):
        assert drawn(line) == (list(range(5)), [record[key] for record in HISTORY])
    assert [line.axes for line in display.lines_] == [display.ax_] * 2 + [display.score_ax_]
    assert display.score_ax_.get_ylabel() == "validation accuracy"
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == names
    dots = [line for line in display.ax_.lines if line.get_marker() == "o"]
    assert [drawn(dot) for dot in dots] == [([2], [1 / 3]), ([2], [0.7])]
    styles = {line.get_linestyle() + str(line._dash_pattern) for line in display.lines_}
    assert len(styles) == 3  # told apart without colour


def test_without_validation_there_is_one_line_and_one_axis():
    history = [record | {"validation_loss": None, "validation_score": None} for record in HISTORY]
    display = LossCurveDisplay.from_history(history)
    assert len(display.lines_) == 1
    assert display.score_ax_ is None
    assert len(display.figure_.axes) == 1


def test_epochs_missing_a_validation_leave_a_gap():
    history = [dict(record) for record in HISTORY]
    history[1]["validation_loss"] = None
    (_, validation, _) = LossCurveDisplay.from_history(history).lines_
    assert np.isnan(validation.get_ydata()).tolist() == [False, True, False, False, False]


def test_several_fits_one_after_the_other_are_counted_through():
    display = LossCurveDisplay.from_history(HISTORY[:3] + HISTORY[:2], best_epoch=1)
    assert display.lines_[0].get_xdata().tolist() == [0, 1, 2, 3, 4]
    assert not [line for line in display.ax_.lines if line.get_marker() == "o"]


@pytest.mark.parametrize(
    ("losses", "asked", "scale"),
    [
        ([1.0, 0.01], "auto", "log"),
        ([1.0, 0.5], "auto", "linear"),
        ([100.0, -1.0], "auto", "linear"),
        ([1.0, 0.01], "linear", "linear"),
        ([1.0, 0.5], "log", "log"),
    ],
)
def test_scale(losses, asked, scale):
    assert LossCurveDisplay(losses).plot(loss_scale=asked).ax_.get_yscale() == scale


def test_given_axes_are_used_and_lines_can_be_styled():
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2)
    display = LossCurveDisplay(
        [2.0, 1.0],
    ).plot(right, line_kw={"color": "black", "linewidth": 3})
    assert display.ax_ is right
    assert display.figure_ is figure
    assert not left.lines
    assert display.lines_[0].get_color() == "black"
    assert display.lines_[0].get_linewidth() == 3


def test_one_epoch_is_visible():
    display = LossCurveDisplay([2.0]).plot()
    assert any(line.get_marker() == "o" for line in display.ax_.lines)


def test_from_estimator_with_a_history_and_in_a_pipeline():
    est = Fitted(history_=HISTORY, best_iteration_=3, loss_curve_=[9.0])
    for given in (est, Fitted(steps=[("scale", None), ("mlp", est)])):
        display = LossCurveDisplay.from_estimator(given)
        assert display.lines_[0].get_ydata().tolist() == [record["loss"] for record in HISTORY]
        assert display.best_epoch == 2


def test_the_dot_is_at_the_best_epoch_of_a_fit():
    from chainrule import MLPClassifier

    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = (X[:, 0] + rng.normal(size=60) > 0).astype(int)
    held = {"X_val": X[:20], "y_val": y[:20]}
    est = MLPClassifier(max_iter=30, learning_rate_init=0.05, scoring="loss", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est.fit(X[20:], y[20:], **held)
    ax = LossCurveDisplay.from_estimator(est).ax_
    dots = [line.get_xydata()[0] for line in ax.lines if line.get_marker() == "o"]
    best = int(np.argmin(est.validation_loss_curve_))
    assert 0 < best < 29
    assert [best, est.validation_loss_curve_[best]] in [dot.tolist() for dot in dots]


def test_from_scikit_learns_estimator():
    from sklearn.neural_network import MLPClassifier

    X = np.random.default_rng(0).standard_normal((60, 3))
    est = MLPClassifier((4,), max_iter=3, early_stopping=True, random_state=0, tol=0)
    with pytest.warns(Warning, match="Maximum iterations"):
        est.fit(X, X[:, 0] > 0)
    display = LossCurveDisplay.from_estimator(est)
    assert [drawn(line)[1] for line in display.lines_] == [est.loss_curve_, est.validation_scores_]


def test_what_cannot_be_drawn():
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError, match="fit it first"):
        LossCurveDisplay.from_estimator(Fitted())
    with pytest.raises(ValueError, match="history is empty"):
        LossCurveDisplay.from_history([])
    with pytest.raises(ValueError, match="no 'loss'"):
        LossCurveDisplay.from_history([{"epoch": 0}])
    with pytest.raises(ValueError, match="validation_loss must be 2 numbers"):
        LossCurveDisplay([1.0, 2.0], validation_loss=[1.0])
    with pytest.raises(ValueError, match="loss_scale"):
        LossCurveDisplay([1.0]).plot(loss_scale="cubic")


def test_matplotlib_is_loaded_only_to_draw():
    code = "import sys, chainrule.monitoring.displays, chainrule.monitoring.callbacks; "
    code += "import chainrule.equations.schedules; "
    code += "sys.exit(any(name in sys.modules for name in ('matplotlib', 'sklearn', 'rich')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Finding a learning rate


def problem(m=400, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((m, 5))
    return X, np.tanh(X @ rng.standard_normal((5, 2)))


def network(**options):
    return Network((5, 16, 2), **{"init": "he_normal", "seed": 1} | options)


@pytest.fixture(scope="module")
def found():
    X, Y = problem()
    return find_learning_rate(network(), X, Y, optimizer="sgd", batch_size=50, seed=0)


def test_rates_grow_by_the_same_factor(found):
    assert found.rates[0] == pytest.approx(1e-6)
    np.testing.assert_allclose(np.diff(np.log10(found.rates)), 7 / 99, rtol=1e-9)
    assert len(found.rates) == len(found.raw) == len(found.losses)


def test_network_is_not_changed():
    X, Y = problem()
    net = network()
    before = net.theta.copy()
    found = find_learning_rate(net, X, Y, seed=0)
    np.testing.assert_array_equal(net.theta, before)
    assert found.losses.min() < 0.8 * found.losses[0]  # while a copy did learn


def test_losses_are_those_of_plain_gradient_descent():
    """With all rows in each batch the losses can be had from the gradient alone."""
    X, Y = problem(40)
    found = find_learning_rate(
        network(), X, Y, optimizer="sgd", low=1e-3, high=0.1, steps=12, batch_size=40, seed=0
    )
    net = network()
    expected = []
    for rate in np.geomspace(1e-3, 0.1, 12):
        net.theta -= rate * net.gradient(X, Y)[1]
        expected.append(net.cost(X, Y))
    np.testing.assert_allclose(found.raw, expected, rtol=1e-10)
    assert not found.exploded


def test_stops_when_it_explodes(found):
    assert found.exploded
    assert found.rates[-1] < 10
    assert np.isfinite(found.raw).all()


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam"])
def test_suggestion_trains_well(optimizer):
    """It lies below the best rate of a grid over six decades, by a factor of ten at most."""
    from chainrule import train

    X, Y = problem()
    options = {"epochs": 20, "batch_size": 50, "optimizer": optimizer, "seed": 0}

    def final(rate):
        net = network()
        try:
            train(net, X, Y, learning_rate=rate, **options)
        except ArithmeticError:
            return np.inf
        return net.cost(X, Y)

    found = find_learning_rate(network(), X, Y, optimizer=optimizer, batch_size=50, seed=0)
    assert found.suggestion < found.rates[np.argmin(found.losses)]
    grid = np.geomspace(1e-5, 10, 13)
    best = grid[np.argmin([final(rate) for rate in grid])]
    assert best / 10 < found.suggestion < best


def test_smoothing_does_not_shift():
    """A dip in the middle stays there: the suggestion is a third of its rate."""
    from chainrule.training.lr_finder import _smooth, _suggest

    rates = np.geomspace(1e-4, 1, 81)
    raw = 1 + (np.log10(rates) + 2) ** 2
    losses = _smooth(np.log10(rates), raw)
    assert rates[np.argmin(losses)] == pytest.approx(1e-2)
    assert _suggest(rates, raw, losses) == pytest.approx(1e-2 / 3)
    np.testing.assert_allclose(_smooth(np.log10(rates), np.ones(81)), 1)


def test_no_suggestion_where_nothing_falls():
    X, Y = problem()
    with pytest.warns(UserWarning, match="the loss never fell"):
        found = find_learning_rate(
            network(), X, Y, optimizer="sgd", low=1e-12, high=1e-10, batch_size=400, seed=0
        )
    assert np.isnan(found.suggestion)


def test_weights_and_rules_are_heard():
    X, Y = problem()
    options = {"low": 1e-6, "high": 1e-3, "steps": 10, "batch_size": 400, "seed": 0}
    weight = np.zeros(400)
    weight[:100] = 1
    weighted = find_learning_rate(network(), X, Y, weight=weight, **options)
    only = find_learning_rate(network(), X[:100], Y[:100], **options | {"batch_size": 100})
    np.testing.assert_allclose(weighted.raw, only.raw, rtol=1e-10)
    plain = find_learning_rate(network(), X, Y, **options)
    ruled = find_learning_rate(network(), X, Y, rules=Rules(l2=40.0), **options)
    net = network()
    penalty = 40 / 2 * sum((W**2).sum() for W in net.W[1:]) / 400
    assert ruled.raw[0] - plain.raw[0] == pytest.approx(penalty, rel=1e-2)


def test_same_seed_same_numbers():
    X, Y = problem()
    a, b, c = (find_learning_rate(network(), X, Y, batch_size=20, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(a.raw, b.raw)
    assert not np.array_equal(a.raw[:20], c.raw[:20])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0}, "^low must be"),
        ({"high": np.inf}, "^high must be"),
        ({"low": 1.0, "high": 0.1}, "^low must be below high"),
        ({"steps": 5}, "^steps must be"),
        ({"batch_size": 0}, "^batch_size must be"),
        ({"weight": np.ones(3)}, "^weight must be"),
        ({"optimizer": "adma"}, "did you mean 'adam'"),
        ({"hyper": {"beta": 1.0}}, "has no 'beta'"),
    ],
)
def test_bad_arguments_are_named(options, message):
    X, Y = problem()
    with pytest.raises(ValueError, match=message):
        find_learning_rate(network(), X, Y, **options)


def test_own_optimizer():
    X, Y = problem()
    own = OPTIMIZERS["sgd"]._replace(name="mine")
    mine = find_learning_rate(network(), X, Y, optimizer=own, seed=0)
    np.testing.assert_array_equal(
        mine.raw, find_learning_rate(network(), X, Y, optimizer="sgd", seed=0).raw
    )


def test_finder_display(found):
    display = found.plot()
    assert isinstance(display, LRFinderDisplay)
    raw, smooth, suggestion = display.lines_
    assert drawn(raw) == (found.rates.tolist(), found.raw.tolist())
    assert drawn(smooth) == (found.rates.tolist(), found.losses.tolist())
    assert set(suggestion.get_xdata()) == {found.suggestion}
    assert f"{found.suggestion:.2g}" in suggestion.get_label()
    assert display.ax_.get_xscale() == "log"
    low, high = display.ax_.get_ylim()
    assert low < found.losses.min()
    assert found.losses[0] < high < found.raw.max()  # the explosion is cut off


def test_finder_display_without_a_suggestion():
    display = LRFinderDisplay([0.1, 1.0], [1.0, 1.0], [1.0, 1.0]).plot()
    assert len(display.lines_) == 2
