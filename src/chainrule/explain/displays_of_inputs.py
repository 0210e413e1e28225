"""Pictures of what the inputs do: gradients over an image, and how much each column counts.

Partial dependence is drawn by `sklearn.inspection.PartialDependenceDisplay`, which accepts our
estimators and pipelines as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.explain.displays_of_networks import input_scale
from chainrule.explain.drawing import BLUE, GREY, SIGNED, bare, new_axes, plain_text
from chainrule.explain.models import view


class InputGradientDisplay:
    """Show how what goes into an output unit, z^L, changes with each pixel, beside the image.

    z^L is taken, not a^L, because softmax is flat where it is sure. Where an estimator standardises
    its inputs, the gradient is for a standard deviation of each pixel.

    Make one with :meth:`from_estimator`.

    Parameters
    ----------
    image, gradient : (height, width) array-likes
    title : str

    Attributes
    ----------
    axes_ : list of matplotlib Axes
    ax_ : matplotlib Axes
        That of the gradient.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import InputGradientDisplay, Network
    >>> display = InputGradientDisplay.from_estimator(Network((16, 5, 3), seed=0), np.ones(16))
    >>> display.gradient.shape
    (4, 4)
    """

    def __init__(self, image: Any, gradient: Any, title: str = "") -> None:
        self.image, self.gradient, self.title = np.asarray(image), np.asarray(gradient), title

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        x: Any,
        *,
        shape: tuple[int, int] | None = None,
        output: int | None = None,
        ax: Any = None,
    ) -> InputGradientDisplay:
        """Draw one image through a model.

        Parameters
        ----------
        estimator : estimator or Network
        x : (n_features,) array-like
        shape : (int, int), optional
            Height and width. Default: a square.
        output : int, optional
            Which output unit. Default: the largest.
        ax : matplotlib Axes, optional
            For the gradient alone. Default: new ones, with the image beside it.
        """
        row = np.asarray(x, np.float64).reshape(1, -1)
        seen = view(estimator, row)
        network, n = seen.network, row.shape[1]
        if hasattr(estimator, "steps") and len(estimator.steps) > 1:
            raise ValueError(
                "the inputs are changed by a pipeline: give its last step, and its row"
            )
        shape = shape or (round(n**0.5),) * 2
        if int(np.prod(shape)) != n:
            raise ValueError(f"shape {tuple(shape)} has {int(np.prod(shape))} pixels; x has {n}")
        out = network.predict(seen.X)[0]
        unit = int(out.argmax()) if output is None else output
        if not 0 <= unit < len(out):
            raise ValueError(f"output must be from 0 to {len(out) - 1}; got {output}")
        gradient = input_gradient(network, seen.X, unit)[:n] * input_scale(estimator, n)
        name = seen.output_names[unit] if len(seen.output_names) == len(out) else str(unit)
        display = cls(
            row.reshape(shape), gradient.reshape(shape), f"output {name}: {out[unit]:.2g}"
        )
        return display.plot(ax)

    def plot(self, ax: Any = None) -> InputGradientDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            For the gradient alone. Default: new ones, with the image beside it.
        """
        if ax is None:
            import matplotlib.pyplot as plt

            _, grid = plt.subplots(1, 2, figsize=(6.4, 3.3), layout="constrained")
            grid[0].imshow(self.image, cmap="gray_r", interpolation="nearest")
            grid[0].set(title="input", xticks=[], yticks=[])
            self.axes_ = list(grid)
            ax = grid[1]
        else:
            self.axes_ = [ax]
        self.ax_, self.figure_ = ax, ax.figure
        largest = float(np.abs(self.gradient).max()) or 1.0
        shown = ax.imshow(
            self.gradient, cmap=SIGNED, vmin=-largest, vmax=largest, interpolation="nearest"
        )
        ax.set(title=plain_text(self.title), xticks=[], yticks=[])
        self.figure_.colorbar(shown, ax=ax, label="∂z/∂x", shrink=0.8)
        return self


def input_gradient(network: Any, X: Any, unit: int) -> NDArray[np.float64]:
    """∂z^L_unit/∂x of one row, by the equations: BP2 from one output down to the input.

    Parameters
    ----------
    network : Network
    X : (1, n_0) array
    unit : int
        Of the output.

    Returns
    -------
    (n_0,) float64
    """
    from chainrule.equations import backprop

    net, batch = network.bind(1)
    batch.a[0][:] = X
    backprop.forward(net, batch)
    L = network.L
    batch.delta[L][:] = 0
    batch.delta[L][0, unit] = 1
    backprop.backward(net, batch)
    below = np.empty_like(batch.a[0])
    net.pullback[1](net.W[1], net.b[1], batch.s[1], batch.a[0], batch.delta[1], below)
    gradient: NDArray[np.float64] = below[0].astype(np.float64)
    return gradient


class ImportanceDisplay:
    """Show by how much the score falls if a column is shuffled.

    Make one with :meth:`from_estimator`.

    Parameters
    ----------
    names : sequence of str
    falls : (n_columns, n_repeats) array-like

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from chainrule import ImportanceDisplay, MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier(solver="lbfgs", random_state=0).fit(X, y)
    >>> ImportanceDisplay.from_estimator(model, X, y, n_repeats=2).falls.shape
    (4, 2)
    """

    def __init__(self, names: Sequence[str], falls: Any) -> None:
        self.names = [str(name) for name in names]
        self.falls: NDArray[np.float64] = np.asarray(falls, np.float64)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        n_repeats: int = 5,
        seed: int = 0,
        ax: Any = None,
        **options: Any,
    ) -> ImportanceDisplay:
        """Shuffle each column and draw by how much the score falls.

        Parameters
        ----------
        estimator : estimator or Pipeline
            Fitted; any of scikit-learn's form.
        X, y : array-likes
            Rows held out, as `score` accepts them.
        n_repeats : int, default 5
        seed : int, default 0
        ax : matplotlib Axes, optional
            Default: new ones.
        **options
            For `sklearn.inspection.permutation_importance`.
        """
        from sklearn.inspection import permutation_importance

        X = X.toarray() if hasattr(X, "toarray") else X  # columns are shuffled one by one
        found = permutation_importance(
            estimator, X, y, n_repeats=n_repeats, random_state=seed, **options
        )
        names = getattr(X, "columns", None)
        if names is None:
            names = [f"x{j}" for j in range(len(found.importances))]
        return cls(list(names), found.importances).plot(ax)

    def plot(self, ax: Any = None, *, most: int = 20) -> ImportanceDisplay:
        """Draw the columns that count most, with the range over the repeats.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Default: new ones.
        most : int, default 20
        """
        middle = self.falls.mean(axis=1)
        order = np.argsort(middle, kind="stable")[-most:]
        ax = new_axes(ax, figsize=(6.4, 1.4 + 0.28 * len(order)))
        self.ax_, self.figure_ = ax, ax.figure
        low = middle[order] - self.falls[order].min(axis=1)
        high = self.falls[order].max(axis=1) - middle[order]
        ax.barh(
            range(len(order)), middle[order], xerr=[low, high], color=BLUE, ecolor=GREY, capsize=2
        )
        ax.set_yticks(range(len(order)), [plain_text(self.names[j])[:30] for j in order])
        ax.set(xlabel="fall of the score", title="What shuffling a column costs")
        bare(ax)
        return self
