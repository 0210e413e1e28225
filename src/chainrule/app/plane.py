"""The panel "Two dimensions": points in a plane, and a network that learns them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chainrule.app.formula import Formula
from chainrule.app.panel import Panel, PanelError, Tab

Numbers = NDArray[np.float64]

SIDE = 3.0  # the plane goes from -SIDE to SIDE in both directions
N_POINTS = 240
MOST_OWN = 500  # points that are placed by hand
CELLS = 40  # on each side of the picture of the output
COARSE = 16  # on each side of the picture of a hidden unit
WIDEST, DEEPEST = 8, 4  # hidden layers that can still be drawn
SLICE, FRAME = 0.02, 1 / 30  # seconds of training at a time, and between two pictures
NO_RATE = 1e-30  # changes no parameter
LAST_EPOCH = 100_000
KEPT = 500  # losses of a curve

DATA = {
    "moons": "two moons",
    "circles": "two circles",
    "spirals": "two spirals",
    "blobs": "four blobs",
    "formula": "y > f(x)",
    "own": "points of your own",
}
REGRESSIONS = {"slope": "a slope", "hills": "hills", "formula": "z = f(x, y)", "own": "own points"}
DEFAULTS = {
    "task": "classes",
    "data": "moons",
    "formula": "",
    "scatter": 0.15,
    "held": 0.3,
    "hidden": "6,4",
    "activation": "tanh",
    "solver": "adam",
    "rate": 0.03,
    "batch": 16,
    "alpha": 0.0,
    "l1": 0.0,
    "dropout": 0.0,
    "seed": 0,
    "points": "",
}


class Points(NamedTuple):
    """What is learnt: positions (n, 2), values (n,) in -1 ... 1, and which are held out (n,)."""

    X: Numbers
    value: Numbers
    held: NDArray[np.bool_]


def made_points(settings: dict[str, Any]) -> Points:
    """The points that the settings ask for.

    Parameters
    ----------
    settings : dict
        As :func:`checked` gives them.

    Raises
    ------
    PanelError
        A formula that cannot be computed, or gives all points the same class.
    """
    rng = np.random.default_rng(settings["seed"])
    if settings["data"] == "own":
        own = own_points(settings["points"])
        X, value = own[:, :2], own[:, 2]
    elif settings["task"] == "numbers":
        X = rng.uniform(-SIDE, SIDE, (N_POINTS, 2))
        value = _surface(settings, X)
        value = value + settings["scatter"] * rng.standard_normal(len(X))
        value = np.clip(value, -1, 1)
    else:
        X, value = _classes(settings, rng)
        if settings["data"] != "formula":
            X = np.clip(X + settings["scatter"] * rng.standard_normal(X.shape), -SIDE, SIDE)
    held = np.zeros(len(X), bool)
    held[rng.permutation(len(X))[: round(settings["held"] * len(X))]] = True
    if settings["data"] == "own":
        held[:] = np.arange(len(X)) % 10 < round(10 * settings["held"])
    return Points(X, value, held)


def _classes(settings: dict[str, Any], rng: np.random.Generator) -> tuple[Numbers, Numbers]:
    """Positions and classes, -1 or 1."""
    n = N_POINTS // 2
    value = np.repeat([-1.0, 1.0], n)
    t = rng.uniform(0, 1, 2 * n)
    kind = settings["data"]
    if kind == "moons":
        angle = np.pi * t
        x = np.where(value < 0, np.cos(angle), 1 - np.cos(angle))
        y = np.where(value < 0, np.sin(angle), 0.5 - np.sin(angle))
        return np.c_[1.5 * (x - 0.5), 2 * (y - 0.25)], value
    if kind == "circles":
        radius = np.where(value < 0, 2.2, 0.9)
        return (radius * np.array([np.cos(2 * np.pi * t), np.sin(2 * np.pi * t)])).T, value
    if kind == "spirals":
        radius = 0.3 + 2.4 * np.sqrt(t)
        angle = 2.5 * np.pi * np.sqrt(t) + np.where(value < 0, 0, np.pi)
        return (radius * np.array([np.sin(angle), np.cos(angle)])).T, value
    if kind == "blobs":
        corner = rng.integers(0, 2, 2 * n) * 2 - 1.0
        centre = np.c_[1.4 * corner, 1.4 * corner * value]
        return centre + 0.4 * rng.standard_normal((2 * n, 2)), value
    X = rng.uniform(-SIDE, SIDE, (N_POINTS, 2))
    height = Formula(settings["formula"] or "sin(2*x)", ("x",))(x=X[:, 0])
    value = np.where(
        X[:, 1] + settings["scatter"] * rng.standard_normal(len(X)) > height, 1.0, -1.0
    )
    if np.ptp(value) == 0:
        side = "above" if value[0] > 0 else "below"
        raise PanelError(f"all points lie {side} the curve; choose a formula between -3 and 3")
    return X, value


def _surface(settings: dict[str, Any], X: Numbers) -> Numbers:
    """The values, (n,), of a regression, scaled into -1 ... 1."""
    x, y = X.T
    if settings["data"] == "slope":
        slope: Numbers = (x + y) / (2 * SIDE)
        return slope
    if settings["data"] == "hills":
        near = [((1.5, 1), 1), ((-1.5, 1.2), -1), ((-1, -1.5), 1), ((1.6, -1.4), -1)]
        return sum(
            (s * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 1.2) for (a, b), s in near),
            np.zeros(len(X)),
        )
    value = Formula(settings["formula"] or "sin(x)*cos(y)")(x=x, y=y)
    largest = float(np.abs(value).max())
    return value / largest if largest > 0 else value


def own_points(text: str) -> Numbers:
    """Points placed by hand, (n, 3), from "x y value; …" with numbers of at most two decimals.

    Raises
    ------
    PanelError
        A point that cannot be read, or too many.
    """
    found = []
    for place, each in enumerate(part for part in text.split(";") if part.strip()):
        numbers = each.split()
        try:
            x, y, value = map(float, numbers)
            fine = abs(x) <= SIDE and abs(y) <= SIDE and abs(value) <= 1
        except ValueError:
            fine = False
        if not fine:
            raise PanelError(
                f"point {place + 1} ({each.strip()[:30]!r}) must be x, y and a value, such as "
                f"0.5 -1 1, with x and y from -{SIDE:g} to {SIDE:g}"
            )
        found.append((x, y, value))
    if len(found) > MOST_OWN:
        raise PanelError(f"at most {MOST_OWN} points of your own can be placed")
    return np.array(found, np.float64).reshape(-1, 3)


def checked(state: dict[str, Any]) -> dict[str, Any]:
    """Settings of the right types and in range; those that are absent are the defaults.

    Parameters
    ----------
    state : dict
        As the page has it: numbers may be texts.

    Raises
    ------
    PanelError
        One is not known, or out of range; names it.
    """
    from chainrule.equations.optimizers import OPTIMIZERS

    found: dict[str, Any] = {**DEFAULTS, **{k: v for k, v in state.items() if k in DEFAULTS}}
    _choice(found, "task", ("classes", "numbers"))
    known = DATA if found["task"] == "classes" else REGRESSIONS
    if str(found["data"]) not in known and str(found["data"]) in (*DATA, *REGRESSIONS):
        found["data"] = next(iter(known))
    _choice(found, "data", known)
    _choice(found, "activation", elementwise())
    _choice(found, "solver", OPTIMIZERS)
    for name, low, high in (
        ("scatter", 0, 1),
        ("held", 0, 0.8),
        ("rate", 1e-6, 10),
        ("alpha", 0, 10),
        ("l1", 0, 10),
        ("dropout", 0, 0.9),
    ):
        found[name] = _number(found[name], name, low, high)
    for name, low, high in (("batch", 1, MOST_OWN), ("seed", 0, 2**31 - 1)):
        found[name] = int(_number(found[name], name, low, high))
    found["hidden"] = ",".join(map(str, widths(str(found["hidden"]))))
    found["formula"], found["points"] = str(found["formula"]), str(found["points"])
    return found


def elementwise() -> list[str]:
    """Names of the activations whose units do not depend on each other."""
    from chainrule.equations.activations import ACTIVATIONS

    return [name for name, one in ACTIVATIONS.items() if one.probabilities != "classes"]


def _choice(found: dict[str, Any], name: str, known: Any) -> None:
    if not isinstance(found[name], str) or found[name] not in known:
        raise PanelError(f"{name} must be one of {', '.join(known)}; got {str(found[name])[:40]!r}")


def _number(value: Any, name: str, low: float, high: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = np.nan
    if not low <= number <= high:
        raise PanelError(
            f"{name} must be a number from {low:g} to {high:g}; got {str(value)[:40]!r}"
        )
    return number


def widths(text: str) -> list[int]:
    """Units of the hidden layers, from "6,4".

    Raises
    ------
    PanelError
        Something is not a whole number, or there are too many.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and 1 <= int(part[:6]) <= WIDEST for part in parts):
        raise PanelError(f"hidden layers have 1 to {WIDEST} units each, written as 6,4")
    if len(parts) > DEEPEST:
        raise PanelError(f"the network can have {DEEPEST} hidden layers at most")
    return [int(part) for part in parts]


def grid(cells: int) -> Numbers:
    """The middles of cells x cells squares of the plane, row by row from the top, (cells², 2)."""
    middles = SIDE * (2 * (np.arange(cells) + 0.5) / cells - 1)
    x, y = np.meshgrid(middles, middles[::-1])
    return np.stack([x.ravel(), y.ravel()], axis=1)


class Plane(Panel):
    """A network that learns points in a plane, live.

    Messages: ``set {settings}`` makes points and network anew; ``play {}``, ``pause {}``;
    ``step {epochs}``; ``reset {}`` goes back to the starting values. It sends ``frame`` with the
    epoch, the losses and all pictures.
    """

    name = "plane"

    def __init__(self, session: Tab, state: dict[str, Any]) -> None:
        super().__init__(session, state)
        self._plays = False
        self._fine, self._coarse = grid(CELLS), grid(COARSE)
        self._sent = 0.0
        try:
            self._begin(checked(state))
        except PanelError as error:
            self._begin(dict(DEFAULTS))
            self.send("error", message=str(error))

    def handle(self, type: str, data: dict[str, Any]) -> dict[str, Any] | None:
        """Answer a message."""
        actions: dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
            "set": self._set,
            "play": self._play,
            "pause": self._pause,
            "step": self._step,
            "reset": lambda data: self._set(self.settings),
        }
        if type not in actions:
            return super().handle(type, data)
        return actions[type](data)

    def state(self) -> dict[str, Any]:
        """All that the page draws."""
        from chainrule.equations.optimizers import OPTIMIZERS

        points = self.points
        return {
            "settings": self.settings,
            "choices": {
                "data": DATA if self.settings["task"] == "classes" else REGRESSIONS,
                "activation": elementwise(),
                "solver": list(OPTIMIZERS),
            },
            "side": SIDE,
            "points": {
                "x": points.X[:, 0],
                "y": points.X[:, 1],
                "value": points.value,
                "held": points.held,
            },
            "frame": self._frame(),
            "plays": self._plays,
        }

    def _begin(self, settings: dict[str, Any]) -> None:
        """Make the points and an untrained network."""
        points = made_points(settings)
        self.settings, self.points = settings, points
        self.epoch = 0
        self._costs: tuple[list[tuple[int, float]], ...] = ([], [])
        self.model = self._new_model(settings["rate"])
        self._shown = self.model
        if self._can_learn():  # an estimator has no starting values before its first epoch
            self._shown = self._new_model(NO_RATE)
            self._fit(self._shown)

    def _new_model(self, rate: float) -> Any:
        from chainrule.estimators.classifier import MLPClassifier
        from chainrule.estimators.regressor import MLPRegressor

        one = self.settings
        kind = MLPClassifier if one["task"] == "classes" else MLPRegressor
        return kind(
            hidden_layer_sizes=widths(one["hidden"]),
            activation=one["activation"],
            solver=one["solver"],
            learning_rate_init=rate,
            batch_size=max(1, min(one["batch"], int((~self.points.held).sum()))),
            alpha=one["alpha"],
            l1=one["l1"],
            dropout=one["dropout"],
            standardize=False,
            random_state=one["seed"],
            engine="numpy",
        )

    def _can_learn(self) -> bool:
        """Whether there is something to learn: points, and of classes both."""
        values = self.points.value[~self.points.held]
        return len(values) > 1 and (
            self.settings["task"] == "numbers" or np.ptp(np.sign(values)) > 0
        )

    def _fit(self, model: Any) -> None:
        """Take an epoch."""
        X, y = self.points.X[~self.points.held], self.points.value[~self.points.held]
        if self.settings["task"] == "classes":
            y = (y > 0).astype(int)
            model.partial_fit(X, y, classes=[0, 1])
        else:
            model.partial_fit(X, y)

    def _set(self, data: dict[str, Any]) -> dict[str, Any]:
        settings = checked({**self.settings, **data})
        self._begin(settings)  # raises before anything has changed
        return self.state()

    def _play(self, data: dict[str, Any]) -> dict[str, Any]:
        if not self._can_learn():
            raise PanelError("place at least two points, of both classes, that are not held out")
        self._plays = True
        return {"plays": True}

    def _pause(self, data: dict[str, Any]) -> dict[str, Any]:
        self._plays = False
        return {"plays": False, "frame": self._frame()}

    def _step(self, data: dict[str, Any]) -> dict[str, Any]:
        epochs = int(_number(data.get("epochs", 1), "epochs", 1, 1000))
        if not self._can_learn():
            raise PanelError("place at least two points, of both classes, that are not held out")
        for _ in range(epochs):
            self._advance()
        return {"frame": self._frame()}

    def _advance(self) -> None:
        from chainrule.training.divergence import DivergenceError

        try:
            self._fit(self.model)
        except (DivergenceError, ValueError) as error:
            self._plays = False
            self.send("stopped")
            raise PanelError(f"{error} Take a smaller learning rate.") from None
        self._shown = self.model
        self.epoch += 1
        for kept, held in zip(self._costs, (False, True), strict=True):
            kept.append((self.epoch, self._loss(held)))
            if len(kept) > KEPT:  # every other one, so that the curve keeps its beginning
                del kept[1:-1:2]

    def work(self) -> bool:
        """Train for a moment, and send a picture if it is time."""
        if not self._plays:
            return False
        end = time.monotonic() + SLICE
        while time.monotonic() < end and self._plays:
            self._advance()
            if self.epoch >= LAST_EPOCH:
                self._plays = False
                self.send("stopped")
        now = time.monotonic()
        if now - self._sent >= FRAME or not self._plays:
            self._sent = now
            self.send_latest("frame", **self._frame())
        return self._plays

    def _outputs(self, X: Numbers) -> Numbers:
        """What the model says of positions: a number in about -1 ... 1 for each."""
        if not hasattr(self._shown, "coefs_"):
            return np.zeros(len(X))
        if self.settings["task"] == "classes":
            said: Numbers = 2 * self._shown.predict_proba(X)[:, 1] - 1
            return said
        return np.asarray(self._shown.predict(X), np.float64)

    def _loss(self, held: bool) -> float:
        """Log-loss, or half the mean squared error, of one part of the points."""
        part = self.points.held == held
        if not part.any() or not hasattr(self._shown, "coefs_"):
            return float("nan")
        said, value = self._outputs(self.points.X[part]), self.points.value[part]
        if self.settings["task"] == "numbers":
            return float(((said - value) ** 2).mean() / 2)
        right = np.clip((1 + said * value) / 2, 1e-12, 1)
        return float(-np.log(right).mean())

    def _right(self, held: bool) -> list[int] | None:
        """How many points of a part are on the right side, and of how many."""
        part = self.points.held == held
        if self.settings["task"] == "numbers" or not part.any():
            return None
        said, value = self._outputs(self.points.X[part]), self.points.value[part]
        return [int((np.sign(said) == value).sum()), int(part.sum())]

    def _frame(self) -> dict[str, Any]:
        """The pictures: whole numbers from -100 to 100, row by row from the top."""
        layers: list[Any] = []
        weights: list[Any] = []
        biases: list[Any] = []
        if hasattr(self._shown, "coefs_"):
            from chainrule.explain.models import model_network

            network, _ = model_network(self._shown)
            batch = network.forward(self._coarse)
            for l in network.weight_layers()[:-1]:
                low, high = network.activations[l].range
                if np.isfinite([low, high]).all():
                    middle, most = (low + high) / 2, (high - low) / 2
                else:
                    middle, most = 0.0, 1.0
                layers.append([_picture(column - middle, most) for column in batch.a[l].T])
            weights = list(self._shown.coefs_)
            biases = list(self._shown.intercepts_)
        return {
            "epoch": self.epoch,
            "loss": self._loss(False),
            "held_loss": self._loss(True),
            "right": self._right(False),
            "held_right": self._right(True),
            "output": np.clip(100 * self._outputs(self._fine), -100, 100).round().astype(int),
            "layers": layers,
            "weights": weights,
            "biases": biases,
            "curves": list(self._costs),
        }


def _picture(a: Numbers, most: float) -> NDArray[np.int64]:
    """Activations as whole numbers: 100 is `most`, or the largest if that is more."""
    largest = max(most, float(np.abs(a).max()))
    found: NDArray[np.int64] = (100 * a / largest).round().astype(np.int64)
    return found
