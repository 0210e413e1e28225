"""Model files of older versions keep loading, and predict what they predicted.

Files in tests/files/golden are never written again. A new version of the format adds new ones:
python tests/files/test_golden.py VERSION [NAME ...]
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from chainrule import load, read_header

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(GOLDEN.glob("*.chainrule"))


def rows():
    """Twelve rows of four numbers, the last column whole."""
    i = np.arange(12.0)
    return np.stack([np.sin(i), i / 6 - 1, np.cos(2 * i), i % 3], axis=1)


def frame():
    """The same rows as a data frame with a kind of column each: numbers, words, dates, truths."""
    import pandas as pd

    X = rows()
    return pd.DataFrame(
        {
            "amount": X[:, 0],
            "size": np.where(X[:, 1] > 0.9, np.nan, X[:, 1]),
            "colour": np.array(["rot", "grün", "blau"])[X[:, 3].astype(int)],
            "day": pd.Timestamp("2024-01-30") + pd.to_timedelta(np.arange(12) * 9, "D"),
            "member": X[:, 2] > 0,
        }
    )


def predictions(model):
    X = frame() if "amount" in getattr(model, "feature_names_in_", ()) else rows()
    found = {"predict": model.predict(X)}
    if hasattr(model, "predict_proba"):
        found["predict_proba"] = model.predict_proba(X)
    return {name: np.asarray(values).tolist() for name, values in found.items()}


def test_there_are_files_of_each_kind():
    assert {path.name.split("-")[1] for path in FILES} >= {
        "classifier.chainrule",
        "regressor.chainrule",
        "pipeline.chainrule",
        "network.chainrule",
        "tabular.chainrule",
        "ensemble_classes.chainrule",
        "ensemble_numbers.chainrule",
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_loads_and_predicts_what_it_did(path):
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    with warnings.catch_warnings():  # scikit-learn says that another release wrote its part
        warnings.filterwarnings("ignore", "Trying to unpickle estimator")
        model = load(path)
    found = predictions(model)
    assert list(found) == list(expected["predictions"])
    for name, values in expected["predictions"].items():
        if isinstance(values[0], str):
            assert found[name] == values
        else:  # another BLAS may round otherwise; ensembles are float32
            bounds = (1e-5, 1e-5) if "ensemble" in path.stem else (1e-12, 1e-14)
            np.testing.assert_allclose(found[name], values, rtol=bounds[0], atol=bounds[1])
    header = read_header(path)
    assert header["version"] == expected["version"]
    assert header["metadata"] == {"target": "é", "metrics": {"score": 0.5}}


def write(version, names=()):
    """Write the files of a version, once; of these names, or all."""
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    from chainrule import (
        EarlyStopping,
        MLPClassifier,
        MLPRegressor,
        Network,
        TabularClassifier,
        TabularRegressor,
        losses,
        save,
        tabular_pipeline,
    )

    X = np.vstack([rows() + 0.1 * k for k in range(5)])
    X[:, 3] = np.round(X[:, 3])
    y = np.array(["ä", "b", "c"])[np.digitize(X[:, 0] + X[:, 1], [-0.5, 0.5])]
    small = {"max_iter": 8, "random_state": 0, "engine": "numpy"}
    tiny = {"max_epochs": 96, "random_state": 0, "engine": "numpy"}
    models = {
        "classifier": MLPClassifier(
            (6, 4), ["tanh", "gelu"], **small, normalization="layer", dropout=[0.1, 0.0],
            class_weight={"ä": 2.0, "b": 1.0, "c": 1.0}, early_stopping=True,
            keep_optimizer_state=True, missing="indicator",
        ).fit(X, y),
        "regressor": MLPRegressor(
            hidden_layer_sizes=(5,), **small, loss="quantile", quantile=[0.1, 0.5, 0.9],
            callbacks=[EarlyStopping("loss", patience=5)], learning_rate="one_cycle",
        ).fit(X, np.stack([X[:, 0] * 9, X[:, 1]], axis=1)),
        "huber": MLPRegressor(loss=losses.huber(0.5), **small).fit(X.astype("float32"), X[:, 0]),
        "pipeline": make_pipeline(
            ColumnTransformer(
                [
                    ("n", make_pipeline(SimpleImputer(), StandardScaler()), [0, 1, 2]),
                    ("c", OneHotEncoder(handle_unknown="ignore"), [3]),
                ]
            ),
            MLPClassifier((6,), **small),
        ).fit(X, y),
        "network": Network((4, 3, 2), activation="mish", loss="cross_entropy", seed=0),
        "tabular": tabular_pipeline("classification", **small).fit(
            pd.concat([frame()] * 5, ignore_index=True), np.tile(["no", "yes", "no"], 20)
        ),
        "ensemble_classes": TabularClassifier("fast", **tiny).fit(
            pd.concat([frame()] * 5, ignore_index=True), np.tile([*"bccabacbabca"], 5)
        ),
        "ensemble_numbers": TabularRegressor("fast", **tiny).fit(np.round(X), X[:, :2] ** 2),
    }  # fmt: skip
    GOLDEN.mkdir(exist_ok=True)
    for name in names or models:
        model = models[name]
        path = GOLDEN / f"v{version}-{name}.chainrule"
        save(
            model,
            path,
            metadata={"target": "é", "metrics": {"score": 0.5}},
            created="2026-01-01T00:00:00Z",
            overwrite=False,
        )
        told = {"version": version, "predictions": predictions(model)}
        path.with_suffix(".json").write_text(json.dumps(told, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    write(int(sys.argv[1]), sys.argv[2:])
