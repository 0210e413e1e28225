"""From any model, and rows as its user has them, to a network and the matrices that it accepts.

A network, an estimator of ours or of scikit-learn's, a pipeline that ends in one, or weights given
as arrays. The model itself is never changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.base.types import Array
from chainrule.base.validation import (
    check_matrix,
    check_pair,
    check_target,
    one_hot,
)
from chainrule.equations.optimizers import ADAM_AS_IN_SKLEARN, OPTIMIZERS, Optimizer
from chainrule.explain.row_errors import in_one_line
from chainrule.network.network import Network

ACCEPTED = (
    "a Network, a fitted MLPClassifier or MLPRegressor (chainrule's or scikit-learn's), a Pipeline "
    "that ends in one, or a list of (W, b) pairs"
)
SKLEARN_LOSSES = {
    "log_loss": {"softmax": "cross_entropy", "logistic": "binary_cross_entropy"},
    "squared_error": {},
    "poisson": {},
}


class Viewed(NamedTuple):
    """A model as the equations see it.

    Attributes
    ----------
    network : Network
        A copy, as it predicts: dropout and noise are off, batch normalisation uses its running
        averages, and what an estimator standardises is part of the first and last weights.
    X : (m, n_0) array
        Rows as the network accepts them.
    Y : (m, n_targets) array or None
        Targets as the loss accepts them; None if there were none.
    optimizer : Optimizer
        The estimator's own, or plain gradient descent.
    hyper : dict of str to float
        Its numbers.
    input_names, output_names : list of str
        Of columns and of output units.
    kind : str
        What the model is, in a word.
    estimator : estimator or None
        The last step of a pipeline, or the estimator itself.
    """

    network: Network
    X: Array
    Y: Array | None
    optimizer: Optimizer
    hyper: dict[str, float]
    input_names: list[str]
    output_names: list[str]
    kind: str
    estimator: Any = None


def view(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    activation: Any = None,
    output_activation: Any = None,
    loss: Any = None,
) -> Viewed:
    """Understand a model and rows for it.

    Parameters
    ----------
    model : Network, estimator, Pipeline, or list of (W, b) pairs
    X : (m, n_features) array-like, data frame or sparse matrix; or one row of n_features numbers
        As the model's own `predict` accepts it: a pipeline's steps are applied.
    y : array-like, optional
        As the model's own `fit` accepts it: labels or numbers. A network accepts (m, n_targets), or
        numbers of classes, from 0.
    activation, output_activation, loss : optional
        For weights given as arrays, as for :class:`chainrule.Network`.

    Raises
    ------
    TypeError
        What is given is no such model.
    ValueError
        Names, columns, shapes or labels do not fit.
    sklearn.exceptions.NotFittedError
        The model is not fitted.
    """
    given = {"activation": activation, "output_activation": output_activation, "loss": loss}
    if isinstance(model, list | tuple):
        network = network_of_arrays(model, **{k: v for k, v in given.items() if v is not None})
        return _of_network(network, X, y, "weights given as arrays")
    check_nothing_given(given)
    if isinstance(model, Network):
        return _of_network(detached(model), X, y, "Network")
    if isinstance(model, type):
        raise TypeError(f"the model is the class {model.__name__}; give a fitted object")
    return _of_estimator(model, X, y)


def check_nothing_given(given: Mapping[str, Any]) -> None:
    """Refuse a component that is given beside a model, which has its own.

    Parameters
    ----------
    given : dict of str to component or None
        By parameter.

    Raises
    ------
    ValueError
    """
    named = [name for name, value in given.items() if value is not None]
    if named:
        raise ValueError(f"{named[0]} goes with weights given as arrays; a model has its own")


def network_of_arrays(pairs: Sequence[Any], **options: Any) -> Network:
    """Return a network from its weights: W (n_in, n_out) and b (n_out,) of each layer.

    Raises
    ------
    ValueError
        The shapes do not fit together; the layer is named.
    """
    if not len(pairs):
        raise ValueError("the list of weights is empty: give a (W, b) pair for each layer")
    sizes: list[int] = []
    checked: list[tuple[Array, Array]] = []
    for l, pair in enumerate(pairs, start=1):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError(
                f"layer {l} must be a pair (W, b); got {type(pair).__name__}"
                + (f" of shape {np.shape(pair)}" if isinstance(pair, np.ndarray) else "")
            )
        try:
            W, b = (np.asarray(one, np.float64) for one in pair)
        except (TypeError, ValueError) as error:
            raise ValueError(f"layer {l}: W and b must hold numbers: {error}") from None
        if W.ndim != 2:
            raise ValueError(f"W of layer {l} must have two axes, (n_in, n_out); got {W.shape}")
        n_in, n_out = W.shape
        b = b.ravel() if b.size == max(b.shape, default=1) else b
        wrong_way = b.shape == (n_in,) or (sizes and sizes[-1] == n_out)
        if b.shape != (n_out,) or (sizes and sizes[-1] != n_in):
            hint = "; rows of W belong to inputs: give W.T" if wrong_way and n_in != n_out else ""
            below = f" and the layer below has {sizes[-1]} units" if sizes else ""
            raise ValueError(
                f"W of layer {l} has the shape {W.shape}, b has {b.shape}{below}, which do not "
                f"fit together{hint}"
            )
        sizes = sizes or [n_in]
        sizes.append(n_out)
        checked.append((W, b))
    return Network(sizes, init=checked, **options)


def detached(network: Network) -> Network:
    """Return a copy with parameters of its own, also of one that borrows an estimator's arrays."""
    copy = network.copy()
    for l in range(1, network.L + 1):
        copy.W[l][...], copy.b[l][...] = network.W[l], network.b[l]
    return copy


def without_random_layers(network: Network) -> Network:
    """Return a copy without its layers of dropout and noise, which do nothing when it predicts."""
    kept = [
        l
        for l in range(1, network.L + 1)
        if not network.layers[l].is_random or network.W[l].size or network.b[l].size
    ]
    copy = Network(
        (network.sizes[0], *(network.sizes[l] for l in kept)),
        activation=[network.activations[l] for l in kept],
        loss=network.loss,
        init="zeros",
        dtype=network.dtype,
        layers=[network.layers[l] for l in kept],
    )
    copy.theta[:] = network.theta  # they have none, so that the others lie alike
    for new, old in enumerate(kept, start=1):
        copy.constants_of(new)[:] = network.constants_of(old)
    return copy


def model_network(model: Any) -> tuple[Network, str]:
    """Return (a copy of the network that predicts, what the model is called).

    Raises
    ------
    TypeError, ValueError, sklearn.exceptions.NotFittedError
        As :func:`view`.
    """
    if isinstance(model, list | tuple):
        return network_of_arrays(model), "weights given as arrays"
    if isinstance(model, Network):
        return detached(model), "Network"
    if isinstance(model, type):
        raise TypeError(f"the model is the class {model.__name__}; give a fitted object")
    last = check_fitted_mlp(model)
    network = detached(last._network()) if hasattr(last, "_design") else _network_of_sklearn(last)
    return network, type(last).__name__


def as_trained(seen: Viewed, rows: NDArray[np.signedinteger[Any]]) -> tuple[Network, Array, Array]:
    """Return (the network that training sees, some rows, their targets).

    Where an estimator standardises, so does the first layer of this network, and the targets are
    standardised as in training; in the network that predicts both are part of the weights.
    """
    last = seen.estimator
    assert seen.Y is not None
    A, B = seen.X[rows], seen.Y[rows]
    if last is None or not hasattr(last, "_design"):
        return seen.network, A, B
    network = last._design(A.shape[1], last._target(), np.random.RandomState(0))
    load_as_trained(network, last)
    if getattr(last, "_y_scale", None) is not None and last._output_scale()[1] is not None:
        mean, deviation = last._y_scale
        B = ((B - mean) / deviation).astype(network.dtype)
    return network, A, np.ascontiguousarray(B)


def load_as_trained(network: Network, estimator: Any) -> None:
    """Put the parameters of one of our estimators into the network that training sees."""
    given = estimator.coefs_, estimator.intercepts_
    estimator._load(network, *given, *given)
    estimator._load_norms(network)


def _of_network(network: Network, X: Any, y: Any, kind: str) -> Viewed:
    n_in, n_targets = network.sizes[0], network.n_targets
    X = np.asarray(X)
    if X.ndim == 1 and X.size == n_in and n_in > 1:
        X = X[np.newaxis]
    if X.ndim == 0 and n_in == 1:
        X = X.reshape(1, 1)
    Y = None
    if y is None:
        X = check_matrix(X, n_in, "X", network.dtype)
    else:
        X, Y = check_pair(
            X, _targets(y, len(X) if X.ndim else 0, n_targets), n_in, n_targets, network.dtype
        )
    return Viewed(
        network,
        X,
        Y,
        OPTIMIZERS["sgd"],
        dict(OPTIMIZERS["sgd"].hyper),
        [f"x{j}" for j in range(n_in)],
        [str(j) for j in range(network.sizes[-1])],
        kind,
    )


def _targets(y: Any, m: int, n_targets: int) -> Any:
    """Return targets of a network as (m, n_targets): rows of numbers, or numbers of classes."""
    array = np.asarray(y)
    if array.ndim == 0:
        array = array[np.newaxis]
    if array.ndim == 1 and n_targets > 1:
        if m == 1 and len(array) == n_targets:
            return array[np.newaxis]
        if len(array) == m and array.dtype.kind in "iub":
            return one_hot(array, n_targets)
    return array


def last_step(model: Any) -> Any:
    """Return the estimator at the end of a pipeline or search, or the model itself.

    Of one that was fitted on a cluster, the same without Dask.
    """
    for name in ("best_estimator_", "regressor_"):
        if hasattr(model, name):
            return last_step(getattr(model, name))
    if hasattr(model, "to_local") and not isinstance(model, type):
        return model.to_local()
    return last_step(model.steps[-1][1]) if hasattr(model, "steps") else model


def check_fitted_mlp(model: Any) -> Any:
    """Return the MLP at the end of a model.

    Raises
    ------
    TypeError
        It is none.
    sklearn.exceptions.NotFittedError
        It is not fitted.
    """
    last = last_step(model)
    if not hasattr(last, "hidden_layer_sizes") or not hasattr(last, "fit"):
        raise TypeError(f"model must be {ACCEPTED}; got {_what(model, last)}")
    return check_fitted(last, "coefs_")


def check_fitted(last: Any, learned: str) -> Any:
    """Return an estimator that has the attribute that its `fit` sets.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        It has not.
    """
    if not hasattr(last, learned):
        from sklearn.exceptions import NotFittedError

        raise NotFittedError(f"this {type(last).__name__} is not fitted yet: call fit first")
    return last


def _what(model: Any, last: Any) -> str:
    if last is model:
        return type(model).__name__
    return f"a {type(model).__name__} that ends in {type(last).__name__}"


def _of_estimator(model: Any, X: Any, y: Any) -> Viewed:
    last = check_fitted_mlp(model)
    ours = hasattr(last, "_design")
    with in_one_line(X):
        X, y, names = through_steps(model, as_rows(model, X), y)
    if y is not None:
        y = _as_column(last, y)
    from sklearn.utils.validation import validate_data

    with in_one_line(X, "X" if last is model else "X, as the last step gets it,"):
        if ours:
            checked = last._validate(X)
        else:
            checked = validate_data(last, X, accept_sparse=["csr", "csc"], reset=False)
    dense = checked.toarray() if hasattr(checked, "toarray") else checked
    if ours:
        network = detached(last._network())
        rows = np.ascontiguousarray(last._fill(dense), network.dtype)
        Y = None if y is None else _encode_ours(last, y)
        optimizer, numbers = _optimizer_of_ours(last)
    else:
        network = _network_of_sklearn(last)
        rows = np.ascontiguousarray(dense, network.dtype)
        Y = None if y is None else _encode_sklearn(last, y)
        optimizer, numbers = _optimizer_of_sklearn(last)
    if Y is not None:
        rows, Y = check_pair(rows, Y, network.sizes[0], network.n_targets, network.dtype)
    names = names or [str(name) for name in getattr(last, "feature_names_in_", ())]
    if len(names) != last.n_features_in_:
        names = [f"x{j}" for j in range(last.n_features_in_)]
    if ours and last._missing is not None:
        names = names + [f"{names[j]} is missing" for j in last._missing[1]]
    return Viewed(
        network,
        rows,
        Y,
        optimizer,
        numbers,
        names,
        _output_names(last, network),
        type(last).__name__,
        last,
    )


def as_rows(model: Any, X: Any) -> Any:
    """Return one row as a table of one row; all else as it is."""
    if hasattr(X, "to_frame") and hasattr(X, "index") and getattr(X, "ndim", 0) == 1:
        return X.to_frame().T.infer_objects()
    if getattr(X, "ndim", None) != 2 and np.ndim(X) == 1 and not hasattr(X, "columns"):
        return np.asarray(X)[np.newaxis]
    return X


def through_steps(model: Any, X: Any, y: Any) -> tuple[Any, Any, list[str]]:
    """Return (rows after the steps before the last, its target, names of its columns)."""
    if hasattr(model, "best_estimator_"):
        return through_steps(model.best_estimator_, X, y)
    if hasattr(model, "regressor_"):
        if y is not None and hasattr(model, "transformer_"):
            column = np.asarray(y, np.float64)
            y = model.transformer_.transform(column.reshape(len(column), -1))
        return through_steps(model.regressor_, X, y)
    if not hasattr(model, "steps"):
        return X, y, []
    before = model[:-1]
    names: list[str] = []
    if len(before.steps):
        X = before.transform(X)
        try:
            names = [str(name) for name in before.get_feature_names_out()]
        except (AttributeError, TypeError, ValueError):  # a step that does not say
            names = []
        if hasattr(X, "columns"):
            names = [str(name) for name in X.columns]
    X, y, inner = through_steps(model.steps[-1][1], X, y)
    return X, y, inner or names


def _as_column(last: Any, y: Any) -> Any:
    """Return the target as the estimator accepts it; one label or number is that of one row."""
    if isinstance(y, str) or np.ndim(y) == 0:
        y = [y]
    y = check_target(y, not hasattr(last, "classes_"))
    array = np.asarray(y)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if hasattr(last, "classes_") and array.ndim in (1, 2):
        several = last._label_binarizer.y_type_.startswith(("multilabel", "multiclass-multi"))
        columns = 1 if array.ndim == 1 else array.shape[1]
        expected = len(last.classes_) if several else 1
        if columns != expected:
            raise ValueError(
                f"y has {columns} column{'s' * (columns != 1)}; the model was fitted with "
                f"{expected if several else 'one'}"
            )
        if several:
            return array
        known = np.asarray(last.classes_)
        strange = [label for label in array.tolist() if label not in known.tolist()]
        if strange:
            shown = ", ".join(repr(one) for one in known[:10].tolist())
            raise ValueError(
                f"y has the class {strange[0]!r}, which the model does not know; it knows {shown}"
                + (f" and {len(known) - 10} more" if len(known) > 10 else "")
            )
    return array


def _encode_ours(last: Any, y: Any) -> Array:
    """Return Y in the units of the network that predicts: standardised only if its outputs are."""
    if hasattr(last, "classes_") or last._output_scale()[1] is None:
        encoded: Array = last._encode(y)
        return encoded
    return np.asarray(y, np.float64).reshape(len(y), -1)


def _optimizer_of_ours(last: Any) -> tuple[Optimizer, dict[str, float]]:
    if last.solver == "lbfgs":
        return OPTIMIZERS["sgd"], {"learning_rate": float(last.learning_rate_init)}
    chosen, numbers = last._optimizer()
    return chosen, dict(zip(chosen.hyper, numbers.tolist(), strict=True))


def _network_of_sklearn(last: Any) -> Network:
    """Return the network of a fitted MLP of scikit-learn's."""
    output = last.out_activation_
    loss = SKLEARN_LOSSES.get(last.loss, {}).get(output, last.loss)
    return Network(
        [len(last.coefs_[0]), *(W.shape[1] for W in last.coefs_)],
        activation=last.activation,
        output_activation=output,
        loss=loss,
        init=list(zip(last.coefs_, last.intercepts_, strict=True)),
        dtype=last.coefs_[0].dtype,
    )


def _encode_sklearn(last: Any, y: Any) -> Array:
    if hasattr(last, "classes_"):
        indicators: Array = np.asarray(last._label_binarizer.transform(y), np.float64)
        return indicators
    return np.asarray(y, np.float64).reshape(len(y), -1)


def _optimizer_of_sklearn(last: Any) -> tuple[Optimizer, dict[str, float]]:
    rate = {"learning_rate": float(last.learning_rate_init)}
    if last.solver == "adam":
        rest = {"beta_1": last.beta_1, "beta_2": last.beta_2, "epsilon": last.epsilon}
        return ADAM_AS_IN_SKLEARN, {**rate, **rest}
    if last.solver == "sgd" and last.momentum:
        name = "nesterov" if last.nesterovs_momentum else "momentum"
        return OPTIMIZERS[name], {**rate, "momentum": float(last.momentum)}
    return OPTIMIZERS["sgd"], rate


def _output_names(last: Any, network: Network) -> list[str]:
    """Return what each output unit stands for."""
    n = network.sizes[-1]
    classes = getattr(last, "classes_", None)
    if isinstance(classes, list):  # several targets
        return [f"target {k}: {one}" for k, of in enumerate(classes) for one in of.tolist()]
    if classes is not None and len(classes) == n:
        return [str(one) for one in np.asarray(classes).tolist()]
    if classes is not None and n == 1:
        return [str(np.asarray(classes).tolist()[-1])]
    return [f"target {j}" for j in range(n)] if n > 1 else ["target"]


def numbers_given(
    optimizer: Optimizer, numbers: Mapping[str, float], learning_rate: float | None
) -> Array:
    """Return an optimiser's numbers in its order, with another learning rate if one is given."""
    from chainrule.training.train import numbers_of

    return numbers_of(optimizer, learning_rate, numbers)
