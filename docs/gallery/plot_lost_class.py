"""
Why two runs in five lose a digit
=================================

The article's output layer is a ReLU. Where the weighted input of an output is below 0 for every
row, its derivative is 0 for every row, and nothing that the network gets wrong can move it.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from chainrule import Network, diagnose, train

X, digit = load_digits(return_X_y=True)
n = 1437
deviation = X[:n].std(axis=0)
X = (X - X[:n].mean(axis=0)) / np.where(deviation > 0, deviation, 1)
Y = np.eye(10)[digit]


def trained(seed, output):
    network = Network((64, 100, 10), output_activation=output, init="uniform", seed=seed)
    train(network, X[:n], Y[:n], epochs=20, learning_rate=0.01, seed=seed)
    return network


def accuracy(network):
    said = np.abs(network.predict(X[n:]) - 1).argmin(axis=1)
    return (said == digit[n:]).mean()


# %%
# Some seeds, the article's recipe. For each output: the share of the rows of its own digit on which
# it is open, that is, z > 0.

networks = [trained(seed, "relu") for seed in range(8)]
open_share = np.array(
    [
        [(net.forward(X[:n]).z[2][digit[:n] == j, j] > 0).mean() for j in range(10)]
        for net in networks
    ]
)
reached = [accuracy(net) for net in networks]

figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.4), width_ratios=[3, 2])
image = left.imshow(open_share, vmin=0, vmax=1)
left.set(xlabel="digit", ylabel="seed", xticks=range(10), title="share of its rows it is open on")
figure.colorbar(image, ax=left, shrink=0.8)
right.barh(range(8), reached)
right.set(ylim=(7.5, -0.5), xlim=(0, 1), xlabel="accuracy", yticks=range(8))

# %%
# ``diagnose`` finds it by itself, says what to do, and draws its evidence.

worst = networks[int(np.argmin(reached))]
findings = diagnose(worst, X[:n], Y[:n], learning_rate=0.01)
for finding in findings:
    print(f"{finding.code}: {finding.message}")
    print(f"  {finding.advice}")

# %%
# Dark cells are outputs that are shut, and each costs a digit. With an identity as the output's
# activation nothing is shut, from the same starting values and with the same rows:

shut = (open_share <= 0.05).any(axis=1)
print(f"with a shut output: {np.mean(np.array(reached)[shut]):.3f}")
print(f"without: {np.mean(np.array(reached)[~shut]):.3f}")
print(f"output without ReLU: {np.mean([accuracy(trained(s, 'identity')) for s in range(8)]):.3f}")
