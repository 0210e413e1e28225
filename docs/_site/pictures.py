"""A small picture of each component that the tables of the code name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#888888"


def draw(folder: Path) -> dict[str, str]:
    """Draw them as SVG; {name of the file: what it shows}."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    from chainrule import ACTIVATIONS, INITIALIZERS, LAYERS, LOSSES, OPTIMIZERS, SCHEDULES

    settings = {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 8,
        "svg.hashsalt": "chainrule",
        "figure.constrained_layout.use": True,
    }
    drawn = {}
    with matplotlib.rc_context(settings):
        for group, table, one in (
            ("activation", ACTIVATIONS, activation),
            ("loss", LOSSES, loss),
            ("optimizer", OPTIMIZERS, optimizer),
            ("layer", LAYERS, layer),
            ("schedule", SCHEDULES, schedule),
            ("initializer", INITIALIZERS, initializer),
        ):
            for name, component in table.items():
                figure, axes = pyplot.subplots(figsize=(2.4, 1.7))
                shown = one(axes, component)
                figure.savefig(folder / f"{group}-{name}.svg", metadata={"Date": None})
                drawn[f"{group}-{name}"] = f"{name}: {shown}"
                pyplot.close(figure)
    return drawn


def activation(axes: Any, one: Any) -> str:
    """The function and its derivative; softmax of two outputs."""
    z = np.linspace(-4, 4, 401)
    column = z[:, None] if one.name != "softmax" else np.column_stack([z, np.zeros_like(z)])
    a = np.empty_like(column)
    one.f(column, a)
    delta = np.zeros_like(column)
    delta[:, 0] = 1
    one.pullback(column, a, delta)
    axes.axhline(0, color=GREY, linewidth=0.5)
    axes.axvline(0, color=GREY, linewidth=0.5)
    axes.plot(z, a[:, 0], color=BLUE, label="σ(z)")
    axes.plot(z, delta[:, 0], color=ORANGE, linestyle="--", label="σ′(z)")
    axes.set(xlabel="z", ylim=(max(-2, a.min() - 0.2), min(4.2, max(a.max(), 1.2))))
    axes.legend(frameon=False, fontsize=7)
    return "the function, solid, and its derivative, dashed"


def loss(axes: Any, one: Any) -> str:
    """The cost of one row, by the output before its activation, for one target."""
    from chainrule import ACTIVATIONS

    z = np.linspace(-4, 4, 401)
    if one.outputs > 1:
        z = np.column_stack([z, np.zeros_like(z)])
        y, of = np.zeros((len(z), 1)), "mean, y = 0, variance 1"
    elif one.link == "softmax":
        z = np.column_stack([z, np.zeros_like(z)])
        y, of = np.tile([1.0, 0.0], (len(z), 1)), "z of the right class"
    else:
        z = z[:, None]
        y, of = np.ones((len(z), 1)), f"z, output {one.link}, y = 1"
    a, c = np.empty_like(z), np.empty(len(z))
    ACTIVATIONS[one.link].f(z, a)
    one.cost(z, a, y, c)
    delta = np.empty_like(a)
    one.delta(z, a, y, delta)
    ACTIVATIONS[one.link].pullback(z, a, delta)
    axes.axhline(0, color=GREY, linewidth=0.5)
    axes.plot(z[:, 0], c, color=BLUE, label="C")
    axes.plot(z[:, 0], delta[:, 0], color=ORANGE, linestyle="--", label="δ")
    axes.set(xlabel=of, ylim=(max(delta[:, 0].min(), -4) - 0.2, min(c.max(), 6) + 0.2))
    axes.legend(frameon=False, fontsize=7)
    return "the cost of a row, solid, and its derivative by z, dashed"


def optimizer(axes: Any, one: Any) -> str:
    """The way of 60 steps down a long valley."""
    theta = np.array([-1.8, 1.2])
    hyper = dict(one.hyper)
    hyper["learning_rate"] = {"sgd": 0.09, "momentum": 0.03, "nesterov": 0.03, "lion": 0.05}.get(
        one.name, 0.1
    )
    hyper["learning_rate"] = {"adagrad": 0.5, "adadelta": 20.0}.get(
        one.name, hyper["learning_rate"]
    )
    h = np.array([hyper[name] for name in one.hyper])
    state, way = np.zeros((one.slots, 2)), [theta.copy()]
    scale = np.array([1.0, 20.0])
    for t in range(1, 61):
        one.step(theta, scale * theta, state, h, t)
        way.append(theta.copy())
    x, y = np.meshgrid(np.linspace(-2.2, 1.2, 80), np.linspace(-1.5, 1.5, 80))
    axes.contour(x, y, np.sqrt((x**2 + 20 * y**2) / 2), levels=8, colors=GREY, linewidths=0.4)
    way = np.array(way)
    axes.plot(way[:, 0], way[:, 1], color=BLUE, linewidth=1, marker=".", markersize=2.5)
    axes.plot(0, 0, "+", color=ORANGE)
    axes.set(xticks=[], yticks=[], xlim=(-2.2, 1.2), ylim=(-1.5, 1.5))
    return f"60 steps down a long valley, learning rate {hyper['learning_rate']:g}"


def layer(axes: Any, one: Any) -> str:
    """What comes out of a layer for a batch of normal numbers about 2, deviation 1.5."""
    from chainrule import Network, backprop

    m, n = 400, 24
    a = np.random.default_rng(0).normal(2, 1.5, (m, n))
    network = Network((n, n), layers=[one], activation=[], init="he_normal", seed=0)
    if one.initial_scale is not None and network.W[1].size:
        network.W[1][:] = one.initial_scale
    layers, batch = network.bind(m, training=1)
    batch.a[0][:] = a
    backprop.forward(layers, batch)
    z = batch.z[1]
    places = np.linspace(-4, 8, 49)
    axes.hist(a.ravel(), places, color=GREY, alpha=0.6, label="a")
    axes.hist(z.ravel(), places, color=BLUE, histtype="step", label="z")
    axes.set(yticks=[], xlabel="value")
    axes.legend(frameon=False, fontsize=7)
    return "how inputs, grey, and outputs, blue, are distributed while training"


def schedule(axes: Any, one: Any) -> str:
    """The factor of the learning rate over 100 epochs of 10 steps."""
    t = np.arange(1000.0)
    axes.plot(t / 10, one.factor(t, 1000, 10), color=BLUE)
    axes.set(xlabel="epoch", ylim=(-0.05, 1.1))
    return "the factor of the learning rate over 100 epochs"


def initializer(axes: Any, one: Any) -> str:
    """The weights of a layer with 100 inputs and 50 outputs."""
    W = np.zeros((100, 50))
    one.weights(np.random.default_rng(0), W)
    axes.hist(W.ravel(), np.linspace(-0.5, 0.5, 61), color=BLUE)
    axes.set(yticks=[], xlabel="weight")
    return "the weights of a layer with 100 inputs and 50 outputs"
