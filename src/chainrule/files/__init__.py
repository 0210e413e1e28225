"""Model files: one file without pickle, read without running anything in it; states to resume from.

Begin with `persistence`, which has `save` and `load`. `container` lays out the file, `encoding`
writes values as JSON and arrays, `fitted` turns estimators into such values and back (`ensembles`
those for tables), `trusted` does so for transformers of scikit-learn and skrub. `resuming` stores
the state of a running fit; `inspection` describes a file to people.
"""
