"""
The article's network learns digits
===================================

64 inputs, 100 hidden units, 10 outputs, ReLU in both layers, squared error, one step of gradient
descent for every ten digits.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from chainrule import Network, WeightsDisplay, train

# %%
# The first 1437 digits are learnt, the other 360 are kept for the test. The outputs are compared
# with a 1 for the digit and a 0 for each of the others.

X, digit = load_digits(return_X_y=True)
n = 1437
deviation = X[:n].std(axis=0)
X = (X - X[:n].mean(axis=0)) / np.where(deviation > 0, deviation, 1)
Y = np.eye(10)[digit]

network = Network((64, 100, 10), output_activation="relu", init="uniform", seed=0)
right = []


def test(network, epoch):
    said = np.abs(network.predict(X[n:]) - 1).argmin(axis=1)
    right.append((said == digit[n:]).mean())


history = train(network, X[:n], Y[:n], epochs=20, learning_rate=0.01, seed=0, callback=test)
print(history)

# %%
# The cost falls in every epoch. The accuracy stays below what such a network can do: see
# :doc:`why two runs in five lose a digit <plot_lost_class>`.

figure, (left, middle) = plt.subplots(1, 2, figsize=(7, 3))
left.plot([epoch.cost for epoch in history.epochs])
left.set(xlabel="epoch", ylabel="cost", ylim=0)
middle.plot(right, color="C1")
middle.set(xlabel="epoch", ylabel="accuracy on the test digits", ylim=(0, 1))

# %%
# What the first hidden units look at: their weights, as images, dark below 0 and light above. The
# starting values are all positive, which leaves its mark.

WeightsDisplay.from_estimator(network, shape=(8, 8))
