"""
From a table to ONNX
====================

A data frame with numbers, words and gaps; one pipeline; a file that runs without chainrule.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
import pandas as pd

from chainrule import export, tabular_pipeline

rng = np.random.default_rng(0)
n = 600
frame = pd.DataFrame(
    {
        "mass": rng.normal(4200, 800, n).round(),
        "island": rng.choice(["Biscoe", "Dream", "Torgersen"], n),
        "flipper": rng.normal(200, 14, n).round(1),
    }
)
score = (frame["mass"] - 4200) / 800 + (frame["island"] == "Dream") - rng.normal(0.3, 0.4, n)
frame.loc[::11, "flipper"] = np.nan
species = np.where(score > 0, "Gentoo", "Adelie")

model = tabular_pipeline("classification", model="network", random_state=0)
model.fit(frame[:450], species[:450])
print(f"accuracy on rows not learnt: {model.score(frame[450:], species[450:]):.3f}")

# %%
# The file is checked against the model before it is written.

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "penguins.onnx"
    export(model, path, sample=frame)
    session = onnxruntime.InferenceSession(str(path))

new = frame[450:]
given = {
    each.name: (
        new[[each.name]].to_numpy(object)
        if "string" in each.type
        else new[[each.name]].to_numpy(np.float64 if "double" in each.type else np.float32)
    )
    for each in session.get_inputs()
}
outputs = session.run(None, given)
theirs = next(out for out in outputs if getattr(out, "ndim", 0) == 2 and out.shape[1] == 2)

ours = model.predict_proba(new)
figure, axes = plt.subplots(figsize=(4, 3.6))
axes.plot(ours[:, 1], theirs[:, 1], ".")
axes.set(xlabel="chainrule", ylabel="ONNX Runtime", title="probability of Gentoo", aspect="equal")
print(f"largest difference: {np.abs(ours - theirs).max():.1e}")
