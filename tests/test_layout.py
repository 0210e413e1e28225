"""How the house is built: which way imports point, what importing costs, what is documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import chainrule

SOURCE = Path(chainrule.__file__).parent
# From the lowest up: a subpackage imports from itself and from those before it.
SUBPACKAGES = (
    "base",
    "equations",
    "engine",
    "network",
    "monitoring",
    "tables",
    "training",
    "ensembles",
    "estimators",
    "explain",
    "digits",
    "files",
    "exports",
    "app",
    "dask",
    "search",
    "commands",
)
# These stand on the first two subpackages alone.
APART = ("monitoring", "tables")
TOP = ("__init__", "__main__")

# By their dotted names below `chainrule`; the `__init__` of a subpackage has its name.
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
)

HEAVY = ["numba", "llvmlite", "scipy", "sklearn", "matplotlib", "pandas", "rich", "typer", "onnx"]
HEAVY += ["pyarrow", "duckdb"]
# They build on scikit-learn and load it.
ESTIMATORS = ("MLPClassifier", "MLPRegressor", "tabular_pipeline")
ESTIMATORS += ("TabularClassifier", "TabularRegressor", "Tuned", "tune")


def imports(module):
    """{imported module of ours, or top-level name: whether only inside functions}."""
    path = SOURCE / module.replace(".", "/")
    path = path / "__init__.py" if module in SUBPACKAGES else path.with_suffix(".py")
    found = {}

    def visit(node, lazy):
        for child in ast.iter_child_nodes(node):
            inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            names = []
            if isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{module}: a relative import"
                inner = [f"{child.module}.{alias.name}" for alias in child.names]
                names = [n if n[10:] in MODULES else child.module for n in inner]
            for name in names:
                ours = name.startswith("chainrule.")
                key = name.removeprefix("chainrule.") if ours else name.partition(".")[0]
                if not ours and key in SUBPACKAGES:
                    key = f"the library {key}"
                found[key] = inside and found.get(key, True)
            visit(child, inside)

    visit(ast.parse(path.read_text(encoding="utf-8")), False)
    return found


def ours(module):
    """Modules of ours that a module imports anywhere: in functions and for types, too."""
    return {name for name in imports(module) if name in MODULES and name != module}


def subpackage(module):
    """The subpackage that a module is in."""
    return module.partition(".")[0]


def test_every_module_is_in_a_subpackage():
    assert {subpackage(module) for module in MODULES} == {*SUBPACKAGES, *TOP}
    for module in (*TOP, *SUBPACKAGES):
        assert module in MODULES, f"{module} has no __init__.py"


def test_imports_point_one_way():
    for module in set(MODULES) - set(TOP):
        here = SUBPACKAGES.index(subpackage(module))
        allowed = (
            (*SUBPACKAGES[:2], subpackage(module))
            if subpackage(module) in APART
            else SUBPACKAGES[: here + 1]
        )
        for name in ours(module):
            assert subpackage(name) in allowed, f"{module} imports {name}"
        assert "chainrule" not in imports(module), f"{module} imports the package as a whole"


def test_imports_form_no_circle():
    # The __init__ of a subpackage is loaded before any module in it, and what it imports from there
    # is public.
    graph = {module: ours(module) for module in set(MODULES) - set(TOP)}
    assert set(TopologicalSorter(graph).static_order()) == set(graph)  # raises CycleError


def test_only_the_engine_knows_numba():
    for module in MODULES:
        knows = {"numba", "llvmlite"} & set(imports(module))
        assert not knows or subpackage(module) == "engine", f"{module} imports {knows}"


def test_the_equations_need_numpy_alone():
    for module in MODULES:
        if subpackage(module) in ("base", "equations"):
            eager = {name for name, lazy in imports(module).items() if not lazy}
            assert not eager & set(HEAVY), f"{module} imports {eager & set(HEAVY)}"


def fresh(code):
    """Run code in a new interpreter; its output, in lines."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_importing_is_light():
    show = f"import sys; print([name for name in {HEAVY} + ['numpy'] if name in sys.modules])"
    assert fresh(f"import chainrule; {show}") == ["[]"]
    # Every public name that needs none of them, and training in NumPy.
    code = (
        "import chainrule\n"
        f"for name in set(chainrule.__all__) - {set(ESTIMATORS)}: getattr(chainrule, name)\n"
        "net = chainrule.Network((2, 3, 1), seed=0)\n"
        "chainrule.train(net, [[0, 1], [1, 0]], [[1], [0]], epochs=2)\n"
        f"import sys; print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert fresh(code) == ["[]"]


def test_public_names():
    assert len(set(chainrule.__all__)) == len(chainrule.__all__)
    assert dir(chainrule) == sorted(chainrule.__all__)
    for name in chainrule.__all__:
        assert getattr(chainrule, name) is not None
    with pytest.raises(AttributeError, match="trian"):
        chainrule.trian  # noqa: B018
    assert set(chainrule._HOMES) == set(chainrule.__all__) - {"__version__"}


def test_names_for_the_type_checker_are_the_lazy_ones():
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    block = next(
        node
        for node in tree.body
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    )
    told = {}
    for statement in block.body:
        home = statement.module.removeprefix("chainrule.")
        for alias in statement.names:
            is_module = f"{home}.{alias.name}" in MODULES and alias.name in chainrule._MODULES
            told[alias.name] = f"{home}.{alias.name}" if is_module else home
    assert told == chainrule._HOMES


@pytest.mark.parametrize("name", [n for n in chainrule.__all__ if n != "__version__"])
def test_public_names_are_documented(name):
    thing = getattr(chainrule, name)
    if not callable(thing):
        return  # a table
    doc = inspect.getdoc(thing)
    assert doc, name
    if inspect.isfunction(thing):
        for parameter in inspect.signature(thing).parameters:
            assert parameter in doc, f"{name}: {parameter} is not described"
    if inspect.isclass(thing):
        for attribute, value in vars(thing).items():
            if inspect.isfunction(value) and not attribute.startswith("_"):
                assert inspect.getdoc(value), f"{name}.{attribute}"


# Imported by the compiler only, which gives the functions in them their meaning.
COMPILED = {"formulas", "loops", "products", "rows", "views"}


@pytest.mark.parametrize(
    "module", [m for m in MODULES if m != "__main__" and m.rpartition(".")[2] not in COMPILED]
)
def test_modules_and_their_functions_are_documented(module):
    loaded = importlib.import_module(f"chainrule.{module}".removesuffix(".__init__"))
    assert loaded.__doc__
    for name, thing in vars(loaded).items():
        mine = getattr(thing, "__module__", None) == loaded.__name__
        if mine and callable(thing) and not name.startswith("_"):
            assert inspect.getdoc(thing), f"{module}.{name}"


def test_typed():
    assert (SOURCE / "py.typed").is_file()


# Comparisons with what is also a component's name, and why they are right.
COMPARED = {
    # values of scikit-learn's parameters, which stand for more than an entry
    ("estimators.epochs", "constant"),
    ("estimators.epochs", "sgd"),
    ("estimators.parameters", "sgd"),
    ("estimators.parameters", "adam"),
    # the article's recipe
    ("digits.diagnosis", "uniform"),
    # what is not worth a word in a list of layers
    ("files.inspection", "affine"),
    ("files.inspection", "identity"),
    # other things of the same name: kinds of columns, operations of formulas, a range's step
    *((f"commands.{name}", "constant") for name in ("doctor", "evaluation_text", "preparing")),
    *(("exports.columns", "constant"), ("tables.findings", "constant")),
    *((f"exports.{name}", "softmax") for name in ("ensembles", "estimator", "python")),
    *((f"exports.{name}", "cosine") for name in ("c", "graph")),
    ("files.trusted", "step"),
    # an ensemble's loss, "softmax" or "squared", and its part "step"
    *((f"ensembles.{name}", "softmax") for name in ("blending", "fitted", "loop")),
    *(("ensembles.settings", "softmax"), ("estimators.tabular_ensemble", "step")),
    ("files.ensembles", "step"),
    # worked examples spell these out by name
    *(("explain.worked", name) for name in ("affine", "identity", "softmax", "sgd")),
    ("explain.displays_of_networks", "identity"),
    *(("explain.worked", name) for name in ("squared_error", "binary_cross_entropy")),
    *(("explain.models", name) for name in ("sgd", "adam")),
    *(("explain.faults_of_networks", name) for name in ("tanh", "logistic")),
}


@pytest.mark.once
def test_what_a_component_is_is_said_by_its_entry():
    """Other modules read an entry's facts; they do not ask for its name."""
    tables = (
        *(chainrule.ACTIVATIONS, chainrule.LOSSES, chainrule.LAYERS),
        *(chainrule.OPTIMIZERS, chainrule.INITIALIZERS, chainrule.SCHEDULES),
    )
    names = {name for table in tables for name in table}
    found = set()
    for module in MODULES:
        if subpackage(module) == "equations" or module in (*TOP, *SUBPACKAGES):
            continue
        path = (SOURCE / module.replace(".", "/")).with_suffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare | ast.Match):
                texts = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}
                found |= {(module, name) for name in texts if name in names}
    assert found == COMPARED
