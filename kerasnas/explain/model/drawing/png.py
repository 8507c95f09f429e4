"""A picture as pixels."""

from pathlib import Path
from typing import Any

from kerasnas.explain.model.drawing.shapes import Curve, Group, Rectangle, Scene, Shape, Text

__all__ = ["to_image"]

_MOST_PIXELS = 40_000_000
_ARROW = 4.0
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


def to_image(scene: Scene) -> Any:
    """Return a PIL image in RGB, two pixels for one of the scene unless that were too many."""
    from PIL import Image, ImageDraw

    scale = 2 if 4 * scene.width * scene.height <= _MOST_PIXELS else 1
    image = Image.new("RGB", (round(scale * scene.width), round(scale * scene.height)), "white")
    brush = _Brush(ImageDraw.Draw(image), scale)
    for shape in scene.shapes:
        brush.draw(shape)
    return image


class _Brush:
    def __init__(self, pen: Any, scale: int) -> None:
        self._pen, self._scale = pen, scale
        self._fonts: dict[tuple[float, bool], Any] = {}

    def draw(self, shape: Shape) -> None:
        scale = self._scale
        if isinstance(shape, Group):
            for inner in shape.shapes:
                self.draw(inner)
        elif isinstance(shape, Rectangle):
            corners = [shape.x, shape.y, shape.x + shape.width, shape.y + shape.height]
            width = round(scale * shape.thickness) if shape.stroke else 0
            self._pen.rounded_rectangle(
                [scale * value for value in corners], scale * shape.radius, shape.fill, shape.stroke, width
            )
        elif isinstance(shape, Text):
            font = self._font(shape.size, shape.bold)
            self._pen.text((scale * shape.x, scale * shape.y), shape.text, shape.fill, font, anchor=_ANCHORS[shape.anchor])
        else:
            self._curve(shape)

    def _curve(self, shape: Curve) -> None:
        scale = self._scale
        points = [(scale * x, scale * y) for x, y in shape.line.points()]
        self._pen.line(points, shape.stroke, round(scale * shape.thickness), joint="curve")
        if shape.line.arrow:
            x, y = points[-1]
            size = scale * _ARROW
            self._pen.polygon([(x, y), (x - size, y - 2 * size), (x + size, y - 2 * size)], shape.stroke)

    def _font(self, size: float, bold: bool) -> Any:
        from matplotlib import get_data_path
        from PIL import ImageFont

        if (size, bold) not in self._fonts:
            # The font that comes with matplotlib has more of the world's letters than Pillow's own.
            file = Path(get_data_path()) / "fonts" / "ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
            self._fonts[size, bold] = ImageFont.truetype(str(file), self._scale * size)
        return self._fonts[size, bold]
