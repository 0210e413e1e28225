"""Pictures of a training: gradients by layer, the decision boundary, the loss around its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.explain.drawing import DASHES, bare, colours, new_axes, plain_text
from chainrule.explain.models import as_trained, view
from chainrule.explain.recording import Recorder, network_at, recorder_of

GRID = 120  # points a side
MOST_ROWS = 500  # whose cost is taken


class GradientFlowDisplay:
    """Show the gradient of each layer's weights over the training.

    Make one with :meth:`from_estimator` or :meth:`from_history`.

    Parameters
    ----------
    epochs : (k,) array-like
    gradients : (k, L) array-like
        Root mean square of ∂C/∂W^l.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D

    Examples
    --------
    >>> from chainrule import GradientFlowDisplay
    >>> display = GradientFlowDisplay([0, 1], [[0.1, 0.3], [0.05, 0.1]]).plot()
    >>> [line.get_label() for line in display.lines_]
    ['layer 1', 'layer 2']
    """

    def __init__(self, epochs: Any, gradients: Any) -> None:
        self.epochs = np.asarray(epochs)
        self.gradients: NDArray[np.float64] = np.asarray(gradients, np.float64)
        if self.gradients.ndim != 2 or len(self.epochs) != len(self.gradients):
            raise ValueError(
                f"gradients must be (epochs, layers) for {len(self.epochs)} epochs; got "
                f"{self.gradients.shape}"
            )

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> GradientFlowDisplay:
        """Draw what the :class:`chainrule.Recorder` among an estimator's callbacks has kept.

        Parameters
        ----------
        estimator : estimator or Pipeline
        ax : matplotlib Axes, optional
            Default: new ones.
        """
        return cls.from_history(recorder_of(estimator), ax=ax)

    @classmethod
    def from_history(cls, recorder: Recorder, *, ax: Any = None) -> GradientFlowDisplay:
        """Draw what a recorder has kept.

        Parameters
        ----------
        recorder : Recorder
        ax : matplotlib Axes, optional
            Default: new ones.
        """
        recorder = recorder_of(recorder)
        return cls(recorder.epochs_, recorder.gradient_).plot(ax)

    def plot(self, ax: Any = None) -> GradientFlowDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Default: new ones.
        """
        ax = new_axes(ax)
        self.ax_, self.figure_, self.lines_ = ax, ax.figure, []
        layers = [
            j for j in range(self.gradients.shape[1]) if np.isfinite(self.gradients[:, j]).any()
        ]
        for k, (j, colour) in enumerate(zip(layers, colours(len(layers)), strict=True)):
            values = np.where(self.gradients[:, j] > 0, self.gradients[:, j], np.nan)
            (line,) = ax.plot(
                self.epochs,
                values,
                color=colour,
                linestyle=DASHES[k % len(DASHES)],
                marker="o" if len(self.epochs) == 1 else None,
                label=f"layer {j + 1}",
            )
            self.lines_.append(line)
        ax.set_yscale("log")
        ax.set(xlabel="epoch", ylabel="root mean square of ∂C/∂W", title="Gradient by layer")
        ax.legend(frameon=False)
        bare(ax)
        return self


class DecisionBoundaryDisplay:
    """Show what a classifier of two inputs says over the plane, at some epochs.

    Make one with :meth:`from_estimator`.

    Parameters
    ----------
    x, y : (g,) arrays
        The grid.
    maps : list of (g, g) arrays
        The class at each point, from 0, and how sure it is, from 0 to 1, as class + sureness / 2.
    epochs : list of int or None
    rows, labels : (m, 2), (m,) arrays
        Rows that are drawn as points.
    names : list of str
        Of the two inputs.
    class_names : sequence of str, optional
        Default: the numbers of the classes.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
    ax_ : matplotlib Axes
        The last of them.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import DecisionBoundaryDisplay, Network
    >>> X = np.random.default_rng(0).normal(size=(50, 2))
    >>> net = Network((2, 8, 2), loss="cross_entropy", seed=0)
    >>> display = DecisionBoundaryDisplay.from_estimator(net, X, (X[:, 0] > 0).astype(int))
    >>> display.ax_.get_title()
    'Decision boundary'
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        maps: list[Any],
        epochs: list[int | None],
        rows: Any,
        labels: Any,
        names: list[str],
        class_names: Sequence[str] = (),
    ) -> None:
        self.class_names = [str(name) for name in class_names]
        self.x, self.y, self.maps, self.epochs = x, y, maps, epochs
        self.rows, self.labels, self.names = np.asarray(rows), np.asarray(labels), names

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, panels: int = 4, ax: Any = None
    ) -> DecisionBoundaryDisplay:
        """Draw the boundary, over the training if a recorder has kept weights.

        Parameters
        ----------
        estimator : estimator, Pipeline or Network
            Of two inputs, fitted; with a :class:`chainrule.Recorder` among its callbacks the
            boundary is drawn at several epochs.
        X, y : (m, 2), (m,) array-likes
            Rows to draw.
        panels : int, default 4
            Epochs at most.
        ax : matplotlib Axes, optional
            For one panel, the end. Default: new ones.
        """
        display = cls.of_snapshots(estimator, X, y, panels if ax is None else 1)
        return display.plot(ax)

    @classmethod
    def of_snapshots(cls, estimator: Any, X: Any, y: Any, most: int) -> DecisionBoundaryDisplay:
        """Return the maps of some epochs, not drawn yet."""
        seen = view(estimator, X, y)
        network, A = seen.network, seen.X
        if network.sizes[0] != 2:
            raise ValueError(f"a plane has two inputs; the network has {network.sizes[0]}")
        assert seen.Y is not None
        low, high = A.min(axis=0), A.max(axis=0)
        pad = 0.08 * np.where(high > low, high - low, 1)
        axes = [np.linspace(low[j] - pad[j], high[j] + pad[j], GRID) for j in (0, 1)]
        grid = np.stack([part.ravel() for part in np.meshgrid(*axes)], axis=1)
        networks: list[Any] = [(None, network)]
        try:
            kept = recorder_of(estimator).snapshots_
        except ValueError:
            kept = []
        if kept and most > 1:
            chosen = np.unique(np.linspace(0, len(kept) - 1, most).round().astype(int))
            networks = [(kept[k][0], network_at(network, kept[k])) for k in chosen]
        maps = [_class_map(each.predict(grid)).reshape(GRID, GRID) for _, each in networks]
        labels = _class_map(seen.Y).astype(int)
        names = seen.input_names
        known = getattr(seen.estimator, "classes_", ())
        epochs = [epoch for epoch, _ in networks]
        return cls(axes[0], axes[1], maps, epochs, A, labels, names, known)

    def plot(self, ax: Any = None) -> DecisionBoundaryDisplay:
        """Draw a panel for each epoch.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Of one panel, the last. Default: new ones.
        """
        if ax is not None:
            self.axes_, shown = [ax], [len(self.maps) - 1]
        else:
            import matplotlib.pyplot as plt

            n = len(self.maps)
            _, grid = plt.subplots(
                1,
                n,
                figsize=(3.1 * n + 1, 3.3),
                layout="constrained",
                squeeze=False,
                sharey=True,
            )
            self.axes_, shown = list(grid[0]), list(range(n))
        for each, k in zip(self.axes_, shown, strict=True):
            self.draw(each, k)
        for each in self.axes_[1:]:
            each.set_ylabel("")
        self.ax_, self.figure_ = self.axes_[-1], self.axes_[-1].figure
        if ax is None:
            handles, labels = self.ax_.get_legend_handles_labels()
            self.figure_.legend(
                handles, labels, loc="outside right upper", frameon=False, title="class"
            )
        return self

    def draw(self, ax: Any, k: int) -> None:
        """Draw one epoch into axes."""
        n = int(max(self.labels.max(), *(m.max() for m in self.maps))) + 1
        shades, markers = colours(n), "osD^vPX*"
        sure = self.maps[k]
        image = np.zeros((*sure.shape, 4))
        for j in range(n):
            there = sure.astype(int) == j
            image[there, :3] = _rgb(shades[j])
            image[there, 3] = 0.15 + 0.7 * (2 * (sure[there] - j)).clip(0, 1)
        extent = (self.x[0], self.x[-1], self.y[0], self.y[-1])
        ax.imshow(image, origin="lower", extent=extent, aspect="auto", interpolation="nearest")
        if n > 1 and len(np.unique(sure.astype(int))) > 1:
            levels = np.arange(1, n) - 1e-9
            ax.contour(
                self.x, self.y, np.floor(sure), levels=levels, colors="#555555", linewidths=0.8
            )
        for j in range(n):
            rows = self.rows[self.labels == j]
            ax.scatter(
                *rows.T[:2],
                s=14,
                color=[shades[j]],
                marker=markers[j % len(markers)],
                edgecolors="white",
                linewidths=0.5,
                label=plain_text(self.class_names[j] if j < len(self.class_names) else str(j)),
            )
        epoch = self.epochs[k]
        ax.set(
            xlabel=plain_text(self.names[0]),
            ylabel=plain_text(self.names[1]),
            title="Decision boundary" if epoch is None else f"epoch {epoch}",
        )


def _class_map(outputs: Any) -> NDArray[np.float64]:
    """Return the class, and half of how sure: 0 at a tie, 1 where there is no doubt."""
    out = np.asarray(outputs, np.float64)
    if out.shape[1] == 1:
        p = np.clip(out[:, 0], 0, 1)
        found: NDArray[np.float64] = (p > 0.5) + np.abs(2 * p - 1) / 2.001
        return found
    order = np.sort(out, axis=1)
    gap = np.clip(order[:, -1] - order[:, -2], 0, 1)
    best: NDArray[np.float64] = out.argmax(axis=1) + gap / 2.001
    return best


def _rgb(colour: Any) -> Any:
    from matplotlib.colors import to_rgb

    return to_rgb(colour)


class LossLandscapeDisplay:
    """Show the cost around the parameters, along two directions.

    The directions are drawn, and scaled unit by unit to the weights: Li et al. (2018). The cost is
    that of the training: where an estimator standardises, inputs and target are standardised. Make
    one with :meth:`from_estimator`.

    Parameters
    ----------
    steps : (g,) array-like
    costs : (g, g) array-like

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import LossLandscapeDisplay, Network
    >>> X = np.random.default_rng(0).normal(size=(50, 2))
    >>> net = Network((2, 8, 1), seed=0)
    >>> display = LossLandscapeDisplay.from_estimator(net, X, X[:, :1], points=5)
    >>> display.costs.shape
    (5, 5)
    """

    def __init__(self, steps: Any, costs: Any) -> None:
        self.steps, self.costs = np.asarray(steps), np.asarray(costs)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        span: float = 1.0,
        points: int = 25,
        seed: int = 0,
        ax: Any = None,
    ) -> LossLandscapeDisplay:
        """Compute and draw.

        Parameters
        ----------
        estimator : estimator, Pipeline or Network
        X, y : array-likes
            As for :func:`chainrule.trace`; 500 rows at most are taken.
        span : float, default 1.0
            How far to go, in lengths of the weights.
        points : int, default 25
            On each side.
        seed : int, default 0
            Of the directions.
        ax : matplotlib Axes, optional
            Default: new ones.

        Raises
        ------
        ValueError
            A number does not fit, or no cost is finite.
        """
        if not (0 < span < np.inf and points >= 3):
            raise ValueError(f"span must be above 0 and points 3 or more; got {span}, {points}")
        seen = view(estimator, X, y)
        assert seen.Y is not None
        rng = np.random.default_rng(seed)
        rows = np.sort(rng.permutation(len(seen.X))[:MOST_ROWS])
        network, A, B = as_trained(seen, rows)
        center = network.theta.copy()
        directions = []
        for _ in range(2):
            d = rng.standard_normal(center.size).astype(network.dtype)
            D, e = network.views(d)
            for l in range(1, network.L + 1):
                if D[l].size:
                    length = np.linalg.norm(network.W[l], axis=0)
                    D[l][...] *= length / np.maximum(np.linalg.norm(D[l], axis=0), 1e-30)
                e[l][...] *= np.abs(network.b[l])
            directions.append(d)
        steps = np.linspace(-span, span, points)
        costs = np.empty((points, points))
        for i, s in enumerate(steps):
            for j, t in enumerate(steps):
                network.theta[:] = center + t * directions[0] + s * directions[1]
                with np.errstate(all="ignore"):
                    costs[i, j] = network.cost(A, B)
        if not np.isfinite(costs).any():
            raise ValueError(
                "the cost is not a finite number anywhere around the network: its parameters, or "
                "the inputs, are too large"
            )
        return cls(steps, costs).plot(ax)

    def plot(self, ax: Any = None) -> LossLandscapeDisplay:
        """Draw contours; the network is at the cross.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Default: new ones.
        """
        ax = new_axes(ax)
        self.ax_, self.figure_ = ax, ax.figure
        costs = np.where(np.isfinite(self.costs), self.costs, np.nan)
        low, high = float(np.nanmin(costs)), float(np.nanquantile(costs, 0.95))
        options: dict[str, Any] = {"cmap": "viridis"}
        if low > 0 and high > 10 * low:
            from matplotlib.colors import LogNorm

            levels = np.geomspace(low, high, 14)
            options["norm"] = LogNorm(low, high)
        else:
            levels = np.linspace(low, high if high > low else low + 1, 14)
        drawn = ax.contourf(self.steps, self.steps, costs, levels=levels, extend="max", **options)
        ax.plot(0, 0, "+", color="white", markersize=12, markeredgewidth=2)
        bar = self.figure_.colorbar(drawn, ax=ax, label="cost")
        bar.ax.minorticks_off()
        bar.set_ticks(levels[::3], labels=[f"{value:.2g}" for value in levels[::3]])
        ax.set(
            xlabel="along one direction, in lengths of the weights",
            ylabel="along another",
            title="Cost around the network (+)",
            aspect="equal",
        )
        return self
