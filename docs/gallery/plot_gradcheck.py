"""
A slip in a gradient, found
===========================

scikit-learn's regressor with several targets takes steps that are as many times too long as there
are targets: its loss is a mean over the targets, its gradient a sum. Central differences say so.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn import neural_network

import chainrule

rng = np.random.default_rng(0)
X = rng.normal(size=(50, 4))
one_step = {"solver": "sgd", "momentum": 0, "alpha": 0, "batch_size": 50, "max_iter": 1}


def step(estimator, Y, **options):
    """The gradient by the last biases, from how far they move in one step."""
    biases = []
    for rate in (1e-12, 1e-3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one epoch is no convergence
            model = estimator(learning_rate_init=rate, random_state=0, **one_step, **options)
            biases.append(model.fit(X, Y).intercepts_[-1])
    return (biases[0] - biases[1]) / 1e-3


# %%
# The ratio of scikit-learn's step to ours, by the number of targets.

targets = [1, 2, 3, 4, 6, 8]
ratios = []
for k in targets:
    Y = rng.normal(size=(50, k))
    Y = Y[:, 0] if k == 1 else Y
    theirs = step(neural_network.MLPRegressor, Y)
    ours = step(chainrule.MLPRegressor, Y, standardize=False)
    ratios.append(np.median(theirs / ours))

figure, axes = plt.subplots(figsize=(5, 3.4))
axes.plot(targets, ratios, "o-", label="scikit-learn")
axes.plot(targets, np.ones(len(targets)), "--", label="the derivative of the loss")
axes.set(xlabel="targets", ylabel="length of the step", ylim=0)
axes.legend(frameon=False)

# %%
# Ours is the derivative of the loss that is reported: ``gradcheck`` compares every parameter's with
# differences of the cost.

network = chainrule.Network((4, 10, 3), activation="tanh", seed=0)
print(chainrule.gradcheck(network, X[:20], rng.normal(size=(20, 3))))
