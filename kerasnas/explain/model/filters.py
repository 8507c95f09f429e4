"""The kernels of a convolution, as pictures."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.picture_grid import ColourScale, Tile, picture_grid
from kerasnas.explain.model.png_file import png_path, write_png
from kerasnas.explain.model.score_view import _functional

__all__ = ["Filters", "filters"]

_COLUMNS, _MOST_ROWS = 8, 16


@dataclass(frozen=True, eq=False, repr=False)
class Filters:
    """The filters of one layer.

    Attributes:
        kernels: shape (rows, columns, channels, filters), float32; one channel for a depthwise convolution.
        layer: path of the layer, "backbone/name" inside a nested model.
    """

    kernels: np.ndarray
    layer: str

    def __post_init__(self) -> None:
        self.kernels.flags.writeable = False

    def __repr__(self) -> str:
        return f"Filters({self.layer!r}, kernels of shape {self.kernels.shape})"

    @property
    def norms(self) -> np.ndarray:
        """The Euclidean norm of each filter, shape (filters,), float64."""
        return np.asarray(np.linalg.norm(self.kernels.reshape(-1, self.kernels.shape[-1]).astype(np.float64), axis=0))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one PNG of the filters, those with the largest norm first, all on one colour scale: red is positive.

        With one channel, eight filters stand in a row. With three, the picture of a filter is one in RGB, where grey is zero.
        With others, each filter has a row of its own, with the eight channels in which its norm is largest.

        Args:
            path: where to, ending in .png; a file that is there is replaced as a whole.

        Returns:
            The path. There are at most 16 rows, and the title says how many filters are left out.

        Raises:
            InvalidArgument: if `path` does not end in .png.
        """
        path = png_path(path)
        channels, count = self.kernels.shape[2:]
        order = np.argsort(-self.norms, kind="stable")
        flat = channels in (1, 3)
        shown = order[: _MOST_ROWS * (_COLUMNS if flat else 1)]
        limit = float(np.abs(self.kernels[..., shown]).max()) or 1.0
        if flat:
            tiles = [self._tile(int(number), None, limit) for number in shown]
            rows = [tiles[start : start + _COLUMNS] for start in range(0, len(tiles), _COLUMNS)]
        else:
            rows = [[self._tile(int(number), int(channel), limit) for channel in self._channels(number)] for number in shown]
        some = f", the {len(shown)} largest of {count}" if len(shown) < count else ""
        few = "" if flat or channels <= _COLUMNS else f"; of {channels} channels, the {_COLUMNS} largest of each"
        scale = ColourScale(_coloured(np.linspace(1, -1, 64)), f"{limit:.3g}", f"{-limit:.3g}")
        if channels == 3:
            ends = f"RGB, each from {-limit:.3g} (dark) over 0 (half) to {limit:.3g}"
        else:
            ends = "one colour scale for all"
        title = (f"{self.layer}: filters{some}{few}", f"Over each: its norm; {ends}.")
        sheet = picture_grid(title, rows, side=72, scales=None if channels == 3 else [scale] * len(rows))
        return write_png(path, sheet)

    def _channels(self, number: int) -> np.ndarray:
        sizes = np.linalg.norm(self.kernels[..., number].reshape(-1, self.kernels.shape[2]), axis=0)
        return np.asarray(np.argsort(-sizes, kind="stable")[:_COLUMNS])

    def _tile(self, number: int, channel: int | None, limit: float) -> Tile:
        if channel is not None:
            kernel = self.kernels[:, :, channel, number]
            return Tile(_coloured(kernel / limit), (f"filter {number}", f"ch. {channel}: {np.linalg.norm(kernel):.2g}"))
        kernel = self.kernels[..., number] / limit
        grey = np.rint(255 * (kernel + 1) / 2).astype(np.uint8)
        return Tile(
            grey if kernel.shape[-1] == 3 else _coloured(kernel[..., 0]), (f"filter {number}", f"{self.norms[number]:.2g}")
        )


def filters(model: Any, layer: str | None = None) -> Filters:
    """Return the kernels of a two-dimensional convolution.

    Args:
        model: built Keras 3 Functional or Sequential model; it is not changed.
        layer: name or path ("backbone/conv1" inside a nested model) of a Conv2D or a DepthwiseConv2D; None for the
            first one, whose filters are looked at most, since they act on the pixels.

    Raises:
        InvalidArgument: if the model is not as above, or `layer` names no such layer; the message lists them.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 5, name="conv")])
        >>> filters(model, "conv")
        Filters('conv', kernels of shape (5, 5, 3, 4))
    """
    found = dict(_convolutions(_functional(model), ""))
    if layer is None and found:
        layer = next(iter(found))
    matches = [path for path in found if path == layer or path.rpartition("/")[2] == layer]
    if layer not in found and len(matches) != 1:
        raise InvalidArgument(
            f"Expected layer to name one Conv2D or DepthwiseConv2D; came {layer!r}. Choose from: {', '.join(found) or 'none'}."
        )
    path = layer if layer in found else matches[0]
    kernels = np.asarray(keras.ops.convert_to_numpy(found[path].kernel), np.float32)
    if isinstance(found[path], keras.layers.DepthwiseConv2D):
        kernels = kernels.reshape(*kernels.shape[:2], 1, -1)
    return Filters(kernels.copy(), path)


def _convolutions(model: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _convolutions(layer, f"{prefix}{layer.name}/")
        elif isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            yield prefix + layer.name, layer


def _coloured(strength: np.ndarray) -> np.ndarray:
    """Return uint8 RGB for values in [-1, 1], blue over white to red."""
    from matplotlib import colormaps

    return np.rint(255 * colormaps["RdBu_r"]((strength + 1) / 2)[..., :3]).astype(np.uint8)
