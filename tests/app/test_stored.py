"""A model file that the page is opened with: its words, its numbers, rows that are typed."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import chainrule
from chainrule import MLPClassifier, MLPRegressor, Network

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("starlette", reason="the page is an extra")

from conftest import Running, Tab, serious_faults  # isort: skip  # noqa: E402

from chainrule.app.opening import opening_of  # noqa: E402
from chainrule.app.own_data import OwnData  # noqa: E402
from chainrule.app.panel import PanelError  # noqa: E402
from chainrule.app.panels import new_app  # noqa: E402

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def frame_of(n=120):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"size": rng.normal(size=n), "kind": rng.choice(["a", "b"], n)})
    frame["label"] = np.where(frame["size"] + (frame["kind"] == "a") > 0.5, "high", "low")
    return frame


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A pipeline for a table, stored as `chainrule train` stores one."""
    frame = frame_of()
    model = chainrule.tabular_pipeline(
        "classification", hidden_layer_sizes=(4,), max_iter=60, random_state=0
    ).fit(frame[["size", "kind"]], frame["label"])
    found = tmp_path_factory.mktemp("stored") / "model.chainrule"
    metadata = {
        "target": "label",
        "data": "t.csv",
        "rows": {"train": 96, "test": 24},
        "evaluated": "held out",
        "metrics": {"accuracy": {"value": 0.9, "low": 0.8, "high": 1.0}, "other": 3},
        "baselines": {"trivial": {"accuracy": 0.6}, "linear": {"accuracy": 0.85}},
    }
    chainrule.save(model, found, metadata=metadata)
    return found


def opened(path):
    stored = opening_of(str(path)).model
    tab = Tab(path.parent)
    tab.shared["stored"] = stored
    return OwnData(tab, {})


def test_what_a_file_says_of_its_model(path):
    told = opened(path).state()["stored"]
    assert told["what"] == "MLPClassifier of 3 → 4 → 1 units"
    assert (told["target"], told["data"], told["rows"], told["judged_rows"]) == (
        "label", "t.csv", 96, 24
    )  # fmt: skip
    assert told["metrics"] == [
        {"name": "accuracy", "value": 0.9, "low": 0.8, "high": 1.0, "trivial": 0.6, "linear": 0.85}
    ]
    model = chainrule.load(path)
    assert len(told["weights"]["inputs"]) == 3
    np.testing.assert_allclose(told["weights"]["W"], model[-1].coefs_[0])
    assert told["unseen"] == ""


def test_a_row_that_is_typed_is_predicted_as_the_model_does(path):
    panel, model = opened(path), chainrule.load(path)
    for row in ({"size": "1.5", "kind": "b"}, {"size": "\u22122e-1"}, {}):
        said = panel.handle("predict", {"row": row})
        size = float(row.get("size", "nan").replace("\u2212", "-"))
        X = pd.DataFrame({"size": [size], "kind": [row.get("kind")]})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = dict(zip(model.classes_, model.predict_proba(X)[0], strict=True))
        assert bool(said["notes"]) == ("kind" not in row)  # no row in training lacked one
        assert {each["name"]: each["value"] for each in said["classes"]} == pytest.approx(wanted)
    for row, message in (
        ({"size": "much"}, "size takes a number; got 'much'"),
        ({"size": 3}, "a text for each column"),
        (None, "a text for each column"),
    ):
        with pytest.raises(PanelError, match=message):
            panel.handle("predict", {"row": row})
    with pytest.raises(PanelError, match="no model is open"):
        OwnData(Tab(), {}).handle("predict", {"row": {}})


def test_it_is_judged_on_a_table_as_scikit_learn_judges_it(path, tmp_path):
    panel, model, frame = opened(path), chainrule.load(path), frame_of(70)
    with pytest.raises(PanelError, match="choose a file first"):
        panel.handle("judge", {"target": "label"})
    table = tmp_path / "upload.csv"
    frame.to_csv(table, index=False)
    panel.uploaded("t.csv", table)
    panel.handle("judge", {"target": "label"})
    panel._threads[-1].join(60)
    result = dict(panel.session.sent)["result"]
    assert result["score"]["value"] == pytest.approx(
        model.score(frame[["size", "kind"]], frame["label"])
    )
    assert result["importances"][0]["name"] == "size"
    assert panel.download("model.py").name == "model.py"
    with pytest.raises(PanelError, match="there is no column 'x'"):
        panel.handle("judge", {"target": "x"})
    panel.handle("judge", {"target": "kind"})
    panel._threads[-1].join(60)
    error = dict(panel.session.sent)["error"]["message"]
    assert error == "model.chainrule does not know the class 'a' of kind"


@pytest.mark.parametrize(
    ("make", "what", "row", "number"),
    [
        (
            lambda X, y: MLPRegressor(hidden_layer_sizes=(3,), max_iter=20).fit(X, y),
            "MLPRegressor of 2 → 3 → 1 units", {"x0": "1", "x1": "2"}, 1,
        ),
        (
            lambda X, y: Network((2, 3, 4), seed=0),
            "Network of 2 → 3 → 4 units", {"x0": "1", "x1": "2"}, 4,
        ),
        (
            lambda X, y: MLPClassifier((70,), max_iter=2, random_state=0).fit(X, y > 0),
            "MLPClassifier of 2 → 70 → 1 units", {"x0": "1", "x1": "2"}, 0,
        ),
    ],
)  # fmt: skip
def test_other_models_open_too(tmp_path, make, what, row, number):
    X = np.random.default_rng(0).normal(size=(30, 2))
    model = make(X, X[:, 0])
    path = tmp_path / "m.chainrule"
    chainrule.save(model, path)
    panel = opened(path)
    told = panel.state()["stored"]
    assert told["what"] == what
    assert (told["weights"] is None) == ("70" in told["unseen"])
    said = panel.handle("predict", {"row": row})
    if number:
        np.testing.assert_allclose(said["values"], np.ravel(model.predict(np.array([[1.0, 2.0]]))))
    else:
        wanted = np.sort(model.predict_proba(np.array([[1.0, 2.0]]))[0])[::-1]
        assert [each["value"] for each in said["classes"]] == pytest.approx(wanted.tolist())
        assert "up to 60 can be drawn" in told["unseen"]
    with pytest.raises(PanelError, match=r"does not take this|takes a number"):
        panel.handle("predict", {"row": {"x0": "" if number != 4 else "one"}})


def test_the_page_shows_it_and_predicts(browser, path, tmp_path):
    opening = opening_of(str(path))
    running = Running(lambda access: new_app(access, opening))
    context = browser.new_context(viewport={"width": 375, "height": 700})
    try:
        page = context.new_page()
        page.goto(f"{running.address}/#data")
        card = page.locator(".stored")
        card.get_by_text("MLPClassifier of 3 → 4 → 1 units").wait_for()
        table = tmp_path / "t.csv"
        frame_of(40).to_csv(table, index=False)
        page.locator("#own-file").set_input_files(table)
        page.get_by_text("t.csv: 40 rows").wait_for()
        assert card.get_by_label("kind").input_value() in ("a", "b")  # of the first row
        card.get_by_label("size").fill("3")
        card.get_by_label("size").press("Enter")
        card.locator(".stored-answer li").first.get_by_text("label high").wait_for()
        card.get_by_label("size").fill("three")
        card.get_by_role("button", name="Predict").click()
        page.locator(".panel-data .notice").get_by_text("size takes a number").wait_for()
        page.get_by_role("button", name="Judge model.chainrule").click()
        page.get_by_text("What it relies on", exact=True).wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == 375
        assert serious_faults(page) == []
    finally:
        context.close()
        running.stop()
