"""
XOR and two spirals
===================

What a network takes for what, drawn over the plane.
"""

import matplotlib.pyplot as plt
import numpy as np

from chainrule import MLPClassifier

rng = np.random.default_rng(0)


def xor(n=300):
    X = rng.uniform(-1, 1, (n, 2))
    return X, (X[:, 0] * X[:, 1] > 0).astype(int)


def spirals(n=400):
    y = np.arange(n) % 2
    turn = np.sqrt(rng.uniform(0.02, 1, n)) * 3 * np.pi
    angle = turn + y * np.pi
    X = np.column_stack([turn * np.cos(angle), turn * np.sin(angle)]) / 10
    return X + rng.normal(0, 0.02, (n, 2)), y


def draw(axes, model, X, y, title):
    side = np.abs(X).max() * 1.15
    u, v = np.meshgrid(np.linspace(-side, side, 150), np.linspace(-side, side, 150))
    p = model.predict_proba(np.column_stack([u.ravel(), v.ravel()]))[:, 1].reshape(u.shape)
    axes.contourf(u, v, p, levels=np.linspace(0, 1, 11), cmap="cividis", alpha=0.75)
    axes.contour(u, v, p, levels=[0.5], colors="white", linewidths=1.5)
    for k, marker in ((0, "o"), (1, "^")):
        axes.plot(*X[y == k].T, marker, markersize=3, markeredgecolor="black", markeredgewidth=0.4)
    axes.set(title=title, xticks=[], yticks=[], aspect="equal")


# %%
# A network without a hidden layer can only draw a straight line, and XOR has none. Eight hidden
# units are enough.

X, y = xor()
options = {"activation": "tanh", "learning_rate_init": 0.02, "max_iter": 1000, "random_state": 0}
figure, axes = plt.subplots(1, 2, figsize=(7, 3.4))
for each, hidden in zip(axes, [(), (8,)], strict=True):
    model = MLPClassifier(hidden, tol=1e-3, **options).fit(X, y)
    draw(each, model, X, y, f"hidden layers {hidden}: {model.score(X, y):.0%} right")

# %%
# Two spirals, over the epochs of one training.

X, y = spirals()
figure, axes = plt.subplots(1, 3, figsize=(7.5, 2.9))
model = MLPClassifier((32, 32), "tanh", learning_rate_init=0.01, random_state=0)
for each, epochs in zip(axes, [10, 90, 300], strict=True):
    model.partial_fit(X, y, classes=[0, 1], n_epochs=epochs)
    draw(each, model, X, y, f"epoch {len(model.loss_curve_)}: {model.score(X, y):.0%}")
