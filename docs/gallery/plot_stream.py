"""
Learn from a stream
===================

``partial_fit`` goes through each block of rows once. Halfway the data change, and the model
follows.
"""

import matplotlib.pyplot as plt
import numpy as np

from chainrule import MLPClassifier

rng = np.random.default_rng(0)


def block(turned, n=200):
    X = rng.normal(size=(n, 2))
    angle = np.arctan2(X[:, 1], X[:, 0]) + turned
    return X, (np.sin(2 * angle) > 0).astype(int)


model = MLPClassifier((32,), learning_rate_init=0.01, batch_size=20, random_state=0)
accuracy = []
for i in range(60):
    X, y = block(turned=0 if i < 30 else np.pi / 4)
    if i > 0:
        accuracy.append(model.score(X, y))  # before it learns from them
    model.partial_fit(X, y, classes=[0, 1])

figure, axes = plt.subplots()
axes.plot(range(1, 60), accuracy)
axes.axvline(30, color="C1", linestyle="--", label="the data change")
axes.axhline(0.5, color="0.6", linewidth=0.8)
axes.set(xlabel="block of 200 rows", ylabel="accuracy on rows not seen yet", ylim=(0.4, 1))
axes.legend(frameon=False)
