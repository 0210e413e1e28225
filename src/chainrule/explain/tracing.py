"""One batch through the whole of forward and backward, kept for reading: `trace`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chainrule.base.validation import look_up
from chainrule.equations.optimizers import OPTIMIZERS, Optimizer
from chainrule.explain.models import check_nothing_given, last_step, numbers_given, view
from chainrule.explain.numbers import Numbers, Step
from chainrule.network.checking import check_optimizer


class Trace(Numbers):
    """What :func:`trace` found; print it to read it.

    Attributes
    ----------
    a, z, delta : lists of arrays by layer
        a^l, z^l and δ^l = ∂C/∂z^l, (m, n_l). Entry 0 belongs to the input: a[0] is what the
        network receives, z[0] and delta[0] are None. δ is already divided by m.
    nabla_W, nabla_b : lists of arrays by layer
        ∂C/∂W^l and ∂C/∂b^l. Entry 0, and layers without parameters, are None.
    W, b : lists of arrays by layer
        Parameters before the step; None where there are none.
    new_W, new_b : lists of arrays by layer
        Parameters after the step.
    y : (m, n_targets) array
        Targets as the loss accepts them.
    costs : (m,) array
        Cost of each row.
    cost, new_cost : float
        Mean over the rows, before and after the step.
    optimizer : str
    hyper : dict of str to float
        Its numbers, the learning rate first.
    network : chainrule.Network
        A copy, before the step.
    sizes, L, m : tuple of int, int, int
        Widths, layers, rows.
    input_names, output_names : lists of str
        Of columns and of output units.
    """

    def steps(self) -> Iterator[Step]:
        """Yield each equation in turn: the input, forward, the cost, BP1 to BP4, the update.

        Yields
        ------
        Step
        """
        from chainrule.explain.worked import steps_of

        return steps_of(self)

    def __str__(self) -> str:
        from chainrule.explain.worked import as_text

        return as_text(self)

    def __repr__(self) -> str:
        rows = "1 row" if self.m == 1 else f"{self.m} rows"
        return f"<Trace of {rows} through {self.sizes}: cost {self.cost:.6g}>"

    def to_html(self) -> str:
        """Return the worked example as one page of HTML that needs nothing else.

        Returns
        -------
        str
            Everything that comes from the data is escaped.
        """
        from chainrule.explain.rendering import html_page

        return html_page(self)

    def _repr_html_(self) -> str:
        from chainrule.explain.rendering import html_fragment

        return html_fragment(self)

    def to_latex(self) -> str:
        """Return the worked example as LaTeX, to be put into a document that loads amsmath.

        Returns
        -------
        str
            Everything that comes from the data is escaped.
        """
        from chainrule.explain.rendering import latex

        return latex(self)


def trace(
    model: Any,
    X: Any,
    y: Any,
    *,
    optimizer: str | Optimizer | None = None,
    learning_rate: float | None = None,
    activation: Any = None,
    output_activation: Any = None,
    loss: Any = None,
) -> Trace:
    """Follow one sample, or a batch, through forward and backward and keep every number.

    Parameters
    ----------
    model : Network, estimator, Pipeline, or list of (W, b) pairs
        A network; a fitted `MLPClassifier` or `MLPRegressor`, of chainrule or of scikit-learn; a
        fitted `TabularClassifier` or `TabularRegressor`, of which one network is followed; a
        pipeline that ends in one of these; or the weights of each layer as arrays,
        W^l (n_{l-1}, n_l) and b^l (n_l,). It is not changed.
    X : (m, n_features) array-like or data frame, or one row
        As the model's own `predict` accepts it; the steps of a pipeline are applied.
    y : (m,) or (m, n_targets) array-like, or one label or number
        As the model's own `fit` accepts it: labels, numbers, several targets. A network accepts
        (m, n_targets), or numbers of classes, which become rows of 0 and 1.
    optimizer : str or Optimizer, optional
        Of the update. Default: the estimator's own; "sgd" for a network, for arrays, for one
        network of an ensemble, and for an estimator that was fitted by L-BFGS, which has no steps
        of this kind.
    learning_rate : float, optional
        Default: the estimator's, or else the optimiser's own.
    activation, output_activation, loss : str, Activation or Loss, optional
        For weights given as arrays, as for :class:`chainrule.Network`.

    Returns
    -------
    Trace
        Lists `a`, `z`, `delta`, `nabla_W`, `nabla_b` by layer, `cost`, the update. `print` shows
        the numbers put into the equations; `steps()` goes through them one by one.

    Raises
    ------
    TypeError, ValueError
        The model is none of these; or names, columns, shapes, labels do not fit; or an ensemble
        predicts without networks.
    sklearn.exceptions.NotFittedError
        The model is not fitted.

    Notes
    -----
    The network is the one that predicts: dropout and noise are off, batch normalisation uses its
    running averages, and W^1 and W^L are `coefs_`, in which the standardisation of inputs and
    target is folded. So the cost of a regression is in the units of y, and a sum over the targets.
    The update is the first step of the optimiser, from empty memory, on the gradient of the cost
    alone: penalties, weight decay and clipping are left out.

    Of an ensemble it is the first network of the part that counts most in the blend. Its inputs
    are the encoded columns, before the factors and the centring that W^1 and b^1 contain; it is
    computed in float64. A target of numbers is standardised, so the cost is too. The blend, its
    temperature, and the clipping of predicted numbers to the range of the target come after it.
    The ensemble itself was trained by Adam, with a rate for each kind of parameter, on factors and
    layers that its networks may share; these have no place in the weights of one network, so the
    step that is shown is plain gradient descent.

    Examples
    --------
    >>> import chainrule
    >>> t = chainrule.trace([([[0.5], [-1.0]], [0.25])], [1.0, 2.0], [0.0], learning_rate=0.1)
    >>> t.cost
    0.78125
    >>> for step in t.steps():
    ...     if step.equation == "BP4":
    ...         print(step)
    BP4  ∇W¹ = (a⁰)ᵀ δ¹   shape (2, 1)
      ∇W¹[0, 0] = 1·(−1.25) = −1.25
      ∇W¹[1, 0] = 2·(−1.25) = −2.5
    """
    if y is None:
        raise ValueError("y is None: the cost and the gradients need the targets of these rows")
    given = {"activation": activation, "output_activation": output_activation, "loss": loss}
    last = last_step(model)
    if hasattr(last, "oof_importances") and not isinstance(last, type):
        from chainrule.explain.members import view_member

        check_nothing_given(given)
        seen = view_member(model, last, X, y)
    else:
        seen = view(model, X, y, **given)
    chosen, numbers = seen.optimizer, dict(seen.hyper)
    if optimizer is not None:
        chosen = look_up("optimizer", optimizer, OPTIMIZERS)
        if OPTIMIZERS.get(chosen.name) is not chosen:
            check_optimizer(chosen)
        numbers = dict(chosen.hyper)
    return Trace(seen, chosen, numbers_given(chosen, numbers, learning_rate))
