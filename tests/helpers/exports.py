"""Models of every kind to export, and runs of what was exported by gcc, node and Python."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

from chainrule import ACTIVATIONS, MLPClassifier, MLPRegressor, losses
from chainrule.exports.columns import read_model
from chainrule.exports.exporting import made_up_rows, own_values
from chainrule.exports.python import write_python

# What would be code, or end a string, if it were written down carelessly.
HOSTILE = [
    "a\"];\nimport os; os.mkdir('canary') #",
    "b*/ int x = 1/0; /*",
    "c</script><script>alert(1)</script>",
    "d'''${process.exit(1)}`\\",
    'e??/" \u2028 é 日本 \N{GRINNING FACE}',
    "f\\\n\t%s%n{0}\r",
]
SMALL = {"max_iter": 3, "engine": "numpy", "random_state": 0}


def fit(model, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y)


def rows_of(X):
    """Rows as lists, None where a value is missing; dates as seconds since 1970."""
    if hasattr(X, "columns"):
        epoch = pd.Timestamp("1970-01-01")
        dated = X.select_dtypes("datetime").columns
        X = X.assign(**{name: (X[name] - epoch).dt.total_seconds() for name in dated})
    values = X.to_numpy(object).tolist() if hasattr(X, "columns") else np.asarray(X).tolist()
    return [[None if v is None or v != v else v for v in row] for row in values]


def numbers(n=60, seed=0):
    """Columns of very different scales; the third has a mean far from 0."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4)) * [1, 30, 0.8, 1e-3] + [0, 5, 2008, 0]
    return X.astype(np.float32).astype(float)  # what single precision holds


def table(n=120):
    """Numbers, texts and holes."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            HOSTILE[0]: rng.normal(size=n),
            "island": rng.choice(["Bîscoe", "Dream", HOSTILE[1], HOSTILE[4]], size=n),
            "mass": rng.normal(4200, 800, size=n).round(),
            "sex": rng.choice(["male", "female"], size=n),
            "year": rng.integers(2007, 2010, size=n),
            "left out": ["x"] * n,
        }
    )
    frame.loc[::7, "mass"] = np.nan
    frame["sex"] = frame["sex"].astype(object)
    frame.loc[::9, "sex"] = np.nan
    return frame


def _classifiers():
    X = numbers()
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 5)
    names = np.array(HOSTILE)[y]
    for name in ACTIVATIONS:
        yield f"activation {name}", MLPClassifier((5, 3), name, **SMALL), X, y
    yield "texts", MLPClassifier((4,), **SMALL), X, names
    yield "two classes", MLPClassifier((4,), ["gelu"], loss="focal", **SMALL), X, y > 0
    yield "two texts", MLPClassifier((4,), **SMALL), X, np.array(HOSTILE)[np.minimum(y, 1)]
    yield "wide", MLPClassifier((50, 60), **SMALL), X, y
    yield "no hidden layer", MLPClassifier((), **SMALL), X, y - 1
    yield "labels", MLPClassifier((4,), **SMALL), X, np.stack([y > 0, y > 1, X[:, 0] > 0], 1) * 1
    yield "one class", MLPClassifier((4,), **SMALL), X, np.full(len(X), "only")
    options = {"normalization": "batch", "dropout": 0.2, "input_noise": 0.1}
    yield "batch", MLPClassifier((5, 3), ["tanh", "mish"], **options, **SMALL), X, y
    yield "layer", MLPClassifier((5, 3), "silu", normalization="layer", **SMALL), X, y
    plain = {"standardize": False, "ema_decay": 0.9}
    yield "not standardised", MLPClassifier((4,), **plain, **SMALL), X / [1, 30, 2008, 1], y
    single = (X - [0, 0, 2008, 0]).astype(np.float32)  # far from 0, single precision is no exact
    yield "single precision", MLPClassifier((5,), "elu", **SMALL), single, y
    holes = X.copy()
    holes[::5, 1] = holes[::4, 3] = np.nan
    yield "holes", MLPClassifier((4,), missing="indicator", **SMALL), holes, y


def _regressors():
    X = numbers()
    y = 1e6 + 1e4 * X[:, 0] + X[:, 1]
    two = np.stack([y, X[:, 1]], axis=1)

    def made(loss="squared_error", **options):
        return MLPRegressor(loss, (4,), "tanh", **options, **SMALL)

    for name, target in (("one", y), ("two", two)):
        yield f"squared error, {name}", made(), X, target
        levels = [0.1, 0.5, 0.9]
        yield f"quantiles, {name}", made("quantile", quantile=levels), X, target
        yield f"gaussian, {name}", made("gaussian", normalization="layer"), X, target
    yield "quantile", made("quantile", quantile=0.2), X, y
    yield "huber", made("huber", standardize=False), X / 2008, y / 1e6
    yield "poisson", made("poisson"), X, np.abs(two)
    yield "tweedie", made(losses.tweedie(1.5)), X, np.abs(X[:, 1])
    yield "softplus output", made(output_activation="softplus"), X, np.abs(X[:, 1])


def _pipelines():
    X = table()
    y = np.where(X["mass"].fillna(4000) > 4100, HOSTILE[2], "light")
    mass = ["mass", HOSTILE[0]]

    def imputed(scaler):
        return make_pipeline(SimpleImputer(strategy="median", add_indicator=True), scaler)

    def named(before, model=None):
        return make_pipeline(before, model or MLPClassifier((4,), **SMALL))

    ignoring = OneHotEncoder(handle_unknown="ignore")
    yield (
        "one-hot",
        named(
            make_column_transformer(
                (imputed(StandardScaler()), [*mass, "year"]), (ignoring, ["island", "sex"])
            )
        ),
        X,
        y,
    )
    yield "texts alone", named(make_column_transformer((ignoring, ["island", "sex"]))), X, y
    rare = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=35)
    yield (
        "rare levels",
        named(
            make_column_transformer(
                (make_pipeline(RobustScaler(), SimpleImputer()), mass), (rare, ["island", "year"])
            )
        ),
        X,
        y,
    )
    marked = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan
    )
    scaled = make_pipeline(marked, SimpleImputer(add_indicator=True), MinMaxScaler(clip=True))
    yield (
        "ordinal",
        named(
            make_column_transformer(
                (imputed(MaxAbsScaler()), mass), (scaled, ["sex", "year"]), sparse_threshold=0
            )
        ),
        X,
        y,
    )
    filled = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(drop="first"))
    yield (
        "filled texts",
        named(
            make_column_transformer(
                (imputed(RobustScaler()), mass), (filled, ["sex"]), ("passthrough", ["year"])
            ),
            MLPRegressor(hidden_layer_sizes=(4,), **SMALL),
        ),
        X,
        X["mass"].fillna(0) * 10.0,
    )
    yield (
        "scaled",
        make_pipeline(
            StandardScaler(), MinMaxScaler((-1, 1), clip=True), MLPClassifier((4,), **SMALL)
        ),
        numbers(),
        np.arange(60) % 3,
    )


DAYS = [
    *["1900-02-28", "1900-03-01", "1970-01-01", "1969-12-31T23:59:59", "2000-02-29T12:30:01"],
    *["2000-03-01", "2000-12-31T23:59:59", "2023-02-28", "2024-02-29T01:02:03", "2024-03-01"],
    *["2100-02-28", "2100-03-01", "1700-01-01", "2261-12-31T00:00:59"],
]


def dates(n=120):
    """Dates around which calendars go wrong, others, holes, and another column of days alone."""
    rng = np.random.default_rng(2)
    others = pd.to_datetime(rng.integers(-8_000_000_000, 9_000_000_000, n - len(DAYS)), unit="s")
    when = pd.Series([*pd.to_datetime(DAYS, format="ISO8601"), *others])
    frame = pd.DataFrame({"when": when, "day": when[::-1].dt.normalize().to_numpy()})
    frame.loc[20::7, "when"] = pd.NaT
    return frame.assign(mass=rng.normal(size=n))


def _dated():
    from skrub import ApplyToCols, DatetimeEncoder, SquashingScaler

    X = dates()
    y = np.arange(len(X)) % 3
    circles = DatetimeEncoder(periodic_encoding="circular", add_weekday=True)
    plain = DatetimeEncoder(resolution="second", add_weekday=True)
    for name, encoder in (("dates on circles", circles), ("dates in parts", plain)):
        parts = make_pipeline(ApplyToCols(encoder), SquashingScaler(), SimpleImputer())
        marked = make_pipeline(
            ApplyToCols(DatetimeEncoder(resolution=None)), MissingIndicator(error_on_new=False)
        )
        columns = make_column_transformer(
            (parts, ["when", "day"]), (marked, ["when", "day"]), (SquashingScaler(), ["mass"])
        )
        yield name, make_pipeline(columns, MLPClassifier((4,), **SMALL)), X, y


def zoo():
    """(name, fitted model, X it was fitted on) of many kinds."""
    found = []
    makers = [_classifiers, _regressors, _pipelines]
    makers += [_dated] if importlib.util.find_spec("skrub") else []
    for make in makers:
        for name, model, X, y in make():
            found.append((name, fit(model, X, y), X))
    return found


def expected(model, X):
    """(values, labels) of our own, by predict and predict_proba alone; labels None for numbers."""
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    if hasattr(last, "classes_"):
        return np.asarray(model.predict_proba(X)), model.predict(X).tolist()
    if getattr(last, "loss", None) == "gaussian":
        mean, deviation = model.predict(X, return_std=True)
        parts = [np.reshape(part, (len(part), -1)) for part in (mean, deviation)]
        return np.hstack(parts), None
    prediction = np.asarray(model.predict(X))
    return prediction.reshape(len(prediction), -1), None


def compare(name, found, own):
    """Assert that values agree to 1e-5, of each column's largest for numbers, and labels too."""
    values, labels = own
    assert found.shape == values.shape, name
    size = 1.0 if labels is not None else np.abs(values).max(axis=0)
    assert (np.abs(found - values) / size).max() < 1e-5, name


def run_python(folder, cases):
    """{name: {"values", "labels"}} by the exported Python files, with NumPy alone."""
    (folder / "rows.json").write_text(json.dumps(cases))
    code = """
import importlib.util, json, sys
found = {}
for name, (path, rows) in json.load(open(sys.argv[1])).items():
    spec = importlib.util.spec_from_file_location("exported", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.check() < 1e-5, name
    found[name] = {
        "values": module.values(rows).tolist(),
        "labels": module.predict(rows).tolist(),
    }
strange = {"chainrule", "sklearn", "scipy", "pandas", "onnx"} & set(sys.modules)
assert not strange, strange
json.dump(found, open(sys.argv[2], "w"))
"""
    command = [sys.executable, "-I", "-W", "error", "-c", code]
    run(folder, [*command, "rows.json", "found.json"])
    return json.loads((folder / "found.json").read_text())


def run_node(folder, cases):
    """The same by the exported modules, in node."""
    (folder / "rows.json").write_text(json.dumps(cases))
    (folder / "run.mjs").write_text("""
import { readFileSync, writeFileSync } from "node:fs";
const found = {};
for (const [name, [path, rows]] of Object.entries(JSON.parse(readFileSync("rows.json")))) {
  const module = await import(path);
  if (!(module.check() < 1e-5)) throw new Error(name);
  const values = (row) => {
    if (module.predictProba) return module.predictProba(row);
    const all = [module.predict(row)].flat(2);
    return module.predictStd ? [...all, ...[module.predictStd(row)].flat()] : all;
  };
  found[name] = { values: rows.map(values), labels: rows.map((row) => module.predict(row)) };
}
writeFileSync("found.json", JSON.stringify(found));
""")
    run(folder, [shutil.which("node"), "run.mjs"])
    return json.loads((folder / "found.json").read_text())


def c_text(text):
    return '"' + "".join(f"\\{byte:03o}" for byte in text.encode()) + '"'


def run_c(folder, cases):
    """{name: {"values", "best", "classes"}} by the exported C files, in one program."""
    main, calls, objects = ["#include <math.h>", "#include <stdio.h>"], [], []
    for k, (path, rows, kind, n_values, textual) in enumerate(cases.values()):
        stem = Path(path).stem
        objects.append(path)
        n = len(rows[0])
        given = ", ".join(
            "NAN" if v is None else "0" if isinstance(v, str) else repr(float(v))
            for row in rows
            for v in row
        )
        texts = ", ".join(c_text(v) if isinstance(v, str) else "0" for row in rows for v in row)
        main.append(f"static const double x{k}[] = {{{given}}};")
        argument, types = f"x{k} + i * {n}", "const double *"
        if textual:
            main.append(f"static const char *const t{k}[] = {{{texts}}};")
            argument += f", t{k} + i * {n}"
            types += ", const char *const *"
        function = f"{stem}_predict" if kind == "numbers" else f"{stem}_predict_proba"
        main.append(f"int {function}({types}, double *);")
        calls.append(f"for (i = 0; i < {len(rows)}; i++) {{")
        calls.append(f"status = {function}({argument}, out);")
        calls.append(f'for (j = 0; j < {n_values}; j++) printf("%.17g ", out[j]);')
        if kind == "classes":
            main.append(f"int {stem}_predict({types});")
            calls.append(f"status += {stem}_predict({argument});")
        calls.append('printf("%d\\n", status); }')
    main.append("int main(void) { int i, j, status; double out[100];")
    main += [*calls, "return 0; }"]
    (folder / "main.c").write_text("\n".join(main))
    flags = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"]
    run(folder, [shutil.which("gcc"), *flags, *objects, "main.c", "-lm", "-o", "all"])
    lines = iter(run(folder, [str(folder / "all")]).splitlines())
    found = {}
    for name, (_, rows, *_) in cases.items():
        table = np.array([list(map(float, next(lines).split())) for _ in rows])
        found[name] = {"values": table[:, :-1], "best": table[:, -1].astype(int)}
    return found


def run(folder, command):
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def python_text(model):
    """The exported Python file's text."""
    program = read_model(model)
    X, rows = made_up_rows(model, program, 3)
    return write_python(program, rows, own_values(model, program, X))
