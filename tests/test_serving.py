"""docs/serving_app.py: a model behind HTTP, and what it answers to good and bad requests."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path

import numpy as np
import pytest

import chainrule

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("skrub", reason="tables are an extra")
testclient = pytest.importorskip("starlette.testclient", reason="the app is an extra")

FILE = Path(__file__).parents[1] / "docs" / "serving_app.py"
pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore::chainrule.tables.levels.UnseenLevelWarning"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(the app's module, a client, the model, rows that it takes)."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"size": rng.normal(size=90), "colour": ["red", "blue", "green"] * 30})
    y = np.where(X["size"] + (X["colour"] == "red") > 0.3, "yes", "no")
    model = chainrule.tabular_pipeline(model="network", random_state=0, engine="numpy").fit(X, y)
    path = tmp_path_factory.mktemp("served") / "m.chainrule"
    p = model.predict_proba(X)[:, 1]
    decision = {"positive": "yes", "threshold": float(np.quantile(p, 0.1))}
    chainrule.save(model, path, metadata={"decision": decision})
    spec = importlib.util.spec_from_file_location("serving_app", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with warnings.catch_warnings():
        app = module.make_app(path)
        yield module, testclient.TestClient(app), model, X


def test_it_answers_with_the_models_predictions(served):
    _, client, model, X = served
    reply = client.post("/predict", json={"rows": X.to_dict("records")})
    assert reply.status_code == 200
    found = reply.json()
    chances = model.predict_proba(X)
    given = [[row["no"], row["yes"]] for row in found["probability"]]
    np.testing.assert_allclose(given, chances, rtol=1e-12)
    threshold = np.quantile(chances[:, 1], 0.1)
    assert found["prediction"] == np.where(chances[:, 1] >= threshold, "yes", "no").tolist()
    assert found["unseen"] == {}
    assert client.get("/").json() == {"columns": ["size", "colour"]}


def test_null_is_a_value_and_a_new_level_is_told(served):
    _, client, _, _ = served
    rows = [{"size": None, "colour": "red"}, {"size": 1, "colour": "mauve", "more": 3}]
    reply = client.post("/predict", json={"rows": rows})
    assert reply.status_code == 200
    assert len(reply.json()["prediction"]) == 2
    assert reply.json()["unseen"] == {"colour": {"mauve": 1}}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "send JSON"),
        (b"\xff", 400, "send JSON"),
        (b"[" * 100_000, 400, "send JSON"),
        (b"[1]", 400, "send JSON"),
        (b'{"rows": []}', 400, "one object or more"),
        (b'{"rows": [1]}', 400, "one object or more"),
        (b'{"rows": [{"size": 1, "colour": "red"}, {"size": 1}]}', 400, "row 1: 'colour' is"),
        (b'{"rows": [{"size": "big", "colour": "red"}]}', 400, "'size', row 0: 'big' is not"),
        (b'{"rows": [{"size": [1], "colour": "red"}]}', 400, "size"),
        (json.dumps({"rows": [{}] * 10_001}).encode(), 413, "at most 10,000 rows"),
        (b" " * 1_000_001, 413, "at most 1,000,000 bytes"),
    ],
)
def test_a_bad_request_is_answered_with_what_is_wrong(served, body, status, said):
    _, client, _, _ = served
    reply = client.post("/predict", content=body)
    assert reply.status_code == status
    assert said in reply.json()["error"]
    assert client.post("/nowhere").status_code == 404
