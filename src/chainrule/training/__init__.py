"""From a batch to an epoch to a fit.

Begin with `train`, then `descent`, which holds what a run of steps needs, and `plan`, which cuts a
step into parts that cores can share. `samples` draws the order of the rows, `lr_finder` looks for a
learning rate, `warmup` and `ahead` compile in advance.
"""
