"""The searches of scikit-learn, Dask and Optuna over our estimators, as users write them."""

from __future__ import annotations

import warnings

import joblib
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, cross_val_score

from chainrule import MLPClassifier, MLPRegressor

GRID = {"alpha": [1e-3, 1e3], "hidden_layer_sizes": [(3,), (5,)]}
MODEL = MLPRegressor(solver="lbfgs", max_iter=500, tol=0.05, random_state=0, engine="numpy")


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 2))
    return X, X[:, 0] - 2 * X[:, 1]


@pytest.fixture(scope="module")
def grid(rows):
    """A grid search in this process."""
    return GridSearchCV(MODEL, GRID, cv=3, error_score="raise").fit(*rows)


def test_grids_and_halving(rows, grid):
    X, y = rows
    # The scores are those of fits by hand, and the penalty of 1,000 is the worse.
    by_hand = cross_val_score(MLPRegressor(**grid.best_estimator_.get_params()), X, y, cv=3)
    assert grid.best_score_ == by_hand.mean()
    assert grid.best_params_["alpha"] == 1e-3
    np.testing.assert_array_equal(
        grid.predict(X), MLPRegressor(**grid.best_estimator_.get_params()).fit(X, y).predict(X)
    )
    halving = HalvingGridSearchCV(MODEL, GRID, cv=3, random_state=0, error_score="raise").fit(X, y)
    assert halving.n_candidates_ == [4, 2]
    assert halving.best_params_["alpha"] == 1e-3


def test_halving_by_epochs(rows):
    X, y = rows
    model = MLPClassifier(random_state=0, engine="numpy", tol=0)
    rates = {"learning_rate_init": [1e-5, 1e-3, 1e-2]}
    halving = HalvingGridSearchCV(
        model, rates, resource="max_iter", min_resources=3, max_resources=9, cv=2, random_state=0
    )
    with pytest.warns(UserWarning, match="Maximum iterations"):
        halving.fit(X, y > 0)
    assert halving.n_resources_ == [3, 9]
    assert halving.best_params_["learning_rate_init"] == 1e-2
    assert halving.best_estimator_.n_iter_ == 9


def test_grids_on_a_dask_cluster_give_the_same(rows, grid):
    distributed = pytest.importorskip("distributed", reason="Dask is an extra")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    )
    with cluster, distributed.Client(cluster) as client:
        search = GridSearchCV(MODEL, GRID, cv=3, error_score="raise")
        with joblib.parallel_config("dask"):
            search.fit(*rows)
        np.testing.assert_array_equal(
            search.cv_results_["mean_test_score"], grid.cv_results_["mean_test_score"]
        )
        # Dask's own way: a fit is a task.
        X, y = rows

        def score(alpha):
            model = MLPRegressor(
                **MODEL.get_params() | {"alpha": alpha, "hidden_layer_sizes": (3,)}
            )
            return cross_val_score(model, X, y, cv=3).mean()

        found = client.gather(client.map(score, GRID["alpha"]))
        mine = [
            mean
            for mean, each in zip(
                grid.cv_results_["mean_test_score"], grid.cv_results_["params"], strict=True
            )
            if each["hidden_layer_sizes"] == (3,)
        ]
        assert found == mine


def test_optuna_prunes_by_a_callback(rows):
    optuna = pytest.importorskip("optuna", reason="Optuna is an extra")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    X, y = rows
    epochs = {}

    def objective(trial):
        def report(estimator, record):
            trial.report(record["validation_loss"], record["epoch"])
            return trial.should_prune()

        rate = trial.suggest_categorical("rate", [1e-2, 1e-4])
        model = MLPRegressor(
            hidden_layer_sizes=(5,),
            learning_rate_init=rate,
            max_iter=12,
            tol=0,
            callbacks=[report],
            random_state=0,
            engine="numpy",
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X[:60], y[:60], X_val=X[60:], y_val=y[60:])
        epochs[trial.number] = model.n_iter_
        if trial.should_prune():
            raise optuna.TrialPruned
        return model.validation_loss_curve_[-1]

    study = optuna.create_study(
        pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=2)
    )
    study.enqueue_trial({"rate": 1e-2})
    study.enqueue_trial({"rate": 1e-4})
    study.optimize(objective, n_trials=2)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED"]
    assert epochs == {0: 12, 1: 3}  # steps 0 and 1 are not compared
    assert study.best_params == {"rate": 1e-2}
