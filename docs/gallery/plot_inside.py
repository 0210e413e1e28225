"""
What a network has learned
==========================

Its activations and its weights, drawn; where its cost lies around its parameters; and which columns
it needs.
"""

from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

import chainrule

X, y = load_wine(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
model = chainrule.MLPClassifier((6,), "tanh", learning_rate_init=0.02, random_state=0)
model.fit(X_train, y_train)
print(chainrule.summary(model))

# %%
chainrule.NetworkDisplay.from_estimator(model)

# %%
chainrule.ActivationsDisplay.from_estimator(model, X_test)

# %%
chainrule.ImportanceDisplay.from_estimator(model, X_test, y_test)

# %%
chainrule.LossLandscapeDisplay.from_estimator(model, X_train, y_train)
