"""
Backpropagation with all its numbers
====================================

``trace`` takes a network of any kind, here plain arrays, and puts the numbers into the equations.
"""

import matplotlib.pyplot as plt
import numpy as np

import chainrule

W1, b1 = [[0.5, 0.3], [0.25, -0.4]], [0.2, 0.1]
W2, b2 = [[0.5, 0.1], [0.7, 0.3]], [0.1, 0.3]
t = chainrule.trace([(W1, b1), (W2, b2)], [1.0, 2.0], [1.0, 0.0], activation="relu")
print(t)

# %%
# The same numbers as arrays, by layer: what goes forward, and what comes back.

largest = max(np.abs(each).max() for each in (*t.a, *t.delta[1:]))
figure, axes = plt.subplots(2, 3, figsize=(6, 2.6))
for l in range(3):
    for row, (name, values) in enumerate((("a", t.a), ("δ", t.delta))):
        each = axes[row, l]
        if row and not l:
            each.axis("off")
            continue
        each.imshow(values[l], cmap="PuOr", vmin=-largest, vmax=largest)
        for j, value in enumerate(values[l][0]):
            each.text(j, 0, f"{value:.3g}", ha="center", va="center")
        each.set(xticks=[], yticks=[], title=f"{name}[{l}]")
