"""Ensembles of small networks for tables: k of them trained in one batch, cross-fitted.

They learn from encoded columns that are never formed (:mod:`chainrule.equations.columns`), and
each leaves a fold of the rows out, so that every row has an honest prediction. `encoding` makes the
columns, `blending` weighs several models of the same rows, `conformal` gives intervals and sets.
"""
