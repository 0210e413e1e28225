"""
Train from a table that need not fit into memory
================================================

``memmap_table`` writes the numbers of a Parquet, Arrow or CSV file once as arrays that are read
from where they lie on the disk. ``shuffle="blocks"`` reads each part of them once an epoch.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from chainrule import MLPRegressor, memmap_table

rng = np.random.default_rng(0)
n = 60_000
X = rng.normal(size=(n, 8)).astype(np.float32)
y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=n)

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "large.parquet"
    pd.DataFrame(X, columns=[f"x{i}" for i in range(8)]).assign(y=y).to_parquet(path)

    rows = memmap_table(path, Path(folder) / "rows", target="y")
    print(type(rows.X).__name__, rows.X.shape, rows.X.dtype)

    model = MLPRegressor(
        hidden_layer_sizes=(32,), shuffle="blocks", early_stopping=True, max_iter=30, tol=1e-3,
        n_iter_no_change=3, engine="numpy", random_state=0,
    )  # fmt: skip
    model.fit(rows.X, rows.y)

figure, axes = plt.subplots()
axes.plot(model.loss_curve_)
axes.set(xlabel="epoch", ylabel="loss", yscale="log")
