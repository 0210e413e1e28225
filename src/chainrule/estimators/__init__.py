"""The network as scikit-learn's estimators.

Begin with `classifier` and `regressor`, whose docstrings describe every parameter. `parameters`
checks these, `fitting` prepares a fit, `epochs` or `lbfgs` goes through it, `prediction` uses what
was learnt. `labels` holds what classes need, `multioutput` handles several class targets, `tabular`
makes a pipeline for data frames, which `cleaning` begins. `tabular_classifier` and
`tabular_regressor` blend ensembles for raw tables: `raw_columns` reads these, `tabular_ensemble`
does what both share.
"""
