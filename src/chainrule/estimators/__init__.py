"""The network as scikit-learn's estimators.

Begin with `classifier` and `regressor`, whose docstrings describe every parameter. `parameters`
checks these, `fitting` prepares a fit, `epochs` or `lbfgs` goes through it, `prediction` uses what
was learnt. `multioutput` takes several class targets, `tabular` builds a pipeline for data frames.
"""
