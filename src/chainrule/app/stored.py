"""A model file that the page is opened with: what it holds, and what it says of rows."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chainrule.app.panel import PanelError

if TYPE_CHECKING:
    import pandas as pd

    from chainrule.network.network import Network

MOST_FIELDS = 200  # columns that can be typed in
MOST_CLASSES = 12  # of which probabilities are shown
MOST_WEIGHTS = 60  # inputs and units of a first layer that is drawn
JUDGED_ROWS = 2000  # of a table, for importances
METRICS = {
    "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "f1_macro": "F1",
    "log_loss": "log-loss", "roc_auc": "ROC AUC", "rmse": "RMSE", "mae": "mean absolute error",
    "r2": "R²", "median_error": "median error",
}  # fmt: skip


class StoredModel:
    """A model from a file.

    Parameters
    ----------
    name : str
        Of the file.
    model : estimator, Pipeline or Network
    header : dict
        As :func:`chainrule.read_header` gives it.

    Raises
    ------
    ValueError
        It predicts nothing.
    """

    def __init__(self, name: str, model: Any, header: Mapping[str, Any]) -> None:
        if not hasattr(model, "predict"):
            raise ValueError(f"{name} holds a {type(model).__name__}, which predicts nothing")
        self.name, self.model = name, model
        metadata = header.get("metadata")
        self.metadata: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
        columns = header.get("columns")
        self.columns: list[dict[str, Any]] = [dict(each) for each in columns or []]
        if not self.columns:
            n = model.sizes[0] if hasattr(model, "sizes") else 0
            self.columns = [{"name": f"x{j}", "kind": "numeric"} for j in range(n)]
        self.target = str(self.metadata.get("target") or "")
        self.classes = [str(label) for label in getattr(model, "classes_", [])]
        self._has_names = hasattr(model, "feature_names_in_") or hasattr(model, "steps")
        self._lock = threading.Lock()  # the tabs of a server share it

    def described(self) -> dict[str, Any]:
        """What the page shows of it without any rows."""
        metadata = self.metadata
        rows = metadata.get("rows")
        rows = rows if isinstance(rows, Mapping) else {}
        return {
            "name": self.name,
            "what": self._what(),
            "target": self.target,
            "data": str(metadata.get("data") or ""),
            "rows": rows.get("train"),
            "judged": str(metadata.get("evaluated") or ""),
            "judged_rows": rows.get("test"),
            "metrics": self._metrics(),
            "columns": self.columns if len(self.columns) <= MOST_FIELDS else [],
            "unseen": self._unseen(),
            "weights": first_layer(self.model, [each["name"] for each in self.columns]),
        }

    def _last(self) -> Any:
        return self.model.steps[-1][1] if hasattr(self.model, "steps") else self.model

    def _what(self) -> str:
        """The model in a line."""
        network = self._network()
        kind = type(self._last()).__name__
        if network is None:
            return kind
        return f"{kind} of {' → '.join(map(str, network.sizes))} units"

    def _unseen(self) -> str:
        """What cannot be shown, in a line; "" if all can."""
        if len(self.columns) > MOST_FIELDS:
            return f"It takes {len(self.columns):,} columns, too many to type a row of them."
        network = self._network()
        if network is None:
            return "It is an ensemble of many networks, whose weights are not drawn."
        if max(network.sizes[:2]) > MOST_WEIGHTS:
            return (
                f"Its first layer has {network.sizes[0]} inputs and {network.sizes[1]} units; the "
                f"weights of up to {MOST_WEIGHTS} can be drawn."
            )
        return ""

    def _network(self) -> Network | None:
        return network_in(self.model)

    def _metrics(self) -> list[dict[str, Any]]:
        """What the file says that it is worth, beside what a trivial and a linear model are."""
        found = []
        metrics, baselines = self.metadata.get("metrics"), self.metadata.get("baselines")
        if not isinstance(metrics, Mapping):
            return []
        baselines = baselines if isinstance(baselines, Mapping) else {}
        for key, name in METRICS.items():
            metric = metrics.get(key)
            if not isinstance(metric, Mapping):
                continue
            others = {
                kind: given.get(key)
                for kind, given in baselines.items()
                if kind in ("trivial", "linear") and isinstance(given, Mapping)
            }
            found.append(
                {"name": name, **{k: metric.get(k) for k in ("value", "low", "high")}, **others}
            )
        return found

    # --- rows -------------------------------------------------------------------------------------

    def predict(self, cells: Any) -> dict[str, Any]:
        """What it says of a row that was typed.

        Parameters
        ----------
        cells : dict of str to str
            By column; what is absent or blank is missing.

        Raises
        ------
        PanelError
            A cell cannot be read, or the model does not take the row.
        """
        if not isinstance(cells, dict) or not all(isinstance(x, str) for x in cells.values()):
            raise PanelError("a row has a text for each column")
        import pandas as pd

        row = pd.DataFrame(
            {each["name"]: [_cell(each, cells.get(each["name"], ""))] for each in self.columns}
        )
        outputs, notes = self._outputs(row)
        if self.classes:
            order = np.argsort(-outputs[0], kind="stable")[:MOST_CLASSES]
            names = [{"name": self.classes[k], "value": float(outputs[0, k])} for k in order]
            return {"classes": names, "notes": notes}
        return {"values": np.ravel(outputs), "notes": notes}

    def _outputs(self, frame: pd.DataFrame) -> tuple[NDArray[Any], list[str]]:
        """Probabilities, or numbers; and what was noticed in the rows."""
        X = frame if self._has_names else frame.to_numpy(np.float64)
        ask = self.model.predict_proba if self.classes else self.model.predict
        with self._lock, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                outputs = np.asarray(ask(X))
            except (ValueError, TypeError, KeyError) as error:
                raise PanelError(f"the model does not take this: {error}") from None
        notes = [str(each.message) for each in caught if "Unseen" in each.category.__name__]
        return outputs, notes

    def judge(self, frame: pd.DataFrame, target: str, seed: int = 0) -> dict[str, Any]:
        """What it is worth on a table.

        Parameters
        ----------
        frame : pandas.DataFrame
        target : str
            The column with what is so.
        seed : int, default 0
            Of the shuffled columns of the importances.

        Raises
        ------
        PanelError
            The table lacks a column, or has a class that the model does not know.
        """
        from sklearn.inspection import permutation_importance

        from chainrule.app.judging import by_importance, judged

        names = [each["name"] for each in self.columns]
        lacking = [name for name in (*names, target) if name not in frame.columns]
        if lacking:
            raise PanelError(f"the table has no column {lacking[0]!r}, which {self.name} needs")
        frame = frame[frame[target].notna()].reset_index(drop=True)
        X, y = frame[names], frame[target]
        if self.classes:
            y = y.map(_label)
            unknown = sorted(set(y) - set(self.classes))
            if unknown:
                raise PanelError(f"{self.name} does not know the class {unknown[0]!r} of {target}")
        outputs, notes = self._outputs(X)
        outputs = outputs if self.classes else outputs.reshape(len(X), -1)[:, 0]

        def score(_: Any, X: pd.DataFrame, y: pd.Series, outputs: Any = None) -> float:
            said = self._outputs(X)[0] if outputs is None else outputs
            if self.classes:
                return float((np.array(self.classes)[said.argmax(axis=1)] == y).mean())
            truth = y.to_numpy(np.float64)
            return float(1 - ((truth - np.ravel(said)) ** 2).sum() / (truth.std() ** 2 * len(y)))

        rows = np.random.default_rng(seed).permutation(len(X))[:JUDGED_ROWS]
        means = permutation_importance(
            self.model, X.iloc[rows], y.iloc[rows], scoring=score, n_repeats=2, random_state=seed
        ).importances_mean
        return {
            "task": "classification" if self.classes else "regression",
            "rows": len(y),
            "judged": f"{len(y):,} rows, all of the table",
            "notes": notes,
            "importances": by_importance(names, means),
            **judged(y, outputs, self.classes or None, score(None, X, y, outputs)),
        }


def network_in(model: Any) -> Network | None:
    """The network of a model as it predicts, if it has a single one."""
    from chainrule.explain.models import model_network, without_random_layers

    try:
        network, _ = model_network(model)
    except (TypeError, ValueError):
        return None
    return without_random_layers(network)


def first_layer(model: Any, columns: list[str]) -> dict[str, Any] | None:
    """The first layer of a model's network as the page draws it.

    Parameters
    ----------
    model : estimator, Pipeline or Network
    columns : list of str
        That the model takes.

    Returns
    -------
    dict or None
        ``W``, W¹; the names of its ``inputs``; ``largest``, the largest size of a weight. None if
        there is no network, or if it is too large to be drawn.
    """
    network = network_in(model)
    if network is None or max(network.sizes[:2]) > MOST_WEIGHTS:
        return None
    names = columns
    if hasattr(model, "steps") and len(model.steps) > 1:
        try:
            made = model[:-1].get_feature_names_out()
            names = [str(name).rpartition("__")[2] for name in made]  # without the step's name
        except (AttributeError, ValueError):
            names = []
    if len(names) != network.sizes[0]:
        names = [f"input {j}" for j in range(network.sizes[0])]
    W = np.asarray(network.W[1], np.float64)
    return {"W": W, "inputs": names, "largest": float(np.abs(W).max(initial=1e-12))}


def _cell(column: Mapping[str, Any], text: str) -> Any:
    """A cell as a data frame has it."""
    text = text.strip()
    kind = column.get("kind")
    if kind not in (None, "numeric"):
        return text or None
    if not text:
        return np.nan
    try:
        return float(text.replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        if kind is None:
            return text
        raise PanelError(f"{column['name']} takes a number; got {text[:40]!r}") from None


def _label(value: Any) -> str:
    """A label as a text; whole numbers without their point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
