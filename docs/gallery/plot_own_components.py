"""
An activation and a loss of your own
====================================

Both are pairs of plain functions: a value and a derivative. Before the first epoch the derivative
is compared with central differences.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes

from chainrule import Activation, DerivativeError, Loss, MLPRegressor


def softsign(z, a):
    a[:] = z / (1 + np.abs(z))


def pullback_with_a_slip(z, a, delta):
    delta *= 1 / (1 + np.abs(z))  # the square is missing


def pullback(z, a, delta):
    delta *= 1 / (1 + np.abs(z)) ** 2


# %%
# The slip is found, with its place, and nothing is trained.

X, y = load_diabetes(return_X_y=True)
y = (y - y.mean()) / y.std()
try:
    wrong = Activation("softsign", softsign, pullback_with_a_slip)
    MLPRegressor(activation=wrong, random_state=0).fit(X, y)
except DerivativeError as error:
    print(error)

# %%
# A loss for which too little costs three times as much as too much.


def cost(z, a, y, c):
    r = y - a
    c[:] = np.sum(np.where(r > 0, 3 * r * r, r * r), axis=1)


def delta(z, a, y, d):
    r = y - a
    d[:] = np.where(r > 0, -6 * r, -2 * r)


options = {"activation": Activation("softsign", softsign, pullback), "early_stopping": True}
even = MLPRegressor(random_state=0, **options).fit(X, y)
cautious = MLPRegressor(Loss("cautious", cost, delta), random_state=0, **options).fit(X, y)

figure, axes = plt.subplots(figsize=(5, 3.6))
places = np.linspace(-3, 3, 40)
for model, name in ((even, "squared error"), (cautious, "the cautious loss")):
    axes.hist(y - model.predict(X), places, histtype="step", linewidth=1.5, label=name)
axes.axvline(0, color="0.5", linewidth=0.8)
axes.set(xlabel="target minus prediction", ylabel="rows")
axes.legend(frameon=False)
