"""
The modern recipe, on the same digits
=====================================

Softmax with cross-entropy, He's starting values, Adam, and rows held out to decide when to stop.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split

from chainrule import LossCurveDisplay, MLPClassifier

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
model = MLPClassifier((100,), early_stopping=True, scoring="loss", random_state=0)
model.fit(X_train, y_train)
print(f"accuracy on the test digits: {model.score(X_test, y_test):.3f}")

# %%
# The loss of the rows held out decides which epoch's parameters are kept.

LossCurveDisplay.from_estimator(model)

# %%
# What was taken for what.

figure, axes = plt.subplots(figsize=(4.4, 4))
ConfusionMatrixDisplay.from_estimator(
    model, X_test, y_test, ax=axes, colorbar=False, cmap="cividis"
)
axes.set(xlabel="taken for", ylabel="digit")
