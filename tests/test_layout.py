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
# By their dotted names below `chainrule`; a room's `__init__` has the room's name.
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
)
ROOMS = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))

HEAVY = ["numba", "llvmlite", "scipy", "sklearn", "matplotlib", "pandas", "rich", "typer", "onnx"]
HEAVY += ["pyarrow", "duckdb"]
# They build on scikit-learn and load it.
ESTIMATORS = ("MLPClassifier", "MLPRegressor", "tabular_pipeline")

# Beside the engine, which alone asks for them: what is compiled.
COMPILED = ("board", "formulas", "loops", "products", "rows", "views")

# From the ground up: a module imports only from rows above its own, or from its own.
STOREYS = [
    {"vecmath", "pieces", "threads", "commands.terminal", "files.container", "files.walk"},
    {"activations", "losses", "layers", "optimizers", "initializers", "regularizers", "data"},
    {"backprop", "schedules", "config", "samples"},
    {"ahead", "engine", "kernel", "network", "checking", "plan", "predictor"},
    {"descent", "multioutput"},
    {"training"},
    {
        "warmup",
        "callbacks",
        "checkpoints",
        "loggers",
        "lr_finder",
        "displays",
        "parameters",
        "prediction",
        "files.encoding",
        "files.resuming",
        "files.trusted",
    },
    {"epochs", "files.fitted"},
    {"fitting", "files.persistence"},
    {
        "tables.types",
        "tables.files",
        "tables.csv",
        "tables.stores",
        "tables.opening",
        "tables.values",
        "tables.writing",
        "tables.reading",
        "tables.mapped",
    },
    {"tables.columns", "tables.leaks", "tables.findings"},
    {"classifier", "regressor", "digits", "plotting", "commands.report", "files.inspection"},
    {
        "tables.cells",
        "tabular",
        "evaluation",
        "evaluation_report",
        "commands.evaluation_text",
        "commands.predicting",
        "commands.preparing",
        "commands.jobs",
        "commands.options",
    },
    {
        "exports.c",
        "exports.c_parts",
        "exports.columns",
        "exports.estimator",
        "exports.js",
        "exports.graph",
        "exports.python",
        "exports.steps",
        "exports.text",
        "onnx",
    },
    {"exports.exporting"},
    {"commands.digits", "commands.doctor", "commands.models", "commands.tables", "commands.train"},
    {"cli"},
]
# The mathematics itself is read without any of the rest.
MATHEMATICS = [*STOREYS[1], "vecmath", "backprop", "network"]


def imports(module):
    """(module of ours or top-level name, inside a function?) for each import of a module."""
    path = SOURCE / module.replace(".", "/")
    path = path / "__init__.py" if module in ROOMS else path.with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()

    def visit(node, lazy):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            names = []
            if isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{module}: a relative import"
                names = [child.module]
                if child.module.removeprefix("chainrule.") in ("chainrule", *ROOMS):
                    inner = [f"{child.module}.{alias.name}" for alias in child.names]
                    names = [n if n[10:] in MODULES else child.module for n in inner]
                    names = [n for n in names if n != "chainrule"]
            for name in names:
                head, _, rest = name.partition(".")
                found.add((rest if head == "chainrule" and rest else head, inside))
            visit(child, inside)

    visit(tree, False)
    return found


def ours(module):
    """Modules of ours that a module imports when it is imported itself."""
    return {name for name, lazy in imports(module) if name in MODULES and not lazy}


def test_imports_form_no_circle():
    graph = {module: ours(module) for module in MODULES}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert set(order) == set(MODULES)


def test_every_module_has_its_storey():
    placed = [module for row in STOREYS for module in row]
    assert sorted([*placed, *ROOMS, *COMPILED, "__init__", "__main__"]) == MODULES


def test_imports_point_down():
    """The mathematics knows nothing of training, training nothing of the surfaces."""
    storey = {module: i for i, row in enumerate(STOREYS) for module in row}
    for module, here in storey.items():
        for name in ours(module):
            at = max(storey[n] for n in ours(name)) if name in ROOMS else storey[name]
            assert at <= here, f"{module} imports {name}"
    assert ours("vecmath") == set()
    assert {"training", "network", "checking"} & ours("backprop") == set()


def test_only_the_engine_knows_numba():
    for module in MODULES:
        knows = {"numba", "llvmlite"} & {name for name, _ in imports(module)}
        assert not knows or module in ("engine", *COMPILED), f"{module} imports {knows}"
        if module in MATHEMATICS:
            strange = {name for name, lazy in imports(module) if not lazy and name in HEAVY}
            assert not strange, f"{module} imports {strange}"
        if module not in ("engine", *COMPILED):
            assert not set(COMPILED) & {name for name, _ in imports(module)}, module


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
    told = {
        alias.name: statement.module.removeprefix("chainrule.")
        for statement in block.body
        for alias in statement.names
    }
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


@pytest.mark.parametrize("module", [m for m in MODULES if m not in (*COMPILED, "__main__")])
def test_modules_and_their_functions_are_documented(module):
    loaded = importlib.import_module(f"chainrule.{module}".removesuffix(".__init__"))
    assert loaded.__doc__
    for name, thing in vars(loaded).items():
        mine = getattr(thing, "__module__", None) == loaded.__name__
        if mine and callable(thing) and not name.startswith("_"):
            assert inspect.getdoc(thing), f"{module}.{name}"


def test_typed():
    assert (SOURCE / "py.typed").is_file()
