"""The network: what it consists of, and how its parameters lie in one flat vector theta.

theta holds W^1, b^1, W^2, b^2, … one after the other; `W[l]` and `b[l]` are views of it, and so
are the gradient's `nabla_W[l]` and `nabla_b[l]` of the vector nabla. Optimisers, checkpoints and
sums over processes then deal with one array each.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from chainrule.base.types import Array, Index
from chainrule.base.validation import (
    check_matrix,
    check_pair,
    float_dtype,
    generator,
    how_to_make,
    is_whole,
    look_up,
)
from chainrule.equations import backprop
from chainrule.equations.activations import ACTIVATIONS, Activation, identity, identity_pullback
from chainrule.equations.initializers import INITIALIZERS, Initializer, zeros
from chainrule.equations.layers import AFFINE, LAYERS, NO_STATISTICS, Layer
from chainrule.equations.losses import FUSED, LOSSES, Loss, fuse
from chainrule.equations.vecmath import matrices, vectors
from chainrule.network.backpropagation import Backpropagation
from chainrule.network.predictor import Row, check_outputs, make_predictor, predict_rows


class Network:
    """A multilayer perceptron.

    Parameters
    ----------
    sizes : sequence of int
        Widths (n_0, …, n_L): inputs, hidden layers (none or any number), outputs.
    activation : str, Activation or a sequence of them, default "relu"
        One for all hidden layers, or one for each (L - 1), or one for each layer and the output
        (L). Names: the keys of ``chainrule.ACTIVATIONS``.
    output_activation : str or Activation, optional
        Default: the loss's link, which is identity for squared error, softmax for
        cross-entropy, logistic for binary cross-entropy.
    loss : str or Loss, default "squared_error"
        Names: the keys of ``chainrule.LOSSES``. Where the pair of loss and output activation
        has a fused form, that is used.
    init : str, Initializer, sequence of (W, b) pairs, or theta; default "glorot_uniform"
        How to draw the starting values, or the values themselves.
    dtype : default float64
        float32 or float64.
    seed : int, numpy.random.Generator or None, default None
        For the starting values.
    layers : sequence of str or Layer, optional
        The kind of each layer. Default: all affine.

    Attributes
    ----------
    sizes, L, dtype, activations, loss, layers
        As given; lists by layer have L + 1 entries, of which entry 0 is a placeholder.
    theta : (P,) array
        All parameters.
    constants : float64 array
        The constants s of all layers: what they have that is not learned by gradients, such as
        the running averages of batch normalisation.
    n_targets : int
        Columns of Y: n_L, unless the loss takes several output units for each target.
    W, b : lists of arrays
        Views of theta: W[l] is (n_{l-1}, n_l) and b[l] is (n_l,), l = 1 … L.

    Raises
    ------
    ValueError
        Sizes, names, shapes or starting values that make no network.
    chainrule.DerivativeError
        An activation, loss or layer of your own whose derivative is wrong.

    Examples
    --------
    >>> from chainrule import Network
    >>> net = Network((64, 100, 10), loss="cross_entropy", init="he_normal", seed=0)
    >>> [W.shape for W in net.W[1:]]
    [(64, 100), (100, 10)]
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str | Activation | Sequence[str | Activation] = "relu",
        output_activation: str | Activation | None = None,
        loss: str | Loss = "squared_error",
        init: str | Initializer | Sequence[tuple[ArrayLike, ArrayLike]] | Array = "glorot_uniform",
        dtype: DTypeLike = np.float64,
        seed: int | np.random.Generator | None = None,
        layers: Sequence[str | Layer] | None = None,
    ) -> None:
        self.sizes = _check_sizes(sizes)
        self.L = len(self.sizes) - 1
        self.dtype = float_dtype(dtype)
        plain_loss = look_up("loss", loss, LOSSES)
        self.activations = _check_activations(
            activation, output_activation, plain_loss.link, self.L
        )
        self.loss = fuse(plain_loss, self.activations[self.L])
        if self.loss.fused and self.loss.fused != self.activations[self.L].name:
            raise ValueError(
                f"loss {self.loss.name!r} is fused with {self.loss.fused!r}; the output "
                f"activation is {self.activations[self.L].name!r}"
            )
        if self.sizes[-1] % self.loss.outputs:
            raise ValueError(
                f"loss {self.loss.name!r} takes {self.loss.outputs} output units for each target; "
                f"{self.sizes[-1]} is no multiple of that"
            )
        self.n_targets = self.sizes[-1] // self.loss.outputs
        self.layers = [AFFINE, *_check_layers(layers, self.L)]
        self._check_own_components()
        _check_factors(self.layers)
        self.parameter_tables, n_parameters = self._lay_out()
        self._statistics_table = self._lay_out_statistics()
        self.n_statistics = int(self._statistics_table[-1, [0, 2]].sum())
        constants = [x for layer, n in self._by_layer() for x in layer.numbers(n)]
        self.constants: Array = np.array(constants, np.float64)
        self._tables: Index | None = None
        self.theta: Array = np.zeros(n_parameters, self.dtype)
        self.W, self.b = self.views(self.theta)
        self._initialize(init, None if seed is None else generator(seed))

    def _by_layer(self) -> Iterator[tuple[Layer, int]]:
        """Kind and width of each layer, l = 1 … L."""
        return zip(self.layers[1:], self.sizes[1:], strict=True)

    def _check_own_components(self) -> None:
        """Check the derivatives of components that are not ours, once each; tests check ours."""
        from chainrule.network.checking import check_activation, check_layer, check_loss

        for activation, n in zip(self.activations[1:], self.sizes[1:], strict=True):
            if not _our_pair(activation, ACTIVATIONS.values(), activation[1:3]):
                check_activation(activation, n)
        if not _our_pair(self.loss, (*LOSSES.values(), *FUSED.values()), self.loss[1:3]):
            check_loss(self.loss, self.activations[self.L], self.sizes[-1])
        for l, layer in enumerate(self.layers[1:], start=1):
            if not _our_pair(layer, LAYERS.values(), layer[1:3]):
                check_layer(layer, *self.sizes[l - 1 : l + 1])

    def _lay_out(self) -> tuple[Index, int]:
        """Tables (offset, rows, columns) of W, b in theta and s in constants, by layer; and P."""
        tables = np.zeros((3, self.L + 1, 3), np.int64)
        offset = of_s = 0
        for l in range(1, self.L + 1):
            (rows, columns), n_b = self.layers[l].shape(self.sizes[l - 1], self.sizes[l])
            tables[0, l] = offset, rows, columns
            tables[1, l] = offset + rows * columns, 1, n_b
            tables[2, l] = of_s, 1, len(self.layers[l].numbers(self.sizes[l]))
            offset += rows * columns + n_b
            of_s += len(self.layers[l].numbers(self.sizes[l]))
        return tables, offset

    def _lay_out_statistics(self) -> Index:
        """Table of the statistics of one block of rows, by layer."""
        table = np.zeros((self.L + 1, 3), np.int64)
        for l, (layer, n) in enumerate(self._by_layer(), start=1):
            size = layer.statistics.size(n) if layer.statistics else 0
            table[l] = table[l - 1, 0] + table[l - 1, 2], 1, size
        return table

    def _lay_out_constants(self, m: int) -> Index:
        """Table of s for a batch of m rows: a layer's constants, and what it knows of the batch."""
        table = self.parameter_tables[2].copy()
        for l, layer in enumerate(self.layers[1:], start=1):
            if layer.is_random:
                table[l, 2] += 1
            if layer.statistics:
                table[l, 2] += self._statistics_table[l, 2] + m
        table[1:, 0] = np.cumsum(table[:-1, 2])
        found: Index = table
        return found

    def constants_at(self, m: int) -> Index:
        """Where the constants lie in a vector of all s for a batch of m rows."""
        starts, sizes = self.tables(m)[3, :, 0], self.parameter_tables[2, :, 2]
        return np.concatenate([np.arange(i, i + k) for i, k in zip(starts, sizes, strict=True)])

    def constants_of(self, l: int) -> Array:
        """The constants s of layer l, a view."""
        start, _, n = self.parameter_tables[2, l]
        return self.constants[start : start + n]

    @functools.cached_property
    def steps_at(self) -> Index:
        """Where in `constants` the step is written while training."""
        starts = self.parameter_tables[2]
        found: Index = starts[starts[:, 2] > 0, 0]
        return found

    def weight_layers(self) -> Index:
        """Layers whose W are weights: penalties, decay and the limit on norms concern them."""
        layers = range(1, self.L + 1)
        return np.array(
            [l for l in layers if self.W[l].size and self.layers[l].is_weight], np.int64
        )

    def tables(self, m: int) -> Index:
        """All tables for batches of m rows: W, b, z (a and delta alike), s, and statistics.

        (5, L + 1, 3).
        """
        kept = self._tables
        if kept is None or kept[2, 0, 1] != m:
            kept = np.zeros((5, self.L + 1, 3), np.int64)
            kept[:2], kept[4] = self.parameter_tables[:2], self._statistics_table
            kept[3] = self._lay_out_constants(m)
            starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]]) * m
            kept[2] = np.stack([starts, np.full(self.L + 1, m), self.sizes], axis=1)
            self._tables = kept  # for the next batch of as many rows
        return kept

    def _initialize(self, init: Any, rng: np.random.Generator | None) -> None:
        """Draw theta, or copy the given values."""
        if isinstance(init, str | Initializer):
            initializer = look_up("initialiser", init, INITIALIZERS)
            draws = initializer.weights is not zeros or initializer.biases is not None
            # A generator is made only where something is drawn, since that takes long.
            source: Any = generator(None) if rng is None and draws else rng
            for l in range(1, self.L + 1):
                scale = self.layers[l].initial_scale
                if scale is not None:
                    self.W[l][...] = scale
                elif self.W[l].size:
                    initializer.weights(source, self.W[l])
                    if initializer.biases is not None:
                        initializer.biases(source, self.b[l])
        elif isinstance(init, np.ndarray) and init.ndim == 1:
            if init.shape != self.theta.shape:
                raise ValueError(f"init has {init.size} values; theta has {self.theta.size}")
            self.theta[:] = init
        else:
            if isinstance(init, str | bytes) or not hasattr(init, "__len__"):
                raise ValueError(
                    "init must be a name, an Initializer, one (W, b) pair for each layer, or a "
                    f"vector like theta; got {init!r}"
                )
            if len(init) != self.L:
                raise ValueError(
                    f"init needs one (W, b) pair for each of {self.L} layers, got {len(init)}"
                )
            for l, (W, b) in enumerate(init, start=1):
                for kind, place, given in (("W", self.W[l], W), ("b", self.b[l], b)):
                    if np.shape(given) != place.shape:
                        raise ValueError(
                            f"init: {kind} of layer {l} must have the shape {place.shape}, "
                            f"got {np.shape(given)}"
                        )
                    place[...] = given
        if not np.isfinite(self.theta).all():
            l, kind, index = self.locate(int(np.argmin(np.isfinite(self.theta))))
            raise ValueError(f"init: {kind}{list(index)} of layer {l} is not finite")

    def views(self, flat: Array) -> tuple[Sequence[Array], Sequence[Array]]:
        """(W, b) views, by layer, of a vector laid out like theta."""
        return matrices(flat, self.parameter_tables[0]), vectors(flat, self.parameter_tables[1])

    def locate(self, position: int) -> tuple[int, str, tuple[int, ...]]:
        """Layer, "W" or "b", and index there, of a position in theta."""
        for l in range(self.L, 0, -1):
            for kind, (start, _, columns) in (
                ("b", self.parameter_tables[1, l]),
                ("W", self.parameter_tables[0, l]),
            ):
                if position >= start:
                    k = position - int(start)
                    return l, kind, (k,) if kind == "b" else divmod(k, int(columns))
        raise IndexError(position)

    def functions(self) -> dict[str, list[Any]]:
        """The functions that training calls, by role, and by layer if they are of layers.

        None where a layer has no such function.
        """
        f = [activation.f for activation in self.activations]
        f_pullback = [activation.pullback for activation in self.activations]
        if self.loss.fused:
            f_pullback[self.L] = identity_pullback
        statistics = [layer.statistics or NO_STATISTICS for layer in self.layers]
        return {
            "forward": [layer.forward for layer in self.layers],
            "pullback": [layer.pullback for layer in self.layers],
            "gradient": [layer.gradient for layer in self.layers],
            "f": f,
            "f_pullback": f_pullback,
            "collect": [x.collect for x in statistics],
            "pool": [x.pool for x in statistics],
            "collect_back": [x.collect_back for x in statistics],
            "pool_back": [x.pool_back for x in statistics],
            "cost": [self.loss.cost],
            "delta": [self.loss.delta],
        }

    def bind(
        self,
        m: int,
        backward: bool = True,
        training: int = 0,
        buffer: Array | None = None,
        share: Array | None = None,
    ) -> tuple[backprop.Layers, backprop.Batch]:
        """The network as `backprop` takes it, and buffers for a batch of m rows.

        `training` is the step that layers with constants see; they see a copy. `share`, (m, 1), is
        what each row counts for. Default: 1 / m. `buffer`, (2 m Σ n_l,), is used for z and a.
        Default: new memory.
        """
        tables = self.tables(m)
        role = self.functions()
        by_layer = (role[name] for name in ("forward", "pullback", "gradient", "f", "f_pullback"))
        net = backprop.Layers._make([self.L, *by_layer, self.W, self.b])
        size = m * sum(self.sizes)
        if buffer is None:
            buffer = np.zeros(2 * size, self.dtype)
        z, a = matrices(buffer[:size], tables[2]), matrices(buffer[size:], tables[2])
        delta = matrices(np.zeros(size, self.dtype), tables[2]) if backward else []
        if share is None:
            share = np.full((m, 1), 1 / m, self.dtype)
        s = vectors(np.zeros(int(tables[3, -1, [0, 2]].sum())), tables[3])
        for l in range(1, self.L + 1) if self.constants.size else ():
            constants = self.constants_of(l)
            s[l][: len(constants)] = constants
            s[l][:1] = training
            if self.layers[l].statistics:
                s[l][-m:] = share[:, 0]
        return net, backprop.Batch(z, a, delta, share, s)

    def bind_forward(
        self, m: int, buffer: Array | None = None
    ) -> tuple[backprop.Layers, backprop.Batch]:
        """As :meth:`bind`, for a forward pass alone."""
        return self.bind(m, backward=False, buffer=buffer)

    def backpropagation(
        self, m: int, training: int = 0, share: Array | None = None
    ) -> Backpropagation:
        """Costs and gradients of batches of m rows; the arguments are those of :meth:`bind`."""
        net, batch = self.bind(m, training=training, share=share)
        nabla = np.zeros_like(self.theta)
        return Backpropagation(net, batch, self.loss, nabla, self.views(nabla))

    def forward(self, X: ArrayLike) -> backprop.Batch:
        """Run the forward pass and keep everything.

        Parameters
        ----------
        X : (m, n_0) array-like

        Returns
        -------
        Batch
            Lists z, a, delta by layer; a[0] is X, a[L] the output; delta still zeros.
        """
        X = check_matrix(X, self.sizes[0], "X", self.dtype)
        net, batch = self.bind(len(X))
        batch.a[0][:] = X
        with np.errstate(all="ignore"):
            backprop.forward(net, batch)
        return batch

    def predict(self, X: ArrayLike, *, n_threads: int | None = None) -> Array:
        """The output a^L for each row. Never compiles; memory beyond the output is bounded.

        Parameters
        ----------
        X : (m, n_0) array-like
        n_threads : int, optional
            At most so many threads. Default: as for :func:`chainrule.train`.

        Returns
        -------
        (m, n_L) array

        Raises
        ------
        ValueError
            X is not as it should be, or numbers overflow on their way to the output: the row and
            the layer are named.

        Notes
        -----
        Rows are taken in blocks (of 64 to 2048 rows, by the widths), and large inputs by several
        threads. The same call gives the same bits for any number of threads. Among other rows,
        in another place or on another processor, BLAS may round a row's output otherwise.
        """
        output = predict_rows(self.bind_forward, self.sizes, self.W, X, n_threads)
        check_outputs(self.bind_forward, np.asarray(X), output)
        return output

    def predictor(self) -> Callable[[Array], Array]:
        """A function that gives the output for one row, with no checks: for serving.

        Returns
        -------
        callable (x) -> a^L
            x must be an (n_0,) array of the network's dtype; the result is a new (n_L,) array.
            An x that is not finite, or so large that numbers overflow, gives infinity or NaN
            and raises no error.
            May be called from several threads at once, and sees the network's parameters as
            they are when it is called. It never compiles. Its last bits may differ from those
            of :meth:`predict`, which multiplies whole matrices.

        Examples
        --------
        >>> import numpy as np
        >>> from chainrule import Network
        >>> net = Network((3, 4, 2), seed=0)
        >>> predict_row = net.predictor()
        >>> bool(np.allclose(predict_row(np.ones(3)), net.predict(np.ones((1, 3)))))
        True
        """
        s_by_layer = vectors(self.constants, self.parameter_tables[2])
        rows = [
            Row(layer.forward, activation.f, W, b, s, n)
            for layer, activation, W, b, s, n in zip(
                self.layers, self.activations, self.W, self.b, s_by_layer, self.sizes, strict=True
            )
        ]
        return make_predictor(rows[1:], self.dtype)

    def cost(self, X: ArrayLike, Y: ArrayLike) -> float:
        """Mean over the rows of the cost C.

        Parameters
        ----------
        X : (m, n_0) array-like
        Y : (m, n_targets) array-like
        """
        X, Y = check_pair(X, Y, self.sizes[0], self.n_targets, self.dtype)
        costs = self.backpropagation(len(X)).forward(X, Y)
        return float(costs.mean(dtype=np.float64))

    def gradient(self, X: ArrayLike, Y: ArrayLike, *, step: int = 0) -> tuple[float, Array]:
        """Mean cost, and its gradient by the four equations.

        Parameters
        ----------
        X : (m, n_0) array-like
        Y : (m, n_targets) array-like
        step : int, default 0
            Number of the training step, from 1, that layers with dropout, noise or batch
            normalisation see. 0: they do as when predicting. Running averages do not change.

        Returns
        -------
        cost : float
        nabla : (P,) array
            Laid out like theta; :meth:`views` gives it by layer. Gradients of several blocks of
            rows, each times its part of the rows, add up to that of all rows.

        See Also
        --------
        chainrule.OptimizerState : takes a step on a gradient.
        """
        X, Y = check_pair(X, Y, self.sizes[0], self.n_targets, self.dtype)
        both = self.backpropagation(len(X), training=step)
        cost = float(both.forward(X, Y).mean(dtype=np.float64))
        return cost, both.backward(Y)

    def copy(self, dtype: DTypeLike | None = None) -> Network:
        """An independent copy, in another dtype if asked."""
        copy = Network(
            self.sizes,
            activation=self.activations[1:],
            loss=self.loss,
            init="zeros",
            dtype=self.dtype if dtype is None else dtype,
            layers=self.layers[1:],
        )
        copy.theta[:], copy.constants[:] = self.theta, self.constants
        return copy

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("W", "b")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.W, self.b = self.views(self.theta)  # a copy of the views would not follow theta

    def __repr__(self) -> str:
        names = [activation.name for activation in self.activations[1:]]
        return (
            f"Network({self.sizes}, activations={names}, loss={self.loss.name!r}, "
            f"dtype={self.dtype.name!r})"
        )


def _our_pair(component: Any, tables: Iterable[Any], pair: tuple[Any, ...]) -> bool:
    """Whether a function and its derivative are ours and belong together."""
    made = bool(component.made_by) and component.made_by[0].__module__.startswith("chainrule.")
    return made or any(pair == known[1:3] for known in tables)


def _check_factors(layers: Sequence[Layer]) -> None:
    """See that the factors on rates and decay are numbers that make sense."""
    for l, layer in enumerate(layers):
        for name in ("rate_factors", "decay_factors"):
            given = getattr(layer, name)
            if isinstance(given, tuple) and given in ((1.0, 1.0), (1.0, 0.0)):  # as in almost all
                continue
            if np.shape(given) != (2,) or not all(np.isfinite(x) and x >= 0 for x in given):
                raise ValueError(
                    f"{name} of layer {l} ({layer.name!r}) must be two finite numbers of 0 or "
                    f"more, for W and for b; got {given!r}"
                )


def _check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """Widths as a tuple of positive ints, at least two."""
    try:
        given = tuple(sizes)
    except TypeError:
        raise ValueError(f"sizes must list the widths (n_0, …, n_L), not {sizes!r}") from None
    if len(given) < 2:
        raise ValueError(f"sizes needs the inputs' and the outputs' width at least, got {given}")
    for l, n in enumerate(given):
        if not is_whole(n) or n < 1:
            raise ValueError(f"sizes[{l}] = {n!r}: every width must be a whole number, 1 or more")
    return tuple(int(n) for n in given)


def _check_layers(given: Sequence[str | Layer] | None, L: int) -> list[Layer]:
    """Kinds of layers, l = 1 … L."""
    if given is None:
        return [AFFINE] * L
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise TypeError(f"layers must be a list of a name or a Layer for each layer; got {given!r}")
    if len(given) != L:
        raise ValueError(f"layers has {len(given)} entries for {L} layers")
    return [look_up("layer", each, LAYERS) for each in given]


def _check_activations(given: Any, output: Any, link: str | Activation, L: int) -> list[Activation]:
    """Activations by layer, entry 0 a placeholder."""
    if isinstance(given, str | Activation):
        hidden = [given] * (L - 1)
    elif callable(given):
        raise TypeError(f"activation is a bare function, {given!r}; {how_to_make(Activation)}")
    elif not isinstance(given, Sequence):
        raise TypeError(
            f"activation must be a name, an Activation or a list of them; got {given!r}"
        )
    else:
        hidden = list(given)
        if len(hidden) == L and output is None:
            output = hidden.pop()
        if len(hidden) != L - 1:
            raise ValueError(
                f"activation has {len(hidden)} entries; give one, or {L - 1} (hidden layers), "
                f"or {L} (with the output layer)"
            )
    names = [*hidden, link if output is None else output]
    found = [look_up("activation", name, ACTIVATIONS) for name in names]
    return [Activation("input", identity, identity_pullback), *found]
