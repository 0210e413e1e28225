"""
A mean, and how far off it may be
=================================

``loss="gaussian"`` learns the mean and the standard deviation of a normal target.
"""

import matplotlib.pyplot as plt
import numpy as np

from chainrule import MLPRegressor

rng = np.random.default_rng(0)
x = rng.uniform(0, 10, (3000, 1))
y = np.sin(x[:, 0]) + (0.1 + 0.05 * x[:, 0]) * rng.normal(size=3000)

model = MLPRegressor("gaussian", early_stopping=True, random_state=0).fit(x, y)
grid = np.linspace(0, 10, 200)[:, None]
mean, deviation = model.predict(grid, return_std=True)

figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.2))
left.plot(x[::4], y[::4], ".", color="0.6", markersize=2.5)
left.plot(grid, mean, color="C0")
left.fill_between(grid[:, 0], mean - 2 * deviation, mean + 2 * deviation, color="C0", alpha=0.3)
left.set(xlabel="x", ylabel="y", title="mean, and twice the deviation")
right.plot(grid, deviation, label="learnt")
right.plot(grid, 0.1 + 0.05 * grid, "--", label="the truth")
right.set(xlabel="x", ylabel="deviation", ylim=0)
right.legend(frameon=False)
