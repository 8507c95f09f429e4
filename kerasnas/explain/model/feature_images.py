"""Images that were made to excite features of a network, and how far they do."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kerasnas.explain.model.picture_grid import Tile, picture_grid
from kerasnas.explain.model.png_file import png_path, write_png

__all__ = ["FeatureImages"]

_COLUMNS, _MOST = 8, 64  # pictures in a row, and on a sheet


@dataclass(frozen=True, eq=False, repr=False)
class FeatureImages:
    """One image for each feature, and the activations that it is to be judged by.

    An activation is what was made large: the mean over the positions of the feature map, the value in its middle, or the
    score of a class.

    Attributes:
        images: shape (features, height, width, channels), float32, in the units of the model's images.
        features: shape (features,), int64: numbers of the features, or of the classes.
        layer: path of the layer; None for the scores of classes.
        reached: shape (features,), the activation of the image.
        start: shape (features,), the activation of the noise that it was made from.
        examples: shape (features, n), the activations of n example images; None if none were given.
        curve: shape (features, steps), the activation of the shifted image before each step.
        responded: shape (features,), bool: whether the feature had a gradient at any step. An image of one that had none says
            nothing: a ReLU was closed all the way.
        low: shape (channels,), the least that a pixel may be.
        high: shape (channels,), the most that a pixel may be.
        labels: names of the classes, for the picture; None for their numbers.
    """

    images: np.ndarray
    features: np.ndarray
    layer: str | None
    reached: np.ndarray
    start: np.ndarray
    examples: np.ndarray | None
    curve: np.ndarray
    responded: np.ndarray
    low: np.ndarray
    high: np.ndarray
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    def __repr__(self) -> str:
        pairs = zip(self.features, self.start, self.reached, strict=True)
        activations = ", ".join(f"{number}: {start:.3g} -> {reached:.3g}" for number, start, reached in pairs)
        return f"FeatureImages({'classes' if self.layer is None else self.layer}, {activations})"

    def __len__(self) -> int:
        return len(self.images)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one PNG of the images, each with its activation beside those of the start and of the best example.

        Args:
            path: where to, ending in .png; a file that is there is replaced as a whole.

        Returns:
            The path. Of more than 64 images, the first 64 are shown, and the title says so.

        Raises:
            InvalidArgument: if `path` does not end in .png.
        """
        path = png_path(path)
        pictures = self._pictures()
        tiles = [Tile(picture, self._caption(index)) for index, picture in enumerate(pictures)]
        rows = [tiles[start : start + _COLUMNS] for start in range(0, len(tiles), _COLUMNS)]
        what = "scores of classes" if self.layer is None else f"{self.layer}: features"
        some = f", the first {_MOST} of {len(self)}" if len(self) > _MOST else ""
        title = (
            f"{what}, images that were made to excite them{some}",
            f"{'Score' if self.layer is None else 'Activation'} of the image, and before of the noise that it was made from",
        )
        if self.examples is not None:
            title = (title[0], f"{title[1]}, and of the best of {self.examples.shape[1]} examples")
        sheet = picture_grid(title, rows)
        return write_png(path, sheet)

    def _caption(self, index: int) -> tuple[str, ...]:
        number = int(self.features[index])
        name = f"{'class' if self.layer is None else 'feature'} {number}"
        if self.layer is None and self.labels is not None:
            name = self.labels[number]
        name += "" if self.responded[index] else ", no gradient"
        lines = (name, f"{self.reached[index]:.3g} (noise {self.start[index]:.3g})")
        return lines if self.examples is None else (*lines, f"best example {self.examples[index].max():.3g}")

    def _pictures(self) -> np.ndarray:
        shares = (self.images[:_MOST].astype(np.float64) - self.low) / (self.high - self.low)
        if shares.shape[-1] not in (3, 4):
            shares = shares.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
        return np.rint(255 * np.clip(shares[..., :3], 0, 1)).astype(np.uint8)
