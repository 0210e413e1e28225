"""The Python code that repeats a training of the page: to copy, to run, to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chainrule.digits.recipes import Recipe

CODE = """\
import numpy as np
from sklearn.datasets import load_digits

import chainrule

pixels, labels = load_digits(return_X_y=True)
n = len(pixels) - {n_test}  # the last rows are the test set
{inputs}Y = np.eye(10)[labels]
rows = n{held}

rng = np.random.default_rng({seed})
{layers}network = chainrule.Network(
    {sizes},
    activation={activation!r},
{kinds}    output_activation={output!r},
    loss={loss!r},
    init={init!r},
    seed=rng,
)
costs, right = [], []  # of each epoch


def look(network, epoch):
    said = np.abs(network.forward(X[n:]).a[-1] - 1).argmin(axis=1)
    costs.append(epoch.cost)
    right.append(int((said == labels[n:]).sum()))
    print(f"epoch {{len(costs)}}: cost {{costs[-1]:.6g}}, {{right[-1]}} of {{len(said)}} right")


chainrule.train(
    network,
    X[:rows],
    Y[:rows],
    epochs={epochs},
    batch_size={batch_size},
    optimizer={optimizer!r},
    learning_rate={rate!r},
{penalties}    seed=rng,
    engine="numpy",
{augment}    callback=look,
)
"""

STANDARDIZED = """\
mean, deviation = pixels[:n].mean(axis=0), pixels[:n].std(axis=0)
varies = deviation > 0
X = np.where(varies, (pixels - mean) / np.where(varies, deviation, 1), 0)
"""

DROPOUT = """\
affine = chainrule.layers.AFFINE
dropout = [chainrule.layers.dropout({rate!r}, int(rng.integers(2**31 - 1))) for _ in range({n})]
"""


def code_of(recipe: Recipe, seed: int, epochs: int) -> str:
    """Code of the public names of chainrule that trains as the page does, to the same numbers.

    Parameters
    ----------
    recipe : Recipe
        Of one network.
    seed, epochs : int
    """
    from chainrule.digits.recipes import N_CLASSES, N_TEST

    hidden, kinds, layers = recipe.hidden, "", ""
    activation: str | list[str] = recipe.activation
    if recipe.dropout and hidden:
        layers = DROPOUT.format(rate=recipe.dropout, n=len(hidden))
        each = "".join(f"affine, dropout[{k}], " for k in range(len(hidden)))
        kinds = f"    layers=[{each}affine],\n"
        activation = [recipe.activation, "identity"] * len(hidden)
        hidden = tuple(n for n in hidden for _ in range(2))
    penalties = "".join(
        f"    {name}={value!r},\n"
        for name, value in (("l2", recipe.l2), ("l1", recipe.l1))
        if value
    )
    inputs, augment = STANDARDIZED, ""
    if recipe.clip:
        inputs += f"X = np.clip(X, -{recipe.clip!r}, {recipe.clip!r})\n"
    if recipe.distortion is not None:
        inputs = "X = pixels / 16\n"
        augment = f"    augment=chainrule.distortions.{recipe.distortion!r},\n"
    return CODE.format(
        n_test=N_TEST,
        inputs=inputs,
        augment=augment,
        held=f" - {recipe.validation}  # the others are held back" if recipe.validation else "",
        seed=seed,
        layers=layers,
        sizes=(64, *hidden, N_CLASSES),
        activation=activation,
        kinds=kinds,
        output=recipe.output_activation,
        loss=recipe.loss,
        init=recipe.init,
        epochs=epochs,
        batch_size=recipe.batch_size,
        optimizer=recipe.optimizer,
        rate=recipe.learning_rate,
        penalties=penalties,
    )
