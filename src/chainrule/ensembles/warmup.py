"""Compiling ahead, for containers and continuous integration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from chainrule.base.validation import float_dtype
from chainrule.engine import compilation
from chainrule.engine.roles import ROLES
from chainrule.ensembles.loop import DTYPE, compiled_steps
from chainrule.ensembles.prediction_lookups import compiled_look_up
from chainrule.equations.activations import ACTIVATIONS
from chainrule.equations.layers import LAYERS
from chainrule.equations.losses import FUSED, LOSSES
from chainrule.equations.optimizers import OPTIMIZERS
from chainrule.equations.regularizers import RULES
from chainrule.training import ahead, kernel
from chainrule.training.arguments import ARGUMENTS


def warm_up(
    dtypes: Sequence[DTypeLike] = (np.float32, np.float64),
    *,
    components: Sequence[Any] = (),
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Compile whatever a network or an ensemble may consist of, so that no training waits for it.

    What is in the cache folder already is not compiled again.

    Parameters
    ----------
    dtypes : sequence of dtype, default both
    components : sequence of Activation, Loss, Layer or Optimizer
        Components of your own, which are compiled in addition to the built-in ones.
    progress : callable (done, total) -> None, optional
        Called before each function and at the end.

    Returns
    -------
    int
        How many functions are ready.

    Raises
    ------
    CompilationError
        A component of your own cannot be compiled.
    """
    tables = (ACTIVATIONS, LOSSES, FUSED, LAYERS, OPTIMIZERS)
    wanted: dict[tuple[Any, str], None] = {}
    every = [*(component for table in tables for component in table.values()), *components]
    every += [component.statistics for component in every if getattr(component, "statistics", None)]
    for component in every:
        for field in component._fields:
            role = "f_pullback" if field == "pullback" and hasattr(component, "f") else field
            fn = getattr(component, field)
            if role in ROLES and fn is not None:
                wanted[fn, role] = None
    for rule in RULES:
        wanted[rule, rule.__name__] = None
    kinds = [float_dtype(dtype) for dtype in dtypes]
    of_ensembles: list[Callable[[], Any]] = []
    if DTYPE in kinds:
        of_ensembles = [lambda: compiled_steps(DTYPE), compiled_look_up]
    total = len(kinds) * (len(wanted) + 1) + len(of_ensembles)
    done = 0
    for kind in kinds:
        with ahead.compiling_descend(kind):
            for fn, role in wanted:
                if progress is not None:
                    progress(done, total)
                compilation.address(fn, role, kind)
                done += 1
        if progress is not None:
            progress(done, total)
        compilation.compiled(kernel.descend_epochs, ARGUMENTS, kind)
        done += 1
    for compile_one in of_ensembles:
        if progress is not None:
            progress(done, total)
        compile_one()
        done += 1
    if progress is not None:
        progress(done, total)
    return done
