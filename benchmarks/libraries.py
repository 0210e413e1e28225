"""The contestants that bring a library of their own; see `peers` for the contract."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import BETA1, BETA2, EPSILON, Pairs, Peer
from benchmarks.tasks import Task


class ScikitLearn(Peer):
    """`partial_fit`, one call an epoch, its check of the input included; no penalty."""

    name = "scikit-learn"
    needs = ("sklearn",)

    def __init__(self, task: Task) -> None:
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        super().__init__(task)
        self.classes = task.loss == "cross_entropy"
        self.model = (MLPClassifier if self.classes else MLPRegressor)(
            hidden_layer_sizes=task.sizes[1:-1],
            solver=task.optimizer,
            momentum=0,
            nesterovs_momentum=False,
            alpha=0,
            batch_size=task.batch,
            learning_rate_init=task.learning_rate,
            random_state=0,
        )
        self.target = task.labels if self.classes else task.Y
        self.target = self.target.ravel() if task.sizes[-1] == 1 else self.target
        self.epoch()  # makes the weights, which we then set
        del self.model._optimizer
        for l, (W, b) in enumerate(task.start):
            self.model.coefs_[l], self.model.intercepts_[l] = W.copy(), b.copy()

    def epoch(self) -> None:
        more = {"classes": np.arange(self.task.sizes[-1])} if self.classes else {}
        self.model.partial_fit(self.task.X, self.target, **more)

    def predict(self, X: np.ndarray) -> np.ndarray:
        if self.classes:
            return self.model.predict_proba(X)
        return self.model.predict(X).reshape(len(X), -1)

    def parameters(self) -> Pairs:
        return list(zip(self.model.coefs_, self.model.intercepts_, strict=True))


def torch_layers(task: Task) -> Any:
    """The network in PyTorch, with the starting values."""
    import torch

    layers: list[Any] = []
    for W, b in task.start:
        linear = torch.nn.Linear(*W.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T.copy()))
            linear.bias.copy_(torch.from_numpy(b))
        layers += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def torch_pairs(model: Any) -> Pairs:
    """Its parameters, laid out as ours."""
    linear = [layer for layer in model if hasattr(layer, "weight")]
    return [(x.weight.detach().numpy().T, x.bias.detach().numpy()) for x in linear]


def rate_for_mean(task: Task) -> float:
    """The learning rate where the squared error is a mean over the outputs too, and not halved.

    The step is the same then, for plain descent; Adam's does not depend on the cost's scale.
    """
    scaled = task.loss == "squared_error" and task.optimizer == "sgd"
    return task.learning_rate * (task.sizes[-1] / 2 if scaled else 1)


class Torch(Peer):
    """PyTorch eager: tensors in memory, fused optimiser, gradients set to none; no DataLoader."""

    name = "PyTorch eager"
    needs = ("torch",)
    gives_logits = True
    compiled = False

    def __init__(self, task: Task) -> None:
        import torch

        super().__init__(task)
        self.torch, self.model = torch, torch_layers(task)
        classes = task.loss == "cross_entropy"
        self.X = torch.from_numpy(task.X)
        self.Y = torch.from_numpy(task.labels if classes else task.Y)
        function = torch.nn.functional.cross_entropy if classes else torch.nn.functional.mse_loss

        def cost(X: Any, Y: Any) -> Any:
            return function(self.model(X), Y)

        self.cost = torch.compile(cost) if self.compiled else cost
        make = torch.optim.SGD if task.optimizer == "sgd" else torch.optim.Adam
        self.optimizer = make(self.model.parameters(), lr=rate_for_mean(task), fused=True)

    def epoch(self) -> None:
        order = self.torch.from_numpy(self.rng.permutation(len(self.task.X)))
        for rows in order.split(self.task.batch):
            self.optimizer.zero_grad(set_to_none=True)
            self.cost(self.X[rows], self.Y[rows]).backward()
            self.optimizer.step()

    def predict(self, X: np.ndarray) -> np.ndarray:
        with self.torch.inference_mode():
            return self.model(self.torch.from_numpy(X)).numpy()

    def parameters(self) -> Pairs:
        return torch_pairs(self.model)


class TorchCompiled(Torch):
    """The same with the network, the cost and their backward pass by torch.compile."""

    name = "PyTorch compiled"
    compiled = True


class Jax(Peer):
    """JAX: a jitted epoch that scans over the batches, parameters donated."""

    name = "JAX jit + scan"
    needs = ("jax",)
    gives_logits = True

    def __init__(self, task: Task) -> None:
        import jax
        import jax.numpy as jnp

        super().__init__(task)
        self.jax = jax
        theta = jax.tree.map(jnp.asarray, task.start)
        zeros = jax.tree.map(jnp.zeros_like, theta)
        more = (zeros, jax.tree.map(jnp.zeros_like, theta), jnp.zeros((), jnp.int32))
        self.state = (theta, *more) if task.optimizer == "adam" else (theta,)
        self.X, self.Y = jnp.asarray(task.X), jnp.asarray(task.Y)
        rate = task.learning_rate

        def output(theta: Any, X: Any) -> Any:
            for W, b in theta[:-1]:
                X = jax.nn.relu(X @ W + b)
            return X @ theta[-1][0] + theta[-1][1]

        def cost(theta: Any, X: Any, Y: Any) -> Any:
            out = output(theta, X)
            if task.loss == "squared_error":
                return 0.5 * jnp.sum((out - Y) ** 2) / task.batch
            return -jnp.sum(Y * jax.nn.log_softmax(out)) / task.batch

        def adam(theta: Any, g: Any, m: Any, v: Any, t: Any) -> Any:
            t = t + 1
            m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
            v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
            one, two = rate / (1 - BETA1**t), 1 / jnp.sqrt(1 - BETA2**t)
            theta = jax.tree.map(
                lambda w, m, v: w - one * m / (jnp.sqrt(v) * two + EPSILON), theta, m, v
            )
            return theta, m, v, t

        def epoch(state: Any, X: Any, Y: Any, order: Any) -> Any:
            def step(state: Any, rows: Any) -> Any:
                g = jax.grad(cost)(state[0], X[rows], Y[rows])
                if task.optimizer == "adam":
                    return adam(state[0], g, *state[1:]), None
                return (jax.tree.map(lambda w, g: w - rate * g, state[0], g),), None

            return jax.lax.scan(step, state, order.reshape(-1, task.batch))[0]

        self.run, self.output = jax.jit(epoch, donate_argnums=0), jax.jit(output)

    def epoch(self) -> None:
        order = self.rng.permutation(len(self.task.X)).astype(np.int32)
        self.state = self.jax.block_until_ready(self.run(self.state, self.X, self.Y, order))

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.output(self.state[0], X))

    def parameters(self) -> Pairs:
        return [(np.asarray(W), np.asarray(b)) for W, b in self.state[0]]


class Keras(Peer):
    """`fit` with jit and several steps an execution, on the backend that KERAS_BACKEND names."""

    name = "Keras"
    needs = ("keras",)
    gives_logits = True

    def __init__(self, task: Task) -> None:
        import keras

        super().__init__(task)
        self.keras = keras
        self.name = f"Keras on {keras.backend.backend()}"
        widths = task.sizes[1:]
        kinds = ["relu"] * (len(widths) - 1) + ["linear"]
        dense = [keras.layers.Dense(n, kind) for n, kind in zip(widths, kinds, strict=True)]
        self.model = keras.Sequential([keras.Input(task.sizes[:1]), *dense])
        self.model.set_weights([part for pair in task.start for part in pair])
        losses = keras.losses
        classes = task.loss == "cross_entropy"
        make = keras.optimizers.SGD if task.optimizer == "sgd" else keras.optimizers.Adam
        adam = {} if task.optimizer == "sgd" else {"epsilon": EPSILON}
        self.model.compile(
            optimizer=make(rate_for_mean(task), **adam),
            loss=losses.CategoricalCrossentropy(True) if classes else losses.MeanSquaredError(),
            jit_compile=True,
            steps_per_execution=max(k for k in (1, 2, 4, 8) if task.steps % k == 0),
        )

    def _fit(self, epochs: int, callbacks: list[Any]) -> None:
        task = self.task
        self.model.fit(
            task.X, task.Y, task.batch, epochs, verbose=0, callbacks=callbacks, shuffle=True
        )

    def epoch(self) -> None:
        self._fit(1, [])

    def train(self, epochs: int, after: Callable[[], bool] | None = None) -> list[float]:
        if after is not None:
            return super().train(epochs, after)
        times = [time.perf_counter()]
        on_end = self.keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: times.append(time.perf_counter())
        )
        self._fit(epochs, [on_end])
        return np.diff(times).tolist()

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.model.predict(X, batch_size=4096, verbose=0)

    def parameters(self) -> Pairs:
        weights = self.model.get_weights()
        return list(zip(weights[::2], weights[1::2], strict=True))


class Skorch(Peer):
    """`NeuralNet.partial_fit`, with no split and no log; its own loader of batches."""

    name = "skorch"
    needs = ("skorch", "torch")
    gives_logits = True

    def __init__(self, task: Task) -> None:
        import torch
        from skorch import NeuralNet

        super().__init__(task)
        self.torch, classes = torch, task.loss == "cross_entropy"
        self.model = torch_layers(task)
        self.target = task.labels if classes else task.Y
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.net = NeuralNet(
                self.model,
                criterion=torch.nn.CrossEntropyLoss if classes else torch.nn.MSELoss,
                optimizer=torch.optim.SGD if task.optimizer == "sgd" else torch.optim.Adam,
                optimizer__fused=True,
                lr=rate_for_mean(task),
                batch_size=task.batch,
                max_epochs=1,
                iterator_train__shuffle=True,
                iterator_valid__batch_size=4096,
                train_split=None,
                verbose=0,
                callbacks__print_log=None,
            ).initialize()

    def epoch(self) -> None:
        self.net.partial_fit(self.task.X, self.target)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.net.predict_proba(X)

    def parameters(self) -> Pairs:
        return torch_pairs(self.net.module_)
