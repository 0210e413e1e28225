"""A run of a recipe on the digits, and its result; nothing is printed here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chainrule.base.validation import one_hot
from chainrule.digits.diagnosis import Cause, Evidence, cause
from chainrule.digits.joining import Together, join
from chainrule.digits.recipes import N_CLASSES, Digits, Flags, Labels, Recipe, usual_rate
from chainrule.engine.config import threads_asked
from chainrule.engine.threads import default_threads
from chainrule.equations.layers import AFFINE, dropout
from chainrule.explain import faults_of_networks
from chainrule.network.network import Network
from chainrule.training.divergence import DivergenceError
from chainrule.training.loop import Epoch
from chainrule.training.train import History, choose_engine, train

if TYPE_CHECKING:
    from chainrule.explain.findings import Diagnosis, Finding
    from chainrule.explain.tracing import Trace


class Record(NamedTuple):
    """One epoch of a run: right answers on the test rows after it, mean cost during it."""

    epoch: int
    correct: int
    total: int
    accuracy: float
    cost: float
    seconds: float


@dataclass
class Result:
    """What a run came to.

    Attributes
    ----------
    recipe : Recipe
    seed : int
    network : Network
        With the parameters that were kept.
    epochs : list of Record
    kept_epoch : int or None
        Whose parameters were kept: the last one's, or the best one's on the rows held back.
        None if no epoch was completed.
    engine : str
        "numpy" or "numba".
    said : (360,) int64
        What each test digit was taken for.
    confusion : (10, 10) int64
        Row: the digit; column: what it was taken for.
    unanswered : (360,) bool
        Test rows on which no output is open: see :func:`no_answer`. The article's reading takes
        them for 0, and so do `said` and `confusion`.
    no_answer : (10,) int64
        How many of them there are, by digit.
    shut_outputs : list of int
        Outputs that are shut at the end of `kept_epoch`: see :func:`shut_outputs`.
    findings : list of Finding
        What `Run.diagnose` says, once it was asked.
    cause : Cause or None
        Then, which of it holds the network back, if that is known.
    interrupted : bool
    failure : DivergenceError or None
    """

    recipe: Recipe
    seed: int
    network: Network
    epochs: list[Record] = field(default_factory=list)
    kept_epoch: int | None = None
    engine: str = "numpy"
    said: Labels = field(default_factory=lambda: np.zeros(0, np.int64))
    confusion: Labels = field(default_factory=lambda: np.zeros((N_CLASSES,) * 2, np.int64))
    unanswered: Flags = field(default_factory=lambda: np.zeros(0, bool))
    no_answer: Labels = field(default_factory=lambda: np.zeros(N_CLASSES, np.int64))
    shut_outputs: list[int] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    cause: Cause | None = None
    interrupted: bool = False
    failure: DivergenceError | None = None

    @property
    def correct(self) -> int:
        """Right answers on the test rows."""
        return int(self.confusion.trace())

    @property
    def total(self) -> int:
        """How many test rows there are."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.correct / self.total

    @property
    def correct_unanswered(self) -> int:
        """Right answers by the article's reading that no open output has given: all are zeros."""
        return int(self.no_answer[0])

    @property
    def answers(self) -> Labels:
        """(10, 11) counts: `confusion`, with rows without an answer in a last column."""
        counts: Labels = np.column_stack([self.confusion, self.no_answer])
        counts[:, 0] -= self.no_answer
        return counts

    @property
    def seconds(self) -> float:
        """Time of the training, looking at the test rows not counted."""
        return sum(record.seconds for record in self.epochs)

    def parameters(self) -> dict[str, Any]:
        """Everything that the run was made with, and the number of weights and biases."""
        return {
            "sizes": list(self.network.sizes),
            "count": int(self.network.theta.size),
            "activation": self.recipe.activation,
            "output_activation": self.network.activations[self.network.L].name,
            "loss": self.recipe.loss,
            "init": self.recipe.init,
            "optimizer": self.recipe.optimizer,
            "learning_rate": self.recipe.learning_rate,
            "epochs": self.recipe.epochs,
            "batch_size": self.recipe.batch_size,
            "validation": self.recipe.validation,
            "clip": self.recipe.clip,
            "dtype": self.network.dtype.name,
            "engine": self.engine,
            "members": self.recipe.members,
            "distortion": self.recipe.distortion and asdict(self.recipe.distortion),
            "l2": self.recipe.l2,
            "l1": self.recipe.l1,
            "dropout": self.recipe.dropout,
        }


def closest_to_one(outputs: ArrayLike) -> Labels:
    """The article's reading of the outputs: per row, the index of the one closest to 1.

    For outputs that stay below 1, as softmax's do, that is the largest.
    """
    said: Labels = np.abs(np.asarray(outputs) - 1).argmin(axis=1).astype(np.int64)
    return said


def confusion_matrix(truth: Labels, said: Labels) -> Labels:
    """(10, 10) counts; row: the digit, column: what it was taken for."""
    counts: Labels = np.zeros((N_CLASSES, N_CLASSES), np.int64)
    np.add.at(counts, (truth, said), 1)
    return counts


def most_confused(confusion: Labels, least: int = 2) -> list[tuple[int, int, int]]:
    """(digit, taken for, times), most often first, of the mistakes made `least` times or more.

    A last column of rows without an answer, as `Result.answers` has it, is left out.
    """
    pairs = [
        (digit, said, int(times))
        for (digit, said), times in np.ndenumerate(confusion[:, :N_CLASSES])
        if digit != said and times >= least
    ]
    return sorted(pairs, key=lambda pair: -pair[2])


def no_answer(network: Network, outputs: ArrayLike) -> Flags:
    """(n,) whether no output of a row is open: all are exactly 0, so there is no answer.

    Only outputs of a ReLU can be shut. Which of ten equal outputs is "closest to 1" says nothing;
    the article's reading takes the first, 0.
    """
    could_be_shut = network.activations[network.L].is_shut_below_0
    shut: Flags = np.array([could_be_shut and not (row > 0).any() for row in np.asarray(outputs)])
    return shut


def _outputs(network: Network, X: ArrayLike) -> NDArray[Any]:
    """The network's outputs, also those of one that has diverged, which `predict` refuses."""
    outputs: NDArray[Any] = network.forward(X).a[network.L]
    return outputs


def shut_outputs(network: Network, X: ArrayLike, y: Labels) -> list[int]:
    """Output neurons whose ReLU is shut, for now, on the digit that they stand for.

    Where z^L ≤ 0 the error δ^L = ∂C/∂a^L ⊙ σ′(z^L) is 0. A neuron shut on the rows of its own
    digit gets no error from them, and other rows on which it is open only push it down. It can
    open again when the layers below change: of 227 outputs that were shut at the end of epoch 3
    of 200 runs by the article's recipe, 199 were shut at the end of epoch 19. Shut means: open on
    at most one in twenty of the rows of its own digit. (Of the 2000 outputs of these 200 runs, at
    their end, 199 had a share below 0.05, 1785 one above 0.95.)

    Parameters
    ----------
    network : Network
        With an output activation other than ReLU it has none.
    X : (n, n_0) array-like
    y : (n,) int64
        Labels; label j belongs to output neuron j.

    Returns
    -------
    list of int
    """
    if not network.activations[network.L].is_shut_below_0:
        return []
    return faults_of_networks.shut_outputs(_outputs(network, X) > 0, y)


class Run:
    """A network about to learn to read digits.

    Parameters
    ----------
    recipe : Recipe
    data : Digits
    seed : int
        Of one generator: the keys of dropout come first, then the starting values, then each
        epoch's order.

    Attributes
    ----------
    recipe : Recipe
    data : Digits
        Clipped, or as ink, if the recipe says so.
    result : Result
        Its network has the starting values until the run is called.
    rng : numpy.random.Generator
        The generator, once the starting values are drawn.
    X, Y : (n, 64), (n, 10) float64
        The rows that are trained on.
    X_held, Y_held : (validation, 64), (validation, 10) float64
        The rows that are held back.

    Raises
    ------
    ValueError
        The recipe holds an unknown name or an impossible number.
    """

    def __init__(self, recipe: Recipe, data: Digits, seed: int) -> None:
        if not 0 <= recipe.validation < len(data.X_train):
            raise ValueError(f"validation must leave rows to train on; got {recipe.validation}")
        if recipe.clip is not None:
            X_train, X_test = (np.clip(X, -recipe.clip, recipe.clip) for X in data[:3:2])
            data = data._replace(X_train=X_train, X_test=X_test)
        if recipe.distortion is not None:
            ink = [images.reshape(len(images), -1) / 16 for images in data[4:]]
            data = data._replace(X_train=ink[0], X_test=ink[1])
        self.recipe, self.data = recipe, data
        self.rng = np.random.default_rng(seed)
        network = self._new(recipe.hidden, self.rng)
        self._members, self._rngs = [network], [self.rng]
        if recipe.members > 1:
            if recipe.validation or recipe.dropout:
                raise ValueError("several members go without rows held back and without dropout")
            self._rngs = self.rng.spawn(recipe.members)
            self._members = [self._new(recipe.hidden, rng) for rng in self._rngs]
            network = self._new([n * recipe.members for n in recipe.hidden], self.rng)
        self.result = Result(recipe, seed, network)
        n = len(data.X_train) - recipe.validation
        self.X, self.Y = data.X_train[:n], one_hot(data.y_train[:n], N_CLASSES)
        self.X_held = data.X_train[n:]
        self.Y_held = one_hot(data.y_train[n:], N_CLASSES)
        self._least = math.inf
        self._kept = network.theta.copy()
        # Find what is wrong with the rest now; nothing is compiled for that.
        self._train(self._members[0].copy(), np.random.default_rng(0), epochs=0, engine="numpy")
        choose_engine(recipe.engine, network, n, recipe.batch_size, recipe.epochs)

    def __call__(self, on_epoch: Callable[[Record], None] | None = None) -> Result:
        """Train, and look at the test rows after each epoch.

        Ctrl-C and a divergence end the training early; the result says so, and is that of the
        parameters kept.

        Parameters
        ----------
        on_epoch : callable (Record) -> None, optional
        """
        result, network = self.result, self.result.network

        def after(epoch: Epoch, outputs: NDArray[Any]) -> None:
            said = closest_to_one(outputs)
            correct, total = int((said == self.data.y_test).sum()), len(said)
            self._keep_best()
            record = Record(epoch.epoch, correct, total, correct / total, epoch.cost, epoch.seconds)
            result.epochs.append(record)
            if on_epoch is not None:
                on_epoch(record)

        try:
            if len(self._members) > 1:
                self._train_members(after)
            else:
                history = self._train(
                    network,
                    self.rng,
                    callback=lambda _, epoch: after(epoch, _outputs(network, self.data.X_test)),
                )
                result.engine = history.engine
                result.interrupted = history.stopped == "interrupted"
            if self._least < math.inf:
                network.theta[:] = self._kept
        except DivergenceError as failure:
            result.failure = failure
        self._conclude()
        return result

    def diagnose(self) -> Diagnosis:
        """What :func:`chainrule.diagnose` finds in the network as it is.

        Afterwards the result has the findings, and the one cause that the recipe names of them.
        """
        from chainrule.explain.diagnosing import diagnose

        result, data, recipe = self.result, self.data, self.recipe
        costs = [record.cost for record in result.epochs]
        found = diagnose(
            result.network,
            self.X,
            self.Y,
            history=costs,
            learning_rate=recipe.learning_rate,
            optimizer=recipe.optimizer,
            batch_size=recipe.batch_size,
        )
        said = closest_to_one(_outputs(result.network, data.X_train))
        result.findings = list(found)
        result.cause = cause(
            Evidence(
                result.network,
                recipe,
                costs,
                found,
                result.shut_outputs,
                float((said == data.y_train).mean()),
                usual_rate(recipe),
            )
        )
        return found

    def trace(self, number: int) -> Trace:
        """A test digit, from 0, through the network as it is; a step of the recipe's optimiser."""
        from chainrule.explain.tracing import trace

        row = slice(number, number + 1)
        return trace(
            self.result.network,
            self.data.X_test[row],
            one_hot(self.data.y_test[row], N_CLASSES),
            optimizer=self.recipe.optimizer,
            learning_rate=self.recipe.learning_rate,
        )

    def _new(self, hidden: Sequence[int], rng: np.random.Generator) -> Network:
        recipe = self.recipe
        units = []  # (kind, width, activation) by hidden layer
        for n in hidden:
            units.append((AFFINE, n, recipe.activation))
            if recipe.dropout:
                key = int(rng.integers(2**31 - 1))
                units.append((dropout(recipe.dropout, key), n, "identity"))
        return Network(
            (self.data.X_train.shape[1], *(n for _, n, _ in units), N_CLASSES),
            layers=[*(kind for kind, _, _ in units), AFFINE],
            activation=[activation for _, _, activation in units],
            output_activation=recipe.output_activation,
            loss=recipe.loss,
            init=recipe.init,
            dtype=recipe.dtype,
            seed=rng,
        )

    def _train_members(self, after: Callable[[Epoch, NDArray[Any]], None]) -> None:
        """Train several networks beside each other and join them.

        After Ctrl-C those are left out that have not begun.
        """
        result, members = self.result, self._members
        last = result.network.activations[result.network.L]

        def on_epoch(epoch: Epoch, z: NDArray[Any]) -> None:
            a = np.empty_like(z)
            last.f(z, a)
            after(epoch, a)

        def one(k: int, callback: Callable[..., bool]) -> History:
            return self._train(members[k], self._rngs[k], callback=callback, n_threads=1)

        begun = [each.theta.copy() for each in members]
        together = Together(members, self.recipe.epochs, self.data.X_test, on_epoch)
        try:
            workers = threads_asked(None) or default_threads()
            result.engine = together.run(one, workers)[0].engine
        except KeyboardInterrupt:
            result.interrupted = True
        finally:
            trained = [
                each
                for each, start in zip(members, begun, strict=True)
                if not np.array_equal(each.theta, start)
            ]
            if trained:
                hidden = [n * len(trained) for n in self.recipe.hidden]
                result.network = self._new(hidden, np.random.default_rng(0))
                join(trained, result.network)

    def _train(self, network: Network, rng: np.random.Generator, **settings: Any) -> History:
        recipe = self.recipe
        common: dict[str, Any] = {
            "epochs": recipe.epochs,
            "batch_size": recipe.batch_size,
            "optimizer": recipe.optimizer,
            "learning_rate": recipe.learning_rate,
            "engine": recipe.engine,
            "augment": recipe.distortion,
            "l2": recipe.l2,
            "l1": recipe.l1,
        }
        return train(network, self.X, self.Y, seed=rng, **(common | settings))

    def _keep_best(self) -> None:
        """Keep the parameters if their cost on the rows held back is the least so far."""
        result = self.result
        if self.recipe.validation:
            cost = result.network.cost(self.X_held, self.Y_held)
            if not cost < self._least:
                return
            self._least = cost
            self._kept[:] = result.network.theta
        result.kept_epoch = len(result.epochs)

    def _conclude(self) -> None:
        """Fill in what the network, as it is now, makes of the test rows."""
        result, data, network = self.result, self.data, self.result.network
        outputs = _outputs(network, data.X_test)
        result.said = closest_to_one(outputs)
        result.unanswered = no_answer(network, outputs)
        result.no_answer = np.bincount(data.y_test[result.unanswered], minlength=N_CLASSES)
        result.confusion = confusion_matrix(data.y_test, result.said)
        result.shut_outputs = shut_outputs(network, data.X_train, data.y_train)
