"""Training on a Dask cluster, for tables that are larger than one machine.

Begin with `estimators`. `collections` takes Dask's arrays and data frames apart into partitions;
`partitions` is what is done once with each of them, on the workers; `rounds` is what the workers
do again and again: steps from the same parameters, and their average. `training` is what the
client does. For raw tables in files, `files` is what the workers do; `sides` says what each row is
for, by what `splits` finds; `passes` is what the client has the workers do, and `fitting` makes the
preprocessing of what they found.
"""

from __future__ import annotations

try:
    import dask
    import distributed
except ImportError as error:
    raise ImportError(
        'chainrule.dask needs dask and distributed: pip install "chainrule[dask]"'
    ) from error

from chainrule.dask.estimators import DaskMLPClassifier, DaskMLPRegressor

__all__ = ["DaskMLPClassifier", "DaskMLPRegressor"]

del dask, distributed
