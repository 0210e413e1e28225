"""The network that reads digits on the page: trained once by a server, copied for each tab."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chainrule.app.panel import PanelError

if TYPE_CHECKING:
    from chainrule.app.panel import Tab
    from chainrule.digits.recipes import Digits, Recipe
    from chainrule.explain.tracing import Trace
    from chainrule.network.network import Network

Numbers = NDArray[np.float64]
N_PIXELS, INK = 64, 16  # of an image, and the darkest grey
NEIGHBOURS = 10
WIDEST = 200  # a hidden layer that can still be drawn


def recipe() -> Recipe:
    """How the network is trained: few enough units to be drawn, and digits distorted anew.

    A drawn digit is never placed quite as the training digits are, so the network has to read
    shifted, turned and stretched ones. With seed 0 it reads 345 of the 360 test digits.
    """
    from chainrule.digits.recipes import Recipe
    from chainrule.training.distortions import ImageDistortion

    return Recipe(
        name="drawn",
        hidden=(32, 16),
        activation="relu",
        output_activation=None,
        loss="cross_entropy",
        init="he_normal",
        optimizer="adam",
        learning_rate=0.006,
        epochs=100,
        batch_size=32,
        engine="numpy",
        distortion=ImageDistortion(8, 8, shift=0.4, turn=12, scale=0.15, elastic=0.4),
    )


class Scaling:
    """What a network takes for pixels: (pixels - mean) / deviation, between -clip and clip.

    Parameters
    ----------
    mean, deviation : (64,) float64
    clip : float or None
    """

    def __init__(self, mean: Numbers, deviation: Numbers, clip: float | None = None) -> None:
        self.mean, self.deviation, self.clip = mean, deviation, clip

    def __call__(self, pixels: Numbers) -> Numbers:
        """Inputs of one image, or of several."""
        scaled: Numbers = (pixels - self.mean) / self.deviation
        return scaled if self.clip is None else np.clip(scaled, -self.clip, self.clip)


INK_ALONE = Scaling(np.zeros(N_PIXELS), np.full(N_PIXELS, float(INK)))


class Reader:
    """The network of a server, which is trained in a thread of its own.

    Parameters
    ----------
    model : (Network, Scaling), optional
        A network that has been trained already, and what it takes for pixels.

    Attributes
    ----------
    done : threading.Event
        Set when the attributes below are there, or `failure` is.
    failure : str or None
        Why there is no network, in one line.
    progress : tuple of int
        Epochs done, epochs.
    data : Digits
    network : Network
    scaling : Scaling
    correct : int
        Test digits that it reads right.
    """

    data: Digits
    network: Network
    scaling: Scaling
    correct: int

    def __init__(self, model: tuple[Network, Scaling] | None = None) -> None:
        self.done = threading.Event()
        self.failure: str | None = None
        self.progress = (0, 1)
        self._model = model
        threading.Thread(target=self._prepare, name="reader", daemon=True).start()

    def _prepare(self) -> None:
        try:
            from chainrule.digits import recipes

            self.data = recipes.load()
            self.network, self.scaling = self._model or self._trained()
            pixels = self.data.images_test.reshape(-1, N_PIXELS)
            said = self.network.predict(self.scaling(pixels)).argmax(axis=1)
            self.correct = int((said == self.data.y_test).sum())
            Reading(self).read(pixels[0])  # so that the first stroke does not wait for imports
        except Exception as error:
            self.failure = " ".join(f"{type(error).__name__}: {error}".split())
        self.done.set()

    def _trained(self) -> tuple[Network, Scaling]:
        from chainrule.digits.runs import Run

        run = Run(recipe(), self.data, seed=0)
        epochs = run.recipe.epochs
        result = run(lambda record: setattr(self, "progress", (record.epoch + 1, epochs)))
        return result.network, INK_ALONE

    def described(self) -> dict[str, Any]:
        """What the page shows until the network is there."""
        done, epochs = self.progress
        model = self._model
        sizes = model[0].sizes if model else (N_PIXELS, *recipe().hidden, 10)
        return {"done": done, "epochs": epochs, "sizes": sizes}

    def wait(self) -> Reader:
        """Itself, once it is ready.

        Raises
        ------
        PanelError
            It never will be.
        """
        self.done.wait()
        if self.failure is not None:
            raise PanelError(f"there is no network to read digits: {self.failure}")
        return self


def digits_network(
    model: Any, header: Mapping[str, Any], data: Digits
) -> tuple[Network, Scaling] | None:
    """The network of a stored model that reads digits, and what it takes for pixels.

    Parameters
    ----------
    model : Network, estimator or Pipeline
    header : dict
        Of its file. Where it does not say what the network takes for pixels, that is found out:
        of greys from 0 to 1 or to 16, and standardised ones, those of which most test digits are
        read right.
    data : Digits

    Returns
    -------
    (Network, Scaling) or None
        None if it does not take 64 numbers and tell ten digits apart, or has too many units to be
        drawn.
    """
    from chainrule.explain.models import model_network, without_random_layers
    from chainrule.network.network import Network

    is_network = isinstance(model, Network)
    classes = [str(label) for label in getattr(model, "classes_", [])]
    if not is_network and classes != [str(digit) for digit in range(10)]:
        return None
    if hasattr(model, "steps"):  # what stands before the network is not drawn
        return None
    try:
        network = without_random_layers(model_network(model)[0])
    except (TypeError, ValueError):
        return None
    if (network.sizes[0], network.sizes[-1]) != (N_PIXELS, 10):
        return None
    if max(network.sizes[1:-1], default=0) > WIDEST:
        return None
    made_by = header.get("metadata") or {}
    parameters = made_by.get("parameters")
    pixels = data.images_train.reshape(-1, N_PIXELS)
    deviation = pixels.std(axis=0)
    known: Mapping[str, Any] | None = parameters if isinstance(parameters, Mapping) else None
    standardized = Scaling(
        pixels.mean(axis=0),
        np.where(deviation > 0, deviation, np.inf),  # such a pixel is 0
        known.get("clip") if known else None,
    )
    if known is not None:
        return network, INK_ALONE if known.get("distortion") else standardized
    raw = Scaling(np.zeros(N_PIXELS), np.ones(N_PIXELS))
    images = data.images_test.reshape(-1, N_PIXELS)

    def correct(scaling: Scaling) -> int:
        said = network.forward(scaling(images)).a[-1].argmax(axis=1)
        return int((said == data.y_test).sum())

    return network, max((INK_ALONE, raw, standardized), key=correct)


class Reading:
    """A tab's own copy of the network, which the visitor may change step by step.

    Parameters
    ----------
    reader : Reader
        One that is ready.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader, self.scaling = reader, reader.scaling
        self.network = reader.network.copy(np.float64)
        self.steps = 0
        self._images = reader.data.images_train.reshape(-1, N_PIXELS)

    @classmethod
    def of(cls, session: Tab) -> Reading:
        """The reading of a tab, which its panels share; waits until the network is there."""
        if "reading" not in session.shared:
            session.shared["reading"] = cls(session.shared["reader"].wait())
        found: Reading = session.shared["reading"]
        return found

    def reset(self) -> None:
        """Undo all steps."""
        self.network.theta[:] = self.reader.network.theta
        self.steps = 0

    def described(self) -> dict[str, Any]:
        """What the page draws the network from."""
        network = self.network
        return {
            "sizes": network.sizes,
            "activations": [each.name for each in network.activations],
            "loss": network.loss.name,
            "W": [None, *list(network.W)[1:]],
            "b": [None, *list(network.b)[1:]],
            "steps": self.steps,
            "correct": self.reader.correct,
            "tested": len(self.reader.data.y_test),
            "trained": len(self._images),
        }

    def read(self, pixels: Numbers) -> dict[str, Any]:
        """One image through the network, and what it looked for.

        Parameters
        ----------
        pixels : (64,) float64

        Returns
        -------
        dict
            ``a``, ``z``, by layer; ``said``, the output that is largest; ``gradient``,
            ∂z^L_said/∂x by pixel; ``neighbours``, the training digits nearest to it (Euclidean
            distance of the pixels).
        """
        from chainrule.explain.displays_of_inputs import input_gradient

        x = self.scaling(pixels)[np.newaxis]
        batch = self.network.forward(x)
        a = [each[0] for each in batch.a]
        said = int(a[-1].argmax())
        return {
            "a": a,
            "z": [None, *(each[0] for each in list(batch.z)[1:])],
            "said": said,
            "gradient": input_gradient(self.network, x, said),
            "neighbours": self._neighbours(pixels),
        }

    def _neighbours(self, pixels: Numbers) -> list[dict[str, Any]]:
        distances = np.linalg.norm(self._images - pixels, axis=1)
        nearest = np.argsort(distances, kind="stable")[:NEIGHBOURS]
        return [
            {
                "index": int(i),
                "label": int(self.reader.data.y_train[i]),
                "distance": float(distances[i]),
                "pixels": self._images[i].astype(int),
            }
            for i in nearest
        ]

    def trace(self, pixels: Numbers, label: int, learning_rate: float) -> Trace:
        """One image with its right label through all equations, and a step of plain descent."""
        from chainrule.explain.tracing import trace

        return trace(
            self.network,
            self.scaling(pixels)[np.newaxis],
            np.array([label]),
            optimizer="sgd",
            learning_rate=learning_rate,
        )

    def take(self, traced: Trace) -> None:
        """Go on with the parameters after a traced step."""
        for l in range(1, self.network.L + 1):
            if traced.new_W[l] is not None:
                self.network.W[l][...] = traced.new_W[l]
            if traced.new_b[l] is not None:
                self.network.b[l][...] = traced.new_b[l]
        self.steps += 1

    def test_digit(self, index: int) -> tuple[NDArray[np.int64], int]:
        """(pixels, label) of a digit that the network was not trained on."""
        data = self.reader.data
        if not 0 <= index < len(data.y_test):
            raise PanelError(f"there is no test digit {index}; the last is {len(data.y_test) - 1}")
        pixels = data.images_test[index].reshape(-1).astype(np.int64)
        return pixels, int(data.y_test[index])


def pixels_of(given: Any) -> Numbers:
    """64 greys from 0 to 16, as the page sends them.

    Raises
    ------
    PanelError
        They are not.
    """
    if not isinstance(given, list) or len(given) != N_PIXELS:
        raise PanelError(f"an image has {N_PIXELS} pixels")
    if not all(type(x) in (int, float) and 0 <= x <= INK for x in given):
        raise PanelError(f"pixels are numbers from 0 to {INK}")
    return np.array(given, np.float64)


def whole_number(given: Any, name: str, least: int, most: int) -> int:
    """A whole number between two, as the page sends it.

    Raises
    ------
    PanelError
        It is not.
    """
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 10:
        given = int(given)
    if type(given) is not int or not least <= given <= most:
        raise PanelError(f"{name} must be a whole number from {least} to {most}")
    return given


def learning_rate_of(given: Any) -> float:
    """The size of a step, as the page sends it.

    Raises
    ------
    PanelError
        It is not a number from 0.0001 to 10.
    """
    if type(given) not in (int, float) or not 1e-4 <= given <= 10:
        raise PanelError("the step size η must be a number from 0.0001 to 10")
    return float(given)
