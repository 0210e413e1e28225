"""Pictures of networks and trainings, and the recorder behind them: what is drawn is true."""

from __future__ import annotations

import doctest
import importlib
import pickle
import shutil
import time

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_moons
from sklearn.exceptions import NotFittedError
from sklearn.inspection import PartialDependenceDisplay
from sklearn.neural_network import MLPClassifier as SklearnClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import chainrule
from chainrule import MLPClassifier, Network, Recorder, summary, trace, train

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
pixels, digits = (part[:300] for part in load_digits(return_X_y=True))
moons = make_moons(120, noise=0.15, random_state=0)
SMALL = {"hidden_layer_sizes": (6, 5), "max_iter": 6, "random_state": 0, "tol": 0.0}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def recorded():
    """A classifier of two inputs with the record of its training."""
    recorder = Recorder(*moons, budget=None, snapshots=6)
    options = SMALL | {"max_iter": 30, "standardize": False}
    with pytest.warns(match="Maximum iterations"):
        model = MLPClassifier(**options, callbacks=[recorder]).fit(*moons)
    return model


@pytest.mark.parametrize(
    "name",
    [
        *("animation", "diagnosing", "displays_of_equations", "displays_of_inputs"),
        *("displays_of_networks", "displays_of_training", "recording", "summarizing", "tracing"),
    ],
)
def test_examples_in_docstrings_give_what_they_say(name):
    failures, tried = doctest.testmod(importlib.import_module(f"chainrule.explain.{name}"))
    assert tried > 0
    assert failures == 0


def drawn(display):
    """Draw on a canvas, so that everything is laid out; texts by their axes."""
    display.figure_.canvas.draw()
    return display


def test_summary_counts():
    net = Network(
        (4, 8, 8, 3),
        layers=[
            chainrule.layers.AFFINE,
            chainrule.layers.layer_norm(),
            chainrule.layers.AFFINE,
        ],
    )
    found = summary(net)
    assert [layer.parameters for layer in found.layers] == [0, 40, 16, 27]
    assert found.parameters == net.theta.size
    assert found.multiplications == 4 * 8 + 8 + 8 * 3
    assert found.nbytes == net.theta.nbytes
    assert "layer_norm" in str(found)
    html = found._repr_html_()
    assert html.count("<circle") == 4 + 8 + 8 + 3
    model = SklearnClassifier(**SMALL).fit(X, y)
    assert summary(make_pipeline(StandardScaler(), model)).parameters == sum(
        array.size for array in (*model.coefs_, *model.intercepts_)
    )
    with pytest.raises(NotFittedError):
        summary(MLPClassifier())


def test_weights_are_those_of_standardised_inputs():
    frame = pd.DataFrame(X, columns=["a", "$b$", "c", "d"])
    model = MLPClassifier(**SMALL).fit(frame, y)
    display = drawn(chainrule.WeightsDisplay.from_estimator(model))
    deviation = X.std(axis=0)
    np.testing.assert_allclose(display.weights, model.coefs_[0] * deviation[:, None])
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["a", r"\$b\$", "c", "d"]
    np.testing.assert_array_equal(display.image_.get_array(), display.weights)
    low, high = display.image_.get_clim()
    assert low == -high == -np.abs(display.weights).max()


def test_weights_of_pixels_are_images():
    model = SklearnClassifier(**SMALL).fit(pixels, digits)
    display = drawn(chainrule.WeightsDisplay.from_estimator(model, shape=(8, 8)))
    sheet = display.image_.get_array()
    np.testing.assert_array_equal(sheet[:8, 9:17], model.coefs_[0][:, 1].reshape(8, 8))
    with pytest.raises(ValueError, match=r"shape \(8, 9\) has 72 pixels; W has 64"):
        chainrule.WeightsDisplay.from_estimator(model, shape=(8, 9))
    with pytest.raises(ValueError, match="names has 2 entries for 64 inputs"):
        chainrule.WeightsDisplay.from_estimator(model, names=["a", "b"])


def test_activations_mark_units_that_are_off_and_ends():
    net = Network((4, 10, 8, 3), activation=["relu", "tanh"], seed=0)
    net.b[1][:5] = -100
    net.W[2][...] *= 50
    display = drawn(chainrule.ActivationsDisplay.from_estimator(net, X))
    batch = net.forward(X)
    assert display.off_[0] == pytest.approx((batch.z[1] <= 0).all(axis=0).mean())
    assert display.flat_[1] == pytest.approx((1 - batch.a[2] ** 2 < 0.05).mean())
    labels = [t.get_text() for t in display.ax_.get_yticklabels()]
    assert labels[0].startswith("layer 1: relu\n")
    assert "% of the units off" in labels[0]
    assert "at the flat ends" in labels[1]
    with pytest.raises(ValueError, match="no hidden layer"):
        chainrule.ActivationsDisplay.from_estimator(Network((4, 3)), X)


def test_the_network_is_drawn_with_its_weights():
    model = MLPClassifier(**SMALL | {"hidden_layer_sizes": (20,)}).fit(X, y.astype(str))
    display = drawn(chainrule.NetworkDisplay.from_estimator(model))
    lines = sum(
        len(c.get_segments()) for c in display.ax_.collections if hasattr(c, "get_segments")
    )
    assert lines == 4 * 16 + 16 * 3
    said = [t.get_text() for t in display.ax_.texts]
    assert "16 of 20" in said
    assert {"0", "1", "2", "inputs", "outputs"} <= set(said)


def blocks_of(display):
    return [np.asarray(part.values) for part in display.parts if not isinstance(part, str)]


@pytest.mark.parametrize(
    ("activation", "output", "loss"),
    [("tanh", None, "cross_entropy"), ("relu", "tanh", "squared_error"), ("elu", None, "huber")],
)
def test_the_matrices_of_an_equation_give_what_it_says(activation, output, loss):
    rng = np.random.default_rng(3)
    net = Network(
        (3, 4, 5, 2), activation=activation, output_activation=output, loss=loss, seed=rng
    )
    t = trace(net, rng.normal(size=(6, 3)), np.eye(2)[[0, 1, 1, 0, 1, 0]])
    of = chainrule.EquationDisplay.from_trace
    for l in (1, 2, 3):
        below, W, b, z, a = blocks_of(of(t, "forward", layer=l))
        np.testing.assert_allclose(below @ W + b, z, atol=1e-14)
        np.testing.assert_array_equal(a, t.a[l])
        nabla, delta = blocks_of(of(t, "BP3", layer=l))
        np.testing.assert_allclose(delta.sum(axis=0)[None], nabla, atol=1e-14)
        nabla, below_T, delta = blocks_of(of(t, "BP4", layer=l))
        np.testing.assert_allclose(below_T @ delta, nabla, atol=1e-14)
    for l in (1, 2):
        delta, above, W_T, slope = blocks_of(of(t, "BP2", layer=l))
        np.testing.assert_allclose(above @ W_T * slope, delta, atol=1e-14)
    display = drawn(of(t, "BP1"))
    delta, *rest = blocks_of(display)
    signs = [part for part in display.parts if isinstance(part, str)]
    made = rest[0] - rest[1] if "−" in signs else rest[0] * rest[1]
    np.testing.assert_allclose(made / 6, delta, atol=1e-14)
    assert signs[-1] == "/ 6"
    said = [text.get_text() for text in display.ax_.texts]
    assert {"δ³", "6 × 2", f"{delta[0, 0]:.3g}".replace("-", "−")} <= set(said)
    plt.close("all")


def test_numbers_that_are_not_finite_are_named_before_anything_is_drawn():
    net = Network((2, 4, 1), seed=0)
    net.theta[:] = 1e150
    rows, targets = moons[0] * 1e200, moons[1][:, np.newaxis]
    with pytest.raises(ValueError, match=r"^the cost is not a finite number anywhere"):
        chainrule.LossLandscapeDisplay.from_estimator(net, rows, targets, points=3)
    with pytest.raises(ValueError, match=r"^activations of layer 1 are not finite"):
        chainrule.ActivationsDisplay.from_estimator(net, rows)
    assert not plt.get_fignums()


def test_importance_of_columns_of_a_sparse_matrix():
    A = sparse.csr_matrix(X)
    model = MLPClassifier(**SMALL).fit(A, y)
    display = chainrule.ImportanceDisplay.from_estimator(model, A, y, n_repeats=2)
    dense = chainrule.ImportanceDisplay.from_estimator(model, X, y, n_repeats=2)
    np.testing.assert_array_equal(display.falls, dense.falls)
    plt.close("all")


def test_an_equation_that_is_not_there_is_named():
    t = trace([([[0.5], [1.0]], [0.0])], [1.0, 2.0], [0.0])
    of = chainrule.EquationDisplay.from_trace
    for equation, layer, message in (
        ("BP5", None, "one of forward, BP1, BP2, BP3, BP4; got 'BP5'"),
        ("BP2", None, "a network of one layer has no BP2"),
        ("BP4", 2, "BP4 is of layer 1; got layer=2"),
    ):
        with pytest.raises(ValueError, match=message):
            of(t, equation, layer=layer)
    kinds = [chainrule.LAYERS[name] for name in ("affine", "dropout", "affine")]
    net = Network((2, 2, 2, 1), layers=kinds, seed=0)
    t = trace(net, [1.0, 2.0], [0.0])
    with pytest.raises(ValueError, match="layer 2 is dropout, which is no matrix product"):
        of(t, "forward", layer=2)
    with pytest.raises(ValueError, match="W must have rows and columns"):
        chainrule.EquationDisplay([("W", [1.0, 2.0])])


def test_the_recorder_keeps_what_the_equations_say(recorded):
    recorder = recorded.callbacks[0]
    assert recorder.epochs_.tolist() == list(range(30))
    t = trace(recorded, *moons)
    rms = [np.sqrt(np.mean(t.nabla_W[l] ** 2)) for l in range(1, 4)]
    np.testing.assert_allclose(recorder.gradient_[-1], rms, rtol=1e-9)
    np.testing.assert_allclose(recorder.mean_[-1], [a.mean() for a in t.a[1:]], rtol=1e-9)
    np.testing.assert_allclose(recorder.deviation_[-1], [a.std() for a in t.a[1:]], rtol=1e-9)
    np.testing.assert_allclose(recorder.off_[-1, 0], (t.z[1] <= 0).all(axis=0).mean())
    epoch, W, b = recorder.snapshots_[-1]
    assert epoch == 29
    for l in range(3):
        np.testing.assert_allclose(W[l], recorded.coefs_[l], rtol=1e-6)
        np.testing.assert_allclose(b[l], recorded.intercepts_[l], rtol=1e-6)
    assert 4 <= len(recorder.snapshots_) <= 7


@pytest.mark.parametrize("options", [{}, {"normalization": "layer", "dropout": 0.2}])
def test_units_of_inputs_and_target_do_not_show_where_they_are_standardised(options):
    A = moons[0]
    target = A[:, 0] * A[:, 1] + 0.1
    found = []
    for X_given, y_given in ((A, target), (50 * A + 700, 1000 * target - 30)):
        recorder = Recorder(X_given, y_given, budget=None)
        model = chainrule.MLPRegressor(**SMALL | options, callbacks=[recorder]).fit(
            X_given, y_given
        )
        landscape = chainrule.LossLandscapeDisplay.from_estimator(model, X_given, y_given, points=3)
        found.append((recorder, landscape.costs))
    (one, costs), (other, same_costs) = found
    assert one.gradient_.shape == (6, 5 if options else 3)
    np.testing.assert_allclose(other.gradient_, one.gradient_, rtol=1e-6)
    np.testing.assert_allclose(other.mean_, one.mean_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(same_costs, costs, rtol=1e-6)


def test_the_recorder_changes_nothing_and_is_bounded():
    plain = MLPClassifier(**SMALL | {"max_iter": 40}).fit(*moons)
    recorder = Recorder(*moons, budget=None, most=7, snapshots=3)
    model = MLPClassifier(**SMALL | {"max_iter": 40}, callbacks=[recorder]).fit(*moons)
    for p, q in zip(plain.coefs_, model.coefs_, strict=True):
        np.testing.assert_array_equal(p, q)
    assert len(recorder.epochs_) <= 8
    assert len(recorder.snapshots_) <= 4
    assert (recorder.epochs_[0], recorder.epochs_[-1]) == (0, 39)
    assert (np.diff(recorder.epochs_) > 0).all()
    again = pickle.loads(pickle.dumps(recorder))
    np.testing.assert_array_equal(again.gradient_, recorder.gradient_)
    clone(model).fit(*moons)
    model.fit(*moons)  # it forgets the last fit
    assert recorder.epochs_[0] == 0


def test_the_recorder_keeps_to_its_part_of_the_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    recorder = Recorder(*moons, budget=0.1)
    look = recorder._look

    def slow(model, epoch):
        now[0] += 1.0
        recorder._spent += 1.0
        recorder._kept["epochs"].append(epoch)

    recorder._look = slow
    recorder.on_fit_begin(None)
    for epoch in range(200):
        now[0] += 0.5
        recorder.on_epoch_end(recorder, {"epoch": epoch})
    assert 2 <= len(recorder.epochs_) <= 0.1 * 100 + 2
    assert recorder.epochs_[0] == 0
    assert look.__name__ == "_look"


def test_the_recorder_spreads_what_it_may_take_of_a_short_fit(monkeypatch):
    """A reading of the clock takes half a millisecond here; a look has three of them."""
    now = [0.0]

    def tick():
        now[0] += 0.0005
        return now[0]

    monkeypatch.setattr(time, "perf_counter", tick)
    recorder = Recorder(*moons, snapshots=9)
    MLPClassifier(**SMALL | {"max_iter": 120}, callbacks=[recorder]).fit(*moons)
    epochs = recorder.epochs_
    assert epochs[:10].tolist() == list(range(10))
    assert (np.diff(epochs[11:-1]) >= 2).all()
    assert (epochs[11:] / epochs[10:-1] < 1.25).all()
    assert (epochs[-1], recorder.snapshots_[0][0], recorder.snapshots_[-1][0]) == (119, 0, 119)
    assert len(recorder.snapshots_) == 9
    assert recorder._spent < 0.04


def test_networks_are_recorded_between_the_epochs_of_train():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(50, 3))
    net = Network((3, 4, 1), seed=0)
    recorder = Recorder(A, A[:, :1], budget=None)
    train(net, A, A[:, :1], epochs=5, seed=0, callback=recorder)
    assert recorder.gradient_.shape == (5, 2)
    np.testing.assert_allclose(recorder.snapshots_[-1][1][0], net.W[1], rtol=1e-6)
    display = drawn(chainrule.GradientFlowDisplay.from_history(recorder))
    assert [line.get_label() for line in display.lines_] == ["layer 1", "layer 2"]
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), recorder.gradient_[:, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rows": 0}, "rows must be"), ({"budget": 1.5}, "budget"), ({"most": -1}, "most must be")],
)
def test_numbers_of_a_recorder_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        Recorder(X, y, **options)


def test_rows_that_do_not_fit_end_the_fit_in_a_line():
    for rows, message in (((X[:, :2], y), "do not fit"), ((X, y[:9]), "150 rows and y has 9")):
        with pytest.raises(ValueError, match=f"^Recorder: .*{message}"):
            MLPClassifier(**SMALL, callbacks=[Recorder(*rows)]).fit(X, y)


def test_the_legend_of_a_boundary_has_the_names_of_the_classes():
    labels = np.array(["$no", "yes"])[moons[1]]
    model = MLPClassifier(**SMALL).fit(moons[0], labels)
    display = drawn(chainrule.DecisionBoundaryDisplay.from_estimator(model, moons[0], labels))
    (legend,) = display.figure_.legends
    assert [text.get_text() for text in legend.get_texts()] == [r"\$no", "yes"]


def test_the_boundary_at_several_epochs(recorded):
    display = drawn(chainrule.DecisionBoundaryDisplay.from_estimator(recorded, *moons))
    assert len(display.axes_) == 4
    assert [ax.get_title() for ax in display.axes_][::3] == ["epoch 0", "epoch 29"]
    grid = np.stack([part.ravel() for part in np.meshgrid(display.x, display.y)], axis=1)
    said = recorded.predict(grid).reshape(display.maps[-1].shape)
    assert (display.maps[-1].astype(int) == said).mean() > 0.999
    one = chainrule.DecisionBoundaryDisplay.from_estimator(recorded, *moons, ax=plt.figure().gca())
    assert len(one.axes_) == 1
    with pytest.raises(ValueError, match="two inputs; the network has 4"):
        chainrule.DecisionBoundaryDisplay.from_estimator(MLPClassifier(**SMALL).fit(X, y), X, y)


def test_input_gradients_against_differences():
    model = MLPClassifier(**SMALL, activation="tanh").fit(pixels, digits)
    display = drawn(chainrule.InputGradientDisplay.from_estimator(model, pixels[3], output=2))
    deviation = pixels.std(axis=0)
    deviation[deviation == 0] = 1
    for j in (20, 35):
        moved = np.repeat(pixels[3:4], 2, axis=0)
        moved[:, j] += [1e-4, -1e-4]
        z = model.decision_function(moved)[:, 2]
        expected = (z[0] - z[1]) / 2e-4 * deviation[j]
        assert display.gradient.ravel()[j] == pytest.approx(expected, rel=1e-4, abs=1e-8)
    with pytest.raises(ValueError, match="output must be from 0 to 9; got 10"):
        chainrule.InputGradientDisplay.from_estimator(model, pixels[3], output=10)
    with pytest.raises(ValueError, match="pixels; x has 64"):
        chainrule.InputGradientDisplay.from_estimator(model, pixels[3], shape=(3, 4))


def test_the_landscape_has_the_cost_in_its_middle(recorded):
    display = drawn(
        chainrule.LossLandscapeDisplay.from_estimator(recorded, *moons, points=5, span=0.5)
    )
    assert display.costs.shape == (5, 5)
    assert display.costs[2, 2] == pytest.approx(trace(recorded, *moons).cost, rel=1e-12)
    assert (display.costs > 0).all()
    with pytest.raises(ValueError, match="span must be above 0"):
        chainrule.LossLandscapeDisplay.from_estimator(recorded, *moons, span=0)


def test_importance_of_columns():
    frame = pd.DataFrame({"useful": X[:, 2], "noise": np.random.default_rng(0).normal(size=150)})
    model = MLPClassifier((10,), max_iter=100, learning_rate_init=0.01, random_state=0)
    model.fit(frame, y)
    display = drawn(chainrule.ImportanceDisplay.from_estimator(model, frame, y, n_repeats=3))
    falls = dict(zip(display.names, display.falls.mean(axis=1), strict=True))
    assert falls["useful"] > 0.3 > abs(falls["noise"])
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["noise", "useful"]
    found = PartialDependenceDisplay.from_estimator(model, frame, ["useful"], target=2)
    average = found.pd_results[0]["average"][2]
    assert average[-1] > average[0] + 0.5


@pytest.mark.parametrize("suffix", ["gif", "html", "mp4"])
def test_a_training_as_a_film(suffix, recorded, tmp_path):
    if suffix == "mp4" and not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not there")
    path = chainrule.animate(recorded, tmp_path / f"film.{suffix}", X=moons[0], y=moons[1])
    assert path.is_file()
    if suffix == "gif":
        from PIL import Image

        with Image.open(path) as film:
            assert film.n_frames == len(recorded.callbacks[0].snapshots_)
    elif suffix == "mp4":
        assert path.read_bytes()[4:8] == b"ftyp"
    else:
        assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [p.name for p in tmp_path.iterdir()] == [f"film.{suffix}"]


def test_films_that_cannot_be_made_leave_nothing(recorded, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # without ffmpeg
    for name, options, message in (
        ("film.avi", {"shape": (1, 2)}, "must end in .gif, .mp4, .html"),
        ("film.gif", {}, "give X and y"),
        ("film.gif", {"shape": (3, 3)}, "9 pixels; the network has 2 inputs"),
        ("film.gif", {"shape": (1, 2), "seconds": 0}, "seconds must be above 0"),
        ("film.mp4", {"shape": (1, 2)}, "an .mp4 needs ffmpeg, which is not there; write a .gif"),
    ):
        with pytest.raises(ValueError, match=message):
            chainrule.animate(recorded, tmp_path / name, **options)
    model = MLPClassifier(**SMALL).fit(X, y)
    with pytest.raises(ValueError, match=r"fit with callbacks=\[chainrule.Recorder"):
        chainrule.animate(model, tmp_path / "film.gif", shape=(2, 2))
    with pytest.raises(ValueError, match="no record of the training"):
        chainrule.GradientFlowDisplay.from_estimator(model)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        chainrule.animate(recorded, tmp_path / "nowhere" / "film.gif", shape=(1, 2))
    assert list(tmp_path.iterdir()) == []


def test_colours_differ_in_grey():
    from chainrule.explain.drawing import SIGNED, colours

    def grey(rgb):
        return float(np.dot(matplotlib.colors.to_rgb(rgb), [0.299, 0.587, 0.114]))

    scale = [grey(c) for c in matplotlib.colormaps[SIGNED](np.linspace(0, 1, 20))]
    assert (np.diff(scale) > 0).all()
    for n in (2, 3, 5):
        shades = sorted(grey(c) for c in colours(n))
        assert np.diff(shades).min() > 0.07
