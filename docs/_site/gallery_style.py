"""How the figures of the gallery look: readable on white and on black, in grey, in colour."""

from __future__ import annotations

import warnings
from typing import Any

# Okabe and Ito's colours, which colour-blind people tell apart.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999"]


def use(gallery_conf: dict[str, Any], fname: str) -> None:
    """Set Matplotlib up before each example; one that warns is one that fails."""
    import matplotlib
    from cycler import cycler

    matplotlib.rcdefaults()
    matplotlib.rcParams.update(
        {
            "figure.figsize": (6.4, 3.8),
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": cycler(color=COLOURS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": False,
            "font.size": 10,
            "image.cmap": "cividis",
            "savefig.dpi": 110,
        }
    )
    warnings.resetwarnings()
    warnings.simplefilter("error")
    for ignored in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", ignored)


# The examples, in the order in which they are shown: from the article to the production.
ORDER = [
    *("trace", "digits_article", "lost_class", "digits_modern", "boundary", "input_gradients"),
    *("inside", "followed"),
    *("learning_rate", "early_stopping", "imbalance", "quantiles", "variance"),
    *("own_components", "gradcheck", "engines", "stream", "larger_than_memory", "csv_to_onnx"),
]


def order(file: str) -> int:
    """Where an example stands; one that is not named in `ORDER` ends the build."""
    return ORDER.index(file.removeprefix("plot_").removesuffix(".py"))
