"""Fits by L-BFGS: SciPy's method on all rows at once, with costs and gradients of ours."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from scipy import sparse

from chainrule.base.types import Array
from chainrule.base.validation import warn_user
from chainrule.equations.regularizers import add_penalty_gradient, penalty
from chainrule.estimators.epochs import NON_FINITE, Watch
from chainrule.estimators.magnitudes import largest_of
from chainrule.monitoring.callbacks import running
from chainrule.network.backpropagation import Backpropagation
from chainrule.network.network import Network
from chainrule.training.descent import Descent
from chainrule.training.samples import Samples


def run_lbfgs(
    est: Any,
    descent: Descent,
    samples: Samples,
    validation: Any,
    iterations: int,
    incremental: bool,
    given: tuple[Any, Any, Any],
) -> Descent:
    """Minimise over all of the data by SciPy's L-BFGS-B, in float64."""
    from scipy.optimize import minimize
    from sklearn.utils.optimize import _check_optimize_result

    work = descent.network.copy(np.float64)
    X, Y, weight = samples.counting()
    X = (X.toarray() if sparse.issparse(X) else X).astype(np.float64, copy=False)
    Y = Y.astype(np.float64, copy=False)
    n, rules = len(X), descent.rules
    w = np.ones(n) if weight is None else weight.astype(np.float64)
    mass = float(w.sum())
    share = (w * (rules.error_scale / mass))[:, np.newaxis]
    all_rows = work.backpropagation(n, share=share)
    begun: list[bool] = []

    def objective(theta: Array) -> tuple[float, Array]:
        work.theta[:] = theta
        costs = all_rows.forward(X, Y)
        nabla = all_rows.backward(Y)
        total = rules.cost_scale * float(w @ costs)
        for l in work.weight_layers():
            total += penalty(work.W[l], rules.l2, rules.l1)
            add_penalty_gradient(work.W[l], rules.l2 / mass, rules.l1 / mass, all_rows.nabla_W[l])
        # SciPy's search steps back from a cost that is not finite, but cannot begin with one.
        if not begun and not (np.isfinite(total) and np.isfinite(nabla).all()):
            raise ValueError(_no_beginning(work, all_rows, X, Y))
        begun.append(True)
        return total / mass, nabla.copy()

    watch = Watch(est, descent, validation, iterations, given)
    clock = [time.perf_counter()]
    est.n_iter_ = 0

    def iteration(intermediate_result: Any) -> None:
        with np.errstate(over="ignore"):  # float32 overflows earlier; checked at the end
            descent.network.theta[:] = intermediate_result.x
            descent.nabla[:] = all_rows.nabla
        est.n_iter_ += 1
        est.t_ += n
        now = time.perf_counter()
        loss, seconds = float(intermediate_result.fun), now - clock[0]
        row = watch.record(descent, descent.nabla, loss, math.nan, seconds)
        row["learning_rate"] = None
        clock[0] = now
        stop = est.early_stopping and watch.out_of_patience()
        if watch.call_callbacks(descent, row) or watch.overtime() or stop:
            raise StopIteration

    if est.compat == "sklearn":
        watch.verbose = 0
    with running(watch.callbacks, est) as watch.epoch_end:
        try:
            result = minimize(
                objective,
                work.theta.copy(),
                method="L-BFGS-B",
                jac=True,
                callback=iteration,
                options={"maxfun": est.max_fun, "maxiter": iterations, "gtol": est.tol},
            )
            if result.status == 2 and result.nit == 0 and (large := largest_of(X, Y, np.arange(n))):
                raise ValueError(
                    f"{NON_FINITE} (solver='lbfgs' finds no step that lowers the cost: {large}. "
                    "Scale the inputs and targets to about 1)"
                )
            if result.status != 99:  # 99: a callback stopped it
                est.n_iter_ = _check_optimize_result("lbfgs", result, iterations)
            est.loss_ = float(result.fun)
            descent.network.theta[:] = result.x
        except KeyboardInterrupt:
            warn_user("Training interrupted by user.")
        finally:
            watch.finish(descent)
    return descent


def _no_beginning(network: Network, all_rows: Backpropagation, X: Array, Y: Array) -> str:
    """Why L-BFGS cannot begin: where numbers are not finite, and the numbers behind it."""
    places: list[tuple[str, Array]] = []
    batch, costs, nabla = all_rows.batch, all_rows.costs, all_rows.nabla
    for l in range(1, network.L + 1):
        places += [(f"z of layer {l}", batch.z[l]), (f"a of layer {l}", batch.a[l])]
    places.append((f"the cost of layer {network.L}", costs))
    for place, values in places:
        bad = ~np.isfinite(values.reshape(len(X), -1)).all(axis=1)
        if bad.any():
            what, row = place, int(bad.argmax())
            break
    else:
        what = "the sum of the costs"
        row = int(np.abs(costs).argmax())
        if not np.isfinite(nabla).all():
            l, kind, _ = network.locate(int(np.argmin(np.isfinite(nabla))))
            what = f"the gradient of {kind} of layer {l}"
            row = int(np.abs(X).max(axis=1).argmax())
    column, target = int(np.abs(X[row]).argmax()), int(np.abs(Y[row]).argmax())
    return (
        f"{NON_FINITE} (solver='lbfgs' cannot begin: {what} is not finite, by row {row}, whose "
        f"largest input is {X[row, column]:g}, in column {column}, and whose target is "
        f"{Y[row, target]:g}. Scale the inputs and targets to about 1)"
    )
