"""What the process of the command line imports, and what it leaves out until it is used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("skrub", reason="tables are an extra")

from helpers import tables_data

pytestmark = pytest.mark.once

# Modules that are there if the code of the libraries that they belong to has been run.
HEAVY = (
    "matplotlib.figure",
    "scipy.stats._stats_py",
    "sklearn.ensemble._forest",
    "sklearn.metrics._ranking",
    "skops.io._persist",
    "skrub._data_ops",
    "skrub._reporting",
    "polars",
    "pytest",
    "requests.api",
)


def run(code, *arguments):
    """Run code in a new interpreter; what it prints last, from JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


COMMAND = (
    "import json, sys\n"
    "from chainrule.commands.cli import main\n"
    "try:\n"
    "    main()\n"
    "except SystemExit as end:\n"
    "    assert not end.code, end.code\n"
    f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))\n"
)


def test_commands_do_not_import_what_they_do_not_use(tmp_path):
    penguins, model = tmp_path / "penguins.csv", tmp_path / "model.chainrule"
    tables_data.penguins().to_csv(penguins, index=False)
    trained = run(
        COMMAND, "train", str(penguins), "--target", "species", "--quiet", "--output", str(model)
    )
    # It draws the learning curve, and evaluates the model.
    assert set(trained) <= {"matplotlib.figure", "sklearn.metrics._ranking"}
    out = tmp_path / "predicted.csv"
    assert run(COMMAND, "predict", str(model), str(penguins), "--output", str(out)) == []

    # The predictions are those of the model in Python, where nothing is postponed.
    import pandas as pd

    import chainrule

    table = pd.read_csv(penguins)
    expected = chainrule.load(model).predict(table)
    assert (pd.read_csv(out)["prediction"] == expected).all()


def test_what_is_postponed_is_there_when_it_is_used():
    code = (
        "import json, sys\n"
        "from chainrule.commands.imports import postpone_imports\n"
        "postpone_imports()\n"
        "import scipy.stats, skrub\n"
        "from scipy.stats import gmean\n"
        "before = ['scipy.stats._stats_py' in sys.modules, 'skrub._reporting' in sys.modules]\n"
        "from sklearn.metrics import accuracy_score\n"
        "from skrub import *\n"
        "import sklearn.metrics\n"
        "found = [gmean([1, 4]), scipy.stats.norm.cdf(0), accuracy_score([1, 2], [1, 1])]\n"
        "found += [sklearn.metrics.roc_auc_score([0, 1], [0, 1]), TableVectorizer.__name__]\n"
        "found += ['skrub' in dir(), hasattr(skrub, 'no such name')]\n"
        "try:\n"
        "    import polars\n"
        "except ImportError as error:\n"
        "    found.append(str(error))\n"
        "print(json.dumps([*before, *found]))\n"
    )
    assert run(code) == [
        *(False, False),
        *(2.0, 0.5, 0.5, 1.0, "TableVectorizer", True, False),
        "the command line does not use polars",
    ]


def test_importing_chainrule_postpones_nothing():
    code = (
        "import json, sys\n"
        "before = list(sys.meta_path)\n"
        "import chainrule, chainrule.commands.cli\n"
        "print(json.dumps(sys.meta_path == before))\n"
    )
    assert run(code) is True
