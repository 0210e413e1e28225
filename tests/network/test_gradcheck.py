"""The gradient check: right where all is right, and it finds what is planted."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.components import targets
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import (
    ACTIVATIONS,
    LAYERS,
    LOSSES,
    Activation,
    DerivativeError,
    Loss,
    Network,
    gradcheck,
    train,
)
from chainrule.equations.layers import AFFINE

BOUNDED = [name for name in ACTIVATIONS if name != "exp"]  # four of those would overflow


@given(
    hidden=st.lists(st.integers(1, 6), max_size=4),
    activation=st.sampled_from(BOUNDED),
    output=st.sampled_from([None, *ACTIVATIONS]),
    m=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_network_passes_with_squared_error(hidden, activation, output, m, seed):
    rng = np.random.default_rng(seed)
    network = Network((3, *hidden, 2), activation=activation, output_activation=output, seed=seed)
    network.theta[:] += rng.normal(0, 0.1, network.theta.size)
    before = network.theta.copy()
    result = gradcheck(network, rng.normal(size=(m, 3)), rng.normal(size=(m, 2)))
    assert result.passed, str(result)
    assert result.checked == network.theta.size
    assert network.theta.tobytes() == before.tobytes()


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("output", [None, "softmax", "logistic"])
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_cross_entropy_passes(loss, output, seed):
    rng = np.random.default_rng(seed)
    network = Network((3, 4, 3), activation="tanh", output_activation=output, loss=loss, seed=seed)
    y = np.eye(3)[rng.integers(0, 3, 5)] if seed % 2 else rng.uniform(0.1, 0.9, (5, 3))
    result = gradcheck(network, rng.normal(size=(5, 3)), y)
    assert result, str(result)


@pytest.mark.parametrize("loss", LOSSES)
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_loss_passes_behind_its_link(loss, seed):
    rng = np.random.default_rng(seed)
    network = Network((3, 4, 4), activation="tanh", loss=loss, seed=seed)
    result = gradcheck(network, rng.normal(size=(5, 3)), targets(rng, LOSSES[loss], 5, 4))
    assert result, str(result)


@pytest.mark.parametrize("layer", LAYERS)
def test_every_kind_of_layer_passes(layer):
    """As it predicts, which is what `gradient` is the gradient of."""
    rng = np.random.default_rng(0)
    sizes = (3, 4, 4, 4, 2)
    network = Network(
        sizes, activation="tanh", layers=[AFFINE, LAYERS[layer], AFFINE, AFFINE], seed=0
    )
    network.theta[:] += rng.normal(0, 0.3, network.theta.size)
    X, Y = rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    train(network, X, Y, epochs=2, seed=0)  # batch_norm has its averages from here
    result = gradcheck(network, X, Y)
    assert result, str(result)
    assert result.checked == network.theta.size


def test_relu_on_its_kink():
    """The article's network from zeros: every z is 0, any slope between 0 and 1 is right."""
    network = Network((3, 4, 2), activation="relu", output_activation="relu", init="zeros")
    assert gradcheck(network, np.ones((2, 3)), np.ones((2, 2)))


def test_float32_network_is_checked_in_float64():
    network = Network((3, 4, 2), activation="tanh", dtype="float32", seed=0)
    result = gradcheck(network, np.eye(3), np.ones((3, 2)))
    assert result.passed
    assert result.error < 1e-8
    assert network.dtype == np.float32


def test_samples_are_drawn_by_seed():
    network = Network((3, 40, 2), activation="tanh", seed=0)
    X, Y = np.eye(3), np.ones((3, 2))
    first, again = (gradcheck(network, X, Y, samples=7, seed=3) for _ in range(2))
    assert first == again
    assert first.checked == 7
    assert gradcheck(network, X, Y, samples=10**6).checked == network.theta.size


@pytest.mark.parametrize(
    "arguments", [{"samples": 0}, {"samples": -1}, {"step": 0}, {"step": -1e-4}, {"step": np.nan}]
)
def test_a_check_of_nothing_is_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        gradcheck(Network((3, 2), seed=0), np.eye(3), np.ones((3, 2)), **arguments)


def planted(monkeypatch, position, factor):
    """Let the gradient be wrong at one position."""
    honest = Network.gradient

    def gradient(self, X, Y):
        cost, nabla = honest(self, X, Y)
        nabla[position] *= factor
        return cost, nabla

    monkeypatch.setattr(Network, "gradient", gradient)


@pytest.mark.parametrize("factor", [1 + 3e-5, 2, 0, -1, np.nan])
@pytest.mark.parametrize(
    ("position", "layer", "kind", "index"),
    [
        (0, 1, "W", (0, 0)),
        (6, 1, "W", (1, 2)),
        (13, 1, "b", (1,)),
        (19, 2, "W", (1, 1)),
        (25, 2, "b", (1,)),
    ],
)
def test_a_planted_error_is_found_where_it_is(monkeypatch, position, layer, kind, index, factor):
    network = Network((3, 4, 2), activation="tanh", seed=3)
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    true = network.gradient(X, Y)[1][position]
    assert gradcheck(network, X, Y).passed
    planted(monkeypatch, position, factor)
    result = gradcheck(network, X, Y)
    assert not result
    assert (result.layer, result.kind, tuple(result.index)) == (layer, kind, index)
    # The smallest step, which is tried before anything is called wrong, leaves 4e-9 of rounding.
    assert result.numeric == pytest.approx(true, rel=1e-7, abs=1e-8)
    assert result.analytic == pytest.approx(true * factor, rel=1e-9, nan_ok=True)
    text = str(result)
    assert "WRONG" in text
    assert f"{kind}[{', '.join(map(str, index))}] of layer {layer}" in text


def test_a_whole_layer_left_at_zero_is_found(monkeypatch):
    """The article's slip: with two hidden layers the first one's gradient stays zero."""
    honest = Network.gradient

    def gradient(self, X, Y):
        cost, nabla = honest(self, X, Y)
        self.views(nabla)[0][1][:] = 0
        self.views(nabla)[1][1][:] = 0
        return cost, nabla

    monkeypatch.setattr(Network, "gradient", gradient)
    network = Network((3, 4, 4, 2), activation="tanh", seed=3)
    result = gradcheck(network, np.eye(3), np.ones((3, 2)))
    assert (result.passed, result.layer, result.analytic) == (False, 1, 0)
    assert result.error == pytest.approx(1, abs=1e-6)


def test_a_gradient_that_is_a_multiple_is_found(monkeypatch):
    """Dividing by the batch twice, or not at all."""
    honest = Network.gradient
    monkeypatch.setattr(
        Network, "gradient", lambda self, X, Y: (honest(self, X, Y)[0], 3 * honest(self, X, Y)[1])
    )
    result = gradcheck(Network((3, 4, 2), seed=0), np.eye(3), np.ones((3, 2)))
    assert not result.passed
    assert result.analytic == pytest.approx(3 * result.numeric)


# --- components of one's own ---------------------------------------------------------------------


def cube(z, a):
    a[:] = z**3


def cube_pullback(z, a, delta):
    delta *= 3 * z**2


def wrong_at_large(z, a, delta):
    delta *= np.where(z > 2, 3 * z**2 + 1, 3 * z**2)


def wrong_everywhere(z, a, delta):
    delta *= z**2


def forgets_upstream(z, a, delta):
    delta[:] = 3 * z**2


def test_a_right_activation_is_taken():
    network = Network((3, 4, 2), activation=Activation("cube", cube, cube_pullback), seed=0)
    assert gradcheck(network, np.eye(3), np.ones((3, 2)))


@pytest.mark.parametrize("pullback", [wrong_at_large, wrong_everywhere, forgets_upstream])
def test_a_wrong_activation_is_refused_and_its_worst_entry_named(pullback):
    pattern = (
        r"activation 'cube': pullback is wrong\. Worst at row \d, column \d, where z = (\S+): "
    )
    with pytest.raises(DerivativeError, match=pattern) as caught:
        Network((3, 4, 2), activation=Activation("cube", cube, pullback))
    import re

    z = float(re.search(pattern, str(caught.value))[1])
    if pullback is wrong_at_large:
        assert z > 2
    assert isinstance(caught.value, ValueError)


def test_a_wrong_activation_is_refused_every_time():
    own = Activation("cube", cube, wrong_everywhere)
    for _ in range(2):
        with pytest.raises(DerivativeError):
            Network((3, 4, 2), activation=own)


def _returns(z, a):
    return z**3


def _leaves_a_hole(z, a):
    a[:, 1:] = z[:, 1:] ** 3


def _changes_z(z, a):
    z **= 3
    a[:] = z


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (_returns, "returned"),
        (_leaves_a_hole, "write every entry"),
        (_changes_z, "changed an argument"),
    ],
)
def test_a_broken_contract_is_named(f, message):
    with pytest.raises(DerivativeError, match=message):
        Network((3, 4, 2), activation=Activation("cube", f, cube_pullback))


def quartic(z, a, y, c):
    c[:] = ((a - y) ** 4).sum(axis=1)


def quartic_delta(z, a, y, delta):
    delta[:] = 4 * (a - y) ** 3


def quartic_wrong(z, a, y, delta):
    delta[:] = 4 * (y - a) ** 3


def test_losses_of_ones_own():
    network = Network((3, 4, 2), loss=Loss("quartic", quartic, quartic_delta), seed=0)
    assert gradcheck(network, np.eye(3), np.ones((3, 2)))
    with pytest.raises(DerivativeError, match=r"loss 'quartic': delta is wrong.*row \d, column \d"):
        Network((3, 4, 2), loss=Loss("quartic", quartic, quartic_wrong))
