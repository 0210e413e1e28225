"""DaskMLPClassifier and DaskMLPRegressor: fit and predict on Dask arrays and data frames."""

from __future__ import annotations

import copy
import inspect
import math
from typing import Any

import numpy as np
from distributed import Client, default_client
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import NotFittedError

from chainrule.base.validation import warn_user
from chainrule.base.version import __version__
from chainrule.dask import prediction, training
from chainrule.dask.collections import check_collection
from chainrule.dask.preparing import (
    Data,
    Source,
    ValidationSet,
    encoded,
    generator_of,
    hold_out_of,
    learn_all,
    sizes_of,
)
from chainrule.dask.rounds import Settings, batch_rows, rate_factor
from chainrule.dask.training import Cluster
from chainrule.dask.work import LOST, Work, new_work
from chainrule.estimators.classifier import MLPClassifier
from chainrule.estimators.parameters import new_key
from chainrule.estimators.regressor import MLPRegressor
from chainrule.monitoring.callbacks import state_callback
from chainrule.training.train import choose_engine

STRATEGIES = ("local", "sync")
# Parameters that have no meaning on a cluster, by the value that leaves them alone, and why.
REFUSED = {
    "compat": (None, "scikit-learn draws its orders from all rows at once"),
    "keep_optimizer_state": (False, "there is no partial_fit to go on with"),
}


def _constructor(signature: inspect.Signature) -> Any:
    """An `__init__` that keeps its arguments, of this signature, as attributes."""

    def construct(self: Any, *args: Any, **given: Any) -> None:
        bound = signature.bind(self, *args, **given)
        bound.apply_defaults()
        for name, value in list(bound.arguments.items())[1:]:
            setattr(self, name, value)

    construct.__name__, construct.__signature__ = "__init__", signature  # type: ignore[attr-defined]
    return construct


class DaskMLP(BaseEstimator):
    """What both estimators share: they build a local estimator with the help of the cluster."""

    _Local: Any
    _local: Any
    warm_start: bool
    client: Client | None
    strategy: str
    local_steps: int | str

    def __init_subclass__(cls, **options: Any) -> None:
        """Give the class the parameters of its local estimator, and those that all have here."""
        super().__init_subclass__(**options)
        own = (("client", None), ("strategy", "local"), ("local_steps", "auto"))
        of_local = inspect.signature(cls._Local.__init__)
        added = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=x) for n, x in own]
        signature = of_local.replace(parameters=[*of_local.parameters.values(), *added])

        cls.__init__ = _constructor(signature)  # type: ignore[method-assign]

    @property
    def client_(self) -> Client:
        """The Dask client: the one given, else the default one.

        Raises
        ------
        ValueError
            There is none. A cluster is never started silently.
        """
        if self.client is not None:
            return self.client
        try:
            return default_client()
        except ValueError:
            raise ValueError(
                "there is no Dask client: pass client=..., or make one first; for the cores of "
                "this machine: from dask.distributed import Client; client = Client()"
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: all but the client."""
        return {**super().__getstate__(), "client": None}

    def __sklearn_clone__(self) -> Any:
        """Clone, with the same client."""
        twin = type(self)()
        given = self._Local(**self._local_parameters())
        from sklearn.base import clone

        for name, value in clone(given).get_params(deep=False).items():
            setattr(twin, name, value)
        twin.client, twin.strategy, twin.local_steps = (
            self.client,
            self.strategy,
            self.local_steps,
        )
        return twin

    def _local_parameters(self) -> dict[str, Any]:
        """The local estimator's."""
        names = self._Local._get_param_names()
        return {name: getattr(self, name) for name in names}

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        X_val: Any,
        y_val: Any,
        sample_weight_val: Any,
        classes: Any = None,
    ) -> Any:
        first = not (self.warm_start and hasattr(self, "_local"))
        if first:
            est = self._Local(**self._local_parameters())
        else:
            est = copy.deepcopy(self._local).set_params(**self._local_parameters())
        self._check(est, X_val, y_val, sample_weight_val)
        work = new_work(self.client_)
        train = Source("X", est, X, y, sample_weight)
        validation = None
        if X_val is not None:
            validation = Source("X_val", est, X_val, y_val, sample_weight_val)
            if validation.expected.columns != train.expected.columns or (
                validation.expected.names != train.expected.names
            ):
                raise ValueError("X_val has other columns than X")
            validation.expected = validation.expected._replace(dtype=train.expected.dtype)
        check_workers(work.client)
        resume = state_callback(est, False)
        est._rng = rng = generator_of(est, resume)
        data = Data(work, train, validation, hold_out_of(est, rng, validation is not None))
        state = rng.get_state(legacy=False)

        def learn() -> Any:
            rng.set_state(state)  # if the cluster makes it do so again, it draws the same
            return learn_all(est, data, classes, first, rng)

        light, start = work.persistently(learn)

        def prepare() -> Any:
            return encoded(work, data.rows()[0], light, scores=False)

        held = None
        parts = work.persistently(lambda: _sized(work, prepare, resume is not None))
        if validation is not None or data.hold_out is not None:
            held = work.persistently(lambda: ValidationSet(data, light, resume is not None))
        data.forget()
        cluster, network, m = self._cluster(est, work, prepare, parts, start)
        training.run(est, cluster, network, m, held, self.local_steps, resume)
        if not all(np.isfinite(p).all() for p in (*est.coefs_, *est.intercepts_)):
            raise ValueError(est._not_finite())
        est._network()
        est.__dict__.pop("_descent", None)
        self._local = est
        for name in [name for name in vars(self) if _is_fitted(name)]:
            delattr(self, name)
        for name in filter(_is_fitted, vars(est)):
            setattr(self, name, getattr(est, name))
        return self

    def _check(self, est: Any, X_val: Any, y_val: Any, sample_weight_val: Any) -> None:
        """Refuse, by name, what cannot be done."""
        est._validate_params()
        est._check_combination()
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy must be 'local' or 'sync'; got {self.strategy!r}")
        steps = self.local_steps
        whole = isinstance(steps, int | np.integer) and not isinstance(steps, bool) and steps >= 1
        if steps != "auto" and not whole:
            raise ValueError(f"local_steps must be 'auto' or a whole number from 1; got {steps!r}")
        if self.strategy == "sync" and steps not in ("auto", 1):
            raise ValueError(
                f"local_steps={steps!r} has no meaning for strategy='sync', which averages the "
                "gradients of every step"
            )
        if est.solver == "lbfgs":
            raise ValueError(
                "solver='lbfgs' cannot be used on a cluster; use 'adam', 'sgd' or another of "
                "chainrule.OPTIMIZERS"
            )
        for name, (neutral, why) in REFUSED.items():
            if getattr(est, name) != neutral:
                raise ValueError(
                    f"{name}={getattr(est, name)!r} cannot be used on a cluster: {why}"
                )
        if est.scoring not in (None, "loss"):
            raise ValueError(
                f"scoring={est.scoring!r} needs all of the validation set in one place; on a "
                "cluster it is None or 'loss'"
            )
        if isinstance(getattr(est, "class_weight", None), list):
            raise ValueError(
                "class_weight must be a dict or 'balanced'; several columns of classes "
                "are not fitted on a cluster"
            )
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val go together; only one of them was given")
        if X_val is None and sample_weight_val is not None:
            raise ValueError("sample_weight_val goes with X_val and y_val, which were not given")
        if est.scoring is not None and X_val is None and not est.early_stopping:
            raise ValueError(
                f"scoring={est.scoring!r} needs a validation set: pass X_val and y_val, or set "
                "early_stopping=True"
            )

    def _cluster(
        self, est: Any, work: Work, prepare: Any, parts: tuple[Any, Any], start: Any
    ) -> tuple[Cluster, Any, int]:
        """The network, and the partitions ready to train it."""
        futures, sizes = parts
        n, mass = sum(one.n for one in sizes), math.fsum(one.mass for one in sizes)
        if not mass > 0:
            raise ValueError("the weights of the samples sum to 0: there is nothing to fit")
        rng, target = est._rng, est._target()
        m = batch_rows(est.batch_size, [one.n for one in sizes])
        n_marked = 0 if est._missing is None else len(est._missing[1])
        network = est._design(est.n_features_in_ + n_marked, target, rng)
        if start is not None:
            est._load(network, *start, est.coefs_init, est.intercepts_init)
            est._begin(target)
        else:
            est._load(network, est.coefs_, est.intercepts_, est.coefs_, est.intercepts_)
            est._load_norms(network)
        optimizer, hyper = est._optimizer()
        largest, steps = max(one.n for one in sizes), -(-n // m)
        sync = self.strategy == "sync"
        masses = np.array([one.mass for one in sizes])
        settings = Settings(
            work.token,
            __version__,
            network.copy(),
            optimizer,
            hyper,
            est._rules(target),
            choose_engine(est.engine, network, largest, -(-largest // steps), est.max_iter),
            est.n_threads or 1,
            est.augment,
            est.shuffle,
            new_key(rng),
            steps,
            mass,
            sync,
            0.0 if sync else rate_factor(optimizer, hyper, masses),
        )
        return Cluster(work, prepare, futures, sizes, settings), network, m

    def _fitted(self) -> Any:
        if not hasattr(self, "_local"):
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' with "
                "appropriate arguments before using this estimator."
            )
        return self._local

    def to_local(self) -> Any:
        """The fitted estimator without Dask, an `MLPClassifier` or `MLPRegressor`.

        It predicts on arrays in memory, goes into a pipeline, and is what ``chainrule.save`` and
        ``chainrule.export`` take.
        """
        return copy.deepcopy(self._fitted())

    def predict(self, X: Any) -> Any:
        """Predict, lazily: nothing is computed until the result is.

        A network of 1 MB or more goes to the cluster of the default client at once, and the
        result has to be computed there.

        Parameters
        ----------
        X : Dask array or Dask data frame of shape (n_samples, n_features)

        Returns
        -------
        Dask array; for a data frame a Dask series, or data frame, with the index of X
        """
        return prediction.lazily(self._fitted(), X, "predict")

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy of classes, R² of numbers; computed at once.

        Parameters
        ----------
        X : Dask array or Dask data frame of shape (n_samples, n_features)
        y : Dask array, series or data frame of as many rows
        sample_weight : Dask array or series, default=None
        """
        check_collection("X", X, (2,))
        check_collection("y", y, (1, 2))
        return prediction.scored(self._fitted(), X, y, sample_weight)


def _is_fitted(name: str) -> bool:
    """Whether it is the name of an attribute that fits set."""
    return name.endswith("_") and not name.startswith("_")


def _sized(work: Work, prepare: Any, with_digest: bool) -> tuple[Any, Any]:
    """Partitions that are ready, and their sizes."""
    parts = prepare()
    return parts, sizes_of(work, parts, with_digest)


def check_workers(client: Client) -> None:
    """Look at the workers that are there; those that come later are looked at by their tasks.

    Raises
    ------
    ValueError
        A worker has no chainrule, or another version; or the client is asynchronous.

    Warns
    -----
    UserWarning
        Workers multiply with different BLAS kernels, so that bits depend on which does what.
    """

    def installed() -> Any:  # sent as it stands, as a worker may not have this module
        try:
            import chainrule.dask.rounds  # noqa: F401  # with every BLAS that training uses
            from chainrule.base.blas import blas_kernels
            from chainrule.base.version import __version__
        except ImportError as error:
            return "", str(error)
        return __version__, blas_kernels()

    if client.asynchronous:
        raise ValueError("the Dask client is asynchronous; fit needs one that is not")
    said = client.run(installed, on_error="return")
    failed = [one for one in said.values() if isinstance(one, Exception)]
    for error in failed:
        if not isinstance(error, LOST):  # a worker that has just died needs no version
            raise error
    found = {where: one for where, one in said.items() if not isinstance(one, Exception)}
    for address, (version, what) in found.items():
        if not version:
            raise ValueError(
                f"the worker {address} has no chainrule ({what}); install chainrule {__version__} "
                "on every worker"
            )
        if version != __version__:
            raise ValueError(
                f"the worker {address} has chainrule {version}, this process has {__version__}; "
                "install the same version everywhere"
            )
    if len({str(what) for _, what in found.values()}) > 1:
        warn_user(
            "the workers have different kinds of processors or BLAS: the last bits of the result "
            "depend on which of them does what"
        )


class DaskMLPClassifier(ClassifierMixin, DaskMLP):
    """`MLPClassifier` on a Dask cluster.

    Every partition takes steps from the same parameters; then these are averaged, in a tree in
    the order of the partitions. Which worker does what, dies or joins does not change the bits.

    Parameters
    ----------
    hidden_layer_sizes, activation, … :
        All parameters of `MLPClassifier`, in the same places, with these differences.
        ``batch_size`` counts the rows of all partitions in a step; 'auto' is 200, and at least
        8 for each partition. ``early_stopping=True`` without X_val holds out
        ``validation_fraction`` of each partition. ``class_weight`` is a dict or 'balanced'.
        ``n_threads`` is the threads of a task; None is one, as Dask gives each task a thread.
        ``scoring`` is None or 'loss'. ``solver='lbfgs'``, ``compat`` and
        ``keep_optimizer_state`` are refused. Callbacks run on the client, with the estimator that
        `to_local` gives.
    client : distributed.Client, default=None
        None: the default client. A cluster is never started silently. Pickles do not hold it.
    strategy : {'local', 'sync'}, default='local'
        'local': partitions take ``local_steps`` steps by themselves between averages. 'sync': a
        step is taken on the average gradient of all partitions; only large networks are worth it.
    local_steps : int or 'auto', default='auto'
        Steps in a round. 'auto' times a round before the first epoch, and takes as many steps as
        make its overhead small, a power of 2 up to 64; ``history_`` says how many. Times differ
        from run to run: for the same bits each time, give a number.

    Attributes
    ----------
    client_ : distributed.Client
    classes_, coefs_, intercepts_, loss_curve_, history_, … :
        Those of `MLPClassifier`. A row of ``history_`` says ``local_steps`` and ``rounds`` as well,
        and ``round_overhead`` in seconds if it was measured.

    Examples
    --------
    >>> import dask.array as da
    >>> from dask.distributed import Client
    >>> from sklearn.datasets import load_iris
    >>> from chainrule.dask import DaskMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> X, y = da.from_array(X, chunks=(50, -1)), da.from_array(y, chunks=50)
    >>> client = Client(processes=False, dashboard_address="127.0.0.1:0")
    >>> model = DaskMLPClassifier(local_steps=5, batch_size=30, tol=0.01, random_state=0)
    >>> model = model.fit(X, y)
    >>> model.predict(X[:2]).compute().tolist()
    [0, 0]
    >>> client.close()
    """

    _Local = MLPClassifier

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        classes: Any = None,
    ) -> Any:
        """Fit to data.

        Parameters
        ----------
        X : Dask array or Dask data frame of shape (n_samples, n_features)
            Of numbers. Sizes of its partitions need not be known; empty ones are fine.
        y : Dask array, series or data frame of as many rows, cut at the same rows
            Class labels, or columns of 0 and 1 for several labels.
        sample_weight : Dask array or series, default=None
        X_val, y_val, sample_weight_val : like X, y, sample_weight, default=None
            A validation set.
        classes : array-like, default=None
            All classes there are; None: those that y holds. A partition need not hold all.

        Returns
        -------
        DaskMLPClassifier
        """
        return self._fit(X, y, sample_weight, X_val, y_val, sample_weight_val, classes)

    def predict_proba(self, X: Any) -> Any:
        """Probabilities of the classes, lazily.

        Parameters
        ----------
        X : Dask array or Dask data frame of shape (n_samples, n_features)

        Returns
        -------
        Dask array of shape (n_samples, n_classes); for a data frame a Dask data frame
        """
        return prediction.lazily(self._fitted(), X, "predict_proba")


class DaskMLPRegressor(RegressorMixin, DaskMLP):
    """`MLPRegressor` on a Dask cluster.

    See `DaskMLPClassifier`, which describes what both have in common.

    Parameters
    ----------
    loss, hidden_layer_sizes, activation, … :
        All parameters of `MLPRegressor`, in the same places, with the differences that
        `DaskMLPClassifier` lists.
    client, strategy, local_steps :
        As for `DaskMLPClassifier`.

    Attributes
    ----------
    client_ : distributed.Client
    coefs_, intercepts_, loss_curve_, history_, … :
        Those of `MLPRegressor`, and in ``history_`` what `DaskMLPClassifier` says.
    """

    _Local = MLPRegressor

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Any:
        """Fit to data.

        Parameters
        ----------
        X : Dask array or Dask data frame of shape (n_samples, n_features)
            Of numbers. Sizes of its partitions need not be known; empty ones are fine.
        y : Dask array, series or data frame of as many rows, cut at the same rows
        sample_weight : Dask array or series, default=None
        X_val, y_val, sample_weight_val : like X, y, sample_weight, default=None
            A validation set.

        Returns
        -------
        DaskMLPRegressor
        """
        return self._fit(X, y, sample_weight, X_val, y_val, sample_weight_val)
