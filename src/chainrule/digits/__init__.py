"""scikit-learn's digits: the data, recipes for learning to read them, and runs of these.

Begin with :mod:`chainrule.digits.recipes`, which has the data and the recipes, and
:mod:`chainrule.digits.runs`, which follows one. `joining` makes one network of several, `diagnosis`
says which finding holds a network back, and which options to change. Nothing here prints or draws.
"""
