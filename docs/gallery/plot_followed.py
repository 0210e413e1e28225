"""
A training followed
===================

A ``Recorder`` keeps the gradient of each layer and the weights of some epochs, while the network
trains. By default it takes at most 4 % of the time or 0.03 seconds, and leaves epochs out; here it
keeps them all.
"""

from sklearn.datasets import make_moons

import chainrule

X, y = make_moons(200, noise=0.15, random_state=0)
recorder = chainrule.Recorder(X, y, budget=None)
model = chainrule.MLPClassifier(
    (16, 16), max_iter=500, learning_rate_init=0.02, random_state=0, callbacks=[recorder]
)
model.fit(X, y)

# %%
# The boundary at several epochs:

chainrule.DecisionBoundaryDisplay.from_estimator(model, X, y)

# %%
# The length of each layer's gradient. Where that of the first layers falls far below that of the
# last one, the gradient vanishes.

chainrule.GradientFlowDisplay.from_estimator(model)

# %%
# The same as a film: ``chainrule.animate(model, "moons.gif", X=X, y=y)``, or .mp4, or .html.
