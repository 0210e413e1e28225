"""Errors, losses and seconds of everybody on the 22 tables.

    python -m benchmarks.tables.run [--only parabolic ...] [--peers catboost ...] [--to FILE]
    python -m benchmarks.tables.run --show benchmarks/tables/results.json

Each fit has one thread, on 70 % of the rows, and is judged on the others; where there are fewer
than 5,000 rows twice, with other splits and seeds. Nobody is tuned. Seconds are those of the
processor, the first fit of each process left out: ours compiles once a machine. The loss is
cross-entropy for classes; for numbers it is the error too, the root of the mean squared error over
the standard deviation of the test part.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import threadpoolctl
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.model_selection import train_test_split

import chainrule
from benchmarks.tables.suite import TABLES, load

TEST, SMALL = 0.3, 5_000
RESULT = Path(__file__).parent / "results.json"


def ours(preset: str) -> Callable[[bool, int, pd.DataFrame], Any]:
    """Our estimators."""

    def make(classes: bool, seed: int, X: pd.DataFrame) -> Any:
        kind = chainrule.TabularClassifier if classes else chainrule.TabularRegressor
        return kind(preset=preset, random_state=seed, n_jobs=1)

    return make


def catboost(classes: bool, seed: int, X: pd.DataFrame) -> Any:
    """CatBoost's defaults; categories are text to it, also those that are missing."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    kind = CatBoostClassifier if classes else CatBoostRegressor
    return kind(
        random_seed=seed,
        thread_count=1,
        verbose=0,
        allow_writing_files=False,
        cat_features=list(X.select_dtypes(exclude="number").columns),
    )


def lightgbm(classes: bool, seed: int, X: pd.DataFrame) -> Any:
    """LightGBM's defaults."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    return (LGBMClassifier if classes else LGBMRegressor)(random_state=seed, n_jobs=1, verbose=-1)


def histograms(classes: bool, seed: int, X: pd.DataFrame) -> Any:
    """scikit-learn's boosted trees."""
    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    return kind(random_state=seed, categorical_features="from_dtype")


def realmlp(classes: bool, seed: int, X: pd.DataFrame) -> Any:
    """RealMLP's tuned defaults; for classes as its authors advise if the cross-entropy is to be
    low: judged by it, and without smoothed labels."""
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

    options: dict[str, Any] = {"device": "cpu", "random_state": seed, "n_threads": 1}
    if classes:
        options |= {"val_metric_name": "cross_entropy", "use_ls": False}
    return filled(X, (RealMLP_TD_Classifier if classes else RealMLP_TD_Regressor)(**options))


def tabm(classes: bool, seed: int, X: pd.DataFrame) -> Any:
    """TabM's defaults, in pytabkit; for classes judged by the cross-entropy."""
    from pytabkit import TabM_D_Classifier, TabM_D_Regressor

    options: dict[str, Any] = {"device": "cpu", "random_state": seed, "n_threads": 1}
    if classes:
        options |= {"val_metric_name": "cross_entropy"}
    return filled(X, (TabM_D_Classifier if classes else TabM_D_Regressor)(**options))


def filled(X: pd.DataFrame, model: Any) -> Any:
    """A model that accepts no gaps in numbers, behind a step that fills and marks them."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    numbers = [name for name in X.select_dtypes("number") if X[name].isna().any()]
    fill = ColumnTransformer(
        [("fill", SimpleImputer(add_indicator=True), numbers)],
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    return make_pipeline(fill.set_output(transform="pandas"), model)


PEERS: dict[str, Callable[[bool, int, pd.DataFrame], Any]] = {
    "chainrule": ours("best"),
    "chainrule, fast": ours("fast"),
    "catboost": catboost,
    "lightgbm": lightgbm,
    "histograms": histograms,
    "realmlp": realmlp,
    "tabm": tabm,
}
NEEDS = {
    "catboost": "catboost",
    "lightgbm": "lightgbm",
    "realmlp": "pytabkit",
    "tabm": "pytabkit",
}


def seen_by(who: str, X: pd.DataFrame) -> pd.DataFrame:
    """The columns as somebody takes them."""
    names = list(X.columns[X.dtypes == "category"])
    if who == "catboost":
        words = {name: X[name].astype(object).where(X[name].notna(), "") for name in names}
        return X.assign(**words)
    if who == "histograms":  # which takes 255 levels at most: of others it gets the number
        many = [name for name in names if len(X[name].cat.categories) > 255]
        return X.assign(**{name: X[name].cat.codes.astype(float) for name in many})
    return X


def measure(name: str, who: str, seed: int, data: tuple[pd.DataFrame, Any]) -> dict[str, Any]:
    """One fit."""
    X, y = data
    classes = TABLES[name].task == "classes"
    X = seen_by(who, X)
    fit, test = train_test_split(
        np.arange(len(y)), test_size=TEST, random_state=seed, stratify=y if classes else None
    )
    model = PEERS[who](classes, seed, X)
    X_fit, X_test = X.iloc[fit].reset_index(drop=True), X.iloc[test].reset_index(drop=True)
    began = time.process_time()
    model.fit(X_fit, y[fit])
    fitted = time.process_time()
    if classes:
        P = np.asarray(model.predict_proba(X_test))
        done = time.process_time()
        error = float((P.argmax(axis=1) != y[test]).mean())
        loss = float(-np.log(np.maximum(P[np.arange(len(test)), y[test]], 1e-15)).mean())
    else:
        predicted = np.asarray(model.predict(X_test))
        done = time.process_time()
        error = loss = float(np.sqrt(((predicted - y[test]) ** 2).mean()) / y[test].std())
    return {
        "table": name,
        "who": who,
        "seed": seed,
        "error": error,
        "loss": loss,
        "fit_seconds": fitted - began,
        "predict_seconds": done - fitted,
    }


def means(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Of each table and contestant, over the seeds."""
    return pd.DataFrame(rows).groupby(["table", "who"], sort=False).mean(numeric_only=True)


def show(rows: list[dict[str, Any]]) -> None:
    """Print the losses by table, then what they come to."""
    found = means(rows)
    loss, error = found["loss"].unstack(sort=False), found["error"].unstack(sort=False)
    seconds = found["fit_seconds"].unstack(sort=False)
    everybody = list(loss.columns)
    print(f"| table | {' | '.join(everybody)} |\n|---|{'---|' * len(everybody)}")
    for name, values in loss.iterrows():
        best = values.min()
        cells = [f"**{v:.4f}**" if v == best else f"{v:.4f}" for v in values]
        print(f"| {name} | {' | '.join(cells)} |")
    whole = loss.dropna()
    print(
        "\n| | rank, loss | rank, error | loss / CatBoost's | ahead of it, loss | error "
        "| seconds, median | sum |\n|---|---|---|---|---|---|---|---|"
    )
    rank_loss, rank_error = whole.rank(axis=1).mean(), error.dropna().rank(axis=1).mean()
    for who in everybody:
        cells = [f"{rank_loss[who]:.2f}", f"{rank_error[who]:.2f}"]
        if "catboost" in loss:
            ratio = np.exp(np.log(loss[who] / loss["catboost"]).mean())
            ahead = [int((one[who] < one["catboost"]).sum()) for one in (loss, error)]
            cells += [f"{ratio:.3f}", *map(str, ahead)]
        else:
            cells += ["", "", ""]
        cells += [f"{seconds[who].median():.2f}", f"{seconds[who].sum():.1f}"]
        print(f"| {who} | {' | '.join(cells)} |")
    print(f"\n{len(whole)} tables.")


def main() -> None:
    parser = argparse.ArgumentParser(description="Models for tables on 22 of them.")
    parser.add_argument("--only", choices=TABLES, nargs="+", default=list(TABLES), metavar="NAME")
    usual = [who for who in PEERS if who != "tabm"]  # which takes minutes a table without a GPU
    parser.add_argument("--peers", choices=PEERS, nargs="+", default=usual, metavar="WHO")
    parser.add_argument("--to", type=Path, default=RESULT, metavar="FILE")
    parser.add_argument("--show", type=Path, metavar="FILE", help="only print what is stored there")
    args = parser.parse_args()
    if args.show:
        show(json.loads(args.show.read_text()))
        return
    warnings.simplefilter("ignore")
    there = [who for who in args.peers if importlib.util.find_spec(NEEDS.get(who, "numpy"))]
    for who in set(args.peers) - set(there):
        print(f"{who} is not installed; it is left out")
    rows: list[dict[str, Any]] = []
    with threadpoolctl.threadpool_limits(1):
        for who in there:
            measure("parabolic", who, 0, load("parabolic"))
        for name in args.only:
            data = load(name)
            for seed in range(2 if len(data[1]) < SMALL else 1):
                for who in there:
                    rows.append(measure(name, who, seed, data))
                    print(f"{name} {seed} {who}: {rows[-1]['loss']:.4f}", flush=True)
    args.to.write_text(json.dumps(rows, indent=0) + "\n")
    show(rows)


if __name__ == "__main__":
    main()
