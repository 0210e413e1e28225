"""Components of a user's own, one of each kind, through all that the library does with them.

They live in a module of their own, as a user's would; the same ones are also made by functions,
whose insides no pickle can name.
"""

from __future__ import annotations

import importlib
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import chainrule
from chainrule import (
    MLPClassifier,
    MLPRegressor,
    Network,
    Resume,
    export,
    gradcheck,
    layers,
    load,
    losses,
    save,
    train,
)
from chainrule.equations.layers import AFFINE
from chainrule.exports.steps import ExportError
from chainrule.files.container import ModelFileError
from chainrule.network.checking import DerivativeError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

HEAD = """
import numpy as np

from chainrule import Activation, Layer, Loss, Optimizer, expressions as ex
from chainrule.equations.layers import scale_and_shift
from chainrule.equations.vecmath import column_sum, exp, row_total
"""

ACTIVATION = '''

def bent(z, a):
    """a = z / sqrt(1 + z^2)."""
    np.sqrt(1 + z * z, a)
    np.divide(z, a, a)


def bent_pullback(z, a, delta):
    delta /= (1 + z * z) * np.sqrt(1 + z * z)


def bent_formula(z):
    return z / ex.sqrt(1 + z * z)


BENT = Activation("bent", bent, bent_pullback, formula=bent_formula, range=(-1.0, 1.0))
'''

LOSS = '''

def laplace(z, a, y, c):
    """C = log 2 + s + |mu - y| e^-s: minus the log of Laplace's density, s the log of its width."""
    n = y.shape[1]
    precision = np.empty_like(y)
    exp(-a[:, n:], precision)
    row_total(a[:, n:] + np.abs(a[:, :n] - y) * precision + y.dtype.type(np.log(2.0)), c)


def laplace_delta(z, a, y, delta):
    n = y.shape[1]
    precision = np.empty_like(y)
    exp(-a[:, n:], precision)
    delta[:, :n] = np.sign(a[:, :n] - y) * precision
    delta[:, n:] = 1 - np.abs(a[:, :n] - y) * precision


def laplace_deviation(s):
    return 2**0.5 * ex.exp(s)


def laplace_rescaled(mean, deviation):
    return [mean, np.log(deviation)], [deviation, np.ones_like(deviation)]


LAPLACE = Loss(
    "laplace",
    laplace,
    laplace_delta,
    outputs=2,
    deviation=laplace_deviation,
    rescaled=laplace_rescaled,
)
'''

OPTIMIZER = '''

def damped(theta, nabla, state, h, t):
    """m <- b m + (1 - b) g; theta <- theta - eta m / (twist + |m|)."""
    number = theta.dtype.type
    eta, beta, twist = number(h[0]), number(h[1]), number(h[2])
    m = state[0]
    m += (number(1) - beta) * (nabla - m)
    theta -= eta * m / (twist + np.abs(m))


DAMPED = Optimizer(
    "damped", damped, 1, {"learning_rate": 0.01, "beta_1": 0.9, "twist": 0.5}, ("beta_1",)
)
'''

LAYER = '''

def gain(W, b, s, a, z):
    """z = W a + s_1 b, unit by unit."""
    z[:] = a * W[0] + b * a.dtype.type(s[1])


def gain_pullback(W, b, s, a, delta, below):
    np.multiply(delta, W[0], below)


def gain_gradient(W, b, s, a, delta, nabla_W, nabla_b):
    column_sum(delta * a, nabla_W[0])
    column_sum(delta * a.dtype.type(s[1]), nabla_b)


def gain_numbers(n):
    return 0.0, 2.0


GAIN = Layer(
    "gain",
    gain,
    gain_pullback,
    gain_gradient,
    scale_and_shift,
    gain_numbers,
    initial_scale=1.0,
    by_row=True,
    is_weight=False,
    is_normalisation=True,
)
'''

MAKERS = """

def make_bent(power):
    def f(z, a):
        np.sqrt(1 + z * z, a)
        np.divide(z * z.dtype.type(power), a, a)

    def pullback(z, a, delta):
        delta *= z.dtype.type(power) / ((1 + z * z) * np.sqrt(1 + z * z))

    def formula(z):
        return power * z / ex.sqrt(1 + z * z)

    return Activation("made_bent", f, pullback, (make_bent, power), formula)


def make_laplace(shift):
    def delta(z, a, y, delta):
        laplace_delta(z, a, y, delta)

    def cost(z, a, y, c):
        laplace(z, a, y, c)
        c += c.dtype.type(shift)

    def deviation(s):
        return 2**0.5 * ex.exp(s)

    return LAPLACE._replace(
        name="made_laplace", cost=cost, delta=delta, deviation=deviation,
        made_by=(make_laplace, shift),
    )


def make_damped(power):
    def step(theta, nabla, state, h, t):
        damped(theta, nabla * theta.dtype.type(power), state, h, t)

    return DAMPED._replace(name="made_damped", step=step, made_by=(make_damped, power))


def make_gain(start):
    def numbers(n):
        return 0.0, start

    return GAIN._replace(name="made_gain", numbers=numbers, made_by=(make_gain, start))
"""


class Own(NamedTuple):
    activation: object
    loss: object
    optimizer: object
    layer: object


@pytest.fixture(scope="module")
def own_module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_components.py").write_text(
        HEAD + ACTIVATION + LOSS + OPTIMIZER + LAYER + MAKERS, encoding="utf-8"
    )
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("own_components")
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("own_components", None)


@pytest.fixture(scope="module", params=["plain", "made"])
def own(request, own_module):
    if request.param == "plain":
        return Own(own_module.BENT, own_module.LAPLACE, own_module.DAMPED, own_module.GAIN)
    return Own(
        own_module.make_bent(0.5),
        own_module.make_laplace(1.0),
        own_module.make_damped(3.0),
        own_module.make_gain(1.5),
    )


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    noise = rng.laplace(size=(80, 2)) * np.exp(X[:, [0]])
    return X, 50 + 10 * (X[:, :2] + 0.3 * noise)


def network_of(own, dtype="float64"):
    """Two inputs' worth of everything: 3 inputs, a layer of one's own, 2 targets of 2 outputs."""
    return Network(
        (3, 5, 5, 4),
        activation=["identity", own.activation],
        loss=own.loss,
        layers=[AFFINE, own.layer._replace(rate_factors=(2.0, 0.5)), AFFINE],
        dtype=dtype,
        seed=1,
    )


def model_of(own, **parameters):
    given = {
        "loss": own.loss,
        "hidden_layer_sizes": (6,),
        "activation": own.activation,
        "solver": own.optimizer,
        "solver_options": {"twist": 0.2},
        "beta_1": 0.8,
        "learning_rate_init": 0.05,
        "normalization": own.layer,
        "max_iter": 15,
        "random_state": 0,
        "n_iter_no_change": 1000,
        "engine": "numpy",
    }
    return MLPRegressor(**given | parameters)


@pytest.fixture(scope="module")
def fitted(own, data):
    return model_of(own).fit(*data)


# --- the network -----------------------------------------------------------------------------


@pytest.mark.once
def test_gradients_are_right(own, data):
    X, Y = data
    found = gradcheck(network_of(own), X[:20], Y[:20] / 50)
    assert found.passed, str(found)


@pytest.mark.compiled
def test_both_engines_train_the_same(own, data):
    X, Y = data
    dtype = "float64" if own.loss.made_by else "float32"  # one each: compiling takes time
    nets = {engine: network_of(own, dtype) for engine in ("numpy", "numba")}
    start = nets["numpy"].theta.copy()
    for engine, net in nets.items():
        train(
            net,
            X,
            Y / 50,
            optimizer=own.optimizer,
            hyper={"twist": 0.3},
            epochs=3,
            batch_size=16,
            seed=2,
            engine=engine,
        )
    assert np.abs(nets["numpy"].theta - start).max() > 0.01
    atol = 1e-11 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(nets["numba"].theta, nets["numpy"].theta, rtol=0, atol=atol)


@pytest.mark.once
def test_networks_are_pickled_and_not_stored(own, data, tmp_path):
    X, Y = data
    net = network_of(own)
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.predict(X), net.predict(X))
    assert [one.rate_factors for one in again.layers[1:]] == [(1, 1), (2.0, 0.5), (1, 1)]
    assert again.cost(X, Y) == net.cost(X, Y)
    with pytest.raises(ModelFileError, match=r"bent.*files hold no code"):
        save(net, tmp_path / "n.chainrule")
    assert not list(tmp_path.iterdir())


# --- the estimators --------------------------------------------------------------------------


@pytest.mark.once
def test_an_estimator_takes_them(own, fitted, data):
    X, y = data
    mean, deviation = fitted.predict(X, return_std=True)
    assert mean.shape == deviation.shape == y.shape
    np.testing.assert_array_equal(mean, fitted.predict(X))
    assert fitted.score(X, y) > 0.2
    # The loss by its definition, in the units of the standardised target.
    scale = fitted._y_scale[1]
    width = deviation / np.sqrt(2)
    cost = np.log(2 * width / scale) + np.abs(mean - y) / width
    shift = 1.0 if own.loss.name == "made_laplace" else 0.0
    expected = (cost.sum(axis=1) + shift) / 2
    np.testing.assert_allclose(fitted.sample_loss(X, y), expected, rtol=1e-9)


@pytest.mark.once
def test_numbers_of_an_optimiser_are_set_from_the_estimator(own, fitted, data):
    """A number of a new name by `solver_options`; one that a parameter sets, by the parameter."""
    X, y = data
    assert dict(zip(own.optimizer.hyper, fitted._optimizer()[1], strict=True)) == {
        "learning_rate": 0.05,
        "beta_1": 0.8,
        "twist": 0.2,
    }
    same = clone(fitted).set_params(
        solver=own.optimizer._replace(hyper=own.optimizer.hyper | {"twist": 0.2}),
        solver_options=None,
    )
    np.testing.assert_array_equal(same.fit(X, y).predict(X), fitted.predict(X))
    for change in ({"beta_1": 0.1}, {"solver_options": {"twist": 0.7}}):
        other = clone(fitted).set_params(**change).fit(X, y)
        assert not np.array_equal(other.predict(X), fitted.predict(X))
    for name, number in (("twist", "x"), ("twist", np.inf), ("beta_1", 1.5), ("twit", 1.0)):
        with pytest.raises(ValueError, match=rf"solver_options: .*'{name}'"):
            clone(fitted).set_params(solver_options={name: number}).fit(X, y)
    with pytest.raises(ValueError, match="learning_rate_init"):
        clone(fitted).set_params(solver_options={"learning_rate": 1.0}).fit(X, y)


@pytest.mark.once
def test_clones_and_searches(own, fitted, data):
    X, y = data
    copy = clone(fitted)
    assert copy.get_params()["activation"] is own.activation
    np.testing.assert_array_equal(copy.fit(X, y).predict(X), fitted.predict(X))
    grid = {
        "activation": [own.activation, "tanh"],
        "loss": [own.loss, "squared_error"],
        "normalization": [own.layer, "layer"],
        "solver_options": [{"twist": 0.2}, {"twist": 2.0}],
    }
    search = GridSearchCV(model_of(own, max_iter=1), grid, cv=2, error_score="raise").fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(set(search.cv_results_["mean_test_score"])) == 16


@pytest.mark.once
def test_pickles_predict_the_same(fitted, data):
    X, _ = data
    again = pickle.loads(pickle.dumps(fitted))
    for a, b in zip(again.predict(X, True), fitted.predict(X, True), strict=True):
        np.testing.assert_array_equal(a, b)
    assert repr(again) == repr(fitted)


@pytest.mark.once
@pytest.mark.parametrize("kind", ["activation", "loss", "solver", "normalization"])
def test_what_no_file_can_hold_is_refused_and_the_model_kept(own, data, tmp_path, kind):
    X, y = data
    plain = {
        "activation": "tanh",
        "loss": "gaussian",
        "solver": "lion",
        "normalization": "layer",
        "solver_options": {"beta_2": 0.9},
    }
    mine = {"loss": own.loss, "activation": own.activation, "solver": own.optimizer}
    mine["normalization"] = own.layer
    parameters = plain | {kind: mine[kind]}
    if kind == "solver":
        parameters["solver_options"] = {"twist": 0.9}
    model = model_of(own).set_params(**parameters, max_iter=2).fit(X, y)
    before = model.predict(X)
    with pytest.raises(ModelFileError, match=rf"^{kind}: .*files hold no code") as told:
        save(model, tmp_path / "m.chainrule")
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(model.predict(X), before)


@pytest.mark.once
def test_a_fit_that_was_killed_goes_on(own, fitted, data, tmp_path, own_module):
    """The file of its state holds numbers and names; the components are given again."""
    X, y = data

    def stop(est, record):
        if record["epoch"] == 4:
            raise RuntimeError("killed")

    killed = clone(fitted).set_params(callbacks=[Resume(tmp_path / "fit"), stop])
    with pytest.raises(RuntimeError, match="killed"):
        killed.fit(X, y)
    changes = [
        {"solver": own.optimizer._replace(hyper=own.optimizer.hyper | {"twist": 0.4})},
        {"activation": own_module.make_bent(0.7)},
        {"activation": [own_module.make_bent(0.7)]},
    ]
    for change in changes:
        other = clone(fitted).set_params(callbacks=[Resume(tmp_path / "fit")], **change)
        with pytest.raises(ValueError, match=f"another {next(iter(change))}"):
            other.fit(X, y)
    again = clone(fitted).set_params(callbacks=[Resume(tmp_path / "fit")]).fit(X, y)
    assert again.callbacks[0].resumed_from_ >= 4
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))


@pytest.mark.once
def test_functions_inside_functions_say_so_to_pickle(own_module):
    for component in (own_module.make_bent(2.0), own_module.make_laplace(0.0)):
        with pytest.raises((AttributeError, pickle.PicklingError), match="local object"):
            pickle.dumps(component._replace(made_by=()))
        assert pickle.loads(pickle.dumps(component)).made_by == component.made_by


@pytest.mark.once
def test_what_was_changed_since_it_was_made_is_pickled(own_module):
    changed = own_module.make_gain(2.0)._replace(decay_factors=(0.5, 0.0), name="other")
    again = pickle.loads(pickle.dumps(changed))
    assert (again.name, again.decay_factors, again.made_by) == (
        "other",
        (0.5, 0.0),
        changed.made_by,
    )
    assert again.numbers(3) == (0.0, 2.0)
    # A function that was put in place of the maker's is kept as well.
    swapped = own_module.make_bent(2.0)._replace(pullback=own_module.bent_pullback)
    assert pickle.loads(pickle.dumps(swapped)).pullback is own_module.bent_pullback
    # What is as it was made is written as it always was.
    assert layers.dropout(0.25, 3).__reduce__() == (layers.dropout, (0.25, 3))
    assert losses.quantile((0.1, 0.9)).__reduce__() == (losses.quantile, ((0.1, 0.9),))


# --- factors on rates and decay, kept everywhere -----------------------------------------------


@pytest.mark.once
@pytest.mark.parametrize(
    "layer", [AFFINE, layers.layer_norm(1e-3), layers.dropout(0.5)], ids=lambda one: one.name
)
def test_factors_of_our_own_layers_are_kept_in_files(layer, data, tmp_path):
    X, Y = data
    layer = layer._replace(rate_factors=(3.0, 0.25), decay_factors=(0.0, 1))
    net = Network((3, 3, 2), layers=[layer, AFFINE], seed=0)
    save(net, tmp_path / "n.chainrule")
    for again in (load(tmp_path / "n.chainrule"), pickle.loads(pickle.dumps(net)), net.copy()):
        assert again.layers[1].rate_factors == (3.0, 0.25)
        assert again.layers[1].decay_factors == (0.0, 1)
        assert again.layers[1].name == layer.name
        trained = [one.copy() for one in (net, again)]
        for one in trained:
            train(one, X, Y, epochs=2, seed=0, engine="numpy")
        np.testing.assert_array_equal(trained[0].theta, trained[1].theta)
    with pytest.raises(ValueError, match=r"rate_factors of layer 1 \('affine'\)"):
        Network((3, 2), layers=[AFFINE._replace(rate_factors=(1.0, -1.0))])


@pytest.mark.once
def test_an_optimiser_with_other_numbers_is_kept_in_files(data, tmp_path):
    from chainrule import OPTIMIZERS

    lion = OPTIMIZERS["lion"]
    lion = lion._replace(hyper=lion.hyper | {"beta_2": 0.5})
    model = MLPRegressor(solver=lion, max_iter=2, random_state=0).fit(*data)
    save(model, tmp_path / "m.chainrule")
    assert load(tmp_path / "m.chainrule").solver.hyper == lion.hyper


# --- exports ---------------------------------------------------------------------------------

each_format = pytest.mark.parametrize("suffix", ["onnx", "c", "mjs", "py"])


@pytest.mark.once
@each_format
def test_own_activations_and_losses_are_exported(own, data, suffix, tmp_path):
    """Means and deviations agree; where a loss names no deviation, the predictions alone."""
    pytest.importorskip("onnxruntime")
    X, y = data
    for loss in (own.loss, own.loss._replace(deviation=None, made_by=())):
        model = model_of(own, loss=loss, normalization="layer").fit(X, y)
        assert export(model, tmp_path / f"m.{suffix}", sample=X) < 1e-5


@pytest.mark.once
@each_format
def test_an_unknown_component_raises_in_every_exporter(own, data, suffix, tmp_path):
    pytest.importorskip("onnxruntime")
    X, y = data
    strange = own.loss._replace(deviation=np.exp, made_by=())
    together = model_of(
        own, loss=own.loss._replace(deviation=None, made_by=()), output_activation="softmax"
    )
    for model, said in (
        (model_of(own), "a layer of the kind '.*gain' cannot be exported"),
        (
            model_of(own, activation=own.activation._replace(formula=None), normalization=None),
            "the activation '.*bent' has no formula",
        ),
        (
            model_of(own, loss=strange, normalization=None, standardize=False),
            "the deviation of the loss '.*laplace' is not made of",
        ),
        (together.set_params(normalization=None), "the output activation takes them together"),
    ):
        fit = model.set_params(max_iter=1).fit(X, y)
        with pytest.raises(ExportError, match=said):
            export(fit, tmp_path / f"m.{suffix}", sample=X)
    assert not list(tmp_path.iterdir())


def _twice(function):
    """The same, but what it writes last is twice as large."""

    def doubled(*arguments):
        function(*arguments)
        arguments[-1][...] *= 2

    return doubled


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.once
def test_wrong_components_are_refused_before_they_train(own, data):
    X, y = data
    wrong = own.loss._replace(delta=lambda z, a, y, delta: delta.fill(1.0), made_by=())
    with pytest.raises(DerivativeError, match="laplace"):
        model_of(own, loss=wrong).fit(X, y)
    for role in ("pullback", "gradient"):
        right = getattr(own.layer, role)
        twice = own.layer._replace(**{role: _twice(right)}, made_by=())
        with pytest.raises(DerivativeError, match=rf"layer '.*gain': {role}.* is wrong"):
            model_of(own, normalization=twice).fit(X, y)
    with pytest.raises(ValueError, match="no layer that normalises"):
        model_of(own, normalization=layers.dropout(0.5)).fit(X, y)
    with pytest.raises(ValueError, match=r"return_std=True needs loss='gaussian'"):
        MLPRegressor(max_iter=1).fit(X, y).predict(X, return_std=True)
    with pytest.raises(ValueError, match="needs a target above 0; y is"):
        model_of(own, loss=own.loss._replace(domain=losses.Domain(0, has_low=False))).fit(X, -y)


@pytest.mark.once
def test_a_classifier_takes_an_activation_that_gives_probabilities(own, data):
    X, y = data
    labels = (y[:, 0] > 50).astype(int)
    model = MLPClassifier((4,), own.activation, normalization=own.layer, max_iter=3, random_state=0)
    assert model.fit(X, labels).predict_proba(X).shape == (80, 2)


# --- one entry, one file -----------------------------------------------------------------------

ENTRIES = {
    "activations": ACTIVATION + '\nACTIVATIONS["bent"] = BENT\n',
    "losses": LOSS + '\nLOSSES["laplace"] = LAPLACE\n',
    "optimizers": OPTIMIZER + '\nOPTIMIZERS["damped"] = DAMPED\n',
    "layers": LAYER + '\nLAYERS["gain"] = GAIN\n',
}
BY_NAME = """
import sys
import warnings

import numpy as np

import chainrule
from chainrule.commands.cli import main

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X = rng.normal(size=(60, 2))
y = X[:, 0] + 0.1 * rng.laplace(size=60)
names = {"loss": "laplace", "activation": "bent", "solver": "damped", "beta_1": 0.8}
given = names | {"solver_options": {"twist": 0.2}, "max_iter": 3, "random_state": 0}
model = chainrule.MLPRegressor(**given, normalization="gain").fit(X, y)
chainrule.save(model, "own.chainrule")
again = chainrule.load("own.chainrule")
for a, b in zip(again.predict(X, return_std=True), model.predict(X, return_std=True)):
    np.testing.assert_array_equal(a, b)
model = chainrule.MLPRegressor(**given).fit(X, y)
for suffix in ("py", "c", "mjs", "onnx"):
    assert chainrule.export(model, f"own.{suffix}", sample=X) < 1e-5
net = chainrule.Network((2, 3, 2), activation="bent", loss="laplace", seed=0)
assert chainrule.gradcheck(net, X, y[:, None])
chainrule.train(net, X, y[:, None], optimizer="damped", hyper={"twist": 0.1}, epochs=1)
np.savetxt("d.csv", np.column_stack([X, y]), "%.6f", ",", header="a,b,y", comments="")
sys.argv = ["chainrule", "train", "d.csv", "-t", "y", "-q", "--cv", "2", "--max-iter", "2"]
sys.argv += ["--loss", "laplace", "--activation", "bent", "--solver", "damped"]
sys.argv += ["--normalization", "gain", "--solver-options", '{"twist": 0.3}', "-o", "d.chainrule"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
sys.argv = ["chainrule", "predict", "d.chainrule", "d.csv", "-o", "p.csv"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert open("p.csv").readline().strip().split(",")[-1] == "deviation"
"""


@pytest.mark.once
def test_an_entry_in_one_file_is_known_everywhere(tmp_path):
    """A copy of the package in which each module of equations has one entry more."""
    pytest.importorskip("onnxruntime")
    shutil.copytree(
        Path(chainrule.__file__).parent,
        tmp_path / "chainrule",
    )
    for module, text in ENTRIES.items():
        with open(
            tmp_path / "chainrule" / "equations" / f"{module}.py", "a", encoding="utf-8"
        ) as f:
            f.write(text)
    done = subprocess.run(
        [sys.executable, "-c", BY_NAME],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
