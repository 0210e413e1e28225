"""Distortions of small images, to be given as `augment`: shifts, turns, scales, elastic ones.

A picture of a digit that is shifted a little, turned a little, or drawn on a stretched sheet of
rubber shows the same digit. Networks that learn from such pictures as well read others better
(Simard, Steinkraus and Platt 2003; Cireşan, Meier, Gambardella and Schmidhuber 2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from chainrule.base.types import Array, Index
from chainrule.training.augmentation import RowRandom

BLOCK = 256  # images at a time, so that all that is made of them stays in the processor's cache


@dataclass(frozen=True)
class ImageDistortion:
    """Random affine and elastic distortions of images that lie in the rows of X, row by row.

    Pixel (y, x) of the new image is the old one's at A ((y, x) - c) + c + s + u(y, x), between its
    pixels by bilinear interpolation. c is the middle, s a shift, A a turn and a scale. The elastic
    part u is uniform noise in each pixel, smoothed with a Gaussian and scaled to the deviation
    that is asked for (Simard, Steinkraus and Platt 2003).

    Parameters
    ----------
    height, width : int
        Of the images, in pixels.
    shift : float, default 0
        Largest shift in each direction, in pixels.
    turn : float, default 0
        Largest turn, in degrees.
    scale : float, default 0
        Largest change of the size: 0.1 is from 1/1.1 to 1.1, drawn for height and width apart.
    elastic : float, default 0
        Standard deviation of the elastic displacement, in pixels.
    smoothness : float, default 2
        Standard deviation of the Gaussian, in pixels.
    background : float, default 0
        What pixels outside of the image count as.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import MLPClassifier, distortions
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> distort = distortions.ImageDistortion(8, 8, shift=0.5, turn=10, elastic=0.3)
    >>> model = MLPClassifier(augment=distort, max_iter=20, random_state=0)
    """

    name: ClassVar[str] = "image_distortion"

    height: int
    width: int
    shift: float = 0.0
    turn: float = 0.0
    scale: float = 0.0
    elastic: float = 0.0
    smoothness: float = 2.0
    background: float = 0.0

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1; got {value!r}")
        for name in ("shift", "turn", "scale", "elastic", "smoothness"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be finite and 0 or more; got {getattr(self, name)}")

    def __call__(self, X: Array, random: RowRandom) -> Array:
        """Distorted images.

        Parameters
        ----------
        X : (n, height width) array
        random : RowRandom

        Returns
        -------
        (n, height width) array

        Raises
        ------
        ValueError
            X has another number of columns.
        """
        h, w = self.height, self.width
        if X.shape[1] != h * w:
            raise ValueError(
                f"augment distorts images of {h} x {w} pixels, which are {h * w} columns; X has "
                f"{X.shape[1]}"
            )
        drawn = random.uniform(5 + 2 * (self.elastic > 0) * h * w)
        smooth = self._smoothing() if self.elastic else None
        new = np.empty_like(X)
        for k in range(0, len(X), BLOCK):
            rows = slice(k, k + BLOCK)
            new[rows] = self._interpolated(X[rows], *self._places(drawn[rows], smooth))
        return new

    def _places(
        self, drawn: NDArray[np.float32], smooth: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Where in the old image each pixel of the new one is, y and x, (n, h w) each."""
        h, w = self.height, self.width
        # Uniform on [-1, 1): the turn, two shifts and two scales of each image; then the noise.
        drawn = 2 * drawn
        drawn -= 1
        angle = drawn[:, 0] * np.float32(np.deg2rad(self.turn))
        k_y, k_x = np.float32(1 + self.scale) ** drawn[:, 1:3].T
        s_y, s_x = drawn[:, 3:5].T * np.float32(self.shift)
        sin, cos = np.sin(angle), np.cos(angle)
        middle_y, middle_x = np.float32((h - 1) / 2), np.float32((w - 1) / 2)
        places = np.mgrid[:h, :w].reshape(2, h * w).astype(np.float32)
        places = np.vstack([places - [[middle_y], [middle_x]], np.ones(h * w)]).astype(np.float32)
        at_y = np.stack([k_y * cos, -k_x * sin, s_y + middle_y], axis=1) @ places
        at_x = np.stack([k_y * sin, k_x * cos, s_x + middle_x], axis=1) @ places
        if smooth is not None:
            at_y += drawn[:, 5 : 5 + h * w] @ smooth
            at_x += drawn[:, 5 + h * w :] @ smooth
        return at_y, at_x

    def _smoothing(self) -> NDArray[np.float32]:
        """(h w, h w) from uniform noise to displacements of deviation `elastic`."""

        def gaussian(n: int) -> NDArray[np.float64]:
            distance = np.arange(n) - np.arange(n)[:, np.newaxis]
            weights = np.exp(-0.5 * (distance / max(self.smoothness, 1e-6)) ** 2)
            scaled: NDArray[np.float64] = weights / np.sqrt((weights**2).sum(axis=0))
            return scaled

        smooth = np.kron(gaussian(self.height), gaussian(self.width))
        # A uniform number on [-1, 1) has the variance 1/3.
        scaled: NDArray[np.float32] = (smooth * (self.elastic * np.sqrt(3))).astype(np.float32)
        return scaled

    def _interpolated(
        self, X: Array, at_y: NDArray[np.float32], at_x: NDArray[np.float32]
    ) -> Array:
        """The images at these places, (n, h w), between their pixels."""
        h, w, n = self.height, self.width, len(X)
        # A border of one pixel; whatever lies farther out is moved onto it.
        framed = np.full((n, h + 2, w + 2), self.background, X.dtype)
        framed[:, 1:-1, 1:-1] = X.reshape(n, h, w)
        for at, k in ((at_y, h), (at_x, w)):
            np.clip(np.add(at, 1, out=at), 0, k + 1, out=at)
        top, left = (np.minimum(at.astype(np.int32), k) for at, k in ((at_y, h), (at_x, w)))
        down, right = at_y - top.astype(np.float32), at_x - left.astype(np.float32)
        top *= w + 2
        top += left
        corner = np.arange(n)[:, np.newaxis] * ((h + 2) * (w + 2)) + top
        pixels = framed.ravel()

        def between(corner: Index) -> Array:
            """Between a pixel and the one at its right."""
            pixel: Array = pixels.take(corner)
            step: Array = pixels[1:].take(corner)
            step -= pixel
            step *= right
            pixel += step
            return pixel

        upper = between(corner)
        corner += w + 2
        lower = between(corner)
        lower -= upper
        lower *= down
        upper += lower
        return upper
