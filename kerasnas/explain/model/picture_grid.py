"""A sheet of pictures in rows, each with a caption, and a colour scale at the end of a row."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["ColourScale", "Tile", "picture_grid"]

_GAP, _LINE, _BAR, _MARKS = 14, 16, 14, 64  # pixels
_SIZE, _FRAME = 12, (190, 190, 190)


class Tile(NamedTuple):
    """A picture, uint8 RGB of shape (height, width, 3), and the lines over it."""

    picture: np.ndarray
    caption: tuple[str, ...]


class ColourScale(NamedTuple):
    """The colours from the top to the bottom of a scale, uint8 RGB of shape (n, 3), and what its ends stand for."""

    colours: np.ndarray
    top: str
    bottom: str


def picture_grid(
    title: Sequence[str], rows: Sequence[Sequence[Tile]], *, side: int = 112, scales: Sequence[ColourScale] | None = None
) -> Image.Image:
    """Draw pictures in rows.

    Args:
        title: lines over the sheet.
        rows: the pictures; captions of one sheet have the same number of lines.
        side: to how many pixels the longer side of a picture is enlarged or reduced.
        scales: one for each row, drawn at its end; None for none.

    Returns:
        An RGB picture.
    """
    font = ImageFont.load_default(_SIZE)
    shown = [[_resized(tile.picture, side) for tile in row] for row in rows]
    wide = max(picture.width for row in shown for picture in row)
    high = max(picture.height for row in shown for picture in row)
    lines = max(len(tile.caption) for row in rows for tile in row)
    # Neighbouring captions keep apart.
    wide = max(wide, *(math.ceil(font.getlength(text)) for row in rows for tile in row for text in tile.caption))
    top = _GAP + _LINE * len(title)
    row_height = _LINE * lines + high + _GAP
    width = _GAP + max(len(row) for row in rows) * (wide + _GAP) + (_BAR + _MARKS if scales else 0)
    width = max(width, 2 * _GAP + max(math.ceil(font.getlength(text)) for text in title))
    sheet = Image.new("RGB", (width, top + row_height * len(rows) + _GAP // 2), "white")
    pen = ImageDraw.Draw(sheet)
    for number, text in enumerate(title):
        pen.text((_GAP, _GAP // 2 + number * _LINE), text, "black", font)
    for number, row in enumerate(rows):
        at = top + number * row_height
        for column, tile in enumerate(row):
            left = _GAP + column * (wide + _GAP)
            for line, text in enumerate(tile.caption):
                pen.text((left, at + line * _LINE), text, "black", font)
            picture, start = shown[number][column], at + _LINE * lines
            # A frame, for white pictures on the white sheet.
            pen.rectangle((left - 1, start - 1, left + picture.width, start + picture.height), outline=_FRAME)
            sheet.paste(picture, (left, start))
        if scales:
            scale, start, left = scales[number], at + _LINE * lines, _GAP + len(row) * (wide + _GAP)
            bar = Image.fromarray(scale.colours[:, None]).resize((_BAR, high), Image.Resampling.NEAREST)
            sheet.paste(bar, (left, start))
            pen.text((left + _BAR + 4, start), scale.top, "black", font, anchor="la")
            pen.text((left + _BAR + 4, start + high), scale.bottom, "black", font, anchor="ld")
    return sheet


def _resized(picture: np.ndarray, side: int) -> Image.Image:
    image = Image.fromarray(picture)
    factor = side / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BOX)
