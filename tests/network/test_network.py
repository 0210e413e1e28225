"""The network: layout, forward pass, gradient, and everything it refuses."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule
from chainrule import Activation, Loss, Network, layers, losses
from chainrule.equations.activations import ACTIVATIONS, ordered
from chainrule.equations.losses import LOSSES
from chainrule.estimators.multioutput import grouped_cross_entropy, grouped_softmax


def softened(z, a):
    """Softmax at temperature 2."""
    ACTIVATIONS["softmax"].f(z / 2, a)


def softened_pullback(z, a, delta):
    ACTIVATIONS["softmax"].pullback(z / 2, a, delta)
    delta /= 2


def doubled(z, a, y, c):
    """Twice the cross-entropy."""
    c[:] = -2 * (y * np.log(a)).sum(axis=1)


def doubled_delta(z, a, y, delta):
    delta[:] = -2 * y / a


# --- layout ----------------------------------------------------------------------------------


def test_parameters_are_views_of_theta_in_the_order_of_the_layers():
    network = Network((2, 3, 1), seed=0)
    assert (network.L, network.sizes, network.theta.shape) == (2, (2, 3, 1), (13,))
    for l, (shape, n) in enumerate([((2, 3), 3), ((3, 1), 1)], start=1):
        assert network.W[l].shape == shape
        assert network.b[l].shape == (n,)
    network.theta[:] = np.arange(13)
    np.testing.assert_array_equal(network.W[1], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(network.b[1], [6, 7, 8])
    np.testing.assert_array_equal(network.W[2], [[9], [10], [11]])
    network.b[2][0] = -1
    assert network.theta[12] == -1
    nabla_W, nabla_b = network.views(np.arange(13.0))
    assert nabla_W[2][2, 0] == 11
    assert nabla_b[2][0] == 12


@given(sizes=st.lists(st.integers(1, 6), min_size=2, max_size=6))
def test_locate_names_every_position(sizes):
    network = Network(sizes, init="zeros")
    for position in range(network.theta.size):
        network.theta[:] = 0
        network.theta[position] = 1
        l, kind, index = network.locate(position)
        assert getattr(network, kind)[l][tuple(index)] == 1


def test_forward_pass_by_hand():
    """Two units, then one, small whole numbers throughout."""
    network = Network(
        (2, 2, 1), init=[([[1, -1], [2, 1]], [0, -1]), ([[2], [-3]], [1])], activation="relu"
    )
    batch = network.forward([[1, 2], [-1, 3]])
    np.testing.assert_array_equal(batch.z[1], [[5, 0], [5, 3]])
    np.testing.assert_array_equal(batch.a[1], [[5, 0], [5, 3]])
    np.testing.assert_array_equal(batch.z[2], [[11], [2]])
    np.testing.assert_array_equal(network.predict([[1, 2], [-1, 3]]), [[11], [2]])
    assert network.cost([[1, 2], [-1, 3]], [[10], [0]]) == (0.5 + 2) / 2


def test_gradient_by_hand():
    network = Network(
        (2, 2, 1), init=[([[1, -1], [2, 1]], [0, -1]), ([[2], [-3]], [1])], activation="relu"
    )
    cost, nabla = network.gradient([[1, 2], [-1, 3]], [[10], [0]])
    nabla_W, nabla_b = network.views(nabla)
    # δ² = (1, 2) / 2; unit 2 of the first row has z = 0, where ReLU's slope counts as 0.
    assert cost == 1.25
    np.testing.assert_array_equal(nabla_b[2], [1.5])
    np.testing.assert_array_equal(nabla_W[2], [[7.5], [3]])
    np.testing.assert_array_equal(nabla_b[1], [3, -3])
    np.testing.assert_array_equal(nabla_W[1], [[-1, 3], [8, -9]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_is_kept_everywhere(dtype):
    network = Network((3, 4, 2), dtype=dtype, seed=0)
    X, Y = np.eye(3), np.ones((3, 2))
    batch = network.forward(X)
    results = [network.theta, network.predict(X), network.gradient(X, Y)[1], *batch.a, *batch.z[1:]]
    assert {array.dtype for array in results} == {np.dtype(dtype)}
    assert isinstance(network.cost(X, Y), float)


def test_forty_layers():
    network = Network([4] * 41, activation="tanh", init="orthogonal", seed=0)
    X, Y = np.random.default_rng(0).normal(size=(3, 4)), np.zeros((3, 4))
    assert chainrule.gradcheck(network, X, Y, samples=60)
    assert np.abs(network.views(network.gradient(X, Y)[1])[0][1]).max() > 0


def test_predict_is_the_same_in_blocks(monkeypatch):
    network = Network((3, 5, 2), activation="tanh", seed=0)
    X = np.random.default_rng(0).normal(size=(151, 3))
    whole = network.predict(X)
    monkeypatch.setattr("chainrule.network.predictor.BLOCK_ROWS", 64)
    np.testing.assert_allclose(network.predict(X), whole, rtol=1e-14)


def test_inputs_are_not_changed_and_any_layout_will_do():
    network = Network((3, 4, 2), activation="tanh", seed=0)
    X, Y = np.random.default_rng(0).normal(size=(5, 3)), np.ones((5, 2))
    expected = network.gradient(X, Y)
    X.flags.writeable = Y.flags.writeable = False
    for other in (X, np.asfortranarray(X), X.tolist(), np.repeat(X, 2, axis=0)[::2]):
        cost, nabla = network.gradient(other, Y)
        assert cost == expected[0]
        np.testing.assert_array_equal(nabla, expected[1])


def test_copy_is_independent():
    network = Network((3, 4, 2), activation=["tanh"], loss="cross_entropy", seed=0)
    twin, single = network.copy(), network.copy(np.float32)
    X, Y = np.eye(3), np.eye(3)[:, :2]
    assert twin.gradient(X, Y)[1].tobytes() == network.gradient(X, Y)[1].tobytes()
    np.testing.assert_allclose(single.predict(X), network.predict(X), rtol=1e-6)
    assert single.dtype == np.float32
    twin.theta += 1
    assert not np.array_equal(twin.theta, network.theta)


@pytest.mark.parametrize(
    "clone",
    [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))],
    ids=["deepcopy", "pickle"],
)
def test_views_stay_views_in_a_clone(clone):
    """W and b of what copy or pickle makes belong to its own theta, and training moves them."""
    network = Network((3, 4, 2), activation="tanh", seed=0)
    twin = clone(network)
    assert twin.theta.tobytes() == network.theta.tobytes()
    twin.theta[:] = 0
    assert not twin.W[1].any()
    assert not twin.predict(np.eye(3)).any()


MADE = {
    "layers": {
        "sizes": (3, 3, 3, 3, 3, 3, 4),
        "layers": [
            layers.standardize(np.ones(3), np.full(3, 2.0)),
            layers.dropout(0.25, 5),
            layers.noise(0.5, 6),
            layers.layer_norm(1e-3),
            layers.batch_norm(1e-3, 0.5),
            layers.AFFINE,
        ],
    },
    "focal": {"loss": losses.focal(1.5)},
    "binary_focal": {"loss": losses.binary_focal(0.5)},
    "huber": {"loss": losses.huber(0.3)},
    "tweedie": {"loss": losses.tweedie(1.2)},
    "quantile": {"loss": losses.quantile((0.2, 0.6)), "output_activation": ordered(2)},
    "gaussian": {"loss": "gaussian"},
    "poisson": {"loss": "poisson"},
    "groups": {
        "loss": grouped_cross_entropy((1, 3)),
        "output_activation": grouped_softmax((1, 3)),
    },
}


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize(
    "clone",
    [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network)), Network.copy],
    ids=["deepcopy", "pickle", "copy"],
)
def test_clones_have_the_numbers_that_components_were_made_with(made, clone):
    """Their predictions, and what a step does that sees dropout, noise and the loss."""
    network = Network(**{"sizes": (3, 5, 4), "activation": "tanh", "seed": 0} | MADE[made])
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(6, 3)), rng.uniform(0.1, 1, (6, network.n_targets))
    twin = clone(network)
    assert twin.predict(X).tobytes() == network.predict(X).tobytes()
    for one in (network, twin):
        chainrule.train(one, X, Y, epochs=2, batch_size=3, learning_rate=0.01, seed=1)
    assert twin.theta.tobytes() == network.theta.tobytes()
    assert twin.constants.tobytes() == network.constants.tobytes()


def test_activations_one_for_all_or_one_each():
    def names(*args, **kwargs):
        return [a.name for a in Network((2, 3, 3, 1), *args, **kwargs).activations[1:]]

    assert names(activation="tanh") == ["tanh", "tanh", "identity"]
    assert names(activation=["tanh", "elu"]) == ["tanh", "elu", "identity"]
    assert names(activation=["tanh", "elu", "relu"]) == ["tanh", "elu", "relu"]
    assert names(activation=["tanh", "elu"], output_activation="relu") == ["tanh", "elu", "relu"]
    assert names(loss="binary_cross_entropy") == ["relu", "relu", "logistic"]
    assert names(loss="cross_entropy")[-1] == "softmax"
    assert names(loss="cross_entropy", output_activation="logistic")[-1] == "logistic"


def test_start_from_given_values():
    network = Network((2, 3, 1), seed=0)
    pairs = list(zip(network.W[1:], network.b[1:], strict=True))
    for init in (pairs, network.theta):
        twin = Network((2, 3, 1), init=init)
        assert twin.theta.tobytes() == network.theta.tobytes()
        twin.theta[:] = 0  # a copy, not the same memory
        assert network.theta.any()


# --- components of one's own that carry a name of ours -----------------------------------------


def test_own_softmax_is_not_taken_for_ours():
    """Fusing goes by what the activation is, not by what it is called."""
    own = Activation("softmax", softened, softened_pullback)
    network = Network((3, 4), loss="cross_entropy", output_activation=own, seed=0)
    X, Y = np.random.default_rng(0).normal(size=(5, 3)), np.eye(4)[[0, 1, 2, 3, 0]]
    expected = -(Y * np.log(network.predict(X))).sum(axis=1).mean()
    assert network.cost(X, Y) == pytest.approx(expected, rel=1e-12)
    assert chainrule.gradcheck(network, X, Y)


def test_own_loss_is_not_taken_for_ours():
    own = Loss("cross_entropy", doubled, doubled_delta, "softmax")
    network = Network((3, 4), loss=own, seed=0)
    X, Y = np.random.default_rng(0).normal(size=(5, 3)), np.eye(4)[[0, 1, 2, 3, 0]]
    expected = -2 * (Y * np.log(network.predict(X))).sum(axis=1).mean()
    assert network.cost(X, Y) == pytest.approx(expected, rel=1e-12)
    assert chainrule.gradcheck(network, X, Y)


def test_own_activation_under_one_of_our_names_is_checked():
    wrong = Activation("tanh", ACTIVATIONS["tanh"].f, ACTIVATIONS["relu"].pullback)
    with pytest.raises(chainrule.DerivativeError, match="tanh"):
        Network((3, 4, 2), activation=wrong)


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": (3, 0, 2)}, r"sizes\[1\] = 0"),
        ({"sizes": (3, -4, 2)}, r"sizes\[1\] = -4"),
        ({"sizes": (3, 2.5, 2)}, r"sizes\[1\] = 2.5"),
        ({"sizes": (3, "4", 2)}, r"sizes\[1\] = '4'"),
        ({"sizes": (True, 2)}, r"sizes\[0\] = True"),
        ({"sizes": (3,)}, "width"),
        ({"sizes": ()}, "width"),
        ({"sizes": 3}, "sizes must list the widths"),
        ({"activation": "rellu"}, "unknown activation 'rellu'; did you mean 'relu'"),
        ({"activation": ["tanh", "relu", "relu"]}, "activation has"),
        ({"output_activation": "sofmax"}, "did you mean 'softmax'"),
        ({"loss": "cross_entrpy"}, "unknown loss 'cross_entrpy'; did you mean 'cross_entropy'"),
        ({"init": "glorot"}, "did you mean 'glorot_"),
        ({"init": "zzz"}, "known: .*he_normal"),
        ({"init": np.zeros(5)}, "5 values"),
        ({"init": [(np.zeros((3, 4)), np.zeros(4))]}, "2 layers, got 1"),
        ({"init": [(np.zeros((3, 4)), np.zeros(4)), (np.zeros((2, 4)), np.zeros(2))]}, "layer 2"),
        (
            {"init": [(np.zeros((3, 4)), np.zeros(3)), (np.zeros((4, 2)), np.zeros(2))]},
            "b of layer 1",
        ),
        ({"init": np.full(26, np.nan)}, r"W\[0, 0\] of layer 1"),
        ({"dtype": "float16"}, "float32 or float64"),
        ({"dtype": int}, "float32 or float64"),
        ({"dtype": "floaty"}, "float32 or float64"),
        ({"layers": ["affine"]}, "layers has 1 entries for 2 layers"),
        ({"layers": ["affine", "affin"]}, "unknown layer 'affin'; did you mean 'affine'"),
        ({"seed": 0.5}, "seed must be a whole number"),
        ({"seed": 0.5, "init": "zeros"}, "seed must be a whole number"),
    ],
)
def test_network_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Network(**{"sizes": (3, 4, 2)} | arguments)


def test_a_component_of_the_wrong_kind_is_a_type_error():
    with pytest.raises(TypeError, match="activation is a bare function"):
        Network((3, 4, 2), activation=[np.tanh])
    with pytest.raises(TypeError, match="loss must be a name or Loss"):
        Network((3, 4, 2), loss=ACTIVATIONS["relu"])
    with pytest.raises(TypeError, match="layer must be a name or Layer"):
        Network((3, 4, 2), layers=["affine", 3])
    with pytest.raises(TypeError, match="layers must be a list of a name or a Layer"):
        Network((3, 4, 2), layers="affine")


def test_layers_may_be_named():
    named = Network((3, 3, 2), layers=["layer_norm", "affine"], seed=0)
    given = Network((3, 3, 2), layers=[layers.layer_norm(), layers.AFFINE], seed=0)
    assert [each.name for each in named.layers] == [each.name for each in given.layers]
    np.testing.assert_array_equal(named.theta, given.theta)


def test_non_finite_start_is_named():
    init = [(np.zeros((3, 4)), np.zeros(4)), (np.zeros((4, 2)), [0, np.inf])]
    with pytest.raises(ValueError, match=r"b\[1\] of layer 2"):
        Network((3, 4, 2), init=init)


def spoil(X, row, column, value):
    X = np.array(X, float)
    X[row, column] = value
    return X


GOOD_X, GOOD_Y = np.ones((5, 3)), np.ones((5, 2))


@pytest.mark.parametrize(
    ("X", "Y", "message"),
    [
        (np.ones((5, 4)), GOOD_Y, r"X must have the shape \(rows, 3\).*\(5, 4\)"),
        (GOOD_X, np.ones((5, 3)), r"Y must have the shape \(rows, 2\).*\(5, 3\)"),
        (GOOD_X, np.ones(5), r"Y must have the shape \(rows, 2\)"),
        (np.ones(3), GOOD_Y, r"X must have the shape \(rows, 3\)"),
        (np.ones((5, 3, 1)), GOOD_Y, "X must have the shape"),
        (1.0, GOOD_Y, "X must have the shape"),
        (np.ones((4, 3)), GOOD_Y, "X has 4 rows and Y has 5"),
        (np.ones((0, 3)), np.ones((0, 2)), "X has no rows"),
        (spoil(GOOD_X, 3, 1, np.nan), GOOD_Y, "X holds nan in row 3, column 1"),
        (spoil(GOOD_X, 2, 0, -np.inf), GOOD_Y, "X holds -inf in row 2, column 0"),
        (GOOD_X, spoil(GOOD_Y, 4, 1, np.inf), "Y holds inf in row 4, column 1"),
        (
            spoil(spoil(GOOD_X, 1, 2, np.inf), 2, 2, -np.inf),
            GOOD_Y,
            "inf in row 1, column 2 and 1 more",
        ),
        (
            [["a", "b", "c"]],
            GOOD_Y,
            "X holds something that is not a real number.* row 0, column 0",
        ),
        (
            [[1, 2, "3"], [1, "many", 3]] + [[1, 2, 3]] * 3,
            GOOD_Y,
            r"not a real number.* row 1, column 1",
        ),
        ([[1, 2], [3]], GOOD_Y, "X|inhomogeneous"),
        (GOOD_X + 1j, GOOD_Y, "X .*(real|complex)"),
        (None, GOOD_Y, "X"),
    ],
)
def test_data_are_refused(X, Y, message):
    network = Network((3, 4, 2), seed=0)
    before = network.theta.copy()
    for use in (
        lambda: network.cost(X, Y),
        lambda: network.gradient(X, Y),
        lambda: chainrule.train(network, X, Y, epochs=1),
        lambda: chainrule.gradcheck(network, X, Y),
    ):
        with pytest.raises(ValueError, match=message):
            use()
    assert network.theta.tobytes() == before.tobytes()


def test_too_large_for_float32_is_named():
    network = Network((3, 4, 2), dtype="float32", seed=0)
    with pytest.raises(ValueError, match="inf in row 3, column 1"):
        network.predict(spoil(GOOD_X, 3, 1, 1e300))


def test_huge_but_finite_data_are_taken():
    """Their sum is infinite, they are not."""
    X = np.full((5, 3), 1e308)
    assert np.isfinite(Network((3, 4, 2), init="zeros").predict(X)).all()


def test_a_vector_will_do_where_there_is_one_column():
    network = Network((1, 4, 1), seed=0)
    x = np.linspace(0, 1, 5)
    assert network.cost(x, x) == network.cost(x[:, None], x[:, None])


def test_loss_names():
    assert all(Network((2, 4), loss=name).loss.name == name for name in LOSSES)
