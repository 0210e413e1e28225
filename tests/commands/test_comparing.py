"""Several models on one table, and simpler models beside one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import chainrule
from chainrule.commands.cli import app
from chainrule.commands.differences import (
    RowLosses,
    Score,
    against,
    difference,
    losses_of_classes,
    losses_of_numbers,
    verdict_in_words,
)

pd = pytest.importorskip("pandas", reason="tables are an extra")
pytest.importorskip("skrub", reason="tables are an extra")


def test_a_paired_difference_has_the_interval_of_the_mean():
    """The noise that both share cancels: what is left is the mean of the rows' differences."""
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=2000) ** 2 * 50, rng.normal(0.3, 1, size=2000)
    found = difference(RowLosses("log_loss", shared + own), RowLosses("log_loss", shared))
    error = own.std() / np.sqrt(2000)
    assert found.value == pytest.approx(own.mean())
    assert found.low == pytest.approx(own.mean() - 1.96 * error, abs=0.3 * error)
    assert found.high == pytest.approx(own.mean() + 1.96 * error, abs=0.3 * error)


def test_the_losses_of_rows_make_the_metrics():
    from sklearn import metrics

    rng = np.random.default_rng(0)
    y, P = rng.integers(0, 3, 40), rng.dirichlet([1, 1, 1], 40)
    one = np.ones((1, 40))
    of_classes = losses_of_classes(y, P, np.arange(3))
    assert of_classes.mean(one)[0] == pytest.approx(metrics.log_loss(y, P))
    truth, said = rng.normal(size=(2, 40))
    squared = losses_of_numbers(truth, said).mean(one)[0]
    assert squared == pytest.approx(metrics.root_mean_squared_error(truth, said))
    absolute = losses_of_numbers(truth, np.c_[said - 9, said, said + 9], Score("mae"))
    assert absolute.mean(one)[0] == pytest.approx(metrics.mean_absolute_error(truth, said))
    levels = (0.1, 0.5, 0.8)
    several = np.c_[said - 1, said, said + 1]
    pinball = losses_of_numbers(truth, several, Score("pinball", levels)).mean(one)[0]
    expected = [metrics.mean_pinball_loss(truth, several[:, j], alpha=levels[j]) for j in range(3)]
    assert pinball == pytest.approx(np.mean(expected))


def skewed(path, n=300):
    """A target whose mean, median and quantiles are far from each other."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    y = x + rng.exponential(3, n) ** 1.5
    pd.DataFrame({"x": x, "y": y}).to_csv(path, index=False)
    return x, y


@pytest.mark.parametrize(
    ("loss", "metric", "levels"),
    [
        (["absolute_error"], "mae", (0.5,)),
        (["huber"], "mae", (0.5,)),
        (["quantile", "--quantile", "0.9"], "pinball", (0.9,)),
        (["quantile", "--quantile", "0.1,0.5,0.9"], "pinball", (0.1, 0.5, 0.9)),
        (["squared_error"], "rmse", ()),
    ],
    ids=str,
)
def test_a_model_is_compared_by_its_own_score(loss, metric, levels, tmp_path, monkeypatch):
    from sklearn.metrics import mean_pinball_loss

    monkeypatch.chdir(tmp_path)
    y = skewed("t.csv")[1]
    small = ["--max-iter", "30", "--no-early-stopping", "--test", "t.csv", "--no-curve", "--json"]
    done = CliRunner().invoke(app, ["train", "t.csv", "-t", "y", "--loss", *loss, *small])
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert next(iter(said["evaluation"]["metrics"])) == metric
    assert {each["metric"] for each in said["compared"].values()} == {metric}
    # The simpler models are those of the same loss: the trivial one is the best constant.
    values = said["baselines"]["trivial"]
    if metric == "rmse":
        assert values["rmse"] == pytest.approx(y.std())
        assert values["bias"] == pytest.approx(0, abs=1e-6)
    else:
        constants = [np.full(300, np.quantile(y, t)) for t in levels]
        costs = [mean_pinball_loss(y, c, alpha=t) for c, t in zip(constants, levels, strict=True)]
        best = np.mean(costs)
        assert values[metric] == pytest.approx(best * (2 if metric == "mae" else 1), rel=1e-3)
    linear = said["baselines"]["linear"]
    assert linear[metric] < values[metric]
    if len(levels) == 3:
        assert linear["coverage"] == pytest.approx(0.8, abs=0.02)
    # And those are what its file holds.
    done = CliRunner().invoke(app, ["evaluate", "model.chainrule", "t.csv", "--json", "--quiet"])
    found = json.loads(done.stdout)
    for name in ("trivial", "linear"):
        assert found["baselines"][name] == pytest.approx(said["baselines"][name])


def test_weights_move_the_quantiles_of_the_simpler_models(tmp_path):
    from chainrule.commands.baselines import fit_baselines

    x, y = skewed(tmp_path / "t.csv")
    weight = np.random.default_rng(1).integers(1, 5, 300)
    given = fit_baselines(x[:, None], y, "regression", weight.astype(float), (0.2, 0.9))
    rows = np.repeat(np.arange(300), weight)
    repeated = fit_baselines(x[rows, None], y[rows], "regression", None, (0.2, 0.9))
    np.testing.assert_allclose(
        given["trivial"].predict(x[:, None]), repeated["trivial"].predict(x[:, None]), rtol=0.05
    )
    share = np.average(y[:, None] <= given["trivial"].predict(x[:, None]), axis=0, weights=weight)
    np.testing.assert_allclose(share, [0.2, 0.9], atol=0.01)


def test_models_of_different_scores_are_compared_by_what_they_share(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    skewed("t.csv")
    frame = pd.read_csv("t.csv")
    options = {"max_iter": 2, "engine": "numpy", "random_state": 0, "early_stopping": False}
    for name, loss in (("mean", {}), ("median", {"loss": "absolute_error"}),
                       ("high", {"loss": "quantile", "quantile": 0.9}),
                       ("three", {"loss": "quantile", "quantile": [0.1, 0.5, 0.9]})):  # fmt: skip
        model = chainrule.tabular_pipeline("regression", **options, **loss)
        with pytest.warns(UserWarning, match="Maximum"):
            model.fit(frame[["x"]], frame["y"])
        metadata = {"target": "y", "target_type": "number"}
        chainrule.save(model, f"{name}.chainrule", metadata=metadata)

    def compared(*names):
        asked = ["compare", *(f"{name}.chainrule" for name in names), "t.csv"]
        return CliRunner().invoke(app, [*asked, "--json"]), CliRunner().invoke(app, asked)

    for names, by in ((("mean", "mean"), "rmse"), (("median", "median"), "mae"),
                      (("high", "high"), "pinball"), (("three", "three"), "pinball"),
                      (("mean", "median", "three"), "mae")):  # fmt: skip
        done, shown = compared(*names)
        assert done.exit_code == shown.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["ordered_by"] == by
        assert ("trained for different scores" in done.stderr) == (len(names) == 3)
    for names in (("mean", "high"), ("high", "three")):
        done, _ = compared(*names)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert "high.chainrule predicts the quantiles 0.9, and" in done.stderr


@pytest.mark.parametrize(
    ("other", "said"),
    [(0.5, "is better"), (0.99, "is as good"), (1.02, "may be as good"), (2.0, "Better than")],
)
def test_a_simpler_model_is_called_what_the_rows_say(other, said):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=200)
    noise -= noise.mean()
    model = RowLosses("log_loss", np.ones(200))
    found = against("linear", model, RowLosses("log_loss", other + noise))
    assert said in verdict_in_words([found], 200)
    assert found.is_as_good == (said != "Better than")


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=120), "z": rng.normal(size=120)})
    X.assign(y=X["x"] * 2 + X["z"] ** 2).to_csv("t.csv", index=False)
    frame = pd.read_csv("t.csv")
    for name, columns in (("good", ["x", "z"]), ("bad", ["z"])):
        model = chainrule.tabular_pipeline(
            "regression", model="network", random_state=0, engine="numpy"
        )
        model.fit(frame[columns], frame["y"])
        metadata = {"target": "y", "target_type": "number"}
        chainrule.save(model, f"{name}.chainrule", metadata=metadata)

    def run(*arguments):
        done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "100"})
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout, done.stderr

    return run


def test_compare_puts_the_best_first_and_says_how_sure_that_is(call):
    code, out, err = call("compare", "bad.chainrule", "good.chainrule", "t.csv", "--json")
    assert code == 0, err
    said = json.loads(out)
    frame = pd.read_csv("t.csv")
    assert [each["model"] for each in said["models"]] == ["good.chainrule", "bad.chainrule"]
    rmse = []
    for each in said["models"]:
        model = chainrule.load(each["model"])
        rmse.append(np.sqrt(np.mean((model.predict(frame) - frame["y"]) ** 2)))
        assert each["metrics"]["rmse"]["value"] == pytest.approx(rmse[-1])
    worse = said["models"][1]["worse_than_best"]
    assert worse["value"] == pytest.approx(rmse[1] - rmse[0])
    assert 0 < worse["low"] < worse["value"] < worse["high"]
    assert [each["as_good_as_best"] for each in said["models"]] == [True, False]
    assert said["rows"] == {"test": 120, "left_out": 0}
    code, out, _ = call("compare", "bad.chainrule", "good.chainrule", "t.csv")
    lines = out.splitlines()
    assert lines[0] == "120 rows of t.csv"
    assert [line.split()[0] for line in lines[2:5]] == ["model", "good.chainrule", "bad.chainrule"]
    assert "best" in lines[3]
    code, out, _ = call("compare", "bad.chainrule", "good.chainrule", "t.csv", "--quiet")
    assert out.startswith("good.chainrule: RMSE")
    code, out, _ = call("compare", "good.chainrule", "good.chainrule", "t.csv", "--json")
    assert json.loads(out)["models"][1]["worse_than_best"] == {"value": 0, "low": 0, "high": 0}


def test_what_cannot_be_compared_is_refused_in_a_line(call):
    frame = pd.read_csv("t.csv")
    labels = np.where(frame["y"] > 1, "high", "low")
    for name, target, y in (("class", "y", labels), ("other", "x", frame["x"])):
        task = "regression" if name == "other" else "classification"
        model = chainrule.tabular_pipeline(
            task, random_state=0, engine="numpy", max_iter=1, early_stopping=False
        )
        with pytest.warns(UserWarning, match="Maximum"):
            model.fit(frame[["z"]], y)
        chainrule.save(model, f"{name}.chainrule", metadata={"target": target})
    frame.drop(columns="y").to_csv("blind.csv", index=False)
    for arguments, message in (
        (("good.chainrule", "class.chainrule", "t.csv"), "predicts numbers, and class.chain"),
        (("good.chainrule", "other.chainrule", "t.csv"), "predicts 'y', and other.chainrule 'x'"),
        (("good.chainrule", "t.csv"), "two models or more"),
        (("good.chainrule", "bad.chainrule", "-"), "name a file, not -"),
        (("good.chainrule", "bad.chainrule", "blind.csv"), "missing that the model needs: 'y'"),
        (("good.chainrule", "none.chainrule", "t.csv"), "none.chainrule"),
        (("good.chainrule", "t.csv", "t.csv"), "t.csv"),
    ):
        code, out, err = call("compare", *arguments)
        assert (code, out) == (2, "")
        assert message in err
        assert len(err.strip().splitlines()) == 1
