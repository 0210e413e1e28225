"""
Bands that cover what they promise
==================================

A quantile network predicts several quantiles at once; by the construction of its output layer they
never cross.
"""

import matplotlib.pyplot as plt
import numpy as np

from chainrule import MLPRegressor

rng = np.random.default_rng(0)
x = rng.uniform(0, 10, (4000, 1))
y = np.sin(x[:, 0]) + (0.1 + 0.05 * x[:, 0]) * rng.normal(size=4000)

levels = [0.05, 0.25, 0.5, 0.75, 0.95]
model = MLPRegressor("quantile", quantile=levels, early_stopping=True, random_state=0)
model.fit(x[:3000], y[:3000])

# %%
# How many of the rows that were not learnt lie below each quantile.

below = (y[3000:, None] <= model.predict(x[3000:])).mean(axis=0)
for level, share in zip(levels, below, strict=True):
    print(f"{level:.2f} asked, {share:.3f} found")

# %%
# The bands are wide where the noise is.

grid = np.linspace(0, 10, 300)[:, None]
low, quarter, middle, three_quarters, high = model.predict(grid).T
figure, axes = plt.subplots()
axes.plot(x[3000:], y[3000:], ".", color="0.6", markersize=2.5)
axes.fill_between(grid[:, 0], low, high, alpha=0.25, color="C0", label="90 %")
axes.fill_between(grid[:, 0], quarter, three_quarters, alpha=0.4, color="C0", label="50 %")
axes.plot(grid, middle, color="C0")
axes.legend(frameon=False)
axes.set(xlabel="x", ylabel="y")
