"""The panel "Your data": a table of the visitor's, a model of it, and what the model is worth."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.app.health import Health
from chainrule.app.judging import by_importance, judged
from chainrule.app.panel import Download, Panel, PanelError, Tab
from chainrule.app.session import log

if TYPE_CHECKING:
    import pandas as pd

    from chainrule.app.stored import StoredModel

MODELS = {"ensemble": "two ensembles, nothing to tune", "network": "one network"}
MOST_ROWS, MOST_COLUMNS = 100_000, 500
SHOWN_ROWS = 6
HELD = 0.2  # of the rows, which a single network is judged on
SECONDS = 120.0  # after which training ends with the best epoch so far
OFTEN = 0.05  # seconds between two messages on the training
KINDS = ("numeric", "categorical", "date", "text", "ignored")
EXAMPLES = {"wine": "load_wine", "diabetes": "load_diabetes"}
PARTS = {"step": "bins", "smooth": "no bins"}  # of the ensembles that are blended
FORMATS = {"onnx": "application/octet-stream", "py": "text/x-python"}


class Trained(NamedTuple):
    """A fitted model, and how a script makes it."""

    model: Any
    code: str


class Asked(NamedTuple):
    """What is to be learnt: the target y (n,) from the columns X (n, p)."""

    X: pd.DataFrame
    y: pd.Series
    target: str
    model: str
    kinds: dict[str, str]
    left_out: list[str]


class OwnData(Panel):
    """A table that the visitor gives, and a model of one of its columns.

    A file comes by upload, an example by ``example {name}``, a model and a table with what the
    page is opened with. Messages: ``train {target, model, kinds}``, ``stop {}``; of a model that is
    open ``predict {row}``, and ``judge {target}`` on the table. It sends ``progress`` while
    training, then ``result``, or ``error``. Downloads: ``model.chainrule``, ``model.onnx``,
    ``model.py`` and ``train.py``.
    """

    name = "data"

    def __init__(self, session: Tab, state: dict[str, Any]) -> None:
        super().__init__(session, state)
        self._frame: pd.DataFrame | None = None
        self._table = ""
        self._code_of_table = ""
        self._trains = False
        self._stops = False
        self._stored: StoredModel | None = session.shared.get("stored")
        self._trained = self._opened_model()
        self._told = 0.0  # when the page was last told of an epoch

    def state(self) -> dict[str, Any]:
        """What can be chosen, and what is open."""
        found: dict[str, Any] = {"models": MODELS, "examples": list(EXAMPLES), "kinds": KINDS}
        if self._stored is not None:
            found["stored"] = self._stored.described()
        given = self.session.shared.get("table")
        if given is not None:
            path, frame = given
            found |= self._take(Path(path).name, frame, _code_of_file(path))
        return found

    def handle(self, type: str, data: dict[str, Any]) -> dict[str, Any] | None:
        """Answer a message."""
        if type == "example":
            return self._example(data.get("name"))
        if type == "train":
            return self._train(data)
        if type == "stop":
            self._stops = True
            return {}
        if type in ("predict", "judge"):
            if self._stored is None:
                raise PanelError("no model is open; chainrule play model.chainrule opens one")
            if type == "predict":
                return self._stored.predict(data.get("row"))
            return self._judge(self._stored, data)
        return super().handle(type, data)

    # --- tables ---------------------------------------------------------------------------------

    def uploaded(self, name: str, path: Path) -> dict[str, Any]:
        """Read a file; what is wrong with it is said with its own name."""
        self._refuse_while_training()
        try:
            frame = read_table(path, name)
        except (ValueError, ImportError, OSError) as error:
            said = str(error).replace(str(path), name).replace(path.name, name)
            raise PanelError(said) from None
        finally:
            path.unlink(missing_ok=True)
        return self._take(name, frame, _code_of_file(name))

    def _example(self, name: Any) -> dict[str, Any]:
        self._refuse_while_training()
        if name not in EXAMPLES:
            raise PanelError(f"there is no example {str(name)[:40]!r}; use {', '.join(EXAMPLES)}")
        import sklearn.datasets

        loader = EXAMPLES[name]
        frame = getattr(sklearn.datasets, loader)(as_frame=True).frame
        code = f"from sklearn.datasets import {loader}\n\ntable = {loader}(as_frame=True).frame\n"
        return self._take(name, frame, code)

    def _take(self, name: str, frame: pd.DataFrame, code: str) -> dict[str, Any]:
        from chainrule.tables.columns import kinds_of

        self._frame, self._table, self._code_of_table = frame, name, code
        self._trained = self._opened_model()
        columns = kinds_of(frame)
        return {
            "table": {
                "name": name,
                "rows": len(frame),
                "columns": [column._asdict() for column in columns],
                "head": [
                    [_shown(cell) for cell in row]
                    for row in frame.head(SHOWN_ROWS).itertuples(index=False)
                ],
                "target": str(frame.columns[-1]),
            }
        }

    # --- a model that is open -------------------------------------------------------------------

    def _opened_model(self) -> Trained | None:
        """The model that the page was opened with, to be taken along in other formats."""
        if self._stored is None:
            return None
        return Trained(
            self._stored.model,
            f"import chainrule\n\nmodel = chainrule.load({self._stored.name!r})\n",
        )

    def _judge(self, stored: StoredModel, data: dict[str, Any]) -> dict[str, Any]:
        self._refuse_while_training()
        if self._frame is None:
            raise PanelError("choose a file first")
        target = data.get("target")
        if target not in self._frame.columns:
            raise PanelError(f"there is no column {str(target)[:40]!r} in {self._table}")
        frame = self._frame
        code = (
            f"{self._code_of_table}import chainrule\n\nmodel = chainrule.load({stored.name!r})\n"
            "print(model.predict(table))\n"
        )

        def fitted() -> dict[str, Any]:
            found = stored.judge(frame, str(target))
            self._trained = Trained(stored.model, code)
            return {"target": target, "model": stored.name, "code": code, "curve": [], **found}

        self._trains = True
        self.spawn(self._run, fitted)
        return {"judges": True}

    def _refuse_while_training(self) -> None:
        if self._trains:
            raise PanelError("a model is being trained; stop it first")

    # --- training -------------------------------------------------------------------------------

    def _train(self, data: dict[str, Any]) -> dict[str, Any]:
        """Check what is asked for, and begin."""
        self._refuse_while_training()
        if self._frame is None:
            raise PanelError("choose a file first")
        frame, target, model = self._frame, data.get("target"), data.get("model", "ensemble")
        if target not in frame.columns:
            raise PanelError(f"there is no column {str(target)[:40]!r} in {self._table}")
        if model not in MODELS:
            raise PanelError(f"there is no model {str(model)[:40]!r}; use {', '.join(MODELS)}")
        kinds = data.get("kinds", {})
        if not isinstance(kinds, dict) or not all(
            name in frame.columns and kind in KINDS for name, kind in kinds.items()
        ):
            raise PanelError(f"kinds must name columns of the table, each {', '.join(KINDS)}")
        left_out = sorted(name for name, kind in kinds.items() if kind == "ignored")
        kinds = {name: kind for name, kind in kinds.items() if kind != "ignored"}
        kinds.pop(str(target), None)
        known = frame[target].notna()
        if known.sum() < 3:
            raise PanelError(f"{target!r} has a value in {int(known.sum())} rows; it needs three")
        X = frame.loc[known].drop(columns=[target, *left_out]).reset_index(drop=True)
        y = frame.loc[known, target].reset_index(drop=True)
        if y.astype(str).nunique() == 1:
            raise PanelError(f"{target!r} is {y.iloc[0]!s} in every row; there is nothing to learn")
        self._trains, self._stops = True, False
        asked = Asked(X, y, str(target), str(model), kinds, left_out)
        self.spawn(self._run, lambda: self._fitted(asked))
        return {"trains": True, "rows": len(X), "missing": int((~known).sum())}

    def _run(self, fitted: Callable[[], dict[str, Any]]) -> None:
        """Train or judge, and say what came of it; in a thread of its own."""
        import warnings

        began = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = fitted()
            if not self.stopping.is_set():
                self.send("result", seconds=time.monotonic() - began, **result)
        except Exception as error:  # a fault of ours must not leave the page waiting
            if not isinstance(error, ValueError | TypeError | ImportError):
                log.exception("training failed")
            self.send("error", message=" ".join(str(error).split())[:500])
            self.send("ended")
        finally:
            self._trains = False

    def _fitted(self, asked: Asked) -> dict[str, Any]:
        from chainrule.tables.columns import task_of

        y, task = asked.y, task_of(asked.y)
        if task == "classification":
            y = y.astype(str)
        fit = self._fit_ensemble if asked.model == "ensemble" else self._fit_network
        found = fit(asked.X, y, task, asked.kinds)
        prepared = _preparation(asked.target, task, asked.left_out)
        made = self._code_of_table + prepared + found.pop("code")
        self._trained = Trained(found.pop("fitted"), made)
        return {
            "task": task,
            "target": asked.target,
            "model": asked.model,
            "rows": len(y),
            "code": made,
            **found,
        }

    def _progress(self, told: Callable[[], dict[str, Any]]) -> bool:
        """Tell the page of an epoch, if it was not told just now; whether to stop."""
        now = time.monotonic()
        if now - self._told > OFTEN:
            self._told = now
            self.send_latest("progress", **told())
        return self._stops or self.stopping.is_set()

    def _fit_ensemble(
        self, X: pd.DataFrame, y: pd.Series, task: str, kinds: dict[str, str]
    ) -> dict[str, Any]:
        """Both ensembles, judged on all rows by the networks that have not seen them."""
        from chainrule.estimators.tabular_classifier import TabularClassifier
        from chainrule.estimators.tabular_regressor import TabularRegressor

        curves: dict[str, list[tuple[int, float]]] = {}

        def after(estimator: Any, record: Any) -> bool:
            points = curves.setdefault(record["part"], [])
            points.append((record["epoch"] + 1, record["loss"]))
            part = f"the ensemble with {PARTS[record['part']]}"
            return self._progress(
                lambda: {"curve": named(curves), "epoch": record["epoch"] + 1, "part": part}
            )

        kind = TabularClassifier if task == "classification" else TabularRegressor
        model = kind("fast", random_state=0, kinds=kinds or None, time_limit=SECONDS)
        model.set_params(callbacks=[after]).fit(X, y)
        model.set_params(callbacks=None)
        ranked = model.oof_importances(X, y, n_repeats=2)
        said = model.oof_prediction_
        told = f", kinds={kinds!r}" if kinds else ""
        return {
            "fitted": model,
            "code": (
                f"from chainrule import {kind.__name__}\n\n"
                f'model = {kind.__name__}("fast", random_state=0{told})\n'
                "model.fit(X, y)\nprint(model.oof_score_)\n"
            ),
            "judged": "out-of-fold predictions of all rows",
            "curve": named(curves),
            "importances": by_importance(ranked["names"], ranked["mean"]),
            **judged(y, said, getattr(model, "classes_", None), float(model.oof_score_)),
        }

    def _fit_network(
        self, X: pd.DataFrame, y: pd.Series, task: str, kinds: dict[str, str]
    ) -> dict[str, Any]:
        """One network, judged on a fifth of the rows."""
        from sklearn.inspection import permutation_importance
        from sklearn.model_selection import train_test_split

        from chainrule.app.stored import first_layer
        from chainrule.estimators.tabular import tabular_pipeline

        rare = task == "classification" and int(y.value_counts().min()) < 2
        stratified = y if task == "classification" and not rare else None
        parts = train_test_split(X, y, test_size=HELD, random_state=0, stratify=stratified)
        X_fit, X_held, y_fit, y_held = parts
        curves: dict[str, list[tuple[int, float]]] = {"training": [], "validation": []}
        model = tabular_pipeline(
            task, model="network", kinds=kinds or None, random_state=0,
            hidden_layer_sizes=(32, 16), time_limit=SECONDS,
        )  # fmt: skip
        health = Health(X_fit, y_fit)

        def after(estimator: Any, record: Any) -> bool:
            epoch = record["epoch"] + 1
            health.look(model, epoch)
            for name, key in (("training", "loss"), ("validation", "validation_loss")):
                if record[key] is not None:
                    curves[name].append((epoch, record[key]))
            return self._progress(
                lambda: {
                    "curve": named(curves),
                    "epoch": epoch,
                    "part": "network",
                    "health": health.as_dict(),
                }
            )

        model[-1].set_params(callbacks=[after])
        model.fit(X_fit, y_fit)
        model[-1].set_params(callbacks=None)
        found = permutation_importance(model, X_held, y_held, n_repeats=3, random_state=0)
        classes = getattr(model, "classes_", None)
        said = model.predict(X_held) if classes is None else model.predict_proba(X_held)
        told = f", kinds={kinds!r}" if kinds else ""
        return {
            "fitted": model,
            "code": (
                "from sklearn.model_selection import train_test_split\n\n"
                "from chainrule import tabular_pipeline\n\n"
                f"X_fit, X_held, y_fit, y_held = train_test_split(\n"
                f"    X, y, test_size={HELD}, random_state=0, "
                f"stratify={'y' if stratified is not None else None}\n)\n"
                f"model = tabular_pipeline(\n    {task!r}, model='network', random_state=0, "
                f"hidden_layer_sizes=(32, 16){told}\n)\n"
                "model.fit(X_fit, y_fit)\nprint(model.score(X_held, y_held))\n"
            ),
            "judged": f"{len(X_held):,} rows that were held out",
            "curve": named(curves),
            "importances": by_importance(list(X), found.importances_mean),
            "weights": first_layer(model, list(X)),
            "health": health.as_dict(),
            **judged(y_held, said, classes, float(model.score(X_held, y_held))),
        }

    # --- files ----------------------------------------------------------------------------------

    def download(self, name: str) -> Download:
        """The model as a file, as a program, or the script that makes it."""
        if self._trained is None:
            raise PanelError("there is no model yet; train one")
        stored = self._stored
        is_stored = stored is not None and stored.model is self._trained.model
        stem = Path(stored.name if stored and is_stored else self._table).stem or "model"
        if name == "train.py":
            return Download(f"train_{stem}.py", "text/x-python", self._trained.code.encode())
        path = self.session.folder() / "made"
        suffix = name.removeprefix("model.")
        if name == "model.chainrule":
            from chainrule.files.persistence import save

            save(self._trained.model, path)
            media = "application/octet-stream"
        elif name.startswith("model.") and suffix in FORMATS:
            from chainrule.exports.exporting import export

            path = path.with_suffix(f".{suffix}")
            try:
                export(self._trained.model, path)
            except (ValueError, ImportError) as error:
                raise PanelError(str(error)) from None
            media = FORMATS[suffix]
        else:
            return super().download(name)
        content = path.read_bytes()
        path.unlink()
        return Download(f"{stem}.{suffix}", media, content)


def named(curves: dict[str, list[tuple[int, float]]]) -> list[dict[str, Any]]:
    """Curves as the page draws them."""
    return [
        {"name": PARTS.get(name, name), "points": list(points)}
        for name, points in curves.items()
        if points
    ]


def read_table(path: Path, name: str) -> pd.DataFrame:
    """A table that the page can work on; no more of it is read than that.

    Raises
    ------
    ValueError, ImportError, OSError
        It cannot be read, or is too small or too large; `name` is what the message calls it.
    """
    from chainrule.tables import read

    frame = read(path, limit=MOST_ROWS + 1)
    if len(frame.columns) < 2 or len(frame) < 3:
        raise PanelError(
            f"{name} has {len(frame):,} rows and {len(frame.columns):,} columns; three rows "
            "and two columns are the least"
        )
    if len(frame) > MOST_ROWS or len(frame.columns) > MOST_COLUMNS:
        rows = f"more than {MOST_ROWS:,}" if len(frame) > MOST_ROWS else f"{len(frame):,}"
        raise PanelError(
            f"{name} has {rows} rows and {len(frame.columns):,} columns; this page takes "
            f"{MOST_ROWS:,} and {MOST_COLUMNS}. chainrule train takes larger tables"
        )
    return frame


def _shown(cell: Any) -> str:
    """A cell as the page shows it."""
    import pandas as pd

    if pd.isna(cell):
        return ""
    return f"{cell:.7g}" if isinstance(cell, float) else str(cell)[:40]


def _code_of_file(path: str) -> str:
    return f"from chainrule.tables import read\n\ntable = read({path!r})\n"


def _preparation(target: str, task: str, left_out: list[str]) -> str:
    cells = f"table[{target!r}].astype(str)" if task == "classification" else f"table[{target!r}]"
    return (
        f"table = table[table[{target!r}].notna()].reset_index(drop=True)\n"
        f"X, y = table.drop(columns={[target, *left_out]!r}), {cells}\n\n"
    )
