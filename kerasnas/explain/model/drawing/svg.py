"""A picture as SVG text."""

import html
import re

from kerasnas.explain.model.drawing.shapes import Curve, Rectangle, Scene, Shape, Text

__all__ = ["to_svg"]

_FONT = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"
# What XML 1.0 cannot hold, even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ARROW = 4.0  # pixels, half its width


def to_svg(scene: Scene) -> str:
    """Return an SVG that needs nothing else: no style sheet, script or id that could meet another one in a page."""
    width, height = _number(scene.width), _number(scene.height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="{_FONT}">',
        f"<title>{_escape(scene.title)}</title>",
        f"<desc>{_escape(scene.description)}</desc>",
    ]
    for shape in scene.shapes:
        lines += _draw(shape)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _draw(shape: Shape) -> list[str]:
    if isinstance(shape, Rectangle):
        border = f' stroke="{shape.stroke}" stroke-width="{_number(shape.thickness)}"' if shape.stroke else ""
        border += ' stroke-dasharray="5 3"' if shape.dashed else ""
        corner = f' rx="{_number(shape.radius)}"' if shape.radius else ""
        place = " ".join(f'{name}="{_number(getattr(shape, name))}"' for name in ("x", "y", "width", "height"))
        return [f'<rect {place}{corner} fill="{shape.fill}"{border}/>']
    if isinstance(shape, Text):
        style = ' font-weight="bold"' if shape.bold else ""
        style += f' text-anchor="{shape.anchor}"' if shape.anchor != "start" else ""
        return [
            f'<text x="{_number(shape.x)}" y="{_number(shape.y)}" font-size="{_number(shape.size)}" fill="{shape.fill}"{style}>'
            f"{_escape(shape.text)}</text>"
        ]
    if isinstance(shape, Curve):
        return _curve(shape)
    inner = [line for each in shape.shapes for line in _draw(each)]
    return ["<g>", f"<title>{_escape(shape.title)}</title>", *inner, "</g>"]


def _curve(shape: Curve) -> list[str]:
    line = shape.line
    parts = ["M" + _point(line.start)]
    parts += [("L" if len(step) == 1 else "C") + " ".join(_point(point) for point in step) for step in line.steps]
    drawn = [f'<path d="{" ".join(parts)}" fill="none" stroke="{shape.stroke}" stroke-width="{_number(shape.thickness)}"/>']
    if line.arrow:
        x, y = line.steps[-1][-1]
        corners = " ".join(_point(point) for point in ((x, y), (x - _ARROW, y - 2 * _ARROW), (x + _ARROW, y - 2 * _ARROW)))
        drawn.append(f'<polygon points="{corners}" fill="{shape.stroke}"/>')
    return drawn


def _point(point: tuple[float, float]) -> str:
    return f"{_number(point[0])},{_number(point[1])}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _escape(text: str) -> str:
    return html.escape(_FORBIDDEN.sub("\ufffd", text))
