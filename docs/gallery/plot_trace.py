"""
Backpropagation with all its numbers
====================================

``trace`` takes a network of any kind, here plain arrays, and puts the numbers into the equations.
"""

import chainrule

W1, b1 = [[0.5, 0.3], [0.25, -0.4]], [0.2, 0.1]
W2, b2 = [[0.5, 0.1], [0.7, 0.3]], [0.1, 0.3]
t = chainrule.trace([(W1, b1), (W2, b2)], [1.0, 2.0], [1.0, 0.0], activation="relu")
print(t)

# %%
# Each equation as a picture, its matrices side by side. Light cells are above 0, dark ones below.
# The way forward, through the first layer:

chainrule.EquationDisplay.from_trace(t, "forward", layer=1)

# %%
# BP1, the error of the output:

# sphinx_gallery_thumbnail_number = 2
chainrule.EquationDisplay.from_trace(t, "BP1")

# %%
# BP2, by which it goes back. The second hidden unit is off: its derivative is 0, and nothing passes
# it.

chainrule.EquationDisplay.from_trace(t, "BP2")

# %%
# BP4, the gradient of the weights of the first layer:

chainrule.EquationDisplay.from_trace(t, "BP4", layer=1)
