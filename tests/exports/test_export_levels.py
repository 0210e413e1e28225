"""Categories in exported models: a value is the level that the model takes it for."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from helpers import exports
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import export, tabular_pipeline
from chainrule.exports.columns import read_model
from chainrule.exports.exporting import write_export
from chainrule.exports.js import LEVEL
from chainrule.exports.text import js_value
from chainrule.tables.levels import LEVEL_TYPES, level, no_value
from chainrule.tables.types import MISSING

pytest.importorskip("skrub")
# Many rows here hold levels that are unknown on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::chainrule.tables.levels.UnseenLevelWarning")
ONE_DAY = datetime(2024, 1, 31)


def table(n=160):
    """Categories of every type, truth values as numbers, far dates, numbers; some are missing."""
    rng = np.random.default_rng(5)
    days = [date(2024, 1, 31), date(2024, 2, 28), date(9999, 12, 31)]
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "member": rng.random(n) < 0.5,
            "paid": rng.random(n) < 0.5,
            "count": rng.choice([1, 2, 30], size=n),
            "day": pd.Series(rng.choice(days, size=n)).astype("datetime64[us]"),
            "word": rng.choice(["Köln", "1.0", "b"], size=n),
            "until": pd.Series(
                rng.choice([datetime(9999, 12, 31), datetime(1, 1, 2), ONE_DAY], size=n)
            ).astype("datetime64[us]"),
        }
    )
    frame["day"] += pd.to_timedelta(rng.integers(2, size=n) * 13, unit="h")
    frame.loc[::9, "day"] = pd.NaT
    frame.loc[::7, "x"] = np.nan
    return frame


KINDS = {"member": "categorical", "paid": "numeric", "count": "categorical", "day": "categorical"}
KINDS |= {"word": "categorical", "until": "date", "x": "numeric"}


@pytest.fixture(scope="module")
def fitted():
    X = table()
    y = (X["x"].fillna(0) + 2 * X["member"] + X["paid"] > 1).astype(int)
    model = tabular_pipeline("classification", kinds=KINDS, max_iter=3, random_state=0)
    return exports.fit(model, X, y), X


@pytest.mark.parametrize("suffix", ["onnx", "c", "mjs", "py"])
@pytest.mark.parametrize("as_text", [False, True])
def test_a_sample_of_every_type_agrees(fitted, suffix, as_text, tmp_path):
    model, X = fitted
    if as_text:  # as it comes out of a CSV file
        cells = {name: [None if v != v else str(v) for v in X[name]] for name in X}
        X = pd.DataFrame(cells).replace({"True": "true", "False": "false", "NaT": None})
        # A text column of words is what the table's reader would make numbers and dates of.
        X = X.assign(x=fitted[1]["x"], until=fitted[1]["until"], day=fitted[1]["day"])
    assert export(model, tmp_path / f"m.{suffix}", sample=X, dtype="float64") < 1e-5


def moments(n=120):
    """Moments of whole seconds from 1905 to 2095, numbers beside them, and classes by the hour."""
    rng = np.random.default_rng(4)
    seconds = rng.integers(-2_000_000_000, 3_900_000_000, n)
    when = pd.Series(pd.to_datetime(seconds, unit="s")).astype("datetime64[us]")
    frame = pd.DataFrame(
        {"when": when, "kind": pd.Timestamp("2024-03-01"), "x": rng.normal(size=n)}
    )
    frame["kind"] += pd.to_timedelta(rng.integers(3, size=n) * 9, unit="h")
    frame.loc[::11, "when"] = pd.NaT
    return frame, (when.dt.hour > 11).astype(int)


@pytest.fixture(scope="module")
def of_moments():
    X, y = moments()
    model = tabular_pipeline(
        "classification", kinds={"kind": "categorical"}, max_iter=3, random_state=0
    )
    return exports.fit(model, X, y), X, y


FORMS = {
    "s": lambda column: column.astype("datetime64[s]"),
    "ns": lambda column: column.astype("datetime64[ns]"),
    "ms of Arrow": lambda column: column.astype("timestamp[ms][pyarrow]"),
    "another zone": lambda column: (
        column.astype("datetime64[s]").dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")
    ),
    "objects": lambda column: column.astype(object),
}


@pytest.mark.once
@pytest.mark.parametrize("form", FORMS)
def test_dates_of_any_unit_are_the_same_dates(of_moments, form, tmp_path):
    model, X, y = of_moments
    own = model.predict_proba(X)
    given = X.assign(**{name: FORMS[form](X[name]) for name in ("when", "kind")})
    np.testing.assert_array_equal(model.predict_proba(given), own)
    again = tabular_pipeline(
        "classification", kinds={"kind": "categorical"}, max_iter=3, random_state=0
    )
    np.testing.assert_array_equal(exports.fit(again, given, y).predict_proba(given), own)
    for suffix in ("py", "onnx"):
        assert export(model, tmp_path / f"m.{suffix}", sample=given, dtype="float64") < 1e-5
    module = {"__name__": "exported"}
    exec((tmp_path / "m.py").read_text(), module)
    found = module["predict_proba"]({name: given[name] for name in module["COLUMNS"]})
    np.testing.assert_allclose(found, own, atol=1e-6)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_dates_of_polars_in_any_unit(of_moments, unit):
    pl = pytest.importorskip("polars")
    model, X, _ = of_moments
    given = pl.from_pandas(X).with_columns(pl.col("when", "kind").cast(pl.Datetime(unit)))
    np.testing.assert_array_equal(model.predict_proba(given), model.predict_proba(X))


@pytest.mark.parametrize("suffix", ["onnx", "py"])
def test_a_sample_of_polars_agrees(fitted, suffix, tmp_path):
    polars = pytest.importorskip("polars")
    model, X = fitted
    sample = polars.from_pandas(X)
    assert export(model, tmp_path / f"m.{suffix}", sample=sample, dtype="float64") < 1e-5


def test_numbers_that_are_squashed_to_the_ends_agree(fitted, tmp_path):
    model, X = fitted
    sample = X.assign(x=np.tile([1e300, -1e308, 1e101, np.inf], len(X))[: len(X)])
    for suffix in ("c", "mjs", "py", "onnx"):
        assert export(model, tmp_path / f"m.{suffix}", sample=sample) < 1e-5


ALIKE = {
    "member": [[True, 1, 1.0, "true", "TRUE", " 1 ", np.True_], [False, 0, "0.0", "False"]],
    "paid": [[True, 1, 1.0, "true", "1"], [False, 0, "false"]],
    "count": [[1, 1.0, "1", "01", True, Decimal("1.00")], [30, "30.0", np.int8(30)]],
    "day": [[ONE_DAY, ONE_DAY.date(), "2024-01-31", "2024-01-31T00:00Z", "2024-01-30T23:00-01:00"]],
    "word": [["1.0", 1, True], ["Köln", "Ko\u0308ln ", " Köln"]],
}


@pytest.mark.parametrize("column", ALIKE)
def test_python_files_take_a_value_for_the_models_level(fitted, column):
    model, X = fitted
    module = {"__name__": "exported"}
    exec(exports.python_text(model), module)
    first = X.iloc[[3]].astype(object)
    for values in ALIKE[column]:
        rows = pd.concat([first.assign(**{column: [value]}) for value in values])
        rows["until"] = [ONE_DAY] * len(rows)
        own = [model.predict_proba(rows.iloc[[i]])[0] for i in range(len(rows))]
        given = {name: rows[name].tolist() for name in module["COLUMNS"]}
        found = module["predict_proba"](given)
        np.testing.assert_allclose(found, own, atol=1e-6)
        np.testing.assert_allclose(found, np.tile(found[0], (len(rows), 1)), atol=1e-6)


SPELLED = {  # for programs that take texts alone
    "member": [["true", "1", "1.0", "True"], ["false", "0", "FALSE"]],
    "count": [["1", "1.0", "true", " 1"], ["30", "30.0"]],
    "day": [["2024-01-31", "2024-01-31 00:00:00"], ["2024-01-31 13:00:00", "2024-01-31T13:00:00"]],
    "word": [["Köln", "\tKöln "], ["", " ", None]],
}


@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")
def test_c_and_onnx_take_the_usual_spellings(fitted, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, _ = fitted
    program = read_model(model)
    names = [column.name for column in program.columns]
    groups = [
        (name, values[0], value) for name in SPELLED for values in SPELLED[name] for value in values
    ]
    plain = dict.fromkeys(names, 0.0) | {"member": "true", "count": "2", "day": "", "word": "b"}
    frame = pd.DataFrame([plain | {name: level} for name, level, _ in groups])
    frame["until"] = pd.to_datetime(frame["until"], unit="s")
    own = model.predict_proba(frame)
    rows = [[(plain | {name: value})[n] for n in names] for name, _, value in groups]
    rows = [
        [None if v == "" and n == "day" else v for v, n in zip(r, names, strict=True)] for r in rows
    ]
    export(model, tmp_path / "m.c")
    cases = {"m": ("m.c", rows, "classes", 2, True)}
    np.testing.assert_allclose(exports.run_c(tmp_path, cases)["m"]["values"], own, atol=1e-5)
    export(model, tmp_path / "m.onnx", dtype="float64")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    feed = {}
    for j, column in enumerate(program.columns):
        cells = [[row[j]] for row in rows]
        feed[column.name] = (
            np.array([[(v or "").strip()] for (v,) in cells], object)
            if column.text
            else np.array(cells, float)
        )
    np.testing.assert_allclose(session.run(None, feed)[1], own, atol=1e-5)


@pytest.fixture(scope="module", params=[None, ["?", "999"]])
def with_marks(request):
    """A model that learnt which texts say that a value is missing, and rows with such."""
    rng = np.random.default_rng(3)
    n = 120
    X = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "paid": rng.choice(["true", "false", "?"], n),
            "word": rng.choice(["Köln", "b", "NA", "?"], n),
            "count": pd.Series(rng.choice([1, 2, 30, None], n), dtype=object),
        }
    )
    y = (rng.random(n) < 0.2) ^ (X["paid"] == "true") ^ (X["word"] == "?")
    kinds = {"paid": "categorical", "count": "categorical"}
    model = tabular_pipeline(
        "classification", kinds=kinds, missing_texts=request.param, max_iter=40, random_state=0
    )
    exports.fit(model, X, y.astype(int))
    plain = {"x": 0.5, "paid": "true", "word": "b", "count": "30"}
    marks = {"?": ["paid", "word", "count"], "NA": ["paid", "word"], "999": ["count", "word"]}
    marks |= {"": ["paid", "word", "count"], " - ": ["paid", "count"], "n/a": ["word"]}
    rows = [plain | {name: mark} for mark, names in marks.items() for name in names]
    rows += [plain | {"word": word} for word in ("\u2003Köln\u00a0", "Ko\u0308ln", "\x1fb\u3000")]
    return model, rows, request.param


def test_what_is_missing_is_what_the_model_learnt(with_marks):
    model, rows, given = with_marks

    def chances(**cells):
        return model.predict_proba(pd.DataFrame([rows[0] | {"paid": "true"} | cells]))[0]

    for mark, missing in {"?": (True, True), "NA": (given is None, False)}.items():
        for name, is_missing in zip(("paid", "word"), missing, strict=True):
            same = np.array_equal(chances(**{name: mark}), chances(**{name: None}))
            assert same == (is_missing and (name == "paid" or given is not None)), (name, mark)
    assert (chances(count="999") == chances(count=None)).all() == (given is not None)


@pytest.mark.parametrize("suffix", ["c", "mjs", "py", "onnx"])
def test_exports_take_the_same_texts_for_missing(with_marks, suffix, tmp_path):
    model, rows, _ = with_marks
    own = model.predict_proba(pd.DataFrame(rows))
    names = [column.name for column in read_model(model).columns]
    cells = [[row[name] for name in names] for row in rows]
    path = tmp_path / f"m.{suffix}"
    export(model, path)
    if suffix == "c":
        if not shutil.which("gcc"):
            pytest.skip("no gcc")
        found = exports.run_c(tmp_path, {"m": ("m.c", cells, "classes", 2, True)})["m"]["values"]
    elif suffix == "mjs":
        if not shutil.which("node"):
            pytest.skip("no node")
        (tmp_path / "run.mjs").write_text(
            'import { predictProba } from "./m.mjs";\n'
            f"console.log(JSON.stringify({json.dumps(rows)}.map((r) => predictProba(r))));\n"
        )
        found = json.loads(exports.run(tmp_path, [shutil.which("node"), "run.mjs"]))
    elif suffix == "py":
        module = {"__name__": "exported"}
        exec(path.read_text(), module)
        found = module["predict_proba"]({n: [row[n] for row in rows] for n in names})
    else:
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(path)
        feed = {
            name: np.array([[row[j]] for row in cells], np.float32 if name == "x" else object)
            for j, name in enumerate(names)
        }
        for name in names:  # blanks are the caller's to take away there
            if name != "x":
                feed[name] = np.array([[v.strip()] for (v,) in feed[name]], object)
        found = session.run(None, feed)[1]
    np.testing.assert_allclose(found, own, atol=1e-5)


@pytest.mark.parametrize("suffix", ["c", "mjs", "py", "onnx"])
def test_decimals_of_many_digits_are_levels_of_their_own(suffix, tmp_path):
    rng = np.random.default_rng(0)
    levels = [Decimal(f"12345678901234567.1{k}") for k in range(4)]
    column = pd.Series(rng.choice(levels, 80), dtype=object)
    X = pd.DataFrame({"x": rng.normal(size=80), "f": column})
    model = tabular_pipeline(
        "classification", kinds={"f": "categorical"}, max_iter=30, random_state=0
    )
    exports.fit(model, X, (column > levels[1]).astype(int))
    assert model.score(X, (column > levels[1]).astype(int)) > 0.9
    assert export(model, tmp_path / f"m.{suffix}", sample=X) < 1e-5
    own = model.predict_proba(X)
    np.testing.assert_array_equal(model.predict_proba(X.assign(f=X["f"].astype(str))), own)
    if suffix == "py":
        module = {"__name__": "exported"}
        exec((tmp_path / "m.py").read_text(), module)
        for f in (X["f"], X["f"].astype(str)):
            found = module["predict_proba"]({"x": X["x"], "f": f})
            np.testing.assert_allclose(found, own, atol=1e-6)
    if suffix == "mjs" and shutil.which("node"):
        cells = json.dumps(X.assign(f=X["f"].astype(str)).to_dict("records"))
        (tmp_path / "run.mjs").write_text(
            'import { predictProba } from "./m.mjs";\n'
            f"console.log(JSON.stringify({cells}.map((r) => predictProba(r))));\n"
        )
        found = json.loads(exports.run(tmp_path, [shutil.which("node"), "run.mjs"]))
        np.testing.assert_allclose(found, own, atol=1e-6)


def test_what_a_format_cannot_do_is_said(with_marks, tmp_path):
    pytest.importorskip("onnx")
    model, *_ = with_marks
    said = {
        suffix: " ".join(write_export(model, tmp_path / f"m.{suffix}").remarks)
        for suffix in ("c", "onnx", "mjs", "py")
    }
    assert "Unicode" in said["c"]
    assert "blanks" not in said["c"]
    assert "Unicode" in said["onnx"]
    assert "blanks" in said["onnx"]
    assert said["mjs"] == said["py"] == ""
    assert said["onnx"].encode() in (tmp_path / "m.onnx").read_bytes()
    assert "byte by byte" in (tmp_path / "m.c").read_text()


VALUES = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.text("0123456789.eE+-", max_size=8),
    st.sampled_from([*MISSING, " true", "TRUE", "1.0", "-0", "2024-02-30", "2024-13-01"]),
    st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29)).map(
        lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    ),
    st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29)).map(str),
    st.datetimes(
        min_value=datetime(2, 1, 3),
        max_value=datetime(9998, 12, 29),
        timezones=st.sampled_from([UTC]),
    ).map(lambda moment: moment.isoformat(timespec="minutes")),
)
TYPES = st.sampled_from(LEVEL_TYPES)


@pytest.fixture(scope="module")
def module(fitted):
    found = {"__name__": "exported"}
    exec(exports.python_text(fitted[0]), found)
    return found


@given(value=VALUES | st.decimals(allow_nan=False, allow_infinity=False, places=3), type=TYPES)
@settings(max_examples=300, deadline=None)
def test_levels_of_python_files_are_the_models(module, value, type):
    assert module["level"](value, type, {}, no_value(type)) == level(value, type)


@pytest.mark.skipif(not shutil.which("node"), reason="no node")
def test_levels_of_modules_are_the_models(tmp_path):
    found = []

    @given(value=VALUES, type=TYPES)
    @settings(max_examples=1500, deadline=None, database=None, derandomize=True)
    def collect(value, type):
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
            value = float(value) if abs(value) < 2**1000 else 0
        if isinstance(value, float) and not np.isfinite(value):
            value = 0.5
        found.append((value, type, level(value, type)))

    collect()
    # What JavaScript knows as a Date is a moment in UTC.
    cases = [
        [{"date": (value - datetime(1970, 1, 1)) / timedelta(milliseconds=1)}, type, text]
        if isinstance(value, datetime)
        else [value, type, text]
        for value, type, text in found
    ]
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    (tmp_path / "run.mjs").write_text(
        'import { readFileSync } from "node:fs";\n'
        + LEVEL
        + f"const noValue = {js_value(no_value('number'))};\n"
        + """
for (const [value, type, text] of JSON.parse(readFileSync("cases.json"))) {
  const given = value && value.date !== undefined ? new Date(value.date) : value;
  const own = level(given, type, {}, type === "text" ? [] : noValue);
  if (own !== text) console.log(JSON.stringify([value, type, text, own]));
}
"""
    )
    assert exports.run(tmp_path, [shutil.which("node"), "run.mjs"]) == ""


@pytest.mark.skipif(not shutil.which("node"), reason="no node")
def test_modules_take_a_value_for_the_models_level(fitted, tmp_path):
    model, X = fitted
    export(model, tmp_path / "m.mjs")
    plain = {name: None if v != v else v for name, v in X.iloc[3].astype(object).items()}
    plain |= {"until": 0, "day": "", "member": bool(plain["member"]), "paid": bool(plain["paid"])}
    rows, own = [], []
    for name, groups in ALIKE.items():
        for values in groups:
            value = values[0]
            frame = pd.DataFrame([plain | {name: value, "until": ONE_DAY}])
            frame = frame.assign(until=pd.to_datetime([0], unit="s"))
            own += [model.predict_proba(frame)[0].tolist()] * len(values)
            rows += [plain | {name: v} for v in values]

    def spelled(value):
        return str(value) if isinstance(value, date | Decimal) else value.item()

    (tmp_path / "rows.json").write_text(json.dumps(rows, default=spelled))
    (tmp_path / "run.mjs").write_text("""
import { readFileSync } from "node:fs";
import { predictProba } from "./m.mjs";
console.log(JSON.stringify(JSON.parse(readFileSync("rows.json")).map((r) => predictProba(r))));
""")
    found = json.loads(exports.run(tmp_path, [shutil.which("node"), "run.mjs"]))
    np.testing.assert_allclose(found, own, atol=1e-5)


def test_example_rows_hold_what_is_missing_and_what_is_unknown(fitted):
    module = {"__name__": "exported"}
    exec(exports.python_text(fitted[0]), module)
    for j, accepted in enumerate(module["MISSING"]):
        cells = [row[j] for row in module["EXAMPLE_ROWS"]]
        assert (None in cells) == accepted
        assert any(cell is not None for cell in cells)
        keys = next((keys for k, keys, *_ in module["TABLES"] if k == j), None)
        if keys is not None:
            assert {*cells} - {*keys, None}, "an unknown value"
            assert {*cells} & {*keys}, "a known value"


def test_a_check_that_gives_no_number_fails(fitted, tmp_path):
    text = exports.python_text(fitted[0]).replace(
        "def check():", "def check():\n    return math.nan"
    )
    (tmp_path / "m.py").write_text(text)
    done = subprocess.run([sys.executable, "-I", "m.py"], cwd=tmp_path, check=False)
    assert done.returncode == 1


@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")
@pytest.mark.parametrize(
    ("flags", "taken"),
    [
        (["-O2"], True),
        (["-O2", "-ffast-math"], False),
        (["-Ofast"], False),
        (["-ffinite-math-only"], False),
        (["-O2", "-ffast-math", "-fno-finite-math-only"], True),
    ],
)
def test_c_is_refused_where_the_compiler_knows_no_missing_numbers(fitted, flags, taken, tmp_path):
    model, _ = fitted
    export(model, tmp_path / "m.c")
    command = [shutil.which("gcc"), "-std=c99", *flags, "-DCHAINRULE_TEST", "m.c", "-lm", "-o", "m"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == taken
    if taken:
        assert subprocess.run([str(tmp_path / "m")], check=False).returncode == 0
    else:
        assert "compile without -ffast-math" in done.stderr
    # The self-test notices by itself too.
    text = (tmp_path / "m.c").read_text().replace("#error", "#warning")
    (tmp_path / "m.c").write_text(text)
    exports.run(tmp_path, command)
    assert subprocess.run([str(tmp_path / "m")], check=False).returncode == (0 if taken else 1)
