"""The numbers of a trace put into its equations, line by line, in plain text.

Small values are worked out in full; of large ones the entries that are largest, with the terms
that count most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from chainrule.base.types import Array
from chainrule.explain.numbers import Numbers, Step, clean
from chainrule.network.network import Network

IN_FULL = 16  # entries of a value of which every one is worked out
TERMS = 6  # of a sum that is written out
LARGEST = 3  # entries of a larger value, terms of a longer sum
SUPER = str.maketrans("0123456789-lLT", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻ˡᴸᵀ")
# Targets, outputs and terms by name of the costs whose numbers are put in.
PLAIN_LOSSES = ("squared_error", "cross_entropy", "binary_cross_entropy")


def sup(l: int) -> str:
    """Return a layer's number as it stands on a letter."""
    return str(l).translate(SUPER)


def number(x: float) -> str:
    """Return a number in four figures, with a true minus sign."""
    value = float(x)
    text = f"{value:.4g}" if value else "0"
    return text.replace("-", "−")


def factor(x: float) -> str:
    """Return a number within a product or after a sign."""
    text = number(x)
    return f"({text})" if text.startswith("−") else text


def entry(symbol: str, index: tuple[int, ...]) -> str:
    """Return an entry as Python finds it, such as z¹[0, 2]."""
    return f"{symbol}[{', '.join(map(str, index))}]"


def chosen(value: Array) -> tuple[list[tuple[int, ...]], bool]:
    """Return (indices that are worked out, whether these are all)."""
    if value.size <= IN_FULL:
        return list(np.ndindex(value.shape)), True
    order = np.argsort(-np.abs(value), axis=None, kind="stable")[:LARGEST]
    return [tuple(int(i) for i in np.unravel_index(k, value.shape)) for k in order], False


def sum_of_products(x: Array, y: Array) -> str:
    """Return Σ x y, term by term; of many the largest, and the sum of the rest."""
    return _sum(x * y, lambda i, first: f"{number(x[i]) if first else factor(x[i])}·{factor(y[i])}")


def plain_sum(x: Array) -> str:
    """Return Σ x, term by term; of many the largest, and the sum of the rest."""
    return _sum(x, lambda i, first: number(x[i]) if first else factor(x[i]))


def _sum(values: Array, term: Callable[[int, bool], str]) -> str:
    if len(values) <= TERMS:
        return " + ".join(term(i, i == 0) for i in range(len(values)))
    order = np.argsort(-np.abs(values), kind="stable")
    few = max(1, min(LARGEST, int(np.count_nonzero(values))))
    largest, others = sorted(order[:few].tolist()), order[few:]
    shown = " + ".join(term(i, k == 0) for k, i in enumerate(largest))
    return f"{shown} + {factor(float(values[others].sum()))} from {len(others)} more terms"


def _said(function: Any, otherwise: str) -> str:
    """Return the first line of a function's docstring, which is its formula."""
    lines = (getattr(function, "__doc__", None) or "").strip().splitlines()
    return lines[0].rstrip(".").strip() if lines else otherwise


def slopes(network: Network, l: int, z: Array, a: Array) -> Array | None:
    """Return σ′(z^l), entry by entry; None if an output depends on more than its own z."""
    pullback = network.activations[l].pullback
    ones: Array = np.ones_like(z)
    probe: Array = np.random.default_rng(0).uniform(0.5, 1.5, z.shape).astype(z.dtype)
    back = probe.copy()
    with np.errstate(all="ignore"):
        pullback(z, a, ones)
        pullback(z, a, back)
    alone = np.allclose(back, probe * ones, rtol=1e-3, atol=1e-6, equal_nan=True)
    return ones if alone else None


def steps_of(t: Numbers) -> Iterator[Step]:
    """Yield each equation of a trace in turn."""
    yield _input(t)
    for l in range(1, t.L + 1):
        yield _weighted(t, l)
        yield _activated(t, l)
    yield _cost(t)
    yield _output_error(t)
    for l in range(t.L - 1, 0, -1):
        yield _backward(t, l)
    for l in range(1, t.L + 1):
        if t.nabla_b[l] is not None:
            yield _gradient_of_biases(t, l)
        if t.nabla_W[l] is not None:
            yield _gradient_of_weights(t, l)
    for l in range(1, t.L + 1):
        for kind in ("W", "b"):
            if getattr(t, kind)[l] is not None:
                yield _update(t, l, kind)


def _step(
    name: str,
    symbol: str,
    layer: int,
    equation: str,
    formula: str,
    value: Any,
    right: Any = None,
) -> Step:
    """A step whose worked lines have `right(index)` between the entry and its value."""
    indices, complete = chosen(np.asarray(value))
    lines = []
    for index in indices:
        middle = right(index) if right is not None else ""
        end = f" = {number(value[index])}"
        lines.append(entry(symbol, index) + (f" = {middle}" if middle else "") + end)
    return Step(name, symbol, layer, equation, formula, value, tuple(lines), complete)


def _input(t: Numbers) -> Step:
    names = t.input_names if len(t.input_names) == t.sizes[0] else [""] * t.sizes[0]
    indices, complete = chosen(t.a[0])
    lines = tuple(
        f"{entry('a⁰', i)} = {number(t.a[0][i])}" + (f"   {names[i[1]]}" if names[i[1]] else "")
        for i in indices
    )
    rows = "the row" if t.m == 1 else f"the {t.m} rows"
    return Step(
        f"{rows} as the network takes {'it' if t.m == 1 else 'them'}",
        "a⁰",
        0,
        "input",
        "a⁰ = X",
        t.a[0],
        lines,
        complete,
    )


def is_affine(t: Numbers, l: int) -> bool:
    """Whether layer l is a matrix product."""
    return t.network.layers[l].name == "affine"


def _weighted(t: Numbers, l: int) -> Step:
    layer, below, W, b = t.network.layers[l], t.a[l - 1], t.W[l], t.b[l]
    if not is_affine(t, l):
        formula = _said(layer.forward, f"z = {layer.name}(a)")
        name = f"layer {l}, {layer.name}"
        return _step(name, f"z{sup(l)}", l, "forward", formula, t.z[l])

    def right(index: tuple[int, ...]) -> str:
        i, j = index
        return f"{sum_of_products(below[i], W[:, j])} + {factor(b[j])}"

    formula = f"z{sup(l)} = a{sup(l - 1)} W{sup(l)} + b{sup(l)}"
    return _step(f"layer {l}, weighted sums", f"z{sup(l)}", l, "forward", formula, t.z[l], right)


def _activated(t: Numbers, l: int) -> Step:
    activation, z, a = t.network.activations[l], t.z[l], t.a[l]
    assert z is not None
    named = activation.name

    def right(index: tuple[int, ...]) -> str:
        if named == "identity":
            return ""
        if named == "softmax":
            i, j = index
            with np.errstate(all="ignore"):
                total = np.exp(z[i].astype(np.float64))
            if not np.isfinite(total).all():
                return ""
            shown = (
                " + ".join(f"exp({number(one)})" for one in z[i])
                if len(total) <= TERMS
                else number(total.sum())
            )
            return f"exp({number(z[i, j])}) / ({shown})"
        return f"{named}({number(z[index])})"

    formula = f"a{sup(l)} = {named}(z{sup(l)})"
    return _step(f"layer {l}, activations", f"a{sup(l)}", l, "forward", formula, a, right)


def _cost(t: Numbers) -> Step:
    loss, a, y = t.network.loss, t.a[t.L], t.y

    def right(i: int) -> str:
        if loss.name not in PLAIN_LOSSES or a.shape[1] > TERMS:
            return ""
        if loss.name == "squared_error":
            inside = " + ".join(
                f"({number(p)} − {factor(q)})²" for p, q in zip(a[i], y[i], strict=True)
            )
            return f"½ ({inside})"
        terms = []
        for p, q in zip(a[i], y[i], strict=True):
            if q:
                terms.append(f"{number(q)}·log {number(p)}")
            if loss.name == "binary_cross_entropy" and q != 1:
                terms.append(f"{number(1 - q)}·log(1 − {number(p)})")
        return f"−({' + '.join(terms)})" if terms else ""

    indices, complete = chosen(t.costs)
    lines = []
    for (i,) in indices:
        middle = right(i)
        lines.append(
            entry("C", (i,)) + (f" = {middle}" if middle else "") + f" = {number(t.costs[i])}"
        )
    if t.m > 1:
        lines.append(f"C = ({plain_sum(t.costs)}) / {t.m} = {number(t.cost)}")
    else:
        lines.append(f"C = {number(t.cost)}")
    formula = _said(loss.cost, f"C = {loss.name}(a, y)")
    if t.m > 1:
        formula += f", mean over {t.m} rows"
    return Step(f"cost, {loss.name}", "C", t.L, "cost", formula, t.cost, tuple(lines), complete)


class OutputError(NamedTuple):
    """What BP1 puts together.

    Attributes
    ----------
    derivative : (m, n_L) array
        ∂C/∂a^L, or ∂C/∂z^L if `fused`, of each row's cost.
    slope : (m, n_L) array or None
        σ′(z^L); None if an output depends on more than its own z, or if `fused`.
    is_difference : bool
        Whether the derivative is a^L − y.
    fused : bool
        Whether the loss and the output activation are taken together.
    """

    derivative: Array
    slope: Array | None
    is_difference: bool
    fused: bool


def error_of_output(t: Numbers) -> OutputError:
    """Return what BP1 puts together, in the numbers of a trace."""
    network, L, y = t.network, t.L, t.y
    z, a = t.z[L], t.a[L]
    assert z is not None
    derivative: Array = np.empty_like(a)
    with np.errstate(all="ignore"):
        network.loss.delta(z, a, y, derivative)
    difference = a.shape == y.shape and np.allclose(derivative, a - y, rtol=1e-9, atol=1e-12)
    fused = bool(network.loss.fused)
    return OutputError(derivative, None if fused else slopes(network, L, z, a), difference, fused)


def _output_error(t: Numbers) -> Step:
    """BP1, whose formula says whether the loss and the output activation are taken together."""
    network, L, y, a = t.network, t.L, t.y, t.a[t.L]
    derivative, slope, difference, _ = error_of_output(t)
    delta, top = t.delta[L], sup(L)
    assert delta is not None
    over = f" / {t.m}" if t.m > 1 else ""

    def right(index: tuple[int, ...]) -> str:
        first = factor(derivative[index])
        if difference:
            first = f"{number(a[index])} − {factor(y[index])}"
            first = f"({first})" if over or not network.loss.fused else first
        if network.loss.fused:
            return first + over if difference or over else ""
        if slope is None:
            return ""
        return f"{first}·{factor(slope[index])}{over}"

    if network.loss.fused:
        inner = f"a{top} − y" if difference else f"∂C/∂z{top}"
        formula = f"δ{top} = ({inner}){over}" if difference and over else f"δ{top} = {inner}{over}"
        name = f"error of the output, {network.loss.name} with {network.loss.fused}"
    elif slope is None:
        formula = f"δ{top} = ∂C/∂a{top} J{over}, J = ∂a{top}/∂z{top}"
        name = f"error of the output, through the Jacobian of {network.activations[L].name}"
    else:
        inner = f"(a{top} − y)" if difference else f"∂C/∂a{top}"
        formula = f"δ{top} = {inner} ⊙ σ′(z{top}){over}"
        name = "error of the output"
    return _step(name, f"δ{top}", L, "BP1", formula, delta, right)


def _backward(t: Numbers, l: int) -> Step:
    z, a, delta, above = t.z[l], t.a[l], t.delta[l], t.delta[l + 1]
    assert z is not None
    assert delta is not None
    assert above is not None
    slope = slopes(t.network, l, z, a)
    here, there = sup(l), sup(l + 1)
    name = f"error of layer {l}"
    if not is_affine(t, l + 1):
        kind = t.network.layers[l + 1]
        said = _said(kind.pullback, f"∂C/∂a{here} through {kind.name}")
        formula = f"{said}; δ{here} = ∂C/∂a{here} ⊙ σ′(z{here})"
        return _step(name, f"δ{here}", l, "BP2", formula, delta)
    W = t.W[l + 1]

    def right(index: tuple[int, ...]) -> str:
        if slope is None:
            return ""
        i, j = index
        inside = sum_of_products(above[i], W[j])
        return f"({inside})·{factor(slope[index])}"

    product = f"δ{there} (W{there})ᵀ"
    formula = f"δ{here} = ({product}) ⊙ σ′(z{here})"
    if slope is None:
        formula = f"δ{here} = {product} J, J = ∂a{here}/∂z{here}"
    return _step(name, f"δ{here}", l, "BP2", formula, delta, right)


def _gradient_of_biases(t: Numbers, l: int) -> Step:
    delta, here = t.delta[l], sup(l)
    assert delta is not None
    formula = f"∇b{here} = Σ_rows δ{here}"
    return _step(
        f"gradient of b{here}",
        f"∇b{here}",
        l,
        "BP3",
        formula,
        t.nabla_b[l],
        lambda index: plain_sum(delta[:, index[0]]) if t.m > 1 else "",
    )


def _gradient_of_weights(t: Numbers, l: int) -> Step:
    delta, below, here = t.delta[l], t.a[l - 1], sup(l)
    assert delta is not None
    name, symbol = f"gradient of W{here}", f"∇W{here}"
    if not is_affine(t, l):
        kind = t.network.layers[l]
        said = _said(kind.gradient, f"∂C/∂W{here} of {kind.name}")
        return _step(name, symbol, l, "BP4", said, t.nabla_W[l])
    return _step(
        name,
        symbol,
        l,
        "BP4",
        f"∇W{here} = (a{sup(l - 1)})ᵀ δ{here}",
        t.nabla_W[l],
        lambda index: sum_of_products(below[:, index[0]], delta[:, index[1]]),
    )


def _update(t: Numbers, l: int, kind: str) -> Step:
    old, new = getattr(t, kind)[l], getattr(t, f"new_{kind}")[l]
    nabla = getattr(t, f"nabla_{kind}")[l]
    symbol = f"{kind}{sup(l)}"
    indices, complete = chosen(new - old)  # of a large one those that move most

    def line(index: tuple[int, ...]) -> str:
        start = f"{entry(symbol, index)} = {number(old[index])}"
        if t.optimizer == "sgd":
            change = f" − {number(t.learning_rate)}·{factor(nabla[index])}"
        else:
            change = f" + {factor(new[index] - old[index])}"
        return f"{start}{change} = {number(new[index])}"

    formula = f"{symbol} ← {symbol} − η ∇{symbol}, η = {number(t.learning_rate)}"
    if t.optimizer != "sgd":
        formula = f"{symbol} ← first step of {t.optimizer}, η = {number(t.learning_rate)}"
    lines = tuple(line(index) for index in indices)
    return Step(f"step on {symbol}", symbol, l, "update", formula, new, lines, complete)


def headline(t: Numbers) -> str:
    """Return what was traced, in a line."""
    activations = ", ".join(activation.name for activation in t.network.activations[1:])
    rows = "1 row" if t.m == 1 else f"{t.m:,} rows"
    return (
        f"{t.kind}: layers {t.sizes}, activations {activations}, cost {t.network.loss.name}, "
        f"{t.network.theta.size:,} parameters; {rows}, {t.network.dtype.name}"
    )


def outputs_line(t: Numbers) -> str:
    """Return which output unit stands for what; empty if they have numbers alone."""
    names = t.output_names
    if len(names) != t.sizes[-1] or names == [str(j) for j in range(len(names))]:
        return ""
    shown = ", ".join(f"[{j}] {name}" for j, name in enumerate(names[:20]))
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"Outputs: {shown}{more}"


def last_lines(t: Numbers) -> list[str]:
    """Return what the step came to."""
    if not math.isfinite(t.new_cost):
        return [f"The step is too large: the cost goes from {number(t.cost)} to {t.new_cost}."]
    verb = "falls" if t.new_cost < t.cost else "rises" if t.new_cost > t.cost else "stays"
    return [f"With this step the cost {verb}: {number(t.cost)} → {number(t.new_cost)}."]


TITLES = {
    "input": "Input",
    "forward": "Forward",
    "cost": "Cost",
    "BP1": "BP1: the error of the output",
    "BP2": "BP2: the error goes back",
    "BP3": "BP3 and BP4: the gradient",
    "BP4": "BP3 and BP4: the gradient",
    "update": "Update",
}


def as_text(t: Numbers) -> str:
    """Return the whole worked example in plain text."""
    lines = [clean(headline(t))]
    if outputs_line(t):
        lines.append(clean(outputs_line(t)))
    title = ""
    for step in steps_of(t):
        if TITLES[step.equation] != title:
            title = TITLES[step.equation]
            lines += ["", title]
        lines.append(str(step))
    return "\n".join([*lines, *last_lines(t)])
