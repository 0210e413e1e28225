"""A neural network in a hundred lines: forward pass, BP1 to BP4, descent. `docs/derivation.md`
derives each equation; run this file, and two networks learn to read handwritten digits."""

import numpy as np

# Activation functions f(z), each with its derivative f'(z), written with z and a = f(z).
ACTIVATIONS = {
    "identity": (lambda z: z, lambda z, a: np.ones_like(z)),
    "relu": (lambda z: np.maximum(z, 0), lambda z, a: np.where(z > 0, 1.0, 0.0)),
    "tanh": (np.tanh, lambda z, a: 1 - a**2),
    "logistic": (lambda z: 1 / (1 + np.exp(-z)), lambda z, a: a * (1 - a)),
}


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


class Network:
    """Layers 1 to L have weights W[l] (n_in, n_out) and biases b[l] (n_out); layer 0 is the input.

    The cost is "squared_error", behind any activation of the output, or "cross_entropy", whose
    output is a softmax. Rows are samples, and the cost of a batch is the mean of its rows' costs.
    """

    def __init__(self, sizes, activation="relu", output="identity", cost="squared_error", seed=0):
        rng = np.random.default_rng(seed)
        self.L, self.cost_name = len(sizes) - 1, cost
        self.W, self.b = [None], [None]  # so that W[1] is the first layer's
        for l in range(1, self.L + 1):
            self.W.append(rng.normal(0, np.sqrt(2 / sizes[l - 1]), (sizes[l - 1], sizes[l])))
            self.b.append(np.zeros(sizes[l]))
        names = [activation] * (self.L - 1) + [output]
        self.f = [None] + [ACTIVATIONS[name][0] for name in names]
        self.df = [None] + [ACTIVATIONS[name][1] for name in names]
        if cost == "cross_entropy":
            self.f[-1] = softmax

    def forward(self, X):
        """z[l] = a[l-1] W[l] + b[l] and a[l] = f(z[l]), for every layer."""
        z, a = [None], [X]
        for l in range(1, self.L + 1):
            z.append(a[l - 1] @ self.W[l] + self.b[l])
            a.append(self.f[l](z[l]))
        return z, a

    def cost(self, X, Y):
        """The mean over the rows of sum (a - y)^2 / 2, or of -sum y log a."""
        z, a = self.forward(X)
        rows = (a[-1] - Y) ** 2 / 2
        if self.cost_name == "cross_entropy":  # log a from z: a itself may be rounded to 0
            s = z[-1] - z[-1].max(axis=1, keepdims=True)
            rows = Y * (np.log(np.exp(s).sum(axis=1, keepdims=True)) - s)
        return rows.sum() / len(X)

    def gradient(self, X, Y):
        """The derivative of the cost by every W[l] and b[l], as two lists."""
        z, a = self.forward(X)
        delta, nabla_W, nabla_b = [[None] * (self.L + 1) for _ in range(3)]
        delta[-1] = (a[-1] - Y) / len(X)  # BP1, for softmax with cross-entropy
        if self.cost_name == "squared_error":
            delta[-1] = delta[-1] * self.df[-1](z[-1], a[-1])  # BP1, for squared error
        for l in range(self.L - 1, 0, -1):
            delta[l] = (delta[l + 1] @ self.W[l + 1].T) * self.df[l](z[l], a[l])  # BP2
        for l in range(1, self.L + 1):
            nabla_b[l] = delta[l].sum(axis=0)  # BP3
            nabla_W[l] = a[l - 1].T @ delta[l]  # BP4
        return nabla_W, nabla_b

    def train(self, X, Y, epochs=20, batch_size=10, learning_rate=0.01, seed=0):
        """Stochastic gradient descent: each epoch uses every row once, in a new order."""
        rng = np.random.default_rng(seed)
        for _ in range(epochs):
            order = rng.permutation(len(X))
            for start in range(0, len(X), batch_size):
                rows = order[start : start + batch_size]  # the last batch may be smaller
                nabla_W, nabla_b = self.gradient(X[rows], Y[rows])
                for l in range(1, self.L + 1):
                    self.W[l] -= learning_rate * nabla_W[l]
                    self.b[l] -= learning_rate * nabla_b[l]


if __name__ == "__main__":
    from sklearn.datasets import load_digits

    X, digit = load_digits(return_X_y=True)
    n = 1437  # the first 1437 digits to learn from, the other 360 to test on
    deviation = X[:n].std(axis=0)
    X = (X - X[:n].mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    Y = np.eye(10)[digit]
    for cost in ("squared_error", "cross_entropy"):
        network = Network([64, 100, 10], cost=cost)
        network.train(X[:n], Y[:n])
        right = network.forward(X[n:])[1][-1].argmax(axis=1) == digit[n:]
        print(f"{cost}: {right.sum()} of {len(right)} digits read right")
