"""What the command line does not import although the libraries that it uses do.

Most of the time of a command on a small table is spent on imports, and most of those bring nothing
to it: skrub's `__init__` imports its reports, and so Matplotlib; scikit-learn imports scipy.stats;
skops imports all of scikit-learn to list its estimators. :func:`postpone_imports` changes that for
the process of the command line alone; importing chainrule changes nothing.
"""

from __future__ import annotations

import ast
import gc
import importlib
import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import resolve_name
from types import ModuleType
from typing import Any

# The code of these modules runs when a name in them is first needed, perhaps never. Modules inside
# of them are imported without it.
POSTPONED = (
    "matplotlib",
    "matplotlib.pyplot",
    "numpy.f2py",
    "requests",
    "scipy.stats",
    "sklearn.callback",
    "sklearn.compose",
    "sklearn.decomposition",
    "sklearn.feature_extraction",
    "sklearn.impute",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.metrics.cluster",
    "sklearn.model_selection",
    "sklearn.neighbors",
    "sklearn.preprocessing",
    "skops.io",
    "skrub",
)
# Functions of postponed modules that scikit-learn imports by name; calling one runs the module's
# code.
FUNCTIONS = {"scipy.stats": ("gmean", "rankdata")}
# Libraries treat these as not installed: Numba would prepare for coverage, skrub for data frames of
# polars, and scikit-learn for pytest. The command line has no use for any of them.
HIDDEN = ("coverage", "polars", "pytest")
# The names in these modules are None. skrub's tests need one, and pictures in three dimensions.
EMPTY = ("sklearn.utils._test_common.instance_generator", "mpl_toolkits.mplot3d")
# skops lists here, when it is imported, which types it trusts by default: those that two functions
# find, and some of two packages, if they can be imported. We name the types that we trust in each
# call (see files/trusted.py).
LISTING = "skops.io._trusted_types"
LISTERS = (("sklearn.utils", "all_estimators"), ("skops.io._utils", "get_public_type_names"))
LISTED = ("sklearn._loss", "sklearn.ensemble")


def postpone_imports() -> None:
    """Let modules that commands seldom need be imported when they are first used.

    Modules that have been imported already stay as they are. Garbage is looked for less often, for
    imports make many objects and hardly any garbage.
    """
    gc.set_threshold(50_000)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds the modules named above, and gives them another loader."""

    def __init__(self) -> None:
        self.hidden: tuple[str, ...] = HIDDEN

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in self.hidden:
            raise ModuleNotFoundError(f"the command line does not use {name}", name=name)
        loader: type[_Wrapped]
        if name in POSTPONED:
            loader = _Postponed
        elif name in EMPTY:
            loader = _Empty
        elif name == LISTING:
            loader = _WithoutLists
        else:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = loader(spec.loader, self)
        return spec


class _Wrapped(Loader):
    """A loader that leaves all but running a module's code to another one."""

    def __init__(self, loader: Any, finder: _Finder) -> None:
        self.loader, self.finder = loader, finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def __getattr__(self, name: str) -> Any:  # such as get_data, for files beside the module
        return getattr(self.loader, name)


class _Postponed(_Wrapped):
    """Runs a module's code when a name that it lacks is asked for (PEP 562).

    A name that the code of a package imports from a module of its own is taken from there, without
    running the code.
    """

    imported: dict[str, str] | None = None

    def exec_module(self, module: ModuleType) -> None:
        lock = threading.RLock()

        def load(name: str) -> Any:
            if name == "__path__":  # the import system asks whether it is a package
                raise AttributeError(name)
            with lock:
                try:
                    found = self.found_in_its_modules(module, name)
                except ImportError:  # such a module may need the package's code to be run before
                    found = None
                if found is not None:
                    return found
            if name in FUNCTIONS.get(module.__name__, ()):

                def function(*given: Any, **options: Any) -> Any:
                    return run(name)(*given, **options)

                return function
            return run(name)

        def run(name: str) -> Any:
            with lock:
                if vars(module).get("__getattr__") is load:
                    del module.__getattr__  # the module's code may define its own
                    self.loader.exec_module(module)
            return getattr(module, name)

        module.__getattr__ = load  # type: ignore[method-assign]

    def found_in_its_modules(self, module: ModuleType, name: str) -> Any:
        """A module in a package, or what a package imports from one; None if it is neither."""
        if not hasattr(module, "__path__"):
            return None
        package = module.__name__
        if PathFinder.find_spec(f"{package}.{name}", module.__path__) is not None:
            return importlib.import_module(f"{package}.{name}")
        if self.imported is None:
            self.imported = {}
            for node in ast.parse(self.loader.get_source(package)).body:
                if isinstance(node, ast.ImportFrom):
                    home = resolve_name("." * node.level + (node.module or ""), package)
                    if home.startswith(f"{package}."):
                        names = [alias.name for alias in node.names if alias.asname is None]
                        self.imported.update(dict.fromkeys(names, home))
        if name not in self.imported:
            return None
        return getattr(importlib.import_module(self.imported[name]), name)


class _Empty(_Wrapped):
    """Runs no code; every name is None."""

    def exec_module(self, module: ModuleType) -> None:
        def nothing(name: str) -> None:
            if name.startswith("__"):
                raise AttributeError(name)

        module.__getattr__ = nothing  # type: ignore[method-assign]


class _WithoutLists(_Wrapped):
    """Runs a module's code while nothing is found that it would list."""

    def exec_module(self, module: ModuleType) -> None:
        homes = [(importlib.import_module(home), name) for home, name in LISTERS]
        found = [(home, name, getattr(home, name)) for home, name in homes if hasattr(home, name)]
        try:
            self.finder.hidden = (*HIDDEN, *LISTED)
            for home, name, _ in found:
                setattr(home, name, lambda *args, **options: [])
            self.loader.exec_module(module)
        finally:
            self.finder.hidden = HIDDEN
            for home, name, function in found:
                setattr(home, name, function)
