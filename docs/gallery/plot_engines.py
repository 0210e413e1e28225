"""
Two engines, one source
=======================

The same functions run as plain Python and compiled. Here both train the same network, and the
difference between their parameters is that of rounding.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from chainrule import Network, train

X, digit = load_digits(return_X_y=True)
X, Y = X / 16, np.eye(10)[digit]

figure, axes = plt.subplots()
for dtype in ("float32", "float64"):
    start = Network((64, 50, 10), loss="cross_entropy", dtype=dtype, seed=0)
    kept = {}
    for engine in ("numpy", "numba"):
        network, kept[engine] = start.copy(), []
        train(
            network,
            X,
            Y,
            epochs=8,
            optimizer="adam",
            engine=engine,
            seed=0,
            callback=lambda network, epoch, kept=kept[engine]: kept.append(network.theta.copy()),
        )
    apart = [
        np.abs(a - b).max() / np.abs(a).max()
        for a, b in zip(kept["numpy"], kept["numba"], strict=True)
    ]
    axes.semilogy(range(1, 9), apart, "o-", label=dtype)
    axes.axhline(np.finfo(dtype).eps, color="0.7", linewidth=0.8)
axes.set(xlabel="epoch", ylabel="largest difference, relative", title="engine numpy and numba")
axes.legend(frameon=False)
