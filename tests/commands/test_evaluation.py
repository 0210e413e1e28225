"""Metrics against scikit-learn's, intervals against the truth, and a page that holds no traps."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as theirs
from sklearn.calibration import calibration_curve

from chainrule.commands.estimates import Estimate, metric, number
from chainrule.commands.evaluation import bootstrap, evaluate_classes, evaluate_numbers, reliability
from chainrule.commands.evaluation_report import residuals, write_page
from chainrule.commands.importances import Importance

QUICK = {"resamples": 20}


def classified(seed, n=120, k=3):
    """(y, said, P): labels with gaps, ties in the probabilities."""
    rng = np.random.default_rng(seed)
    names = np.array(["b", "a", "ä", "z z"])[:k]
    t = rng.integers(0, k, n)
    P = rng.dirichlet(np.ones(k), n).round(1) + 0.05
    P[np.arange(n), t] += 0.3
    P /= P.sum(axis=1, keepdims=True)
    return names[t], names[P.argmax(axis=1)], P, names


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_metrics_of_classes_are_scikit_learns(seed, k):
    y, said, P, names = classified(seed, k=k)
    order = np.argsort(names)
    found = evaluate_classes(y, said, P, names, **QUICK)
    scores = P[:, 1] if k == 2 else P[:, order]
    expected = {
        "accuracy": theirs.accuracy_score(y, said),
        "balanced_accuracy": theirs.balanced_accuracy_score(y, said),
        "f1_macro": theirs.f1_score(y, said, average="macro"),
        "log_loss": theirs.log_loss(y, P[:, order], labels=names[order]),
        "roc_auc": theirs.roc_auc_score(
            (y == names[1]) if k == 2 else y, scores, multi_class="ovr"
        ),
    }
    assert {name: e.value for name, e in found.metrics.items()} == pytest.approx(expected)
    assert found.confusion == theirs.confusion_matrix(y, said, labels=names).tolist()
    precision, recall, f1, rows = theirs.precision_recall_fscore_support(y, said, labels=names)
    for j, each in enumerate(found.per_class):
        assert (each["class"], each["rows"]) == (names[j], rows[j])
        assert [each["precision"], each["recall"], each["f1"]] == pytest.approx(
            [precision[j], recall[j], f1[j]]
        )


@pytest.mark.parametrize("seed", range(4))
def test_metrics_of_numbers_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    y = rng.normal(1e6, 3, 101 + seed)
    said = y + rng.standard_t(2, len(y))
    found = evaluate_numbers(y, said, **QUICK)
    assert {name: e.value for name, e in found.metrics.items()} == pytest.approx(
        {
            "rmse": theirs.root_mean_squared_error(y, said),
            "mae": theirs.mean_absolute_error(y, said),
            "r2": theirs.r2_score(y, said),
            "median_error": theirs.median_absolute_error(y, said),
            "bias": float(np.mean(said - y)),
        }
    )
    assert found.residuals["0.5"] == pytest.approx(np.median(said - y))


@given(st.integers(0, 10**6), st.integers(2, 4), st.booleans())
def test_a_resample_has_the_metrics_of_its_rows(seed, k, of_groups):
    """Counts as weights give what the resampled rows, or groups, themselves give."""
    y, said, P, names = classified(seed, n=40, k=k)
    groups, how = None, {"resamples": 1, "seed": seed}
    units = [[row] for row in range(40)]
    if of_groups:
        groups = np.random.default_rng(seed).integers(0, 9, 40)
        units = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    whole = evaluate_classes(y, said, P, names, groups=groups, **how)
    of_units = np.random.default_rng(seed).integers(0, len(units), (1, len(units)))[0]
    rows = np.concatenate([units[unit] for unit in of_units])
    drawn = evaluate_classes(y[rows], said[rows], P[rows], names, resamples=0)
    for name, estimate in whole.metrics.items():
        assert estimate.low == pytest.approx(drawn.metrics[name].value, nan_ok=True), name
    x, z = P[:, 0], P[:, -1]
    whole = evaluate_numbers(x, z, groups=groups, **how)
    drawn = evaluate_numbers(x[rows], z[rows], resamples=0)
    for name, estimate in whole.metrics.items():
        assert estimate.low == pytest.approx(drawn.metrics[name].value, nan_ok=True), name


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Accuracy 0.8 and RMSE 2 on 150 rows: of 200 intervals of 90 % about 180 hold them."""
    rng = np.random.default_rng(0)
    held = np.zeros(2)
    for seed in range(200):
        right = rng.random(150) < 0.8
        said = np.where(right, "a", "b")
        found = evaluate_classes(
            ["a"] * 150, said, None, ["a", "b"], level=0.9, seed=seed, resamples=200
        )
        held[0] += found.metrics["accuracy"].low <= 0.8 <= found.metrics["accuracy"].high
        y = rng.normal(0, 2, 150)
        rmse = evaluate_numbers(y, 0 * y, level=0.9, seed=seed, resamples=200).metrics["rmse"]
        held[1] += rmse.low <= 2 <= rmse.high
    assert (held >= 165).all(), held
    assert (held <= 193).all(), held


def test_of_alike_rows_only_intervals_of_groups_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = np.zeros(2)
    groups = np.repeat(np.arange(40), 6)
    for seed in range(100):
        y = rng.normal(size=40)[groups]
        for k, by in enumerate((groups, None)):
            how = {"level": 0.9, "seed": seed, "resamples": 200}
            bias = evaluate_numbers(y, 0 * y, groups=by, **how).metrics["bias"]
            held[k] += bias.low <= 0 <= bias.high
    assert 80 <= held[0] <= 97
    assert held[1] <= 60  # of intervals of 90 %


def test_of_a_single_group_its_rows_are_drawn():
    y, said, P, names = classified(0)
    alone = evaluate_classes(y, said, P, names, **QUICK)
    of_one = evaluate_classes(y, said, P, names, groups=np.array(["a"] * len(y)), **QUICK)
    assert of_one == alone


def test_the_seed_decides_the_interval_and_blocks_do_not(monkeypatch):
    y, said, P, names = classified(0)
    first = evaluate_classes(y, said, P, names, seed=1, resamples=100)
    again = evaluate_classes(y, said, P, names, seed=1, resamples=100)
    other = evaluate_classes(y, said, P, names, seed=2, resamples=100)
    assert first == again
    assert first.metrics["log_loss"] != other.metrics["log_loss"]
    monkeypatch.setattr("chainrule.commands.evaluation.BLOCK", 500)
    assert evaluate_classes(y, said, P, names, seed=1, resamples=100) == first


def test_resamples_become_fewer_with_many_rows():
    sizes = []

    def metrics(w):
        sizes.append(w.shape)
        return {"mean": w.mean(axis=1)}

    bootstrap(metrics, 150_000)
    assert max(b * n for b, n in sizes) <= 2_000_000
    assert sum(b for b, _ in sizes[1:]) == 133


def test_classes_that_the_model_does_not_know_count_as_mistaken():
    y, said = ["a", "b", "new", "new"], ["a", "b", "a", "b"]
    P = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    found = evaluate_classes(y, said, P, ["a", "b"], **QUICK)
    assert found.classes == ["a", "b", "new"]
    assert found.metrics["accuracy"].value == 0.5
    assert found.confusion == [[1, 0, 0], [0, 1, 0], [1, 1, 0]]
    assert found.metrics["log_loss"].value > 15  # two rows with probability 0


def test_one_class_has_no_area_and_constant_targets_no_r2():
    P = np.tile([0.8, 0.2], (5, 1))
    found = evaluate_classes(["a"] * 5, ["a"] * 5, P, ["a", "b"], **QUICK)
    assert np.isnan(found.metrics["roc_auc"].value)
    assert np.isnan(evaluate_numbers([1.0] * 5, [1, 2, 3, 4, 5], **QUICK).metrics["r2"].value)
    with pytest.raises(ValueError, match="no rows"):
        evaluate_numbers([], [])
    with pytest.raises(ValueError, match="2 rows to compare with 1"):
        evaluate_numbers([1, 2], [1])


def test_coverage_of_quantiles():
    y = np.arange(10.0)
    levels = np.stack([y - 1, y, y + 1], axis=1)
    levels[:3] += 5
    found = evaluate_numbers(y, levels, levels=(0.1, 0.5, 0.9), **QUICK)
    assert found.metrics["coverage"].value == 0.7
    assert found.metrics["mae"].value == 1.5  # of the middle one


def test_bins_are_scikit_learns():
    rng = np.random.default_rng(0)
    p = rng.random(1000)
    came = rng.random(1000) < p
    bins = reliability(p, came)
    observed, predicted = calibration_curve(came, p, n_bins=10, strategy="quantile")
    np.testing.assert_allclose([b["predicted"] for b in bins], predicted)
    np.testing.assert_allclose([b["observed"] for b in bins], observed)
    assert sum(b["rows"] for b in reliability(np.full(7, 0.5), np.ones(7, bool))) == 7


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.98551, "0.9855"), (12345.6, "12,346"), (24.851, "24.85"), (3.2e-7, "3.200e-07"), (2, "2")],
)
def test_numbers_in_print(value, shown):
    assert number(value) == shown


def test_metrics_without_a_unit_have_four_decimals():
    assert metric("r2", -2.2e-5) == "0.0000"
    assert metric("accuracy", 1.0) == "1.0000"
    assert metric("rmse", float("nan")) == "–"


class Page(HTMLParser):
    """The tags, the addresses and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "srcset", "action")]
        assert not any(k.startswith("on") for k, _ in attrs), attrs

    def handle_data(self, data):
        self.words.append(data)


HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=y>', "$\\frac{", "日本\ud800"]


def test_a_page_is_whole_and_holds_no_code_from_the_data(tmp_path):
    rng = np.random.default_rng(0)
    names = np.array(HOSTILE, dtype=object)
    y = names[rng.integers(0, 4, 200)]
    P = rng.dirichlet(np.ones(4), 200)
    found = evaluate_classes(y, names[P.argmax(axis=1)], P, names, **QUICK)
    path = tmp_path / "page.html"
    baselines = {"<b>trivial</b>": {"accuracy": 0.5}, "<i>linear</i>": None}
    columns = [Importance(name, Estimate(0.3, 0.1, 0.5)) for name in HOSTILE]
    facts = {"Data": HOSTILE[1]}
    write_page(path, found, title=HOSTILE[0], facts=facts, baselines=baselines, importances=columns)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert page.tags.count("img") == 1  # the calibration
    assert all(a.startswith("data:image/png;base64,") for a in page.addresses)
    assert not re.search(r"https?:|@import|url\(", text)
    words = "".join(page.words)
    for name in HOSTILE[:3]:
        assert name in words
    assert "a <i>linear</i> model would do is unknown" in words
    assert "i" not in page.tags
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_the_page_of_a_regression_shows_its_errors(tmp_path):
    y = np.linspace(0, 10, 5000)
    found = evaluate_numbers(y, y + 1, **QUICK)
    path = tmp_path / "page.html"
    write_page(path, found, title="T", facts={}, y=y, predicted=y + 1)
    page = Page(path.read_text(encoding="utf-8"))
    assert page.tags.count("img") == 2
    assert "median absolute error ↓" in page.words
    dots = residuals(y, y + 1)[0].axes[0].collections[0].get_offsets()
    assert len(dots) == 4000
    residuals(y, y)  # no error at all has no range
    np.testing.assert_allclose(dots[:, 1] - dots[:, 0], 1)


def test_of_many_classes_the_page_shows_the_worst(tmp_path):
    names = [f"class {j}" for j in range(60)]
    y = names * 5
    said = list(y)
    said[7] = "class 9"
    write_page(
        tmp_path / "p.html", evaluate_classes(y, said, None, names, **QUICK), title="T", facts={}
    )
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    matrix = text[text.index('class="matrix"') : text.index("Class by class")]
    assert "class 7<" in matrix
    assert "class 9<" in matrix
    assert "class 40<" not in matrix
    assert "Of 60 classes" in text


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    found = evaluate_numbers([1.0, 2], [1, 2], **QUICK)
    with pytest.raises(FileNotFoundError):
        write_page(tmp_path / "no" / "page.html", found, title="T", facts={})
    assert not list(tmp_path.iterdir())
