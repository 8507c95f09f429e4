"""What the features of a layer see in each image: its feature maps as they are."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.attribution import Attribution
from kerasnas.explain.model.class_activation import _choose
from kerasnas.explain.model.picture_grid import ColourScale, Tile, picture_grid
from kerasnas.explain.model.png_file import png_path, write_png
from kerasnas.explain.model.score_view import ScoreView
from kerasnas.explain.whole_number import require_whole_number

__all__ = ["ActivationMaps", "activation_maps"]

_MOST_ROWS = 16  # images on a sheet


@dataclass(frozen=True, eq=False, repr=False)
class ActivationMaps:
    """The feature maps of one layer.

    Attributes:
        values: shape (batch, rows, columns, features), float32, in the units of the layer.
        layer: path of the layer, "backbone/name" inside a nested model.
        images: shape (batch, height, width, channels).

    Raises:
        InvalidArgument: if the shapes do not belong together.
    """

    values: np.ndarray
    layer: str
    images: np.ndarray

    def __post_init__(self) -> None:
        values, images = np.array(self.values, np.float32), np.array(self.images)
        if values.ndim != 4 or images.ndim != 4 or len(values) != len(images) or 0 in values.shape:
            raise InvalidArgument(
                "Expected values of shape (batch, rows, columns, features) and images of shape (batch, height, width, "
                f"channels); came {values.shape} and {images.shape}."
            )
        for name, array in (("values", values), ("images", images)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __repr__(self) -> str:
        return f"ActivationMaps({self.layer!r}, values of shape {self.values.shape})"

    def __len__(self) -> int:
        return len(self.values)

    def strongest(self, index: int, count: int = 8, *, by: str = "mean") -> np.ndarray:
        """Return the numbers of the features that respond most to an image, the strongest first; equals in their order.

        Args:
            index: which image.
            count: how many features, at least 1; all of them if there are fewer.
            by: "mean" for the mean over positions of |activation|, "variance" for the variance over positions, which is high
                for features that respond to parts of the image and low for those that respond everywhere.

        Raises:
            InvalidArgument: if an argument is not as above.
        """
        if not isinstance(index, int | np.integer) or not -len(self) <= index < len(self):
            raise InvalidArgument(f"Expected index from 0 to {len(self) - 1}; came {index!r}.")
        require_whole_number("the number of features", count, 1)
        if by not in ("mean", "variance"):
            raise InvalidArgument(f"Expected by to be 'mean' or 'variance'; came {by!r}.")
        maps = self.values[index].astype(np.float64)
        strength = np.abs(maps).mean(axis=(0, 1)) if by == "mean" else maps.var(axis=(0, 1))
        return np.argsort(-strength, kind="stable")[:count]

    def save(self, path: str | os.PathLike[str], *, features: int = 8, by: str = "mean") -> Path:
        """Write one PNG: a row for each image, with its strongest feature maps and the scale that they share.

        Args:
            path: where to, ending in .png; a file that is there is replaced as a whole.
            features: how many maps of each image, at least 1.
            by: what makes a feature strong, as `strongest` takes it.

        Returns:
            The path. Of more than 16 images, the first 16 are shown, and the title says so.

        Raises:
            InvalidArgument: if an argument is not as above.
        """
        path = png_path(path)
        chosen = [self.strongest(index, features, by=by) for index in range(min(len(self), _MOST_ROWS))]
        sheet = self._sheet(chosen, by)
        return write_png(path, sheet)

    def _sheet(self, chosen: list[np.ndarray], by: str) -> Image.Image:
        shown = self.images[: len(chosen)]
        blank = Attribution(np.zeros(shown.shape[:3]), shown, np.zeros(len(shown), np.int64), "picture")
        rows, scales = [], []
        for index, (numbers, picture) in enumerate(zip(chosen, blank.to_image(alpha=0.0, scale=1), strict=True)):
            maps = np.moveaxis(self.values[index][..., numbers].astype(np.float64), -1, 0)
            size, signed = float(np.abs(maps).max()), bool(maps.min() < 0)
            tiles = [Tile(picture, (f"image {index}", ""))]
            for number, one in zip(numbers, maps, strict=True):
                level = np.abs(one).mean() if by == "mean" else one.var()
                tiles.append(Tile(_coloured(one / (size or 1.0), signed), (f"feature {number}", f"{level:.3g}")))
            rows.append(tiles)
            ends = _coloured(np.linspace(1, -1 if signed else 0, 64), signed)
            scales.append(ColourScale(ends, f"{size:.3g}", f"{-size:.3g}" if signed else "0"))
        what = "mean |activation|" if by == "mean" else "variance of the activation over positions"
        some = f"; the first {len(rows)} of {len(self)} images" if len(rows) < len(self) else ""
        title = (
            f"{self.layer}: the {len(chosen[0])} strongest of {self.values.shape[-1]} features of each image{some}",
            f"Over each map: {what}. Each row has its own scale.",
        )
        return picture_grid(title, rows, scales=scales)


def _coloured(strength: np.ndarray, signed: bool) -> np.ndarray:
    """Return uint8 RGB for values in [-1, 1]: viridis from 0, or blue over white to red where some are negative."""
    from matplotlib import colormaps

    colours = colormaps["RdBu_r"]((strength + 1) / 2) if signed else colormaps["viridis"](strength)
    return np.rint(255 * colours[..., :3]).astype(np.uint8)


def activation_maps(model: Any, images: ArrayLike, *, layer: str | None = None) -> ActivationMaps:
    """Return the feature maps that a layer computes of each image.

    Args:
        model: built Keras 3 Functional or Sequential classifier with output (batch, classes); it is not changed.
        images: shape (batch, height, width, channels), or (batch, height, width) for one channel; as the model takes
            them, in its own units.
        layer: name or path ("backbone/conv1" inside a nested model) of a layer whose output is (batch, rows, columns,
            features) with more than one position; None for the end of the last convolutional block, as `grad_cam` chooses.
            Of a layer that is used several times, the last use.

    Raises:
        InvalidArgument: if the model or the images are not as above, or `layer` names no such layer; the message lists them.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([
        ...     keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, name="conv"),
        ...     keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3),
        ... ])
        >>> activation_maps(model, np.ones((2, 8, 8, 1)), layer="conv")
        ActivationMaps('conv', values of shape (2, 6, 6, 4))
    """
    view = ScoreView(model, images)
    chosen = _choose(view.spatial_layers, layer)
    parts = []
    for start in range(0, len(view.images), view.chunk):
        maps, _ = view.score(view.pixels(start, start + view.chunk), chosen)
        parts.append(np.asarray(keras.ops.convert_to_numpy(maps), np.float32))
    return ActivationMaps(np.concatenate(parts), chosen, view.images)
