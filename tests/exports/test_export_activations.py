"""An activation's formula, written in every exported language."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from helpers import exports

from chainrule import ACTIVATIONS, Activation, MLPClassifier, MLPRegressor, export, load, save
from chainrule.equations import expressions as ex
from chainrule.equations.expressions import FUNCTIONS, Z, formula_of
from chainrule.exports.c import write_c
from chainrule.exports.columns import read_model
from chainrule.exports.js import write_js
from chainrule.exports.python import write_python
from chainrule.exports.steps import Activate, ExportError, Softmax

pytest.importorskip("onnxruntime")


def bump(z, a):
    np.multiply(z, z, a)
    a *= z.dtype.type(-1)
    np.exp(a, a)


def bump_pullback(z, a, delta):
    delta *= a * z * z.dtype.type(-2)


def bump_formula(z):
    return ex.exp(-(z * z))


BUMP = Activation('bump; */ "\n', bump, bump_pullback, formula=bump_formula)
# Each operation, in a formula whose values are finite for every z.
FORMULAS = {
    "exp": lambda z: ex.exp(-z * z),
    "expm1": lambda z: ex.expm1(ex.minimum(z, 0)),
    "log": lambda z: ex.log(1.5 + z * z),
    "log1p": lambda z: ex.log1p(z * z),
    "sqrt": lambda z: ex.sqrt(z * z + 1) - 1,
    "tanh": lambda z: z - ex.tanh(z) / 3,
    "erf": lambda z: ex.erf(-0.7 * z),
    "absolute": lambda z: z / (1 + ex.absolute(z)),
    "logistic": lambda z: 2 * ex.logistic(1.7 * z) - 1,
    "softplus": lambda z: ex.softplus(-z),
    "maximum": lambda z: ex.maximum(ex.maximum(z, -0.5), 0.1 * z),
    "minimum": lambda z: ex.minimum(z, 2) + ex.minimum(0.5, z),
    "where": lambda z: ex.where(z < -1, -1, ex.where(z < 0.5, z, z * z + 0.25)),
    "softmax": ex.softmax,
}
POINTS = np.array([-800, -90, -20, -3, -1, -0.5, -1e-3, 0, 1e-3, 0.25, 0.5, 1, 2.5, 20, 90, 800])


def files(programs, rows, folder):
    """Values of programs of one column in every language: {language: {name: values}}."""
    from chainrule.exports.exporting import run_onnx
    from chainrule.exports.graph import make_onnx

    found = {"onnx": {}, "python": {}}
    node, c = {}, {}
    for k, (name, program) in enumerate(programs.items()):
        n = len(program.value_names)
        text = write_python(program, rows[:2], np.zeros((2, n)))
        module = {"__name__": "exported"}
        exec(compile(text, name, "exec"), module)
        found["python"][name] = module["values"](rows)
        values = module["values"](rows[:2])
        (folder / f"p{k}.mjs").write_text(write_js(program, rows[:2], values))
        (folder / f"p{k}.c").write_text(write_c(program, rows[:2], values, f"p{k}"))
        node[name] = [f"./p{k}.mjs", rows]
        c[name] = (f"p{k}.c", rows, "numbers", n, False)
        graph = make_onnx(program, "float64")
        found["onnx"][name] = run_onnx(graph.SerializeToString(), graph, program, rows)[0]
    if shutil.which("node"):
        found["js"] = {k: v["values"] for k, v in exports.run_node(folder, node).items()}
    if shutil.which("gcc"):
        found["c"] = {k: v["values"] for k, v in exports.run_c(folder, c).items()}
    return found


def program_of(formula, name="own"):
    """A program of one column whose only layer is z = x, and σ(z)."""
    X = np.linspace(-1, 1, 20)[:, None]
    model = exports.fit(
        MLPRegressor(hidden_layer_sizes=(), standardize=False, **exports.SMALL), X, X[:, 0]
    )
    program = read_model(model)
    first = program.steps[0]._replace(W=np.ones((1, 1)), b=np.zeros(1))
    last = Softmax(1) if formula.operation == "softmax" else Activate(name, formula)
    return replace(program, numbers=[program.numbers[0]], steps=[first, last])


def test_every_operation_and_every_activation_agrees_in_every_language(tmp_path):
    assert {*FORMULAS} == {*FUNCTIONS}
    programs, own = {}, {}
    z = POINTS[:, None]
    for name, activation in ACTIVATIONS.items():
        programs[name] = program_of(formula_of(activation), name)
        own[name] = np.empty_like(z)
        keep = np.where((z > 80) & (name == "exp"), 80.0, z)
        activation.f(keep, own[name])
    for name, formula in FORMULAS.items():
        programs[f"formula {name}"] = program_of(formula(Z), name)
    rows = [[float(x)] for x in POINTS]
    found = files(programs, rows, tmp_path)
    assert {"python", "onnx"} <= set(found)
    for language, values in found.items():
        for name in programs:
            expected = own.get(name, found["python"][name])
            given = np.asarray(values[name], float)
            if name == "exp":
                expected, given = expected[:-2], given[:-2]
            assert np.isfinite(given).all(), (language, name)
            size = np.maximum(np.abs(expected), 1)
            assert (np.abs(given - expected) / size).max() < 1e-6, (language, name)


@pytest.mark.parametrize("suffix", ["onnx", "c", "mjs", "py"])
def test_an_activation_of_ones_own_is_exported_by_its_formula(suffix, tmp_path):
    X = exports.numbers()
    y = (X[:, 0] > 0).astype(int)
    model = exports.fit(MLPClassifier((5, 3), [BUMP, "tanh"], **exports.SMALL), X, y)
    assert export(model, tmp_path / f"m.{suffix}", sample=X) < 1e-5


def test_two_activations_of_one_name_are_kept_apart(tmp_path):
    X = exports.numbers()
    y = (X[:, 0] > 0).astype(int)
    other = Activation("BUMP", *ACTIVATIONS["tanh"][1:3], formula=ex.tanh)
    model = exports.fit(MLPClassifier((5, 3), [BUMP, other], **exports.SMALL), X, y)
    for suffix in ("onnx", "c", "mjs", "py"):
        assert export(model, tmp_path / f"m.{suffix}", sample=X) < 1e-5
    cases = {"m": ("m.c", X.tolist(), "classes", 2, False)}
    if shutil.which("gcc"):
        found = exports.run_c(tmp_path, cases)["m"]["values"]
        np.testing.assert_allclose(found, model.predict_proba(X), atol=1e-5)


def _bad(z):
    return np.exp(z)


@pytest.mark.parametrize("suffix", ["onnx", "c", "mjs", "py"])
@pytest.mark.parametrize(
    ("formula", "said"),
    [
        (None, "the activation 'own' has no formula"),
        (_bad, "the formula of the activation 'own' is not made of"),
        (lambda z: z if z > 0 else -z, "use where"),
        (lambda z: 2 * ex.softmax(z), "softmax"),
        (lambda z: "z", "numbers and expressions"),
        (ex.exp, "differs from the model"),
    ],
)
def test_what_no_program_can_be_made_of_is_refused(suffix, formula, said, tmp_path):
    X = exports.numbers()
    own = Activation("own", *ACTIVATIONS["tanh"][1:3], formula=formula)
    model = exports.fit(MLPRegressor("squared_error", (4,), own, **exports.SMALL), X, X[:, 0])
    with pytest.raises(ExportError, match=said):
        export(model, tmp_path / f"m.{suffix}", sample=X)
    assert not list(tmp_path.iterdir())


def _onnx(program, rows, values):
    from chainrule.exports.graph import make_onnx

    return make_onnx(program)


WRITERS = {
    "onnx": _onnx,
    "c": lambda program, rows, values: write_c(program, rows, values, "m"),
    "js": write_js,
    "python": write_python,
}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_no_exporter_passes_over_what_it_does_not_know(writer):
    class Strange(NamedTuple):
        n: int

    program = program_of(ex.Expression("arcsine", Z))
    with pytest.raises(ValueError, match="arcsine"):
        writer(program, [[0.0]], [[0.0]])
    program = replace(program, steps=[program.steps[0], Strange(1)])
    with pytest.raises(ExportError, match="Strange"):
        writer(program, [[0.0]], [[0.0]])


def test_a_formula_reads_as_it_was_written():
    def silu(z):
        return -z * ex.logistic(z + 1) / 2

    assert repr(silu(Z)) == "(((0.0 - z) * logistic((z + 1.0))) / 2.0)"
    with pytest.raises(TypeError, match="numbers"):
        ex.exp("x")
    with pytest.raises(TypeError, match="comparison"):
        ex.where(1, Z, Z)


def test_a_stored_model_is_exported_by_the_activations_name(tmp_path):
    X = exports.numbers()
    model = exports.fit(MLPClassifier((4,), "mish", **exports.SMALL), X, X[:, 0] > 0)
    save(model, tmp_path / "m.chainrule")
    assert export(load(tmp_path / "m.chainrule"), tmp_path / "m.c", sample=X) < 1e-5
