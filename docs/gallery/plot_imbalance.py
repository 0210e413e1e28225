"""
When one class is rare
======================

One row in twenty is of class 1. ``class_weight="balanced"`` gives each class the same weight.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import make_classification
from sklearn.metrics import PrecisionRecallDisplay, recall_score
from sklearn.model_selection import train_test_split

from chainrule import MLPClassifier

X, y = make_classification(2000, 10, n_informative=5, weights=[0.95], random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

figure, axes = plt.subplots(figsize=(5, 4))
for weight in (None, "balanced"):
    model = MLPClassifier(class_weight=weight, max_iter=500, tol=1e-3, random_state=0)
    model.fit(X_train, y_train)
    found = recall_score(y_test, model.predict(X_test))
    print(f"class_weight={weight!r}: {found:.0%} of the rare class are found")
    PrecisionRecallDisplay.from_estimator(
        model, X_test, y_test, ax=axes, name=f"class_weight={weight!r}"
    )
axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1))

# %%
# The curves say what the weights do and do not: they move the threshold, and hardly improve the
# order in which rows are ranked. If you need probabilities, train without weights and choose the
# threshold.
