"""The result of an explanation: float maps, of which every picture is a view."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kerasnas.errors import InvalidArgument
from kerasnas.explain.model.png_file import png_path, write_png
from kerasnas.explain.model.sheet import AGAINST, FOR, draw_sheet

if TYPE_CHECKING:
    from kerasnas.explain.model.trust import Trust

__all__ = ["Attribution", "Explained"]

_NAMED = 10  # classes that are named when maps are printed
_VIEW_PIXELS = 192  # smaller images are enlarged to about this side


@dataclass(frozen=True, eq=False)
class Explained:
    """What a map was made of, so that it can be judged.

    Attributes:
        model: what was explained: a Keras model, an ONNX or LiteRT file or a function.
        again: explains a model and images with the same settings; called with `target=`.
    """

    model: Any
    again: "Callable[..., Attribution]"


@dataclass(frozen=True, eq=False, repr=False)
class Attribution:
    """How much every pixel of every image speaks for a class.

    The maps are the result, in the units of the method; `to_image` and `save` show them, orange for the class and
    blue against it, scaled for each image by itself.

    Attributes:
        values: shape (batch, height, width), float32, larger = more evidence for the target.
        images: shape (batch, height, width, channels), the images that were explained.
        targets: shape (batch,), int64, the class that was explained for each image.
        method: name of the method.
        details: what the method was told and chose, such as the layer or the patch; plain values.
        labels: names of the classes, for the titles of pictures; None for their numbers.
        explained: what was explained and how, the model included: dataclasses.replace(maps, explained=None) lets go of it. None
            for maps from elsewhere, which `trust` has to be told of.

    Raises:
        InvalidArgument: if the shapes do not belong together or a value is not finite.
    """

    values: np.ndarray
    images: np.ndarray
    targets: np.ndarray
    method: str
    details: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    explained: Explained | None = None

    def __post_init__(self) -> None:
        values, images, targets = np.array(self.values), np.array(self.images), np.array(self.targets)
        if values.ndim != 3 or images.ndim != 4 or images.shape[:3] != values.shape or 0 in images.shape:
            raise InvalidArgument(
                "Expected values of shape (batch, height, width) and images of shape (batch, height, width, channels); "
                f"came {values.shape} and {images.shape}."
            )
        if targets.shape != values.shape[:1] or targets.dtype.kind not in "iu":
            raise InvalidArgument(f"Expected one integer target for each of {len(values)} images; came {self.targets!r}.")
        if values.dtype.kind not in "biuf" or images.dtype.kind not in "biuf":
            raise InvalidArgument(f"Expected real numbers; came values {values.dtype} and images {images.dtype}.")
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        for name, array in (("values", values), ("images", images)):
            if not np.all(np.isfinite(array)):
                raise InvalidArgument(
                    f"Expected finite {name}; came NaN or infinity. Look for them in the images and the weights."
                )
        for name, array in (("values", values), ("images", images), ("targets", targets.astype(np.int64))):
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        object.__setattr__(self, "details", dict(self.details))

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={value!r}" for name, value in self.details.items())
        return f"Attribution({self.method}, values of shape {self.values.shape}, targets {self.targets.tolist()}, {facts})"

    def __str__(self) -> str:
        count, height, width = self.values.shape
        names = [str(target) if self.labels is None else self.labels[target] for target in self.targets[:_NAMED]]
        more = f" and {count - _NAMED} more" if count > _NAMED else ""
        facts = ", ".join(f"{name} {value}" for name, value in self.details.items() if isinstance(value, str | int | float))
        blank = f"; {self.blank.sum()} of them mark nothing" if self.blank.any() else ""
        return (
            f"{self.method}: {count} {'map' if count == 1 else 'maps'} of {height} x {width} pixels for the classes "
            f"{', '.join(names)}{more}, values from {self.values.min():.3g} to {self.values.max():.3g}{blank}"
            + (f" ({facts})" if facts else "")
        )

    def __len__(self) -> int:
        return len(self.values)

    def to_image(self, index: int | None = None, *, alpha: float = 0.75, scale: int | None = None) -> np.ndarray:
        """Return the images with their maps laid over them: orange speaks for the class, blue against it.

        Each pixel is (1 - w) * image + w * colour with w = alpha * |value| / limit, at most alpha, where limit is the
        99th percentile of |value| in the image. What says nothing stays as it is; a map of zeros changes nothing.

        Args:
            index: which image; None for all.
            alpha: weight of the strongest evidence, from 0 (the image) to 1.
            scale: how many times each pixel is repeated; None enlarges small images to about 192 pixels.

        Returns:
            uint8 RGB of shape (height * scale, width * scale, 3), with a batch axis before it if `index` is None.

        Raises:
            InvalidArgument: if `index`, `alpha` or `scale` is out of range.
        """
        if not 0 <= alpha <= 1:
            raise InvalidArgument(f"Expected alpha from 0 to 1; came {alpha!r}.")
        if scale is not None and (not isinstance(scale, int | np.integer) or scale < 1):
            raise InvalidArgument(f"Expected scale to be None or a whole number of at least 1; came {scale!r}.")
        if index is not None and (not isinstance(index, int | np.integer) or not -len(self) <= index < len(self)):
            raise InvalidArgument(f"Expected index to be None or from 0 to {len(self) - 1}; came {index!r}.")
        rows = np.arange(len(self)) if index is None else np.array([index])
        strength = np.stack([_strength(self.values[row]) for row in rows])
        weight = alpha * np.abs(strength)[..., None]
        colours = np.where(strength[..., None] > 0, FOR, AGAINST)
        pictures = (1 - weight) * _to_rgb(self.images)[rows] + weight * colours
        pixels = np.rint(255 * pictures).astype(np.uint8)
        times = scale or max(1, round(_VIEW_PIXELS / min(self.values.shape[1:])))
        pixels = pixels.repeat(times, axis=1).repeat(times, axis=2)
        return pixels if index is None else np.asarray(pixels[0])

    @property
    def blank(self) -> np.ndarray:
        """Whether the map of each image has one value everywhere, and marks nothing; shape (batch,)."""
        return np.asarray(np.ptp(self.values, axis=(1, 2)) == 0)

    def trust(self, model: Any = None, **settings: Any) -> "Trust":
        """Say how far the maps can be believed: see `kerasnas.explain.trust`, which takes the same arguments."""
        from kerasnas.explain.model.trust import trust  # it needs this class

        return trust(self, model, **settings)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one PNG: a row for each image, with the image, the map laid over it, and the map with its scale.

        Args:
            path: where to, ending in .png; a file that is there is replaced as a whole.

        Returns:
            The path.

        Raises:
            InvalidArgument: if `path` does not end in .png.
        """
        path = png_path(path)
        strengths = np.stack([_strength(value) for value in self.values])
        names = [f"class {target}" if self.labels is None else self.labels[target] for target in self.targets]
        marks = np.where(self.blank, ": marks nothing", "")
        titles = [f"{self.method}, {name}{mark}" for name, mark in zip(names, marks, strict=True)]
        limits = [_limit(value) for value in self.values]
        sheet = draw_sheet(self.to_image(alpha=0.0), self.to_image(), strengths, limits, titles)
        return write_png(path, sheet)


def _limit(values: np.ndarray) -> float:
    """Return the 99th percentile of |values|, robust against a few extreme pixels; the largest if that is zero."""
    size = np.abs(values.astype(np.float64))
    return float(np.percentile(size, 99)) or float(size.max())


def _strength(values: np.ndarray) -> np.ndarray:
    limit = _limit(values)
    return np.clip(values.astype(np.float64) / limit, -1, 1) if limit > 0 else np.zeros(values.shape)


def _to_rgb(images: np.ndarray) -> np.ndarray:
    """Return `images` as float64 RGB in [0, 1], one scale for the batch; shape (batch, height, width, 3).

    uint8 has its own range; [0, 1] and [-1, 1] are taken as such; anything else is stretched so that zero and the
    extremes of the batch fit. One, two or more than four channels are shown as their mean, four as the first three.
    """
    pixels = images.astype(np.float64)
    low, high = float(pixels.min()), float(pixels.max())
    if images.dtype == np.uint8:
        low, high = 0.0, 255.0
    elif low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low >= -1 and high <= 1:
        low, high = -1.0, 1.0
    else:
        low, high = min(low, 0.0), max(high, 0.0)
    size = max(abs(low), abs(high))  # divided by first, for the difference of two huge numbers would overflow
    pixels = np.clip((pixels / size - low / size) / (high / size - low / size), 0, 1)
    if pixels.shape[-1] not in (3, 4):
        pixels = pixels.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    return pixels[..., :3]
