"""Parameters of the estimators: what values they accept, and the components that they stand for.

scikit-learn's words (``alpha``, ``solver``, ``learning_rate``) become those of the mathematics
here.
"""

from __future__ import annotations

import functools
import inspect
import numbers
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import (
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)

from chainrule.base.types import Array
from chainrule.base.validation import how_to_make, look_up, nearest
from chainrule.engine.config import MOST_THREADS
from chainrule.equations import layers as kinds
from chainrule.equations.activations import ACTIVATIONS, Activation
from chainrule.equations.initializers import INITIALIZERS, Initializer
from chainrule.equations.losses import Loss
from chainrule.equations.optimizers import ADAM_AS_IN_SKLEARN, OPTIMIZERS, Optimizer
from chainrule.equations.regularizers import Rules
from chainrule.equations.schedules import SCHEDULES, Plateau, Schedule
from chainrule.network.checking import check_optimizer
from chainrule.network.network import Network

REAL, INT = numbers.Real, numbers.Integral
HIDDEN_ACTIVATIONS = set(ACTIVATIONS)
# By the estimators' name: "batch" for batch_norm.
NORMALIZATIONS = {
    name.removesuffix("_norm"): layer
    for name, layer in kinds.LAYERS.items()
    if layer.is_normalisation
}

CONSTRAINTS: dict[str, list[Any]] = {
    "hidden_layer_sizes": ["array-like", Interval(INT, 1, None, closed="left")],
    "activation": [StrOptions(HIDDEN_ACTIVATIONS), Activation, list, tuple],
    "solver": [StrOptions({"lbfgs", "adamw", *OPTIMIZERS}), Optimizer],
    "alpha": [Interval(REAL, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(INT, 1, None, closed="left")],
    "learning_rate": [
        StrOptions({"constant", "invscaling", "adaptive", "plateau", *SCHEDULES}),
        Schedule,
        Plateau,
        callable,
    ],
    "learning_rate_init": [Interval(REAL, 0, None, closed="neither")],
    "power_t": [Interval(REAL, 0, None, closed="left")],
    "max_iter": [Interval(INT, 1, None, closed="left")],
    "shuffle": ["boolean", StrOptions({"blocks"})],
    "random_state": ["random_state"],
    "tol": [Interval(REAL, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(REAL, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(REAL, 0, 1, closed="left")],
    "beta_1": [Interval(REAL, 0, 1, closed="left")],
    "beta_2": [Interval(REAL, 0, 1, closed="left")],
    "epsilon": [Interval(REAL, 0, None, closed="neither")],
    "n_iter_no_change": [Interval(INT, 1, None, closed="left"), Options(REAL, {np.inf})],
    "max_fun": [Interval(INT, 1, None, closed="left")],
    "output_activation": [StrOptions(HIDDEN_ACTIVATIONS), Activation, None],
    "init": [StrOptions({"auto", *INITIALIZERS}), Initializer],
    "coefs_init": [list, tuple, None],
    "intercepts_init": [list, tuple, None],
    "solver_options": [dict, None],
    "l1": [Interval(REAL, 0, None, closed="left")],
    "weight_decay": [Interval(REAL, 0, None, closed="left"), None],
    "max_norm": [Interval(REAL, 0, None, closed="neither"), None],
    "clip_norm": [Interval(REAL, 0, None, closed="neither"), None],
    "clip_value": [Interval(REAL, 0, None, closed="neither"), None],
    "ema_decay": [Interval(REAL, 0, 1, closed="left"), None],
    "dropout": [Interval(REAL, 0, 1, closed="left"), list, tuple],
    "input_noise": [Interval(REAL, 0, None, closed="left")],
    "augment": [callable, None],
    "normalization": [StrOptions(set(NORMALIZATIONS)), kinds.Layer, None],
    "standardize": [StrOptions({"auto"}), "boolean"],
    "missing": [StrOptions({"error", "indicator"})],
    "scoring": [str, callable, None],
    "time_limit": [Interval(REAL, 0, None, closed="neither"), None],
    "callbacks": [list, tuple, None],
    "transform_layer": [INT],
    "engine": [StrOptions({"auto", "numpy", "numba"})],
    "n_threads": [Interval(INT, 1, MOST_THREADS, closed="both"), None],
    "keep_optimizer_state": ["boolean"],
    "compat": [StrOptions({"sklearn"}), None],
}

# What L-BFGS, which steps on all of the data and chooses its own steps, cannot heed.
NOT_WITH_LBFGS = {
    "learning_rate": "constant",
    "weight_decay": None,
    "l1": 0.0,
    "max_norm": None,
    "clip_norm": None,
    "clip_value": None,
    "ema_decay": None,
    "dropout": 0.0,
    "input_noise": 0.0,
    "augment": None,
    "solver_options": None,
}


class Target(NamedTuple):
    """How the output layer is made for a given target.

    Attributes
    ----------
    n_units : int
        Width of the output layer.
    activation : str or Activation
    loss : Loss
    cost_scale, error_scale : float
        As in `Rules`.
    """

    n_units: int
    activation: str | Activation
    loss: Loss
    cost_scale: float = 1.0
    error_scale: float = 1.0


class Parameters(BaseEstimator):
    """From an estimator's parameters to the components of its network and its descent."""

    @classmethod
    @functools.cache
    def _get_param_names(cls) -> list[str]:
        """Names of all parameters: scikit-learn reads them from the constructor at every call."""
        names: list[str] = super()._get_param_names()
        return names

    @classmethod
    @functools.cache
    def _defaults(cls) -> dict[str, Any]:
        """Defaults of all parameters, which are valid."""
        parameters = inspect.signature(cls.__init__).parameters
        return {name: parameters[name].default for name in cls._get_param_names()}

    def _validate_params(self) -> None:
        """scikit-learn's check of what is not the default, with a hint at what was meant."""
        defaults = self._defaults()
        given = self.get_params(deep=False).items()
        chosen = {name: value for name, value in given if value is not defaults[name]}
        try:
            validate_parameter_constraints(
                self._parameter_constraints, chosen, caller_name=type(self).__name__
            )
        except ValueError as error:
            hint = self._hint(str(error))
            raise type(error)(f"{error} {hint}") from None if hint else error

    def _hint(self, message: str) -> str:
        """What to write instead of a name that is unknown or a bare function."""
        for name, constraints in self._parameter_constraints.items():
            if not message.startswith(f"The {name!r} parameter "):
                continue
            given = getattr(self, name)
            for one in constraints:
                if isinstance(given, str) and isinstance(one, StrOptions):
                    near = nearest(given, one.options)
                    return f"Did you mean {near!r}?" if near else ""
                if callable(given) and one in (Activation, Loss, Optimizer):
                    return f"{name} is a bare function; {how_to_make(one)}."
        return ""

    def _hidden(self) -> list[int]:
        """Widths of the hidden layers."""
        sizes = self.hidden_layer_sizes
        hidden = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if any(n <= 0 for n in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        return [int(n) for n in hidden]

    def _per_layer(self, name: str, n: int) -> list[Any]:
        """A parameter's value for each of n hidden layers, from one for all or a list."""
        value = getattr(self, name)
        if isinstance(value, Sequence) and not isinstance(value, str | Activation):
            if len(value) != n:
                raise ValueError(f"{name} has {len(value)} entries for {n} hidden layers")
            return list(value)
        return [value] * n

    def _design(self, n_in: int, target: Target, rng: Any = None) -> Network:
        """The network: for training if there is a generator, else for prediction."""
        hidden = self._hidden()
        sizes, layers, activations = [n_in], [], []

        def add(layer: kinds.Layer, n: int, activation: str | Activation = "identity") -> None:
            sizes.append(n)
            layers.append(layer)
            activations.append(activation)

        if rng is not None and self._scaling is not None:
            add(kinds.standardize(*self._scaling), n_in)
        if rng is not None and self.input_noise:
            add(kinds.noise(self.input_noise, new_key(rng)), n_in)
        for n, activation, rate in zip(
            hidden,
            self._per_layer("activation", len(hidden)),
            self._per_layer("dropout", len(hidden)),
            strict=True,
        ):
            if self.normalization is None:
                add(kinds.AFFINE, n, activation)
            else:
                add(kinds.AFFINE, n)
                add(look_up("normalization", self.normalization, NORMALIZATIONS), n, activation)
            if rng is not None and rate:
                add(kinds.dropout(rate, new_key(rng)), n)
        add(kinds.AFFINE, target.n_units, target.activation)
        return Network(
            sizes,
            activation=activations,
            loss=target.loss,
            init="zeros",
            dtype=self._dtype,
            layers=layers,
        )

    def _draw(self, n_in: int, n_out: int, rng: Any) -> tuple[list[Array], list[Array]]:
        """Starting coefs and intercepts: drawn, then replaced by what the user gives."""
        if self.init == "auto":
            # scikit-learn goes by the one activation of all hidden layers.
            one = isinstance(self.activation, str | Activation)
            first = self.activation if one else "identity"
            factor = look_up("activation", first, ACTIVATIONS).glorot
            initializer = Initializer("auto", *[_uniform_as_in_sklearn(factor)] * 2)
        else:
            initializer = look_up("init", self.init, INITIALIZERS)
        sizes = [n_in, *self._hidden(), n_out]
        coefs: list[Array] = []
        intercepts: list[Array] = []
        for shape in pairwise(sizes):
            W, b = np.zeros(shape), np.zeros(shape[1])
            initializer.weights(rng, W)
            if self.init == "auto":  # biases come from the range of their layer's weights
                bound = np.sqrt(factor / sum(shape))
                b[...] = rng.uniform(-bound, bound, b.shape)
            elif initializer.biases is not None:
                initializer.biases(rng, b)
            coefs.append(W)
            intercepts.append(b)
        for name, own in (("coefs_init", coefs), ("intercepts_init", intercepts)):
            given = getattr(self, name)
            if given is None:
                continue
            if len(given) != len(own):
                raise ValueError(f"{name} has {len(given)} arrays for {len(own)} layers")
            for k, (array, values) in enumerate(zip(own, given, strict=True)):
                if np.shape(values) != array.shape:
                    raise ValueError(
                        f"{name}[{k}] must have the shape {array.shape}, got {np.shape(values)}"
                    )
                if not np.isfinite(values).all():
                    raise ValueError(f"{name}[{k}] holds values that are not finite")
                array[...] = values
        return coefs, intercepts

    def _optimizer(self) -> tuple[Optimizer, Array]:
        """The optimiser that `solver` names, and its numbers."""
        solver = self.solver
        if solver in ("sgd", "lbfgs"):
            accelerated = "nesterov" if self.nesterovs_momentum else "momentum"
            chosen = OPTIMIZERS[accelerated if self.momentum else "sgd"]
        elif solver == "adam" and self.compat == "sklearn":
            chosen = ADAM_AS_IN_SKLEARN
        else:
            chosen = look_up("solver", "adam" if solver == "adamw" else solver, OPTIMIZERS)
            if OPTIMIZERS.get(chosen.name) is not chosen:
                check_optimizer(chosen)
        numbers = dict(chosen.hyper)
        numbers["learning_rate"] = self.learning_rate_init
        for name in chosen.parameters:
            if name not in numbers or name not in CONSTRAINTS:
                raise ValueError(
                    f"solver: {chosen.name!r} says that the parameter {name!r} sets one of its "
                    "numbers, but there is no such parameter or no such number"
                )
            numbers[name] = getattr(self, name)
        for name, value in (self.solver_options or {}).items():
            if name not in numbers:
                raise ValueError(
                    f"solver_options: {chosen.name!r} has no {name!r}, only {sorted(numbers)}"
                )
            if name == "learning_rate":
                raise ValueError(
                    "solver_options: the learning rate is the parameter learning_rate_init"
                )
            _check_number(name, value)
            numbers[name] = value
        return chosen, np.array(list(numbers.values()), np.float64)

    def _rules(self, target: Target) -> Rules:
        decay = self.weight_decay
        if decay is None:
            decay = 0.01 if self.solver == "adamw" else 0.0
        return Rules(
            cost_scale=target.cost_scale,
            error_scale=target.error_scale,
            l2=self.alpha,
            l1=self.l1,
            clip_value=self.clip_value or 0.0,
            clip_norm=self.clip_norm or 0.0,
            decay=decay,
            max_norm=self.max_norm or 0.0,
            average=0.0 if self.ema_decay is None else 1.0 - self.ema_decay,
        )

    def _check_combination(self) -> None:
        """Refuse what has no meaning, rather than ignore it."""
        hidden = self._hidden()
        if not hidden:
            for name in ("normalization", "dropout"):
                if getattr(self, name) not in (None, 0.0, [], ()):
                    raise ValueError(f"{name}={getattr(self, name)!r} needs a hidden layer")
        for name in ("activation", "dropout"):
            self._per_layer(name, len(hidden))
        norm: kinds.Layer | None = None
        if self.normalization is not None:
            norm = look_up("normalization", self.normalization, NORMALIZATIONS)
            if not norm.is_normalisation or norm.is_weight:
                raise ValueError(
                    f"normalization={norm.name!r} is no layer that normalises: one has "
                    "is_normalisation=True and is_weight=False"
                )
        sklearn_way = self.compat == "sklearn"
        if sklearn_way and self.shuffle == "blocks":
            raise ValueError(
                "shuffle='blocks' does not go with compat='sklearn', which draws the orders that "
                "scikit-learn draws; leave one of them out"
            )
        if (
            not sklearn_way
            and self.learning_rate == "adaptive"
            and self.solver not in ("sgd", "lbfgs")
        ):
            raise ValueError(
                f"learning_rate='adaptive' goes with solver='sgd', not {self.solver!r}; "
                "use learning_rate='plateau'"
            )
        if self.solver != "lbfgs":
            return
        for name, neutral in NOT_WITH_LBFGS.items():
            value = getattr(self, name)
            if sklearn_way and name == "learning_rate":
                continue
            if value is not neutral and value != neutral:
                raise ValueError(
                    f"{name}={value!r} has no meaning for solver='lbfgs', which steps on all of "
                    "the data and chooses its own steps; use another solver"
                )
        if norm is not None and norm.statistics:
            others = [name for name, one in NORMALIZATIONS.items() if not one.statistics]
            raise ValueError(
                f"normalization={self.normalization!r} has no meaning for solver='lbfgs', which "
                f"has no batches; use {' or '.join(map(repr, others))}, or another solver"
            )


def _check_number(name: str, value: Any) -> None:
    """See that a number of an optimiser's is finite, and what a parameter of that name may be."""
    finite = isinstance(value, REAL) and not isinstance(value, bool) and np.isfinite(float(value))
    wanted = [one for one in CONSTRAINTS.get(name, []) if isinstance(one, Interval)]
    if not finite or not all(one.is_satisfied_by(value) for one in wanted):
        what = " and ".join(["a finite number", *map(str, wanted)])
        raise ValueError(f"solver_options: {name!r} must be {what}; got {value!r}")


def new_key(rng: Any) -> int:
    """A seed for what is counted, drawn from a generator."""
    return int(rng.randint(2**31 - 1))


def _uniform_as_in_sklearn(factor: float) -> Any:
    def weights(rng: Any, W: Array) -> None:
        """U(-r, r) with r² = factor / (n_in + n_out)."""
        bound = np.sqrt(factor / sum(W.shape))
        W[...] = rng.uniform(-bound, bound, W.shape)

    return weights
