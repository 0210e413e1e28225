"""
What a network has learned
==========================

Its activations and its weights, drawn; where its cost lies around its parameters; and which columns
it needs.
"""

from sklearn.datasets import load_wine
from sklearn.inspection import PartialDependenceDisplay
from sklearn.model_selection import train_test_split

import chainrule

X, y = load_wine(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
model = chainrule.MLPClassifier((6,), "tanh", learning_rate_init=0.02, random_state=0)
model.fit(X_train, y_train)
print(chainrule.summary(model))

# %%
# The network with its weights: solid lines are above 0, dashed ones below.

chainrule.NetworkDisplay.from_estimator(model)

# %%
# What its hidden units say on rows that it has not seen. Half of the activations are near -1 or 1,
# where tanh is flat.

chainrule.ActivationsDisplay.from_estimator(model, X_test)

# %%
# By how much the accuracy falls where a column is shuffled; the lines span the five repeats.

chainrule.ImportanceDisplay.from_estimator(model, X_test, y_test)

# %%
# How the probability of the first class depends on the two columns that count most, by
# scikit-learn's display, which takes our models as they are.

PartialDependenceDisplay.from_estimator(model, X_train, ["proline", "alcohol"], target=0)

# %%
# The cost in the plane of two directions through the parameters. The network is at the cross, at
# the bottom of a valley.

chainrule.LossLandscapeDisplay.from_estimator(model, X_train, y_train, span=0.6, points=31)
