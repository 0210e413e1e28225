"""The page "Draw a digit" of the documentation, which needs no server.

A classifier is trained on the digits and exported as JavaScript; the rest is what
``chainrule play`` shows.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "draw"
OF_THE_APP = ("charts.js", "ink.js", "logo.svg", "network.js", "style.css", "tip.js")


def trained() -> tuple[Any, Any]:
    """(classifier, the images that it was trained on), by the recipe of `chainrule play`."""
    from sklearn.exceptions import ConvergenceWarning

    from chainrule import MLPClassifier
    from chainrule.app.reading import INK, N_PIXELS, recipe
    from chainrule.digits.recipes import load

    data, by = load(), recipe()
    X = data.images_train.reshape(-1, N_PIXELS) / INK
    model = MLPClassifier(
        by.hidden,
        activation=by.activation,
        init=by.init,
        alpha=0.0,
        learning_rate_init=by.learning_rate,
        batch_size=by.batch_size,
        augment=by.distortion,
        max_iter=by.epochs,
        n_iter_no_change=by.epochs,
        engine=by.engine,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # all epochs are wanted
        return model.fit(X, data.y_train), X


def write_draw_page(folder: Path) -> Any:
    """Write the page into a folder.

    Returns
    -------
    MLPClassifier
        The model that was exported.
    """
    from chainrule import app, export

    folder.mkdir(parents=True, exist_ok=True)
    static = Path(str(app.__file__)).parent / "static"
    for path in [*HERE.iterdir(), *(static / name for name in OF_THE_APP)]:
        shutil.copyfile(path, folder / path.name)
    model, X = trained()
    export(model, folder / "model.mjs", sample=X[:20], overwrite=True)
    network = {
        "sizes": [X.shape[1], *(W.shape[1] for W in model.coefs_)],
        "activations": ["input", *["relu"] * (len(model.coefs_) - 1), "softmax"],
        "W": [None, *(W.tolist() for W in model.coefs_)],
        "b": [None, *(b.tolist() for b in model.intercepts_)],
    }
    text = f"export const network = {json.dumps(network, separators=(',', ':'))};\n"
    (folder / "network.mjs").write_text(text, encoding="utf-8")
    return model


def write(app: Any, error: Exception | None) -> None:
    """Write the page beside the others, once they are there."""
    if error is None:
        write_draw_page(Path(app.outdir) / "_static" / "draw")


def setup(app: Any) -> dict[str, Any]:
    """Register the event."""
    app.connect("build-finished", write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
