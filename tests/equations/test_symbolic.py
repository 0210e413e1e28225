"""SymPy derives the gradients of a small network from its definition; ours must equal them.

Only the network's formulas and the costs are written here; every derivative is SymPy's.
"""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

import chainrule

SIZES, ROWS = (2, 3, 2, 2), 3

SIGMA = {
    "identity": lambda z: z,
    "tanh": sp.tanh,
    "logistic": lambda z: 1 / (1 + sp.exp(-z)),
    "softplus": lambda z: sp.log(1 + sp.exp(z)),
    "silu": lambda z: z / (1 + sp.exp(-z)),
    "gelu": lambda z: z * (1 + sp.erf(z / sp.sqrt(2))) / 2,
    "mish": lambda z: z * sp.tanh(sp.log(1 + sp.exp(z))),
}


def softmax(row):
    powers = [sp.exp(z) for z in row]
    return [p / sum(powers) for p in powers]


COSTS = {
    "squared_error": lambda a, y: sum((p - q) ** 2 for p, q in zip(a, y, strict=True)) / 2,
    "cross_entropy": lambda a, y: -sum(q * sp.log(p) for p, q in zip(a, y, strict=True)),
    "binary_cross_entropy": lambda a, y: (
        -sum(q * sp.log(p) + (1 - q) * sp.log(1 - p) for p, q in zip(a, y, strict=True))
    ),
}

CASES = [
    ("tanh", "logistic", "identity", "squared_error"),
    ("logistic", "tanh", "tanh", "squared_error"),
    ("gelu", "silu", "softplus", "squared_error"),
    ("mish", "tanh", "softmax", "squared_error"),
    ("logistic", "softmax", "identity", "squared_error"),
    ("tanh", "softplus", "softmax", "cross_entropy"),  # fused
    ("silu", "tanh", "logistic", "binary_cross_entropy"),  # fused
    ("logistic", "gelu", "logistic", "cross_entropy"),  # pulled back
    ("tanh", "logistic", "softmax", "binary_cross_entropy"),  # pulled back
]


def derive(activations, loss):
    """(C, ∂C/∂theta) of one sample, as a function of theta, x and y.

    theta is in the order W^1, b^1, W^2, …
    """
    x = [sp.Symbol(f"x_{i}") for i in range(SIZES[0])]
    y = [sp.Symbol(f"y_{i}") for i in range(SIZES[-1])]
    parameters, a = [], sp.Matrix([x])
    for l, sigma in enumerate(activations, start=1):
        W = sp.Matrix(*SIZES[l - 1 : l + 1], lambda i, j, l=l: sp.Symbol(f"W{l}_{i}_{j}"))
        b = sp.Matrix(1, SIZES[l], lambda i, j, l=l: sp.Symbol(f"b{l}_{j}"))
        parameters += [*W, *b]
        z = list(a * W + b)
        a = sp.Matrix([softmax(z) if sigma == "softmax" else [SIGMA[sigma](v) for v in z]])
    cost = COSTS[loss](list(a), y)
    everything = [cost, *(sp.diff(cost, p) for p in parameters)]
    return sp.lambdify([*parameters, *x, *y], everything, modules="math", cse=True)


@pytest.mark.parametrize(("first", "second", "output", "loss"), CASES)
def test_gradient_equals_sympys(first, second, output, loss):
    exact = derive((first, second, output), loss)
    rng = np.random.default_rng(11)
    for _ in range(3):
        network = chainrule.Network(
            SIZES, activation=[first, second], output_activation=output, loss=loss, seed=rng
        )
        network.theta[:] = rng.normal(0, 0.8, network.theta.size)
        X, Y = rng.normal(size=(ROWS, SIZES[0])), rng.uniform(0.1, 1, (ROWS, SIZES[-1]))
        rows = [exact(*network.theta, *x, *y) for x, y in zip(X, Y, strict=True)]
        cost, *gradient = np.mean(rows, axis=0)
        ours, nabla = network.gradient(X, Y)
        assert ours == pytest.approx(cost, rel=1e-12)
        np.testing.assert_allclose(nabla, gradient, rtol=1e-12, atol=1e-13)
        assert np.abs(nabla).min() > 0  # every parameter was put to the test
