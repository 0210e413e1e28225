"""What is exported predicts as the model does: compiled by gcc, run in node, with NumPy alone."""

from __future__ import annotations

import ast
import doctest
import re
import shlex
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from helpers import exports
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from chainrule import ACTIVATIONS, Activation, MLPClassifier, MLPRegressor, export
from chainrule.exports.columns import read_model
from chainrule.exports.exporting import write_export
from chainrule.exports.steps import DisagreementError, ExportError
from chainrule.exports.text import c_string, identifier, js_value, number

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="needs node")


@pytest.fixture(scope="module")
def zoo():
    return exports.zoo()


def taken(model, X):
    """X as an exported model takes it: the columns that count, and rows as lists."""
    program = read_model(model)
    if hasattr(X, "columns"):
        X = X[[column.name for column in program.columns]]
    return program, exports.rows_of(X)[:25]


def exported(zoo, folder, format, suffix):
    """{name: [path, rows]} of all models."""
    cases = {}
    for k, (name, model, X) in enumerate(zoo):
        path = folder / f"m{k}.{suffix}"
        assert export(model, path, format=format, sample=X) < 1e-5
        cases[name] = [str(path), taken(model, X)[1]]
    return cases


def check_all(zoo, found):
    for name, model, X in zoo:
        values, labels = exports.expected(model, X[:25])
        exports.compare(name, np.array(found[name]["values"]), (values, labels))
        if labels is not None:
            assert found[name]["labels"] == [
                int(label) if isinstance(label, bool) else label for label in labels
            ], name


def test_python_files_agree_with_numpy_alone(zoo, tmp_path):
    found = exports.run_python(tmp_path, exported(zoo, tmp_path, "python", "py"))
    check_all(zoo, found)
    assert not (tmp_path / "canary").exists()


@needs_node
def test_modules_agree_in_node(zoo, tmp_path):
    check_all(zoo, exports.run_node(tmp_path, exported(zoo, tmp_path, "js", "mjs")))


@needs_gcc
def test_c_files_agree_and_compile_without_warnings(zoo, tmp_path):
    cases = exported(zoo, tmp_path, "c", "c")
    for name, model, _ in zoo:
        program = read_model(model)
        cases[name] += [program.kind, len(program.value_names), program.texts]
    found = exports.run_c(tmp_path, cases)
    for name, model, X in zoo:
        values, labels = exports.expected(model, X[:25])
        exports.compare(name, found[name]["values"], (values, labels))
        program = read_model(model)
        if program.kind == "classes":
            assert [program.classes[k] for k in found[name]["best"]] == labels, name
        else:
            assert not found[name]["best"].any(), name


@needs_gcc
def test_a_c_file_checks_itself_and_holds_its_classes(tmp_path):
    X = exports.numbers()
    y = np.array(exports.HOSTILE)[np.arange(60) % 6]
    model = exports.fit(MLPClassifier((4,), **exports.SMALL), X, y)
    export(model, tmp_path / "Größe 1.c")
    flags = ["gcc", "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"]
    exports.run(tmp_path, [*flags, "-DCHAINRULE_TEST", "Größe 1.c", "-lm", "-o", "test"])
    assert "5 example rows, largest difference" in exports.run(tmp_path, ["./test"])
    show = (
        "#include <stdio.h>\nextern const char *const gr_e_1_classes[6];\n"
        "int main(void) { int i; const char *c;\n"
        "for (i = 0; i < 6; i++) { for (c = gr_e_1_classes[i]; *c; c++) {\n"
        'printf("%02x", *c & 255); }\nprintf("\\n"); } return 0; }\n'
    )
    (tmp_path / "show.c").write_text(show)
    exports.run(tmp_path, [*flags, "Größe 1.c", "show.c", "-lm", "-o", "show"])
    lines = exports.run(tmp_path, ["./show"]).split()
    assert [bytes.fromhex(line).decode() for line in lines] == sorted(exports.HOSTILE)
    # A weight that is changed is noticed.
    text = (tmp_path / "Größe 1.c").read_text()
    spoilt = re.sub(r"(b2\[6\] = \{\n +)", r"\g<1>1 + ", text)
    assert spoilt != text
    (tmp_path / "spoilt.c").write_text(spoilt)
    exports.run(tmp_path, ["gcc", "-DCHAINRULE_TEST", "spoilt.c", "-lm", "-o", "spoilt"])
    done = subprocess.run([str(tmp_path / "spoilt")], capture_output=True, check=False)
    assert done.returncode == 1


def strict_pipeline():
    X = exports.table()[["island", "mass", "year"]].fillna(4000.0)
    columns = exports.make_column_transformer(
        (OneHotEncoder(), ["island", "year"]), (StandardScaler(), ["mass"])
    )
    model = make_pipeline(columns, MLPClassifier((3,), **exports.SMALL))
    return exports.fit(model, X, np.arange(len(X)) % 2), X


BAD_ROWS = {
    "unknown text": (["nowhere", 4000.0, 2008.0], 0),
    "missing text": ([None, 4000.0, 2008.0], 0),
    "missing number": (["Dream", None, 2008.0], 1),
    "unknown number": (["Dream", 4000.0, 1999.0], 2),
    "infinite number": (["Dream", float("inf"), 2008.0], 1),
}


@pytest.mark.parametrize("row", BAD_ROWS)
def test_what_the_model_refuses_is_refused_by_name(row, tmp_path):
    model, X = strict_pipeline()
    values, j = BAD_ROWS[row]
    with pytest.raises(ValueError, match=r".*"):
        model.predict(type(X)([values], columns=X.columns))
    export(model, tmp_path / "m.py")
    module = {"__name__": "m"}
    exec((tmp_path / "m.py").read_text(), module)
    name = list(X.columns)[j]
    with pytest.raises(ValueError, match=f"row 1: column '{name}'"):
        module["predict"]([["Dream", 4000.0, 2008.0], values])


@needs_gcc
def test_c_refuses_the_same_by_the_number_of_the_column(tmp_path):
    model, _ = strict_pipeline()
    export(model, tmp_path / "m.c")
    lines = []
    for values, _ in BAD_ROWS.values():
        text = "0" if values[0] is None else exports.c_text(values[0])
        mass = {None: "NAN", float("inf"): "INFINITY"}.get(values[1], values[1])
        lines.append(
            f"{{ double x[] = {{0, {mass}, {values[2]}}}; const char *t[] = {{{text}, 0, 0}};"
            ' printf("%d %d\\n", m_predict(x, t), m_predict_proba(x, t, out)); }'
        )
    head = (
        "#include <math.h>\n#include <stdio.h>\nint m_predict(const double *, const char **);\n"
        "int m_predict_proba(const double *, const char **, double *);\n"
    )
    main = f"{head}int main(void) {{ double out[2]; {' '.join(lines)} return 0; }}"
    (tmp_path / "main.c").write_text(main)
    exports.run(tmp_path, ["gcc", "m.c", "main.c", "-lm", "-o", "run"])
    codes = [list(map(int, line.split())) for line in exports.run(tmp_path, ["./run"]).splitlines()]
    assert codes == [[-1 - j] * 2 for _, j in BAD_ROWS.values()]


@needs_node
def test_modules_take_rows_by_name_and_refuse_by_name(tmp_path):
    model, X = strict_pipeline()
    export(model, tmp_path / "m.mjs")
    tried = ", ".join(exports.json.dumps(values) for values, _ in BAD_ROWS.values())
    tried = tried.replace("Infinity", "1/0")
    (tmp_path / "run.mjs").write_text(f"""
import * as m from "./m.mjs";
const named = m.predictProba({{ year: 2008, island: "Dream", mass: 4100, more: 1 }});
console.log(JSON.stringify(named));
for (const row of [{tried}, {{ island: "Dream", mass: 1 }}, ["Dream", "1", 2008], [1]])
  try {{ m.predict(row); console.log("taken"); }} catch (error) {{ console.log(error.message); }}
""")
    named, *messages = exports.run(tmp_path, ["node", "run.mjs"]).splitlines()
    own = model.predict_proba(type(X)([["Dream", 4100, 2008]], columns=X.columns))
    assert np.abs(np.array(exports.json.loads(named)) - own).max() < 1e-9
    for message, (_, j) in zip(messages, BAD_ROWS.values(), strict=False):
        assert f'column "{list(X.columns)[j]}"' in message
    assert messages[5:] == [
        'the row has no column "year"',
        'column "mass" holds no number',
        "a row has 3 values, got 1",
    ]


def test_python_files_take_frames_and_dicts_by_name(tmp_path):
    model, X = strict_pipeline()
    export(model, tmp_path / "m.py", sample=X)
    module = {"__name__": "m"}
    exec((tmp_path / "m.py").read_text(), module)
    shuffled = X[["year", "mass", "island"]].assign(more=1)
    own = model.predict_proba(X)
    for given_X in (shuffled, shuffled.to_dict("list"), X.to_numpy(object), X.values.tolist()):
        assert np.abs(module["predict_proba"](given_X) - own).max() < 1e-9
    with pytest.raises(ValueError, match="no column 'mass'"):
        module["predict"](X.drop(columns="mass"))


@settings(max_examples=25)
@given(
    hidden=st.lists(st.integers(1, 7), max_size=3),
    n_in=st.integers(1, 5),
    activation=st.sampled_from(sorted(set(ACTIVATIONS) - {"exp"})),
    normalization=st.sampled_from([None, "batch", "layer"]),
    scale=st.sampled_from([0.1, 1.0, 20.0]),
    seed=st.integers(0, 2**16),
)
def test_any_shape_and_weights_agree(hidden, n_in, activation, normalization, scale, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(20, n_in)) * 10.0 ** rng.integers(-3, 4, n_in)
    y = rng.normal(size=(20, 2))
    model = MLPRegressor(
        hidden_layer_sizes=hidden,
        activation=activation,
        normalization=normalization if hidden else None,
        **exports.SMALL,
    )
    exports.fit(model, X, y)
    model.coefs_ = [W * scale for W in model.coefs_]
    model.intercepts_ = [b + scale * rng.normal(size=b.shape) for b in model.intercepts_]
    text = exports.python_text(model)
    module = {"__name__": "m"}
    exec(text, module)
    own = model.predict(X)
    assert np.abs(module["values"](X) - own).max() <= 1e-9 * max(1, np.abs(own).max())


def test_python_files_hold_names_as_literals_alone(zoo, tmp_path):
    """Every text from the data stands in the syntax tree as one constant."""
    _, model, X = next(one for one in zoo if one[0] == "one-hot")
    export(model, tmp_path / "m.py", sample=X)
    constants = {
        node.value
        for node in ast.walk(ast.parse((tmp_path / "m.py").read_text()))
        if isinstance(node, ast.Constant)
    }
    assert {exports.HOSTILE[0], exports.HOSTILE[1], exports.HOSTILE[2]} <= constants


@given(text=st.text())
def test_texts_and_numbers_are_written_so_that_they_come_back(text):
    assert exports.json.loads(js_value(text)) == text
    assert not set("<>&\n\u2028") & set(js_value(text))
    name = identifier(text)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name), name
    if "\0" in text or any(0xD800 <= ord(c) < 0xE000 for c in text):
        with pytest.raises(ExportError):
            c_string(text)
        return
    inner = c_string(text)[1:-1]
    assert re.fullmatch(r'(\\[0-7]{3}|[^\\"?*\n])*', inner)
    back = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), inner).encode("latin-1").decode()
    assert back == text


@given(x=st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_keep_every_bit(x):
    assert float(number(x)) == x
    with np.errstate(over="ignore"):
        single = np.float32(x)
    if np.isfinite(single):
        assert np.float32(float(number(single, "float32"))) == single


def test_no_row_of_the_sample_is_written(tmp_path):
    X, y = exports.numbers(), np.arange(60) % 2
    X[:, 0] = 1234.56789 + np.arange(60)
    model = exports.fit(MLPClassifier((3,), **exports.SMALL), X, y)
    for suffix in ("py", "c", "mjs"):
        export(model, tmp_path / f"m.{suffix}", sample=X)
        assert not re.search(r"1\d\d\d\.56789", (tmp_path / f"m.{suffix}").read_text())


@pytest.mark.parametrize("large", [1e40, 1e90])
def test_numbers_beyond_float32_keep_their_scale(large, tmp_path):
    """What a file checks itself with is drawn at the scale of the columns."""
    X = np.random.default_rng(0).normal(size=(60, 2)) * (1, large)
    model = make_pipeline(StandardScaler(), MLPClassifier((3,), max_iter=20, random_state=0))
    exports.fit(model, X, X[:, 1] > 0)
    for suffix in ("py", "c", "mjs"):
        assert export(model, tmp_path / f"m.{suffix}", sample=X) < 1e-5
    module = {"__name__": "m"}
    exec((tmp_path / "m.py").read_text(), module)
    np.testing.assert_allclose(module["predict_proba"](X), model.predict_proba(X), atol=1e-5)


def unexportable():
    X, y = exports.numbers(), np.arange(60) % 2
    frame = exports.table()[["mass", "year"]].fillna(0.0)
    small = exports.SMALL

    def square(z, a):
        np.multiply(z, z, a)

    def pull(z, a, delta):
        delta *= 2 * z

    own = Activation("square", square, pull)
    two = np.stack([y, np.arange(60) % 3], axis=1)
    log = FunctionTransformer(np.log1p)
    return [
        (MLPClassifier((3,), own, **small), X, y, "activation 'square' has no formula"),
        (MLPClassifier((3,), **small), X, two, "several class targets.*one for each target"),
        (
            make_pipeline(PCA(1), MLPClassifier((3,), **small)),
            frame,
            y,
            "PCA on columns 'mass', 'y",
        ),
        (make_pipeline(log, MLPClassifier((3,), **small)), frame, y, "FunctionTransformer.log1p"),
        (LogisticRegression(), X, y, "LogisticRegression cannot be exported; chainrule exports"),
    ]


@pytest.mark.parametrize("k", range(5))
def test_what_cannot_be_exported_is_named(k, tmp_path):
    model, X, y, message = unexportable()[k]
    y = np.resize(y, (len(X), *y.shape[1:]))
    exports.fit(model, X, y)
    with pytest.raises(ExportError, match=message):
        export(model, tmp_path / "m.c")
    assert not list(tmp_path.iterdir())


def test_bad_arguments_say_what_to_do(tmp_path):
    model = MLPClassifier()
    with pytest.raises(ExportError, match="not fitted"):
        export(model, tmp_path / "m.c")
    X, y = exports.numbers(), np.arange(60) % 2
    exports.fit(model.set_params(hidden_layer_sizes=(3,), **exports.SMALL), X, y)
    with pytest.raises(ExportError, match=r"end it in \.onnx, \.c, \.js or \.py"):
        export(model, tmp_path / "m.cpp")
    with pytest.raises(ExportError, match="format must be one of onnx, c, js, python"):
        export(model, tmp_path / "m.c", format="rust")
    with pytest.raises(ExportError, match="the model takes 4 columns"):
        export(model, tmp_path / "m.c", sample=X[:, :2])
    X[3, 1] = np.inf
    with pytest.raises(ExportError, match="column 'x1' holds an infinite number"):
        export(model, tmp_path / "m.c", sample=X)
    (tmp_path / "m.c").write_text("mine")
    with pytest.raises(FileExistsError):
        export(model, tmp_path / "m.c", overwrite=False)
    assert (tmp_path / "m.c").read_text() == "mine"


def test_a_disagreement_leaves_what_was_there(tmp_path, monkeypatch):
    X, y = exports.numbers(), np.arange(60) % 2
    model = exports.fit(MLPClassifier((3,), **exports.SMALL), X, y)
    (tmp_path / "m.py").write_text("mine")
    own = MLPClassifier.predict_proba
    monkeypatch.setattr(MLPClassifier, "predict_proba", lambda self, X: own(self, X) + 2e-5)
    for suffix in ("py", "c", "onnx"):
        with pytest.raises(DisagreementError, match=r"2\.0e-05, more than 1e-05; nothing was writ"):
            export(model, tmp_path / f"m.{suffix}", sample=X)
    assert [path.name for path in tmp_path.iterdir()] == ["m.py"]
    assert (tmp_path / "m.py").read_text() == "mine"


def test_pipelines_of_tables_are_exported(tmp_path):
    tabular = pytest.importorskip("chainrule.estimators.tabular", reason="needs tabular_pipeline")
    X = exports.table().assign(when=exports.dates()["when"], day="2024-02-29")
    X["day"] = exports.dates()["day"].dt.strftime("%d/%m/%Y")
    model = tabular.tabular_pipeline(max_iter=3, engine="numpy", random_state=0)
    exports.fit(model, X, np.arange(len(X)) % 2)
    for suffix in ("py", "c", "mjs", "onnx"):
        assert export(model, tmp_path / f"m.{suffix}", sample=X) < 1e-5
        assert export(model, tmp_path / f"m.{suffix}") < 1e-5
    own = model.predict_proba(X)
    module = {"__name__": "m"}
    exec((tmp_path / "m.py").read_text(), module)
    columns = {name: X[name].tolist() for name in module["COLUMNS"]}
    days = [datetime.strptime(day, "%d/%m/%Y") for day in X["day"]]
    found = module["predict_proba"](columns | {"day": days})
    assert np.abs(found - own).max() < 1e-9


def test_what_is_reported(tmp_path):
    X, y = exports.numbers(), np.arange(60) % 2
    model = exports.fit(MLPClassifier((3,), **exports.SMALL), X, y)
    told = write_export(model, tmp_path / "m.js", sample=X)
    assert (told.format, told.rows, told.made_up) == ("js", 60, False)
    assert write_export(model, tmp_path / "m.js").made_up


PAGE = Path(__file__).parents[2] / "docs" / "export.md"
RUNS = {
    "c": ("main.c", ["gcc -std=c99 -Wall -Werror penguins.c main.c -lm -o penguins", "./penguins"]),
    "js": ("main.mjs", ["node main.mjs"]),
    "python": ("main.py", [f"{shlex.quote(sys.executable)} -W error main.py"]),
}


@pytest.fixture(scope="module")
def shipped():
    """The folder that the page's first example writes into."""
    text = PAGE.read_text(encoding="utf-8")
    (_, block, *_) = re.split(r"^```python\n|^```\n", text, flags=re.M)
    names = {}
    exec("\n".join(one.source for one in doctest.DocTestParser().get_examples(block)), names)
    yield names["folder"]
    shutil.rmtree(names["folder"])


@pytest.mark.parametrize("language", RUNS)
def test_the_pages_programs_print_what_it_says(language, shipped):
    tool = {"c": "gcc", "js": "node"}.get(language)
    if tool and not shutil.which(tool):
        pytest.skip(f"needs {tool}")
    file, commands = RUNS[language]
    text = PAGE.read_text(encoding="utf-8")
    pattern = rf"^```{language}\n(?!>>>)(.*?)^```\n\n```console\n\$ [^\n]*\n(.*?)^```"
    code, said = re.search(pattern, text, re.S | re.M).groups()
    (shipped / file).write_text(code)
    for command in commands:
        printed = exports.run(shipped, shlex.split(command))
    assert printed == said


def test_a_text_is_refused_with_what_to_do(tmp_path):
    tabular = pytest.importorskip("chainrule.estimators.tabular", reason="needs tabular_pipeline")
    X = exports.table()[["mass", "island"]]
    model = tabular.tabular_pipeline(
        kinds={"island": "text"}, text_columns=3, max_iter=3, engine="numpy", random_state=0
    )
    exports.fit(model, X, np.arange(len(X)) % 2)
    message = r"StringEncoder on column 'island' cannot be exported; take a text.*max_levels="
    for suffix in ("c", "onnx"):
        with pytest.raises(ExportError, match=message):
            export(model, tmp_path / f"m.{suffix}", sample=X)
    assert not list(tmp_path.iterdir())
