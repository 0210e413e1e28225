"""Rows that are changed before each step: which, with which numbers, and to the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, sparse
from sklearn.datasets import load_digits

import chainrule
from chainrule import DivergenceError, MLPClassifier, MLPRegressor, Network, train
from chainrule.training import descent
from chainrule.training.augmentation import RowRandom
from chainrule.training.distortions import ImageDistortion


def problem(n=23, k=3):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, k)), rng.normal(size=(n, 2))


def fresh(k=3, **kwargs):
    return Network((k, 5, 2), **{"activation": "tanh", "seed": 1} | kwargs)


def shaken(X, random):
    return X + 0.1 * random.normal(X.shape[1]) * (1 + random.uniform(1))


# --- random numbers ---------------------------------------------------------------------------


def test_a_row_has_its_numbers_whatever_rows_are_beside_it():
    whole = RowRandom(5, 7, 4, 12)
    first, second = whole.uniform(3), whole.uniform(2)
    for batch in range(3):
        one = RowRandom(5, 7 + batch, 4, 4)
        rows = slice(4 * batch, 4 * batch + 4)
        np.testing.assert_array_equal(one.uniform(3), first[rows])
        np.testing.assert_array_equal(one.uniform(2), second[rows])
    everything = np.concatenate([first.ravel(), second.ravel()])
    assert len(np.unique(everything)) == everything.size
    for other in (RowRandom(6, 7, 4, 12), RowRandom(5, 8, 4, 12)):
        assert (other.uniform(3) != first).all()


def test_numbers_are_distributed_as_they_should_be():
    random = RowRandom(1, 1, 100, 20_000)
    uniform, normal = random.uniform(2), random.normal(2)
    assert uniform.min() >= 0
    assert uniform.max() < 1
    cells = np.histogram2d(*uniform.T, bins=8, range=[[0, 1], [0, 1]])[0]
    assert ((cells - 312.5) ** 2 / 312.5).sum() < 120  # χ² of 63 degrees: 1 in 100,000
    assert abs(normal.mean()) < 0.02
    assert abs(normal.std() - 1) < 0.02
    assert abs(np.corrcoef(normal.T)[0, 1]) < 0.03


# --- training ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m"), [(23, 5), (20, 5), (4, 5), (5, None)])
def test_steps_by_hand(n, m, engine):
    """Each batch is changed with its own step's numbers, and nothing else is different."""
    X, Y = problem(n)
    network, mirror = fresh(), fresh()
    train(
        network, X, Y, epochs=2, batch_size=m, learning_rate=0.1, seed=9, engine=engine,
        augment=shaken,
    )  # fmt: skip
    rng = np.random.default_rng(9)
    seed, step = int(rng.integers(2**31 - 1)), 0
    for _ in range(2):
        order = rng.permutation(n)
        for start in range(0, n, m or n):
            rows, step = order[start : start + (m or n)], step + 1
            changed = shaken(X[rows], RowRandom(seed, step, len(rows), len(rows)))
            mirror.theta -= 0.1 * mirror.gradient(changed, Y[rows])[1]
    np.testing.assert_allclose(network.theta, mirror.theta, rtol=1e-10)


def test_a_function_that_changes_nothing_changes_no_bit(engine):
    X, Y = problem()
    settings = {"epochs": 3, "batch_size": 4, "shuffle": False, "engine": engine}
    network, other = fresh(), fresh()
    train(network, X, Y, **settings)
    train(other, X, Y, augment=lambda X, random: X, **settings)
    assert network.theta.tobytes() == other.theta.tobytes()


@pytest.mark.bits
def test_threads_and_blocks_change_no_bit(engine, monkeypatch):
    monkeypatch.setitem(descent.WORTH_CUTTING, engine, 0)
    X, Y = problem(300, 40)

    def bits(**settings):
        network = fresh(40)
        train(
            network, X, Y, epochs=2, batch_size=64, seed=3, engine=engine, augment=shaken,
            **settings,
        )  # fmt: skip
        return network.theta.tobytes()

    expected = bits(n_threads=1)
    assert bits(n_threads=2) == expected
    monkeypatch.setattr("chainrule.training.augmentation.MOST_NUMBERS", 1)
    assert bits(n_threads=2) == expected
    assert np.isfinite(np.frombuffer(expected)).all()


@pytest.mark.parametrize("kind", ["rows", "sparse", "weighted", "early_stopping", "sklearn"])
def test_each_row_that_is_learned_from_is_seen_once_an_epoch_and_no_other(kind):
    rng = np.random.default_rng(0)
    n = 57
    X, y = np.column_stack([np.arange(n), rng.normal(size=n)]), rng.integers(2, size=n)
    seen = []

    def record(block, random):
        seen.extend(block[:, 0].astype(int).tolist())
        block[:, 1] += random.normal(1)[:, 0]
        return block

    model = MLPClassifier(
        3, batch_size=10, max_iter=4, n_iter_no_change=10, random_state=0, augment=record,
        engine="numpy", tol=0, early_stopping=kind == "early_stopping",
        standardize=False, compat="sklearn" if kind == "sklearn" else None,
    )  # fmt: skip
    weight = np.where(np.arange(n) < 9, 0.0, 1.5) if kind == "weighted" else None
    validation = {}
    if kind == "rows":
        validation = {"X_val": X + 1000, "y_val": y}
    given = sparse.csr_array(X) if kind == "sparse" else X
    with pytest.warns(Warning, match="Maximum|far"):
        model.fit(given, y, sample_weight=weight, **validation)
    counts = np.bincount(seen, minlength=n)
    learned = counts > 0
    assert len(counts) == n  # none of the validation set
    assert (counts[learned] == model.n_iter_).all()
    held = {"early_stopping": 6, "weighted": 9}.get(kind, 0)
    assert (~learned).sum() == held
    if kind == "early_stopping":  # judged as they are
        from sklearn.metrics import log_loss

        best = model.best_iteration_ - 1
        expected = log_loss(y[~learned], model.predict_proba(X[~learned]), labels=[0, 1])
        assert model.validation_loss_curve_[best] == pytest.approx(expected, rel=1e-6)


def test_a_resumed_fit_ends_in_the_same_bits(tmp_path):
    X, y = load_digits(return_X_y=True)
    X, y = X[:200], y[:200]
    settings = {
        "hidden_layer_sizes": (8,), "max_iter": 6, "random_state": 0, "engine": "numpy",
        "batch_size": 32, "n_iter_no_change": 100,
        "augment": ImageDistortion(8, 8, shift=1, elastic=0.5),
    }  # fmt: skip

    class CrashError(Exception):
        pass

    def crash(model, record):
        if record["epoch"] == 3:
            raise CrashError

    with pytest.warns(Warning, match="Maximum"):
        whole = MLPClassifier(**settings).fit(X, y)
    keep = chainrule.Resume(tmp_path / "fit.state")
    with pytest.raises(CrashError):
        MLPClassifier(**settings, callbacks=[keep, crash]).fit(X, y)
    with pytest.warns(Warning, match="Maximum"):
        resumed = MLPClassifier(**settings, callbacks=[keep]).fit(X, y)
    assert keep.resumed_from_ == 3
    for a, b in zip(whole.coefs_, resumed.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
    other = ImageDistortion(8, 8, shift=2)
    with pytest.raises(ValueError, match="another augment"):
        MLPClassifier(**settings | {"augment": other}, callbacks=[keep]).fit(X, y)


def test_what_cannot_be_is_refused():
    X, Y = problem()
    with pytest.raises(ValueError, match=r"augment must return .* \(23, 3\).* shape \(23, 2\)"):
        train(fresh(), X, Y, batch_size=None, augment=lambda X, random: X[:, :2])
    with pytest.raises(ValueError, match=r"augment=.* has no meaning for solver='lbfgs'"):
        MLPRegressor(solver="lbfgs", augment=shaken).fit(X, Y)
    with pytest.raises(ValueError, match="'augment' parameter"):
        MLPRegressor(augment=3).fit(X, Y)
    with pytest.raises(DivergenceError, match=r"epoch 0, batch 0: z of layer 1"):
        train(fresh(), X, Y, batch_size=23, augment=lambda X, random: X * np.inf)


# --- distortions ------------------------------------------------------------------------------


class Most:
    """Numbers at the upper end: every turn, shift and scale is the largest."""

    def uniform(self, k):
        return np.ones((3, k), np.float32)


def pictures():
    return load_digits().images[:3].astype(np.float32)


def test_no_distortion_is_the_image():
    X = pictures().reshape(3, 64)
    np.testing.assert_allclose(ImageDistortion(8, 8)(X, RowRandom(0, 1, 3, 3)), X, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [{"shift": 1.3}, {"turn": 25}, {"scale": 0.3}, {"shift": 0.5, "turn": -10 % 360, "scale": 0.1}],
)
def test_affine_distortions_are_scipys(settings):
    images = pictures()[:, :, :7]  # higher than wide
    distort = ImageDistortion(8, 7, **settings, background=2)
    new = distort(images.reshape(3, 56), Most()).reshape(3, 8, 7)
    angle, scale = np.deg2rad(settings.get("turn", 0)), 1 + settings.get("scale", 0)
    A = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([3.5, 3.0])
    offset = middle - A @ middle + settings.get("shift", 0)
    for image, found in zip(images, new, strict=True):
        framed = np.pad(image, 6, constant_values=2)
        expected = ndimage.affine_transform(
            framed, A, offset + 6 - A @ [6, 6], order=1, mode="nearest"
        )
        np.testing.assert_allclose(found, expected[6:-6, 6:-6], atol=1e-4)


def test_elastic_displacements_have_the_deviation_and_the_smoothness_asked_for():
    n, h, w = 400, 12, 12
    x = np.mgrid[:h, :w][1]
    ramps = np.repeat((10.0 * x).ravel()[np.newaxis], n, axis=0)
    distort = ImageDistortion(h, w, elastic=0.5, smoothness=1.5)
    moved = (distort(ramps, RowRandom(2, 1, n, n)) - ramps).reshape(n, h, w) / 10
    inner = moved[:, 3:-3, 3:-3]
    assert inner.std() == pytest.approx(0.5, rel=0.05)
    # White noise smoothed with a Gaussian: a correlation of exp(-d² / 4σ²).
    near = (inner[:, :, 1:] * inner[:, :, :-1]).mean() / inner.var()
    assert near == pytest.approx(np.exp(-1 / (4 * 1.5**2)), abs=0.03)


@pytest.mark.once
def test_files_hold_our_distortions_and_no_function(tmp_path):
    distort = ImageDistortion(8, 8, turn=5, background=-1)
    model = MLPClassifier(augment=distort)
    chainrule.save(model, tmp_path / "model.chainrule")
    assert chainrule.load(tmp_path / "model.chainrule").augment == distort
    with pytest.raises(chainrule.ModelFileError, match="augment"):
        chainrule.save(model.set_params(augment=shaken), tmp_path / "other.chainrule")
    for wrong in ({"height": 0}, {"turn": np.nan}, {"shift": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ImageDistortion(**{"height": 8, "width": 8, **wrong})
    with pytest.raises(ValueError, match="64 columns; X has 3"):
        distort(np.zeros((2, 3)), RowRandom(0, 1, 2, 2))
