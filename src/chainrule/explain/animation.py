"""A training as a moving picture: the decision boundary, or the weights as they form."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.base.whole_files import whole_file
from chainrule.explain.displays_of_networks import MOST_UNITS, input_scale, tiles
from chainrule.explain.displays_of_training import DecisionBoundaryDisplay
from chainrule.explain.drawing import SIGNED
from chainrule.explain.recording import recorder_of

KINDS = (".gif", ".mp4", ".html")


def animate(
    model: Any,
    path: str | os.PathLike[str],
    *,
    X: Any = None,
    y: Any = None,
    shape: tuple[int, int] | None = None,
    seconds: float = 4.0,
) -> Path:
    """Write a moving picture of a training that a recorder has followed.

    Parameters
    ----------
    model : estimator or Pipeline
        Fitted with a :class:`chainrule.Recorder` among its callbacks.
    path : str or path
        Ends in .gif (by Pillow), .mp4 (by ffmpeg, which has to be there) or .html. It gets its
        name when it is whole.
    X, y : array-likes, optional
        Rows of two inputs and their classes: the decision boundary is shown.
    shape : (int, int), optional
        Height and width, if the inputs are pixels: the weights of the first layer are shown.
        One of the two is needed.
    seconds : float, default 4.0
        How long it takes.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        There is no record, it is not said what to show, the file's name has another ending, or
        ffmpeg is not there.
    FileNotFoundError
        There is no such folder.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import make_moons
    >>> from chainrule import MLPClassifier, Recorder, animate
    >>> X, y = make_moons(60, random_state=0)
    >>> recorder = Recorder(X, y, snapshots=2)
    >>> model = MLPClassifier((4,), max_iter=900, tol=1e-2, callbacks=[recorder]).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     animate(model, f"{folder}/moons.gif", X=X, y=y).name
    'moons.gif'
    """
    target = Path(path)
    kind = target.suffix.lower()
    if kind not in KINDS:
        raise ValueError(f"{target} must end in {', '.join(KINDS)}")
    if (shape is None) == (X is None or y is None):
        raise ValueError("give X and y, for the decision boundary, or shape, for the weights")
    if not 0 < seconds < np.inf:
        raise ValueError(f"seconds must be above 0; got {seconds!r}")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target}: there is no folder {target.parent}")
    kept = recorder_of(model).snapshots_
    from matplotlib import animation as moving
    from matplotlib.figure import Figure

    if kind == ".mp4" and not moving.FFMpegWriter.isAvailable():
        raise ValueError("an .mp4 needs ffmpeg, which is not there; write a .gif or .html")
    figure = Figure(figsize=(5, 4.2))
    ax = figure.add_axes((0.15, 0.13, 0.82, 0.78))
    draw = (
        _boundaries(model, X, y, len(kept), ax)
        if shape is None
        else _weights(model, kept, shape, ax)
    )
    film = moving.FuncAnimation(figure, draw, frames=len(kept), init_func=lambda: [])
    rate = max(1, round(len(kept) / seconds))
    if kind == ".html":
        text = film.to_jshtml(fps=rate)
        data = (
            f"<!DOCTYPE html>\n<html><head><meta charset='utf-8'></head><body>{text}</body></html>"
        )
        with whole_file(target) as file:
            file.write(data.encode())
        return target
    writer = moving.PillowWriter(fps=rate) if kind == ".gif" else moving.FFMpegWriter(fps=rate)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / f"film{kind}"
        film.save(made, writer=writer, dpi=90)
        with whole_file(target) as file:
            file.write(made.read_bytes())
    return target


def _boundaries(model: Any, X: Any, y: Any, n: int, ax: Any) -> Any:
    display = DecisionBoundaryDisplay.of_snapshots(model, X, y, max(n, 2))

    def draw(k: int) -> list[Any]:
        ax.clear()
        display.draw(ax, min(k, len(display.maps) - 1))
        return []

    return draw


def _weights(model: Any, kept: Any, shape: tuple[int, int], ax: Any) -> Any:
    first = [next(W for W in weights if W.size) for _, weights, _ in kept]
    if int(np.prod(shape)) != len(first[0]):
        raise ValueError(
            f"shape {tuple(shape)} has {int(np.prod(shape))} pixels; the network has "
            f"{len(first[0])} inputs"
        )
    scale = input_scale(model, len(first[0]))[:, np.newaxis]
    first = [W * scale for W in first]
    largest = float(np.quantile(np.abs(first[-1]), 0.999)) or 1.0

    def draw(k: int) -> list[Any]:
        ax.clear()
        ax.imshow(
            tiles(first[k][:, :MOST_UNITS], shape),
            cmap=SIGNED,
            vmin=-largest,
            vmax=largest,
            interpolation="nearest",
        )
        ax.set(title=f"epoch {kept[k][0]}", xticks=[], yticks=[])
        return []

    return draw
