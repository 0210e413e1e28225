"""Training of ensembles: gradients, engines, threads, folds, the best epoch, how it ends."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.ensembles import SETTINGS, table

from chainrule.engine import threads
from chainrule.ensembles import fitted, fitting
from chainrule.ensembles.fitting import FittedEnsemble, fit_ensemble
from chainrule.ensembles.gradcheck import _gathered, gradcheck, locate
from chainrule.ensembles.inputs import encoded, unit_columns
from chainrule.ensembles.loop import Loop, choose_engine, costs
from chainrule.ensembles.parameters import arrange, starting_values
from chainrule.ensembles.settings import EnsembleSettings
from chainrule.training.divergence import DivergenceError


def fit(loss="squared", settings=SETTINGS, weight=None, seed=0, engine="numpy", data=None, **more):
    """An ensemble on the small table, and the table."""
    inputs, layout, y, classes, folds = data = data or table()
    Y = y if loss == "squared" else classes
    model = fit_ensemble(
        inputs, layout, Y, weight, folds, settings, loss=loss, seed=seed, engine=engine, **more
    )
    return model, data


@pytest.mark.once
@pytest.mark.parametrize("activation", ["relu", "silu", "tanh"])
@pytest.mark.parametrize("loss", ["softmax", "squared"])
@pytest.mark.parametrize("sharing", ["layers", "none"])
def test_gradients_are_right(sharing, loss, activation):
    inputs, layout, y, classes, folds = table(24, 1, (2, 3), (2, 3))
    Y = classes if loss == "softmax" else np.concatenate([y, y**2], axis=1)
    settings = SETTINGS._replace(
        sharing=sharing, members=5, hidden=(4, 3), batch=12, dropout=0.2, activation=activation
    )
    weight = np.random.default_rng(1).uniform(0, 2, 24)
    check = gradcheck(inputs, layout, Y, weight, folds, settings, loss=loss)
    assert check, str(check)


@pytest.mark.once
def test_a_wrong_gradient_is_found(monkeypatch):
    from chainrule.ensembles import kernel

    right = kernel.first_layer_gradient

    def wrong(*arguments):
        right(*arguments)
        arguments[-1][3] *= 1.01

    monkeypatch.setattr(kernel, "first_layer_gradient", wrong)
    inputs, layout, y, _, folds = table(24, 1, (2, 3), (2,))
    check = gradcheck(inputs, layout, y, None, folds, SETTINGS._replace(batch=12), loss="squared")
    assert not check
    assert (check.layer, check.kind, check.index[1]) == (0, "s", 3)


def schedules(t, T, settings):
    """Rate, dropout and decay of step t of T, from 0, by their definitions in the settings."""
    warm, half = settings.warm_up * T, T / 2
    rate = (t + 1) / (warm + 1) if t < warm else 0.5 * (1 + np.cos(np.pi * (t - warm) / (T - warm)))
    late = 1.0 if t < half else 0.5 * (1 + np.cos(np.pi * (t - half) / half))
    return settings.learning_rate * rate, settings.dropout * late, settings.decay * late


@pytest.mark.once
@pytest.mark.parametrize("sharing", ["layers", "none"])
def test_steps_are_those_of_adam_with_decoupled_decay_and_a_running_average(sharing):
    inputs, layout, y, _, folds = table()
    settings = SETTINGS._replace(
        sharing=sharing, epochs=10, decay=0.3, ema=0.9, warm_up=0.1, dropout=0.0
    )
    arrangement = arrange(layout, settings, 1, 30)
    rng = np.random.default_rng(0)
    theta = starting_values(inputs, layout, settings, arrangement, rng, np.float64)
    loop = Loop(
        encoded(inputs, layout, np.float64),
        y.astype(np.float64),
        np.ones(120),
        folds,
        settings,
        arrangement,
        theta,
        loss="squared",
        seed=0,
        key=1,
        engine="numpy",
    )
    T = 40
    assert loop.steps * settings.epochs == T
    # By kind: factors on the rate and on the decay.
    of_s = (1.0, 0.0) if sharing == "layers" else (0.6, 6.0)
    factors = np.array(
        [
            of_s if kind == "s" else (0.1, 0.0) if kind == "b" else (n_in[l] ** -0.5, 1.0)
            for n_in in [{1: layout.columns, 2: 8, 3: 6}]
            for l, kind, _ in (locate(loop.plan, p) for p in range(len(theta)))
        ]
    )
    m, v, average = np.zeros_like(theta), np.zeros_like(theta), theta.copy()
    expected = theta.copy()
    for t in range(T):
        if t % loop.steps == 0:
            loop.order(t // loop.steps)
        loop.run(t // loop.steps, t % loop.steps, t % loop.steps + 1, False)
        nabla = _gathered(loop.plan, loop.state.nabla, len(theta))
        rate, _, decay = schedules(t, T, settings)
        m = 0.9 * m + 0.1 * nabla
        v = 0.95 * v + 0.05 * nabla**2
        by = rate * factors[:, 0]
        expected *= 1 - by * decay * factors[:, 1]
        expected -= by * (m / (1 - 0.9 ** (t + 1))) / (np.sqrt(v / (1 - 0.95 ** (t + 1))) + 1e-8)
        average = expected.copy() if t == 0 else 0.9 * average + 0.1 * expected
        np.testing.assert_allclose(loop.state.theta, expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(loop.state.average, average, rtol=1e-9, atol=1e-12)


@pytest.mark.compiled
@pytest.mark.parametrize("loss", ["softmax", "squared"])
@pytest.mark.parametrize("sharing", ["layers", "none"])
def test_engines_agree(sharing, loss):
    settings = SETTINGS._replace(sharing=sharing, members=6)
    plain, _ = fit(loss, settings, engine="numpy")
    compiled, _ = fit(loss, settings, engine="numba")
    assert (plain.engine, compiled.engine) == ("numpy", "numba")
    np.testing.assert_allclose(plain.theta, compiled.theta, rtol=1e-3, atol=2e-4)
    np.testing.assert_allclose(plain.oof, compiled.oof, atol=1e-4)
    np.testing.assert_allclose(plain.history["loss"], compiled.history["loss"], rtol=1e-4)


@pytest.mark.bits
@pytest.mark.compiled
@pytest.mark.parametrize("sharing", ["layers", "none"])
def test_any_number_of_threads_gives_the_same_bits(sharing):
    settings = SETTINGS._replace(sharing=sharing, members=8, hidden=(64, 64), batch=60)
    alone, _ = fit("softmax", settings, engine="numba", n_threads=1)
    for n_threads in (2, 3):
        several, _ = fit("softmax", settings, engine="numba", n_threads=n_threads)
        assert several.theta.tobytes() == alone.theta.tobytes()
        assert several.oof.tobytes() == alone.oof.tobytes()


@pytest.mark.once
def test_a_member_never_learns_from_its_fold():
    first, (inputs, layout, y, classes, folds) = fit()
    changed = y.copy()
    changed[folds == 2] = np.clip(-3 * y[folds == 2], y.min(), y.max())
    second, _ = fit(data=(inputs, layout, changed, classes, folds), settings=SETTINGS)
    for i in range(4):
        same = all(
            np.array_equal(one, other)
            for one, other in zip(first.parameters(i)[1], second.parameters(i)[1], strict=True)
        )
        # The best epoch may differ, so of three epochs both must have been best at the last.
        assert first.best_epoch == second.best_epoch == 2
        assert same == (i == 2)


@pytest.mark.once
@pytest.mark.parametrize("sharing", ["layers", "none"])
def test_predictions_outside_of_the_folds_are_those_of_the_members_that_left_them_out(sharing):
    model, (inputs, _, _, classes, folds) = fit(
        "softmax", SETTINGS._replace(sharing=sharing, members=8)
    )
    by_member = model.predict_members(inputs)
    assert by_member.shape == (8, 120, 3)
    np.testing.assert_allclose(by_member.sum(axis=2), 1, atol=1e-6)
    both = (by_member[folds, np.arange(120)] + by_member[folds + 4, np.arange(120)]) / 2
    np.testing.assert_allclose(model.oof, both, atol=1e-5)
    np.testing.assert_allclose(
        model.best_loss, costs(model.oof, classes, "softmax").mean(), rtol=1e-5
    )
    np.testing.assert_allclose(model.predict(inputs), by_member.mean(axis=0), atol=1e-6)


@pytest.mark.once
def test_the_best_epoch_is_the_last_of_the_lowest_loss():
    settings = SETTINGS._replace(epochs=40, learning_rate=0.3, dropout=0.0, decay=0.0)
    noise = table()
    rng = np.random.default_rng(0)
    noise = (*noise[:2], rng.normal(size=(120, 1)).astype(np.float32), *noise[3:])
    model, _ = fit(settings=settings, data=noise)
    losses = model.history["loss"]
    assert losses[model.best_epoch] == min(losses) == model.best_loss
    assert model.stopped == "patience"
    assert model.n_epochs - 1 - model.best_epoch == max(5, int(np.ceil(model.best_epoch / 4)))
    shorter, _ = fit(
        settings=settings, data=noise, callback=lambda r: r["epoch"] == model.best_epoch
    )
    assert shorter.stopped == "callback"
    assert shorter.theta.tobytes() == model.theta.tobytes()


@pytest.mark.once
def test_weights_count_as_rows_do():
    """Twice the weight is twice the gradient: the first step of a sum of costs."""
    inputs, layout, y, classes, folds = table(60)
    settings = SETTINGS._replace(epochs=1, batch=60, dropout=0.0)
    double = [np.concatenate([x, x]) for x in inputs]
    both, _ = fit(
        data=(type(inputs)(*double), layout, np.concatenate([y, y]), classes, np.r_[folds, folds]),
        settings=settings._replace(batch=120),
        weight=np.r_[np.full(60, 0.5), np.full(60, 1.5)].astype(np.float32),
    )
    none = np.concatenate([y, 100 + 0 * y])
    zeros, _ = fit(
        data=(type(inputs)(*double), layout, none, classes, np.r_[folds, folds]),
        settings=settings._replace(batch=120),
        weight=np.r_[np.full(60, 2.0), np.zeros(60)].astype(np.float32),
    )
    np.testing.assert_allclose(both.oof[:60], both.oof[60:], atol=1e-6)
    # Rows that weigh nothing and have absurd targets leave no trace, but in the range.
    assert abs(zeros.oof[:60]).max() < 5
    assert np.isfinite(zeros.best_loss)


@pytest.mark.compiled
def test_a_small_table_is_worth_compiling():
    """By shapes alone."""
    layout = table()[1]
    small = EnsembleSettings(members=4, epochs=64)
    assert choose_engine("auto", layout, small, 3, 150) == "numba"
    assert choose_engine("auto", layout, small._replace(epochs=8), 3, 150) == "numpy"


@pytest.mark.once
def test_any_number_of_threads_predicts_the_same_bits(monkeypatch):
    monkeypatch.setattr(fitted, "ROWS", 50)
    started, side_by_side = [], threads.side_by_side
    monkeypatch.setattr(
        threads,
        "side_by_side",
        lambda work, workers, abort: started.append(workers) or side_by_side(work, workers, abort),
    )
    model, (inputs, *_) = fit("softmax", SETTINGS._replace(members=8))
    few = model.predict_members(inputs, 3)
    assert started == [1, 1, 1]  # blocks of rows, too few for more threads
    monkeypatch.setattr(fitted, "SHARED", 8 * inputs.n)
    for n_threads in (1, 2, 3, 99):
        np.testing.assert_array_equal(model.predict_members(inputs, n_threads), few)
    assert started[3:] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 8, 8, 8]
    # Threads take what is left, so that any of them may take all.
    monkeypatch.setattr(threads, "side_by_side", lambda work, workers, abort: work(workers - 1))
    np.testing.assert_array_equal(model.predict_members(inputs, 2), few)


@pytest.mark.once
def test_an_effective_network_is_the_member():
    model, (inputs, layout, *_) = fit(settings=SETTINGS._replace(activation="silu"))
    a = unit_columns(inputs, layout, np.float64)
    for l, (W, b) in enumerate(model.effective(1)):
        if l:
            a = a / (1 + np.exp(-a))
        a = a @ W + b
    a = np.clip(a, model.low, model.high)
    np.testing.assert_allclose(model.predict_members(inputs)[1], a, atol=1e-4)


@pytest.mark.once
@pytest.mark.parametrize("sharing", ["layers", "none"])
def test_a_stretched_ensemble_predicts_stretched_numbers(sharing):
    model, (inputs, *_) = fit(settings=SETTINGS._replace(sharing=sharing))
    before = model.predict_members(inputs)
    factor, centre = np.full(model.low.shape, 1.2), np.full(model.low.shape, 0.3)
    wider = model.stretched(factor, centre)
    expected = np.clip(centre + factor * (before - centre), model.low, model.high)
    np.testing.assert_allclose(wider.predict_members(inputs), expected, atol=1e-5)
    # Out of fold too; a mean of members of which some are clipped is not known from the mean alone.
    oof = np.clip(centre + factor * (model.oof - centre), model.low, model.high)
    np.testing.assert_allclose(wider.oof, oof, atol=1e-6)
    np.testing.assert_array_equal(model.predict_members(inputs), before)


@pytest.mark.once
def test_state_and_back():
    model, (inputs, *_) = fit("softmax")
    back = FittedEnsemble.from_state(model.state())
    assert back.predict(inputs).tobytes() == model.predict(inputs).tobytes()
    assert back.settings == model.settings
    broken = {**model.state(), "theta": model.theta[:-1]}
    with pytest.raises(ValueError, match="theta must have"):
        FittedEnsemble.from_state(broken)


@pytest.mark.once
def test_the_end_of_the_time_is_the_end_of_an_epoch():
    model, _ = fit(deadline=time.monotonic() - 1)
    assert (model.stopped, model.n_epochs, model.best_epoch) == ("deadline", 1, 0)


@pytest.mark.once
def test_schedules_are_shortened_to_the_epochs_that_fit(monkeypatch):
    clock, planned = iter(range(99)), []
    now = SimpleNamespace(monotonic=lambda: next(clock))  # an epoch takes a second
    monkeypatch.setattr(fitting, "time", now)
    long = SETTINGS._replace(epochs=40)
    short, _ = fit(settings=long, deadline=6.5, callback=lambda r: planned.append(r["epochs"]))
    assert planned == [40, 6, 6, 6, 6, 6]
    assert (short.n_epochs, short.stopped) == (6, None)
    # From the second epoch on the steps are those of a training of six epochs.
    whole, _ = fit(settings=long)
    assert short.history["loss"][0] == whole.history["loss"][0]
    assert short.history["loss"][1] != whole.history["loss"][1]


@pytest.mark.once
def test_ctrl_c_keeps_the_best_epoch():
    def interrupt(record):
        if record["epoch"] == 1:
            raise KeyboardInterrupt

    model, _ = fit(callback=interrupt)
    assert (model.stopped, model.n_epochs) == ("interrupted", 2)
    assert np.isfinite(model.oof).all()


def test_divergence_is_located(engine):
    inputs, layout, y, classes, folds = table()
    inputs.dense[7, 0] = np.inf
    with pytest.raises(DivergenceError, match=r"epoch 0, batch \d: .* of layer \d of member \d"):
        fit(data=(inputs, layout, y, classes, folds), engine=engine)


@pytest.mark.once
def test_divergence_is_located_in_a_later_epoch():
    steep = SETTINGS._replace(learning_rate=1e3, warm_up=0.9, epochs=12)
    with pytest.raises(
        DivergenceError, match=r"epoch [1-9], batch \d: .* of layer \d of member \d"
    ):
        fit(settings=steep)


@pytest.mark.once
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"folds": 1}, "folds must be from 2"),
        ({"sharing": "all"}, "unknown sharing 'all'"),
        ({"members": 0}, "members must be"),
        ({"hidden": ()}, "hidden must name"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"members": 40}, "members must be at most 32"),
    ],
)
def test_settings_that_mean_nothing(change, said):
    with pytest.raises(ValueError, match=said):
        fit(settings=SETTINGS._replace(**change))


@pytest.mark.once
def test_inputs_that_do_not_fit():
    inputs, layout, y, classes, folds = table()
    inputs.bins[3, 0] = 3
    with pytest.raises(ValueError, match="bins holds a number"):
        fit(data=(inputs, layout, y, classes, folds))
    with pytest.raises(ValueError, match="folds must be from 0"):
        fit(data=(*table()[:4], folds + 1))


@pytest.mark.once
def test_an_ensemble_learns_what_is_there():
    """Far better than the mean, from numbers, codes and levels together."""
    model, _ = fit(settings=SETTINGS._replace(epochs=40, hidden=(16, 16), batch=16))
    assert model.best_loss < 0.15
