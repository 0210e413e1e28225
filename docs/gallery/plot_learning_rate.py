"""
Find a learning rate
====================

The rate grows from step to step, and the loss says when it is too much.
"""

from sklearn.datasets import load_digits

from chainrule import LRFinderDisplay, MLPClassifier

X, y = load_digits(return_X_y=True)
model = MLPClassifier((100,), random_state=0)
found = model.find_learning_rate(X, y)
print(f"suggested: {found.suggestion:.2g}")
LRFinderDisplay.from_finder(found)
