"""The panel "Train and watch": a run of `chainrule digits`, batch by batch, and what it does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.app.code import code_of
from chainrule.app.health import DeadUnits, thin
from chainrule.app.looking import PICTURES, Look, Numbers, Snapshots, look
from chainrule.app.panel import Panel, PanelError, Tab

if TYPE_CHECKING:
    from chainrule.digits.recipes import Recipe

WIDEST, DEEPEST = 512, 6  # hidden layers
SLICE, FRAME = 0.02, 1 / 30  # seconds of training at a time, and between two pictures
LAST_EPOCH = 10_000

# (lowest, highest) of what is a number.
RANGES: dict[str, tuple[float, float]] = {
    "learning_rate": (1e-6, 100),
    "epochs": (1, LAST_EPOCH),
    "batch_size": (1, 1437),
    "validation": (0, 1000),
    "clip": (0.1, 100),
    "l2": (0, 10),
    "l1": (0, 10),
    "dropout": (0, 0.9),
    "seed": (0, 2**31 - 1),
}
WHOLE = ("epochs", "batch_size", "validation", "seed")
CURVES = ("epoch", "loss", "test_loss", "right", "test_right")
DISTORTED = ("off", "on")  # as the recipe "best" does
NONE = "none"  # what the page says for None
LABELS = {
    "recipe": "the recipe",
    "activation": "the activation",
    "output_activation": "the output's activation",
    "loss": "the cost",
    "init": "the initialiser",
    "optimizer": "the optimiser",
    "learning_rate": "the learning rate",
    "epochs": "epochs",
    "batch_size": "the batch size",
    "validation": "rows held back",
    "clip": "the clip",
    "distortion": "the distortion",
    "l2": "the L2 penalty",
    "l1": "the L1 penalty",
    "dropout": "the dropout",
    "seed": "the seed",
}


class Setting(NamedTuple):
    """What is trained: a recipe with changes, a seed, and the changes alone as texts."""

    recipe: Recipe
    seed: int
    changes: dict[str, str]


def choices() -> dict[str, list[str]]:
    """What can be chosen, from the library's tables."""
    from chainrule.digits.recipes import BOTH, ONE_HOT_LOSSES
    from chainrule.equations.activations import ACTIVATIONS
    from chainrule.equations.initializers import INITIALIZERS
    from chainrule.equations.optimizers import OPTIMIZERS

    return {
        "recipe": [recipe.name for recipe in BOTH],
        "activation": list(ACTIVATIONS),
        "output_activation": list(ACTIVATIONS),
        "loss": list(ONE_HOT_LOSSES),
        "init": list(INITIALIZERS),
        "optimizer": list(OPTIMIZERS),
        "distortion": list(DISTORTED),
    }


def checked(state: dict[str, Any]) -> Setting:
    """The settings of an address or of the page.

    Parameters
    ----------
    state : dict
        By the names of :class:`~chainrule.digits.recipes.Recipe`; numbers may be texts. What is
        absent is as in the recipe that is named.

    Raises
    ------
    PanelError
        One is not known, or out of range; names it.
    """
    from chainrule.digits.recipes import ARTICLE, BEST, RECIPES, override

    known = choices()
    given: dict[str, Any] = {}
    for name, value in state.items():
        if name in known:
            if not isinstance(value, str) or value not in known[name]:
                raise PanelError(
                    f"{LABELS[name]} must be one of {', '.join(known[name])}; "
                    f"got {str(value)[:40]!r}"
                )
            given[name] = value
        elif name == "clip" and value == NONE:
            given[name] = None
        elif name in RANGES:
            given[name] = _number(LABELS[name], value, *RANGES[name], name in WHOLE)
        elif name == "hidden":
            given[name] = _widths(str(value))
    if "distortion" in given:
        given["distortion"] = BEST.distortion if given["distortion"] == "on" else None
    base = RECIPES[given.pop("recipe", ARTICLE.name)]
    seed = given.pop("seed", 0)
    recipe = override(base, **given)
    if "clip" in given:
        recipe = recipe._replace(clip=given["clip"])
    # Only what differs from what the recipe would have without it.
    changes = {}
    for name, value in given.items():
        others = {key: one for key, one in given.items() if key != name}
        if getattr(override(base, **others), name) != value:
            changes[name] = _text(value)
    if base is not ARTICLE:
        changes["recipe"] = base.name
    if seed:
        changes["seed"] = str(seed)
    return Setting(recipe, seed, changes)


def _text(value: Any) -> str:
    """A value as the page has it."""
    from chainrule.training.distortions import ImageDistortion

    if value is None:
        return NONE
    if isinstance(value, ImageDistortion):
        return "on"
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or NONE
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _number(label: str, value: Any, low: float, high: float, is_whole: bool) -> float | int:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = np.nan
    if not low <= number <= high or (is_whole and number != int(number)):
        raise PanelError(
            f"{label} must be a {'whole ' * is_whole}number from {low:g} to {high:.10g}; "
            f"got {str(value)[:40]!r}"
        )
    return int(number) if is_whole else number


def _widths(text: str) -> tuple[int, ...]:
    """Units of the hidden layers, from "100,50"."""
    parts = [part.strip() for part in text.split(",") if part.strip() not in ("", NONE)]
    if len(parts) > DEEPEST:
        raise PanelError(f"there is room for {DEEPEST} hidden layers; got {len(parts)}")
    for part in parts:
        if not (part.isascii() and part.isdecimal() and 1 <= int(part[:6]) <= WIDEST):
            raise PanelError(
                f"hidden layers have 1 to {WIDEST} units each, written as 100,50; got {part[:40]!r}"
            )
    return tuple(map(int, parts))


class Train(Panel):
    """A network that learns to read digits, live.

    Messages: ``set {settings}`` begins anew with other settings; ``play {}``, ``pause {}``;
    ``step {of: "epoch" or "batch"}``; ``reset {}``; ``look {epoch}`` shows an earlier epoch. It
    sends ``frame`` with all that is drawn, and ``stopped``.
    """

    name = "train"

    def __init__(self, session: Tab, state: dict[str, Any]) -> None:
        super().__init__(session, state)
        from chainrule.digits.recipes import load

        self._digits = load()
        self._sent = 0.0
        try:
            self._begin(checked(state))
        except PanelError as error:
            self._begin(checked({}))
            self.send("error", message=str(error))

    def handle(self, type: str, data: dict[str, Any]) -> dict[str, Any] | None:
        """Answer a message."""
        actions: dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
            "set": self._set,
            "play": self._play,
            "pause": self._pause,
            "step": self._step,
            "reset": self._reset,
            "look": self._look,
        }
        if type not in actions:
            return super().handle(type, data)
        return actions[type](data)

    def state(self) -> dict[str, Any]:
        """All that the page draws."""
        recipe = self.setting.recipe
        names = ("hidden", *choices(), *RANGES)
        values = {
            name: _text(getattr(recipe, name)) for name in names if name not in ("recipe", "seed")
        }
        values |= {"recipe": recipe.name, "seed": str(self.setting.seed)}
        values["distortion"] = "on" if recipe.distortion else "off"
        values["output_activation"] = self.network.activations[self.network.L].name
        return {
            "settings": values,
            "changes": self.setting.changes,
            "choices": choices(),
            "sizes": self._plain.sizes,
            "images": PICTURES,
            "frame": self._frame(),
            "plays": self._plays,
        }

    def _begin(self, setting: Setting) -> None:
        """Make an untrained network; nothing has changed if that fails."""
        from chainrule.digits.runs import Run
        from chainrule.equations.optimizers import OPTIMIZERS
        from chainrule.equations.regularizers import Rules
        from chainrule.explain.models import without_random_layers
        from chainrule.training.augmentation import Augmentation
        from chainrule.training.descent import Descent
        from chainrule.training.executable import step_seconds
        from chainrule.training.train import numbers_of

        recipe = setting.recipe
        try:
            run = Run(recipe, self._digits, setting.seed)
            optimizer = OPTIMIZERS[recipe.optimizer]
            numbers = numbers_of(optimizer, recipe.learning_rate, None)
            network, m = run.result.network, min(recipe.batch_size, len(run.X))
            augmentation = None
            if recipe.distortion is not None:  # the seed is drawn as `train` draws it
                augmentation = Augmentation(recipe.distortion, int(run.rng.integers(2**31 - 1)))
            rules = Rules(l2=recipe.l2, l1=recipe.l1)
            descent = Descent(
                network, optimizer, numbers, m, "numpy", rules, augmentation=augmentation
            )
        except ValueError as error:
            raise PanelError(" ".join(str(error).split())) from None
        self.setting, self.run, self.network, self._descent = setting, run, network, descent
        self._plain = without_random_layers(network)
        self._batches = -(-len(run.X) // m)
        self._at_once = max(1, int(SLICE / 8 / step_seconds(network, m)))
        self._plays = False
        self.epoch, self.batch, self._sum = 0, 0, 0.0
        self._last = setting.recipe.epochs
        self._cost: float | None = None
        self._dead = DeadUnits()
        self._curves: list[list[float]] = []
        self._snapshots = Snapshots(network.theta.nbytes)
        self._best: tuple[float, int, Numbers] | None = None
        self._note()

    # --- messages ---------------------------------------------------------------------------------

    def _set(self, data: dict[str, Any]) -> dict[str, Any]:
        changes = dict(self.setting.changes)
        if "recipe" in data:  # its own numbers, but the same seed
            changes = {name: changes[name] for name in ("seed",) if name in changes}
        if "loss" in data:
            changes.pop("output_activation", None)
        if "optimizer" in data:
            changes.pop("learning_rate", None)
        self._begin(checked({**changes, **data}))
        return self.state()

    def _reset(self, data: dict[str, Any]) -> dict[str, Any]:
        self._begin(self.setting)
        return self.state()

    def _play(self, data: dict[str, Any]) -> dict[str, Any]:
        if self.epoch >= self._last:  # the recipe is done, and one wants to see more
            self._last = LAST_EPOCH
        if self.epoch >= LAST_EPOCH:
            raise PanelError(f"{LAST_EPOCH} epochs are the most; start again")
        self._plays = True
        return {"plays": True}

    def _pause(self, data: dict[str, Any]) -> dict[str, Any]:
        self._plays = False
        return {"plays": False, "frame": self._frame()}

    def _step(self, data: dict[str, Any]) -> dict[str, Any]:
        if data.get("of", "epoch") not in ("epoch", "batch"):
            raise PanelError(f"a step is an epoch or a batch; got {str(data['of'])[:40]!r}")
        if self.epoch >= LAST_EPOCH:
            raise PanelError(f"{LAST_EPOCH} epochs are the most; start again")
        self._plays = False
        if data.get("of") == "batch":
            self._advance(1)
        else:
            self._advance(self._batches - self.batch)
        return {"plays": False, "frame": self._frame()}

    def _look(self, data: dict[str, Any]) -> dict[str, Any]:
        self._plays = False
        epoch = int(_number("the epoch", data.get("epoch"), 0, LAST_EPOCH, True))
        found, theta = self._snapshots.near(epoch)
        if self._best is not None and self._best[1] == epoch:
            found, theta = epoch, self._best[2]
        return {"plays": False, "frame": self._frame(self._look_at(theta), found)}

    # --- training ---------------------------------------------------------------------------------

    def work(self) -> bool:
        """Train for a moment, and send a picture if it is time."""
        if not self._plays:
            return False
        due = self._sent + FRAME
        end = min(time.monotonic() + SLICE, max(due, time.monotonic() + SLICE / 4))
        while self._plays and time.monotonic() < end and not self.session.waits():
            self._advance(min(self._at_once, self._batches - self.batch))
            if self.epoch >= self._last:
                self._plays = False
                self.send("stopped")
        now = time.monotonic()
        if now >= due or not self._plays:
            self._sent = max(due, now - FRAME)  # so that late pictures do not make fewer
            # Looking costs some batches, so it is done between epochs alone.
            self.send_latest("frame", **self._frame(self._seen))
        return self._plays

    def _advance(self, batches: int) -> None:
        """Take the steps of some batches, and note the epoch if it is over."""
        from chainrule.training.samples import draw_order

        run, descent, m = self.run, self._descent, self._descent.m
        if self.batch == 0:
            descent.keep()
            self._rng_state = run.rng.bit_generator.state
            self._order = draw_order(True, len(run.X), run.X[0].nbytes, m, run.rng)
            self._sum = 0.0
        rows = self._order[self.batch * m : (self.batch + batches) * m]
        self._sum += descent.epoch(run.X, run.Y, rows)
        self.batch += batches
        if not (np.isfinite(self._sum) and np.isfinite(self.network.theta).all()):
            self._diverge()
        if self.batch == self._batches:
            descent.complete = True
            self.epoch, self.batch = self.epoch + 1, 0
            self._cost = self._sum / len(run.X)
            self._note()

    def _diverge(self) -> None:
        """Go back to the start of the epoch, and say what became of it."""
        from chainrule.training.divergence import explain

        run = self.run
        error = explain(self._descent, run.X, run.Y, self._order, self.epoch)
        self._descent.restore()
        run.rng.bit_generator.state = self._rng_state
        self.batch, self._plays = 0, False
        self.send("stopped")
        self.send_latest("frame", **self._frame())
        raise PanelError(str(error))

    def _note(self) -> None:
        """Look at the network at the end of an epoch, and keep what is seen."""
        run = self.run
        seen = self._look_at(self.network.theta)
        if len(run.X_held):
            cost = self.network.cost(run.X_held, run.Y_held)
            if self._best is None or (self.epoch and cost < self._best[0]) or self._best[1] == 0:
                self._best = cost, self.epoch, self.network.theta.copy()
        self._dead.note(self.epoch, seen.dead)
        numbers = (seen.numbers[name] for name in CURVES[1:])
        self._curves.append([self.epoch, *numbers, *seen.numbers["gradient"]])
        thin(self._curves)
        self._snapshots.add(self.epoch, self.network.theta)
        self._seen = seen

    def _look_at(self, theta: Numbers) -> Look:
        """See the network, as it predicts, with some parameters."""
        self._plain.theta[:] = theta
        return look(self._plain, self.run.data, self.run.X, self.run.Y)

    def _frame(self, seen: Look | None = None, epoch: int | None = None) -> dict[str, Any]:
        """The pictures of the network as it is, or of an earlier epoch."""
        recipe = self.setting.recipe
        if seen is None:
            seen = self._look_at(self.network.theta) if self.batch else self._seen
        held = self._best
        curves = np.array(self._curves, np.float64).T
        return {
            **seen.numbers,
            "epoch": self.epoch if epoch is None else epoch,
            "last": self.epoch,
            "is_past": epoch is not None and (epoch != self.epoch or self.batch > 0),
            "batch": 0 if epoch is not None else self.batch,
            "batches": self._batches,
            "planned": recipe.epochs,
            "cost": self._cost,
            "best": None if held is None or not held[1] else held[1],
            "events": self._dead.events,
            "kept": self._snapshots.epochs,
            "curves": dict(zip(CURVES, curves, strict=False)),
            "gradients": curves[len(CURVES) :],
            "code": code_of(recipe, self.setting.seed, self.epoch or recipe.epochs),
        }
