"""A trained ensemble: its parameters and what it predicts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from copy import copy
from functools import partial
from typing import Any

import numpy as np

from chainrule.base.types import Array, Index
from chainrule.engine import threads
from chainrule.engine.config import threads_asked
from chainrule.ensembles.inputs import InputLayout, Inputs, check_inputs, encoded
from chainrule.ensembles.parameters import arrange
from chainrule.ensembles.prediction_lookups import looked_up
from chainrule.ensembles.settings import EnsembleSettings, check_settings
from chainrule.equations.activations import ACTIVATIONS
from chainrule.equations.lookups import table_of_rows

ROWS = 1024  # that a member predicts together: its arrays then fit into a core's cache
SHARED = 2048  # rows times members, from which on threads share the members


class FittedEnsemble:
    """k networks, trained together.

    Attributes
    ----------
    layout : InputLayout
    settings : EnsembleSettings
    loss : {"softmax", "squared"}
    theta : (P,) float32
        The running average of all parameters at the end of the best epoch.
    low, high : (K,) float32
        The range that predictions are clipped to: that of the targets, or 0 and 1.
    oof : (n, K) float32 or None
        Each row's prediction by the mean of the members that never learnt from it.
    best_epoch : int
        From 0.
    best_loss : float
        The ensemble's loss outside of the folds then: cross-entropy, or the squared error.
    history : dict of lists
        "loss": that of every epoch.
    engine : str
        Which engine trained it.
    stopped : None or {"patience", "callback", "deadline", "interrupted"}
        Why training ended before the epochs that were planned.
    """

    def __init__(
        self,
        layout: InputLayout,
        settings: EnsembleSettings,
        loss: str,
        theta: Array,
        low: Array,
        high: Array,
        *,
        oof: Array | None = None,
        best_epoch: int = -1,
        best_loss: float = np.inf,
        history: Mapping[str, list[float]] | None = None,
        engine: str = "",
        stopped: str | None = None,
    ) -> None:
        self.layout, self.settings, self.loss = layout, settings, loss
        self.theta, self.low, self.high, self.oof = theta, low, high, oof
        self.best_epoch, self.best_loss = best_epoch, best_loss
        self.history = {"loss": []} if history is None else dict(history)
        self.engine, self.stopped = engine, stopped
        arrangement = arrange(layout, settings, len(low), settings.batch)
        if theta.shape != (arrangement.size,):
            raise ValueError(f"theta must have {arrangement.size} numbers, not {theta.shape}")
        self._plan = arrangement.plan
        self._tables: list[tuple[Array, Array, list[tuple[Array, Array]]]] | None = None

    @property
    def members(self) -> int:
        """How many networks."""
        return self.settings.members

    @property
    def folds(self) -> int:
        """How many folds."""
        return self.settings.folds

    @property
    def n_epochs(self) -> int:
        """How many epochs were gone through."""
        return len(self.history["loss"])

    def parameters(self, i: int) -> tuple[Array, list[Array], list[Array]]:
        """Member i: its factors s on the input columns, (D,), and views of its W^l and b^l."""
        L = len(self._plan.widths) - 1
        W = [self._view(self._plan.W[i, l]) for l in range(1, L + 1)]
        b = [self._view(self._plan.b[i, l])[0] for l in range(1, L + 1)]
        return self._view(self._plan.s[i])[:, 0], W, b

    def _view(self, row: Index) -> Array:
        offset, height, width = row.tolist()
        return self.theta[offset : offset + height * width].reshape(height, width)

    def effective(self, i: int) -> list[tuple[Array, Array]]:
        """Member i as a plain network over the columns as they are: dense, p_t, and 0 or 1.

        The factors s, the scales and the means are in its first W and b.

        Returns
        -------
        list of (W, b)
            For l = 1 … L.
        """
        s, W, b = self.parameters(i)
        layout, d = self.layout, self.layout.dense
        V = s[:, np.newaxis] * W[0]
        shifted = b[0] - layout.mean @ V[d:]
        V[d:] *= layout.scale[:, np.newaxis]
        return [(V, shifted), *zip(W[1:], b[1:], strict=True)]

    def _table(self, i: int) -> tuple[Array, Array, list[tuple[Array, Array]]]:
        """Member i's table of rows that are looked up, the bias with it, and W and b above."""
        s, W, b = self.parameters(i)
        layout = self.layout
        E = np.empty((layout.table_rows, W[0].shape[1]), np.float32)
        shifted = np.empty_like(b[0])
        table_of_rows(W[0], s, b[0], layout.nodes, layout.scale, layout.mean, E, shifted)
        return E, shifted, list(zip(W[1:], b[1:], strict=True))

    def predict_members(self, inputs: Inputs, n_threads: int | None = None) -> Array:
        """What each member predicts: (k, n, K) float32; probabilities after softmax.

        Parameters
        ----------
        inputs : Inputs
        n_threads : int, optional
            At most so many threads; the bits do not depend on it.

        Raises
        ------
        ValueError
            The inputs do not fit the layout.
        """
        check_inputs(inputs, self.layout)
        n, K, d = inputs.n, len(self.low), self.layout.dense
        out: Array = np.empty((self.members, K, n), np.float32)
        if self._tables is None:
            self._tables = [self._table(i) for i in range(self.members)]
        x = encoded(inputs, self.layout)
        most = self.members if self.members * n >= SHARED else 1
        with threads.one_blas_thread(), threads.reserved(most, threads_asked(n_threads)) as workers:
            for first in range(0, n, ROWS):
                at = slice(first, min(first + ROWS, n))
                looks_up = self.layout.table_rows > d
                of_table = looked_up(x, at, self._tables[0][0], self.members) if looks_up else None
                waiting = deque(range(self.members))
                work = partial(self._predict_waiting, waiting, x.dense[at], of_table, out[:, :, at])
                threads.side_by_side(work, workers, waiting.clear)
        if self.loss == "softmax":
            out -= out.max(axis=1, keepdims=True)
            np.exp(out, out)
            out /= out.sum(axis=1, keepdims=True)
        else:
            np.clip(out, self.low[:, np.newaxis], self.high[:, np.newaxis], out)
        return out.transpose(0, 2, 1)

    def _predict_waiting(
        self,
        waiting: deque[int],
        dense: Array,
        of_table: Callable[[Array], Array] | None,
        out: Array,
        worker: int,
    ) -> None:
        """Write what members predict, z^L of some rows, until none waits: out (k, K, m)."""
        f, d = ACTIVATIONS[self.settings.activation].f, dense.shape[1]
        assert self._tables is not None
        while waiting:
            try:
                i = waiting.popleft()
            except IndexError:  # another thread has taken the last one
                return
            E, shifted, above = self._tables[i]
            z = dense @ E[:d]
            if of_table is not None:
                z += of_table(E)
            z += shifted
            for W, b in above:
                a = np.empty_like(z)
                f(z, a)
                z = a @ W
                z += b
            out[i] = z.T

    def stretched(self, factor: Array, centre: Array) -> FittedEnsemble:
        """The ensemble whose members predict c + r (z - c), clipped as before, in place of z.

        Their output layers become r W and r b + (1 - r) c, so nothing is added to predicting.

        Parameters
        ----------
        factor, centre : (K,)
            r and c.
        """
        new = copy(self)
        new.theta, new._tables = self.theta.copy(), None
        for i in range(self.members):
            _, W, b = new.parameters(i)
            W[-1] *= factor
            b[-1] += (1 - factor) * (centre - b[-1])
        if self.oof is not None:
            oof = centre + factor * (self.oof - centre)
            new.oof = np.clip(oof, self.low, self.high, dtype=np.float32)
        return new

    def predict(self, inputs: Inputs) -> Array:
        """The mean of what the members predict, (n, K) float32."""
        return np.asarray(self.predict_members(inputs).mean(axis=0))

    def state(self) -> dict[str, Any]:
        """All that predicting needs, in arrays, numbers and text."""
        layout, settings = self.layout, self.settings
        return {
            "dense": layout.dense,
            "bins": np.array(layout.bins, np.int64),
            "levels": np.array(layout.levels, np.int64),
            "scale": layout.scale,
            "mean": layout.mean,
            "settings": {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in settings._asdict().items()
            },
            "loss": self.loss,
            "theta": self.theta,
            "low": self.low,
            "high": self.high,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "losses": list(self.history["loss"]),
            "engine": self.engine,
            "stopped": self.stopped,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> FittedEnsemble:
        """An ensemble from what :meth:`state` gave; without its `oof`.

        Raises
        ------
        ValueError
            Shapes or numbers that do not fit together.
        """
        layout = InputLayout(
            int(state["dense"]),
            tuple(map(int, state["bins"])),
            tuple(map(int, state["levels"])),
            np.asarray(state["scale"], np.float32),
            np.asarray(state["mean"], np.float32),
        )
        S = layout.columns - layout.dense
        if min((layout.dense, *layout.bins, *layout.levels)) < 0 or layout.scale.shape != (S,):
            raise ValueError("the layout of an ensemble's inputs does not fit together")
        if layout.mean.shape != (S,):
            raise ValueError("the layout of an ensemble's inputs does not fit together")
        settings = EnsembleSettings(
            **{**state["settings"], "hidden": tuple(state["settings"]["hidden"])}
        )
        check_settings(settings)
        return cls(
            layout,
            settings,
            str(state["loss"]),
            np.asarray(state["theta"], np.float32),
            np.asarray(state["low"], np.float32),
            np.asarray(state["high"], np.float32),
            best_epoch=int(state["best_epoch"]),
            best_loss=float(state["best_loss"]),
            history={"loss": list(state["losses"])},
            engine=str(state["engine"]),
            stopped=state["stopped"],
        )
