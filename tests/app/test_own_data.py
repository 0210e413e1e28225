"""Your data: tables good and bad, a model, its numbers, its files and its code."""

from __future__ import annotations

import contextlib
import io
import re

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import chainrule

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("starlette", reason="the page is an extra")

from conftest import Tab, serious_faults  # isort: skip  # noqa: E402

from chainrule.app.health import EVENTS, KEPT, DeadUnits, Health, thin  # noqa: E402
from chainrule.app.judging import judged  # noqa: E402
from chainrule.app.own_data import OwnData  # noqa: E402
from chainrule.app.panel import PanelError  # noqa: E402

pytestmark = pytest.mark.once


@pytest.fixture
def panel(tmp_path):
    made = OwnData(Tab(tmp_path), {})
    yield made
    made.close()


def table(tmp_path, n=150):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"size": rng.normal(size=n).round(3), "kind": rng.choice(list("abc"), n), "code": "x"}
    )
    frame["price"] = (3 * frame["size"] + 2 * (frame["kind"] == "a")).round(3)
    frame["label"] = np.where(frame["price"] > 0.5, "high", "low")
    frame.loc[7, "label"] = None
    path = tmp_path / "upload.csv"
    frame.to_csv(path, index=False)
    return path, frame


def trained(panel, **data):
    reply = panel.handle("train", data)
    for thread in panel._threads:
        thread.join(120)
    return reply, dict(panel.session.sent)


def check_health(health, panel):
    """A point an epoch and layer; the sizes are those of gradients, and fall as it learns."""
    model = panel._trained.model[-1]
    assert health["epochs"] == list(range(1, len(health["epochs"]) + 1))
    assert health["hidden"] == sum(layer.shape[1] for layer in model.coefs_[:-1])
    gradients = np.array(health["gradients"])
    assert gradients.shape == (len(model.coefs_), len(health["epochs"]))
    assert (gradients[:, :3].mean(axis=1) > 2 * gradients[:, -3:].mean(axis=1)).all()
    assert len(health["dead"]) == sum(
        {"died": 1, "back": -1}[event["what"]] for event in health["events"]
    )


def test_gradients_and_dead_units_are_those_of_the_network_at_the_time():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    y = X[:, 0] - X[:, 1]
    health = Health(X, y)
    model = chainrule.MLPRegressor(
        hidden_layer_sizes=(4,),
        max_iter=2,
        tol=0,
        random_state=0,
        solver="sgd",
        alpha=0,
        standardize=False,
    )

    def kill(estimator, record):
        if record["epoch"] == 1:  # nothing passes through a unit of negative z
            estimator.intercepts_[0][2] = -1e3
        health.look(estimator, record["epoch"] + 1)

    with pytest.warns(ConvergenceWarning):
        model.set_params(callbacks=[kill]).fit(X, y)
    found = health.as_dict()
    assert found["dead"] == [(1, 2)]
    assert found["events"] == [{"epoch": 2, "what": "died", "layer": 1, "unit": 2}]
    W, b = [each.astype(float) for each in model.coefs_], list(model.intercepts_)
    b[0] = b[0].copy()
    b[0][2] = -1e3
    a = np.maximum(X @ W[0] + b[0], 0)
    delta = (a @ W[1] + b[1] - y[:, np.newaxis]) / len(X)
    sizes = [
        np.linalg.norm(X.T @ ((delta @ W[1].T) * (a > 0))),
        np.linalg.norm(a.T @ delta),
    ]
    np.testing.assert_allclose([values[-1] for values in found["gradients"]], sizes, rtol=1e-9)


def test_units_are_counted_as_the_estimator_counts_layers():
    rng = np.random.default_rng(0)
    X = rng.normal(3, 5, size=(40, 3))
    health = Health(X, X[:, 0])
    model = chainrule.MLPRegressor(
        hidden_layer_sizes=(4, 3), standardize=True, max_iter=1, random_state=0
    )

    def kill(estimator, record):  # the inputs are standardised by a layer before these
        estimator.intercepts_[0][2] = estimator.intercepts_[1][1] = -1e3
        health.look(estimator, 1)

    with pytest.warns(ConvergenceWarning):
        model.set_params(callbacks=[kill]).fit(X, X[:, 0])
    found = health.as_dict()
    assert found["dead"] == [(1, 2), (2, 1)]
    assert (len(found["gradients"]), found["hidden"]) == (3, 7)


def test_some_of_many_rows_are_looked_at():
    x = np.random.default_rng(0).normal(size=(1, 3))
    of_one, of_many = Health(x, [1.0]), Health(np.repeat(x, 300, axis=0), np.ones(300))

    def after(estimator, record):
        for health in (of_one, of_many):
            health.look(estimator, record["epoch"] + 1)

    rng = np.random.default_rng(1)
    model = chainrule.MLPRegressor(
        hidden_layer_sizes=(4,), max_iter=2, standardize=False, callbacks=[after]
    )
    with pytest.warns(ConvergenceWarning):
        model.fit(rng.normal(size=(50, 3)), rng.normal(size=50))
    assert len(of_many._rows[0]) == len(of_many._rows[1]) == 256
    np.testing.assert_allclose(of_many.as_dict()["gradients"], of_one.as_dict()["gradients"])


def test_a_long_training_is_thinned_out_and_its_last_events_stay():
    points, units = [], DeadUnits()
    for epoch in range(5 * KEPT):
        points.append(epoch)
        thin(points)
        units.note(epoch, [(1, 0)] if epoch % 2 else [])
    assert KEPT / 2 <= len(points) <= KEPT
    assert (points[0], points[-1]) == (0, 5 * KEPT - 1)
    assert points == sorted(set(points))
    assert [event["epoch"] for event in units.events] == list(range(5 * KEPT - EVENTS, 5 * KEPT))
    assert [event["what"] for event in units.events[-2:]] == ["back", "died"]


def test_gradients_are_those_that_training_sees_with_a_standardised_target_and_dropout():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(90, 3))
    y = 50 + 20 * X[:, 0] - 5 * X[:, 1]
    health = Health(X, y)

    def after(estimator, record):
        health.look(estimator, record["epoch"] + 1)
        return record["epoch"] == 2

    model = chainrule.MLPRegressor(
        hidden_layer_sizes=(6, 4), random_state=0, alpha=0, standardize="target", dropout=0.3,
        callbacks=[after],
    )  # fmt: skip
    model.fit(X, y)
    # The last layer of the network that predicts turns standardised numbers into those of y.
    mean, deviation = y.mean(), y.std()
    (*W, V), (*b, c) = model.coefs_, model.intercepts_
    W, b = [*W, V / deviation], [*b, (c - mean) / deviation]
    a, z = [X], [None]
    for l in (1, 2, 3):
        z.append(a[-1] @ W[l - 1] + b[l - 1])
        a.append(np.maximum(z[-1], 0) if l < 3 else z[-1])
    delta = (a[3] - ((y - mean) / deviation)[:, np.newaxis]) / len(X)
    for l in (3, 2, 1):
        found = health.as_dict()["gradients"][l - 1][-1]
        assert found == pytest.approx(np.linalg.norm(a[l - 1].T @ delta), rel=1e-6)
        if l > 1:
            delta = (delta @ W[l - 1].T) * (z[l - 1] > 0)


@pytest.mark.parametrize(
    ("target", "model", "name"),
    [("label", "ensemble", "accuracy"), ("price", "ensemble", "R²"),
     ("label", "network", "accuracy"), ("price", "network", "R²")],
)  # fmt: skip
def test_a_model_its_numbers_and_the_code_that_gives_the_same(
    panel, tmp_path, monkeypatch, target, model, name
):
    path, frame = table(tmp_path)
    (tmp_path / "my table.csv").write_bytes(path.read_bytes())
    found = panel.uploaded("my table.csv", path)["table"]
    assert (found["rows"], found["target"]) == (150, "label")
    assert [column["kind"] for column in found["columns"][:3]] == [
        "numeric", "categorical", "constant"
    ]  # fmt: skip
    assert not path.exists()
    kinds = {"label" if target == "price" else "price": "ignored"}
    reply, sent = trained(panel, target=target, model=model, kinds=kinds)
    assert "error" not in sent, sent
    result = sent["result"]
    assert reply == {"trains": True, "rows": 149 if target == "label" else 150,
                     "missing": int(target == "label")}  # fmt: skip
    assert result["score"]["name"] == name
    assert result["score"]["value"] > 0.8 > result["score"]["trivial"]
    assert result["error"]["value"] < result["error"]["trivial"]
    assert result["importances"][0]["name"] == "size"
    assert {each["name"] for each in result["importances"]} >= {"size", "kind"}
    assert ("weights" in result) == ("health" in result) == (model == "network")
    if target == "label":
        counts = result["confusion"]["counts"]
        assert np.trace(counts) == round(result["score"]["value"] * counts.sum())
    if model == "network":
        W = panel._trained.model[-1].coefs_[0]
        np.testing.assert_allclose(result["weights"]["W"], W)
        assert len(result["weights"]["inputs"]) == len(W)
        check_health(result["health"], panel)
    monkeypatch.chdir(tmp_path)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(panel.download("train.py").content, "train.py", "exec"), {})
    assert float(out.getvalue()) == pytest.approx(result["score"]["value"], abs=1e-12)
    stored = panel.download("model.chainrule")
    assert stored.name == "my table.chainrule"
    (tmp_path / "m.chainrule").write_bytes(stored.content)
    X = frame.drop(columns=["price", "label"])
    again = chainrule.load(tmp_path / "m.chainrule").predict(X)
    program = {"__name__": "program"}
    exec(panel.download("model.py").content, program)
    said = program["predict"]({name: X[name].tolist() for name in program["COLUMNS"]})
    if target == "label":
        assert list(said) == list(again)
    else:
        np.testing.assert_allclose(said, again, rtol=1e-5, atol=1e-5)


def test_bad_tables_are_named_as_the_visitor_knows_them(panel, tmp_path):
    cases = {
        "empty.csv": (b"", "empty.csv"),
        "ragged.csv": (b"a,b\n1,2\n3,4,5\n6,7\n", "ragged.csv.*line 3"),
        "one.csv": (b"a\n1\n2\n3\n", "one.csv has 3 rows and 1 columns"),
        "long.csv": (
            b"a,b\n" + b"1,2\n" * 100_001,
            "long.csv has more than 100,000 rows and 2 col",
        ),
        "wide.csv": (
            b",".join(b"c%d" % k for k in range(501)) + 3 * (b"\n" + b"1," * 500 + b"1"),
            "wide.csv has 3 rows and 501 columns; this page takes",
        ),
        "short.csv": (b"a,b\n1,2\n", "short.csv has 1 rows"),
        "not.parquet": (b"hello", "not.parquet"),
        "twice.csv": (b"a,a\n1,2\n3,4\n5,6\n", "twice.csv"),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / f"upload.{name.partition('.')[2]}"
        path.write_bytes(content)
        with pytest.raises(PanelError, match=message) as caught:
            panel.uploaded(name, path)
        assert str(tmp_path) not in str(caught.value)
        assert not path.exists()
    with pytest.raises(PanelError, match="choose a file first"):
        panel.handle("train", {"target": "a"})
    with pytest.raises(PanelError, match="there is no model yet"):
        panel.download("model.onnx")


def test_what_cannot_be_trained_is_said_before(panel, tmp_path):
    path, _ = table(tmp_path)
    panel.uploaded("t.csv", path)
    for data, message in (
        ({"target": "prize"}, "there is no column 'prize' in t.csv"),
        ({"target": "label", "model": "forest"}, "there is no model 'forest'"),
        ({"target": "code"}, "'code' is x in every row"),
        ({"target": "label", "kinds": {"size": "odd"}}, "kinds must name columns"),
        ({"target": "label", "kinds": ["size"]}, "kinds must name columns"),
    ):
        with pytest.raises(PanelError, match=message):
            panel.handle("train", data)
    _, sent = trained(panel, target="label", kinds={"size": "date", "price": "ignored"})
    assert "size" in sent["error"]["message"]
    assert "ended" in sent
    with pytest.raises(PanelError, match="there is no example"):
        panel.handle("example", {"name": "titanic"})


def test_stopping_keeps_the_best_so_far_and_closing_ends_the_thread(panel, tmp_path):
    path, _ = table(tmp_path, 2000)
    panel.uploaded("t.csv", path)
    panel.handle("train", {"target": "price"})
    with pytest.raises(PanelError, match="being trained; stop it first"):
        panel.handle("example", {"name": "wine"})
    panel.handle("stop", {})
    for thread in panel._threads:
        thread.join(60)
    sent = dict(panel.session.sent)
    assert max(x for each in sent["result"]["curve"] for x, _ in each["points"]) < 20
    panel.handle("train", {"target": "price"})
    panel.close()
    assert not any(thread.is_alive() for thread in panel._threads)


def test_judged_against_scikit_learn():
    from sklearn.metrics import confusion_matrix, log_loss, root_mean_squared_error

    rng = np.random.default_rng(0)
    y = pd.Series(rng.choice(["b", "a", "c"], 60))
    P = rng.dirichlet([1, 1, 1], 60)
    found = judged(y, P, np.array(["a", "b", "c"]), 0.5)
    assert found["error"]["value"] == pytest.approx(log_loss(y, P))
    said = np.array(["a", "b", "c"])[P.argmax(axis=1)]
    np.testing.assert_array_equal(found["confusion"]["counts"], confusion_matrix(y, said))
    z = pd.Series(rng.normal(size=60))
    found = judged(z, P[:, 0], None, 0.1)
    assert found["error"]["value"] == pytest.approx(root_mean_squared_error(z, P[:, 0]))
    assert found["error"]["trivial"] == pytest.approx(z.std(ddof=0))


def test_the_page_takes_a_bad_csv_and_then_a_good_one(open_page, tmp_path):
    page = open_page("data", width=375, height=760, theme="dark")
    choose = page.locator("#own-file")
    bad = tmp_path / "bad.csv"
    bad.write_bytes(b"a,b\n1,2\n3,4,5\n")
    choose.set_input_files(bad)
    alert = page.locator(".panel-data .notice")
    alert.filter(has_text=re.compile("bad.csv.*line 3")).wait_for()
    path, _ = table(tmp_path)
    good = path.rename(tmp_path / "good.csv")
    choose.set_input_files(good)
    page.get_by_text("good.csv: 150 rows, 5 columns").wait_for()
    assert alert.is_hidden()
    page.get_by_label("Kind of price").select_option("ignored")
    train = page.get_by_role("button", name="Train", exact=True)
    train.click()
    page.get_by_text("What it is worth").wait_for(timeout=60_000)
    assert not page.get_by_role("heading", name="Dead units").is_visible()
    none = page.get_by_text("Gradients and dead units are shown where one network is trained")
    assert none.is_visible()
    page.locator(".data-row select").last.select_option("network")
    train.click()
    page.get_by_text("What it is worth").wait_for(state="hidden")
    page.get_by_text("What it is worth").wait_for(timeout=60_000)
    sizes = page.locator(".data-health canvas").get_attribute("aria-label")
    assert re.fullmatch(r"Size of the gradient by layer: [\d.e−-]+, [\d.e−-]+, [\d.e−-]+", sizes), (
        sizes
    )
    assert none.is_hidden()
    dead = page.locator(".data-health p").text_content()
    assert re.match("Each hidden unit|\\d+ of 48 hidden units off on all rows", dead), dead
    assert page.locator(".data-scores dt").first.text_content() == "accuracy"
    with page.expect_download() as download:
        page.get_by_role("link", name="Model file").click()
    stored = tmp_path / "stored.chainrule"
    download.value.save_as(stored)
    assert download.value.suggested_filename == "good.chainrule"
    assert list(chainrule.load(stored).classes_) == ["high", "low"]
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    assert serious_faults(page) == []


def test_the_kinds_of_an_example_lie_in_the_address(open_page):
    page = open_page(
        "data?example=wine&target=ash&kinds=%7B%22hue%22%3A%22ignored%22%2C%22x%22%3A1%7D"
    )
    page.get_by_text("wine: 178 rows, 14 columns").wait_for()
    assert page.get_by_label("Kind of hue").input_value() == "ignored"
    page.get_by_label("Kind of alcohol").select_option("categorical")
    page.wait_for_url(re.compile("target=ash.*hue.*alcohol"))
    page.reload()
    page.get_by_text("wine: 178 rows, 14 columns").wait_for()
    assert page.get_by_label("Kind of alcohol").input_value() == "categorical"
    assert page.get_by_label("Predict").input_value() == "ash"
