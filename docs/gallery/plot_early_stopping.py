"""
Stop early on your own rows, in a Pipeline
==========================================

Where rows belong together (patients, days), choose the validation rows yourself. Metadata routing
takes them to the last step, and ``transform_input`` through the scaler.
"""

import matplotlib.pyplot as plt
import sklearn
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from chainrule import MLPClassifier

X, y = load_breast_cancer(return_X_y=True)
X_train, X_val, y_train, y_val = train_test_split(X, y, stratify=y, random_state=0)

with sklearn.config_context(enable_metadata_routing=True):
    mlp = MLPClassifier(early_stopping=True, scoring="loss", random_state=0)
    mlp.set_fit_request(X_val=True, y_val=True)
    pipe = Pipeline([("scale", StandardScaler()), ("mlp", mlp)], transform_input=["X_val"])
    pipe.fit(X_train, y_train, X_val=X_val, y_val=y_val)

# %%
# The parameters that are kept are those of the best epoch, not of the last.

fitted = pipe["mlp"]
best = fitted.best_iteration_ - 1
figure, axes = plt.subplots()
axes.plot(fitted.loss_curve_, label="training")
axes.plot(fitted.validation_loss_curve_, label="validation")
axes.plot(best, fitted.validation_loss_curve_[best], "o", color="C2", label="kept")
axes.set(xlabel="epoch", ylabel="loss", yscale="log")
axes.legend(frameon=False)
