"""
What a pixel would change
=========================

Backpropagation need not end at the first weights. One more step of BP2 gives the derivative of an
output by each pixel.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from chainrule import InputGradientDisplay, Network, train

X, digit = load_digits(return_X_y=True)
X = X / 16
network = Network((64, 64, 10), activation="tanh", loss="cross_entropy", seed=0)
train(network, X[:1437], np.eye(10)[digit[:1437]], epochs=15, learning_rate=0.1, seed=0)

# %%
# delta of the output is 1 at the output that is asked for. Each layer takes it back, as BP2 says:
# through its weights, then through the derivative of the activation below.


def by_pixel(x, output):
    batch = network.forward(x[None])
    delta = np.eye(10)[[output]]  # the derivative of z of that output by the z of the last layer
    below = delta @ network.W[2].T
    delta = below * (1 - batch.a[1] ** 2)  # tanh' = 1 - a^2
    return (delta @ network.W[1].T).reshape(8, 8)


rows = [np.flatnonzero(digit[1437:] == d)[0] + 1437 for d in (0, 3, 4, 7, 8)]
figure, axes = plt.subplots(2, 5, figsize=(7.2, 3.1))
for column, row in enumerate(rows):
    slope = by_pixel(X[row], digit[row])
    most = np.abs(slope).max()
    axes[0, column].imshow(X[row].reshape(8, 8), cmap="gray_r")
    axes[0, column].set(title=f"{digit[row]}", xticks=[], yticks=[])
    axes[1, column].imshow(slope, cmap="PuOr", vmin=-most, vmax=most)
    axes[1, column].set(xticks=[], yticks=[])
axes[1, 0].set_ylabel("by pixel")

# %%
# Central differences agree:

x, step = X[rows[1]], 1e-5
up, down = x + step * np.eye(64), x - step * np.eye(64)
slopes = (network.forward(up).z[2][:, 3] - network.forward(down).z[2][:, 3]) / (2 * step)
print(f"largest difference: {np.abs(slopes - by_pixel(x, 3).ravel()).max():.1e}")

# %%
# ``InputGradientDisplay`` does the same for any model and draws image and derivative beside each
# other.

InputGradientDisplay.from_estimator(network, X[rows[2]], output=4)
