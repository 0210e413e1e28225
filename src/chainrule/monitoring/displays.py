"""Pictures of a training, in the manner of scikit-learn's Display classes.

Lines differ in dashes as well as in shade, so that all can be read in grey. Matplotlib is loaded
when something is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from chainrule.monitoring.callbacks import best_epoch

TRAINING: Mapping[str, Any] = {"color": "#1f4e79", "linestyle": "-"}
VALIDATION: Mapping[str, Any] = {"color": "#d9822b", "linestyle": (0, (5, 1.5))}
SCORE: Mapping[str, Any] = {"color": "#3c7d4f", "linestyle": (0, (1.2, 1.2))}
FAINT: Mapping[str, Any] = {"color": "#9a9a9a", "linestyle": "-", "linewidth": 0.8}
WIDE_RANGE = 30.0  # largest loss over smallest from which "auto" takes a logarithmic axis


class LossesByRate(Protocol):
    """What of a learning-rate finder's result is drawn; see :class:`chainrule.LRFinder`."""

    @property
    def rates(self) -> NDArray[np.float64]:
        """Learning rates tried, (k,)."""

    @property
    def raw(self) -> NDArray[np.float64]:
        """Loss after the step with each, (k,)."""

    @property
    def losses(self) -> NDArray[np.float64]:
        """The same, smoothed, (k,)."""

    @property
    def suggestion(self) -> float:
        """A learning rate to start from, or NaN."""


def _new_axes(ax: Any) -> Any:
    """The axes given, or new ones in a new figure."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(layout="constrained")
    return ax


class LossCurveDisplay:
    """Loss by epoch in training and validation, and the validation score on a second axis.

    Make one with :meth:`from_estimator` or :meth:`from_history`.

    Parameters
    ----------
    loss : (k,) array-like
        Training loss of each epoch.
    validation_loss, validation_score : (k,) array-like, optional
        NaN where there is none.
    epochs : (k,) array-like, optional
        Default: 0, 1, …
    best_epoch : int, optional
        Marked by a dot on each line.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Of the losses.
    score_ax_ : matplotlib Axes or None
        Of the score, on the right.
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        Training loss, validation loss, validation score; those that there are.

    Examples
    --------
    >>> from chainrule import LossCurveDisplay
    >>> display = LossCurveDisplay.from_history([{"loss": 1.0}, {"loss": 0.5}])
    >>> [line.get_label() for line in display.lines_]
    ['training loss']
    """

    def __init__(
        self,
        loss: Iterable[float],
        *,
        validation_loss: Iterable[float] | None = None,
        validation_score: Iterable[float] | None = None,
        epochs: Iterable[float] | None = None,
        best_epoch: int | None = None,
    ) -> None:
        self.loss = _curve("loss", loss, None)
        n = len(self.loss)
        self.validation_loss = _curve("validation_loss", validation_loss, n)
        self.validation_score = _curve("validation_score", validation_score, n)
        self.epochs = np.arange(float(n)) if epochs is None else _curve("epochs", epochs, n)
        self.best_epoch = best_epoch

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None, **plot_options: Any
    ) -> LossCurveDisplay:
        """Draw how a fitted estimator was trained.

        Parameters
        ----------
        estimator : estimator
            With `history_`, as ours, or with `loss_curve_`, as scikit-learn's; a Pipeline ends
            in one.
        ax : matplotlib Axes, optional
            Default: new ones.
        **plot_options
            As for :meth:`plot`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            It has neither.
        """
        last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
        best = best_epoch(last)
        history = getattr(last, "history_", None)
        if history:
            return cls.from_history(history, ax=ax, best_epoch=best, **plot_options)
        if getattr(last, "loss_curve_", None) is None:
            from sklearn.exceptions import NotFittedError

            raise NotFittedError(
                f"{type(last).__name__} has no loss curve to draw: fit it first, with a solver "
                "that goes by epochs"
            )
        found = {
            name: getattr(last, attribute, None)
            for name, attribute in (
                ("validation_loss", "validation_loss_curve_"),
                ("validation_score", "validation_scores_"),
            )
        }
        # After warm starts the curve has more epochs than the scores, which are of the last fit.
        n = len(last.loss_curve_)
        padded = {
            name: None if values is None else [math.nan] * (n - len(values)) + list(values)[-n:]
            for name, values in found.items()
        }
        return cls(last.loss_curve_, **padded, best_epoch=best).plot(ax, **plot_options)

    @classmethod
    def from_history(
        cls,
        history: Sequence[Mapping[str, Any]],
        *,
        ax: Any = None,
        best_epoch: int | None = None,
        **plot_options: Any,
    ) -> LossCurveDisplay:
        """Draw a list of records, as in `history_` or a JSON-lines log.

        Parameters
        ----------
        history : list of dict
            One an epoch, with "loss" and, if there are, "epoch", "validation_loss" and
            "validation_score".
        ax : matplotlib Axes, optional
            Default: new ones.
        best_epoch : int, optional
            To mark.
        **plot_options
            As for :meth:`plot`.

        Raises
        ------
        ValueError
            No records, or records without a loss.
        """
        if not history:
            raise ValueError("history is empty: there is no epoch to draw")
        if "loss" not in history[0]:
            raise ValueError(f"history[0] has no 'loss'; it has {', '.join(history[0])}")
        epochs: list[float] = [record.get("epoch", i) for i, record in enumerate(history)]
        if any(b <= a for a, b in pairwise(epochs)):  # several fits
            epochs, best_epoch = list(range(len(history))), None
        columns = {
            name: [record.get(name) for record in history]
            for name in ("loss", "validation_loss", "validation_score")
        }
        curves: dict[str, Any] = {
            name: values for name, values in columns.items() if any(v is not None for v in values)
        }
        display = cls(curves.pop("loss", []), epochs=epochs, best_epoch=best_epoch, **curves)
        return display.plot(ax, **plot_options)

    def plot(
        self,
        ax: Any = None,
        *,
        score_name: str = "score",
        loss_scale: str = "auto",
        line_kw: Mapping[str, Any] | None = None,
    ) -> LossCurveDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Default: new ones.
        score_name : str, default "score"
            What the score is, for instance "accuracy".
        loss_scale : {"auto", "linear", "log"}, default "auto"
            "auto" is logarithmic if the losses are above 0 and the largest is more than 30 times
            the smallest.
        line_kw : dict, optional
            For all lines, over what they have by default.

        Returns
        -------
        LossCurveDisplay
            Itself.
        """
        if loss_scale not in ("auto", "linear", "log"):
            raise ValueError(f"loss_scale must be 'auto', 'linear' or 'log'; got {loss_scale!r}")
        ax = _new_axes(ax)
        self.ax_, self.figure_, self.score_ax_ = ax, ax.figure, None
        self.lines_: list[Any] = []
        losses = [(self.loss, "training loss", TRAINING)]
        if self.validation_loss is not None:
            losses.append((self.validation_loss, "validation loss", VALIDATION))
        for values, label, style in losses:
            self._line(ax, values, label, {**style, **(line_kw or {})})
        drawn = np.concatenate([values for values, _, _ in losses])
        drawn = drawn[np.isfinite(drawn)]
        wide = drawn.size and drawn.min() > 0 and drawn.max() > WIDE_RANGE * drawn.min()
        ax.set(xlabel="epoch", ylabel="loss")
        if loss_scale == "log" or (loss_scale == "auto" and wide):
            ax.set_yscale("log")
        if self.validation_score is not None:
            self.score_ax_ = ax.twinx()
            self.score_ax_.set_ylabel(f"validation {score_name}")
            style = {**SCORE, **(line_kw or {})}
            self._line(self.score_ax_, self.validation_score, f"validation {score_name}", style)
        self._finish()
        return self

    def _line(self, ax: Any, values: NDArray[np.float64], label: str, style: Any) -> None:
        """A curve, with a dot at the best epoch, or at its only one."""
        (line,) = ax.plot(self.epochs, values, label=label, **style)
        self.lines_.append(line)
        best = self.best_epoch if len(values) > 1 else self.epochs[0]
        where = np.flatnonzero(self.epochs == (math.nan if best is None else best))
        if len(where):
            ax.plot(best, values[where[0]], "o", color=line.get_color(), markersize=5)

    def _finish(self) -> None:
        from matplotlib.ticker import MaxNLocator

        ax = self.ax_
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        ax.spines["top"].set_visible(False)
        if self.score_ax_ is None:
            ax.spines["right"].set_visible(False)
        else:
            self.score_ax_.spines["top"].set_visible(False)
        names = [line.get_label() for line in self.lines_]
        # Above the axes, where it hides no line; the twin's lines belong to it too.
        ax.legend(
            self.lines_,
            names,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=len(names) if len("".join(names)) < 60 else 2,
            frameon=False,
            borderaxespad=0.2,
            columnspacing=1.4,
            handlelength=2.4,
        )


def _curve(name: str, values: Iterable[float] | None, n: int | None) -> Any:
    """Values as a float64 vector of n (None becomes NaN), or None."""
    if values is None:
        return None
    curve = np.array([math.nan if v is None else v for v in values], np.float64)
    if curve.ndim != 1 or len(curve) == 0 or (n is not None and len(curve) != n):
        expected = "one number for each epoch" if n is None else f"{n} numbers, as the loss has"
        raise ValueError(f"{name} must be {expected}; got the shape {curve.shape}")
    return curve


class LRFinderDisplay:
    """Loss against the learning rate, with the suggestion.

    Make one with :meth:`from_finder`.

    Parameters
    ----------
    rates, raw, losses : (k,) array-like
        Learning rates, the losses seen with them, the smoothed losses.
    suggestion : float
        NaN for none.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        Losses, smoothed losses, and the suggestion if there is one.
    """

    def __init__(
        self,
        rates: Iterable[float],
        raw: Iterable[float],
        losses: Iterable[float],
        suggestion: float = math.nan,
    ) -> None:
        self.rates = _curve("rates", rates, None)
        self.raw = _curve("raw", raw, len(self.rates))
        self.losses = _curve("losses", losses, len(self.rates))
        self.suggestion = float(suggestion)

    @classmethod
    def from_finder(
        cls, found: LossesByRate, *, ax: Any = None, **plot_options: Any
    ) -> LRFinderDisplay:
        """Draw the result of :func:`chainrule.find_learning_rate`.

        Parameters
        ----------
        found : LRFinder
            What that function returns.
        ax : matplotlib Axes, optional
            Default: new ones.
        **plot_options
            As for :meth:`plot`.
        """
        display = cls(found.rates, found.raw, found.losses, found.suggestion)
        return display.plot(ax, **plot_options)

    def plot(self, ax: Any = None, *, line_kw: Mapping[str, Any] | None = None) -> LRFinderDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Default: new ones.
        line_kw : dict, optional
            For the smoothed line, over what it has by default.

        Returns
        -------
        LRFinderDisplay
            Itself.
        """
        ax = _new_axes(ax)
        self.ax_, self.figure_ = ax, ax.figure
        (raw,) = ax.plot(self.rates, self.raw, label="loss of a batch", **FAINT)
        style = {**TRAINING, "linewidth": 2.0, **(line_kw or {})}
        (smooth,) = ax.plot(self.rates, self.losses, label="smoothed", **style)
        self.lines_ = [raw, smooth]
        ax.set_xscale("log")
        ax.set(xlabel="learning rate", ylabel="loss", xlim=(self.rates[0], self.rates[-1]))
        # The explosion at the end is cut off, or nothing else could be seen.
        low, start = float(np.nanmin(self.losses)), float(self.losses[0])
        gain = max(start - low, 0.05 * abs(start), 1e-12)
        ax.set_ylim(min(low, float(np.nanmin(self.raw))) - 0.1 * gain, start + 0.8 * gain)
        if math.isfinite(self.suggestion):
            label = f"suggestion: {self.suggestion:.2g}"
            style = {"color": VALIDATION["color"], "linestyle": VALIDATION["linestyle"]}
            self.lines_.append(ax.axvline(self.suggestion, label=label, **style))
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        ax.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=3,
            frameon=False,
            borderaxespad=0.2,
            columnspacing=1.4,
            handlelength=2.4,
        )
        return self
