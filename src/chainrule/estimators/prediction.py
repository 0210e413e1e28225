"""What a fitted network gives: outputs, hidden activations, gradients, losses of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from chainrule.base.types import Array
from chainrule.base.validation import NO_NUMBER, all_finite, check_target, place_of_text
from chainrule.equations import backprop
from chainrule.estimators.parameters import Parameters
from chainrule.network.network import Network
from chainrule.network.predictor import check_outputs, predict_rows

BLOCK = 1 << 20  # numbers in a block of rows that is run through the network at a time


class Prediction(TransformerMixin, Parameters):
    """All that needs no more of an estimator than its fitted attributes."""

    def _validate(self, X: Any, y: Any = "no_validation", reset: bool = False) -> Any:
        """scikit-learn's checks; an error about missing or infinite values names the columns."""
        if isinstance(y, str) and not reset and self._is_plain(X) and all_finite(X):
            return X
        fills = self.missing == "indicator" and not sparse.issparse(X)
        options: dict[str, Any] = {
            "accept_sparse": ["csr", "csc"],
            "dtype": (np.float64, np.float32),
            "ensure_all_finite": "allow-nan" if fills else True,
            "reset": reset,
        }
        if not isinstance(y, str):
            if y is not None:
                y = check_target(y, self._numeric_target)
                if reset and _is_plain_pair(X, y) and all_finite(X):
                    self.n_features_in_ = X.shape[1]
                    self.__dict__.pop("feature_names_in_", None)
                    return X, y
            options |= {"y": y, "multi_output": True, "y_numeric": self._numeric_target}
        given = X
        try:
            with np.errstate(invalid="ignore"):  # sums of large numbers of either sign
                checked = validate_data(self, X, **options)
        except ValueError as error:
            if "Input X contains" in str(error):
                raise ValueError(f"{error}\n{_where_not_finite(self, given)}") from None
            if str(error).startswith(NO_NUMBER):
                raise ValueError(f"{error}{place_of_text(given)}") from None
            raise
        return checked

    def _is_plain(self, X: Any) -> bool:
        """Whether scikit-learn's checks, which take most of a row's time, would change nothing.

        Its numbers may still not be finite.
        """
        return (
            type(X) is np.ndarray
            and X.dtype.char in "fd"
            and X.ndim == 2
            and len(X) > 0
            and X.shape[1] == self.n_features_in_
            and not hasattr(self, "feature_names_in_")
        )

    def _fill(self, X: Any) -> Any:
        """X with its missing values replaced by means and marked in columns at the end."""
        if sparse.issparse(X):
            return X.tocsr()
        if self._missing is not None:
            means, marked = self._missing
            absent = np.isnan(X)
            filled = np.where(absent, means.astype(X.dtype), X)
            X = np.hstack([filled, absent[:, marked].astype(X.dtype)])
        return np.ascontiguousarray(X)

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype(self._dtype_name)

    def _network(self) -> Network:
        """The network that predicts, made from the attributes; kept while they are the same."""
        key = [*map(id, self.coefs_), *map(id, self.intercepts_)]
        kept = self.__dict__.get("_made")
        if kept is None or kept[0] != key:
            network = self._design(len(self.coefs_[0]), self._target())
            affine = network.weight_layers()
            # The attributes themselves, so that a change made to them in place counts.
            for l, W, b in zip(affine, self.coefs_, self.intercepts_, strict=True):
                network.W[l], network.b[l] = W, b  # type: ignore[index]
            for l, (W, b, constants) in zip(norm_layers(network), self._norms, strict=True):
                network.W[l], network.b[l] = W, b  # type: ignore[index]
                network.constants_of(l)[...] = constants
            kept = self._made = (key, network)
        return kept[1]

    def _blocks(self, X: Any, width: int) -> Iterator[tuple[slice, Array]]:
        """Blocks of rows, dense, filled where values are missing."""
        rows = max(1, BLOCK // max(width, 1))
        n = X.shape[0]
        for start in range(0, n, rows):
            at = slice(start, min(start + rows, n))
            block = X[at]
            if sparse.issparse(block):
                block = block.toarray()
            yield at, np.ascontiguousarray(self._fill(block), self._dtype)

    def _outputs(
        self, X: Any, check_input: bool = True, layer: int | None = None, of: str = "a"
    ) -> Array:
        """a (or z) of a layer of the prediction network for each row; default: the last."""
        if "coefs_" not in self.__dict__:  # the check itself takes as long as a row
            check_is_fitted(self)
        whole = layer is None and of == "a"
        if check_input and whole and self._missing is None and self._is_plain(X):
            with suppress(ValueError):  # the checks below say better what is wrong
                return self._network().predict(X, n_threads=self.n_threads)
        if check_input:
            X = self._validate(X)
        if sparse.issparse(X):
            X = X.tocsr()
        network = self._network()
        if whole:
            return self._predictions_of(network, X)
        l = network.L if layer is None else layer
        out: Array = np.empty((X.shape[0], network.sizes[l]), self._dtype)
        for at, block in self._blocks(X, sum(network.sizes)):
            net, batch = network.bind(len(block), backward=False)
            batch.a[0][:] = block
            with np.errstate(all="ignore"):
                backprop.forward(net, batch)
            out[at] = getattr(batch, of)[l]
            check_outputs(network.bind_forward, block, out[at], at.start)
        return out

    def _predictions_of(self, network: Network, X: Any) -> Array:
        """The network's outputs; blocks only where rows have to be made dense or filled."""
        if not sparse.issparse(X) and self._missing is None:
            return network.predict(X, n_threads=self.n_threads)
        out: Array = np.empty((X.shape[0], network.sizes[-1]), self._dtype)
        for at, block in self._blocks(X, sum(network.sizes)):
            out[at] = predict_rows(
                network.bind_forward, network.sizes, network.W, block, self.n_threads
            )
            check_outputs(network.bind_forward, block, out[at], at.start)
        return out

    def predictor(self) -> Callable[[Array], Any]:
        """A function for one row without any checks, for serving: a few microseconds a call.

        Returns
        -------
        callable (x) -> result
            x must be an (n_features,) array of the dtype of ``coefs_``, without missing values.
            The result is what ``predict_proba`` (classifier) or ``predict`` (regressor) give for
            that row: an array, or a number where there is one target. It never compiles. An x that
            is not finite, or so large that numbers overflow, gives infinity or NaN and raises no
            error.
        """
        check_is_fitted(self)
        if self._missing is not None and len(self._missing[1]):
            raise ValueError(
                "a predictor fills no missing values; this estimator was fitted with them"
            )
        made: Callable[[Array], Any] = self._of_one_row(self._network().predictor())
        return made

    def transform(self, X: Any) -> Array:
        """Activations of the hidden layer that ``transform_layer`` names.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_units)
        """
        check_is_fitted(self)
        layer = self._hidden_index() + 1
        return self._outputs(X, layer=layer * (1 if self.normalization is None else 2))

    def _hidden_index(self) -> int:
        """Which hidden layer, from 0, `transform` shows."""
        n, layer = len(self._hidden()), self.transform_layer
        if n == 0:
            raise ValueError("there is no hidden layer whose activations transform could give")
        if not -n <= layer < n:
            raise ValueError(
                f"transform_layer must be from {-n} to {n - 1} for {n} hidden layers, got {layer}"
            )
        return int(layer % n)

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """Names of the columns of `transform`: the class's name in small letters and a number.

        Parameters
        ----------
        input_features : ignored
        """
        check_is_fitted(self)
        stem = type(self).__name__.lower()
        n = self._hidden()[self._hidden_index()]
        return np.array([f"{stem}{j}" for j in range(n)], dtype=object)

    @property
    def _n_features_out(self) -> int:
        try:
            return self._hidden()[self._hidden_index()]
        except ValueError as error:  # dir() asks for every attribute
            raise AttributeError(str(error)) from None

    def input_gradient(self, X: Any, output: int | None = None) -> Array:
        """Gradient of an output with respect to the inputs, row by row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        output : int, optional
            Which output unit. Default: the unit with the largest activation in each row; the
            only one, where there is one.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        X = self._validate(X)
        network = self._network()
        L, n_out = network.L, network.sizes[-1]
        if output is not None and not 0 <= output < n_out:
            raise ValueError(f"output must be from 0 to {n_out - 1}, got {output}")
        gradient: Array = np.empty((X.shape[0], self.n_features_in_), self._dtype)
        for at, block in self._blocks(X, sum(network.sizes)):
            net, batch = network.bind(len(block))
            batch.a[0][:] = block
            below = np.empty_like(block)
            with np.errstate(all="ignore"):
                backprop.forward(net, batch)
                unit = batch.a[L].argmax(axis=1) if output is None else output
                batch.delta[L][:] = 0
                batch.delta[L][np.arange(len(block)), unit] = 1
                network.activations[L].pullback(batch.z[L], batch.a[L], batch.delta[L])
                backprop.backward(net, batch)
                net.pullback[1](net.W[1], net.b[1], batch.s[1], block, batch.delta[1], below)
            below *= self._unit_factor(unit)
            gradient[at] = below[:, : self.n_features_in_]
        return gradient

    def _unit_factor(self, unit: Any) -> Any:
        """What predict multiplies an output unit with beyond the network."""
        return 1

    def sample_loss(self, X: Any, y: Any) -> Array:
        """The loss of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)

        Returns
        -------
        ndarray of shape (n_samples,)
            In the units of ``loss_``: a target that is standardised in `fit` is so here.
        """
        check_is_fitted(self)
        X, y = self._validate(X, y)
        return self._row_losses(X, self._encode(y))[0]

    def _row_losses(self, X: Any, Y: Array, network: Network | None = None) -> tuple[Array, Array]:
        """Cost and output of each row, by the training network if given."""
        target = self._target()
        own = network is None
        network = self._network() if network is None else network
        costs: Array = np.empty(X.shape[0], np.float64)
        outputs: Array = np.empty((X.shape[0], network.sizes[-1]), self._dtype)
        shift, factor = self._output_scale()
        rescaling = self._rescaling()
        for at, block in self._blocks(X, sum(network.sizes)):
            net, batch = network.bind(len(block), backward=False)
            batch.a[0][:] = block
            c = np.empty(len(block), network.dtype)
            with np.errstate(all="ignore"):
                backprop.forward(net, batch)
                z, a = batch.z[network.L], batch.a[network.L]
                if own and factor is not None:
                    z, a = (z - shift) / factor, (a - rescaling[0]) / rescaling[1]
                network.loss.cost(
                    np.ascontiguousarray(z, network.dtype),
                    np.ascontiguousarray(a, network.dtype),
                    np.ascontiguousarray(Y[at], network.dtype),
                    c,
                )
            costs[at], outputs[at] = c, batch.a[network.L]
        return costs * target.cost_scale, outputs

    def __sklearn_tags__(self) -> Any:
        """scikit-learn's tags: sparse input; NaN if `missing` allows it."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self.missing == "indicator"
        return tags


def _is_plain_pair(X: Any, y: Any) -> bool:
    """Whether scikit-learn's checks of a pair, which take longer than an epoch, change nothing.

    The numbers in X may still not be finite, and those in y have been looked at.
    """
    return (
        type(X) is type(y) is np.ndarray
        and X.dtype in (np.float64, np.float32)
        and X.ndim == 2
        and y.ndim == 1
        and y.dtype.kind in "biufU"
        and len(X) == len(y)
        and X.size > 0
    )


def norm_layers(network: Network) -> list[int]:
    """Which layers normalise."""
    return [l for l in range(1, network.L + 1) if network.layers[l].is_normalisation]


def _where_not_finite(estimator: Any, X: Any) -> str:
    """Which columns hold missing or infinite values, and what to do."""
    values: Any = X.tocsc() if sparse.issparse(X) else np.asarray(X)
    names = getattr(X, "columns", None)
    found = []
    for j in range(values.shape[1] if values.ndim == 2 else 0):
        column = values[:, [j]].data if sparse.issparse(X) else values[:, j]
        try:
            finite = np.isfinite(column.astype(np.float64)).all()
        except (TypeError, ValueError):
            finite = True
        if not finite:
            found.append(str(j if names is None else names[j]))
    more = "" if len(found) <= 10 else f" and {len(found) - 10} more"
    hint = (
        "Replace them first; missing='indicator' fills NaN in dense arrays only."
        if estimator.missing == "indicator"
        else "Fill such values first; missing='indicator' lets the estimator do so with NaN."
    )
    return f"Columns at fault: {', '.join(found[:10])}{more}. {hint}"
