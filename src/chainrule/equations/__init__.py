"""What stands on paper: the equations of the network, in plain NumPy.

Begin with `backprop`, a page: the forward pass and the equations BP1 to BP4 of docs/derivation.md.
Then `activations`, `losses` and `layers`, which it calls; `initializers`, `optimizers`,
`regularizers` and `schedules`; `vecmath` holds the array functions that these are written in.
`domains` holds intervals of numbers, `expressions` what formulas for exported programs are
written in; `components` says how those made by a function are pickled. Nothing here knows threads,
files or compilers.
"""
