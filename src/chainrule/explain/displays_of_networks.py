"""Pictures of a network as it is: weights, activations by layer, the network drawn.

In the manner of scikit-learn's Display classes; Matplotlib is loaded when something is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.base.types import Array
from chainrule.explain.drawing import BLUE, GREY, LIMIT, SIGNED, bare, new_axes, plain_text
from chainrule.explain.findings import percent
from chainrule.explain.models import last_step, model_network, view
from chainrule.explain.worked import slopes

MOST_UNITS = 30
MOST_COLUMNS = 40
ENDS = ("tanh", "logistic")  # that have flat ends
MARKED = 0.45  # part of a layer that is off, or at the ends, from which on it is marked
ABOVE, BELOW = "#d6704d", "#4393c3"  # weights, which differ in dashes too


class WeightsDisplay:
    """Show the weights of the first layer, as an image for each unit, or by the columns' names.

    Make one with :meth:`from_estimator`.

    Parameters
    ----------
    weights : (n_inputs, n_units) array-like
    names : sequence of str, optional
        Of the inputs.
    shape : (int, int), optional
        Height and width of the inputs, if they are pixels.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import Network, WeightsDisplay
    >>> display = WeightsDisplay.from_estimator(Network((3, 5, 1), seed=0), names=["a", "b", "c"])
    >>> display.weights.shape
    (3, 5)
    """

    def __init__(
        self,
        weights: Any,
        *,
        names: Sequence[str] | None = None,
        shape: tuple[int, int] | None = None,
    ) -> None:
        self.weights: NDArray[np.float64] = np.asarray(weights, np.float64)
        if self.weights.ndim != 2:
            raise ValueError(f"weights must be (inputs, units); got {self.weights.shape}")
        n = len(self.weights)
        if names is not None and len(names) != n:
            raise ValueError(f"names has {len(names)} entries for {n} inputs")
        if shape is not None and int(np.prod(shape)) != n:
            raise ValueError(f"shape {tuple(shape)} has {int(np.prod(shape))} pixels; W has {n}")
        self.names = None if names is None else [str(name) for name in names]
        self.shape = shape

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        shape: tuple[int, int] | None = None,
        names: Sequence[str] | None = None,
        ax: Any = None,
    ) -> WeightsDisplay:
        """Draw the first weights of a fitted estimator, pipeline or network.

        Where an estimator standardises its inputs, these are the weights of standardised inputs.

        Parameters
        ----------
        estimator : estimator, Pipeline or Network
        shape : (int, int), optional
            Height and width, if the inputs are pixels. Without it, a matrix is drawn.
        names : sequence of str, optional
            Of the inputs. Default: those that the estimator was fitted with.
        ax : matplotlib Axes, optional
            Default: new ones.
        """
        network, _ = model_network(estimator)
        W = network.W[int(network.weight_layers()[0])]
        W = W * input_scale(estimator, len(W))[:, np.newaxis]
        if names is None:
            names = _names_of(estimator, len(W))
        return cls(W, names=names, shape=shape).plot(ax)

    def plot(self, ax: Any = None) -> WeightsDisplay:
        """Draw; dark is below 0, light above.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Default: new ones.
        """
        ax = new_axes(ax)
        self.ax_, self.figure_ = ax, ax.figure
        largest = float(np.abs(self.weights).max()) or 1.0
        options = {"cmap": SIGNED, "vmin": -largest, "vmax": largest, "interpolation": "nearest"}
        shown = self.weights[:, :MOST_UNITS]
        if self.shape is not None:
            self.image_ = ax.imshow(tiles(shown, self.shape), **options)
            ax.set_axis_off()
            ax.set_title(f"Weights of {shown.shape[1]} of {self.weights.shape[1]} units")
        else:
            shown = shown[:MOST_COLUMNS]
            self.image_ = ax.imshow(shown, aspect="auto", **options)
            names = self.names or [f"x{j}" for j in range(len(self.weights))]
            ax.set_yticks(range(len(shown)), [plain_text(n)[:24] for n in names[: len(shown)]])
            ax.set(xlabel="unit of layer 1", title="Weights of the first layer")
        self.figure_.colorbar(self.image_, ax=ax, label="weight", shrink=0.8)
        return self


def tiles(W: Array, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return images of the units beside each other, with a gap of NaN."""
    height, width = shape
    n = W.shape[1]
    columns = min(n, math.ceil(math.sqrt(1.5 * n)))
    rows = -(-n // columns)
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan)
    for k in range(n):
        i, j = divmod(k, columns)
        at = slice(i * (height + 1), i * (height + 1) + height)
        sheet[at, j * (width + 1) : j * (width + 1) + width] = W[:, k].reshape(shape)
    return sheet


def input_scale(model: Any, n: int) -> NDArray[np.float64]:
    """Return the standard deviations by which an estimator divides its inputs; else 1, (n,)."""
    scaling = getattr(last_step(model), "_scaling", None)
    if scaling is None or len(scaling[1]) != n:
        return np.ones(n)
    return np.asarray(scaling[1], np.float64)


def _names_of(model: Any, n: int) -> list[str] | None:
    """Return the names of a model's inputs, if it knows so many."""
    last = last_step(model)
    names = [str(name) for name in getattr(last, "feature_names_in_", ())]
    if not names and hasattr(model, "steps") and len(model.steps) > 1:
        try:
            names = [str(name) for name in model[:-1].get_feature_names_out()]
        except (AttributeError, TypeError, ValueError):
            names = []
    return names if len(names) == n else None


class ActivationsDisplay:
    """Show how the activations of each layer are distributed, and which units are off or flat.

    Make one with :meth:`from_estimator`.

    Parameters
    ----------
    activations : list of (m, n_l) arrays
        Of each hidden layer.
    slopes : list of (m, n_l) arrays
        The derivative of the activation function at each.
    layers : list of int

    Attributes
    ----------
    off_, flat_ : list of float
        Part of each layer's units that are off on every row; part of its activations where the
        derivative is below 5 % of the largest possible.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import ActivationsDisplay, Network
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> display = ActivationsDisplay.from_estimator(Network((3, 8, 1), seed=0), X)
    >>> display.ax_.get_title()
    'Activations by layer'
    """

    def __init__(
        self, activations: list[Array], slopes: list[Array], layers: list[int], names: list[str]
    ) -> None:
        self.activations, self.layers, self.names = activations, layers, names
        largest = {"logistic": 0.25}
        self.off_ = [float((slope == 0).all(axis=0).mean()) for slope in slopes]
        self.flat_ = [
            float((np.abs(slope) < 0.05 * largest.get(name, 1.0)).mean())
            for slope, name in zip(slopes, names, strict=True)
        ]
        self.unit_off = [(slope == 0).all(axis=0) for slope in slopes]

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, *, ax: Any = None) -> ActivationsDisplay:
        """Draw the hidden layers of a model on some rows.

        Parameters
        ----------
        estimator : estimator, Pipeline or Network
        X : (m, n_features) array-like or data frame
        ax : matplotlib Axes, optional
            Default: new ones.
        """
        seen = view(estimator, X)
        network = seen.network
        batch = network.forward(seen.X)
        layers = [l for l in range(1, network.L) if network.activations[l].name != "identity"]
        if not layers:
            raise ValueError("there is no hidden layer whose activations could be drawn")
        for l in layers:
            if not np.isfinite(batch.a[l]).all():
                raise ValueError(
                    f"activations of layer {l} are not finite numbers: its parameters, or the "
                    "inputs, are too large"
                )
        found = [slopes(network, l, batch.z[l], batch.a[l]) for l in layers]
        derivative = [
            np.ones_like(batch.a[l]) if one is None else one
            for l, one in zip(layers, found, strict=True)
        ]
        names = [network.activations[l].name for l in layers]
        return cls([batch.a[l] for l in layers], derivative, layers, names).plot(ax)

    def plot(self, ax: Any = None) -> ActivationsDisplay:
        """Draw a histogram for each layer, above each other.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Default: new ones.
        """
        ax = new_axes(ax, figsize=(6.4, 1.6 + 1.1 * len(self.layers)))
        self.ax_, self.figure_ = ax, ax.figure
        every = np.concatenate([a.ravel() for a in self.activations])
        low, high = np.quantile(every, [0.002, 0.998])
        if not high > low:
            low, high = low - 0.5, high + 0.5
        edges, labels = np.linspace(low, high, 61), []
        for k, a in enumerate(self.activations):
            counts, _ = np.histogram(np.clip(a, low, high), edges)
            heights = 0.85 * counts / max(counts.max(), 1)
            ax.stairs(heights + k, edges, baseline=k, fill=True, color=BLUE, alpha=0.8)
            notes = []
            if self.off_[k]:
                notes.append(f"{percent(self.off_[k])} of the units off")
            if self.flat_[k] and self.names[k] in ENDS:
                notes.append(f"{percent(self.flat_[k])} at the flat ends")
            labels.append("\n".join([f"layer {self.layers[k]}: {self.names[k]}", *notes]))
        ax.set_yticks([k + 0.35 for k in range(len(labels))], labels)
        ax.tick_params(axis="y", length=0)
        for k, label in enumerate(ax.get_yticklabels()):
            if max(self.off_[k], self.flat_[k] * (self.names[k] in ENDS)) > MARKED:
                label.set_color(LIMIT)
        ax.set(xlabel="activation", title="Activations by layer", ylim=(-0.05, len(self.layers)))
        bare(ax, ("top", "right", "left"))
        return self


class NetworkDisplay:
    """Draw the network, its units as circles and its weights as lines.

    Colours and dashes say the sign, widths the size. Make one with :meth:`from_estimator`.

    Parameters
    ----------
    weights : list of (n_{l-1}, n_l) arrays
    input_names, output_names : sequences of str, optional

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from chainrule import Network, NetworkDisplay
    >>> display = NetworkDisplay.from_estimator(Network((3, 8, 1), seed=0))
    >>> display.ax_.get_title()
    "The network's weights"
    """

    def __init__(
        self,
        weights: list[Array],
        *,
        input_names: Sequence[str] = (),
        output_names: Sequence[str] = (),
    ) -> None:
        self.weights = [np.asarray(W, np.float64) for W in weights]
        self.input_names, self.output_names = list(input_names), list(output_names)

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> NetworkDisplay:
        """Draw a fitted estimator, pipeline or network.

        Where an estimator standardises its inputs, the first weights are those of standardised
        inputs.

        Parameters
        ----------
        estimator : estimator, Pipeline or Network
        ax : matplotlib Axes, optional
            Default: new ones.
        """
        network, _ = model_network(estimator)
        weights = [network.W[l] for l in network.weight_layers()]
        weights[0] = weights[0] * input_scale(estimator, len(weights[0]))[:, np.newaxis]
        names = _names_of(estimator, network.sizes[0]) or ()
        classes = getattr(last_step(estimator), "classes_", ())
        outputs = [str(one) for one in classes] if len(classes) == network.sizes[-1] else []
        return cls(weights, input_names=names, output_names=outputs).plot(ax)

    def plot(self, ax: Any = None) -> NetworkDisplay:
        """Draw; of wide layers the first 16 units.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Default: new ones.
        """
        from matplotlib.collections import LineCollection
        from matplotlib.colors import to_rgb

        most = 16
        widths = [len(self.weights[0]), *(W.shape[1] for W in self.weights)]
        tallest = min(max(widths), most) + (max(widths) > most)
        ax = new_axes(ax, figsize=(6.4, 1.3 + 0.27 * max(tallest, 2)))
        self.ax_, self.figure_ = ax, ax.figure
        places = []
        for k, n in enumerate(widths):
            shown = min(n, most)
            places.append([(k, (shown - 1) / 2 - i) for i in range(shown)])
        for k, W in enumerate(self.weights):
            part = W[:most, :most]
            scale = float(np.abs(part).max()) or 1.0
            lines = [[a, b] for a in places[k] for b in places[k + 1]]
            strength = part.ravel() / scale
            for sign, colour, dash in ((1, ABOVE, "-"), (-1, BELOW, (0, (4, 2)))):
                there = np.flatnonzero(sign * strength > 0)
                ax.add_collection(
                    LineCollection(
                        [lines[i] for i in there],
                        colors=[(*to_rgb(colour), 0.15 + 0.85 * abs(strength[i])) for i in there],
                        linewidths=0.3 + 2.7 * np.abs(strength[there]),
                        linestyles=[dash],
                    )
                )
        for k, column in enumerate(places):
            x, y = zip(*column, strict=True)
            ax.scatter(x, y, s=110, color=GREY, zorder=3, edgecolors="white", linewidths=0.8)
            if widths[k] > most:
                low = min(y) - 1
                ax.annotate(f"{most} of {widths[k]}", (k, low), ha="center", fontsize="small")
        for names, k, side in ((self.input_names, 0, "right"), (self.output_names, -1, "left")):
            for name, (x0, y0) in zip(names, places[k], strict=False):
                shift = -8 if side == "right" else 8
                ax.annotate(
                    plain_text(name if len(name) <= 20 else f"{name[:19]}…"),
                    (x0, y0),
                    xytext=(shift, 0),
                    textcoords="offset points",
                    ha=side,
                    va="center",
                    fontsize="small",
                )
        last = len(widths) - 1
        titles = ["inputs", *(f"layer {k}" for k in range(1, last)), "outputs"]
        top = max(len(column) for column in places) / 2 + 0.15
        for k, title in enumerate(titles):
            ax.annotate(title, (k, top), ha="center", fontsize="small")
        for stroke, colour, text, left in (
            ("—", ABOVE, "above 0", 0.35),
            ("- -", BELOW, "below 0", 0.65),
        ):
            ax.annotate(
                f"{stroke} {text}",
                (left, -0.02),
                xycoords="axes fraction",
                color=colour,
                ha="center",
            )
        ax.set(xlim=(-0.6, last + 0.6), ylim=(-top - 0.8, top + 0.5), title="The network's weights")
        ax.set_axis_off()
        return self
