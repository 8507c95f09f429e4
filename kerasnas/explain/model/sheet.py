"""A sheet of pictures for strangers: what was shown, what mattered in it, and by how much."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["FOR", "AGAINST", "draw_sheet"]

FOR, AGAINST = np.array([1.0, 0.30, 0.05]), np.array([0.10, 0.50, 1.0])  # orange and blue are seen on black and on white
_NOTHING = np.array([0.88, 0.88, 0.88])
_GAP, _TITLE, _BAR, _MARK = 14, 24, 16, 6  # pixels


def draw_sheet(
    pictures: np.ndarray, overlays: np.ndarray, strengths: np.ndarray, limits: Sequence[float], titles: Sequence[str]
) -> Image.Image:
    """Draw a row for each image: the image, the map laid over it, and the map alone with its scale.

    Args:
        pictures: shape (batch, height, width, 3), uint8 RGB.
        overlays: shape (batch, height, width, 3), uint8 RGB.
        strengths: shape (batch, rows, columns), the maps in [-1, 1]; enlarged to (height, width).
        limits: what a strength of 1 stands for, in the units of the map; one per image.
        titles: what stands over the overlay; one per image.

    Returns:
        An RGB picture.
    """
    high, wide = pictures.shape[1:3]
    row_height = _TITLE + high + _GAP
    font = ImageFont.load_default(13)
    scales = [_scale(strength, limit) for strength, limit in zip(strengths, limits, strict=True)]
    longest = max(math.ceil(font.getlength(text)) for scale in scales for _, text in scale)
    width = 3 * (wide + _GAP) + _GAP + _BAR + _MARK + longest + _GAP
    sheet = Image.new("RGB", (width, row_height * len(pictures) + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (strength, scale, title) in enumerate(zip(strengths, scales, titles, strict=True)):
        top = row * row_height + _TITLE
        evidence = Image.fromarray(_coloured(strength)).resize((wide, high), Image.Resampling.NEAREST)
        shown = (Image.fromarray(pictures[row]), Image.fromarray(overlays[row]), evidence)
        for column, (picture, text) in enumerate(zip(shown, (f"image {row}", title, "evidence"), strict=True)):
            left = _GAP + column * (wide + _GAP)
            sheet.paste(picture, (left, top))
            pen.text((left, top - _TITLE + 6), text, "black", font)
        left = _GAP + 3 * (wide + _GAP)
        bar = np.linspace(1, scale[-1][0], high)[:, None].repeat(_BAR, axis=1)
        sheet.paste(Image.fromarray(_coloured(bar)), (left, top))
        for place, (_, text) in zip(np.linspace(0, high, len(scale)), scale, strict=True):
            anchor = "lm" if 0 < place < high else "la" if place == 0 else "ld"
            pen.text((left + _BAR + _MARK, top + place), text, "black", font, anchor=anchor)
    return sheet


def _scale(strength: np.ndarray, limit: float) -> list[tuple[int, str]]:
    """Return the strengths that are marked beside the bar, from its top to its bottom, with their texts."""
    if strength.min() < 0:
        return [(1, f"{limit:.3g} for"), (0, "0"), (-1, f"{-limit:.3g} against")]
    return [(1, f"{limit:.3g} for"), (0, "0")]


def _coloured(strength: np.ndarray) -> np.ndarray:
    size = np.abs(strength)[..., None]
    return np.rint(255 * ((1 - size) * _NOTHING + size * np.where(strength[..., None] > 0, FOR, AGAINST))).astype(np.uint8)
