"""The slow, obvious network: one sample, one unit, one weight at a time, on lists of floats.

Written from the article's mathematics and independent of chainrule: no array, no batch, no
matrix product. Notation as in the article: ``w[l][j][k]`` leads from unit k of layer l - 1 to
unit j of layer l, layers count from 1 (the first weighted one) and entry 0 is empty.

The article's slip is repaired: its ``backward`` returns from inside the loop over the layers,
so that with two hidden layers the early gradients stay zero and with none there are none.
"""

from __future__ import annotations

from math import exp, tanh


def relu(z):
    return [v if v > 0 else 0.0 for v in z]


def relu_slopes(z):
    return [1.0 if v > 0 else 0.0 for v in z]


def identity(z):
    return list(z)


def identity_slopes(z):
    return [1.0 for _ in z]


def logistic(z):
    return [1 / (1 + exp(-v)) for v in z]


def logistic_slopes(z):
    return [s * (1 - s) for s in logistic(z)]


def hyperbolic(z):
    return [tanh(v) for v in z]


def hyperbolic_slopes(z):
    return [1 - tanh(v) ** 2 for v in z]


def softmax(z):
    powers = [exp(v) for v in z]
    return [p / sum(powers) for p in powers]


def softmax_jacobian(z):
    """Entry [k][j] is ∂a_k/∂z_j; here every output hangs on every input."""
    a = softmax(z)
    return [[a[k] * ((1 if j == k else 0) - a[j]) for j in range(len(z))] for k in range(len(z))]


ACTIVATIONS = {
    "relu": (relu, relu_slopes),
    "identity": (identity, identity_slopes),
    "logistic": (logistic, logistic_slopes),
    "tanh": (hyperbolic, hyperbolic_slopes),
    "softmax": (softmax, softmax_jacobian),
}


def through(jacobian, errors):
    """∂C/∂z_j = Σ_k ∂C/∂a_k ∂a_k/∂z_j; a Jacobian that is diagonal is given as its slopes."""
    n = len(errors)
    if not isinstance(jacobian[0], list):
        return [errors[j] * jacobian[j] for j in range(n)]
    return [sum(errors[k] * jacobian[k][j] for k in range(n)) for j in range(n)]


def forward(x, w, b, activations):
    """All z^l and a^l of one sample; a^0 is the sample."""
    zs, outputs = [[]], [list(x)]
    for l in range(1, len(w)):
        z = []
        for j in range(len(w[l])):
            total = b[l][j]
            for weight, a in zip(w[l][j], outputs[l - 1], strict=True):
                total += weight * a
            z.append(total)
        zs.append(z)
        outputs.append(ACTIVATIONS[activations[l]][0](z))
    return zs, outputs


def squared_error(output, y):
    return sum((y[j] - output[j]) ** 2 for j in range(len(y))) / 2


def backward(y, zs, outputs, w, activations):
    """δ^l of one sample, for every layer: δ^L from the cost, then down, one layer at a time."""
    L = len(w) - 1
    deltas = [[] for _ in range(L + 1)]
    errors = [outputs[L][j] - y[j] for j in range(len(y))]
    deltas[L] = through(ACTIVATIONS[activations[L]][1](zs[L]), errors)
    for l in range(L - 1, 0, -1):
        errors = []
        for m in range(len(zs[l])):
            errors.append(sum(deltas[l + 1][j] * w[l + 1][j][m] for j in range(len(zs[l + 1]))))
        deltas[l] = through(ACTIVATIONS[activations[l]][1](zs[l]), errors)
    return deltas


def descend_mini(samples, learning_rate, w, b, activations):
    """One step on one mini-batch, in place; the gradient is averaged over its own samples."""
    nabla_w = [[[0.0] * len(row) for row in layer] for layer in w]
    nabla_b = [[0.0] * len(layer) for layer in b]
    cost = 0.0
    for x, y in samples:
        zs, outputs = forward(x, w, b, activations)
        cost += squared_error(outputs[-1], y)
        deltas = backward(y, zs, outputs, w, activations)
        for l in range(1, len(w)):
            for j, delta in enumerate(deltas[l]):
                nabla_b[l][j] += delta
                if delta != 0:
                    row = nabla_w[l][j]
                    for k, a in enumerate(outputs[l - 1]):
                        row[k] += delta * a
    rate = learning_rate / len(samples)
    for l in range(1, len(w)):
        for j in range(len(w[l])):
            b[l][j] -= rate * nabla_b[l][j]
            row, gradient = w[l][j], nabla_w[l][j]
            for k in range(len(row)):
                row[k] -= rate * gradient[k]
    return cost


def train(X, Y, w, b, activations, orders, batch_size, learning_rate):
    """Stochastic gradient descent, in place; `orders` gives the samples' order in each epoch.

    Returns each epoch's mean cost, every sample's taken when its mini-batch was met.
    """
    costs = []
    for order in orders:
        total = 0.0
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            samples = [(X[i], Y[i]) for i in chosen]
            total += descend_mini(samples, learning_rate, w, b, activations)
        costs.append(total / len(order))
    return costs
